"""Pro-rata at the margin: sums, grains, rows and cost are exact, and equal a naive largest remainder."""

import numpy as np
import pytest

from flexcore.errors import OfferError
from flexcore.market.cleared import cleared_local
from flexcore.market.clearing import clear_local
from flexcore.market.pro_rata import share_margin
from tests.market.clearing_cases import forest, random_tree, rows_of
from tests.reference import market_pricing as reference

INF = float("inf")


def case(rng, *, grain=1, n_steps=4, quantities=15, one_need=False):
    """Few prices, so that margins are shared, and everything on a grid of `grain` W."""
    n, n_offers = int(rng.integers(2, 9)), int(rng.integers(2, 14))
    parent = random_tree(rng, n)
    lower = np.where(rng.random((n, n_steps)) < 0.3, rng.integers(1, 40, (n, n_steps)) * grain, -INF)
    upper = np.where(rng.random((n, n_steps)) < 0.5, rng.integers(0, 30, (n, n_steps)) * grain, INF)
    top = [i for i in range(n) if parent[i] >= 0 and parent[parent[i]] < 0]
    if one_need:  # a need at the top and limits below it, where first come, first served fills what shares overload
        lower[:] = -INF
        lower[top] = rng.integers(10, 60) * grain
        upper = np.where(rng.random((n, n_steps)) < 0.6, rng.integers(2, 14, (n, n_steps)) * grain, INF)
        upper[top] = INF
    else:
        upper = np.where(rng.random((n, n_steps)) < 0.1, -rng.integers(1, 20, (n, n_steps)) * grain, upper)
    offers = {
        "node": rng.integers(0, n, n_offers),
        "direction": (rng.random(n_offers) < 0.25).astype(int),
        "quantity_w": rng.integers(0, quantities, (n_offers, n_steps)) * grain,
        "price_ueur_per_mwh": rng.integers(1, 2 if one_need else 4, n_offers),
        "submitted_at": rng.integers(0, 3, n_offers),
        "offer_id": rng.permutation(n_offers),
    }
    grid, rows = forest(parent), rows_of(lower, upper)
    return parent, lower, upper, offers, cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)


@pytest.mark.parametrize("grain", [1, 7])
def test_sums_grains_rows_and_cost_stay_exact(grain):
    rng = np.random.default_rng([5, grain])
    shared = moved = held = n_cases = 0
    for round_ in range(270):
        parent, lower, upper, offers, cleared = case(rng, grain=grain, one_need=round_ % 2 == 0)
        result = share_margin(cleared, granularity_w=np.full(offers["node"].size, grain))
        shared += int(result.shared.any())
        moved += int((result.accepted_w != cleared.accepted_w.T).any())
        held += result.n_rows_held
        assert (result.accepted_w % grain == 0).all()
        assert ((result.accepted_w >= 0) & (result.accepted_w <= offers["quantity_w"])).all()
        price = offers["price_ueur_per_mwh"]
        for t in range(4):
            n_cases += 1
            before, after = cleared.accepted_w[t], result.accepted_w[:, t]
            for p in np.unique(price):
                for way in (0, 1):
                    same = (price == p) & (offers["direction"] == way)
                    assert before[same].sum() == after[same].sum()
            y = reference.net(parent, offers["node"], offers["direction"], before)
            z = reference.net(parent, offers["node"], offers["direction"], after)
            low, high = reference.held_rows(lower[:, t], upper[:, t], y)
            for i in range(len(parent)):
                if parent[i] >= 0:
                    assert low[i] <= z[i] <= high[i]
                    if y[i] in (low[i], high[i]):
                        assert z[i] == y[i]
    assert n_cases == 1080
    assert shared > 100
    assert moved > 100
    assert held >= 8


@pytest.mark.parametrize("mixed", [False, True])
def test_shares_equal_the_reference_at_one_element(mixed):
    rng = np.random.default_rng(11)
    n_kept = n_shared = 0
    for _ in range(150):
        n = int(rng.integers(2, 8))
        grain = rng.integers(1, 6, n) if mixed else np.full(n, int(rng.integers(1, 6)))
        quantity = rng.integers(1, 12, n) * grain
        need = int(rng.integers(1, quantity.sum() + 1))
        if not mixed:
            need -= need % int(grain[0])
        grid, rows = forest([-1, 0]), rows_of([-INF, need], [INF, INF])
        offers = {
            "node": np.ones(n, int), "direction": np.zeros(n, int), "quantity_w": quantity[:, None],
            "price_ueur_per_mwh": np.full(n, 5),
        }  # fmt: skip
        selection = clear_local(grid, rows, **offers)
        cleared = cleared_local(grid, rows, selection, **offers)
        on_grid = cleared.accepted_w[0] // grain * grain  # what a clearing on grids could have given
        cleared = cleared.with_accepted(on_grid[None])
        total = int(on_grid.sum())
        result = share_margin(cleared, granularity_w=grain)
        wanted = reference.share(total, quantity.tolist(), grain.tolist()) if 0 < total < quantity.sum() else None
        n_kept += wanted is None
        n_shared += wanted is not None
        assert result.accepted_w[:, 0].tolist() == (on_grid.tolist() if wanted is None else wanted)
        assert result.n_kept == int(wanted is None and 0 < total < quantity.sum())
    assert n_shared > 100


