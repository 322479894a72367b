"""Products with the attributes of D4.1 Table 7, and the qualifications of aggregates for them (PRQ-01)."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from flexcore.register.ids import Keys
from flexcore.register.pods import Bytes, Int8s, Int32s, Int64s, Rows, Texts

Bools = npt.NDArray[np.bool_]

#: Columns that make up the technical requirement: equal in the pure case of the Table of Equivalences.
REQUIREMENT: tuple[str, ...] = (
    "up",
    "down",
    "min_w",
    "granularity_w",
    "notice_s",
    "recovery_s",
    "test_min_pm",
    "test_step_pm",
    "test_ramp_pm",
)
#: Those for which a smaller number is the stricter one; of all others the larger one is.
SMALLER_IS_STRICTER: frozenset[str] = frozenset({"notice_s", "recovery_s", "test_ramp_pm"})


@dataclass(frozen=True, slots=True)
class Products(Rows):
    """Products, in the order of registration.

    Attributes
    ----------
    product_id : ndarray of int64 or str, shape (n_products,)
    operator : ndarray of int8
        Who buys: `units.LOCAL` or `units.GLOBAL`.
    service, test_setup : ndarray of str
        What is bought, and the infrastructure that tests it.
    up, down : ndarray of bool
        Directions covered.
    flex_area : ndarray of int32
        DSO perimeter in which the resources must lie; -1: anywhere.
    min_w, granularity_w : ndarray of int64
        Least power of an aggregate and its step. [W]
    notice_s, recovery_s : ndarray of int32
        Notice before activation, and least time between two requests. [s]
    first_month, last_month, first_hour, last_hour : ndarray of int32
        Availability windows in local time, both ends included; a first later than the last wraps around.
    weekdays : ndarray of int32
        Bit 0 is Monday.
    test_min_pm : ndarray of int32
        Least delivered over required energy in the technical test. [per mille]
    test_step_pm : ndarray of int32
        Least delivered over required power in each due step; 0 still asks that it does not move the wrong way.
        [per mille]
    test_ramp_pm : ndarray of int32
        Largest change of delivered power between due steps over required power. [per mille]
    validity_days : ndarray of int32
        How long a qualification lasts.
    """

    product_id: Keys
    operator: Int8s
    service: Texts
    test_setup: Texts
    up: Bools
    down: Bools
    flex_area: Int32s
    min_w: Int64s
    granularity_w: Int64s
    notice_s: Int32s
    recovery_s: Int32s
    first_month: Int32s
    last_month: Int32s
    weekdays: Int32s
    first_hour: Int32s
    last_hour: Int32s
    test_min_pm: Int32s
    test_step_pm: Int32s
    test_ramp_pm: Int32s
    validity_days: Int32s


@dataclass(frozen=True, slots=True)
class Qualifications(Rows):
    """One row per (aggregate, product) that was requested.

    Attributes
    ----------
    aggregate, product : ndarray of int32, shape (n_qualifications,)
        Positions.
    up_w, down_w : ndarray of int64
        Power to be qualified. [W]
    state : ndarray of uint8
        State of `states.AGGREGATE_PRODUCT`.
    approved_at, expires_at : ndarray of int64
        Of a test, an equivalence or a temporary admission; -1: not approved. [unix s]
    derived_from : ndarray of int32
        Qualification that this one was derived from by the Table of Equivalences, -1 none.
    ratio : ndarray
        Delivered over required energy of the (worst) technical test; NaN where none was run.
    failed : ndarray of uint8
        Requirements that the last test did not meet: bits of `prequalification`.
    toe_reason : ndarray of uint8
        Outcome of the Table of Equivalences: see `prequalification`.
    n_tests, n_tests_saved : ndarray of int32
        Technical tests run, and those that an equivalence made unnecessary.
    n_tests_last : ndarray of int32
        Technical tests of the last decision; an equivalence saves as many.
    """

    aggregate: Int32s
    product: Int32s
    up_w: Int64s
    down_w: Int64s
    state: Bytes
    approved_at: Int64s
    expires_at: Int64s
    derived_from: Int32s
    ratio: npt.NDArray[np.float64]
    failed: Bytes
    toe_reason: Bytes
    n_tests: Int32s
    n_tests_saved: Int32s
    n_tests_last: Int32s


def no_products() -> Products:
    """Return an empty table."""
    i32, i64, text, no = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, "U1"), np.zeros(0, bool)
    return Products(i64, np.zeros(0, np.int8), text, text, no, no, i32, i64, i64, *(i32,) * 11)


def new_qualifications(aggregate: Int32s, product: Int32s, up_w: Int64s, down_w: Int64s) -> Qualifications:
    """Return qualifications that have just been requested."""
    n = aggregate.size
    never, none = np.full(n, -1, np.int64), np.zeros(n, np.int32)
    byte = np.zeros(n, np.uint8)
    missing = np.full(n, -1, np.int32)
    unknown = np.full(n, np.nan)
    return Qualifications(
        aggregate, product, up_w, down_w, byte, never, never, missing, unknown, byte, byte, none, none, none
    )


def no_qualifications() -> Qualifications:
    """Return an empty table."""
    i32, i64 = np.zeros(0, np.int32), np.zeros(0, np.int64)
    return new_qualifications(i32, i32, i64, i64)


def _within(value: npt.NDArray[np.int64], first: Int32s, last: Int32s) -> Bools:
    """Tell (product, time) whether first <= value <= last, wrapping around where first > last."""
    start, end = first[:, None], last[:, None]
    return np.where(start <= end, (value >= start) & (value <= end), (value >= start) | (value <= end))


def open_windows(products: Products, times: npt.NDArray[np.int64], tz: str) -> Bools:
    """Tell whether each product's availability window is open, shape (n_products, n_times).

    Parameters
    ----------
    products : Products
    times : ndarray of int64, shape (n_times,)
        [unix s]
    tz : str
        Time zone of months, days and hours.
    """
    zone = ZoneInfo(tz)
    local = [datetime.fromtimestamp(int(time), zone) for time in times]
    month = np.array([moment.month for moment in local], np.int64)
    hour = np.array([moment.hour for moment in local], np.int64)
    weekday = np.array([moment.weekday() for moment in local], np.int64)
    days = (products.weekdays[:, None] >> weekday) & 1
    in_season = _within(month, products.first_month, products.last_month)
    return np.asarray(in_season & _within(hour, products.first_hour, products.last_hour) & (days == 1))
