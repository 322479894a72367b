"""Median of selected reference days, each quarter-hour for itself."""

import numpy as np

from flexcore.kernels._jit import B1_2D, B1_3D, F64_2D_OUT, I32_3D, U8_2D, i64, kernel
from flexcore.kernels.metering.events import MISSING
from flexcore.kernels.metering.x_of_y import BORROW


@kernel(I32_3D, B1_2D, U8_2D, B1_3D, i64, i64, F64_2D_OUT)
def median_of_days(history, used, eligible, excluded, i0, i1, raw_out):
    """Write what PODs i0..i1 have before adjustment; row 0 of `raw_out` is POD i0, NaN where no used day was read.

    An even number of readings gives the mean of the middle two. `eligible` is the order of choice.
    """
    n_days, n_steps = history.shape[1], history.shape[2]
    has_excluded = excluded.shape[0] > 0
    ordered = np.empty(n_days, np.int64)
    for i in range(i0, i1):
        x = i if excluded.shape[0] > 1 else 0
        z = i if eligible.shape[0] > 1 else 0
        for t in range(n_steps):
            n = 0
            for d in range(n_days):
                value = history[i, d, t]
                if not used[i, d] or value == MISSING:
                    continue
                if has_excluded and excluded[x, d, t] and eligible[z, d] < BORROW:
                    continue
                # insertion: a rule has some ten days
                place = n
                while place > 0 and ordered[place - 1] > value:
                    ordered[place] = ordered[place - 1]
                    place -= 1
                ordered[place] = value
                n += 1
            middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if n > 0 else np.nan
            raw_out[i - i0, t] = middle
