"""Peak memory of one call with fresh outputs, against its inputs and outputs together."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from flexcore.grid.power_flow import power_flow

_STATUS = Path("/proc/self/statm")


def _resident() -> int:
    return int(_STATUS.read_text(encoding="utf-8").split()[1]) * 4096


class _Watch:
    """The largest resident size while it is entered; kernels release the interpreter, so a thread can look on."""

    def __enter__(self) -> "_Watch":
        self.peak = self.start = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._stop.is_set():
            self.peak = max(self.peak, _resident())
            time.sleep(2e-4)

    def __exit__(self, *error: object) -> None:
        self.peak = max(self.peak, _resident())
        self._stop.set()
        self._thread.join()


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """The low-voltage city, linear and AC; nothing where the system does not tell."""
    if not _STATUS.exists():
        return []
    grid = networks.low_voltage_forest(200 if quick else 13_000, shuffle=False)
    p, q = networks.city_loads(grid, 96, mean_kw=0.6)
    small = np.zeros((grid.n_nodes, 1))
    rows = []
    for method in ("linear", "ac"):
        power_flow(grid, small, small, method=method, outputs=("branch_p_kw", "v_pu"), n_threads=threads)
        with _Watch() as watch:
            flow = power_flow(grid, p, q, method=method, outputs=("branch_p_kw", "v_pu"), n_threads=threads)
        inputs = p.nbytes + q.nbytes
        outputs = flow.branch_p_kw.nbytes + flow.v_pu.nbytes
        rows.append(
            {
                "name": f"memory/lv_forest/{method}",
                "inputs_and_outputs_bytes": inputs + outputs,
                "peak_bytes": inputs + watch.peak - watch.start,
                "times": (inputs + watch.peak - watch.start) / (inputs + outputs),
            }
        )
    return rows
