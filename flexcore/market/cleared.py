"""A selection together with the rows that it had to respect: what pricing, pro-rata and explanations read."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.errors import Findings, OfferError, UnknownIdError
from flexcore.market.clearing import ClearingResult
from flexcore.market.explain_codes import CODE, ELEMENT, NODE, PERIMETER, ZONE
from flexcore.market.global_selection import GlobalSelection, per_unit, place_lines
from flexcore.market.local_clearing import GridLike, LocalSelection, RowsLike, bound_w, path_reach
from flexcore.market.merit_order import MAX_W, as_price, as_rank, as_time
from flexcore.market.offers import OfferBook
from flexcore.market.selection_tables import element_tree, plain_columns
from flexcore.market.traffic_light import RED, TrafficLight
from flexcore.market.tree_clearing import NO_BOUND, Book, Rows, Tree, activation, tie_order
from flexcore.tables import check
from flexcore.units import DOWN, UP

I8A = npt.NDArray[np.int64]
U1A = npt.NDArray[np.uint8]

#: Reasons of `LocalSelection` that keep an offer out of the selection, and the codes they become.
_BARS = {6: CODE["direction"], 8: CODE["weak"]}


@dataclass(frozen=True, slots=True)
class Cleared:
    """Offers, what was accepted of them, and the laminar rows of the elements above them.

    Step-major arrays on the preorder of the tree, as the engines use them. `position` leads to the user's elements.

    Attributes
    ----------
    tree : Tree
    rows : Rows
        Bounds on net activation; voltage rows where there are any.
    book : Book
    accepted_w : ndarray of int64, shape (n_steps, n_offers)
        Accepted power. [W]
    barred : ndarray of uint8, shape (n_steps, n_offers)
        0 where the offer took part in the selection, else the reason code that kept it out.
    y_w : ndarray of int64, shape (n_steps, n)
        Net activation, up minus down, at and below each element. [W]
    element_id : ndarray of object, shape (n_elements,)
    position : ndarray of int64, shape (n_elements,)
        Preorder position of each element.
    element_kind : ndarray of uint8, shape (n_elements,)
        `NODE`, `ELEMENT`, `PERIMETER` or `ZONE`.
    offer_id : ndarray, shape (n_offers,)
    step : ndarray of int64, shape (n_steps,)
        Quarter-hour of the day in which each step begins.
    quarters : int
        Quarter-hours of a step.
    engine_reason, engine_at : ndarray, shape (n_steps, n_offers), or None
        What the engine itself said: an index into `REASONS` and a preorder position. Read where no prices exist.
    """

    tree: Tree
    rows: Rows
    book: Book
    accepted_w: I8A
    barred: U1A
    y_w: I8A
    element_id: npt.NDArray[Any]
    position: I8A
    element_kind: U1A
    offer_id: npt.NDArray[Any]
    step: I8A
    quarters: int = 1
    engine_reason: U1A | None = None
    engine_at: npt.NDArray[np.int32] | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return int(self.accepted_w.shape[0])

    @property
    def n_offers(self) -> int:
        """Number of offers."""
        return int(self.accepted_w.shape[1])

    @property
    def price_ueur_per_mwh(self) -> I8A:
        """Offered prices, shape (n_steps, n_offers)."""
        return np.broadcast_to(self.book.price, self.accepted_w.shape)

    def to_elements(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring (n_steps, n) on the preorder to (n_elements, n_steps) in the order of `element_id`."""
        return np.ascontiguousarray(values[:, self.position].T)

    def with_accepted(self, accepted_w: I8A, *, n_threads: int = 1) -> "Cleared":
        """Return the same rows and offers with other accepted quantities, shape (n_steps, n_offers)."""
        accepted = as_int(accepted_w, "accepted_w", shape=self.accepted_w.shape, lo=0)
        y, _ = activation(self.tree, self.rows, self.book, accepted, n_threads=n_threads)
        return replace(self, accepted_w=accepted, y_w=y)

    def with_barred(self, barred: npt.ArrayLike) -> "Cleared":
        """Return it with further offers kept out: reason codes, shape (n_offers, n_steps), 0 where none.

        Codes are values of `CODE`; what was barred already keeps its first reason.
        """
        shape, last = (self.n_offers, self.n_steps), max(CODE.values())
        codes = as_int(barred, "barred", dtype=np.uint8, shape=shape, lo=0, hi=last).T
        return replace(self, barred=np.ascontiguousarray(np.where(self.barred > 0, self.barred, codes)))


