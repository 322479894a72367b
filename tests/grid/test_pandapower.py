import numpy as np
import pandapower as pp
import pytest

from flexcore.errors import GridError
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

LINE = {"r_ohm_per_km": 0.3, "x_ohm_per_km": 0.12, "c_nf_per_km": 300.0, "g_us_per_km": 20.0, "max_i_ka": 0.2}
TRAFO = {
    "sn_mva": 0.63, "vn_hv_kv": 20.5, "vn_lv_kv": 0.4, "vkr_percent": 1.2, "vk_percent": 6.0, "pfe_kw": 1.5,
    "i0_percent": 0.4, "shift_degree": 150.0,
}  # fmt: skip
EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")


def small_net(**trafo):
    """20 kV feeder of three buses, a transformer, an LV feeder of two buses."""
    net = pp.create_empty_network(sn_mva=10.0)
    for k in range(6):
        pp.create_bus(net, vn_kv=20.0 if k < 4 else 0.4, index=2 * k + 3)
    pp.create_ext_grid(net, 3, vm_pu=1.02, va_degree=-20.0)
    for k, (start, end) in enumerate([(3, 5), (7, 5), (5, 9)]):
        pp.create_line_from_parameters(net, start, end, length_km=3.0 + k, index=10 + k, **LINE)
    pp.create_transformer_from_parameters(net, 9, 11, **{**TRAFO, **trafo})
    lv = {**LINE, "r_ohm_per_km": 0.1, "x_ohm_per_km": 0.08}
    pp.create_line_from_parameters(net, 11, 13, length_km=0.2, index=20, **lv)
    for bus, p, q in ((5, 0.4, 0.1), (7, 0.3, -0.05), (13, 0.1, 0.02), (13, 0.05, 0.01)):
        pp.create_load(net, bus, p_mw=p, q_mvar=q)
    return net


def check(net, trafo_model="t"):
    """AC power flow of the converted network equals `runpp`: voltages, both ends of every branch, loading."""
    grid = Grid.from_pandapower(net, trafo_model=trafo_model)
    p, q = grid.base_p_kw[:, None], grid.base_q_kvar[:, None]
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, tolerance=1e-12)
    pp.runpp(net, tolerance_mva=1e-10, calculate_voltage_angles=True, trafo_model=trafo_model, init="dc")
    buses = net.res_bus.index[net.res_bus.vm_pu.notna()]
    at = grid.node_index(buses.to_numpy())
    np.testing.assert_allclose(flow.v_pu[at, 0], net.res_bus.vm_pu.loc[buses], rtol=0, atol=1e-9)
    np.testing.assert_allclose(flow.angle_deg[at, 0], net.res_bus.va_degree.loc[buses], rtol=0, atol=1e-7)
    for name, one, other in (("line", "from", "to"), ("trafo", "hv", "lv"), ("switch", "from", "to")):
        ids = [key for key in grid.branch_ids.tolist() if key.startswith(name + " ")]
        result = net[f"res_{name}"].loc[[int(key.split()[1]) for key in ids]]
        rows = grid.branch_index(ids) if ids else np.zeros(0, int)
        for field, column in (
            ("branch_p_kw", f"p_{one}_mw"),
            ("branch_q_kvar", f"q_{one}_mvar"),
            ("branch_p_to_kw", f"p_{other}_mw"),
            ("branch_q_to_kvar", f"q_{other}_mvar"),
        ):
            np.testing.assert_allclose(getattr(flow, field)[rows, 0], result[column] * 1e3, rtol=1e-8, atol=1e-6)
        if name == "line":
            np.testing.assert_allclose(flow.loading[rows, 0], result.loading_percent / 100, rtol=1e-8)
        elif name == "trafo":  # one rating for both sides: exact but for the magnetising current
            i0 = net.trafo.i0_percent.loc[result.index].max() / 100 if ids else 0.0
            np.testing.assert_allclose(flow.loading[rows, 0], result.loading_percent / 100, rtol=1e-8, atol=i0)
    feeding = np.isin(grid.branch_from, np.flatnonzero(grid.slack))
    assert feeding.any()
    pp.rundcpp(net)
    direct = power_flow(grid, p, method="dc", outputs=EVERYTHING)
    for name, column in (("line", "p_from_mw"), ("trafo", "p_hv_mw")):
        ids = [key for key in grid.branch_ids.tolist() if key.startswith(name + " ")]
        rows = grid.branch_index(ids) if ids else np.zeros(0, int)
        exact = net[f"res_{name}"][column].loc[[int(key.split()[1]) for key in ids]] * 1e3
        largest = np.abs(net.res_line.p_from_mw).max() * 1e3
        np.testing.assert_allclose(direct.branch_p_kw[rows, 0], exact, rtol=0, atol=1e-9 * largest)
    return grid


