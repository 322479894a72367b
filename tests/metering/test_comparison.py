from dataclasses import replace

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import OptionError, ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule, compare_methods, placebo_events
from flexcore.metering.comparison_result import METRICS
from tests.reference import metering_accuracy as reference

X_OF_Y = ("high_5_of_10", "rolling_10", "caiso_10_in_10")


def readings(seed=0, n_pods=9, n_days=60):
    """Loads with a daily shape and noise, three classes, gaps."""
    rng = np.random.default_rng(seed)
    shape = 1000 + 800 * np.sin(np.linspace(0, 2 * np.pi, 96))
    power = (shape * rng.uniform(0.5, 2, (n_pods, 1, 1)) * rng.lognormal(0, 0.2, (n_pods, n_days, 96))).astype(np.int32)
    power[2] *= -1
    power[rng.random(power.shape) < 0.002] = MISSING_W
    return power


@pytest.fixture(scope="module")
def events():
    return placebo_events((np.arange(60) % 7 >= 5).astype(int), n_per_stratum=3, least_days=5, seed=2)


@pytest.fixture(scope="module")
def compared(events):
    return compare_methods(
        readings(),
        events,
        presets=[*X_OF_Y, "meter_before", "nominated"],
        classes=["shop", "home", "plant"] * 3,
        pods=[f"P{k}" for k in range(9)],
        group_sizes=(1, 4, 9),
        n_groups=20,
    )


def lists(values):
    return [[None if value == MISSING_W else int(value) for value in row] for row in values]


@pytest.mark.rule("ACC-01")
@pytest.mark.parametrize("method", [*X_OF_Y, "meter_before", "nominated"])
def test_each_pod_has_the_errors_of_a_loop_over_events(compared, events, method):
    power = readings()
    rows = {name: [] for name in ("baseline", "metered", "event", "group")}
    for e, day in enumerate(events.day.tolist()):
        first, like = events.reference_days(e)
        today = power[:, day].copy()
        extra = {"nominated_w": power[:, day - 7]} if method == "nominated" else {}
        made = fx.baseline(power[:, first:day], today, events.during[e], eligible=like, preset=method, **extra)
        rows["baseline"] += lists(made.baseline_w)
        rows["metered"] += lists(today)
        rows["event"] += [events.during[e].tolist()] * 9
        rows["group"] += list(range(9))
    delivered = [[0] * 96] * len(rows["group"])
    wanted = reference.accuracy(*rows.values(), delivered, "absolute", None)
    made = compared.per_pod(method)
    for pod in range(9):
        for name in (*METRICS, "n_steps", "n_unknown", "opi_of_zero"):
            assert getattr(made, name)[pod] == pytest.approx(wanted[pod][name], rel=1e-13), name


def test_no_method_sees_the_readings_that_it_is_measured_by(events, monkeypatch):
    seen = []

    def spy(history, today, event, **kwargs):
        seen.append((today[:, event] == MISSING_W).all() and (today[:, ~event] != MISSING_W).any())
        return fx.baseline(history, today, event, **kwargs)

    monkeypatch.setattr("flexcore.metering.comparison.baseline", spy)
    compare_methods(readings(), events, presets=["rolling_10"])
    assert len(seen) == len(events)
    assert all(seen)


