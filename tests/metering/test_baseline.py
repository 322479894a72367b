import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore import baseline
from flexcore.errors import OptionError, ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.baseline import FEWER_DAYS, GAP, GUARDED, NO_BASELINE, OVERFLOW, UNADJUSTED
from tests.reference.metering_baseline import around_event, x_of_y

METHODS = ("high", "mid", "low", "all")


def random_rule(rng):
    method = METHODS[rng.integers(4)]
    n_candidates = int(rng.integers(1, 9))
    n_selected = n_candidates if method == "all" else int(rng.integers(1, n_candidates + 1))
    if method == "mid" and (n_candidates - n_selected) % 2:
        n_selected += 1
    return BaselineRule(
        method,
        n_candidates=n_candidates,
        n_selected=n_selected,
        min_days=int(rng.integers(1, n_candidates + 1)),
        score=("event", "day")[rng.integers(2)],
        adjustment=("none", "additive", "multiplicative")[rng.integers(3)],
        window_steps=int(rng.integers(1, 14)),
        lead_steps=int(rng.integers(0, 6)),
        ratio_ppm=(int(rng.integers(0, 1_000_001)), int(rng.integers(1_000_000, 2_000_001))),
        cap_w=None if rng.random() < 0.5 else int(rng.integers(0, 800)),
        guard_w=int(rng.integers(0, 300)),
    )


def random_case(rng, n_pods=4):
    """Loads with ties, signs and gaps, several events, excluded quarter-hours, days of 92, 96 and 100 quarter-hours."""
    n_steps = int(rng.choice([12, 92, 96, 100]))
    n_days = int(rng.integers(1, 14))
    spread = int(rng.choice([2, 5000]))
    case = {
        "history_w": rng.integers(-spread, 2 * spread, (n_pods, n_days, n_steps)).astype(np.int32),
        "today_w": rng.integers(-spread, 2 * spread, (n_pods, n_steps)).astype(np.int32),
        "event": np.zeros((n_pods, n_steps), bool),
        "eligible": rng.random((n_pods, n_days)) < 0.9,
        "excluded": rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0.01]),
        "today_excluded": rng.random((n_pods, n_steps)) < 0.1,
    }
    for row in case["event"]:
        for _ in range(rng.integers(0, 4)):
            start = rng.integers(n_steps)
            row[start : start + rng.integers(1, 9)] = True
    case["history_w"][rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0, 0.02, 0.3])] = MISSING_W
    case["today_w"][rng.random((n_pods, n_steps)) < rng.choice([0, 0.1])] = MISSING_W
    return case


def plain(values):
    return [None if value == MISSING_W else int(value) for value in values]


def expected(rule, case, i):
    gone = case["excluded"][i]
    history = [
        [None if gone[d, t] else v for t, v in enumerate(plain(day))] for d, day in enumerate(case["history_w"][i])
    ]
    event, today_excluded = list(case["event"][i]), list(case["today_excluded"][i])
    return x_of_y(rule, history, plain(case["today_w"][i]), event, list(case["eligible"][i]), today_excluded)


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(250))
def test_x_of_y_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    rule, case = random_rule(rng), random_case(rng)
    result = baseline(**case, preset=rule)
    for i in range(len(case["today_w"])):
        values, status, used = expected(rule, case, i)
        assert plain(result.baseline_w[i]) == values
        assert result.status[i] == status
        assert set(np.flatnonzero(result.days_used[i])) == used


@pytest.mark.parametrize("seed", range(60))
def test_meter_before_after_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    rule = BaselineRule(
        "meter_before_after",
        before_steps=int(rng.integers(1, 13)),
        before_gap=int(rng.integers(0, 5)),
        after_steps=int(rng.integers(1, 9)),
        after_gap=int(rng.integers(0, 5)),
        join=("before", "mean", "least", "largest")[rng.integers(4)],
    )
    inputs = {name: case[name] for name in ("today_w", "event", "today_excluded")}
    result = baseline(None, **inputs, preset=rule)
    for i in range(len(case["today_w"])):
        values, status = around_event(rule, plain(case["today_w"][i]), case["event"][i], case["today_excluded"][i])
        assert plain(result.baseline_w[i]) == values
        assert result.status[i] == status


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_and_partition_of_pods_change_no_bit(seed):
    rng = np.random.default_rng(seed)
    rule, case = random_rule(rng), random_case(rng, n_pods=7)
    whole = baseline(**case, preset=rule)
    order = rng.permutation(7)
    turned = baseline(**{name: values[order] for name, values in case.items()}, preset=rule)
    assert np.array_equal(turned.baseline_w, whole.baseline_w[order])
    assert np.array_equal(turned.status, whole.status[order])
    alone = [baseline(**{name: values[i : i + 1] for name, values in case.items()}, preset=rule) for i in range(7)]
    assert np.array_equal(np.concatenate([one.baseline_w for one in alone]), whole.baseline_w)
    assert np.array_equal(np.concatenate([one.days_used for one in alone]), whole.days_used)


