"""The sessions of D4.1 section 6.3 over any clearing: its examples as a whole day, other schemes, random clearings."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flexcore as fx
from flexcore.errors import OfferError, StateError, TimeSeriesError, ValidationError
from flexcore.market.award_cut import cut_awards
from flexcore.market.global_selection import residual_need
from flexcore.market.merit_order import MAX_W, select_capped
from flexcore.market.offers import offer_book
from flexcore.market.recovery import rebound
from flexcore.market.rolling import RollingMarket, StageRules, submit_before_gate
from flexcore.market.sessions import LFP_MSD, SKIPPED, Sequencer, Stage, session_times
from flexcore.market.slots import GLOBAL_FIRM, GLOBAL_PRELIMINARY, LOCAL_FIRM, Slots
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, GLOBAL, LOCAL, UP
from tests.grid.networks import feeder
from tests.reference.market_slots import requests

DAY = MarketDay("2026-05-20")
AGG_1, AGG_2 = [0, 1], [0, 1, 2, 3]  # Figure 11: AGG_1 lies inside AGG_2
POWER = np.broadcast_to(np.array([3_000, 2_000, 4_000, 1_000])[:, None], (2, 2, 4, 96))
HOUR_1, HOUR_6 = slice(0, 4), slice(20, 24)


def book_of(operator, *lines, n_pods=4, n_steps=96):
    """Lines of (direction, price, pods)."""
    return offer_book(
        operator=operator,
        line_id=[f"{'local' if operator == LOCAL else 'global'} {i}" for i in range(len(lines))],
        aggregate=list(range(len(lines))),
        bsp=[0] * len(lines),
        direction=[way for way, _, _ in lines],
        node=[0] * len(lines),
        perimeter=[0] * len(lines),
        price_ueur_per_mwh=[price for _, price, _ in lines],
        submitted_at=0,
        indptr=np.cumsum([0, *(len(pods) for _, _, pods in lines)]),
        pods=[pod for _, _, pods in lines for pod in pods],
        n_pods=n_pods,
        n_steps=n_steps,
    )


BOOKS = {LOCAL: book_of(LOCAL, (UP, 1, AGG_1)), GLOBAL: book_of(GLOBAL, (UP, 1, AGG_2))}


def hours(power_w, *windows):
    wanted = np.zeros(96, np.int64)
    for window in windows:
        wanted[window] = power_w
    return wanted


def merit_order(needs, session, books, market):
    """Plain merit order: `needs` gives upward W per step by session name; what does not stand there is not needed."""
    need = needs.get(session.name, hours(0))
    none = np.zeros(DAY.n_steps, np.int64)
    need = np.where(np.arange(DAY.n_steps) >= session.plan.start, need, none)
    return [
        select_capped(
            book.price_ueur_per_mwh,
            book.submitted_at,
            book.line_id,
            np.where(book.direction[:, None] == UP, book.quantity_w, 0),
            np.zeros(book.n_lines, int),
            need,
            np.full((1, DAY.n_steps), MAX_W),
        )
        for book in books
    ]


def light(session, purchases, market):
    return session.number


def run(needs, *, power_w=POWER, **options):
    market = RollingMarket(DAY, BOOKS, power_w, **options)
    rule = partial(merit_order, needs)
    market.run({"LFP": StageRules(rule, check=light), "MSD": StageRules(rule)})
    return market


def record(market, name):
    return next(found for found in market.records if found.session.name == name)


@pytest.mark.rule("SES-01")
@pytest.mark.rule("SES-02")
def test_table_9_each_pair_makes_four_hours_firm_and_plans_the_rest_of_the_day():
    seen = []

    def clear(session, books, market):
        seen.append((session.name, session.firm.start // 4, session.firm.stop // 4, session.plan.stop // 4))
        return [book.quantity_w for book in books]  # all that is offered

    market = RollingMarket(DAY, {LOCAL: book_of(LOCAL, (UP, 1, [0])), GLOBAL: book_of(GLOBAL, (UP, 1, [2]))}, POWER)
    market.run({"LFP": StageRules(clear, check=light), "MSD": StageRules(clear)})
    # Table 9: day-ahead 0-4 definitive and 4-24 preliminary, then 4-8, 8-12, ... in each intraday pair
    assert seen == [(f"{name}_{k}", 4 * k - 4, 4 * k, 24) for k in range(1, 7) for name in ("LFP", "MSD")]
    for found in market.records:
        own = 1 + 2 * found.session.operator
        rows = found.unavailability
        firm = rows.state == own + 1
        assert (rows.start[firm].min(), rows.stop[firm].max()) == (0, found.session.firm.stop)
        assert (rows.start[rows.state == own] == found.session.firm.stop).all()
    assert (market.slots.state[0] == LOCAL_FIRM).all()
    assert (market.slots.state[2] == GLOBAL_FIRM).all()


@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MUT-03")
def test_hour_6_taken_in_the_first_msd_is_not_there_for_the_second_lfp():
    power_w = POWER.copy()
    power_w[LOCAL, :, 2:] = 0  # PODs outside AGG_1
    needs = {"MSD_1": hours(10_000, HOUR_6), "LFP_2": hours(5_000, HOUR_6), "MSD_2": hours(4_000, HOUR_6)}
    market = run(needs, power_w=power_w)
    taken = record(market, "MSD_1")
    assert (taken.purchases[0].accepted_w[0, HOUR_6] == 10_000).all()
    rows = taken.unavailability.preliminary
    assert list(zip(rows.pod, rows.state, rows.start, rows.stop, strict=True)) == [
        (pod, GLOBAL_PRELIMINARY, 20, 24) for pod in range(4)
    ]
    second = record(market, "LFP_2").purchases[0]
    assert not second.book.quantity_w[0, HOUR_6].any()
    assert (second.book.quantity_w[0, 24:] == 5_000).all()
    assert not second.accepted_w.any()
    assert second.blocked_pods == 2
    # MSD_2 plans hour 6 anew: POD 2 alone carries 4 kW, which it carried before, the rest is given back
    rows = {(row["session"], row["market"]): row for row in market.redispatch_table().to_pylist()}
    wanted = {"before_mwh": 0.01, "kept_mwh": 0.004, "released_mwh": 0.006, "new_mwh": 0.0, "firm_mwh": 0.004}
    assert {name: rows[2, "MSD"][name] for name in wanted} == wanted
    assert rows[1, "MSD"]["new_mwh"] == 0.01
    assert market.slots.state[:, 20].tolist() == [0, 0, GLOBAL_FIRM, 0]


@pytest.mark.rule("MUT-02")
@pytest.mark.rule("MUT-04")
def test_an_aggregate_partly_selected_in_hour_1_leaves_its_other_pods_to_the_late_market():
    market = run({"LFP_1": hours(2_500, HOUR_1), "MSD_1": hours(10_000, HOUR_1)})
    # POD 0 carries the local award alone and is held as a whole: its other 500 W are lost to the TSO
    assert market.awards_w[LOCAL, UP, :, 0].tolist() == [2_500, 0, 0, 0]
    assert market.awards_w[GLOBAL, UP, :, 0].tolist() == [0, 2_000, 4_000, 1_000]
    assert (record(market, "MSD_1").purchases[0].accepted_w[0, HOUR_1] == 7_000).all()


@pytest.mark.rule("MSD-03")
@pytest.mark.rule("OFR-02")
def test_step_3b_and_step_5_a_bsp_that_offers_what_is_selected_is_cut_at_the_gate():
    needs = {"LFP_1": hours(5_000, HOUR_1), "MSD_1": hours(10_000, HOUR_1)}
    dutiful, careless = run(needs), run(needs, submit=submit_before_gate([True]))
    cut = record(careless, "MSD_1").purchases[0]
    assert [finding.code for finding in cut.findings] == ["FX-O102"]
    assert cut.restatement.per_bsp(1)[0].tolist() == [1]
    assert not record(dutiful, "MSD_1").purchases[0].findings
    # the TSO's double check (step 3b) leads to the same selection as the BSP's own update of its offers (step 5)
    assert np.array_equal(dutiful.awards_w, careless.awards_w)
    withdrawn = run(needs, submit=submit_before_gate([True]), gate_policy="withdraw")
    assert [finding.code for finding in record(withdrawn, "MSD_1").purchases[0].findings] == ["FX-O103"]
    assert not withdrawn.awards_w[GLOBAL].any()


@pytest.mark.rule("MSD-01")
@pytest.mark.rule("MSD-02")
@pytest.mark.parametrize(("local_way", "bought"), [(UP, 4_000), (DOWN, 8_000)])
def test_figure_15_a_concordant_local_sum_spares_the_tso_energy_a_discordant_one_costs_it_more(local_way, bought):
    books = {LOCAL: book_of(LOCAL, (local_way, 1, AGG_1)), GLOBAL: book_of(GLOBAL, (UP, 1, AGG_2))}
    more_power = POWER * 2
    need = np.zeros((1, 24), np.int64)
    need[0, 0] = 6_000
    residuals = []

    def local(session, books, market):
        wanted = hours(2_000, HOUR_1) if session.number == 1 else hours(0)
        return [np.minimum(books[0].quantity_w, wanted)]

    def globally(session, books, market):
        up, down = market.awards_w[LOCAL].sum(axis=1, keepdims=True)
        residuals.append(residual_need(need, up, down, DAY, steps=session.plan))
        return merit_order({session.name: residuals[-1].residual_w[0]}, session, books, market)

    market = RollingMarket(DAY, books, more_power)
    market.run({"LFP": StageRules(local, check=light), "MSD": StageRules(globally)})
    first = record(market, "MSD_1").purchases[0]
    assert (first.accepted_w[0, HOUR_1] == bought).all()
    assert residuals[0].discordant_w[0, 0] == (2_000 if local_way == DOWN else 0)
    # and without the POD of the local award, in either direction
    assert not market.awards_w[GLOBAL, :, 0, HOUR_1].any()


@pytest.mark.rule("SES-03")
def test_each_session_publishes_what_is_firm_and_what_is_preliminary():
    market = run({"LFP_1": hours(3_000, HOUR_1, HOUR_6), "MSD_1": hours(4_000, HOUR_1, HOUR_6)})
    first = record(market, "LFP_1").unavailability
    assert (first.session, first.market) == (1, "LFP")
    assert (first.firm.pod.tolist(), first.firm.start.tolist()) == ([0], [0])
    assert (first.preliminary.pod.tolist(), first.preliminary.start.tolist()) == ([0], [20])
    both = record(market, "MSD_1").unavailability
    assert both.firm.pod.tolist() == [0, 2]
    assert both.preliminary.pod.tolist() == [0, 2]
    # LFP_2 does not need hour 6 any more; what is firm stays
    later = record(market, "LFP_2").unavailability
    assert later.firm.pod.tolist() == [0, 2]
    assert later.preliminary.pod.tolist() == [2]
    assert not record(market, "MSD_6").unavailability.preliminary.pod.size
    assert all(found.unavailability is not None for found in market.records)


@pytest.mark.rule("SES-04")
def test_without_a_need_lfp_is_skipped_and_its_light_is_still_published():
    lights = []

    def needed(session, market):
        return session.number == 2

    def check(session, purchases, market):
        lights.append((session.name, session.skipped, purchases[0].accepted_w.any()))
        return session.number

    clear = partial(merit_order, {"LFP_2": hours(1_000, HOUR_6)})
    market = RollingMarket(DAY, BOOKS, POWER)
    market.run({"LFP": StageRules(clear, needed=needed, check=check), "MSD": StageRules(clear)})
    assert lights == [(f"LFP_{k}", k != 2, k == 2) for k in range(1, 7)]
    states = [found.session.skipped for found in market.records if found.session.market == "LFP"]
    assert states == [True, False, True, True, True, True]
    assert all(found.session.light_version == found.session.number for found in market.records[::2])
    assert SKIPPED not in [found.session.state for found in market.records]
    skipped, held = market.records[0].session, market.records[2].session
    assert market.sequencer.messages.of(skipped) == 1  # only the light
    assert market.sequencer.messages.of(held) == 5
    # a light that is due and missing stops the day
    broken = RollingMarket(DAY, BOOKS, POWER)
    with pytest.raises(StateError) as error:
        broken.run({"LFP": StageRules(clear), "MSD": StageRules(clear)})
    assert error.value.codes == ("FX-M106",)


@pytest.mark.rule("MUT-03")
@pytest.mark.rule("MUT-05")
def test_recovery_follows_what_the_sessions_plan_anew():
    slots = Slots(4, 96, recovery_steps=[0, 0, 4, 0])
    needs = {"MSD_1": hours(4_000, HOUR_6), "MSD_2": hours(4_000, slice(24, 28))}
    market = run(needs, slots=slots)
    first, last = record(market, "MSD_1").unavailability, record(market, "MSD_2").unavailability
    assert [(a, b) for a, b in zip(first.start, first.stop, strict=True)] == [(16, 20), (20, 24), (24, 28)]
    assert [(a, b) for a, b in zip(last.start, last.stop, strict=True)] == [(20, 24), (24, 28), (28, 32)]
    assert last.firm.start.tolist() == [20, 24, 28]
    # LFP_2 in between could not have used POD 2 in hours 5 to 7, nor MSD_3 in hour 8
    assert record(market, "LFP_2").unavailability.preliminary.pod.tolist() == [2, 2, 2]


@pytest.mark.rule("MUT-05")
def test_what_comes_back_after_a_global_award_enters_the_forecast_of_the_next_local_session():
    forecast_w, limit_w = 9_500, 10_000
    needs = {"MSD_1": hours(4_000, HOUR_6), "MSD_2": hours(4_000, HOUR_6)}

    def local(session, books, market):
        back = rebound(market.awards_w.sum(axis=0), [800] * 4, n_back=8)
        over = np.maximum(forecast_w + back.load_w.sum(axis=0) - limit_w, 0)
        return merit_order({session.name: over}, session, books, market)

    market = RollingMarket(DAY, BOOKS, POWER)
    market.run({"LFP": StageRules(local, check=light), "MSD": StageRules(partial(merit_order, needs))})
    # 4 kW for an hour, of which 80 % come back within two hours: 1.6 kW, 1.1 kW beyond the limit
    first, second = (record(market, f"LFP_{k}").purchases[0].accepted_w[0] for k in (1, 2))
    assert not first.any()
    assert (second[24:32] == 1_100).all()
    assert second.sum() == 8 * 1_100


@pytest.mark.rule("CHK-02")
def test_the_dso_takes_back_what_its_grid_cannot_carry_before_anything_is_published():
    # all four PODs lie at node 2, whose branch carries 8 kVA; 6 kW flow there, and the TSO asks for 4 kW more
    grid = feeder([-1, 0, 1], s_max=(np.inf, np.inf, 8.0), r=1e-6, x=1e-6)
    p_kw = np.zeros((3, 96))
    p_kw[2] = 6.0
    books = {GLOBAL: book_of(GLOBAL, (DOWN, 1, [0, 1, 3]), (UP, 1, [2]))}
    alone = (Stage("MSD", (GLOBAL,), 150, 105),)

    def clear(session, books, market):
        wanted = np.zeros(books[0].quantity_w.shape, np.int64)
        wanted[0] = hours(4_000, HOUR_6) if session.number == 1 else 0
        return [wanted]

    def check(session, purchases, market):
        (bought,) = purchases
        way, pod = np.nonzero(market.awards_w[GLOBAL].any(axis=2))
        awards_w = market.awards_w[GLOBAL][way, pod]
        cut = cut_awards(grid, p_kw, 0 * p_kw, node=np.full(pod.size, 2), direction=way, award_w=awards_w)
        cut_w = np.zeros_like(market.awards_w[GLOBAL])
        cut_w[way, pod] = cut.cut_w
        for wrong in (cut_w + market.awards_w[GLOBAL] + 1, np.roll(cut_w, 1, axis=0)):
            if wrong.any():
                with pytest.raises(OfferError) as error:
                    market.take_back(bought, wrong)
                assert error.value.codes == ("FX-M285",)
        market.take_back(bought, cut_w)
        cut.tell(market.sequencer.messages, session, np.zeros(pod.size, int))
        assert cut.after.n_violations == 0
        return 0

    market = RollingMarket(DAY, books, POWER, stages=alone)
    market.run({"MSD": StageRules(clear, check=check)})
    first = market.records[0]
    (bought,) = first.purchases
    # POD 0 gives 3 kW and POD 1 the fourth; of them 2 kW go, POD 0 first
    assert bought.cut_w[0, HOUR_6].tolist() == pytest.approx([2_000] * 4, abs=5)
    assert (bought.accepted_w + bought.cut_w)[0, 20] == 4_000
    assert market.redispatch_table()["cut_mwh"].to_pylist()[0] == pytest.approx(0.002, rel=1e-2)
    assert bought.n_slots_held == first.unavailability.pod.size * 4 == 8
    told = [row for row in market.sequencer.messages.to_arrow().to_pylist() if row["kind"] == "award cut"]
    assert [(row["receiver"], row["session"]) for row in told] == [("BSP", 1), ("TSO", 1)]
    # an award that is taken back in full leaves its POD free
    other = RollingMarket(DAY, books, POWER, stages=alone)

    def all_of_it(session, purchases, market):
        market.take_back(purchases[0], market.awards_w[GLOBAL])
        return 0

    other.run({"MSD": StageRules(clear, check=all_of_it)})
    assert not other.slots.state.any()
    assert other.records[0].purchases[0].n_slots_held == 0
    assert not other.records[0].unavailability.pod.size


def test_forecasts_may_change_the_power_from_session_to_session():
    def power_w(session, operator):
        return POWER[operator] // session.number

    needs = {f"MSD_{k}": hours(10_000, slice(80, 84)) for k in range(1, 7)}
    market = RollingMarket(DAY, BOOKS, power_w, n_pods=4)
    rule = partial(merit_order, needs)
    market.run({"LFP": StageRules(rule, check=light), "MSD": StageRules(rule)})
    got = [int(found.purchases[0].accepted_w[0, 80]) for found in market.records[1::2]]
    assert got == [10_000, 5_000, 3_332, 2_500, 2_000, 1_665]
    rows = [row for row in market.redispatch_table().to_pylist() if row["market"] == "MSD"]
    assert [row["released_mwh"] for row in rows] == pytest.approx([0, 0.005, 0.001668, 0.000832, 0.0005, 0.000335])


def test_fx_clear_can_be_the_clearing():
    tree = {"element": [0, 1, 2], "parent": [0, 0, 0]}
    book = book_of(LOCAL, (UP, 10, [0]), (UP, 20, [1]), (UP, 30, [2]))
    element = np.array([1, 1, 2])

    def clear(session, books, market):
        (book,) = books
        line, step = np.nonzero(book.quantity_w)
        steps = np.arange(session.plan.start, session.plan.stop)
        result = fx.clear(
            {
                "offer_id": line,
                "element": element[line],
                "direction": book.direction[line],
                "step": step,
                "quantity_w": book.quantity_w[line, step],
                "price_ueur_per_mwh": book.price_ueur_per_mwh[line],
            },
            {
                "element": np.zeros(steps.size, int),
                "direction": np.zeros(steps.size, int),
                "step": steps,
                "quantity_w": np.full(steps.size, 6_000),
            },
            {
                "element": np.ones(steps.size, int),
                "direction": np.zeros(steps.size, int),
                "step": steps,
                "capability_w": np.full(steps.size, 4_000),
            },
            parent=tree,
            day=market.day,
        )
        accepted = np.zeros(book.quantity_w.shape, np.int64)
        accepted[line, step] = result.accepted_w
        return [accepted]

    alone = (Stage("local", (LOCAL,), 210, 180),)
    market = RollingMarket(DAY, {LOCAL: book}, POWER, stages=alone)
    market.run({"local": StageRules(clear)})
    # the cheap ones up to what element 1 takes, the rest from below element 2
    assert (market.awards_w[LOCAL, UP] == np.array([3_000, 1_000, 2_000, 0])[:, None]).all()
    rows = market.redispatch_table().to_pylist()
    assert [row["kept_mwh"] for row in rows] == [row["before_mwh"] for row in rows]
    assert [round(row["before_mwh"], 6) for row in rows] == [0, 0.12, 0.096, 0.072, 0.048, 0.024]


JOINT = (Stage("joint", (LOCAL, GLOBAL), 150, 105),)
AGAIN = (Stage("first", (LOCAL,), 240, 210), Stage("second", (GLOBAL,), 200, 170), Stage("third", (LOCAL,), 150, 105))


@pytest.mark.rule("MUT-01")
def test_in_a_joint_market_both_buy_at_once_and_never_the_same_pod():
    pool = {operator: book_of(operator, (UP, 1, AGG_2)) for operator in (LOCAL, GLOBAL)}

    def clear(session, books, market):
        share = [hours(3_500, HOUR_1), hours(6_500, HOUR_1)]
        return [np.minimum(book.quantity_w, part) for book, part in zip(books, share, strict=True)]

    market = RollingMarket(DAY, pool, POWER, stages=JOINT)
    market.run({"joint": StageRules(clear)})
    first = record(market, "joint_1")
    local, globally = first.purchases
    # POD 2 serves the DSO, and its other 500 W nobody: of 6.5 kW the TSO gets the 6 kW of the other three
    assert market.awards_w[LOCAL, UP, :, 0].tolist() == [0, 0, 3_500, 0]
    assert market.awards_w[GLOBAL, UP, :, 0].tolist() == [3_000, 2_000, 0, 1_000]
    assert (local.short_w[0, HOUR_1] == 0).all()
    assert (globally.short_w[0, HOUR_1] == 500).all()
    assert (globally.accepted_w[0, HOUR_1] == 6_000).all()
    assert market.sequencer.messages.to_arrow()["sender"].to_pylist()[0] == "BSP"
    assert "DSO and TSO" in market.sequencer.messages.to_arrow()["receiver"].to_pylist()


@pytest.mark.rule("MUT-05")
def test_a_request_goes_on_into_the_next_session_without_a_pause():
    slots = Slots(4, 96, recovery_steps=[4] * 4)
    market = run({"LFP_1": hours(3_000, slice(0, 24)), "LFP_2": hours(3_000, slice(16, 24))}, slots=slots)
    assert (market.awards_w[LOCAL, UP, 0, :24] == 3_000).all()
    assert not market.awards_w[LOCAL, UP, 1].any()


@pytest.mark.rule("CHK-02")
def test_only_what_this_stage_awarded_can_be_taken_back():
    stages = (Stage("ONE", (GLOBAL,), 200, 180), Stage("TWO", (GLOBAL,), 150, 105))
    refused = []

    def take(session, purchases, market):
        cut_w = np.zeros((2, 4, 96), np.int64)
        cut_w[UP, 2, HOUR_1] = 1_000  # POD 2 is of the first stage; the second has as much of POD 0 in the same line
        if session.name == "TWO_1":
            before = market.awards_w.copy()
            with pytest.raises(OfferError) as error:
                market.take_back(purchases[0], cut_w)
            refused.append(error.value.codes)
            np.testing.assert_array_equal(market.awards_w, before)
            market.take_back(purchases[0], cut_w[:, [2, 1, 0, 3]])
            assert purchases[0].cut_w[0, HOUR_1].tolist() == [1_000] * 4
        return 0

    rule = partial(merit_order, {"ONE_1": hours(4_000, HOUR_1), "TWO_1": hours(3_000, HOUR_1)})
    market = RollingMarket(DAY, BOOKS, POWER, stages=stages)
    market.run({stage.market: StageRules(rule, check=take) for stage in stages})
    assert refused == [("FX-M285",)]
    assert market.awards_w[GLOBAL, UP, :, 0].tolist() == [2_000, 0, 4_000, 0]


def random_day(stages, seed, date, limited):
    """A day under a clearing that accepts anything, with every rule of mutual unavailability checked on the way."""
    day, rng = MarketDay(date), np.random.default_rng(seed)
    n_pods = 7
    lines = [(way, 1, np.flatnonzero(rng.random(n_pods) < 0.7).tolist()) for way in (UP, DOWN)]
    books = {side: book_of(side, *lines, n_pods=n_pods, n_steps=day.n_steps) for side in (LOCAL, GLOBAL)}
    recovery, longest = (rng.integers(0, 7, n_pods) * limited for _ in range(2))
    slots = Slots(n_pods, day.n_steps, recovery_steps=recovery, max_run_steps=longest)
    slots.block([0], rng.random(day.n_steps) < 0.1)
    power = rng.integers(0, 900, (12, 2, n_pods, 1))
    frozen = {}

    def power_w(session, operator):  # forecasts change
        return np.broadcast_to(power[2 * session.number - 2 + operator], (2, n_pods, day.n_steps))

    def clear(session, books, market):
        want = [rng.random((book.n_lines, 1)) * (rng.random(day.n_steps) < 0.4) for book in books]
        return [(book.quantity_w * part).astype(np.int64) for book, part in zip(books, want, strict=True)]

    def check(session, purchases, market):
        moved = market.awards_w > 0
        assert not (moved[LOCAL].any(axis=0) & moved[GLOBAL].any(axis=0)).any()
        assert not (moved[:, UP] & moved[:, DOWN]).any()
        for operator in (LOCAL, GLOBAL):
            np.testing.assert_array_equal(market.slots.held(operator), moved[operator].any(axis=0))
        assert not moved[:, :, market.slots.state == 5].any()
        # what earlier sessions made firm never changes again
        for number, (window, operators, before) in frozen.items():
            if number < session.number:
                np.testing.assert_array_equal(market.awards_w[operators][..., window], before)
        if session.market == stages[-1].market:
            window = np.arange(session.firm.start, session.firm.stop)
            frozen[session.number] = (window, [LOCAL, GLOBAL], market.awards_w[..., window].copy())
        for purchase in purchases:
            assert (purchase.accepted_w >= 0).all()
            assert (purchase.accepted_w + purchase.short_w <= purchase.book.quantity_w).all()
            gone = purchase.redispatch
            assert gone.before_wqh == gone.kept_wqh + gone.released_wqh
            assert gone.kept_wqh + gone.new_wqh == purchase.accepted_w.sum()
        return 1

    market = RollingMarket(day, books, power_w, stages=stages, slots=slots)
    market.run({stage.market: StageRules(clear, check=check) for stage in stages})
    state = market.slots.state
    assert not np.isin(state, [1, 3, 7]).any()
    holder = {(pod, t): int(s - 1) // 2 for (pod, t), s in np.ndenumerate(state) if 1 <= s <= 4}
    for pod in range(n_pods):
        runs = [steps for _, steps in requests(pod, holder, day.n_steps)]
        assert all(runs[i + 1][0] - runs[i][-1] - 1 >= recovery[pod] for i in range(len(runs) - 1))
        assert not longest[pod] or all(len(steps) <= longest[pod] for steps in runs)
    for operator in (LOCAL, GLOBAL):
        changes = [
            bought.redispatch.new_wqh - bought.redispatch.released_wqh
            for found in market.records
            for bought in found.purchases
            if bought.operator == operator
        ]
        assert sum(changes) == market.awards_w[operator].sum()


SCHEMES = pytest.mark.parametrize("stages", [LFP_MSD, JOINT, AGAIN], ids=["d41", "joint", "again"])
DAYS = st.sampled_from(["2026-03-29", "2026-05-20", "2026-10-25"])


@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MUT-03")
@pytest.mark.rule("MUT-05")
@SCHEMES
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), DAYS, st.booleans())
def test_no_pod_is_ever_held_by_both_under_any_random_clearing(stages, seed, date, limited):
    random_day(stages, seed, date, limited)


@pytest.mark.nightly
@SCHEMES
@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**9), DAYS, st.booleans())
def test_campaign_no_pod_is_ever_held_by_both(stages, seed, date, limited):
    random_day(stages, seed, date, limited)


def test_threads_change_no_bit():
    needs = {"LFP_1": hours(2_500, HOUR_1, HOUR_6), "MSD_1": hours(6_000, HOUR_6), "MSD_2": hours(3_000, HOUR_6)}
    one, two = run(needs), run(needs, n_threads=2)
    assert np.array_equal(one.awards_w, two.awards_w)
    assert one.redispatch_table().equals(two.redispatch_table())


def test_stages_that_do_not_fit_are_refused():
    good = Stage("a", (LOCAL,), 200, 180)
    for stages in (
        (),
        (good, good),
        (Stage("a", (), 200, 180),),
        (Stage("a", (GLOBAL, LOCAL), 200, 180),),
        (Stage("a", (2,), 200, 180),),
    ):
        with pytest.raises(OfferError) as error:
            Sequencer(DAY, stages=stages)
        assert error.value.codes == ("FX-M280",)
    for stages in ((Stage("a", (LOCAL,), 180, 180),), (good, Stage("b", (LOCAL,), 190, 100))):
        with pytest.raises(TimeSeriesError) as error:
            Sequencer(DAY, stages=stages)
        assert error.value.codes == ("FX-M107",)
    times = session_times(DAY, lfp_gate_min=220)
    assert Sequencer(DAY, times).sessions[0].gate == times.lfp_gate[0]
    with pytest.raises(OfferError) as error:
        Sequencer(DAY, times, stages=(good,))
    assert error.value.codes == ("FX-M280",)


def test_what_does_not_fit_the_market_is_refused_by_code():
    def accept(change):
        return {"LFP": StageRules(lambda s, books, m: change(books[0]), check=light), "MSD": StageRules(change)}

    for change in (
        lambda book: None,
        lambda book: [],
        lambda book: [book.quantity_w] * 2,
        lambda book: [book.quantity_w + 1],
    ):
        market = RollingMarket(DAY, BOOKS, POWER)
        with pytest.raises(OfferError) as error:
            market.run(accept(change))
        assert error.value.codes == ("FX-M283",)
        assert not market.awards_w.any()
    for change in (lambda book: [book.quantity_w[:, :4]], lambda book: [book.quantity_w - 9_000]):
        with pytest.raises(ValidationError) as error:
            RollingMarket(DAY, BOOKS, POWER).run(accept(change))
        assert error.value.codes[0] in ("FX-A001", "FX-A004")
    with pytest.raises(OfferError) as error:
        RollingMarket(DAY, {LOCAL: BOOKS[LOCAL]}, POWER)
    assert error.value.codes == ("FX-M284",)
    assert error.value.findings[0].ids == ("global",)
    with pytest.raises(OfferError) as error:
        RollingMarket(DAY, BOOKS, POWER).run({"LFP": StageRules(merit_order)})
    assert error.value.codes == ("FX-M284",)
    with pytest.raises(ValidationError):
        RollingMarket(DAY, BOOKS, POWER[:, :, :3])  # books name a POD that has no power
    with pytest.raises(TimeSeriesError):
        RollingMarket(MarketDay("2026-03-29"), BOOKS, np.zeros((2, 2, 4, 92), int))
    market = run({})
    with pytest.raises(StateError):
        market.run({"LFP": StageRules(partial(merit_order, {}), check=light), "MSD": StageRules(merit_order)})
