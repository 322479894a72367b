"""The market part of the report: the sessions of the day and the dynamic traffic lights."""

import math
from typing import Any

import numpy as np

from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import (
    COLOUR_NAMES,
    DIRECTION_NAMES,
    GREEN,
    NO_LIGHT,
    RED,
    YELLOW,
    Lights,
    capability_note,
    number,
    numbers,
    percent,
    session_rows,
    texts,
)
from flexcore.study.report.page import Figure, Section, Variant, esc, html_table, none, rounded
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

_LEAST_PERIMETERS, _SHOWN_PERIMETERS = 8, 40  # of the heat map; all of them can be chosen

#: Columns of the table of sessions: head, column of the run's table, digits.
_SESSION_COLUMNS = (
    ("need MWh", "firm_need_mwh", 3),
    ("accepted MWh", "firm_accepted_mwh", 3),
    ("unserved MWh", "firm_unserved_mwh", 3),
    ("cost EUR", "firm_cost_eur", 2),
    ("planned need", "need_mwh", 3),
    ("planned accepted", "accepted_mwh", 3),
    ("lines", "n_lines", 0),
    ("selected", "n_lines_selected", 0),
    ("slots held", "n_slots_held", 0),
    ("cut", "cut_lines", 0),
    ("with\u00addrawn", "withdrawn_lines", 0),
    ("PODs blocked", "blocked_pods", 0),
    ("mes\u00adsages", "n_messages", 0),
    ("order", "steps_merit_order", 0),
    ("tree", "steps_tree_merit_order", 0),
    ("paths", "steps_path_prices", 0),
    ("LP", "steps_lp", 0),
    ("viola\u00adtions", "firm_violations", 0),
)
_ADDS_UP = (
    "firm_accepted_mwh",
    "firm_unserved_mwh",
    "firm_cost_eur",
    "cut_lines",
    "withdrawn_lines",
    "blocked_pods",
    "n_messages",
    "firm_violations",
)


def hour_axis(run: DayRun) -> dict[str, Any]:
    """Return ticks of a quarter-hour axis: local clock, every three hours, right on days of 92 and 100 steps too."""
    ticks = list(range(0, run.day.n_steps, 12))
    return {
        "tickvals": [*ticks, run.day.n_steps],
        "ticktext": [*(run.day.label(step) for step in ticks), "24:00"],
        "range": [0, run.day.n_steps],
    }


