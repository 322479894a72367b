"""Arguments of `baseline` that only some methods need, checked once and cut to the PODs of a block."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.day_distance import MatchDay
from flexcore.metering.families.control_group import members_of
from flexcore.metering.families.event_day import need
from flexcore.metering.families.reference_profile import as_rows, as_units
from flexcore.metering.families.x_of_y import given_scores
from flexcore.metering.reading_files import DayFiles, open_day
from flexcore.metering.reading_layout import Paths, refuse
from flexcore.metering.readings import as_power_w

#: What the methods need, and what they may be given beside it; scores given for days are the need of a rule.
NEEDED = {
    "nominated": ("nominated_w",),
    "reference": ("reference_w", "reference_of"),
    "control_group": ("control_w",),
    "regression": ("temperature_c", "today_temperature_c"),
}
_MAY_HAVE = {
    "reference": ("units",),
    "control_group": ("control_of", "control_event", "control_excluded", "units"),
    "regression": ("zone", "day_off", "today_off"),
}
_FOR_EACH_POD = ("day_score", "nominated_w", "reference_of", "units", "zone", "control_of")


def needed_by(rule: BaselineRule) -> tuple[str, ...]:
    """Return the names of the arguments without which a rule cannot be followed, beyond readings."""
    if rule.is_x_of_y and rule.score == "given":
        return ("day_score",)
    return NEEDED.get(rule.method, ())


def reads_history(rule: BaselineRule) -> bool:
    """Whether a method looks at past days."""
    return rule.is_x_of_y or rule.method in ("exponential", "regression")


@dataclass(frozen=True, slots=True, eq=False)
class FamilyArguments:
    """Arguments as in `baseline`; once checked, only those that the rule looks at."""

    day_score: npt.ArrayLike | MatchDay | None = None
    nominated_w: npt.ArrayLike | Paths | DayFiles | None = None
    reference_w: npt.ArrayLike | None = None
    reference_of: npt.ArrayLike | None = None
    units: npt.ArrayLike | None = None
    temperature_c: npt.ArrayLike | None = None
    today_temperature_c: npt.ArrayLike | None = None
    zone: npt.ArrayLike | None = None
    day_off: npt.ArrayLike | None = None
    today_off: bool = False
    control_w: npt.ArrayLike | None = None
    control_of: npt.ArrayLike | None = None
    control_event: npt.ArrayLike | None = None
    control_excluded: npt.ArrayLike | None = None

    def checked(self, rule: BaselineRule, today: DayFiles, pods: Any, n_days: int) -> "FamilyArguments":
        """Refuse what is missing or does not fit the files, with rows of the whole city."""
        needed = needed_by(rule)
        need(rule, **{name: getattr(self, name) for name in needed})
        used = {*needed, *_MAY_HAVE.get(rule.method, ())}
        values: dict[str, Any] = {name: getattr(self, name) for name in used}
        n = today.n_pods
        if isinstance(values.get("day_score"), MatchDay):
            found = Findings("day_score")
            found.check_count("margin_steps", values["day_score"].margin_steps, 0)
            found.raise_errors()
        elif "day_score" in used:
            values["day_score"] = given_scores(values["day_score"], rule, (n, n_days))
        if "nominated_w" in used:
            values["nominated_w"] = _nominated(values["nominated_w"], today, pods)
        if values.get("units") is not None:
            values["units"] = as_units(values["units"], n)
        if rule.method == "reference":
            profiles = as_power_w(np.asarray(values["reference_w"]), "reference_w", shape=(None, today.day.n_steps))
            values["reference_of"] = _rows(values["reference_of"], "reference_of", n, len(profiles))
        if values.get("zone") is not None:
            degrees = np.asarray(values["temperature_c"])
            values["zone"] = _rows(values["zone"], "zone", n, len(degrees) if degrees.ndim == 3 else 1)
        if values.get("control_of") is not None:
            as_int(values["control_of"], "control_of", shape=(n, None))
            values["control_of"] = members_of(values["control_of"], len(np.asarray(values["control_w"])))
        return FamilyArguments(**values)

    def part(self, lo: int, hi: int) -> "FamilyArguments":
        """Return what rows lo..hi need; an array with one row stands for all."""
        rows: dict[str, Any] = {}
        for name in _FOR_EACH_POD:
            value = getattr(self, name)
            if isinstance(value, np.ndarray) and len(value) > 1:
                rows[name] = value[lo:hi]
        return replace(self, **rows) if rows else self

    def keywords(self, **computed: Any) -> dict[str, Any]:
        """Return the arguments for `baseline`, with those that were computed for the block put in."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | computed


def _rows(values: npt.ArrayLike, name: str, n_pods: int, n_rows: int) -> npt.NDArray[np.int64]:
    return as_rows(as_int(values, name, shape=(n_pods,)), name, n_rows)


def _is_paths(value: Any) -> TypeGuard[Paths]:
    if isinstance(value, str | os.PathLike):
        return True
    return isinstance(value, Sequence) and bool(value) and all(isinstance(part, str | os.PathLike) for part in value)


def _nominated(value: Any, today: DayFiles, pods: Any) -> Any:
    """Open files of nominated baselines, or check an array of them."""
    if not _is_paths(value):
        return as_power_w(np.asarray(value), "nominated_w", shape=(today.n_pods, today.day.n_steps))
    declared = open_day(value, today.day)
    theirs = declared.pods()
    if not theirs.equals(pods):
        either = set(pods.to_pylist()) ^ set(theirs.to_pylist())
        refuse(
            "FX-B064",
            f"{len(either)} PODs stand in {declared.files[0].path} or in {today.files[0].path}, but not in both",
            field="nominated_w",
            ids=sorted(either, key=lambda key: (isinstance(key, str), key)),
            hint="write a row of MISSING_W for a POD without nomination",
        )
    return declared
