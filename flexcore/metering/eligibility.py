"""Eligibility: which past days may be reference days of each POD, in which order, and why the others may not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array, as_bool, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError
from flexcore.market_day import MarketDay
from flexcore.metering.calendar import Calendar
from flexcore.metering.eligibility_rule import EligibilityRule, eligibility_rule
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.history import steps_of_days
from flexcore.metering.presets import BaselineRule
from flexcore.metering.readings import Bools, as_power_w

Int64s = npt.NDArray[np.int64]

#: Bits of `Eligibility.why`.
OTHER_TYPE, TOO_OLD, IN_GAP, CLOCK_CHANGE = 1, 2, 4, 8
INCOMPLETE, OUTAGE, TEST, LOCAL_EVENT, GLOBAL_EVENT, AFTER_EVENT = 16, 32, 64, 128, 256, 512
#: Bit to meaning; a day that has none is first choice.
WHY: dict[int, str] = {
    OTHER_TYPE: "another day type than the event day",
    TOO_OLD: "before the look-back; order of choice 2 if within the widened one",
    IN_GAP: "in the gap right before the event day",
    CLOCK_CHANGE: "clocks change on it",
    INCOMPLETE: "too few readings",
    OUTAGE: "an outage at the POD",
    TEST: "a test of the POD",
    LOCAL_EVENT: "an event of the local operator",
    GLOBAL_EVENT: "an event of the global operator",
    AFTER_EVENT: "rebound or recovery after an event of either operator",
}
#: Orders of choice; event days that may be borrowed follow from `FIRST_BORROWED` on.
NEVER, FIRST, WIDENED, FIRST_BORROWED = 0, 1, 2, 3

_CHUNK = 4096  # PODs: sixty days of them take about a millisecond
_NONE = -(1 << 62)  # a step of the event day's clock that a past day does not have


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Reference days that each POD may use for one event day; `choice` is what `baseline(eligible=...)` wants.

    Attributes
    ----------
    choice : ndarray of uint8, shape (n_pods, n_days)
        0 never; 1 first choice; 2 of the widened look-back; 3, 4, ... event days in the order of borrowing.
    why : ndarray of uint16, shape (n_pods, n_days)
        Bits of `WHY`: what keeps each day from being first choice.
    masked : ndarray of bool, shape (n_pods,)
        PODs with a day of choice 1 or 2 of which some quarter-hours are touched: their baseline needs `excluded_of`.
    days : tuple of MarketDay
        Past days, oldest first.
    day : MarketDay
        Event day.
    day_type : tuple of str
        Type of each past day.
    rule : EligibilityRule
        The rule that was followed, with its fall-backs; `rule.steps` says it in words.
    events : EventRuns or None
    """

    choice: npt.NDArray[np.uint8]
    why: npt.NDArray[np.uint16]
    masked: Bools
    days: tuple[MarketDay, ...]
    day: MarketDay
    day_type: tuple[str, ...]
    rule: EligibilityRule
    events: EventRuns | None

    @property
    def first_choice(self) -> Bools:
        """True for days that need no fall-back, shape (n_pods, n_days)."""
        return np.asarray(self.choice == FIRST)

    @property
    def n_first(self) -> Int64s:
        """Days of first choice of each POD, shape (n_pods,)."""
        return np.asarray((self.choice == FIRST).sum(axis=1, dtype=np.int64))

    @property
    def n_widened(self) -> Int64s:
        """Further days of the widened look-back of each POD, shape (n_pods,)."""
        return np.asarray((self.choice == WIDENED).sum(axis=1, dtype=np.int64))

    @property
    def n_borrowable(self) -> Int64s:
        """Event days that each POD may borrow, shape (n_pods,)."""
        return np.asarray((self.choice >= FIRST_BORROWED).sum(axis=1, dtype=np.int64))

    @property
    def lost(self) -> dict[str, int]:
        """Number of (POD, day) that each cause keeps from being first choice; a day may have several."""
        return {meaning: int(np.count_nonzero(self.why & bit)) for bit, meaning in WHY.items()}

    def causes(self, pod: int) -> tuple[tuple[str, ...], ...]:
        """What keeps each day of one POD from being first choice, in words; empty for first choice."""
        return tuple(tuple(text for bit, text in WHY.items() if bits & bit) for bits in self.why[pod].tolist())

    def touched_of(self, pods: npt.ArrayLike, *, n_threads: int = 1) -> npt.NDArray[np.uint8]:
        """Return what touches each quarter-hour of some PODs on past days.

        Returns
        -------
        ndarray of uint8, shape (n_rows, n_days, n_steps)
            On the clock of the event day: 1 an event of the local, 2 of the global operator; 4, 8 what comes after
            one; 0 nothing.
        """
        return self._touched(self.days, pods, n_threads)

    def excluded_of(self, pods: npt.ArrayLike, *, n_threads: int = 1) -> Bools | None:
        """Return the `excluded` mask of `baseline` for a block of PODs.

        Returns
        -------
        ndarray of bool, shape (n_rows, n_days, n_steps), or None
            None where no day of choice 1 or 2 of these PODs is touched: a mask would change nothing, and `baseline` is
            faster without.
        """
        rows = self._rows(pods)
        if not self.masked[rows].any():
            return None
        return np.asarray(self.touched_of(rows, n_threads=n_threads) != 0)

    def today_excluded_of(self, pods: npt.ArrayLike, *, n_threads: int = 1) -> Bools:
        """Return quarter-hours of the event day that an event of either operator, its rebound or its recovery touches.

        Events of the day before reach across midnight. Shape (n_rows, n_steps), as `baseline(today_excluded=...)`
        wants it.
        """
        return np.asarray(self._touched((self.day,), pods, n_threads)[:, 0] != 0)

    def to_arrow(self) -> Any:
        """Return one row for each past day: its type, orders of choice, and the PODs that lose it by each cause."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "date": pa.array([past.date for past in self.days], pa.date32()),
            "day_type": pa.array(self.day_type, pa.string()),
            "first_choice": np.count_nonzero(self.choice == FIRST, axis=0),
            "widened": np.count_nonzero(self.choice == WIDENED, axis=0),
            "borrowable": np.count_nonzero(self.choice >= FIRST_BORROWED, axis=0),
        }
        names = ("other_type", "too_old", "in_gap", "clock_change", "incomplete", "outage", "test", "local_event",
                 "global_event", "after_event")  # fmt: skip
        for name, bit in zip(names, WHY, strict=True):
            columns[name] = np.count_nonzero(self.why & bit, axis=0)
        return pa.table(columns)

    def _rows(self, pods: npt.ArrayLike) -> Int64s:
        return np.asarray(as_int(pods, "pods", shape=(None,), lo=0, hi=len(self.choice) - 1))

    def _touched(self, days: Sequence[MarketDay], pods: npt.ArrayLike, n_threads: int) -> npt.NDArray[np.uint8]:
        from flexcore.kernels.metering.eligibility import mark_touched

        rows = self._rows(pods)
        touched: npt.NDArray[np.uint8] = np.zeros((rows.size, len(days), self.day.n_steps), np.uint8)
        if self.events is None or not self.events.n_events:
            return touched
        lo = np.searchsorted(self.events.pod, rows, side="left").astype(np.int64)
        hi = np.searchsorted(self.events.pod, rows, side="right").astype(np.int64)
        # only the events between those of the rows are looked at: a block of PODs costs what the block holds
        begin, end = (int(lo.min()), int(hi.max())) if rows.size else (0, 0)
        listed = _listed(self.events, self.rule, slice(begin, end))
        lo, hi = lo - begin, hi - begin
        clock = _clock(days, self.day)

        def task(i0: int, i1: int) -> None:
            mark_touched(lo, hi, *listed, *clock, i0, i1, touched)

        run_chunks(task, rows.size, n_threads=n_threads, chunk=_CHUNK)
        return touched


def _listed(events: EventRuns, rule: EligibilityRule, which: slice) -> tuple[npt.NDArray[Any], ...]:
    """Return some events as the kernels want them: first and end quarter-hour, end of what follows, operator, power."""
    end, after = events.end_qh[which], events.after_steps[which]
    after_qh = end + np.where(after < 0, rule.after_steps, after)
    return events.first_qh[which], end, after_qh, events.operator[which], events.power_w[which]


def _clock(days: Sequence[MarketDay], day: MarketDay) -> tuple[Int64s, Int64s, Int64s]:
    """Absolute quarter-hour of each past day at each step of the event day's clock; first and end of each day."""
    steps = steps_of_days(days, day)
    first = np.array([past.first_qh for past in days], np.int64)
    qh = np.where(steps < 0, _NONE, first[:, np.newaxis] + steps)
    return np.ascontiguousarray(qh), first, first + np.array([past.n_steps for past in days], np.int64)


