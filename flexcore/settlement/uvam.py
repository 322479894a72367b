"""Terna's UVAM pilot: reserve premium, strike price, reliability tests."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.errors import Findings
from flexcore.settlement.amounts import ratio_ppm, refuse, scaled
from flexcore.settlement.result import Columns, Int64s
from flexcore.settlement.terms import ONE_PPM
from flexcore.units import MAX_WQH, eur_per_mwh

#: Premium of a MW that is committed four hours a day for a year. [micro-EUR/MW]
PREMIUM_UEUR_PER_MW_YEAR = 30_000_000_000
#: Hours of a full commitment.
FULL_HOURS = 4
#: Days of commitment in a year, Monday to Friday; the pilot's documents give no number.
DAYS = 260
#: A unit that fails this many tests of a year is disabled, and so many tests a year are allowed.
FAILED_TESTS, TESTS_PER_YEAR = 3, 4


@dataclass(frozen=True, slots=True)
class UvamProduct:
    """One product of the pilot from 1 May 2021, Monday to Friday.

    Attributes
    ----------
    from_quarter, to_quarter : int
        Window by the local clock, `to_quarter` not included.
    strike_ueur_per_mwh : int
        Highest price at which the power must be offered.
    least_quarters : int
        Shortest commitment.
    """

    from_quarter: int
    to_quarter: int
    strike_ueur_per_mwh: int
    least_quarters: int = 8

    @property
    def hours(self) -> int:
        """Hours of the window."""
        return (self.to_quarter - self.from_quarter) // 4


#: Name to product.
UVAM_PRODUCTS: dict[str, UvamProduct] = {
    "afternoon": UvamProduct(60, 72, eur_per_mwh(200)),
    "evening_1": UvamProduct(72, 88, eur_per_mwh(400)),
    "evening_2": UvamProduct(72, 88, eur_per_mwh(200)),
}


def reserve_premium(contracted_w: npt.ArrayLike, hours: npt.ArrayLike) -> Int64s:
    """Return the yearly premium of a commitment: 30 000 EUR/MW x hours / 4, rounded once.

    Parameters
    ----------
    contracted_w : array_like of int, shape (n,)
        [W]
    hours : array_like of int, shape (n,) or one number
        Hours committed on each day, 1 to 4.

    Returns
    -------
    ndarray of int64, shape (n,)
        [micro-EUR a year]
    """
    power = as_int(contracted_w, "contracted_w", shape=(None,), lo=0, hi=2**40)
    length = int_per_row(hours, "hours", len(power), lo=1, hi=FULL_HOURS)
    return scaled(power, PREMIUM_UEUR_PER_MW_YEAR * length, FULL_HOURS * 1_000_000)


def availability_price(days: int = DAYS) -> int:
    """Return the premium for each MW and hour of commitment, half-even: the price of a contract's availability.

    30 000 EUR for four hours on each of `days` days. Months then weigh by their hours of commitment; how the pilot
    splits the year over months was not found. [micro-EUR per MW and hour]
    """
    found = Findings("days")
    found.check_count("days", days, 1)
    found.raise_errors()
    return int(scaled(PREMIUM_UEUR_PER_MW_YEAR, 1, FULL_HOURS * days)[0])


def offered_within_strike(
    declared_w: npt.ArrayLike, price_ueur_per_mwh: npt.ArrayLike, strike_ueur_per_mwh: npt.ArrayLike
) -> Int64s:
    """Return the declared availability, 0 where it was offered above the strike price.

    Parameters
    ----------
    declared_w : array_like of int, shape (n_contracts, n_steps)
        [W]
    price_ueur_per_mwh : array_like of int, same shape
        Price of the offer.
    strike_ueur_per_mwh : array_like of int, shape (n_contracts,)
    """
    declared = as_int(declared_w, "declared_w", shape=(None, None), lo=0)
    price = as_int(price_ueur_per_mwh, "price_ueur_per_mwh", shape=declared.shape)
    strike = as_int(strike_ueur_per_mwh, "strike_ueur_per_mwh", shape=declared.shape[:1])
    return np.where(price <= strike[:, np.newaxis], declared, 0).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ReliabilityTests(Columns):
    """Outcome of the reliability tests, one row for each (aggregate, year), sorted by these.

    Attributes
    ----------
    aggregate, year : ndarray of int64
    n_tests, n_failed : ndarray of int64
    worst_ppm : ndarray of int64
        Lowest performance, half-even. [parts per million]
    disabled : ndarray of bool
        At least `FAILED_TESTS` failed: the unit is disabled and its contract ends.
    """

    aggregate: Int64s
    year: Int64s
    n_tests: Int64s
    n_failed: Int64s
    worst_ppm: Int64s
    disabled: npt.NDArray[np.bool_]


def reliability_tests(
    counted_wqh: npt.ArrayLike,
    ordered_wqh: npt.ArrayLike,
    *,
    aggregate: npt.ArrayLike,
    year: npt.ArrayLike,
    pass_above_ppm: int = 900_000,
) -> ReliabilityTests:
    """Judge reliability tests: passed if counted / ordered energy is above 90 %, at most four a year.

    Parameters
    ----------
    counted_wqh, ordered_wqh : array_like of int, shape (n_tests,)
        Energy of each test: `counted_wqh` and `ordered_wqh` of its event. [W quarter-hours]
    aggregate, year : array_like of int, shape (n_tests,)
    pass_above_ppm : int
        [parts per million]

    Returns
    -------
    ReliabilityTests

    Raises
    ------
    SettlementError
        FX-S014 more than four tests of a unit in a year, or one without an order; FX-S003 pass_above_ppm.
    """
    counted = as_int(counted_wqh, "counted_wqh", shape=(None,), lo=-MAX_WQH, hi=MAX_WQH)
    ordered = as_int(ordered_wqh, "ordered_wqh", shape=counted.shape, lo=0, hi=MAX_WQH)
    unit = as_int(aggregate, "aggregate", shape=counted.shape)
    when = as_int(year, "year", shape=counted.shape)
    if not isinstance(pass_above_ppm, int) or not 0 <= pass_above_ppm <= ONE_PPM:
        refuse("FX-S003", f"pass_above_ppm must be a whole number in 0..{ONE_PPM}")
    if (ordered == 0).any():
        refuse("FX-S014", "a test has no order", rows=np.flatnonzero(ordered == 0))
    keys, place = np.unique(np.stack([unit, when]), axis=1, return_inverse=True)
    place = place.ravel()
    n_tests = np.bincount(place, minlength=keys.shape[1]).astype(np.int64)
    if (n_tests > TESTS_PER_YEAR).any():
        refuse("FX-S014", f"more than {TESTS_PER_YEAR} tests in a year", ids=keys[0][n_tests > TESTS_PER_YEAR])
    failed = counted * ONE_PPM <= ordered * pass_above_ppm
    n_failed = np.bincount(place[failed], minlength=keys.shape[1]).astype(np.int64)
    worst = np.full(keys.shape[1], np.iinfo(np.int64).max)
    np.minimum.at(worst, place, ratio_ppm(counted, ordered))
    return ReliabilityTests(keys[0].copy(), keys[1].copy(), n_tests, n_failed, worst, n_failed >= FAILED_TESTS)
