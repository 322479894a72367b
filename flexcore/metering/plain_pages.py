"""Where the numbers of an uncompressed Parquet column lie, so that rows can be read straight into an array.

A page counts only if its header says that it is plain and uncompressed, its size is that of the values to the byte, and
its levels are those that pyarrow writes for rows of one length without nulls. All else is left to pyarrow.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

#: Bytes read to parse a page header; one without statistics takes about 25.
HEADER_BYTES = 128
_STRUCT, _STOP = 12, 0
_INTEGERS = (4, 5, 6)


class _Strange(Exception):
    """A header that is not of the kind looked for."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Strange
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return (value >> 1) ^ -(value & 1), at  # zigzag
        shift += 7


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read a struct of the compact Thrift protocol that holds integers and structs of them, `depth` deep."""
    fields: dict[int, Any] = {}
    key = 0
    while True:
        if at >= len(data):
            raise _Strange
        head = data[at]
        at += 1
        if head == _STOP:
            return fields, at
        if head >> 4:
            key += head >> 4
        else:
            key, at = _varint(data, at)
        kind = head & 0x0F
        if kind in _INTEGERS:
            fields[key], at = _varint(data, at)
        elif kind == _STRUCT and depth:
            fields[key], at = _struct(data, at, depth - 1)
        else:
            raise _Strange


def page_values(header: bytes, chunk_bytes: int, n_values: int) -> tuple[int, int] | None:
    """Return where levels and values begin in a chunk that is one plain page; None if it is anything else.

    Parameters
    ----------
    header : bytes
        The first bytes of the chunk.
    chunk_bytes, n_values : int
        Length of the chunk, and 32-bit values in it.
    """
    try:
        page, levels = _struct(header, 0, 2)
    except _Strange:
        return None
    data, size = page.get(5), page.get(2, -1)
    # 1: kind of page, 0 is a data page; in it 1: number of values, 2: encoding, 0 is plain; 3 and 4: levels, 3 is RLE
    if page.get(1) != 0 or not isinstance(data, dict) or size != page.get(3) or levels + size != chunk_bytes:
        return None
    if (data.get(1), data.get(2), data.get(3), data.get(4)) != (n_values, 0, 3, 3):
        return None
    values = chunk_bytes - 4 * n_values
    return (levels, values) if values >= levels else None


@functools.lru_cache(maxsize=64)
def expected_levels(n_rows: int, n_steps: int, make: Callable[[int, int], bytes]) -> bytes:
    """Return the levels of a page of `n_rows` rows as pyarrow writes them; `make` writes a file of zeros in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = make(n_rows, n_steps)
    column = pq.ParquetFile(pa.BufferReader(raw)).metadata.row_group(0).column(1)
    begin = int(column.data_page_offset)
    found = page_values(
        raw[begin : begin + HEADER_BYTES], int(column.total_compressed_size), int(np.int64(n_rows) * n_steps)
    )
    return b"" if found is None else raw[begin + found[0] : begin + found[1]]
