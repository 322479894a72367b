"""Largest sum of jointly safe caps by branches, where no element is split by more than one perimeter.

Bottom-up one number per element is enough: a sum that is reached below can also be lowered to any smaller one, so what
is above sees only the largest. At the top of perimeter k all perimeters that hang off its open elements are settled,
and its own cap C is the only unknown: F(C) = C + the maximum flow of the sums that hang below through what
min(C, B_ik) leaves of the headrooms. Between two neighbouring B_ik that is concave, so tangents from both sides find
its maximum.
"""

import numpy as np

from flexcore.kernels._jit import F64_2D, F64_2D_OUT, I32, I32_2D_OUT, U8_2D_OUT, i64, inner, kernel
from flexcore.kernels.grid.capability import power_below

# a gain below this share of the sum is not worth another evaluation
_CLOSE = 1e-13
_THERMAL, _SHARED = 1, 3


@inner
def hanging_flow(cap, edge, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio):
    """What hangs below a perimeter and still passes at total `cap`: (sum of flows into the top, its slope in `cap`).

    Elements whose B is below `edge` are filled, the others carry `cap`. `ratio` is what each element lets through.
    """
    total = 0.0
    gain = 0.0
    for p in range(lo, hi):
        flow[p] = hung[pair_element[p]]
        slope[p] = 0.0
    for p in range(hi - 1, lo - 1, -1):
        free = below[p] >= edge
        left = max(head[pair_element[p]] - (cap if free else below[p]), 0.0)
        ratio[p] = 1.0
        if flow[p] > left:
            ratio[p] = left / flow[p]
            flow[p] = left
            slope[p] = -1.0 if free else 0.0
        up = pair_up[p]
        if up >= 0:
            flow[up] += flow[p]
            slope[up] += slope[p]
        else:
            total += flow[p]
            gain += slope[p]
    return total, gain


