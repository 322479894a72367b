"""How much activation each branch can carry, and sums of activations over subtrees and paths.

All arrays over nodes are in depth-first preorder and (node, step), except where a name says otherwise.
"""

import math

import numpy as np

from flexcore.kernels._jit import B1, F64, F64_2D, F64_2D_OUT, I32, f64, i64, inner, kernel
from flexcore.kernels._simd import WIDTH, larger, load_some, smaller, sqrt, store_some, where_less


@inner
def allowed_interval(p, q, slope, s_import, s_export):
    """Interval of y for which the flow (p - y, q - slope * y) stays inside its disc.

    The radius is `s_import` where the active flow is positive, `s_export` where it is negative. Both discs cut the line
    in intervals around the same point c, that of least current. If the allowed set has two pieces, the one nearer to
    y = 0 is given; if it is empty, [c, c].
    """
    norm = 1.0 + slope * slope
    c = (p + slope * q) / norm
    across = q - slope * p
    d = across * across / norm
    room_import = (s_import * s_import - d) / norm
    room_export = (s_export * s_export - d) / norm
    lo_1 = lo_2 = math.inf
    hi_1 = hi_2 = -math.inf
    if room_import >= 0.0:
        half = math.sqrt(room_import)
        lo_1 = c - half
        hi_1 = min(c + half, p)
    if room_export >= 0.0:
        half = math.sqrt(room_export)
        lo_2 = max(c - half, p)
        hi_2 = c + half
    some_1 = lo_1 <= hi_1
    some_2 = lo_2 <= hi_2
    if some_1 and some_2:
        if hi_1 >= p and lo_2 <= p:
            return lo_1, hi_2
        away_1 = max(lo_1, -hi_1)
        away_2 = max(lo_2, -hi_2)
        if away_2 < away_1:
            return lo_2, hi_2
        return lo_1, hi_1
    if some_1:
        return lo_1, hi_1
    if some_2:
        return lo_2, hi_2
    return c, c


@inner
def allowed_intervals(p, q, slope, s_import, s_export, v):
    """As `allowed_interval` in eight lanes, the radii being ratings times the voltage `v`."""
    norm = 1.0 + slope * slope
    c = (p + slope * q) / norm
    across = q - slope * p
    d = across * across / norm
    radius_1 = s_import * v
    radius_2 = s_export * v
    room_1 = (radius_1 * radius_1 - d) / norm
    room_2 = (radius_2 * radius_2 - d) / norm
    half_1 = sqrt(room_1)
    half_2 = sqrt(room_2)
    lo_1 = c - half_1
    hi_1 = smaller(c + half_1, p)
    lo_2 = larger(c - half_2, p)
    hi_2 = c + half_2
    # a piece is there if its disc reaches the line and its ends are the right way round: never with NaN
    some_1 = where_less(hi_1, lo_1, 0.0, where_less(-1.0, room_1, 1.0, 0.0))
    some_1 = where_less(room_1, 0.0, 0.0, some_1)
    some_2 = where_less(hi_2, lo_2, 0.0, where_less(-1.0, room_2, 1.0, 0.0))
    some_2 = where_less(room_2, 0.0, 0.0, some_2)
    # two pieces that touch are one; of two that do not, the one nearer to 0 counts
    joined = where_less(hi_1, p, 0.0, where_less(p, lo_2, 0.0, some_1 * some_2))
    away_1 = larger(lo_1, 0.0 - hi_1)
    away_2 = larger(lo_2, 0.0 - hi_2)
    second = where_less(0.0, some_1, where_less(away_2, away_1, some_2, 0.0), some_2)
    lo = where_less(0.0, second, lo_2, where_less(0.0, some_1, lo_1, c))
    hi = where_less(0.0, second, hi_2, where_less(0.0, some_1, hi_1, c))
    return where_less(0.0, joined, lo_1, lo), where_less(0.0, joined, hi_2, hi)


