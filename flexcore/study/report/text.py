"""Words, tiles and tables of the report: headline, registration, key figures, grid, findings, method and source."""

import math
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

import flexcore
from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import (
    ATTRIBUTION_FACTS,
    DIRECTION_NAMES,
    GREEN,
    NO_LIGHT,
    RED,
    YELLOW,
    Lights,
    capability_note,
    check_text,
    codes,
    counts,
    directions,
    eur,
    fact_groups,
    facts,
    integers,
    kpi_name,
    kpi_rows,
    kpi_text,
    kpi_value,
    mwh,
    number,
    numbers,
    operators,
    percent,
    session_label,
    session_rows,
    sessions,
    texts,
    total,
    violations,
)
from flexcore.study.report.delivery import settlement_totals
from flexcore.study.report.page import (
    Section,
    esc,
    fact_list,
    html_table,
    none,
    stacked_bar,
    tile,
    value_bars,
)
from flexcore.units import GLOBAL, LOCAL

_TOP = 20
_MAX_FINDINGS = 60


def headline_section(run: DayRun, lights: Lights) -> Section:
    """Return the numbers that a reader wants first."""
    tables = run.tables
    light = tables["static_light"]
    units = counts(light, "state") if light.num_rows else {}
    validated, share = [], []
    for way in DIRECTION_NAMES:  # up and down are never added: they are not moved together
        left, whole = total(light, f"{way}_validated_w"), total(light, f"{way}_declared_w")
        validated.append(number(left / 1e6, 2))
        share.append(percent(left, whole, 1))
    happened = session_rows(tables["sessions"])

    def need_tile(operator: int, name: str) -> str:
        rows = [row for row, op in zip(happened.rows, happened.operator, strict=True) if op == operator]
        # firm windows do not overlap, so these add up to the day
        need, accepted, unserved, cost = (
            math.fsum(float(row[f"firm_{key}"] or 0) for row in rows)
            for key in ("need_mwh", "accepted_mwh", "unserved_mwh", "cost_eur")
        )
        if not need and not accepted:
            return tile(name, "none")
        more = f"{number(accepted, 2)} MWh bought for {number(cost, 2)} EUR, {number(unserved, 3)} MWh unserved"
        return tile(name, number(need, 2), "MWh", more)

    found = violations(tables["nodes"], tables["branches"])
    published = int((lights.colour != NO_LIGHT).sum())
    settled = settlement_totals(run)
    money = {name: sum(values[name] for _, values in settled) for name in ("pay_ueur", "penalty_ueur", "net_ueur")}
    volume = {name: sum(values[name] for _, values in settled) for name in ("ordered_wqh", "delivered_wqh")}
    moved = percent(total(tables["baselines"], "moved_wqh"), total(tables["baselines"], "ordered_wqh"), 1)
    n_violated, why = check_text(tables["grid_check"])
    tiles = [
        tile(
            "Registered units",
            f"{light.num_rows:,}",
            "",
            ", ".join(f"{many:,} {state.lower()}" for state, many in units.items()),
        ),
        tile("Validated flexibility", " / ".join(validated), "MW", f"up / down; {' / '.join(share)} of declared"),
        need_tile(LOCAL, "Local need"),
        need_tile(GLOBAL, "Global need"),
        tile(
            "Overloaded branches",
            "{:,} \u2192 {:,} \u2192 {:,}".format(*found.branches),
            "",
            f"without, as awarded, as metered ({found.new_branches:,} new); nodes out of band: "
            + "{:,} \u2192 {:,} \u2192 {:,}".format(*found.nodes),
        ),
        tile(
            "Traffic lights not green",
            percent(lights.count(RED) + lights.count(YELLOW), published, 1),
            "",
            f"{lights.count(RED):,} red, {lights.count(YELLOW):,} yellow, {lights.count(GREEN):,} green hours",
        ),
        tile(
            "Delivered",
            percent(volume["delivered_wqh"], volume["ordered_wqh"], 1),
            "",
            f"{number(mwh(volume['delivered_wqh']), 2)} of {number(mwh(volume['ordered_wqh']), 2)} MWh ordered, as the "
            f"baselines see it; really moved: {moved}",
        ),
        tile(
            "Net to BSPs",
            number(eur(money["net_ueur"]), 2),
            "EUR",
            f"pay {number(eur(money['pay_ueur']), 2)}, penalties {number(eur(money['penalty_ueur']), 2)}",
        ),
        tile(
            "Violated after clearing",
            f"{n_violated:,}",
            "elements",
            why,
        ),
    ]
    lead = f"From registration to settlement on one delivery day. {capability_note(run.tables)}"
    return Section("headline", "In short", lead, [f'<div class="tiles">{"".join(tiles)}</div>'])


