"""The amounts of a period that no single day holds, computed again: availability of contracts, fees, invoices."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.settlement.availability import AVAILABILITY_TERMS, AvailabilityTerms, Energies
from flexcore.settlement.fees import FORWARD, GME_FEE
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.statements import UEUR_PER_CENT, statements
from flexcore.settlement.terms import ONE_PPM
from flexcore.settlement.trace_numbers import half_even_int
from flexcore.settlement.trace_steps import Trace, TraceStep
from flexcore.units import LOCAL

_SIDES = {"bsp": (1, 0), "operator": (0, 1), "both": (1, 1)}


def trace_period(
    period: PeriodSettlement,
    *,
    bsp_of_aggregate: npt.ArrayLike,
    availability_terms: str | AvailabilityTerms = "kept_share",
    performance_wqh: Energies | None = None,
    previous_wqh: Energies | None = None,
    fee_ueur_per_mw_quarter: int = GME_FEE,
    payer: Literal["bsp", "operator", "both", "half"] = "bsp",
) -> Trace:
    """Compute the availability lines, the fees and the invoices of a period again with Python's integers.

    Parameters
    ----------
    period : PeriodSettlement
    bsp_of_aggregate : array_like of int, shape (n_aggregates,)
        BSP of each aggregate.
    availability_terms, performance_wqh, previous_wqh
        As `settle_availability` was given them.
    fee_ueur_per_mw_quarter, payer
        As `market_fees` was given them.

    Returns
    -------
    Trace
        Of the whole period; its `pod` is empty. Lines of days are traced by `trace`, with the cap on their penalties.

    Notes
    -----
    Given are what the market says is due, the quarter-hours kept and refused, and the quantities of the fees.
    """
    if isinstance(availability_terms, str):
        availability_terms = AVAILABILITY_TERMS[availability_terms]
    steps = _availability(period, availability_terms, performance_wqh, previous_wqh)
    steps += _fees(period, fee_ueur_per_mw_quarter, payer)
    steps += _invoices(period, [int(bsp) for bsp in np.asarray(bsp_of_aggregate)])
    return Trace("", tuple(steps))


def _ratio(energies: Energies | None, row: int) -> tuple[int, int]:
    """Counted over ordered energy within 0..1; 1 where nothing is ordered or terms ask for none."""
    if energies is None:
        return 1, 1
    counted, ordered = (int(np.asarray(values)[row]) for values in energies)
    return (min(max(counted, 0), ordered), ordered) if ordered else (1, 1)


def _availability(
    period: PeriodSettlement, terms: AvailabilityTerms, performance: Energies | None, previous: Energies | None
) -> list[TraceStep]:
    steps: list[TraceStep] = []
    lines = period.availability
    for row in range(0 if lines is None else len(lines)):
        assert lines is not None
        month = int(lines.month[row])
        place = f"{_side(lines.operator[row])} contract {lines.contract[row]}, {month // 100}-{month % 100:02}"

        def add(name: str, how: str, column: Any, again: int | None, unit: str = "micro-EUR", *, place: str = place,
                row: int = row) -> int:  # fmt: skip
            value = int(column[row])
            steps.append(TraceStep(place, "SET-01", name, how, value, again, unit, again is None))
            return value

        due = add("due if all is kept", "as the market says", lines.due_ueur, None)
        quarters = add("quarter-hours of the windows", "as they were counted", lines.quarters, None, "")
        kept = add("quarter-hours kept", "as they were counted", lines.kept, None, "")
        refused = add("activations refused", "as they were counted", lines.refused, None, "")
        lost = kept * ONE_PPM < terms.least_ppm * quarters or (terms.refusal_loses and refused > 0)
        for_performance = half_even_int(due * terms.performance_ppm, ONE_PPM)
        top, bottom = (0 if lost else kept), quarters
        how = f"({due} - {for_performance}) x {top} / {bottom}" + (" (lost)" if lost else "")
        if terms.by_previous_month:
            part, whole = _ratio(previous, row)
            how += f" x {part} / {whole} of the month before"
            top, bottom = top * part, bottom * whole
        again = half_even_int((due - for_performance) * top, bottom)
        earned = add("paid for being available", how, lines.kept_ueur, again)
        part, whole = _ratio(performance, row)
        again = half_even_int(for_performance * part, whole) if terms.performance_ppm else 0
        how = f"{for_performance} x {part} / {whole}"
        moved = add("paid for delivery", how, lines.performance_ueur, again)
        net = add("net of the contract", f"{earned} + {moved}", lines.net_ueur, earned + moved)
        add("deducted", f"{due} - {net}", lines.deducted_ueur, due - net)
    return steps


def _fees(period: PeriodSettlement, fee: int, payer: str) -> list[TraceStep]:
    steps: list[TraceStep] = []
    lines = period.fees
    for row in range(0 if lines is None else len(lines)):
        assert lines is not None
        market = "forward" if lines.market[row] == FORWARD else "spot"
        place = f"{market} fee of BSP {lines.bsp[row]}, {_side(lines.operator[row])}, {row}"
        quantity = int(lines.quantity_wqh[row])
        whole = half_even_int(quantity * fee, 1_000_000)
        sides = (whole - whole // 2, whole // 2)
        if payer != "half":
            own, other = _SIDES[payer]
            sides = own * whole, other * whole
        for name, how, value, again, unit in (
            ("quantity", "as it was contracted or awarded", quantity, None, "W qh"),
            ("fee", f"{quantity} x {fee} / 1,000,000", lines.fee_ueur[row], whole, "micro-EUR"),
            ("fee of the BSP", f"of {whole}, paid by: {payer}", lines.bsp_ueur[row], sides[0], "micro-EUR"),
            ("fee of the operator", f"of {whole}, paid by: {payer}", lines.operator_ueur[row], sides[1], "micro-EUR"),
        ):
            steps.append(TraceStep(place, "SET-01", name, how, int(value), again, unit, again is None))
    return steps


def _invoices(period: PeriodSettlement, owner: list[int]) -> list[TraceStep]:
    """Cents of each (BSP, operator) from the lines, and again from the shares of PODs, contracts and fees."""
    sums: dict[tuple[int, int], int] = {}

    def book(bsp: int, operator: int, amount: int) -> None:
        sums[bsp, operator] = sums.get((bsp, operator), 0) + amount

    for result in period.results:
        lines, shares = result.lines, result.pod_lines
        party = [(owner[a], o) for a, o in zip(lines.aggregate.tolist(), lines.operator.tolist(), strict=True)]
        for line, net in zip(shares.line.tolist(), shares.net_ueur.tolist(), strict=True):
            bsp, operator = party[line]
            book(bsp, operator, net)
    if period.availability is not None:
        held = period.availability
        for a, o, net in zip(held.aggregate.tolist(), held.operator.tolist(), held.net_ueur.tolist(), strict=True):
            book(owner[a], o, net)
    if period.fees is not None:
        fees = period.fees
        for b, o, fee in zip(fees.bsp.tolist(), fees.operator.tolist(), fees.bsp_ueur.tolist(), strict=True):
            book(b, o, -fee)
    table = statements(period.results, bsp_of_aggregate=owner, availability=period.availability, fees=period.fees)
    steps = []
    for row in range(len(table)):
        bsp, operator = int(table.bsp[row]), int(table.operator[row])
        again = half_even_int(sums.get((bsp, operator), 0), UEUR_PER_CENT)
        how = f"{int(table.net_ueur[row])} micro-EUR, the sum of {int(table.n_lines[row])} lines less fees, to cents"
        place = f"invoice of BSP {bsp}, {_side(operator)}"
        steps.append(TraceStep(place, "SET-03", "net", how, int(table.net_cents[row]), again, "cent"))
    return steps


def _side(operator: Any) -> str:
    return "local" if operator == LOCAL else "global"
