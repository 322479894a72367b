"""Monitoring of activations: set-point against reading, every quarter-hour, as a pure step function (MON-01)."""

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int
from flexcore.errors import Findings, StateError, ValidationError, check_option
from flexcore.metering.monitoring_rules import MONITOR_RULES, MonitorRule
from flexcore.metering.readings import MISSING_W, Int32s, as_power_w
from flexcore.units import DOWN, MAX_WQH, UP

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
UInt8s = npt.NDArray[np.uint8]

#: Bits of the flags of a POD.
SHORT, OVER, WRONG_WAY, NO_READING, STALE, NOT_ANSWERING, RECOVERED, LATE = 1, 2, 4, 8, 16, 32, 64, 128
#: Bit to meaning.
FLAGS: dict[int, str] = {
    SHORT: "delivers less than its order",
    OVER: "delivers more than its order",
    WRONG_WAY: "moves against the direction of its order",
    NO_READING: "ordered, but its reading or its baseline is missing: it counts as not delivering",
    STALE: "no reading for several quarter-hours, ordered or not",
    NOT_ANSWERING: "has not answered its order for several quarter-hours",
    RECOVERED: "delivers again after it was short, moved the wrong way or was not read",
    LATE: "its reading came after the quarter-hour had been closed",
}
#: Severity of an alarm.
NONE, WARNING, CRITICAL = 0, 1, 2
SEVERITY_NAMES = ("none", "warning", "critical")
#: What happened to an alarm in the quarter-hour.
OPEN, RAISED, ESCALATED, EASED, CLEARED, ENDED = 0, 1, 2, 3, 4, 5
CHANGE_NAMES = ("open", "raised", "escalated", "eased", "cleared", "ended")
#: Stable codes of alarms, at the position of `Alarms.code`: they never change their meaning.
ALARM_CODES = ("", "MON-SHORT", "MON-WRONG-WAY", "MON-NO-DATA")
_SHORT, _WRONG_WAY, _NO_DATA = 1, 2, 3

_ONE = 1_000_000


