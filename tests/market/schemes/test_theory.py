"""What theory says about schemes, on random two-level networks (notes on coordination, section 2)."""

import dataclasses

import numpy as np
import pytest

from flexcore.market.schemes import outcome_of, presets, run_scheme, safety_level, scheme
from flexcore.market.schemes.compare import priced_schemes
from tests.market.schemes.cases import random_case

SOME = 12
MANY = [SOME, pytest.param(500, marks=pytest.mark.nightly)]
REL = 1e-7


def cases(n, **kinds):
    """Random cases of several shapes, the same on every run."""
    for seed in range(n):
        rng = np.random.default_rng(seed)
        shape = [(14, 2, 3), (9, 1, 1), (20, 3, 4), (12, 2, 2)][seed % 4]
        yield random_case(rng, n_nodes=shape[0], n_systems=shape[1], n_t=shape[2], voltage=seed % 5 > 0, **kinds)


def result(case, which, **options):
    return outcome_of(run_scheme(case, which, **options))


def close(one, other):
    return abs(one - other) <= REL * (1.0 + abs(one) + abs(other))


def at_most(one, other):
    return one <= other + REL * (1.0 + abs(one) + abs(other))


@pytest.mark.parametrize("n", MANY)
def test_no_safe_scheme_costs_less_than_the_common_market(n):
    """Every outcome that keeps the grid is one that the common market could have chosen; unsafe ones do cost less."""
    cheaper_unsafe = compared = 0
    every = [s for s in presets().values() if s.name != "coordinet_common"]
    every += [safety_level("coordinet_multi_level", level) for level in ("L0", "L1", "L2", "L3", "L4")]
    for case in cases(n):
        common = result(case, "coordinet_common")
        assert common.safe
        for which in every:
            other = result(case, which)
            if other.safe:
                assert at_most(common.cost_eur, other.cost_eur), which.name
                compared += 1
            else:
                cheaper_unsafe += other.payment_eur < common.payment_eur
    assert compared > 10 * n
    assert cheaper_unsafe > 0


@pytest.mark.parametrize("n", MANY)
def test_priced_interfaces_reach_the_common_market(n):
    """Marques et al.: multi-level and fragmented converge to common where the interface flow is priced optimally."""
    dearer = 0
    for case in cases(n):
        common = result(case, "coordinet_common").cost_eur
        for which in priced_schemes():
            priced = result(case, which)
            assert priced.safe
            assert close(priced.cost_eur, common), which.name
        dearer += not close(result(case, "coordinet_fragmented").cost_eur, common)
    assert dearer > 0


@pytest.mark.parametrize("n", MANY)
def test_a_wider_light_never_raises_the_cost_of_the_second_market(n):
    """Raising a capability of the dynamic traffic light only adds choices to the TSO's clearing."""
    from flexcore.market.schemes.clearing import StageOrder, StepState, clear_stage
    from flexcore.market.schemes.protection import dynamic_light

    changed = 0
    for number, case in enumerate(cases(n)):
        rng = np.random.default_rng(1000 + number)
        nothing = np.zeros_like(case.offers.quantity_kw)
        cap = dynamic_light(case, nothing, case.offers.quantity_kw)[0]
        wider = cap + rng.uniform(0.0, 4.0, cap.shape) * (rng.random(cap.shape) < 0.5)
        state = StepState.of(case, 0, nothing[:, 0], np.zeros(0))
        costs = []
        for light in (cap, wider):
            order = StageOrder(
                np.ascontiguousarray(case.offers.quantity_kw[:, 0]), frozenset({"balance", "t_congestion"}),
                sees_d=False, sees_t=True, cap_kw=light,
            )  # fmt: skip
            costs.append(clear_stage(case, 0, state, order).objective)
        assert at_most(costs[1], costs[0])
        changed += not close(*costs)
    assert changed > 0


@pytest.mark.parametrize("n", MANY)
def test_one_more_offer_never_raises_the_cost_of_the_common_market(n):
    cheaper = 0
    for number, case in enumerate(cases(n)):
        which = np.random.default_rng(2000 + number).random(case.offers.n_offers) < 0.3
        fewer = dataclasses.replace(
            case.offers,
            quantity_kw=np.where(which[:, None], 0.0, case.offers.quantity_kw),
            static_kw=np.where(which[:, None], 0.0, case.offers.static_kw),
        )
        with_all = result(case, "coordinet_common").cost_eur
        without = result(dataclasses.replace(case, offers=fewer), "coordinet_common").cost_eur
        assert at_most(with_all, without)
        cheaper += not close(with_all, without)
    assert cheaper > 0


@pytest.mark.parametrize("n", MANY)
def test_the_filter_afterwards_never_beats_constraints_inside(n):
    """Platone removes awards and replaces none; the same book with the grid inside one clearing is at least as good."""
    worse = 0
    inside = scheme("platone").with_stage(
        0, check="inside", grid_seen="t+d", interface="internal", priority=("cost",),
        needs=("balance", "t_congestion", "d_congestion"),
    )  # fmt: skip
    for case in cases(n):
        filtered, whole = result(case, "platone"), result(case, inside)
        assert filtered.safe
        assert at_most(whole.cost_eur, filtered.cost_eur)
        worse += not close(whole.cost_eur, filtered.cost_eur)
    assert worse > 0


@pytest.mark.parametrize("n", MANY)
def test_integrated_without_commercial_bids_is_common(n):
    different = 0
    for case in cases(n, trade=True):
        none = dataclasses.replace(case, bids=type(case.bids).none(case.n_steps))
        common = result(none, "coordinet_common")
        assert close(result(none, "coordinet_integrated").cost_eur, common.cost_eur)
        traded = result(case, "smartnet_e")
        assert traded.safe
        assert at_most(traded.cost_eur, common.cost_eur)  # a bid that is not worth its cost is not served
        different += traded.trade_mwh > 0
    assert different > 0


@pytest.mark.parametrize("n", MANY)
def test_levels_of_grid_safety(n):
    """L2, L3 and L4 keep the grid; L3 is the cheapest of them, whatever the points of the curve."""
    unsafe = 0
    for case in cases(n):
        found = {level: result(case, safety_level("coordinet_multi_level", level)) for level in ("L0", "L2", "L3")}
        curves = [
            result(case, safety_level("coordinet_multi_level", "L4"), curve_points=points) for points in (2, 4, 8)
        ]
        unsafe += not found["L0"].safe
        for safe in (found["L2"], found["L3"], *curves):
            assert safe.safe
        for dearer in (found["L2"], *curves):
            assert at_most(found["L3"].cost_eur, dearer.cost_eur)
    assert unsafe > 0


@pytest.mark.parametrize("n", MANY)
def test_two_steps_never_cost_less_than_one(n):
    """SmartNet D2 against D1: the same information, but the TSO cannot undo what the DSO has bought."""
    dearer = 0
    for case in cases(n):
        one, two = result(case, "smartnet_d1"), result(case, "smartnet_d2")
        assert two.safe
        assert at_most(one.cost_eur, two.cost_eur)
        dearer += not close(one.cost_eur, two.cost_eur)
    assert dearer > 0
