"""Rows that hold by proof: one certified box of the AC power flow covers every dispatch within given caps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.network import Grid
from flexcore.grid.sweeps import Jobs, root_band

__all__ = ["CertifiedRows", "Spread", "certified_rows"]

F8 = npt.NDArray[np.float64]
_MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the active flow of each branch may be off, (n_nodes, n_steps) in preorder, none of it negative.

    Attributes
    ----------
    more_kw, less_kw : ndarray
        By what is not decided here: error of the forecast, standing local awards. [kW]
    more_cap_kw, less_cap_kw : ndarray
        By the dispatch that the rows are asked for: down and up activation that caps allow below each branch. [kW]
    """

    more_kw: F8
    less_kw: F8
    more_cap_kw: F8
    less_cap_kw: F8


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedRows:
    """Rows, and where they are proved.

    Attributes
    ----------
    rows : ActivationRows
        They hold for every dispatch within the caps of the `Spread`.
    status : ndarray of uint8, shape (n_heads, n_steps)
        Per subtree that hangs off a root: 1 where no certificate was found, and the rows allow nothing.
    """

    rows: ActivationRows
    status: npt.NDArray[np.uint8]


def certified_rows(
    grid: Grid, p: F8, q: F8, m: F8, spread: Spread, *, slopes: tuple[float, float], n_threads: int
) -> CertifiedRows:
    """Find the rows of a forecast under a spread; see docs/explanation/certified.md for the proof.

    Parameters
    ----------
    p, q : ndarray, shape (n_nodes, n_steps)
        Forecast withdrawal in node order. [kW, kvar]
    m : ndarray, shape (n_nodes,)
        Sensitivity of the scaled squared voltage to the larger of the slopes, in preorder.
    slopes : (float, float)
        Smallest and largest kvar per kW of activations.
    """
    from flexcore.kernels.grid.certified_rows import certified_rows as kernel

    forest, shape = grid.forest, p.shape
    jobs = Jobs(forest, shape[1], 12)
    status = np.zeros((forest.heads.size, shape[1]), np.uint8)
    lower, w_lower = np.full(shape, -np.inf), np.full(shape, -np.inf)
    upper, w_upper = np.full(shape, np.inf), np.full(shape, np.inf)
    fed = np.maximum(forest.branch, 0)
    limits = (grid.s_max_kva, grid.s_max_reverse_kva)
    ahead, back = (limit[fed] if grid.n_branches else np.full(fed.size, np.inf) for limit in limits)
    p, q = np.ascontiguousarray(p), np.ascontiguousarray(q)
    arrays = (
        forest.order, forest.parent, forest.last, forest.r_scaled, forest.x_scaled, forest.g_scaled, forest.b_scaled,
        forest.g_parent, forest.b_parent, forest.g_child, forest.b_child, forest.tau, *root_band(grid),
        np.where(forest.forward, ahead, back), np.where(forest.forward, back, ahead),
        forest.tau * grid.v_min_pu[forest.order] ** 2, forest.tau * grid.v_max_pu[forest.order] ** 2,
        m, *slopes, p, q, *(np.ascontiguousarray(kw) for kw in (spread.more_kw, spread.less_kw)), spread.more_cap_kw,
        spread.less_cap_kw, _MAX_ROUNDS,
    )  # fmt: skip
    outputs = (lower, upper, w_lower, w_upper, status)
    if jobs.n:
        run_chunks(
            lambda lo, hi: kernel(*arrays, forest.heads, jobs.packs, jobs.width, jobs.scratch(), *outputs, lo, hi),
            jobs.n,
            n_threads=n_threads,
            chunk=jobs.chunk(n_threads),
        )
    m_node = np.empty(grid.n_nodes)
    m_node[forest.order] = m
    parent = np.empty(grid.n_nodes, np.int32)
    parent[forest.order] = np.where(forest.parent < 0, -1, forest.order[forest.parent])
    return CertifiedRows(ActivationRows(lower, upper, w_lower, w_upper, m_node, parent, slopes[1]), status)
