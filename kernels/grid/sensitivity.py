"""Sensitivities of the AC solution, many steps at once: the flow is solved, then its derivative, in the same work rows.

Jobs, work rows and lanes are those of the AC sweep. A step without a solution has NaN in the subtrees concerned.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, F64_3D_OUT, I32, I64, U8_2D_OUT, f64, i64, inner, kernel
from flexcore.kernels.grid.lanes import lanes
from flexcore.kernels.grid.phasors import _VI, _VR, solve
from flexcore.kernels.grid.tangent import (
    _DI,
    _DR,
    _FI,
    _FR,
    clear_sources,
    eliminate,
    follow_down,
    forget_one,
    raise_all,
    raise_one,
)


@inner
def _per_power(row, w, per_p, per_q):
    """What a row of the adjoint says about 1 kW and 1 kvar withdrawn at this node."""
    vr = lanes(row, _VR, w)
    vi = lanes(row, _VI, w)
    dr = lanes(row, _DR, w)
    di = lanes(row, _DI, w)
    for t in range(w):
        d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
        per_p[t] = (dr[t] * vr[t] - di[t] * vi[t]) * d
        per_q[t] = (dr[t] * vi[t] + di[t] * vr[t]) * d


@inner
def _magnitude(row, tau, w, change):
    """Change of the voltage magnitude at the node's own voltage level, from that of its scaled phasor."""
    vr = lanes(row, _VR, w)
    vi = lanes(row, _VI, w)
    dr = lanes(row, _DR, w)
    di = lanes(row, _DI, w)
    for t in range(w):
        change[t] = (vr[t] * dr[t] + vi[t] * di[t]) / math.sqrt(tau * (vr[t] * vr[t] + vi[t] * vi[t]))