def _cleared(
    tree: Tree, rows: Rows, book: Book, accepted: I8A, barred: U1A, elements: tuple[Any, Any, Any],
    offer_id: npt.NDArray[Any], step: I8A, n_threads: int, **rest: Any,
) -> Cleared:  # fmt: skip
    bad = np.flatnonzero((accepted > book.quantity_w).any(axis=0) | (accepted < 0).any(axis=0))
    if bad.size:
        found = Findings("accepted_w", offer_id.size)
        found.add("FX-M240", f"{bad.size} offers are accepted beyond what they offer", rows=bad, ids=offer_id[bad])
        found.raise_errors(OfferError)
    y, _ = activation(tree, rows, book, accepted, n_threads=n_threads)
    return Cleared(tree, rows, book, accepted, barred, y, *elements, offer_id, step, **rest)


def cleared_local(
    grid: GridLike,
    rows: RowsLike,
    selection: LocalSelection,
    *,
    node: npt.ArrayLike,
    direction: npt.ArrayLike,
    quantity_w: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike,
    submitted_at: Any = None,
    offer_id: Any = None,
    n_threads: int = 1,
) -> Cleared:
    """Put a local selection back beside its rows; the arguments are those of `clear_local`.

    Parameters
    ----------
    grid, rows, node, direction, quantity_w, price_ueur_per_mwh, submitted_at, offer_id
        As given to `clear_local`.
    selection : LocalSelection
        What it returned.
    n_threads : int
        Never changes the result.

    Raises
    ------
    OfferError
        FX-M201 an unknown node, FX-M240 more accepted than offered.
    ValidationError
        FX-A001..FX-A006 for shapes and types.
    """
    forest = grid.forest
    n = len(grid.node_ids)
    lower = as_float(rows.lower_kw, "rows.lower_kw", shape=(n, None), finite=False)
    n_steps = lower.shape[1]
    quantity = as_int(quantity_w, "quantity_w", shape=(None, n_steps), lo=0, hi=MAX_W)
    n_offers = quantity.shape[0]
    where = as_int(node, "node", dtype=np.int32, shape=(n_offers,))
    bad = np.flatnonzero((where < 0) | (where >= n))
    if bad.size:
        found = Findings("offers", n_offers)
        found.add("FX-M201", f"node is not one of the {n} of the grid", field="node", rows=bad, ids=where[bad])
        found.raise_errors(OfferError)
    way = as_int(direction, "direction", dtype=np.int8, shape=(n_offers,), lo=UP, hi=DOWN)
    accepted = as_int(selection.accepted_w, "accepted_w", shape=quantity.shape)
    order, rank = forest.order, np.asarray(forest.rank)

    def take(values: Any, name: str) -> npt.NDArray[np.float64]:
        given = as_float(values, name, shape=(n, n_steps), finite=False)
        return np.ascontiguousarray(given[order].T)

    tree = Tree.from_preorder(np.asarray(forest.parent, np.int32), np.asarray(forest.last, np.int32))
    m = as_float(rows.m, "rows.m", shape=(n,))
    inner = Rows(
        bound_w(take(lower, "rows.lower_kw"), down=False), bound_w(take(rows.upper_kw, "rows.upper_kw"), down=True),
        take(rows.w_lower, "rows.w_lower"), take(rows.w_upper, "rows.w_upper"), np.ascontiguousarray(m[order]),
        path_reach(forest, m),
    )  # fmt: skip
    time, ids = as_time(submitted_at, "submitted_at", n_offers), as_rank(offer_id, "offer_id", n_offers)
    book = Book(
        np.ascontiguousarray(rank[where], np.int32), np.ascontiguousarray(way, np.uint8),
        np.ascontiguousarray(quantity.T), as_price(price_ueur_per_mwh, n_offers, n_steps),
        tie_order(time, ids, where, way),
    )  # fmt: skip
    barred = np.zeros((n_steps, n_offers), np.uint8)
    for reason, code in _BARS.items():
        barred[reason == selection.reason.T] = code
    at = np.where(selection.reason_node >= 0, rank[np.maximum(selection.reason_node, 0)], -1).astype(np.int32)
    names = np.empty(n, object)
    names[:] = np.asarray(grid.node_ids).tolist()
    return _cleared(
        tree, inner, book, np.ascontiguousarray(accepted.T), barred,
        (names, rank.astype(np.int64), np.full(n, NODE, np.uint8)),
        np.arange(n_offers) if offer_id is None else np.asarray(offer_id), np.arange(n_steps), n_threads,
        engine_reason=np.ascontiguousarray(selection.reason.T), engine_at=np.ascontiguousarray(at.T),
    )  # fmt: skip


