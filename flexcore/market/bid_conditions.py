"""Conditions of offers checked on an answer, and the parts of a selection that they tie together."""

import numpy as np
import numpy.typing as npt

from flexcore.market.bid_model import Part
from flexcore.market.bid_problem import BidProblem, Bids
from flexcore.tables.bids import NEVER

I8A = npt.NDArray[np.int64]
BoolA = npt.NDArray[np.bool_]


def broken_conditions(bids: Bids, steps: I8A, accepted_w: I8A) -> BoolA:
    """Mark rows whose line, block, exclusive group or unit breaks a condition with these amounts, shape (n_rows,)."""
    n = accepted_w.size
    bad = np.zeros(n, np.bool_)
    if not n:
        return bad
    loose = bids.block < 0
    total = np.zeros(int(bids.line.max()) + 1, np.int64)
    np.add.at(total, bids.line, accepted_w)
    power = total[bids.line]
    bad |= loose & (power > 0) & ((power < bids.least_w) | (power % bids.granularity_w != 0))
    order = np.lexsort((bids.price_step, bids.line))
    same = np.diff(bids.line[order]) == 0
    jumped = same & (accepted_w[order][1:] > 0) & (accepted_w[order][:-1] < bids.quantity_w[order][:-1])
    bad[order[1:][jumped]] = True
    bad |= _broken_blocks(bids, accepted_w)

    taken = np.flatnonzero((accepted_w > 0) & ~bids.rebound)
    chosen = taken[bids.exclusive[taken] >= 0]
    if chosen.size:
        when = np.where(bids.by_day[chosen], -1, bids.step[chosen])
        groups, group = np.unique(np.stack([bids.exclusive[chosen], when]), axis=1, return_inverse=True)
        pairs = np.unique(np.stack([group.ravel(), bids.bid[chosen]]), axis=1)
        crowded = np.bincount(pairs[0], minlength=groups.shape[1]) > 1
        bad[chosen[crowded[group.ravel()]]] = True
    running = taken[is_limited(bids)[taken]]
    if running.size:
        wrong = restless_units(bids, steps, running)
        bad[running] |= np.isin(bids.unit[running], wrong)
    return bad


def is_limited(bids: Bids) -> BoolA:
    """Mark rows of units that must rest or may not run on."""
    return np.asarray((bids.rest > 0) | (bids.run < 2**31))


def restless_units(bids: Bids, steps: I8A, running: I8A) -> I8A:
    """Return the units among running rows that run too long or rest too little."""
    pairs = np.unique(np.stack([bids.unit[running], steps[bids.step[running]]]), axis=1)
    unit, step = pairs
    rest, run = (np.zeros(int(bids.unit.max()) + 1, np.int64) for _ in range(2))
    rest[bids.unit[running]], run[bids.unit[running]] = bids.rest[running], bids.run[running]
    gap = np.where(np.diff(unit) == 0, np.diff(step) - 1, -1)
    short = unit[1:][(gap > 0) & (gap < rest[unit[1:]])]
    number = np.cumsum(np.r_[True, gap != 0]) - 1
    length = np.bincount(number)
    return np.union1d(short, unit[length[number] > run[unit]])


