"""The edges of the baseline rules, one watt to either side."""

import numpy as np
import pytest

from flexcore import baseline
from flexcore.metering import MISSING_W, BaselineRule
from flexcore.metering.baseline import FEWER_DAYS, GUARDED, NO_BASELINE, OVERFLOW

TOP = 2**31 - 1
EVENT = np.arange(24) >= 20


def one_pod(history_w, today_w, rule):
    """Baseline at the event and status of a POD with flat past days and a flat event day."""
    history = np.repeat(np.reshape(history_w, (1, -1, 1)), 24, axis=2).astype(np.int32)
    result = baseline(history, np.full((1, 24), today_w, np.int32), EVENT, preset=rule)
    assert len(set(result.baseline_w[0].tolist())) == 1
    return int(result.baseline_w[0, 20]), int(result.status[0])


def rule(adjustment="none", n=1, **fields):
    fields = {"n_candidates": n, "n_selected": n, "min_days": 1, "window_steps": 4} | fields
    return BaselineRule("all", adjustment=adjustment, **fields)


@pytest.mark.rule("BAS-01")
def test_a_meter_at_zero_is_sound_and_one_below_is_guarded():
    """Zero before the event is a ratio of nought, held by its lower bound; below zero a ratio means nothing."""
    bounds = {"ratio_ppm": (800_000, 1_200_000)}
    assert one_pod([1000], 0, rule("multiplicative", **bounds)) == (800, 0)
    assert one_pod([1000], 1, rule("multiplicative", **bounds)) == (800, 0)
    assert one_pod([1000], -1, rule("multiplicative", **bounds)) == (-1, GUARDED)


@pytest.mark.rule("BAS-01")
def test_the_guard_holds_at_its_own_level_and_not_above():
    bounds = {"ratio_ppm": (0, 2_000_000), "guard_w": 500}
    assert one_pod([501], 1002, rule("multiplicative", **bounds)) == (1002, 0)
    assert one_pod([501], 2000, rule("multiplicative", **bounds)) == (1002, 0)
    assert one_pod([500], 2000, rule("multiplicative", **bounds)) == (2000, GUARDED)
    assert one_pod([0], 70, rule("multiplicative")) == (70, GUARDED)
    assert one_pod([1], 70, rule("multiplicative")) == (1, 0)


@pytest.mark.rule("BAS-01")
def test_bounds_of_the_adjustment_hold_to_the_watt():
    ratios = {"ratio_ppm": (800_000, 1_200_000)}
    assert [one_pod([1000], w, rule("multiplicative", **ratios))[0] for w in (799, 801, 1199, 1201)] == [
        800, 801, 1199, 1200
    ]  # fmt: skip
    assert [one_pod([1000], w, rule("additive", cap_w=50))[0] for w in (949, 951, 1049, 1051)] == [950, 951, 1049, 1050]
    assert one_pod([1000], 3000, rule("additive", cap_w=0)) == (1000, 0)
    assert one_pod([1000], 3000, rule("additive")) == (3000, 0)


@pytest.mark.parametrize(
    "days", [([1, 2], 2), ([2, 3], 2), ([-1, -2], -2), ([-2, -3], -2), ([1, 2, 2], 2), ([0, 1], 0)]
)
def test_halves_are_rounded_to_even(days):
    assert one_pod(days[0], 0, rule(n=len(days[0]))) == (days[1], 0)
    half = BaselineRule("meter_before_after", before_steps=2)
    today = np.array([[*(days[0][:2]), 9]], np.int32)
    found = baseline(None, today, np.array([False, False, True]), preset=half).baseline_w[0, 2]
    assert found == round(sum(days[0][:2]) / 2)


def test_32_bits_are_used_to_the_last_watt_and_no_further():
    shifted = rule("additive")
    assert one_pod([TOP], TOP, shifted) == (TOP, 0)
    assert one_pod([-TOP], -TOP, shifted) == (-TOP, 0)
    history = np.full((1, 1, 24), TOP, np.int32)
    history[0, 0, :20] = 0
    today = np.zeros((1, 24), np.int32)
    for by, status in ((0, 0), (1, OVERFLOW), (-1, 0)):
        result = baseline(history, today + np.int32(by), EVENT, preset=shifted)
        assert result.baseline_w[0, 20] == (MISSING_W if status else TOP + by)
        assert result.status[0] == status
        # on the other side one watt more would look like a missing value
        below = baseline(-history, today - np.int32(by), EVENT, preset=shifted)
        assert below.baseline_w[0, 20] == (MISSING_W if status else -TOP - by)
        assert below.status[0] == status
        assert below.has_baseline[0] == (status == 0)


def test_days_that_are_just_enough_and_one_too_few():
    enough = rule(n=4, min_days=3)
    assert one_pod([4, 5, 6, 7], 0, enough) == (6, 0)
    assert one_pod([5, 6, 7], 0, enough) == (6, FEWER_DAYS)
    assert one_pod([6, 7], 0, enough) == (MISSING_W, FEWER_DAYS | NO_BASELINE)
    assert one_pod([99, 4, 5, 6, 7], 0, enough) == (6, 0)


@pytest.mark.rule("BAS-01")
def test_mid_drops_the_odd_day_on_top():
    mid = BaselineRule("mid", n_candidates=5, n_selected=3, min_days=1)
    assert one_pod([10, 500, 20, 30, 0], 0, mid) == (20, 0)
    assert one_pod([10, 500, 20, 30], 0, mid) == (20, FEWER_DAYS)
    assert one_pod([10, 500, 20], 0, mid) == (177, FEWER_DAYS)


def test_a_day_without_any_reading_is_no_candidate():
    """Without an event no quarter-hour is asked for, and still a day that shows nothing takes no place."""
    two = rule(n=2)
    history = np.repeat(np.array([[[10], [20], [MISSING_W], [40]]], np.int32), 24, axis=2)
    result = baseline(history, preset=two)
    assert result.days_used[0].tolist() == [False, True, False, True]
    assert (result.baseline_w == 30).all()
    # days that come and go between two calls leave no trace in arrays that are used again
    again = baseline(np.roll(history, 1, axis=1), preset=two, out=result)
    assert again.days_used[0].tolist() == [False, True, True, False]
    assert (again.baseline_w == 15).all()
