"""One feeder and step as a problem of its own: the nodes that offers act on, their rows, needs and offers."""

from typing import NamedTuple

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels.market.nested_pieces import Nest


class Case(NamedTuple):
    """Served nodes are those with an offer at or below; what lies below one without is the nearest one above."""

    node: np.ndarray  # int64 (n,): in the forest, preorder
    above: np.ndarray  # int64 (n,): served node above, -1 at the top
    step: np.ndarray  # float64 (n,): effect of 1 W through the node's branch [pu^2/W]
    path: np.ndarray  # float64 (n,): sum of these from the top
    lower: np.ndarray  # int64 (n,): bounds on the sum at and below [W]
    upper: np.ndarray
    w_low: np.ndarray  # float64 (n,): limits that offers can reach, else infinite [pu^2]
    w_high: np.ndarray
    need_at: np.ndarray  # int64 (n_needs,): served node of a voltage need
    need_way: np.ndarray  # float64 (n_needs,): 1 up, -1 down
    need_amount: np.ndarray  # float64 (n_needs,) [pu^2]
    need_reach: np.ndarray  # float64 (n_needs,): what 1 W at the need's own node does [pu^2/W]
    offer: np.ndarray  # int64 (n_offers,): down from the last to the first, then up from the first on
    at: np.ndarray  # int64 (n_offers,): served node
    down: np.ndarray  # uint8 (n_offers,)
    cap: np.ndarray  # int64 (n_offers,)
    price: np.ndarray  # float64 (n_offers,): all above zero
    place: np.ndarray  # float64 (n_offers,): 1, 2, ... in the order of ties


@inner
def new_case(
    t, top, end, parent, m, reach, lower_w, upper_w, w_lower, w_upper, by_node, begin, at_node, down, quantity_w, price,
    tie,
):  # fmt: skip
    """Read one case; returns it, and whether path prices may decide it at all."""
    n_offers = np.int64(0)
    for a in range(begin[top], begin[end]):
        n_offers += np.int64(quantity_w[t, by_node[a]] > 0)
    anchor = np.full(end - top, -1, np.int64)
    served = np.zeros(end - top, np.uint8)
    n = np.int64(0)
    for i in range(end - 1, top - 1, -1):
        for a in range(begin[i], begin[i + 1]):
            if quantity_w[t, by_node[a]] > 0:
                served[i - top] = 1
        if served[i - top] == 1:
            n += 1
            if i > top:
                served[parent[i] - top] = 1
    node = np.empty(n, np.int64)
    above = np.empty(n, np.int64)
    step = np.empty(n)
    path = np.empty(n)
    lower = np.empty(n, np.int64)
    upper = np.empty(n, np.int64)
    w_low = np.full(n, -np.inf)
    w_high = np.full(n, np.inf)
    fit = True
    k = np.int64(0)
    n_needs = np.int64(0)
    for i in range(top, end):
        if served[i - top] == 1:
            anchor[i - top] = k
            node[k] = i
            above[k] = anchor[parent[i] - top] if i > top else -1
            step[k] = m[i] / 1000.0
            path[k] = step[k] + (path[above[k]] if i > top else 0.0)
            lower[k] = lower_w[t, i]
            upper[k] = upper_w[t, i]
            fit = fit and m[i] >= 0.0
            k += 1
        else:
            anchor[i - top] = anchor[parent[i] - top] if i > top else -1
        dust = 1e-6 * abs(reach[i])
        if reach[i] > 0.0:
            n_needs += np.int64(w_lower[t, i] > dust) + np.int64(w_upper[t, i] < -dust)
    if n_offers == 0:
        n_needs = np.int64(0)
    need_at = np.empty(n_needs, np.int64)
    need_way = np.empty(n_needs)
    need_amount = np.empty(n_needs)
    need_reach = np.empty(n_needs)
    v = np.int64(0)
    if n_offers > 0:
        for i in range(top, end):
            k = anchor[i - top]
            w_high[k] = min(w_high[k], max(w_upper[t, i], 0.0))
            w_low[k] = max(w_low[k], min(w_lower[t, i], 0.0))
            dust = 1e-6 * abs(reach[i])
            for way in range(2):
                amount = w_lower[t, i] if way == 0 else -w_upper[t, i]
                if reach[i] > 0.0 and amount > dust:
                    need_at[v] = k
                    need_way[v] = 1.0 if way == 0 else -1.0
                    need_amount[v] = amount
                    need_reach[v] = reach[i] / 1000.0
                    v += 1
    offer = np.empty(n_offers, np.int64)
    rank = np.empty(n_offers, np.int64)
    p = np.int64(0)
    for a in range(begin[top], begin[end]):
        o = by_node[a]
        if quantity_w[t, o] > 0:
            offer[p] = o
            rank[p] = -tie[o] - 1 if down[o] == 1 else tie[o]
            p += 1
    offer = offer[np.argsort(rank)]
    row = t if price.shape[0] > 1 else 0
    cheapest = np.int64(1)
    for p in range(n_offers):
        cheapest = min(cheapest, np.int64(price[row, offer[p]]))
    at = np.empty(n_offers, np.int64)
    is_down = np.empty(n_offers, np.uint8)
    cap = np.empty(n_offers, np.int64)
    cost = np.empty(n_offers)
    for p in range(n_offers):
        o = offer[p]
        is_down[p] = down[o]
        cap[p] = quantity_w[t, o]
        cost[p] = np.float64(price[row, o] + (1 - cheapest))
        rank[p] = tie[o]
    place = np.empty(n_offers)
    order = np.argsort(rank)
    for a in range(n_offers):
        place[order[a]] = a + 1.0
    for p in range(n_offers):
        at[p] = anchor[at_node[offer[p]] - top]
    case = Case(
        node, above, step, path, lower, upper, w_low, w_high, need_at, need_way, need_amount, need_reach, offer, at,
        is_down, cap, cost, place,
    )  # fmt: skip
    return case, fit


