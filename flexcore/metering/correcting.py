"""Corrects files of readings: a day written again as a new file that names the earlier ones."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.errors import Findings
from flexcore.metering.reading_files import DayFiles, open_day
from flexcore.metering.reading_layout import GROUP_ROWS, Paths, ReadingWriter, estimated_field, published, refuse
from flexcore.metering.reading_rows import RowReader
from flexcore.tables.check import check


def correct_readings(path: str | os.PathLike[str], source: Paths, corrections: Any, *, reason: str = "") -> int:
    """Write a day again with some readings replaced; the earlier files stay as they are.

    Parameters
    ----------
    path : path
        New file, whose metadata name the earlier ones and the reason.
    source : paths
        The day as it is (`open_day`).
    corrections : table
        Columns of the table `corrections`: POD, absolute quarter-hour, power.
    reason : str

    Returns
    -------
    int
        Number of readings that differ from the earlier ones.

    Raises
    ------
    FileError
        As `open_day`; FX-B066 `path` is one of the earlier files.
    ValidationError
        FX-B001 a quarter-hour corrected twice, FX-B003 a POD that the day does not have, FX-T003 another day.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    files = open_day(source)
    if Path(path).resolve() in [Path(file.path).resolve() for file in files.files]:
        refuse("FX-B066", f"{path} is what is corrected, and stays as it is", ids=[str(path)], hint="name a new file")
    day = files.day
    columns = check("corrections", corrections)
    pods, keys = files.pods(), columns["pod"]
    found = Findings("corrections", len(keys))
    row = np.full(len(keys), -1, np.int64)
    if len(keys) and (keys.dtype.kind == "U") == pa.types.is_string(pods.type):
        named = pa.array(keys.tolist() if keys.dtype.kind == "U" else keys)
        row = np.asarray(pc.index_in(named, value_set=pods).fill_null(-1), np.int64)
    step = columns["qh"] - day.first_qh
    unknown, outside = np.flatnonzero(row < 0), np.flatnonzero((step < 0) | (step >= day.n_steps))
    if unknown.size:
        found.add("FX-B003", f"{unknown.size} rows name PODs that {day.date} lacks", rows=unknown, ids=keys[unknown])
    if outside.size:
        found.add("FX-T003", f"{outside.size} rows lie outside {day.date} ({day.tz})", rows=outside)
    found.raise_errors()
    order = np.lexsort((step, row))
    twice = np.flatnonzero((np.diff(row[order]) == 0) & (np.diff(step[order]) == 0)) + 1
    if twice.size:
        found.add("FX-B001", f"{twice.size} readings are corrected twice", rows=order[twice], ids=keys[order[twice]])
        found.raise_errors()
    row, step, power = row[order], step[order], columns["power_w"][order]
    flagged = any("estimated" in file.columns for file in files.files)
    about = {"replaces": "; ".join(file.path for file in files.files), "reason": reason}
    changed = 0
    with (
        published(path) as temporary,
        ReadingWriter(
            temporary,
            day,
            text_keys=pa.types.is_string(pods.type),
            extra=[estimated_field()] if flagged else [],
            metadata=about,
        ) as writer,
        RowReader(files) as reader,
    ):
        for lo in range(0, files.n_pods, GROUP_ROWS):
            hi = min(lo + GROUP_ROWS, files.n_pods)
            block = np.empty((hi - lo, day.n_steps), np.int32)
            reader.read(lo, hi, block)
            a, b = np.searchsorted(row, (lo, hi))
            place = row[a:b] - lo, step[a:b]
            changed += int((block[place] != power[a:b]).sum())
            block[place] = power[a:b]
            more: dict[str, Any] = {}
            if flagged:  # a reading that came in place of an estimate is none
                flags = _estimates(files, lo, hi)
                for k, t in zip(*place, strict=True):
                    flags[k] = [step for step in flags[k] if step != t]
                more = {"estimated": flags}
            writer.append(pods[lo:hi], block, **more)
    return changed


def _estimates(files: DayFiles, lo: int, hi: int) -> list[list[int]]:
    """Return the steps of rows lo..hi that are marked as estimated: none in a file that has no such column."""
    found: list[list[int]] = []
    first = 0
    for file in files.files:
        a, b = max(lo - first, 0), min(hi - first, file.n_pods)
        if a < b and "estimated" in file.columns:
            found += [steps or [] for steps in DayFiles((file,)).column("estimated", a, b).to_pylist()]
        elif a < b:
            found += [[] for _ in range(a, b)]
        first += file.n_pods
    return found
