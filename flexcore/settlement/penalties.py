"""Penalties of a period, capped at a part of its availability pay."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import check_option
from flexcore.settlement.amounts import LARGEST_UEUR, refuse, refuse_above, scaled, share_exactly
from flexcore.settlement.availability import AvailabilityLines
from flexcore.settlement.lines import totals_of
from flexcore.settlement.result import Columns, Int8s, Int64s, SettlementResult
from flexcore.settlement.terms import ONE_PPM


@dataclass(frozen=True, slots=True)
class PenaltyAccounts(Columns):
    """What was charged of the penalties of a period, one row for each (operator, aggregate), sorted by these.

    Attributes
    ----------
    operator : ndarray of int8
    aggregate : ndarray of int64
    availability_ueur : ndarray of int64
        Availability pay of the period: that of the lines and that of contracts. [micro-EUR]
    cap_ueur : ndarray of int64
        half_even(cap part x availability pay). [micro-EUR]
    penalty_ueur, charged_ueur : ndarray of int64
        Sum of the penalties, and the smaller of it and the cap. [micro-EUR]
    """

    operator: Int8s
    aggregate: Int64s
    availability_ueur: Int64s
    cap_ueur: Int64s
    penalty_ueur: Int64s
    charged_ueur: Int64s


@dataclass(frozen=True, slots=True)
class CappedPenalties:
    """Settlements with their penalties capped.

    Attributes
    ----------
    results : tuple of SettlementResult
        As given, with penalties and net amounts of lines, PODs and totals as they are charged.
    accounts : PenaltyAccounts
    """

    results: tuple[SettlementResult, ...]
    accounts: PenaltyAccounts


def cap_penalties(
    results: Sequence[SettlementResult],
    *,
    availability: AvailabilityLines | None = None,
    cap_ppm: int | None = None,
    order: Literal["proportional", "earliest"] = "proportional",
) -> CappedPenalties:
    """Cap the penalties of each (operator, aggregate) at a part of its availability pay of the period.

    Parameters
    ----------
    results : sequence of SettlementResult
        The settlements of the period, one for each day, in the order of time.
    availability : AvailabilityLines, optional
        Availability pay of contracts for the period, which counts beside that of the lines.
    cap_ppm : int, optional
        The part; `penalty_cap_ppm` of the terms if not given, which must then be those of all results.
        [parts per million]
    order : {"proportional", "earliest"}
        Lines share what is charged in proportion to their penalties, by largest remainder, ties to the earlier line; or
        the earliest lines are charged in full until the cap is reached, lines of one time in the order of the table.

    Returns
    -------
    CappedPenalties

    Raises
    ------
    SettlementError
        FX-S003 no cap is given and the terms have none, or several; FX-S001 sums too large for 64-bit money; FX-S017
        a result that is capped already.

    Notes
    -----
    PODs share what their line is charged in proportion to their penalties, by largest remainder, so every level sums
    exactly. No line and no POD is charged more than before.
    """
    check_option("order", order, ("proportional", "earliest"))
    runs = list(results)
    part = penalty_cap(runs, cap_ppm)

    def column(name: str) -> Int64s:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(r.lines, name) for r in runs)]).astype(np.int64)

    penalty = column("penalty_ueur")
    paid = column("availability_ueur")
    parts = [np.stack([column("operator"), column("aggregate")])]
    if availability is not None:
        parts.append(np.stack([availability.operator.astype(np.int64), availability.aggregate]))
        paid = np.concatenate([paid, availability.net_ueur])
    refuse_above(LARGEST_UEUR, "the amounts of the period are too large for 64-bit money", penalty, paid)
    keys, place = np.unique(np.concatenate(parts, axis=1), axis=1, return_inverse=True)
    place = place.ravel()
    account = place[: len(penalty)]
    owed, base = np.zeros(keys.shape[1], np.int64), np.zeros(keys.shape[1], np.int64)
    np.add.at(owed, account, penalty)
    np.add.at(base, place, paid)
    cap = scaled(np.maximum(base, 0), part, ONE_PPM)
    charged = np.minimum(owed, cap)
    if order == "earliest":
        line_charge = _earliest(account, penalty, charged, column("unit"), [len(r.lines) for r in runs])
    else:
        line_charge = share_exactly(charged, account, penalty)
    accounts = PenaltyAccounts(keys[0].astype(np.int8), keys[1].copy(), base, cap, owed, charged)
    stamp = repr((part, order, base.tolist(), [run.digest for run in runs]))
    ends = np.cumsum([len(run.lines) for run in runs])
    pieces = np.split(line_charge, ends[:-1]) if runs else []
    capped = (_with_penalty(run, piece, stamp) for run, piece in zip(runs, pieces, strict=True))
    return CappedPenalties(tuple(capped), accounts)


def penalty_cap(runs: Sequence[SettlementResult], cap_ppm: int | None) -> int:
    """Return the part, given or from the terms; FX-S003 where the terms have none, or several, FX-S017 capped runs."""
    done = [row for row, run in enumerate(runs) if run.capped]
    if done:
        refuse("FX-S017", f"the penalties of {len(done)} days are capped already", rows=done)
    if cap_ppm is None:
        found = {run.terms.penalty_cap_ppm for run in runs}
        if len(found) > 1 or None in found:
            refuse("FX-S003", "the terms have no penalty_cap_ppm, or several", hint="pass cap_ppm")
        cap_ppm = found.pop() if found else 0
    if not isinstance(cap_ppm, int) or not 0 <= cap_ppm <= 1000 * ONE_PPM:
        refuse("FX-S003", f"cap_ppm must be a whole number in 0..{1000 * ONE_PPM}")
    assert cap_ppm is not None
    return cap_ppm


def refuse_uncapped(runs: Sequence[SettlementResult]) -> None:
    """Raise FX-S017 where terms have a cap and the penalties were not capped: too much would be charged."""
    rows = [row for row, run in enumerate(runs) if run.terms.penalty_cap_ppm is not None and not run.capped]
    if rows:
        hint = "settle_period caps them; give the results that it has"
        refuse("FX-S017", f"the penalties of {len(rows)} days stand in full, and their terms have a cap", rows=rows,
               hint=hint)  # fmt: skip


def _earliest(account: Int64s, penalty: Int64s, charged: Int64s, unit: Int64s, sizes: list[int]) -> Int64s:
    """Charge lines in the order of (settlement, unit, position) until their account is used up."""
    day = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((unit, day, account))
    own, due = account[order], penalty[order]
    before = np.cumsum(due) - due
    first = np.flatnonzero(np.r_[True, own[1:] != own[:-1]]) if len(own) else np.zeros(0, np.intp)
    before -= np.repeat(before[first], np.diff(np.r_[first, len(own)]))
    result = np.empty(len(account), np.int64)
    result[order] = np.clip(charged[own] - before, 0, due)
    return result


def _with_penalty(run: SettlementResult, charge: npt.NDArray[np.int64], stamp: str) -> SettlementResult:
    """Return the settlement with the penalties of its lines replaced."""
    lines, pods = run.lines, run.pod_lines
    shares = share_exactly(charge, pods.line, pods.penalty_ueur)
    new_lines = replace(lines, penalty_ueur=charge.copy(), net_ueur=lines.pay_ueur - charge + lines.availability_ueur)
    new_pods = replace(pods, penalty_ueur=shares, net_ueur=pods.pay_ueur - shares + pods.availability_ueur)
    digest = hashlib.sha256((stamp + run.digest).encode()).hexdigest()
    return replace(run, lines=new_lines, pod_lines=new_pods, totals=totals_of(new_lines), digest=digest, capped=True)
