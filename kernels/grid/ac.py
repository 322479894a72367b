"""AC power flow on a forest: backward/forward sweeps in complex currents, many steps at once.

Jobs, work rows and lanes are those of the linear sweep. A lane (one step of one subtree) stops changing when that
lane has converged, whatever its neighbours do: a step solved alone gives the same bits.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, f64, i64, inner, kernel
from flexcore.kernels.grid.lanes import LANES, fetch_row, lanes

# quantities of a work row: own load, real and imaginary voltage, real and imaginary current of the branch above
_P, _Q, _VR, _VI, _JR, _JI = range(6)


@inner
def backward(parent, g, b, i0, i1, w, s):
    """Sum the currents of loads and shunts from the leaves up."""
    for j in range(i1 - i0 + 1):
        row = s[j, _JR * LANES : (_JI + 1) * LANES]
        for t in range(row.shape[0]):
            row[t] = 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        vr = lanes(row, _VR, w)
        vi = lanes(row, _VI, w)
        jr = lanes(row, _JR, w)
        ji = lanes(row, _JI, w)
        gi = g[i]
        bi = b[i]
        ur = lanes(above, _JR, w)
        ui = lanes(above, _JI, w)
        for t in range(w):
            d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
            # conj(S) / |V|^2 + Y, the admittance that takes load and shunt at this voltage
            conductance = p[t] * d + gi
            susceptance = bi - q[t] * d
            real = jr[t] + (conductance * vr[t] - susceptance * vi[t])
            imag = ji[t] + (conductance * vi[t] + susceptance * vr[t])
            jr[t] = real
            ji[t] = imag
            ur[t] += real
            ui[t] += imag


@inner
def forward_sweep(parent, r, x, i0, i1, w, s, live, change):
    """Follow the voltage drops from the root down in the lanes that are live; `change` sums the squared steps."""
    for t in range(w):
        change[t] = 0.0
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        vr = lanes(row, _VR, w)
        vi = lanes(row, _VI, w)
        jr = lanes(row, _JR, w)
        ji = lanes(row, _JI, w)
        ur = lanes(above, _VR, w)
        ui = lanes(above, _VI, w)
        ri = r[i]
        xi = x[i]
        for t in range(w):
            a = ur[t] - ri * jr[t] + xi * ji[t]
            c = ui[t] - ri * ji[t] - xi * jr[t]
            da = a - vr[t]
            dc = c - vi[t]
            change[t] += da * da + dc * dc
            vr[t] = a if live[t] > 0.0 else vr[t]
            vi[t] = c if live[t] > 0.0 else vi[t]


@inner
def solve(
    order, parent, r, x, g, b, u0, tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live, change, status_out
):  # fmt: skip
    """Solve the subtree i0..i1 for steps t0..t0 + w: voltages and currents end in the work rows.

    Real voltages are NaN in lanes whose status is not 0.
    """
    v0 = math.sqrt(u0)
    for j in range(i1 - i0 + 1):
        vr = lanes(s[j], _VR, w)
        vi = lanes(s[j], _VI, w)
        for t in range(w):
            vr[t] = v0
        for t in range(w):
            vi[t] = 0.0
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        soon = order[min(i + 2, i1 - 1)]
        fetch_row(p_in, soon, t0, w)
        fetch_row(q_in, soon, t0, w)
        source_p = p_in[order[i], t0 : t0 + w]
        source_q = q_in[order[i], t0 : t0 + w]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        for t in range(w):
            p[t] = source_p[t]
        for t in range(w):
            q[t] = source_q[t]
    for t in range(w):
        live[t] = 1.0
        status_out[t] = 1
    n_live = np.int64(w)
    enough = tolerance * tolerance
    for _ in range(max_iterations):
        backward(parent, g, b, i0, i1, w, s)
        forward_sweep(parent, r, x, i0, i1, w, s, live, change)
        for t in range(w):
            if live[t] > 0.0:
                if change[t] < enough:
                    live[t] = 0.0
                    status_out[t] = 0
                    n_live -= 1
                # a step as long as the voltage itself, or NaN: there is no solution to come back to
                elif not change[t] < 0.81 * u0 * (i1 - i0):
                    live[t] = 0.0
                    status_out[t] = 2
                    n_live -= 1
        if n_live == 0:
            break
    for t in range(w):
        if status_out[t] != 0:
            for j in range(1, i1 - i0 + 1):
                s[j, _VR * LANES + t] = np.nan
    # once more with the final voltages, so that flows do not depend on when other lanes stopped
    backward(parent, g, b, i0, i1, w, s)


@kernel(
    I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64_2D, F64_2D, f64,
    i64, I32, I64, i64, U8, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, parent, last, branch, forward, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root, per_s_max,
    per_s_reverse, shift_deg, angle_root_deg, p_in, q_in, tolerance, max_iterations, heads, packs, width, want, scratch,
    p_from_out, q_from_out, p_to_out, q_to_out, v_out, loading_out, angle_out, status_out, job0, job1,
):  # fmt: skip
    """Solve jobs job0..job1; job = pack of subtrees times block of steps.

    A lane has converged when the root of the summed squared voltage changes of one sweep is below `tolerance`. Status
    of a subtree and step: 0 converged, 1 not within `max_iterations`, 2 voltage collapse or input not finite; outputs
    are NaN unless it is 0.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        t1 = min(n_steps, t0 + width)
        w = t1 - t0
        s = scratch
        spare = s[s.shape[0] - 2]
        further = s[s.shape[0] - 1]
        live = lanes(spare, 0, w)
        change = lanes(further, 0, w)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            solve(
                order, parent, r, x, g, b, u_root[i0], tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live,
                change, status_out[h, t0:t1],
            )  # fmt: skip
            for i in range(i0, i1):
                row = s[i - i0 + 1]
                upper = s[parent[i] - i0 + 1 if i > i0 else 0]
                e = branch[i]
                vr = lanes(row, _VR, w)
                vi = lanes(row, _VI, w)
                jr = lanes(row, _JR, w)
                ji = lanes(row, _JI, w)
                ur = lanes(upper, _VR, w)
                ui = lanes(upper, _VI, w)
                # squared voltages at the child's and the parent's end
                u = lanes(spare, 5, w)
                above = lanes(further, 1, w)
                for t in range(w):
                    u[t] = vr[t] * vr[t] + vi[t] * vi[t]
                for t in range(w):
                    above[t] = ur[t] * ur[t] + ui[t] * ui[t]
                if want[4]:
                    v = v_out[order[i], t0:t1]
                    per_tau = 1.0 / tau[i]
                    for t in range(w):
                        v[t] = math.sqrt(u[t] * per_tau)
                if want[6]:
                    angle = angle_out[order[i], t0:t1]
                    turn = angle_root_deg[i] - shift_deg[i]
                    for t in range(w):
                        angle[t] = math.atan2(vi[t], vr[t]) * (180.0 / math.pi) + turn
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
                if want[5] or (want[0] and forward[i]) or (want[2] and not forward[i]):
                    end = g_parent[i]
                    for t in range(w):
                        p_up[t] = ur[t] * jr[t] + ui[t] * ji[t] + end * above[t]
                if want[5] or (want[2] and forward[i]) or (want[0] and not forward[i]):
                    end = g_child[i]
                    for t in range(w):
                        p_down[t] = end * u[t] - (vr[t] * jr[t] + vi[t] * ji[t])
                if want[5] or want[1] or want[3]:
                    end = b_parent[i]
                    for t in range(w):
                        q_up[t] = ui[t] * jr[t] - ur[t] * ji[t] - end * above[t]
                    end = b_child[i]
                    for t in range(w):
                        q_down[t] = -end * u[t] - (vi[t] * jr[t] - vr[t] * ji[t])
                if want[5]:
                    loading = loading_out[e, t0:t1]
                    tau_up = tau[parent[i]]
                    tau_down = tau[i]
                    ahead = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back = per_s_reverse[e] if forward[i] else per_s_max[e]
                    largest = change  # free by now
                    for t in range(w):
                        largest[t] = (p_up[t] * p_up[t] + q_up[t] * q_up[t]) * tau_up / above[t]
                    for t in range(w):
                        down = (p_down[t] * p_down[t] + q_down[t] * q_down[t]) * tau_down / u[t]
                        largest[t] = down if down > largest[t] else largest[t]
                    for t in range(w):
                        limit = ahead if p_up[t] >= 0.0 else back
                        loading[t] = math.sqrt(largest[t]) * limit
