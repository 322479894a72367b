"""Families of baselines beside X of Y, each against a reference in tests/reference/ written from the rule."""

import dataclasses

import numpy as np
import pytest

from flexcore import baseline
from flexcore.errors import ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.baseline import FEWER_DAYS, GAP, GUARDED, NO_BASELINE, OVERFLOW, WIDENED
from tests.metering.cases import adjustment_fields, past_of, plain, random_day
from tests.reference.metering_adjustment import adjusted, metered_where_idle, usable_days
from tests.reference.metering_baseline import x_of_y
from tests.reference.metering_control_group import control_mean
from tests.reference.metering_exponential import exponential
from tests.reference.metering_median import median_of_days

CASES = 130  # of four PODs each


def finished(rule, raw, case, i, status):
    """Adjustment and idle rule of the reference, on what a family gives before them."""
    today, event, gone = plain(case["today_w"][i]), list(case["event"][i]), list(case["today_excluded"][i])
    values, status = adjusted(rule, raw, today, event, gone, status)
    return metered_where_idle(values, status, today, event) if rule.idle == "metered" else (values, status)


def same(result, i, expected):
    values, status = expected
    assert plain(result.baseline_w[i]) == values
    assert result.status[i] == status


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(CASES))
def test_exponential_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    start = int(rng.integers(1, 9))
    rule = BaselineRule(
        "exponential",
        n_candidates=start,
        n_selected=start,
        min_days=int(rng.integers(1, start + 1)),
        weight_ppm=int(rng.integers(0, 1_000_001)),
        **adjustment_fields(rng),
    )
    result = baseline(**case, preset=rule)
    for i in range(len(case["today_w"])):
        days, widened = usable_days(rule, case["eligible"][i])
        raw, status, used = exponential(rule, past_of(case, i), days)
        same(result, i, finished(rule, raw, case, i, status | (WIDENED if widened else 0)))
        assert set(np.flatnonzero(result.days_used[i])) == used


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(CASES))
def test_median_of_selected_days_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    n_candidates = int(rng.integers(1, 9))
    rule = BaselineRule(
        ("high", "low")[rng.integers(2)],
        n_candidates=n_candidates,
        n_selected=int(rng.integers(1, n_candidates + 1)),
        min_days=int(rng.integers(1, n_candidates + 1)),
        statistic="median",
        **adjustment_fields(rng),
    )
    result = baseline(**case, preset=rule)
    kept = FEWER_DAYS | NO_BASELINE | WIDENED | 128
    for i in range(len(case["today_w"])):
        past = [plain(day) for day in case["history_w"][i]]
        today, event, gone = plain(case["today_w"][i]), list(case["event"][i]), list(case["today_excluded"][i])
        choice, out = list(case["eligible"][i]), case["excluded"][i]
        _, status, used = x_of_y(rule, past, today, event, choice, gone, out)
        # borrowed event days (third choice) keep their excluded quarter-hours
        seen = [past[d] if choice[d] == 3 else day for d, day in enumerate(past_of(case, i))]
        same(result, i, finished(rule, median_of_days(seen, used), case, i, status & kept))
        assert set(np.flatnonzero(result.days_used[i])) == used


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(CASES))
def test_fixed_reference_equals_profile_times_units(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    n_steps = case["today_w"].shape[1]
    rule = BaselineRule("reference", **adjustment_fields(rng))
    profile = rng.integers(-50, 3000, (3, n_steps))
    profile[rng.random(profile.shape) < rng.choice([0, 0.05])] = MISSING_W
    of, units = rng.integers(0, 3, 4), rng.integers(0, 2**20 if rng.random() < 0.1 else 40, 4)
    day = {name: case[name] for name in ("today_w", "event", "today_excluded")}
    result = baseline(None, **day, preset=rule, reference_w=profile, reference_of=of, units=units)
    for i in range(4):
        raw = [None if value == MISSING_W else int(value) * int(units[i]) for value in profile[of[i]]]
        same(result, i, finished(rule, raw, case, i, 0))


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(CASES))
def test_control_group_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    n_steps = case["today_w"].shape[1]
    n_controls = int(rng.integers(1, 9))
    rule = BaselineRule("control_group", min_controls=int(rng.integers(1, 3)), **adjustment_fields(rng))
    control = rng.integers(-100, 3000, (n_controls, n_steps)).astype(np.int32)
    control[rng.random(control.shape) < rng.choice([0, 0.2])] = MISSING_W
    control_event = np.zeros(control.shape, bool)
    control_event[rng.random(n_controls) < 0.3, n_steps // 2] = True
    gone = rng.random(control.shape) < rng.choice([0, 0.1])
    units = rng.integers(0, 30, 4)
    of = None
    if rng.random() < 0.7:
        wide = np.argsort(rng.random((4, n_controls + 2)), axis=1)[:, : rng.integers(1, n_controls + 3)]
        of = np.where(wide < n_controls, wide, -1)
    day = {name: case[name] for name in ("today_w", "event", "today_excluded")}
    result = baseline(
        None, **day, preset=rule, control_w=control, control_of=of, control_event=control_event,
        control_excluded=gone, units=units,
    )  # fmt: skip
    rows = [[None if gone[c, t] else v for t, v in enumerate(plain(row))] for c, row in enumerate(control)]
    barred = control_event.any(axis=1)
    for i in range(4):
        members = [c for c in range(n_controls) if not barred[c]] if of is None else [int(c) for c in of[i]]
        raw, status = control_mean(rule, rows, barred, members, int(units[i]))
        same(result, i, finished(rule, raw, case, i, status))


def test_the_adjustment_is_that_of_x_of_y():
    """Where the mean of the days is whole, X of Y and its mean as a fixed reference are adjusted to the same bits."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        case = random_day(rng, n_pods=5)
        case["history_w"] = rng.integers(-500, 1000, (5, 4, case["today_w"].shape[1])).astype(np.int32) * 4
        for name in ("eligible", "excluded"):
            del case[name]
        fields = adjustment_fields(rng)
        days = BaselineRule("all", n_candidates=4, n_selected=4, min_days=1, **fields)
        one = baseline(**case, preset=days)
        mean = case["history_w"].sum(axis=1) // 4
        del case["history_w"]
        fixed = BaselineRule("reference", **fields)
        other = baseline(None, **case, preset=fixed, reference_w=mean, reference_of=np.arange(5))
        assert np.array_equal(one.baseline_w, other.baseline_w)
        assert np.array_equal(one.status, other.status)


def family_inputs(rng, n_pods):
    """Rules of all families with what each needs, on one day."""
    case = random_day(rng, n_pods=n_pods)
    shape = case["today_w"].shape
    day = {name: case[name] for name in ("today_w", "event", "today_excluded")}
    past = dict(case)
    n_days = case["history_w"].shape[1]
    weather = {
        "temperature_c": rng.normal(20, 6, (n_days, shape[1])),
        "today_temperature_c": rng.normal(20, 6, shape[1]),
    }
    control = rng.integers(0, 3000, (20, shape[1])).astype(np.int32)
    return [
        (BaselineRule("exponential", n_candidates=3, n_selected=3, min_days=1, adjustment="additive"), past, {}),
        (BaselineRule("high", n_selected=4, min_days=1, statistic="median", adjustment="additive"), past, {}),
        (BaselineRule("regression", min_days=1, adjustment="multiplicative"), past, weather),
        (
            BaselineRule("reference", adjustment="additive", idle="metered"),
            {"history_w": None, **day, "reference_of": rng.integers(0, 2, n_pods), "units": rng.integers(1, 5, n_pods)},
            {"reference_w": control[:2]},
        ),
        (
            BaselineRule("control_group", adjustment="multiplicative"),
            {"history_w": None, **day, "control_of": np.argsort(rng.random((n_pods, 20)), axis=1)[:, :6]},
            {"control_w": control},
        ),
    ]


@pytest.mark.parametrize("family", range(5))
def test_order_and_partition_of_pods_and_threads_change_no_bit(family):
    rng = np.random.default_rng(family)
    rule, rows, shared = family_inputs(rng, 1100)[family]
    whole = baseline(**rows, **shared, preset=rule)
    order = rng.permutation(1100)
    turned = baseline(
        **{name: None if values is None else values[order] for name, values in rows.items()}, **shared, preset=rule
    )
    threads = baseline(**rows, **shared, preset=rule, n_threads=2)
    part = baseline(
        **{name: None if values is None else values[700:707] for name, values in rows.items()}, **shared, preset=rule
    )
    for field in ("baseline_w", "status", "days_used"):
        assert np.array_equal(getattr(turned, field), getattr(whole, field)[order])
        assert np.array_equal(getattr(threads, field), getattr(whole, field))
        assert np.array_equal(getattr(part, field), getattr(whole, field)[700:707])
    before = whole.baseline_w.copy()
    for values in (*rows.values(), *shared.values()):
        if values is not None:
            values.setflags(write=False)
    again = baseline(**rows, **shared, preset=rule, out=whole)
    assert again is whole
    assert np.array_equal(again.baseline_w, before)


@pytest.mark.rule("BAS-01")
def test_no_dispatch_and_no_trade_is_no_volume():
    """BL01: where nothing was called, the baseline is the reading itself."""
    rule = PRESETS["elexon_bl01"]
    assert rule.idle == "metered"
    rng = np.random.default_rng(3)
    case = random_day(rng, n_pods=6)
    case["today_w"][:] = np.abs(case["today_w"])
    case["event"][:] = False
    case["event"][0, 4:8] = True
    result = baseline(**case, preset=dataclasses.replace(rule, min_days=1))
    assert np.array_equal(result.baseline_w[1:], case["today_w"][1:])
    assert set(result.status[1:]) == {0}
    outside = ~case["event"][0]
    assert np.array_equal(result.baseline_w[0][outside], case["today_w"][0][outside])


def test_a_ratio_needs_a_baseline_above_the_guard():
    """At the guard the adjustment is additive and flagged, one watt above it is a ratio."""
    event = np.array([False] * 4 + [True])
    today = np.array([[200] * 4 + [0]], np.int32)
    for guard_w, status, at_event in ((99, 0, 150), (100, GUARDED, 200)):
        rule = BaselineRule(
            "reference", adjustment="multiplicative", window_steps=4, lead_steps=0, guard_w=guard_w,
            ratio_ppm=(0, 1_500_000),
        )  # fmt: skip
        result = baseline(None, today, event, preset=rule, reference_w=[[100] * 5], reference_of=[0])
        assert (result.status[0], result.baseline_w[0, 4]) == (status, at_event)


def test_exponential_by_hand():
    history = np.array([[[100], [200], [MISSING_W], [1000], [MISSING_W]]], np.int32)
    rule = BaselineRule("exponential", n_candidates=2, n_selected=2, min_days=1)
    # starts at 150, and the only later reading moves it by a tenth of 850
    result = baseline(history, preset=rule)
    assert result.baseline_w[0, 0] == 235
    assert list(result.days_used[0]) == [True, True, False, True, False]
    excluded = np.zeros((5, 1), bool)
    excluded[3] = True  # an event of either operator
    assert baseline(history, preset=rule, excluded=excluded).baseline_w[0, 0] == 150
    assert baseline(history[:, :1], preset=rule).status[0] == FEWER_DAYS
    assert baseline(history[:, 4:], preset=rule).status[0] == FEWER_DAYS | NO_BASELINE
    later = np.array([[[5, MISSING_W], [5, MISSING_W], [5, 70]]], np.int32)
    assert list(baseline(later, preset=rule).baseline_w[0]) == [5, 70]


def test_reference_and_control_group_by_hand():
    fixed = BaselineRule("reference")
    result = baseline(
        None, preset=fixed, reference_w=[[100, 200], [1, MISSING_W]], reference_of=[0, 1, 0], units=[3, 2, 2**20]
    )
    assert result.baseline_w.tolist() == [[300, 600], [2, MISSING_W], [104857600, 209715200]]
    assert list(result.status) == [0, GAP, 0]
    large = baseline(None, preset=fixed, reference_w=[[2**30]], reference_of=[0], units=[2])
    assert list(large.status) == [OVERFLOW]

    group = BaselineRule("control_group")
    control = np.array([[100], [300], [5000]], np.int32)
    barred = np.array([[False], [False], [True]])
    result = baseline(None, preset=group, control_w=control, control_event=barred, units=[1, 10])
    assert result.baseline_w.tolist() == [[200], [2000]]
    assert list(result.status) == [0, 0]
    chosen = baseline(
        None, preset=group, control_w=control, control_event=barred, control_of=[[0, 2], [1, -1], [2, -1]]
    )
    assert chosen.baseline_w.tolist() == [[100], [300], [MISSING_W]]
    assert list(chosen.status) == [FEWER_DAYS, FEWER_DAYS, FEWER_DAYS | GAP]


def test_wrong_inputs_are_refused_by_code():
    history = np.zeros((2, 3, 4), np.int32)

    def codes(*args, **kwargs):
        with pytest.raises(ValidationError) as caught:
            baseline(*args, **kwargs)
        return caught.value.codes

    fixed, group = BaselineRule("reference"), BaselineRule("control_group")
    fit = BaselineRule("regression", min_days=1)
    assert codes(None, preset=fixed) == ("FX-B006", "FX-B006")
    assert codes(None, preset=group) == ("FX-B006",)
    assert codes(None, preset=group, control_w=np.zeros((2, 4), int)) == ("FX-B006",)
    assert codes(history, preset=fit) == ("FX-B006", "FX-B006")
    assert codes(None, preset="iso_ne_rolling") == ("FX-B006",)
    assert codes(history, preset=dataclasses.replace(PRESETS["elexon_bl01"], min_days=1)) == ("FX-B006",)
    assert codes(None, preset=fixed, reference_w=np.zeros((1, 4), int), reference_of=[0, 1]) == ("FX-B031",)
    assert codes(None, preset=fixed, reference_w=np.zeros((1, 4), int), reference_of=[0], units=[-1]) == ("FX-A004",)
    control = {"control_w": np.zeros((2, 4), int)}
    assert codes(None, preset=group, **control, control_of=[[0, 2]]) == ("FX-B031",)
    assert codes(None, preset=group, **control, control_of=[[1, 1]]) == ("FX-B033",)
    warm = {"temperature_c": np.full((3, 4), 20.0), "today_temperature_c": np.full(4, 20.0)}
    assert codes(history, preset=fit, **{**warm, "temperature_c": np.full((3, 5), 20.0)}) == ("FX-A001",)
    assert codes(history, preset=fit, **{**warm, "today_temperature_c": np.full((2, 4), 20.0)}) == ("FX-A001",)
    assert codes(history, preset=fit, **{**warm, "temperature_c": np.full((3, 4), 293.0)}) == ("FX-B032",)
    assert codes(history, preset=fit, **warm, zone=[0]) == ("FX-A001",)
    assert codes(history, preset=fit, **warm, zone=[0, 1]) == ("FX-B031",)
    cold = dataclasses.replace(fit, cooling_above_c100=-20_000)
    assert codes(history, preset=cold, **warm) == ("FX-B032",)
    bad = BaselineRule("regression", n_candidates=200, level_steps=4)
    assert codes(history, preset=bad, **warm) == ("FX-B004",)
    median = BaselineRule("reference", statistic="median", min_controls=0, weight_ppm=-1, level_steps=0)
    assert codes(None, preset=median) == ("FX-B004",) * 4
    assert codes(None, preset=BaselineRule("nominated", adjustment="additive")) == ("FX-B004",)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("shape", [(0, 5, 96), (3, 0, 96), (3, 5, 0), (0, 0, 0)])
def test_nothing_in_gives_nothing_out(name, shape):
    n_pods, n_days, n_steps = shape
    result = baseline(
        np.zeros(shape, np.int32), np.zeros((n_pods, n_steps), np.int32), np.ones(n_steps, bool), preset=name,
        day_score=np.zeros(n_days, int), nominated_w=np.zeros((n_pods, n_steps), int),
        reference_w=np.zeros((1, n_steps), int), reference_of=np.zeros(n_pods, int),
        temperature_c=np.zeros((n_days, n_steps)), today_temperature_c=np.zeros(n_steps),
        control_w=np.zeros((0, n_steps), int),
    )  # fmt: skip
    assert result.baseline_w.shape == (n_pods, n_steps)
    rule = PRESETS[name]
    if n_days == 0 and (rule.is_x_of_y or rule.method in ("exponential", "regression")):
        assert (result.baseline_w == MISSING_W).all()
        assert ((result.status & NO_BASELINE) > 0).all()
