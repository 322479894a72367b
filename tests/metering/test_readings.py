import datetime as dt
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest

from flexcore import MarketDay
from flexcore.errors import TimeSeriesError, ValidationError
from flexcore.metering import MISSING_W, collect_readings, day_steps, nominate, simulate_readings
from tests.reference.metering_baseline import simulated

ROME = zoneinfo.ZoneInfo("Europe/Rome")
PODS = np.array(["IT002E00000003", "IT002E00000001", "IT002E00000002"])


def table(day, pods=PODS):
    """All readings of the day, shuffled: POD k draws 1000 k + step watts."""
    pod = np.repeat(np.arange(len(pods)), day.n_steps)
    step = np.tile(np.arange(day.n_steps), len(pods))
    order = np.random.default_rng(1).permutation(pod.size)
    return pods[pod][order], (day.qh[step] * 900)[order], (1000 * pod + step)[order]


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize("date", ["2026-01-21", "2026-03-29", "2026-10-25"])
def test_readings_are_put_in_their_place(date):
    day = MarketDay(date)
    pod, time, power = table(day)
    estimated = power % 7 == 0
    readings = collect_readings(pod, time, power, pods=PODS, day=day, estimated=estimated)
    expected = 1000 * np.arange(3)[:, np.newaxis] + np.arange(day.n_steps)
    assert np.array_equal(readings.metered_w, expected)
    assert np.array_equal(readings.estimated, expected % 7 == 0)
    assert readings.pods == tuple(PODS)
    assert not readings.missing.any()


def test_times_may_be_datetimes_or_arrow_timestamps_with_a_zone():
    day = MarketDay("2026-03-29")
    pod, time, power = table(day)
    expected = collect_readings(pod, time, power, pods=PODS, day=day).metered_w
    stamps = [dt.datetime.fromtimestamp(int(second), ROME) for second in time]
    assert np.array_equal(collect_readings(pod, stamps, power, pods=PODS, day=day).metered_w, expected)
    arrow = pa.array(time * 1_000_000, pa.timestamp("us", "UTC"))
    assert np.array_equal(collect_readings(pod, arrow, power, pods=PODS, day=day).metered_w, expected)


@pytest.mark.rule("MET-01")
def test_gaps_duplicates_and_strangers_are_named():
    day = MarketDay("2026-01-21")
    pod, time, power = table(day)
    gone = np.flatnonzero((pod == PODS[1]) & (power % 1000 == 40))[0]
    keep = np.arange(pod.size) != gone
    with pytest.raises(TimeSeriesError) as caught:
        collect_readings(pod[keep], time[keep], power[keep], pods=PODS, day=day)
    (finding,) = caught.value.findings
    assert (finding.code, finding.ids, finding.rows) == ("FX-B002", ("IT002E00000001",), (1,))
    assert "95 instead of 96" in finding.message

    readings = collect_readings(pod[keep], time[keep], power[keep], pods=PODS, day=day, gaps="flag")
    assert readings.metered_w[1, 40] == MISSING_W
    assert readings.missing.sum() == 1

    twice = np.r_[np.arange(pod.size), gone]
    with pytest.raises(TimeSeriesError) as caught:
        collect_readings(pod[twice], time[twice], power[twice], pods=PODS, day=day)
    assert caught.value.codes == ("FX-B001",)
    assert caught.value.findings[0].ids == ("IT002E00000001",) * 2

    with pytest.raises(TimeSeriesError) as caught:
        collect_readings(pod, time, power, pods=PODS[:2], day=day)
    assert caught.value.codes == ("FX-B003",)
    assert set(caught.value.findings[0].ids) == {"IT002E00000002"}


