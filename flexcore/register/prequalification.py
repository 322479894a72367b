"""Technical tests (PRQ-02) and the Table of Equivalences (PRQ-03)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.register.aggregates import Configurations
from flexcore.register.ids import group_rows
from flexcore.register.pods import Bytes, Floats, Int32s, Int64s
from flexcore.register.products import REQUIREMENT, SMALLER_IS_STRICTER, Products, Qualifications
from flexcore.register.states import AGGREGATE_PRODUCT
from flexcore.units import LOCAL

#: Requirements that a technical test did not meet, one bit each.
NO_DUE_STEP, VOLUME, ACTIVATION, STEP, RAMP, NOTICE, POWER, UNTESTED = 1, 2, 4, 8, 16, 32, 64, 128
FAILURES: dict[int, str] = {
    NO_DUE_STEP: "the test asked for no power",
    VOLUME: "delivered energy is below the required share",
    ACTIVATION: "too little power in the first due step",
    STEP: "too little power in a later due step",
    RAMP: "delivered power changes too much between due steps",
    NOTICE: "a member needs more time to act than the product's notice",
    POWER: "the test asked for less than the power to be qualified",
    UNTESTED: "a direction with power to be qualified was not tested",
}
#: Outcomes of the Table of Equivalences: how far the best candidate came. Only the last one grants.
NOT_ASKED, NO_TEST, OTHER_AGGREGATE, OTHER_POWER, OTHER_SERVICE, OTHER_REQUIREMENT, OTHER_SETUP, GRANTED = range(8)
TOE_REASONS: tuple[str, ...] = (
    "not asked",
    "no test of the connecting operator to derive from",
    "the aggregates are not identical",
    "the powers are not the same",
    "the services are not the same",
    "the technical requirements are not the same",
    "the test set-ups are not the same",
    "granted",
)
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class TechnicalResult:
    """Result of technical tests, one row per test.

    Attributes
    ----------
    delivered_wqh, required_wqh : ndarray of int64, shape (n_tests,)
        Sums over the due steps. [W x steps]
    ratio : ndarray, shape (n_tests,)
        Delivered over required; NaN where nothing was required.
    failed : ndarray of uint8, shape (n_tests,)
        Bits of `FAILURES`; 0 is a pass.
    """

    delivered_wqh: Int64s
    required_wqh: Int64s
    ratio: Floats
    failed: Bytes

    @property
    def passed(self) -> npt.NDArray[np.bool_]:
        """Tests that met every requirement."""
        return np.asarray(self.failed == 0)


def technical_test(
    direction: npt.ArrayLike,
    required_w: npt.ArrayLike,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    *,
    min_pm: npt.ArrayLike = 900,
    step_pm: npt.ArrayLike = 0,
    ramp_pm: npt.ArrayLike = 1_000_000,
    n_threads: int = 1,
) -> TechnicalResult:
    """Compare the delivered with the required power of every test.

    Parameters
    ----------
    direction : array_like of int8, shape (n_tests,)
        `units.UP` or `units.DOWN`.
    required_w : array_like of int64, shape (n_tests, n_steps)
        Power asked for, from the end of the notice on; a step is due where it is positive. [W]
    baseline_w, metered_w : array_like of int64, shape (n_tests, n_steps)
        Withdrawal expected without the test, and withdrawal seen, of the whole aggregate. [W]
    min_pm, step_pm, ramp_pm : array_like of int32, scalar or shape (n_tests,)
        Requirements of the product, see `Products`. [per mille]
    n_threads : int

    Returns
    -------
    TechnicalResult

    Notes
    -----
    Delivered = baseline - metered for up, metered - baseline for down. The activation time is met when the first due
    step already delivers its share: the order goes out one notice before it.
    """
    from flexcore.kernels.register.prequalification import technical_test as kernel

    required = as_int(required_w, "required_w", shape=(None, None), lo=0, hi=2**40)
    n, n_steps = required.shape
    base = as_int(baseline_w, "baseline_w", shape=(n, n_steps), lo=-(2**40), hi=2**40)
    metered = as_int(metered_w, "metered_w", shape=(n, n_steps), lo=-(2**40), hi=2**40)
    way = as_int(direction, "direction", dtype=np.int8, shape=(n,), lo=0, hi=1)
    shares = [
        as_int(np.broadcast_to(np.asarray(value), (n,)), name, dtype=np.int32, shape=(n,), lo=0, hi=1_000_000)
        for name, value in (("min_pm", min_pm), ("step_pm", step_pm), ("ramp_pm", ramp_pm))
    ]
    delivered, asked, failed = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)

    def task(lo: int, hi: int) -> None:
        kernel(way, required, base, metered, *shares, delivered, asked, failed, lo, hi)

    run_chunks(task, n, n_threads=n_threads, chunk=_CHUNK)
    ratio = np.divide(delivered, asked, out=np.full(n, np.nan), where=asked > 0)
    return TechnicalResult(delivered, asked, ratio, failed)


@dataclass(frozen=True, slots=True)
class Equivalences:
    """What the Table of Equivalences says, one row per qualification.

    Attributes
    ----------
    derived_from : ndarray of int32, shape (n_qualifications,)
        Qualification whose test counts for this one too; -1 none.
    reason : ndarray of uint8, shape (n_qualifications,)
        `GRANTED`, or why not: index into `TOE_REASONS`; NOT_ASKED for qualifications that are not REQUESTED.
    """

    derived_from: Int32s
    reason: Bytes


def table_of_equivalences(
    qualifications: Qualifications,
    products: Products,
    pairs: Configurations,
    rank: npt.NDArray[np.integer],
    *,
    at: int,
    inclusion: bool = False,
    connecting: int = LOCAL,
) -> Equivalences:
    """Find, for every requested qualification, a test that has been passed already and counts for it.

    Parameters
    ----------
    qualifications : Qualifications
    products : Products
    pairs : Configurations
        Pairs of aggregates that share units.
    rank : ndarray of int, shape (n_qualifications,)
        Order by (aggregate id, product id), for ties.
    at : int
        Now. [unix s]
    inclusion : bool
        False: the pure case only, requirements must be equal. True: a stricter test qualifies for the laxer product
        too, for at most the power that was tested.
    connecting : int
        Operator whose tests count: the one that the resources are connected to.

    Returns
    -------
    Equivalences

    Notes
    -----
    Pure case (D4.1 6.2): the same aggregate (members and power), service, requirement and test set-up.
    """
    n = qualifications.aggregate.size
    state = qualifications.state
    open_ = np.flatnonzero(state == AGGREGATE_PRODUCT.state("REQUESTED"))
    tested = (state == AGGREGATE_PRODUCT.state("PREQUALIFIED")) | (state == AGGREGATE_PRODUCT.state("VERIFIED"))
    tested &= (qualifications.approved_at >= 0) & (qualifications.approved_at <= at) & (at < qualifications.expires_at)
    sources = np.flatnonzero(tested & (products.operator[qualifications.product] == connecting))
    reason = np.zeros(n, np.uint8)
    reason[open_] = NO_TEST
    derived = np.full(n, -1, np.int32)
    target, source, same_aggregate, same_power = _candidates(qualifications, open_, sources, pairs)
    if target.size:
        stage = _stages(qualifications, products, target, source, same_aggregate, same_power, inclusion=inclusion)
        np.maximum.at(reason, target, stage)
        good = np.flatnonzero(stage == GRANTED)
        # among several the earliest test, then the lowest ids
        best = good[np.lexsort((rank[source[good]], qualifications.approved_at[source[good]], target[good]))]
        first = best[np.unique(target[best], return_index=True)[1]]
        derived[target[first]] = source[first]
    return Equivalences(derived, reason)


def _candidates(
    qualifications: Qualifications,
    open_: npt.NDArray[np.intp],
    sources: npt.NDArray[np.intp],
    pairs: Configurations,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Join open qualifications with tested ones over aggregates that share units (an aggregate shares with itself)."""
    n_aggregates = int(
        max(qualifications.aggregate.max(initial=-1), pairs.local.max(initial=-1), pairs.global_.max(initial=-1))
    )
    itself = np.unique(qualifications.aggregate[open_])
    yes = np.ones(itself.size, bool)
    left = np.concatenate([itself, pairs.local, pairs.global_])
    right = np.concatenate([itself, pairs.global_, pairs.local])
    identical = np.concatenate([yes, pairs.configuration == 0, pairs.configuration == 0])
    power = np.concatenate([yes, pairs.same_power, pairs.same_power])
    # pairs x open qualifications of the left aggregate, then x tested ones of the right aggregate
    pair, target = _spread(left, qualifications.aggregate[open_], n_aggregates + 1)
    again, source = _spread(right[pair], qualifications.aggregate[sources], n_aggregates + 1)
    pair, target = pair[again], target[again]
    return open_[target], sources[source], identical[pair], power[pair]


