"""Random two-level networks: a small DC transmission network, feeders below it, needs in both, and offers in both."""

import numpy as np

from flexcore.grid.headroom import activation_rows
from flexcore.market.schemes import CoordinationCase, Penalties, SchemeOffers, TradeBids, Transmission
from tests.grid.networks import random_feeder, random_forecast


def random_case(rng, *, n_nodes=14, n_systems=2, n_steps=2, n_t=3, trade=False, voltage=True):
    """Draw a case; the same generator state gives the same case."""
    grid = random_feeder(rng, n_nodes, trees=n_systems, impedance=0.3 if voltage else 1e-4)
    p, q = random_forecast(rng, grid, n_steps, size=rng.choice([4.0, 8.0, 16.0]))
    rows = activation_rows(grid, p, q)
    lines = max(n_t - 1, 0) + (1 if n_t > 2 else 0)
    # a ring with random reactances; node 0 is the slack
    ends = [(i, (i + 1) % n_t) for i in range(lines)] if n_t > 2 else [(i, i + 1) for i in range(lines)]
    ptdf = dc_ptdf(ends, rng.uniform(0.5, 2.0, lines), n_t)
    flow = rng.normal(0.0, 20.0, (lines, n_steps))
    limit = np.abs(flow).max(axis=1, initial=0.0) * rng.uniform(0.7, 1.3, lines) + 1.0
    n_d, n_conventional = 24, 8
    inside = np.flatnonzero(np.asarray(grid.forest.parent)[grid.forest.rank] >= 0)
    node = np.concatenate([rng.choice(inside, n_d), np.full(n_conventional, -1)]).astype(np.int32)
    n = node.size
    direction = rng.integers(0, 2, n).astype(np.int8)
    direction[n_d : n_d + 2] = [0, 1]
    quantity = np.where(rng.random((n, n_steps)) < 0.85, rng.uniform(0.0, 8.0, (n, n_steps)), 0.0)
    quantity[n_d:] *= 4.0
    static = quantity * np.where(node >= 0, rng.choice([0.5, 1.0], n), 1.0)[:, None]
    price = np.where(direction == 0, rng.uniform(20.0, 200.0, n), rng.uniform(-15.0, 120.0, n))
    price[n_d:] += 40.0
    offers = SchemeOffers(
        node=node,
        t_node=np.where(node < 0, rng.integers(0, n_t, n), 0).astype(np.int32),
        direction=direction,
        quantity_kw=quantity,
        static_kw=static,
        price=price,
        unit=np.arange(n, dtype=np.int32),
        bsp=rng.integers(0, 5, n).astype(np.int32),
        products=np.full(n, 7, np.uint8),
        submitted=rng.permutation(n).astype(np.int64),
    )
    bids = TradeBids.none(n_steps)
    if trade:
        bids = TradeBids(np.array([0, 1], np.int8), rng.uniform(0.0, 5.0, (2, n_steps)), rng.uniform(30.0, 150.0, 2))
    return CoordinationCase(
        name="random",
        grid=grid,
        rows=rows,
        perimeter=random_perimeters(rng, grid),
        t_node_of_root=rng.integers(0, n_t, n_systems).astype(np.int32),
        transmission=Transmission(ptdf, flow, limit),
        balance_kw=rng.normal(0.0, 15.0, n_steps),
        offers=offers,
        bids=bids,
        penalties=Penalties(3000.0, 3000.0, 1000.0),
    )


def random_perimeters(rng, grid):
    """Perimeters that are whole subtrees or scattered; some nodes in none."""
    label = rng.integers(0, 3, grid.n_nodes)
    label[rng.random(grid.n_nodes) < 0.1] = -1
    return label.astype(np.int32)


def dc_ptdf(ends, x, n):
    """Flow of each line for 1 kW injected at each node and taken out at node 0, from the definition."""
    if not ends:
        return np.zeros((0, n))
    a = np.zeros((len(ends), n))
    for k, (i, j) in enumerate(ends):
        a[k, i], a[k, j] = 1.0, -1.0
    b = np.diag(1.0 / np.asarray(x))
    susceptance = a.T @ b @ a
    theta = np.zeros((n, n))
    if n > 1:
        theta[1:, 1:] = np.linalg.inv(susceptance[1:, 1:])
    return b @ a @ theta
