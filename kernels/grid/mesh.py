"""DC power flow with loops: sums where the network is a tree, triangular solves of one sparse factor where it is not.

A work row holds one quantity of one node for a block of steps, so every operation of the solve is one row plus a number
times another: the processor's lanes are steps, and the factor is read once for the whole block. Rows of the factor
are gathered four at a time, since scattering column by column would read and write the changing row once for each.
"""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, inner, kernel
from flexcore.kernels.grid.lanes import fetch_row

#: Steps in a block at most; not a power of two, see `LANES` of the tree sweeps. Half and twice as many are slower: rows
#: of the user's arrays are pages apart, and work rows should stay in the cache.
WIDTH = 136
# rows of the user's arrays that are asked for before they are needed
_AHEAD = 3


@kernel(I32, I32, I32, U8_2D_OUT)
def cover(parent, one, other, looped_out):
    """Mark in `looped_out[0]` the nodes whose feeding branch lies on the tree path between the ends of a chord.

    Preorder: a parent stands before its child, so the later of two nodes is never above the earlier one. Paths that
    end in two different roots close through the ideal sources.
    """
    for c in range(one.shape[0]):
        a = one[c]
        b = other[c]
        while a != b:
            if a < b:
                a, b = b, a
            if parent[a] < 0:  # a root with a later number than the other end
                a, b = b, a
                if parent[a] < 0:
                    break
            looped_out[0, a] = 1
            a = parent[a]


@inner
def gather(s, row, start, indices, values, first, w):
    """Subtract from a row the rows of `indices` times `values`, entries start[first] .. start[first + 1]."""
    x = s[row, :w]
    k = start[first]
    end = start[first + 1]
    while k + 4 <= end:
        a0 = values[k]
        a1 = values[k + 1]
        a2 = values[k + 2]
        a3 = values[k + 3]
        y0 = s[indices[k], :w]
        y1 = s[indices[k + 1], :w]
        y2 = s[indices[k + 2], :w]
        y3 = s[indices[k + 3], :w]
        for t in range(w):
            x[t] -= (a0 * y0[t] + a1 * y1[t]) + (a2 * y2[t] + a3 * y3[t])
        k += 4
    if k + 2 <= end:
        a0 = values[k]
        a1 = values[k + 1]
        y0 = s[indices[k], :w]
        y1 = s[indices[k + 1], :w]
        for t in range(w):
            x[t] -= a0 * y0[t] + a1 * y1[t]
        k += 2
    if k < end:
        a0 = values[k]
        y0 = s[indices[k], :w]
        for t in range(w):
            x[t] -= a0 * y0[t]


