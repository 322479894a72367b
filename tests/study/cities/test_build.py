import dataclasses

import numpy as np
import pytest

from flexcore import MarketDay, cities
from flexcore.study.cities.days import AREA_SIGMA, NODE_SIGMA, OFFER_SIGMA, SESSION_SCALE, SMALL_KW, node_sums
from flexcore.study.cities.offering import MARKUP, markups
from flexcore.units import DOWN, GLOBAL, LOCAL, UP
from tests.reference import study_places as reference

DAY = MarketDay("2026-03-24")


@pytest.fixture(scope="module")
def city():
    return cities.tiny()


@pytest.fixture(scope="module")
def large():
    return cities.simbench()


def arrays_of(value, path="city"):
    """Every array below a value, with its path."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if not field.name.startswith("_"):
                yield from arrays_of(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from arrays_of(part, f"{path}[{number}]")


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_city(city):
    again, other = dict(arrays_of(cities.tiny())), dict(arrays_of(cities.tiny(seed=1)))
    for path, array in arrays_of(city):
        np.testing.assert_array_equal(array, again[path], err_msg=path)
    assert (other["city.pods.declared_up_w"] != city.pods.declared_up_w).any()
    assert city.growth_report == cities.tiny().growth_report
    np.testing.assert_array_equal(city.realised(DAY).load_w, cities.tiny().realised(DAY).load_w)


def test_every_load_is_a_pod_and_every_pod_a_node(city, large):
    assert city.n_pods == 99
    assert large.n_pods == 11_542 + 1  # and one hydro plant that stands at no load
    for one in (city, large):
        assert np.unique(one.pods.code).size == one.n_pods
        assert (np.char.str_len(one.pods.code) == 14).all()
        assert ((one.pods.node >= 0) & (one.pods.node < one.grid.n_nodes)).all()
        sizes = {field.name: getattr(one.pods, field.name).shape for field in dataclasses.fields(one.pods)}
        assert set(sizes.values()) == {(one.n_pods,)}, sizes


@pytest.mark.rule("AGG-01")
@pytest.mark.rule("AGG-02")
@pytest.mark.rule("AGG-03")
def test_aggregates_have_one_bsp_and_a_local_one_lies_in_one_area(large):
    pods, aggregates = large.pods, large.aggregates
    for operator, member, share in (
        (LOCAL, pods.local_aggregate, pods.local_share_pm),
        (GLOBAL, pods.global_aggregate, pods.global_share_pm),
    ):
        inside = np.flatnonzero(member >= 0)
        assert (aggregates.operator[member[inside]] == operator).all()
        assert (aggregates.bsp[member[inside]] == pods.bsp[inside]).all()
        assert ((share[inside] > 0) & (share[inside] <= 1000)).all()
        assert not share[member < 0].any()
        assert set(np.unique(member[inside])) == set(np.flatnonzero(aggregates.operator == operator))
    local = np.flatnonzero(pods.local_aggregate >= 0)
    assert (aggregates.area[pods.local_aggregate[local]] == large.places.area_of_node[pods.node[local]]).all()
    assert (large.products.operator[aggregates.product] == aggregates.operator).all()


@pytest.mark.rule("AGG-04")
def test_all_configurations_of_table_8_occur(large):
    pods = large.pods
    members = {
        number: frozenset(np.flatnonzero((pods.local_aggregate == number) | (pods.global_aggregate == number)))
        for number in range(large.aggregates.id.size)
    }
    side = large.aggregates.operator
    kinds = set()
    for one in np.flatnonzero(side == LOCAL):
        for other in np.flatnonzero(side == GLOBAL):
            a, b = members[one], members[other]
            shared = len(a & b)
            kinds.add(
                "identical" if a == b else "disjoint" if not shared else "inside" if a <= b or b <= a else "overlapping"
            )
    assert kinds == {"identical", "inside", "overlapping", "disjoint"}


@pytest.mark.rule("OFR-01")
def test_a_line_offers_the_pods_of_one_aggregate_and_node_group(large):
    pods = large.pods
    for operator, lines, member in (
        (LOCAL, large.local_lines, pods.local_aggregate),
        (GLOBAL, large.global_lines, pods.global_aggregate),
    ):
        assert np.unique(lines.id).size == np.unique(lines.submitted).size == lines.id.size
        for direction, declared, cost in (
            (UP, pods.declared_up_w, pods.cost_up_ueur_per_mwh),
            (DOWN, pods.declared_down_w, pods.cost_down_ueur_per_mwh),
        ):
            line = lines.line_of_pod[direction]
            offered = np.flatnonzero(line >= 0)
            assert (lines.direction[line[offered]] == direction).all()
            assert (lines.aggregate[line[offered]] == member[offered]).all()
            assert (declared[offered] > 0).all()
            perimeter = large.places.perimeter_of_node[pods.node[offered]]
            assert (lines.perimeter[line[offered]] == perimeter).all()
            if operator == LOCAL:
                assert (lines.node[line[offered]] == pods.node[offered]).all()
            missing = (member >= 0) & (declared > 0) & (line < 0)
            assert (large.places.perimeter_of_node[pods.node[missing]] < 0).all() or operator == LOCAL
            for number in np.unique(line[offered])[::97]:
                inside = line == number
                markup = float(markups(large.seed, lines.bsp[number]))
                assert MARKUP[0] <= markup <= MARKUP[1]
                expected = reference.offered_price(declared[inside], cost[inside], markup)
                assert lines.price_ueur_per_mwh[number] == expected


def test_prices_go_both_ways(large):
    lines = large.local_lines
    up, down = (lines.price_ueur_per_mwh[lines.direction == way] for way in (UP, DOWN))
    assert np.median(up) > 60e6
    assert (down < 0).any()
    assert (down > 0).any()


@pytest.mark.parametrize(("date", "n_steps"), [("2026-03-24", 96), ("2026-03-29", 92), ("2026-10-25", 100)])
def test_days_of_92_96_and_100_quarter_hours(city, date, n_steps):
    day = MarketDay(date)
    realised, available = city.realised(day), city.available(day)
    assert realised.load_w.shape == available.up_w.shape == (city.n_pods, n_steps)
    for session in (1, 6):
        forecast, needs = city.forecast(day, session), city.global_needs(day, session)
        assert forecast.p_kw.shape == forecast.q_kvar.shape == (city.grid.n_nodes, n_steps)
        assert needs.need_w.shape == (1, day.n_hours)
    history = city.history_w(day, 3, [5, 2])
    assert history.shape == (2, 3, n_steps)
    if n_steps == 100:  # the hour that comes twice shows the same clock
        np.testing.assert_array_equal(history[:, :, 8:12], history[:, :, 12:16])


def test_node_loads_are_exact_sums_of_whole_watts(city):
    realised = city.realised(DAY)
    sums = reference.node_sums(city.pods.node, realised.load_w, city.grid.n_nodes)
    np.testing.assert_array_equal(realised.p_kw, sums / 1000.0)
    shuffled = np.random.default_rng(0).permutation(city.n_pods)
    again = node_sums(city.pods.node[shuffled], realised.load_w[shuffled], city.grid.n_nodes)
    np.testing.assert_array_equal(again, sums)
    assert np.isfinite(realised.q_kvar).all()


def test_history_is_what_happened_and_a_selection_of_it(city):
    whole = city.history_w(DAY, 4)
    for back in range(4):
        np.testing.assert_array_equal(whole[:, back], city.realised(DAY.shift(back - 4)).load_w)
    chosen = np.array([90, 0, 31])
    np.testing.assert_array_equal(city.history_w(DAY, 4, chosen), whole[chosen])


def test_only_mandated_pods_have_something_to_move(city, large):
    for one in (city, large):
        available = one.available(DAY)
        idle = one.pods.bsp < 0
        for power, declared in ((available.up_w, one.pods.declared_up_w), (available.down_w, one.pods.declared_down_w)):
            assert power.dtype == np.int64
            assert (power >= 0).all()
            assert not power[idle].any()
            assert not declared[idle].any()
            assert power.any()


@pytest.mark.rule("FOR-01")
def test_offers_and_nominations_have_the_stated_error(large):
    truth, expected = large.available(DAY), large.offerable(DAY)
    for real, seen in ((truth.up_w, expected.up_w), (truth.down_w, expected.down_w)):
        assert not seen[real == 0].any()
        big = real > 1000
        ratio = seen[big] / real[big] - 1.0
        assert abs(ratio.mean()) < 0.02
        assert 0.8 * OFFER_SIGMA < ratio.std() < 1.05 * OFFER_SIGMA
    pods = np.flatnonzero(large.pods.bsp >= 0)
    load = large.realised(DAY).load_w[pods] / 1000.0
    error = large.nominated_w(DAY, pods) / 1000.0 - load
    mean = np.abs(load).mean(axis=1, keepdims=True)
    limit = np.sqrt(NODE_SIGMA**2 * mean * np.minimum(mean, SMALL_KW) + (AREA_SIGMA * load) ** 2)
    assert 0.945 <= (np.abs(error) <= 1.96 * limit + 1e-3).mean() <= 0.98
    np.testing.assert_array_equal(large.nominated_w(DAY, pods[5:9]), large.nominated_w(DAY, pods)[5:9])


@pytest.mark.rule("FOR-01")
def test_the_forecast_error_has_the_stated_size_and_shrinks(large):
    truth = large.realised(DAY)
    spread = []
    for session in range(1, 7):
        forecast = large.forecast(DAY, session)
        error = forecast.p_kw - truth.p_kw
        limit = np.sqrt(forecast.node_sigma_kw**2 + (forecast.area_sigma * truth.p_kw) ** 2)
        # 95 % band of both parts together, and no smaller than the interpolation between hours makes it
        inside = (np.abs(error) <= 1.96 * limit + 1e-9).mean()
        assert 0.945 <= inside <= 0.98
        assert forecast.area_sigma == pytest.approx(AREA_SIGMA * SESSION_SCALE[session - 1])
        spread.append(np.sqrt((error**2).mean()))
    assert (np.diff(spread) < 0).all()
    mean = np.abs(truth.p_kw).mean(axis=1)
    expected = NODE_SIGMA * np.sqrt(mean * np.minimum(mean, SMALL_KW))
    np.testing.assert_allclose(large.forecast(DAY, 1).node_sigma_kw[:, 0], expected, rtol=1e-12)


@pytest.mark.rule("MSD-01")
def test_global_needs_change_sign_and_follow_the_forecast(large):
    first, last = large.global_needs(DAY, 1), large.global_needs(DAY, 6)
    assert (first.need_w > 0).any()
    assert (first.need_w < 0).any()
    moved = (large.forecast(DAY, 6).p_kw - large.forecast(DAY, 1).p_kw).sum(axis=0).reshape(-1, 4).mean(axis=1)
    # whole kW: more load than expected is a need for up
    np.testing.assert_allclose((last.need_w - first.need_w)[0] / 1000.0, moved, atol=1.0)
    assert first.price_cap_ueur_per_mwh > 0


def test_conduct_has_those_who_do_not_answer_and_rebound_only_where_energy_is_owed(large):
    conduct = large.conduct(DAY)
    assert 0.03 < (conduct.response_pm == 0).mean() < 0.07
    assert np.median(conduct.response_pm) > 900
    assert conduct.response_pm.max() <= 1150
    stored = (large.pods.technology & (2 | 4)) != 0
    assert not conduct.rebound_pm[~stored].any()
    assert conduct.rebound_pm[stored].all()
    # who has a mandate and owes energy may rest as long as it takes to come back
    rests = stored & (large.pods.bsp >= 0)
    assert (large.pods.recovery_s[rests] == 900 * conduct.rebound_steps).all()
    assert not large.pods.recovery_s[~rests].any()


@pytest.mark.rule("PRQ-02")
def test_technical_tests_show_what_was_drawn(large):
    tests = large.tests
    rows, power = np.array([0, 1, 5]), np.array([50_000, 20_000, 7_000])
    for direction, sign in ((UP, 1), (DOWN, -1)):
        required, baseline, metered = tests.readings(rows, np.full(3, direction), power)
        assert (required[:, tests.due] == power[:, None]).all()
        assert not required[:, ~tests.due].any()
        np.testing.assert_array_equal(sign * (baseline - metered), required * tests.delivered_pm[rows] // 1000)
    level = tests.delivered_pm[:, tests.due].mean(axis=1)
    assert (level < 850).any()
    assert (level > 950).mean() > 0.7


def test_declarations_are_often_too_high_and_some_connections_suspended(large):
    pods = large.pods
    mandated = pods.bsp >= 0
    assert ((pods.declared_up_w > 0) | (pods.declared_down_w > 0))[mandated].all()
    reducible = pods.peak_in_w + pods.contracted_out_w
    assert (pods.declared_up_w[mandated] > reducible[mandated]).sum() > 100
    suspended = mandated & (pods.contracted_in_w == 0)
    assert suspended.sum() > 10
    assert not large.realised(DAY).load_w[suspended].any()
    assert large.bsps.careless.sum() == 2
