"""Partitions of a forest into connected pieces, and the largest jointly safe sum of each piece for all steps."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks

__all__ = ["Pieces", "Tree", "condense"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
_SCENES_PER_CHUNK = 8
_SMALL = 1 << 16  # cells of a piece below which threads cost more than they bring
_NONE = np.empty(0)


class Tree(NamedTuple):
    """Elements that matter for a search, in preorder below one root without limit that stands above all trees.

    `node` gives the position in the forest (-1 for that root); arrays over scenes are (n_scenes, n_elements).
    `members` and `used` count for an element what its contracted part holds too.
    """

    node: I4
    parent: I4
    last: I4
    room: F8
    power: F8
    members: npt.NDArray[np.int64]
    used: Bools

    @property
    def n(self) -> int:
        """Number of elements."""
        return int(self.node.size)


def condense(
    parent: I4, last: I4, room: F8, power: F8, members: npt.NDArray[np.int64], used: Bools, keep: Bools
) -> Tree:
    """Contract what cannot matter: (node, scene) arrays in preorder to a tree of the elements that can.

    An element that its own offers can never overload holds nobody down. Below the highest one of a subtree without any
    other kind, every cut is matched by the cut above it: with less inside the upper piece its rows carry no more, and
    what the lower piece gains makes up for it. So only that highest one stays, and what `keep` names.
    """
    from flexcore.kernels.grid.headroom import subtree_sum

    n = parent.size
    power = np.ascontiguousarray(power)
    below = np.empty_like(power)
    subtree_sum(parent, power, below, 0, power.shape[1])
    tight = (below > np.maximum(room, 0.0)).any(axis=1) | keep
    count_tight = np.concatenate([[0], np.cumsum(tight)])
    some_tight = count_tight[last] > count_tight[:n]
    roots = parent < 0
    stays = below.any(axis=1) & (some_tight | roots | some_tight[np.maximum(parent, 0)])
    # a node that only passes one child on, without offers, members or limit of its own, says nothing that the child
    # does not
    kids = np.bincount(parent[stays & ~roots], minlength=n)
    stays &= tight | used | (members > 0) | (kids != 1) | roots | power.any(axis=1)
    place = np.where(stays, np.cumsum(stays), 0)
    owner, above = [0] * n, [0] * n
    for i, up in enumerate(parent.tolist()):
        above[i] = owner[up] if up >= 0 else 0
        owner[i] = int(place[i]) if stays[i] else above[i]
    node = np.concatenate([[-1], np.flatnonzero(stays)]).astype(np.int32)
    counted, held = np.zeros(node.size, np.int64), np.zeros(node.size, np.bool_)
    np.add.at(counted, owner, members)
    np.logical_or.at(held, owner, used)
    inside = np.zeros((node.size, power.shape[1]))
    np.add.at(inside, owner, power)
    limits = np.concatenate([np.full((1, power.shape[1]), np.inf), room[stays]])
    return Tree(
        node=node,
        parent=np.concatenate([[-1], np.array(above, np.int64)[stays]]).astype(np.int32),
        last=np.concatenate([[node.size], np.concatenate([[0], np.cumsum(stays)])[last[stays]] + 1]).astype(np.int32),
        room=np.ascontiguousarray(limits.T),
        power=np.ascontiguousarray(inside.T),
        members=counted,
        used=held,
    )


class _Piece(NamedTuple):
    element: I4
    up: I4
    hang: I4
    hang_at: I4


class Pieces:
    """A partition of a tree by cuts above elements, with the largest sum at the top of each piece and scene."""

    def __init__(self, tree: Tree, cuts: Iterable[int], *, n_threads: int) -> None:
        self.tree = tree
        self.n_threads = n_threads
        self.is_cut = np.zeros(tree.n, np.uint8)
        self.is_cut[list(cuts)] = 1
        self._scratch = tuple(np.empty(tree.n, np.int32) for _ in range(5))
        self.value: dict[int, F8] = {}
        for top in (*np.flatnonzero(self.is_cut)[::-1].tolist(), 0):
            self.value[top] = self._evaluate(top, self.value)
        self.total = float(self.value[0].sum())

    @property
    def cuts(self) -> list[int]:
        """Elements that are cut above, in preorder."""
        return [int(i) for i in np.flatnonzero(self.is_cut)]

    @property
    def n_pieces(self) -> int:
        """Number of pieces that hold anybody."""
        return int(self.is_cut.sum()) + bool(self.tree.used[self.piece(0).element].any())

    def piece(self, top: int) -> _Piece:
        """List the piece below an element."""
        from flexcore.kernels.grid.pieces import list_piece

        count = np.empty(2, np.int32)
        list_piece(self.tree.parent, self.tree.last, self.is_cut, top, *self._scratch, count)
        n, n_hang = count.tolist()
        _, element, up, hang, hang_at = self._scratch
        return _Piece(element[:n].copy(), up[:n].copy(), hang[:n_hang].copy(), hang_at[:n_hang].copy())

    def _hung(self, piece: _Piece, value: dict[int, F8]) -> F8:
        n_scenes = self.tree.power.shape[0]
        return np.array([value[int(c)] for c in piece.hang]) if piece.hang.size else np.empty((0, n_scenes))

    def _evaluate(self, top: int, value: dict[int, F8]) -> F8:
        from flexcore.kernels.grid.pieces import piece_values

        piece = self.piece(top)
        n_scenes = self.tree.power.shape[0]
        result = np.empty(n_scenes)
        arrays = (
            piece.element, piece.up, piece.hang_at, self._hung(piece, value), self.tree.room, self.tree.power, result,
        )  # fmt: skip
        if piece.element.size * n_scenes < _SMALL:
            piece_values(*arrays, 0, n_scenes)
        else:
            run_chunks(
                lambda lo, hi: piece_values(*arrays, lo, hi),
                n_scenes,
                n_threads=self.n_threads,
                chunk=_SCENES_PER_CHUNK,
            )
        return result

    def top_of(self, element: int) -> int:
        """Top of the piece that an element is in."""
        while element and not self.is_cut[element]:
            element = int(self.tree.parent[element])
        return element

    def _upwards(self, tops: list[int]) -> dict[int, F8]:
        """Values after a change of pieces: those of `tops`, lowest first, and of every piece above that changes."""
        changed: dict[int, F8] = {}
        value = dict(self.value)
        for top in tops:
            value[top] = changed[top] = self._evaluate(top, value)
        top = tops[-1]
        while top and not np.array_equal(value[top], self.value.get(top, _NONE)):
            top = self.top_of(int(self.tree.parent[top]))
            value[top] = changed[top] = self._evaluate(top, value)
        return changed

    def _set(self, element: int, cut: bool) -> dict[int, F8]:
        """Cut above an element, or no longer; the values that change."""
        self.is_cut[element] = cut
        outer = self.top_of(int(self.tree.parent[element]))
        return self._upwards([element, outer] if cut else [outer])

    def _total(self, changed: dict[int, F8]) -> float:
        return float(changed[0].sum()) if 0 in changed else self.total

    def total_if(self, element: int, cut: bool) -> float:
        """Return the largest sum over all scenes if this cut were made, or undone."""
        changed = self._set(element, cut)
        self.is_cut[element] = not cut
        return self._total(changed)

    def apply(self, element: int, cut: bool) -> list[int]:
        """Make or undo a cut; the tops of the pieces on its way up, for which bounds are no longer right."""
        self.value |= (changed := self._set(element, cut))
        self.total = self._total(changed)
        if not cut:
            del self.value[element]
        way = [element] if cut else []
        top = self.top_of(int(self.tree.parent[element]))
        way.append(top)
        while top:
            top = self.top_of(int(self.tree.parent[top]))
            way.append(top)
        return way

    def bounds(self, top: int) -> tuple[I4, F8]:
        """Elements of a piece and a bound of what a cut above each adds to the sum over all scenes.

        What a piece gains is at least what the whole gains: a sum that hangs somewhere passes on at most itself.
        """
        from flexcore.kernels.grid.pieces import cut_bounds

        piece = self.piece(top)
        n_scenes = self.tree.power.shape[0]
        gain = np.empty((n_scenes, piece.element.size))
        arrays = (
            piece.element, piece.up, piece.hang_at, self._hung(piece, self.value), self.tree.room, self.tree.power,
            self.value[top][None, :], gain,
        )  # fmt: skip
        run_chunks(
            lambda lo, hi: cut_bounds(*arrays, lo, hi), n_scenes, n_threads=self.n_threads, chunk=_SCENES_PER_CHUNK
        )
        return piece.element, gain.sum(axis=0)
