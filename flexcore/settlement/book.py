"""The book of a settlement: checked arrays, and the rows that take part in canonical order."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int, int_per_row
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError
from flexcore.metering.readings import Int32s, as_power_w
from flexcore.settlement.amounts import refuse
from flexcore.settlement.result import Int8s, Int64s
from flexcore.settlement.terms import MAX_PRICE, ONE_PPM, SettlementTerms
from flexcore.units import GLOBAL, LOCAL

_ROWS = 4096


class Book(NamedTuple):
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
    step: Int64s  # quarter-hour of the day that each column stands for
    estimated: npt.NDArray[np.uint8]  # without rows where no ordered quarter-hour is

    @property
    def n_units(self) -> int:
        """Market time units up to the last of the columns."""
        return int(self.unit_of_step.max(initial=-1)) + 1


def make_book(
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
    estimated: npt.ArrayLike | None,
    unit_of_step: npt.ArrayLike | None,
    split: str,
    factor: npt.ArrayLike | None,
) -> Book:
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
    guessed = np.zeros((0, n_steps), np.uint8)
    if estimated is not None:
        guessed = as_bool(estimated, "estimated", shape=orders.shape).view(np.uint8)
        if not guessed[orders > 0].any():
            guessed = guessed[:0]

    way = int_per_row(direction, "direction", n_rows, dtype=np.int8, lo=0, hi=1)
    buyer = int_per_row(operator, "operator", n_rows, dtype=np.int8, lo=LOCAL, hi=GLOBAL)
    group_id = int_per_row(aggregate, "aggregate", n_rows)
    key = int_per_row(np.arange(n_rows) if pod is None else pod, "pod", n_rows)
    share = np.zeros(0, np.int64) if split == "delivered" else np.ones(n_rows, np.int64)
    if (factor is None) == (split == "factors"):
        refuse("FX-S010", "split_factor_ppm goes with split='factors', and with no other")
    if factor is not None:
        share = int_per_row(factor, "split_factor_ppm", n_rows, lo=0, hi=ONE_PPM)
    unit = checked_units(np.arange(n_steps) // 4 if unit_of_step is None else unit_of_step, n_steps)
    active = np.zeros(n_rows, np.uint8)
    run_chunks(lambda i0, i1: find_active(orders, available, i0, i1, active), n_rows, n_threads=1, chunk=_ROWS)
    rows = np.flatnonzero(active)
    rows = rows[np.lexsort((key[rows], way[rows], group_id[rows], buyer[rows]))]
    edge = np.zeros(len(rows) + 1, np.bool_)
    edge[[0, -1]] = True
    for column in (buyer, group_id, way):
        edge[1:-1] |= column[rows][1:] != column[rows][:-1]
    ptr = np.flatnonzero(edge) if len(rows) else np.zeros(1, np.int64)
    if len(rows):
        need_price(price, terms)
    prices = _prices(terms.price_ueur_per_mwh or 0 if price is None else price, n_rows, n_steps)
    book = Book(
        orders, baseline, metered, available, prices, way, group_id, buyer, key, unit, rows, ptr, share,
        np.arange(n_steps), guessed,
    )  # fmt: skip
    _order_twins(book, edge)
    return book


def checked_units(unit_of_step: npt.ArrayLike, n_steps: int) -> Int64s:
    """Return the market time unit of each quarter-hour."""
    unit = as_int(unit_of_step, "unit_of_step", shape=(n_steps,), lo=0, hi=max(n_steps - 1, 0))
    if (np.diff(unit) < 0).any():
        refuse("FX-A006", "unit_of_step must ascend", field="unit_of_step")
    return np.asarray(unit)


def need_price(price: npt.ArrayLike | None, terms: SettlementTerms) -> None:
    """Raise FX-S003 where neither orders nor terms have a price."""
    if price is None and terms.price_ueur_per_mwh is None:
        refuse("FX-S003", "no price is given, and the terms have none", hint="pass price_ueur_per_mwh, or --price")


def _order_twins(book: Book, edge: npt.NDArray[np.bool_]) -> None:
    """Order the rows of one POD within a group by what they hold: else the digest and their shares would hang on input.

    Rows that hold the same are interchangeable. Twins are rare, so a sort of bytes in Python does.
    """
    rows = book.rows
    tied = np.flatnonzero((book.pod[rows[1:]] == book.pod[rows[:-1]]) & ~edge[1:-1])
    parts: list[npt.NDArray[Any]] = [book.orders, book.baseline, book.metered]
    more = (book.available, book.price, book.share, book.estimated)
    parts += [part for part in more if len(part) == len(book.orders)]
    for run in np.split(tied, np.flatnonzero(np.diff(tied) > 1) + 1) if tied.size else ():
        lo, hi = run[0], run[-1] + 2
        rows[lo:hi] = sorted(rows[lo:hi], key=lambda i: [part[i].tobytes() for part in parts])


def _prices(price: npt.ArrayLike, n_rows: int, n_steps: int) -> Int64s:
    """Return prices with one row or one for each row, one step or all of them."""
    raw = np.asarray(price)
    raw = raw.reshape(1, 1) if not raw.ndim else raw[:, np.newaxis] if raw.ndim == 1 else raw
    prices: Int64s = as_int(raw, "price_ueur_per_mwh", shape=(None, None))
    if prices.shape[0] not in (1, n_rows) or prices.shape[1] not in (1, n_steps):
        message = f"price_ueur_per_mwh has shape {np.shape(price)}, expected ({n_rows}, {n_steps})"
        refuse("FX-A001", message, field="price_ueur_per_mwh")
    check_prices(prices)
    return prices


def check_prices(prices: Int64s, ptr: Int64s | None = None) -> None:
    """Raise FX-S001 for prices that are too large, with the rows that have one; `ptr` says where rows begin."""
    if prices.size and max(int(prices.max()), -int(prices.min())) > MAX_PRICE:
        rows = np.nonzero((prices > MAX_PRICE) | (prices < -MAX_PRICE))[0]
        rows = np.unique(rows if ptr is None else np.searchsorted(ptr, rows, "right") - 1)
        refuse("FX-S001", f"a price is larger than {MAX_PRICE} micro-EUR/MWh", field="price_ueur_per_mwh", rows=rows)


def refuse_doubles(book: Book) -> None:
    """Raise FX-S004 and FX-S015 where two rows of one POD hold one quarter-hour: it would be paid twice.

    Orders of any operator, aggregate and direction exclude each other (MUT-01). Availability does so
    within operator and direction, for which a POD is in one aggregate (AGG-02).
    """
    rows = book.rows[np.argsort(book.pod[book.rows], kind="stable")]
    ordered: list[int] = []
    held: list[int] = []
    for distance in range(1, len(rows)):
        same = np.flatnonzero(book.pod[rows[distance:]] == book.pod[rows[:-distance]])
        if not same.size:
            break
        first, second = rows[same], rows[same + distance]
        both = ((book.orders[first] > 0) & (book.orders[second] > 0)).any(axis=1)
        ordered.extend(second[both].tolist())
        if len(book.available):
            both = ((book.available[first] > 0) & (book.available[second] > 0)).any(axis=1)
            both &= (book.operator[first] == book.operator[second]) & (book.direction[first] == book.direction[second])
            held.extend(second[both].tolist())
    found = Findings("settlement", len(book.orders))
    for code, bad, what, hint in (
        ("FX-S004", ordered, "ordered", "no POD is held by two operators, aggregates or directions at once (MUT-01)"),
        ("FX-S015", held, "available", "a POD is in one aggregate of an operator (AGG-02); share its power first"),
    ):
        if bad:
            message = f"{len(bad)} rows are {what} in a quarter-hour in which another row of their POD is"
            found.add(code, message, rows=bad, ids=book.pod[bad], hint=hint)
    found.raise_errors(SettlementError)
