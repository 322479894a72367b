"""What must not change a selection: threads, the block a step is in, the order of offers and of nodes."""

import numpy as np
import pytest

from flexcore.errors import OfferError, ValidationError
from flexcore.market.clearing import clear_local
from flexcore.market.merit_order import select_capped
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of

FIELDS = ("accepted_w", "reason", "reason_node", "engine", "unserved_w", "unserved_voltage_w")
N, STEPS = 40, 9


def case(seed):
    rng = np.random.default_rng(seed)
    parent = random_tree(rng, N)
    lower, upper = random_bounds(rng, N, STEPS, 1000)
    m = rng.integers(1, 20, N) * 1e-6
    w_lower = np.where(rng.random((N, STEPS)) < 0.03, 2e-4, -1e-3)
    w_upper = np.full((N, STEPS), 1e-3)
    offers = random_offers(rng, N, 60, STEPS, 1000)
    group = rng.integers(-1, 6, N)
    return parent, (lower, upper, m, w_lower, w_upper), offers, group


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(3))
def test_threads_blocks_and_steps_alone_give_the_same_bits(seed):
    parent, (lower, upper, m, w_lower, w_upper), offers, group = case(seed)
    grid = forest(parent)
    one = clear_local(grid, rows_of(lower, upper, m, w_lower, w_upper), group=group, **offers)
    two = clear_local(grid, rows_of(lower, upper, m, w_lower, w_upper), group=group, n_threads=2, **offers)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert "path_prices" in one.engine
    for t in range(STEPS):
        cut = slice(t, t + 1)
        alone = clear_local(
            grid, rows_of(lower[:, cut], upper[:, cut], m, w_lower[:, cut], w_upper[:, cut]), group=group,
            **{**offers, "quantity_w": offers["quantity_w"][:, cut]},
        )  # fmt: skip
        np.testing.assert_array_equal(alone.accepted_w[:, 0], one.accepted_w[:, t])
        np.testing.assert_array_equal(alone.reason[:, 0], one.reason[:, t])


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(3))
def test_order_of_offers_changes_nothing(seed):
    parent, rows, offers, group = case(seed)
    first = clear_local(forest(parent), rows_of(*rows), group=group, **offers)
    shuffle = np.random.default_rng(seed).permutation(60)
    second = clear_local(
        forest(parent), rows_of(*rows), group=group, **{name: values[shuffle] for name, values in offers.items()}
    )
    for field in ("accepted_w", "reason", "reason_node"):
        np.testing.assert_array_equal(getattr(first, field)[shuffle], getattr(second, field))
    assert first.total_cost_ueur == second.total_cost_ueur


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(3))
def test_one_direction_in_each_perimeter_and_no_row_broken(seed):
    parent, (lower, upper, m, w_lower, w_upper), offers, group = case(seed)
    result = clear_local(forest(parent), rows_of(lower, upper, m, w_lower, w_upper), group=group, **offers)
    label, way = group[offers["node"]], offers["direction"]
    for g in range(6):
        moved = [result.accepted_w[(label == g) & (way == d)].sum(axis=0) > 0 for d in (0, 1)]
        assert not (moved[0] & moved[1]).any()
    y = np.zeros((N, STEPS))
    for o, node in enumerate(offers["node"]):
        i = node
        while parent[i] >= 0:
            y[i] += result.accepted_w[o] * (1 - 2 * way[o])
            i = parent[i]
    inside = np.array(parent) >= 0
    assert (y <= np.maximum(upper, 0))[inside].all()
    assert (y >= np.minimum(lower, 0))[inside].all()
    w, reach = np.zeros((N, STEPS)), np.zeros((N, 1))
    for j in range(N):
        i = j
        while parent[i] >= 0:
            w[j] += m[i] * y[i] / 1000.0
            reach[j] += m[i]
            i = parent[i]
    one_w = reach / 1000.0 * 1.01  # whole watts: a voltage row may be passed by the effect of one
    assert (w <= np.maximum(w_upper, 0) + one_w)[inside].all()
    assert (w >= np.minimum(w_lower, 0) - one_w)[inside].all()


@pytest.mark.rule("LFP-01")
def test_an_offer_dearer_than_all_changes_no_award_and_twice_is_once():
    parent, (lower, upper, *_), offers, _ = case(5)
    lower[lower > 0] /= 1000.0  # needs so small that all are met
    lower[:, 1::2], upper = np.where(lower[:, 1::2] < 0, lower[:, 1::2], -np.inf), np.where(upper < 0, np.inf, upper)
    lower[np.argmax(np.array(parent) >= 0), :] = 1.0
    rows = rows_of(lower, upper + 10**6)
    first = clear_local(forest(parent), rows, **offers)
    again = clear_local(forest(parent), rows, **offers)
    np.testing.assert_array_equal(first.accepted_w, again.accepted_w)
    more = {name: np.concatenate([values, values[:1]]) for name, values in offers.items()}
    more["price_ueur_per_mwh"][-1] = 10**9
    more["offer_id"][-1] = 999
    served = (first.unserved_w == 0) & (first.accepted_w.sum(axis=0) > 0)
    assert served.any()
    second = clear_local(forest(parent), rows, **more)
    np.testing.assert_array_equal(first.accepted_w[:, served], second.accepted_w[:-1, served])


def capped_reference(price, time, ids, quantity, perimeter, need, capability):
    accepted = np.zeros(quantity.shape, int)
    for t in range(quantity.shape[1]):
        left, free = int(need[t]), {k: int(capability[k, t]) for k in range(len(capability))}
        for _, _, _, o in sorted((int(price[o]), int(time[o]), int(ids[o]), o) for o in range(len(price))):
            take = min(int(quantity[o, t]), left, free.get(int(perimeter[o]), 0))
            accepted[o, t] = take
            left -= take
            if take:
                free[int(perimeter[o])] -= take
    return accepted


@pytest.mark.rule("MSD-02")
@pytest.mark.parametrize("seed", range(20))
def test_capped_merit_order_equals_its_reference(seed):
    rng = np.random.default_rng(seed)
    n, n_steps, n_perimeters = int(rng.integers(0, 30)), 5, 4
    arguments = (
        rng.integers(-5, 5, n), rng.integers(0, 2, n), rng.permutation(n), rng.integers(0, 50, (n, n_steps)),
        rng.integers(-1, n_perimeters, n), rng.integers(0, 400, n_steps), rng.integers(0, 120, (n_perimeters, n_steps)),
    )  # fmt: skip
    accepted = select_capped(*arguments)
    np.testing.assert_array_equal(accepted, capped_reference(*arguments))
    np.testing.assert_array_equal(accepted, select_capped(*arguments, n_threads=2))
    by_step = np.repeat(arguments[0][:, None], n_steps, axis=1)
    np.testing.assert_array_equal(accepted, select_capped(by_step, *arguments[1:]))


def test_capped_merit_order_refuses_unknown_perimeters_and_negative_needs():
    good = {
        "price_ueur_per_mwh": [1], "submitted_at": [0], "offer_id": ["a"], "quantity_w": [[5]], "perimeter": [0],
        "need_w": [5], "capability_w": [[5]],
    }  # fmt: skip
    assert select_capped(**good).tolist() == [[5]]
    with pytest.raises(OfferError) as caught:
        select_capped(**{**good, "perimeter": [1]})
    assert caught.value.codes == ("FX-M201",)
    with pytest.raises(ValidationError) as caught:
        select_capped(**{**good, "need_w": [-5]})
    assert caught.value.codes == ("FX-A004",)