def test_naive_foreign_and_crooked_times_are_refused():
    day = MarketDay("2026-01-21")
    pod, time, power = table(day)

    def code(times):
        with pytest.raises(TimeSeriesError) as caught:
            collect_readings(pod, times, power, pods=PODS, day=day)
        return caught.value.codes

    assert code([dt.datetime.fromtimestamp(int(s)) for s in time]) == ("FX-T001",)
    assert code(time.astype("datetime64[s]")) == ("FX-T001",)
    assert code(time + 1) == ("FX-T004",)
    assert code(time + 86400) == ("FX-T003",)
    assert code(time[:-1]) == ("FX-A001",)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"estimated": ["no"] * 96}, "FX-A002"),
        ({"estimated": [0] * 96}, "FX-A002"),
        ({"estimated": [True]}, "FX-A001"),
        ({"estimated": [True] * 95}, "FX-A001"),
        ({"pods": ["a", "a"]}, "FX-A009"),
        ({"pods": ["a", None]}, "FX-A010"),
        ({"pod": ["a"] * 95 + [None]}, "FX-A010"),
        ({"pod": ["a"] * 95 + [np.nan], "pods": np.array(["a", 1.5], object)}, "FX-A002"),
        ({"pod": [["a"]] * 96}, "FX-A001"),
        ({"pod": [1] * 96, "pods": ["1"]}, "FX-B003"),
        ({"pod": ["1"] * 96, "pods": [1]}, "FX-B003"),
    ],
)
def test_keys_and_flags_that_say_nothing_are_refused(changes, code):
    day = MarketDay("2026-01-21")
    good = {"pod": ["a"] * 96, "time": day.qh * 900, "power_w": [5] * 96, "pods": ["a"], "day": day, "gaps": "flag"}
    assert collect_readings(**good, estimated=[True] * 96).estimated.all()
    with pytest.raises(ValidationError) as refused:
        collect_readings(**(good | changes))
    assert refused.value.codes == (code,)


def test_clock_times_of_long_and_short_days_meet():
    spring, autumn, plain = MarketDay("2026-03-29"), MarketDay("2026-10-25"), MarketDay("2026-10-24")
    assert np.array_equal(day_steps(plain, plain.shift(-1)), np.arange(96))
    # 02:00-03:00 does not exist on the spring day, so an ordinary day finds nothing there
    assert np.array_equal(day_steps(spring, plain), np.r_[np.arange(8), [-1] * 4, np.arange(8, 92)])
    assert np.array_equal(day_steps(plain, spring), np.r_[np.arange(8), np.arange(12, 96)])
    # 02:00-03:00 comes twice on the autumn day, and both meet the ordinary 02:00-03:00
    assert np.array_equal(day_steps(plain, autumn), np.r_[np.arange(12), np.arange(8, 96)])
    assert np.array_equal(day_steps(autumn, autumn), np.arange(100))


@pytest.mark.rule("BAS-03")
def test_nominations_close_before_the_first_local_session():
    day = MarketDay("2026-03-30")
    power = np.full((2, 96), 500)
    before = dt.datetime(2026, 3, 29, 11, 59, 59, tzinfo=ROME)
    gate = dt.datetime(2026, 3, 29, 10, 0, tzinfo=dt.UTC)  # noon in Rome, on the day on which clocks changed
    assert np.array_equal(nominate(power, [before, before], pods=["a", "b"], day=day), power)
    with pytest.raises(TimeSeriesError) as caught:
        nominate(power, [before, gate], pods=["a", "b"], day=day)
    (finding,) = caught.value.findings
    assert (finding.code, finding.ids) == ("FX-B005", ("b",))
    with pytest.raises(TimeSeriesError) as caught:
        nominate(power, [before, before.replace(tzinfo=None)], pods=["a", "b"], day=day)
    with pytest.raises(TimeSeriesError, match="FX-T001"):
        nominate(power, [before, before.isoformat()], pods=["a", "b"], day=day)
    assert caught.value.codes == ("FX-T001",)
    with pytest.raises(TimeSeriesError) as caught:
        nominate(power[:, :95], [before, before], pods=["a", "b"], day=day)
    assert caught.value.codes == ("FX-T002",)


def random_orders(rng, n_pods, n_steps):
    load = rng.integers(-3000, 6000, (n_pods, n_steps)).astype(np.int32)
    ordered = np.zeros((n_pods, n_steps), np.int32)
    for row in ordered:
        for _ in range(3):
            start = rng.integers(n_steps)
            row[start : start + rng.integers(1, 9)] = rng.integers(-2000, 2001)
    return load, ordered


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize("seed", range(40))
def test_simulated_readings_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    load, ordered = random_orders(rng, 3, int(rng.choice([92, 96, 100])))
    key = rng.integers(0, 2**51, 3)
    response = rng.random(3) if seed % 3 == 0 else None
    terms = {"non_delivery": 0.3, "partial": 0.4, "partial_least": 0.25, "noise": 0.1}
    share, delay, steps = rng.random(3), int(rng.integers(0, 4)), int(rng.integers(1, 9))
    least = rng.integers(-2000, 1, 3) if seed % 2 else None
    result = simulate_readings(
        load, ordered, seed=seed, pod_key=key, first_qh=1_960_000, response=response, **terms,
        rebound_share=share, rebound_delay=delay, rebound_steps=steps, least_w=least,
    )  # fmt: skip
    for i in range(3):
        answer = None if response is None else response[i]
        values = simulated(
            load[i].tolist(), ordered[i].tolist(), int(key[i]), seed, 1_960_000, response=answer, **terms,
            rebound=(share[i], delay, steps), least=None if least is None else int(least[i]),
        )  # fmt: skip
        assert result[i].tolist() == values


