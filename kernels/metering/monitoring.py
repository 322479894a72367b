"""Monitoring: one pass over the PODs of a quarter-hour, counters and flags per POD, exact sums per group.

A group is one aggregate and direction, at position 2 * aggregate + direction. Sums are integers, so the order of the
PODs changes nothing.
"""

import numpy as np

from flexcore.kernels._jit import B1, I8, I32, I32_OUT, I64_2D_OUT, U8, U8_OUT, i64, kernel
from flexcore.kernels.metering.delivery import MISSING, delivered_w

# flags
SHORT, OVER, WRONG_WAY, NO_READING, STALE, NOT_ANSWERING, RECOVERED, LATE = 1, 2, 4, 8, 16, 32, 64, 128
# columns of the sums: W, W, number, number, W, number, number
ORDERED, DELIVERED, N_ORDERED, N_MISSING, MISSING_POWER, N_SHORT, N_SILENT = 0, 1, 2, 3, 4, 5, 6
ONE = np.int64(1_000_000)
LAST = 255


@kernel(
    I32, I32, I32, I32, I8, B1, U8, U8, U8, I32, i64, i64, i64, i64, i64, i64, i64,
    U8_OUT, U8_OUT, U8_OUT, I32_OUT, U8_OUT, I64_2D_OUT,
)  # fmt: skip
def monitor(
    ordered, baseline, metered, aggregate, direction, late, stale, silent, bad, group,
    short_ppm, over_ppm, margin_w, answer_ppm, silent_after, stale_after, clip,
    stale_out, silent_out, bad_out, group_out, flags_out, sums_out,
):  # fmt: skip
    """Step every POD by one quarter-hour; `late` has one entry for each POD or none, `sums_out` arrives as zeros."""
    has_late = late.size > 0
    for i in range(ordered.size):
        flags = 0
        read = metered[i] != MISSING
        # counters stop at the last value that a byte holds
        age = 0 if read else min(np.int64(stale[i]) + 1, LAST)
        if age >= stale_after:
            flags |= STALE
        if has_late and late[i]:
            flags |= LATE
        power = np.int64(ordered[i])
        mute = np.int64(0)
        wrong = np.int64(0)
        now = np.int32(-1)
        if power > 0:
            now = np.int32(2 * aggregate[i] + direction[i])
            # an order in another direction, or for another aggregate, is another event
            if group[i] == now:
                mute = np.int64(silent[i])
                wrong = np.int64(bad[i])
            sums_out[now, ORDERED] += power
            sums_out[now, N_ORDERED] += 1
            if not read or baseline[i] == MISSING:
                flags |= NO_READING
                mute = min(mute + 1, LAST)
                wrong = min(wrong + 1, LAST)
                sums_out[now, N_MISSING] += 1
                sums_out[now, MISSING_POWER] += power
            else:
                value = delivered_w(baseline[i], metered[i], direction[i] != 0)
                if value > 0 or clip == 0:
                    sums_out[now, DELIVERED] += value
                if value * ONE < power * short_ppm and power - value > margin_w:
                    flags |= SHORT
                    sums_out[now, N_SHORT] += 1
                if value * ONE > power * over_ppm and value - power > margin_w:
                    flags |= OVER
                if value < -margin_w:
                    flags |= WRONG_WAY
                mute = min(mute + 1, LAST) if value * ONE < power * answer_ppm else 0
                if flags & (SHORT | WRONG_WAY):
                    wrong = min(wrong + 1, LAST)
                else:
                    if wrong > 0:
                        flags |= RECOVERED
                    wrong = np.int64(0)
            if mute >= silent_after:
                flags |= NOT_ANSWERING
                sums_out[now, N_SILENT] += 1
        stale_out[i] = np.uint8(age)
        silent_out[i] = np.uint8(mute)
        bad_out[i] = np.uint8(wrong)
        group_out[i] = now
        flags_out[i] = np.uint8(flags)
