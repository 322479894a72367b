"""The distributed scheme: peers trade continuously, and operators only post requests and set limits."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market.continuous_book import continuous_book
from flexcore.market.schemes.case import CoordinationCase, Floats, Int64s
from flexcore.market.schemes.clearing import TOLERANCE_KW, StepState
from flexcore.market.schemes.stage import Stage
from flexcore.units import DOWN, UP, kw_to_w, kw_to_w_down

_LEAST_W = 1
_MAX_ROUNDS = 40


def clear_peers(
    case: CoordinationCase, stage: Stage, taken_kw: Floats, trade_kw: Floats, quantity_kw: Floats, *, n_threads: int = 1
) -> tuple[Floats, Floats]:
    """Clear a stage as a continuous market.

    Offers come first, in their order of submission; then the requests of each step: those of the distribution grids
    from the ends of the feeders up, each for what the requests below it leave of its need; the need for balance
    beyond those, open to all; the bids of market parties. A request meets offers at and below its element, best price
    first, as far as every row of the grid has room. Voltage rows are added where a round of trading breaks them, and
    trading begins anew: in the end all of them hold.

    Returns
    -------
    accepted_kw : ndarray, shape (n_offers, n_steps)
    trade_kw : ndarray, shape (n_bids, n_steps)
    """
    orders, offer, bid = _orders(case, stage, taken_kw, trade_kw, quantity_kw)
    tree, above = _tree(case), case.grid.n_nodes
    watched = np.zeros(case.grid.n_nodes, np.bool_)
    n_offers, n_bids = case.offers.n_offers, case.bids.direction.size
    accepted, trade = np.zeros((n_offers, case.n_steps)), np.zeros((n_bids, case.n_steps))
    for number in range(_MAX_ROUNDS):
        watched |= number == _MAX_ROUNDS - 1  # rows that one round after the other breaks: watch them all
        book = continuous_book(orders, grid=tree, rows=_rows(case, taken_kw, watched, above), n_threads=n_threads)
        done = book.traded_w / 1000.0
        accepted[:], trade[:] = 0.0, 0.0
        np.add.at(accepted, (offer[offer >= 0], orders["step"][offer >= 0]), done[offer >= 0])
        np.add.at(trade, (bid[bid >= 0], orders["step"][bid >= 0]), done[bid >= 0])
        broken = _broken(case, taken_kw, accepted)
        if not (broken & ~watched).any():
            break
        watched |= broken
    return accepted, trade


def _orders(
    case: CoordinationCase, stage: Stage, taken_kw: Floats, trade_kw: Floats, quantity_kw: Floats
) -> tuple[dict[str, npt.NDArray[Any]], Int64s, Int64s]:
    """Return the table of orders, and the offer and the bid of each, -1 for none."""
    offers, layout, n = case.offers, case.layout, case.grid.n_nodes
    rank = np.empty(offers.n_offers, np.int64)
    rank[np.argsort(offers.submitted, kind="stable")] = np.arange(offers.n_offers)
    watts = kw_to_w_down(quantity_kw)
    which, step = np.nonzero(watts >= _LEAST_W)
    parts = [_part("offer", np.where(offers.node[which] >= 0, offers.node[which], n + 1), offers.direction[which], step,
                   watts[which, step], offers.price[which], rank[which], which, -1)]  # fmt: skip
    penalties, order = case.penalties, np.asarray(case.grid.forest.order)
    for t in range(case.n_steps):
        state = StepState.of(case, t, np.ascontiguousarray(taken_kw[:, t]), trade_kw[:, t])
        arrival, local = offers.n_offers, 0.0
        if "d_congestion" in stage.needs:
            for way, lower, v_lower, sign in (
                (UP, layout.lower[t], layout.v_lower[t], 1.0),
                (DOWN, -layout.upper[t], -layout.v_upper[t], -1.0),
            ):
                short = np.maximum(lower - sign * state.y_kw, v_lower - sign * state.v_kw)
                place, asked = _requests(layout.last, np.where(np.isfinite(short), np.maximum(short, 0.0), 0.0))
                size = place.size
                parts.append(
                    _part("request", order[place], np.full(size, way), np.full(size, t), kw_to_w(asked),
                          np.full(size, penalties.distribution), arrival + np.arange(size), -1, -1)
                )  # fmt: skip
                arrival += size
                local += sign * float(asked.sum())
        rest = state.rest_kw - local
        if "balance" in stage.needs and abs(rest) * 1000.0 >= _LEAST_W:
            one = np.ones(1, np.int64)
            way = UP if rest > 0 else DOWN
            parts.append(_part("request", n * one, way * one, t * one, kw_to_w(np.array([abs(rest)])),
                               penalties.balance * np.ones(1), arrival * one, -1, -1))  # fmt: skip
            arrival += 1
        unserved = np.maximum(case.bids.quantity_kw[:, t] - trade_kw[:, t], 0.0)
        wanted = np.flatnonzero(unserved * 1000.0 >= _LEAST_W)
        for b in wanted.tolist() if "trade" in stage.needs else ():
            one = np.ones(1, np.int64)
            parts.append(_part("request", n * one, case.bids.direction[b] * one, t * one,
                               kw_to_w_down(unserved[b : b + 1]), case.bids.price_cap[b] * np.ones(1),
                               arrival * one, -1, int(b)))  # fmt: skip
            arrival += 1
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    offer, bid = columns.pop("offer"), columns.pop("bid")
    columns["order_id"] = np.arange(offer.size)
    return columns, offer, bid


def _part(
    kind: str, element: Any, direction: Any, step: Any, watts: Any, price: Any, arrived: Any, offer: Any, bid: Any
) -> dict[str, npt.NDArray[Any]]:
    size = np.size(element)
    return {
        "kind": np.full(size, kind),
        "element": np.asarray(element, np.int64),
        "direction": np.asarray(direction, np.int8),
        "step": np.asarray(step, np.int64),
        "quantity_w": np.asarray(watts, np.int64),
        "price_ueur_per_mwh": np.rint(np.asarray(price) * 1e6).astype(np.int64),
        "arrived_at": np.asarray(arrived, np.int64),
        "offer": np.broadcast_to(np.asarray(offer, np.int64), (size,)),
        "bid": np.broadcast_to(np.asarray(bid, np.int64), (size,)),
    }


def _requests(last: npt.NDArray[np.int32], short_kw: Floats) -> tuple[Int64s, Floats]:
    """Preorder positions that ask, from the ends up, and for how much: what requests below leave of each need. [kW]."""
    asked: dict[int, float] = {}
    met: dict[int, float] = {}  # topmost needs so far, and what is asked for at and below each
    for i in np.flatnonzero(short_kw * 1000.0 >= _LEAST_W)[::-1].tolist():
        below = sum(met.pop(j) for j in list(met) if j < last[i])
        asked[i] = max(0.0, float(short_kw[i]) - below)
        met[i] = below + asked[i]
    place = np.array([i for i, kw in asked.items() if kw * 1000.0 >= _LEAST_W], np.int64)
    return place, np.array([asked[i] for i in place.tolist()])


def _tree(case: CoordinationCase) -> Any:
    """All systems below one node, n, where the balance is asked for; n + 1 stands for transmission."""
    forest, n = case.grid.forest, case.grid.n_nodes
    order = np.concatenate([[n, n + 1], forest.order]).astype(np.int32)
    rank = np.empty(n + 2, np.int32)
    rank[order] = np.arange(n + 2, dtype=np.int32)
    parent = np.concatenate([[-1, 0], np.where(forest.parent < 0, 0, forest.parent + 2)]).astype(np.int32)
    last = np.concatenate([[n + 2, 2], forest.last + 2]).astype(np.int32)
    return SimpleNamespace(
        forest=SimpleNamespace(order=order, rank=rank, parent=parent, last=last), node_ids=np.arange(n + 2)
    )


def _rows(case: CoordinationCase, taken_kw: Floats, watched: npt.NDArray[np.bool_], n: int) -> Any:
    """Bounds on what may still move: those of the branches, and of the voltages that are watched."""
    rows, forest = case.rows, case.grid.forest
    signed = case.offers.sign[:, None] * taken_kw
    y = np.array([case.layout.sums(case.layout.place, signed[:, t]) for t in range(case.n_steps)])
    w = np.array([case.layout.voltage(row) * case.layout.reach for row in y]).T[forest.rank]
    none = np.full((2, case.n_steps), np.inf)
    y = y.T[forest.rank]
    on = watched[:, None]
    return SimpleNamespace(
        lower_kw=np.vstack([rows.lower_kw - y, -none]),
        upper_kw=np.vstack([rows.upper_kw - y, none]),
        w_lower=np.vstack([np.where(on, rows.w_lower - w, -np.inf), -none]),
        w_upper=np.vstack([np.where(on, rows.w_upper - w, np.inf), none]),
        m=np.append(np.where(np.asarray(rows.parent) >= 0, rows.m, 0.0), [0.0, 0.0]),
    )


def _broken(case: CoordinationCase, taken_kw: Floats, accepted_kw: Floats) -> npt.NDArray[np.bool_]:
    """Mark the nodes whose voltage trading has made worse than allowed, in the grid's node order."""
    layout = case.layout
    broken = np.zeros(layout.parent.size, np.bool_)
    for t in range(case.n_steps):
        before, after = (
            layout.voltage(layout.sums(layout.place, case.offers.sign * kw))
            for kw in (taken_kw[:, t], taken_kw[:, t] + accepted_kw[:, t])
        )
        low = np.minimum(layout.v_lower[t], before) - after
        high = after - np.maximum(layout.v_upper[t], before)
        over = np.maximum(low, high)
        rows = np.flatnonzero(over > TOLERANCE_KW)
        tops: set[int] = set()
        for i in rows[np.argsort(-over[rows], kind="stable")].tolist():
            top = int(layout.path(i)[-1])
            if top not in tops:  # the worst of each feeder: mending it usually mends its neighbours
                tops.add(top)
                broken[i] = True
    return broken[case.grid.forest.rank]
