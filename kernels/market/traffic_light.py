"""Kernels for the red of the traffic light: which elements a local award relieves, and who sits below them.

Node arrays are in depth-first preorder; the element of a node is the branch that feeds it.
"""

import numpy as np

from flexcore.kernels._jit import I32, U8_2D, U8_2D_OUT, i64, kernel


@kernel(I32, U8_2D, U8_2D, U8_2D, I32, U8_2D_OUT, U8_2D_OUT, i64, i64)
def relieved(parent, award, thermal, voltage, area, below_out, relieved_out, t0, t1):
    """Mark the elements that awards relieve in steps [t0, t1).

    An overloaded element is relieved by an award below it. A node out of its voltage band is relieved by the awards in
    the smallest subtree that holds it and an award, as long as that subtree stays in the node's area; the element that
    feeds this subtree is marked. `below_out` marks subtrees that hold an award.
    """
    n = parent.size
    for i in range(n):
        for t in range(t0, t1):
            below_out[i, t] = award[i, t]
    for i in range(n - 1, -1, -1):
        up = parent[i]
        for t in range(t0, t1):
            relieved_out[i, t] = np.uint8(up >= 0 and thermal[i, t] and below_out[i, t])
            if up >= 0 and below_out[i, t]:
                below_out[up, t] = 1
    for i in range(n):
        for t in range(t0, t1):
            if voltage[i, t]:
                j = i
                while j >= 0 and area[j] == area[i] and not below_out[j, t]:
                    j = parent[j]
                if j >= 0 and area[j] == area[i] and parent[j] >= 0:
                    relieved_out[j, t] = 1


@kernel(I32, U8_2D, I32, U8_2D, U8_2D_OUT, U8_2D_OUT, i64, i64)
def mark_below(parent, relieved, label, movable, under_out, out, t0, t1):
    """Mark in steps [t0, t1) every perimeter with movable power below a marked element."""
    for k in range(out.shape[0]):
        for t in range(t0, t1):
            out[k, t] = 0
    for i in range(parent.size):
        up = parent[i]
        k = label[i]
        for t in range(t0, t1):
            under = relieved[i, t]
            if up >= 0 and under_out[up, t]:
                under = np.uint8(1)
            under_out[i, t] = under
            if under and k >= 0 and movable[i, t]:
                out[k, t] = 1
