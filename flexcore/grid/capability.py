"""Capability of perimeters: the total that any dispatch inside may reach, safe for all perimeters together."""

import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.grid.headroom import ActivationRows, forecast_and_rows, with_margin, with_stressed_losses
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, Shares, pair_perimeters, share

__all__ = ["CapabilityResult", "JointCheck", "capability", "joint_check"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]

#: Colours of the dynamic traffic light.
RED, YELLOW, GREEN = 0, 1, 2
#: What limits a perimeter: nothing, its own thermal or voltage row, or a row that it shares with other perimeters.
NOT_LIMITED, THERMAL, VOLTAGE, SHARED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class CapabilityResult:
    """Capability and colour per perimeter, step and direction.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_perimeters, n_steps)
        Any dispatch of at most that total inside each perimeter is safe. [kW]
    movable_up_kw, movable_down_kw : ndarray, shape (n_perimeters, n_steps)
        What could move. [kW]
    colour_up, colour_down : ndarray of uint8, shape (n_perimeters, n_steps)
        0 red, 1 yellow, 2 green.
    kind_up, kind_down : ndarray of uint8, shape (n_perimeters, n_steps)
        What limits: 0 nothing, 1 thermal, 2 voltage, 3 an element shared with other perimeters.
    binding_up, binding_down : ndarray of int32, shape (n_perimeters, n_steps)
        Position of the limiting branch, or of the limiting node where `at_node_*` is True; -1 where nothing limits.
    at_node_up, at_node_down : ndarray of bool, shape (n_perimeters, n_steps)
        True where a node's voltage limits, False for a branch.
    margin_up_kw, margin_down_kw : ndarray, shape (n_perimeters, n_steps)
        What the perimeter could add wherever it acts while all others stay at theirs; infinite without limits. [kW]
    status_up, status_down : ndarray of uint8, shape (n_steps,)
        0 exact; 1 safe, but a search was cut off before it could raise the caps further.
    rows : ActivationRows
        The rows that the capabilities respect, with the losses used.
    method, sharing : str
    certified : bool
        False: the losses between the evaluated states are not bounded by a proof.
    """

    up_kw: F8
    down_kw: F8
    movable_up_kw: F8
    movable_down_kw: F8
    colour_up: U1
    colour_down: U1
    kind_up: U1
    kind_down: U1
    binding_up: I4
    binding_down: I4
    at_node_up: npt.NDArray[np.bool_]
    at_node_down: npt.NDArray[np.bool_]
    margin_up_kw: F8
    margin_down_kw: F8
    status_up: U1
    status_down: U1
    rows: ActivationRows
    method: str
    sharing: str
    certified: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class JointCheck:
    """Largest excess of any row when every perimeter uses its cap in the worst way; never positive where safe.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_steps,)
        Over all branches, beyond the headroom (or beyond zero where the forecast is violated already). [kW]
    up_path, down_path : ndarray, shape (n_steps,)
        Over all nodes, scaled squared voltage. [pu^2]
    """

    up_kw: F8
    down_kw: F8
    up_path: F8
    down_path: F8

    @property
    def safe(self) -> bool:
        """True if no row is exceeded, not even by a rounding error."""
        return all(bool((excess <= 0).all()) for excess in (self.up_kw, self.down_kw, self.up_path, self.down_path))


class _Direction(NamedTuple):
    """Rooms of one direction on the kept elements, with the least roomy node below each for the report."""

    headroom: F8
    headroom_path: F8
    room_of_node: F8


def _rooms(grid: Grid, rows: ActivationRows, element: I4, upward: bool, slack_pu: float, n_threads: int) -> _Direction:
    from flexcore.kernels.grid.headroom import subtree_min

    forest = grid.forest
    head = rows.upper_kw if upward else -rows.lower_kw
    path = np.maximum(rows.w_upper if upward else -rows.w_lower, 0.0)
    if slack_pu:
        limit = grid.v_max_pu if upward else grid.v_min_pu - 0.5 * slack_pu
        tau = forest.tau[forest.rank]
        path += (2.0 * slack_pu * limit * tau)[:, None]
    path = np.ascontiguousarray(path[forest.order])
    least = np.empty_like(path)
    run_chunks(
        lambda lo, hi: subtree_min(forest.parent, path, least, lo, hi), path.shape[1], n_threads=n_threads, chunk=16
    )
    return _Direction(np.ascontiguousarray(head[forest.order[element]].T), np.ascontiguousarray(least[element].T), path)


