"""Inputs that would make a kernel read or write beside its arrays, or read what it has overwritten, are refused."""

import dataclasses

import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.market_day import MarketDay
from flexcore.metering import (
    BaselineResult,
    BaselineRule,
    Calendar,
    EventRuns,
    accuracy,
    baseline,
    baseline_of_groups,
    collect_readings,
    compare_methods,
    delivered_volume,
    eligible_days,
    match_day_distance,
    needed_steps,
    net_by_aggregate,
    placebo_events,
    set_points,
    simulate_readings,
)
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.metering.presets import PRESETS

HISTORY = np.arange(3 * 12 * 96, dtype=np.int32).reshape(3, 12, 96)
TODAY = HISTORY[:, 0].copy()
EVENT = np.arange(96) // 4 == 15


def refused(**given):
    with pytest.raises(ValidationError) as caught:
        baseline(HISTORY, TODAY, EVENT, **given)
    return caught.value.codes


@pytest.mark.parametrize(
    "array",
    [
        {"status": np.empty(1, np.uint8)},
        {"status": np.empty(3, np.int8)},
        {"baseline_w": np.empty((3, 96))},
        {"baseline_w": np.empty((3, 192), np.int32)[:, ::2]},
        {"days_used": np.empty((3, 12), np.uint8)},
        {"days_used": np.broadcast_to(np.False_, (3, 12))},
    ],
    ids=["short", "type", "floats", "strided", "numbers", "read-only"],
)
def test_a_result_to_overwrite_must_fit_in_every_array(array):
    result = baseline(HISTORY, TODAY, EVENT)
    assert refused(out=dataclasses.replace(result, **array)) == ("FX-A005",)


@pytest.mark.parametrize("preset", ["caiso_10_in_10", "elexon_bl01", "meter_before"])
def test_a_result_to_overwrite_must_not_be_an_input(preset):
    # BL01 puts the readings where there is no event, after the baseline was written: over the readings, it would not
    rule = PRESETS[preset]
    n_days = 0 if preset == "meter_before" else 12
    out = BaselineResult(TODAY, np.empty(3, np.uint8), np.empty((3, n_days), np.bool_), rule)
    assert refused(preset=preset, out=out) == ("FX-A005",)


def test_temperatures_of_no_zone_are_refused():
    none = {"temperature_c": np.empty((0, 12, 96)), "today_temperature_c": np.empty((0, 96))}
    assert refused(preset="degree_hours", **none) == ("FX-A001",)


def test_a_nomination_checks_the_arguments_that_it_does_not_need():
    declared = {"preset": "nominated", "nominated_w": TODAY}
    for history, event, more in (
        (HISTORY[0], EVENT, {}),
        (HISTORY, EVENT[:5], {}),
        (None, None, {"n_threads": 0}),
    ):
        with pytest.raises(ValidationError):
            baseline(history, TODAY, event, **declared, **more)


@pytest.mark.parametrize(
    "numbers",
    [
        {"n_candidates": 10.5, "n_selected": 10.5},
        {"n_candidates": "10"},
        {"min_days": True},
        {"window_steps": 2.5},
        {"lead_steps": 1 << 31},
        {"guard_w": 1 << 62},
        {"cap_w": float("nan")},
        {"ratio_ppm": 5},
        {"ratio_ppm": (800_000,)},
        {"ratio_ppm": (800_000.0, 1_200_000)},
    ],
    ids=str,
)
def test_numbers_of_a_rule_are_whole_and_fit_the_kernels(numbers):
    assert set(refused(preset=BaselineRule("all", **numbers))) == {"FX-B004"}


def test_a_rule_may_ask_for_more_days_than_memory_holds():
    most = (1 << 31) - 1
    everything = BaselineRule("mid", n_candidates=most, n_selected=most - 2, min_days=12)
    result = baseline(HISTORY, preset=everything)
    assert result.days_used.all()
    assert (result.status == 1).all()


def test_distances_need_the_event_day():
    with pytest.raises(ValidationError):
        match_day_distance(HISTORY, None, EVENT)


