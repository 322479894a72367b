"""Remuneration: payment, penalty and availability of each line, exact in whole micro-EUR (SET-01 to SET-03)."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import check_option
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.amounts import refuse
from flexcore.settlement.book import Book, make_book, refuse_doubles
from flexcore.settlement.digest import bucket_digests, bucket_edges, run_digest
from flexcore.settlement.lines import make_lines, totals_of
from flexcore.settlement.presets import TERMS
from flexcore.settlement.result import SettlementResult, Split
from flexcore.settlement.shares import share_pods, sum_groups
from flexcore.settlement.terms import SettlementTerms


def named_terms(terms: str | SettlementTerms) -> SettlementTerms:
    """Return the terms of that name, or checked terms of the caller's own."""
    if not isinstance(terms, SettlementTerms):
        check_option("terms", terms, tuple(TERMS))
        terms = TERMS[terms]
    terms.check()
    return terms


def settle(
    orders_w: npt.ArrayLike,
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    terms: str | SettlementTerms,
    *,
    direction: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    operator: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike | None = None,
    pod: npt.ArrayLike | None = None,
    available_w: npt.ArrayLike | None = None,
    estimated: npt.ArrayLike | None = None,
    unit_of_step: npt.ArrayLike | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
    split: Split = "delivered",
    split_factor_ppm: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> SettlementResult:
    """Settle the orders of one market day.

    Parameters
    ----------
    orders_w : array_like of int, shape (n_rows, n_steps)
        Ordered flexibility of each (POD, operator, direction); not negative, 0 where nothing is ordered. [W]
    baseline_w, metered_w : array_like of int, shape (n_rows, n_steps)
        Baseline and reading of the POD of each row, positive = withdrawal; `MISSING_W` where there is none. [W]
    terms : str or SettlementTerms
        A name in `TERMS`, or terms of one's own.
    direction, operator : array_like of int, shape (n_rows,) or one number
        `units.UP`/`DOWN` and `units.LOCAL`/`GLOBAL`.
    aggregate : array_like of int, shape (n_rows,) or one number
        Aggregate that the row belongs to for this operator.
    price_ueur_per_mwh : array_like of int, optional
        Price of the orders: one number, (n_rows,), (n_steps,) as (1, n_steps), or (n_rows, n_steps); the price of the
        terms if not given. [micro-EUR/MWh]
    pod : array_like of int, shape (n_rows,), optional
        Key of the POD of each row, which decides ties in the split of micro-EUR; row positions if not given, and then
        rows are taken for different PODs.
    available_w : array_like of int, shape (n_rows, n_steps), optional
        Availability to be paid by the terms. [W]
    estimated : array_like of bool, shape (n_rows, n_steps), optional
        True where the reading of the POD is no reading but an estimate or a substitute (`Readings.estimated`): there
        the POD is credited at most its order, before PODs net and before any cap above the order. What moved the
        wrong way counts as it is. Set it, too, where a baseline that rests on estimates shall be held to this.
    unit_of_step : array_like of int, shape (n_steps,), optional
        Market time unit of each quarter-hour, ascending from 0; hours if not given (`MarketDay.hour_of_step`).
    missing : {"refuse", "zero"}
        An ordered quarter-hour without reading or baseline is an error, or counts as not delivered and is counted.
    split : {"delivered", "factors", "equal"}
        How the PODs of a line share its amounts: each amount by what it comes from (delivery, own shortfall, own
        availability), by the provider's factors, or alike.
    split_factor_ppm : array_like of int, shape (n_rows,), optional
        The provider's factors VAR_k, for split="factors": over the rows of each line they sum to a million.
        [parts per million]
    n_threads : int

    Returns
    -------
    SettlementResult

    Raises
    ------
    SettlementError
        FX-S001 numbers too large for exact 64-bit money (ids: operator, aggregate, direction and unit of each line),
        FX-S002 an order without reading or baseline, FX-S003 terms, FX-S004 a POD ordered twice in a quarter-hour,
        FX-S010 factors that do not sum to a million, FX-S015 a POD available to one operator twice.
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range; FX-E002 unknown terms.

    Notes
    -----
    Penalties stand in full: `penalty_cap_ppm` of the terms is applied to a period, by `settle_period`.

    Delivered power s (B - M) counts in quarter-hours in which the row has an order, and nowhere else. Energies are
    summed over the quarter-hours and PODs of a line; one payment, one penalty and one availability amount is rounded,
    half-even, for each line; PODs share them by largest remainder. Everything is exact integer arithmetic, so order and
    partition of the rows change nothing.
    """
    terms = named_terms(terms)
    check_option("missing", missing, ("refuse", "zero"))
    check_option("split", split, ("delivered", "factors", "equal"))
    book = make_book(
        orders_w, baseline_w, metered_w, terms, direction, aggregate, operator, price_ueur_per_mwh, pod, available_w,
        estimated, unit_of_step, split, split_factor_ppm,
    )  # fmt: skip
    if pod is not None:
        refuse_doubles(book)
    return _settle(book, terms, missing, split, n_threads)


def _settle(book: Book, terms: SettlementTerms, missing: str, split_by: Split, n_threads: int) -> SettlementResult:
    sums = sum_groups(book, terms, n_threads)
    lines = make_lines(sums.key, sums.unit, terms, *sums.energies)
    if missing == "refuse" and lines.n_missing.any():
        ordered = book.orders > 0
        no_reading, no_baseline = (
            ((power == MISSING_W) & ordered).any(axis=1) for power in (book.metered, book.baseline)
        )
        refuse_missing(no_reading, no_baseline, book.pod.tolist())
    pods = share_pods(book, sums, lines, terms, split_by, n_threads)
    buckets = bucket_digests(book, bucket_edges(book.ptr), n_threads=n_threads)
    digest = run_digest(terms, missing, split_by, book.unit_of_step, len(book.rows), buckets)
    return SettlementResult(lines, pods, totals_of(lines), terms, digest, split_by)


def refuse_missing(no_reading: npt.NDArray[np.bool_], no_baseline: npt.NDArray[np.bool_], ids: Any) -> None:
    """Raise FX-S002 for rows with an order in a quarter-hour without reading or baseline."""
    bad = np.flatnonzero(no_reading | no_baseline)
    refuse(
        "FX-S002",
        f"{bad.size} rows have an order in a quarter-hour without reading ({no_reading.sum()}) "
        f"or baseline ({no_baseline.sum()})",
        rows=bad,
        ids=[ids[row] for row in bad.tolist()],
        hint="missing='zero' (--missing-as-zero) counts them as not delivered; a baseline is missing where too few "
        "past days serve",
    )
