"""The statement of a BSP for a period as a page for paper and screen; no script, no network."""

from pathlib import Path

from flexcore.settlement.statement import BspStatement
from flexcore.study.report.columns import eur, mwh, number, percent
from flexcore.study.report.page import Section, esc, none, tile
from flexcore.study.report.statement_chart import hours_chart
from flexcore.study.report.statement_sheet import (
    MARKET,
    amount_label,
    column_sum,
    kwh,
    run_section,
    sheet_table,
    shown_amounts,
    terms_section,
    write_sheet,
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
        *([] if statement.contracts is None else [_contracts(statement)]),
        _corrections(statement),
        terms_section(statement.terms),
        run_section(statement.runs, statement.ledger_leaf),
        _pods(statement),
    ]
    status = "final" if all(run.status == "final" for run in statement.runs) else "preliminary"
    return write_sheet(path, "Settlement statement", statement.bsp, [statement.period, status], sections)


def _invoice(statement: BspStatement) -> Section:
    """Return what each operator pays, in cents."""
    rows = statement.accounts.to_pylist()
    total = statement.totals().to_pylist()[0]
    tiles = [tile("to be paid to the BSP", number(statement.net_cents / 100, 2), "EUR", "all operators together")]
    tiles[0] = tiles[0].replace('class="tile"', 'class="tile main"')
    tiles += [tile(MARKET[row["operator"]], number(row["net_cents"] / 100, 2), "EUR") for row in rows]
    part = percent(total["delivered_wqh"], total["ordered_wqh"], 1)
    n_pods = len(set(statement.pods.column("pod").to_pylist()))
    tiles.append(tile("delivered of ordered", part, "", f"{number(mwh(total['ordered_wqh']), 3)} MWh, {n_pods:,} PODs"))
    amounts = shown_amounts(statement.accounts)
    cells = [
        (
            MARKET[row["operator"]],
            f"{row['n_lines']:,}",
            *(number(mwh(row[name]), 3) for name in ("ordered_wqh", "delivered_wqh", "paid_wqh")),
            *(number(eur(row[name]), 6 if name == "net_ueur" else 2) for name in amounts),
            number(row["net_cents"] / 100, 2),
        )
        for row in rows
    ]
    foot = [
        "all",
        f"{column_sum(statement.accounts, 'n_lines'):,}",
        *(number(mwh(total[name]), 3) for name in ("ordered_wqh", "delivered_wqh", "paid_wqh")),
        *(number(eur(column_sum(statement.accounts, name)), 6 if name == "net_ueur" else 2) for name in amounts),
        number(statement.net_cents / 100, 2),
    ]
    table = sheet_table(
        ["market", "lines", "ordered MWh", "delivered MWh", "paid MWh", *map(amount_label, amounts), "invoiced EUR"],
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
                *(number(eur(row[name]), 2) for name in amounts),
            )
            for row in found.to_pylist()
        ]
        parts.append(
            sheet_table(
                [*heads, "lines", "ordered kWh", "delivered kWh", "delivered", *map(amount_label, amounts)],
                cells,
                first="." + "k" * (len(heads) - 1),
                dense=True,
            )
        )
    return Section(
        "aggregates", "By aggregate and direction", "", parts if statement.lines.num_rows else [none("None.")]
    )


def _contracts(statement: BspStatement) -> Section:
    """Return availability of contracts, and fees."""
    cells = [
        (
            row["part"],
            row["operator"],
            row["name"],
            *("" if row[name] is None else f"{row[name]:,}" for name in ("quarters", "kept", "refused")),
            "" if row["due_ueur"] is None else number(eur(row["due_ueur"]), 6),
            "" if row["quantity_wqh"] is None else number(mwh(row["quantity_wqh"]), 3),
            number(eur(row["net_ueur"]), 6),
        )
        for row in statement.contracts.to_pylist()
    ]
    heads = ["", "market", "what", "quarter-hours", "kept", "refused", "due EUR", "MWh", "to the BSP EUR"]
    table = sheet_table(
        heads, cells, first="..k", dense=True,
        foot=("all", *[""] * 7, number(eur(column_sum(statement.contracts, "net_ueur")), 6)),
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
            row["day"], row["operator"], row["aggregate"], row["direction"], row["unit"],
            number(eur(row["before_ueur"]), 6), number(eur(row["after_ueur"]), 6),
            number(eur(row["after_ueur"] - row["before_ueur"]), 6),
        )
        for row in rows
    ]  # fmt: skip
    change = column_sum(statement.changes, "after_ueur") - column_sum(statement.changes, "before_ueur")
    table = sheet_table(
        ["day", "market", "aggregate", "direction", "unit", "before EUR", "now EUR", "change EUR"],
        cells,
        first="k...",
        dense=True,
        foot=("all", "", "", "", "", "", "", number(eur(change), 6)),
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
            *(number(eur(row[name]), 6) for name in amounts),
        )
        for row in statement.pods.to_pylist()
    ]
    foot = [kwh(column_sum(statement.pods, name), 3) for name in ("ordered_wqh", "delivered_wqh")]
    foot += [percent(column_sum(statement.pods, "delivered_wqh"), column_sum(statement.pods, "ordered_wqh"), 1)]
    foot += [number(eur(column_sum(statement.pods, name)), 6) for name in amounts]
    table = sheet_table(
        ["market", "POD", "ordered kWh", "delivered kWh", "delivered", *map(amount_label, amounts)],
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
