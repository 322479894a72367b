"""Capability for operators who hand over headrooms but no grid model: thermal rows on a tree, one direction a call."""

import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.errors import Findings, check_option
from flexcore.grid.capability_result import colour_of
from flexcore.grid.max_total import share_max_total
from flexcore.grid.sharing import pair_perimeters, share, speeds_of
from flexcore.grid.value import share_by_value, values_of

__all__ = ["HeadroomCapability", "HeadroomTree", "capability_from_headroom", "read_headroom", "read_tree"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class HeadroomCapability:
    """Capability and colour per perimeter and step of the one direction that the headrooms were given for.

    Attributes
    ----------
    cap_kw : ndarray, shape (n_perimeters, n_steps)
        Any dispatch of at most that total inside each perimeter keeps every headroom. [kW]
    movable_kw : ndarray, shape (n_perimeters, n_steps)
        What could move. [kW]
    colour : ndarray of uint8, shape (n_perimeters, n_steps)
        0 red, 1 yellow, 2 green.
    kind : ndarray of uint8, shape (n_perimeters, n_steps)
        What limits: 0 nothing, 1 an element that no other perimeter loads, 3 an element shared with other perimeters.
    binding : ndarray of int32, shape (n_perimeters, n_steps)
        Position of the node whose feeding branch limits; -1 where nothing does.
    margin_kw : ndarray, shape (n_perimeters, n_steps)
        What the perimeter could add wherever it acts while all others stay at theirs; infinite without limits. [kW]
    status : ndarray of uint8, shape (n_steps,)
        0 exact; 1 safe, but a search was cut off before it could raise the caps further.
    largest : ndarray of bool, shape (n_steps,)
        With sharing="max_total" or "value": no jointly safe caps have a larger sum, or value. False where that is not
        known.
    sharing : str
    """

    cap_kw: F8
    movable_kw: F8
    colour: U1
    kind: U1
    binding: I4
    margin_kw: F8
    status: U1
    largest: npt.NDArray[np.bool_]
    sharing: str


class HeadroomTree(NamedTuple):
    """A forest in depth-first preorder: `order` and `rank` lead to nodes and back, subtree of i `i..last[i]`."""

    order: I4
    rank: I4
    parent: I4
    last: I4


def read_tree(parent: npt.ArrayLike) -> HeadroomTree:
    """Order a forest that is given by parents, in any order of the nodes.

    Raises
    ------
    ValidationError
        FX-A001, FX-A002 and FX-A006 for the array, FX-G010 a node that is its own parent, FX-G001 nodes in a loop.
    """
    from flexcore.kernels.grid.forest import depth_first

    n = np.size(parent)
    up = as_int(parent, "parent", dtype=np.int32, shape=(n,), lo=-1, hi=max(n - 1, 0))
    found = Findings("parent", n)
    own = np.flatnonzero(up == np.arange(n))
    if own.size:
        found.add("FX-G010", f"{own.size} of {n} nodes are their own parent", rows=own, hint="-1 marks a root")
        found.raise_errors()
    fed = np.flatnonzero(up >= 0).astype(np.int32)
    roots = np.flatnonzero(up < 0).astype(np.int32)
    order, rank, above, branch, last = (np.empty(n, np.int32) for _ in range(5))
    visited = np.zeros(1, np.int32)
    is_root = (up < 0).astype(np.uint8)
    extra = np.empty(fed.size, np.uint8)
    depth_first(np.ascontiguousarray(up[fed]), fed, is_root, roots, order, rank, above, branch, last, extra, visited)
    if visited[0] < n:
        lost = np.flatnonzero(rank < 0)
        found.add("FX-G001", f"{lost.size} of {n} nodes never reach a root: their parents form a loop", rows=lost)
        found.raise_errors()
    return HeadroomTree(order, rank, above, last)


def read_headroom(headroom_kw: npt.ArrayLike, shape: tuple[int, int]) -> F8:
    """Check headrooms: numbers or plus infinity.

    Raises
    ------
    ValidationError
        FX-A001 shape, FX-A002 not numeric, FX-A003 NaN or minus infinity.
    """
    headroom = as_float(headroom_kw, "headroom_kw", shape=shape, finite=False)
    bad = np.flatnonzero(~(headroom > -np.inf).all(axis=1))
    if bad.size:
        found = Findings("headroom_kw", shape[0])
        message = f"headroom_kw is NaN or minus infinity in {bad.size} of {shape[0]} rows"
        found.add("FX-A003", message, rows=bad, hint="infinity means no limit")
        found.raise_errors()
    return headroom


def capability_from_headroom(
    parent: npt.ArrayLike,
    headroom_kw: npt.ArrayLike,
    movable_kw: npt.ArrayLike,
    *,
    perimeter: npt.ArrayLike,
    sharing: Literal["joint", "filling", "max_total", "value", "alone"] = "joint",
    weights: npt.ArrayLike | None = None,
    values: npt.ArrayLike | None = None,
    tol_kw: float = 1e-3,
    n_threads: int = 1,
) -> HeadroomCapability:
    """Find the robust capability of every perimeter from headrooms alone, without a grid model.

    Parameters
    ----------
    parent : array_like of int, shape (n_nodes,)
        Position of the node that feeds each node; -1 at a root. Nodes in any order.
    headroom_kw : array_like, shape (n_nodes, n_steps)
        What the element that feeds each node can still take in this direction (at a root: whatever feeds the tree).
        Infinite without a limit; below zero it counts as zero, whatever moves below would make it worse. [kW]
    movable_kw : array_like, shape (n_nodes, n_steps)
        What could move at each node in this direction. [kW]
    perimeter : array_like of int, shape (n_nodes,)
        Label 0, 1, ... of each node's perimeter, any pattern; -1: nothing may move there.
    sharing : {"joint", "filling", "max_total", "value", "alone"}
        "joint" (the same as "filling") shares common headroom by progressive filling, safe for all perimeters together.
        "max_total" as safely seeks the largest sum, whoever it starves; exact where perimeters are connected.
        "value" as safely seeks the largest sum of cap times value; it may need a solver, step by step.
        "alone" gives each perimeter what it could have if no other moved, and warns.
    weights : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        Speeds of the filling, by default the stand-alone capabilities. Checked but not used by "max_total" and "value".
    values : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        With sharing="value": what a kW of each perimeter's capability is worth; by default all the same. [EUR/kW]
    tol_kw : float
        Below this a capability is red, and movable power is none at all. [kW]
    n_threads : int

    Returns
    -------
    HeadroomCapability

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative movable power or value, FX-A006 a parent or a label out of range,
        FX-G001 parents in a loop, FX-G010 a node that is its own parent, FX-G052 weights.
    OptionError
        FX-E002 for an unknown sharing.

    Warns
    -----
    UserWarning
        With sharing="alone": the values are not jointly safe.

    Notes
    -----
    Caps C are safe together if and only if sum_k min(C_k, B_ik) <= h_i for every element, with B_ik the movable power
    of perimeter k below it (docs/explanation/capability.md; D4.1 Figure 12). As good as the headrooms: voltage limits,
    losses of the dispatch and forecast errors count only as far as the caller has taken them off.

    Examples
    --------
    One substation of Figure 12 can take 1, the other 8, the busbar above both 18:

    >>> import flexcore as fx
    >>> found = fx.capability_from_headroom([-1, 0, 0], [[18], [1], [8]], [[0], [3], [3]], perimeter=[-1, 0, 1])
    >>> found.cap_kw.ravel().tolist()
    [1.0, 3.0]
    """
    check_option("sharing", sharing, ("joint", "filling", "max_total", "value", "alone"))
    if sharing == "alone":
        warnings.warn(
            "sharing='alone': each capability is safe only if no other perimeter moves", UserWarning, stacklevel=2
        )
    tree = read_tree(parent)
    n = tree.order.size
    movable = as_float(movable_kw, "movable_kw", shape=(n, None), non_negative=True)
    headroom = read_headroom(headroom_kw, (n, movable.shape[1]))
    label = as_int(perimeter, "perimeter", dtype=np.int32, shape=(n,), lo=-1, hi=max(n - 1, 0))
    n_perimeters = int(label.max(initial=-1)) + 1
    tol_kw = float(as_float(tol_kw, "tol_kw", shape=(), non_negative=True))
    # who moves is left out: it changes with the steps of a call, and a layout the order of sums
    pairs = pair_perimeters(tree.parent, tree.last, label[tree.order], label[tree.order] >= 0, n_perimeters)
    kept = tree.order[pairs.element]
    head = np.ascontiguousarray(headroom[kept].T)
    power = np.ascontiguousarray(movable[kept].T)
    problem = (pairs, np.zeros(kept.size), power, head, np.full(head.shape, np.inf))
    speeds = speeds_of(weights, n_perimeters, movable.shape[1])
    worth = values_of(values, "values", n_perimeters, movable.shape[1])
    if sharing == "max_total":
        shares, largest = share_max_total(*problem, n_threads=n_threads)
    elif sharing == "value":
        shares, largest = share_by_value(*problem, values=worth, n_threads=n_threads)
    else:
        shares = share(*problem, weights=speeds, alone=sharing == "alone", n_threads=n_threads)
        largest = np.zeros(movable.shape[1], np.bool_)
    place = kept[np.maximum(shares.row, 0)] if kept.size else shares.row
    return HeadroomCapability(
        cap_kw=np.ascontiguousarray(shares.cap.T),
        movable_kw=np.ascontiguousarray(shares.movable.T),
        colour=np.ascontiguousarray(colour_of(shares.cap, shares.movable, tol_kw).T),
        kind=np.ascontiguousarray(shares.kind.T),
        binding=np.ascontiguousarray(np.where(shares.row < 0, -1, place).T.astype(np.int32)),
        margin_kw=np.ascontiguousarray(shares.margin.T),
        status=shares.status,
        largest=largest,
        sharing="joint" if sharing == "filling" else sharing,
    )
