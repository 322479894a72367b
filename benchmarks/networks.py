"""Networks and loads that the benchmarks run on: a real one, and cities of any size drawn from a seed."""

import copy
import warnings
from typing import Any

import numpy as np

from flexcore.grid.network import Grid

SIMBENCH = "1-MV-urban--0-sw"


def simbench_year(n_steps: int | None) -> tuple[Any, Grid, np.ndarray, np.ndarray]:
    """SimBench network, its conversion, and the net load of every node, (n_nodes, n_steps) in kW and kvar.

    Without `n_steps` its own year of quarter-hours, else as many steps spread over the year.
    """
    import simbench

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net(SIMBENCH)
        if n_steps is not None:
            for name, table in net.profiles.items():
                rows = np.linspace(0, len(table) - 1, n_steps if len(table) else 0).astype(int)
                net.profiles[name] = table.iloc[rows].reset_index(drop=True)
        profiles = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    grid = Grid.from_pandapower(net)
    total = len(profiles["load", "p_mw"])
    power = {"p_mw": np.zeros((grid.n_nodes, total)), "q_mvar": np.zeros((grid.n_nodes, total))}
    for (table, column), values in profiles.items():
        if column in power and len(net[table]) and values.shape[1]:
            node = grid.node_index(net[table].bus.loc[values.columns].to_numpy())
            np.add.at(power[column], node, (-1e3 if table == "sgen" else 1e3) * values.to_numpy().T)
    return net, grid, power["p_mw"], power["q_mvar"]


def simbench_shuffled(net: Any, grid: Grid) -> tuple[Grid, np.ndarray]:
    """The same network with its buses in random order, and the new position of every node."""
    from pandapower.toolbox import reindex_buses

    other = copy.deepcopy(net)
    buses = net.bus.index.to_numpy()
    new = np.random.default_rng(0).permutation(buses)
    reindex_buses(other, dict(zip(buses.tolist(), new.tolist(), strict=True)))
    moved = Grid.from_pandapower(other)
    return moved, moved.node_index(new[np.searchsorted(buses, grid.node_ids)])


def radial_city(
    n_substations: int = 13_000,
    *,
    n_primary: int = 26,
    n_feeders: int = 600,
    km: float = 0.4,
    charging_us_per_km: float = 90.0,
    shuffle: bool = True,
    seed: int = 0,
) -> tuple[Grid, np.ndarray]:
    """Medium-voltage network of a city: secondary substations on branching feeders from primary ones, 20 kV.

    Returns the grid and each node's feeder (-1 at a primary substation), both by node in feeder order. `shuffle` puts
    the nodes of the grid in random order: node k of the feeder order has id and position `city_order(n)[k]`.
    """
    rng = np.random.default_rng(seed)
    n = n_primary + n_substations
    feeder = np.concatenate([np.full(n_primary, -1), np.sort(rng.integers(0, n_feeders, n_substations))])
    parent = np.full(n, -1)
    first = np.full(n_feeders, -1)
    along, back = rng.random(n) < 0.75, rng.integers(1, 7, n)
    for i in range(n_primary, n):
        k = feeder[i]
        if first[k] < 0:
            first[k] = i
            parent[i] = k * n_primary // n_feeders
        else:  # mostly the next one along, sometimes a branch a little way back
            parent[i] = i - 1 if along[i] else max(first[k], i - back[i])
    length = rng.gamma(4.0, km / 4.0, n)[parent >= 0]
    return _grid(parent, 20.0, 0.16 * length, 0.12 * length, charging_us_per_km * length, 8e3, shuffle), feeder


def low_voltage_forest(n_trees: int = 13_000, *, n_customers: int = 44, shuffle: bool = True, seed: int = 0) -> Grid:
    """Low-voltage networks of a city, one tree of 0.4 kV below each secondary substation."""
    rng = np.random.default_rng(seed)
    n = n_trees * (n_customers + 1)
    place = np.arange(n) % (n_customers + 1)
    back = np.where(rng.random(n) < 0.7, 1, rng.integers(1, 8, n))
    parent = np.where(place == 0, -1, np.arange(n) - np.minimum(back, place))
    length = rng.gamma(4.0, 0.005, n)[parent >= 0]
    return _grid(parent, 0.4, 0.2 * length, 0.08 * length, 0.0 * length, 250.0, shuffle)


def city_order(n: int) -> np.ndarray:
    """Where the nodes of a shuffled city stand."""
    return np.random.default_rng(n).permutation(n)


def _grid(parent, v_nom_kv, r_ohm, x_ohm, b_us, s_max_kva, shuffle) -> Grid:
    n = parent.size
    ids = city_order(n) if shuffle else np.arange(n)
    fed = np.flatnonzero(parent >= 0)
    root = np.empty(n, bool)
    root[ids] = parent < 0
    nodes = {"id": np.arange(n), "v_nom_kv": np.full(n, v_nom_kv), "slack": root}
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
