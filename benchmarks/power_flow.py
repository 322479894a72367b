"""Times the power flow beside pandapower and power-grid-model on one year of a real medium-voltage network.

Network and loads are SimBench `1-MV-urban--0-sw` with its own year of quarter-hours (35,136 steps). All engines run
in one process on the same net load of every node, interleaved A B C A B C; the median over the rounds decides, the
smallest and the largest are printed. Timed is the whole public call, from arrays to results; compiling, conversion
and model construction are shown apart, transposing the input to each engine's axis order is left out for all. Run it
by `make bench` or `python -m benchmarks.power_flow [--quick] [--json FILE]`.
"""

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.grid.network import Grid
from flexcore.grid.power_flow import PowerFlowResult, power_flow

CODE = "1-MV-urban--0-sw"
PANDAPOWER_STEPS = 960
PANDAPOWER_ROUNDS = 3
PACKAGES = ("numpy", "numba", "scipy", "pandapower", "simbench", "power-grid-model", "lightsim2grid")


@dataclass
class Engine:
    """One row of the table: how to run it, what it took, what it said."""

    name: str
    model: str
    run: Callable[[], Any]
    n_steps: int
    rounds: int
    read: Callable[[Any], tuple[np.ndarray, np.ndarray | None]]
    note: str = ""
    seconds: list[float] = field(default_factory=list)
    v_error: float = np.nan
    p_error: float = np.nan


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result of one call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def load_network(n_steps: int | None) -> tuple[Any, Grid, np.ndarray, np.ndarray]:
    """SimBench network, its conversion, and the net load of every node, (n_nodes, n_steps) in kW and kvar."""
    import simbench

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net(CODE)
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    grid = Grid.from_pandapower(net)
    total = len(profiles["load", "p_mw"])
    steps = np.arange(total) if n_steps is None else np.linspace(0, total - 1, n_steps).astype(int)
    power = {"p_mw": np.zeros((grid.n_nodes, steps.size)), "q_mvar": np.zeros((grid.n_nodes, steps.size))}
    for (table, column), values in profiles.items():
        if column in power and len(net[table]) and values.shape[1]:
            node = grid.node_index(net[table].bus.loc[values.columns].to_numpy())
            sign = -1e3 if table == "sgen" else 1e3
            np.add.at(power[column], node, sign * values.to_numpy()[steps].T)
    return net, grid, power["p_mw"], power["q_mvar"]


def shuffled(net: Any, grid: Grid, p: np.ndarray, q: np.ndarray) -> tuple[Grid, np.ndarray, np.ndarray, np.ndarray]:
    """The same network with its buses in random order, so that trees lie scattered over the user's arrays.

    Returns grid, p, q and the new position of every node.
    """
    import copy

    from pandapower.toolbox import reindex_buses

    other = copy.deepcopy(net)
    buses = net.bus.index.to_numpy()
    new = np.random.default_rng(0).permutation(buses)
    reindex_buses(other, dict(zip(buses.tolist(), new.tolist(), strict=True)))
    moved = Grid.from_pandapower(other)
    target = moved.node_index(new[np.searchsorted(buses, grid.node_ids)])
    p_moved, q_moved = np.empty_like(p), np.empty_like(q)
    p_moved[target], q_moved[target] = p, q
    return moved, p_moved, q_moved, target


def flexcore_engines(
    grid: Grid, p: np.ndarray, q: np.ndarray, mixed: tuple[Any, ...], threads: int, rounds: int
) -> list[Engine]:
    """LinDistFlow and AC, with fresh and with reused outputs, in the network's and in random node order."""
    names = ("branch_p_kw", "v_pu")

    def read(flow: PowerFlowResult) -> tuple[np.ndarray, np.ndarray | None]:
        assert flow.converged
        return flow.v_pu, flow.branch_p_kw  # type: ignore[return-value]

    back = mixed[3], mixed[0].branch_index(grid.branch_ids)

    def read_mixed(flow: PowerFlowResult) -> tuple[np.ndarray, np.ndarray | None]:
        return flow.v_pu[back[0]], flow.branch_p_kw[back[1]]  # type: ignore[index]

    engines = []
    for method, what in (("linear", "LinDistFlow + 2 loss sweeps"), ("ac", "AC, 1e-8 pu")):

        def fresh(method: str = method) -> Any:
            return power_flow(grid, p, q, method=method, outputs=names, n_threads=threads)  # type: ignore[arg-type]

        held = fresh()

        def reuse(method: str = method, held: Any = held) -> Any:
            return power_flow(grid, p, q, method=method, outputs=names, n_threads=threads, out=held)  # type: ignore[arg-type]

        def random_order(method: str = method) -> Any:
            return power_flow(*mixed[:3], method=method, outputs=names, n_threads=threads)  # type: ignore[arg-type]

        n = p.shape[1]
        engines += [
            Engine(f"flexcore {method}", what, fresh, n, rounds, read),
            Engine(f"flexcore {method}, out=", what, reuse, n, rounds, read),
            Engine(f"flexcore {method}, shuffled", what, random_order, n, rounds, read_mixed),
        ]
    return engines


