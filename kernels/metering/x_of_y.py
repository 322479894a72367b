"""X of Y: reference days and the same day, one POD at a time, the history read once.

Sums are int64 and exact; each quarter-hour is one float64 expression in written order and one half-even rounding. A
POD is computed from its own rows only, so any partition of the PODs gives the same bits.
"""

import numpy as np

from flexcore.kernels._jit import (
    B1_2D,
    B1_2D_OUT,
    B1_3D,
    I32_2D,
    I32_2D_OUT,
    I32_3D,
    I64_2D,
    U8_2D,
    U8_OUT,
    f64,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.metering.events import (
    BORROWED,
    FEWER,
    GUARDED,
    MISSING,
    NO_BASELINE,
    UNADJUSTED,
    WIDENED,
    event_runs,
    write_steps,
)

# methods
HIGH, MID, LOW, ALL = 0, 1, 2, 3
# what days are compared by
EVENT, DAY, GIVEN = 0, 1, 2
# adjustments
NONE, ADDITIVE, MULTIPLICATIVE = 0, 1, 2
# orders of choice: days from here on are event days, whose events are not taken out
BORROW = 3
_PPM = 1_000_000


@inner
def _order_of_days(eligible, z, order):
    """Write the days in the order in which they are asked: by choice, then the latest first; return their number."""
    n_days = 0
    for d in range(eligible.shape[1] - 1, -1, -1):
        choice = eligible[z, d]
        if choice == 0:
            continue
        at = n_days
        while at > 0 and eligible[z, order[at - 1]] > choice:
            order[at] = order[at - 1]
            at -= 1
        order[at] = d
        n_days += 1
    return n_days


@inner
def _drop_low_use(use, low_use_ppm, day, score, weight, n_found):
    """Drop the candidate with the least mean over the event if it is too low; return how many are left."""
    total = np.int64(0)
    least = 0
    for k in range(n_found):
        total += use[k]
        if use[k] <= use[least]:
            least = k
    # use * n < total * ppm / 1e6 in integers that do not overflow
    limit = low_use_ppm * (total // _PPM) + (low_use_ppm * (total % _PPM) + _PPM - 1) // _PPM
    if n_found == 0 or total <= 0 or use[least] * n_found >= limit:
        return n_found
    for k in range(least, n_found - 1):
        use[k], day[k], score[k], weight[k] = use[k + 1], day[k + 1], score[k + 1], weight[k + 1]
    return n_found - 1


@inner
def _rank(score, weight, n_found, lowest_first, rank):
    """Write the place of each candidate by score / weight, in integers; equal ones keep their order."""
    for a in range(n_found):
        place = 0
        for b in range(a):
            left, right = score[a] * weight[b], score[b] * weight[a]
            before = left < right if lowest_first else left > right
            rank[b] += before
            place += not before
        rank[a] = place


@kernel(
    I32_3D, I32_2D, B1_2D, U8_2D, B1_3D, B1_2D, I64_2D,
    i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, f64, f64,
    i64, i64, I32_2D_OUT, U8_OUT, B1_2D_OUT,
)  # fmt: skip
def x_of_y(
    history, today, event, eligible, excluded, today_excluded, day_score,
    method, n_candidates, n_selected, min_days, compare, low_use_ppm, adjustment, window, lead, guard_w, cap_w,
    ratio_lo, ratio_hi,
    i0, i1, baseline_out, status_out, used_out,
):  # fmt: skip
    """High, Mid, Low or All X of Y with same-day adjustment for PODs i0..i1.

    `event`, `eligible`, `excluded`, `today_excluded` and `day_score` have one row for each POD, one row for all, or
    none; `today` has one row for each POD or none. A negative `cap_w` is no cap, a negative `low_use_ppm` no exclusion.
    """
    n_days = history.shape[1]
    n_steps = history.shape[2]
    has_event = event.shape[0] > 0
    has_today = today.shape[0] > 0 and adjustment != NONE
    has_excluded = excluded.shape[0] > 0
    has_today_excluded = today_excluded.shape[0] > 0
    run_start = np.empty(n_steps, np.int64)
    run_end = np.empty(n_steps, np.int64)
    # masks of whole words (0 or -1), so that loops over steps have no branch
    on_event = np.zeros(n_steps, np.int32)
    window_of_all = np.zeros(n_steps, np.int32)
    in_window = np.zeros(n_steps, np.int32)
    needed = np.zeros(n_steps, np.int32)
    order = np.empty(n_days, np.int64)
    day = np.empty(n_candidates, np.int64)
    use = np.empty(n_candidates, np.int64)
    score = np.empty(n_candidates, np.int64)
    weight = np.empty(n_candidates, np.int64)
    rank = np.empty(n_candidates, np.int64)
    taken = np.empty(n_candidates, np.int64)
    total = np.empty(n_steps, np.int64)
    count = np.empty(n_steps, np.int64)
    n_runs = n_event = n_order = lo = hi = 0
    for i in range(i0, i1):
        x = i if excluded.shape[0] > 1 else 0
        z = i if eligible.shape[0] > 1 else 0
        status = 0
        # 1. the steps that a reference day must have: the events and what is usable of the adjustment windows
        if i == i0 or event.shape[0] > 1 or today_excluded.shape[0] > 1:
            e = i if event.shape[0] > 1 else 0
            y = i if today_excluded.shape[0] > 1 else 0
            n_runs = event_runs(event, e, run_start, run_end) if has_event else 0
            lo, hi, n_event = n_steps, 0, 0
            for t in range(n_steps):
                on_event[t] = -1 if n_runs > 0 and event[e, t] else 0
                needed[t] = on_event[t]
                window_of_all[t] = 0
                in_window[t] = 0
            for k in range(n_runs):
                n_event += run_end[k] - run_start[k]
                lo, hi = min(lo, run_start[k]), max(hi, run_end[k])
                if has_today:
                    for t in range(max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)):
                        lo = min(lo, t)
                        if not event[e, t] and not (has_today_excluded and today_excluded[y, t]):
                            window_of_all[t] = -1
        if has_today:
            for t in range(lo, hi):
                in_window[t] = window_of_all[t] if today[i, t] != MISSING else 0
                needed[t] = on_event[t] | in_window[t]
        # 2. candidates, in the order in which they are asked
        if i == i0 or eligible.shape[0] > 1:
            n_order = _order_of_days(eligible, z, order)
        n_found = n_asked = 0
        while True:
            while n_found < n_candidates and n_asked < n_order:
                d = order[n_asked]
                n_asked += 1
                past = history[i, d]
                low = np.int32(0)
                points = np.int64(0)
                for t in range(lo, hi):
                    low = min(low, np.int32(past[t] & needed[t]))
                    points += past[t] & on_event[t]
                if low == MISSING:
                    continue
                masked = has_excluded and eligible[z, d] < BORROW
                if masked:
                    gone = np.int64(0)
                    for t in range(lo, hi):
                        gone += needed[t] != 0 and excluded[x, d, t]
                    if gone > 0:
                        continue
                use[n_found] = points
                points_of = n_event
                if n_event == 0 or compare == DAY:
                    points = np.int64(0)
                    points_of = np.int64(0)
                    for t in range(n_steps):
                        seen_here = past[t] != MISSING and not (masked and excluded[x, d, t])
                        points += past[t] if seen_here else 0
                        points_of += seen_here
                    if points_of == 0:
                        continue
                day[n_found] = d
                score[n_found] = points if compare != GIVEN else day_score[i if day_score.shape[0] > 1 else 0, d]
                weight[n_found] = points_of if compare != GIVEN else 1
                n_found += 1
            n_before = n_found
            if low_use_ppm >= 0 and n_event > 0:
                n_found = _drop_low_use(use, low_use_ppm, day, score, weight, n_found)
            if n_found == n_before:
                break
        # given scores look for the X nearest of all days of the look-back, however many these are
        if n_found < (n_selected if compare == GIVEN else n_candidates):
            status |= FEWER
        for k in range(n_found):
            choice = eligible[z, day[k]]
            status |= (WIDENED if choice == BORROW - 1 else 0) | (BORROWED if choice >= BORROW else 0)
        for d in range(n_days):
            used_out[i, d] = False
        if n_found < min_days:
            status_out[i] = status | NO_BASELINE
            for t in range(n_steps):
                baseline_out[i, t] = MISSING
            continue
        # 3. selection: with fewer days than asked for, Mid drops the odd day at the top
        n_taken = n_found if method == ALL else min(n_selected, n_found)
        first = (n_found - n_taken + 1) // 2 if method == MID else 0
        _rank(score, weight, n_found, method == LOW, rank)
        at = 0
        for k in range(n_found):
            if first <= rank[k] < first + n_taken:
                taken[at] = day[k]
                used_out[i, day[k]] = True
                at += 1
        # 4. sums; the common case has nothing missing, and is one vector loop without counts
        for t in range(n_steps):
            total[t] = 0
            count[t] = n_taken
        lowest = np.int32(0)
        for k in range(n_taken):
            reference = history[i, taken[k]]
            for t in range(n_steps):
                total[t] += reference[t]
                lowest = min(lowest, reference[t])
        if lowest == MISSING or has_excluded:
            for t in range(n_steps):
                total[t] = 0
                count[t] = 0
            for k in range(n_taken):
                d = taken[k]
                masked = has_excluded and eligible[z, d] < BORROW
                for t in range(n_steps):
                    if history[i, d, t] != MISSING and not (masked and excluded[x, d, t]):
                        total[t] += history[i, d, t]
                        count[t] += 1
        # 5. one adjustment for each event: from its start (the first: from the start of the day) to the next
        if n_runs == 0:
            status |= write_steps(total, count, 1.0, 0.0, 0, n_steps, baseline_out, i)
        for k in range(n_runs):
            ratio = 1.0
            shift = 0.0
            if adjustment != NONE:
                seen = np.int64(0)
                expected = np.int64(0)
                n_seen = np.int64(0)
                if has_today:
                    for t in range(max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)):
                        if in_window[t] != 0:
                            seen += today[i, t]
                            expected += total[t]
                            n_seen += 1
                if n_seen == 0:
                    status |= UNADJUSTED
                elif adjustment == MULTIPLICATIVE and expected > guard_w * n_taken * n_seen and seen >= 0:
                    ratio = min(max((seen * n_taken) / expected, ratio_lo), ratio_hi)
                else:
                    if adjustment == MULTIPLICATIVE:
                        status |= GUARDED
                    shift = (seen * n_taken - expected) / (n_taken * n_seen)
                    if cap_w >= 0:
                        shift = min(max(shift, -np.float64(cap_w)), np.float64(cap_w))
            lo = run_start[k] if k > 0 else 0
            hi = run_start[k + 1] if k + 1 < n_runs else n_steps
            status |= write_steps(total, count, ratio, shift, lo, hi, baseline_out, i)
        status_out[i] = status
