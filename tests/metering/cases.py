"""Random days for tests of baselines: ties, signs, gaps, events, exclusions, days of 92 to 100 quarter-hours."""

import numpy as np

from flexcore.metering import MISSING_W


def adjustment_fields(rng):
    """Fields of a rule that speak of the same-day adjustment."""
    return {
        "adjustment": ("none", "additive", "multiplicative")[rng.integers(3)],
        "window_steps": int(rng.integers(1, 14)),
        "lead_steps": int(rng.integers(0, 6)),
        "ratio_ppm": (int(rng.integers(0, 1_000_001)), int(rng.integers(1_000_000, 2_000_001))),
        "cap_w": None if rng.random() < 0.5 else int(rng.integers(0, 800)),
        "guard_w": int(rng.integers(0, 300)),
        "idle": ("baseline", "metered")[int(rng.random() < 0.2)],
    }


def random_day(rng, n_pods=4):
    """History, readings, events and exclusions; `choice` is the order of choice of days."""
    n_steps = int(rng.choice([12, 92, 96, 100]))
    n_days = int(rng.integers(1, 14))
    spread = int(rng.choice([2, 5000]))
    case = {
        "history_w": rng.integers(-spread, 2 * spread, (n_pods, n_days, n_steps)).astype(np.int32),
        "today_w": rng.integers(-spread, 2 * spread, (n_pods, n_steps)).astype(np.int32),
        "event": np.zeros((n_pods, n_steps), bool),
        "eligible": rng.choice(4, (n_pods, n_days), p=(0.1, 0.7, 0.1, 0.1)).astype(np.uint8),
        "excluded": rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0.01]),
        "today_excluded": rng.random((n_pods, n_steps)) < 0.1,
    }
    for row in case["event"]:
        for _ in range(rng.integers(0, 4)):
            start = rng.integers(n_steps)
            row[start : start + rng.integers(1, 9)] = True
    case["history_w"][rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0, 0.02, 0.3])] = MISSING_W
    if rng.random() < 0.2:
        case["history_w"][:, rng.integers(n_days)] = MISSING_W
    case["today_w"][rng.random((n_pods, n_steps)) < rng.choice([0, 0.1])] = MISSING_W
    return case


def plain(values):
    """A row with None for a missing reading."""
    return [None if value == MISSING_W else int(value) for value in values]


def past_of(case, i):
    """History of one POD with None where missing or excluded."""
    gone = case["excluded"][i]
    return [
        [None if gone[d, t] else value for t, value in enumerate(plain(past))]
        for d, past in enumerate(case["history_w"][i])
    ]
