import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore import baseline
from flexcore.errors import OptionError, ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.baseline import BORROWED, FEWER_DAYS, GAP, GUARDED, NO_BASELINE, OVERFLOW, UNADJUSTED, WIDENED
from flexcore.metering.day_distance import FARTHEST
from tests.reference.metering_baseline import around_event, x_of_y

METHODS = ("high", "mid", "low", "all")


def random_rule(rng):
    method = METHODS[rng.integers(4)]
    n_candidates = int(rng.integers(1, rng.choice([9, 9, 20])))  # lanes come in eights
    n_selected = n_candidates if method == "all" else int(rng.integers(1, n_candidates + 1))
    if method == "mid" and (n_candidates - n_selected) % 2:
        n_selected += 1
    return BaselineRule(
        method,
        n_candidates=n_candidates,
        n_selected=n_selected,
        min_days=int(rng.integers(1, min(n_candidates, 8) + 1)),
        score=("event", "day", "given")[rng.integers(3)],
        low_use_ppm=None if rng.random() < 0.5 else int(rng.integers(0, 1_000_001)),
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
    n_days = int(rng.integers(1, rng.choice([14, 14, 28])))
    spread = int(rng.choice([2, 5000]))
    case = {
        "history_w": rng.integers(-spread, 2 * spread, (n_pods, n_days, n_steps)).astype(np.int32),
        "today_w": rng.integers(-spread, 2 * spread, (n_pods, n_steps)).astype(np.int32),
        "event": np.zeros((n_pods, n_steps), bool),
        "eligible": rng.random((n_pods, n_days)) < 0.9,
        "day_score": rng.integers(-spread, spread, (n_pods, n_days)),
        "excluded": rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0.01]),
        "today_excluded": rng.random((n_pods, n_steps)) < 0.1,
    }
    if rng.random() < 0.5:
        case["eligible"] = rng.choice(np.arange(6), p=[0.1, 0.5, 0.1, 0.1, 0.1, 0.1], size=(n_pods, n_days)).astype(
            np.uint8
        )
    for row in case["event"]:
        for _ in range(rng.integers(0, 4)):
            start = rng.integers(n_steps)
            row[start : start + rng.integers(1, 9)] = True
    case["history_w"][rng.random((n_pods, n_days, n_steps)) < rng.choice([0, 0, 0.02, 0.3])] = MISSING_W
    case["today_w"][rng.random((n_pods, n_steps)) < rng.choice([0, 0.1])] = MISSING_W
    case["day_score"][rng.random((n_pods, n_days)) < rng.choice([0, 0.2])] = FARTHEST
    return case


def plain(values):
    return [None if value == MISSING_W else int(value) for value in values]


def expected(rule, case, i):
    history = [plain(day) for day in case["history_w"][i]]
    own = {name: list(case[name][i]) for name in ("event", "eligible", "today_excluded", "excluded", "day_score")}
    own["day_score"] = [int(score) for score in own["day_score"]]
    return x_of_y(
        rule, history, plain(case["today_w"][i]), own["event"], own["eligible"], own["today_excluded"],
        own["excluded"], own["day_score"],
    )  # fmt: skip


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(600))
def test_x_of_y_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    rule, case = random_rule(rng), random_case(rng)
    result = baseline(**case, preset=rule)
    for i in range(len(case["today_w"])):
        values, status, used = expected(rule, case, i)
        assert plain(result.baseline_w[i]) == values
        assert result.status[i] == status
        assert set(np.flatnonzero(result.days_used[i])) == used


@pytest.mark.parametrize("method", ["high", "mid", "low"])
def test_more_candidates_than_lanes_can_number(method):
    rng = np.random.default_rng(4)
    history = rng.integers(-3, 4, (3, 90, 96)).astype(np.int32)
    event = np.zeros((3, 96), bool)
    event[:, 40:44] = True
    rule = BaselineRule(method, n_candidates=80, n_selected=40)
    result = baseline(history, None, event, preset=rule)
    for i in range(3):
        past = [plain(day) for day in history[i]]
        values, status, used = x_of_y(rule, past, None, event[i], [True] * 90, [False] * 96)
        assert plain(result.baseline_w[i]) == values
        assert result.status[i] == status
        assert set(np.flatnonzero(result.days_used[i])) == used


def test_random_cases_meet_every_status():
    bits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rule, case = random_rule(rng), random_case(rng)
        bits |= int(np.bitwise_or.reduce(baseline(**case, preset=rule).status))
    assert bits == 255 - OVERFLOW


