"""The chain of numbers behind one POD's money, each computed again from the ones before it with Python's integers.

reading -> baseline (days, sums, adjustment) -> delivered -> paid energy -> price -> factor -> pay -> share -> cents
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.result import Int64s
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statements import UEUR_PER_CENT
from flexcore.settlement.terms import ONE_PPM
from flexcore.settlement.trace_baseline import baseline_again
from flexcore.units import LOCAL, UP, WQH_PER_MWH


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One number of the chain.

    Attributes
    ----------
    part : str
        Whether it belongs to the POD's quarter-hours, its share, the line, or the statement.
    rule : str
        Key of the rule that makes it, see rules.md.
    name : str
        What it is.
    how : str
        How it follows from numbers above it, with those numbers.
    value : int or None
        As the settlement has it; None where it is missing.
    again : int or None
        Computed again; None where it is taken as given.
    unit : str
    given : bool
        True for inputs, and for numbers of methods that the trace cannot compute again.
    """

    part: str
    rule: str
    name: str
    how: str
    value: int | None
    again: int | None
    unit: str
    given: bool = False

    @property
    def agrees(self) -> bool:
        """True if it is given, or came out the same again."""
        return self.given or self.value == self.again


@dataclass(frozen=True, slots=True)
class Trace:
    """The chains of all lines that a POD has a share in, in order of time.

    Attributes
    ----------
    pod : str
    steps : tuple of TraceStep
    """

    pod: str
    steps: tuple[TraceStep, ...]

    @property
    def agrees(self) -> bool:
        """True if every number came out the same again."""
        return all(step.agrees for step in self.steps)

    @property
    def not_computed(self) -> tuple[TraceStep, ...]:
        """Numbers that are no readings, and that the trace takes as given."""
        return tuple(step for step in self.steps if step.given and step.rule != "MET-01")

    def to_arrow(self) -> Any:
        """Return a pyarrow Table with one row for each number."""
        import pyarrow as pa

        names = ("part", "rule", "name", "how", "value", "again", "unit", "given")
        kinds = (pa.string(),) * 4 + (pa.int64(),) * 2 + (pa.string(), pa.bool_())
        columns = {
            name: pa.array([getattr(step, name) for step in self.steps], kind)
            for name, kind in zip(names, kinds, strict=True)
        }
        return pa.table({**columns, "agrees": pa.array([step.agrees for step in self.steps], pa.bool_())})


def half_even_int(numerator: int, denominator: int) -> int:
    """Divide Python integers of any size, halves to even."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def shares_again(total: int, weights: list[int], fallback: list[int]) -> list[int]:
    """Split by largest remainder; ties go to the earlier entry, negative weights count as zero."""
    parts = [max(weight, 0) for weight in weights]
    if not any(parts):
        parts = [max(weight, 0) for weight in fallback]
    if not any(parts):
        parts = [1] * len(weights)
    everything = sum(parts)
    split = [divmod(abs(total) * part, everything) for part in parts]
    result = [floor for floor, _ in split]
    left = abs(total) - sum(result)
    for i in sorted(range(len(parts)), key=lambda i: (-split[i][1], i))[:left]:
        result[i] += 1
    return [-part for part in result] if total < 0 else result


def factor_again(counted: int, ordered: int, points: tuple[tuple[int, int], ...]) -> int:
    """Pay factor at counted / ordered in parts per million, half-even; the last one where nothing is ordered."""
    if ordered == 0:
        return points[-1][1]
    last = sum(counted * ONE_PPM >= ratio * ordered for ratio, _ in points) - 1
    if last < 0:
        return points[0][1]
    if last == len(points) - 1:
        return points[last][1]
    (x0, y0), (x1, y1) = points[last], points[last + 1]
    return half_even_int(y0 * (x1 - x0) * ordered + (y1 - y0) * (counted * ONE_PPM - x0 * ordered), (x1 - x0) * ordered)


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
    Baselines of X of Y and of meter-before-meter-after are computed again from the readings of the reference days that
    were used; the choice of days, and baselines of other methods, are taken as given and marked so. So are the energies
    of the other PODs of a line, shares by factors of the provider, what the cap of a period leaves of a penalty, and
    amounts that other columns of the settlement hold.
    """
    shares = day.run.result.pod_lines
    mine = np.flatnonzero(day.row_pod_id[shares.row] == pod) if len(shares) else np.zeros(0, np.int64)
    mine = mine[np.argsort(day.run.result.lines.unit[shares.line[mine]], kind="stable")]
    steps: list[TraceStep] = []
    behind = day.evidence.get(pod)
    base = {} if behind is None else baseline_again(behind)
    for share in mine.tolist():
        if line is None or int(shares.line[share]) == line:
            steps += _quarter_hours(day, pod, share, base)
            steps += _line(day, share)
    return Trace(pod, tuple(steps))


