"""The one place where units, signs and money are converted.

Power at a POD or node is positive when withdrawn (load convention). Flexibility is a direction, `UP` (more injection or
less withdrawal) or `DOWN` (the opposite), and a non-negative amount (D4.1 Table 6). Inside, power is in whole watts,
energy in watt quarter-hours (wqh), prices in micro-EUR per MWh and amounts in micro-EUR, all int64, so that sums are
exact in any order.
"""

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


def kw_to_w(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, halves to even: the rule for loads."""
    return np.rint(np.asarray(kw, np.float64) * 1000.0).astype(np.int64)


# A capability of exactly 3 kW may arrive as 2.9999999999999996: a thousandth of a watt is forgiven before rounding.
_DUST_W = 1e-3


def kw_to_w_down(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, rounding down: the rule for capabilities and limits."""
    return np.floor(np.asarray(kw, np.float64) * 1000.0 + _DUST_W).astype(np.int64)


def kw_to_w_up(kw: npt.ArrayLike) -> IntArray:
    """Convert kW to whole W, rounding up: the rule for needs."""
    return np.ceil(np.asarray(kw, np.float64) * 1000.0 - _DUST_W).astype(np.int64)


def w_to_kw(w: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert whole W to kW."""
    return np.asarray(w, np.int64) / 1000.0


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

    Notes
    -----
    The price is split into q * 4e6 + r, so that wqh * q is exact and only wqh * r is divided: no intermediate needs
    more than 63 bits as long as |wqh| <= `MAX_WQH` (2.3e12) and the amount itself fits.
    """
    energy = np.asarray(wqh, np.int64)
    price = np.asarray(price_ueur_per_mwh, np.int64)
    whole, rest = np.divmod(price, WQH_PER_MWH)
    # not abs: that of -2^63 is negative
    largest = max(int(energy.max(initial=0)), -int(energy.min(initial=0)))
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
    """
    # Python integers: total times weight may need more than 63 bits
    parts = [int(weight) for weight in np.asarray(weights, np.int64)]
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