def _check_days(days: Sequence[MarketDay], day: MarketDay) -> None:
    found = Findings("days", len(days))
    zones = [row for row, past in enumerate(days) if past.tz != day.tz]
    if zones:
        found.add("FX-B022", f"{len(zones)} past days have another time zone than the event day ({day.tz})", rows=zones)
    dates = [*(past.date for past in days), day.date]
    late = [row for row in range(len(days)) if dates[row] >= dates[row + 1]]
    if late:
        message = f"{len(late)} past days do not lie before the next one, the last before the event day {day.date}"
        found.add("FX-B022", message, rows=late, ids=[str(dates[row]) for row in late], hint="sort days, oldest first")
    found.raise_errors(ValidationError)


def _flags(values: npt.ArrayLike | None, name: str, n_pods: int, width: int) -> Bools:
    """Return flags with one row for each POD, one for all, or none where they are not given."""
    if values is None:
        return np.zeros((0, width), np.bool_)
    array = np.atleast_2d(as_array(values, name))
    return as_bool(array, name, shape=(1 if len(array) == 1 else n_pods, width))


def count_readings(history_w: npt.ArrayLike, *, n_threads: int = 1) -> npt.NDArray[np.int16]:
    """Count the readings of each day, for `eligible_days(n_read=...)`.

    Parameters
    ----------
    history_w : array_like of int32, shape (n_pods, n_days, n_steps)
        As `assemble_history` gives it. [W]
    n_threads : int

    Returns
    -------
    ndarray of int16, shape (n_pods, n_days)

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A006 shape, type and range.
    """
    from flexcore.kernels.metering.eligibility import count_readings as count

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    n_read = np.empty(history.shape[:2], np.int16)
    run_chunks(lambda i0, i1: count(history, i0, i1, n_read), len(history), n_threads=n_threads, chunk=512)
    return n_read


