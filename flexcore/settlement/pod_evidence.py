"""What the baseline of one POD was made from: which days were looked at and why, readings, and what was declared."""

from dataclasses import dataclass

import numpy as np

from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.eligibility import Eligibility
from flexcore.metering.eligibility_rule import EligibilityRule
from flexcore.metering.readings import MISSING_W, Bools, Int32s
from flexcore.settlement.result import Int64s


@dataclass(frozen=True, slots=True)
class DayChoice:
    """The past days that a POD's baseline could look at, oldest first, and what became of each.

    Attributes
    ----------
    rule : EligibilityRule
        The rule of eligibility with its fall-backs.
    dates : tuple of str
    order : tuple of int
        Order of choice of each day: 0 never, 1 first choice, 2 of the widened look-back, 3 and more borrowed.
    lost : tuple of tuple of str
        What keeps each day from being first choice, in words; empty for first choice.
    readings_w : ndarray of int32, shape (n_days, n_steps)
        Readings on the clock of the day, `MISSING_W` where there is none or it was excluded. [W]
    score : tuple of int
        `day_score` of each day, for rules that are given one; else empty.
    """

    rule: EligibilityRule
    dates: tuple[str, ...]
    order: tuple[int, ...]
    lost: tuple[tuple[str, ...], ...]
    readings_w: Int32s
    score: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        eligible: Eligibility,
        row: int,
        history_w: Int32s,
        *,
        excluded: Bools | None = None,
        day_score: Int64s | None = None,
    ) -> "DayChoice":
        """Take one POD out of `eligible_days` and the arrays of the `baseline` call.

        Parameters
        ----------
        eligible : Eligibility
        row : int
            Row of the POD in `eligible`; row 0 where one row stands for all.
        history_w : ndarray of int32, shape (n_days, n_steps)
            History of the POD.
        excluded : ndarray of bool, shape (n_days, n_steps), optional
            Its row of `excluded`.
        day_score : ndarray of int64, shape (n_days,), optional
            Its row of `day_score`.
        """
        order = eligible.choice[row]
        readings = history_w.copy()
        if excluded is not None:
            readings[excluded & (order < 3)[:, np.newaxis]] = MISSING_W
        dates = tuple(str(past.date) for past in eligible.days)
        score = () if day_score is None else tuple(day_score.tolist())
        return cls(eligible.rule, dates, tuple(order.tolist()), eligible.causes(row), readings, score)


@dataclass(frozen=True, slots=True)
class PodEvidence:
    """What the baseline of one POD was made from.

    Attributes
    ----------
    preset : str
        Name of the baseline preset.
    rule : BaselineRule
    event : ndarray of bool, shape (n_steps,)
        Quarter-hours with an order of either operator.
    excluded : ndarray of bool, shape (n_steps,)
        Quarter-hours of the day that adjustment windows leave out (BAS-02).
    today_w : ndarray of int32, shape (n_steps,)
        Readings of the day. [W]
    dates : tuple of str
        Reference days that were averaged, oldest first.
    reference_w : ndarray of int32, shape (n_dates, n_steps)
        Their readings on the clock of the day, `MISSING_W` where there is none or it was excluded. [W]
    reading_version : str
        Version of the readings of the day.
    reference_versions : tuple of str
        Versions of those of the reference days; empty where nothing is known of them.
    choice : DayChoice or None
        All days that were looked at; the choice of days is taken as given without it.
    nominated_w : ndarray of int32, shape (n_steps,), or None
        Baseline that was declared. [W]
    submission : str
        When and by whom it was declared.
    profile_w : ndarray of int32, shape (n_steps,), or None
        Fixed reference: profile of one device of the POD's class. [W]
    control_ids : tuple of str
        Control group: the PODs without event that stand for this one.
    control_w : ndarray of int32, shape (n_controls, n_steps), or None
        Their readings of the day, `MISSING_W` where there is none or it was excluded. [W]
    units : int
        Devices of the POD, or PODs that it stands for.
    """

    preset: str
    rule: BaselineRule
    event: Bools
    excluded: Bools
    today_w: Int32s
    dates: tuple[str, ...]
    reference_w: Int32s
    reading_version: str = "1"
    reference_versions: tuple[str, ...] = ()
    choice: DayChoice | None = None
    nominated_w: Int32s | None = None
    submission: str = ""
    profile_w: Int32s | None = None
    control_ids: tuple[str, ...] = ()
    control_w: Int32s | None = None
    units: int = 1

    @classmethod
    def of(
        cls,
        result: BaselineResult,
        row: int,
        *,
        preset: str,
        dates: tuple[str, ...],
        history_w: Int32s,
        today_w: Int32s,
        event: Bools,
        excluded: Bools | None = None,
        history_excluded: Bools | None = None,
        choice: DayChoice | None = None,
        reading_version: str = "1",
    ) -> "PodEvidence":
        """Take one POD out of a `baseline` call: its row of the result, and of the arrays that the call was given.

        Parameters
        ----------
        result : BaselineResult
        row : int
        preset : str
        dates : tuple of str, length n_days
            Dates of the days of the history, oldest first.
        history_w : ndarray of int32, shape (n_pods, n_days, n_steps)
        today_w : ndarray of int32, shape (n_pods, n_steps)
        event : ndarray of bool, shape (n_pods, n_steps)
        excluded : ndarray of bool, shape (n_pods, n_steps), optional
            `today_excluded` of the call.
        history_excluded : ndarray of bool, shape (n_pods, n_days, n_steps), optional
            `excluded` of the call; not needed beside `choice`, which knows it.
        choice : DayChoice, optional
            All days that were looked at (`DayChoice.of`).
        reading_version : str

        Notes
        -----
        What methods other than those of past days rest on (`nominated_w`, `profile_w`, `control_w`) is added with
        `dataclasses.replace`.
        """
        used = np.flatnonzero(result.days_used[row]) if result.days_used.shape[1] else np.zeros(0, np.intp)
        none = np.zeros(event.shape[1], np.bool_)
        past = history_w[row] if choice is None else choice.readings_w
        readings = past[used].copy()
        if history_excluded is not None and choice is None:
            readings[history_excluded[row, used]] = MISSING_W
        return cls(
            preset,
            result.rule,
            event[row],
            none if excluded is None else excluded[row],
            today_w[row],
            tuple(dates[day] for day in used),
            readings,
            reading_version,
            choice=choice,
        )
