"""The chain of numbers behind one POD's money, each computed again from the ones before it with Python's integers.

past days -> reading -> baseline (days, sums, adjustment) -> delivered -> paid energy -> price -> factor -> pay -> share
-> cents
"""

import numpy as np

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statements import UEUR_PER_CENT
from flexcore.settlement.trace_baseline import Baselines, baseline_again, inputs_of
from flexcore.settlement.trace_days import day_steps
from flexcore.settlement.trace_lines import DayTrace, line_steps
from flexcore.settlement.trace_numbers import half_even_int
from flexcore.settlement.trace_steps import Trace, TraceStep
from flexcore.units import LOCAL, UP

__all__ = ["Trace", "TraceStep", "trace"]


def trace(day: SettledDay, pod: str, *, line: int | None = None) -> Trace:
    """Compute every number of a POD's settlement again.

    Parameters
    ----------
    day : SettledDay
        With the POD's evidence, if its baseline is to be computed again.
    pod : str
        Id of the POD.
    line : int, optional
        Position of the one line to trace; all in which the POD has a share if not given.

    Returns
    -------
    Trace
        Empty if the POD has no share.

    Notes
    -----
    Everything follows from the readings and the evidence: which of the past days were used, in the order of choice of
    the rule of eligibility; the baseline (X of Y by mean or median, exponential, fixed reference, control group,
    nominated, meter-before-meter-after); the energies of every POD of a line from its readings and baseline; amounts,
    shares, caps and cents. Taken as given, and marked so, are the choice of days where the evidence does not hold all
    of them, baselines by regression or without evidence, and amounts in columns that this trace does not know.
    """
    shares = day.run.result.pod_lines
    mine = np.flatnonzero(day.row_pod_id[shares.row] == pod) if len(shares) else np.zeros(0, np.int64)
    mine = mine[np.argsort(day.run.result.lines.unit[shares.line[mine]], kind="stable")]
    behind, whole = day.evidence.get(pod), DayTrace(day)
    base = {} if behind is None else baseline_again(behind)
    steps: list[TraceStep] = []
    if behind is not None and mine.size:
        steps += day_steps(behind)
    for share in mine.tolist():
        if line is None or int(shares.line[share]) == line:
            steps += _quarter_hours(whole, pod, share, base)
            steps += line_steps(whole, share)
            steps.append(_cents(day, int(shares.line[share])))
    return Trace(pod, tuple(steps))


def _watts(value: int) -> int | None:
    return None if value == MISSING_W else value


def _quarter_hours(whole: DayTrace, pod: str, share: int, base: Baselines) -> list[TraceStep]:
    """Readings, baselines and delivered power of a POD in one line, and their sum."""
    day = whole.day
    shares, lines = day.run.result.pod_lines, day.run.result.lines
    row, line = int(shares.row[share]), int(shares.line[share])
    place, clip = whole.place(line), day.run.result.terms.netting == "pod"
    behind = day.evidence.get(pod)
    version = "" if behind is None else f"version {behind.reading_version}"
    key = "BAS-03" if behind is not None and behind.rule.method == "nominated" else "BAS-01"
    given = inputs_of(behind)
    steps, total, parts = [], 0, []
    for t in np.flatnonzero((day.unit_of_step == lines.unit[line]) & (day.orders_w[row] > 0)).tolist():
        clock = day.clock(t)
        read, expected = _watts(int(day.metered_w[row, t])), _watts(int(day.baseline_w[row, t]))
        steps.append(TraceStep(place, "MET-01", f"reading {clock}", version, read, None, "W", given=True))
        again, how = base.get(t, (None, given))
        steps.append(TraceStep(place, key, f"baseline {clock}", how, expected, again, "W", given=t not in base))
        power = 0
        if read is not None and expected is not None:
            sign = 1 if lines.direction[line] == UP else -1
            how = f"{expected} - {read}" if sign > 0 else f"{read} - {expected}"
            # on from the baseline as it came out again: the chain starts at the readings
            power = sign * ((expected if again is None else again) - read)
            gave = sign * (expected - read)
            if day.estimated(row, t):
                order = int(day.orders_w[row, t])
                power, gave, how = min(power, order), min(gave, order), f"{how}, estimated: not above {order}"
            steps.append(TraceStep(place, "SET-01", f"delivered {clock}", how, gave, power, "W"))
        power = max(power, 0) if clip else power
        total += power
        parts.append(str(power))
    how = " + ".join(parts) or "no order"
    value = int(shares.delivered_wqh[share])
    steps.append(TraceStep(place, "SET-01", "delivered energy of the POD", how, value, total, "W qh"))
    inside = day.unit_of_step == lines.unit[line]
    value, again = int(shares.ordered_wqh[share]), sum(day.orders_w[row, inside].tolist())
    steps.append(TraceStep(place, "SET-01", "ordered energy of the POD", "sum of its orders", value, again, "W qh"))
    value, open_w = int(shares.available_wqh[share]), day.row_available_w
    if open_w is not None:
        again, how = sum(open_w[row, inside].tolist()), "sum of its availability"
        steps.append(TraceStep(place, "SET-01", "available energy of the POD", how, value, again, "W qh"))
    elif value:
        how = "as the settlement has it"
        steps.append(TraceStep(place, "SET-01", "available energy of the POD", how, value, None, "W qh", given=True))
    return steps


def _cents(day: SettledDay, line: int) -> TraceStep:
    """The statement of the BSP with the operator of a line, for this day: the one place where cents are rounded."""
    lines = day.run.result.lines
    owner = day.bsp_of_aggregate[lines.aggregate]
    same = (owner == owner[line]) & (lines.operator == lines.operator[line])
    shares = day.run.result.pod_lines
    from_lines = sum(lines.net_ueur[same].tolist())
    from_pods = sum(shares.net_ueur[same[shares.line]].tolist())
    return TraceStep(
        f"statement of {day.bsp_ids[owner[line]]}, {'local' if lines.operator[line] == LOCAL else 'global'}",
        "SET-03",
        "net of the BSP with this operator",
        f"{from_lines} micro-EUR, the sum of {int(same.sum())} lines, to cents",
        half_even_int(from_lines, UEUR_PER_CENT),
        half_even_int(from_pods, UEUR_PER_CENT),
        "cent",
    )
