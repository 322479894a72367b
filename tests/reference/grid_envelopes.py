"""Weighted max-min limits from their definition: raise all at once, stop what an exhausted element holds."""

from tests.reference.grid_capability import Case


def fair(case: Case, weights: list[float]) -> list[float]:
    x = [0.0] * case.n
    rising = {p for p in range(case.n) if case.power[p] > 0}
    while rising:
        step = min((case.power[p] - x[p]) / weights[p] for p in rising)
        for i in range(case.n):
            inside = [p for p in range(case.n) if i in case.path(p)]
            speed = sum(weights[p] for p in inside if p in rising)
            if speed > 0:
                step = min(step, max(max(case.head[i], 0.0) - sum(x[p] for p in inside), 0.0) / speed)
        for p in rising:
            x[p] += step * weights[p]
        full = [
            i
            for i in range(case.n)
            if sum(x[p] for p in range(case.n) if i in case.path(p)) >= max(case.head[i], 0.0) - 1e-10
        ]
        rising = {p for p in rising if x[p] < case.power[p] - 1e-10 and not set(full) & set(case.path(p))}
    return x
