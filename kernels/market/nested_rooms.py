"""Buying in price order while rooms and surpluses on the way to the root allow it: by walks, or by heavy paths.

Rows of `end`: the first offer of a node that is not taken in full: its price, its position (-1: nothing of that price
is taken), and what it gets.
"""

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels.market.offer_buckets import LOW, NODE_BITS, PLACE_BITS, SHIFT, ZERO, sort_ties, sort_words
from flexcore.kernels.market.path_rooms import ABOVE, LINK, build_paths, path_add, path_least

END_KEY, END_OFFER, END_TAKE = 0, 1, 2
CLIMB, PATHS = 0, 1
_WALK = 128  # steps of all walks per offer, after which heavy paths take over: one of these costs as much as 300 steps
_MOST_LUCK = 8
_TRY_AGAIN = 16


@inner
def _close(v, p, o, take, closed, end):
    if closed[v] == 0:
        closed[v] = 1
        end[END_KEY, v] = p
        end[END_OFFER, v] = o
        end[END_TAKE, v] = take


@inner
def _walk(v, q, p, o, paths, room, surplus, closed, end):
    """Take up to q of offer o at node v; where less is taken, the nodes up to the tight one close.

    Returns the steps walked.
    """
    take = np.int64(q)
    absorbed = np.int64(0)
    steps = np.int64(0)
    i = np.int64(v)
    tight = np.int64(-1)
    while i >= 0:
        steps += 1
        if closed[i] == 1:
            take = absorbed
            tight = i
            break
        absorbed += surplus[i]
        if take <= absorbed:
            break
        if absorbed + room[i] < take:
            take = absorbed + room[i]
            tight = i
        i = np.int64(paths[ABOVE, i])
    rest = np.int64(take)
    i = np.int64(v)
    while i >= 0 and rest > 0:
        part = min(surplus[i], rest)
        surplus[i] -= part
        rest -= part
        room[i] -= rest
        i = np.int64(paths[ABOVE, i])
    if take < q:
        i = np.int64(v)
        while i != tight:
            _close(i, p, o, take, closed, end)
            i = np.int64(paths[ABOVE, i])
        _close(tight, p, o, take, closed, end)
    return steps


@inner
def _next_surplus(i, paths):
    """Nearest node with a surplus at or above i, -1 if there is none; LINK leads there and is shortened."""
    stop = np.int64(i)
    while stop >= 0 and paths[LINK, stop] != stop:
        stop = np.int64(paths[LINK, stop])
    while i >= 0 and i != stop:
        up = np.int64(paths[LINK, i])
        paths[LINK, i] = stop
        i = up
    return stop


@inner
def _along_paths(v, q, p, o, paths, minima, surplus, closed, end):
    """Do what `_walk` does by minima over heavy paths; only v closes."""
    take = np.int64(q)
    absorbed = np.int64(0)
    i = np.int64(v)
    stop = _next_surplus(i, paths)
    while True:
        take = min(take, absorbed + path_least(i, stop, paths, minima))
        if stop < 0:
            break
        absorbed += surplus[stop]
        if take <= absorbed:
            break
        i = stop  # its own room counts for what it does not absorb
        stop = _next_surplus(np.int64(paths[ABOVE, i]), paths)
    rest = np.int64(take)
    i = np.int64(v)
    while rest > 0:
        stop = _next_surplus(i, paths)
        path_add(i, stop, -rest, paths, minima)
        if stop < 0:
            break
        part = min(surplus[stop], rest)
        surplus[stop] -= part
        rest -= part
        if surplus[stop] == 0:
            paths[LINK, stop] = paths[ABOVE, stop]
        i = stop
    if take < q:
        _close(v, p, o, take, closed, end)


@inner
def _leave_walks(n_kept, room, surplus, paths, minima):
    """Go on by heavy paths from the rooms and surpluses that the walks have left."""
    for k in range(n_kept):
        paths[LINK, k] = k if surplus[k] > 0 else paths[ABOVE, k]
    build_paths(n_kept, room, paths, minima)


@inner
def _needed_only(deep, roots, span, paths, minima, room):
    """From the price of zero on a root takes only what its lower bound still asks for."""
    for j in range(roots.shape[0]):
        r = np.int64(roots[j])
        if deep:
            now = path_least(r, np.int64(-1), paths, minima)
            path_add(r, np.int64(-1), -min(now, span[j]), paths, minima)
        else:
            room[r] = max(np.int64(0), room[r] - span[j])


@inner
def _look_up(z0, z1, words, plan, node, near, quantity, at, amount):
    """Write kept node and quantity of a bucket's offers."""
    node_bits = plan[NODE_BITS]
    places = (np.int64(1) << plan[PLACE_BITS]) - 1
    if node_bits > 0:
        nodes = (np.int64(1) << node_bits) - 1
        for j in range(z0, z1):
            at[j - z0] = near[words[j] & nodes]
    else:
        for j in range(z0, z1):
            at[j - z0] = near[node[words[j] & places]]
    for j in range(z0, z1):
        amount[j - z0] = quantity[(words[j] >> node_bits) & places]


