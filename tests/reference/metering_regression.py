"""Regression on degree hours of one POD, in exact fractions with one unknown for each hour and term."""

from fractions import Fraction

from tests.reference.metering_baseline import FEWER, NO_BASELINE


def solve(matrix, right):
    """Least squares by the normal equations; unknowns that follow from earlier ones are None (and count as zero)."""
    size = len(right)
    rows = [[Fraction(value) for value in matrix[a]] + [Fraction(right[a])] for a in range(size)]
    done = []
    for a in range(size):
        if rows[a][a] == 0:
            continue
        done.append(a)
        for b in range(size):
            if b != a and rows[b][a] != 0:
                factor = rows[b][a] / rows[a][a]
                rows[b] = [x - factor * y if y else x for x, y in zip(rows[b], rows[a], strict=True)]
    return [rows[a][size] / rows[a][a] if a in done else None for a in range(size)]


def degrees(rule, hundredths):
    """Cooling and heating degrees of a temperature, None where it is missing."""
    if hundredths is None:
        return None
    return max(hundredths - rule.cooling_above_c100, 0), max(rule.heating_below_c100 - hundredths, 0)


def regression(rule, history, eligible, temperature, day_off, today_temperature, today_off):
    """Baseline before adjustment (Fractions), status and used days.

    `temperature[day][step]` is in whole hundredths of a degree, None where missing.
    """
    n_steps = len(today_temperature)
    readings, used = [], []
    for day in sorted(eligible, reverse=True):
        here = []
        for step in range(n_steps):
            degree = degrees(rule, temperature[day][step])
            if history[day][step] is not None and degree is not None:
                here.append((step // rule.level_steps, (*degree, int(day_off[day])), history[day][step]))
        if here and len(used) < rule.n_candidates:
            used.append(day)
            readings += here
    status = FEWER if len(used) < rule.n_candidates else 0
    if len(used) < rule.min_days:
        return [None] * n_steps, status | NO_BASELINE, set(used)

    hours = sorted({hour for hour, _, _ in readings})
    rows = [[int(hour == h) for h in hours] + list(terms) for hour, terms, _ in readings]
    size = len(hours) + 3
    matrix = [[0] * size for _ in range(size)]
    right = [0] * size
    for row, (_, _, load) in zip(rows, readings, strict=True):
        filled = [(a, value) for a, value in enumerate(row) if value]
        for a, va in filled:
            right[a] += va * load
            for b, vb in filled:
                matrix[a][b] += va * vb
    found = solve(matrix, right)
    level = dict(zip(hours, found, strict=False))
    slopes = found[len(hours) :]

    raw = []
    for step in range(n_steps):
        hour, degree = step // rule.level_steps, degrees(rule, today_temperature[step])
        if hour not in level or degree is None:
            raw.append(None)
            continue
        value = level[hour]
        for term, (now, slope) in enumerate(zip((*degree, int(today_off)), slopes, strict=True)):
            of_hour = [terms[term] for h, terms, _ in readings if h == hour]
            if slope is not None:
                value += slope * now
            elif now * len(of_hour) != sum(of_hour):
                status |= FEWER
        raw.append(value)
    return raw, status, set(used)
