"""A period as it is invoiced: settled days with their penalties capped, availability of contracts, and fees."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from flexcore.errors import Findings, ValidationError
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.fees import FeeLines
from flexcore.settlement.penalties import PenaltyAccounts, cap_penalties, penalty_cap
from flexcore.settlement.result import Columns, SettlementResult


@dataclass(frozen=True, slots=True, eq=False)
class PeriodSettlement:
    """Everything that BSPs are paid and charged for a period; equal if the digests are.

    Attributes
    ----------
    days : tuple of str
        Dates of the settled days, in the order of time.
    results : tuple of SettlementResult
        Their settlements, with penalties as they are charged.
    uncapped : tuple of SettlementResult
        The same before the cap; `results` themselves where there is none.
    availability : AvailabilityLines or None
    fees : FeeLines or None
    penalties : PenaltyAccounts or None
        None where no cap applies.
    cap_ppm : int
        Part of the availability pay up to which penalties are charged; 0 without a cap. [parts per million]
    order : {"proportional", "earliest"}
        How the lines of an account share what is charged (`cap_penalties`).
    digest : str
        SHA-256 of everything above: equal digests, equal periods.
    """

    days: tuple[str, ...]
    results: tuple[SettlementResult, ...]
    uncapped: tuple[SettlementResult, ...]
    availability: AvailabilityLines | None
    fees: FeeLines | None
    penalties: PenaltyAccounts | None
    cap_ppm: int
    order: Literal["proportional", "earliest"]
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeriodSettlement) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def settle_period(
    days: Sequence[str | dt.date],
    results: Sequence[SettlementResult],
    *,
    availability: AvailabilityLines | None = None,
    fees: FeeLines | None = None,
    cap_ppm: int | None = None,
    order: Literal["proportional", "earliest"] = "proportional",
) -> PeriodSettlement:
    """Bring the settled days of a period together with what is settled for the period as a whole.

    Parameters
    ----------
    days : sequence of str or datetime.date
        Dates, in ISO form if text, such as "2026-01-21"; ascending.
    results : sequence of SettlementResult
        The settlement of each day, its penalties in full.
    availability : AvailabilityLines, optional
        Availability of contracts for the period.
    fees : FeeLines, optional
        Fees of the market operator for the period.
    cap_ppm : int, optional
        As for `cap_penalties`; without it the terms decide, and without either no cap applies. [parts per million]
    order : {"proportional", "earliest"}
        As for `cap_penalties`.

    Returns
    -------
    PeriodSettlement
        For `open_run`, `correct` and `changed_lines`, as the settlement of one day is.

    Raises
    ------
    ValidationError
        FX-S070 days that are no dates, do not ascend, or are more or fewer than the results.
    SettlementError
        FX-S001, FX-S003, FX-S017 as `cap_penalties`.
    """
    dates, settled = tuple(map(str, days)), tuple(results)
    found = Findings("period", len(dates))
    if len(dates) != len(settled):
        found.add("FX-S070", f"{len(dates)} days but {len(settled)} settlements")
    wrong = [row for row, date in enumerate(dates) if not _is_date(date)]
    if wrong:
        found.add("FX-S070", f"{len(wrong)} days are no ISO dates", rows=wrong, ids=[dates[row] for row in wrong])
    late = [row for row in range(1, len(dates)) if dates[row] <= dates[row - 1]]
    if late:
        names = [dates[row] for row in late]
        found.add("FX-S070", f"{len(late)} days do not follow the day before them", rows=late, ids=names)
    found.raise_errors(ValidationError)
    uncapped, accounts, part = settled, None, 0
    if cap_ppm is not None or any(result.terms.penalty_cap_ppm is not None for result in settled):
        part = penalty_cap(settled, cap_ppm)
        capped = cap_penalties(settled, availability=availability, cap_ppm=part, order=order)
        settled, accounts = capped.results, capped.accounts
    stamp = hashlib.sha256(repr((dates, [r.digest for r in uncapped], accounts is not None, part, order)).encode())
    for table in (availability, fees):
        stamp.update(b"none" if table is None else _bytes(table))
    return PeriodSettlement(dates, settled, uncapped, availability, fees, accounts, part, order, stamp.hexdigest())


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _bytes(table: Columns) -> bytes:
    """Return the rows of a table as bytes, in an order that does not depend on theirs."""
    columns = np.stack([np.asarray(getattr(table, field.name), np.int64) for field in fields(table)])
    order = np.lexsort(columns[::-1])
    return repr(columns.shape).encode() + np.ascontiguousarray(columns[:, order]).tobytes()
