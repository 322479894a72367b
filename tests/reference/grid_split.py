"""The best partition of a small tree into connected perimeters from its definition: all partitions, by branches alone.

Trees are lists of parents in preorder with one root at position 0. A partition is the set of nodes above which it cuts.
"""

from functools import cache
from itertools import combinations


def _lines(i, children, head, source, filled, cap_slope):
    """Maximum flow into node i's branch as a minimum of lines in C, (constant, slope), one for each way to cut."""
    sums = [(source.get(i, 0.0), 0)]
    for child in children.get(i, []):
        below = _lines(child, children, head, source, filled, cap_slope)
        sums = [(a + c, b + d) for a, b in sums for c, d in below]
    return [*sums, (head[i] - filled[i], cap_slope[i])]


def _largest_of_piece(top, cuts, parent, power, head, below_cut):
    """Largest C plus what can hang below and still pass, for one piece: every line, every crossing of two lines."""
    n = len(parent)
    piece = [top]
    for i in range(top + 1, n):
        if parent[i] in piece and i not in cuts:
            piece.append(i)
    children = {i: [j for j in piece if parent[j] == i] for i in piece}
    source = {i: sum(below_cut(c) for c in cuts if parent[c] == i) for i in piece}
    total = {}
    for i in reversed(piece):
        total[i] = power[i] + sum(total[j] for j in children[i])
    room = {i: max(head[i], 0.0) for i in piece}
    limit = min([total[top]] + [room[i] for i in piece if total[i] > room[i]])
    best = 0.0
    edges = sorted({0.0, limit} | {t for t in total.values() if t < limit})
    # between two neighbouring values of B each min(C, B) is either C or B
    for lo, hi in zip(edges, edges[1:] or edges, strict=False):
        full = {i: total[i] <= lo for i in piece}
        lines = _lines(
            top,
            children,
            room,
            source,
            {i: total[i] if full[i] else 0.0 for i in piece},
            {i: 0 if full[i] else -1 for i in piece},
        )
        # one line for each slope is enough: the lowest
        lowest = {}
        for a, b in lines:
            lowest[b] = min(a, lowest.get(b, a))
        at = {lo, hi} | {
            x
            for (b, a), (d, c) in combinations(lowest.items(), 2)
            if lo < (x := (c - a) / (b - d)) < hi
        }  # fmt: skip
        best = max(best, *(x + min(a + b * x for b, a in lowest.items()) for x in at))
    # a row that the offers of this piece alone overload has held `limit` down; the top itself carries all
    return min(best, room[top])


def values_of_partitions(parent, power, head):
    """Return a function from a set of cuts to the largest sum of jointly safe caps in one step."""
    n = len(parent)
    last = [max(j for j in range(n) if _under(parent, j, i)) + 1 for i in range(n)]

    @cache
    def below(top, inner):
        return _largest_of_piece(top, inner, parent, power, head, lambda c: below(c, frozenset(_within(c, inner))))

    def _within(top, cuts):
        return [i for i in cuts if top < i < last[top]]

    return lambda cuts: below(0, frozenset(cuts))


def _under(parent, j, i):
    while j >= 0:
        if j == i:
            return True
        j = parent[j]
    return False


def best_partition(parent, scenes, most):
    """Largest value of any partition into at most so many pieces, summed over (power, head) scenes, and its cuts."""
    values = [values_of_partitions(parent, power, head) for power, head in scenes]
    best = (-1.0, ())
    for size in range(most):
        for cuts in combinations(range(1, len(parent)), size):
            total = sum(value(cuts) for value in values)
            if total > best[0] * (1 + 1e-12):
                best = (total, cuts)
    return best
