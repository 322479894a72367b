"""How much activation each branch can carry, and sums of activations over subtrees and paths.

All arrays over nodes are in depth-first preorder and (node, step), except where a name says otherwise.
"""

import math

from flexcore.kernels._jit import B1, F64, F64_2D, F64_2D_OUT, I32, f64, i64, inner, kernel


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
        e = branch[i]
        if e < 0:
            continue
        child = order[i]
        above = order[parent[i]]
        ahead = forward[i]
        s_import = s_max[e] if ahead else s_reverse[e]
        s_export = s_reverse[e] if ahead else s_max[e]
        if s_import == math.inf and s_export == math.inf:
            continue
        for t in range(n_steps):
            v_from = v_pu[above, t] if ahead else v_pu[child, t]
            v_to = v_pu[child, t] if ahead else v_pu[above, t]
            # import is positive: what enters at the parent's end, what leaves at the child's end
            sign = 1.0 if ahead else -1.0
            lo, hi = allowed_interval(
                sign * p_from[e, t], sign * q_from[e, t], slope, s_import * v_from, s_export * v_from
            )
            lo_2, hi_2 = allowed_interval(
                -sign * p_to[e, t], -sign * q_to[e, t], slope, s_import * v_to, s_export * v_to
            )
            lower_out[child, t] = max(lower_out[child, t], max(lo, lo_2))
            upper_out[child, t] = min(upper_out[child, t], min(hi, hi_2))


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
