"""Programmes of balance responsible parties: correction by activations, its split, and the imbalance that is left."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, check_option
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.settlement.amounts import LARGEST_UEUR, refuse, refuse_above, share_exactly
from flexcore.settlement.result import Int8s, Int64s
from flexcore.settlement.terms import MAX_PRICE, ONE_PPM
from flexcore.units import DOWN, GLOBAL, LOCAL, MAX_WQH, UP, amount_ueur

_CHUNK = 64
#: Largest power of a row: sums of rows and steps stay exact.
_MAX_W = 2**40


def _flat(names: dict[str, npt.NDArray[Any]], rows: dict[str, npt.NDArray[Any]]) -> Any:
    """Return arrays of shape (n_rows, n_steps) as a long pyarrow Table with the columns of their rows."""
    import pyarrow as pa

    n_rows, n_steps = next(iter(names.values())).shape
    columns = {name: np.repeat(column, n_steps) for name, column in rows.items()}
    columns["step"] = np.tile(np.arange(n_steps, dtype=np.int64), n_rows)
    return pa.table(columns | {name: array.ravel() for name, array in names.items()})


@dataclass(frozen=True, slots=True)
class ProgrammeCorrection:
    """Corrections of programmes, one row for each (operator, unit), sorted by these.

    Attributes
    ----------
    operator : ndarray of int8, shape (n_rows,)
    unit : ndarray of int64, shape (n_rows,)
        Aggregate or dispatch unit.
    accepted_w, delivered_w : ndarray of int64, shape (n_rows, n_steps)
        Net of both directions, positive upward (less withdrawal). [W]
    correction_w : ndarray of int64, shape (n_rows, n_steps)
        To be added to the programme, positive for more withdrawal. [W]
    n_missing : ndarray of int64, shape (n_rows, n_steps)
        Accepted rows without a delivered power; it counts as 0.
    """

    operator: Int8s
    unit: Int64s
    accepted_w: Int64s
    delivered_w: Int64s
    correction_w: Int64s
    n_missing: Int64s

    def to_arrow(self) -> Any:
        """Return one row for each (operator, unit, step) as a pyarrow Table."""
        arrays = {n: getattr(self, n) for n in ("accepted_w", "delivered_w", "correction_w", "n_missing")}
        return _flat(arrays, {"operator": self.operator, "unit": self.unit})


def programme_correction(
    accepted_w: npt.ArrayLike,
    delivered_w: npt.ArrayLike,
    *,
    direction: npt.ArrayLike,
    unit: npt.ArrayLike,
    operator: npt.ArrayLike,
    threshold_w: int = 0,
    missing: Literal["refuse", "zero"] = "refuse",
    n_threads: int = 1,
) -> ProgrammeCorrection:
    """Correct programmes by min(accepted, delivered) in each quarter-hour, separately for each operator.

    Parameters
    ----------
    accepted_w : array_like of int, shape (n_rows, n_steps)
        Accepted power of each (unit, operator, direction), not negative. [W]
    delivered_w : array_like of int, shape (n_rows, n_steps)
        Delivered power with the sign of the row's direction, not clipped (`metering.delivered_volume`);
        `MISSING_DELIVERED` where unknown. It counts where the row has an accepted volume. [W]
    direction, unit, operator : array_like of int, shape (n_rows,) or one number
    threshold_w : int
        A quarter-hour is corrected where the net accepted power is above it: Terna's UVAM regulation, Art. 17.1, has
        such a threshold; its value was not found, so none is set. [W]
    missing : {"refuse", "zero"}
        An accepted volume without a delivered one is an error, or counts as not delivered and is counted.
    n_threads : int

    Returns
    -------
    ProgrammeCorrection

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S002 an accepted volume without a delivered one.

    Notes
    -----
    With net accepted power a and net delivered power d, both upward: correction = -clip(d, 0, a) for a > 0 and
    clip(-d, 0, -a) for a < 0, as withdrawal [Terna UVAM regulation, Art. 23].
    """
    from flexcore.kernels.settlement.programme import correct_programme

    check_option("missing", missing, ("refuse", "zero"))
    found = Findings("threshold_w")
    found.check_count("threshold_w", threshold_w, 0)
    found.raise_errors()
    accepted = as_int(accepted_w, "accepted_w", shape=(None, None), lo=0, hi=_MAX_W)
    delivered = as_int(delivered_w, "delivered_w", shape=accepted.shape)
    bad = ((delivered > _MAX_W) | (delivered < -_MAX_W)) & (delivered != MISSING_DELIVERED)
    if bad.any():
        refuse("FX-S001", f"a delivered power is larger than {_MAX_W} W", rows=np.flatnonzero(bad.any(axis=1)))

    way = int_per_row(direction, "direction", len(accepted), dtype=np.int8, lo=UP, hi=DOWN)
    buyer = int_per_row(operator, "operator", len(accepted), dtype=np.int8, lo=LOCAL, hi=GLOBAL)
    own = int_per_row(unit, "unit", len(accepted))
    if missing == "refuse":
        gone = ((delivered == MISSING_DELIVERED) & (accepted > 0)).any(axis=1)
        if gone.any():
            hint = "missing='zero' counts them as not delivered"
            refuse("FX-S002", "accepted volumes without a delivered one", rows=np.flatnonzero(gone), hint=hint)
    rows = np.lexsort((own, buyer)).astype(np.int64)
    edge = np.ones(len(rows), np.bool_)
    edge[1:] = (own[rows][1:] != own[rows][:-1]) | (buyer[rows][1:] != buyer[rows][:-1])
    ptr = np.append(np.flatnonzero(edge), len(rows)).astype(np.int64)
    shape = (len(ptr) - 1, accepted.shape[1])
    out = [np.empty(shape, np.int64) for _ in range(4)]

    def task(k0: int, k1: int) -> None:
        correct_programme(accepted, delivered, way, ptr, rows, threshold_w, k0, k1, *out)

    run_chunks(task, shape[0], n_threads=n_threads, chunk=_CHUNK)
    return ProgrammeCorrection(buyer[rows[ptr[:-1]]], own[rows[ptr[:-1]]], *out)


def split_correction(
    correction_w: npt.ArrayLike,
    *,
    row: npt.ArrayLike,
    factor_ppm: npt.ArrayLike | None = None,
    delivered_w: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Int64s:
    """Split corrections over dispatch points, in whole W, by the provider's factors or by what each delivered.

    Parameters
    ----------
    correction_w : array_like of int, shape (n_rows, n_steps)
        `ProgrammeCorrection.correction_w`. [W]
    row : array_like of int, shape (n_points,)
        Row that each point belongs to.
    factor_ppm : array_like of int, shape (n_points,) or (n_points, n_steps), optional
        Factors VAR_k of the provider: over the points of a row they sum to a million wherever there is a correction.
        [parts per million]
    delivered_w : array_like of int, shape (n_points, n_steps), optional
        Delivered power of each point, positive upward; given instead of factors. Points that moved the wrong way get
        nothing; where none moved the right way, all share alike. [W]
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_points, n_steps)
        Sums exactly to the correction of each row; odd watts by largest remainder, ties to the earlier point. [W]

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.
    SettlementError
        FX-S010 factors that do not sum to a million, FX-S012 a correction without a point, FX-S013 neither factors nor
        delivered power, or both.
    """
    correction = as_int(correction_w, "correction_w", shape=(None, None))
    n_rows, n_steps = correction.shape
    of = as_int(row, "row", shape=(None,), lo=0, hi=n_rows - 1)
    if (factor_ppm is None) == (delivered_w is None):
        refuse("FX-S013", "give either factor_ppm or delivered_w")
    point, step = np.nonzero(correction[of])
    line = of[point] * n_steps + step
    if factor_ppm is not None:
        factor = np.asarray(factor_ppm)
        if factor.ndim == 1:
            factor = np.broadcast_to(factor[:, np.newaxis], (factor.size, n_steps))
        weight = as_int(factor, "factor_ppm", shape=(of.size, n_steps), lo=0, hi=ONE_PPM)[point, step]
        total = np.zeros(n_rows * n_steps, np.int64)
        np.add.at(total, line, weight)
        wrong = np.unique(line[total[line] != ONE_PPM] // n_steps)
        if wrong.size:
            refuse("FX-S010", f"the factors of {wrong.size} rows do not sum to {ONE_PPM}", rows=wrong)
    if delivered_w is not None:
        delivered = as_int(delivered_w, "delivered_w", shape=(of.size, n_steps), lo=-_MAX_W, hi=_MAX_W)[point, step]
        weight = np.maximum(-np.sign(correction.ravel()[line]) * delivered, 0)
    share = share_exactly(correction.ravel(), line, weight, n_threads=n_threads)
    result = np.zeros((of.size, n_steps), np.int64)
    result[point, step] = share
    return result


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Imbalance after correction, one row for each balance responsible party.

    Attributes
    ----------
    imbalance_w : ndarray of int64, shape (n_parties, n_steps)
        Measured - (schedule + correction), positive: more withdrawal than planned. In quarter-hours the same number
        is energy in wqh. [W]
    amount_ueur : ndarray of int64, shape (n_parties, n_steps)
        half_even(imbalance x price): what the party pays. [micro-EUR]
    total_ueur : ndarray of int64, shape (n_parties,)
        Sum over the steps. [micro-EUR]
    """

    imbalance_w: Int64s
    amount_ueur: Int64s
    total_ueur: Int64s

    def to_arrow(self) -> Any:
        """Return one row for each (party, step) as a pyarrow Table."""
        arrays = {"imbalance_w": self.imbalance_w, "amount_ueur": self.amount_ueur}
        return _flat(arrays, {"party": np.arange(len(self.imbalance_w), dtype=np.int64)})


