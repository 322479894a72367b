"""Splits a grid into perimeters, so that one bottleneck does not speak for everybody (D4.1 Figure 12)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.grid.headroom import forecast_and_rows
from flexcore.grid.network import Grid
from flexcore.grid.pieces import Pieces, condense
from flexcore.grid.sharing import PerimeterPairs, pair_perimeters, share
from flexcore.grid.splitting import drop_small, search

__all__ = ["PerimeterSplit", "split_perimeters"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
_HOURS = 0.25
_SAME = 1e-9  # energies that differ by less than this share are the same


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
        True if by thermal limits alone these perimeters cost nothing: the best safe caps reach what the best informed
        dispatch could.
    optimistic_up_kwh, optimistic_down_kwh : float
        What the best informed dispatch could move under the thermal limits, over all steps. [kWh]
    largest_up_kwh, largest_down_kwh : float
        Largest sum of jointly safe capabilities of these perimeters under the thermal limits, what
        `sharing="max_total"` publishes. [kWh]
    filled_up_kwh, filled_down_kwh : float
        What progressive filling publishes with these perimeters under the thermal limits. [kWh]
    gap_kwh : float
        Optimistic minus largest, both directions: no partition into as many perimeters publishes more than this on top.
        [kWh]
    """

    label: I4
    n_perimeters: int
    cut: I4
    lossless: bool
    optimistic_up_kwh: float
    optimistic_down_kwh: float
    largest_up_kwh: float
    largest_down_kwh: float
    filled_up_kwh: float
    filled_down_kwh: float

    @property
    def gap_kwh(self) -> float:
        """Optimistic minus largest energy, both directions."""
        return self.optimistic_up_kwh + self.optimistic_down_kwh - self.largest_up_kwh - self.largest_down_kwh


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
    """Cut the grid so that its bottlenecks hold down as few as possible: one partition for all steps.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal. [kW, kvar]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Adjustable power per node that could move. [kW]
    max_perimeters : int, optional
        At most so many perimeters: the better of merging back from the full cut and of adding cuts one by one. None
        cuts all binding branches.
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
    A branch binds in a step and direction if it takes something from the maximum flow of the movable power. With all
    binding branches cut the caps x*(A_k) of a maximum flow x* are jointly safe and reach it (rule DTL-04). With fewer
    perimeters two greedy searches run, both by the largest jointly safe sum over all steps and both directions: one
    merges the pair of neighbours that loses least, the other adds the cut that gains most, at any branch. The better
    result counts; it need not be the best, `gap_kwh` bounds what is missing. See docs/explanation/capability.md.
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
    rooms = (rows.upper_kw[forest.order], -rows.lower_kw[forest.order])
    offers = (up[forest.order], down[forest.order])
    bounds = [_binding(forest.parent, *pair, n_threads) for pair in zip(rooms, offers, strict=True)]
    optimistic = [total for total, _ in bounds]
    binds: npt.NDArray[np.bool_] = bounds[0][1] | bounds[1][1]
    # a node with movable power is never left without a perimeter, even if the caller counts no member there
    used = (moves | (count > 0))[forest.order]
    tree = condense(
        forest.parent, forest.last, np.concatenate(rooms, axis=1),
        np.concatenate(offers, axis=1), count[forest.order], used, binds,
    )  # fmt: skip
    cuts = drop_small(tree, np.flatnonzero(binds[tree.node] & (tree.node >= 0)), min_members, n_threads=n_threads)
    if max_perimeters is None:
        pieces = Pieces(tree, cuts, n_threads=n_threads)
    else:
        pieces = search(tree, cuts, max_perimeters, sum(optimistic), min_members, n_threads=n_threads)
    tops = tree.node[pieces.cuts]
    label = _label(forest.parent, tops, bool(tree.used[pieces.piece(0).element].any()))
    n_perimeters = int(label.max(initial=-1)) + 1
    pairs = pair_perimeters(forest.parent, forest.last, label, moves[forest.order], n_perimeters)
    filled = [_filled(pairs, *pair, n_threads) * _HOURS for pair in zip(rooms, offers, strict=True)]
    largest = pieces.value[0].reshape(2, -1).sum(axis=1)
    return PerimeterSplit(
        label=np.ascontiguousarray(label[forest.rank]),
        n_perimeters=n_perimeters,
        cut=forest.branch[tops[forest.parent[tops] >= 0]],
        lossless=bool(largest.sum() >= sum(optimistic) * (1.0 - _SAME)),
        optimistic_up_kwh=optimistic[0] * _HOURS,
        optimistic_down_kwh=optimistic[1] * _HOURS,
        largest_up_kwh=float(largest[0]) * _HOURS,
        largest_down_kwh=float(largest[1]) * _HOURS,
        filled_up_kwh=filled[0],
        filled_down_kwh=filled[1],
    )


def _check_counts(max_perimeters: int | None, min_members: int) -> None:
    found = Findings("split_perimeters")
    for name, value in (("max_perimeters", max_perimeters), ("min_members", min_members)):
        if value is not None and value < 1:
            found.add("FX-A006", f"{name} is {value}, expected at least 1", field=name)
    found.raise_errors()


def _binding(parent: I4, room: F8, power: F8, n_threads: int) -> tuple[float, npt.NDArray[np.bool_]]:
    """Maximum flow over all steps in kW x steps and which elements bind, from (node, step) arrays in preorder."""
    from flexcore.kernels.grid.headroom import most_below

    room, power = np.ascontiguousarray(room), np.ascontiguousarray(power)
    most, cut_off = np.empty_like(room), np.empty_like(room)
    run_chunks(
        lambda lo, hi: most_below(parent, room, power, most, cut_off, lo, hi),
        room.shape[1],
        n_threads=n_threads,
        chunk=16,
    )
    return float(most[parent < 0].sum()), np.asarray((cut_off > 0).any(axis=1))


def _filled(pairs: PerimeterPairs, room: F8, power: F8, n_threads: int) -> float:
    """Total that progressive filling publishes under thermal limits over all steps, in kW x steps."""
    offered = np.ascontiguousarray(power[pairs.element].T)
    head = np.ascontiguousarray(room[pairs.element].T)
    m = np.zeros(pairs.element.size)
    free = np.full(head.shape, np.inf)
    return float(share(pairs, m, offered, head, free, weights=None, alone=False, n_threads=n_threads).cap.sum())


def _label(parent: I4, cuts: npt.NDArray[np.int32], top_used: bool) -> I4:
    """Number the pieces in preorder of their tops; -1 for the topmost one if nobody is in it."""
    is_cut = np.zeros(parent.size, np.bool_)
    is_cut[cuts] = True
    number = np.cumsum(is_cut, dtype=np.int32) - (not top_used)
    label = np.empty(parent.size, np.int32)
    for i, up in enumerate(parent.tolist()):
        label[i] = number[i] if is_cut[i] else (label[up] if up >= 0 else int(top_used) - 1)
    return label