def test_two_threads_and_a_second_run_give_the_same_bits():
    rng = np.random.default_rng(5)
    case = random_case(rng, n_pods=3000)
    first = baseline(**case, preset="high_5_of_10")
    second = baseline(**case, preset="high_5_of_10", n_threads=2)
    for field in ("baseline_w", "status", "days_used"):
        assert np.array_equal(getattr(first, field), getattr(second, field))
    before = first.baseline_w.copy()
    again = baseline(**case, preset="high_5_of_10", out=first)
    assert again is first
    assert np.array_equal(again.baseline_w, before)


def test_masks_shared_by_all_pods_equal_masks_per_pod():
    rng = np.random.default_rng(6)
    case = random_case(rng, n_pods=5)
    shared = {name: case[name][0] for name in ("event", "eligible", "excluded", "today_excluded")}
    repeated = {name: np.repeat(mask[np.newaxis], 5, axis=0) for name, mask in shared.items()}
    loads = {name: case[name] for name in ("history_w", "today_w")}
    one, many = baseline(**loads, **shared), baseline(**loads, **repeated)
    assert np.array_equal(one.baseline_w, many.baseline_w)


def hand_case():
    """Ten days of 1000, 1100, ... 1900 W; today 2000 W until the event at 18:00-20:00, 500 W during it."""
    history = np.repeat(1000 + 100 * np.arange(10, dtype=np.int32), 96).reshape(1, 10, 96).astype(np.int32)
    today = np.full((1, 96), 2000, np.int32)
    event = np.zeros((1, 96), bool)
    event[0, 72:80] = True
    today[event] = 500
    return history, today, event


@pytest.mark.rule("BAS-01")
def test_worked_examples_of_the_methods():
    history, today, event = hand_case()
    bare = BaselineRule("all")
    assert baseline(history, today, event, preset=bare).baseline_w[0, 72] == 1450
    for method, mean in (("high", 1700), ("low", 1200)):
        assert baseline(history, preset=BaselineRule(method, n_selected=5)).baseline_w[0, 72] == mean
        result = baseline(history, today, event, preset=BaselineRule(method, n_selected=5))
        assert result.baseline_w[0, 72] == mean
    mid = baseline(history, today, event, preset=BaselineRule("mid", n_selected=8))
    assert list(np.flatnonzero(mid.days_used[0])) == [1, 2, 3, 4, 5, 6, 7, 8]
    # 10 of 10 is 1450 W; metered 2000 W before the event is a ratio of 1.38, capped at 1.2
    assert baseline(history, today, event, preset="caiso_10_in_10").baseline_w[0, 72] == 1740
    # High 5 of 10 is 1700 W, 300 W above which the meter ran before the event
    assert baseline(history, today, event, preset="high_5_of_10").baseline_w[0, 72] == 2000
    capped = dataclasses.replace(PRESETS["high_5_of_10"], cap_w=100)
    assert baseline(history, today, event, preset=capped).baseline_w[0, 72] == 1800


def test_equal_scores_take_the_most_recent_days():
    history, today, event = hand_case()
    history[:] = 700
    result = baseline(history, today, event, preset=BaselineRule("high", n_selected=3))
    assert list(np.flatnonzero(result.days_used[0])) == [7, 8, 9]
    lowest = baseline(history, today, event, preset=BaselineRule("low", n_selected=3))
    assert list(np.flatnonzero(lowest.days_used[0])) == [7, 8, 9]


def test_a_pod_without_event_is_not_adjusted():
    history, today, event = hand_case()
    event[:] = False
    result = baseline(history, today, event, preset="caiso_10_in_10")
    assert result.status[0] == 0
    assert np.array_equal(result.baseline_w, np.full((1, 96), 1450))


