"""Lays perimeters over a forest and shares headroom among them, one direction at a time."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.network import Grid

__all__ = [
    "PerimeterPairs",
    "Rooms",
    "Shares",
    "allowed_paths",
    "label_nodes",
    "pair_perimeters",
    "rooms_of",
    "share",
    "speeds_of",
]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]
_STEPS_PER_CHUNK = 4
_STEPS_OF_ROOMS = 8
_LEAST_SPEED = 1e-12


def label_nodes(grid: Grid, perimeter: npt.ArrayLike) -> tuple[I4, int]:
    """Perimeter of each node in preorder, checked, and the number of perimeters."""
    label = as_int(perimeter, "perimeter", dtype=np.int32, shape=(grid.n_nodes,), lo=-1, hi=max(grid.n_nodes - 1, 0))
    return np.ascontiguousarray(label[grid.forest.order]), int(label.max(initial=-1)) + 1


def speeds_of(weights: npt.ArrayLike | None, n_perimeters: int, n_steps: int) -> F8 | None:
    """Check the weights of a caller and give speeds (n_steps, n_perimeters) of which only the ratios count."""
    if weights is None:
        return None
    one = np.ndim(weights) == 1
    values = as_float(weights, "weights", shape=(n_perimeters,) if one else (n_perimeters, n_steps))
    bad = np.flatnonzero((values <= 0) if one else (values <= 0).any(axis=1))
    if bad.size:
        found = Findings("weights", n_perimeters)
        found.add("FX-G052", f"weights of {bad.size} of {n_perimeters} perimeters are not positive", rows=bad)
        found.raise_errors()
    speeds = np.broadcast_to(values[None, :] if one else values.T, (n_steps, n_perimeters))
    if not speeds.size:
        return np.ascontiguousarray(speeds)
    # only their ratios count; scaled, they neither overflow nor vanish when multiplied by a level
    speeds = speeds / speeds.max(axis=1, keepdims=True)
    bad = np.flatnonzero(speeds.min(axis=0) < _LEAST_SPEED)
    if bad.size:
        found = Findings("weights", n_perimeters)
        found.add("FX-G052", f"weights of {bad.size} perimeters are below 1e-12 of the largest", rows=bad)
        found.raise_errors()
    return np.ascontiguousarray(speeds, np.float64)


class PerimeterPairs(NamedTuple):
    """The part of a forest that carries movable power, and which perimeters are split by which of its elements.

    Built once per call for all steps. `element` gives the preorder positions kept (an upward closed set); all else is
    in positions among them. A pair (element, perimeter) is listed where the element's subtree holds some but not all
    members of the perimeter.
    """

    element: I4
    parent: I4
    last: I4
    label: I4
    own: I4
    top: I4
    pair_ptr: I4
    pair_element: I4
    pair_k: I4
    pair_up: I4
    elem_ptr: I4
    elem_pair: I4


def pair_perimeters(parent: I4, last: I4, label: I4, moves: npt.NDArray[np.bool_], n_perimeters: int) -> PerimeterPairs:
    """Lay out perimeters over a forest in preorder; nodes where nothing ever moves belong to none."""
    from flexcore.kernels.grid.pairs import count_pairs, link_pairs, list_pairs

    n = parent.size
    inside = np.concatenate([[0], np.cumsum(moves & (label >= 0))])
    kept = inside[last] > inside[np.arange(n)]
    place = np.cumsum(kept, dtype=np.int32) - 1
    element = np.flatnonzero(kept).astype(np.int32)
    # an upward closed set stays in preorder, so subtrees stay ranges
    parent = np.where(parent[element] < 0, -1, place[parent[element]]).astype(np.int32)
    last = np.concatenate([[0], np.cumsum(kept)])[last[element]].astype(np.int32)
    label = np.where(moves, label, -1)[element].astype(np.int32)
    members = np.flatnonzero(label >= 0)
    member = members[np.argsort(label[members], kind="stable")].astype(np.int32)
    member_ptr = np.searchsorted(label[member], np.arange(n_perimeters + 1)).astype(np.int32)
    top, count = np.empty(n_perimeters, np.int32), np.empty(n_perimeters, np.int32)
    scratch = np.empty(element.size, np.int32)
    count_pairs(parent, last, member_ptr, member, top, count, scratch)
    pair_ptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    found = np.empty(int(pair_ptr[-1]), np.int32)
    list_pairs(parent, top, member_ptr, member, pair_ptr, found, scratch)
    pair_k = np.repeat(np.arange(n_perimeters, dtype=np.int32), count)
    pair_element = found[np.lexsort((found, pair_k))]
    pair_up, own = np.empty(found.size, np.int32), np.full(element.size, -1, np.int32)
    link_pairs(parent, top, member_ptr, member, pair_ptr, pair_element, pair_up, own, scratch)
    elem_pair = np.argsort(pair_element, kind="stable").astype(np.int32)
    elem_ptr = np.searchsorted(pair_element[elem_pair], np.arange(element.size + 1)).astype(np.int32)
    return PerimeterPairs(
        element, parent, last, label, own, top, pair_ptr, pair_element, pair_k, pair_up, elem_ptr, elem_pair
    )


class Shares(NamedTuple):
    """Result for one direction, arrays (n_steps, n_perimeters) or (n_steps, elements kept)."""

    cap: F8
    movable: F8
    kind: U1
    row: I4
    at_node: U1
    margin: F8
    carried: F8
    status: U1


def share(
    pairs: PerimeterPairs,
    m: F8,
    power: F8,
    headroom: F8,
    headroom_path: F8,
    *,
    weights: F8 | None,
    ceiling: F8 | None = None,
    alone: bool,
    n_threads: int,
) -> Shares:
    """Find the capabilities of one direction.

    Parameters
    ----------
    pairs : PerimeterPairs
    m : ndarray, shape (n_elements,)
    power, headroom, headroom_path : ndarray, shape (n_steps, n_elements)
        Movable power at each element's node; room on its branch; room of the path sum, smallest of the subtree.
    weights : ndarray, shape (n_steps, n_perimeters), optional
        Speeds of the filling; None: in proportion to the stand-alone capabilities.
    ceiling : ndarray, shape (n_steps, n_perimeters), optional
        No perimeter gets more than this.
    """
    from flexcore.kernels.grid.capability import share_capability

    n_steps, n, n_k = power.shape[0], pairs.parent.size, pairs.top.size
    shape = (n_steps, n_k)
    speeds = np.zeros(shape) if weights is None else weights
    most = np.full(shape, np.inf) if ceiling is None else ceiling
    result = Shares(
        np.empty(shape), np.empty(shape), np.empty(shape, np.uint8), np.empty(shape, np.int32),
        np.empty(shape, np.uint8), np.empty(shape), np.empty((n_steps, n)), np.empty(n_steps, np.uint8),
    )  # fmt: skip
    if not n_k:
        result.carried.fill(0.0)
        result.status.fill(0)
        return result
    layout = pairs[1:]
    arrays = (*layout[:2], m, *layout[2:], power, headroom, headroom_path, speeds, most, int(alone))
    outputs = (
        result.cap, result.movable, result.kind, result.row, result.at_node, result.margin, result.carried,
        result.status,
    )  # fmt: skip
    run_chunks(
        lambda lo, hi: share_capability(*arrays, *outputs, lo, hi), n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK
    )
    return result


class Rooms(NamedTuple):
    """Rooms of one direction on the kept elements, with the least roomy node below each for the report."""

    headroom: F8
    headroom_path: F8
    room_of_node: F8


def allowed_paths(grid: Grid, upward: bool, slack_pu: float) -> F8:
    """What the slack adds to the room of each node's path sum, in preorder."""
    limit = grid.v_max_pu if upward else grid.v_min_pu - 0.5 * slack_pu
    return np.asarray(2.0 * slack_pu * limit[grid.forest.order] * grid.forest.tau)


def rooms_of(grid: Grid, rows: ActivationRows, element: I4, upward: bool, slack_pu: float, n_threads: int) -> Rooms:
    """Turn rows into the rooms of one direction, (n_steps, elements kept); a voltage may use up the slack."""
    from flexcore.kernels.grid.rooms import rooms

    forest = grid.forest
    allowed = allowed_paths(grid, upward, slack_pu)
    bounds = (rows.upper_kw, rows.w_upper) if upward else (rows.lower_kw, rows.w_lower)
    result = Rooms(
        np.empty((rows.n_steps, element.size)), np.empty((rows.n_steps, element.size)), np.empty(rows.w_upper.shape)
    )
    inputs = (np.ascontiguousarray(bound) for bound in bounds)
    arrays = (forest.order, forest.parent, element, 1.0 if upward else -1.0, allowed, *inputs, *result)
    run_chunks(lambda lo, hi: rooms(*arrays, lo, hi), rows.n_steps, n_threads=n_threads, chunk=_STEPS_OF_ROOMS)
    return result
