"""Best and pro rata dispatch from their definitions: a linear programme in (x, y, W), and one common share."""

import numpy as np
from scipy.optimize import linprog

from tests.reference.grid_capability import Case, carried, path_sums


def most_by_lp(case: Case, perimeters: set[int]) -> float:
    """Largest total of x where flows y_i = x_i + sum of y below and path sums W_i = W_up + m_i y_i fit."""
    n = case.n
    x, y, w = range(n), range(n, 2 * n), range(2 * n, 3 * n)
    equal = []
    for i in range(n):
        row = np.zeros(3 * n)
        row[[x[i], y[i]]] = 1.0, -1.0
        row[[y[j] for j in range(n) if case.parent[j] == i]] = 1.0
        equal.append(row)
        row = np.zeros(3 * n)
        row[[w[i], y[i]]] = 1.0, -case.m[i]
        if case.parent[i] >= 0:
            row[w[case.parent[i]]] = -1.0
        equal.append(row)
    bounds = [(0.0, case.power[i] if case.label[i] in perimeters else 0.0) for i in range(n)]
    bounds += [(0.0, max(room, 0.0)) for room in (*case.head, *case.room)]
    answer = linprog([-1.0] * n + [0.0] * 2 * n, A_eq=equal, b_eq=np.zeros(2 * n), bounds=bounds)
    assert answer.status == 0
    return float(-answer.fun)


def pro_rata(case: Case, k: int) -> float:
    """Total of perimeter k when all its nodes move the largest common share that keeps every row."""
    alone = [case.total(k) if j == k else 0.0 for j in range(case.n_perimeters)]
    share = 1.0
    for rooms, used in ((case.head, carried(case, alone)), (case.room, path_sums(case, alone))):
        share = min([share, *(max(room, 0.0) / use for room, use in zip(rooms, used, strict=True) if use > 0)])
    return share * case.total(k)
