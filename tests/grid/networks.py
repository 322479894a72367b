"""Small networks for the tests of headrooms, needs, capabilities and perimeters."""

import numpy as np

from flexcore.grid.network import Grid


def feeder(parent, *, s_max=np.inf, r=0.01, x=0.01, v_min=0.9, v_max=1.1, flip=(), band=0.0, **columns):
    """Network on 1 kV from parents (-1: slack); node i is 'n<i>', its branch 'b<i>'; ohm and kVA."""
    n = len(parent)
    fed = [i for i in range(n) if parent[i] >= 0]

    def of_branches(value):
        return np.broadcast_to(np.asarray(value, float), (n,))[fed]

    nodes = {
        "id": [f"n{i}" for i in range(n)],
        "v_nom_kv": np.ones(n),
        "slack": [up < 0 for up in parent],
        "v_min_pu": np.broadcast_to(np.asarray(v_min, float), (n,)),
        "v_max_pu": np.broadcast_to(np.asarray(v_max, float), (n,)),
        "v_band_pu": np.full(n, band),
    }
    branches = {
        "id": [f"b{i}" for i in fed],
        "from_id": [f"n{i if i in flip else parent[i]}" for i in fed],
        "to_id": [f"n{parent[i] if i in flip else i}" for i in fed],
        "r_ohm": of_branches(r),
        "x_ohm": of_branches(x),
        "s_max_kva": of_branches(s_max),
        **{name: of_branches(value) for name, value in columns.items()},
    }
    return Grid.from_tables(nodes, branches)


def random_feeder(rng, n, *, trees=1, tight=0.5, impedance=0.3):
    """Random forest with random limits and directions of declaration; the nodes are in no order."""
    parent = [-1] * trees + [int(rng.integers(max(0, i - 6), i)) for i in range(trees, n)]
    shuffled = rng.permutation(n)
    parent = [-1 if parent[i] < 0 else int(np.flatnonzero(shuffled == parent[i])[0]) for i in shuffled]
    s_max = np.where(rng.random(n) < tight, rng.uniform(15.0, 90.0, n), np.inf)
    return feeder(
        parent,
        s_max=s_max,
        s_max_reverse_kva=s_max * rng.uniform(0.6, 1.0, n),
        r=rng.uniform(0.1, 1.0, n) * impedance,
        x=rng.uniform(0.1, 1.0, n) * impedance,
        v_min=0.95,
        v_max=1.05,
        flip=tuple(np.flatnonzero(rng.random(n) < 0.3)),
    )


def random_forecast(rng, grid, n_steps, *, size=4.0):
    """Loads and some generation, with reactive power."""
    p = rng.normal(0.3 * size, size, (grid.n_nodes, n_steps))
    return p, 0.3 * p + rng.normal(0.0, 0.1 * size, p.shape)


def random_offers(rng, grid, n_steps, *, size=6.0, share=0.7):
    """Movable power up and down, none at some nodes."""
    some = rng.random((grid.n_nodes, 1)) < share
    return tuple(np.where(some, rng.uniform(0.0, size, (grid.n_nodes, n_steps)), 0.0) for _ in range(2))
