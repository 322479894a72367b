"""How the sums of a quarter-hour move the events and alarms of aggregates on."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, ValidationError
from flexcore.metering.monitoring_rules import MonitorRule
from flexcore.metering.monitoring_state import (
    CLEARED,
    CRITICAL,
    EASED,
    ENDED,
    ESCALATED,
    NONE,
    OPEN,
    RAISED,
    WARNING,
    Alarms,
    Int8s,
    Int64s,
    MonitorState,
)
from flexcore.metering.readings import Bools
from flexcore.units import MAX_WQH

# positions in ALARM_CODES
_SHORT, _WRONG_WAY, _NO_DATA = 1, 2, 3
_ONE = 1_000_000


class Sums(NamedTuple):
    """Sums of a quarter-hour over the PODs of each aggregate and direction, in the order of the kernel's columns."""

    ordered: Int64s
    delivered: Int64s
    n_pods: Int64s
    n_missing: Int64s
    missing_w: Int64s
    n_short: Int64s
    n_silent: Int64s


def step_alarms(state: MonitorState, sums: Sums, ahead: Int64s, rule: MonitorRule) -> tuple[MonitorState, Alarms]:
    """Step events and alarms; `state` has the PODs of this quarter-hour, else the one before.

    `ahead` is what is still ordered in each event after this quarter-hour.

    Raises
    ------
    ValidationError
        FX-B074 energies of an event above `units.MAX_WQH`.
    """
    ordered, delivered = sums.ordered, sums.delivered
    on = ordered > 0
    short = np.maximum(ordered - delivered, 0)
    _check_size(state, ordered, delivered, short)
    runs = _in_a_row(state, sums, on, rule)
    before, severity = state.severity, _severity(state.severity, on, runs, rule)
    code = np.where(runs["below"] > 0, _reason(sums, rule), np.where(on, state.code, 0)).astype(np.int8)
    event = np.where(on, np.where(state.event_step < 0, state.step, state.event_step), -1)
    so_far = {
        "ordered_wqh": state.ordered_wqh + ordered,
        "delivered_wqh": state.delivered_wqh + delivered,
        "counted_wqh": state.counted_wqh + np.minimum(delivered, rule.cap_ppm * ordered // _ONE),
        "short_wqh": state.short_wqh + short,
    }
    part = np.clip(delivered, 0, ordered) * _ONE // np.maximum(ordered, 1)
    projected = so_far["short_wqh"] + np.where(on, ahead - ahead * part // _ONE, 0)
    ratio = so_far["counted_wqh"] * _ONE // np.maximum(so_far["ordered_wqh"], 1)

    place = np.nonzero((before > NONE) | (severity > NONE))
    alarms = Alarms(
        np.full(len(place[0]), state.step, np.int64),
        place[0].astype(np.int64),
        place[1].astype(np.int8),
        np.where(on, event, state.event_step)[place],
        np.where(on, code, state.code)[place],
        severity[place],
        _change(before, severity, on)[place],
        *(values[place] for values in (ordered, delivered, ratio, so_far["short_wqh"], projected)),
        *(values[place] for values in (sums.n_pods, sums.n_missing, sums.n_short, sums.n_silent)),
    )
    kept: dict[str, Any] = {name: np.where(on, values, 0) for name, values in so_far.items()}
    return replace(state, event_step=event, severity=severity, code=code, **kept, **runs), alarms


def _check_size(state: MonitorState, ordered: Int64s, delivered: Int64s, short: Int64s) -> None:
    size = np.maximum(state.ordered_wqh + ordered, state.short_wqh + short)
    size = np.maximum(size, np.abs(state.delivered_wqh) + np.abs(delivered))
    large = np.flatnonzero((size > MAX_WQH).any(axis=1))
    if large.size:
        found = Findings("monitor_step")
        found.add("FX-B074", f"an event is above {MAX_WQH} W quarter-hours", rows=large)
        found.raise_errors(ValidationError)


def _in_a_row(state: MonitorState, sums: Sums, on: Bools, rule: MonitorRule) -> dict[str, Any]:
    """Quarter-hours in a row, up to this one, on either side of the limits of the rule."""
    delivered = sums.delivered * _ONE
    holds = {
        "below": delivered < rule.warning_ppm * sums.ordered,
        "far_below": delivered < rule.critical_ppm * sums.ordered,
        "above": delivered >= rule.clear_ppm * sums.ordered,
        "not_far": delivered >= rule.critical_ppm * sums.ordered,
    }
    return {name: np.where(on & now, getattr(state, name) + 1, 0) for name, now in holds.items()}


def _severity(before: Int8s, on: Bools, runs: dict[str, Any], rule: MonitorRule) -> Int8s:
    severity = np.where((runs["below"] >= rule.raise_after) & (before == NONE), WARNING, before)
    severity = np.where((before == CRITICAL) & (runs["not_far"] >= rule.clear_after), WARNING, severity)
    severity = np.where(runs["far_below"] >= rule.raise_after, CRITICAL, severity)
    severity = np.where(runs["above"] >= rule.clear_after, NONE, severity)
    return np.where(on, severity, NONE).astype(np.int8)


def _reason(sums: Sums, rule: MonitorRule) -> npt.NDArray[np.int_]:
    explained = (sums.delivered + sums.missing_w) * _ONE >= rule.warning_ppm * sums.ordered
    moved = np.where(sums.delivered < 0, _WRONG_WAY, _SHORT)
    return np.where((sums.missing_w > 0) & explained, _NO_DATA, moved)


def _change(before: Int8s, severity: Int8s, on: Bools) -> Int8s:
    change = np.full(before.shape, OPEN, np.int8)
    change[(before == NONE) & (severity > NONE)] = RAISED
    change[(before == WARNING) & (severity == CRITICAL)] = ESCALATED
    change[(before == CRITICAL) & (severity == WARNING)] = EASED
    change[(before > NONE) & (severity == NONE)] = CLEARED
    change[(before > NONE) & ~on] = ENDED
    return change
