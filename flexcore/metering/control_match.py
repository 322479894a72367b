"""Which PODs without event stand for a POD: the nearest ones by their history, or a draw."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError
from flexcore.metering.families.control_group import as_barred
from flexcore.metering.families.event_day import CHUNK, as_mask, order_of_choice
from flexcore.metering.readings import Int32s, as_power_w, seed_word

Int64s = npt.NDArray[np.int64]

_CHUNK = 64  # PODs: a thousand controls take about two milliseconds


def match_controls(
    history_w: npt.ArrayLike,
    control_history_w: npt.ArrayLike,
    *,
    n_members: int,
    eligible: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    control_excluded: npt.ArrayLike | None = None,
    control_event: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Int64s:
    """Rows of the controls whose mean day is nearest to that of each POD.

    Parameters
    ----------
    history_w : array_like of int32, shape (n_pods, n_days, n_steps)
        Past days of the PODs that need a baseline. [W]
    control_history_w : array_like of int32, shape (n_controls, n_days, n_steps)
        The same days of PODs that may stand for others. [W]
    n_members : int
        Controls for each POD.
    eligible : array_like of bool or uint8, shape (n_days,), optional
        Days that are compared (order of choice 1); all if not given.
    excluded, control_excluded : array_like of bool, shape (rows, n_days, n_steps) or (n_days, n_steps), optional
        Quarter-hours of either that count as not read (BAS-02).
    control_event : array_like of bool, shape (n_controls, n_steps) or (n_steps,), optional
        Events of the controls on the event day; who has one is never chosen.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_pods, n_members)
        To be passed to `baseline` as `control_of`: nearest first, equal ones by row; -1 where no more can be compared.

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A006 numbers out of range.

    Notes
    -----
    Mean days are rounded to whole watts. Their distance is the mean absolute difference in mW, rounded down, over the
    quarter-hours that both have, which must be half of the POD's.
    """
    from flexcore.kernels.metering.control_group import nearest_controls

    past = as_power_w(history_w, "history_w", shape=(None, None, None))
    others = as_power_w(control_history_w, "control_history_w", shape=(None, *past.shape[1:]))
    _check_members(n_members)
    days = order_of_choice(eligible, (1, past.shape[1])) == 1
    barred = as_barred(control_event, len(others), past.shape[2])
    profile = _mean_profile(past, days, as_mask(excluded, "excluded", past.shape), n_threads)
    gone = as_mask(control_excluded, "control_excluded", others.shape)
    other_profile = _mean_profile(others, days, gone, n_threads)
    members = np.empty((len(past), n_members), np.int64)

    def task(i0: int, i1: int) -> None:
        nearest_controls(profile, other_profile, barred, i0, i1, members)

    run_chunks(task, len(past), n_threads=n_threads, chunk=_CHUNK)
    return members


def draw_controls(
    pod_key: npt.ArrayLike,
    control_key: npt.ArrayLike,
    *,
    n_members: int,
    seed: int,
    n_steps: int,
    control_event: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Int64s:
    """Rows of controls drawn at random for each POD, the same for the same seed and keys in any order.

    Parameters
    ----------
    pod_key, control_key : array_like of int64, shape (n_pods,) and (n_controls,)
        Keys that the draw hangs on.
    n_members : int
        Controls for each POD, without repetition.
    seed : int
    n_steps : int
        Quarter-hours of the event day.
    control_event : array_like of bool, shape (n_controls, n_steps) or (n_steps,), optional
        Events of the controls on the event day; who has one is never drawn.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_pods, n_members)
        To be passed to `baseline` as `control_of`; -1 where there are no more.

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A006 numbers out of range.
    """
    from flexcore.kernels.metering.control_group import random_controls

    pods = np.ascontiguousarray(as_int(pod_key, "pod_key", shape=(None,))).view(np.uint64)
    controls = np.ascontiguousarray(as_int(control_key, "control_key", shape=(None,))).view(np.uint64)
    _check_members(n_members)
    barred = as_barred(control_event, len(controls), n_steps)
    members = np.empty((len(pods), n_members), np.int64)
    word = seed_word(seed)

    def task(i0: int, i1: int) -> None:
        with np.errstate(over="ignore"):  # only matters where kernels run as plain Python: hashes wrap on purpose
            random_controls(pods, controls, barred, word, i0, i1, members)

    run_chunks(task, len(pods), n_threads=n_threads, chunk=_CHUNK)
    return members


def _check_members(n_members: int) -> None:
    found = Findings("controls")
    found.check_count("n_members", n_members, 1)
    found.raise_errors(ValidationError)


def _mean_profile(
    history: Int32s, days: npt.NDArray[np.bool_], excluded: npt.NDArray[np.bool_], n_threads: int
) -> Int32s:
    from flexcore.kernels.metering.control_group import mean_profile

    profile = np.empty((len(history), history.shape[2]), np.int32)

    def task(i0: int, i1: int) -> None:
        mean_profile(history, days, excluded, i0, i1, profile)

    run_chunks(task, len(history), n_threads=n_threads, chunk=CHUNK)
    return profile
