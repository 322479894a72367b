"""What changed between two versions of a day's files: told by their marks, then by the readings themselves."""

import hashlib
import os

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.metering.plain_pages import HEADER_BYTES
from flexcore.metering.reading_files import DayFiles, ReadingFile
from flexcore.metering.reading_layout import refuse
from flexcore.metering.reading_rows import RowReader

_BLOCK = 1024  # rows compared at a time
_BLOCKS = 64  # of one task
_TAIL = 8  # length of the footer and the magic word


def fingerprint(day: DayFiles) -> str:
    """Return what tells a day's files from others without reading them: a SHA-256 over the marks of each file.

    Marks are size and time of change, the footer, and the head of each row group's readings, which has the checksum of
    the page. A copy that keeps its time has the fingerprint of its original, wherever it lies.

    Raises
    ------
    FileError
        FX-B065 a file that changed since it was opened.
    """
    digest = hashlib.sha256()
    for file in day.files:
        digest.update(_marks(file))
    return digest.hexdigest()


def _marks(file: ReadingFile) -> bytes:
    digest = hashlib.sha256(repr(file.stamp).encode())
    try:
        with open(file.path, "rb") as opened:
            status = os.fstat(opened.fileno())
            if (status.st_size, status.st_mtime_ns) != file.stamp:
                refuse("FX-B065", f"{file.path} changed after it was opened", ids=[file.path])
            size = file.stamp[0]
            opened.seek(size - _TAIL)
            length = int.from_bytes(opened.read(4), "little")
            opened.seek(max(size - _TAIL - length, 0))
            digest.update(opened.read())
            for begin, length in file.chunk.tolist():
                if begin >= 0:
                    opened.seek(begin)
                    digest.update(opened.read(min(HEADER_BYTES, length)))
    except OSError as error:
        refuse("FX-B065", f"{file.path} cannot be read: {error.strerror}", ids=[file.path])
    return digest.digest()


def changed_rows(
    before: DayFiles, after: DayFiles, rows: npt.NDArray[np.int64], *, n_threads: int = 1
) -> npt.NDArray[np.bool_]:
    """Mark the rows of a day in which some reading differs between two versions of its files.

    Parameters
    ----------
    before, after : DayFiles
        Of one day and the same PODs.
    rows : ndarray of int64
        Rows to compare, ascending; between those that stand together nothing is left out, elsewhere nothing is read.
    n_threads : int

    Returns
    -------
    ndarray of bool, shape (n_pods,)
        False for rows that were not compared.
    """
    changed = np.zeros(after.n_pods, np.bool_)
    edges = np.append(np.flatnonzero(np.diff(rows // _BLOCK, prepend=-1)), len(rows))

    def task(first: int, last: int) -> None:
        old, new = (np.empty((_BLOCK, after.day.n_steps), np.int32) for _ in range(2))
        with RowReader(before) as earlier, RowReader(after) as later:
            for k in range(first, last):
                lo, hi = int(rows[edges[k]]), int(rows[edges[k + 1] - 1]) + 1
                earlier.read(lo, hi, old[: hi - lo])
                later.read(lo, hi, new[: hi - lo])
                differs = old[: hi - lo] != new[: hi - lo]
                if differs.any():
                    changed[lo:hi] = differs.any(axis=1)

    run_chunks(task, len(edges) - 1, n_threads=n_threads, chunk=_BLOCKS)
    return changed
