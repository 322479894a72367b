"""The layout of day files: one row for each POD, in the order of the keys; written whole or not at all."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.arrays import as_keys
from flexcore.errors import FileError, Findings
from flexcore.market_day import MarketDay
from flexcore.metering.readings import MISSING_W, Int32s

#: Version of the layout, in the metadata of each file.
LAYOUT = "1"
#: PODs of one row group: 3 MB of readings, small beside memory and long beside a page header.
GROUP_ROWS = 8192
#: PODs of the largest row group that is read: 50 MB of readings, so that a foreign file does not take all memory.
MAX_GROUP_ROWS = 1 << 17
_PAGE_BYTES = 1 << 30  # one page for each row group
COLUMN = "power_w"

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def refuse(code: str, message: str, **details: Any) -> None:
    """Raise FileError with one finding."""
    found = Findings("reading files")
    found.add(code, message, **details)
    found.raise_errors(FileError)


def layout_schema(
    n_steps: int, *, text_keys: bool = False, extra: Sequence[Any] = (), metadata: Mapping[str, str] | None = None
) -> Any:
    """Return the Arrow schema of the layout: `pod`, `power_w` and what a kind of file adds."""
    import pyarrow as pa

    power = pa.list_(pa.field("item", pa.int32(), nullable=False), n_steps)
    meaning = {
        "unit": "W",
        "sign": "positive = withdrawal",
        "meaning": "mean power of each quarter-hour of the local day, from its first",
        "missing": str(MISSING_W),
    }
    key = pa.string() if text_keys else pa.int64()
    fields = [
        pa.field("pod", key, nullable=False, metadata={"meaning": "key of the POD, ascending"}),
        pa.field(COLUMN, power, nullable=False, metadata=meaning),
        *extra,
    ]
    return pa.schema(fields, metadata=metadata)


def estimated_field() -> Any:
    """Return the optional column that lists the estimated steps of each row."""
    import pyarrow as pa

    meaning = {"meaning": "steps that the meter operator estimated"}
    return pa.field("estimated", pa.list_(pa.int16()), nullable=False, metadata=meaning)


def _writer(target: Any, schema: Any, compression: str, encoding: str) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        target,
        schema,
        compression=compression,
        use_dictionary=False,
        column_encoding={"pod": "PLAIN", f"{COLUMN}.list.element": encoding},
        write_statistics=["pod"],
        write_page_checksum=True,
        data_page_size=_PAGE_BYTES,
        data_page_version="1.0",
        store_schema=True,
    )


def power_array(power: Int32s) -> Any:
    """Return readings as an Arrow array of lists, without a copy."""
    import pyarrow as pa

    flat = pa.Array.from_buffers(pa.int32(), power.size, [None, pa.py_buffer(power)])
    kind = pa.list_(pa.field("item", pa.int32(), nullable=False), power.shape[1])
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def zeros_file(n_rows: int, n_steps: int) -> bytes:
    """Return a file of the layout with one row group of zeros, to compare levels with."""
    import pyarrow as pa

    schema = layout_schema(n_steps)
    target = io.BytesIO()
    with _writer(target, schema, "none", "PLAIN") as writer:
        arrays = [pa.array(np.arange(n_rows)), power_array(np.zeros((n_rows, n_steps), np.int32))]
        writer.write_table(pa.table(arrays, schema=schema), row_group_size=n_rows)
    return target.getvalue()


@contextmanager
def published(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well the file is synced and takes its name.

    Whatever goes wrong, Ctrl-C included, nothing is left and an earlier file of that name stays as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until the file or the folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ReadingWriter:
    """Writes one file of the layout in blocks of PODs; used by `write_readings` and by streams.

    Parameters
    ----------
    path : path
        A temporary name (`published`).
    day : MarketDay
    text_keys : bool
    kind : str
        What the power is: "readings" or "baseline".
    extra : sequence of pyarrow.Field
        Further columns, given to `append` by name.
    metadata : mapping of str to str, optional
    compression, encoding : str
        Of the readings: other pairs are smaller and slower to read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        day: MarketDay,
        *,
        text_keys: bool = False,
        kind: str = "readings",
        extra: Sequence[Any] = (),
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
        encoding: str = "PLAIN",
    ) -> None:
        own = {"layout": LAYOUT, "kind": kind, "date": day.date.isoformat(), "tz": day.tz, "n_steps": str(day.n_steps)}
        named = {f"flexcore.{key}": value for key, value in {**own, **(metadata or {})}.items()}
        self.day = day
        self.schema = layout_schema(day.n_steps, text_keys=text_keys, extra=extra, metadata=named)
        self._last: Any = None
        self._writer = _writer(os.fspath(path), self.schema, compression, encoding)

    def append(self, pods: Any, power_w: Int32s, **extra: Any) -> None:
        """Add PODs behind those that came before; blocks of `GROUP_ROWS` make whole row groups."""
        import pyarrow as pa

        if not len(pods):
            return
        check_ascending(pods, self._last)
        self._last = pods[-1]
        arrays = [pods, power_array(power_w), *(pa.array(extra[f.name], f.type) for f in list(self.schema)[2:])]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema), row_group_size=GROUP_ROWS)

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def __enter__(self) -> "ReadingWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_ascending(pods: Any, before: Any = None) -> None:
    """Raise FX-B063 unless keys ascend strictly and follow `before`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bad = np.zeros(0, np.int64)
    if pods.null_count:
        bad = np.flatnonzero(np.asarray(pods.is_null()))
    elif len(pods) > 1:
        bad = np.flatnonzero(~np.asarray(pc.less(pods[:-1], pods[1:]))) + 1
    if before is not None and not bad.size and not pc.less(before, pods[0]).as_py():
        bad = np.zeros(1, np.int64)
    if bad.size:
        refuse(
            "FX-B063",
            f"the keys of {bad.size} PODs are missing or do not follow the one before",
            field="pod",
            rows=bad,
            ids=pods.take(pa.array(bad)).to_pylist(),
            hint="sort the PODs by key, each once",
        )


def key_array(pods: Any) -> Any:
    """Return keys as one Arrow array of int64 or text."""
    import pyarrow as pa

    if isinstance(pods, pa.ChunkedArray):
        pods = pods.combine_chunks()
    if isinstance(pods, pa.DictionaryArray):
        return key_array(pods.dictionary).take(pods.indices)  # not decoded by pyarrow for every type of text
    if isinstance(pods, pa.Array):
        kinds = pa.types
        text = kinds.is_string(pods.type) or kinds.is_large_string(pods.type) or kinds.is_string_view(pods.type)
        if text or pa.types.is_integer(pods.type):
            try:
                return pods.cast(pa.string() if text else pa.int64())
            except pa.ArrowInvalid as error:
                found = Findings("pods", len(pods))
                found.add("FX-A006", f"a key does not fit 64 bits with a sign: {error}", field="pods")
                found.raise_errors()
        pods = pods.to_pylist()
    keys = as_keys(pods, "pods")
    return pa.array(keys.tolist(), pa.string()) if keys.dtype.kind in "UO" else pa.array(keys.astype(np.int64))
