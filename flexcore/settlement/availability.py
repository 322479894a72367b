"""Availability: what was declared, what readings show, and what of the contracted availability is paid (SET-01)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int, int_per_row
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, SettlementError, check_option
from flexcore.market.long_term import AvailabilityDue, ContractBook
from flexcore.market_day import MarketDay
from flexcore.metering.readings import as_power_w
from flexcore.settlement.amounts import refuse, scaled
from flexcore.settlement.result import Columns, Int8s, Int64s
from flexcore.settlement.terms import ONE_PPM
from flexcore.units import GLOBAL, LOCAL, MAX_WQH

_CHUNK = 1024
Energies = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True, slots=True)
class AvailabilityTerms:
    """How much of the amount due for availability is paid; whole numbers only.

    Attributes
    ----------
    performance_ppm : int
        Part of the amount that is paid for delivery, not for being available. [parts per million]
    least_ppm : int
        Below this share of kept quarter-hours the month's amount is lost. [parts per million]
    refusal_loses : bool
        A refused activation loses the month's amount.
    by_previous_month : bool
        The amount is multiplied by the mean delivery of the month before.
    source : str
    unverified : tuple of str
        Fields whose numbers were not found in a public document.
    """

    performance_ppm: int = 0
    least_ppm: int = 0
    refusal_loses: bool = True
    by_previous_month: bool = False
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise SettlementError FX-S003 with every contradiction."""
        found = Findings("availability terms")
        for name in ("performance_ppm", "least_ppm"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= ONE_PPM:
                found.add("FX-S003", f"{name} must be a whole number in 0..{ONE_PPM}", field=name)
        if self.by_previous_month and self.performance_ppm:
            found.add("FX-S003", "a part for performance is not scaled by the month before", field="by_previous_month")
        found.raise_errors(SettlementError)


#: Name to terms of availability.
AVAILABILITY_TERMS: dict[str, AvailabilityTerms] = {
    "kept_share": AvailabilityTerms(source="flexcore: in proportion to the quarter-hours kept, 0 after a refusal"),
    "edge": AvailabilityTerms(
        source="e-distribuzione EDGE: fixed price per MW and hour available", unverified=("least_ppm", "refusal_loses")
    ),
    "romeflex": AvailabilityTerms(
        source="BeFlexible D4.1 5.1: availability where foreseen", unverified=("least_ppm", "refusal_loses")
    ),
    "uvam": AvailabilityTerms(
        least_ppm=700_000,
        source="Terna UVAM pilot: the premium is lost for the month below a compliance share",
        unverified=("least_ppm", "refusal_loses"),
    ),
    "western_power": AvailabilityTerms(
        performance_ppm=800_000,
        source="Western Power (Australia), flexibility clause: 20 % for availability, 80 % for performance",
        unverified=("refusal_loses",),
    ),
    "by_delivery": AvailabilityTerms(
        by_previous_month=True,
        source="SSEN Transition, payment page: availability times mean delivery of the month before",
        unverified=("least_ppm", "refusal_loses"),
    ),
}


def measured_availability(
    baseline_w: npt.ArrayLike,
    *,
    direction: npt.ArrayLike,
    least_w: npt.ArrayLike,
    most_w: npt.ArrayLike,
    metered_w: npt.ArrayLike | None = None,
    orders_w: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Int64s:
    """Return the power that each POD could have moved, from its baseline, its limits and its response.

    Parameters
    ----------
    baseline_w : array_like of int, shape (n_rows, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none: nothing is credited there. [W]
    direction : array_like of int, shape (n_rows,) or one number
    least_w, most_w : array_like of int, shape (n_rows,) or one number
        Least and most net withdrawal that the POD can reach; the least is negative if it can inject. [W]
    metered_w, orders_w : array_like of int, shape (n_rows, n_steps), optional
        Readings and orders, both or none. Where the response stays below the order, no more than the response was
        available; a missing reading is no response. [W]
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_rows, n_steps)
        max(0, B - least) for up, max(0, most - B) for down. `contract_availability` shares it over contracts. [W]

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S013 readings without orders, or orders without readings.
    """
    from flexcore.kernels.settlement.availability import measured_availability as kernel

    baseline = as_power_w(baseline_w, "baseline_w", shape=(None, None))
    n_rows = len(baseline)
    if (metered_w is None) != (orders_w is None):
        refuse("FX-S013", "a response needs both metered_w and orders_w")
    none = np.zeros((0, baseline.shape[1]), np.int32)
    metered = none if metered_w is None else as_power_w(metered_w, "metered_w", shape=baseline.shape)
    orders = none if orders_w is None else as_int(orders_w, "orders_w", dtype=np.int32, shape=baseline.shape, lo=0)
    way = int_per_row(direction, "direction", n_rows, dtype=np.int8, lo=0, hi=1)
    limit = 2**40
    least, most = (
        int_per_row(value, name, n_rows, lo=-limit, hi=limit)
        for value, name in ((least_w, "least_w"), (most_w, "most_w"))
    )
    available = np.empty(baseline.shape, np.int64)
    run_chunks(
        lambda i0, i1: kernel(baseline, metered, orders, way, least, most, i0, i1, available),
        n_rows,
        n_threads=n_threads,
        chunk=_CHUNK,
    )
    return available


@dataclass(frozen=True, slots=True)
class KeptAvailability(Columns):
    """Quarter-hours kept, one row for each contract and month with a quarter-hour in the windows, sorted by these.

    Attributes
    ----------
    contract : ndarray of int64
        Position of the contract.
    month : ndarray of int64
        100 * year + month of the local calendar.
    quarters, kept, refused : ndarray of int64
        Quarter-hours of the windows, those in which at least the contracted power was available, and those in which an
        activation was refused.
    """

    contract: Int64s
    month: Int64s
    quarters: Int64s
    kept: Int64s
    refused: Int64s


def count_kept(
    book: ContractBook,
    days: Sequence[MarketDay],
    declared_w: npt.ArrayLike,
    *,
    measured_w: npt.ArrayLike | None = None,
    refused: npt.ArrayLike | None = None,
) -> KeptAvailability:
    """Count the quarter-hours of the service windows in which contracts were kept.

    Parameters
    ----------
    book : ContractBook
    days : sequence of MarketDay
        Each once, in any order.
    declared_w : array_like of int, shape (n_contracts, n_steps of all days)
        Availability as declared. [W]
    measured_w : array_like of int, same shape, optional
        Availability that readings show (`contract_availability`, which counts no POD twice): the smaller of the two
        counts. [W]
    refused : array_like of bool, same shape, optional
        True where an activation was refused.

    Returns
    -------
    KeptAvailability

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type or sign, FX-A009 a day twice.
    """
    n_steps = sum(day.n_steps for day in days)
    shape = (book.n_contracts, n_steps)
    available = as_int(declared_w, "declared_w", shape=shape, lo=0)
    if measured_w is not None:
        available = np.minimum(available, as_int(measured_w, "measured_w", shape=shape, lo=0))
    refusal = np.zeros(shape, np.bool_) if refused is None else as_bool(refused, "refused", shape=shape)
    if len({day.date for day in days}) < len(days):
        found = Findings("days", len(days))
        found.add("FX-A009", "a day is given twice")
        found.raise_errors()
    months = sorted({100 * day.date.year + day.date.month for day in days})
    counts = np.zeros((3, book.n_contracts, len(months)), np.int64)
    begin = 0
    for day in days:
        month = months.index(100 * day.date.year + day.date.month)
        part = slice(begin, begin + day.n_steps)
        begin += day.n_steps
        inside = book.sets.overlap(book.windows.open(day))
        enough = available[:, part] >= book.contracted_w[:, np.newaxis]
        for row, mark in enumerate((inside, inside & enough & ~refusal[:, part], inside & refusal[:, part])):
            counts[row, :, month] += mark.sum(axis=1)
    contract, column = np.nonzero(counts[0])
    return KeptAvailability(
        contract.astype(np.int64), np.array(months, np.int64)[column], *(part[contract, column] for part in counts)
    )


@dataclass(frozen=True, slots=True)
class AvailabilityLines(Columns):
    """The availability lines of a period, one for each contract and month.

    Attributes
    ----------
    operator : ndarray of int8
    aggregate, contract, month : ndarray of int64
    quarters, kept, refused : ndarray of int64
    due_ueur : ndarray of int64
        `availability_due`: the amount if all is kept. [micro-EUR]
    kept_ueur : ndarray of int64
        What is paid for being available. [micro-EUR]
    performance_ueur : ndarray of int64
        What is paid for delivery. [micro-EUR]
    deducted_ueur : ndarray of int64
        due - net. [micro-EUR]
    net_ueur : ndarray of int64
        kept + performance. [micro-EUR]
    """

    operator: Int8s
    aggregate: Int64s
    contract: Int64s
    month: Int64s
    quarters: Int64s
    kept: Int64s
    refused: Int64s
    due_ueur: Int64s
    kept_ueur: Int64s
    performance_ueur: Int64s
    deducted_ueur: Int64s
    net_ueur: Int64s


def settle_availability(
    due: AvailabilityDue,
    kept: KeptAvailability,
    terms: str | AvailabilityTerms = "kept_share",
    *,
    aggregate: npt.ArrayLike,
    operator: npt.ArrayLike = LOCAL,
    performance_wqh: Energies | None = None,
    previous_wqh: Energies | None = None,
) -> AvailabilityLines:
    """Settle the availability of contracts for the months that were counted.

    Parameters
    ----------
    due : AvailabilityDue
        What the market says is due (`flexcore.availability_due`).
    kept : KeptAvailability
        Quarter-hours kept: whole months.
    terms : str or AvailabilityTerms
        A name in `AVAILABILITY_TERMS`, or terms of one's own.
    aggregate : array_like of int, shape (n_contracts,)
        Aggregate of each contract, as in the lines of `settle`.
    operator : array_like of int, shape (n_contracts,) or one number
    performance_wqh, previous_wqh : tuple of two array_like of int, shape (n_rows of kept,), optional
        Counted and ordered energy of the month and of the month before, for terms that need them. Where nothing was
        ordered the ratio is 1, and it is never taken above 1 or below 0. [W quarter-hours]

    Returns
    -------
    AvailabilityLines

    Raises
    ------
    SettlementError
        FX-S003 terms, FX-S011 a month that is not counted as a whole or has nothing due, FX-S013 terms that lack an
        energy.
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range; FX-E002 unknown terms.

    Notes
    -----
    With the amount due D, the part p for performance, K of Q quarter-hours kept, delivered / ordered energy R:
    net = (D - pD) A + pD R, A = K / Q, or 0 after a refusal and below the least share; times R of the month before
    where the terms say so. pD and both products are rounded half-even, once each.
    """
    if not isinstance(terms, AvailabilityTerms):
        check_option("terms", terms, tuple(AVAILABILITY_TERMS))
        terms = AVAILABILITY_TERMS[terms]
    terms.check()
    rows = _rows_due(due, kept)
    amount = due.amount_ueur[rows]
    n_contracts = int(due.contract.max(initial=-1)) + 1
    of_aggregate = as_int(aggregate, "aggregate", shape=(None,))
    if len(of_aggregate) < n_contracts:
        of_aggregate = as_int(aggregate, "aggregate", shape=(n_contracts,))
    buyer = int_per_row(operator, "operator", len(of_aggregate), dtype=np.int8, lo=LOCAL, hi=GLOBAL)
    good = kept.kept * ONE_PPM >= terms.least_ppm * kept.quarters
    if terms.refusal_loses:
        good &= kept.refused == 0
    for_performance = scaled(amount, terms.performance_ppm, ONE_PPM)
    top, bottom = np.where(good, kept.kept, 0), kept.quarters
    if terms.by_previous_month:
        part, whole = _ratio(previous_wqh, "previous_wqh", len(kept))
        top, bottom = top * part, bottom * whole
    earned = scaled(amount - for_performance, top, bottom)
    performance = np.zeros(len(kept), np.int64)
    if terms.performance_ppm:
        performance = scaled(for_performance, *_ratio(performance_wqh, "performance_wqh", len(kept)))
    net = earned + performance
    return AvailabilityLines(
        buyer[kept.contract], of_aggregate[kept.contract], kept.contract, kept.month, kept.quarters, kept.kept,
        kept.refused, amount, earned, performance, amount - net, net,
    )  # fmt: skip


def _rows_due(due: AvailabilityDue, kept: KeptAvailability) -> npt.NDArray[np.intp]:
    """Find the row of `due` for each row of `kept`."""
    keys = np.stack([due.contract, due.month])
    wanted = np.stack([kept.contract, kept.month])
    # one number for each contract and month; months have six digits
    number, asked = (pair[0] * 10**7 + pair[1] for pair in (keys, wanted))
    order = np.argsort(number, kind="stable")
    at = np.searchsorted(number[order], asked)
    rows = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(asked), np.intp)
    bad = np.ones(len(asked), np.bool_)
    if len(order):
        bad = (number[rows] != asked) | (due.quarters[rows] != kept.quarters)
    if bad.any():
        where = np.flatnonzero(bad)
        hint = "count whole months, by the contracts that the amounts are due for"
        refuse("FX-S011", f"{where.size} months are not those that are due", rows=where, hint=hint)
    return rows


def _ratio(energies: Energies | None, name: str, n_rows: int) -> tuple[Any, Any]:
    """Return counted and ordered energy, 1 / 1 where nothing is ordered, the ratio within 0..1."""
    if energies is None:
        refuse("FX-S013", f"these terms need {name}")
    assert energies is not None
    counted = as_int(energies[0], name, shape=(n_rows,), lo=-MAX_WQH, hi=MAX_WQH)
    ordered = as_int(energies[1], name, shape=(n_rows,), lo=0, hi=MAX_WQH)
    top = np.where(ordered > 0, np.clip(counted, 0, ordered), 1)
    return top, np.maximum(ordered, 1)
