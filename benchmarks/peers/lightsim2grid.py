"""lightsim2grid: Newton-Raphson and DC with KLU, as an injection sweep on several threads."""

import warnings
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.peers.bus_model import BusModel
from benchmarks.timing import Engine, timed

_LARGEST = 20_000  # buses


def engines(case: Case, threads: int) -> list[Engine]:
    """AC to 1e-8 and DC, each with voltages (AC) and flows."""
    from lightsim2grid.lightsim2grid_cpp import AlgorithmType, InjectionSweepCPP
    from lightsim2grid.network import init_from_matpower

    model = BusModel.of(case.grid)
    if model is None or model.n_buses > _LARGEST:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = _matpower(model)
        build, grid = timed(lambda: init_from_matpower(source))
    p, q = (np.ascontiguousarray(model.loads(values).T) / 1e3 for values in (case.p, case.q))
    start = np.full(model.n_buses, model.v_root, complex)

    def sweep(algorithm: Any) -> Any:
        computer = InjectionSweepCPP(grid)
        computer.nb_thread = threads
        computer.change_algorithm(algorithm)

        def run() -> Any:
            computer.modify_load_p(p)
            computer.modify_load_q(q)
            computer.compute(start, 20, 1e-8)
            return computer.get_voltages(), computer.compute_power_flows()

        return run

    def read(result: Any) -> tuple[np.ndarray, np.ndarray]:
        magnitude = np.abs(result[0]).T
        return model.voltages(magnitude), model.flows(result[1].T * 1e3, magnitude)

    return [
        Engine("lightsim2grid NR_KLU", "AC to 1e-8", sweep(AlgorithmType.NR_KLU), read, build_s=build),
        Engine(
            "lightsim2grid DC_KLU",
            "DC",
            sweep(AlgorithmType.DC_KLU),
            lambda result: (None, result[1].T * 1e3),
            build_s=build,
        ),
    ]


def _matpower(model: BusModel) -> dict[str, Any]:
    n, m = model.n_buses, model.start.size
    bus = np.zeros((n, 13))
    bus[:, 0], bus[:, 1] = np.arange(n), np.where(np.arange(n) == 0, 3, 1)
    bus[1:, 2:4] = 1e-3  # a load at every bus
    bus[:, 4], bus[:, 5] = model.g / 1e3, model.b / 1e3
    bus[:, 7], bus[:, 9], bus[:, 11], bus[:, 12] = 1.0, 1.0, 2.0, 0.1
    gen = np.zeros((1, 21))
    gen[0, [3, 4, 5, 6, 7, 8, 9]] = 1e9, -1e9, model.v_root, 1.0, 1.0, 1e9, -1e9
    branch = np.zeros((m, 13))
    branch[:, 0], branch[:, 1] = model.start, model.end
    branch[:, 2], branch[:, 3], branch[:, 10] = model.r * 1e3, model.x * 1e3, 1.0
    return {"bus": bus, "gen": gen, "branch": branch, "baseMVA": 1.0}
