"""The documented small case, worked by hand (docs/explanation/schemes.md)."""

import dataclasses

import numpy as np
import pytest

from flexcore import Grid, power_flow
from flexcore.errors import OfferError, OptionError, ValidationError
from flexcore.market.schemes import Transmission, outcome_of, run_scheme, safety_level, scheme
from flexcore.market.schemes.clearing import StepState
from flexcore.market.schemes.compare import compare, default_schemes
from flexcore.market.schemes.example import CONCORDANT, CONGESTED, DISCORDANT, OFFERS, two_feeders
from flexcore.market.schemes.messages import AWARD, OFFER, POINT, count_messages
from flexcore.market.schemes.protection import remove_harmful

NAMES = [offer[0] for offer in OFFERS]


def taken(run, step):
    """Offers taken in a step, with their kW."""
    return {
        name: pytest.approx(power, abs=1e-3)
        for name, power in zip(NAMES, run.taken_kw[:, step], strict=True)
        if power > 1e-3
    }


def payments(run):
    """Per step, in EUR/MWh times kW."""
    return np.round(run.case.offers.price @ run.taken_kw, 2).tolist()


@pytest.mark.parametrize(
    ("name", "paid", "open_kwh", "worse"),
    [
        # 2 kW of A3 for the feeder; of the 3 kW up that the TSO wants, A3 already gives 2; B1 may take only 2 kW down
        ("coordinet_common", [0, 170, 230, 270], (0, 0, 0), 0),
        # plants: 1 kW up is missing beside A3's 2, or 5 kW down; for the line 3 kW up at node 1 and 3 down at node 0
        ("coordinet_fragmented", [0, 210, 270, 540], (0, 0, 0), 0),
        # nobody buys for feeder A: 2 kW stay open in both steps; B1 takes down more than its branch can carry
        ("coordinet_central", [0, 150, 30, 270], (4, 0, 0), 1),
        # only feeder A is served: the TSO's needs and line 0-1 stay open
        ("coordinet_local", [0, 120, 120, 0], (0, 2, 6), 0),
        ("d41", [0, 170, 230, 270], (0, 0, 0), 0),
        # the TSO buys 1 kW down at A2, which takes back what the DSO bought, and 4 kW down at B1, 2 more than fit
        ("coordinet_multi_level", [0, 170, 180, 270], (1, 0, 0), 1),
        # the same awards, B1's removed afterwards and not replaced; Platone knows no lines of transmission
        ("platone", [0, 170, 140, 0], (1, 2, 4), 0),
    ],
)
def test_worked_by_hand(name, paid, open_kwh, worse):
    run = run_scheme(two_feeders(), name)
    outcome = outcome_of(run)
    assert payments(run) == pytest.approx(paid, abs=0.05)
    left = (outcome.unserved_distribution_mwh, outcome.overload_transmission_mwh, outcome.imbalance_mwh)
    assert [1000 * x for x in left] == pytest.approx(open_kwh, abs=1e-3)
    assert outcome.violations_new == worse
    assert outcome.violations_before == 2


def test_discordant_local_activation_of_figure_15():
    """2 kW up for the feeder while the TSO wants down: all of it is discordant; while it wants up, none."""
    assert outcome_of(run_scheme(two_feeders(), "d41")).discordant_mwh == pytest.approx(0.002, abs=1e-6)


def test_an_anonymous_light_is_red_against_the_local_activation():
    """DTL-02: below the relieved branch nothing may go down; DTL-01: B may take 2 kW down."""
    cap = run_scheme(two_feeders(), "d41").stages[1].cap_kw
    up, down = cap[DISCORDANT]
    assert down.tolist() == pytest.approx([0.0, 2.0], abs=1e-3)
    assert up.tolist() == pytest.approx([3.0, 4.0], abs=1e-3)  # A2 (A3 is held), B1


def test_a_unit_that_the_dso_has_selected_is_out_for_the_tso():
    """MUT-01 and MUT-02: the other unit of the feeder stays; CoordiNet's multi-level market may use the rest of it."""
    case = two_feeders()
    line_too = np.zeros((3, 4))
    line_too[0] = 22.0
    case = dataclasses.replace(case, transmission=dataclasses.replace(case.transmission, flow_kw=line_too))
    free = run_scheme(case, safety_level("coordinet_multi_level", "L2"))
    exclusive = run_scheme(case, "d41")
    a3 = NAMES.index("A3 up")
    assert free.stages[1].kept_kw[a3, CONCORDANT] == pytest.approx(1.0, abs=1e-3)
    assert exclusive.stages[1].kept_kw[a3, CONCORDANT] == 0.0
    # A3's 2 kW leave 2/3 kW too much on the line: the rest of A3, or 1 kW of A2 at 100
    assert taken(exclusive, CONCORDANT)["A2 up"] == pytest.approx(1.0, abs=1e-3)


