"""power-grid-model: all four methods, columnar batch of all steps at once, only the outputs that are asked for."""

from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.timing import Engine, timed
from flexcore.grid.network import Grid

MODELS = {
    "linear": "constant impedance",
    "linear_current": "one current iteration",
    "iterative_current": "AC to 1e-8",
    "newton_raphson": "AC to 1e-8",
}


def engines(case: Case, threads: int) -> list[Engine]:
    """Its four methods; all branches are generic ones, so that the models are the same."""
    import power_grid_model as pgm

    data = _input(case.grid)
    build, model = timed(lambda: pgm.PowerGridModel(data))
    update = {"p_specified": np.ascontiguousarray(case.p.T) * 1e3, "q_specified": np.ascontiguousarray(case.q.T) * 1e3}
    wanted = {"node": ["u_pu"], "generic_branch": ["p_from"]}

    def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
        return result["node"]["u_pu"].T, result["generic_branch"]["p_from"].T / 1e3

    rows = []
    for method, what in MODELS.items():

        def run(method: str = method) -> Any:
            return model.calculate_power_flow(
                calculation_method=method,
                update_data={"sym_load": update},
                threading=threads if threads > 1 else -1,
                error_tolerance=1e-8,
                output_component_types=wanted,
            )

        rows.append(Engine(f"power-grid-model {method}", what, run, read, build_s=build))
    return rows


def _input(grid: Grid) -> dict[str, Any]:
    import power_grid_model as pgm

    forest = grid.forest
    n, m = grid.n_nodes, grid.n_branches
    child = np.flatnonzero(forest.parent >= 0)
    v2 = (grid.v_nom_kv * 1e3) ** 2
    node = pgm.initialize_array("input", "node", n)
    node["id"], node["u_rated"] = np.arange(n), grid.v_nom_kv * 1e3
    branch = pgm.initialize_array("input", "generic_branch", m)
    branch["id"] = n + np.arange(m)
    branch["from_node"], branch["to_node"] = grid.branch_from, grid.branch_to
    branch["from_status"] = branch["to_status"] = 1
    branch["k"], branch["theta"], branch["sn"] = grid.ratio, np.radians(grid.shift_deg), 1e6
    # back from the child's side to the declared to side
    fed = forest.branch[child]
    out = np.where(forest.forward[child], 1.0, 1.0 / grid.ratio[fed] ** 2)
    z_base = v2[grid.branch_to[fed]] / 1e3
    branch["r1"][fed], branch["x1"][fed] = forest.r_pu[child] * out * z_base, forest.x_pu[child] * out * z_base
    tau = forest.tau[child]
    assert np.allclose(forest.b_parent[child], forest.b_child[child])
    branch["g1"][fed] = (forest.g_parent + forest.g_child)[child] * tau / out / z_base
    branch["b1"][fed] = (forest.b_parent + forest.b_child)[child] * tau / out / z_base
    # what is left of the shunts after the branch ends: the nodes' own and those of branches open at one end
    own = np.stack([forest.g_scaled - forest.g_child, forest.b_scaled - forest.b_child])
    np.add.at(own[0], forest.parent[child], -forest.g_parent[child])
    np.add.at(own[1], forest.parent[child], -forest.b_parent[child])
    own *= forest.tau / (v2[forest.order] / 1e3)
    shunt = pgm.initialize_array("input", "shunt", n)
    shunt["id"], shunt["node"], shunt["status"] = n + m + np.arange(n), forest.order, 1
    shunt["g1"], shunt["b1"] = own
    shunt["g0"] = shunt["b0"] = 0.0
    source = pgm.initialize_array("input", "source", int(grid.slack.sum()))
    source["id"], source["node"] = 2 * n + m + np.arange(len(source)), np.flatnonzero(grid.slack)
    source["status"], source["u_ref"], source["sk"] = 1, grid.v_set_pu[grid.slack], 1e20
    load = pgm.initialize_array("input", "sym_load", n)
    load["id"], load["node"], load["status"], load["type"] = 2 * n + m + len(source) + np.arange(n), np.arange(n), 1, 0
    load["p_specified"] = load["q_specified"] = 0.0
    return {"node": node, "generic_branch": branch, "shunt": shunt, "source": source, "sym_load": load}
