"""How far the linear power flow is from AC on public feeders, by number of loss sweeps."""

import warnings
from typing import Any

import numpy as np

from benchmarks.feeders import FEEDERS, node_power
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

SWEEPS = range(4)
_OUTPUTS = ("branch_p_kw", "v_pu")


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Largest gaps over random loads, each load and generator at 0.2 to 1.4 of its own power."""
    rows = []
    for name in list(FEEDERS)[3:6] if quick else FEEDERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = FEEDERS[name]()
        grid = Grid.from_pandapower(net)
        rng = np.random.default_rng(11)
        draws = []
        for _ in range(10 if quick else 200):
            factor = {table: rng.uniform(0.2, 1.4, len(net[table])) for table in ("load", "sgen", "storage")}
            draws.append(node_power(net, grid, factor))
        p, q = (np.stack(side, axis=1) for side in zip(*draws, strict=True))
        exact = power_flow(grid, p, q, method="ac", outputs=_OUTPUTS, tolerance=1e-12)
        assert exact.converged
        row: dict[str, Any] = {"name": f"accuracy/{name}", "n_nodes": grid.n_nodes, "n_steps": p.shape[1]}
        row["v_min_pu"] = float(exact.v_pu.min())
        for k in SWEEPS:
            flow = power_flow(grid, p, q, method="linear", outputs=_OUTPUTS, loss_sweeps=k)
            row[f"v_error_pu_{k}"] = float(np.abs(flow.v_pu - exact.v_pu).max())
            row[f"p_error_{k}"] = float(
                np.abs(flow.branch_p_kw - exact.branch_p_kw).max() / np.abs(exact.branch_p_kw).max()
            )
        rows.append(row)
    return rows
