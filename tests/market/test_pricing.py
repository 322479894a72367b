"""Payments: as bid, as clear and local, in exact micro-EUR, with sums that add up."""

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest

from flexcore.errors import OfferError, OptionError, UnknownIdError
from flexcore.kernels.market import explain, local_prices, pro_rata
from flexcore.market.cleared import cleared_local, cleared_tables
from flexcore.market.clearing import clear, clear_local
from flexcore.market.explain import explain as explain_cleared
from flexcore.market.explain import explain as explain_selection
from flexcore.market.explain_codes import CODE
from flexcore.market.pricing import NO_PRICE, clearing_prices, congestion_rent, pay
from flexcore.market.pricing import local_prices as price_locally
from flexcore.market.voltage_prices import voltage_prices
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of
from tests.market.test_clearing_oracle import voltage_case
from tests.reference import market_pricing as reference


def random_cleared(rng, n_steps=3):
    n = int(rng.integers(2, 12))
    parent = random_tree(rng, n)
    lower, upper = random_bounds(rng, n, n_steps, 1000)
    offers = random_offers(rng, n, int(rng.integers(1, 16)), n_steps, 1)
    offers["quantity_w"] = rng.integers(0, 15_000, offers["quantity_w"].shape)
    offers["price_ueur_per_mwh"] = rng.integers(-50_000_000, 200_000_000, offers["node"].size)
    grid, rows = forest(parent), rows_of(lower, upper)
    return offers, cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)


def half_even(watts, price):
    exact = Decimal(int(watts)) * Decimal(int(price)) / 4_000_000
    return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.parametrize("rule", ["pay_as_bid", "pay_as_clear", "local"])
def test_payments_round_once_and_add_up(rule):
    rng = np.random.default_rng(1)
    paid_something = 0
    for _ in range(70):
        offers, cleared = random_cleared(rng)
        zone = rng.integers(0, 3, cleared.element_id.size)
        paid = pay(cleared, rule, zone=zone)
        prices = clearing_prices(cleared, zone)
        for t in range(3):
            accepted = cleared.accepted_w[t]
            by_zone = reference.pay_as_clear(
                zone[offers["node"]], offers["direction"], offers["price_ueur_per_mwh"], accepted
            )
            for z in range(prices.shape[0]):
                for way in (0, 1):
                    assert prices[z, way, t] == by_zone.get((z, bool(way)), -NO_PRICE)
            for o in np.flatnonzero(accepted):
                paid_something += 1
                bid, price = offers["price_ueur_per_mwh"][o], paid.price_ueur_per_mwh[o, t]
                assert price >= bid
                if rule == "pay_as_bid":
                    assert price == bid
                if rule == "pay_as_clear":
                    assert price == by_zone[zone[offers["node"][o]], bool(offers["direction"][o])]
                assert paid.paid_ueur[o, t] == half_even(accepted[o], price)
            assert not paid.paid_ueur[accepted == 0, t].any()
        assert paid.total_ueur == paid.paid_ueur.sum()
        assert paid.total_ueur >= paid.bid_ueur
        assert paid.to_arrow().num_rows >= np.count_nonzero(paid.paid_ueur)
    assert paid_something > 200


def test_bid_payments_are_the_cost_of_the_selection():
    rng = np.random.default_rng(2)
    for _ in range(20):
        n = int(rng.integers(2, 10))
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, 3, 1000)
        offers = random_offers(rng, n, 12, 3, 1000)
        grid, rows = forest(parent), rows_of(lower, upper)
        selection = clear_local(grid, rows, **offers)
        assert pay(cleared_local(grid, rows, selection, **offers)).total_ueur == selection.total_cost_ueur


def test_totals_may_need_more_than_63_bits():
    price = 2**50
    offers = {
        "offer_id": np.arange(40), "element": ["a"] * 40, "direction": ["up"] * 40, "step": [0] * 40,
        "quantity_w": [2**32] * 40, "price_ueur_per_mwh": [price] * 40,
    }  # fmt: skip
    needs = {"element": ["a"], "direction": ["up"], "step": [0], "quantity_w": [40 * 2**32]}
    result = clear(offers, needs)
    total = 40 * half_even(2**32, price)
    assert total > 2**63
    paid = pay(cleared_tables(offers, needs, result=result))
    assert result.total_cost_ueur == paid.total_ueur == paid.bid_ueur == total


