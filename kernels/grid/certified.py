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
from flexcore.kernels._simd import WIDTH, larger, load, load_some, smaller, spread, store, where_less
from flexcore.kernels.grid.lanes import LANES, fetch_row, lanes

# quantities of a node's work row: base flow (and its other end where there is a spread), losses and shunts (later
# flows), squared voltage, new squared voltage, each of the last as an interval
_P, _Q, _P_LO, _P_HI, _Q_LO, _Q_HI, _U_LO, _U_HI, _NEW_LO, _NEW_HI, _P_TOP, _Q_TOP = range(12)
# what a bound is moved outwards by, as a share: more than the rounding of a sum of 1e5 terms
_ROUNDING = 1e-10
# runs of lanes in the first spare row: 1 while a lane is not certified, 1 where it stays inside its box, largest
# change of a voltage, 1 where the box moves; two that callers may use
_LIVE, _INSIDE, _CHANGE, _MOVES, _SQUARE, _OTHER = (k * LANES for k in range(6))


@inner
def bounds_up(parent, r, x, g, b, i0, i1, spread_p, spread_q, w, s):
    """Flows from the voltages, from the leaves up: leaves P and Q of each branch as intervals.

    They are those at the child's end of the series impedance, where all losses and shunts below are counted. The upper
    ends of the base flows stand in `spread_p` and `spread_q`: those of the lower ends where nothing is spread.
    """
    for j in range(i1 - i0 + 1):
        for quantity in range(_P_LO, _Q_HI + 1):
            for t in range(quantity * LANES, quantity * LANES + w, WIDTH):
                store(s, j, t, spread(0.0))
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        # a negative factor turns the ends of an interval around: one of the two products is zero
        g_plus = max(g[i], 0.0)
        g_minus = min(g[i], 0.0)
        b_plus = max(b[i], 0.0)
        b_minus = min(b[i], 0.0)
        r_plus = max(r[i], 0.0)
        r_minus = min(r[i], 0.0)
        x_plus = max(x[i], 0.0)
        x_minus = min(x[i], 0.0)
        for t in range(0, w, WIDTH):
            low = load(s, j, _U_LO * LANES + t)
            high = load(s, j, _U_HI * LANES + t)
            loss_p_lo = load(s, j, _P_LO * LANES + t) + (g_plus * low + g_minus * high)
            loss_p_hi = load(s, j, _P_HI * LANES + t) + (g_plus * high + g_minus * low)
            loss_q_lo = load(s, j, _Q_LO * LANES + t) - (b_plus * high + b_minus * low)
            loss_q_hi = load(s, j, _Q_HI * LANES + t) - (b_plus * low + b_minus * high)
            a = load(s, j, _P * LANES + t) + loss_p_lo
            c = load(s, j, spread_p * LANES + t) + loss_p_hi
            d = load(s, j, _Q * LANES + t) + loss_q_lo
            e = load(s, j, spread_q * LANES + t) + loss_q_hi
            # largest and smallest size of a number in an interval
            p_most = larger(0.0 - a, c)
            q_most = larger(0.0 - d, e)
            p_least = larger(larger(a, 0.0 - c), spread(0.0))
            q_least = larger(larger(d, 0.0 - e), spread(0.0))
            l_hi = (p_most * p_most + q_most * q_most) / low
            l_lo = (p_least * p_least + q_least * q_least) / high
            p_lo = load(s, k, _P_LO * LANES + t) + (loss_p_lo + (r_plus * l_lo + r_minus * l_hi))
            p_hi = load(s, k, _P_HI * LANES + t) + (loss_p_hi + (r_plus * l_hi + r_minus * l_lo))
            q_lo = load(s, k, _Q_LO * LANES + t) + (loss_q_lo + (x_plus * l_lo + x_minus * l_hi))
            q_hi = load(s, k, _Q_HI * LANES + t) + (loss_q_hi + (x_plus * l_hi + x_minus * l_lo))
            store(s, k, _P_LO * LANES + t, p_lo)
            store(s, k, _P_HI * LANES + t, p_hi)
            store(s, k, _Q_LO * LANES + t, q_lo)
            store(s, k, _Q_HI * LANES + t, q_hi)
            # what goes up is with the parent: from here on the rows are the flows themselves
            store(s, j, _P_LO * LANES + t, a)
            store(s, j, _P_HI * LANES + t, c)
            store(s, j, _Q_LO * LANES + t, d)
            store(s, j, _Q_HI * LANES + t, e)


