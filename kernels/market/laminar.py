"""Merit order under hard lower and upper bounds on the sums at and below the nodes of a forest; whole watts.

With G_i the least that node i must carry (its lower bound or what its children must carry), an offer may take as much
as the climb from its node to the root allows: at each node the part that the node has yet to buy for its own lower bound
(its *surplus* of G over the children's) vanishes, and the rest must fit into upper - G (its *room*). Surplus and room
never grow, so an offer that gets less than it offers closes its node for good, and an order of offers is needed only
where a node closes: a bucket of offers that all fit is taken in any order.
"""

import numpy as np

from flexcore.kernels._jit import I32, I32_OUT, I64, I64_2D, I64_2D_OUT, I64_OUT, U8, i64, inner, kernel
from flexcore.kernels.market.offer_buckets import (
    bit_length,
    bucket_shift,
    fill_buckets,
    first_of_two,
    price_range,
    sort_ties,
    sort_words,
)
from flexcore.kernels.market.path_rooms import build_paths, fill_paths, path_add, path_least

_NONE = 2**61  # bounds beyond it count as none
_FAR = 2**62
MET, TOO_LITTLE_ROOM, TOO_LITTLE_OFFERED = 0, 1, 2
CLIMB, PATHS = 0, 1
_WALK = 128  # steps of all walks per offer, from which on heavy paths are used; these cost as much as some 300 steps


@kernel(I32, I32_OUT, returns=i64)
def parents_first(parent, order_out):
    """Write the nodes so that each follows its parent; returns how many were reached: fewer than all in a loop."""
    n = parent.shape[0]
    sorted_already = True
    for i in range(n):
        sorted_already = sorted_already and parent[i] < i
    if sorted_already:
        for i in range(n):
            order_out[i] = i
        return n
    first = np.full(n, -1, np.int32)
    following = np.full(n, -1, np.int32)
    end = np.int64(0)
    for i in range(n - 1, -1, -1):
        if parent[i] >= 0:
            following[i] = first[parent[i]]
            first[parent[i]] = i
    for i in range(n):
        if parent[i] < 0:
            order_out[end] = i
            end += 1
    done = np.int64(0)
    while done < end:
        child = first[order_out[done]]
        done += 1
        while child >= 0:
            order_out[end] = child
            end += 1
            child = following[child]
    return end


@inner
def _close(v, p, o, take, closed, end_key, end_offer, end_take):
    """Note the first offer that a node does not take in full, and what it gets."""
    if closed[v] == 0:
        closed[v] = 1
        end_key[v] = p
        end_offer[v] = o
        end_take[v] = take