def test_one_pod_groups_are_pods_and_the_whole_is_the_sum(compared, events):
    power = readings()
    for method in compared.methods:
        groups = compared.per_group(method)
        singles = set(groups.opi[compared.group_size == 1].tolist())
        # a POD alone is left out of its group where it has a gap, so its known errors are the same
        assert singles <= set(compared.per_pod(method).opi.tolist())
    # all nine: added by hand from the sums of one method without gaps
    full = np.where(power == MISSING_W, 500, power)
    made = compare_methods(full, events, presets=["rolling_10"], group_sizes=(9,))
    errors, loads = [], []
    for e, day in enumerate(events.day.tolist()):
        first, like = events.reference_days(e)
        base = fx.baseline(full[:, first:day], event=events.during[e], eligible=like, preset="rolling_10").baseline_w
        steps = events.during[e]
        errors += (base - full[:, day])[:, steps].sum(axis=0, dtype=np.int64).tolist()
        loads += full[:, day][:, steps].sum(axis=0, dtype=np.int64).tolist()
    bias, rrmse, opi = reference.index(errors, loads, sum(map(abs, loads)), None)
    whole = made.per_group("rolling_10")
    assert whole.bias[0] == pytest.approx(bias, rel=1e-14)
    assert whole.rrmse[0] == pytest.approx(rrmse, rel=1e-14)
    assert whole.opi[0] == pytest.approx(opi, rel=1e-14)
    np.testing.assert_array_equal(made.per_class("rolling_10").opi, whole.opi)


def test_errors_fall_with_the_size_of_the_group(events):
    power = readings(n_pods=40)
    power[2] *= -1
    table = compare_methods(power, events, presets=["rolling_10"], group_sizes=(1, 10, 40)).by_size()
    opi = table["opi"].to_pylist()
    assert table["n_groups"].to_pylist() == [100, 100, 1]
    assert opi[0] > 2 * opi[1] > 2.5 * opi[2]  # independent errors fall with the root of the size


def test_the_table_holds_medians_and_spreads_of_each_class(compared):
    table = compared.to_arrow().to_pylist()
    assert [(row["class"], row["method"]) for row in table] == [
        (name, method) for name in ("shop", "home", "plant") for method in compared.methods
    ]
    row = next(r for r in table if (r["class"], r["method"]) == ("home", "rolling_10"))
    mine = compared.per_pod("rolling_10").opi[1::3]
    assert row["opi"] == np.median(mine)
    assert (row["opi_p10"], row["opi_p90"]) == tuple(np.percentile(mine, (10, 90)))
    assert row["n_pods"] == 3
    assert row["passed"] == compared.screen("rolling_10").passed[1::3].sum()
    assert 0 < row["unknown"] < 0.05


def test_the_lowest_median_is_recommended_and_ties_are_named(events):
    rules = {"first": PRESETS["rolling_10"], "same": PRESETS["rolling_10"], "other": PRESETS["meter_before"]}
    made = compare_methods(readings(), events, presets=rules, classes=["a"] * 6 + ["b"] * 3)
    for c, row in enumerate(made.recommend(metric="rrmse")):
        mine = made.class_of == c
        median = {name: np.median(made.per_pod(name).rrmse[mine]) for name in rules}
        assert row.method == min(median, key=median.get)
        assert row.median == median[row.method]
        assert (row.method, row.ties, row.runner_up) in [("first", ("same",), "other"), ("other", (), "first")]
        each = np.stack([made.per_pod(name).rrmse[mine] for name in rules])
        assert row.n_best == (each[list(rules).index(row.method)] == each.min(axis=0)).sum()
        assert row.n_pods == mine.sum()
    assert made.best() == {row.customer_class: row.method for row in made.recommend()}
    assert "| a | 6 | first, same |" in made.report()


def test_what_is_no_better_than_zero_is_not_recommended(events):
    rng = np.random.default_rng(4)
    rare = np.where(rng.random((5, 60, 96)) < 0.03, 3700, 0).astype(np.int32)
    made = compare_methods(rare, events, presets=["meter_before", "nominated"])
    (row,) = made.recommend()
    assert row.skill < 0.05
    assert f"none ({row.method}" in made.report()


