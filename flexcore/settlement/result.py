"""What a settlement gives: lines, POD shares of them, totals; frozen arrays of whole numbers."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.settlement.terms import SettlementTerms

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
#: How the PODs of a line share its amounts.
Split = Literal["delivered", "factors", "equal"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of one length that cannot be written to."""

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def to_arrow(self) -> Any:
        """Return a pyarrow Table with one column for each attribute, units in the names."""
        import pyarrow as pa

        return pa.table({field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, slots=True)
class SettlementLines(Columns):
    """The authoritative lines, one for each (operator, aggregate, direction, market time unit), sorted by these.

    Attributes
    ----------
    operator : ndarray of int8
        `units.LOCAL` or `units.GLOBAL`.
    aggregate : ndarray of int64
    direction : ndarray of int8
        `units.UP` or `units.DOWN`.
    unit : ndarray of int64
        Market time unit of the day (hour by default).
    ordered_wqh : ndarray of int64
        Ordered energy. [W quarter-hours]
    delivered_wqh : ndarray of int64
        Delivered energy, netted, not clipped; may be negative. [W quarter-hours]
    paid_wqh : ndarray of int64
        clip(delivered, 0, cap x ordered), rounded down; summed over the periods of `measured_per`. [W quarter-hours]
    shortfall_wqh : ndarray of int64
        max(0, (1 - tolerance) x ordered, rounded down, - delivered); likewise. [W quarter-hours]
    counted_wqh : ndarray of int64
        min(delivered, cap x ordered), rounded down; likewise. What the ratio is taken of. [W quarter-hours]
    available_wqh : ndarray of int64
        Available energy that is paid for by the hour. [W quarter-hours]
    n_missing : ndarray of int64
        Ordered quarter-hours of PODs without reading or baseline; they count as not delivered.
    n_estimated : ndarray of int64
        Ordered quarter-hours of PODs whose reading was estimated; none counts for more than its order.
    event : ndarray of int64
        Unit in which the event of the line starts: neighbouring units of one (operator, aggregate, direction) with an
        order are one event. -1 where nothing is ordered.
    ratio_ppm : ndarray of int64
        Counted / ordered energy over the `factor_scope` of the terms, half-even; negative if all moved the wrong way,
        0 where nothing is ordered. [parts per million]
    price_ueur_per_mwh : ndarray of int64
        Mean of the prices of the orders, weighted by ordered energy, half-even; 0 where nothing is ordered.
    factor_ppm : ndarray of int64
        Pay factor at max(0, counted) / ordered over the `factor_scope`, half-even. [parts per million]
    pay_ueur : ndarray of int64
        half_even(paid x price x factor). [micro-EUR]
    penalty_ueur : ndarray of int64
        half_even(shortfall x penalty price). [micro-EUR]
    availability_ueur : ndarray of int64
        half_even(available x availability price). [micro-EUR]
    net_ueur : ndarray of int64
        pay - penalty + availability. [micro-EUR]
    """

    operator: Int8s
    aggregate: Int64s
    direction: Int8s
    unit: Int64s
    ordered_wqh: Int64s
    delivered_wqh: Int64s
    paid_wqh: Int64s
    shortfall_wqh: Int64s
    counted_wqh: Int64s
    available_wqh: Int64s
    n_missing: Int64s
    n_estimated: Int64s
    event: Int64s
    ratio_ppm: Int64s
    price_ueur_per_mwh: Int64s
    factor_ppm: Int64s
    pay_ueur: Int64s
    penalty_ueur: Int64s
    availability_ueur: Int64s
    net_ueur: Int64s


@dataclass(frozen=True, slots=True)
class PodLines(Columns):
    """Shares of PODs in the lines, sorted by (line, pod); over each line every amount sums to the line's (SET-03).

    Attributes
    ----------
    line : ndarray of int64
        Position in the lines.
    row : ndarray of int64
        Row of the arrays that were settled.
    pod : ndarray of int64
        Key of the POD.
    ordered_wqh, delivered_wqh, available_wqh : ndarray of int64
        The POD's own energies. [W quarter-hours]
    pay_ueur : ndarray of int64
        Share of the line's pay, in proportion to what the POD delivered, to its order if nobody delivered; by the
        given factors or alike if `settle` was told so. [micro-EUR]
    penalty_ueur : ndarray of int64
        Share of the penalty, in proportion to the POD's own shortfall, to its order if none has one; likewise.
        [micro-EUR]
    availability_ueur : ndarray of int64
        Share of the availability payment, in proportion to the POD's available energy; likewise. [micro-EUR]
    net_ueur : ndarray of int64
        pay - penalty + availability. [micro-EUR]
    """

    line: Int64s
    row: Int64s
    pod: Int64s
    ordered_wqh: Int64s
    delivered_wqh: Int64s
    available_wqh: Int64s
    pay_ueur: Int64s
    penalty_ueur: Int64s
    availability_ueur: Int64s
    net_ueur: Int64s


@dataclass(frozen=True, slots=True)
class SettlementTotals(Columns):
    """Sums of the lines of each operator: two rows, local first (SET-02).

    Attributes
    ----------
    operator : ndarray of int8, shape (2,)
    ordered_wqh, delivered_wqh, paid_wqh, shortfall_wqh, available_wqh, n_missing, n_estimated : ndarray of int64, \
shape (2,)
    pay_ueur, penalty_ueur, availability_ueur, net_ueur : ndarray of int64, shape (2,)
    """

    operator: Int8s
    ordered_wqh: Int64s
    delivered_wqh: Int64s
    paid_wqh: Int64s
    shortfall_wqh: Int64s
    available_wqh: Int64s
    n_missing: Int64s
    n_estimated: Int64s
    pay_ueur: Int64s
    penalty_ueur: Int64s
    availability_ueur: Int64s
    net_ueur: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class SettlementResult:
    """One settlement; a pure function of its inputs, and equal to another if the digests are.

    Attributes
    ----------
    lines : SettlementLines
    pod_lines : PodLines
    totals : SettlementTotals
    terms : SettlementTerms
    digest : str
        SHA-256 of everything that decides the result, in an order that does not depend on the order of the rows (where
        PODs have keys): equal digests, equal results.
    split : {"delivered", "factors", "equal"}
        How PODs share the amounts of their lines.
    capped : bool
        True if `cap_penalties` has been at the penalties; if not, they stand in full whatever cap the terms have.
    """

    lines: SettlementLines
    pod_lines: PodLines
    totals: SettlementTotals
    terms: SettlementTerms
    digest: str
    split: Split = "delivered"
    capped: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SettlementResult) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)
