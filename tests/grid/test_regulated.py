"""Regulated busbars inside trees: against turned taps, against pandapower, and refused where they are not known."""

import cmath
import math
import pickle

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import GridError
from flexcore.grid.headroom import activation_rows
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.reference.grid_power_flow import dc
from tests.reference.grid_regulated import linear_by_levels, random_regulated, turn_taps

EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")


def draw(rng, n_busbars=2):
    nodes, branches = random_regulated(rng, int(rng.integers(4, 25)), n_busbars, int(rng.integers(1, 3)))
    branches["s_max_kva"] = rng.uniform(50.0, 100.0, len(branches["id"])).tolist()
    branches["s_max_reverse_kva"] = rng.uniform(50.0, 100.0, len(branches["id"])).tolist()
    grid = Grid.from_tables(nodes, branches)
    p = rng.normal(8.0, 8.0, (grid.n_nodes, 3))
    return nodes, branches, grid, p, 0.4 * p + rng.normal(0.0, 2.0, p.shape)


def loads(grid, p, q, t):
    return {key: complex(p[at, t], q[at, t]) for at, key in enumerate(grid.node_ids.tolist())}


def columns(grid, flows):
    return (np.array([flows[key][end] for key in grid.branch_ids.tolist()]) for end in (0, 1))


def rating(grid, start, end):
    """Branches whose power runs one way at both ends, and the rating of that way."""
    one_way = start.real * end.real < 0
    assert one_way.mean() > 0.5
    return one_way, np.where(start.real >= 0, grid.s_max_kva, grid.s_max_reverse_kva)


def test_ac_equals_the_whole_network_with_its_taps_turned():
    rng = np.random.default_rng(1)
    nested = 0
    for _ in range(40):
        nodes, branches, grid, p, q = draw(rng)
        flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, tolerance=1e-13)
        assert flow.converged
        nested += grid.links.level.max() > 1
        for t in range(3):
            v, flows, ratios = turn_taps(nodes, branches, loads(grid, p, q, t))
            assert len(ratios) == grid.regulated.sum()
            want = np.array([v[key] for key in grid.node_ids.tolist()])
            np.testing.assert_allclose(flow.v_pu[:, t], np.abs(want), rtol=0, atol=1e-10)
            turned = flow.angle_deg[:, t] - np.degrees(np.angle(want))
            np.testing.assert_allclose((turned + 180) % 360 - 180, 0, atol=1e-8)
            size = max(np.abs(p).max(), 1.0)
            start, end = columns(grid, flows)
            for values, want_kva in (
                (flow.branch_p_kw, start.real), (flow.branch_q_kvar, start.imag), (flow.branch_p_to_kw, end.real),
                (flow.branch_q_to_kvar, end.imag),
            ):  # fmt: skip
                np.testing.assert_allclose(values[:, t], want_kva, rtol=0, atol=1e-8 * size)
            current = np.maximum(
                np.abs(start) / np.abs(want[grid.branch_from]), np.abs(end) / np.abs(want[grid.branch_to])
            )
            one_way, limit = rating(grid, start, end)
            np.testing.assert_allclose(flow.loading[one_way, t], (current / limit)[one_way], atol=1e-9)
    assert nested > 10


@pytest.mark.parametrize("loss_sweeps", [0, 1, 3])
def test_linear_equals_the_reference_level_by_level(loss_sweeps):
    rng = np.random.default_rng(2)
    for _ in range(40):
        nodes, branches, grid, p, q = draw(rng, 3)
        flow = power_flow(grid, p, q, method="linear", outputs=EVERYTHING, loss_sweeps=loss_sweeps)
        for t in range(3):
            u, flows = linear_by_levels(nodes, branches, loads(grid, p, q, t), loss_sweeps)
            want = np.sqrt([u[key] for key in grid.node_ids.tolist()])
            np.testing.assert_allclose(flow.v_pu[:, t], want, rtol=0, atol=1e-12)
            start, end = columns(grid, flows)
            np.testing.assert_allclose(flow.branch_p_kw[:, t], start.real, rtol=0, atol=1e-9)
            np.testing.assert_allclose(flow.branch_q_kvar[:, t], start.imag, rtol=0, atol=1e-9)
            np.testing.assert_allclose(flow.branch_p_to_kw[:, t], end.real, rtol=0, atol=1e-9)
            np.testing.assert_allclose(flow.branch_q_to_kvar[:, t], end.imag, rtol=0, atol=1e-9)
            current = np.maximum(np.abs(start) / want[grid.branch_from], np.abs(end) / want[grid.branch_to])
            one_way, limit = rating(grid, start, end)
            np.testing.assert_allclose(flow.loading[one_way, t], (current / limit)[one_way], atol=1e-9)


