"""Distances by which past days, or other PODs, are compared with a load."""

from fractions import Fraction

FARTHEST = 2**62


def mean_distance(pairs, n_wanted):
    """Mean absolute difference in mW, rounded down; FARTHEST where less than half of the pairs are there."""
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not both or Fraction(len(both), n_wanted) < Fraction(1, 2):
        return FARTHEST
    return sum(abs(a - b) for a, b in both) * 1000 // len(both)


def match_day_distance(history, today, event, today_excluded, margin):
    """Distance of each past day from today; events and `margin` quarter-hours on either side are left out."""
    n_steps = len(event)
    near = {step for hit in range(n_steps) if event[hit] for step in range(hit - margin, hit + margin + 1)}
    compared = [s for s in range(n_steps) if s not in near and today[s] is not None and not today_excluded[s]]
    return [mean_distance([(past[s], today[s]) for s in compared], max(len(compared), 1)) for past in history]


def temperature_distance(past_c, today_c):
    """Difference in hundredths of a degree of each past day; FARTHEST where its temperature is missing."""
    return [FARTHEST if past is None else abs(round(past * 100) - round(today_c * 100)) for past in past_c]
