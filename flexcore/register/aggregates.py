"""Aggregates: membership rules (AGG-01..03) and the configuration of two aggregates (AGG-04, D4.1 Table 8)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings
from flexcore.register.ids import Keys, group_rows, shown
from flexcore.register.pods import Bytes, Int8s, Int32s, Int64s, Pods, Rows, Units
from flexcore.units import GLOBAL, LOCAL

#: Configurations of two aggregates (D4.1 Table 8). Only the identical one can use the Table of Equivalences.
IDENTICAL, INSIDE, OVERLAPPING, DISJOINT = 0, 1, 2, 3
CONFIGURATIONS: tuple[str, ...] = ("identical", "inside", "overlapping", "disjoint")
#: Member power that means "all of the validated power".
ALL_W = -1
_SIDES = ("local", "global")


@dataclass(frozen=True, slots=True)
class Aggregates(Rows):
    """Aggregates, in the order of registration; members stand in `Units.aggregate`.

    Attributes
    ----------
    agg_id : ndarray of int64 or str, shape (n_aggregates,)
    bsp : ndarray of int32
        Position of the party that it belongs to.
    operator : ndarray of int8
        Market side: `units.LOCAL` (DSO) or `units.GLOBAL` (TSO).
    flex_area : ndarray of int32
        The area in which all PODs of a local aggregate lie; -1 none.
    state : ndarray of uint8
        State of `states.AGGREGATE`.
    grid_state : ndarray of uint8
        State of `states.AGGREGATE_GRID`.
    grid_approved_at : ndarray of int64
        -1: never or withdrawn. [unix s]
    suspended_from, suspended_to : ndarray of int64
        Half-open; -1 none. [unix s]
    """

    agg_id: Keys
    bsp: Int32s
    operator: Int8s
    flex_area: Int32s
    state: Bytes
    grid_state: Bytes
    grid_approved_at: Int64s
    suspended_from: Int64s
    suspended_to: Int64s


def no_aggregates() -> Aggregates:
    """Return an empty table."""
    i32, i64, u8 = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    return Aggregates(i64, i32, np.zeros(0, np.int8), i32, u8, u8, i64, i64, i64)


@dataclass(frozen=True, slots=True)
class Members:
    """Members of every aggregate as CSR, ascending by unit id: aggregate a has `unit[indptr[a]:indptr[a + 1]]`.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_aggregates + 1,)
    unit : ndarray of int32, shape (n_members,)
        Unit positions.
    up_w, down_w : ndarray of int64, shape (n_members,)
        Enrolled power. [W]
    """

    indptr: Int64s
    unit: Int32s
    up_w: Int64s
    down_w: Int64s


def members(units: Units, n_aggregates: int, rank: Int32s) -> Members:
    """List the members of every aggregate.

    Parameters
    ----------
    units : Units
    n_aggregates : int
    rank : ndarray of int32, shape (n_units,)
        Rank of each unit by id.
    """
    by_id = np.argsort(rank, kind="stable")
    # one column per (side, unit): an aggregate has one side, so the sides never mix
    owner = units.aggregate[:, by_id].ravel()
    indptr, column = group_rows(owner, n_aggregates)
    # within an aggregate all columns come from one side and ascend by id already
    up = units.enrolled_up_w[:, by_id].ravel()[column]
    down = units.enrolled_down_w[:, by_id].ravel()[column]
    return Members(indptr, by_id[column % max(by_id.size, 1)].astype(np.int32), up, down)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an enrolment writes: rows `side`, columns `unit`."""

    side: npt.NDArray[np.intp]
    unit: Int32s
    aggregate: Int32s
    up_w: Int64s
    down_w: Int64s


