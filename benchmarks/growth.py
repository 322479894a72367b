"""How time grows with nodes, steps and feeders: a log-log fit over five sizes that span 16 times.

All sizes share flat buffers, so that the largest one alone has to fit. The smallest should be four times the last-level
cache; where the memory does not allow that, the rows say how large it was.
"""

import os
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.power_flow import held
from benchmarks.timing import Engine, interleave, machine
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

FACTORS = (1, 2, 4, 8, 16)
_PER_FEEDER = 22  # substations
_BRANCH_AND_NODE_ARRAYS = 4  # p, q, flow, voltage


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """One row for each axis and method."""
    l3 = machine()["l3_bytes"] or 32 << 20
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    smallest = 1 << 18 if quick else min(4 * l3, memory // 2 // FACTORS[-1])
    cells = smallest // (8 * _BRANCH_AND_NODE_ARRAYS)  # node-steps of the smallest size
    rng = np.random.default_rng(0)
    buffers = [np.empty(int(1.05 * cells * FACTORS[-1])) for _ in range(4)]
    for lo in range(0, buffers[0].size, 1 << 24):
        part = buffers[0][lo : lo + (1 << 24)]
        rng.random(out=part)
        np.multiply(part, 0.3, out=buffers[1][lo : lo + (1 << 24)])
    buffers[2].fill(0.0)
    buffers[3].fill(0.0)
    rows = []
    for axis, sizes in AXES.items():
        engines: dict[str, list[Engine]] = {"linear": [], "ac": []}
        units = []
        for grid, n_steps in sizes(cells, quick):
            units.append(grid.n_nodes * n_steps)
            for method, row in engines.items():
                row.append(_engine(grid, n_steps, method, buffers, threads))
        interleave([engine for row in engines.values() for engine in row], rounds)
        for method, row in engines.items():
            medians = [statistics.median(engine.seconds) for engine in row]
            exponent = float(np.polyfit(np.log(units), np.log(medians), 1)[0])
            rows.append(
                {
                    "name": f"growth/{axis}/{method}",
                    "exponent": exponent,
                    "node_steps": units,
                    "ms": [1e3 * s for s in medians],
                    "smallest_times_l3": units[0] * 8 * _BRANCH_AND_NODE_ARRAYS / l3,
                }
            )
    return rows


def _engine(grid: Grid, n_steps: int, method: str, buffers: list[np.ndarray], threads: int) -> Engine:
    def view(buffer: np.ndarray, n: int) -> np.ndarray:
        return buffer[: n * n_steps].reshape(n, n_steps)

    p, q = view(buffers[0], grid.n_nodes), view(buffers[1], grid.n_nodes)
    arrays = view(buffers[2], grid.n_branches), view(buffers[3], grid.n_nodes)
    out = held(grid, n_steps, method, arrays)
    options: dict[str, Any] = {"loss_sweeps": 0} if method == "linear" else {}

    def run() -> None:
        flow = power_flow(
            grid, p, q, method=method, outputs=("branch_p_kw", "v_pu"), n_threads=threads, out=out, **options
        )
        assert flow.converged

    run()
    return Engine(method, method, run)


def _nodes(cells: int, quick: bool) -> Iterator[tuple[Grid, int]]:
    """The same feeders with more and closer substations, so that the voltages stay alike."""
    n_steps = 24 if quick else 672
    n = cells // n_steps
    for factor in FACTORS:
        city, _ = networks.radial_city(
            n * factor,
            n_primary=2,
            n_feeders=max(1, n // _PER_FEEDER),
            km=40.0 / factor**2,
            charging_us_per_km=0.9,
            shuffle=False,
        )
        yield city, n_steps


def _steps(cells: int, quick: bool) -> Iterator[tuple[Grid, int]]:
    """The same city for a longer time."""
    n = 200 if quick else 13_000
    city, _ = networks.radial_city(
        n, n_primary=2, n_feeders=n // _PER_FEEDER, km=40.0, charging_us_per_km=0.9, shuffle=False
    )
    for factor in FACTORS:
        yield city, cells * factor // city.n_nodes


def _feeders(cells: int, quick: bool) -> Iterator[tuple[Grid, int]]:
    """More low-voltage feeders of the same size."""
    n_steps = 24 if quick else 672
    for factor in FACTORS:
        yield networks.low_voltage_forest(cells * factor // (45 * n_steps), shuffle=False), n_steps


AXES = {"nodes": _nodes, "steps": _steps, "feeders": _feeders}
