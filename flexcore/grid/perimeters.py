"""Splits a grid into perimeters, so that one bottleneck does not speak for everybody (D4.1 Figure 12)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.grid.headroom import forecast_and_rows
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, pair_perimeters, share

__all__ = ["PerimeterSplit", "split_perimeters"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
_HOURS = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class PerimeterSplit:
    """Perimeters for a whole day.

    Attributes
    ----------
    label : ndarray of int32, shape (n_nodes,)
        Perimeter of each node, 0 .. n_perimeters - 1 in depth-first order of their tops; -1 above all cuts where
        nothing could move.
    n_perimeters : int
    cut : ndarray of int32
        Positions of the branches that were cut: each feeds a perimeter.
    lossless : bool
        True if every binding branch was cut: by thermal limits alone no perimeter then costs anything, the best safe
        caps reach what the best informed dispatch could.
    optimistic_up_kwh, optimistic_down_kwh : float
        What the best informed dispatch could move under the thermal limits, over all steps. [kWh]
    filled_up_kwh, filled_down_kwh : float
        What progressive filling publishes with these perimeters under the thermal limits. [kWh]
    gap_kwh : float
        Difference of the two, both directions: an upper bound of what these perimeters cost. [kWh]
    """

    label: I4
    n_perimeters: int
    cut: I4
    lossless: bool
    optimistic_up_kwh: float
    optimistic_down_kwh: float
    filled_up_kwh: float
    filled_down_kwh: float

    @property
    def gap_kwh(self) -> float:
        """Optimistic minus filled energy, both directions."""
        return self.optimistic_up_kwh + self.optimistic_down_kwh - self.filled_up_kwh - self.filled_down_kwh


def split_perimeters(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    max_perimeters: int | None = None,
    min_members: int = 1,
    members: npt.ArrayLike | None = None,
    tan_phi: float = 0.0,
    n_threads: int = 1,
) -> PerimeterSplit:
    """Cut the grid above its binding branches: one partition for all steps.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal. [kW, kvar]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Adjustable power per node that could move. [kW]
    max_perimeters : int, optional
        Keep the cuts that save most, at most this number minus one. None keeps all.
    min_members : int
        Pieces with fewer members are merged into the piece above (privacy).
    members : array_like of int, shape (n_nodes,), optional
        Members (PODs) per node; by default 1 where anything could move.
    tan_phi : float
        kvar per kW of every activation.
    n_threads : int

    Returns
    -------
    PerimeterSplit

    Raises
    ------
    ValidationError
        FX-A001, FX-A003, FX-A004 for the arrays, FX-A006 for counts below 1.

    Notes
    -----
    A branch binds in a step and direction if it takes something from the maximum flow of the movable power. Left inside
    a perimeter it would hold the whole perimeter down to its own headroom: the saving of its cut is the maximum flow of
    the whole grid minus that headroom, summed over steps and directions. With all binding branches cut the caps x*(A_k)
    of a maximum flow x* are jointly safe and reach it (rule DTL-04).
    """
    _, rows = forecast_and_rows(
        grid,
        p_kw,
        q_kvar,
        loss_sweeps=3,
        tan_phi=tan_phi,
        delivered_up_kw=None,
        delivered_down_kw=None,
        n_threads=n_threads,
    )
    shape = (grid.n_nodes, rows.n_steps)
    up = as_float(up_kw, "up_kw", shape=shape, non_negative=True)
    down = as_float(down_kw, "down_kw", shape=shape, non_negative=True)
    moves = np.logical_or(up.any(axis=1), down.any(axis=1))
    count = moves.astype(np.int64) if members is None else as_int(members, "members", shape=(grid.n_nodes,), lo=0)
    _check_counts(max_perimeters, min_members)
    forest = grid.forest
    saving = np.zeros(grid.n_nodes)
    optimistic = []
    binds = np.zeros(grid.n_nodes, np.bool_)
    rooms = (rows.upper_kw[forest.order], -rows.lower_kw[forest.order])
    offers = (up[forest.order], down[forest.order])
    for room, power in zip(rooms, offers, strict=True):
        total, saved, binding = _savings(forest.parent, room, power, n_threads)
        optimistic.append(total * _HOURS)
        saving += saved
        binds |= binding
    cuts = _Cuts(forest.parent, np.flatnonzero(binds), saving, moves[forest.order], count[forest.order])
    lossless = cuts.drop_small(min_members)
    lossless &= cuts.keep_best(max_perimeters)
    piece = cuts.pieces()
    tops = np.unique(piece[piece >= 0])
    label = np.where(piece < 0, -1, np.searchsorted(tops, piece)).astype(np.int32)
    pairs = pair_perimeters(forest.parent, forest.last, label, moves[forest.order], tops.size)
    filled = [_filled(pairs, room, power, n_threads) * _HOURS for room, power in zip(rooms, offers, strict=True)]
    return PerimeterSplit(
        label=np.ascontiguousarray(label[forest.rank]),
        n_perimeters=int(tops.size),
        cut=forest.branch[tops[tops > 0]],
        lossless=lossless,
        optimistic_up_kwh=optimistic[0],
        optimistic_down_kwh=optimistic[1],
        filled_up_kwh=filled[0],
        filled_down_kwh=filled[1],
    )


def _check_counts(max_perimeters: int | None, min_members: int) -> None:
    found = Findings("split_perimeters")
    for name, value in (("max_perimeters", max_perimeters), ("min_members", min_members)):
        if value is not None and value < 1:
            found.add("FX-A006", f"{name} is {value}, expected at least 1", field=name)
    found.raise_errors()


def _savings(parent: I4, room: F8, power: F8, n_threads: int) -> tuple[float, F8, npt.NDArray[np.bool_]]:
    """Maximum flow over all steps, what cutting each element saves, which elements bind; kW x steps, preorder."""
    from flexcore.kernels.grid.headroom import most_below

    room, power = np.ascontiguousarray(room), np.ascontiguousarray(power)
    most, cut_off = np.empty_like(room), np.empty_like(room)
    run_chunks(
        lambda lo, hi: most_below(parent, room, power, most, cut_off, lo, hi),
        room.shape[1],
        n_threads=n_threads,
        chunk=16,
    )
    best = most[parent < 0].sum(axis=0)
    binding = cut_off > 0
    saved: F8 = np.where(binding, best - np.maximum(room, 0.0), 0.0).sum(axis=1)
    binds: npt.NDArray[np.bool_] = np.logical_or.reduce(binding, axis=1)
    return float(best.sum()), saved, binds


def _filled(pairs: PerimeterPairs, room: F8, power: F8, n_threads: int) -> float:
    """Total that progressive filling publishes under thermal limits over all steps, in kW x steps."""
    offered = np.ascontiguousarray(power[pairs.element].T)
    head = np.ascontiguousarray(room[pairs.element].T)
    m = np.zeros(pairs.element.size)
    free = np.full(head.shape, np.inf)
    return float(share(pairs, m, offered, head, free, weights=None, alone=False, n_threads=n_threads).cap.sum())


class _Cuts:
    """Cuts above elements in preorder; the piece of a node is named by the nearest cut at or above it, 0 if none."""

    def __init__(
        self,
        parent: I4,
        cuts: npt.NDArray[np.intp],
        saving: F8,
        moves: npt.NDArray[np.bool_],
        members: npt.NDArray[np.int64],
    ) -> None:
        self.parent = parent
        self.saving = saving
        self.cuts = {int(i) for i in cuts}
        # a node with movable power is never left without a perimeter, even if the caller counts no member there
        self.used = moves | (members > 0)
        self.members = members

    def pieces(self) -> npt.NDArray[np.int64]:
        """Piece of each node; -1 for nodes of the topmost piece if nobody is in it."""
        piece = np.zeros(self.parent.size, np.int64)
        for i, up in enumerate(self.parent.tolist()):
            piece[i] = i if i in self.cuts else (piece[up] if up >= 0 else 0)
        if not self.used[piece == 0].any() and self.cuts:
            piece[piece == 0] = -1
        return piece

    def _counted(self) -> tuple[dict[int, int], dict[int, bool], dict[int, int]]:
        """Members of each piece, whether anybody is in it, and the piece above it."""
        count = dict.fromkeys([0, *self.cuts], 0)
        used = dict.fromkeys([0, *self.cuts], False)
        above: dict[int, int] = {}
        piece = [0] * self.parent.size
        for i, up in enumerate(self.parent.tolist()):
            outer = piece[up] if up >= 0 else 0
            piece[i] = i if i in self.cuts else outer
            if i in self.cuts:
                above[i] = outer
            count[piece[i]] += int(self.members[i])
            used[piece[i]] |= bool(self.used[i])
        return count, used, above

    def drop_small(self, least: int) -> bool:
        """Merge pieces with fewer members into the piece above; False if a piece with members was merged."""
        count, used, above = self._counted()
        lossless = True
        for i in sorted(above, reverse=True):
            if count[i] < least or not used[i]:
                lossless &= not used[i]
                self.cuts.discard(i)
                count[above[i]] += count[i]
                used[above[i]] |= used[i]
        # the topmost piece has none above: it takes in the neighbours below whose cuts save least
        while self.cuts:
            count, used, above = self._counted()
            if not used[0] or count[0] >= least:
                break
            self.cuts.discard(min((i for i in above if above[i] == 0), key=lambda i: (self.saving[i], i)))
            lossless = False
        return lossless

    def keep_best(self, most: int | None) -> bool:
        """Drop the cuts that save least until at most so many pieces are left; True if none had to go."""
        if most is None:
            return True
        dropped = False
        while len(self.cuts) + bool(self._top_used()) > most and self.cuts:
            excess = len(self.cuts) + bool(self._top_used()) - most
            for i in sorted(self.cuts, key=lambda i: (self.saving[i], i))[:excess]:
                self.cuts.discard(i)
            dropped = True
        return not dropped

    def _top_used(self) -> bool:
        return self._counted()[1][0]
