"""Schemes of one's own: every scheme that is accepted runs and keeps its word; the others are refused by code."""

import dataclasses

import numpy as np
import pytest

from flexcore.errors import OptionError
from flexcore.market.schemes import (
    Scheme,
    Stage,
    TradeBids,
    outcome_of,
    read_schemes,
    run_scheme,
    safety_level,
    scheme,
)
from flexcore.market.schemes.example import CONCORDANT, CONGESTED, DISCORDANT, OFFERS, two_feeders
from flexcore.market.schemes.stage import WORDS
from flexcore.units import DOWN
from tests.market.schemes.cases import random_case

NAMES = [offer[0] for offer in OFFERS]
BUY_LOCAL = Stage(("dso",), ("d_congestion",), ("d",), grid_seen="d", check="inside")
BALANCE = Stage(("tso",), ("balance",), ("t", "d"))


def one(*stages):
    return Scheme("mine", "Mine", stages)


def random_stage(rng):
    """Any words at all; most combinations contradict themselves."""
    drawn = {}
    for name, words in WORDS.items():
        if name in ("buyers", "needs", "offers"):
            drawn[name] = tuple(rng.permutation(words)[: rng.integers(1, len(words) + 1)].tolist())
        else:
            drawn[name] = str(rng.choice(words))
    drawn["offers"] = ("t", "d") if rng.random() < 0.5 else (*{*drawn["offers"], "d"},)
    drawn["priority"] = ("cost",) if rng.random() < 0.6 else tuple(rng.permutation(drawn["buyers"]).tolist())
    return Stage(**drawn)


@pytest.mark.parametrize("n", [2500, pytest.param(60_000, marks=pytest.mark.nightly)])
def test_every_accepted_scheme_runs(n):
    """Nothing beyond the offers is taken, nothing beyond a bid is sold, and what is checked is safe."""
    ran = traded = 0
    for seed in range(n):
        rng = np.random.default_rng(seed)
        try:
            which = one(*(random_stage(rng) for _ in range(rng.integers(1, 4))))
        except OptionError:
            continue
        small = two_feeders(trade_kw=3.0, trade_price=70.0)
        drawn = random_case(rng, n_nodes=12, n_systems=2, n_t=int(rng.integers(1, 5)), trade=True, n_steps=1)
        for case in (small, drawn):
            run = run_scheme(case, which, interface_bounds_kw=[[-1, 1]] * 2)
            outcome = outcome_of(run)
            assert (run.taken_kw >= 0).all()
            assert (run.taken_kw <= case.offers.quantity_kw + 1e-6).all()
            assert (run.trade_kw <= case.bids.quantity_kw + 1e-6).all()
            kept = ("inside", "dynamic", "ex_post")
            if all(stage.check in kept and stage.forward != "same_book" for stage in which.stages):
                assert outcome.safe, which
            traded += outcome.trade_mwh > 0
            ran += 1
    assert ran > n // 50
    assert traded > 0


@pytest.mark.parametrize(
    ("stages", "word"),
    [
        ([dataclasses.replace(BALANCE, buyers=("dso",))], "need 'tso'"),
        ([Stage(("brp",), ("trade",), ("t", "d"))], "beside it"),
        ([Stage(("peers", "tso"), ("balance",), ("d",), grid_seen="d", check="inside")], "among themselves"),
        ([Stage(("peers",), ("balance",), ("d",), grid_seen="t+d", check="inside")], "and no other"),
        ([Stage(("peers",), ("balance",), ("d",), "d", "fixed", check="inside")], "across interfaces"),
        ([dataclasses.replace(BALANCE, interface="priced")], "where DSOs buy"),
        ([dataclasses.replace(BUY_LOCAL, forward="curve"), BUY_LOCAL], "curves are weighed"),
        ([dataclasses.replace(BUY_LOCAL, grid_seen="none", interface="internal")], "inside"),
        ([dataclasses.replace(BALANCE, priority=("tso", "tso"))], "order of all buyers"),
        ([dataclasses.replace(BALANCE, priority=(["tso"],))], "priority is"),
        ([dataclasses.replace(BALANCE, offers=["t"])], "offers is"),
    ],
)
def test_what_a_clearing_could_not_keep_is_refused(stages, word):
    with pytest.raises(OptionError, match=word) as caught:
        one(*stages)
    assert {finding.code for finding in caught.value.findings} == {"FX-M301"}


@pytest.mark.parametrize(
    "text",
    [
        'title = "x"',
        "[mine]\nstages = 3",
        "[mine]\nstages = [3]",
        "[[mine]]",
        '[mine]\ncolour = 1\n[[mine.stages]]\nbuyers = ["tso"]\nneeds = ["balance"]\noffers = ["t"]',
    ],
)
def test_files_that_are_no_schemes_are_refused_by_code(text):
    with pytest.raises(OptionError, match="FX-M302"):
        read_schemes(text)


def test_any_name_and_title_survive_toml():
    mine = scheme("d41").renamed("my own.scheme", 'a "quoted" title, \\ and é')
    assert read_schemes(mine.to_toml()) == {mine.name: mine}


def test_buyers_in_an_order_share_one_light():
    """B may take 2 kW down under the light; the market party gets 2 of its 3 kW, and the TSO no more of B."""
    case = two_feeders()
    bids = TradeBids(np.array([DOWN], np.int8), np.full((1, 4), 3.0), np.array([70.0]))
    case = dataclasses.replace(case, bids=bids)
    which = one(
        dataclasses.replace(BUY_LOCAL, forward="unselected"),
        Stage(("brp", "tso"), ("balance", "trade"), ("d",), priority=("brp", "tso"), check="dynamic"),
    )
    run = run_scheme(case, which)
    assert run.taken_kw[NAMES.index("B1 down"), DISCORDANT] == pytest.approx(2.0, abs=1e-3)
    assert outcome_of(run).safe


