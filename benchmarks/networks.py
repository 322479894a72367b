"""Networks and loads that the benchmarks run on: a real one, and cities of any size drawn from a seed."""

import numpy as np

from flexcore.grid.network import Grid


def radial_city(
    n_substations: int = 13_000, *, n_primary: int = 26, n_feeders: int = 600, seed: int = 0
) -> tuple[Grid, np.ndarray]:
    """Medium-voltage network of a city: secondary substations on branching feeders from primary ones, 20 kV.

    Returns the grid, whose nodes stand in random order, and each node's feeder (-1 at a primary substation).
    """
    rng = np.random.default_rng(seed)
    n = n_primary + n_substations
    feeder = np.concatenate([np.full(n_primary, -1), np.sort(rng.integers(0, n_feeders, n_substations))])
    parent = np.full(n, -1)
    first = np.full(n_feeders, -1)
    for i in range(n_primary, n):
        k = feeder[i]
        if first[k] < 0:
            first[k] = i
            parent[i] = k * n_primary // n_feeders
        else:  # mostly the next one along, sometimes a branch a little way back
            parent[i] = i - 1 if rng.random() < 0.75 else rng.integers(max(first[k], i - 6), i)
    km = rng.gamma(4.0, 0.1, n)
    trunk = np.flatnonzero(parent >= 0)
    return _shuffled(rng, parent, 20.0, 0.16 * km[trunk], 0.12 * km[trunk], 90.0 * km[trunk], 8e3), feeder


def low_voltage_forest(n_trees: int = 13_000, *, n_customers: int = 44, seed: int = 0) -> Grid:
    """Low-voltage networks of a city, one tree of 0.4 kV below each secondary substation."""
    rng = np.random.default_rng(seed)
    n = n_trees * (n_customers + 1)
    place = np.arange(n) % (n_customers + 1)
    back = np.where(rng.random(n) < 0.7, 1, rng.integers(1, 8, n))
    parent = np.where(place == 0, -1, np.arange(n) - np.minimum(back, place))
    km = rng.gamma(4.0, 0.005, n)
    fed = np.flatnonzero(parent >= 0)
    return _shuffled(rng, parent, 0.4, 0.2 * km[fed], 0.08 * km[fed], 0.0 * km[fed], 250.0)


def _shuffled(rng, parent, v_nom_kv, r_ohm, x_ohm, b_us, s_max_kva) -> Grid:
    n = parent.size
    ids = rng.permutation(n)
    order = np.argsort(ids)
    fed = np.flatnonzero(parent >= 0)
    nodes = {"id": ids[order], "v_nom_kv": np.full(n, v_nom_kv), "slack": (parent < 0)[order]}
    branches = {
        "id": np.arange(fed.size),
        "from_id": ids[parent[fed]],
        "to_id": ids[fed],
        "r_ohm": r_ohm,
        "x_ohm": x_ohm,
        "b_us": b_us,
        "s_max_kva": np.full(fed.size, s_max_kva),
    }
    return Grid.from_tables(nodes, branches)


def city_loads(grid: Grid, n_steps: int, *, mean_kw: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Net load per node and step: a daily shape, a size of its own for each node, noise; kW and kvar."""
    rng = np.random.default_rng(seed)
    hour = np.arange(n_steps) % 96 / 4.0
    shape = 0.6 + 0.3 * np.sin((hour - 9.0) / 24.0 * 2 * np.pi) + 0.3 * np.exp(-(((hour - 20.0) / 2.5) ** 2))
    size = mean_kw * rng.gamma(2.0, 0.5, grid.n_nodes) * ~grid.slack
    p = size[:, None] * shape * rng.uniform(0.8, 1.2, (grid.n_nodes, n_steps))
    return p, 0.3 * p
