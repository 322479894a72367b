"""Merit orders of the report: the offer lines of one quarter-hour, the accepted part, and why the rest was left."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import (
    DIRECTION_NAMES,
    OPERATOR_NAMES,
    codes,
    directions,
    integers,
    numbers,
    operators,
    sessions,
    texts,
)
from flexcore.study.report.page import Figure, Section, Variant, esc, none, rounded
from flexcore.units import GLOBAL, LOCAL

_CHOICES = 4  # merit orders to choose from, per operator
_MAX_BARS = 1200  # bars of one merit order; what is dearer is left out and counted in the title
_REASONS = 5  # reasons with their own colour; the rest is 'other'
_MAX_STEPS = 128  # more than the 100 steps of the longest day, for packing keys

Floats = npt.NDArray[np.float64]


def _interesting_steps(run: DayRun, operator: int) -> list[tuple[int, int, int]]:
    """Return (session, direction, step) to look at: much accepted and much left, one per session and direction."""
    lines = run.tables["lines"]
    offered, accepted = integers(lines, "offered_w"), integers(lines, "accepted_w")
    direction, step, session = directions(lines), integers(lines, "step"), sessions(lines)
    firm = numbers(lines, "firm") == 1
    mine = (operators(lines) == operator) & (direction >= 0) & firm & (offered > 0)
    if not mine.any():
        return []
    group = session[mine] * 2 + direction[mine]
    key, where = np.unique(group * _MAX_STEPS + step[mine], return_inverse=True)
    sums = [np.zeros(key.size, np.int64), np.zeros(key.size, np.int64)]
    for total, values in zip(sums, (offered[mine], accepted[mine]), strict=True):
        np.add.at(total, where, values)
    left = sums[0] - sums[1]
    # most of both first; where nothing was left (or taken), the larger amount; then the earliest
    order = np.lexsort((key, -sums[0], -sums[1], -np.minimum(sums[1], left)))
    best: dict[int, int] = {}
    for position in order.tolist():
        best.setdefault(int(key[position]) // _MAX_STEPS, int(key[position]))
    return [(k // _MAX_STEPS // 2, k // _MAX_STEPS % 2, k % _MAX_STEPS) for k in list(best.values())[:_CHOICES]]


def _merit_variant(run: DayRun, operator: int, session: int, direction: int, step: int) -> Variant:
    lines = run.tables["lines"]
    chosen = np.flatnonzero(
        (sessions(lines) == session)
        & (operators(lines) == operator)
        & (directions(lines) == direction)
        & (integers(lines, "step") == step)
        & (integers(lines, "offered_w") > 0)
    )
    table = lines.take(chosen)
    price, offered = numbers(table, "price_eur_per_mwh"), integers(table, "offered_w") / 1000
    accepted = integers(table, "accepted_w") / 1000
    name_of, names = codes(table, "line")
    order = np.lexsort((np.array(names)[name_of], price))
    total_kw, taken_kw, n_cut = offered.sum(), accepted.sum(), max(0, order.size - _MAX_BARS)
    order = order[:_MAX_BARS]
    table = table.take(order)
    price, offered, accepted = price[order], offered[order], accepted[order]
    left_edge = np.concatenate([[0.0], np.cumsum(offered)[:-1]])
    # the rest of a line that was taken as far as the whole time unit allows carries the plain reason 'accepted'
    meaning = {"": "not needed", "accepted": "rest of an accepted line"}
    reason = [meaning.get(text, text) for text in texts(table, "reason")]
    hover = [
        f"<b>{esc(line)}</b> {esc(bsp)}<br>{esc(aggregate)}, {esc(place)}<br>{p:,.2f} EUR/MWh, {a:,.1f} of {o:,.1f} kW"
        + ("" if a >= o else f"<br>{esc(why)}")
        for line, bsp, aggregate, place, p, a, o, why in zip(
            *(texts(table, name) for name in ("line", "bsp", "aggregate", "perimeter")),
            price.tolist(),
            accepted.tolist(),
            offered.tolist(),
            reason,
            strict=True,
        )
    ]

    def bars(name: str, where: Any, low: Floats, width: Floats, colour: str) -> dict[str, Any]:
        rows = np.flatnonzero(where)
        return {
            "type": "bar",
            "name": name,
            "x": rounded((low + width / 2)[rows], 4),
            "width": rounded(width[rows], 4),
            "y": rounded(price[rows], 3),
            "text": [hover[i] for i in rows.tolist()],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": colour, "line": {"width": 0.5 if len(hover) < 150 else 0, "color": "$card"}},
        }

    strong = "$local" if operator == LOCAL else "$global"
    data = [bars("accepted", accepted > 0, left_edge, accepted, strong)]
    rest = offered - accepted
    kinds, count = np.unique([why for why, r in zip(reason, rest, strict=True) if r > 0], return_counts=True)
    ranked = [str(kinds[i]) for i in np.lexsort((kinds, -count))]
    for k, kind in enumerate([*ranked[:_REASONS], ""] if len(ranked) > _REASONS else ranked):
        same = np.array([(why == kind) if kind else (why not in ranked[:_REASONS]) for why in reason])
        data.append(bars(esc(kind) or "other reasons", same & (rest > 0), left_edge + accepted, rest, f"$tint{k}"))
    who = "LFP" if operator == LOCAL else "MSD"
    label = f"{who}_{session}, {run.day.label(step)}, {DIRECTION_NAMES[direction]}"
    cut = f", the {n_cut:,} dearest lines not drawn" if n_cut else ""
    layout = {
        "height": 400,
        "barmode": "overlay",
        "hovermode": "closest",
        "title": {
            "text": f"<b>{label}</b>: {taken_kw:,.1f} of {total_kw:,.1f} kW accepted{cut}",
            "font": {"size": 14},
            "x": 0.01,
            "xanchor": "left",
            "y": 0.98,
            "yanchor": "top",
        },
        "xaxis": {"title": {"text": "offered power in order of price, kW"}, "rangemode": "tozero", "showgrid": False},
        "yaxis": {"title": {"text": "EUR/MWh"}},
        "legend": {"y": -0.22, "yanchor": "top"},  # below: a wrapped legend above would cover the title
        "margin": {"l": 64, "r": 26, "t": 46, "b": 120},
    }
    return Variant(label, data, layout)


def merit_section(run: DayRun) -> Section:
    """Return the merit orders of the most interesting step of each operator, with others to choose from."""
    parts: list[Figure | str] = []
    for operator in (LOCAL, GLOBAL):
        name = OPERATOR_NAMES[operator]
        parts.append(f"<h3>{name.capitalize()} market</h3>")
        steps = _interesting_steps(run, operator)
        if not steps:
            parts.append(none(f"No {name} line was offered for a firm window."))
            continue
        variants = [_merit_variant(run, operator, *step) for step in steps]
        parts.append(
            Figure(f"merit-{name}", f"Merit order of the {name} market", "", variants, choice="Session and step")
        )
    lead = (
        "Offer lines of one quarter-hour from cheap to dear; strong colour is the accepted part, the other colours "
        "say why the "
        "rest was not. On a network the cheapest line is not always the one that helps: an offer counts only below "
        "the element in need."
    )
    return Section("merit", "Merit order", lead, parts)
