"""The settlement of a city day from files: readings to baselines, delivered volumes, lines and shares of PODs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

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
from flexcore.metering.stream_work import WorkPool, empty_result
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
        Folder of the run that this one corrects; its digest is kept in the manifest.
    reason : str
        Why it was corrected.
    n_threads : int

    Returns
    -------
    SettlementFiles

    Raises
    ------
    SettlementError
        As `settle`; FX-S004 also where an order is given twice.
    FileError
        As `baseline_files`; FX-S030 `cites` holds no run.
    ValidationError
        FX-A001 to FX-A010 the table of orders, FX-B003 an order of a POD without readings, FX-M203 a step outside the
        day.

    Notes
    -----
    Memory holds orders, baselines and readings of the PODs that have orders, and no other: 1.2 kB for each row.
    """
    cited = None if cites is None else read_manifest(cites)["digest"]
    inputs, pods = open_inputs(
        history, today, None, preset=preset, eligible=eligible, excluded=excluded, today_excluded=today_excluded,
        touched=touched, verify=verify,
    )  # fmt: skip
    day = inputs.today.day
    rows = _rows(orders, pods, day.n_steps)
    inputs = _with_events(inputs, rows)
    metered, baseline, status = _stream(inputs, rows, n_threads, progress)
    keys = pods.take(rows.place)
    number = np.asarray(keys) if str(keys.type) == "int64" else rows.place
    result = settle(
        rows.orders_w,
        baseline,
        metered,
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
        if cited is not None:
            about |= {"cites": cited, "reason": reason}
        files = _write(result, keys, Path(out), about)
    return SettlementFiles(result, keys, status, files)


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


def _stream(
    inputs: StreamInputs, rows: _Rows, n_threads: int, progress: Progress | None
) -> tuple[Int32s, Int32s, npt.NDArray[np.uint8]]:
    """Return readings, baselines and status of each row; units of PODs without orders are not read."""
    n_steps, n_pods = inputs.today.day.n_steps, inputs.today.n_pods
    metered, power = (np.empty((len(rows.place), n_steps), np.int32) for _ in range(2))
    status = np.empty(len(rows.place), np.uint8)
    units = np.unique(rows.place // UNIT)
    done = [0]
    pool = WorkPool(inputs)

    def task(first: int, last: int) -> None:
        for unit in units[first:last]:
            lo, hi = int(unit) * UNIT, min((int(unit) + 1) * UNIT, n_pods)
            block, readings = empty_result(hi - lo, inputs), np.empty((hi - lo, n_steps), np.int32)
            pool.run(lo, hi, block, readings)
            a, b = np.searchsorted(rows.place, (lo, hi))
            here = rows.place[a:b] - lo
            np.take(readings, here, axis=0, out=metered[a:b])
            np.take(block.baseline_w, here, axis=0, out=power[a:b])
            np.take(block.status, here, out=status[a:b])
            if progress is not None:
                done[0] += 1
                progress(done[0], len(units))

    try:
        run_chunks(task, len(units), n_threads=n_threads, chunk=1)
    finally:
        pool.close()
    return metered, power, status


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
