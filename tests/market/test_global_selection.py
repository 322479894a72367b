"""The residual global need and the TSO's selection under the traffic light."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OfferError, TimeSeriesError, ValidationError
from flexcore.market.global_selection import (
    ABOVE_CAP,
    ACCEPTED,
    CAPABILITY,
    NO_PERIMETER,
    NOT_NEEDED,
    NOT_OFFERED,
    OTHER_DIRECTION,
    PARTLY,
    RED_LIGHT,
    check_selection,
    residual_need,
    select_global,
    to_unit,
)
from flexcore.market.offers import offer_book
from flexcore.market.traffic_light import GREEN, RED, YELLOW, TrafficLight
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, GLOBAL, UP
from tests.reference import market_global_selection as reference

DAY = MarketDay("2026-05-20")


def light_of(capability_w, day=DAY, mtu="hour"):
    """A light with the same capability, (2, n_perimeters), in every unit; 0 is red."""
    n_units = day.n_hours if mtu == "hour" else day.n_steps
    wide = np.repeat(np.asarray(capability_w, np.int64)[:, :, None], n_units, axis=2)
    blank = np.zeros(wide.shape)
    colour = np.where(wide == 0, RED, YELLOW).astype(np.uint8)
    return TrafficLight(
        1, 1, mtu, colour, wide, wide + 1, blank.astype(np.uint8), blank.astype(np.int32), blank.astype(bool), blank
    )


def book_of(rows, day=DAY):
    """Lines from (price, direction, perimeter, quantity); one POD each."""
    n = len(rows)
    price, direction, perimeter, quantity = (list(column) for column in zip(*rows, strict=True))
    return offer_book(
        operator=GLOBAL,
        line_id=[f"L{i}" for i in range(n)],
        aggregate=list(range(n)),
        bsp=[0] * n,
        direction=direction,
        node=[-1] * n,
        perimeter=perimeter,
        price_ueur_per_mwh=price,
        submitted_at=0,
        indptr=list(range(n + 1)),
        pods=list(range(n)),
        n_pods=n,
        quantity_w=np.repeat(np.array(quantity)[:, None], day.n_steps, axis=1),
    )


def need_of(*per_zone, day=DAY, local_up=0, local_down=0):
    need = np.repeat(np.array(per_zone)[:, None], day.n_hours, axis=1)
    shape = (len(per_zone), day.n_steps)
    return residual_need(need, np.full(shape, local_up), np.full(shape, local_down), day)


@pytest.mark.rule("MSD-01")
@pytest.mark.parametrize(
    ("need", "up", "down", "residual", "discordant"),
    [
        (10, 3, 0, 7, 0),  # Figure 15, concordant: the TSO buys less
        (10, 0, 3, 13, 3),  # Figure 15, discordant: the TSO buys more
        (-10, 0, 4, -6, 0),
        (-10, 4, 0, -14, 4),
        (10, 13, 0, -3, 3),  # the sign flips: 10 help, 3 go beyond
        (0, 5, 0, -5, 5),
        (0, 0, 0, 0, 0),
        (10, 8, 5, 7, 0),  # only the net sum is seen at the exchange point
    ],
)
def test_figure_15(need, up, down, residual, discordant):
    result = need_of(need, local_up=up, local_down=down)
    assert (result.residual_w == residual).all()
    assert (result.discordant_w == discordant).all()
    assert (result.concordant_w == abs(up - down) - discordant).all()


def test_needs_are_zero_outside_the_session():
    result = residual_need(np.full((1, 24), 10), np.full((1, 96), 2), np.zeros((1, 96), int), DAY, steps=DAY.plan(3))
    assert not result.residual_w[0, :32].any()
    assert (result.residual_w[0, 32:] == 8).all()
    with pytest.raises(TimeSeriesError):
        residual_need(np.zeros((1, 23), int), np.zeros((1, 96), int), np.zeros((1, 96), int), DAY)
    with pytest.raises(ValidationError):
        residual_need(np.zeros((1, 24), int), np.full((1, 96), -1), np.zeros((1, 96), int), DAY)


def test_an_hour_needs_the_largest_of_its_quarters():
    need = np.zeros((1, 96), int)
    need[0, :8] = [1, -5, 5, 2, 0, -3, -1, 0]
    assert to_unit(need, DAY)[0, :3].tolist() == [-5, -3, 0]
    assert to_unit(need, DAY, "quarter").shape == (1, 96)


@pytest.mark.rule("MSD-02")
@pytest.mark.rule("OFR-03")
def test_hand_worked_selection():
    rows = [
        (30, UP, 0, 50),  # L0: perimeter 0 has 60
        (10, UP, 0, 40),  # L1: cheapest
        (20, UP, 1, 40),  # L2: red
        (40, UP, 2, 40),  # L3: marginal
        (45, UP, 2, 40),  # L4: not needed
        (5, DOWN, 2, 40),  # L5: other direction
        (99, UP, 2, 40),  # L6: above the cap
        (1, UP, -1, 40),  # L7: no perimeter
        (50, UP, 2, 0),  # L8: nothing offered
    ]
    book = book_of(rows)
    light = light_of([[60, 0, 100], [100, 100, 100]])
    result = select_global(book, need_of(75), light, DAY, price_cap_ueur_per_mwh=60)
    assert result.accepted_w[:, 0].tolist() == [20, 40, 0, 15, 0, 0, 0, 0, 0]
    assert result.reason[:, 0].tolist() == [
        CAPABILITY,
        ACCEPTED,
        RED_LIGHT,
        PARTLY,
        NOT_NEEDED,
        OTHER_DIRECTION,
        ABOVE_CAP,
        NO_PERIMETER,
        NOT_OFFERED,
    ]
    assert not result.unserved_w.any()
    assert not result.residual_after_w.any()
    table = result.to_arrow(book).to_pylist()
    assert len(table) == 8 * 24
    assert table[0]["accepted_w"] == 20
    # the same in the other direction, and a need that cannot be met
    down = select_global(book, need_of(-75), light, DAY, price_cap_ueur_per_mwh=60)
    assert down.accepted_w[:, 0].tolist() == [0, 0, 0, 0, 0, 40, 0, 0, 0]
    assert (down.unserved_w == 35).all()
    assert (down.residual_after_w == -35).all()


@pytest.mark.rule("MSD-02")
def test_where_nothing_is_needed_the_reason_is_not_the_direction():
    # the second zone wants nothing, in either direction, whatever else would keep a line out
    rows = [(10, UP, 0, 40), (10, DOWN, 0, 40), (10, UP, 1, 40), (10, DOWN, 1, 40), (99, UP, 1, 40), (10, UP, 1, 0)]
    light = light_of([[0, 100], [0, 100]])
    result = select_global(book_of(rows), need_of(5, 0), light, DAY, zone=[0, 0, 1, 1, 1, 1], price_cap_ueur_per_mwh=60)
    assert result.reason[:, 0].tolist() == [RED_LIGHT, OTHER_DIRECTION, *[NOT_NEEDED] * 3, NOT_OFFERED]


def test_cost_is_energy_times_price():
    result = select_global(book_of([(10_000_000, UP, 0, 1_000_000)]), need_of(1_000_000), light_of([[10**9], [0]]), DAY)
    assert result.cost_ueur == 24 * 10_000_000  # 24 MWh at 10 EUR


def test_an_hourly_offer_is_the_least_of_its_quarters():
    book = book_of([(1, UP, 0, 10)])
    quantity = book.quantity_w.copy()
    quantity[0, 2] = 4
    book = book.with_quantity(quantity)
    result = select_global(book, need_of(10), light_of([[100], [100]]), DAY)
    assert result.accepted_w[0, :8].tolist() == [4, 4, 4, 4, 10, 10, 10, 10]
    quarter = select_global(book, need_of(10), light_of([[100], [100]], mtu="quarter"), DAY)
    assert quarter.accepted_w[0, :4].tolist() == [10, 10, 4, 10]


@pytest.mark.parametrize("date", ["2026-03-29", "2026-10-25"])
def test_clock_change_days(date):
    day = MarketDay(date)
    book = book_of([(1, UP, 0, 10)], day)
    result = select_global(book, need_of(4, day=day), light_of([[100], [100]], day), day)
    assert result.accepted_w.shape == (1, day.n_steps)
    assert (result.accepted_w == 4).all()
    with pytest.raises(TimeSeriesError):
        select_global(book_of([(1, UP, 0, 10)]), need_of(4, day=day), light_of([[100], [100]], day), day)


def test_a_perimeter_in_two_zones_is_refused():
    book = book_of([(1, UP, 0, 10), (2, UP, 0, 10)])
    with pytest.raises(OfferError) as error:
        select_global(book, need_of(4, 4), light_of([[100], [100]]), DAY, zone=[0, 1])
    assert error.value.codes == ("FX-M108",)


@pytest.mark.rule("MSD-02")
def test_a_foreign_selection_is_checked():
    book = book_of([(1, UP, 0, 10), (1, UP, 1, 10), (1, DOWN, -1, 10)])
    light = light_of([[5, 0], [9, 9]])
    for awards, codes in (
        ([6, 0, 0], ("FX-M109",)),
        ([0, 1, 0], ("FX-M110",)),
        ([11, 0, 0], ("FX-M109", "FX-M109")),
        ([0, 0, 1], ("FX-M109",)),
    ):
        accepted = np.zeros((3, 96), int)
        accepted[:, 7] = awards
        with pytest.raises(OfferError) as error:
            check_selection(accepted, book, light)
        assert error.value.codes == codes
    check_selection(np.repeat([[5], [0], [0]], 96, axis=1), book, light)


@st.composite
def markets(draw):
    n_perimeters, n_zones = 3, 2
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(-3, 5), st.sampled_from([UP, DOWN]), st.integers(-1, n_perimeters - 1), st.integers(0, 9)
            ),
            min_size=1,
            max_size=9,
        )
    )
    capability = draw(st.lists(st.integers(0, 12), min_size=2 * n_perimeters, max_size=2 * n_perimeters))
    wanted = draw(st.lists(st.integers(-20, 20), min_size=n_zones, max_size=n_zones))
    return rows, np.array(capability).reshape(2, n_perimeters), wanted, draw(st.integers(-3, 6))


# one aggregate per line, so that any mix of lines is a valid book; perimeter 0 lies in zone 0, the others in zone 1
@pytest.mark.rule("MSD-02")
@settings(max_examples=150, deadline=None)
@given(markets())
def test_selection_equals_the_loop_and_the_optimum_and_never_takes_red(market):
    rows, capability, wanted, cap = market
    book, light = book_of(rows), light_of(capability)
    zone = np.where(book.perimeter == 0, 0, 1)
    result = select_global(book, need_of(*wanted), light, DAY, zone=zone, price_cap_ueur_per_mwh=cap)
    lines = [
        {"id": f"L{i}", "price": p, "time": 0, "direction": d, "perimeter": k, "zone": int(zone[i]), "quantity": q}
        for i, (p, d, k, q) in enumerate(rows)
    ]
    limits = {(d, k): int(capability[d, k]) for d in (0, 1) for k in range(3)}
    needs = dict(enumerate(wanted))
    expected = reference.select(lines, needs, limits, cap)
    assert result.accepted_w[:, 0].tolist() == [expected[line["id"]] for line in lines]
    assert (result.accepted_w == result.accepted_w[:, :1]).all()
    volume, cost = reference.best(lines, needs, limits, cap)
    price = np.array([line["price"] for line in lines])
    assert result.accepted_w[:, 0].sum() == pytest.approx(volume, abs=1e-6)
    assert (result.accepted_w[:, 0] * price).sum() == pytest.approx(cost, abs=1e-6)
    assert (result.unserved_w >= 0).all()
    for i, line in enumerate(lines):
        if line["perimeter"] >= 0 and light.colour[line["direction"], line["perimeter"], 0] == RED:
            assert result.accepted_w[i, 0] == 0
    # raising a capability never serves less
    more = select_global(book, need_of(*wanted), light_of(capability + 3), DAY, zone=zone, price_cap_ueur_per_mwh=cap)
    assert more.unserved_w.sum() <= result.unserved_w.sum()
    assert GREEN not in light.colour
