"""Searches for the partition of a forest into at most K pieces that publishes most, over all steps at once."""

import heapq
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from flexcore.grid.pieces import Pieces, Tree

__all__ = ["add_cuts", "drop_small", "merge_back", "search"]

I4 = npt.NDArray[np.int32]
_EXACT_MERGES = 40  # with at most so many cuts every merge is worked out anew in each round
_ROUGH_SCENES = 16  # scenes that rank mergers while there are many
_PAIR_CELLS = 1 << 22  # cells (elements x elements x elements x scenes) up to which all pairs of cuts are tried
# cuts worked out in one round, those with the largest bounds first, and moves of a cut tried after the greedy searches:
# most on small trees, least on large ones, in between as many as this number of cells (elements x scenes) allows
_TRIED = (12, 48, 1 << 25)
_SWAPS = (16, 200, 1 << 27)
_SAME = 1e-12  # sums that differ by less than this share are the same


def _members_below(tree: Tree, pieces: Pieces, top: int, least: int) -> I4:
    """Elements of a piece above which a cut leaves somebody, and enough members, on either side."""
    piece = pieces.piece(top)
    count, used = tree.members[piece.element].copy(), tree.used[piece.element].astype(np.int64)
    for j in range(piece.element.size - 1, 0, -1):
        count[piece.up[j]] += count[j]
        used[piece.up[j]] += used[j]
    rest_used, rest_count = used[0] - used, count[0] - count
    fits = (used > 0) & (count >= least) & (rest_used > 0) & (rest_count >= least)
    fits[0] = False
    chosen: I4 = piece.element[fits]
    return chosen


def drop_small(tree: Tree, cuts: Iterable[int], least: int, *, n_threads: int) -> list[int]:
    """Merge pieces with nobody in them, or fewer members than `least`, into the piece above; the cuts that are left."""
    left = {int(i) for i in cuts}
    count, used = tree.members.copy(), tree.used.copy()
    for i in range(tree.n - 1, 0, -1):
        if i in left and used[i] and count[i] >= least:
            continue
        left.discard(i)
        count[tree.parent[i]] += count[i]
        used[tree.parent[i]] |= used[i]
    # the topmost piece has none above: it takes in the pieces below whose mergers lose least
    if used[0] and count[0] < least and left:
        pieces = Pieces(tree, left, n_threads=n_threads)
        while pieces.is_cut.any():
            top = pieces.piece(0)
            if tree.members[top.element].sum() >= least:
                break
            pieces.apply(min(top.hang.tolist(), key=lambda i: (-pieces.total_if(i, False), i)), False)
        return pieces.cuts
    return sorted(left)


