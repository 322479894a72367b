"""Merit order under nested needs and limits: exact selection on a tree, whole watts, both directions.

The least cost of a net activation y below an element is convex and piecewise linear. Its slopes are the offers below,
sorted: the pieces of a down offer, dearest first (giving it back saves most), then those of an up offer, cheapest
first. Joining two subtrees merges their slopes; a limit cuts the ends off; a need of y >= l makes all slopes left of l
steeper by one *level*, a unit that outweighs every price, so that least unserved need comes before least cost. Each
level of a subtree is a binary trie over the offers' rank in the merit order with the volume as sum: tries merge in
O(log n) amortised per offer and split at a volume in O(log n). Sorted arrays would be simpler, but cost the depth of
the tree per offer.
"""

import numpy as np

from flexcore.kernels._jit import I32, I32_2D, I64_2D, I64_2D_OUT, U8, i64, inner, kernel


@inner
def _take_node(pool, left, right, total):
    """Give an empty trie node; pool[0] = nodes ever used, pool[1] = head of the list of freed ones (linked by left)."""
    if pool[1] != 0:
        node = pool[1]
        pool[1] = left[node]
    else:
        pool[0] += 1
        node = pool[0]
    left[node] = 0
    right[node] = 0
    total[node] = 0
    return node


@inner
def _free_node(node, pool, left):
    left[node] = pool[1]
    pool[1] = node


@inner
def _insert(root, rank, volume, n_bits, pool, left, right, total):
    """Add volume at a rank; returns the root, made if it was 0."""
    if root == 0:
        root = _take_node(pool, left, right, total)
    node = root
    total[node] += volume
    for bit in range(n_bits - 1, -1, -1):
        if (rank >> bit) & 1:
            if right[node] == 0:
                right[node] = _take_node(pool, left, right, total)
            node = right[node]
        else:
            if left[node] == 0:
                left[node] = _take_node(pool, left, right, total)
            node = left[node]
        total[node] += volume
    return root


@inner
def _merge(a, b, stack_a, stack_b, pool, left, right, total):
    """Join two tries, reusing the nodes of the first; the second is used up."""
    if a == 0:
        return b
    if b == 0:
        return a
    top = np.int64(1)
    stack_a[0] = a
    stack_b[0] = b
    while top > 0:
        top -= 1
        x = stack_a[top]
        y = stack_b[top]
        total[x] += total[y]
        if left[y] != 0:
            if left[x] == 0:
                left[x] = left[y]
            else:
                stack_a[top] = left[x]
                stack_b[top] = left[y]
                top += 1
        if right[y] != 0:
            if right[x] == 0:
                right[x] = right[y]
            else:
                stack_a[top] = right[x]
                stack_b[top] = right[y]
                top += 1
        _free_node(y, pool, left)
    return a


@inner
def _split(root, volume, pool, left, right, total):
    """Move the lowest ranks, 0 < volume < total, to a new trie; returns its root, the old root keeps the rest."""
    low = _take_node(pool, left, right, total)
    total[low] = volume
    total[root] -= volume
    a = root
    b = low
    rest = np.int64(volume)
    while left[a] != 0 or right[a] != 0:
        below = left[a]
        in_left = np.int64(total[below]) if below != 0 else np.int64(0)
        if rest < in_left:
            child = _take_node(pool, left, right, total)
            left[b] = child
            a = below
        else:
            left[b] = below
            left[a] = 0
            rest -= in_left
            if rest == 0:
                break
            child = _take_node(pool, left, right, total)
            right[b] = child
            a = right[a]
        total[child] = rest
        total[a] -= rest
        b = child
    return low


@inner
def _settle(root, dropped, n_down, n_bits, live, accepted, stack_a, stack_b, pool, left, right, total):
    """Decide all volume of a trie and free it: taken up to its top end, or dropped.

    Taking the piece of an up offer accepts it; dropping the piece of a down offer leaves that offer accepted.
    """
    if root == 0:
        return
    top = np.int64(1)
    stack_a[0] = root
    stack_b[0] = 1  # a leading 1 marks how many bits of the rank are known
    full = np.int64(1) << n_bits
    while top > 0:
        top -= 1
        node = stack_a[top]
        path = np.int64(stack_b[top])
        if path >= full:
            rank = path - full
            if (rank < n_down) == dropped:
                accepted[live[rank]] += total[node]
        else:
            child_left = left[node]
            child_right = right[node]
            if child_left != 0:
                stack_a[top] = child_left
                stack_b[top] = 2 * path
                top += 1
            if child_right != 0:
                stack_a[top] = child_right
                stack_b[top] = 2 * path + 1
                top += 1
        _free_node(node, pool, left)


