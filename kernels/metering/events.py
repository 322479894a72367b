"""What every family of baselines shares: status bits, runs of event quarter-hours, and the one rounding."""

import numpy as np

from flexcore.kernels._jit import inner

MISSING = np.int32(-(2**31))
LARGEST = 2.0**31 - 1.0

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
def write_steps(total, count, ratio, shift, lo, hi, baseline_out, i):
    """Round steps lo..hi of one POD; return the status bits that came up."""
    gaps = np.int64(0)
    overflows = np.int64(0)
    for t in range(lo, hi):
        value = np.rint(total[t] / max(count[t], 1) * ratio + shift)
        gap = count[t] == 0
        overflow = not gap and abs(value) > LARGEST
        gaps += gap
        overflows += overflow
        baseline_out[i, t] = MISSING if gap or overflow else np.int32(value)
    return (GAP if gaps else 0) | (OVERFLOW if overflows else 0)
