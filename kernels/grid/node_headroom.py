"""Largest power that one node alone can move without a new violation, from rows of branches and voltages."""

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, I32_2D_OUT, U8_2D_OUT, i64, kernel

NOTHING, THERMAL, VOLTAGE = 0, 1, 2


@kernel(
    I32,
    I32,
    F64_2D,
    F64_2D,
    F64_2D,
    F64_2D,
    F64,
    F64_2D_OUT,
    I32_2D_OUT,
    F64_2D_OUT,
    I32_2D_OUT,
    F64_2D_OUT,
    U8_2D_OUT,
    I32_2D_OUT,
    i64,
    i64,
    i64,
)
def node_headroom(
    order,
    parent,
    lower,
    upper,
    w_lower,
    w_upper,
    m,
    rise,
    rise_at,
    fall,
    fall_at,
    room_out,
    kind_out,
    at_out,
    down,
    t0,
    t1,
):
    """Bound x of one direction at every node and steps t0..t1.

    All is in the user's node order but order and parent (preorder). down 0: the node's activation is y = +x on its
    path, else y = -x. rise and fall are work arrays, (node in preorder, step): the least voltage room of the subtree
    when the scaled squared voltage rises or falls, and *_at the node that has it.

    A row l sees x * Msum(a), a being the deepest common ancestor of l and the node. Ancestors above a give the same
    row a weaker bound when Msum grows along the path (m >= 0), so the minimum over the path of (least room of the
    subtree) / Msum is exact; with m < 0 it is still safe. That needs no subtree-without-a-branch minimum.
    """
    n = order.size
    for i in range(n):
        u = order[i]
        for t in range(t0, t1):
            rise[i, t] = w_upper[u, t] if w_upper[u, t] >= 0.0 else np.inf
            fall[i, t] = -w_lower[u, t] if w_lower[u, t] <= 0.0 else np.inf
            rise_at[i, t] = u
            fall_at[i, t] = u
    for i in range(n - 1, -1, -1):
        p = parent[i]
        if p >= 0:
            for t in range(t0, t1):
                if rise[i, t] < rise[p, t]:
                    rise[p, t] = rise[i, t]
                    rise_at[p, t] = rise_at[i, t]
                if fall[i, t] < fall[p, t]:
                    fall[p, t] = fall[i, t]
                    fall_at[p, t] = fall_at[i, t]
    m_sum = np.zeros(n)
    for i in range(n):
        u = order[i]
        p = parent[i]
        above = 0.0
        if p >= 0:
            above = m_sum[p]
        m_sum[i] = above + m[u]
        s = m_sum[i]
        for t in range(t0, t1):
            best = np.inf
            kind = NOTHING
            at = -1
            if p >= 0:
                best = room_out[order[p], t]
                kind = kind_out[order[p], t]
                at = at_out[order[p], t]
            room = -lower[u, t] if down else upper[u, t]
            if room >= 0.0 and room < best:
                best = room
                kind = THERMAL
                at = u
            if s != 0.0:
                # the voltage rises when the activation and the sum of m have the same sign
                rises = (s > 0.0) != (down != 0)
                room = (rise[i, t] if rises else fall[i, t]) / abs(s)
                if room < best:
                    best = room
                    kind = VOLTAGE
                    at = rise_at[i, t] if rises else fall_at[i, t]
            room_out[u, t] = best
            kind_out[u, t] = kind
            at_out[u, t] = at
