import numpy as np
import pytest

from flexcore.errors import GridError, ValidationError
from flexcore.grid.headroom import activation_rows
from flexcore.grid.power_flow import power_flow
from tests.grid.networks import feeder, random_feeder, random_forecast
from tests.reference.grid_capability import allowed_by_scan

ROWS = ("lower_kw", "upper_kw", "w_lower", "w_upper")
CHAIN = [-1, 0, 1]


def subtree_of(grid, values):
    """Sums over subtrees by walking up from each node."""
    parent = {int(grid.forest.order[i]): int(grid.forest.order[p]) for i, p in enumerate(grid.forest.parent) if p >= 0}
    total = np.zeros_like(values)
    for node in range(grid.n_nodes):
        at = node
        while at is not None:
            total[at] += values[node]
            at = parent.get(at)
    return total


def path_of(rows, values):
    total = np.zeros_like(values)
    for node in range(values.shape[0]):
        at = node
        while at >= 0:
            total[node] += rows.m[at] * values[at]
            at = rows.parent[at]
    return total


def test_allowed_interval_agrees_with_a_scan():
    from flexcore.kernels.grid.headroom import allowed_interval

    rng = np.random.default_rng(5)
    compared = 0
    for _ in range(400):
        p, q = rng.normal(0.0, 4.0, 2)
        slope = rng.choice([0.0, 0.2, 0.5, 1.5])
        s_import, s_export = rng.uniform(1.0, 8.0, 2)
        lo, hi = allowed_interval(p, q, slope, s_import, s_export)
        want = allowed_by_scan(p, q, slope, s_import, s_export)
        if want is None:  # nothing helps: both bounds at the point of least current
            assert lo == hi == pytest.approx((p + slope * q) / (1 + slope**2))
        else:
            assert (lo, hi) == pytest.approx(want, abs=6e-4)
            compared += 1
    assert compared > 250


def test_headroom_by_hand():
    # rated 3, two flow through: one more down, five up until 3 flow back
    grid = feeder([-1, 0], s_max=3.0, r=1e-7, x=1e-7)
    rows = activation_rows(grid, [[0.0], [2.0]], [[0.0], [0.0]])
    assert rows.lower_kw[1, 0] == pytest.approx(-1.0, abs=1e-6)
    assert rows.upper_kw[1, 0] == pytest.approx(5.0, abs=1e-6)
    assert rows.lower_kw[0, 0] == -np.inf
    assert rows.upper_kw[0, 0] == np.inf
    assert rows.n_steps == 1
    assert rows.parent.tolist() == [-1, 0]


def test_reverse_limit_is_that_of_the_declared_direction():
    limits = {"s_max": 10.0, "s_max_reverse_kva": 4.0, "r": 1e-7, "x": 1e-7}
    p, q = [[0.0], [2.0]], [[0.0], [0.0]]
    ahead = activation_rows(feeder([-1, 0], **limits), p, q)
    back = activation_rows(feeder([-1, 0], flip=(1,), **limits), p, q)
    assert (ahead.lower_kw[1, 0], ahead.upper_kw[1, 0]) == pytest.approx((-8.0, 6.0), abs=1e-6)
    assert (back.lower_kw[1, 0], back.upper_kw[1, 0]) == pytest.approx((-2.0, 12.0), abs=1e-6)


def test_current_limit_counts_at_the_voltage_of_each_end():
    grid = feeder([-1, 0], s_max=100.0, r=1.0, x=0.0)
    p = np.array([[0.0], [60.0]])
    rows = activation_rows(grid, p, np.zeros((2, 1)), loss_sweeps=0)
    v = power_flow(grid, p, np.zeros((2, 1)), method="linear", loss_sweeps=0).v_pu[1, 0]
    assert v == pytest.approx(np.sqrt(1 - 2 * 60e-3))
    assert rows.lower_kw[1, 0] == pytest.approx(60.0 - 100.0 * v)
    assert rows.upper_kw[1, 0] == pytest.approx(60.0 + 100.0 * v)