def check_enrolment(
    aggregates: Aggregates,
    units: Units,
    pods: Pods,
    aggregate: Int32s,
    unit: Int32s,
    up_w: Int64s,
    down_w: Int64s,
    found: Findings,
) -> Enrolment:
    """Check members against AGG-01..03 and STL-02 and return what to write; problems go to `found`.

    Parameters
    ----------
    aggregates, units, pods
        The register's tables, `aggregates` with those that are being formed.
    aggregate, unit : ndarray of int32, shape (n_rows,)
        Positions of the members.
    up_w, down_w : ndarray of int64, shape (n_rows,)
        Power to enrol; -1: all that is validated. [W]
    found : Findings
    """
    side = aggregates.operator[aggregate].astype(np.intp)
    agg_id, unit_id = aggregates.agg_id[aggregate], units.unit_id[unit]
    _check_single(aggregates, units, aggregate, unit, side, found)
    after = units.aggregate.copy()
    after[side, unit] = aggregate
    other = after[1 - side, unit]
    strangers = units.bsp[unit] != aggregates.bsp[aggregate]
    if strangers.any():
        rows = np.flatnonzero(strangers)
        message = f"an aggregate with two BSPs: {rows.size} members have another BSP (units {shown(unit_id[rows])})"
        found.add(
            "FX-R010", message, field="agg_id", rows=rows, ids=agg_id[rows], hint="one aggregate, one BSP (AGG-01)"
        )
    torn = (other >= 0) & (aggregates.bsp[other] != aggregates.bsp[aggregate])
    if torn.any():
        rows = np.flatnonzero(torn)
        pairs = f"aggregates {shown(agg_id[rows])} and {shown(aggregates.agg_id[other[rows]])}"
        message = f"{rows.size} units are shared by a local and a global aggregate of different BSPs: {pairs}"
        found.add("FX-R012", message, field="unit_id", rows=rows, ids=unit_id[rows])
    area = pods.flex_area[units.pod[unit]]
    outside = (side == LOCAL) & (area != aggregates.flex_area[aggregate])
    if outside.any():
        rows = np.flatnonzero(outside)
        message = f"{rows.size} units lie outside the flex_area of their local aggregate: {shown(agg_id[rows])}"
        found.add("FX-R013", message, field="unit_id", rows=rows, ids=unit_id[rows])
    unlit = units.light_approved_at[unit] < 0
    if unlit.any():
        rows = np.flatnonzero(unlit)
        message = f"{rows.size} units have no approved static traffic light"
        found.add("FX-R015", message, field="unit_id", rows=rows, ids=unit_id[rows], hint="apply_static_light first")
    enrolled = []
    for name, wanted, valid in (("up_w", up_w, units.validated_up_w), ("down_w", down_w, units.validated_down_w)):
        too_much = ~unlit & (wanted > valid[unit])
        if too_much.any():
            rows = np.flatnonzero(too_much)
            message = f"{name} is more than validated for {rows.size} units"
            found.add("FX-R014", message, field=name, rows=rows, ids=unit_id[rows])
        enrolled.append(np.where(wanted == ALL_W, valid[unit], wanted))
    return Enrolment(side, unit, aggregate, enrolled[0], enrolled[1])


def _check_single(
    aggregates: Aggregates,
    units: Units,
    aggregate: Int32s,
    unit: Int32s,
    side: npt.NDArray[np.intp],
    found: Findings,
) -> None:
    """AGG-02: at most one local and one global aggregate per unit, among the rows and with earlier ones."""
    n_units = max(units.unit_id.size, 1)
    key = side * n_units + unit
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    before = units.aggregate[side, unit]
    for code_side in (LOCAL, GLOBAL):
        rows = np.flatnonzero((side == code_side) & ((counts[inverse] > 1) | (before >= 0)))
        if rows.size:
            rows = rows[np.argsort(unit[rows], kind="stable")]
            # the aggregates meant: those of the rows, and those that already hold the unit
            holders = np.concatenate([aggregate[rows], before[rows][before[rows] >= 0]])
            names = shown(aggregates.agg_id[np.unique(holders)])
            message = f"a unit in two {_SIDES[code_side]} aggregates: {names}"
            ids = units.unit_id[unit[rows]]
            found.add("FX-R011", message, field="unit_id", rows=rows, ids=ids, hint="one per market side (AGG-02)")


