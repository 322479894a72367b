"""One merit order along a tree for any order of offers: the least of a linear function of what is accepted.

The same argument as in `tree_merit_order`: the pieces below an element, sorted by slope, are its convex cost; children
join by merging, limits cut ends off, needs move all that lies before (or after) them by one level. Here the order is
given as whole numbers, so that a level may be worth no more than a difference of slopes, and only elements whose row
can bind are visited: pieces are kept as sorted arrays, since few of these lie above one another.
"""

from typing import NamedTuple

import numpy as np

from flexcore.kernels._jit import inner


class Nest(NamedTuple):
    """Elements whose row can bind, in preorder from 1 on; 0 stands for all that lies above them."""

    above: np.ndarray  # int32 (n,)
    child: np.ndarray  # int32 (n,): first child, -1 for none
    sibling: np.ndarray  # int32 (n,): next child of the same parent
    lower: np.ndarray  # int64 (n,)
    upper: np.ndarray
    slot: np.ndarray  # int64 (n,): first place of the pieces at and below
    own: np.ndarray  # int64 (n,): offers right below
    at: np.ndarray  # int32 (n_offers,): the element right above an offer


class Work(NamedTuple):
    """Working space of one pass."""

    key: np.ndarray  # int64 (3, n_slots): pieces in place, and two buffers to merge in
    volume: np.ndarray  # int64 (3, n_slots)
    offer: np.ndarray  # int32 (3, n_slots)
    bound: np.ndarray  # int64 (2, n + 2): where runs begin
    run: np.ndarray  # int64 (n, 2): pieces of a finished element
    end: np.ndarray  # int64 (n, 2): least and largest sum reachable
    filled: np.ndarray  # int64 (n,)


@inner
def new_work(n, n_slots):
    """Allocate the working space for n elements."""
    return Work(
        np.empty((3, n_slots), np.int64),
        np.empty((3, n_slots), np.int64),
        np.empty((3, n_slots), np.int32),
        np.empty((2, n + 2), np.int64),
        np.empty((n, 2), np.int64),
        np.empty((n, 2), np.int64),
        np.empty(n, np.int64),
    )


@inner
def _copy(work, source, lo, hi, target, start):
    for a in range(hi - lo):
        work.key[target, start + a] = work.key[source, lo + a]
        work.volume[target, start + a] = work.volume[source, lo + a]
        work.offer[target, start + a] = work.offer[source, lo + a]


@inner
def _merge_runs(work, n_runs):
    """Merge the runs of buffer 1, whose ends are in bound[0]; returns the buffer that holds the one that is left."""
    key = work.key
    b = np.int64(0)
    while n_runs > 1:
        source = 1 + b
        target = 2 - b
        out = np.int64(0)
        merged = np.int64(0)
        for r in range(0, n_runs, 2):
            work.bound[1 - b, merged] = out
            i = np.int64(work.bound[b, r])
            i_end = np.int64(work.bound[b, r + 1])
            j = i_end
            j_end = np.int64(work.bound[b, r + 2]) if r + 1 < n_runs else i_end
            while i < i_end or j < j_end:
                if j >= j_end or (i < i_end and key[source, i] <= key[source, j]):
                    pick = i
                    i += 1
                else:
                    pick = j
                    j += 1
                key[target, out] = key[source, pick]
                work.volume[target, out] = work.volume[source, pick]
                work.offer[target, out] = work.offer[source, pick]
                out += 1
            merged += 1
        work.bound[1 - b, merged] = out
        n_runs = merged
        b = 1 - b
    return 1 + b


@inner
def _gather(nest, work, j):
    """Bring all pieces at and below an element into one sorted run at its first place."""
    first = np.int64(nest.slot[j])
    here = np.int64(0)
    buffer = np.int64(1)
    n_runs = np.int64(0)
    out = np.int64(0)
    work.bound[0, 0] = 0
    if nest.own[j] > 0:
        _copy(work, here, first, first + nest.own[j], buffer, out)
        out += nest.own[j]
        n_runs += 1
        work.bound[0, n_runs] = out
    c = np.int64(nest.child[j])
    while c >= 0:
        lo = np.int64(work.run[c, 0])
        hi = np.int64(work.run[c, 1])
        if hi > lo:
            _copy(work, here, lo, hi, buffer, out)
            out += hi - lo
            n_runs += 1
            work.bound[0, n_runs] = out
        work.end[j, 0] += work.end[c, 0]
        work.end[j, 1] += work.end[c, 1]
        c = np.int64(nest.sibling[c])
    held = _merge_runs(work, n_runs)
    _copy(work, held, here, out, here, first)
    work.run[j, 0] = first
    work.run[j, 1] = first + out


