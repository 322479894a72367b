"""The least cut under linear rows, one step at a time, as an LP with every row written out."""

import numpy as np
from scipy.optimize import linprog


def least_cut_w(parent, rows, step, node, direction, award_w):
    """Least total power to be taken from the awards so that all rows of the outcome hold; None if no cut does it.

    To cut an upward award lowers y of every branch on the path from its node to the root.
    """
    n = len(parent)
    below = np.zeros((n, len(node)))  # branch k carries award i
    for i, at in enumerate(node):
        k = at
        while k >= 0:
            below[k, i] = 1.0
            k = parent[k]
    effect = below * np.where(np.asarray(direction) == 0, -1.0, 1.0)  # y in kW for a cut in kW
    lift = np.zeros((n, len(node)))
    for j in range(n):
        k = j
        while k >= 0:
            lift[j] += rows.m[k] * effect[k]
            k = parent[k]
    a, b = [], []
    for matrix, low, high in ((effect, rows.lower_kw, rows.upper_kw), (lift, rows.w_lower, rows.w_upper)):
        for k in range(n):
            if np.isfinite(high[k, step]):
                a.append(matrix[k])
                b.append(high[k, step])
            if np.isfinite(low[k, step]):
                a.append(-matrix[k])
                b.append(-low[k, step])
    bounds = [(0.0, w / 1000.0) for w in award_w]
    answer = linprog(np.ones(len(node)), A_ub=np.array(a), b_ub=np.array(b), bounds=bounds, method="highs")
    return None if answer.status == 2 else 1000.0 * answer.fun
