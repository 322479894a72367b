"""Networks with loops and PV nodes: what they are, DC power flow and distribution factors, and who refuses them."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flexcore as fx
from flexcore.errors import GridError, UnknownIdError, ValidationError
from flexcore.grid.headroom import activation_rows
from flexcore.grid.mesh import dc_plan, on_loop
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.reference.grid_power_flow import dc, random_network, with_loops

DC = ("branch_p_kw", "branch_p_to_kw", "angle_deg", "loading")
SIZES = [(2, 1, 1), (3, 1, 2), (9, 1, 3), (30, 1, 1), (30, 1, 12), (40, 3, 5), (60, 7, 30)]


def case(seed, n_nodes, n_roots, n_loops, n_steps=3, **options):
    rng = np.random.default_rng(seed)
    nodes, branches = with_loops(rng, *random_network(rng, n_nodes, n_roots), n_loops, **options)
    grid = Grid.from_tables(nodes, branches, meshed=True)
    return nodes, branches, grid, rng.uniform(-1, 2, (n_nodes, n_steps)) * 400.0 / np.sqrt(n_nodes)


def ring(**columns):
    """Slack 0, ring 0-1-2-3-0 and a spur 2-4; ids of branches are 'ab' for a branch from a to b."""
    ends = ["01", "12", "23", "30", "24"]
    branches = {"id": ends, "from_id": [int(e[0]) for e in ends], "to_id": [int(e[1]) for e in ends]}
    branches |= {"r_ohm": [0.01] * 5, "x_ohm": [0.01] * 5, **columns}
    nodes = {"id": list(range(5)), "v_nom_kv": [1.0] * 5, "slack": [k == 0 for k in range(5)]}
    return nodes, branches


def meshed(**columns):
    return Grid.from_tables(*ring(**columns), meshed=True)


def check_dc(nodes, branches, grid, p):
    flow = power_flow(grid, p, method="dc", outputs=DC)
    assert flow.converged
    for step in range(p.shape[1]):
        angle, into = dc(nodes, branches, dict(zip(grid.node_ids.tolist(), p[:, step], strict=True)))
        at = np.degrees([angle[key] for key in grid.node_ids.tolist()])
        np.testing.assert_allclose((flow.angle_deg[:, step] - at + 180) % 360 - 180, 0, atol=1e-8)
        exact = np.array([into[key] for key in grid.branch_ids.tolist()])
        scale = np.abs(exact).max(initial=1.0)
        np.testing.assert_allclose(flow.branch_p_kw[:, step], exact, rtol=0, atol=1e-9 * scale)
        np.testing.assert_allclose(flow.branch_p_to_kw[:, step], -exact, rtol=0, atol=1e-9 * scale)
    return flow


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_dc_solves_the_susceptance_matrix(size, seed):
    check_dc(*case(seed, *size, off=0.05, pv_share=0.2))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 25), roots=st.integers(1, 3), loops=st.integers(0, 12))
def test_dc_of_any_network(seed, n, roots, loops):
    check_dc(*case(seed, n, min(roots, n), loops, n_steps=1, off=0.1))


def test_negative_reactances_are_solved():
    nodes, branches, _, p = case(3, 30, 1, 9)
    for k in (5, 30, 33):  # a series capacitor in the tree and two in loops
        branches["x_ohm"][k] *= -0.4
    check_dc(nodes, branches, Grid.from_tables(nodes, branches, meshed=True), p)


def test_bridges_do_not_look_at_impedances():
    grid = meshed(x_ohm=[0.01, 0.01, 0.01, 0.01, 0.0])
    p = np.array([[0.0], [1.0], [2.0], [3.0], [40.0]])
    flow = power_flow(grid, p, method="dc")
    assert flow.branch_p_kw[4, 0] == 40.0
    np.testing.assert_allclose(flow.branch_p_kw[:4, 0], [22.5, 21.5, -20.5, -23.5], rtol=1e-14)
    assert on_loop(grid).tolist() == [True, True, True, True, False]


def test_loading_follows_the_direction_of_the_flow():
    grid = meshed(s_max_kva=[100.0, 50.0, 50.0, 50.0, 20.0], s_max_reverse_kva=[10.0, 10.0, 10.0, 100.0, 40.0])
    flow = power_flow(grid, np.array([[0, 0], [1, -1], [2, -2], [3, -3], [40, -40]]), method="dc")
    ahead = np.array([22.5 / 100, 21.5 / 50, 20.5 / 10, 23.5 / 100, 40 / 20])
    back = np.array([22.5 / 10, 21.5 / 10, 20.5 / 50, 23.5 / 50, 40 / 40])
    np.testing.assert_allclose(flow.loading, np.stack([ahead, back], axis=1), rtol=1e-13)


def test_the_same_bits_alone_in_any_batch_and_on_threads():
    _, _, grid, p = case(1, 60, 3, 20, n_steps=400)
    whole = power_flow(grid, p, method="dc", outputs=DC, n_threads=2)
    again = power_flow(grid, p, method="dc", outputs=DC)
    reused = power_flow(grid, p, method="dc", outputs=DC, out=again)
    for name in DC:
        np.testing.assert_array_equal(getattr(whole, name), getattr(reused, name))
        for step in (0, 135, 136, 399):
            alone = power_flow(grid, p[:, step : step + 1], method="dc", outputs=DC)
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(whole, name)[:, step])


def test_values_that_are_not_finite_are_named():
    grid = meshed()
    for bad in (np.nan, np.inf):
        p = np.ones((5, 2))
        p[3, 1] = bad
        for method in ("dc", "ac"):
            with pytest.raises(ValidationError) as caught:
                power_flow(grid, p, method=method)
            assert caught.value.findings[0].rows == (3,)
    p = np.full((5, 2), 1e308)  # their sum is not finite
    p[:, 1] = 1.0
    flow = power_flow(grid, p, method="dc", outputs=DC)
    assert flow.status.tolist() == [2, 0]
    for name in DC:
        assert np.isnan(getattr(flow, name)[1:, 0]).all()
        assert np.isfinite(getattr(flow, name)[:, 1]).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", SIZES)
def test_ptdf_gives_the_flows(size, seed):
    _, _, grid, p = case(seed, *size, off=0.05)
    factors = fx.ptdf(grid)
    idle = power_flow(grid, np.zeros((grid.n_nodes, 1)), method="dc").branch_p_kw
    flow = power_flow(grid, p, method="dc").branch_p_kw
    np.testing.assert_allclose(factors @ p, flow - idle, rtol=0, atol=1e-9 * np.abs(flow).max())
    assert not factors.toarray()[:, grid.slack].any()
    assert np.isin(np.abs(factors.toarray()[~on_loop(grid)]), [0.0, 1.0]).all()
    np.testing.assert_array_equal(factors.toarray(), fx.ptdf(grid, n_threads=2).toarray())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", SIZES[2:])
def test_lodf_is_the_flow_without_the_branch(size, seed):
    nodes, branches, grid, p = case(seed, *size)
    branches = {**branches, "ratio": [1.0] * len(branches["id"]), "shift_deg": [0.0] * len(branches["id"])}
    nodes = {**nodes, "g_us": [0.0] * len(nodes["id"])}
    grid = Grid.from_tables(nodes, branches, meshed=True)
    factors = fx.lodf(grid)
    before = power_flow(grid, p, method="dc").branch_p_kw
    looped = on_loop(grid)
    assert np.isnan(factors[:, ~looped]).all()
    assert np.isfinite(factors[:, looped]).all()
    for k in np.flatnonzero(looped):
        rest = np.arange(grid.n_branches) != k
        table = {name: np.asarray(column)[rest] for name, column in branches.items()}
        after = power_flow(Grid.from_tables(nodes, table, meshed=True), p, method="dc").branch_p_kw
        change = after - before[rest]
        np.testing.assert_allclose(np.outer(factors[rest, k], before[k]).reshape(change.shape), change, atol=1e-7)
        assert factors[k, k] == -1.0


def test_lodf_of_some():
    _, _, grid, _ = case(2, 40, 1, 9)
    ids = grid.branch_ids
    whole = fx.lodf(grid, n_threads=2)
    some = fx.lodf(grid, of=ids[[3, 7]], outage=ids[[30, 2, 41]])
    np.testing.assert_array_equal(some, whole[np.ix_([3, 7], [30, 2, 41])])
    assert fx.lodf(grid, of=ids[3], outage=ids[41]).shape == (1, 1)


def test_lodf_of_a_radial_network_is_not_defined():
    nodes, branches = ring()
    grid = Grid.from_tables(nodes, {name: column[1:] for name, column in branches.items()})
    assert np.isnan(fx.lodf(grid)).all()
    assert fx.lodf(grid).shape == (4, 4)


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (lambda: fx.lodf(meshed(), of=["xy"]), UnknownIdError, "FX-G011"),
        (lambda: fx.lodf(meshed(), outage=[["01", "12"]]), ValidationError, "FX-A001"),
        (lambda: fx.lodf(meshed(), n_threads=0), ValidationError, "FX-A006"),
        (lambda: fx.ptdf(meshed(), n_threads=1.5), ValidationError, "FX-A006"),
    ],
)
def test_bad_arguments_of_factors(call, error, code):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.codes == (code,)


def test_loops_without_reactance_are_named():
    grid = meshed(x_ohm=[0.01, 0.0, 0.01, 0.01, 0.01])
    for call in (lambda: power_flow(grid, np.ones((5, 1)), method="dc"), lambda: fx.ptdf(grid), lambda: fx.lodf(grid)):
        with pytest.raises(GridError) as caught:
            call()
        assert (caught.value.codes, caught.value.findings[0].ids) == (("FX-G031",), ("12",))
    # AC does not mind
    assert power_flow(grid, np.ones((5, 1)), method="ac").converged


@pytest.mark.parametrize("x", [[0.01, 0.01, 0.01, -0.03, 0.01], [0.1, 0.3, 0.7, -1.1, 0.01]])
def test_loops_whose_reactances_cancel_are_refused(x):
    with pytest.raises(GridError) as caught:
        power_flow(meshed(x_ohm=x), np.ones((5, 1)), method="dc")
    assert (caught.value.codes, caught.value.findings[0].ids) == (("FX-G031",), ("30",))


def test_without_the_word_loops_and_held_voltages_are_refused():
    nodes, branches = ring()
    with pytest.raises(GridError) as caught:
        Grid.from_tables(nodes, branches)
    assert caught.value.codes == ("FX-G001",)
    assert "meshed=True" in caught.value.findings[0].hint
    with pytest.raises(GridError) as caught:
        Grid.from_tables({**nodes, "slack": [True, False, True, False, False]}, branches)
    assert set(caught.value.codes) == {"FX-G004"}
    assert "meshed=True" in caught.value.findings[0].hint
    rest = {name: column[1:] for name, column in branches.items()}
    with pytest.raises(GridError) as caught:
        Grid.from_tables({**nodes, "pv": [True, False, True, False, False]}, rest)
    assert (caught.value.codes, caught.value.findings[0].ids) == (("FX-G021",), (2,))
    assert "meshed=True" in caught.value.findings[0].hint
    # and with it what is wrong otherwise is still found
    with pytest.raises(GridError) as caught:
        Grid.from_tables(nodes, {**branches, "to_id": [1, 2, 3, 0, 2]}, meshed=True)
    assert caught.value.codes == ("FX-G010", "FX-G002")


def test_what_a_meshed_grid_says_of_itself():
    nodes, branches = ring()
    grid = Grid.from_tables({**nodes, "pv": [True, False, False, True, False]}, branches, meshed=True)
    assert repr(grid) == "Grid(5 nodes, 5 branches, 1 trees, 1 loops, 1 PV nodes)"
    assert grid.n_loops == 1
    assert grid.pv_node.tolist() == [3]
    dc_plan(grid)
    for other in (pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid)):
        assert repr(other) == repr(grid)
        assert not other.mesh.chords.flags.writeable
        assert not other.mesh.branches.x_pu.flags.writeable
        p = np.arange(5.0)[:, None]
        np.testing.assert_array_equal(
            power_flow(other, p, method="dc").branch_p_kw, power_flow(grid, p, method="dc").branch_p_kw
        )
    radial = Grid.from_tables(nodes, {name: column[1:] for name, column in branches.items()}, meshed=True)
    assert radial.mesh is None
    assert radial.forest is radial.spanning


def test_doubled_branches_and_two_slack_nodes_are_loops():
    nodes, branches = ring()
    twice = {name: [*column, column[4]] for name, column in branches.items()}
    twice["id"][5] = "24'"
    grid = Grid.from_tables(nodes, twice, meshed=True)
    assert grid.n_loops == 2
    flow = power_flow(grid, np.array([[0.0], [0.0], [0.0], [0.0], [8.0]]), method="dc")
    np.testing.assert_allclose(flow.branch_p_kw[[4, 5], 0], 4.0)
    path = {name: column[:3] for name, column in branches.items()}
    nodes = {name: column[:4] for name, column in nodes.items()} | {"slack": [True, False, False, True]}
    grid = Grid.from_tables(nodes, path, meshed=True)
    assert grid.n_loops == 1
    flow = power_flow(grid, np.array([[0.0], [9.0], [0.0], [0.0]]), method="dc")
    np.testing.assert_allclose(flow.branch_p_kw[:, 0], [6.0, -3.0, -3.0])


ROWS = {
    "power_flow": [
        lambda grid, p: fx.power_flow(grid, p, p, method="linear"),
        lambda grid, p: fx.power_flow(grid, p, p, method="certified"),
    ],
    "voltage_sensitivity": [
        lambda grid, p: fx.voltage_sensitivity(grid, p, p, of=[2]),
        lambda grid, p: fx.voltage_sensitivity(grid, of=[2], method="linear"),
    ],
    "voltage_change": [lambda grid, p: fx.voltage_change(grid, p, p, dp_kw=p)],
    "loss_sensitivity": [lambda grid, p: fx.loss_sensitivity(grid, p, p)],
    "headroom": [
        lambda grid, p: fx.headroom(grid, p, p),
        lambda grid, p: fx.headroom(grid, p, p, method="linear"),
    ],
    "find_needs": [lambda grid, p: fx.find_needs(grid, p, p)],
    "capability": [
        lambda grid, p: fx.capability(grid, p, p, up_kw=p, down_kw=p, perimeter=[-1, 0, 0, 0, 0]),
        lambda grid, p: fx.capability(grid, p, p, up_kw=p, down_kw=p, perimeter=[-1, 0, 0, 0, 0], method="linear"),
    ],
    "optimistic_capability": [
        lambda grid, p: fx.optimistic_capability(
            grid, activation_rows(radial(), p, p), up_kw=p, down_kw=p, perimeter=[-1, 0, 0, 0, 0]
        )
    ],
    "shadow_prices": [
        lambda grid, p: fx.shadow_prices(
            grid, activation_rows(radial(), p, p), up_kw=p, down_kw=p, perimeter=[-1, 0, 0, 0, 0]
        )
    ],
    "split_perimeters": [lambda grid, p: fx.split_perimeters(grid, p, p, up_kw=p, down_kw=p)],
    "clear": [lambda grid, p: fx.clear(*ORDERS, grid=grid)],
    "cleared_tables": [lambda grid, p: fx.cleared_tables(*ORDERS, result=fx.clear(*ORDERS, grid=radial()), grid=grid)],
    "continuous_book": [
        lambda grid, p: fx.continuous_book(
            {**BOOK, **{k: v for k, v in ORDERS[0].items() if k != "offer_id"}}, grid=grid
        )
    ],
}
ORDERS = (
    {
        "offer_id": ["o"], "element": [2], "direction": ["up"], "step": [0], "quantity_w": [1000],
        "price_ueur_per_mwh": [1],
    },
    {"element": [2], "direction": ["up"], "step": [0], "quantity_w": [1000]},
)  # fmt: skip
BOOK = {"order_id": ["o"], "kind": ["offer"]}
TAKEN = {"power_flow", "ptdf", "lodf"}


def radial():
    nodes, branches = ring()
    return Grid.from_tables(nodes, {name: column[1:] for name, column in branches.items()})


def test_every_public_function_of_a_grid_is_asked_below():
    named = {
        name
        for name in fx.__all__
        if inspect.isfunction(getattr(fx, name)) and "grid" in inspect.signature(getattr(fx, name)).parameters
    }
    assert named == set(ROWS) | TAKEN


@pytest.mark.parametrize("name", ROWS)
def test_what_needs_a_forest_refuses_loops_and_held_voltages(name):
    nodes, branches = ring()
    rest = {key: column[1:] for key, column in branches.items()}
    held = Grid.from_tables({**nodes, "pv": [False, True, False, False, False]}, rest, meshed=True)
    p = np.ones((5, 2))
    for call in ROWS[name]:
        for grid, ids in ((meshed(), {"01", "12", "23", "30"}), (held, {1})):
            with pytest.raises(GridError) as caught:
                call(grid, p)
            assert caught.value.codes == ("FX-G030",)
            assert set(caught.value.findings[0].ids) <= ids
            assert caught.value.findings[0].ids
