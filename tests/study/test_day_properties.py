"""Invariants of a whole day for any seed, date and order of PODs."""

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexcore import MarketDay, cities, run_day
from flexcore.market.traffic_light import RED
from flexcore.units import GLOBAL, LOCAL
from tests.study.test_day import permuted, planned

SLOW = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEED = st.integers(0, 10_000)
DATE = st.dates(MarketDay("2026-01-02").date, MarketDay("2026-12-30").date)


@SLOW
@given(SEED, DATE)
def test_no_pod_serves_two_operators_and_red_is_never_selected(seed, date):
    day = MarketDay(date)
    plan = planned(cities.tiny(seed=seed), day)
    assert not (plan.awards_w[LOCAL].any(axis=0) & plan.awards_w[GLOBAL].any(axis=0)).any()
    lights = [record.light for record in plan.records if record.light is not None]
    selections = [record for record in plan.records if record.selection is not None]
    for light, record in zip(lights, selections, strict=True):
        taken = np.zeros((2, light.n_perimeters, day.n_steps), np.int64)
        np.add.at(taken, (record.book.direction, record.book.perimeter), record.accepted_w)
        assert not taken[np.repeat(light.colour == RED, 4, axis=-1)].any()
        assert (taken <= light.capability_of_steps()).all()


@SLOW
@given(SEED, DATE, st.randoms(use_true_random=False))
def test_order_threads_and_repetition_change_nothing_and_money_adds_up(seed, date, random):
    city, day = cities.tiny(seed=seed), MarketDay(date)
    run = run_day(city, day)
    order = list(range(city.n_pods))
    random.shuffle(order)
    assert run_day(permuted(city, np.array(order)), day, n_threads=2).digest == run.digest
    assert run_day(city, day).digest == run.digest
    keys = ("operator", "aggregate", "direction", "hour")
    sums = []
    for name in ("settlement_pods", "settlement_lines"):
        total = Counter()
        for row in run.tables[name].to_pylist():
            total[tuple(row[key] for key in keys)] += row["net_ueur"]
        sums.append(total)
    assert sums[0] == sums[1]
