"""Distances of days, and controls that resemble a POD."""

import dataclasses

import numpy as np
import pytest

from flexcore import baseline
from flexcore.errors import ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.baseline import FEWER_DAYS, NO_BASELINE, WIDENED
from flexcore.metering.control_match import draw_controls, match_controls
from flexcore.metering.day_distance import FARTHEST, match_day_distance, temperature_distance
from tests.metering.cases import past_of, plain, random_day
from tests.reference import metering_control_group as controls
from tests.reference import metering_day_distance as distances


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(130))
def test_match_day_distance_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    del case["eligible"]
    margin = int(rng.integers(0, 7))
    result = match_day_distance(**case, margin_steps=margin)
    threads = match_day_distance(**case, margin_steps=margin, n_threads=2)
    assert np.array_equal(result, threads)
    for i in range(4):
        today, event, out = plain(case["today_w"][i]), case["event"][i], case["today_excluded"][i]
        assert result[i].tolist() == distances.match_day_distance(past_of(case, i), today, event, out, margin)


@pytest.mark.parametrize("seed", range(20))
def test_temperature_distance_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    past = np.round(rng.normal(25, 8, (30, 12)), 2)
    past[rng.random(past.shape) < 0.1] = np.nan
    now = np.round(rng.normal(25, 8, 30), 2)
    result = temperature_distance(past, now)
    for i in range(30):
        row = [None if np.isnan(value) else float(value) for value in past[i]]
        assert result[i].tolist() == distances.temperature_distance(row, float(now[i]))
    assert np.array_equal(temperature_distance(past[3], now[3]), result[3])


def test_the_days_nearest_in_temperature_are_taken():
    history = np.arange(1, 13, dtype=np.int32)[np.newaxis, :, np.newaxis] * np.full((1, 1, 96), 100, np.int32)
    warmest = np.array([20, 30, 31, 29.5, 12, 30, np.nan, 30.4, 10, 8, 7, 6])
    score = temperature_distance(warmest, 30)
    rule = dataclasses.replace(PRESETS["caiso_weather_match"], adjustment="none")
    result = baseline(history, preset=rule, day_score=score)
    # 30, 30, 30.4 and 29.5 degrees
    assert list(np.flatnonzero(result.days_used[0])) == [1, 3, 5, 7]
    assert result.baseline_w[0, 0] == (200 + 400 + 600 + 800) / 4
    # twelve days for a look-back of ninety are no shortage: four are asked for
    assert result.status[0] == 0
    three = baseline(history[:, :4], preset=dataclasses.replace(rule, min_days=1), day_score=score[:4])
    assert three.status[0] == 0
    assert (
        baseline(history[:, :3], preset=dataclasses.replace(rule, min_days=1), day_score=score[:3]).status[0]
        == FEWER_DAYS
    )


@pytest.mark.rule("BAS-01")
@pytest.mark.parametrize("method", ["low", "high", "mid"])
def test_a_day_that_cannot_be_compared_is_not_taken_for_want_of_others(method):
    history = np.arange(1, 9, dtype=np.int32)[np.newaxis, :, np.newaxis] * np.full((2, 1, 96), 100, np.int32)
    warmest = np.full((2, 8), np.nan)
    warmest[1, [0, 2, 3]] = 20, 29, 31
    rule = BaselineRule(method, n_candidates=8, n_selected=2, min_days=1, score="given")
    result = baseline(history, preset=rule, day_score=temperature_distance(warmest, [30, 30]))
    assert result.status[0] == FEWER_DAYS | NO_BASELINE
    assert not result.days_used[0].any()
    assert result.days_used[1].sum() == 2
    assert set(np.flatnonzero(result.days_used[1])) < {0, 2, 3}
    # the widened look-back steps in where nothing of the first choice can be compared
    order = np.array([2, 1, 2, 2, 1, 1, 1, 1], np.uint8)
    result = baseline(history, preset=rule, eligible=order, day_score=temperature_distance(warmest, [30, 30]))
    assert result.status[1] == WIDENED


def test_the_days_nearest_outside_the_event_are_taken():
    event = np.zeros(96, bool)
    event[72:76] = True
    today = np.full((1, 96), 1000, np.int32)
    today[0, 68:80] = 0  # the event, and what the hour on either side does
    history = np.full((1, 5, 96), 1000, np.int32)
    history[0, 0] = 5000
    history[0, 1, :68] = 1010
    history[0, 2, 72:76] = 3000
    history[0, 3, 80:] = 1020
    history[0, 4, :50] = MISSING_W
    distance = match_day_distance(history, today, event)
    assert distance[0].tolist() == [4_000_000, 68 * 10 * 1000 // 84, 0, 16 * 20 * 1000 // 84, FARTHEST]
    result = baseline(history, today, event, preset="pjm_match_day", day_score=distance)
    assert list(np.flatnonzero(result.days_used[0])) == [1, 2, 3]
    assert result.baseline_w[0, 73] == round((1000 + 3000 + 1000) / 3)


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(130))
def test_nearest_controls_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    mine, others = random_day(rng), random_day(rng, n_pods=9)
    n_days = min(mine["history_w"].shape[1], others["history_w"].shape[1])
    n_steps = min(mine["history_w"].shape[2], others["history_w"].shape[2])
    for case in (mine, others):
        case["history_w"] = case["history_w"][:, :n_days, :n_steps]
        case["excluded"] = case["excluded"][:, :n_days, :n_steps]
    if rng.random() < 0.3:  # ties
        others["history_w"][1:4], others["excluded"][1:4] = others["history_w"][0], others["excluded"][0]
    event = np.zeros((9, n_steps), bool)
    event[rng.random(9) < 0.3, 1] = True
    eligible, n_members = rng.random(n_days) < 0.8, int(rng.integers(1, 12))
    result = match_controls(
        mine["history_w"], others["history_w"], n_members=n_members, eligible=eligible, excluded=mine["excluded"],
        control_excluded=others["excluded"], control_event=event, n_threads=int(rng.integers(1, 3)),
    )  # fmt: skip
    days = np.flatnonzero(eligible)
    profiles = [controls.mean_profile(past_of(others, c), days) for c in range(9)]
    for i in range(4):
        own = controls.mean_profile(past_of(mine, i), days)
        assert result[i].tolist() == controls.nearest_controls(own, profiles, event.any(axis=1), n_members)


