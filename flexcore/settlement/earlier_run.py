"""What a run keeps of its inputs, and what a correction takes over from the run that it cites."""

import datetime as dt
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flexcore import __version__
from flexcore.errors import FileError, Findings
from flexcore.market_day import MarketDay
from flexcore.metering.calendar import Calendar
from flexcore.metering.reading_changes import changed_rows, fingerprint
from flexcore.metering.reading_files import DayFiles, open_day
from flexcore.metering.reading_layout import published, refuse
from flexcore.metering.stream_arguments import reads_history
from flexcore.metering.stream_inputs import StreamInputs
from flexcore.settlement.ordered import Ordered, Places
from flexcore.settlement.result import Int64s

#: Reading and baseline of each order, and status of each row, as plain numbers behind one another.
ORDERED = "ordered.bin"


@dataclass(frozen=True, slots=True, eq=False)
class RunInputs:
    """All that decides reading and baseline of each order.

    Attributes
    ----------
    arguments : str
        SHA-256 of everything but the readings: rule, days, keys, ordered quarter-hours, masks, version of flexcore.
    days : tuple of DayFiles
        What is read, nominated baselines included.
    marks : tuple of str
        `fingerprint` of each of them.
    """

    arguments: str
    days: tuple[DayFiles, ...]
    marks: tuple[str, ...]

    def kept(self, folder: Path, ordered: Ordered) -> dict[str, Any]:
        """Write what a correction may take over to `folder`, and return what the manifest says of it."""
        for day in self.days:
            fingerprint(day)  # refuses a file that changed meanwhile
        with published(folder / ORDERED) as temporary:
            ordered.write(temporary)
        days = [
            {"files": [os.path.abspath(file.path) for file in day.files], "fingerprint": mark}
            for day, mark in zip(self.days, self.marks, strict=True)
        ]
        return {"arguments": self.arguments, "days": days, "ordered": _seal(self.arguments, self.marks, ordered)}


def _seal(arguments: str, marks: Sequence[str], ordered: Ordered) -> str:
    """Bind numbers to the inputs that they follow from."""
    digest = hashlib.sha256(repr((arguments, tuple(marks))).encode())
    for array in ordered:
        digest.update(array.data)
    return digest.hexdigest()


def run_inputs(inputs: StreamInputs, pods: Any, places: Places) -> RunInputs:
    """Describe the inputs of a run."""
    past = [day.day for day in inputs.history]
    days = [*past, inputs.today.day]
    digest = hashlib.sha256(f"flexcore {__version__}".encode())
    keys = np.asarray(pods) if str(pods.type) == "int64" else json.dumps(pods.to_pylist())
    masks = (inputs.event, inputs.eligible, inputs.excluded, inputs.today_excluded)
    for value in (
        days, keys, inputs.rule, masks, inputs.reference_days, inputs.families, inputs.touched, tuple(places)
    ):  # fmt: skip
        _feed(digest, value, days)
    read = (*(inputs.history if reads_history(inputs.rule) else ()), inputs.today)
    if isinstance(inputs.families.nominated_w, DayFiles):
        read = (*read, inputs.families.nominated_w)
    return RunInputs(digest.hexdigest(), read, tuple(fingerprint(day) for day in read))


def _feed(digest: Any, value: Any, days: Sequence[MarketDay]) -> None:
    """Hash a value and what it is made of; each part says its kind and length first."""
    if isinstance(value, Calendar):  # what it says of these days is all that counts
        value = tuple(value.is_holiday(day) for day in days)
    if value is None or isinstance(value, bool | int | float | str | dt.date):
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text}".encode())
    elif isinstance(value, DayFiles):
        digest.update(b"files ")
    elif is_dataclass(value):
        digest.update(f"{type(value).__name__} ".encode())
        for field in fields(value):
            _feed(digest, getattr(value, field.name), days)
    elif isinstance(value, tuple | list) and not all(isinstance(part, int | float) for part in value):
        digest.update(f"sequence {len(value)} ".encode())
        for part in value:
            _feed(digest, part, days)
    else:
        array = np.ascontiguousarray(value)
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.data if array.dtype.kind in "biuf" else repr(array.tolist()).encode())


def take_over(
    folder: str | os.PathLike[str], cited: Mapping[str, Any], own: RunInputs, pods: Any, places: Places, n_threads: int
) -> tuple[Ordered, Int64s] | None:
    """Return reading and baseline of each order of the cited run, and the rows that must be computed again.

    None if nothing can be taken over: the run kept nothing, had other arguments, or files that changed are gone, so
    that nobody can tell which readings did.

    Raises
    ------
    FileError
        FX-S030 a manifest that contradicts itself, FX-S080 numbers that are not those which the manifest names.
    """
    kept = cited.get("inputs")
    if kept is None:
        return None
    name = os.fspath(folder)
    try:
        arguments, seal = str(kept["arguments"]), str(kept["ordered"])
        earlier = [([str(path) for path in day["files"]], str(day["fingerprint"])) for day in kept["days"]]
    except (KeyError, TypeError, AttributeError):
        refuse("FX-S030", f"{name} has a manifest that does not say its inputs", field="cites", ids=[name])
        raise
    if arguments != own.arguments or len(earlier) != len(own.days):
        return None
    changed = np.zeros(len(pods), np.bool_)
    rows = places.place[np.flatnonzero(np.diff(places.place, prepend=-1))]  # it ascends
    for (files, mark), day, now in zip(earlier, own.days, own.marks, strict=True):
        if mark == now:
            continue
        before = _still_there(files, mark, day, pods)
        if before is None:
            return None
        changed |= changed_rows(before, day, rows, n_threads=n_threads)
    ordered = places.room()
    try:
        whole = ordered.read(Path(folder) / ORDERED)
    except OSError:
        whole = False
    if not whole or _seal(arguments, [mark for _, mark in earlier], ordered) != seal:
        found = Findings("settlement run")
        hint = "bring the folder back as it was, or settle without cites="
        found.add("FX-S080", f"{ORDERED} of {name} is not what its manifest names", field="cites", ids=[name],
                  hint=hint)  # fmt: skip
        found.raise_errors(FileError)
    return ordered, np.flatnonzero(changed[places.place])


def _still_there(files: list[str], mark: str, day: DayFiles, pods: Any) -> DayFiles | None:
    """Open the files of an earlier run if they are still what they were, with the same PODs."""
    try:
        before = open_day(files, day.day)
        return before if fingerprint(before) == mark and before.pods().equals(pods) else None
    except FileError:
        return None
