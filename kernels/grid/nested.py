"""Nested limits: caps per perimeter, and for elements that several perimeters share a limit on their sum.

A group at element e holds all perimeters that lie wholly below e. Perimeters, groups and nodes are nested sets, so the
worst dispatch has the greedy form again: it fills the deepest subtree first and reaches on every element of a path at
once what the limits admit there,

    M_e = min(L_e, sum of M below + caps of perimeters with top e),
    g_e = min(M_e, least L above) + sum over split perimeters of min(C_k, B_ek),

the last of which is not reduced by groups further up (on the safe side). Arrays as in `capability`.
"""

import math

import numpy as np

from flexcore.kernels._jit import (
    F64,
    F64_2D,
    F64_2D_OUT,
    F64_OUT,
    I32,
    I32_2D,
    I32_2D_OUT,
    U8_2D,
    U8_2D_OUT,
    U8_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.grid.capability import margins, power_below, worst_case

_VOLTAGE, _SHARED = 2, 3
_HALVINGS = 50


@inner
def worst_nested(parent, m, top, pair_element, pair_k, below, cap, limit, whole, g, w):
    """Worst flow increment g and path sum w of each element under caps and group limits; `whole` gets M of each."""
    n = parent.shape[0]
    whole[:] = 0.0
    for k in range(top.shape[0]):
        if top[k] >= 0:
            whole[top[k]] += cap[k]
    for i in range(n - 1, -1, -1):
        whole[i] = min(whole[i], limit[i])
        if parent[i] >= 0:
            whole[parent[i]] += whole[i]
    for i in range(n):
        w[i] = limit[i] if parent[i] < 0 else min(limit[i], w[parent[i]])
        g[i] = min(whole[i], w[i])
    for p in range(pair_element.shape[0]):
        g[pair_element[p]] += min(cap[pair_k[p]], below[p])
    for i in range(n):
        before = w[parent[i]] if parent[i] >= 0 else 0.0
        w[i] = before + m[i] * g[i]


@inner
def set_limits(parent, top, elem_ptr, elem_pair, pair_k, below, cap, head, whole, limit):
    """From the leaves up, limit the whole perimeters below an element where they could exceed what the split leave."""
    n = parent.shape[0]
    whole[:] = 0.0
    for k in range(top.shape[0]):
        if top[k] >= 0:
            whole[top[k]] += cap[k]
    for i in range(n - 1, -1, -1):
        limit[i] = math.inf
        left = head[i]
        for q in range(elem_ptr[i], elem_ptr[i + 1]):
            left -= min(cap[pair_k[elem_pair[q]]], below[elem_pair[q]])
        left = max(left, 0.0)
        cut = 2.0**-52
        for _ in range(62):
            # the sum in the order in which it will be made: not one bit above the headroom
            total = min(whole[i], left)
            for q in range(elem_ptr[i], elem_ptr[i + 1]):
                total += min(cap[pair_k[elem_pair[q]]], below[elem_pair[q]])
            if total <= head[i]:
                break
            left = min(whole[i], left) * (1.0 - cut)
            cut *= 2.0
        if whole[i] > left:
            limit[i] = left
            whole[i] = left
        if parent[i] >= 0:
            whole[parent[i]] += whole[i]


@kernel(
    I32, I32, F64, I32, I32, I32, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, I32_2D, U8_2D, I32, I32, i64,
    F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, I32_2D_OUT, U8_2D_OUT, U8_OUT, i64, i64,
)  # fmt: skip
def nest(
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
    joint,
    alone,
    alone_row,
    alone_kind,
    part_of,
    part_of_k,
    n_parts,
    cap_out,
    limit_out,
    carried_out,
    margin_out,
    kind_out,
    row_out,
    at_node_out,
    status_out,
    t0,
    t1,
):
    """Find caps and group limits for steps t0..t1; `kind_out`, `row_out`, `at_node_out` hold those of the joint caps.

    Caps are the stand-alone ones, but for perimeters that split an element which would be exceeded: those keep the
    joint cap. Where voltage rows break, caps and limits go back towards the joint caps, by one share for each part
    (`part_of`: subtrees of a root that no perimeter joins; -1 at roots). `limit_out` is infinite where nothing is
    limited. Status 1: a part was left at its joint caps though the search found them too large by rounding.
    """
    n = parent.shape[0]
    n_k = top.shape[0]
    path_m = np.empty(n)
    head = np.empty(n)
    room = np.empty(n)
    g = np.empty(n)
    w = np.empty(n)
    whole = np.empty(n)
    joint_whole = np.empty(n)
    largest = np.empty(n)
    limit = np.empty(n)
    below = np.empty(pair_element.shape[0])
    total = np.empty(n_k)
    wide = np.empty(n_k)
    cap = np.empty(n_k)
    share = np.empty(n_parts)
    low = np.empty(n_parts)
    high = np.empty(n_parts)
    bad = np.empty(n_parts, np.int64)
    full = np.empty(n_parts, np.int64)
    for i in range(n):
        path_m[i] = m[i] + (path_m[parent[i]] if parent[i] >= 0 else 0.0)
    for t in range(t0, t1):
        status_out[t] = 0
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for i in range(n):
            head[i] = max(headroom[t, i], 0.0)
            room[i] = max(headroom_path[t, i], 0.0)
            joint_whole[i] = 0.0
        for k in range(n_k):
            wide[k] = alone[t, k]
            if top[k] >= 0:
                joint_whole[top[k]] += joint[t, k]
        for i in range(n - 1, -1, -1):
            if parent[i] >= 0:
                joint_whole[parent[i]] += joint_whole[i]
        # a group cannot name the part of a perimeter below an element: there its joint cap stays
        worst_case(parent, m, top, pair_element, pair_k, below, wide, g, w)
        for p in range(pair_element.shape[0]):
            k = pair_k[p]
            if below[p] > 0.0 and g[pair_element[p]] > head[pair_element[p]]:
                wide[k] = min(wide[k], joint[t, k])
        set_limits(parent, top, elem_ptr, elem_pair, pair_k, below, wide, head, whole, largest)
        for c in range(n_parts):
            share[c] = 1.0
            low[c] = -1.0
            high[c] = 1.0
            full[c] = -1
        for turn in range(_HALVINGS + 2):
            for k in range(n_k):
                c = part_of_k[k]
                cap[k] = wide[k]
                if c >= 0 and share[c] < 1.0:
                    cap[k] = joint[t, k] + share[c] * (wide[k] - joint[t, k])
            for i in range(n):
                limit[i] = largest[i]
                c = part_of[i]
                if c >= 0 and share[c] < 1.0 and largest[i] < math.inf:
                    limit[i] = joint_whole[i] + share[c] * max(largest[i] - joint_whole[i], 0.0)
            worst_nested(parent, m, top, pair_element, pair_k, below, cap, limit, whole, g, w)
            for c in range(n_parts):
                bad[c] = -1
            for i in range(n):
                if part_of[i] >= 0 and (w[i] > room[i] or g[i] > head[i]) and bad[part_of[i]] < 0:
                    bad[part_of[i]] = i
            open_ = False
            for c in range(n_parts):
                if turn == 0:
                    if bad[c] < 0:
                        low[c] = 1.0
                    else:
                        full[c] = bad[c]
                        share[c] = 0.0
                        open_ = True
                elif low[c] < 1.0:
                    if bad[c] < 0:
                        low[c] = share[c]
                    elif share[c] == 0.0:
                        low[c] = 0.0  # the joint caps are safe in the order of their own sums
                        high[c] = 0.0
                        status_out[t] = 1
                    else:
                        high[c] = share[c]
                        full[c] = bad[c]
                    # the last turn evaluates what is published
                    share[c] = 0.5 * (low[c] + high[c]) if turn < _HALVINGS else low[c]
                    open_ = True
            if not open_:
                break
        for k in range(n_k):
            cap_out[t, k] = cap[k]
            if cap[k] > joint[t, k]:
                kind_out[t, k] = alone_kind[t, k]
                row_out[t, k] = alone_row[t, k]
                at_node_out[t, k] = 1 if alone_kind[t, k] == _VOLTAGE else 0
            c = part_of_k[k]
            if c >= 0 and full[c] >= 0 and cap[k] < wide[k] * (1.0 - 1e-9):
                kind_out[t, k] = _SHARED
                row_out[t, k] = full[c]
                at_node_out[t, k] = 1
        # a limit that the caps and limits below it keep anyway is none
        for i in range(n):
            whole[i] = 0.0
        for k in range(n_k):
            if top[k] >= 0:
                whole[top[k]] += cap[k]
        for i in range(n - 1, -1, -1):
            limit_out[t, i] = limit[i] if limit[i] < whole[i] else math.inf
            whole[i] = min(whole[i], limit[i])
            if parent[i] >= 0:
                whole[parent[i]] += whole[i]
            carried_out[t, i] = g[i]
        # nor is one that is no less than that of a group around it
        for i in range(n):
            largest[i] = math.inf if parent[i] < 0 else largest[parent[i]]
            if limit_out[t, i] >= largest[i]:
                limit_out[t, i] = math.inf
            largest[i] = min(largest[i], limit_out[t, i])
        margins(
            parent, path_m, top, pair_ptr, pair_element, below, total, head, room, g, w, limit, largest, whole,
            margin_out[t],
        )  # fmt: skip


@kernel(
    I32, F64, I32, I32, I32, I32, I32, I32,
    F64_2D, F64_2D, F64_2D, F64_2D, F64_2D, F64_OUT, F64_OUT, i64, i64,
)  # fmt: skip
def check_nested(
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
    limits,
    over_out,
    over_path_out,
    t0,
    t1,
):
    """Largest excess of any element and of any path sum under the worst dispatch within caps and group limits."""
    n = parent.shape[0]
    cap = np.empty(top.shape[0])
    g = np.empty(n)
    w = np.empty(n)
    whole = np.empty(n)
    below = np.empty(pair_element.shape[0])
    total = np.empty(top.shape[0])
    for t in range(t0, t1):
        power_below(power[t], label, own, pair_k, pair_up, below, total)
        for k in range(top.shape[0]):
            cap[k] = min(caps[t, k], total[k])
        worst_nested(parent, m, top, pair_element, pair_k, below, cap, limits[t], whole, g, w)
        over = -math.inf
        over_path = -math.inf
        for i in range(n):
            over = max(over, g[i] - max(headroom[t, i], 0.0))
            over_path = max(over_path, w[i] - max(headroom_path[t, i], 0.0))
        over_out[t] = over
        over_path_out[t] = over_path
