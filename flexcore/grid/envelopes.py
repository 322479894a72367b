"""Fair limits per POD (operating envelopes) under nested headrooms, for who may limit each POD by itself."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.grid.from_headroom import read_headroom, read_tree

__all__ = ["operating_envelopes"]

_STEPS_PER_CHUNK = 4


def operating_envelopes(
    parent: npt.ArrayLike,
    headroom_kw: npt.ArrayLike,
    movable_kw: npt.ArrayLike,
    *,
    node: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> npt.NDArray[np.float64]:
    """Give every node or POD its own limit: weighted max-min fair, safe together, with the largest sum there is.

    Parameters
    ----------
    parent : array_like of int, shape (n_nodes,)
        Position of the node that feeds each node; -1 at a root. Nodes in any order.
    headroom_kw : array_like, shape (n_nodes, n_steps)
        What the element that feeds each node can still take; infinite without a limit, below zero it counts as 0. [kW]
    movable_kw : array_like, shape (n_nodes, n_steps), or (n_pods, n_steps) with `node`
        What could move at each node or POD. [kW]
    node : array_like of int, shape (n_pods,), optional
        Position of each POD's node, for limits per POD; any number of PODs at one node.
    weights : array_like, shape (n_nodes,), or (n_pods,) with `node`, optional
        Claims, by default all the same. Give contracted powers for equal shares of these.
    n_threads : int

    Returns
    -------
    ndarray, shape of `movable_kw`
        Limits, at most `movable_kw`; their sum is the maximum flow but for rounding. [kW]

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative movable power, FX-A006 a parent or a POD's node out of range,
        FX-G001 parents in a loop, FX-G010 a node that is its own parent, FX-G052 a weight that is not positive.

    Notes
    -----
    x_p = min(b_p, w_p * smallest level on the path of p). Headrooms on a tree are a laminar family, so nobody's limit
    can be raised without lowering one that is no larger per weight, and this fairness costs no volume: the point is
    also the proportionally fair one (largest sum of w log x) and, of all with the largest sum, that of the least sum
    of x^2 / w (docs/explanation/capability.md). There are no voltage rows: with them fairness and volume part.

    Examples
    --------
    Two PODs behind a line with room 3, one behind a line without limit, a transformer with room 8 above all:

    >>> import flexcore as fx
    >>> limits = fx.operating_envelopes([-1, 0, 0], [[8], [3], [9]], [[2], [2], [7]], node=[1, 1, 2])
    >>> limits.ravel().tolist()
    [1.5, 1.5, 5.0]
    """
    from flexcore.kernels.grid.envelopes import fair_limits

    n_rows = np.size(parent) if node is None else np.size(node)
    movable = as_float(movable_kw, "movable_kw", shape=(n_rows, None), non_negative=True)
    tree = read_tree(parent)
    n_nodes = tree.order.size
    headroom = read_headroom(headroom_kw, (n_nodes, movable.shape[1]))
    claim = np.ones(n_rows) if weights is None else as_float(weights, "weights", shape=(n_rows,))
    bad = np.flatnonzero(claim <= 0)
    if bad.size:
        found = Findings("weights", n_rows)
        found.add("FX-G052", f"weights of {bad.size} of {n_rows} limits are not positive", rows=bad)
        found.raise_errors()
    if node is not None:
        # a POD is a leaf of its node, fed by an element without a limit; nothing moves at the nodes themselves
        at = as_int(node, "node", dtype=np.int32, shape=(n_rows,), lo=0, hi=n_nodes - 1)
        tree = read_tree(np.concatenate([np.asarray(parent, np.int32).ravel(), at]))
        headroom = np.concatenate([headroom, np.full(movable.shape, np.inf)])
        movable = np.concatenate([np.zeros((n_nodes, movable.shape[1])), movable])
        claim = np.concatenate([np.ones(n_nodes), claim])
    room, power = (np.ascontiguousarray(values[tree.order].T) for values in (headroom, movable))
    weight = np.ascontiguousarray(np.broadcast_to(claim[tree.order], power.shape))
    limit = np.empty_like(power)
    run_chunks(
        lambda lo, hi: fair_limits(tree.parent, room, power, weight, limit, lo, hi),
        power.shape[0],
        n_threads=n_threads,
        chunk=_STEPS_PER_CHUNK,
    )
    return np.ascontiguousarray(limit.T[tree.rank[tree.rank.size - n_rows :]])
