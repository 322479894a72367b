"""Largest totals that a dispatch of somebody's choice can reach on a forest: upper bounds of robust capabilities."""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, F64_OUT, I32, i64, kernel


@kernel(
    I32, F64, I32, I32, I32, I32, I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_2D_OUT, F64_2D_OUT, F64_OUT, i64, i64
)  # fmt: skip
def optimistic_totals(
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
    best_out,
    pro_rata_out,
    total_out,
    t0,
    t1,
):
    """Best total of each perimeter alone, its pro rata total, and the best total of all together, for steps t0..t1.

    The layout and the rooms are those of `share_capability`. A voltage row counts as a limit of each element on its
    path: what flows through an element flows through all above it, so W_j is at least path_m y_i. That is exact as long
    as one place decides, and an upper bound otherwise; the tight answer needs a linear programme per step.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    n_p = pair_element.shape[0]
    limit = np.empty(n)
    chain = np.empty(n)
    path_m = np.empty(n)
    flow = np.empty(n)
    below = np.empty(n_p)
    best = np.empty(n_p)
    w = np.empty(n_p)
    for i in range(n):
        path_m[i] = m[i] + (path_m[parent[i]] if parent[i] >= 0 else 0.0)
    for t in range(t0, t1):
        for i in range(n):
            limit[i] = max(headroom[t, i], 0.0)
            if path_m[i] > 0.0:
                limit[i] = min(limit[i], max(headroom_path[t, i], 0.0) / path_m[i])
            chain[i] = limit[i] if parent[i] < 0 else min(limit[i], chain[parent[i]])
            flow[i] = power[t, i] if label[i] >= 0 else 0.0
        total_out[t] = 0.0
        for i in range(n - 1, -1, -1):
            carried = min(flow[i], limit[i])
            if parent[i] >= 0:
                flow[parent[i]] += carried
            else:
                total_out[t] += carried
        for p in range(n_p):
            below[p] = 0.0
            best[p] = 0.0
        for k in range(n_k):
            best_out[t, k] = 0.0
            pro_rata_out[t, k] = 0.0  # until the end: all that could move
        for i in range(n):
            k = label[i]
            if k >= 0:
                if own[i] >= 0:
                    below[own[i]] += power[t, i]
                    best[own[i]] += power[t, i]
                else:
                    best_out[t, k] += power[t, i]
                    pro_rata_out[t, k] += power[t, i]
        for p in range(n_p - 1, -1, -1):
            carried = min(best[p], limit[pair_element[p]])
            if pair_up[p] >= 0:
                best[pair_up[p]] += carried
                below[pair_up[p]] += below[p]
            else:
                best_out[t, pair_k[p]] += carried
                pro_rata_out[t, pair_k[p]] += below[p]
        for k in range(n_k):
            above = chain[top[k]] if top[k] >= 0 else math.inf
            movable = pro_rata_out[t, k]
            total = min(movable, above)
            start = path_m[top[k]] * movable if top[k] >= 0 else 0.0
            for p in range(pair_ptr[k], pair_ptr[k + 1]):
                i = pair_element[p]
                w[p] = (start if pair_up[p] < 0 else w[pair_up[p]]) + m[i] * below[p]
                if below[p] > 0.0:
                    total = min(total, max(headroom[t, i], 0.0) * (movable / below[p]))
                if w[p] > 0.0:
                    total = min(total, max(headroom_path[t, i], 0.0) * (movable / w[p]))
            best_out[t, k] = min(best_out[t, k], above)
            pro_rata_out[t, k] = total
