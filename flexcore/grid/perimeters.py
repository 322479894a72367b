"""Splits a grid into perimeters, so that one bottleneck does not speak for everybody (D4.1 Figure 12)."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.grid.headroom import forecast_and_rows
from flexcore.grid.max_total import share_max_total
from flexcore.grid.network import Grid
from flexcore.grid.perimeter_versions import PerimeterSplit, label_by_names, name_perimeters
from flexcore.grid.pieces import Pieces, condense
from flexcore.grid.sharing import pair_perimeters, share
from flexcore.grid.splitting import drop_small, search

__all__ = ["PerimeterSplit", "split_perimeters"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
_HOURS = 0.25
_SAME = 1e-9  # energies that differ by less than this share are the same


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
    keep: PerimeterSplit | Mapping[Any, str] | None = None,
    keep_share: float = 0.02,
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
    keep : PerimeterSplit or mapping from node id to perimeter name, optional
        An earlier split. It is given back unless a new one gains more than `keep_share`, or it no longer fits: movable
        power without a perimeter, too many perimeters, one with too few members. Where it is not, perimeters with the
        same nodes keep their names. Its nodes that the grid does not have are ignored.
    keep_share : float
        Share of the optimistic sum, 0 to 1, that a new split must gain in its largest sum to replace the one to keep.
    tan_phi : float
        kvar per kW of every activation.
    n_threads : int

    Returns
    -------
    PerimeterSplit

    Raises
    ------
    ValidationError
        FX-A001, FX-A003, FX-A004 for the arrays, FX-A006 for counts below 1 and a share outside 0 to 1.
    UnknownIdError
        FX-G011 if the grid has none of the nodes in `keep`.

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
    _check_numbers(max_perimeters, min_members, keep_share)
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
    label = _label(forest.parent, tree.node[pieces.cuts], bool(tree.used[pieces.piece(0).element].any()))
    largest = pieces.value[0].reshape(2, -1).sum(axis=1)
    day = _Day(forest.parent, forest.last, moves[forest.order], rooms, offers, n_threads)
    names = keep.perimeter_of_node() if isinstance(keep, PerimeterSplit) else keep
    kept = False
    if names is not None:
        earlier = label_by_names(grid.node_ids[forest.order], names)
        if _fits(earlier, count[forest.order], used, max_perimeters, min_members):
            before = day.largest(earlier)
            kept = bool(largest.sum() - before.sum() <= keep_share * sum(optimistic))
            if kept:
                label, largest = earlier, before
    n_perimeters = int(label.max(initial=-1)) + 1
    of_node = np.ascontiguousarray(label[forest.rank])
    version, perimeter_ids = name_perimeters(grid.node_ids, of_node, n_perimeters, names)
    filled = day.filled(label)
    enters = np.flatnonzero((forest.parent >= 0) & (label >= 0) & (label != label[np.maximum(forest.parent, 0)]))
    return PerimeterSplit(
        version=version,
        perimeter_ids=perimeter_ids,
        kept=kept,
        node_ids=grid.node_ids,
        label=of_node,
        n_perimeters=n_perimeters,
        cut=forest.branch[enters],
        lossless=bool(largest.sum() >= sum(optimistic) * (1.0 - _SAME)),
        optimistic_up_kwh=optimistic[0] * _HOURS,
        optimistic_down_kwh=optimistic[1] * _HOURS,
        largest_up_kwh=float(largest[0]) * _HOURS,
        largest_down_kwh=float(largest[1]) * _HOURS,
        filled_up_kwh=filled[0] * _HOURS,
        filled_down_kwh=filled[1] * _HOURS,
    )


def _fits(label: I4, members: npt.NDArray[np.int64], used: npt.NDArray[np.bool_], most: int | None, least: int) -> bool:
    """Whether an earlier partition can be used again: nobody outside, not too many perimeters, none too small."""
    if (label[used] < 0).any() or (most is not None and label.max(initial=-1) >= most):
        return False
    held = np.unique(label[used])
    inside = label >= 0
    count = np.bincount(label[inside], weights=members[inside], minlength=int(label.max(initial=-1)) + 1)
    return bool((count[held] >= least).all()) or held.size == 1


def _check_numbers(max_perimeters: int | None, min_members: int, keep_share: float) -> None:
    found = Findings("split_perimeters")
    for name, value in (("max_perimeters", max_perimeters), ("min_members", min_members)):
        if name == "min_members" or value is not None:
            found.check_count(name, value, 1)
    if not (isinstance(keep_share, Real) and 0 <= keep_share <= 1):
        found.add("FX-A006", f"keep_share is {keep_share!r}, expected 0 to 1", field="keep_share")
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


class _Day(NamedTuple):
    """What a partition publishes under thermal limits over all steps, up and down, in kW x steps."""

    parent: I4
    last: I4
    moves: npt.NDArray[np.bool_]
    rooms: tuple[F8, F8]
    offers: tuple[F8, F8]
    n_threads: int

    def _shares(self, label: I4, sharing: Any) -> F8:
        pairs = pair_perimeters(self.parent, self.last, label, self.moves, int(label.max(initial=-1)) + 1)
        sums = []
        for room, power in zip(self.rooms, self.offers, strict=True):
            offered, head = (np.ascontiguousarray(values[pairs.element].T) for values in (power, room))
            sums.append(float(sharing(pairs, np.zeros(pairs.element.size), offered, head, np.full(head.shape, np.inf))))
        return np.array(sums)

    def filled(self, label: I4) -> F8:
        """Sum of the capabilities by progressive filling."""
        return self._shares(
            label, lambda *rows: share(*rows, weights=None, alone=False, n_threads=self.n_threads).cap.sum()
        )

    def largest(self, label: I4) -> F8:
        """Largest sum of the capabilities; with perimeters that are not connected a sum that is reached."""
        return self._shares(label, lambda *rows: share_max_total(*rows, n_threads=self.n_threads)[0].cap.sum())


def _label(parent: I4, cuts: npt.NDArray[np.int32], top_used: bool) -> I4:
    """Number the pieces in preorder of their tops; -1 for the topmost one if nobody is in it."""
    is_cut = np.zeros(parent.size, np.bool_)
    is_cut[cuts] = True
    number = np.cumsum(is_cut, dtype=np.int32) - (not top_used)
    label = np.empty(parent.size, np.int32)
    for i, up in enumerate(parent.tolist()):
        label[i] = number[i] if is_cut[i] else (label[up] if up >= 0 else int(top_used) - 1)
    return label
