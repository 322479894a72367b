"""Needs: what the forecast overloads, by how much, and the activation that removes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.grid.headroom import ActivationRows, forecast_and_rows, with_margin
from flexcore.grid.network import Grid
from flexcore.units import DOWN, UP

__all__ = ["Needs", "find_needs"]

F8 = npt.NDArray[np.float64]
#: Kinds of violated elements.
BRANCH, NODE = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Violated branches and nodes of the forecast, one entry per element and step, branches first.

    Attributes
    ----------
    kind : ndarray of uint8, shape (n_needs,)
        0 branch (overload), 1 node (voltage).
    element : ndarray of int32, shape (n_needs,)
        Position of the branch or node in the grid.
    element_id : ndarray of object, shape (n_needs,)
    step : ndarray of int32, shape (n_needs,)
    direction : ndarray of int8, shape (n_needs,)
        Direction that helps: 0 up (import overload, low voltage), 1 down (export overload, high voltage).
    need_kw : ndarray, shape (n_needs,)
        Least activation that removes it: anywhere below a branch; at the node itself for a voltage. Infinite where the
        node's voltage does not react. [kW]
    gap_pu : ndarray, shape (n_needs,)
        Voltage beyond the limit; NaN for branches. [pu]
    loading : ndarray, shape (n_needs,)
        Larger end current over rated current; NaN for nodes.
    reachable : ndarray of bool, shape (n_needs,)
        False where no activation below removes an overload: `need_kw` then leads to the least current.
    n_up, n_down : ndarray of int64, shape (n_steps,)
        Number of needs per step and direction.
    rows : ActivationRows
        The same needs, and all headrooms, as rows for the selection.
    """

    kind: npt.NDArray[np.uint8]
    element: npt.NDArray[np.int32]
    element_id: npt.NDArray[np.object_]
    step: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]
    need_kw: F8
    gap_pu: F8
    loading: F8
    reachable: npt.NDArray[np.bool_]
    n_up: npt.NDArray[np.int64]
    n_down: npt.NDArray[np.int64]
    rows: ActivationRows

    def __len__(self) -> int:
        return int(self.kind.size)

    def to_arrow(self) -> Any:
        """Return the entries as a pyarrow Table, ids as text."""
        import pyarrow as pa

        kinds = np.array(["branch", "node"])
        directions = np.array(["up", "down"])
        return pa.table(
            {
                "kind": kinds[self.kind],
                "id": [str(i) for i in self.element_id],
                "step": self.step,
                "direction": directions[self.direction],
                "need_kw": self.need_kw,
                "gap_pu": pa.array(self.gap_pu, mask=np.isnan(self.gap_pu)),
                "loading": pa.array(self.loading, mask=np.isnan(self.loading)),
                "reachable": self.reachable,
            }
        )