def _least_roomy_node(grid: Grid, room: F8, position: int, step: int) -> int:
    """Node position of the smallest room in the subtree at a preorder position; the first in preorder on a tie."""
    last = int(grid.forest.last[position])
    return int(grid.forest.order[position + int(np.argmin(room[position:last, step]))])


def _binding(grid: Grid, pairs: PerimeterPairs, shares: Shares, room: F8) -> I4:
    """Positions of limiting branches and nodes, (n_perimeters, n_steps)."""
    if not pairs.element.size:
        return np.full(shares.row.T.shape, -1, np.int32)
    place = pairs.element[np.maximum(shares.row, 0)]
    result = np.where(shares.row < 0, -1, grid.forest.branch[place]).astype(np.int32)
    known: dict[tuple[int, int], int] = {}
    for step, k in np.argwhere((shares.at_node == 1) & (shares.row >= 0)):
        key = (int(place[step, k]), int(step))
        if key not in known:
            known[key] = _least_roomy_node(grid, room, *key)
        result[step, k] = known[key]
    return np.ascontiguousarray(result.T)


def _colour(cap: F8, movable: F8, tol_kw: float) -> U1:
    colour = np.full(cap.shape, YELLOW, np.uint8)
    colour[cap <= tol_kw] = RED
    # the caps of a free perimeter are its movable power but for the last bits
    colour[(cap >= movable * (1.0 - 1e-9)) | (movable <= tol_kw)] = GREEN
    return np.ascontiguousarray(colour.T)


def _labels(grid: Grid, perimeter: npt.ArrayLike) -> tuple[I4, int]:
    label = as_int(perimeter, "perimeter", dtype=np.int32, shape=(grid.n_nodes,), lo=-1, hi=max(grid.n_nodes - 1, 0))
    return np.ascontiguousarray(label[grid.forest.order]), int(label.max(initial=-1)) + 1


def _weights(weights: npt.ArrayLike | None, n_perimeters: int, n_steps: int) -> F8 | None:
    if weights is None:
        return None
    one = np.ndim(weights) == 1
    values = as_float(weights, "weights", shape=(n_perimeters,) if one else (n_perimeters, n_steps))
    bad = np.flatnonzero((values <= 0) if one else (values <= 0).any(axis=1))
    if bad.size:
        found = Findings("weights", n_perimeters)
        found.add("FX-G052", f"weights of {bad.size} of {n_perimeters} perimeters are not positive", rows=bad)
        found.raise_errors()
    return np.ascontiguousarray(np.broadcast_to(values[None, :] if one else values.T, (n_steps, n_perimeters)))


def _stressed_nodes(grid: Grid, pairs: PerimeterPairs, carried: F8, n_threads: int) -> F8:
    """Node powers with which every branch carries its own worst case at once, (n_nodes, n_steps) in node order."""
    from flexcore.kernels.grid.headroom import split_at_nodes

    own = np.empty((pairs.element.size, carried.shape[0]))
    flows = np.ascontiguousarray(carried.T)
    run_chunks(
        lambda lo, hi: split_at_nodes(pairs.parent, flows, own, lo, hi), flows.shape[1], n_threads=n_threads, chunk=16
    )
    own[pairs.parent < 0] = 0.0  # roots feed no branch
    extra = np.zeros((grid.n_nodes, carried.shape[0]))
    extra[grid.forest.order[pairs.element]] = own
    return extra


