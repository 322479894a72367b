"""Orders a radial network depth first and follows ratios from each root to its leaves."""

import numpy as np

from flexcore.kernels._jit import F64, F64_OUT, I32, I32_OUT, U8, U8_OUT, kernel


@kernel(I32, I32, U8, I32, I32_OUT, I32_OUT, I32_OUT, I32_OUT, I32_OUT, U8_OUT, I32_OUT)
def depth_first(
    branch_from,
    branch_to,
    is_root,
    roots,
    order_out,
    rank_out,
    parent_out,
    branch_out,
    last_out,
    extra_out,
    visited_out,
):
    """Walk every tree from its root and number the nodes in preorder, so that a subtree is one contiguous range.

    A branch that leads to a node already met is marked in `extra_out`: 1 closes a loop, 2 reaches a second root. The
    tree that was walked stays valid, so the caller can name the loop. `visited_out[0]` counts the nodes reached.
    """
    n = order_out.shape[0]
    m = branch_from.shape[0]
    start = np.zeros(n + 1, np.int32)
    for e in range(m):
        start[branch_from[e] + 1] += 1
        start[branch_to[e] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    fill = start.copy()
    via = np.empty(2 * m, np.int32)
    for e in range(m):
        f = branch_from[e]
        t = branch_to[e]
        via[fill[f]] = e
        fill[f] += 1
        via[fill[t]] = e
        fill[t] += 1
        extra_out[e] = 0
    seen = np.zeros(n, np.uint8)
    for r in range(roots.shape[0]):
        seen[roots[r]] = 1
    # one entry per node at most: a node is marked when it is pushed
    stack_node = np.empty(n, np.int32)
    stack_parent = np.empty(n, np.int32)
    stack_branch = np.empty(n, np.int32)
    for i in range(n):
        rank_out[i] = -1
    count = np.int64(0)
    for r in range(roots.shape[0]):
        top = np.int64(1)
        stack_node[0] = roots[r]
        stack_parent[0] = -1
        stack_branch[0] = -1
        while top > 0:
            top -= 1
            node = stack_node[top]
            order_out[count] = node
            rank_out[node] = count
            parent_out[count] = stack_parent[top]
            branch_out[count] = stack_branch[top]
            fed_by = stack_branch[top]
            # pushed in reverse, so that branches are followed in the order of the table
            for k in range(start[node + 1] - 1, start[node] - 1, -1):
                e = via[k]
                if e == fed_by:
                    continue
                other = branch_to[e] if branch_from[e] == node else branch_from[e]
                if seen[other]:
                    if is_root[other] and other != roots[r]:
                        extra_out[e] = 2
                    elif extra_out[e] == 0:  # the far end may have marked it as a second root already
                        extra_out[e] = 1
                    continue
                seen[other] = 1
                stack_node[top] = other
                stack_parent[top] = count
                stack_branch[top] = e
                top += 1
            count += 1
    visited_out[0] = count
    for i in range(count):
        last_out[i] = i + 1
    for i in range(count - 1, -1, -1):
        k = parent_out[i]
        if k >= 0 and last_out[i] > last_out[k]:
            last_out[k] = last_out[i]


@kernel(I32, I32, U8, I32, U8_OUT)
def lightest_tree(branch_from, branch_to, is_root, by_weight, kept_out):
    """Keep branches in the order `by_weight` unless they close a loop, all roots being one node (Kruskal's rule)."""
    n = is_root.shape[0]
    above = np.empty(n, np.int32)
    first_root = np.int32(-1)
    for i in range(n):
        above[i] = i
        if is_root[i]:
            if first_root < 0:
                first_root = i
            above[i] = first_root
    for k in range(by_weight.shape[0]):
        e = by_weight[k]
        a = branch_from[e]
        b = branch_to[e]
        while above[a] != a:
            above[a] = above[above[a]]
            a = above[a]
        while above[b] != b:
            above[b] = above[above[b]]
            b = above[b]
        kept_out[e] = 1 if a != b else 0
        above[b] = a


@kernel(I32, F64, F64, F64, F64, F64_OUT, F64_OUT, F64_OUT, F64_OUT)
def path_products(parent, ratio, shift_deg, v_root, angle_root_deg, tau_out, shift_out, u_root_out, angle_root_out):
    """Multiply squared ratios and add phase shifts from the root down; hand the root's voltage to its whole tree."""
    for i in range(parent.shape[0]):
        k = parent[i]
        if k < 0:
            tau_out[i] = 1.0
            shift_out[i] = 0.0
            u_root_out[i] = v_root[i] * v_root[i]
            angle_root_out[i] = angle_root_deg[i]
        else:
            tau_out[i] = tau_out[k] * (ratio[i] * ratio[i])
            shift_out[i] = shift_out[k] + shift_deg[i]
            u_root_out[i] = u_root_out[k]
            angle_root_out[i] = angle_root_out[k]
