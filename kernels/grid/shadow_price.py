"""Derivatives of the sum of filled caps with respect to every row: one backward pass over the freezes of a step.

A perimeter is held by its own limit, or by a shared row r at a level: C_k = speed_k * level_r. Row r is full, so
level_r follows from its room and from what was frozen before it. Going through the rows from the highest level down,
the gain of the sum from one more unit of each cap is known when its row is reached. Arrays as in `capability`.
"""

import numpy as np

from flexcore.kernels._jit import (
    F64,
    F64_2D,
    F64_2D_OUT,
    I32,
    I32_2D,
    U8_2D,
    U8_2D_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.grid.capability import power_below, worst_case

_FREE, _VOLTAGE, _SHARED = 0, 2, 3
# rows and levels that agree to this share are taken for equal
_SAME = 1e-9


@inner
def slopes_of(i, voltage, parent, last, m, path_m, top, elem_ptr, elem_pair, pair_k, below, cap, free, slope):
    """Slope of the row of element `i` in each cap; tells whether a cap stands at a kink of the row.

    `free` marks perimeters that are held by what could move: the kink at their total is none, they do not grow.
    """
    kink = False
    for k in range(top.shape[0]):
        slope[k] = 0.0
        e = np.int64(i)
        while e >= 0 and not (top[k] >= e and top[k] < last[e]):
            e = np.int64(parent[e]) if voltage else np.int64(-1)
        if e >= 0:
            slope[k] = path_m[e] if voltage else 1.0
    e = np.int64(i)
    while e >= 0:
        share = m[e] if voltage else 1.0
        for q in range(elem_ptr[e], elem_ptr[e + 1]):
            p = elem_pair[q]
            k = pair_k[p]
            if below[p] > cap[k]:
                slope[k] += share
            if share > 0.0 and free[k] == 0 and abs(below[p] - cap[k]) <= _SAME * cap[k]:
                kink = True
        e = np.int64(parent[e]) if voltage else np.int64(-1)
    return kink


@kernel(
    I32, I32, F64, I32, I32, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, I32_2D, U8_2D, U8_2D, I32_2D, U8_2D,
    F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def shadow_prices(
    parent,
    last,
    m,
    label,
    own,
    top,
    pair_element,
    pair_k,
    pair_up,
    elem_ptr,
    elem_pair,
    power,
    headroom,
    headroom_path,
    weights,
    most,
    caps,
    own_row,
    own_kind,
    kind,
    row,
    at_node,
    price_out,
    path_price_out,
    unsure_out,
    path_unsure_out,
    t0,
    t1,
):
    """Find the gain of the sum of the caps per unit of each element's headroom and path room, for steps t0..t1.

    `most`, `own_row`, `own_kind` describe the stand-alone caps, `caps`, `kind`, `row`, `at_node` the shared ones;
    weights of zero in the first perimeter: the stand-alone caps are the speeds. `unsure_out` marks rows whose price
    holds on one side at most, because another row is full at the same level or a cap stands at a kink.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    path_m = np.empty(n)
    g = np.empty(n)
    w = np.empty(n)
    below = np.empty(pair_element.shape[0])
    total = np.empty(n_k)
    cap = np.empty(n_k)
    alone = np.empty(n_k)
    speed = np.empty(n_k)
    level = np.empty(n_k)
    free = np.empty(n_k, np.uint8)
    gain = np.empty(n_k)
    own_gain = np.empty(n_k)
    slope = np.empty(n_k)
    group = np.empty(n_k, np.int64)  # the row that holds a perimeter: 2 * element + voltage; -1 its own limit
    rows = np.empty(n_k, np.int64)
    at = np.empty(n_k)
    price = np.empty(2 * n)
    unsure = np.empty(2 * n, np.uint8)
    for i in range(n):
        path_m[i] = m[i] + (path_m[parent[i]] if parent[i] >= 0 else 0.0)
    for t in range(t0, t1):
        price[:] = 0.0
        unsure[:] = 0
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        n_rows = np.int64(0)
        for k in range(n_k):
            cap[k] = caps[t, k]
            alone[k] = most[t, k]
            speed[k] = weights[t, k] if weights[t, 0] > 0.0 else alone[k]
            level[k] = cap[k] / speed[k] if speed[k] > 0.0 else 0.0
            free[k] = 1 if cap[k] >= total[k] * (1.0 - _SAME) else 0
            gain[k] = 1.0
            own_gain[k] = 0.0
            group[k] = -1
            if kind[t, k] == _SHARED:
                group[k] = 2 * np.int64(row[t, k]) + at_node[t, k]
                r = np.int64(0)
                while r < n_rows and rows[r] != group[k]:
                    r += 1
                if r == n_rows:
                    rows[r] = group[k]
                    at[r] = level[k]
                    n_rows += 1
                at[r] = max(at[r], level[k])
        # highest level first; of rows at one level the first in preorder was named first, so it comes last
        for r in range(1, n_rows):
            row_r = rows[r]
            at_r = at[r]
            q = r
            while q > 0 and (
                at[q - 1] < at_r * (1.0 - _SAME) or (at[q - 1] <= at_r * (1.0 + _SAME) and rows[q - 1] < row_r)
            ):
                rows[q] = rows[q - 1]
                at[q] = at[q - 1]
                q -= 1
            rows[q] = row_r
            at[q] = at_r
        for r in range(n_rows):
            i = rows[r] // 2
            voltage = rows[r] % 2 == 1
            kink = slopes_of(
                i, voltage, parent, last, m, path_m, top, elem_ptr, elem_pair, pair_k, below, cap, free, slope
            )  # fmt: skip
            if kink:
                unsure[rows[r]] = 1
            speed_of_row = 0.0
            wanted = 0.0
            for k in range(n_k):
                if group[k] == rows[r]:
                    speed_of_row += slope[k] * speed[k]
                    wanted += speed[k] * gain[k]
            if speed_of_row <= 0.0:  # only rounding could name a row that nobody grows in
                unsure[rows[r]] = 1
                continue
            worth = wanted / speed_of_row
            price[rows[r]] = worth
            for k in range(n_k):
                if group[k] == rows[r]:
                    own_gain[k] = level[k] * (gain[k] - slope[k] * worth) if weights[t, 0] <= 0.0 else 0.0
                elif slope[k] > 0.0:
                    gain[k] -= slope[k] * worth
                    for q in range(n_rows):
                        if group[k] == rows[q] and q != r and at[q] >= at[r] * (1.0 - _SAME):
                            unsure[rows[r]] = 1
                            unsure[rows[q]] = 1
        for k in range(n_k):
            if group[k] < 0:
                own_gain[k] = gain[k]
            if own_kind[t, k] == _FREE or alone[k] <= 0.0:
                continue
            i = np.int64(own_row[t, k])
            voltage = own_kind[t, k] == _VOLTAGE
            kink = slopes_of(
                i, voltage, parent, last, m, path_m, top, elem_ptr, elem_pair, pair_k, below, alone, free, slope
            )  # fmt: skip
            name = 2 * i + (1 if voltage else 0)
            if slope[k] > 0.0:
                price[name] += own_gain[k] / slope[k]
            # a second branch with the same headroom holds the perimeter too
            if not voltage and own_gain[k] != 0.0:
                for e in range(n):
                    if e != i and max(headroom[t, e], 0.0) <= alone[k] * (1.0 + _SAME):
                        holds = top[k] >= e and top[k] < last[e]
                        for q in range(elem_ptr[e], elem_ptr[e + 1]):
                            if pair_k[elem_pair[q]] == k and below[elem_pair[q]] > alone[k]:
                                holds = True
                        if holds:
                            unsure[name] = 1
        # a full row that nobody is named after shared its level with one that is
        worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
        for name in range(2 * n):
            i = name // 2
            voltage = name % 2 == 1
            room = max(headroom_path[t, i] if voltage else headroom[t, i], 0.0)
            used = w[i] if voltage else g[i]
            if price[name] != 0.0 or not (used >= room * (1.0 - _SAME)) or used <= 0.0:
                continue
            slopes_of(i, voltage, parent, last, m, path_m, top, elem_ptr, elem_pair, pair_k, below, cap, free, slope)
            highest = 0.0
            for k in range(n_k):
                if slope[k] > 0.0 and free[k] == 0:
                    highest = max(highest, level[k])
            for k in range(n_k):
                if slope[k] > 0.0 and free[k] == 0 and level[k] >= highest * (1.0 - _SAME):
                    held = group[k]
                    if held < 0 and own_kind[t, k] != _FREE:
                        held = 2 * np.int64(own_row[t, k]) + (1 if own_kind[t, k] == _VOLTAGE else 0)
                    # the path rooms of an element and of those above it are often that of one node
                    same = held % 2 == 1 and voltage and headroom_path[t, held // 2] == headroom_path[t, i]
                    if held >= 0 and held != name and not same:
                        unsure[held] = 1
        for i in range(n):
            # below zero a limit is violated already, and a little more room frees nothing
            price_out[t, i] = price[2 * i] if headroom[t, i] >= 0.0 else 0.0
            path_price_out[t, i] = price[2 * i + 1]
            unsure_out[t, i] = unsure[2 * i]
            path_unsure_out[t, i] = unsure[2 * i + 1]
