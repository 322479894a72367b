"""Capability of a whole radial city in both directions, all feeders jointly, beside its linear power flow."""

from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.timing import Engine, interleave, milliseconds, ratio
from flexcore.grid.capability import capability
from flexcore.grid.power_flow import power_flow


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """One perimeter a feeder; half of every substation's load may move either way."""
    size = {"n_substations": 200, "n_primary": 2, "n_feeders": 10} if quick else {}
    grid, feeder = networks.radial_city(**size, shuffle=False)
    p, q = networks.city_loads(grid, 8 if quick else 96, mean_kw=150.0)
    moves = 0.5 * p
    linear = Engine(
        "power flow linear",
        "DistFlow, 3 loss sweeps, fresh outputs",
        lambda: power_flow(grid, p, q, method="linear", outputs=("branch_p_kw", "v_pu"), n_threads=threads),
    )
    engines = [
        Engine(
            f"capability {method}",
            "two directions, joint",
            lambda method=method: capability(
                grid, p, q, up_kw=moves, down_kw=moves, perimeter=feeder, method=method, n_threads=threads
            ),
        )
        for method in ("linear", "certified")
    ]
    certified_share = float(np.mean(engines[1].run().certified))
    for engine in (linear, *engines):
        engine.run()
    interleave([linear, *engines], rounds)
    shape = {"n_nodes": grid.n_nodes, "n_steps": p.shape[1], "n_perimeters": int(feeder.max()) + 1}
    rows = [{"name": f"capability/{linear.name}", "model": linear.model, **milliseconds(linear), **shape}]
    for engine in engines:
        times, low, high = ratio(engine, linear)
        row = {"name": f"capability/{engine.name}", "model": engine.model, **milliseconds(engine), **shape}
        rows.append(row | {"times_linear": times, "times_min": low, "times_max": high})
    rows[-1]["certified_share"] = certified_share
    return rows