def _freeze(item: Any) -> None:
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that monitoring remembers from one quarter-hour to the next; a function of what was read up to it.

    Attributes
    ----------
    step : int
        Last quarter-hour that was monitored.
    stale, silent, bad : ndarray of uint8, shape (n_pods,)
        Quarter-hours in a row without reading; of the present order without answer; and deviating.
    group : ndarray of int32, shape (n_pods,)
        2 x aggregate + direction of the present order, -1 without one.
    event_step : ndarray of int64, shape (n_aggregates, 2)
        First quarter-hour of the present event of each aggregate and direction, -1 without one.
    ordered_wqh, delivered_wqh, counted_wqh, short_wqh : ndarray of int64, shape (n_aggregates, 2)
        So far in the event: ordered; delivered, netted; the same with each quarter-hour capped; and missing to the
        order, summed over the quarter-hours that fell short. [W quarter-hours]
    below, far_below, above, not_far : ndarray of int64, shape (n_aggregates, 2)
        Quarter-hours in a row below `warning_ppm`, below `critical_ppm`, from `clear_ppm` on, from `critical_ppm` on.
    severity, code : ndarray of int8, shape (n_aggregates, 2)
        Severity of the open alarm, and the last reason for it, a position in `ALARM_CODES`.
    """

    step: int
    stale: UInt8s
    silent: UInt8s
    bad: UInt8s
    group: Int32s
    event_step: Int64s
    ordered_wqh: Int64s
    delivered_wqh: Int64s
    counted_wqh: Int64s
    short_wqh: Int64s
    below: Int64s
    far_below: Int64s
    above: Int64s
    not_far: Int64s
    severity: Int8s
    code: Int8s

    def __post_init__(self) -> None:
        _freeze(self)

    def same_as(self, other: "MonitorState") -> bool:
        """Tell whether both states hold the same in every field."""
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Alarms:
    """Alarms that are open after a quarter-hour or were closed in it, by (aggregate, direction) in each quarter-hour.

    Attributes
    ----------
    step : ndarray of int64
    aggregate : ndarray of int64
        Position of the aggregate.
    direction : ndarray of int8
    event_step : ndarray of int64
        First quarter-hour of the event; with aggregate and direction the key of the alarm.
    code : ndarray of int8
        Position in `ALARM_CODES`: the last reason.
    severity : ndarray of int8
        Position in `SEVERITY_NAMES`; 0 once it is closed.
    change : ndarray of int8
        Position in `CHANGE_NAMES`: 0 where an alarm goes on as it was.
    ordered_w, delivered_w : ndarray of int64
        Sums of this quarter-hour; delivered is netted, and what was not read counts as zero. [W]
    event_ratio_ppm : ndarray of int64
        Capped delivered over ordered energy so far in the event, rounded down. [parts per million]
    short_wqh : ndarray of int64
        Energy missing so far in the event. [W quarter-hours]
    projected_wqh : ndarray of int64
        The same at the end of the event, if the ratio stays as it is in this quarter-hour. [W quarter-hours]
    n_pods, n_missing, n_short, n_silent : ndarray of int64
        PODs with an order; of them without reading or baseline; short; and not answering.
    """

    step: Int64s
    aggregate: Int64s
    direction: Int8s
    event_step: Int64s
    code: Int8s
    severity: Int8s
    change: Int8s
    ordered_w: Int64s
    delivered_w: Int64s
    event_ratio_ppm: Int64s
    short_wqh: Int64s
    projected_wqh: Int64s
    n_pods: Int64s
    n_missing: Int64s
    n_short: Int64s
    n_silent: Int64s

    def __post_init__(self) -> None:
        _freeze(self)

    def __len__(self) -> int:
        return len(self.step)

    def keys(self) -> list[str]:
        """One key for each row, such as '17/up/72': the same from the first to the last message about an alarm."""
        way = np.array(["up", "down"])[self.direction]
        rows = zip(self.aggregate.tolist(), way.tolist(), self.event_step.tolist(), strict=True)
        return [f"{aggregate}/{direction}/{event}" for aggregate, direction, event in rows]

    def to_arrow(self) -> Any:
        """Return a pyarrow Table with one row for each alarm: names for code, severity and change, and the key."""
        import pyarrow as pa

        columns: dict[str, Any] = {"key": pa.array(self.keys(), pa.string())}
        columns |= {field.name: getattr(self, field.name) for field in fields(self)}
        for name, names in (("code", ALARM_CODES), ("severity", SEVERITY_NAMES), ("change", CHANGE_NAMES)):
            columns[name] = pa.array(np.array(names)[columns[name]].tolist(), pa.string())
        return pa.table(columns)

    @classmethod
    def join(cls, parts: "list[Alarms]") -> "Alarms":
        """Put the alarms of several quarter-hours one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class MonitorStep(NamedTuple):
    """What one quarter-hour gives: the next state, flags of shape (n_pods,), and the alarms of the aggregates."""

    state: MonitorState
    flags: UInt8s
    alarms: Alarms


class MonitorRun(NamedTuple):
    """What several quarter-hours give: a state for each, flags of shape (n_pods, n_steps), and all alarms in order."""

    states: tuple[MonitorState, ...]
    flags: UInt8s
    alarms: Alarms


