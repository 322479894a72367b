"""Sensitivities: equal to a dense Jacobian and to differences of flows, and the same however they are asked for."""

import numpy as np
import pytest
from scipy import sparse

import flexcore as fx
from flexcore.errors import UnknownIdError, ValidationError
from flexcore.grid import sweeps
from flexcore.grid.network import Grid
from tests.reference.grid_power_flow import linear, random_network
from tests.reference.grid_sensitivity import by_differences, dense, transfer

SIZES = [(1, 1), (2, 1), (3, 1), (9, 1), (25, 1), (40, 3), (60, 7)]


def case(seed, n_nodes, n_roots, n_steps=3, **options):
    """Random network with taps, shifts and shunts; loads and exports."""
    rng = np.random.default_rng(seed)
    nodes, branches = random_network(rng, n_nodes, n_roots, **options)
    size = 400.0 / np.sqrt(n_nodes)
    p = rng.uniform(-1, 2, (n_nodes, n_steps)) * size
    q = rng.uniform(-0.5, 0.8, (n_nodes, n_steps)) * size
    return nodes, branches, Grid.from_tables(nodes, branches), p, q


def loads(grid, p, q, step):
    return {key: complex(a, b) for key, a, b in zip(grid.node_ids.tolist(), p[:, step], q[:, step], strict=True)}