def capability(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    method: Literal["linear"],
    sharing: Literal["joint", "filling", "alone"] = "joint",
    weights: npt.ArrayLike | None = None,
    tan_phi: float = 0.0,
    delivered_up_kw: npt.ArrayLike | None = None,
    delivered_down_kw: npt.ArrayLike | None = None,
    margin_kw: npt.ArrayLike | None = None,
    voltage_slack_pu: float = 0.0,
    tol_kw: float = 1e-3,
    n_threads: int = 1,
) -> CapabilityResult:
    """Find the robust capability of every perimeter: whoever acts inside, no limit breaks up to that total.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal without global activations; without the awards given in `delivered_*`. [kW, kvar]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Adjustable power per node that could move. [kW]
    perimeter : array_like of int, shape (n_nodes,)
        Label 0, 1, ... of each node's perimeter, any pattern; -1: nothing may move there.
    method : {"linear"}
        Power flow behind the headrooms; the result is not certified.
    sharing : {"joint", "filling", "alone"}
        "joint" (the same as "filling") shares common headroom by progressive filling, safe for all perimeters together.
        "alone" gives each perimeter what it could have if no other moved, and warns.
    weights : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        Speeds of the filling. By default the stand-alone capabilities: all perimeters reach the same share of theirs
        until one is stopped, the others go on.
    tan_phi : float
        kvar per kW of every activation.
    delivered_up_kw, delivered_down_kw : array_like, shape (n_nodes, n_steps), optional
        Standing local awards on top of the forecast; the capabilities hold whether or not they are delivered. [kW]
    margin_kw : array_like, shape (n_nodes, n_steps), optional
        Error of the forecast flow in each node's branch, either way; the capabilities hold within that band. [kW]
    voltage_slack_pu : float
        How far a node's voltage may end beyond its limit, or beyond a forecast that violates it already. With 0 one
        node in violation stops every perimeter that it shares any impedance with. [pu]
    tol_kw : float
        Below this a capability is red, and movable power is none at all. [kW]
    n_threads : int

    Returns
    -------
    CapabilityResult

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative flexibility, FX-A006 a label below -1, FX-G052 weights.
    OptionError
        FX-E002 for an unknown method or sharing.
    GridError
        FX-G050, FX-G051 as in `activation_rows`.

    Warns
    -----
    UserWarning
        With sharing="alone": the values are not jointly safe.

    Notes
    -----
    Caps C are safe together if and only if g_i = sum_k min(C_k, B_ik) fits on each branch and the sums of m g along
    each path keep each voltage (D4.1 section 6.3, Figure 12; proof in docs/explanation/capability.md). Two passes: the
    rows for down of the second one count losses and voltages at the fill of the first.
    """
    check_option("method", method, ("linear",))
    check_option("sharing", sharing, ("joint", "filling", "alone"))
    if sharing == "alone":
        warnings.warn(
            "sharing='alone': each capability is safe only if no other perimeter moves", UserWarning, stacklevel=2
        )
    forecast, rows = forecast_and_rows(
        grid,
        p_kw,
        q_kvar,
        loss_sweeps=2,
        tan_phi=tan_phi,
        delivered_up_kw=delivered_up_kw,
        delivered_down_kw=delivered_down_kw,
        n_threads=n_threads,
    )
    plain = rows
    rows = with_margin(grid, plain, margin_kw, n_threads)
    shape = (grid.n_nodes, rows.n_steps)
    up = as_float(up_kw, "up_kw", shape=shape, non_negative=True)
    down = as_float(down_kw, "down_kw", shape=shape, non_negative=True)
    slack_pu = float(as_float(voltage_slack_pu, "voltage_slack_pu", shape=()))
    if slack_pu < 0:
        found = Findings("voltage_slack_pu")
        found.add("FX-A004", "voltage_slack_pu is negative")
        found.raise_errors(ValidationError)
    label, n_perimeters = _labels(grid, perimeter)
    speeds = _weights(weights, n_perimeters, rows.n_steps)
    forest = grid.forest
    moves = np.logical_or(up.any(axis=1), down.any(axis=1))[forest.order]
    pairs = pair_perimeters(forest.parent, forest.last, label, moves, n_perimeters)
    alone = sharing == "alone"
    m = np.ascontiguousarray(rows.m[forest.order][pairs.element])

    def solve(power: F8, upward: bool, rows: ActivationRows) -> tuple[Shares, _Direction]:
        room = _rooms(grid, rows, pairs.element, upward, slack_pu, n_threads)
        offered = np.ascontiguousarray(power[forest.order[pairs.element]].T)
        return (
            share(
                pairs, m, offered, room.headroom, room.headroom_path, weights=speeds, alone=alone, n_threads=n_threads
            ),
            room,
        )

    first, room_down = solve(down, False, rows)
    shares_down = first
    if n_perimeters and first.carried.any():
        extra = _stressed_nodes(grid, pairs, first.carried, n_threads)
        plain = with_stressed_losses(grid, plain, forecast, extra, loss_sweeps=2, n_threads=n_threads)
        rows = with_margin(grid, plain, margin_kw, n_threads)
        shares_down, room_down = solve(down, False, rows)
    shares_up, room_up = solve(up, True, rows)
    return CapabilityResult(
        up_kw=np.ascontiguousarray(shares_up.cap.T),
        down_kw=np.ascontiguousarray(shares_down.cap.T),
        movable_up_kw=np.ascontiguousarray(shares_up.movable.T),
        movable_down_kw=np.ascontiguousarray(shares_down.movable.T),
        colour_up=_colour(shares_up.cap, shares_up.movable, tol_kw),
        colour_down=_colour(shares_down.cap, shares_down.movable, tol_kw),
        kind_up=np.ascontiguousarray(shares_up.kind.T),
        kind_down=np.ascontiguousarray(shares_down.kind.T),
        binding_up=_binding(grid, pairs, shares_up, room_up.room_of_node),
        binding_down=_binding(grid, pairs, shares_down, room_down.room_of_node),
        at_node_up=np.ascontiguousarray(shares_up.at_node.T.astype(np.bool_)),
        at_node_down=np.ascontiguousarray(shares_down.at_node.T.astype(np.bool_)),
        margin_up_kw=np.ascontiguousarray(shares_up.margin.T),
        margin_down_kw=np.ascontiguousarray(shares_down.margin.T),
        status_up=shares_up.status,
        status_down=shares_down.status,
        rows=rows,
        method=method,
        sharing="joint" if sharing == "filling" else sharing,
    )


