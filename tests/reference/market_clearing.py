"""Local selection from the rule text (LFP-01, OFR-03): a dense LP in two stages over sets found by walking up."""

import numpy as np
from scipy.optimize import linprog

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def path(parent, i):
    """Elements from node i up to the child of its root."""
    while parent[i] >= 0:
        yield i
        i = parent[i]


def shifted(parent, node, price, least=1):
    """Prices as the order sees them: shifted so that the cheapest of a feeder counts `least`, where it counts less."""
    feeder = [[*path(parent, i)][-1:] for i in node]
    cheapest = [min(q for q, other in zip(price, feeder, strict=True) if other == mine) for mine in feeder]
    return [p + max(0, least - low) for p, low in zip(price, cheapest, strict=True)]


def select(parent, lower, upper, node, down, quantity, price, m=None, w_lower=None, w_upper=None, least_price=1):
    """Return (least unserved, least shifted cost, accepted) of one step; rows of roots do not count.

    Unserved: W of every need row plus, for voltage needs, the gap divided by the effect of one W at the node itself.
    """
    n, k = len(parent), len(node)
    below = [[o for o in range(k) if i in path(parent, node[o])] for i in range(n)]
    sign = [-1 if d else 1 for d in down]
    rows, bounds, needs = (
        [],
        [],
        [],
    )  # (coefficients, lo, hi) that are hard; needs: (coefficients, sign, amount, weight)

    def add(coefficients, lo, hi, weight):
        rows.append(coefficients)
        bounds.append((min(lo, 0), max(hi, 0)))
        if lo > 0:
            needs.append((coefficients, 1, lo, weight))
        if hi < 0:
            needs.append((coefficients, -1, -hi, weight))

    for i in range(n):
        if parent[i] < 0:
            continue
        thermal = np.zeros(k)
        thermal[below[i]] = [sign[o] for o in below[i]]
        add(thermal, lower[i], upper[i], 1.0)
        if m is not None:
            voltage = np.zeros(k)
            for e in path(parent, i):
                for o in below[e]:
                    voltage[o] += sign[o] * m[e]
            reach = sum(m[e] for e in path(parent, i))
            if reach > 0:
                add(voltage / reach, w_lower[i] / reach, w_upper[i] / reach, 1.0)
    a, b = [], []
    g = len(needs)
    for coefficients, (lo, hi) in zip(rows, bounds, strict=True):
        if hi < 1e17:
            a.append([*coefficients, *np.zeros(g)])
            b.append(hi)
        if lo > -1e17:
            a.append([*-coefficients, *np.zeros(g)])
            b.append(-lo)
    for j, (coefficients, way, amount, _) in enumerate(needs):
        gaps = np.zeros(g)
        gaps[j] = -1.0
        a.append([*(-way * coefficients), *gaps])
        b.append(-amount)
    if k + g == 0:
        return 0.0, 0.0, np.zeros(0)
    limits = [(0, q) for q in quantity] + [(0, None)] * g
    a, b = (np.array(a), np.array(b)) if a else (None, None)
    weights = [0.0] * k + [w for *_, w in needs]
    first = linprog(weights, a, b, bounds=limits, method="highs", options=TIGHT)
    assert first.status == 0
    cost = [*shifted(parent, node, price, least_price), *[0.0] * g]
    if g:
        a = np.vstack([a, weights])
        b = np.append(b, first.fun + 1e-9)
    second = linprog(cost, a, b, bounds=limits, method="highs", options=TIGHT)
    assert second.status == 0
    return first.fun, second.fun, second.x[:k]