def close(got, want):
    """Equal to about what the flow behind it is solved to."""
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8 * max(np.abs(want).max(initial=0.0), 1e-9))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_everything_equals_the_dense_jacobian(size, seed):
    nodes, branches, grid, p, q = case(seed, *size)
    few = grid.node_ids[:: max(1, size[0] // 5)]
    chosen = grid.node_index(few)
    rows = fx.voltage_sensitivity(grid, p, q, of=grid.node_ids)
    columns = fx.voltage_sensitivity(grid, p, q, to=few)
    some = fx.voltage_sensitivity(grid, p, q, of=few, to=few[::-1])
    loss = fx.loss_sensitivity(grid, p, q)
    assert not rows.status.any()
    np.testing.assert_array_equal(columns.to, chosen)
    rng = np.random.default_rng(seed)
    dp, dq = rng.normal(size=(2, *p.shape))
    change = fx.voltage_change(grid, p, q, dp_kw=dp, dq_kvar=dq)
    for step in range(p.shape[1]):
        per_p, per_q, loss_p, loss_q, keys = dense(nodes, branches, loads(grid, p, q, step))
        assert keys == grid.node_ids.tolist()
        close(rows.per_kw[..., step], per_p)
        close(rows.per_kvar[..., step], per_q)
        close(columns.per_kw[..., step], per_p[:, chosen])
        close(columns.per_kvar[..., step], per_q[:, chosen])
        close(some.per_kw[..., step], per_p[np.ix_(chosen, chosen[::-1])])
        close(some.per_kvar[..., step], per_q[np.ix_(chosen, chosen[::-1])])
        close(loss.per_kw[:, step], loss_p)
        close(loss.per_kvar[:, step], loss_q)
        close(change[:, step], per_p @ dp[:, step] + per_q @ dq[:, step])


@pytest.mark.parametrize("seed", range(4))
def test_the_dense_jacobian_equals_differences_of_flows(seed):
    nodes, branches, grid, p, q = case(seed, 14, 2, n_steps=1)
    load = loads(grid, p, q, 0)
    per_p, per_q, loss_p, loss_q, keys = dense(nodes, branches, load)
    for k, key in enumerate(keys):
        (v_p, v_q), (l_p, l_q) = by_differences(nodes, branches, load, key)
        np.testing.assert_allclose(per_p[:, k], [v_p[name] for name in keys], rtol=1e-5, atol=1e-10)
        np.testing.assert_allclose(per_q[:, k], [v_q[name] for name in keys], rtol=1e-5, atol=1e-10)
        if not grid.slack[k]:
            np.testing.assert_allclose((loss_p[k], loss_q[k]), (l_p, l_q), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_linear_is_the_derivative_of_lindistflow(size):
    nodes, branches, grid, _, _ = case(1, *size, shunts=False)
    if not grid.n_branches:
        return
    got = fx.voltage_sensitivity(grid, to=grid.node_ids, method="linear")
    rows = fx.voltage_sensitivity(grid, of=grid.node_ids[:1], method="linear")
    np.testing.assert_allclose(rows.per_kw[0], got.per_kw[0], rtol=1e-9, atol=1e-15)
    assert got.per_kw.shape == (size[0], size[0], 1)
    keys = grid.node_ids.tolist()
    idle = np.array([linear(nodes, branches, {}, 0)[0][key] for key in keys])
    for k in range(0, size[0], 3):
        for unit, per in ((1.0, got.per_kw), (1.0j, got.per_kvar)):
            u, _ = linear(nodes, branches, {keys[k]: unit}, 0)
            square = np.array([u[key] for key in keys]) - idle  # linear in the load: exact for a whole kW
            np.testing.assert_allclose(per[:, k, 0], square / (2 * np.sqrt(idle)), rtol=1e-6, atol=1e-13)
    dp = np.random.default_rng(0).normal(size=(size[0], 2))
    change = fx.voltage_change(grid, np.ones((size[0], 2)), dp_kw=dp, method="linear")
    np.testing.assert_allclose(change, got.per_kw[..., 0] @ dp, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("size", SIZES)
def test_ptdf_marks_the_path_with_the_declared_sign(size):
    nodes, branches, grid, p, _ = case(2, *size, shunts=False)
    factors = fx.ptdf(grid)
    assert sparse.issparse(factors)
    assert factors.shape == (grid.n_branches, grid.n_nodes)
    assert factors.has_sorted_indices
    want = transfer(nodes, branches)
    at = {(int(grid.branch_index(b)), int(grid.node_index(n))): sign for (b, n), sign in want.items()}
    entries = factors.tocoo()
    assert dict(zip(zip(entries.row.tolist(), entries.col.tolist(), strict=True), entries.data, strict=True)) == at
    np.testing.assert_allclose(factors @ p, fx.power_flow(grid, p, method="dc").branch_p_kw, rtol=0, atol=1e-9)


def everything(grid, p, q, n_threads=1):
    """All results of a call shape as one list of arrays with the step last."""
    few = grid.node_ids[::9]
    rows = fx.voltage_sensitivity(grid, p, q, of=few, n_threads=n_threads)
    columns = fx.voltage_sensitivity(grid, p, q, to=few, n_threads=n_threads)
    losses = fx.loss_sensitivity(grid, p, q, n_threads=n_threads)
    change = fx.voltage_change(grid, p, q, dp_kw=np.ones((grid.n_nodes, 1)), dq_kvar=q, n_threads=n_threads)
    values = [getattr(x, name) for x in (rows, columns, losses) for name in ("per_kw", "per_kvar", "status")]
    return [*values, change]


def test_threads_blocks_and_single_steps_give_the_same_bits(monkeypatch):
    _, _, grid, p, q = case(5, 90, 9, n_steps=150)
    p *= np.linspace(0.02, 1.2, 150)  # so that steps need different numbers of sweeps
    once = everything(grid, p, q)
    runs = [everything(grid, p, q, 2)]
    monkeypatch.setattr(sweeps, "_LONGEST", 16)
    monkeypatch.setattr(sweeps, "_JOB_SECONDS", 1e-6)
    monkeypatch.setattr(sweeps, "_PACK_NODES", 1)
    runs += [everything(grid, p, q, 2), everything(grid, p, q, 1)]
    for run in runs:
        for got, want in zip(run, once, strict=True):
            np.testing.assert_array_equal(got, want)
    for step in range(0, 150, 23):
        for got, want in zip(everything(grid, p[:, [step]], q[:, [step]]), once, strict=True):
            np.testing.assert_array_equal(got[..., 0], want[..., step])


def test_order_of_nodes_does_not_matter():
    nodes, branches, grid, p, q = case(8, 50, 3, text_ids=True)
    rng = np.random.default_rng(1)
    other, turned = rng.permutation(50), rng.permutation(len(branches["id"]))
    again = Grid.from_tables(
        {name: [column[k] for k in other] for name, column in nodes.items()},
        {name: [column[k] for k in turned] for name, column in branches.items()},
    )
    few = grid.node_ids[::7]
    back = again.node_index(grid.node_ids)
    one = fx.voltage_sensitivity(grid, p, q, of=few)
    two = fx.voltage_sensitivity(again, p[other], q[other], of=few)
    np.testing.assert_allclose(two.per_kw[:, back], one.per_kw, rtol=1e-9, atol=1e-14)
    loss = fx.loss_sensitivity(again, p[other], q[other]).per_kw[back]
    np.testing.assert_allclose(loss, fx.loss_sensitivity(grid, p, q).per_kw, rtol=1e-9, atol=1e-12)
    factors = fx.ptdf(again)[again.branch_index(grid.branch_ids)][:, back]
    np.testing.assert_array_equal(factors.toarray(), fx.ptdf(grid).toarray())


def test_a_step_without_solution_is_marked_and_leaves_the_others_alone():
    _, _, grid, p, q = case(2, 40, 2, n_steps=4)
    below = grid.forest.order[grid.forest.heads[0] : grid.forest.last[grid.forest.heads[0]]]
    inside = np.isin(np.arange(40), below)
    worse = p.copy()
    worse[below, 2] = 1e7
    good, bad = (fx.voltage_sensitivity(grid, load, q, of=grid.node_ids) for load in (p, worse))
    assert bad.status.tolist() == [0, 0, 2, 0]
    assert np.isnan(bad.per_kw[np.ix_(inside, inside)][..., 2]).all()
    bad.per_kw[np.ix_(inside, inside, [2])] = good.per_kw[np.ix_(inside, inside, [2])]
    np.testing.assert_array_equal(bad.per_kw, good.per_kw)
    loss = fx.loss_sensitivity(grid, worse, q)
    assert np.isnan(loss.per_kw[inside, 2]).all()
    assert np.isfinite(loss.per_kw[~inside]).all()
    assert np.isnan(fx.voltage_change(grid, worse, q, dp_kw=p)[inside, 2]).all()


def test_rows_sum_up_and_slack_nodes_do_not_react():
    _, _, grid, p, q = case(3, 30, 3)
    rows = fx.voltage_sensitivity(grid, p, q, of=grid.node_ids)
    assert not rows.per_kw[grid.slack].any()
    assert not rows.per_kw[:, grid.slack].any()
    assert not fx.loss_sensitivity(grid, p, q).per_kw[grid.slack].any()
    twice = fx.voltage_sensitivity(grid, p, q, of=np.repeat(grid.node_ids[::-1], 2))
    np.testing.assert_array_equal(twice.per_kw, np.repeat(rows.per_kw[::-1], 2, axis=0))
    one = fx.voltage_sensitivity(grid, p, q, of=grid.node_ids[7].item())
    np.testing.assert_array_equal(one.per_kw, rows.per_kw[7:8])


def test_bad_arguments_are_refused():
    _, _, grid, p, q = case(4, 30, 2)
    first = grid.node_ids[:1]
    spoilt = p.copy()
    spoilt[4, 1] = np.nan
    for code, call in (
        ("FX-G053", lambda: fx.voltage_sensitivity(grid, p, q)),
        ("FX-G011", lambda: fx.voltage_sensitivity(grid, p, q, of=[-5])),
        ("FX-A001", lambda: fx.voltage_sensitivity(grid, p, q, of=grid.node_ids.reshape(5, 6))),
        ("FX-A001", lambda: fx.voltage_sensitivity(grid, of=first)),
        ("FX-A001", lambda: fx.voltage_sensitivity(grid, p[1:], q, of=first)),
        ("FX-A001", lambda: fx.voltage_sensitivity(grid, p, q[:, :1], of=first)),
        ("FX-A003", lambda: fx.voltage_sensitivity(grid, spoilt, q, of=first)),
        ("FX-A003", lambda: fx.loss_sensitivity(grid, p, spoilt)),
        ("FX-A003", lambda: fx.voltage_change(grid, p, q, dp_kw=spoilt)),
        ("FX-A001", lambda: fx.voltage_change(grid, p, q, dq_kvar=p[:, :2])),
        ("FX-E002", lambda: fx.voltage_sensitivity(grid, p, q, of=first, method="dc")),
        ("FX-E002", lambda: fx.voltage_change(grid, p, q, method="dc")),
        ("FX-A006", lambda: fx.loss_sensitivity(grid, p, q, tolerance=0.0)),
        ("FX-A006", lambda: fx.loss_sensitivity(grid, p, q, n_threads=0)),
        ("FX-A006", lambda: fx.voltage_sensitivity(grid, p, q, of=first, max_iterations=0)),
    ):
        with pytest.raises((ValidationError, UnknownIdError)) as caught:
            call()
        assert caught.value.codes == (code,)


def test_empty_requests_give_empty_results():
    _, _, grid, p, q = case(4, 30, 2)
    assert fx.voltage_sensitivity(grid, p[:, :0], q[:, :0], of=grid.node_ids[:2]).per_kw.shape == (2, 30, 0)
    assert fx.voltage_sensitivity(grid, p, q, of=grid.node_ids[:0]).per_kw.shape == (0, 30, 3)
    assert fx.loss_sensitivity(grid, p[:, :0]).per_kw.shape == (30, 0)


def test_inputs_may_be_read_only_strided_or_integers():
    _, _, grid, p, q = case(4, 30, 2)
    p = np.round(p)
    plain = fx.loss_sensitivity(grid, p, q).per_kw
    locked, wide = p.copy(), np.zeros((30, 6))
    locked.flags.writeable = False
    wide[:, ::2] = p
    for form in (locked, wide[:, ::2], np.asfortranarray(p), p.astype(np.int32), p.tolist()):
        np.testing.assert_array_equal(fx.loss_sensitivity(grid, form, q).per_kw, plain)


def test_each_kernel_has_one_signature():
    from flexcore.kernels.grid import sensitivity

    for kernel in (sensitivity.losses, sensitivity.voltage_change, sensitivity.voltage_entries):
        assert len(getattr(kernel, "signatures", [None])) == 1