def timeline_section(run: DayRun) -> Section:
    """Return the session timeline with needs, accepted and unserved energy, and the table of the twelve sessions."""
    title = "Sessions"
    happened = session_rows(run.tables["sessions"])
    if not happened.rows:
        return Section("sessions", title, "", [none("No session was run.")])
    n_steps = run.day.n_steps

    def clock(step: int) -> str:
        return run.day.label(step) if step < n_steps else "24:00"

    def value(name: str) -> list[float]:
        return [float(row[name] or 0.0) for row in happened.rows]

    label = list(happened.label)
    start, stop = [int(s) for s in value("firm_start")], [int(s) for s in value("firm_stop")]
    skipped = [bool(row["skipped"]) for row in happened.rows]
    strong = ["$global" if op == GLOBAL else "$local" for op in happened.operator]
    soft = ["$global_soft" if op == GLOBAL else "$local_soft" for op in happened.operator]
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "firm",
            "y": label,
            "base": start,
            "x": [b - a for a, b in zip(start, stop, strict=True)],
            "marker": {"color": ["$none" if s else c for s, c in zip(skipped, strong, strict=True)]},
            "text": ["skipped: no need" if s else "firm" for s in skipped],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textfont": {"color": ["$ink" if s else "$card" for s in skipped], "size": 11},
            "hovertext": [
                f"{name} makes {clock(a)} to {clock(b)} firm" for name, a, b in zip(label, start, stop, strict=True)
            ],
            "hovertemplate": "%{hovertext}<extra></extra>",
            "showlegend": False,
        },
        {
            "type": "bar",
            "orientation": "h",
            "name": "preliminary",
            "y": label,
            "base": stop,
            "x": [n_steps - b for b in stop],
            "marker": {"color": ["$soft" if s else c for s, c in zip(skipped, soft, strict=True)]},
            "hovertext": [f"{name} plans {clock(b)} to 24:00" for name, b in zip(label, stop, strict=True)],
            "hovertemplate": "%{hovertext}<extra></extra>",
            "showlegend": False,
        },
    ]
    firm = [value(f"firm_{name}_mwh") for name in ("need", "accepted", "unserved")]
    planned = [value(f"{name}_mwh") for name in ("need", "accepted", "unserved")]
    bars = list(zip(("need", "accepted", "unserved"), firm, ("$muted", "$green", "$red"), strict=True))
    hover = [
        f"<b>{name}</b><br>firm: need {n:.3f}, accepted {a:.3f}, unserved {u:.3f} MWh<br>"
        f"with the rest of the day: need {pn:.3f}, accepted {pa:.3f}, unserved {pu:.3f} MWh"
        for name, n, a, u, pn, pa, pu in zip(label, *firm, *planned, strict=True)
    ]
    # local and global energies may differ by orders of magnitude, so each operator gets its own scale
    for operator, axis in ((LOCAL, "x2"), (GLOBAL, "x3")):
        mine = [i for i, op in enumerate(happened.operator) if op == operator]
        data += [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "legendgroup": name,
                "showlegend": operator == LOCAL,
                "y": [label[i] for i in mine],
                "x": rounded([amount[i] for i in mine], 4),
                "xaxis": axis,
                "marker": {"color": colour},
                "hovertext": [hover[i] for i in mine],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "width": 0.26,
                "offset": {"need": 0.14, "accepted": -0.13, "unserved": -0.4}[name],
            }
            for name, amount, colour in bars
        ]
    layout = {
        "height": 500,
        "barmode": "overlay",
        "bargap": 0.25,
        "hovermode": "closest",
        "yaxis": {"categoryorder": "array", "categoryarray": label[::-1], "tickfont": {"size": 12}},
        "xaxis": {**hour_axis(run), "domain": [0, 0.5], "title": {"text": "delivery time, local clock"}},
        "xaxis2": {
            "domain": [0.54, 0.76],
            "anchor": "y",
            "rangemode": "tozero",
            "title": {"text": "LFP, MWh"},
            "nticks": 5,
        },
        "xaxis3": {
            "domain": [0.79, 1],
            "anchor": "y",
            "rangemode": "tozero",
            "title": {"text": "MSD, MWh"},
            "nticks": 5,
        },
        "legend": {"x": 0.54, "y": 1.02},
        "margin": {"l": 64, "r": 26, "t": 40, "b": 52},
    }
    figure = Figure(
        "timeline",
        "Timeline of the twelve sessions with their needs",
        "Strong colour: the four hours that a session makes firm; light colour: the rest of the day, planned "
        "preliminarily. Grey: skipped, since there was no need. The bars at the right are the energies of the firm "
        "hours.",
        [Variant("", data, layout)],
    )
    table_rows = [
        (
            name,
            "skipped" if skip else row["state"],
            *(number(row[key], digits) for _, key, digits in _SESSION_COLUMNS),
        )
        for name, row, skip in zip(label, happened.rows, skipped, strict=True)
    ]
    totals = [
        number(math.fsum(float(row[key] or 0) for row in happened.rows), digits) if key in _ADDS_UP else ""
        for _, key, digits in _SESSION_COLUMNS
    ]
    table = html_table(
        ["session", "state", *(head for head, _, _ in _SESSION_COLUMNS)],
        table_rows,
        numeric=".." + "n" * len(_SESSION_COLUMNS),
        dense=True,
        caption="Need to cost: the firm hours, which add up to the day; planned: with the rest of the day, which each "
        "session plans anew. Local needs are the least activation for thermal limits; voltage needs are listed under "
        "'Needs and violations'. Lines, slots, cuts and blocked PODs: of the whole plan, again in each session. "
        "Order, tree, LP: quarter-hours decided by each engine. Violations: found by the AC check in the firm hours.",
        foot=("all", "", *totals),
    )
    n_skipped = sum(skipped)
    lead = (
        "Six pairs a day: the DSO's local session LFP_k before the TSO's global session MSD_k. "
        f"{n_skipped} of {len(skipped)} sessions were skipped because there was no need."
    )
    return Section("sessions", title, lead, [figure, table])


