"""Makes files of the layout from other sources: rows of any Arrow stream or Parquet file."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.errors import Finding, Findings, TimeSeriesError, ValidationError, check_option
from flexcore.market_day import MarketDay
from flexcore.metering.reading_layout import GROUP_ROWS, ReadingWriter, key_array, published, refuse
from flexcore.metering.readings import Int32s, collect_readings
from flexcore.units import kw_to_w

_BATCH_ROWS = 1 << 19


def _batches(source: Any) -> Iterator[Any]:
    """Give the tables of a Parquet file, several of them, or anything that speaks the Arrow stream protocol."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(source, Mapping):
        source = pa.table(dict(source))
    if hasattr(source, "__arrow_c_stream__"):
        for batch in pa.RecordBatchReader.from_stream(source):
            yield pa.Table.from_batches([batch])
        return
    for path in [source] if isinstance(source, str | os.PathLike) else source:
        if isinstance(path, pa.RecordBatch):
            yield pa.Table.from_batches([path])
            continue
        try:
            with pq.ParquetFile(os.fspath(path)) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                    yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            message = (str(error).splitlines() or [""])[0]
            hint = "paths are Parquet files; give other data, such as CSV, as a table: pyarrow.csv.open_csv(path)"
            refuse("FX-B060", f"{os.fspath(path)} cannot be read: {message}", ids=[os.fspath(path)], hint=hint)