def test_the_same_power_selected_twice_is_counted_and_delivered_once():
    """INTERRFACE 1A at once: both operators want A3's 3 kW, and only 3 are there."""
    case = two_feeders()
    line_too = np.zeros((3, 4))
    line_too[0] = 22.0
    case = dataclasses.replace(case, transmission=dataclasses.replace(case.transmission, flow_kw=line_too))
    run = run_scheme(case, "interrface_1a_sim")
    a3 = NAMES.index("A3 up")
    assert run.stages[0].accepted_kw[a3, CONCORDANT] == pytest.approx(2.0, abs=1e-3)
    assert run.stages[1].accepted_kw[a3, CONCORDANT] == pytest.approx(3.0, abs=1e-3)
    assert run.stages[1].kept_kw[a3, CONCORDANT] == pytest.approx(1.0, abs=1e-3)
    assert outcome_of(run).double_mwh == pytest.approx(0.004, abs=1e-5)  # 2 kW in each of two steps


def test_the_price_of_the_interface_is_what_a_kwh_there_is_worth():
    """In the congested step 1 kW up at node 1 saves 2/3 kW on the line; B, at node 2, 1/3."""
    which = scheme("coordinet_fragmented").with_stage(0, interface="priced")
    run = run_scheme(two_feeders(), which)
    price = run.stages[0].interface_price
    # A3's 60 and 30 for a plant down are 90 for 2/3 kW: 135 a kW of line; B is worth 135/3 - 30
    assert price[:, CONGESTED].tolist() == pytest.approx([60.0, 15.0], abs=1e-6)
    assert payments(run) == pytest.approx([0, 170, 230, 270], abs=0.05)


def test_a_given_interface_price_is_taken_as_it_is():
    """At 40 EUR/MWh nobody sells up for the interface; at 55 B1 does, 4 kW in every step."""
    which = scheme("coordinet_fragmented").with_stage(0, interface="priced")
    for price, sold in ((40.0, 0.0), (55.0, 4.0)):
        run = run_scheme(two_feeders(), which, interface_price=np.full((2, 4), price))
        assert run.stages[0].kept_kw[NAMES.index("B1 up")].tolist() == pytest.approx([sold] * 4)


def test_a_bounded_interface_keeps_its_bounds_where_the_feeder_can():
    """The DSO may move 1 kW net: 2 kW of A3 for the branch, and no down of that feeder below it: 1 kW too much."""
    which = scheme("coordinet_fragmented").with_stage(0, interface="bounded")
    with pytest.raises(OptionError, match="FX-M305"):
        run_scheme(two_feeders(), which)
    run = run_scheme(two_feeders(), which, interface_bounds_kw=[[-1, 1], [-1, 1]])
    assert taken(run, CONCORDANT)["A3 up"] == pytest.approx(2.0, abs=1e-3)  # the need is dearer than the schedule
    free = run_scheme(two_feeders(), which, interface_bounds_kw=[[-np.inf, np.inf]] * 2)
    assert payments(free) == payments(run_scheme(two_feeders(), "coordinet_fragmented"))


def test_a_transmission_network_from_its_grid_flows_as_dc_says():
    nodes = {"id": [0, 1, 2], "v_nom_kv": [220.0] * 3, "slack": [True, False, False]}
    branches = {
        "id": [0, 1, 2], "from_id": [0, 1, 0], "to_id": [1, 2, 2], "r_ohm": [0.1] * 3, "x_ohm": [3.0, 4.0, 5.0],
        "s_max_kva": [1e5, np.inf, 8e4],
    }  # fmt: skip
    grid = Grid.from_tables(nodes, branches, meshed=True)
    p = np.array([[0.0], [3e4], [5e4]])
    found = Transmission.from_grid(grid, p)
    assert found.limit_kw.tolist() == [1e5, 8e4]
    up = np.array([0.0, 1e3, 2e3])
    after = power_flow(grid, p - up[:, None], np.zeros_like(p), method="dc", outputs=("branch_p_kw",)).branch_p_kw
    assert (found.flow_kw[:, 0] + found.ptdf @ up).tolist() == pytest.approx(after[[0, 2], 0].tolist(), rel=1e-9)


def test_market_parties_buy_what_is_worth_its_cost():
    """At 70 B1's 50 is worth it; at 45 only where the TSO would else pay a plant 30 for the opposite direction."""
    run = run_scheme(two_feeders(trade_kw=3.0, trade_price=70.0), "smartnet_e")
    assert run.trade_kw[0].tolist() == pytest.approx([3.0, 3.0, 3.0, 3.0], abs=1e-6)
    run = run_scheme(two_feeders(trade_kw=3.0, trade_price=45.0), "smartnet_e")
    assert run.trade_kw[0].tolist() == pytest.approx([0.0, 0.0, 3.0, 3.0], abs=1e-6)


