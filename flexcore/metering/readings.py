"""Quarter-hourly readings per POD: collected from a table, checked and flagged, or simulated for a simulated day."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array, as_bool, as_float, as_int, as_keys
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, TimeSeriesError, ValidationError, check_option
from flexcore.market_day import MarketDay
from flexcore.units import QUARTER_S

#: Marks a quarter-hour without a reading or without a baseline.
MISSING_W = int(np.iinfo(np.int32).min)

Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_CHUNK = 2048  # PODs: 96 quarter-hours of them take a few milliseconds


def as_power_w(values: npt.ArrayLike, name: str, *, shape: tuple[int | None, ...], lo: int | None = None) -> Int32s:
    """Return int32 watts, without reading an array that already is int32 (a history is read once, by its kernel)."""
    array = as_array(values, name)
    fits = len(shape) == array.ndim and all(n in (None, have) for n, have in zip(shape, array.shape, strict=True))
    if array.dtype == np.int32 and fits and lo is None:
        return np.ascontiguousarray(array)
    return np.asarray(as_int(array, name, dtype=np.int32, shape=shape, lo=lo))


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one market day, one row for each POD.

    Attributes
    ----------
    pods : tuple
        Keys of the PODs, in row order.
    metered_w : ndarray of int32, shape (n_pods, n_steps)
        Mean power, positive = withdrawal; `MISSING_W` where there is none. [W]
    estimated : ndarray of bool, shape (n_pods, n_steps)
        True where the meter operator estimated the value.
    """

    pods: tuple[Any, ...] = field(repr=False)  # of a city: megabytes of text
    metered_w: Int32s
    estimated: Bools

    @property
    def missing(self) -> Bools:
        """True where a quarter-hour has no reading, shape (n_pods, n_steps)."""
        return np.asarray(self.metered_w == MISSING_W)


def _unix_seconds(time: Any) -> Any:
    """Give Arrow timestamps with a zone as unix seconds; all else is left to `MarketDay.step_of`."""
    kind = getattr(time, "type", None)
    if kind is None or not hasattr(kind, "tz") or kind.tz is None:
        return time
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = time.cast(pa.timestamp("s", kind.tz), safe=False)
    seconds = np.asarray(whole.cast(pa.int64()))
    parts = np.asarray(pc.not_equal(whole.cast(kind), time).fill_null(False))
    return np.where(parts, 1, seconds) if parts.any() else seconds  # one second after 1970 starts no quarter-hour


