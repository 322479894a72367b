"""Reading and baseline of each order: computed unit by unit from day files, in threads or by an executor."""

import os
from concurrent.futures import Executor, Future, as_completed, wait
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.metering import stream_work
from flexcore.metering.readings import Int32s
from flexcore.metering.stream import UNIT, Progress
from flexcore.metering.stream_inputs import StreamInputs
from flexcore.metering.stream_work import BlockWork, Tally, WorkPool, empty_result
from flexcore.settlement.result import Int64s


class Ordered(NamedTuple):
    """Reading and baseline of each order, and status of each row."""

    metered: Int32s
    power: Int32s
    status: npt.NDArray[np.uint8]

    def put(self, orders: Int64s, rows: Int64s, new: "Ordered") -> None:
        """Replace the numbers of some orders and the status of their rows."""
        self.metered[orders], self.power[orders], self.status[rows] = new

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays behind one another."""
        with open(path, "wb") as file:
            for array in self:
                file.write(array.data)

    def read(self, path: str | os.PathLike[str]) -> bool:
        """Fill the arrays from a file; False if it is shorter or longer than they are."""
        with open(path, "rb") as file:
            sizes = [file.readinto(array.view(np.uint8).data) for array in self]
            return sizes == [array.nbytes for array in self] and not file.read(1)


class Places(NamedTuple):
    """Where rows and their orders lie: row in the day files, first order of each, quarter-hour of each order."""

    place: Int64s
    ptr: Int64s
    step: npt.NDArray[np.uint8]

    def rows(self, a: int, b: int) -> "Places":
        """Return rows a..b, orders counted from theirs."""
        return Places(self.place[a:b], self.ptr[a : b + 1] - self.ptr[a], self.step[self.ptr[a] : self.ptr[b]])

    def part(self, out: Ordered, a: int, b: int) -> Ordered:
        """Return room for rows a..b, as views."""
        orders = slice(int(self.ptr[a]), int(self.ptr[b]))
        return Ordered(out.metered[orders], out.power[orders], out.status[a:b])

    def chosen(self, rows: Int64s) -> tuple["Places", Int64s]:
        """Return some rows, ascending, and which orders are theirs."""
        counts = self.ptr[rows + 1] - self.ptr[rows]
        ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        orders = np.arange(ptr[-1]) + np.repeat(self.ptr[rows] - ptr[:-1], counts)
        return Places(self.place[rows], ptr, self.step[orders]), orders

    def room(self) -> Ordered:
        """Return room for all."""
        n = len(self.step)
        return Ordered(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(len(self.place), np.uint8))

    def edges(self) -> tuple[list[int], list[int]]:
        """Return the units that hold rows, and where the rows of each begin and end."""
        units = self.place // UNIT
        units = units[np.flatnonzero(np.diff(units, prepend=-1))]  # `place` ascends
        edges = np.searchsorted(self.place, np.append(units * UNIT, np.iinfo(np.int64).max))
        return units.tolist(), edges.tolist()


def _unit(work: BlockWork | WorkPool, inputs: StreamInputs, places: Places, out: Ordered) -> None:
    """Compute what stands at `places`, rows of the day files in one unit: from the first to the last of each block."""
    block = places.place // stream_work.BLOCK
    cuts = np.append(np.flatnonzero(np.diff(block, prepend=-1)), len(block)).tolist()
    for a, b in pairwise(cuts):
        lo, hi = int(places.place[a]), int(places.place[b - 1]) + 1
        result, readings = empty_result(hi - lo, inputs), np.empty((hi - lo, inputs.today.day.n_steps), np.int32)
        work.run(lo, hi, result, readings)
        own, here = places.part(out, a, b), places.rows(a, b)
        np.take(result.status, here.place - lo, out=own.status)
        row = np.repeat(here.place - lo, np.diff(here.ptr))
        own.metered[:] = readings[row, here.step]
        own.power[:] = result.baseline_w[row, here.step]


def write_ordered(inputs: StreamInputs, place: Int64s, ptr: Int64s, step: npt.NDArray[np.uint8], path: str) -> None:
    """Compute the orders of some rows and write them to a file of plain arrays: what a worker does."""
    places = Places(place, ptr, step)
    out = places.room()
    _, edges = places.edges()
    work = BlockWork(inputs)
    try:
        for a, b in pairwise(edges):
            _unit(work, inputs, places.rows(a, b), places.part(out, a, b))
    finally:
        work.close()
    out.write(path)


def compute_ordered(inputs: StreamInputs, places: Places, n_threads: int, progress: Progress | None) -> Ordered:
    """Return reading, baseline and status of each row's orders; blocks of PODs without orders are not read."""
    out = places.room()
    units, edges = places.edges()
    tally = Tally(len(units), progress)
    pool = WorkPool(inputs)

    def task(first: int, last: int) -> None:
        for k in range(first, last):
            a, b = edges[k], edges[k + 1]
            _unit(pool, inputs, places.rows(a, b), places.part(out, a, b))
            tally.add(1)

    try:
        run_chunks(task, len(units), n_threads=n_threads, chunk=1)
    finally:
        pool.close()
    return out


def compute_by_workers(
    inputs: StreamInputs, places: Places, executor: Executor, parts: int, folder: Path, progress: Progress | None
) -> Ordered:
    """Do what `compute_ordered` does in the workers of an executor; orders come back in files, in any order."""
    out = places.room()
    units, edges = places.edges()
    cuts = np.linspace(0, len(units), min(parts, max(len(units), 1)) + 1).round().astype(np.int64).tolist()
    tally = Tally(len(units), progress)
    futures: dict[Future[None], int] = {}
    try:
        for k, (first, last) in enumerate(pairwise(cuts)):
            if first == last:
                continue
            lo, hi = units[first] * UNIT, min((units[last - 1] + 1) * UNIT, inputs.today.n_pods)
            own = places.rows(edges[first], edges[last])
            futures[executor.submit(write_ordered, inputs.part(lo, hi), *own, str(folder / f"{k}.rows"))] = k
        for future in as_completed(futures):
            future.result()
            k = futures[future]
            path = folder / f"{k}.rows"
            places.part(out, edges[cuts[k]], edges[cuts[k + 1]]).read(path)
            path.unlink()
            tally.add(cuts[k + 1] - cuts[k])
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)  # else a worker would write to a folder that is being removed
        raise
    return out
