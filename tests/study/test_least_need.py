"""Needs of nested elements are one need; what is accepted below them serves all of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from flexcore import cities
from flexcore.study.least_need import least_need_kw, least_open_w
from flexcore.units import DOWN, UP


@pytest.fixture(scope="module")
def grid():
    return cities.tiny().grid


def path_to_root(grid, node):
    """Node, its parent, ..., without the root, whose branch does not exist; in node positions."""
    order, place = grid.forest.order, int(grid.forest.rank[node])
    found = []
    while grid.forest.parent[place] >= 0:
        found.append(int(order[place]))
        place = int(grid.forest.parent[place])
    return found


def rows_with(grid, lower=(), upper=()):
    none = np.full((grid.n_nodes, 1), np.inf)
    rows = SimpleNamespace(lower_kw=-none, upper_kw=none.copy(), n_steps=1)
    for node, kw in lower:
        rows.lower_kw[node] = kw
    for node, kw in upper:
        rows.upper_kw[node] = kw
    return rows


def test_series_lines_count_once_and_separate_branches_add_up(grid):
    deep = max(range(grid.n_nodes), key=lambda node: len(path_to_root(grid, node)))
    chain = path_to_root(grid, deep)
    rows = rows_with(grid, lower=[(chain[0], 5.0), (chain[1], 5.0), (chain[2], 7.0)])
    assert least_need_kw(grid.forest, rows.lower_kw, rows.upper_kw) == pytest.approx([7.0])
    apart = next(
        n
        for n in range(grid.n_nodes)
        if path_to_root(grid, n) and not set(path_to_root(grid, n)) & {*chain[:3]} and n not in chain
    )
    rows = rows_with(grid, lower=[(chain[0], 5.0), (apart, 2.0)], upper=[(chain[1], -1.0)])
    assert least_need_kw(grid.forest, rows.lower_kw, rows.upper_kw) == pytest.approx([8.0])


def test_what_is_accepted_below_serves_every_element_above(grid):
    deep = max(range(grid.n_nodes), key=lambda node: len(path_to_root(grid, node)))
    chain = path_to_root(grid, deep)
    rows = rows_with(grid, lower=[(chain[0], 5.0), (chain[2], 7.0)])
    left = least_open_w(grid, rows, [chain[0], chain[2]], [UP, UP], np.array([[4000], [1500]]), n_threads=1)
    assert left.tolist() == [1500]  # 1 kW at the end and half a kW more further up
    left = least_open_w(grid, rows, [chain[0], chain[0]], [UP, DOWN], np.array([[8000], [1000]]), n_threads=1)
    assert left.tolist() == [0]
