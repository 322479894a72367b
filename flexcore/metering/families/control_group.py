"""Control group: PODs without event on the same day stand for what the others would have drawn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, ValidationError
from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import EventDay, Floats, as_mask
from flexcore.metering.families.reference_profile import as_units
from flexcore.metering.readings import Bools, as_power_w


@dataclass(frozen=True, slots=True)
class Controls:
    """Arguments of `baseline` that speak of the control group, as they came."""

    control_w: npt.ArrayLike
    control_of: npt.ArrayLike | None
    control_event: npt.ArrayLike | None
    control_excluded: npt.ArrayLike | None
    units: npt.ArrayLike | None


def as_barred(control_event: npt.ArrayLike | None, n_controls: int, n_steps: int) -> Bools:
    """True for PODs that cannot be controls because they have an event in any quarter-hour of the day."""
    during = as_mask(control_event, "control_event", (n_controls, n_steps))
    if len(during) == 0:
        return np.zeros(n_controls, np.bool_)
    return np.ascontiguousarray(np.broadcast_to(during.any(axis=1), n_controls))


def members_of(control_of: npt.ArrayLike, n_controls: int) -> npt.NDArray[np.int64]:
    """Return rows of controls for each POD, -1 for none, or refuse those that point nowhere or twice."""
    members = np.asarray(as_int(control_of, "control_of", shape=(None, None)))
    found = Findings("control_of", len(members))
    bad = np.flatnonzero(((members < -1) | (members >= n_controls)).any(axis=1))
    if bad.size:
        found.add("FX-B031", f"control_of points outside 0..{n_controls - 1} for {bad.size} PODs", rows=bad)
    ordered = np.sort(members, axis=1)
    twice = np.flatnonzero(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1))
    if twice.size:
        found.add("FX-B033", f"control_of names a control twice for {twice.size} PODs", rows=twice)
    found.raise_errors(ValidationError)
    return members


def control_group(rule: BaselineRule, controls: Controls, day: EventDay) -> BaselineResult:
    """Take the mean load of each POD's controls; without `control_of` all controls stand for every POD."""
    from flexcore.kernels.metering.control_group import control_mean

    control = as_power_w(controls.control_w, "control_w", shape=(None, None))
    n_controls, n_steps = control.shape
    barred = as_barred(controls.control_event, n_controls, n_steps)
    gone = as_mask(controls.control_excluded, "control_excluded", (n_controls, n_steps))
    if controls.control_of is None:
        n_pods = len(np.atleast_1d(np.asarray(controls.units if day.today_w is None else day.today_w)))
        members = np.flatnonzero(~barred).reshape(1, -1)
        mean, few = np.empty((1, n_steps), np.float64), np.empty(1, np.uint8)
        control_mean(control, barred, gone, members, np.ones(1, np.int64), rule.min_controls, 0, 1, mean, few)
    else:
        members = members_of(controls.control_of, n_controls)
        n_pods = len(members)
    units = as_units(controls.units, n_pods)

    def family(i0: int, i1: int, raw: Floats, result: BaselineResult) -> None:
        if controls.control_of is None:
            np.multiply(mean, units[i0:i1, np.newaxis], out=raw)
            result.status[i0:i1] = few
        else:
            control_mean(control, barred, gone, members, units, rule.min_controls, i0, i1, raw, result.status[i0:i1])

    return day.adjusted(rule, (n_pods, 0, n_steps), family)