def power_grid_model_engines(
    grid: Grid, p: np.ndarray, q: np.ndarray, threads: int, rounds: int
) -> tuple[float, list[Engine]]:
    """Its linear and two AC methods, columnar batch; all branches are generic ones, so that the models are the same."""
    import power_grid_model as pgm

    forest = grid.forest
    n, m = grid.n_nodes, grid.n_branches
    child = np.flatnonzero(forest.parent >= 0)
    assert forest.forward[child].sum() == (grid.branch_to[forest.branch[child]] == forest.order[child]).sum()
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
    data = {"node": node, "generic_branch": branch, "shunt": shunt, "source": source, "sym_load": load}
    build, model = timed(lambda: pgm.PowerGridModel(data))
    update = {"p_specified": np.ascontiguousarray(p.T) * 1e3, "q_specified": np.ascontiguousarray(q.T) * 1e3}
    wanted = {"node": ["u_pu"], "generic_branch": ["p_from"]}

    def read(result: Any) -> tuple[np.ndarray, np.ndarray | None]:
        return result["node"]["u_pu"].T, result["generic_branch"]["p_from"].T / 1e3

    engines = []
    for method, what in (
        ("linear", "constant impedance"),
        ("iterative_current", "AC, 1e-8 pu"),
        ("newton_raphson", "AC, 1e-8 pu"),
    ):

        def run(method: str = method) -> Any:
            return model.calculate_power_flow(
                calculation_method=method,
                update_data={"sym_load": update},
                threading=threads if threads > 1 else -1,
                output_component_types=wanted,
            )

        engines.append(Engine(f"power-grid-model {method}", what, run, p.shape[1], rounds, read))
    return build, engines


def pandapower_engine(net: Any, grid: Grid, p: np.ndarray, q: np.ndarray, rounds: int) -> Engine:
    """`run_timeseries` with recycling and batch reading of voltages and loading: its fast documented path."""
    import copy

    import pandapower
    import pandas as pd
    from pandapower.control import ConstControl
    from pandapower.timeseries import DFData, OutputWriter, run_timeseries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = copy.deepcopy(net)
        plain.pop("profiles", None)
        for table in ("load", "sgen", "storage"):
            plain[table] = plain[table].iloc[:0]
        loads = [pandapower.create_load(plain, bus, p_mw=0.0) for bus in grid.node_ids.tolist()]
        for column, values in (("p_mw", p), ("q_mvar", q)):
            source = DFData(pd.DataFrame(values.T / 1e3, columns=loads))
            ConstControl(plain, "load", column, element_index=loads, data_source=source, profile_name=loads)
    steps = range(p.shape[1])
    try:  # pandapower's own documentation names it as the faster solver
        import lightsim2grid  # noqa: F401

        solver = "lightsim2grid"
    except ImportError:
        solver = "numba"

    def run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer = OutputWriter(plain, steps, output_path=None, log_variables=[])
            writer.log_variable("res_bus", "vm_pu")
            writer.log_variable("res_line", "loading_percent")
            run_timeseries(plain, steps, verbose=False, numba=True, lightsim2grid=solver == "lightsim2grid")
        return writer.output["res_bus.vm_pu"][grid.node_ids].to_numpy().T

    note = f"with {solver}, {p.shape[1]} steps, scaled"
    return Engine("pandapower run_timeseries", "AC, 1e-8 MVA", run, p.shape[1], rounds, lambda v: (v, None), note)


def measure(engines: list[Engine]) -> dict[str, Any]:
    """Warm every engine up, then run them in turn, round by round; returns the last result of each."""
    results = {}
    for engine in engines:
        results[engine.name] = engine.run()
    for k in range(max(engine.rounds for engine in engines)):
        for engine in engines:
            if k < engine.rounds:
                seconds, results[engine.name] = timed(engine.run)
                engine.seconds.append(seconds)
    return results


def errors(engines: list[Engine], results: dict[str, Any], exact: PowerFlowResult, sample: np.ndarray) -> None:
    """Largest voltage gap to pandapower on its steps and largest flow gap to a tight AC solution on all."""
    v_true, _ = next(e for e in engines if e.name.startswith("pandapower")).read(results["pandapower run_timeseries"])
    for engine in engines:
        v, flow = engine.read(results[engine.name])
        if engine.name.startswith("pandapower"):
            continue
        engine.v_error = float(np.abs((v[:, sample] if v.shape[1] > v_true.shape[1] else v) - v_true).max())
        if flow is not None:
            assert exact.branch_p_kw is not None
            engine.p_error = float(np.abs(flow - exact.branch_p_kw).max() / np.abs(exact.branch_p_kw).max())


