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
    U8_OUT,
    i64,
    kernel,
)  # fmt: skip
from flexcore.kernels.metering.events import FEWER, MISSING, NO_BASELINE

# a term whose deviations are less than this share of their own size after the others is not told apart from them
INDISTINCT = 1e-9
_TERMS = 3  # cooling, heating, day type


@kernel(
    I32_3D, B1_2D, B1_3D, I32_3D, I32_3D, I8, I32_2D, I32_2D, i64, I64,
    i64, i64, i64, i64, i64, F64_2D_OUT, U8_OUT, B1_2D_OUT,
)  # fmt: skip
def regression(
    history, eligible, excluded, cooling, heating, day_off, today_cooling, today_heating, today_off, zone,
    n_candidates, min_days, level_steps, i0, i1, raw_out, status_out, used_out,
):  # fmt: skip
    """Write what PODs i0..i1 have before adjustment; row 0 of `raw_out` is POD i0, NaN where an hour has no reading.

    Degrees are in hundredths, one row for each zone, negative where the temperature is missing. The latest
    `n_candidates` eligible days count that have a reading with a temperature.
    """
    n_days, n_steps = history.shape[1], history.shape[2]
    n_levels = (n_steps + level_steps - 1) // level_steps
    has_excluded = excluded.shape[0] > 0
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
        count[:] = 0
        load[:] = 0
        term[:] = 0
        term_load[:] = 0
        term_term[:] = 0
        # 1. exact sums of each hour
        n_found = np.int64(0)
        for d in range(n_days - 1, -1, -1):
            used_out[i, d] = False
            if n_found == n_candidates or not eligible[z, d]:
                continue
            off = np.int64(day_off[d])
            n_read = np.int64(0)
            for h in range(n_levels):
                n = np.int64(0)
                sum_l = np.int64(0)
                sum_c = np.int64(0)
                sum_h = np.int64(0)
                sum_cc = np.int64(0)
                sum_ch = np.int64(0)
                sum_hh = np.int64(0)
                sum_cl = np.int64(0)
                sum_hl = np.int64(0)
                for t in range(h * level_steps, min((h + 1) * level_steps, n_steps)):
                    value = np.int64(history[i, d, t])
                    cold, hot = np.int64(heating[at, d, t]), np.int64(cooling[at, d, t])
                    if value == MISSING or hot < 0 or (has_excluded and excluded[x, d, t]):
                        continue
                    n += 1
                    sum_l += value
                    sum_c += hot
                    sum_h += cold
                    sum_cc += hot * hot
                    sum_ch += hot * cold
                    sum_hh += cold * cold
                    sum_cl += hot * value
                    sum_hl += cold * value
                n_read += n
                count[h] += n
                load[h] += sum_l
                term[0, h] += sum_c
                term[1, h] += sum_h
                term[2, h] += off * n
                term_load[0, h] += sum_cl
                term_load[1, h] += sum_hl
                term_load[2, h] += off * sum_l
                term_term[0, 0, h] += sum_cc
                term_term[1, 0, h] += sum_ch
                term_term[1, 1, h] += sum_hh
                term_term[2, 0, h] += off * sum_c
                term_term[2, 1, h] += off * sum_h
                term_term[2, 2, h] += off * n
            if n_read > 0:
                used_out[i, d] = True
                n_found += 1
        status = FEWER if n_found < n_candidates else 0
        if n_found < min_days:
            status_out[i] = status | NO_BASELINE
            continue
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