def test_the_linear_flow_comes_near_the_ac_one():
    rng = np.random.default_rng(3)
    for _ in range(20):
        *_, grid, p, q = draw(rng)
        exact = power_flow(grid, p, q, method="ac")
        near = power_flow(grid, p, q, method="linear", loss_sweeps=3)
        np.testing.assert_allclose(near.v_pu, exact.v_pu, rtol=0, atol=1e-3)


def test_dc_knows_no_voltage_and_so_no_regulation():
    rng = np.random.default_rng(4)
    for _ in range(40):
        nodes, branches, grid, p, q = draw(rng)
        plain = {name: column for name, column in nodes.items() if name != "regulated"}
        # DC counts shunts at the nodes alone
        angle, flows = dc(plain, branches, {key: p[at, 0] for at, key in enumerate(grid.node_ids.tolist())})
        flow = power_flow(grid, p, q, method="dc", outputs=EVERYTHING)
        same = power_flow(Grid.from_tables(plain, branches), p, q, method="dc", outputs=EVERYTHING)
        want = np.degrees([angle[key] for key in grid.node_ids.tolist()])
        # a dense solve with susceptances of a million
        np.testing.assert_allclose(flow.angle_deg[:, 0], want, atol=1e-9)
        np.testing.assert_allclose(flow.branch_p_kw[:, 0], [flows[key] for key in grid.branch_ids.tolist()], atol=1e-5)
        for name in ("branch_p_kw", "branch_p_to_kw", "angle_deg", "loading"):
            np.testing.assert_allclose(getattr(flow, name), getattr(same, name), atol=1e-9)


def test_pandapower_agrees_once_its_tap_stands_at_the_ratio_found():
    """MV busbar behind a 110/20 kV tap changer with two feeders, and an LV busbar behind a second one."""
    import pandapower as pp

    def build(taps):
        net = pp.create_empty_network(sn_mva=1.0)
        bus = [pp.create_bus(net, kv) for kv in (110.0, 110.0, 20.0, 20.0, 20.0, 0.4, 0.4)]
        pp.create_ext_grid(net, bus[0], vm_pu=1.01)
        line = {"r_ohm_per_km": 0.16, "x_ohm_per_km": 0.12, "c_nf_per_km": 270.0, "max_i_ka": 0.4}
        pp.create_line_from_parameters(net, bus[0], bus[1], 20.0, **line)
        for at, (hv, lv, sn, high, low) in enumerate(((1, 2, 25.0, 110.0, 20.0), (4, 5, 0.63, 20.0, 0.4))):
            pp.create_transformer_from_parameters(
                net, bus[hv], bus[lv], sn, high, low, vkr_percent=1.2, vk_percent=6.0 + 6.0 * (at == 0),
                pfe_kw=1.65, i0_percent=0.3, shift_degree=150.0, tap_side="hv", tap_neutral=0, tap_min=-99, tap_max=99,
                tap_step_percent=1.0, tap_pos=taps[at], tap_changer_type="Ratio",
            )  # fmt: skip
        pp.create_line_from_parameters(net, bus[2], bus[3], 8.0, **line)
        pp.create_line_from_parameters(net, bus[2], bus[4], 5.0, **line)
        pp.create_line_from_parameters(net, bus[5], bus[6], 0.3, 0.2, 0.08, 0.0, 0.3)
        for at, p, q in ((3, 6.0, 1.5), (4, 2.0, 0.4), (6, 0.25, 0.06), (2, 1.0, 0.2)):
            pp.create_load(net, bus[at], p, q)
        pp.create_sgen(net, bus[6], 0.05, 0.0)
        return net

    taps = [0.0, 0.0]
    wanted = {2: 1.03, 5: 1.005}
    for _ in range(100):
        net = build(taps)
        pp.runpp(net, trafo_model="pi", tolerance_mva=1e-10, calculate_voltage_angles=True, init="dc")
        off = [net.res_bus.vm_pu[bus] / v for bus, v in wanted.items()]
        if max(abs(factor - 1) for factor in off) < 1e-11:
            break
        taps = [(1 + 0.01 * tap) * factor * 100 - 100 for tap, factor in zip(taps, off, strict=True)]
    neutral = Grid.from_pandapower(build([0.0, 0.0]), trafo_model="pi")
    grid = hold(neutral, wanted)
    flow = power_flow(
        grid, neutral.base_p_kw[:, None], neutral.base_q_kvar[:, None], method="ac", outputs=EVERYTHING, tolerance=1e-13
    )
    assert flow.converged
    np.testing.assert_allclose(flow.v_pu[:, 0], net.res_bus.vm_pu.loc[grid.node_ids], atol=1e-9)
    turned = flow.angle_deg[:, 0] - net.res_bus.va_degree.loc[grid.node_ids].to_numpy()
    np.testing.assert_allclose((turned + 180) % 360 - 180, 0, atol=1e-7)
    for key, result in (("line", net.res_line), ("trafo", net.res_trafo)):
        ids = [name for name in grid.branch_ids.tolist() if name.startswith(key)]
        p = flow.branch_p_kw[grid.branch_index(ids), 0]
        np.testing.assert_allclose(p, result[{"line": "p_from_mw", "trafo": "p_hv_mw"}[key]] * 1e3, atol=1e-4)
        q = flow.branch_q_kvar[grid.branch_index(ids), 0]
        np.testing.assert_allclose(q, result[{"line": "q_from_mvar", "trafo": "q_hv_mvar"}[key]] * 1e3, atol=1e-4)


