"""Statements: what each BSP gets from each operator for a period; the only place where cents are rounded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
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
    pay_ueur, penalty_ueur, availability_ueur, net_ueur : ndarray of int64
        Exact sums of the lines. [micro-EUR]
    net_cents : ndarray of int64
        `net_ueur`, half-even to cents: what is invoiced.
    """

    bsp: Int64s
    operator: Int8s
    n_lines: Int64s
    pay_ueur: Int64s
    penalty_ueur: Int64s
    availability_ueur: Int64s
    net_ueur: Int64s
    net_cents: Int64s


def statements(
    results: SettlementResult | Sequence[SettlementResult], *, bsp_of_aggregate: npt.ArrayLike
) -> Statements:
    """Sum the lines of a period for each (BSP, operator) and round to cents once.

    Parameters
    ----------
    results : SettlementResult or sequence of them
        The settlements of the period, one for each day.
    bsp_of_aggregate : array_like of int, shape (n_aggregates,)
        BSP of each aggregate.

    Returns
    -------
    Statements

    Raises
    ------
    ValidationError
        FX-A006 if a line's aggregate has no BSP.
    """
    runs = [results] if isinstance(results, SettlementResult) else list(results)
    owner = as_int(bsp_of_aggregate, "bsp_of_aggregate", shape=(None,))

    def column(name: str) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(run.lines, name) for run in runs)]).astype(np.int64)

    aggregate = as_int(column("aggregate"), "aggregate", lo=0, hi=len(owner) - 1)
    keys, place = np.unique(np.stack([owner[aggregate], column("operator")]), axis=1, return_inverse=True)
    sums = {}
    for name in ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur"):
        sums[name] = np.zeros(keys.shape[1], np.int64)
        np.add.at(sums[name], place.ravel(), column(name))
    n_lines = np.bincount(place.ravel(), minlength=keys.shape[1]).astype(np.int64)
    cents = half_even(sums["net_ueur"], UEUR_PER_CENT)
    return Statements(keys[0].copy(), keys[1].astype(np.int8), n_lines, **sums, net_cents=cents)
