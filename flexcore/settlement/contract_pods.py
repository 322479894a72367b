"""Contracts and the PODs behind them: power of PODs shared over contracts, amounts of contracts shared over PODs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.errors import Findings, SettlementError
from flexcore.market.long_term import ContractBook
from flexcore.market_day import MarketDay
from flexcore.metering.delivery import net_by_aggregate
from flexcore.settlement.amounts import share_exactly
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.result import Columns, Int64s
from flexcore.units import GLOBAL, LOCAL

#: Largest availability of a POD: sums over all of a country stay exact.
_MAX_W = 2**41


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


def contract_availability(
    book: ContractBook,
    days: Sequence[MarketDay],
    available_w: npt.ArrayLike,
    *,
    pod: npt.ArrayLike,
    direction: npt.ArrayLike,
    contract: npt.ArrayLike,
    row: npt.ArrayLike,
    weight: npt.ArrayLike,
    operator: npt.ArrayLike = LOCAL,
    n_threads: int = 1,
) -> Int64s:
    """Sum what PODs have over the contracts that they stand behind, no watt twice.

    Parameters
    ----------
    book : ContractBook
    days : sequence of MarketDay
    available_w : array_like of int, shape (n_rows, n_steps of all days)
        What each POD could have moved in a direction (`measured_availability`), not negative. [W]
    pod, direction : array_like of int, shape (n_rows,)
        Key of the POD and direction of each row, each pair once.
    contract, row : array_like of int, shape (n_members,)
        Positions of a contract and of a row behind it, each pair once; a row may stand behind several contracts.
    weight : array_like of int, shape (n_members,)
        Not negative: power that the POD enrolled for the contract. All 0: alike.
    operator : array_like of int, shape (n_contracts,) or one number
        Who bought each contract.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_contracts, n_steps)
        `measured_w` of `count_kept`; 0 outside the windows of a contract. [W]

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S015 a POD with two rows for a direction, or twice behind a contract; FX-S016 a row behind a contract of the
        other direction.

    Notes
    -----
    In each quarter-hour the contracts of one operator whose windows are open share the power of a POD in proportion to
    the weights, in whole W by largest remainder, ties to the earlier contract. Operators settle separately (SET-02):
    for power that two operators may not both count, give their contracts one operator.
    """
    n_steps = sum(day.n_steps for day in days)
    power = as_int(available_w, "available_w", shape=(None, n_steps), lo=0, hi=_MAX_W)
    key = as_int(pod, "pod", shape=(len(power),))
    way = as_int(direction, "direction", shape=(len(power),), lo=0, hi=1)
    of = as_int(contract, "contract", shape=(None,), lo=0, hi=book.n_contracts - 1)
    at = as_int(row, "row", shape=of.shape, lo=0, hi=len(power) - 1)
    part = as_int(weight, "weight", shape=of.shape, lo=0, hi=_MAX_W)
    buyer = int_per_row(operator, "operator", book.n_contracts, lo=LOCAL, hi=GLOBAL)
    _refuse_twice(key, way, of, at, book.direction)
    # members of one POD, direction and operator share; earlier contracts come first
    order = np.lexsort((of, buyer[of], at))
    of, at, part = of[order], at[order], part[order]
    starts = np.ones(len(of), np.bool_)
    starts[1:] = (at[1:] != at[:-1]) | (buyer[of][1:] != buyer[of][:-1])
    group = np.cumsum(starts) - 1
    shared = np.bincount(group)[group] > 1 if len(of) else starts
    result = np.zeros((book.n_contracts, n_steps), np.int64)
    begin = 0
    for day in days:
        mine = slice(begin, begin + day.n_steps)
        begin += day.n_steps
        inside = book.sets.overlap(book.windows.open(day))
        alone, _ = net_by_aggregate(power[at[~shared], mine], of[~shared], book.n_contracts)
        total = np.where(inside, alone, 0)
        member, step = np.nonzero(inside[of] & shared[:, np.newaxis])
        line = group[member] * day.n_steps + step
        whole = np.zeros((int(group.max(initial=-1)) + 1) * day.n_steps, np.int64)
        whole[line] = power[at[member], mine.start + step]
        np.add.at(total, (of[member], step), share_exactly(whole, line, part[member], n_threads=n_threads))
        result[:, mine] = total
    return result


def _refuse_twice(pod: Int64s, direction: Int64s, contract: Int64s, row: Int64s, wanted: npt.NDArray[np.int8]) -> None:
    """Raise FX-S015 for pairs that come twice, FX-S016 for rows and contracts of different directions."""
    found = Findings("contract availability", len(pod))
    for keys, ids, message in (
        ((pod, direction), pod, "{} rows are of a POD and direction that another row has"),
        ((contract, row), pod[row], "{} PODs stand twice behind one contract"),
    ):
        order = np.lexsort(keys)
        twice = np.ones(max(len(order) - 1, 0), np.bool_)
        for column in keys:
            twice &= column[order][1:] == column[order][:-1]
        bad = np.sort(order[1:][twice])
        if bad.size:
            found.add("FX-S015", message.format(bad.size), rows=bad, ids=ids[bad])
    wrong = np.flatnonzero(direction[row] != wanted[contract])
    if wrong.size:
        message = f"{wrong.size} PODs stand behind a contract of the other direction"
        found.add("FX-S016", message, rows=wrong, ids=pod[row[wrong]])
    found.raise_errors(SettlementError)