@pytest.mark.parametrize("tan_phi", [0.0, 0.4])
def test_rows_tell_which_activations_are_safe(tan_phi):
    """Without losses the rows and the power flow after the activation agree, element by element."""
    rng = np.random.default_rng(11)
    seen = {True: 0, False: 0}
    for _ in range(40):
        grid = random_feeder(rng, 12, trees=2)
        p, q = random_forecast(rng, grid, 3)
        rows = activation_rows(grid, p, q, loss_sweeps=0, tan_phi=tan_phi)
        y = rng.normal(0.0, 15.0, p.shape)
        before = power_flow(grid, p, q, method="linear", loss_sweeps=0)
        after = power_flow(grid, p - y, q - tan_phi * y, method="linear", loss_sweeps=0,
                           outputs=("branch_p_kw", "branch_q_kvar", "v_pu"))  # fmt: skip
        moved, along = subtree_of(grid, y), path_of(rows, subtree_of(grid, y))
        low_ok = (along >= rows.w_lower - 1e-12) & (along <= rows.w_upper + 1e-12)
        fine = (after.v_pu >= grid.v_min_pu[:, None] - 1e-9) & (after.v_pu <= grid.v_max_pu[:, None] + 1e-9)
        fed = ~grid.slack
        assert (low_ok == fine)[fed].all()
        for i, e in enumerate(grid.forest.branch):
            if e < 0:
                continue
            node = grid.forest.order[i]
            # without losses and shunts both ends carry the same: the one with the lower voltage decides
            v = np.minimum(before.v_pu[grid.branch_from[e]], before.v_pu[grid.branch_to[e]])
            limit = np.where(after.branch_p_kw[e] >= 0, grid.s_max_kva[e], grid.s_max_reverse_kva[e]) * v
            size = np.hypot(after.branch_p_kw[e], after.branch_q_kvar[e])
            inside = (moved[node] >= rows.lower_kw[node]) & (moved[node] <= rows.upper_kw[node])
            # a row never calls safe what is not; the converse holds unless a second, farther piece is allowed
            assert (size[inside] <= limit[inside] * (1 + 1e-9)).all() or (rows.lower_kw >= rows.upper_kw)[node].any()
            for safe in inside:
                seen[bool(safe)] += 1
            if tan_phi == 0.0:
                assert ((size <= limit * (1 - 1e-9)) <= inside).all()
    assert min(seen.values()) > 30


def test_voltage_rows_by_hand():
    grid = feeder(CHAIN, r=0.5, x=0.2, v_min=[0.9, 0.9, 0.95], v_max=1.05)
    p, q = np.array([[0.0], [10.0], [20.0]]), np.array([[0.0], [1.0], [2.0]])
    rows = activation_rows(grid, p, q, loss_sweeps=0)
    drop = 2e-3 * (0.5 * np.array([30.0, 20.0]) + 0.2 * np.array([3.0, 2.0]))
    square = 1.0 - np.cumsum(drop)
    assert rows.m == pytest.approx([0.0, 1e-3, 1e-3])
    assert rows.w_lower[1:, 0] == pytest.approx(np.array([0.81, 0.95**2]) - square)
    assert rows.w_upper[1:, 0] == pytest.approx(1.05**2 - square)
    assert activation_rows(grid, p, q, tan_phi=0.5).m == pytest.approx([0.0, 1.2e-3, 1.2e-3])


def test_regulated_busbar_is_tested_at_both_edges_of_its_band():
    p, q = np.array([[0.0], [10.0], [20.0]]), np.zeros((3, 1))
    narrow = activation_rows(feeder(CHAIN, r=0.1), p, q)
    wide = activation_rows(feeder(CHAIN, r=0.1, band=0.04), p, q)
    assert wide.w_lower[1:] - narrow.w_lower[1:] == pytest.approx(1 - 0.98**2)
    assert wide.w_upper[1:] - narrow.w_upper[1:] == pytest.approx(1 - 1.02**2)


