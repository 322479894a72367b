"""Statements to hand out: what a BSP is paid for a period, and what one POD did in a day, with what each rests on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flexcore.errors import Findings, SettlementError
from flexcore.settlement.penalties import refuse_uncapped
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.pod_evidence import PodEvidence
from flexcore.settlement.result import SettlementResult
from flexcore.settlement.runs import SettlementRun
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statement_tables import (
    change_table,
    interval_table,
    line_table,
    period_accounts,
    period_table,
    profile_table,
    share_table,
    sums,
)
from flexcore.settlement.statements import UEUR_PER_CENT
from flexcore.settlement.terms import SettlementTerms
from flexcore.settlement.trace import Trace, trace
from flexcore.units import half_even

#: Columns that tell the lines of a statement apart.
KEYS = ("day", "operator", "aggregate", "direction")
_SHOWN = 10  # names in a refusal


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a statement says about a settlement run (SET-04).

    Attributes
    ----------
    run_id, period, status, digest : str
    cites : str or None
        Run that this one corrects.
    reason : str
        Why.
    """

    run_id: str
    period: str
    status: str
    digest: str
    cites: str | None
    reason: str

    @classmethod
    def of(cls, run: SettlementRun[SettlementResult]) -> "RunFacts":
        """Take the facts out of a run."""
        return cls(run.run_id, run.period, run.status, run.result.digest, run.cites, run.reason)


@dataclass(frozen=True, slots=True)
class BspStatement:
    """What one BSP is paid for a period, as Arrow tables; sums are exact, cents are rounded once in `accounts`.

    Attributes
    ----------
    bsp : str
    period : str
        First and last day.
    runs : tuple of RunFacts
        One for each day.
    terms : tuple of SettlementTerms
        Those that were applied, each once.
    accounts : pyarrow.Table
        One row for each operator: sums, and `net_cents`, which is what is invoiced.
    lines : pyarrow.Table
        One row for each day, operator, aggregate, direction and market time unit (with its start by the clock):
        energies and amounts of the line.
    pods : pyarrow.Table
        One row for each operator and POD: sums of its shares.
    changes : pyarrow.Table
        Lines that differ from the run that is cited: net before and after.
    not_compared : tuple of str
        Runs that are cited and were not given: nothing is known of what changed against them.
    ledger_leaf : str or None
        Place in the ledger; None until there is one.
    contracts : pyarrow.Table or None
        Availability of contracts and fees of the period, one row each; None without a period. Net amounts are those to
        the BSP.
    """

    bsp: str
    period: str
    runs: tuple[RunFacts, ...]
    terms: tuple[SettlementTerms, ...]
    accounts: Any
    lines: Any
    pods: Any
    changes: Any
    not_compared: tuple[str, ...]
    ledger_leaf: str | None = None
    contracts: Any = None

    def totals(self, *keys: str) -> Any:
        """Sum the lines by some of `KEYS` (or all in one row without any), sorted by them; a pyarrow Table."""
        return sums(self.lines, keys)

    @property
    def net_cents(self) -> int:
        """All operators together: the sum of the invoiced amounts."""
        return int(sum(self.accounts.column("net_cents").to_pylist()))


@dataclass(frozen=True, slots=True)
class PodStatement:
    """What one POD did in one day and its shares of the amounts, in exact micro-EUR.

    Attributes
    ----------
    pod, bsp : str
    date : str
    run : RunFacts
    terms : SettlementTerms
    lines : pyarrow.Table
        One row for each share of a line, in order of time: operator, aggregate, direction, market time unit, energies,
        amounts.
    intervals : pyarrow.Table
        One row for each ordered quarter-hour: baseline, order, set-point, reading, delivered, deficiency. Null where
        there is no reading or baseline. [W]
    profile : pyarrow.Table
        Baseline, reading, order and set-point of every quarter-hour of the day. [W]
    evidence : PodEvidence or None
        Reference days, preset and reading versions.
    trace : Trace
        The chain of numbers from readings to cents, computed again.
    ledger_leaf : str or None
        Place in the ledger; None until there is one.
    """

    pod: str
    bsp: str
    date: str
    run: RunFacts
    terms: SettlementTerms
    lines: Any
    intervals: Any
    profile: Any
    evidence: PodEvidence | None
    trace: Trace
    ledger_leaf: str | None = None

    def totals(self, *keys: str) -> Any:
        """Sum the shares by operator, aggregate, direction, or all in one row without any; a pyarrow Table."""
        return sums(self.lines, keys)


