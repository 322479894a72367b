"""What a step gets does not depend on the other steps, trees or nodes of a call; and edges of solving in parts."""

import numpy as np
import pytest

import flexcore.grid.capability as public
from flexcore.grid.capability import GREEN, capability
from flexcore.grid.capability_call import solve
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers

pytestmark = pytest.mark.rule("DTL-01")
METHODS = ("linear", "certified")
EXACT = (
    "colour_up", "colour_down", "kind_up", "kind_down", "binding_up", "binding_down", "at_node_up", "at_node_down",
    "status_up", "status_down", "largest_up", "largest_down", "certified",
)  # fmt: skip
NUMBERS = ("up_kw", "down_kw", "movable_up_kw", "movable_down_kw", "margin_up_kw", "margin_down_kw")


def draw(seed, n_steps=6):
    """Random trees; offers come and go with nodes and steps."""
    rng = np.random.default_rng(seed)
    grid = random_feeder(
        rng, int(rng.integers(5, 40)), trees=int(rng.integers(1, 5)), impedance=rng.choice([0.05, 0.3])
    )
    p, q = random_forecast(rng, grid, n_steps, size=rng.choice([1.0, 3.0]))
    up, down = (
        offers * (rng.random(offers.shape) < rng.choice([0.3, 1.0])) * (rng.random(n_steps) < 0.8)
        for offers in random_offers(rng, grid, n_steps)
    )
    if seed % 2:
        forest = grid.forest
        root = np.empty(grid.n_nodes, int)
        root[forest.order] = np.maximum.accumulate(np.where(forest.parent < 0, np.arange(grid.n_nodes), 0))
        label = np.unique(2 * root + rng.integers(0, 2, grid.n_nodes), return_inverse=True)[1]
    else:
        label = rng.integers(0, 4, grid.n_nodes)
    label = np.where(rng.random(grid.n_nodes) < 0.2, -1, label)
    used, place = np.unique(label[label >= 0], return_inverse=True)
    label[label >= 0] = place
    more = {"margin_kw": np.full(p.shape, 0.3)} if seed % 3 == 0 else {}
    more |= {"delivered_down_kw": np.full(p.shape, 0.1)} if seed % 5 == 0 else {}
    more |= {"voltage_slack_pu": 0.01} if seed % 4 == 0 else {}
    return grid, label, used.size, {"p_kw": p, "q_kvar": q, "up_kw": up, "down_kw": down, **more}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(12))
def test_solving_only_where_needed_changes_nothing(method, seed, monkeypatch):
    grid, label, _, powers = draw(seed)
    part = capability(grid, perimeter=label, method=method, **powers)
    monkeypatch.setattr(public, "solve_where_needed", solve)
    whole = capability(grid, perimeter=label, method=method, **powers)
    for name in EXACT:
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name), err_msg=name)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), rtol=1e-7, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_move_is_green(method):
    grid = feeder([-1, 0, 1])
    none = np.zeros((3, 2))
    caps = capability(grid, none, none, up_kw=none, down_kw=none, perimeter=[-1, 0, 1], method=method)
    assert (caps.colour_up == GREEN).all()
    assert (caps.colour_down == GREEN).all()
    assert not caps.up_kw.any()
    assert not caps.down_kw.any()
    assert not caps.kind_up.any()
    assert np.isinf(caps.margin_up_kw).all()
    assert np.isinf(caps.margin_down_kw).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(12))
def test_a_step_alone_does_not_depend_on_what_moves_in_others(method, seed):
    grid, label, _, powers = draw(seed)
    whole = capability(grid, perimeter=label, method=method, **powers)
    for step in range(6):
        one = {name: values[:, [step]] if np.ndim(values) == 2 else values for name, values in powers.items()}
        alone = capability(grid, perimeter=label, method=method, **one)
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(whole, name)[:, step], err_msg=name)


def test_rows_of_a_step_do_not_depend_on_what_moves_in_others():
    # an exporting branch, and an award down that takes voltage and with it rated power; in step 0 nothing moves down
    grid = feeder([-1, 0, 1], s_max=[0, np.inf, 40.0], r=1.0, x=1.0, v_min=0.5, v_max=1.5)
    p = np.full((3, 2), -8.0)
    up, down = np.full((3, 2), 60.0), np.array([[0.0, 1.0]] * 3)
    award = np.full((3, 2), 20.0)
    label = [-1, 0, 0]

    def solve_at(steps):
        return capability(
            grid, p[:, steps], 0 * p[:, steps], up_kw=up[:, steps], down_kw=down[:, steps], perimeter=label,
            method="linear", delivered_down_kw=award[:, steps],
        )  # fmt: skip

    alone, both = solve_at([0]), solve_at([0, 1])
    assert alone.kind_up[0, 0] == 1
    np.testing.assert_array_equal(alone.up_kw[:, 0], both.up_kw[:, 0])
