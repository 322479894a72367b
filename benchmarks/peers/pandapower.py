"""pandapower: `run_timeseries` with recycling and batch reading of voltages and loading, its fast documented path."""

import copy
import importlib.util
import warnings
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.timing import Engine, timed

_STEPS, _ROUNDS = 960, 3


def engines(case: Case, threads: int) -> list[Engine]:
    """AC on steps spread over the case, scaled up; only for a network that comes from pandapower."""
    if case.net is None:
        return []
    n_steps = case.p.shape[1]
    sample = np.linspace(0, n_steps - 1, min(_STEPS, n_steps // 8)).astype(int)
    ids = case.grid.node_ids
    build, net = timed(lambda: _with_profiles(case.net, ids, case.p[:, sample], case.q[:, sample]))
    # pandapower's own documentation names lightsim2grid as the faster solver
    faster = importlib.util.find_spec("lightsim2grid") is not None
    row = Engine(
        "pandapower run_timeseries",
        f"AC to 1e-8 MVA, {'lightsim2grid' if faster else 'numba'}, {sample.size} steps",
        lambda: _run(net, range(sample.size), faster),
        lambda result: (result[ids].to_numpy().T, None),
        steps=sample,
        scale=n_steps / sample.size,
        rounds=_ROUNDS,
        build_s=build,
    )
    return [row]


def _with_profiles(original: Any, ids: np.ndarray, p: np.ndarray, q: np.ndarray) -> Any:
    import pandapower
    import pandas as pd
    from pandapower.control import ConstControl
    from pandapower.timeseries import DFData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = copy.deepcopy(original)
        net.pop("profiles", None)
        for table in ("load", "sgen", "storage"):
            net[table] = net[table].iloc[:0]
        loads = [pandapower.create_load(net, bus, p_mw=0.0) for bus in ids.tolist()]
        for column, values in (("p_mw", p), ("q_mvar", q)):
            source = DFData(pd.DataFrame(values.T / 1e3, columns=loads))
            ConstControl(net, "load", column, element_index=loads, data_source=source, profile_name=loads)
    return net


def _run(net: Any, steps: range, faster: bool) -> Any:
    from pandapower.timeseries import OutputWriter, run_timeseries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = OutputWriter(net, steps, output_path=None, log_variables=[])
        writer.log_variable("res_bus", "vm_pu")
        writer.log_variable("res_line", "loading_percent")
        run_timeseries(net, steps, verbose=False, numba=True, lightsim2grid=faster)
    return writer.output["res_bus.vm_pu"]
