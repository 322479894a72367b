"""Capability of perimeters: the total that any dispatch inside may reach, safe for all perimeters together."""

import warnings
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.errors import check_option
from flexcore.grid.capability_result import GREEN, RED, YELLOW, CapabilityResult, colour_of
from flexcore.grid.filling import Caps, Problem, fill_certified, fill_linear
from flexcore.grid.headroom import carried_by_branches, forecast_and_rows, sensitivity
from flexcore.grid.nested import group_limits
from flexcore.grid.nested_certified import fill_nested_certified
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, Shares, label_nodes, pair_perimeters, speeds_of
from flexcore.grid.value import values_of

__all__ = ["GREEN", "RED", "YELLOW", "capability"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]


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


def capability(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    method: Literal["certified", "linear"] = "certified",
    sharing: Literal["joint", "filling", "max_total", "value", "nested", "alone"] = "joint",
    weights: npt.ArrayLike | None = None,
    values_up: npt.ArrayLike | None = None,
    values_down: npt.ArrayLike | None = None,
    tan_phi: float | tuple[float, float] = 0.0,
    delivered_up_kw: npt.ArrayLike | None = None,
    delivered_down_kw: npt.ArrayLike | None = None,
    margin_kw: npt.ArrayLike | None = None,
    together: bool = True,
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
    method : {"certified", "linear"}
        What the headrooms come from: bounds of the AC power flow that hold for every dispatch within the
        capabilities, or a linear power flow with losses.
    sharing : {"joint", "filling", "max_total", "value", "nested", "alone"}
        "joint" (the same as "filling") shares common headroom by progressive filling, safe for all perimeters together.
        "max_total" as safely seeks the largest sum, whoever it starves; `largest_*` says where none is larger.
        "value" as safely seeks the largest sum of cap times value; it may need a solver, step by step.
        "nested" publishes wider capabilities and, where perimeters share an element, a limit on their sum: `groups`.
        They are safe only together; where branches alone limit whole subtrees they admit all that is jointly safe.
        "alone" gives each perimeter what it could have if no other moved, and warns.
    weights : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        Speeds of the filling. By default the stand-alone capabilities: all perimeters reach the same share of theirs
        until one is stopped, the others go on. Checked but not used by "max_total" and "value".
    values_up, values_down : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        With sharing="value": what a kW of each perimeter's capability is worth, such as a bid price. By default all are
        worth the same. Only ratios count. [EUR/kW]
    tan_phi : float or (float, float)
        kvar per kW of every activation; "certified" also takes the smallest and the largest, and holds for any mixture.
    delivered_up_kw, delivered_down_kw : array_like, shape (n_nodes, n_steps), optional
        Standing local awards on top of the forecast; the capabilities hold whether or not they are delivered. [kW]
    margin_kw : array_like, shape (n_nodes, n_steps), optional
        Error of the forecast flow in each node's branch, either way; the capabilities hold within that band. [kW]
    together : bool
        Up and down of one step are safe together. False: either is, while the other rests; "certified" can then promise
        more, because the losses of one direction are not those of the other.
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
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative flexibility or value, FX-A006 a label below -1, FX-G052 weights.
    OptionError
        FX-E002 for an unknown method or sharing.
    GridError
        FX-G050 if an activation would move a voltage the wrong way; FX-G051 if "linear" finds no voltage.

    Warns
    -----
    UserWarning
        With sharing="alone": the values are not jointly safe.

    Notes
    -----
    Caps C are safe together if and only if g_i = sum_k min(C_k, B_ik) fits on each branch and the sums of m g along
    each path keep each voltage (D4.1 section 6.3, Figure 12; proof in docs/explanation/capability.md). "linear" makes
    two passes: the rows for down of the second one count losses and voltages at the fill of the first. "certified"
    fills rows that are proved for everything up to a ceiling, and never exceeds it (docs/explanation/certified.md).
    """
    check_option("method", method, ("certified", "linear"))
    check_option("sharing", sharing, ("joint", "filling", "max_total", "value", "nested", "alone"))
    if sharing == "alone":
        warnings.warn(
            "sharing='alone': each capability is safe only if no other perimeter moves", UserWarning, stacklevel=2
        )
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    q = as_float(q_kvar, "q_kvar", shape=p.shape)
    up = as_float(up_kw, "up_kw", shape=p.shape, non_negative=True)
    down = as_float(down_kw, "down_kw", shape=p.shape, non_negative=True)
    slopes = _slopes(tan_phi, method)
    label, n_perimeters = label_nodes(grid, perimeter)
    forest = grid.forest
    moves = np.logical_or(up.any(axis=1), down.any(axis=1))[forest.order]
    pairs = pair_perimeters(forest.parent, forest.last, label, moves, n_perimeters)
    kept = forest.order[pairs.element]
    values = [
        values_of(given, name, n_perimeters, p.shape[1])
        for name, given in (("values_up", values_up), ("values_down", values_down))
    ]
    problem = Problem(
        grid=grid,
        pairs=pairs,
        m=sensitivity(grid, slopes),
        up=np.ascontiguousarray(up[kept].T),
        down=np.ascontiguousarray(down[kept].T),
        speeds=speeds_of(weights, n_perimeters, p.shape[1]),
        slack_pu=float(as_float(voltage_slack_pu, "voltage_slack_pu", shape=(), non_negative=True)),
        sharing=sharing,
        n_threads=n_threads,
        values=np.stack(values, axis=1) if sharing == "value" else None,
    )
    delivered = delivered_down_kw, delivered_up_kw
    if method == "linear":
        forecast, plain = forecast_and_rows(
            grid,
            p,
            q,
            loss_sweeps=3,
            tan_phi=slopes[1],
            delivered_up_kw=delivered_up_kw,
            delivered_down_kw=delivered_down_kw,
            n_threads=n_threads,
        )
        caps = fill_linear(problem, forecast, plain, margin_kw)
    else:
        case = (p, q), _fixed_spread(grid, delivered, margin_kw, p.shape, n_threads), slopes
        fill = fill_nested_certified if sharing == "nested" else fill_certified
        caps = fill(problem, *case, ways=(True, together))
        if not together:
            caps = _one_at_a_time(caps, fill(problem, *case, ways=(False, True)))
    columns: dict[str, Any] = {}
    for way, (shares, rooms, largest, _) in (("up", caps.up), ("down", caps.down)):
        columns |= {
            f"{way}_kw": np.ascontiguousarray(shares.cap.T),
            f"movable_{way}_kw": np.ascontiguousarray(shares.movable.T),
            f"colour_{way}": colour_of(shares.cap, shares.movable, tol_kw),
            f"kind_{way}": np.ascontiguousarray(shares.kind.T),
            f"binding_{way}": _binding(grid, pairs, shares, rooms.room_of_node),
            f"at_node_{way}": np.ascontiguousarray(shares.at_node.T.astype(np.bool_)),
            f"margin_{way}_kw": np.ascontiguousarray(shares.margin.T),
            f"status_{way}": shares.status,
            f"largest_{way}": largest,
        }
    return CapabilityResult(
        **columns,
        rows=caps.rows,
        method=method,
        sharing="joint" if sharing == "filling" else sharing,
        certified=caps.certified,
        together=together,
        groups=None
        if caps.up.limit is None or caps.down.limit is None
        else group_limits(grid, pairs, caps.up.limit, caps.down.limit),
    )


def _one_at_a_time(up: Caps, down: Caps) -> Caps:
    """Join the results of two calls in which only one direction moves."""
    rows = replace(up.rows, lower_kw=down.rows.lower_kw, w_lower=down.rows.w_lower)
    return Caps(up.up, down.down, rows, up.certified & down.certified)


def _slopes(tan_phi: float | tuple[float, float], method: str) -> tuple[float, float]:
    """Smallest and largest kvar per kW."""
    pair = method == "certified" and np.ndim(tan_phi) == 1
    values = as_float(tan_phi, "tan_phi", shape=(2,) if pair else ())
    return float(values.min()), float(values.max())


def _fixed_spread(
    grid: Grid,
    delivered: tuple[npt.ArrayLike | None, npt.ArrayLike | None],
    margin_kw: npt.ArrayLike | None,
    shape: tuple[int, int],
    n_threads: int,
) -> tuple[F8, F8]:
    """By how much more and less each branch may carry than forecast: awards that may be delivered, and the margin."""
    both = []
    margin = (
        None
        if margin_kw is None
        else as_float(margin_kw, "margin_kw", shape=shape, non_negative=True)[grid.forest.order]
    )
    for awards in delivered:
        total = np.zeros(shape)
        if awards is not None:
            power = as_float(awards, "delivered", shape=shape, non_negative=True)
            total = carried_by_branches(grid, power, n_threads)
        both.append(total if margin is None else total + margin)
    return both[0], both[1]
