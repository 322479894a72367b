"""The table of orders as rows, one for each (POD, operator, aggregate, direction), without the steps that have none."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, SettlementError, ValidationError
from flexcore.metering.reading_layout import refuse
from flexcore.metering.readings import Int32s
from flexcore.metering.stream_inputs import OrderedSteps
from flexcore.settlement.result import Int8s, Int64s
from flexcore.tables.check import check

_CHUNK = 1 << 20  # orders that are checked at a time, so that copies of columns stay small
_STEP_BITS = 7


class OrderRows(NamedTuple):
    """Rows sorted by (POD, operator, aggregate, direction); orders of row i are those from ptr[i] to ptr[i + 1].

    Attributes
    ----------
    place, operator, aggregate, direction : ndarray, shape (n_rows,)
        `place` is the row of the POD in the day files.
    ptr : ndarray of int64, shape (n_rows + 1,)
    step, ordered_w : ndarray, shape (n_orders,)
        Orders above zero, in the order of time.
    price : ndarray of int64, shape (n_rows, 1) or (n_orders,), or None
    """

    place: Int64s
    operator: Int8s
    aggregate: Int64s
    direction: Int8s
    ptr: Int64s
    step: npt.NDArray[np.uint8]
    ordered_w: Int32s
    price: Int64s | None

    def events(self) -> OrderedSteps:
        """Return the ordered quarter-hours as events of the day."""
        return OrderedSteps(self.place, self.ptr, self.step)

    def entries_of(self, rows: Int64s) -> tuple[Int64s, Int64s]:
        """Return the positions of the orders of some rows, one row behind the other, and how many each has."""
        counts = self.ptr[rows + 1] - self.ptr[rows]
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total) + np.repeat(self.ptr[rows] - (ends - counts), counts), counts


def read_orders(path: str | os.PathLike[str]) -> Any:
    """Return a Parquet file of orders as a table; FX-B060 where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(os.fspath(path)) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        message = (str(error).splitlines() or [""])[0]
        refuse("FX-B060", f"{os.fspath(path)} cannot be read: {message}", ids=[os.fspath(path)])


def order_rows(table: Any, pods: Any, n_steps: int) -> OrderRows:
    """Turn the table of orders into rows.

    Raises
    ------
    SettlementError
        FX-A001 to FX-A010 the table, FX-B003 PODs without readings, FX-M203 steps outside the day, FX-S004 an order
        that is given twice, or to two rows of a POD in one quarter-hour.
    """
    key, ordered, price, names = _read(table, pods, n_steps)
    n = len(key)
    order = None
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key, ordered = key[order], ordered[order]
        price = None if price is None else price[order]
    twice = np.flatnonzero(key[1:] == key[:-1]) + 1
    if twice.size:
        found, rows = Findings("orders", n), twice if order is None else order[twice]
        ids = pods.take(names.place_of(key[twice])).to_pylist()
        found.add("FX-S004", f"{twice.size} orders are given twice", rows=rows, ids=ids)
        found.raise_errors(SettlementError)
    del order
    step = (key & ((1 << _STEP_BITS) - 1)).astype(np.uint8)
    key >>= _STEP_BITS
    edge = np.ones(n, np.bool_)
    edge[1:] = key[1:] != key[:-1]
    first = np.flatnonzero(edge)
    key = key[first]
    kept = ordered > 0
    if price is not None and n:
        lowest, highest = np.minimum.reduceat(price, first), np.maximum.reduceat(price, first)
        # one price for each row where it can be: an eighth of the memory and more
        price = lowest[:, np.newaxis] if (lowest == highest).all() else price[kept]
    counts = np.add.reduceat(kept, first, dtype=np.int64) if n else np.zeros(0, np.int64)
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    if not kept.all():
        step, ordered = step[kept], ordered[kept]
    rows_ = OrderRows(*names.of(key), ptr, step, ordered, price)
    _refuse_double(rows_, pods)
    return rows_


@dataclass(frozen=True, slots=True)
class _Names:
    """How (place, operator, aggregate, direction, step) are packed into one whole number that sorts like them."""

    aggregates: Int64s
    bits: int

    def place_of(self, key: Int64s) -> Int64s:
        return np.asarray(key >> (_STEP_BITS + self.bits + 2))

    def of(self, row_key: Int64s) -> tuple[Int64s, Int8s, Int64s, Int8s]:
        """Return place, operator, aggregate and direction of keys without their step."""
        way = (row_key & 1).astype(np.int8)
        group = self.aggregates[(row_key >> 1) & ((1 << self.bits) - 1)] if len(row_key) else row_key
        buyer = ((row_key >> (self.bits + 1)) & 1).astype(np.int8)
        return row_key >> (self.bits + 2), buyer, group, way


