"""Selection of offers under the rows of a tree: the problem as arrays, who may act, and the exact merit order."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.units import DOWN, UP

I8A = npt.NDArray[np.int64]
I4A = npt.NDArray[np.int32]
F8A = npt.NDArray[np.float64]
U1A = npt.NDArray[np.uint8]

#: Bound of a row that has none. [W]
NO_BOUND = 2**62
_STEPS_PER_CHUNK = 4
_LARGEST_SUM_W = 2.0**60  # of one step, for `clear_steps`


@dataclass(frozen=True, slots=True)
class Tree:
    """A forest in depth-first preorder.

    Attributes
    ----------
    parent, last : ndarray of int32, shape (n,)
        Position of the parent, -1 at a root; end of the subtree, which is the range from the node to there.
    feeder : ndarray of int32, shape (n,)
        Child of the root above the node, -1 at a root. Rows of two feeders share no offer.
    """

    parent: I4A
    last: I4A
    feeder: I4A

    @classmethod
    def from_preorder(cls, parent: I4A, last: I4A) -> "Tree":
        """Add the feeders to a preorder."""
        feeder = np.full(parent.size, -1, np.int32)
        below_root = np.flatnonzero((parent >= 0) & (parent[np.maximum(parent, 0)] < 0))
        for top in below_root:
            feeder[top : last[top]] = top
        return cls(np.ascontiguousarray(parent, np.int32), np.ascontiguousarray(last, np.int32), feeder)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that a selection must respect, step-major so that one step is contiguous.

    With y = up - down at and below a node: lower_w <= y <= upper_w and w_lower <= sum of m y over the path <= w_upper.

    Attributes
    ----------
    lower_w, upper_w : ndarray of int64, shape (n_steps, n)
        `NO_BOUND` with its sign where there is none. [W]
    w_lower, w_upper : ndarray, shape (n_steps, n), or None
        Scaled squared voltage. [pu^2]
    m, reach : ndarray, shape (n,)
        Effect of 1 kW through the node's branch, and its sum over the path. [pu^2/kW]
    """

    lower_w: I8A
    upper_w: I8A
    w_lower: F8A | None
    w_upper: F8A | None
    m: F8A
    reach: F8A

    @property
    def need_w(self) -> tuple[I8A, I8A]:
        """Thermal need for up and for down in W, (n_steps, n)."""
        return np.maximum(self.lower_w, 0), np.maximum(-self.upper_w, 0)

    @property
    def voltage_need_w(self) -> tuple[I8A, I8A] | None:
        """Voltage need for up and for down in W at the node itself, (n_steps, n); None without voltage rows."""
        if self.w_lower is None or self.w_upper is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(self.reach > 0, 1000.0 / self.reach, 0.0)
        up = np.where(self.w_lower > 0, self.w_lower, 0.0) * scale
        down = np.where(self.w_upper < 0, -self.w_upper, 0.0) * scale
        first, second = (np.ceil(np.minimum(x, 1e15) - 1e-3).astype(np.int64) for x in (up, down))
        return first, second


@dataclass(frozen=True, slots=True)
class Book:
    """Offers of one call, step-major.

    Attributes
    ----------
    node, down : ndarray of int32 and uint8, shape (n_offers,)
        Preorder position; 1 for down.
    quantity_w : ndarray of int64, shape (n_steps, n_offers)
    price : ndarray of int64, shape (1 or n_steps, n_offers)
        As offered. [micro-EUR/MWh]
    tie : ndarray of int64, shape (n_offers,)
        Place among offers of one price: by submission time, then id, then node and direction.
    """

    node: I4A
    down: U1A
    quantity_w: I8A
    price: I8A
    tie: I8A

    def order(self) -> I4A:
        """Merit order of the tree kernel: down offers from the last to the first, then up offers from the first on."""
        down = self.down == 1
        tie = np.where(down, -self.tie, self.tie)
        rows = [np.lexsort((tie, np.where(down, -price, price), ~down)) for price in self.price]
        return np.array(rows, np.int32).reshape(len(rows), self.node.size)


def tie_order(submitted_at: I8A, ids: npt.NDArray[np.generic], node: I4A, direction: npt.NDArray[np.int8]) -> I8A:
    """Place of each offer among offers of one price: (submission time, id, node, direction)."""
    place = np.empty(node.size, np.int64)
    place[np.lexsort((direction, node, ids, submitted_at))] = np.arange(node.size)
    return place


