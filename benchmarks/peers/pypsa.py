"""PyPSA: its linear power flow `lpf` over all snapshots at once."""

import logging
import warnings

import numpy as np

from benchmarks.cases import Case
from benchmarks.peers.bus_model import BusModel
from benchmarks.timing import Engine, timed

_LARGEST, _ROUNDS = 20_000, 3


def engines(case: Case, threads: int) -> list[Engine]:
    """DC; flows only."""
    model = BusModel.of(case.grid)
    if model is None or model.n_buses > _LARGEST:
        return []
    logging.getLogger("pypsa").setLevel(logging.ERROR)

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.lpf(network.snapshots)
        return network.lines_t.p0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build, network = timed(lambda: _network(model, model.loads(case.p).T / 1e3))
    lines = [str(k) for k in range(model.start.size)]
    return [
        Engine(
            "PyPSA lpf",
            "DC",
            run,
            lambda flow: (None, flow[lines].to_numpy().T * 1e3),
            rounds=_ROUNDS,
            build_s=build,
        )
    ]


def _network(model: BusModel, p_mw: np.ndarray):
    import pandas as pd
    import pypsa

    network = pypsa.Network()
    network.set_snapshots(range(p_mw.shape[0]))
    bus = np.arange(model.n_buses).astype(str)
    network.add("Bus", bus, v_nom=1.0)
    network.add("Generator", "slack", bus="0", control="Slack")
    lines = np.arange(model.start.size).astype(str)
    # at 1 kV and 1 MVA an ohm is one per unit
    ends = {"bus0": bus[model.start], "bus1": bus[model.end]}
    network.add("Line", lines, **ends, r=model.r * 1e3, x=model.x * 1e3)
    frame = pd.DataFrame(p_mw, columns=bus[1:], index=network.snapshots)
    network.add("Load", bus[1:], bus=bus[1:], p_set=frame)
    return network
