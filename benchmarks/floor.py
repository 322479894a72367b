"""The floor: how fast this machine moves memory, by a numba copy kernel with the same threads.

Nothing that reads its inputs and writes its outputs once can be faster than copying as many bytes. Bytes read and bytes
written are counted.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.timing import Engine, interleave, milliseconds, ratio
from flexcore.kernels import _jit as jit

_CHUNK = 1 << 20  # elements of one job


@jit.kernel(jit.F64, jit.F64_OUT, jit.i64, jit.i64)
def _copy(source, target, lo, hi):
    for i in range(lo, hi):
        target[i] = source[i]


class Floor:
    """Two arrays and the threads that copy one to the other."""

    def __init__(self, threads: int, n_bytes: int = 1 << 30) -> None:
        self.source = np.ones(n_bytes // 8)
        self.target = np.zeros(n_bytes // 8)
        self.bytes = 2 * self.source.nbytes
        self._pool = ThreadPoolExecutor(threads)

    def copy(self) -> None:
        n = self.source.size
        jobs = [
            self._pool.submit(_copy, self.source, self.target, lo, min(n, lo + _CHUNK)) for lo in range(0, n, _CHUNK)
        ]
        for job in jobs:
            job.result()

    def engine(self, n_bytes: int) -> Engine:
        """Row of a case that reads and writes so many bytes."""
        self.copy()
        return Engine("floor", "copies as many bytes", self.copy, scale=n_bytes / self.bytes)


def run(threads: int, quick: bool, rounds: int) -> list[dict]:
    """The kernel beside `np.copyto`; the floor counts only where it reaches 0.9 of it."""
    floor = Floor(threads, 1 << 22 if quick else 1 << 30)
    own = floor.engine(floor.bytes)
    numpy = Engine("np.copyto", "one thread", lambda: np.copyto(floor.target, floor.source))
    numpy.run()
    interleave([own, numpy], rounds)
    times, low, high = ratio(numpy, own)
    rows = []
    for engine in (numpy, own):
        row = {"name": f"floor/{engine.name}", **milliseconds(engine)}
        row["gb_per_s"] = floor.bytes / row["ms"] / 1e6
        rows.append(row)
    rows[-1] |= {"times_copyto": times, "times_copyto_min": low, "times_copyto_max": high, "valid": times >= 0.9}
    return rows