def collect_readings(
    pod: npt.ArrayLike,
    time: Any,
    power_w: npt.ArrayLike,
    *,
    pods: npt.ArrayLike,
    day: MarketDay,
    estimated: npt.ArrayLike | None = None,
    gaps: Literal["refuse", "flag"] = "refuse",
) -> Readings:
    """Sort readings that arrive one per row into a (POD, quarter-hour) array; nothing is guessed or overwritten.

    Parameters
    ----------
    pod : array_like, shape (n,)
        Key of the POD of each reading.
    time : sequence of datetime with a zone, Arrow timestamps with a zone, or ndarray of int64 unix seconds, shape (n,)
        Start of the quarter-hour.
    power_w : array_like of int, shape (n,)
        Mean power, positive = withdrawal. [W]
    pods : array_like, shape (n_pods,)
        Keys of the PODs that are expected, in the order wanted.
    day : MarketDay
    estimated : array_like of bool, shape (n,), optional
    gaps : {"refuse", "flag"}
        A POD with fewer quarter-hours than the day has is an error, or its gaps hold `MISSING_W`.

    Returns
    -------
    Readings

    Raises
    ------
    TimeSeriesError
        FX-T001 a time without zone, FX-T003 outside the day, FX-T004 not on a quarter-hour; FX-B001 duplicates, FX-B002
        gaps, FX-B003 PODs that are not listed, FX-A009 listed twice; with the PODs named.
    ValidationError
        FX-A001, FX-A002, FX-A006 wrong shape, type or range, FX-A010 a key is missing.
    """
    check_option("gaps", gaps, ("refuse", "flag"))
    keys, wanted = as_keys(pod, "pod"), as_keys(pods, "pods")
    n = len(keys)
    power = as_int(power_w, "power_w", dtype=np.int32, shape=(n,), lo=MISSING_W + 1)
    step = day.step_of(_unix_seconds(time))
    found = Findings("readings", n)
    if len(step) != n:
        found.add("FX-A001", f"{n} PODs but {len(step)} times")
        found.raise_errors(TimeSeriesError)
    flags = np.zeros(n, np.bool_) if estimated is None else as_bool(estimated, "estimated", shape=(n,))
    order = np.argsort(wanted, kind="stable")
    twins = np.flatnonzero(wanted[order[1:]] == wanted[order[:-1]])
    if twins.size:
        rows = np.unique(np.concatenate([order[twins], order[twins + 1]]))
        found.add("FX-A009", f"pods names {rows.size} PODs more than once", field="pods", rows=rows, ids=wanted[rows])
        found.raise_errors(TimeSeriesError)
    # numbers never meet text: '7' is not 7
    if len(wanted) and wanted.dtype.kind == keys.dtype.kind:
        row = order[np.minimum(np.searchsorted(wanted, keys, sorter=order), len(wanted) - 1)]
        unknown = np.flatnonzero(wanted[row] != keys)
    else:
        row, unknown = np.zeros(n, np.intp), np.arange(n)
    if unknown.size:
        found.add("FX-B003", f"{unknown.size} readings of PODs that are not listed", rows=unknown, ids=keys[unknown])
        found.raise_errors(TimeSeriesError)
    cell = row * day.n_steps + step
    seen = np.bincount(cell, minlength=len(wanted) * day.n_steps).reshape(len(wanted), day.n_steps)
    repeated = np.flatnonzero((seen > 1)[row, step])
    if repeated.size:
        found.add("FX-B001", f"{repeated.size} readings share a quarter-hour", rows=repeated, ids=keys[repeated])
    have = (seen > 0).sum(axis=1)
    short = np.flatnonzero(have < day.n_steps)
    if short.size and gaps == "refuse":
        found.add(
            "FX-B002",
            f"{short.size} of {len(wanted)} PODs lack quarter-hours: {int(have[short[0]])} instead of {day.n_steps} "
            f"on {day.date} ({day.tz})",
            rows=short,
            ids=wanted[short],
            hint="a local day has 92, 96 or 100 quarter-hours; gaps='flag' keeps the POD and marks its gaps",
        )
    found.raise_errors(TimeSeriesError)
    metered = np.full(len(wanted) * day.n_steps, MISSING_W, np.int32)
    metered[cell] = power
    guessed = np.zeros(len(wanted) * day.n_steps, np.bool_)
    guessed[cell] = flags
    shape = (len(wanted), day.n_steps)
    return Readings(tuple(wanted.tolist()), metered.reshape(shape), guessed.reshape(shape))


def day_steps(past: MarketDay, day: MarketDay) -> npt.NDArray[np.int64]:
    """Step of `past` with the same clock time as each step of `day`, shape (day.n_steps,); -1 where it has none.

    On a day of 92 quarter-hours an hour is missing, and on one of 100 it comes twice: the second 02:00 hour meets the
    second one of `past` if that has two, else the only one.
    """

    def clock(which: MarketDay) -> list[tuple[int, int, int]]:
        zone = which.start().tzinfo
        stamps = [dt.datetime.fromtimestamp((which.first_qh + t) * QUARTER_S, zone) for t in range(which.n_steps)]
        return [(stamp.hour, stamp.minute, stamp.fold) for stamp in stamps]

    at = {key: step for step, key in enumerate(clock(past))}
    return np.array([at.get((h, m, f), at.get((h, m, 0), -1)) for h, m, f in clock(day)], np.int64)


