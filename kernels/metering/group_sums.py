"""Readings of groups of PODs: sums in which one missing reading makes the quarter-hour missing."""

import numpy as np

from flexcore.kernels._jit import B1_3D, B1_3D_OUT, I32_3D, I32_3D_OUT, I64, I64_2D_OUT, i64, kernel
from flexcore.kernels.metering.events import MISSING

LARGEST_W = np.int64(2**31 - 1)


@kernel(I32_3D, I64, I64, i64, i64, I32_3D_OUT, I64_2D_OUT, I64_2D_OUT)
def sum_by_group(values, first, member, j0, j1, sum_out, missing_out, overflow_out):
    """Sum the days of groups, (group, day) pairs j0..j1 in row-major order; members of a group are rows of `values`.

    `missing_out` and `overflow_out` count quarter-hours that are missing, or that do not fit 32 bits and are missing
    for that reason.
    """
    n_days, n_steps = values.shape[1], values.shape[2]
    total = np.empty(n_steps, np.int64)
    gone = np.empty(n_steps, np.bool_)
    for j in range(j0, j1):
        g = j // n_days
        d = j % n_days
        for t in range(n_steps):
            total[t] = 0
            gone[t] = False
        for k in range(first[g], first[g + 1]):
            row = values[member[k], d]
            for t in range(n_steps):
                total[t] += row[t]
                gone[t] |= row[t] == MISSING
        n_missing = np.int64(0)
        n_overflow = np.int64(0)
        for t in range(n_steps):
            large = not gone[t] and abs(total[t]) > LARGEST_W
            n_missing += gone[t]
            n_overflow += large
            sum_out[g, d, t] = MISSING if gone[t] or large else np.int32(total[t])
        missing_out[g, d] = n_missing
        overflow_out[g, d] = n_overflow


@kernel(B1_3D, I64, I64, i64, i64, B1_3D_OUT, B1_3D_OUT)
def marks_by_group(marks, first, member, j0, j1, any_out, all_out):
    """Whether any and whether all members of a group are marked, for (group, day) pairs j0..j1 in row-major order."""
    n_days, n_steps = marks.shape[1], marks.shape[2]
    for j in range(j0, j1):
        g = j // n_days
        d = j % n_days
        for t in range(n_steps):
            any_out[g, d, t] = False
            all_out[g, d, t] = True
        for k in range(first[g], first[g + 1]):
            for t in range(n_steps):
                any_out[g, d, t] |= marks[member[k], d, t]
                all_out[g, d, t] &= marks[member[k], d, t]
