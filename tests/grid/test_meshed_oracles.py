"""Outside oracles: pandapower on public networks with loops, and with generators that hold voltages."""

import numpy as np
import pytest

import flexcore as fx
from flexcore.grid.mesh import on_loop
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")
DC = ["case39", "case118", "case300", "case1354pegase", "case2869pegase", "1-HV-urban--0-sw", "1-HV-mixed--0-sw"]
ONE_SLACK = [name for name in DC if name != "1-HV-mixed--0-sw"]
WEAK = ["1-MV-rural--0-sw", "1-MV-semiurb--0-sw", "1-MV-comm--0-sw", "1-MVLV-rural-all-0-sw", "cigre mv", "case33bw"]
DENSE = ["1-HV-urban--0-sw", "1-HV-mixed--0-sw"]
HELD = [
    "case4gs", "case5", "case6ww", "case9", "case14", "case24_ieee_rts", "case30", "case_ieee30", "case57",
    "case89pegase", "case118", "case_illinois200",
]  # fmt: skip
#: as docs/explanation/meshed.md says
NO_SOLUTION_FOUND = ["case39", "case145", "case300"]


def network(name):
    import pandapower.networks
    import simbench

    if name.startswith("1-"):
        return simbench.get_simbench_net(name)
    if name == "cigre mv":
        net = pandapower.networks.create_cigre_network_mv()
        net.switch["closed"] = True
        return net
    net = getattr(pandapower.networks, name)()
    if name == "case33bw":
        net.line["in_service"] = True  # its tie lines
    return net


def compare(net, grid, flow, step, *, v_atol, p_rtol):
    """One step of a flow with pandapower's results."""
    turn = flow.angle_deg[:, step] - net.res_bus.va_degree.loc[grid.node_ids].to_numpy()
    np.testing.assert_allclose((turn + 180) % 360 - 180, 0, atol=1e-7)
    if flow.v_pu is not None:
        np.testing.assert_allclose(flow.v_pu[:, step], net.res_bus.vm_pu.loc[grid.node_ids], rtol=0, atol=v_atol)
    largest = max(np.abs(net.res_line.p_from_mw).max(), np.abs(net.res_ext_grid.p_mw).max()) * 1e3
    compared = 0
    for name, one, other in (("line", "from", "to"), ("trafo", "hv", "lv"), ("switch", "from", "to")):
        ids = [key for key in grid.branch_ids.tolist() if key.startswith(name + " ")]
        if not ids:
            continue
        at = grid.branch_index(ids)
        result = net[f"res_{name}"].loc[[int(key.split()[1]) for key in ids]]
        for field, column in (
            ("branch_p_kw", f"p_{one}_mw"),
            ("branch_q_kvar", f"q_{one}_mvar"),
            ("branch_p_to_kw", f"p_{other}_mw"),
            ("branch_q_to_kvar", f"q_{other}_mvar"),
        ):
            values = getattr(flow, field)
            if values is not None:
                np.testing.assert_allclose(values[at, step], result[column] * 1e3, rtol=0, atol=p_rtol * largest)
                compared += len(ids)
    assert compared >= 2 * grid.n_branches


@pytest.mark.parametrize("name", DC)
def test_dc_agrees(name):
    import pandapower

    net = network(name)
    grid = Grid.from_pandapower(net, meshed=True)
    assert grid.n_loops
    flow = power_flow(grid, grid.base_p_kw[:, None], method="dc", outputs=EVERYTHING)
    pandapower.rundcpp(net)
    compare(net, grid, flow, 0, v_atol=0, p_rtol=1e-9)


def internal(net, grid):
    """pandapower's own matrices, and the positions of our branches and nodes in them."""
    ppc = net["_ppc"]["internal"]
    ids = np.empty(len(net["_ppc"]["branch"]), object)
    for table, (first, end) in net["_pd2ppc_lookups"]["branch"].items():
        ids[first:end] = [f"{table} {row}" for row in net[table].index]
    row = {key: k for k, key in enumerate(ids[ppc["branch_is"]])}
    column = net["_pd2ppc_lookups"]["bus"][grid.node_ids]
    assert len(ppc["bus"]) == grid.n_nodes
    return ppc, np.array([row[key] for key in grid.branch_ids.tolist()]), column


@pytest.mark.parametrize("name", ONE_SLACK)
def test_distribution_factors_agree(name):
    import pandapower
    from pandapower.pypower.makeLODF import makeLODF
    from pandapower.pypower.makePTDF import makePTDF

    net = network(name)
    grid = Grid.from_pandapower(net, meshed=True)
    pandapower.rundcpp(net)
    ppc, rows, columns = internal(net, grid)
    theirs = makePTDF(ppc["baseMVA"], ppc["bus"], ppc["branch"], using_sparse_solver=True)
    np.testing.assert_allclose(fx.ptdf(grid).toarray(), -theirs[np.ix_(rows, columns)], rtol=0, atol=1e-9)
    with np.errstate(all="ignore"):
        outage = makeLODF(ppc["branch"], theirs)
    looped = on_loop(grid)
    ours = fx.lodf(grid)
    assert np.isnan(ours[:, ~looped]).all()
    np.testing.assert_allclose(ours[:, looped], outage[np.ix_(rows, rows[looped])], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*WEAK, *DENSE, *HELD])
def test_ac_agrees(name):
    import pandapower

    net = network(name)
    grid = Grid.from_pandapower(net, meshed=True)
    rng = np.random.default_rng(7)
    tables = [table for table in ("load", "sgen") if len(net[table])]
    original = {table: net[table]["scaling"].to_numpy(float) for table in tables}
    factors = [{table: rng.uniform(0.6, 1.05, len(net[table])) for table in tables} for _ in range(3)]
    steps = []
    for factor in factors:
        for table in tables:
            net[table]["scaling"] = original[table] * factor[table]
        scaled = Grid.from_pandapower(net, meshed=True)
        steps.append((scaled.base_p_kw, scaled.base_q_kvar))
    p, q = (np.stack(values, axis=1) for values in zip(*steps, strict=True))
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING, tolerance=1e-10)
    assert flow.converged
    for step, factor in enumerate(factors):
        for table in tables:
            net[table]["scaling"] = original[table] * factor[table]
        pandapower.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, init="dc", max_iteration=50)
        compare(net, grid, flow, step, v_atol=1e-8, p_rtol=1e-7)


@pytest.mark.parametrize("name", NO_SOLUTION_FOUND)
def test_a_step_that_is_not_solved_says_so(name):
    grid = Grid.from_pandapower(network(name), meshed=True)
    flow = power_flow(grid, grid.base_p_kw[:, None], grid.base_q_kvar[:, None], method="ac")
    assert flow.status[0] in (1, 2)
    assert np.isnan(flow.branch_p_kw).all()
