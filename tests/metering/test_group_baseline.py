import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from flexcore import baseline
from flexcore.errors import OptionError, ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.group_baseline import baseline_of_groups, is_linear
from tests.metering.cases import adjustment_fields, plain, random_day
from tests.reference.metering_baseline import x_of_y
from tests.reference.metering_exponential import exponential
from tests.reference.metering_groups import any_of, choice_of, sums_of


def random_groups(rng, n_pods):
    labels = rng.integers(0, rng.integers(1, 4), n_pods)
    return np.unique(labels, return_inverse=True)[1]


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(300))
def test_the_rule_runs_on_the_sums(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng, n_pods=7)
    group = random_groups(rng, 7)
    fields = {name: value for name, value in adjustment_fields(rng).items() if name != "idle"}
    rule = BaselineRule(("high", "all")[rng.integers(2)], n_candidates=4, n_selected=4, min_days=1, **fields)
    if rule.method == "high":
        rule = dataclasses.replace(rule, n_selected=2)
    result = baseline_of_groups(group=group, preset=rule, **case)
    n_days = case["history_w"].shape[1]
    history = [sums_of([plain(row) for row in case["history_w"][:, d]], group) for d in range(n_days)]
    today, gone_today = sums_of([plain(row) for row in case["today_w"]], group)
    excluded = [any_of(case["excluded"][:, d], group) for d in range(n_days)]
    event, out = any_of(case["event"], group), any_of(case["today_excluded"], group)
    choice = choice_of(case["eligible"], group)
    for g in set(group.tolist()):
        values, status, used = x_of_y(
            rule, [sums[g] for sums, _ in history], today[g], event[g], choice[g], out[g], [e[g] for e in excluded]
        )
        assert plain(result.baseline.baseline_w[g]) == values
        assert result.baseline.status[g] == status
        assert set(np.flatnonzero(result.baseline.days_used[g])) == used
        assert result.missing[g] == gone_today[g] + sum(missing[g] for _, missing in history)
    assert not result.by_pod.any()


def whole_case(rng, n_pods=9):
    """Loads whose means over four days and over four quarter-hours are whole, nothing missing, one event for all."""
    event = np.zeros(96, bool)
    event[60:68] = True
    return {
        "history_w": rng.integers(-50, 200, (n_pods, 4, 96)).astype(np.int32) * 16,
        "today_w": rng.integers(-50, 200, (n_pods, 96)).astype(np.int32) * 16,
        "event": event,
    }


LINEAR = (
    BaselineRule("all", n_candidates=4, n_selected=4, min_days=1),
    BaselineRule("all", n_candidates=4, n_selected=4, min_days=1, adjustment="additive", window_steps=4),
    BaselineRule("exponential", n_candidates=4, n_selected=4, min_days=1, adjustment="additive", window_steps=4),
    BaselineRule("low", n_candidates=4, n_selected=2, min_days=1, score="given"),
    BaselineRule("meter_before_after", before_steps=4),
    BaselineRule("meter_before_after", before_steps=4, after_steps=4, join="mean"),
)
OTHERS = (
    BaselineRule("high", n_candidates=4, n_selected=2, min_days=1),
    BaselineRule("mid", n_candidates=4, n_selected=2, min_days=1),
    BaselineRule("all", n_candidates=4, n_selected=4, min_days=1, statistic="median"),
    BaselineRule("all", n_candidates=4, n_selected=4, min_days=1, adjustment="additive", window_steps=4, cap_w=100),
    BaselineRule("all", n_candidates=4, n_selected=4, min_days=1, adjustment="multiplicative", window_steps=4),
    BaselineRule("all", n_candidates=3, n_selected=3, min_days=1, low_use_ppm=900_000),
    BaselineRule("meter_before_after", before_steps=4, after_steps=4, join="least"),
)


def inputs(rule, case):
    extra = {"day_score": np.array([3, 1, 2, 4])} if rule.score == "given" else {}
    return {**case, **extra, **({"history_w": None} if rule.method == "meter_before_after" else {})}


