"""Monitoring of activations: set-point against reading, every quarter-hour, as a pure step function (MON-01)."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array, as_bool, as_int, int_per_row
from flexcore.errors import Findings, StateError, ValidationError, check_option
from flexcore.metering.monitoring_alarms import Sums, step_alarms
from flexcore.metering.monitoring_rules import MONITOR_RULES, MonitorRule
from flexcore.metering.monitoring_state import Alarms, Int8s, Int64s, MonitorRun, MonitorState, MonitorStep
from flexcore.metering.readings import MISSING_W, Int32s, as_power_w
from flexcore.units import DOWN, MAX_WQH, UP

_MOST_STEPS = 1 << 62  # from the origin


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
        FX-A002, FX-A006 if a number is not a whole number, from 0 but for `step`.
    """
    found = Findings("monitor_start")
    found.check_count("n_pods", n_pods, 0)
    found.check_count("n_aggregates", n_aggregates, 0)
    found.raise_errors()
    first = int(as_int(step, "step", shape=(), lo=-_MOST_STEPS, hi=_MOST_STEPS))
    # frozen, so that fields may share them
    none, zero = np.zeros(n_pods, np.uint8), np.zeros((n_aggregates, 2), np.int64)
    unmarked = np.zeros((n_aggregates, 2), np.int8)
    return MonitorState(
        first - 1,
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
    given = as_array(baseline_w, "baseline_w")
    base = as_int(given, "baseline_w", shape=(None,) * max(given.ndim, 1))
    ordered = as_int(ordered_w, "ordered_w", shape=base.shape, lo=0)
    way = int_per_row(direction, "direction", len(base), lo=UP, hi=DOWN)
    sign = np.where(way == UP, -1, 1).reshape(-1, *[1] * (base.ndim - 1))
    return np.where((ordered > 0) & (base != MISSING_W), base + sign * ordered, MISSING_W)


def _rule(rule: str | MonitorRule) -> MonitorRule:
    if isinstance(rule, MonitorRule):
        rule.check()
        return rule
    check_option("rule", rule, tuple(MONITOR_RULES))
    return MONITOR_RULES[rule]


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
    now = int(as_int(step, "step", shape=()))
    if now != state.step + 1:
        found.add(
            "FX-B072",
            f"quarter-hour {now} does not follow {state.step}",
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
    sums = np.zeros((2 * n_aggregates, len(Sums._fields)), np.int64)
    monitor(
        ordered, baseline, metered, owner, way, after_late, state.stale, state.silent, state.bad, state.group,
        terms.short_ppm, terms.over_ppm, terms.margin_w, terms.answer_ppm, terms.silent_after, terms.stale_after,
        int(terms.netting == "pod"), stale, silent, bad, group, flags, sums,
    )  # fmt: skip
    pods = replace(state, step=now, stale=stale, silent=silent, bad=bad, group=group)
    following, alarms = step_alarms(pods, Sums(*sums.T.reshape(len(sums.T), n_aggregates, 2)), ahead, terms)
    flags.setflags(write=False)
    return MonitorStep(following, flags, alarms)


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
