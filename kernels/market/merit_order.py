"""Merit order without a grid: one need per zone and step, one cap per perimeter and step."""

import numpy as np

from flexcore.kernels._jit import I32, I32_2D, I64_2D, I64_2D_OUT, i64, kernel


@kernel(I32_2D, I64_2D, I32, I64_2D, I32, I64_2D, I64_2D_OUT, i64, i64)
def plain_merit_order(order, quantity_w, perimeter, capability_w, zone, need_w, accepted_out, t0, t1):
    """Accept from the cheapest on, up to the smallest of quantity, free capability and open need of the zone.

    Arrays are step-major. `order` has one row for all steps, or one row per step. Caps and needs are laminar where each
    perimeter lies in one zone, and there the greedy choice serves most and costs least. Perimeter -1 takes nothing.
    """
    n = quantity_w.shape[1]
    for t in range(t0, t1):
        row = t if order.shape[0] > 1 else 0
        free = capability_w[t].copy()
        open_need = need_w[t].copy()
        for o in range(n):
            accepted_out[t, o] = 0
        for place in range(n):
            o = order[row, place]
            k = perimeter[o]
            if k < 0:
                continue
            take = np.int64(min(quantity_w[t, o], free[k]))
            take = min(take, open_need[zone[o]])
            if take > 0:
                accepted_out[t, o] = take
                free[k] -= take
                open_need[zone[o]] -= take
