"""Robust capability of perimeters on a forest: alone, shared by progressive filling, and checked together.

One problem is one step and one direction. Everything is in depth-first preorder over *elements*: an element is a node
and the branch that feeds it. For caps C_k the worst dispatch carries, on all elements at once,
g_i = sum_k min(C_k, B_ik), where B_ik is the power of perimeter k below element i. The caps are jointly safe when
g_i <= head_i for each element and W_i = sum over the path to i of m g stays within room_i.

A pair (i, k) is *open* when S_i holds some but not all member nodes of perimeter k; elements at or above `top[k]` hold
all of them and carry C_k itself. Sparse pairs, sorted by (k, i), are all that is stored.
"""

import math

import numpy as np

from flexcore.kernels._jit import (
    F64,
    F64_2D,
    F64_2D_OUT,
    F64_OUT,
    I32,
    I32_2D_OUT,
    U8_2D_OUT,
    U8_OUT,
    i64,
    inner,
    kernel,
)

# what limits a perimeter
_FREE, _THERMAL, _VOLTAGE, _SHARED = 0, 1, 2, 3
# the last bits: a row counts as exceeded in the search beyond this share, the final check allows nothing
_DUST = 1e-12


@inner
def power_below(power, label, own, pair_k, pair_up, below, total):
    """Sum the movable power of each perimeter below each open element, and in all."""
    below[:] = 0.0
    total[:] = 0.0
    for i in range(label.shape[0]):
        if label[i] >= 0:
            if own[i] >= 0:
                below[own[i]] += power[i]
            else:
                total[label[i]] += power[i]
    for p in range(below.shape[0] - 1, -1, -1):
        if pair_up[p] >= 0:
            below[pair_up[p]] += below[p]
        else:
            total[pair_k[p]] += below[p]


@inner
def worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w):
    """Worst flow increment g of each element and worst weighted path sum w of each node, for all caps together."""
    n = parent.shape[0]
    g[:] = 0.0
    for k in range(top.shape[0]):
        if top[k] >= 0:
            g[top[k]] += cap[k]
    for i in range(n - 1, -1, -1):
        if parent[i] >= 0:
            g[parent[i]] += g[i]
    for p in range(pair_element.shape[0]):
        g[pair_element[p]] += min(cap[pair_k[p]], below[p])
    for i in range(n):
        before = w[parent[i]] if parent[i] >= 0 else 0.0
        w[i] = before + m[i] * g[i]


@inner
def worst_single(parent, m, top, pair_element, pair_k, below, cap, g, w):
    """As `worst_case` while only one perimeter moves, whichever is worst for each element."""
    n = parent.shape[0]
    g[:] = 0.0
    for k in range(top.shape[0]):
        if top[k] >= 0:
            g[top[k]] = max(g[top[k]], cap[k])
    for i in range(n - 1, -1, -1):
        if parent[i] >= 0:
            g[parent[i]] = max(g[parent[i]], g[i])
    for p in range(pair_element.shape[0]):
        g[pair_element[p]] = max(g[pair_element[p]], min(cap[pair_k[p]], below[p]))
    for i in range(n):
        before = w[parent[i]] if parent[i] >= 0 else 0.0
        w[i] = before + m[i] * g[i]


@inner
def sweep_alone(cap, lo, hi, start, pair_element, pair_up, below, m, head, room, w, s):
    """Voltage rows inside one perimeter at total `cap`: largest safe total by the tangents, its row and its slope.

    Also tells whether `cap` itself breaks a row.
    """
    best = math.inf
    row = np.int64(-1)
    slope = 0.0
    broken = False
    for p in range(lo, hi):
        i = pair_element[p]
        up = pair_up[p]
        if up >= 0:
            w[p] = w[up] + m[i] * min(cap, below[p])
            s[p] = s[up] + (m[i] if below[p] > cap else 0.0)
        else:
            w[p] = start * cap + m[i] * min(cap, below[p])
            s[p] = start + (m[i] if below[p] > cap else 0.0)
        if w[p] > room[i]:
            broken = True
        if s[p] > 0.0:
            reach = cap + (room[i] - w[p]) / s[p]
            if reach < best:
                best = reach
                row = p
                slope = s[p]
    return best, row, slope, broken


