"""Resting orders of a continuous book: a segment tree of ranks over places, and a heap of ranges by their best order.

All orders of a step are known when it starts, so each gets a fixed *place* (by class, node and rank) and a fixed *rank*
(by class, ask and arrival). The tree holds the least rank of what rests: the best order at and below an element is one
range query, and what is skipped only splits the range. Heaps per element would need as many queries as there are
elements below, and could not leave out a full subtree at once.
"""

import numpy as np

from flexcore.kernels._jit import inner

NONE = np.int32(2**31 - 1)
REQUEST = np.uint8(1)


@inner
def put(tree, place, rank):
    """Write a leaf of the segment tree, NONE: nothing rests there; stops where nothing changes above."""
    i = tree.shape[0] // 2 + place
    tree[i] = rank
    i >>= 1
    while i >= 1:
        least = min(tree[2 * i], tree[2 * i + 1])
        if tree[i] == least:
            break
        tree[i] = least
        i >>= 1


@inner
def least_rank(tree, lo, hi):
    """Return the least rank at places lo..hi."""
    n = tree.shape[0] // 2
    least = NONE
    a = np.int64(lo) + n
    b = np.int64(hi) + n
    while a < b:
        if a & 1:
            least = min(least, tree[a])
            a += 1
        if b & 1:
            b -= 1
            least = min(least, tree[b])
        a >>= 1
        b >>= 1
    return least


@inner
def enter(k, rank, place, kind, down, node, tree, best):
    """Let an order rest."""
    put(tree, place[k], rank[k])
    if kind[k] == REQUEST:
        best[down[k], node[k]] = min(best[down[k], node[k]], rank[k])


@inner
def remove(k, rank, place, kind, down, node, first, tree, best):
    """Take an order out."""
    put(tree, place[k], NONE)
    if kind[k] == REQUEST and best[down[k], node[k]] == rank[k]:
        group = 2 + down[k]
        best[down[k], node[k]] = least_rank(tree, first[group, node[k]], first[group, node[k] + 1])


@inner
def push(heap, n_heap, lo, hi, limit, now, by_rank, rank, place, kind, down, node, ask, leaves, first, tree, best):
    """Put a range of places on the heap under its best order, unless none asks at most `limit`; returns the size.

    Orders whose time is over are taken out here, when they are met.
    """
    if lo >= hi:
        return n_heap
    while True:
        least = least_rank(tree, lo, hi)
        if least == NONE:
            return n_heap
        k = by_rank[least]
        if leaves[k] > now:
            break
        remove(k, rank, place, kind, down, node, first, tree, best)
    if ask[k] > limit:
        return n_heap
    i = n_heap
    while i > 0:
        above = (i - 1) >> 1
        other = heap[above, 0]
        if ask[other] < ask[k] or (ask[other] == ask[k] and other < k):
            break
        heap[i] = heap[above]
        i = above
    heap[i, 0] = k
    heap[i, 1] = lo
    heap[i, 2] = hi
    return n_heap + 1


@inner
def pop(heap, n_heap, ask):
    """Close the gap that taking the top leaves; returns the size."""
    n_heap -= 1
    last_k = heap[n_heap, 0]
    last_lo = heap[n_heap, 1]
    last_hi = heap[n_heap, 2]
    i = np.int64(0)
    while True:
        child = 2 * i + 1
        if child >= n_heap:
            break
        k = heap[child, 0]
        if child + 1 < n_heap:
            other = heap[child + 1, 0]
            if ask[other] < ask[k] or (ask[other] == ask[k] and other < k):
                child += 1
                k = other
        if ask[last_k] < ask[k] or (ask[last_k] == ask[k] and last_k < k):
            break
        heap[i] = heap[child]
        i = child
    heap[i, 0] = last_k
    heap[i, 1] = last_lo
    heap[i, 2] = last_hi
    return n_heap
