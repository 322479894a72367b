"""Certified capabilities: whatever moves within them, the converged AC power flow keeps every limit."""

import numpy as np
import pytest

from flexcore import capability
from flexcore.grid.joint_check import joint_check
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.grid.networks import feeder, random_forecast, random_offers
from tests.reference.grid_power_flow import random_network

pytestmark = pytest.mark.rule("DTL-01")
TIGHT = {"method": "ac", "tolerance": 1e-12, "max_iterations": 1000}


def random_day(rng, *, n_steps=3):
    """Network with charging, shunts and taps; some limits violated already; perimeters of any shape."""
    n = int(rng.integers(4, 30))
    nodes, branches = random_network(rng, n, int(rng.integers(1, 3)), text_ids=False)
    n_branches = len(branches["id"])
    size = 400.0 / np.sqrt(n) * rng.uniform(0.3, 2.5)
    branches["s_max_kva"] = np.where(rng.random(n_branches) < 0.6, rng.uniform(0.5, 8.0, n_branches) * size, np.inf)
    branches["s_max_reverse_kva"] = branches["s_max_kva"] * rng.uniform(0.5, 1.0, n_branches)
    nodes["v_min_pu"], nodes["v_max_pu"] = rng.uniform(0.85, 0.95, n), rng.uniform(1.05, 1.12, n)
    grid = Grid.from_tables(nodes, branches)
    p, q = random_forecast(rng, grid, n_steps, size=size * 0.5)
    up, down = random_offers(rng, grid, n_steps, size=size)
    label = rng.integers(-1, int(rng.integers(1, 5)), n)
    label[rng.integers(n)] = 0
    return grid, p, q, up, down, label


def dispatch(rng, power, caps, label, *, full):
    """Fill each perimeter up to its cap in random order; fully at its edges, or by random parts."""
    x = np.zeros_like(power)
    for k in range(caps.shape[0]):
        left = caps[k].copy()
        for node in rng.permutation(np.flatnonzero(label == k)):
            x[node] = np.minimum(power[node], left) * (1.0 if full else rng.random())
            left -= x[node]
    return x


def assert_no_new_violation(grid, before, after):
    """Limits hold, or a limit that the forecast breaks is at least not broken where it held."""
    ok = np.flatnonzero((before.status == 0) & (after.status == 0))
    held = before.loading[:, ok] <= 1.0
    assert (after.loading[:, ok][held] <= 1.0 + 1e-10).all()
    v, was = after.v_pu[:, ok], before.v_pu[:, ok]
    low, high = grid.v_min_pu[:, None], grid.v_max_pu[:, None]
    assert (v[was >= low] >= np.broadcast_to(low, v.shape)[was >= low] - 1e-10).all()
    assert (v[was <= high] <= np.broadcast_to(high, v.shape)[was <= high] + 1e-10).all()


@pytest.mark.parametrize("tan_phi", [0.0, 0.4, (0.0, 0.5), (-0.1, 0.3)])
def test_no_dispatch_breaks_a_limit_of_the_ac_power_flow(tan_phi):
    rng = np.random.default_rng(70)
    used = tight = 0.0
    for trial in range(60):
        grid, p, q, up, down, label = random_day(rng)
        if np.min(2 * (grid.forest.r_scaled + np.min(tan_phi) * grid.forest.x_scaled)) < 0:
            continue
        before = power_flow(grid, p, q, **TIGHT)
        if before.status.any():
            continue
        caps = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="certified", tan_phi=tan_phi)
        assert joint_check(
            grid, caps.rows, cap_up_kw=caps.up_kw, cap_down_kw=caps.down_kw, up_kw=up, down_kw=down, perimeter=label
        ).safe
        for attempt in range(6):
            ways = [
                dispatch(rng, power, cap * (attempt != skip), label, full=attempt < 4)
                for power, cap, skip in ((up, caps.up_kw, 0), (down, caps.down_kw, 1))
            ]
            low, high = np.min(tan_phi), np.max(tan_phi)
            slope = rng.choice([low, high], p.shape) if trial % 2 else rng.uniform(low, high, p.shape)
            other = rng.choice([low, high], p.shape)
            after = power_flow(grid, p - ways[0] + ways[1], q - slope * ways[0] + other * ways[1], **TIGHT)
            assert (after.status[caps.certified] == 0).all()
            assert_no_new_violation(grid, before, after)
            used += sum(way.sum() for way in ways)
            tight += (np.abs(after.loading - 1.0) < 0.02).sum()
    assert used > 1e4
    assert tight > 20


