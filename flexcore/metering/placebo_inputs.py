"""Naive stand-ins for what an operator or a BSP would send on a placebo day: nominations, controls, fixed profiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.metering.day_distance import match_day_distance
from flexcore.metering.readings import MISSING_W, Bools, Int32s

_WEEK = 7


@dataclass(frozen=True, slots=True)
class PlaceboDay:
    """What is known on the day of one placebo event.

    Attributes
    ----------
    power_w : ndarray of int32, shape (n_pods, n_days, n_steps)
        All readings, also of later days, which no input may use.
    day, first : int
        Event day, and first day of its look-back.
    history_w : ndarray of int32, shape (n_pods, day - first, n_steps)
    today_w : ndarray of int32, shape (n_pods, n_steps)
        `MISSING_W` during the event.
    event : ndarray of bool, shape (n_steps,)
    eligible : ndarray of bool, shape (day - first,)
        Days of the look-back that are like the event day.
    untouched : ndarray of bool, shape (day - first,)
        Days of the look-back without a real event, like it or not.
    class_of : ndarray of int64, shape (n_pods,)
    """

    power_w: Int32s
    day: int
    first: int
    history_w: Int32s
    today_w: Int32s
    event: Bools
    eligible: Bools
    untouched: Bools
    class_of: npt.NDArray[np.int64]


#: Gives one keyword argument of `baseline`.
DayInput = Callable[[PlaceboDay], npt.ArrayLike]


def week_before(on: PlaceboDay) -> npt.ArrayLike:
    """Nomination: what was read on the same weekday of the week before."""
    return on.power_w[:, on.day - _WEEK] if on.day >= _WEEK else np.full_like(on.today_w, MISSING_W)


def others_today(on: PlaceboDay) -> npt.ArrayLike:
    """Control group: what everybody was read to draw on the day; `others_of_class` says who stands for whom."""
    return np.ascontiguousarray(on.power_w[:, on.day])


def others_of_class(on: PlaceboDay) -> npt.ArrayLike:
    """Control group: for each POD all others of its class, -1 where there are no more."""
    n_pods = len(on.class_of)
    like = (on.class_of == on.class_of[:, np.newaxis]) & ~np.eye(n_pods, dtype=np.bool_)
    width = max(int(like.sum(axis=1).max(initial=0)), 1)
    members = np.full((n_pods, width), -1, np.int64)
    row, column = np.nonzero(like)
    members[row, np.arange(len(row)) - np.searchsorted(row, row)] = column
    return members


def class_profiles(on: PlaceboDay) -> npt.ArrayLike:
    """Fixed reference: mean of each class's readings on the days of the look-back that are like the event day."""
    n_classes = int(on.class_of.max(initial=-1)) + 1
    past = on.history_w[:, on.eligible]
    known = past != MISSING_W
    total = np.zeros((n_classes, past.shape[2]), np.int64)
    count = np.zeros_like(total)
    np.add.at(total, on.class_of, np.where(known, past, 0).sum(axis=1, dtype=np.int64))
    np.add.at(count, on.class_of, known.sum(axis=1))
    mean = np.rint(total / np.maximum(count, 1)).astype(np.int32)
    return np.where(count > 0, mean, np.int32(MISSING_W))


def distance_today(on: PlaceboDay) -> npt.ArrayLike:
    """Match day: how far each day of the look-back is from the event day outside the event."""
    return match_day_distance(on.history_w, on.today_w, on.event)


#: Preset to arguments that mean something to it alone: other rules compare days by other scores, or need like days.
INPUTS_OF_PRESET: Mapping[str, Mapping[str, DayInput]] = {
    "pjm_match_day": {"day_score": distance_today},
    "degree_hours": {"eligible": lambda on: on.untouched, "day_off": lambda on: ~on.eligible},
}

#: Argument of `baseline` to its stand-in.
NAIVE_INPUTS: Mapping[str, DayInput] = {
    "nominated_w": week_before,
    "control_w": others_today,
    "control_of": others_of_class,
    "reference_w": class_profiles,
    "reference_of": lambda on: on.class_of,
}
