"""Fair limits per node below nested headrooms: the weighted max-min point, which also reaches the maximum flow."""

import math

import numpy as np

from flexcore.kernels._jit import F64_2D, F64_2D_OUT, I32, i64, inner, kernel


@inner
def meld(a, b, key, left, right, rank):
    """Join two leftist heaps with the largest key on top; returns the new top.

    Merged without recursion: the two right spines are woven into one from the top, then put back in shape from the
    bottom. `rank` holds the length of the right spine, so both take O(log n).
    """
    if a < 0:
        return b
    if b < 0:
        return a
    if key[b] > key[a] or (key[b] == key[a] and b < a):
        a, b = b, a
    top = a
    above = np.int64(-1)
    at = np.int64(a)
    # weave: what is woven so far ends in `at`; its right child and `b` are still to be joined
    # `rank` is lent to the way back: the parent of each node on the spine
    while True:
        rest = np.int64(right[at])
        rank[at] = above
        if rest < 0:
            right[at] = b
            break
        if key[b] > key[rest] or (key[b] == key[rest] and b < rest):
            rest, b = b, rest
        right[at] = rest
        above = at
        at = rest
    while at >= 0:
        up = np.int64(rank[at])
        child = np.int64(right[at])
        other = np.int64(left[at])
        deep = rank[child] if child >= 0 else 0
        deep_other = rank[other] if other >= 0 else 0
        if deep > deep_other:
            left[at] = child
            right[at] = other
            deep, deep_other = deep_other, deep
        rank[at] = deep + 1
        at = up
    return top


@kernel(I32, F64_2D, F64_2D, F64_2D, F64_2D_OUT, i64, i64)
def fair_limits(parent, headroom, power, weight, limit_out, t0, t1):
    """Find limits min(power, weight * level), level the smallest on the path up, for steps t0..t1; all (step, node).

    From the leaves up, a heap keeps entries (level, weight) that carry level * weight each. Where an element is
    exceeded the highest are taken off and put back as one entry, at the level that uses up its headroom. Each
    entry is taken off once, so a step costs O(n log n).
    """
    n = parent.shape[0]
    key = np.empty(n)
    mass = np.empty(n)
    left = np.empty(n, np.int64)
    right = np.empty(n, np.int64)
    rank = np.empty(n, np.int64)
    heap = np.empty(n, np.int64)
    carried = np.empty(n)
    level = np.empty(n)
    for t in range(t0, t1):
        for i in range(n):
            left[i] = -1
            right[i] = -1
            rank[i] = 1
            heap[i] = i if power[t, i] > 0.0 else -1
            key[i] = power[t, i] / weight[t, i]
            mass[i] = weight[t, i]
            carried[i] = power[t, i]
        for i in range(n - 1, -1, -1):
            room = max(headroom[t, i], 0.0)
            level[i] = math.inf
            if carried[i] > room:
                rest = carried[i]
                total = 0.0
                reach = 0.0
                e = np.int64(-1)
                while heap[i] >= 0 and (e < 0 or reach < key[heap[i]]):
                    e = heap[i]
                    rest -= key[e] * mass[e]
                    total += mass[e]
                    heap[i] = meld(left[e], right[e], key, left, right, rank)
                    if heap[i] < 0:
                        rest = 0.0  # nothing is left but rounding
                    reach = max(room - rest, 0.0) / total
                level[i] = reach
                key[e] = reach
                mass[e] = total
                left[e] = -1
                right[e] = -1
                rank[e] = 1
                heap[i] = meld(e, heap[i], key, left, right, rank)
                carried[i] = room
            up = parent[i]
            if up >= 0:
                heap[up] = meld(heap[up], heap[i], key, left, right, rank)
                carried[up] += carried[i]
        for i in range(n):
            if parent[i] >= 0:
                level[i] = min(level[i], level[parent[i]])
            limit_out[t, i] = min(power[t, i], weight[t, i] * level[i]) if power[t, i] > 0.0 else 0.0