_STATE_COLOURS = {"confirm": "green", "modul": "yellow", "invalid": "red"}


def city_section(run: DayRun) -> Section:
    """Return what the city is and what registration did with it."""
    tables = run.tables
    parts: list[str] = []
    for group, known in fact_groups(tables["facts"]).items():
        parts += [f"<h3>{esc(group.capitalize())}</h3>"] if group else []
        parts += [fact_list(known.items())] if known else []
    light = tables["static_light"]
    left = ["<div><h3>Static traffic light</h3>"]
    if light.num_rows:
        states = counts(light, "state")
        colour = {s: next((c for key, c in _STATE_COLOURS.items() if key in s.lower()), "none") for s in states}
        rank = {"green": 0, "yellow": 1, "red": 2, "none": 3}
        ordered = sorted(states, key=lambda s: (rank[colour[s]], s))
        left.append(stacked_bar([(state.lower(), states[state], colour[state]) for state in ordered]))
        rows = []
        for direction in DIRECTION_NAMES:
            declared, validated = (
                int(integers(light, f"{direction}_{what}_w").sum()) for what in ("declared", "validated")
            )
            rows.append(
                (direction, number(declared / 1e6, 3), number(validated / 1e6, 3), percent(validated, declared, 1))
            )
        left.append(html_table(("direction", "declared MW", "validated MW", "share"), rows, numeric=".nnn"))
    else:
        left.append(none("No unit was registered."))
    left.append("</div>")

    right = ["<div><h3>Prequalification</h3>"]
    states = counts(tables["qualifications"], "state") if tables["qualifications"].num_rows else {}
    derived = sum(1 for text in texts(tables["qualifications"], "derived_from") if text)
    n_local, n_global = (
        sum(many for market, many in counts(tables["aggregates"], "operator").items() if market.lower() in names)
        if tables["aggregates"].num_rows
        else 0
        for names in (("local", "0", "lfp", "dso"), ("global", "1", "msd", "tso"))
    )
    said = ", ".join(f"{many:,} {state.lower()}" for state, many in states.items()) or "none"
    right.append(
        f"<p>{n_local:,} local and {n_global:,} global aggregates; qualifications: {esc(said)}; {derived:,} "
        "of them without a test of their own.</p>"
    )
    equal = tables["equivalences"]
    if equal.num_rows:
        granted = numbers(equal, "granted") == 1
        position, names = codes(equal, "configuration")
        by_kind = [
            (names[k], f"{int((granted & (position == k)).sum()):,}", f"{int((~granted & (position == k)).sum()):,}")
            for k in sorted(range(len(names)), key=lambda k: names[k])
        ]
        right.append(
            html_table(
                ("configuration (Table 8)", "granted", "refused"),
                by_kind,
                numeric=".nn",
                caption="Table of Equivalences: pairs of one local and one global aggregate of a BSP",
                foot=("all", f"{int(granted.sum()):,}", f"{int((~granted).sum()):,}"),
            )
        )
        reasons = counts(equal.filter((~granted).tolist()), "reason") if (~granted).any() else {}
        if reasons:
            right.append(
                f'<p class="note">Refused because: {esc("; ".join(f"{r} ({n:,})" for r, n in reasons.items()))}.</p>'
            )
    else:
        right.append(none("No pair of aggregates asked for an equivalence."))
    right.append("</div>")
    parts.append(f'<div class="cols">{"".join(left)}{"".join(right)}</div>')
    return Section("city", "City and registration", "", parts)


