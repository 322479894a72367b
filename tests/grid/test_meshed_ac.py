"""AC power flow with loops and PV nodes, against a dense Newton-Raphson."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.grid.test_meshed import ring
from tests.reference.grid_power_flow import ac_newton, random_network, with_loops

EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")
SIZES = [(2, 1, 1), (3, 1, 2), (9, 1, 3), (30, 1, 1), (30, 1, 12), (40, 3, 5), (60, 7, 20)]


def case(seed, n_nodes, n_roots, n_loops, n_steps=3, pv_share=0.0, off=0.02):
    rng = np.random.default_rng(seed)
    nodes, branches = random_network(rng, n_nodes, n_roots)
    nodes, branches = with_loops(rng, nodes, branches, n_loops, off=off, pv_share=pv_share)
    size = 200.0 / np.sqrt(n_nodes)
    p = rng.uniform(-1, 2, (n_nodes, n_steps)) * size
    q = rng.uniform(-0.5, 0.8, (n_nodes, n_steps)) * size
    return nodes, branches, Grid.from_tables(nodes, branches, meshed=True), p, q


def check(nodes, branches, grid, p, q):
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, tolerance=1e-12)
    assert flow.converged
    for step in range(p.shape[1]):
        loads = {key: complex(a, b) for key, a, b in zip(grid.node_ids.tolist(), p[:, step], q[:, step], strict=True)}
        v, ends = ac_newton(nodes, branches, loads)
        exact = np.array([v[key] for key in grid.node_ids.tolist()])
        found = np.exp(1j * np.radians(flow.angle_deg[:, step])) * flow.v_pu[:, step]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)
        into = np.array([ends[key] for key in grid.branch_ids.tolist()]).reshape(-1, 2)
        scale = np.abs(into).max(initial=1.0)
        for values, part in (
            (flow.branch_p_kw, into[:, 0].real),
            (flow.branch_q_kvar, into[:, 0].imag),
            (flow.branch_p_to_kw, into[:, 1].real),
            (flow.branch_q_to_kvar, into[:, 1].imag),
        ):
            np.testing.assert_allclose(values[:, step], part, rtol=0, atol=1e-7 * scale)
    return flow


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_ac_solves_the_full_equations(size, seed):
    check(*case(seed, *size))


@pytest.mark.parametrize("size", [(2, 1, 0), (9, 1, 0), (30, 2, 0), *SIZES[2:]])
@pytest.mark.parametrize("seed", range(1, 5))  # with seed 0 one size has no solution that the reference finds
def test_held_voltages_are_held(size, seed):
    *tables, grid, p, q = case(seed, *size, pv_share=0.15)
    flow = check(*tables, grid, p, q)
    held = np.broadcast_to(grid.v_set_pu[grid.pv_node, None], (grid.pv_node.size, p.shape[1]))
    np.testing.assert_allclose(flow.v_pu[grid.pv_node], held, rtol=0, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 20), roots=st.integers(1, 3), loops=st.integers(0, 8))
def test_ac_of_any_network(seed, n, roots, loops):
    check(*case(seed, n, min(roots, n), loops, n_steps=1))


@pytest.mark.parametrize("seed", range(3))
def test_loading_is_the_larger_end_current_over_the_rated_one(seed):
    nodes, branches, _, p, q = case(seed, 30, 2, 9)
    rng = np.random.default_rng(0)
    branches["s_max_kva"] = list(rng.uniform(100, 900, len(branches["id"])))
    grid = Grid.from_tables(nodes, branches, meshed=True)
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    start = np.hypot(flow.branch_p_kw, flow.branch_q_kvar) / flow.v_pu[grid.branch_from]
    end = np.hypot(flow.branch_p_to_kw, flow.branch_q_to_kvar) / flow.v_pu[grid.branch_to]
    np.testing.assert_allclose(flow.loading, np.maximum(start, end) / grid.s_max_kva[:, None], rtol=1e-12)


def test_opening_the_loop_of_a_huge_impedance_changes_nothing():
    nodes, branches, _, p, q = case(5, 30, 1, 1)
    for name in ("r_ohm", "x_ohm"):
        branches[name][-1] = 1e12
    branches["g_us"][-1] = branches["b_us"][-1] = 0.0
    grid = Grid.from_tables(nodes, branches, meshed=True)
    tree = Grid.from_tables(nodes, {name: column[:-1] for name, column in branches.items()})
    flow = power_flow(grid, p, q, method="ac", tolerance=1e-12)
    other = power_flow(tree, p, q, method="ac", tolerance=1e-12)
    np.testing.assert_allclose(flow.v_pu, other.v_pu, rtol=0, atol=1e-11)


@pytest.mark.parametrize("pv_share", [0.0, 0.1])
def test_the_same_bits_alone_in_any_batch_and_on_threads(pv_share):
    _, _, grid, p, q = case(1, 40, 2, 6, n_steps=300, pv_share=pv_share)
    p, q = p * np.linspace(0.1, 1.5, 300), q * np.linspace(0.1, 1.5, 300)
    whole = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, n_threads=2)
    again = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    reused = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, out=again)
    for name in EVERYTHING:
        np.testing.assert_array_equal(getattr(whole, name), getattr(reused, name))
        for step in (0, 71, 72, 299):
            one = slice(step, step + 1)
            alone = power_flow(grid, p[:, one], q[:, one], method="ac", outputs=EVERYTHING)
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(whole, name)[:, step])


def test_one_bad_step_is_marked_and_the_others_are_solved():
    nodes, branches = ring()
    grid = Grid.from_tables(nodes, branches, meshed=True)
    p = np.array([[0.0] * 3, [1.0] * 3, [1.0] * 3, [1.0] * 3, [1.0, 1e6, 2.0]])
    flow = power_flow(grid, p, 0.3 * p, method="ac", outputs=EVERYTHING)
    assert flow.status.tolist() == [0, 2, 0]
    for name in EVERYTHING:
        values = getattr(flow, name)
        if name in ("v_pu", "angle_deg"):
            values = values[1:]
        assert np.isnan(values[:, 1]).all()
        assert np.isfinite(values[:, [0, 2]]).all()
    short = power_flow(grid, p, 0.3 * p, method="ac", max_iterations=1)
    assert short.status.tolist()[::2] == [1, 1]


def test_reactive_load_at_a_held_node_changes_nothing():
    nodes, branches = ring()
    grid = Grid.from_tables({**nodes, "pv": [False, False, True, False, False]}, branches, meshed=True)
    p, q = np.ones((5, 1)), np.zeros((5, 1))
    one = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    q[2] = 77.0
    two = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    for name in EVERYTHING:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_held_voltage_stays_held_beside_loops_without_reactance():
    nodes, branches = ring(x_ohm=[0.0, 0.0, 0.01, 0.01, 0.01])
    grid = Grid.from_tables({**nodes, "pv": [False, False, True, False, False]}, branches, meshed=True)
    flow = power_flow(grid, np.ones((5, 1)), method="ac")
    assert flow.converged
    assert flow.v_pu[2, 0] == pytest.approx(1.0, abs=1e-9)
