"""The baseline of one POD computed again from what lies behind it, in the open, one number at a time."""

import statistics

from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.pod_evidence import PodEvidence

#: Quarter-hour to baseline in W (None where there is none) and how it came about.
Baselines = dict[int, tuple[int | None, str]]


def baseline_again(behind: PodEvidence) -> Baselines:
    """Compute the baseline of each quarter-hour of an event again; nothing where the evidence does not hold its inputs.

    Parameters
    ----------
    behind : PodEvidence

    Returns
    -------
    dict of int to (int or None, str)
        Quarter-hour to baseline in W (None where there is none) and how it came about.

    Notes
    -----
    The formulas are those of `baseline`, in float64 with one rounding at the end; sums are Python integers. Regression
    is not computed again: `inputs_of` says what it rests on.
    """
    rule = behind.rule
    if rule.is_x_of_y:
        return _x_of_y(behind) if rule.statistic == "mean" else _adjusted(behind, *_median(behind))
    if rule.method == "meter_before_after":
        return _around_event(behind)
    if rule.method == "nominated" and behind.nominated_w is not None:
        declared = behind.nominated_w.tolist()
        how = f"declared, {behind.submission}" if behind.submission else "declared"
        return {t: (_watts(declared[t]), how) for run in _runs(behind) for t in run}
    if rule.method == "exponential" and behind.choice is not None:
        return _adjusted(behind, *_exponential(behind))
    if rule.method == "reference" and behind.profile_w is not None:
        raw = [None if w == MISSING_W else float(w * behind.units) for w in behind.profile_w.tolist()]
        said = [f"profile {w} x {behind.units}" for w in behind.profile_w.tolist()]
        return _adjusted(behind, raw, said)
    if rule.method == "control_group" and behind.control_w is not None:
        return _adjusted(behind, *_controls(behind))
    return {}


def inputs_of(behind: PodEvidence | None) -> str:
    """Say what a baseline rests on that is not computed again."""
    if behind is None:
        return "as the settlement was given it"
    text = f"as the settlement was given it: {behind.preset} ({behind.rule.method})"
    if behind.dates:
        text += f" from {len(behind.dates)} days {behind.dates[0]} to {behind.dates[-1]}"
    return text + (f", declared {behind.submission}" if behind.submission else "")


def _watts(value: int) -> int | None:
    return None if value == MISSING_W else value


def _rounded(value: float) -> int | None:
    """Round half to even; None where 32 bits are too few."""
    watts = round(value)
    return watts if abs(watts) < 2**31 else None


def _runs(behind: PodEvidence) -> list[list[int]]:
    runs: list[list[int]] = []
    for t, on in enumerate(behind.event.tolist()):
        if on and runs and runs[-1][-1] == t - 1:
            runs[-1].append(t)
        elif on:
            runs.append([t])
    return runs


def _x_of_y(behind: PodEvidence) -> Baselines:
    rule, days = behind.rule, behind.reference_w.tolist()
    n_days = len(days)
    if not n_days:
        return {t: (None, "no reference day") for run in _runs(behind) for t in run}
    n_steps = len(behind.event)
    seen = [[day[t] for day in days if day[t] != MISSING_W] for t in range(n_steps)]
    total = [sum(values) for values in seen]
    found: Baselines = {}
    for run in _runs(behind):
        ratio, shift, why = 1.0, 0.0, ""
        window = _window(behind, run[0])
        if rule.adjustment != "none":
            sums = sum(total[t] for t in window)
            ratio, shift, why = _adjustment(rule, behind, window, sums, n_days)
        for t in run:
            count = len(seen[t])
            how = f"{total[t]} / {count} days{why}"
            value = _rounded(total[t] / count * ratio + shift) if count else None
            found[t] = value, how if count else "no reading on any day"
    return found


def _window(behind: PodEvidence, start: int) -> list[int]:
    """Quarter-hours of the adjustment window of the event that starts at `start`."""
    rule = behind.rule
    span = range(max(start - rule.lead_steps - rule.window_steps, 0), max(start - rule.lead_steps, 0))
    return [t for t in span if not behind.event[t] and not behind.excluded[t] and int(behind.today_w[t]) != MISSING_W]