@pytest.mark.parametrize("rule", LINEAR, ids=range(len(LINEAR)))
def test_linear_rules_give_the_sum_of_the_pods(rule):
    assert is_linear(rule)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        case = inputs(rule, whole_case(rng))
        group = random_groups(rng, 9)
        groups = baseline_of_groups(group=group, preset=rule, **case)
        assert groups.additive.all()
        pods = baseline_of_groups(group=group, preset=rule, level="pod", **case)
        assert pods.by_pod.all()
        # every mean is whole here, so that rounding hides nothing
        assert np.array_equal(groups.baseline.baseline_w, pods.baseline.baseline_w)
        own = baseline(preset=rule, **case).baseline_w.astype(np.int64)
        for g in range(group.max() + 1):
            assert np.array_equal(pods.baseline.baseline_w[g], own[group == g].sum(axis=0))
        auto = baseline_of_groups(group=group, preset=rule, level="auto", **case)
        assert not auto.by_pod.any()
        assert np.array_equal(auto.baseline.baseline_w, groups.baseline.baseline_w)


@pytest.mark.parametrize("rule", OTHERS, ids=range(len(OTHERS)))
def test_other_rules_do_not(rule):
    assert not is_linear(rule)
    differs = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        case = inputs(rule, whole_case(rng))
        group = random_groups(rng, 9)
        groups = baseline_of_groups(group=group, preset=rule, **case)
        assert not groups.additive.any()
        auto = baseline_of_groups(group=group, preset=rule, level="auto", **case)
        assert auto.by_pod.all()
        own = baseline(preset=rule, **case).baseline_w.astype(np.int64)
        for g in range(group.max() + 1):
            assert np.array_equal(auto.baseline.baseline_w[g], own[group == g].sum(axis=0))
        differs += not np.array_equal(auto.baseline.baseline_w, groups.baseline.baseline_w)
    assert differs > 10


def test_two_pods_with_their_peaks_on_different_days():
    """High 1 of 2: each POD takes its own high day, and the sum of both is more than the group ever drew."""
    history = np.array([[[100], [0]], [[0], [100]]], np.int32)
    rule = BaselineRule("high", n_candidates=2, n_selected=1, min_days=1)
    together = baseline_of_groups(history, [0, 0], preset=rule)
    alone = baseline_of_groups(history, [0, 0], preset=rule, level="pod")
    assert together.baseline.baseline_w[0, 0] == 100
    assert alone.baseline.baseline_w[0, 0] == 200


@pytest.mark.parametrize("name", ["history_w", "today_w", "event", "eligible", "excluded", "today_excluded"])
def test_what_members_do_not_share_is_not_additive(name):
    rng = np.random.default_rng(1)
    case = whole_case(rng)
    rule = LINEAR[1]
    case |= {
        "event": np.tile(case["event"], (9, 1)),
        "eligible": np.ones((9, 4), bool),
        "excluded": np.zeros((9, 4, 96), bool),
        "today_excluded": np.zeros((9, 96), bool),
    }
    group = np.array([0, 1] * 4 + [1])
    assert baseline_of_groups(group=group, preset=rule, **case).additive.all()
    case[name][2, 3] = MISSING_W if name.endswith("_w") else not case[name][2, 3].any()
    result = baseline_of_groups(group=group, preset=rule, level="auto", **case)
    assert list(result.additive) == [False, True]
    assert list(result.by_pod) == [True, False]
    own = baseline(preset=rule, **case).baseline_w.astype(np.int64)
    for g in range(2):
        expected = np.where((own[group == g] == MISSING_W).any(axis=0), MISSING_W, own[group == g].sum(axis=0))
        assert np.array_equal(result.baseline.baseline_w[g], expected)