@inner
def _climb(v, q, p, o, above, room, surplus, closed, end_key, end_offer, end_take):
    """Take up to q of offer o at node v by a walk to the root; where less is taken, the nodes up to the tight one close.

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
        i = np.int64(above[i])
    rest = np.int64(take)
    i = np.int64(v)
    while i >= 0 and rest > 0:
        part = min(surplus[i], rest)
        surplus[i] -= part
        rest -= part
        room[i] -= rest
        i = np.int64(above[i])
    if take < q:
        i = np.int64(v)
        while i != tight:
            _close(i, p, o, take, closed, end_key, end_offer, end_take)
            i = np.int64(above[i])
        _close(tight, p, o, take, closed, end_key, end_offer, end_take)
    return steps


@inner
def _next_surplus(i, link):
    """Nearest node with a surplus at or above i, -1 if there is none; `link` leads there and is shortened."""
    end = np.int64(i)
    while end >= 0 and link[end] != end:
        end = np.int64(link[end])
    while i >= 0 and i != end:
        up = np.int64(link[i])
        link[i] = end
        i = up
    return end


@inner
def _along_paths(v, q, above, surplus, link, head, place, base, width, least, added):
    """Return what `_climb` would take and take it, by minima over heavy paths."""
    take = np.int64(q)
    absorbed = np.int64(0)
    i = np.int64(v)
    stop = _next_surplus(i, link)
    while True:
        take = min(take, absorbed + path_least(i, stop, above, head, place, base, width, least, added))
        if stop < 0:
            break
        absorbed += surplus[stop]
        if take <= absorbed:
            break
        i = stop  # its own room counts for what it does not absorb
        stop = _next_surplus(np.int64(above[i]), link)
    rest = np.int64(take)
    i = np.int64(v)
    while rest > 0:
        stop = _next_surplus(i, link)
        path_add(i, stop, -rest, above, head, place, base, width, least, added)
        if stop < 0:
            break
        part = min(surplus[stop], rest)
        surplus[stop] -= part
        rest -= part
        if surplus[stop] == 0:
            link[stop] = above[stop]
        i = stop
    return take


@inner
def _cut_into_paths(n_kept, above, room, surplus, link, size, heavy, head, place, base, width, least, added):
    """Go on from walks to heavy paths; returns the arrays of minima, made anew if they are too short."""
    for k in range(n_kept):
        link[k] = k if surplus[k] > 0 else above[k]
    length = build_paths(above, n_kept, size, heavy, head, place, base, width)
    if least.shape[0] < length:
        least = np.empty(length, np.int64)
        added = np.empty(length, np.int64)
    fill_paths(room, n_kept, head, place, base, width, least, added, np.int64(_FAR))
    return least, added


@inner
def _look_up(words, z0, z1, places, node_bits, node, near, quantity, at, amount):
    """Write kept node and quantity of a bucket's offers."""
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
def _needed_only(n_roots, roots, span, above, room, deep, head, place, base, width, least, added):
    """From the price of zero on a root takes only what its lower bound still asks for."""
    for j in range(n_roots):
        r = roots[j]
        now = np.int64(room[r])
        if deep:
            now = path_least(np.int64(r), np.int64(-1), above, head, place, base, width, least, added)
        left = max(np.int64(0), now - span[j])
        if deep:
            path_add(np.int64(r), np.int64(-1), left - now, above, head, place, base, width, least, added)
        else:
            room[r] = left


@inner
def _prices(n_kept, kept, above, low, high, y, lower, upper, price_at):
    """Write the value of one more W at each kept node: as near as can be to the one above.

    low, high: dearest piece taken and cheapest piece left at the node. A node between its bounds has the price above
    it; one at its lower bound has at least that, one at its upper bound at most.
    """
    for k in range(n_kept - 1, -1, -1):
        a = above[k]
        if a < 0:
            continue
        i = kept[k]
        at_lower = y[i] == lower[i]
        at_upper = y[i] == upper[i]
        if not at_lower:
            low[a] = max(low[a], low[k])
        if not at_upper:
            high[a] = min(high[a], high[k])
    for k in range(n_kept):
        i = kept[k]
        near = np.int64(0)
        if above[k] >= 0:
            near = np.int64(price_at[above[k]])
        elif lower[i] == upper[i]:
            near = np.int64(low[k]) if low[k] > -_FAR else near
        price_at[k] = max(low[k], min(high[k], near))