def cleared_tables(
    offers: Any,
    needs: Any,
    limits: Any = None,
    *,
    result: ClearingResult,
    grid: GridLike | None = None,
    parent: Any = None,
    n_threads: int = 1,
) -> Cleared:
    """Put the outcome of `clear` back beside its tables.

    An offer here is all rows of one id, element, direction and submission; its quarter-hours share a column.

    Parameters
    ----------
    offers, needs, limits, grid, parent
        As given to `clear`.
    result : ClearingResult
        What it returned.
    n_threads : int
        Never changes the result.

    Raises
    ------
    OfferError
        FX-M240 the result does not belong to these tables.
    UnknownIdError
        FX-M201 an element that the tree does not have.
    """
    lines = check("clearing_offers", plain_columns(offers), error=OfferError)
    wanted = check("clearing_needs", plain_columns(needs), error=OfferError)
    empty: dict[str, Any] = {"element": [], "direction": [], "step": [], "capability_w": []}
    caps = check("clearing_limits", empty if limits is None else plain_columns(limits), error=OfferError)
    steps = result.steps
    foreign = result.accepted_w.shape != lines["step"].shape or (result.accepted_w > lines["quantity_w"]).any()
    if foreign or not np.isin(np.concatenate([lines["step"], wanted["step"]]), steps).all():
        found = Findings("result", lines["step"].size)
        found.add("FX-M240", "the result does not belong to these tables of offers and needs")
        found.raise_errors(OfferError)
    keys, tree, at_preorder = element_tree(grid, parent, (lines, wanted, caps))
    place = {key: k for k, key in enumerate(keys)}
    unknown = sorted({str(key) for x in (lines, wanted, caps) for key in x["element"].tolist() if key not in place})
    if unknown:
        found = Findings("elements")
        found.add("FX-M201", f"{len(unknown)} elements are not in the tree", field="element", ids=unknown)
        found.raise_errors(UnknownIdError)

    def positions(table: Any) -> I8A:
        return np.array([at_preorder[place[key]] for key in table["element"].tolist()], np.int64)

    n = tree.parent.size
    lower, upper = np.full((steps.size, n), -NO_BOUND, np.int64), np.full((steps.size, n), NO_BOUND, np.int64)
    kept = np.isin(caps["step"], steps)
    row, column, up = np.searchsorted(steps, caps["step"][kept]), positions(caps)[kept], caps["direction"][kept] == UP
    np.minimum.at(upper, (row[up], column[up]), caps["capability_w"][kept][up])
    np.maximum.at(lower, (row[~up], column[~up]), -caps["capability_w"][kept][~up])
    need = np.zeros((2, steps.size, n), np.int64)
    np.add.at(
        need, (wanted["direction"], np.searchsorted(steps, wanted["step"]), positions(wanted)), wanted["quantity_w"]
    )
    lower, upper = np.where(need[UP] > 0, need[UP], lower), np.where(need[DOWN] > 0, -need[DOWN], upper)
    # the rows of one offer share its column
    node, way = positions(lines).astype(np.int32), lines["direction"]
    ids = as_rank(lines["offer_id"], "offer_id", node.size)
    key, line = np.unique(np.stack([lines["submitted_at"], ids, node, way]), axis=1, return_inverse=True)
    line, step = line.ravel(), np.searchsorted(steps, lines["step"])
    shape = (steps.size, key.shape[1])
    quantity, price, accepted = (np.zeros(shape, np.int64) for _ in range(3))
    barred = np.zeros(shape, np.uint8)
    quantity[step, line], price[step, line] = lines["quantity_w"], lines["price_ueur_per_mwh"]
    accepted[step, line] = result.accepted_w
    for reason, code in _BARS.items():
        barred[step[result.reason == reason], line[result.reason == reason]] = code
    where, directions = key[2].astype(np.int32), key[3].astype(np.int8)
    zeros = np.zeros(n)
    names, offer_id = np.empty(len(keys), object), np.empty(key.shape[1], lines["offer_id"].dtype)
    names[:] = keys
    offer_id[line] = lines["offer_id"]
    return _cleared(
        tree, Rows(lower, upper, None, None, zeros, zeros),
        Book(where, directions.astype(np.uint8), quantity, price, tie_order(key[0], key[1], where, directions)),
        accepted, barred, (names, np.asarray(at_preorder, np.int64), np.full(len(keys), ELEMENT, np.uint8)),
        offer_id, steps, n_threads,
    )  # fmt: skip


