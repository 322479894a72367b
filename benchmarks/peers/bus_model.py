"""The network as most programs want it: one slack bus, lines in per unit, shunts at buses, no transformers.

Ideal transformers are absorbed by the scaling of `flexcore.grid.forest`, and all roots become bus 0, which changes no
flow because each holds its voltage. Other buses are the other nodes in the user's order, branches the user's branches.
"""

from dataclasses import dataclass

import numpy as np

from flexcore.grid.network import Grid


@dataclass(frozen=True)
class BusModel:
    """Per unit on 1 kVA; `g`, `b` are all shunts of a bus, `g_from` the part at each branch's from end."""

    grid: Grid
    n_buses: int
    bus: np.ndarray
    start: np.ndarray
    end: np.ndarray
    r: np.ndarray
    x: np.ndarray
    g: np.ndarray
    b: np.ndarray
    g_from: np.ndarray
    v_root: float
    scale: np.ndarray

    @classmethod
    def of(cls, grid: Grid) -> "BusModel | None":
        """None where the roots hold different voltages."""
        forest = grid.forest
        if np.ptp(forest.u_root) > 0:
            return None
        bus = np.where(grid.slack, 0, np.cumsum(~grid.slack))
        n_buses = int(bus.max()) + 1
        child = np.flatnonzero(forest.parent >= 0)
        at = forest.branch[child]

        def of_branch(values: np.ndarray) -> np.ndarray:
            result = np.empty(grid.n_branches)
            result[at] = values
            return result

        shunt = [np.bincount(bus[forest.order], values, n_buses) for values in (forest.g_scaled, forest.b_scaled)]
        return cls(
            grid=grid,
            n_buses=n_buses,
            bus=bus,
            start=bus[grid.branch_from],
            end=bus[grid.branch_to],
            r=of_branch(forest.r_scaled[child]),
            x=of_branch(forest.x_scaled[child]),
            g=shunt[0],
            b=shunt[1],
            g_from=of_branch(np.where(forest.forward[child], forest.g_parent[child], forest.g_child[child])),
            v_root=float(np.sqrt(forest.u_root[0])),
            scale=1.0 / np.sqrt(forest.tau[forest.rank]),
        )

    def loads(self, values: np.ndarray) -> np.ndarray:
        """Rows of the buses after the slack."""
        return np.ascontiguousarray(values[~self.grid.slack])

    def voltages(self, magnitude: np.ndarray) -> np.ndarray:
        """From rows of buses to rows of nodes."""
        return magnitude[self.bus] * self.scale[:, None]

    def flows(self, p_kw: np.ndarray, magnitude: np.ndarray | None = None) -> np.ndarray:
        """Flows that enter the branches at their from ends: those of the series part, and the shunt there."""
        if magnitude is None:
            return p_kw
        return p_kw + self.g_from[:, None] * magnitude[self.start] ** 2