def _place(day: SettledDay, line: int) -> str:
    """Name a line: operator, aggregate, direction, and the clock time at which its market time unit starts."""
    lines = day.run.result.lines
    operator = "local" if lines.operator[line] == LOCAL else "global"
    way = "up" if lines.direction[line] == UP else "down"
    start = day.clock(int(np.flatnonzero(day.unit_of_step == lines.unit[line])[0]))
    return f"{operator} {day.aggregate_ids[lines.aggregate[line]]} {way} {start}"


def _watts(value: int) -> int | None:
    return None if value == MISSING_W else value


def _quarter_hours(day: SettledDay, pod: str, share: int, base: dict[int, tuple[int | None, str]]) -> list[TraceStep]:
    """Readings, baselines and delivered power of a POD in one line, and their sum."""
    shares, lines = day.run.result.pod_lines, day.run.result.lines
    row, line = int(shares.row[share]), int(shares.line[share])
    place, clip = _place(day, line), day.run.result.terms.netting == "pod"
    behind = day.evidence.get(pod)
    version = "" if behind is None else f"version {behind.reading_version}"
    steps, total, parts = [], 0, []
    for t in np.flatnonzero((day.unit_of_step == lines.unit[line]) & (day.orders_w[row] > 0)).tolist():
        clock = day.clock(t)
        read, expected = _watts(int(day.metered_w[row, t])), _watts(int(day.baseline_w[row, t]))
        steps.append(TraceStep(place, "MET-01", f"reading {clock}", version, read, None, "W", given=True))
        again, how = base.get(t, (None, "as the settlement was given it"))
        steps.append(TraceStep(place, "BAS-01", f"baseline {clock}", how, expected, again, "W", given=t not in base))
        power = 0
        if read is not None and expected is not None:
            sign = 1 if lines.direction[line] == UP else -1
            how = f"{expected} - {read}" if sign > 0 else f"{read} - {expected}"
            # on from the baseline as it came out again: the chain starts at the readings
            power = sign * ((expected if again is None else again) - read)
            steps.append(TraceStep(place, "SET-01", f"delivered {clock}", how, sign * (expected - read), power, "W"))
        power = max(power, 0) if clip else power
        total += power
        parts.append(str(power))
    how = " + ".join(parts) or "no order"
    value = int(shares.delivered_wqh[share])
    steps.append(TraceStep(place, "SET-01", "delivered energy of the POD", how, value, total, "W qh"))
    return steps


