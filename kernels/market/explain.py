"""Why an offer was not taken, read off the local prices."""

import numpy as np

from flexcore.kernels._jit import I32, I32_2D_OUT, I64_2D, I64_2D_OUT, U8, U8_2D, U8_2D_OUT, i64, kernel
from flexcore.kernels.market.local_prices import NONE, held_lower, held_upper

#: Codes of `flexcore.market.explain_codes`, in which a test compares them.
ACCEPTED, MARGINAL, DEARER, TIE, FULL, OPPOSED, NO_NEED, NOT_PRICED = (
    np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3), np.uint8(4), np.uint8(6), np.uint8(10), np.uint8(25),
)  # fmt: skip


@kernel(
    I32, I32, U8, I64_2D, I64_2D, I64_2D, U8_2D, I64_2D, I64_2D, I64_2D, I64_2D, I64_2D, U8_2D, U8_2D_OUT, I32_2D_OUT,
    I64_2D_OUT, i64, i64,
)  # fmt: skip
def explain_by_price(
    parent, offer_node, offer_down, price, quantity_w, accepted_w, barred, lower_w, upper_w, y_w, value_w, raised,
    priced, code_out, at_out, margin_out, t0, t1,
):  # fmt: skip
    """Write code, element and price that kept each offer out in each step.

    `value_w` is the local price per node (counted, of up); in the offer's direction a W is worth it, or its negative.
    Where a need on the offer's path stays open, the lowest element at its bound on the path to the root keeps the offer
    out. Elsewhere the lowest such element does above which a W is worth at least what the offer costs. Without one the
    offer costs at least what a W is worth anywhere on its path: the margin, NONE where there is none.
    """
    n = parent.shape[0]
    worth = np.empty((2, n), np.int64)
    best = np.empty((2, n), np.int64)
    full = np.empty((2, n), np.int32)
    short = np.empty((2, n), np.uint8)
    for t in range(t0, t1):
        row = t if price.shape[0] > 1 else 0
        for i in range(n):
            p = parent[i]
            if p < 0:
                for d in range(2):
                    worth[d, i] = 0
                    best[d, i] = 0
                    full[d, i] = -1
                    short[d, i] = 0
                continue
            y = y_w[t, i]
            worth[0, i] = value_w[t, i]
            worth[1, i] = -value_w[t, i]
            full[0, i] = i if y == held_upper(upper_w[t, i], y) else full[0, p]
            full[1, i] = i if y == held_lower(lower_w[t, i], y) else full[1, p]
            short[0, i] = 1 if lower_w[t, i] > 0 and y < lower_w[t, i] else short[0, p]
            short[1, i] = 1 if upper_w[t, i] < 0 and y > upper_w[t, i] else short[1, p]
            for d in range(2):
                best[d, i] = max(best[d, p], worth[d, i])
        for o in range(offer_node.shape[0]):
            code_out[t, o] = ACCEPTED
            at_out[t, o] = -1
            margin_out[t, o] = NONE
            node = offer_node[o]
            if accepted_w[t, o] >= quantity_w[t, o]:
                continue
            if barred[t, o] != 0:
                code_out[t, o] = barred[t, o]
                continue
            if priced[t, node] == 0:
                code_out[t, o] = NOT_PRICED
                continue
            d = np.int64(offer_down[o])
            counted = price[row, o] + raised[t, node]
            e = full[d, node]
            open_need = short[d, node] == 1
            while not open_need and e >= 0 and worth[d, parent[e]] < counted:
                e = full[d, parent[e]]
            if e >= 0:
                against = upper_w[t, e] < 0 if d == 0 else lower_w[t, e] > 0
                code_out[t, o] = OPPOSED if against else FULL
                at_out[t, o] = e
                if not open_need:
                    margin_out[t, o] = worth[d, parent[e]] - raised[t, node]
            elif open_need:  # it would have served a need: this selection is not what prices explain
                code_out[t, o] = NOT_PRICED
            elif accepted_w[t, o] > 0:
                code_out[t, o] = MARGINAL
                margin_out[t, o] = price[row, o]
            elif best[d, node] <= 0:
                code_out[t, o] = NO_NEED
            else:
                code_out[t, o] = TIE if counted == best[d, node] else DEARER
                margin_out[t, o] = best[d, node] - raised[t, node]