@kernel(
    I32, I32, I32, B1, F64, F64,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D,
    f64, F64_2D_OUT, F64_2D_OUT, i64, i64,
)  # fmt: skip
def narrow_by_limits(
    order,
    parent,
    branch,
    forward,
    s_max,
    s_reverse,
    p_from,
    q_from,
    p_to,
    q_to,
    v_pu,
    slope,
    lower_out,
    upper_out,
    i0,
    i1,
):
    """Narrow the interval of net up activation of each node's subtree to what its branch carries at both ends.

    Flows are per branch and enter the branch at the from and the to end, `v_pu` and the outputs are in node order
    (not preorder). The rated current is that of `s_max`, so at each step the radius is `s_max` times the voltage of
    that end. Outputs are read and narrowed.
    """
    n_steps = lower_out.shape[1]
    for i in range(i0, i1):
        e = np.int64(branch[i])
        if e < 0:
            continue
        child = np.int64(order[i])
        above = np.int64(order[parent[i]])
        ahead = forward[i]
        s_import = s_max[e] if ahead else s_reverse[e]
        s_export = s_reverse[e] if ahead else s_max[e]
        if s_import == math.inf and s_export == math.inf:
            continue
        first, second = (above, child) if ahead else (child, above)
        # import is positive: what enters at the parent's end, what leaves at the child's end
        sign = 1.0 if ahead else -1.0
        for t in range(0, n_steps, WIDTH):
            n = n_steps - t
            lo, hi = allowed_intervals(
                sign * load_some(p_from, e, t, n), sign * load_some(q_from, e, t, n), slope, s_import, s_export,
                load_some(v_pu, first, t, n),
            )  # fmt: skip
            lo_2, hi_2 = allowed_intervals(
                -sign * load_some(p_to, e, t, n), -sign * load_some(q_to, e, t, n), slope, s_import, s_export,
                load_some(v_pu, second, t, n),
            )  # fmt: skip
            lower = larger(load_some(lower_out, child, t, n), larger(lo, lo_2))
            upper = smaller(load_some(upper_out, child, t, n), smaller(hi, hi_2))
            store_some(lower_out, child, t, n, lower)
            store_some(upper_out, child, t, n, upper)


@kernel(I32, F64_2D, F64_2D_OUT, i64, i64)
def subtree_sum(parent, values, sum_out, t0, t1):
    """Sum `values` over each subtree, for steps t0..t1."""
    for i in range(parent.shape[0]):
        for t in range(t0, t1):
            sum_out[i, t] = values[i, t]
    for i in range(parent.shape[0] - 1, -1, -1):
        up = parent[i]
        if up >= 0:
            for t in range(t0, t1):
                sum_out[up, t] += sum_out[i, t]


@kernel(I32, F64, F64_2D, F64_2D_OUT, i64, i64)
def path_sum(parent, m, carried, sum_out, t0, t1):
    """Sum `m * carried` over the path from the root to each node, for steps t0..t1."""
    for i in range(parent.shape[0]):
        up = parent[i]
        for t in range(t0, t1):
            before = sum_out[up, t] if up >= 0 else 0.0
            sum_out[i, t] = before + m[i] * carried[i, t]


@kernel(I32, F64_2D, F64_2D_OUT, i64, i64)
def split_at_nodes(parent, carried, own_out, t0, t1):
    """Find the power at each node whose subtree sums are `carried`: the inverse of `subtree_sum`."""
    for i in range(parent.shape[0]):
        for t in range(t0, t1):
            own_out[i, t] = carried[i, t]
    for i in range(parent.shape[0]):
        up = parent[i]
        if up >= 0:
            for t in range(t0, t1):
                own_out[up, t] -= carried[i, t]


@kernel(I32, F64_2D, F64_2D_OUT, i64, i64)
def subtree_min(parent, values, min_out, t0, t1):
    """Smallest of `values` in each subtree, for steps t0..t1."""
    for i in range(parent.shape[0]):
        for t in range(t0, t1):
            min_out[i, t] = values[i, t]
    for i in range(parent.shape[0] - 1, -1, -1):
        up = parent[i]
        if up >= 0:
            for t in range(t0, t1):
                min_out[up, t] = min(min_out[up, t], min_out[i, t])


@kernel(I32, F64_2D, F64_2D, F64_2D_OUT, F64_2D_OUT, i64, i64)
def most_below(parent, headroom, power, most_out, cut_off_out, t0, t1):
    """Largest total that some dispatch of `power` can reach below each node (maximum flow on a tree).

    `cut_off_out` is what the node's own limit takes away: positive where the limit binds.
    """
    n = parent.shape[0]
    for i in range(n):
        for t in range(t0, t1):
            most_out[i, t] = power[i, t]
    for i in range(n - 1, -1, -1):
        up = parent[i]
        for t in range(t0, t1):
            offered = most_out[i, t]
            carried = min(offered, max(headroom[i, t], 0.0))
            most_out[i, t] = carried
            cut_off_out[i, t] = offered - carried
            if up >= 0:
                most_out[up, t] += carried
