"""DC power flow of a network with loops: which part has them, its factor, and the jobs of the solve.

A branch that lies on no loop is a bridge: its flow is the sum of what is withdrawn below it, whatever the impedances.
Bridges gone, what hangs together is a part with loops. Each part has a top, its node nearest to a slack node, and
angles within it are differences from the top's: so parts are solved apart although one factor holds them all.
"""

import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings, GridError
from flexcore.grid.flow_result import FILLS
from flexcore.grid.forest import F8, I4
from flexcore.grid.network import Grid
from flexcore.grid.sweeps import per_limit

I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]
_JOB_SECONDS = 0.02  # aim for one chunk of blocks
_ENOUGH = 1e-7  # of an angle: what a factor with negative pivots must reproduce


class Factor(NamedTuple):
    """The susceptance matrix of all parts with loops as L D L', in elimination order; rows are preorder positions."""

    pivot: I4
    low_start: I8
    low_index: I4
    low_value: F8
    up_start: I8
    up_index: I4
    up_value: F8
    per_pivot: F8


class DcPlan(NamedTuple):
    """All that a DC solve reads but the loads; see the kernel for the meaning of each.

    Attributes
    ----------
    on_loop : bool, shape (n_branches,)
        Branches that are no bridges.
    """

    on_loop: npt.NDArray[np.bool_]
    target: I4
    above: I4
    looped: U1
    constant: F8
    factor: Factor
    loop_branch: I4
    loop_from: I4
    loop_to: I4
    loop_b: F8
    loop_shift: F8


def find_looped(grid: Grid) -> npt.NDArray[np.bool_]:
    """Preorder positions whose feeding branch lies on a loop, shape (n_nodes,)."""
    from flexcore.kernels.grid.mesh import cover

    forest, mesh = grid.spanning, grid.mesh
    looped = np.zeros((1, grid.n_nodes), np.uint8)
    if mesh is not None:
        one, other = (np.ascontiguousarray(forest.rank[ends[mesh.chords]]) for ends in mesh.branches[:2])
        cover(forest.parent, one, other, looped)
    result: npt.NDArray[np.bool_] = looped[0] > 0
    return result


def on_loop(grid: Grid) -> npt.NDArray[np.bool_]:
    """Branches that lie on a loop, shape (n_branches,); the others are bridges."""
    result = np.zeros(grid.n_branches, np.bool_)
    result[grid.spanning.branch[find_looped(grid)]] = True
    if grid.mesh is not None:
        result[grid.mesh.chords] = True
    return result


def dc_plan(grid: Grid) -> DcPlan:
    """Find the parts with loops and factor them; done once for a grid.

    Raises
    ------
    GridError
        FX-G031 where a branch on a loop has no reactance, or where negative reactances leave no solution.
    """
    known = grid._lookup.get("dc")
    if known is None:  # two threads may both get here: they find the same
        known = grid._lookup["dc"] = _plan(grid)
    plan: DcPlan = known
    return plan


def _plan(grid: Grid) -> DcPlan:
    forest, mesh = grid.spanning, grid.mesh
    assert mesh is not None
    n = grid.n_nodes
    looped = find_looped(grid)
    parent = forest.parent
    # down the tree: a node on a loop hands on to the top of its part
    top = np.full(n, -1, np.int64)
    for i in np.flatnonzero(looped).tolist():
        up = int(parent[i])
        top[i] = top[up] if top[up] >= 0 else up
    target = np.where(looped, top, parent).astype(np.int32)
    is_root = parent < 0
    at_root = looped & is_root[np.where(looped, top, 0)]
    above = np.where(at_root, n, target).astype(np.int32)

    inside = np.zeros(grid.n_branches, np.bool_)
    inside[forest.branch[looped]] = True
    inside[mesh.chords] = True
    e = np.flatnonzero(inside).astype(np.int32)
    x = mesh.branches.x_pu[e] * mesh.branches.ratio[e]
    _check_reactances(grid, e, x)
    b = 1.0 / x
    shift = np.deg2rad(mesh.branches.shift_deg[e])
    ends = [forest.rank[side[e]] for side in mesh.branches[:2]]
    constant = np.zeros(n)
    held = np.where(is_root, np.deg2rad(forest.angle_root_deg), 0.0)
    fixed = [np.where(looped[end], 0.0, held[end]) for end in ends]
    loop_shift = b * (fixed[0] - fixed[1] - shift)
    np.add.at(constant, ends[0], -loop_shift)
    np.add.at(constant, ends[1], loop_shift)
    rows = [np.where(looped[end], end, n).astype(np.int32) for end in ends]
    factor = _factorise(grid, np.flatnonzero(looped), rows, b, e)
    return DcPlan(inside, target, above, looped.astype(np.uint8), constant, factor, e, rows[0], rows[1], b, loop_shift)


def _check_reactances(grid: Grid, e: I4, x: F8) -> None:
    if (x == 0).any():
        ids = grid.branch_ids[e[x == 0]]
        found = Findings("branches")
        hint = "make the nodes at its ends one, or give it the reactance that it has"
        found.add("FX-G031", f"{ids.size} branches on loops have no reactance", field="x_ohm", ids=ids, hint=hint)
        found.raise_errors(GridError)


