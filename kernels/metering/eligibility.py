"""Which past days may serve as reference days of each POD, and in which order, one POD at a time.

Events are runs of absolute quarter-hours, listed by POD: those of POD i are ptr[i]..ptr[i + 1]. `qh` gives the absolute
quarter-hour that each past day shows at each step of the event day's clock, `NONE` where it shows none.
"""

import numpy as np

from flexcore.kernels._jit import (
    B1_2D,
    I8,
    I16_2D,
    I16_2D_OUT,
    I32_3D,
    I64,
    I64_2D,
    U8,
    U8_2D_OUT,
    U8_3D_OUT,
    U8_OUT,
    U16,
    U16_2D_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.metering.events import MISSING

NONE = np.int64(-(2**62))

# bits of a touched quarter-hour: in an event of an operator (0 local, 1 global), or in its rebound and recovery
EVENT_BIT, AFTER_BIT = np.uint8(1), np.uint8(4)
EVENTS, AFTERS = np.uint8(3), np.uint8(12)

# bits of what a day lacks; the lower four are the same for all PODs and come with `day_why`
INCOMPLETE, OUTAGE, TEST, LOCAL_EVENT, GLOBAL_EVENT, AFTER_EVENT = 16, 32, 64, 128, 256, 512

# order of choice: from FIRST_BORROWED on, event days in the order in which they are borrowed
FIRST_BORROWED, LAST_BORROWED = 3, 255


@kernel(I32_3D, i64, i64, I16_2D_OUT)
def count_readings(history, i0, i1, n_read_out):
    """Count the readings of each day of PODs i0..i1."""
    for i in range(i0, i1):
        for d in range(history.shape[1]):
            n = np.int32(0)
            for t in range(history.shape[2]):
                n += history[i, d, t] != MISSING
            n_read_out[i, d] = n


@inner
def touch(first_qh, end_qh, after_qh, operator, power, lo, hi, qh, day_lo, day_hi, marks, energy, hit):
    """Mark what events lo..hi touch in `marks`, add what they ordered to `energy`; note the days in `hit`."""
    n_days = qh.shape[0]
    for k in range(lo, hi):
        # days are in order of time: skip those that are over before the event starts
        a = 0
        b = n_days
        while a < b:
            middle = (a + b) // 2
            if day_hi[middle] <= first_qh[k]:
                a = middle + 1
            else:
                b = middle
        event_bit = EVENT_BIT << np.uint8(operator[k])
        after_bit = AFTER_BIT << np.uint8(operator[k])
        while a < n_days and day_lo[a] < after_qh[k]:
            n_ordered = np.int64(0)
            for t in range(qh.shape[1]):
                at = qh[a, t]
                if at >= first_qh[k] and at < after_qh[k]:
                    ordered = at < end_qh[k]
                    marks[a, t] |= event_bit if ordered else after_bit
                    n_ordered += ordered
            energy[a] += n_ordered * power[k]
            hit[a] = True
            a += 1


@kernel(
    I64, I64, I64, I64, I64, I8, I64, I64_2D, I64, I64, i64, i64, U8_3D_OUT,
)  # fmt: skip
def mark_touched(
    lo, hi, first_qh, end_qh, after_qh, operator, power, qh, day_lo, day_hi, i0, i1, touched_out
):  # fmt: skip
    """Mark the quarter-hours that events lo[i]..hi[i] of rows i0..i1 touch, with the bits of a touched quarter-hour."""
    energy = np.zeros(qh.shape[0], np.int64)
    hit = np.zeros(qh.shape[0], np.bool_)
    for i in range(i0, i1):
        for d in range(qh.shape[0]):
            for t in range(qh.shape[1]):
                touched_out[i, d, t] = 0
        touch(
            first_qh, end_qh, after_qh, operator, power, lo[i], hi[i], qh, day_lo, day_hi, touched_out[i], energy, hit
        )  # fmt: skip


@kernel(
    U8, U16, I64, I16_2D, B1_2D, B1_2D, B1_2D,
    I64, I64, I64, I64, I8, I64, I64_2D, I64, I64,
    i64, i64, i64, i64, U8_2D_OUT, U16_2D_OUT, U8_OUT,
)  # fmt: skip
def choose_days(
    day_choice, day_why, n_least, n_read, outage, test, needed,
    ptr, first_qh, end_qh, after_qh, operator, power, qh, day_lo, day_hi,
    n_borrow, by_energy, i0, i1, choice_out, why_out, masked_out,
):  # fmt: skip
    """Order of choice of each past day for PODs i0..i1, what each day lacks, and whether a chosen day is touched.

    `day_choice` is what the calendar alone says: 0 never, 1 within the look-back, 2 within the widened one. `n_read`,
    `outage`, `test` and `needed` have one row for each POD, one for all, or none; `ptr` has none without events.
    """
    n_days = qh.shape[0]
    n_steps = qh.shape[1]
    marks = np.zeros((n_days, n_steps), np.uint8)
    energy = np.zeros(n_days, np.int64)
    hit = np.zeros(n_days, np.bool_)
    impact = np.empty(n_days, np.int64)
    borrowed = np.empty(n_days, np.int64)
    for i in range(i0, i1):
        r = i if n_read.shape[0] > 1 else 0
        o = i if outage.shape[0] > 1 else 0
        s = i if test.shape[0] > 1 else 0
        e = i if needed.shape[0] > 1 else 0
        lo = np.int64(0)
        hi = np.int64(0)
        if ptr.size > 0:
            lo = ptr[i]
            hi = ptr[i + 1]
        if hi > lo:
            touch(first_qh, end_qh, after_qh, operator, power, lo, hi, qh, day_lo, day_hi, marks, energy, hit)
        masked = False
        n_borrowed = 0
        for d in range(n_days):
            why = np.int64(day_why[d])
            choice = np.int64(day_choice[d])
            lacks = np.int64(0)
            if n_read.shape[0] > 0 and n_read[r, d] < n_least[d]:
                lacks |= INCOMPLETE
            if outage.shape[0] > 0 and outage[o, d]:
                lacks |= OUTAGE
            if test.shape[0] > 0 and test[s, d]:
                lacks |= TEST
            n_touched = np.int64(0)
            seen = np.uint8(0)
            points = np.int64(0)
            if hit[d]:
                for t in range(n_steps):
                    n_touched += marks[d, t] != 0
                    if needed.shape[0] == 0 or needed[e, t]:
                        seen |= marks[d, t]
                    marks[d, t] = 0
                points = energy[d] if by_energy != 0 else n_touched
                energy[d] = 0
                hit[d] = False
            if seen & np.uint8(1):
                why |= LOCAL_EVENT
            if seen & np.uint8(2):
                why |= GLOBAL_EVENT
            if seen & AFTERS:
                why |= AFTER_EVENT
            if lacks != 0:
                choice = 0
            elif seen != 0:
                if choice != 0:
                    # lowest impact first; equal impact: the most recent, which comes last in this loop
                    place = n_borrowed
                    while place > 0 and impact[place - 1] >= points:
                        impact[place] = impact[place - 1]
                        borrowed[place] = borrowed[place - 1]
                        place -= 1
                    impact[place] = points
                    borrowed[place] = d
                    n_borrowed += 1
                choice = 0
            elif choice != 0 and n_touched > 0:
                masked = True
            choice_out[i, d] = choice
            why_out[i, d] = why | lacks
        for k in range(min(n_borrowed, n_borrow, LAST_BORROWED - FIRST_BORROWED + 1)):
            choice_out[i, borrowed[k]] = FIRST_BORROWED + k
        masked_out[i] = masked
