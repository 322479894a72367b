"""Nested publication, one direction at a time: wide caps per perimeter, limits of groups that share an element."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.capability_result import SHARED, GroupLimits
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, Shares, share

__all__ = ["Nested", "group_limits", "limits_of_elements", "share_nested"]

F8 = npt.NDArray[np.float64]
_STEPS_PER_CHUNK = 4


class Nested(NamedTuple):
    """Caps, and limits on the sum of the perimeters wholly below each element, (n_steps, kept), infinite for none."""

    shares: Shares
    limit: F8


def _parts(pairs: PerimeterPairs) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], int]:
    """Number the subtrees of roots, joined where a perimeter spans several: per element, per perimeter, count."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, n_k = pairs.parent.size, pairs.top.size
    is_root = pairs.parent < 0
    first = ~is_root & is_root[np.maximum(pairs.parent, 0)]
    tree = np.cumsum(first) - 1
    n_trees = int(first.sum())
    inside = np.flatnonzero((pairs.label >= 0) & ~is_root)
    links = tree[inside], n_trees + pairs.label[inside]
    size = n_trees + n_k
    _, part = connected_components(coo_array((np.ones(inside.size), links), shape=(size, size)), directed=False)
    of_element = np.full(n, -1, np.int32)
    of_element[~is_root] = part[tree[~is_root]]
    return of_element, part[n_trees:].astype(np.int32), size


def share_nested(
    pairs: PerimeterPairs,
    m: F8,
    power: F8,
    headroom: F8,
    headroom_path: F8,
    *,
    weights: F8 | None,
    n_threads: int,
) -> Nested:
    """Find nested limits, arguments as for `share`; they admit everything that the joint caps admit."""
    from flexcore.kernels.grid.nested import nest

    rows = (m, power, headroom, headroom_path)
    joint = share(pairs, *rows, weights=weights, alone=False, n_threads=n_threads)
    limit = np.full(joint.carried.shape, np.inf)
    if not pairs.top.size:
        return Nested(joint, limit)
    alone = share(pairs, *rows, weights=weights, alone=True, n_threads=n_threads)
    of_element, of_perimeter, n_parts = _parts(pairs)
    found = joint._replace(
        cap=np.empty_like(joint.cap),
        carried=np.empty_like(joint.carried),
        margin=np.empty_like(joint.margin),
        status=np.empty_like(joint.status),
    )
    arrays = (
        pairs.parent, pairs.last, *rows[:1], pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element,
        pairs.pair_k, pairs.pair_up, pairs.elem_ptr, pairs.elem_pair, *rows[1:], joint.cap, alone.cap, alone.row,
        alone.kind, of_element, of_perimeter, n_parts,
    )  # fmt: skip
    outputs = (
        found.cap, limit, found.carried, found.margin, found.kind, found.row, found.at_node, found.status
    )  # fmt: skip
    run_chunks(
        lambda lo, hi: nest(*arrays, *outputs, lo, hi), power.shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK
    )
    found = found._replace(status=np.maximum(found.status, np.maximum(joint.status, alone.status)))
    return _without_single_groups(pairs, found, limit)


def _whole_below(pairs: PerimeterPairs) -> list[npt.NDArray[np.int32]]:
    """Perimeters that lie wholly below each kept element."""
    order = np.argsort(pairs.top, kind="stable")
    tops = pairs.top[order]
    lo, hi = np.searchsorted(tops, np.arange(pairs.parent.size)), np.searchsorted(tops, pairs.last)
    return [np.sort(order[a:b]).astype(np.int32) for a, b in zip(lo, hi, strict=True)]


def _without_single_groups(pairs: PerimeterPairs, shares: Shares, limit: F8) -> Nested:
    """Turn the limit of a group of one into its cap."""
    limited = np.flatnonzero(np.isfinite(limit).any(axis=0))
    if limited.size:
        members = _whole_below(pairs)
        for e in limited[::-1]:
            if members[e].size == 1:
                k = members[e][0]
                lower = limit[:, e] < shares.cap[:, k]
                shares.cap[lower, k] = limit[lower, e]
                shares.kind[lower, k], shares.row[lower, k], shares.at_node[lower, k] = SHARED, e, 0
                limit[:, e] = np.inf
    return Nested(shares, limit)


def group_limits(grid: Grid, pairs: PerimeterPairs, up: F8, down: F8) -> GroupLimits:
    """Collect the groups of both directions, (n_steps, kept) each; one for each set of members, outermost first."""
    limited = np.flatnonzero(np.isfinite(up).any(axis=0) | np.isfinite(down).any(axis=0))
    members = _whole_below(pairs) if limited.size else []
    groups: dict[tuple[int, ...], list[int]] = {}
    for e in limited:
        groups.setdefault(tuple(members[e].tolist()), []).append(int(e))
    heads = [elements[0] for elements in groups.values()]
    place = pairs.element[np.array(heads, np.int64)]
    limits = [
        np.array([way[:, elements].min(axis=1) for elements in groups.values()]).reshape(len(heads), up.shape[0])
        for way in (up, down)
    ]
    return GroupLimits(
        node=np.ascontiguousarray(grid.forest.order[place]),
        branch=np.ascontiguousarray(grid.forest.branch[place]),
        ptr=np.concatenate([[0], np.cumsum([len(inside) for inside in groups])]).astype(np.int32),
        perimeter=np.array([k for inside in groups for k in inside], np.int32),
        up_kw=limits[0],
        down_kw=limits[1],
    )


def limits_of_elements(grid: Grid, pairs: PerimeterPairs, groups: GroupLimits, limit_kw: F8) -> F8:
    """Put the limits of one direction, (n_groups, n_steps), back at their elements: (n_steps, kept)."""
    limits = np.full((limit_kw.shape[1], pairs.parent.size), np.inf)
    wanted = grid.forest.rank[groups.node]
    for g, e in enumerate(np.searchsorted(pairs.element, wanted)):
        if e < pairs.element.size and pairs.element[e] == wanted[g]:  # else nothing moves below it
            limits[:, e] = np.minimum(limits[:, e], limit_kw[g])
    return limits
