"""Selection by linear programming, for a feeder and step in which voltage rows bind and no merit order is exact."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import FlexcoreError
from flexcore.market.tree_clearing import NO_BOUND, Book, Rows, Tree

F8A = npt.NDArray[np.float64]
I8A = npt.NDArray[np.int64]

_BRUTE = 12  # fractional columns whose roundings are all tried
_DUST_W = 1e-3
_DEAREST = 1e6
_TOLERANCE = 1e-7  # of the solver: a smaller dual is none


@dataclass(frozen=True, slots=True)
class _Columns:
    """Offers that the LP cannot tell apart, merged: same node, direction and price, one after the other in ties."""

    member: I8A  # offers in the order in which they are filled
    column: I8A  # their column
    position: I8A  # per column: node
    sign: F8A
    cap_w: I8A
    price: F8A
    place: F8A  # 1, 2, ... in the order of ties


@dataclass(frozen=True, slots=True)
class _Kept:
    """Nodes that the LP keeps: those with offers, those where paths part, and those with a voltage row."""

    position: I8A
    above: I8A  # row of the nearest kept node above, -1 for the first
    step_m: F8A  # m summed over the branches between the two


@dataclass(frozen=True, slots=True)
class _Needs:
    """Needs: way * value >= amount is wanted, where value is y in kW or w in pu^2 of a kept node."""

    row: I8A
    is_voltage: npt.NDArray[np.bool_]
    way: F8A
    amount: F8A
    per_kw: F8A  # amount that one kW at the node itself serves: gaps count in kW


def _columns(book: Book, offers: I8A, quantity: I8A, price: I8A) -> _Columns:
    # runs: offers of one node that follow each other in merit order; a price has several where nodes take turns
    merit = np.lexsort((book.tie[offers], price, book.down[offers]))
    node, down, cost = book.node[offers][merit], book.down[offers][merit], price[merit]
    run = np.empty(offers.size, np.int64)
    run[merit] = np.cumsum(np.r_[True, (np.diff(down) != 0) | (np.diff(cost) != 0) | (np.diff(node) != 0)])

    order = np.lexsort((book.tie[offers], run, book.node[offers]))
    member = offers[order]
    new = np.r_[True, np.diff(run[order]) != 0]
    column = np.cumsum(new) - 1
    cap = np.zeros(int(column[-1]) + 1, np.int64)
    np.add.at(cap, column, quantity[order])
    sign = np.where(book.down[member][new] == 1, -1.0, 1.0)
    place = np.empty(cap.size)
    place[np.argsort(book.tie[member][new])] = np.arange(1.0, cap.size + 1)
    position = book.node[member][new].astype(np.int64)
    return _Columns(member, column, position, sign, cap, price[order][new].astype(np.float64), place)


def _follow(step: I8A) -> I8A:
    """Follow pointers until they stand still."""
    while True:
        further = step[step]
        if np.array_equal(further, step):
            return step
        step = further


class _FeederProblem:
    """One feeder in one step: rows folded onto the kept nodes, and the LP over (x, y, w) with three entries a row."""

    def __init__(self, tree: Tree, rows: Rows, step: int, feeder: int, columns: _Columns) -> None:
        assert rows.w_lower is not None
        assert rows.w_upper is not None
        lo, hi = feeder, int(tree.last[feeder])
        n = hi - lo
        self.columns = columns
        parent = tree.parent[lo:hi].astype(np.int64) - lo
        parent[0] = 0
        last = tree.last[lo:hi].astype(np.int64) - lo
        lower, upper = rows.lower_w[step, lo:hi] / 1000.0, rows.upper_w[step, lo:hi] / 1000.0
        lower[rows.lower_w[step, lo:hi] <= -NO_BOUND] = -np.inf
        upper[rows.upper_w[step, lo:hi] >= NO_BOUND] = np.inf
        w_lower, w_upper = rows.w_lower[step, lo:hi], rows.w_upper[step, lo:hi]
        m, reach = rows.m[lo:hi], rows.reach[lo:hi]
        at = columns.position - lo
        cap = columns.cap_w / 1000.0
        up, down = np.zeros(n + 1), np.zeros(n + 1)
        np.add.at(up, at + 1, np.where(columns.sign > 0, cap, 0.0))
        np.add.at(down, at + 1, np.where(columns.sign < 0, cap, 0.0))
        count = np.zeros(n + 1, np.int64)
        np.add.at(count, at + 1, 1)
        count = np.cumsum(count)
        up, down = np.cumsum(up), np.cumsum(down)
        y_most, y_least = up[last] - up[:-1], down[:-1] - down[last]
        served = count[last] > count[:-1]  # offers at or below

        # nothing acts below an unserved node, so its voltage row is one more row of the nearest served node above
        anchor = _follow(np.where(served, np.arange(n), parent))
        limit_hi, limit_lo = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(limit_hi, anchor, np.maximum(w_upper, 0.0))
        np.maximum.at(limit_lo, anchor, np.minimum(w_lower, 0.0))
        w_most = path_sum(np.maximum(m * y_most, m * y_least), last)
        w_least = path_sum(np.minimum(m * y_most, m * y_least), last)
        limit_hi[w_most <= limit_hi] = np.inf
        limit_lo[w_least >= limit_lo] = -np.inf
        dust = 1e-6 * np.abs(reach)
        needs_up = np.flatnonzero((w_lower > dust) & (reach > 0))
        needs_down = np.flatnonzero((w_upper < -dust) & (reach > 0))
        watched = np.isfinite(limit_hi) | np.isfinite(limit_lo)
        watched[anchor[needs_up]] = True
        watched[anchor[needs_down]] = True

        own = np.zeros(n, np.bool_)
        own[at] = True
        n_served = np.bincount(parent[1:][served[1:]], minlength=n)
        kept = served & (own | (n_served != 1) | watched)
        position = np.flatnonzero(kept)
        row_of = np.cumsum(kept) - 1
        # a served node that is not kept has one served child and the same y; follow it down, and ancestors up
        below = np.arange(n)
        child = np.flatnonzero(served[1:]) + 1
        chain = child[~kept[parent[child]]]
        below[parent[chain]] = chain
        below = _follow(below)
        nearest = np.where(kept, np.arange(n), parent)
        nearest[0] = 0
        nearest = _follow(nearest)
        before = nearest[parent[position]]
        above = np.where(kept[before] & (position > 0), row_of[before], -1)
        path_m = path_sum(m, last)
        self.kept = _Kept(position + lo, above, path_m[position] - np.where(above >= 0, path_m[before], 0.0))
        self.path_m = path_m[position]
        self.last = tree.last[self.kept.position].astype(np.int64)
        nk = position.size

        self.y_hi, self.y_lo = np.full(nk, np.inf), np.full(nk, -np.inf)
        on = row_of[below[served]]
        np.minimum.at(self.y_hi, on, np.maximum(upper[served], 0.0))
        np.maximum.at(self.y_lo, on, np.minimum(lower[served], 0.0))
        self.w_hi, self.w_lo = limit_hi[position], limit_lo[position]

        thermal_up = np.flatnonzero(served & (lower > 0))
        thermal_down = np.flatnonzero(served & (upper < 0))
        kinds = (
            (row_of[below[thermal_up]], False, 1.0, lower[thermal_up], np.ones(thermal_up.size)),
            (row_of[below[thermal_down]], False, -1.0, -upper[thermal_down], np.ones(thermal_down.size)),
            (row_of[anchor[needs_up]], True, 1.0, w_lower[needs_up], reach[needs_up]),
            (row_of[anchor[needs_down]], True, -1.0, -w_upper[needs_down], reach[needs_down]),
        )
        self.needs = _Needs(
            np.concatenate([row for row, *_ in kinds]),
            np.concatenate([np.full(row.size, voltage) for row, voltage, *_ in kinds]),
            np.concatenate([np.full(row.size, way) for row, _, way, *_ in kinds]),
            np.concatenate([amount for *_, amount, _ in kinds]),
            np.concatenate([per_kw for *_, per_kw in kinds]),
        )
        # w is scaled so that the solver's absolute tolerance of 1e-7 stands for less than a tenth of a watt
        used = self.path_m[self.path_m > 0]
        self.scale = max(float(used.min()), float(used.max()) * 1e-4) if used.size else 1.0
        self.column_row = row_of[at]
        most = np.where(self.needs.way > 0, y_most[position][self.needs.row], -y_least[position][self.needs.row])
        w_room = np.where(self.needs.way > 0, w_most[position][self.needs.row], -w_least[position][self.needs.row])
        #: False where some need is beyond all offers together
        self.reachable = bool((self.needs.amount <= np.where(self.needs.is_voltage, w_room, most)).all())

    def _equations(self) -> Any:
        """Equations of the LP: y of a kept node is its own offers plus the y below; w adds up along the path."""
        from scipy import sparse

        nx, nk = self.columns.cap_w.size, self.kept.position.size
        rows, columns = np.arange(nk), np.arange(nx)
        inner = np.flatnonzero(self.kept.above >= 0)
        above = self.kept.above[inner]
        entries = (
            (rows, nx + rows, np.ones(nk)),
            (above, nx + inner, -np.ones(inner.size)),
            (self.column_row, columns, -self.columns.sign),
            (nk + rows, nx + nk + rows, np.ones(nk)),
            (nk + inner, nx + nk + above, -np.ones(inner.size)),
            (nk + rows, nx + rows, -self.kept.step_m / self.scale),
        )
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        return sparse.csr_matrix((value, (row, column)), shape=(2 * nk, nx + 2 * nk))

    def solve(self, *, try_all: bool) -> F8A:
        """Return the accepted kW per column: least unserved kW, then least cost, then the earliest.

        If `try_all`, all needs are asked for in full first, which is one LP and the usual case; only where that has no
        answer the least sum of gaps is found and then held while cost is minimised.
        """
        from scipy import sparse

        nx, nk, ng = self.columns.cap_w.size, self.kept.position.size, self.needs.row.size
        equations = self._equations()
        # the dearest column counts a million, so that the smallest steps of price stand out from the tolerance
        cost = np.r_[self.columns.price * (_DEAREST / self.columns.price.max()), np.zeros(2 * nk)]
        place = np.r_[self.columns.place, np.zeros(2 * nk)]
        low = np.r_[np.zeros(nx), self.y_lo, self.w_lo / self.scale]
        high = np.r_[self.columns.cap_w / 1000.0, self.y_hi, self.w_hi / self.scale]
        unit = np.where(self.needs.is_voltage, self.scale, 1.0)
        amount = self.needs.amount / unit
        variable = nx + np.where(self.needs.is_voltage, nk, 0) + self.needs.row

        hard_low, hard_high = low.copy(), high.copy()
        asked_up = self.needs.way > 0
        np.maximum.at(hard_low, variable[asked_up], amount[asked_up])
        np.minimum.at(hard_high, variable[~asked_up], -amount[~asked_up])
        if try_all and self.reachable and (hard_low <= hard_high).all():
            answer = _cheapest(cost, place, None, None, equations, hard_low, hard_high)
            if answer is not None:
                return answer[:nx]

        wide = sparse.hstack([equations, sparse.csr_matrix((2 * nk, ng))], format="csr")
        gaps = np.arange(ng)
        value = np.r_[-self.needs.way, -self.needs.per_kw / unit]
        want = sparse.csr_matrix(
            (value, (np.r_[gaps, gaps], np.r_[variable, nx + 2 * nk + gaps])), shape=(ng, nx + 2 * nk + ng)
        )
        low, high = np.r_[low, np.zeros(ng)], np.r_[high, np.full(ng, np.inf)]
        count_gaps = np.r_[np.zeros(nx + 2 * nk), np.ones(ng)]
        first = minimise(count_gaps, want, -amount, wide, low, high)
        if first is None:
            raise FlexcoreError("the selection problem has no answer, although selecting nothing is one")
        least = float(count_gaps @ first.x)
        held = sparse.vstack([want, sparse.csr_matrix(count_gaps)], format="csr")
        # a millionth of a kW is what the solver's tolerance may need; wider only if even this has no answer
        for slack in (1e-6, 1e-6 + 1e-9 * least):
            bound = np.r_[-amount, least + slack]
            second = _cheapest(np.r_[cost, np.zeros(ng)], np.r_[place, np.zeros(ng)], held, bound, wide, low, high)
            if second is not None:
                return second[:nx]
        raise FlexcoreError("the least unserved need of a selection could not be held while its cost was minimised")

    def round_to_watts(self, x_kw: F8A) -> I8A:
        """Round to whole W; a vertex has one fractional column per tight voltage row, and all roundings are tried.

        The best is the one that breaks no thermal row, then no voltage row by more than 1 W at its node, then leaves
        least unserved, then costs least, then is earliest. The first is always possible: thermal rows are laminar. With
        more fractional columns than can all be tried the clearest ones are decided first, by `_round_nested`.
        """
        x_w = x_kw * 1000.0
        floor = np.clip(np.floor(x_w + _DUST_W), 0, self.columns.cap_w).astype(np.int64)
        open_ = np.flatnonzero((x_w - floor > _DUST_W) & (floor < self.columns.cap_w))
        if open_.size > _BRUTE:
            by_doubt = np.argsort(np.abs(x_w[open_] - floor[open_] - 0.5), kind="stable")
            rest = by_doubt[_BRUTE:]
            floor[open_[rest]] += self._round_nested(floor, open_, x_w[open_] - floor[open_])[rest]
            open_ = np.sort(open_[by_doubt[:_BRUTE]])
        if not open_.size:
            return floor
        nk = self.kept.position.size
        place = self.columns.position[open_]
        sign = self.columns.sign[open_]
        inside = (self.kept.position[:, None] <= place) & (place < self.last[:, None])
        d_y = np.where(inside, sign, 0.0)
        d_w = np.zeros((nk, open_.size))
        for f in range(open_.size):
            for k in np.flatnonzero(inside[:, f]):  # from the top down: what is deeper shares a longer path
                end = int(np.searchsorted(self.kept.position, self.last[k]))
                d_w[k:end, f] = sign[f] * self.path_m[k] / 1000.0
        y, w = self.state(floor)
        choice = (np.arange(2**open_.size)[:, None] >> np.arange(open_.size)) & 1
        size = open_.size + 1
        near = np.flatnonzero((y + size > self.y_hi * 1000.0) | (y - size < self.y_lo * 1000.0))
        y_try = y[near] + choice @ d_y[near].T
        thermal = _excess(y_try, self.y_lo[near] * 1000.0, self.y_hi[near] * 1000.0).sum(axis=1)
        watched = np.flatnonzero((np.isfinite(self.w_hi) | np.isfinite(self.w_lo)) & (self.path_m > 0))
        per_w = self.path_m[watched] / 1000.0
        over = _excess(w[watched] + choice @ d_w[watched].T, self.w_lo[watched], self.w_hi[watched]) / per_w
        voltage = np.maximum(over - 1.0, 0.0).sum(axis=1) if watched.size else np.zeros(len(choice))
        needs = self.needs
        value = np.where(needs.is_voltage, w[needs.row], y[needs.row] / 1000.0)
        change = np.where(needs.is_voltage[:, None], d_w[needs.row], d_y[needs.row] / 1000.0)
        gap = np.maximum(needs.amount - needs.way * (value + choice @ change.T), 0.0) / needs.per_kw
        unserved = gap.sum(axis=1) * 1000.0
        price = choice @ self.columns.price[open_]
        late = choice @ self.columns.place[open_]
        best = np.lexsort((late, price, np.round(unserved, 3), np.round(voltage, 3), np.round(thermal, 3)))[0]
        floor[open_] += choice[best]
        return floor

    def _round_nested(self, floor_w: I8A, open_: I8A, part_w: F8A) -> I8A:
        """Round the open columns, each to 0 or 1 W above its floor, so that no thermal row is broken.

        The sum below each kept node goes to one of the two whole numbers next to it: sets nest, so the sums of a
        node's own columns and of its children can always make up either.
        """
        n, sign = self.kept.position.size, self.columns.sign
        items: list[list[int]] = [[] for _ in range(n)]  # child c as c, open column f as -1 - f
        for f, row in enumerate(self.column_row[open_]):
            items[row].append(-1 - f)
        for c in range(n - 1, -1, -1):
            if self.kept.above[c] >= 0:
                items[self.kept.above[c]].append(c)
        whole = np.bincount(self.column_row, sign * floor_w, n)
        value, low, high = whole.copy(), whole.copy(), whole.copy()
        at, way = self.column_row[open_], sign[open_]
        np.add.at(value, at, way * part_w)
        np.add.at(low, at, np.minimum(way, 0.0))
        np.add.at(high, at, np.maximum(way, 0.0))
        for k in range(n - 1, -1, -1):  # preorder: children come before their parent here
            least = max(low[k], np.ceil(self.y_lo[k] * 1000.0 - _DUST_W), np.floor(value[k] + _DUST_W))
            most = min(high[k], np.floor(self.y_hi[k] * 1000.0 + _DUST_W), np.ceil(value[k] - _DUST_W))
            # rounding errors of many columns may leave nothing between the two
            low[k], high[k] = (least, most) if least <= most else (np.clip(most, low[k], high[k]),) * 2
            above = self.kept.above[k]
            if above >= 0:
                for total, own in ((value, value[k]), (low, low[k]), (high, high[k])):
                    total[above] += own
        raised = np.zeros(open_.size, np.int64)
        target = np.clip(np.rint(value), low, high)
        ends = dict(enumerate(zip(low, high, value, strict=True)))
        ends |= {
            -1 - f: (min(w, 0.0), max(w, 0.0), w * part) for f, (w, part) in enumerate(zip(way, part_w, strict=True))
        }
        for k in range(n):
            missing = target[k] - whole[k] - sum(ends[i][0] for i in items[k])
            for i in sorted(items[k], key=lambda i: ends[i][0] - ends[i][2]):
                least, most, _ = ends[i]
                more = min(missing, most - least)
                missing -= more
                if i >= 0:
                    target[i] = least + more
                else:
                    raised[-1 - i] = int(abs(least + more))
        return raised

    def state(self, x_w: I8A) -> tuple[F8A, F8A]:
        """Return y in W and w in pu^2 of the kept nodes."""
        flow = np.r_[0.0, np.cumsum(self.columns.sign * x_w)]
        first = np.searchsorted(self.columns.position, self.kept.position)
        end = np.searchsorted(self.columns.position, self.last)
        y = flow[end] - flow[first]
        ends = np.searchsorted(self.kept.position, self.last)
        return y, path_sum(self.kept.step_m * y / 1000.0, ends)

    def tight_voltage(self, x_w: I8A, direction_down: bool) -> tuple[I8A, F8A]:
        """Return the kept rows whose voltage leaves less than 2 W for a direction, and their distance from the root."""
        _, w = self.state(x_w)
        per_w = np.maximum(self.path_m, 0.0) / 1000.0
        slack = w - self.w_lo if direction_down else self.w_hi - w
        rows = np.flatnonzero(np.isfinite(slack) & (slack <= 2.0 * per_w))
        return rows, self.path_m[rows]


def path_sum(values: F8A, last: I8A) -> F8A:
    """Sum along the path from the top, for nodes in preorder."""
    ends = np.zeros(values.size + 1)
    ends[:-1] = values
    np.subtract.at(ends, last, values)
    return np.cumsum(ends)[:-1]


def _excess(value: F8A, low: F8A, high: F8A) -> F8A:
    return np.maximum(np.maximum(value - high, low - value), 0.0)


def _cheapest(cost: F8A, place: F8A, a_ub: Any, b_ub: F8A | None, a_eq: Any, low: F8A, high: F8A) -> F8A | None:
    """Minimise the cost, and among all answers of least cost the sum of places; None if there is no answer.

    An answer costs least if and only if it keeps at its bound all that has a dual: these are held, and nothing else.
    Prices count as equal here if less than a tenth of a millionth of a millionth of the dearest one apart.
    """
    from scipy import sparse

    found = minimise(cost, a_ub, b_ub, a_eq, low, high)
    if found is None:
        return None
    at_low, at_high = found.lower.marginals > _TOLERANCE, found.upper.marginals < -_TOLERANCE
    free = cost[(place > 0) & ~at_low & ~at_high]
    if np.unique(free).size < free.size:
        b_eq = np.zeros(a_eq.shape[0])
        if a_ub is not None and b_ub is not None:
            tight = found.ineqlin.marginals < -_TOLERANCE
            a_eq, b_eq = sparse.vstack([a_eq, a_ub[tight]]), np.r_[b_eq, b_ub[tight]]
        earliest = minimise(place, a_ub, b_ub, a_eq, np.where(at_high, high, low), np.where(at_low, low, high), b_eq)
        # within its tolerance the solver may find what it has just found to have no answer
        found = found if earliest is None else earliest
    return np.asarray(found.x, np.float64)


def minimise(cost: F8A, a_ub: Any, b_ub: F8A | None, a_eq: Any, low: F8A, high: F8A, b_eq: F8A | None = None) -> Any:
    """Minimise by HiGHS dual simplex (a vertex, the same on every run); None if there is no answer."""
    from scipy.optimize import linprog

    b_eq = np.zeros(a_eq.shape[0]) if b_eq is None else b_eq
    answer = linprog(cost, a_ub, b_ub, a_eq, b_eq, np.stack([low, high], axis=1), method="highs-ds")
    if answer.status == 2:
        return None
    if answer.status != 0:
        raise FlexcoreError(f"HiGHS stopped with status {answer.status}: {answer.message}")
    return answer


def select_by_lp(
    tree: Tree,
    rows: Rows,
    book: Book,
    step: int,
    feeder: int,
    quantity_w: I8A,
    price: I8A,
    *,
    y_tree: I8A,
) -> tuple[I8A, I8A, I8A]:
    """Select in one feeder and step by LP.

    Parameters
    ----------
    quantity_w : ndarray of int64, shape (n_offers,)
        Offered and allowed in this step. [W]
    price : ndarray of int64, shape (n_offers,)
        As offered. [micro-EUR/MWh]
    y_tree : ndarray of int64, shape (n,)
        The net activation that the merit order on the tree gives at and below each node. [W]

    Returns
    -------
    offers, accepted_w : ndarray of int64
        Positions of the feeder's offers and what they get.
    blocked_by : ndarray of int64
        Node whose voltage leaves an offer no room, -1 where none does.
    """
    inside = (book.node >= feeder) & (book.node < tree.last[feeder])
    offers = np.flatnonzero(inside & (quantity_w > 0))
    if not offers.size:
        return offers, np.zeros(0, np.int64), np.zeros(0, np.int64)
    # OFR-03: no W that serves no need may pay for itself; offers that may not act here have no say in it
    counted = price[offers] + max(0, 1 - int(price[offers].min()))
    columns = _columns(book, offers, quantity_w[offers], counted)
    problem = _FeederProblem(tree, rows, step, feeder, columns)
    # the tree, which knows no voltage rows, serves most: what it leaves open no LP can close
    part = slice(feeder, int(tree.last[feeder]))
    lower, upper, y = rows.lower_w[step, part], rows.upper_w[step, part], y_tree[part]
    open_need = bool((((lower > 0) & (y < lower)) | ((upper < 0) & (y > upper))).any())
    x_w = problem.round_to_watts(problem.solve(try_all=not open_need))
    # fill merged offers in the order of submission
    accepted = np.zeros(columns.member.size, np.int64)
    before = np.r_[0, np.cumsum(quantity_w[columns.member])]
    first = np.searchsorted(columns.column, np.arange(x_w.size))
    used = before[:-1] - before[first[columns.column]]
    accepted = np.clip(x_w[columns.column] - used, 0, quantity_w[columns.member])
    blocked = np.full(columns.member.size, -1, np.int64)
    for down in (False, True):
        tight, depth = problem.tight_voltage(x_w, down)
        mine = np.flatnonzero((book.down[columns.member] == 1) == down)
        shared = np.zeros(mine.size)
        position = book.node[columns.member[mine]]
        for row, _ in sorted(zip(tight.tolist(), depth.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[
            :16
        ]:
            common = _shared_m(problem, int(row), position)
            better = common > shared
            shared[better] = common[better]
            blocked[mine[better]] = problem.kept.position[row]
    return columns.member, accepted, blocked


def _shared_m(problem: _FeederProblem, row: int, position: npt.NDArray[np.int32]) -> F8A:
    """Effect on the voltage of a kept node of 1 kW at each position: m summed over the common path."""
    effect = np.zeros(position.size)
    path = []
    while row >= 0:
        path.append(row)
        row = int(problem.kept.above[row])
    for k in reversed(path):
        inside = (position >= problem.kept.position[k]) & (position < problem.last[k])
        effect[inside] = problem.path_m[k]
    return effect