def test_simulation_hangs_on_keys_and_not_on_order_partition_or_threads():
    rng = np.random.default_rng(3)
    load, ordered = random_orders(rng, 5000, 96)
    key = rng.permutation(10**6)[:5000]
    whole = simulate_readings(load, ordered, seed=1, pod_key=key)
    order = rng.permutation(5000)
    turned = simulate_readings(load[order], ordered[order], seed=1, pod_key=key[order])
    assert np.array_equal(turned, whole[order])
    assert np.array_equal(simulate_readings(load, ordered, seed=1, pod_key=key, n_threads=2), whole)
    assert np.array_equal(simulate_readings(load[7:9], ordered[7:9], seed=1, pod_key=key[7:9]), whole[7:9])
    assert not np.array_equal(simulate_readings(load, ordered, seed=2, pod_key=key), whole)
    assert not np.array_equal(simulate_readings(load, ordered, seed=1, pod_key=key, first_qh=96), whole)


def test_simulation_without_orders_or_flaws_is_exact():
    rng = np.random.default_rng(4)
    load, ordered = random_orders(rng, 20, 96)
    assert np.array_equal(simulate_readings(load, 0 * ordered, seed=1, noise=0.5), load)
    perfect = simulate_readings(load, ordered, seed=1, non_delivery=0, partial=0, noise=0)
    assert np.array_equal(perfect, load - ordered)


def test_nothing_is_switched_off_that_is_off_already():
    # charged 8 kWh early: 6.4 kWh are given back, 2 kW at a time, and the load is gone before they are
    load = np.array([[0, 0, 0, 0, 1500, 1500, 0, 0, 900, 900, 0, 0, 5000, 5000]], np.int32)
    ordered = np.where(np.arange(14) < 4, -2000, 0).astype(np.int32)[None, :]
    exact = {"seed": 1, "non_delivery": 0, "partial": 0, "noise": 0, "rebound_share": 0.8, "rebound_steps": 4}
    free = simulate_readings(load, ordered, **exact)
    assert free.min() < 0
    bound = simulate_readings(load, ordered, **exact, least_w=[0])
    assert bound[0].tolist() == [2000] * 4 + [0] * 8 + [3400, 5000]
    assert bound.sum() == free.sum()  # all of it came back, only later
    # an order finds what is left, and what was never switched off does not come back
    up = np.where(np.arange(14) < 5, 2000, 0).astype(np.int32)[None, :]
    found = simulate_readings(load, up, **exact, least_w=[0])
    assert found[0].tolist() == [0, 0, 0, 0, 0, 1800, 300, 300, 1200, 900, 0, 0, 5000, 5000]
    # a bound that the load itself breaks changes nothing
    assert np.array_equal(simulate_readings(load - 3000, 0 * up, **exact, least_w=[0]), load - 3000)


def test_shares_of_failures_and_noise_are_as_asked():
    n_pods = 20_000
    load = np.zeros((n_pods, 4), np.int32)
    ordered = np.full((n_pods, 4), 100_000, np.int32)
    metered = simulate_readings(load, ordered, seed=9, non_delivery=0.1, partial=0.2, partial_least=0.5, noise=0.02)
    mean = -metered.mean(axis=1) / 100_000
    # four standard errors of a share among 20,000 draws
    assert abs((mean == 0).mean() - 0.1) < 4 * (0.1 * 0.9 / n_pods) ** 0.5
    full = mean > 0.96
    assert abs(full.mean() - 0.7 - 0.2 * 0.04 / 0.5) < 4 * (0.21 / n_pods) ** 0.5 + 0.01
    spread = (-metered[full] / 100_000).std(axis=1, ddof=1)
    assert abs((spread**2).mean() ** 0.5 - 0.02) < 0.002


def test_parameters_of_the_simulation_are_checked():
    load = np.zeros((2, 4), np.int32)
    with pytest.raises(ValidationError) as caught:
        simulate_readings(load, load, seed=0, non_delivery=0.8, partial=0.9, rebound_share=-1, rebound_steps=-1)
    assert caught.value.codes == ("FX-B007",) * 3
    with pytest.raises(ValidationError) as caught:
        simulate_readings(load + (2**31 - 1), load - 5, seed=0, non_delivery=0, partial=0, noise=0, pod_key=[7, 8])
    assert caught.value.codes == ("FX-A006",)
    assert caught.value.findings[0].ids == (7, 8)
