"""Same-day adjustment of a baseline that is not a sum of days: every family but X of Y ends here.

X of Y adjusts by exact sums of integers; here the baseline before rounding is float64, summed in order of time. Where
it is whole both give the same (tests/metering/test_adjustment.py).
"""

import numpy as np

from flexcore.kernels._jit import B1_2D, F64_2D, I32_2D, I32_2D_OUT, U8_OUT, f64, i64, kernel
from flexcore.kernels.metering.events import (
    GAP,
    GUARDED,
    LARGEST,
    MISSING,
    NO_BASELINE,
    OVERFLOW,
    UNADJUSTED,
    event_runs,
)

# adjustments
NONE, ADDITIVE, MULTIPLICATIVE = 0, 1, 2


@kernel(F64_2D, I32_2D, B1_2D, B1_2D, i64, i64, i64, i64, i64, f64, f64, i64, i64, I32_2D_OUT, U8_OUT)
def adjust(
    raw, today, event, today_excluded, adjustment, window, lead, guard_w, cap_w, ratio_lo, ratio_hi,
    i0, i1, baseline_out, status_out,
):  # fmt: skip
    """Adjust and round PODs i0..i1; row 0 of `raw` is POD i0, NaN where there is no baseline.

    `status_out` holds what the family found; a POD that has no baseline there gets none here.
    """
    n_steps = raw.shape[1]
    run_start = np.empty(n_steps, np.int64)
    run_end = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        e = i if event.shape[0] > 1 else 0
        y = i if today_excluded.shape[0] > 1 else 0
        status = np.int64(status_out[i])
        if status & NO_BASELINE:
            for t in range(n_steps):
                baseline_out[i, t] = MISSING
            continue
        n_runs = event_runs(event, e, run_start, run_end) if event.shape[0] > 0 else 0
        gaps = np.int64(0)
        overflows = np.int64(0)
        # one adjustment for each event: from its start (the first: from the start of the day) to the next
        for k in range(max(n_runs, 1)):
            ratio = 1.0
            shift = 0.0
            if adjustment != NONE and n_runs > 0:
                seen = np.int64(0)
                expected = 0.0
                n_seen = np.int64(0)
                if today.shape[0] > 0:
                    for t in range(max(run_start[k] - lead - window, 0), max(run_start[k] - lead, 0)):
                        usable = not event[e, t] and today[i, t] != MISSING and not np.isnan(raw[i - i0, t])
                        if usable and today_excluded.shape[0] > 0:
                            usable = not today_excluded[y, t]
                        if usable:
                            seen += today[i, t]
                            expected += raw[i - i0, t]
                            n_seen += 1
                if n_seen == 0:
                    status |= UNADJUSTED
                elif adjustment == MULTIPLICATIVE and expected > guard_w * n_seen and seen >= 0:
                    ratio = min(max(seen / expected, ratio_lo), ratio_hi)
                else:
                    if adjustment == MULTIPLICATIVE:
                        status |= GUARDED
                    shift = (seen - expected) / n_seen
                    if cap_w >= 0:
                        shift = min(max(shift, -np.float64(cap_w)), np.float64(cap_w))
            lo = run_start[k] if k > 0 else 0
            hi = run_start[k + 1] if k + 1 < n_runs else n_steps
            for t in range(lo, hi):
                value = np.rint(raw[i - i0, t] * ratio + shift)
                gap = np.isnan(value)
                overflow = not gap and abs(value) > LARGEST
                gaps += gap
                overflows += overflow
                baseline_out[i, t] = MISSING if gap or overflow else np.int32(value)
        status_out[i] = status | (GAP if gaps else 0) | (OVERFLOW if overflows else 0)