def find_needs(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    tan_phi: float = 0.0,
    loss_sweeps: int = 3,
    tol_kw: float = 1e-6,
    tol_pu: float = 1e-9,
    margin_kw: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Needs:
    """Find overloads and voltage violations of the forecast, and the rows that every selection must respect.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal including the awards that stand. [kW, kvar]
    tan_phi : float
        kvar per kW of every activation.
    loss_sweeps : int
        Loss sweeps of the power flow.
    tol_kw, tol_pu : float
        Smaller violations are not reported.
    margin_kw : array_like, shape (n_nodes, n_steps), optional
        Error of the forecast flow in each node's branch: needs are those of the worse side of the band. [kW]
    n_threads : int

    Returns
    -------
    Needs

    Raises
    ------
    ValidationError, GridError
        As `activation_rows`.

    Notes
    -----
    Rule NEED-01 (D4.1 section 6.3, step 1). Export overloads and high voltages are those of the worse of the lossy and
    the lossless flow: on the cautious side. The linear model, not certified.
    """
    forecast, rows = forecast_and_rows(
        grid,
        p_kw,
        q_kvar,
        loss_sweeps=loss_sweeps,
        tan_phi=tan_phi,
        delivered_up_kw=None,
        delivered_down_kw=None,
        n_threads=n_threads,
        outputs=("loading",),
    )
    rows = with_margin(grid, rows, margin_kw, n_threads)
    forest = grid.forest
    branch_of = forest.branch[forest.rank]
    tau = forest.tau[forest.rank]
    path_m = path_sensitivity(grid, rows)
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    # a branch overloaded by reactive power alone, with no active power to shift, has both bounds at zero
    stuck = (rows.lower_kw >= rows.upper_kw) & (np.abs(rows.lower_kw) <= tol_kw)
    node, step = np.nonzero(stuck)
    # a branch that may carry nothing and carries nothing has them there too
    stuck[node, step] = forecast.flow.loading[branch_of[node], step] > 1.0
    for direction, short in ((UP, rows.lower_kw), (DOWN, -rows.upper_kw)):
        wanted = short > tol_kw
        if direction == UP:
            wanted |= stuck
        node, step = np.nonzero(wanted)
        branch = branch_of[node]
        need = np.maximum(short[node, step], 0.0)
        reach = rows.lower_kw[node, step] < rows.upper_kw[node, step]
        loading = forecast.flow.loading[branch, step]
        parts.append(_part(BRANCH, branch, step, direction, need, np.full(node.size, np.nan), loading, reach))
    for direction, short, limit in ((UP, rows.w_lower, grid.v_min_pu), (DOWN, -rows.w_upper, grid.v_max_pu)):
        node, step = np.nonzero(short > 0)
        square = short[node, step] / tau[node]
        sign = -1.0 if direction == UP else 1.0
        gap = np.abs(np.sqrt(np.maximum(limit[node] ** 2 + sign * square, 0.0)) - limit[node])
        seen = gap > tol_pu
        node, step, gap = node[seen], step[seen], gap[seen]
        with np.errstate(divide="ignore"):
            need = short[node, step] / path_m[node]
        nothing = np.full(node.size, np.nan)
        parts.append(_part(NODE, node, step, direction, need, gap, nothing, path_m[node] > 0))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    kind, element, step, way = columns[:4]
    order = np.lexsort((way, step, element, kind))
    kind, element, step, way, need, gap, loading, reach = (column[order] for column in columns)
    ids = np.empty(kind.size, np.object_)
    is_node = kind == NODE
    ids[is_node] = grid.node_ids[element[is_node]].tolist()
    ids[~is_node] = grid.branch_ids[element[~is_node]].tolist()
    return Needs(
        kind=kind,
        element=element,
        element_id=ids,
        step=step.astype(np.int32),
        direction=way,
        need_kw=need,
        gap_pu=gap,
        loading=loading,
        reachable=reach,
        n_up=np.bincount(step[way == UP], minlength=rows.n_steps),
        n_down=np.bincount(step[way == DOWN], minlength=rows.n_steps),
        rows=rows,
    )


def _part(
    kind: int,
    element: npt.NDArray[Any],
    step: npt.NDArray[Any],
    direction: int,
    need: F8,
    gap: F8,
    loading: F8,
    reach: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[Any], ...]:
    n = element.size
    return (
        np.full(n, kind, np.uint8),
        element.astype(np.int32),
        step.astype(np.int32),
        np.full(n, direction, np.int8),
        need,
        gap,
        loading,
        reach,
    )


def path_sensitivity(grid: Grid, rows: ActivationRows) -> F8:
    """Sum of m from the root to each node: what 1 kW at the node does to its own voltage, in node order."""
    from flexcore.kernels.grid.headroom import path_sum

    forest = grid.forest
    m = np.ascontiguousarray(rows.m[forest.order])
    total = np.empty((grid.n_nodes, 1))
    path_sum(forest.parent, m, np.ones((grid.n_nodes, 1)), total, 0, 1)
    return np.ascontiguousarray(total[forest.rank, 0])
