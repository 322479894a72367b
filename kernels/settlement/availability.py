"""Settlement: the power that a POD could have moved, as its readings show."""

import numpy as np

from flexcore.kernels._jit import I8, I32_2D, I64, I64_2D_OUT, i64, kernel
from flexcore.kernels.metering.delivery import MISSING, delivered_w


@kernel(I32_2D, I32_2D, I32_2D, I8, I64, I64, i64, i64, I64_2D_OUT)
def measured_availability(baseline, metered, orders, direction, least, most, i0, i1, available_out):
    """Headroom of rows i0..i1: baseline - least for up, most - baseline for down, none below 0 or without baseline.

    Where a row has an order, what it did says more: an order that was not followed shows that no more than the response
    was there. `orders` may have no rows.
    """
    has_orders = orders.shape[0] > 0
    for i in range(i0, i1):
        down = direction[i] != 0
        for t in range(baseline.shape[1]):
            value = np.int64(0)
            if baseline[i, t] != MISSING:
                value = most[i] - baseline[i, t] if down else baseline[i, t] - least[i]
                value = max(value, np.int64(0))
                if has_orders and orders[i, t] > 0:
                    response = np.int64(0)
                    if metered[i, t] != MISSING:
                        response = max(delivered_w(baseline[i, t], metered[i, t], down), np.int64(0))
                    value = min(value, response) if response < orders[i, t] else max(value, response)
            available_out[i, t] = value
