import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.grid import sweeps as module
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.grid.networks import feeder
from tests.reference.grid_power_flow import ac_newton, ac_sweep, dc, linear, random_network

EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")
SIZES = [(1, 1), (2, 1), (3, 1), (9, 1), (25, 1), (40, 3), (60, 7)]


def case(seed, n_nodes, n_roots, n_steps=3, **options):
    rng = np.random.default_rng(seed)
    nodes, branches = random_network(rng, n_nodes, n_roots, **options)
    grid = Grid.from_tables(nodes, branches)
    size = 400.0 / np.sqrt(n_nodes)
    p = rng.uniform(-1, 2, (n_nodes, n_steps)) * size
    q = rng.uniform(-0.5, 0.8, (n_nodes, n_steps)) * size
    return nodes, branches, grid, p, q


def loads(grid, p, q, step):
    return {key: complex(a, b) for key, a, b in zip(grid.node_ids.tolist(), p[:, step], q[:, step], strict=True)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_ac_solves_the_full_equations(size, seed):
    nodes, branches, grid, p, q = case(seed, *size)
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, tolerance=1e-12)
    assert flow.converged
    for step in range(p.shape[1]):
        v, ends = ac_newton(nodes, branches, loads(grid, p, q, step))
        exact = np.array([v[key] for key in grid.node_ids.tolist()])
        np.testing.assert_allclose(flow.v_pu[:, step], abs(exact), rtol=0, atol=1e-10)
        turn = np.exp(1j * np.radians(flow.angle_deg[:, step])) * flow.v_pu[:, step]
        np.testing.assert_allclose(turn, exact, rtol=0, atol=1e-10)
        into = np.array([ends[key] for key in grid.branch_ids.tolist()]).reshape(-1, 2)
        np.testing.assert_allclose(flow.branch_p_kw[:, step], into[:, 0].real, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(flow.branch_q_kvar[:, step], into[:, 0].imag, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(flow.branch_p_to_kw[:, step], into[:, 1].real, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(flow.branch_q_to_kvar[:, step], into[:, 1].imag, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_two_references_agree(seed):
    nodes, branches, grid, p, q = case(seed, 12, 2, n_steps=1)
    one, _ = ac_newton(nodes, branches, loads(grid, p, q, 0))
    two = ac_sweep(nodes, branches, loads(grid, p, q, 0))
    assert max(abs(one[key] - two[key]) for key in one) < 1e-10


@pytest.mark.parametrize("loss_sweeps", [0, 1, 2, 5])
@pytest.mark.parametrize("size", SIZES)
def test_linear_is_the_written_recipe(size, loss_sweeps):
    nodes, branches, grid, p, q = case(size[0], *size)
    flow = power_flow(grid, p, q, method="linear", outputs=EVERYTHING, loss_sweeps=loss_sweeps)
    assert flow.converged
    for step in range(p.shape[1]):
        u, ends = linear(nodes, branches, loads(grid, p, q, step), loss_sweeps)
        v = np.sqrt([u[key] for key in grid.node_ids.tolist()])
        np.testing.assert_allclose(flow.v_pu[:, step], v, rtol=0, atol=1e-12)
        into = np.array([ends[key] for key in grid.branch_ids.tolist()]).reshape(-1, 2)
        np.testing.assert_allclose(flow.branch_p_kw[:, step], into[:, 0].real, rtol=1e-11, atol=1e-8)
        np.testing.assert_allclose(flow.branch_q_kvar[:, step], into[:, 0].imag, rtol=1e-11, atol=1e-8)
        np.testing.assert_allclose(flow.branch_p_to_kw[:, step], into[:, 1].real, rtol=1e-11, atol=1e-8)
        np.testing.assert_allclose(flow.branch_q_to_kvar[:, step], into[:, 1].imag, rtol=1e-11, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_loss_sweeps_come_closer_to_ac(seed):
    _, _, grid, p, q = case(seed, 40, 2, shunts=False)
    p, q = 2 * np.abs(p), np.abs(q)
    exact = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    gaps, angles = [], []
    for sweeps in (0, 1, 2, 3):
        flow = power_flow(grid, p, q, method="linear", loss_sweeps=sweeps, outputs=EVERYTHING)
        gaps.append(np.abs(flow.v_pu - exact.v_pu).max())
        angles.append(np.abs(flow.angle_deg - exact.angle_deg).max())
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2] > 64 * gaps[3]
    assert angles[0] > 4 * angles[1] > 16 * angles[2] > 64 * angles[3]
    # without losses voltages are never too low
    assert (power_flow(grid, p, q, method="linear", loss_sweeps=0).v_pu >= exact.v_pu - 1e-12).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_dc_solves_the_susceptance_matrix(size, seed):
    nodes, branches, grid, p, _ = case(seed, *size)
    flow = power_flow(grid, p, method="dc", outputs=EVERYTHING)
    assert flow.v_pu is None
    assert flow.branch_q_kvar is None
    for step in range(p.shape[1]):
        angle, into = dc(nodes, branches, dict(zip(grid.node_ids.tolist(), p[:, step], strict=True)))
        at = np.degrees([angle[key] for key in grid.node_ids.tolist()])
        turn = (flow.angle_deg[:, step] - at + 180) % 360 - 180
        np.testing.assert_allclose(turn, 0, atol=1e-9)
        exact = np.array([into[key] for key in grid.branch_ids.tolist()])
        scale = np.abs(exact).max(initial=1.0)
        np.testing.assert_allclose(flow.branch_p_kw[:, step], exact, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(flow.branch_p_to_kw[:, step], -exact, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("method", ["linear", "ac", "dc"])
def test_loading_is_the_larger_end_current_over_the_rated_one(method):
    nodes, branches, _, p, q = case(3, 30, 2)
    rng = np.random.default_rng(0)
    n = len(branches["id"])
    branches["s_max_kva"] = list(np.where(rng.random(n) < 0.2, np.inf, rng.uniform(100, 900, n)))
    branches["s_max_reverse_kva"] = list(rng.uniform(50, 400, n))
    grid = Grid.from_tables(nodes, branches)
    flow = power_flow(grid, p, q, method=method, outputs=EVERYTHING)
    if method == "dc":
        start, end = np.abs(flow.branch_p_kw), np.abs(flow.branch_p_to_kw)
    else:
        start = np.hypot(flow.branch_p_kw, flow.branch_q_kvar) / flow.v_pu[grid.branch_from]
        end = np.hypot(flow.branch_p_to_kw, flow.branch_q_to_kvar) / flow.v_pu[grid.branch_to]
    # the flow runs backward where it leaves the parent's end of the branch against the declaration
    upper = np.where(_declared_down(grid)[:, None], flow.branch_p_kw, -flow.branch_p_to_kw)
    ahead = np.where(_declared_down(grid)[:, None], upper >= 0, -upper < 0)
    limit = np.where(ahead, grid.s_max_kva[:, None], grid.s_max_reverse_kva[:, None])
    assert 0.2 < ahead.mean() < 0.9
    np.testing.assert_allclose(flow.loading, np.maximum(start, end) / limit, rtol=1e-12, atol=0)


def _declared_down(grid):
    """True for branches declared from the root's side outwards."""
    forest = grid.forest
    down = np.empty(grid.n_branches, bool)
    fed = forest.branch >= 0
    down[forest.branch[fed]] = forest.forward[fed]
    return down


def test_a_limit_of_zero_allows_nothing_but_zero():
    nodes = {"id": [1, 2, 3], "v_nom_kv": [20.0] * 3, "slack": [True, False, False]}
    branches = {"id": [1, 2], "from_id": [1, 1], "to_id": [2, 3], "r_ohm": [1.0, 1.0], "x_ohm": [1.0, 1.0]}
    branches["s_max_kva"] = [0.0, 0.0]
    flow = power_flow(Grid.from_tables(nodes, branches), [[0.0], [5.0], [0.0]], method="linear")
    assert flow.loading[0, 0] > 1e100
    assert flow.loading[1, 0] == 0


@pytest.mark.parametrize("method", ["linear", "certified", "ac", "dc"])
def test_threads_blocks_and_single_steps_give_the_same_bits(method, monkeypatch):
    _, _, grid, p, q = case(5, 150, 9, n_steps=203)
    p *= np.linspace(0.02, 1.2, 203)  # so that steps need different numbers of sweeps
    once = power_flow(grid, p, q, method=method, outputs=EVERYTHING)
    assert once.converged
    assert method != "certified" or once.certified.all()
    runs = [power_flow(grid, p, q, method=method, outputs=EVERYTHING, n_threads=2)]
    monkeypatch.setattr(module, "_LONGEST", 16)
    monkeypatch.setattr(module, "_JOB_SECONDS", 1e-6)
    runs.append(power_flow(grid, p, q, method=method, outputs=EVERYTHING, n_threads=2))
    monkeypatch.setattr(module, "_PACK_NODES", 1)
    runs.append(power_flow(grid, p, q, method=method, outputs=EVERYTHING, n_threads=1))
    names = once.held()
    assert names
    for run in runs:
        for name in names:
            np.testing.assert_array_equal(getattr(run, name), getattr(once, name))
    for step in range(0, 203, 7):
        alone = power_flow(grid, p[:, [step]], q[:, [step]], method=method, outputs=EVERYTHING)
        for name in names:
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(once, name)[:, step])


@pytest.mark.parametrize("method", ["linear", "ac", "dc"])
def test_order_of_nodes_does_not_matter(method):
    nodes, branches, grid, p, q = case(8, 50, 3, text_ids=True)
    flow = power_flow(grid, p, q, method=method)
    rng = np.random.default_rng(1)
    other = rng.permutation(50)
    turned = rng.permutation(len(branches["id"]))
    again = Grid.from_tables(
        {name: [column[k] for k in other] for name, column in nodes.items()},
        {name: [column[k] for k in turned] for name, column in branches.items()},
    )
    moved = power_flow(again, p[other], q[other], method=method)
    if flow.v_pu is not None:
        np.testing.assert_allclose(moved.v_pu[again.node_index(grid.node_ids)], flow.v_pu, rtol=0, atol=1e-12)
    at = again.branch_index(grid.branch_ids)
    np.testing.assert_allclose(moved.branch_p_kw[at], flow.branch_p_kw, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("sweeps", [0, 1, 2, 3])
@pytest.mark.parametrize("drop", [1.02, 1.5, 2.1, 2.5, 3.0, 3.4, 10.0])
def test_a_voltage_below_zero_in_any_sweep_is_a_collapse(sweeps, drop):
    """A current at a negative squared voltage is negative; its 'losses' must not bring the voltage back."""
    grid = feeder([-1, 0], r=0.1, x=0.0)
    p = np.array([[0.0], [drop * 1e3 / 0.2]])  # twice r P over the squared voltage is `drop`
    flow = power_flow(grid, p, method="linear", loss_sweeps=sweeps)
    assert flow.status.tolist() == [2]
    assert np.isnan(flow.v_pu[1, 0])


@pytest.mark.parametrize("method", ["linear", "ac"])
def test_a_step_without_solution_is_marked_and_leaves_the_others_alone(method):
    _, _, grid, p, q = case(2, 40, 2, n_steps=5)
    good = power_flow(grid, p, q, method=method, outputs=EVERYTHING)
    below = grid.forest.order[grid.forest.heads[0] : grid.forest.last[grid.forest.heads[0]]]
    worse = p.copy()
    worse[below, 2] = 1e7
    flow = power_flow(grid, worse, q, method=method, outputs=EVERYTHING)
    assert flow.status.tolist() == [0, 0, 2, 0, 0]
    assert not flow.converged
    assert np.isnan(flow.v_pu[below, 2]).all()
    dead = np.isin(np.arange(grid.n_nodes), below)
    np.testing.assert_array_equal(flow.v_pu[~dead], good.v_pu[~dead])
    np.testing.assert_array_equal(np.delete(flow.v_pu, 2, axis=1), np.delete(good.v_pu, 2, axis=1))
    fed = grid.forest.branch[grid.forest.rank[below]]
    for name in ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "loading"):
        assert np.isnan(getattr(flow, name)[fed, 2]).all()
        np.testing.assert_array_equal(np.delete(getattr(flow, name), fed, 0), np.delete(getattr(good, name), fed, 0))


def test_sums_that_overflow_are_marked_and_hold_no_number():
    nodes = {"id": [0, 1, 2, 3], "v_nom_kv": [0.4] * 4, "slack": [True, False, False, False]}
    branches = {"id": [0, 1, 2], "from_id": [0, 2, 0], "to_id": [1, 1, 3], "r_ohm": [0.1] * 3, "x_ohm": [0.1] * 3}
    p = np.array([[0.0, 0.0], [1e308, 1.0], [1e308, 1.0], [1.0, 1.0]])
    flow = power_flow(Grid.from_tables(nodes, branches), p, method="dc", outputs=EVERYTHING)
    assert flow.status.tolist() == [2, 0]
    for name in ("branch_p_kw", "branch_p_to_kw", "loading"):
        assert np.isnan(getattr(flow, name)[:, 0]).tolist() == [True, True, False], name
        assert np.isfinite(getattr(flow, name)[:, 1]).all()
    assert np.isnan(flow.angle_deg[:, 0]).tolist() == [False, True, True, False]


def test_too_few_sweeps_are_marked():
    _, _, grid, p, q = case(2, 40, 2)
    flow = power_flow(grid, p, q, method="ac", max_iterations=2)
    assert flow.status.tolist() == [1, 1, 1]


def test_outputs_are_chosen_by_name_and_the_rest_is_none():
    _, _, grid, p, q = case(1, 20, 1)
    everything = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    for name in EVERYTHING:
        one = power_flow(grid, p, q, method="ac", outputs=(name,))
        np.testing.assert_array_equal(getattr(one, name), getattr(everything, name))
        assert all(getattr(one, other) is None for other in EVERYTHING if other != name)
    for name in EVERYTHING[:5]:
        one = power_flow(grid, p, q, method="linear", outputs=(name,))
        both = power_flow(grid, p, q, method="linear", outputs=EVERYTHING)
        np.testing.assert_array_equal(getattr(one, name), getattr(both, name))


@pytest.mark.parametrize("method", ["linear", "ac", "dc"])
def test_out_is_overwritten_and_returned(method):
    _, _, grid, p, q = case(1, 20, 2)
    first = power_flow(grid, p, q, method=method)
    held = first.branch_p_kw
    second = power_flow(grid, 2 * p, q, method=method, out=first)
    assert second is first
    assert second.branch_p_kw is held
    np.testing.assert_array_equal(held, power_flow(grid, 2 * p, q, method=method).branch_p_kw)


def test_an_out_that_does_not_fit_is_refused():
    _, _, grid, p, q = case(1, 20, 2)
    first = power_flow(grid, p, q, method="linear")
    for call in (
        lambda: power_flow(grid, p[:, :2], q[:, :2], method="linear", out=first),
        lambda: power_flow(grid, p, q, method="ac", out=first),
        lambda: power_flow(grid, p, q, method="linear", outputs=("v_pu",), out=first),
        lambda: power_flow(grid, first.v_pu, q, method="linear", out=first),
    ):
        with pytest.raises(ValidationError) as caught:
            call()
        assert caught.value.codes == ("FX-A005",)


@pytest.mark.parametrize(("method", "sweeps"), [("linear", 2), ("linear", 0), ("certified", 2), ("ac", 2), ("dc", 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at_root", [False, True])
def test_power_that_is_not_finite_is_refused_by_row(method, sweeps, value, at_root):
    _, _, grid, p, q = case(4, 30, 2)
    row = int(np.flatnonzero(grid.slack == at_root)[-1])
    p[row, 1] = value
    with pytest.raises(ValidationError) as caught:
        power_flow(grid, p, q, method=method, loss_sweeps=sweeps)
    assert caught.value.codes == ("FX-A003",)
    assert caught.value.findings[0].rows == (row,)
    assert "p_kw" in str(caught.value)


def test_bad_arguments_are_refused():
    _, _, grid, p, q = case(4, 30, 2)
    for code, call in (
        ("FX-A001", lambda: power_flow(grid, p[:-1], q[:-1], method="ac")),
        ("FX-A001", lambda: power_flow(grid, p, q[:, :1], method="ac")),
        ("FX-A002", lambda: power_flow(grid, p.astype(complex), q, method="ac")),
        ("FX-A006", lambda: power_flow(grid, p, q, method="linear", loss_sweeps=-1)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", tolerance=np.nan)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", max_iterations=0)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="linear", loss_sweeps=2.5)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="linear", loss_sweeps=np.nan)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", max_iterations=2.5)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", max_iterations=1 << 70)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", tolerance=np.inf)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", tolerance=None)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="ac", n_threads=None)),
        ("FX-A006", lambda: power_flow(grid, p, q, method="dc", n_threads=0)),
        ("FX-A006", lambda: power_flow(grid, p[:, :0], q[:, :0], method="ac", n_threads=1.5)),
        ("FX-A001", lambda: power_flow(grid, [[1.0, 2.0], [3.0]], method="ac")),
        ("FX-A005", lambda: power_flow(grid, p, q, method="ac", out=p)),
        ("FX-E002", lambda: power_flow(grid, p, q, method="newton")),
        ("FX-E002", lambda: power_flow(grid, p, q, method="ac", outputs=("v_kv",))),
    ):
        with pytest.raises(ValidationError) as caught:
            call()
        assert caught.value.codes == (code,)


def test_inputs_may_be_read_only_strided_or_integers():
    _, _, grid, p, q = case(4, 30, 2)
    p = np.round(p)
    plain = power_flow(grid, p, q, method="ac")
    locked, wide = p.copy(), np.zeros((30, 6))
    locked.flags.writeable = False
    wide[:, ::2] = p
    for form in (locked, wide[:, ::2], np.asfortranarray(p), p.astype(np.int32), p.tolist()):
        np.testing.assert_array_equal(power_flow(grid, form, q, method="ac").v_pu, plain.v_pu)


def test_no_steps_give_empty_results():
    _, _, grid, p, q = case(4, 30, 2)
    flow = power_flow(grid, p[:, :0], q[:, :0], method="ac")
    assert flow.v_pu.shape == (30, 0)
    assert flow.converged


def test_each_kernel_has_one_signature():
    from flexcore.kernels.grid import dc_double, dc_single, distflow_double, distflow_single

    for kernel in (distflow_double.sweep, distflow_single.sweep, dc_double.sweep, dc_single.sweep):
        assert len(getattr(kernel, "signatures", [None])) == 1
