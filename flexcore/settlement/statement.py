"""Statements to hand out: what a BSP is paid for a period, and what one POD did in a day, with what each rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from flexcore.errors import Findings, SettlementError
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.fees import FeeLines
from flexcore.settlement.result import Columns, Int64s
from flexcore.settlement.runs import SettlementRun, changed_lines
from flexcore.settlement.statement_accounts import OPERATORS, accounts_of, contracts_of, is_summed, sums_of, table_of
from flexcore.settlement.statement_source import PodEvidence, SettledDay
from flexcore.settlement.terms import SettlementTerms
from flexcore.settlement.trace import Trace, half_even_int, trace
from flexcore.units import UP

DIRECTIONS = np.array(["up", "down"])
#: Columns that tell the lines of a statement apart.
KEYS = ("day", "operator", "aggregate", "direction")


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
    def of(cls, run: SettlementRun) -> "RunFacts":
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
        One row for each operator: sums of lines and contracts, fees, and `net_cents`, which is what is invoiced; as
        `statements` has them.
    lines : pyarrow.Table
        One row for each day, operator, aggregate, direction and market time unit (with its start by the clock):
        energies and amounts of the line.
    pods : pyarrow.Table
        One row for each operator and POD: sums of its shares.
    changes : pyarrow.Table
        Lines that differ from the run that is cited: net before and after.
    not_compared : tuple of str
        Runs that are cited and were not given: nothing is known of what changed against them.
    contracts : pyarrow.Table
        One row for each contract and month: quarter-hours kept and amounts of its availability.
    ledger_leaf : str or None
        Place in the ledger; None until there is one.
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
    contracts: Any
    ledger_leaf: str | None = None

    def totals(self, *keys: str) -> Any:
        """Sum the lines by some of `KEYS` (or all in one row without any), sorted by them; a pyarrow Table."""
        return sums_of(self.lines, keys)

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
        return sums_of(self.lines, keys)


def amount_names(columns: type[Columns]) -> tuple[str, ...]:
    """Columns that hold amounts, in their order: what a settlement adds to its lines joins by its name."""
    return tuple(field.name for field in fields(columns) if field.name.endswith("_ueur"))


def _refuse(message: str, name: str) -> None:
    found = Findings("statement")
    found.add("FX-S040", message, ids=[name], hint="names are those of bsp_ids and row_pod_id")
    found.raise_errors(SettlementError)


def bsp_statement(
    days: SettledDay | Sequence[SettledDay],
    bsp: str,
    *,
    cited: Sequence[SettlementRun] = (),
    availability: AvailabilityLines | None = None,
    fees: FeeLines | None = None,
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
    availability : AvailabilityLines, optional
        Availability of contracts for the period; aggregates by the positions of the days.
    fees : FeeLines, optional
        Fees of the market operator for the period; BSPs by the positions of the days.

    Returns
    -------
    BspStatement

    Raises
    ------
    SettlementError
        FX-S040 if no day knows the BSP, FX-S041 if rows, names and result of a day do not fit, or a day is given twice.
    """
    import pyarrow as pa

    period = [days] if isinstance(days, SettledDay) else sorted(days, key=lambda day: str(day.day.date))
    if not any((day.bsp_ids == bsp).any() for day in period):
        _refuse(f"no settled day knows the BSP {bsp!r}", bsp)
    dates = [str(day.day.date) for day in period]
    twice = sorted({date for date in dates if dates.count(date) > 1})
    if twice:
        found = Findings("statement")
        hint = "a day is settled by its last run; those that it corrects go to cited="
        found.add("FX-S041", f"{len(twice)} days are given twice", ids=twice, hint=hint)
        found.raise_errors(SettlementError)
    earlier = {run.run_id: run for run in cited}
    lines, pods, changes = [], [], []
    for day in period:
        day.check()
        result = day.run.result
        of_bsp = day.bsp_ids[day.bsp_of_aggregate] == bsp
        mine = np.flatnonzero(of_bsp[result.lines.aggregate])
        lines.append(_lines(day, mine))
        shares = np.flatnonzero(of_bsp[result.lines.aggregate[result.pod_lines.line]])
        pods.append(_shares(day, shares))
        before = earlier.get(day.run.cites or "")
        if before is not None:
            changes.append(_changes(day, before, of_bsp))
    every = pa.concat_tables(lines)
    contracts = contracts_of(period, bsp, availability)
    if not changes:
        nobody = np.zeros(len(period[0].aggregate_ids), np.bool_)
        changes.append(_changes(period[0], period[0].run, nobody))
    first, last = str(period[0].day.date), str(period[-1].day.date)
    return BspStatement(
        bsp,
        first if first == last else f"{first} to {last}",
        tuple(RunFacts.of(day.run) for day in period),
        tuple(dict.fromkeys(day.run.result.terms for day in period)),
        accounts_of(period, bsp, every, contracts, fees),
        every,
        sums_of(pa.concat_tables(pods), ("operator", "pod")),
        pa.concat_tables(changes),
        tuple(day.run.cites for day in period if day.run.cites and day.run.cites not in earlier),
        contracts,
    )


def _common(day: SettledDay, line: Int64s) -> dict[str, Any]:
    lines = day.run.result.lines
    first = np.searchsorted(day.unit_of_step, np.arange(int(day.unit_of_step.max(initial=0)) + 1))
    starts = [day.clock(int(step)) for step in first]
    return {
        "day": np.full(len(line), str(day.day.date)),
        "operator": OPERATORS[lines.operator[line]],
        "aggregate": day.aggregate_ids[lines.aggregate[line]],
        "direction": DIRECTIONS[lines.direction[line]],
        "unit": lines.unit[line],
        "start": np.array(starts)[lines.unit[line]] if len(line) else np.zeros(0, "U5"),
    }