@pytest.mark.parametrize("trafo_model", ["t", "pi"])
@pytest.mark.parametrize(
    "trafo",
    [
        {},
        {"pfe_kw": 0.0, "i0_percent": 0.0},
        {"tap_side": "hv", "tap_neutral": 0, "tap_pos": 3, "tap_step_percent": 2.5, "tap_changer_type": "Ratio"},
        {"tap_side": "lv", "tap_neutral": 1, "tap_pos": -1, "tap_step_percent": 2.5, "tap_changer_type": "Ratio"},
        {"parallel": 2, "df": 0.9},
        {"vn_lv_kv": 0.42, "shift_degree": 0.0},
    ],
    ids=["iron", "no iron", "tap hv", "tap lv", "parallel", "off-nominal"],
)
def test_transformers(trafo, trafo_model):
    grid = check(small_net(**trafo), trafo_model)
    rated = 630.0 * trafo.get("parallel", 1) * trafo.get("df", 1.0)
    if trafo.get("vn_lv_kv") == 0.42:  # the larger current, at the hv side, is rated at 20.5 kV and counted at 20 kV
        rated *= 20.0 / 20.5
    np.testing.assert_allclose(grid.s_max_kva[grid.branch_index("trafo 0")], rated)


@pytest.mark.parametrize("tap", [-4, 0, 3])
@pytest.mark.parametrize(("vn_hv_kv", "vn_lv_kv"), [(20, 0.4), (21, 0.42), (21, 0.4), (20, 0.42), (19, 0.41)])
def test_loading_counts_the_transformers_own_voltages(vn_hv_kv, vn_lv_kv, tap):
    taps = {"tap_side": "hv", "tap_neutral": 0, "tap_pos": tap, "tap_step_percent": 2.5, "tap_changer_type": "Ratio"}
    check(small_net(vn_hv_kv=vn_hv_kv, vn_lv_kv=vn_lv_kv, pfe_kw=0.0, i0_percent=0.0, **taps))


def test_uneven_leakage_makes_an_uneven_pi():
    net = small_net()
    net.trafo["leakage_resistance_ratio_hv"] = 0.3
    net.trafo["leakage_reactance_ratio_hv"] = 0.8
    grid = check(net)
    head = grid.forest.rank[grid.node_index(11)]
    assert grid.forest.b_parent[head] != pytest.approx(grid.forest.b_child[head])


def test_parallel_and_derated_lines():
    net = small_net()
    net.line.loc[10, ["parallel", "df"]] = [2, 0.8]
    grid = check(net)
    limit = np.sqrt(3) * 20e3 * 0.2 * 2 * 0.8
    np.testing.assert_allclose(grid.s_max_kva[grid.branch_index("line 10")], limit)


@pytest.mark.parametrize("bus", [7, 5])
def test_a_line_open_at_one_end_charges_the_other(bus):
    net = small_net()
    net.load = net.load[net.load.bus != 7]
    pp.create_switch(net, bus, 11, et="l", closed=False)
    if bus == 5:  # then 7 hangs on the open line alone and must be left out
        assert 7 not in check(net).node_ids
    else:
        pp.create_line_from_parameters(net, 5, 7, length_km=1.0, **LINE)
        grid = check(net)
        assert "line 11" not in grid.branch_ids


@pytest.mark.parametrize("bus", [9, 11])
def test_a_transformer_open_at_one_end(bus):
    net = small_net()
    pp.create_transformer_from_parameters(net, 9, 11, **TRAFO)
    pp.create_switch(net, bus, 1, et="t", closed=False)
    grid = check(net)
    assert "trafo 1" not in grid.branch_ids


def test_lines_to_buses_out_of_service_charge_their_near_end():
    net = small_net()
    net.load = net.load[net.load.bus != 7]
    net.bus.loc[7, "in_service"] = False
    assert check(net).n_nodes == 5


