"""Local prices, pay-as-clear and pro-rata from their rule text: loops over elements and offers, no order of passes."""

from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

INF = float("inf")


def path(parent, i):
    """Elements from i up to the child of its root."""
    while parent[i] >= 0:
        yield i
        i = parent[i]


def net(parent, node, down, accepted):
    y = [0] * len(parent)
    for o, where in enumerate(node):
        for i in path(parent, where):
            y[i] += -int(accepted[o]) if down[o] else int(accepted[o])
    return y


def held_rows(lower, upper, y):
    """Bounds as the selection kept them: what was served of a need may not shrink, a violated row may not get worse."""
    low = [min(a, v) if a > 0 else a for a, v in zip(lower, y, strict=True)]
    high = [max(b, v) if b < 0 else b for b, v in zip(upper, y, strict=True)]
    return low, high


def counted_prices(parent, node, price, quantity, allowed):
    """Prices raised per feeder so that its cheapest offer counts at least one micro-EUR/MWh (OFR-03)."""
    feeder = [[-1, *path(parent, i)][-1] for i in node]
    result, raised = [], {}
    for o, f in enumerate(feeder):
        live = [price[k] for k in range(len(node)) if feeder[k] == f and quantity[k] > 0 and allowed[k]]
        raised[f] = max(0, 1 - min(live)) if live else 0
        result.append(int(price[o]) + raised[f])
    return result, raised


def local_prices(parent, lower, upper, node, down, price, quantity, accepted, allowed=None):
    """Least and greatest value of one W of up at each element, None where no prices support the feeder.

    Pulled together from every offer and every row until nothing moves any more.
    """
    n, k = len(parent), len(node)
    allowed = [True] * k if allowed is None else allowed
    y = net(parent, node, down, accepted)
    counted, _ = counted_prices(parent, node, price, quantity, allowed)
    least, most = [-INF] * n, [INF] * n
    for i in range(n):
        if parent[i] < 0:
            least[i] = most[i] = 0
    for o in range(k):
        if quantity[o] <= 0 or not allowed[o] or parent[node[o]] < 0:
            continue
        value = -counted[o] if down[o] else counted[o]
        taken, left = accepted[o] > 0, accepted[o] < quantity[o]
        if (taken and not down[o]) or (left and down[o]):
            least[node[o]] = max(least[node[o]], value)
        if (left and not down[o]) or (taken and down[o]):
            most[node[o]] = min(most[node[o]], value)
    low, high = held_rows(lower, upper, y)
    for _ in range(2 * n + 1):
        for j in range(n):
            i = parent[j]
            if i < 0:
                continue
            if y[j] != low[j]:  # the price may not rise into j
                most[j] = min(most[j], most[i])
                least[i] = max(least[i], least[j]) if parent[i] >= 0 else 0
            if y[j] != high[j]:  # nor fall
                least[j] = max(least[j], least[i])
                most[i] = min(most[i], most[j]) if parent[i] >= 0 else 0
    feeder = [[-1, *path(parent, i)][-1] for i in range(n)]
    broken = {feeder[i] for i in range(n) if least[i] > most[i]}
    return [None if feeder[i] in broken else (least[i], most[i]) for i in range(n)]


def least_cost(parent, low, high, node, down, counted, quantity, allowed, shift_at=None, shift=0):
    """Least counted cost under bounds on y, by HiGHS, None if there is no answer; one element may ask for W more."""
    k = len(node)
    extra = [0] * len(parent)
    if shift_at is not None:
        for i in path(parent, shift_at):
            extra[i] = shift
    a, b = [], []
    for i in range(len(parent)):
        if parent[i] < 0:
            continue
        row = [(-1 if down[o] else 1) if i in path(parent, node[o]) else 0 for o in range(k)]
        if high[i] < 2**60:
            a.append(row)
            b.append(high[i] + extra[i])
        if low[i] > -(2**60):
            a.append([-x for x in row])
            b.append(-low[i] - extra[i])
    most = [int(q) if ok and parent[i] >= 0 else 0 for q, ok, i in zip(quantity, allowed, node, strict=True)]
    if k == 0:
        return 0 if all(x >= 0 for x in b) else None
    answer = linprog(
        counted, np.array(a) if a else None, np.array(b) if b else None, bounds=[(0, q) for q in most],
        method="highs-ds",
    )  # fmt: skip
    if answer.status == 2:
        return None
    assert answer.status == 0
    return round(answer.fun)


def pay_as_clear(zone, down, price, accepted):
    """Per (zone, direction): the dearest accepted price."""
    result = {}
    for o in range(len(zone)):
        if accepted[o] > 0:
            key = (zone[o], bool(down[o]))
            result[key] = max(result.get(key, price[o]), price[o])
    return result


def share(total, quantity, granularity):
    """Largest remainder on a grid of W, in the order given; None if the grids cannot carry the total."""
    whole = sum(quantity)
    exact = [Fraction(total * q, whole) for q in quantity]
    parts = [int(x // g) * g for x, g in zip(exact, granularity, strict=True)]
    missing = total - sum(parts)
    order = sorted(range(len(parts)), key=lambda o: (-(exact[o] - parts[o]), o))
    given = True
    while missing > 0 and given:
        given = False
        for o in order:
            if granularity[o] <= missing and parts[o] + granularity[o] <= quantity[o]:
                parts[o] += granularity[o]
                missing -= granularity[o]
                given = True
    return None if missing else parts


def fill(total, members, quantity, room):
    """Share a total among members; a set that would get more than its room is filled to it, the tightest first.

    `room` is a list of (members, most W); sets nest. Returns W per member.
    """
    parts = dict(zip(members, share(total, [quantity[o] for o in members], [1] * len(members)), strict=True))
    passed = [
        (Fraction(most, sum(quantity[o] for o in below)), k)
        for k, (below, most) in enumerate(room)
        if below and sum(parts[o] for o in below) > most
    ]
    if not passed:
        return parts
    _, k = min(passed)
    below, most = room[k]
    inside = [(under, cap) for under, cap in room if under < below]
    outside = [(under - below, cap - most if under > below else cap) for under, cap in room if not under <= below]
    rest = [o for o in members if o not in below]
    return fill(most, [o for o in members if o in below], quantity, inside) | fill(
        total - most, rest, quantity, outside
    )
