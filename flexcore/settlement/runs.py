"""Settlement runs: a final run is frozen, and a correction is a new run that cites the one it corrects (SET-04)."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from flexcore.errors import Findings, StateError
from flexcore.settlement.result import Columns, Int8s, Int64s, SettlementResult


@dataclass(frozen=True, slots=True)
class SettlementRun:
    """One settlement of one period, with its place in the chain of corrections.

    Attributes
    ----------
    run_id : str
        Follows from period, inputs and the run that is cited: settling the same again gives the same id.
    period : str
        What was settled, for instance "2026-01-21".
    result : SettlementResult
    status : {"preliminary", "final"}
    cites : str or None
        Id of the final run that this one corrects.
    reason : str
        Why it was corrected.
    """

    run_id: str
    period: str
    result: SettlementResult
    status: Literal["preliminary", "final"] = "preliminary"
    cites: str | None = None
    reason: str = ""


def _run_id(period: str, digest: str, cites: str | None) -> str:
    return hashlib.sha256(repr((period, digest, cites)).encode()).hexdigest()[:16]


def open_run(period: str, result: SettlementResult) -> SettlementRun:
    """Return the first, preliminary run of a period."""
    return SettlementRun(_run_id(period, result.digest, None), period, result)


def finalise(run: SettlementRun) -> SettlementRun:
    """Return the run as final; a final run is returned as it is."""
    return run if run.status == "final" else replace(run, status="final")


def correct(run: SettlementRun, result: SettlementResult, reason: str) -> SettlementRun:
    """Return a new preliminary run that cites a final one; the same inputs again change nothing.

    Parameters
    ----------
    run : SettlementRun
        The final run that is corrected; it stays as it is.
    result : SettlementResult
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


def changed_lines(before: SettlementRun, after: SettlementRun) -> ChangedLines:
    """Compare two runs line by line."""
    tables = [before.result.lines, after.result.lines]
    key = [np.stack([t.operator, t.aggregate, t.direction, t.unit]).astype(np.int64) for t in tables]
    keys, place = np.unique(np.concatenate(key, axis=1), axis=1, return_inverse=True)
    n_before = len(tables[0])
    amounts = np.zeros((2, keys.shape[1]), np.int64)
    amounts[0, place.ravel()[:n_before]] = tables[0].net_ueur
    amounts[1, place.ravel()[n_before:]] = tables[1].net_ueur
    differs = amounts[0] != amounts[1]
    operator, aggregate, direction, unit = keys[:, differs]
    return ChangedLines(
        operator.astype(np.int8), aggregate, direction.astype(np.int8), unit, amounts[0, differs], amounts[1, differs]
    )
