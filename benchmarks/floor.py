"""The floor: how fast this machine moves memory, by a numba copy kernel with the same threads.

Nothing that reads its inputs and writes its outputs once can be faster than copying as many bytes. Bytes read and bytes
written are counted.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from benchmarks.timing import Engine, interleave, milliseconds, ratio
from flexcore.kernels import _jit as jit

_CHUNK = 1 << 22  # elements of one job
_LINE = 8  # elements of a cache line


@intrinsic
def _stream_line(typingctx, source, target, at):
    """Copy one cache line past the caches, as `memcpy` does: a plain store would read the line that it overwrites."""

    def generate(context, builder, signature, args):
        def line(array, value):
            data = context.make_array(array)(context, builder, value).data
            vector = ir.VectorType(ir.DoubleType(), _LINE).as_pointer()
            return builder.bitcast(builder.gep(data, [args[2]]), vector)

        values = builder.load(line(signature.args[0], args[0]), align=64, typ=ir.VectorType(ir.DoubleType(), _LINE))
        store = builder.store(values, line(signature.args[1], args[1]), align=64)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(cgutils.int32_t, 1)]))
        return context.get_dummy_value()

    return types.void(source, target, types.int64), generate


@jit.kernel(jit.F64, jit.F64_OUT, jit.i64, jit.i64)
def _copy(source, target, lo, hi):
    # four pages at a time, as `memcpy` does: more open rows of memory, and fewer switches between reading and writing
    for page in range(lo, hi, 2048):
        for i in range(page, page + 512, 8):
            _stream_line(source, target, i)
            _stream_line(source, target, i + 512)
            _stream_line(source, target, i + 1024)
            _stream_line(source, target, i + 1536)


def _aligned(n: int, value: float) -> np.ndarray:
    """Array that starts at a cache line, its pages touched."""
    raw = np.full(n + _LINE, value)
    first = -raw.ctypes.data % 64 // 8
    return raw[first : first + n]


class Floor:
    """Two arrays and the threads that copy one to the other."""

    def __init__(self, threads: int, n_bytes: int = 1 << 30) -> None:
        n = n_bytes // 8 // 2048 * 2048
        self.source, self.target = _aligned(n, 1.0), _aligned(n, 0.0)
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
        assert (self.target == 1.0).all()
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
