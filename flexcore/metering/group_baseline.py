"""Baselines per aggregate or perimeter: the rule on summed readings, or the sum of the PODs' own baselines."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.metering.baseline import baseline, rule_of
from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import as_mask, need, order_of_choice
from flexcore.metering.families.reference_profile import as_rows
from flexcore.metering.readings import Bools, Int32s, as_power_w

_CHUNK = 16  # days of groups
_AXES = {"history_w": 3, "excluded": 3, "today_w": 2, "event": 2, "today_excluded": 2, "eligible": 2}


@dataclass(frozen=True, slots=True)
class GroupBaselines:
    """Baselines of groups of PODs.

    Attributes
    ----------
    baseline : BaselineResult
        One row for each group. Where PODs were computed one by one, status bits and days are those of any of them.
    missing : ndarray of int64, shape (n_groups,)
        Quarter-hours of the history and of the event day that count as missing because a reading of a member is.
    additive : ndarray of bool, shape (n_groups,)
        True where the rule on the sums is proved to equal the sum of the PODs' baselines, all before rounding; the
        rounded ones differ by at most (members + 1) / 2 W.
    by_pod : ndarray of bool, shape (n_groups,)
        True where the baseline is the sum of the PODs' own, each rounded.
    """

    baseline: BaselineResult
    missing: npt.NDArray[np.int64]
    additive: Bools
    by_pod: Bools


def is_linear(rule: BaselineRule) -> bool:
    """Whether a rule gives the sum of loads the sum of their baselines, if all members have the same days and events.

    False for High, Mid and Low X of Y, which may choose other days for each POD, unless scores are given; for medians,
    low-use exclusion, capped and multiplicative adjustments, and the lesser or larger of two means.
    """
    if rule.adjustment == "multiplicative" or (rule.adjustment == "additive" and rule.cap_w is not None):
        return False
    if rule.is_x_of_y:
        same_days = rule.method == "all" or rule.score == "given" or rule.n_selected == rule.n_candidates
        return same_days and rule.statistic == "mean" and rule.low_use_ppm is None
    if rule.method == "meter_before_after":
        return rule.join in ("before", "mean")
    return rule.method in ("exponential", "regression")


@dataclass(frozen=True, slots=True)
class _Groups:
    """Members of each group, as positions of PODs in order of group and POD."""

    first: npt.NDArray[np.int64]
    member: npt.NDArray[np.int64]
    n_threads: int

    def __len__(self) -> int:
        return len(self.first) - 1

    def sums(self, values: Int32s, name: str) -> tuple[Int32s, npt.NDArray[np.int64]]:
        """Sums of (n_pods, n_days, n_steps), and missing quarter-hours of each group; refuse what does not fit."""
        from flexcore.kernels.metering.group_sums import sum_by_group

        _, n_days, n_steps = values.shape
        sums = np.empty((len(self), n_days, n_steps), np.int32)
        missing, overflow = np.empty((len(self), n_days), np.int64), np.empty((len(self), n_days), np.int64)

        def task(j0: int, j1: int) -> None:
            sum_by_group(values, self.first, self.member, j0, j1, sums, missing, overflow)

        run_chunks(task, len(self) * n_days, n_threads=self.n_threads, chunk=_CHUNK)
        if overflow.any():
            rows = np.flatnonzero(overflow.any(axis=1))
            found = Findings(name, len(self))
            found.add("FX-B034", f"sums of {rows.size} groups do not fit 32 bits", field=name, rows=rows)
            found.raise_errors(ValidationError)
        return sums, missing.sum(axis=1)

    def marks(self, marks: Bools) -> tuple[Bools, Bools]:
        """Mask of each group, true where it is for any member, and whether all members have the same; masks 2-D or 3-D.

        A mask that all PODs share, or none, stays as it is.
        """
        from flexcore.kernels.metering.group_sums import marks_by_group

        if len(marks) <= 1:
            return marks, np.ones(len(self), np.bool_)
        deep = np.ascontiguousarray(marks if marks.ndim == 3 else marks[:, np.newaxis])
        _, n_days, n_steps = deep.shape
        of_any = np.empty((len(self), n_days, n_steps), np.bool_)
        of_all = np.empty((len(self), n_days, n_steps), np.bool_)

        def task(j0: int, j1: int) -> None:
            marks_by_group(deep, self.first, self.member, j0, j1, of_any, of_all)

        run_chunks(task, len(self) * n_days, n_threads=self.n_threads, chunk=_CHUNK)
        same = (of_any == of_all).all(axis=(1, 2))
        return of_any.reshape(len(self), *marks.shape[1:]), same

    def choice(self, choice: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Bools]:
        """Order of choice of each group: never where one member's is, else the last of all; and whether all agree."""
        if len(choice) == 1:
            return choice, np.ones(len(self), np.bool_)
        rows = choice[self.member]
        least = np.minimum.reduceat(rows, self.first[:-1], axis=0)
        largest = np.maximum.reduceat(rows, self.first[:-1], axis=0)
        return np.where(least == 0, 0, largest).astype(np.uint8), (least == largest).all(axis=1)


