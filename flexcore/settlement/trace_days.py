"""The choice of reference days of one POD made again: which days could serve, in which order, and which were taken."""

from dataclasses import dataclass
from fractions import Fraction

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.pod_evidence import DayChoice, PodEvidence
from flexcore.settlement.trace_steps import TraceStep

_ORDER = {0: "never", 1: "first choice", 2: "of the widened look-back"}


@dataclass(slots=True)
class _Candidate:
    day: int
    score: Fraction
    use: int


def day_steps(behind: PodEvidence) -> list[TraceStep]:
    """Return what became of each past day: 1 used, 0 not; nothing where the evidence does not hold them."""
    choice, rule = behind.choice, behind.rule
    if choice is None or not (rule.is_x_of_y or rule.method in ("exponential", "regression")):
        return []
    used = set(behind.dates)
    again = _x_of_y(behind, choice) if rule.is_x_of_y else _all_usable(behind, choice)
    steps = []
    for day, (date, order) in enumerate(zip(choice.dates, choice.order, strict=True)):
        why = _ORDER.get(order, f"event day, {order - 2}. to be borrowed")
        why += f": {'; '.join(choice.lost[day])}" if choice.lost[day] else ""
        found = None if again is None else int(day in again)
        steps.append(
            TraceStep("reference days", "BAS-02" if order == 0 else "BAS-01", f"reference day {date}", why,
                      int(date in used), found, "", given=again is None)
        )  # fmt: skip
    return steps


def _all_usable(behind: PodEvidence, choice: DayChoice) -> set[int] | None:
    """Days of an exponential baseline: all of first choice with a reading, and of the second if those are too few."""
    if behind.rule.method != "exponential":
        return None
    wanted = {1}
    if choice.order.count(1) < behind.rule.min_days:
        wanted.add(2)
    read = (choice.readings_w != MISSING_W).any(axis=1).tolist()
    return {day for day, order in enumerate(choice.order) if order in wanted and read[day]}


def _windows(behind: PodEvidence) -> set[int]:
    """Quarter-hours that a candidate must have: those of events, and the usable ones of their adjustment windows."""
    rule, event = behind.rule, behind.event.tolist()
    needed = {t for t, on in enumerate(event) if on}
    # the windows of a median are those of its adjustment, which takes what is there
    if rule.adjustment == "none":
        return needed
    for start in [t for t in needed if t == 0 or not event[t - 1]]:
        for t in range(max(start - rule.lead_steps - rule.window_steps, 0), max(start - rule.lead_steps, 0)):
            if not event[t] and not behind.excluded[t] and int(behind.today_w[t]) != MISSING_W:
                needed.add(t)
    return needed


def _x_of_y(behind: PodEvidence, choice: DayChoice) -> set[int] | None:
    """Days that X of Y takes, by the text of the rule."""
    rule = behind.rule
    if rule.score == "given" and not choice.score:
        return None
    needed = _windows(behind)
    event_steps = [t for t, on in enumerate(behind.event.tolist()) if on]
    days = choice.readings_w.tolist()
    waiting = []
    for day in sorted(range(len(days)), key=lambda day: (choice.order[day], -day)):
        past = days[day]
        read = [value for value in past if value != MISSING_W]
        if not choice.order[day] or not read or any(past[t] == MISSING_W for t in needed):
            continue
        over = [past[t] for t in event_steps] if rule.score == "event" and event_steps else read
        score = Fraction(choice.score[day]) if rule.score == "given" else Fraction(sum(over), len(over))
        waiting.append(_Candidate(day, score, sum(past[t] for t in event_steps)))
    taken: list[_Candidate] = []

    def take() -> None:
        while waiting and len(taken) < rule.n_candidates:
            # given scores compare all days of the look-back, and fall-backs serve only below X
            enough = rule.score == "given" and len(taken) >= rule.n_selected
            if enough and choice.order[waiting[0].day] > 1:
                break
            taken.append(waiting.pop(0))

    take()
    while rule.low_use_ppm is not None and taken:
        least = min(reversed(taken), key=lambda candidate: candidate.use)
        mean = Fraction(sum(candidate.use for candidate in taken), len(taken))
        if mean <= 0 or least.use >= mean * rule.low_use_ppm / 1_000_000:
            break
        taken.remove(least)
        take()
    if len(taken) < rule.min_days:
        return set()
    n = len(taken) if rule.method == "all" else min(rule.n_selected, len(taken))
    if rule.method == "low":
        taken = sorted(taken, key=lambda candidate: candidate.score)
    elif rule.method in ("high", "mid"):
        taken = sorted(taken, key=lambda candidate: -candidate.score)
    dropped = len(taken) - n
    above = dropped - dropped // 2 if rule.method == "mid" else 0
    return {candidate.day for candidate in taken[above : above + n]}