def test_mixed_grains_break_no_row():
    rng = np.random.default_rng(12)
    n_held = n_kept = n_cases = 0
    while n_cases < 300:
        parent, lower, upper, offers, cleared = case(rng, one_need=bool(rng.integers(2)))
        grain = rng.integers(1, 4, offers["node"].size)
        cleared = cleared.with_accepted(cleared.accepted_w // grain * grain)
        result = share_margin(cleared, granularity_w=grain)
        n_held, n_kept = n_held + result.n_rows_held, n_kept + result.n_kept
        assert (result.accepted_w % grain[:, None] == 0).all()
        for t in range(4):
            before, after = cleared.accepted_w[t], result.accepted_w[:, t]
            y = reference.net(parent, offers["node"], offers["direction"], before)
            z = reference.net(parent, offers["node"], offers["direction"], after)
            low, high = reference.held_rows(lower[:, t], upper[:, t], y)
            inside = [i for i in range(len(parent)) if parent[i] >= 0]
            if all(low[i] <= y[i] <= high[i] for i in inside):
                n_cases += 1
                assert all(low[i] <= z[i] <= high[i] for i in inside)
                assert before.sum() == after.sum()
    assert n_held > 5
    assert n_kept > 5


def test_large_watts_are_shared_without_overflow():
    quantity = np.array([2**40, 2**40 - 1, 3, 2**39 + 7])
    need = 2**41 + 11
    grid, rows = forest([-1, 0]), rows_of([-INF, INF], [INF, INF])
    offers = {
        "node": np.ones(4, int), "direction": np.zeros(4, int), "quantity_w": quantity[:, None],
        "price_ueur_per_mwh": np.full(4, 5),
    }  # fmt: skip
    rows = rows_of([-INF, 10**9], [INF, INF])
    cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
    cleared = cleared.with_accepted(np.array([[2**40, 2**40 - 1, 3, need - 2**41 - 2]]))
    result = share_margin(cleared)
    assert result.accepted_w[:, 0].tolist() == reference.share(need, quantity.tolist(), [1] * 4)


def test_an_element_with_too_little_room_is_filled_and_the_others_share_the_rest():
    grid, rows = forest([-1, 0, 1, 1]), rows_of([-INF, 10, -INF, -INF], [INF, INF, 3, INF])
    offers = {
        "node": np.array([3, 2, 2]), "direction": np.zeros(3, int), "quantity_w": np.array([[10], [5], [5]]),
        "price_ueur_per_mwh": np.full(3, 4), "submitted_at": np.array([1, 2, 3]),
    }  # fmt: skip
    cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
    assert cleared.accepted_w[0].tolist() == [10, 0, 0]
    result = share_margin(cleared)
    assert result.accepted_w[:, 0].tolist() == [7, 2, 1]
    assert result.n_rows_held == 1
    roomy = rows_of([-INF, 10, -INF, -INF], [INF, INF, 6, INF])
    cleared = cleared_local(grid, roomy, clear_local(grid, roomy, **offers), **offers)
    assert share_margin(cleared).accepted_w[:, 0].tolist() == [5, 3, 2]


def test_filling_under_nested_limits_equals_the_reference():
    """One need, one price, limits below that first come, first served leaves slack."""
    rng = np.random.default_rng(21)
    n_filled = n_cases = 0
    while n_cases < 300:
        n, n_offers = int(rng.integers(3, 9)), int(rng.integers(3, 10))
        parent = [-1, 0, *(int(rng.integers(1, i)) for i in range(2, n))]
        upper = np.where(rng.random(n) < 0.7, rng.integers(2, 40, n), 10**9)
        upper[:2] = 10**9
        node, quantity = rng.integers(1, n, n_offers), rng.integers(1, 15, n_offers)
        lower = np.full(n, -INF)
        lower[1] = rng.integers(5, 60)
        grid, rows = forest(parent), rows_of(lower, upper)
        offers = {
            "node": node, "direction": np.zeros(n_offers, int), "quantity_w": quantity[:, None],
            "price_ueur_per_mwh": np.full(n_offers, 5), "offer_id": np.arange(n_offers),
        }  # fmt: skip
        cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
        accepted = cleared.accepted_w[0]
        y = reference.net(parent, node, offers["direction"], accepted)
        if not 0 < accepted.sum() < quantity.sum() or any(y[i] == upper[i] for i in range(2, n)):
            continue  # with a row at its bound there are two classes
        n_cases += 1
        below = {i: frozenset(o for o in range(n_offers) if i in reference.path(parent, node[o])) for i in range(2, n)}
        room = [(below[i], int(upper[i])) for i in sorted(below, key=lambda i: grid.forest.rank[i]) if below[i]]
        wanted = reference.fill(int(accepted.sum()), list(range(n_offers)), quantity.tolist(), room)
        result = share_margin(cleared)
        assert result.accepted_w[:, 0].tolist() == [wanted[o] for o in range(n_offers)]
        n_filled += result.n_rows_held > 0
    assert n_filled > 20


def two_offers(parent, lower, upper, node, quantity_w, **voltage):
    """Two offers up of one price, the first in the order of ties first."""
    grid, rows = forest(parent), rows_of(lower, upper, **voltage)
    offers = {
        "node": node, "direction": [0, 0], "quantity_w": np.array(quantity_w)[:, None],
        "price_ueur_per_mwh": [5, 5], "offer_id": [0, 1],
    }  # fmt: skip
    return cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)


