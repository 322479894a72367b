"""Median of selected days, from the rule text."""

import statistics


def median_of_days(history, used):
    """Baseline before adjustment; `history[day][step]` is None where missing or excluded."""
    raw = []
    for step in range(len(history[0])):
        values = [history[day][step] for day in used if history[day][step] is not None]
        raw.append(statistics.median(values) if values else None)
    return raw
