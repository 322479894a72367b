"""Readings of several past days, brought to the clock of the event day."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flexcore.arrays import output
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError
from flexcore.market_day import MarketDay
from flexcore.metering.readings import MISSING_W, Int32s, Readings, as_power_w, day_steps

_CHUNK = 512  # PODs: what a block of them writes stays in the cache, day after day


def steps_of_days(days: Sequence[MarketDay], day: MarketDay) -> npt.NDArray[np.int64]:
    """Step of each past day that shows the clock time of each step of `day`, shape (n_days, day.n_steps); -1: none."""
    same = np.arange(day.n_steps)
    return np.array(
        [same if past.n_steps == day.n_steps == 96 else day_steps(past, day) for past in days], np.int64
    ).reshape(len(days), day.n_steps)


def _runs(columns: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Cut the steps of one day into runs (first, end, first column) that are copied as blocks; column -1: none."""
    cuts = np.flatnonzero((np.diff(columns) != 1) | (columns[:-1] < 0)) + 1
    return [(int(lo), int(hi), int(columns[lo])) for lo, hi in zip([0, *cuts], [*cuts, columns.size], strict=True)]


def assemble_history(
    days: Sequence[MarketDay],
    readings: Sequence[Readings | npt.ArrayLike],
    day: MarketDay,
    *,
    n_threads: int = 1,
    out: Int32s | None = None,
) -> Int32s:
    """Put readings of past days of 92, 96 or 100 quarter-hours on the clock of the event day.

    Parameters
    ----------
    days : sequence of MarketDay, length n_days
        Past days, in the order wanted (`baseline` wants the oldest first).
    readings : sequence of Readings or array_like of int32, length n_days, each of shape (n_pods, days[d].n_steps)
        Mean power, positive = withdrawal; `MISSING_W` where there is none. [W]
    day : MarketDay
        Event day.
    n_threads : int
    out : ndarray of int32, shape (n_pods, n_days, day.n_steps), optional
        Overwritten and returned.

    Returns
    -------
    ndarray of int32, shape (n_pods, n_days, day.n_steps)
        `MISSING_W` also where a past day has no such clock time. [W]

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A005, FX-A006 shapes, types and ranges, FX-B003 days whose PODs differ; TimeSeriesError
        FX-T002 readings that do not have the quarter-hours of their day.
    """
    found = Findings("readings")
    if len(days) != len(readings):
        found.add("FX-A001", f"{len(days)} days but readings of {len(readings)}")
        found.raise_errors(ValidationError)
    arrays: list[Int32s] = []
    pods = None
    for position, (past, one) in enumerate(zip(days, readings, strict=True)):
        if isinstance(one, Readings):
            pods = one.pods if pods is None else pods
            if one.pods != pods:
                found.add("FX-B003", f"readings of {past.date} list other PODs than the days before", rows=[position])
        values = one.metered_w if isinstance(one, Readings) else one
        array = as_power_w(values, f"readings[{position}]", shape=(len(arrays[0]) if arrays else None, None))
        past.check_steps(array.shape[1], f"readings[{position}]")
        arrays.append(array)
    found.raise_errors(ValidationError)
    shape = (len(arrays[0]) if arrays else 0, len(days), day.n_steps)
    history: Int32s = output(out, "out", shape=shape, dtype=np.int32, inputs=tuple(arrays))
    runs = [_runs(columns) for columns in steps_of_days(days, day)]

    def task(i0: int, i1: int) -> None:
        for d, (array, pieces) in enumerate(zip(arrays, runs, strict=True)):
            for lo, hi, start in pieces:
                history[i0:i1, d, lo:hi] = MISSING_W if start < 0 else array[i0:i1, start : start + hi - lo]

    run_chunks(task, shape[0], n_threads=n_threads, chunk=_CHUNK)
    return history
