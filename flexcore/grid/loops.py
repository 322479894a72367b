"""AC power flow of weakly meshed networks: sweeps of a spanning tree, with loops closed and voltages held in each.

A chord (a branch that the tree leaves out) draws its current at its one end and feeds it in at the other; what a PV
node draws in all is a current too. The voltage that is left around each loop, and what each PV node misses in active
power and voltage, tell how to correct these currents: docs/explanation/meshed.md.
"""

import threading
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import GridError
from flexcore.grid.flow_result import FILLS
from flexcore.grid.forest import F8, I4
from flexcore.grid.mesh import run_dc
from flexcore.grid.network import Grid
from flexcore.grid.sweeps import per_limit, run_sweeps

U1 = npt.NDArray[np.uint8]
_JOB_SECONDS = 0.02  # aim for one chunk of blocks


class LoopPlan(NamedTuple):
    """Terminals of a network with loops, and what currents at them do to the voltages there; scaled as in `Forest`.

    Attributes
    ----------
    ends : int32, shape (n_ends,)
        Preorder positions of the terminals: ends of chords and PV nodes.
    chord : int32, shape (n_chords,)
        Positions of the chords in the table of branches.
    one, other : int32, shape (n_chords,)
        Terminals at the from and the to end.
    held : int32, shape (n_pv,)
        Terminals whose voltage is held.
    v_set, weight : float64, shape (n_pv,)
        At what, and the impedance by which a missing power counts as a voltage.
    ratio_r, ratio_i : float64, shape (n_chords,)
        Ideal transformer that is left in the chord: 1 where the ratios around its loop cancel.
    r, x : float64, shape (n_chords,)
        Impedance behind it.
    g_one, b_one, g_other, b_other : float64, shape (n_chords,)
        Shunts at its two ends, behind the transformer.
    tau_one : float64, shape (n_chords,)
        Squared ratio of the scaled voltage behind the transformer to the voltage of the from end.
    response_r, response_x : float64, shape (n_ends, n_chords + n_pv)
        What the current of a chord, or one drawn at a PV node, does to the voltages of the terminals.
    """

    ends: I4
    chord: I4
    one: I4
    other: I4
    held: I4
    v_set: F8
    weight: F8
    ratio_r: F8
    ratio_i: F8
    r: F8
    x: F8
    g_one: F8
    b_one: F8
    g_other: F8
    b_other: F8
    tau_one: F8
    response_r: F8
    response_x: F8


def run_meshed(
    grid: Grid,
    p: F8,
    q: F8,
    method: str,
    arrays: dict[str, F8],
    *,
    tolerance: float,
    max_iterations: int,
    n_threads: int,
) -> U1:
    """Fill `arrays` for a grid with loops or PV nodes, by "dc" or "ac"; returns the status, shape (any, n_steps)."""
    if method == "ac":
        return _run_ac(grid, p, q, arrays, tolerance, max_iterations, n_threads)
    return _run_dc(grid, p, arrays, n_threads)


def loop_plan(grid: Grid) -> LoopPlan:
    """Find the terminals and the impedances of their paths; done once for a grid."""
    known = grid._lookup.get("loops")
    if known is None:  # two threads may both get here: they find the same
        known = grid._lookup["loops"] = _plan(grid)
    plan: LoopPlan = known
    return plan


def _plan(grid: Grid) -> LoopPlan:
    from flexcore.kernels.grid.loops import path_impedances

    forest = grid.spanning
    chords = np.zeros(0, np.int32) if grid.mesh is None else grid.mesh.chords
    start, end = forest.rank[grid.branch_from[chords]], forest.rank[grid.branch_to[chords]]
    held = forest.rank[grid.pv_node]
    ends, place = np.unique(np.concatenate([start, end, held]), return_inverse=True)
    one, other, at = (
        np.ascontiguousarray(part) for part in np.split(place.astype(np.int32), [chords.size, 2 * chords.size])
    )
    turn = np.sqrt(forest.tau[ends]) * np.exp(1j * np.deg2rad(forest.shift_deg[ends] - forest.angle_root_deg[ends]))
    ratio, pi = np.zeros(0, np.complex128), [np.zeros(0)] * 7
    if grid.mesh is not None:
        model, tau = grid.mesh.branches.take(chords), forest.tau[end]
        ratio = turn[other] / (turn[one] * model.ratio * np.exp(1j * np.deg2rad(model.shift_deg)))
        pi = [
            tau * model.r_pu, tau * model.x_pu, model.g_from_pu / tau, model.b_from_pu / tau, model.g_to_pu / tau,
            model.b_to_pu / tau, tau / model.ratio**2,
        ]  # fmt: skip
    common = np.empty((ends.size, ends.size)), np.empty((ends.size, ends.size))
    path_impedances(forest.parent, forest.r_scaled, forest.x_scaled, ends, *common)
    v_set = grid.v_set_pu[grid.pv_node] * np.sqrt(forest.tau[held])
    # the voltage falls by the impedance that two paths share; a chord draws at its from end and feeds in at its to end
    drop = common[0] + 1j * common[1]
    response = np.concatenate([drop[:, other] - drop[:, one] * ratio.conj(), -drop[:, at]], axis=1)
    columns: list[Any] = [np.abs(drop[at, at]) / v_set, *_parts(ratio), *pi, *_parts(response)]
    return LoopPlan(ends, chords, one, other, at, v_set, *columns)


