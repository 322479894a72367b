"""The accounts of a statement: sums of its lines, of contracts and of fees for each operator, to cents once."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from flexcore.arrays import as_int
from flexcore.errors import Findings, SettlementError
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.fees import FeeLines
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statements import UEUR_PER_CENT
from flexcore.units import half_even

OPERATORS = np.array(["local", "global"])


def is_summed(name: str) -> bool:
    """Tell the columns that add up from those that do not."""
    return name.endswith(("_ueur", "_wqh")) or name in ("n_missing", "n_lines", "n_shares")


def sums_of(table: Any, keys: Sequence[str]) -> Any:
    """Sum a table by some of its columns, or all in one row without any."""
    import pyarrow as pa

    names = [name for name in table.column_names if is_summed(name)]
    if not keys:
        total = {name: pa.array([sum(table.column(name).to_pylist())], pa.int64()) for name in names}
        return pa.table({"n_lines": pa.array([table.num_rows], pa.int64()), **total})
    counted = table.append_column("n_lines", pa.array(np.ones(table.num_rows, np.int64)))
    found = counted.group_by(list(keys), use_threads=False).aggregate([(name, "sum") for name in ["n_lines", *names]])
    found = found.rename_columns([name.removesuffix("_sum") for name in found.column_names])
    # local before global, up before down; the rest by name
    backwards = {"operator", "direction"}
    order = [(key, "descending" if key in backwards else "ascending") for key in keys]
    return found.select([*keys, "n_lines", *names]).sort_by(order)


def table_of(columns: dict[str, Any]) -> Any:
    """Return an Arrow table whose texts are plain strings, also where it has no rows."""
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(values.tolist(), pa.string()) if np.asarray(values).dtype.kind == "U" else pa.array(values)
            for name, values in columns.items()
        }
    )


def _names_of_period(period: list[SettledDay]) -> SettledDay:
    """Return a day for its names, which are those of every other one."""
    first = period[0]
    for name in ("aggregate_ids", "bsp_ids", "bsp_of_aggregate"):
        if any(not np.array_equal(getattr(day, name), getattr(first, name)) for day in period):
            found = Findings("statement")
            found.add("FX-S041", f"contracts and fees need one {name} for all days", field=name)
            found.raise_errors(SettlementError)
    return first


def contracts_of(period: list[SettledDay], bsp: str, availability: AvailabilityLines | None) -> Any:
    """Lines of contracts of a BSP."""
    names = [field.name for field in fields(AvailabilityLines) if field.name not in ("operator", "aggregate")]
    if availability is None or not len(availability):
        nothing = np.zeros(0, np.int64)
        text = {"operator": np.zeros(0, "U6"), "aggregate": np.zeros(0, "U1")}
        return table_of({**text, **dict.fromkeys(names, nothing)})
    day = _names_of_period(period)
    at = as_int(availability.aggregate, "aggregate", lo=0, hi=len(day.aggregate_ids) - 1)
    mine = np.flatnonzero(day.bsp_ids[day.bsp_of_aggregate[at]] == bsp)
    text = {"operator": OPERATORS[availability.operator[mine]], "aggregate": day.aggregate_ids[at[mine]]}
    return table_of({**text, **{name: getattr(availability, name)[mine] for name in names}})


def accounts_of(period: list[SettledDay], bsp: str, lines: Any, contracts: Any, fees: FeeLines | None) -> Any:
    """Sum lines, contracts and fees for each operator, and round to cents once."""
    import pyarrow as pa

    rows = {row["operator"]: row for row in sums_of(lines, ("operator",)).to_pylist()}
    names = ["n_lines", *(name for name in lines.column_names if is_summed(name))]
    names.insert(names.index("net_ueur"), "fee_ueur")

    def add(operator: str, **amounts: int) -> None:
        row = rows.setdefault(operator, {"operator": operator})
        for name, amount in amounts.items():
            row[name] = row.get(name, 0) + amount

    for row in contracts.to_pylist():
        add(row["operator"], n_lines=1, availability_ueur=row["net_ueur"], net_ueur=row["net_ueur"])
    if fees is not None and len(fees):
        payer = as_int(fees.bsp, "bsp", lo=0, hi=len(period[0].bsp_ids) - 1)
        for i in np.flatnonzero(_names_of_period(period).bsp_ids[payer] == bsp).tolist():
            fee = int(fees.bsp_ueur[i])
            add(str(OPERATORS[fees.operator[i]]), fee_ueur=fee, net_ueur=-fee)
    ordered = [rows[name] for name in OPERATORS.tolist() if name in rows]
    columns: dict[str, Any] = {"operator": pa.array([row["operator"] for row in ordered], pa.string())}
    columns |= {name: pa.array([row.get(name, 0) for row in ordered], pa.int64()) for name in names}
    net = np.array([row["net_ueur"] for row in ordered], np.int64)
    return pa.table({**columns, "net_cents": pa.array(half_even(net, UEUR_PER_CENT), pa.int64())})
