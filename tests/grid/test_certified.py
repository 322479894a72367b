"""Certified bounds: AC solutions lie inside, they are as tight as the reference's, and they say when they fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import ValidationError
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.grid.networks import feeder
from tests.reference.grid_certified import certify, follow, oriented
from tests.reference.grid_power_flow import random_network

FLOWS = ("branch_p_kw", "branch_q_kvar", "v_pu", "loading")


def case(seed, *, n_steps=4, most_nodes=60, stress=(0.1, 6.0)):
    """Random network with shunts, taps and shifts; loads and exports of one random size."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, most_nodes))
    nodes, branches = random_network(rng, n, int(rng.integers(1, 1 + max(1, n // 8))))
    n_branches = len(branches["id"])
    branches["s_max_kva"] = rng.uniform(50.0, 500.0, n_branches)
    branches["s_max_reverse_kva"] = branches["s_max_kva"] * rng.uniform(0.5, 1.0, n_branches)
    size = 400.0 / np.sqrt(n) * rng.uniform(*stress)
    p = rng.uniform(rng.uniform(-2, 0.5), rng.uniform(0.6, 2), (n, n_steps)) * size
    return nodes, branches, Grid.from_tables(nodes, branches), p, rng.uniform(-0.5, 0.8, p.shape) * size


def contains(bounds, exact, grid):
    """Tell that the bounds of the certified steps contain a converged solution; returns the largest voltage gap."""
    sure = np.flatnonzero(bounds.certified)
    assert (exact.status[sure] == 0).all()
    for name, lo, hi in (
        ("v_pu", bounds.v_lo_pu, bounds.v_hi_pu),
        ("branch_p_kw", bounds.branch_p_lo_kw, bounds.branch_p_hi_kw),
        ("branch_q_kvar", bounds.branch_q_lo_kvar, bounds.branch_q_hi_kvar),
        ("loading", None, bounds.loading_hi),
    ):
        value = getattr(exact, name)[:, sure]
        # what the AC solution itself is off by at a tolerance of 1e-13 pu
        room = 1e-11 * np.maximum(np.abs(value).max(initial=0.0), 1.0)
        assert lo is None or (lo[:, sure] <= value + room).all()
        assert (value <= hi[:, sure] + room).all()
    return (bounds.v_hi_pu - bounds.v_lo_pu)[:, sure].max(initial=0.0)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_the_ac_solution_lies_inside(seed):
    _, _, grid, p, q = case(seed)
    bounds = power_flow(grid, p, q, method="certified", outputs=FLOWS)
    exact = power_flow(grid, p, q, method="ac", outputs=FLOWS, tolerance=1e-13, max_iterations=1000)
    contains(bounds, exact, grid)
    healthy = (exact.status == 0) & (np.nan_to_num(exact.v_pu).min(axis=0) >= 0.9)
    assert bounds.certified[healthy].all()


@pytest.mark.parametrize("seed", range(40))
def test_the_box_passes_the_reference_certificate(seed):
    nodes, branches, grid, p, q = case(seed, n_steps=1, most_nodes=20, stress=(0.1, 2.0))
    bounds = power_flow(grid, p, q, method="certified", outputs=FLOWS)
    load = {key: complex(a, b) for key, a, b in zip(grid.node_ids.tolist(), p[:, 0], q[:, 0], strict=True)}
    box, tree = certify(nodes, branches, load), oriented(nodes, branches)
    assert (box is not None) == bounds.certified[0]
    if box is None:
        return
    mine = {
        key: (lo**2, hi**2)
        for key, lo, hi in zip(grid.node_ids.tolist(), bounds.v_lo_pu[:, 0], bounds.v_hi_pu[:, 0], strict=True)
    }
    mapped, ends = follow(tree, load, mine)
    drop = max(abs(high - 1.0) for _, high in mine.values())  # of squared voltages, from about 1 at the roots
    for key, (lo, hi) in mapped.items():
        assert mine[key][0] <= lo
        assert hi <= mine[key][1]
        # the reference widens by less, in more rounds; 1.3e-4 of the drop is the most that was seen
        assert mine[key][1] - mine[key][0] <= (box[key][1] - box[key][0]) + 4e-4 * drop + 1e-8
    forward = np.isin(grid.branch_ids, grid.branch_ids[grid.forest.branch[grid.forest.forward]])
    for name, part in (("p_{}_kw", 0), ("q_{}_kvar", 1)):
        low, high = (getattr(bounds, "branch_" + name.format(end))[:, 0] for end in ("lo", "hi"))
        into = np.array([ends[key][0][part] for key in grid.branch_ids.tolist()]).reshape(-1, 2)
        out_of = np.array([ends[key][1][part] for key in grid.branch_ids.tolist()]).reshape(-1, 2)
        # flows come from the box before it was mapped, so they hold those that follow from the published voltages
        least, most = np.where(forward, into[:, 0], -out_of[:, 1]), np.where(forward, into[:, 1], -out_of[:, 0])
        size = np.abs(p).sum()
        assert (low <= least + 1e-9 * size).all()
        assert (most <= high + 1e-9 * size).all()
        assert (high - low).max() <= (most - least).max() + 4e-4 * size


def test_nothing_but_a_line_gives_the_solution_itself():
    grid = feeder([-1, 0], r=0.05, x=0.03)
    p, q = np.array([[0.0], [800.0]]), np.array([[0.0], [300.0]])
    bounds = power_flow(grid, p, q, method="certified")
    exact = power_flow(grid, p, q, method="ac", tolerance=1e-13)
    assert bounds.certified.tolist() == [True]
    np.testing.assert_allclose(bounds.v_lo_pu, exact.v_pu, rtol=0, atol=1e-5)
    np.testing.assert_allclose(bounds.v_hi_pu, exact.v_pu, rtol=0, atol=1e-5)
    # 1 kV, so amperes are kVA over sqrt(3) kV over v
    assert bounds.i_hi_ka[0, 0] == pytest.approx(np.hypot(800, 300) / 3**0.5 / exact.v_pu[1, 0] / 1e3, rel=1e-4)
    assert bounds.loading_hi[0, 0] == 0


def test_a_load_that_cannot_be_fed_is_not_certified_and_spares_its_neighbours():
    grid = feeder([-1, 0, 1, -1, 3], r=0.05, x=0.05)
    p = np.array([[0.0, 0.0], [100.0, 100.0], [100.0, 9e3], [0.0, 0.0], [500.0, 500.0]])
    bounds = power_flow(grid, p, 0 * p, method="certified")
    assert bounds.certified.tolist() == [True, False]
    assert bounds.status.tolist() == [0, 1]
    assert np.isnan(bounds.v_lo_pu[[1, 2], 1]).all()
    assert np.isfinite(bounds.v_lo_pu[[0, 3, 4], 1]).all()
    assert np.isnan(bounds.i_hi_ka[[0, 1], 1]).all()


def test_the_dead_band_of_the_busbar_is_covered():
    wide = feeder([-1, 0, 1], r=0.05, x=0.05, band=0.02)
    p = np.array([[0.0], [300.0], [-500.0]])
    bounds = power_flow(wide, p, 0.2 * p, method="certified", outputs=FLOWS)
    assert bounds.v_lo_pu[0, 0] == pytest.approx(0.99)
    assert bounds.v_hi_pu[0, 0] == pytest.approx(1.01)
    for v_set in (0.99, 1.0, 1.01):
        nodes = {"id": [0, 1, 2], "v_nom_kv": [1.0] * 3, "slack": [True, False, False], "v_set_pu": [v_set, 1.0, 1.0]}
        branches = {"id": [0, 1], "from_id": [0, 1], "to_id": [1, 2], "r_ohm": [0.05] * 2, "x_ohm": [0.05] * 2}
        exact = power_flow(Grid.from_tables(nodes, branches), p, 0.2 * p, method="ac", outputs=FLOWS, tolerance=1e-13)
        contains(bounds, exact, wide)


@pytest.mark.parametrize("r", [0.03, -0.01])
@pytest.mark.parametrize("x", [0.03, -0.01])
def test_series_values_of_either_sign(r, x):
    # the middle of a three-winding star may have negative ones
    grid = feeder([-1, 0, 1, 1, 2], r=[0, 0.05, r, 0.05, 0.05], x=[0, 0.05, x, 0.05, 0.05], g_us=3e3, b_us=-2e4)
    rng = np.random.default_rng(3)
    p, q = rng.uniform(-400, 500, (5, 50)), rng.uniform(-200, 200, (5, 50))
    bounds = power_flow(grid, p, q, method="certified", outputs=FLOWS)
    exact = power_flow(grid, p, q, method="ac", outputs=FLOWS, tolerance=1e-13)
    assert bounds.certified.all()
    contains(bounds, exact, grid)


def test_outputs_are_reused_and_only_what_is_asked_for_is_filled():
    _, _, grid, p, q = case(5)
    first = power_flow(grid, p, q, method="certified", outputs=("v_pu",))
    assert first.held() == ["v_lo_pu", "v_hi_pu"]
    want = first.v_lo_pu.copy()
    first.v_lo_pu[:] = 7.0
    assert power_flow(grid, p, q, method="certified", outputs=("v_pu",), out=first) is first
    np.testing.assert_array_equal(first.v_lo_pu, want)
    with pytest.raises(ValidationError) as caught:
        power_flow(grid, p, q, method="certified", outputs=("v_pu", "loading"), out=first)
    assert caught.value.codes == ("FX-A005",)
    assert not power_flow(grid, p, q, method="linear").certified.any()
