"""The settlement of a city day from files: readings to baselines, delivered volumes, lines and shares of PODs."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError
from flexcore.metering.presets import BaselineRule
from flexcore.metering.reading_layout import Paths, published, refuse
from flexcore.metering.readings import Int32s
from flexcore.metering.result_folders import publish_folder, read_manifest, temporary_folder
from flexcore.metering.stream import UNIT, Progress
from flexcore.metering.stream_inputs import StreamInputs, Touched, open_inputs
from flexcore.metering.stream_work import BlockWork, Tally, WorkPool, empty_result
from flexcore.settlement.remuneration import settle
from flexcore.settlement.result import Int64s, SettlementResult
from flexcore.settlement.terms import SettlementTerms
from flexcore.tables.check import check


@dataclass(frozen=True, slots=True, eq=False)
class SettlementFiles:
    """A settlement of a day from files.

    Attributes
    ----------
    result : SettlementResult
        What `settle` gives for the rows that have orders, in the order (POD, operator, aggregate, direction).
    pods : pyarrow.Array
        Key of the POD of each row.
    status : ndarray of uint8, shape (n_rows,)
        Status of the baseline of each row (`metering.baseline.STATUS`).
    files : tuple of str
        What was written: lines, POD lines and totals.
    """

    result: SettlementResult
    pods: Any
    status: npt.NDArray[np.uint8]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Orders as rows, one for each (POD, operator, aggregate, direction), sorted by these."""

    place: Int64s  # row of the POD in the day files
    operator: Int64s
    aggregate: Int64s
    direction: Int64s
    orders_w: Int32s
    price: Int64s | None


def settle_files(
    orders: Any,
    history: Sequence[Paths],
    today: Paths,
    terms: str | SettlementTerms,
    *,
    preset: str | BaselineRule = "caiso_10_in_10",
    eligible: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    touched: Any = None,
    unit_of_step: npt.ArrayLike | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
    out: str | os.PathLike[str] | None = None,
    cites: str | os.PathLike[str] | None = None,
    reason: str = "",
    parts: int | None = None,
    executor: Executor | None = None,
    n_threads: int = 1,
    verify: bool = False,
    progress: Progress | None = None,
) -> SettlementFiles:
    """Settle a city day: readings from files, orders as a table; the same as `baseline` and then `settle` in memory.

    Parameters
    ----------
    orders : table
        Columns of the table `orders`: POD, operator, aggregate, direction, step, power and, if orders have prices of
        their own, price.
    history, today, preset, eligible, excluded, today_excluded, touched, verify, progress
        As in `flexcore.baseline_files`. Ordered quarter-hours of the day, by either operator, are its events.
    terms, unit_of_step, missing
        As in `settle`.
    out : path, optional
        Folder for `lines.parquet`, `pod_lines.parquet` and `totals.parquet`; it appears when it is whole, and the same
        settlement again leaves it as it is.
    cites : path, optional
        Folder of the run of the day that this one corrects; its digest is kept in the manifest. A run that comes out as
        the one it would correct cites nothing.
    reason : str
        Why it was corrected.
    parts, executor : optional
        As in `flexcore.baseline_files`: where baselines are computed, and in how many pieces.
    n_threads : int

    Returns
    -------
    SettlementFiles

    Raises
    ------
    SettlementError
        As `settle`; FX-S004 also where an order is given twice.
    FileError
        As `baseline_files`; FX-S030 `cites` holds no settlement of the day.
    ValidationError
        FX-A001 to FX-A010 the table of orders, FX-B003 an order of a POD without readings, FX-M203 a step outside the
        day.

    Notes
    -----
    Memory holds orders, baselines and readings of the PODs that have orders, and no other: at the peak about 2.2 kB for
    each row.
    """
    cited = None if cites is None else read_manifest(cites)
    inputs, pods = open_inputs(
        history, today, None, preset=preset, eligible=eligible, excluded=excluded, today_excluded=today_excluded,
        touched=touched, verify=verify, n_threads=n_threads,
    )  # fmt: skip
    day = inputs.today.day
    if cited is not None and not (
        "n_lines" in cited and (cited.get("date"), cited.get("tz")) == (str(day.date), day.tz)
    ):
        name = os.fspath(cites or "")
        refuse("FX-S030", f"{name} holds no settlement of {day.date}, {day.tz}", field="cites", ids=[name])
    rows = _rows(orders, pods, day.n_steps)
    inputs = _with_events(inputs, rows)
    if executor is None:
        ordered = _stream(inputs, rows.place, n_threads, progress)
    elif out is None:
        refuse("FX-B069", "an executor needs a folder to write to", field="out", hint="pass out=, or n_threads=")
    else:
        with temporary_folder(out) as scratch:
            ordered = _stream_parts(inputs, rows.place, executor, parts or n_threads, scratch, progress)
    keys = pods.take(rows.place)
    number = np.asarray(keys) if str(keys.type) == "int64" else rows.place
    result = settle(
        rows.orders_w,
        ordered.power,
        ordered.metered,
        terms,
        direction=rows.direction,
        aggregate=rows.aggregate,
        operator=rows.operator,
        price_ueur_per_mwh=rows.price,
        pod=number,
        unit_of_step=day.hour_of_step if unit_of_step is None else unit_of_step,
        missing=missing,
        n_threads=n_threads,
    )
    files: tuple[str, ...] = ()
    if out is not None:
        about = {"digest": result.digest, "date": str(day.date), "tz": day.tz, "n_lines": len(result.lines)}
        if str(keys.type) != "int64":
            # the digest of `settle` holds the places of these PODs, not their names
            names = keys.take(np.unique(result.pod_lines.row)).to_pylist()
            about["pods"] = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        if cited is not None and any(cited.get(name) != value for name, value in about.items()):
            about |= {"cites": cited["digest"], "reason": reason}
        files = _write(result, keys, Path(out), about)
    return SettlementFiles(result, keys, ordered.status, files)