def _spread(keys: Int32s, values: Int32s, n_keys: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return all (i, k) with keys[i] == values[k]."""
    indptr, rows = group_rows(values, n_keys)
    count = indptr[keys + 1] - indptr[keys]
    i = np.repeat(np.arange(keys.size), count)
    offset = np.arange(i.size) - np.repeat(np.cumsum(count) - count, count)
    return i, rows[np.repeat(indptr[keys], count) + offset].astype(np.intp)


def _stages(
    qualifications: Qualifications,
    products: Products,
    target: npt.NDArray[np.intp],
    source: npt.NDArray[np.intp],
    same_aggregate: npt.NDArray[np.bool_],
    same_power: npt.NDArray[np.bool_],
    *,
    inclusion: bool,
) -> Bytes:
    """Return the first test of the pure case that each candidate misses, or GRANTED."""
    want, have = qualifications.product[target], qualifications.product[source]
    requirement = np.ones(target.size, bool)
    for name in REQUIREMENT:
        column: npt.NDArray[np.generic] = getattr(products, name)
        wanted, tested = column[want].astype(np.int64), column[have].astype(np.int64)
        if not inclusion:
            requirement &= tested == wanted
        elif name in SMALLER_IS_STRICTER:
            requirement &= tested <= wanted
        else:
            requirement &= tested >= wanted
    power = same_power.copy()
    for values in (qualifications.up_w, qualifications.down_w):
        power &= (values[target] <= values[source]) if inclusion else (values[target] == values[source])
    stage = np.full(target.size, GRANTED, np.uint8)
    # the later checks are written first, so that the earliest one that fails stays
    for code, holds in (
        (OTHER_SETUP, products.test_setup[want] == products.test_setup[have]),
        (OTHER_REQUIREMENT, requirement),
        (OTHER_SERVICE, products.service[want] == products.service[have]),
        (OTHER_POWER, power),
        (OTHER_AGGREGATE, same_aggregate),
    ):
        stage[~holds] = code
    return stage
