"""Certified bounds of the AC power flow on a forest, many steps at once.

The state is the squared voltage u of every node. From u the flows follow upwards (shunts take g u and -b u, a branch
loses z l with l = (P^2 + Q^2) / u) and from the flows a new u follows downwards: a continuous map whose fixed points
are the AC solutions. Carried out on intervals it maps a box of voltages onto a box; if that lies inside the first one,
Brouwer's theorem puts an AC solution into it, and everything computed from the box bounds that solution. No sign of an
injection, no shunt, tap or sign of r and x needs to be assumed.

A branch may carry more or less than its load by a spread of its own, so that one pass covers every dispatch. Jobs,
scratch rows and lanes are those of the linear sweep; a lane is frozen once it is certified.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, i64, inner, kernel
from flexcore.kernels.grid.lanes import LANES, fetch_row, lanes

# quantities of a node's work row: base flow (and its other end where there is a spread), losses and shunts (later
# flows), squared voltage, new squared voltage, each of the last as an interval
_P, _Q, _P_LO, _P_HI, _Q_LO, _Q_HI, _U_LO, _U_HI, _NEW_LO, _NEW_HI, _P_TOP, _Q_TOP = range(12)
# what a bound is moved outwards by, as a share: more than the rounding of a sum of 1e5 terms
_ROUNDING = 1e-10


@inner
def bounds_up(parent, r, x, g, b, i0, i1, spread, w, s):
    """Flows from the voltages, from the leaves up: leaves P and Q of each branch as intervals.

    They are those at the child's end of the series impedance, where all losses and shunts below are counted.
    """
    for j in range(i1 - i0 + 1):
        row = s[j, _P_LO * LANES : (_Q_HI + 1) * LANES]
        for t in range(row.shape[0]):
            row[t] = 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        base_p = lanes(row, _P, w)
        base_q = lanes(row, _Q, w)
        most_p = lanes(row, _P_TOP if spread else _P, w)
        most_q = lanes(row, _Q_TOP if spread else _Q, w)
        p_lo = lanes(row, _P_LO, w)
        p_hi = lanes(row, _P_HI, w)
        q_lo = lanes(row, _Q_LO, w)
        q_hi = lanes(row, _Q_HI, w)
        u_lo = lanes(row, _U_LO, w)
        u_hi = lanes(row, _U_HI, w)
        above_p_lo = lanes(above, _P_LO, w)
        above_p_hi = lanes(above, _P_HI, w)
        above_q_lo = lanes(above, _Q_LO, w)
        above_q_hi = lanes(above, _Q_HI, w)
        # a negative factor turns the ends of an interval around: one of the two products is zero
        g_plus = max(g[i], 0.0)
        g_minus = min(g[i], 0.0)
        b_plus = max(b[i], 0.0)
        b_minus = min(b[i], 0.0)
        r_plus = max(r[i], 0.0)
        r_minus = min(r[i], 0.0)
        x_plus = max(x[i], 0.0)
        x_minus = min(x[i], 0.0)
        for t in range(w):
            low = u_lo[t]
            high = u_hi[t]
            loss_p_lo = p_lo[t] + (g_plus * low + g_minus * high)
            loss_p_hi = p_hi[t] + (g_plus * high + g_minus * low)
            loss_q_lo = q_lo[t] - (b_plus * high + b_minus * low)
            loss_q_hi = q_hi[t] - (b_plus * low + b_minus * high)
            a = base_p[t] + loss_p_lo
            c = most_p[t] + loss_p_hi
            d = base_q[t] + loss_q_lo
            e = most_q[t] + loss_q_hi
            # largest and smallest size of a number in an interval
            p_most = max(-a, c)
            q_most = max(-d, e)
            p_least = max(max(a, -c), 0.0)
            q_least = max(max(d, -e), 0.0)
            l_hi = (p_most * p_most + q_most * q_most) / low
            l_lo = (p_least * p_least + q_least * q_least) / high
            above_p_lo[t] += loss_p_lo + (r_plus * l_lo + r_minus * l_hi)
            above_p_hi[t] += loss_p_hi + (r_plus * l_hi + r_minus * l_lo)
            above_q_lo[t] += loss_q_lo + (x_plus * l_lo + x_minus * l_hi)
            above_q_hi[t] += loss_q_hi + (x_plus * l_hi + x_minus * l_lo)
            # what goes up is with the parent: from here on the rows are the flows themselves
            p_lo[t] = a
            p_hi[t] = c
            q_lo[t] = d
            q_hi[t] = e


@inner
def bounds_down(parent, r, x, i0, i1, w, s, inside, change):
    """New squared voltages from the flows, from the root down.

    Marks lanes that stay inside the old ones, and leaves the largest change of an end in each lane.

    The drop of a branch, 2 (r P + x Q) + |z|^2 (P^2 + Q^2) / u, is bounded as a whole: its linear and its quadratic
    part belong to the same flow. As a function of P, or of Q, it is a parabola, largest at an end of the interval and
    smallest at its vertex or the end next to it.
    """
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        p_lo = lanes(row, _P_LO, w)
        p_hi = lanes(row, _P_HI, w)
        q_lo = lanes(row, _Q_LO, w)
        q_hi = lanes(row, _Q_HI, w)
        u_lo = lanes(row, _U_LO, w)
        u_hi = lanes(row, _U_HI, w)
        new_lo = lanes(row, _NEW_LO, w)
        new_hi = lanes(row, _NEW_HI, w)
        above_lo = lanes(above, _NEW_LO, w)
        above_hi = lanes(above, _NEW_HI, w)
        r2 = 2.0 * r[i]
        x2 = 2.0 * x[i]
        zz = r[i] * r[i] + x[i] * x[i]
        vertex_p = -r[i] / zz
        vertex_q = -x[i] / zz
        for t in range(w):
            steep = zz / u_lo[t]
            most = max((r2 + steep * p_lo[t]) * p_lo[t], (r2 + steep * p_hi[t]) * p_hi[t])
            most += max((x2 + steep * q_lo[t]) * q_lo[t], (x2 + steep * q_hi[t]) * q_hi[t])
            low = above_lo[t] - most
            flat = zz / u_hi[t]
            p = min(max(vertex_p * u_hi[t], p_lo[t]), p_hi[t])
            q = min(max(vertex_q * u_hi[t], q_lo[t]), q_hi[t])
            high = above_hi[t] - ((r2 + flat * p) * p + (x2 + flat * q) * q)
            new_lo[t] = low
            new_hi[t] = high
            kept = low * (1.0 - _ROUNDING) >= u_lo[t] and high * (1.0 + _ROUNDING) <= u_hi[t]
            inside[t] = inside[t] if kept else 0.0
            change[t] = max(change[t], max(abs(low - u_lo[t]), abs(high - u_hi[t])))


@inner
def certify(parent, r, x, g, b, i0, i1, spread, u_lo, u_hi, max_rounds, w, s, live, inside, change):
    """Search a box of voltages that the map keeps inside itself, lane by lane.

    `inside` ends as 1 in lanes that are certified: U holds the box, NEW what it is mapped to, P and Q the flows in it.
    A certified lane keeps its box, so that further rounds for other lanes give the same once more. The base flows
    stand in the work rows already.
    """
    for j in range(i1 - i0 + 1):
        low = lanes(s[j], _U_LO, w)
        high = lanes(s[j], _U_HI, w)
        for t in range(w):
            low[t] = u_lo
            high[t] = u_hi
    top_lo = lanes(s[0], _NEW_LO, w)
    top_hi = lanes(s[0], _NEW_HI, w)
    for t in range(w):
        live[t] = 1.0
        top_lo[t] = u_lo
        top_hi[t] = u_hi
    n_live = np.int64(w)
    # the flat profile's error is that of the losses, a small part of the drop that the first round finds: 2 % of the
    # largest drop is room enough in ordinary networks, all over the tree because a node without a drop has losses on
    # its path too. Lanes under stress get a part of the last change, more in each further round
    widen = 0.02
    for n_round in range(max_rounds):
        bounds_up(parent, r, x, g, b, i0, i1, spread, w, s)
        # nothing was widened before the first round: a grid without load would pass with no margin for rounding
        start = 1.0 if n_round > 0 else 0.0
        for t in range(w):
            inside[t] = start
            change[t] = 0.0
        bounds_down(parent, r, x, i0, i1, w, s, inside, change)
        for t in range(w):
            change[t] = widen * change[t] + 10.0 * _ROUNDING * u_hi
        for j in range(1, i1 - i0 + 1):
            row = s[j]
            low = lanes(row, _U_LO, w)
            high = lanes(row, _U_HI, w)
            new_low = lanes(row, _NEW_LO, w)
            new_high = lanes(row, _NEW_HI, w)
            for t in range(w):
                wide_a = max(new_low[t] - change[t], 1e-3 * u_lo)
                wide_c = new_high[t] + change[t]
                moves = live[t] > 0.0 and not inside[t] > 0.0
                low[t] = wide_a if moves else low[t]
                high[t] = wide_c if moves else high[t]
        for t in range(w):
            if live[t] > 0.0 and inside[t] > 0.0:
                live[t] = 0.0
                n_live -= 1
        if n_live == 0:
            break
        widen = 0.25 if n_round == 0 else min(2.0 * widen, 4.0)
    for t in range(w):
        inside[t] = 1.0 - live[t]


@inner
def gather(order, parent, p_in, q_in, i0, i1, t0, w, s):
    """Sum the loads over subtrees into the base rows; row 0 gets the sum at the root."""
    top = s[0]
    for t in range(w):
        lanes(top, _P, w)[t] = 0.0
        lanes(top, _Q, w)[t] = 0.0
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
            q[t] = source_q[t]
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        up = lanes(above, _P, w)
        uq = lanes(above, _Q, w)
        for t in range(w):
            up[t] += p[t]
            uq[t] += q[t]


@inner
def flow_at_parent(ri, xi, end_g, end_b, p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, above_lo, above_hi, w, e):
    """Interval of the flow that enters the branch at the parent's end, shunt of that end included, into rows of `e`.

    P + r l and Q + x l are bounded as a whole, like the drop: P is part of l.
    """
    g_lo, g_hi = (above_lo, above_hi) if end_g >= 0.0 else (above_hi, above_lo)
    b_lo, b_hi = (above_hi, above_lo) if end_b >= 0.0 else (above_lo, above_hi)
    for t in range(w):
        e[0, t], e[1, t] = with_loss(ri, p_lo[t], p_hi[t], q_lo[t], q_hi[t], u_lo[t], u_hi[t])
        e[2, t], e[3, t] = with_loss(xi, q_lo[t], q_hi[t], p_lo[t], p_hi[t], u_lo[t], u_hi[t])
    for t in range(w):
        e[0, t] += end_g * g_lo[t]
        e[1, t] += end_g * g_hi[t]
        e[2, t] -= end_b * b_lo[t]
        e[3, t] -= end_b * b_hi[t]


@inner
def with_loss(z, a_lo, a_hi, c_lo, c_hi, u_lo, u_hi):
    """Interval of a + z (a^2 + c^2) / u."""
    c_most = max(-c_lo, c_hi)
    c_least = max(max(c_lo, -c_hi), 0.0)
    if z >= 0.0:
        steep = z / u_lo
        flat = z / u_hi
        a = min(max(-0.5 / flat, a_lo), a_hi) if flat > 0.0 else a_lo
        low = a + flat * (a * a + c_least * c_least)
        high = max(a_lo + steep * a_lo * a_lo, a_hi + steep * a_hi * a_hi) + steep * c_most * c_most
        return low, high
    # a negative value only occurs inside stars: the parts are bounded one by one
    a_most = max(-a_lo, a_hi)
    a_least = max(max(a_lo, -a_hi), 0.0)
    low = a_lo + z / u_lo * (a_most * a_most + c_most * c_most)
    high = a_hi + z / u_hi * (a_least * a_least + c_least * c_least)
    return low, high


@inner
def flow_at_child(end_g, end_b, p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, w, e):
    """Interval of the flow that leaves the branch at the child's end, its shunt not counted, into rows of `e`."""
    g_lo, g_hi = (u_hi, u_lo) if end_g >= 0.0 else (u_lo, u_hi)
    b_lo, b_hi = (u_lo, u_hi) if end_b >= 0.0 else (u_hi, u_lo)
    for t in range(w):
        e[0, t] = p_lo[t] - end_g * g_lo[t]
        e[1, t] = p_hi[t] - end_g * g_hi[t]
    for t in range(w):
        e[2, t] = q_lo[t] + end_b * b_lo[t]
        e[3, t] = q_hi[t] + end_b * b_hi[t]


