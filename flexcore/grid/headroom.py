"""What each branch and node can still take: the linear rows that every selection and every capability must respect."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, GridError
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from flexcore.grid.sweeps import root_band

__all__ = ["ActivationRows", "activation_rows"]

F8 = npt.NDArray[np.float64]
_ROWS_PER_CHUNK = 512
_STEPS_PER_CHUNK = 16
_OUTPUTS = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu")


@dataclass(frozen=True, slots=True, eq=False)
class ActivationRows:
    """Bounds on net up activation, one row per branch and one per node and step, all in node order.

    With y_i = up minus down power in the subtree that node i's branch feeds: `lower_kw <= y_i <= upper_kw`; and for
    each node j, with W_j the sum of m_i y_i over the path from the root to j: `w_lower <= W_j <= w_upper`.

    Attributes
    ----------
    lower_kw, upper_kw : ndarray, shape (n_nodes, n_steps)
        Infinite at roots and where the branch has no limit. `lower_kw > 0` is a need for up (import overload),
        `upper_kw < 0` one for down (export overload); else `-lower_kw` is the headroom of down, `upper_kw` that of up.
        [kW]
    w_lower, w_upper : ndarray, shape (n_nodes, n_steps)
        Squared voltage, scaled by the squared tap ratios of the path; infinite at roots. [pu^2]
    m : ndarray, shape (n_nodes,)
        Rise of the scaled squared voltage for 1 kW through the node's branch; 0 at roots. [pu^2/kW]
    parent : ndarray of int32, shape (n_nodes,)
        Node position of the parent, -1 at a root.
    tan_phi : float
        kvar per kW of every activation.

    Notes
    -----
    Where no activation can help (a branch overloaded by reactive power alone) the lower and the upper bound of a branch
    meet at the activation of least current, and may even cross by the difference of the losses: a bound that calls
    for activation is a need to be served as far as possible, not a promise that it can be.
    """

    lower_kw: F8
    upper_kw: F8
    w_lower: F8
    w_upper: F8
    m: F8
    parent: npt.NDArray[np.int32]
    tan_phi: float

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return int(self.lower_kw.shape[1])


class _State(NamedTuple):
    """Flows at one assumed set of node powers; `v_low` is the voltage at the lower edge of the busbar's dead band."""

    flow: Any
    v_low: F8


def _band_shift(grid: Grid) -> F8:
    """Fall and rise of each node's scaled squared voltage with its regulated busbar at the edges of its dead band."""
    low, high = root_band(grid)
    shift = np.empty((2, grid.n_nodes))
    shift[:, grid.forest.order] = grid.forest.u_root - low, high - grid.forest.u_root
    return shift


def _solve(
    grid: Grid,
    p_kw: F8,
    q_kvar: F8,
    sweeps: int,
    fall: F8,
    tau: F8,
    n_threads: int,
    *,
    extra: tuple[str, ...] = (),
    demand_voltage: bool = True,
) -> _State:
    flow = power_flow(
        grid, p_kw, q_kvar, method="linear", outputs=(*_OUTPUTS, *extra), loss_sweeps=sweeps, n_threads=n_threads
    )
    v: Any = flow.v_pu
    if demand_voltage and np.isnan(v).any():
        steps = np.flatnonzero(np.isnan(v).any(axis=0))
        found = Findings("p_kw, q_kvar")
        found.add(
            "FX-G051",
            f"the forecast flow has no voltage in {steps.size} of {v.shape[1]} steps: more load than can be fed",
            rows=steps,
            hint="rows are steps; check units (kW) and signs (withdrawal is positive)",
        )
        found.raise_errors(GridError)
    if fall.any():
        v = np.sqrt(np.maximum(v * v - (fall / tau)[:, None], 0.0))
    return _State(flow, v)


