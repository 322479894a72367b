"""Nested limits from their definition: what the worst dispatch within caps and group limits does to every row."""

import numpy as np
from scipy.optimize import linprog

from tests.reference.grid_capability import Case, _effects

Groups = list[tuple[set[int], float]]


def _limits(case: Case, members: list[int], caps: list[float], groups: Groups) -> tuple[list[list[float]], list[float]]:
    rows = [[float(case.label[p] == k) for p in members] for k in range(case.n_perimeters)]
    rows += [[float(case.label[p] in inside) for p in members] for inside, _ in groups]
    return rows, [*caps, *(limit for _, limit in groups)]


def worst_rows(case: Case, caps: list[float], groups: Groups) -> tuple[list[float], list[float]]:
    """Largest value of each thermal and voltage row over all dispatches within caps and group limits."""
    members = [j for j in range(case.n) if case.label[j] >= 0]
    rows, rooms = _limits(case, members, caps, groups)
    bounds = [(0.0, case.power[p]) for p in members]
    worst = []
    for row in _effects(case, members)[0]:
        answer = linprog([-a for a in row], A_ub=rows, b_ub=rooms, bounds=bounds)
        assert answer.status == 0
        worst.append(-answer.fun)
    return worst[: case.n], worst[case.n :]


def largest_total(case: Case, caps: list[float], groups: Groups) -> float:
    """Largest sum of totals per perimeter that the published limits admit."""
    return limited_total(np.minimum(caps, [case.total(k) for k in range(case.n_perimeters)]), groups)


def limited_total(caps: np.ndarray, groups: Groups) -> float:
    """Largest sum below caps and group limits."""
    groups = [(inside, limit) for inside, limit in groups if np.isfinite(limit)]
    rows = [[float(k in inside) for k in range(len(caps))] for inside, _ in groups]
    bounds = [(0.0, float(cap)) for cap in caps]
    answer = linprog(-np.ones(len(caps)), A_ub=rows or None, b_ub=[limit for _, limit in groups] or None, bounds=bounds)
    assert answer.status == 0
    return float(-answer.fun)


def is_laminar(groups: Groups) -> bool:
    """Any two groups lie one inside the other or apart."""
    sets = [inside for inside, _ in groups]
    return all(a <= b or b <= a or not a & b for a in sets for b in sets)
