"""Power flow for many steps at once: DC, LinDistFlow with loss sweeps, certified bounds, and AC."""

from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_real, output
from flexcore.errors import Findings, OptionError, check_option
from flexcore.grid.flow_result import FILLS, OF_NODES, QUANTITIES, Array, PowerFlowResult
from flexcore.grid.loops import run_meshed
from flexcore.grid.network import Grid
from flexcore.grid.regulated import refuse_links, solve_levels
from flexcore.grid.sweeps import per_limit, run_sweeps

__all__ = ["PowerFlowResult", "power_flow"]

Method = Literal["dc", "linear", "certified", "ac"]


def power_flow(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike | None = None,
    *,
    method: Method,
    outputs: Sequence[str] = ("branch_p_kw", "v_pu", "loading"),
    loss_sweeps: int = 3,
    tolerance: float = 1e-8,
    max_iterations: int = 100,
    n_threads: int = 1,
    dtype: npt.DTypeLike = np.float64,
    out: PowerFlowResult | None = None,
) -> PowerFlowResult:
    """Solve the network for all steps.

    Parameters
    ----------
    grid : Grid
        With loops or PV nodes for "dc" and "ac" only.
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Net load per node in `grid.node_ids` order, positive = withdrawal. [kW, kvar] Without `q_kvar` there is none.
    method : {"dc", "linear", "certified", "ac"}
        "dc": lossless, voltages 1 pu, node shunt conductance included. "linear": LinDistFlow, or `loss_sweeps` sweeps
        of DistFlow. "certified": proved bounds of the AC solution, for every voltage of the slack node within its dead
        band. "ac": the full equations.
    outputs : sequence of str
        Quantities to compute; those that the method does not know stay None. "certified" gives the bounds of what is
        asked for, in fields of their own.
    loss_sweeps : int
        For "linear": sweeps that count losses, the first one and all shunts in it at the no-load voltage, each further
        one at the voltages of the one before. 0 is plain LinDistFlow, one sweep without losses.
    tolerance : float
        For "ac": a step has converged when one sweep changes voltages by less than this (root of the sum of squares
        over a subtree). [pu]
    max_iterations : int
        For "ac" and "certified": steps that need more sweeps get status 1. "ac" makes at least two.
    n_threads : int
        Threads to use; the result has the same bits for any number.
    dtype : {numpy.float64, numpy.float32}
        Of the loads that are read (converted once where they have another type) and of all results. With float32, for
        radial networks and not for "certified", memory halves and the calculation stays in float64: results are those
        of the rounded loads, rounded. A number above 3e38, such as the loading of a limit of 0, is infinite there.
    out : PowerFlowResult, optional
        An earlier result of the same call shape: its arrays are overwritten and it is returned. If the call raises,
        what they hold is not defined.

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A003 NaN or infinite power (rows named), FX-A005 unfit `out`, FX-A006 a count or
        tolerance out of range, FX-E002 unknown method or output, or a `dtype` that the method does not have. A step
        without a solution is no error: see `PowerFlowResult.status`.
    GridError
        FX-G013 for "certified" or float32 in a grid with regulated nodes inside its trees; FX-G030 for a method or
        `dtype` that needs a radial network; for "dc" FX-G031, a loop without reactance or whose reactances cancel.

    Notes
    -----
    Linear and AC are sweeps of the DistFlow equations of Baran and Wu (1989, doi:10.1109/61.25627); see
    docs/explanation/power-flow.md, and docs/explanation/meshed.md for networks with loops.
    """
    check_option("method", method, tuple(FILLS))
    real = _check_dtype(dtype, method)
    single = real == np.float32
    what = f'power_flow with method="{method}"' + (", dtype=float32" if single else "")
    if single or method in ("linear", "certified"):
        grid.require_radial(what)
    if single or method == "certified":
        refuse_links(grid.links, grid.node_ids, what)
    for name in outputs:
        check_option("outputs", name, QUANTITIES)
    _check_numbers(loss_sweeps, tolerance, max_iterations, n_threads)
    # finite is checked after the sweep, on the sums at the roots: cheaper than a pass over all inputs
    p = as_real(p_kw, "p_kw", real, shape=(grid.n_nodes, None), finite=False)
    if q_kvar is None:
        q = np.zeros_like(p) if method != "dc" else p
    else:
        q = as_real(q_kvar, "q_kvar", real, shape=p.shape, finite=False)
    wanted = [name for quantity, fields in FILLS[method].items() if quantity in outputs for name in fields]
    result = _prepare(grid, p, q, method, wanted, out)
    arrays = {name: getattr(result, name) for name in wanted}
    settings: dict[str, Any] = {
        "loss_sweeps": loss_sweeps, "tolerance": tolerance, "max_iterations": max_iterations, "n_threads": n_threads,
    }  # fmt: skip
    if grid.mesh is not None or grid.pv_node.size:
        status = run_meshed(
            grid, p, q, method, arrays, tolerance=tolerance, max_iterations=max_iterations, n_threads=n_threads
        )
    elif grid.links is None:
        status = run_sweeps(grid, p, q, method, arrays, **settings)
    else:
        status = solve_levels(
            grid.spanning,
            grid.links,
            lambda forest, p, q, arrays: run_sweeps(grid, p, q, method, arrays, forest=forest, **settings),
            p,
            q,
            arrays,
            method=method,
            lossy=method == "ac" or (method == "linear" and loss_sweeps > 0),
            limits=(per_limit(grid.s_max_kva), per_limit(grid.s_max_reverse_kva)),
            v_set_pu=grid.v_set_pu,
            angle_set_deg=grid.angle_set_deg,
        )
    roots = np.flatnonzero(grid.slack)
    unsolved = status > 0 if method == "certified" else status == 2
    if unsolved.any() or not (np.isfinite(p[roots]).all() and np.isfinite(q[roots]).all()):
        as_real(p, "p_kw", real)
        as_real(q, "q_kvar", real)
    # a fixed voltage needs no sweep
    held, half = grid.v_set_pu[roots, None], 0.5 * grid.v_band_pu[roots, None]
    fixed = {"v_pu": held, "v_lo_pu": held - half, "v_hi_pu": held + half, "angle_deg": grid.angle_set_deg[roots, None]}
    for name in OF_NODES.intersection(arrays):
        arrays[name][roots] = fixed[name]
    result.status[:] = status.max(axis=0, initial=0)
    return result


