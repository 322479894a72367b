"""What the sessions of a day bought, and what changed from one plan to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Finding
from flexcore.market.offers import OfferBook, Restatement
from flexcore.market.sessions import Session
from flexcore.market.slots import OPERATOR_NAMES, Unavailability
from flexcore.units import WQH_PER_MWH

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Redispatch:
    """How an operator's new plan differs from its preliminary one (MUT-03), in whole watt quarter-hours.

    Attributes
    ----------
    before_wqh : int
        Preliminary awards that the session released: `kept_wqh + released_wqh`.
    kept_wqh : int
        The part that the same PODs have again in the same direction and quarter-hours.
    released_wqh, new_wqh : int
        What only the old plan, and what only the new one, takes.
    """

    before_wqh: int
    kept_wqh: int
    released_wqh: int
    new_wqh: int


@dataclass(slots=True)
class Purchase:
    """What one operator bought in one stage of a session.

    Attributes
    ----------
    operator : int
    restatement : Restatement
        The offers at the gate; `restatement.book` is what the clearing saw.
    accepted_w : ndarray of int64, shape (n_lines, n_steps)
        Awards of the lines: what the clearing accepted, less `short_w` and `cut_w`. [W]
    short_w : ndarray of int64, shape (n_lines, n_steps)
        Accepted power that no POD could give: taken by another line in the same quarter-hour, or in recovery. [W]
    held_w : ndarray of int64, shape (n_lines, n_steps)
        Power of the lines' PODs that it could not select: held by the other operator, or blocked. [W]
    n_slots_held : int
        Slots (POD and quarter-hour) that it holds since.
    blocked_pods : int
        PODs with power that it could not select in some quarter-hour of the plan.
    redispatch : Redispatch
        Before anything was taken back.
    cut_w : ndarray of int64, shape (n_lines, n_steps)
        What `RollingMarket.take_back` took from the awards. [W]
    """

    operator: int
    restatement: Restatement
    accepted_w: Int64s
    short_w: Int64s
    held_w: Int64s
    n_slots_held: int
    blocked_pods: int
    redispatch: Redispatch
    cut_w: Int64s

    @property
    def book(self) -> OfferBook:
        """Offers as restated and accepted into the session."""
        return self.restatement.book

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings of the gate (OFR-02)."""
        return self.restatement.findings


@dataclass(slots=True)
class StageRecord:
    """What one stage of one session did.

    Attributes
    ----------
    session : Session
    purchases : tuple of Purchase
        One for each operator that buys, in the order of `session.operators`.
    unavailability : Unavailability
        What it published: firm and preliminary (SES-03).
    """

    session: Session
    purchases: tuple[Purchase, ...]
    unavailability: Unavailability


def redispatch_table(records: Sequence[StageRecord]) -> Any:
    """Return what each session changed in its buyer's plan, see `RollingMarket.redispatch_table`."""
    import pyarrow as pa

    rows = []
    for record in records:
        session = record.session
        for purchase in record.purchases:
            counts = purchase.redispatch
            rows.append(
                {
                    "session": session.number,
                    "market": session.market,
                    "operator": OPERATOR_NAMES[purchase.operator],
                    "before_mwh": counts.before_wqh / WQH_PER_MWH,
                    "kept_mwh": counts.kept_wqh / WQH_PER_MWH,
                    "released_mwh": counts.released_wqh / WQH_PER_MWH,
                    "new_mwh": counts.new_wqh / WQH_PER_MWH,
                    "cut_mwh": int(purchase.cut_w.sum()) / WQH_PER_MWH,
                    "firm_mwh": int(purchase.accepted_w[:, session.firm].sum()) / WQH_PER_MWH,
                }
            )
    return pa.Table.from_pylist(rows)