@inner
def reachable(case):
    """Most and least that all offers at and below each node could add up to, in W."""
    n = case.node.shape[0]
    most = np.zeros(n, np.int64)
    least = np.zeros(n, np.int64)
    for p in range(case.offer.shape[0]):
        if case.down[p] == 1:
            least[case.at[p]] -= case.cap[p]
        else:
            most[case.at[p]] += case.cap[p]
    for k in range(n - 1, 0, -1):
        most[case.above[k]] += most[k]
        least[case.above[k]] += least[k]
    return most, least


@inner
def drop_idle_limits(case, most, least):
    """Drop the voltage limits that no selection could reach."""
    n = case.node.shape[0]
    w_most = np.zeros(n)
    w_least = np.zeros(n)
    for k in range(n):
        w_most[k] = case.step[k] * most[k] + (w_most[case.above[k]] if k > 0 else 0.0)
        w_least[k] = case.step[k] * least[k] + (w_least[case.above[k]] if k > 0 else 0.0)
        if w_most[k] <= case.w_high[k]:
            case.w_high[k] = np.inf
        if w_least[k] >= case.w_low[k]:
            case.w_low[k] = -np.inf


@inner
def new_nest(case, most, least):
    """Collect the nodes whose thermal row has a need or can bind; returns the nest and how many pieces it may hold."""
    n = case.node.shape[0]
    element = np.zeros(n, np.int32)  # the nearest such node, itself or above
    n_elements = np.int64(1)
    for k in range(n):
        need = case.lower[k] > 0 or case.upper[k] < 0
        if need or most[k] > max(case.upper[k], np.int64(0)) or least[k] < min(case.lower[k], np.int64(0)):
            element[k] = n_elements
            n_elements += 1
        elif k > 0:
            element[k] = element[case.above[k]]
    above = np.zeros(n_elements, np.int32)
    child = np.full(n_elements, -1, np.int32)
    sibling = np.full(n_elements, -1, np.int32)
    lower = np.zeros(n_elements, np.int64)
    upper = np.zeros(n_elements, np.int64)
    own = np.zeros(n_elements, np.int64)
    at = np.empty(case.offer.shape[0], np.int32)
    for p in range(case.offer.shape[0]):
        at[p] = element[case.at[p]]
        own[at[p]] += 1
    depth = np.zeros(n_elements, np.int64)  # needs above one another
    deepest = np.int64(0)
    for k in range(n):
        j = element[k]
        if j == 0 or (k > 0 and element[case.above[k]] == j):
            continue
        above[j] = element[case.above[k]] if k > 0 else 0
        lower[j] = case.lower[k]
        upper[j] = case.upper[k]
        depth[j] = depth[above[j]] + np.int64(lower[j] > 0 or upper[j] < 0)
        deepest = max(deepest, depth[j])
    # places in preorder; a need may cut one piece in two, on either side
    slot = np.zeros(n_elements, np.int64)
    n_slots = np.int64(0)
    for j in range(1, n_elements):
        slot[j] = n_slots
        n_slots += own[j] + np.int64(lower[j] > 0) + np.int64(upper[j] < 0)
    for j in range(n_elements - 1, 0, -1):
        sibling[j] = child[above[j]]
        child[above[j]] = j
    return Nest(above, child, sibling, lower, upper, slot, own, at), n_slots, deepest


@inner
def sums_and_voltages(case, x, y_out, w_out):
    """Sum at and below each node in W, and the effect on its squared voltage."""
    n = case.node.shape[0]
    y_out[:] = 0.0
    for p in range(case.offer.shape[0]):
        y_out[case.at[p]] += -x[p] if case.down[p] == 1 else x[p]
    for k in range(n - 1, 0, -1):
        y_out[case.above[k]] += y_out[k]
    for k in range(n):
        w_out[k] = case.step[k] * y_out[k] + (w_out[case.above[k]] if k > 0 else 0.0)
