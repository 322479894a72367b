"""Pro-rata at the margin: offers that price and rows do not tell apart share what was accepted of them."""

from dataclasses import dataclass
from fractions import Fraction
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
_APART = np.int64(-1)  # class of an offer that shares with nobody


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
        (element, step) whose row proportional shares would have passed: what lies below it shared apart.
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
    class are shared by largest remainder, ties in the order of submission. Where the shares would pass rows that had
    room, the row with the least room per W offered below it is filled to its bound; those below it share that, the
    others share the rest, and so on. Where this does not come out, because a served need above its bound would be lost
    or grains do not fit, what lies below a passed row keeps the sum that it had. Where voltage needs or rows are in the
    way the offers of one node only are interchangeable. The sum of a class is exact.
    """
    quantity, accepted = cleared.book.quantity_w, cleared.accepted_w
    n_offers = cleared.n_offers
    grain = np.ones(n_offers, np.int64)
    if granularity_w is not None:
        grain = as_int(granularity_w, "granularity_w", shape=(n_offers,), lo=1)
    free = np.ones(n_offers, np.bool_) if divisible is None else as_bool(divisible, "divisible", shape=(n_offers,))
    off = np.flatnonzero(((accepted % grain != 0) & free).any(axis=0))
    if off.size:
        found = Findings("granularity_w", n_offers)
        what = f"{off.size} offers are accepted in parts that are no multiples of their granularity"
        found.add("FX-M240", what, field="granularity_w", rows=off, ids=cleared.offer_id[off])
        found.raise_errors(OfferError)
    usable = (quantity > 0) & (cleared.barred == 0) & free & (cleared.tree.feeder[cleared.book.node] >= 0)
    by_node = _voltage_needs(cleared)
    shared_w, place, counts, held, bad = _settle(cleared, usable, grain, by_node, True, n_threads)
    if bad.any():
        other = _settle(cleared, usable & bad[:, None], grain, by_node, False, n_threads)
        pairs: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = [
            (shared_w, other[0]), (place, other[1]), (held, other[3]), *zip(counts, other[2], strict=True)
        ]  # fmt: skip
        for mine, theirs in pairs:
            mine[bad] = theirs[bad]
    return ProRata(
        cleared.with_accepted(shared_w, n_threads=n_threads), np.ascontiguousarray(shared_w.T),
        np.ascontiguousarray(place.T != _APART), int(counts[0].sum()), int(counts[1].sum()), int(held.sum()),
    )  # fmt: skip


def _settle(
    cleared: Cleared, usable: Any, grain: I8A, by_node: Any, fill: bool, n_threads: int
) -> tuple[I8A, I8A, tuple[I8A, I8A], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Share until no row is passed; returns accepted W, classes, counts per step, rows held and steps that failed.

    With `fill` a row that shares would pass is filled to its bound, else its subtree keeps the sum that it had.
    """
    base, by_node = cleared.accepted_w.copy(), by_node.copy()
    cut = np.zeros(cleared.y_w.shape, np.uint8)
    while True:
        shared_w, place, counts = _share(cleared, base, usable, grain, cut, by_node, n_threads)
        y, _ = activation(cleared.tree, cleared.rows, cleared.book, shared_w, n_threads=n_threads)
        broken, bent = _broken(cleared, y), _broken_voltage(cleared, y, n_threads)
        new, bent_new = broken & (cut == 0), bent & ~by_node
        if not new.any() and not bent_new.any():
            return shared_w, place, counts, cut, np.asarray(broken.any(axis=1) | bent.any(axis=1))
        held = _fill(cleared, base, shared_w, place, y, new, grain) if fill else new.astype(np.uint8)
        cut = np.bitwise_or(cut, held)
        by_node |= bent_new


def _fill(
    cleared: Cleared, base: I8A, shared_w: I8A, place: I8A, y: I8A, broken: npt.NDArray[np.bool_], grain: I8A
) -> npt.NDArray[np.uint8]:
    """Fill one passed row of each class to its bound, that with the least room per W offered; returns rows to hold.

    The sums of the two parts of the class are written to `base`. Rows that are passed are few: a loop over them.
    """
    book, last = cleared.book, cleared.tree.last
    least, most = _held(cleared)
    new = np.zeros(y.shape, np.uint8)
    for t in np.flatnonzero(broken.any(axis=1)):
        rows = np.flatnonzero(broken[t])
        members = np.flatnonzero(place[t] != _APART)
        for key in np.unique(place[t, members]):
            mine = members[place[t, members] == key]
            best: tuple[Fraction, int, npt.NDArray[np.bool_], int] | None = None
            for e in rows:
                inside = (book.node[mine] >= e) & (book.node[mine] < last[e])
                excess = int(least[t, e] - y[t, e] if book.down[mine[0]] else y[t, e] - most[t, e])
                if inside.all() or not inside.any() or excess <= 0:
                    continue
                allowed = int(shared_w[t, mine[inside]].sum()) - excess
                room = Fraction(allowed, int(book.quantity_w[t, mine[inside]].sum()))
                if best is None or room < best[0]:
                    best = (room, int(e), inside, allowed)
            if best is None:
                continue
            _, full, inside, allowed = best
            new[t, full] = 1
            parts = ((mine[inside], allowed), (mine[~inside], int(shared_w[t, mine].sum()) - allowed))
            filled = [_in_order(book.quantity_w[t, part], grain[part], total) for part, total in parts]
            for (part, _), values in zip(parts, filled, strict=True):
                if values is not None and all(x is not None for x in filled):
                    base[t, part] = values
        if not new[t].any():
            new[t, rows] = 1
    return new


def _in_order(quantity_w: I8A, grain: I8A, total: int) -> I8A | None:
    """Give whole grains one offer after the other; None if the total cannot be made up."""
    out = np.zeros(quantity_w.size, np.int64)
    for k in range(quantity_w.size):
        out[k] = min(max(total, 0), int(quantity_w[k])) // int(grain[k]) * int(grain[k])
        total -= int(out[k])
    return None if total else out


def _share(
    cleared: Cleared, base: I8A, usable: Any, grain: I8A, cut: npt.NDArray[np.uint8], by_node: Any, n_threads: int
) -> tuple[I8A, I8A, tuple[I8A, I8A]]:
    """Share every class of `base` once; returns accepted W, the class of who shared, and classes shared and kept."""
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
    result, place = base.copy(), np.full(usable.shape, _APART)
    counts = (np.zeros(cleared.n_steps, np.int64), np.zeros(cleared.n_steps, np.int64))
    if not order.size:
        return result, place, counts
    at = (step[order], offer[order])
    total, most = (np.add.reduceat(x[at], first) for x in (base, book.quantity_w))
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
    result[at], place[at] = share[good], np.repeat(np.flatnonzero(margin), size[margin])[good]
    for count, which in zip(counts, (placed == 1, placed == 0), strict=True):
        np.add.at(count, step[order][first][margin][which], 1)
    return result, place, counts


def _held(cleared: Cleared) -> tuple[I8A, I8A]:
    """Bounds that the selection kept: what is served of a need stays served."""
    lower, upper, y = cleared.rows.lower_w, cleared.rows.upper_w, cleared.y_w
    return np.where(lower > 0, np.minimum(lower, y), lower), np.where(upper < 0, np.maximum(upper, y), upper)


def _broken(cleared: Cleared, y: I8A) -> npt.NDArray[np.bool_]:
    """Rows that held before, or were served as far, and do not any more."""
    least, most = _held(cleared)
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
