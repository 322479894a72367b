"""One stage of a scheme in one step as a linear programme; rows of the grid are made when an answer breaks them.

A relaxation whose answer keeps every row that was left out is exact, so only the few rows that bind are ever built.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.errors import FlexcoreError
from flexcore.market.schemes.case import CoordinationCase, Floats, Int64s
from flexcore.units import UP

#: A row may be broken by this much before it is made. [kW]
TOLERANCE_KW = 1e-7
_DUST_KW = 1e-6  # a smaller need is rounding of the rows
_NEW_ROWS = 64  # rows made at most in one round, of each kind
_LEAST_PRICE = 0.01  # [EUR/MWh]
#: With few rows and thousands of columns the presolve would take ten times as long as the simplex.
_TIGHT = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9, "presolve": False}


@dataclass(frozen=True, slots=True)
class StepState:
    """What earlier stages have decided in a step.

    Attributes
    ----------
    taken_kw : ndarray, shape (n_offers,)
    y_kw, v_kw : ndarray, shape (n,)
        Net activation at and below each node, and its effect on the node's voltage as power at the node, in preorder.
    t_net_kw : ndarray, shape (n_t_nodes,)
    net_kw : ndarray, shape (n_systems,)
    trade_kw : ndarray, shape (n_bids,)
        Bids of market parties already served.
    rest_kw : float
        Need for balance still open, up minus down.
    """

    taken_kw: Floats
    y_kw: Floats
    v_kw: Floats
    t_net_kw: Floats
    net_kw: Floats
    trade_kw: Floats
    rest_kw: float

    @classmethod
    def of(cls, case: CoordinationCase, step: int, taken_kw: Floats, trade_kw: Floats) -> "StepState":
        """Work out the state from what is taken and sold."""
        layout, signed = case.layout, case.offers.sign * taken_kw
        y = layout.sums(layout.place, signed)
        t_net = np.asarray(np.bincount(layout.t_node, signed, case.transmission.n_nodes), np.float64)
        # what is sold to market parties is moved on their account
        rest = float(case.balance_kw[step] + case.bids.sign @ trade_kw - t_net.sum())
        return cls(taken_kw, y, layout.voltage(y), t_net, layout.nets(signed), trade_kw, rest)


@dataclass(frozen=True, slots=True)
class StageOrder:
    """What a clearing is asked for.

    Attributes
    ----------
    quantity_kw : ndarray, shape (n_offers,)
        What may be taken in this stage; 0 for offers that it does not see.
    needs : frozenset of str
    sees_d, sees_t : bool
    requests_only : bool
        The distribution grid is not seen: a need is a request for power in its area, whatever its effect.
    interface : str
    interface_price : ndarray, shape (n_systems,), optional
        What 1 MWh up through each interface is worth. [EUR/MWh]
    interface_bounds : tuple of ndarray, shape (n_systems,), optional
        Least and largest net activation of each system. [kW]
    interface_penalty : float, optional
        Of leaving these bounds; that of imbalance by default. [EUR/MWh]
    cap_kw : ndarray, shape (2, n_perimeters), optional
        Dynamic traffic light. [kW]
    """

    quantity_kw: Floats
    needs: frozenset[str]
    sees_d: bool
    sees_t: bool
    requests_only: bool = False
    interface: str = "free"
    interface_price: Floats | None = None
    interface_bounds: tuple[Floats, Floats] | None = None
    interface_penalty: float | None = None
    cap_kw: Floats | None = None


@dataclass(frozen=True, slots=True)
class StageAnswer:
    """What a stage takes in one step.

    Attributes
    ----------
    accepted_kw : ndarray, shape (n_offers,)
    trade_kw : ndarray, shape (n_bids,)
    objective : float
        Payments, penalties and prices of the interface as the stage counts them. [EUR/MWh times kW]
    n_rounds, n_rows : int
        Linear programmes solved, and rows of the last.
    """

    accepted_kw: Floats
    trade_kw: Floats
    objective: float
    n_rounds: int
    n_rows: int


class _Programme:
    """Rows lo <= A x <= hi over offers, bids and slacks; each slack stands in one row."""

    def __init__(self, cost: Floats, high: Floats) -> None:
        self.n = cost.size
        self.cost, self.high = list(cost), list(high)
        self.row: list[Int64s] = []
        self.column: list[Int64s] = []
        self.value: list[Floats] = []
        self.lo: list[float] = []
        self.hi: list[float] = []

    def add(self, columns: Int64s, values: Floats, lo: float, hi: float, *slacks: tuple[float, float, float]) -> int:
        """Add a row; each slack is (entry, cost, most)."""
        number = len(self.lo)
        self.row.append(np.full(columns.size, number))
        self.column.append(columns)
        self.value.append(values)
        for entry, cost, most in slacks:
            self.row.append(np.array([number]))
            self.column.append(np.array([len(self.cost)]))
            self.value.append(np.array([entry]))
            self.cost.append(cost)
            self.high.append(most)
        self.lo.append(lo)
        self.hi.append(hi)
        return number

    def solve(self) -> tuple[Floats, float]:
        """Return the answer and its objective."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_matrix

        n_rows, n = len(self.lo), len(self.cost)
        cost = np.array(self.cost)
        bounds = np.stack([np.zeros(n), np.array(self.high)], axis=1)
        if not n_rows:
            x = np.where(cost < 0, bounds[:, 1], 0.0)
            return x, float(cost @ x)
        entries = [np.concatenate(part) for part in (self.value, self.row, self.column)]
        matrix = csr_matrix((entries[0], (entries[1], entries[2])), shape=(n_rows, n))
        lo, hi = np.array(self.lo), np.array(self.hi)
        same = lo == hi
        above, below = np.flatnonzero(~same & np.isfinite(lo)), np.flatnonzero(~same & np.isfinite(hi))
        from scipy.sparse import vstack

        upper = vstack([-matrix[above], matrix[below]]) if above.size + below.size else None
        b_upper = np.concatenate([-lo[above], hi[below]]) if upper is not None else None
        equal = np.flatnonzero(same)
        answer = linprog(
            cost, upper, b_upper, matrix[equal] if equal.size else None, lo[equal] if equal.size else None, bounds,
            method="highs-ds", options=_TIGHT,
        )  # fmt: skip
        if answer.status != 0:
            raise FlexcoreError(f"HiGHS stopped with status {answer.status}: {answer.message}")
        return np.asarray(answer.x, np.float64), float(answer.fun)