def _read(table: Any, pods: Any, n_steps: int) -> tuple[Int64s, Int32s, Int64s | None, _Names]:
    """Check the table some rows at a time; return packed keys, power and price of each order."""
    import pyarrow as pa

    n, has_price, chunks = _chunks(table)
    found = Findings("orders", n)
    place, group = np.empty(n, np.int32), np.empty(n, np.int64)
    low, side, ordered = np.empty(n, np.uint8), np.empty(n, np.int8), np.empty(n, np.int32)
    price = np.empty(n, np.int64) if has_price else None
    unknown: list[Any] = []
    outside: list[Any] = []
    at = 0
    for columns in chunks:
        here = slice(at, at + len(columns["pod"]))
        place[here] = _places(columns["pod"], pods)
        step = columns["step"]
        missing, late = np.flatnonzero(place[here] < 0), np.flatnonzero(step >= n_steps)
        unknown += zip((missing + at).tolist(), columns["pod"][missing].tolist(), strict=True)
        outside += (late + at).tolist()
        low[here] = step + (columns["direction"].astype(np.int32) << _STEP_BITS)
        group[here], side[here], ordered[here] = columns["aggregate"], columns["operator"], columns["ordered_w"]
        if price is not None:
            price[here] = columns["price_ueur_per_mwh"]
        at = here.stop
    if unknown:
        rows, ids = zip(*unknown, strict=True)
        found.add("FX-B003", f"{len(unknown)} orders name PODs without readings", rows=rows, ids=ids)
    if outside:
        message = f"{len(outside)} orders lie after the last of {n_steps} quarter-hours"
        found.add("FX-M203", message, field="step", rows=outside)
    coded = pa.array(group).dictionary_encode()
    del group
    aggregates = np.asarray(coded.dictionary)
    by_size = np.argsort(aggregates)
    rank = np.empty(len(aggregates), np.int32)
    rank[by_size] = np.arange(len(aggregates))
    names = _Names(aggregates[by_size], max(len(aggregates), 1).bit_length())
    if len(pods).bit_length() + names.bits + _STEP_BITS + 2 > 63:
        found.add("FX-S060", f"{len(pods)} PODs and {len(aggregates)} aggregates are too many for one run")
    found.raise_errors(SettlementError)
    key = place.astype(np.int64)
    key <<= 1
    key |= side
    key <<= names.bits
    key |= rank[np.asarray(coded.indices)]
    key <<= _STEP_BITS + 1
    key |= low
    return key, ordered, price, names


def _places(keys: npt.NDArray[Any], pods: Any) -> npt.NDArray[np.int32]:
    """Return the row of each POD in the day files, -1 where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = keys.dtype.kind == "U"
    if not len(keys) or text != pa.types.is_string(pods.type):
        return np.full(len(keys), -1, np.int32)
    named = pa.array(keys.tolist() if text else keys)
    return np.asarray(pc.index_in(named, value_set=pods).fill_null(-1), np.int32)


def _chunks(table: Any) -> tuple[int, bool, Iterator[dict[str, npt.NDArray[Any]]]]:
    """Return the number of orders, whether they have prices, and their checked columns, some rows at a time."""
    import pyarrow as pa

    if isinstance(table, Mapping):
        try:
            arrays = {name: np.asarray(column) for name, column in table.items()}
        except ValueError:  # rows of different lengths: `check` says so
            arrays = {}
        lengths = {len(column) for column in arrays.values() if column.ndim}
        if len(lengths) != 1:
            columns = check("orders", table, error=SettlementError)
            return len(columns["pod"]), "price_ueur_per_mwh" in table, iter((columns,))
        n, has_price = lengths.pop(), "price_ueur_per_mwh" in table

        def part(lo: int, hi: int) -> Any:
            return {name: column[lo:hi] if column.ndim else column for name, column in arrays.items()}
    else:
        try:
            whole = table if isinstance(table, pa.Table) else pa.table(table)
        except (TypeError, ValueError):
            check("orders", table, error=SettlementError)
            raise
        n, has_price, table = whole.num_rows, "price_ueur_per_mwh" in whole.column_names, whole

        def part(lo: int, hi: int) -> Any:
            return whole.slice(lo, hi - lo)

    def checked() -> Iterator[dict[str, npt.NDArray[Any]]]:
        for lo in range(0, max(n, 1), _CHUNK):
            try:
                yield check("orders", part(lo, min(lo + _CHUNK, n)), error=SettlementError)
            except ValidationError:
                check("orders", table, error=SettlementError)  # says the same with rows of the whole table
                raise

    return n, has_price, checked()


def _refuse_double(rows: OrderRows, pods: Any) -> None:
    """Raise FX-S004 where two rows of one POD have an order in one quarter-hour: its delivery would be paid twice."""
    shared = np.zeros(len(rows.place), np.bool_)
    same = rows.place[1:] == rows.place[:-1]
    shared[1:] |= same
    shared[:-1] |= same
    chosen = np.flatnonzero(shared)
    entries, counts = rows.entries_of(chosen)
    row = np.repeat(chosen, counts)
    moment = (rows.place[row] << _STEP_BITS) | rows.step[entries]
    order = np.argsort(moment, kind="stable")
    twice = np.flatnonzero(moment[order][1:] == moment[order][:-1]) + 1
    if twice.size:
        bad = np.unique(row[order[twice]])
        found = Findings("settlement", len(rows.place))
        found.add(
            "FX-S004",
            f"{bad.size} rows are ordered in a quarter-hour in which another row of their POD is",
            rows=bad,
            ids=pods.take(rows.place[bad]).to_pylist(),
            hint="no POD is held by two operators, aggregates or directions at once (MUT-01)",
        )
        found.raise_errors(SettlementError)
