"""Settlement: the correction of a programme by what was accepted and delivered."""

import numpy as np

from flexcore.kernels._jit import I8, I64, I64_2D, I64_2D_OUT, i64, kernel
from flexcore.kernels.metering.delivery import MISSING_DELIVERED


@kernel(I64_2D, I64_2D, I8, I64, I64, i64, i64, i64, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT)
def correct_programme(
    accepted, delivered, direction, ptr, rows, threshold, k0, k1, accepted_out, delivered_out, correction_out,
    missing_out,
):  # fmt: skip
    """Net the rows of units k0..k1, listed in `rows[ptr[k]:ptr[k + 1]]`, and correct their programmes.

    Accepted and delivered power are positive upward, the correction is positive for more withdrawal. What is delivered
    counts where the row has an accepted volume. A unit is corrected where its net accepted power is above `threshold`.
    """
    for k in range(k0, k1):
        for t in range(accepted_out.shape[1]):
            accepted_out[k, t] = 0
            delivered_out[k, t] = 0
            missing_out[k, t] = 0
        for j in range(ptr[k], ptr[k + 1]):
            i = rows[j]
            sign = -1 if direction[i] != 0 else 1
            for t in range(accepted_out.shape[1]):
                if accepted[i, t] == 0:
                    continue
                accepted_out[k, t] += sign * accepted[i, t]
                if delivered[i, t] == MISSING_DELIVERED:
                    missing_out[k, t] += 1
                else:
                    delivered_out[k, t] += sign * delivered[i, t]
        for t in range(accepted_out.shape[1]):
            net = accepted_out[k, t]
            done = delivered_out[k, t]
            correction = np.int64(0)
            if abs(net) > threshold:
                correction = -max(min(net, done), np.int64(0)) if net > 0 else max(min(-net, -done), np.int64(0))
            correction_out[k, t] = correction