@inner
def best_cap(limit, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio):
    """Cap of one perimeter, at most `limit`, with which it and all that hangs below it reach the largest sum.

    Of several such caps the largest that is met: nobody is held back for nothing.
    """
    least, _ = hanging_flow(0.0, 0.0, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
    best_at = limit
    total, _ = hanging_flow(limit, limit, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
    best = limit + total
    if limit + least <= best:  # nothing hangs below, or all of it passes anyway
        return best_at, best
    edges = np.sort(below[lo:hi])
    b = limit
    at = edges.shape[0] - 1
    while b > 0.0 and b + least > best:
        while at >= 0 and edges[at] >= b:
            at -= 1
        a = edges[at] if at >= 0 else 0.0
        edge = b
        x0 = a
        x1 = b
        total, g0 = hanging_flow(x0, edge, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
        f0 = x0 + total
        g0 += 1.0
        total, g1 = hanging_flow(x1, edge, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
        f1 = x1 + total
        g1 += 1.0
        if f1 > best * (1.0 + _CLOSE):
            best = f1
            best_at = x1
        if f0 > best * (1.0 + _CLOSE):
            best = f0
            best_at = x0
        # each round either ends or leaves at least one straight piece of F behind
        for _ in range(2 * (hi - lo) + 16):
            if g0 <= 0.0 or g1 >= 0.0:
                break
            x = (f1 - f0 + g0 * x0 - g1 * x1) / (g0 - g1)
            promised = f0 + g0 * (x - x0)
            if not (x0 < x < x1) or promised <= best * (1.0 + _CLOSE):
                break
            total, g = hanging_flow(x, edge, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
            f = x + total
            g += 1.0
            if f > best * (1.0 + _CLOSE):
                best = f
                best_at = x
            if g > 0.0:
                x0 = x
                f0 = f
                g0 = g
            else:
                x1 = x
                f1 = f
                g1 = g
        b = a
    return best_at, best


@kernel(
    I32, I32, I32, I32, I32, I32, I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_2D_OUT, i64, i64
)  # fmt: skip
def max_total_caps(
    parent,
    label,
    own,
    top,
    pair_ptr,
    pair_element,
    pair_k,
    pair_up,
    elem_ptr,
    power,
    headroom,
    ceiling,
    cap_out,
    t0,
    t1,
):
    """Find caps with the largest sum by branches for steps t0..t1; at most one open pair per element.

    Where an element cannot take all that hangs below, everything below gives way in the same proportion: any other
    division reaches the same sum.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    n_p = pair_element.shape[0]
    head = np.empty(n)
    hung = np.empty(n)
    kept = np.empty(n)
    below = np.empty(n_p)
    flow = np.empty(n_p)
    slope = np.empty(n_p)
    ratio = np.empty(n_p)
    total = np.empty(n_k)
    first_at = np.full(n, -1, np.int32)
    next_at = np.full(n_k, -1, np.int32)
    for k in range(n_k - 1, -1, -1):
        if top[k] >= 0:
            next_at[k] = first_at[top[k]]
            first_at[top[k]] = k
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for i in range(n):
            head[i] = max(headroom[t, i], 0.0)
            hung[i] = 0.0
            kept[i] = 1.0
        for i in range(n - 1, -2, -1):
            # the last round is for perimeters that span trees: nothing holds them above
            k = np.int64(first_at[i]) if i >= 0 else np.int64(0)
            while k >= 0 and k < n_k:
                if i >= 0 or top[k] < 0:
                    limit = min(total[k], ceiling[t, k])
                    for p in range(pair_ptr[k], pair_ptr[k + 1]):
                        if below[p] > head[pair_element[p]]:
                            limit = min(limit, head[pair_element[p]])
                    lo = pair_ptr[k]
                    hi = pair_ptr[k + 1]
                    cap, best = best_cap(
                        limit, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio
                    )  # fmt: skip
                    hanging_flow(cap, cap, lo, hi, pair_element, pair_up, below, head, hung, flow, slope, ratio)
                    for p in range(lo, hi):
                        kept[pair_element[p]] = ratio[p]
                    cap_out[t, k] = cap
                    if i >= 0:
                        hung[i] += best
                k = np.int64(next_at[k]) if i >= 0 else k + 1
            if i >= 0 and elem_ptr[i + 1] == elem_ptr[i]:
                carried = min(hung[i], head[i])
                if carried < hung[i]:
                    kept[i] = carried / hung[i]
                if parent[i] >= 0:
                    hung[parent[i]] += carried
        for i in range(n):
            if parent[i] >= 0:
                kept[i] *= kept[parent[i]]
        for k in range(n_k):
            if top[k] >= 0:
                cap_out[t, k] *= kept[top[k]]


@kernel(
    I32, I32, I32, I32, I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_2D, U8_2D_OUT, I32_2D_OUT, i64, i64
)  # fmt: skip
def name_full_branches(
    parent,
    label,
    own,
    top,
    pair_ptr,
    pair_element,
    pair_up,
    power,
    headroom,
    caps,
    carried,
    kind_out,
    row_out,
    t0,
    t1,
):
    """Name a full branch for each perimeter that has none named and could move more: the highest that holds it."""
    below = np.empty(pair_element.shape[0])
    total = np.empty(top.shape[0])
    pair_k = np.empty(pair_element.shape[0], np.int32)
    for k in range(top.shape[0]):
        for p in range(pair_ptr[k], pair_ptr[k + 1]):
            pair_k[p] = k
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for k in range(top.shape[0]):
            cap = caps[t, k]
            if row_out[t, k] >= 0 or cap >= total[k] * (1.0 - 1e-9):
                continue
            found = np.int64(-1)
            alone = 0.0
            i = np.int64(top[k])
            while i >= 0:
                if carried[t, i] >= max(headroom[t, i], 0.0) * (1.0 - 1e-9):
                    found = i
                    alone = cap
                i = parent[i]
            p = np.int64(pair_ptr[k])
            while found < 0 and p < pair_ptr[k + 1]:
                i = np.int64(pair_element[p])
                if below[p] > cap and carried[t, i] >= max(headroom[t, i], 0.0) * (1.0 - 1e-9):
                    found = i
                    alone = cap
                p += 1
            if found >= 0:
                row_out[t, k] = found
                kind_out[t, k] = _THERMAL if carried[t, found] <= alone * (1.0 + 1e-9) else _SHARED
