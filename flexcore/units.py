"""The one place where units, signs and money are converted.

Power at a POD or node is positive when withdrawn (load convention). Flexibility is a direction, `UP` (more injection or
less withdrawal) or `DOWN` (the opposite), and a non-negative amount (D4.1 Table 6). Inside, power is in whole watts,
energy in watt quarter-hours (wqh), prices in micro-EUR per MWh and amounts in micro-EUR, all int64, so that sums are
exact in any order.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, SettlementError

#: Directions of flexibility.
UP, DOWN = 0, 1
#: System operators: the DSO buys on the local market, the TSO on the global one.
LOCAL, GLOBAL = 0, 1
#: Seconds in a quarter-hour.
QUARTER_S = 900
#: wqh times micro-EUR/MWh divided by this is micro-EUR: a MWh has 4 million watt quarter-hours.
WQH_PER_MWH = 4_000_000
#: Largest |energy| in wqh that `amount_ueur` takes: the remainder product then stays below 2^63.
MAX_WQH = (2**63 - 1) // WQH_PER_MWH

IntArray = npt.NDArray[np.int64]


def _whole(values: npt.ArrayLike, name: str) -> IntArray:
    """Return whole numbers as int64; a cast would cut fractions off and let large ones turn negative."""
    array = np.asarray(values)
    found = Findings(name)
    if array.size and array.dtype.kind not in "iu":
        found.add("FX-A002", f"{name} has type {array.dtype}, expected whole numbers")
    elif array.dtype.kind == "u" and (array >= 2**63).any():
        found.add("FX-A006", f"{name} does not fit 63 bits")
    found.raise_errors()
    return array.astype(np.int64, copy=False)


def _kw_to_w(kw: npt.ArrayLike, dust_w: float, to_whole: Callable[[npt.NDArray[np.float64]], Any]) -> IntArray:
    power = np.asarray(kw, np.float64)
    with np.errstate(over="ignore"):
        w = np.asarray(to_whole(power * 1000.0 + dust_w))
    bad = ~(np.abs(w) < 2.0**63)  # NaN too
    if bad.any():
        found = Findings("kw")
        code, what = ("FX-A006", "too large for 63 bits") if np.isfinite(power).all() else ("FX-A003", "not finite")
        found.add(code, f"a power is {what}", rows=np.unique(np.nonzero(np.atleast_1d(bad))[0]))
        found.raise_errors()
    return w.astype(np.int64)


def kw_to_w(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, halves to even: the rule for loads."""
    return _kw_to_w(kw, 0.0, np.rint)


# A capability of exactly 3 kW may arrive as 2.9999999999999996: a thousandth of a watt is forgiven before rounding.
_DUST_W = 1e-3


