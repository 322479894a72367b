"""Feeders, secondary substations and perimeters of a network, read off its tree."""

import numpy as np
import numpy.typing as npt

from flexcore.grid.network import Grid
from flexcore.study.participants import Int32s, Places

_LV_KV = 1.0


def places(grid: Grid, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[Places, Int32s]:
    """Return the places of a network, still without perimeters, and the LV feeder of each node.

    A busbar is a root, or the far end of a root's transformers where a root feeds nothing else (a primary
    substation). Every branch that leaves a busbar starts a feeder, which is a `flex_area`. A secondary substation is
    a transformer that ends below 1 kV with all behind it; LV feeders leave its busbar.

    Returns
    -------
    places : Places
        With `perimeter_of_node` all -1.
    lv_feeder : ndarray of int32, shape (n_nodes,)
        Number of the LV feeder of each node, -1 above them and at the busbars.
    """
    forest = grid.forest
    parent, order = forest.parent, forest.order
    voltage = grid.v_nom_kv[order]
    has_parent = parent >= 0
    fed_by_transformer = np.zeros(grid.n_nodes, np.bool_)
    fed_by_transformer[has_parent] = voltage[has_parent] != voltage[parent[has_parent]]

    # a root whose children all hang on transformers hands its part to them
    child = np.flatnonzero(has_parent)
    only_transformers = ~has_parent & (np.bincount(parent[child], minlength=grid.n_nodes) > 0)
    only_transformers[parent[child[~fed_by_transformer[child]]]] = False
    busbar = ~has_parent & ~only_transformers
    behind_root = child[only_transformers[parent[child]]]
    busbar[behind_root] = True

    area_heads = child[busbar[parent[child]]]
    substation_heads = child[fed_by_transformer[child] & (voltage[child] < _LV_KV)]
    is_station = np.zeros(grid.n_nodes, np.bool_)
    is_station[substation_heads] = True
    feeder_heads = child[is_station[parent[child]]]

    width = len(str(max(area_heads.size, 1)))
    result = Places(
        x=x,
        y=y,
        zone_of_node=np.zeros(grid.n_nodes, np.int32),
        area_of_node=_label(grid, area_heads),
        substation_of_node=_label(grid, substation_heads),
        substation_branch=forest.branch[substation_heads].astype(np.int32),
        perimeter_of_node=np.full(grid.n_nodes, -1, np.int32),
        zone_ids=np.array(["ZONE-1"]),
        area_ids=np.array([f"FEEDER-{number + 1:0{width}d}" for number in range(area_heads.size)], str),
        substation_ids=np.array([f"SS-{number + 1:03d}" for number in range(substation_heads.size)], str),
        perimeter_ids=np.array([], str),
    )
    return result, _label(grid, feeder_heads)


def _label(grid: Grid, heads: npt.NDArray[np.int64]) -> Int32s:
    """Number the subtrees of these preorder positions; a head inside another's subtree takes its part over."""
    inside = np.full(grid.n_nodes, -1, np.int32)
    for number, head in enumerate(heads):
        inside[head : grid.forest.last[head]] = number
    label = np.empty(grid.n_nodes, np.int32)
    label[grid.forest.order] = inside
    return label


def first_perimeters(
    place: Places, movable_pods_of_node: npt.NDArray[np.int64], min_pods: int
) -> tuple[Int32s, npt.NDArray[np.str_]]:
    """Return the dtl_perimeter of each node and their ids: one per secondary substation where that is private enough.

    A substation with fewer than `min_pods` PODs that could move (privacy) is merged with what its feeder has outside
    of the substations, and a feeder's rest that is still too small with the rest of the zone. A network with at most
    one substation is cut along its feeders. Whatever cannot reach `min_pods` at all gets -1: nothing may move there.
    """
    piece, names = place.substation_of_node, place.substation_ids
    if names.size <= 1:
        piece, names = place.area_of_node, place.area_ids
    key = np.where(piece >= 0, piece, -1).astype(np.int64)
    label_names: dict[int, str] = {}
    # keys of the pieces: 0.. the substations, then the feeders' rests, then the zone's rest
    rest_of_area = names.size + np.maximum(place.area_of_node, 0).astype(np.int64)
    rest_of_zone = names.size + place.area_ids.size
    rest_of_area[place.area_of_node < 0] = rest_of_zone
    label_names |= {number: str(name) for number, name in enumerate(names)}
    label_names |= {names.size + number: f"{name}-REST" for number, name in enumerate(place.area_ids)}
    label_names[rest_of_zone] = "ZONE-REST"
    key = np.where(key < 0, rest_of_area, key)
    for fallback in (rest_of_area, np.full(key.size, rest_of_zone), np.full(key.size, -1)):
        known = key >= 0
        count = np.bincount(key[known], weights=movable_pods_of_node[known], minlength=rest_of_zone + 1)
        small = known & (count[np.maximum(key, 0)] < min_pods)
        key = np.where(small, fallback, key)
    used, label = np.unique(key, return_inverse=True)
    first = int(used[0] == -1)
    return (label - first).astype(np.int32), np.array([label_names[int(number)] for number in used[first:]], str)
