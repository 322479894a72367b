"""Monitoring: one pass over the PODs of a quarter-hour, counters and flags per POD, exact sums per group.

A group is one aggregate and direction, at position 2 * aggregate + direction. Sums are integers, so the order of the
PODs changes nothing.
"""

import numpy as np

from flexcore.kernels._jit import B1, I8, I32, I32_OUT, I64_2D_OUT, U8, U8_OUT, i64, kernel
from flexcore.kernels.metering.delivery import delivered_w
from flexcore.kernels.metering.events import MISSING

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
        power = np.int64(ordered[i])
        known = (metered[i] != MISSING) & (baseline[i] != MISSING)
        # counters stop at the last value that a byte holds
        age = min(np.int64(stale[i]) + 1, LAST) * (metered[i] == MISSING)
        flags = STALE * (age >= stale_after)
        if has_late:
            flags |= LATE * late[i]
        mute = np.int64(0)
        wrong = np.int64(0)
        now = np.int32(-1)
        if power > 0:
            # what follows has no branches: deviations are random, and a branch that is guessed wrong costs more
            now = np.int32(2 * aggregate[i] + direction[i])
            # an order in another direction, or for another aggregate, is another event
            same = group[i] == now
            value = delivered_w(baseline[i], metered[i], direction[i] != 0) * known
            short = known & (value * ONE < power * short_ppm) & (power - value > margin_w)
            over = known & (value * ONE > power * over_ppm) & (value - power > margin_w)
            away = known & (value < -margin_w)
            unanswered = value * ONE < power * answer_ppm
            unanswered |= not known
            deviates = short | away | (not known)
            mute = min(np.int64(silent[i]) * same + 1, LAST) * unanswered
            wrong = np.int64(bad[i]) * same
            back = (wrong > 0) & (not deviates)
            wrong = min(wrong + 1, LAST) * deviates
            gone = mute >= silent_after
            flags |= SHORT * short | OVER * over | WRONG_WAY * away | NO_READING * (not known)
            flags |= NOT_ANSWERING * gone | RECOVERED * back
            sums_out[now, ORDERED] += power
            sums_out[now, DELIVERED] += max(value, 0) if clip != 0 else value
            sums_out[now, N_ORDERED] += 1
            sums_out[now, N_MISSING] += not known
            sums_out[now, MISSING_POWER] += power * (not known)
            sums_out[now, N_SHORT] += short
            sums_out[now, N_SILENT] += gone
        stale_out[i] = np.uint8(age)
        silent_out[i] = np.uint8(mute)
        bad_out[i] = np.uint8(wrong)
        group_out[i] = now
        flags_out[i] = np.uint8(flags)
