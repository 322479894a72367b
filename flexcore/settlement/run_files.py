"""Files of a settlement run: lines and POD lines written part by part and read again, totals and manifest."""

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
from flexcore.settlement.result import Columns, Int64s, PodLines, SettlementLines, SettlementTotals

LINES, POD_LINES, TOTALS = "lines.parquet", "pod_lines.parquet", "totals.parquet"
#: Columns of one byte in lines.
BYTES = ("operator", "direction")


class RunWriter:
    """Writes lines and POD lines as they come, a row group for each part; the files appear when the block ends well.

    Parameters
    ----------
    folder : Path
    keys : pyarrow.Array
        Key of the POD of each row.
    """

    def __init__(self, folder: Path, keys: Any) -> None:
        self._folder = folder
        self._keys = keys
        self._stack = ExitStack()

    def __enter__(self) -> "RunWriter":
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._writers: list[tuple[Any, Any]] = []
        with self._stack as stack:
            for name, kind in ((LINES, SettlementLines), (POD_LINES, PodLines)):
                types = {field.name: pa.int8() if field.name in BYTES else pa.int64() for field in fields(kind)}
                if kind is PodLines:
                    types["pod"] = self._keys.type
                schema = pa.schema(list(types.items()))
                temporary = stack.enter_context(published(self._folder / name))
                # differences are written three times as fast as dictionaries, and take half the room
                numbers = [name for name, kind in types.items() if pa.types.is_int64(kind)]
                writer = pq.ParquetWriter(
                    temporary,
                    schema,
                    write_page_checksum=True,
                    use_dictionary=[name for name in types if name not in numbers],
                    column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
                )
                self._writers.append((stack.enter_context(writer), schema))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def append(self, lines: SettlementLines, shares: PodLines) -> None:
        """Write a part."""
        import pyarrow as pa

        for (writer, schema), table in zip(self._writers, (lines, shares), strict=True):
            columns = {name: getattr(table, name) for name in schema.names}
            if "pod" in columns:
                columns["pod"] = self._keys.take(shares.row)
            writer.write_table(pa.Table.from_pydict(columns, schema=schema))


def read_lines(path: str | os.PathLike[str]) -> SettlementLines:
    """Return the lines of a file; FX-S061 where they cannot be read."""
    return SettlementLines(**_columns(path, SettlementLines))


def read_pod_lines(path: str | os.PathLike[str], number: Int64s) -> PodLines:
    """Return the POD lines of a file; `number` stands for the POD of each row, FX-S061 where they cannot be read."""
    columns = _columns(path, PodLines, without=("pod",))
    return PodLines(**columns, pod=number[columns["row"]])


def _columns(path: str | os.PathLike[str], kind: type[Columns], without: tuple[str, ...] = ()) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [field.name for field in fields(kind) if field.name not in without]
    try:
        with pq.ParquetFile(os.fspath(path), page_checksum_verification=True) as file:
            return {name: np.array(file.read(columns=[name])[name]) for name in names}
    except (OSError, pa.ArrowException) as error:
        message = (str(error).splitlines() or [""])[0]
        refuse("FX-S061", f"{os.fspath(path)} cannot be read: {message}", ids=[os.fspath(path)])
        raise


def publish_run(
    folder: Path, out: str | os.PathLike[str], totals: SettlementTotals, about: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write totals beside lines and POD lines, and give the folder its name; return the paths of the files."""
    import pyarrow.parquet as pq

    with published(folder / TOTALS) as temporary:
        pq.write_table(totals.to_arrow(), str(temporary), write_page_checksum=True)
    return publish_folder(folder, out, {**about, "files": (LINES, POD_LINES, TOTALS)})
