"""Selection by mixed-integer programming, for the parts of a selection in which a condition of an offer binds."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market.bid_model import BidModel, Part, build_model, stages
from flexcore.market.bid_problem import BidProblem
from flexcore.market.local_clearing import ENGINES

F8A = npt.NDArray[np.float64]
I8A = npt.NDArray[np.int64]

_LP, _MILP = ENGINES.index("lp"), len(ENGINES)
_DEAREST = 1e6
_PROVED = 1e-9  # relative: what float64 bounds of sums of prices can tell apart
_TOLERANCE = 1e-6  # of the solver
_HELD = 1e-9  # relative room of the least cost while the earliest are looked for: rounding errors of its sum


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """What one part gets.

    Attributes
    ----------
    rows, accepted_w, requests, served_w : ndarray of int64
    engine : int
        Index into `BID_ENGINES`: LP or MILP.
    gap : float
        Largest relative distance between the answer and the proved bound over all stages; 0 where it is optimal,
        infinite where the time ran out before any bound.
    """

    rows: I8A
    accepted_w: I8A
    requests: I8A
    served_w: I8A
    engine: int
    gap: float


class _Solver:
    """The matrix of one model, and stages solved on it one after the other, each holding those before it."""

    def __init__(self, model: BidModel, deadline: float) -> None:
        self.model = model
        self.deadline = deadline
        self.whole = np.array(model.whole, np.int64)
        self.low, self.high = np.array(model.low, np.float64), np.array(model.high, np.float64)
        self.row = np.repeat(np.arange(len(model.terms)), [len(terms) for terms in model.terms])
        flat = [term for terms in model.terms for term in terms]
        self.column = np.array([variable for variable, _ in flat], np.int64)
        self.value = np.array([coefficient for _, coefficient in flat], np.float64)
        big = 2.0**60
        lows, highs = np.array(model.row_low, np.float64), np.array(model.row_high, np.float64)
        self.row_low, self.row_high = np.where(lows < -big, -np.inf, lows), np.where(highs > big, np.inf, highs)
        self.held: list[tuple[dict[int, int], float, float]] = []  # objective, scale, most
        # above a million the solver's absolute tolerances are finer than float64: divisible powers get larger units
        largest = float(self.high[self.whole == 0].max(initial=1.0))
        self.size = np.where(self.whole == 0, max(1.0, largest / _DEAREST), 1.0)
        self.value = self.value * self.size[self.column]
        shrink = np.ones(self.row_low.size)
        np.maximum.at(shrink, self.row, np.abs(self.value) / _DEAREST)
        self.value = self.value / shrink[self.row]
        self.row_low, self.row_high = self.row_low / shrink, self.row_high / shrink

    def _highs(self, objective: dict[int, int], scale: float, low: F8A, high: F8A, whole: I8A) -> Any:
        from scipy import optimize, sparse

        cost = np.zeros(low.size)
        cost[list(objective)] = [coefficient * scale for coefficient in objective.values()]
        cost *= self.size
        rows, columns, values, highs = [self.row], [self.column], [self.value], [self.row_high]
        for k, (terms, factor, most) in enumerate(self.held):
            rows.append(np.full(len(terms), self.row_low.size + k))
            columns.append(np.array(list(terms), np.int64))
            values.append(np.array([coefficient * factor for coefficient in terms.values()]) * self.size[list(terms)])
            highs.append(np.array([most]))
        shape = (self.row_low.size + len(self.held), low.size)
        where = (np.concatenate(rows), np.concatenate(columns))
        matrix = sparse.csr_matrix((np.concatenate(values), where), shape=shape)
        lows = np.r_[self.row_low, np.full(len(self.held), -np.inf)]
        options = {"mip_rel_gap": 0.0, "time_limit": max(self.deadline - time.monotonic(), 0.01)}
        bounds = optimize.Bounds(low / self.size, high / self.size)
        rules = optimize.LinearConstraint(matrix, lows, np.concatenate(highs))
        return optimize.milp(cost, integrality=whole, bounds=bounds, options=options, constraints=rules)

    def stage(self, name: str, objective: dict[int, int]) -> tuple[list[int] | None, float]:
        """Return whole numbers that minimise an objective, or None, and a bound that no answer can pass."""
        scale = self._scale(name, objective)
        found = self._highs(objective, scale, self.low, self.high, self.whole)
        bound = found.get("mip_dual_bound") if self.whole.any() else (found.fun if found.status == 0 else None)
        bound = -math.inf if bound is None or not np.isfinite(bound) else float(bound) / scale
        if found.x is None:
            return None, bound
        answer = self._whole_numbers(found.x)
        if answer is None:  # a binary that is off by the solver's tolerance times a large power
            fixed = np.where(self.whole == 1, np.rint(found.x), self.low)
            again = self._highs(
                objective, scale, fixed, np.where(self.whole == 1, fixed, self.high), np.zeros_like(self.whole)
            )
            answer = None if again.x is None else self._whole_numbers(again.x)
        return answer, bound

    def _whole_numbers(self, x: F8A) -> list[int] | None:
        answer = [int(value) for value in np.rint(x * self.size)]
        return answer if self.model.allows(answer) else None

    def hold(self, name: str, objective: dict[int, int], value: int) -> None:
        """Let later stages do no worse; any room left here would be spent by powers that the model leaves divisible."""
        scale = self._scale(name, objective)
        self.held.append(
            (objective, scale, value * scale + (_HELD * max(1.0, abs(value * scale)) if name == "cost" else 0.0))
        )

    def _scale(self, name: str, objective: dict[int, int]) -> float:
        """Costs count in multiples of their unit, the dearest at most a million; the rest like the powers."""
        sizes = [abs(coefficient) for coefficient in objective.values()]
        largest = max(size * self.size[variable] for size, variable in zip(sizes, objective, strict=True))
        unit = math.gcd(*sizes) if name == "cost" else self.size.max()
        return float(min(1.0 / unit, _DEAREST / largest))


def _value(objective: dict[int, int], answer: list[int]) -> int:
    return sum(coefficient * answer[variable] for variable, coefficient in objective.items())


def _in_order(problem: BidProblem, rows: list[int], accepted: dict[int, int]) -> None:
    """Fill the price steps of each line in their order, the total kept."""
    bids = problem.bids
    lines: dict[int, list[int]] = {}
    for r in rows:
        if bids.block[r] < 0:
            lines.setdefault(int(bids.line[r]), []).append(r)
    for members in lines.values():
        rest = sum(accepted[r] for r in members)
        for r in sorted(members, key=lambda r: int(bids.price_step[r])):
            accepted[r] = min(rest, int(bids.quantity_w[r]))
            rest -= accepted[r]


def solve_part(problem: BidProblem, part: Part, *, over_procurement: str | int, time_limit_s: float) -> PartAnswer:
    """Select in one part: least unserved, then least beyond the need, then least cost, then the earliest.

    Each stage is one LP or MILP by HiGHS with `mip_rel_gap=0`. Its answer is rounded to whole units, checked against
    every row in exact arithmetic, and kept only if it is no worse than the one before in all earlier stages.
    """
    model = build_model(problem, part, over_procurement)
    solver = _Solver(model, time.monotonic() + time_limit_s)
    todo = stages(problem, part, model)
    best = [0] * len(model.low)  # nothing selected is always allowed
    done: list[dict[int, int]] = []
    gap = 0.0
    for name, objective in todo:
        answer, bound = solver.stage(name, objective)
        kept = [_value(earlier, best) for earlier in done]
        if answer is not None:
            worse = [_value(earlier, answer) for earlier in done] > kept
            if not worse and _value(objective, answer) <= _value(objective, best):
                best = answer
        value = _value(objective, best)
        if name != "late":
            gap = max(gap, _gap(value, bound, math.gcd(*objective.values())))
        solver.hold(name, objective, value)
        done.append(objective)
    accepted = dict.fromkeys(part.rows.tolist(), 0)
    for r, terms in model.power.items():
        accepted[r] = sum(coefficient * best[variable] for variable, coefficient in terms) * model.unit_w
    _in_order(problem, part.rows.tolist(), accepted)
    served = [best[model.served[j]] * model.unit_w for j in part.requests.tolist()]
    return PartAnswer(
        part.rows, np.array([accepted[r] for r in part.rows.tolist()], np.int64), part.requests,
        np.array(served, np.int64), _MILP if solver.whole.any() else _LP, gap,
    )  # fmt: skip


def _gap(value: int, bound: float, unit: int) -> float:
    """Relative distance of an answer from a bound; 0 where no other multiple of the unit lies between the two."""
    if not math.isfinite(bound):
        return math.inf
    room = max(_PROVED * max(abs(bound), abs(value)), _TOLERANCE * unit)
    distance = value - bound
    return 0.0 if distance < unit * 0.999 or distance <= room else distance / max(abs(value), 1.0)
