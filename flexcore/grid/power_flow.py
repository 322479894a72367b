"""Power flow of a radial network for many steps at once: DC, LinDistFlow with loss sweeps, and AC."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, output
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, check_option
from flexcore.grid.forest import F8, Forest
from flexcore.grid.network import Grid

Array = npt.NDArray[np.float64]
Method = Literal["dc", "linear", "ac"]

_BRANCH = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "loading")
_NODE = ("v_pu", "angle_deg")
_FIELDS = (*_BRANCH[:4], "v_pu", "loading", "angle_deg")
#: Outputs that a method can compute; the others stay None.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "dc": ("branch_p_kw", "branch_p_to_kw", "loading", "angle_deg"),
    "linear": _FIELDS[:6],
    "ac": _FIELDS,
}

_SCRATCH_BYTES = 1 << 21  # what one job may keep in cache
_LONGEST = 512  # steps in one block
# short rows waste time on overhead, even where longer ones leave the cache
_SHORTEST = {"dc": 96, "linear": 96, "ac": 32}
_PACK_NODES = 256  # subtrees are packed into jobs of about this many nodes
_JOB_SECONDS = 0.02  # aim for one chunk of jobs


@dataclass(frozen=True, slots=True, eq=False)
class PowerFlowResult:
    """Flows and voltages of all steps; a field that was not asked for, or that the method does not know, is None.

    Attributes
    ----------
    method : str
    branch_p_kw, branch_q_kvar : ndarray, shape (n_branches, n_steps)
        Power that enters the branch at its from end. [kW, kvar]
    branch_p_to_kw, branch_q_to_kvar : ndarray, shape (n_branches, n_steps)
        Power that enters the branch at its to end (negative where it leaves). [kW, kvar]
    v_pu, angle_deg : ndarray, shape (n_nodes, n_steps)
        Voltage magnitude and angle. [pu, degree]
    loading : ndarray, shape (n_branches, n_steps)
        Larger end current over rated current, s_max / (sqrt(3) v_nom); 1 is fully loaded, 0 where there is no limit.
        Where power flows from to_id to from_id the limit is `s_max_reverse_kva`.
    status : ndarray of uint8, shape (n_steps,)
        0 solved, 1 not converged, 2 voltage collapse; the worst over all trees. Subtrees that are not solved hold NaN
        in that step, the others are valid.
    """

    method: str
    status: npt.NDArray[np.uint8]
    branch_p_kw: Array | None = None
    branch_q_kvar: Array | None = None
    branch_p_to_kw: Array | None = None
    branch_q_to_kvar: Array | None = None
    v_pu: Array | None = None
    angle_deg: Array | None = None
    loading: Array | None = None

    @property
    def converged(self) -> bool:
        """True if every step was solved."""
        return not self.status.any()


def power_flow(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike | None = None,
    *,
    method: Method,
    outputs: Sequence[str] = ("branch_p_kw", "v_pu", "loading"),
    loss_sweeps: int = 2,
    tolerance: float = 1e-8,
    max_iterations: int = 100,
    n_threads: int = 1,
    out: PowerFlowResult | None = None,
) -> PowerFlowResult:
    """Solve the network for all steps.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Net load per node in `grid.node_ids` order, positive = withdrawal. [kW, kvar] Without `q_kvar` there is none.
    method : {"dc", "linear", "ac"}
        "dc": lossless, voltages 1 pu, node shunt conductance included. "linear": LinDistFlow, losses added by
        `loss_sweeps` further sweeps, shunts at the no-load voltage. "ac": the full equations.
    outputs : sequence of str
        Fields of the result to compute; those that the method does not know stay None.
    loss_sweeps : int
        For "linear"; 0 is plain LinDistFlow.
    tolerance : float
        For "ac": a step has converged when one sweep changes voltages by less than this (root of the sum of squares
        over a subtree). [pu]
    max_iterations : int
        For "ac": steps that need more sweeps get status 1.
    n_threads : int
        Threads to use; the result has the same bits for any number.
    out : PowerFlowResult, optional
        An earlier result of the same call shape: its arrays are overwritten and it is returned. If the call raises,
        what they hold is not defined.

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A003 NaN or infinite power (rows named), FX-A005 unfit `out`, FX-A006 a negative count,
        FX-E002 unknown method or output. A step without a solution is no error: see `PowerFlowResult.status`.

    Notes
    -----
    Linear and AC are the sweeps of Baran and Wu (1989, doi:10.1109/61.25627) and Shirmohammadi et al. (1988,
    doi:10.1109/59.192932); see docs/explanation/power-flow.md.
    """
    check_option("method", method, tuple(OUTPUTS))
    for name in outputs:
        check_option("outputs", name, _FIELDS)
    _check_numbers(loss_sweeps, tolerance, max_iterations)
    # finite is checked after the sweep, on the sums at the roots: cheaper than a pass over all inputs
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None), finite=False)
    if q_kvar is None:
        q = np.zeros_like(p) if method != "dc" else p
    else:
        q = as_float(q_kvar, "q_kvar", shape=p.shape, finite=False)
    wanted = [name for name in OUTPUTS[method] if name in outputs]
    result = _prepare(grid, p, q, method, wanted, out)
    arrays = {name: getattr(result, name) for name in wanted}
    status = _solve(grid, p, q, method, arrays, loss_sweeps, tolerance, max_iterations, n_threads)
    roots = np.flatnonzero(grid.slack)
    if (status == 2).any() or not (np.isfinite(p[roots]).all() and np.isfinite(q[roots]).all()):
        as_float(p, "p_kw")
        as_float(q, "q_kvar")
    # a fixed voltage needs no sweep
    if "v_pu" in arrays:
        arrays["v_pu"][roots] = grid.v_set_pu[roots, None]
    if "angle_deg" in arrays:
        arrays["angle_deg"][roots] = grid.angle_set_deg[roots, None]
    result.status[:] = status.max(axis=0, initial=0)
    return result


def _check_numbers(loss_sweeps: int, tolerance: float, max_iterations: int) -> None:
    found = Findings("power_flow")
    if loss_sweeps < 0:
        found.add("FX-A006", f"loss_sweeps is {loss_sweeps}, expected 0 or more", field="loss_sweeps")
    if not tolerance > 0:
        found.add("FX-A006", f"tolerance is {tolerance}, expected more than 0", field="tolerance")
    if max_iterations < 1:
        found.add("FX-A006", f"max_iterations is {max_iterations}, expected 1 or more", field="max_iterations")
    found.raise_errors()


def _prepare(
    grid: Grid, p: Array, q: Array, method: str, wanted: list[str], out: PowerFlowResult | None
) -> PowerFlowResult:
    """Return a result whose arrays fit the call: those of `out`, checked, or new ones."""
    n_steps = p.shape[1]
    shapes = {name: (grid.n_branches if name in _BRANCH else grid.n_nodes, n_steps) for name in wanted}
    if out is None:
        arrays = {name: np.empty(shape) for name, shape in shapes.items()}
        return PowerFlowResult(method, np.zeros(n_steps, np.uint8), **arrays)
    found = Findings("out")
    held = [name for name in _FIELDS if getattr(out, name) is not None]
    if out.method != method or set(held) != set(wanted):
        found.add("FX-A005", f"out holds {out.method}: {held}, the call gives {method}: {wanted}")
        found.raise_errors()
    for name, shape in shapes.items():
        output(getattr(out, name), f"out.{name}", shape=shape, inputs=(p, q))
    output(out.status, "out.status", shape=(n_steps,), dtype=np.uint8)
    return out


def _packs(forest: Forest) -> npt.NDArray[np.int64]:
    """Cut the subtrees that hang off roots into packs of about `_PACK_NODES` nodes; depends on the network alone."""
    sizes = forest.last[forest.heads].astype(np.int64) - forest.heads
    pack = (np.cumsum(sizes) - sizes) // _PACK_NODES
    starts = np.flatnonzero(np.diff(pack, prepend=-1))
    return np.append(starts, sizes.size).astype(np.int64)


def _per_limit(limit: F8) -> F8:
    # a limit of 0 allows nothing: any flow gives a huge loading, none gives 0 rather than NaN
    with np.errstate(divide="ignore"):
        return np.where(limit > 0, 1.0 / limit, 1e300)


def _solve(
    grid: Grid,
    p: Array,
    q: Array,
    method: str,
    arrays: dict[str, Array],
    loss_sweeps: int,
    tolerance: float,
    max_iterations: int,
    n_threads: int,
) -> npt.NDArray[np.uint8]:
    """Run one kernel over all jobs; returns the status of every subtree and step."""
    forest, n_steps = grid.forest, p.shape[1]
    status = np.zeros((forest.heads.size, n_steps), np.uint8)
    if not status.size:
        return status
    packs = _packs(forest)
    rows = int((forest.last[forest.heads] - forest.heads).max()) + 1
    per_node, spare = (2, 0) if method == "dc" else (6, 8)
    width = _SCRATCH_BYTES // (8 * (per_node * rows + spare))
    width = min(max(width // 16 * 16, _SHORTEST[method]), _LONGEST, n_steps)
    n_jobs = (packs.size - 1) * -(-n_steps // width)
    scratch = _Scratch(per_node * rows + spare, width)
    empty = np.empty((0, 0))
    names = OUTPUTS[method]
    want = np.array([name in arrays for name in names], np.uint8)
    outs = [arrays.get(name, empty) for name in names]
    walk = (forest.order, forest.parent, forest.last, forest.branch, forest.forward.view(np.uint8))
    limits = (_per_limit(grid.s_max_kva), _per_limit(grid.s_max_reverse_kva))
    pi = (
        forest.r_scaled, forest.x_scaled, forest.g_scaled, forest.b_scaled,
        forest.g_parent, forest.b_parent, forest.g_child, forest.b_child, forest.tau, forest.u_root, *limits,
    )  # fmt: skip
    cut = (forest.heads, packs, width, want)

    task: Callable[[int, int], None]
    if method == "dc":
        from flexcore.kernels.grid import dc

        above = np.where(forest.parent >= 0, forest.parent, np.arange(grid.n_nodes))
        x_ratio = forest.x_pu * np.sqrt(forest.tau / forest.tau[above])
        shift = forest.shift_deg - forest.shift_deg[above]

        def task(lo: int, hi: int) -> None:
            dc.sweep(
                *walk, forest.g_dc_pu, x_ratio, shift, forest.angle_root_deg, *limits, p, *cut, scratch.mine(), *outs,
                status, lo, hi,
            )  # fmt: skip
    elif method == "linear":
        from flexcore.kernels.grid import linear

        def task(lo: int, hi: int) -> None:
            linear.sweep(*walk, *pi, p, q, loss_sweeps, *cut, scratch.mine(), *outs, status, lo, hi)
    else:
        from flexcore.kernels.grid import ac

        angles = (forest.shift_deg, forest.angle_root_deg)

        def task(lo: int, hi: int) -> None:
            ac.sweep(*walk, *pi, *angles, p, q, tolerance, max_iterations, *cut, scratch.mine(), *outs, status, lo, hi)

    # about 5 ns for one node and step is the slow end of a core; several chunks a thread keep both busy
    by_time = int(_JOB_SECONDS / (5e-9 * max(rows, _PACK_NODES) * width))
    chunk = max(1, min(by_time, n_jobs // (8 * max(1, n_threads))))
    run_chunks(task, n_jobs, n_threads=n_threads, chunk=chunk)
    return status


class _Scratch:
    """Work rows of one call, one array a thread, kept across its chunks: fresh memory would fault in page by page."""

    def __init__(self, rows: int, width: int) -> None:
        # eight more columns: rows of exactly one page would make stores and loads of different rows wait for each other
        self._shape = (rows, width + 8)
        self._local: Any = threading.local()

    def mine(self) -> Array:
        """Return this thread's array."""
        if not hasattr(self._local, "array"):
            self._local.array = np.empty(self._shape)
        array: Array = self._local.array
        return array
