"""The three cases of the power flow: a real network and its year, a city at medium and one at low voltage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import networks
from flexcore.grid.network import Grid


@dataclass(frozen=True)
class Case:
    """A network with net loads in kW and kvar, (n_nodes, n_steps), and the same with its nodes in random order.

    `moved` is the shuffled network and `place` the new position of every node. `net` is the pandapower network that the
    grid comes from, where there is one.
    """

    name: str
    title: str
    grid: Grid
    p: np.ndarray
    q: np.ndarray
    moved: Grid
    place: np.ndarray
    net: Any = None

    @property
    def bytes(self) -> int:
        """Inputs, and outputs of one call that returns flows and voltages."""
        return 8 * self.p.shape[1] * (3 * self.grid.n_nodes + self.grid.n_branches)

    def shuffle(self, values: np.ndarray) -> np.ndarray:
        """Rows of nodes in the order of the shuffled network."""
        result = np.empty_like(values)
        result[self.place] = values
        return result


def mv_urban(quick: bool) -> Case:
    """SimBench `1-MV-urban--0-sw` with its own year of quarter-hours."""
    net, grid, p, q = networks.simbench_year(96 if quick else None)
    moved, place = networks.simbench_shuffled(net, grid)
    return Case("mv_urban", f"SimBench {networks.SIMBENCH}", grid, p, q, moved, place, net)


def radial_city(quick: bool) -> Case:
    """A city at medium voltage, one week."""
    size = {"n_substations": 300, "n_primary": 3, "n_feeders": 15} if quick else {}
    grid, _ = networks.radial_city(**size, shuffle=False)
    moved, _ = networks.radial_city(**size, shuffle=True)
    p, q = networks.city_loads(grid, 96 if quick else 672, mean_kw=150.0)
    return Case("radial_city", "Radial city, 20 kV", grid, p, q, moved, networks.city_order(grid.n_nodes))


def lv_forest(quick: bool) -> Case:
    """A city at low voltage, one day."""
    n_trees = 20 if quick else 13_000
    grid = networks.low_voltage_forest(n_trees, shuffle=False)
    moved = networks.low_voltage_forest(n_trees, shuffle=True)
    p, q = networks.city_loads(grid, 96, mean_kw=0.6)
    return Case("lv_forest", "Low-voltage city", grid, p, q, moved, networks.city_order(grid.n_nodes))


CASES: dict[str, Callable[[bool], Case]] = {"mv_urban": mv_urban, "radial_city": radial_city, "lv_forest": lv_forest}
