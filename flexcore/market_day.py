"""The delivery day: quarter-hours, hours and session windows of one local day, with 92, 96 or 100 quarter-hours."""

import datetime as dt
import zoneinfo
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, TimeSeriesError
from flexcore.units import QUARTER_S

#: Sessions a day (D4.1 section 6.3): six LFP/MSD pairs, each making four local hours firm.
N_SESSIONS = 6
_HOURS_PER_SESSION = 4
_DAY_LENGTHS = (92, 96, 100)  # quarter-hours: everything below counts whole hours
_ZONED = (
    "pass unix seconds or datetimes with a zone; local stamps get one by pandas tz_localize, polars replace_time_zone"
)


def _refuse(code: str, message: str, **details: Any) -> None:
    found = Findings("time")
    found.add(code, message, **details)
    found.raise_errors(TimeSeriesError)


@dataclass(frozen=True, slots=True, init=False)
class MarketDay:
    """One local delivery day on the quarter-hour axis.

    Parameters
    ----------
    date : str or datetime.date
        Local date, for instance "2026-03-29".
    tz : str
        Time zone of the market.

    Attributes
    ----------
    n_steps : int
        Quarter-hours of the day: 92, 96 or 100 where clocks change by an hour.
    first_qh : int
        Index of the first quarter-hour: unix seconds // 900 at its start.

    Raises
    ------
    TimeSeriesError
        FX-T005 if the date or the time zone is not known or the zone left out the day, FX-T006 if clocks change by
        another amount than an hour.
    """

    date: dt.date
    tz: str
    n_steps: int
    first_qh: int

    def __init__(self, date: str | dt.date, tz: str = "Europe/Rome") -> None:
        try:
            given = dt.date.fromisoformat(date) if isinstance(date, str) else date
            local = given.date() if isinstance(given, dt.datetime) else given
            zone = zoneinfo.ZoneInfo(tz)
            starts = [
                dt.datetime.combine(day, dt.time(), zone).timestamp() for day in (local, local + dt.timedelta(days=1))
            ]
            begins = dt.datetime.fromtimestamp(starts[0], zone).date()
        except (ValueError, TypeError, zoneinfo.ZoneInfoNotFoundError, OverflowError, OSError) as error:
            _refuse("FX-T005", f"{date!r} in {tz!r} is not a local day: {error}")
            raise
        quarters = [start / QUARTER_S for start in starts]
        if begins != local:  # a zone that moved across the date line left out a day
            _refuse("FX-T005", f"{tz} has no day {local}")
        if any(quarter % 1 for quarter in quarters) or quarters[1] - quarters[0] not in _DAY_LENGTHS:
            length = f"{quarters[1] - quarters[0]:g} quarter-hours from {quarters[0] % 1 * QUARTER_S:g} s past one"
            _refuse("FX-T006", f"local day {local} ({tz}) has {length}", hint="days have 92, 96 or 100 of them")
        object.__setattr__(self, "date", local)
        object.__setattr__(self, "tz", tz)
        object.__setattr__(self, "first_qh", int(quarters[0]))
        object.__setattr__(self, "n_steps", int(quarters[1] - quarters[0]))

    @property
    def qh(self) -> npt.NDArray[np.int64]:
        """Quarter-hour indices, shape (n_steps,)."""
        return self.first_qh + np.arange(self.n_steps, dtype=np.int64)

    @property
    def n_hours(self) -> int:
        """Hours of the day: 23, 24 or 25."""
        return self.n_steps // 4

    @property
    def hour_of_step(self) -> npt.NDArray[np.int64]:
        """Position of the hour that holds each step, shape (n_steps,): elapsed hours, not clock hours."""
        return np.arange(self.n_steps, dtype=np.int64) // 4

    @property
    def local_hour(self) -> npt.NDArray[np.int64]:
        """Clock hour of each step, shape (n_steps,); an hour is missing or repeated where clocks change."""
        zone = zoneinfo.ZoneInfo(self.tz)
        hours = [
            dt.datetime.fromtimestamp((self.first_qh + 4 * hour) * QUARTER_S, zone).hour for hour in range(self.n_hours)
        ]
        return np.repeat(np.array(hours, np.int64), 4)

    @property
    def window_of_step(self) -> npt.NDArray[np.int64]:
        """Session (1..6) that makes each step firm, shape (n_steps,): local 00-04 is 1, 20-24 is 6."""
        return self.local_hour // _HOURS_PER_SESSION + 1

    def firm(self, session: int) -> slice:
        """Steps that session 1..6 makes firm: its four local hours, 12, 16 or 20 steps."""
        inside = np.flatnonzero(self.window_of_step == session)
        if not inside.size:
            _refuse("FX-T003", f"session {session} does not exist", hint="sessions are 1..6")
        return slice(int(inside[0]), int(inside[-1]) + 1)

    def plan(self, session: int) -> slice:
        """Steps that session 1..6 plans: its firm window and the rest of the day."""
        return slice(self.firm(session).start, self.n_steps)

    @property
    def weekday(self) -> int:
        """Day of the week, Monday is 0."""
        return self.date.weekday()

    def shift(self, days: int) -> "MarketDay":
        """Return the market day that lies `days` later (earlier if negative)."""
        return MarketDay(self.date + dt.timedelta(days=days), self.tz)

    def start(self, step: int = 0) -> dt.datetime:
        """Start of a step as a time with zone."""
        return dt.datetime.fromtimestamp((self.first_qh + step) * QUARTER_S, zoneinfo.ZoneInfo(self.tz))

    def label(self, step: int) -> str:
        """Local clock time at the start of a step, 'HH:MM'."""
        return self.start(step).strftime("%H:%M")

    def step_of(self, times: Any) -> npt.NDArray[np.int64]:
        """Return the step that starts at each time.

        Parameters
        ----------
        times : datetime or sequence of datetime, or ndarray of int64
            Times with a zone, or unix seconds.

        Returns
        -------
        ndarray of int64, shape (n,)

        Raises
        ------
        TimeSeriesError
            FX-T001 time without zone, FX-T004 not on a quarter-hour, FX-T003 outside the day.
        """
        if isinstance(times, dt.datetime):
            times = [times]
        array = np.asarray(times)
        if array.dtype.kind == "M":
            _refuse("FX-T001", "numpy datetimes carry no time zone", hint=_ZONED)
        seconds: npt.NDArray[Any]
        if array.dtype.kind in "iu":
            seconds = array.astype(np.int64).ravel()
        else:
            stamps = list(array.ravel())
            naive = [row for row, stamp in enumerate(stamps) if getattr(stamp, "tzinfo", None) is None]
            if naive and isinstance(stamps[naive[0]], str):
                hint = "parse it first: pandas.to_datetime(..., utc=True), polars str.to_datetime(time_zone='UTC')"
                _refuse("FX-T001", f"{len(naive)} times are text", rows=naive, hint=hint)
            if naive:
                _refuse("FX-T001", f"{len(naive)} times have no time zone", rows=naive, hint=_ZONED)
            seconds = np.array([stamp.timestamp() for stamp in stamps], np.float64)
        off = np.flatnonzero(seconds % QUARTER_S)
        if off.size:
            _refuse("FX-T004", f"{off.size} times do not start a quarter-hour", rows=off)
        steps = seconds.astype(np.int64) // QUARTER_S - self.first_qh
        outside = np.flatnonzero((steps < 0) | (steps >= self.n_steps))
        if outside.size:
            _refuse("FX-T003", f"{outside.size} times lie outside {self.date} {self.tz}", rows=outside)
        return steps

    def check_steps(self, n_steps: int, name: str) -> None:
        """Raise FX-T002 unless a series has as many quarter-hours as the day."""
        if n_steps != self.n_steps:
            _refuse(
                "FX-T002",
                f"{name} has {n_steps} quarter-hours; local day {self.date} ({self.tz}) has {self.n_steps}",
                hint="a day on which clocks change has 92 or 100 quarter-hours; index by UTC, interval start",
            )

    def to_mtu(
        self, values: npt.NDArray[Any], how: Literal["max", "min", "sum"], mtu: Literal["hour", "quarter"] = "hour"
    ) -> npt.NDArray[Any]:
        """Bring values (n, n_steps) to the market time unit: needs take "max", capabilities "min", energy "sum"."""
        if mtu == "quarter":
            return values
        hours = values.reshape(*values.shape[:-1], self.n_hours, 4)
        return np.asarray(getattr(hours, how)(axis=-1))

    def from_mtu(self, values: npt.NDArray[Any], mtu: Literal["hour", "quarter"] = "hour") -> npt.NDArray[Any]:
        """Repeat values (n, n_units) per market time unit over their quarter-hours."""
        return values if mtu == "quarter" else np.repeat(values, 4, axis=-1)
