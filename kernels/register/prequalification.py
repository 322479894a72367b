"""Technical tests: delivered against required, one row per test."""

import numpy as np

from flexcore.kernels._jit import I8, I32, I64_2D, I64_OUT, U8_OUT, i64, kernel

DOWN = 1
NO_DUE_STEP, VOLUME, ACTIVATION, STEP, RAMP = 1, 2, 4, 8, 16


@kernel(I8, I64_2D, I64_2D, I64_2D, I32, I32, I32, I64_OUT, I64_OUT, U8_OUT, i64, i64)
def technical_test(
    direction,
    required,
    baseline,
    metered,
    min_pm,
    step_pm,
    ramp_pm,
    delivered_out,
    required_out,
    failed_out,
    i0,
    i1,
):
    """Sum delivered and required over the due steps (required > 0) and set one bit per requirement that is not met.

    All comparisons are in integers times 1000, so that a share of exactly 900 per mille passes.
    """
    for i in range(i0, i1):
        total = np.int64(0)
        asked = np.int64(0)
        before = np.int64(0)
        previous = False
        started = False
        failed = 0
        for t in range(required.shape[1]):
            want = required[i, t]
            if want <= 0:
                previous = False
                continue
            got = baseline[i, t] - metered[i, t]
            if direction[i] == DOWN:
                got = -got
            total += got
            asked += want
            if got * 1000 < want * step_pm[i]:
                failed |= STEP if started else ACTIVATION
            if previous and abs(got - before) * 1000 > want * ramp_pm[i]:
                failed |= RAMP
            before = got
            previous = True
            started = True
        if not started:
            failed |= NO_DUE_STEP
        if total * 1000 < asked * min_pm[i]:
            failed |= VOLUME
        delivered_out[i] = total
        required_out[i] = asked
        failed_out[i] = failed