def test_shunts_generators_storages_and_scaling():
    net = small_net()
    pp.create_shunt(net, 5, p_mw=0.02, q_mvar=-0.3, step=2, max_step=3)
    pp.create_shunt(net, 13, p_mw=0.004, q_mvar=0.01, vn_kv=0.42)
    pp.create_sgen(net, 13, p_mw=0.2, q_mvar=0.03, scaling=0.7)
    pp.create_sgen(net, 13, p_mw=9.0, in_service=False)
    pp.create_storage(net, 7, p_mw=0.1, max_e_mwh=1.0, q_mvar=0.02, scaling=0.5)
    net.load.loc[0, "scaling"] = 1.3
    net.load.loc[1, "in_service"] = False
    grid = check(net)
    node = grid.node_index([13, 7, 5])
    np.testing.assert_allclose(grid.base_p_kw[node], [150 - 140, 50, 520])
    np.testing.assert_allclose(grid.base_q_kvar[node], [30 - 21, 10, 130])


def test_buses_behind_closed_switches_are_one_node():
    net = small_net()
    for index, other in ((1, 5), (40, 1), (2, 13)):
        pp.create_bus(net, vn_kv=net.bus.vn_kv[other], index=index, min_vm_pu=0.95, max_vm_pu=1.2)
        pp.create_switch(net, index, other, et="b", closed=True)
    pp.create_bus(net, vn_kv=20.0, index=50)  # behind an open switch: no supply, no load, left out
    pp.create_switch(net, 50, 5, et="b", closed=False)
    pp.create_load(net, 40, p_mw=0.01)
    grid = check(net)
    assert grid.node_ids.tolist() == [1, 2, 3, 7, 9, 11]
    assert grid.node_index([5, 40, 1]).tolist() == [0, 0, 0]
    assert grid.node_index([13, 2]).tolist() == [1, 1]
    assert grid.v_min_pu[0] == 0.95
    assert grid.v_max_pu[0] == 1.1  # the tightest of the three buses
    np.testing.assert_allclose(grid.base_p_kw[0], 410)


def test_switches_with_impedance_are_branches():
    net = small_net()
    pp.create_bus(net, vn_kv=20.0, index=60)
    pp.create_bus(net, vn_kv=20.0, index=61)
    pp.create_switch(net, 5, 61, et="b", closed=True)
    pp.create_switch(net, 7, 60, et="b", closed=True, z_ohm=0.5)
    pp.create_load(net, 60, p_mw=0.2)
    grid = check(net)
    assert "switch 1" in grid.branch_ids


def test_switches_with_impedance_to_buses_out_of_service_are_none():
    net = small_net()
    pp.create_bus(net, vn_kv=20.0, index=60, in_service=False)
    pp.create_switch(net, 7, 60, et="b", closed=True, z_ohm=0.5)
    pp.create_bus(net, vn_kv=20.0, index=61)
    pp.create_switch(net, 7, 61, et="b", closed=True, z_ohm=0.5)
    assert [key for key in check(net).branch_ids.tolist() if key.startswith("switch")] == ["switch 1"]


def test_several_external_grids_make_several_trees():
    net = small_net()
    pp.create_switch(net, 9, 12, et="l", closed=False)
    pp.create_ext_grid(net, 9, vm_pu=0.99, va_degree=5.0)
    pp.create_ext_grid(net, 9, vm_pu=0.99, va_degree=5.0)
    pp.create_gen(net, 9, p_mw=0.2, vm_pu=0.99)
    grid = check(net)
    assert grid.slack.sum() == 2
    assert grid.base_p_kw[grid.node_index(9)] == -200


def test_limits_come_from_the_network_or_from_the_norm():
    net = small_net()
    net.bus["max_vm_pu"] = [1.05, np.nan, 1.06, 1.07, 1.08, 1.09]
    net.line["max_i_ka"] = [0.2, np.nan, 0.2, 0.2]
    grid = Grid.from_pandapower(net)
    assert grid.v_max_pu.tolist() == [1.05, 1.1, 1.06, 1.07, 1.08, 1.09]
    assert grid.v_min_pu.tolist() == [0.9] * 6
    assert np.isinf(grid.s_max_kva[grid.branch_index("line 11")])


def test_the_network_is_not_changed():
    net = small_net()
    pp.create_shunt(net, 5, q_mvar=0.1)
    keys = set(net.keys())
    before = {name: table.copy() for name, table in net.items() if hasattr(table, "columns")}
    Grid.from_pandapower(net)
    assert set(net.keys()) == keys
    for name, table in before.items():
        assert table.equals(net[name]), name