@inner
def capability_alone(limit, lo, hi, start, pair_element, pair_up, below, m, head, room, w, s):
    """Largest safe total of one perimeter on its own, not above `limit`: (total, pair that binds or -1, kind, ended).

    Thermal rows count only where the power below exceeds the headroom. The voltage rows are concave in the total, so
    their tangents lie above them and Newton's method from below passes through safe totals only.
    """
    cap = limit
    row = np.int64(-1)
    kind = _FREE
    for p in range(lo, hi):
        i = pair_element[p]
        if below[p] > head[i] and head[i] < cap:
            cap = head[i]
            row = p
            kind = _THERMAL
    best, bound, slope, broken = sweep_alone(cap, lo, hi, start, pair_element, pair_up, below, m, head, room, w, s)
    if not broken:
        return cap, row, kind, True
    now = 0.0
    last_row = np.int64(-1)
    last_slope = 0.0
    ended = False
    # each round that does not end crosses a breakpoint of its row, so the bound is never met in exact arithmetic
    for _ in range(8 * (hi - lo) + 64):
        best, bound, slope, broken = sweep_alone(now, lo, hi, start, pair_element, pair_up, below, m, head, room, w, s)
        if bound < 0 or best >= cap:
            now = cap
            ended = True
            break
        row = bound
        if best <= now or (last_row >= 0 and s[last_row] == last_slope):
            if last_row >= 0 and s[last_row] == last_slope:
                row = last_row
            ended = True
            break
        now = best
        last_row = bound
        last_slope = slope
    # the last bits: a total that exceeds a row by rounding is lowered until it does not
    cut = 2.0**-52
    for _ in range(60):
        best, bound, slope, broken = sweep_alone(now, lo, hi, start, pair_element, pair_up, below, m, head, room, w, s)
        if not broken:
            break
        now *= 1.0 - cut
        cut *= 2.0
    return now, row, _VOLTAGE, ended


@inner
def mark_growing(e, last, top, elem_ptr, elem_pair, pair_k, below, cap, growth, hit):
    """Mark the perimeters whose cap still changes what element `e` carries; returns how many."""
    count = np.int64(0)
    for k in range(top.shape[0]):
        if growth[k] > 0.0 and top[k] >= e and top[k] < last[e] and hit[k] == 0:
            hit[k] = 1
            count += 1
    for q in range(elem_ptr[e], elem_ptr[e + 1]):
        p = elem_pair[q]
        k = pair_k[p]
        if growth[k] > 0.0 and below[p] > cap[k] and hit[k] == 0:
            hit[k] = 1
            count += 1
    return count


@inner
def highest_with_weight(i, parent, m):
    """Highest element on the path to `i` with m > 0: whatever grows lower down grows there too."""
    found = i
    while i >= 0:
        if m[i] > 0.0:
            found = i
        i = parent[i]
    return found