def monitor_start(n_pods: int, n_aggregates: int, *, step: int = 0) -> MonitorState:
    """Return the state before the first quarter-hour.

    Parameters
    ----------
    n_pods, n_aggregates : int
    step : int
        The first quarter-hour that will be monitored, counted from any origin.

    Raises
    ------
    ValidationError
        FX-A006 if a number is not a whole number from 0.
    """
    found = Findings("monitor_start")
    found.check_count("n_pods", n_pods, 0)
    found.check_count("n_aggregates", n_aggregates, 0)
    found.raise_errors()
    # frozen, so that fields may share them
    none, zero = np.zeros(n_pods, np.uint8), np.zeros((n_aggregates, 2), np.int64)
    unmarked = np.zeros((n_aggregates, 2), np.int8)
    return MonitorState(
        step - 1,
        stale=none,
        silent=none,
        bad=none,
        group=np.full(n_pods, -1, np.int32),
        event_step=np.full((n_aggregates, 2), -1, np.int64),
        ordered_wqh=zero,
        delivered_wqh=zero,
        counted_wqh=zero,
        short_wqh=zero,
        below=zero,
        far_below=zero,
        above=zero,
        not_far=zero,
        severity=unmarked,
        code=unmarked,
    )


def set_points(baseline_w: npt.ArrayLike, ordered_w: npt.ArrayLike, *, direction: npt.ArrayLike) -> Int64s:
    """Return planned withdrawal: baseline minus the order up, or plus the order down.

    Parameters
    ----------
    baseline_w : array_like of int, shape (n_pods,) or (n_pods, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. [W]
    ordered_w : array_like of int, same shape
        Not negative, 0 without an order. [W]
    direction : array_like of int, shape (n_pods,) or one number
        `units.UP` or `units.DOWN`.

    Returns
    -------
    ndarray of int64, same shape
        `MISSING_W` where nothing is ordered or there is no baseline. [W]
    """
    base, ordered = np.asarray(baseline_w), np.asarray(ordered_w)
    base = as_int(base, "baseline_w", shape=(None,) * base.ndim)
    ordered = as_int(ordered, "ordered_w", shape=base.shape, lo=0)
    way = as_int(np.broadcast_to(np.asarray(direction), base.shape[:1]), "direction", lo=UP, hi=DOWN)
    sign = np.where(way == UP, -1, 1).reshape(-1, *[1] * (base.ndim - 1))
    return np.where((ordered > 0) & (base != MISSING_W), base + sign * ordered, MISSING_W)


def _rule(rule: str | MonitorRule) -> MonitorRule:
    if isinstance(rule, str):
        check_option("rule", rule, tuple(MONITOR_RULES))
        return MONITOR_RULES[rule]
    rule.check()
    return rule


def _orders(set_point_w: npt.ArrayLike, baseline: Int32s, way: Int8s) -> Int32s:
    """Turn set-points back into orders; one without baseline, or against its direction, is no order."""
    target = as_power_w(set_point_w, "set_point_w", shape=baseline.shape)
    given = target != MISSING_W
    ordered = np.where(given, baseline.astype(np.int64) - target, 0)
    ordered = np.where(way == DOWN, -ordered, ordered)
    bad = given & ((baseline == MISSING_W) | (ordered < 0) | (ordered >= 2**31))
    if bad.any():
        found = Findings("set_point_w", len(target))
        rows = np.flatnonzero(bad)
        found.add(
            "FX-B071",
            f"{rows.size} set-points have no baseline, or lie on the wrong side of it",
            rows=rows,
            hint="a set-point is the baseline minus the order up, or plus the order down (set_points)",
        )
        found.raise_errors(ValidationError)
    return ordered.astype(np.int32)


def monitor_step(
    state: MonitorState,
    *,
    step: int,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    direction: npt.ArrayLike,
    ordered_w: npt.ArrayLike | None = None,
    set_point_w: npt.ArrayLike | None = None,
    remaining_wqh: npt.ArrayLike | None = None,
    late: npt.ArrayLike | None = None,
    rule: str | MonitorRule = "flexcore",
) -> MonitorStep:
    """Monitor one quarter-hour; a pure function, one pass over the PODs.

    Parameters
    ----------
    state : MonitorState
        From the quarter-hour before, or `monitor_start`; it stays as it is.
    step : int
        The quarter-hour, `state.step` + 1.
    baseline_w, metered_w : array_like of int, shape (n_pods,)
        Baseline as far as it is known, and reading, positive = withdrawal; `MISSING_W` where there is none. [W]
    aggregate : array_like of int, shape (n_pods,)
        Position of the aggregate that each POD is ordered for now; those of both operators in one numbering.
    direction : array_like of int, shape (n_pods,)
        `units.UP` or `units.DOWN`.
    ordered_w : array_like of int, shape (n_pods,), optional
        Ordered flexibility, not negative, 0 without an order. Give this or `set_point_w`. [W]
    set_point_w : array_like of int, shape (n_pods,), optional
        Planned withdrawal, `MISSING_W` without an order (see `set_points`). [W]
    remaining_wqh : array_like of int, shape (n_aggregates, 2), optional
        Energy still ordered in the event after this quarter-hour; 0 if not given. [W quarter-hours]
    late : array_like of bool, shape (n_pods,), optional
        Readings that came after the quarter-hour had been closed: they are flagged, and count like any other.
    rule : str or MonitorRule
        A name in `MONITOR_RULES`, or a rule of one's own.

    Returns
    -------
    MonitorStep
        State, flags (bits of `FLAGS`) and alarms.

    Raises
    ------
    StateError
        FX-B072 if the quarter-hour does not follow that of the state: one that was not read at all is given with every
        reading missing, an earlier one is replayed from the state before it.
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range; FX-B070 the rule, FX-B071 a set-point without
        baseline or on its wrong side, FX-B073 neither or both of order and set-point, FX-B074 energies of an event
        above `units.MAX_WQH`; FX-E002 an unknown rule.

    Notes
    -----
    Delivered is s (B - M), s = +1 up and -1 down. What is not read counts as zero. An event of an aggregate and
    direction is a run of quarter-hours with an order. With d and Q the sums of a quarter-hour, an alarm is raised after
    `raise_after` quarter-hours in a row with d < warning_ppm Q, critical for critical_ppm, and cleared after
    `clear_after` in a row with d >= clear_ppm Q; it ends with its event. The reason is MON-NO-DATA where those not read
    could make up for it, else MON-WRONG-WAY where d < 0, else MON-SHORT.
    """
    from flexcore.kernels.metering.monitoring import monitor

    terms = _rule(rule)
    n = len(state.group)
    n_aggregates = len(state.event_step)
    found = Findings("monitor_step", n)
    if step != state.step + 1:
        found.add(
            "FX-B072",
            f"quarter-hour {step} does not follow {state.step}",
            hint="give skipped quarter-hours with missing readings; replay earlier ones from the state before them",
        )
        found.raise_errors(StateError)
    if (ordered_w is None) == (set_point_w is None):
        found.add("FX-B073", "give either ordered_w or set_point_w")
        found.raise_errors(ValidationError)
    baseline = as_power_w(baseline_w, "baseline_w", shape=(n,))
    metered = as_power_w(metered_w, "metered_w", shape=(n,))
    owner = as_int(aggregate, "aggregate", dtype=np.int32, shape=(n,), lo=0, hi=n_aggregates - 1)
    way = as_int(direction, "direction", dtype=np.int8, shape=(n,), lo=UP, hi=DOWN)
    if ordered_w is not None:
        ordered = as_int(ordered_w, "ordered_w", dtype=np.int32, shape=(n,), lo=0)
    else:
        assert set_point_w is not None
        ordered = _orders(set_point_w, baseline, way)
    after_late = np.zeros(0, np.bool_) if late is None else as_bool(late, "late", shape=(n,))
    ahead = np.zeros((n_aggregates, 2), np.int64)
    if remaining_wqh is not None:
        ahead = as_int(remaining_wqh, "remaining_wqh", shape=(n_aggregates, 2), lo=0, hi=MAX_WQH)
    stale, silent, bad, flags = (np.empty(n, np.uint8) for _ in range(4))
    group = np.empty(n, np.int32)
    sums = np.zeros((2 * n_aggregates, 8), np.int64)
    monitor(
        ordered, baseline, metered, owner, way, after_late, state.stale, state.silent, state.bad, state.group,
        terms.short_ppm, terms.over_ppm, terms.margin_w, terms.answer_ppm, terms.silent_after, terms.stale_after,
        int(terms.netting == "pod"), stale, silent, bad, group, flags, sums,
    )  # fmt: skip
    pods = replace(state, step=step, stale=stale, silent=silent, bad=bad, group=group)
    following, alarms = _aggregates(pods, sums.reshape(n_aggregates, 2, 8), ahead, terms)
    flags.setflags(write=False)
    return MonitorStep(following, flags, alarms)