def _broken_blocks(bids: Bids, accepted_w: I8A) -> BoolA:
    """Mark rows of blocks that have no common share, or one below the least."""
    bad = np.zeros(accepted_w.size, np.bool_)
    rows = np.flatnonzero((bids.block >= 0) & (bids.quantity_w > 0))
    if not rows.size:
        return bad
    rows = rows[np.argsort(bids.block[rows], kind="stable")]
    start = np.flatnonzero(np.r_[True, np.diff(bids.block[rows]) != 0])
    number = np.cumsum(np.r_[True, np.diff(bids.block[rows]) != 0]) - 1
    whole = np.gcd.reduceat(bids.quantity_w[rows] // bids.granularity_w[rows], start)[number]
    one = bids.quantity_w[rows] // whole
    share = accepted_w[rows] // one
    wrong = (accepted_w[rows] % one != 0) | (share != share[start][number])
    wrong |= (accepted_w[rows] > 0) & (accepted_w[rows] < bids.least_w[rows])
    found = np.zeros(start.size, np.bool_)
    np.logical_or.at(found, number, wrong)
    bad[rows[found[number]]] = True
    return bad


def find_parts(problem: BidProblem) -> list[Part]:
    """Return the parts with a need: a feeder and step alone, or several that a condition ties together."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    bids, requests, n_steps = problem.bids, problem.requests, problem.steps.size
    feeder = problem.tree.feeder.astype(np.int64)
    live = np.flatnonzero(bids.quantity_w > 0)
    asking = np.flatnonzero(requests.quantity_w > 0)
    cell_of_row, cell_of_need = feeder[bids.node] * n_steps + bids.step, feeder[requests.node] * n_steps + requests.step
    cells = np.unique(np.r_[cell_of_row[live], cell_of_need])
    if not asking.size:
        return []
    # each key that ties rows together is one more point of a graph whose other points are the cells
    ties: list[tuple[I8A, I8A]] = []  # (cells, keys)

    def tie(rows: I8A, *keys: npt.NDArray[np.generic]) -> None:
        if rows.size:
            code = np.unique(np.stack([np.asarray(k, np.int64) for k in keys]), axis=1, return_inverse=True)[1].ravel()
            ties.append((cell_of_row[rows], code.astype(np.int64)))

    rows = live[bids.block[live] >= 0]
    tie(rows, bids.block[rows])
    rows = live[(bids.exclusive[live] >= 0) & ~bids.rebound[live]]
    tie(rows, bids.exclusive[rows], np.where(bids.by_day[rows], -1, bids.step[rows]))
    rows = live[is_limited(bids)[live] & ~bids.rebound[live]]
    tie(rows, bids.unit[rows])
    bound = np.flatnonzero(requests.condition >= 0)
    if bound.size:
        pair = np.arange(bound.size)
        ties.append((np.r_[cell_of_need[bound], cell_of_need[requests.condition[bound]]], np.r_[pair, pair]))
    left, right, points = [], [], cells.size
    for at, code in ties:
        left.append(np.searchsorted(cells, at))
        right.append(points + code)
        points += int(code.max()) + 1
    edges = (np.concatenate(left), np.concatenate(right)) if left else (np.zeros(0, np.int64),) * 2
    graph = sparse.csr_matrix((np.ones(edges[0].size), edges), shape=(points, points))
    label = connected_components(graph, directed=False)[1][: cells.size]

    part_of_row = label[np.searchsorted(cells, cell_of_row[live])]
    part_of_need = label[np.searchsorted(cells, cell_of_need)]
    wanted = np.unique(part_of_need[asking])
    everyone = np.arange(requests.node.size)
    grouped = [
        _by_label(items, part, wanted)
        for items, part in ((live, part_of_row), (everyone, part_of_need), (cells, label))
    ]
    return [
        Part(rows, needs, tuple(divmod(c, n_steps) for c in at.tolist()))
        for rows, needs, at in zip(*grouped, strict=True)
    ]


def _by_label(items: I8A, label: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> list[I8A]:
    """Items of each wanted label, in their order."""
    order = np.argsort(label, kind="stable")
    first, last = (np.searchsorted(label[order], wanted, side=side) for side in ("left", "right"))
    return [items[order[lo:hi]] for lo, hi in zip(first.tolist(), last.tolist(), strict=True)]


def beyond_relaxation(problem: BidProblem) -> tuple[BoolA, BoolA]:
    """Mark rows and requests that the merit order cannot even relax: rebound, places, price caps, conditions."""
    bids, requests = problem.bids, problem.requests
    rows = (bids.quantity_w > 0) & (bids.rebound | (bids.place >= 0))
    asked = (requests.quantity_w > 0) & ((requests.cap != NEVER) | (requests.condition >= 0))
    return rows, asked
