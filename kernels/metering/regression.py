"""Regression on degree hours: a level for each hour, plus slopes on cooling and heating degrees and on the day type.

Least squares by the sums of each hour (Frisch, Waugh 1933, doi 10.2307/1907330: slopes follow from deviations from the
hours' means). Sums within an hour are exact integers; hours are joined in float64 in order.
"""

import numpy as np

from flexcore.kernels._jit import (
    B1_2D,
    B1_2D_OUT,
    B1_3D,
    F64_2D_OUT,
    I8,
    I32_2D,
    I32_3D,
    I64,
    I64_3D,
    I64_3D_OUT,
    U8_OUT,
    i64,
    kernel,
)
from flexcore.kernels.metering.events import FEWER, MISSING, NO_BASELINE

# a term whose deviations are less than this share of their own size after the others is not told apart from them
INDISTINCT = 1e-9
_TERMS = 3  # cooling, heating, day type


@kernel(I32_3D, I32_3D, i64, i64, i64, I64_3D_OUT, B1_2D_OUT)
def degree_sums(cooling, heating, level_steps, z0, z1, sums_out, whole_out):
    """Sums of 1, C, H, CC, CH and HH, six to each hour of each day of zones z0..z1, and which days are whole.

    They are the same for all PODs of a zone that read the whole day.
    """
    n_days, n_steps = cooling.shape[1], cooling.shape[2]
    for z in range(z0, z1):
        for d in range(n_days):
            whole_out[z, d] = True
            for k in range(sums_out.shape[2]):
                sums_out[z, d, k] = 0
            for t in range(n_steps):
                hot, cold = np.int64(cooling[z, d, t]), np.int64(heating[z, d, t])
                if hot < 0:
                    whole_out[z, d] = False
                    continue
                k = 6 * (t // level_steps)
                sums_out[z, d, k] += 1
                sums_out[z, d, k + 1] += hot
                sums_out[z, d, k + 2] += cold
                sums_out[z, d, k + 3] += hot * hot
                sums_out[z, d, k + 4] += hot * cold
                sums_out[z, d, k + 5] += cold * cold


@kernel(
    I32_3D, B1_2D, B1_3D, I32_3D, I32_3D, I64_3D, B1_2D, I8, I32_2D, I32_2D, i64, I64,
    i64, i64, i64, i64, i64, F64_2D_OUT, U8_OUT, B1_2D_OUT,
)  # fmt: skip
def regression(
    history, eligible, excluded, cooling, heating, zone_sums, zone_whole, day_off, today_cooling, today_heating,
    today_off, zone, n_candidates, min_days, level_steps, i0, i1, raw_out, status_out, used_out,
):  # fmt: skip
    """Write what PODs i0..i1 have before adjustment; row 0 of `raw_out` is POD i0, NaN where an hour has no reading.

    Degrees are in hundredths, one row for each zone, negative where the temperature is missing. The latest
    `n_candidates` eligible days count that have a reading with a temperature.
    """
    n_days, n_steps = history.shape[1], history.shape[2]
    n_levels = (n_steps + level_steps - 1) // level_steps
    has_excluded = excluded.shape[0] > 0
    sums = np.empty((n_levels, 9), np.int64)
    parts = np.zeros((9, n_steps), np.int64)
    step_load = np.empty(n_steps, np.int64)
    hot_load = np.empty(n_steps, np.int64)
    cold_load = np.empty(n_steps, np.int64)
    off_load = np.empty(n_steps, np.int64)
    count = np.empty(n_levels, np.int64)
    load = np.empty(n_levels, np.int64)
    term = np.empty((_TERMS, n_levels), np.int64)
    term_load = np.empty((_TERMS, n_levels), np.int64)
    term_term = np.empty((_TERMS, _TERMS, n_levels), np.int64)
    square = np.empty((_TERMS, _TERMS), np.float64)
    right = np.empty(_TERMS, np.float64)
    size = np.empty(_TERMS, np.float64)
    slope = np.empty(_TERMS, np.float64)
    kept = np.empty(_TERMS, np.bool_)
    now = np.empty(_TERMS, np.int64)
    for i in range(i0, i1):
        z = i if eligible.shape[0] > 1 else 0
        x = i if excluded.shape[0] > 1 else 0
        at = zone[i]
        for h in range(n_levels):
            for k in range(9):
                sums[h, k] = 0
        for t in range(n_steps):
            step_load[t] = 0
            hot_load[t] = 0
            cold_load[t] = 0
            off_load[t] = 0
        # 1. exact sums: a day without gaps takes what does not depend on the load from its zone
        n_found = np.int64(0)
        n_partly = np.int64(0)
        for d in range(n_days - 1, -1, -1):
            used_out[i, d] = False
            if n_found == n_candidates or not eligible[z, d]:
                continue
            past = history[i, d]
            off = day_off[d] != 0
            hots, colds = cooling[at, d], heating[at, d]
            lowest = np.int32(0)
            for t in range(n_steps):
                lowest = min(lowest, past[t])
            gone = np.int64(0)
            if has_excluded:
                for t in range(n_steps):
                    gone += excluded[x, d, t]
            if lowest != MISSING and gone == 0 and zone_whole[at, d]:
                for t in range(n_steps):
                    value = np.int64(past[t])
                    step_load[t] += value
                    hot_load[t] += np.int64(hots[t]) * value
                    cold_load[t] += np.int64(colds[t]) * value
                if off:
                    for t in range(n_steps):
                        off_load[t] += past[t]
                for h in range(n_levels):
                    for k in range(6):
                        sums[h, k] += zone_sums[at, d, 6 * h + k]
                    if off:
                        for k in range(3):
                            sums[h, 6 + k] += zone_sums[at, d, 6 * h + k]
                n_read = np.int64(n_steps)
            else:
                # without a branch, so that the loop is one of vectors: what is not there counts with weight 0
                n_read = np.int64(0)
                for t in range(n_steps):
                    there = past[t] != MISSING and hots[t] >= 0
                    if has_excluded:
                        there = there and not excluded[x, d, t]
                    one = np.int64(1) if there else np.int64(0)
                    value = np.int64(past[t]) * one
                    hot, cold = np.int64(hots[t]) * one, np.int64(colds[t]) * one
                    n_read += one
                    step_load[t] += value
                    hot_load[t] += hot * value
                    cold_load[t] += cold * value
                    parts[0, t] += one
                    parts[1, t] += hot
                    parts[2, t] += cold
                    parts[3, t] += hot * hot
                    parts[4, t] += hot * cold
                    parts[5, t] += cold * cold
                    if off:
                        off_load[t] += value
                        parts[6, t] += one
                        parts[7, t] += hot
                        parts[8, t] += cold
                n_partly += 1
            if n_read > 0:
                used_out[i, d] = True
                n_found += 1
        if n_partly > 0:
            for k in range(9):
                for t in range(n_steps):
                    sums[t // level_steps, k] += parts[k, t]
                    parts[k, t] = 0
        status = FEWER if n_found < n_candidates else 0
        if n_found < min_days:
            status_out[i] = status | NO_BASELINE
            continue
        for h in range(n_levels):
            count[h] = sums[h, 0]
            term[0, h] = sums[h, 1]
            term[1, h] = sums[h, 2]
            term[2, h] = sums[h, 6]
            term_term[0, 0, h] = sums[h, 3]
            term_term[1, 0, h] = sums[h, 4]
            term_term[1, 1, h] = sums[h, 5]
            term_term[2, 0, h] = sums[h, 7]
            term_term[2, 1, h] = sums[h, 8]
            term_term[2, 2, h] = sums[h, 6]
            load[h] = 0
            for a in range(_TERMS):
                term_load[a, h] = 0
            for t in range(h * level_steps, min((h + 1) * level_steps, n_steps)):
                load[h] += step_load[t]
                term_load[0, h] += hot_load[t]
                term_load[1, h] += cold_load[t]
                term_load[2, h] += off_load[t]
        # 2. deviations from the hours' means: integers times the number of readings, then joined in order of the hours
        for a in range(_TERMS):
            right[a] = 0.0
            for b in range(a + 1):
                square[a, b] = 0.0
        for h in range(n_levels):
            if count[h] == 0:
                continue
            for a in range(_TERMS):
                right[a] += (count[h] * term_load[a, h] - term[a, h] * load[h]) / count[h]
                for b in range(a + 1):
                    square[a, b] += (count[h] * term_term[a, b, h] - term[a, h] * term[b, h]) / count[h]
        # 3. elimination in the order cooling, heating, day type; a term that is not told apart gets no slope
        for a in range(_TERMS):
            size[a] = square[a, a]
        for a in range(_TERMS):
            kept[a] = square[a, a] > INDISTINCT * size[a]
            if not kept[a]:
                continue
            for b in range(a + 1, _TERMS):
                factor = square[b, a] / square[a, a]
                for c in range(a + 1, b + 1):
                    square[b, c] -= factor * square[c, a]
                right[b] -= factor * right[a]
        for a in range(_TERMS - 1, -1, -1):
            slope[a] = 0.0
            if kept[a]:
                rest = right[a]
                for b in range(a + 1, _TERMS):
                    rest -= square[b, a] * slope[b]
                slope[a] = rest / square[a, a]
        # 4. today: the hour's mean, and slopes times today's deviations from the hour's mean degrees
        for t in range(n_steps):
            h = t // level_steps
            now[0] = today_cooling[at, t]
            now[1] = today_heating[at, t]
            now[2] = today_off
            value = np.nan
            if count[h] > 0 and now[0] >= 0:
                value = load[h] / count[h]
                for a in range(_TERMS):
                    value += slope[a] * (now[a] - term[a, h] / count[h])
                    if not kept[a] and now[a] * count[h] != term[a, h]:
                        status |= FEWER
            raw_out[i - i0, t] = value
        status_out[i] = status
