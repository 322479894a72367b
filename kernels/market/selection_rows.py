"""What a selection does to the rows of its tree: sums, broken voltage rows, effect on needs, and why offers lost."""

import numpy as np

from flexcore.kernels._jit import (
    F64,
    F64_2D,
    F64_OUT,
    I32,
    I32_2D_OUT,
    I64,
    I64_2D,
    I64_2D_OUT,
    U8,
    U8_2D,
    U8_2D_OUT,
    i64,
    kernel,
)


@kernel(I32, I32, U8, I64_2D, I64_2D, I64_2D, I64_2D_OUT, I64_2D_OUT, i64, i64)
def activation_sums(parent, offer_node, offer_down, accepted_w, lower_w, upper_w, y_out, unserved_out, t0, t1):
    """Net activation y at and below each node, and unserved need summed over all rows in unserved_out[t, 0]."""
    n = parent.shape[0]
    for t in range(t0, t1):
        y = y_out[t]
        for i in range(n):
            y[i] = 0
        for o in range(offer_node.shape[0]):
            if offer_down[o] == 1:
                y[offer_node[o]] -= accepted_w[t, o]
            else:
                y[offer_node[o]] += accepted_w[t, o]
        unserved = np.int64(0)
        for i in range(n - 1, -1, -1):
            if parent[i] < 0:
                continue
            y[parent[i]] += y[i]
            if lower_w[t, i] > 0:
                unserved += max(np.int64(0), lower_w[t, i] - y[i])
            if upper_w[t, i] < 0:
                unserved += max(np.int64(0), y[i] - upper_w[t, i])
        unserved_out[t, 0] = unserved


@kernel(I32, I32, F64, F64, F64_2D, F64_2D, I64_2D, U8_2D_OUT, I64_2D_OUT, i64, i64)
def voltage_flags(parent, feeder, m, reach, w_lower, w_upper, y_w, flag_out, unserved_out, t0, t1):
    """Mark feeders by their voltage rows: 1 for a need, 2 for a row that the selection breaks, 4 for an unmet need.

    `reach` is the sum of m on the path of a node: what one kW at the node itself does to its own row. A millionth of a
    kW is forgiven. unserved_out[t, 0] sums the gaps of all needs in W at the node itself; a gap of at most 1 W, which
    whole watts cannot close, counts as none there.
    """
    n = parent.shape[0]
    w = np.empty(n)
    for t in range(t0, t1):
        for i in range(n):
            flag_out[t, i] = 0
        unserved = np.int64(0)
        for i in range(n):
            if parent[i] < 0:
                w[i] = 0.0
                continue
            w[i] = w[parent[i]] + m[i] * (y_w[t, i] / 1000.0)
            dust = 1e-6 * abs(reach[i])
            if w_lower[t, i] > dust or w_upper[t, i] < -dust:
                flag_out[t, feeder[i]] |= 1
                gap = w_lower[t, i] - w[i] if w_lower[t, i] > 0.0 else w[i] - w_upper[t, i]
                gap_w = 1000.0 * gap / reach[i] if reach[i] > 0.0 else 0.0
                if gap > dust:
                    flag_out[t, feeder[i]] |= 4
                if gap_w > 1.001:
                    unserved += np.int64(np.ceil(gap_w - 1e-3))
            if w[i] < min(w_lower[t, i], 0.0) - dust or w[i] > max(w_upper[t, i], 0.0) + dust:
                flag_out[t, feeder[i]] |= 2
        unserved_out[t, 0] = unserved


@kernel(I32, F64, F64, F64, I64, I64, i64, i64, F64_OUT)
def need_effect(parent, reach, w_lower, w_upper, lower_w, upper_w, first, end, effect_out):
    """Best effect on any open need of 1 kW at each node of one feeder, in kW at the place of the need itself.

    It is 1 below an element with a thermal need; for the voltage need of node j it is the reach of the common path over
    the reach of j, so 1 at and below j and less the earlier the paths part.
    """
    for i in range(first, end):
        effect_out[i] = 0.0
    for i in range(end - 1, first - 1, -1):  # largest 1 / reach of a need at or below
        dust = 1e-6 * abs(reach[i])
        if reach[i] > 0.0 and (w_lower[i] > dust or w_upper[i] < -dust):
            effect_out[i] = max(effect_out[i], 1.0 / reach[i])
        if i > first:
            effect_out[parent[i]] = max(effect_out[parent[i]], effect_out[i])
    for i in range(first, end):
        effect_out[i] *= max(reach[i], 0.0)
        if lower_w[i] > 0 or upper_w[i] < 0:
            effect_out[i] = 1.0
        if i > first:
            effect_out[i] = max(effect_out[i], effect_out[parent[i]])