def _groups(group: npt.ArrayLike, n_pods: int, n_groups: int | None, n_threads: int) -> _Groups:
    labels = as_int(group, "group", shape=(None,))
    found = Findings("group")
    if n_groups is not None:
        found.check_count("n_groups", n_groups, 0)
        found.raise_errors(ValidationError)
    most = int(labels.max(initial=-1)) + 1 if n_groups is None else n_groups
    rows = as_rows(labels, "group", most)
    if len(rows) != n_pods:
        found.add("FX-A001", f"group has {len(rows)} entries for {n_pods} PODs")
        found.raise_errors()
    if most > n_pods:
        found.add("FX-B035", f"{n_pods} PODs for {most} groups")
    found.raise_errors(ValidationError)
    size = np.bincount(rows, minlength=most)
    empty = np.flatnonzero(size == 0)
    if empty.size:
        found.add("FX-B035", f"{empty.size} of {most} groups have no POD", rows=empty)
    found.raise_errors(ValidationError)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    return _Groups(first, np.argsort(rows, kind="stable").astype(np.int64), n_threads)


def baseline_of_groups(
    history_w: npt.ArrayLike | None,
    group: npt.ArrayLike,
    today_w: npt.ArrayLike | None = None,
    event: npt.ArrayLike | None = None,
    *,
    level: Literal["group", "pod", "auto"] = "group",
    n_groups: int | None = None,
    eligible: npt.ArrayLike | None = None,
    preset: str | BaselineRule = "caiso_10_in_10",
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    day_score: npt.ArrayLike | None = None,
    temperature_c: npt.ArrayLike | None = None,
    today_temperature_c: npt.ArrayLike | None = None,
    day_off: npt.ArrayLike | None = None,
    today_off: bool = False,
    n_threads: int = 1,
) -> GroupBaselines:
    """Baseline of each aggregate or perimeter.

    Parameters
    ----------
    history_w, today_w, event, eligible, excluded, today_excluded
        Those of the PODs, as in `baseline`. A reading that one member lacks is missing for its group. A quarter-hour is
        an event, or excluded, for a group if it is so for one member; a day is eligible if it is so for all.
    group : array_like of int, shape (n_pods,)
        Group of each POD, 0 to n_groups - 1.
    level : {"group", "pod", "auto"}
        The rule on the sums of the readings; the sum of the PODs' own rounded baselines; or the former where both are
        proved equal before rounding (`GroupBaselines.additive`), which takes one baseline for a group instead of one
        for each POD, and the latter elsewhere.
    n_groups : int, optional
        The largest number in `group` plus one if not given.
    preset : str or BaselineRule
        X of Y, exponential, regression or meter-before-meter-after; the others do not follow from readings of the
        group.
    day_score : array_like of int, shape (n_days,), optional
        As in `baseline`, the same for all.
    temperature_c, today_temperature_c, day_off, today_off
        As in `baseline`, of one zone.
    n_threads : int

    Returns
    -------
    GroupBaselines

    Raises
    ------
    ValidationError
        What `baseline` raises, FX-B031 a group that does not exist, FX-B034 a sum that does not fit 32 bits, FX-B035 a
        group without PODs; OptionError FX-E002 a method that has no group baseline.

    Notes
    -----
    If the same days count for all members and the rule is linear, sum_p B(L_p) = B(sum_p L_p). `additive` is set where
    the rule is linear (`is_linear`), nothing of the members is missing, and days, events and exclusions are the same
    for all of them.
    """
    check_option("level", level, ("group", "pod", "auto"))
    rule = rule_of(preset)
    around = rule.method == "meter_before_after"
    if around:  # it looks at no past day
        history_w = excluded = eligible = None
    if not (around or rule.is_x_of_y):
        check_option("method", rule.method, ("exponential", "regression"))
    need(rule, **({"today_w": today_w} if around else {"history_w": history_w}))
    history = None if history_w is None else as_power_w(history_w, "history_w", shape=(None, None, None))
    today = None if today_w is None else as_power_w(today_w, "today_w", shape=(None, None))
    n_pods, n_steps = history.shape[::2] if history is not None else today.shape if today is not None else (0, 0)
    if today is not None:
        today = as_power_w(today, "today_w", shape=(n_pods, n_steps))
    groups = _groups(group, n_pods, n_groups, n_threads)
    n_days = 0 if history is None else history.shape[1]

    during, same_event = groups.marks(as_mask(event, "event", (n_pods, n_steps)))
    today_out, same_out = groups.marks(as_mask(today_excluded, "today_excluded", (n_pods, n_steps)))
    past_out, same_past = groups.marks(as_mask(excluded, "excluded", (n_pods, n_days, n_steps)))
    choice, same_choice = groups.choice(order_of_choice(eligible, (n_pods, n_days)))
    shared: dict[str, Any] = {
        "preset": rule, "temperature_c": temperature_c, "today_temperature_c": today_temperature_c,
        "day_off": day_off, "today_off": today_off, "n_threads": n_threads,
    }  # fmt: skip
    if day_score is not None:
        shared["day_score"] = as_array(day_score, "day_score").reshape(-1)
    missing = np.zeros(len(groups), np.int64)
    summed: list[Int32s | None] = []
    for values, name in ((history, "history_w"), (None if today is None else today[:, np.newaxis], "today_w")):
        if values is None:
            summed.append(None)
            continue
        sums, gaps = groups.sums(values, name)
        summed.append(sums)
        missing += gaps
    additive = np.full(len(groups), is_linear(rule)) & (missing == 0)
    additive &= same_event & same_out & same_past & same_choice
    past, now = summed
    result = baseline(
        past, None if now is None else now[:, 0], during if len(during) else None,
        eligible=None if around else choice, excluded=past_out if len(past_out) else None,
        today_excluded=today_out if len(today_out) else None, **shared,
    )  # fmt: skip
    by_pod = np.full(len(groups), level == "pod") if level != "auto" else ~additive
    if by_pod.any():
        pods = {
            "history_w": history, "today_w": today, "event": event, "today_excluded": today_excluded,
            "eligible": eligible, "excluded": excluded,
        }  # fmt: skip
        _sum_of_pods(groups, np.flatnonzero(by_pod), pods, shared, result)
    return GroupBaselines(result, missing, additive, by_pod)


