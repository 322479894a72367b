"""What happens when everything moves that can: if no row is exceeded, nobody's capability is less than that.

Most perimeters are free most of the time, and to find that out takes three passes over the rows, eight steps at once,
where sharing takes many, one step at a time.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D, F64_2D_OUT, I32, U8, U8_2D_OUT, f64, i64, kernel
from flexcore.kernels._simd import WIDTH, load, load_some, spread, store, store_some, where_less
from flexcore.kernels.grid.lanes import LANES

# runs of lanes in a work row: room of the branch, room of the path sum (later of everything from here to the root)
_HEAD, _PATH, _SUM = (k * LANES for k in range(3))
# in the first spare row: 1 while no row is exceeded; total of a perimeter, and its margin
_FREE, _TOTAL, _MARGIN = (k * LANES for k in range(3))
# a row must hold with this much to spare: sums in another order differ in their last bits
_DUST = 1e-12


@kernel(I32, I32, U8, I32, F64_2D, F64_2D_OUT, i64, i64, i64)
def carried(order, parent, counts, trees, power, carried_out, width, job0, job1):
    """Sum the power of the nodes that count over subtrees; job = tree times block of steps, trees start at `trees`.

    Power is in node order, the sums are in preorder.
    """
    n_steps = power.shape[1]
    n_blocks = (n_steps + width - 1) // width
    for job in range(job0, job1):
        tree = job // n_blocks
        t0 = (job % n_blocks) * width
        w = min(n_steps - t0, width)
        for i in range(trees[tree + 1] - 1, trees[tree] - 1, -1):
            n = np.int64(order[i])
            for t in range(0, w, WIDTH):
                own = load_some(power, n, t0 + t, w - t) if counts[i] else spread(0.0)
                store_some(carried_out, i, t0 + t, w - t, own)
        for i in range(trees[tree + 1] - 1, trees[tree], -1):
            k = np.int64(parent[i])
            for t in range(0, w, WIDTH):
                above = load_some(carried_out, k, t0 + t, w - t) + load_some(carried_out, i, t0 + t, w - t)
                store_some(carried_out, k, t0 + t, w - t, above)


@kernel(
    I32, I32, I32, F64, F64, F64, f64, F64_2D, F64_2D, F64_2D, F64_2D, I32, I32, I32, I32, I32, I32, I32, I32, I32, i64,
    F64_2D_OUT, F64_2D_OUT, F64_2D_OUT, U8_2D_OUT, i64, i64,
)  # fmt: skip
def full_use(
    order, parent, trees, m, per_path_m, allowed, sign, power, bound, path_bound, carried_kw, tree_ptr, tree_perimeter,
    top, pair_ptr, pair_element, pair_up, member_ptr, member, member_pair, width, scratch, total_out,
    margin_out, free_out, job0, job1,
):  # fmt: skip
    """Check the rows of one direction, and find what each perimeter holds and could add; job as in `carried`.

    Power and bounds are in node order, all else is in preorder. `per_path_m` is 1 over the sum of m from the root, 0
    where that is 0. Of tree j the perimeters `tree_perimeter[tree_ptr[j]:tree_ptr[j + 1]]` lie wholly inside it.
    `free_out` (tree, step): 1 where no row of the tree is exceeded.
    """
    n_steps = power.shape[1]
    n_blocks = (n_steps + width - 1) // width
    s = scratch
    spare = s.shape[0] - 1
    for job in range(job0, job1):
        tree = job // n_blocks
        t0 = (job % n_blocks) * width
        w = min(n_steps - t0, width)
        i0 = np.int64(trees[tree])
        i1 = np.int64(trees[tree + 1])
        # the least room of a path sum in each subtree
        for i in range(i1 - 1, i0 - 1, -1):
            n = np.int64(order[i])
            j = i - i0
            for t in range(0, w, WIDTH):
                room = sign * load_some(path_bound, n, t0 + t, w - t)
                room = where_less(room, 0.0, 0.0, room) + allowed[i]
                store(s, j, _PATH + t, room)
        for i in range(i1 - 1, i0, -1):
            j = i - i0
            k = parent[i] - i0
            for t in range(0, w, WIDTH):
                own = load(s, j, _PATH + t)
                above = load(s, k, _PATH + t)
                store(s, k, _PATH + t, where_less(own, above, own, above))
        for t in range(0, w, WIDTH):
            store(s, spare, _FREE + t, spread(1.0))
        for i in range(i0, i1):
            n = np.int64(order[i])
            j = i - i0
            k = parent[i] - i0 if i > i0 else 0
            for t in range(0, w, WIDTH):
                g = load_some(carried_kw, i, t0 + t, w - t)
                path = m[i] * g
                if i > i0:
                    path = path + load(s, k, _SUM + t)
                store(s, j, _SUM + t, path)
                head = sign * load_some(bound, n, t0 + t, w - t)
                head = where_less(head, 0.0, 0.0, head)
                room = load(s, j, _PATH + t)
                free = load(s, spare, _FREE + t)
                free = where_less(head, g * (1.0 + _DUST), 0.0, free)
                store(s, spare, _FREE + t, where_less(room, path * (1.0 + _DUST), 0.0, free))
                store(s, j, _HEAD + t, head - g)
                store(s, j, _PATH + t, room - path)
        # what is added below a node reaches all of its subtree through the path that they share: the least roomy counts
        for i in range(i1 - 1, i0, -1):
            j = i - i0
            k = parent[i] - i0
            for t in range(0, w, WIDTH):
                own = load(s, j, _PATH + t)
                above = load(s, k, _PATH + t)
                store(s, k, _PATH + t, where_less(own, above, own, above))
        for i in range(i0, i1):
            j = i - i0
            k = parent[i] - i0 if i > i0 else 0
            for t in range(0, w, WIDTH):
                head = load(s, j, _HEAD + t)
                head = where_less(head, 0.0, 0.0, head)
                if per_path_m[i] > 0.0:
                    path = load(s, j, _PATH + t)
                    path = where_less(path, 0.0, 0.0, path) * per_path_m[i]
                    head = where_less(path, head, path, head)
                store(s, j, _HEAD + t, head)
                if i > i0:
                    above = load(s, k, _PATH + t)
                    head = where_less(above, head, above, head)
                store(s, j, _PATH + t, head)
        for at in range(tree_ptr[tree], tree_ptr[tree + 1]):
            k = np.int64(tree_perimeter[at])
            first = np.int64(pair_ptr[k])
            row = i1 - i0 - first
            for p in range(first, pair_ptr[k + 1]):
                for t in range(0, w, WIDTH):
                    store(s, p + row, t, spread(0.0))
            for t in range(0, w, WIDTH):
                store(s, spare, _TOTAL + t, spread(0.0))
            for q in range(member_ptr[k], member_ptr[k + 1]):
                n = np.int64(member[q])
                p = np.int64(member_pair[q])
                for t in range(0, w, WIDTH):
                    own = load_some(power, n, t0 + t, w - t)
                    if p >= 0:
                        store(s, p + row, t, load(s, p + row, t) + own)
                    else:
                        store(s, spare, _TOTAL + t, load(s, spare, _TOTAL + t) + own)
            for t in range(0, w, WIDTH):
                store(s, spare, _MARGIN + t, load(s, top[k] - i0, _PATH + t))
            for p in range(np.int64(pair_ptr[k + 1]) - 1, first - 1, -1):
                up = np.int64(pair_up[p])
                j = pair_element[p] - i0
                for t in range(0, w, WIDTH):
                    below = load(s, p + row, t)
                    if up >= 0:
                        store(s, up + row, t, load(s, up + row, t) + below)
                    else:
                        store(s, spare, _TOTAL + t, load(s, spare, _TOTAL + t) + below)
                    margin = load(s, spare, _MARGIN + t)
                    here = where_less(0.0, below, load(s, j, _HEAD + t), math.inf)
                    store(s, spare, _MARGIN + t, where_less(here, margin, here, margin))
            for t in range(0, w, WIDTH):
                store_some(total_out, k, t0 + t, w - t, load(s, spare, _TOTAL + t))
                # who cannot act meets no limit
                margin = where_less(0.0, load(s, spare, _TOTAL + t), load(s, spare, _MARGIN + t), math.inf)
                store_some(margin_out, k, t0 + t, w - t, margin)
        for t in range(w):
            free_out[tree, t0 + t] = 1 if s[spare, _FREE + t] > 0.0 else 0
