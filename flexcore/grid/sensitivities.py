"""How voltages and losses react to the power at a node: exact derivatives of the AC solution, step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.grid.network import Grid
from flexcore.grid.sweeps import Jobs

__all__ = ["LossSensitivity", "VoltageSensitivity", "loss_sensitivity", "voltage_change", "voltage_sensitivity"]

F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int64]
_QUANTITIES = 10


@dataclass(frozen=True, slots=True, eq=False)
class VoltageSensitivity:
    """Change of voltages for 1 kW and 1 kvar more withdrawn.

    Attributes
    ----------
    of, to : ndarray of int64, shape (n_of,) and (n_to,)
        Node positions: whose voltage, and whose power.
    per_kw, per_kvar : ndarray, shape (n_of, n_to, n_steps)
        NaN in the subtrees and steps without a solution. One step with method "linear". [pu/kW, pu/kvar]
    status : ndarray of uint8, shape (n_steps,)
        0 solved, 1 not converged, 2 voltage collapse; the worst over all trees.
    """

    of: I8
    to: I8
    per_kw: F8
    per_kvar: F8
    status: U1


@dataclass(frozen=True, slots=True, eq=False)
class LossSensitivity:
    """Change of the total loss for 1 kW and 1 kvar more withdrawn at a node.

    Attributes
    ----------
    per_kw, per_kvar : ndarray, shape (n_nodes, n_steps)
        0 at slack nodes, NaN in the subtrees and steps without a solution. [kW/kW, kW/kvar]
    status : ndarray of uint8, shape (n_steps,)
        0 solved, 1 not converged, 2 voltage collapse; the worst over all trees.
    """

    per_kw: F8
    per_kvar: F8
    status: U1


def voltage_sensitivity(
    grid: Grid,
    p_kw: npt.ArrayLike | None = None,
    q_kvar: npt.ArrayLike | None = None,
    *,
    of: npt.ArrayLike | None = None,
    to: npt.ArrayLike | None = None,
    method: Literal["ac", "linear"] = "ac",
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    n_threads: int = 1,
) -> VoltageSensitivity:
    """Find how voltages react to active and reactive power, for chosen nodes.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Net load per node in `grid.node_ids` order, positive = withdrawal, at which the derivative is taken. Without
        `q_kvar` there is none; "linear" needs neither. [kW, kvar]
    of, to : array_like of node ids, shape (n_of,) and (n_to,), optional
        Whose voltage, and whose power; all nodes where one of them is not given. Both in full would be a dense
        matrix for each step: ask for that by `of=grid.node_ids`, or use `voltage_change`.
    method : {"ac", "linear"}
        "ac": exact derivative of the AC solution of each step. "linear": the constant one of LinDistFlow at the
        no-load voltage, one step.
    tolerance : float
        For "ac", of the flow behind it, as in `power_flow`. [pu]
    max_iterations : int
    n_threads : int
        The result has the same bits for any number.

    Returns
    -------
    VoltageSensitivity

    Raises
    ------
    ValidationError
        FX-A001, FX-A003 for shapes and values, FX-A006 a count or tolerance out of range, FX-E002 unknown method,
        FX-G053 neither `of` nor `to`.
    UnknownIdError
        FX-G011 a node id that the grid does not have.

    Notes
    -----
    The derivative is found by elimination on the tree, one adjoint pass a row or two passes a column, whichever is
    less: docs/explanation/sensitivities.md. With more withdrawn, voltages usually fall: entries are negative.
    """
    from flexcore.kernels.grid.sensitivity import voltage_entries

    check_option("method", method, ("ac", "linear"))
    _check_numbers(tolerance, max_iterations, n_threads)
    if of is None and to is None:
        found = Findings("voltage_sensitivity")
        found.add("FX-G053", "neither of nor to is given", hint="pass node ids; of=grid.node_ids for all of them")
        found.raise_errors()
    rows, columns = _nodes(grid, "of", of), _nodes(grid, "to", to)
    p, q = (np.zeros((grid.n_nodes, 1)),) * 2 if method == "linear" else _loads(grid, p_kw, q_kvar)
    per_kw, per_kvar = np.zeros((2, rows.size, columns.size, p.shape[1]))
    lists = (*_in_preorder(grid, rows), *_in_preorder(grid, columns), int(rows.size <= 2 * columns.size))
    forest = grid.forest
    status = _run(
        grid,
        p.shape[1],
        n_threads,
        lambda cut, scratch, status, lo, hi: voltage_entries(
            *_walk(grid, method), forest.tau, forest.u_root, tolerance, max_iterations, p, q, *lists, *cut, scratch,
            per_kw, per_kvar, status, lo, hi,
        ),
    )  # fmt: skip
    return VoltageSensitivity(rows, columns, per_kw, per_kvar, status)


def voltage_change(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike | None = None,
    *,
    dp_kw: npt.ArrayLike | None = None,
    dq_kvar: npt.ArrayLike | None = None,
    method: Literal["ac", "linear"] = "ac",
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    n_threads: int = 1,
) -> F8:
    """Find how voltages react, to first order, to a change of power at all nodes: a product without the matrix.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Net load at which the derivative is taken, positive = withdrawal. Without `q_kvar` there is none. [kW, kvar]
    dp_kw, dq_kvar : array_like, shape (n_nodes, n_steps) or (n_nodes, 1), optional
        What is withdrawn in addition; none where not given. One column counts for all steps. [kW, kvar]
    method : {"ac", "linear"}
        As in `voltage_sensitivity`.
    tolerance : float
        For "ac", of the flow behind it, as in `power_flow`. [pu]
    max_iterations : int
    n_threads : int
        The result has the same bits for any number.

    Returns
    -------
    ndarray, shape (n_nodes, n_steps)
        Change of the voltage; 0 at slack nodes, NaN in the subtrees and steps without a solution. [pu]

    Raises
    ------
    ValidationError
        FX-A001, FX-A003 for shapes and values, FX-A006 a count or tolerance out of range, FX-E002 unknown method.

    Notes
    -----
    One pass up and one down the tree for each step beyond the AC flow itself: docs/explanation/sensitivities.md.
    """
    from flexcore.kernels.grid.sensitivity import voltage_change as kernel

    check_option("method", method, ("ac", "linear"))
    _check_numbers(tolerance, max_iterations, n_threads)
    p, q = _loads(grid, p_kw, q_kvar)
    dp, dq = (_change(name, change, p.shape) for name, change in (("dp_kw", dp_kw), ("dq_kvar", dq_kvar)))
    if method == "linear":
        p = q = np.zeros(p.shape)
    dv = np.zeros(p.shape)
    forest = grid.forest
    _run(
        grid,
        p.shape[1],
        n_threads,
        lambda cut, scratch, status, lo, hi: kernel(
            *_walk(grid, method), forest.tau, forest.u_root, tolerance, max_iterations, p, q, dp, dq, *cut, scratch, dv,
            status, lo, hi,
        ),
    )  # fmt: skip
    return dv


def loss_sensitivity(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike | None = None,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    n_threads: int = 1,
) -> LossSensitivity:
    """Find the marginal loss: how the total loss reacts to 1 kW and 1 kvar more withdrawn at each node.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Net load per node in `grid.node_ids` order, positive = withdrawal. Without `q_kvar` there is none. [kW, kvar]
    tolerance : float
        Of the AC flow behind it, as in `power_flow`. [pu]
    max_iterations : int
    n_threads : int
        The result has the same bits for any number.

    Returns
    -------
    LossSensitivity
        Above 0 where more load costs losses, below 0 where it saves some, as behind exporting generators.

    Raises
    ------
    ValidationError
        FX-A001, FX-A003 for shapes and values, FX-A006 a count or tolerance out of range.

    Notes
    -----
    The total loss is what the slack nodes feed less what is withdrawn: series losses and all shunt conductances. Exact
    derivative of the AC solution, from one adjoint pass up and down the tree: docs/explanation/sensitivities.md.
    """
    from flexcore.kernels.grid.sensitivity import losses

    _check_numbers(tolerance, max_iterations, n_threads)
    p, q = _loads(grid, p_kw, q_kvar)
    per_kw, per_kvar = np.zeros((2, *p.shape))
    status = _run(
        grid,
        p.shape[1],
        n_threads,
        lambda cut, scratch, status, lo, hi: losses(
            *_walk(grid, "ac"), grid.forest.u_root, tolerance, max_iterations, p, q, *cut, scratch, per_kw, per_kvar,
            status, lo, hi,
        ),
    )  # fmt: skip
    return LossSensitivity(per_kw, per_kvar, status)


def _check_numbers(tolerance: float, max_iterations: int, n_threads: int) -> None:
    found = Findings("options")
    found.check_count("max_iterations", max_iterations, 1)
    found.check_count("n_threads", n_threads, 1)
    if not (isinstance(tolerance, Real) and 0 < tolerance < np.inf):
        found.add("FX-A006", f"tolerance is {tolerance!r}, expected a finite number above 0", field="tolerance")
    found.raise_errors()


def _nodes(grid: Grid, name: str, ids: npt.ArrayLike | None) -> I8:
    """Positions of the nodes that are asked for; one id alone is a list of one."""
    if ids is None:
        return np.arange(grid.n_nodes)
    positions = np.atleast_1d(grid.node_index(ids))
    if positions.ndim != 1:
        found = Findings(name)
        found.add("FX-A001", f"{name} has shape {positions.shape}, expected a list of node ids")
        found.raise_errors()
    return positions


def _loads(grid: Grid, p_kw: npt.ArrayLike | None, q_kvar: npt.ArrayLike | None) -> tuple[F8, F8]:
    if p_kw is None:
        found = Findings("p_kw")
        found.add("FX-A001", "p_kw is missing", field="p_kw", hint='only method="linear" works without loads')
        raise ValidationError(found.items)
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    return p, np.zeros_like(p) if q_kvar is None else as_float(q_kvar, "q_kvar", shape=p.shape)


def _change(name: str, change: npt.ArrayLike | None, shape: tuple[int, ...]) -> F8:
    if change is None:
        return np.zeros(shape)
    one = np.ndim(change) == 2 and np.shape(change)[1] == 1
    values = as_float(change, name, shape=(shape[0], 1) if one else shape)
    return np.ascontiguousarray(np.broadcast_to(values, shape))


def _walk(grid: Grid, method: str) -> tuple[Any, ...]:
    """Return the tree and its impedances; without load and shunts the AC derivative is that of LinDistFlow."""
    forest = grid.forest
    none = np.zeros(grid.n_nodes)
    shunts = (none, none) if method == "linear" else (forest.g_scaled, forest.b_scaled)
    return (forest.order, forest.parent, forest.last, forest.r_scaled, forest.x_scaled, *shunts)


def _in_preorder(grid: Grid, nodes: I8) -> tuple[npt.NDArray[np.int32], I8, I8, I8]:
    """Sort nodes by preorder: positions, places in the request, and the part of the list in each subtree."""
    forest = grid.forest
    at = forest.rank[nodes]
    slot = np.argsort(at, kind="stable")
    at = np.ascontiguousarray(at[slot])
    start, end = (np.searchsorted(at, edge).astype(np.int64) for edge in (forest.heads, forest.last[forest.heads]))
    return at, slot.astype(np.int64), start, end


def _run(grid: Grid, n_steps: int, n_threads: int, task: Callable[..., None]) -> U1:
    """Run a kernel over all jobs; returns the worst status of each step."""
    jobs = Jobs(grid.forest, n_steps, _QUANTITIES)
    status = np.zeros((grid.forest.heads.size, n_steps), np.uint8)
    cut = (grid.forest.heads, jobs.packs, jobs.width)
    if jobs.n:
        run_chunks(
            lambda lo, hi: task(cut, jobs.scratch(), status, lo, hi),
            jobs.n,
            n_threads=n_threads,
            chunk=jobs.chunk(n_threads),
        )
    worst: U1 = status.max(axis=0, initial=0)
    return worst
