"""From the energies of lines to their amounts: events, ratios, factors, and the one rounding of each amount."""

import numpy as np
import numpy.typing as npt

from flexcore.settlement.amounts import LARGEST_UEUR, mean_price, pay_factor, payment, ratio_ppm, refuse, refuse_lines
from flexcore.settlement.result import Int8s, Int64s, SettlementLines, SettlementTotals
from flexcore.settlement.terms import SettlementTerms
from flexcore.units import GLOBAL, LOCAL, MAX_WQH, amount_ueur, exact_sum

Key = tuple[Int8s, Int64s, Int8s]


def make_lines(
    key: Key,
    unit: Int64s,
    terms: SettlementTerms,
    ordered: Int64s,
    delivered: Int64s,
    available: Int64s,
    n_missing: Int64s,
    n_estimated: Int64s,
    price_high: Int64s,
    price_low: Int64s,
    counted: Int64s,
    paid: Int64s,
    shortfall: Int64s,
) -> SettlementLines:
    """Turn sums of energy, sorted by key and unit, into amounts."""
    energies = np.abs(np.stack([ordered, delivered, available, counted, paid, shortfall]))
    name = (*key, unit)
    refuse_lines(
        f"the energy of a line is larger than {MAX_WQH} wqh", name, np.asarray((energies > MAX_WQH).any(axis=0))
    )
    price = mean_price(price_high, price_low, ordered)
    first = _first_of_group(key)
    starts = _starts_event(first, unit, ordered)
    counted_in, ordered_in = _in_scope(terms.factor_scope, first, starts, counted, ordered)
    started = np.maximum.accumulate(np.where(starts, np.arange(len(unit)), 0))
    event = np.where(ordered > 0, unit[started], -1) if len(unit) else unit
    factor = pay_factor(counted_in, ordered_in, terms.factor_ppm)
    pay = payment(paid, price, factor)
    penalty = amount_ueur(shortfall, terms.penalty_ueur_per_mwh)
    # EUR per MW and hour is EUR per MWh of available energy
    availability = amount_ueur(available, terms.availability_ueur_per_mw_h)
    sizes = np.abs(pay) + penalty + availability
    if exact_sum(sizes) > LARGEST_UEUR:
        message = f"the amounts of the run sum to more than {LARGEST_UEUR} micro-EUR; its largest line is named"
        refuse_lines(message, name, np.arange(len(sizes)) == sizes.argmax())
    return SettlementLines(
        *key, unit, ordered, delivered, paid, shortfall, counted, available, n_missing, n_estimated,
        event,
        ratio_ppm(counted_in, ordered_in), price, factor, pay, penalty, availability, pay - penalty + availability,
    )  # fmt: skip


def _first_of_group(key: Key) -> npt.NDArray[np.bool_]:
    """Mark the first line of each (operator, aggregate, direction)."""
    first = np.ones(len(key[0]), np.bool_)
    first[1:] = False
    for column in key:
        first[1:] |= column[1:] != column[:-1]
    return first


def _starts_event(first: npt.NDArray[np.bool_], unit: Int64s, ordered: Int64s) -> npt.NDArray[np.bool_]:
    """Mark the lines with an order whose group has none in the unit before."""
    has = ordered > 0
    follows = np.zeros(len(unit), np.bool_)
    follows[1:] = has[:-1] & (unit[1:] == unit[:-1] + 1) & ~first[1:]
    return has & ~follows


def _in_scope(
    scope: str, first: npt.NDArray[np.bool_], starts: npt.NDArray[np.bool_], counted: Int64s, ordered: Int64s
) -> tuple[Int64s, Int64s]:
    """Return the counted and ordered energy that the ratio of each line is taken over; 0 where nothing is ordered."""
    if scope == "line" or not len(first):
        return counted, ordered
    # lines without an order add nothing, so it does no harm that they follow the event before them
    place = np.maximum(np.cumsum(first if scope == "period" else starts) - 1, 0)
    sums = []
    for energy in (counted, ordered):
        total = np.zeros(int(place[-1]) + 1, np.int64)
        np.add.at(total, place, energy)
        if (np.abs(total) > MAX_WQH).any():
            refuse("FX-S001", f"the energy of an event or a period is larger than {MAX_WQH} wqh")
        sums.append(np.where(ordered > 0, total[place], 0))
    return sums[0], sums[1]


def totals_of(lines: SettlementLines) -> SettlementTotals:
    """Sum the lines of each operator."""
    operators = np.array([LOCAL, GLOBAL], np.int8)
    names = (
        "ordered_wqh", "delivered_wqh", "paid_wqh", "shortfall_wqh", "available_wqh", "n_missing", "n_estimated",
        "pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur",
    )  # fmt: skip
    sums = {
        name: np.array([getattr(lines, name)[lines.operator == operator].sum() for operator in operators], np.int64)
        for name in names
    }
    return SettlementTotals(operators, **sums)
