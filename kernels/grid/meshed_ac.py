"""AC power flow on a spanning tree with its loops closed in every sweep, many steps at once.

Loads and shunts draw the current of the last voltages; one sweep up and down the tree gives the voltages that these and
the chord currents so far leave; the terminals tell how to correct those currents, and a second sweep of the correction
alone carries that to all nodes. So each round is one round on the network with its loops, not on its tree: the tree of
a transmission network may have no solution at all with the powers of the chords held constant.

A lane (one step) stops changing when that lane has converged, whatever its neighbours do.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, U8, U8_2D_OUT, f64, i64, inner, kernel
from flexcore.kernels.grid.loops import apply, close, decompose, loop_misses, rates_of_voltages, substitute

#: Steps in a block at most, and the distance between two quantities of a work row.
WIDTH = 72
# quantities of a work row: load, voltage, branch current, next voltage, correction
_P, _Q, _VR, _VI, _JR, _JI, _NR, _NI, _CR, _CI = range(10)
QUANTITIES = 10


@inner
def part(row, quantity, w):
    """Return one quantity of a work row."""
    return row[quantity * WIDTH : quantity * WIDTH + w]


@inner
def draw(n, parent, g, b, w, s):
    """Currents of loads and shunts at the present voltages."""
    for i in range(n):
        row = s[i]
        jr = part(row, _JR, w)
        ji = part(row, _JI, w)
        if parent[i] < 0:
            for t in range(w):
                jr[t] = 0.0
                ji[t] = 0.0
            continue
        p = part(row, _P, w)
        q = part(row, _Q, w)
        vr = part(row, _VR, w)
        vi = part(row, _VI, w)
        gi = g[i]
        bi = b[i]
        for t in range(w):
            d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
            conductance = p[t] * d + gi
            susceptance = bi - q[t] * d
            jr[t] = conductance * vr[t] - susceptance * vi[t]
            ji[t] = conductance * vi[t] + susceptance * vr[t]


@inner
def collect(n, parent, real, imag, w, s):
    """Sum a pair of quantities from the leaves up."""
    for i in range(n - 1, -1, -1):
        k = parent[i]
        if k < 0:
            continue
        r = part(s[i], real, w)
        m = part(s[i], imag, w)
        ur = part(s[k], real, w)
        ui = part(s[k], imag, w)
        for t in range(w):
            ur[t] += r[t]
            ui[t] += m[t]


@inner
def add_currents(ends, one, other, kr, ki, held, cr, ci, real, imag, w, s):
    """Add the currents of chords and PV nodes, drawn at the terminals, to a pair of quantities."""
    for c in range(one.shape[0]):
        a = s[ends[one[c]]]
        b = s[ends[other[c]]]
        ar = part(a, real, w)
        ai = part(a, imag, w)
        br = part(b, real, w)
        bi = part(b, imag, w)
        for t in range(w):
            ar[t] += kr[c] * cr[c, t] + ki[c] * ci[c, t]
            ai[t] += kr[c] * ci[c, t] - ki[c] * cr[c, t]
        for t in range(w):
            br[t] -= cr[c, t]
            bi[t] -= ci[c, t]
    for h in range(held.shape[0]):
        row = s[ends[held[h]]]
        own = one.shape[0] + h
        hr = part(row, real, w)
        hi = part(row, imag, w)
        for t in range(w):
            hr[t] += cr[own, t]
            hi[t] += ci[own, t]


@inner
def descend(n, parent, r, x, u_root, w, s):
    """Follow the voltage drops from the roots down."""
    for i in range(n):
        row = s[i]
        nr = part(row, _NR, w)
        ni = part(row, _NI, w)
        k = parent[i]
        if k < 0:
            v0 = math.sqrt(u_root[i])
            for t in range(w):
                nr[t] = v0
                ni[t] = 0.0
            continue
        jr = part(row, _JR, w)
        ji = part(row, _JI, w)
        ur = part(s[k], _NR, w)
        ui = part(s[k], _NI, w)
        ri = r[i]
        xi = x[i]
        for t in range(w):
            nr[t] = ur[t] - ri * jr[t] + xi * ji[t]
            ni[t] = ui[t] - ri * ji[t] - xi * jr[t]


@inner
def descend_correction(n, parent, r, x, w, s, live, change):
    """Turn currents of the correction into voltages, move to the next voltages; `change` sums the squared moves."""
    for i in range(n):
        row = s[i]
        cr = part(row, _CR, w)
        ci = part(row, _CI, w)
        k = parent[i]
        if k < 0:
            for t in range(w):
                cr[t] = 0.0
                ci[t] = 0.0
            continue
        ur = part(s[k], _CR, w)
        ui = part(s[k], _CI, w)
        ri = r[i]
        xi = x[i]
        for t in range(w):
            real = ur[t] - ri * cr[t] + xi * ci[t]
            ci[t] = ui[t] - ri * ci[t] - xi * cr[t]
            cr[t] = real
        vr = part(row, _VR, w)
        vi = part(row, _VI, w)
        nr = part(row, _NR, w)
        ni = part(row, _NI, w)
        for t in range(w):
            a = nr[t] + cr[t]
            b = ni[t] + ci[t]
            da = a - vr[t]
            db = b - vi[t]
            change[t] += da * da + db * db
            vr[t] = a if live[t] > 0.0 else vr[t]
            vi[t] = b if live[t] > 0.0 else vi[t]


@inner
def write_branch(
    e, upper, lower, jr, ji, g_up, b_up, g_down, b_down, tau_up, tau_down, forward, per_s_max, per_s_reverse, want,
    t0, w, p_from_out, q_from_out, p_to_out, q_to_out, loading_out,
):  # fmt: skip
    """Powers at both ends of a branch and its loading; `upper` and `lower` are pairs of scaled voltages."""
    ur, ui = upper
    vr, vi = lower
    for t in range(w):
        above = ur[t] * ur[t] + ui[t] * ui[t]
        below = vr[t] * vr[t] + vi[t] * vi[t]
        p_up = ur[t] * jr[t] + ui[t] * ji[t] + g_up * above
        q_up = ui[t] * jr[t] - ur[t] * ji[t] - b_up * above
        p_down = g_down * below - (vr[t] * jr[t] + vi[t] * ji[t])
        q_down = -b_down * below - (vi[t] * jr[t] - vr[t] * ji[t])
        if want[0]:
            p_from_out[e, t0 + t] = p_up if forward else p_down
        if want[1]:
            q_from_out[e, t0 + t] = q_up if forward else q_down
        if want[2]:
            p_to_out[e, t0 + t] = p_down if forward else p_up
        if want[3]:
            q_to_out[e, t0 + t] = q_down if forward else q_up
        if want[5]:
            largest = (p_up * p_up + q_up * q_up) * tau_up / above
            other = (p_down * p_down + q_down * q_down) * tau_down / below
            largest = other if other > largest else largest
            limit = per_s_max if (p_up >= 0.0) == forward else per_s_reverse
            loading_out[e, t0 + t] = math.sqrt(largest) * limit


@kernel(
    I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, I32, I32, I32, I32, I32,
    F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, f64, i64, U8,
    F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, parent, branch, forward, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root, per_s_max,
    per_s_reverse, shift_deg, angle_root_deg, ends, chord, one, other, held, v_set, weight, kr, ki, chord_r, chord_x,
    g_one, b_one, g_other, b_other, tau_one, wr, wi, p_in, q_in, start_deg, tolerance, max_iterations, want, scratch,
    rows, matrix, p_from_out, q_from_out, p_to_out, q_to_out, v_out, loading_out, angle_out, status_out, block0,
    block1,
):  # fmt: skip
    """Solve blocks block0..block1 of `WIDTH` steps.

    A lane has converged when the root of the summed squares of all voltage changes of one round, and of what its first
    sweep left around loops and at PV nodes, is below `tolerance`. Status 0 converged, 1 not within
    `max_iterations`, 2 voltage collapse or input not finite; outputs are NaN unless it is 0.
    """
    n = order.shape[0]
    n_steps = p_in.shape[1]
    n_ends = ends.shape[0]
    n_chords = one.shape[0]
    n_held = held.shape[0]
    n_currents = n_chords + n_held
    s = scratch
    # currents of chords and PV nodes so far, and their corrections
    cur_r = rows[:n_currents]
    cur_i = rows[n_currents : 2 * n_currents]
    move_r = rows[2 * n_currents : 3 * n_currents]
    move_i = rows[3 * n_currents : 4 * n_currents]
    p_held = rows[4 * n_currents : 4 * n_currents + n_held]
    live = rows[4 * n_currents + n_held]
    change = rows[4 * n_currents + n_held + 1]
    # one lane
    swap = np.empty(2 * n_currents, np.int64)
    y = np.empty(2 * n_currents)
    vr1 = np.empty(n_ends)
    vi1 = np.empty(n_ends)
    jr1 = np.empty(n_currents)
    ji1 = np.empty(n_currents)
    p1 = np.empty(n_held)
    enough = tolerance * tolerance
    # the same for all steps: all that there is without PV nodes, with them the system of the first round
    first = np.empty((2 * n_currents, 2 * n_currents))
    first_swap = np.empty(2 * n_currents, np.int64)
    rates_of_voltages(wr, wi, one, other, kr, ki, chord_r, chord_x, held, first)
    decompose(first, first_swap)
    if n_held == 0:
        matrix[:] = first
        swap[:] = first_swap
    most = 0.0
    for i in range(n):
        most += 0.81 * u_root[i]
    for block in range(block0, block1):
        t0 = block * WIDTH
        t1 = min(n_steps, t0 + WIDTH)
        w = t1 - t0
        for i in range(n):
            row = s[i]
            source_p = p_in[order[i], t0:t1]
            source_q = q_in[order[i], t0:t1]
            p = part(row, _P, w)
            q = part(row, _Q, w)
            vr = part(row, _VR, w)
            vi = part(row, _VI, w)
            v0 = math.sqrt(u_root[i])
            for t in range(w):
                p[t] = source_p[t]
                q[t] = source_q[t]
                vr[t] = v0
                vi[t] = 0.0
            if n_held:  # angles of far generators are large: a flat start would lead Newton's method astray
                angle = start_deg[order[i], t0:t1]
                for t in range(w):
                    lead = angle[t] * (math.pi / 180.0)
                    vr[t] = v0 * math.cos(lead)
                    vi[t] = v0 * math.sin(lead)
        for k in range(2 * n_currents):
            for t in range(w):
                rows[k, t] = 0.0
        # what a PV node draws is an unknown current, its load included
        for h in range(n_held):
            i = ends[held[h]]
            p = part(s[i], _P, w)
            q = part(s[i], _Q, w)
            vr = part(s[i], _VR, w)
            vi = part(s[i], _VI, w)
            more = v_set[h] / math.sqrt(u_root[i])
            for t in range(w):
                p_held[h, t] = p[t]
                p[t] = 0.0
                q[t] = 0.0
                vr[t] *= more
                vi[t] *= more
        for t in range(w):
            live[t] = 1.0
            status_out[0, t0 + t] = 1
        n_live = np.int64(w)
        for turn in range(max_iterations):
            draw(n, parent, g, b, w, s)
            add_currents(ends, one, other, kr, ki, held, cur_r, cur_i, _JR, _JI, w, s)
            collect(n, parent, _JR, _JI, w, s)
            descend(n, parent, r, x, u_root, w, s)
            for t in range(w):
                change[t] = 0.0
                if live[t] == 0.0:
                    continue
                for m in range(n_ends):
                    vr1[m] = s[ends[m], _NR * WIDTH + t]
                    vi1[m] = s[ends[m], _NI * WIDTH + t]
                for d in range(n_currents):
                    jr1[d] = cur_r[d, t]
                    ji1[d] = cur_i[d, t]
                for h in range(n_held):
                    p1[h] = p_held[h, t]
                if n_held and turn == 0:  # currents that give the first voltages of the PV nodes
                    loop_misses(one, other, kr, ki, chord_r, chord_x, vr1, vi1, jr1, ji1, y)
                    for h in range(n_held):
                        i = ends[held[h]]
                        y[2 * (n_chords + h)] = s[i, _VR * WIDTH + t] - vr1[held[h]]
                        y[2 * (n_chords + h) + 1] = s[i, _VI * WIDTH + t] - vi1[held[h]]
                    substitute(first, first_swap, y)
                    apply(wr, wi, y, vr1, vi1, jr1, ji1)
                change[t] = close(
                    wr, wi, one, other, kr, ki, chord_r, chord_x, held, v_set, weight, p1, enough, vr1, vi1, jr1, ji1,
                    matrix, swap, y,
                )  # fmt: skip
                for d in range(n_currents):
                    move_r[d, t] = jr1[d] - cur_r[d, t]
                    move_i[d, t] = ji1[d] - cur_i[d, t]
                    cur_r[d, t] = jr1[d]
                    cur_i[d, t] = ji1[d]
            for i in range(n):
                cr = part(s[i], _CR, w)
                ci = part(s[i], _CI, w)
                for t in range(w):
                    cr[t] = 0.0
                    ci[t] = 0.0
            add_currents(ends, one, other, kr, ki, held, move_r, move_i, _CR, _CI, w, s)
            collect(n, parent, _CR, _CI, w, s)
            descend_correction(n, parent, r, x, w, s, live, change)
            for t in range(w):
                if live[t] > 0.0:
                    if change[t] < enough:
                        live[t] = 0.0
                        status_out[0, t0 + t] = 0
                        n_live -= 1
                    elif not change[t] < most:
                        live[t] = 0.0
                        status_out[0, t0 + t] = 2
                        n_live -= 1
            if n_live == 0:
                break
        for t in range(w):
            if status_out[0, t0 + t] != 0:
                for i in range(n):
                    s[i, _VR * WIDTH + t] = np.nan
        # flows of the final voltages, whenever other lanes stopped
        draw(n, parent, g, b, w, s)
        add_currents(ends, one, other, kr, ki, held, cur_r, cur_i, _JR, _JI, w, s)
        collect(n, parent, _JR, _JI, w, s)
        for i in range(n):
            row = s[i]
            vr = part(row, _VR, w)
            vi = part(row, _VI, w)
            if want[4]:
                v = v_out[order[i], t0:t1]
                per_tau = 1.0 / tau[i]
                for t in range(w):
                    v[t] = math.sqrt((vr[t] * vr[t] + vi[t] * vi[t]) * per_tau)
            if want[6]:
                angle = angle_out[order[i], t0:t1]
                turn = angle_root_deg[i] - shift_deg[i]
                for t in range(w):
                    angle[t] = math.atan2(vi[t], vr[t]) * (180.0 / math.pi) + turn
            k = parent[i]
            if k >= 0:
                e = branch[i]
                write_branch(
                    e, (part(s[k], _VR, w), part(s[k], _VI, w)), (vr, vi), part(row, _JR, w), part(row, _JI, w),
                    g_parent[i], b_parent[i], g_child[i], b_child[i], tau[k], tau[i], forward[i] != 0, per_s_max[e],
                    per_s_reverse[e], want, t0, w, p_from_out, q_from_out, p_to_out, q_to_out, loading_out,
                )  # fmt: skip
        for c in range(n_chords):
            e = chord[c]
            a = s[ends[one[c]]]
            below = s[ends[other[c]]]
            ar = part(a, _VR, w)
            ai = part(a, _VI, w)
            # the work rows of the next voltages are free by now
            upper = (part(s[0], _NR, w), part(s[0], _NI, w))
            for t in range(w):
                upper[0][t] = kr[c] * ar[t] - ki[c] * ai[t]
                upper[1][t] = kr[c] * ai[t] + ki[c] * ar[t]
            lower = (part(below, _VR, w), part(below, _VI, w))
            write_branch(
                e, upper, lower, cur_r[c], cur_i[c], g_one[c], b_one[c], g_other[c], b_other[c], tau_one[c],
                tau[ends[other[c]]], True, per_s_max[e], per_s_reverse[e], want, t0, w, p_from_out, q_from_out,
                p_to_out, q_to_out, loading_out,
            )  # fmt: skip
