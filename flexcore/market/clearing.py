"""Selection of offers given as tables (LFP-01); `clear_local` is the same on arrays and activation rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.local_clearing import (
    ENGINES,
    REASONS,
    GridLike,
    LocalSelection,
    Outcome,
    clear_local,
    refuse_twins,
    select_rows,
    total_cost,
)
from flexcore.market.merit_order import as_rank, select_capped
from flexcore.market.selection_tables import element_positions, element_tree, plain_columns, refuse_steps
from flexcore.market.tree_clearing import NO_BOUND, Book, Rows, activation, explain, tie_order
from flexcore.tables import check
from flexcore.units import DOWN, UP, to_eur

__all__ = ["ENGINES", "REASONS", "ClearingResult", "LocalSelection", "clear", "clear_local", "select_capped"]

I8A = npt.NDArray[np.int64]

#: Why the answer of an engine is optimal.
PROOFS = {
    "none": "nothing is wanted, so nothing is bought",
    "merit_order": "merit order: exact where elements stand alone",
    "tree_merit_order": "merit order on the tree: exact where needs and limits nest",
    "path_prices": "path prices: the tree is optimal at the prices of its voltage rows",
    "lp": "linear program: every bound of HiGHS is reached",
    "milp": "mixed-integer program: every bound of HiGHS is reached",
}


@dataclass(frozen=True, slots=True)
class ClearingResult:
    """Outcome of `clear`.

    Attributes
    ----------
    offer_id, direction, step : ndarray, shape (n_rows,)
        As in the table of offers, in its order.
    accepted_w : ndarray of int64, shape (n_rows,)
        Accepted power. [W]
    reason : ndarray of uint8, shape (n_rows,)
        Index into `REASONS`.
    reason_element : ndarray of object, shape (n_rows,)
        Element that is full, or None.
    steps : ndarray of int64, shape (n_steps,)
        Steps with a need or an offer, ascending.
    engine : ndarray of str, shape (n_steps,)
        What decided the step, one of `ENGINES`.
    unserved_w : ndarray of int64, shape (n_steps,)
        Need left open, summed over elements. [W]
    total_cost_ueur : int
        Steps are quarter-hours; each row is rounded half to even. [micro-EUR]
    """

    offer_id: npt.NDArray[Any]
    direction: npt.NDArray[np.int8]
    step: I8A
    accepted_w: I8A
    reason: npt.NDArray[np.uint8]
    reason_element: npt.NDArray[Any]
    steps: I8A
    engine: npt.NDArray[np.str_]
    unserved_w: I8A
    total_cost_ueur: int

    @property
    def total_cost(self) -> Decimal:
        """Total cost in EUR."""
        return to_eur(self.total_cost_ueur)

    @property
    def proof(self) -> npt.NDArray[np.str_]:
        """Why the answer of each step is optimal, shape (n_steps,)."""
        return np.array([PROOFS[name] for name in self.engine.tolist()], np.str_)

    def to_arrow(self) -> Any:
        """Return one row per offer row as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(
            {
                "offer_id": self.offer_id,
                "direction": self.direction,
                "step": self.step,
                "accepted_w": self.accepted_w,
                "reason": np.array(REASONS)[self.reason],
                "reason_element": [None if x is None else str(x) for x in self.reason_element],
                "engine": self.engine[np.searchsorted(self.steps, self.step)] if self.step.size else np.zeros(0, str),
            }
        )


