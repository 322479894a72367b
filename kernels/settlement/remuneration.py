"""Settlement: energy of each line in exact integers, and splits over PODs that add up exactly.

A group is one (operator, aggregate, direction), a line one group and one market time unit. Rows are PODs of a group,
listed in `rows[ptr[g]:ptr[g + 1]]`; a task owns whole groups, so no two threads write to one line.
"""

import numpy as np

from flexcore.kernels._jit import (
    I8,
    I32_2D,
    I64,
    I64_2D,
    I64_2D_OUT,
    I64_OUT,
    U8_2D,
    U8_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.metering.delivery import MISSING, delivered_w
from flexcore.kernels.settlement.exact import product_over

#: A price is split at this bit, so that energy times each part stays within 63 bits.
PRICE_BIT = 20
_LOW = (1 << PRICE_BIT) - 1
#: Weights of a split that sum to at most this are divided in two parts, larger ones bit by bit.
_TWO_PARTS = (2**63 - 1) // 4_000_000


@kernel(I32_2D, I32_2D, i64, i64, U8_OUT)
def find_active(orders, available, i0, i1, active_out):
    """Mark the rows i0..i1 that have an order or an availability in some step; `available` may have no rows."""
    has_available = available.shape[0] > 0
    for i in range(i0, i1):
        found = np.int32(0)
        for t in range(orders.shape[1]):
            found |= orders[i, t]
        if has_available:
            for t in range(orders.shape[1]):
                found |= available[i, t]
        active_out[i] = found != 0


@inner
def _against_order(ordered, delivered, cap, owed):
    """Return what counts for the ratio, what is paid and what is missed, in wqh; nothing where nothing is ordered."""
    if ordered == 0:
        return np.int64(0), np.int64(0), np.int64(0)
    counted = min(delivered, ordered * cap // 1_000_000)
    return counted, max(counted, np.int64(0)), max(ordered * owed // 1_000_000 - delivered, np.int64(0))


@inner
def _credited_w(ordered, baseline, metered, down, is_estimated, clip):
    """Return what a POD delivers on its order: an estimated reading at most the order, with `clip` nothing below 0."""
    value = delivered_w(baseline, metered, down)
    if is_estimated:
        value = min(value, ordered)
    return max(value, np.int64(0)) if clip != 0 else value


@kernel(
    I32_2D, I32_2D, I32_2D, I32_2D, U8_2D, I64_2D, I8, I64, I64, I64, I64, i64, i64, i64, i64, i64,
    I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT, I64_2D_OUT,
    I64_2D_OUT, I64_2D_OUT,
)  # fmt: skip
def sum_lines(
    orders, baseline, metered, available, estimated, price, direction, unit_of_step, period_of_step, ptr, rows, clip,
    cap, owed, g0, g1, ordered_out, delivered_out, available_out, missing_out, estimated_out, price_high_out,
    price_low_out, counted_out, paid_out, short_out, entries_out,
):  # fmt: skip
    """Sum groups g0..g1 over rows and steps into their lines, outputs of shape (n_groups, n_units) in wqh.

    Delivered power counts where the row has an order, and only there: where nothing is ordered nothing is delivered,
    and a POD ordered by the other operator stays out. `price` has one row or one for each row, and one step or all of
    them; `available` and `estimated` may have no rows. Energy is capped at `cap` parts per million of the order and
    missed below `owed` of it, over neighbouring steps of one unit and one period.
    """
    n_units = ordered_out.shape[1]
    n_steps = orders.shape[1]
    has_available = available.shape[0] > 0
    has_estimated = estimated.shape[0] > 0
    one_row = price.shape[0] == 1
    one_step = price.shape[1] == 1
    touched = np.empty(n_units, np.bool_)
    step_ordered = np.empty(n_steps, np.int64)
    step_delivered = np.empty(n_steps, np.int64)
    for g in range(g0, g1):
        for u in range(n_units):
            ordered_out[g, u] = 0
            delivered_out[g, u] = 0
            available_out[g, u] = 0
            missing_out[g, u] = 0
            estimated_out[g, u] = 0
            price_high_out[g, u] = 0
            price_low_out[g, u] = 0
            counted_out[g, u] = 0
            paid_out[g, u] = 0
            short_out[g, u] = 0
            entries_out[g, u] = 0
        step_ordered[:] = 0
        step_delivered[:] = 0
        for k in range(ptr[g], ptr[g + 1]):
            i = rows[k]
            down = direction[i] != 0
            for u in range(n_units):
                touched[u] = False
            for t in range(n_steps):
                u = unit_of_step[t]
                if has_available and available[i, t] > 0:
                    available_out[g, u] += available[i, t]
                    touched[u] = True
                if orders[i, t] == 0:
                    continue
                touched[u] = True
                power = np.int64(orders[i, t])
                step_ordered[t] += power
                each = price[0 if one_row else i, 0 if one_step else t]
                price_high_out[g, u] += power * (each >> PRICE_BIT)
                price_low_out[g, u] += power * (each & _LOW)
                if baseline[i, t] == MISSING or metered[i, t] == MISSING:
                    missing_out[g, u] += 1
                    continue
                guessed = has_estimated and estimated[i, t] != 0
                if guessed:
                    estimated_out[g, u] += 1
                step_delivered[t] += _credited_w(power, baseline[i, t], metered[i, t], down, guessed, clip)
            for u in range(n_units):
                if touched[u]:
                    entries_out[g, u] += 1
        ordered = np.int64(0)
        delivered = np.int64(0)
        for t in range(n_steps):
            u = unit_of_step[t]
            ordered += step_ordered[t]
            delivered += step_delivered[t]
            if t + 1 < n_steps and unit_of_step[t + 1] == u and period_of_step[t + 1] == period_of_step[t]:
                continue
            counted, paid, short = _against_order(ordered, delivered, cap, owed)
            ordered_out[g, u] += ordered
            delivered_out[g, u] += delivered
            counted_out[g, u] += counted
            paid_out[g, u] += paid
            short_out[g, u] += short
            ordered = np.int64(0)
            delivered = np.int64(0)


@kernel(
    I32_2D, I32_2D, I32_2D, I32_2D, U8_2D, I8, I64, I64, I64, I64, I64_2D, i64, i64, i64,
    I64_OUT, I64_OUT, I64_OUT, I64_OUT, I64_OUT,
)  # fmt: skip
def list_entries(
    orders, baseline, metered, available, estimated, direction, unit_of_step, period_of_step, ptr, rows, first, clip,
    g0, g1, row_out, ordered_out, delivered_out, available_out, short_out,
):  # fmt: skip
    """Write one entry for each row and line that it takes part in, for groups g0..g1.

    `first`, shape (n_groups, n_units), is the position of the first entry of each line; within a line entries follow
    `rows`. A row is short by what it delivers below its orders, over neighbouring steps of one unit and one period.
    """
    n_units = first.shape[1]
    n_steps = orders.shape[1]
    has_available = available.shape[0] > 0
    has_estimated = estimated.shape[0] > 0
    following = np.empty(n_units, np.int64)
    entry = np.empty(n_units, np.int64)
    for g in range(g0, g1):
        for u in range(n_units):
            following[u] = first[g, u]
        for k in range(ptr[g], ptr[g + 1]):
            i = rows[k]
            down = direction[i] != 0
            for u in range(n_units):
                entry[u] = -1
            gap = np.int64(0)
            for t in range(n_steps):
                offered = np.int64(available[i, t]) if has_available else np.int64(0)
                power = np.int64(orders[i, t])
                u = unit_of_step[t]
                if power != 0 or offered != 0:
                    if entry[u] < 0:
                        entry[u] = following[u]
                        following[u] += 1
                        row_out[entry[u]] = i
                        ordered_out[entry[u]] = 0
                        delivered_out[entry[u]] = 0
                        available_out[entry[u]] = 0
                        short_out[entry[u]] = 0
                    p = entry[u]
                    ordered_out[p] += power
                    available_out[p] += offered
                    gap += power
                    if power != 0 and baseline[i, t] != MISSING and metered[i, t] != MISSING:
                        guessed = has_estimated and estimated[i, t] != 0
                        value = _credited_w(power, baseline[i, t], metered[i, t], down, guessed, clip)
                        delivered_out[p] += value
                        gap -= value
                if t + 1 < n_steps and unit_of_step[t + 1] == u and period_of_step[t + 1] == period_of_step[t]:
                    continue
                if gap > 0:
                    short_out[entry[u]] += gap
                gap = np.int64(0)


@inner
def _share(rest, weight, everything):
    """Return floor and remainder of rest * weight / everything, exactly.

    Neither `rest` nor `weight` is above `everything`. The product may need 84 bits, so the weight is taken in two
    parts of 21 bits; `everything` is at most 2^63 / 4e6, and then no intermediate needs more than 63 bits.
    """
    high = weight >> 21
    low = weight - (high << 21)
    first = rest * high // everything
    carried = (rest * high - first * everything) << 21
    second = carried // everything
    third = rest * low // everything
    remainder = (carried - second * everything) + (rest * low - third * everything)
    floor = (first << 21) + second + third
    if remainder >= everything:
        remainder -= everything
        floor += 1
    return floor, remainder


@kernel(I64, I64, I64, I64, i64, i64, I64_OUT)
def split_lines(ptr, total, weight, fallback, lo, hi, part_out):
    """Split the amounts of lines lo..hi over their entries in proportion to `weight`, by largest remainder.

    Where no weight is positive `fallback` counts, and where that is not either, every entry alike. Equal remainders go
    to the earlier entry. Negative weights count as zero. The positive weights of a line sum to at most 2^62.
    """
    for line in range(lo, hi):
        begin = ptr[line]
        n = ptr[line + 1] - begin
        if n == 0:
            continue
        everything = np.int64(0)
        for k in range(n):
            everything += max(weight[begin + k], 0)
        source = 0
        if everything == 0:
            source = 1
            for k in range(n):
                everything += max(fallback[begin + k], 0)
        if everything == 0:
            source = 2
            everything = n
        amount = abs(total[line])
        sign = -1 if total[line] < 0 else 1
        whole = amount // everything
        rest = amount - whole * everything
        left = amount
        remainders = np.empty(n, np.int64)
        for k in range(n):
            if source == 0:
                w = max(weight[begin + k], 0)
            elif source == 1:
                w = max(fallback[begin + k], 0)
            else:
                w = np.int64(1)
            if everything <= _TWO_PARTS:
                floor, remainder = _share(rest, w, everything)
            else:
                floor, remainder = product_over(w, rest, everything)
            part = whole * w + floor
            remainders[k] = -remainder
            left -= part
            part_out[begin + k] = part
        if left > 0:
            # stable: equal remainders stay in the order of the entries
            order = np.argsort(remainders, kind="mergesort")
            for k in range(left):
                part_out[begin + order[k]] += 1
        if sign < 0:
            for k in range(n):
                part_out[begin + k] = -part_out[begin + k]
