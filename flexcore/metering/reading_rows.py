"""Reads rows of a day's files into an array: straight from the file where it is plain, through pyarrow where not."""

import os
from bisect import bisect_right
from itertools import accumulate
from typing import Any

import numpy as np

from flexcore.arrays import output
from flexcore.metering.plain_pages import HEADER_BYTES, expected_levels, page_values
from flexcore.metering.reading_files import DayFiles
from flexcore.metering.reading_layout import refuse, zeros_file
from flexcore.metering.readings import MISSING_W, Int32s

_UNKNOWN, _DECODE = -2, -1


class RowReader:
    """Open files of one day; for one thread at a time.

    Parameters
    ----------
    day : DayFiles
    verify : bool
        Check page checksums: everything then goes through pyarrow, which takes several times as long.
    """

    def __init__(self, day: DayFiles, *, verify: bool = False) -> None:
        self._day = day
        self._verify = verify
        self._handles: dict[int, int] = {}
        # where the values of each row group begin in the file; found out when first needed
        self._values = [np.full(len(file.chunk), _UNKNOWN, np.int64) for file in day.files]
        self._first = list(accumulate((file.n_pods for file in day.files), initial=0))
        self._groups = [file.first_row.tolist() for file in day.files]
        self._decoded: tuple[int, int, Int32s] | None = None

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def read(self, lo: int, hi: int, out: Int32s) -> None:
        """Write rows lo..hi to `out`, a C-ordered array of int32 of shape (hi - lo, n_steps).

        Raises
        ------
        FileError
            FX-B065 where a file changed since it was opened or its content contradicts its footer.
        ValidationError
            FX-A005 `out` does not fit; FX-A006 rows that the day does not have.
        """
        self._day.check_rows(lo, hi)
        output(out, "out", shape=(hi - lo, self._day.day.n_steps), dtype=np.int32)
        row = lo
        while row < hi:
            f = bisect_right(self._first, row) - 1
            first_row = self._groups[f]
            inside = row - self._first[f]
            g = bisect_right(first_row, inside) - 1
            begin = inside - first_row[g]
            n = min(hi - row, first_row[g + 1] - inside)
            target = out[row - lo : row - lo + n]
            values = self._values[f][g]
            if values == _UNKNOWN:
                values = self._values[f][g] = self._locate(f, g)
            if values == _DECODE:
                self._decode(f, g, begin, target)
            else:
                self._read_bytes(f, int(values) + begin * target.shape[1] * 4, target)
            row += n

    def _handle(self, f: int) -> int:
        if f not in self._handles:
            file = self._day.files[f]
            try:
                handle = os.open(file.path, os.O_RDONLY)
            except OSError as error:
                refuse("FX-B065", f"{file.path} cannot be opened: {error.strerror}", ids=[file.path])
                raise
            self._handles[f] = handle
            status = os.fstat(handle)
            if (status.st_size, status.st_mtime_ns) != file.stamp:
                refuse("FX-B065", f"{file.path} changed after it was opened", ids=[file.path])
        return self._handles[f]

    def _read_bytes(self, f: int, offset: int, target: Any) -> None:
        view = memoryview(target).cast("B")
        handle = self._handle(f)
        done = 0
        while done < len(view):
            n = os.preadv(handle, [view[done:]], offset + done)
            if not n:
                path = self._day.files[f].path
                refuse("FX-B065", f"{path} ends before its last reading", ids=[path])
            done += n

    def _locate(self, f: int, g: int) -> int:
        file = self._day.files[f]
        self._handle(f)
        begin, length = (int(number) for number in file.chunk[g])
        if begin < 0 or self._verify:
            return _DECODE
        n_rows = int(file.first_row[g + 1] - file.first_row[g])
        n_steps = file.day.n_steps
        head = bytearray(min(HEADER_BYTES, length))
        self._read_bytes(f, begin, head)
        found = page_values(bytes(head), length, n_rows * n_steps)
        if found is None:
            return _DECODE
        wanted = expected_levels(n_rows, n_steps, zeros_file)
        if found[1] - found[0] != len(wanted):
            return _DECODE
        levels = bytearray(len(wanted))
        self._read_bytes(f, begin + found[0], levels)
        return begin + found[1] if levels == wanted else _DECODE

    def _decode(self, f: int, g: int, begin: int, target: Int32s) -> None:
        if self._decoded is None or self._decoded[:2] != (f, g):
            self._decoded = (f, g, self._group(f, g))
        target[:] = self._decoded[2][begin : begin + len(target)]

    def _group(self, f: int, g: int) -> Int32s:
        """Read one row group through pyarrow; nulls become `MISSING_W`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._day.files[f]
        n_rows = int(file.first_row[g + 1] - file.first_row[g])
        shape = (n_rows, file.day.n_steps)
        try:
            with pq.ParquetFile(file.path, page_checksum_verification=self._verify) as opened:
                column = opened.read_row_group(g, columns=["power_w"], use_threads=False).column("power_w")
        except (OSError, pa.ArrowException, ValueError) as error:
            message = (str(error).splitlines() or [""])[0]
            refuse("FX-B065", f"row group {g} of {file.path} cannot be read: {message}", ids=[file.path])
            raise
        whole = column.combine_chunks()
        if len(whole) != n_rows:
            refuse("FX-B065", f"row group {g} of {file.path} lacks rows", ids=[file.path])
        return power_rows(whole, shape[1], file.path, first=int(file.first_row[g]))


def power_rows(column: Any, n_steps: int, name: str, *, first: int = 0) -> Int32s:
    """Return an Arrow array of lists as an array of shape (n, n_steps); null readings become `MISSING_W`.

    Raises
    ------
    FileError
        FX-B061 it holds no lists of int32, FX-B062 a row is null or of another length; rows count from `first`.
    """
    import pyarrow as pa

    kind = column.type
    ragged = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (pa.types.is_fixed_size_list(kind) or ragged) or not pa.types.is_int32(kind.value_type):
        refuse("FX-B061", f"power_w of {name} is {kind}, expected a list of int32", field="power_w", ids=[name])
    if column.null_count:
        bad = np.flatnonzero(np.asarray(column.is_null()))
    elif ragged:
        bad = np.flatnonzero(np.diff(np.asarray(column.offsets)) != n_steps)
    else:
        bad = np.arange(len(column) if kind.list_size != n_steps else 0)
    if bad.size:
        message = f"{bad.size} rows of {name} have another number of quarter-hours than {n_steps}"
        refuse("FX-B062", message, rows=bad + first, ids=[name])
    values = column.flatten()
    if values.null_count:
        values = values.fill_null(MISSING_W)
    return np.asarray(values, np.int32).reshape(len(column), n_steps)