def clear(
    offers: Any,
    needs: Any,
    limits: Any = None,
    *,
    grid: GridLike | None = None,
    parent: Any = None,
    day: Any = None,
    group: Mapping[Any, int] | None = None,
    allow_counter: bool = False,
    method: Literal["auto", "tree", "lp", "merit_order", "milp"] = "auto",
    places: Any = None,
    ties: Literal["time", "pro_rata", "effect", "size"] = "time",
    over_procurement: str | int = "only_way",
    decided_at: Any = None,
    time_limit_s: float = 60.0,
    n_threads: int = 1,
) -> ClearingResult:
    """Select offers against needs and limits given as tables: least unserved need first, then least cost.

    Offers and needs may carry conditions: the further columns of `clearing_bids` and `clearing_requests`, all optional.
    Then the result is a `flexcore.market.bids.BidResult`; docs/explanation/bids.md says what each column means.

    Parameters
    ----------
    offers : table
        offer_id, element, direction (0 or "up", 1 or "down"), step, quantity_w, price_ueur_per_mwh and, to break ties,
        submitted_at: whole numbers, or datetimes or Arrow timestamps with a zone.
    needs : table
        element, direction, step, quantity_w: what is wanted from the offers at and below the element.
    limits : table, optional
        element, direction, step, capability_w: most that may move at and below the element, net of the other direction.
    grid : Grid, optional
        Elements are its node ids, each standing for the branch that feeds the node; limits and needs nest along it.
    parent : table, optional
        element, parent: another tree; an element that is its own parent, or whose parent is not listed, is a root.
        Without `grid` and `parent` every element stands alone.
    day : MarketDay, optional
        Steps must lie in it.
    group, allow_counter
        Perimeter of elements; inside one, only one direction per step. See `clear_local`.
    method : {"auto", "tree", "lp", "merit_order", "milp"}
        "auto" takes the plain merit order where elements stand alone and the tree merit order otherwise; with
        conditions the tree merit order where its answer keeps them all, and LP or MILP in the other parts. "milp" takes
        LP or MILP everywhere.
    places : table, optional
        offer_id, element, power_w: offers whose PODs sit at several elements, the split being unknown (OFR-01).
    ties : {"time", "pro_rata", "effect", "size"}
        Among offers of one price: the earlier; in proportion at the margin; the one that serves more needs; the larger.
    over_procurement : {"only_way", "least_cost"} or int
        Whether an indivisible offer may be taken beyond the need: only where no answer serves as much with less beyond
        it; wherever that costs less; or by at most so many W beyond each outermost need.
    decided_at : int or datetime, optional
        Time of the selection, for notice times and expiries: seconds since the start of step 0, or a datetime with a
        zone, which needs `day`.
    time_limit_s : float
        For each part that LP or MILP decides; if it runs out, `gap` says how far the answer may be from the best.
    n_threads : int
        Never changes the result.

    Returns
    -------
    ClearingResult

    Raises
    ------
    OfferError
        FX-A004 negative quantity, FX-A002 a price that is NaN or no whole number, FX-M202 a line given twice for one
        step, FX-M203 a step outside the day, FX-M204 "merit_order" cannot serve this, FX-M220..FX-M228 conditions that
        contradict each other or lack something.
    UnknownIdError
        FX-M201 an element that the tree does not have.
    TimeSeriesError
        FX-T001 a time of submission without zone.
    GridError
        FX-M205 the parents form a loop.
    """
    check_option("method", method, ("auto", "tree", "lp", "merit_order", "milp"))
    from flexcore.market.bids import clear_bids, has_conditions

    if method == "milp" or ties != "time" or has_conditions(offers, needs, places):
        return clear_bids(
            offers, needs, limits, places=places, grid=grid, parent=parent, day=day, group=group,
            allow_counter=allow_counter, method=method, ties=ties, over_procurement=over_procurement,
            decided_at=decided_at, time_limit_s=time_limit_s, n_threads=n_threads,
        )  # fmt: skip
    lines = check("clearing_offers", plain_columns(offers), error=OfferError)
    wanted = check("clearing_needs", plain_columns(needs), error=OfferError)
    empty: dict[str, Any] = {"element": [], "direction": [], "step": [], "capability_w": []}
    caps = check("clearing_limits", empty if limits is None else plain_columns(limits), error=OfferError)
    refuse_steps(day, offers=lines, needs=wanted, limits=caps)

    flat = grid is None and parent is None
    elements, tree, at_preorder = element_tree(grid, parent, (lines, wanted, caps))
    place = {key: k for k, key in enumerate(elements)}
    position = element_positions(elements, at_preorder, offers=lines, needs=wanted, limits=caps)

    n = tree.parent.size
    steps = np.unique(np.concatenate([lines["step"], wanted["step"]]))
    shape = (steps.size, n)
    lower, upper = np.full(shape, -NO_BOUND, np.int64), np.full(shape, NO_BOUND, np.int64)
    kept = np.isin(caps["step"], steps)
    row, column = np.searchsorted(steps, caps["step"][kept]), position["limits"][kept]
    cap_up = caps["direction"][kept] == UP
    np.minimum.at(upper, (row[cap_up], column[cap_up]), caps["capability_w"][kept][cap_up])
    np.maximum.at(lower, (row[~cap_up], column[~cap_up]), -caps["capability_w"][kept][~cap_up])
    cap_w = (np.minimum(upper, NO_BOUND), np.minimum(-lower, NO_BOUND))
    need_w = np.zeros((2, *shape), np.int64)
    np.add.at(
        need_w, (wanted["direction"], np.searchsorted(steps, wanted["step"]), position["needs"]), wanted["quantity_w"]
    )

    # one line per (offer, element, direction, submission): its quarter-hours become one row of the matrix
    where, way, step = position["offers"].astype(np.int64), lines["direction"], np.searchsorted(steps, lines["step"])
    ids = as_rank(lines["offer_id"], "offer_id", where.size)
    time = lines["submitted_at"]
    found = Findings("offers", where.size)
    refuse_twins(found, ids, where, way, step)
    found.raise_errors(OfferError)
    line_key, line = np.unique(np.stack([time, ids, where, way.astype(np.int64)]), axis=1, return_inverse=True)
    line = line.ravel()
    quantity = np.zeros((steps.size, line_key.shape[1]), np.int64)
    price = np.zeros_like(quantity)
    quantity[step, line] = lines["quantity_w"]
    price[step, line] = lines["price_ueur_per_mwh"]
    down = line_key[3] == DOWN

    both = (need_w[UP] > 0) & (need_w[DOWN] > 0)
    if method == "merit_order" and (not flat or group is not None or both.any()):
        found = Findings("method")
        found.add(
            "FX-M204", "merit_order serves elements that stand alone, with needs in one direction each",
            hint='use method="auto"',
        )  # fmt: skip
        found.raise_errors(OfferError)
    lower = np.where(need_w[UP] > 0, need_w[UP], lower)
    upper = np.where(need_w[DOWN] > 0, -need_w[DOWN], upper)
    if flat and group is None and method in ("auto", "merit_order") and not both.any():
        # a need and a limit of one direction at one element: the smaller counts, and no other row is near
        accepted = np.zeros_like(quantity)
        for d, mine in ((UP, np.flatnonzero(~down)), (DOWN, np.flatnonzero(down))):
            if mine.size:
                taken = select_capped(
                    price[:, mine].T, line_key[0, mine], line_key[1, mine], quantity[:, mine].T, line_key[2, mine],
                    need_w[d].T, cap_w[d].T, zone=line_key[2, mine], n_threads=n_threads,
                )  # fmt: skip
                accepted[:, mine] = taken.T
        code = np.where((need_w > 0).any(axis=(0, 2)), 1, 0).astype(np.uint8)
    else:
        code = None
    rows = Rows(lower, upper, None, None, np.zeros(tree.parent.size), np.zeros(tree.parent.size))
    node = np.ascontiguousarray(line_key[2], np.int32)
    book = Book(
        node, np.ascontiguousarray(down, np.uint8), quantity, price,
        tie_order(line_key[0], line_key[1], node, line_key[3].astype(np.int8)),
    )  # fmt: skip
    if code is None:
        labels = None
        if group is not None:
            labels = np.full(tree.parent.size, -1, np.int64)
            for key, label in group.items():
                if key in place:
                    labels[at_preorder[place[key]]] = label
        outcome = select_rows(
            tree, rows, book, labels, allow_counter=allow_counter, method=method, min_effect=0.0, n_threads=n_threads
        )
    else:
        y, unserved = activation(tree, rows, book, accepted, n_threads=n_threads)
        free = np.zeros(quantity.shape, np.uint8)
        reason, at = explain(tree, rows, book, accepted, y, free, n_threads=n_threads)
        outcome = Outcome(accepted, reason, at, code, unserved, np.zeros_like(unserved))
    taken = outcome.accepted[step, line]
    name_at = np.full(tree.parent.size, None, object)
    for key, k in place.items():
        name_at[at_preorder[k]] = key
    node_at = outcome.at[step, line]
    blocked = name_at[np.maximum(node_at, 0)]
    blocked[node_at < 0] = None
    return ClearingResult(
        lines["offer_id"], way, lines["step"], taken, outcome.reason[step, line], blocked, steps,
        np.array(ENGINES)[outcome.engine], outcome.unserved, total_cost(taken, lines["price_ueur_per_mwh"]),
    )  # fmt: skip
