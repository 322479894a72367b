"""Feeders, substations and node sums by walking up from every node, one at a time."""

import itertools

import numpy as np


def walk_up(grid, node):
    """Nodes from `node` to its root, the node itself first."""
    forest = grid.forest
    position = int(forest.rank[node])
    path = []
    while position >= 0:
        path.append(int(forest.order[position]))
        position = int(forest.parent[position])
    return path


def is_transformer(grid, below, above):
    return grid.v_nom_kv[below] != grid.v_nom_kv[above]


def busbars(grid):
    """Roots, or the ends of their transformers where they feed nothing else."""
    children = {node: [] for node in range(grid.n_nodes)}
    roots = []
    for node in range(grid.n_nodes):
        path = walk_up(grid, node)
        if len(path) == 1:
            roots.append(node)
        else:
            children[path[1]].append(node)
    found = set()
    for root in roots:
        below = children[root]
        if below and all(is_transformer(grid, child, root) for child in below):
            found.update(below)
        else:
            found.add(root)
    return found


def area_head(grid, node, bars):
    """First node of the feeder that a node lies on, or None above the feeders."""
    path = walk_up(grid, node)
    for below, above in itertools.pairwise(path):
        if above in bars:
            return below
    return None


def station_head(grid, node):
    """Low-voltage busbar of the substation that feeds a node, or None."""
    path = walk_up(grid, node)
    for below, above in itertools.pairwise(path):
        if is_transformer(grid, below, above) and grid.v_nom_kv[below] < 1.0:
            return below
    return None


def node_sums(node, values, n_nodes):
    total = [[0] * values.shape[1] for _ in range(n_nodes)]
    for row, where in enumerate(node):
        for step in range(values.shape[1]):
            total[where][step] += int(values[row, step])
    return np.array(total, np.int64)


def mean_price(weights, costs):
    """Weighted mean in micro-EUR/MWh, rounded to whole cents."""
    cents = sum(int(w) * (int(c) // 10_000) for w, c in zip(weights, costs, strict=True)) / sum(int(w) for w in weights)
    return round(cents) * 10_000


def offered_price(weights, costs, markup):
    """Mean cost plus the BSP's part of it plus 10 EUR/MWh, rounded to whole cents."""
    mean = mean_price(weights, costs)
    return mean + round((abs(mean) * markup + 10_000_000) / 10_000) * 10_000
