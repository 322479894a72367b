"""What comes before the steady state: import, first call with nothing compiled, first call from the cache."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

_CHILD = """
import json, time
start = time.perf_counter()
import numpy as np
from benchmarks.networks import radial_city
from flexcore.grid.power_flow import power_flow
seconds = {"import": time.perf_counter() - start}
grid, _ = radial_city(50, n_primary=1, n_feeders=2)
load = np.ones((grid.n_nodes, 4))
for method in ("dc", "linear", "ac", "certified"):
    start = time.perf_counter()
    power_flow(grid, load, load, method=method)
    seconds[method] = time.perf_counter() - start
print(json.dumps(seconds))
"""


def _child(cache: str | None) -> dict[str, float]:
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """A process with an empty cache and one with the cache that it left; quick: the user's own cache."""
    if quick:
        states = {"cached": _child(None)}
    else:
        with tempfile.TemporaryDirectory() as cache:
            states = {"empty": _child(cache), "cached": _child(cache)}
    return [
        {"name": f"first_call/{what}/{state}", "ms": 1e3 * value}
        for state, seconds in states.items()
        for what, value in seconds.items()
    ]
