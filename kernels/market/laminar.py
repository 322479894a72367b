"""Merit order under hard lower and upper bounds on the sums at and below the nodes of a forest; whole watts.

With G_i the least that node i must carry (its lower bound or what its children must carry), an offer may take as much
as the climb from its node to the root allows: at each node the part that it has yet to buy for its own lower bound
(its *surplus* of G over the children's) vanishes, and the rest must fit into upper - G (its *room*). Surplus and room
never grow, so an offer that gets less than it offers closes its node for good, and an order of offers is needed only
where a node closes: a bucket of offers that all fit is taken in any order.
"""

import numpy as np

from flexcore.kernels._jit import I32, I32_OUT, I64, I64_2D, I64_2D_OUT, I64_OUT, U8, i64, inner, kernel
from flexcore.kernels.market.nested_rooms import ABOVE, END_KEY, END_OFFER, END_TAKE, buy
from flexcore.kernels.market.offer_buckets import bit_length, fill_buckets, first_of_two, plan_buckets

_NONE = 2**61  # bounds beyond it count as none
_FAR = 2**62
MET, TOO_LITTLE_ROOM, TOO_LITTLE_OFFERED = 0, 1, 2


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
def _carry(parent, node, down, quantity, lower, upper, must, can, from_below, kept_at, state):
    """Write what each node must and can carry, and what its children must; returns whether all can be met.

    A node is kept if its bounds can matter: more can come from below than it may carry, or less must.
    """
    n = parent.shape[0]
    for i in range(n):
        must[i] = 0
        can[i] = 0
    for o in range(node.shape[0]):
        can[node[o]] += quantity[o]
    if down.shape[0] > 0:
        for o in range(node.shape[0]):
            if down[o] == 1:
                must[node[o]] -= quantity[o]
                can[node[o]] -= quantity[o]
    for i in range(n - 1, -1, -1):
        lo = max(lower[i], np.int64(-_NONE))
        hi = min(upper[i], np.int64(_NONE))
        from_below[i] = must[i]
        kept_at[i] = parent[i] < 0 or lo > must[i] or hi < can[i]
        must[i] = max(lo, must[i])
        can[i] = min(hi, can[i])
        gap = np.int64(0)
        if must[i] > hi:
            state[0] = TOO_LITTLE_ROOM
            gap = must[i] - hi
        elif can[i] < must[i]:
            state[0] = TOO_LITTLE_OFFERED
            gap = must[i] - can[i]
        if gap > 0:
            state[1] = i
            state[2] = gap
            return False
        if parent[i] >= 0:
            must[parent[i]] += must[i]
            can[parent[i]] += can[i]
    return True


@inner
def _keep(parent, lower, upper, must, from_below, kept_at, kept, near, paths, room, surplus, roots, span, sources):
    """Number the kept nodes, parents first, with room and surplus; returns how many, roots, and those with surplus.

    A root has no surplus: price order buys for its lower bound, which is met in the end.
    """
    n_kept = np.int64(0)
    n_roots = np.int64(0)
    n_sources = np.int64(0)
    for i in range(parent.shape[0]):
        a = parent[i]
        if kept_at[i] == 0:
            near[i] = near[a]
            continue
        k = n_kept
        n_kept += 1
        kept[k] = i
        near[i] = k
        hi = min(upper[i], np.int64(_NONE))
        if a < 0:
            paths[ABOVE, k] = -1
            surplus[k] = 0
            room[k] = hi - from_below[i]
            roots[n_roots] = k
            span[n_roots] = hi - max(lower[i], np.int64(-_NONE))
            n_roots += 1
        else:
            paths[ABOVE, k] = near[a]
            surplus[k] = must[i] - from_below[i]
            room[k] = hi - must[i]
            if surplus[k] > 0:
                sources[n_sources] = k
                n_sources += 1
    return n_kept, n_roots, n_sources


@inner
def _award(node, down, quantity, price, time, ident, near, end, low_at, high_at, with_prices, accepted, y):
    """Write what each offer gets from where its node ends, the sums at the nodes, and the prices around the ends."""
    two_ways = down.shape[0] > 0
    for o in range(node.shape[0]):
        v = near[node[o]]
        q = quantity[o]
        is_down = two_ways and down[o] == 1
        p = np.int64(-price[o] if is_down else price[o])
        take = q if p < end[END_KEY, v] else np.int64(0)
        if p == end[END_KEY, v] and end[END_OFFER, v] >= 0:
            if end[END_OFFER, v] == o:
                take = end[END_TAKE, v]
            elif first_of_two(o, end[END_OFFER, v], down, time, ident):
                take = q
        if with_prices:
            low_at[v] = max(low_at[v], p if take > 0 else np.int64(-_FAR))
            high_at[v] = min(high_at[v], p if take < q else np.int64(_FAR))
        if is_down:
            take = q - take
            y[node[o]] -= take
        else:
            y[node[o]] += take
        accepted[o] = take