@kernel(I32, I32, I64_2D, I64_2D, I32, U8, I32_2D, I64_2D, I64_2D_OUT, i64, i64)
def tree_merit_order(parent, feeder, lower_w, upper_w, offer_node, offer_down, order, quantity_w, accepted_out, t0, t1):
    """Select offers for steps t0..t1: least unserved need first, then least cost, no row broken or made worse.

    Parameters
    ----------
    parent, feeder : int32 (n_nodes,)
        Preorder; feeder is the child of the root above a node, -1 at a root. Roots have no row.
    lower_w, upper_w : int64 (n_steps, n_nodes)
        Bounds on y = up - down at and below the node. Above zero: need for up; below zero: need for down.
    offer_node, offer_down : int32, uint8 (n_offers,)
    order : int32 (1 or n_steps, n_offers)
        Down offers from the last of their merit order to the first, then up offers from the first to the last.
    quantity_w, accepted_out : int64 (n_steps, n_offers)
    """
    n = parent.shape[0]
    n_offers = offer_node.shape[0]
    slot_of = np.empty(n, np.int32)
    first = np.empty(n, np.int32)
    n_above = np.empty(n, np.int32)
    needy = np.empty(n, np.uint8)
    following = np.empty(n_offers, np.int32)
    live = np.empty(n_offers, np.int32)
    stack_a = np.empty(130, np.int32)
    stack_b = np.empty(130, np.int64)
    stack_c = np.empty(130, np.int32)
    pool = np.zeros(2, np.int32)
    for t in range(t0, t1):
        accepted = accepted_out[t]
        for o in range(n_offers):
            accepted[o] = 0
        # levels: how many needs lie above one another; only feeders with a need are looked at
        n_needs = np.int64(0)
        most_above = np.int64(0)
        for i in range(n):
            needy[i] = 0
            n_above[i] = 0
            if parent[i] < 0:
                continue
            count = np.int64(lower_w[t, i] > 0) + np.int64(upper_w[t, i] < 0)
            n_above[i] = n_above[parent[i]] + count
            if count > 0:
                n_needs += count
                needy[feeder[i]] = 1
                most_above = max(most_above, np.int64(n_above[i]))
        if n_needs == 0:
            continue
        row = t if order.shape[0] > 1 else 0
        for i in range(n):
            slot_of[i] = -1
            first[i] = -1
        n_live = np.int64(0)
        n_down = np.int64(0)
        for place in range(n_offers):
            o = order[row, place]
            node = offer_node[o]
            if quantity_w[t, o] > 0 and feeder[node] >= 0 and needy[feeder[node]] == 1:
                live[n_live] = o
                following[n_live] = first[node]
                first[node] = n_live
                n_live += 1
                n_down += offer_down[o]
        if n_live == 0:
            continue
        n_bits = np.int64(0)
        while (np.int64(1) << n_bits) < n_live:
            n_bits += 1
        # every offer and every cut at a need or limit adds one path; cuts at limits are freed at once
        size = (n_live + n_needs + 4) * (n_bits + 2) + 2
        left = np.zeros(size, np.int32)
        right = np.zeros(size, np.int32)
        total = np.zeros(size, np.int64)
        pool[0] = 0
        pool[1] = 0
        zero = most_above + 1  # column of level 0
        # a slot holds the slopes of one finished subtree until they are joined to the parent's: few live at once
        levels = np.zeros((16, 2 * zero + 1), np.int32)
        ends = np.zeros((16, 2), np.int64)  # smallest and largest reachable y
        lowest = np.full(16, zero, np.int64)
        highest = np.full(16, zero, np.int64)
        unused = np.empty(16, np.int32)
        n_slots = np.int64(0)
        n_unused = np.int64(0)
        for i in range(n - 1, -1, -1):
            above = parent[i]
            if above < 0:
                continue
            if first[i] >= 0:
                s = slot_of[i]
                if s < 0:
                    if n_unused > 0:
                        n_unused -= 1
                        s = unused[n_unused]
                    else:
                        s = n_slots
                        n_slots += 1
                        if n_slots > levels.shape[0]:
                            levels = np.concatenate((levels, np.zeros_like(levels)))
                            ends = np.concatenate((ends, np.zeros_like(ends)))
                            lowest = np.concatenate((lowest, np.full(s, zero, np.int64)))
                            highest = np.concatenate((highest, np.full(s, zero, np.int64)))
                            unused = np.concatenate((unused, np.zeros_like(unused)))
                    lowest[s] = zero
                    highest[s] = zero
                    ends[s, 0] = 0
                    ends[s, 1] = 0
                    slot_of[i] = s
                rank = np.int64(first[i])
                while rank >= 0:
                    q = quantity_w[t, live[rank]]
                    levels[s, zero] = _insert(levels[s, zero], rank, q, n_bits, pool, left, right, total)
                    if rank < n_down:
                        ends[s, 0] -= q
                    else:
                        ends[s, 1] += q
                    rank = np.int64(following[rank])
            s = slot_of[i]
            if s < 0:
                continue
            lower = lower_w[t, i]
            upper = upper_w[t, i]
            if lower > 0:  # need for up: everything left of it rises by one level
                rest = min(lower, ends[s, 1]) - ends[s, 0]
                k = lowest[s]
                while rest > 0:
                    root = levels[s, k]
                    volume = np.int64(total[root]) if root != 0 else np.int64(0)
                    if volume <= rest:
                        levels[s, k - 1] = root
                        levels[s, k] = 0
                    else:
                        levels[s, k - 1] = _split(root, rest, pool, left, right, total)
                    rest -= min(volume, rest)
                    k += 1
                lowest[s] -= 1
            if upper < 0:  # need for down: everything right of it
                rest = ends[s, 1] - max(upper, ends[s, 0])
                k = highest[s]
                while rest > 0:
                    root = levels[s, k]
                    volume = np.int64(total[root]) if root != 0 else np.int64(0)
                    if volume <= rest:
                        levels[s, k + 1] = root
                        levels[s, k] = 0
                    else:
                        levels[s, k] = _split(root, volume - rest, pool, left, right, total)
                        levels[s, k + 1] = root
                    rest -= min(volume, rest)
                    k -= 1
                highest[s] += 1
            # a row may not be broken, nor made worse where nothing selected breaks it already
            rest = min(lower, np.int64(0)) - ends[s, 0]
            if rest > 0:
                ends[s, 0] += rest
                k = lowest[s]
                while rest > 0:
                    root = levels[s, k]
                    volume = np.int64(total[root]) if root != 0 else np.int64(0)
                    if volume <= rest:
                        levels[s, k] = 0
                    else:
                        root = _split(root, rest, pool, left, right, total)
                    _settle(root, False, n_down, n_bits, live, accepted, stack_a, stack_b, pool, left, right, total)
                    rest -= min(volume, rest)
                    k += 1
            rest = ends[s, 1] - max(upper, np.int64(0))
            if rest > 0:
                ends[s, 1] -= rest
                k = highest[s]
                while rest > 0:
                    root = levels[s, k]
                    volume = np.int64(total[root]) if root != 0 else np.int64(0)
                    if volume <= rest:
                        levels[s, k] = 0
                    else:
                        levels[s, k] = _split(root, volume - rest, pool, left, right, total)
                    _settle(root, True, n_down, n_bits, live, accepted, stack_a, stack_b, pool, left, right, total)
                    rest -= min(volume, rest)
                    k -= 1
            if feeder[i] == i:
                # nothing above: take what lies left of every need, drop what lies right of one; at level 0 a down
                # piece is given back and an up piece not bought, because prices count as positive
                for k in range(lowest[s], highest[s] + 1):
                    if k != zero:
                        _settle(
                            levels[s, k], k > zero, n_down, n_bits, live, accepted, stack_a, stack_b, pool, left,
                            right, total,
                        )  # fmt: skip
                    levels[s, k] = 0
                unused[n_unused] = s
                n_unused += 1
                continue
            u = slot_of[above]
            if u < 0:
                slot_of[above] = s
                continue
            for k in range(lowest[s], highest[s] + 1):
                levels[u, k] = _merge(levels[u, k], levels[s, k], stack_a, stack_c, pool, left, right, total)
                levels[s, k] = 0
            lowest[u] = min(lowest[u], lowest[s])
            highest[u] = max(highest[u], highest[s])
            ends[u, 0] += ends[s, 0]
            ends[u, 1] += ends[s, 1]
            unused[n_unused] = s
            n_unused += 1
