"""How far past days, or other PODs, are from a load: mean absolute differences, in whole milliwatts."""

import numpy as np

from flexcore.kernels._jit import B1_2D, B1_3D, I32_2D, I32_3D, I64_2D_OUT, i64, inner, kernel
from flexcore.kernels.metering.events import MISSING

# stands for "cannot be compared"
FARTHEST = np.int64(2**62)


@inner
def mean_distance(total, n_compared, n_wanted):
    """Mean of absolute differences in mW, rounded down; too far to choose where less than half can be compared."""
    if n_compared == 0 or 2 * n_compared < n_wanted:
        return FARTHEST
    return total * 1000 // n_compared


@kernel(I32_3D, I32_2D, B1_2D, B1_3D, B1_2D, i64, i64, i64, I64_2D_OUT)
def match_day_distance(history, today, event, excluded, today_excluded, margin, i0, i1, distance_out):
    """Distance of each past day of PODs i0..i1 from today, outside events and `margin` quarter-hours around them."""
    n_days, n_steps = history.shape[1], history.shape[2]
    has_excluded = excluded.shape[0] > 0
    compared = np.empty(n_steps, np.bool_)
    for i in range(i0, i1):
        e = i if event.shape[0] > 1 else 0
        x = i if excluded.shape[0] > 1 else 0
        y = i if today_excluded.shape[0] > 1 else 0
        for t in range(n_steps):
            compared[t] = today[i, t] != MISSING and not (today_excluded.shape[0] > 0 and today_excluded[y, t])
        if event.shape[0] > 0:
            for t in range(n_steps):
                if event[e, t]:
                    for s in range(max(t - margin, 0), min(t + margin + 1, n_steps)):
                        compared[s] = False
        n_wanted = np.int64(0)
        for t in range(n_steps):
            n_wanted += compared[t]
        for d in range(n_days):
            total = np.int64(0)
            n = np.int64(0)
            for t in range(n_steps):
                both = compared[t] and history[i, d, t] != MISSING and not (has_excluded and excluded[x, d, t])
                difference = abs(np.int64(history[i, d, t]) - np.int64(today[i, t]))
                total += difference if both else 0
                n += both
            distance_out[i, d] = mean_distance(total, n, n_wanted)
