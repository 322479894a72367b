"""X of Y: reference days and the same day, one POD at a time, the history read once.

Sums are whole numbers far below 2**53, so they are exact in float64 lanes in any order; each quarter-hour is one
float64 expression in written order and one half-even rounding. A POD is computed from its own rows only, so any
partition of the PODs gives the same bits.
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
    fetch_ahead,
    i64,
    inner,
    kernel,
    per_line,
)
from flexcore.kernels._simd import WIDTH, any_less, load, load_some, smaller, spread, store, where_less, whole_total
from flexcore.kernels.metering.day_order import drop_low_use, order_of_days, rank, rank_lanes
from flexcore.kernels.metering.events import (
    BORROWED,
    FEWER,
    GUARDED,
    MISSING,
    NO_BASELINE,
    UNADJUSTED,
    WIDENED,
    event_runs,
    write_counted_means,
    write_means,
)

# methods
HIGH, MID, LOW, ALL = 0, 1, 2, 3
# what days are compared by
EVENT, DAY, GIVEN = 0, 1, 2
# adjustments
NONE, ADDITIVE, MULTIPLICATIVE = 0, 1, 2
# order of choice from which on a day is borrowed: its events are not taken out
BORROW = 3
# rows of marks on steps: 0.0 or 1.0, and the number of the step
ON_EVENT, WINDOW, IN_WINDOW, NEEDED, STEP = 0, 1, 2, 3, 4
_SEEN = -(2.0**31) + 0.5  # readings lie above, MISSING below
_AHEAD = 1  # the POD after this one is fetched while this one is computed


@inner
def _score_days(flat, first_row, ahead, half, order, asked, n, blocks, n_event_blocks, n_blocks, marks, points, gone):
    """Write sums over the event of the next n days, and whether one lacks a step in the vectors of needed ones.

    Return whether any does; `gone` is written only then. Meanwhile the first half of the POD that starts at row
    `ahead` is fetched, some lines with each day: all at once would fill the queue of the processor, and this POD would
    wait for that one.
    """
    n_steps = flat.shape[1]
    line = per_line(flat)
    share = (half // n + line - 1) // line * line
    lowest = spread(0.0)
    for k in range(n):
        row = first_row + order[asked + k]
        for at in range(k * share, (k + 1) * share, line):
            fetch_ahead(flat, ahead, at)
        inside = spread(0.0)
        for j in range(n_event_blocks):
            t = blocks[j]
            value = load_some(flat, row, t, n_steps - t)
            inside = inside + value * load(marks, ON_EVENT, t)
            lowest = smaller(lowest, value)
        for j in range(n_event_blocks, n_blocks):
            t = blocks[j]
            lowest = smaller(lowest, load_some(flat, row, t, n_steps - t))
        points[k] = np.int64(whole_total(inside))
    any_gone = any_less(lowest, _SEEN)
    if any_gone:
        for k in range(n):
            gone[k] = False
            for j in range(n_blocks):
                t = blocks[j]
                gone[k] |= any_less(load_some(flat, first_row + order[asked + k], t, n_steps - t), _SEEN)
    return any_gone


@inner
def _window_sums(today, i, total, marks, lo, hi):
    """Return the sums of today and of the reference days over the usable steps of a window, and their number."""
    seen = spread(0.0)
    expected = spread(0.0)
    n_seen = spread(0.0)
    n_steps = today.shape[1]
    for t in range(lo // WIDTH * WIDTH, hi, WIDTH):
        step = load(marks, STEP, t)
        inside = where_less(step, np.float64(hi), load(marks, IN_WINDOW, t), 0.0)
        inside = where_less(step, np.float64(lo), 0.0, inside)
        seen = seen + load_some(today, i, t, n_steps - t) * inside
        expected = expected + load(total, 0, t) * inside
        n_seen = n_seen + inside
    return np.int64(whole_total(seen)), np.int64(whole_total(expected)), np.int64(whole_total(n_seen))


@inner
def _any_missing(flat, row, marks):
    """Tell whether a day has no reading in a needed step."""
    found = np.int64(0)
    for t in range(flat.shape[1]):
        found += flat[row, t] == MISSING and marks[NEEDED, t] != 0.0
    return found > 0


@inner
def _any_excluded(excluded, x, d, marks):
    """Tell whether day d has an excluded step among the needed ones."""
    found = np.int64(0)
    for t in range(excluded.shape[2]):
        found += excluded[x, d, t] and marks[NEEDED, t] != 0.0
    return found > 0


@inner
def _whole_day(flat, row, masked, excluded, x, d):
    """Return the sum over a day and the number of its readings."""
    points = np.int64(0)
    n_seen = np.int64(0)
    for t in range(flat.shape[1]):
        seen = flat[row, t] != MISSING and not (masked and excluded[x, d, t])
        points += flat[row, t] if seen else 0
        n_seen += seen
    return points, n_seen


@inner
def _sum_days(flat, first_row, ahead, half, taken, n_taken, total):
    """Write the sum of the days taken; return whether a reading is missing. Four vectors at once stay in registers.

    Meanwhile the second half of the POD that starts at row `ahead` is fetched.
    """
    n_steps = flat.shape[1]
    la = lb = lc = ld = spread(0.0)
    t = 0
    while t + 4 * WIDTH <= n_steps:
        a = b = c = d = spread(0.0)
        for k in range(n_taken):
            row = first_row + taken[k]
            fetch_ahead(flat, ahead, half)
            fetch_ahead(flat, ahead, half + per_line(flat))
            half += 2 * per_line(flat)
            va, vb = load(flat, row, t), load(flat, row, t + WIDTH)
            vc, vd = load(flat, row, t + 2 * WIDTH), load(flat, row, t + 3 * WIDTH)
            a, b, c, d = a + va, b + vb, c + vc, d + vd
            la, lb, lc, ld = smaller(la, va), smaller(lb, vb), smaller(lc, vc), smaller(ld, vd)
        store(total, 0, t, a)
        store(total, 0, t + WIDTH, b)
        store(total, 0, t + 2 * WIDTH, c)
        store(total, 0, t + 3 * WIDTH, d)
        t += 4 * WIDTH
    while t < n_steps:
        a = spread(0.0)
        for k in range(n_taken):
            va = load_some(flat, first_row + taken[k], t, n_steps - t)
            a = a + va
            la = smaller(la, va)
        store(total, 0, t, a)
        t += WIDTH
    return any_less(smaller(smaller(la, lb), smaller(lc, ld)), _SEEN)


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
    n_pods, n_days, n_steps = history.shape
    flat = history.reshape(n_pods * n_days, n_steps)
    padded = (n_steps + WIDTH - 1) // WIDTH * WIDTH
    has_event = event.shape[0] > 0
    has_today = today.shape[0] > 0 and adjustment != NONE
    has_excluded = excluded.shape[0] > 0
    has_today_excluded = today_excluded.shape[0] > 0
    run_start = np.empty(n_steps, np.int64)
    run_end = np.empty(n_steps, np.int64)
    marks = np.zeros((5, padded))
    for t in range(padded):  # an assignment of a whole row compiles a message of error with it, twenty functions
        marks[STEP, t] = t
    total = np.empty((1, padded))
    count = np.empty(n_steps, np.int64)
    order = np.empty(n_days, np.int64)
    day = np.empty(n_candidates, np.int64)
    use = np.empty(n_candidates, np.int64)
    score = np.empty(n_candidates, np.int64)
    weight = np.empty(n_candidates, np.int64)
    place = np.empty(n_candidates, np.int64)
    lanes = (n_candidates + WIDTH - 1) // WIDTH * WIDTH
    key = np.zeros((1, lanes))
    places = np.zeros((1, lanes))
    points_of_days = np.empty(n_candidates, np.int64)
    gone = np.empty(n_candidates, np.bool_)
    taken = np.empty(n_candidates + 1, np.int64)
    blocks = np.empty(padded, np.int64)
    n_runs = n_event = n_order = n_like = n_blocks = n_event_blocks = 0
    half = n_days * n_steps // 2
    for i in range(i0, i1):
        ahead = min(i + _AHEAD, n_pods - 1) * n_days
        x = i if excluded.shape[0] > 1 else 0
        z = i if eligible.shape[0] > 1 else 0
        status = 0
        # 1. the steps that a reference day must have: the events and what is usable of the adjustment windows
        if i == i0 or event.shape[0] > 1 or today_excluded.shape[0] > 1:
            e = i if event.shape[0] > 1 else 0
            y = i if today_excluded.shape[0] > 1 else 0
            n_runs = event_runs(event, e, run_start, run_end) if has_event else 0
            n_event = 0
            for t in range(n_steps):
                marks[ON_EVENT, t] = n_runs > 0 and event[e, t]
                marks[NEEDED, t] = marks[ON_EVENT, t]
                marks[WINDOW, t] = 0.0
                marks[IN_WINDOW, t] = 0.0
            for k in range(n_runs):
                n_event += run_end[k] - run_start[k]
                if has_today:
                    for t in range(max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)):
                        if not event[e, t] and not (has_today_excluded and today_excluded[y, t]):
                            marks[WINDOW, t] = 1.0
            n_blocks = 0
            for t in range(0, n_steps, WIDTH):
                if any_less(0.5, load(marks, ON_EVENT, t)):
                    blocks[n_blocks] = t
                    n_blocks += 1
            n_event_blocks = n_blocks
            for t in range(0, n_steps, WIDTH):
                if any_less(0.5, load(marks, WINDOW, t)) and not any_less(0.5, load(marks, ON_EVENT, t)):
                    blocks[n_blocks] = t
                    n_blocks += 1
        if has_today:
            for k in range(n_blocks):
                t = blocks[k]
                usable = where_less(_SEEN, load_some(today, i, t, n_steps - t), load(marks, WINDOW, t), 0.0)
                store(marks, IN_WINDOW, t, usable)
                store(marks, NEEDED, t, usable + load(marks, ON_EVENT, t))
        # 2. candidates, in the order in which they are asked
        if i == i0 or eligible.shape[0] > 1:
            n_order = n_like = order_of_days(eligible, z, order)
            while compare == GIVEN and n_like > 0 and eligible[z, order[n_like - 1]] > 1:
                n_like -= 1
        n_found = n_asked = 0
        of_one_weight = compare != GIVEN
        by_event = compare == EVENT and n_event > 0 and not has_excluded  # the common case, with little to look at
        while True:
            while n_found < n_candidates and n_asked < n_order:
                if n_asked < n_like:
                    n_asking = min(n_candidates - n_found, n_like - n_asked)
                elif n_found < n_selected:  # fall-backs of given scores, which compare all days of the look-back
                    n_asking = min(n_selected - n_found, n_order - n_asked)
                else:
                    break
                any_gone = _score_days(
                    flat, i * n_days, ahead, half, order, n_asked, n_asking, blocks, n_event_blocks, n_blocks, marks,
                    points_of_days, gone,
                )  # fmt: skip
                if by_event and not any_gone:
                    for k in range(n_asking):
                        day[n_found + k] = order[n_asked + k]
                        use[n_found + k] = points_of_days[k]
                        score[n_found + k] = points_of_days[k]
                        weight[n_found + k] = n_event
                    n_found += n_asking
                    n_asked += n_asking
                    continue
                for k in range(n_asking):
                    d = order[n_asked + k]
                    row = i * n_days + d
                    if gone[k] and _any_missing(flat, row, marks):
                        continue
                    masked = has_excluded and eligible[z, d] < BORROW
                    if masked and _any_excluded(excluded, x, d, marks):
                        continue
                    points = use[n_found] = points_of_days[k]
                    points_of = n_event
                    if n_event == 0 or compare == DAY:
                        points, points_of = _whole_day(flat, row, masked, excluded, x, d)
                        if points_of == 0:
                            continue
                        of_one_weight &= points_of == n_steps
                    day[n_found] = d
                    score[n_found] = points if compare != GIVEN else day_score[i if day_score.shape[0] > 1 else 0, d]
                    weight[n_found] = points_of if compare != GIVEN else 1
                    n_found += 1
                n_asked += n_asking
            n_before = n_found
            if low_use_ppm >= 0 and n_event > 0:
                n_found = drop_low_use(use, low_use_ppm, day, score, weight, n_found)
            if n_found == n_before:
                break
        # given scores look for the X nearest of all days of the look-back, however many these are
        if n_found < (n_selected if compare == GIVEN else n_candidates):
            status |= FEWER
        for k in range(n_found if n_found > 0 and eligible[z, day[n_found - 1]] > 1 else 0):
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
        if method == ALL:
            for k in range(n_found):
                places[0, k] = k
        elif of_one_weight and n_found <= 64:
            rank_lanes(score, n_found, -64.0 if method == LOW else 64.0, key, places)
        else:
            rank(score, weight, n_found, method == LOW, place)
            for k in range(n_found):
                places[0, k] = place[k]
        at = 0
        for k in range(n_found):  # without a branch, which the processor could not foresee
            chosen = (places[0, k] >= first) & (places[0, k] < first + n_taken)
            taken[at] = day[k]
            used_out[i, day[k]] = chosen
            at += chosen
        # 4. sums; the common case has nothing missing or excluded, and needs no counts of its own
        counted = _sum_days(flat, i * n_days, ahead, half, taken, n_taken, total) or has_excluded
        if counted:
            for t in range(n_steps):
                total[0, t] = 0.0
                count[t] = 0
            for k in range(n_taken):
                d = taken[k]
                masked = has_excluded and eligible[z, d] < BORROW
                for t in range(n_steps):
                    if history[i, d, t] != MISSING and not (masked and excluded[x, d, t]):
                        total[0, t] += history[i, d, t]
                        count[t] += 1
        # 5. one adjustment for each event: from its start (the first: from the start of the day) to the next
        for k in range(max(n_runs, 1)):
            ratio = 1.0
            shift = 0.0
            if adjustment != NONE and n_runs > 0:
                seen = np.int64(0)
                expected = np.int64(0)
                n_seen = np.int64(0)
                if has_today:
                    opens, closes = max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)
                    seen, expected, n_seen = _window_sums(today, i, total, marks, opens, closes)
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
            if counted:
                status |= write_counted_means(total, count, ratio, shift, lo, hi, baseline_out, i)
            else:
                status |= write_means(total, np.float64(n_taken), ratio, shift, lo, hi, baseline_out, i)
        status_out[i] = status
