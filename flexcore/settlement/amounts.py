"""Exact amounts: mean prices, ratios, pay factors and payments, each rounded once, half-even."""

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError
from flexcore.settlement.result import Int64s
from flexcore.settlement.terms import ONE_PPM, Breakpoints
from flexcore.units import WQH_PER_MWH

#: Largest amount, and largest sum of the amounts of a run. [micro-EUR]
LARGEST_UEUR = 2**62
_CHUNK = 1 << 14


def refuse(code: str, message: str, **details: npt.ArrayLike | str) -> None:
    """Raise SettlementError with one finding."""
    found = Findings("settlement")
    found.add(code, message, **details)  # type: ignore[arg-type]
    found.raise_errors(SettlementError)


def refuse_above(largest: int, message: str, *amounts: Int64s) -> None:
    """Raise FX-S001 if the sizes of all amounts together may pass `largest`."""
    total = sum(float(np.abs(amount.astype(np.float64)).sum()) for amount in amounts)
    if total > largest:
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


def ratio_ppm(part: npt.ArrayLike, whole: npt.ArrayLike) -> Int64s:
    """Return half_even(1e6 * part / whole); 0 where `whole` is not positive. [parts per million]"""
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
