"""Some whole trees of a grid as a grid of their own."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.grid.network import Grid

__all__ = ["Subgrid", "trees_alone"]

I8 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Subgrid:
    """A part of a grid, and where it comes from.

    Attributes
    ----------
    grid : Grid
    nodes, branches : ndarray of int64
        Positions of its nodes and branches in the whole grid, ascending.
    places : ndarray of int64
        Preorder positions of its nodes in the whole grid, in its own preorder.
    """

    grid: Grid
    nodes: I8
    branches: I8
    places: I8


def trees_alone(grid: Grid, chosen: npt.NDArray[np.bool_]) -> Subgrid:
    """Take the nodes chosen, in preorder; they must be whole trees. Fused buses are left behind."""
    forest = grid.forest
    places = np.flatnonzero(chosen)
    nodes = np.sort(forest.order[places]).astype(np.int64)
    fed = places[forest.branch[places] >= 0]
    branches = np.sort(forest.branch[fed]).astype(np.int64)
    # trees are ranges in preorder, so a position moves by what is left out before it
    place = np.cumsum(chosen) - 1
    order = np.searchsorted(nodes, forest.order[places]).astype(np.int32)
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    parent, branch = forest.parent[places], forest.branch[places]
    heads = forest.heads[chosen[forest.heads]]
    moved: dict[str, Any] = {
        "order": order,
        "rank": rank,
        "parent": np.where(parent < 0, -1, place[np.maximum(parent, 0)]).astype(np.int32),
        "last": (place[forest.last[places] - 1] + 1).astype(np.int32),
        "branch": np.where(branch < 0, -1, np.searchsorted(branches, branch)).astype(np.int32),
        "heads": place[heads].astype(np.int32),
    }
    same: dict[str, Any] = {name: getattr(forest, name)[places] for name in forest._fields if name not in moved}
    of_nodes = (
        "node_ids", "v_nom_kv", "slack", "regulated", "v_set_pu", "angle_set_deg", "v_band_pu", "v_min_pu", "v_max_pu",
        "base_p_kw", "base_q_kvar",
    )  # fmt: skip
    of_branches = ("branch_ids", "s_max_kva", "s_max_reverse_kva", "ratio", "shift_deg")
    ends = {name: np.searchsorted(nodes, getattr(grid, name)[branches]) for name in ("branch_from", "branch_to")}
    part = replace(
        grid,
        **{name: getattr(grid, name)[nodes] for name in of_nodes},
        **{name: getattr(grid, name)[branches] for name in of_branches},
        **{name: end.astype(np.int32) for name, end in ends.items()},
        spanning=type(forest)(**moved, **same),
        fused_ids=grid.fused_ids[:0],
        fused_node=grid.fused_node[:0],
        _lookup={},
    )
    return Subgrid(part, nodes, branches, places)