@kernel(
    I32, I32, U8, I64_2D, I64_2D, I64_2D, I64_2D, U8_2D, I64_2D, I64_2D, U8_2D, U8_2D_OUT, I32_2D_OUT, i64, i64
)  # fmt: skip
def explain_selection(
    parent, offer_node, offer_down, price, quantity_w, accepted_w, y_w, forbidden, lower_w, upper_w, voltage_need,
    reason_out, at_out, t0, t1,
):  # fmt: skip
    """Say for each offer and step why it was taken or not.

    `reason_out`: 0 nothing offered, 1 accepted, 2 accepted in part, 3 dearer than the margin, 4 an element is full (its
    node in `at_out`), 6 direction forbidden, 7 no need; 5 and 8 (voltage) are set by the LP's caller. An offer is kept
    out by the lowest full element above it if a need above it stays open, or if a dearer offer was taken for that need;
    with no such element it comes after the margin. `voltage_need[t, node]` has bit 1 for up and bit 2 for down.
    """
    n = parent.shape[0]
    n_offers = offer_node.shape[0]
    outermost = np.empty((2, n), np.int32)
    full = np.empty((2, n), np.int32)
    gap = np.empty((2, n), np.uint8)
    margin = np.empty((2, n), np.int64)
    nothing = np.int64(-(2**62))
    for t in range(t0, t1):
        row = t if price.shape[0] > 1 else 0
        for i in range(n):
            above = parent[i]
            for d in range(2):
                margin[d, i] = nothing
                outermost[d, i] = outermost[d, above] if above >= 0 else -1
                full[d, i] = full[d, above] if above >= 0 else -1
                gap[d, i] = gap[d, above] if above >= 0 else 0
            if above < 0:
                continue
            y = y_w[t, i]
            if lower_w[t, i] > 0:
                if outermost[0, i] < 0:
                    outermost[0, i] = i
                if y < lower_w[t, i]:
                    gap[0, i] = 1
            if upper_w[t, i] < 0:
                if outermost[1, i] < 0:
                    outermost[1, i] = i
                if y > upper_w[t, i]:
                    gap[1, i] = 1
            if y >= max(upper_w[t, i], np.int64(0)):
                full[0, i] = i
            if y <= min(lower_w[t, i], np.int64(0)):
                full[1, i] = i
        for o in range(n_offers):
            if accepted_w[t, o] > 0:
                d = np.int64(offer_down[o])
                margin[d, offer_node[o]] = max(margin[d, offer_node[o]], price[row, o])
        for i in range(n - 1, -1, -1):
            if parent[i] >= 0:
                for d in range(2):
                    margin[d, parent[i]] = max(margin[d, parent[i]], margin[d, i])
        for o in range(n_offers):
            node = offer_node[o]
            d = np.int64(offer_down[o])
            q = quantity_w[t, o]
            at_out[t, o] = -1
            if q <= 0:
                reason_out[t, o] = 0
            elif accepted_w[t, o] >= q:
                reason_out[t, o] = 1
            elif accepted_w[t, o] > 0:
                reason_out[t, o] = 2
                at_out[t, o] = full[d, node]
            elif forbidden[t, o] == 1:
                reason_out[t, o] = 6
            elif outermost[d, node] < 0 and (voltage_need[t, node] >> d) & 1 == 0:
                reason_out[t, o] = 7
            else:
                need = outermost[d, node]
                cheaper = need >= 0 and price[row, o] < margin[d, need]
                if full[d, node] >= 0 and (gap[d, node] == 1 or cheaper or need < 0):
                    reason_out[t, o] = 4
                    at_out[t, o] = full[d, node]
                else:
                    reason_out[t, o] = 3