def hold(grid, wanted):
    """The same network as tables, with some nodes regulated."""
    z_base = grid.v_nom_kv[grid.branch_to] ** 2 * 1e3
    f = grid.forest
    fed = f.branch >= 0
    r, x, g, b = (np.empty(grid.n_branches) for _ in range(4))
    assert f.forward[fed].all()
    e = f.branch[fed]
    r[e], x[e] = f.r_pu[fed], f.x_pu[fed]
    # a pi with equal ends: what stands at the child's end stands at the other end too
    g[e], b[e] = 2 * (f.g_child * f.tau)[fed], 2 * (f.b_child * f.tau)[fed]
    v_set = np.where(grid.slack, grid.v_set_pu, 1.0)
    for key, v in wanted.items():
        v_set[grid.node_index([key])] = v
    nodes = {
        "id": grid.node_ids, "v_nom_kv": grid.v_nom_kv, "slack": grid.slack, "v_set_pu": v_set,
        "regulated": np.isin(grid.node_ids, list(wanted)),
    }  # fmt: skip
    branches = {
        "id": grid.branch_ids, "from_id": grid.node_ids[grid.branch_from], "to_id": grid.node_ids[grid.branch_to],
        "r_ohm": r * z_base, "x_ohm": x * z_base, "g_us": g / z_base * 1e6, "b_us": b / z_base * 1e6,
        "ratio": grid.ratio, "shift_deg": grid.shift_deg, "s_max_kva": grid.s_max_kva,
    }  # fmt: skip
    return Grid.from_tables(nodes, branches)


def test_any_part_of_the_result_any_step_and_any_threads_give_the_same_bits():
    rng = np.random.default_rng(5)
    nodes, branches = random_regulated(rng, 60, 4)
    grid = Grid.from_tables(nodes, branches)
    p = rng.normal(2.0, 2.0, (60, 90))
    for method in ("dc", "linear", "ac"):
        full = power_flow(grid, p, 0.3 * p, method=method, outputs=EVERYTHING)
        before = p.copy()
        threads = power_flow(grid, p, 0.3 * p, method=method, outputs=EVERYTHING, n_threads=2)
        assert np.array_equal(before, p)
        one = power_flow(grid, p[:, 7:8], 0.3 * p[:, 7:8], method=method, outputs=EVERYTHING)
        for name in full.held():
            assert np.array_equal(getattr(full, name), getattr(threads, name))
            assert np.array_equal(getattr(full, name)[:, 7:8], getattr(one, name))
            alone = power_flow(grid, p, 0.3 * p, method=method, outputs=(name,), out=None)
            assert alone.held() == [name]
            assert np.array_equal(getattr(alone, name), getattr(full, name))
        again = power_flow(grid, 0 * p, 0 * p, method=method, outputs=EVERYTHING, out=full)
        assert again is full
        assert again.status.tolist() == [0] * 90


def test_no_voltage_below_is_no_flow_above():
    rng = np.random.default_rng(6)
    nodes, branches = random_regulated(rng, 20, 1)
    grid = Grid.from_tables(nodes, branches)
    below = grid.spanning
    at = int(below.rank[np.flatnonzero(grid.regulated)[0]])
    p = np.zeros((20, 2))
    inside = below.order[at + 1 : below.last[at]]
    p[inside if inside.size else grid.regulated, 1] = 1e9
    for method in ("linear", "ac"):
        flow = power_flow(grid, p, p, method=method)
        assert flow.status[0] == 0
        assert flow.status[1] > 0
        assert np.isnan(flow.branch_p_kw[grid.links.branch[0], 1]) or inside.size == 0