def forbidden_directions(tree: Tree, rows: Rows, book: Book, group: I8A) -> U1A:
    """Mark offers whose direction their perimeter may not use, shape (n_steps, n_offers): no counter-activation.

    Per (perimeter, step) one direction is eligible, the first of these that decides:

    1. the larger of the perimeter's needs: thermal rows whose subtree holds one of its nodes, and voltage rows of its
       own nodes counted in W at the node; up if they are equal;
    2. no such need: the direction of the largest voltage need in the feeders it lies in, since it acts there too;
    3. none either: the opposite of the largest thermal need in those feeders, since it can only make room for others.

    Parameters
    ----------
    group : ndarray of int64, shape (n,)
        Perimeter of each node, -1 for none: its offers are free.
    """
    n_steps = book.quantity_w.shape[0]
    labels, of_node = np.unique(group, return_inverse=True)
    has_none = labels.size > 0 and labels[0] < 0
    of_node = of_node.astype(np.int64) - int(has_none)  # -1 stays -1
    n_groups = labels.size - int(has_none)
    own = np.zeros((2, n_groups + 1, n_steps), np.int64)  # the last row takes what touches no perimeter
    tops = np.unique(tree.feeder[tree.feeder >= 0])
    top_of = np.searchsorted(tops, np.maximum(tree.feeder, 0))
    thermal = np.zeros((2, tops.size, n_steps), np.int64)
    voltage = np.zeros((2, tops.size, n_steps), np.int64)
    for d, need in enumerate(rows.need_w):
        for i in np.flatnonzero((need > 0).any(axis=0) & (tree.feeder >= 0)):
            touched = np.unique(of_node[i : tree.last[i]])
            own[d, touched] = np.maximum(own[d, touched], need[:, i])
            thermal[d, top_of[i]] = np.maximum(thermal[d, top_of[i]], need[:, i])
    voltage_needs = rows.voltage_need_w
    if voltage_needs is not None:
        for d, need in enumerate(voltage_needs):
            for i in np.flatnonzero((need > 0).any(axis=0) & (tree.feeder >= 0)):
                own[d, of_node[i]] = np.maximum(own[d, of_node[i]], need[:, i])
                voltage[d, top_of[i]] = np.maximum(voltage[d, top_of[i]], need[:, i])
    around = np.zeros((4, n_groups + 1, n_steps), np.int64)
    inside = tree.feeder >= 0
    for g, f in np.unique(np.stack([of_node[inside], top_of[inside]]), axis=1).T:
        for k, kind in enumerate((voltage[0], voltage[1], thermal[0], thermal[1])):
            around[k, g] = np.maximum(around[k, g], kind[f])
    pick = np.where(
        (own[0] > 0) | (own[1] > 0),
        np.where(own[0] >= own[1], UP, DOWN),
        np.where(
            (around[0] > 0) | (around[1] > 0),
            np.where(around[0] >= around[1], UP, DOWN),
            np.where((around[2] > 0) & (around[2] >= around[3]), DOWN, UP),
        ),
    )
    g = of_node[book.node]
    wrong = (g >= 0)[:, None] & (pick[g] != book.down[:, None])
    return np.ascontiguousarray(wrong.T, np.uint8)


def select_by_tree(tree: Tree, rows: Rows, book: Book, quantity_w: I8A, *, n_threads: int) -> I8A:
    """Return the accepted W, shape (n_steps, n_offers), exact for the thermal rows; voltage rows are not looked at.

    Where all needs can be met the merit order under nested bounds decides, ten times as fast as the slopes by level of
    `tree_merit_order`, which leave least unserved where they cannot. Both give the same bits: the order is strict.
    """
    from flexcore.market.laminar import clear_steps

    n_steps = quantity_w.shape[0]
    if not book.node.size or float(quantity_w.sum(axis=1, dtype=np.float64).max(initial=0.0)) > _LARGEST_SUM_W:
        return _select_by_levels(tree, rows, book, quantity_w, n_threads=n_threads)
    inside = tree.parent >= 0
    found = clear_steps(
        tree.parent, book.node, quantity_w,
        # nothing is bought beyond the need, so prices count as positive; their order decides
        book.price - min(0, int(book.price.min())) + 1,
        np.where(inside, rows.lower_w, -NO_BOUND), np.where(inside, rows.upper_w, NO_BOUND),
        n_steps=n_steps, down=book.down, ident=book.tie, prices=False, n_threads=n_threads,
    )  # fmt: skip
    open_ = np.flatnonzero(found.state[:, 0] != 0)
    if open_.size:
        lower, upper = np.ascontiguousarray(rows.lower_w[open_]), np.ascontiguousarray(rows.upper_w[open_])
        part = Rows(lower, upper, None, None, rows.m, rows.reach)
        some = replace(book, price=book.price if book.price.shape[0] == 1 else book.price[open_])
        left = np.ascontiguousarray(quantity_w[open_])
        found.accepted_w[open_] = _select_by_levels(tree, part, some, left, n_threads=n_threads)
    return found.accepted_w