def _check_dtype(dtype: npt.DTypeLike, method: str) -> np.dtype[Any]:
    """Return the float type of inputs and outputs, or raise `OptionError`."""
    found = Findings("power_flow")
    real: np.dtype[Any] = np.dtype(np.void)
    with suppress(TypeError, ValueError):
        real = np.dtype(np.void if dtype is None else dtype)  # numpy would take None for float64
    if real not in (np.float64, np.float32):
        hint = "use numpy.float64 or numpy.float32"
        found.add("FX-E002", f"dtype={dtype!r} does not exist", field="dtype", hint=hint)
    elif real == np.float32 and method == "certified":
        found.add(
            "FX-E002",
            'method="certified" has no dtype=float32: a bound that is rounded to the nearest number is no bound',
            field="dtype",
            hint="use numpy.float64",
        )
    found.raise_errors(OptionError)
    return real


def _check_numbers(loss_sweeps: int, tolerance: float, max_iterations: int, n_threads: int) -> None:
    found = Findings("power_flow")
    found.check_count("loss_sweeps", loss_sweeps, 0)
    found.check_count("max_iterations", max_iterations, 1)
    found.check_count("n_threads", n_threads, 1)
    if not (isinstance(tolerance, Real) and 0 < tolerance < np.inf):
        found.add("FX-A006", f"tolerance is {tolerance!r}, expected a finite number above 0", field="tolerance")
    found.raise_errors()


def _prepare(
    grid: Grid, p: Array, q: Array, method: str, wanted: list[str], out: PowerFlowResult | None
) -> PowerFlowResult:
    """Return a result whose arrays fit the call: those of `out`, checked, or new ones."""
    n_steps = p.shape[1]
    shapes = {name: (grid.n_nodes if name in OF_NODES else grid.n_branches, n_steps) for name in wanted}
    if out is None:
        arrays = {name: np.empty(shape, p.dtype) for name, shape in shapes.items()}
        return PowerFlowResult(method, np.zeros(n_steps, np.uint8), **arrays)
    found = Findings("out")
    if not isinstance(out, PowerFlowResult):
        found.add("FX-A005", f"out is {type(out).__name__}, expected an earlier result of power_flow")
        found.raise_errors()
    held = out.held()
    if out.method != method or set(held) != set(wanted):
        found.add("FX-A005", f"out holds {out.method}: {held}, the call gives {method}: {wanted}")
        found.raise_errors()
    for name, shape in shapes.items():
        output(getattr(out, name), f"out.{name}", shape=shape, dtype=p.dtype, inputs=(p, q))
    output(out.status, "out.status", shape=(n_steps,), dtype=np.uint8)
    return out