def test_methods_without_baseline_are_not_ranked_and_those_without_input_are_listed(events):
    rules = {"never": BaselineRule("all", n_candidates=40, n_selected=40, min_days=40), "ever": PRESETS["meter_before"]}
    made = compare_methods(readings(), events, presets=rules)
    assert made.best() == {"all": "ever"}
    assert made.recommend()[0].runner_up == ""

    def lacking(*args, **kwargs):
        return fx.baseline(None, *args[1:], **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flexcore.metering.comparison.baseline", lacking)
        some = compare_methods(readings(), events, presets=["rolling_10", "meter_before"])
    assert some.methods == ("meter_before",)
    assert "needs history_w" in some.skipped["rolling_10"]
    assert "Not tried: rolling_10 (method 'all' needs history_w)." in some.report()


def test_a_class_without_load_has_no_recommendation(events):
    power = readings()
    power[:3] = 0
    made = compare_methods(power, events, presets=["rolling_10"], classes=["idle"] * 3 + ["on"] * 6)
    assert set(made.best()) == {"on"}
    assert made.to_arrow().to_pylist()[0]["n_undefined"] == 3


def test_threads_and_batches_change_no_bit(compared, events):
    again = compare_methods(
        readings()[3:6], events, presets=list(compared.methods), classes=["shop", "home", "plant"], n_threads=2
    )
    np.testing.assert_array_equal(again.sums, compared.sums[:, 3:6])


def test_own_inputs_take_the_place_of_naive_ones(events):
    right = compare_methods(
        readings(), events, presets=["nominated"], inputs={"nominated_w": lambda on: on.power_w[:, on.day]}
    )
    assert (right.per_pod("nominated").opi == 0.0).all()


def test_inputs_of_one_preset_are_for_it_alone(events):
    power = np.where(readings() == MISSING_W, 700, readings())
    rules = {"near": PRESETS["pjm_match_day"], "far": PRESETS["pjm_match_day"]}
    latest = {"day_score": lambda on: np.arange(on.day - on.first)[::-1].copy()}
    made = compare_methods(power, events, presets=rules, inputs={"near": latest})
    assert made.methods == ("near",)
    assert "day_score" in made.skipped["far"]
    e = 4
    first, like = events.reference_days(e)
    past = power[:, first : events.day[e]][:, like][:, -3:].sum(axis=1)[:, events.during[e]]
    truth = power[:, events.day[e]][:, events.during[e]]
    np.testing.assert_array_equal(made.sums[0, :, e, 2], (np.rint(past / 3) - truth).sum(axis=1))


def test_a_regression_also_has_the_days_that_are_not_like_the_event_day(events):
    """Load that follows temperature and day type exactly is met exactly; a real event is never in it."""
    temperature = 20.0 - np.arange(60) % 11
    off = events.day_type == 1
    power = np.rint(1000 + 30 * (18 - np.minimum(temperature, 18)) - 200 * off).astype(np.int32)
    power = np.repeat(np.repeat(power[np.newaxis, :, np.newaxis], 2, axis=0), 96, axis=2)
    real = np.zeros(60, bool)
    real[20] = True
    power[:, 20] = 9000
    some = placebo_events(events.day_type, real_event=real, n_per_stratum=2, least_days=5, seed=2)
    rule = {"degree_hours": replace(PRESETS["degree_hours"], min_days=5)}
    steps = np.repeat(temperature[:, np.newaxis], 96, axis=1)
    weather = {
        "temperature_c": lambda on: steps[on.first : on.day],
        "today_temperature_c": lambda on: steps[on.day],
    }
    made = compare_methods(power, some, presets=rule, inputs=weather)
    late = made.among(made.events.day >= 30)
    assert len(late.events) > 3
    assert late.per_pod("degree_hours").opi.max() < 1e-3
    assert late.per_pod("degree_hours").n_unknown.sum() == 0


def test_bad_input_is_refused(events):
    power = readings()
    for change, code in (
        ({"classes": ["a"]}, "FX-A001"),
        ({"pods": [1]}, "FX-A001"),
        ({"group_sizes": (10,)}, "FX-B053"),
        ({"group_sizes": (0,)}, "FX-A006"),
        ({"grouped": np.ones(3, bool)}, "FX-A001"),
        ({"presets": ["none"]}, "FX-E002"),
    ):
        with pytest.raises(ValidationError) as error:
            compare_methods(power, events, **({"presets": ["rolling_10"]} | change))
        assert error.value.codes == (code,)
    with pytest.raises(ValidationError) as error:
        compare_methods(power[:, :30], events)
    assert error.value.codes == ("FX-A001",)
    made = compare_methods(power, events, presets=["rolling_10"])
    for call in (made.per_pod, made.per_group, made.per_class, made.screen):
        with pytest.raises(OptionError):
            call("high_5_of_10")
    with pytest.raises(OptionError):
        made.recommend(metric="n_steps")


def test_some_of_the_events_are_a_comparison_of_their_own(compared, events):
    evening = events.window >= 3
    some = compared.among(evening)
    assert len(some.events) == evening.sum()
    np.testing.assert_array_equal(some.events.during, events.during[evening])
    both = some.sums.sum(axis=2) + compared.among(~evening).sums.sum(axis=2)
    np.testing.assert_array_equal(both, compared.sums.sum(axis=2))
    table, sizes = some.to_arrow(), some.by_size()
    assert table.num_rows == compared.to_arrow().num_rows
    assert sizes.num_rows == 3 * len(compared.methods)
    with pytest.raises(ValidationError):
        compared.among(evening[:-1])


def test_the_share_of_unknown_quarter_hours_of_groups_is_that_of_their_pods(compared):
    rows = {(row["n_pods"], row["method"]): row["unknown"] for row in compared.by_size().to_pylist()}
    for method in compared.methods:
        measured = compared.per_pod(method)
        share = measured.n_unknown.sum() / (measured.n_unknown.sum() + measured.n_steps.sum())
        assert rows[9, method] == pytest.approx(share)
        assert 0 < share < 0.05


def test_controls_within_an_aggregate_do_not_vouch_for_it(events):
    rule = BaselineRule("control_group", min_controls=2)
    made = compare_methods(readings(), events, presets={"control": rule}, group_sizes=(2, 9), n_groups=20)
    assert np.isfinite(made.per_pod("control").opi).all()
    assert np.isnan(made.per_group("control").opi).all()
    assert np.isnan(made.per_class("control").opi).all()
    assert made.by_size()["unknown"].to_pylist() == [1.0, 1.0]


def test_naive_inputs_are_those_of_their_definition(events):
    power = np.where(readings() == MISSING_W, 700, readings())
    kinds = ["a"] * 5 + ["b"] * 4
    rules = {"control": BaselineRule("control_group", min_controls=3), "fixed": BaselineRule("reference")}
    made = compare_methods(power, events, presets=rules | {"match": PRESETS["pjm_match_day"]}, classes=kinds)
    assert made.methods == ("control", "fixed")
    assert "day_score" in made.skipped["match"]
    e, steps = 7, events.during[7]
    day = int(events.day[e])
    first, like = events.reference_days(e)
    for pod in range(9):
        same = [other for other in range(9) if kinds[other] == kinds[pod]]
        others = [power[other, day, steps] for other in same if other != pod]
        base = np.rint(np.mean(others, axis=0))
        assert made.sums[0, pod, e, 2] == (base - power[pod, day, steps]).sum()
        past = np.rint(power[same][:, first:day][:, like].mean(axis=(0, 1)))[steps]
        assert made.sums[1, pod, e, 2] == (past - power[pod, day, steps]).sum()
    named = compare_methods(power, events, presets=["pjm_match_day"])
    assert named.skipped == {}


def test_a_comparison_of_which_every_method_was_skipped_recommends_nothing(events):
    made = compare_methods(readings(), events, presets=["degree_hours"], group_sizes=(1,), n_groups=1)
    assert made.methods == ()
    assert made.recommend() == ()
    assert "Not tried: degree_hours (method 'regression' needs temperature_c)." in made.report()