def cleared_global(
    book: OfferBook,
    selection: GlobalSelection,
    light: TrafficLight,
    *,
    zone: npt.ArrayLike | int = 0,
    price_cap_ueur_per_mwh: int | None = None,
    perimeter_ids: npt.ArrayLike | None = None,
    zone_ids: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Cleared:
    """Put a global selection back beside its needs and capabilities, one step per market time unit.

    Elements are the zones, with their need, and below them the perimeters, with their capability.

    Parameters
    ----------
    book, light, zone, price_cap_ueur_per_mwh
        As given to `select_global`.
    selection : GlobalSelection
        What it returned.
    perimeter_ids, zone_ids : array_like, optional
        Names in the order of the light and of the needs; numbers by default.
    n_threads : int
        Never changes the result.

    Raises
    ------
    OfferError
        FX-M108 a perimeter in two zones, FX-M240 the selection does not belong to the book or the light.
    ValidationError
        FX-A001, FX-A006 zones of wrong shape, or that have no need.
    """
    n_zones, n_units = selection.wanted_w.shape
    perimeter, of_line = (x.astype(np.int64) for x in place_lines(book, light, zone, n_zones=n_zones))
    if selection.accepted_w.shape != book.quantity_w.shape or light.capability_w.shape[2] != n_units:
        found = Findings("selection", book.n_lines)
        found.add("FX-M240", "the selection does not belong to this book and this light")
        found.raise_errors(OfferError)
    inside = perimeter >= 0
    zone_of = np.full(light.n_perimeters, -1, np.int64)
    zone_of[perimeter[inside]] = of_line[inside]
    zone_of[zone_of < 0] = 0  # nothing is offered there
    # preorder: the root, then each zone with its perimeters behind it
    order = np.argsort(zone_of, kind="stable")
    size = np.bincount(zone_of, minlength=n_zones)
    at_zone = 1 + np.arange(n_zones) + np.concatenate([[0], np.cumsum(size)[:-1]])
    at_perimeter = np.empty(light.n_perimeters, np.int64)
    at_perimeter[order] = 2 + np.arange(order.size) + zone_of[order]
    n = 1 + n_zones + light.n_perimeters
    parent, last = np.full(n, -1, np.int32), np.arange(1, n + 1, dtype=np.int32)
    parent[at_zone], parent[at_perimeter] = 0, at_zone[zone_of]
    last[0], last[at_zone] = n, at_zone + size + 1
    lower, upper = np.full((n_units, n), -NO_BOUND, np.int64), np.full((n_units, n), NO_BOUND, np.int64)
    wanted = selection.wanted_w.T
    lower[:, at_zone] = np.where(wanted > 0, wanted, -NO_BOUND)
    upper[:, at_zone] = np.where(wanted < 0, wanted, NO_BOUND)
    upper[:, at_perimeter], lower[:, at_perimeter] = light.capability_w[UP].T, -light.capability_w[DOWN].T

    quantity = np.ascontiguousarray(per_unit(book.quantity_w, selection.mtu).T)
    quarters = book.n_steps // n_units
    accepted = np.ascontiguousarray(selection.accepted_w[:, ::quarters].T)
    barred = np.zeros(quantity.shape, np.uint8)
    red = light.colour[book.direction.astype(np.intp), np.maximum(perimeter, 0)].T == RED
    against = np.where(book.direction == UP, -1, 1) == np.sign(wanted)[:, of_line]
    cap = np.iinfo(np.int64).max if price_cap_ueur_per_mwh is None else price_cap_ueur_per_mwh
    barred[red] = CODE["red_light"]
    barred[:, ~inside] = CODE["no_perimeter"]
    barred[:, book.price_ueur_per_mwh > cap] = CODE["price_cap"]
    barred[against] = CODE["other_direction"]
    barred[np.sign(wanted)[:, of_line] == 0] = 0
    node = np.where(inside, at_perimeter[np.maximum(perimeter, 0)], at_zone[of_line]).astype(np.int32)
    rank = as_rank(book.line_id, "line_id", book.n_lines)
    names = np.empty(n_zones + light.n_perimeters, object)
    names[:n_zones] = np.arange(n_zones).tolist() if zone_ids is None else np.asarray(zone_ids).tolist()
    names[n_zones:] = (
        np.arange(light.n_perimeters).tolist() if perimeter_ids is None else np.asarray(perimeter_ids).tolist()
    )
    kind = np.repeat(np.array([ZONE, PERIMETER], np.uint8), [n_zones, light.n_perimeters])
    zeros = np.zeros(n)
    return _cleared(
        Tree.from_preorder(parent, last), Rows(lower, upper, None, None, zeros, zeros),
        Book(
            node, book.direction.astype(np.uint8), quantity, book.price_ueur_per_mwh[None, :].copy(),
            tie_order(book.submitted_at, rank, node, book.direction),
        ),
        accepted, barred, (names, np.concatenate([at_zone, at_perimeter]), kind), book.line_id,
        np.arange(n_units) * quarters, n_threads, quarters=quarters,
    )  # fmt: skip