def _narrow(grid: Grid, flow: Any, v_low: F8, tan_phi: float, lower: F8, upper: F8, n_threads: int) -> None:
    from flexcore.kernels.grid.headroom import narrow_by_limits

    forest = grid.forest
    arrays = (
        forest.order, forest.parent, forest.branch, forest.forward, grid.s_max_kva, grid.s_max_reverse_kva,
        flow.branch_p_kw, flow.branch_q_kvar, flow.branch_p_to_kw, flow.branch_q_to_kvar, v_low, tan_phi, lower, upper,
    )  # fmt: skip
    run_chunks(
        lambda lo, hi: narrow_by_limits(*arrays, lo, hi), grid.n_nodes, n_threads=n_threads, chunk=_ROWS_PER_CHUNK
    )


def _over_steps(task: Any, n_steps: int, n_threads: int) -> None:
    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)


def carried_by_branches(grid: Grid, extra_kw: F8, n_threads: int = 1) -> F8:
    """Sum node powers over subtrees: (n_nodes, n_steps) in node order to the same in preorder."""
    from flexcore.kernels.grid.headroom import subtree_sum

    values = np.ascontiguousarray(extra_kw[grid.forest.order])
    total = np.empty_like(values)
    _over_steps(lambda lo, hi: subtree_sum(grid.forest.parent, values, total, lo, hi), values.shape[1], n_threads)
    return total


def sensitivity(grid: Grid, slopes: tuple[float, float]) -> F8:
    """Largest rise of the scaled squared voltage per kW through each node's branch for these kvar per kW, in preorder.

    Raises
    ------
    GridError
        FX-G050 where it is negative: a series capacitor, or a leading power factor of the activations.
    """
    r, x = grid.forest.r_scaled, grid.forest.x_scaled
    each = 2.0 * (r + slopes[0] * x), 2.0 * (r + slopes[1] * x)
    m = np.maximum(*each)
    bad = np.flatnonzero(np.minimum(*each) < 0)
    if bad.size:
        found = Findings("grid", grid.n_branches)
        said = slopes[0] if slopes[0] == slopes[1] else slopes
        found.add(
            "FX-G050",
            f"activations with tan_phi={said} lower the voltage behind {bad.size} branches that they should raise",
            ids=grid.branch_ids[grid.forest.branch[bad]],
            hint="robust limits need r + tan_phi x >= 0 on every branch",
        )
        found.raise_errors(GridError)
    return m