def test_up_rows_take_the_worse_of_lossy_and_lossless():
    rng = np.random.default_rng(3)
    grid = random_feeder(rng, 20)
    p, q = random_forecast(rng, grid, 4)
    rows = activation_rows(grid, p, q)
    lossless = activation_rows(grid, p, q, loss_sweeps=0)
    assert (rows.upper_kw <= lossless.upper_kw + 0.5).all()
    assert (rows.w_upper == lossless.w_upper).all()
    # losses lower the voltage wherever power is taken
    assert (rows.w_lower >= lossless.w_lower - 1e-15)[~grid.slack].all()


@pytest.mark.rule("DTL-03")
def test_standing_awards_count_where_they_use_headroom_and_not_where_they_give_it():
    rng = np.random.default_rng(4)
    grid = random_feeder(rng, 15)
    p, q = random_forecast(rng, grid, 4)
    up, down = rng.uniform(0.0, 3.0, (2, *p.shape))
    both = activation_rows(grid, p, q, delivered_up_kw=up, delivered_down_kw=down)
    delivered_up = activation_rows(grid, p - up, q)
    delivered_down = activation_rows(grid, p + down, q)
    assert np.array_equal(both.lower_kw, delivered_down.lower_kw)
    assert np.array_equal(both.w_lower, delivered_down.w_lower)
    assert np.array_equal(both.upper_kw, delivered_up.upper_kw)
    assert np.array_equal(both.w_upper, delivered_up.w_upper)
    # up awards alone: the opposite direction sees a forecast without them
    alone = activation_rows(grid, p, q, delivered_up_kw=up)
    assert np.array_equal(alone.lower_kw, activation_rows(grid, p, q).lower_kw)


def test_a_stressed_state_tightens_the_rows_by_its_losses_and_voltages():
    rng = np.random.default_rng(6)
    grid = random_feeder(rng, 15)
    p = np.abs(random_forecast(rng, grid, 4)[0])
    q = 0.3 * p
    plain = activation_rows(grid, p, q)
    same = activation_rows(grid, p, q, extra_down_kw=np.zeros_like(p))
    for name in ROWS:
        assert getattr(same, name) == pytest.approx(getattr(plain, name), abs=1e-12)
    extra = rng.uniform(0.0, 4.0, p.shape)
    tight = activation_rows(grid, p, q, extra_down_kw=extra)
    limited = np.isfinite(plain.lower_kw)
    # losses do not count upwards, but the lower voltage leaves less of the rated power
    assert (tight.upper_kw < plain.upper_kw)[limited].all()
    assert np.array_equal(tight.w_upper, plain.w_upper)
    assert (tight.lower_kw > plain.lower_kw)[limited].all()
    assert (tight.w_lower > plain.w_lower)[~grid.slack].all()
    # at the stressed state itself the row has exactly the room that a forecast of that state has
    there = activation_rows(grid, p + extra, q)
    moved = subtree_of(grid, extra)
    assert (tight.lower_kw + moved)[limited] == pytest.approx(there.lower_kw[limited])
    assert (tight.w_lower + path_of(plain, moved))[~grid.slack] == pytest.approx(there.w_lower[~grid.slack])


def test_no_voltage_in_the_stressed_state_leaves_no_room():
    grid = feeder([-1, 0, 0], s_max=1e6, r=[0, 2.0, 0.001], x=0.001, v_min=0.1)
    p = np.array([[0.0], [1.0], [1.0]])
    rows = activation_rows(grid, p, 0 * p, extra_down_kw=[[0.0], [5000.0], [0.0]])
    assert rows.lower_kw[1, 0] == 0.0
    assert rows.w_lower[1, 0] == 0.0
    assert rows.lower_kw[2, 0] < -1e5


