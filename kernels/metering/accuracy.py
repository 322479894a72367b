"""Sums from which every measure of a baseline's error is made: whole numbers, exact in any order."""

import numpy as np

from flexcore.kernels._jit import B1_2D, I32_2D, I64_2D_OUT, i64, kernel
from flexcore.kernels.metering.events import MISSING

LOW_WORD = np.uint64(2**32 - 1)

# columns: quarter-hours with both numbers, those without, and over the former the sums of e, |e|, L, |L|, and of e^2
# and L^2 in two words each
N, UNKNOWN, ERROR, ABS_ERROR, LOAD, ABS_LOAD = 0, 1, 2, 3, 4, 5
SQUARE_LOW, SQUARE_HIGH, LOAD_SQUARE_LOW, LOAD_SQUARE_HIGH = 6, 7, 8, 9


@kernel(I32_2D, I32_2D, B1_2D, i64, i64, I64_2D_OUT)
def error_sums(baseline, metered, event, i0, i1, sums_out):
    """Sums over the event quarter-hours of rows i0..i1; `event` has one row for each row or one for all.

    An error has up to 33 bits, its square 64: the halves of a square are added up apart, so that no sum overflows.
    """
    for i in range(i0, i1):
        k = i if event.shape[0] > 1 else 0
        n = np.int64(0)
        unknown = np.int64(0)
        error = np.int64(0)
        abs_error = np.int64(0)
        load = np.int64(0)
        abs_load = np.int64(0)
        low = np.int64(0)
        high = np.int64(0)
        load_low = np.int64(0)
        load_high = np.int64(0)
        for t in range(baseline.shape[1]):
            if not event[k, t]:
                continue
            if baseline[i, t] == MISSING or metered[i, t] == MISSING:
                unknown += 1
                continue
            value = np.int64(metered[i, t])
            e = np.int64(baseline[i, t]) - value
            square = np.uint64(abs(e)) * np.uint64(abs(e))
            n += 1
            error += e
            abs_error += abs(e)
            load += value
            abs_load += abs(value)
            low += np.int64(square & LOW_WORD)
            high += np.int64(square >> np.uint64(32))
            square = np.uint64(abs(value)) * np.uint64(abs(value))
            load_low += np.int64(square & LOW_WORD)
            load_high += np.int64(square >> np.uint64(32))
        sums_out[i, N] = n
        sums_out[i, UNKNOWN] = unknown
        sums_out[i, ERROR] = error
        sums_out[i, ABS_ERROR] = abs_error
        sums_out[i, LOAD] = load
        sums_out[i, ABS_LOAD] = abs_load
        sums_out[i, SQUARE_LOW] = low
        sums_out[i, SQUARE_HIGH] = high
        sums_out[i, LOAD_SQUARE_LOW] = load_low
        sums_out[i, LOAD_SQUARE_HIGH] = load_high
