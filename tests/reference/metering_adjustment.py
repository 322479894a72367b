"""Same-day adjustment of any baseline, with lists and None, written from the rule text and never tuned."""

from tests.reference.metering_baseline import GAP, GUARDED, NO_BASELINE, OVERFLOW, UNADJUSTED, event_runs, to_watts


def adjusted(rule, raw, today, event, today_excluded, status):
    """Baseline and status of one POD; `raw[step]` is a number or None, `status` what the family found."""
    n_steps = len(event)
    if status & NO_BASELINE:
        return [None] * n_steps, status
    runs = event_runs(event)
    of_step = dict.fromkeys(range(n_steps), (1.0, 0.0))
    for number, run in enumerate(runs):
        if rule.adjustment == "none":
            break
        ratio, shift = 1.0, 0.0
        seen, expected, n_seen = 0, 0.0, 0
        for step in range(run[0] - rule.lead_steps - rule.window_steps, run[0] - rule.lead_steps):
            if step < 0 or today is None or event[step] or today[step] is None or today_excluded[step]:
                continue
            if raw[step] is None:
                continue
            seen += today[step]
            expected += raw[step]
            n_seen += 1
        if n_seen == 0:
            status |= UNADJUSTED
        elif rule.adjustment == "multiplicative" and expected > rule.guard_w * n_seen and seen >= 0:
            ratio = seen / expected
            ratio = max(ratio, rule.ratio_ppm[0] / 1_000_000)
            ratio = min(ratio, rule.ratio_ppm[1] / 1_000_000)
        else:
            if rule.adjustment == "multiplicative":
                status |= GUARDED
            shift = (seen - expected) / n_seen
            if rule.cap_w is not None:
                shift = min(max(shift, -float(rule.cap_w)), float(rule.cap_w))
        for step in range(0 if number == 0 else run[0], n_steps):
            of_step[step] = (ratio, shift)
    result = []
    for step in range(n_steps):
        if raw[step] is None:
            status |= GAP
            result.append(None)
            continue
        ratio, shift = of_step[step]
        result.append(to_watts(raw[step] * ratio + shift))
        if result[-1] is None:
            status |= OVERFLOW
    return result, status


def metered_where_idle(values, status, today, event):
    """Baseline and status once quarter-hours without event hold the reading itself."""
    result = [value if on else reading for value, on, reading in zip(values, event, today, strict=True)]
    if not any(event):
        status = 0
    if all(value is not None for value, on in zip(values, event, strict=True) if on):
        status &= ~(GAP | OVERFLOW)
    if any(reading is None for on, reading in zip(event, today, strict=True) if not on):
        status |= GAP
    return result, status


def usable_days(rule, choice):
    """Days of the first choice, with the widened look-back where they are too few; and whether it was needed."""
    first = {day for day, order in enumerate(choice) if order == 1}
    second = {day for day, order in enumerate(choice) if order == 2}
    if len(first) < rule.min_days and second:
        return first | second, True
    return first, False