class _Groups:
    """Collects rows until they fill row groups."""

    def __init__(self, writer: ReadingWriter) -> None:
        self._writer = writer
        self._pods: list[Any] = []
        self._power: list[Int32s] = []
        self._n = 0

    def add(self, pods: Any, power: Int32s) -> None:
        self._pods.append(pods)
        self._power.append(power)
        self._n += len(pods)
        if self._n >= GROUP_ROWS:
            self.write(self._n // GROUP_ROWS * GROUP_ROWS)

    def write(self, n: int) -> None:
        import pyarrow as pa

        if not self._n:
            return
        pods, power = pa.concat_arrays(self._pods), np.concatenate(self._power)
        for lo in range(0, n, GROUP_ROWS):
            hi = min(lo + GROUP_ROWS, n)
            self._writer.append(pods[lo:hi], power[lo:hi])
        self._pods, self._power, self._n = [pods[n:]], [power[n:]], self._n - n

    def end(self) -> None:
        self.write(self._n)


def import_readings(
    path: str | os.PathLike[str],
    source: Any,
    day: MarketDay,
    *,
    gaps: Literal["refuse", "flag"] = "refuse",
    pods: Any = None,
) -> int:
    """Write one day of readings that come one per row, grouped by POD, as a file of the layout.

    Parameters
    ----------
    path : path
        File to write (`write_readings`).
    source : path or sequence of paths (Parquet), mapping of columns, or object with the Arrow stream protocol
        Such as a data frame of pandas or polars. Columns `pod` (whole numbers or text, ascending), `time` (timestamps
        with a zone or unix seconds, the start of the quarter-hour) and either `power_w` (whole numbers) or `power_kw`
        (rounded to watts by `units.kw_to_w`); null where there is no reading. Others are left aside. Read in batches:
        memory does not grow with the day.
    day : MarketDay
        Rows of other days are refused.
    gaps : {"refuse", "flag"}
        As in `collect_readings`.
    pods : array_like, optional
        Keys of the PODs that the day must have, in any order; those of the rows if not given. One without rows lacks
        the whole day: with gaps="flag" it is written all the same, as files of several days hold the same PODs.

    Returns
    -------
    int
        Number of PODs.

    Raises
    ------
    FileError
        FX-B060 a source that cannot be read, FX-B068 rows of a POD that do not stand together or PODs out of order.
    ValidationError
        FX-A002 and FX-A003 a power_kw that is no number or not finite, FX-A007 a column is missing, FX-A008 power in
        both units; what `collect_readings` raises.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_option("gaps", gaps, ("refuse", "flag"))
    expected = None if pods is None else _ascending(pods)
    n_pods = n_rows = 0
    rest: Any = None
    last: Any = None
    writer: ReadingWriter | None = None
    groups: _Groups | None = None
    with published(path) as temporary:
        try:
            for batch in _chain(_batches(source)):
                if batch is not None:
                    table = _three_columns(batch)
                    rest = table if rest is None else _behind(rest, table)
                    whole, rest = _split(rest)
                else:
                    whole = rest
                if whole is None or not whole.num_rows:
                    continue
                keys, power = _collect(whole, day, gaps, last, expected, n_rows, n_pods)
                last = keys[-1]
                n_rows += whole.num_rows
                if writer is None or groups is None:
                    writer = ReadingWriter(temporary, day, text_keys=pa.types.is_string(keys.type))
                    groups = _Groups(writer)
                groups.add(keys, power)
                n_pods += len(keys)
            text = expected is not None and pa.types.is_string(expected.type)
            if writer is None or groups is None:
                writer = ReadingWriter(temporary, day, text_keys=text)
                groups = _Groups(writer)
            left = expected if last is None or expected is None else expected.filter(pc.greater(expected, last))
            if left is not None and len(left):
                with _counted(np.zeros(0, np.int64), n_pods):
                    none = collect_readings([], [], [], pods=left.to_pylist(), day=day, gaps=gaps)
                groups.add(left, none.metered_w)
                n_pods += len(left)
            groups.end()
        finally:
            if writer is not None:
                writer.close()
    return n_pods


def _ascending(pods: Any) -> Any:
    """Return keys in order, or refuse those that are named twice."""
    keys = key_array(pods)
    _, group, n = np.unique(np.array(keys.to_pylist()), return_inverse=True, return_counts=True)
    rows = np.flatnonzero(n[group] > 1)
    if rows.size:
        found = Findings("pods", len(keys))
        message = f"pods names {rows.size} PODs more than once"
        found.add("FX-A009", message, field="pods", rows=rows, ids=keys.take(rows).to_pylist())
        found.raise_errors(TimeSeriesError)
    return keys.sort()


def _chain(batches: Iterator[Any]) -> Iterator[Any]:
    """Give the batches, and None when there are no more."""
    yield from batches
    yield None


def _three_columns(batch: Any) -> Any:
    found = Findings("readings")
    given = batch.column_names
    power = "power_kw" if "power_kw" in given and "power_w" not in given else "power_w"
    names = ("pod", "time", power)
    for name in names:
        if (n := given.count(name)) == 0:
            more = ", and power_kw neither" if name == "power_w" else ""
            hint = f"columns are {', '.join(given)}; rename yours to pod, time and power_w or power_kw"
            found.add("FX-A007", f"column {name!r} is missing{more}", field=name, hint=hint)
        elif n > 1:
            found.add("FX-A007", f"{n} columns are named {name!r}", field=name)
    if {"power_w", "power_kw"} <= set(given):
        found.add("FX-A008", "power_w and power_kw are both given", field="power_kw", hint="drop one of them")
    found.raise_errors(ValidationError)
    table = batch.select(names)
    # one type of key, whichever of its many forms each batch has: few of them can be cut and compared
    return table.set_column(0, "pod", key_array(table.column("pod")))


def _behind(rest: Any, table: Any) -> Any:
    """Put a batch behind the rows that are left of those before."""
    import pyarrow as pa

    if rest.column_names != table.column_names:
        found = Findings("readings")
        message = "power_w and power_kw are both given, in different files or batches"
        found.add("FX-A008", message, field="power_kw", hint="give all of a day in one of them")
        found.raise_errors(ValidationError)
    try:
        return pa.concat_tables([rest, table], promote_options="permissive")
    except pa.ArrowException as error:
        found = Findings("readings")
        message = (str(error).splitlines() or [""])[0]
        found.add("FX-A002", f"columns change their type from one file or batch to the next: {message}")
        found.raise_errors()
        raise


def _split(table: Any) -> tuple[Any, Any]:
    """Split before the last POD, whose rows may go on in the next batch."""
    import pyarrow.compute as pc

    pods = table.column("pod")
    if not table.num_rows or pods.null_count:
        return table, None
    same = np.asarray(pc.equal(pods, pods[-1]))
    others = np.flatnonzero(~same)
    edge = int(others[-1]) + 1 if others.size else 0
    return table.slice(0, edge), table.slice(edge)


def _collect(
    table: Any,
    day: MarketDay,
    gaps: Literal["refuse", "flag"],
    last: Any,
    expected: Any,
    first_row: int,
    first_pod: int,
) -> tuple[Any, Int32s]:
    """Return keys and readings of the PODs of some rows, each POD's rows together and after POD `last`.

    Of the PODs that are expected those up to the last one of the rows. Errors count rows and PODs from the start of
    the source, as `first_row` and `first_pod` do.
    """
    import pyarrow.compute as pc

    table = table.combine_chunks()
    keys = _flat(table.column("pod"))
    if keys.null_count:
        found = Findings("readings")
        rows = np.flatnonzero(np.asarray(keys.is_null()))
        found.add("FX-A010", f"pod is missing in {rows.size} rows", field="pod", rows=rows + first_row)
        found.raise_errors()
    starts = np.flatnonzero(np.concatenate([[True], np.asarray(pc.not_equal(keys[1:], keys[:-1]))]))
    pods = keys.take(starts)
    late = np.flatnonzero(~np.asarray(pc.less(pods[:-1], pods[1:]))) + 1
    if last is not None and not pc.less(last, pods[0]).as_py():
        late = np.concatenate([np.zeros(1, np.int64), late])
    if late.size:
        message = f"rows of {late.size} PODs do not stand together, or their PODs not in order"
        refuse(
            "FX-B068",
            message,
            rows=starts[late] + first_row,
            ids=pods.take(late).to_pylist(),
            hint="sort the rows of the day by pod and time",
        )
    if expected is not None:
        wanted = expected[:0]  # numbers never meet text
        if expected.type == pods.type:
            upto = pc.less_equal(expected, pods[-1])
            wanted = expected.filter(upto if last is None else pc.and_(upto, pc.greater(expected, last)))
        _refuse_strange(keys, pods, wanted, first_row)
        pods = wanted
    there = np.flatnonzero(np.asarray(pc.is_valid(table.column(2))))
    known = table if there.size == table.num_rows else table.take(there)
    pod = _flat(known.column("pod"))
    with _counted(there + first_row, first_pod):
        readings = collect_readings(
            np.asarray(pod.to_pylist()) if pod.type != "int64" else np.asarray(pod),
            _flat(known.column("time")),
            _watts(_flat(known.column(2)), known.column_names[2]),
            pods=pods.to_pylist(),
            day=day,
            gaps=gaps,
        )
    return pods, readings.metered_w


def _watts(power: Any, name: str) -> npt.NDArray[Any]:
    """Return power in watts, not yet checked where it came in watts."""
    import pyarrow as pa

    if name == "power_w":
        return np.asarray(power)
    if pa.types.is_decimal(power.type) or pa.types.is_null(power.type):
        power = power.cast(pa.float64())
    return kw_to_w(as_float(np.asarray(power), name))


def _refuse_strange(keys: Any, pods: Any, wanted: Any, first_row: int) -> None:
    """Raise FX-B003 for PODs that are not wanted, also where all that they have is rows without a reading."""
    import pyarrow.compute as pc

    there = pc.is_in(pods, value_set=wanted) if wanted.type == pods.type else pc.is_null(pods)
    strange = pods.filter(pc.invert(there))
    if len(strange):
        found = Findings("readings")
        rows = np.flatnonzero(np.asarray(pc.is_in(keys, value_set=strange)))
        message = f"{rows.size} rows of {len(strange)} PODs that are not listed"
        found.add("FX-B003", message, field="pod", rows=rows + first_row, ids=keys.take(rows).to_pylist())
        found.raise_errors(TimeSeriesError)


@contextmanager
def _counted(place: npt.NDArray[np.int64], first_pod: int) -> Iterator[None]:
    """Let errors name rows of the source, where row k stands at `place[k]`, and gaps the places of their PODs."""

    def moved(finding: Finding) -> Finding:
        places = place if finding.code != "FX-B002" else np.arange(first_pod, first_pod + 1 + max(finding.rows))
        return replace(finding, rows=tuple(int(places[row]) for row in finding.rows))

    try:
        yield
    except ValidationError as error:
        raise type(error)([moved(one) for one in error.findings]) from None


def _flat(column: Any) -> Any:
    import pyarrow as pa

    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
