"""Kernels on recovery time and maximum run time of PODs, and on the energy that comes back after an award.

A request is a run of neighbouring quarter-hours in which one operator holds a POD. Between two requests, of whichever
operators, at least the recovery time of the POD passes. States of slots as in `flexcore.kernels.market.slots`.
"""

import numpy as np

from flexcore.kernels._jit import (
    I8,
    I32,
    I64,
    I64_2D,
    I64_2D_OUT,
    I64_OUT,
    U8_2D,
    U8_2D_OUT,
    U8_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.market.awards import CHEAPEST, PRO_RATA, _fill, _pro_rata

FREE, BLOCKED, RECOVERY_FIRM, RECOVERY_PRELIMINARY = np.uint8(0), np.uint8(5), np.uint8(6), np.uint8(7)
KEPT, TOO_SOON, TOO_LONG = np.uint8(0), np.uint8(1), np.uint8(2)
FAR = -(np.int64(1) << 40)


@inner
def _holder(s):
    """Operator that holds a slot of state `s`, -1 if none does."""
    return np.int64((s - 1) // 2) if 1 <= s <= 4 else np.int64(-1)


@inner
def _starts(state, wanted, pod, t, who):
    """Tell whether the run of `who` from step `t` holds a wanted slot."""
    for s in range(t, state.shape[1]):
        if wanted[pod, s]:
            return True
        if _holder(state[pod, s]) != who:
            return False
    return False


@inner
def _ahead(state, pod, t, operator):
    """Length of the run of `operator` that is held from step `t` on."""
    n = np.int64(0)
    while t + n < state.shape[1] and _holder(state[pod, t + n]) == operator:
        n += 1
    return n


@kernel(U8_2D_OUT, I32, i64, i64, I64_OUT, i64, i64)
def mark_recovery(state_out, recovery, owner, start, count_out, p0, p1):
    """Mark the free slots that lie within the recovery time of a held one, before or after it; count them per POD.

    A run of `owner` (2: of either) that lasts up to step `start` does not close what follows it: its owner may carry
    on. 6 stands for recovery from a firm slot, 7 for one from preliminary slots only.
    """
    n_steps = state_out.shape[1]
    for pod in range(p0, p1):
        r = np.int64(recovery[pod])
        last, last_firm = FAR, FAR
        for t in range(n_steps):
            if t == start and t > 0:
                holder = _holder(state_out[pod, t - 1])
                if holder >= 0 and (owner == 2 or owner == holder):
                    last, last_firm = FAR, FAR
            s = state_out[pod, t]
            if s >= RECOVERY_FIRM:
                s = FREE
                state_out[pod, t] = FREE
            if 1 <= s <= 4:
                last = t
                if s % 2 == 0:
                    last_firm = t
            elif s == FREE and t - last <= r:
                state_out[pod, t] = RECOVERY_FIRM if t - last_firm <= r else RECOVERY_PRELIMINARY
        last, last_firm = -FAR, -FAR
        n = np.int64(0)
        for back in range(n_steps):
            t = n_steps - 1 - back
            s = state_out[pod, t]
            if 1 <= s <= 4:
                last = t
                if s % 2 == 0:
                    last_firm = t
            elif s in (FREE, RECOVERY_PRELIMINARY):
                if last_firm - t <= r:
                    state_out[pod, t] = RECOVERY_FIRM
                elif last - t <= r:
                    state_out[pod, t] = RECOVERY_PRELIMINARY
            if state_out[pod, t] >= RECOVERY_FIRM:
                n += 1
        count_out[pod] = n


@kernel(U8_2D, U8_2D, i64, I32, I32, U8_OUT, i64, i64)
def check_requests(state, wanted, operator, recovery, max_run, status_out, p0, p1):
    """Write per POD whether the slots in `wanted`, held by `operator` beside those held already, keep its limits."""
    for pod in range(p0, p1):
        status_out[pod] = KEPT
        last, by, run, fresh = FAR, np.int64(-1), np.int64(0), False
        for t in range(state.shape[1]):
            asked = wanted[pod, t] != 0
            who = operator if asked else _holder(state[pod, t])
            if who < 0:
                continue
            if t - last == 1 and who == by:
                run += 1
                fresh = fresh or asked
            else:
                if t - last - 1 < recovery[pod] and (fresh or asked or _starts(state, wanted, pod, t, who)):
                    status_out[pod] = max(status_out[pod], TOO_SOON)
                run, fresh = np.int64(1), asked
            if max_run[pod] > 0 and run > max_run[pod] and fresh:
                status_out[pod] = TOO_LONG
            last, by = t, who


@kernel(I64_2D, I64, I32, I64_2D, I64, i64, I8, U8_2D, I32, I32, U8_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT)
def split_in_time(
    accepted_w, indptr, pods, available_w, rank, policy, operator, state, recovery, max_run,
    taken_out, track_out, member_out, short_out,
):  # fmt: skip
    """Split awards as `awards.split` does, step after step, over PODs that have recovered and not run for too long.

    Of equal PODs those that run already come first: one that stops would have to recover.
    A run that began too soon after another, as a cut inside a run leaves it, is not carried on.
    `track_out` (4, n_pods) is scratch: last step in use, its operator, length of that run, 1 if it began too soon;
    only for PODs of lines with an award.
    """
    n_lines, n_steps = accepted_w.shape
    width = np.int64(0)
    for pod in range(state.shape[0]):
        track_out[0, pod] = -FAR
    asked = np.empty(state.shape[0], np.int64)
    n_asked = np.int64(0)
    for line in range(n_lines):
        width = max(width, indptr[line + 1] - indptr[line])
        awarded = False
        for t in range(n_steps):
            awarded |= accepted_w[line, t] > 0
        for m in range(indptr[line], indptr[line + 1]):
            for t in range(n_steps):
                member_out[m, t] = 0
            pod = pods[m]
            if awarded and track_out[0, pod] != FAR:
                track_out[0, pod] = FAR
                track_out[1, pod] = -1
                track_out[2, pod] = 0
                track_out[3, pod] = 0
                asked[n_asked] = pod
                n_asked += 1
    power = np.empty(width, np.int64)
    share = np.empty(width, np.int64)
    rest = np.empty(width, np.int64)
    key = np.empty(width, np.int64)
    for t in range(n_steps):
        for line in range(n_lines):
            lo = indptr[line]
            n = indptr[line + 1] - lo
            award = accepted_w[line, t]
            if award <= 0:
                short_out[line, t] = 0
                continue
            who = np.int64(operator[line])
            for m in range(n):
                pod = pods[lo + m]
                power[m] = 0 if taken_out[pod, t] else available_w[lo + m, t]
                key[m] = 0
                if t - track_out[0, pod] == 1 and track_out[1, pod] == who and track_out[3, pod] == 0:
                    run = track_out[2, pod] + 1
                    key[m] = -1
                elif t - track_out[0, pod] - 1 >= recovery[pod]:
                    run = np.int64(1)
                else:
                    power[m] = 0
                    continue
                if max_run[pod] > 0 and run + _ahead(state, pod, t + 1, who) > max_run[pod]:
                    power[m] = 0
            for m in range(n):
                key[m] -= 2 * power[m]
            if policy == PRO_RATA:
                short_out[line, t] = _pro_rata(award, n, power, share, rest)
            elif policy == CHEAPEST:
                short_out[line, t] = _fill(award, n, rank[lo : lo + n], power, share)
            else:
                order = np.argsort(key[:n], kind="mergesort")
                short_out[line, t] = _fill(award, n, order, power, share)
            for m in range(n):
                member_out[lo + m, t] = share[m]
                if share[m] > 0:
                    taken_out[pods[lo + m], t] = np.uint8(1 + who)
        for pod in asked[:n_asked]:
            who = np.int64(taken_out[pod, t]) - 1 if taken_out[pod, t] else _holder(state[pod, t])
            if who >= 0:
                carries_on = t - track_out[0, pod] == 1 and track_out[1, pod] == who
                if not carries_on:
                    track_out[2, pod] = 0
                    track_out[3, pod] = np.int64(t - track_out[0, pod] - 1 < recovery[pod])
                track_out[2, pod] += 1
                track_out[0, pod] = t
                track_out[1, pod] = who


@kernel(I64_2D, I32, i64, i64, I64_2D_OUT, i64, i64)
def rebound(net_w, share_pm, delay, n_back, out, p0, p1):
    """Add up the load that comes back after each run of one sign of `net_w` (up positive).

    `out` is longer than `net_w` by `delay + n_back`. A run's share is rounded half to even once, to whole watt
    quarter-hours; over the `n_back` steps it falls by cumulative rounding, so that it adds up exactly.
    """
    n_steps = net_w.shape[1]
    for pod in range(p0, p1):
        for t in range(out.shape[1]):
            out[pod, t] = 0
        sign, energy = 0, np.int64(0)
        for t in range(n_steps + 1):
            now = 0
            if t < n_steps and net_w[pod, t] != 0:
                now = 1 if net_w[pod, t] > 0 else -1
            if now != sign:
                if sign != 0:
                    product = energy * share_pm[pod]
                    back = product // 1000
                    twice = 2 * (product - 1000 * back)
                    if twice > 1000 or (twice == 1000 and back % 2 != 0):
                        back += 1
                    for s in range(n_back):
                        out[pod, t + delay + s] += back * (s + 1) // n_back - back * s // n_back
                sign, energy = now, np.int64(0)
            if now != 0:
                energy += net_w[pod, t]
