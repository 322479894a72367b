"""One part of a selection with conditions as a mixed-integer model in whole numbers: answers can be checked exactly."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from flexcore.market.bid_problem import BidProblem
from flexcore.market.tree_clearing import NO_BOUND
from flexcore.tables.bids import NEVER

I8A = npt.NDArray[np.int64]
Terms = list[tuple[int, int]]  # (variable, coefficient)

_FREE = 2**61


@dataclass(frozen=True, slots=True)
class Part:
    """Rows, requests and (feeder, step) cells that must be decided together."""

    rows: I8A
    requests: I8A
    cells: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class BidModel:
    """Variables and rows of one part, in multiples of `unit_w`.

    Attributes
    ----------
    low, high, whole : list
        Bounds of each variable, and whether it must be whole where the rows do not make it so.
    terms, row_low, row_high : list
        Each row as (variable, coefficient) pairs with its bounds.
    power : dict
        Row of the table of offers to its power as terms.
    served : dict
        Request to its variable.
    beyond : list
        Variables that count what is activated beyond the outermost needs.
    unit_w : int
        Greatest common divisor of all powers of the part. [W]
    """

    unit_w: int = 1
    low: list[int] = field(default_factory=list)
    high: list[int] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    terms: list[Terms] = field(default_factory=list)
    row_low: list[int] = field(default_factory=list)
    row_high: list[int] = field(default_factory=list)
    power: dict[int, Terms] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)
    beyond: list[int] = field(default_factory=list)

    def variable(self, high: int, *, whole: bool = False) -> int:
        """Add a variable from 0 to `high` and return its number."""
        self.low.append(0)
        self.high.append(int(high))
        self.whole.append(whole)
        return len(self.low) - 1

    def row(self, terms: Iterable[tuple[int, int]], low: int = -_FREE, high: int = _FREE) -> None:
        """Add a row; terms of one variable are added up."""
        total: dict[int, int] = {}
        for variable, coefficient in terms:
            total[variable] = total.get(variable, 0) + int(coefficient)
        self.terms.append([pair for pair in total.items() if pair[1]])
        self.row_low.append(int(low))
        self.row_high.append(int(high))

    def any_of(self, members: list[int]) -> int:
        """Return a binary that is 1 if one of the binaries is, and only then."""
        if len(set(members)) == 1:
            return members[0]
        result = self.variable(1, whole=True)
        for member in set(members):
            self.row([(result, 1), (member, -1)], low=0)
        self.row([(result, 1), *((member, -1) for member in set(members))], high=0)
        return result

    def allows(self, answer: list[int]) -> bool:
        """Whether whole numbers keep every bound and every row, in exact arithmetic."""
        inside = all(low <= x <= high for low, x, high in zip(self.low, answer, self.high, strict=True))
        return inside and all(
            low <= sum(coefficient * answer[variable] for variable, coefficient in terms) <= high
            for terms, low, high in zip(self.terms, self.row_low, self.row_high, strict=True)
        )


def build_model(problem: BidProblem, part: Part, over_procurement: str | int) -> BidModel:
    """Write one part as a model; see docs/explanation/bids.md for the rules behind each row."""
    bids = problem.bids
    live = part.rows[bids.quantity_w[part.rows] > 0]
    limited = (bids.rest[live] > 0) | (bids.run[live] < len(problem.steps))
    windows = bool((limited & ~bids.rebound[live]).any())
    model = BidModel(unit_w=1 if windows else _unit(problem, part, live, over_procurement))
    on: dict[int, int] = {}  # row to the binary of its line or block
    _add_blocks(model, problem, live, on, windows)
    _add_lines(model, problem, live, on, windows)
    _add_exclusive(model, problem, live, on)
    if windows:
        _add_windows(model, problem, live, on)
    _add_grid(model, problem, part, live, over_procurement)
    return model


def _unit(problem: BidProblem, part: Part, live: I8A, over_procurement: str | int) -> int:
    """Greatest common divisor of all powers that the part knows."""
    bids, unit = problem.bids, 0
    for values in (bids.quantity_w[live], bids.least_w[live], problem.requests.quantity_w[part.requests]):
        unit = math.gcd(unit, *values.tolist())
    unit = math.gcd(
        unit, *(int(g) for g, b in zip(bids.granularity_w[live], bids.block[live], strict=True) if g > 1 and b < 0)
    )
    for feeder, step in part.cells:
        inside = slice(feeder, int(problem.tree.last[feeder]))
        for bound in (problem.limit_lower_w[step, inside], problem.limit_upper_w[step, inside]):
            unit = math.gcd(unit, *bound[np.abs(bound) < NO_BOUND].tolist())
    for k in np.unique(bids.place[live]).tolist():
        unit = math.gcd(unit, *(power for _, power in (problem.spread[k] if k >= 0 else ())))
    for members in _groups(live, bids.block).values():
        whole = block_steps(problem, members)
        unit = math.gcd(unit, *(int(bids.quantity_w[r]) // whole for r in members))
    if isinstance(over_procurement, int):
        unit = math.gcd(unit, over_procurement)
    return max(unit, 1)


def _groups(rows: I8A, key: I8A) -> dict[int, list[int]]:
    """Rows by key, those with a key of -1 left out."""
    groups: dict[int, list[int]] = {}
    for r in rows.tolist():
        if key[r] >= 0:
            groups.setdefault(int(key[r]), []).append(r)
    return groups


def block_steps(problem: BidProblem, members: list[int]) -> int:
    """Into how many equal shares a block can be cut so that each of its rows stays a multiple of its granularity."""
    bids = problem.bids
    return math.gcd(*(int(bids.quantity_w[r] // bids.granularity_w[r]) for r in members))


def block_least(problem: BidProblem, members: list[int], steps: int) -> int:
    """Least number of shares at which every row of a block has its least power."""
    bids = problem.bids
    return max(-(-int(bids.least_w[r]) * steps // int(bids.quantity_w[r])) for r in members)


def _add_blocks(model: BidModel, problem: BidProblem, live: I8A, on: dict[int, int], windows: bool) -> None:
    bids = problem.bids
    for members in _groups(live, bids.block).values():
        steps = block_steps(problem, members)
        least = block_least(problem, members, steps)
        delivering = [r for r in members if not bids.rebound[r]]
        needed = windows or least > 1 or any(bids.exclusive[r] >= 0 for r in delivering)
        if least >= steps:
            share, size = model.variable(1, whole=True), steps
            running = share
        else:
            share, size = model.variable(steps, whole=True), 1
            running = model.variable(1, whole=True) if needed else -1
            if needed:
                model.row([(share, 1), (running, -steps)], high=0)
                model.row([(share, 1), (running, -max(least, 1))], low=0)
        for r in members:
            model.power[r] = [(share, int(bids.quantity_w[r]) // steps * size // model.unit_w)]
        on.update(dict.fromkeys(delivering, running))


def _add_lines(model: BidModel, problem: BidProblem, live: I8A, on: dict[int, int], windows: bool) -> None:
    bids, unit = problem.bids, model.unit_w
    for found in _groups(live, np.where(bids.block >= 0, -1, bids.line)).values():
        members = sorted(found, key=lambda r: int(bids.price_step[r]))
        first = members[0]
        size = int(bids.granularity_w[first])
        total = sum(int(bids.quantity_w[r]) for r in members)
        least = -(-int(bids.least_w[first]) // size) * size
        most = total // size * size
        needed = windows or bids.exclusive[first] >= 0
        running = -1
        if least >= total:
            running = model.variable(1, whole=True)
            for r in members:
                model.power[r] = [(running, int(bids.quantity_w[r]) // unit)]
        elif len(members) == 1 and size > unit:
            count = model.variable(most // size, whole=True)
            model.power[first] = [(count, size // unit)]
        else:
            for r in members:
                model.power[r] = [(model.variable(int(bids.quantity_w[r]) // unit, whole=bool(bids.place[r] >= 0)), 1)]
            if size > unit:
                count = model.variable(most // size, whole=True)
                model.row([*(term for r in members for term in model.power[r]), (count, -(size // unit))], 0, 0)
        all_terms = [term for r in members for term in model.power[r]]
        if running < 0 and (needed or least > max(size, 1)):
            running = model.variable(1, whole=True)
            model.row([*all_terms, (running, -(total // unit))], high=0)
            model.row([*all_terms, (running, -(max(least, size if windows else 0) // unit))], low=0)
        prices = [int(bids.price[r]) for r in members]
        if least < total and any(later < sooner for sooner, later in pairwise(prices)):
            for sooner, later in pairwise(members):
                full = model.variable(1, whole=True)
                model.row([*model.power[later], (full, -(int(bids.quantity_w[later]) // unit))], high=0)
                model.row([*model.power[sooner], (full, -(int(bids.quantity_w[sooner]) // unit))], low=0)
        on.update(dict.fromkeys(members, running))


def _add_exclusive(model: BidModel, problem: BidProblem, live: I8A, on: dict[int, int]) -> None:
    bids = problem.bids
    groups: dict[tuple[int, int], dict[int, list[int]]] = {}
    for r in live.tolist():
        if bids.exclusive[r] >= 0 and not bids.rebound[r]:
            key = (int(bids.exclusive[r]), -1 if bids.by_day[r] else int(bids.step[r]))
            groups.setdefault(key, {}).setdefault(int(bids.bid[r]), []).append(on[r])
    for group in groups.values():
        if len(group) > 1:
            model.row([(model.any_of(members), 1) for members in group.values()], high=1)


def _add_windows(model: BidModel, problem: BidProblem, live: I8A, on: dict[int, int]) -> None:
    """Longest runs and least rests of units: a rest is a gap between two quarter-hours that run."""
    bids = problem.bids
    for members in _groups(live, np.where(bids.rebound, -1, bids.unit)).values():
        rest, run = int(bids.rest[members[0]]), int(bids.run[members[0]])
        by_step: dict[int, list[int]] = {}
        for r in members:
            by_step.setdefault(int(problem.steps[bids.step[r]]), []).append(on[r])
        runs = {step: model.any_of(found) for step, found in sorted(by_step.items())}
        for step in runs:
            window = [runs.get(t) for t in range(step, step + run + 1)] if run < len(runs) else [None]
            if None not in window:
                model.row([(z, 1) for z in window if z is not None], high=run)
            for later in runs:
                if 1 < later - step <= rest:
                    for between in range(step + 1, later):
                        waits = [(runs[between], -1)] if between in runs else []
                        model.row([(runs[step], 1), (runs[later], 1), *waits], high=1)


def reach_of(problem: BidProblem, r: int) -> list[tuple[int, int, int, bool]]:
    """Effect of one row on the elements above it: (element, guaranteed, burden, per W).

    `guaranteed` counts where the power is wanted, `burden` where it takes room; both are factors of the power if
    `per W`, else W of the whole offer. An offer at one element has 1 and 1 on its path. One with places has the linear
    inner form of OFR-01: what is sure to act inside is max(0, x - what sits outside), what may act there is
    min(x, what sits inside).
    """
    bids, tree = problem.bids, problem.tree
    result = []
    if bids.place[r] < 0:
        i = int(bids.node[r])
        while tree.parent[i] >= 0:
            result.append((i, 1, 1, True))
            i = int(tree.parent[i])
        return result
    places = problem.spread[int(bids.place[r])]
    everything = sum(power for _, power in places)
    inside: dict[int, int] = {}
    for node, power in places:
        i = node
        while tree.parent[i] >= 0:
            inside[i] = inside.get(i, 0) + power
            i = int(tree.parent[i])
    quantity = int(bids.quantity_w[r])
    fixed = bids.least_w[r] >= quantity
    for i, power in sorted(inside.items()):
        outside = everything - power
        if fixed:
            result.append((i, max(0, quantity - outside), min(quantity, power), False))
        else:
            result.append((i, int(outside == 0), int(power > 0), True))
    return result


def _add_grid(model: BidModel, problem: BidProblem, part: Part, live: I8A, over_procurement: str | int) -> None:
    bids, requests, unit = problem.bids, problem.requests, model.unit_w
    least: dict[tuple[int, int], Terms] = {}  # the net activation that is sure, to be held against lower bounds
    most: dict[tuple[int, int], Terms] = {}  # and the one that may come, against upper bounds
    for r in live.tolist():
        for i, sure, burden, per_w in reach_of(problem, r):
            at, pair = (int(bids.step[r]), i), (-burden, -sure) if bids.down[r] else (sure, burden)
            for table, factor in zip((least, most), pair, strict=True):
                for variable, coefficient in model.power[r]:
                    change = coefficient * factor if per_w else factor // unit
                    table.setdefault(at, []).append((variable, change))

    asked: dict[tuple[int, int, bool], list[int]] = {}
    for j in part.requests.tolist():
        model.served[j] = model.variable(int(requests.quantity_w[j]) // unit)
        if requests.quantity_w[j] > 0:  # a need of nothing asks for nothing, not even to stay as it is
            asked.setdefault((int(requests.step[j]), int(requests.node[j]), bool(requests.down[j])), []).append(j)
    for j in part.requests.tolist():
        k = int(requests.condition[j])
        if k >= 0:
            full = model.variable(1, whole=True)
            model.row([(model.served[k], 1), (full, -(int(requests.quantity_w[k]) // unit))], low=0)
            model.row([(model.served[j], 1), (full, -(int(requests.quantity_w[j]) // unit))], high=0)
    for (step, i, down), found in asked.items():
        net = most.get((step, i), []) if down else least.get((step, i), [])
        sign = -1 if down else 1
        model.row([*((v, sign * c) for v, c in net), *((model.served[j], -1) for j in found)], low=0)
    for (step, i), terms in least.items():
        bound = int(problem.limit_lower_w[step, i])
        if bound > -NO_BOUND:
            model.row(terms, low=bound // unit)
    for (step, i), terms in most.items():
        bound = int(problem.limit_upper_w[step, i])
        if bound < NO_BOUND:
            model.row(terms, high=bound // unit)
    if over_procurement == "least_cost":
        return
    for feeder, step in part.cells:
        for i, down, amount in outermost_needs(problem, feeder, step):
            net = most.get((step, i), []) if not down else least.get((step, i), [])
            sign = -1 if down else 1
            room = sum(abs(c) * model.high[v] for v, c in net)
            if isinstance(over_procurement, int):
                model.row([(v, sign * c) for v, c in net], high=(amount + over_procurement) // unit)
            elif room:
                beyond = model.variable(room)
                model.row([(beyond, 1), *((v, -sign * c) for v, c in net)], low=-(amount // unit))
                model.beyond.append(beyond)


def outermost_needs(problem: BidProblem, feeder: int, step: int) -> list[tuple[int, bool, int]]:
    """Return (element, down, W asked for) of needs that no need of their direction contains; nested ones count once."""
    tree = problem.tree
    last = int(tree.last[feeder])
    result = []
    for down, need in enumerate(problem.rows.need_w):
        own = need[step, feeder:last].astype(object)
        if not own.any():
            continue
        below = np.zeros(last - feeder, object)
        for i in range(last - 1, feeder - 1, -1):
            below[i - feeder] = max(int(own[i - feeder]), int(below[i - feeder]))
            if i > feeder:
                below[tree.parent[i] - feeder] += below[i - feeder]
        i = feeder
        while i < last:
            if own[i - feeder] > 0:
                result.append((i, bool(down), int(below[i - feeder])))
                i = int(tree.last[i])
            else:
                i += 1
    return result


def stages(problem: BidProblem, part: Part, model: BidModel) -> list[tuple[str, dict[int, int]]]:
    """Return what is minimised, one after the other, as whole coefficients of variables."""
    bids, requests = problem.bids, problem.requests
    plain = [j for j in part.requests.tolist() if requests.cap[j] == NEVER and requests.condition[j] < 0]
    more = [j for j in part.requests.tolist() if requests.cap[j] == NEVER and requests.condition[j] >= 0]
    capped = [j for j in part.requests.tolist() if requests.cap[j] != NEVER]
    delivering = [r for r in model.power if not bids.rebound[r]]
    raised = max(0, 1 - min((int(bids.price[r]) for r in delivering), default=1))
    cost: dict[int, int] = {}
    late: dict[int, int] = {}
    order = sorted(delivering, key=lambda r: int(bids.tie[r]))
    for place, r in enumerate(order, 1):
        for variable, coefficient in model.power[r]:
            cost[variable] = cost.get(variable, 0) + coefficient * (int(bids.price[r]) + raised)
            late[variable] = late.get(variable, 0) + coefficient * place
    for r in model.power:
        if bids.rebound[r]:
            for variable, coefficient in model.power[r]:
                cost[variable] = cost.get(variable, 0) + coefficient * int(bids.price[r])
    for j in capped:
        cost[model.served[j]] = -(int(requests.cap[j]) + raised)
    result = [
        ("unserved", {model.served[j]: -1 for j in plain}),
        ("conditional", {model.served[j]: -1 for j in more}),
        ("beyond", dict.fromkeys(model.beyond, 1)),
        ("cost", cost),
        ("late", late),
    ]
    return [(name, objective) for name, objective in result if any(objective.values())]