@inner
def _prices(n_kept, kept, paths, low, high, y, lower, upper, price_at):
    """Write the value of one more W at each kept node: as near as can be to the one above.

    low, high: dearest piece taken and cheapest piece left at the node. A node between its bounds has the price above
    it; one at its lower bound has at least that, one at its upper bound at most.
    """
    for k in range(n_kept - 1, -1, -1):
        a = paths[ABOVE, k]
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
        if paths[ABOVE, k] >= 0:
            near = np.int64(price_at[paths[ABOVE, k]])
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
    with_prices = price_out.shape[0] > 0
    must = np.empty(n, np.int64)
    can = np.empty(n, np.int64)
    from_below = np.empty(n, np.int64)
    kept_at = np.empty(n, np.uint8)
    near = np.empty(n, np.int32)  # kept node at or above a node
    kept = np.empty(n, np.int32)
    paths = np.empty((6, n), np.int32)
    minima = np.empty((2, 4 * n), np.int64)  # touched only where walks are long
    room = np.empty(n, np.int64)
    surplus = np.empty(n, np.int64)
    closed = np.empty(n, np.uint8)
    end = np.empty((3, n), np.int64)
    low_at = np.empty(n, np.int64)
    high_at = np.empty(n, np.int64)
    roots = np.empty(n, np.int32)
    span = np.empty(n, np.int64)
    sources = np.empty(n, np.int32)
    plan = np.empty(5, np.int64)
    start = np.zeros(2, np.int64)
    in_order = np.zeros(1, np.uint8)
    longest = np.int64(0)
    filled = False
    for t in range(t0, t1):
        quantity = quantity_w[t if quantity_w.shape[0] > 1 else 0]
        lower = lower_w[t if lower_w.shape[0] > 1 else 0]
        upper = upper_w[t if upper_w.shape[0] > 1 else 0]
        price = key[t if key.shape[0] > 1 else 0]
        accepted = accepted_out[t]
        y = y_out[t]
        state = state_out[t]
        state[0] = MET
        state[1] = -1
        state[2] = 0
        state[3] = 0
        for i in range(n):
            y[i] = 0
        if not _carry(parent, node, down, quantity, lower, upper, must, can, from_below, kept_at, state):
            for o in range(n_offers):
                accepted[o] = 0
            if with_prices:
                for i in range(n):
                    price_out[t, i] = 0
            continue
        n_kept, n_roots, n_sources = _keep(
            parent, lower, upper, must, from_below, kept_at, kept, near, paths, room, surplus, roots, span, sources
        )
        for k in range(n_kept):
            closed[k] = 0
            end[END_KEY, k] = _FAR
            end[END_OFFER, k] = -1
            end[END_TAKE, k] = 0
            low_at[k] = -_FAR
            high_at[k] = _FAR
        if n_offers > 0:
            if not filled or key.shape[0] > 1:  # buckets serve all steps that have these prices
                n_buckets = plan_buckets(price, down, bit_length(np.int64(n)), plan)
                if start.shape[0] != n_buckets + 1:
                    start = np.empty(n_buckets + 1, np.int64)
                    in_order = np.empty(n_buckets, np.uint8)
                longest = fill_buckets(price, down, node, plan, start, words)
                for b in range(n_buckets):
                    in_order[b] = 0
                filled = True
            state[3] = buy(
                node, down, quantity, time, ident, near, plan, start, in_order, longest, words, paths, minima, room,
                surplus, closed, end, n_kept, roots[:n_roots], span, sources[:n_sources],
            )  # fmt: skip
        _award(node, down, quantity, price, time, ident, near, end, low_at, high_at, with_prices, accepted, y)
        for i in range(n - 1, -1, -1):
            if parent[i] >= 0:
                y[parent[i]] += y[i]
        if with_prices:
            _prices(n_kept, kept, paths, low_at, high_at, y, lower, upper, room)
            for i in range(n):
                price_out[t, i] = room[near[i]]
