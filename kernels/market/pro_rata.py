"""Shares in proportion to quantity among offers that no rule tells apart, by largest remainder on a grid of watts."""

import numpy as np

from flexcore.kernels._jit import I32, I32_2D_OUT, I64, I64_2D, I64_OUT, U8_2D, U8_OUT, i64, inner, kernel


@kernel(I32, I64_2D, I64_2D, I64_2D, U8_2D, I32_2D_OUT, i64, i64)
def lowest_bound(parent, lower_w, upper_w, y_w, cut, bound_out, t0, t1):
    """Write the lowest element at or above each node whose row is at a bound or marked in `cut`, -1 without one."""
    for t in range(t0, t1):
        for i in range(parent.shape[0]):
            bound_out[t, i] = bound_out[t, parent[i]] if parent[i] >= 0 else -1
            if parent[i] < 0:
                continue
            y = y_w[t, i]
            # a need that is short is as full as one that is just met: what it got must stay
            short_up = lower_w[t, i] > 0 and y <= lower_w[t, i]
            short_down = upper_w[t, i] < 0 and y >= upper_w[t, i]
            if cut[t, i] or short_up or short_down or y == lower_w[t, i] or y == upper_w[t, i]:
                bound_out[t, i] = i


@inner
def _floor_share(total, quantity, whole):
    """Floor and remainder of total * quantity / whole, total <= whole < 2^61: the product may need 100 bits."""
    quotient = np.int64(0)
    rest = np.int64(0)
    for bit in range(62, -1, -1):
        quotient *= 2
        rest *= 2
        if rest >= whole:
            rest -= whole
            quotient += 1
        if (quantity >> bit) & 1:
            rest += total
            if rest >= whole:
                rest -= whole
                quotient += 1
    return quotient, rest


@kernel(I64, I64, I64, I64, I64_OUT, U8_OUT, i64, i64)
def shares(indptr, total_w, quantity_w, granularity_w, share_out, placed_out, c0, c1):
    """Share each class's total over its members, which stand in merit order; `placed_out` 0 where the grids cannot.

    A share is a multiple of its granularity. First all get their part rounded down; then one grain each goes to the
    largest remainders, counted in W, as long as whole grains are missing and fit.
    """
    width = np.int64(1)
    for c in range(c0, c1):
        width = max(width, indptr[c + 1] - indptr[c])
    over = np.empty(width, np.int64)
    rest = np.empty(width, np.int64)
    for c in range(c0, c1):
        lo = indptr[c]
        n = indptr[c + 1] - lo
        whole = np.int64(0)
        for k in range(n):
            whole += quantity_w[lo + k]
        missing = np.int64(total_w[c])
        for k in range(n):
            part, rest[k] = _floor_share(total_w[c], quantity_w[lo + k], whole)
            share_out[lo + k] = part // granularity_w[lo + k] * granularity_w[lo + k]
            over[k] = part - share_out[lo + k]
            missing -= share_out[lo + k]
        if missing > 0:
            order = np.argsort(-rest[:n], kind="mergesort")
            order = order[np.argsort(-over[:n][order], kind="mergesort")]
            given = True
            while missing > 0 and given:
                given = False
                for k in range(n):
                    m = lo + order[k]
                    if granularity_w[m] <= missing and share_out[m] + granularity_w[m] <= quantity_w[m]:
                        share_out[m] += granularity_w[m]
                        missing -= granularity_w[m]
                        given = True
        placed_out[c] = np.uint8(missing == 0)
