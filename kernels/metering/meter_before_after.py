"""Meter before, meter after: what the meter showed around an event, one POD at a time."""

import numpy as np

from flexcore.kernels._jit import B1_2D, I32_2D, I32_2D_OUT, U8_OUT, i64, inner, kernel
from flexcore.kernels.metering.events import FEWER, GAP, MISSING, NO_BASELINE, event_runs

# how the two sides are joined
BEFORE, MEAN, LEAST, LARGEST_SIDE = 0, 1, 2, 3


@inner
def _usable_sum(today, event, today_excluded, i, e, y, lo, hi):
    """Sum and number of the readings of steps lo..hi that no event or exclusion touches."""
    total = np.int64(0)
    n = np.int64(0)
    for t in range(max(lo, 0), min(hi, today.shape[1])):
        if today[i, t] == MISSING or event[e, t]:
            continue
        if today_excluded.shape[0] > 0 and today_excluded[y, t]:
            continue
        total += today[i, t]
        n += 1
    return total, n


@kernel(I32_2D, B1_2D, B1_2D, i64, i64, i64, i64, i64, i64, i64, I32_2D_OUT, U8_OUT)
def meter_before_after(
    today, event, today_excluded, n_before, before_gap, n_after, after_gap, join, i0, i1, baseline_out, status_out
):
    """Meter-before-meter-after for PODs i0..i1: a constant over each event, the reading itself elsewhere."""
    n_steps = today.shape[1]
    run_start = np.empty(n_steps, np.int64)
    run_end = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        e = i if event.shape[0] > 1 else 0
        y = i if today_excluded.shape[0] > 1 else 0
        status = 0
        for t in range(n_steps):
            baseline_out[i, t] = today[i, t]
            if today[i, t] == MISSING:
                status |= GAP
        n_runs = event_runs(event, e, run_start, run_end) if event.shape[0] > 0 else 0
        for k in range(n_runs):
            end = run_start[k] - before_gap
            before, of_before = _usable_sum(today, event, today_excluded, i, e, y, end - n_before, end)
            begin = run_end[k] + after_gap
            after, of_after = _usable_sum(today, event, today_excluded, i, e, y, begin, begin + n_after)
            if join == BEFORE:
                after = np.int64(0)
                of_after = np.int64(0)
            elif of_before == 0 or of_after == 0:
                status |= FEWER
            value = MISSING
            if of_before + of_after == 0:
                status |= NO_BASELINE
            elif join == MEAN or of_before == 0 or of_after == 0:
                value = np.int32(np.rint((before + after) / (of_before + of_after)))
            elif join == LEAST:
                value = np.int32(np.rint(min(before / of_before, after / of_after)))
            else:
                value = np.int32(np.rint(max(before / of_before, after / of_after)))
            for t in range(run_start[k], run_end[k]):
                baseline_out[i, t] = value
        status_out[i] = status
