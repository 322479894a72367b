"""DC power flow on a forest: flows are sums over subtrees, angles follow from the root down."""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, kernel
from flexcore.kernels.grid.lanes import lanes

# quantities of a node's work row
_P, _ANGLE = range(2)


@kernel(
    I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64_2D, I32, I64, i64, U8, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, parent, last, branch, forward, g_dc, x_ratio, shift_deg, angle_root_deg, per_s_max, per_s_reverse, p_in,
    heads, packs, width, want, scratch, p_from_out, p_to_out, loading_out, angle_out, status_out, job0, job1,
):  # fmt: skip
    """Solve jobs job0..job1; job = pack of subtrees times block of steps. `want`: p_from, p_to, loading, angle.

    `x_ratio` is reactance times off-nominal ratio of the branch that feeds the node, `shift_deg` its own phase shift
    from parent to child. Status 2 and NaN where the sums are not finite.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            top = lanes(s[0], _P, w)
            top_angle = lanes(s[0], _ANGLE, w)
            for t in range(w):
                top[t] = 0.0
            for t in range(w):
                top_angle[t] = angle_root_deg[i0]
            for i in range(i0, i1):
                source = p_in[order[i], t0:t1]
                p = lanes(s[i - i0 + 1], _P, w)
                shunt = g_dc[i]
                for t in range(w):
                    p[t] = source[t] + shunt
            for i in range(i1 - 1, i0 - 1, -1):
                p = lanes(s[i - i0 + 1], _P, w)
                above = lanes(s[parent[i] - i0 + 1 if i > i0 else 0], _P, w)
                for t in range(w):
                    above[t] += p[t]
            # a sum that overflows somewhere reaches the top: the whole subtree is without a result in that step
            for t in range(w):
                if np.isfinite(top[t]):
                    status_out[h, t0 + t] = 0
                else:
                    status_out[h, t0 + t] = 2
                    for i in range(i0, i1):
                        s[i - i0 + 1, t] = np.nan
            for i in range(i0, i1):
                row = s[i - i0 + 1]
                e = branch[i]
                p = lanes(row, _P, w)
                sign = 1.0 if forward[i] else -1.0
                if want[0]:
                    p_from = p_from_out[e, t0:t1]
                    for t in range(w):
                        p_from[t] = sign * p[t]
                if want[1]:
                    p_to = p_to_out[e, t0:t1]
                    for t in range(w):
                        p_to[t] = -sign * p[t]
                if want[2]:
                    loading = loading_out[e, t0:t1]
                    ahead = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back = per_s_reverse[e] if forward[i] else per_s_max[e]
                    for t in range(w):
                        loading[t] = p[t] * ahead if p[t] >= 0.0 else -p[t] * back
                if want[3]:
                    angle = lanes(row, _ANGLE, w)
                    before = lanes(s[parent[i] - i0 + 1 if i > i0 else 0], _ANGLE, w)
                    out = angle_out[order[i], t0:t1]
                    turn = shift_deg[i]
                    per_kw = x_ratio[i] * (180.0 / np.pi)
                    for t in range(w):
                        angle[t] = before[t] - turn - per_kw * p[t]
                    for t in range(w):
                        out[t] = angle[t]
