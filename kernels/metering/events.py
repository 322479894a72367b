"""What every family of baselines shares: status bits, runs of event quarter-hours, and the one rounding."""

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels._simd import WIDTH, any_less, load, magnitude, rint, spread, store, where_less, whole_quotient

MISSING = np.int32(-(2**31))
LARGEST = 2.0**31 - 1.0
GONE = -(2.0**31)  # MISSING as a lane

# bits of the status
FEWER, NO_BASELINE, UNADJUSTED, GUARDED, GAP, OVERFLOW, WIDENED, BORROWED = 1, 2, 4, 8, 16, 32, 64, 128


@inner
def event_runs(event, row, run_start, run_end):
    """Write first and end step of each run of event quarter-hours; return their number."""
    n_runs = 0
    n_steps = event.shape[1]
    for t in range(n_steps):
        if event[row, t]:
            if t == 0 or not event[row, t - 1]:
                run_start[n_runs] = t
                n_runs += 1
            run_end[n_runs - 1] = t + 1
    return n_runs


@inner
def write_means(total, n, ratio, shift, lo, hi, baseline_out, i):
    """Round steps lo..hi of one POD from sums of n readings each; return the status bits that came up."""
    inverse = 1.0 / n
    largest = spread(0.0)
    t = lo
    while t + WIDTH <= hi:
        value = rint(whole_quotient(load(total, 0, t), n, inverse) * ratio + shift)
        size = magnitude(value)
        largest = where_less(largest, size, size, largest)
        store(baseline_out, i, t, where_less(LARGEST, size, GONE, value))
        t += WIDTH
    overflows = any_less(LARGEST, largest)
    while t < hi:
        value = np.rint(total[0, t] / n * ratio + shift)
        overflow = abs(value) > LARGEST
        overflows |= overflow
        baseline_out[i, t] = MISSING if overflow else np.int32(value)
        t += 1
    return OVERFLOW if overflows else 0


@inner
def write_counted_means(total, count, ratio, shift, lo, hi, baseline_out, i):
    """Do the same with a number of readings for each step, which may be zero."""
    gaps = np.int64(0)
    overflows = np.int64(0)
    for t in range(lo, hi):
        value = np.rint(total[0, t] / max(count[t], 1) * ratio + shift)
        gap = count[t] == 0
        overflow = not gap and abs(value) > LARGEST
        gaps += gap
        overflows += overflow
        baseline_out[i, t] = MISSING if gap or overflow else np.int32(value)
    return (GAP if gaps else 0) | (OVERFLOW if overflows else 0)
