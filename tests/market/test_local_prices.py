"""Local prices against a naive fixpoint, complementary slackness, and the cost that HiGHS finds with one W more."""

from dataclasses import replace

import numpy as np
import pytest

from flexcore.market.cleared import cleared_local
from flexcore.market.clearing import clear_local
from flexcore.market.pricing import NO_PRICE, congestion_rent, local_prices, pay
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of
from tests.reference import market_pricing as reference

INF = float("inf")


def random_case(rng, n_steps=4):
    n = int(rng.integers(2, 14))
    parent = random_tree(rng, n)
    lower, upper = random_bounds(rng, n, n_steps, 1)
    offers = random_offers(rng, n, int(rng.integers(0, 16)), n_steps, 1)
    offers["price_ueur_per_mwh"] = offers["price_ueur_per_mwh"] // 10**6  # ties are frequent, and the oracle is exact
    grid, rows = forest(parent), rows_of(lower, upper)
    selection = clear_local(grid, rows, **offers)
    bounds = [
        [
            [int(b) if abs(b) < 1e15 else (2**62 if b > 0 else -(2**62)) for b in values[:, t]]
            for values in (lower, upper)
        ]
        for t in range(n_steps)
    ]
    return parent, bounds, offers, cleared_local(grid, rows, selection, **offers)


def check_slackness(parent, bounds, offers, accepted, price, raised):
    """Every sentence of complementary slackness, for one price vector of one step; returns what it met."""
    y = reference.net(parent, offers["node"], offers["direction"], accepted)
    low, high = reference.held_rows(*bounds, y)
    met = set()
    for o, i in enumerate(offers["node"]):
        q = int(offers["quantity"][o])
        if q == 0 or parent[i] < 0:
            continue
        down = bool(offers["direction"][o])
        paid = (-int(price[i]) if down else int(price[i])) - int(raised[i])
        if accepted[o] > 0:
            assert int(offers["price_ueur_per_mwh"][o]) <= paid
        if accepted[o] < q:
            assert int(offers["price_ueur_per_mwh"][o]) >= paid
        met.add(("offer", down, bool(accepted[o] > 0)))
    for j, i in enumerate(parent):
        if i < 0:
            assert price[j] == 0
        elif price[j] > price[i]:
            assert y[j] == low[j]
            met.add("rise")
        elif price[j] < price[i]:
            assert y[j] == high[j]
            met.add("fall")
    return met


def dual_objective(parent, bounds, offers, accepted, price, counted):
    """Value of the dual solution, an integer: bounds times price changes, minus what offers earn above their price."""
    y = reference.net(parent, offers["node"], offers["direction"], accepted)
    low, high = reference.held_rows(*bounds, y)
    total = 0
    for j, i in enumerate(parent):
        if i >= 0:
            d = int(price[j]) - int(price[i])
            total += d * (low[j] if d > 0 else high[j]) if d else 0
    for o, i in enumerate(offers["node"]):
        if parent[i] >= 0:
            value = -int(price[i]) if offers["direction"][o] else int(price[i])
            total -= max(0, value - counted[o]) * int(offers["quantity"][o])
    return total


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(7))
def test_prices_support_the_selection_and_prove_its_cost(seed):
    rng = np.random.default_rng([seed, 41])
    met, n_cases, n_more = set(), 0, 0
    for _ in range(20):
        parent, bounds, offers, cleared = random_case(rng)
        prices = local_prices(cleared)
        assert prices.priced.all()
        for t in range(4):
            here = {k: v for k, v in offers.items() if k != "quantity_w"} | {"quantity": offers["quantity_w"][:, t]}
            accepted = cleared.accepted_w[t]
            counted, _ = reference.counted_prices(
                parent, here["node"], here["price_ueur_per_mwh"], here["quantity"], [True] * accepted.size
            )
            cost = sum(c * int(x) for c, x in zip(counted, accepted, strict=True))
            y = reference.net(parent, here["node"], here["direction"], accepted)
            low, high = reference.held_rows(*bounds[t], y)
            arguments = (
                parent, low, high, here["node"], here["direction"], counted, here["quantity"], [True] * accepted.size
            )  # fmt: skip
            assert cost == reference.least_cost(*arguments)
            for vector in (prices.low, prices.price, prices.high):
                if (abs(vector[:, t]) < NO_PRICE).all():
                    met |= check_slackness(parent, bounds[t], here, accepted, vector[:, t], prices.raised[:, t])
                    assert dual_objective(parent, bounds[t], here, accepted, vector[:, t], counted) == cost
            n_cases += 1
            if n_more < 40 and accepted.any():  # what one W more, or less, really costs
                n_more += 1
                i = int(rng.choice([k for k in range(len(parent)) if parent[k] >= 0]))
                more, less = (reference.least_cost(*arguments, i, step) for step in (1, -1))
                assert (NO_PRICE if more is None else more - cost) == prices.high[i, t]
                assert (-NO_PRICE if less is None else cost - less) == prices.low[i, t]
    assert n_cases == 80
    assert n_more == 40
    assert {"rise", "fall", ("offer", False, True), ("offer", True, True), ("offer", True, False)} <= met


@pytest.mark.parametrize("seed", range(3))
def test_prices_equal_the_reference(seed):
    rng = np.random.default_rng([seed, 42])
    unsupported = 0
    for round_ in range(30):
        parent, bounds, offers, cleared = random_case(rng)
        if round_ % 2:  # any acceptance, mostly not optimal: it must be found out
            cleared = cleared.with_accepted(rng.integers(0, cleared.book.quantity_w + 1))
        prices = local_prices(cleared, n_threads=2)
        for t in range(4):
            wanted = reference.local_prices(
                parent, *bounds[t], offers["node"], offers["direction"], offers["price_ueur_per_mwh"],
                offers["quantity_w"][:, t], cleared.accepted_w[t],
            )  # fmt: skip
            for i, interval in enumerate(wanted):
                assert prices.priced[i, t] == (interval is not None)
                unsupported += interval is None
                if interval is not None:
                    assert max(-NO_PRICE, interval[0]) == prices.low[i, t]
                    assert min(NO_PRICE, interval[1]) == prices.high[i, t]
    assert unsupported > 50


def test_prices_do_not_depend_on_threads_or_blocks():
    rng = np.random.default_rng(5)
    *_, cleared = random_case(rng, 24)
    one, two = local_prices(cleared), local_prices(cleared, n_threads=2)
    for name in ("low", "high", "price", "raised", "priced"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_rent_closes_the_gap_between_needs_and_offers_exactly():
    rng = np.random.default_rng(6)
    with_rent = 0
    for _ in range(60):
        *_, cleared = random_case(rng)
        # whole EUR per watt quarter-hour: nothing is rounded, and no price is so low that it is raised
        price = (cleared.book.price + 6) * 4_000_000
        cleared = replace(cleared, book=replace(cleared.book, price=price))
        rent, paid = congestion_rent(cleared), pay(cleared, "local")
        assert paid.total_ueur == rent.total_charge_ueur - rent.total_rent_ueur
        assert rent.total_rent_ueur == rent.rent_ueur.sum()
        with_rent += rent.total_rent_ueur > 0
        assert paid.total_ueur >= paid.bid_ueur
    assert with_rent > 5