def needed_steps(event: npt.ArrayLike, rule: BaselineRule) -> Bools:
    """Mark the quarter-hours that a baseline needs: the events, and their adjustment windows.

    Parameters
    ----------
    event : array_like of bool, shape (n_pods, n_steps) or (n_steps,)
    rule : BaselineRule

    Returns
    -------
    ndarray of bool, shape of `event`
        For `eligible_days(needed=...)`.
    """
    given = as_bool(event, "event")
    during = as_bool(np.atleast_2d(given), "event", shape=(None, None))
    needed = during.copy()
    if rule.adjustment != "none" and rule.method in ("high", "mid", "low", "all"):
        starts = during.copy()
        starts[:, 1:] &= ~during[:, :-1]
        # no window reaches back beyond the start of the day
        last = min(rule.lead_steps + rule.window_steps, during.shape[1] - 1)
        for back in range(rule.lead_steps + 1, last + 1):
            needed[:, :-back] |= starts[:, back:]
    return needed.reshape(given.shape)


def eligible_days(
    days: Sequence[MarketDay],
    day: MarketDay,
    *,
    calendar: Calendar,
    rule: str | EligibilityRule,
    n_pods: int = 1,
    events: EventRuns | None = None,
    outage: npt.ArrayLike | None = None,
    test: npt.ArrayLike | None = None,
    n_read: npt.ArrayLike | None = None,
    needed: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Eligibility:
    """Say which past days may be reference days of each POD for an event day, and in which order.

    Parameters
    ----------
    days : sequence of MarketDay
        Past days, oldest first; those of the history, or any of them.
    day : MarketDay
        Event day.
    calendar : Calendar
        Holidays.
    rule : str or EligibilityRule
        Name of a baseline preset in `ELIGIBILITY`, or a rule of one's own.
    n_pods : int
        Number of PODs; 1 also stands for all of them where nothing differs by POD.
    events : EventRuns, optional
        Past and present events of both operators (BAS-02).
    outage, test : array_like of bool, shape (n_pods, n_days) or (n_days,), optional
        Days with an outage, or with a test of the POD.
    n_read : array_like of int, shape (n_pods, n_days), optional
        Readings of each day (`count_readings`), needed where the rule asks for completeness.
    needed : array_like of bool, shape (n_pods, n_steps) or (n_steps,), optional
        Quarter-hours that the baseline needs (`needed_steps`), for the rule `event_days="needed"`.
    n_threads : int

    Returns
    -------
    Eligibility

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A006 shapes, types and ranges (events of PODs that do not exist), FX-B006 a missing input,
        FX-B020 unknown holidays, FX-B021 a rule that contradicts itself, FX-B022 days out of order, in another time
        zone or not before the event day; FX-E002 an unknown rule.

    Notes
    -----
    A day is first choice if it is of the event day's type, lies from `look_back_days` to `gap_days` + 1 days before it,
    has no change of clocks, outage or test, has its readings and is no event day. All comparisons are in integers and
    on the clock of the event day. Days of the widened look-back that fulfil the rest are choice 2. Event days that
    fulfil the rest are choices 3, 4, ..., lowest impact first, then most recent first.
    """
    from flexcore.kernels.metering.eligibility import choose_days

    followed = eligibility_rule(rule)
    found = Findings("eligible_days")
    found.check_count("n_pods", n_pods, 0)
    found.raise_errors()
    _check_days(days, day)
    if followed.completeness_ppm and n_read is None:
        found.add("FX-B006", "a rule with completeness_ppm needs n_read", field="n_read", hint="see count_readings")
    if followed.event_days == "needed" and events is not None and needed is None:
        found.add("FX-B006", "event_days='needed' needs the steps in `needed`", field="needed", hint="see needed_steps")
    if events is not None and events.n_events and int(events.pod[-1]) >= n_pods:
        beyond = np.flatnonzero(events.pod >= n_pods)
        message = f"{beyond.size} events belong to PODs beyond n_pods = {n_pods}"
        found.add("FX-A006", message, field="events", rows=beyond, ids=events.pod[beyond])
    found.raise_errors(ValidationError)

    n_days = len(days)
    qh, first, end = _clock(days, day)
    day_type, day_why, day_choice = _by_calendar(days, day, calendar, followed)
    read = np.zeros((0, n_days), np.int16)
    if n_read is not None and followed.completeness_ppm:
        read = as_int(n_read, "n_read", dtype=np.int16, shape=(n_pods, n_days), lo=0)
    shown = (qh != _NONE).sum(axis=1).astype(np.int64)
    least = -(-shown * followed.completeness_ppm // 1_000_000)  # rounded up
    out_days, test_days = _flags(outage, "outage", n_pods, n_days), _flags(test, "test", n_pods, n_days)
    only = _flags(needed if followed.event_days == "needed" else None, "needed", n_pods, day.n_steps)
    known = events if events is not None else EventRuns.join()
    ptr = np.searchsorted(known.pod, np.arange(n_pods + 1 if known.n_events else 0)).astype(np.int64)
    listed = _listed(known, followed, slice(None))
    choice = np.empty((n_pods, n_days), np.uint8)
    why = np.empty((n_pods, n_days), np.uint16)
    masked = np.empty(n_pods, np.uint8)
    n_borrow = followed.borrow_most if "borrow" in followed.fall_backs else 0

    def task(i0: int, i1: int) -> None:
        choose_days(
            day_choice, day_why, least, read, out_days, test_days, only, ptr, *listed, qh, first, end,
            n_borrow, int(followed.impact == "energy"), i0, i1, choice, why, masked,
        )  # fmt: skip

    run_chunks(task, n_pods, n_threads=n_threads, chunk=_CHUNK)
    return Eligibility(choice, why, masked != 0, tuple(days), day, day_type, followed, events)


def _by_calendar(
    days: Sequence[MarketDay], day: MarketDay, calendar: Calendar, rule: EligibilityRule
) -> tuple[tuple[str, ...], npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Type of each day, what it lacks for all PODs alike, and its order of choice by that alone."""
    types = tuple(calendar.day_type(past, rule.day_types) for past in days)
    wanted = calendar.day_type(day, rule.day_types)
    back = np.array([(day.date - past.date).days for past in days], np.int64)
    lengths = np.array([past.n_steps for past in days], np.int64)
    gone = np.array([kind != wanted for kind in types], np.bool_) * OTHER_TYPE
    gone = gone | (back <= rule.gap_days) * IN_GAP
    if rule.clock_change == "exclude":
        gone = gone | (lengths != 96) * CLOCK_CHANGE
    why = gone | (back > rule.look_back_days) * TOO_OLD
    choice = np.where(back <= rule.look_back_days, FIRST, np.where(back <= rule.farthest_days, WIDENED, NEVER))
    return types, why.astype(np.uint16), np.where(gone == 0, choice, NEVER).astype(np.uint8)
