"""Cuts a power flow into jobs, some subtrees times a block of steps, and runs one kernel over them."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.flow_result import FILLS, Array
from flexcore.grid.forest import F8, Forest
from flexcore.grid.network import Grid

_LONGEST = 1 << 20  # steps in one block; what the work rows hold is the limit, and tests set a lower one
_CACHE_BYTES = 1 << 22  # work rows beyond this leave the cache anyway: shorter blocks give threads more to share
_SHORT = 48
_LINE = 8  # float64 in a cache line
_SPARE_ROWS = 2  # work rows beyond those of the nodes
_PACK_NODES = 256  # subtrees are packed into jobs of about this many nodes
_JOB_SECONDS = 0.02  # aim for one chunk of jobs


# quantities that each method keeps for a node
_QUANTITIES = {"dc": 2, "linear": 7, "certified": 12, "ac": 7}
# Steps that go through all sweeps of an AC solution together: those that need one more hold up fewer others, and their
# rows stay nearer to the processor
_ITERATED = 64


def _pack(forest: Forest) -> npt.NDArray[np.int64]:
    """Cut the subtrees that hang off roots into packs of about `_PACK_NODES` nodes; depends on the network alone."""
    sizes = forest.last[forest.heads].astype(np.int64) - forest.heads
    pack = (np.cumsum(sizes) - sizes) // _PACK_NODES
    starts = np.flatnonzero(np.diff(pack, prepend=-1))
    return np.append(starts, sizes.size).astype(np.int64)


class Scratch:
    """Work rows, one array for each thread that asks, kept: fresh memory would fault in page by page."""

    def __init__(self, rows: int, columns: int) -> None:
        self._shape = (rows, columns)
        self._local: Any = threading.local()

    def __call__(self) -> Array:
        """Return this thread's rows, whose content is whatever was left there."""
        if not hasattr(self._local, "array"):
            # rows that start with a cache line are read and written without touching a second one
            n = self._shape[0] * self._shape[1]
            raw = np.empty(n + _LINE)
            first = -(raw.ctypes.data // raw.itemsize) % _LINE
            self._local.array = raw[first : first + n].reshape(self._shape)
        array: Array = self._local.array
        return array


class Jobs:
    """How a sweep is cut: packs of subtrees times blocks of steps, with work rows that stay in cache.

    Attributes
    ----------
    n : int
        Number of jobs.
    packs : ndarray of int64
        First head of each pack, and the end.
    width : int
        Steps in a block.
    scratch : Scratch
    """

    def __init__(self, forest: Forest, n_steps: int, quantities: int, longest: int = _LONGEST) -> None:
        from flexcore.kernels.grid.lanes import LANES

        sizes = forest.last[forest.heads] - forest.heads
        self._largest = int(sizes.max(initial=0)) + 1
        self.packs = _pack(forest)
        fits = 8 * self._largest * quantities * LANES <= _CACHE_BYTES
        self.width = max(1, min(LANES if fits else _SHORT, longest, _LONGEST, n_steps))
        self.n = (self.packs.size - 1) * -(-n_steps // self.width)
        self.scratch = Scratch(self._largest + _SPARE_ROWS, quantities * LANES)

    def chunk(self, n_threads: int) -> int:
        """Jobs in one chunk: about 5 ns for one node and step is the slow end of a core, and several for a thread."""
        by_time = int(_JOB_SECONDS / (5e-9 * max(self._largest, _PACK_NODES) * self.width))
        return max(1, min(by_time, self.n // (8 * max(1, n_threads))))


def _kernel(method: str, loads: Array) -> Any:
    """Module of the kernel for loads of this type; the other one is not compiled."""
    precision = "single" if loads.dtype == np.float32 else "double"
    return importlib.import_module(f"flexcore.kernels.grid.{method}_{precision}")


def per_limit(limit: F8) -> F8:
    """One over a rating; a limit of 0 gives a number so large that any flow is a huge loading."""
    # a limit of 0 allows nothing: any flow gives a huge loading, none gives 0 rather than NaN
    with np.errstate(divide="ignore"):
        return np.where(limit > 0, 1.0 / limit, 1e300)


def root_band(grid: Grid) -> tuple[F8, F8]:
    """Squared voltage of each node's root at the two edges of its dead band, in preorder."""
    forest = grid.spanning
    root = np.maximum.accumulate(np.where(forest.parent < 0, np.arange(grid.n_nodes), 0))
    half = 0.5 * grid.v_band_pu[forest.order[root]]
    held = np.sqrt(forest.u_root)
    return (held - half) ** 2, (held + half) ** 2


def run_sweeps(
    grid: Grid,
    p: Array,
    q: Array,
    method: str,
    arrays: dict[str, Array],
    *,
    loss_sweeps: int,
    tolerance: float,
    max_iterations: int,
    n_threads: int,
    forest: Forest | None = None,
) -> npt.NDArray[np.uint8]:
    """Fill `arrays` with what the method computes; returns the status of every subtree and step.

    A `forest` of some heads alone leaves what hangs off the others as it is.
    """
    forest, n_steps = grid.forest if forest is None else forest, p.shape[1]
    status = np.zeros((forest.heads.size, n_steps), np.uint8)
    if not status.size:
        return status
    jobs = Jobs(forest, n_steps, _QUANTITIES[method], _ITERATED if method == "ac" else _LONGEST)
    empty = np.empty((0, 0), p.dtype)
    fills = FILLS[method]
    want = np.array([names[0] in arrays for names in fills.values()], np.uint8)
    outs = [arrays.get(name, empty) for names in fills.values() for name in names]
    walk = (forest.order, forest.parent, forest.last, forest.branch, forest.forward.view(np.uint8))
    limits = (per_limit(grid.s_max_kva), per_limit(grid.s_max_reverse_kva))
    pi = (
        forest.r_scaled, forest.x_scaled, forest.g_scaled, forest.b_scaled,
        forest.g_parent, forest.b_parent, forest.g_child, forest.b_child, forest.tau,
    )  # fmt: skip
    cut = (forest.heads, jobs.packs, jobs.width, want)

    task: Callable[[int, int], None]
    if method == "dc":
        dc = _kernel("dc", p)
        above = np.where(forest.parent >= 0, forest.parent, np.arange(grid.n_nodes))
        x_ratio = forest.x_pu * np.sqrt(forest.tau / forest.tau[above])
        shift = forest.shift_deg - forest.shift_deg[above]

        def task(lo: int, hi: int) -> None:
            dc.sweep(
                *walk, forest.g_dc_pu, x_ratio, shift, forest.angle_root_deg, *limits, p, *cut, jobs.scratch(), *outs,
                status, lo, hi,
            )  # fmt: skip
    elif method == "certified":
        from flexcore.kernels.grid import certified

        # kVA at 1 pu to kA at the from end's nominal voltage
        per_i = 1e-3 / (np.sqrt(3.0) * grid.v_nom_kv[grid.branch_from])
        band = root_band(grid)

        def task(lo: int, hi: int) -> None:
            certified.sweep(
                *walk, *pi, *band, *limits, per_i, p, q, max_iterations, *cut, jobs.scratch(), *outs, status, lo, hi
            )
    else:
        distflow = _kernel("distflow", p)
        angles = (forest.shift_deg, forest.angle_root_deg)
        stop = (loss_sweeps, tolerance, max_iterations if method == "ac" else 0)

        def task(lo: int, hi: int) -> None:
            distflow.sweep(
                *walk, *pi, forest.u_root, *limits, *angles, p, q, *stop, *cut, jobs.scratch(), *outs, status, lo, hi
            )

    run_chunks(task, jobs.n, n_threads=n_threads, chunk=jobs.chunk(n_threads))
    return status