class StepClearing:
    """Clears one stage in one step."""

    def __init__(self, case: CoordinationCase, step: int, state: StepState, order: StageOrder) -> None:
        self.case, self.layout, self.step, self.state, self.order = case, case.layout, step, state, order
        offers = case.offers
        visible = np.flatnonzero(order.quantity_kw > 0)
        # columns in merit order: what the solver meets does not hang on the order of rows in the case
        visible = visible[np.lexsort((offers.submitted[visible], offers.price[visible]))]
        self.offers = visible
        self.sign = offers.sign[visible]
        self.place = self.layout.place[visible]
        self.system = self.layout.system_of_offer[visible]
        inside = np.flatnonzero(self.place >= 0)
        self.by_place = inside[np.argsort(self.place[inside], kind="stable")]
        self.sorted_place = self.place[self.by_place]
        self.made: set[tuple[str, int]] = set()

    def solve(self) -> StageAnswer:
        """Return the cheapest answer that keeps every row."""
        case, order, t = self.case, self.order, self.step
        bids = case.bids
        n, n_bids = self.offers.size, bids.direction.size if "trade" in order.needs else 0
        price = case.offers.price[self.offers].copy()
        anchored = "balance" in order.needs or order.interface in ("fixed", "priced", "bounded")
        if not anchored and n:
            price = _above_zero(price)
        if order.interface_price is not None and order.interface == "priced":
            worth = np.where(self.system >= 0, order.interface_price[np.maximum(self.system, 0)], 0.0)
            price -= self.sign * worth
        cost = np.concatenate([price, -bids.price_cap[:n_bids]])
        wanted = np.maximum(bids.quantity_kw[:n_bids, t] - self.state.trade_kw[:n_bids], 0.0)
        high = np.concatenate([order.quantity_kw[self.offers], wanted])
        programme = _Programme(cost, high)
        self._rows_of_balance(programme, n_bids)
        self._rows_of_interface(programme)
        self._rows_of_lines(programme)
        self._rows_of_needs(programme)
        self._rows_of_light(programme)
        rounds = 0
        while True:
            x, objective = programme.solve()
            rounds += 1
            if not order.sees_d or not self._rows_broken(programme, x[:n]):
                break
        accepted = np.zeros(case.offers.n_offers)
        accepted[self.offers] = np.clip(x[:n], 0.0, high[:n])
        trade = np.zeros(bids.direction.size)
        trade[:n_bids] = x[n : n + n_bids]
        return StageAnswer(accepted, trade, objective, rounds, len(programme.lo))

    def _rows_of_balance(self, programme: _Programme, n_bids: int) -> None:
        needs, case = self.order.needs, self.case
        every = np.arange(self.offers.size + n_bids)
        effect = np.concatenate([self.sign, -case.bids.sign[:n_bids]])
        if "balance" in needs:
            penalty, rest = case.penalties.balance, self.state.rest_kw
            slacks = ((1.0, penalty, np.inf), (-1.0, penalty, np.inf))
            programme.add(every, effect, rest, rest, *slacks)
        elif "trade" in needs:  # served without the need for balance, it leaves the balance as it is
            programme.add(every, effect, 0.0, 0.0)

    def _rows_of_interface(self, programme: _Programme) -> None:
        order = self.order
        if order.interface not in ("fixed", "bounded"):
            return
        least = most = np.zeros(self.case.n_systems)
        if order.interface_bounds is not None:
            least, most = order.interface_bounds
        penalty = self.case.penalties.balance if order.interface_penalty is None else order.interface_penalty
        for e in range(self.case.n_systems):
            mine = np.flatnonzero(self.system == e)
            net = float(self.state.net_kw[e])
            if mine.size:
                slacks = ((1.0, penalty, np.inf), (-1.0, penalty, np.inf))
                programme.add(mine, self.sign[mine], float(least[e]) - net, float(most[e]) - net, *slacks)

    def _rows_of_lines(self, programme: _Programme) -> None:
        case, order = self.case, self.order
        if not order.sees_t:
            return
        transmission = case.transmission
        now = transmission.flow_kw[:, self.step] + transmission.ptdf @ self.state.t_net_kw
        at = self.layout.t_node[self.offers]
        soft = "t_congestion" in order.needs
        penalty = case.penalties.transmission
        for line, limit in enumerate(transmission.limit_kw):
            effect = transmission.ptdf[line, at] * self.sign
            used = np.flatnonzero(effect)
            lo, hi = -limit - now[line], limit - now[line]
            if soft:
                slacks = ((1.0, penalty, np.inf), (-1.0, penalty, np.inf))
                programme.add(used, effect[used], lo, hi, *slacks)
            elif used.size:
                programme.add(used, effect[used], min(lo, 0.0), max(hi, 0.0))

    def _rows_of_needs(self, programme: _Programme) -> None:
        """Needs of the distribution grid that are open now; what nobody can serve has no row."""
        if "d_congestion" not in self.order.needs:
            return
        layout, t, penalty = self.layout, self.step, self.case.penalties.distribution
        for name, way, bound, value, find in (
            ("y>", 1.0, layout.lower[t], self.state.y_kw, self._below),
            ("y<", -1.0, layout.upper[t], self.state.y_kw, self._below),
            ("v>", 1.0, layout.v_lower[t], self.state.v_kw, self._near),
            ("v<", -1.0, layout.v_upper[t], self.state.v_kw, self._near),
        ):
            short = way * (bound - value)
            for i in np.flatnonzero(np.isfinite(short) & (short > _DUST_KW)).tolist():
                columns, effect = find(i)
                if columns.size:
                    gap = float(short[i])
                    programme.add(columns, way * effect, gap, np.inf, (1.0, penalty, gap))
                    self.made.add((name, i))

    def _rows_of_light(self, programme: _Programme) -> None:
        cap = self.order.cap_kw
        if cap is None:
            return
        label = np.where(self.place >= 0, self.layout.label[np.maximum(self.place, 0)], -2)
        for way in (0, 1):
            mine = (label >= 0) & ((self.sign > 0) == (way == UP))
            room = np.bincount(label[mine], programme_high(programme, mine), cap.shape[1])
            for k in np.flatnonzero(room > cap[way]):
                columns = np.flatnonzero(mine & (label == k))
                programme.add(columns, np.ones(columns.size), -np.inf, float(cap[way, k]))
        outside = np.flatnonzero(label == -1)  # nodes of no perimeter may not move
        if outside.size:
            programme.add(outside, np.ones(outside.size), -np.inf, 0.0)

    def _below(self, i: int) -> tuple[Int64s, Floats]:
        """Columns of the offers at and below a node, and their effect on its branch."""
        first, end = np.searchsorted(self.sorted_place, [i, self.layout.last[i]])
        columns = self.by_place[first:end]
        return columns, self.sign[columns]

    def _near(self, i: int) -> tuple[Int64s, Floats]:
        """Columns with an effect on the voltage of a node, and that effect as power at the node itself."""
        path = self.layout.path(i)
        columns, sign = self._below(int(path[-1]))
        if self.order.requests_only:
            return columns, sign
        shared = np.zeros(columns.size)
        place = self.place[columns]
        for k in path[::-1]:
            first, end = np.searchsorted(place, [k, self.layout.last[k]])
            shared[first:end] = self.layout.reach[k]
        used = shared != 0.0
        return columns[used], sign[used] * shared[used] * self.layout.kw_per_w[i]

    def _rows_broken(self, programme: _Programme, x: Floats) -> bool:
        """Make the rows that an answer breaks; False if it keeps all."""
        layout, t, state = self.layout, self.step, self.state
        y = state.y_kw + layout.sums(self.place, self.sign * x)
        v = layout.voltage(y)
        added = False
        for name, way, bound, before, value, find in (
            ("y>", 1.0, layout.lower[t], state.y_kw, y, self._below),
            ("y<", -1.0, layout.upper[t], state.y_kw, y, self._below),
            ("v>", 1.0, layout.v_lower[t], state.v_kw, v, self._near),
            ("v<", -1.0, layout.v_upper[t], state.v_kw, v, self._near),
        ):
            # a row may not be broken, nor be made worse where earlier stages or the forecast break it
            least = np.minimum(way * bound, way * before)
            over = least - way * value
            for i in _worst(over) if name[0] == "y" else self._worst_of_feeders(over):
                columns, effect = find(i)
                if columns.size and (name, i) not in self.made:
                    programme.add(columns, -way * effect, -np.inf, float(way * before[i] - least[i]))
                    self.made.add((name, i))
                    added = True
        return added

    def _worst_of_feeders(self, over: Floats) -> list[int]:
        """Return the worst row of each feeder: mending it usually mends its neighbours."""
        rows = np.flatnonzero(over > TOLERANCE_KW)
        best: dict[int, int] = {}
        for i in rows[np.argsort(-over[rows], kind="stable")][:_NEW_ROWS].tolist():
            best.setdefault(int(self.layout.path(i)[-1]), i)
        return list(best.values())


def _above_zero(price: Floats) -> Floats:
    """Squeeze prices below the least one into what lies above zero, in their order; the others stay.

    So nothing is bought because it pays for itself (OFR-03), and no offer of an odd price changes what a need is worth
    against the others.
    """
    lowest = float(price.min())
    if lowest >= _LEAST_PRICE:
        return price
    part = (price - lowest) / (_LEAST_PRICE - lowest)
    return np.where(price < _LEAST_PRICE, 0.5 * _LEAST_PRICE * (1.0 + part), price)


def programme_high(programme: _Programme, mine: npt.NDArray[np.bool_]) -> Floats:
    """Upper bounds of some offers."""
    return np.array(programme.high[: mine.size])[mine]


def _worst(over: Floats) -> list[int]:
    rows = np.flatnonzero(over > TOLERANCE_KW)
    return [int(i) for i in rows[np.argsort(-over[rows], kind="stable")][:_NEW_ROWS]]


def clear_stage(case: CoordinationCase, step: int, state: StepState, order: StageOrder) -> StageAnswer:
    """Clear one stage in one step."""
    return StepClearing(case, step, state, order).solve()