def read_orders(path: str | os.PathLike[str]) -> Any:
    """Return a Parquet file of orders as a table; FX-B060 where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(os.fspath(path)) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        message = (str(error).splitlines() or [""])[0]
        refuse("FX-B060", f"{os.fspath(path)} cannot be read: {message}", ids=[os.fspath(path)])


def _rows(table: Any, pods: Any, n_steps: int) -> _Rows:
    """Turn the table of orders into rows with one column for each step."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = check("orders", table, error=SettlementError)
    names = table.keys() if isinstance(table, Mapping) else pa.schema(table.schema).names
    keys, step = columns["pod"], columns["step"].astype(np.int64)
    found = Findings("orders", len(keys))
    place = np.full(len(keys), -1, np.int64)
    if len(keys) and (keys.dtype.kind == "U") == pa.types.is_string(pods.type):
        named = pa.array(keys.tolist() if keys.dtype.kind == "U" else keys)
        place = np.asarray(pc.index_in(named, value_set=pods).fill_null(-1), np.int64)
    unknown, outside = np.flatnonzero(place < 0), np.flatnonzero(step >= n_steps)
    if unknown.size:
        found.add("FX-B003", f"{unknown.size} orders name PODs without readings", rows=unknown, ids=keys[unknown])
    if outside.size:
        message = f"{outside.size} orders lie after the last of {n_steps} quarter-hours"
        found.add("FX-M203", message, field="step", rows=outside)
    found.raise_errors(SettlementError)
    way, group, buyer = (columns[name].astype(np.int64) for name in ("direction", "aggregate", "operator"))
    order = np.lexsort((step, way, group, buyer, place))
    sorted_by = [column[order] for column in (place, buyer, group, way)]
    edge = np.ones(len(order), np.bool_)
    edge[1:] = np.any([np.diff(column) != 0 for column in sorted_by], axis=0)
    row = np.cumsum(edge) - 1
    twice = np.flatnonzero(~edge[1:] & (np.diff(step[order]) == 0)) + 1
    if twice.size:
        found.add("FX-S004", f"{twice.size} orders are given twice", rows=order[twice], ids=keys[order[twice]])
        found.raise_errors(SettlementError)
    n_rows = int(edge.sum())
    orders_w = np.zeros((n_rows, n_steps), np.int32)
    orders_w[row, step[order]] = columns["ordered_w"][order]
    price = None
    if "price_ueur_per_mwh" in names:
        given = columns["price_ueur_per_mwh"][order]
        first = given[edge]
        if (given == first[row]).all():
            price = first  # one price for each row: an eighth of the memory and more
        else:
            price = np.zeros((n_rows, n_steps), np.int64)
            price[row, step[order]] = given
    at, buyers, groups, ways = (column[edge] for column in sorted_by)
    return _Rows(at, buyers, groups, ways, orders_w, price)


def _with_events(inputs: StreamInputs, rows: _Rows) -> StreamInputs:
    """Add the ordered quarter-hours to the events of the day."""
    row, step = np.nonzero(rows.orders_w)
    n = len(row)
    none = np.zeros(0, np.int64)
    given = inputs.touched or Touched(none, none, none, none.astype(np.bool_))
    place = np.concatenate([given.row, rows.place[row]])
    order = np.argsort(place, kind="stable")
    day = np.concatenate([given.day, np.full(n, -1, np.int64)])[order]
    steps = np.concatenate([given.step, step.astype(np.int64)])[order]
    event = np.concatenate([given.event, np.ones(n, np.bool_)])[order]
    return replace(inputs, touched=Touched(place[order], day, steps, event))


