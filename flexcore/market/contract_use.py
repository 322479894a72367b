"""Long-term contracts in a short-term session: offered at their use price, before, beside or after the market."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, as_keys
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.long_term import ContractBook
from flexcore.market.merit_order import MAX_W, as_price, as_rank, as_time
from flexcore.market.selection_tables import plain_columns
from flexcore.market.service_windows import Int64s, positions
from flexcore.market_day import MarketDay
from flexcore.tables import check
from flexcore.units import amount_ueur, exact_sum

Place = Literal["before", "beside"]

_MAX_PRICE = 2**50
_CONTRACTS_PER_CHUNK = 256


@dataclass(frozen=True, slots=True)
class ContractOffers:
    """Offer lines of standing contracts on one day.

    Attributes
    ----------
    book : ContractBook
    contract : ndarray of int64, shape (n_lines,)
        Position of each line's contract.
    element : ndarray, shape (n_lines,)
        Where the line acts: key of an element, or position of a node for `clear_local`.
    quantity_w : ndarray of int64, shape (n_lines, n_steps)
        Offered power. [W]
    short_w : ndarray of int64, shape (n_contracts, n_steps)
        What the obligation of each contract lacks because PODs are not available. [W]
    """

    book: ContractBook
    contract: Int64s
    element: npt.NDArray[Any]
    quantity_w: Int64s
    short_w: Int64s

    @property
    def direction(self) -> npt.NDArray[np.int8]:
        """Direction of each line, shape (n_lines,)."""
        return self.book.direction[self.contract]

    @property
    def price_ueur_per_mwh(self) -> Int64s:
        """Use price of each line in micro-EUR/MWh, shape (n_lines,): availability is paid anyway."""
        return self.book.use_ueur_per_mwh[self.contract]


def contract_offers(
    book: ContractBook,
    day: MarketDay,
    *,
    contract_id: npt.ArrayLike,
    element: npt.ArrayLike,
    available_w: npt.ArrayLike,
    requested_w: npt.ArrayLike | None = None,
    steps: slice = slice(None),
    n_threads: int = 1,
) -> ContractOffers:
    """Turn standing contracts into offer lines of one day: inside their windows, for available PODs (LTC-01).

    A contract owes the lower of contracted and requested power, and offers as much of it as its lines have.

    Parameters
    ----------
    book : ContractBook
    day : MarketDay
    contract_id : array_like, shape (n_lines,)
        Contract of each line; a contract may have several, one per node group.
    element : array_like, shape (n_lines,)
        Key of an element for `clear`, position of a node for `clear_local`.
    available_w : array_like of int64, shape (n_lines, n_steps)
        Power of the line's PODs that are free to the DSO, `line_power(...).free_w`. A POD may stand in a contract's
        line or in a market offer, not in both. [W]
    requested_w : array_like of int64, shape (n_contracts, n_steps), optional
        What the DSO asks each contract to hold ready; it can only lower the obligation. By default all. [W]
    steps : slice
        Steps of the session (`day.plan(k)`); nothing is offered outside.
    n_threads : int
        Never changes the result.

    Returns
    -------
    ContractOffers

    Raises
    ------
    UnknownIdError
        FX-M271 an unknown contract.
    ValidationError
        FX-A001..FX-A006 for shapes, types and signs.
    TimeSeriesError
        FX-T002 not as many steps as the day.
    """
    from flexcore.kernels.market.contracts import offer_contracts

    keys = as_keys(contract_id, "contract_id")
    contract = positions(keys, book.contract_id, "lines", "contract_id")
    n, n_contracts = contract.size, book.n_contracts
    where = as_keys(element, "element")
    # bounds keep the product of two powers of one contract within 63 bits
    available = as_int(available_w, "available_w", shape=(n, None), lo=0, hi=10**9)
    day.check_steps(available.shape[1], "available_w")
    requested = (
        np.repeat(book.contracted_w[:, None], day.n_steps, axis=1)
        if requested_w is None
        else as_int(requested_w, "requested_w", shape=(n_contracts, day.n_steps), lo=0)
    )
    order = np.argsort(contract, kind="stable").astype(np.int32)
    line_ptr = np.r_[0, np.cumsum(np.bincount(contract, minlength=n_contracts))].astype(np.int64)
    found = Findings("lines", n)
    if where.shape != (n,):
        found.add("FX-A001", f"element has shape {where.shape}, expected ({n},)", field="element")
    crowded = np.flatnonzero(np.diff(line_ptr) > 8)
    for c in crowded.tolist():
        mine = order[line_ptr[c] : line_ptr[c + 1]]
        if int(available[mine].sum(axis=0).max()) > 8 * 10**9:
            found.add("FX-A006", "the lines of a contract have more than 8 GW", rows=mine, ids=keys[mine])
    found.raise_errors(OfferError)
    start, stop, _ = steps.indices(day.n_steps)
    offered = np.zeros((n, day.n_steps), np.int64)
    short = np.zeros((n_contracts, day.n_steps), np.int64)
    is_open = book.windows.open(day)

    def task(lo: int, hi: int) -> None:
        offer_contracts(
            book.sets.indptr, book.sets.windows, is_open, book.contracted_w, requested, line_ptr, order, available,
            start, stop, offered, short, lo, hi,
        )  # fmt: skip

    run_chunks(task, n_contracts, n_threads=n_threads, chunk=_CONTRACTS_PER_CHUNK)
    return ContractOffers(book, contract, where, offered, short)


@dataclass(frozen=True, slots=True)
class ContractSplit:
    """A selection of market offers and contracts, taken apart.

    Attributes
    ----------
    market_w : ndarray of int64, shape as the market offers were given
        Accepted power of each. [W]
    contract_w : ndarray of int64, shape (n_lines, n_steps)
        Called power of each contract line. [W]
    market_cost_ueur : int
        At the offered prices, each row and step rounded half to even. [micro-EUR]
    use_cost_ueur : ndarray of int64, shape (n_contracts,)
        Use payment of each contract at its use price, if all that is called is delivered. [micro-EUR]
    """

    market_w: Int64s
    contract_w: Int64s
    market_cost_ueur: int
    use_cost_ueur: Int64s

    @property
    def total_cost_ueur(self) -> int:
        """Market and use payments in micro-EUR; availability is not part of it."""
        return self.market_cost_ueur + exact_sum(self.use_cost_ueur)


@dataclass(frozen=True, slots=True)
class JoinedLines:
    """Market offers and contract lines as one list of lines for `clear_local`, the market's first.

    Attributes
    ----------
    node : ndarray of int32, shape (n,)
    direction : ndarray of int8, shape (n,)
    quantity_w : ndarray of int64, shape (n, n_steps)
    price_ueur_per_mwh : ndarray of int64, shape (n,) or (n, n_steps)
        What decides the order: see `ordering_shift`. Costs are those of `split`, not those of the selection.
    submitted_at, offer_id : ndarray of int64, shape (n,)
        Ranks; of two lines with one price the contract comes first.
    """

    node: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]
    quantity_w: Int64s
    price_ueur_per_mwh: Int64s
    submitted_at: Int64s
    offer_id: Int64s
    _lines: ContractOffers
    _market_price: Int64s

    def split(self, accepted_w: npt.ArrayLike) -> ContractSplit:
        """Take apart the accepted power of a selection, (n, n_steps), into market and contracts, with their costs."""
        accepted = as_int(accepted_w, "accepted_w", shape=self.quantity_w.shape, lo=0)
        n_market = accepted.shape[0] - self._lines.contract.size
        market = accepted[:n_market]
        return _split(self._lines, market, accepted[n_market:], self._market_price)


@dataclass(frozen=True, slots=True)
class JoinedOffers:
    """Market offers and contract lines as one table for `clear`, the market's rows first.

    Attributes
    ----------
    table : dict of str to ndarray
        `clearing_offers`. Ids are ranks and prices what decides the order, as in `JoinedLines`.
    """

    table: dict[str, npt.NDArray[Any]]
    _lines: ContractOffers
    _market_price: Int64s
    _line: npt.NDArray[np.intp]
    _step: npt.NDArray[np.intp]

    def split(self, accepted_w: npt.ArrayLike) -> ContractSplit:
        """Take apart `ClearingResult.accepted_w` into market rows, as given, and contract lines, with their costs."""
        accepted = as_int(accepted_w, "accepted_w", shape=(self.table["step"].size,), lo=0)
        n_market = self._market_price.size
        called = np.zeros(self._lines.quantity_w.shape, np.int64)
        called[self._line, self._step] = accepted[n_market:]
        return _split(self._lines, accepted[:n_market], called, self._market_price)


def join_lines(
    lines: ContractOffers,
    *,
    node: npt.ArrayLike,
    direction: npt.ArrayLike,
    quantity_w: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike,
    submitted_at: Any = None,
    offer_id: Any = None,
    contracts: Place = "before",
) -> JoinedLines:
    """Join market offers and contract lines for `clear_local`.

    Parameters
    ----------
    lines : ContractOffers
        Elements are positions of nodes.
    node, direction, quantity_w, price_ueur_per_mwh, submitted_at, offer_id
        The market's offers as `clear_local` takes them.
    contracts : {"before", "beside"}
        "before": market offers are taken only where contracts from the market cannot serve; "beside": all by price.
        Non-market contracts keep their own place, see `ordering_shift`.

    Raises
    ------
    ValidationError
        FX-A001..FX-A010 for shapes, types and signs, FX-E002 an unknown place.
    """
    check_option("contracts", contracts, ("before", "beside"))
    n_steps = lines.quantity_w.shape[1]
    quantity = as_int(quantity_w, "quantity_w", shape=(None, n_steps), lo=0, hi=MAX_W)
    n = quantity.shape[0]
    where = as_int(node, "node", dtype=np.int32, shape=(n,))
    way = as_int(direction, "direction", dtype=np.int8, shape=(n,), lo=0, hi=1)
    price = np.ascontiguousarray(as_price(price_ueur_per_mwh, n, n_steps).T)
    at = as_int(lines.element, "element", dtype=np.int32, shape=(lines.contract.size,))
    stage = _stages(n, lines, contracts)
    own = np.repeat(lines.price_ueur_per_mwh[:, None], price.shape[1], axis=1)
    both = np.concatenate([price, own]) + ordering_shift(np.concatenate([price, own]), stage)[:, None]
    _check_shifted(both)
    time, ids = _ranks(lines, as_time(submitted_at, "submitted_at", n), as_rank(offer_id, "offer_id", n))
    # without ids of the market's lines twins cannot be told from two lines
    ids = ids if offer_id is not None else np.arange(ids.size)
    return JoinedLines(
        np.r_[where, at], np.r_[way, lines.direction], np.concatenate([quantity, lines.quantity_w]),
        both if both.shape[1] > 1 else both[:, 0], time, ids, lines, price,
    )  # fmt: skip


def join_offers(lines: ContractOffers, offers: Any, *, contracts: Place = "before") -> JoinedOffers:
    """Join a table of market offers and contract lines for `clear`.

    Parameters
    ----------
    lines : ContractOffers
        Elements are keys.
    offers : table
        `clearing_offers`, as `clear` takes it.
    contracts : {"before", "beside"}
        As in `join_lines`.

    Raises
    ------
    OfferError, TimeSeriesError
        As `clear`.
    ValidationError
        FX-E002 an unknown place.
    """
    check_option("contracts", contracts, ("before", "beside"))
    table = check("clearing_offers", plain_columns(offers), error=OfferError)
    n = table["step"].size
    line, step = np.nonzero(lines.quantity_w > 0)
    stage = _stages(n, lines, contracts)
    price = np.r_[table["price_ueur_per_mwh"], lines.price_ueur_per_mwh]
    shifted = price + ordering_shift(price[:, None], stage)
    _check_shifted(shifted)
    time, ids = _ranks(lines, table["submitted_at"], as_rank(table["offer_id"], "offer_id", n))
    rows = np.r_[np.arange(n), n + line]
    element = _same_keys(table["element"], lines.element[line])
    joined = {
        "offer_id": ids[rows], "element": element, "direction": np.r_[table["direction"], lines.direction[line]],
        "step": np.r_[table["step"], step], "quantity_w": np.r_[table["quantity_w"], lines.quantity_w[line, step]],
        "price_ueur_per_mwh": shifted[rows], "submitted_at": time[rows],
    }  # fmt: skip
    return JoinedOffers(joined, lines, table["price_ueur_per_mwh"], line, step)


def ordering_shift(price: Int64s, stage: npt.ArrayLike) -> Int64s:
    """Return what to add to the prices of each line so that no line of a later stage is cheaper than an earlier one.

    Stages are kept apart by the least shift that does so; within a stage prices decide. Only the order of prices
    matters to a selection without voltage rows. With voltage rows the LP weighs the shifted price against the effect: a
    contract that helps little may then stand behind an offer that helps much.

    Parameters
    ----------
    price : ndarray of int64, shape (n, any)
        [micro-EUR/MWh]
    stage : array_like of int, shape (n,)

    Returns
    -------
    ndarray of int64, shape (n,)
        [micro-EUR/MWh]

    Raises
    ------
    OfferError
        FX-A006 prices that lie too far apart.
    ValidationError
        FX-A001, FX-A002, FX-A006 prices or stages of wrong shape, type or range.
    """
    offered = as_int(price, "price", shape=(None, None), lo=-_MAX_PRICE, hi=_MAX_PRICE)
    stages = as_int(stage, "stage", shape=(offered.shape[0],))
    shift = np.zeros(stages.size, np.int64)
    dearest: int | None = None
    for number in np.unique(stages) if offered.size else ():
        mine = stages == number
        add = 0 if dearest is None else max(0, dearest + 1 - int(offered[mine].min()))
        if add > 2 * _MAX_PRICE:
            _refuse_distance(np.flatnonzero(mine), stages.size)
        shift[mine] = add
        dearest = max(int(offered[mine].max()) + add, -(2**62) if dearest is None else dearest)
    return shift


def _stages(n_market: int, lines: ContractOffers, contracts: Place) -> Int64s:
    """Non-market contracts by their order, around the market; contracts from the market before or within it."""
    order = lines.book.call_order[lines.contract].astype(np.int64)
    own = np.where(order == 0, -1 if contracts == "before" else 0, np.where(order < 0, order - 1, order))
    return np.concatenate([np.zeros(n_market, np.int64), own])


def _same_keys(market: npt.NDArray[Any], own: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Join keys of one kind: numpy would turn the numbers among text into text."""
    found = Findings("lines", own.size)
    if market.size and own.size and (market.dtype.kind == "U") != (own.dtype.kind == "U"):
        found.add(
            "FX-A002", f"element has type {own.dtype}, that of the market's offers {market.dtype}", field="element"
        )
    found.raise_errors(OfferError)
    return np.concatenate([market, own]) if market.size and own.size else market if market.size else own


