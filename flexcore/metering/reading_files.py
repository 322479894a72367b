"""Files of readings of a day: written, opened and checked."""

import datetime as dt
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool
from flexcore.errors import FileError, Findings, check_option
from flexcore.market_day import MarketDay
from flexcore.metering.reading_layout import (
    COLUMN,
    GROUP_ROWS,
    LAYOUT,
    MAX_GROUP_ROWS,
    Paths,
    ReadingWriter,
    check_ascending,
    estimated_field,
    key_array,
    published,
    refuse,
)
from flexcore.metering.readings import Bools, as_power_w


def write_readings(
    path: str | os.PathLike[str],
    day: MarketDay,
    pods: Any,
    power_w: npt.ArrayLike,
    *,
    estimated: Bools | None = None,
    replaces: str = "",
    compression: str = "none",
    encoding: str = "PLAIN",
) -> None:
    """Write the readings of one day, or of a range of its PODs, in the layout that `baseline_files` reads fastest.

    Parameters
    ----------
    path : path
        The file appears when it is whole and on disk; an earlier one is replaced at once.
    day : MarketDay
    pods : array_like of int or str, shape (n_pods,)
        Keys, ascending.
    power_w : array_like of int32, shape (n_pods, n_steps)
        Mean power of each quarter-hour, positive = withdrawal; `MISSING_W` where there is no reading. [W]
    estimated : array_like of bool, shape (n_pods, n_steps), optional
        True where the meter operator estimated the value; stored as a list of steps.
    replaces : str
        What the file corrects, for instance the digest of the earlier one; kept in the metadata.
    compression : {"none", "snappy", "gzip", "brotli", "zstd", "lz4"}
    encoding : {"PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"}
        Another pair than the default is read through pyarrow.

    Raises
    ------
    FileError
        FX-B063 keys missing, repeated or not ascending.
    TimeSeriesError
        FX-T002 another number of quarter-hours than the day has.
    ValidationError
        FX-A001, FX-A002, FX-A006 wrong shape, type or range; OptionError FX-E002 an unknown codec or encoding.
    """
    import pyarrow as pa

    check_option("compression", compression, ("none", "snappy", "gzip", "brotli", "zstd", "lz4"))
    check_option("encoding", encoding, ("PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"))
    keys = key_array(pods)
    power = as_power_w(power_w, "power_w", shape=(len(keys), None))
    day.check_steps(power.shape[1], "power_w")
    check_ascending(keys)
    extra = []
    if estimated is not None:
        flags = as_bool(estimated, "estimated", shape=power.shape)
        extra = [estimated_field()]
    with (
        published(path) as temporary,
        ReadingWriter(
            temporary,
            day,
            text_keys=pa.types.is_string(keys.type),
            extra=extra,
            metadata={"replaces": replaces} if replaces else None,
            compression=compression,
            encoding=encoding,
        ) as writer,
    ):
        for lo in range(0, len(keys), GROUP_ROWS):
            hi = min(lo + GROUP_ROWS, len(keys))
            more = {} if estimated is None else {"estimated": [np.flatnonzero(row) for row in flags[lo:hi]]}
            writer.append(keys[lo:hi], power[lo:hi], **more)


@dataclass(frozen=True, slots=True, eq=False)
class ReadingFile:
    """What the footer of one file says, small enough to be sent to a worker.

    Attributes
    ----------
    path : str
    day : MarketDay
    kind : str
    first_row : ndarray of int64, shape (n_groups + 1,)
        First row of each row group, and the number of rows.
    chunk : ndarray of int64, shape (n_groups, 2)
        Where the readings of each row group begin and how many bytes they take; -1 where only pyarrow can read them.
    stamp : (int, int)
        Size and time of change when it was opened: a file that changes meanwhile is refused.
    columns : tuple of str
    """

    path: str
    day: MarketDay
    kind: str
    first_row: npt.NDArray[np.int64]
    chunk: npt.NDArray[np.int64]
    stamp: tuple[int, int]
    columns: tuple[str, ...]

    @property
    def n_pods(self) -> int:
        """Rows of the file."""
        return int(self.first_row[-1])


