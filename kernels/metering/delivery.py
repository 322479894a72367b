"""Delivered power: baseline minus metered, with the sign of the direction."""

import numpy as np

from flexcore.kernels._jit import I8, I32_2D, I64_2D_OUT, i64, inner, kernel
from flexcore.kernels.metering.events import MISSING

MISSING_DELIVERED = np.int64(-(2**63))


@inner
def delivered_w(baseline, metered, down):
    """Return baseline - metered for up, the negative of it for down, in W."""
    change = np.int64(baseline) - np.int64(metered)
    return -change if down else change


@kernel(I32_2D, I32_2D, I8, i64, i64, i64, I64_2D_OUT)
def delivered_volume(baseline, metered, direction, clip, i0, i1, delivered_out):
    """Delivered power of rows i0..i1; `MISSING_DELIVERED` where the reading or the baseline is missing."""
    for i in range(i0, i1):
        down = direction[i] != 0
        for t in range(baseline.shape[1]):
            value = delivered_w(baseline[i, t], metered[i, t], down)
            if clip != 0 and value < 0:
                value = np.int64(0)
            if baseline[i, t] == MISSING or metered[i, t] == MISSING:
                value = MISSING_DELIVERED
            delivered_out[i, t] = value