def _light_variant(run: DayRun, lights: Lights, chosen: list[int], label: str) -> Variant:
    """Return the two heat maps (up, down) of the chosen perimeters."""
    table = run.tables["traffic_light"]
    kind, binding = texts(table, "kind"), texts(table, "binding_id")
    margin = numbers(table, "margin_kw")
    n_hours = lights.colour.shape[2]
    hour_labels = [run.day.label(4 * hour) for hour in range(n_hours)]
    names = [esc(lights.perimeters[i]) for i in chosen]
    data = []
    for direction in (UP, DOWN):
        hover: list[list[str]] = []
        for i in chosen:
            cells = []
            for hour in range(n_hours):
                row = int(lights.row[direction, i, hour])
                if row < 0:
                    cells.append(f"{hour_labels[hour]} nothing published")
                    continue
                colour = COLOUR_NAMES[lights.colour[direction, i, hour]]
                capability = lights.capability_w[direction, i, hour] / 1000
                movable = lights.movable_w[direction, i, hour] / 1000
                text = f"{hour_labels[hour]} {colour}: {capability:,.1f} of {movable:,.1f} kW"
                if kind[row] not in ("", "none"):
                    text += f"<br>{esc(kind[row])} {esc(binding[row])}"
                if margin[row] == margin[row]:
                    text += f", margin {margin[row]:,.1f} kW"
                cells.append(f"{text}<br>session {lights.session[direction, i, hour]}")
            hover.append(cells)
        data.append(
            {
                "type": "heatmap",
                "z": lights.colour[direction, chosen].tolist(),
                "x": list(range(n_hours)),
                "y": names,
                "text": hover,
                "hovertemplate": f"<b>%{{y}}</b> {DIRECTION_NAMES[direction]} %{{text}}<extra></extra>",
                "zmin": -0.5,
                "zmax": 3.5,
                "xgap": 1,
                "ygap": 1,
                "showscale": False,
                "colorscale": [
                    [edge, f"${name}"]
                    for k, name in enumerate(("none", "green", "yellow", "red"))
                    for edge in (k / 4, (k + 1) / 4)
                ],
                **({} if direction == UP else {"xaxis": "x2"}),
            }
        )
    ticks = {"tickvals": list(range(0, n_hours, 3)), "ticktext": hour_labels[::3], "showgrid": False, "zeroline": False}
    layout = {
        "height": 110 + max(9, min(17, 1500 // max(len(chosen), 1))) * len(chosen),
        "margin": {"l": 90, "r": 10, "t": 34, "b": 40},
        "xaxis": {**ticks, "domain": [0, 0.49]},
        "xaxis2": {**ticks, "domain": [0.51, 1], "anchor": "y"},
        "yaxis": {
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
            "tickfont": {"size": 10.5},
            "dtick": 1,
        },
        "annotations": [
            {
                "text": f"<b>{text}</b>",
                "x": x,
                "y": 1,
                "yshift": 20,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "showarrow": False,
            }
            for text, x in (
                ("up", 0),
                ("down", 0.51),
            )
        ],
    }
    return Variant(label, data, layout)


def lights_section(run: DayRun, lights: Lights) -> Section:
    """Return the heat map of the traffic lights as they are valid for each hour."""
    title = "Traffic lights"
    n_valid = int((lights.colour != NO_LIGHT).sum())
    if not n_valid:
        return Section("lights", title, "", [none("No traffic light was published.")])
    # tightest first: red hours, then yellow hours, then name
    red = (lights.colour == RED).sum(axis=(0, 2))
    yellow = (lights.colour == YELLOW).sum(axis=(0, 2))
    order = np.lexsort((np.arange(red.size), -yellow, -red)).tolist()
    n_tight = int(((red + yellow) > 0).sum())
    few = sorted(order[: min(max(n_tight, _LEAST_PERIMETERS), _SHOWN_PERIMETERS)])
    variants = [
        _light_variant(run, lights, few, f"the {len(few)} tightest perimeters" if n_tight else f"{len(few)} perimeters")
    ]
    if len(order) > len(few):
        variants.append(_light_variant(run, lights, list(range(len(order))), f"all {len(order)} perimeters"))
    else:
        variants = [Variant("all perimeters", variants[0].data, variants[0].layout)]
    keys = "".join(
        f'<li><i style="background:var(--{COLOUR_NAMES[colour]})"></i>{COLOUR_NAMES[colour]} '
        f"<b>{lights.count(colour):,}</b> ({percent(lights.count(colour), n_valid, 1)}){meaning}</li>"
        for colour, meaning in ((GREEN, ": all that could move"), (YELLOW, ": a part of it"), (RED, ": nothing"))
    )
    calm = int(((red + yellow) == 0).sum())
    figure = Figure(
        "lights",
        "Heat map of traffic lights by perimeter and hour",
        "Up: less withdrawal or more injection; down: the opposite. For each perimeter, direction and hour the last "
        "publication that names it. "
        "Hover shows capability, movable power and the binding element. "
        f"{capability_note(run.tables)}",
        variants,
        choice="Show",
    )
    published = int(lights.capability_w.sum())
    lead = (
        f"{len(lights.perimeters):,} perimeters, both directions, {lights.colour.shape[2]} hours; {calm:,} "
        "perimeters are green "
        f"all day. The published capability is {percent(published, int(lights.movable_w.sum()), 1)} of what could move."
    )
    return Section("lights", title, lead, [f'<ul class="keys">{keys}</ul>', figure])