@inner
def largest_square(e, u_lo, tau, w, square):
    """Squared current, in kVA at 1 pu, that flows within the intervals of `e` can reach at the lower voltage."""
    for t in range(w):
        p_most = max(-e[0, t], e[1, t])
        q_most = max(-e[2, t], e[3, t])
        square[t] = (p_most * p_most + q_most * q_most) * tau / u_lo[t]


@inner
def put_interval(lo, hi, sign, lo_out, hi_out, certain):
    """Write an interval, turned around where the branch is declared the other way, a share wider for rounding."""
    for t in range(lo_out.shape[0]):
        a = lo[t] if sign > 0.0 else -hi[t]
        c = hi[t] if sign > 0.0 else -lo[t]
        room = 10.0 * _ROUNDING * max(abs(a), abs(c))
        lo_out[t] = a - room if certain[t] > 0.0 else np.nan
        hi_out[t] = c + room if certain[t] > 0.0 else np.nan


@kernel(
    I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64_2D, F64_2D, i64,
    I32, I64, i64, U8, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT,
    F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def sweep(
    order, parent, last, branch, forward, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root_lo, u_root_hi,
    per_s_max, per_s_reverse, per_i, p_in, q_in, max_rounds, heads, packs, width, want, scratch, p_lo_out, p_hi_out,
    q_lo_out, q_hi_out, v_lo_out, v_hi_out, loading_hi_out, i_hi_out, status_out, job0, job1,
):  # fmt: skip
    """Bound jobs job0..job1; job = pack of subtrees times block of steps. `want`: P, Q, v, loading and current.

    P and Q are those at the declared from end. `per_i` turns a current in kVA at 1 pu into the wanted unit. Status of a
    subtree and step: 0 certified, 1 not, its bounds are NaN then.
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
        square = lanes(s[spare], 2, w)
        other = lanes(s[spare], 3, w)
        e = s[spare + 1, : 4 * LANES].reshape(4, LANES)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            gather(order, parent, p_in, q_in, i0, i1, t0, w, s)
            certify(
                parent, r, x, g, b, i0, i1, False, u_root_lo[i0], u_root_hi[i0], max_rounds, w, s, live, certain, other
            )
            # a load that is not finite leaves a sum at the root that is not finite
            for t in range(w):
                certain[t] = certain[t] if np.isfinite(s[0, _P * LANES + t] + s[0, _Q * LANES + t]) else 0.0
                status_out[h, t0 + t] = 0 if certain[t] > 0.0 else 1
            for i in range(i0, i1):
                j = i - i0 + 1
                k = parent[i] - i0 + 1 if i > i0 else 0
                c = branch[i]
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
                if want[2]:
                    v_lo = v_lo_out[order[i], t0:t1]
                    v_hi = v_hi_out[order[i], t0:t1]
                    per_tau = 1.0 / tau[i]
                    for t in range(w):
                        low = math.sqrt(u_lo[t] * per_tau) * (1.0 - _ROUNDING)
                        high = math.sqrt(u_hi[t] * per_tau) * (1.0 + _ROUNDING)
                        v_lo[t] = low if certain[t] > 0.0 else np.nan
                        v_hi[t] = high if certain[t] > 0.0 else np.nan
                if not (want[0] or want[1] or want[3]):
                    continue
                # the child's end first: where the branch is declared towards the root it is the from end
                flow_at_child(g_child[i], b_child[i], p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, w, e)
                if not forward[i]:
                    if want[0]:
                        put_interval(e[0, :w], e[1, :w], -1.0, p_lo_out[c, t0:t1], p_hi_out[c, t0:t1], certain)
                    if want[1]:
                        put_interval(e[2, :w], e[3, :w], -1.0, q_lo_out[c, t0:t1], q_hi_out[c, t0:t1], certain)
                largest_square(e, u_lo, tau[i], w, square)
                flow_at_parent(
                    r[i], x[i], g_parent[i], b_parent[i], p_lo, p_hi, q_lo, q_hi, u_lo, u_hi, above_lo, above_hi, w, e
                )
                if forward[i]:
                    if want[0]:
                        put_interval(e[0, :w], e[1, :w], 1.0, p_lo_out[c, t0:t1], p_hi_out[c, t0:t1], certain)
                    if want[1]:
                        put_interval(e[2, :w], e[3, :w], 1.0, q_lo_out[c, t0:t1], q_hi_out[c, t0:t1], certain)
                largest_square(e, above_lo, tau[parent[i]], w, other)
                for t in range(w):
                    square[t] = max(square[t], other[t])
                    square[t] = math.sqrt(square[t]) * (1.0 + 10.0 * _ROUNDING) if certain[t] > 0.0 else np.nan
                if want[3]:
                    current = i_hi_out[c, t0:t1]
                    loading = loading_hi_out[c, t0:t1]
                    scale = per_i[c]
                    ahead = per_s_max[c] if forward[i] else per_s_reverse[c]
                    back = per_s_reverse[c] if forward[i] else per_s_max[c]
                    for t in range(w):
                        current[t] = square[t] * scale
                    for t in range(w):
                        # power may run either way within the interval: the smaller rating of the two counts then
                        most = max(ahead if e[1, t] >= 0.0 else 0.0, back if e[0, t] < 0.0 else 0.0)
                        loading[t] = square[t] * most
