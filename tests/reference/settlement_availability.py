"""Availability with loops and fractions, written from the rule text and never tuned."""

from fractions import Fraction

from tests.reference.settlement_remuneration import split

MILLION = 1_000_000


def headroom(baseline, metered, order, direction, least, most):
    """Power that a POD could have moved in a quarter-hour; None where there is no reading."""
    if baseline is None:
        return 0
    value = max(0, baseline - least) if direction == 0 else max(0, most - baseline)
    if order:
        response = 0 if metered is None else max(0, baseline - metered if direction == 0 else metered - baseline)
        value = min(value, response) if response < order else max(value, response)
    return value


def kept(contracts, windows, quarters):
    """Count (quarters, kept, refused) by (contract, month).

    A contract is (contracted, list of window names); `windows` maps a name to a function of (date, hour, quarter of the
    hour); a quarter is (date, hour, quarter, {contract: available}, {contract: refused}).
    """
    counts = {}
    for date, hour, quarter, available, refused in quarters:
        for number, (contracted, names) in enumerate(contracts):
            if not any(windows[name](date, hour, quarter) for name in names):
                continue
            entry = counts.setdefault((number, 100 * date.year + date.month), [0, 0, 0])
            entry[0] += 1
            entry[1] += available[number] >= contracted and not refused[number]
            entry[2] += refused[number]
    return counts


def ratio(counted, ordered):
    """Delivered share within 0..1; 1 where nothing was ordered."""
    return Fraction(min(max(counted, 0), ordered), ordered) if ordered else Fraction(1)


def amounts(due, quarters, kept_quarters, refused, terms, performance, previous):
    """Return what is paid for being available and for delivery."""
    share = Fraction(kept_quarters, quarters)
    if share < Fraction(terms.least_ppm, MILLION) or (terms.refusal_loses and refused):
        share = Fraction(0)
    if terms.by_previous_month:
        share *= ratio(*previous)
    second = round(Fraction(due * terms.performance_ppm, MILLION))
    return round((due - second) * share), round(second * ratio(*performance))


def power_of_contracts(available, members, is_open, operator_of):
    """Power of each contract in one quarter-hour.

    `available` maps (POD, direction) to power, `members` are (contract, POD, direction, weight), `is_open` and
    `operator_of` tell of each contract. The open contracts of one operator share the power of a POD by their weights.
    """
    result = [0] * len(is_open)
    for (pod, direction), power in available.items():
        for operator in set(operator_of):
            behind = sorted(
                (contract, weight)
                for contract, other, way, weight in members
                if (other, way) == (pod, direction) and is_open[contract] and operator_of[contract] == operator
            )
            weights = [weight for _, weight in behind]
            if behind:
                parts = split(power, weights if sum(weights) else [1] * len(weights))
                for (contract, _), part in zip(behind, parts, strict=True):
                    result[contract] += part
    return result
