"""Headroom of nodes: never more than the AC power flow allows, close to it, and the same bits however it is cut."""

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import GridError, ValidationError
from flexcore.grid import node_headroom as module
from flexcore.grid import sweeps
from flexcore.grid.headroom import activation_rows
from flexcore.grid.network import Grid
from tests.grid.networks import feeder
from tests.reference.grid_power_flow import random_network
from tests.reference.grid_sensitivity import headroom as exact
from tests.reference.grid_sensitivity import holds
from tests.reference.register_static_light import headroom as from_rows


def case(seed, n, n_roots=1, n_steps=1):
    """Random network with taps, shifts and shunts, limits on half of the branches, and light loads and exports."""
    rng = np.random.default_rng(seed)
    nodes, branches = random_network(rng, n, n_roots)
    m = len(branches["id"])
    nodes["v_set_pu"] = [1.01] * n
    branches["s_max_kva"] = np.where(rng.random(m) < 0.5, np.inf, rng.uniform(100.0, 900.0, m))
    branches["s_max_reverse_kva"] = branches["s_max_kva"] * rng.uniform(0.6, 1.0, m)
    size = rng.uniform(20.0, 120.0) / np.sqrt(n)
    p = rng.uniform(-1, 2, (n, n_steps)) * size
    return nodes, branches, Grid.from_tables(nodes, branches), p, rng.uniform(-0.5, 0.8, p.shape) * size


def load_of(grid, p, q, step=0):
    return {key: complex(a, b) for key, a, b in zip(grid.node_ids.tolist(), p[:, step], q[:, step], strict=True)}


def test_it_is_safe_and_close_to_the_ac_power_flow():
    shares = {"up": [], "down": []}
    for seed in range(16):
        nodes, branches, grid, p, q = case(seed, 3 + seed, 1 + seed // 9)
        load = load_of(grid, p, q)
        if not holds(nodes, branches, load):
            continue
        got = fx.headroom(grid, p, q)
        assert got.certified.all()
        for k, key in enumerate(grid.node_ids.tolist()):
            for way, value in (("up", got.up_kw[k, 0]), ("down", got.down_kw[k, 0])):
                if grid.slack[k]:
                    assert np.isinf(value)
                    continue
                most = exact(nodes, branches, load, key, up=way == "up")
                assert value <= most * (1 + 1e-9) + 1e-6
                shares[way].append(value / most)
    assert min(len(each) for each in shares.values()) > 50
    for each in shares.values():
        assert np.median(each) > 0.97
        assert np.mean(each) > 0.92


def test_it_is_safe_for_every_power_factor_in_the_range():
    checked = 0
    for seed in range(8):
        nodes, branches, grid, p, q = case(seed, 10, 2)
        load = load_of(grid, p, q)
        if not holds(nodes, branches, load):
            continue
        got = fx.headroom(grid, p, q, tan_phi=(0.0, 0.4))
        for k in np.flatnonzero(~grid.slack):
            key = grid.node_ids[k].item()
            for slope in (0.0, 0.25, 0.4):
                for sign, value in ((-1, got.up_kw[k, 0]), (1, got.down_kw[k, 0])):
                    moved = load[key] + sign * value * (1 - 1e-9) * (1 + 1j * slope)
                    assert holds(nodes, branches, {**load, key: moved})
                    checked += 1
    assert checked > 100


def test_a_branch_beside_the_path_is_not_overloaded_by_the_lower_voltage():
    """What node 3 adds lowers the voltage at node 2, whose load then draws more current than is left."""
    grid = feeder([-1, 0, 1, 1], s_max=[np.inf, np.inf, 100.0 / 0.975, np.inf], r=0.1, x=0.0)
    p = np.array([[0.0], [0.0], [100.0], [0.0]])
    start = fx.power_flow(grid, p, method="ac", outputs=("loading",)).loading[1, 0]
    assert 0.99 < start < 1
    more = fx.headroom(grid, p).down_kw[3, 0]
    assert 0 < more < 100
    p[3] = more
    assert fx.power_flow(grid, p, method="ac", outputs=("loading",)).loading[1, 0] <= 1
    p[3] = 200.0
    assert fx.power_flow(grid, p, method="ac", outputs=("loading",)).loading[1, 0] > 1


def test_linear_is_the_least_of_the_written_rows():
    _, _, grid, p, q = case(3, 25, 2, n_steps=2)
    got = fx.headroom(grid, p, q, method="linear", tan_phi=0.2)
    assert not got.certified.any()
    rows = activation_rows(grid, p, q, tan_phi=0.2)
    columns = (
        np.minimum(rows.lower_kw, 0), np.maximum(rows.upper_kw, 0), np.minimum(rows.w_lower, 0),
        np.maximum(rows.w_upper, 0),
    )  # fmt: skip
    for step in range(2):
        lists = [column[:, step].tolist() for column in columns]
        for k in range(grid.n_nodes):
            for way, value in (("up", got.up_kw), ("down", got.down_kw)):
                want = from_rows(rows.parent.tolist(), *lists, rows.m.tolist(), k, way)
                np.testing.assert_allclose(value[k, step], want, rtol=1e-12)


def test_what_binds_is_named():
    grid = feeder([-1, 0, 1, 2], s_max=[np.inf, 300.0, 100.0, np.inf], r=[0.0, 0.01, 0.01, 2.0], x=0.0, flip=(2,))
    p = np.array([[0.0], [10.0], [10.0], [10.0]])
    got = fx.headroom(grid, p)
    assert got.down_kind[:, 0].tolist() == [0, 1, 1, 2]
    assert grid.branch_ids[got.down_binding[1:3, 0]].tolist() == ["b1", "b2"]
    assert got.down_binding[[0, 3], 0].tolist() == [-1, 3]
    assert 268 < got.down_kw[1, 0] < 269  # 300 kVA at the lower voltage, less loads and losses
    some = fx.headroom(grid, p, down_kw=[[5.0], [5.0], [500.0], [5.0]])
    assert some.down_kw[[0, 1, 3], 0].tolist() == [5.0, 5.0, 5.0]
    assert some.down_kind[:, 0].tolist() == [0, 0, 1, 0]
    assert some.down_binding[[0, 1, 3], 0].tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(some.up_kw, got.up_kw)


def test_a_dead_band_takes_its_part():
    p = np.array([[0.0], [0.0], [20.0]])
    plain, banded = (
        fx.headroom(feeder([-1, 0, 1], r=0.3, x=0.1, v_min=0.95, v_max=1.05, band=band), p) for band in (0.0, 0.04)
    )
    assert (banded.up_kw[1:] < 0.7 * plain.up_kw[1:]).all()
    assert (banded.down_kw[1:] < 0.7 * plain.down_kw[1:]).all()
    assert (banded.down_kw[1:] > 0).all()


def test_broken_limits_and_missing_proofs_leave_nothing():
    grid = feeder([-1, 0, 1, -1, 3], s_max=[np.inf, 50.0, np.inf, np.inf, 50.0], r=0.1, x=0.1)
    p = np.zeros((5, 3))
    p[2] = [60.0, 20.0, 1e5]  # overloaded, fine, beyond what can be fed
    got = fx.headroom(grid, p)
    assert got.certified.tolist() == [True, True, False]
    assert (got.down_kw[1:3] > 0).tolist() == [[False, True, False]] * 2
    assert (got.up_kw[1:3] > 0).tolist() == [[True, True, False]] * 2
    assert (got.down_kw[4] > 49).all()
    with pytest.raises(GridError) as caught:
        fx.headroom(grid, p, method="linear")
    assert caught.value.codes == ("FX-G051",)


FIELDS = ("up_kw", "down_kw", "up_kind", "down_kind", "up_binding", "down_binding", "certified")


@pytest.mark.parametrize("method", ["certified", "linear"])
def test_threads_blocks_and_single_steps_give_the_same_bits(method, monkeypatch):
    _, _, grid, p, q = case(5, 60, 5, n_steps=60)
    p *= np.linspace(0.02, 4.0, 60)
    once = fx.headroom(grid, p, q, method=method)
    runs = [fx.headroom(grid, p, q, method=method, n_threads=2)]
    monkeypatch.setattr(sweeps, "_LONGEST", 16)
    monkeypatch.setattr(sweeps, "_JOB_SECONDS", 1e-6)
    monkeypatch.setattr(module, "_STEPS_PER_CHUNK", 7)
    runs.append(fx.headroom(grid, p, q, method=method, n_threads=2))
    for run in runs:
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(run, name), getattr(once, name))
    for step in range(0, 60, 9):
        alone = fx.headroom(grid, p[:, [step]], q[:, [step]], method=method)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(alone, name)[..., 0], getattr(once, name)[..., step])


