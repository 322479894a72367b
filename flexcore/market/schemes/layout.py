"""A case in the order in which clearing walks through it: forests in preorder, steps first, voltages in kW."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from flexcore.market.schemes.case import CoordinationCase

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """A case in preorder and step-major.

    Attributes
    ----------
    parent, last, system : ndarray of int32, shape (n,)
        Preorder; `system` is the position of the root in `t_node_of_root`.
    lower, upper : ndarray, shape (n_steps, n)
        Bounds on the net activation at and below each node. [kW]
    v_lower, v_upper : ndarray, shape (n_steps, n)
        Bounds on what activation does to a node's voltage, as power at the node itself: 1 kW there is 1 kW, 1 kW
        elsewhere counts by the part of the path that both share. Infinite where no power has an effect. [kW]
    m, reach : ndarray, shape (n,)
        Effect of 1 kW through each branch on the voltage below, and its sum over the path. [pu^2/kW]
    kw_per_w : ndarray, shape (n,)
        Power at the node itself that stands for 1 pu^2 there; 0 where none does. [kW/pu^2]
    place : ndarray of int64, shape (n_offers,)
        Preorder position of each offer's node, -1 at transmission.
    t_node : ndarray of int32, shape (n_offers,)
        Node of the transmission network, that of the interface for offers of a distribution system.
    system_of_offer : ndarray of int32, shape (n_offers,)
        -1 at transmission.
    label : ndarray of int32, shape (n,)
        Perimeter.
    """

    parent: Int32s
    last: Int32s
    system: Int32s
    lower: Floats
    upper: Floats
    v_lower: Floats
    v_upper: Floats
    m: Floats
    reach: Floats
    kw_per_w: Floats
    place: Int64s
    t_node: Int32s
    system_of_offer: Int32s
    label: Int32s

    @classmethod
    def of(cls, case: "CoordinationCase") -> "Layout":
        """Lay out a case."""
        forest, rows = case.grid.forest, case.rows
        parent = np.asarray(forest.parent, np.int32)
        roots = np.flatnonzero(parent < 0)
        # systems are numbered by the order of their roots in the user's node order
        number = np.empty(roots.size, np.int32)
        number[np.argsort(forest.order[roots], kind="stable")] = np.arange(roots.size, dtype=np.int32)
        system = np.repeat(number, np.diff(np.append(roots, parent.size)))
        m = np.where(parent >= 0, np.asarray(rows.m)[forest.order], 0.0)
        reach = path_sum(m, forest.last)
        reach = np.where(reach > 1e-12 * reach.max(initial=0.0), reach, 0.0)
        offers = case.offers
        inside = offers.node >= 0
        place = np.where(inside, forest.rank[np.maximum(offers.node, 0)].astype(np.int64), -1)
        of_system = np.where(inside, system[np.maximum(place, 0)], -1).astype(np.int32)

        def steps_first(values: Floats) -> Floats:
            return np.ascontiguousarray(values[forest.order].T)

        per_w = np.divide(1.0, reach, out=np.zeros(reach.size), where=reach > 0)

        def in_kw(w_bound: Floats, none: float) -> Floats:
            return np.where(per_w > 0, steps_first(w_bound) * np.where(per_w > 0, per_w, 1.0), none)

        return cls(
            parent, np.asarray(forest.last, np.int32), system.astype(np.int32), steps_first(rows.lower_kw),
            steps_first(rows.upper_kw), in_kw(rows.w_lower, -np.inf), in_kw(rows.w_upper, np.inf), m, reach, per_w,
            place,
            np.where(inside, case.t_node_of_root[np.maximum(of_system, 0)], offers.t_node).astype(np.int32),
            of_system, np.ascontiguousarray(case.perimeter[forest.order]),
        )  # fmt: skip

    def sums(self, place: Int64s, signed_kw: Floats) -> Floats:
        """Sum signed power over subtrees: y of every node, in kW."""
        n = self.parent.size
        at = np.bincount(place[place >= 0], signed_kw[place >= 0], n)
        running = np.concatenate([np.zeros(1), np.cumsum(at)])
        y = running[self.last] - running[:n]
        y[self.parent < 0] = 0.0  # what feeds a system is no row of it
        return np.asarray(y, np.float64)

    def nets(self, signed_kw: Floats) -> Floats:
        """Sum signed power of all offers per system, in kW."""
        inside = self.system_of_offer >= 0
        n_systems = int(self.system.max(initial=-1)) + 1
        return np.asarray(np.bincount(self.system_of_offer[inside], signed_kw[inside], n_systems), np.float64)

    def voltage(self, y_kw: Floats) -> Floats:
        """Effect of activations on every node's voltage, as kW at the node itself."""
        return path_sum(self.m * y_kw, self.last) * self.kw_per_w

    def path(self, position: int) -> Int64s:
        """Positions from a node up to below its root."""
        found = []
        while self.parent[position] >= 0:
            found.append(position)
            position = int(self.parent[position])
        return np.array(found, np.int64)


def path_sum(values: Floats, last: npt.NDArray[np.integer]) -> Floats:
    """Sum along the path from the root, for nodes in preorder."""
    ends = np.zeros(values.size + 1)
    ends[:-1] = values
    np.subtract.at(ends, last, values)
    return np.asarray(np.cumsum(ends)[:-1])
