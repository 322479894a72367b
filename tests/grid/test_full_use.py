"""Solving only the trees and steps in which something limits: the same capabilities as solving everything."""

import numpy as np
import pytest

import flexcore.grid.capability as public
from flexcore import capability
from flexcore.grid.capability_call import solve
from flexcore.grid.joint_check import joint_check
from flexcore.grid.subgrid import trees_alone
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers

pytestmark = pytest.mark.rule("DTL-01")
CAPS = ("up_kw", "down_kw", "movable_up_kw", "movable_down_kw")
LIMITS = ("kind", "binding", "at_node", "colour", "status")


def forest_day(rng, *, n_steps=6, spans=False):
    """Several trees, of which some are tight in some steps only."""
    grid = random_feeder(rng, int(rng.integers(20, 90)), trees=int(rng.integers(2, 6)), tight=0.4, impedance=0.08)
    p, q = random_forecast(rng, grid, n_steps)
    up, down = random_offers(rng, grid, n_steps)
    scale = rng.choice([0.02, 0.1, 1.0], n_steps)
    up, down = up * scale, down * scale
    label = rng.integers(-1, 3, grid.n_nodes)
    if not spans:  # a perimeter of its own in each tree
        forest = grid.forest
        tree = np.cumsum(forest.parent < 0)[forest.rank] - 1
        label = np.where(label < 0, -1, 3 * tree + label)
    return grid, p, q, up, down, label


def both(monkeypatch, *args, **options):
    quick = capability(*args, **options)
    with monkeypatch.context() as patch:
        patch.setattr(public, "solve_where_needed", solve)
        return quick, capability(*args, **options)


@pytest.mark.parametrize("method", ["certified", "linear"])
@pytest.mark.parametrize("spans", [False, True])
def test_the_same_as_solving_everything(method, spans, monkeypatch):
    rng = np.random.default_rng(11)
    free = tight = 0
    for trial in range(40):
        grid, p, q, up, down, label = forest_day(rng, spans=spans)
        options = {
            "tan_phi": 0.3 if trial % 3 == 1 else 0.0,
            "voltage_slack_pu": 0.001 if trial % 4 == 1 else 0.0,
            "margin_kw": np.full(p.shape, 0.2) if trial % 5 == 1 else None,
            "delivered_up_kw": 0.1 * up if trial % 4 == 2 else None,
            "delivered_down_kw": 0.1 * down if trial % 4 == 3 else None,
            "together": trial % 7 != 3,
            "n_threads": 1 + trial % 2,
        }
        if trial % 6 == 5:
            options["weights"] = rng.uniform(0.5, 2.0, max(label.max() + 1, 0))
        args = {"up_kw": up, "down_kw": down, "perimeter": label, "method": method, **options}
        quick, plain = both(monkeypatch, grid, p, q, **args)
        for name in CAPS:
            np.testing.assert_allclose(getattr(quick, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
        for name in LIMITS:
            for way in ("up", "down"):
                np.testing.assert_array_equal(getattr(quick, f"{name}_{way}"), getattr(plain, f"{name}_{way}"))
        for name in ("lower_kw", "upper_kw", "w_lower", "w_upper"):
            np.testing.assert_allclose(getattr(quick.rows, name), getattr(plain.rows, name), rtol=1e-9, atol=1e-9)
        for name in ("margin_up_kw", "margin_down_kw"):
            np.testing.assert_allclose(getattr(quick, name), getattr(plain, name), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(quick.certified, plain.certified)
        limited = (quick.kind_up > 0) | (quick.kind_down > 0)
        tight += limited.any(axis=0).sum()
        free += (~limited).all(axis=0).sum()
        if options["together"]:
            check = {"up_kw": up, "down_kw": down, "perimeter": label, "voltage_slack_pu": options["voltage_slack_pu"]}
            assert joint_check(grid, quick.rows, cap_up_kw=quick.up_kw, cap_down_kw=quick.down_kw, **check).safe
    assert free > 10
    assert tight > 60


@pytest.mark.parametrize("method", ["certified", "linear"])
def test_a_step_alone_gives_the_same_bits(method):
    rng = np.random.default_rng(12)
    for _ in range(6):
        grid, p, q, up, down, label = forest_day(rng)
        whole = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method=method, n_threads=2)
        for t in range(p.shape[1]):
            one = [np.ascontiguousarray(x[:, t : t + 1]) for x in (p, q, up, down)]
            alone = capability(grid, *one[:2], up_kw=one[2], down_kw=one[3], perimeter=label, method=method)
            for name in (*CAPS, "margin_up_kw", "margin_down_kw", "binding_up", "binding_down"):
                np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(whole, name)[:, t])


def test_a_part_of_a_grid_is_the_grid_of_its_trees():
    rng = np.random.default_rng(13)
    grid = random_feeder(rng, 60, trees=4)
    forest = grid.forest
    chosen = np.isin(np.cumsum(forest.parent < 0) - 1, [0, 2])
    part = trees_alone(grid, chosen)
    np.testing.assert_array_equal(part.grid.node_ids, grid.node_ids[part.nodes])
    np.testing.assert_array_equal(part.grid.branch_ids, grid.branch_ids[part.branches])
    np.testing.assert_array_equal(part.nodes[part.grid.forest.order], forest.order[part.places])
    for here, there in ((part.grid.branch_from, grid.branch_from), (part.grid.branch_to, grid.branch_to)):
        np.testing.assert_array_equal(part.nodes[here], there[part.branches])
    inner = part.grid.forest
    for i in range(inner.order.size):
        assert (inner.parent[i] < 0) == (forest.parent[part.places[i]] < 0)
        if inner.parent[i] >= 0:
            assert part.places[inner.parent[i]] == forest.parent[part.places[i]]
            assert part.branches[inner.branch[i]] == forest.branch[part.places[i]]
        assert inner.last[i] - i == forest.last[part.places[i]] - part.places[i]
    assert part.nodes.size > 4
    np.testing.assert_array_equal(part.grid.node_index(part.grid.node_ids[3:4]), [3])


def test_a_limit_met_to_the_last_bit_is_left_to_the_exact_check():
    grid = feeder([-1, 0, 1], s_max=[np.inf, 3.0, np.inf], r=1e-9, x=1e-9)
    power = np.array([[0.0], [0.0], [3.0]])
    found = capability(grid, 0 * power, 0 * power, up_kw=power, down_kw=power, perimeter=[-1, 0, 0], method="linear")
    assert 2.9 < found.down_kw[0, 0] <= 3.0
    assert found.up_kw[0, 0] <= 3.0
