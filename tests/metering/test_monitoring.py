"""Monitoring beside its loop-and-dictionary reference, and what a platform counts on: replay, any order, no state."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OptionError, StateError, ValidationError
from flexcore.metering import (
    MISSING_W,
    MONITOR_RULES,
    MonitorRule,
    monitor_start,
    monitor_step,
    monitor_steps,
    set_points,
)
from flexcore.metering import monitoring_state as m
from flexcore.units import DOWN, UP
from tests.reference import metering_monitoring as reference

N_STEPS = 14
NAMES = {
    m.SHORT: "short", m.OVER: "over", m.WRONG_WAY: "wrong way", m.NO_READING: "no reading", m.STALE: "stale",
    m.NOT_ANSWERING: "not answering", m.RECOVERED: "recovered", m.LATE: "late",
}  # fmt: skip


def drawn(seed, n_pods=7, n_aggregates=3):
    """Random PODs of both operators' aggregates: events with gaps, changes of direction, missing data, odd rules."""
    rng = np.random.default_rng(seed)
    shape = (n_pods, N_STEPS)
    on = np.repeat(rng.random((n_pods, N_STEPS // 2)) < 0.7, 2, axis=1)
    ordered = np.where(on, rng.integers(1, 3000, shape), 0).astype(np.int32)
    baseline = rng.integers(-3000, 5000, shape).astype(np.int32)
    direction = np.repeat(rng.integers(0, 2, (n_pods, 2)), N_STEPS // 2, axis=1).astype(np.int8)
    aggregate = np.repeat(rng.integers(0, n_aggregates, (n_pods, 2)), N_STEPS // 2, axis=1).astype(np.int32)
    response = rng.choice([-0.5, 0.0, 0.05, 0.3, 0.6, 0.92, 1.0, 1.5], shape)
    sign = np.where(direction == UP, -1, 1)
    metered = (baseline + sign * np.rint(ordered * response)).astype(np.int32)
    baseline[rng.random(shape) < 0.04] = MISSING_W
    metered[rng.random(shape) < 0.15] = MISSING_W
    late = rng.random(shape) < 0.1
    warning = int(rng.integers(0, 1_000_001))
    rule = MonitorRule(
        short_ppm=int(rng.integers(0, 1_000_001)),
        over_ppm=int(rng.integers(1_000_000, 1_400_001)),
        margin_w=int(rng.choice([0, 50, 300])),
        answer_ppm=int(rng.integers(0, 500_001)),
        silent_after=int(rng.integers(1, 4)),
        stale_after=int(rng.integers(1, 4)),
        warning_ppm=warning,
        critical_ppm=int(rng.integers(0, warning + 1)),
        clear_ppm=int(rng.integers(warning, 1_000_001)),
        raise_after=int(rng.integers(1, 4)),
        clear_after=int(rng.integers(1, 4)),
        cap_ppm=int(rng.choice([0, 900_000, 1_000_000, 1_200_000])),
        netting=str(rng.choice(["aggregate", "pod"])),
    )
    remaining = rng.integers(0, 50_000, (n_aggregates, 2, N_STEPS))
    return ordered, baseline, metered, aggregate, direction, late, rule, remaining


def live(case, n_aggregates=3, state=None, first=0, last=N_STEPS):
    """Call the step function quarter-hour by quarter-hour; give the states, flags and alarms."""
    ordered, baseline, metered, aggregate, direction, late, rule, remaining = case
    state = monitor_start(len(ordered), n_aggregates) if state is None else state
    found = []
    for t in range(first, last):
        done = monitor_step(
            state, step=t, ordered_w=ordered[:, t], baseline_w=baseline[:, t], metered_w=metered[:, t],
            aggregate=aggregate[:, t], direction=direction[:, t], late=late[:, t], remaining_wqh=remaining[:, :, t],
            rule=rule,
        )  # fmt: skip
        state = done.state
        found.append(done)
    return found


def as_reference(case):
    ordered, baseline, metered, aggregate, direction, late, _, remaining = case

    def known(row):
        return [None if value == MISSING_W else int(value) for value in row]

    pods = [
        {
            "ordered": ordered[i].tolist(), "baseline": known(baseline[i]), "metered": known(metered[i]),
            "aggregate": aggregate[i].tolist(), "direction": ["up" if d == UP else "down" for d in direction[i]],
            "late": late[i].tolist(),
        }
        for i in range(len(ordered))
    ]  # fmt: skip
    left = [{"up": group[0].tolist(), "down": group[1].tolist()} for group in remaining]
    return pods, left


def side_by_side(cases):
    """One city of several cases, each with aggregates of its own, under the rule of the first."""
    *arrays, _, remaining = zip(*cases, strict=True)
    joined = [np.concatenate(parts) for parts in arrays]
    joined[3] = np.concatenate([part + 3 * k for k, part in enumerate(arrays[3])])
    return *joined, cases[0][6], np.concatenate(remaining)


@pytest.mark.rule("MON-01")
def test_flags_and_alarms_equal_plain_loops_on_600_random_cases():
    seen, raised = set(), set()
    for first in range(0, 600, 5):
        case = side_by_side([drawn(seed) for seed in range(first, first + 5)])
        rule = case[6]
        found = live(case, n_aggregates=15)
        pods, left = as_reference(case)
        for t, done in enumerate(found):
            for i, pod in enumerate(pods):
                expected = reference.pod_flags(pod, t, rule)
                assert {name for bit, name in NAMES.items() if done.flags[i] & bit} == expected, (first, t, i)
                seen |= expected
        messages = {}
        for row in m.Alarms.join([done.alarms for done in found]).to_arrow().to_pylist():
            messages.setdefault((row["aggregate"], row["direction"]), []).append(row)
        for aggregate in range(15):
            own = pods[aggregate // 3 * 7 :][:7]
            for way, name in enumerate(("up", "down")):
                expected = reference.alarms_of_group(own, aggregate, name, N_STEPS, rule, left)
                rows = messages.get((aggregate, way), [])
                got = [{key: row[key] for key in expected[0]} for row in rows] if expected else rows
                assert got == expected, (first, aggregate, name)
                raised |= {(row["code"], row["change"]) for row in rows}
    assert seen == set(NAMES.values())  # the cases meet every flag, every reason and every change
    assert {code for code, _ in raised} == set(m.ALARM_CODES[1:])
    assert {change for _, change in raised} == set(m.CHANGE_NAMES)


@pytest.mark.rule("MON-01")
@given(seed=st.integers(0, 2**32), gap=st.integers(0, N_STEPS - 1))
@settings(max_examples=60, deadline=None)
def test_a_replay_with_late_readings_is_what_they_would_have_given_live(seed, gap):
    ordered, baseline, metered, aggregate, direction, late, rule, remaining = case = drawn(seed)
    truth = live(case)
    first = metered.copy()
    first[::2, gap] = MISSING_W  # these come late
    seen = live((ordered, baseline, first, aggregate, direction, late, rule, remaining))
    for t in range(gap):
        assert seen[t].state.same_as(truth[t].state)
    before = seen[gap - 1].state if gap else None
    again = live(case, state=before, first=gap)
    for t, done in enumerate(again, gap):
        assert done.state.same_as(truth[t].state)
        np.testing.assert_array_equal(done.flags, truth[t].flags)
        assert done.alarms.to_arrow().equals(truth[t].alarms.to_arrow())


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_pods_changes_nothing(seed):
    case = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(case[0]))
    moved = live((*(part[order] for part in case[:6]), *case[6:]))
    for one, other in zip(live(case), moved, strict=True):
        np.testing.assert_array_equal(one.flags[order], other.flags)
        assert one.alarms.to_arrow().equals(other.alarms.to_arrow())


def test_the_state_given_stays_as_it_is_and_nothing_can_be_written_to():
    case = drawn(1)
    found = live(case, last=5)
    state = found[-1].state
    copy = replace(state, **{name: getattr(state, name).copy() for name in state.__slots__ if name != "step"})
    live(case, state=state, first=5)
    assert state.same_as(copy)
    for array in (state.severity, state.stale, found[-1].flags, found[-1].alarms.code):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_set_points_say_the_same_as_orders():
    ordered, baseline, metered, aggregate, direction, late, rule, remaining = drawn(5)
    ordered = np.where(baseline == MISSING_W, 0, ordered)  # a set-point needs a baseline
    one = live((ordered, baseline, metered, aggregate, direction, late, rule, remaining))
    state = monitor_start(len(ordered), 3)
    for t, expected in enumerate(one):
        target = set_points(baseline[:, t], ordered[:, t], direction=direction[:, t])
        done = monitor_step(
            state, step=t, set_point_w=target, baseline_w=baseline[:, t], metered_w=metered[:, t],
            aggregate=aggregate[:, t], direction=direction[:, t], late=late[:, t], remaining_wqh=remaining[:, :, t],
            rule=rule,
        )  # fmt: skip
        state = done.state
        assert state.same_as(expected.state)
        np.testing.assert_array_equal(done.flags, expected.flags)
    assert set_points([1000, 1000, 1000], [300, 300, 0], direction=[UP, DOWN, UP]).tolist() == [700, 1300, MISSING_W]


def two_pods(metered, **more):
    """Two PODs of one aggregate, 1000 W up each from 5000 W, for six quarter-hours; readings as W delivered or None."""
    ordered = np.zeros((2, len(metered)), np.int32)
    ordered[:, :6] = 1000
    read = np.array([[MISSING_W if v is None else 5000 - v for v in step] for step in metered]).T
    return monitor_steps(
        monitor_start(2, 1, step=72), ordered_w=ordered, baseline_w=np.full(ordered.shape, 5000), metered_w=read,
        aggregate=[0, 0], direction=[UP, UP], **more,
    )  # fmt: skip


def test_an_alarm_by_hand():
    run = two_pods([(1000, 1000), (1000, 700), (600, 600), (0, 0), (1000, 1000), (1000, 1000), (0, 0)])
    rows = run.alarms.to_arrow().to_pylist()
    # 72: all; 73: 85 % is below 90 % once; 74: twice, raised; 75: nothing; 76 and 77: cleared after two
    assert [(row["step"], row["change"], row["severity"]) for row in rows] == [
        (74, "raised", "warning"), (75, "open", "warning"), (76, "open", "warning"), (77, "cleared", "none"),
    ]  # fmt: skip
    assert {row["key"] for row in rows} == {"0/up/72"}
    assert {row["code"] for row in rows} == {"MON-SHORT"}
    assert [row["short_wqh"] for row in rows] == [300 + 800, 3100, 3100, 3100]
    assert rows[0]["event_ratio_ppm"] == (2000 + 1700 + 1200) * 1_000_000 // 6000
    assert rows[0]["projected_wqh"] == 1100 + 6000 * 4 // 10
    assert run.flags[:, 3].tolist() == [m.SHORT, m.SHORT]
    assert run.flags[:, 4].tolist() == [m.RECOVERED, m.RECOVERED]


@pytest.mark.rule("MON-01")
def test_what_is_not_read_never_counts_as_delivered():
    run = two_pods([(None, 1000)] * 6 + [(None, None)] * 2)
    rows = run.alarms.to_arrow().to_pylist()
    assert [row["delivered_w"] for row in rows] == [1000] * 5 + [0]
    assert {row["code"] for row in rows} == {"MON-NO-DATA"}
    assert rows[-1]["change"] == "ended"
    assert run.flags[0].tolist()[:6] == [
        m.NO_READING, m.NO_READING | m.NOT_ANSWERING, m.NO_READING | m.NOT_ANSWERING,
        *[m.NO_READING | m.NOT_ANSWERING | m.STALE] * 3,
    ]  # fmt: skip
    assert run.flags[0, 6] == m.STALE  # without an order only the silence of the meter is left


def test_both_directions_and_both_operators_stand_apart():
    ordered = np.full((4, 3), 1000)
    baseline = np.full((4, 3), 2000)
    metered = np.array([[2000], [2000], [3000], [1000]]) + np.zeros((1, 3), np.int64)  # none, none, down, up
    run = monitor_steps(
        monitor_start(4, 2), ordered_w=ordered, baseline_w=baseline, metered_w=metered, aggregate=[0, 1, 1, 1],
        direction=[UP, DOWN, DOWN, UP], rule=MonitorRule(raise_after=1),
    )  # fmt: skip
    assert {(key, severity) for key, severity in zip(run.alarms.keys(), run.alarms.severity, strict=True)} == {
        ("0/up/0", m.CRITICAL), ("1/down/0", m.WARNING),
    }  # fmt: skip


def test_what_is_refused():
    state = monitor_start(2, 1)
    given = {"baseline_w": [1, 1], "metered_w": [1, 1], "aggregate": [0, 0], "direction": [0, 0]}
    with pytest.raises(StateError, match="FX-B072"):
        monitor_step(state, step=1, ordered_w=[0, 0], **given)
    with pytest.raises(ValidationError, match="FX-B073"):
        monitor_step(state, step=0, **given)
    with pytest.raises(ValidationError, match="FX-B071"):
        monitor_step(state, step=0, set_point_w=[2, MISSING_W], **given)
    with pytest.raises(ValidationError, match="FX-A004"):
        monitor_step(state, step=0, ordered_w=[0, -1], **given)
    with pytest.raises(ValidationError, match="FX-A006"):
        monitor_step(state, step=0, ordered_w=[0, 0], **{**given, "aggregate": [0, 1]})
    with pytest.raises(ValidationError, match="FX-A001"):
        monitor_step(state, step=0, ordered_w=[0], **given)
    with pytest.raises(OptionError, match="FX-E002"):
        monitor_step(state, step=0, ordered_w=[0, 0], **given, rule="none")
    with pytest.raises(ValidationError, match="FX-B070"):
        monitor_step(state, step=0, ordered_w=[0, 0], **given, rule=MonitorRule(warning_ppm=990_000))
    huge = replace(state, ordered_wqh=np.full((1, 2), 2**42))
    with pytest.raises(ValidationError, match="FX-B074"):
        monitor_step(huge, step=0, ordered_w=[1, 1], **given)
    with pytest.raises(ValidationError, match="FX-A006"):
        monitor_start(-1, 1)


@pytest.mark.parametrize("step", ["x", None, 1.5, True, 2**63, [0]], ids=str)
def test_a_quarter_hour_is_a_whole_number(step):
    with pytest.raises(ValidationError, match="FX-A00"):
        monitor_start(1, 1, step=step)
    with pytest.raises(ValidationError, match="FX-A00"):
        monitor_step(
            monitor_start(1, 1), step=step, ordered_w=[1], baseline_w=[1], metered_w=[1], aggregate=[0], direction=[0]
        )


def test_a_quarter_hour_counted_in_floats_leaves_keys_as_they_are():
    state = monitor_start(1, 1, step=7.0)
    given = {"ordered_w": [1000], "baseline_w": [0], "metered_w": [0], "aggregate": [0], "direction": [0]}
    for step in (7.0, 8.0):
        state, _, alarms = monitor_step(state, step=step, **given)
    assert type(state.step) is int
    assert alarms.keys() == ["0/up/7"]


@pytest.mark.parametrize("numbers", [{"raise_after": 10**30}, {"clear_after": 1.0}, {"margin_w": True}], ids=str)
def test_numbers_of_a_monitor_rule_are_whole_and_named(numbers):
    with pytest.raises(ValidationError, match=f"FX-B070 .* {next(iter(numbers))} is"):
        MonitorRule(**numbers).check()


def test_extremes_do_not_overflow():
    n = 100
    ordered = np.full((n, 2), 2**31 - 1)
    for direction, metered in ((UP, 2**31 - 1), (DOWN, -(2**31) + 1)):
        run = monitor_steps(
            monitor_start(n, 1), ordered_w=ordered, baseline_w=np.full((n, 2), -metered),
            metered_w=np.full((n, 2), metered), aggregate=np.zeros(n, int), direction=np.full(n, direction),
        )  # fmt: skip
        assert run.alarms.delivered_w.tolist() == [-2 * (2**31 - 1) * n]
        assert run.alarms.short_wqh.tolist() == [6 * (2**31 - 1) * n]
        assert run.alarms.code.tolist() == [2]


def test_nothing_to_monitor():
    run = monitor_steps(
        monitor_start(0, 0), ordered_w=np.zeros((0, 3), int), baseline_w=np.zeros((0, 3), int),
        metered_w=np.zeros((0, 3), int), aggregate=[], direction=[],
    )  # fmt: skip
    assert len(run.alarms) == 0
    none = monitor_steps(
        monitor_start(1, 1), ordered_w=np.zeros((1, 0), int), baseline_w=np.zeros((1, 0), int),
        metered_w=np.zeros((1, 0), int), aggregate=[0], direction=[0],
    )  # fmt: skip
    assert none.states == ()
    assert len(none.alarms) == 0


def test_presets_hold_and_name_what_is_not_verified():
    for name, rule in MONITOR_RULES.items():
        rule.check()
        assert rule.source, name
        assert set(rule.unverified) <= set(rule.__slots__)