class _Ordered(NamedTuple):
    """Readings, baselines and status of rows."""

    metered: Int32s
    power: Int32s
    status: npt.NDArray[np.uint8]

    def rows(self, lo: int, hi: int) -> "_Ordered":
        return _Ordered(self.metered[lo:hi], self.power[lo:hi], self.status[lo:hi])


def _room(n: int, inputs: StreamInputs) -> _Ordered:
    shape = (n, inputs.today.day.n_steps)
    return _Ordered(np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(n, np.uint8))


def _unit(work: BlockWork | WorkPool, inputs: StreamInputs, unit: int, place: Int64s, out: _Ordered) -> None:
    """Compute a unit and keep what stands at `place`, rows of the day files that lie in it."""
    lo = unit * UNIT
    hi = min(lo + UNIT, inputs.today.n_pods)
    block, readings = empty_result(hi - lo, inputs), np.empty((hi - lo, inputs.today.day.n_steps), np.int32)
    work.run(lo, hi, block, readings)
    np.take(readings, place - lo, axis=0, out=out.metered)
    np.take(block.baseline_w, place - lo, axis=0, out=out.power)
    np.take(block.status, place - lo, out=out.status)


def _edges(place: Int64s) -> tuple[list[int], list[int]]:
    """Return the units that hold rows, and where the rows of each begin and end."""
    units = np.unique(place // UNIT)
    edges = np.searchsorted(place, np.append(units * UNIT, np.iinfo(np.int64).max))
    return units.tolist(), edges.tolist()


def write_ordered(inputs: StreamInputs, place: Int64s, path: str) -> None:
    """Compute the rows at `place` and write them to a file of plain arrays: what a worker does."""
    out = _room(len(place), inputs)
    units, edges = _edges(place)
    work = BlockWork(inputs)
    try:
        for unit, a, b in zip(units, edges, edges[1:], strict=False):
            _unit(work, inputs, unit, place[a:b], out.rows(a, b))
    finally:
        work.close()
    with open(path, "wb") as file:
        for array in out:
            np.save(file, array, allow_pickle=False)


def _stream(inputs: StreamInputs, place: Int64s, n_threads: int, progress: Progress | None) -> _Ordered:
    """Return readings, baselines and status of each row; units of PODs without orders are not read."""
    out = _room(len(place), inputs)
    units, edges = _edges(place)
    tally = Tally(len(units), progress)
    pool = WorkPool(inputs)

    def task(first: int, last: int) -> None:
        for k in range(first, last):
            a, b = edges[k], edges[k + 1]
            _unit(pool, inputs, units[k], place[a:b], out.rows(a, b))
            tally.add(1)

    try:
        run_chunks(task, len(units), n_threads=n_threads, chunk=1)
    finally:
        pool.close()
    return out


def _stream_parts(
    inputs: StreamInputs, place: Int64s, executor: Executor, parts: int, folder: Path, progress: Progress | None
) -> _Ordered:
    """Do what `_stream` does in the workers of an executor; rows come back in files, in any order."""
    out = _room(len(place), inputs)
    units, edges = _edges(place)
    cuts = np.linspace(0, len(units), min(parts, max(len(units), 1)) + 1).round().astype(np.int64).tolist()
    tally = Tally(len(units), progress)
    futures: dict[Future[None], int] = {}
    try:
        for k, (first, last) in enumerate(pairwise(cuts)):
            if first == last:
                continue
            lo, hi = units[first] * UNIT, min((units[last - 1] + 1) * UNIT, inputs.today.n_pods)
            rows = place[edges[first] : edges[last]]
            futures[executor.submit(write_ordered, inputs.part(lo, hi), rows, str(folder / f"{k}.rows"))] = k
        for future in as_completed(futures):
            future.result()
            k = futures[future]
            path = folder / f"{k}.rows"
            with path.open("rb") as file:
                for array in out.rows(edges[cuts[k]], edges[cuts[k + 1]]):
                    array[:] = np.load(file, allow_pickle=False)
            path.unlink()
            tally.add(cuts[k + 1] - cuts[k])
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)  # else a worker would write to a folder that is being removed
        raise
    return out


def _write(result: SettlementResult, keys: Any, out: Path, about: Mapping[str, Any]) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    names = ("lines.parquet", "pod_lines.parquet", "totals.parquet")
    pod_lines = result.pod_lines.to_arrow()
    at = pod_lines.column_names.index("pod")
    pod_lines = pod_lines.set_column(at, "pod", keys.take(result.pod_lines.row))
    with temporary_folder(out) as folder:
        for name, table in zip(names, (result.lines.to_arrow(), pod_lines, result.totals.to_arrow()), strict=True):
            with published(folder / name) as temporary:
                pq.write_table(table, str(temporary), write_page_checksum=True)
        return publish_folder(folder, out, {**about, "files": names})
