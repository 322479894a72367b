"""Room on the paths of a forest under additions to whole paths: heavy paths, a tree of minima over each.

A path to the root crosses at most log2(n) heavy paths, and costs the logarithm of each one's length: O(log^2 n) at
worst, O(log n) on a chain.
"""

import numpy as np

from flexcore.kernels._jit import inner


@inner
def build_paths(above, n, size, heavy, head, place, base, width):
    """Cut a forest (parents first) into heavy paths; returns the length of the arrays of minima.

    The path that starts at head h has a tree of width[h] leaves, of which node i is leaf place[i], from base[h] on.
    """
    for k in range(n):
        size[k] = 1
        heavy[k] = -1
    for k in range(n - 1, -1, -1):
        a = above[k]
        if a >= 0:
            size[a] += size[k]
            if heavy[a] < 0 or size[k] > size[heavy[a]]:
                heavy[a] = k
    total = np.int64(0)
    for k in range(n):
        a = above[k]
        if a >= 0 and heavy[a] == k:
            continue
        length = np.int64(0)
        i = np.int64(k)
        while i >= 0:
            head[i] = k
            place[i] = length
            length += 1
            i = np.int64(heavy[i])
        leaves = np.int64(1)
        while leaves < length:
            leaves *= 2
        base[k] = total
        width[k] = leaves
        total += 2 * leaves
    return total


@inner
def fill_paths(room, n, head, place, base, width, least, added, none):
    """Write the minima of all paths; leaves without a node have `none`."""
    for i in range(least.shape[0]):
        least[i] = none
        added[i] = 0
    for k in range(n):
        h = head[k]
        least[base[h] + width[h] + place[k]] = room[k]
    for k in range(n):
        if head[k] == k:
            for i in range(width[k] - 1, 0, -1):
                least[base[k] + i] = min(least[base[k] + 2 * i], least[base[k] + 2 * i + 1])


@inner
def _range_least(b, left, right, least, added):
    """Smallest leaf from left to right, both included, in the tree that starts at b."""
    low = least[b + left]
    high = least[b + right]
    while left >> 1 != right >> 1:
        if left & 1 == 0:
            low = min(low, least[b + left + 1])
        if right & 1 == 1:
            high = min(high, least[b + right - 1])
        left >>= 1
        right >>= 1
        low += added[b + left]
        high += added[b + right]
    low = min(low, high)
    left >>= 1
    while left > 0:
        low += added[b + left]
        left >>= 1
    return low


@inner
def _range_add(b, left, right, change, least, added):
    least[b + left] += change
    if left != right:
        least[b + right] += change
    while left >> 1 != right >> 1:
        if left & 1 == 0:
            least[b + left + 1] += change
            added[b + left + 1] += change
        if right & 1 == 1:
            least[b + right - 1] += change
            added[b + right - 1] += change
        left >>= 1
        right >>= 1
        least[b + left] = min(least[b + 2 * left], least[b + 2 * left + 1]) + added[b + left]
        least[b + right] = min(least[b + 2 * right], least[b + 2 * right + 1]) + added[b + right]
    left >>= 1
    while left > 0:
        least[b + left] = min(least[b + 2 * left], least[b + 2 * left + 1]) + added[b + left]
        left >>= 1


@inner
def path_least(i, stop, above, head, place, base, width, least, added):
    """Smallest room from node i up to, but without, its ancestor `stop` (-1: up to the root)."""
    low = np.int64(2**62)
    while i != stop and i >= 0:
        h = head[i]
        b = base[h]
        w = width[h]
        if stop >= 0 and head[stop] == h:
            return min(low, _range_least(b, w + place[stop] + 1, w + place[i], least, added))
        low = min(low, _range_least(b, np.int64(w), w + place[i], least, added))
        i = np.int64(above[h])
    return low


@inner
def path_add(i, stop, change, above, head, place, base, width, least, added):
    """Add to the room of node i and all above it, up to, but without, its ancestor `stop`."""
    while i != stop and i >= 0:
        h = head[i]
        b = base[h]
        w = width[h]
        if stop >= 0 and head[stop] == h:
            _range_add(b, w + place[stop] + 1, w + place[i], change, least, added)
            return
        _range_add(b, np.int64(w), w + place[i], change, least, added)
        i = np.int64(above[h])