def activation_rows(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    loss_sweeps: int = 3,
    tan_phi: float = 0.0,
    delivered_up_kw: npt.ArrayLike | None = None,
    delivered_down_kw: npt.ArrayLike | None = None,
    extra_down_kw: npt.ArrayLike | None = None,
    margin_kw: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> ActivationRows:
    """Find how much net activation each branch and node takes, from a linear power flow from scratch.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal, load convention. [kW, kvar]
    loss_sweeps : int
        Loss sweeps of the flow behind the rows for down. The rows for up take the worse of it and the lossless flow.
    tan_phi : float
        kvar per kW of every activation (consumption at lagging power factor: positive).
    delivered_up_kw, delivered_down_kw : array_like, shape (n_nodes, n_steps), optional
        Standing activations on top of a forecast without them. Each row holds whether or not they are delivered: the
        rows for down count only the down ones, the rows for up only the up ones (rule DTL-03). [kW]
    extra_down_kw : array_like, shape (n_nodes, n_steps), optional
        Node powers of a further state, such as every branch at its own worst case, at which losses and voltages of the
        rows for down, and voltages of those for up, are evaluated too; the worse of the two counts. May be negative at
        a node. [kW]
    margin_kw : array_like, shape (n_nodes, n_steps), optional
        Error of the forecast flow in each node's branch, either way: every row is narrowed by it, so that it holds for
        any flow within the band. [kW]
    n_threads : int

    Returns
    -------
    ActivationRows

    Raises
    ------
    ValidationError
        FX-A001, FX-A003, FX-A004 for shapes, NaN and negative awards.
    GridError
        FX-G050 if an activation would move a voltage the wrong way, FX-G051 if the forecast has no voltage.

    Notes
    -----
    A branch end with flow P + jQ (import positive) takes y while (P - y)^2 + (Q - y tan_phi)^2 <= S^2. S is the rated
    power of the flow's direction as declared (`s_max_kva` from -> to, `s_max_reverse_kva` to -> from) times the voltage
    of that end, because the rated current is what must not be exceeded. Both ends count. Not certified: losses and
    voltages are those of the evaluated states, see docs/explanation/capability.md.
    """
    forecast, rows = forecast_and_rows(
        grid,
        p_kw,
        q_kvar,
        loss_sweeps=loss_sweeps,
        tan_phi=tan_phi,
        delivered_up_kw=delivered_up_kw,
        delivered_down_kw=delivered_down_kw,
        n_threads=n_threads,
    )
    if extra_down_kw is None:
        return with_margin(grid, rows, margin_kw, n_threads)
    shape = (grid.n_nodes, rows.n_steps)
    extra = as_float(extra_down_kw, "extra_down_kw", shape=shape)
    rows = with_stressed_losses(grid, rows, forecast, extra, loss_sweeps=loss_sweeps, n_threads=n_threads)
    return with_margin(grid, rows, margin_kw, n_threads)


class Forecast(NamedTuple):
    """What the rows start from: node powers and flow of those for down, flows of those for up."""

    p_kw: F8
    q_kvar: F8
    flow: Any
    flows_up: tuple[Any, Any]


def forecast_and_rows(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    loss_sweeps: int,
    tan_phi: float,
    delivered_up_kw: npt.ArrayLike | None,
    delivered_down_kw: npt.ArrayLike | None,
    n_threads: int,
    outputs: tuple[str, ...] = (),
) -> tuple[Forecast, ActivationRows]:
    """Work out `activation_rows` without stressed losses, and give the flow behind it with further `outputs`."""
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    shape = p.shape
    q = as_float(q_kvar, "q_kvar", shape=shape)
    slope = float(as_float(tan_phi, "tan_phi", shape=()))
    m = sensitivity(grid, (slope, slope))
    p_high, q_high, p_low, q_low = p, q, p, q
    if delivered_down_kw is not None:
        down = as_float(delivered_down_kw, "delivered_down_kw", shape=shape, non_negative=True)
        p_high, q_high = p + down, q + tan_phi * down
    if delivered_up_kw is not None:
        up = as_float(delivered_up_kw, "delivered_up_kw", shape=shape, non_negative=True)
        p_low, q_low = p - up, q - tan_phi * up
    forest = grid.forest
    tau = np.empty(grid.n_nodes)
    tau[forest.order] = forest.tau
    fall, rise = _band_shift(grid)
    high = _solve(grid, p_high, q_high, loss_sweeps, fall, tau, n_threads, extra=outputs)
    low = high if p_low is p_high else _solve(grid, p_low, q_low, loss_sweeps, fall, tau, n_threads)
    lossless = _solve(grid, p_low, q_low, 0, fall, tau, n_threads)
    lower, upper = np.full(shape, -np.inf), np.full(shape, np.inf)
    if low is high:
        _narrow(grid, high.flow, high.v_low, tan_phi, lower, upper, n_threads)
        _narrow(grid, lossless.flow, high.v_low, tan_phi, np.full(shape, -np.inf), upper, n_threads)
    else:
        unused = np.empty(shape)
        unused.fill(np.inf)
        _narrow(grid, high.flow, high.v_low, tan_phi, lower, unused, n_threads)
        unused.fill(-np.inf)
        _narrow(grid, low.flow, low.v_low, tan_phi, unused, upper, n_threads)
        _narrow(grid, lossless.flow, low.v_low, tan_phi, unused, upper, n_threads)
    v_max, v_min = grid.v_max_pu[:, None], grid.v_min_pu[:, None]
    w_lower = tau[:, None] * (v_min**2 - high.flow.v_pu**2) + fall[:, None]
    w_upper = tau[:, None] * (v_max**2 - lossless.flow.v_pu**2) - rise[:, None]
    w_lower[grid.slack], w_upper[grid.slack] = -np.inf, np.inf
    m_node = np.empty(grid.n_nodes)
    m_node[forest.order] = m
    parent = np.empty(grid.n_nodes, np.int32)
    parent[forest.order] = np.where(forest.parent < 0, -1, forest.order[forest.parent])
    rows = ActivationRows(lower, upper, w_lower, w_upper, m_node, parent, slope)
    return Forecast(p_high, q_high, high.flow, (low.flow, lossless.flow)), rows


def with_margin(grid: Grid, rows: ActivationRows, margin_kw: npt.ArrayLike | None, n_threads: int) -> ActivationRows:
    """Narrow every row by a forecast error: the flow of node i's branch may be off by `margin_kw[i]` either way.

    The error of a voltage is at most the sum of m times the margins along its path: all of them at once is the worst.
    """
    if margin_kw is None:
        return rows
    from flexcore.kernels.grid.headroom import path_sum

    margin = as_float(margin_kw, "margin_kw", shape=rows.lower_kw.shape, non_negative=True)
    forest = grid.forest
    m, along = np.ascontiguousarray(rows.m[forest.order]), np.empty(margin.shape)
    carried = np.ascontiguousarray(margin[forest.order])
    _over_steps(lambda lo, hi: path_sum(forest.parent, m, carried, along, lo, hi), margin.shape[1], n_threads)
    path = along[forest.rank]
    return replace(
        rows,
        lower_kw=rows.lower_kw + margin,
        upper_kw=rows.upper_kw - margin,
        w_lower=rows.w_lower + path,
        w_upper=rows.w_upper - path,
    )


def with_stressed_losses(
    grid: Grid, rows: ActivationRows, forecast: Forecast, extra_kw: F8, *, loss_sweeps: int, n_threads: int
) -> ActivationRows:
    """Tighten the rows by losses and voltages at `forecast` plus `extra_kw` at the nodes.

    Only the losses differ from the forecast's: the extra flow itself is taken out again, so the rows still count from
    the forecast. The rows for up take the voltage of that state as well: where others move down it falls, and with it
    what a rated current carries.
    """
    from flexcore.kernels.grid.headroom import path_sum

    forest = grid.forest
    tau = np.empty(grid.n_nodes)
    tau[forest.order] = forest.tau
    fall, _ = _band_shift(grid)
    p, q = forecast.p_kw + extra_kw, forecast.q_kvar + rows.tan_phi * extra_kw
    stressed = _solve(grid, p, q, loss_sweeps, fall, tau, n_threads, demand_voltage=False)
    lower, upper, unused = np.full(p.shape, -np.inf), np.full(p.shape, np.inf), np.full(p.shape, np.inf)
    _narrow(grid, stressed.flow, stressed.v_low, rows.tan_phi, lower, unused, n_threads)
    for flow in forecast.flows_up:
        unused.fill(-np.inf)
        _narrow(grid, flow, stressed.v_low, rows.tan_phi, unused, upper, n_threads)
    carried = carried_by_branches(grid, extra_kw, n_threads)
    m = np.ascontiguousarray(rows.m[forest.order])
    along = np.empty_like(carried)
    _over_steps(lambda lo, hi: path_sum(forest.parent, m, carried, along, lo, hi), carried.shape[1], n_threads)
    lower -= carried[forest.rank]
    w_lower = tau[:, None] * (grid.v_min_pu[:, None] ** 2 - stressed.flow.v_pu**2) + fall[:, None]
    w_lower -= along[forest.rank]
    w_lower[grid.slack] = -np.inf
    # no voltage at all in the stressed state: nothing more may be taken there
    dark = np.isnan(stressed.flow.v_pu)
    lower[dark] = w_lower[dark] = upper[dark] = 0.0
    return replace(
        rows,
        lower_kw=np.maximum(rows.lower_kw, lower),
        upper_kw=np.minimum(rows.upper_kw, upper),
        w_lower=np.maximum(rows.w_lower, w_lower),
    )
