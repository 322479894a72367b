"""Which orders of a day rest on readings that the meter operator estimated, from the files of the day."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.metering.reading_files import DayFiles, ReadingFile
from flexcore.metering.reading_layout import refuse
from flexcore.metering.readings import Bools
from flexcore.settlement.order_rows import OrderRows


def estimated_orders(today: DayFiles, rows: OrderRows) -> Bools | None:
    """Mark the orders whose quarter-hour stands in the column `estimated` of its POD; None where no order's does.

    Raises
    ------
    FileError
        FX-B061 the column is no list of whole numbers, or names steps that the day does not have; FX-B065 as
        `DayFiles.column`.
    """
    flags: Bools | None = None
    first = 0
    for file in today.files:
        for lo, hi in pairwise(file.first_row.tolist()) if "estimated" in file.columns else ():
            a, b = np.searchsorted(rows.place, [first + lo, first + hi])
            if a == b:
                continue
            pod, step = _listed(file, lo, hi)
            marks = np.zeros((hi - lo, today.day.n_steps), np.bool_)
            marks[pod, step] = True
            orders = slice(int(rows.ptr[a]), int(rows.ptr[b]))
            row = np.repeat(rows.place[a:b] - first - lo, np.diff(rows.ptr[a : b + 1]))
            found = marks[row, rows.step[orders]]
            if found.any():
                flags = np.zeros(len(rows.step), np.bool_) if flags is None else flags
                flags[orders] = found
        first += file.n_pods
    return flags


def _listed(file: ReadingFile, lo: int, hi: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return POD (counted from `lo`) and step of each estimated value in rows lo..hi of a file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = DayFiles((file,)).column("estimated", lo, hi)
    kind = lists.type
    good = (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_integer(kind.value_type)
    step = pc.list_flatten(lists) if good else lists
    if not good or step.null_count:
        refuse("FX-B061", f"{file.path}: estimated is {kind}, expected lists of int16", field="estimated")
    steps, pod = np.asarray(step), np.asarray(pc.list_parent_indices(lists))
    if steps.size and not 0 <= steps.min() <= steps.max() < file.day.n_steps:
        message = f"{file.path} has estimated steps outside the {file.day.n_steps} of the day"
        refuse("FX-B061", message, field="estimated", ids=[file.path])
    return pod, steps
