"""The least activation that thermal needs ask for: needs of nested elements are one need, not several."""

import numpy as np
import numpy.typing as npt

from flexcore.grid.headroom import ActivationRows, carried_by_branches
from flexcore.grid.network import Forest, Grid
from flexcore.units import UP

Floats = npt.NDArray[np.float64]
_LEAST_KW = 1e-3  # a watt: less is rounding of the rows, not a need


def least_need_kw(forest: Forest, lower_kw: Floats, upper_kw: Floats) -> Floats:
    """Return the least activation that could bring every branch within its bounds, per step, in kW.

    Below one element the needs of separate branches add up; an element above them asks for more only if its own need
    is larger than that sum. Directions are added: up somewhere does not meet down elsewhere.

    Parameters
    ----------
    forest : Forest
    lower_kw, upper_kw : ndarray, shape (n_nodes, n_steps)
        Bounds on the net up activation below each node's branch (`ActivationRows`). [kW]
    """
    n_steps = lower_kw.shape[1]
    total = np.zeros(n_steps)
    for wanted in (lower_kw, -upper_kw):
        short = np.where(np.isfinite(wanted) & (wanted >= _LEAST_KW), wanted, 0.0)[forest.order]
        needed = np.flatnonzero(short.any(axis=1))  # in preorder, so that everything below comes after
        met: dict[int, Floats] = {}
        for i in needed[::-1]:
            below = [met.pop(j) for j in list(met) if j < forest.last[i]]
            met[int(i)] = np.maximum(short[i], sum(below, np.zeros(n_steps)))
        total += sum(met.values(), np.zeros(n_steps))
    return total


def least_open_w(
    grid: Grid,
    rows: ActivationRows,
    node: npt.ArrayLike,
    direction: npt.ArrayLike,
    accepted_w: npt.NDArray[np.int64],
    *,
    n_threads: int,
) -> npt.NDArray[np.int64]:
    """Return the least need that is left when offers at some nodes are accepted, shape (n_steps,), in W."""
    sign = np.where(np.asarray(direction) == UP, 1, -1)
    net_w = np.zeros((grid.n_nodes, rows.n_steps), np.int64)
    np.add.at(net_w, np.asarray(node, np.int64), sign[:, None] * accepted_w)
    net_kw = carried_by_branches(grid, net_w / 1000.0, n_threads)[grid.forest.rank]
    left = least_need_kw(grid.forest, rows.lower_kw - net_kw, rows.upper_kw - net_kw)
    return np.rint(1000.0 * left).astype(np.int64)
