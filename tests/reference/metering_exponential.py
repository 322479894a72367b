"""Exponential rolling baseline of one POD, from the rule text: B_d = (1 - w) B_(d-1) + w L_d."""

from tests.reference.metering_baseline import FEWER, NO_BASELINE


def exponential(rule, history, eligible):
    """Baseline before adjustment, status and used days; `history[day][step]` is None where missing or excluded."""
    n_steps = len(history[0])
    usable = [day for day in range(len(history)) if day in eligible and any(v is not None for v in history[day])]
    weight = rule.weight_ppm / 1_000_000
    keep = (1_000_000 - rule.weight_ppm) / 1_000_000
    raw = []
    for step in range(n_steps):
        start = [history[day][step] for day in usable[: rule.n_candidates] if history[day][step] is not None]
        value = sum(start) / len(start) if start else None
        for day in usable[rule.n_candidates :]:
            reading = history[day][step]
            if reading is None:
                continue
            value = float(reading) if value is None else value * keep + weight * reading
        raw.append(value)
    status = FEWER if len(usable) < rule.n_candidates else 0
    if len(usable) < rule.min_days:
        status |= NO_BASELINE
    return raw, status, set(usable)
