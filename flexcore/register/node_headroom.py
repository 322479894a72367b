"""The network check of the static traffic light: what one POD alone can move at each node without a new violation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.errors import Findings
from flexcore.units import kw_to_w_down

if TYPE_CHECKING:
    from flexcore.grid.network import Grid

Floats = npt.NDArray[np.float64]

#: Kinds of a binding row: none, the rating of a branch, a voltage limit.
NOTHING, THERMAL, VOLTAGE = 0, 1, 2
#: Stands for "no limit" in whole watts. [W]
NO_LIMIT_W = 2**62


@dataclass(frozen=True, slots=True)
class NodeHeadroom:
    """Largest power that one POD alone can move at each node, at the worst reference snapshot.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_nodes,)
        Infinite where no row limits the node. [kW]
    up_kind, down_kind : ndarray of uint8, shape (n_nodes,)
        NOTHING, THERMAL or VOLTAGE: what binds.
    up_binding, down_binding : ndarray of int32, shape (n_nodes,)
        Node whose feeding branch (THERMAL) or whose voltage (VOLTAGE) binds; -1 where nothing does.
    up_step, down_step : ndarray of int32, shape (n_nodes,)
        Snapshot in which it binds; the first one among equals.
    """

    up_kw: Floats
    down_kw: Floats
    up_kind: npt.NDArray[np.uint8]
    down_kind: npt.NDArray[np.uint8]
    up_binding: npt.NDArray[np.int32]
    down_binding: npt.NDArray[np.int32]
    up_step: npt.NDArray[np.int32]
    down_step: npt.NDArray[np.int32]

    @property
    def up_w(self) -> npt.NDArray[np.int64]:
        """Upward headroom in W, rounded down; `NO_LIMIT_W` where there is none."""
        return _whole(self.up_kw)

    @property
    def down_w(self) -> npt.NDArray[np.int64]:
        """Downward headroom in W, rounded down; `NO_LIMIT_W` where there is none."""
        return _whole(self.down_kw)


def _whole(kw: Floats) -> npt.NDArray[np.int64]:
    limited = kw < 1e12
    return np.where(limited, kw_to_w_down(np.where(limited, kw, 0.0)), NO_LIMIT_W)


def headroom_from_rows(
    order: npt.ArrayLike,
    parent: npt.ArrayLike,
    *,
    lower_kw: npt.ArrayLike,
    upper_kw: npt.ArrayLike,
    w_lower: npt.ArrayLike,
    w_upper: npt.ArrayLike,
    m: npt.ArrayLike,
) -> NodeHeadroom:
    """Compute the headroom of each node from activation rows.

    Parameters
    ----------
    order, parent : array_like of int32, shape (n_nodes,)
        Depth-first preorder of the forest: node position at each preorder position, and preorder position of the
        parent (-1).
    lower_kw, upper_kw : array_like, shape (n_nodes, n_steps)
        Limits of the net upward activation through the branch that feeds a node. [kW]
    w_lower, w_upper : array_like, shape (n_nodes, n_steps)
        Limits of the rise of the scaled squared voltage of a node.
    m : array_like, shape (n_nodes,)
        Rise of the scaled squared voltage per kW through the branch that feeds a node.

    Returns
    -------
    NodeHeadroom

    Notes
    -----
    A row whose limit is already broken in the direction of the activation is left out: the dynamic traffic light
    deals with it (STL-01). A POD at node j that moves x shifts node l by x times the sum of m over the common path, so
    x <= min over l of room_l / M_jl; the kernel finds this minimum in one pass up and one down the tree.
    """
    from flexcore.kernels.grid.node_headroom import node_headroom as kernel

    low = as_float(lower_kw, "lower_kw", shape=(None, None), finite=False)
    n, n_steps = low.shape
    high = as_float(upper_kw, "upper_kw", shape=(n, n_steps), finite=False)
    w_low = as_float(w_lower, "w_lower", shape=(n, n_steps), finite=False)
    w_high = as_float(w_upper, "w_upper", shape=(n, n_steps), finite=False)
    sensitivity = as_float(m, "m", shape=(n,))
    nodes = as_int(order, "order", dtype=np.int32, shape=(n,), lo=0, hi=max(n - 1, 0))
    above = as_int(parent, "parent", dtype=np.int32, shape=(n,), lo=-1, hi=max(n - 1, 0))
    found = Findings("activation rows", n)
    for name, rows in (("lower_kw", low), ("upper_kw", high), ("w_lower", w_low), ("w_upper", w_high)):
        bad = np.flatnonzero(np.isnan(rows).any(axis=1))
        if bad.size:
            found.add("FX-A003", f"{name} is NaN in {bad.size} of {n} rows", field=name, rows=bad)
    if (above >= np.arange(n)).any():
        bad = np.flatnonzero(above >= np.arange(n))
        found.add("FX-A006", "parent must come before its children in preorder", field="parent", rows=bad)
    found.raise_errors()
    work: list[npt.NDArray[Any]] = [np.empty((n, n_steps), kind) for kind in (np.float64, np.int32) * 2]
    results: list[npt.NDArray[Any]] = []
    for down in (0, 1):
        room, kind, at = np.empty((n, n_steps)), np.empty((n, n_steps), np.uint8), np.empty((n, n_steps), np.int32)
        kernel(nodes, above, low, high, w_low, w_high, sensitivity, *work, room, kind, at, down, 0, n_steps)
        if n_steps == 0:
            empty = np.zeros(n, np.int32)
            results += [np.full(n, np.inf), np.zeros(n, np.uint8), np.full(n, -1, np.int32), empty]
            continue
        step = np.argmin(room, axis=1).astype(np.int32)
        each = np.arange(n)
        results += [room[each, step], kind[each, step], at[each, step], step]
    up, up_kind, up_at, up_step, fall, fall_kind, fall_at, fall_step = results
    return NodeHeadroom(up, fall, up_kind, fall_kind, up_at, fall_at, up_step, fall_step)


def node_headroom(
    grid: "Grid", p_kw: npt.ArrayLike, q_kvar: npt.ArrayLike, *, loss_sweeps: int = 3, tan_phi: float = 0.0
) -> NodeHeadroom:
    """Compute the headroom of each node over a few reference snapshots of node loads.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_snapshots)
        Node loads of the worst reference hours, withdrawal positive. [kW, kvar]
    loss_sweeps : int
    tan_phi : float
        Reactive over active power of the activation.

    Returns
    -------
    NodeHeadroom
    """
    from flexcore.grid.headroom import activation_rows

    rows = activation_rows(grid, p_kw, q_kvar, loss_sweeps=loss_sweeps, tan_phi=tan_phi)
    return headroom_from_rows(
        grid.forest.order,
        grid.forest.parent,
        lower_kw=rows.lower_kw,
        upper_kw=rows.upper_kw,
        w_lower=rows.w_lower,
        w_upper=rows.w_upper,
        m=rows.m,
    )
