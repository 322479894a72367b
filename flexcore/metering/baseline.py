"""Baselines: what each POD would have drawn without the activation (BAS-01, BAS-02)."""

from typing import cast

import numpy.typing as npt

from flexcore.arrays import as_array
from flexcore.chunks import run_chunks
from flexcore.errors import check_option
from flexcore.metering.baseline_result import (
    BORROWED,
    FEWER_DAYS,
    GAP,
    GUARDED,
    NO_BASELINE,
    OVERFLOW,
    STATUS,
    UNADJUSTED,
    WIDENED,
    BaselineResult,
    check_apart,
)
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.around_event import around_event, nominated
from flexcore.metering.families.control_group import Controls, control_group
from flexcore.metering.families.event_day import CHUNK, EventDay, need
from flexcore.metering.families.exponential import exponential
from flexcore.metering.families.reference_profile import reference_profile
from flexcore.metering.families.regression import Weather, regression
from flexcore.metering.families.x_of_y import x_of_y
from flexcore.metering.presets import PRESETS

__all__ = [
    "BORROWED", "FEWER_DAYS", "GAP", "GUARDED", "NO_BASELINE", "OVERFLOW", "STATUS", "UNADJUSTED", "WIDENED",
    "BaselineResult", "baseline", "rule_of",
]  # fmt: skip


def rule_of(preset: str | BaselineRule) -> BaselineRule:
    """Return the rule of a preset's name, or a rule of one's own once it is sound."""
    if isinstance(preset, BaselineRule):
        preset.check()
        return preset
    check_option("preset", preset, tuple(PRESETS))
    return PRESETS[preset]


