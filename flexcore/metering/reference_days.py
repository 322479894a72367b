"""Reference days of a streamed baseline: the whole rule of eligibility, followed block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, ValidationError
from flexcore.market_day import MarketDay
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.calendar import Calendar
from flexcore.metering.eligibility import Eligibility, count_readings, eligible_days, needed_steps
from flexcore.metering.eligibility_rule import EligibilityRule, eligibility_rule
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.readings import Bools, Int32s


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceDays:
    """How reference days are chosen: what `eligible_days` takes, for files, whose PODs it then sees block by block.

    Readings are counted where the rule asks for completeness, and the quarter-hours that a baseline needs are found
    where it asks for them, so that neither has to be brought.

    Attributes
    ----------
    calendar : Calendar
    rule : str or EligibilityRule
        A name in `ELIGIBILITY`, or a rule of one's own.
    events : EventRuns, optional
        Events of both operators, past and present; `pod` is the row of the POD in the order of the keys.
    outage, test : array_like of bool, shape (n_pods, n_days) or (n_days,), optional
    """

    calendar: Calendar
    rule: str | EligibilityRule
    events: EventRuns | None = None
    outage: npt.ArrayLike | None = None
    test: npt.ArrayLike | None = None


class DayMasks(NamedTuple):
    """What `baseline` takes for a block: order of choice, and touched quarter-hours of past days and of the day."""

    choice: npt.NDArray[np.uint8]
    excluded: Bools | None
    today_excluded: Bools | None


def check_days(source: Eligibility | ReferenceDays, days: Sequence[MarketDay], day: MarketDay, n_pods: int) -> Any:
    """Return the source if it fits the files, its flags as arrays.

    Raises
    ------
    ValidationError
        FX-B081 chosen for other days or another number of PODs; else as `eligible_days`.
    """
    found = Findings("eligible")
    if isinstance(source, Eligibility):
        if (source.days, source.day) != (tuple(days), day):
            message = f"days were chosen for {len(source.days)} days before {source.day.date}, the files hold others"
            found.add("FX-B081", message, hint=f"call eligible_days with the {len(days)} days of the files")
        if len(source.choice) not in (1, n_pods):
            found.add("FX-B081", f"days were chosen for {len(source.choice)} PODs, the files hold {n_pods}")
        found.raise_errors(ValidationError)
        return source
    rule = eligibility_rule(source.rule)
    flags: dict[str, Any] = {}
    for name in ("outage", "test"):
        value = getattr(source, name)
        flags[name] = None if value is None else np.asarray(value)
        if value is not None and flags[name].shape not in ((n_pods, len(days)), (len(days),)):
            message = f"{name} has shape {flags[name].shape}, expected {(n_pods, len(days))} or {(len(days),)}"
            found.add("FX-A001", message, field=name)
    if source.events is not None:
        beyond = np.flatnonzero(source.events.pod >= n_pods)
        if beyond.size:
            message = f"{beyond.size} events belong to rows beyond the {n_pods} PODs of the files"
            found.add("FX-A006", message, field="events", rows=beyond, ids=source.events.pod[beyond])
    found.raise_errors(ValidationError)
    # what the calendar does not know is said now, not by the first block
    none = np.zeros((0, len(days)), np.int16)
    eligible_days(days, day, calendar=source.calendar, rule=rule, n_pods=0, n_read=none)
    return replace(source, rule=rule, **flags)


def days_of_rows(source: Eligibility | ReferenceDays, lo: int, hi: int) -> Eligibility | ReferenceDays:
    """Return what rows lo..hi need, with events counted from `lo`."""
    if isinstance(source, ReferenceDays):
        events = None if source.events is None else source.events.of_block(lo, hi)
        flags: dict[str, Any] = {}
        for name in ("outage", "test"):
            value = getattr(source, name)
            flags[name] = value if value is None or value.ndim == 1 else value[lo:hi]
        return replace(source, events=events, **flags)
    if len(source.choice) == 1:
        return source
    events = None if source.events is None else source.events.of_block(lo, hi)
    rows = slice(lo, hi)
    return replace(source, choice=source.choice[rows], why=source.why[rows], masked=source.masked[rows], events=events)


def masks_of_days(
    source: Eligibility | ReferenceDays,
    days: Sequence[MarketDay],
    day: MarketDay,
    n_pods: int,
    rule: BaselineRule,
    history: Int32s | None,
    event: Bools | None,
    *,
    every_mark: bool,
) -> DayMasks:
    """Follow the rule for a block whose rows the source has been cut to.

    Parameters
    ----------
    history : ndarray of int32, shape (n_pods, n_days, n_steps), or None
        None where the method looks at no past day.
    every_mark : bool
        Mark touched quarter-hours of past days also where no chosen day has one: distances of days look at them all.
    """
    found = source if isinstance(source, Eligibility) else _choose(source, days, day, n_pods, rule, history, event)
    rows = np.arange(len(found.choice))
    if found.events is None or not found.events.n_events:
        return DayMasks(found.choice, None, None)
    past: Bools | None = None
    if history is not None:
        past = np.asarray(found.touched_of(rows) != 0) if every_mark else found.excluded_of(rows)
    now = found.today_excluded_of(rows)
    if len(rows) == 1 and n_pods != 1:  # one POD stands for all
        return DayMasks(found.choice, None if past is None else past[0], now[0])
    return DayMasks(found.choice, past, now)


def _choose(
    source: ReferenceDays,
    days: Sequence[MarketDay],
    day: MarketDay,
    n_pods: int,
    rule: BaselineRule,
    history: Int32s | None,
    event: Bools | None,
) -> Eligibility:
    followed = eligibility_rule(source.rule)
    if history is None:  # only what touches the event day is asked for
        followed = replace(followed, completeness_ppm=0, event_days="whole")
    during = np.zeros(day.n_steps, np.bool_) if event is None else event
    return eligible_days(
        days,
        day,
        calendar=source.calendar,
        rule=followed,
        n_pods=n_pods,
        events=source.events,
        outage=source.outage,
        test=source.test,
        n_read=count_readings(history) if history is not None and followed.completeness_ppm else None,
        needed=needed_steps(during, rule) if followed.event_days == "needed" else None,
    )
