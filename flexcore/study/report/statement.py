"""The statement of a BSP for a period as a page for paper and screen; no script, no network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flexcore.settlement.statement import BspStatement
from flexcore.settlement.statement_tables import sums
from flexcore.settlement.statements import UEUR_PER_CENT
from flexcore.settlement.terms import ONE_PPM
from flexcore.study.report.columns import mwh, number, percent
from flexcore.study.report.page import Section, esc, none, tile
from flexcore.study.report.statement_chart import hours_chart
from flexcore.study.report.statement_sheet import (
    MARKET,
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

#: Counts of ordered quarter-hours that lines show where there are any: head and what it means.
_COUNTS = {
    "n_missing": ("not read", "Ordered quarter-hours that were not read count as not delivered."),
    "n_estimated": ("estimated", "Where the meter operator estimated a reading, no POD is credited above its order."),
}
#: How amounts make the net.
_SIGNS = {"penalty_ueur": "\N{MINUS SIGN}", "fee_ueur": "\N{MINUS SIGN}", "net_ueur": "="}


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
        *([] if statement.contracts is None else [_contracts(statement)]),
        _corrections(statement),
        terms_section(statement.terms),
        run_section(statement.runs, statement.ledger_leaf),
        _lines(statement),
        _pods(statement),
    ]
    status = "final" if all(run.status == "final" for run in statement.runs) else "preliminary"
    return write_sheet(path, "Settlement statement", statement.bsp, [statement.period, status], sections)


def _invoice(statement: BspStatement) -> Section:
    """Return what each operator pays, in cents."""
    rows = statement.accounts.to_pylist()
    total = statement.totals().to_pylist()[0]
    owed = "to" if statement.net_cents >= 0 else "by"
    tiles = [tile(f"to be paid {owed} the BSP", _cents(abs(statement.net_cents)), "EUR", "all operators together")]
    tiles[0] = tiles[0].replace('class="tile"', 'class="tile main"')
    tiles += [tile(MARKET[row["operator"]], _cents(row["net_cents"]), "EUR") for row in rows]
    part = percent(total["delivered_wqh"], total["ordered_wqh"], 1)
    n_pods = len(set(statement.pods.column("pod").to_pylist()))
    tiles.append(tile("delivered of ordered", part, "", f"{number(mwh(total['ordered_wqh']), 3)} MWh, {n_pods:,} PODs"))
    shown: list[tuple[str, str, Callable[[int], str]]] = [("lines", "n_lines", "{:,}".format)]
    shown += [(f"{name} MWh", f"{name}_wqh", _mwh) for name in ("ordered", "delivered", "paid")]
    shown += [
        (f"{_SIGNS.get(name, '+')} {amount_label(name)}", name, money) for name in shown_amounts(statement.accounts)
    ]
    table = sheet_table(
        ["", *(MARKET[row["operator"]] for row in rows), "all"],
        [
            (what, *(show(row[name]) for row in rows), show(sum(row[name] for row in rows)))
            for what, name, show in shown
        ],
        first="k",
        foot=["invoiced EUR", *(_cents(row["net_cents"]) for row in rows), _cents(statement.net_cents)],
        caption="One invoice for each market; cents are rounded once, here. A negative amount is paid by the BSP.",
    )
    body = table if rows else none("Nothing was ordered from this BSP.")
    return Section("invoice", "What is paid", "", [f'<div class="tiles">{"".join(tiles)}</div>', body])


def _mwh(wqh: int) -> str:
    return number(mwh(wqh), 3)


def _cents(cents: int) -> str:
    return money(cents * UEUR_PER_CENT, 2)


def _hours(statement: BspStatement) -> Section:
    bars: dict[tuple[int, str], list[int]] = {}
    several = len(statement.runs) > 1
    for row in statement.lines.select(["unit", "start", "ordered_wqh", "delivered_wqh"]).to_pylist():
        # where the clock changes, a unit is another hour than on other days: several days are put together by the clock
        bar = bars.setdefault((0, row["start"][:5]) if several else (row["unit"], row["start"]), [0, 0])
        bar[0] += row["ordered_wqh"]
        bar[1] += row["delivered_wqh"]
    if not bars:
        return Section("hours", "Ordered and delivered", "", [none("No order.")])
    keys = sorted(bars)
    places = list(range(len(keys))) if several else [unit for unit, _ in keys]
    ordered, delivered = ([1000 * mwh(bars[key][k]) for key in keys] for k in (0, 1))
    days = f", all {len(statement.runs)} days together" if several else ""
    lead = (
        f"By market time unit, in kWh{days}: what was ordered (outline) and what was delivered against the baseline "
        "(filled), up and down together."
    )
    chart = hours_chart(places, [name for _, name in keys], ordered, delivered)
    return Section("hours", "Ordered and delivered", lead, [chart])


def _aggregates(statement: BspStatement) -> Section:
    """Return totals by aggregate and direction, and by day if there are several."""
    amounts = shown_amounts(statement.lines)
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
                *(kwh(row[name]) for name in ("ordered_wqh", "delivered_wqh")),
                percent(row["delivered_wqh"], row["ordered_wqh"], 1),
                *(money(row[name]) for name in amounts),
            )
            for row in found.to_pylist()
        ]
        foot = ["all", *[""] * (len(keys) - 1), *_sums(statement.lines, amounts)]
        parts.append(
            sheet_table(
                [*heads, "lines", "ordered kWh", "delivered kWh", "delivered", *map(amount_label, amounts)],
                cells,
                first="k" * len(heads),
                dense=True,
                foot=foot,
            )
        )
    return Section(
        "aggregates", "By aggregate and direction", "", parts if statement.lines.num_rows else [none("None.")]
    )


def _sums(table: Any, amounts: list[str]) -> list[str]:
    """Return number of rows, energies and amounts of a whole table."""
    ordered, delivered = (column_sum(table, name) for name in ("ordered_wqh", "delivered_wqh"))
    part = percent(delivered, ordered, 1)
    return [
        f"{table.num_rows:,}", kwh(ordered), kwh(delivered), part, *(money(column_sum(table, name)) for name in amounts)
    ]  # fmt: skip


def _lines(statement: BspStatement) -> Section:
    """Return every line: the amounts that were rounded, each once, and what they follow from."""
    title, table = "Lines", statement.lines
    if not table.num_rows:
        return Section("lines", title, "", [none("None.")])
    amounts, several = shown_amounts(table), len(statement.runs) > 1
    factor = set(table.column("factor_ppm").to_pylist())
    counts = [name for name in _COUNTS if column_sum(table, name)]
    energies = ("ordered_wqh", "delivered_wqh", "paid_wqh", "shortfall_wqh")
    heads = ["from", "market", "aggregate", "direction", "ordered", "delivered", "paid", "missing", "EUR/MWh"]
    heads = [*(["day"] if several else []), *heads]
    heads += [*(["factor"] if factor != {ONE_PPM} else []), *(_COUNTS[name][0] for name in counts)]
    order = [("day", "ascending"), ("unit", "ascending"), ("operator", "descending"), ("aggregate", "ascending")]
    cells = [
        (
            *([row["day"]] if several else []),
            row["start"], row["operator"], row["aggregate"], row["direction"],
            *(kwh(row[name], 3) for name in energies),
            price(row["price_ueur_per_mwh"]),
            *([number(row["factor_ppm"] / 10_000, 4, "%")] if factor != {ONE_PPM} else []),
            *(f"{row[name]:,}" for name in counts),
            *(money(row[name]) for name in amounts),
        )
        for row in table.sort_by([*order, ("direction", "descending")]).to_pylist()
    ]  # fmt: skip
    foot = ["all", *[""] * (3 + several), *(kwh(column_sum(table, name), 3) for name in energies)]
    foot += [""] * (len(heads) - len(foot))
    foot += [money(column_sum(table, name)) for name in amounts]
    lead = (
        "What is settled: one line for each market time unit, aggregate and direction, in kWh. Each amount is rounded "
        "once, to the micro-euro; missing is what is short of the order beyond the tolerance."
    )
    lead = " ".join([lead, *(_COUNTS[name][1] for name in counts)])
    found = sheet_table(
        [*heads, *map(amount_label, amounts)], cells, first="k" * several + "k.k.", dense=True, foot=foot
    )
    return Section("lines", title, lead, [found])


def _contracts(statement: BspStatement) -> Section:
    """Return availability of contracts, and fees."""
    cells = [
        (
            row["part"],
            row["operator"],
            row["name"],
            *("" if row[name] is None else f"{row[name]:,}" for name in ("quarters", "kept", "refused")),
            "" if row["due_ueur"] is None else money(row["due_ueur"]),
            "" if row["quantity_wqh"] is None else number(mwh(row["quantity_wqh"]), 3),
            money(row["net_ueur"]),
        )
        for row in statement.contracts.to_pylist()
    ]
    heads = ["", "market", "what", "quarter-hours", "kept", "refused", "due EUR", "MWh", "to the BSP EUR"]
    table = sheet_table(
        heads, cells, first="..k", dense=True,
        foot=("all", *[""] * 7, money(column_sum(statement.contracts, "net_ueur"))),
    )  # fmt: skip
    lead = "Availability of contracts for the period, and fees of the market operator, which the BSP pays."
    return Section("contracts", "Contracts and fees", lead, [table if cells else none("None.")])


def _corrections(statement: BspStatement) -> Section:
    """Return what changed against the runs that are cited."""
    title = "Corrections"
    cited = [run for run in statement.runs if run.cites]
    if not cited:
        return Section("corrections", title, "", ["<p>This is the first run of the period: it corrects none.</p>"])
    rows = statement.changes.to_pylist()
    why = "; ".join(f"run {run.cites} of {run.period}{f', {run.reason}' if run.reason else ''}" for run in cited)
    lead = f"Corrects {esc(why)}."
    unknown = set(statement.not_compared)
    if unknown:
        lead += f" What changed is not shown: {len(unknown):,} of the cited runs are not at hand."
    if not rows:
        nothing = [] if unknown else [none("No line of this BSP changed.")]
        return Section("corrections", title, lead, nothing)
    cells = [
        (
            row["day"], row["start"], row["operator"], row["aggregate"], row["direction"],
            money(row["before_ueur"]), money(row["after_ueur"]), money(row["after_ueur"] - row["before_ueur"]),
        )
        for row in rows
    ]  # fmt: skip
    change = column_sum(statement.changes, "after_ueur") - column_sum(statement.changes, "before_ueur")
    table = sheet_table(
        ["day", "from", "market", "aggregate", "direction", "before EUR", "now EUR", "change EUR"],
        cells,
        first="kk.k.",
        dense=True,
        foot=("all", "", "", "", "", "", "", money(change)),
    )
    return Section("corrections", title, lead, [table])


def _pods(statement: BspStatement) -> Section:
    """Return the PODs behind the statement."""
    amounts = shown_amounts(statement.pods)
    cells = [
        (
            row["operator"],
            row["pod"],
            *(kwh(row[name], 3) for name in ("ordered_wqh", "delivered_wqh")),
            percent(row["delivered_wqh"], row["ordered_wqh"], 1),
            *(money(row[name]) for name in amounts),
        )
        for row in statement.pods.to_pylist()
    ]
    ordered, delivered = (column_sum(statement.pods, name) for name in ("ordered_wqh", "delivered_wqh"))
    foot = [kwh(ordered, 3), kwh(delivered, 3), percent(delivered, ordered, 1)]
    foot += [money(column_sum(statement.pods, name)) for name in amounts]
    table = sheet_table(
        ["market", "POD", "ordered kWh", "delivered kWh", "delivered", *map(amount_label, amounts)],
        cells,
        first=".k",
        dense=True,
        foot=("all", "", *foot),
    )
    lead = (
        f"{_shares_add_up(statement)} <code>flexcore statement --pod</code> shows one of them in full: readings, "
        "baseline days, and every number computed again."
    )
    return Section("pods", "PODs", lead, [table if cells else none("None.")])


def _shares_add_up(statement: BspStatement) -> str:
    """Say whether the shares of the PODs are the lines of each operator, to the micro-euro (SET-03)."""
    shares, lines = statement.pods.drop_columns(["n_lines"]), statement.lines
    names = [name for name in shares.column_names if name.endswith("_ueur")]
    lines, shares = (sums(table, ("operator",)).select(["operator", *names]) for table in (lines, shares))
    if lines.equals(shares):
        return '<span class="yes">The shares of the PODs add up to the lines, to the micro-euro.</span>'
    return '<span class="no">The shares of the PODs do not add up to the lines.</span>'
