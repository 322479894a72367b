"""Which offers of one tender are taken: by merit order where that is provably best, else by a MILP, in whole units."""

from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, FlexcoreError, OfferError

#: What decided a tender.
ENGINES = ("none", "merit_order", "milp")
#: Prices are per MW or MWh and quarter-hours a fourth of an hour, probabilities are millionths: money as counted here
#: is micro-EUR times this.
COST_UNITS = 4_000_000 * 1_000_000

F8A = npt.NDArray[np.float64]
Units = list[int]

_LARGEST_COEFFICIENT = 1e3  # the solver's tolerance is 1e-6 of a row: small against one unit, large against rounding
_LARGEST_COST = 1e6
_EXACT_SUM = 2**50  # sums of whole numbers below it are exact in float64


@dataclass(frozen=True, slots=True)
class TenderProblem:
    """One tender in whole units; offers in the order of (expected cost per effective W, time, id).

    Attributes
    ----------
    cost : list of int
        Expected cost of one unit of each offer. [micro-EUR times `COST_UNITS`]
    effect : list of int
        Effective power of one unit. [mW]
    least, most : list of int
        Units of the smallest award other than none, and of the largest.
    covers : list of frozenset of int
        Needs that each offer covers.
    need : list of int
        Required effective power. [mW]
    weight : list of int
        Quarter-hours of each need's window.
    budget : int
        [micro-EUR times `COST_UNITS`]
    clashes : list of (int, int)
        Pairs of offers of which at most one is taken.
    """

    cost: list[int]
    effect: list[int]
    least: list[int]
    most: list[int]
    covers: list[frozenset[int]]
    need: list[int]
    weight: list[int]
    budget: int
    clashes: list[tuple[int, int]]

    def cost_of(self, units: Units) -> int:
        """Return the expected cost of an award."""
        return sum(c * k for c, k in zip(self.cost, units, strict=True))

    def short(self, units: Units) -> list[int]:
        """Return the missing power of each need, in mW."""
        missing = list(self.need)
        for o, k in enumerate(units):
            if k:
                for w in self.covers[o]:
                    missing[w] -= k * self.effect[o]
        return [max(0, m) for m in missing]

    def shortfall(self, units: Units) -> int:
        """Return the missing power times the quarter-hours of its window, summed."""
        return sum(m * q for m, q in zip(self.short(units), self.weight, strict=True))

    def place_sum(self, units: Units) -> int:
        """Return the sum of units times place, which decides between awards of equal cost."""
        return sum(place * k for place, k in enumerate(units, 1))

    def holds(self, units: Units) -> bool:
        """Return whether an award keeps to the offers, the clashes and the budget, in whole numbers."""
        sizes = all(k == 0 or a <= k <= b for k, a, b in zip(units, self.least, self.most, strict=True))
        return sizes and not any(units[a] and units[b] for a, b in self.clashes) and self.cost_of(units) <= self.budget


@dataclass(frozen=True, slots=True)
class Award:
    """What is taken in one tender.

    Attributes
    ----------
    units : list of int
        Per offer of the problem.
    engine : int
        Index into `ENGINES`.
    proved : bool
        True if nothing is better in shortfall, then cost: by the argument of the merit order, or because the solver's
        bounds leave less than one unit of the whole-number data.
    gap : float
        (cost - lower bound) / cost, 0 if proved; NaN if the solver was stopped before the shortfall was settled.
    tie_settled : bool
        False if the search among awards of equal cost was stopped before its end.
    """

    units: Units
    engine: int
    proved: bool
    gap: float
    tie_settled: bool


def decide(problem: TenderProblem, *, node_limit: int | None, tie_nodes: int) -> Award:
    """Take least shortfall first, then least expected cost, then the least sum of power times place."""
    if not any(problem.need) or not problem.cost:
        return Award([0] * len(problem.cost), 0, True, 0.0, True)
    plain = not problem.clashes and all(least == 1 for least in problem.least)
    if plain and len(set(problem.effect)) == 1 and len(set(problem.covers)) == 1:
        return Award(_merit_order(problem), 1, True, 0.0, True)
    return _Milp(problem, node_limit, tie_nodes).solve()