def refused(net):
    with pytest.raises(GridError) as caught:
        Grid.from_pandapower(net)
    return caught.value


def test_what_is_not_modelled_is_refused_all_at_once():
    net = small_net()
    net.load.loc[2, "const_z_p_percent"] = 20.0
    pp.create_ward(net, 5, 0.1, 0, 0, 0, index=4)
    pp.create_xward(net, 7, 0, 0, 0, 0, 0.1, 0.1, 1.0)
    pp.create_dcline(net, 5, 7, 0.1, 0, 0, 1.0, 1.0)
    pp.create_impedance(net, 5, 7, 0.1, 0.1, 1.0)
    pp.create_transformer3w_from_parameters(
        net, 9, 7, 13, 20, 20, 0.4, 1, 1, 1, 5, 5, 5, 0.3, 0.3, 0.3, 0.1, 0.1
    )  # fmt: skip
    pp.create_motor(net, 13, 0.01, 0.9)
    pp.create_asymmetric_load(net, 13, p_a_mw=0.01)
    error = refused(net)
    assert sorted(error.codes) == [f"FX-G02{k}" for k in (0, 2, 2, 3, 4, 5, 6, 6)]
    found = {finding.field: finding.ids for finding in error.findings}
    assert found["load"] == (2,)
    assert found["ward"] == (4,)
    for name in ("ward", "xward", "dcline", "impedance", "trafo3w", "motor", "asymmetric_load"):
        net[name]["in_service"] = False
    net.load["const_z_p_percent"] = 0.0
    check(net)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("table", "column", "row"),
    [
        ("load", "p_mw", 2),
        ("load", "q_mvar", 0),
        ("load", "scaling", 1),
        ("sgen", "p_mw", 0),
        ("line", "r_ohm_per_km", 11),
        ("line", "x_ohm_per_km", 20),
        ("trafo", "vk_percent", 0),
        ("trafo", "vkr_percent", 0),
        ("ext_grid", "vm_pu", 0),
        ("shunt", "q_mvar", 0),
    ],
)
def test_missing_numbers_are_named(table, column, row, value):
    net = small_net()
    pp.create_sgen(net, 13, p_mw=0.2)
    pp.create_shunt(net, 5, q_mvar=0.1)
    net[table].loc[row, column] = value
    finding = refused(net).findings[0]
    assert (finding.code, finding.field, finding.ids) == ("FX-G007", column, (row,))


def test_missing_numbers_of_elements_out_of_service_do_not_matter():
    net = small_net()
    pp.create_sgen(net, 13, p_mw=np.nan, in_service=False)
    assert Grid.from_pandapower(net).base_p_kw.sum() == pytest.approx(850)


def test_lines_without_impedance_are_refused():
    net = small_net()
    net.line.loc[10, "length_km"] = 0.0
    error = refused(net)
    assert (error.codes, error.findings[0].ids) == (("FX-G008",), ("line 10",))
    net = small_net()
    net.line.loc[20, "parallel"] = 0
    error = refused(net)
    assert (error.codes, error.findings[0].ids) == (("FX-G007",), ("line 20",))


def test_generators_off_the_slack_are_refused():
    net = small_net()
    pp.create_gen(net, 7, p_mw=0.1, vm_pu=1.0, index=6)
    error = refused(net)
    assert (error.codes, error.findings[0].ids) == (("FX-G021",), (6,))


def test_slack_elements_that_disagree_are_refused():
    net = small_net()
    pp.create_bus(net, vn_kv=20.0, index=90)
    pp.create_switch(net, 3, 90, et="b", closed=True)
    pp.create_gen(net, 90, p_mw=0.1, vm_pu=1.0)
    error = refused(net)
    assert "FX-G028" in error.codes


def test_missing_supply_is_refused():
    net = small_net()
    net.ext_grid["in_service"] = False
    assert refused(net).codes == ("FX-G003",)
    net = small_net()
    net.line.loc[20, "in_service"] = False
    error = refused(net)
    assert (error.codes, error.findings[0].ids) == (("FX-G027",), (13,))


def test_loops_are_named_by_element():
    net = small_net()
    pp.create_line_from_parameters(net, 7, 3, length_km=1.0, index=77, **LINE)
    error = refused(net)
    assert error.codes == ("FX-G001",)
    assert set(error.findings[0].ids) == {"line 77", "line 10", "line 11"}