@pytest.mark.parametrize("seed", range(40))
def test_drawn_controls_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    pods, others = rng.integers(-(2**62), 2**62, 6), rng.integers(0, 2**62, 11)
    event = np.zeros((11, 4), bool)
    event[rng.random(11) < 0.3, 2] = True
    n_members = int(rng.integers(1, 14))
    drawn = draw_controls(pods, others, n_members=n_members, seed=seed, n_steps=4, control_event=event)
    for i, key in enumerate(pods.tolist()):
        expected = controls.random_controls(seed, key % 2**64, others.tolist(), event.any(axis=1), n_members)
        assert drawn[i].tolist() == expected
    # who is drawn hangs on keys, not on the order of either
    order, turn = rng.permutation(6), rng.permutation(11)
    again = draw_controls(
        pods[order], others[turn], n_members=n_members, seed=seed, n_steps=4, control_event=event[turn], n_threads=2
    )
    named = np.where(again < 0, -1, turn[again])
    assert np.array_equal(named, drawn[order])


def test_draws_are_even():
    """Each of 50 controls is one of 10 members for a fifth of 5,000 PODs: 1,000 times, standard deviation 28."""
    drawn = draw_controls(np.arange(5000), np.arange(50), n_members=10, seed=1, n_steps=1)
    counts = np.bincount(drawn.ravel(), minlength=50)
    assert np.abs(counts - 1000).max() < 5 * 28.3
    assert not np.array_equal(drawn, draw_controls(np.arange(5000), np.arange(50), n_members=10, seed=2, n_steps=1))


def test_a_control_with_an_event_is_never_used():
    rng = np.random.default_rng(0)
    history = rng.integers(0, 3000, (30, 10, 96)).astype(np.int32)
    today = rng.integers(0, 3000, (30, 96)).astype(np.int32)
    event = np.zeros((30, 96), bool)
    event[:6, 40:44] = True
    near = match_controls(history[:6], history, n_members=5, control_event=event)
    drawn = draw_controls(np.arange(6), np.arange(30), n_members=5, seed=3, n_steps=96, control_event=event)
    for members in (near, drawn):
        assert members.min() >= 6
        rule = dataclasses.replace(PRESETS["control_group"], min_controls=5)
        given = {"preset": rule, "control_event": event, "control_of": members}
        before = baseline(None, today[:6], event[:6], control_w=today, **given)
        today_without = today.copy()
        today_without[:6] = 30_000
        after = baseline(None, today[:6], event[:6], control_w=today_without, **given)
        assert np.array_equal(before.baseline_w, after.baseline_w)
        assert set(before.status) == {0}


def test_wrong_inputs_are_refused_by_code():
    def codes(function, *args, **kwargs):
        with pytest.raises(ValidationError) as caught:
            function(*args, **kwargs)
        return caught.value.codes

    history, today = np.zeros((2, 3, 4), np.int32), np.zeros((2, 4), np.int32)
    assert codes(temperature_distance, [20.0, 21.0], [20.0]) == ("FX-A001",)
    assert codes(temperature_distance, [[20.0, 21.0]], [20.0, 21.0]) == ("FX-A001",)
    assert codes(temperature_distance, [20.0], np.nan) == ("FX-A003",)
    assert codes(temperature_distance, [300.0], 20.0) == ("FX-B032",)
    assert codes(match_day_distance, history, today[:, :3], np.zeros(4, bool)) == ("FX-A001",)
    assert codes(match_day_distance, history, today, np.zeros(4, bool), margin_steps=-1) == ("FX-A006",)
    assert codes(match_controls, history, history[:, :2], n_members=1) == ("FX-A001",)
    assert codes(match_controls, history, history, n_members=0) == ("FX-A006",)
    assert codes(draw_controls, [1.5], [2], n_members=1, seed=0, n_steps=4) == ("FX-A002",)
    assert codes(baseline, history, preset="pjm_match_day") == ("FX-B006",)


def test_the_nearest_days_are_event_days_only_where_others_are_too_few():
    history = np.arange(1, 7, dtype=np.int32)[np.newaxis, :, np.newaxis].repeat(96, axis=2)
    rule = BaselineRule("low", n_candidates=45, n_selected=2, min_days=2, score="given")
    near = np.array([9, 0, 8, 1, 7, 2])
    for choice, days, status in (
        ([1, 3, 1, 2, 1, 2], [2, 4], 0),
        ([1, 3, 0, 2, 0, 2], [0, 5], 64),
        ([1, 3, 0, 0, 0, 0], [0, 1], 128),
    ):
        found = baseline(history, preset=rule, eligible=np.array(choice, np.uint8), day_score=near)
        assert np.flatnonzero(found.days_used[0]).tolist() == days
        assert found.status[0] == status