def test_awards_may_be_delivered_or_not_and_the_forecast_may_be_off():
    rng = np.random.default_rng(71)
    used = 0.0
    for _ in range(40):
        grid, p, q, up, down, label = random_day(rng)
        awards = [power * (rng.random(power.shape) < 0.2) * 0.3 for power in (up, down)]
        offers = [power * (award == 0) for power, award in zip((up, down), awards, strict=True)]
        node_error = 0.02 * np.abs(p)
        order = grid.forest.order
        band = np.zeros_like(p)
        for i in range(grid.n_nodes):
            band[order[i]] = node_error[order[i : grid.forest.last[i]]].sum(axis=0)
        worst = [power_flow(grid, p - a * awards[0] + b * awards[1], q, **TIGHT) for a in (0, 1) for b in (0, 1)]
        if any(flow.status.any() for flow in worst):
            continue
        caps = capability(
            grid, p, q, up_kw=offers[0], down_kw=offers[1], perimeter=label, method="certified",
            delivered_up_kw=awards[0], delivered_down_kw=awards[1], margin_kw=band,
        )  # fmt: skip
        for _ in range(4):
            share = rng.random(p.shape)
            error = rng.uniform(-1, 1, p.shape) * node_error
            local = error - rng.choice([0, 1]) * share * awards[0] + rng.choice([0, 1]) * share * awards[1]
            ways = [
                dispatch(rng, o, c, label, full=True) for o, c in zip(offers, (caps.up_kw, caps.down_kw), strict=True)
            ]
            before = power_flow(grid, p + local, q, **TIGHT)
            after = power_flow(grid, p + local - ways[0] + ways[1], q, **TIGHT)
            # a violation within the band of the forecast is the forecast's; what held before must hold after
            assert_no_new_violation(grid, before, after)
            used += sum(way.sum() for way in ways)
    assert used > 1e3


def test_a_proof_costs_little():
    rng = np.random.default_rng(72)
    total = {"linear": 0.0, "certified": 0.0}
    for _ in range(40):
        grid, p, q, up, down, label = random_day(rng)
        if power_flow(grid, p, q, **TIGHT).status.any():
            continue
        both = {  # the linear ones are not proved, but right to within their losses
            method: capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method=method) for method in total
        }
        for name in ("up_kw", "down_kw"):
            for method, caps in both.items():
                total[method] += getattr(caps, name).sum()
        assert both["certified"].certified.all()
        assert not both["linear"].certified.any()
    assert total["certified"] > 0.97 * total["linear"]


def test_what_limits_is_named_where_the_ceiling_did():
    grid = feeder([-1, 0, 1], s_max=[0, 30.0, np.inf], r=1e-6, x=1e-6)
    offers = np.array([[0.0], [0.0], [100.0]])
    caps = capability(
        grid, 0 * offers, 0 * offers, up_kw=offers, down_kw=offers, perimeter=[-1, 0, 0], method="certified"
    )
    assert caps.kind_up.tolist() == caps.kind_down.tolist() == [[1]]
    assert grid.branch_ids[caps.binding_down].tolist() == [["b1"]]
    assert caps.down_kw == pytest.approx(30.0, rel=1e-4)


def test_where_nothing_can_be_proved_nothing_may_move_and_other_trees_are_spared():
    # at most 207 kW can be fed at the end of this branch; two loss sweeps still find a voltage for 215 kW
    grid = feeder([-1, 0, -1, 2], r=1.0, x=1.0, v_min=0.1)
    p = np.array([[0.0, 0.0], [215.0, 5.0], [0.0, 0.0], [5.0, 5.0]])
    offers = np.ones_like(p)
    caps = capability(grid, p, 0 * p, up_kw=offers, down_kw=offers, perimeter=[-1, 0, -1, 1], method="certified")
    assert caps.certified.tolist() == [False, True]
    assert caps.up_kw[0].tolist() == caps.down_kw[0].tolist() == [0.0, 1.0]
    assert caps.down_kw[1].tolist() == caps.up_kw[1].tolist() == [1.0, 1.0]


def test_who_sits_at_a_slack_node_does_not_stop_where_another_tree_cannot_be_proved():
    grid = feeder([-1, -1, 1], r=1.0, x=1.0, v_min=0.1)
    p = np.array([[0.0], [0.0], [215.0]])
    offers = np.ones_like(p)
    caps = capability(grid, p, 0 * p, up_kw=offers, down_kw=offers, perimeter=[0, 1, 2], together=False)
    assert not caps.certified.any()
    assert caps.up_kw[:, 0].tolist() == caps.down_kw[:, 0].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("sharing", ["joint", "max_total", "value", "nested"])
def test_a_grid_of_slack_nodes_alone_limits_nobody(sharing):
    grid = feeder([-1, -1])
    offers = np.ones((2, 1))
    caps = capability(
        grid, offers, offers, up_kw=offers, down_kw=offers, perimeter=[0, 1], together=False, sharing=sharing
    )
    assert caps.certified.all()
    assert (caps.up_kw == 1.0).all()
    assert (caps.down_kw == 1.0).all()


def test_threads_and_single_steps_give_the_same_bits():
    rng = np.random.default_rng(73)
    grid, p, q, up, down, label = random_day(rng, n_steps=40)

    def solve(steps, n_threads=1):
        return capability(
            grid, p[:, steps], q[:, steps], up_kw=up[:, steps], down_kw=down[:, steps], perimeter=label,
            method="certified", n_threads=n_threads,
        )  # fmt: skip

    once, twice = solve(slice(None)), solve(slice(None), n_threads=2)
    for name in ("up_kw", "down_kw", "margin_up_kw", "kind_down", "certified"):
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))
    for step in range(0, 40, 5):
        alone = solve([step])
        np.testing.assert_array_equal(alone.up_kw[:, 0], once.up_kw[:, step])
        np.testing.assert_array_equal(alone.down_kw[:, 0], once.down_kw[:, step])
