"""Local selection (LFP-01) on arrays: least unserved need first, then least cost, no row broken or made worse."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.merit_order import MAX_W, as_price, as_rank, as_time
from flexcore.market.path_clearing import select_by_path_prices, too_weak
from flexcore.market.tree_clearing import (
    NO_BOUND,
    Book,
    Rows,
    Tree,
    activation,
    explain,
    forbidden_directions,
    select_by_tree,
    tie_order,
    voltage_state,
)
from flexcore.units import amount_ueur, exact_sum, kw_to_w_down, kw_to_w_up, to_eur

Method = Literal["auto", "tree", "lp", "merit_order"]
I8A = npt.NDArray[np.int64]

#: What decided a step; the strongest engine that any feeder of it needed.
ENGINES = ("none", "merit_order", "tree_merit_order", "path_prices", "lp")
#: Why an offer got what it got, by code.
REASONS = (
    "nothing offered",
    "accepted",
    "accepted in part: marginal",
    "dearer than the margin",
    "element full",
    "voltage",
    "direction forbidden in the perimeter",
    "no need",
    "too little effect on the need",
)
_DEARER, _VOLTAGE, _WEAK = 3, 5, 8
_UNBOUNDED_KW = 1e9


class ForestLike(Protocol):
    """The preorder of a grid, see `flexcore.grid`."""

    @property
    def order(self) -> npt.NDArray[np.int32]:
        """Preorder position to node position."""

    @property
    def rank(self) -> npt.NDArray[np.int32]:
        """Node position to preorder position."""

    @property
    def parent(self) -> npt.NDArray[np.int32]:
        """Preorder position of the parent, -1 at a root."""

    @property
    def last(self) -> npt.NDArray[np.int32]:
        """End of the subtree, exclusive."""


class GridLike(Protocol):
    """What clearing reads of a grid."""

    @property
    def node_ids(self) -> npt.NDArray[Any]:
        """Ids, in node order."""

    @property
    def forest(self) -> ForestLike:
        """The preorder."""


class RowsLike(Protocol):
    """What clearing reads of activation rows, all in the grid's node order."""

    @property
    def lower_kw(self) -> npt.NDArray[np.float64]:
        """Lower bounds on y, (n_nodes, n_steps)."""

    @property
    def upper_kw(self) -> npt.NDArray[np.float64]:
        """Upper bounds on y."""

    @property
    def w_lower(self) -> npt.NDArray[np.float64]:
        """Lower bounds of the voltage rows, (n_nodes, n_steps)."""

    @property
    def w_upper(self) -> npt.NDArray[np.float64]:
        """Upper bounds of the voltage rows."""

    @property
    def m(self) -> npt.NDArray[np.float64]:
        """Effect of 1 kW through each node's branch, (n_nodes,)."""