def test_what_is_sold_is_there_and_sold_once():
    """First market parties, then the TSO: its need stays what it was; a second market sells no more of a bid."""
    case = two_feeders(trade_kw=3.0, trade_price=70.0)
    both = Stage(("brp", "tso"), ("balance", "trade"), ("t", "d"), forward="remaining", priority=("brp", "tso"))
    run = run_scheme(case, one(both, both))
    assert run.trade_kw[0].tolist() == pytest.approx([3.0] * 4)
    net = case.offers.sign @ run.taken_kw
    assert net.tolist() == pytest.approx((case.balance_kw + 3.0).tolist(), abs=1e-6)
    assert outcome_of(run).imbalance_mwh == pytest.approx(0.0, abs=1e-9)


def test_a_book_that_is_closed_holds_what_nobody_took():
    """INTERRFACE 1A at once: the balancing market after both sees neither the DSO's nor the TSO's kW."""
    case = dataclasses.replace(two_feeders(), balance_kw=np.array([0.0, 10.0, 0.0, 0.0]))
    first = dataclasses.replace(BUY_LOCAL, forward="same_book")
    idle = Stage(("tso",), ("t_congestion",), ("d",), grid_seen="t", forward="remaining")
    run = run_scheme(case, one(first, idle, dataclasses.replace(BALANCE, offers=("d",))))
    last, a3 = run.stages[2], NAMES.index("A3 up")
    assert run.stages[0].kept_kw[a3, CONCORDANT] == pytest.approx(2.0, abs=1e-3)
    assert (last.accepted_kw == last.kept_kw).all()
    assert outcome_of(run).double_mwh == 0.0


def test_a_filter_afterwards_minds_what_earlier_stages_took():
    """A first market has filled feeder B with 2 kW down: the kW that a second one takes there does not fit."""
    first = Stage(("tso",), ("balance",), ("d",), grid_seen="d", forward="remaining", check="inside")
    run = run_scheme(two_feeders(), one(first, dataclasses.replace(BALANCE, offers=("d",), check="ex_post")))
    b1 = NAMES.index("B1 down")
    assert run.stages[1].accepted_kw[b1, DISCORDANT] == pytest.approx(1.0, abs=1e-3)
    assert run.stages[1].kept_kw[b1, DISCORDANT] == 0.0
    assert outcome_of(run).safe


def test_an_offer_of_an_odd_price_elsewhere_leaves_no_need_open():
    """B1 pays 5,000 EUR/MWh to go down: no reason for the DSO to buy it, nor to leave feeder A overloaded."""
    case = two_feeders()
    price = np.where(np.arange(len(NAMES)) == NAMES.index("B1 down"), -5000.0, case.offers.price)
    case = dataclasses.replace(case, offers=dataclasses.replace(case.offers, price=price))
    run = run_scheme(case, "coordinet_local")
    assert outcome_of(run).unserved_distribution_mwh == pytest.approx(0.0, abs=1e-6)
    assert run.taken_kw[NAMES.index("B1 down")].max() == 0.0


def test_a_given_price_is_recorded_and_bounds_that_cross_are_refused():
    price = np.full((2, 4), 55.0)
    run = run_scheme(
        two_feeders(), scheme("coordinet_fragmented").with_stage(0, interface="priced"), interface_price=price
    )
    assert (run.stages[0].interface_price == 55.0).all()
    bounded = scheme("coordinet_fragmented").with_stage(0, interface="bounded")
    for bounds in ([1.0, -1.0], [np.nan, 1.0], [np.inf, np.inf]):
        with pytest.raises(OptionError, match="FX-M306"):
            run_scheme(two_feeders(), bounded, interface_bounds_kw=[bounds, [-1.0, 1.0]])


def test_a_level_of_safety_keeps_the_rule_of_one_operator_a_unit():
    """L2 of D4.1's scheme is D4.1's scheme, also where the rest of a unit would relieve a line best."""
    case, flow = two_feeders(), np.zeros((3, 4))
    flow[0] = 22.0
    case = dataclasses.replace(case, transmission=dataclasses.replace(case.transmission, flow_kw=flow))
    assert (run_scheme(case, safety_level("d41", "L2")).taken_kw == run_scheme(case, "d41").taken_kw).all()


def test_units_activated_for_congestion_are_out_of_balancing():
    """INTERRFACE 2B: A3 is used for the line; its rest at 60 is not balanced with, a plant at 90 is."""
    case = two_feeders()
    flow, balance = np.zeros((3, 4)), np.zeros(4)
    flow[0, CONGESTED], balance[CONGESTED] = 21.0, 8.0
    case = dataclasses.replace(
        case, transmission=dataclasses.replace(case.transmission, flow_kw=flow), balance_kw=balance
    )
    used = [record.kept_kw[:, CONGESTED] > 1e-6 for record in run_scheme(case, "interrface_2b").stages]
    units = [set(case.offers.unit[which].tolist()) for which in used]
    assert units[0]
    assert units[1]
    assert not units[0] & units[1]


def test_what_curves_sell_is_moved_at_any_price():
    """A3 at 1,200 EUR/MWh is dearer than imbalance, and worth it for the line: L4 buys it as L3 does."""
    case = two_feeders()
    case = dataclasses.replace(case, offers=dataclasses.replace(case.offers, price=case.offers.price * 20.0))
    a3 = NAMES.index("A3 up")
    for level in ("L3", "L4"):
        run = run_scheme(case, safety_level("coordinet_multi_level", level))
        assert run.taken_kw[a3, CONGESTED] == pytest.approx(3.0, abs=1e-3), level
