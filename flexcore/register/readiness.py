"""Which units may act at a given time: one bit for each cause of 'not ready' but the slot, which the market adds."""

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.register.aggregates import Aggregates, Members
from flexcore.register.pods import Int64s, Units
from flexcore.register.products import Products, Qualifications, open_windows
from flexcore.register.states import AGGREGATE, UNIT
from flexcore.units import UP

UNIT_INACTIVE, NO_CONTRACT, NO_STATIC_LIGHT, AGGREGATE_INACTIVE = 1, 2, 4, 8
NO_GRID_APPROVAL, NO_PRODUCT, SUSPENDED, WINDOW_CLOSED = 16, 32, 64, 128
NOT_READY: dict[int, str] = {
    UNIT_INACTIVE: "the unit is not ACTIVE",
    NO_CONTRACT: "the BSP's mandate does not hold",
    NO_STATIC_LIGHT: "no approved static traffic light",
    AGGREGATE_INACTIVE: "in no aggregate of this operator, or the aggregate is not ACTIVE",
    NO_GRID_APPROVAL: "the aggregate has no grid approval",
    NO_PRODUCT: "the aggregate is qualified for no product (in the direction asked for)",
    SUSPENDED: "the unit or its aggregate is suspended",
    WINDOW_CLOSED: "no availability window of a qualified product is open",
}
_CHUNK = 16384


def _qualified(qualifications: Qualifications, times: Int64s, direction: int | None) -> npt.NDArray[np.bool_]:
    """Tell whether each qualification stands at each time, with power in the direction (None: in any)."""
    since, until = qualifications.approved_at[:, None], qualifications.expires_at[:, None]
    up, down = qualifications.up_w > 0, qualifications.down_w > 0
    power = up | down if direction is None else up if direction == UP else down
    return np.asarray((since >= 0) & (since <= times) & (times < until) & power[:, None])


def aggregate_bits(
    aggregates: Aggregates,
    products: Products,
    qualifications: Qualifications,
    times: Int64s,
    tz: str,
    direction: int | None = None,
) -> npt.NDArray[np.uint16]:
    """Return the causes that come from the aggregate; one row per aggregate and a last one for 'no aggregate'."""
    n, n_times = aggregates.agg_id.size, times.size
    active = aggregates.state == AGGREGATE.state("ACTIVE")
    approved = (aggregates.grid_approved_at[:, None] >= 0) & (aggregates.grid_approved_at[:, None] <= times)
    suspended = (aggregates.suspended_from[:, None] >= 0) & (aggregates.suspended_from[:, None] <= times)
    suspended &= times < aggregates.suspended_to[:, None]
    qualified = _qualified(qualifications, times, direction)
    open_ = qualified & open_windows(products, times, tz)[qualifications.product]
    has_product, has_window = np.zeros((n, n_times), bool), np.zeros((n, n_times), bool)
    np.logical_or.at(has_product, qualifications.aggregate, qualified)
    np.logical_or.at(has_window, qualifications.aggregate, open_)
    bits = np.empty((n + 1, n_times), np.uint16)
    bits[n] = AGGREGATE_INACTIVE | NO_GRID_APPROVAL | NO_PRODUCT | WINDOW_CLOSED
    bits[:n] = np.where(active, 0, AGGREGATE_INACTIVE)[:, None]
    bits[:n] |= np.where(approved, 0, NO_GRID_APPROVAL).astype(np.uint16)
    bits[:n] |= np.where(has_product, 0, NO_PRODUCT).astype(np.uint16)
    bits[:n] |= np.where(suspended, SUSPENDED, 0).astype(np.uint16)
    bits[:n] |= np.where(has_window, 0, WINDOW_CLOSED).astype(np.uint16)
    return bits


def unit_bits(
    units: Units, operator: int, aggregate: npt.NDArray[np.uint16], times: Int64s, n_threads: int
) -> npt.NDArray[np.uint16]:
    """Return all causes of every unit, shape (n_units, n_times); `aggregate` comes from `aggregate_bits`."""
    from flexcore.kernels.register.states import unit_ready

    n = units.unit_id.size
    bits = np.empty((n, times.size), np.uint16)
    active = (units.state == UNIT.state("ACTIVE")).astype(np.uint8)
    side = np.ascontiguousarray(units.aggregate[operator])

    def task(lo: int, hi: int) -> None:
        unit_ready(
            active,
            units.contract_from,
            units.contract_to,
            units.light_approved_at,
            units.suspended_from,
            units.suspended_to,
            side,
            aggregate,
            times,
            bits,
            lo,
            hi,
        )

    run_chunks(task, n, n_threads=n_threads, chunk=_CHUNK)
    return bits


def qualified_w(
    n_aggregates: int, products: Products, qualifications: Qualifications, times: Int64s, tz: str, direction: int
) -> Int64s:
    """Return the most that each aggregate may sell: the largest power of its open qualifications, in W."""
    open_ = _qualified(qualifications, times, direction)
    open_ &= open_windows(products, times, tz)[qualifications.product]
    power = qualifications.up_w if direction == UP else qualifications.down_w
    most = np.zeros((n_aggregates, times.size), np.int64)
    np.maximum.at(most, qualifications.aggregate, np.where(open_, power[:, None], 0))
    return most


def sellable_w(
    members: Members, mine: npt.NDArray[np.bool_], direction: int, ready: npt.NDArray[np.bool_], most_w: Int64s
) -> Int64s:
    """Cut the enrolled power of ready units to what their aggregate may sell; the last by unit id give way.

    Parameters
    ----------
    members : Members
    mine : ndarray of bool, shape (n_aggregates,)
        Aggregates of the operator that `ready` is for.
    direction : int
    ready : ndarray of bool, shape (n_units, n_times)
    most_w : ndarray of int64, shape (n_aggregates, n_times)
        [W]

    Returns
    -------
    ndarray of int64, shape (n_units, n_times)
        [W]
    """
    owner = np.repeat(np.arange(most_w.shape[0]), np.diff(members.indptr))
    enrolled = members.up_w if direction == UP else members.down_w
    power = np.where(ready[members.unit], enrolled[:, None], 0)
    upto = np.cumsum(power, axis=0)
    before = upto - power
    start = before[members.indptr[owner]]
    limit = most_w[owner]
    sold = np.minimum(upto - start, limit) - np.minimum(before - start, limit)
    keep = mine[owner]
    result = np.zeros(ready.shape, np.int64)
    result[members.unit[keep]] = sold[keep]
    return result