def test_counts_of_groups_are_counts():
    events = placebo_events(np.zeros(12, int), n_per_stratum=1)
    for power, given, code in (
        (HISTORY, {"n_groups": 0, "group_sizes": (1,)}, "FX-A006"),
        (HISTORY, {"group_sizes": (1.5,)}, "FX-A006"),
        (HISTORY, {"seed": -1, "group_sizes": (1,)}, "FX-A006"),
        (HISTORY, {"presets": []}, "FX-B054"),
        (HISTORY[:0], {}, "FX-B054"),
    ):
        with pytest.raises(ValidationError) as caught:
            compare_methods(power, events, **{"presets": ["rolling_10"], **given})
        assert set(caught.value.codes) == {code}
    for n_groups in (2.5, -1):
        with pytest.raises(ValidationError, match="FX-A006"):
            accuracy(TODAY, TODAY, EVENT, group=[0, 1, 0], n_groups=n_groups)
        with pytest.raises(ValidationError, match="FX-A006"):
            baseline_of_groups(HISTORY, [0, 1, 0], n_groups=n_groups)


def test_events_of_no_days_are_refused():
    with pytest.raises(ValidationError, match="FX-A006"):
        EventRuns.of_steps([], [0], [0], [0], [1], operator=0)


RAGGED = [[1], [1, 2]]
DAY = MarketDay("2026-06-17")
DAYS = [MarketDay(f"2026-06-{d:02d}") for d in range(5, 17)]
NAMES = ("history_w", "today_w", "event", "eligible", "excluded", "today_excluded", "nominated_w", "reference_w",
         "control_w", "control_event", "control_excluded", "temperature_c", "day_off", "day_score")  # fmt: skip
PRESET_OF = {
    "nominated_w": "nominated", "reference_w": "uk_fixed_reference", "control_w": "control_group",
    "control_event": "control_group", "control_excluded": "control_group", "temperature_c": "degree_hours",
    "day_off": "degree_hours", "day_score": "pjm_match_day",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_different_lengths_are_refused_by_name(name):
    given = {
        "history_w": HISTORY, "today_w": TODAY, "event": EVENT, "reference_of": [0, 0, 0], "control_w": TODAY,
        "temperature_c": np.zeros((12, 96)), "today_temperature_c": np.zeros(96),
        "preset": PRESET_OF.get(name, "high_5_of_10"),
    }  # fmt: skip
    with pytest.raises(ValidationError, match=name) as caught:
        baseline(**{**given, name: RAGGED})
    assert set(caught.value.codes) == {"FX-A001"}


@pytest.mark.parametrize(
    "call",
    [
        lambda: EventRuns([0], [1], [2], operator=RAGGED),
        lambda: eligible_days(DAYS, DAY, calendar=Calendar(holidays=[]), rule="high_5_of_10", n_pods=3, outage=RAGGED),
        lambda: needed_steps(RAGGED, PRESETS["high_5_of_10"]),
        lambda: set_points(RAGGED, TODAY, direction=0),
        lambda: delivered_volume(TODAY, TODAY, direction=RAGGED),
        lambda: delivered_volume(TODAY, TODAY, direction=[]),
        lambda: set_points(TODAY, TODAY, direction=[0, 1]),
        lambda: accuracy(RAGGED, TODAY, EVENT),
        lambda: accuracy(TODAY, TODAY, RAGGED),
        lambda: collect_readings(RAGGED, [], [], pods=[1], day=DAY),
    ],
)
def test_what_is_no_array_of_the_shape_is_refused(call):
    with pytest.raises(ValidationError) as caught:
        call()
    assert set(caught.value.codes) == {"FX-A001"}


@pytest.mark.parametrize("value", [2, None, "no", np.zeros(2, np.bool_)], ids=str)
def test_the_day_type_of_today_is_true_or_false(value):
    weather = {"temperature_c": np.zeros((12, 96)), "today_temperature_c": np.zeros(96)}
    assert set(refused(preset="degree_hours", today_off=value, **weather)) <= {"FX-A001", "FX-A002"}


@pytest.mark.parametrize("largest", [1e308, np.inf, 200.0])
def test_temperatures_that_cannot_be_are_named_by_day(largest):
    past = np.zeros((12, 96))
    past[[4, 7], 5] = largest
    with pytest.raises(ValidationError) as caught:
        baseline(HISTORY, preset="degree_hours", temperature_c=past, today_temperature_c=np.zeros(96))
    assert caught.value.codes == ("FX-B032",)
    assert caught.value.findings[0].rows == (4, 7)


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ({"rebound_delay": 2**63 - 5, "rebound_steps": 4}, "FX-B007"),
        ({"rebound_delay": 1, "rebound_steps": 2**63 - 5}, "FX-B007"),
        ({"rebound_steps": 2.5}, "FX-B007"),
        ({"rebound_delay": -1}, "FX-B007"),
        ({"first_qh": 2**62}, "FX-A006"),
        ({"first_qh": 2.5}, "FX-A002"),
        ({"seed": 1.5}, "FX-A002"),
        ({"seed": None}, "FX-A002"),
    ],
    ids=str,
)
def test_a_simulated_rebound_cannot_reach_beyond_the_day(numbers, code):
    orders = np.zeros_like(TODAY)
    orders[:, 10:14] = 500
    with pytest.raises(ValidationError) as caught:
        simulate_readings(TODAY, orders, **{"seed": 1, "rebound_share": 1.0, **numbers})
    assert caught.value.codes == (code,)


