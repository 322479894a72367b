"""Statements as pages for paper and screen: one BSP and a period, or one POD and a day; no script, no network."""

import datetime as dt
from pathlib import Path
from typing import Any

import flexcore
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.statement import BspStatement, PodStatement, RunFacts
from flexcore.settlement.terms import SettlementTerms
from flexcore.settlement.trace import TraceStep
from flexcore.study.report.columns import eur, mwh, number, percent
from flexcore.study.report.page import Section, esc, fact_list, html_table, none, tile
from flexcore.study.report.statement_chart import hours_chart, profile_chart
from flexcore.study.report.style import CSS, LIGHT

_MARKET = {"local": "local (DSO)", "global": "global (TSO)"}
_AMOUNTS = {
    "pay_ueur": "pay",
    "penalty_ueur": "penalty",
    "availability_ueur": "availability",
    "net_ueur": "net",
}
_SHEET = (
    """
.head,main,footer{max-width:920px}
.head .kind{color:var(--muted);font-size:.8rem;letter-spacing:.09em;text-transform:uppercase;margin:0}
h1{overflow-wrap:anywhere}
section{padding:1.1rem 1.3rem;margin:.9rem 0}
h2{font-size:1.12rem}
.tiles{grid-template-columns:repeat(auto-fit,minmax(180px,1fr))}
.tile.main{background:var(--local-soft)}
.tile b{font-size:1.4rem}
.facts{grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr))}
.facts dt{white-space:nowrap}
.tiles+.cap{margin-top:.9rem}
td.k,th.k{white-space:nowrap}
.chart{display:block;width:100%;min-width:600px;height:auto;margin:.3rem 0}
.chart text{font:11px system-ui,sans-serif;fill:var(--muted)}
details summary{cursor:pointer;font-weight:600;font-size:.9rem;padding:.2rem 0}
.yes{color:var(--green);font-weight:600}.no{color:var(--red);font-weight:600}
@media print{.head,main,footer{max-width:none;padding-left:0;padding-right:0}section{margin:0 0 .55rem;padding:0}
h1{font-size:16pt}h2{font-size:11pt}body{font-size:9pt}.tile{border:1px solid var(--line);padding:.3rem .5rem}
.tile b{font-size:12pt}.head{padding-top:0}.annex{break-before:page}.facts div{padding:.1rem 0}
p{margin:.15rem 0 .3rem}.sub{margin-bottom:.4rem}
table,table.dense{font-size:7pt}th,.dense th{font-size:6.6pt}th,td,.dense th,.dense td{padding:.06rem .22rem}
.cap,.facts div,.lead,.note{font-size:7.5pt}.tiles{grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:.4rem}
.tile .name,.tile .more{font-size:7.5pt}.chart{min-width:0}thead{display:table-header-group}
:root,:root:not([data-theme=light]){color-scheme:light;"""
    + "".join(f"--{name.replace('_', '-')}:{value};" for name, value in LIGHT.items())
    + "}}\n"
)


def write_bsp_statement(statement: BspStatement, path: str | Path) -> Path:
    """Write the statement of a BSP as one HTML file.

    Parameters
    ----------
    statement : BspStatement
    path : str or Path
        File to write; folders are made.

    Returns
    -------
    Path
        The file.
    """
    sections = [
        _invoice(statement),
        _hours(statement),
        _aggregates(statement),
        _corrections(statement),
        _terms(statement.terms),
        _run(statement.runs, statement.ledger_leaf),
        _pods(statement),
    ]
    status = "final" if all(run.status == "final" for run in statement.runs) else "preliminary"
    return _write(path, "Settlement statement", statement.bsp, [statement.period, status], sections)


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
        _terms((statement.terms,)),
        _run((statement.run,), statement.ledger_leaf),
    ]
    sub = [statement.date, f"provider {statement.bsp}", statement.run.status]
    return _write(path, "Statement of one point of delivery", statement.pod, sub, sections)


def _write(path: str | Path, kind: str, name: str, sub: list[str], sections: list[Section]) -> Path:
    body = "\n".join(section.to_html() for section in sections)
    body = body.replace('<section id="pods">', '<section id="pods" class="annex">')
    under = "".join(f"<span>{esc(text)}</span>" for text in sub)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="flexcore">