@inner
def bounds_down(parent, r, x, i0, i1, w, s, spare):
    """New squared voltages from the flows, from the root down.

    Marks lanes that stay inside the old ones, and leaves the largest change of an end in each lane.

    The drop of a branch, 2 (r P + x Q) + |z|^2 (P^2 + Q^2) / u, is bounded as a whole: its linear and its quadratic
    part belong to the same flow. As a function of P, or of Q, it is a parabola, largest at an end of the interval and
    smallest at its vertex or the end next to it.
    """
    for i in range(i0, i1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        r2 = 2.0 * r[i]
        x2 = 2.0 * x[i]
        zz = r[i] * r[i] + x[i] * x[i]
        vertex_p = -r[i] / zz
        vertex_q = -x[i] / zz
        for t in range(0, w, WIDTH):
            p_lo = load(s, j, _P_LO * LANES + t)
            p_hi = load(s, j, _P_HI * LANES + t)
            q_lo = load(s, j, _Q_LO * LANES + t)
            q_hi = load(s, j, _Q_HI * LANES + t)
            u_lo = load(s, j, _U_LO * LANES + t)
            u_hi = load(s, j, _U_HI * LANES + t)
            steep = zz / u_lo
            most = larger((r2 + steep * p_lo) * p_lo, (r2 + steep * p_hi) * p_hi)
            most = most + larger((x2 + steep * q_lo) * q_lo, (x2 + steep * q_hi) * q_hi)
            low = load(s, k, _NEW_LO * LANES + t) - most
            flat = zz / u_hi
            p = smaller(larger(vertex_p * u_hi, p_lo), p_hi)
            q = smaller(larger(vertex_q * u_hi, q_lo), q_hi)
            high = load(s, k, _NEW_HI * LANES + t) - ((r2 + flat * p) * p + (x2 + flat * q) * q)
            store(s, j, _NEW_LO * LANES + t, low)
            store(s, j, _NEW_HI * LANES + t, high)
            # both ends must be seen to lie inside: a comparison with NaN is never true
            inside = load(s, spare, _INSIDE + t)
            inside = where_less(u_lo, low * (1.0 - _ROUNDING), inside, 0.0)
            store(s, spare, _INSIDE + t, where_less(high * (1.0 + _ROUNDING), u_hi, inside, 0.0))
            down = low - u_lo
            up = high - u_hi
            away = larger(larger(down, 0.0 - down), larger(up, 0.0 - up))
            store(s, spare, _CHANGE + t, larger(load(s, spare, _CHANGE + t), away))


@inner
def certify(parent, r, x, g, b, i0, i1, spread_p, spread_q, u_lo, u_hi, max_rounds, w, s, spare):
    """Search a box of voltages that the map keeps inside itself, lane by lane.

    The inside marks of the spare row end as 1 in lanes that are certified: U holds the box, NEW what it is mapped to, P
    and Q the flows in it. A certified lane keeps its box, so that further rounds for other lanes give the same once
    more. The base flows stand in the work rows already.
    """
    for j in range(i1 - i0 + 1):
        for t in range(0, w, WIDTH):
            store(s, j, _U_LO * LANES + t, spread(u_lo))
            store(s, j, _U_HI * LANES + t, spread(u_hi))
    for t in range(0, w, WIDTH):
        store(s, spare, _LIVE + t, spread(1.0))
        store(s, 0, _NEW_LO * LANES + t, spread(u_lo))
        store(s, 0, _NEW_HI * LANES + t, spread(u_hi))
    n_live = np.int64(w)
    # the flat profile's error is that of the losses, a small part of the drop that the first round finds: 2 % of the
    # largest drop is room enough in ordinary networks, all over the tree because a node without a drop has losses on
    # its path too. Lanes under stress get a part of the last change, more in each further round
    widen = 0.02
    for n_round in range(max_rounds):
        bounds_up(parent, r, x, g, b, i0, i1, spread_p, spread_q, w, s)
        # nothing was widened before the first round: a grid without load would pass with no margin for rounding
        start = 1.0 if n_round > 0 else 0.0
        for t in range(0, w, WIDTH):
            store(s, spare, _INSIDE + t, spread(start))
            store(s, spare, _CHANGE + t, spread(0.0))
        bounds_down(parent, r, x, i0, i1, w, s, spare)
        for t in range(0, w, WIDTH):
            store(s, spare, _CHANGE + t, widen * load(s, spare, _CHANGE + t) + 10.0 * _ROUNDING * u_hi)
            # lanes that move: live, and not inside yet
            moves = load(s, spare, _LIVE + t) - load(s, spare, _INSIDE + t)
            store(s, spare, _MOVES + t, moves)
        for j in range(1, i1 - i0 + 1):
            for t in range(0, w, WIDTH):
                moves = load(s, spare, _MOVES + t)
                change = load(s, spare, _CHANGE + t)
                low = larger(load(s, j, _NEW_LO * LANES + t) - change, spread(1e-3 * u_lo))
                high = load(s, j, _NEW_HI * LANES + t) + change
                store(s, j, _U_LO * LANES + t, where_less(0.0, moves, low, load(s, j, _U_LO * LANES + t)))
                store(s, j, _U_HI * LANES + t, where_less(0.0, moves, high, load(s, j, _U_HI * LANES + t)))
        for t in range(w):
            if s[spare, _LIVE + t] > 0.0 and s[spare, _INSIDE + t] > 0.0:
                s[spare, _LIVE + t] = 0.0
                n_live -= 1
        if n_live == 0:
            break
        widen = 0.25 if n_round == 0 else min(2.0 * widen, 4.0)
    for t in range(0, w, WIDTH):
        store(s, spare, _INSIDE + t, 1.0 - load(s, spare, _LIVE + t))


@inner
def gather(order, parent, p_in, q_in, i0, i1, t0, w, s):
    """Sum the loads over subtrees into the base rows; row 0 gets the sum at the root."""
    for t in range(0, w, WIDTH):
        store(s, 0, _P * LANES + t, spread(0.0))
        store(s, 0, _Q * LANES + t, spread(0.0))
    for i in range(i0, i1):
        j = i - i0 + 1
        n = np.int64(order[i])
        soon = order[min(i + 2, i1 - 1)]
        fetch_row(p_in, soon, t0, w)
        fetch_row(q_in, soon, t0, w)
        for t in range(0, w, WIDTH):
            store(s, j, _P * LANES + t, load_some(p_in, n, t0 + t, w - t))
            store(s, j, _Q * LANES + t, load_some(q_in, n, t0 + t, w - t))
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        for t in range(_P * LANES, _P * LANES + w, WIDTH):
            store(s, k, t, load(s, k, t) + load(s, j, t))
        for t in range(_Q * LANES, _Q * LANES + w, WIDTH):
            store(s, k, t, load(s, k, t) + load(s, j, t))


@inner
def flow_at_parent(ri, xi, end_g, end_b, j, k, w, s):
    """Interval of the flow that enters the branch at the parent's end, shunt of that end included, into the last row.

    P + r l and Q + x l are bounded as a whole, like the drop: P is part of l. `j` and `k` are the rows of the child and
    the parent.
    """
    out = s.shape[0] - 1
    g_lo, g_hi = (_NEW_LO, _NEW_HI) if end_g >= 0.0 else (_NEW_HI, _NEW_LO)
    b_lo, b_hi = (_NEW_HI, _NEW_LO) if end_b >= 0.0 else (_NEW_LO, _NEW_HI)
    for t in range(0, w, WIDTH):
        p_lo = load(s, j, _P_LO * LANES + t)
        p_hi = load(s, j, _P_HI * LANES + t)
        q_lo = load(s, j, _Q_LO * LANES + t)
        q_hi = load(s, j, _Q_HI * LANES + t)
        u_lo = load(s, j, _NEW_LO * LANES + t)
        u_hi = load(s, j, _NEW_HI * LANES + t)
        low, high = with_loss(ri, p_lo, p_hi, q_lo, q_hi, u_lo, u_hi)
        store(s, out, t, low + end_g * load(s, k, g_lo * LANES + t))
        store(s, out, LANES + t, high + end_g * load(s, k, g_hi * LANES + t))
        low, high = with_loss(xi, q_lo, q_hi, p_lo, p_hi, u_lo, u_hi)
        store(s, out, 2 * LANES + t, low - end_b * load(s, k, b_lo * LANES + t))
        store(s, out, 3 * LANES + t, high - end_b * load(s, k, b_hi * LANES + t))


@inner
def with_loss(z, a_lo, a_hi, c_lo, c_hi, u_lo, u_hi):
    """Interval of a + z (a^2 + c^2) / u."""
    c_most = larger(0.0 - c_lo, c_hi)
    c_least = larger(larger(c_lo, 0.0 - c_hi), spread(0.0))
    if z >= 0.0:
        steep = z / u_lo
        flat = z / u_hi
        # the vertex of the parabola; without a loss it lies at minus infinity
        a = smaller(larger(-0.5 / flat, a_lo), a_hi)
        low = a + flat * (a * a + c_least * c_least)
        high = larger(a_lo + steep * a_lo * a_lo, a_hi + steep * a_hi * a_hi) + steep * c_most * c_most
        return low, high
    # a negative value only occurs inside stars: the parts are bounded one by one
    a_most = larger(0.0 - a_lo, a_hi)
    a_least = larger(larger(a_lo, 0.0 - a_hi), spread(0.0))
    low = a_lo + z / u_lo * (a_most * a_most + c_most * c_most)
    high = a_hi + z / u_hi * (a_least * a_least + c_least * c_least)
    return low, high


@inner
def flow_at_child(end_g, end_b, j, w, s):
    """Interval of the flow that leaves the branch at the child's end, its shunt not counted, into the last row."""
    out = s.shape[0] - 1
    g_lo, g_hi = (_NEW_HI, _NEW_LO) if end_g >= 0.0 else (_NEW_LO, _NEW_HI)
    b_lo, b_hi = (_NEW_LO, _NEW_HI) if end_b >= 0.0 else (_NEW_HI, _NEW_LO)
    for t in range(0, w, WIDTH):
        store(s, out, t, load(s, j, _P_LO * LANES + t) - end_g * load(s, j, g_lo * LANES + t))
        store(s, out, LANES + t, load(s, j, _P_HI * LANES + t) - end_g * load(s, j, g_hi * LANES + t))
        store(s, out, 2 * LANES + t, load(s, j, _Q_LO * LANES + t) + end_b * load(s, j, b_lo * LANES + t))
        store(s, out, 3 * LANES + t, load(s, j, _Q_HI * LANES + t) + end_b * load(s, j, b_hi * LANES + t))


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
        certain = s[spare, _INSIDE : _INSIDE + w]
        square = s[spare, _SQUARE : _SQUARE + w]
        other = s[spare, _OTHER : _OTHER + w]
        e = s[spare + 1, : 4 * LANES].reshape(4, LANES)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            gather(order, parent, p_in, q_in, i0, i1, t0, w, s)
            certify(parent, r, x, g, b, i0, i1, _P, _Q, u_root_lo[i0], u_root_hi[i0], max_rounds, w, s, spare)
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
                flow_at_child(g_child[i], b_child[i], j, w, s)
                if not forward[i]:
                    if want[0]:
                        put_interval(e[0, :w], e[1, :w], -1.0, p_lo_out[c, t0:t1], p_hi_out[c, t0:t1], certain)
                    if want[1]:
                        put_interval(e[2, :w], e[3, :w], -1.0, q_lo_out[c, t0:t1], q_hi_out[c, t0:t1], certain)
                largest_square(e, u_lo, tau[i], w, square)
                flow_at_parent(r[i], x[i], g_parent[i], b_parent[i], j, k, w, s)
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
