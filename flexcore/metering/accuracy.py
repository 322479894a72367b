"""How far baselines are from readings where nobody was activated: bias, RRMSE, MAPE, OPI, and screening by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.metering.readings import MISSING_W, as_power_w

#: Columns of error sums; the meaning of each stands with `error_sums`.
N, UNKNOWN, ERROR, ABS_ERROR, LOAD, ABS_LOAD, SQUARE_LOW, SQUARE_HIGH, LOAD_SQUARE_LOW, LOAD_SQUARE_HIGH = range(10)
N_SUMS = 10
#: Bits of `Screening.reason`.
RRMSE_TOO_HIGH, BIAS_TOO_HIGH, NOT_DEFINED = 1, 2, 4
#: Bit to meaning.
REASONS: dict[int, str] = {
    RRMSE_TOO_HIGH: "RRMSE above the limit",
    BIAS_TOO_HIGH: "average relative error above the limit",
    NOT_DEFINED: "no relative error: no load, or loads that cancel",
}

RelativeTo = Literal["load", "absolute"]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_CHUNK = 4096
_LARGEST_DELIVERED = 1 << 33  # a difference of 32-bit numbers is smaller; sums of it do not overflow
_CANCEL = 10  # loads whose sum is below a tenth of the sum of their sizes cancel: a ratio to it says nothing


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Measures of the error e = B - L, one row for each group of (POD, event) pairs.

    Attributes
    ----------
    n_events : ndarray of int64, shape (n_groups,)
        Pairs with at least one known error.
    n_steps, n_unknown : ndarray of int64, shape (n_groups,)
        Event quarter-hours with a baseline and a reading, and those without.
    bias : ndarray of float64, shape (n_groups,)
        sum e / sum L: above zero where the baseline is too high. [1]
    rrmse : ndarray of float64, shape (n_groups,)
        sqrt(mean e^2) / mean L, which is also called CVRMSE. [1]
    mape_mean, mape_median : ndarray of float64, shape (n_groups,)
        Mean and median over the events of abs(sum e) / sum L within the event. [1]
    n_percent : ndarray of int64, shape (n_groups,)
        Events that have such a percent error; the others are left out of both.
    opi : ndarray of float64, shape (n_groups,)
        Overall performance index: sqrt(bias^2 + RRMSE^2), or alpha abs(bias) + (1 - alpha) RRMSE. [1]
    opi_of_zero : ndarray of float64, shape (n_groups,)
        OPI of a baseline of zero, a yardstick: a method that is no better knows nothing of the load. [1]
    gain_error : ndarray of float64, shape (n_groups,)
        Sum over events of abs(sum e), over the energy delivered; NaN where that is unknown or not above zero. [1]
    relative_to : {"load", "absolute"}
        "load": as written. "absolute": with abs(L) in place of L in denominators.
    """

    n_events: Int64s
    n_steps: Int64s
    n_unknown: Int64s
    bias: Floats
    rrmse: Floats
    mape_mean: Floats
    mape_median: Floats
    n_percent: Int64s
    opi: Floats
    opi_of_zero: Floats
    gain_error: Floats
    relative_to: RelativeTo

    def to_arrow(self, names: Sequence[Any] | None = None) -> Any:
        """Return one row for each group as a pyarrow Table; `names` are the groups' own, positions if not given."""
        import pyarrow as pa

        columns = {"group": list(range(len(self.bias)) if names is None else names)}
        fields = [name for name in self.__slots__ if name != "relative_to"]
        return pa.table(columns | {name: getattr(self, name) for name in fields})


def error_sums(
    baseline_w: npt.ArrayLike, metered_w: npt.ArrayLike, event: npt.ArrayLike, *, n_threads: int = 1
) -> Int64s:
    """Sums of errors and loads over the event quarter-hours of each row, exact: those of several rows just add up.

    Parameters
    ----------
    baseline_w, metered_w : array_like of int32, shape (n_rows, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. A row is one POD or aggregate on one day. [W]
    event : array_like of bool, shape (n_rows, n_steps) or (n_steps,)
        Quarter-hours that are compared.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_rows, 10)
        Quarter-hours with both numbers and those without, then over the former the sums of e, abs(e), L, abs(L), and of
        e^2 and L^2 in two words each: sum = low + 2^32 high.
    """
    from flexcore.kernels.metering.accuracy import error_sums as kernel

    baseline = as_power_w(baseline_w, "baseline_w", shape=(None, None))
    metered = as_power_w(metered_w, "metered_w", shape=baseline.shape)
    during = np.atleast_2d(as_bool(event, "event"))
    if during.shape not in (baseline.shape, (1, baseline.shape[1])):
        found = Findings("event")
        found.add("FX-A001", f"event has shape {np.shape(event)}, expected {baseline.shape} or {baseline.shape[1:]}")
        found.raise_errors()
    sums = np.empty((len(baseline), N_SUMS), np.int64)

    def task(i0: int, i1: int) -> None:
        kernel(baseline, metered, during, i0, i1, sums)

    run_chunks(task, len(baseline), n_threads=n_threads, chunk=_CHUNK)
    return sums


