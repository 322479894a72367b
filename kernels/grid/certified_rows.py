"""Rows for selection and capability that hold by proof: certified bounds of every dispatch within given spreads.

A dispatch changes the active flow of each branch by something between minus `less` and `more`: what the forecast may be
off by, and what caps allow. One certified box covers all of it at once. What a branch or a node can still take is then
counted from the ends of that box, so it holds for every dispatch within those spreads.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8_2D_OUT, f64, i64, inner, kernel
from flexcore.kernels.grid.certified import (
    _NEW_HI,
    _NEW_LO,
    _P,
    _P_HI,
    _P_LO,
    _P_TOP,
    _Q,
    _Q_HI,
    _Q_LO,
    _Q_TOP,
    _ROUNDING,
    certify,
    flow_at_child,
    flow_at_parent,
    gather,
)
from flexcore.kernels.grid.headroom import allowed_interval
from flexcore.kernels.grid.lanes import LANES, lanes


@inner
def spread_flows(i0, i1, t0, w, s, more_fixed, less_fixed, more_cap, less_cap, slope_lo, slope_hi):
    """Spread the base flows of each branch on its own: active power both ways, reactive power by the slopes."""
    with_p = max(slope_hi, 0.0)
    against_p = max(-slope_lo, 0.0)
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        p_top = lanes(row, _P_TOP, w)
        q_top = lanes(row, _Q_TOP, w)
        for t in range(w):
            more = more_fixed[i, t0 + t] + more_cap[i, t0 + t]
            less = less_fixed[i, t0 + t] + less_cap[i, t0 + t]
            p_top[t] = p[t] + more
            p[t] -= less
            q_top[t] = q[t] + with_p * more + against_p * less
            q[t] -= against_p * more + with_p * less


@inner
def narrow_by_box(e, u_lo, per_tau, s_import, s_export, more, less, slope_lo, slope_hi, w, lower, upper):
    """Narrow the net activation of a branch end to what keeps every flow of its box inside the disc.

    The discs are convex, so the corners of the box are enough; what the caps themselves add is taken out of it first.
    """
    p_lo = e[0]
    p_hi = e[1]
    q_lo = e[2]
    q_hi = e[3]
    shrink = per_tau * (1.0 - 20.0 * _ROUNDING)
    if slope_lo == 0.0 and slope_hi == 0.0:
        # reactive power stays: the disc cuts a line at its distance, whichever of its two radii counts
        square_import = s_import * s_import * shrink
        square_export = s_export * s_export * shrink
        for t in range(w):
            q_most = max(-q_lo[t], q_hi[t])
            square = q_most * q_most
            half_import = math.sqrt(max(square_import * u_lo[t] - square, 0.0))
            half_export = math.sqrt(max(square_export * u_lo[t] - square, 0.0))
            lower[t] = max(lower[t], p_hi[t] - more[t] - half_import)
            upper[t] = min(upper[t], p_lo[t] + less[t] + half_export)
        return
    with_p = max(slope_hi, 0.0)
    against_p = max(-slope_lo, 0.0)
    for t in range(w):
        # both directions at once with different slopes: net power moves along one slope, the rest stays
        cross = (slope_hi - slope_lo) * min(more[t], less[t])
        least_q = q_lo[t] + against_p * more[t] + with_p * less[t] - cross
        most_q = q_hi[t] - with_p * more[t] - against_p * less[t] + cross
        v = math.sqrt(u_lo[t] * shrink)
        for corner in range(8):
            p = p_lo[t] + less[t] if corner & 1 else p_hi[t] - more[t]
            q = least_q if corner & 2 else most_q
            slope = slope_lo if corner & 4 else slope_hi
            lo, hi = allowed_interval(p, q, slope, s_import * v, s_export * v)
            lower[t] = max(lower[t], lo)
            upper[t] = min(upper[t], hi)


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
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        live = lanes(s[spare], 0, w)
        certain = lanes(s[spare], 1, w)
        change = lanes(s[spare], 2, w)
        e = s[spare + 1, : 4 * LANES].reshape(4, LANES)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            gather(order, parent, p_in, q_in, i0, i1, t0, w, s)
            spread_flows(i0, i1, t0, w, s, more_fixed, less_fixed, more_cap, less_cap, slope_lo, slope_hi)
            certify(
                parent, r, x, g, b, i0, i1, True, u_root_lo[i0], u_root_hi[i0], max_rounds, w, s, live, certain, change
            )
            for t in range(w):
                certain[t] = certain[t] if np.isfinite(s[0, _P * LANES + t] + s[0, _Q * LANES + t]) else 0.0
                status_out[h, t0 + t] = 0 if certain[t] > 0.0 else 1
            # sums of m times the caps along the path: kept where the base flows stood, which are not needed again
            for t in range(w):
                s[0, _P * LANES + t] = 0.0
                s[0, _P_TOP * LANES + t] = 0.0
            for i in range(i0, i1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                row = s[j]
                above = s[k]
                u_lo = lanes(row, _NEW_LO, w)
                u_hi = lanes(row, _NEW_HI, w)
                above_lo = lanes(above, _NEW_LO, w)
                above_hi = lanes(above, _NEW_HI, w)
                p_lo = lanes(row, _P_LO, w)
                p_hi = lanes(row, _P_HI, w)
                q_lo = lanes(row, _Q_LO, w)
                q_hi = lanes(row, _Q_HI, w)
                fall = lanes(row, _P, w)
                rise = lanes(row, _P_TOP, w)
                fall_above = lanes(above, _P, w)
                rise_above = lanes(above, _P_TOP, w)
                more = more_cap[i, t0:t1]
                less = less_cap[i, t0:t1]
                for t in range(w):
                    fall[t] = fall_above[t] + m[i] * more[t]
                    rise[t] = rise_above[t] + m[i] * less[t]
                w_lower = w_lower_out[order[i], t0:t1]
                w_upper = w_upper_out[order[i], t0:t1]
                for t in range(w):
                    low = u_min[i] - (u_lo[t] * (1.0 - 10.0 * _ROUNDING) + fall[t])
                    high = u_max[i] - (u_hi[t] * (1.0 + 10.0 * _ROUNDING) - rise[t])
                    w_lower[t] = low if certain[t] > 0.0 else 0.0
                    w_upper[t] = high if certain[t] > 0.0 else 0.0
                lower = lower_out[order[i], t0:t1]
                upper = upper_out[order[i], t0:t1]
                for t in range(w):
                    lower[t] = -math.inf
                    upper[t] = math.inf
                if s_import[i] < math.inf or s_export[i] < math.inf:
                    flow_at_child(g_child[i], b_child[i], p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, w, e)
                    narrow_by_box(
                        e, u_lo, 1.0 / tau[i], s_import[i], s_export[i], more, less, slope_lo, slope_hi, w, lower,
                        upper,
                    )  # fmt: skip
                    flow_at_parent(
                        r[i], x[i], g_parent[i], b_parent[i], p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, above_lo, above_hi,
                        w, e,
                    )  # fmt: skip
                    narrow_by_box(
                        e, above_lo, 1.0 / tau[parent[i]], s_import[i], s_export[i], more, less, slope_lo, slope_hi, w,
                        lower, upper,
                    )  # fmt: skip
                for t in range(w):
                    if not certain[t] > 0.0:
                        lower[t] = 0.0
                        upper[t] = 0.0