def test_nothing_accepted_is_paid_nothing_even_where_no_element_has_a_zone():
    offers = {
        "offer_id": [1], "element": ["a"], "direction": ["up"], "step": [0], "quantity_w": [5],
        "price_ueur_per_mwh": [1],
    }  # fmt: skip
    needs = {"element": ["a"], "direction": ["down"], "step": [0], "quantity_w": [5]}
    cleared = cleared_tables(offers, needs, result=clear(offers, needs))
    paid = pay(cleared, "pay_as_clear", zone=[-1])
    assert paid.total_ueur == 0
    assert not paid.price_ueur_per_mwh.any()


EXAMPLE = {
    "offers": {
        "offer_id": ["N1", "N2", "S1", "S2", "S3"], "element": ["north", "north", "south", "south", "south"],
        "direction": ["up"] * 5, "step": [0] * 5, "quantity_w": [20_000, 20_000, 20_000, 20_000, 20_000],
        "price_ueur_per_mwh": [40_000_000, 50_000_000, 60_000_000, 90_000_000, 120_000_000],
    },
    "needs": {"element": ["substation"], "direction": ["up"], "step": [0], "quantity_w": [60_000]},
    "limits": {"element": ["north"], "direction": ["up"], "step": [0], "capability_w": [30_000]},
    "parent": {"element": ["substation", "north", "south"], "parent": ["substation"] * 3},
}  # fmt: skip


def example():
    result = clear(EXAMPLE["offers"], EXAMPLE["needs"], EXAMPLE["limits"], parent=EXAMPLE["parent"])
    return cleared_tables(
        EXAMPLE["offers"], EXAMPLE["needs"], EXAMPLE["limits"], result=result, parent=EXAMPLE["parent"]
    )


def test_two_perimeters_one_full():
    cleared = example()
    prices = price_locally(cleared)
    at = {key: k for k, key in enumerate(prices.element_id)}
    assert prices.price[at["south"], 0] == prices.price[at["substation"], 0] == 90_000_000
    assert prices.price[at["north"], 0] == 50_000_000
    assert prices.high[at["north"], 0] == 50_000_000
    assert [prices.low[at["south"], 0], prices.high[at["south"], 0]] == [90_000_000] * 2
    rent = congestion_rent(cleared)
    assert rent.rent_ueur[at["north"], 0] == rent.total_rent_ueur == 30_000 * 40_000_000 // 4_000_000
    assert rent.total_charge_ueur - rent.total_rent_ueur == pay(cleared, "local").total_ueur
    zone = np.zeros(3, int)
    zone[at["north"]] = 1
    assert clearing_prices(cleared, zone)[:, 0, 0].tolist() == [90_000_000, 50_000_000]
    assert pay(cleared, "pay_as_clear", zone=zone).total_ueur == pay(cleared, "local").total_ueur
    assert pay(cleared, "pay_as_clear").total_ueur == 60_000 * 90_000_000 // 4_000_000


def test_tables_and_the_flat_merit_order_have_prices_too():
    rng = np.random.default_rng(8)
    for flat in (True, False):
        for _ in range(30):
            k = 12
            offers = {
                "offer_id": np.arange(k), "element": rng.integers(0, 3, k), "direction": rng.integers(0, 2, k),
                "step": rng.integers(0, 2, k), "quantity_w": rng.integers(1, 20, k),
                "price_ueur_per_mwh": rng.integers(-5, 20, k),
            }  # fmt: skip
            needs = {
                "element": [0, 1, 2],
                "direction": rng.integers(0, 2, 3),
                "step": [0, 0, 1],
                "quantity_w": [9, 30, 12],
            }
            limits = {"element": [1, 2], "direction": [0, 1], "step": [0, 1], "capability_w": [12, 5]}
            parent = None if flat else {"element": [0, 1, 2], "parent": [0, 0, 0]}
            result = clear(offers, needs, limits, parent=parent)
            cleared = cleared_tables(offers, needs, limits, result=result, parent=parent)
            assert cleared.accepted_w.sum() == result.accepted_w.sum()
            assert price_locally(cleared).priced.all()
            assert pay(cleared).total_ueur == result.total_cost_ueur
            assert not (explain_cleared(cleared).code == CODE["not_priced"]).any()


