"""Local selection against a naive LP: least unserved and least cost, whole watts for the tree, to 1e-7 with voltage."""

import numpy as np
import pytest

from flexcore.market.clearing import clear_local
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of
from tests.reference.market_clearing import path, select, shifted

W = 10**9  # a step of quantities: so large that rounding to whole watts stays near 1e-7


def activation(parent, offers, accepted):
    y = np.zeros(len(parent))
    for o, node in enumerate(offers["node"]):
        for i in path(parent, node):
            y[i] += accepted[o] * (-1 if offers["direction"][o] else 1)
    return y


def counted(parent, offers, live):
    return shifted(parent, offers["node"][live], [int(p) for p in offers["price_ueur_per_mwh"][live]])


def cost_of(parent, offers, accepted, t):
    live = offers["quantity_w"][:, t] > 0
    price = np.array(counted(parent, offers, live), dtype=object)
    return int((price * accepted[live].astype(object)).sum())


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(8))
def test_tree_selection_equals_the_lp_optimum(seed):
    rng = np.random.default_rng(seed)
    kinds = set()
    for _ in range(15):
        n, n_steps = int(rng.integers(2, 14)), 4
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, n_steps, 1)
        offers = random_offers(rng, n, int(rng.integers(0, 16)), n_steps, 1)
        result = clear_local(forest(parent), rows_of(lower, upper), **offers)
        for t in range(n_steps):
            accepted, quantity = result.accepted_w[:, t], offers["quantity_w"][:, t]
            live = quantity > 0
            least, cost, _ = select(
                parent, lower[:, t], upper[:, t], offers["node"][live], offers["direction"][live], quantity[live],
                offers["price_ueur_per_mwh"][live] // 10**6,
            )  # fmt: skip
            assert result.unserved_w[t] == round(least)
            mine = sum(
                p * q
                for p, q in zip(
                    shifted(parent, offers["node"][live], list(offers["price_ueur_per_mwh"][live] // 10**6)),
                    accepted[live],
                    strict=True,
                )
            )
            assert mine == pytest.approx(cost, abs=1e-4)
            assert ((accepted >= 0) & (accepted <= quantity)).all()
            y = activation(parent, offers, accepted)
            inside = np.asarray(parent) >= 0
            assert (y <= np.maximum(upper[:, t], 0))[inside].all()
            assert (y >= np.minimum(lower[:, t], 0))[inside].all()
            assert result.engine[t] in ("none", "tree_merit_order")
            kinds.add((bool(least > 0.5), bool(cost > 0), bool(accepted[offers["direction"] == 1].any())))
    assert len(kinds) >= 3  # met and unmet needs, with and without down


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("method", ["lp", "tree"])
def test_lp_and_tree_agree_without_voltage_rows(method):
    rng = np.random.default_rng(3)
    for _ in range(12):
        n = int(rng.integers(2, 12))
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, 1, W)
        offers = random_offers(rng, n, 12, 1, W)
        result = clear_local(forest(parent), rows_of(lower, upper), method=method, **offers)
        other = clear_local(forest(parent), rows_of(lower, upper), method="auto", **offers)
        assert result.unserved_w[0] == other.unserved_w[0]
        assert cost_of(parent, offers, result.accepted_w[:, 0], 0) == cost_of(parent, offers, other.accepted_w[:, 0], 0)


def voltage_case(rng, kind):
    n = int(rng.integers(3, 14))
    parent = random_tree(rng, n)
    lower, upper = random_bounds(rng, n, 1, W)
    if kind == "voltage only":
        lower[:], upper[:] = -np.inf, np.inf
    elif kind == "limits":
        lower = np.where(rng.random(lower.shape) < 0.8, np.minimum(lower, -W), lower)
        upper = np.where(rng.random(upper.shape) < 0.8, np.maximum(upper, W), upper)
    m = rng.integers(1, 20, n) * 1e-6
    reach = np.array([sum(m[i] for i in path(parent, j)) for j in range(n)])
    size = rng.integers(1, 25, n) * (W / 1000.0) * reach
    kinds = rng.random(n)
    w_lower = np.where(kinds < 0.25, size, np.where(kinds < 0.6, -size, -np.inf))
    w_upper = np.where((kinds >= 0.25) & (kinds < 0.35), -size, np.where(kinds > 0.5, size, np.inf))
    w_lower = np.where(w_lower > w_upper, -np.inf, w_lower)
    offers = random_offers(rng, n, int(rng.integers(1, 16)), 1, W, negative=rng.random() < 0.3)
    return parent, lower, upper, m, reach, w_lower, w_upper, offers


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("kind", ["voltage only", "limits", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_selection_with_voltage_rows_equals_the_lp_optimum(kind, seed):
    rng = np.random.default_rng([seed, len(kind)])
    engines, unserved_seen = set(), 0
    for _ in range(40):
        parent, lower, upper, m, reach, w_lower, w_upper, offers = voltage_case(rng, kind)
        result = clear_local(forest(parent), rows_of(lower, upper, m, w_lower, w_upper), **offers)
        accepted, quantity = result.accepted_w[:, 0], offers["quantity_w"][:, 0]
        live = quantity > 0
        # the reference counts W and micro-EUR/MWh in millions
        least, cost, _ = select(
            parent, lower[:, 0] / W, upper[:, 0] / W, offers["node"][live], offers["direction"][live],
            quantity[live] / W, offers["price_ueur_per_mwh"][live] / 1e6, m, w_lower / (W / 1e3),
            w_upper / (W / 1e3), least_price=1e-6,
        )  # fmt: skip
        whole = (len(parent) + 1) * len(quantity)  # rows times offers: what rounding to whole W may move
        total = result.unserved_w[0] + result.unserved_voltage_w[0]
        assert total == pytest.approx(least * W, rel=1e-7, abs=whole + 0.1)
        price = max(counted(parent, offers, live), default=1)
        mine = cost_of(parent, offers, accepted, 0) / 1e6 / W
        effect = max(reach[1:].max() / max(m[np.asarray(parent) >= 0].min(), 1e-9), 1.0)
        assert mine == pytest.approx(cost, rel=1e-7, abs=1e-6 + whole * effect * price / 1e6 / W)
        y = activation(parent, offers, accepted)
        inside = np.asarray(parent) >= 0
        assert (y <= np.maximum(upper[:, 0], 0))[inside].all()
        assert (y >= np.minimum(lower[:, 0], 0))[inside].all()
        w = np.array([sum(m[i] * y[i] / 1000.0 for i in path(parent, j)) for j in range(len(parent))])
        one_w = reach / 1000.0 * 1.002
        assert (w <= np.maximum(w_upper, 0) + one_w)[inside].all()
        assert (w >= np.minimum(w_lower, 0) - one_w)[inside].all()
        engines.add(str(result.engine[0]))
        unserved_seen += total > 0
    assert "path_prices" in engines
    assert unserved_seen


def missing(parent, offers, accepted, case):
    """W of all needs that stay open, or None if a row is broken."""
    lower, upper, m, reach, w_lower, w_upper = case
    y = activation(parent, offers, accepted)
    w = np.array([sum(m[i] * y[i] / 1000.0 for i in path(parent, j)) for j in range(len(parent))])
    one_w = reach / 1000.0 * 1.002
    total = 0.0
    for i in np.flatnonzero(np.asarray(parent) >= 0):
        if not min(lower[i], 0) <= y[i] <= max(upper[i], 0):
            return None
        if not min(w_lower[i], 0) - one_w[i] <= w[i] <= max(w_upper[i], 0) + one_w[i]:
            return None
        total += max(lower[i] - y[i], y[i] - upper[i], 0) if max(lower[i], -upper[i]) > 0 else 0.0
        if max(w_lower[i], -w_upper[i]) > 0:
            total += max(w_lower[i] - w[i], w[i] - w_upper[i], 0) / reach[i] * 1000.0
    return total


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("dear", [20, 10**9])
@pytest.mark.parametrize("kind", ["voltage only", "limits", "all"])
def test_no_earlier_offer_of_the_same_price_could_take_the_place_of_a_later_one(kind, dear):
    rng = np.random.default_rng([dear, len(kind)])
    little = W // 1000
    tried = 0
    for _ in range(60):
        parent, lower, upper, m, reach, w_lower, w_upper, offers = voltage_case(rng, kind)
        offers["price_ueur_per_mwh"] = rng.choice([10, 11, dear], len(offers["node"])) * 10**6
        result = clear_local(forest(parent), rows_of(lower, upper, m, w_lower, w_upper), **offers)
        if result.engine[0] != "path_prices":
            continue
        case = (lower[:, 0], upper[:, 0], m, reach, w_lower, w_upper)
        accepted, quantity = result.accepted_w[:, 0], offers["quantity_w"][:, 0]
        open_w = missing(parent, offers, accepted, case)
        keys = np.stack([offers[name] for name in ("price_ueur_per_mwh", "direction", "submitted_at", "offer_id")])
        for early, late in np.argwhere((accepted + little <= quantity)[:, None] & (accepted >= little)[None, :]):
            same = (keys[:2, early] == keys[:2, late]).all()
            if not same or tuple(keys[2:, early]) >= tuple(keys[2:, late]):
                continue
            swapped = accepted.copy()
            swapped[early] += little
            swapped[late] -= little
            left = missing(parent, offers, swapped, case)
            assert left is None or left > open_w + 1000
            tried += 1
    assert tried > 10
