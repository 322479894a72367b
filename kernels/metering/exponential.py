"""Exponential rolling baseline: each eligible day moves the baseline of each quarter-hour a little towards itself."""

import numpy as np

from flexcore.kernels._jit import B1_2D, B1_2D_OUT, B1_3D, F64_2D_OUT, I32_3D, U8_OUT, i64, kernel
from flexcore.kernels.metering.events import FEWER, MISSING, NO_BASELINE


@kernel(I32_3D, B1_2D, B1_3D, i64, i64, i64, i64, i64, F64_2D_OUT, U8_OUT, B1_2D_OUT)
def exponential(history, eligible, excluded, start_days, min_days, weight_ppm, i0, i1, raw_out, status_out, used_out):
    """Write what PODs i0..i1 have before adjustment; row 0 of `raw_out` is POD i0, NaN where nothing was ever read.

    The first `start_days` usable days give the mean that the recursion starts with. A quarter-hour that none of them
    has starts with its first reading; a missing reading keeps the value.
    """
    n_days, n_steps = history.shape[1], history.shape[2]
    has_excluded = excluded.shape[0] > 0
    weight = weight_ppm / 1_000_000
    keep = (1_000_000 - weight_ppm) / 1_000_000
    total = np.empty(n_steps, np.int64)
    count = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        z = i if eligible.shape[0] > 1 else 0
        x = i if excluded.shape[0] > 1 else 0
        raw = raw_out[i - i0]
        for t in range(n_steps):
            total[t] = 0
            count[t] = 0
        n_usable = np.int64(0)
        for d in range(n_days):
            used_out[i, d] = False
            if not eligible[z, d]:
                continue
            past = history[i, d]
            n_read = np.int64(0)
            for t in range(n_steps):
                n_read += past[t] != MISSING and not (has_excluded and excluded[x, d, t])
            if n_read == 0:
                continue
            used_out[i, d] = True
            n_usable += 1
            if n_usable <= start_days:
                for t in range(n_steps):
                    if past[t] != MISSING and not (has_excluded and excluded[x, d, t]):
                        total[t] += past[t]
                        count[t] += 1
                if n_usable == start_days:
                    for t in range(n_steps):
                        raw[t] = total[t] / count[t] if count[t] > 0 else np.nan
            elif n_read == n_steps:
                for t in range(n_steps):
                    moved = raw[t] * keep + weight * past[t]
                    raw[t] = np.float64(past[t]) if np.isnan(raw[t]) else moved
            else:
                for t in range(n_steps):
                    if past[t] != MISSING and not (has_excluded and excluded[x, d, t]):
                        moved = raw[t] * keep + weight * past[t]
                        raw[t] = np.float64(past[t]) if np.isnan(raw[t]) else moved
        status = 0
        if n_usable < start_days:
            status |= FEWER
            for t in range(n_steps):
                raw[t] = total[t] / count[t] if count[t] > 0 else np.nan
        status_out[i] = status | (NO_BASELINE if n_usable < min_days else 0)