def test_numbers_of_a_simulation_may_be_those_of_an_array():
    orders = np.zeros_like(TODAY)
    orders[:, 10:14] = 500
    plain = {"seed": -1, "first_qh": 5, "rebound_delay": 2, "rebound_steps": 3}
    drawn = {name: np.int64(number) for name, number in plain.items()}
    once, again = (simulate_readings(TODAY, orders, rebound_share=0.5, **numbers) for numbers in (plain, drawn))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize(
    "as_given", [lambda out: out, lambda out: memoryview(out.baseline_w)], ids=["result", "buffer"]
)
def test_a_result_to_overwrite_must_not_be_an_input_in_another_form(as_given):
    out = BaselineResult(TODAY.copy(), np.empty(3, np.uint8), np.empty((3, 0), np.bool_), PRESETS["meter_before"])
    with pytest.raises(ValidationError, match="FX-A005"):
        baseline(None, as_given(out), EVENT, preset="meter_before", out=out)
    np.testing.assert_array_equal(out.baseline_w, TODAY)


def test_keys_that_do_not_fit_are_refused_not_wrapped():
    for pods in ([2**63 + 5], np.array([7, 2**63 + 5], np.uint64), [10**30]):
        with pytest.raises(ValidationError) as caught:
            collect_readings([7], np.array([DAY.first_qh * 900]), [1], pods=pods, day=DAY, gaps="flag")
        assert caught.value.codes == ("FX-A006",)
        assert caught.value.findings[0].rows == (len(pods) - 1,)


@pytest.mark.parametrize("n", [-1, 1.5, None, 1 << 31], ids=str)
def test_a_number_of_aggregates_is_a_count(n):
    with pytest.raises(ValidationError, match="FX-A006"):
        net_by_aggregate(TODAY, [0, 0, 0], n)


@pytest.mark.timeout(20)
def test_a_window_of_years_is_looked_at_within_the_day_only():
    rule = BaselineRule("high", adjustment="additive", window_steps=(1 << 31) - 1, lead_steps=2)
    needed = needed_steps(EVENT, rule)
    np.testing.assert_array_equal(np.flatnonzero(needed), [*range(58), *range(60, 64)])


def test_an_unknown_delivery_makes_the_gain_error_unknown():
    delivered = np.full(TODAY.shape, 10)
    delivered[0, 60] = delivered[1, 60] = MISSING_DELIVERED  # twice: the sum would wrap to nothing
    delivered[2, 3] = MISSING_DELIVERED  # outside the event
    found = accuracy(TODAY + 1, TODAY, EVENT, group=[0, 0, 1], delivered_w=delivered)
    np.testing.assert_array_equal(found.gain_error, [np.nan, 4 / 40])
    with pytest.raises(ValidationError, match="FX-A006"):
        accuracy(TODAY + 1, TODAY, EVENT, delivered_w=delivered * 0 + 2**62)