def _sum_of_pods(
    groups: _Groups, rows: npt.NDArray[np.intp], pods: dict[str, Any], shared: dict[str, Any], result: BaselineResult
) -> None:
    """Overwrite some groups by the sum of the baselines of their PODs."""
    part, own = groups, pods
    if len(rows) < len(groups):
        size = np.diff(groups.first)[rows]
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
        # positions of the members of these groups, one behind the other
        place = np.arange(first[-1]) + np.repeat(groups.first[rows] - first[:-1], size)
        part = _Groups(first, np.arange(len(place)), groups.n_threads)
        own = {name: _rows_of(values, _AXES[name], groups.member[place]) for name, values in pods.items()}
    found = baseline(**own, **shared)
    sums, _ = part.sums(found.baseline_w[:, np.newaxis], "baseline_w")
    result.baseline_w[rows] = sums[:, 0]
    result.status[rows] = np.bitwise_or.reduceat(found.status[part.member], part.first[:-1])
    result.days_used[rows] = np.logical_or.reduceat(found.days_used[part.member], part.first[:-1], axis=0)


def _rows_of(values: Any, n_axes: int, member: npt.NDArray[np.int64]) -> Any:
    """Rows of some PODs of an argument that has one for each, the argument itself where all share it."""
    if values is None:
        return None
    array = np.asarray(values)
    return array[member] if array.ndim == n_axes and len(array) > 1 else array