def test_where_shares_would_break_a_voltage_row_only_one_node_shares():
    m, none = [0.0, 1e-3, 1e-3], np.full(3, INF)
    limit = np.array([INF, INF, 1e-3 * 10 + 1e-3 * 2])  # 10 kW at node 1, of which node 2 may give 2 kW
    given = (-1, 0, 1), [-INF, 10_000, -INF], [INF] * 3, [1, 2], [10_000, 10_000]
    cleared = two_offers(*given, m=m, w_lower=-none, w_upper=limit)
    assert cleared.accepted_w.tolist() == [[10_000, 0]]
    assert share_margin(cleared).accepted_w[:, 0].tolist() == [10_000, 0]
    free = two_offers(*given, m=m, w_lower=-none, w_upper=none)
    assert share_margin(free).accepted_w[:, 0].tolist() == [5_000, 5_000]


def test_feeders_share_nothing_and_a_full_class_is_not_shared():
    cleared = two_offers((-1, 0, 0), [-INF] * 3, [INF] * 3, [1, 2], [10, 10])
    apart = share_margin(cleared.with_accepted(np.array([[10, 4]])))
    assert apart.accepted_w[:, 0].tolist() == [10, 4]
    assert apart.n_classes == 0
    full = share_margin(two_offers((-1, 0), [-INF, 30], [INF, INF], [1, 1], [10, 10]))
    assert full.n_classes == 0
    assert not full.shared.any()


def test_where_no_class_can_be_filled_what_lies_below_a_passed_row_keeps_its_sum():
    parent = [2, 6, 4, 0, 5, -1, 3, 1]
    lower = [-19, -18, 5, -INF, -INF, -INF, 4, 23]
    upper = [INF, INF, 8, 6, INF, -25, INF, 37]
    offers = {
        "node": [3, 2, 6], "direction": [1, 0, 0], "quantity_w": np.array([[7], [6], [11]]),
        "price_ueur_per_mwh": [1] * 3, "submitted_at": [1, 1, 0], "offer_id": [0, 1, 2],
    }  # fmt: skip
    grid, rows = forest(parent), rows_of(lower, upper)
    cleared = cleared_local(grid, rows, clear_local(grid, rows, allow_counter=True, **offers), **offers)
    result = share_margin(cleared)
    net = reference.net(parent, offers["node"], offers["direction"], result.accepted_w[:, 0])
    assert result.n_rows_held > 0
    assert net[6] >= 4  # the need deeper down
    assert result.accepted_w.sum() == cleared.accepted_w.sum() == 5


def test_indivisible_offers_keep_what_they_have_and_threads_change_nothing():
    rng = np.random.default_rng(3)
    for _ in range(20):
        *_, offers, cleared = case(rng, n_steps=12)
        fixed = rng.random(offers["node"].size) < 0.5
        one, two = share_margin(cleared, divisible=~fixed), share_margin(cleared, divisible=~fixed, n_threads=2)
        assert np.array_equal(one.accepted_w, two.accepted_w)
        assert np.array_equal(one.accepted_w[fixed], cleared.accepted_w.T[fixed])


def test_an_award_off_its_grain_is_refused():
    rng = np.random.default_rng(3)
    *_, offers, cleared = case(rng)
    while not cleared.accepted_w.any():
        *_, offers, cleared = case(rng)
    with pytest.raises(OfferError) as error:
        share_margin(cleared, granularity_w=np.full(offers["node"].size, 97))
    assert error.value.codes == ("FX-M240",)
