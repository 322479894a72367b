"""Solves a call of `capability` only where something limits: trees and steps in which everything may move are done."""

import threading
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.capability_call import Call, Direction, Outcome, fixed_spread, pairs_of, solve
from flexcore.grid.certified import Spread, certified_rows
from flexcore.grid.headroom import ActivationRows, forecast_and_rows, with_margin, with_stressed_losses
from flexcore.grid.sharing import PerimeterPairs, allowed_paths
from flexcore.grid.subgrid import trees_alone
from flexcore.grid.sweeps import Scratch

__all__ = ["solve_where_needed"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]
_CACHE_BYTES = 1 << 21
_JOBS_PER_CHUNK = 4
_BATCH_NODES = 1_000


class _Layout(NamedTuple):
    """Trees as ranges in preorder, and the perimeters that lie wholly inside each."""

    trees: I4
    tree_ptr: I4
    tree_perimeter: I4
    tree_of_perimeter: I4
    pair_ptr: I4
    top: I4
    pair_element: I4
    pair_up: I4
    member_ptr: I4
    member: I4
    member_pair: I4

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return int(self.trees.size) - 1


def _lay_out(call: Call, pairs: PerimeterPairs) -> _Layout:
    forest, n_k = call.grid.forest, call.n_perimeters
    roots = np.flatnonzero(forest.parent < 0)
    top = np.full(pairs.top.size, -1, np.int32)
    top[pairs.top >= 0] = pairs.element[pairs.top[pairs.top >= 0]]
    # from labels, not from what moves: it must not depend on which other steps there are
    least, most = np.full(n_k, roots.size), np.full(n_k, -1)
    tree_of_place = np.searchsorted(roots, np.arange(forest.parent.size), side="right") - 1
    labelled = np.flatnonzero(call.label >= 0)
    np.minimum.at(least, call.label[labelled], tree_of_place[labelled])
    np.maximum.at(most, call.label[labelled], tree_of_place[labelled])
    tree = np.where(least == most, most, -1)
    members = np.flatnonzero(pairs.label >= 0)
    members = members[np.argsort(pairs.label[members], kind="stable")]
    inside = np.flatnonzero((tree >= 0) & (top >= 0))
    inside = inside[np.argsort(tree[inside], kind="stable")]
    return _Layout(
        trees=np.append(roots, forest.parent.size).astype(np.int32),
        tree_ptr=np.searchsorted(tree[inside], np.arange(roots.size + 1)).astype(np.int32),
        tree_perimeter=inside.astype(np.int32),
        tree_of_perimeter=tree.astype(np.int32),
        pair_ptr=pairs.pair_ptr,
        top=top,
        pair_element=np.ascontiguousarray(pairs.element[pairs.pair_element]),
        pair_up=pairs.pair_up,
        member_ptr=np.searchsorted(pairs.label[members], np.arange(n_k + 1)).astype(np.int32),
        member=np.ascontiguousarray(forest.order[pairs.element[members]]),
        member_pair=np.ascontiguousarray(pairs.own[members]),
    )


