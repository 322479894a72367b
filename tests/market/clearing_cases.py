"""Random selection problems for the clearing tests: a forest in preorder, rows in user order, offers."""

from types import SimpleNamespace

import numpy as np

INF = float("inf")


def forest(parent, rng=None):
    """Grid stand-in for a tree given as parents in any order; user order is shuffled by `rng`."""
    n = len(parent)
    children = [[] for _ in range(n)]
    for i, p in enumerate(parent):
        if p >= 0:
            children[p].append(i)
    order, ends, stack = [], {}, [i for i in range(n) if parent[i] < 0][::-1]
    while stack:
        i = stack.pop()
        order.append(i)
        stack.extend(children[i][::-1])
    rank = np.empty(n, np.int32)
    rank[order] = np.arange(n)
    size = np.ones(n, int)
    for i in order[::-1]:
        if parent[i] >= 0:
            size[parent[i]] += size[i]
    for i in range(n):
        ends[rank[i]] = rank[i] + size[i]
    tree = SimpleNamespace(
        order=np.array(order, np.int32),
        rank=rank,
        parent=np.array([-1 if parent[i] < 0 else rank[parent[i]] for i in order], np.int32),
        last=np.array([ends[k] for k in range(n)], np.int32),
    )
    return SimpleNamespace(node_ids=np.arange(n), forest=tree, parent=np.asarray(parent))


def rows_of(lower_w, upper_w, m=None, w_lower=None, w_upper=None):
    lower = np.atleast_2d(np.asarray(lower_w, float).T).T / 1000.0
    upper = np.atleast_2d(np.asarray(upper_w, float).T).T / 1000.0
    nothing = np.full(lower.shape, INF)
    return SimpleNamespace(
        lower_kw=lower,
        upper_kw=upper,
        w_lower=-nothing if w_lower is None else np.atleast_2d(np.asarray(w_lower, float).T).T,
        w_upper=nothing if w_upper is None else np.atleast_2d(np.asarray(w_upper, float).T).T,
        m=np.zeros(len(lower)) if m is None else np.asarray(m, float),
    )


def random_tree(rng, n):
    back = [1, n, 4][rng.integers(3)]  # a path, any shape, a shape with long branches
    parent = [-1, *(max(0, i - int(rng.integers(1, back + 1))) for i in range(1, n))]
    shuffle = rng.permutation(n)  # new label of each node
    result = np.full(n, -1)
    for i in range(1, n):
        result[shuffle[i]] = shuffle[parent[i]]
    return result.tolist()


def random_bounds(rng, n, n_steps, scale):
    """Needs for up and down, limits in both directions, bounds that cross, and elements without any."""
    lower, upper = np.full((n, n_steps), -INF), np.full((n, n_steps), INF)
    kind = rng.random((n, n_steps))
    need = rng.integers(1, 30, (n, n_steps)) * scale
    lower[kind < 0.3] = need[kind < 0.3]
    upper[(kind >= 0.3) & (kind < 0.45)] = -need[(kind >= 0.3) & (kind < 0.45)]
    limit = rng.random((n, n_steps)) < 0.5
    room = rng.integers(-2, 20, (n, n_steps)) * scale
    upper = np.where(limit & (upper > 0), np.maximum(lower, 0) + room, upper)
    limit = rng.random((n, n_steps)) < 0.4
    lower = np.where(limit & (lower <= 0), np.minimum(upper, 0) - room, lower)
    return lower, upper


def random_offers(rng, n, n_offers, n_steps, scale, *, negative=True):
    return {
        "node": rng.integers(0, n, n_offers),
        "direction": (rng.random(n_offers) < 0.4).astype(int),
        "quantity_w": rng.integers(0, 15, (n_offers, n_steps)) * scale,
        "price_ueur_per_mwh": rng.integers(-5 if negative else 1, 20, n_offers) * 1_000_000,
        "submitted_at": rng.integers(0, 3, n_offers),
        "offer_id": np.arange(n_offers),
    }
