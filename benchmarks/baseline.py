"""High 5 of 10 with same-day adjustment for a city of 580,000 PODs, in memory, beside the floor and four peers.

All peers compute the same numbers from arrays or tables that they already hold, and return one baseline per POD and
quarter-hour; the results are compared bit for bit. The data has no missing reading and no excluded quarter-hour, which
flexcore looks for and the peers do not. A peer is measured on as many PODs as it does in about a second, and its time
is scaled up linearly.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.floor import Floor
from benchmarks.timing import Engine, interleave, milliseconds, ratio
from flexcore.metering import PRESETS, baseline

RULE = PRESETS["high_5_of_10"]
N_DAYS, N_STEPS = 10, 96
#: File of each peer (and package, which may be missing) and the number of PODs that it is measured on.
PEERS = {"numpy": 580_000, "duckdb": 10_000, "polars": 10_000, "pandas": 10_000}


@dataclass(frozen=True)
class BaselineCase:
    """Readings of PODs in a row, and where the event and its adjustment window lie."""

    history_w: np.ndarray
    today_w: np.ndarray
    n_selected: int = RULE.n_selected

    @property
    def event(self) -> slice:
        """Quarter-hours of the event, 18:00 to 20:00."""
        return slice(72, 80)

    @property
    def window(self) -> slice:
        """Quarter-hours of the adjustment window."""
        end = self.event.start - RULE.lead_steps
        return slice(end - RULE.window_steps, end)

    @property
    def during(self) -> np.ndarray:
        """Mask of the event."""
        mask = np.zeros(N_STEPS, np.bool_)
        mask[self.event] = True
        return mask

    def first(self, n_pods: int) -> "BaselineCase":
        """Part of the case."""
        return BaselineCase(self.history_w[:n_pods], self.today_w[:n_pods])


def city(n_pods: int) -> BaselineCase:
    """Homes with a tenth of producers; whole tens of watts, so that days tie now and then."""
    rng = np.random.default_rng(0)
    history = np.empty((n_pods, N_DAYS, N_STEPS), np.int32)
    today = np.empty((n_pods, N_STEPS), np.int32)
    for lo in range(0, n_pods, 10_000):
        hi = min(n_pods, lo + 10_000)
        shape = (hi - lo, N_DAYS + 1, N_STEPS)
        load = rng.integers(0, 60, shape, np.int32) + rng.integers(0, 200, (hi - lo, 1, N_STEPS), np.int32)
        load -= np.where(rng.random((hi - lo, 1, 1)) < 0.1, np.int32(150), np.int32(0))
        history[lo:hi], today[lo:hi] = 10 * load[:, :-1], 10 * load[:, -1]
    return BaselineCase(history, today)


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Time the whole public call, and each peer from what it holds in memory to an array of baselines."""
    n_pods = 2_000 if quick else 580_000
    case = city(n_pods)
    inputs = (case.history_w, case.today_w, case.during)
    result = baseline(*inputs, preset=RULE, n_threads=threads)
    own = [
        Engine(name, f"{n} threads" if n > 1 else "1 thread", lambda n=n, out=out: baseline(
            *inputs, preset=RULE, n_threads=n, out=out
        ))
        for name, n, out in (("flexcore out", threads, result), ("flexcore out 1 thread", 1, result),
                             ("flexcore", threads, None))
    ]  # fmt: skip
    n_bytes = case.history_w.nbytes + case.today_w.nbytes + result.baseline_w.nbytes
    floor = Floor(threads, 1 << 22 if quick else 1 << 30).engine(n_bytes)
    expected = result.baseline_w.copy()
    peers: list[Engine] = []
    for name, most in PEERS.items():
        if importlib.util.find_spec(name) is None:
            continue
        part = case.first(500 if quick else min(most, n_pods))
        module = importlib.import_module(f"benchmarks.peers.{name}_baseline")
        for engine in module.engines(part, threads):
            engine.scale = n_pods / len(part.today_w)
            engine.model += f", {len(part.today_w):,} PODs"
            assert np.array_equal(engine.run(), expected[: len(part.today_w)]), engine.name
            peers.append(engine)
    interleave([*own, *peers, floor], rounds)
    assert np.array_equal(result.baseline_w, expected)
    rows = []
    for engine in [*own, *peers, floor]:
        row = {"name": f"baseline/{engine.name.replace(' ', '-')}", "model": engine.model, **milliseconds(engine)}
        row["times_floor"] = ratio(engine, floor)[0]
        if engine in peers:
            row |= dict(zip(("times_flexcore", "times_min", "times_max"), ratio(engine, own[-1]), strict=True))
        rows.append(row)
    return rows
