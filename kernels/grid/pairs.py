"""Lays perimeters out over a forest: which elements hold some, but not all, members of a perimeter.

A pair (element, perimeter) is *open* when the element's subtree holds some but not all member nodes; elements at or
above the perimeter's top hold all of them. Perimeters may have any shape.
"""

import numpy as np

from flexcore.kernels._jit import I32, I32_OUT, kernel


@kernel(I32, I32, I32, I32, I32_OUT, I32_OUT, I32_OUT)
def count_pairs(parent, last, member_ptr, member, top_out, count_out, seen_out):
    """Find the top of each perimeter and count its open pairs; members of one perimeter ascend in preorder.

    `top_out` is the lowest element whose subtree holds all members, -1 if the members lie in several trees or there
    are none.
    """
    for i in range(parent.shape[0]):
        seen_out[i] = -1
    for k in range(member_ptr.shape[0] - 1):
        lo = member_ptr[k]
        hi = member_ptr[k + 1]
        count_out[k] = 0
        top_out[k] = -1
        if lo == hi:
            continue
        top = member[lo]
        while top >= 0 and last[top] <= member[hi - 1]:
            top = parent[top]
        top_out[k] = top
        count = np.int64(0)
        for p in range(lo, hi):
            i = member[p]
            while i >= 0 and i != top and seen_out[i] != k:
                seen_out[i] = k
                count += 1
                i = parent[i]
        count_out[k] = count


@kernel(I32, I32, I32, I32, I32, I32_OUT, I32_OUT)
def list_pairs(parent, top, member_ptr, member, pair_ptr, element_out, seen_out):
    """Write the elements of the open pairs of each perimeter, in no order within the perimeter."""
    for i in range(parent.shape[0]):
        seen_out[i] = -1
    for k in range(member_ptr.shape[0] - 1):
        at = np.int64(pair_ptr[k])
        for p in range(member_ptr[k], member_ptr[k + 1]):
            i = member[p]
            while i >= 0 and i != top[k] and seen_out[i] != k:
                seen_out[i] = k
                element_out[at] = i
                at += 1
                i = parent[i]


@kernel(I32, I32, I32, I32, I32, I32, I32_OUT, I32_OUT, I32_OUT)
def link_pairs(parent, top, member_ptr, member, pair_ptr, pair_element, up_out, own_out, slot_out):
    """Point each pair to the pair of the same perimeter one element up (-1 below the top), each member to its pair."""
    for k in range(member_ptr.shape[0] - 1):
        for p in range(pair_ptr[k], pair_ptr[k + 1]):
            i = pair_element[p]
            slot_out[i] = p
            above = parent[i]
            up_out[p] = -1 if above < 0 or above == top[k] else slot_out[above]
        for q in range(member_ptr[k], member_ptr[k + 1]):
            own_out[member[q]] = -1 if member[q] == top[k] else slot_out[member[q]]
