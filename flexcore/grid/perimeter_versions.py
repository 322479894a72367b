"""What a split into perimeters is, and the names and versions that survive from one split to the next."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, UnknownIdError

__all__ = ["PerimeterSplit", "label_by_names", "name_perimeters"]

I4 = npt.NDArray[np.int32]
Keys = npt.NDArray[Any]
_NAME_LENGTH, _VERSION_LENGTH = 12, 16


@dataclass(frozen=True, slots=True, eq=False)
class PerimeterSplit:
    """Perimeters for a whole day.

    Attributes
    ----------
    version : str
        Digest of which nodes are together, by their ids: the same partition has the same version, in whatever order the
        nodes or the perimeters come, on every machine.
    perimeter_ids : ndarray of str, shape (n_perimeters,)
        Name of each perimeter: that of the split handed over as `keep` if it had one with the same nodes, else a digest
        of its nodes. Equal nodes, equal name, also when worked out anew.
    kept : bool
        True if this is the partition handed over as `keep`.
    node_ids : ndarray, shape (n_nodes,)
        The user's keys that the entries of `label` belong to.
    label : ndarray of int32, shape (n_nodes,)
        Perimeter of each node, 0 .. n_perimeters - 1 in depth-first order of their tops; -1 above all cuts where
        nothing could move.
    n_perimeters : int
    cut : ndarray of int32
        Positions of the branches that were cut: each feeds a perimeter.
    lossless : bool
        True if by thermal limits alone these perimeters cost nothing: the best safe caps reach what the best informed
        dispatch could.
    optimistic_up_kwh, optimistic_down_kwh : float
        What the best informed dispatch could move under the thermal limits, over all steps. [kWh]
    largest_up_kwh, largest_down_kwh : float
        Largest sum of jointly safe capabilities of these perimeters under the thermal limits, what
        `sharing="max_total"` publishes. [kWh]
    filled_up_kwh, filled_down_kwh : float
        What progressive filling publishes with these perimeters under the thermal limits. [kWh]
    gap_kwh : float
        Optimistic minus largest, both directions: no partition into as many perimeters publishes more than this on top.
        [kWh]
    """

    version: str
    perimeter_ids: npt.NDArray[np.str_]
    kept: bool
    node_ids: npt.NDArray[Any]
    label: I4
    n_perimeters: int
    cut: I4
    lossless: bool
    optimistic_up_kwh: float
    optimistic_down_kwh: float
    largest_up_kwh: float
    largest_down_kwh: float
    filled_up_kwh: float
    filled_down_kwh: float

    @property
    def gap_kwh(self) -> float:
        """Optimistic minus largest energy, both directions."""
        return self.optimistic_up_kwh + self.optimistic_down_kwh - self.largest_up_kwh - self.largest_down_kwh

    def perimeter_of_node(self) -> dict[Any, str]:
        """Name the perimeter of each node id; nodes of none are left out. A later call takes it as `keep`."""
        names = self.perimeter_ids.tolist()
        pairs = zip(self.node_ids.tolist(), self.label.tolist(), strict=True)
        return {node: names[k] for node, k in pairs if k >= 0}


def _digests(node_ids: Keys, label: I4, n_perimeters: int) -> list[str]:
    """Digest of the nodes of each perimeter, by their ids alone."""
    order = np.lexsort((node_ids, label))
    ends = np.searchsorted(label[order], np.arange(n_perimeters + 1))
    kind = "text" if node_ids.dtype.kind == "U" else "number"
    return [
        hashlib.sha256(repr((kind, node_ids[order[lo:hi]].tolist())).encode()).hexdigest() for lo, hi in pairwise(ends)
    ]


def name_perimeters(
    node_ids: Keys, label: I4, n_perimeters: int, keep: Mapping[Any, str] | None
) -> tuple[str, npt.NDArray[np.str_]]:
    """Return the version of a partition and the name of each of its perimeters.

    Parameters
    ----------
    node_ids : ndarray, shape (n_nodes,)
    label : ndarray of int32, shape (n_nodes,)
        Perimeter of each node, -1: none.
    n_perimeters : int
    keep : mapping from node id to name, optional
        An earlier partition: a perimeter with the same nodes as one of it takes its name.
    """
    digests = _digests(node_ids, label, n_perimeters)
    version = hashlib.sha256(repr(sorted(digests)).encode()).hexdigest()[:_VERSION_LENGTH]
    names = {digest: f"P-{digest[:_NAME_LENGTH]}" for digest in digests}
    if keep:
        sizes: dict[str, int] = {}
        for held in keep.values():
            sizes[held] = sizes.get(held, 0) + 1
        first = np.full(n_perimeters, -1, np.int64)
        first[label[::-1][label[::-1] >= 0]] = np.flatnonzero(label >= 0)[::-1]
        earlier = [keep.get(node) for node in node_ids.tolist()]
        mixed = np.zeros(n_perimeters, np.bool_)
        for k, before in zip(label.tolist(), earlier, strict=True):
            if k >= 0:
                mixed[k] |= before != earlier[first[k]]
        count = np.bincount(label[label >= 0], minlength=n_perimeters)
        for k in range(n_perimeters):
            name = earlier[first[k]]
            if name is not None and not mixed[k] and sizes[name] == count[k]:
                names[digests[k]] = str(name)
    return version, np.array([names[digest] for digest in digests], str)


def label_by_names(node_ids: Keys, keep: Mapping[Any, str]) -> I4:
    """Label the nodes of an earlier partition in the order in which its perimeters first appear, -1: no longer any.

    Raises
    ------
    UnknownIdError
        FX-G011 if not one of its nodes is among these: keys of another kind, or another network.
    """
    number: dict[str, int] = {}
    label = np.full(node_ids.size, -1, np.int32)
    for i, node in enumerate(node_ids.tolist()):
        if node in keep:
            label[i] = number.setdefault(keep[node], len(number))
    if keep and not number:
        found = Findings("keep", len(keep))
        found.add(
            "FX-G011",
            f"none of the {len(keep)} node ids in keep is in the grid",
            ids=list(keep)[:5],
            hint="keep maps node ids, of the type that the grid has, to names of perimeters",
        )
        found.raise_errors(UnknownIdError)
    return label
