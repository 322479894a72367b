"""Remuneration: payment, penalty and availability of each line, exact in whole micro-EUR (SET-01 to SET-03)."""

import hashlib
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError, check_option
from flexcore.metering.readings import MISSING_W, Int32s, as_power_w
from flexcore.settlement.amounts import refuse, refuse_lines
from flexcore.settlement.lines import make_lines, totals_of
from flexcore.settlement.presets import TERMS
from flexcore.settlement.result import Int8s, Int64s, PodLines, SettlementResult, Split
from flexcore.settlement.terms import MAX_PRICE, ONE_PPM, SettlementTerms
from flexcore.units import GLOBAL, LOCAL, MAX_WQH

_GROUPS = 16  # (operator, aggregate, direction) groups in one task
_ROWS = 4096


class _Book(NamedTuple):
    """Checked inputs, and the active rows grouped by (operator, aggregate, direction) and sorted by POD in a group."""

    orders: Int32s
    baseline: Int32s
    metered: Int32s
    available: Int32s
    price: Int64s
    direction: Int8s
    aggregate: Int64s
    operator: Int8s
    pod: Int64s
    unit_of_step: Int64s
    rows: Int64s
    ptr: Int64s
    share: Int64s  # given factors of the rows, empty if PODs share by what they delivered

    @property
    def n_units(self) -> int:
        return int(self.unit_of_step.max(initial=-1)) + 1


