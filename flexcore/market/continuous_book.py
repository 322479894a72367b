"""Continuous trading with grid room: price-time priority, and no trade that a row of the grid does not allow."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, GridError, OfferError
from flexcore.market.book_result import COMPLETIONS, KINDS, STATES, BookResult
from flexcore.market.local_clearing import GridLike, RowsLike
from flexcore.market.selection_tables import element_positions, element_tree, plain_columns
from flexcore.market.tree_clearing import Tree
from flexcore.tables import check
from flexcore.tables.check import Columns
from flexcore.units import DOWN, UP, amount_ueur, exact_sum, kw_to_w_down

__all__ = ["COMPLETIONS", "KINDS", "STATES", "BookResult", "continuous_book"]

I8A = npt.NDArray[np.int64]
F8A = npt.NDArray[np.float64]

OFFER, PAIRED_REQUEST = 0, 2

_NO_BOUND = 2**60  # sums of all quantities stay below it
_UNBOUNDED_KW = 1e9
_WORDS = {"kind": KINDS, "direction": ("up", "down"), "completion": COMPLETIONS}
_TIMES = ("arrived_at", "expires_at", "cancelled_at")


def continuous_book(
    orders: Any,
    limits: Any = None,
    *,
    grid: GridLike | None = None,
    parent: Any = None,
    rows: RowsLike | None = None,
    peer_trades: bool = False,
    rescan: bool = False,
    closes_at: int | None = None,
    n_threads: int = 1,
) -> BookResult:
    """Let orders trade as they arrive: best price first, then the earliest, as far as the grid has room.

    Quarter-hours are independent books. The rules stand in docs/explanation/continuous-book.md.

    Parameters
    ----------
    orders : table
        order_id, kind ("offer", "request", "paired_request", or 0, 1, 2), element, direction, step, quantity_w,
        price_ueur_per_mwh and, not required, arrived_at, expires_at, cancelled_at (whole numbers in one unit, or
        datetimes with a zone), completion ("normal", "fill_and_kill", "fill_or_kill", or 0, 1, 2) and minimum_w.
        Orders that arrive at one time arrive in the order of rows.
    limits : table, optional
        element, direction, step, capability_w: most that may move at and below the element, net of the other direction.
    grid : Grid, optional
        Elements are its node ids, each standing for the branch that feeds the node.
    parent : table, optional
        element, parent: another tree. Without `grid` and `parent` every element stands alone.
    rows : ActivationRows, optional
        Bounds per node and step, thermal and voltage, in the grid's node order; needs `grid`. Thermal bounds are
        rounded to the safe side in whole W; a row that is broken at the start is not made worse.
    peer_trades : bool
        Up and down offers whose prices cross trade with one another; only the path between them is loaded.
    rescan : bool
        True: after each arrival that has traded, orders that wait for room scan the book again, in order of arrival,
        until none of them trades. False: only arrivals trade.
    closes_at : int, optional
        End of trading, which decides what has expired, in the unit of arrived_at (microseconds since 1970 where that is
        a datetime); the last arrival by default.
    n_threads : int
        Never changes the result.

    Returns
    -------
    BookResult

    Raises
    ------
    ValidationError
        FX-A002 an end of trading that is no whole number.
    OfferError
        FX-A001..FX-A011 for the tables, FX-M203 a step outside the rows, FX-M260 an order that is over before it
        arrives, FX-M261 a minimum above the quantity, FX-M262 a paired request with completion "normal".
    UnknownIdError
        FX-M201 an element that the tree does not have.
    TimeSeriesError
        FX-T001 a time without zone.
    GridError
        FX-M205 the parents form a loop, FX-M263 rows without grid.

    Notes
    -----
    An arrival takes O(log n) time for each order that it meets, plus the depth of its element. With voltage rows each
    order met looks at all of them.
    """
    book = check("book_orders", plain_columns(orders, words=_WORDS, times=_TIMES), error=OfferError)
    empty: dict[str, Any] = {"element": [], "direction": [], "step": [], "capability_w": []}
    caps = check("clearing_limits", empty if limits is None else plain_columns(limits), error=OfferError)
    _refuse(book)
    arrived = book["arrived_at"]
    last = arrived.max() if arrived.size else 0  # times may all be negative, such as minutes before the gate
    end = int(last if closes_at is None else as_int(closes_at, "closes_at", shape=()))
    if rows is not None and grid is None:
        found = Findings("rows")
        found.add("FX-M263", "rows are given without their grid", hint="pass grid=")
        found.raise_errors(GridError)
    named: tuple[Columns, ...] = tuple({"element": np.unique(table["element"])} for table in (book, caps))
    keys, tree, at_preorder = element_tree(grid, parent, named)
    position = element_positions(keys, at_preorder, orders=book, limits=caps)
    node, cap_node = position["orders"], position["limits"]

    # in order of arrival within each step
    sequence = np.lexsort((book["arrived_at"], book["step"]))
    step = book["step"][sequence]
    steps, starts = np.unique(step, return_index=True)
    step_start = np.append(starts, step.size).astype(np.int64)
    n = tree.parent.size
    lower, upper = np.full((steps.size, n), -_NO_BOUND, np.int64), np.full((steps.size, n), _NO_BOUND, np.int64)
    effect, row_lower, row_upper = np.zeros((n, 0)), np.zeros((steps.size, 0)), np.zeros((steps.size, 0))
    if rows is not None and grid is not None:
        effect, row_lower, row_upper = _take_rows(rows, grid, tree, steps, lower, upper)
    kept = np.isin(caps["step"], steps)
    at = np.searchsorted(steps, caps["step"][kept]), cap_node[kept]
    cap_up, amount = caps["direction"][kept] == UP, caps["capability_w"][kept]
    np.minimum.at(upper, (at[0][cap_up], at[1][cap_up]), amount[cap_up])
    np.maximum.at(lower, (at[0][~cap_up], at[1][~cap_up]), -amount[~cap_up])

    log, event, left, y = _run(
        book, sequence, node, tree, (lower, upper, effect, row_lower, row_upper), steps, step_start,
        peer_trades=peer_trades, rescan=rescan, n_threads=n_threads,
    )  # fmt: skip
    buyer, seller, partner, price, partner_price = _settle(book, log)
    ask = _ask(book)
    surplus = -(ask[log[:, 0]] + ask[log[:, 1]] + np.where(partner >= 0, ask[log[:, 2]], 0))
    paid = np.where(book["kind"][buyer] == OFFER, 0, price + partner_price)
    return BookResult(
        book["order_id"], book["step"], _states(book, left, end), book["quantity_w"] - left, left, buyer, seller,
        partner, book["step"][buyer], log[:, 3], book["arrived_at"][event], price, partner_price, np.array(keys), steps,
        np.ascontiguousarray(y[:, at_preorder].T), _total(log[:, 3], paid), _total(log[:, 3], surplus),
    )  # fmt: skip


def _refuse(book: Columns) -> None:
    found = Findings("orders", book["step"].size)
    ids, arrived = book["order_id"], book["arrived_at"]
    bad = np.flatnonzero((book["expires_at"] <= arrived) | (book["cancelled_at"] < arrived))
    if bad.size:
        found.add(
            "FX-M260", f"{bad.size} orders are over before they arrive", field="expires_at", rows=bad, ids=ids[bad]
        )
    bad = np.flatnonzero(book["minimum_w"] > book["quantity_w"])
    if bad.size:
        found.add("FX-M261", f"{bad.size} minima exceed their quantity", field="minimum_w", rows=bad, ids=ids[bad])
    bad = np.flatnonzero((book["kind"] == PAIRED_REQUEST) & (book["completion"] == 0))
    if bad.size:
        hint = 'give it completion "fill_and_kill" or "fill_or_kill"'
        found.add(
            "FX-M262", f"{bad.size} paired requests would rest", field="completion", rows=bad, ids=ids[bad], hint=hint
        )
    if float(book["quantity_w"].astype(np.float64).sum()) > 2.0**59:
        found.add("FX-A006", "the quantities together exceed 2^59 W", field="quantity_w")
    bad = np.flatnonzero(book["step"] < 0)
    if bad.size:
        found.add("FX-M203", "steps count from 0", field="step", rows=bad, ids=ids[bad])
    found.raise_errors(OfferError)


def _take_rows(rows: RowsLike, grid: GridLike, tree: Tree, steps: I8A, lower: I8A, upper: I8A) -> tuple[F8A, F8A, F8A]:
    """Write the thermal bounds, and return the voltage rows as effects per W at each preorder position."""
    n = len(grid.node_ids)
    names = ("lower_kw", "upper_kw", "w_lower", "w_upper")
    n_steps = np.asarray(rows.lower_kw).shape[-1]
    found = Findings("orders")
    bad = steps[steps >= n_steps]
    if bad.size:
        found.add("FX-M203", "orders have steps outside the rows", field="step", ids=bad)
    found.raise_errors(OfferError)
    given = {name: as_float(getattr(rows, name), f"rows.{name}", shape=(n, n_steps), finite=False) for name in names}
    found = Findings("rows", n)
    for name, values in given.items():
        nan = np.flatnonzero(np.isnan(values).any(axis=1))
        if nan.size:
            found.add("FX-A003", f"rows.{name} is NaN", field=name, rows=nan)
    found.raise_errors()
    user = np.asarray(grid.forest.order)
    taken = {name: values[user][:, steps].T for name, values in given.items()}
    has_row = tree.parent[1:] > 0  # one root was added above all; a root of the grid has no row
    for name, out, sign in (("lower_kw", lower, -1), ("upper_kw", upper, 1)):
        kw = sign * taken[name]
        bounded = (kw < _UNBOUNDED_KW) & has_row
        w = kw_to_w_down(np.where(bounded, np.maximum(kw, -_UNBOUNDED_KW), 0.0))
        out[:, 1:] = np.where(bounded, sign * w, out[:, 1:])
    m = np.append(0.0, as_float(rows.m, "rows.m", shape=(n,))[user])
    watched = np.flatnonzero((np.isfinite(taken["w_lower"]) | np.isfinite(taken["w_upper"])).any(axis=0) & has_row)
    effect = np.zeros((n + 1, watched.size))
    for row, node in enumerate(watched + 1):
        i = int(node)
        while tree.parent[i] > 0:
            effect[i : tree.last[i], row] += m[i] / 1000.0
            i = int(tree.parent[i])
    w_lower, w_upper = (np.ascontiguousarray(taken[name][:, watched]) for name in ("w_lower", "w_upper"))
    return effect, w_lower, w_upper


def _ask(book: Columns) -> I8A:
    """What an order wants per MWh, so that orders suit each other where the sum is not above 0."""
    return np.where(book["kind"] == OFFER, book["price_ueur_per_mwh"], -book["price_ueur_per_mwh"])


def _run(
    book: Columns,
    sequence: npt.NDArray[np.intp],
    node: npt.NDArray[np.int32],
    tree: Tree,
    bounds: tuple[I8A, I8A, F8A, F8A, F8A],
    steps: I8A,
    step_start: I8A,
    *,
    peer_trades: bool,
    rescan: bool,
    n_threads: int,
) -> tuple[I8A, I8A, I8A, I8A]:
    """Return trades as (scanning row, other row, third row or -1, W), the row that set each off, what is left, y."""
    from flexcore.kernels.market.continuous_book import continuous_book as kernel

    ask = np.ascontiguousarray(_ask(book)[sequence])
    kind = book["kind"][sequence].astype(np.uint8)
    down = (book["direction"][sequence] == DOWN).astype(np.uint8)
    group = np.where(kind == PAIRED_REQUEST, 4, 2 * kind + down)
    of_step = np.repeat(np.arange(steps.size), np.diff(step_start))
    by_rank = (np.lexsort((ask, group + 8 * of_step)) - step_start[of_step]).astype(np.int32)
    leaves = np.minimum(book["expires_at"], book["cancelled_at"])
    ordered = (
        kind, down, np.ascontiguousarray(node[sequence]), book["quantity_w"][sequence], ask,
        book["minimum_w"][sequence], book["completion"][sequence].astype(np.uint8), book["arrived_at"][sequence],
        leaves[sequence], by_rank,
    )  # fmt: skip
    left = np.empty(sequence.size, np.int64)
    y = np.empty((steps.size, tree.parent.size), np.int64)
    count = np.zeros(steps.size, np.int64)
    space = np.diff(step_start)  # nearly every trade fills an order; where room cuts many short there may be more
    while True:
        trade_start = np.append(0, np.cumsum(space))
        trades = np.empty((int(trade_start[-1]), 5), np.int64)

        def task(lo: int, hi: int, trade_start: I8A = trade_start, trades: I8A = trades) -> None:
            kernel(
                tree.parent, tree.last, *bounds, step_start, *ordered, int(peer_trades), int(rescan), trade_start,
                trades, count, left, y, lo, hi,
            )  # fmt: skip

        run_chunks(task, steps.size, n_threads=n_threads, chunk=1)
        if (count <= space).all():
            break
        space = np.maximum(space, count)
    used = np.repeat(trade_start[:-1] - np.append(0, np.cumsum(count))[:-1], count) + np.arange(int(count.sum()))
    trades = trades[used]
    offset = np.repeat(step_start[:-1], count)
    rows = np.stack([sequence[trades[:, j] + offset] for j in (0, 1, 4)], axis=1) if used.size else trades[:, :3]
    third = trades[:, 2].copy()
    third[third >= 0] = sequence[(third + offset)[third >= 0]]
    log = np.column_stack([rows[:, 0], rows[:, 1], third, trades[:, 3]]).astype(np.int64)
    back = np.empty_like(left)
    back[sequence] = left
    return log, rows[:, 2].astype(np.int64), back, y


def _settle(book: Columns, log: I8A) -> tuple[I8A, I8A, I8A, I8A, I8A]:
    """Return buyer, seller, partner, price and price of the partner: the price of the earlier order, of two."""
    a, b, partner = log[:, 0], log[:, 1], log[:, 2]
    kind, price = book["kind"], book["price_ueur_per_mwh"]
    peers = (kind[a] == OFFER) & (kind[b] == OFFER)
    a_buys = np.where(peers, book["direction"][a] == DOWN, kind[a] != OFFER)
    buyer, seller = np.where(a_buys, a, b), np.where(a_buys, b, a)
    arrived = book["arrived_at"]
    buyer_first = (arrived[buyer] < arrived[seller]) | ((arrived[buyer] == arrived[seller]) & (buyer < seller))
    bid = np.where(kind[buyer] == OFFER, -price[buyer], price[buyer])
    paid = np.where(buyer_first & (partner < 0), bid, price[seller])
    return buyer, seller, partner, paid, np.where(partner >= 0, price[partner], 0)


def _states(book: Columns, left: I8A, end: int) -> npt.NDArray[np.uint8]:
    resting = np.where(left < book["quantity_w"], STATES.index("part"), STATES.index("resting"))
    cancelled = (book["cancelled_at"] <= end) & (book["cancelled_at"] < book["expires_at"])
    code = np.where(book["expires_at"] <= end, STATES.index("expired"), resting)
    code = np.where(cancelled, STATES.index("cancelled"), code)
    code = np.where(book["completion"] != 0, STATES.index("killed"), code)
    return np.where(left == 0, STATES.index("filled"), code).astype(np.uint8)


def _total(w: I8A, price: I8A) -> int:
    return exact_sum(amount_ueur(w, price))
