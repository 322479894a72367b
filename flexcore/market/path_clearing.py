"""Selection where voltage rows bind, by path prices: exact along the tree, far cheaper than the LP."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.market.tree_clearing import Book, Rows, Tree

I8A = npt.NDArray[np.int64]
I4A = npt.NDArray[np.int32]
U1A = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PathAnswer:
    """What path prices decide of a list of cases, each a step and a feeder.

    Attributes
    ----------
    decided : ndarray of bool, shape (n_cases,)
        False where the answer is not proved, and is left to the LP.
    accepted_w : ndarray of int64, shape (n_steps, n_offers)
        As given, with the answers of the decided cases. [W]
    blocked_by : ndarray of int32, shape (n_steps, n_offers)
        Node whose voltage leaves an offer no room, -1 where none does.
    by_effect : ndarray of bool, shape (n_cases,)
        True where one voltage row alone binds: price per unit of effect.
    gap : ndarray, shape (n_cases, 2)
        What a better answer could save at most, before rounding to W: unserved need [W], and cost at the prices that
        count [W x micro-EUR/MWh].
    """

    decided: npt.NDArray[np.bool_]
    accepted_w: I8A
    blocked_by: I4A
    by_effect: npt.NDArray[np.bool_]
    gap: npt.NDArray[np.float64]


def select_by_path_prices(
    tree: Tree, rows: Rows, book: Book, quantity_w: I8A, by_tree: I8A, cases: I8A, *, n_threads: int
) -> PathAnswer:
    """Select by path prices.

    Parameters
    ----------
    quantity_w, by_tree : ndarray of int64, shape (n_steps, n_offers)
        Offered and allowed, and what the merit order on the tree accepts of it. [W]
    cases : ndarray of int64, shape (n_cases, 2)
        Step and feeder. Rows must have voltage bounds.

    Returns
    -------
    PathAnswer
    """
    from flexcore.kernels.market.path_prices import BY_EFFECT, LEFT, path_prices

    assert rows.w_lower is not None
    assert rows.w_upper is not None
    w_lower, w_upper = rows.w_lower, rows.w_upper
    by_node = np.argsort(book.node, kind="stable")
    begin = np.searchsorted(book.node[by_node], np.arange(tree.parent.size + 1)).astype(np.int64)
    accepted, blocked = by_tree.copy(), np.full(by_tree.shape, -1, np.int32)
    decided, gap = np.zeros(len(cases), np.uint8), np.zeros((len(cases), 2))
    step, top = (np.ascontiguousarray(x) for x in cases.T)

    def task(lo: int, hi: int) -> None:
        path_prices(
            tree.parent, tree.last, rows.m, rows.reach, rows.lower_w, rows.upper_w, w_lower, w_upper, by_node, begin,
            book.node, book.down, quantity_w, book.price, book.tie, by_tree, step, top, accepted, blocked, decided,
            gap, lo, hi,
        )  # fmt: skip

    run_chunks(task, len(cases), n_threads=n_threads, chunk=1)
    return PathAnswer(decided != LEFT, accepted, blocked, decided == BY_EFFECT, gap)


def too_weak(tree: Tree, rows: Rows, book: Book, by_tree: I8A, cases: I8A, min_effect: float) -> npt.NDArray[np.bool_]:
    """Mark offers with too little effect on every open need of their feeder and step, (n_steps, n_offers).

    Offers that the tree accepts stay: they make room for others. Where no need is open, only a row that the tree's
    answer breaks brought the feeder here, and everyone may help.
    """
    from flexcore.kernels.market.selection_rows import need_effect

    weak = np.zeros(by_tree.shape, np.bool_)
    if min_effect <= 0 or rows.w_lower is None or rows.w_upper is None:
        return weak
    effect = np.zeros(tree.parent.size)
    for t, f in cases.tolist():
        last = int(tree.last[f])
        need_effect(
            tree.parent, rows.reach, rows.w_lower[t], rows.w_upper[t], rows.lower_w[t], rows.upper_w[t], f, last, effect
        )
        if effect[f:last].any():
            inside = (book.node >= f) & (book.node < last)
            weak[t] |= inside & (effect[book.node] < min_effect) & (by_tree[t] == 0)
    return weak
