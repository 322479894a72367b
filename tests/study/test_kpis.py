"""Key figures by hand, and the cases in which none may be given."""

import math

import numpy as np

from flexcore.study import kpis


def values(rows):
    return {row.part: row.value for row in rows}


def test_saved_tests():
    got = values(kpis.prequalification(tests_done=6, tests_without=8, n_qualified=4))
    assert got[""] == 0.25
    assert got["tests_per_service"] == 1.5
    assert math.isnan(values(kpis.prequalification(0, 0, 0))[""])


def test_impact_is_the_product_of_its_causes():
    got = values(kpis.local_impact(8_000_000, 6_000_000, 5_000_000, 4_000_000, 1_000_000))
    assert got[""] == 1 / 8
    causes = ("static_light", "local_sessions", "market_time_unit", "dynamic_light")
    assert math.isclose(math.prod(got[cause] for cause in causes), got[""])
    assert [got[cause] for cause in causes] == [6 / 8, 5 / 6, 4 / 5, 1 / 4]
    assert got["deliverable_mwh"] == 0.25


def test_efficiency_spans_from_fragmented_to_common():
    assert values(kpis.market_efficiency(10, 30, 100, 20, True))[""] == 0.75
    assert values(kpis.market_efficiency(10, 10, 100, 20, True))[""] == 1
    assert values(kpis.market_efficiency(10, 90, 100, 20, True))[""] == 0


def test_unsafe_or_spanless_outcomes_get_no_efficiency():
    assert math.isnan(values(kpis.market_efficiency(10, 30, 100, 20, False))[""])
    assert math.isnan(values(kpis.market_efficiency(10, 30, 20, 20, True))[""])


def test_a_provider_stays_only_with_profit_in_both_halves():
    got = values(kpis.continuance(np.array([[5, 5], [5, -1], [0, 3], [7, 1]])))
    assert got[""] == 0.5
    assert got["staying"] == 2
    assert math.isclose(got["profit_eur"], 25e-6)
