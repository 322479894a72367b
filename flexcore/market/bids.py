"""Selection of offers with conditions: the merit order where its answer keeps them, LP or MILP where it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.bid_conditions import beyond_relaxation, broken_conditions, find_parts
from flexcore.market.bid_explain import (
    BID_REASONS,
    NO_PRICE,
    activations,
    explain_conditions,
    local_prices,
    rejected_paradoxically,
)
from flexcore.market.bid_model import Part, outermost_needs
from flexcore.market.bid_problem import BidProblem
from flexcore.market.bid_tables import given_columns, read_problem
from flexcore.market.bid_ties import TIES, Ties, rank_ties, share_margin
from flexcore.market.clearing import PROOFS, ClearingResult
from flexcore.market.local_clearing import ENGINES, GridLike, total_cost
from flexcore.market.tree_clearing import Book, explain, select_by_tree
from flexcore.tables.bids import NEVER
from flexcore.tables.registry import TABLES

I8A = npt.NDArray[np.int64]

#: What decided a step; the strongest engine that any part of it needed.
BID_ENGINES = (*ENGINES, "milp")
_TREE = ENGINES.index("tree_merit_order")


@dataclass(frozen=True, slots=True)
class BidResult(ClearingResult):
    """Outcome of `clear` for offers and needs with conditions, beside what `ClearingResult` holds.

    Attributes
    ----------
    reason : ndarray of uint8, shape (n_rows,)
        Index into `BID_REASONS`.
    unserved_w : ndarray of int64, shape (n_steps,)
        Open needs without a cap; a need whose condition is not met does not count. [W]
    served_w : ndarray of int64, shape (n_needs,)
        Served power of each need, in the order of its table. [W]
    beyond_w : ndarray of int64, shape (n_steps,)
        Net activation beyond the outermost needs. [W]
    paradoxical : ndarray of bool, shape (n_rows,)
        Rejected although dearer power was accepted, or a need left open, at its place: a condition kept it out.
    local_price_ueur_per_mwh : ndarray of int64, shape (n_rows,)
        Price at the place of a row, where the LP or MILP decided; -2^62 where it could replace nobody, 2^62 where a
        need without cap stays open that it could serve. [micro-EUR/MWh]
    gap : ndarray, shape (n_steps,)
        Relative distance from the proved bound; 0 where the answer is optimal.
    ties : str
        Rule among offers of one price.
    shared : ndarray of bool, shape (n_rows,)
        Rows whose power was shared in proportion at the margin.
    over_procurement : str or int
        As asked for.
    """

    served_w: I8A
    beyond_w: I8A
    paradoxical: npt.NDArray[np.bool_]
    local_price_ueur_per_mwh: I8A
    gap: npt.NDArray[np.float64]
    ties: str
    shared: npt.NDArray[np.bool_]
    over_procurement: str | int

    @property
    def proof(self) -> npt.NDArray[np.str_]:
        """Why the answer of each step is optimal, or that the time ran out, shape (n_steps,)."""
        words = [PROOFS[name] for name in self.engine.tolist()]
        kept = [
            text + ", and the answer keeps every condition" * (text == PROOFS["tree_merit_order"]) for text in words
        ]
        return np.where(self.gap > 0, "not proved: the time ran out, see gap", np.array(kept, np.str_))

    def to_arrow(self) -> Any:
        """Return one row per row of the table of offers as a pyarrow Table."""
        import pyarrow as pa

        at = np.searchsorted(self.steps, self.step)
        return pa.table(
            {
                "offer_id": self.offer_id,
                "direction": self.direction,
                "step": self.step,
                "accepted_w": self.accepted_w,
                "reason": np.array(BID_REASONS)[self.reason],
                "reason_element": [None if x is None else str(x) for x in self.reason_element],
                "paradoxical": self.paradoxical,
                "local_price_ueur_per_mwh": pa.array(
                    self.local_price_ueur_per_mwh, mask=self.local_price_ueur_per_mwh == NO_PRICE
                ),
                "engine": self.engine[at] if at.size else np.zeros(0, str),
                "gap": self.gap[at] if at.size else np.zeros(0),
            }
        )


def has_conditions(offers: Any, needs: Any, places: Any) -> bool:
    """Whether a table has a column that the plain selection does not know, and this one does."""
    extra = set()
    for table, plain, full in (
        (offers, "clearing_offers", "clearing_bids"),
        (needs, "clearing_needs", "clearing_requests"),
    ):
        known = {column.name for column in TABLES[plain].columns}
        extra |= given_columns(table) & {column.name for column in TABLES[full].columns} - known
    return places is not None or bool(extra)


def clear_bids(
    offers: Any,
    needs: Any,
    limits: Any = None,
    *,
    places: Any = None,
    grid: GridLike | None = None,
    parent: Any = None,
    day: Any = None,
    group: Mapping[Any, int] | None = None,
    allow_counter: bool = False,
    method: str = "auto",
    ties: Ties = "time",
    over_procurement: str | int = "only_way",
    decided_at: Any = None,
    time_limit_s: float = 60.0,
    n_threads: int = 1,
) -> BidResult:
    """Select offers with conditions; arguments, result and errors as in `flexcore.market.clearing.clear`."""
    check_option("ties", ties, TIES)
    _check_options(method, over_procurement, time_limit_s)
    problem, lines = read_problem(
        offers, needs, limits, places, grid=grid, parent=parent, day=day, group=group, allow_counter=allow_counter,
        decided_at=decided_at,
    )  # fmt: skip
    problem = rank_ties(problem, ties)
    bids, n_steps = problem.bids, problem.steps.size
    relaxed = _relax(problem, n_threads)
    parts = find_parts(problem)
    row_bad = broken_conditions(bids, problem.steps, relaxed)
    row_hard, need_hard = beyond_relaxation(problem)
    solved = [
        part
        for part in parts
        if method == "milp" or (row_bad | row_hard)[part.rows].any() or need_hard[part.requests].any()
    ]
    accepted, served = relaxed.copy(), _served(problem, relaxed)
    engine, gap = np.zeros(n_steps, np.int64), np.zeros(n_steps)
    for part in parts:
        at = [step for _, step in part.cells]
        engine[at] = np.maximum(engine[at], _TREE)
    by_solver = np.zeros(bids.node.size, np.bool_)
    for answer, part in zip(_solve(problem, solved, over_procurement, time_limit_s, n_threads), solved, strict=True):
        accepted[answer.rows], served[answer.requests] = answer.accepted_w, answer.served_w
        at = [step for _, step in part.cells]
        engine[at] = np.maximum(engine[at], answer.engine)
        gap[at] = np.maximum(gap[at], answer.gap)
        by_solver[part.rows] = True
    shared = np.zeros(bids.node.size, np.bool_)
    if ties == "pro_rata":
        accepted, shared = share_margin(problem, accepted)

    price = np.full(bids.node.size, NO_PRICE, np.int64)
    paradoxical = np.zeros(bids.node.size, np.bool_)
    for part in solved:
        here = local_prices(problem, part, accepted, served)
        price[part.rows] = here[part.rows]
        paradoxical[rejected_paradoxically(problem, part, accepted, here)] = True
    reason, at_node = _reasons(problem, accepted, n_threads)
    reason = explain_conditions(problem, lines["quantity_w"], accepted, reason, by_solver, paradoxical)
    blocked = problem.name_at[np.maximum(at_node, 0)]
    blocked[(at_node < 0) | (bids.out > 0)] = None
    cost = total_cost(accepted, lines["price_ueur_per_mwh"]) + total_cost(accepted, lines["availability_ueur_per_mwh"])
    return BidResult(
        lines["offer_id"], lines["direction"], lines["step"], accepted, reason, blocked, problem.steps,
        np.array(BID_ENGINES)[engine], _unserved(problem, served), cost, served, _beyond(problem, accepted),
        paradoxical, price, gap, ties, shared, over_procurement,
    )  # fmt: skip


def _check_options(method: str, over_procurement: str | int, time_limit_s: float) -> None:
    found = Findings("options")
    if method not in ("auto", "milp"):
        found.add("FX-M227", f"method={method!r} cannot keep conditions of offers", hint='use "auto" or "milp"')
    whole = isinstance(over_procurement, int | np.integer) and not isinstance(over_procurement, bool)
    if over_procurement not in ("only_way", "least_cost") and not (whole and 0 <= int(over_procurement) <= 2**40):
        found.add(
            "FX-M227", f"over_procurement={over_procurement!r} is neither a rule nor a power",
            hint='use "only_way", "least_cost" or whole W from 0',
        )  # fmt: skip
    if not isinstance(time_limit_s, int | float) or not time_limit_s > 0:
        found.add("FX-M227", f"time_limit_s={time_limit_s!r} is no time above 0")
    found.raise_errors(OfferError)


def _matrix(problem: BidProblem, quantity_w: I8A) -> tuple[Book, I8A]:
    """Lay rows out as lines by steps for the merit order; returns the column of each row."""
    bids = problem.bids
    keys = np.stack([bids.bid, bids.node.astype(np.int64), bids.down.astype(np.int64), bids.price_step, bids.submitted])
    _, column = np.unique(np.r_[keys, _turn(bids.bid, keys, bids.step)[None]], axis=1, return_inverse=True)
    column = column.ravel().astype(np.int64)
    n = int(column.max(initial=-1)) + 1
    first = np.full(n, bids.tie.size, np.int64)
    np.minimum.at(first, column, bids.tie)
    shape = (problem.steps.size, n)
    quantity, price = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    quantity[bids.step, column], price[bids.step, column] = quantity_w, bids.price
    node, down = np.zeros(n, np.int32), np.zeros(n, np.uint8)
    node[column], down[column] = bids.node, bids.down
    tie = np.empty(n, np.int64)
    tie[np.argsort(first, kind="stable")] = np.arange(n)
    return Book(node, down, quantity, price, tie), column


def _turn(bid: I8A, keys: I8A, step: I8A) -> I8A:
    """Number rows that agree in all keys and the step, so that each gets a column of its own (rows of one block)."""
    order = np.lexsort((step, *keys))
    new = np.ones(bid.size, np.bool_)
    new[1:] = (np.diff(keys[:, order], axis=1) != 0).any(axis=0) | (np.diff(step[order]) != 0)
    count = np.arange(bid.size) - np.maximum.accumulate(np.where(new, np.arange(bid.size), 0)) if bid.size else step
    turn = np.empty(bid.size, np.int64)
    turn[order] = count
    return turn


def _relax(problem: BidProblem, n_threads: int) -> I8A:
    """What the merit order on the tree accepts of each row if no condition counts."""
    bids = problem.bids
    usable = np.where(bids.rebound | (bids.place >= 0), 0, bids.quantity_w)
    if not bids.node.size:
        return usable
    book, column = _matrix(problem, usable)
    accepted = select_by_tree(problem.tree, problem.rows, book, book.quantity_w, n_threads=n_threads)
    return np.asarray(accepted[bids.step, column])


def _solve(
    problem: BidProblem, parts: list[Part], over_procurement: str | int, time_limit_s: float, n_threads: int
) -> list[Any]:
    from flexcore.market.milp_clearing import solve_part

    answers: list[Any] = [None] * len(parts)
    rule = over_procurement if isinstance(over_procurement, str) else int(over_procurement)

    def task(lo: int, hi: int) -> None:
        for k in range(lo, hi):
            answers[k] = solve_part(problem, parts[k], over_procurement=rule, time_limit_s=time_limit_s)

    run_chunks(task, len(parts), n_threads=n_threads, chunk=1)
    return answers


def _served(problem: BidProblem, accepted: I8A) -> I8A:
    """Share the net activation at each element among its needs, in the order of their table."""
    requests = problem.requests
    sure, most = activations(problem, accepted)
    key = np.stack([requests.step, requests.node.astype(np.int64), requests.down.astype(np.int64)])
    order = np.lexsort((np.arange(requests.node.size), *key))
    new = np.ones(order.size, np.bool_)
    new[1:] = (np.diff(key[:, order], axis=1) != 0).any(axis=0)
    quantity = requests.quantity_w[order]
    before = np.cumsum(quantity) - quantity
    before -= before[np.maximum.accumulate(np.where(new, np.arange(order.size), 0))] if order.size else before
    at = (requests.step[order], requests.node[order])
    net = np.where(requests.down[order], -most[at], sure[at])
    served = np.empty(order.size, np.int64)
    served[order] = np.clip(net - before, 0, quantity)
    return served


def _unserved(problem: BidProblem, served: I8A) -> I8A:
    requests = problem.requests
    full = served == requests.quantity_w
    counts = (requests.cap == NEVER) & ((requests.condition < 0) | full[np.maximum(requests.condition, 0)])
    result = np.zeros(problem.steps.size, np.int64)
    np.add.at(result, requests.step[counts], (requests.quantity_w - served)[counts])
    return result


def _beyond(problem: BidProblem, accepted: I8A) -> I8A:
    """W of net activation beyond the outermost needs, by step."""
    sure, most = activations(problem, accepted)
    result = np.zeros(problem.steps.size, np.int64)
    cells = np.unique(np.stack([problem.tree.feeder[problem.requests.node], problem.requests.step]), axis=1)
    for feeder, step in cells.T.tolist():
        for i, down, amount in outermost_needs(problem, feeder, step):
            net = -sure[step, i] if down else most[step, i]
            result[step] += max(0, int(net) - amount)
    return result


def _reasons(problem: BidProblem, accepted: I8A, n_threads: int) -> tuple[npt.NDArray[np.uint8], I8A]:
    bids = problem.bids
    if not bids.node.size:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64)
    book, column = _matrix(problem, bids.quantity_w)
    taken = np.zeros(book.quantity_w.shape, np.int64)
    taken[bids.step, column] = accepted
    _, most = activations(problem, accepted)
    forbidden = np.zeros(taken.shape, np.uint8)
    reason, at = explain(problem.tree, problem.rows, book, taken, most, forbidden, n_threads=n_threads)
    return reason[bids.step, column], at[bids.step, column].astype(np.int64)
