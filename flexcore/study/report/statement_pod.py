"""The statement of a POD for a day as a page for paper and screen; no script, no network."""

import datetime as dt
from pathlib import Path

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.pod_evidence import DayChoice
from flexcore.settlement.statement import PodStatement
from flexcore.settlement.trace import TraceStep
from flexcore.study.report.columns import number, percent
from flexcore.study.report.page import Section, esc, fact_list, none, tile
from flexcore.study.report.statement_chart import profile_chart
from flexcore.study.report.statement_sheet import (
    amount_label,
    column_sum,
    kwh,
    money,
    price,
    run_section,
    sheet_table,
    shown_amounts,
    terms_section,
    write_sheet,
)


def write_pod_statement(statement: PodStatement, path: str | Path) -> Path:
    """Write the statement of a POD as one HTML file.

    Parameters
    ----------
    statement : PodStatement
    path : str or Path
        File to write; folders are made.

    Returns
    -------
    Path
        The file.
    """
    sections = [
        _summary(statement),
        _money(statement),
        _quarter_hours(statement),
        _baseline(statement),
        _chain(statement),
        terms_section((statement.terms,)),
        run_section((statement.run,), statement.ledger_leaf),
    ]
    sub = [statement.date, f"provider {statement.bsp}", statement.run.status]
    return write_sheet(path, "Statement of one point of delivery", statement.pod, sub, sections)


def _summary(statement: PodStatement) -> Section:
    total = statement.totals().to_pylist()[0]
    part = percent(total["delivered_wqh"], total["ordered_wqh"], 1)
    n_read = sum(value is not None for value in statement.intervals.column("metered_w").to_pylist())
    n = statement.intervals.num_rows
    tiles = [
        tile(
            "share of this POD, net",
            money(total["net_ueur"]),
            "EUR",
            f"{'paid' if total['net_ueur'] >= 0 else 'charged'} to the BSP, which settles with the POD",
        ),
        tile("ordered", kwh(total["ordered_wqh"], 3), "kWh", f"{n} quarter-hours, {n_read} of them read"),
        tile("delivered", kwh(total["delivered_wqh"], 3), "kWh", f"{part} of the order"),
    ]
    tiles[0] = tiles[0].replace('class="tile"', 'class="tile main"')
    chart = profile_chart(statement.profile.to_pylist(), statement.intervals.to_pylist())
    return Section("summary", "The day", "", [f'<div class="tiles">{"".join(tiles)}</div>', chart])


def _money(statement: PodStatement) -> Section:
    amounts = shown_amounts(statement.lines)
    cells = [
        (
            row["start"], row["operator"], row["aggregate"], row["direction"],
            kwh(row["ordered_wqh"], 3), kwh(row["delivered_wqh"], 3), price(row["price_ueur_per_mwh"]),
            *(money(row[name]) for name in amounts),
        )
        for row in statement.lines.to_pylist()
    ]  # fmt: skip
    foot = [kwh(column_sum(statement.lines, name), 3) for name in ("ordered_wqh", "delivered_wqh")]
    foot += ["", *(money(column_sum(statement.lines, name)) for name in amounts)]
    table = sheet_table(
        [
            "from",
            "market",
            "aggregate",
            "direction",
            "ordered kWh",
            "delivered kWh",
            "EUR/MWh",
            *map(amount_label, amounts),
        ],
        cells,
        first="k.k.",
        dense=True,
        foot=("all", "", "", "", *foot),
    )
    lead = (
        "Shares of the amounts of the aggregate (rule SET-03; the chain says by what), in exact micro-euros: cents are "
        "rounded once, on the statement of the BSP."
    )
    return Section("money", "Money", lead, [table])