@inner
def _split(work, j, a, volume):
    """Cut the piece at place a in two, the first with this volume; the run has room for one more at its end."""
    hi = np.int64(work.run[j, 1])
    for b in range(hi, a, -1):
        work.key[0, b] = work.key[0, b - 1]
        work.volume[0, b] = work.volume[0, b - 1]
        work.offer[0, b] = work.offer[0, b - 1]
    work.volume[0, a] = volume
    work.volume[0, a + 1] -= volume
    work.run[j, 1] = hi + 1


@inner
def _raise_levels(nest, work, j, level):
    """Move what lies left of a need for up down by one level, and what lies right of a need for down up by one."""
    key = work.key
    volume = work.volume
    if nest.lower[j] > 0:
        rest = min(np.int64(nest.lower[j]), np.int64(work.end[j, 1])) - work.end[j, 0]
        a = np.int64(work.run[j, 0])
        while rest > 0:
            if volume[0, a] > rest:
                _split(work, j, a, rest)
            key[0, a] -= level
            rest -= volume[0, a]
            a += 1
    if nest.upper[j] < 0:
        rest = work.end[j, 1] - max(np.int64(nest.upper[j]), np.int64(work.end[j, 0]))
        a = np.int64(work.run[j, 1]) - 1
        while rest > 0:
            if volume[0, a] > rest:
                _split(work, j, a, volume[0, a] - rest)
                a += 1
            key[0, a] += level
            rest -= volume[0, a]
            a -= 1


@inner
def _cut(nest, work, j, down, x_out):
    """Decide what no choice within the limits can leave open: taken at the left end, dropped at the right."""
    volume = work.volume
    rest = min(np.int64(nest.lower[j]), np.int64(0)) - work.end[j, 0]
    if rest > 0:
        work.end[j, 0] += rest
        a = np.int64(work.run[j, 0])
        while rest > 0:
            part = min(np.int64(volume[0, a]), np.int64(rest))
            if down[work.offer[0, a]] == 0:
                x_out[work.offer[0, a]] += part
            rest -= part
            volume[0, a] -= part
            if volume[0, a] == 0:
                a += 1
        work.run[j, 0] = a
    rest = work.end[j, 1] - max(np.int64(nest.upper[j]), np.int64(0))
    if rest > 0:
        work.end[j, 1] -= rest
        a = np.int64(work.run[j, 1])
        while rest > 0:
            part = min(np.int64(volume[0, a - 1]), np.int64(rest))
            if down[work.offer[0, a - 1]] == 1:
                x_out[work.offer[0, a - 1]] += part
            rest -= part
            volume[0, a - 1] -= part
            if volume[0, a - 1] == 0:
                a -= 1
        work.run[j, 1] = a


@inner
def nested_pass(nest, work, key, zero, level, down, cap, order, x_out):
    """Accept what has the least total of slopes under all rows of a nest.

    Parameters
    ----------
    key : int64 (n_offers,)
        In the order of slopes, all different; the slope of an up offer is its price, of a down offer minus its price.
    zero, level : int64
        Key of a slope of zero: nothing to the right of it pays. What a key changes by one unserved W per W.
    down, cap : uint8, int64 (n_offers,)
    order : int64 (n_offers,)
        What sorts `key`.
    x_out : int64 (n_offers,)
    """
    n = nest.above.shape[0]
    for j in range(n):
        work.filled[j] = 0
        work.end[j, 0] = 0
        work.end[j, 1] = 0
    for place in range(order.shape[0]):
        p = order[place]
        j = nest.at[p]
        x_out[p] = 0
        if j == 0:
            if (key[p] < zero) == (down[p] == 0):
                x_out[p] = cap[p]
            continue
        a = nest.slot[j] + work.filled[j]
        work.filled[j] += 1
        work.key[0, a] = key[p]
        work.volume[0, a] = cap[p]
        work.offer[0, a] = p
        if down[p] == 1:
            work.end[j, 0] -= cap[p]
        else:
            work.end[j, 1] += cap[p]
    for j in range(n - 1, 0, -1):
        _gather(nest, work, j)
        _raise_levels(nest, work, j, level)
        _cut(nest, work, j, down, x_out)
        if nest.above[j] == 0:
            for a in range(work.run[j, 0], work.run[j, 1]):
                p = work.offer[0, a]
                if (work.key[0, a] < zero) == (down[p] == 0):
                    x_out[p] += work.volume[0, a]