def machine() -> dict[str, Any]:
    """Name what the figures depend on."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except ImportError:
            versions[package] = "not installed"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def rows(engines: list[Engine], n_steps: int) -> list[dict[str, Any]]:
    """Figures of each engine; the ratio compares round by round with flexcore's engine of the same kind."""
    linear = next(e for e in engines if e.name == "flexcore linear")
    ac = next(e for e in engines if e.name == "flexcore ac")
    table = []
    for engine in engines:
        scaled = [s * n_steps / engine.n_steps for s in engine.seconds]
        own = linear if "linear" in engine.name else ac
        ratios = [s / o for s, o in zip(scaled, own.seconds, strict=False)]
        table.append(
            {
                "engine": engine.name,
                "model": engine.model,
                "us_per_step": 1e6 * statistics.median(scaled) / n_steps,
                "ms": 1e3 * statistics.median(scaled),
                "ms_min": 1e3 * min(scaled),
                "ms_max": 1e3 * max(scaled),
                "ratio": statistics.median(ratios),
                "rounds": engine.rounds,
                "v_error_pu": None if np.isnan(engine.v_error) else engine.v_error,
                "p_error": None if np.isnan(engine.p_error) else engine.p_error,
                "note": engine.note,
            }
        )
    return table


def show(report: dict[str, Any]) -> None:
    """Print the table with everything that its figures depend on."""
    where = report["machine"]
    print(
        f"{where['cpu']}, {where['cores']} cores, {report['threads']} threads, load average {where['load_average']:.2f}"
    )
    print(f"Python {where['python']}, " + ", ".join(f"{k} {v}" for k, v in where["versions"].items()))
    print(f"{CODE}: {report['n_nodes']} nodes x {report['n_steps']} steps")
    print("apart from the table: " + ", ".join(f"{k} {v * 1e3:.0f} ms" for k, v in report["apart_s"].items()))
    print()
    head = ("engine", "us/step", "whole batch ms (min..max)", "times flexcore", "rounds", "max dv pu", "max dp", "")
    print(f"{head[0]:<34}{head[1]:>9}  {head[2]:>30}{head[3]:>16}{head[4]:>8}{head[5]:>11}{head[6]:>10}  {head[7]}")
    for row in report["rows"]:
        span = f"{row['ms']:.1f} ({row['ms_min']:.1f}..{row['ms_max']:.1f})"
        gaps = ["-" if row[name] is None else f"{row[name]:.1e}" for name in ("v_error_pu", "p_error")]
        print(
            f"{row['engine']:<34}{row['us_per_step']:>9.3f}  {span:>30}{row['ratio']:>16.1f}{row['rounds']:>8}"
            f"{gaps[0]:>11}{gaps[1]:>10}  {row['model']}{'; ' + row['note'] if row['note'] else ''}"
        )
    print()
    print("max dv: against pandapower on its steps; max dp: against AC at 1e-12, in parts of the largest flow")
    if report["quick"]:
        print("quick mode: few steps and one round; it shows that the engines agree, the times mean nothing")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and return what it printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power_flow", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps, one round: agreement only, no timing claims")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of all engines but pandapower")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    net, grid, p, q = load_network(192 if options.quick else None)
    apart = {}
    cold = np.zeros((grid.n_nodes, 1))
    for method in ("linear", "ac"):
        apart[f"first call {method}"], _ = timed(lambda m=method: power_flow(grid, cold, cold, method=m))  # type: ignore[misc]
    apart["conversion from pandapower"], _ = timed(lambda: Grid.from_pandapower(net))
    mixed = shuffled(net, grid, p, q)
    sample = np.linspace(0, p.shape[1] - 1, 24 if options.quick else PANDAPOWER_STEPS).astype(int)
    engines = flexcore_engines(grid, p, q, mixed, options.threads, rounds)
    apart["power-grid-model construction"], others = power_grid_model_engines(grid, p, q, options.threads, rounds)
    engines += others
    few = 1 if options.quick else PANDAPOWER_ROUNDS
    engines.append(pandapower_engine(net, grid, p[:, sample], q[:, sample], few))
    results = measure(engines)
    exact = power_flow(grid, p, q, method="ac", outputs=("branch_p_kw",), tolerance=1e-12, n_threads=options.threads)
    errors(engines, results, exact, sample)
    report = {
        "benchmark": "power_flow",
        "quick": options.quick,
        "network": CODE,
        "n_nodes": grid.n_nodes,
        "n_steps": p.shape[1],
        "threads": options.threads,
        "machine": machine(),
        "apart_s": apart,
        "rows": rows(engines, p.shape[1]),
    }
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
