"""Baselines with loops, dictionaries and None for a missing reading, written from the rule text and never tuned."""

import math
from fractions import Fraction

from tests.reference.metering_day_distance import FARTHEST

FEWER, NO_BASELINE, UNADJUSTED, GUARDED, GAP, OVERFLOW, WIDENED, BORROWED = 1, 2, 4, 8, 16, 32, 64, 128


def event_runs(event):
    """Lists of neighbouring event quarter-hours."""
    runs = []
    for step, on in enumerate(event):
        if on and step > 0 and event[step - 1]:
            runs[-1].append(step)
        elif on:
            runs.append([step])
    return runs


def to_watts(value):
    """Half-even rounding, None where 32 bits are too few."""
    rounded = round(value)
    return rounded if abs(rounded) <= 2**31 - 1 else None


def x_of_y(rule, history, today, event, choice, today_excluded, excluded=None, day_score=None):
    """Baseline, status and used days of one POD; `history[day][step]` is None where missing.

    `choice[day]` is False or 0 for never, True or 1 for first choice, then 2, 3, ...; `excluded[day][step]` counts as
    missing on days of choice 1 and 2.
    """
    n_steps = len(event)
    if excluded is not None:
        history = [
            [None if choice[day] < 3 and excluded[day][step] else value for step, value in enumerate(past)]
            for day, past in enumerate(history)
        ]
    runs = event_runs(event)
    event_steps = [step for run in runs for step in run]
    windows = []
    for run in runs:
        span = range(max(run[0] - rule.lead_steps - rule.window_steps, 0), max(run[0] - rule.lead_steps, 0))
        adjusted = rule.adjustment != "none" and today is not None
        window = (
            [s for s in span if not event[s] and today[s] is not None and not today_excluded[s]] if adjusted else []
        )
        windows.append(window)
    needed = set(event_steps) | {step for window in windows for step in window}

    # every day that could serve, in the order in which they are asked: by choice, then the latest first
    waiting = []
    for day in sorted(range(len(history)), key=lambda day: (choice[day], -day)):
        if rule.score == "given" and day_score[day] == FARTHEST:
            continue
        if not choice[day] or any(history[day][step] is None for step in needed):
            continue
        scored = event_steps if rule.score == "event" and runs else range(n_steps)
        values = [history[day][step] for step in scored if history[day][step] is not None]
        if not any(value is not None for value in history[day]):
            continue
        score = day_score[day] if rule.score == "given" else Fraction(sum(values), len(values))
        waiting.append({"day": day, "score": score, "use": sum(history[day][step] for step in event_steps)})
    candidates = []

    def take():
        while waiting and len(candidates) < rule.n_candidates:
            # given scores compare all days of a look-back: other days serve only where fewer than X of it can
            enough = rule.score == "given" and len(candidates) >= rule.n_selected
            if enough and choice[waiting[0]["day"]] > 1:
                break
            candidates.append(waiting.pop(0))

    take()
    while rule.low_use_ppm is not None and candidates:
        # of equal ones the one that was asked last
        least = min(reversed(candidates), key=lambda candidate: candidate["use"])
        mean = Fraction(sum(candidate["use"] for candidate in candidates), len(candidates))
        if mean <= 0 or least["use"] >= mean * rule.low_use_ppm / 1_000_000:
            break
        candidates.remove(least)
        take()

    asked_for = rule.n_selected if rule.score == "given" else rule.n_candidates
    status = FEWER if len(candidates) < asked_for else 0
    if any(choice[candidate["day"]] == 2 for candidate in candidates):
        status |= WIDENED
    if any(choice[candidate["day"]] >= 3 for candidate in candidates):
        status |= BORROWED
    if len(candidates) < rule.min_days:
        return [None] * n_steps, status | NO_BASELINE, set()
    n_taken = len(candidates) if rule.method == "all" else min(rule.n_selected, len(candidates))
    # Python's sort is stable: equal scores stay in the order in which the days were asked
    if rule.method == "high":
        ranked = sorted(candidates, key=lambda c: -c["score"])[:n_taken]
    elif rule.method == "low":
        ranked = sorted(candidates, key=lambda c: c["score"])[:n_taken]
    elif rule.method == "mid":
        dropped = len(candidates) - n_taken
        above = dropped - dropped // 2
        ranked = sorted(candidates, key=lambda c: -c["score"])[above : above + n_taken]
    else:
        ranked = candidates
    used = {candidate["day"] for candidate in ranked}

    sums, counts = {}, {}
    for step in range(n_steps):
        values = [history[day][step] for day in used if history[day][step] is not None]
        sums[step], counts[step] = sum(values), len(values)

    adjustments = dict.fromkeys(range(n_steps), (1.0, 0.0))
    for number, (run, window) in enumerate(zip(runs, windows, strict=True)):
        ratio, shift = 1.0, 0.0
        if rule.adjustment != "none":
            if not window:
                status |= UNADJUSTED
            else:
                seen = sum(today[step] for step in window)
                expected = sum(sums[step] for step in window)
                sound = expected > rule.guard_w * n_taken * len(window) and seen >= 0
                if rule.adjustment == "multiplicative" and sound:
                    ratio = seen * n_taken / expected
                    ratio = max(ratio, rule.ratio_ppm[0] / 1_000_000)
                    ratio = min(ratio, rule.ratio_ppm[1] / 1_000_000)
                else:
                    if rule.adjustment == "multiplicative":
                        status |= GUARDED
                    shift = (seen * n_taken - expected) / (n_taken * len(window))
                    if rule.cap_w is not None:
                        shift = min(max(shift, -float(rule.cap_w)), float(rule.cap_w))
        for step in range(0 if number == 0 else run[0], n_steps):
            adjustments[step] = (ratio, shift)

    result = []
    for step in range(n_steps):
        ratio, shift = adjustments[step]
        if counts[step] == 0:
            status |= GAP
            result.append(None)
            continue
        result.append(to_watts(sums[step] / counts[step] * ratio + shift))
        if result[-1] is None:
            status |= OVERFLOW
    return result, status, used


