"""Caps in merit order: the most valuable perimeter takes all that the rows leave it, then the next.

Exact where perimeters are whole subtrees side by side and only branches bind (a polymatroid); elsewhere a start for a
search, and a way to use up what a search left. Arrays as in `capability`.
"""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, F64_OUT, I32, I32_2D_OUT, U8_2D_OUT, i64, kernel
from flexcore.kernels.grid.capability import capability_alone, power_below, worst_case

_SHARED = 3


@kernel(
    I32, F64, I32, I32, I32, I32, I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, F64_2D_OUT, F64_OUT, i64, i64
)  # fmt: skip
def raise_in_order(
    parent,
    m,
    label,
    own,
    top,
    pair_ptr,
    pair_element,
    pair_k,
    pair_up,
    power,
    headroom,
    headroom_path,
    most,
    value,
    cap_out,
    bound_out,
    t0,
    t1,
):
    """Raise caps one after the other as far as all rows allow, largest value first, for steps t0..t1.

    `cap_out` holds safe caps to start from; `most` is what no cap may exceed, at most the stand-alone caps. `bound_out`
    is a value that no safe caps exceed: that of the merit order if only `most` counted and, for each branch, the caps
    of the perimeters that lie wholly below it.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    n_p = pair_element.shape[0]
    path_m = np.empty(n)
    g = np.empty(n)
    w = np.empty(n)
    head = np.empty(n)
    room = np.empty(n)
    below = np.empty(n_p)
    pair_w = np.empty(n_p)
    pair_s = np.empty(n_p)
    total = np.empty(n_k)
    cap = np.empty(n_k)
    for i in range(n):
        path_m[i] = m[i] + (path_m[parent[i]] if parent[i] >= 0 else 0.0)
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        order = np.argsort(-value[t], kind="mergesort")
        for i in range(n):
            head[i] = max(headroom[t, i], 0.0)
        bound = 0.0
        for place in range(n_k):
            k = order[place]
            left = most[t, k]
            e = np.int64(top[k])
            while e >= 0:
                left = min(left, head[e])
                e = parent[e]
            e = np.int64(top[k])
            while e >= 0:
                head[e] -= left
                e = parent[e]
            bound += value[t, k] * left
        bound_out[t] = bound
        for k in range(n_k):
            cap[k] = cap_out[t, k]
        for place in range(n_k):
            k = order[place]
            if most[t, k] <= cap[k]:
                continue
            cap[k] = 0.0
            worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
            # what the others leave: a path room is the least of all below, because each of them is reached from there
            for i in range(n):
                head[i] = max(max(headroom[t, i], 0.0) - g[i], 0.0)
                room[i] = max(headroom_path[t, i], 0.0) - w[i]
            for i in range(n - 1, -1, -1):
                room[i] = max(room[i], 0.0)
                if parent[i] >= 0:
                    room[parent[i]] = min(room[parent[i]], room[i])
            limit = min(most[t, k], total[k])
            start = path_m[top[k]] if top[k] >= 0 else 0.0
            i = np.int64(top[k])
            while i >= 0:
                limit = min(limit, head[i])
                if path_m[i] > 0.0:
                    limit = min(limit, room[i] / path_m[i])
                i = parent[i]
            if limit > 0.0:
                cap[k], _, _, _ = capability_alone(
                    limit, pair_ptr[k], pair_ptr[k + 1], start, pair_element, pair_up, below, m, head, room,
                    pair_w, pair_s,
                )  # fmt: skip
        for k in range(n_k):
            cap_out[t, k] = cap[k]


@kernel(
    I32, I32, F64, I32, I32, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, U8_2D_OUT, I32_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def name_full_paths(
    parent,
    last,
    m,
    label,
    own,
    top,
    pair_element,
    pair_k,
    pair_up,
    elem_ptr,
    elem_pair,
    power,
    headroom_path,
    caps,
    carried,
    kind_out,
    row_out,
    at_node_out,
    t0,
    t1,
):
    """Name a path room that is used up for each perimeter that has no row named, could move more and adds to it."""
    n = parent.shape[0]
    below = np.empty(pair_element.shape[0])
    total = np.empty(top.shape[0])
    w = np.empty(n)
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for i in range(n):
            w[i] = m[i] * carried[t, i] + (w[parent[i]] if parent[i] >= 0 else 0.0)
            if (w[i] <= 0.0 and headroom_path[t, i] > 0.0) or w[i] < headroom_path[t, i] * (1.0 - 1e-9):
                continue
            e = np.int64(i)
            while e >= 0:
                if m[e] > 0.0:
                    for k in range(top.shape[0]):
                        open_ = row_out[t, k] < 0 and caps[t, k] < total[k] * (1.0 - 1e-9)
                        if open_ and top[k] >= e and top[k] < last[e]:
                            row_out[t, k] = i
                            kind_out[t, k] = _SHARED
                            at_node_out[t, k] = 1
                    for q in range(elem_ptr[e], elem_ptr[e + 1]):
                        k = pair_k[elem_pair[q]]
                        open_ = row_out[t, k] < 0 and caps[t, k] < total[k] * (1.0 - 1e-9)
                        if open_ and below[elem_pair[q]] > caps[t, k]:
                            row_out[t, k] = i
                            kind_out[t, k] = _SHARED
                            at_node_out[t, k] = 1
                e = parent[e]