def seed_word(seed: int) -> np.uint64:
    """Return the 64 bits of a seed, of either sign and any size, or refuse by FX-A002 what is no whole number."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        found = Findings("seed")
        found.add("FX-A002", f"seed is {seed!r}, expected a whole number", field="seed")
        found.raise_errors()
    return np.uint64(int(seed) % 2**64)


def simulate_readings(
    load_w: npt.ArrayLike,
    activation_w: npt.ArrayLike,
    *,
    seed: int,
    pod_key: npt.ArrayLike | None = None,
    first_qh: int = 0,
    response: npt.ArrayLike | None = None,
    non_delivery: float = 0.03,
    partial: float = 0.12,
    partial_least: float = 0.4,
    noise: float = 0.05,
    rebound_share: npt.ArrayLike = 0.0,
    rebound_delay: int = 0,
    rebound_steps: int = 8,
    least_w: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Int32s:
    """Readings of a simulated day: load without activation, minus what was delivered of the orders, plus the rebound.

    Parameters
    ----------
    load_w : array_like of int, shape (n_pods, n_steps)
        The truth: load without any activation. Settlement sees only the result. [W]
    activation_w : array_like of int, shape (n_pods, n_steps)
        Ordered change, positive = up (less load), negative = down. [W]
    seed : int
    pod_key : array_like of int64, shape (n_pods,), optional
        Key of each POD that its draws hang on, so that order and partition change nothing; positions if not given.
    first_qh : int
        Absolute index of the first quarter-hour (`MarketDay.first_qh`): other days have other draws.
    response : array_like of float, shape (n_pods,), optional
        Delivered part of each POD's orders; if given, `non_delivery` and `partial` are not drawn. [1]
    non_delivery, partial : float
        Probability, for each event of a POD, that nothing or only a part is delivered. An event is a run of
        neighbouring quarter-hours ordered in one direction.
    partial_least : float
        A partial delivery lies evenly between this part and 1.
    noise : float
        Standard deviation of the delivered power of each quarter-hour, relative to it.
    rebound_share : float or array_like of float, shape (n_pods,)
        Part of the delivered energy that comes back with the opposite sign.
    rebound_delay, rebound_steps : int
        It comes back evenly over `rebound_steps` quarter-hours, `rebound_delay` after the event; what falls after the
        last step is left out. [quarter-hours]
    least_w : array_like of int, shape (n_pods,), optional
        Lowest reading that orders and rebound can lead to: 0 for a POD that cannot inject, minus the power that it may
        inject otherwise; no bound by default. A load below it stays as it is. Rebound that it stops comes in the next
        steps that have room, an order that it stops is not delivered. [W]
    n_threads : int

    Returns
    -------
    ndarray of int32, shape (n_pods, n_steps)
        Metered power, one half-even rounding each. [W]

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A006 a number out of range or a reading that does not fit 32 bits, FX-B007 a
        probability, share or rebound outside its range.
    """
    from flexcore.kernels.metering.readings import simulate

    load = as_power_w(load_w, "load_w", shape=(None, None))
    n_pods, n_steps = load.shape
    ordered = as_power_w(activation_w, "activation_w", shape=(n_pods, n_steps))
    key = np.arange(n_pods) if pod_key is None else as_int(pod_key, "pod_key", shape=(n_pods,))
    rebound = np.atleast_1d(as_float(rebound_share, "rebound_share"))
    answer = np.zeros(0) if response is None else as_float(response, "response", shape=(n_pods,))
    least = np.full(1, -np.inf) if least_w is None else as_int(least_w, "least_w", shape=(n_pods,)).astype(np.float64)
    found = Findings("simulated readings", n_pods)
    begin = int(as_int(first_qh, "first_qh", shape=(), lo=-(1 << 40), hi=1 << 40))
    word = seed_word(seed)
    for name, value, high in (
        ("non_delivery", non_delivery, 1.0),
        ("partial", partial, 1.0),
        ("non_delivery + partial", non_delivery + partial, 1.0),
        ("partial_least", partial_least, 1.0),
        ("noise", noise, 1.0),
    ):
        if not 0.0 <= value <= high:
            found.add("FX-B007", f"{name} is {value}, expected 0..{high}", field=name)
    if rebound.shape not in ((1,), (n_pods,)) or (rebound < 0).any() or (rebound > 2).any():
        found.add("FX-B007", "rebound_share must be one number or one for each POD, in 0..2", field="rebound_share")
    for name, number in (("rebound_delay", rebound_delay), ("rebound_steps", rebound_steps)):
        # it goes into a kernel as it is: a fraction would be cut off, a large one would point beside its arrays
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or not 0 <= number < 1 << 31:
            found.add("FX-B007", f"{name} is {number!r}, expected a whole number from 0, below 2^31", field=name)
    if answer.size and ((answer < 0).any() or (answer > 2).any()):
        found.add("FX-B007", "response must lie in 0..2", rows=np.flatnonzero((answer < 0) | (answer > 2)))
    found.raise_errors(ValidationError)
    metered = np.empty((n_pods, n_steps), np.int32)
    overflow = np.zeros(n_pods, np.uint8)
    keys = np.ascontiguousarray(key.astype(np.int64).view(np.uint64))

    def task(i0: int, i1: int) -> None:
        with np.errstate(over="ignore"):  # only matters where kernels run as plain Python: hashes wrap on purpose
            simulate(
                load, ordered, keys, word, begin, answer, non_delivery, partial, partial_least, noise, rebound,
                rebound_delay, rebound_steps, least, i0, i1, metered, overflow,
            )  # fmt: skip

    run_chunks(task, n_pods, n_threads=n_threads, chunk=_CHUNK)
    if overflow.any():
        rows = np.flatnonzero(overflow)
        found.add("FX-A006", f"readings of {rows.size} PODs do not fit 32 bits", rows=rows, ids=key[rows])
        found.raise_errors(ValidationError)
    return metered