@dataclass(frozen=True, slots=True)
class LocalSelection:
    """Outcome of a local selection on arrays.

    Attributes
    ----------
    accepted_w : ndarray of int64, shape (n_offers, n_steps)
        Accepted power. [W]
    reason : ndarray of uint8, shape (n_offers, n_steps)
        Index into `REASONS`.
    reason_node : ndarray of int32, shape (n_offers, n_steps)
        Node whose branch is full or whose voltage leaves no room, -1 where the reason names none.
    engine : ndarray of str, shape (n_steps,)
        One of `ENGINES`.
    unserved_w : ndarray of int64, shape (n_steps,)
        Thermal need left open, summed over elements: nested elements count each. [W]
    unserved_voltage_w : ndarray of int64, shape (n_steps,)
        Voltage need left open, summed over nodes, each in W at the node itself. [W]
    total_cost_ueur : int
        Sum over lines and quarter-hours of power times price, each rounded half to even. [micro-EUR]
    """

    accepted_w: I8A
    reason: npt.NDArray[np.uint8]
    reason_node: npt.NDArray[np.int32]
    engine: npt.NDArray[np.str_]
    unserved_w: I8A
    unserved_voltage_w: I8A
    total_cost_ueur: int

    @property
    def total_cost(self) -> Decimal:
        """Total cost in EUR."""
        return to_eur(self.total_cost_ueur)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Step-major result on preorder positions."""

    accepted: I8A
    reason: npt.NDArray[np.uint8]
    at: npt.NDArray[np.int32]
    engine: npt.NDArray[np.uint8]
    unserved: I8A
    unserved_voltage: I8A


def select_rows(
    tree: Tree,
    rows: Rows,
    book: Book,
    group: I8A | None,
    *,
    allow_counter: bool,
    method: Method,
    min_effect: float,
    n_threads: int,
) -> Outcome:
    """Decide all steps: tree merit order, path prices where its answer fails a voltage row, then the LP."""
    forbidden = np.zeros(book.quantity_w.shape, np.uint8)
    if group is not None and not allow_counter and book.node.size:
        forbidden = forbidden_directions(tree, rows, book, group)
    quantity = np.where(forbidden == 1, np.int64(0), book.quantity_w)
    accepted = select_by_tree(tree, rows, book, quantity, n_threads=n_threads)
    y, unserved = activation(tree, rows, book, accepted, n_threads=n_threads)
    flags, unserved_voltage = voltage_state(tree, rows, y, n_threads=n_threads)
    thermal = np.zeros(flags.shape, np.bool_)
    for need in rows.need_w:
        step, node = np.nonzero(need > 0)
        inside = tree.feeder[node] >= 0
        thermal[step[inside], tree.feeder[node[inside]]] = True
    engine = np.where(thermal.any(axis=1), 2, 0).astype(np.uint8)
    blocked_by = np.full(accepted.shape, -1, np.int64)
    open_cases = np.zeros(flags.shape, np.bool_)
    if method == "auto":
        open_cases = flags > 1
    elif method == "lp":
        open_cases = (flags > 0) | thermal
    if open_cases.any() and book.node.size:
        if rows.w_lower is None:
            nothing = np.full(rows.lower_w.shape, np.inf)
            rows = Rows(rows.lower_w, rows.upper_w, -nothing, nothing, rows.m, rows.reach)
        cases = np.argwhere(open_cases)
        weak = too_weak(tree, rows, book, accepted, cases, min_effect)
        weak &= quantity > 0
        allowed = np.where(weak, np.int64(0), quantity)
        served = np.zeros(flags.shape, np.bool_)
        step, line = np.nonzero(allowed)
        served[step, np.maximum(tree.feeder[book.node[line]], 0)] = True
        engine[cases[:, 0]] = np.maximum(engine[cases[:, 0]], 2)
        cases = cases[served[cases[:, 0], cases[:, 1]]]
        if method == "auto":
            answer = select_by_path_prices(tree, rows, book, allowed, accepted, cases, n_threads=n_threads)
            accepted, blocked_by = answer.accepted_w, answer.blocked_by.astype(np.int64)
            by_paths = cases[answer.decided, 0]
            engine[by_paths] = np.maximum(engine[by_paths], 3)
            cases = cases[~answer.decided]
        _select_by_lp(tree, rows, book, allowed, accepted, y, cases, blocked_by, n_threads=n_threads)
        engine[cases[:, 0]] = 4
        blocked_by[weak] = -2
        y, unserved = activation(tree, rows, book, accepted, n_threads=n_threads)
        _, unserved_voltage = voltage_state(tree, rows, y, n_threads=n_threads)
    reason, at = explain(tree, rows, book, accepted, y, forbidden, n_threads=n_threads)
    reason[(blocked_by == -2) & (reason != 7)] = _WEAK
    by_voltage = (blocked_by >= 0) & (reason == _DEARER)
    reason[by_voltage] = _VOLTAGE
    at[by_voltage] = blocked_by[by_voltage]
    return Outcome(accepted, reason, at, engine, unserved, unserved_voltage)


def _select_by_lp(
    tree: Tree, rows: Rows, book: Book, allowed: I8A, accepted: I8A, y: I8A, cases: I8A, blocked_by: I8A, *,
    n_threads: int,
) -> None:  # fmt: skip
    """Decide the cases by LP and write what they get over what the tree accepted."""
    if not len(cases):
        return
    from flexcore.market.lp_clearing import select_by_lp

    price = np.broadcast_to(book.price, allowed.shape)
    answers = [(np.zeros(0, np.int64),) * 3] * len(cases)

    def solve(lo: int, hi: int) -> None:
        for c in range(lo, hi):
            t, f = (int(x) for x in cases[c])
            answers[c] = select_by_lp(tree, rows, book, t, f, allowed[t], price[t], y_tree=y[t])

    # each case is solved by itself, from what the tree accepted, and the solver releases the interpreter's lock
    run_chunks(solve, len(cases), n_threads=n_threads, chunk=1)
    for (t, _), (offers, taken, node) in zip(cases, answers, strict=True):
        accepted[t, offers] = taken
        blocked_by[t, offers] = node


def clear_local(
    grid: GridLike,
    rows: RowsLike,
    *,
    node: npt.ArrayLike,
    direction: npt.ArrayLike,
    quantity_w: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike,
    submitted_at: Any = None,
    offer_id: Any = None,
    group: npt.ArrayLike | None = None,
    allow_counter: bool = False,
    method: Method = "auto",
    min_effect: float = 0.0,
    n_threads: int = 1,
) -> LocalSelection:
    """Select local offers under activation rows, exact for the rows, in whole watts.

    Parameters
    ----------
    grid : Grid
    rows : ActivationRows
        Bounds per node and step, (n_nodes, n_steps), in node order; needs are rounded up to W, limits down.
    node : array_like of int, shape (n_offers,)
        Position of the node in `grid.node_ids`.
    direction : array_like of int, shape (n_offers,)
        0 up, 1 down.
    quantity_w : array_like of int64, shape (n_offers, n_steps)
        Not negative. [W]
    price_ueur_per_mwh : array_like of int64, shape (n_offers,) or (n_offers, n_steps)
        What the operator pays, negative where the BSP pays. [micro-EUR/MWh]
    submitted_at, offer_id : array_like, shape (n_offers,), optional
        Ties of price are broken by time, then id. Times are whole numbers, or datetimes with a zone.
    group : array_like of int, shape (n_nodes,), optional
        Perimeter of each node, -1 for none. Inside one perimeter only one direction is taken per step, see
        `flexcore.market.tree_clearing.forbidden_directions`.
    allow_counter : bool
        True lifts that rule.
    method : {"auto", "tree", "lp", "merit_order"}
        "auto": merit order on the tree; path prices for the feeders and steps where its answer leaves a voltage need
        open or would break a voltage row; the LP where these prove nothing. "tree" never looks at voltage rows. "lp"
        decides all by LP.
    min_effect : float
        Where the tree does not decide and a need is open, offers with less effect on every need than this share of an
        offer at the place of the need stay out. 0, the default, is the rule as written: a voltage need that cannot be
        met in full then buys all that helps, however little, in the whole feeder.
    n_threads : int
        Never changes the result.

    Returns
    -------
    LocalSelection

    Raises
    ------
    OfferError
        FX-M201 unknown node, FX-M202 two lines with one id, node and direction.
    TimeSeriesError
        FX-T001 a time without zone.
    ValidationError
        FX-A001..FX-A010 for shapes, types, NaN, negative quantities and missing ids or times.
    """
    check_option("method", method, ("auto", "tree", "lp"))
    forest = grid.forest
    n = len(grid.node_ids)
    lower = as_float(rows.lower_kw, "rows.lower_kw", shape=(n, None), finite=False)
    n_steps = lower.shape[1]
    upper = as_float(rows.upper_kw, "rows.upper_kw", shape=(n, n_steps), finite=False)
    w_lower = as_float(rows.w_lower, "rows.w_lower", shape=(n, n_steps), finite=False)
    w_upper = as_float(rows.w_upper, "rows.w_upper", shape=(n, n_steps), finite=False)
    found = Findings("rows", n)
    for name, values in (("lower_kw", lower), ("upper_kw", upper), ("w_lower", w_lower), ("w_upper", w_upper)):
        if np.isnan(values).any():
            found.add("FX-A003", f"rows.{name} is NaN", field=name, rows=np.flatnonzero(np.isnan(values).any(axis=1)))
    found.raise_errors()
    quantity = as_int(quantity_w, "quantity_w", shape=(None, n_steps), lo=0, hi=MAX_W)
    n_offers = quantity.shape[0]
    where = as_int(node, "node", dtype=np.int32, shape=(n_offers,))
    way = as_int(direction, "direction", dtype=np.int8, shape=(n_offers,), lo=0, hi=1)
    price = as_price(price_ueur_per_mwh, n_offers, n_steps)
    ids, time = as_rank(offer_id, "offer_id", n_offers), as_time(submitted_at, "submitted_at", n_offers)
    bad = np.flatnonzero((where < 0) | (where >= n))
    found = Findings("offers", n_offers)
    if bad.size:
        found.add("FX-M201", f"node is not one of the {n} of the grid", field="node", rows=bad, ids=where[bad])
    elif offer_id is not None:
        refuse_twins(found, ids, where, way)
    found.raise_errors(OfferError)
    label = None if group is None else as_int(group, "group", shape=(n,), lo=-1)

    # only steps with a need are worked on: elsewhere nothing is bought
    dust_kw = 1e-6
    reach = path_reach(forest, as_float(rows.m, "rows.m", shape=(n,)))
    reach_user = reach[forest.rank]
    no_reach = 1e-6 * np.abs(reach_user)[:, None]
    wanted = ((lower > dust_kw) | (upper < -dust_kw)).any(axis=0)
    wanted |= ((w_lower > no_reach) | (w_upper < -no_reach)).any(axis=0)
    steps = np.flatnonzero(wanted)
    order = forest.order

    def take(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.ascontiguousarray(values[order][:, steps].T)

    tree = Tree.from_preorder(np.asarray(forest.parent, np.int32), np.asarray(forest.last, np.int32))
    inner = Rows(
        bound_w(take(lower), down=False),
        bound_w(take(upper), down=True),
        take(w_lower),
        take(w_upper),
        np.ascontiguousarray(np.asarray(rows.m, np.float64)[order]),
        reach,
    )
    position = np.ascontiguousarray(np.asarray(forest.rank, np.int32)[where])
    book = Book(
        position,
        np.ascontiguousarray(way, np.uint8),
        np.ascontiguousarray(quantity[:, steps].T),
        np.ascontiguousarray(price[:, :] if price.shape[0] == 1 else price[steps]),
        tie_order(time, ids, where, way),
    )
    outcome = select_rows(
        tree, inner, book, None if label is None else label[order], allow_counter=allow_counter, method=method,
        min_effect=min_effect, n_threads=n_threads,
    )  # fmt: skip
    accepted = np.zeros((n_offers, n_steps), np.int64)
    accepted[:, steps] = outcome.accepted.T
    reason = np.where(quantity > 0, 7, 0).astype(np.uint8)
    reason[:, steps] = outcome.reason.T
    at = np.full((n_offers, n_steps), -1, np.int32)
    at[:, steps] = np.where(outcome.at >= 0, order[np.maximum(outcome.at, 0)], -1).T
    engine, unserved, unserved_voltage = (np.zeros(n_steps, np.int64) for _ in range(3))
    engine[steps] = outcome.engine
    unserved[steps], unserved_voltage[steps] = outcome.unserved, outcome.unserved_voltage
    cost = total_cost(accepted, price.T)
    return LocalSelection(accepted, reason, at, np.array(ENGINES)[engine], unserved, unserved_voltage, cost)


def bound_w(kw: npt.NDArray[np.float64], *, down: bool) -> I8A:
    """Round a bound against the offers: an upper bound down, a lower bound (a need, or minus a headroom) up."""
    watts = (kw_to_w_down if down else kw_to_w_up)(np.clip(kw, -_UNBOUNDED_KW, _UNBOUNDED_KW))
    watts[kw >= _UNBOUNDED_KW] = NO_BOUND
    watts[kw <= -_UNBOUNDED_KW] = -NO_BOUND
    return np.ascontiguousarray(watts)


def path_reach(forest: ForestLike, m_user: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum of m over the path of each preorder position."""
    m, parent = m_user[forest.order], np.asarray(forest.parent)
    reach = np.where(parent >= 0, m, 0.0)
    for i in range(parent.size):
        if parent[i] >= 0:
            reach[i] += reach[parent[i]]
    return reach


def total_cost(accepted: I8A, price: I8A) -> int:
    """Sum of power times price over quarter-hours in micro-EUR, each line rounded half to even."""
    return exact_sum(amount_ueur(accepted, np.broadcast_to(price, accepted.shape)))


def refuse_twins(found: Findings, *keys: npt.NDArray[Any]) -> None:
    """Add FX-M202 for rows that agree in all keys."""
    order = np.lexsort(keys)
    same = np.ones(max(order.size - 1, 0), np.bool_)
    for key in keys:
        same &= np.diff(key[order]) == 0
    if same.any():
        twins = order[1:][same]
        found.add(
            "FX-M202", "two offer lines have the same id, place and direction", field="offer_id", rows=np.sort(twins),
            hint="add their quantities, or give each line its own id",
        )  # fmt: skip
