"""Service windows: in which quarter-hours contracted power must be available, by the local calendar."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, OfferError, UnknownIdError
from flexcore.market_day import MarketDay
from flexcore.tables import check

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

#: Weekdays of a window as bits: Monday to Friday, and all seven.
WORKDAYS, EVERY_DAY = 0b0011111, 0b1111111


def month_bits(*months: int) -> int:
    """Return months, January is 1, as the bits that a service window takes."""
    found = Findings("months")
    for month in months:
        if not isinstance(month, int) or not 1 <= month <= 12:
            found.add("FX-A006", f"{month!r} is no month, expected 1..12", field="months")
    found.raise_errors(OfferError)
    return sum({1 << (month - 1) for month in months})


@dataclass(frozen=True, slots=True)
class WindowSets:
    """Lists of windows, one per offer or contract.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_sets + 1,)
    windows : ndarray of int32, shape (n_entries,)
        Positions in the table of windows, ascending within each set; no set is empty.
    """

    indptr: Int64s
    windows: Int32s

    @property
    def n_sets(self) -> int:
        """Number of sets."""
        return int(self.indptr.size - 1)

    def of(self, row: int) -> tuple[int, ...]:
        """Return the windows of one set."""
        return tuple(self.windows[self.indptr[row] : self.indptr[row + 1]].tolist())

    def distinct(self) -> tuple["WindowSets", npt.NDArray[np.int64]]:
        """Return the different sets, and for each row which of them it is."""
        number: dict[tuple[int, ...], int] = {}
        which = np.array([number.setdefault(self.of(row), len(number)) for row in range(self.n_sets)], np.int64)
        sizes = [len(key) for key in number]
        flat = np.array([w for key in number for w in key], np.int32)
        return WindowSets(np.r_[0, np.cumsum(sizes, dtype=np.int64)].astype(np.int64), flat), which

    def overlap(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Mark where any window of each set is open; `mask` is (n_windows, n_steps), the result (n_sets, n_steps)."""
        if not self.n_sets:
            return np.zeros((0, mask.shape[1]), np.bool_)
        return np.asarray(np.logical_or.reduceat(mask[self.windows], self.indptr[:-1], axis=0))


