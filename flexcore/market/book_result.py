"""What continuous trading leaves: trades, what became of each order, and the grid after the last trade."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.units import to_eur

I8A = npt.NDArray[np.int64]

#: Kinds of orders, ways of completion, and what became of an order, by code.
KINDS = ("offer", "request", "paired_request")
COMPLETIONS = ("normal", "fill_and_kill", "fill_or_kill")
STATES = ("resting", "part", "filled", "killed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class BookResult:
    """Outcome of `continuous_book`.

    Attributes
    ----------
    order_id, step : ndarray, shape (n_orders,)
        As in the table of orders, in its order.
    state : ndarray of uint8, shape (n_orders,)
        Index into `STATES` at the end of trading.
    traded_w, left_w : ndarray of int64, shape (n_orders,)
        What the order has traded, and what it still asks for or, once it is over, was left without. [W]
    buyer, seller, partner : ndarray of int64, shape (n_trades,)
        Rows of the table of orders, by step and then in the order of trading. The buyer is a request, or the down offer
        of a trade between peers. The seller is an offer. The partner is the offer outside the element that a paired
        request takes too, -1 in all other trades.
    trade_step, trade_w, trade_time : ndarray of int64, shape (n_trades,)
        Quarter-hour; power [W]; arrival of the order that set the trade off.
    price_ueur_per_mwh, partner_price_ueur_per_mwh : ndarray of int64, shape (n_trades,)
        What the buyer pays to the seller and, the buyer being a paired request, to the partner. [micro-EUR/MWh]
    elements : ndarray, shape (n_elements,)
    steps : ndarray of int64, shape (n_steps,)
        Steps with an order, ascending.
    y_w : ndarray of int64, shape (n_elements, n_steps)
        Net activation, up minus down, at and below each element after the last trade. [W]
    total_cost_ueur, welfare_ueur : int
        What operators pay, and the sum of what all orders gain against their limits; steps are quarter-hours, each
        trade is rounded half to even. [micro-EUR]
    """

    order_id: npt.NDArray[Any]
    step: I8A
    state: npt.NDArray[np.uint8]
    traded_w: I8A
    left_w: I8A
    buyer: I8A
    seller: I8A
    partner: I8A
    trade_step: I8A
    trade_w: I8A
    trade_time: I8A
    price_ueur_per_mwh: I8A
    partner_price_ueur_per_mwh: I8A
    elements: npt.NDArray[Any]
    steps: I8A
    y_w: I8A
    total_cost_ueur: int
    welfare_ueur: int

    @property
    def total_cost(self) -> Decimal:
        """Total cost in EUR."""
        return to_eur(self.total_cost_ueur)

    @property
    def welfare(self) -> Decimal:
        """Welfare in EUR."""
        return to_eur(self.welfare_ueur)

    def to_arrow(self) -> Any:
        """Return one row per trade as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(
            {
                "buy_order": self.order_id[self.buyer],
                "sell_order": self.order_id[self.seller],
                "partner_order": pa.array(self.order_id[np.maximum(self.partner, 0)], mask=self.partner < 0),
                "step": self.trade_step,
                "w": self.trade_w,
                "price_ueur_per_mwh": self.price_ueur_per_mwh,
                "partner_price_ueur_per_mwh": self.partner_price_ueur_per_mwh,
                "time": self.trade_time,
            }
        )

    def orders_to_arrow(self) -> Any:
        """Return one row per order as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(
            {
                "order_id": self.order_id,
                "step": self.step,
                "state": np.array(STATES)[self.state],
                "traded_w": self.traded_w,
                "left_w": self.left_w,
            }
        )
