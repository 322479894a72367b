"""Exact amounts: mean prices, ratios, pay factors and payments, each rounded once, half-even."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError
from flexcore.settlement.result import Int64s
from flexcore.settlement.terms import ONE_PPM, Breakpoints
from flexcore.units import WQH_PER_MWH, exact_sum

#: Largest amount, and largest sum of the amounts of a run. [micro-EUR]
LARGEST_UEUR = 2**62
_CHUNK = 1 << 14


def refuse(code: str, message: str, **details: Any) -> None:
    """Raise SettlementError with one finding."""
    found = Findings("settlement")
    found.add(code, message, **details)
    found.raise_errors(SettlementError)


def refuse_lines(message: str, key: tuple[npt.NDArray[Any], ...], bad: npt.NDArray[np.bool_]) -> None:
    """Raise FX-S001 if a line is bad, and name the bad ones by (operator, aggregate, direction, unit)."""
    if bad.any():
        refuse("FX-S001", message, ids=list(zip(*(column[bad].tolist() for column in key), strict=True)))


def refuse_above(largest: int, message: str, *amounts: Int64s) -> None:
    """Raise FX-S001 if the sizes of all amounts together pass `largest`."""
    if sum(exact_sum(np.abs(amount)) for amount in amounts) > largest:
        refuse("FX-S001", message)


def mean_price(high: Int64s, low: Int64s, ordered: Int64s) -> Int64s:
    """Return half_even((high * 2^20 + low) / ordered), the order-weighted mean price; 0 where nothing is ordered.

    The sum may need 81 bits, so it is divided in two steps. With ordered <= 2^63 / 4e6 and prices up to 2^40 no
    intermediate needs more than 63 bits: |high| <= ordered * 2^20, low < ordered * 2^20, rest < ordered.
    """
    from flexcore.kernels.settlement.remuneration import PRICE_BIT

    weight = np.maximum(ordered, 1)
    whole = high // weight
    rest = ((high - whole * weight) << PRICE_BIT) + low
    part = rest // weight
    twice = 2 * (rest - part * weight)
    floor = (whole << PRICE_BIT) + part
    return np.asarray(floor + ((twice > weight) | ((twice == weight) & (floor % 2 != 0))), np.int64)


def scaled(value: npt.ArrayLike, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Int64s:
    """Return half_even(value * numerator / denominator), exactly, for arrays that broadcast to one length.

    `value` may be negative, `numerator` may not, and `denominator` lies in 1..2^62. The product may need 126 bits.

    Raises
    ------
    SettlementError
        FX-S001 if a result may pass 2^62.
    """
    from flexcore.kernels.settlement.exact import scale

    a, b, c = (
        np.ascontiguousarray(part, np.int64)
        for part in np.broadcast_arrays(np.atleast_1d(value), np.atleast_1d(numerator), np.atleast_1d(denominator))
    )
    size = np.abs(a.astype(np.float64)) * b / c
    if size.max(initial=0.0) > LARGEST_UEUR:
        bad = np.flatnonzero(size > LARGEST_UEUR)
        refuse("FX-S001", f"{bad.size} amounts are too large for exact 64-bit money", rows=bad)
    result = np.empty(a.size, np.int64)
    run_chunks(lambda lo, hi: scale(a, b, c, lo, hi, result), a.size, n_threads=1, chunk=_CHUNK)
    return result


def share_exactly(
    total: npt.ArrayLike, line: npt.ArrayLike, weight: npt.ArrayLike, *, n_threads: int = 1
) -> npt.NDArray[np.int64]:
    """Split the amount of each line over its entries in proportion to their weights, by largest remainder.

    Parameters
    ----------
    total : array_like of int, shape (n_lines,)
        Amounts of either sign. [micro-EUR, or any other whole unit]
    line : array_like of int, shape (n_entries,)
        Line of each entry, in any order.
    weight : array_like of int, shape (n_entries,)
        Not negative. A line whose weights are all 0 is shared alike.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_entries,)
        Sums exactly to `total` over each line. Of equal remainders the earlier entry gets the odd unit.

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S001 weights or amounts beyond 2^62, FX-S012 an amount without an entry.
    """
    from flexcore.kernels.settlement.remuneration import split_lines

    amount = as_int(total, "total", shape=(None,), lo=-LARGEST_UEUR, hi=LARGEST_UEUR)
    at = as_int(line, "line", shape=(None,), lo=0, hi=len(amount) - 1)
    part = as_int(weight, "weight", shape=at.shape, lo=0)
    # in two halves, exactly: a float sum that misses one watt too many lets the split run past its arrays
    high, low = np.zeros((2, len(amount)), np.int64)
    np.add.at(high, at, part >> 31)
    np.add.at(low, at, part & (2**31 - 1))
    high += low >> 31
    full = LARGEST_UEUR >> 31
    large = np.flatnonzero((high > full) | ((high == full) & (low & (2**31 - 1) > 0)))
    if large.size:
        refuse("FX-S001", "the weights of a line are too large to be summed", rows=large)
    count = np.bincount(at, minlength=len(amount))
    lost = np.flatnonzero((count == 0) & (amount != 0))
    if lost.size:
        refuse("FX-S012", f"{lost.size} amounts have no entry to go to", rows=lost)
    order = np.argsort(at, kind="stable")
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]).astype(np.int64)
    ordered, shares = part[order], np.empty(at.size, np.int64)
    run_chunks(
        lambda lo, hi: split_lines(ptr, amount, ordered, ordered, lo, hi, shares),
        len(amount),
        n_threads=n_threads,
        chunk=256,
    )
    result = np.empty(at.size, np.int64)
    result[order] = shares
    return result


def ratio_ppm(part: npt.ArrayLike, whole: npt.ArrayLike) -> Int64s:
    """Return half_even(1e6 * part / whole); 0 where `whole` is not positive. [parts per million]."""
    bottom = np.asarray(whole, np.int64)
    return np.where(bottom > 0, scaled(part, ONE_PPM, np.maximum(bottom, 1)), 0).astype(np.int64)


def pay_factor(counted: Int64s, ordered: Int64s, points: Breakpoints) -> Int64s:
    """Return the pay factor at counted / ordered in parts per million, half-even; the last where nothing is ordered."""
    from flexcore.kernels.settlement.exact import factor_at

    ratios, factors = (np.array(column, np.int64) for column in zip(*points, strict=True))
    result = np.empty(len(counted), np.int64)
    run_chunks(
        lambda lo, hi: factor_at(counted, ordered, ratios, factors, lo, hi, result),
        len(counted),
        n_threads=1,
        chunk=_CHUNK,
    )
    return result


def payment(paid: Int64s, price: Int64s, factor: Int64s) -> Int64s:
    """Return half_even(paid * price * factor), rounded once; energy times factor stays within 2^61."""
    return scaled(price, paid * factor, WQH_PER_MWH * ONE_PPM)
