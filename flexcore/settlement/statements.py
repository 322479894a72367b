"""Statements: what each BSP gets from each operator for a period; the only place where cents are rounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.fees import FeeLines
from flexcore.settlement.penalties import refuse_uncapped
from flexcore.settlement.result import Columns, Int8s, Int64s, SettlementResult
from flexcore.units import half_even

#: Micro-EUR in a cent.
UEUR_PER_CENT = 10_000


@dataclass(frozen=True, slots=True)
class Statements(Columns):
    """One row for each (BSP, operator) of a period that has lines, sorted by these.

    Attributes
    ----------
    bsp : ndarray of int64
        Position of the BSP.
    operator : ndarray of int8
    n_lines : ndarray of int64
        Lines of settlements and of contracts.
    pay_ueur, penalty_ueur, availability_ueur, net_ueur : ndarray of int64
        Exact sums of the lines; availability with that of contracts, net with the fees taken off. [micro-EUR]
    fee_ueur : ndarray of int64
        What the BSP pays to the market operator. [micro-EUR]
    net_cents : ndarray of int64
        `net_ueur`, half-even to cents: what is invoiced.
    """

    bsp: Int64s
    operator: Int8s
    n_lines: Int64s
    pay_ueur: Int64s
    penalty_ueur: Int64s
    availability_ueur: Int64s
    fee_ueur: Int64s
    net_ueur: Int64s
    net_cents: Int64s


def statements(
    results: SettlementResult | Sequence[SettlementResult],
    *,
    bsp_of_aggregate: npt.ArrayLike,
    availability: AvailabilityLines | None = None,
    fees: FeeLines | None = None,
) -> Statements:
    """Sum the lines of a period for each (BSP, operator) and round to cents once.

    Parameters
    ----------
    results : SettlementResult or sequence of them
        The settlements of the period, one for each day.
    bsp_of_aggregate : array_like of int, shape (n_aggregates,)
        BSP of each aggregate.
    availability : AvailabilityLines, optional
        Availability of contracts for the period.
    fees : FeeLines, optional
        Fees of the market operator for the period.

    Returns
    -------
    Statements

    Raises
    ------
    ValidationError
        FX-A006 if a line's aggregate has no BSP.
    SettlementError
        FX-S017 penalties in full where the terms have a cap.
    """
    runs = [results] if isinstance(results, SettlementResult) else list(results)
    refuse_uncapped(runs)
    owner = as_int(bsp_of_aggregate, "bsp_of_aggregate", shape=(None,))

    def party(aggregate: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.asarray(owner[as_int(aggregate, "aggregate", lo=0, hi=len(owner) - 1)], np.int64)

    # one block of rows for each source: (BSP, operator), and the columns that its rows add to
    blocks: list[tuple[npt.NDArray[np.int64], Any, dict[str, npt.NDArray[np.int64]]]] = []
    for run in runs:
        lines = run.lines
        amounts = {name: getattr(lines, name) for name in ("pay_ueur", "penalty_ueur", "availability_ueur")}
        blocks.append((party(lines.aggregate), lines.operator, amounts | {"n_lines": np.ones(len(lines), np.int64)}))
    if availability is not None:
        amounts = {"availability_ueur": availability.net_ueur, "n_lines": np.ones(len(availability), np.int64)}
        blocks.append((party(availability.aggregate), availability.operator, amounts))
    if fees is not None:
        blocks.append((fees.bsp, fees.operator, {"fee_ueur": fees.bsp_ueur}))
    none = np.zeros((2, 0), np.int64)
    pairs = [np.stack([bsp, np.asarray(operator, np.int64)]) for bsp, operator, _ in blocks]
    keys, place = np.unique(np.concatenate([none, *pairs], axis=1), axis=1, return_inverse=True)
    names = ("n_lines", "pay_ueur", "penalty_ueur", "availability_ueur", "fee_ueur")
    sums = {name: np.zeros(keys.shape[1], np.int64) for name in names}
    ends = np.cumsum([pair.shape[1] for pair in pairs])
    for (_, _, columns), at in zip(blocks, np.split(place.ravel(), ends[:-1]) if blocks else [], strict=True):
        for name, values in columns.items():
            np.add.at(sums[name], at, values)
    net = sums["pay_ueur"] - sums["penalty_ueur"] + sums["availability_ueur"] - sums["fee_ueur"]
    cents = half_even(net, UEUR_PER_CENT)
    return Statements(keys[0].copy(), keys[1].astype(np.int8), **sums, net_ueur=net, net_cents=cents)
