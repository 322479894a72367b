"""The amounts of one line computed again from the readings, baselines and orders of its rows, and a POD's share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flexcore.metering.readings import MISSING_W
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.result import PodLines, SettlementLines, SettlementResult
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.terms import ONE_PPM, SettlementTerms
from flexcore.settlement.trace_numbers import factor_again, half_even_int, shares_again
from flexcore.settlement.trace_steps import TraceStep
from flexcore.units import LOCAL, UP, WQH_PER_MWH

#: What cap and shortfall look at, in words.
PERIODS = {"unit": "the unit", "half_hour": "each half-hour", "quarter_hour": "each quarter-hour"}
_SPLITS = {"factors": "the provider's factors", "equal": "equal parts"}


@dataclass(frozen=True, slots=True)
class LineEnergy:
    """Energies of a line from its rows, quarter-hour by quarter-hour; `value` is the sum of order times price."""

    ordered: int
    delivered: int
    counted: int
    paid: int
    short: int
    n_missing: int
    n_estimated: int
    value: int


@dataclass(frozen=True, slots=True)
class DayTrace:
    """A settled day with the energies of its lines, each summed again once."""

    day: SettledDay
    seen: dict[int, LineEnergy] = field(default_factory=dict)

    @property
    def before_cap(self) -> SettlementResult:
        """The settlement before its penalties were capped, if they were."""
        period, result = self.day.period, self.day.run.result
        if period is None or period.penalties is None:
            return result
        return period.uncapped[period.days.index(str(self.day.day.date))]

    def place(self, line: int) -> str:
        """Name a line: operator, aggregate, direction, and the clock time at which its market time unit starts."""
        lines = self.day.run.result.lines
        operator = "local" if lines.operator[line] == LOCAL else "global"
        way = "up" if lines.direction[line] == UP else "down"
        start = self.day.clock(int(np.flatnonzero(self.day.unit_of_step == lines.unit[line])[0]))
        return f"{operator} {self.day.aggregate_ids[lines.aggregate[line]]} {way} {start}"

    def energy(self, line: int) -> LineEnergy:
        """Sum a line again."""
        if line not in self.seen:
            self.seen[line] = _energy(self.day, line)
        return self.seen[line]

    def group(self, line: int) -> dict[int, int]:
        """Lines of the same operator, aggregate and direction, by their unit."""
        lines = self.day.run.result.lines
        mine = (lines.operator == lines.operator[line]) & (lines.aggregate == lines.aggregate[line])
        chosen = np.flatnonzero(mine & (lines.direction == lines.direction[line])).tolist()
        return {int(lines.unit[other]): other for other in chosen}

    def event(self, line: int) -> list[int]:
        """Lines of the event of a line, in order of time: neighbouring units with an order; none without one."""
        units = self.group(line)
        first = last = int(self.day.run.result.lines.unit[line])
        if not self.energy(line).ordered:
            return []
        while first - 1 in units and self.energy(units[first - 1]).ordered:
            first -= 1
        while last + 1 in units and self.energy(units[last + 1]).ordered:
            last += 1
        return [units[unit] for unit in range(first, last + 1)]

    def scope(self, line: int) -> tuple[str, list[int]]:
        """Return what the ratio of a line is taken over, in words, and its lines."""
        scope = self.day.run.result.terms.factor_scope
        if scope == "line" or not self.energy(line).ordered:
            return "of the line", [line]
        chosen = self.event(line) if scope == "event" else list(self.group(line).values())
        return f"over the {len(chosen)} lines of the {'event' if scope == 'event' else 'day'}", chosen


def _energy(day: SettledDay, line: int) -> LineEnergy:
    result = day.run.result
    lines, terms = result.lines, result.terms
    rows = result.pod_lines.row[result.pod_lines.line == line]
    price = np.broadcast_to(day.row_price, day.orders_w.shape)
    sign = 1 if lines.direction[line] == UP else -1
    periods: dict[int, tuple[int, int]] = {}
    n_missing = n_estimated = value = 0
    for t in np.flatnonzero(day.unit_of_step == lines.unit[line]).tolist():
        ordered = delivered = 0
        columns = (day.orders_w, day.baseline_w, day.metered_w, price)
        entries = [column[rows, t].tolist() for column in columns]
        for order, base, read, each, guessed in zip(*entries, day.estimated(rows, t).tolist(), strict=True):
            if order == 0:
                continue
            ordered += order
            value += order * each
            if MISSING_W in (base, read):
                n_missing += 1
                continue
            power = sign * (base - read)
            n_estimated += guessed
            power = min(power, order) if guessed else power
            delivered += max(power, 0) if terms.netting == "pod" else power
        period = _period(terms, t)
        before = periods.get(period, (0, 0))
        periods[period] = before[0] + ordered, before[1] + delivered
    whole = sum(o for o, _ in periods.values()), sum(d for _, d in periods.values())
    counted = paid = short = 0
    for ordered, delivered in periods.values():
        if ordered:
            counts = min(delivered, ordered * terms.cap_ppm // ONE_PPM)
            counted += counts
            paid += max(counts, 0)
            short += max(ordered * (ONE_PPM - terms.tolerance_ppm) // ONE_PPM - delivered, 0)
    return LineEnergy(*whole, counted, paid, short, n_missing, n_estimated, value)


def _own_gaps(day: SettledDay, line: int, rows: Any) -> list[int]:
    """What each row of a line delivered below its orders, in the periods over which the terms measure."""
    lines, terms = day.run.result.lines, day.run.result.terms
    sign = 1 if lines.direction[line] == UP else -1
    steps = np.flatnonzero(day.unit_of_step == lines.unit[line]).tolist()
    found = []
    for row in rows.tolist():
        gaps: dict[int, int] = {}
        for t in steps:
            order, base, read = (int(table[row, t]) for table in (day.orders_w, day.baseline_w, day.metered_w))
            power = 0 if MISSING_W in (base, read) or not order else sign * (base - read)
            power = min(power, order) if day.estimated(row, t) else power
            power = max(power, 0) if terms.netting == "pod" else power
            period = _period(terms, t)
            gaps[period] = gaps.get(period, 0) + order - power
        found.append(sum(max(gap, 0) for gap in gaps.values()))
    return found


def _period(terms: SettlementTerms, step: int) -> int:
    """What cap and shortfall are measured over, within a market time unit."""
    return {"unit": 0, "half_hour": step // 2, "quarter_hour": step}[terms.measured_per]


def line_steps(trace: DayTrace, share: int) -> list[TraceStep]:
    """Amounts of the line of a share from the energies of its PODs, and the POD's part of them."""
    day, result = trace.day, trace.day.run.result
    shares, lines, terms = result.pod_lines, result.lines, result.terms
    line = int(shares.line[share])
    place, energy = trace.place(line), trace.energy(line)
    inside = np.flatnonzero(shares.line == line)
    ordered, delivered, available = (
        [int(value) for value in values[inside]]
        for values in (shares.ordered_wqh, shares.delivered_wqh, shares.available_wqh)
    )
    steps: list[TraceStep] = []

    def add(rule: str, name: str, how: str, value: Any, again: int | None, unit: str, *, given: bool = False) -> int:
        steps.append(TraceStep(place, rule, name, how, int(value), again, unit, given))
        return int(value)

    def of_line(rule: str, name: str, how: str, column: str, again: int, unit: str) -> int:
        return add(rule, name, how, getattr(lines, column)[line], again, unit)

    n, per = f"sum over {len(inside)} PODs", PERIODS[terms.measured_per]
    order = of_line("SET-03", "ordered energy of the line", n, "ordered_wqh", energy.ordered, "W qh")
    gave = of_line("SET-03", "delivered energy of the line", n, "delivered_wqh", energy.delivered, "W qh")
    of_line("SET-03", "available energy of the line", n, "available_wqh", sum(available), "W qh")
    event = trace.event(line)
    first = int(lines.unit[event[0]]) if event else -1
    of_line("SET-01", "unit in which the event starts", f"{len(event)} lines with an order", "event", first, "")
    lost = f"ordered quarter-hours of {len(inside)} PODs without reading or baseline"
    of_line("SET-01", "quarter-hours that are missing", lost, "n_missing", energy.n_missing, "")
    lost = "ordered quarter-hours whose reading was estimated, each credited up to its order"
    of_line("SET-01", "quarter-hours that were estimated", lost, "n_estimated", energy.n_estimated, "")
    cap = f"{terms.cap_ppm / 10_000:g} % of the order"
    of_line("SET-01", "counted energy", f"{gave}, not above {cap} in {per}", "counted_wqh", energy.counted, "W qh")
    how = f"{gave}, not below 0 and not above {cap} in {per}"
    paid = of_line("SET-01", "paid energy", how, "paid_wqh", energy.paid, "W qh")
    how = f"{100 - terms.tolerance_ppm / 10_000:g} % of {order} - {gave}, not below 0 in {per}"
    short = of_line("SET-01", "shortfall", how, "shortfall_wqh", energy.short, "W qh")
    again = half_even_int(energy.value, energy.ordered) if energy.ordered else 0
    how = "mean of the orders' prices, weighted by energy"
    price = of_line("SET-01", "price", how, "price_ueur_per_mwh", again, "micro-EUR/MWh")
    said, chosen = trace.scope(line)
    top = sum(trace.energy(other).counted for other in chosen)
    bottom = sum(trace.energy(other).ordered for other in chosen)
    how = f"{top} / {bottom} {said}"
    again = half_even_int(top * ONE_PPM, bottom) if bottom else 0
    of_line("SET-01", "ratio of delivery", how, "ratio_ppm", again, "ppm")
    factor = of_line(
        "SET-01", "pay factor", f"at {how}", "factor_ppm", factor_again(top, bottom, terms.factor_ppm), "ppm"
    )
    how = f"{paid} x {price} x {factor} / (4,000,000 x 1,000,000)"
    again = half_even_int(paid * price * factor, WQH_PER_MWH * ONE_PPM)
    pay = of_line("SET-01", "pay of the line", how, "pay_ueur", again, "micro-EUR")
    before = trace.before_cap
    charge = half_even_int(short * terms.penalty_ueur_per_mwh, WQH_PER_MWH)
    how = f"{short} x {terms.penalty_ueur_per_mwh} / 4,000,000"
    # what the cap of a period leaves can only be followed with the period at hand
    is_less = result.capped and day.period is None and int(before.lines.penalty_ueur[line]) < charge
    how += f" is {charge}; less by the cap of the period" if is_less else ""
    penalty = add(
        "SET-01", "penalty of the line", how, before.lines.penalty_ueur[line], charge, "micro-EUR", given=is_less
    )
    open_w, rate = sum(available), terms.availability_ueur_per_mw_h
    how, again = f"{open_w} x {rate} / 4,000,000", half_even_int(open_w * rate, WQH_PER_MWH)
    held = of_line("SET-01", "availability pay of the line", how, "availability_ueur", again, "micro-EUR")
    at = int(np.flatnonzero(inside == share)[0])
    own = {}
    for name, total, table, weights, what in (
        ("pay", pay, shares, delivered, "what each POD delivered"),
        (
            "penalty", penalty, before.pod_lines, _own_gaps(day, line, shares.row[inside]),
            "each POD's shortfall",
        ),
        ("availability", held, shares, available, "each POD's availability"),
    ):  # fmt: skip
        by, said = _weights(day, shares, inside, weights), _SPLITS.get(result.split, what)
        how = f"share of {total} by {said}, {max(by[at], 0)} of {sum(max(w, 0) for w in by)}"
        value = getattr(table, f"{name}_ueur")[share]
        again, unknown = shares_again(total, by, ordered)[at], is_less and name == "penalty"
        own[name] = add("SET-03", f"{name} of the POD", how, value, again, "micro-EUR", given=unknown)
    if day.period is not None and day.period.penalties is not None:
        steps += _capped(day, day.period, before, line, share, inside, place)
        own["penalty"] = int(shares.penalty_ueur[share])
    others = _others(shares, share)
    for name, number in others.items():
        add("SET-03", f"{name} of the POD", "as the settlement has it", number, None, "micro-EUR", given=True)
    how = f"{own['pay']} - {own['penalty']} + {own['availability']}"
    net = own["pay"] - own["penalty"] + own["availability"]
    add("SET-03", "net of the POD", how, shares.net_ueur[share], net, "micro-EUR", given=bool(any(others.values())))
    return steps