@inner
def fill_shared(
    relevant,
    n_relevant,
    up,
    near,
    rp_row,
    rp_pair,
    n_rp,
    parent,
    last,
    m,
    top,
    elem_ptr,
    elem_pair,
    pair_k,
    below,
    head,
    room,
    most,
    weight,
    cap,
    growth,
    frozen_at,
    frozen_voltage,
    hit,
    g,
    s,
    w,
    sw,
):
    """Raise C_k = weight_k * level at once; freeze the perimeters that a tight row holds, go on with the rest.

    Works on the relevant elements only (rows that could bind, and the elements above them). Between two freezes the
    level follows tangents from below, so every level passed is safe. True if it ended by itself.
    """
    n_k = top.shape[0]
    for k in range(n_k):
        frozen_at[k] = -1
        cap[k] = 0.0
        growth[k] = weight[k] if most[k] > 0.0 else 0.0
    level = 0.0
    last_row = np.int64(-1)
    last_slope = 0.0
    for _ in range(8 * (n_rp + n_k) + 64):
        highest = 0.0
        for k in range(n_k):
            if growth[k] > 0.0:
                cap[k] = level * weight[k]
                if cap[k] >= most[k]:
                    cap[k] = most[k]
                    growth[k] = 0.0
                else:
                    highest = max(highest, most[k] / weight[k])
        if highest == 0.0:
            return True
        for r in range(n_relevant):
            g[r] = 0.0
            s[r] = 0.0
        for k in range(n_k):
            if near[k] >= 0:
                g[near[k]] += cap[k]
                s[near[k]] += growth[k]
        for r in range(n_relevant - 1, -1, -1):
            if up[r] >= 0:
                g[up[r]] += g[r]
                s[up[r]] += s[r]
        for q in range(n_rp):
            p = rp_pair[q]
            k = pair_k[p]
            if below[p] > cap[k]:
                g[rp_row[q]] += cap[k]
                s[rp_row[q]] += growth[k]
            else:
                g[rp_row[q]] += below[p]
        reach = highest
        row = np.int64(-1)
        slope = 0.0
        for r in range(n_relevant):
            i = relevant[r]
            w[r] = m[i] * g[r]
            sw[r] = m[i] * s[r]
            if up[r] >= 0:
                w[r] += w[up[r]]
                sw[r] += sw[up[r]]
            if s[r] > 0.0:
                to = level + (head[i] - g[r]) / s[r]
                if to < reach:
                    reach = to
                    row = 2 * r
                    slope = s[r]
            if sw[r] > 0.0:
                to = level + (room[i] - w[r]) / sw[r]
                if to < reach:
                    reach = to
                    row = 2 * r + 1
                    slope = sw[r]
        # the row that stopped the last jump is tight if it stayed straight on the way
        tight = np.int64(-1)
        if last_row >= 0:
            here = sw[last_row // 2] if last_row % 2 else s[last_row // 2]
            if here == last_slope:
                tight = last_row
        if tight < 0 and row >= 0 and reach <= level:
            tight = row
        if tight < 0:
            level = highest if row < 0 else reach
            if row < 0 or reach >= highest:
                for k in range(n_k):
                    if growth[k] > 0.0:
                        cap[k] = most[k]
                return True
            last_row = row
            last_slope = slope
            continue
        # freeze what the tight row holds, and in the same round what other exhausted rows hold
        any_frozen = np.int64(0)
        for r in range(n_relevant):
            i = relevant[r]
            for voltage in range(2):
                if voltage == 0:
                    full = s[r] > 0.0 and (g[r] >= head[i] or tight == 2 * r)
                else:
                    full = sw[r] > 0.0 and (w[r] >= room[i] or tight == 2 * r + 1)
                if not full:
                    continue
                e = highest_with_weight(i, parent, m) if voltage else np.int64(i)
                for k in range(n_k):
                    hit[k] = 0
                if mark_growing(e, last, top, elem_ptr, elem_pair, pair_k, below, cap, growth, hit) == 0:
                    continue
                for k in range(n_k):
                    if hit[k] and frozen_at[k] < 0:
                        frozen_at[k] = i
                        frozen_voltage[k] = voltage
                        any_frozen += 1
        if any_frozen == 0:
            return False
        for k in range(n_k):
            if frozen_at[k] >= 0:
                growth[k] = 0.0
        last_row = -1
    return False


@inner
def lower_until_safe(
    parent, last, m, top, pair_element, pair_k, elem_ptr, elem_pair, below, head, room, cap, growth, hit, g, w
):
    """Take rounding errors out of the caps: lower those that an exceeded row holds until no row is exceeded."""
    n_k = top.shape[0]
    cut = 2.0**-52
    for _ in range(62):
        worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
        bad = False
        for k in range(n_k):
            hit[k] = 0
            growth[k] = 1.0 if cap[k] > 0.0 else 0.0
        for i in range(parent.shape[0]):
            over_voltage = w[i] > room[i]
            if g[i] > head[i] or over_voltage:
                bad = True
                e = highest_with_weight(i, parent, m) if over_voltage else np.int64(i)
                for k in range(n_k):
                    if growth[k] > 0.0 and top[k] >= e and top[k] < last[e]:
                        hit[k] = 1
                for q in range(elem_ptr[e], elem_ptr[e + 1]):
                    p = elem_pair[q]
                    if cap[pair_k[p]] <= below[p]:
                        hit[pair_k[p]] = 1
        if not bad:
            return True
        for k in range(n_k):
            if hit[k]:
                cap[k] *= 1.0 - cut
        cut *= 2.0
    return False


@inner
def margins(
    parent, path_m, top, pair_ptr, pair_element, below, total, head, room, g, w, chain, here, whole, margin_out
):  # fmt: skip
    """What each perimeter could still add wherever it acts: at its own elements, then at everything above its top.

    What is added below element i reaches every node of its subtree through the path that they share, and the least
    roomy of them counts. The arrays before the last are work space.
    """
    n = parent.shape[0]
    for i in range(n):
        chain[i] = room[i] - w[i]
    for i in range(n - 1, -1, -1):
        if parent[i] >= 0:
            chain[parent[i]] = min(chain[parent[i]], chain[i])
    for i in range(n):
        here[i] = max(head[i] - g[i], 0.0)
        if path_m[i] > 0.0:
            here[i] = min(here[i], max(chain[i], 0.0) / path_m[i])
        whole[i] = here[i] if parent[i] < 0 else min(here[i], whole[parent[i]])
    for k in range(top.shape[0]):
        margin = whole[top[k]] if top[k] >= 0 and total[k] > 0.0 else math.inf
        for p in range(pair_ptr[k], pair_ptr[k + 1]):
            if below[p] > 0.0:
                margin = min(margin, here[pair_element[p]])
        margin_out[k] = margin


@kernel(
    I32, I32, F64, I32, I32, I32, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, i64,
    F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, I32_2D_OUT, U8_2D_OUT, F64_2D_OUT, F64_2D_OUT, U8_OUT, i64, i64,
)  # fmt: skip
def share_capability(
    parent,
    last,
    m,
    label,
    own,
    top,
    pair_ptr,
    pair_element,
    pair_k,
    pair_up,
    elem_ptr,
    elem_pair,
    power,
    headroom,
    headroom_path,
    weights,
    ceiling,
    alone,
    cap_out,
    movable_out,
    kind_out,
    row_out,
    at_node_out,
    margin_out,
    carried_out,
    status_out,
    t0,
    t1,
):
    """Find the capabilities of all perimeters for steps t0..t1; arrays over steps are (step, element or perimeter).

    `headroom` and `headroom_path` below zero count as zero. `headroom_path` must be the smallest of the subtree, so
    that nodes without movable power are covered. Weights of zero in the first perimeter of a step mean: use the
    stand-alone capabilities as weights. No cap exceeds its `ceiling`. Status 1: a search was cut off, the caps are safe
    but may not be maximal.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    n_p = pair_element.shape[0]
    head = np.empty(n)
    room = np.empty(n)
    path_m = np.empty(n)
    chain = np.empty(n)
    chain_row = np.empty(n, np.int32)
    chain_voltage = np.empty(n, np.uint8)
    g = np.empty(n)
    w = np.empty(n)
    s = np.empty(n)
    sw = np.empty(n)
    below = np.empty(n_p)
    pair_w = np.empty(n_p)
    pair_s = np.empty(n_p)
    total = np.empty(n_k)
    most = np.empty(n_k)
    cap = np.empty(n_k)
    weight = np.empty(n_k)
    growth = np.empty(n_k)
    frozen_at = np.empty(n_k, np.int32)
    frozen_voltage = np.empty(n_k, np.uint8)
    hit = np.empty(n_k, np.uint8)
    relevant = np.empty(n, np.int32)
    slot = np.empty(n, np.int32)
    up = np.empty(n, np.int32)
    near = np.empty(n_k, np.int32)
    rp_row = np.empty(n_p, np.int32)
    rp_pair = np.empty(n_p, np.int32)
    for i in range(n):
        path_m[i] = m[i] + (path_m[parent[i]] if parent[i] >= 0 else 0.0)
    for t in range(t0, t1):
        status_out[t] = 0
        for i in range(n):
            head[i] = max(headroom[t, i], 0.0)
            room[i] = max(headroom_path[t, i], 0.0)
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        # smallest limit from each element up to its root: all that a perimeter meets above its top
        for i in range(n):
            chain[i] = math.inf
            chain_row[i] = -1
            chain_voltage[i] = 0
            if parent[i] >= 0:
                chain[i] = chain[parent[i]]
                chain_row[i] = chain_row[parent[i]]
                chain_voltage[i] = chain_voltage[parent[i]]
            if head[i] < chain[i]:
                chain[i] = head[i]
                chain_row[i] = i
                chain_voltage[i] = 0
            if path_m[i] > 0.0 and room[i] / path_m[i] < chain[i]:
                chain[i] = room[i] / path_m[i]
                chain_row[i] = i
                chain_voltage[i] = 1
        for k in range(n_k):
            movable_out[t, k] = total[k]
            limit = min(total[k], ceiling[t, k])
            kind = _FREE
            row = np.int64(-1)
            start = 0.0
            if top[k] >= 0:
                start = path_m[top[k]]
                if chain[top[k]] < limit:
                    limit = chain[top[k]]
                    row = chain_row[top[k]]
                    kind = _VOLTAGE if chain_voltage[top[k]] else _THERMAL
                    # the path product and the path sum may differ in the last bit
                    if kind == _VOLTAGE and limit > 0.0:
                        limit *= 1.0 - 2.0**-50
            most[k] = 0.0
            if limit > 0.0:
                most[k], bound, sort, ended = capability_alone(
                    limit, pair_ptr[k], pair_ptr[k + 1], start, pair_element, pair_up, below, m, head, room,
                    pair_w, pair_s,
                )  # fmt: skip
                if bound >= 0:
                    row = pair_element[bound]
                    kind = sort
                if not ended:
                    status_out[t] = 1
            cap[k] = most[k]
            kind_out[t, k] = kind
            row_out[t, k] = row
            at_node_out[t, k] = 1 if kind == _VOLTAGE else 0
        if alone != 0:
            worst_single(parent, m, top, pair_element, pair_k, below, cap, g, w)
        else:
            worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
            # rows that the stand-alone values exceed when taken together, and the elements above them
            n_relevant = np.int64(0)
            for i in range(n):
                slot[i] = -1
            for i in range(n):
                if g[i] > head[i] * (1.0 + _DUST) or w[i] > room[i] * (1.0 + _DUST):
                    e = np.int64(i)
                    while e >= 0 and slot[e] < 0:
                        slot[e] = 0
                        e = parent[e]
            for i in range(n):
                if slot[i] == 0:
                    slot[i] = n_relevant
                    relevant[n_relevant] = i
                    up[n_relevant] = slot[parent[i]] if parent[i] >= 0 else -1
                    n_relevant += 1
            if n_relevant > 0:
                for k in range(n_k):
                    e = np.int64(top[k])
                    while e >= 0 and slot[e] < 0:
                        e = parent[e]
                    near[k] = slot[e] if e >= 0 else -1
                    weight[k] = weights[t, k] if weights[t, 0] > 0.0 else most[k]
                n_rp = np.int64(0)
                for r in range(n_relevant):
                    for q in range(elem_ptr[relevant[r]], elem_ptr[relevant[r] + 1]):
                        rp_row[n_rp] = r
                        rp_pair[n_rp] = elem_pair[q]
                        n_rp += 1
                if not fill_shared(
                    relevant, n_relevant, up, near, rp_row, rp_pair, n_rp, parent, last, m, top, elem_ptr, elem_pair,
                    pair_k, below, head, room, most, weight, cap, growth, frozen_at, frozen_voltage, hit, g, s, w, sw,
                ):  # fmt: skip
                    status_out[t] = 1
                for k in range(n_k):
                    if frozen_at[k] >= 0 and cap[k] < most[k] * (1.0 - 1e-9):
                        kind_out[t, k] = _SHARED
                        row_out[t, k] = frozen_at[k]
                        at_node_out[t, k] = frozen_voltage[k]
            if not lower_until_safe(
                parent, last, m, top, pair_element, pair_k, elem_ptr, elem_pair, below, head, room, cap, growth, hit,
                g, w,
            ):  # fmt: skip
                status_out[t] = 1
                for k in range(n_k):
                    cap[k] = 0.0
                worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
        margins(
            parent, path_m, top, pair_ptr, pair_element, below, total, head, room, g, w, chain, s, sw, margin_out[t]
        )
        for k in range(n_k):
            cap_out[t, k] = cap[k]
        for i in range(n):
            carried_out[t, i] = g[i]


@kernel(
    I32, F64, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_OUT, F64_OUT, i64, i64,
)  # fmt: skip
def check_together(
    parent,
    m,
    label,
    own,
    top,
    pair_element,
    pair_k,
    pair_up,
    power,
    headroom,
    headroom_path,
    caps,
    over_out,
    over_path_out,
    t0,
    t1,
):
    """Largest excess of any element and of any path sum when every perimeter uses its cap in the worst way."""
    n = parent.shape[0]
    cap = np.empty(top.shape[0])
    g = np.empty(n)
    w = np.empty(n)
    below = np.empty(pair_element.shape[0])
    total = np.empty(top.shape[0])
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for k in range(top.shape[0]):
            cap[k] = min(caps[t, k], total[k])  # a cap above what can move adds nothing
        worst_case(parent, m, top, pair_element, pair_k, below, cap, g, w)
        over = -math.inf
        over_path = -math.inf
        for i in range(n):
            over = max(over, g[i] - max(headroom[t, i], 0.0))
            over_path = max(over_path, w[i] - max(headroom_path[t, i], 0.0))
        over_out[t] = over
        over_path_out[t] = over_path
