"""Regulated busbars inside a tree: where the tree is cut, and how flows pass on what the voltages do not.

An on-load tap changer holds the voltage of the busbar behind it, whatever the voltage in front of it is. So the busbar
is the root of a tree of its own, and for the tree above it is a load: what it draws, with the losses of its
transformer. Trees are solved from the lowest level up.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, GridError
from flexcore.grid.forest import F8, I4, BranchModel, Forest, NodeModel, build_forest

__all__ = ["Links", "cut_at_busbars", "refuse_links", "solve_levels"]

Keys = npt.NDArray[np.generic]
Bools = npt.NDArray[np.bool_]
U1 = npt.NDArray[np.uint8]


class Links(NamedTuple):
    """Branches that feed regulated busbars, one entry for each, those of the upper levels first.

    Attributes
    ----------
    node, parent, branch : int32
        Positions of the busbar, of the node in front of its transformer and of the branch between them.
    level : int32
        Number of regulated busbars from the slack node down to this one, from 1.
    r_pu, x_pu : float64
        Series impedance behind the tap changer, on 1 kVA.
    g_from_pu, b_from_pu, g_to_pu, b_to_pu : float64
        Shunts at its two ends, both behind the tap changer.
    ratio, shift_deg : float64
        As declared: the ratio counts in DC alone, where there is no voltage to hold.
    g_own_pu, g_pu, b_pu : float64
        Shunts of the busbar itself: declared, and with what open-ended branches add.
    """

    node: I4
    parent: I4
    branch: I4
    level: I4
    r_pu: F8
    x_pu: F8
    g_from_pu: F8
    b_from_pu: F8
    g_to_pu: F8
    b_to_pu: F8
    ratio: F8
    shift_deg: F8
    g_own_pu: F8
    g_pu: F8
    b_pu: F8


def cut_at_busbars(
    nodes: NodeModel, branches: BranchModel, regulated: Bools, whole: Forest, ids: tuple[Keys, Keys], found: Findings
) -> tuple[Forest, Links] | None:
    """Cut a checked forest above its regulated busbars; None and FX-G012 where one is fed the wrong way round.

    The tap changer stands where branches have their ideal transformer, at the from side. Declared towards the parent it
    would hold a voltage through its own impedance, which is another device.
    """
    at = np.sort(whole.rank[regulated])
    fed = whole.branch[at]
    wrong = at[~whole.forward[at]]
    if wrong.size:
        found.add(
            "FX-G012",
            f"{wrong.size} regulated busbars are fed by a branch that is declared from the busbar to its parent",
            field="from_id",
            ids=ids[1][whole.branch[wrong]],
            hint="from_id is the side of the tap changer, to_id the busbar whose voltage it holds",
        )
        return None
    level = np.zeros(whole.parent.size, np.int32)
    is_busbar = np.zeros(whole.parent.size, np.bool_)
    is_busbar[at] = True
    for i, up in enumerate(whole.parent.tolist()):
        if up >= 0:
            level[i] = level[up] + is_busbar[i]
    order = np.argsort(level[at], kind="stable")
    at, fed = at[order], fed[order]
    rest = np.ones(branches.start.size, np.bool_)
    rest[fed] = False
    roots = nodes._replace(slack=nodes.slack | regulated)
    built = build_forest(roots, branches.take(rest), ids[0], ids[1][rest], found)
    if built is None:  # the whole is a forest, so its parts are
        raise AssertionError(found.items)
    forest = built[0]
    kept = np.append(np.flatnonzero(rest), -1).astype(np.int32)
    busbar = whole.order[at]
    links = Links(
        busbar, whole.order[whole.parent[at]], fed, level[at],
        *(np.ascontiguousarray(values[fed]) for values in (
            branches.r_pu, branches.x_pu, branches.g_from_pu, branches.b_from_pu, branches.g_to_pu, branches.b_to_pu,
            branches.ratio, branches.shift_deg,
        )),
        *(np.ascontiguousarray(values[busbar]) for values in (nodes.g_own_pu, nodes.g_pu, nodes.b_pu)),
    )  # fmt: skip
    return forest._replace(branch=kept[forest.branch]), links


def refuse_links(links: Links | None, node_ids: Keys, what: str) -> None:
    """Raise FX-G013 where a grid has regulated busbars inside its trees and the calculation does not know them."""
    if links is not None:
        found = Findings("grid")
        found.add(
            "FX-G013",
            f"{what} knows no regulated busbars inside a tree, the grid has {links.node.size}",
            ids=node_ids[links.node],
            hint='power_flow in float64 does, but for "certified"; or make each busbar the slack of its own grid',
        )
        found.raise_errors(GridError)


Run = Callable[[Forest, F8, F8, dict[str, F8]], U1]


def solve_levels(
    forest: Forest,
    links: Links,
    run: Run,
    p: F8,
    q: F8,
    arrays: dict[str, F8],
    *,
    method: str,
    lossy: bool,
    limits: tuple[F8, F8],
    v_set_pu: F8,
    angle_set_deg: F8,
) -> U1:
    """Solve the trees below regulated busbars before those above, and hand up what they draw.

    Parameters
    ----------
    forest : Forest
        Cut at the busbars.
    links : Links
    run : callable
        Solves the trees of the heads of the forest given, for loads `p`, `q`, into arrays by field.
    p, q : ndarray, shape (n_nodes, n_steps)
    arrays : dict of ndarray
        What is wanted, filled here.
    method : {"dc", "linear", "ac"}
    lossy : bool
        Whether the transformers' own losses count: not in the lossless methods.
    limits : (ndarray, ndarray)
        1 / s_max and 1 / s_max_reverse of all branches.
    v_set_pu, angle_set_deg : ndarray, shape (n_nodes,)

    Returns
    -------
    ndarray of uint8, shape (n_heads, n_steps)
    """
    p, q = p.copy(), q.copy()
    n_branches, n_steps = limits[0].size, p.shape[1]
    flows = ("branch_p_kw", "branch_p_to_kw", *(() if method == "dc" else ("branch_q_kvar", "branch_q_to_kvar")))
    full = arrays | {name: np.empty((n_branches, n_steps)) for name in flows if name not in arrays}
    if method != "dc" and "loading" in arrays and "v_pu" not in arrays:
        full["v_pu"] = np.empty(p.shape)
    top = forest.order[forest.parent[forest.heads]]
    level_of_root = np.zeros(p.shape[0], np.int32)
    level_of_root[links.node] = links.level
    level = level_of_root[top]
    status = np.empty((forest.heads.size, n_steps), np.uint8)
    drawn: dict[int, tuple[F8, F8, F8, F8]] = {}
    for at in range(int(links.level.max()), -1, -1):
        mine = np.flatnonzero(level == at)
        status[mine] = run(forest._replace(heads=forest.heads[mine]), p, q, full)
        for k in np.flatnonzero(links.level == at).tolist():
            heads = forest.heads[mine[top[mine] == links.node[k]]]
            drawn[k] = _pass_up(forest, links, k, heads, p, q, full, method, lossy, v_set_pu)
    roots = forest.order[forest.parent < 0]
    if "v_pu" in full:
        full["v_pu"][roots] = v_set_pu[roots, None]
    if "angle_deg" in full:
        full["angle_deg"][roots] = angle_set_deg[roots, None]
    # levels ascend: what stands in front of a transformer is known when its busbar's turn comes
    for k in range(links.node.size):
        _look_back(forest, links, k, drawn[k], full, method, limits, v_set_pu)
    return status


def _pass_up(
    forest: Forest,
    links: Links,
    k: int,
    heads: I4,
    p: F8,
    q: F8,
    full: dict[str, F8],
    method: str,
    lossy: bool,
    v_set_pu: F8,
) -> tuple[F8, F8, F8, F8]:
    """Put the flows of one link in place and its power on the node in front of it; P and Q at both its ends."""
    node, parent, e = (int(positions[k]) for positions in (links.node, links.parent, links.branch))
    out_p, out_q = p[node].copy(), q[node].copy()
    names = (("branch_p_kw", "branch_p_to_kw"), ("branch_q_kvar", "branch_q_to_kvar"))
    for head in heads.tolist():
        side = 0 if forest.forward[head] else 1
        out_p += full[names[0][side]][forest.branch[head]]
        if method != "dc":
            out_q += full[names[1][side]][forest.branch[head]]
    if method == "dc":
        out_p += links.g_own_pu[k]
        in_p, in_q = out_p, out_q
    else:
        u = v_set_pu[node] ** 2
        out_p += links.g_pu[k] * u
        out_q -= links.b_pu[k] * u
        series_p, series_q = out_p + links.g_to_pu[k] * u, out_q - links.b_to_pu[k] * u
        r, x = (links.r_pu[k], links.x_pu[k]) if lossy else (0.0, 0.0)
        lost = (series_p * series_p + series_q * series_q) / u
        # the shunt in front stands at the voltage behind the tap changer; a linear flow takes shunts without load
        near = u if method == "linear" else u + 2.0 * (r * series_p + x * series_q) + (r * r + x * x) * lost
        in_p = series_p + r * lost + links.g_from_pu[k] * near
        in_q = series_q + x * lost - links.b_from_pu[k] * near
        full["branch_q_kvar"][e], full["branch_q_to_kvar"][e] = in_q, -out_q
        q[parent] += in_q
    full["branch_p_kw"][e], full["branch_p_to_kw"][e] = in_p, -out_p
    p[parent] += in_p
    return in_p, in_q, out_p, out_q


def _look_back(
    forest: Forest,
    links: Links,
    k: int,
    drawn: tuple[F8, F8, F8, F8],
    full: dict[str, F8],
    method: str,
    limits: tuple[F8, F8],
    v_set_pu: F8,
) -> None:
    """Loading of one link and the angle of the tree behind it, from what stands in front of it."""
    node, parent, e = (int(positions[k]) for positions in (links.node, links.parent, links.branch))
    in_p, in_q, out_p, out_q = drawn
    if "loading" in full:
        limit = np.where(in_p >= 0.0, limits[0][e], limits[1][e])
        if method == "dc":
            full["loading"][e] = np.abs(in_p) * limit
        else:
            near = np.hypot(in_p, in_q) / full["v_pu"][parent]
            full["loading"][e] = np.maximum(near, np.hypot(out_p, out_q) / v_set_pu[node]) * limit
    if "angle_deg" not in full:
        return
    if method == "dc":
        turn = np.degrees(links.x_pu[k] * links.ratio[k] * out_p)
    else:
        v = v_set_pu[node]
        series_p, series_q = out_p + links.g_to_pu[k] * v * v, out_q - links.b_to_pu[k] * v * v
        along = v + (links.r_pu[k] * series_p + links.x_pu[k] * series_q) / v
        turn = np.degrees(np.arctan2((links.x_pu[k] * series_p - links.r_pu[k] * series_q) / v, along))
    at = int(forest.rank[node])
    full["angle_deg"][forest.order[at : forest.last[at]]] += full["angle_deg"][parent] - links.shift_deg[k] - turn
