"""DistFlow on a forest, many steps at once: a fixed number of sweeps, or sweeps until each step has converged.

Work is cut into jobs: some subtrees that hang off roots times a block of steps. Inside a job everything lives in work
rows of one node each, so a block stays in cache for all sweeps; outputs are written once. Each step is a lane of a row
and lanes never meet, so a step gives the same bits in any block.

A sweep sums flows from the leaves up, with the losses on the way, and follows squared voltages from the root down. The
unknowns are flows and squared voltages, not phasors: the losses are then the only thing that one sweep must take from
the one before, and an error shrinks by the square of what it would in complex currents: see
docs/explanation/power-flow.md.

`distflow_double` and `distflow_single` compile the one `sweep`, each when it is imported, for loads and outputs in
float64 or float32. Work rows and arithmetic are float64 in both.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D_OUT, I32, I64, U8, U8_2D_OUT, f64, i64, inner
from flexcore.kernels._simd import WIDTH, load, load_some, spread, sqrt, store, store_some, where_less
from flexcore.kernels.grid.lanes import LANES, fetch_row

# runs of lanes in a node's work row: squared voltage, flow at the child's end, drop of the squared voltage over the
# branch (in the last pass the new squared voltage), the node's own load, angle
_U, _P, _Q, _D, _OWN_P, _OWN_Q, _ANGLE = (k * LANES for k in range(7))
# runs of lanes in the first spare row: 1 where a step is still being solved, squared change of the voltages in a sweep
# and in the one before, number of sweeps, smallest squared voltage
_LIVE, _CHANGE, _BEFORE, _COUNT, _LEAST = (k * LANES for k in range(5))
_EXPECTED = 0.01  # safety of the guess that a sweep will be the last one; a wrong guess costs a sweep


@inner
def first_up(order, parent, last, r, x, g, b, u0, p_in, q_in, t0, w, i0, i1, lossy, keep, s):
    """Sum the flows from the leaves up with all voltages at the root's; with their losses where `lossy`.

    Loads are read where the caller keeps them; `keep` copies them into the work rows for further sweeps. The child that
    is met first starts its parent's sum, so nothing needs to be cleared; from behind that is the last child.
    """
    per_u = 1.0 / u0 if lossy else 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        n = np.int64(order[i])
        ahead = order[max(i - 2, i0)]
        fetch_row(p_in, ahead, t0, w)
        fetch_row(q_in, ahead, t0, w)
        ri = r[i]
        xi = x[i]
        zz = ri * ri + xi * xi
        shunt_p = g[i] * u0
        shunt_q = b[i] * u0
        inside = last[i] != i + 1
        adds = i > i0 and last[i] != last[parent[i]]
        for t in range(0, w, WIDTH):
            p = load_some(p_in, n, t0 + t, w - t)
            q = load_some(q_in, n, t0 + t, w - t)
            if keep:
                store(s, j, _OWN_P + t, p)
                store(s, j, _OWN_Q + t, q)
            p = p + shunt_p
            q = q - shunt_q
            if inside:
                p = p + load(s, j, _P + t)
                q = q + load(s, j, _Q + t)
            store(s, j, _P + t, p)
            store(s, j, _Q + t, q)
            current = (p * p + q * q) * per_u
            store(s, j, _D + t, 2.0 * (ri * p + xi * q) + zz * current)
            p = p + ri * current
            q = q + xi * current
            if adds:
                p = p + load(s, k, _P + t)
                q = q + load(s, k, _Q + t)
            store(s, k, _P + t, p)
            store(s, k, _Q + t, q)


@inner
def next_up(parent, last, r, x, g, b, w, i0, i1, s):
    """Sum the flows from the leaves up; currents and shunts come from the voltages of the sweep before."""
    for i in range(i1 - 1, i0 - 1, -1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        ri = r[i]
        xi = x[i]
        gi = g[i]
        bi = b[i]
        zz = ri * ri + xi * xi
        inside = last[i] != i + 1
        adds = i > i0 and last[i] != last[parent[i]]
        for t in range(0, w, WIDTH):
            u = load(s, j, _U + t)
            p = load(s, j, _OWN_P + t) + gi * u
            q = load(s, j, _OWN_Q + t) - bi * u
            if inside:
                p = p + load(s, j, _P + t)
                q = q + load(s, j, _Q + t)
            store(s, j, _P + t, p)
            store(s, j, _Q + t, q)
            current = (p * p + q * q) / u
            store(s, j, _D + t, 2.0 * (ri * p + xi * q) + zz * current)
            p = p + ri * current
            q = q + xi * current
            if adds:
                p = p + load(s, k, _P + t)
                q = q + load(s, k, _Q + t)
            store(s, k, _P + t, p)
            store(s, k, _Q + t, q)


@inner
def down(parent, w, i0, i1, s, spare):
    """Follow the squared voltages from the root down, and note the smallest."""
    for i in range(i0, i1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        for t in range(0, w, WIDTH):
            u = load(s, k, _U + t) - load(s, j, _D + t)
            store(s, j, _U + t, u)
            least = load(s, spare, _LEAST + t)
            store(s, spare, _LEAST + t, where_less(least, u, least, u))


@inner
def live_down(parent, w, i0, i1, s, spare):
    """Do the same in the lanes that are live, and sum the squared changes."""
    for t in range(0, w, WIDTH):
        store(s, spare, _CHANGE + t, spread(0.0))
    for i in range(i0, i1):
        j = i - i0 + 1
        k = parent[i] - i0 + 1 if i > i0 else 0
        for t in range(0, w, WIDTH):
            u = load(s, j, _U + t)
            change = load(s, spare, _LIVE + t) * ((load(s, k, _U + t) - load(s, j, _D + t)) - u)
            u = u + change
            store(s, j, _U + t, u)
            least = load(s, spare, _LEAST + t)
            store(s, spare, _LEAST + t, where_less(least, u, least, u))
            store(s, spare, _CHANGE + t, load(s, spare, _CHANGE + t) + change * change)


@inner
def decide(enough, endless, most, w, s, spare, status_out, h, t0):
    """Stop the lanes that need no further sweep but the last one; returns how many go on.

    A lane stops when a sweep has changed its voltages by less than it may, when the next one can be expected to (from
    how the changes shrink), or when it has no solution: a squared voltage below zero, a change as large as the voltage
    itself, or NaN.
    """
    n_live = np.int64(0)
    for t in range(w):
        if s[spare, _LIVE + t] > 0.0:
            change = s[spare, _CHANGE + t]
            before = s[spare, _BEFORE + t]
            s[spare, _BEFORE + t] = change
            s[spare, _COUNT + t] += 1.0
            if change < enough or change * change < _EXPECTED * min(enough, before) * before:
                s[spare, _LIVE + t] = 0.0
            elif not (change < endless and s[spare, _LEAST + t] > 0.0):
                s[spare, _LIVE + t] = 0.0
                status_out[h, t0 + t] = 2
            elif s[spare, _COUNT + t] >= most:
                s[spare, _LIVE + t] = 0.0
            else:
                n_live += 1
    return n_live


@inner
def verify(parent, enough, most, w, i0, i1, s, spare, status_out, h, t0):
    """After the last pass, find the lanes that its sweep has changed by too much and give them another one."""
    n_live = np.int64(0)
    for t in range(w):
        if status_out[h, t0 + t] == 1:
            if s[spare, _CHANGE + t] < enough:
                status_out[h, t0 + t] = 0
            elif s[spare, _COUNT + t] < most:
                s[spare, _LIVE + t] = 1.0
                s[spare, _COUNT + t] += 1.0
                n_live += 1
    if n_live > 0:
        for j in range(1, i1 - i0 + 1):
            for t in range(0, w, WIDTH):
                u = load(s, j, _U + t)
                store(s, j, _U + t, u + load(s, spare, _LIVE + t) * (load(s, j, _D + t) - u))
    return n_live


def signature(given, out):
    """Types of the arguments of `sweep` where loads are arrays of type `given` and outputs of type `out`."""
    return (
        I32, I32, I32, I32, U8, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, given, given, i64,
        f64, i64, I32, I64, i64, U8, F64_2D_OUT, out, out, out, out, out, out, out, U8_2D_OUT, i64, i64,
    )  # fmt: skip


def sweep(
    order, parent, last, branch, forward, r, x, g, b, g_parent, b_parent, g_child, b_child, tau, u_root, per_s_max,
    per_s_reverse, shift_deg, angle_root_deg, p_in, q_in, loss_sweeps, tolerance, max_iterations, heads, packs, width,
    want, scratch, p_from_out, q_from_out, p_to_out, q_to_out, v_out, loading_out, angle_out, status_out, job0, job1,
):  # fmt: skip
    """Solve jobs job0..job1; job = pack of subtrees times block of steps.

    With `max_iterations` 0 there are `loss_sweeps` sweeps with losses, or one without. Else a lane goes on until one
    sweep changes its voltages by less than `tolerance` (root of the sum of squares), at most `max_iterations` times
    and at least twice. `want` says which outputs are wanted, in the order of the arguments; the others may be empty.
    Status of a subtree and step: 0 solved, 1 not converged, 2 no voltage (the squared voltage fell to zero or the input
    was not finite); outputs are NaN unless it is 0.
    """
    n_steps = p_in.shape[1]
    n_blocks = (n_steps + width - 1) // width
    s = scratch
    spare = s.shape[0] - 2
    lossy = max_iterations > 0 or loss_sweeps > 0
    once = max_iterations == 0 and loss_sweeps <= 1
    most = max_iterations - 1.0
    for job in range(job0, job1):
        pack = job // n_blocks
        t0 = (job % n_blocks) * width
        w = min(n_steps - t0, width)
        for h in range(packs[pack], packs[pack + 1]):
            i0 = np.int64(heads[h])
            i1 = np.int64(last[i0])
            u0 = u_root[i0]
            # squared voltages change by twice as much as voltages, in units of the root's
            enough = 4.0 * u0 * tolerance * tolerance
            per_u = 1.0 / u0
            endless = 0.81 * u0 * u0 * (i1 - i0)
            for t in range(0, w, WIDTH):
                store(s, 0, _U + t, spread(u0))
                store(s, 0, _D + t, spread(u0))
                store(s, 0, _ANGLE + t, spread(angle_root_deg[i0]))
                store(s, spare, _LEAST + t, spread(u0))
            first_up(order, parent, last, r, x, g, b, u0, p_in, q_in, t0, w, i0, i1, lossy, not once, s)
            if not once:
                down(parent, w, i0, i1, s, spare)
            if max_iterations == 0:
                for _ in range(loss_sweeps - 2):
                    next_up(parent, last, r, x, g, b, w, i0, i1, s)
                    down(parent, w, i0, i1, s, spare)
                for t in range(w):
                    status_out[h, t0 + t] = 0
            else:
                for t in range(0, w, WIDTH):
                    store(s, spare, _LIVE + t, spread(1.0))
                    store(s, spare, _BEFORE + t, spread(0.0))
                    store(s, spare, _COUNT + t, spread(1.0))
                for t in range(w):
                    status_out[h, t0 + t] = 1
            again = max_iterations > 2
            while True:
                while again:
                    next_up(parent, last, r, x, g, b, w, i0, i1, s)
                    live_down(parent, w, i0, i1, s, spare)
                    again = decide(enough, endless, most, w, s, spare, status_out, h, t0) > 0
                if not once:
                    next_up(parent, last, r, x, g, b, w, i0, i1, s)
                # the last way down writes what is wanted
                for t in range(0, w, WIDTH):
                    store(s, spare, _CHANGE + t, spread(0.0))
                for i in range(i0, i1):
                    j = i - i0 + 1
                    k = parent[i] - i0 + 1 if i > i0 else 0
                    n = np.int64(order[i])
                    e = np.int64(branch[i])
                    ahead = min(i + 2, i1 - 1)
                    if want[4]:
                        fetch_row(v_out, order[ahead], t0, w)
                    if want[0]:
                        fetch_row(p_from_out, branch[ahead], t0, w)
                    ri = r[i]
                    xi = x[i]
                    per_tau = 1.0 / tau[i]
                    # the end at the parent and the end at the child, written to where they are declared
                    up, low = (0, 2) if forward[i] else (2, 0)
                    p_up_out, p_low_out = (p_from_out, p_to_out) if forward[i] else (p_to_out, p_from_out)
                    q_up_out, q_low_out = (q_from_out, q_to_out) if forward[i] else (q_to_out, q_from_out)
                    ahead_limit = per_s_max[e] if forward[i] else per_s_reverse[e]
                    back_limit = per_s_reverse[e] if forward[i] else per_s_max[e]
                    for t in range(0, w, WIDTH):
                        u_up = load(s, k, _D + t)
                        u = u_up - load(s, j, _D + t)
                        store(s, j, _D + t, u)
                        least = load(s, spare, _LEAST + t)
                        store(s, spare, _LEAST + t, where_less(least, u, least, u))
                        p = load(s, j, _P + t)
                        q = load(s, j, _Q + t)
                        # what the way up has counted: losses and shunts at the voltages that it saw
                        seen = spread(u0)
                        seen_up = seen
                        current = spread(0.0)
                        if not once:
                            seen = load(s, j, _U + t)
                            seen_up = load(s, k, _U + t)
                            change = u - seen
                            store(s, spare, _CHANGE + t, load(s, spare, _CHANGE + t) + change * change)
                            current = (p * p + q * q) / seen
                        elif lossy:
                            current = (p * p + q * q) * per_u
                        if want[4]:
                            store_some(v_out, n, t0 + t, w - t, sqrt(u * per_tau))
                        p_up = p + ri * current + g_parent[i] * seen_up
                        if want[up]:
                            store_some(p_up_out, e, t0 + t, w - t, p_up)
                        p_low = g_child[i] * seen - p
                        if want[low]:
                            store_some(p_low_out, e, t0 + t, w - t, p_low)
                        q_up = q + xi * current - b_parent[i] * seen_up
                        if want[up + 1]:
                            store_some(q_up_out, e, t0 + t, w - t, q_up)
                        q_low = (-b_child[i]) * seen - q
                        if want[low + 1]:
                            store_some(q_low_out, e, t0 + t, w - t, q_low)
                        if want[5]:
                            near = (p_up * p_up + q_up * q_up) * tau[parent[i]] / u_up
                            far = (p_low * p_low + q_low * q_low) * tau[i] / u
                            limit = where_less(p_up, 0.0, back_limit, ahead_limit)
                            store_some(loading_out, e, t0 + t, w - t, sqrt(where_less(near, far, far, near)) * limit)
                    if want[6]:
                        for t in range(w):
                            p_j = s[j, _P + t]
                            q_j = s[j, _Q + t]
                            lag = math.atan2(xi * p_j - ri * q_j, s[j, _D + t] + ri * p_j + xi * q_j)
                            s[j, _ANGLE + t] = s[k, _ANGLE + t] - lag * (180.0 / math.pi)
                            angle_out[n, t0 + t] = s[j, _ANGLE + t] - shift_deg[i]
                if max_iterations == 0:
                    break
                if verify(parent, enough, most, w, i0, i1, s, spare, status_out, h, t0) == 0:
                    break
                again = True
            for t in range(w):
                # a flow of minus infinity gives a voltage above zero, and only its sum tells
                if not s[spare, _LEAST + t] > 0.0 or not np.isfinite(s[0, _P + t] + s[0, _Q + t]):
                    status_out[h, t0 + t] = 2
                if status_out[h, t0 + t] != 0:
                    for i in range(i0, i1):
                        n = order[i]
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
                            v_out[n, t0 + t] = np.nan
                        if want[5]:
                            loading_out[e, t0 + t] = np.nan
                        if want[6]:
                            angle_out[n, t0 + t] = np.nan