def _lines(day: SettledDay, line: Int64s) -> Any:
    lines = day.run.result.lines
    names = [field.name for field in fields(lines) if field.name not in ("operator", "aggregate", "direction", "unit")]
    return table_of({**_common(day, line), **{name: getattr(lines, name)[line] for name in names}})


def _shares(day: SettledDay, share: Int64s) -> Any:
    shares = day.run.result.pod_lines
    names = [field.name for field in fields(shares) if is_summed(field.name)]
    return table_of(
        {
            **_common(day, shares.line[share]),
            "pod": day.row_pod_id[shares.row[share]],
            "price_ueur_per_mwh": _share_price(day, share),
            **{name: getattr(shares, name)[share] for name in names},
        }
    )


def _share_price(day: SettledDay, share: Int64s) -> Int64s:
    """Price of a POD's own orders in the market time unit, half-even where it changes within it; 0 without an order."""
    shares, lines = day.run.result.pod_lines, day.run.result.lines
    row = shares.row[share]
    if day.row_price.shape[1] == 1:
        own = np.broadcast_to(day.row_price, (len(day.orders_w), 1))[row, 0]
        return np.where(shares.ordered_wqh[share] > 0, own, 0)
    price = np.broadcast_to(day.row_price, day.orders_w.shape)
    found = np.zeros(len(share), np.int64)
    for k, (i, unit, weight) in enumerate(
        zip(row.tolist(), lines.unit[shares.line[share]].tolist(), shares.ordered_wqh[share].tolist(), strict=True)
    ):
        if weight:
            steps = np.flatnonzero(day.unit_of_step == unit)
            found[k] = half_even_int(sum(int(day.orders_w[i, t]) * int(price[i, t]) for t in steps), weight)
    return found


def _changes(day: SettledDay, before: SettlementRun, of_bsp: Any) -> Any:
    """Lines of a BSP that differ from the run that is cited."""
    found = changed_lines(before, day.run)
    mine = np.flatnonzero(of_bsp[found.aggregate])
    return table_of(
        {
            "day": np.full(len(mine), str(day.day.date)),
            "operator": OPERATORS[found.operator[mine]],
            "aggregate": day.aggregate_ids[found.aggregate[mine]],
            "direction": DIRECTIONS[found.direction[mine]],
            "unit": found.unit[mine],
            "before_ueur": found.before_ueur[mine],
            "after_ueur": found.after_ueur[mine],
        }
    )


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
        _refuse(f"the POD {pod!r} has no line in the settlement of {day.day.date}", pod)
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
        _shares(day, share).sort_by([("unit", "ascending"), ("operator", "descending"), ("direction", "descending")]),
        _intervals(day, rows),
        _profile(day, rows),
        day.evidence.get(pod),
        trace(day, pod),
    )


def _optional(values: Any, known: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.int64(), mask=~np.asarray(known))


def _intervals(day: SettledDay, rows: Int64s) -> Any:
    import pyarrow as pa

    place, step = np.nonzero(day.orders_w[rows] > 0)
    order = np.lexsort((place, step))
    row, step = rows[place[order]], step[order]
    base, read = (values[row, step].astype(np.int64) for values in (day.baseline_w, day.metered_w))
    ordered = day.orders_w[row, step].astype(np.int64)
    has_base, has_read = base != MISSING_W, read != MISSING_W
    sign = np.where(day.row_direction[row] == UP, 1, -1)
    delivered = np.where(has_base & has_read, sign * (base - read), 0).astype(np.int64)
    # no reading, nothing delivered: the whole order is missing (SET-01)
    deficiency = np.maximum(ordered - delivered, 0)
    return pa.table(
        {
            "step": pa.array(step.astype(np.int32)),
            "start": pa.array([day.clock(int(s)) for s in step], pa.string()),
            "operator": pa.array(OPERATORS[day.row_operator[row]].tolist(), pa.string()),
            "direction": pa.array(DIRECTIONS[day.row_direction[row]].tolist(), pa.string()),
            "baseline_w": _optional(base, has_base),
            "ordered_w": pa.array(ordered),
            "set_point_w": _optional(base - sign * ordered, has_base),
            "metered_w": _optional(read, has_read),
            "delivered_w": _optional(delivered, has_base & has_read),
            "deficiency_w": pa.array(deficiency),
            "price_ueur_per_mwh": pa.array(np.broadcast_to(day.row_price, day.orders_w.shape)[row, step]),
        }
    )


def _profile(day: SettledDay, rows: Int64s) -> Any:
    import pyarrow as pa

    base, read = (values[rows[0]].astype(np.int64) for values in (day.baseline_w, day.metered_w))
    sign = np.where(day.row_direction[rows] == UP, 1, -1)[:, np.newaxis]
    ordered = day.orders_w[rows].sum(axis=0, dtype=np.int64)
    signed = (sign * day.orders_w[rows].astype(np.int64)).sum(axis=0)
    operator = np.where((day.orders_w[rows] > 0).any(axis=0), day.row_operator[rows][
        (day.orders_w[rows] > 0).argmax(axis=0)], -1)  # fmt: skip
    has_base = base != MISSING_W
    return pa.table(
        {
            "step": pa.array(np.arange(len(base), dtype=np.int32)),
            "start": pa.array([day.clock(step) for step in range(len(base))], pa.string()),
            "baseline_w": _optional(base, has_base),
            "metered_w": _optional(read, read != MISSING_W),
            "ordered_w": pa.array(ordered),
            "set_point_w": _optional(base - signed, has_base & (ordered > 0)),
            "operator": pa.array(np.append(OPERATORS, "")[operator].tolist(), pa.string()),
        }
    )