def imbalance(
    measured_w: npt.ArrayLike,
    schedule_w: npt.ArrayLike,
    correction_w: npt.ArrayLike,
    *,
    price_ueur_per_mwh: npt.ArrayLike,
) -> Imbalance:
    """Return the imbalance of each balance responsible party after correction, priced at the imbalance price.

    Parameters
    ----------
    measured_w, schedule_w, correction_w : array_like of int, shape (n_parties, n_steps)
        Net withdrawal as measured and as scheduled, and the correction that activations call for
        (`metering.net_by_aggregate` sums those of points over parties). [W]
    price_ueur_per_mwh : array_like of int, shape (n_steps,) or (n_parties, n_steps)
        What a party pays for each MWh that it withdraws more than planned; may be negative. [micro-EUR/MWh]

    Returns
    -------
    Imbalance

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type or range.
    SettlementError
        FX-S001 numbers too large for exact 64-bit money.
    """
    measured = as_int(measured_w, "measured_w", shape=(None, None), lo=-_MAX_W, hi=_MAX_W)
    schedule, correction = (
        as_int(array, name, shape=measured.shape, lo=-_MAX_W, hi=_MAX_W)
        for array, name in ((schedule_w, "schedule_w"), (correction_w, "correction_w"))
    )
    price = np.asarray(price_ueur_per_mwh)
    price = np.broadcast_to(price, measured.shape) if price.shape == measured.shape[1:] else price
    price = as_int(price, "price_ueur_per_mwh", shape=measured.shape, lo=-MAX_PRICE, hi=MAX_PRICE)
    gap = measured - (schedule + correction)
    if (np.abs(gap) > MAX_WQH).any():
        refuse(
            "FX-S001",
            f"an imbalance is larger than {MAX_WQH} W",
            rows=np.flatnonzero((np.abs(gap) > MAX_WQH).any(axis=1)),
        )
    amount = amount_ueur(gap, price)
    refuse_above(LARGEST_UEUR, "the amounts are too large for 64-bit money", amount)
    return Imbalance(gap, amount, amount.sum(axis=1))
