"""D4.1 section 6.3, Figure 11 and Table 9: two aggregates that share PODs, walked through the sessions by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import StateError
from flexcore.market.awards import split_awards, sum_members
from flexcore.market.global_selection import residual_need, select_global
from flexcore.market.offers import line_power, offer_book, restate, submit
from flexcore.market.sessions import Sequencer
from flexcore.market.slots import GLOBAL_FIRM, GLOBAL_PRELIMINARY, LOCAL_FIRM, LOCAL_PRELIMINARY, Slots
from flexcore.market.traffic_light import GREEN, RED, TrafficLight
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

DAY = MarketDay("2026-05-20")
AGG_1, AGG_2 = [0, 1], [0, 1, 2, 3]  # AGG_1 lies inside AGG_2
POWER = np.repeat([[3_000], [2_000], [4_000], [1_000]], 96, axis=1)
HOUR_1, HOUR_6 = slice(0, 4), slice(20, 24)


def one_line(operator, pods, n_steps=96):
    return offer_book(
        operator=operator,
        line_id=["AGG_1" if operator == LOCAL else "AGG_2"],
        aggregate=[operator],
        bsp=[0],
        direction=[UP],
        node=[0],
        perimeter=[0],
        price_ueur_per_mwh=[1],
        submitted_at=0,
        indptr=[0, len(pods)],
        pods=pods,
        n_pods=4,
        n_steps=n_steps,
    )


def offered(book, slots, steps, careless=False):
    power = line_power(book, slots, POWER, POWER, steps=steps)
    return restate(submit(book, power, careless=[careless]), power, steps=steps), power


def award(book, power, slots, wanted, firm):
    """Accept what is wanted per step, split it over PODs and hold them."""
    accepted = np.minimum(wanted, power.free_w)
    awards = split_awards(accepted, book.indptr, book.pods, power.member_w)
    slots.hold(book.operator, book.pods, awards.selected, firm=firm)
    return accepted


def hours(power_w, *windows):
    wanted = np.zeros((1, 96), np.int64)
    for window in windows:
        wanted[:, window] = power_w
    return wanted


@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MUT-02")
def test_agg_1_selected_in_hour_1_leaves_agg_2_its_other_pods():
    slots, day = Slots(4, 96), DAY
    local, globally = one_line(LOCAL, AGG_1), one_line(GLOBAL, AGG_2)
    _, power = offered(local, slots, day.plan(1))
    award(local, power, slots, hours(5_000, HOUR_1), day.firm(1))  # entirely selected in LFP_1
    assert (slots.state[AGG_1, HOUR_1] == LOCAL_FIRM).all()
    result, _ = offered(globally, slots, day.plan(1))
    assert (result.book.quantity_w[0, HOUR_1] == 5_000).all()  # PODs 2 and 3 only
    assert (result.book.quantity_w[0, 4:] == 10_000).all()
    with pytest.raises(StateError):
        slots.hold(GLOBAL, AGG_2, hours(1, HOUR_1)[0] > 0)


@pytest.mark.rule("MUT-02")
@pytest.mark.rule("MUT-04")
def test_a_partly_selected_aggregate_offers_its_other_pods_never_the_rest_of_a_selected_one():
    slots, day = Slots(4, 96), DAY
    local, globally = one_line(LOCAL, AGG_1), one_line(GLOBAL, AGG_2)
    _, power = offered(local, slots, day.plan(1))
    award(local, power, slots, hours(2_500, HOUR_1), day.firm(1))
    # the fewest PODs: POD 0 gives 2.5 of its 3 kW and is held as a whole
    assert slots.held(LOCAL)[:, 0].tolist() == [True, False, False, False]
    result, _ = offered(globally, slots, day.plan(1))
    assert (result.book.quantity_w[0, HOUR_1] == 2_000 + 4_000 + 1_000).all()
    # a BSP that forgets POD 0 is cut, with a finding
    forgot, _ = offered(globally, slots, day.plan(1), careless=True)
    assert [finding.code for finding in forgot.findings] == ["FX-O102"]
    assert np.array_equal(forgot.book.quantity_w, result.book.quantity_w)


@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MUT-03")
def test_agg_2_selected_in_msd_1_for_hour_6_blocks_agg_1_in_lfp_2():
    slots, day = Slots(4, 96), DAY
    local, globally = one_line(LOCAL, AGG_1), one_line(GLOBAL, AGG_2)
    assert day.firm(2) == slice(16, 32)  # hour 6 belongs to the second pair
    _, power = offered(globally, slots, day.plan(1))
    award(globally, power, slots, hours(10_000, HOUR_6), day.firm(1))  # entirely selected in MSD_1, preliminary
    assert (slots.state[:, HOUR_6] == GLOBAL_PRELIMINARY).all()
    # LFP_2: the DSO releases only its own preliminary slots, and finds no DER of AGG_1 for hour 6
    assert slots.release(LOCAL, day.plan(2).start) == 0
    result, power = offered(local, slots, day.plan(2))
    assert not result.book.quantity_w[0, HOUR_6].any()
    assert (result.book.quantity_w[0, 24:] == 5_000).all()
    with pytest.raises(StateError) as error:
        slots.hold(LOCAL, AGG_1, hours(1, HOUR_6)[0] > 0, firm=day.firm(2))
    assert error.value.codes == ("FX-M101",)
    assert error.value.findings[0].ids == (0, 1)
    # a line that counts AGG_1 all the same is cut where it is held
    forgot, _ = offered(local, slots, day.plan(2), careless=True)
    assert [finding.code for finding in forgot.findings] == ["FX-O102"]
    assert not forgot.book.quantity_w[0, HOUR_6].any()
    # what AGG_1 still has in the other hours of the window may be taken
    award(local, power, slots, hours(5_000, slice(24, 32)), day.firm(2))
    assert (slots.state[AGG_1, 24:32] == LOCAL_FIRM).all()
    # MSD_2 is the owner's next session: it releases hour 6 and makes its new selection firm
    assert slots.release(GLOBAL, day.plan(2).start) == 16
    _, power = offered(globally, slots, day.plan(2))
    award(globally, power, slots, hours(4_000, HOUR_6), day.firm(2))
    assert slots.state[:, 20].tolist() == [0, 0, GLOBAL_FIRM, 0]
    # now AGG_1 is free again in hour 6, but too late for the DSO: LFP_3 plans from hour 9 on
    assert not slots.unavailable(LOCAL)[AGG_1, HOUR_6].any()
    assert day.plan(3).start == 32


def test_a_local_preliminary_selection_blocks_msd_until_the_next_lfp():
    slots, day = Slots(4, 96), DAY
    local = one_line(LOCAL, AGG_1)
    _, power = offered(local, slots, day.plan(1))
    award(local, power, slots, hours(5_000, HOUR_6), day.firm(1))
    assert (slots.state[AGG_1, HOUR_6] == LOCAL_PRELIMINARY).all()
    globally, _ = offered(one_line(GLOBAL, AGG_2), slots, day.plan(1))
    assert (globally.book.quantity_w[0, HOUR_6] == 5_000).all()
    assert slots.release(GLOBAL, day.plan(2).start) == 0
    assert slots.release(LOCAL, day.plan(2).start) == 8
    globally, _ = offered(one_line(GLOBAL, AGG_2), slots, day.plan(2))
    assert (globally.book.quantity_w[0, HOUR_6] == 10_000).all()


def light_for(rng, day, movable_w):
    """A random light over the perimeters: some red, some green."""
    shape = (2, movable_w.shape[1], day.n_hours)
    movable = np.broadcast_to(movable_w[:, :, None], shape).astype(np.int64)
    capability = np.where(rng.random(shape) < 0.3, 0, (movable * rng.random(shape)).astype(np.int64))
    colour = np.where(capability == 0, RED, GREEN).astype(np.uint8)
    zero = np.zeros(shape)
    return TrafficLight(
        1, 1, "hour", colour, capability, movable, zero.astype(np.uint8), zero.astype(np.int32), zero.astype(bool), zero
    )


@pytest.mark.rule("MSD-03")
@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MSD-02")
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["2026-03-29", "2026-05-20", "2026-10-25"]))
def test_no_pod_is_ever_held_by_both_in_any_random_day(seed, date):
    day, rng = MarketDay(date), np.random.default_rng(seed)
    n_pods, n_perimeters = 12, 2
    up, down = rng.integers(0, 4_000, (2, n_pods, day.n_steps))
    perimeter = rng.integers(0, n_perimeters, n_pods)
    books = {}
    for operator in (LOCAL, GLOBAL):
        lists = [(k, way, np.flatnonzero(perimeter == k)) for k in range(n_perimeters) for way in (UP, DOWN)]
        books[operator] = offer_book(
            operator=operator,
            line_id=[f"{operator}-{k}-{way}" for k, way, _ in lists],
            aggregate=[k for k, _, _ in lists],
            bsp=[k for k, _, _ in lists],
            direction=[way for _, way, _ in lists],
            node=[k for k, _, _ in lists],
            perimeter=[k for k, _, _ in lists],
            price_ueur_per_mwh=rng.integers(-5, 50, len(lists)),
            submitted_at=0,
            indptr=np.cumsum([0, *(pods.size for _, _, pods in lists)]),
            pods=np.concatenate([pods for _, _, pods in lists]),
            n_pods=n_pods,
            n_steps=day.n_steps,
        )
    slots = Slots(n_pods, day.n_steps)
    pod_w = {operator: np.zeros((2, n_pods, day.n_steps), np.int64) for operator in (LOCAL, GLOBAL)}
    firm = np.zeros(day.n_steps, bool)
    frozen = None
    for session in Sequencer(day):
        slots.release(session.operator, session.plan.start)
        pod_w[session.operator][:, :, session.plan] = 0
        book = books[session.operator]
        session.open()
        power = line_power(book, slots, up, down, steps=session.plan)
        session.close()
        result = restate(
            submit(book, power, careless=rng.random(2) < 0.5), power, gate=session.gate, steps=session.plan
        )
        assert (result.book.quantity_w <= power.free_w).all()
        if session.operator == LOCAL:
            accepted = rng.integers(0, result.book.quantity_w + 1)
            accepted[rng.random(book.n_lines) < 0.5] = 0
        else:
            zone_up, zone_down = pod_w[LOCAL].sum(axis=1)[:, None]
            need = residual_need(
                rng.integers(-9_000, 9_000, (1, day.n_hours)), zone_up, zone_down, day, steps=session.plan
            )
            light = light_for(rng, day, np.full((2, n_perimeters), 9_000))
            accepted = select_global(result.book, need, light, day).accepted_w
            for way in (UP, DOWN):
                lines = np.where(book.direction == way, book.perimeter, -1)
                total = sum_members(accepted, lines, n_perimeters)
                assert (total <= light.capability_of_steps()[way]).all()
                assert not total[np.repeat(light.colour[way] == RED, 4, axis=-1)].any()
        session.clear()
        awards = split_awards(accepted, book.indptr, book.pods, power.member_w)
        slots.hold(session.operator, book.pods, awards.selected, firm=session.firm)
        for way in (UP, DOWN):
            members = np.where(book.direction[book.line_of_member] == way, book.pods, -1)
            pod_w[session.operator][way] += sum_members(awards.member_w, members, n_pods)
        session.check()
        session.publish(session.number)
        for operator in (LOCAL, GLOBAL):
            np.testing.assert_array_equal(slots.held(operator), (pod_w[operator] > 0).any(axis=0))
        slots.check_exclusive(pod_w[LOCAL].sum(axis=0), pod_w[GLOBAL].sum(axis=0))
        if frozen is not None:
            assert np.array_equal(slots.state[:, firm], frozen)  # firm windows of both never change again
        if session.operator == GLOBAL:
            firm[session.firm] = True
            frozen = slots.state[:, firm].copy()
    assert firm.all()
    assert not np.isin(slots.state, [LOCAL_PRELIMINARY, GLOBAL_PRELIMINARY]).any()