def _merit_order(problem: TenderProblem) -> Units:
    """Fill from the cheapest on: exact where units are worth the same, whoever offers them, and can be had one by one.

    The cheapest k units then cost least among all awards of k units, so the least k that covers all windows is best;
    if the budget does not allow it, the largest k that it allows covers most.
    """
    covered = next(iter(problem.covers))
    missing = -(-max(problem.need[w] for w in covered) // problem.effect[0])
    budget, units = problem.budget, []
    for cost, most in zip(problem.cost, problem.most, strict=True):
        k = min(most, missing) if cost == 0 else min(most, missing, budget // cost)
        units.append(k)
        missing, budget = missing - k, budget - cost * k
        if k < most:  # what comes later is no cheaper
            missing = 0
    return units


@dataclass(frozen=True, slots=True)
class _Answer:
    """Units found, None if the solver was stopped before it found any, and its bound on the objective."""

    units: Units | None
    bound: float


class _Milp:
    """Columns: units of each offer, one binary for each offer that has a least size or a clash, one gap per need."""

    def __init__(self, problem: TenderProblem, node_limit: int | None, tie_nodes: int) -> None:
        from scipy import sparse

        self.problem = problem
        self.node_limit, self.tie_nodes = node_limit, tie_nodes
        n, g = len(problem.cost), len(problem.need)
        in_clash = {o for pair in problem.clashes for o in pair}
        switched = [o for o in range(n) if problem.least[o] > 1 or o in in_clash]
        at = {o: n + i for i, o in enumerate(switched)}
        self.n, self.first_gap, self.width = n, n + len(switched), n + len(switched) + g
        self.integral = np.r_[np.ones(self.first_gap), np.zeros(g)]
        self.high = np.r_[np.array(problem.most, np.float64), np.ones(len(switched)), np.full(g, np.inf)]
        common = gcd(*problem.cost) or 1
        self.price = [c // common for c in problem.cost]
        self.common = common
        dearest = max(self.price)
        self.total = sum(c * k for c, k in zip(self.price, problem.most, strict=True))
        self.whole_costs = self.total < _EXACT_SUM
        self.cost_scale = max(1.0, dearest / _LARGEST_COST)
        self.row_scale = max(1.0, dearest / _LARGEST_COEFFICIENT)
        effect_unit = [gcd(*[problem.effect[o] for o in range(n) if w in problem.covers[o]]) for w in range(g)]

        rows, low, high = [], [], []

        def add(entries: dict[int, float], lo: float, hi: float) -> None:
            rows.append(entries)
            low.append(lo)
            high.append(hi)

        for o, column in at.items():
            add({o: 1.0, column: -float(problem.most[o])}, -np.inf, 0.0)
            if problem.least[o] > 1:
                add({o: 1.0, column: -float(problem.least[o])}, 0.0, np.inf)
        for a, b in problem.clashes:
            add({at[a]: 1.0, at[b]: 1.0}, -np.inf, 1.0)
        self.need_scale = []
        for w in range(g):
            mine = [o for o in range(n) if w in problem.covers[o]]
            unit = effect_unit[w] or 1
            scale = unit * max(1.0, max((problem.effect[o] / unit for o in mine), default=1.0) / _LARGEST_COEFFICIENT)
            self.need_scale.append(scale)
            add(
                {o: problem.effect[o] / scale for o in mine} | {self.first_gap + w: 1.0},
                problem.need[w] / scale,
                np.inf,
            )
        self.high[self.first_gap :] = np.array(problem.need) / np.array(self.need_scale)
        self.gap_worth = np.zeros(self.width)
        self.gap_worth[self.first_gap :] = np.array(self.need_scale) * np.array(problem.weight)
        self.gap_scale = max(1.0, self.gap_worth.max() / _LARGEST_COST)
        # the shortfall is a whole number of this many units
        self.gap_step = gcd(*[gcd(e, r) * q for e, r, q in zip(effect_unit, problem.need, problem.weight, strict=True)])
        self.low, self.up = np.array(low), np.array(high)
        i = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        j = np.array([c for r in rows for c in r], np.int64)
        v = np.array([x for r in rows for x in r.values()])
        self.matrix = sparse.csr_matrix((v, (i, j)), shape=(len(rows), self.width))
        self.cost_row = np.r_[np.array(self.price, np.float64) / self.row_scale, np.zeros(self.width - n)]

    def solve(self) -> Award:
        """Ask for all needs in full; if that cannot be had, find the least shortfall and hold it."""
        problem = self.problem
        objective = np.r_[np.array(self.price, np.float64) / self.cost_scale, np.zeros(self.width - self.n)]
        shortfall, least_known, answer = 0, True, self._run(objective, short=0)
        if answer is None or answer.units is None or problem.shortfall(answer.units):
            least = self._run(self.gap_worth / self.gap_scale, short=None)
            if least is None or least.units is None:  # stopped before any award was found: nothing is one
                return Award([0] * self.n, 2, False, float("nan"), False)
            shortfall = problem.shortfall(least.units)
            least_known = shortfall - least.bound * self.gap_scale < 0.5 * self.gap_step
            answer = self._run(objective, short=shortfall)
            if answer is None or answer.units is None or problem.shortfall(answer.units) > shortfall:
                return Award(least.units, 2, False, float("nan"), False)
        units, settled = self._settle_tie(answer.units, shortfall)
        cost, bound = problem.cost_of(units) // self.common, answer.bound * self.cost_scale
        proved = least_known and self.whole_costs and cost - bound < 0.5
        gap = 0.0 if proved or cost == 0 else max(0.0, (cost - bound) / cost)
        return Award(units, 2, proved, gap if least_known else float("nan"), settled)

    def _settle_tie(self, units: Units, shortfall: int) -> tuple[Units, bool]:
        """Among awards of no more cost take one with the least sum of units times place, and say if that is proved."""
        problem = self.problem
        place = np.r_[np.arange(1.0, self.n + 1), np.zeros(self.width - self.n)]
        cost = problem.cost_of(units) // self.common
        other = self._run(place, short=shortfall, cost=cost, node_limit=self.tie_nodes)
        if other is None or other.units is None or problem.shortfall(other.units) > shortfall:
            return units, False
        if problem.cost_of(other.units) > problem.cost_of(units):
            return units, False
        best = min(other.units, units, key=problem.place_sum)
        return best, problem.place_sum(best) - other.bound < 0.5

    def _run(
        self, objective: F8A, *, short: int | None, cost: int | None = None, node_limit: int | None = None
    ) -> _Answer | None:
        """Minimise; None if there is no answer.

        `short` is the most that the shortfall may be (None: free), `cost` the most that the cost may be.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        problem = self.problem
        limit = problem.budget // self.common if cost is None else cost
        allowed = np.inf if limit >= self.total else limit + 0.5  # costs are whole numbers
        high = self.high.copy()
        rows = [LinearConstraint(self.matrix, self.low, self.up)]
        if short == 0:
            high[self.first_gap :] = 0.0
        elif short is not None:
            scale = max(1.0, self.gap_worth.max() / _LARGEST_COEFFICIENT)
            most = (short + 0.5 * self.gap_step) / scale
            rows.append(LinearConstraint(self.gap_worth[None, :] / scale, -np.inf, most))
        nodes = self.node_limit if node_limit is None else node_limit
        options: dict[str, float] = {"mip_rel_gap": 0.0}
        if nodes is not None:
            options["node_limit"] = nodes
        for _ in range(4):
            budget = LinearConstraint(self.cost_row[None, :], -np.inf, allowed / self.row_scale)
            found = milp(
                objective, integrality=self.integral, bounds=Bounds(np.zeros(self.width), high),
                constraints=[*rows, budget], options=options,
            )  # fmt: skip
            if found.status == 2:
                return None
            stopped = found.status == 1 or (found.status == 4 and nodes is not None)  # 4: also its limit on nodes
            if found.status != 0 and not stopped:
                raise FlexcoreError(f"HiGHS stopped with status {found.status}: {found.message}")
            bound = float("-inf") if found.mip_dual_bound is None else float(found.mip_dual_bound)
            if found.x is None:
                return _Answer(None, bound)
            units = [round(k) for k in found.x[: self.n].tolist()]
            excess = problem.cost_of(units) // self.common - limit
            if problem.holds(units) and excess <= 0:
                return _Answer(units, bound)
            # within its tolerance the solver may pass the budget: ask again for that much less
            allowed = min(allowed, limit) - max(excess, 0)
        failed = Findings("auction")
        failed.add("FX-M275", "no award within the budget holds in whole numbers", hint="take a coarser granularity_w")
        failed.raise_errors(OfferError)
        return None
