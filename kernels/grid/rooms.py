"""Turns rows, a bound for each node and step, into the rooms of one direction: step by step, on the kept elements."""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, f64, i64, kernel


@kernel(I32, I32, I32, f64, F64, F64_2D, F64_2D, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, i64, i64)
def rooms(order, parent, element, sign, allowed, bound, path_bound, head_out, path_out, room_out, t0, t1):
    """Work out steps t0..t1.

    Bounds are (node, step) in node order, `sign` makes room of them; `allowed` is added to the room of a path, in
    preorder. `room_out` is that room, (preorder, step); `path_out` the smallest of each kept element's subtree and
    `head_out` the room of its branch, (step, kept). Few steps at a time keep the transposition in cache.
    """
    n = order.shape[0]
    w = t1 - t0
    least = np.empty((n, w))
    for i in range(n):
        node = order[i]
        for t in range(w):
            room = max(sign * path_bound[node, t0 + t], 0.0) + allowed[i]
            room_out[i, t0 + t] = room
            least[i, t] = room
    for i in range(n - 1, -1, -1):
        k = parent[i]
        if k >= 0:
            for t in range(w):
                least[k, t] = min(least[k, t], least[i, t])
    for e in range(element.shape[0]):
        i = element[e]
        node = order[i]
        for t in range(w):
            head_out[t0 + t, e] = sign * bound[node, t0 + t]
            path_out[t0 + t, e] = least[i, t]
