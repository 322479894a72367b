"""Local prices of a laminar selection: what one W is worth at each element, by two passes over the tree.

A selection is optimal if and only if a price per element exists so that every accepted offer costs at most the price at
its node, every offer that is not fully accepted at least that, and the price of an element differs from that of the one
above only where its row is at a bound: higher at the lower bound, lower at the upper one. All these prices together
form an interval per element. Nothing is added up: intervals are only cut, so they are exact.
"""

import numpy as np

from flexcore.kernels._jit import I32, I64_2D, I64_2D_OUT, U8, U8_2D, U8_2D_OUT, i64, inner, kernel

NONE = np.int64(2**62)  # no price: above it nothing more can be had


@inner
def held_lower(lower, y):
    """Lower bound as the selection kept it: no served W of a need may be lost."""
    return min(lower, y) if lower > 0 else lower


@inner
def held_upper(upper, y):
    """Upper bound as the selection kept it."""
    return max(upper, y) if upper < 0 else upper


@kernel(
    I32, I32, I32, U8, I64_2D, I64_2D, I64_2D, U8_2D, I64_2D, I64_2D, I64_2D, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT,
    U8_2D_OUT, i64, i64,
)  # fmt: skip
def local_prices(
    parent, feeder, offer_node, offer_down, price, quantity_w, accepted_w, barred, lower_w, upper_w, y_w, raised_out,
    low_out, high_out, priced_out, t0, t1,
):  # fmt: skip
    """Write the least and the greatest value of one W of up at each element, in counted prices.

    `raised_out` is what a feeder's prices are raised by so that its cheapest offer counts at least 1; `low_out` and
    `high_out` (n_steps, n_nodes) are -+NONE without bound; `priced_out` is 0 in feeders that no prices support.
    """
    n = parent.shape[0]
    n_offers = offer_node.shape[0]
    for t in range(t0, t1):
        row = t if price.shape[0] > 1 else 0
        low = low_out[t]
        high = high_out[t]
        raised = raised_out[t]
        priced = priced_out[t]
        for i in range(n):
            low[i] = -NONE
            high[i] = NONE
            raised[i] = 0
            priced[i] = 1
        for o in range(n_offers):
            f = feeder[offer_node[o]]
            if f >= 0 and quantity_w[t, o] > 0 and barred[t, o] == 0:
                raised[f] = max(raised[f], np.int64(1) - price[row, o])
        for i in range(n):
            if feeder[i] >= 0:
                raised[i] = raised[feeder[i]]
            else:
                low[i] = 0
                high[i] = 0
        for o in range(n_offers):
            i = offer_node[o]
            if feeder[i] < 0 or quantity_w[t, o] <= 0 or barred[t, o] != 0:
                continue
            value = price[row, o] + raised[i]
            taken = accepted_w[t, o] > 0
            left = accepted_w[t, o] < quantity_w[t, o]
            if offer_down[o] == 1:
                value = -value
                taken, left = left, taken
            if taken:
                low[i] = max(low[i], value)
            if left:
                high[i] = min(high[i], value)
        for j in range(n - 1, -1, -1):
            i = parent[j]
            if i < 0:
                continue
            if y_w[t, j] != held_lower(lower_w[t, j], y_w[t, j]):
                low[i] = max(low[i], low[j])
            if y_w[t, j] != held_upper(upper_w[t, j], y_w[t, j]):
                high[i] = min(high[i], high[j])
            if low[j] > high[j]:
                priced[feeder[j]] = 0
            if feeder[j] == j:
                # all roots have the price 0; what one feeder asks of its root must not reach the others
                if low[i] > 0 or high[i] < 0:
                    priced[j] = 0
                low[i] = 0
                high[i] = 0
        for j in range(n):
            i = parent[j]
            if i < 0:
                continue
            if priced[feeder[j]] == 0:
                priced[j] = 0
                continue
            if y_w[t, j] != held_lower(lower_w[t, j], y_w[t, j]):
                high[j] = min(high[j], high[i])
            if y_w[t, j] != held_upper(upper_w[t, j], y_w[t, j]):
                low[j] = max(low[j], low[i])


@kernel(I32, U8, I64_2D, I64_2D, I64_2D_OUT, i64, i64)
def dearest_accepted(offer_zone, offer_down, price, accepted_w, clearing_out, t0, t1):
    """Write the dearest accepted price per (zone, direction), 2 * zone + direction; -NONE where none is accepted."""
    for t in range(t0, t1):
        row = t if price.shape[0] > 1 else 0
        for z in range(clearing_out.shape[1]):
            clearing_out[t, z] = -NONE
        for o in range(offer_zone.shape[0]):
            if accepted_w[t, o] > 0 and offer_zone[o] >= 0:
                z = 2 * np.int64(offer_zone[o]) + np.int64(offer_down[o])
                clearing_out[t, z] = max(clearing_out[t, z], price[row, o])