@kernel(
    I32, I32, I32, U8, I32, U8, F64, F64, F64, F64, F64, I32, I64, I32, F64, I64, I32, F64, F64, I32, I32, I32, F64,
    F64, F64, F64, F64_2D, U8, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, target, above, looped, branch, forward, g_dc, constant, x_ratio, shift_deg, angle_root_deg, pivot, low_start,
    low_index, low_value, up_start, up_index, up_value, per_pivot, loop_branch, loop_from, loop_to, loop_b, loop_shift,
    per_s_max, per_s_reverse, p_in, want, scratch, p_from_out, p_to_out, loading_out, angle_out, status_out, block0,
    block1,
):  # fmt: skip
    """Solve blocks block0..block1 of `WIDTH` steps. `want`: p_from, p_to, loading, angle.

    `target` is where a node's power goes: over a bridge to its parent, from inside a part with loops to the node at
    the top of that part, whose angle is the part's reference; -1 at a root. `constant` is what phase shifts and held
    angles add to the right-hand side. The last work row stays zero: the reference. Status 2 and NaN where sums are not
    finite.
    """
    n = order.shape[0]
    n_steps = p_in.shape[1]
    s = scratch
    for block in range(block0, block1):
        t0 = block * WIDTH
        t1 = min(n_steps, t0 + WIDTH)
        w = t1 - t0
        for i in range(n):
            fetch_row(p_in, order[min(i + _AHEAD, n - 1)], t0, w)
            x = s[i, :w]
            if target[i] < 0:
                for t in range(w):
                    x[t] = 0.0
            else:
                source = p_in[order[i], t0:t1]
                shunt = g_dc[i]
                for t in range(w):
                    x[t] = source[t] + shunt
        zero = s[n, :w]
        for t in range(w):
            zero[t] = 0.0
        for i in range(n - 1, -1, -1):
            if target[i] >= 0:
                x = s[i, :w]
                into = s[target[i], :w]
                for t in range(w):
                    into[t] += x[t]
        # a sum that overflows somewhere reaches a root: the step has no result
        for i in range(n):
            if target[i] < 0:
                top = s[i, :w]
                for t in range(w):
                    if not np.isfinite(top[t]):
                        status_out[0, t0 + t] = 2
                        zero[t] = np.nan
        for k in range(pivot.shape[0]):
            x = s[pivot[k], :w]
            c = constant[pivot[k]]
            for t in range(w):
                x[t] = c - x[t]
        for k in range(pivot.shape[0]):
            gather(s, pivot[k], low_start, low_index, low_value, k, w)
        for k in range(pivot.shape[0]):
            x = s[pivot[k], :w]
            d = per_pivot[k]
            for t in range(w):
                x[t] *= d
        for k in range(pivot.shape[0] - 1, -1, -1):
            gather(s, pivot[k], up_start, up_index, up_value, k, w)
        for i in range(n):
            if looped[i] or target[i] < 0:
                continue
            e = branch[i]
            if want[0]:
                soon = branch[min(i + _AHEAD, n - 1)]
                fetch_row(p_from_out, soon if soon >= 0 else e, t0, w)
            x = s[i, :w]
            sign = 1.0 if forward[i] else -1.0
            if want[0]:
                p_from = p_from_out[e, t0:t1]
                for t in range(w):
                    p_from[t] = sign * x[t] + zero[t]
            if want[1]:
                p_to = p_to_out[e, t0:t1]
                for t in range(w):
                    p_to[t] = -sign * x[t] + zero[t]
            if want[2]:
                loading = loading_out[e, t0:t1]
                ahead = per_s_max[e] if forward[i] else per_s_reverse[e]
                back = per_s_reverse[e] if forward[i] else per_s_max[e]
                for t in range(w):
                    loading[t] = (x[t] * ahead if x[t] >= 0.0 else -x[t] * back) + zero[t]
        for k in range(loop_branch.shape[0]):
            e = loop_branch[k]
            if want[0]:
                fetch_row(p_from_out, loop_branch[min(k + _AHEAD, loop_branch.shape[0] - 1)], t0, w)
            one = s[loop_from[k], :w]
            other = s[loop_to[k], :w]
            b = loop_b[k]
            c = loop_shift[k]
            if want[0]:
                p_from = p_from_out[e, t0:t1]
                for t in range(w):
                    p_from[t] = b * (one[t] - other[t]) + c
            if want[1]:
                p_to = p_to_out[e, t0:t1]
                for t in range(w):
                    p_to[t] = -(b * (one[t] - other[t]) + c)
            if want[2]:
                loading = loading_out[e, t0:t1]
                ahead = per_s_max[e]
                back = per_s_reverse[e]
                for t in range(w):
                    p = b * (one[t] - other[t]) + c
                    loading[t] = p * ahead if p >= 0.0 else -p * back
        if want[3]:
            for i in range(n):
                x = s[i, :w]
                if target[i] < 0:
                    root = angle_root_deg[i] * (np.pi / 180.0)
                    for t in range(w):
                        x[t] = root + zero[t]
                    continue
                before = s[above[i], :w]
                if looped[i]:
                    for t in range(w):
                        x[t] += before[t]
                else:
                    turn = shift_deg[i] * (np.pi / 180.0)
                    per_kw = x_ratio[i]
                    for t in range(w):
                        x[t] = before[t] - turn - per_kw * x[t]
                out = angle_out[order[i], t0:t1]
                for t in range(w):
                    out[t] = x[t] * (180.0 / np.pi)