def open_file(path: str | os.PathLike[str]) -> ReadingFile:
    """Read and check the footer of one file.

    Raises
    ------
    FileError
        FX-B060 not a whole Parquet file, FX-B061 not of the layout.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path)
    try:
        status = os.stat(name)
        with pq.ParquetFile(name) as file:
            schema, footer = file.schema_arrow, file.metadata
    except (OSError, pa.ArrowException, ValueError) as error:
        refuse("FX-B060", f"{name} cannot be read: {_first_line(error)}", ids=[name], hint="write it again")
        raise
    about = {
        key.decode(errors="replace"): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()
    }
    day = _check_layout(name, schema, about)
    stamp = (status.st_size, status.st_mtime_ns)
    n_groups = footer.num_row_groups
    groups = [footer.row_group(g) for g in range(n_groups)]
    if any(group.num_rows > MAX_GROUP_ROWS for group in groups):
        hint = "write it again with smaller row groups"
        refuse("FX-B061", f"{name} has a row group of more than {MAX_GROUP_ROWS} PODs", ids=[name], hint=hint)
    first_row = np.concatenate([np.zeros(1, np.int64), np.cumsum([g.num_rows for g in groups], dtype=np.int64)])
    try:
        chunk = _plain_chunks(groups, footer.num_columns, day.n_steps, status.st_size)
    except (LookupError, ValueError) as error:
        refuse("FX-B060", f"{name} has a footer that contradicts itself: {_first_line(error)}", ids=[name])
        raise
    if first_row[-1] != footer.num_rows or (np.diff(first_row) < 0).any():
        refuse("FX-B060", f"{name} has a footer that contradicts itself", ids=[name])
    return ReadingFile(name, day, about["flexcore.kind"], first_row, chunk, stamp, tuple(schema.names))


def _plain_chunks(groups: list[Any], n_columns: int, n_steps: int, size: int) -> npt.NDArray[np.int64]:
    """Return where the readings of each row group lie, -1 where they cannot be one plain, uncompressed page.

    The codec is told by the sizes, here and in the header of the page: pyarrow's `compression` ends the process where a
    damaged footer names an unknown one.
    """
    chunk = np.full((len(groups), 2), -1, np.int64)
    if not groups:
        return chunk
    leaves = [c for c in range(n_columns) if groups[0].column(c).path_in_schema.startswith(f"{COLUMN}.")]
    if len(leaves) > 1:  # a column of another name begins alike
        return chunk
    for g, group in enumerate(groups):
        column = group.column(leaves[0])
        begin, length = column.data_page_offset, column.total_compressed_size
        plain = (
            length == column.total_uncompressed_size
            and not column.has_dictionary_page
            and set(column.encodings) <= {"PLAIN", "RLE"}
            and column.physical_type == "INT32"
            and column.num_values == group.num_rows * n_steps
        )
        if plain and begin >= 4 and length > 0 and begin + length <= size:
            chunk[g] = begin, length
    return chunk


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_layout(name: str, schema: Any, about: dict[str, str]) -> MarketDay:
    """Return the day of a file, or raise FX-B061 with all that is not as the layout has it."""
    import pyarrow as pa

    found = Findings("reading files")
    hint = "write_readings or import_readings make files of the layout"
    if about.get("flexcore.layout") != LAYOUT:
        version = about.get("flexcore.layout")
        found.add("FX-B061", f"{name} has layout {version}, expected {LAYOUT}", ids=[name], hint=hint)
        found.raise_errors(FileError)
    day = None
    try:
        day = MarketDay(dt.date.fromisoformat(about["flexcore.date"]), about["flexcore.tz"])
        if int(about["flexcore.n_steps"]) != day.n_steps:
            found.add(
                "FX-B062",
                f"{name} has {about['flexcore.n_steps']} quarter-hours, {day.date} ({day.tz}) has {day.n_steps}",
                ids=[name],
            )
    except (KeyError, ValueError) as error:
        found.add("FX-B061", f"{name} does not say its day: {_first_line(error)}", ids=[name], hint=hint)
    about.setdefault("flexcore.kind", "readings")
    if len(set(schema.names)) < len(schema.names):
        found.add("FX-B061", f"{name} has two columns of one name: {schema.names}", ids=[name], hint=hint)
    kinds = {field.name: field.type for field in schema}
    key, power = kinds.get("pod"), kinds.get(COLUMN)
    if key is None or not (pa.types.is_int64(key) or pa.types.is_string(key)):
        found.add("FX-B061", f"{name}: pod is {key}, expected int64 or text", field="pod", ids=[name])
    lists = power is not None and (pa.types.is_fixed_size_list(power) or pa.types.is_list(power))
    if power is None or not lists or not pa.types.is_int32(power.value_type):
        found.add("FX-B061", f"{name}: {COLUMN} is {power}, expected a list of int32", field=COLUMN, ids=[name])
    elif day is not None and pa.types.is_fixed_size_list(power) and power.list_size != day.n_steps:
        found.add(
            "FX-B062",
            f"{name} has rows of {power.list_size} quarter-hours, {day.date} ({day.tz}) has {day.n_steps}",
            field=COLUMN,
            ids=[name],
        )
    found.raise_errors(FileError)
    assert day is not None
    return day


@dataclass(frozen=True, slots=True, eq=False)
class DayFiles:
    """One day in one file, or in several that each hold a range of the PODs; rows run through all of them.

    Attributes
    ----------
    files : tuple of ReadingFile
    day : MarketDay
    n_pods : int
    """

    files: tuple[ReadingFile, ...]
    day: MarketDay = field(init=False)
    n_pods: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "day", self.files[0].day)
        object.__setattr__(self, "n_pods", sum(file.n_pods for file in self.files))

    def check_rows(self, lo: int, hi: int) -> None:
        """Raise ValidationError FX-A006 unless rows lo..hi exist."""
        if not 0 <= lo <= hi <= self.n_pods:
            found = Findings("rows")
            found.add("FX-A006", f"rows {lo}..{hi} of a day of {self.n_pods} PODs do not exist")
            found.raise_errors()

    def pods(self, lo: int = 0, hi: int | None = None) -> Any:
        """Return the keys of rows lo..hi as an Arrow array."""
        return self.column("pod", lo, hi)

    def column(self, name: str, lo: int = 0, hi: int | None = None) -> Any:
        """Return a column of rows lo..hi as an Arrow array.

        Raises
        ------
        FileError
            FX-B065 where a file changed since it was opened, FX-B061 where it has no such column.
        ValidationError
            FX-A006 rows that the day does not have.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        hi = self.n_pods if hi is None else hi
        self.check_rows(lo, hi)
        lacking = [file.path for file in self.files if name not in file.columns]
        if lacking:
            refuse("FX-B061", f"{len(lacking)} files have no column {name!r}", field=name, ids=lacking)
        parts, first = [], 0
        for file in self.files:
            a, b = max(lo - first, 0), min(hi - first, file.n_pods)
            first += file.n_pods
            if a >= b:
                continue
            groups = range(
                int(np.searchsorted(file.first_row, a, "right")) - 1, int(np.searchsorted(file.first_row, b, "left"))
            )
            try:
                with pq.ParquetFile(file.path) as opened:
                    read = opened.read_row_groups(list(groups), columns=[name], use_threads=False)
            except (OSError, pa.ArrowException, ValueError) as error:
                refuse("FX-B065", f"{file.path} cannot be read: {_first_line(error)}", ids=[file.path])
            start = a - int(file.first_row[groups[0]])
            column = read.column(name).combine_chunks()
            if len(column) < start + b - a:
                refuse("FX-B065", f"{file.path} holds fewer rows than its footer says", ids=[file.path])
            parts.append(column[start : start + b - a])
        return pa.concat_arrays(parts) if parts else pa.array([], pa.int64())


def open_day(source: Paths, day: MarketDay | None = None) -> DayFiles:
    """Open the files of one day: a path, a folder of `*.parquet`, or paths in the order of the keys.

    Raises
    ------
    FileError
        FX-B060, FX-B061 as `open_file`; FX-B062 files of different days, or of another than `day`; FX-B067 no file.
    """
    paths: list[Path]
    if isinstance(source, str | os.PathLike):
        given = Path(source)
        paths = sorted(given.glob("*.parquet")) if given.is_dir() else [given]
    else:
        paths = [Path(path) for path in source]
    if not paths:
        refuse("FX-B067", f"{source} holds no Parquet file", ids=[str(source)])
    files = tuple(open_file(path) for path in paths)
    wanted = files[0].day if day is None else day
    strange = [file.path for file in files if file.day != wanted]
    if strange:
        refuse("FX-B062", f"{len(strange)} files are not of {wanted.date} ({wanted.tz})", ids=strange)
    return DayFiles(files)