def test_what_cannot_be_paid_is_refused_by_code():
    cleared = example()
    with pytest.raises(OfferError) as error:
        pay(cleared, "pay_as_clear", zone=[-1, -1, -1])
    assert error.value.codes == ("FX-M241",)
    worse = cleared.with_accepted(np.minimum(cleared.book.quantity_w, 1))  # serves next to nothing, and at any price
    with pytest.raises(OfferError) as error:
        pay(worse, "local")
    assert error.value.codes == ("FX-M241",)
    with pytest.raises(OptionError):
        pay(cleared, "fair")
    offers = {**EXAMPLE["offers"], "quantity_w": [1] * 5}
    result = clear(EXAMPLE["offers"], EXAMPLE["needs"], EXAMPLE["limits"], parent=EXAMPLE["parent"])
    with pytest.raises(OfferError) as error:
        cleared_tables(offers, EXAMPLE["needs"], EXAMPLE["limits"], result=result, parent=EXAMPLE["parent"])
    assert error.value.codes == ("FX-M240",)
    with pytest.raises(OfferError) as error:
        cleared_tables(EXAMPLE["offers"], {**EXAMPLE["needs"], "step": [1]}, result=result, parent=EXAMPLE["parent"])
    assert error.value.codes == ("FX-M240",)
    with pytest.raises(UnknownIdError) as unknown:
        cleared_tables(
            EXAMPLE["offers"], {**EXAMPLE["needs"], "element": ["elsewhere"]}, result=result, parent=EXAMPLE["parent"]
        )
    assert unknown.value.codes == ("FX-M201",)


@pytest.mark.parametrize("kind", ["limits", "voltage only"])
def test_voltage_prices_support_what_tree_prices_cannot(kind):
    rng = np.random.default_rng([2, 3])
    n_priced = n_open = 0
    for _ in range(60):
        parent, lower, upper, m, _, w_lower, w_upper, offers = voltage_case(rng, kind)
        grid, rows = forest(parent), rows_of(lower, upper, m, w_lower, w_upper)
        cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
        exact, lp = price_locally(cleared), voltage_prices(cleared)
        # also where a need stays open: it holds at what it got
        used = offers["node"][(offers["quantity_w"][:, 0] > 0) & (cleared.barred[0] == 0)]
        assert np.isfinite(lp.price[used][~exact.priced[used]]).all()
        n_open += any(row["subject"] == "voltage need" for row in explain_selection(cleared).to_arrow().to_pylist())
        assert not np.isfinite(lp.price[exact.priced]).any()
        for o, i in enumerate(offers["node"]):
            value = lp.price[i, 0]
            if not np.isfinite(value) or offers["quantity_w"][o, 0] == 0:
                continue
            n_priced += 1
            paid = (-value if offers["direction"][o] else value) - exact.raised[i, 0]
            bid, accepted = offers["price_ueur_per_mwh"][o], cleared.accepted_w[0, o]
            assert abs(lp.gap[i, 0]) < 1e-6
            tolerance = 1e-6 * 20_000_000
            if accepted > 10:  # the roundings of a vertex move single watts
                assert bid <= paid + tolerance
            if accepted < offers["quantity_w"][o, 0] - 10:
                assert bid >= paid - tolerance
    assert n_priced > 100
    assert n_open > 5


def test_every_kernel_has_one_signature():
    for kernel in (
        local_prices.local_prices, local_prices.dearest_accepted, pro_rata.lowest_bound, pro_rata.shares,
        explain.explain_by_price,
    ):  # fmt: skip
        assert len(getattr(kernel, "signatures", [1])) == 1
