"""The delivery ratio of each quarter-hour."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.settlement.amounts import ratio_ppm
from flexcore.settlement.result import Int64s
from flexcore.units import MAX_WQH

#: Delivery ratio where nothing is ordered, or what was delivered is unknown.
NO_ORDER = int(np.iinfo(np.int64).min)


def delivery_ratio(delivered_w: npt.ArrayLike, orders_w: npt.ArrayLike) -> Int64s:
    """Return r = d / Q of each quarter-hour, half-even.

    Parameters
    ----------
    delivered_w : array_like of int, shape (n_rows, n_steps)
        With the sign of the direction (`metering.delivered_volume`, or its sum over PODs); `MISSING_DELIVERED` where
        unknown. [W]
    orders_w : array_like of int, shape (n_rows, n_steps)
        Not negative. [W]

    Returns
    -------
    ndarray of int64, shape (n_rows, n_steps)
        Negative where a row moved the wrong way; `NO_ORDER` where nothing is ordered or d is unknown.
        [parts per million]

    Notes
    -----
    The ratio of an event or a period, with its cap, is `SettlementLines.ratio_ppm`.
    """
    orders = as_int(orders_w, "orders_w", shape=(None, None), lo=0, hi=MAX_WQH)
    delivered = as_int(delivered_w, "delivered_w", shape=orders.shape)
    known = (delivered != MISSING_DELIVERED) & (orders > 0)
    power = as_int(np.where(known, delivered, 0), "delivered_w", lo=-MAX_WQH, hi=MAX_WQH)
    ratio = ratio_ppm(power.ravel(), orders.ravel()).reshape(orders.shape)
    return np.where(known, ratio, NO_ORDER).astype(np.int64)