def settle(
    orders_w: npt.ArrayLike,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    terms: str | SettlementTerms,
    *,
    direction: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    operator: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike | None = None,
    pod: npt.ArrayLike | None = None,
    available_w: npt.ArrayLike | None = None,
    unit_of_step: npt.ArrayLike | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
    split: Split = "delivered",
    split_factor_ppm: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> SettlementResult:
    """Settle the orders of one market day.

    Parameters
    ----------
    orders_w : array_like of int, shape (n_rows, n_steps)
        Ordered flexibility of each (POD, operator, direction); not negative, 0 where nothing is ordered. [W]
    baseline_w, metered_w : array_like of int, shape (n_rows, n_steps)
        Baseline and reading of the POD of each row, positive = withdrawal; `MISSING_W` where there is none. [W]
    terms : str or SettlementTerms
        A name in `TERMS`, or terms of one's own.
    direction, operator : array_like of int, shape (n_rows,) or one number
        `units.UP`/`DOWN` and `units.LOCAL`/`GLOBAL`.
    aggregate : array_like of int, shape (n_rows,) or one number
        Aggregate that the row belongs to for this operator.
    price_ueur_per_mwh : array_like of int, optional
        Price of the orders: one number, (n_rows,), (n_steps,) as (1, n_steps), or (n_rows, n_steps); the price of the
        terms if not given. [micro-EUR/MWh]
    pod : array_like of int, shape (n_rows,), optional
        Key of the POD of each row, which decides ties in the split of micro-EUR; row positions if not given, and then
        rows are taken for different PODs.
    available_w : array_like of int, shape (n_rows, n_steps), optional
        Availability to be paid by the terms. [W]
    unit_of_step : array_like of int, shape (n_steps,), optional
        Market time unit of each quarter-hour, ascending from 0; hours if not given (`MarketDay.hour_of_step`).
    missing : {"refuse", "zero"}
        An ordered quarter-hour without reading or baseline is an error, or counts as not delivered and is counted.
    split : {"delivered", "factors", "equal"}
        How the PODs of a line share its amounts: each amount by what it comes from (delivery, own shortfall, own
        availability), by the provider's factors, or alike.
    split_factor_ppm : array_like of int, shape (n_rows,), optional
        The provider's factors VAR_k, for split="factors": over the rows of each line they sum to a million.
        [parts per million]
    n_threads : int

    Returns
    -------
    SettlementResult

    Raises
    ------
    SettlementError
        FX-S001 numbers too large for exact 64-bit money (ids: operator, aggregate, direction and unit of each line),
        FX-S002 an order without reading or baseline, FX-S003 terms, FX-S004 a POD ordered twice in a quarter-hour,
        FX-S010 factors that do not sum to a million.
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range; FX-E002 unknown terms.

    Notes
    -----
    Delivered power s (B - M) counts in quarter-hours in which the row has an order, and nowhere else. Energies are
    summed over the quarter-hours and PODs of a line; one payment, one penalty and one availability amount is rounded,
    half-even, for each line; PODs share them by largest remainder. Everything is exact integer arithmetic, so order and
    partition of the rows change nothing.
    """
    if isinstance(terms, str):
        check_option("terms", terms, tuple(TERMS))
        terms = TERMS[terms]
    terms.check()
    check_option("missing", missing, ("refuse", "zero"))
    check_option("split", split, ("delivered", "factors", "equal"))
    book = _book(
        orders_w, baseline_w, metered_w, terms, direction, aggregate, operator, price_ueur_per_mwh, pod, available_w,
        unit_of_step, split, split_factor_ppm,
    )  # fmt: skip
    if pod is not None:
        _refuse_double_orders(book)
    return _settle(book, terms, missing, split, n_threads)


def _book(
    orders_w: npt.ArrayLike,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    terms: SettlementTerms,
    direction: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    operator: npt.ArrayLike,
    price: npt.ArrayLike | None,
    pod: npt.ArrayLike | None,
    available_w: npt.ArrayLike | None,
    unit_of_step: npt.ArrayLike | None,
    split: str,
    factor: npt.ArrayLike | None,
) -> _Book:
    """Check every input and list the active rows in canonical order."""
    from flexcore.kernels.settlement.remuneration import find_active

    orders = as_int(orders_w, "orders_w", dtype=np.int32, shape=(None, None), lo=0)
    n_rows, n_steps = orders.shape
    baseline = as_power_w(baseline_w, "baseline_w", shape=(n_rows, n_steps))
    metered = as_power_w(metered_w, "metered_w", shape=(n_rows, n_steps))
    available = (
        np.zeros((0, n_steps), np.int32)
        if available_w is None
        else as_int(available_w, "available_w", dtype=np.int32, shape=(n_rows, n_steps), lo=0)
    )

    if not available.any():
        available = available[:0]

    def per_row(values: npt.ArrayLike, name: str, **limits: Any) -> npt.NDArray[Any]:
        array = np.asarray(values)
        return as_int(np.broadcast_to(array, n_rows) if not array.ndim else array, name, shape=(n_rows,), **limits)

    way = per_row(direction, "direction", dtype=np.int8, lo=0, hi=1)
    buyer = per_row(operator, "operator", dtype=np.int8, lo=LOCAL, hi=GLOBAL)
    group_id = per_row(aggregate, "aggregate")
    key = per_row(np.arange(n_rows) if pod is None else pod, "pod")
    share = np.zeros(0, np.int64) if split == "delivered" else np.ones(n_rows, np.int64)
    if (factor is None) == (split == "factors"):
        refuse("FX-S010", "split_factor_ppm goes with split='factors', and with no other")
    if factor is not None:
        share = per_row(factor, "split_factor_ppm", lo=0, hi=ONE_PPM)
    unit = np.arange(n_steps) // 4 if unit_of_step is None else unit_of_step
    unit = as_int(unit, "unit_of_step", shape=(n_steps,), lo=0, hi=max(n_steps - 1, 0))
    active = np.zeros(n_rows, np.uint8)
    run_chunks(lambda i0, i1: find_active(orders, available, i0, i1, active), n_rows, n_threads=1, chunk=_ROWS)
    rows = np.flatnonzero(active)
    rows = rows[np.lexsort((key[rows], way[rows], group_id[rows], buyer[rows]))]
    edge = np.zeros(len(rows) + 1, np.bool_)
    edge[[0, -1]] = True
    for column in (buyer, group_id, way):
        edge[1:-1] |= column[rows][1:] != column[rows][:-1]
    ptr = np.flatnonzero(edge) if len(rows) else np.zeros(1, np.int64)
    found = Findings("settlement", n_rows)
    if (np.diff(unit) < 0).any():
        found.add("FX-A006", "unit_of_step must ascend", field="unit_of_step")
    if price is None and terms.price_ueur_per_mwh is None and len(rows):
        found.add("FX-S003", "no price is given, and the terms have none", hint="pass price_ueur_per_mwh")
    found.raise_errors(SettlementError)
    prices = _prices(terms.price_ueur_per_mwh or 0 if price is None else price, n_rows, n_steps)
    book = _Book(orders, baseline, metered, available, prices, way, group_id, buyer, key, unit, rows, ptr, share)
    _order_twins(book, edge)
    return book


def _order_twins(book: _Book, edge: npt.NDArray[np.bool_]) -> None:
    """Order the rows of one POD within a group by what they hold: else the digest and their shares would hang on input.

    Rows that hold the same are interchangeable. Twins are rare, so a sort of bytes in Python does.
    """
    rows = book.rows
    tied = np.flatnonzero((book.pod[rows[1:]] == book.pod[rows[:-1]]) & ~edge[1:-1])
    parts: list[npt.NDArray[Any]] = [book.orders, book.baseline, book.metered]
    parts += [part for part in (book.available, book.price, book.share) if len(part) == len(book.orders)]
    for run in np.split(tied, np.flatnonzero(np.diff(tied) > 1) + 1) if tied.size else ():
        lo, hi = run[0], run[-1] + 2
        rows[lo:hi] = sorted(rows[lo:hi], key=lambda i: [part[i].tobytes() for part in parts])


def _prices(price: npt.ArrayLike, n_rows: int, n_steps: int) -> Int64s:
    """Return prices with one row or one for each row, one step or all of them."""
    raw = np.asarray(price)
    raw = raw.reshape(1, 1) if not raw.ndim else raw[:, np.newaxis] if raw.ndim == 1 else raw
    prices: Int64s = as_int(raw, "price_ueur_per_mwh", shape=(None, None))
    found = Findings("price_ueur_per_mwh")
    if prices.shape[0] not in (1, n_rows) or prices.shape[1] not in (1, n_steps):
        found.add("FX-A001", f"price_ueur_per_mwh has shape {np.shape(price)}, expected ({n_rows}, {n_steps})")
    elif prices.size and max(int(prices.max()), -int(prices.min())) > MAX_PRICE:
        rows = np.flatnonzero(((prices > MAX_PRICE) | (prices < -MAX_PRICE)).any(axis=1))
        found.add("FX-S001", f"a price is larger than {MAX_PRICE} micro-EUR/MWh", rows=rows)
    found.raise_errors(SettlementError)
    return prices


def _refuse_double_orders(book: _Book) -> None:
    """Raise FX-S004 where two rows of one POD have an order in one quarter-hour: its delivery would be paid twice."""
    rows = book.rows[np.argsort(book.pod[book.rows], kind="stable")]
    bad: list[Any] = []
    for distance in range(1, len(rows)):
        same = np.flatnonzero(book.pod[rows[distance:]] == book.pod[rows[:-distance]])
        if not same.size:
            break
        first, second = rows[same], rows[same + distance]
        both = ((book.orders[first] > 0) & (book.orders[second] > 0)).any(axis=1)
        bad.extend(second[both].tolist())
    if bad:
        found = Findings("settlement", len(book.orders))
        found.add(
            "FX-S004",
            f"{len(bad)} rows are ordered in a quarter-hour in which another row of their POD is",
            rows=bad,
            ids=book.pod[bad],
            hint="no POD is held by two operators, aggregates or directions at once (MUT-01)",
        )
        found.raise_errors(SettlementError)


def _settle(book: _Book, terms: SettlementTerms, missing: str, split_by: Split, n_threads: int) -> SettlementResult:
    from flexcore.kernels.settlement.remuneration import list_entries, split_lines, sum_lines

    clip = int(terms.netting == "pod")
    each, owed = int(terms.measured_per == "quarter_hour"), ONE_PPM - terms.tolerance_ppm
    n_groups, n_units = len(book.ptr) - 1, book.n_units
    sums = [np.empty((n_groups, n_units), np.int64) for _ in range(10)]
    parts = (book.orders, book.baseline, book.metered, book.available)

    def sum_task(g0: int, g1: int) -> None:
        sum_lines(
            *parts, book.price, book.direction, book.unit_of_step, book.ptr, book.rows, clip, each, terms.cap_ppm, owed,
            g0, g1, *sums,
        )  # fmt: skip

    run_chunks(sum_task, n_groups, n_threads=n_threads, chunk=_GROUPS)
    n_entries = sums[9]
    exists = n_entries > 0
    group, unit_of_line = np.nonzero(exists)
    leader = book.rows[book.ptr[:-1]][group]
    key = (book.operator[leader], book.aggregate[leader], book.direction[leader])
    lines = make_lines(key, unit_of_line.astype(np.int64), terms, *(array[exists] for array in sums[:9]))
    if missing == "refuse" and lines.n_missing.any():
        gone = (book.baseline == MISSING_W) | (book.metered == MISSING_W)
        bad = np.flatnonzero((gone & (book.orders > 0)).any(axis=1))
        refuse(
            "FX-S002",
            f"{bad.size} rows have an order in a quarter-hour without reading or baseline",
            rows=bad,
            ids=book.pod[bad],
            hint="missing='zero' counts them as not delivered",
        )

    ends = np.cumsum(n_entries.ravel())
    total = int(ends[-1]) if ends.size else 0
    first = np.ascontiguousarray((ends - n_entries.ravel()).reshape(n_entries.shape))
    row, ordered, delivered, available = (np.empty(total, np.int64) for _ in range(4))

    def entry_task(g0: int, g1: int) -> None:
        list_entries(
            *parts, book.direction, book.unit_of_step, book.ptr, book.rows, first, clip, g0, g1,
            row, ordered, delivered, available,
        )  # fmt: skip

    run_chunks(entry_task, n_groups, n_threads=n_threads, chunk=_GROUPS)
    counts = n_entries[exists]
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def split(amount: Int64s, weight: Int64s, fallback: Int64s) -> Int64s:
        used = np.add.reduceat(np.maximum(weight, 0), ptr[:-1]) if total else np.zeros(0, np.int64)
        if (used > MAX_WQH).any():
            key = (lines.operator, lines.aggregate, lines.direction, lines.unit)
            refuse_lines("the energies of the PODs of a line are too large for an exact split", key, used > MAX_WQH)
        part = np.empty(total, np.int64)
        run_chunks(
            lambda lo, hi: split_lines(ptr, amount, weight, fallback, lo, hi, part),
            len(counts),
            n_threads=n_threads,
            chunk=256,
        )
        return part

    weights = [delivered, ordered - delivered, available]
    if split_by != "delivered":
        weights = [book.share[row]] * 3
    if split_by == "factors" and total:
        wrong = np.add.reduceat(weights[0], ptr[:-1]) != ONE_PPM
        if wrong.any():
            bad = np.unique(lines.aggregate[wrong])
            refuse("FX-S010", f"the factors of {int(wrong.sum())} lines do not sum to {ONE_PPM}", ids=bad)
    amounts = (lines.pay_ueur, lines.penalty_ueur, lines.availability_ueur)
    pay, penalty, availability = (split(a, weight, ordered) for a, weight in zip(amounts, weights, strict=True))
    line = np.repeat(np.arange(len(counts)), counts)
    net = pay - penalty + availability
    pods = PodLines(line, row, book.pod[row], ordered, delivered, available, pay, penalty, availability, net)
    return SettlementResult(lines, pods, totals_of(lines), terms, _digest(book, terms, missing, split_by), split_by)


def _digest(book: _Book, terms: SettlementTerms, missing: str, split: str) -> str:
    """SHA-256 over terms and active rows in canonical order; what has no order or availability decides nothing."""
    rows = book.rows
    terms = replace(terms, source="", unverified=())  # words about the numbers
    digest = hashlib.sha256(repr((terms, missing, split, book.orders.shape[1], len(rows))).encode())
    digest.update(book.unit_of_step.tobytes())
    for column in (book.operator, book.aggregate, book.direction, book.pod, book.share):
        if len(column) == 0:
            continue
        digest.update(np.ascontiguousarray(column[rows]).tobytes())
    one_row, one_step = len(book.price) == 1, book.price.shape[1] == 1
    used = np.zeros(book.orders.shape[1], np.bool_)
    for lo in range(0, len(rows), _ROWS):
        chunk = rows[lo : lo + _ROWS]
        orders = book.orders[chunk]
        digest.update(orders.tobytes())
        # readings, baselines and prices decide something only where there is an order
        has_order = orders > 0
        used |= has_order.any(axis=0)
        ordered = np.flatnonzero(has_order)
        for array in (book.baseline, book.metered):
            digest.update(array[chunk].ravel()[ordered].tobytes())
        if len(book.available):
            digest.update(book.available[chunk].tobytes())
        if not one_row:
            prices = book.price[chunk]
            prices = np.where(has_order.any(axis=1), prices[:, 0], 0) if one_step else prices.ravel()[ordered]
            digest.update(prices.tobytes())
    if one_row:
        digest.update(np.where(used.any() if one_step else used, book.price[0], 0).tobytes())
    return digest.hexdigest()