@pytest.mark.rule("BAS-02")
def test_quarters_touched_by_activations_leave_reference_days_and_windows():
    history, today, event = hand_case()
    excluded = np.zeros((10, 96), bool)
    excluded[9, 73] = True  # rebound of the other operator's order fell into today's event hours
    excluded[8, 10] = True  # at night: the day stays, the quarter-hour does not count
    result = baseline(history, today, event, preset=BaselineRule("all", min_days=1), excluded=excluded)
    assert list(np.flatnonzero(result.days_used[0])) == list(range(9))
    assert result.baseline_w[0, 10] == 1350
    assert result.baseline_w[0, 11] == 1400
    # the last hour of the adjustment window was a rebound of 9 kW: without the mask it would raise the baseline
    today[0, 64:68] = 9000
    touched = np.zeros(96, bool)
    touched[64:68] = True
    clean = baseline(history, today, event, preset="high_5_of_10", today_excluded=touched)
    assert clean.baseline_w[0, 75] == 2000
    assert baseline(history, today, event, preset="high_5_of_10").baseline_w[0, 75] > 4000


def test_second_event_has_its_own_adjustment_without_the_first_one():
    history, today, event = hand_case()
    history[:] = 1000
    today[:] = 1000
    event[0, 20:24] = True
    today[0, 20:24] = 0
    today[0, 56:68] = 1300
    result = baseline(history, today, event, preset="high_5_of_10").baseline_w[0]
    assert set(result[:72]) == {1000}
    assert set(result[72:]) == {1300}


def test_status_tells_how_the_rule_was_followed():
    history, today, event = hand_case()
    few = np.arange(10) >= 3
    assert baseline(history, today, event, eligible=few).status[0] == FEWER_DAYS
    none = baseline(history, today, event, eligible=np.arange(10) >= 6)
    assert none.status[0] == FEWER_DAYS | NO_BASELINE
    assert (none.baseline_w == MISSING_W).all()
    assert not none.has_baseline[0]
    assert baseline(history, None, event).status[0] == UNADJUSTED
    assert baseline(-history, today, event).status[0] == GUARDED
    history[0, :, 3] = MISSING_W
    gap = baseline(history, today, event)
    assert gap.status[0] == GAP
    assert gap.baseline_w[0, 3] == MISSING_W
    history[:] = 2**31 - 1
    today[:] = 2**31 - 1
    history[0, :, 60] = 0
    assert baseline(history, today, event, preset="high_5_of_10").status[0] == OVERFLOW


def test_nominated_baseline_is_taken_as_declared():
    declared = np.array([[5, -7, MISSING_W], [1, 2, 3]])
    result = baseline(None, preset="romeflex", nominated_w=declared)
    assert np.array_equal(result.baseline_w, declared)
    assert list(result.status) == [GAP, 0]
    assert np.array_equal(np.asarray(result), declared)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_sound_and_sourced(name):
    rule = PRESETS[name]
    rule.check()
    assert rule.source
    assert set(rule.unverified) <= {field.name for field in dataclasses.fields(rule)}


def test_wrong_inputs_are_refused_by_code():
    history, today, event = hand_case()

    def code(*args, **kwargs):
        with pytest.raises(ValidationError) as caught:
            baseline(*args, **kwargs)
        return caught.value.codes

    assert code(history[0]) == ("FX-A001",)
    assert code(history, today[:, :95], event) == ("FX-A001",)
    assert code(history, today, event[:, :95]) == ("FX-A001",)
    assert code(history, today, event.astype(int)) == ("FX-A002",)
    assert code(history + 0.5) == ("FX-A002",)
    assert code(history.astype(np.int64) * 2**40) == ("FX-A006",)
    assert code(None) == ("FX-B006",)
    assert code(history, preset="nominated") == ("FX-B006",)
    assert code(history, preset="meter_before") == ("FX-B006",)
    bad = BaselineRule("mid", n_candidates=4, n_selected=3, min_days=9, ratio_ppm=(2, 1), guard_w=-1)
    assert code(history, preset=bad) == ("FX-B004",) * 4
    assert code(history, out=baseline(history[:, :4])) == ("FX-A005",)
    for preset in ("caiso_11_in_10", BaselineRule("highest")):  # type: ignore[arg-type]
        with pytest.raises(OptionError):
            baseline(history, preset=preset)


def test_inputs_may_be_read_only_strided_or_wide():
    rng = np.random.default_rng(8)
    case = random_case(rng, n_pods=6)
    expected_w = baseline(**case).baseline_w
    for values in case.values():
        values.setflags(write=False)
    assert np.array_equal(baseline(**case).baseline_w, expected_w)
    wide = dict(case, history_w=case["history_w"].astype(np.int64), today_w=np.asfortranarray(case["today_w"]))
    assert np.array_equal(baseline(**wide).baseline_w, expected_w)
