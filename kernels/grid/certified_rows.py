"""Rows for selection and capability that hold by proof: certified bounds of every dispatch within given spreads.

A dispatch changes the active flow of each branch by something between minus `less` and `more`: what the forecast may be
off by, and what caps allow. One certified box covers all of it at once. What a branch or a node can still take is then
counted from the ends of that box, so it holds for every dispatch within those spreads.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8_2D_OUT, f64, i64, inner, kernel
from flexcore.kernels._simd import (
    WIDTH,
    larger,
    load,
    load_some,
    smaller,
    spread,
    sqrt,
    store,
    store_some,
    where_less,
)
from flexcore.kernels.grid.certified import (
    _INSIDE,
    _NEW_HI,
    _NEW_LO,
    _P,
    _P_TOP,
    _Q,
    _Q_TOP,
    _ROUNDING,
    certify,
    flow_at_child,
    flow_at_parent,
    gather,
)
from flexcore.kernels.grid.headroom import allowed_interval
from flexcore.kernels.grid.lanes import LANES

# runs of lanes in the last spare row behind the box of a branch end: bounds of its net activation
_LOWER, _UPPER = 4 * LANES, 5 * LANES


@inner
def spread_flows(i0, i1, t0, w, s, more_fixed, less_fixed, more_cap, less_cap, slope_lo, slope_hi):
    """Spread the base flows of each branch on its own: active power both ways, reactive power by the slopes."""
    with_p = max(slope_hi, 0.0)
    against_p = max(-slope_lo, 0.0)
    for i in range(i0, i1):
        j = i - i0 + 1
        for t in range(0, w, WIDTH):
            more = load_some(more_fixed, i, t0 + t, w - t) + load_some(more_cap, i, t0 + t, w - t)
            less = load_some(less_fixed, i, t0 + t, w - t) + load_some(less_cap, i, t0 + t, w - t)
            p = load(s, j, _P * LANES + t)
            q = load(s, j, _Q * LANES + t)
            store(s, j, _P_TOP * LANES + t, p + more)
            store(s, j, _P * LANES + t, p - less)
            store(s, j, _Q_TOP * LANES + t, q + with_p * more + against_p * less)
            store(s, j, _Q * LANES + t, q - (against_p * more + with_p * less))


@inner
def narrow_by_box(s, at, u_row, per_tau, s_import, s_export, caps, i, t0, slope_lo, slope_hi, w):
    """Narrow the net activation of a branch end to what keeps every flow of its box inside the disc.

    The box stands in row `at`, the bounds behind it in the same row, the lower voltages of that end in row `u_row`. The
    discs are convex, so the corners of the box are enough; what the caps themselves add is taken out of it first.
    """
    more_cap, less_cap = caps
    shrink = per_tau * (1.0 - 20.0 * _ROUNDING)
    if slope_lo == 0.0 and slope_hi == 0.0:
        # reactive power stays: the disc cuts a line at its distance, whichever of its two radii counts
        square_import = s_import * s_import * shrink
        square_export = s_export * s_export * shrink
        nothing = spread(0.0)
        for t in range(0, w, WIDTH):
            more = load_some(more_cap, i, t0 + t, w - t)
            less = load_some(less_cap, i, t0 + t, w - t)
            u_lo = load(s, u_row, _NEW_LO * LANES + t)
            q_most = larger(0.0 - load(s, at, 2 * LANES + t), load(s, at, 3 * LANES + t))
            square = q_most * q_most
            half_import = sqrt(larger(square_import * u_lo - square, nothing))
            half_export = sqrt(larger(square_export * u_lo - square, nothing))
            low = load(s, at, LANES + t) - more - half_import
            high = load(s, at, t) + less + half_export
            store(s, at, _LOWER + t, larger(load(s, at, _LOWER + t), low))
            store(s, at, _UPPER + t, smaller(load(s, at, _UPPER + t), high))
        return
    with_p = max(slope_hi, 0.0)
    against_p = max(-slope_lo, 0.0)
    for t in range(w):
        more = more_cap[i, t0 + t]
        less = less_cap[i, t0 + t]
        # both directions at once with different slopes: net power moves along one slope, the rest stays
        cross = (slope_hi - slope_lo) * min(more, less)
        least_q = s[at, 2 * LANES + t] + against_p * more + with_p * less - cross
        most_q = s[at, 3 * LANES + t] - with_p * more - against_p * less + cross
        v = math.sqrt(s[u_row, _NEW_LO * LANES + t] * shrink)
        for corner in range(8):
            p = s[at, t] + less if corner & 1 else s[at, LANES + t] - more
            q = least_q if corner & 2 else most_q
            slope = slope_lo if corner & 4 else slope_hi
            lo, hi = allowed_interval(p, q, slope, s_import * v, s_export * v)
            s[at, _LOWER + t] = max(s[at, _LOWER + t], lo)
            s[at, _UPPER + t] = min(s[at, _UPPER + t], hi)


@kernel(
    I32, I32, I32, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, f64, f64, F64_2D,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, i64, I32, I64, i64, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def certified_rows(
    order, parent, last, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root_lo, u_root_hi, s_import,
    s_export, u_min, u_max, m, slope_lo, slope_hi, p_in, q_in, more_fixed, less_fixed, more_cap, less_cap, max_rounds,
    heads, packs, width, scratch, lower_out, upper_out, w_lower_out, w_upper_out, status_out, job0, job1,
):  # fmt: skip
    """Find the rows of jobs job0..job1; job = pack of subtrees times block of steps.

    Loads and outputs are in node order, all else in preorder. `u_min` and `u_max` are scaled squared limits. Status of
    a subtree and step: 0 certified; 1 not, and its rows allow nothing then.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    # rows below those of the nodes
    spare = scratch.shape[0] - 2
    at = spare + 1
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            gather(order, parent, p_in, q_in, i0, i1, t0, w, s)
            spread_flows(i0, i1, t0, w, s, more_fixed, less_fixed, more_cap, less_cap, slope_lo, slope_hi)
            certify(parent, r, x, g, b, i0, i1, _P_TOP, _Q_TOP, u_root_lo[i0], u_root_hi[i0], max_rounds, w, s, spare)
            for t in range(w):
                known = np.isfinite(s[0, _P * LANES + t] + s[0, _Q * LANES + t])
                s[spare, _INSIDE + t] = s[spare, _INSIDE + t] if known else 0.0
                status_out[h, t0 + t] = 0 if s[spare, _INSIDE + t] > 0.0 else 1
            # sums of m times the caps along the path: kept where the base flows stood, which are not needed again
            for t in range(0, w, WIDTH):
                store(s, 0, _P * LANES + t, spread(0.0))
                store(s, 0, _P_TOP * LANES + t, spread(0.0))
            for i in range(i0, i1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                n = np.int64(order[i])
                for t in range(0, w, WIDTH):
                    certain = load(s, spare, _INSIDE + t)
                    fall = load(s, k, _P * LANES + t) + m[i] * load_some(more_cap, i, t0 + t, w - t)
                    rise = load(s, k, _P_TOP * LANES + t) + m[i] * load_some(less_cap, i, t0 + t, w - t)
                    store(s, j, _P * LANES + t, fall)
                    store(s, j, _P_TOP * LANES + t, rise)
                    low = u_min[i] - (load(s, j, _NEW_LO * LANES + t) * (1.0 - 10.0 * _ROUNDING) + fall)
                    high = u_max[i] - (load(s, j, _NEW_HI * LANES + t) * (1.0 + 10.0 * _ROUNDING) - rise)
                    store_some(w_lower_out, n, t0 + t, w - t, where_less(0.0, certain, low, 0.0))
                    store_some(w_upper_out, n, t0 + t, w - t, where_less(0.0, certain, high, 0.0))
                    store(s, at, _LOWER + t, spread(-math.inf))
                    store(s, at, _UPPER + t, spread(math.inf))
                if s_import[i] < math.inf or s_export[i] < math.inf:
                    flow_at_child(g_child[i], b_child[i], j, w, s)
                    narrow_by_box(
                        s, at, j, 1.0 / tau[i], s_import[i], s_export[i], (more_cap, less_cap), i, t0, slope_lo,
                        slope_hi, w,
                    )  # fmt: skip
                    flow_at_parent(r[i], x[i], g_parent[i], b_parent[i], j, k, w, s)
                    narrow_by_box(
                        s, at, k, 1.0 / tau[parent[i]], s_import[i], s_export[i], (more_cap, less_cap), i, t0, slope_lo,
                        slope_hi, w,
                    )  # fmt: skip
                for t in range(0, w, WIDTH):
                    certain = load(s, spare, _INSIDE + t)
                    lower = where_less(0.0, certain, load(s, at, _LOWER + t), 0.0)
                    upper = where_less(0.0, certain, load(s, at, _UPPER + t), 0.0)
                    store_some(lower_out, n, t0 + t, w - t, lower)
                    store_some(upper_out, n, t0 + t, w - t, upper)
