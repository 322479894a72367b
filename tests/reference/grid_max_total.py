"""Largest sum of jointly safe caps from its definition: a mixed-integer programme with one binary for each min."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.reference.grid_capability import Case, preorder, random_case
from tests.reference.grid_value import largest_value


def largest_total(case: Case) -> float:
    """Maximise the sum of C with z_ik >= min(C_k, B_ik), one binary for each min, and all rows on the sums of z."""
    n, n_k = case.n, case.n_perimeters
    most = [case.total(k) for k in range(n_k)]
    pairs = [(i, k) for i in range(n) for k in range(n_k) if case.below(i, k) > 0]
    size = n_k + 2 * len(pairs)
    rows, lo, hi = [], [], []
    flow = np.zeros((n, size))
    for at, (i, k) in enumerate(pairs):
        z, filled = n_k + at, n_k + len(pairs) + at
        flow[i, z] = 1.0
        row = np.zeros(size)  # z >= C - most * filled
        row[[z, k, filled]] = 1.0, -1.0, most[k]
        rows.append(row)
        row = np.zeros(size)  # z >= B * filled
        row[[z, filled]] = 1.0, -case.below(i, k)
        rows.append(row)
        lo += [0.0, 0.0]
        hi += [np.inf, np.inf]
    for i in range(n):
        for row, room in ((flow[i], case.head[i]), (sum(case.m[j] * flow[j] for j in case.path(i)), case.room[i])):
            if room < np.inf:
                rows.append(row)
                lo.append(-np.inf)
                hi.append(max(room, 0.0))
    upper = np.concatenate([most, [most[k] for _, k in pairs], np.ones(len(pairs))])
    problem = {
        "c": np.concatenate([-np.ones(n_k), np.zeros(size - n_k)]),
        "constraints": LinearConstraint(np.array(rows), lo, hi) if rows else None,
        "bounds": Bounds(0.0, upper),
        "integrality": np.concatenate([np.zeros(size - len(pairs)), np.ones(len(pairs))]),
    }
    answer = milp(**problem, options={"mip_rel_gap": 0.0})
    if answer.status != 0:  # the solver's presolve gives up on some of the smallest cases
        answer = milp(**problem, options={"mip_rel_gap": 0.0, "presolve": False})
    if answer.status != 0:  # and, once in a thousand of them, so does the solver
        return largest_value(case, [1.0] * n_k)
    return float(-answer.fun)


def cut_into_pieces(case: Case, cuts: set[int]) -> Case:
    """The same case with one perimeter for each connected piece below a root or a cut."""
    piece = []
    for i in range(case.n):
        piece.append(i if case.parent[i] < 0 or i in cuts else piece[case.parent[i]])
    names = sorted(set(piece))
    return Case(case.parent, case.m, case.power, [names.index(p) for p in piece], case.head, case.room)


def random_connected_case(rng: np.random.Generator, n: int, *, voltage: bool, cut: float = 0.35) -> Case:
    """A small forest cut into connected perimeters."""
    case = random_case(rng, n, 1, voltage=voltage)
    case.head = [max(head, -1.0) for head in case.head]
    assert preorder(case.parent)[1] == case.parent
    return cut_into_pieces(case, {i for i in range(n) if rng.random() < cut})