@inner
def _all_by_walks(n, at, amount, most, paths, room, closed):
    """Take a bucket in full, or not at all where a node would close or the walk is too long.

    Returns the steps walked, negative if nothing was taken. Without surpluses the order does not matter: what all nodes
    carry in the end fits, or it does not.
    """
    steps = np.int64(0)
    short = np.int64(0)
    done = np.int64(0)
    while done < n and short >= 0 and steps <= most:
        v = np.int64(at[done])
        if closed[v] == 0:
            q = amount[done]
            while v >= 0:
                left = room[v] - q
                room[v] = left
                short = min(short, left)
                v = np.int64(paths[ABOVE, v])
                steps += 1
        done += 1
    if short >= 0 and done == n:
        return steps
    for j in range(done):
        v = np.int64(at[j])
        if closed[v] == 0:
            while v >= 0:
                room[v] += amount[j]
                v = np.int64(paths[ABOVE, v])
    return -steps


@inner
def _all_along_paths(n, at, amount, paths, minima, closed):
    """Do the same by heavy paths; returns whether the bucket was taken."""
    for j in range(n):
        v = np.int64(at[j])
        if closed[v] == 1:
            continue
        if path_least(v, np.int64(-1), paths, minima) < amount[j]:
            for k in range(j):
                if closed[at[k]] == 0:
                    path_add(np.int64(at[k]), np.int64(-1), amount[k], paths, minima)
            return False
        path_add(v, np.int64(-1), -amount[j], paths, minima)
    return True


@inner
def buy(
    node, down, quantity, time, ident, near, plan, start, in_order, longest, words, paths, minima, room, surplus,
    closed, end, n_kept, roots, span, sources,
):  # fmt: skip
    """Go through the buckets until nothing can be taken; writes where the nodes end, returns the way used.

    sources: nodes with a surplus. span: what a root may carry beyond its lower bound.
    """
    spare = np.empty(longest, np.int64)
    count = np.empty(2050, np.int64)
    stack = np.empty((longest // 16 + 64, 2), np.int64)
    at = np.empty(longest, np.int32)
    amount = np.empty(longest, np.int64)
    place_bits = plan[PLACE_BITS]
    node_bits = plan[NODE_BITS]
    places = (np.int64(1) << place_bits) - 1
    n_buckets = in_order.shape[0]
    crossed = True  # beyond the price of zero
    for j in range(roots.shape[0]):
        crossed = crossed and span[j] == 0
    n_open = np.int64(roots.shape[0])  # roots before it may have room
    n_sources = np.int64(sources.shape[0])
    most = np.int64(_WALK * node.shape[0])
    walked = np.int64(0)
    deep = False
    luck = np.int64(_MOST_LUCK)
    b = np.int64(0)
    while b < n_buckets:
        if not crossed and b > plan[ZERO]:
            _needed_only(deep, roots, span, paths, minima, room)
            crossed = True
        while n_open > 0:
            r = np.int64(roots[n_open - 1])
            left = path_least(r, np.int64(-1), paths, minima) if deep else np.int64(room[r])
            if left > 0:
                break
            n_open -= 1
        while n_sources > 0 and surplus[sources[n_sources - 1]] == 0:
            n_sources -= 1
        if n_open == 0 and n_sources == 0:
            break
        if not deep and walked > most:
            _leave_walks(n_kept, room, surplus, paths, minima)
            deep = True
        z0 = start[b]
        z1 = start[b + 1]
        mixed = not crossed and b == plan[ZERO]
        done = z0 == z1
        if not done:
            _look_up(z0, z1, words, plan, node, near, quantity, at, amount)
        if not done and n_sources == 0 and not mixed and (luck > 0 or b % _TRY_AGAIN == 0):
            if deep:
                done = _all_along_paths(z1 - z0, at, amount, paths, minima, closed)
            else:
                steps = _all_by_walks(z1 - z0, at, amount, most - walked, paths, room, closed)
                done = steps >= 0
                walked += abs(steps)
            luck = min(luck + 1, np.int64(_MOST_LUCK)) if done else luck - 2
        if not done:
            if in_order[b] == 0:
                sort_words(words, z0, z1, spare, count, stack)
                sort_ties(words, z0, z1, plan, spare, down, time, ident)
                in_order[b] = 1
                _look_up(z0, z1, words, plan, node, near, quantity, at, amount)
            edge = plan[LOW] + (b << plan[SHIFT])
            for j in range(z1 - z0):
                word = words[z0 + j]
                o = (word >> node_bits) & places
                p = edge + (word >> (place_bits + node_bits))
                if not crossed and mixed and (p > 0 or (p == 0 and not (down.shape[0] > 0 and down[o] == 1))):
                    _needed_only(deep, roots, span, paths, minima, room)
                    crossed = True
                v = np.int64(at[j])
                if closed[v] == 1:
                    continue
                if not deep and walked > most:
                    _leave_walks(n_kept, room, surplus, paths, minima)
                    deep = True
                if deep:
                    _along_paths(v, amount[j], p, o, paths, minima, surplus, closed, end)
                else:
                    walked += _walk(v, amount[j], p, o, paths, room, surplus, closed, end)
        b += 1
    if b < n_buckets:
        edge = plan[LOW] + (b << plan[SHIFT])
        for k in range(n_kept):
            if closed[k] == 0:
                end[END_KEY, k] = edge
    return PATHS if deep else CLIMB
