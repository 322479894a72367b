"""Validates a table against its specification and returns canonical columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, ValidationError
from flexcore.tables.registry import TABLES
from flexcore.tables.spec import Column, TableSpec

Columns = dict[str, npt.NDArray[Any]]


def _columns(data: Any, found: Findings) -> dict[str, npt.NDArray[Any]]:
    """Take a mapping of arrays, or anything that speaks the Arrow stream protocol."""
    if isinstance(data, Mapping):
        columns = {}
        for name, values in data.items():
            try:
                columns[str(name)] = np.asarray(values)
            except ValueError as error:  # rows of different lengths
                found.add("FX-A001", f"{name} is not a column: {error}", field=str(name))
        return columns
    import pyarrow as pa

    try:
        table = data if isinstance(data, pa.Table) else pa.table(data)
    except (TypeError, ValueError):
        hint = "pass a mapping of arrays or a pyarrow.Table"
        found.add("FX-A002", f"{type(data).__name__} is not a table", hint=hint)
        return {}
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _as_kind(values: npt.NDArray[Any], column: Column, found: Findings) -> npt.NDArray[Any] | None:
    """Convert one column to its type; a finding and None where it cannot be done without loss."""
    what = column.name
    if column.kind == "str":
        missing = [row for row, value in enumerate(values) if value is None or value != value]
        if missing:
            found.add("FX-A010", f"{what} is missing in {len(missing)} rows", field=what, rows=missing)
            return None
        return values.astype(str)
    if column.kind == "key":
        if not values.size:
            return values.astype(np.int64)
        mixed = values.dtype.kind in "UO" and all(isinstance(value, str | int | np.integer) for value in values)
        if not mixed and values.dtype.kind not in "iu":
            found.add("FX-A002", f"{what} must be whole numbers or text, found {values.dtype}", field=what)
            return None
        if mixed and any(isinstance(value, str) for value in values):
            return values.astype(str)
        return _whole(values, column, np.dtype(np.int64), found)
    if values.dtype.kind not in "iufb":
        hint = f"{what}: {column.meaning}"
        found.add("FX-A002", f"{what} has type {values.dtype}, expected {column.kind}", field=what, hint=hint)
        return None
    if column.kind in ("float64", "bool"):
        numbers = values.astype(np.float64)
        bad = np.flatnonzero(np.isnan(numbers))
        if bad.size and column.default == column.default:  # a default of NaN gives NaN a meaning
            found.add("FX-A003", f"{what} is NaN in {bad.size} rows", field=what, rows=bad)
            return None
        if column.kind == "float64":
            return numbers
        bad = np.flatnonzero((numbers != 0) & (numbers != 1))
        if bad.size:
            found.add("FX-A002", f"{what} is neither 0 nor 1 in {bad.size} rows", field=what, rows=bad)
            return None
        return np.asarray(numbers == 1)
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values) | (values != np.floor(values)))
        if bad.size:
            found.add("FX-A002", f"{what} is not a whole number in {bad.size} rows", field=what, rows=bad)
            return None
    return _whole(values, column, np.dtype(column.kind), found)


def _whole(values: npt.NDArray[Any], column: Column, target: np.dtype[Any], found: Findings) -> npt.NDArray[Any] | None:
    """Convert whole numbers; a finding and None where one does not fit the type."""
    limits = np.iinfo(target)
    # one above the maximum is a float64 too; the maximum of int64 is not and would compare as 2^63
    bad = np.flatnonzero((values < int(limits.min)) | (values >= int(limits.max) + 1))
    if bad.size:
        found.add("FX-A006", f"{column.name} does not fit {target} in {bad.size} rows", field=column.name, rows=bad)
        return None
    return values.astype(target)


def _check_values(values: npt.NDArray[Any], column: Column, found: Findings) -> None:
    what = column.name
    if column.lo is not None or column.hi is not None:
        low = -np.inf if column.lo is None else column.lo
        high = np.inf if column.hi is None else column.hi
        bad = np.flatnonzero((values < low) | (values > high))
        if bad.size and column.lo == 0 and values[bad].min() < 0:
            hint = "a quantity with a direction has no sign"
            found.add(
                "FX-A004", f"{what} is negative in {bad.size} rows", field=what, rows=bad, ids=values[bad], hint=hint
            )
        elif bad.size:
            found.add("FX-A006", f"{what} lies outside {low}..{high}", field=what, rows=bad, ids=values[bad])
    if column.choices:
        bad = np.flatnonzero(~np.isin(values, column.choices))
        if bad.size:
            hint = f"use one of {', '.join(column.choices)}"
            found.add("FX-A011", f"{what} has unknown values", field=what, rows=bad, ids=values[bad], hint=hint)
    if column.unique and values.size:
        _, first, counts = np.unique(values, return_index=True, return_counts=True)
        if (counts > 1).any():
            repeated = np.isin(values, values[first[counts > 1]])
            bad = np.flatnonzero(repeated)
            found.add("FX-A009", f"{what} has duplicate values", field=what, rows=bad, ids=values[bad])


def check(name: str, data: Any, *, error: type[ValidationError] = ValidationError) -> Columns:
    """Validate a table and return its columns as canonical arrays.

    Parameters
    ----------
    name : str
        Name of the specification in `TABLES`.
    data : mapping of arrays, pyarrow.Table or any object with the Arrow stream protocol
    error : type of ValidationError
        Raised if anything is wrong.

    Returns
    -------
    dict of str to ndarray
        All columns of the specification, in its order; those not given hold their default.

    Raises
    ------
    ValidationError
        With all findings at once: FX-A001..FX-A011; what is no table of equally long columns is said alone.
    """
    spec: TableSpec = TABLES[name]
    found = Findings(name)
    given = _columns(data, found)
    for title, array in given.items():
        if array.ndim > 1:
            found.add("FX-A001", f"{title} has {array.ndim} axes, expected one", field=title)
    lengths = {len(values) for values in given.values() if values.ndim}
    n_rows = found.n_rows = max(lengths, default=0)
    if len(lengths) > 1:
        found.add("FX-A001", f"columns have different lengths: {sorted(lengths)}")
    found.raise_errors(error)
    known = {column.name for column in spec.columns}
    for extra in sorted(set(given) - known):
        found.add(
            "FX-A008", f"column {extra!r} is not known", field=extra, hint=f"columns are {', '.join(sorted(known))}"
        )
    result: Columns = {}
    for column in spec.columns:
        if column.name not in given:
            if column.required:
                found.add("FX-A007", f"column {column.name!r} is missing", field=column.name)
            else:
                # a text's own type: plain `str` would cut it to one letter
                kind: Any = {"str": None, "key": np.int64}.get(column.kind, column.kind)
                result[column.name] = np.full(n_rows, column.default, dtype=kind)
            continue
        raw = given[column.name]
        values = _as_kind(np.full(n_rows, raw[()]) if not raw.ndim else raw, column, found)
        if values is not None:
            _check_values(values, column, found)
            result[column.name] = np.ascontiguousarray(values)
    found.raise_errors(error)
    return result


def to_arrow(name: str, columns: Mapping[str, Any]) -> Any:
    """Return columns as a pyarrow Table whose field metadata carries unit and meaning of the specification."""
    import pyarrow as pa

    arrays, fields = [], []
    for column in TABLES[name].columns:
        if column.name not in columns:
            continue
        array = pa.array(columns[column.name])
        metadata = {"unit": column.unit, "meaning": column.meaning}
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, metadata=metadata))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