def _check_shifted(price: Int64s) -> None:
    _refuse_distance(np.flatnonzero((np.abs(price) > _MAX_PRICE).reshape(price.shape[0], -1).any(axis=1)), len(price))


def _refuse_distance(bad: npt.NDArray[np.intp], n: int) -> None:
    found = Findings("offers", n)
    if bad.size:
        hint = "prices of all stages together must stay below 2^50 micro-EUR/MWh"
        found.add("FX-A006", "prices lie too far apart to put stages in order", rows=bad, hint=hint)
    found.raise_errors(OfferError)


def _ranks(lines: ContractOffers, time: Int64s, ids: Int64s) -> tuple[Int64s, Int64s]:
    """Rank times and ids of market and contracts: a contract goes before a market offer of the same price."""
    book = lines.book
    own_time = np.unique(book.submitted_at, return_inverse=True)[1][lines.contract]
    by_contract = as_rank(book.contract_id, "contract_id", book.n_contracts)[lines.contract]
    # lines of one contract follow each other in the order given, each with an id of its own
    own_id = np.empty(by_contract.size, np.int64)
    own_id[np.argsort(by_contract, kind="stable")] = np.arange(by_contract.size)
    n_times, n_ids = int(own_time.max(initial=-1)) + 1, int(own_id.max(initial=-1)) + 1
    market_time = np.unique(time, return_inverse=True)[1].astype(np.int64)
    return np.r_[n_times + market_time, own_time].astype(np.int64), np.r_[n_ids + ids, own_id].astype(np.int64)


def _split(lines: ContractOffers, market: Int64s, called: Int64s, market_price: Int64s) -> ContractSplit:
    _, paid = _amounts(market, market_price)
    line, used = _amounts(called, lines.price_ueur_per_mwh[:, None])
    per_contract = np.zeros(lines.book.n_contracts, np.int64)
    np.add.at(per_contract, lines.contract[line], used)
    return ContractSplit(market, called, exact_sum(paid), per_contract)


def _amounts(power_w: Int64s, price: Int64s) -> tuple[npt.NDArray[np.intp], Int64s]:
    """Return the rows and the amounts of what is not zero: most offers are not taken in most steps."""
    at = np.nonzero(power_w)
    return at[0], amount_ueur(power_w[at], np.broadcast_to(price, power_w.shape)[at])