def test_rounding_is_the_only_difference_of_linear_rules():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_pods = int(rng.integers(1, 12))
        history = rng.integers(-3000, 9000, (n_pods, 7, 96)).astype(np.int32)
        today = rng.integers(-3000, 9000, (n_pods, 96)).astype(np.int32)
        warm, now = rng.normal(20, 8, (7, 96)), rng.normal(20, 8, 96)
        event = np.zeros(96, bool)
        event[50:60] = True
        for rule in (
            BaselineRule("all", n_candidates=7, n_selected=7, min_days=1, adjustment="additive", window_steps=7),
            BaselineRule("exponential", n_candidates=3, n_selected=3, min_days=1),
            BaselineRule("regression", n_candidates=7, n_selected=1, min_days=1, adjustment="additive"),
        ):
            weather = {"temperature_c": warm, "today_temperature_c": now} if rule.method == "regression" else {}
            both = [
                baseline_of_groups(history, np.zeros(n_pods, int), today, event, preset=rule, level=level, **weather)
                for level in ("group", "pod")
            ]
            assert both[0].additive[0]
            gap = both[0].baseline.baseline_w.astype(np.int64) - both[1].baseline.baseline_w
            assert np.abs(gap).max() <= (n_pods + 1) / 2


def test_unrounded_means_are_additive_in_fractions():
    """The property itself, without any rounding: exponential rolling and the mean of days in exact fractions."""
    rng = np.random.default_rng(4)
    history = rng.integers(-3000, 9000, (5, 6, 4))
    for days in (1, 6):
        rule = BaselineRule("exponential", n_candidates=days, n_selected=days, min_days=1, weight_ppm=500_000)
        # a weight of one half keeps floats exact for this many days of these loads
        own = [exponential(rule, row.tolist(), range(6))[0] for row in history] if days == 1 else []
        own = own or [[Fraction(sum(row[:, t].tolist()), 6) for t in range(4)] for row in history]
        total = history.sum(axis=0)
        group = exponential(rule, total.tolist(), range(6))[0] if days == 1 else []
        group = group or [Fraction(sum(total[:, t].tolist()), 6) for t in range(4)]
        assert [sum(values) for values in zip(*own, strict=True)] == group


def test_threads_and_order_of_pods_change_no_bit():
    rng = np.random.default_rng(2)
    case = random_day(rng, n_pods=600)
    group = rng.permutation(np.arange(600) % 40)
    rule = PRESETS["high_5_of_10"]
    whole = baseline_of_groups(group=group, preset=rule, **case)
    order = rng.permutation(600)
    turned = baseline_of_groups(
        group=group[order], preset=rule, n_threads=2, **{name: values[order] for name, values in case.items()}
    )
    assert np.array_equal(whole.baseline.baseline_w, turned.baseline.baseline_w)
    assert np.array_equal(whole.baseline.status, turned.baseline.status)
    assert np.array_equal(whole.missing, turned.missing)


def test_wrong_groups_are_refused_by_code():
    history = np.full((2, 5, 4), 2**30, np.int32)

    def codes(group, **kwargs):
        with pytest.raises(ValidationError) as caught:
            baseline_of_groups(history, group, preset="rolling_10", **kwargs)
        return caught.value.codes

    assert codes([0, 0]) == ("FX-B034",)
    assert codes([0, -1]) == ("FX-B031",)
    assert codes([0, 2], n_groups=2) == ("FX-B031",)
    assert codes([0, 2]) == ("FX-B035",)
    assert codes([0]) == ("FX-A001",)
    assert codes([0.5, 1]) == ("FX-A002",)
    assert baseline_of_groups(history, [1, 0], preset="rolling_10").baseline.baseline_w[0, 0] == 2**30
    for preset in ("romeflex", "control_group", "uk_fixed_reference"):
        with pytest.raises(OptionError):
            baseline_of_groups(history, [0, 1], preset=preset)
    with pytest.raises(OptionError):
        baseline_of_groups(history, [0, 1], level="day")  # type: ignore[arg-type]


def test_what_a_same_day_method_does_not_look_at_is_not_checked_for_groups_either():
    rng = np.random.default_rng(4)
    history, today = rng.integers(0, 900, (4, 6, 96)), rng.integers(0, 900, (4, 96))
    event = np.arange(96) // 4 == 15
    past = {"eligible": np.ones((4, 6), bool), "excluded": np.zeros((4, 6, 96), bool)}
    for level in ("group", "pod"):
        plain = baseline_of_groups(None, [0, 0, 1, 1], today, event, preset="double_reference", level=level)
        given = baseline_of_groups(history, [0, 0, 1, 1], today, event, preset="double_reference", level=level, **past)
        np.testing.assert_array_equal(given.baseline.baseline_w, plain.baseline.baseline_w)
