"""Path prices from their rule: one voltage need in exact fractions, and all whole answers of a tiny case."""

from fractions import Fraction
from itertools import product

from tests.reference.market_clearing import path


def by_effect(parent, m, target, amount, node, down, quantity, price, way=1):
    """Serve one voltage need alone, cheapest per unit of effect first; returns (fractions of W, what stays open).

    `m` holds whole numbers, effect of 1 W through each branch; `amount` is in the same unit; ties go to the earlier.
    """
    on_path = list(path(parent, target))
    offers = []
    for o, at in enumerate(node):
        effect = sum(m[i] for i in path(parent, at) if i in on_path) * (-1 if down[o] else 1) * way
        if effect > 0:
            offers.append((Fraction(price[o], effect), Fraction(o + 1, effect), o, effect))
    taken = [Fraction(0)] * len(node)
    left = Fraction(amount)
    for _, _, o, effect in sorted(offers):
        taken[o] = min(Fraction(quantity[o]), left / effect)
        left -= taken[o] * effect
    return taken, left


def best_whole(parent, lower, upper, m, w_lower, w_upper, node, down, quantity, price):
    """Least (unserved W, cost) over all whole answers that break no row; voltage gaps in W at the node itself."""
    best = None
    for x in product(*(range(q + 1) for q in quantity)):
        y = dict.fromkeys(range(len(parent)), 0)
        for o, at in enumerate(node):
            for i in path(parent, at):
                y[i] += -x[o] if down[o] else x[o]
        unserved, legal = Fraction(0), True
        for i in range(len(parent)):
            if parent[i] < 0:
                continue
            w = sum(m[e] * y[e] for e in path(parent, i))
            reach = sum(m[e] for e in path(parent, i))
            legal &= min(lower[i], 0) <= y[i] <= max(upper[i], 0) and min(w_lower[i], 0) <= w <= max(w_upper[i], 0)
            unserved += max(lower[i] - y[i], 0) if lower[i] > 0 else 0
            unserved += max(y[i] - upper[i], 0) if upper[i] < 0 else 0
            unserved += Fraction(max(w_lower[i] - w, 0), reach) if w_lower[i] > 0 else 0
            unserved += Fraction(max(w - w_upper[i], 0), reach) if w_upper[i] < 0 else 0
        if legal:
            value = (unserved, sum(p * q for p, q in zip(price, x, strict=True)))
            best = value if best is None else min(best, value)
    return best
