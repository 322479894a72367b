"""LinDistFlow with loss sweeps on a forest, many steps at once.

Work is cut into jobs: some subtrees that hang off roots times a block of steps. Inside a job everything lives in
scratch rows of one node each, so a block stays in cache for all sweeps; inputs are read and outputs written once,
ascending. Each step is a lane of a row and lanes never meet, so a step gives the same bits in any block.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, inner, kernel


@inner
def bottom_up_losses(parent, r, x, i0, i1, rows, w, s):
    """Add the losses of each branch to what its parent takes; leaves the voltage drop in U and the current in L.

    The current comes from the flow at the child's end, where all losses below are already counted, and the voltage of
    the sweep before.
    """
    for k in range(2 * rows, 4 * rows):
        row = s[k, :w]
        for t in range(w):
            row[t] = 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        p = s[j, :w]
        q = s[rows + j, :w]
        lp = s[2 * rows + j, :w]
        lq = s[3 * rows + j, :w]
        u = s[4 * rows + j, :w]
        l = s[5 * rows + j, :w]
        ri = r[i]
        xi = x[i]
        zz = ri * ri + xi * xi
        for t in range(w):
            pr = p[t] + lp[t]
            qr = q[t] + lq[t]
            current = (pr * pr + qr * qr) / u[t]
            l[t] = current
            u[t] = 2.0 * (ri * pr + xi * qr) + zz * current
        up = s[2 * rows + k, :w]
        uq = s[3 * rows + k, :w]
        for t in range(w):
            up[t] += lp[t] + ri * l[t]
            uq[t] += lq[t] + xi * l[t]


@inner
def top_down(parent, i0, i1, rows, w, s):
    """Turn the voltage drops in U into squared voltages."""
    for i in range(i0, i1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        u = s[4 * rows + j, :w]
        above = s[4 * rows + k, :w]
        for t in range(w):
            u[t] = above[t] - u[t]


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
    # six quantities per node: P, Q, loss sums of P and Q, squared voltage, squared current; then spare rows
    rows = (scratch.shape[0] - 8) // 6
    spare = 6 * rows
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        bad = s[spare, :w]
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            u0 = u_root[i0]
            top_p = s[0, :w]
            top_q = s[rows, :w]
            top_u = s[4 * rows, :w]
            for t in range(w):
                top_p[t] = 0.0
                top_q[t] = 0.0
                top_u[t] = u0
                bad[t] = 0.0
            for i in range(i0, i1):
                j = i - i0 + 1
                source_p = p_in[order[i], t0:t1]
                source_q = q_in[order[i], t0:t1]
                p = s[j, :w]
                q = s[rows + j, :w]
                shunt_p = g[i] * u0
                shunt_q = b[i] * u0
                for t in range(w):
                    p[t] = source_p[t] + shunt_p
                for t in range(w):
                    q[t] = source_q[t] - shunt_q
            for i in range(i1 - 1, i0 - 1, -1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                p = s[j, :w]
                q = s[rows + j, :w]
                up = s[k, :w]
                uq = s[rows + k, :w]
                u = s[4 * rows + j, :w]
                r2 = 2.0 * r[i]
                x2 = 2.0 * x[i]
                for t in range(w):
                    up[t] += p[t]
                    uq[t] += q[t]
                for t in range(w):
                    u[t] = r2 * p[t] + x2 * q[t]
            top_down(parent, i0, i1, rows, w, s)
            for _ in range(loss_sweeps):
                # at a squared voltage below zero losses are negative, and would lift the voltage above zero again
                for j in range(1, i1 - i0 + 1):
                    u = s[4 * rows + j, :w]
                    for t in range(w):
                        bad[t] = bad[t] if u[t] > 0.0 else 1.0
                bottom_up_losses(parent, r, x, i0, i1, rows, w, s)
                top_down(parent, i0, i1, rows, w, s)
            if loss_sweeps == 0:
                for k in range(2 * rows, 4 * rows):
                    row = s[k, :w]
                    for t in range(w):
                        row[t] = 0.0
                for k in range(5 * rows, 6 * rows):
                    row = s[k, :w]
                    for t in range(w):
                        row[t] = 0.0

            for i in range(i0, i1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                e = branch[i]
                u = s[4 * rows + j, :w]
                above = s[4 * rows + k, :w]
                for t in range(w):
                    bad[t] = bad[t] if u[t] > 0.0 else 1.0
                if want[4]:
                    v = v_out[order[i], t0:t1]
                    per_tau = 1.0 / tau[i]
                    for t in range(w):
                        v[t] = math.sqrt(u[t] * per_tau)
                p = s[j, :w]
                lp = s[2 * rows + j, :w]
                l = s[5 * rows + j, :w]
                # the end at the parent and the end at the child, written to where they are declared
                if forward[i]:
                    p_up = p_from_out[e, t0:t1] if want[0] else s[spare + 1, :w]
                    p_down = p_to_out[e, t0:t1] if want[2] else s[spare + 2, :w]
                    q_up = q_from_out[e, t0:t1] if want[1] else s[spare + 3, :w]
                    q_down = q_to_out[e, t0:t1] if want[3] else s[spare + 4, :w]
                else:
                    p_up = p_to_out[e, t0:t1] if want[2] else s[spare + 1, :w]
                    p_down = p_from_out[e, t0:t1] if want[0] else s[spare + 2, :w]
                    q_up = q_to_out[e, t0:t1] if want[3] else s[spare + 3, :w]
                    q_down = q_from_out[e, t0:t1] if want[1] else s[spare + 4, :w]
                ri = r[i]
                xi = x[i]
                if want[5] or (want[0] and forward[i]) or (want[2] and not forward[i]):
                    end = g_parent[i] * u0
                    for t in range(w):
                        p_up[t] = p[t] + lp[t] + ri * l[t] + end
                if want[5] or (want[2] and forward[i]) or (want[0] and not forward[i]):
                    end = g_child[i] * u0
                    for t in range(w):
                        p_down[t] = end - (p[t] + lp[t])
                if want[5] or want[1] or want[3]:
                    q = s[rows + j, :w]
                    lq = s[3 * rows + j, :w]
                    end = b_parent[i] * u0
                    for t in range(w):
                        q_up[t] = q[t] + lq[t] + xi * l[t] - end
                    end = b_child[i] * u0
                    for t in range(w):
                        q_down[t] = -end - (q[t] + lq[t])
                if want[5]:
                    loading = loading_out[e, t0:t1]
                    tau_up = tau[parent[i]]
                    tau_down = tau[i]
                    ahead = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back = per_s_reverse[e] if forward[i] else per_s_max[e]
                    largest = s[spare + 5, :w]
                    for t in range(w):
                        largest[t] = (p_up[t] * p_up[t] + q_up[t] * q_up[t]) * tau_up / above[t]
                    for t in range(w):
                        down = (p_down[t] * p_down[t] + q_down[t] * q_down[t]) * tau_down / u[t]
                        largest[t] = down if down > largest[t] else largest[t]
                    for t in range(w):
                        limit = ahead if p_up[t] >= 0.0 else back
                        loading[t] = math.sqrt(largest[t]) * limit

            for t in range(w):
                status_out[h, t0 + t] = 0
                # a flow of minus infinity gives a voltage above zero, and only its sum tells
                if bad[t] > 0.0 or not np.isfinite(top_p[t] + top_q[t]):
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
