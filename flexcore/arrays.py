"""Brings arguments into the one canonical array form of each quantity, or refuses them by code."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings

Shape = tuple[int | None, ...]


def _check_shape(array: npt.NDArray[Any], name: str, shape: Shape | None) -> None:
    if shape is None:
        return
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        found = Findings(name)
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        found.add("FX-A001", f"{name} has shape {array.shape}, expected {wanted}", hint="axes are (element, step)")
        found.raise_errors()


_UNMASK = "fill them with what stands for a missing value, such as MISSING_W for a reading: values.filled(...)"


def _bad_rows(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Positions along the first axis in which any entry is True."""
    return np.flatnonzero(mask.reshape(mask.shape[0], -1).any(axis=1)) if mask.ndim else np.zeros(1, np.intp)


def as_array(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return `values` as an array of whatever type.

    Raises
    ------
    ValidationError
        FX-A001 rows of different lengths, FX-A002 a masked array with masked values: numpy would take what lies below.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        found = Findings(name)
        found.add("FX-A002", f"{name} has masked values", rows=_bad_rows(np.ma.getmaskarray(values)), hint=_UNMASK)
        found.raise_errors()
    try:
        return np.asarray(values)
    except ValueError as error:
        found = Findings(name)
        found.add("FX-A001", f"{name} is not an array: {error}")
        found.raise_errors()
        raise


def as_float(
    values: npt.ArrayLike,
    name: str,
    *,
    shape: Shape | None = None,
    finite: bool = True,
    non_negative: bool = False,
) -> npt.NDArray[np.float64]:
    """Return `values` as a C-contiguous float64 array, without a copy where it already is one.

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A002 not numeric, FX-A003 NaN or infinite, FX-A004 negative; rows are named.
    """
    return as_real(values, name, np.float64, shape=shape, finite=finite, non_negative=non_negative)


def as_real(
    values: npt.ArrayLike,
    name: str,
    dtype: npt.DTypeLike,
    *,
    shape: Shape | None = None,
    finite: bool = True,
    non_negative: bool = False,
) -> npt.NDArray[Any]:
    """Do what `as_float` does for a float type of the caller's choice; what is too large for it becomes infinite."""
    raw = as_array(values, name)
    found = Findings(name)
    if raw.dtype.kind not in "fiub":
        found.add("FX-A002", f"{name} has type {raw.dtype}, expected real numbers")
        found.raise_errors()
    with np.errstate(over="ignore"):  # the check for infinite values says it by row
        array = np.ascontiguousarray(raw, dtype=dtype) if raw.ndim else np.asarray(raw, dtype=dtype)
    _check_shape(array, name, shape)
    # one pass tells whether all is well; the explanation is worked out only when it is not
    if finite and not np.isfinite(array).all():
        rows = _bad_rows(~np.isfinite(array))
        found.add("FX-A003", f"{name} is NaN or infinite in {rows.size} of {len(np.atleast_1d(array))} rows", rows=rows)
    if non_negative and (array < 0).any():
        rows = _bad_rows(array < 0)
        found.add(
            "FX-A004",
            f"{name} is negative in {rows.size} of {len(np.atleast_1d(array))} rows",
            rows=rows,
            hint="flexibility is a direction and a non-negative amount",
        )
    found.raise_errors()
    return array


def as_int(
    values: npt.ArrayLike,
    name: str,
    *,
    dtype: npt.DTypeLike = np.int64,
    shape: Shape | None = None,
    lo: int | None = None,
    hi: int | None = None,
) -> npt.NDArray[Any]:
    """Return `values` as a C-contiguous integer array; fractions, NaN and values outside lo..hi are refused.

    So are booleans: a mask would be read as the positions 0 and 1.

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A002 not whole numbers, FX-A004 negative where `lo` is 0, FX-A006 out of range.
    """
    raw = as_array(values, name)
    found = Findings(name)
    kind = np.dtype(dtype)
    limits = np.iinfo(kind)
    low = int(limits.min) if lo is None else lo
    high = int(limits.max) if hi is None else hi
    if raw.size == 0 and raw.dtype.kind == "f":
        raw = raw.astype(kind)
    if raw.dtype.kind not in "iuf":
        hint = "np.flatnonzero(mask) gives the positions of a mask" if raw.dtype.kind == "b" else ""
        found.add("FX-A002", f"{name} has type {raw.dtype}, expected whole numbers", hint=hint)
        found.raise_errors()
    _check_shape(raw, name, shape)
    if raw.dtype.kind == "f":
        fraction = ~(np.isfinite(raw) & (raw == np.floor(raw)))
        if fraction.any():
            hint = "power is in whole watts: flexcore.units.kw_to_w converts kW" if name.endswith("_w") else ""
            found.add("FX-A002", f"{name} is not a whole number in some rows", rows=_bad_rows(fraction), hint=hint)
            found.raise_errors()
    # what the type of the array cannot hold is not looked for
    held = (-np.inf, np.inf) if raw.dtype.kind == "f" else (np.iinfo(raw.dtype).min, np.iinfo(raw.dtype).max)
    if raw.size and ((held[0] < low and int(raw.min()) < low) or (held[1] > high and int(raw.max()) > high)):
        rows = _bad_rows((raw < low) | (raw > high))
        if low == 0 and int(raw.min()) < 0:
            found.add("FX-A004", f"{name} is negative in {rows.size} of {len(np.atleast_1d(raw))} rows", rows=rows)
        else:
            found.add("FX-A006", f"{name} lies outside {low}..{high} in {rows.size} rows", rows=rows)
        found.raise_errors()
    array = np.ascontiguousarray(raw, dtype=kind)
    return array if raw.ndim else array.reshape(())


def int_per_row(
    values: npt.ArrayLike,
    name: str,
    n_rows: int,
    *,
    dtype: npt.DTypeLike = np.int64,
    lo: int | None = None,
    hi: int | None = None,
) -> npt.NDArray[Any]:
    """Return one integer for each row, where one number may stand for all; refusals are those of `as_int`."""
    array = as_array(values, name)
    array = array if array.ndim else np.broadcast_to(array, (n_rows,))
    return as_int(array, name, dtype=dtype, shape=(n_rows,), lo=lo, hi=hi)


def as_bool(values: npt.ArrayLike, name: str, *, shape: Shape | None = None) -> npt.NDArray[np.bool_]:
    """Return `values` as a C-contiguous bool array; what is not True or False is refused: any text would be True.

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A002 not bool.
    """
    raw = as_array(values, name)
    if raw.dtype.kind != "b" and raw.size:
        found = Findings(name)
        found.add("FX-A002", f"{name} has type {raw.dtype}, expected True or False")
        found.raise_errors()
    _check_shape(raw, name, shape)
    return np.ascontiguousarray(raw, np.bool_)


def as_keys(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return the user's keys as an array of int64 or of text, shape (n,); one key alone is a list of one.

    Raises
    ------
    ValidationError
        FX-A001 not a list, FX-A002 neither whole numbers nor text, FX-A006 a number beyond 64 bits with a sign, FX-A010
        a key is missing.
    """
    raw = np.atleast_1d(as_array(values, name))
    _check_shape(raw, name, (None,))
    if raw.dtype.kind == "U":
        return raw
    found = Findings(name, raw.size)
    if raw.dtype.kind == "i" or not raw.size:
        return raw.astype(np.int64)
    if raw.dtype.kind != "u":
        missing = [row for row, key in enumerate(raw) if key is None or key != key]
        if missing:
            found.add("FX-A010", f"{name} is missing in {len(missing)} rows", rows=missing)
        elif raw.dtype.kind != "O" or not all(type(key) is int or isinstance(key, str | np.integer) for key in raw):
            found.add("FX-A002", f"{name} has type {raw.dtype}, expected whole numbers or text")
        found.raise_errors()
        if any(isinstance(key, str) for key in raw):
            return raw.astype(str)
    beyond = np.flatnonzero((raw < -(1 << 63)) | (raw >= 1 << 63))
    if beyond.size:
        found.add("FX-A006", f"{name} does not fit 64 bits with a sign in {beyond.size} rows", rows=beyond)
    found.raise_errors()
    return raw.astype(np.int64)


def output(
    out: npt.NDArray[Any] | None,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike = np.float64,
    inputs: tuple[npt.NDArray[Any], ...] = (),
) -> npt.NDArray[Any]:
    """Return `out` after checking it, or a new array.

    Raises
    ------
    ValidationError
        FX-A005 if `out` has another shape or type, is not C-contiguous and writable, or overlaps an input.
    """
    if out is None:
        return np.empty(shape, dtype)
    found = Findings(name)
    if out.shape != shape or out.dtype != np.dtype(dtype):
        found.add("FX-A005", f"{name} is {out.dtype} {out.shape}, expected {np.dtype(dtype)} {shape}")
    elif not (out.flags.c_contiguous and out.flags.writeable):
        found.add("FX-A005", f"{name} is not C-contiguous and writable")
    elif any(np.may_share_memory(out, array) for array in inputs):
        found.add("FX-A005", f"{name} overlaps an input", hint="pass the result of an earlier call")
    found.raise_errors()
    return out