def test_threads_and_single_steps_give_the_same_bits():
    rng = np.random.default_rng(7)
    grid = random_feeder(rng, 700, impedance=0.02)
    p, q = random_forecast(rng, grid, 40, size=0.05)
    extra = rng.uniform(0.0, 0.1, p.shape)
    one = activation_rows(grid, p, q, extra_down_kw=extra)
    two = activation_rows(grid, p, q, extra_down_kw=extra, n_threads=2)
    step = activation_rows(grid, p[:, 17:18], q[:, 17:18], extra_down_kw=extra[:, 17:18])
    for name in ROWS:
        assert np.array_equal(getattr(one, name), getattr(two, name))
        assert np.array_equal(getattr(one, name)[:, 17:18], getattr(step, name))


def test_bad_input_is_refused_by_code():
    grid = feeder(CHAIN)
    p = np.ones((3, 2))
    refused = [
        ({"p_kw": np.full((3, 2), np.nan)}, "FX-A003"),
        ({"p_kw": np.ones((4, 2))}, "FX-A001"),
        ({"q_kvar": np.ones((3, 3))}, "FX-A001"),
        ({"delivered_up_kw": -p}, "FX-A004"),
        ({"delivered_down_kw": p[:, :1]}, "FX-A001"),
        ({"extra_down_kw": p[:2]}, "FX-A001"),
        ({"tan_phi": np.nan}, "FX-A003"),
    ]
    for change, code in refused:
        with pytest.raises(ValidationError) as caught:
            activation_rows(grid, **({"p_kw": p, "q_kvar": p} | change))
        assert caught.value.codes == (code,)


def test_wrong_way_sensitivity_and_collapse_are_refused():
    grid = feeder(CHAIN, r=0.01, x=0.1)
    p = np.ones((3, 2))
    with pytest.raises(GridError) as caught:
        activation_rows(grid, p, p, tan_phi=-0.5)
    assert caught.value.codes == ("FX-G050",)
    assert caught.value.findings[0].ids == ("b1", "b2")
    with pytest.raises(GridError) as caught:
        activation_rows(grid, p * [[1.0, 1e7]], p)
    assert caught.value.codes == ("FX-G051",)
    assert caught.value.findings[0].rows == (1,)


def test_eight_intervals_at_once_are_those_of_one_at_a_time():
    from flexcore.kernels._jit import F64_2D, F64_2D_OUT, f64, kernel
    from flexcore.kernels._simd import load, store
    from flexcore.kernels.grid.headroom import allowed_interval, allowed_intervals

    @kernel(F64_2D, F64_2D, F64_2D, f64, f64, f64, F64_2D_OUT, F64_2D_OUT)
    def run(p, q, v, slope, s_import, s_export, eight, one):
        for t in range(0, p.shape[1], 8):
            lo, hi = allowed_intervals(load(p, 0, t), load(q, 0, t), slope, s_import, s_export, load(v, 0, t))
            store(eight, 0, t, lo)
            store(eight, 1, t, hi)
        for t in range(p.shape[1]):
            one[0, t], one[1, t] = allowed_interval(p[0, t], q[0, t], slope, s_import * v[0, t], s_export * v[0, t])

    rng = np.random.default_rng(0)
    for _ in range(200):
        p, q = rng.normal(0.0, rng.choice([0.1, 1.0, 3.0]), (2, 1, 400))
        v = rng.uniform(0.8, 1.1, (1, 400))
        v[rng.random(v.shape) < 0.02] = np.nan
        p[rng.random(p.shape) < 0.02] = 0.0
        eight, one = np.empty((2, 2, 400))
        ratings = rng.choice([0.0, 0.7, 1.5, np.inf], 2)
        run(p, rng.choice([0.0, 0.5, 2.0]) * q, v, rng.choice([0.0, 0.3, -0.2]), *ratings, eight, one)
        np.testing.assert_array_equal(eight, one)