@kernel(
    I32, I32, U8, I64_2D, I64_2D, I64, I64, I64_2D, I64_2D, I64_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT,
    i64, i64,
)  # fmt: skip
def laminar_merit_order(
    parent, node, down, quantity_w, key, time, ident, lower_w, upper_w, words, accepted_out, y_out, price_out,
    state_out, t0, t1,
):  # fmt: skip
    """Clear steps t0..t1 at least cost; arrays are step-major, and a matrix of one row holds for all steps.

    Parameters
    ----------
    parent : int32 (n_nodes,)
        Parents come first; -1 at a root.
    node, down : int32 (n_offers,), uint8 (n_offers,) or (0,) if all are up
    quantity_w, key : int64 (1 or n_steps, n_offers)
        key: price or anything that sorts like it, of zero where nothing is gained or lost; within +-2^61.
    time, ident : int64 (n_offers,) or (0,)
        Order of offers of one price, then their position.
    lower_w, upper_w : int64 (1 or n_steps, n_nodes)
        Bounds on up minus down at and below each node.
    words : int64 (n_offers,)
        Overwritten. Memory that the caller got in large pages is twice as fast to write in random order.
    accepted_out, y_out : int64 (n_steps, n_offers), (n_steps, n_nodes)
    price_out : int64 (n_steps or 0, n_nodes)
        Value of one more W at the node.
    state_out : int64 (n_steps, 4)
        State, node and gap in W if it is not met, and the way to find room. Nothing is accepted in a step that cannot
        be met.
    """
    n = parent.shape[0]
    n_offers = node.shape[0]
    two_ways = down.shape[0] > 0
    with_prices = price_out.shape[0] > 0
    place_bits = bit_length(np.int64(max(n_offers - 1, 0)))
    places = (np.int64(1) << place_bits) - 1
    offered = np.empty(n, np.int64)
    fixed = np.empty(n, np.int64)
    must = np.empty(n, np.int64)
    can = np.empty(n, np.int64)
    kept_at = np.empty(n, np.uint8)
    near = np.empty(n, np.int32)  # kept node at or above
    kept = np.empty(n, np.int32)
    above = np.empty(n, np.int32)
    room = np.empty(n, np.int64)
    surplus = np.empty(n, np.int64)
    closed = np.empty(n, np.uint8)
    end_key = np.empty(n, np.int64)  # first price that the node does not take in full, the offer, and what it gets
    end_offer = np.empty(n, np.int32)
    end_take = np.empty(n, np.int64)
    low_at = np.empty(n, np.int64)
    high_at = np.empty(n, np.int64)
    price_at = np.empty(n, np.int64)
    roots = np.empty(n, np.int32)
    span = np.empty(n, np.int64)
    with_surplus = np.empty(n, np.int32)
    link = np.empty(n, np.int32)
    size = np.empty(n, np.int32)
    heavy = np.empty(n, np.int32)
    head = np.empty(n, np.int32)
    place = np.empty(n, np.int32)
    base = np.empty(n, np.int32)
    width = np.empty(n, np.int32)
    least = np.empty(0, np.int64)
    added = np.empty(0, np.int64)
    count = np.empty(2050, np.int64)
    start = np.empty(0, np.int64)
    in_order = np.empty(0, np.uint8)
    spare = np.empty(0, np.int64)
    stack = np.empty((0, 2), np.int64)
    at = np.empty(0, np.int32)
    amount = np.empty(0, np.int64)
    low_key = np.int64(0)
    shift = np.int64(0)
    n_buckets = np.int64(0)
    zero_bucket = np.int64(-1)
    node_bits = np.int64(0)
    for t in range(t0, t1):
        quantity = quantity_w[t if quantity_w.shape[0] > 1 else 0]
        lower = lower_w[t if lower_w.shape[0] > 1 else 0]
        upper = upper_w[t if upper_w.shape[0] > 1 else 0]
        price = key[t if key.shape[0] > 1 else 0]
        accepted = accepted_out[t]
        y = y_out[t]
        state_out[t, 0] = MET
        state_out[t, 1] = -1
        state_out[t, 2] = 0
        state_out[t, 3] = CLIMB
        # what each node must carry and can carry; only nodes whose bounds can matter are kept
        for i in range(n):
            offered[i] = 0
            fixed[i] = 0
            must[i] = 0
            can[i] = 0
            y[i] = 0
        for o in range(n_offers):
            offered[node[o]] += quantity[o]
        if two_ways:
            for o in range(n_offers):
                if down[o] == 1:
                    fixed[node[o]] -= quantity[o]
        for i in range(n - 1, -1, -1):
            from_below = must[i] + fixed[i]
            reach = can[i] + fixed[i] + offered[i]
            lo = max(lower[i], np.int64(-_NONE))
            hi = min(upper[i], np.int64(_NONE))
            must[i] = max(lo, from_below)
            can[i] = min(hi, reach)
            a = parent[i]
            if must[i] > hi:
                state_out[t, 0] = TOO_LITTLE_ROOM
                state_out[t, 1] = i
                state_out[t, 2] = must[i] - hi
                break
            if can[i] < must[i]:
                state_out[t, 0] = TOO_LITTLE_OFFERED
                state_out[t, 1] = i
                state_out[t, 2] = must[i] - can[i]
                break
            kept_at[i] = 1 if a < 0 or must[i] > from_below or hi < reach else 0
            if a < 0:
                offered[i] = from_below  # the root's own lower bound is met in the end: price order buys for it
            else:
                must[a] += must[i]
                can[a] += can[i]
                fixed[i] = from_below
        if state_out[t, 0] != MET:
            for o in range(n_offers):
                accepted[o] = 0
            if with_prices:
                for i in range(n):
                    price_out[t, i] = 0
            continue
        n_kept = np.int64(0)
        n_roots = np.int64(0)
        n_surplus = np.int64(0)
        zero_matters = False
        for i in range(n):
            a = parent[i]
            if kept_at[i] == 0:
                near[i] = near[a]
            else:
                k = n_kept
                n_kept += 1
                kept[k] = i
                near[i] = k
                closed[k] = 0
                end_key[k] = _FAR
                end_offer[k] = -1
                end_take[k] = 0
                low_at[k] = -_FAR
                high_at[k] = _FAR
                hi = min(upper[i], np.int64(_NONE))
                if a < 0:
                    above[k] = -1
                    surplus[k] = 0
                    room[k] = hi - offered[i]
                    roots[n_roots] = k
                    span[n_roots] = hi - max(lower[i], np.int64(-_NONE))
                    zero_matters = zero_matters or span[n_roots] > 0
                    n_roots += 1
                else:
                    above[k] = near[a]
                    surplus[k] = must[i] - fixed[i]
                    room[k] = hi - must[i]
                    if surplus[k] > 0:
                        with_surplus[n_surplus] = k
                        n_surplus += 1
        deep = False
        walked = np.int64(0)
        # buckets serve all steps that have these prices
        if n_offers > 0 and (t == t0 or key.shape[0] > 1):
            low_key, high_key = price_range(price, down)
            shift = bucket_shift(low_key, high_key, np.int64(n_offers), place_bits)
            n_buckets = ((high_key - low_key) >> shift) + 1
            if start.shape[0] != n_buckets + 1:
                start = np.empty(n_buckets + 1, np.int64)
                in_order = np.empty(n_buckets, np.uint8)
            node_bits = bit_length(np.int64(n))
            if shift + place_bits + node_bits > 62:
                node_bits = np.int64(0)
            fill_buckets(price, down, node, low_key, shift, place_bits, node_bits, start, words)
            longest = np.int64(0)
            for b in range(n_buckets):
                in_order[b] = 0
                longest = max(longest, start[b + 1] - start[b])
            if spare.shape[0] < longest:
                spare = np.empty(longest, np.int64)
                stack = np.empty((longest // 16 + 64, 2), np.int64)
                at = np.empty(longest, np.int32)
                amount = np.empty(longest, np.int64)
            zero_bucket = (-low_key) >> shift if low_key <= 0 else np.int64(-1)
        crossed = not zero_matters
        n_open = n_roots  # roots[:n_open] may have room
        luck = np.int64(4)
        b = np.int64(0)
        while b < n_buckets and n_offers > 0:
            if not crossed and b > zero_bucket:
                _needed_only(n_roots, roots, span, above, room, deep, head, place, base, width, least, added)
                crossed = True
            while n_open > 0:
                r = roots[n_open - 1]
                left = np.int64(room[r])
                if deep:
                    left = path_least(np.int64(r), np.int64(-1), above, head, place, base, width, least, added)
                if left > 0:
                    break
                n_open -= 1
            while n_surplus > 0 and surplus[with_surplus[n_surplus - 1]] == 0:
                n_surplus -= 1
            if n_open == 0 and n_surplus == 0:
                break
            z0 = start[b]
            z1 = start[b + 1]
            mixed = not crossed and b == zero_bucket
            done = False
            if n_surplus == 0 and not mixed and z1 > z0 and (luck > 0 or in_order[b] == 0 and b % 16 == 0):
                # all of the bucket in any order; taken back where a node would close
                _look_up(words, z0, z1, places, node_bits, node, near, quantity, at, amount)
                done = True
                for j in range(z1 - z0):
                    v = np.int64(at[j])
                    if closed[v] == 1:
                        continue
                    if not deep and walked > _WALK * n_offers:
                        least, added = _cut_into_paths(
                            n_kept, above, room, surplus, link, size, heavy, head, place, base, width, least, added
                        )
                        deep = True
                    q = amount[j]
                    short = np.int64(0)
                    if deep:
                        short = path_least(v, np.int64(-1), above, head, place, base, width, least, added) - q
                        path_add(v, np.int64(-1), -q, above, head, place, base, width, least, added)
                    else:
                        while v >= 0:
                            left = room[v] - q
                            room[v] = left
                            short = min(short, left)
                            v = np.int64(above[v])
                            walked += 1
                    if short < 0:
                        for undo in range(j, -1, -1):
                            v = np.int64(at[undo])
                            if closed[v] == 1:
                                continue
                            q = amount[undo]
                            if deep:
                                path_add(v, np.int64(-1), q, above, head, place, base, width, least, added)
                            else:
                                while v >= 0:
                                    room[v] += q
                                    v = np.int64(above[v])
                        done = False
                        break
                luck = min(luck + 1, np.int64(8)) if done else luck - 2
            if not done and z1 > z0:
                if in_order[b] == 0:
                    sort_words(words, z0, z1, spare, count, stack)
                    sort_ties(words, z0, z1, place_bits, node_bits, spare, down, time, ident)
                    in_order[b] = 1
                edge = low_key + (b << shift)
                _look_up(words, z0, z1, places, node_bits, node, near, quantity, at, amount)
                for j in range(z1 - z0):
                    v = np.int64(at[j])
                    if closed[v] == 1 and crossed:
                        continue
                    p = edge + (words[z0 + j] >> (place_bits + node_bits))
                    o = (words[z0 + j] >> node_bits) & places
                    if mixed and not crossed and (p > 0 or (p == 0 and not (two_ways and down[o] == 1))):
                        _needed_only(n_roots, roots, span, above, room, deep, head, place, base, width, least, added)
                        crossed = True
                    if closed[v] == 1:
                        continue
                    if not deep and walked > _WALK * n_offers:
                        least, added = _cut_into_paths(
                            n_kept, above, room, surplus, link, size, heavy, head, place, base, width, least, added
                        )
                        deep = True
                    q = amount[j]
                    if deep:
                        take = _along_paths(v, q, above, surplus, link, head, place, base, width, least, added)
                        if take < q:
                            _close(v, p, o, take, closed, end_key, end_offer, end_take)
                    else:
                        walked += _climb(v, q, p, o, above, room, surplus, closed, end_key, end_offer, end_take)
            b += 1
        if b < n_buckets:
            edge = low_key + (b << shift)
            for k in range(n_kept):
                if closed[k] == 0:
                    end_key[k] = edge
        state_out[t, 3] = PATHS if deep else CLIMB
        for o in range(n_offers):
            v = near[node[o]]
            q = quantity[o]
            p = np.int64(-price[o] if two_ways and down[o] == 1 else price[o])
            take = q
            if p >= end_key[v]:
                take = np.int64(0)
                if p == end_key[v] and end_offer[v] >= 0:
                    if end_offer[v] == o:
                        take = end_take[v]
                    elif first_of_two(o, end_offer[v], down, time, ident):
                        take = q
            if with_prices:
                if take > 0:
                    low_at[v] = max(low_at[v], p)
                if take < q:
                    high_at[v] = min(high_at[v], p)
            if two_ways and down[o] == 1:
                take = q - take
                y[node[o]] -= take
            else:
                y[node[o]] += take
            accepted[o] = take
        for i in range(n - 1, -1, -1):
            if parent[i] >= 0:
                y[parent[i]] += y[i]
        if with_prices:
            _prices(n_kept, kept, above, low_at, high_at, y, lower, upper, price_at)
            for i in range(n):
                price_out[t, i] = price_at[near[i]]
