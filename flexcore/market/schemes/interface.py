"""Interface pricing and aggregated cost curves: what a TSO can do without seeing the distribution grid.

Each distribution system answers a price, or a wanted net activation, with its own clearing: its grid stays inside it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flexcore.errors import FlexcoreError
from flexcore.market.schemes.case import CoordinationCase, Floats
from flexcore.market.schemes.clearing import StageAnswer, StageOrder, StepState, clear_stage

_MAX_ROUNDS = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Coordinated:
    """Outcome of pricing the interfaces in one step.

    Attributes
    ----------
    accepted_kw : ndarray, shape (n_offers,)
        Of the distribution systems.
    price : ndarray, shape (n_systems,)
        Price of the interface at which every system's answer is also best for the whole. [EUR/MWh]
    n_rounds : int
        Prices asked.
    gap : float
        Cost that a further answer could still save. [EUR/MWh times kW]
    """

    accepted_kw: Floats
    price: Floats
    n_rounds: int
    gap: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A system's answer to a price: what it takes, its net activation and its cost without the price."""

    accepted_kw: Floats
    net_kw: float
    cost: float


def price_interfaces(
    case: CoordinationCase, step: int, state: StepState, order: StageOrder, tso_quantity_kw: Floats
) -> Coordinated:
    """Find interface prices at which separate markets reach the joint optimum, by asking the systems for replies.

    The TSO combines replies so that its own balance and lines cost least; the duals of that programme are the next
    prices; when no system has a reply that improves on them, the combination is optimal (Dantzig-Wolfe decomposition).
    Combinations of replies keep every row of a system because its rows are convex.

    Parameters
    ----------
    order : StageOrder
        Of the distribution stage; `quantity_kw` holds its offers.
    tso_quantity_kw : ndarray, shape (n_offers,)
        Offers of transmission that the TSO weighs against the interfaces.
    """
    layout, n_systems = case.layout, case.n_systems
    replies: list[list[Reply]] = [[] for _ in range(n_systems)]
    price = np.zeros(n_systems)
    gap, rounds = np.inf, 0
    for rounds in range(1, _MAX_ROUNDS + 1):
        asked = replace(order, interface="priced", interface_price=price)
        answer = clear_stage(case, step, state, asked)
        news = [_reply_of(case, step, state, order, answer.accepted_kw, e) for e in range(n_systems)]
        if rounds > 1:
            saved = [
                min(r.cost - price[e] * r.net_kw for r in replies[e]) - (news[e].cost - price[e] * news[e].net_kw)
                for e in range(n_systems)
            ]
            gap = float(np.maximum(saved, 0.0).sum())
            if gap <= _TOLERANCE * (1.0 + sum(abs(r[0].cost) for r in replies)):
                break
        for mine, new in zip(replies, news, strict=True):
            mine.append(new)
        weights, price, _ = combine(case, step, state, replies, tso_quantity_kw)
    else:
        raise FlexcoreError(f"interface prices of step {step} did not settle in {_MAX_ROUNDS} rounds, gap {gap:.3g}")
    accepted = np.zeros(case.offers.n_offers)
    for e in range(n_systems):
        mine = layout.system_of_offer == e
        for weight, reply in zip(weights[e], replies[e], strict=True):
            accepted[mine] += weight * reply.accepted_kw[mine]
    return Coordinated(accepted, price, rounds, max(gap, 0.0))


def _reply_of(
    case: CoordinationCase, step: int, state: StepState, order: StageOrder, accepted_kw: Floats, system: int
) -> Reply:
    """Cost of one system's part of an answer, its own needs left open included."""
    mine = case.layout.system_of_offer == system
    own = np.where(mine, accepted_kw, 0.0)
    cost = float(case.offers.price @ own) + open_need_cost(case, step, state, order, own, system)
    return Reply(own, float(case.offers.sign @ own), cost)


def open_need_cost(
    case: CoordinationCase, step: int, state: StepState, order: StageOrder, accepted_kw: Floats, system: int
) -> float:
    """Penalty for the needs of one system that a set of awards leaves open, in EUR/MWh times kW."""
    if "d_congestion" not in order.needs:
        return 0.0
    layout = case.layout
    mine = layout.system == system
    after = StepState.of(case, step, state.taken_kw + accepted_kw, state.trade_kw)
    total = 0.0
    for way, bound, now, value in (
        (1.0, layout.lower[step], state.y_kw, after.y_kw),
        (-1.0, layout.upper[step], state.y_kw, after.y_kw),
        (1.0, layout.v_lower[step], state.v_kw, after.v_kw),
        (-1.0, layout.v_upper[step], state.v_kw, after.v_kw),
    ):
        asked = mine & np.isfinite(bound) & (way * (bound - now) > 0)
        total += float(np.maximum(way * (bound[asked] - value[asked]), 0.0).sum())
    return total * case.penalties.distribution


