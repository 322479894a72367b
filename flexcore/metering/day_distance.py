"""How far past days are from the event day: the `day_score` of rules that take the nearest days."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.metering.families.event_day import CHUNK, EventDay, as_mask
from flexcore.metering.families.regression import hundredths
from flexcore.metering.readings import as_power_w

#: Distance of a day that cannot be compared: it is never taken.
FARTHEST = 2**62


@dataclass(frozen=True, slots=True)
class MatchDay:
    """`match_day_distance` as the `day_score` of files, where it is computed block by block.

    Attributes
    ----------
    margin_steps : int
        Quarter-hours on either side of an event that are left out as well.
    """

    margin_steps: int = 4


def temperature_distance(past_c: npt.ArrayLike, today_c: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Difference of a temperature of each past day, such as the maximum, from that of the event day.

    Parameters
    ----------
    past_c : array_like of float, shape (n_days,) or (n_pods, n_days)
        NaN where missing; rounded to hundredths. [degrees Celsius]
    today_c : array_like of float, shape () or (n_pods,)
        Measured or forecast temperature of the event day.

    Returns
    -------
    ndarray of int64, shape (n_days,) or (n_pods, n_days)
        To be passed to `baseline` as `day_score`; `FARTHEST` where the past temperature is missing. [0.01 K]

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A003 no temperature of the event day, FX-B032 beyond 100 degrees.
    """
    past, missing = hundredths(past_c, "past_c")
    now, unknown = hundredths(today_c, "today_c")
    found = Findings("temperature_distance")
    if past.ndim not in (1, 2) or now.ndim > past.ndim - 1 or (now.ndim == 1 and len(now) != len(past)):
        found.add("FX-A001", f"past_c has shape {past.shape}, today_c {now.shape}; days are the last axis")
    if unknown.any():
        found.add("FX-A003", "today_c is NaN", rows=np.flatnonzero(unknown))
    found.raise_errors()
    return np.asarray(np.where(missing, FARTHEST, np.abs(past - now[..., np.newaxis])))


def match_day_distance(
    history_w: npt.ArrayLike,
    today_w: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    margin_steps: int = 4,
    n_threads: int = 1,
) -> npt.NDArray[np.int64]:
    """Mean absolute difference of each past day from the event day, outside the event.

    Parameters
    ----------
    history_w : array_like of int32, shape (n_pods, n_days, n_steps)
        Past days as in `baseline`. [W]
    today_w : array_like of int32, shape (n_pods, n_steps)
        Readings of the whole event day. [W]
    event : array_like of bool, shape (n_pods, n_steps) or (n_steps,)
        True in quarter-hours in which the POD is activated.
    excluded, today_excluded : array_like of bool, optional
        As in `baseline`: quarter-hours that count as not read (BAS-02).
    margin_steps : int
        Quarter-hours on either side of an event that are left out as well.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_pods, n_days)
        To be passed to `baseline` as `day_score`, rounded down; `FARTHEST` where less than half of the quarter-hours
        can be compared. [mW]

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A006 a negative margin.

    Notes
    -----
    PJM Manual 11, match day. That the days are compared by absolute differences is not verified.
    """
    from flexcore.kernels.metering import day_distance as kernels

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    n_pods, n_days, n_steps = history.shape
    today = as_power_w(today_w, "today_w", shape=(n_pods, n_steps))
    _, during, today_out = EventDay(None, event, today_excluded, n_threads, None).arrays(n_pods, n_steps)
    past_out = as_mask(excluded, "excluded", history.shape)
    found = Findings("match_day_distance")
    found.check_count("margin_steps", margin_steps, 0)
    found.raise_errors()
    distance = np.empty((n_pods, n_days), np.int64)

    def task(i0: int, i1: int) -> None:
        kernels.match_day_distance(history, today, during, past_out, today_out, margin_steps, i0, i1, distance)

    run_chunks(task, n_pods, n_threads=n_threads, chunk=CHUNK)
    return distance
