"""Settlement runs: a final run is frozen, and a correction is a new run that cites the one it corrects (SET-04)."""

import datetime as dt
import hashlib
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from flexcore.errors import Findings, StateError
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.result import Columns, Int8s, Int64s, SettlementResult

#: Parts of a period in `ChangedPeriodLines`.
DELIVERY, AVAILABILITY, FEE = 0, 1, 2
#: What a run can hold: the settlement of a day, or of a period with its availability, caps and fees.
S = TypeVar("S", SettlementResult, PeriodSettlement)


@dataclass(frozen=True, slots=True)
class SettlementRun(Generic[S]):
    """One settlement of one day or period, with its place in the chain of corrections; equal by id and digest.

    Attributes
    ----------
    run_id : str
        Follows from period, inputs and the run that is cited: settling the same again gives the same id.
    period : str
        What was settled, for instance "2026-01-21".
    result : SettlementResult or PeriodSettlement
    status : {"preliminary", "final"}
    cites : str or None
        Id of the final run that this one corrects.
    reason : str
        Why it was corrected.
    """

    run_id: str
    period: str
    result: S
    status: Literal["preliminary", "final"] = "preliminary"
    cites: str | None = None
    reason: str = ""


def _run_id(period: str, digest: str, cites: str | None) -> str:
    return hashlib.sha256(repr((period, digest, cites)).encode()).hexdigest()[:16]


def open_run(period: str, result: S) -> SettlementRun[S]:
    """Return the first, preliminary run of a period."""
    return SettlementRun(_run_id(period, result.digest, None), period, result)


def finalise(run: SettlementRun[S]) -> SettlementRun[S]:
    """Return the run as final; a final run is returned as it is."""
    return run if run.status == "final" else replace(run, status="final")


def correct(run: SettlementRun[S], result: S, reason: str) -> SettlementRun[S]:
    """Return a new preliminary run that cites a final one; the same inputs again change nothing.

    Parameters
    ----------
    run : SettlementRun
        The final run that is corrected; it stays as it is.
    result : SettlementResult or PeriodSettlement
        The settlement from corrected readings, orders or terms. If its inputs are those of `run`, `run` is returned.
    reason : str
        Why it was corrected, for instance "meter re-issued".

    Raises
    ------
    StateError
        FX-S005 if `run` is not final: a preliminary run is replaced, not corrected.
    """
    if run.status != "final":
        found = Findings("settlement run")
        found.add(
            "FX-S005",
            f"run {run.run_id} is preliminary and cannot be corrected",
            ids=[run.run_id],
            hint="settle again and open a new run, or finalise this one first",
        )
        found.raise_errors(StateError)
    if result.digest == run.result.digest:
        return run
    return SettlementRun(
        _run_id(run.period, result.digest, run.run_id), run.period, result, cites=run.run_id, reason=reason
    )


@dataclass(frozen=True, slots=True)
class ChangedLines(Columns):
    """Lines whose net amount differs between two runs, sorted by (operator, aggregate, direction, unit).

    Attributes
    ----------
    operator, direction : ndarray of int8
    aggregate, unit : ndarray of int64
    before_ueur, after_ueur : ndarray of int64
        Net amounts; 0 where a run has no such line. [micro-EUR]
    """

    operator: Int8s
    aggregate: Int64s
    direction: Int8s
    unit: Int64s
    before_ueur: Int64s
    after_ueur: Int64s


def changed_lines(before: SettlementRun[SettlementResult], after: SettlementRun[SettlementResult]) -> ChangedLines:
    """Compare two runs of a day line by line; `open_run` and `correct` make them of results."""
    tables = [before.result.lines, after.result.lines]
    keys = [np.stack([t.operator, t.aggregate, t.direction, t.unit]).astype(np.int64) for t in tables]
    (operator, aggregate, direction, unit), old, new = _differing(keys, [table.net_ueur for table in tables])
    return ChangedLines(operator.astype(np.int8), aggregate, direction.astype(np.int8), unit, old, new)


def _differing(keys: list[Int64s], net: list[Int64s]) -> tuple[Any, Int64s, Int64s]:
    """Return the keys (columns) at which the sums of two tables differ, ascending, and both sums."""
    found, place = np.unique(np.concatenate(keys, axis=1), axis=1, return_inverse=True)
    amounts = np.zeros((2, found.shape[1]), np.int64)
    for row, at, values in zip(amounts, np.split(place.ravel(), [keys[0].shape[1]]), net, strict=True):
        np.add.at(row, at, values)
    differs = amounts[0] != amounts[1]
    return found[:, differs].copy(), amounts[0, differs], amounts[1, differs]


@dataclass(frozen=True, slots=True)
class ChangedPeriodLines(Columns):
    """Amounts of a period that differ between two runs, sorted by all columns but the last two.

    Attributes
    ----------
    part : ndarray of int8
        `runs.DELIVERY`: a line of a settled day; `runs.AVAILABILITY`: a contract and month; `runs.FEE`: the fees of a
        BSP on a market.
    day : ndarray of int64
        Ordinal of the date (`datetime.date.fromordinal`), -1 where a day has no part in it.
    operator : ndarray of int8
    party : ndarray of int64
        Aggregate of a line, contract, or BSP.
    direction : ndarray of int8
        -1 but for lines of days.
    unit : ndarray of int64
        Market time unit, month (100 * year + month), or market of the fee.
    before_ueur, after_ueur : ndarray of int64
        Net amounts to the BSP; 0 where a run has no such line. [micro-EUR]
    """

    part: Int8s
    day: Int64s
    operator: Int8s
    party: Int64s
    direction: Int8s
    unit: Int64s
    before_ueur: Int64s
    after_ueur: Int64s


def changed_period_lines(
    before: SettlementRun[PeriodSettlement], after: SettlementRun[PeriodSettlement]
) -> ChangedPeriodLines:
    """Compare two runs of a period: lines as they are charged, availability of contracts, and fees."""
    tables = [_amounts(run.result) for run in (before, after)]
    keys, old, new = _differing([key for key, _ in tables], [net for _, net in tables])
    part, day, operator, party, direction, unit = keys
    return ChangedPeriodLines(
        part.astype(np.int8), day, operator.astype(np.int8), party, direction.astype(np.int8), unit, old, new
    )


def _amounts(period: PeriodSettlement) -> tuple[Int64s, Int64s]:
    """Return what tells the amounts of a period apart, shape (6, n), and the amounts."""
    blocks: list[tuple[Any, ...]] = []
    for date, result in zip(period.days, period.results, strict=True):
        lines = result.lines
        number = dt.date.fromisoformat(date).toordinal()
        blocks.append((DELIVERY, number, lines.operator, lines.aggregate, lines.direction, lines.unit, lines.net_ueur))
    if period.availability is not None:
        held = period.availability
        blocks.append((AVAILABILITY, -1, held.operator, held.contract, -1, held.month, held.net_ueur))
    if period.fees is not None:
        fees = period.fees
        blocks.append((FEE, -1, fees.operator, fees.bsp, -1, fees.market, -fees.bsp_ueur))
    parts = [np.stack([column.astype(np.int64) for column in np.broadcast_arrays(*block)]) for block in blocks]
    whole = np.concatenate([np.zeros((7, 0), np.int64), *parts], axis=1)
    return whole[:6], whole[6]