def around_event(rule, today, event, today_excluded):
    """Meter-before-meter-after of one POD: baseline and status."""
    n_steps = len(event)
    result = list(today)
    status = GAP if None in today else 0

    def usable(lo, hi):
        inside = range(max(lo, 0), min(hi, n_steps))
        return [today[t] for t in inside if today[t] is not None and not event[t] and not today_excluded[t]]

    for run in event_runs(event):
        end = run[0] - rule.before_gap
        begin = run[-1] + 1 + rule.after_gap
        before = usable(end - rule.before_steps, end)
        after = usable(begin, begin + rule.after_steps) if rule.join != "before" else []
        sides = [side for side in (before, after) if side]
        if rule.join != "before" and len(sides) < 2:
            status |= FEWER
        if not sides:
            value = None
            status |= NO_BASELINE
        elif rule.join in ("least", "largest") and len(sides) == 2:
            means = [sum(side) / len(side) for side in sides]
            value = round(min(means) if rule.join == "least" else max(means))
        else:
            pooled = before + after
            value = round(sum(pooled) / len(pooled))
        for step in run:
            result[step] = value
    return result, status


def simulated(
    load, ordered, key, seed, first_qh, *, response, non_delivery, partial, partial_least, noise, rebound, least=None
):
    """Simulated readings of one POD in Python's own integers; `rebound` is (share, delay, steps).

    `least` is the lowest reading that orders and rebound may lead to.
    """
    word = 2**64 - 1
    golden = 0x9E3779B97F4A7C15

    def mix(value):
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & word
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & word
        return value ^ (value >> 31)

    def draw(quarter_hour, purpose):
        state = mix((seed + golden) & word)
        state = mix(state ^ ((key + golden) & word))
        state = mix((state + quarter_hour * golden) & word)
        return mix((state + purpose * golden) & word)

    def uniform(bits):
        return (bits >> 11) / 2**53

    def bell(bits):
        total = sum((bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
        return (total - 131070.0) / (4.0 * (65536.0 * 65536.0 - 1.0) / 12.0) ** 0.5

    n_steps = len(load)
    runs = []
    for step in range(n_steps):
        sign = (ordered[step] > 0) - (ordered[step] < 0)
        if sign and runs and runs[-1]["end"] == step and runs[-1]["sign"] == sign:
            runs[-1]["end"] = step + 1
        elif sign:
            runs.append({"begin": step, "end": step + 1, "sign": sign})
    delivered = [0.0] * n_steps
    share, delay, length = rebound
    carried, result = 0.0, []
    for step in range(n_steps):
        for run in runs:
            if run["begin"] == step:
                run["factor"] = response
                if response is None:
                    chance = uniform(draw(first_qh + step, 1))
                    run["factor"] = 1.0
                    if chance < non_delivery:
                        run["factor"] = 0.0
                    elif chance < non_delivery + partial:
                        run["factor"] = partial_least + (1.0 - partial_least) * uniform(draw(first_qh + step, 2))
        # what earlier runs still owe: all that has fallen due until now, less what was given back before
        due = carried
        for run in runs:
            if run["end"] + delay <= step < run["end"] + delay + length:
                due += sum(delivered[run["begin"] : run["end"]]) * share / length
        lowest = -math.inf if least is None else min(load[step], least)
        for run in runs:
            if run["begin"] <= step < run["end"]:
                wanted = ordered[step] * run["factor"] * (1.0 + noise * bell(draw(first_qh + step, 3)))
                delivered[step] = min(wanted, load[step] + max(due, 0.0) - lowest)
        wished = load[step] + due - delivered[step]
        result.append(round(max(wished, lowest)))
        carried = min(wished - lowest, 0.0)
    return result
