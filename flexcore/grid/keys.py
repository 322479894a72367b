"""Finds the user's ids, whole numbers or text, in sorted tables of keys."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, UnknownIdError

Keys = npt.NDArray[Any]


def sorted_keys(keys: Keys, positions: npt.NDArray[Any]) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Sort keys and what stands at them, for `match_keys`."""
    order = np.argsort(keys, kind="stable")
    return keys[order], positions[order].astype(np.int64)


def match_keys(wanted: Keys, keys: Keys, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions of the wanted keys in a sorted table, -1 where it has none."""
    kinds = "iu" if keys.dtype.kind in "iu" else "U"
    if not keys.size or wanted.dtype.kind not in kinds:
        return np.full(wanted.shape, -1, np.int64)
    if wanted.dtype.kind == "u":  # searchsorted would compare them with int64 through float64
        return np.where(wanted < 2**63, match_keys(wanted.astype(np.int64), keys, positions), -1)
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[at] == wanted, positions[at], -1)


def find_keys(ids: npt.ArrayLike, keys: Keys, positions: npt.NDArray[np.int64], what: str) -> npt.NDArray[np.int64]:
    """Positions of ids in a sorted table of keys; UnknownIdError FX-G011 names those that it does not have."""
    wanted = np.asarray(ids)
    if wanted.dtype.kind != "O":
        result = match_keys(wanted, keys, positions)
    elif keys.dtype.kind == "U":
        result = match_keys(wanted.astype(str), keys, positions)
    else:  # only whole numbers can be keys here: anything else is unknown, not converted
        whole = np.array([isinstance(key, (int, np.integer)) and abs(int(key)) < 2**63 for key in wanted.ravel()], bool)
        whole = whole.reshape(wanted.shape)
        numbers = np.where(whole, wanted, 0).astype(np.int64)
        result = np.where(whole, match_keys(numbers, keys, positions), -1)
    if (result < 0).any():
        bad = np.flatnonzero(np.atleast_1d(result) < 0)
        found = Findings(f"{what} ids", result.size)
        found.add("FX-G011", f"{bad.size} {what} ids are not in the grid", rows=bad, ids=np.atleast_1d(wanted)[bad])
        found.raise_errors(UnknownIdError)
    return result
