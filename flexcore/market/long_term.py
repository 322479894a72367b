"""Standing long-term contracts, their windows, and what is due for their availability (LTC-01, LTC-02)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import OfferError
from flexcore.market.service_windows import Int32s, Int64s, ServiceWindows, WindowSets
from flexcore.tables import check
from flexcore.units import amount_ueur


@dataclass(frozen=True, slots=True)
class ContractBook:
    """Standing contracts, from auctions and outside the market.

    Attributes
    ----------
    contract_id, bsp, aggregate, perimeter : ndarray, shape (n_contracts,)
    direction : ndarray of int8, shape (n_contracts,)
    contracted_w : ndarray of int64, shape (n_contracts,)
        [W]
    availability_ueur_per_mw_h : ndarray of int64, shape (n_contracts,)
        Paid for each MW and hour of the windows; sunk when the contract is called.
    use_ueur_per_mwh : ndarray of int64, shape (n_contracts,)
        Paid for each MWh of use.
    call_order : ndarray of int32, shape (n_contracts,)
        0 for a contract from the market. A non-market contract (LTC-02) is called before the market if negative, after
        it if positive, in ascending order.
    submitted_at : ndarray of int64, shape (n_contracts,)
    sets : WindowSets
        Windows of each contract.
    windows : ServiceWindows
    """

    contract_id: npt.NDArray[Any]
    bsp: npt.NDArray[Any]
    aggregate: npt.NDArray[Any]
    perimeter: npt.NDArray[Any]
    direction: npt.NDArray[np.int8]
    contracted_w: Int64s
    availability_ueur_per_mw_h: Int64s
    use_ueur_per_mwh: Int64s
    call_order: Int32s
    submitted_at: Int64s
    sets: WindowSets
    windows: ServiceWindows

    @classmethod
    def from_tables(
        cls, contracts: Any, contract_windows: Any, windows: Any, *, tz: str = "Europe/Rome"
    ) -> "ContractBook":
        """Check contracts given as tables.

        Parameters
        ----------
        contracts, contract_windows, windows : table
            `longterm_contracts`, `longterm_contract_windows`, `service_windows`.
        tz : str
            Zone of the local clock.

        Raises
        ------
        OfferError
            FX-A001..FX-A011 for the tables, FX-M270 a window without time, FX-M272 a contract without a window, FX-M274
            a window twice.
        UnknownIdError
            FX-M271 an unknown contract or window.
        """
        calendar = ServiceWindows.from_table(windows, tz=tz)
        table = check("longterm_contracts", contracts, error=OfferError)
        links = check("longterm_contract_windows", contract_windows, error=OfferError)
        sets = calendar.sets(
            links["contract_id"], table["contract_id"], links["window_id"], "longterm_contract_windows"
        )
        return cls(**table, sets=sets, windows=calendar)

    @property
    def n_contracts(self) -> int:
        """Number of contracts."""
        return int(self.contract_id.size)

    def tables(self) -> tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]:
        """Return `longterm_contracts` and `longterm_contract_windows`: rows of other contracts may be added to them."""
        names = (
            "contract_id", "bsp", "aggregate", "perimeter", "direction", "contracted_w", "availability_ueur_per_mw_h",
            "use_ueur_per_mwh", "call_order", "submitted_at",
        )  # fmt: skip
        owner = np.repeat(np.arange(self.n_contracts), np.diff(self.sets.indptr))
        links = {
            "contract_id": self.contract_id[owner], "window_id": self.windows.window_id[self.sets.windows],
        }  # fmt: skip
        return {name: getattr(self, name) for name in names}, links

    def to_arrow(self) -> Any:
        """Return one row per contract as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(dict(self.tables()[0]))


@dataclass(frozen=True, slots=True)
class AvailabilityDue:
    """What is due for availability, one row per contract and month with a service window.

    Attributes
    ----------
    contract : ndarray of int64, shape (n_rows,)
        Position of the contract.
    contract_id : ndarray, shape (n_rows,)
    month : ndarray of int64, shape (n_rows,)
        100 * year + month of the local calendar.
    quarters : ndarray of int64, shape (n_rows,)
        Quarter-hours of the windows, those in several windows once.
    amount_ueur : ndarray of int64, shape (n_rows,)
        At an availability factor of 1: W times quarter-hours times price, rounded once. [micro-EUR]
    """

    contract: Int64s
    contract_id: npt.NDArray[Any]
    month: Int64s
    quarters: Int64s
    amount_ueur: Int64s

    def to_arrow(self) -> Any:
        """Return the rows as a pyarrow Table."""
        import pyarrow as pa

        names = ("contract_id", "month", "quarters", "amount_ueur")
        return pa.table({name: getattr(self, name) for name in names})


def availability_due(book: ContractBook) -> AvailabilityDue:
    """Count the quarter-hours of each contract and month, and price them.

    The availability factor, which says how much of this was kept, belongs to settlement.

    Parameters
    ----------
    book : ContractBook

    Returns
    -------
    AvailabilityDue
        By contract, then month.

    Raises
    ------
    SettlementError
        FX-S001 a contract of so many MW that a month does not fit 63 bits (above 700 MW in a whole month).
    """
    distinct, which = book.sets.distinct()
    months, counts = [], []
    for month, mask in book.windows.by_month():
        months.append(month)
        counts.append(distinct.overlap(mask).sum(axis=1))
    table = np.array(counts, np.int64).reshape(len(months), distinct.n_sets).T[which]
    contract, column = np.nonzero(table)
    quarters = table[contract, column]
    amount = amount_ueur(book.contracted_w[contract] * quarters, book.availability_ueur_per_mw_h[contract])
    return AvailabilityDue(
        contract.astype(np.int64), book.contract_id[contract], np.array(months, np.int64)[column], quarters, amount
    )