<title>{esc(kind)}: {esc(name)}, {esc(sub[0])}</title>
<style>{CSS}{_SHEET}</style>
</head>
<body>
<header class="head"><p class="kind">{esc(kind)}</p><h1>{esc(name)}</h1><div class="sub">{under}</div></header>
<main>
{body}
</main>
<footer>Made by flexcore {esc(flexcore.__version__)}. Energies and amounts are exact sums of whole watt
quarter-hours and micro-euros; only what is shown is rounded.</footer>
</body>
</html>
"""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _table(heads: list[str], rows: Any, *, first: str, **more: Any) -> str:
    """Return a table; `first` are the kinds of its first columns (see `html_table`), the others are numbers."""
    return html_table(heads, rows, numeric=first.ljust(len(heads), "n"), **more)


def _shown_amounts(table: Any) -> list[str]:
    """Amount columns in their order, without those that are zero throughout; pay and net always."""
    names = [name for name in table.column_names if name.endswith("_ueur")]
    return [name for name in names if name in ("pay_ueur", "net_ueur") or any(table.column(name).to_pylist())]


def _label(name: str) -> str:
    return f"{_AMOUNTS.get(name, name.removesuffix('_ueur').replace('_', ' '))} EUR"


def _kwh(wqh: int, digits: int = 2) -> str:
    return number(1000 * mwh(wqh), digits)


def _sum(table: Any, name: str) -> int:
    return int(sum(table.column(name).to_pylist()))


def _invoice(statement: BspStatement) -> Section:
    """Return what each operator pays, in cents."""
    rows = statement.accounts.to_pylist()
    total = statement.totals().to_pylist()[0]
    tiles = [tile("to be paid to the BSP", number(statement.net_cents / 100, 2), "EUR", "all operators together")]
    tiles[0] = tiles[0].replace('class="tile"', 'class="tile main"')
    tiles += [tile(_MARKET[row["operator"]], number(row["net_cents"] / 100, 2), "EUR") for row in rows]
    part = percent(total["delivered_wqh"], total["ordered_wqh"], 1)
    n_pods = len(set(statement.pods.column("pod").to_pylist()))
    tiles.append(tile("delivered of ordered", part, "", f"{number(mwh(total['ordered_wqh']), 3)} MWh, {n_pods:,} PODs"))
    amounts = _shown_amounts(statement.accounts)
    cells = [
        (
            _MARKET[row["operator"]],
            f"{row['n_lines']:,}",
            *(number(mwh(row[name]), 3) for name in ("ordered_wqh", "delivered_wqh", "paid_wqh")),
            *(number(eur(row[name]), 6 if name == "net_ueur" else 2) for name in amounts),
            number(row["net_cents"] / 100, 2),
        )
        for row in rows
    ]
    foot = [
        "all",
        f"{total['n_lines']:,}",
        *(number(mwh(total[name]), 3) for name in ("ordered_wqh", "delivered_wqh", "paid_wqh")),
        *(number(eur(total[name]), 6 if name == "net_ueur" else 2) for name in amounts),
        number(statement.net_cents / 100, 2),
    ]
    table = _table(
        ["market", "lines", "ordered MWh", "delivered MWh", "paid MWh", *map(_label, amounts), "invoiced EUR"],
        cells,
        first="k",
        foot=foot,
        caption="One invoice for each market; cents are rounded once, here. A negative amount is paid by the BSP.",
    )
    body = table if rows else none("Nothing was ordered from this BSP.")
    return Section("invoice", "What is paid", "", [f'<div class="tiles">{"".join(tiles)}</div>', body])


def _hours(statement: BspStatement) -> Section:
    units = statement.totals("unit").to_pylist() if statement.lines.num_rows else []
    if not units:
        return Section("hours", "Ordered and delivered", "", [none("No order.")])
    ordered = [mwh(row["ordered_wqh"]) * 1000 for row in units]
    delivered = [mwh(row["delivered_wqh"]) * 1000 for row in units]
    lead = (
        "By market time unit, in kWh: what was ordered (outline) and what was delivered against the baseline (filled)."
    )
    return Section(
        "hours", "Ordered and delivered", lead, [hours_chart([row["unit"] for row in units], ordered, delivered)]
    )


def _aggregates(statement: BspStatement) -> Section:
    """Return totals by aggregate and direction, and by day if there are several."""
    amounts = _shown_amounts(statement.accounts)
    parts = []
    for keys, heads in (
        (("operator", "aggregate", "direction"), ("market", "aggregate", "direction")),
        *(((("day",), ("day",)),) if len(statement.runs) > 1 else ()),
    ):
        found = statement.totals(*keys)
        cells = [
            (
                *(row[key] for key in keys),
                f"{row['n_lines']:,}",
                *(_kwh(row[name]) for name in ("ordered_wqh", "delivered_wqh")),
                percent(row["delivered_wqh"], row["ordered_wqh"], 1),
                *(number(eur(row[name]), 2) for name in amounts),
            )
            for row in found.to_pylist()
        ]
        parts.append(
            _table(
                [*heads, "lines", "ordered kWh", "delivered kWh", "delivered", *map(_label, amounts)],
                cells,
                first="." + "k" * (len(heads) - 1),
                dense=True,
            )
        )
    return Section(
        "aggregates", "By aggregate and direction", "", parts if statement.lines.num_rows else [none("None.")]
    )


def _corrections(statement: BspStatement) -> Section:
    """Return what changed against the runs that are cited."""
    title = "Corrections"
    cited = [run for run in statement.runs if run.cites]
    if not cited:
        return Section("corrections", title, "", ["<p>This is the first run of the period: it corrects none.</p>"])
    rows = statement.changes.to_pylist()
    why = "; ".join(f"run {run.cites} of {run.period}{f', {run.reason}' if run.reason else ''}" for run in cited)
    lead = f"Corrects {esc(why)}."
    if not rows:
        return Section("corrections", title, lead, [none("No line of this BSP changed.")])
    cells = [
        (
            row["day"], row["operator"], row["aggregate"], row["direction"], row["unit"],
            number(eur(row["before_ueur"]), 6), number(eur(row["after_ueur"]), 6),
            number(eur(row["after_ueur"] - row["before_ueur"]), 6),
        )
        for row in rows
    ]  # fmt: skip
    change = _sum(statement.changes, "after_ueur") - _sum(statement.changes, "before_ueur")
    table = _table(
        ["day", "market", "aggregate", "direction", "unit", "before EUR", "now EUR", "change EUR"],
        cells,
        first="k...",
        dense=True,
        foot=("all", "", "", "", "", "", "", number(eur(change), 6)),
    )
    return Section("corrections", title, lead, [table])


def _pods(statement: BspStatement) -> Section:
    """Return the PODs behind the statement."""
    amounts = _shown_amounts(statement.pods)
    cells = [
        (
            row["operator"],
            row["pod"],
            *(_kwh(row[name], 3) for name in ("ordered_wqh", "delivered_wqh")),
            percent(row["delivered_wqh"], row["ordered_wqh"], 1),
            *(number(eur(row[name]), 6) for name in amounts),
        )
        for row in statement.pods.to_pylist()
    ]
    foot = [_kwh(_sum(statement.pods, name), 3) for name in ("ordered_wqh", "delivered_wqh")]
    foot += [percent(_sum(statement.pods, "delivered_wqh"), _sum(statement.pods, "ordered_wqh"), 1)]
    foot += [number(eur(_sum(statement.pods, name)), 6) for name in amounts]
    table = _table(
        ["market", "POD", "ordered kWh", "delivered kWh", "delivered", *map(_label, amounts)],
        cells,
        first=".k",
        dense=True,
        foot=("all", "", *foot),
    )
    lead = (
        "Shares add up to the amounts above, to the micro-euro. `flexcore statement --pod` shows one of them in full."
    )
    body = table if cells else none("None.")
    return Section(
        "pods", "PODs", lead.replace("`flexcore statement --pod`", "<code>flexcore statement --pod</code>"), [body]
    )


def _per_mille(ppm: int) -> str:
    return number(ppm / 10_000, 2, "%")


def _terms(terms: tuple[SettlementTerms, ...]) -> Section:
    """Return the terms that were applied."""
    parts = []
    for one in terms:
        price = one.price_ueur_per_mwh
        points = ", ".join(f"{_per_mille(f)} at {_per_mille(r)}" for r, f in one.factor_ppm)
        facts = [
            ("price of energy", "as offered" if price is None else number(eur(price), 2, "EUR/MWh")),
            ("paid up to", f"{_per_mille(one.cap_ppm)} of the order"),
            ("pay factor", "none" if one.factor_ppm == ((0, 1_000_000),) else points),
            ("penalty", number(eur(one.penalty_ueur_per_mwh), 2, "EUR/MWh missing")),
            ("tolerance", f"{_per_mille(one.tolerance_ppm)} of the order"),
            ("availability", number(eur(one.availability_ueur_per_mw_h), 2, "EUR/MW and hour")),
            ("wrong way", "counts against the aggregate" if one.netting == "aggregate" else "counts as zero"),
            ("source", one.source or "not said"),
        ]
        facts += [("not verified", ", ".join(one.unverified))] if one.unverified else []
        parts.append(fact_list(facts))
    lead = "Rule SET-01: paid is what is delivered up to the order; charged is what is missing beyond the tolerance."
    return Section("terms", "Terms", lead, parts)


def _run(runs: tuple[RunFacts, ...], leaf: str | None) -> Section:
    """Return what identifies the settlement, for whoever wants to compute it again."""
    parts = [
        fact_list(
            [
                ("period", run.period),
                ("run", run.run_id),
                ("status", run.status),
                ("corrects", run.cites or "no earlier run"),
                ("ledger", leaf or "not entered yet"),
                ("rules", "MET-01, BAS-01 to 03, SET-01 to 04"),
            ]
        )
        + f"<p>Digest of the inputs <code>{esc(run.digest)}</code></p>"
        for run in runs
    ]
    lead = "Rule SET-04: the same inputs give the same run; a final run is never changed, a correction cites it."
    return Section("run", "Where it comes from", lead, parts)


def _summary(statement: PodStatement) -> Section:
    total = statement.totals().to_pylist()[0]
    part = percent(total["delivered_wqh"], total["ordered_wqh"], 1)
    n_read = sum(value is not None for value in statement.intervals.column("metered_w").to_pylist())
    n = statement.intervals.num_rows
    tiles = [
        tile(
            "share of this POD, net",
            number(eur(total["net_ueur"]), 4),
            "EUR",
            "paid to the BSP, which settles with the POD",
        ),
        tile("ordered", _kwh(total["ordered_wqh"], 3), "kWh", f"{n} quarter-hours, {n_read} of them read"),
        tile("delivered", _kwh(total["delivered_wqh"], 3), "kWh", f"{part} of the order"),
    ]
    tiles[0] = tiles[0].replace('class="tile"', 'class="tile main"')
    chart = profile_chart(statement.profile.to_pylist(), statement.intervals.to_pylist())
    return Section("summary", "The day", "", [f'<div class="tiles">{"".join(tiles)}</div>', chart])


def _money(statement: PodStatement) -> Section:
    amounts = _shown_amounts(statement.lines)
    cells = [
        (
            row["start"], row["operator"], row["aggregate"], row["direction"],
            _kwh(row["ordered_wqh"], 3), _kwh(row["delivered_wqh"], 3), number(eur(row["price_ueur_per_mwh"]), 2),
            *(number(eur(row[name]), 6) for name in amounts),
        )
        for row in statement.lines.to_pylist()
    ]  # fmt: skip
    foot = [_kwh(_sum(statement.lines, name), 3) for name in ("ordered_wqh", "delivered_wqh")]
    foot += ["", *(number(eur(_sum(statement.lines, name)), 6) for name in amounts)]
    table = _table(
        ["from", "market", "aggregate", "direction", "ordered kWh", "delivered kWh", "EUR/MWh", *map(_label, amounts)],
        cells,
        first="k.k.",
        dense=True,
        foot=("all", "", "", "", *foot),
    )
    lead = (
        "Shares of the amounts of the aggregate, by what each POD delivered (rule SET-03), in exact micro-euros: cents "
        "are rounded once, on the statement of the BSP."
    )
    return Section("money", "Money", lead, [table])


def _watts(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _quarter_hours(statement: PodStatement) -> Section:
    """Return the intervals in the form of a flexibility settlement: baseline, order, reading, delivered, deficiency."""
    cells = [
        (
            row["start"], row["operator"], row["direction"],
            *(_watts(row[name]) for name in (
                "baseline_w", "ordered_w", "set_point_w", "metered_w", "delivered_w", "deficiency_w")),
        )
        for row in statement.intervals.to_pylist()
    ]  # fmt: skip
    table = _table(
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
        ("rule", "BAS-01, BAS-02"),
        ("method", rule.method.replace("_", " ")),
        ("reference days", f"{len(behind.dates)}"),
        ("same-day adjustment", rule.adjustment),
        ("source", rule.source or "not said"),
    ]
    facts += [("not verified", ", ".join(rule.unverified))] if rule.unverified else []
    parts = [fact_list(facts)]
    steps = statement.intervals.to_pylist()
    if behind.dates:
        again = {step.name: step for step in statement.trace.steps if step.rule == "BAS-01"}
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
            _table(
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
        table = _table(["rule", "number", "how", "value", "unit", "again"], cells, first="k.wnk.", dense=True)
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