def _watts(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _quarter_hours(statement: PodStatement) -> Section:
    """Return the intervals in the form of a flexibility settlement: baseline, order, reading, delivered, deficiency."""
    rows = statement.intervals.to_pylist()
    cells = [
        (
            row["start"], row["operator"], row["direction"],
            *(_watts(row[name]) for name in ("baseline_w", "ordered_w", "set_point_w")),
            _watts(row["metered_w"]) + " (estimated)" * row["estimated"],
            *(_watts(row[name]) for name in ("delivered_w", "deficiency_w")),
        )
        for row in rows
    ]  # fmt: skip
    table = sheet_table(
        ["from", "market", "direction", "baseline", "order", "set-point", "reading", "delivered", "missing"],
        cells,
        first="k..",
        dense=True,
    )
    version = "" if statement.evidence is None else f" Readings: version {esc(statement.evidence.reading_version)}."
    lead = (
        "Mean power in W, positive = withdrawal. Delivered is baseline minus reading for an order up, reading minus "
        f"baseline for one down; what was not read counts as not delivered.{version}"
    )
    if any(row["estimated"] for row in rows):
        lead += " A reading that the meter operator estimated is never credited above the order."
    return Section("quarter-hours", "Ordered quarter-hours", lead, [table])


def _baseline(statement: PodStatement) -> Section:
    """Return the rule, and the readings of the reference days in the ordered quarter-hours."""
    title = "How the baseline was made"
    behind = statement.evidence
    if behind is None:
        return Section("baseline", title, "", [none("The run holds nothing about the baseline of this POD.")])
    rule = behind.rule
    facts = [
        ("preset", behind.preset),
        ("rule", "BAS-03" if rule.method == "nominated" else "BAS-01, BAS-02"),
        ("method", rule.method.replace("_", " ")),
        ("reference days", f"{len(behind.dates)}"),
        ("same-day adjustment", rule.adjustment),
        ("source", rule.source or "not said"),
    ]
    facts += [("not verified", ", ".join(rule.unverified))] if rule.unverified else []
    facts += [("declared by", behind.submission)] if behind.submission else []
    if behind.choice is not None:
        facts += [("which days", "; ".join(behind.choice.rule.steps)), ("days looked at", _days_said(behind.choice))]
    parts = [fact_list(facts)]
    steps = statement.intervals.to_pylist()
    if behind.dates:
        again = {step.name: step for step in statement.trace.steps if step.name.startswith("baseline ")}
        cells = []
        for row in steps:
            values = behind.reference_w[:, row["step"]].tolist()
            read = [value for value in values if value != MISSING_W]
            found = again.get(f"baseline {row['start']}")
            cells.append(
                (
                    row["start"],
                    *("none" if value == MISSING_W else f"{value:,}" for value in values),
                    f"{sum(read):,}",
                    number(sum(read) / len(read), 1) if read else "none",
                    _watts(row["baseline_w"])
                    + ("" if found is None or found.given else " ✓" if found.agrees else " ✗"),
                )
            )
        parts.append(
            sheet_table(
                ["from", *map(_short, behind.dates), "sum", "mean", "baseline"],
                cells,
                first="k",
                dense=True,
                caption=f"Readings of the reference days {behind.dates[0]} to {behind.dates[-1]}, in W. The baseline "
                "is their mean with the same-day adjustment; ✓: computed again from these readings",
            )
        )
        words = dict.fromkeys(_adjustment(step) for step in again.values())
        parts += [f"<p>{esc(text)}</p>" for text in words if text]
    else:
        parts.append("<p>This baseline averages no past days: it was declared, or it follows from the day itself.</p>")
    return Section("baseline", title, "", parts)


def _days_said(choice: DayChoice) -> str:
    """Count the past days by what became of them; the chain below names each."""
    said = ["first choice" if order == 1 else "; ".join(lost) or "may be used"
            for order, lost in zip(choice.order, choice.lost, strict=True)]  # fmt: skip
    return ", ".join(f"{said.count(text)} {text}" for text in dict.fromkeys(said))


def _short(date: str) -> str:
    """Return a date as day and month, for narrow columns; what is no date stays as it is."""
    try:
        return dt.date.fromisoformat(date).strftime("%d %b")
    except ValueError:
        return date


def _adjustment(step: TraceStep) -> str:
    _, _, text = step.how.partition(" days ")
    return f"Adjustment of the event: mean {text}" if text else ""


def _chain(statement: PodStatement) -> Section:
    """Return every number of the chain, as the settlement has it and as it came out again."""
    steps = statement.trace.steps
    checked = [step for step in steps if not step.given]
    wrong = [step for step in checked if not step.agrees]
    open_steps = statement.trace.not_computed
    parts = []
    for place in dict.fromkeys(step.part for step in steps):
        cells = [
            (
                step.rule, step.name, step.how, _watts(step.value), step.unit,
                "given" if step.given else "✓" if step.agrees else f"✗ {_watts(step.again)}",
            )
            for step in steps
            if step.part == place
        ]  # fmt: skip
        table = sheet_table(["rule", "number", "how", "value", "unit", "again"], cells, first="k.wnk.", dense=True)
        parts.append(f"<details><summary>{esc(place)}</summary>{table}</details>")
    verdict = (
        f'<p class="yes">{len(checked):,} of {len(checked):,} numbers came out the same when computed again.</p>'
        if not wrong
        else f'<p class="no">{len(wrong):,} of {len(checked):,} numbers did not come out the same again.</p>'
    )
    if open_steps:
        names = ", ".join(dict.fromkeys(step.name.rsplit(" ", 1)[0] for step in open_steps))
        verdict += f"<p>Taken as given: {len(open_steps):,} numbers ({esc(names)}), and the readings.</p>"
    lead = "From readings to cents, each step with its rule: baseline, delivered, paid, price, pay, share, cents."
    return Section("chain", "Every number again", lead, [verdict, *parts])
