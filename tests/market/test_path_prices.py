"""Path prices against fractions, all whole answers, the LP engine and a naive LP; and who decides what."""

import numpy as np
import pytest

from flexcore.market.clearing import clear_local
from tests.market.clearing_cases import INF, forest, random_tree, rows_of
from tests.market.test_clearing_oracle import W, activation, cost_of, counted, voltage_case
from tests.reference.market_clearing import path, select
from tests.reference.market_path_prices import best_whole, by_effect


def offers_of(node, down, quantity, price):
    return {
        "node": np.array(node), "direction": np.array(down), "quantity_w": np.array(quantity).reshape(-1, 1),
        "price_ueur_per_mwh": np.array(price), "submitted_at": np.zeros(len(node), int),
        "offer_id": np.arange(len(node)),
    }  # fmt: skip


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(4))
def test_one_voltage_need_takes_the_cheapest_per_unit_of_effect_exactly(seed):
    rng = np.random.default_rng(seed)
    met = set()
    for _ in range(40):
        n, k = int(rng.integers(2, 12)), int(rng.integers(1, 20))
        parent = random_tree(rng, n)
        m = rng.integers(1, 12, n)
        inside = [i for i in range(n) if parent[i] >= 0]
        target = int(rng.choice(inside))
        node, down = rng.choice(inside, k), (rng.random(k) < 0.3).astype(int)
        quantity, price = rng.integers(1, 40, k) * 10**6, rng.integers(1, 9, k)
        amount = int(rng.integers(1, 900)) * 10**6
        way = 1 if seed % 2 else -1
        w_lower, w_upper = np.full(n, -INF), np.full(n, INF)
        if way > 0:
            w_lower[target] = amount
        else:
            w_upper[target] = -amount
        rows = rows_of(np.full(n, -INF), np.full(n, INF), m * 1000.0, w_lower, w_upper)
        result = clear_local(forest(parent), rows, **offers_of(node, down, quantity, price))
        whole = m.tolist()
        taken, left = by_effect(parent, whole, target, amount, node.tolist(), down.tolist(), quantity.tolist(),
                                price.tolist(), way)  # fmt: skip
        assert np.abs(result.accepted_w[:, 0] - np.array([float(x) for x in taken])).max() <= 1.0
        reach = sum(whole[i] for i in path(parent, target))
        assert result.unserved_voltage_w[0] == pytest.approx(float(left / reach), abs=1.001)
        acts = any(list(path(parent, at))[-1] == list(path(parent, target))[-1] for at in node)
        assert result.engine[0] == ("path_prices" if acts else "tree_merit_order")
        met.add(left > 0)
    assert met == {True, False}


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(3))
def test_no_whole_answer_is_better_than_rounding_explains(seed):
    rng = np.random.default_rng([7, seed])
    decided = 0
    for _ in range(40):
        n, k = int(rng.integers(3, 6)), int(rng.integers(2, 5))
        parent = random_tree(rng, n)
        # each element acts alike, so all effects are whole and many optima are whole too
        m = np.ones(n, int)
        quantity, price = rng.integers(1, 7, k), rng.integers(1, 30, k)
        node, down = rng.integers(0, n, k), (rng.random(k) < 0.4).astype(int)
        lower = np.where(rng.random(n) < 0.3, rng.integers(1, 6, n), -rng.integers(0, 8, n)).astype(float)
        upper = np.maximum(lower, 0) + rng.integers(0, 8, n)
        w_lower = np.where(rng.random(n) < 0.3, rng.integers(1, 9, n), -rng.integers(0, 9, n)).astype(float)
        w_upper = np.maximum(w_lower, 0) + rng.integers(0, 9, n)
        live = np.array([parent[i] >= 0 for i in node])
        if not live.any():
            continue
        offers = offers_of(node[live], down[live], quantity[live], price[live])
        rows = rows_of(lower, upper, m * 1000.0, w_lower, w_upper)
        result = clear_local(forest(parent), rows, **offers)
        by_lp = clear_local(forest(parent), rows, method="lp", **offers)
        if result.engine[0] != "path_prices":
            continue
        unserved, cost = best_whole(
            parent, lower.astype(int).tolist(), upper.astype(int).tolist(), m.tolist(), w_lower.astype(int).tolist(),
            w_upper.astype(int).tolist(), node[live].tolist(), down[live].tolist(), quantity[live].tolist(),
            price[live].tolist(),
        )  # fmt: skip
        x = result.accepted_w[:, 0]
        y = activation(parent, offers, x)
        w = np.array([sum(m[i] * y[i] for i in path(parent, j)) for j in range(n)])
        inside = np.asarray(parent) >= 0
        exact = ((w <= np.maximum(w_upper, 0)) & (w >= np.minimum(w_lower, 0)))[inside].all()
        reach = np.array([max(len(list(path(parent, j))), 1) for j in range(n)])
        gap = (np.maximum(lower - y, 0) * (lower > 0) + np.maximum(w_lower - w, 0) / reach * (w_lower > 0))[
            inside
        ].sum()
        mine = (price[live] * x).sum()
        if exact:  # a whole answer within all rows: no other whole answer beats it by more than one W of any offer
            assert gap >= float(unserved) - 1e-9
            assert gap > float(unserved) - 1e-9 or mine >= cost
        assert gap <= float(unserved) + k
        other = by_lp.accepted_w[:, 0]
        assert abs(mine - (price[live] * other).sum()) <= price[live].sum()
        decided += 1
    assert decided > 15


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("kind", ["voltage only", "limits", "all"])
def test_path_prices_and_the_lp_give_the_same_answer(kind):
    rng = np.random.default_rng([11, len(kind)])
    decided = left = 0
    for _ in range(120):
        parent, lower, upper, m, _, w_lower, w_upper, offers = voltage_case(rng, kind)
        rows = rows_of(lower, upper, m, w_lower, w_upper)
        result = clear_local(forest(parent), rows, **offers)
        if result.engine[0] not in ("path_prices", "lp"):
            continue
        other = clear_local(forest(parent), rows, method="lp", **offers)
        # ties go the same way; what rounding moves is a watt per tight row
        assert np.abs(result.accepted_w - other.accepted_w).max() <= 2
        assert abs(int(result.unserved_w[0] - other.unserved_w[0])) <= len(offers["node"])
        assert abs(int(result.unserved_voltage_w[0] - other.unserved_voltage_w[0])) <= len(parent) * len(offers["node"])
        decided += result.engine[0] == "path_prices"
        left += result.engine[0] == "lp"
    assert decided > 60
    assert left <= 2


