"""Files of a settlement run: POD lines written part by part and read again, lines, totals and manifest."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.metering.reading_layout import published
from flexcore.metering.result_folders import publish_folder
from flexcore.settlement.amounts import refuse
from flexcore.settlement.result import Int64s, PodLines, SettlementLines, SettlementTotals

LINES, POD_LINES, TOTALS = "lines.parquet", "pod_lines.parquet", "totals.parquet"


class PodLineWriter:
    """Writes POD lines as they come; the file appears when the block ends well.

    Parameters
    ----------
    path : Path
    keys : pyarrow.Array
        Key of the POD of each row.
    """

    def __init__(self, path: Path, keys: Any) -> None:
        self._path = path
        self._keys = keys
        self._stack = ExitStack()

    def __enter__(self) -> "PodLineWriter":
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {field.name: self._keys.type if field.name == "pod" else pa.int64() for field in fields(PodLines)}
        self._schema = pa.schema(list(types.items()))
        with self._stack as stack:
            temporary = stack.enter_context(published(self._path))
            self._writer = stack.enter_context(pq.ParquetWriter(temporary, self._schema, write_page_checksum=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def append(self, shares: PodLines) -> None:
        """Write some POD lines as one row group."""
        import pyarrow as pa

        columns = [
            self._keys.take(shares.row) if field.name == "pod" else pa.array(getattr(shares, field.name))
            for field in fields(shares)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def read_pod_lines(path: str | os.PathLike[str], number: Int64s) -> PodLines:
    """Return the POD lines of a file; `number` stands for the POD of each row, FX-S061 where they cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [field.name for field in fields(PodLines)]
    try:
        with pq.ParquetFile(os.fspath(path), page_checksum_verification=True) as file:
            table = file.read(columns=[name for name in names if name != "pod"])
    except (OSError, pa.ArrowException) as error:
        message = (str(error).splitlines() or [""])[0]
        refuse("FX-S061", f"{os.fspath(path)} cannot be read: {message}", ids=[os.fspath(path)])
    columns = {name: np.array(table[name]) for name in names if name != "pod"}
    return PodLines(**columns, pod=number[columns["row"]])


def publish_run(
    folder: Path,
    out: str | os.PathLike[str],
    lines: SettlementLines,
    totals: SettlementTotals,
    about: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write lines and totals beside the POD lines, and give the folder its name; return the paths of the files."""
    import pyarrow.parquet as pq

    for name, table in ((LINES, lines), (TOTALS, totals)):
        with published(folder / name) as temporary:
            pq.write_table(table.to_arrow(), str(temporary), write_page_checksum=True)
    return publish_folder(folder, out, {**about, "n_lines": len(lines), "files": (LINES, POD_LINES, TOTALS)})
