"""DC power flow on a forest: flows are sums over subtrees, angles follow from the root down.

As in `distflow`, `dc_double` and `dc_single` compile the one `sweep`, for loads and outputs in float64 or float32.
"""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64
from flexcore.kernels._simd import WIDTH, load, load_some, spread, store, store_some, where_less
from flexcore.kernels.grid.lanes import LANES, fetch_row

# runs of lanes in a node's work row: flow at the child's end, angle
_P, _ANGLE = (k * LANES for k in range(2))


def signature(given, out):
    """Types of the arguments of `sweep` where loads are an array of type `given` and outputs of type `out`."""
    return (
        I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, given, I32, I64, i64, U8, F64_2D_OUT, out, out, out, out,
        U8_2D_OUT, i64, i64,
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
    s = scratch
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        w = min(n_steps - t0, width)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            for i in range(i1 - 1, i0 - 1, -1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                n = np.int64(order[i])
                fetch_row(p_in, order[max(i - 2, i0)], t0, w)
                # the child that is met first, from behind the last one, starts its parent's sum: nothing to clear
                inside = last[i] != i + 1
                adds = i > i0 and last[i] != last[parent[i]]
                for t in range(0, w, WIDTH):
                    p = load_some(p_in, n, t0 + t, w - t) + g_dc[i]
                    if inside:
                        p = p + load(s, j, _P + t)
                    store(s, j, _P + t, p)
                    if adds:
                        p = p + load(s, k, _P + t)
                    store(s, k, _P + t, p)
            # a sum that overflows somewhere reaches the top: the whole subtree is without a result in that step
            for t in range(w):
                if np.isfinite(s[0, _P + t]):
                    status_out[h, t0 + t] = 0
                else:
                    status_out[h, t0 + t] = 2
                    for i in range(i0, i1):
                        s[i - i0 + 1, _P + t] = np.nan
            for t in range(0, w, WIDTH):
                store(s, 0, _ANGLE + t, spread(angle_root_deg[i0]))
            for i in range(i0, i1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                n = np.int64(order[i])
                e = np.int64(branch[i])
                ahead = min(i + 2, i1 - 1)
                if want[0]:
                    fetch_row(p_from_out, branch[ahead], t0, w)
                if want[3]:
                    fetch_row(angle_out, order[ahead], t0, w)
                sign = 1.0 if forward[i] else -1.0
                ahead_limit = per_s_max[e] if forward[i] else per_s_reverse[e]
                back_limit = per_s_reverse[e] if forward[i] else per_s_max[e]
                turn = shift_deg[i]
                per_kw = x_ratio[i] * (180.0 / np.pi)
                for t in range(0, w, WIDTH):
                    p = load(s, j, _P + t)
                    if want[0]:
                        store_some(p_from_out, e, t0 + t, w - t, sign * p)
                    if want[1]:
                        store_some(p_to_out, e, t0 + t, w - t, (-sign) * p)
                    if want[2]:
                        store_some(loading_out, e, t0 + t, w - t, p * where_less(p, 0.0, -back_limit, ahead_limit))
                    if want[3]:
                        angle = load(s, k, _ANGLE + t) - turn - per_kw * p
                        store(s, j, _ANGLE + t, angle)
                        store_some(angle_out, n, t0 + t, w - t, angle)
