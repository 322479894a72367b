"""Baselines: what each POD would have drawn without the activation (BAS-01, BAS-02)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.metering.presets import PRESETS, BaselineRule
from flexcore.metering.readings import MISSING_W, Bools, Int32s, as_power_w

#: Bits of `BaselineResult.status`.
FEWER_DAYS, NO_BASELINE, UNADJUSTED, GUARDED, GAP, OVERFLOW = 1, 2, 4, 8, 16, 32
#: Bit to meaning.
STATUS: dict[int, str] = {
    FEWER_DAYS: "fewer reference days (or sides of the event) than the rule asks for",
    NO_BASELINE: "too few reference days, or no reading around an event: no baseline",
    UNADJUSTED: "an event has no usable quarter-hour in its adjustment window: it is not adjusted",
    GUARDED: "a multiplicative adjustment was not sound and the additive one was taken",
    GAP: "some quarter-hour has no reading on any reference day: missing there",
    OVERFLOW: "some quarter-hour does not fit 32 bits: missing there",
}

_CHUNK = 512  # PODs: ten reference days of them fit the second-level cache and take about a millisecond
_METHODS = ("high", "mid", "low", "all")
_ADJUSTMENTS = ("none", "additive", "multiplicative")
_JOINS = ("before", "mean", "least", "largest")


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """Baselines of one market day; stands for `baseline_w` where an array is expected.

    Attributes
    ----------
    baseline_w : ndarray of int32, shape (n_pods, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. [W]
    status : ndarray of uint8, shape (n_pods,)
        Bits of `STATUS`; 0 where the rule could be followed to the letter.
    days_used : ndarray of bool, shape (n_pods, n_days)
        Reference days that were averaged.
    rule : BaselineRule
    """

    baseline_w: Int32s
    status: npt.NDArray[np.uint8]
    days_used: Bools
    rule: BaselineRule

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.baseline_w, dtype=dtype, copy=copy)

    @property
    def has_baseline(self) -> Bools:
        """True for PODs that have a baseline in every quarter-hour, shape (n_pods,)."""
        return np.asarray((self.status & (NO_BASELINE | GAP | OVERFLOW)) == 0)


def _rule(preset: str | BaselineRule) -> BaselineRule:
    if isinstance(preset, BaselineRule):
        preset.check()
        return preset
    check_option("preset", preset, tuple(PRESETS))
    return PRESETS[preset]


def _mask(values: npt.ArrayLike | None, name: str, full: tuple[int, ...]) -> Bools:
    """Return a mask with one row for each POD, one for all PODs, or none where it is not given."""
    if values is None:
        return np.zeros((0, *full[1:]), np.bool_)
    array = np.asarray(values)
    if array.ndim == len(full) - 1:
        array = array[np.newaxis]
    found = Findings(name)
    if array.dtype != np.bool_:
        found.add("FX-A002", f"{name} has type {array.dtype}, expected bool")
    elif array.shape not in (full, (1, *full[1:])):
        found.add("FX-A001", f"{name} has shape {np.shape(values)}, expected {full} or {full[1:]}")
    found.raise_errors()
    return np.ascontiguousarray(array)


def _needs(name: str, given: object, rule: BaselineRule) -> None:
    if given is None:
        found = Findings("baseline")
        found.add("FX-B006", f"method {rule.method!r} needs {name}", field=name)
        found.raise_errors(ValidationError)


def baseline(
    history_w: npt.ArrayLike | None,
    today_w: npt.ArrayLike | None = None,
    event: npt.ArrayLike | None = None,
    *,
    eligible: npt.ArrayLike | None = None,
    preset: str | BaselineRule = "caiso_10_in_10",
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    nominated_w: npt.ArrayLike | None = None,
    n_threads: int = 1,
    out: BaselineResult | None = None,
) -> BaselineResult:
    """Baseline of each POD and quarter-hour, by one of the methods in use.

    Parameters
    ----------
    history_w : array_like of int32, shape (n_pods, n_days, n_steps)
        Mean power of past days, oldest first, mapped to the clock of the event day (`day_steps`), positive =
        withdrawal; `MISSING_W` where there is no reading. None for methods that need no history. [W]
    today_w : array_like of int32, shape (n_pods, n_steps), optional
        Readings of the event day, of which only the adjustment windows (or the quarter-hours around an event) are used.
    event : array_like of bool, shape (n_pods, n_steps) or (n_steps,), optional
        True in quarter-hours in which the POD is activated, by either operator.
    eligible : array_like of bool, shape (n_pods, n_days) or (n_days,), optional
        Days that are like the event day (day type, look-back, no outage); all if not given.
    preset : str or BaselineRule
        A name in `PRESETS`, or a rule of one's own.
    excluded : array_like of bool, shape (n_pods, n_days, n_steps) or (n_days, n_steps), optional
        Event, rebound and recovery quarter-hours of past days, of both operators: they count as not read (BAS-02).
    today_excluded : array_like of bool, shape (n_pods, n_steps) or (n_steps,), optional
        Rebound and recovery quarter-hours of the event day, left out of adjustment windows (BAS-02).
    nominated_w : array_like of int, shape (n_pods, n_steps), optional
        Declared baseline, for the method "nominated" (see `nominate`).
    n_threads : int
    out : BaselineResult, optional
        Result of an earlier call of the same shape; its arrays are overwritten and it is returned.

    Returns
    -------
    BaselineResult

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-B004 a rule that contradicts itself, FX-B006 a missing input; FX-E002 an
        unknown preset.

    Notes
    -----
    Candidates are the latest Y eligible days that have a reading in every event quarter-hour and in every usable one
    of the adjustment windows. They are scored by their mean over the event (or the day); equal scores: the most recent
    day first. Over the X selected days B = S / c, sum by number of readings. Each event has one adjustment, from A:
    the window before it, without event, excluded and missing quarter-hours. It holds from the event's start, the first
    one from the start of the day, to the next event. With the sums L_A, S_A over n_A quarter-hours of A and X days

        additive        B' = rint(S / c * 1 + clip((L_A X - S_A) / (X n_A), -cap, cap))
        multiplicative  B' = rint(S / c * clip(L_A X / S_A, lo, hi) + 0)

    All sums are exact in int64; `rint` rounds halves to even. A POD without event is not adjusted.
    """
    rule = _rule(preset)
    if rule.method == "nominated":
        _needs("nominated_w", nominated_w, rule)
        power = as_power_w(np.asarray(nominated_w), "nominated_w", shape=(None, None))
        n_days = 0 if history_w is None else np.shape(history_w)[1]
        result = _output(out, rule, len(power), n_days, power.shape[1])
        result.baseline_w[:] = power
        result.status[:] = np.where((power == MISSING_W).any(axis=1), GAP, 0)
        result.days_used[:] = False
        return result
    if rule.method == "meter_before_after":
        return _around_event(rule, today_w, event, today_excluded, n_threads, out)
    _needs("history_w", history_w, rule)
    return _x_of_y(
        rule, np.asarray(history_w), today_w, event, eligible, excluded, today_excluded, n_threads=n_threads, out=out
    )


def _output(out: BaselineResult | None, rule: BaselineRule, n_pods: int, n_days: int, n_steps: int) -> BaselineResult:
    if out is None:
        arrays = np.empty((n_pods, n_steps), np.int32), np.empty(n_pods, np.uint8), np.empty((n_pods, n_days), np.bool_)
        return BaselineResult(*arrays, rule)
    if out.rule != rule or out.baseline_w.shape != (n_pods, n_steps) or out.days_used.shape != (n_pods, n_days):
        found = Findings("out")
        found.add("FX-A005", "out comes from a call of another shape or rule")
        found.raise_errors()
    return out


def _x_of_y(
    rule: BaselineRule,
    history_w: npt.NDArray[Any],
    today_w: npt.ArrayLike | None,
    event: npt.ArrayLike | None,
    eligible: npt.ArrayLike | None,
    excluded: npt.ArrayLike | None,
    today_excluded: npt.ArrayLike | None,
    *,
    n_threads: int,
    out: BaselineResult | None,
) -> BaselineResult:
    from flexcore.kernels.metering.x_of_y import x_of_y

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    n_pods, n_days, n_steps = history.shape
    today = (
        np.empty((0, n_steps), np.int32) if today_w is None else as_power_w(today_w, "today_w", shape=(n_pods, n_steps))
    )
    during = _mask(event, "event", (n_pods, n_steps))
    usable = _mask(np.ones(n_days, np.bool_) if eligible is None else eligible, "eligible", (n_pods, n_days))
    past_out = _mask(excluded, "excluded", (n_pods, n_days, n_steps))
    today_out = _mask(today_excluded, "today_excluded", (n_pods, n_steps))
    result = _output(out, rule, n_pods, n_days, n_steps)
    method, adjustment = _METHODS.index(rule.method), _ADJUSTMENTS.index(rule.adjustment)
    cap = -1 if rule.cap_w is None else rule.cap_w
    ratio_lo, ratio_hi = rule.ratio_ppm[0] / 1_000_000, rule.ratio_ppm[1] / 1_000_000

    def task(i0: int, i1: int) -> None:
        x_of_y(
            history, today, during, usable, past_out, today_out,
            method, rule.n_candidates, rule.n_selected, rule.min_days, int(rule.score == "day"), adjustment,
            rule.window_steps, rule.lead_steps, rule.guard_w, cap, ratio_lo, ratio_hi,
            i0, i1, result.baseline_w, result.status, result.days_used,
        )  # fmt: skip

    run_chunks(task, n_pods, n_threads=n_threads, chunk=_CHUNK)
    return result


def _around_event(
    rule: BaselineRule,
    today_w: npt.ArrayLike | None,
    event: npt.ArrayLike | None,
    today_excluded: npt.ArrayLike | None,
    n_threads: int,
    out: BaselineResult | None,
) -> BaselineResult:
    from flexcore.kernels.metering.meter_before_after import meter_before_after

    _needs("today_w", today_w, rule)
    today = as_power_w(np.asarray(today_w), "today_w", shape=(None, None))
    n_pods, n_steps = today.shape
    during = _mask(event, "event", (n_pods, n_steps))
    today_out = _mask(today_excluded, "today_excluded", (n_pods, n_steps))
    result = _output(out, rule, n_pods, 0, n_steps)

    def task(i0: int, i1: int) -> None:
        meter_before_after(
            today, during, today_out, rule.before_steps, rule.before_gap, rule.after_steps, rule.after_gap,
            _JOINS.index(rule.join), i0, i1, result.baseline_w, result.status,
        )  # fmt: skip

    run_chunks(task, n_pods, n_threads=n_threads, chunk=_CHUNK)
    return result