@dataclass(frozen=True, slots=True)
class ServiceWindows:
    """The calendar of service windows.

    A quarter-hour lies in a window if the local clock at its start shows an allowed date, month, weekday and time. So a
    window over the hour that a clock change leaves out has four quarter-hours fewer on that day, and one over the hour
    that is repeated has four more. A window does not pass midnight: give it as two, an offer can cover both.

    Attributes
    ----------
    window_id : ndarray, shape (n_windows,)
    first_day, last_day : ndarray of int64, shape (n_windows,)
        Proleptic Gregorian ordinals of the first and the last local day, both included.
    months, weekdays : ndarray of int32, shape (n_windows,)
        Bits, January and Monday are 1.
    from_quarter, to_quarter : ndarray of int32, shape (n_windows,)
        By the local clock, `to_quarter` not included.
    tz : str
    """

    window_id: npt.NDArray[Any]
    first_day: Int64s
    last_day: Int64s
    months: Int32s
    weekdays: Int32s
    from_quarter: Int32s
    to_quarter: Int32s
    tz: str

    @classmethod
    def from_table(cls, windows: Any, *, tz: str = "Europe/Rome") -> "ServiceWindows":
        """Check a table of service windows.

        Raises
        ------
        OfferError
            FX-A001..FX-A011 for the table, FX-T005 a date that does not exist, FX-M270 an end before a start.
        """
        table = check("service_windows", windows, error=OfferError)
        found = Findings("service_windows", table["window_id"].size)
        days = {name: _ordinals(table, name, found) for name in ("first_day", "last_day")}
        found.raise_errors(OfferError)
        for first, last, what in (
            (days["first_day"], days["last_day"] + 1, "last_day"),
            (table["from_quarter"], table["to_quarter"], "to_quarter"),
        ):
            bad = np.flatnonzero(first >= last)
            if bad.size:
                hint = "give a window that passes midnight as two" if what == "to_quarter" else ""
                ids = table["window_id"][bad]
                found.add("FX-M270", f"{what} lies before the start", field=what, rows=bad, ids=ids, hint=hint)
        found.raise_errors(OfferError)
        return cls(
            table["window_id"], days["first_day"], days["last_day"], table["months"], table["weekdays"],
            table["from_quarter"], table["to_quarter"], tz,
        )  # fmt: skip

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return int(self.window_id.size)

    def open(self, day: MarketDay) -> npt.NDArray[np.bool_]:
        """Mark the steps of a day that lie in each window, shape (n_windows, n_steps)."""
        today = day.date.toordinal()
        due = (self.first_day <= today) & (today <= self.last_day)
        due &= (self.months >> (day.date.month - 1) & 1 == 1) & (self.weekdays >> day.weekday & 1 == 1)
        clock = 4 * day.local_hour + np.arange(day.n_steps) % 4  # clocks change by whole hours
        inside = (self.from_quarter[:, None] <= clock) & (clock < self.to_quarter[:, None])
        return np.ascontiguousarray(inside & due[:, None])

    def by_month(self) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
        """Yield the months of the season as (100 * year + month, mask of shape (n_windows, steps of the month))."""
        if not self.n_windows:
            return
        first, last = int(self.first_day.min()), int(self.last_day.max())
        label, days = 0, list[npt.NDArray[np.bool_]]()
        for ordinal in range(first, last + 1):
            date = dt.date.fromordinal(ordinal)
            if (month := 100 * date.year + date.month) != label:
                if days:
                    yield label, np.concatenate(days, axis=1)
                label, days = month, []
            days.append(self.open(MarketDay(date, self.tz)))
        yield label, np.concatenate(days, axis=1)

    def quarters(self, sets: WindowSets) -> Int64s:
        """Count the quarter-hours of each set of windows, those in several of its windows once, shape (n_sets,)."""
        total = np.zeros(sets.n_sets, np.int64)
        for _, mask in self.by_month():
            total += sets.overlap(mask).sum(axis=1)
        return total

    def sets(self, owner: Any, keys: npt.NDArray[Any], window: Any, table: str) -> WindowSets:
        """Turn rows of (owner, window) into one set per owner.

        Parameters
        ----------
        owner, window : ndarray, shape (n_rows,)
            Keys as given.
        keys : ndarray, shape (n_sets,)
            The owners, each once.
        table : str
            Name in messages.

        Raises
        ------
        UnknownIdError
            FX-M271 an owner or a window that does not exist.
        OfferError
            FX-M274 a window twice for one owner, FX-M272 an owner without a window.
        """
        row, column = positions(owner, keys, table, "owner"), positions(window, self.window_id, table, "window_id")
        order = np.lexsort((column, row))
        twice = order[1:][(np.diff(row[order]) == 0) & (np.diff(column[order]) == 0)]
        found = Findings(table, row.size)
        if twice.size:
            found.add("FX-M274", "a window is given twice", field="window_id", rows=np.sort(twice), ids=owner[twice])
        size = np.bincount(row, minlength=keys.size)
        none = np.flatnonzero(size == 0)
        if none.size:
            found.add("FX-M272", f"{none.size} have no service window", rows=none, ids=keys[none])
        found.raise_errors(OfferError)
        return WindowSets(np.r_[0, np.cumsum(size)].astype(np.int64), column[order].astype(np.int32))


def positions(values: npt.NDArray[Any], keys: npt.NDArray[Any], table: str, field: str) -> Int64s:
    """Return the position of each value among unique keys; UnknownIdError FX-M271 names those that are not there."""
    place = {key: k for k, key in enumerate(keys.tolist())}
    at = np.array([place.get(value, -1) for value in values.tolist()], np.int64)
    bad = np.flatnonzero(at < 0)
    found = Findings(table, at.size)
    if bad.size:
        found.add("FX-M271", f"{bad.size} rows name an unknown {field}", field=field, rows=bad, ids=values[bad])
    found.raise_errors(UnknownIdError)
    return at


def _ordinals(table: dict[str, npt.NDArray[Any]], name: str, found: Findings) -> Int64s:
    days = np.zeros(table[name].size, np.int64)
    for row, text in enumerate(table[name].tolist()):
        try:
            days[row] = dt.date.fromisoformat(text).toordinal()
        except ValueError:
            found.add("FX-T005", f"{name} {text!r} is no date", field=name, rows=[row], ids=table["window_id"][[row]])
    return days
