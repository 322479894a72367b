"""Arrow tables that statements are made of: lines, shares, quarter-hours, changes, and their sums."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.result import Columns, Int64s, SettlementLines, SettlementResult
from flexcore.settlement.runs import ChangedLines, SettlementRun, changed_lines
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statements import Statements, statements
from flexcore.settlement.trace_numbers import half_even_int
from flexcore.units import UP

OPERATORS = np.array(["local", "global"])
DIRECTIONS = np.array(["up", "down"])


def amount_names(columns: type[Columns]) -> tuple[str, ...]:
    """Columns that hold amounts, in their order: what a settlement adds to its lines joins by its name."""
    return tuple(field.name for field in fields(columns) if field.name.endswith("_ueur"))


def _summed(name: str) -> bool:
    return name.endswith(("_ueur", "_wqh")) or name in ("n_missing", "n_estimated", "n_lines", "n_shares")


def sums(table: Any, keys: Sequence[str]) -> Any:
    """Sum energies, amounts and counts by some columns, or all in one row without any."""
    import pyarrow as pa

    names = [name for name in table.column_names if _summed(name)]
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


def _start(day: SettledDay, unit: Int64s) -> Any:
    """Clock time at the start of market time units; empty for one that the day does not have."""
    first = np.searchsorted(day.unit_of_step, np.arange(int(day.unit_of_step.max(initial=0)) + 1))
    starts = np.array([*(day.clock(int(step)) for step in first), ""])
    return starts[np.minimum(unit, len(first))]


def _common(day: SettledDay, lines: SettlementLines | ChangedLines, line: Int64s) -> dict[str, Any]:
    """Name the day, operator, aggregate, direction and time of some lines."""
    return {
        "day": np.full(len(line), str(day.day.date)),
        "operator": OPERATORS[lines.operator[line]],
        "aggregate": day.aggregate_ids[lines.aggregate[line]],
        "direction": DIRECTIONS[lines.direction[line]],
        "unit": lines.unit[line],
        "start": _start(day, lines.unit[line]),
    }


def _table(columns: dict[str, Any]) -> Any:
    """Return an Arrow table whose texts are plain strings, also where it has no rows."""
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(values.tolist(), pa.string()) if np.asarray(values).dtype.kind == "U" else pa.array(values)
            for name, values in columns.items()
        }
    )


def line_table(day: SettledDay, line: Int64s) -> Any:
    """Lines with their names and every column of the settlement."""
    lines = day.run.result.lines
    names = [field.name for field in fields(lines) if field.name not in ("operator", "aggregate", "direction", "unit")]
    return _table({**_common(day, lines, line), **{name: getattr(lines, name)[line] for name in names}})


def share_table(day: SettledDay, share: Int64s) -> Any:
    """Shares of PODs with their names, prices, energies and amounts."""
    shares = day.run.result.pod_lines
    names = [field.name for field in fields(shares) if _summed(field.name)]
    return _table(
        {
            **_common(day, day.run.result.lines, shares.line[share]),
            "pod": day.row_pod_id[shares.row[share]],
            "price_ueur_per_mwh": _share_price(day, share),
            **{name: getattr(shares, name)[share] for name in names},
        }
    )


def _share_price(day: SettledDay, share: Int64s) -> Int64s:
    """Price of a POD's own orders in the market time unit, half-even where it changes within it; 0 without an order."""
    shares, lines = day.run.result.pod_lines, day.run.result.lines
    row = shares.row[share]
    if day.row_price.shape[1] == 1:
        own = np.broadcast_to(day.row_price, (len(day.orders_w), 1))[row, 0]
        return np.where(shares.ordered_wqh[share] > 0, own, 0)
    price = np.broadcast_to(day.row_price, day.orders_w.shape)
    found = np.zeros(len(share), np.int64)
    for k, (i, unit, weight) in enumerate(
        zip(row.tolist(), lines.unit[shares.line[share]].tolist(), shares.ordered_wqh[share].tolist(), strict=True)
    ):
        if weight:
            steps = np.flatnonzero(day.unit_of_step == unit)
            found[k] = half_even_int(sum(int(day.orders_w[i, t]) * int(price[i, t]) for t in steps), weight)
    return found


def change_table(day: SettledDay, before: SettlementRun[SettlementResult], of_bsp: Any) -> Any:
    """Lines of a BSP that differ from the run that is cited."""
    found = changed_lines(before, day.run)
    mine = np.flatnonzero(of_bsp[found.aggregate])
    return _table(
        {
            **_common(day, found, mine),
            "before_ueur": found.before_ueur[mine],
            "after_ueur": found.after_ueur[mine],
        }
    )


def _optional(values: Any, known: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.int64(), mask=~np.asarray(known))


