"""Interleaved timing: every engine once in each round, A B C A B C, so that drift of the machine hits all alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 7
PACKAGES = (
    "numpy", "numba", "scipy", "pyarrow", "highspy", "pandapower", "simbench", "power-grid-model", "lightsim2grid",
    "tensorpowerflow", "pypsa", "duckdb", "polars", "pandas",
)  # fmt: skip

Read = Callable[[Any], tuple[np.ndarray | None, np.ndarray | None]]


def nothing(result: Any) -> tuple[None, None]:
    """Read neither voltages nor flows."""
    return None, None


@dataclass
class Engine:
    """One row of a table: how to run it, how to read voltages (pu) and flows (kW) off its result, what it took."""

    name: str
    model: str
    run: Callable[[], Any]
    read: Read = nothing
    #: whose rows are compared with the rows of others: the whole public call with fresh outputs in the user's order
    fresh: bool = False
    #: part of the case's steps that one call does; times are scaled up, errors are of these steps
    steps: slice | np.ndarray = field(default_factory=lambda: slice(None))
    scale: float = 1.0
    rounds: int | None = None
    build_s: float | None = None
    seconds: list[float] = field(default_factory=list)
    v_error: float | None = None
    p_error: float | None = None

    @property
    def ac(self) -> bool:
        """Whether it solves the full equations."""
        return self.model.startswith("AC")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result of one call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def interleave(engines: list[Engine], rounds: int) -> None:
    """Run all engines in turn, round by round; the results are dropped at once, as fresh outputs would be."""
    for engine in engines:
        engine.seconds.clear()
    for k in range(rounds):
        for engine in engines:
            if k < min(rounds, engine.rounds or rounds):
                seconds, _ = timed(engine.run)
                engine.seconds.append(seconds * engine.scale)


def ratio(one: Engine, other: Engine) -> tuple[float, float, float]:
    """Median, smallest and largest of the ratios of two engines, round by round."""
    values = [a / b for a, b in zip(one.seconds, other.seconds, strict=False)]
    return statistics.median(values), min(values), max(values)


def milliseconds(engine: Engine) -> dict[str, float]:
    """Median, smallest and largest time, scaled to the whole case."""
    ms = [1e3 * s for s in engine.seconds]
    return {"ms": statistics.median(ms), "ms_min": min(ms), "ms_max": max(ms)}


def machine() -> dict[str, Any]:
    """Name what the figures depend on."""
    cpu, l3 = platform.processor(), None
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    if cache.exists():
        l3 = int(cache.read_text(encoding="utf-8").strip().rstrip("K")) * 1024
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "l3_bytes": l3,
        "load_average": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }
