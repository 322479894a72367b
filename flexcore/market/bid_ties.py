"""Who gets what among offers of one price: by time, size or effect, or in proportion at the margin."""

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from flexcore.market.bid_conditions import is_limited
from flexcore.market.bid_problem import BidProblem
from flexcore.units import DOWN, UP

Ties = Literal["time", "pro_rata", "effect", "size"]
TIES = ("time", "pro_rata", "effect", "size")
I8A = npt.NDArray[np.int64]


def rank_ties(problem: BidProblem, ties: Ties) -> BidProblem:
    """Put size or effect before the time of submission; one place for all steps of a line."""
    bids = problem.bids
    if ties in ("time", "pro_rata") or not bids.node.size:
        return problem
    if ties == "size":
        size = np.zeros(int(bids.line.max()) + 1, np.int64)
        np.add.at(size, bids.line, bids.quantity_w)
        value = size[bids.line]
    else:
        needs = np.zeros((2, problem.tree.parent.size), np.int64)
        for way, need in zip((UP, DOWN), problem.rows.need_w, strict=True):
            needs[way] = (need > 0).sum(axis=0)
        for i in range(1, problem.tree.parent.size):  # parents come first
            needs[:, i] += needs[:, problem.tree.parent[i]]
        value = needs[bids.down.astype(np.int64), bids.node]
    # one value for all steps of an offer at one element: the merit order ranks lines, not quarter-hours
    keys = np.stack([bids.bid, bids.node.astype(np.int64), bids.down.astype(np.int64)])
    _, group = np.unique(keys, axis=1, return_inverse=True)
    best = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(best, group.ravel(), value)
    tie = np.empty_like(bids.tie)
    tie[np.lexsort((bids.tie, -best[group.ravel()]))] = np.arange(tie.size)
    return replace(problem, bids=replace(bids, tie=tie))


def share_margin(problem: BidProblem, accepted_w: I8A) -> tuple[I8A, npt.NDArray[np.bool_]]:
    """Share the power of marginal offers of one price in proportion to their quantities.

    Only offers of one row without minimum, block, exclusive group, unit limits or places take part. Those of one
    feeder, step, direction and price share if every row of the tree still holds and no need is served less; else those
    at one element share, which changes no row. Shares are multiples of the granularity by largest remainder; where no
    multiples add up to the power of the group, the group keeps what the time of submission gave.

    Returns
    -------
    accepted_w : ndarray of int64, shape (n_rows,)
    shared : ndarray of bool, shape (n_rows,)
        Rows of groups that were shared.
    """
    bids, tree = problem.bids, problem.tree
    result, shared = accepted_w.copy(), np.zeros(accepted_w.size, np.bool_)
    single = np.bincount(bids.line, minlength=1)[bids.line] == 1 if bids.line.size else np.zeros(0, np.bool_)
    free = (bids.quantity_w > 0) & (bids.least_w == 0) & (bids.block < 0) & (bids.exclusive < 0) & (bids.place < 0)
    free &= ~is_limited(bids) & single
    rows = np.flatnonzero(free)
    for found in _marginal(rows, (tree.feeder[bids.node], bids.step, bids.down, bids.price), bids.quantity_w, result):
        share = _shares(bids.quantity_w[found], bids.granularity_w[found], result[found].sum(), bids.tie[found])
        if share is not None and _stands(problem, found, share - result[found], result):
            result[found], shared[found] = share, True
            continue
        for here in _marginal(found, (bids.node,), bids.quantity_w, result):
            share = _shares(bids.quantity_w[here], bids.granularity_w[here], result[here].sum(), bids.tie[here])
            if share is not None:
                result[here], shared[here] = share, True
    return result, shared


def _marginal(rows: I8A, keys: tuple[npt.NDArray[np.generic], ...], quantity: I8A, accepted: I8A) -> list[I8A]:
    """Groups of at least two rows that agree in all keys and are neither full nor empty together."""
    if not rows.size:
        return []
    table = np.stack([np.asarray(key[rows], np.int64) for key in keys])
    number = np.unique(table, axis=1, return_inverse=True)[1].ravel()
    offered, taken = np.zeros((2, int(number.max()) + 1), np.int64)
    np.add.at(offered, number, quantity[rows])
    np.add.at(taken, number, accepted[rows])
    open_ = (taken > 0) & (taken < offered) & (np.bincount(number) > 1)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))
    return [rows[order[ends[k] - np.count_nonzero(number == k) : ends[k]]] for k in np.flatnonzero(open_)]


def _shares(quantity: I8A, size: I8A, power: int, tie: I8A) -> I8A | None:
    """Multiples of each granularity in proportion to the quantities that add up to the power; None if none found."""
    power = int(power)
    offered = sum(int(q) for q in quantity)
    exact = [power * int(q) for q in quantity]  # over `offered`
    parts = [value // offered // int(g) * int(g) for value, g in zip(exact, size, strict=True)]
    rest = power - sum(parts)
    order = sorted(range(len(parts)), key=lambda k: (parts[k] * offered - exact[k], int(tie[k])))
    for k in [*order, *order]:
        step = int(size[k])
        if step <= rest and parts[k] + step <= int(quantity[k]):
            parts[k] += step
            rest -= step
    return None if rest else np.array(parts, np.int64)


def _stands(problem: BidProblem, rows: I8A, change: I8A, accepted: I8A) -> bool:
    """Whether all rows of the tree hold and every need is served as before once some rows of one step change."""
    bids, tree = problem.bids, problem.tree
    step = int(bids.step[rows[0]])
    net = np.zeros((2, tree.parent.size), np.int64)
    now = np.flatnonzero((bids.step == step) & (accepted > 0))
    if (bids.place[now] >= 0).any():  # what acts where is not known
        return False
    np.add.at(net[0], bids.node[now], np.where(bids.down[now], -accepted[now], accepted[now]))
    np.add.at(net[1], bids.node[rows], np.where(bids.down[rows], -change, change))
    ends = np.cumsum(np.c_[np.zeros(2, np.int64), net], axis=1)
    before, more = ends[:, tree.last] - ends[:, :-1]
    after = before + more
    lower, upper = problem.rows.lower_w[step], problem.rows.upper_w[step]
    worse = (more < 0) & (after < lower) | (more > 0) & (after > upper)
    return not worse[1:].any()
