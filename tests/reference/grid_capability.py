"""Robust capability from its definition: loops, dictionaries, bisection and linear programmes. Slow and obvious.

A tree is a list of parents in depth-first preorder (-1 at a root). `power[i]` is what may move at node i, `label[i]`
its perimeter or -1, `head[i]` the room of the branch that feeds node i, `room[i]` that of the weighted path
sum at node i.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog


@dataclass
class Case:
    parent: list[int]
    m: list[float]
    power: list[float]
    label: list[int]
    head: list[float]
    room: list[float]

    @property
    def n(self) -> int:
        return len(self.parent)

    @property
    def n_perimeters(self) -> int:
        return max(self.label, default=-1) + 1

    def path(self, i: int) -> list[int]:
        found = []
        while i >= 0:
            found.append(i)
            i = self.parent[i]
        return found

    def below(self, i: int, k: int) -> float:
        return sum(self.power[j] for j in range(self.n) if self.label[j] == k and i in self.path(j))

    def total(self, k: int) -> float:
        return sum(self.power[j] for j in range(self.n) if self.label[j] == k)

    def last(self) -> list[int]:
        return [max(j for j in range(self.n) if i in self.path(j)) + 1 for i in range(self.n)]


def preorder(parent: list[int]) -> tuple[list[int], list[int]]:
    """Renumber a forest depth first: (order, parents in the new numbering)."""
    children: dict[int, list[int]] = {}
    for i, up in enumerate(parent):
        children.setdefault(up, []).append(i)
    order: list[int] = []

    def visit(i: int) -> None:
        order.append(i)
        for child in children.get(i, []):
            visit(child)

    for root in children[-1]:
        visit(root)
    rank = {i: at for at, i in enumerate(order)}
    return order, [rank[parent[i]] if parent[i] >= 0 else -1 for i in order]


def random_case(rng: np.random.Generator, n: int, n_perimeters: int, *, voltage: bool, thermal: bool = True) -> Case:
    """A small forest; some limits are absent, a few are violated already."""
    parent = [-1] + [int(rng.integers(-1 if rng.random() < 0.05 else 0, i)) for i in range(1, n)]
    _, parent = preorder(parent)
    roots = [up < 0 for up in parent]
    power = np.where(rng.random(n) < 0.8, rng.uniform(0.0, 4.0, n), 0.0)
    label = rng.integers(-1 if rng.random() < 0.3 else 0, n_perimeters, n)
    label[rng.integers(n)] = n_perimeters - 1
    head = np.where(rng.random(n) < 0.6, rng.uniform(0.0, 8.0, n), np.inf)
    head[rng.random(n) < 0.02] *= -1.0
    m = np.where(rng.random(n) < 0.9, rng.uniform(0.0, 1.0, n), 0.0)
    room = np.where(rng.random(n) < 0.7, rng.uniform(0.0, 15.0, n), np.inf)
    room[rng.random(n) < 0.01] *= -1.0
    if not thermal:
        head[:] = np.inf
    if not voltage:
        room[:] = np.inf
    head[roots], room[roots], m[roots] = np.inf, np.inf, 0.0
    return Case(parent, m.tolist(), power.tolist(), label.tolist(), head.tolist(), room.tolist())


def carried(case: Case, caps: list[float]) -> list[float]:
    """Worst flow increment per element: each perimeter puts as much below it as cap and power allow."""
    return [sum(min(cap, case.below(i, k)) for k, cap in enumerate(caps)) for i in range(case.n)]


def path_sums(case: Case, caps: list[float]) -> list[float]:
    g = carried(case, caps)
    return [sum(case.m[i] * g[i] for i in case.path(j)) for j in range(case.n)]


def is_safe(case: Case, caps: list[float], tol: float = 0.0) -> bool:
    """All rows hold; a row that the forecast violates already must not be touched at all."""
    g, w = carried(case, caps), path_sums(case, caps)
    return all(g[i] <= max(case.head[i], 0.0) + tol for i in range(case.n)) and all(
        w[j] <= max(case.room[j], 0.0) + tol for j in range(case.n)
    )


def alone(case: Case, k: int) -> float:
    """Largest total of one perimeter while no other moves, by bisection on the definition."""

    def safe(cap: float) -> bool:
        return is_safe(case, [cap if j == k else 0.0 for j in range(case.n_perimeters)], 1e-12)

    lo, hi = 0.0, case.total(k)
    if safe(hi):
        return hi
    for _ in range(60):
        mid = 0.5 * (lo + hi)
        lo, hi = (mid, hi) if safe(mid) else (lo, mid)
    return lo


def _effects(case: Case, members: list[int]) -> tuple[list[list[float]], list[float]]:
    """All rows over single nodes: how much a kW at each member adds, and the room of the row."""
    rows, rooms = [], []
    for i in range(case.n):
        rows.append([1.0 if i in case.path(p) else 0.0 for p in members])
        rooms.append(max(case.head[i], 0.0))
    for j in range(case.n):
        up = set(case.path(j))
        rows.append([sum(case.m[i] for i in case.path(p) if i in up) for p in members])
        rooms.append(max(case.room[j], 0.0))
    return rows, rooms


def alone_by_lp(case: Case, k: int) -> float:
    """Largest safe total: the smallest total of a dispatch that reaches the limit of a row it is able to exceed."""
    members = [j for j in range(case.n) if case.label[j] == k and case.power[j] > 0]
    best = case.total(k)
    for row, room in zip(*_effects(case, members), strict=True):
        if not np.isfinite(room) or sum(a * case.power[p] for a, p in zip(row, members, strict=True)) <= room:
            continue
        bounds = [(0.0, case.power[p]) for p in members]
        answer = linprog(np.ones(len(members)), A_ub=[[-a for a in row]], b_ub=[-room], bounds=bounds)
        assert answer.status == 0
        best = min(best, answer.fun)
    return best


def worst_rows_by_lp(case: Case, caps: list[float]) -> tuple[list[float], list[float]]:
    """Largest value of each thermal and voltage row over all dispatches within the caps."""
    members = [j for j in range(case.n) if case.label[j] >= 0]
    owner = [[1.0 if case.label[p] == k else 0.0 for p in members] for k in range(case.n_perimeters)]
    bounds = [(0.0, case.power[p]) for p in members]
    worst = []
    for row in _effects(case, members)[0]:
        answer = linprog([-a for a in row], A_ub=owner, b_ub=caps, bounds=bounds)
        assert answer.status == 0
        worst.append(-answer.fun)
    return worst[: case.n], worst[case.n :]


def filling(case: Case, weights: list[float] | None = None) -> list[float]:
    """Progressive filling from its definition: raise all that can still rise, by bisection on the common level."""
    top = [alone(case, k) for k in range(case.n_perimeters)]
    speed = top if weights is None else weights
    frozen: dict[int, float] = {k: 0.0 for k in range(case.n_perimeters) if top[k] <= 1e-11}

    def caps(level: float) -> list[float]:
        return [frozen.get(k, min(top[k], level * speed[k])) for k in range(case.n_perimeters)]

    level = 0.0
    while len(frozen) < case.n_perimeters:
        lo, hi = level, max(top[k] / speed[k] for k in range(case.n_perimeters) if k not in frozen)
        if is_safe(case, caps(hi), 1e-9):
            return caps(hi)
        for _ in range(60):
            mid = 0.5 * (lo + hi)
            lo, hi = (mid, hi) if is_safe(case, caps(mid), 1e-11) else (lo, mid)
        level = lo
        now = caps(level)
        for k in range(case.n_perimeters):
            raised = [cap + (1e-6 if j == k else 0.0) for j, cap in enumerate(now)]
            if k not in frozen and (now[k] >= top[k] or not is_safe(case, raised, 1e-11)):
                frozen[k] = now[k]
    return caps(level)


def most_below(case: Case) -> list[float]:
    """Maximum flow below each element: what the best informed dispatch could reach."""
    most = list(case.power)
    for i in range(case.n - 1, -1, -1):
        most[i] = min(most[i], max(case.head[i], 0.0))
        if case.parent[i] >= 0:
            most[case.parent[i]] += most[i]
    return most


def best_caps(case: Case) -> list[float]:
    """Totals per perimeter of one maximum flow, filled from the top down."""
    most = most_below(case)
    taken = [0.0] * case.n
    granted = [most[i] if case.parent[i] < 0 else 0.0 for i in range(case.n)]
    for i in range(case.n):
        taken[i] = min(case.power[i], granted[i])
        left = granted[i] - taken[i]
        for child in range(i + 1, case.n):
            if case.parent[child] == i:
                granted[child] = min(left, most[child])
                left -= granted[child]
    return [sum(taken[i] for i in range(case.n) if case.label[i] == k) for k in range(case.n_perimeters)]


def allowed_by_scan(p: float, q: float, slope: float, s_import: float, s_export: float) -> tuple[float, float] | None:
    """Connected range of y around, or nearest to, zero for which (p - y, q - slope y) is allowed, if any."""
    y = np.linspace(-30.0, 30.0, 120_001)
    p_at, q_at = p - y, q - slope * y
    size = np.hypot(p_at, q_at)
    allowed = np.where(p_at >= 0, size <= s_import, False) | np.where(p_at <= 0, size <= s_export, False)
    if not allowed.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], allowed.astype(int), [0]])))
    pieces = [(y[a], y[b - 1]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return min(pieces, key=lambda piece: max(piece[0], -piece[1], 0.0))