def test_order_of_nodes_does_not_matter():
    nodes, branches, grid, p, q = case(8, 40, 3, n_steps=3)
    rng = np.random.default_rng(1)
    other, turned = rng.permutation(40), rng.permutation(len(branches["id"]))
    again = Grid.from_tables(
        {name: [column[k] for k in other] for name, column in nodes.items()},
        {name: [column[k] for k in turned] for name, column in branches.items()},
    )
    back = again.node_index(grid.node_ids)
    one, two = fx.headroom(grid, p, q), fx.headroom(again, p[other], q[other])
    np.testing.assert_allclose(two.up_kw[back], one.up_kw, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(two.down_kw[back], one.down_kw, rtol=1e-6, atol=1e-9)


def test_bad_arguments_are_refused():
    _, _, grid, p, q = case(4, 12, 2, n_steps=3)
    spoilt = p.copy()
    spoilt[4, 1] = np.nan
    for code, call in (
        ("FX-A001", lambda: fx.headroom(grid, p[1:], q)),
        ("FX-A001", lambda: fx.headroom(grid, p, q[:, :1])),
        ("FX-A001", lambda: fx.headroom(grid, p, q, up_kw=p[:, :2] ** 2)),
        ("FX-A001", lambda: fx.headroom(grid, p, q, method="linear", tan_phi=(0.0, 0.1))),
        ("FX-A003", lambda: fx.headroom(grid, spoilt, q)),
        ("FX-A004", lambda: fx.headroom(grid, p, q, down_kw=np.full((12, 1), -1.0))),
        ("FX-A006", lambda: fx.headroom(grid, p, q, n_threads=0)),
        ("FX-A006", lambda: fx.headroom(grid, p, q, method="linear", loss_sweeps=-1)),
        ("FX-E002", lambda: fx.headroom(grid, p, q, method="ac")),
        ("FX-G050", lambda: fx.headroom(grid, p, q, tan_phi=-20.0)),
    ):
        with pytest.raises(ValidationError) as caught:
            call()
        assert caught.value.codes == (code,)


def test_networks_and_horizons_may_be_empty():
    bare = feeder([-1])
    assert np.isinf(fx.headroom(bare, [[5.0]]).up_kw).all()
    assert fx.headroom(bare, [[5.0]], down_kw=[[3.0]]).down_kw.tolist() == [[3.0]]
    _, _, grid, p, q = case(4, 12, 2)
    assert fx.headroom(grid, p[:, :0], q[:, :0]).up_kw.shape == (12, 0)


def test_the_kernel_has_one_signature():
    from flexcore.kernels.grid.node_headroom import node_headroom

    assert len(getattr(node_headroom, "signatures", [None])) == 1
