"""The most valuable caps of one step as a mixed-integer programme, for cases that no merit order decides."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.grid.sharing import PerimeterPairs

__all__ = ["Programme", "most_valuable"]

F8 = npt.NDArray[np.float64]
_NODES = 20_000  # of the search; a limit in time would give other bits on another machine


class Programme(NamedTuple):
    """Caps that were found (safe but for the solver's tolerance), and a value that no safe caps exceed."""

    cap: F8
    bound: float


def power_of_pairs(pairs: PerimeterPairs, power: F8) -> F8:
    """Movable power of the perimeter below the element of each pair, (n_pairs,)."""
    below = np.zeros(pairs.pair_element.size)
    inside = np.flatnonzero((pairs.label >= 0) & (pairs.own >= 0))
    np.add.at(below, pairs.own[inside], power[inside])
    for p in range(below.size - 1, -1, -1):
        if pairs.pair_up[p] >= 0:
            below[pairs.pair_up[p]] += below[p]
    return below


def most_valuable(
    pairs: PerimeterPairs, m: F8, power: F8, headroom: F8, headroom_path: F8, most: F8, value: F8
) -> Programme | None:
    """Maximise the value of jointly safe caps of one step; None if the solver gave nothing.

    Each term min(C_k, B_ik) of a row that could bind is a variable z: at least C_k, or at least B_ik if a binary says
    so. Rows that hold with every cap at `most`, and terms whose B_ik is no smaller than that, need no binary.

    Parameters
    ----------
    m : ndarray, shape (n_elements,)
    power, headroom, headroom_path : ndarray, shape (n_elements,)
    most, value : ndarray, shape (n_perimeters,)
        What no cap exceeds; worth of a unit of each cap, not negative.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    n, n_k = pairs.parent.size, most.size
    scale, worth = float(most.max(initial=0.0)), float(value.max(initial=0.0))
    if scale <= 0 or worth <= 0:
        return Programme(np.zeros(n_k), 0.0)
    below, most_1, value_1 = power_of_pairs(pairs, power) / scale, most / scale, value / worth
    # the flow of an element as (variable, coefficient): caps of whole perimeters, terms of split ones
    flow: list[dict[int, float]] = [{} for _ in range(n)]
    for k in range(n_k):
        e = int(pairs.top[k])
        while e >= 0:
            flow[e][k] = 1.0
            e = int(pairs.parent[e])
    smaller = np.flatnonzero((below > 0) & (below < most_1[pairs.pair_k]))
    variable = pairs.pair_k.astype(np.int64)
    variable[smaller] = n_k + np.arange(smaller.size)
    for p in np.flatnonzero(below > 0):
        flow[pairs.pair_element[p]][int(variable[p])] = 1.0
    high = np.concatenate([most_1, below[smaller]])
    path: list[dict[int, float]] = []
    rows: list[dict[int, float]] = []
    rooms: list[float] = []
    for i in range(n):
        terms = dict(path[pairs.parent[i]]) if pairs.parent[i] >= 0 else {}
        if m[i] > 0:
            for v, share in flow[i].items():
                terms[v] = terms.get(v, 0.0) + m[i] * share
        path.append(terms)
        for parts, room in ((flow[i], headroom[i]), (terms, headroom_path[i])):
            room = max(float(room), 0.0) / scale
            if sum(share * high[v] for v, share in parts.items()) > room:
                largest = max(parts.values())
                rows.append({v: share / largest for v, share in parts.items()})
                rooms.append(room / largest)
    used = {v for row in rows for v in row}
    split = [p for p in smaller if int(variable[p]) in used]
    size = n_k + smaller.size + len(split)
    low = [-np.inf] * len(rows)
    for binary, p in enumerate(split, n_k + smaller.size):
        k, z = int(pairs.pair_k[p]), int(variable[p])
        rows.append({z: 1.0, k: -1.0, binary: most_1[k] - below[p]})
        rows.append({z: 1.0, binary: -below[p]})
        low += [0.0, 0.0]
        rooms += [np.inf, np.inf]
    upper = np.concatenate([most_1, np.full(smaller.size, np.inf), np.ones(len(split))])
    upper[n_k : n_k + smaller.size] = most_1[pairs.pair_k[smaller]]
    constraints = None
    if rows:
        row_at = [r for r, row in enumerate(rows) for _ in row]
        column = [v for row in rows for v in row]
        share_at = [share for row in rows for share in row.values()]
        matrix = coo_array((share_at, (row_at, column)), shape=(len(rows), size))
        constraints = LinearConstraint(matrix.tocsr(), low, rooms)
    answer: Any = None
    for presolve in (True, False):  # presolve gives up on some of the smallest cases
        answer = milp(
            np.concatenate([-value_1, np.zeros(size - n_k)]),
            constraints=constraints,
            bounds=Bounds(0.0, upper),
            integrality=np.concatenate([np.zeros(size - len(split)), np.ones(len(split))]),
            options={"mip_rel_gap": 0.0, "node_limit": _NODES, "presolve": presolve},
        )
        # solved, or stopped at the number of nodes with something in hand
        if answer.status in (0, 1) and answer.x is not None:
            break
    else:
        return None
    bound = -answer.fun if answer.mip_dual_bound is None else -answer.mip_dual_bound
    return Programme(np.clip(answer.x[:n_k], 0.0, most_1) * scale, float(bound) * scale * worth)
