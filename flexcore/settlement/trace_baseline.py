"""The baseline of one POD computed again from the readings of its reference days, in the open, one number at a time."""

from flexcore.metering.presets import BaselineRule
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.statement_source import PodEvidence

_X_OF_Y = ("high", "mid", "low", "all")


def baseline_again(behind: PodEvidence) -> dict[int, tuple[int | None, str]]:
    """Compute the baseline of each quarter-hour of an event again; nothing for methods that it does not know.

    Parameters
    ----------
    behind : PodEvidence

    Returns
    -------
    dict of int to (int or None, str)
        Quarter-hour to baseline in W (None where there is none) and how it came about.

    Notes
    -----
    The formulas are those of `baseline`, in float64 with one rounding at the end; sums are Python integers.
    """
    if behind.rule.method in _X_OF_Y:
        return _x_of_y(behind)
    if behind.rule.method == "meter_before_after":
        return _around_event(behind)
    return {}


def _runs(behind: PodEvidence) -> list[list[int]]:
    runs: list[list[int]] = []
    for t, on in enumerate(behind.event.tolist()):
        if on and runs and runs[-1][-1] == t - 1:
            runs[-1].append(t)
        elif on:
            runs.append([t])
    return runs


def _x_of_y(behind: PodEvidence) -> dict[int, tuple[int | None, str]]:
    rule, days = behind.rule, behind.reference_w.tolist()
    n_days = len(days)
    if not n_days:
        return {t: (None, "no reference day") for run in _runs(behind) for t in run}
    n_steps = len(behind.event)
    seen = [[day[t] for day in days if day[t] != MISSING_W] for t in range(n_steps)]
    total = [sum(values) for values in seen]
    found: dict[int, tuple[int | None, str]] = {}
    for run in _runs(behind):
        ratio, shift, why = _adjustment(rule, behind, run[0], total, n_days)
        for t in run:
            count = len(seen[t])
            how = f"{total[t]} / {count} days{why}"
            found[t] = (round(total[t] / count * ratio + shift), how) if count else (None, "no reading on any day")
    return found


def _adjustment(
    rule: BaselineRule, behind: PodEvidence, start: int, total: list[int], n_days: int
) -> tuple[float, float, str]:
    """Return ratio, shift and words of the same-day adjustment of the event that starts at `start`."""
    if rule.adjustment == "none":
        return 1.0, 0.0, ""
    span = range(max(start - rule.lead_steps - rule.window_steps, 0), max(start - rule.lead_steps, 0))
    window = [t for t in span if not behind.event[t] and not behind.excluded[t] and int(behind.today_w[t]) != MISSING_W]
    if not window:
        return 1.0, 0.0, ", not adjusted: its window has no usable quarter-hour"
    today = sum(int(behind.today_w[t]) for t in window)
    expected = sum(total[t] for t in window)
    facts = f"{len(window)} quarter-hours before the event: {today} today, {expected} / {n_days} expected"
    if rule.adjustment == "multiplicative" and expected > rule.guard_w * n_days * len(window) and today >= 0:
        low, high = rule.ratio_ppm[0] / 1_000_000, rule.ratio_ppm[1] / 1_000_000
        ratio = min(max(today * n_days / expected, low), high)
        return ratio, 0.0, f" x {ratio:.6f} ({facts})"
    shift = (today * n_days - expected) / (n_days * len(window))
    if rule.cap_w is not None:
        shift = min(max(shift, -float(rule.cap_w)), float(rule.cap_w))
    return 1.0, shift, f" {'+' if shift >= 0 else '-'} {abs(shift):.3f} ({facts})"


def _around_event(behind: PodEvidence) -> dict[int, tuple[int | None, str]]:
    """Means of the readings before and after an event, joined as the rule says."""
    rule, n_steps = behind.rule, len(behind.event)

    def usable(lo: int, hi: int) -> list[int]:
        steps = range(max(lo, 0), min(hi, n_steps))
        read = [t for t in steps if int(behind.today_w[t]) != MISSING_W]
        return [int(behind.today_w[t]) for t in read if not behind.event[t] and not behind.excluded[t]]

    found: dict[int, tuple[int | None, str]] = {}
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