def _select_by_levels(tree: Tree, rows: Rows, book: Book, quantity_w: I8A, *, n_threads: int) -> I8A:
    """Select with least unserved need first, where needs may be beyond what is offered or allowed."""
    from flexcore.kernels.market.tree_merit_order import tree_merit_order

    n_steps = quantity_w.shape[0]
    accepted = np.empty(quantity_w.shape, np.int64)
    order = book.order()

    def task(lo: int, hi: int) -> None:
        tree_merit_order(
            tree.parent,
            tree.feeder,
            rows.lower_w,
            rows.upper_w,
            book.node,
            book.down,
            order,
            quantity_w,
            accepted,
            lo,
            hi,
        )

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return accepted


def activation(tree: Tree, rows: Rows, book: Book, accepted: I8A, *, n_threads: int) -> tuple[I8A, I8A]:
    """Return y in W at and below each node, (n_steps, n), and the unserved thermal need per step."""
    from flexcore.kernels.market.selection_rows import activation_sums

    n_steps = accepted.shape[0]
    y = np.empty((n_steps, tree.parent.size), np.int64)
    unserved = np.empty((n_steps, 1), np.int64)

    def task(lo: int, hi: int) -> None:
        activation_sums(tree.parent, book.node, book.down, accepted, rows.lower_w, rows.upper_w, y, unserved, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return y, unserved[:, 0]


def voltage_state(tree: Tree, rows: Rows, y_w: I8A, *, n_threads: int) -> tuple[U1A, I8A]:
    """Return flags per (step, feeder), 1 need, 2 broken row, 4 unmet need, and the unserved voltage need in W."""
    from flexcore.kernels.market.selection_rows import voltage_flags

    n_steps, n = y_w.shape
    flags = np.zeros((n_steps, n), np.uint8)
    unserved = np.zeros((n_steps, 1), np.int64)
    if rows.w_lower is None or rows.w_upper is None:
        return flags, unserved[:, 0]
    w_lower, w_upper = rows.w_lower, rows.w_upper

    def task(lo: int, hi: int) -> None:
        voltage_flags(tree.parent, tree.feeder, rows.m, rows.reach, w_lower, w_upper, y_w, flags, unserved, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return flags, unserved[:, 0]


def explain(
    tree: Tree, rows: Rows, book: Book, accepted: I8A, y_w: I8A, forbidden: U1A, *, n_threads: int
) -> tuple[U1A, I4A]:
    """Return reason codes and the node that keeps an offer out, both (n_steps, n_offers)."""
    from flexcore.kernels.market.selection_rows import explain_selection

    n_steps, n = y_w.shape
    voltage_need = np.zeros((n_steps, n), np.uint8)
    needs = rows.voltage_need_w
    if needs is not None:
        for d, need in enumerate(needs):
            step, node = np.nonzero(need > 0)
            for t, f in np.unique(np.stack([step, tree.feeder[node]]), axis=1).T:
                if f >= 0:
                    voltage_need[t, f : tree.last[f]] |= np.uint8(1 << d)
    reason = np.empty(accepted.shape, np.uint8)
    at = np.empty(accepted.shape, np.int32)

    def task(lo: int, hi: int) -> None:
        explain_selection(
            tree.parent, book.node, book.down, book.price, book.quantity_w, accepted, y_w, forbidden, rows.lower_w,
            rows.upper_w, voltage_need, reason, at, lo, hi,
        )  # fmt: skip

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return reason, at
