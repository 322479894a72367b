"""Turns nodes and branches into trees in depth-first preorder, with every ideal transformer absorbed by scaling."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
_KEEP = "pass meshed=True: dc and ac power flow, ptdf and lodf take loops"
_NAMED_LOOPS = 5  # loops that get a finding of their own; the rest is counted


class Forest(NamedTuple):
    """A radial network in depth-first preorder: one entry per node, subtree of i = range `i .. last[i]`.

    An ideal transformer of complex ratio t between parent and child multiplies nothing that a power flow conserves, so
    voltages are scaled by the product T of all ratios from the root: V~ = T V. In scaled quantities the network has no
    transformers: V~_child = V~_parent - z~ J with z~ = tau z and tau = |T|^2; powers do not change. All shunts of a
    node (its own, the ends of its branches) are one admittance y~ = y / tau.

    Attributes
    ----------
    order, rank : int32
        Preorder position to node position, and back.
    parent : int32
        Preorder position of the parent, -1 at a root.
    last : int32
        End (exclusive) of the subtree.
    branch : int32
        Position of the branch that feeds the node, -1 at a root.
    forward : bool
        True where that branch is declared from parent to child.
    heads : int32
        Preorder positions of the children of roots: their subtrees can be solved apart.
    r_pu, x_pu : float64
        Series impedance on a base of 1 kVA, referred to the child's side of the ideal transformer; 0 at a root.
    tau : float64
        Product of the squared ratios from the root down; 1 where there are no taps.
    shift_deg : float64
        Sum of the phase shifts from the root down: the node's angle lags the scaled one by it. [degree]
    g_pu, b_pu : float64
        All shunts of the node, [kW and kvar at 1 pu], unscaled: own, branch ends, open-ended branches.
    g_dc_pu : float64
        The node's own declared shunt conductance alone, as DC power flow counts it.
    r_scaled, x_scaled, g_scaled, b_scaled : float64
        tau r, tau x, g / tau, b / tau.
    g_parent, b_parent, g_child, b_child : float64
        Scaled shunts at the two ends of the feeding branch; parts of `g_scaled`, `b_scaled`.
    u_root : float64
        Squared voltage held at the root of the node's tree; also the no-load value of the scaled u~. [pu^2]
    angle_root_deg : float64
        Voltage angle of that root. [degree]
    """

    order: I4
    rank: I4
    parent: I4
    last: I4
    branch: I4
    forward: npt.NDArray[np.bool_]
    heads: I4
    r_pu: F8
    x_pu: F8
    tau: F8
    shift_deg: F8
    g_pu: F8
    b_pu: F8
    g_dc_pu: F8
    r_scaled: F8
    x_scaled: F8
    g_scaled: F8
    b_scaled: F8
    g_parent: F8
    b_parent: F8
    g_child: F8
    b_child: F8
    u_root: F8
    angle_root_deg: F8


class BranchModel(NamedTuple):
    """Branches as an ideal transformer at the from side and a pi model on the to side, on a base of 1 kVA.

    The two end shunts may differ: a T model of a transformer becomes such a pi by the star-delta transformation.
    """

    start: I4
    end: I4
    r_pu: F8
    x_pu: F8
    g_from_pu: F8
    b_from_pu: F8
    g_to_pu: F8
    b_to_pu: F8
    ratio: F8
    shift_deg: F8

    def take(self, rows: npt.NDArray[np.bool_] | I4) -> "BranchModel":
        """Return the rows that a mask or a list of positions selects."""
        columns: list[Any] = [np.ascontiguousarray(column[rows]) for column in self]
        return BranchModel(*columns)


class NodeModel(NamedTuple):
    """Nodes on a base of 1 kVA: `g_own_pu` is the declared shunt, `g_pu` that and what open-ended branches add.

    `pv` marks nodes whose voltage is held at `v_set_pu` by reactive power; none of them is a slack node.
    """

    slack: npt.NDArray[np.bool_]
    v_set_pu: F8
    angle_set_deg: F8
    g_own_pu: F8
    g_pu: F8
    b_pu: F8
    pv: npt.NDArray[np.bool_]


class Mesh(NamedTuple):
    """What a spanning forest leaves out of a network with loops.

    Attributes
    ----------
    chords : int32
        Positions of the branches that close loops, ascending; one for each independent loop. A branch between the trees
        of two slack nodes closes one through the ideal sources.
    branches : BranchModel
        All branches as they are declared, in the order of the table.
    """

    chords: I4
    branches: BranchModel


def _climb(parent: I4, position: int) -> list[int]:
    path = [position]
    while parent[path[-1]] >= 0:
        path.append(int(parent[path[-1]]))
    return path


def _tree_path(parent: I4, branch: I4, one: int, other: int) -> list[int]:
    """Branch positions on the path between two preorder positions of one tree."""
    first, second = _climb(parent, one), _climb(parent, other)
    while first and second and first[-1] == second[-1]:
        first.pop()
        second.pop()
    return [int(branch[i]) for i in first + second[::-1]]


def _name_loops(
    extra: npt.NDArray[np.uint8],
    branches: BranchModel,
    walk: tuple[I4, I4, I4],
    node_ids: npt.NDArray[Any],
    branch_ids: npt.NDArray[Any],
    found: Findings,
) -> None:
    """Add one finding for each loop and for each pair of slack nodes that a branch joins."""
    rank, parent, branch = walk
    closing = np.flatnonzero(extra == 1)
    for e in closing[:_NAMED_LOOPS]:
        path = [int(e), *_tree_path(parent, branch, int(rank[branches.start[e]]), int(rank[branches.end[e]]))]
        message = f"{len(path)} branches form a loop, a forest is required"
        if closing.size > _NAMED_LOOPS:
            message += f" (one of {closing.size} loops)"
        found.add("FX-G001", message, ids=branch_ids[path], hint=f"open one of them, or {_KEEP}")
    for e in np.flatnonzero(extra == 2)[:_NAMED_LOOPS]:
        roots = {_climb(parent, int(rank[end]))[-1] for end in (branches.start[e], branches.end[e])}
        nodes = np.sort(np.flatnonzero(np.isin(rank, list(roots))))
        found.add(
            "FX-G004",
            f"branch {branch_ids[e].item()!r} joins the trees of two slack nodes",
            ids=node_ids[nodes],
            hint=f"one slack node for each tree: open the branch, or {_KEEP}",
        )


def _name_islands(
    reached: npt.NDArray[np.bool_], branches: BranchModel, ids: npt.NDArray[Any], found: Findings
) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    dark = np.flatnonzero(~reached)
    links = (np.ones(branches.start.size, np.int8), (branches.start, branches.end))
    _, label = connected_components(coo_array(links, shape=(reached.size, reached.size)), directed=False)
    n_islands = np.unique(label[dark]).size
    found.add(
        "FX-G002",
        f"{dark.size} of {reached.size} nodes in {n_islands} islands have no slack node",
        field="slack",
        rows=dark,
        ids=ids[dark],
        hint="connect them, give each island a slack node or leave them out",
    )


def build_forest(
    nodes: NodeModel,
    branches: BranchModel,
    node_ids: npt.NDArray[Any],
    branch_ids: npt.NDArray[Any],
    found: Findings,
    *,
    meshed: bool = False,
) -> tuple[Forest, Mesh | None] | None:
    """Order the network and absorb its transformers; None and findings FX-G001..G004 where it is not a forest.

    With `meshed` branches that close loops are no findings: they are what the forest leaves out, but for the shunts at
    their ends, which stay with the nodes.
    """
    from flexcore.kernels.grid.forest import depth_first, lightest_tree

    n, m = nodes.slack.size, branches.start.size
    roots = np.flatnonzero(nodes.slack).astype(np.int32)
    if not roots.size:
        found.add("FX-G003", "no node is a slack node", field="slack", hint="mark the primary substation's busbar")
        return None
    order, rank, parent, branch, last = (np.empty(n, np.int32) for _ in range(5))
    extra, visited = np.empty(m, np.uint8), np.zeros(1, np.int32)
    is_root = nodes.slack.astype(np.uint8)
    depth_first(branches.start, branches.end, is_root, roots, order, rank, parent, branch, last, extra, visited)
    if visited[0] < n:
        _name_islands(rank >= 0, branches, node_ids, found)
    # a branch inside an island without slack is not part of any walked tree: it is named with its island
    extra[(rank[branches.start] < 0) | (rank[branches.end] < 0)] = 0
    if extra.any() and not meshed:
        _name_loops(extra, branches, (rank, parent, branch), node_ids, branch_ids, found)
    if found:
        return None
    if not extra.any():
        return _scale(nodes, branches, (order, rank, parent, branch, last)), None
    # paths of small impedances: what a chord's own impedance is added to should not be larger than that
    z = np.hypot(branches.r_pu, branches.x_pu) * branches.ratio
    kept = np.empty(m, np.uint8)
    lightest_tree(branches.start, branches.end, is_root, np.argsort(z, kind="stable").astype(np.int32), kept)
    tree, chords = (np.flatnonzero(kept == chosen).astype(np.int32) for chosen in (1, 0))
    depth_first(
        branches.start[tree], branches.end[tree], is_root, roots, order, rank, parent, branch, last, extra[tree],
        visited,
    )  # fmt: skip
    fed = branch >= 0
    branch[fed] = tree[branch[fed]]
    g, b = nodes.g_pu.copy(), nodes.b_pu.copy()
    square = branches.ratio[chords] ** 2
    np.add.at(g, branches.start[chords], branches.g_from_pu[chords] / square)
    np.add.at(b, branches.start[chords], branches.b_from_pu[chords] / square)
    np.add.at(g, branches.end[chords], branches.g_to_pu[chords])
    np.add.at(b, branches.end[chords], branches.b_to_pu[chords])
    forest = _scale(nodes._replace(g_pu=g, b_pu=b), branches, (order, rank, parent, branch, last))
    return forest, Mesh(chords, branches)


def _scale(nodes: NodeModel, branches: BranchModel, walk: tuple[I4, I4, I4, I4, I4]) -> Forest:
    """Refer each branch to its child's side, multiply ratios down the paths, lump shunts at the nodes."""
    from flexcore.kernels.grid.forest import path_products

    order, rank, parent, branch, last = walk
    fed = branch >= 0
    e = branch[fed]
    forward = np.zeros(order.size, np.bool_)
    forward[fed] = branches.start[e] == order[parent[fed]]

    def per_node(forward_value: F8, reverse_value: F8, root_value: float) -> F8:
        values = np.full(order.size, root_value)
        values[fed] = np.where(forward[fed], forward_value[e], reverse_value[e])
        return values

    # seen from a parent at the to side, the transformer stands at the child: everything moves through ratio^2
    square = branches.ratio * branches.ratio
    r_pu = per_node(branches.r_pu, branches.r_pu * square, 0.0)
    x_pu = per_node(branches.x_pu, branches.x_pu * square, 0.0)
    g_parent = per_node(branches.g_from_pu, branches.g_to_pu / square, 0.0)
    b_parent = per_node(branches.b_from_pu, branches.b_to_pu / square, 0.0)
    g_child = per_node(branches.g_to_pu, branches.g_from_pu / square, 0.0)
    b_child = per_node(branches.b_to_pu, branches.b_from_pu / square, 0.0)
    ratio = per_node(branches.ratio, 1.0 / branches.ratio, 1.0)
    shift = per_node(branches.shift_deg, -branches.shift_deg, 0.0)
    tau, shift_sum, u_root, angle_root = (np.empty(order.size) for _ in range(4))
    path_products(
        parent, ratio, shift, nodes.v_set_pu[order], nodes.angle_set_deg[order], tau, shift_sum, u_root, angle_root
    )
    scaled = {
        "g_parent": g_parent / tau,
        "b_parent": b_parent / tau,
        "g_child": g_child / tau,
        "b_child": b_child / tau,
    }
    g_scaled, b_scaled = nodes.g_pu[order] / tau, nodes.b_pu[order] / tau
    g_scaled += scaled["g_child"]
    b_scaled += scaled["b_child"]
    np.add.at(g_scaled, parent[fed], scaled["g_parent"][fed])
    np.add.at(b_scaled, parent[fed], scaled["b_parent"][fed])
    inside = np.where(fed, parent, 0)
    return Forest(
        order=order,
        rank=rank,
        parent=parent,
        last=last,
        branch=branch,
        forward=forward,
        heads=np.flatnonzero(fed & (parent[inside] < 0)).astype(np.int32),
        r_pu=r_pu,
        x_pu=x_pu,
        tau=tau,
        shift_deg=shift_sum,
        g_pu=g_scaled * tau,
        b_pu=b_scaled * tau,
        g_dc_pu=nodes.g_own_pu[order],
        r_scaled=r_pu * tau,
        x_scaled=x_pu * tau,
        g_scaled=g_scaled,
        b_scaled=b_scaled,
        u_root=u_root,
        angle_root_deg=angle_root,
        **scaled,
    )