def combine(
    case: CoordinationCase, step: int, state: StepState, replies: list[list[Reply]], tso_quantity_kw: Floats
) -> tuple[list[Floats], Floats, Floats]:
    """Weigh replies of the systems and offers of transmission so that balance and lines cost least.

    Returns
    -------
    weights : list of ndarray
        Per system, of its replies; they add up to 1.
    worth : ndarray, shape (n_systems,)
        What 1 MWh up through each interface is worth. [EUR/MWh]
    accepted_kw : ndarray, shape (n_offers,)
        Of transmission.
    """
    from scipy.optimize import linprog

    offers, transmission, layout = case.offers, case.transmission, case.layout
    mine = np.flatnonzero((tso_quantity_kw > 0) & (offers.node < 0))
    counts = [len(r) for r in replies]
    n_x, n_lines, n_systems = mine.size, transmission.limit_kw.size, case.n_systems
    owner = np.repeat(np.arange(n_systems), counts)
    net = np.array([r.net_kw for system in replies for r in system])
    cost = np.array([r.cost for system in replies for r in system])
    n_replies = net.size
    # columns: TSO's offers, replies, imbalance both ways, overload of each line both ways
    c = np.concatenate(
        [
            offers.price[mine],
            cost,
            np.full(2, case.penalties.balance),
            np.full(2 * n_lines, case.penalties.transmission),
        ]
    )
    n = c.size
    equal = np.zeros((1 + n_systems, n))
    equal[0, :n_x] = offers.sign[mine]
    equal[0, n_x : n_x + n_replies] = net
    equal[0, n_x + n_replies], equal[0, n_x + n_replies + 1] = 1.0, -1.0
    equal[1 + owner, n_x + np.arange(n_replies)] = 1.0
    b_equal = np.concatenate([[state.rest_kw], np.ones(n_systems)])
    bounds = [(0.0, q) for q in tso_quantity_kw[mine]] + [(0.0, None)] * (n - n_x)
    upper, b_upper = None, None
    at = case.t_node_of_root
    if n_lines:
        now = transmission.flow_kw[:, step] + transmission.ptdf @ state.t_net_kw
        flow = np.zeros((n_lines, n))
        flow[:, :n_x] = transmission.ptdf[:, layout.t_node[mine]] * offers.sign[mine]
        flow[:, n_x : n_x + n_replies] = transmission.ptdf[:, at[owner]] * net
        over, under = flow.copy(), -flow
        first = n_x + n_replies + 2
        over[np.arange(n_lines), first + np.arange(n_lines)] = -1.0
        under[np.arange(n_lines), first + n_lines + np.arange(n_lines)] = -1.0
        upper = np.vstack([over, under])
        b_upper = np.concatenate([transmission.limit_kw - now, transmission.limit_kw + now])
    answer = linprog(
        c, upper, b_upper, equal, b_equal, bounds, method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    if answer.status != 0:
        raise FlexcoreError(f"HiGHS stopped with status {answer.status}: {answer.message}")
    worth = np.full(n_systems, float(answer.eqlin.marginals[0]))
    if n_lines:
        duals = answer.ineqlin.marginals
        worth += (duals[:n_lines] - duals[n_lines:]) @ transmission.ptdf[:, at]
    weights = answer.x[n_x : n_x + n_replies]
    accepted = np.zeros(offers.n_offers)
    accepted[mine] = answer.x[:n_x]
    return [weights[owner == e] for e in range(n_systems)], worth, accepted


@dataclass(frozen=True, slots=True)
class Curve:
    """Least cost of the net activation of one system, at some points; between them a system can always do it for less.

    Attributes
    ----------
    net_kw, cost : ndarray, shape (n_points,)
        Ascending. [kW], [EUR/MWh times kW]
    """

    net_kw: Floats
    cost: Floats


def aggregate_curve(
    case: CoordinationCase, step: int, state: StepState, order: StageOrder, system: int, n_points: int
) -> Curve:
    """Aggregate what is left in one system to a convex curve of cost over net activation, its grid kept.

    The end points are the least and the largest net activation, and 0; the others divide what lies between evenly. With
    twice the points the curve is nowhere higher, and it is never below the exact one.
    """
    mine = case.layout.system_of_offer == system
    quantity = np.where(mine, order.quantity_kw, 0.0)
    ends = []
    for way in (-1.0, 1.0):
        price = np.full(case.n_systems, way * _beyond_prices(case))
        far = replace(order, quantity_kw=quantity, interface="priced", interface_price=price, needs=frozenset[str]())
        ends.append(float(case.offers.sign @ clear_stage(case, step, state, far).accepted_kw))
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    half = max(n_points // 2, 1)
    points = np.unique(np.concatenate([np.linspace(low, 0.0, half + 1), np.linspace(0.0, high, half + 1)]))
    points = points[np.r_[True, np.diff(points) > 1e-9 * (1.0 + high - low)]]
    costs = []
    for net in points:
        wanted = np.where(np.arange(case.n_systems) == system, net, 0.0)
        answer = at_net(case, step, state, replace(order, quantity_kw=quantity), wanted)
        costs.append(float(case.offers.price @ answer.accepted_kw))
    return Curve(points, _convex(points, np.array(costs)))


def _convex(net_kw: Floats, cost: Floats) -> Floats:
    """Raise nothing, lower what rounding left above a chord: slopes must not fall."""
    for i in range(1, net_kw.size - 1):
        part = (net_kw[i] - net_kw[i - 1]) / (net_kw[i + 1] - net_kw[i - 1])
        cost[i] = min(cost[i], cost[i - 1] + part * (cost[i + 1] - cost[i - 1]))
    return cost


def at_net(
    case: CoordinationCase, step: int, state: StepState, order: StageOrder, net_kw: npt.NDArray[np.float64]
) -> StageAnswer:
    """Clear the systems so that each moves a given net activation beyond what it has taken, at least cost.

    What can be moved is moved at any price: the TSO has bought it.
    """
    target = state.net_kw + net_kw
    bounded = replace(
        order, interface="bounded", interface_bounds=(target, target), interface_penalty=_beyond_prices(case),
        needs=frozenset[str](),
    )  # fmt: skip
    return clear_stage(case, step, state, bounded)


def _beyond_prices(case: CoordinationCase) -> float:
    """Return a price at which every offer is worth taking, whatever has to move against it, in EUR/MWh."""
    return 1e5 + 4.0 * float(np.abs(case.offers.price).max(initial=0.0))