def classify(units_a: npt.ArrayLike, units_b: npt.ArrayLike) -> int:
    """Return the configuration of two aggregates, each given by the ids of its units.

    Returns
    -------
    int
        IDENTICAL, INSIDE (one of them contains the other), OVERLAPPING or DISJOINT.
    """
    a, b = np.unique(np.asarray(units_a)), np.unique(np.asarray(units_b))
    return int(_configuration(np.intersect1d(a, b).size, a.size, b.size))


def _configuration(shared: npt.ArrayLike, size_a: npt.ArrayLike, size_b: npt.ArrayLike) -> Bytes:
    both, a, b = np.asarray(shared), np.asarray(size_a), np.asarray(size_b)
    result = np.where((both == a) | (both == b), INSIDE, OVERLAPPING)
    result = np.where((both == a) & (both == b), IDENTICAL, result)
    return np.where(both == 0, DISJOINT, result).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Configurations:
    """All pairs of a local and a global aggregate that share units; every other pair is DISJOINT.

    Attributes
    ----------
    local, global_ : ndarray of int32, shape (n_pairs,)
        Aggregate positions, ascending by (local, global).
    n_shared : ndarray of int64, shape (n_pairs,)
    configuration : ndarray of uint8, shape (n_pairs,)
        IDENTICAL, INSIDE or OVERLAPPING.
    same_power : ndarray of bool, shape (n_pairs,)
        True where every shared unit enrols the same power, up and down, in both.
    toe : ndarray of bool, shape (n_pairs,)
        The aggregates are the same in the sense of the pure case: IDENTICAL and the same power.
    """

    local: Int32s
    global_: Int32s
    n_shared: Int64s
    configuration: Bytes
    same_power: npt.NDArray[np.bool_]
    toe: npt.NDArray[np.bool_]

    def between(self, a: int, b: int) -> int:
        """Configuration of the aggregates at positions a and b, in any order."""
        hit = ((self.local == a) & (self.global_ == b)) | ((self.local == b) & (self.global_ == a))
        return int(self.configuration[hit][0]) if hit.any() else DISJOINT


def configurations(units: Units, n_aggregates: int) -> Configurations:
    """Classify all pairs of a local and a global aggregate in one pass over the shared units (AGG-04).

    Aggregates of one market side never share a unit (AGG-02), so those pairs are DISJOINT too.
    """
    size = np.zeros(n_aggregates, np.int64)
    for side in (LOCAL, GLOBAL):
        owner = units.aggregate[side]
        size += np.bincount(owner[owner >= 0], minlength=n_aggregates)
    shared = np.flatnonzero((units.aggregate[LOCAL] >= 0) & (units.aggregate[GLOBAL] >= 0))
    local, global_ = units.aggregate[LOCAL, shared], units.aggregate[GLOBAL, shared]
    key = local.astype(np.int64) * max(n_aggregates, 1) + global_
    pairs, inverse, n_shared = np.unique(key, return_inverse=True, return_counts=True)
    differs = np.zeros(pairs.size, np.int64)
    up, down = units.enrolled_up_w[:, shared], units.enrolled_down_w[:, shared]
    np.add.at(differs, inverse, ((up[LOCAL] != up[GLOBAL]) | (down[LOCAL] != down[GLOBAL])).astype(np.int64))
    a = (pairs // max(n_aggregates, 1)).astype(np.int32)
    b = (pairs % max(n_aggregates, 1)).astype(np.int32)
    kind = _configuration(n_shared, size[a], size[b])
    same = differs == 0
    return Configurations(a, b, n_shared.astype(np.int64), kind, same, (kind == IDENTICAL) & same)