def _weights(day: SettledDay, shares: PodLines, inside: Any, delivered: list[int]) -> list[int]:
    """Weights by which the PODs of a line share an amount, as the settlement was told."""
    if day.run.result.split == "equal":
        return [1] * len(inside)
    if day.run.result.split == "factors" and day.row_factor_ppm is not None:
        return [int(value) for value in day.row_factor_ppm[shares.row[inside]]]
    return delivered


def _others(shares: Any, share: int) -> dict[str, int]:
    """Amounts of a share that other columns hold than the trace knows."""
    known = ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur")
    names = [name for name in shares.__slots__ if name.endswith("_ueur") and name not in known]
    return {name.removesuffix("_ueur").replace("_", " "): int(getattr(shares, name)[share]) for name in names}


def _capped(
    day: SettledDay, period: PeriodSettlement, before: SettlementResult, line: int, share: int, inside: Any, place: str
) -> list[TraceStep]:
    """The cap on the penalties of the aggregate in the period, what the line is charged, and what the POD is."""
    accounts, lines = period.penalties, before.lines
    assert accounts is not None
    key = int(lines.operator[line]), int(lines.aggregate[line])
    row = int(np.flatnonzero((accounts.operator == key[0]) & (accounts.aggregate == key[1]))[0])

    def own(table: SettlementLines) -> list[int]:
        return np.flatnonzero((table.operator == key[0]) & (table.aggregate == key[1])).tolist()

    # (day, unit, position) of every line of the account, in the order of the table of all lines
    entries = [(d, int(r.lines.unit[i]), i) for d, r in enumerate(period.uncapped) for i in own(r.lines)]
    owed = [int(period.uncapped[d].lines.penalty_ueur[i]) for d, _, i in entries]
    base = sum(int(period.uncapped[d].lines.availability_ueur[i]) for d, _, i in entries)
    contracts = 0
    if period.availability is not None:
        at = (period.availability.operator == key[0]) & (period.availability.aggregate == key[1])
        contracts = sum(period.availability.net_ueur[at].tolist())
    steps: list[TraceStep] = []

    def add(name: str, how: str, value: Any, again: int) -> int:
        steps.append(TraceStep(place, "SET-01", name, how, int(value), again, "micro-EUR"))
        return int(value)

    how = f"{base} of {len(entries)} lines + {contracts} of contracts"
    base = add("availability pay of the period", how, accounts.availability_ueur[row], base + contracts)
    how = f"{period.cap_ppm} x {base} / 1,000,000"
    cap = add(
        "cap of the penalties", how, accounts.cap_ueur[row], half_even_int(period.cap_ppm * max(base, 0), ONE_PPM)
    )
    total = add("penalties of the period", f"sum of {len(entries)} lines", accounts.penalty_ueur[row], sum(owed))
    charged = add("charged of them", f"the lesser of {total} and {cap}", accounts.charged_ueur[row], min(total, cap))
    mine = entries.index((period.days.index(str(day.day.date)), int(lines.unit[line]), line))
    if period.order == "earliest":
        earlier = sum(owed[k] for k in range(len(entries)) if entries[k] < entries[mine])
        again, how = min(max(charged - earlier, 0), owed[mine]), f"{charged} - {earlier} of earlier lines"
    else:
        again, how = shares_again(charged, owed, owed)[mine], f"share of {charged}, {owed[mine]} of {total}"
    charge = add("charged to the line", how, day.run.result.lines.penalty_ueur[line], again)
    weights = [int(value) for value in before.pod_lines.penalty_ueur[inside]]
    place_in = int(np.flatnonzero(inside == share)[0])
    how = f"share of {charge}, {weights[place_in]} of {sum(weights)}"
    again = shares_again(charge, weights, weights)[place_in]
    add("charged to the POD", how, day.run.result.pod_lines.penalty_ueur[share], again)
    return steps
