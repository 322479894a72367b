"""Least cost of offers under lower and upper bounds on nested sums: merit order on a forest, exact in whole watts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, GridError, OfferError
from flexcore.market.merit_order import MAX_W, as_price, as_rank, as_time
from flexcore.market.tree_clearing import NO_BOUND
from flexcore.units import DOWN

I8A = npt.NDArray[np.int64]
I4A = npt.NDArray[np.int32]
U1A = npt.NDArray[np.uint8]

#: State of a step.
STATES = ("met", "too little room", "too little offered")
#: How room was found: by a walk to the root, or by minima over heavy paths where that walk is long.
WAYS = ("climb", "heavy paths")
_STEPS_PER_CHUNK = 4
_MOST_OFFERED_W = 2**60


@dataclass(frozen=True, slots=True)
class TreeClearing:
    """Outcome of `clear_tree`.

    Attributes
    ----------
    accepted_w : ndarray of int64, shape (n_offers, n_steps)
        Accepted power, 0 in a step that cannot be met. [W]
    y_w : ndarray of int64, shape (n_elements, n_steps)
        Up minus down power accepted at and below each element. [W]
    local_price_ueur_per_mwh : ndarray of int64, shape (n_elements, n_steps), or None
        Value of one more W of y at the element: up offers taken there cost at most that, up offers left at least.
        [micro-EUR/MWh]
    state : ndarray of uint8, shape (n_steps,)
        Index into `STATES`. 1: what the lower bounds at and below `element` ask for exceeds its upper bound; 2: it
        exceeds what is offered there and fits through the elements below.
    element : ndarray of int32, shape (n_steps,)
        An element that cannot be met though all below it can; -1 if there is none, or if it is the total of all roots.
    gap_w : ndarray of int64, shape (n_steps,)
        By how much. [W]
    way : ndarray of uint8, shape (n_steps,)
        Index into `WAYS`; it never changes the result.
    """

    accepted_w: I8A
    y_w: I8A
    local_price_ueur_per_mwh: I8A | None
    state: U1A
    element: I4A
    gap_w: I8A
    way: U1A


@dataclass(frozen=True, slots=True)
class TreeSteps:
    """Step-major outcome of `clear_steps`: (n_steps, n_offers), twice (n_steps, n), and (n_steps, 4)."""

    accepted_w: I8A
    y_w: I8A
    price: I8A
    state: I8A


def clear_steps(
    parent: I4A,
    node: I4A,
    quantity_w: I8A,
    key: I8A,
    lower_w: I8A,
    upper_w: I8A,
    *,
    n_steps: int,
    down: U1A | None = None,
    time: I8A | None = None,
    ident: I8A | None = None,
    prices: bool = True,
    n_threads: int = 1,
) -> TreeSteps:
    """Clear many steps of one forest without checks or conversions; `clear_tree` says what is decided.

    Parameters
    ----------
    parent : ndarray of int32, shape (n,)
        Parents come before their children; -1 at a root.
    node : ndarray of int32, shape (n_offers,)
    quantity_w, key : ndarray of int64, shape (1 or n_steps, n_offers)
        `key` is a price, or whole numbers in the same order and of the same sign: an order given as ranks, or adjusted
        prices that were scaled and rounded. Within +-2^61. Quantities sum to at most 2^60 in a step.
    lower_w, upper_w : ndarray of int64, shape (1 or n_steps, n)
    down : ndarray of uint8, shape (n_offers,), optional
    time, ident : ndarray of int64, shape (n_offers,), optional
        Order of offers of one key; then their position.
    prices : bool
        False leaves `price` empty.
    """
    from flexcore.kernels.market.laminar import laminar_merit_order

    n, n_offers = parent.size, node.size
    accepted = np.empty((n_steps, n_offers), np.int64)
    y = np.empty((n_steps, n), np.int64)
    price = np.empty((n_steps if prices else 0, n), np.int64)
    state = np.empty((n_steps, 4), np.int64)
    way = np.zeros(0, np.uint8) if down is None else down
    first, second = (np.zeros(0, np.int64) if x is None else x for x in (time, ident))

    def task(lo: int, hi: int) -> None:
        words = np.empty(n_offers, np.int64)
        laminar_merit_order(
            parent,
            node,
            way,
            quantity_w,
            key,
            first,
            second,
            lower_w,
            upper_w,
            words,
            accepted,
            y,
            price,
            state,
            lo,
            hi,
        )

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return TreeSteps(accepted, y, price, state)


def clear_tree(
    price_ueur_per_mwh: npt.ArrayLike,
    quantity_w: npt.ArrayLike,
    *,
    node: npt.ArrayLike,
    parent: npt.ArrayLike,
    lower_w: npt.ArrayLike | None = None,
    upper_w: npt.ArrayLike | None = None,
    total_w: npt.ArrayLike | None = None,
    direction: npt.ArrayLike | None = None,
    submitted_at: Any = None,
    offer_id: Any = None,
    local_prices: bool = True,
    n_threads: int = 1,
) -> TreeClearing:
    """Accept offers at least cost, exactly, so that lower <= y <= upper holds at each element of a forest.

    y is up minus down power accepted at and below the element. Bounds are hard: a step in which they contradict each
    other, or ask for more than is offered, is reported and accepts nothing; `clear` serves what it can instead. Beyond
    the bounds an offer is taken where its price is negative, that is, where the BSP pays. Among answers of one cost the
    one that comes first by (price, submission time, id, position) is given.

    Parameters
    ----------
    price_ueur_per_mwh : array_like of int64, shape (n_offers,) or (n_offers, n_steps)
        What the operator pays for the offer, negative where the BSP pays. [micro-EUR/MWh]
    quantity_w : array_like of int64, shape (n_offers, n_steps)
        Not negative. [W]
    node : array_like of int, shape (n_offers,)
        Element of each offer.
    parent : array_like of int, shape (n_elements,)
        Element above, -1 at a root; any order.
    lower_w, upper_w : array_like of int64, shape (n_elements,) or (n_elements, n_steps), optional
        Bounds on y; none where left out, or beyond +-2^61. [W]
    total_w : array_like of int64, scalar, (n_steps,) or (n_roots, n_steps), optional
        What y must be in all: one number for the whole forest, or one for each root, in the order of the elements. [W]
    direction : array_like of int, shape (n_offers,), optional
        0 up, 1 down; all up by default.
    submitted_at, offer_id : array_like, shape (n_offers,), optional
        Times are whole numbers, or datetimes with a zone; ids are whole numbers or text.
    local_prices : bool
        False saves their memory and a tenth of the time.
    n_threads : int
        Threads over steps; never changes the result.

    Returns
    -------
    TreeClearing

    Raises
    ------
    OfferError
        FX-M201 an offer or an element names an element that does not exist, FX-M210 the offers of a step sum to more
        than 2^60 W.
    GridError
        FX-M205 the parents form a loop.
    TimeSeriesError
        FX-T001 a time without zone.
    ValidationError
        FX-A001..FX-A010 for shapes, types, negative quantities and missing ids or times.

    Notes
    -----
    Greedy on a laminar family; the proof is in `docs/explanation/clearing.md`. O(n log n) for n offers where the walk
    to the root is short; on deep forests of m elements O(log m) to O(log^2 m) per offer.
    """
    quantity = as_int(quantity_w, "quantity_w", shape=(None, None), lo=0, hi=MAX_W)
    n_offers, n_steps = quantity.shape
    price = as_price(price_ueur_per_mwh, n_offers, n_steps)
    above = as_int(parent, "parent", dtype=np.int32, shape=(None,))
    where = as_int(node, "node", dtype=np.int32, shape=(n_offers,))
    found = Findings("elements")
    for name, values, least in (("parent", above, -1), ("node", where, 0)):
        if values.size and (values.min() < least or values.max() >= above.size):
            bad = np.flatnonzero((values < least) | (values >= above.size))
            found.add("FX-M201", f"{name} names unknown elements", field=name, rows=bad, ids=values[bad])
    found.raise_errors(OfferError)
    if n_offers * MAX_W > _MOST_OFFERED_W:
        _refuse_too_much(quantity)
    down = None
    if direction is not None:
        down = as_int(direction, "direction", dtype=np.uint8, shape=(n_offers,), lo=0, hi=1)
        down = down if (down == DOWN).any() else None
    time = None if submitted_at is None else as_time(submitted_at, "submitted_at", n_offers)
    ident = None if offer_id is None else _as_ident(offer_id, n_offers)
    n = above.size
    lower = _as_bound(lower_w, "lower_w", -NO_BOUND, n, n_steps)
    upper = _as_bound(upper_w, "upper_w", NO_BOUND, n, n_steps)
    if total_w is not None:
        above, lower, upper = _with_total(total_w, above, lower, upper, n_steps)
    order = _parents_first(above, n)
    if order is not None:
        rank = np.empty(above.size, np.int32)
        rank[order] = np.arange(above.size, dtype=np.int32)
        above = above[order]
        above[above >= 0] = rank[above[above >= 0]]
        where, lower, upper = rank[where], lower[:, order], upper[:, order]
    steps = clear_steps(
        above, where, np.ascontiguousarray(quantity.T), price, np.ascontiguousarray(lower),
        np.ascontiguousarray(upper), n_steps=n_steps, down=down, time=time, ident=ident, prices=local_prices,
        n_threads=n_threads,
    )  # fmt: skip
    at = np.arange(n) if order is None else rank[:n]
    element = steps.state[:, 1].astype(np.int32)
    if order is not None:
        element = np.where(element >= 0, order[element], -1)
    return TreeClearing(
        np.ascontiguousarray(steps.accepted_w.T),
        np.ascontiguousarray(steps.y_w.T[at]),
        np.ascontiguousarray(steps.price.T[at]) if local_prices else None,
        steps.state[:, 0].astype(np.uint8),
        np.where(element < n, element, -1).astype(np.int32),
        steps.state[:, 2].copy(),
        steps.state[:, 3].astype(np.uint8),
    )


def _refuse_too_much(quantity: I8A) -> None:
    """Refuse steps whose offers could not be summed safely; only a book of more than a million offers is looked at."""
    too_much = np.flatnonzero(quantity.sum(axis=0, dtype=np.float64) > 0.999 * _MOST_OFFERED_W)
    if too_much.size:
        found = Findings("offers")
        hint = "split the forest, or count in a larger unit"
        found.add("FX-M210", "offers of a step sum to more than 2^60 W", field="quantity_w", rows=too_much, hint=hint)
        found.raise_errors(OfferError)


def _as_ident(offer_id: Any, n_offers: int) -> I8A:
    """Whole numbers as they are, since only their order counts; text as ranks."""
    raw = np.asarray(offer_id)
    if raw.dtype.kind == "i" and raw.shape == (n_offers,):
        return np.ascontiguousarray(raw, np.int64)
    return as_rank(offer_id, "offer_id", n_offers)


def _as_bound(values: npt.ArrayLike | None, name: str, none: int, n: int, n_steps: int) -> I8A:
    """Return bounds step-major, one row where all steps have the same."""
    if values is None:
        return np.full((1, n), none, np.int64)
    raw = np.asarray(values)
    bound = as_int(raw, name, shape=(n,) if raw.ndim == 1 else (n, n_steps))
    return np.atleast_2d(bound.T)


def _with_total(total_w: npt.ArrayLike, above: I4A, lower: I8A, upper: I8A, n_steps: int) -> tuple[I4A, I8A, I8A]:
    """Write the total into the bounds of the roots; one total of several roots needs a root above them, put last."""
    total = as_int(total_w, "total_w", lo=-_MOST_OFFERED_W, hi=_MOST_OFFERED_W)
    roots = np.flatnonzero(above < 0)
    if total.ndim == 2:
        total = as_int(total, "total_w", shape=(roots.size, n_steps))
    else:
        total = np.broadcast_to(as_int(total, "total_w", shape=(n_steps,) if total.ndim else ()), (1, n_steps))
        if roots.size != 1:
            above = np.append(np.where(above < 0, np.int32(above.size), above), np.int32(-1))
            roots = np.array([above.size - 1])
            lower, upper = (
                np.append(bound, np.full((bound.shape[0], 1), none), axis=1)
                for bound, none in ((lower, -NO_BOUND), (upper, NO_BOUND))
            )
    lower, upper = (
        np.repeat(bound, n_steps, axis=0) if bound.shape[0] == 1 else bound.copy() for bound in (lower, upper)
    )
    # a bound of the root itself stands beside its total: where it forbids that, the step cannot be met
    lower[:, roots] = np.maximum(lower[:, roots], total.T)
    upper[:, roots] = np.minimum(upper[:, roots], total.T)
    return above, lower, upper


def _parents_first(parent: I4A, n: int) -> I4A | None:
    """Return an order in which elements follow their parents, None if they do already."""
    from flexcore.kernels.market.laminar import parents_first

    order = np.empty(parent.size, np.int32)
    reached = parents_first(parent, order)
    if reached < parent.size:
        looped = np.ones(parent.size, np.bool_)
        looped[order[:reached]] = False
        found = Findings("parent", n)
        found.add("FX-M205", "parents form a loop", field="parent", rows=np.flatnonzero(looped[:n]))
        found.raise_errors(GridError)
    return None if (np.diff(order) == 1).all() else order