def _jobs(layout: _Layout, n_steps: int, rows: int, quantities: int) -> tuple[int, int]:
    """Steps in a block, so that the work rows of a tree stay in cache, and the number of jobs."""
    from flexcore.kernels.grid.lanes import LANES

    fit = _CACHE_BYTES // (8 * quantities * max(rows, 1))
    width = int(max(8, min(fit - fit % 8, LANES)))
    return width, layout.n_trees * -(-n_steps // width)


def _carried(call: Call, layout: _Layout, power: F8) -> F8:
    """Power of perimeters below each branch, in preorder."""
    from flexcore.kernels.grid.full_use import carried

    forest = call.grid.forest
    total = np.empty(power.shape)
    width, n_jobs = _jobs(layout, power.shape[1], int(np.diff(layout.trees).max(initial=1)), 1)
    counts = np.greater_equal(call.label, 0).view(np.uint8)
    power = np.ascontiguousarray(power)
    run_chunks(
        lambda lo, hi: carried(forest.order, forest.parent, counts, layout.trees, power, total, width, lo, hi),
        n_jobs,
        n_threads=call.n_threads,
        chunk=_JOBS_PER_CHUNK,
    )
    return total


def _check(call: Call, layout: _Layout, rows: ActivationRows, carried: F8, *, upward: bool) -> tuple[F8, F8, U1]:
    """What each perimeter holds and could add, and the trees and steps without an exceeded row."""
    from flexcore.kernels.grid.full_use import full_use
    from flexcore.kernels.grid.headroom import path_sum
    from flexcore.kernels.grid.lanes import LANES

    forest, n_steps = call.grid.forest, rows.n_steps
    shape = (call.n_perimeters, n_steps)
    total, margin = np.zeros(shape), np.full(shape, np.inf)
    free = np.zeros((layout.n_trees, n_steps), np.uint8)
    path_m = np.empty((call.m.size, 1))
    path_sum(forest.parent, call.m, np.ones(path_m.shape), path_m, 0, 1)
    with np.errstate(divide="ignore"):
        per_path_m = np.where(path_m[:, 0] > 0, 1.0 / path_m[:, 0], 0.0)
    largest = int(np.diff(layout.trees).max(initial=0)) + int(np.diff(layout.pair_ptr).max(initial=0)) + 1
    width, n_jobs = _jobs(layout, n_steps, largest, 3)
    bound, path = (rows.upper_kw, rows.w_upper) if upward else (rows.lower_kw, rows.w_lower)
    power = np.ascontiguousarray(call.up if upward else call.down)
    arrays = (
        forest.order, forest.parent, layout.trees, call.m, per_path_m, allowed_paths(call.grid, upward, call.slack_pu),
        1.0 if upward else -1.0, power, bound, path, carried, layout.tree_ptr, layout.tree_perimeter, layout.top,
        layout.pair_ptr, layout.pair_element, layout.pair_up, layout.member_ptr, layout.member, layout.member_pair,
        width,
    )  # fmt: skip

    scratch = Scratch(largest, 3 * LANES)
    run_chunks(
        lambda lo, hi: full_use(*arrays, scratch(), total, margin, free, lo, hi),
        n_jobs,
        n_threads=call.n_threads,
        chunk=_JOBS_PER_CHUNK,
    )
    return total, margin, free


def _rows(call: Call, layout: _Layout, carried: tuple[F8, F8]) -> tuple[ActivationRows, U1, npt.NDArray[np.bool_]]:
    """Rows with everything moving, trees and steps where they can be used, steps in which all of them are proved."""
    grid, forest = call.grid, call.grid.forest
    usable = np.ones((layout.n_trees, call.p.shape[1]), np.uint8)
    if call.method == "certified":
        spread = Spread(*fixed_spread(call), carried[1], carried[0])
        found = certified_rows(grid, call.p, call.q, call.m, spread, slopes=call.slopes, n_threads=call.n_threads)
        tree = np.searchsorted(layout.trees, forest.heads, side="right") - 1
        np.minimum.at(usable, tree[found.status.any(axis=1)], 1 - found.status[found.status.any(axis=1)])
        return found.rows, usable, np.ones(call.p.shape[1], np.bool_)
    forecast, plain = forecast_and_rows(
        grid,
        call.p,
        call.q,
        loss_sweeps=3,
        tan_phi=call.slopes[1],
        delivered_up_kw=call.delivered_up,
        delivered_down_kw=call.delivered_down,
        n_threads=call.n_threads,
    )
    extra = np.where((call.label >= 0)[forest.rank][:, None], call.down, 0.0)
    rows = with_stressed_losses(grid, plain, forecast, extra, loss_sweeps=3, n_threads=call.n_threads)
    return with_margin(grid, rows, call.margin, call.n_threads), usable, np.zeros(call.p.shape[1], np.bool_)


def solve_where_needed(call: Call) -> Outcome:
    """Share headroom by progressive filling; the same as `solve`, but for last bits of margins.

    First everything moves. In trees and steps that then keep every row, with something to spare for rounding, nobody
    is limited and nothing is left to share. The others are solved on their own, on a part of the grid: in it, power of
    trees and steps that are done is 0, so that what a step gets does not depend on which other steps were open.
    """
    if not call.together or not call.p.size:
        return solve(call)
    pairs = pairs_of(call)
    layout = _lay_out(call, pairs)
    carried = _carried(call, layout, call.up), _carried(call, layout, call.down)
    rows, usable, certified = _rows(call, layout, carried)
    shape, n_steps = (call.n_perimeters, call.p.shape[1]), call.p.shape[1]
    ways = []
    for upward in (True, False):
        total, margin, free = _check(call, layout, rows, carried[0 if upward else 1], upward=upward)
        usable &= free
        way = Direction(
            cap=total,
            movable=total,
            kind=np.zeros(shape, np.uint8),
            binding=np.full(shape, -1, np.int32),
            at_node=np.zeros(shape, np.bool_),
            margin=margin,
            status=np.zeros(n_steps, np.uint8),
            largest=np.zeros(n_steps, np.bool_),
        )
        ways.append(way)
    open_: npt.NDArray[np.bool_] = np.equal(usable, 0)
    open_[_spanned(call, layout)] = True
    done = Outcome(ways[0], ways[1], rows, certified)
    return _join(call, layout, done, open_) if open_.any() else done


def _spanned(call: Call, layout: _Layout) -> npt.NDArray[np.intp]:
    """Trees that share a perimeter with another one."""
    labelled = np.flatnonzero(call.label >= 0)
    spread = labelled[layout.tree_of_perimeter[call.label[labelled]] < 0]
    return np.unique(np.searchsorted(layout.trees, spread, side="right") - 1)


def _batches(layout: _Layout, open_: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """Open trees in batches of about `_BATCH_NODES` nodes: trees are open in different steps."""
    trees = np.flatnonzero(open_.any(axis=1))
    sizes = np.diff(layout.trees)[trees].astype(np.int64)
    batch = (np.cumsum(sizes) - sizes) // _BATCH_NODES
    return np.split(trees, np.flatnonzero(np.diff(batch)) + 1)


def _join(call: Call, layout: _Layout, done: Outcome, open_: npt.NDArray[np.bool_]) -> Outcome:
    """Solve the open trees and steps, and write them into what is done."""
    forest = call.grid.forest
    tree = np.searchsorted(layout.trees, np.arange(forest.parent.size), side="right") - 1
    batches = [np.flatnonzero(open_.any(axis=1))] if _spanned(call, layout).size else _batches(layout, open_)
    inside = replace(call, n_threads=1) if len(batches) > 1 else call
    up, down = (way._replace(cap=way.cap.copy()) for way in (done.up, done.down))
    certified = done.certified.copy()
    lock = threading.Lock()

    def solve_batches(lo: int, hi: int) -> None:
        for batch in batches[lo:hi]:
            solve_one(batch)

    def solve_one(batch: npt.NDArray[np.intp]) -> None:
        chosen = np.zeros(layout.n_trees, np.bool_)
        chosen[batch] = True
        sub = trees_alone(call.grid, chosen[tree])
        steps = np.flatnonzero(open_[batch].any(axis=0))
        part, perimeters = inside.part(sub, steps)
        moves = open_[np.ix_(tree[forest.rank[sub.nodes]], steps)]
        part = replace(part, up=np.where(moves, part.up, 0.0), down=np.where(moves, part.down, 0.0))
        found = solve(part)
        # a perimeter that spans several trees has all of them open
        home = layout.tree_of_perimeter[perimeters]
        takes = open_[np.maximum(home, 0)][:, steps] | np.less(home, 0)[:, None]
        with lock:
            at = np.ix_(sub.nodes, steps)
            for name in ("lower_kw", "upper_kw", "w_lower", "w_upper"):
                whole = getattr(done.rows, name)
                whole[at] = np.where(moves, getattr(found.rows, name), whole[at])
            at = np.ix_(perimeters.astype(np.int64), steps)
            for way, new in ((up, found.up), (down, found.down)):
                binding = np.where(new.at_node, _moved(sub.nodes, new.binding), _moved(sub.branches, new.binding))
                for name, values in {**new._asdict(), "binding": binding}.items():
                    whole = getattr(way, name)
                    if values.ndim == 1:  # of steps, over all batches
                        whole[steps] = np.maximum(whole[steps], values)
                    else:
                        whole[at] = np.where(takes, values, whole[at])
            certified[steps] &= found.certified

    run_chunks(solve_batches, len(batches), n_threads=call.n_threads, chunk=1)
    return Outcome(up, down, done.rows, certified)


def _moved(places: npt.NDArray[np.int64], positions: I4) -> I4:
    """Positions in the whole grid; -1 stays."""
    if not places.size:
        return positions
    return np.where(positions < 0, -1, places[np.clip(positions, 0, places.size - 1)]).astype(np.int32)