def baseline(
    history_w: npt.ArrayLike | None,
    today_w: npt.ArrayLike | None = None,
    event: npt.ArrayLike | None = None,
    *,
    eligible: npt.ArrayLike | None = None,
    preset: str | BaselineRule = "caiso_10_in_10",
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    day_score: npt.ArrayLike | None = None,
    nominated_w: npt.ArrayLike | None = None,
    reference_w: npt.ArrayLike | None = None,
    reference_of: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
    temperature_c: npt.ArrayLike | None = None,
    today_temperature_c: npt.ArrayLike | None = None,
    zone: npt.ArrayLike | None = None,
    day_off: npt.ArrayLike | None = None,
    today_off: bool = False,
    control_w: npt.ArrayLike | None = None,
    control_of: npt.ArrayLike | None = None,
    control_event: npt.ArrayLike | None = None,
    control_excluded: npt.ArrayLike | None = None,
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
        Readings of the event day, of which only the adjustment windows (or the quarter-hours around an event, or with
        `idle="metered"` those outside events) are used.
    event : array_like of bool, shape (n_pods, n_steps) or (n_steps,), optional
        True in quarter-hours in which the POD is activated, by either operator.
    eligible : array_like of bool or uint8, shape (n_pods, n_days) or (n_days,), optional
        Days that are like the event day (day type, look-back, no outage); all if not given. As uint8 the order of
        choice: 0 never, 1 first choice, 2 from the widened look-back, 3 and more event days that may be borrowed, those
        of the lowest impact first. `excluded` is not applied to borrowed days: their events are what they are. Families
        other than X of Y take days of choice 2 where those of choice 1 are fewer than `min_days`, and borrow none.
    preset : str or BaselineRule
        A name in `PRESETS`, or a rule of one's own.
    excluded : array_like of bool, shape (n_pods, n_days, n_steps) or (n_days, n_steps), optional
        Event, rebound and recovery quarter-hours of past days, of both operators: they count as not read (BAS-02).
    today_excluded : array_like of bool, shape (n_pods, n_steps) or (n_steps,), optional
        Rebound and recovery quarter-hours of the event day, left out of adjustment windows (BAS-02).
    day_score : array_like of int, shape (n_pods, n_days) or (n_days,), optional
        What days are compared by where the rule says `score="given"`, such as a distance (`temperature_distance`,
        `match_day_distance`); a day of `FARTHEST` cannot be compared and is never taken.
    nominated_w : array_like of int, shape (n_pods, n_steps), optional
        Declared baseline, for the method "nominated" (see `nominate`).
    reference_w : array_like of int, shape (n_classes, n_steps), optional
        Fixed reference: profile of one device of each class. [W]
    reference_of : array_like of int, shape (n_pods,), optional
        Fixed reference: row of `reference_w` of each POD.
    units : array_like of int, shape (n_pods,), optional
        Fixed reference: devices of each POD. Control group: PODs that each row stands for. One if not given.
    temperature_c : array_like of float, shape (n_days, n_steps) or (n_zones, n_days, n_steps), optional
        Regression: temperatures of the past days, NaN where missing; rounded to hundredths. [degrees Celsius]
    today_temperature_c : array_like of float, shape (n_steps,) or (n_zones, n_steps), optional
        Regression: temperatures of the event day.
    zone : array_like of int, shape (n_pods,), optional
        Regression: row of the temperatures of each POD; the only one, or the first, if not given.
    day_off : array_like of bool, shape (n_days,), optional
        Regression: past days of the other day type, which have a level of their own.
    today_off : bool
        Regression: the event day is of the other day type.
    control_w : array_like of int32, shape (n_controls, n_steps), optional
        Control group: readings of the event day of PODs that may stand for others. [W]
    control_of : array_like of int, shape (n_pods, n_members), optional
        Control group: rows of `control_w` for each POD, -1 for none (see `match_controls`); all if not given.
    control_event : array_like of bool, shape (n_controls, n_steps) or (n_steps,), optional
        Events of the controls, of either operator; who has one at any time of the day is never used.
    control_excluded : array_like of bool, shape (n_controls, n_steps) or (n_steps,), optional
        Rebound and recovery quarter-hours of the controls: they count as not read.
    n_threads : int
    out : BaselineResult, optional
        Result of an earlier call of the same shape and rule; its arrays are overwritten and it is returned. They may
        not overlap an input.

    Returns
    -------
    BaselineResult

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A005 a result that does not fit or overlaps an input, FX-A006 numbers out of
        range, FX-B004 a rule that contradicts itself, FX-B006 a missing input, FX-B031 a row that points nowhere,
        FX-B032 a temperature that cannot be, FX-B033 a control named twice; FX-E002 an unknown preset.

    Notes
    -----
    X of Y: candidates are the first Y days, in order of choice and then the latest first, that have a reading in every
    event quarter-hour and in every usable one of the adjustment windows. They are scored by their mean over the event
    (or the day), or as given; equal scores stay in this order, so that the most recent day of the best choice comes
    first. Given scores compare the days of choice 1, at most Y; later choices follow only while there are fewer than X.

    Low use (`low_use_ppm`): while the least of the candidates' means over the event is below this part of the mean of
    all of them, that candidate (of equal ones the last in order) is dropped and the next day in order takes its place,
    if there is one. Where the mean of all is not above zero, or there is no event, no candidate is dropped.

    Over the X selected days B = S / c, sum by number of readings. Each event has one adjustment, from A: the window
    before it on the same day, without event, excluded and missing quarter-hours. It holds from the event's start, the
    first one from the start of the day, to the next event. With the sums L_A, S_A over n_A quarter-hours of A and X
    days

        additive        B' = rint(S / c * 1 + clip((L_A X - S_A) / (X n_A), -cap, cap))
        multiplicative  B' = rint(S / c * clip(L_A X / S_A, lo, hi) + 0)

    All sums are exact in int64; `rint` rounds halves to even. A POD without event is not adjusted. The other families
    that may be adjusted are so with their own B and its sum B_A over A, in order of time: (L_A - B_A) / n_A and
    L_A / B_A. They are

        exponential    B_d = B_(d-1) (1 - w) + w L_d over eligible days, from the mean of the first Y of them; a missing
                       reading keeps B
        reference      profile of the class x units
        regression     mean of the hour + slopes x (cooling degrees, heating degrees, day type less their means in the
                       hour), least squares over the latest Y eligible days of the POD
        control_group  mean of the controls' readings x units

    A regression term that the history cannot tell apart from those before it gets no slope; FEWER_DAYS is set where it
    would matter today.
    """
    rule = rule_of(preset)
    if out is not None:
        check_apart(
            out,
            (history_w, today_w, event, eligible, excluded, today_excluded, day_score, nominated_w, reference_w,
             reference_of, units, temperature_c, today_temperature_c, zone, day_off, control_w, control_of,
             control_event, control_excluded),
        )  # fmt: skip
    day = EventDay(today_w, event, today_excluded, n_threads, out)
    if rule.idle == "metered":
        need(rule, today_w=today_w)
    if rule.method == "nominated":
        need(rule, nominated_w=nominated_w)
        result = nominated(rule, cast(npt.ArrayLike, nominated_w), history_w, day)
    elif rule.method == "meter_before_after":
        need(rule, today_w=today_w)
        result = around_event(rule, day)
    elif rule.method == "reference":
        need(rule, reference_w=reference_w, reference_of=reference_of)
        profile = cast(npt.ArrayLike, reference_w), cast(npt.ArrayLike, reference_of)
        result = reference_profile(rule, *profile, units, day)
    elif rule.method == "control_group":
        need(rule, control_w=control_w)
        if control_of is None and today_w is None:
            need(rule, units=units)
        controls = Controls(cast(npt.ArrayLike, control_w), control_of, control_event, control_excluded, units)
        result = control_group(rule, controls, day)
    else:
        need(rule, history_w=history_w)
        past = as_array(cast(npt.ArrayLike, history_w), "history_w")
        if rule.method == "regression":
            need(rule, temperature_c=temperature_c, today_temperature_c=today_temperature_c)
            both = cast(npt.ArrayLike, temperature_c), cast(npt.ArrayLike, today_temperature_c)
            result = regression(rule, past, Weather(*both, zone, day_off, today_off), day, eligible, excluded)
        elif rule.method == "exponential":
            result = exponential(rule, past, day, eligible, excluded)
        else:
            result = x_of_y(rule, past, day, eligible, excluded, day_score)
    if rule.idle == "metered":
        _meter_where_idle(result, day)
    return result


def _meter_where_idle(result: BaselineResult, day: EventDay) -> None:
    from flexcore.kernels.metering.idle import metered_where_idle

    n_pods, n_steps = result.baseline_w.shape
    today, during, _ = day.arrays(n_pods, n_steps)

    def task(i0: int, i1: int) -> None:
        metered_where_idle(today, during, i0, i1, result.baseline_w, result.status)

    run_chunks(task, n_pods, n_threads=day.n_threads, chunk=CHUNK)