def test_a_loop_and_a_tap_changer_the_wrong_way_round_are_refused():
    nodes = {"id": [1, 2, 3], "v_nom_kv": [20.0] * 3, "slack": [True, False, False], "regulated": [False, True, False]}
    branches = {"id": [1, 2], "from_id": [2, 2], "to_id": [1, 3], "r_ohm": [1.0] * 2, "x_ohm": [1.0] * 2}
    with pytest.raises(GridError) as caught:
        Grid.from_tables(nodes, branches)
    assert caught.value.codes == ("FX-G012",)
    assert caught.value.findings[0].ids == (1,)
    with pytest.raises(GridError) as loop:
        Grid.from_tables(nodes, {**branches, "id": [1, 2, 3], "from_id": [1, 2, 3], "to_id": [2, 3, 1],
                                 "r_ohm": [1.0] * 3, "x_ohm": [1.0] * 3})  # fmt: skip
    assert loop.value.codes == ("FX-G001",)
    with pytest.raises(GridError) as both:
        Grid.from_tables(nodes, {**branches, "id": [1, 2, 3], "from_id": [1, 2, 3], "to_id": [2, 3, 1],
                                 "r_ohm": [1.0] * 3, "x_ohm": [1.0] * 3}, meshed=True)  # fmt: skip
    assert both.value.codes == ("FX-G014",)
    assert both.value.findings[0].ids == (2,)


def test_a_regulated_slack_node_is_a_slack_node():
    nodes = {"id": [1, 2], "v_nom_kv": [20.0] * 2, "slack": [True, False], "regulated": [True, False]}
    branches = {"id": [1], "from_id": [1], "to_id": [2], "r_ohm": [1.0], "x_ohm": [1.0]}
    grid = Grid.from_tables(nodes, branches)
    assert grid.links is None
    assert not grid.regulated.any()
    assert grid.forest is grid.spanning


def test_what_does_not_know_regulated_busbars_refuses_them():
    rng = np.random.default_rng(7)
    nodes, branches = random_regulated(rng, 10, 2)
    grid = pickle.loads(pickle.dumps(Grid.from_tables(nodes, branches)))
    p = np.zeros((10, 1))
    offers = {"up_kw": p, "down_kw": p}
    calls = [
        lambda: power_flow(grid, p, p, method="certified"),
        lambda: fx.capability(grid, p, p, perimeter=np.zeros(10, int), **offers),
        lambda: fx.capability(grid, p, p, perimeter=np.zeros(10, int), method="linear", **offers),
        lambda: fx.split_perimeters(grid, p, p, **offers),
        lambda: fx.find_needs(grid, p, p),
        lambda: activation_rows(grid, p, p),
        lambda: fx.headroom(grid, p, p),
        lambda: fx.ptdf(grid),
        lambda: fx.voltage_sensitivity(grid, p, p, of=grid.node_ids[:1]),
    ]
    for call in calls:
        with pytest.raises(GridError) as caught:
            call()
        assert caught.value.codes == ("FX-G013",)
        assert set(caught.value.findings[0].ids) == set(grid.node_ids[grid.regulated].tolist())


def test_hand_worked_busbar():
    """A busbar at 1.02 pu draws 100 kW: the current is that of its own voltage, not of the grid's."""
    kv = 0.4
    nodes = {
        "id": ["grid", "bus"], "v_nom_kv": [kv, kv], "slack": [True, False], "v_set_pu": [0.97, 1.02],
        "regulated": [False, True],
    }  # fmt: skip
    ohm = 1e-4 * kv * kv * 1e3
    branches = {
        "id": ["t"],
        "from_id": ["grid"],
        "to_id": ["bus"],
        "r_ohm": [ohm],
        "x_ohm": [ohm],
        "s_max_kva": [200.0],
    }
    grid = Grid.from_tables(nodes, branches)
    p = np.array([[0.0], [100.0]])
    flow = power_flow(grid, p, 0 * p, method="ac", outputs=EVERYTHING)
    lost = 1e-4 * (100 / 1.02) ** 2
    assert flow.branch_p_kw[0, 0] == pytest.approx(100 + lost)
    assert flow.branch_q_kvar[0, 0] == pytest.approx(lost)
    assert flow.v_pu[:, 0].tolist() == [0.97, 1.02]
    assert flow.loading[0, 0] == pytest.approx(math.hypot(100 + lost, lost) / 0.97 / 200)
    behind = 1.02 + (1e-4 + 1e-4j) * 100 / 1.02
    assert flow.angle_deg[1, 0] == pytest.approx(-math.degrees(cmath.phase(behind)))
