"""Most valuable caps from the definition: one linear programme for each choice of what min(C, B) is, in every order."""

from itertools import pairwise, product

import numpy as np
from scipy.optimize import linprog

from tests.reference.grid_capability import Case


def modes(case: Case) -> int:
    """How many linear programmes the exhaustive search takes."""
    return int(np.prod([len(_edges(case, k)) + 1 for k in range(case.n_perimeters)]))


def _edges(case: Case, k: int) -> list[float]:
    total = case.total(k)
    return sorted({b for i in range(case.n) if 0 < (b := case.below(i, k)) < total})


def largest_value(case: Case, values: list[float]) -> float:
    """Each cap lies between two neighbouring B of its perimeter; there every min is one of its two sides."""
    n, n_k = case.n, case.n_perimeters
    below = [[case.below(i, k) for k in range(n_k)] for i in range(n)]
    pieces = []
    for k in range(n_k):
        edges = [0.0, *_edges(case, k), case.total(k)]
        pieces.append(list(pairwise(edges)))
    best = 0.0
    for choice in product(*pieces):
        slopes = np.array([[float(below[i][k] >= choice[k][1]) for k in range(n_k)] for i in range(n)])
        fixed = np.array([sum(below[i][k] for k in range(n_k) if below[i][k] < choice[k][1]) for i in range(n)])
        rows, rooms = [], []
        for i in range(n):
            rows += [slopes[i], sum(case.m[j] * slopes[j] for j in case.path(i))]
            rooms += [
                max(case.head[i], 0.0) - fixed[i],
                max(case.room[i], 0.0) - sum(case.m[j] * fixed[j] for j in case.path(i)),
            ]
        kept = [r for r in range(2 * n) if np.isfinite(rooms[r])]
        answer = linprog(
            -np.array(values),
            A_ub=[rows[r] for r in kept] or None,
            b_ub=[rooms[r] + 1e-12 for r in kept] or None,
            bounds=list(choice),
        )
        if answer.status == 0:
            best = max(best, -answer.fun)
        else:
            assert answer.status == 2
    return float(best)