@kernel(
    I32, I32, I32, F64, F64, F64, F64, F64, f64, i64, F64_2D, F64_2D, I32, I64, i64, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def losses(
    order, parent, last, r, x, g, b, u_root, tolerance, max_iterations, p_in, q_in, heads, packs, width, scratch,
    per_p_out, per_q_out, status_out, job0, job1,
):  # fmt: skip
    """Marginal total loss of 1 kW and 1 kvar withdrawn at each node.

    The power fed at the root is its voltage times the real part of the current there. Its adjoint needs no source at
    all: the root's own value is that voltage, and one pass up and one down carry it to every node.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        live = lanes(s[s.shape[0] - 2], 0, w)
        change = lanes(s[s.shape[0] - 1], 0, w)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            solve(
                order, parent, r, x, g, b, u_root[i0], tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live,
                change, status_out[h, t0:t1],
            )  # fmt: skip
            eliminate(parent, r, x, g, b, i0, i1, -1.0, w, s)
            clear_sources(i0, i1, w, s)
            top = lanes(s[0], _DR, w)
            v0 = math.sqrt(u_root[i0])
            for t in range(w):
                top[t] = v0
            follow_down(parent, r, x, i0, i1, w, s)
            for i in range(i0, i1):
                per_p = per_p_out[order[i], t0:t1]
                _per_power(s[i - i0 + 1], w, per_p, per_q_out[order[i], t0:t1])
                # what is withdrawn itself is no loss
                for t in range(w):
                    per_p[t] -= 1.0


@kernel(
    I32, I32, I32, F64, F64, F64, F64, F64, F64, f64, i64, F64_2D, F64_2D, F64_2D, F64_2D, I32, I64, i64, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def voltage_change(
    order, parent, last, r, x, g, b, tau, u_root, tolerance, max_iterations, p_in, q_in, dp_in, dq_in, heads, packs,
    width, scratch, dv_out, status_out, job0, job1,
):  # fmt: skip
    """Product of the derivative with a change of all powers, step by step."""
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        live = lanes(s[s.shape[0] - 2], 0, w)
        change = lanes(s[s.shape[0] - 1], 0, w)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            solve(
                order, parent, r, x, g, b, u_root[i0], tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live,
                change, status_out[h, t0:t1],
            )  # fmt: skip
            eliminate(parent, r, x, g, b, i0, i1, 1.0, w, s)
            clear_sources(i0, i1, w, s)
            for i in range(i0, i1):
                row = s[i - i0 + 1]
                dp = dp_in[order[i], t0:t1]
                dq = dq_in[order[i], t0:t1]
                vr = lanes(row, _VR, w)
                vi = lanes(row, _VI, w)
                fr = lanes(row, _FR, w)
                fi = lanes(row, _FI, w)
                for t in range(w):
                    d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
                    fr[t] = (dp[t] * vr[t] + dq[t] * vi[t]) * d
                    fi[t] = (dp[t] * vi[t] - dq[t] * vr[t]) * d
            raise_all(parent, r, x, i0, i1, w, s)
            follow_down(parent, r, x, i0, i1, w, s)
            for i in range(i0, i1):
                _magnitude(s[i - i0 + 1], tau[i], w, dv_out[order[i], t0:t1])


@kernel(
    I32, I32, I32, F64, F64, F64, F64, F64, F64, f64, i64, F64_2D, F64_2D, I32, I64, I64, I64, I32, I64, I64, I64, i64,
    I32, I64, i64, F64_2D_OUT, F64_3D_OUT, F64_3D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def voltage_entries(
    order, parent, last, r, x, g, b, tau, u_root, tolerance, max_iterations, p_in, q_in, row_at, row_slot, row_start,
    row_end, column_at, column_slot, column_start, column_end, by_rows, heads, packs, width, scratch, per_p_out,
    per_q_out, status_out, job0, job1,
):  # fmt: skip
    """Entries of the derivative of voltages (rows) by powers (columns), each a list of nodes in preorder.

    `*_at` is the preorder position, `*_slot` the place in the output, `*_start` and `*_end` the part of the list that
    lies in each subtree. One adjoint solution gives a whole row of both matrices, two ordinary ones a whole column of
    both: `by_rows` says which are fewer. Entries between different subtrees are left as they are.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        live = lanes(s[s.shape[0] - 2], 0, w)
        change = lanes(s[s.shape[0] - 1], 0, w)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            solve(
                order, parent, r, x, g, b, u_root[i0], tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live,
                change, status_out[h, t0:t1],
            )  # fmt: skip
            if row_start[h] == row_end[h] or column_start[h] == column_end[h]:
                continue
            eliminate(parent, r, x, g, b, i0, i1, -1.0 if by_rows else 1.0, w, s)
            clear_sources(i0, i1, w, s)
            if by_rows:
                for k in range(row_start[h], row_end[h]):
                    i = np.int64(row_at[k])
                    row = s[i - i0 + 1]
                    vr = lanes(row, _VR, w)
                    vi = lanes(row, _VI, w)
                    fr = lanes(row, _FR, w)
                    fi = lanes(row, _FI, w)
                    for t in range(w):
                        d = 1.0 / math.sqrt(tau[i] * (vr[t] * vr[t] + vi[t] * vi[t]))
                        fr[t] = vr[t] * d
                        fi[t] = -vi[t] * d
                    raise_one(parent, r, x, i, i0, w, s)
                    follow_down(parent, r, x, i0, i1, w, s)
                    forget_one(parent, i, i0, w, s)
                    for c in range(column_start[h], column_end[h]):
                        _per_power(
                            s[column_at[c] - i0 + 1], w, per_p_out[row_slot[k], column_slot[c], t0:t1],
                            per_q_out[row_slot[k], column_slot[c], t0:t1],
                        )  # fmt: skip
                continue
            for c in range(column_start[h], column_end[h]):
                i = np.int64(column_at[c])
                row = s[i - i0 + 1]
                vr = lanes(row, _VR, w)
                vi = lanes(row, _VI, w)
                fr = lanes(row, _FR, w)
                fi = lanes(row, _FI, w)
                for reactive in range(2):
                    for t in range(w):
                        d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
                        fr[t] = (vi[t] if reactive else vr[t]) * d
                        fi[t] = (-vr[t] if reactive else vi[t]) * d
                    raise_one(parent, r, x, i, i0, w, s)
                    follow_down(parent, r, x, i0, i1, w, s)
                    forget_one(parent, i, i0, w, s)
                    for k in range(row_start[h], row_end[h]):
                        at = np.int64(row_at[k])
                        out = (per_q_out if reactive else per_p_out)[row_slot[k], column_slot[c], t0:t1]
                        _magnitude(s[at - i0 + 1], tau[at], w, out)