def merge_back(tree: Tree, cuts: Iterable[int], most: int, *, n_threads: int) -> Pieces:
    """Start from these cuts and merge the pair of pieces whose merger loses least until at most `most` are left.

    As long as there are many more cuts than will be left, the quarter that loses least goes at once, by some scenes.
    """
    left = list(cuts)
    many = max(_EXACT_MERGES, 3 * most)
    if len(left) > many:
        rough = Pieces(_some_scenes(tree), left, n_threads=n_threads)
        while len(left) > many:
            ranked = sorted((rough.total - rough.total_if(i, False), i) for i in left)
            for _, i in ranked[: min(-(-len(left) // 4), len(left) - many)]:
                rough.apply(i, False)
            left = rough.cuts
    pieces = Pieces(tree, left, n_threads=n_threads)
    # with many cuts a merger is looked at again only when its last known loss is the smallest
    heap = [(pieces.total - pieces.total_if(i, False), i) for i in pieces.cuts] if pieces.n_pieces > most else []
    heapq.heapify(heap)
    while pieces.n_pieces > most:
        if len(heap) <= _EXACT_MERGES:
            heap = sorted((pieces.total - pieces.total_if(i, False), i) for _, i in heap)
        loss, element = heapq.heappop(heap)
        while heap:
            now = pieces.total - pieces.total_if(element, False)
            if now <= max(loss, heap[0][0]):
                break
            loss, element = heapq.heappushpop(heap, (now, element))
        pieces.apply(element, False)
    return pieces


def _some_scenes(tree: Tree) -> Tree:
    """Return the tree with few scenes, evenly over the day and both directions."""
    n_scenes = tree.power.shape[0]
    some = np.unique(np.linspace(0, n_scenes - 1, min(_ROUGH_SCENES, n_scenes)).astype(np.int64))
    return tree._replace(room=np.ascontiguousarray(tree.room[some]), power=np.ascontiguousarray(tree.power[some]))


def _effort(tree: Tree, limits: tuple[int, int, int]) -> int:
    least, most, cells = limits
    return max(least, min(most, cells // max(tree.power.size, 1)))


class _Grower:
    """Finds the cut that gains most, with bounds that are kept up to date as cuts are made and undone."""

    def __init__(self, tree: Tree, pieces: Pieces, least_members: int) -> None:
        self.tree = tree
        self.pieces = pieces
        self.least_members = least_members
        self.bound = np.full(tree.n, -1.0)
        for top in (0, *pieces.cuts):
            self._renew(top)

    def _renew(self, top: int) -> None:
        element, gain = self.pieces.bounds(top)
        self.bound[element] = -1.0
        fits = _members_below(self.tree, self.pieces, top, self.least_members)
        self.bound[fits] = gain[np.searchsorted(element, fits)]

    def change(self, element: int, cut: bool) -> None:
        for top in self.pieces.apply(element, cut):
            self._renew(top)

    def best_cut(self) -> int:
        """Element above which a cut gains most, -1 if none gains anything; the first in preorder on a tie."""
        best, at = self.pieces.total * _SAME, -1
        for i in np.argsort(-self.bound, kind="stable")[: _effort(self.tree, _TRIED)].tolist():
            if self.bound[i] <= best:
                break
            gain = self.pieces.total_if(i, True) - self.pieces.total
            if gain > best:
                best, at = gain, i
        return at


def add_cuts(
    tree: Tree, most: int, ceiling: float, least_members: int, *, start: Pieces | None = None, n_threads: int
) -> Pieces:
    """Start from one piece and add the cut that gains most until there are `most` pieces or nothing is gained."""
    pieces = Pieces(tree, () if start is None else start.cuts, n_threads=n_threads)
    grower = _Grower(tree, pieces, least_members)
    while pieces.n_pieces < most and pieces.total < ceiling * (1.0 - _SAME):
        at = grower.best_cut()
        if at < 0:
            break
        grower.change(at, True)
    return pieces


def swap_cuts(tree: Tree, pieces: Pieces, ceiling: float, least_members: int) -> None:
    """Move single cuts to where they gain more, until no move of one cut gains or enough have been tried."""
    grower = _Grower(tree, pieces, least_members)
    tries = 0
    improved = True
    while improved and pieces.total < ceiling * (1.0 - _SAME):
        improved = False
        for element in pieces.cuts:
            if tries == _effort(tree, _SWAPS):
                return
            tries += 1
            before = pieces.total
            grower.change(element, False)
            at = grower.best_cut()
            if at >= 0 and pieces.total_if(at, True) > before * (1.0 + _SAME):
                grower.change(at, True)
                improved = True
            else:
                grower.change(element, True)


def best_pair(tree: Tree, least_members: int, *, n_threads: int) -> Pieces | None:
    """Make the two cuts that gain most together, where it costs little to try all pairs; None elsewhere.

    Two bottlenecks that hold the same perimeter down gain nothing one by one: neither greedy search may see them.
    """
    if tree.n * tree.n * tree.power.size > _PAIR_CELLS:
        return None
    pieces = Pieces(tree, (), n_threads=n_threads)
    best, pair = pieces.total, None
    for i in _members_below(tree, pieces, 0, least_members).tolist():
        pieces.apply(i, True)
        for top in (0, i):
            for j in _members_below(tree, pieces, top, least_members).tolist():
                if j > i and (total := pieces.total_if(j, True)) > best * (1.0 + _SAME):
                    best, pair = total, (i, j)
        pieces.apply(i, False)
    return None if pair is None else Pieces(tree, pair, n_threads=n_threads)


def search(tree: Tree, cuts: Iterable[int], most: int, ceiling: float, least_members: int, *, n_threads: int) -> Pieces:
    """Keep the best of merging back from `cuts` and of adding cuts to the whole, each then moved cut by cut.

    On a tie the first.
    """
    best = merge_back(tree, cuts, most, n_threads=n_threads)
    starts: list[Pieces | None] = [None] if best.total < ceiling * (1.0 - _SAME) else []
    if starts and most > 2 and (pair := best_pair(tree, least_members, n_threads=n_threads)) is not None:
        starts.append(pair)
    if starts:
        swap_cuts(tree, best, ceiling, least_members)
    for start in starts:
        pieces = add_cuts(tree, most, ceiling, least_members, start=start, n_threads=n_threads)
        swap_cuts(tree, pieces, ceiling, least_members)
        if pieces.total > best.total * (1.0 + _SAME):
            best = pieces
    return best
