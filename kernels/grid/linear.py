"""LinDistFlow with loss sweeps on a forest, many steps at once.

Work is cut into jobs: some subtrees that hang off roots times a block of steps. Inside a job everything lives in
scratch rows of one node each, so a block stays in cache for all sweeps; inputs are read and outputs written once,
ascending. Each step is a lane of a row and lanes never meet, so a step gives the same bits in any block.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, inner, kernel
from flexcore.kernels.grid.lanes import fetch_row, lanes

# rows of one node, by quantity: squared voltage (or its drop), own load, flow at the child's end, squared current. A
# flow without losses is summed in place, over the own loads
_U, _P, _Q, _P_SUM, _Q_SUM, _L = range(6)


@inner
def bottom_up(parent, last, r, x, i0, i1, lossy, in_place, w, s):
    """Sum the flows from the leaves up, with the losses on the way where `lossy`; leaves the voltage drops in U.

    The current comes from the flow at the child's end, where all losses below are already counted, and the voltage of
    the sweep before. A leaf's flow is its own load; the child that is met first starts its parent's sum, so that
    nothing needs to be cleared.
    """
    sum_p = _P if in_place else _P_SUM
    sum_q = _Q if in_place else _Q_SUM
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        leaf = last[i] == i + 1
        p = lanes(row, _P if leaf else sum_p, w)
        q = lanes(row, _Q if leaf else sum_q, w)
        u = lanes(row, _U, w)
        above_p = lanes(above, sum_p, w)
        above_q = lanes(above, sum_q, w)
        # the first child met from behind is the last one of its parent
        starts = not in_place and (i == i0 or last[i] == last[parent[i]])
        from_p = lanes(above, _P, w) if starts else above_p
        from_q = lanes(above, _Q, w) if starts else above_q
        r2 = 2.0 * r[i]
        x2 = 2.0 * x[i]
        if lossy:
            l = lanes(row, _L, w)
            ri = r[i]
            xi = x[i]
            zz = ri * ri + xi * xi
            for t in range(w):
                current = (p[t] * p[t] + q[t] * q[t]) / u[t]
                l[t] = current
                u[t] = r2 * p[t] + x2 * q[t] + zz * current
                above_p[t] = from_p[t] + (p[t] + ri * current)
                above_q[t] = from_q[t] + (q[t] + xi * current)
        else:
            for t in range(w):
                u[t] = r2 * p[t] + x2 * q[t]
                above_p[t] = from_p[t] + p[t]
                above_q[t] = from_q[t] + q[t]


@inner
def top_down(parent, i0, i1, w, s, bad):
    """Turn the voltage drops in U into squared voltages; mark lanes in which one is not above zero."""
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        u = lanes(row, _U, w)
        above_u = lanes(above, _U, w)
        for t in range(w):
            u[t] = above_u[t] - u[t]
        for t in range(w):
            bad[t] = bad[t] if u[t] > 0.0 else 1.0


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
    lossy = loss_sweeps > 0
    # losses need the own loads and the sums both
    sum_p = _P_SUM if lossy else _P
    sum_q = _Q_SUM if lossy else _Q
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        spare = s[s.shape[0] - 1]
        bad = lanes(spare, 0, w)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            u0 = u_root[i0]
            top_p = lanes(s[0], _P, w)
            top_q = lanes(s[0], _Q, w)
            top_u = lanes(s[0], _U, w)
            for t in range(w):
                top_p[t] = 0.0
                top_q[t] = 0.0
                top_u[t] = u0
                bad[t] = 0.0
            for i in range(i0, i1):
                ahead = min(i + 2, i1 - 1)
                fetch_row(p_in, order[ahead], t0, w)
                fetch_row(q_in, order[ahead], t0, w)
                row = s[i - i0 + 1]
                source_p = p_in[order[i], t0:t1]
                source_q = q_in[order[i], t0:t1]
                p = lanes(row, _P, w)
                q = lanes(row, _Q, w)
                shunt_p = g[i] * u0
                shunt_q = b[i] * u0
                for t in range(w):
                    p[t] = source_p[t] + shunt_p
                for t in range(w):
                    q[t] = source_q[t] - shunt_q
            bottom_up(parent, last, r, x, i0, i1, False, not lossy, w, s)
            for _ in range(loss_sweeps):
                top_down(parent, i0, i1, w, s, bad)
                bottom_up(parent, last, r, x, i0, i1, True, False, w, s)

            # the last way down writes what is wanted
            for i in range(i0, i1):
                nxt = min(i + 2, i1 - 1)
                if want[4]:
                    fetch_row(v_out, order[nxt], t0, w)
                if want[0]:
                    fetch_row(p_from_out, branch[nxt], t0, w)
                row = s[i - i0 + 1]
                above = s[parent[i] - i0 + 1 if i > i0 else 0]
                e = branch[i]
                u = lanes(row, _U, w)
                above_u = lanes(above, _U, w)
                for t in range(w):
                    u[t] = above_u[t] - u[t]
                for t in range(w):
                    bad[t] = bad[t] if u[t] > 0.0 else 1.0
                if want[4]:
                    v = v_out[order[i], t0:t1]
                    per_tau = 1.0 / tau[i]
                    for t in range(w):
                        v[t] = math.sqrt(u[t] * per_tau)
                leaf = last[i] == i + 1
                p = lanes(row, _P if leaf else sum_p, w)
                q = lanes(row, _Q if leaf else sum_q, w)
                # the end at the parent and the end at the child, written to where they are declared
                if forward[i]:
                    p_up = p_from_out[e, t0:t1] if want[0] else lanes(spare, 1, w)
                    p_down = p_to_out[e, t0:t1] if want[2] else lanes(spare, 2, w)
                    q_up = q_from_out[e, t0:t1] if want[1] else lanes(spare, 3, w)
                    q_down = q_to_out[e, t0:t1] if want[3] else lanes(spare, 4, w)
                else:
                    p_up = p_to_out[e, t0:t1] if want[2] else lanes(spare, 1, w)
                    p_down = p_from_out[e, t0:t1] if want[0] else lanes(spare, 2, w)
                    q_up = q_to_out[e, t0:t1] if want[3] else lanes(spare, 3, w)
                    q_down = q_from_out[e, t0:t1] if want[1] else lanes(spare, 4, w)
                l = lanes(row, _L if lossy else _U, w)
                if want[5] or (want[0] and forward[i]) or (want[2] and not forward[i]):
                    end = g_parent[i] * u0
                    if lossy:
                        ri = r[i]
                        for t in range(w):
                            p_up[t] = p[t] + ri * l[t] + end
                    else:
                        for t in range(w):
                            p_up[t] = p[t] + end
                if want[5] or (want[2] and forward[i]) or (want[0] and not forward[i]):
                    end = g_child[i] * u0
                    for t in range(w):
                        p_down[t] = end - p[t]
                if want[5] or want[1] or want[3]:
                    end = b_parent[i] * u0
                    if lossy:
                        xi = x[i]
                        for t in range(w):
                            q_up[t] = q[t] + xi * l[t] - end
                    else:
                        for t in range(w):
                            q_up[t] = q[t] - end
                    end = b_child[i] * u0
                    for t in range(w):
                        q_down[t] = -end - q[t]
                if want[5]:
                    loading = loading_out[e, t0:t1]
                    tau_up = tau[parent[i]]
                    tau_down = tau[i]
                    ahead = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back = per_s_reverse[e] if forward[i] else per_s_max[e]
                    largest = lanes(spare, 5, w)
                    for t in range(w):
                        largest[t] = (p_up[t] * p_up[t] + q_up[t] * q_up[t]) * tau_up / above_u[t]
                    for t in range(w):
                        down = (p_down[t] * p_down[t] + q_down[t] * q_down[t]) * tau_down / u[t]
                        largest[t] = down if down > largest[t] else largest[t]
                    for t in range(w):
                        limit = ahead if p_up[t] >= 0.0 else back
                        loading[t] = math.sqrt(largest[t]) * limit

            for t in range(w):
                status_out[h, t0 + t] = 0
                # a flow of minus infinity gives a voltage above zero, and only its sum tells
                if bad[t] > 0.0 or not np.isfinite(lanes(s[0], sum_p, w)[t] + lanes(s[0], sum_q, w)[t]):
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