def kpi_section(run: DayRun) -> Section:
    """Return the key figures with bars for their parts; parts of one unit share a scale."""
    cards = []
    for key, head, parts in kpi_rows(run.tables["kpis"]):
        card = [f'<div class="kpi"><h3>{esc(kpi_name(key).capitalize())}</h3>']
        card.append(f'<div class="big">{esc(kpi_text(kpi_value(head), str(head["unit"])))}</div>')
        card.append(f'<p class="note">{esc(head["meaning"])}</p>')
        for unit, group in groupby(parts, key=lambda row: str(row["unit"])):
            bars = [
                (kpi_name(row["part"]), kpi_value(row), kpi_text(kpi_value(row), unit), str(row["meaning"]))
                for row in group
            ]
            card.append(value_bars(bars, "global" if unit == "EUR" else "local", full=1.0 if unit == "1" else 0.0))
        cards.append("".join(card) + "</div>")
    body = f'<div class="kpis">{"".join(cards)}</div>' if cards else none("No key figure was computed.")
    lead = (
        "The four indicators of D4.1 Table 11 and their parts; 'n/a' is a figure that cannot be computed on this day."
    )
    return Section("kpis", "Key figures", lead, [body])


def _worst_of_each(table: Any, size: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], list[int], int]:
    """Return the largest row of each element, largest first, how many rows each has, and the number of elements.

    An overloaded line comes back in many quarter-hours and sessions; a table of plain maxima would show only that line.
    """
    kind, kinds = codes(table, "element")
    name, names = codes(table, "element_id")
    element = kind * len(names) + name
    order = np.lexsort((integers(table, "step"), sessions(table), -np.nan_to_num(size)))
    found, first = np.unique(element[order], return_index=True)
    many = np.bincount(element, minlength=len(kinds) * len(names))
    worst = order[np.sort(first)[:_TOP]]
    return worst, many[element[worst]].tolist(), found.size


def grid_section(run: DayRun) -> Section:
    """Return the largest needs and the violations that the AC check found."""
    needs, check = run.tables["needs"], run.tables["grid_check"]
    parts: list[str] = ["<h3>Largest local needs</h3>"]
    if needs.num_rows:
        worst, many, n_elements = _worst_of_each(needs, numbers(needs, "need_kw"))
        top = needs.take(worst)
        rows = [
            (
                row["element_id"],
                row["element"],
                f"{count:,}",
                session_label(k, LOCAL),
                run.day.label(int(row["step"])),
                DIRECTION_NAMES[d] if d >= 0 else row["direction"],
                number(row["need_kw"], 1),
                number(None if row["loading"] is None else 100 * row["loading"], 1, "%"),
                number(row["v_pu"], 3),
            )
            for count, k, d, row in zip(
                many, sessions(top).tolist(), directions(top).tolist(), top.to_pylist(), strict=True
            )
        ]
        parts.append(
            html_table(
                ("element", "kind", "times", "session", "at", "direction", "need kW", "loading", "voltage pu"),
                rows,
                numeric="..n...nnn",
                caption=f"The largest need of {len(rows)} of {n_elements:,} elements; times: quarter-hours of all "
                f"sessions, {needs.num_rows:,} in all",
            )
        )
    else:
        parts.append(none("No forecast of the day showed a need."))
    parts.append("<h3>Violations found by the AC check</h3>")
    if check.num_rows:
        causes = counts(check, "cause")
        parts.append(f"<p>By cause: {esc(', '.join(f'{cause} {many:,}' for cause, many in causes.items()))}.</p>")
        worst, many, n_elements = _worst_of_each(check, np.abs(numbers(check, "value") - numbers(check, "limit")))
        top = check.take(worst)
        violations = [
            (
                row["element_id"],
                row["element"],
                f"{count:,}",
                session_label(k, GLOBAL),
                run.day.label(int(row["step"])),
                *(
                    number(row[name], 4, "pu") if row["element"] == "node" else number(100 * row[name], 1, "%")
                    for name in ("value", "limit")
                ),
                row["cause"],
            )
            for count, k, row in zip(many, sessions(top).tolist(), top.to_pylist(), strict=True)
        ]
        parts.append(
            html_table(
                ("element", "kind", "times", "after", "at", "value", "limit", "cause"),
                violations,
                numeric="..n..nnw",
                caption=f"The largest violation of {len(violations)} of {n_elements:,} elements; times: quarter-hours "
                f"of all sessions, {check.num_rows:,} in all",
            )
        )
    else:
        parts.append(none("The AC check found no violation after any session."))
    lead = "Needs come from the DSO's forecast before each local session; the check follows each global one."
    return Section("grid", "Needs and violations", lead, parts)