def _refuse(message: str, name: str, known: Iterable[str]) -> None:
    names = sorted(set(known))
    first = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    found = Findings("statement")
    found.add("FX-S040", message, ids=[name], hint=f"there are statements of {first or 'nobody'}{more}")
    found.raise_errors(SettlementError)


def bsp_statement(
    days: SettledDay | Sequence[SettledDay],
    bsp: str,
    *,
    cited: Sequence[SettlementRun[SettlementResult]] = (),
    period: PeriodSettlement | None = None,
) -> BspStatement:
    """Draw the statement of one BSP for a period.

    Parameters
    ----------
    days : SettledDay or sequence of them
        The settled days of the period.
    bsp : str
        Id of the BSP.
    cited : sequence of SettlementRun
        Earlier runs that those of the days correct: their lines are put beside the new ones.
    period : PeriodSettlement, optional
        The period that the days make up: availability of contracts and fees then enter the accounts.

    Returns
    -------
    BspStatement

    Raises
    ------
    SettlementError
        FX-S040 if no day knows the BSP, FX-S041 if rows, names and result of a day do not fit, or a day is given
        twice, FX-S017 penalties in full where the terms have a cap, FX-S071 if the period is not made up of the days.
    """
    import pyarrow as pa

    _check_days(days)
    settled = [days] if isinstance(days, SettledDay) else sorted(days, key=lambda day: str(day.day.date))
    for day in settled:
        day.check()
    if not any((day.bsp_ids == bsp).any() for day in settled):
        _refuse(f"no settled day knows the BSP {bsp!r}", bsp, (str(one) for day in settled for one in day.bsp_ids))
    dates = [str(day.day.date) for day in settled]
    twice = sorted({date for date in dates if dates.count(date) > 1})
    if twice:
        found = Findings("statement")
        hint = "a day is settled by its last run; those that it corrects go to cited="
        found.add("FX-S041", f"{len(twice)} days are given twice", ids=twice, hint=hint)
        found.raise_errors(SettlementError)
    refuse_uncapped([day.run.result for day in settled])
    earlier = {run.run_id: run for run in cited}
    lines, pods, changes = [], [], []
    for day in settled:
        result = day.run.result
        of_bsp = day.bsp_ids[day.bsp_of_aggregate] == bsp
        mine = np.flatnonzero(of_bsp[result.lines.aggregate])
        lines.append(line_table(day, mine))
        shares = np.flatnonzero(of_bsp[result.lines.aggregate[result.pod_lines.line]])
        pods.append(share_table(day, shares))
        before = earlier.get(day.run.cites or "")
        if before is not None:
            _check_cited(day, before)
            changes.append(change_table(day, before, of_bsp))
    every = pa.concat_tables(lines)
    accounts, contracts = sums(every, ("operator",)), None
    if period is not None:
        _check_period(settled, period)
        owner = settled[0].bsp_of_aggregate
        place = int(np.flatnonzero(settled[0].bsp_ids == bsp)[0])
        accounts = period_accounts(accounts, period, owner, place)
        contracts = period_table(period, owner, place)
    net = np.asarray(accounts.column("net_ueur").to_numpy(), np.int64)
    accounts = accounts.append_column("net_cents", pa.array(half_even(net, UEUR_PER_CENT)))
    if not changes:
        nobody = np.zeros(len(settled[0].aggregate_ids), np.bool_)
        changes.append(change_table(settled[0], settled[0].run, nobody))
    first, last = str(settled[0].day.date), str(settled[-1].day.date)
    return BspStatement(
        bsp,
        first if first == last else f"{first} to {last}",
        tuple(RunFacts.of(day.run) for day in settled),
        tuple(dict.fromkeys(day.run.result.terms for day in settled)),
        accounts,
        every,
        sums(pa.concat_tables(pods), ("operator", "pod")),
        pa.concat_tables(changes),
        tuple(day.run.cites for day in settled if day.run.cites and day.run.cites not in earlier),
        contracts=contracts,
    )