def _line(day: SettledDay, share: int) -> list[TraceStep]:
    """Amounts of a line from the energies of its PODs, the POD's share of them, and the statement that they go to."""
    result = day.run.result
    shares, lines, terms = result.pod_lines, result.lines, result.terms
    line = int(shares.line[share])
    place = _place(day, line)
    inside = np.flatnonzero(shares.line == line)
    ordered, delivered, available = (
        [int(value) for value in values[inside]]
        for values in (shares.ordered_wqh, shares.delivered_wqh, shares.available_wqh)
    )
    steps: list[TraceStep] = []

    def add(rule: str, name: str, how: str, value: Any, again: int | None, unit: str, *, given: bool = False) -> int:
        steps.append(TraceStep(place, rule, name, how, int(value), again, unit, given))
        return int(value)

    n = f"sum over {len(inside)} PODs"
    order = add("SET-03", "ordered energy of the line", n, lines.ordered_wqh[line], sum(ordered), "W qh")
    add("SET-03", "delivered energy of the line", n, lines.delivered_wqh[line], sum(delivered), "W qh")
    quarters = _measured(day, line)
    caps = [o * terms.cap_ppm // ONE_PPM for o, _ in quarters]
    how = " + ".join(f"({d}, not below 0 and not above {cap})" for (_, d), cap in zip(quarters, caps, strict=True))
    again = sum(min(max(d, 0), cap) for (_, d), cap in zip(quarters, caps, strict=True))
    paid = add("SET-01", "paid energy", how, lines.paid_wqh[line], again, "W qh")
    owed = [o * (ONE_PPM - terms.tolerance_ppm) // ONE_PPM for o, _ in quarters]
    how = " + ".join(f"({due} - {d}, not below 0)" for (_, d), due in zip(quarters, owed, strict=True))
    again = sum(max(due - d, 0) for (_, d), due in zip(quarters, owed, strict=True)) if order else 0
    short = add("SET-01", "shortfall", how, lines.shortfall_wqh[line], again, "W qh")
    price = add(
        "SET-01", "price", "mean of the orders' prices, weighted by energy",
        lines.price_ueur_per_mwh[line], _mean_price(day, inside, int(lines.unit[line])), "micro-EUR/MWh",
    )  # fmt: skip
    counted, asked = _in_scope(day, line)
    factor = add(
        "SET-01", "pay factor", f"at {counted} / {asked}, of the {terms.factor_scope}",
        lines.factor_ppm[line], factor_again(counted, asked, terms.factor_ppm), "ppm",
    )  # fmt: skip
    pay = add(
        "SET-01", "pay of the line", f"{paid} x {price} x {factor} / (4,000,000 x 1,000,000)",
        lines.pay_ueur[line], half_even_int(paid * price * factor, WQH_PER_MWH * ONE_PPM), "micro-EUR",
    )  # fmt: skip
    uncapped = half_even_int(short * terms.penalty_ueur_per_mwh, WQH_PER_MWH)
    how = f"{short} x {terms.penalty_ueur_per_mwh} / 4,000,000"
    is_less = result.capped and int(lines.penalty_ueur[line]) < uncapped
    how += f" is {uncapped}; less by the cap of the period" if is_less else ""
    penalty = add(
        "SET-01", "penalty of the line", how, lines.penalty_ueur[line], uncapped, "micro-EUR", given=is_less
    )  # fmt: skip
    open_w, rate = sum(available), terms.availability_ueur_per_mw_h
    held = add(
        "SET-01", "availability pay of the line", f"{open_w} x {rate} / 4,000,000",
        lines.availability_ueur[line], half_even_int(open_w * rate, WQH_PER_MWH), "micro-EUR",
    )  # fmt: skip
    at = int(np.flatnonzero(inside == share)[0])
    missed = [o - d for o, d in zip(ordered, delivered, strict=True)]
    if is_less:
        missed = shares_again(uncapped, missed if result.split == "delivered" else [1] * len(inside), ordered)
    own = {}
    for name, total, weights, what in (
        ("pay", pay, delivered, "what each POD delivered"),
        ("penalty", penalty, missed, "each POD's penalty without the cap" if is_less else "each POD's shortfall"),
        ("availability", held, available, "each POD's availability"),
    ):
        if result.split == "equal" and not (is_less and name == "penalty"):
            weights, what = [1] * len(inside), "the number of PODs"
        again = shares_again(total, weights, ordered)[at]
        how = f"share of {total} by {what}, {max(weights[at], 0)} of {sum(max(w, 0) for w in weights)}"
        by_factors = result.split == "factors"
        if by_factors:
            how = f"share of {total} by the provider's factors"
        value = getattr(shares, f"{name}_ueur")[share]
        own[name] = add("SET-03", f"{name} of the POD", how, value, again, "micro-EUR", given=by_factors)
    others = _others(shares, share)
    for name, value in others.items():
        add("SET-03", f"{name} of the POD", "as the settlement has it", value, None, "micro-EUR", given=True)
    how = f"{own['pay']} - {own['penalty']} + {own['availability']}"
    net = own["pay"] - own["penalty"] + own["availability"]
    add("SET-03", "net of the POD", how, shares.net_ueur[share], net, "micro-EUR", given=bool(any(others.values())))
    steps.append(_cents(day, line))
    return steps


def _measured(day: SettledDay, line: int) -> list[tuple[int, int]]:
    """Ordered and delivered energy of a line as cap and shortfall look at it: of the unit, or of each quarter-hour."""
    result = day.run.result
    shares, lines, terms = result.pod_lines, result.lines, result.terms
    if terms.measured_per == "unit":
        return [(int(lines.ordered_wqh[line]), int(lines.delivered_wqh[line]))]
    part = np.ix_(shares.row[shares.line == line], np.flatnonzero(day.unit_of_step == lines.unit[line]))
    ordered, base, read = (values[part].astype(np.int64) for values in (day.orders_w, day.baseline_w, day.metered_w))
    sign = 1 if lines.direction[line] == UP else -1
    known = (ordered > 0) & (base != MISSING_W) & (read != MISSING_W)
    gave = np.where(known, sign * (base - read), 0)
    gave = np.maximum(gave, 0) if terms.netting == "pod" else gave
    quarters = zip(ordered.sum(axis=0).tolist(), gave.sum(axis=0).tolist(), strict=True)
    return [(order, delivered) for order, delivered in quarters if order]


def _in_scope(day: SettledDay, line: int) -> tuple[int, int]:
    """Counted and ordered energy that the pay factor of a line looks at: of the line, its event, or the period."""
    lines, terms = day.run.result.lines, day.run.result.terms
    scope = [line]
    if terms.factor_scope != "line" and lines.ordered_wqh[line]:
        same = lines.ordered_wqh > 0
        for column in (lines.operator, lines.aggregate, lines.direction):
            same &= column == column[line]
        of_unit = {int(lines.unit[other]): other for other in np.flatnonzero(same).tolist()}
        units = set(of_unit)
        if terms.factor_scope == "event":
            first = last = int(lines.unit[line])
            while first - 1 in units:
                first -= 1
            while last + 1 in units:
                last += 1
            units = set(range(first, last + 1))
        scope = [of_unit[unit] for unit in units]
    quarters = [quarter for other in scope for quarter in _measured(day, other)]
    counted = sum(min(delivered, order * terms.cap_ppm // ONE_PPM) for order, delivered in quarters if order)
    return max(counted, 0), sum(order for order, _ in quarters)


def _others(shares: Any, share: int) -> dict[str, int]:
    """Amounts of a share that other columns hold than the trace knows."""
    known = ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur")
    names = [name for name in shares.__slots__ if name.endswith("_ueur") and name not in known]
    return {name.removesuffix("_ueur").replace("_", " "): int(getattr(shares, name)[share]) for name in names}


def _mean_price(day: SettledDay, inside: Int64s, unit: int) -> int:
    """Mean price of the orders of a line, half-even; 0 where nothing is ordered."""
    rows = day.run.result.pod_lines.row[inside]
    price = np.broadcast_to(day.row_price, day.orders_w.shape)
    weighted, energy = 0, 0
    for t in np.flatnonzero(day.unit_of_step == unit).tolist():
        for row in rows.tolist():
            power = int(day.orders_w[row, t])
            weighted += power * int(price[row, t])
            energy += power
    return half_even_int(weighted, energy) if energy else 0


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