def _factorise(grid: Grid, unknown: I8, rows: list[I4], b: F8, e: I4) -> Factor:
    """Ordering and numbers from SuperLU without pivoting; its L is that of L D L', the diagonal of its U is D."""
    from scipy.sparse import coo_array, csc_array
    from scipy.sparse.linalg import splu

    place = np.full(grid.n_nodes + 1, -1, np.int64)
    place[unknown] = np.arange(unknown.size)
    one, other = place[rows[0]], place[rows[1]]
    both = (one >= 0) & (other >= 0) & (one != other)
    at = np.concatenate([one, other, one[both], other[both]])
    to = np.concatenate([one, other, other[both], one[both]])
    values = np.concatenate([b, b, -b[both], -b[both]])
    kept = at >= 0
    size = unknown.size
    matrix = csc_array(coo_array((values[kept], (at[kept], to[kept])), shape=(size, size)))
    try:
        lu = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:  # a pivot of exactly zero
        _refuse_factor(grid, b, e)
    if (lu.perm_r != lu.perm_c).any():
        _refuse_factor(grid, b, e)
    low = csc_array(lu.L)
    low.sort_indices()
    pivots = lu.U.diagonal()
    if (b < 0).any():
        # positive definite without them, and then elimination in any order is stable; with them nothing says so
        z = np.cos(np.arange(size))
        with np.errstate(all="ignore"):
            error = np.abs(lu.solve(matrix @ z) - z).max(initial=0.0)
        if not error < _ENOUGH:
            _refuse_factor(grid, b, e)
    # place of the k-th pivot: column perm_c^-1(k)
    pivot = unknown[np.argsort(lu.perm_c)].astype(np.int32)
    strict = low - csc_array((np.ones(size), (np.arange(size), np.arange(size))), shape=(size, size))
    strict.eliminate_zeros()
    up, down = strict.tocsc(), strict.tocsr()
    up.sort_indices()
    down.sort_indices()
    return Factor(
        pivot,
        down.indptr.astype(np.int64), pivot[down.indices], down.data.astype(np.float64),
        up.indptr.astype(np.int64), pivot[up.indices], up.data.astype(np.float64),
        1.0 / pivots,
    )  # fmt: skip


def _refuse_factor(grid: Grid, b: F8, e: I4) -> None:
    ids = grid.branch_ids[e[b < 0]]
    found = Findings("branches")
    message = f"the reactances of loops cancel: {ids.size} branches on loops have a negative one"
    found.add("FX-G031", message, field="x_ohm", ids=ids)
    found.raise_errors(GridError)


def run_dc(
    grid: Grid, p: F8, arrays: dict[str, F8], *, n_threads: int, loads_only: bool = False
) -> npt.NDArray[np.uint8]:
    """Fill `arrays` with the DC power flow of a grid with loops; returns the status, shape (1, n_steps).

    With `loads_only` phase shifts, held angles and shunts count as none: the response to a change of loads.
    """
    from flexcore.kernels.grid.mesh import WIDTH, sweep

    forest, plan, n_steps = grid.spanning, dc_plan(grid), p.shape[1]
    status = np.zeros((1, n_steps), np.uint8)
    fills = FILLS["dc"]
    want = np.array([names[0] in arrays for names in fills.values()], np.uint8)
    empty = np.empty((0, 0))
    outs = [arrays.get(name, empty) for names in fills.values() for name in names]
    above = np.where(forest.parent >= 0, forest.parent, np.arange(grid.n_nodes))
    x_ratio = forest.x_pu * np.sqrt(forest.tau / forest.tau[above])
    shift = forest.shift_deg - forest.shift_deg[above]
    fixed: tuple[F8, ...] = (forest.g_dc_pu, plan.constant, x_ratio, shift, forest.angle_root_deg)
    loop_shift = plan.loop_shift
    if loads_only:
        zero = np.zeros(grid.n_nodes)
        fixed, loop_shift = (zero, zero, x_ratio, zero, zero), np.zeros(plan.loop_shift.size)
    limits = (per_limit(grid.s_max_kva), per_limit(grid.s_max_reverse_kva))
    local: Any = threading.local()

    def task(lo: int, hi: int) -> None:
        if not hasattr(local, "scratch"):
            local.scratch = np.empty((grid.n_nodes + 1, WIDTH))
        sweep(
            forest.order, plan.target, plan.above, plan.looped, forest.branch, forest.forward.view(np.uint8), *fixed,
            *plan.factor, plan.loop_branch, plan.loop_from, plan.loop_to, plan.loop_b, loop_shift, *limits, p, want,
            local.scratch, *outs, status, lo, hi,
        )  # fmt: skip

    n_blocks = -(-n_steps // WIDTH)
    work = grid.n_nodes + grid.n_branches + 2 * plan.factor.low_index.size
    chunk = max(1, min(int(_JOB_SECONDS / (1e-9 * work * WIDTH)), n_blocks // (8 * max(1, n_threads))))
    run_chunks(task, n_blocks, n_threads=n_threads, chunk=chunk)
    return status
