"""Whole watts for a selection whose voltage rows hold exactly, and the node whose voltage leaves no room."""

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels.market.path_case import sums_and_voltages

#: All roundings of so many offers are tried; with more the case is left to the LP.
MAX_OPEN = 10
_DUST_W = 1e-3
_NAMED = 16


@inner
def _less(a, b):
    """Compare five criteria, the first that differs decides."""
    for i in range(a.shape[0]):
        if a[i] != b[i]:
            return a[i] < b[i]
    return False


@inner
def round_to_watts(case, x, x_w_out):
    """Round to whole W; False if that is not possible without breaking a thermal row, or too many are open.

    The best rounding breaks no thermal row, then no voltage row by more than 1 W at its node, then leaves least
    unserved, then costs least, then is earliest: as for the LP.
    """
    n_offers = case.offer.shape[0]
    n = case.node.shape[0]
    open_ = np.empty(MAX_OPEN, np.int64)
    n_open = 0
    for p in range(n_offers):
        floor = min(max(np.int64(np.floor(x[p] + _DUST_W)), np.int64(0)), case.cap[p])
        x_w_out[p] = floor
        if x[p] - floor > _DUST_W and floor < case.cap[p]:
            if n_open == MAX_OPEN:
                return False
            open_[n_open] = p
            n_open += 1
    tried = np.empty(n_offers)
    y = np.empty(n)
    w = np.empty(n)
    best = -1
    score = np.empty(5)
    least = np.empty(5)
    for choice in range(1 << n_open):
        for p in range(n_offers):
            tried[p] = x_w_out[p]
        score[:] = 0.0
        for f in range(n_open):
            if (choice >> f) & 1:
                tried[open_[f]] += 1.0
                score[3] += case.price[open_[f]]
                score[4] += case.place[open_[f]]
        sums_and_voltages(case, tried, y, w)
        for k in range(n):
            high = max(case.upper[k], np.int64(0))
            low = min(case.lower[k], np.int64(0))
            score[0] += max(y[k] - high, low - y[k], 0.0)
            score[2] += max(case.lower[k] - y[k], 0.0) if case.lower[k] > 0 else 0.0
            score[2] += max(y[k] - case.upper[k], 0.0) if case.upper[k] < 0 else 0.0
            if case.path[k] > 0.0:
                score[1] += max(max(w[k] - case.w_high[k], case.w_low[k] - w[k]) / case.path[k] - 1.0, 0.0)
        for v in range(case.need_at.shape[0]):
            missing = case.need_amount[v] - case.need_way[v] * w[case.need_at[v]]
            score[2] += max(missing, 0.0) / case.need_reach[v]
        for i in range(3):
            score[i] = np.rint(1000.0 * score[i])
        if best < 0 or _less(score, least):
            best = choice
            least[:] = score
    for f in range(n_open):
        x_w_out[open_[f]] += (best >> f) & 1
    return least[0] == 0.0


@inner
def name_blocking_nodes(case, x_w, blocked_out):
    """Name for each offer the tight voltage row that it would act on most, the furthest from the root; -1: none."""
    n_offers = case.offer.shape[0]
    n = case.node.shape[0]
    y = np.empty(n)
    w = np.empty(n)
    x = np.empty(n_offers)
    for p in range(n_offers):
        x[p] = x_w[p]
        blocked_out[p] = -1
    sums_and_voltages(case, x, y, w)
    used = np.empty(n, np.uint8)
    common = np.empty(n)
    shared = np.empty(n_offers)
    for down in range(2):
        used[:] = 0
        shared[:] = 0.0
        for _ in range(_NAMED):
            row = np.int64(-1)
            for k in range(n):
                slack = w[k] - case.w_low[k] if down == 1 else case.w_high[k] - w[k]
                tight = used[k] == 0 and np.isfinite(slack) and slack <= 2.0 * case.path[k]
                if tight and (row < 0 or case.path[k] > case.path[row]):
                    row = np.int64(k)
            if row < 0:
                break
            used[row] = 1
            shared_path(case, row, common)
            for p in range(n_offers):
                if case.down[p] == down and common[case.at[p]] > shared[p]:
                    shared[p] = common[case.at[p]]
                    blocked_out[p] = case.node[row]


@inner
def shared_path(case, row, common_out):
    """Effect on the voltage of a node of 1 W at each other node: that of the path that both have in common."""
    common_out[:] = -1.0
    k = np.int64(row)
    while k >= 0:
        common_out[k] = case.path[k]
        k = np.int64(case.above[k])
    for k in range(1, case.node.shape[0]):
        if common_out[k] < 0.0:
            common_out[k] = common_out[case.above[k]]
