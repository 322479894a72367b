"""Placebo events: days and windows without any activation, on which the readings are the truth that baselines miss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int, as_keys
from flexcore.errors import Findings, ValidationError
from flexcore.metering.readings import Bools

#: Windows of the default draw, name to first and end quarter-hour of a day of 96: those in which activations happen.
WINDOWS: dict[str, tuple[int, int]] = {
    "02-05": (8, 20),
    "07-09": (28, 36),
    "11-14": (44, 56),
    "17-19": (68, 76),
    "18-22": (72, 88),
}

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlaceboEvents:
    """Events that never were, in order of day and window.

    Attributes
    ----------
    day : ndarray of int64, shape (n_events,)
        Position of the event day in the history.
    window : ndarray of int64, shape (n_events,)
        Position in `windows`.
    stratum : ndarray of int64, shape (n_events,)
    windows : dict of str to (int, int)
        First and end quarter-hour.
    day_type : ndarray of int64, shape (n_days,)
    real_event : ndarray of bool, shape (n_days,)
        Days that are neither event day nor reference day.
    look_back_days : int
        Reference days lie at most so many days before the event day.
    n_steps : int
        Quarter-hours of each day.
    """

    day: Int64s
    window: Int64s
    stratum: Int64s
    windows: dict[str, tuple[int, int]]
    day_type: Int64s
    real_event: Bools
    look_back_days: int
    n_steps: int

    def __len__(self) -> int:
        return len(self.day)

    @property
    def during(self) -> Bools:
        """True in the quarter-hours of each event, shape (n_events, n_steps)."""
        bounds = np.array(list(self.windows.values()), np.int64).reshape(-1, 2)[self.window]
        step = np.arange(self.n_steps)
        return np.asarray((step >= bounds[:, :1]) & (step < bounds[:, 1:]))

    def reference_days(self, event: int) -> tuple[int, Bools]:
        """First day of the look-back of an event, and which of the days from there to the day before are like it."""
        day = int(self.day[event])
        first = max(day - self.look_back_days, 0)
        like = (self.day_type[first:day] == self.day_type[day]) & ~self.real_event[first:day]
        return first, np.asarray(like)

    def to_arrow(self) -> Any:
        """Return one row for each event as a pyarrow Table."""
        import pyarrow as pa

        names = list(self.windows)
        bounds = np.array(list(self.windows.values()), np.int64).reshape(-1, 2)[self.window]
        return pa.table(
            {
                "day": self.day,
                "window": [names[k] for k in self.window],
                "first_step": bounds[:, 0],
                "end_step": bounds[:, 1],
                "stratum": self.stratum,
            }
        )


def placebo_events(
    day_type: npt.ArrayLike,
    *,
    stratum: npt.ArrayLike | None = None,
    real_event: npt.ArrayLike | None = None,
    windows: Mapping[str, tuple[int, int]] = WINDOWS,
    n_per_stratum: int = 4,
    look_back_days: int = 60,
    least_days: int = 10,
    n_steps: int = 96,
    seed: int = 0,
) -> PlaceboEvents:
    """Draw days for placebo events: of each stratum and window so many, without replacement.

    Parameters
    ----------
    day_type : array_like of int or str, shape (n_days,)
        Days of one type are like each other: `Calendar.day_type` of each, or numbers.
    stratum : array_like of int, shape (n_days,), optional
        What the draw is spread over, such as the season; one stratum if not given. A negative one is never drawn.
    real_event : array_like of bool, shape (n_days,), optional
        Days with an activation of either operator, or its rebound: neither drawn nor reference days.
    windows : mapping of str to (int, int)
        First and end quarter-hour of each window.
    n_per_stratum : int
        Events of each stratum and window; fewer where it has fewer days.
    look_back_days, least_days : int
        A day is drawn only if so many days like it lie within the look-back.
    n_steps : int
        Quarter-hours of each day.
    seed : int

    Returns
    -------
    PlaceboEvents

    Raises
    ------
    ValidationError
        FX-A001, FX-A002 shapes and types, FX-A006 a count that is not one, FX-B050 a window is empty or leaves the day,
        FX-B051 no day can be drawn.

    Notes
    -----
    Each draw hangs on (seed, day, window) only: another window, stratum or day changes none of the others' order.
    """
    kind = as_keys(day_type, "day_type")
    if kind.dtype.kind == "U":
        kind = np.unique(kind, return_inverse=True)[1].astype(np.int64)
    n_days = len(kind)
    layer = np.zeros(n_days, np.int64) if stratum is None else as_int(stratum, "stratum", shape=(n_days,))
    touched = np.zeros(n_days, np.bool_) if real_event is None else as_bool(real_event, "real_event", shape=(n_days,))
    found = Findings("placebo events")
    for name, value, least in (
        ("n_per_stratum", n_per_stratum, 1),
        ("look_back_days", look_back_days, 1),
        ("least_days", least_days, 0),
        ("n_steps", n_steps, 1),
        ("seed", seed, 0),
    ):
        found.check_count(name, value, least)
    found.raise_errors(ValidationError)
    for name, (first, end) in windows.items():
        whole = isinstance(first, int | np.integer) and isinstance(end, int | np.integer)
        if not (whole and 0 <= first < end <= n_steps):
            found.add("FX-B050", f"window {name!r} is {first}..{end} of a day of {n_steps} quarter-hours")
    found.raise_errors(ValidationError)
    # like days before each day, by running counts of each type
    n_like = np.zeros(n_days, np.int64)
    start = np.maximum(np.arange(n_days) - look_back_days, 0)
    for value in np.unique(kind):
        before = np.concatenate([[0], np.cumsum((kind == value) & ~touched)])
        n_like = np.where(kind == value, before[:n_days] - before[start], n_like)
    able = np.flatnonzero((n_like >= least_days) & ~touched & (layer >= 0))
    days, places = [], []
    for place in range(len(windows)):
        draw = _hash(seed, able, place)
        order = np.lexsort((able, draw, layer[able]))
        rank = np.arange(len(able)) - np.searchsorted(layer[able][order], layer[able][order])
        chosen = able[order[rank < n_per_stratum]]
        days.append(chosen)
        places.append(np.full(len(chosen), place, np.int64))
    day, window = np.concatenate([[], *days]).astype(np.int64), np.concatenate([[], *places]).astype(np.int64)
    if not len(day):
        found.add("FX-B051", f"none of {n_days} days has {least_days} days like it in the {look_back_days} before it")
        found.raise_errors(ValidationError)
    order = np.lexsort((window, day))
    day, window = day[order], window[order]
    return PlaceboEvents(day, window, layer[day], dict(windows), kind, touched, look_back_days, n_steps)


def draw_groups(n_pods: int, size: int, n_groups: int, *, seed: int) -> Int64s:
    """Draw groups of distinct PODs, as positions of shape (n_groups, size); one group if each would hold all PODs."""
    pods = np.arange(n_pods)
    number = 1 if size == n_pods else n_groups
    drawn = [np.argsort(_hash(seed, pods, group), kind="stable")[:size] for group in range(number)]
    return np.sort(np.array(drawn, np.int64).reshape(-1, size), axis=1)


def _hash(seed: int, item: Int64s, place: int) -> npt.NDArray[np.uint64]:
    """One number of 64 bits for each (seed, item, place), by integer arithmetic alone: the same on every machine."""
    golden, one, two = (np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    value = item.astype(np.uint64) * np.uint64(1 << 16) + np.uint64(place)
    for word in (np.full(1, seed, np.uint64), np.zeros(1, np.uint64)):
        value = (value ^ word) + golden
        value = (value ^ (value >> np.uint64(30))) * one
        value = (value ^ (value >> np.uint64(27))) * two
        value = value ^ (value >> np.uint64(31))
    return value