def _parts(values: npt.NDArray[np.complex128]) -> tuple[F8, F8]:
    return np.ascontiguousarray(values.real), np.ascontiguousarray(values.imag)


def _first_angles(grid: Grid, p: F8, n_threads: int) -> F8:
    """Angles by which loads turn the voltages in DC power flow, 0 where that has no solution, in degrees.

    Phase shifts are left out: those around a loop may add up to a full turn, which AC does not see and DC does.
    """
    forest, start = grid.spanning, np.empty((grid.n_nodes, p.shape[1]))
    if grid.mesh is None:
        _run_dc(grid, p, {"angle_deg": start}, n_threads)
        start[forest.order] -= (forest.angle_root_deg - forest.shift_deg)[:, None]
    else:
        try:
            run_dc(grid, p, {"angle_deg": start}, n_threads=n_threads, loads_only=True)
        except GridError:  # a loop without reactance, which AC does not mind
            start[:] = 0.0
    start[grid.slack] = 0.0
    return start


def _run_dc(grid: Grid, p: F8, arrays: dict[str, F8], n_threads: int) -> U1:
    if grid.mesh is not None:
        return run_dc(grid, p, arrays, n_threads=n_threads)
    # dc knows no reactive power: a PV node is a node
    tree = replace(grid, pv_node=np.zeros(0, np.int32), _lookup={})
    return run_sweeps(
        tree, p, p, "dc", arrays, loss_sweeps=0, tolerance=1.0, max_iterations=1, n_threads=n_threads
    )  # fmt: skip


def _run_ac(
    grid: Grid, p: F8, q: F8, arrays: dict[str, F8], tolerance: float, max_iterations: int, n_threads: int
) -> U1:
    from flexcore.kernels.grid.meshed_ac import QUANTITIES, WIDTH, sweep

    forest, plan, n_steps = grid.spanning, loop_plan(grid), p.shape[1]
    status = np.zeros((1, n_steps), np.uint8)
    fills = FILLS["ac"]
    want = np.array([names[0] in arrays for names in fills.values()], np.uint8)
    empty = np.empty((0, 0))
    outs = [arrays.get(name, empty) for names in fills.values() for name in names]
    size = 2 * (plan.one.size + plan.held.size)
    start = _first_angles(grid, p, n_threads) if plan.held.size else empty
    local: Any = threading.local()
    fixed = (
        forest.order, forest.parent, forest.branch, forest.forward.view(np.uint8),
        forest.r_scaled, forest.x_scaled, forest.g_scaled, forest.b_scaled,
        forest.g_parent, forest.b_parent, forest.g_child, forest.b_child, forest.tau, forest.u_root,
        per_limit(grid.s_max_kva), per_limit(grid.s_max_reverse_kva), forest.shift_deg, forest.angle_root_deg, *plan,
    )  # fmt: skip

    def task(lo: int, hi: int) -> None:
        if not hasattr(local, "scratch"):
            local.scratch = np.empty((grid.n_nodes, QUANTITIES * WIDTH))
            local.rows = np.empty((2 * size + plan.held.size + 2, WIDTH))
            local.matrix = np.empty((size, size))
        sweep(
            *fixed, p, q, start, tolerance, max_iterations, want, local.scratch, local.rows, local.matrix, *outs,
            status, lo, hi,
        )  # fmt: skip

    n_blocks = -(-n_steps // WIDTH)
    # a dozen sweeps of some 10 ns for a node and step, and a dense system for each step where PV nodes turn it
    work = 2e-7 * grid.n_nodes + (1e-8 * size**3 if plan.held.size else 1e-8 * size**2)
    chunk = max(1, min(int(_JOB_SECONDS / (work * WIDTH)), n_blocks // (8 * max(1, n_threads))))
    run_chunks(task, n_blocks, n_threads=n_threads, chunk=chunk)
    return status
