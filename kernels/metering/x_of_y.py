"""X of Y: reference days and the same day, one POD at a time, the history read once.

Sums are int64 and exact; each quarter-hour is one float64 expression in written order and one half-even rounding. A
POD is computed from its own rows only, so any partition of the PODs gives the same bits.
"""

import numpy as np

from flexcore.kernels._jit import B1_2D, B1_2D_OUT, B1_3D, I32_2D, I32_2D_OUT, I32_3D, U8_OUT, f64, i64, inner, kernel
from flexcore.kernels.metering.events import FEWER, GUARDED, MISSING, NO_BASELINE, UNADJUSTED, event_runs, write_steps

# methods
HIGH, MID, LOW, ALL = 0, 1, 2, 3
# adjustments
NONE, ADDITIVE, MULTIPLICATIVE = 0, 1, 2


@inner
def _complete(past, excluded, event, x, d, e, in_window, n_runs):
    """Tell whether past day d has a reading, not excluded, in each event quarter-hour and usable one of the windows."""
    for t in range(past.size):
        gone = past[t] == MISSING or (excluded.shape[0] > 0 and excluded[x, d, t])
        if gone and (in_window[t] or (n_runs > 0 and event[e, t])):
            return False
    return True


@kernel(
    I32_3D, I32_2D, B1_2D, B1_2D, B1_3D, B1_2D,
    i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, f64, f64,
    i64, i64, I32_2D_OUT, U8_OUT, B1_2D_OUT,
)  # fmt: skip
def x_of_y(
    history, today, event, eligible, excluded, today_excluded,
    method, n_candidates, n_selected, min_days, whole_day, adjustment, window, lead, guard_w, cap_w, ratio_lo, ratio_hi,
    i0, i1, baseline_out, status_out, used_out,
):  # fmt: skip
    """High, Mid, Low or All X of Y with same-day adjustment for PODs i0..i1.

    `event`, `eligible`, `excluded` and `today_excluded` have one row for each POD, one row for all, or none; `today`
    has one row for each POD or none. A negative `cap_w` is no cap.
    """
    n_days = history.shape[1]
    n_steps = history.shape[2]
    has_event = event.shape[0] > 0
    has_today = today.shape[0] > 0
    has_excluded = excluded.shape[0] > 0
    has_today_excluded = today_excluded.shape[0] > 0
    run_start = np.empty(n_steps, np.int64)
    run_end = np.empty(n_steps, np.int64)
    in_window = np.empty(n_steps, np.bool_)
    day = np.empty(n_candidates, np.int64)
    score = np.empty(n_candidates, np.int64)
    weight = np.empty(n_candidates, np.int64)
    least = np.empty(n_days, np.int32)
    total = np.empty(n_steps, np.int64)
    count = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        e = i if event.shape[0] > 1 else 0
        x = i if excluded.shape[0] > 1 else 0
        y = i if today_excluded.shape[0] > 1 else 0
        z = i if eligible.shape[0] > 1 else 0
        status = 0
        n_runs = event_runs(event, e, run_start, run_end) if has_event else 0
        # 1. the steps that a reference day must have: the events and what is usable of the adjustment windows
        for t in range(n_steps):
            in_window[t] = False
        if adjustment != NONE and has_today:
            for k in range(n_runs):
                for t in range(max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)):
                    usable = not event[e, t] and today[i, t] != MISSING
                    if usable and has_today_excluded:
                        usable = not today_excluded[y, t]
                    if usable:
                        in_window[t] = True
        n_event = 0
        for k in range(n_runs):
            n_event += run_end[k] - run_start[k]
        # 2. the history once, front to back as memory likes it: the least reading of a day tells whether one is missing
        for d in range(n_days):
            past = history[i, d]
            low = np.int32(2**31 - 1)
            for t in range(n_steps):
                low = min(low, past[t])
            least[d] = low
        # 3. candidates, most recent first, kept in order of score: equal scores stay in order of recency
        n_found = 0
        for d in range(n_days - 1, -1, -1):
            used_out[i, d] = False
            if n_found == n_candidates or not eligible[z, d]:
                continue
            past = history[i, d]
            whole = least[d] != MISSING and not has_excluded
            if not whole and not _complete(past, excluded, event, x, d, e, in_window, n_runs):
                continue
            points = np.int64(0)
            for k in range(n_runs):
                for t in range(run_start[k], run_end[k]):
                    points += past[t]
            points_of = n_event
            if n_event == 0 or whole_day != 0:
                points = np.int64(0)
                points_of = np.int64(0)
                for t in range(n_steps):
                    seen_here = past[t] != MISSING and not (has_excluded and excluded[x, d, t])
                    points += past[t] if seen_here else 0
                    points_of += seen_here
            if points_of == 0:
                continue
            # means are compared as fractions, in integers: score_a / n_a > score_b / n_b
            position = n_found
            while position > 0:
                ahead = points * weight[position - 1] - score[position - 1] * points_of
                if (method == LOW and ahead < 0) or (method != LOW and ahead > 0):
                    day[position] = day[position - 1]
                    score[position] = score[position - 1]
                    weight[position] = weight[position - 1]
                    position -= 1
                else:
                    break
            day[position] = d
            score[position] = points
            weight[position] = points_of
            n_found += 1
        if n_found < n_candidates:
            status |= FEWER
        if n_found < min_days:
            status_out[i] = status | NO_BASELINE
            for t in range(n_steps):
                baseline_out[i, t] = MISSING
            continue
        # 4. selection: with fewer days than asked for, Mid drops the odd day at the top
        n_taken = n_found if method == ALL else min(n_selected, n_found)
        first = (n_found - n_taken + 1) // 2 if method == MID else 0
        # 5. sums; the common case has nothing missing, and is one vector loop without counts
        for t in range(n_steps):
            total[t] = 0
            count[t] = n_taken
        lowest = np.int32(0)
        for k in range(first, first + n_taken):
            used_out[i, day[k]] = True
            reference = history[i, day[k]]
            for t in range(n_steps):
                total[t] += reference[t]
            lowest = min(lowest, least[day[k]])
        if lowest == MISSING or has_excluded:
            for t in range(n_steps):
                total[t] = 0
                count[t] = 0
            for k in range(first, first + n_taken):
                d = day[k]
                for t in range(n_steps):
                    if history[i, d, t] != MISSING and not (has_excluded and excluded[x, d, t]):
                        total[t] += history[i, d, t]
                        count[t] += 1
        # 6. one adjustment for each event: from its start (the first: from the start of the day) to the next
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
                        if in_window[t]:
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
