"""Outside oracles: pandapower and power-grid-model on public networks, with random load steps."""

import numpy as np
import pytest

from benchmarks.feeders import FEEDERS, node_power
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

EVERYTHING = ("branch_p_kw", "branch_q_kvar", "branch_p_to_kw", "branch_q_to_kvar", "v_pu", "angle_deg", "loading")
N_STEPS = 20


def compare(net, grid, flow, step, *, v_atol, p_rtol):
    """One step of a flow with pandapower's results."""
    v = net.res_bus.vm_pu.loc[grid.node_ids].to_numpy()
    if flow.v_pu is not None:
        np.testing.assert_allclose(flow.v_pu[:, step], v, rtol=0, atol=v_atol)
    for name, one, other in (("line", "from", "to"), ("trafo", "hv", "lv")):
        ids = [key for key in grid.branch_ids.tolist() if key.startswith(name + " ")]
        at = grid.branch_index(ids) if ids else np.zeros(0, int)
        result = net[f"res_{name}"].loc[[int(key.split()[1]) for key in ids]]
        for field, column in (
            ("branch_p_kw", f"p_{one}_mw"),
            ("branch_q_kvar", f"q_{one}_mvar"),
            ("branch_p_to_kw", f"p_{other}_mw"),
            ("branch_q_to_kvar", f"q_{other}_mvar"),
        ):
            values = getattr(flow, field)
            if values is not None:
                largest = max(np.abs(net.res_line.p_from_mw).max(), np.abs(net.res_ext_grid.p_mw).max()) * 1e3
                np.testing.assert_allclose(values[at, step], result[column] * 1e3, rtol=0, atol=p_rtol * largest)


@pytest.mark.parametrize("name", FEEDERS)
def test_pandapower_agrees(name):
    import pandapower

    net = FEEDERS[name]()
    grid = Grid.from_pandapower(net)
    rng = np.random.default_rng(11)
    original = {table: net[table][["p_mw", "q_mvar"]].copy() for table in ("load", "sgen", "storage")}
    factors = [
        {table: rng.uniform(0.2, 1.4, len(net[table])) for table in ("load", "sgen", "storage")} for _ in range(N_STEPS)
    ]
    powers = [node_power(net, grid, factor) for factor in factors]
    p = np.stack([power[0] for power in powers], axis=1)
    q = np.stack([power[1] for power in powers], axis=1)
    flow = power_flow(grid, p, q, method="ac", outputs=EVERYTHING)
    near = power_flow(grid, p, q, method="linear", outputs=EVERYTHING)
    direct = power_flow(grid, p, q, method="dc", outputs=EVERYTHING)
    assert flow.converged
    for step, factor in enumerate(factors):
        for table, columns in original.items():
            net[table][["p_mw", "q_mvar"]] = columns.mul(factor[table], axis=0)
        pandapower.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, init="dc", max_iteration=50)
        compare(net, grid, flow, step, v_atol=1e-8, p_rtol=1e-7)
        compare(net, grid, near, step, v_atol=2e-3, p_rtol=3e-2)
        angle = net.res_bus.va_degree.loc[grid.node_ids].to_numpy()
        np.testing.assert_allclose(flow.angle_deg[:, step], angle, rtol=0, atol=1e-5)
        if step % 5 == 0:
            pandapower.rundcpp(net)
            compare(net, grid, direct, step, v_atol=0, p_rtol=1e-9)
            angle = net.res_bus.va_degree.loc[grid.node_ids].to_numpy()
            np.testing.assert_allclose(direct.angle_deg[:, step], angle, rtol=0, atol=1e-8)