def joint_check(
    grid: Grid,
    rows: ActivationRows,
    *,
    cap_up_kw: npt.ArrayLike,
    cap_down_kw: npt.ArrayLike,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    voltage_slack_pu: float = 0.0,
    n_threads: int = 1,
) -> JointCheck:
    """Check that caps hold under the worst dispatch of all perimeters at once, in both directions.

    Parameters
    ----------
    grid : Grid
    rows : ActivationRows
        For example `.rows` of a `CapabilityResult`.
    cap_up_kw, cap_down_kw : array_like, shape (n_perimeters, n_steps)
        Caps to check; n_perimeters is the largest label plus one. [kW]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Power that could move, as given to `capability`. [kW]
    perimeter : array_like of int, shape (n_nodes,)
    voltage_slack_pu : float
    n_threads : int

    Returns
    -------
    JointCheck

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative.
    """
    from flexcore.kernels.grid.capability import check_together

    label, n_perimeters = _labels(grid, perimeter)
    forest, n_steps = grid.forest, rows.n_steps
    up = as_float(up_kw, "up_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    down = as_float(down_kw, "down_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    # the same layout as in `capability`, so that the same sums are made in the same order
    moves = np.logical_or(up.any(axis=1), down.any(axis=1))[forest.order]
    pairs = pair_perimeters(forest.parent, forest.last, label, moves, n_perimeters)
    excess: list[F8] = []
    for name, upward, caps, offered in (("up", True, cap_up_kw, up), ("down", False, cap_down_kw, down)):
        cap = as_float(caps, f"cap_{name}_kw", shape=(n_perimeters, n_steps), non_negative=True)
        room = _rooms(grid, rows, pairs.element, upward, voltage_slack_pu, n_threads)
        over, over_path = np.empty(n_steps), np.empty(n_steps)
        arrays = (
            pairs.parent, np.ascontiguousarray(rows.m[forest.order][pairs.element]), pairs.label, pairs.own, pairs.top,
            pairs.pair_element, pairs.pair_k, pairs.pair_up,
            np.ascontiguousarray(offered[forest.order[pairs.element]].T), room.headroom, room.headroom_path,
            np.ascontiguousarray(cap.T), over, over_path,
        )  # fmt: skip
        check_together(*arrays, 0, n_steps)
        excess += [over, over_path]
    return JointCheck(excess[0], excess[2], excess[1], excess[3])