def accuracy(
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    group: npt.ArrayLike | None = None,
    n_groups: int | None = None,
    delivered_w: npt.ArrayLike | None = None,
    relative_to: RelativeTo = "load",
    alpha: float | None = None,
    n_threads: int = 1,
) -> Accuracy:
    """Bias, RRMSE, MAPE and OPI of baselines against readings of events that never were.

    Parameters
    ----------
    baseline_w, metered_w : array_like of int32, shape (n_rows, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. A row is one POD or aggregate on one event day, without
        any activation. [W]
    event : array_like of bool, shape (n_rows, n_steps) or (n_steps,)
        Quarter-hours of the placebo event.
    group : array_like of int, shape (n_rows,), optional
        Group of each row, 0..n_groups - 1: its POD, its class, its event. One group of all rows if not given.
    n_groups : int, optional
        Highest group + 1 if not given.
    delivered_w : array_like of int, shape (n_rows, n_steps), optional
        What was or would have been delivered, for `gain_error`; `MISSING_DELIVERED` where unknown. [W]
    relative_to : {"load", "absolute"}
        "load": sum L in denominators; NaN where it is below a tenth of sum abs(L), which is so for generation and for
        loads that cancel. "absolute": sum abs(L), which is the same for pure loads and defined for generation.
    alpha : float, optional
        Weight of the bias in the linear form of OPI, 0..1; the root of squares if not given.
    n_threads : int

    Returns
    -------
    Accuracy

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A004, FX-A006 a group outside its range, FX-B052 alpha outside 0..1; FX-E002.

    Notes
    -----
    Sources: CAISO and the California studies report the median percent error and the median absolute percent error;
    AEMO screens by RRMSE; OPI as in the literature on baselines (unverified). All figures come from exact integer sums.
    """
    base = as_power_w(baseline_w, "baseline_w", shape=(None, None))
    read = as_power_w(metered_w, "metered_w", shape=base.shape)
    sums = error_sums(base, read, event, n_threads=n_threads)
    if group is None:
        which, n = np.zeros(len(sums), np.int64), 1
    else:
        if n_groups is not None:
            found = Findings("accuracy")
            found.check_count("n_groups", n_groups, 0)
            found.raise_errors(ValidationError)
        top = None if n_groups is None else n_groups - 1
        which = as_int(group, "group", shape=(len(sums),), lo=0, hi=top)
        n = n_groups if n_groups is not None else int(which.max(initial=-1)) + 1
    delivered = None
    if delivered_w is not None:
        given = as_int(delivered_w, "delivered_w", shape=base.shape)
        counted = np.atleast_2d(np.asarray(event)) & (base != MISSING_W) & (read != MISSING_W)
        unknown = counted & (given == MISSING_DELIVERED)
        known = np.where(counted & ~unknown, given, 0)
        known = as_int(known, "delivered_w", lo=-_LARGEST_DELIVERED, hi=_LARGEST_DELIVERED)
        delivered = np.where(unknown.any(axis=1), MISSING_DELIVERED, known.sum(axis=1))
    return measures(sums, which, n, relative_to=relative_to, alpha=alpha, delivered=delivered)


def measures(
    sums: Int64s,
    group: Int64s,
    n_groups: int,
    *,
    relative_to: RelativeTo = "load",
    alpha: float | None = None,
    delivered: Int64s | None = None,
) -> Accuracy:
    """Measures of groups of rows of `error_sums`; `delivered` is the energy of each row, or `MISSING_DELIVERED`."""
    check_option("relative_to", relative_to, ("load", "absolute"))
    if alpha is not None and not 0.0 <= alpha <= 1.0:
        found = Findings("accuracy")
        found.add("FX-B052", f"alpha is {alpha}, expected 0..1", field="alpha")
        found.raise_errors(ValidationError)
    total = np.zeros((n_groups, N_SUMS), np.int64)
    np.add.at(total, group, sums)
    below = _denominator(total, relative_to)
    bias, rrmse, opi = _indices(total, ERROR, SQUARE_LOW, below, alpha)
    opi_of_zero = _indices(total, LOAD, LOAD_SQUARE_LOW, below, alpha)[2]
    percent = np.abs(sums[:, ERROR]) / _denominator(sums, relative_to)
    known = np.isfinite(percent)
    n_percent = np.bincount(group[known], minlength=n_groups)
    mean, median = _mean_and_median(percent[known], group[known], n_percent)
    gain = np.full(n_groups, np.nan)
    if delivered is not None:
        missed, gained = np.zeros(n_groups, np.int64), np.zeros(n_groups, np.int64)
        np.add.at(missed, group, np.abs(sums[:, ERROR]))
        lost = delivered == MISSING_DELIVERED
        np.add.at(gained, group, np.where(lost, 0, delivered))
        gained[group[lost]] = 0
        np.divide(missed, gained, out=gain, where=gained > 0)
    n_events = np.bincount(group[sums[:, N] > 0], minlength=n_groups)
    return Accuracy(
        n_events, total[:, N].copy(), total[:, UNKNOWN].copy(), bias, rrmse, mean, median, n_percent, opi, opi_of_zero,
        gain, relative_to,
    )  # fmt: skip


