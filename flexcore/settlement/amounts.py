"""Exact amounts: mean prices, pay factors and payments, each rounded once, half-even."""

import numpy as np

from flexcore.settlement.result import Int64s
from flexcore.settlement.terms import ONE_PPM, Breakpoints
from flexcore.units import WQH_PER_MWH, amount_ueur


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


def pay_factor(paid: Int64s, ordered: Int64s, points: Breakpoints) -> Int64s:
    """Return the pay factor at paid / ordered in parts per million, half-even; the last where nothing is ordered."""
    ratios = np.array([ratio for ratio, _ in points], np.int64)
    factors = np.array([factor for _, factor in points], np.int64)
    # the last breakpoint at or below paid / ordered, compared without dividing
    last = (paid[:, np.newaxis] * ONE_PPM >= ratios * ordered[:, np.newaxis]).sum(axis=1) - 1
    result = factors[np.maximum(last, 0)]
    following = np.minimum(last + 1, len(points) - 1)
    sloped = np.flatnonzero((last >= 0) & (factors[following] != result) & (ordered > 0))
    for line in sloped:  # products of up to 84 bits: Python's integers
        (x0, y0), (x1, y1) = points[last[line]], points[following[line]]
        p, o = int(paid[line]), int(ordered[line])
        result[line] = _half_even(y0 * (x1 - x0) * o + (y1 - y0) * (p * ONE_PPM - x0 * o), (x1 - x0) * o)
    return np.asarray(result, np.int64)


def _half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def payment(paid: Int64s, price: Int64s, factor: Int64s) -> Int64s:
    """Return half_even(paid * price * factor), rounded once."""
    pay = amount_ueur(np.where(factor == 0, 0, paid), price)
    for line in np.flatnonzero((factor != 0) & (factor != ONE_PPM)):  # products of up to 102 bits: Python's integers
        pay[line] = _half_even(int(paid[line]) * int(price[line]) * int(factor[line]), WQH_PER_MWH * ONE_PPM)
    return np.asarray(pay, np.int64)