@pytest.mark.parametrize("seed", range(130))
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
    shared = {name: case[name][0] for name in ("event", "eligible", "excluded", "today_excluded", "day_score")}
    repeated = {name: np.repeat(mask[np.newaxis], 5, axis=0) for name, mask in shared.items()}
    loads = {name: case[name] for name in ("history_w", "today_w")}
    for rule in (PRESETS["caiso_10_in_10"], BaselineRule("low", n_selected=3, min_days=1, score="given")):
        one, many = baseline(**loads, **shared, preset=rule), baseline(**loads, **repeated, preset=rule)
        assert np.array_equal(one.baseline_w, many.baseline_w)
        assert np.array_equal(one.days_used, many.days_used)


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


@pytest.mark.rule("BAS-01")
def test_days_are_asked_in_order_of_choice():
    history, today, event = hand_case()
    rule = BaselineRule("all", n_candidates=4, n_selected=4, min_days=2)
    choice = np.array([2, 2, 1, 0, 1, 1, 1, 1, 4, 3], np.uint8)

    def used(**inputs):
        result = baseline(history, today, event, preset=rule, **inputs)
        return list(np.flatnonzero(result.days_used[0])), int(result.status[0])

    assert used(eligible=choice) == ([4, 5, 6, 7], 0)
    history[0, 2:7, 75] = MISSING_W
    assert used(eligible=choice) == ([0, 1, 7, 9], WIDENED | BORROWED)
    # on a borrowed day the event stands for itself; on all others it counts as not read
    excluded = np.zeros((10, 96), bool)
    excluded[[1, 9], 74] = True
    assert used(eligible=choice, excluded=excluded) == ([0, 7, 8, 9], WIDENED | BORROWED)
    choice[[1, 9]] = 0
    assert used(eligible=choice) == ([0, 7, 8], FEWER_DAYS | WIDENED | BORROWED)
    assert used(eligible=(choice == 1)) == ([], FEWER_DAYS | NO_BASELINE)


@pytest.mark.rule("BAS-01")
def test_a_day_of_low_use_gives_its_place_to_the_next():
    history, today, event = hand_case()
    rule = BaselineRule("all", n_candidates=4, n_selected=4, min_days=2, low_use_ppm=250_000)

    def used():
        return list(np.flatnonzero(baseline(history, today, event, preset=rule).days_used[0]))

    assert used() == [6, 7, 8, 9]
    # with 1800, 1700 and 1600 W the mean is 1275 + a / 4 where a day has a W: low below a quarter of it, 340 W
    history[0, 9] = 340
    assert used() == [6, 7, 8, 9]
    history[0, 9] = 339
    assert used() == [5, 6, 7, 8]
    history[0, 5] = 0
    assert used() == [4, 6, 7, 8]
    history[0, :5] = 0  # nobody is left to take the place
    assert used() == [6, 7, 8]
    history = -history  # the mean is not above zero: the rule does not speak of producers
    assert used() == [6, 7, 8, 9]


@pytest.mark.rule("BAS-01")
def test_given_scores_rank_the_days():
    history, today, event = hand_case()
    distance = np.array([5, 1, 9, 9, 0, 9, 9, 9, 5, 9])
    rule = BaselineRule("low", n_selected=3, score="given")
    result = baseline(history, today, event, preset=rule, day_score=distance)
    assert list(np.flatnonzero(result.days_used[0])) == [1, 4, 8]  # of two days at 5 the most recent one
    largest = np.iinfo(np.int64)
    extreme = np.where(distance == 5, largest.min, np.where(distance == 9, largest.max, distance))
    result = baseline(history, today, event, preset=rule, day_score=extreme)
    assert list(np.flatnonzero(result.days_used[0])) == [0, 4, 8]


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
    by_score = BaselineRule("low", score="given")
    assert code(history, preset=by_score) == ("FX-B006",)
    assert code(history, preset=by_score, day_score=np.zeros(9, int)) == ("FX-A001",)
    assert code(history, preset=by_score, day_score=np.zeros((2, 10), int)) == ("FX-A001",)
    assert code(history, preset=by_score, day_score=np.full(10, 0.5)) == ("FX-A002",)
    assert code(history, eligible=np.ones(9, np.uint8)) == ("FX-A001",)
    assert code(history, eligible=np.ones(10, int)) == ("FX-A002",)
    assert code(history, preset=BaselineRule("all", low_use_ppm=1_000_001)) == ("FX-B004",)
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
