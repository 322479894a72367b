"""Availability of contracts, shared over the PODs that stand behind them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.settlement.amounts import share_exactly
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.result import Columns, Int64s


@dataclass(frozen=True, slots=True)
class AvailabilityPods(Columns):
    """Shares of PODs in availability lines, sorted by (line, pod); over each line they sum to its net amount (SET-03).

    Attributes
    ----------
    line : ndarray of int64
        Position in the lines.
    pod : ndarray of int64
        Key of the POD.
    net_ueur : ndarray of int64
        [micro-EUR]
    """

    line: Int64s
    pod: Int64s
    net_ueur: Int64s


def share_availability(
    lines: AvailabilityLines, *, contract: npt.ArrayLike, pod: npt.ArrayLike, weight: npt.ArrayLike
) -> AvailabilityPods:
    """Share each availability line over the PODs of its contract, by largest remainder, ties to the lower POD key.

    Parameters
    ----------
    lines : AvailabilityLines
    contract : array_like of int, shape (n_members,)
        Position of the contract that each POD stands behind; a POD may stand behind several.
    pod : array_like of int, shape (n_members,)
        Key of the POD.
    weight : array_like of int, shape (n_members,)
        Not negative: enrolled power, the provider's factors, or what each POD was measured to have. All 0: alike.

    Returns
    -------
    AvailabilityPods

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S001 weights too large to be summed, FX-S012 an amount of a contract without PODs.
    """
    of = as_int(contract, "contract", shape=(None,), lo=0)
    key = as_int(pod, "pod", shape=of.shape)
    part = as_int(weight, "weight", shape=of.shape, lo=0)
    order = np.lexsort((key, of))
    begin, end = (np.searchsorted(of[order], lines.contract, side=side) for side in ("left", "right"))
    count = end - begin
    line = np.repeat(np.arange(len(lines)), count)
    # place of each entry among the members, which are sorted by contract
    member = order[np.arange(len(line)) + np.repeat(begin - (np.cumsum(count) - count), count)]
    return AvailabilityPods(line, key[member], share_exactly(lines.net_ueur, line, part[member]))