def test_efficiency_is_for_the_safe_and_served_only():
    found = compare(two_feeders())
    assert [o.scheme for o in found.outcomes] == [which.name for which in default_schemes()]
    assert found.efficiency(found["d41"]) == pytest.approx(1.0, abs=1e-6)
    assert found.efficiency(found["coordinet_fragmented"]) == pytest.approx(0.0, abs=1e-9)
    for name in ("coordinet_central", "coordinet_local", "platone", "coordinet_multi_level_l0"):
        assert np.isnan(found.efficiency(found[name])), name
    table = found.to_arrow()
    assert table.num_rows == len(default_schemes())
    assert table["safe"].to_pylist() == [o.safe for o in found.outcomes]


def test_computable_criteria_of_figure_2_point_the_same_way():
    found = compare(two_feeders(), ["smartnet_a", "smartnet_b", "smartnet_c", "smartnet_d1", "smartnet_e"])
    criteria = {c.name: c for c in found.figure_2()}
    assert len(criteria) == 7
    grid = criteria["respects distribution constraints"]
    assert (grid.agreeing, grid.pairs) == (4, 4)
    assert criteria["liquidity"].pairs == 0


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_change_no_bit(n_threads):
    case = two_feeders()
    for which in ("d41", "coordinet_common", "platone"):
        once = run_scheme(case, which).taken_kw
        assert run_scheme(case, which, n_threads=n_threads).taken_kw.tobytes() == once.tobytes()


def test_bad_cases_are_refused():
    case = two_feeders()
    offers = dataclasses.replace(case.offers, t_node=np.full(len(OFFERS), 9, np.int32))
    with pytest.raises(OfferError, match="FX-M303"):
        dataclasses.replace(case, offers=offers)
    offers = dataclasses.replace(case.offers, static_kw=case.offers.quantity_kw * 2)
    with pytest.raises(OfferError, match="FX-M304"):
        dataclasses.replace(case, offers=offers)
    with pytest.raises(ValidationError, match="FX-A001"):
        dataclasses.replace(case, balance_kw=np.zeros(3))
    with pytest.raises(ValidationError, match="FX-A001"):
        run_scheme(case, "d41", interface_price=np.zeros((1, 4)))
    with pytest.raises(ValidationError, match="FX-A006"):
        run_scheme(case, "d41", curve_points=1)


def test_what_market_parties_pay_is_no_efficiency():
    """The integrated market costs less than the common one because it sells: it serves other needs."""
    found = compare(two_feeders(trade_kw=3.0, trade_price=70.0), ["smartnet_e", "smartnet_d1"])
    assert found["smartnet_e"].cost_eur < found["smartnet_d1"].cost_eur
    assert np.isnan(found.efficiency(found["smartnet_e"]))
    assert found.efficiency(found["smartnet_d1"]) == pytest.approx(1.0)


def test_offers_are_sent_once_and_not_where_curves_replace_them():
    """16 records of plants (4 steps), 20 of the feeders: forwarded by 2 DSOs, or replaced by their curves."""
    case = two_feeders()
    sent = {level: run_scheme(case, safety_level("coordinet_multi_level", level)) for level in ("L0", "L4")}
    awards = {level: sum(int((r.kept_kw > 0).sum()) for r in run.stages) for level, run in sent.items()}
    traffic = {level: count_messages(run).n_bytes - AWARD * awards[level] for level, run in sent.items()}
    forwarded = int(sent["L0"].stages[1].seen[:5].sum())
    assert traffic["L0"] == OFFER * (20 + 12 + forwarded)
    assert traffic["L4"] == OFFER * (20 + 12) + POINT * sent["L4"].stages[1].n_rounds


def test_the_filter_takes_back_the_awards_of_the_buyer_who_was_served_last():
    """Platone: the DSO's dear award came first and stays; the TSO's cheap ones, matched after it, go."""
    case = two_feeders()
    n = len(OFFERS)
    awards = np.zeros((2, n))
    awards[0, NAMES.index("A2 up")] = 3.0  # the DSO's, at 100
    awards[1, NAMES.index("A3 up")] = 3.0  # the TSO's, at 60
    state = StepState.of(case, CONCORDANT, np.zeros(n), np.zeros(1))
    tight = case.layout.upper.copy()
    case.layout.upper[CONCORDANT] = np.minimum(case.layout.upper[CONCORDANT], 4.0)
    place = np.argsort(np.argsort(case.offers.price))
    kept = remove_harmful(case, CONCORDANT, state, awards, place)
    case.layout.upper[:] = tight
    assert kept[NAMES.index("A2 up")] == 3.0
    assert kept[NAMES.index("A3 up")] == 0.0


def test_markets_side_by_side_count_on_the_schedule():
    """SmartNet C: where the local market leaves its schedule, the TSO does not know and buys nothing for it."""
    case = two_feeders()
    # nothing can go down in feeder A, so that its 2 kW up leave the schedule
    quantity = case.offers.quantity_kw.copy()
    quantity[NAMES.index("A2 down")] = 0.0
    case = dataclasses.replace(case, offers=dataclasses.replace(case.offers, quantity_kw=quantity, static_kw=quantity))
    outcome = outcome_of(run_scheme(case, "smartnet_c"))
    assert outcome.imbalance_mwh == pytest.approx(0.004, abs=1e-6)  # 2 kW in each of two steps