def interval_table(day: SettledDay, rows: Int64s) -> Any:
    """Ordered quarter-hours of one POD: baseline, order, set-point, reading, delivered, deficiency."""
    import pyarrow as pa

    place, step = np.nonzero(day.orders_w[rows] > 0)
    order = np.lexsort((place, step))
    row, step = rows[place[order]], step[order]
    base, read = (values[row, step].astype(np.int64) for values in (day.baseline_w, day.metered_w))
    ordered = day.orders_w[row, step].astype(np.int64)
    has_base, has_read = base != MISSING_W, read != MISSING_W
    sign = np.where(day.row_direction[row] == UP, 1, -1)
    delivered = np.where(has_base & has_read, sign * (base - read), 0).astype(np.int64)
    guessed = day.estimated(row, step) & has_base & has_read
    delivered = np.where(guessed, np.minimum(delivered, ordered), delivered)
    # no reading, nothing delivered: the whole order is missing (SET-01)
    deficiency = np.maximum(ordered - delivered, 0)
    return pa.table(
        {
            "step": pa.array(step.astype(np.int32)),
            "start": pa.array([day.clock(int(s)) for s in step], pa.string()),
            "operator": pa.array(OPERATORS[day.row_operator[row]].tolist(), pa.string()),
            "direction": pa.array(DIRECTIONS[day.row_direction[row]].tolist(), pa.string()),
            "baseline_w": _optional(base, has_base),
            "ordered_w": pa.array(ordered),
            "set_point_w": _optional(base - sign * ordered, has_base),
            "metered_w": _optional(read, has_read),
            "estimated": pa.array(guessed),
            "delivered_w": _optional(delivered, has_base & has_read),
            "deficiency_w": pa.array(deficiency),
            "price_ueur_per_mwh": pa.array(np.broadcast_to(day.row_price, day.orders_w.shape)[row, step]),
        }
    )


def profile_table(day: SettledDay, rows: Int64s) -> Any:
    """Every quarter-hour of the day of one POD."""
    import pyarrow as pa

    base, read = (values[rows[0]].astype(np.int64) for values in (day.baseline_w, day.metered_w))
    sign = np.where(day.row_direction[rows] == UP, 1, -1)[:, np.newaxis]
    ordered = day.orders_w[rows].sum(axis=0, dtype=np.int64)
    signed = (sign * day.orders_w[rows].astype(np.int64)).sum(axis=0)
    operator = np.where((day.orders_w[rows] > 0).any(axis=0), day.row_operator[rows][
        (day.orders_w[rows] > 0).argmax(axis=0)], -1)  # fmt: skip
    has_base = base != MISSING_W
    return pa.table(
        {
            "step": pa.array(np.arange(len(base), dtype=np.int32)),
            "start": pa.array([day.clock(step) for step in range(len(base))], pa.string()),
            "baseline_w": _optional(base, has_base),
            "metered_w": _optional(read, read != MISSING_W),
            "ordered_w": pa.array(ordered),
            "set_point_w": _optional(base - signed, has_base & (ordered > 0)),
            "operator": pa.array(np.append(OPERATORS, "")[operator].tolist(), pa.string()),
        }
    )


def period_accounts(accounts: Any, period: PeriodSettlement, bsp_of_aggregate: Int64s, bsp: int) -> Any:
    """Add availability of contracts and fees to the sums of a BSP's lines; amounts are those of `statements`."""
    import pyarrow as pa

    rows = {row["operator"]: row for row in accounts.to_pylist()}
    table = statements(
        period.results, bsp_of_aggregate=bsp_of_aggregate, availability=period.availability, fees=period.fees
    )
    names = ("n_lines", *amount_names(Statements))
    for k in np.flatnonzero(table.bsp == bsp).tolist():
        operator = str(OPERATORS[table.operator[k]])
        row = rows.setdefault(operator, dict.fromkeys(accounts.column_names, 0) | {"operator": operator})
        row.update({name: int(getattr(table, name)[k]) for name in names})
    before_net = accounts.schema.get_field_index("net_ueur")
    schema = accounts.schema.insert(before_net, pa.field("fee_ueur", pa.int64()))
    return pa.Table.from_pylist([rows[name] for name in OPERATORS.tolist() if name in rows], schema)


def period_table(period: PeriodSettlement, bsp_of_aggregate: Int64s, bsp: int) -> Any:
    """Availability lines and fees of a BSP, one row each."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    held, fees = period.availability, period.fees
    for k in [] if held is None else np.flatnonzero(bsp_of_aggregate[held.aggregate] == bsp).tolist():
        assert held is not None
        month = int(held.month[k])
        rows.append({
            "part": "availability", "operator": str(OPERATORS[held.operator[k]]),
            "name": f"contract {held.contract[k]}, {month // 100}-{month % 100:02}",
            "quarters": int(held.quarters[k]), "kept": int(held.kept[k]), "refused": int(held.refused[k]),
            "due_ueur": int(held.due_ueur[k]), "net_ueur": int(held.net_ueur[k]),
        })  # fmt: skip
    for k in [] if fees is None else np.flatnonzero(fees.bsp == bsp).tolist():
        assert fees is not None
        rows.append({
            "part": "fee", "operator": str(OPERATORS[fees.operator[k]]), "name": ("forward", "spot")[fees.market[k]],
            "quantity_wqh": int(fees.quantity_wqh[k]), "net_ueur": -int(fees.bsp_ueur[k]),
        })  # fmt: skip
    texts, numbers = (
        ("part", "operator", "name"),
        ("quarters", "kept", "refused", "due_ueur", "quantity_wqh", "net_ueur"),
    )
    kinds = [(name, pa.string()) for name in texts] + [(name, pa.int64()) for name in numbers]
    return pa.Table.from_pylist(rows, pa.schema(kinds))
