"""What a dispatch of somebody's choice could reach: bounds that show what anonymity costs, never to be published."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.network import Grid
from flexcore.grid.sharing import label_nodes, pair_perimeters, rooms_of

__all__ = ["OptimisticCapability", "optimistic_capability"]

F8 = npt.NDArray[np.float64]
_STEPS_PER_CHUNK = 4


@dataclass(frozen=True, slots=True, eq=False)
class OptimisticCapability:
    """Totals that hold for a chosen dispatch, not for every one.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_perimeters, n_steps)
        No dispatch inside the perimeter exceeds it while no other perimeter moves. Reached without voltage limits. [kW]
    pro_rata_up_kw, pro_rata_down_kw : ndarray, shape (n_perimeters, n_steps)
        What the perimeter reaches while no other moves if each node moves the same share of what it could. [kW]
    total_up_kw, total_down_kw : ndarray, shape (n_steps,)
        No dispatch of all perimeters together exceeds it. Reached without voltage limits. [kW]
    """

    up_kw: F8
    down_kw: F8
    pro_rata_up_kw: F8
    pro_rata_down_kw: F8
    total_up_kw: F8
    total_down_kw: F8


def optimistic_capability(
    grid: Grid,
    rows: ActivationRows,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    voltage_slack_pu: float = 0.0,
    n_threads: int = 1,
) -> OptimisticCapability:
    """Bound what a well-informed choice of dispatch could reach on the rows of a capability.

    Parameters
    ----------
    grid : Grid
    rows : ActivationRows
        For example `.rows` of a `CapabilityResult`, or of `activation_rows`.
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Power that could move, as given to `capability`. [kW]
    perimeter : array_like of int, shape (n_nodes,)
        Label 0, 1, ... of each node's perimeter; -1: nothing may move there.
    voltage_slack_pu : float
        As given to `capability`. [pu]
    n_threads : int

    Returns
    -------
    OptimisticCapability

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative flexibility, FX-A006 a label below -1.

    Notes
    -----
    By branches alone this is the maximum flow of the tree, U_i = min(h_i, sum of U below + b_i) from the leaves up. The
    voltage row of a node j counts once for each element i of its path, as y_i <= H_j / (sum of m from the root to i):
    an upper bound, because it forgets what others push through the same path. On the same rows
    C_robust <= C_pro_rata <= C_optimistic for each perimeter, and jointly safe caps add up to at most the total.
    """
    from flexcore.kernels.grid.optimistic import optimistic_totals

    label, n_perimeters = label_nodes(grid, perimeter)
    forest, n_steps = grid.forest, rows.n_steps
    up = as_float(up_kw, "up_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    down = as_float(down_kw, "down_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    slack_pu = float(as_float(voltage_slack_pu, "voltage_slack_pu", shape=(), non_negative=True))
    pairs = pair_perimeters(forest.parent, forest.last, label, label >= 0, n_perimeters)
    kept = forest.order[pairs.element]
    found: dict[str, F8] = {}
    for name, upward, offered in (("up", True, up), ("down", False, down)):
        room = rooms_of(grid, rows, pairs.element, upward, slack_pu, n_threads)
        best, pro_rata = np.empty((n_steps, n_perimeters)), np.empty((n_steps, n_perimeters))
        total = np.empty(n_steps)
        arrays = (
            pairs.parent, np.ascontiguousarray(rows.m[kept]), pairs.label, pairs.own, pairs.top, pairs.pair_ptr,
            pairs.pair_element, pairs.pair_k, pairs.pair_up, np.ascontiguousarray(offered[kept].T), room.headroom,
            room.headroom_path, best, pro_rata, total,
        )  # fmt: skip
        run_chunks(
            lambda lo, hi, arrays=arrays: optimistic_totals(*arrays, lo, hi),  # type: ignore[misc]
            n_steps,
            n_threads=n_threads,
            chunk=_STEPS_PER_CHUNK,
        )
        found |= {
            f"{name}_kw": np.ascontiguousarray(best.T),
            f"pro_rata_{name}_kw": np.ascontiguousarray(pro_rata.T),
            f"total_{name}_kw": total,
        }
    return OptimisticCapability(**found)