def kw_to_w_down(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, rounding down: the rule for capabilities and limits."""
    return _kw_to_w(kw, _DUST_W, np.floor)


def kw_to_w_up(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, rounding up: the rule for needs."""
    return _kw_to_w(kw, -_DUST_W, np.ceil)


def w_to_kw(w: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert whole W to kW."""
    return _whole(w, "w") / 1000.0


def half_even(numerator: npt.ArrayLike, denominator: int) -> IntArray:
    """Divide int64 by a positive int and round halves to even, exactly.

    Parameters
    ----------
    numerator : array_like of int64
    denominator : int
        Positive and below 2^62.
    """
    top = np.asarray(numerator, np.int64)
    quotient = top // denominator
    twice = 2 * (top - quotient * denominator)
    return np.asarray(quotient + ((twice > denominator) | ((twice == denominator) & (quotient % 2 != 0))), np.int64)


def amount_ueur(wqh: npt.ArrayLike, price_ueur_per_mwh: npt.ArrayLike) -> IntArray:
    """Multiply energy by price and round once, halves to even.

    Parameters
    ----------
    wqh : array_like of int64
        Energy. [W quarter-hours]
    price_ueur_per_mwh : array_like of int64
        Price. [micro-EUR/MWh]

    Returns
    -------
    ndarray of int64
        half_even(wqh * price / 4e6). [micro-EUR]

    Raises
    ------
    SettlementError
        FX-S001 if an amount would not fit in 63 bits.
    ValidationError
        FX-A002 if energies or prices are not whole numbers.

    Notes
    -----
    The price is split into q * 4e6 + r, so that wqh * q is exact and only wqh * r is divided: no intermediate needs
    more than 63 bits as long as |wqh| <= `MAX_WQH` (2.3e12) and the amount itself fits.
    """
    energy = _whole(wqh, "wqh")
    price = _whole(price_ueur_per_mwh, "price_ueur_per_mwh")
    whole, rest = np.divmod(price, WQH_PER_MWH)
    # Python integers: the absolute value of -2^63 has no int64
    largest = max(-int(energy.min(initial=0)), int(energy.max(initial=0)))
    if largest > MAX_WQH or float(largest) * float(np.abs(whole).max(initial=0) + 1) > 2.0**62:
        found = Findings("amount")
        found.add("FX-S001", "an energy or an amount is too large for exact 64-bit money")
        found.raise_errors(SettlementError)
    part = energy * rest
    below = part // WQH_PER_MWH
    twice = 2 * (part - below * WQH_PER_MWH)
    # a tie looks at the whole amount: the quotient of the second part alone may be even where the amount is odd
    amount = energy * whole + below
    return np.asarray(amount + ((twice > WQH_PER_MWH) | ((twice == WQH_PER_MWH) & (amount % 2 != 0))), np.int64)


def exact_sum(values: npt.ArrayLike) -> int:
    """Add int64 values as a Python integer: a sum of amounts that each fit 63 bits may not fit them itself."""
    whole = np.asarray(values, np.int64)
    # two halves, neither of which can overflow below 2^31 values
    return (int((whole >> 32).sum()) << 32) + int((whole & 0xFFFFFFFF).sum())


def largest_remainder(total: int, weights: npt.ArrayLike) -> IntArray:
    """Split an integer in proportion to non-negative weights so that the parts sum exactly.

    Parameters
    ----------
    total : int
        May be negative.
    weights : array_like of int64, shape (n,)
        At least one positive. Ties go to the lower position.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    ValidationError
        FX-A002 if weights are not whole numbers, FX-A004 if one is negative.
    """
    # Python integers: total times weight may need more than 63 bits
    parts = [int(weight) for weight in _whole(weights, "weights")]
    negative = [row for row, part in enumerate(parts) if part < 0]
    if negative:
        found = Findings("weights")
        found.add("FX-A004", f"{len(negative)} weights are negative", rows=negative)
        found.raise_errors()
    everything = sum(parts)
    if everything <= 0:
        raise ValueError("largest_remainder needs a positive weight")
    sign = -1 if total < 0 else 1
    shares = [divmod(abs(int(total)) * part, everything) for part in parts]
    result = [share for share, _ in shares]
    missing = abs(int(total)) - sum(result)
    for position in sorted(range(len(parts)), key=lambda i: (-shares[i][1], i))[:missing]:
        result[position] += 1
    return sign * np.array(result, np.int64)


def to_eur(ueur: Any) -> Decimal:
    """Convert micro-EUR to a Decimal in EUR, exactly."""
    return Decimal(int(ueur)).scaleb(-6)


def to_mwh(wqh: Any) -> Decimal:
    """Convert watt quarter-hours to a Decimal in MWh, exactly."""
    return Decimal(int(wqh)) / WQH_PER_MWH


def eur_per_mwh(price: str | int | Decimal) -> int:
    """Convert a price in EUR/MWh to whole micro-EUR/MWh; more than six decimals are refused by ValueError."""
    scaled = Decimal(price).scaleb(6)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{price} EUR/MWh has more than six decimals")
    return int(scaled)