def findings_section(run: DayRun) -> Section:
    """Return what was refused on the way: withdrawn offer lines, blocked double selections and other coded findings."""
    cut, withdrawn, blocked = (
        int(total(run.tables["sessions"], name)) for name in ("cut_lines", "withdrawn_lines", "blocked_pods")
    )
    tiles = tile(
        "Offer lines withdrawn",
        f"{withdrawn:,}",
        "line sessions",
        f"{cut:,} more were cut, since they still counted PODs that are held; a line counts again in each session",
    ) + tile(
        "Blocked double selection",
        f"{blocked:,}",
        "POD sessions",
        "PODs that one operator held and the other could not take",
    )
    parts = [f'<div class="tiles">{tiles}</div>']
    table = run.tables["findings"]
    if table.num_rows:
        rows = sorted(
            zip(
                sessions(table).tolist(),
                operators(table).tolist(),
                texts(table, "code"),
                texts(table, "bsp"),
                integers(table, "n_lines").tolist(),
                texts(table, "message"),
                strict=True,
            )
        )
        parts.append("<h3>Coded findings</h3>")
        parts.append(
            html_table(
                ("session", "code", "BSP", "lines", "message"),
                [
                    (session_label(number, op), code, bsp, f"{lines:,}", message)
                    for number, op, code, bsp, lines, message in rows[:_MAX_FINDINGS]
                ],
                numeric="kkknw",
                caption=f"{min(len(rows), _MAX_FINDINGS)} of {len(rows):,} findings",
            )
        )
    else:
        parts.append(none("No session had a coded finding."))
    return Section("findings", "Findings", "", parts)


def attribution(run: DayRun) -> str:
    """Return source and licence of the data: the run's own, else SimBench's: this version has no other city."""
    for name, value in facts(run.tables["facts"]).items():
        if name.lower() in ATTRIBUTION_FACTS and value:
            return value
    from flexcore.study.cities.source import ATTRIBUTION

    return ATTRIBUTION


def about_section(run: DayRun) -> Section:
    """Return how it was computed, how to cite it, the licence of the data, and the time each phase took."""
    network = facts(run.tables["facts"]).get("network", run.city)
    longest = max(run.seconds.values(), default=0.0)
    bars = [(name, seconds, f"{seconds:.2f} s", "") for name, seconds in run.seconds.items()]
    parts = [
        "<h3>Method</h3>",
        f"<p>{capability_note(run.tables)} A certified capability is safe for any dispatch within it, for every flow "
        "within the band of the forecast; the AC check after each global session shows what is left: needs that nobody "
        "could serve. Prices are pay-as-bid, money and energy are exact integers, "
        "and the same input gives the same result.</p>",
        "<h3>How to cite</h3>",
        f"<p>flexcore {esc(flexcore.__version__)}, coordination scheme <code>{esc(run.scheme)}</code>, "
        f"{esc(run.city)}, delivery day "
        f"{esc(run.day.date)}, seed {run.seed}. To compute it again: <code>flexcore run --code "
        f"{esc(network)} --day {esc(run.day.date)} --seed {run.seed}</code>. "
        "Process and key figures: BeFlexible D4.1.</p>",
        "<h3>Data</h3>",
        f"<p>{esc(attribution(run))} SimBench data is licensed under the Open Database License (ODbL) 1.0: name the "
        "source "
        "wherever these results are shown.</p>",
    ]
    if longest:
        parts += [f"<h3>Time: {sum(run.seconds.values()):.1f} s</h3>", value_bars(bars)]
    return Section("about", "Method, citation, data", "", parts)
