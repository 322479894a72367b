"""Least cost under nested bounds from the rule text: offer by offer, every amount tried against bounds counted anew."""

from scipy.optimize import linprog

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def path(parent, i):
    """Elements from i up to its root."""
    while i >= 0:
        yield i
        i = parent[i]


def pieces(price, down):
    """Order in which pieces of y are bought: a down offer is one at minus its price, bought by not activating it."""
    worth = [-p if d else p for p, d in zip(price, down, strict=True)]
    order = sorted(range(len(price)), key=lambda o: (worth[o], not down[o], -o if down[o] else o))
    return worth, order


def least_carried(parent, lower, own):
    """The least each element must carry with the given amounts at the elements themselves."""
    carried = []
    for i in range(len(parent)):
        below = sum(least_carried_at(parent, lower, own, c) for c in range(len(parent)) if parent[c] == i)
        carried.append(max(lower[i], own[i] + below))
    return carried


def least_carried_at(parent, lower, own, i):
    """The same for one element."""
    below = sum(least_carried_at(parent, lower, own, c) for c in range(len(parent)) if parent[c] == i)
    return max(lower[i], own[i] + below)


def most_carried_at(parent, upper, own, offered, i):
    """The most an element can carry."""
    below = sum(most_carried_at(parent, upper, own, offered, c) for c in range(len(parent)) if parent[c] == i)
    return min(upper[i], own[i] + offered[i] + below)


def clear(parent, lower, upper, node, down, quantity, price):
    """Return accepted amounts, or None where the bounds cannot be met. Offers of one price come in order."""
    n, k = len(parent), len(node)
    own, offered = [0] * n, [0] * n
    for o in range(k):
        offered[node[o]] += quantity[o]
        if down[o]:
            own[node[o]] -= quantity[o]
    must = least_carried(parent, lower, own)
    can = [most_carried_at(parent, upper, own, offered, i) for i in range(n)]
    if any(must[i] > upper[i] or can[i] < must[i] for i in range(n)):
        return None
    worth, order = pieces(price, down)
    taken = [0] * k
    for o in order:
        gains = worth[o] < 0 or (worth[o] == 0 and down[o])
        root = [*path(parent, node[o])][-1]

        def fits(amount, o=o, gains=gains, root=root):
            more = own.copy()
            more[node[o]] += amount
            now = least_carried(parent, lower, more)
            if any(now[i] > upper[i] for i in range(n)):
                return False
            return gains or now[root] <= least_carried_at(parent, lower, own, root)

        least, most = 0, quantity[o]
        while least < most:
            middle = (least + most + 1) // 2
            least, most = (middle, most) if fits(middle) else (least, middle - 1)
        taken[o] = least
        own[node[o]] += least
    return [quantity[o] - taken[o] if down[o] else taken[o] for o in range(k)]


def by_highs(parent, lower, upper, node, down, quantity, price):
    """Least cost by HiGHS, or None where it finds no answer."""
    k = len(node)
    sign = [-1 if d else 1 for d in down]
    a, b = [], []
    for i in range(len(parent)):
        row = [sign[o] if i in path(parent, node[o]) else 0 for o in range(k)]
        if upper[i] < 2**60:
            a.append(row)
            b.append(upper[i])
        if lower[i] > -(2**60):
            a.append([-x for x in row])
            b.append(-lower[i])
    if k == 0:
        return 0 if all(x >= 0 for x in b) else None
    bounds = [(0, q) for q in quantity]
    answer = linprog(price, a or None, b or None, bounds=bounds, method="highs-ds", options=TIGHT)
    if answer.status == 2:
        return None
    assert answer.status == 0, answer.message
    return answer.fun


def price_faults(parent, lower, upper, node, down, quantity, price, accepted, y, local):
    """What is wrong with local prices: a list of (kind, offer or element)."""
    faults = []
    for o, i in enumerate(node):
        value = -local[i] if down[o] else local[i]
        if accepted[o] > 0 and price[o] > value:
            faults.append(("taken above the local price", o))
        if accepted[o] < quantity[o] and price[o] < value:
            faults.append(("left below the local price", o))
    for i, p in enumerate(parent):
        over = local[i] - (local[p] if p >= 0 else 0)
        if over > 0 and y[i] != lower[i]:
            faults.append(("raised without a lower bound", i))
        if over < 0 and y[i] != upper[i]:
            faults.append(("lowered without an upper bound", i))
    return faults
