"""Control groups, from the rule text: the mean of PODs without event, and how they are found."""

from tests.reference.metering_baseline import FEWER
from tests.reference.metering_day_distance import FARTHEST, mean_distance


def control_mean(rule, control, has_event, members, units):
    """Baseline before adjustment and status; `control[row][step]` is None where missing or excluded."""
    asked = [row for row in members if row >= 0 and not has_event[row]]
    raw = []
    for step in range(len(control[0])):
        values = [control[row][step] for row in asked if control[row][step] is not None]
        raw.append(sum(values) / len(values) * units if len(values) >= rule.min_controls else None)
    return raw, 0 if len(asked) == len(members) else FEWER


def mean_profile(history, eligible):
    """Mean of the eligible days in each quarter-hour, in whole watts; None where there is no reading."""
    profile = []
    for step in range(len(history[0])):
        values = [history[day][step] for day in eligible if history[day][step] is not None]
        profile.append(round(sum(values) / len(values)) if values else None)
    return profile


def nearest_controls(profile, control_profiles, has_event, n_members):
    """Rows of the nearest controls, the lower row first among equal ones, -1 where there are no more."""
    n_wanted = sum(value is not None for value in profile)
    distances = []
    for row, other in enumerate(control_profiles):
        pairs = [(a, b) for a, b in zip(profile, other, strict=True) if a is not None]
        distance = mean_distance(pairs, n_wanted) if n_wanted else FARTHEST
        if not has_event[row] and distance < FARTHEST:
            distances.append((distance, row))
    rows = [row for _, row in sorted(distances)][:n_members]
    return rows + [-1] * (n_members - len(rows))


def random_controls(seed, key, control_keys, has_event, n_members):
    """Rows of the controls with the least hash of seed, POD and control."""
    word, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(value):
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & word
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & word
        return value ^ (value >> 31)

    def draw(other):
        state = mix((seed + golden) & word)
        state = mix(state ^ ((key + golden) & word))
        state = mix((state + other * golden) & word)
        return mix((state + 4 * golden) & word)

    drawn = sorted((draw(other), row) for row, other in enumerate(control_keys) if not has_event[row])
    rows = [row for _, row in drawn][:n_members]
    return rows + [-1] * (n_members - len(rows))