def _adjustment(
    rule: BaselineRule, behind: PodEvidence, window: list[int], expected: float, n_days: int
) -> tuple[float, float, str]:
    """Return ratio, shift and words of a same-day adjustment; `expected` is the sum over the window and `n_days`."""
    if not window:
        return 1.0, 0.0, ", not adjusted: its window has no usable quarter-hour"
    today = sum(int(behind.today_w[t]) for t in window)
    wanted = f"{expected:.12g}" + (f" / {n_days}" if n_days > 1 else "")
    facts = f"{len(window)} quarter-hours before the event: {today} today, {wanted} expected"
    if rule.adjustment == "multiplicative" and expected > rule.guard_w * n_days * len(window) and today >= 0:
        low, high = rule.ratio_ppm[0] / 1_000_000, rule.ratio_ppm[1] / 1_000_000
        ratio = min(max(today * n_days / expected, low), high)
        return ratio, 0.0, f" x {ratio:.6f} ({facts})"
    shift = (today * n_days - expected) / (n_days * len(window))
    if rule.cap_w is not None:
        shift = min(max(shift, -float(rule.cap_w)), float(rule.cap_w))
    return 1.0, shift, f" {'+' if shift >= 0 else '-'} {abs(shift):.3f} ({facts})"


def _adjusted(behind: PodEvidence, raw: list[float | None], said: list[str]) -> Baselines:
    """Adjust what a family other than the mean of X of Y gives, and round it."""
    found: Baselines = {}
    for run in _runs(behind):
        ratio, shift, why = 1.0, 0.0, ""
        if behind.rule.adjustment != "none":
            window = [t for t in _window(behind, run[0]) if raw[t] is not None]
            expected = 0.0
            for t in window:
                expected += raw[t] or 0.0
            ratio, shift, why = _adjustment(behind.rule, behind, window, expected, 1)
        for t in run:
            value = raw[t]
            found[t] = None if value is None else _rounded(value * ratio + shift), said[t] + why
    return found


def _median(behind: PodEvidence) -> tuple[list[float | None], list[str]]:
    days = behind.reference_w.tolist()
    raw: list[float | None] = []
    said = []
    for t in range(len(behind.event)):
        values = [day[t] for day in days if day[t] != MISSING_W]
        raw.append(float(statistics.median(values)) if values else None)
        said.append(f"median of {len(values)} days")
    return raw, said


def _exponential(behind: PodEvidence) -> tuple[list[float | None], list[str]]:
    """B (1 - w) + w L over the days that were used, from the mean of the first of them."""
    rule, days = behind.rule, behind.reference_w.tolist()
    weight, keep = rule.weight_ppm / 1_000_000, (1_000_000 - rule.weight_ppm) / 1_000_000
    raw: list[float | None] = []
    for t in range(len(behind.event)):
        start = [day[t] for day in days[: rule.n_candidates] if day[t] != MISSING_W]
        value = sum(start) / len(start) if start else None
        for day in days[rule.n_candidates :]:
            if day[t] != MISSING_W:
                value = float(day[t]) if value is None else value * keep + weight * day[t]
        raw.append(value if len(days) >= rule.min_days else None)
    how = f"mean of the first {rule.n_candidates} of {len(days)} days, then {weight:g} of each further day"
    return raw, [how] * len(raw)


def _controls(behind: PodEvidence) -> tuple[list[float | None], list[str]]:
    assert behind.control_w is not None
    raw: list[float | None] = []
    said = []
    for column in behind.control_w.T.tolist():
        read = [value for value in column if value != MISSING_W]
        enough = len(read) >= behind.rule.min_controls
        raw.append(sum(read) / max(len(read), 1) * behind.units if enough else None)
        said.append(f"{sum(read)} / {len(read)} controls x {behind.units}")
    return raw, said


def _around_event(behind: PodEvidence) -> Baselines:
    """Means of the readings before and after an event, joined as the rule says."""
    rule, n_steps = behind.rule, len(behind.event)

    def usable(lo: int, hi: int) -> list[int]:
        steps = range(max(lo, 0), min(hi, n_steps))
        read = [t for t in steps if int(behind.today_w[t]) != MISSING_W]
        return [int(behind.today_w[t]) for t in read if not behind.event[t] and not behind.excluded[t]]

    found: Baselines = {}
    for run in _runs(behind):
        stop, begin = run[0] - rule.before_gap, run[-1] + 1 + rule.after_gap
        before = usable(stop - rule.before_steps, stop)
        after = [] if rule.join == "before" else usable(begin, begin + rule.after_steps)
        value, how = None, "no reading around the event"
        if before or after:
            how = f"{rule.join}: {sum(before)} / {len(before)} before, {sum(after)} / {len(after)} after"
            means = [sum(side) / len(side) for side in (before, after) if side]
            joined = min(means) if rule.join == "least" else max(means)
            whole = rule.join == "mean" or len(means) == 1
            value = round((sum(before) + sum(after)) / (len(before) + len(after)) if whole else joined)
        for t in run:
            found[t] = (value, how)
    return found
