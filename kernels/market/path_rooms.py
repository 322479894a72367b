"""Room on the paths of a forest under additions to whole paths: heavy paths, a tree of minima over each.

A path to the root crosses at most log2(n) heavy paths, and costs the logarithm of each one's length: O(log^2 n) at
worst, O(log n) on a chain.
"""

import numpy as np

from flexcore.kernels._jit import inner

ABOVE, HEAD, PLACE, BASE, WIDTH, LINK = 0, 1, 2, 3, 4, 5  # rows of `paths`
LEAST, ADDED = 0, 1  # rows of `minima`


@inner
def build_paths(n, room, paths, minima):
    """Cut a forest of n nodes, parents first, into heavy paths and write the minima of their rooms.

    The path that starts at head h has a tree of WIDTH leaves, of which a node is leaf PLACE, from BASE on; `minima` has
    four entries a node, which is enough. ADDED holds for the whole subtree of an entry, and is counted in its LEAST.
    """
    size = np.ones(n, np.int32)
    heavy = np.full(n, -1, np.int32)
    for k in range(n - 1, -1, -1):
        a = paths[ABOVE, k]
        if a >= 0:
            size[a] += size[k]
            if heavy[a] < 0 or size[k] > size[heavy[a]]:
                heavy[a] = k
    base = np.int64(0)
    for k in range(n):
        a = paths[ABOVE, k]
        if a >= 0 and heavy[a] == k:
            continue
        length = np.int64(0)
        i = np.int64(k)
        while i >= 0:
            paths[HEAD, i] = k
            paths[PLACE, i] = length
            length += 1
            i = np.int64(heavy[i])
        width = np.int64(1)
        while width < length:
            width *= 2
        paths[BASE, k] = base
        paths[WIDTH, k] = width
        for j in range(2 * width):
            minima[LEAST, base + j] = 2**62
            minima[ADDED, base + j] = 0
        base += 2 * width
    for k in range(n):
        h = paths[HEAD, k]
        minima[LEAST, paths[BASE, h] + paths[WIDTH, h] + paths[PLACE, k]] = room[k]
    for k in range(n):
        if paths[HEAD, k] == k:
            least = minima[LEAST, paths[BASE, k] :]
            for j in range(paths[WIDTH, k] - 1, 0, -1):
                least[j] = min(least[2 * j], least[2 * j + 1])


@inner
def _range_least(b, left, right, minima):
    """Smallest leaf from left to right, both included, in the tree that starts at b."""
    low = minima[LEAST, b + left]
    high = minima[LEAST, b + right]
    while left >> 1 != right >> 1:
        if left & 1 == 0:
            low = min(low, minima[LEAST, b + left + 1])
        if right & 1 == 1:
            high = min(high, minima[LEAST, b + right - 1])
        left >>= 1
        right >>= 1
        low += minima[ADDED, b + left]
        high += minima[ADDED, b + right]
    low = min(low, high)
    left >>= 1
    while left > 0:
        low += minima[ADDED, b + left]
        left >>= 1
    return low


@inner
def _add(entry, change, minima):
    minima[LEAST, entry] += change
    minima[ADDED, entry] += change


@inner
def _again(b, j, minima):
    """Count the minimum of an entry anew."""
    below = min(minima[LEAST, b + 2 * j], minima[LEAST, b + 2 * j + 1])
    minima[LEAST, b + j] = below + minima[ADDED, b + j]


@inner
def _range_add(b, left, right, change, minima):
    minima[LEAST, b + left] += change
    if left != right:
        minima[LEAST, b + right] += change
    while left >> 1 != right >> 1:
        if left & 1 == 0:
            _add(b + left + 1, change, minima)
        if right & 1 == 1:
            _add(b + right - 1, change, minima)
        left >>= 1
        right >>= 1
        _again(b, left, minima)
        _again(b, right, minima)
    left >>= 1
    while left > 0:
        _again(b, left, minima)
        left >>= 1


@inner
def path_least(i, stop, paths, minima):
    """Smallest room from node i up to, but without, its ancestor `stop` (-1: up to the root)."""
    low = np.int64(2**62)
    while i != stop and i >= 0:
        h = np.int64(paths[HEAD, i])
        w = np.int64(paths[WIDTH, h])
        b = np.int64(paths[BASE, h])
        right = w + paths[PLACE, i]
        if stop >= 0 and paths[HEAD, stop] == h:
            return min(low, _range_least(b, w + paths[PLACE, stop] + 1, right, minima))
        low = min(low, _range_least(b, w, right, minima))
        i = np.int64(paths[ABOVE, h])
    return low


@inner
def path_add(i, stop, change, paths, minima):
    """Add to the room of node i and all above it, up to, but without, its ancestor `stop`."""
    while i != stop and i >= 0:
        h = np.int64(paths[HEAD, i])
        w = np.int64(paths[WIDTH, h])
        b = np.int64(paths[BASE, h])
        right = w + paths[PLACE, i]
        if stop >= 0 and paths[HEAD, stop] == h:
            _range_add(b, w + paths[PLACE, stop] + 1, right, change, minima)
            return
        _range_add(b, w, right, change, minima)
        i = np.int64(paths[ABOVE, h])
