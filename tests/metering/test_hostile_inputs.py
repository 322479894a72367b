"""Inputs that would make a kernel read or write beside its arrays, or read what it has overwritten, are refused."""

import dataclasses

import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.metering import (
    BaselineResult,
    BaselineRule,
    EventRuns,
    accuracy,
    baseline,
    baseline_of_groups,
    compare_methods,
    match_day_distance,
    placebo_events,
)
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