def test_a_need_that_the_merit_order_meets_needs_no_other_engine():
    # the thermal need of 2 kW lifts the voltage by 2, one more than is needed
    rows = rows_of([-INF, 2000.0], [INF, INF], [0.0, 1.0], [-INF, 1.0], [INF, INF])
    offers = offers_of([1, 1], [0, 0], [1500, 1500], [10, 20])
    result = clear_local(forest([-1, 0]), rows, **offers)
    assert result.engine.tolist() == ["tree_merit_order"]
    assert result.accepted_w[:, 0].tolist() == [1500, 500]
    assert result.accepted_w.tolist() == clear_local(forest([-1, 0]), rows, method="lp", **offers).accepted_w.tolist()


def test_a_negative_effect_is_left_to_the_lp():
    rows = rows_of([-INF] * 3, [INF] * 3, [0.0, 2.0, -1.0], [-INF, 1.0, -INF], [INF] * 3)
    offers = offers_of([1, 2], [0, 0], [1000, 1000], [20, 10])
    result = clear_local(forest([-1, 0, 1]), rows, **offers)
    assert result.engine.tolist() == ["lp"]
    assert result.accepted_w.sum() == 500


def test_feeders_of_one_step_are_decided_each_by_itself_on_any_number_of_threads():
    rng = np.random.default_rng(5)
    parent = [-1] + [0] * 6 + [int(rng.integers(1, 7)) for _ in range(30)]
    n, steps, k = len(parent), 5, 80
    m = np.r_[0.0, rng.integers(1, 9, n - 1) * 1e-3]
    w_lower = np.where(rng.random((n, steps)) < 0.3, 0.05, -INF)
    upper = np.where(rng.random((n, steps)) < 0.3, 6000.0, INF)
    rows = rows_of(np.full((n, steps), -INF), upper, m, w_lower, np.full((n, steps), INF))
    offers = offers_of(rng.integers(0, n, k), rng.integers(0, 2, k), rng.integers(1, 3000, k), rng.integers(1, 99, k))
    offers["quantity_w"] = rng.integers(0, 3000, (k, steps))
    one = clear_local(forest(parent), rows, **offers)
    two = clear_local(forest(parent), rows, n_threads=3, **offers)
    assert one.engine.tolist() == ["path_prices"] * steps
    assert (one.accepted_w == two.accepted_w).all()
    assert (one.reason_node == two.reason_node).all()


@pytest.mark.nightly
@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("kind", ["voltage only", "limits", "all"])
def test_path_prices_equal_the_lp_optimum_on_many_random_feeders(kind):
    decided = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, len(kind), 7])
        for _ in range(40):
            parent, lower, upper, m, reach, w_lower, w_upper, offers = voltage_case(rng, kind)
            result = clear_local(forest(parent), rows_of(lower, upper, m, w_lower, w_upper), **offers)
            live = offers["quantity_w"][:, 0] > 0
            least, cost, _ = select(
                parent, lower[:, 0] / W, upper[:, 0] / W, offers["node"][live], offers["direction"][live],
                offers["quantity_w"][live, 0] / W, offers["price_ueur_per_mwh"][live] / 1e6, m, w_lower / (W / 1e3),
                w_upper / (W / 1e3), least_price=1e-6,
            )  # fmt: skip
            whole = (len(parent) + 1) * len(live)
            total = result.unserved_w[0] + result.unserved_voltage_w[0]
            assert total == pytest.approx(least * W, rel=1e-7, abs=whole + 0.1)
            effect = max(reach[1:].max() / max(m[np.asarray(parent) >= 0].min(), 1e-9), 1.0)
            price = max(counted(parent, offers, live), default=1)
            mine = cost_of(parent, offers, result.accepted_w[:, 0], 0) / 1e6 / W
            assert mine == pytest.approx(cost, rel=1e-7, abs=1e-6 + whole * effect * price / 1e6 / W)
            decided += result.engine[0] == "path_prices"
    assert decided >= 900
