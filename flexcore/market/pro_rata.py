"""Pro-rata at the margin: offers that price and rows do not tell apart share what was accepted of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError
from flexcore.market.cleared import Cleared
from flexcore.market.tree_clearing import activation, voltage_state

I8A = npt.NDArray[np.int64]
_STEPS_PER_CHUNK = 4
_CLASSES_PER_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class ProRata:
    """A selection whose margin is shared in proportion to quantity.

    Attributes
    ----------
    cleared : Cleared
        The selection after sharing; cost, unserved need and all rows at a bound are those of before.
    accepted_w : ndarray of int64, shape (n_offers, n_steps)
        [W]
    shared : ndarray of bool, shape (n_offers, n_steps)
        Offers that took part in sharing.
    n_classes : int
        Classes that were shared.
    n_kept : int
        Classes that kept what the clearing gave, because their granularities cannot carry the total.
    n_rows_held : int
        (element, step) whose row proportional shares would have broken: what lies below it shared apart.
    rule : str
        "pro_rata", for the record.
    """

    cleared: Cleared
    accepted_w: I8A
    shared: npt.NDArray[np.bool_]
    n_classes: int
    n_kept: int
    n_rows_held: int
    rule: str = "pro_rata"


def share_margin(
    cleared: Cleared,
    *,
    granularity_w: npt.ArrayLike | None = None,
    divisible: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> ProRata:
    """Replace first come, first served among interchangeable offers by shares in proportion to quantity.

    Parameters
    ----------
    cleared : Cleared
    granularity_w : array_like of int, shape (n_offers,), optional
        Awards are multiples of it; 1 W by default. [W]
    divisible : array_like of bool, shape (n_offers,), optional
        False for offers that keep what they have: all or nothing, blocks, minimum quantities. All True by default.
    n_threads : int
        Never changes the result.

    Returns
    -------
    ProRata

    Raises
    ------
    OfferError
        FX-M240 an offer is accepted off its granularity.
    ValidationError
        FX-A001, FX-A002, FX-A006 for shapes, types and a granularity below 1.

    Notes
    -----
    Offers are interchangeable in a step if direction, price and the lowest element at or above them whose row is at a
    bound are the same: moving a W from one to the other changes neither cost nor any such row. The accepted W of such a
    class are shared by largest remainder, ties in the order of submission. Where the shares would pass a row that had
    room, the offers below that element share what was accepted below it. Where voltage needs or rows are in the way the
    offers of one node only are interchangeable. The sum of a class is exact.
    """
    quantity, accepted = cleared.book.quantity_w, cleared.accepted_w
    n_offers = cleared.n_offers
    grain = np.ones(n_offers, np.int64)
    if granularity_w is not None:
        grain = as_int(granularity_w, "granularity_w", shape=(n_offers,), lo=1)
    free = np.ones(n_offers, np.bool_) if divisible is None else as_bool(divisible, "divisible", shape=(n_offers,))
    bad = np.flatnonzero(((accepted % grain != 0) & free).any(axis=0))
    if bad.size:
        found = Findings("granularity_w", n_offers)
        what = f"{bad.size} offers are accepted in parts that are no multiples of their granularity"
        found.add("FX-M240", what, field="granularity_w", rows=bad, ids=cleared.offer_id[bad])
        found.raise_errors(OfferError)
    usable = (quantity > 0) & (cleared.barred == 0) & free & (cleared.tree.feeder[cleared.book.node] >= 0)
    cut = np.zeros(cleared.y_w.shape, np.uint8)
    by_node = _voltage_needs(cleared)
    while True:
        shared_w, shared, counts = _share(cleared, usable, grain, cut, by_node, n_threads)
        y, _ = activation(cleared.tree, cleared.rows, cleared.book, shared_w, n_threads=n_threads)
        broken = _broken(cleared, y) & (cut == 0)
        bent = _broken_voltage(cleared, y, n_threads) & ~by_node
        if not broken.any() and not bent.any():
            break
        cut |= broken.astype(np.uint8)
        by_node |= bent
    return ProRata(
        cleared.with_accepted(shared_w, n_threads=n_threads), np.ascontiguousarray(shared_w.T),
        np.ascontiguousarray(shared.T), *counts, int(cut.sum()),
    )  # fmt: skip


def _share(
    cleared: Cleared, usable: Any, grain: I8A, cut: npt.NDArray[np.uint8], by_node: Any, n_threads: int
) -> tuple[I8A, npt.NDArray[np.bool_], tuple[int, int]]:
    """Share every class once; returns accepted W, who shared, and how many classes were shared and kept."""
    from flexcore.kernels.market import pro_rata as kernels

    tree, rows, book = cleared.tree, cleared.rows, cleared.book
    bound = np.empty(cleared.y_w.shape, np.int32)

    def find(lo: int, hi: int) -> None:
        kernels.lowest_bound(tree.parent, rows.lower_w, rows.upper_w, cleared.y_w, cut, bound, lo, hi)

    run_chunks(find, cleared.n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    step, offer = np.nonzero(usable)
    node = book.node[offer]
    price = book.price[step if book.price.shape[0] > 1 else np.zeros_like(step), offer]
    alone = by_node[step, tree.feeder[node]]
    place = np.where(alone, node + tree.parent.size, bound[step, node])
    # rows at a bound lie in one feeder, but without any the feeders must stay apart
    place = np.where(place < 0, -1 - tree.feeder[node], place)
    order = np.lexsort((book.tie[offer], price, book.down[offer], place, step))
    keys = [x[order] for x in (step, place, book.down[offer], price)]
    new = np.ones(order.size, np.bool_)
    if order.size:
        new[1:] = np.logical_or.reduce([x[1:] != x[:-1] for x in keys])
    first = np.flatnonzero(new)
    result, shared = cleared.accepted_w.copy(), np.zeros(usable.shape, np.bool_)
    if not order.size:
        return result, shared, (0, 0)
    at = (step[order], offer[order])
    total, most = (np.add.reduceat(x[at], first) for x in (cleared.accepted_w, book.quantity_w))
    size = np.diff(np.append(first, order.size))
    margin = (total > 0) & (total < most) & (size > 1)
    member = np.repeat(margin, size)
    at = (at[0][member], at[1][member])
    indptr = np.concatenate([[0], np.cumsum(size[margin])])
    total = np.ascontiguousarray(total[margin])
    offered, grains = np.ascontiguousarray(book.quantity_w[at]), np.ascontiguousarray(grain[at[1]])
    share, placed = np.empty(offered.size, np.int64), np.empty(total.size, np.uint8)

    def split(lo: int, hi: int) -> None:
        kernels.shares(indptr, total, offered, grains, share, placed, lo, hi)

    run_chunks(split, total.size, n_threads=n_threads, chunk=_CLASSES_PER_CHUNK)
    good = np.repeat(placed == 1, size[margin])
    at = (at[0][good], at[1][good])
    result[at], shared[at] = share[good], True
    n_shared = int((placed == 1).sum())
    return result, shared, (n_shared, total.size - n_shared)


def _broken(cleared: Cleared, y: I8A) -> npt.NDArray[np.bool_]:
    """Rows that held before, or were served as far, and do not any more."""
    lower, upper, before = cleared.rows.lower_w, cleared.rows.upper_w, cleared.y_w
    least = np.where(lower > 0, np.minimum(lower, before), lower)
    most = np.where(upper < 0, np.maximum(upper, before), upper)
    return np.asarray(((y < least) | (y > most)) & (cleared.tree.parent >= 0))


def _voltage_needs(cleared: Cleared) -> npt.NDArray[np.bool_]:
    """Feeders, by their top, with a voltage need, shape (n_steps, n)."""
    needs = cleared.rows.voltage_need_w
    marked = np.zeros(cleared.y_w.shape, np.bool_)
    if needs is not None:
        step, node = np.nonzero((needs[0] > 0) | (needs[1] > 0))
        inside = cleared.tree.feeder[node] >= 0
        marked[step[inside], cleared.tree.feeder[node[inside]]] = True
    return marked


def _broken_voltage(cleared: Cleared, y: I8A, n_threads: int) -> npt.NDArray[np.bool_]:
    """Feeders in which a voltage row is broken that was not before, shape (n_steps, n)."""
    flags, _ = voltage_state(cleared.tree, cleared.rows, y, n_threads=n_threads)
    before, _ = voltage_state(cleared.tree, cleared.rows, cleared.y_w, n_threads=n_threads)
    return np.asarray((flags & 2 > 0) & (before & 2 == 0))
