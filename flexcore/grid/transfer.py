"""Distribution factors of the DC power flow: by power at nodes, and by the outage of branches."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings
from flexcore.grid.forest import F8
from flexcore.grid.mesh import on_loop, run_dc
from flexcore.grid.network import Grid
from flexcore.grid.regulated import refuse_links

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["lodf", "ptdf"]

I8 = npt.NDArray[np.int64]
_COLUMNS = 1024  # of a dense right-hand side at a time


def ptdf(grid: Grid, *, n_threads: int = 1) -> "csr_array":
    """Return the power transfer distribution factors: flow of each branch for 1 kW withdrawn at each node.

    Parameters
    ----------
    grid : Grid
        Radial or meshed.
    n_threads : int
        For meshed networks; the result has the same bits for any number.

    Returns
    -------
    scipy.sparse.csr_array, shape (n_branches, n_nodes)
        Rows are in `grid.branch_ids` order, columns in `grid.node_ids` order; columns of slack nodes are empty. In a
        radial network 1 where the branch feeds the node and is declared away from the slack node, -1 where it is
        declared towards it, else 0: one entry for each node and branch on its path. Loops fill the rows of their own
        branches. [kW/kW]

    Raises
    ------
    GridError
        FX-G013 in a grid with regulated nodes inside its trees.
        FX-G031 where a branch on a loop has no reactance, or where negative reactances leave no solution.
    ValidationError
        FX-A006 a number of threads out of range.

    Notes
    -----
    Power is positive when withdrawn, so `ptdf(grid) @ p_kw` is the `branch_p_kw` of
    `power_flow(method="dc")` in a network without shunt conductance and phase shifts in loops. Tools that count
    injections (pandapower, PyPSA) have the opposite sign. See docs/explanation/meshed.md.
    """
    from scipy.sparse import csc_array, csr_array, hstack

    _check_threads("ptdf", n_threads)
    refuse_links(grid.links, grid.node_ids, "ptdf")
    if grid.mesh is None:
        return _radial_ptdf(grid)
    parts = []
    for lo in range(0, grid.n_nodes, _COLUMNS):
        nodes = np.arange(lo, min(grid.n_nodes, lo + _COLUMNS))
        p = np.zeros((grid.n_nodes, nodes.size))
        p[nodes, nodes - lo] = 1.0
        parts.append(csc_array(_response(grid, p, n_threads)))
    result: csr_array = csr_array(hstack(parts, format="csr"))
    return result


def _radial_ptdf(grid: Grid) -> "csr_array":
    from scipy.sparse import csr_array

    forest = grid.spanning
    position = np.empty(grid.n_branches, np.int64)
    fed = np.flatnonzero(forest.branch >= 0)
    position[forest.branch[fed]] = fed
    sizes = forest.last[position].astype(np.int64) - position
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    within = np.arange(start[-1]) - np.repeat(start[:-1] - position, sizes)
    sign = np.where(forest.forward[position], 1.0, -1.0)
    matrix = csr_array((np.repeat(sign, sizes), forest.order[within], start), shape=(grid.n_branches, grid.n_nodes))
    matrix.sort_indices()
    return matrix


def lodf(
    grid: Grid,
    *,
    of: npt.ArrayLike | None = None,
    outage: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> F8:
    """Return the line outage distribution factors: what a branch takes over of the flow of one that goes out.

    Parameters
    ----------
    grid : Grid
        Radial or meshed.
    of, outage : array_like of branch ids, shape (n_of,) and (n_outage,), optional
        Whose flow, and who goes out; all branches where not given.
    n_threads : int
        The result has the same bits for any number.

    Returns
    -------
    ndarray, shape (n_of, n_outage)
        Change of the flow at the from end of `of` for 1 kW that `outage` carried from its from to its to end; -1 where
        they are one. The whole column is NaN where the outage is a bridge, which lies on no loop: what it fed is then
        without supply and no factor says where its flow goes. All columns of a radial network are. [kW/kW]

    Raises
    ------
    GridError
        FX-G013 in a grid with regulated nodes inside its trees.
        FX-G031 where a branch on a loop has no reactance, or where negative reactances leave no solution.
    UnknownIdError
        FX-G011 a branch id that the grid does not have.
    ValidationError
        FX-A001 not a list of ids, FX-A006 a number of threads out of range.

    Notes
    -----
    With h the flows for 1 kW sent from the from to the to end of branch k, the column is h / (1 - h_k). A loop through
    two slack nodes counts as one: the outage of a branch on it leaves everyone supplied.
    """
    _check_threads("lodf", n_threads)
    refuse_links(grid.links, grid.node_ids, "lodf")
    rows, columns = _branches(grid, "of", of), _branches(grid, "outage", outage)
    result = np.full((rows.size, columns.size), np.nan)
    looped = np.flatnonzero(on_loop(grid)[columns])
    for lo in range(0, looped.size, _COLUMNS):
        part = looped[lo : lo + _COLUMNS]
        out = columns[part]
        each = np.arange(out.size)
        p = np.zeros((grid.n_nodes, out.size))
        p[grid.branch_to[out], each] = 1.0
        p[grid.branch_from[out], each] = -1.0
        flow = _response(grid, p, n_threads)
        factors = flow[rows] / (1.0 - flow[out, each])
        factors[rows[:, None] == out] = -1.0
        result[:, part] = factors
    return result


def _response(grid: Grid, p: F8, n_threads: int) -> F8:
    flow = np.empty((grid.n_branches, p.shape[1]))
    run_dc(grid, p, {"branch_p_kw": flow}, n_threads=n_threads, loads_only=True)
    return flow


def _branches(grid: Grid, name: str, ids: npt.ArrayLike | None) -> I8:
    """Positions of the branches that are asked for; one id alone is a list of one."""
    if ids is None:
        return np.arange(grid.n_branches)
    positions = np.atleast_1d(grid.branch_index(ids))
    if positions.ndim != 1:
        found = Findings(name)
        found.add("FX-A001", f"{name} has shape {positions.shape}, expected a list of branch ids")
        found.raise_errors()
    return positions


def _check_threads(name: str, n_threads: int) -> None:
    found = Findings(name)
    found.check_count("n_threads", n_threads, 1)
    found.raise_errors()