def _check_cited(day: SettledDay, before: SettlementRun[SettlementResult]) -> None:
    """Refuse an earlier run whose aggregates are not those of the day."""
    if before.result.lines.aggregate.max(initial=-1) >= len(day.aggregate_ids):
        found = Findings("statement")
        message = f"the cited run {before.run_id} has aggregates that {day.day.date} does not name"
        found.add("FX-S041", message, ids=[before.run_id], hint="both runs number aggregates as aggregate_ids does")
        found.raise_errors(SettlementError)


def _check_days(days: Any) -> None:
    """Refuse what is no settled day, such as the settlement itself: it names no BSP."""
    given = days if isinstance(days, Sequence) else [days]
    strange = sorted({type(day).__name__ for day in given if not isinstance(day, SettledDay)})
    if strange:
        found = Findings("statement")
        hint = "SettledDay puts names to a settlement; SettledDay.from_files does so for one of files"
        found.add("FX-S041", f"{', '.join(strange)} is no settled day", field="days", hint=hint)
        found.raise_errors(SettlementError)


def _check_period(days: Sequence[SettledDay], period: PeriodSettlement) -> None:
    """Refuse days that are not those of the period, as they are charged, or that name their parties differently."""
    first, found = days[0], Findings("statement")
    dates = tuple(str(day.day.date) for day in days)
    if dates != period.days or any(day.run.result != result for day, result in zip(days, period.results, strict=True)):
        found.add("FX-S071", "the days of the statement are not those of the period, as they are charged")
    same = ("aggregate_ids", "bsp_ids", "bsp_of_aggregate")
    if any(not np.array_equal(getattr(day, name), getattr(first, name)) for day in days for name in same):
        found.add("FX-S071", "the days of the period name aggregates or BSPs differently")
    found.raise_errors(SettlementError)


def pod_statement(day: SettledDay, pod: str) -> PodStatement:
    """Draw the statement of one POD for one day.

    Parameters
    ----------
    day : SettledDay
    pod : str
        Id of the POD.

    Returns
    -------
    PodStatement

    Raises
    ------
    SettlementError
        FX-S040 if the POD has no line, FX-S041 if rows, names and result of the day do not fit, or two BSPs have lines
        of the POD (AGG-03).
    """
    day.check()
    result = day.run.result
    rows = np.flatnonzero(day.row_pod_id == pod)
    share = np.flatnonzero(np.isin(result.pod_lines.row, rows))
    if not share.size:
        known = day.row_pod_id[np.unique(result.pod_lines.row)].tolist()
        _refuse(f"the POD {pod!r} has no line in the settlement of {day.day.date}", pod, known)
    owners = np.unique(day.bsp_of_aggregate[result.lines.aggregate[result.pod_lines.line[share]]])
    if owners.size > 1:
        found = Findings("statement")
        names = ", ".join(day.bsp_ids[owners].tolist())
        found.add("FX-S041", f"the POD {pod!r} has lines of several BSPs, {names} (AGG-03)", ids=[pod])
        found.raise_errors(SettlementError)
    return PodStatement(
        pod,
        str(day.bsp_ids[owners[0]]),
        str(day.day.date),
        RunFacts.of(day.run),
        result.terms,
        share_table(day, share).sort_by(
            [("unit", "ascending"), ("operator", "descending"), ("direction", "descending")]
        ),
        interval_table(day, rows),
        profile_table(day, rows),
        day.evidence.get(pod),
        trace(day, pod),
    )