def _indices(
    total: Int64s, error: int, square: int, below: Floats, alpha: float | None
) -> tuple[Floats, Floats, Floats]:
    """Bias, RRMSE and OPI of the errors whose sums stand in these columns."""
    squares = total[:, square] + total[:, square + 1] * 2.0**32
    bias = total[:, error] / below
    rrmse = np.sqrt(squares * total[:, N]) / below
    return bias, rrmse, np.hypot(bias, rrmse) if alpha is None else alpha * np.abs(bias) + (1.0 - alpha) * rrmse


def _denominator(sums: Int64s, relative_to: RelativeTo) -> Floats:
    """Return the load that errors are compared with, NaN where there is none."""
    if relative_to == "absolute":
        return np.where(sums[:, ABS_LOAD] > 0, sums[:, ABS_LOAD], np.nan)
    sound = (sums[:, LOAD] > 0) & (sums[:, LOAD] >= -(-sums[:, ABS_LOAD] // _CANCEL))
    return np.where(sound, sums[:, LOAD], np.nan)


def _mean_and_median(values: Floats, group: Int64s, count: Int64s) -> tuple[Floats, Floats]:
    order = np.lexsort((values, group))
    ranked = np.append(values[order], np.nan)
    first = np.cumsum(count) - count
    has = count > 0
    low = np.where(has, first + (count - 1) // 2, len(values))
    high = np.where(has, first + count // 2, len(values))
    mean = np.full(len(count), np.nan)
    # in order of size, so that the order of rows changes no bit
    np.divide(np.bincount(group[order], weights=values[order], minlength=len(count)), count, out=mean, where=has)
    return mean, (ranked[low] + ranked[high]) / 2.0


@dataclass(frozen=True, slots=True)
class Screening:
    """Which PODs or aggregates may be settled with a baseline method, with the figures that decided.

    Attributes
    ----------
    passed : ndarray of bool, shape (n_groups,)
    reason : ndarray of uint8, shape (n_groups,)
        Bits of `REASONS`; 0 where it passed.
    rrmse, bias : ndarray of float64, shape (n_groups,)
    n_events : ndarray of int64, shape (n_groups,)
        Events behind the figures.
    rrmse_limit, bias_limit : float
    """

    passed: npt.NDArray[np.bool_]
    reason: npt.NDArray[np.uint8]
    rrmse: Floats
    bias: Floats
    n_events: Int64s
    rrmse_limit: float
    bias_limit: float

    def to_arrow(self, names: Sequence[Any] | None = None) -> Any:
        """Return one row for each POD or aggregate as a pyarrow Table, with the reason in words."""
        import pyarrow as pa

        words = ["; ".join(text for bit, text in REASONS.items() if int(code) & bit) for code in self.reason]
        return pa.table(
            {
                "group": list(range(len(self.passed)) if names is None else names),
                "passed": self.passed,
                "rrmse": self.rrmse,
                "rrmse_limit": np.full(len(self.passed), self.rrmse_limit),
                "bias": self.bias,
                "bias_limit": np.full(len(self.passed), self.bias_limit),
                "n_events": self.n_events,
                "reason": words,
            }
        )


def screen(measured: Accuracy, *, rrmse: float = 0.20, bias: float = 0.04) -> Screening:
    """Tell which PODs or aggregates a baseline method fits well enough to settle by it.

    Parameters
    ----------
    measured : Accuracy
        One row for each POD or aggregate.
    rrmse : float
        Highest RRMSE; the default is AEMO's. [1]
    bias : float
        Highest size of the average relative error; the default is AEMO's, unverified. [1]

    Returns
    -------
    Screening
        What has no relative error does not pass.

    Raises
    ------
    ValidationError
        FX-B052 a limit is negative or NaN.
    """
    found = Findings("screening")
    for name, limit in (("rrmse", rrmse), ("bias", bias)):
        if not limit >= 0.0:
            found.add("FX-B052", f"{name} is {limit}, expected a number from 0", field=name)
    found.raise_errors(ValidationError)
    undefined = ~(np.isfinite(measured.rrmse) & np.isfinite(measured.bias))
    reason = np.where(measured.rrmse > rrmse, RRMSE_TOO_HIGH, 0) | np.where(
        np.abs(measured.bias) > bias, BIAS_TOO_HIGH, 0
    )
    bits: npt.NDArray[np.uint8] = np.where(undefined, NOT_DEFINED, reason).astype(np.uint8)
    return Screening(np.asarray(bits == 0), bits, measured.rrmse, measured.bias, measured.n_events, rrmse, bias)