def _aggregates(state: MonitorState, sums: Int64s, ahead: Int64s, rule: MonitorRule) -> tuple[MonitorState, Alarms]:
    """Step events and alarms of the aggregates; `state` has the PODs of this quarter-hour, else the one before."""
    ordered, delivered, n_pods, n_missing, missing_w, n_short, n_silent = np.moveaxis(sums, 2, 0)[:7]
    on = ordered > 0
    short = np.maximum(ordered - delivered, 0)
    size = np.maximum(state.ordered_wqh + ordered, state.short_wqh + short)
    size = np.maximum(size, np.abs(state.delivered_wqh) + np.abs(delivered))
    if (size > MAX_WQH).any():
        found = Findings("monitor_step")
        found.add(
            "FX-B074", f"an event is above {MAX_WQH} W quarter-hours", rows=np.flatnonzero((size > MAX_WQH).any(axis=1))
        )
        found.raise_errors(ValidationError)

    def run(before: Int64s, holds: npt.NDArray[np.bool_]) -> Int64s:
        return np.where(on & holds, before + 1, 0)

    scaled = delivered * _ONE
    is_below = scaled < rule.warning_ppm * ordered
    below = run(state.below, is_below)
    far_below = run(state.far_below, scaled < rule.critical_ppm * ordered)
    above = run(state.above, scaled >= rule.clear_ppm * ordered)
    not_far = run(state.not_far, scaled >= rule.critical_ppm * ordered)
    before = state.severity
    severity = np.where((below >= rule.raise_after) & (before == NONE), WARNING, before)
    severity = np.where((before == CRITICAL) & (not_far >= rule.clear_after), WARNING, severity)
    severity = np.where(far_below >= rule.raise_after, CRITICAL, severity)
    severity = np.where(above >= rule.clear_after, NONE, severity)
    severity = np.where(on, severity, NONE).astype(np.int8)
    reason = np.where(delivered < 0, _WRONG_WAY, _SHORT)
    explained = (missing_w > 0) & ((delivered + missing_w) * _ONE >= rule.warning_ppm * ordered)
    reason = np.where(explained, _NO_DATA, reason)
    code = np.where(is_below & on, reason, np.where(on, state.code, 0)).astype(np.int8)

    event = np.where(on, np.where(state.event_step < 0, state.step, state.event_step), -1)
    counted = np.minimum(delivered, rule.cap_ppm * ordered // _ONE)
    so_far = [
        old + new
        for old, new in (
            (state.ordered_wqh, ordered),
            (state.delivered_wqh, delivered),
            (state.counted_wqh, counted),
            (state.short_wqh, short),
        )
    ]
    part = np.clip(delivered, 0, ordered) * _ONE // np.maximum(ordered, 1)
    projected = so_far[3] + np.where(on, ahead - ahead * part // _ONE, 0)
    ratio = so_far[2] * _ONE // np.maximum(so_far[0], 1)

    change = np.full(before.shape, OPEN, np.int8)
    change[(before == NONE) & (severity > NONE)] = RAISED
    change[(before == WARNING) & (severity == CRITICAL)] = ESCALATED
    change[(before == CRITICAL) & (severity == WARNING)] = EASED
    change[(before > NONE) & (severity == NONE)] = CLEARED
    change[(before > NONE) & ~on] = ENDED
    place = np.nonzero((before > NONE) | (severity > NONE))
    origin = np.where(on, event, state.event_step)
    alarms = Alarms(
        np.full(len(place[0]), state.step, np.int64),
        place[0].astype(np.int64),
        place[1].astype(np.int8),
        origin[place],
        np.where(on, code, state.code)[place],
        severity[place],
        change[place],
        *(values[place] for values in (ordered, delivered, ratio, so_far[3], projected)),
        *(values[place] for values in (n_pods, n_missing, n_short, n_silent)),
    )
    kept = [np.where(on, values, 0) for values in so_far]
    following = replace(
        state, event_step=event, ordered_wqh=kept[0], delivered_wqh=kept[1], counted_wqh=kept[2], short_wqh=kept[3],
        below=below, far_below=far_below, above=above, not_far=not_far, severity=severity, code=code,
    )  # fmt: skip
    return following, alarms


def monitor_steps(
    state: MonitorState,
    *,
    ordered_w: npt.ArrayLike,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    direction: npt.ArrayLike,
    late: npt.ArrayLike | None = None,
    rule: str | MonitorRule = "flexcore",
) -> MonitorRun:
    """Monitor several quarter-hours, from the one after `state` on: a whole day, or a replay with late readings.

    Parameters
    ----------
    state : MonitorState
    ordered_w, baseline_w, metered_w : array_like of int, shape (n_pods, n_steps)
    aggregate, direction : array_like of int, shape (n_pods,)
    late : array_like of bool, shape (n_pods, n_steps), optional
    rule : str or MonitorRule

    Returns
    -------
    MonitorRun

    Raises
    ------
    ValidationError
        As `monitor_step`.

    Notes
    -----
    What is still ordered in an event is taken from `ordered_w`; orders after its last quarter-hour are not known here.
    """
    orders = as_int(ordered_w, "ordered_w", dtype=np.int32, shape=(None, None), lo=0)
    baseline = as_power_w(baseline_w, "baseline_w", shape=orders.shape)
    metered = as_power_w(metered_w, "metered_w", shape=orders.shape)
    n_aggregates = len(state.event_step)
    owner = as_int(aggregate, "aggregate", dtype=np.int32, shape=orders.shape[:1], lo=0, hi=n_aggregates - 1)
    way = as_int(direction, "direction", dtype=np.int8, shape=orders.shape[:1], lo=UP, hi=DOWN)
    after = None if late is None else as_bool(late, "late", shape=orders.shape)
    ahead = np.zeros((orders.shape[1] + 1, 2 * n_aggregates), np.int64)
    for t in range(orders.shape[1] - 1, -1, -1):
        # what this quarter-hour orders stands before what follows it without a gap
        np.add.at(ahead[t], 2 * owner + way, orders[:, t].astype(np.int64))
        ahead[t] += np.where(ahead[t] > 0, ahead[t + 1], 0)
    states, flags, alarms = [], np.empty(orders.shape, np.uint8), []
    for t in range(orders.shape[1]):
        done = monitor_step(
            state,
            step=state.step + 1,
            ordered_w=orders[:, t],
            baseline_w=baseline[:, t],
            metered_w=metered[:, t],
            aggregate=owner,
            direction=way,
            remaining_wqh=ahead[t + 1].reshape(n_aggregates, 2),
            late=None if after is None else after[:, t],
            rule=rule,
        )
        state = done.state
        states.append(state)
        flags[:, t] = done.flags
        alarms.append(done.alarms)
    if not alarms:
        nothing = [np.zeros(0, kind) for kind in ("i8", "i8", "i1", "i8", "i1", "i1", "i1", *["i8"] * 9)]
        alarms = [Alarms(*nothing)]
    return MonitorRun(tuple(states), flags, Alarms.join(alarms))
