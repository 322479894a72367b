"""LinDistFlow with loss sweeps on a forest, many steps at once.

Work is cut into jobs: some subtrees that hang off roots times a block of steps. Inside a job everything lives in work
rows of one node each, so a block stays in cache for all sweeps; outputs are written once. Each step is a lane of a row
and lanes never meet, so a step gives the same bits in any block.

Indices along time are unsigned, so that none can be negative, and most loops write one lane each: the compiler then
vectorises them. What each choice was worth is in docs/explanation/power-flow.md.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, inner, kernel
from flexcore.kernels.grid.lanes import LANES, fetch_row

# lanes of a node's work row: squared voltage (or its drop), flow at the child's end, squared current
_U, _P, _Q, _L = (np.uint64(k * LANES) for k in range(4))


@inner
def bottom_up(order, parent, last, r, x, g, b, u0, p_in, q_in, t0, i0, i1, lossy, w, s):
    """Sum the flows from the leaves up, with the losses on the way where `lossy`; leaves the voltage drops in U.

    The current comes from the flow at the child's end, where all losses below are already counted, and the voltage of
    the sweep before. Loads are read where the caller keeps them. The child that is met first starts its parent's sum,
    so nothing needs to be cleared; from behind that is the last child.
    """
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        n = order[i]
        if not lossy:
            ahead = order[max(i - 2, i0)]
            fetch_row(p_in, ahead, t0, w)
            fetch_row(q_in, ahead, t0, w)
        shunt_p = g[i] * u0
        shunt_q = b[i] * u0
        if last[i] == i + 1:
            for t in range(w):
                s[j, _P + t] = p_in[n, t0 + t] + shunt_p
            for t in range(w):
                s[j, _Q + t] = q_in[n, t0 + t] - shunt_q
        else:
            for t in range(w):
                s[j, _P + t] += p_in[n, t0 + t] + shunt_p
            for t in range(w):
                s[j, _Q + t] += q_in[n, t0 + t] - shunt_q
        ri = r[i]
        xi = x[i]
        starts = i == i0 or last[i] == last[parent[i]]
        if lossy:
            zz = ri * ri + xi * xi
            for t in range(w):
                p = s[j, _P + t]
                q = s[j, _Q + t]
                current = (p * p + q * q) / s[j, _U + t]
                s[j, _L + t] = current
                s[j, _U + t] = 2.0 * (ri * p + xi * q) + zz * current
            if starts:
                for t in range(w):
                    s[k, _P + t] = s[j, _P + t] + ri * s[j, _L + t]
                for t in range(w):
                    s[k, _Q + t] = s[j, _Q + t] + xi * s[j, _L + t]
            else:
                for t in range(w):
                    s[k, _P + t] += s[j, _P + t] + ri * s[j, _L + t]
                for t in range(w):
                    s[k, _Q + t] += s[j, _Q + t] + xi * s[j, _L + t]
        elif starts:
            for t in range(w):
                p = s[j, _P + t]
                q = s[j, _Q + t]
                s[j, _U + t] = 2.0 * (ri * p + xi * q)
                s[k, _P + t] = p
                s[k, _Q + t] = q
        else:
            for t in range(w):
                p = s[j, _P + t]
                q = s[j, _Q + t]
                s[j, _U + t] = 2.0 * (ri * p + xi * q)
                s[k, _P + t] += p
                s[k, _Q + t] += q


@inner
def top_down(parent, i0, i1, w, s, least):
    """Turn the voltage drops in U into squared voltages; `least` is a row for the smallest in each lane."""
    for i in range(i0, i1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        for t in range(w):
            s[j, _U + t] = s[k, _U + t] - s[j, _U + t]
        for t in range(w):
            s[least, t] = min(s[least, t], s[j, _U + t])


@kernel(
    I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64_2D, F64_2D, i64, I32, I64,
    i64, U8, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, parent, last, branch, forward, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root, per_s_max,
    per_s_reverse, p_in, q_in, loss_sweeps, heads, packs, width, want, scratch, p_from_out, q_from_out, p_to_out,
    q_to_out, v_out, loading_out, status_out, job0, job1,
):  # fmt: skip
    """Solve jobs job0..job1; job = pack of subtrees times block of steps.

    `want` says which outputs are wanted, in the order of the arguments; the others may be empty. Status of a subtree
    and step: 0 solved, 2 no voltage (the squared voltage fell to zero or the input was not finite), outputs are NaN
    then.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = np.uint64((job % n_blocks) * width)
        # unsigned, so that no index can be negative: the check for that would keep loops from being vectorised
        w = np.uint64(min(n_steps - (job % n_blocks) * width, width))
        s = scratch
        least = s.shape[0] - 1  # a row for the smallest squared voltage of each lane
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            u0 = u_root[i0]
            for t in range(w):
                s[0, _U + t] = u0
                s[least, t] = u0
            bottom_up(order, parent, last, r, x, g, b, u0, p_in, q_in, t0, i0, i1, False, w, s)
            for _ in range(loss_sweeps):
                top_down(parent, i0, i1, w, s, least)
                bottom_up(order, parent, last, r, x, g, b, u0, p_in, q_in, t0, i0, i1, True, w, s)

            # the last way down writes what is wanted
            for i in range(i0, i1):
                ahead = min(i + 2, i1 - 1)
                if want[4]:
                    fetch_row(v_out, order[ahead], t0, w)
                if want[0]:
                    fetch_row(p_from_out, branch[ahead], t0, w)
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                e = branch[i]
                for t in range(w):
                    s[j, _U + t] = s[k, _U + t] - s[j, _U + t]
                for t in range(w):
                    s[least, t] = min(s[least, t], s[j, _U + t])
                if want[4]:
                    n = order[i]
                    per_tau = 1.0 / tau[i]
                    for t in range(w):
                        v_out[n, t0 + t] = math.sqrt(s[j, _U + t] * per_tau)
                # nothing was lost where there was no sweep for it
                ri = r[i] if loss_sweeps > 0 else 0.0
                xi = x[i] if loss_sweeps > 0 else 0.0
                if loss_sweeps == 0:
                    for t in range(w):
                        s[j, _L + t] = 0.0
                # the end at the parent and the end at the child, written to where they are declared
                up, down = (0, 2) if forward[i] else (2, 0)
                p_up, p_down = (p_from_out, p_to_out) if forward[i] else (p_to_out, p_from_out)
                q_up, q_down = (q_from_out, q_to_out) if forward[i] else (q_to_out, q_from_out)
                end_p = g_parent[i] * u0
                end_q = b_parent[i] * u0
                far_p = g_child[i] * u0
                far_q = b_child[i] * u0
                if want[up]:
                    for t in range(w):
                        p_up[e, t0 + t] = s[j, _P + t] + ri * s[j, _L + t] + end_p
                if want[down]:
                    for t in range(w):
                        p_down[e, t0 + t] = far_p - s[j, _P + t]
                if want[up + 1]:
                    for t in range(w):
                        q_up[e, t0 + t] = s[j, _Q + t] + xi * s[j, _L + t] - end_q
                if want[down + 1]:
                    for t in range(w):
                        q_down[e, t0 + t] = -far_q - s[j, _Q + t]
                if want[5]:
                    tau_up = tau[parent[i]]
                    tau_down = tau[i]
                    ahead_limit = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back_limit = per_s_reverse[e] if forward[i] else per_s_max[e]
                    for t in range(w):
                        l = s[j, _L + t]
                        p = s[j, _P + t]
                        q = s[j, _Q + t]
                        p_here = p + ri * l + end_p
                        q_here = q + xi * l - end_q
                        near = (p_here * p_here + q_here * q_here) * tau_up / s[k, _U + t]
                        p_there = far_p - p
                        q_there = -far_q - q
                        far = (p_there * p_there + q_there * q_there) * tau_down / s[j, _U + t]
                        limit = ahead_limit if p_here >= 0.0 else back_limit
                        loading_out[e, t0 + t] = math.sqrt(max(near, far)) * limit

            for t in range(w):
                status_out[h, t0 + t] = 0
                # a flow of minus infinity gives a voltage above zero, and only its sum tells
                if not s[least, t] > 0.0 or not np.isfinite(s[0, _P + t] + s[0, _Q + t]):
                    status_out[h, t0 + t] = 2
                    for i in range(i0, i1):
                        e = branch[i]
                        if want[0]:
                            p_from_out[e, t0 + t] = np.nan
                        if want[1]:
                            q_from_out[e, t0 + t] = np.nan
                        if want[2]:
                            p_to_out[e, t0 + t] = np.nan
                        if want[3]:
                            q_to_out[e, t0 + t] = np.nan
                        if want[4]:
                            v_out[order[i], t0 + t] = np.nan
                        if want[5]:
                            loading_out[e, t0 + t] = np.nan
