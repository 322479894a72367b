"""Connected pieces of a tree, the largest sum that is safe in them, and how much one more cut could add.

A *scene* is one step and one direction. Arrays over scenes are (scene, node), the tree is in depth-first preorder with
one root. A piece is what hangs below its top and above the cuts; what is cut off *hangs* at the node above the cut
and brings the largest sum of its own. All limits are those of branches.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64_2D, F64_2D_OUT, F64_OUT, I32, I32_OUT, U8, i64, kernel
from flexcore.kernels.grid.max_total import best_cap


@kernel(I32, I32, U8, i64, I32_OUT, I32_OUT, I32_OUT, I32_OUT, I32_OUT, I32_OUT)
def list_piece(parent, last, is_cut, top, place, element_out, up_out, hang_out, hang_at_out, count_out):
    """List the nodes of the piece below `top`, each with its parent's position in the list, and what hangs where."""
    n = 0
    n_hang = 0
    i = top
    while i < last[top]:
        if i != top and is_cut[i]:
            hang_out[n_hang] = i
            hang_at_out[n_hang] = place[parent[i]]
            n_hang += 1
            i = np.int64(last[i])
        else:
            element_out[n] = i
            place[i] = n
            up_out[n] = place[parent[i]] if i != top else -1
            n += 1
            i += 1
    count_out[0] = n
    count_out[1] = n_hang


@kernel(I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_OUT, i64, i64)
def piece_values(element, up, hang_at, hung, room, power, value_out, s0, s1):
    """Find the largest sum that is safe at the top of a piece, with all that hangs below, for scenes s0..s1.

    Elements that take all that could reach them are left out of the search, their share passes to the next above.
    """
    n = element.shape[0]
    n_hang = hang_at.shape[0]
    total = np.empty(n)
    waiting = np.empty(n)
    near = np.empty(n, np.int32)
    source = np.empty(n)
    below = np.empty(n)
    head = np.empty(n)
    pair_up = np.empty(n, np.int32)
    same = np.arange(n, dtype=np.int32)
    flow = np.empty(n)
    slope = np.empty(n)
    ratio = np.empty(n)
    for s in range(s0, s1):
        for j in range(n):
            total[j] = power[s, element[j]]
            waiting[j] = 0.0
        for h in range(n_hang):
            waiting[hang_at[h]] += hung[h, s]
        limit = math.inf
        for j in range(n - 1, -1, -1):
            if up[j] >= 0:
                total[up[j]] += total[j]
                waiting[up[j]] += waiting[j]
            free = max(room[s, element[j]], 0.0)
            if total[j] > free:
                limit = min(limit, free)
        limit = min(limit, total[0])
        top_room = max(room[s, element[0]], 0.0)
        if waiting[0] == 0.0:
            value_out[s] = min(limit, top_room)
            continue
        n_kept = 0
        for j in range(n):
            above = near[up[j]] if up[j] >= 0 else -1
            free = max(room[s, element[j]], 0.0)
            if waiting[j] > 0.0 and total[j] + waiting[j] > free:
                below[n_kept] = total[j]
                head[n_kept] = free
                source[n_kept] = 0.0
                pair_up[n_kept] = above
                near[j] = n_kept
                n_kept += 1
            else:
                near[j] = above
        passing = 0.0
        for h in range(n_hang):
            if near[hang_at[h]] >= 0:
                source[near[hang_at[h]]] += hung[h, s]
            else:
                passing += hung[h, s]
        best = limit
        if n_kept:
            _, best = best_cap(limit, 0, n_kept, same, pair_up, below, head, source, flow, slope, ratio)
        value_out[s] = min(best + passing, top_room)


@kernel(I32, I32, I32, F64_2D, F64_2D, F64_2D, F64_2D, F64_2D_OUT, i64, i64)
def cut_bounds(element, up, hang_at, hung, room, power, value, gain_out, s0, s1):
    """Bound what a cut above each element adds to the largest sum of its piece, (scene, element), for scenes s0..s1.

    Both halves taken alone cannot do better than min{h : B > h} over the elements that stay in them, each plus what
    hangs; and the piece as a whole not better than its maximum flow. `value` is (1, scene): the sum without the cut.
    """
    n = element.shape[0]
    total = np.empty(n)
    most = np.empty(n)
    waiting = np.empty(n)
    least = np.empty(n)
    first = np.empty(n)
    second = np.empty(n)
    first_at = np.empty(n, np.int32)
    outside = np.empty(n)
    tight_above = np.empty(n, np.int32)
    for s in range(s0, s1):
        for j in range(n):
            total[j] = power[s, element[j]]
            most[j] = total[j]
            waiting[j] = 0.0
            first[j] = math.inf
            second[j] = math.inf
            first_at[j] = -1
        for h in range(hang_at.shape[0]):
            waiting[hang_at[h]] += hung[h, s]
            most[hang_at[h]] += hung[h, s]
        for j in range(n - 1, -1, -1):
            free = max(room[s, element[j]], 0.0)
            waiting[j] = min(waiting[j], free)
            most[j] = min(most[j], free)
            least[j] = min(first[j], free) if total[j] > free else first[j]
            u = up[j]
            if u >= 0:
                total[u] += total[j]
                waiting[u] += waiting[j]
                most[u] += most[j]
                if least[j] < first[u]:
                    second[u] = first[u]
                    first[u] = least[j]
                    first_at[u] = j
                else:
                    second[u] = min(second[u], least[j])
        gain_out[s, 0] = 0.0
        outside[0] = math.inf
        tight_above[0] = -1
        for j in range(1, n):
            u = np.int64(up[j])
            outside[j] = min(outside[u], second[u] if first_at[u] == j else first[u])
            tight_above[j] = u if total[u] > max(room[s, element[u]], 0.0) else tight_above[u]
            inner = min(total[j], least[j])
            outer = min(total[0] - total[j], outside[j])
            a = np.int64(tight_above[j])
            while a >= 0:
                free = max(room[s, element[a]], 0.0)
                if total[a] - total[j] > free:
                    outer = min(outer, free)
                a = np.int64(tight_above[a])
            gain_out[s, j] = max(min(inner + outer + waiting[0], most[0]) - value[0, s], 0.0)
