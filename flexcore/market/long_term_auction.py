"""The seasonal auction of long-term contracts at least expected total cost (LTC-01, EDGE)."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, OfferError, UnknownIdError
from flexcore.market.long_term import ContractBook
from flexcore.market.long_term_award import COST_UNITS, ENGINES, Award, TenderProblem, decide
from flexcore.market.merit_order import as_rank
from flexcore.market.service_windows import Int64s, ServiceWindows, WindowSets, positions
from flexcore.tables import check
from flexcore.tables.check import Columns
from flexcore.units import to_eur

#: Why an offer got what it got, by code.
REASONS = (
    "accepted",
    "accepted in part",
    "not needed: nothing is required in its windows",
    "above a price cap",
    "its capacity is taken in another offer",
    "beyond the budget",
    "dearer than what was taken",
    "cheaper per effective W than what was taken, but does not fit",
)
_ALL, _PART, _NO_NEED, _CAP, _TAKEN, _BUDGET, _DEARER, _MISFIT = range(len(REASONS))


@dataclass(frozen=True, slots=True)
class AuctionResult:
    """Outcome of `long_term_auction`.

    Attributes
    ----------
    offer_id, offer_tender : ndarray, shape (n_offers,)
        As given.
    awarded_w : ndarray of int64, shape (n_offers,)
        [W]
    reason : ndarray of uint8, shape (n_offers,)
        Index into `REASONS`.
    expected_availability_ueur, expected_use_ueur : ndarray of int64, shape (n_offers,)
        The two parts of the expected cost of each award, each rounded half to even. [micro-EUR]
    need_tender, need_window : ndarray, shape (n_needs,)
        As given.
    required_w, short_w : ndarray of int64, shape (n_needs,)
        Effective power required, and what is missing of it, rounded up. [W]
    tender_id : ndarray, shape (n_tenders,)
    engine : ndarray of str, shape (n_tenders,)
        "none" (nothing required or offered), "merit_order" or "milp".
    proved : ndarray of bool, shape (n_tenders,)
        True if no award has less shortfall, or the same at less cost. For "milp" this rests on the bound that HiGHS
        gives, in floating point, and on costs and powers being whole numbers.
    gap : ndarray of float64, shape (n_tenders,)
        (cost - lower bound) / cost; 0 where proved, NaN where the search was stopped before the shortfall was settled.
    tie_settled : ndarray of bool, shape (n_tenders,)
        False if the search among awards of equal cost was stopped at `tie_nodes`.
    expected_cost_ueur : ndarray of int64, shape (n_tenders,)
        Expected total cost, rounded up once: it never seems to fit a budget that it passes. [micro-EUR]
    contracts : ContractBook
        One contract for each award; its id is the offer's.
    """

    offer_id: npt.NDArray[Any]
    offer_tender: npt.NDArray[Any]
    awarded_w: Int64s
    reason: npt.NDArray[np.uint8]
    expected_availability_ueur: Int64s
    expected_use_ueur: Int64s
    need_tender: npt.NDArray[Any]
    need_window: npt.NDArray[Any]
    required_w: Int64s
    short_w: Int64s
    tender_id: npt.NDArray[Any]
    engine: npt.NDArray[np.str_]
    proved: npt.NDArray[np.bool_]
    gap: npt.NDArray[np.float64]
    tie_settled: npt.NDArray[np.bool_]
    expected_cost_ueur: Int64s
    contracts: ContractBook

    @property
    def expected_cost(self) -> Decimal:
        """Expected total cost of all tenders in EUR."""
        return to_eur(sum(self.expected_cost_ueur.tolist()))

    def to_arrow(self) -> Any:
        """Return one row per offer as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(
            {
                "offer_id": self.offer_id,
                "tender_id": self.offer_tender,
                "awarded_w": self.awarded_w,
                "reason": np.array(REASONS)[self.reason],
                "expected_availability_ueur": self.expected_availability_ueur,
                "expected_use_ueur": self.expected_use_ueur,
            }
        )


def long_term_auction(
    tenders: Any,
    needs: Any,
    offers: Any,
    offer_windows: Any,
    windows: Any,
    *,
    tz: str = "Europe/Rome",
    node_limit: int | None = None,
    tie_nodes: int = 1000,
) -> AuctionResult:
    """Award long-term contracts at least expected total cost; each tender by itself.

    In this order: least shortfall (missing effective W times the quarter-hours of its window, summed over windows),
    least expected cost, least sum of awarded W times place, the place being that by (expected cost per effective W,
    submission time, id). The budget and the price caps hold always. One capacity is not sold twice: of the offers of
    one aggregate in one tender that share a quarter-hour at most one is taken.

    Parameters
    ----------
    tenders, needs, offers, offer_windows, windows : table
        `longterm_tenders`, `longterm_needs`, `longterm_offers`, `longterm_offer_windows`, `service_windows`.
    tz : str
        Zone of the local clock.
    node_limit : int, optional
        Nodes after which the MILP of one tender stops; the result then says how far it is from proved. None: no limit.
    tie_nodes : int
        Nodes that the MILP may spend on choosing among awards of equal cost.

    Returns
    -------
    AuctionResult

    Raises
    ------
    OfferError
        FX-A001..FX-A011 for the tables, FX-M270 a window without time, FX-M272 an offer without a window, FX-M273 a
        least award that cannot be had, FX-M274 a window given twice, FX-M275 the solver's answer does not hold.
    UnknownIdError
        FX-M271 an unknown tender, offer or window, or an offer for a window that its tender does not need.

    Notes
    -----
    The expected cost of an award of x MW is x (pa h + sum over its windows of P u pu): availability price times hours
    of its windows, those in several windows once, plus probability times hours of use times use price. Expected use
    adds up over windows, so where windows overlap each states its own.
    """
    found = Findings("auction")
    for name, value in (("node_limit", node_limit), ("tie_nodes", tie_nodes)):
        if value is not None:
            found.check_count(name, value, 1)
    found.raise_errors()
    calendar = ServiceWindows.from_table(windows, tz=tz)
    lots = check("longterm_tenders", tenders, error=OfferError)
    wanted = check("longterm_needs", needs, error=OfferError)
    lines = check("longterm_offers", offers, error=OfferError)
    links = check("longterm_offer_windows", offer_windows, error=OfferError)
    sets = calendar.sets(links["offer_id"], lines["offer_id"], links["window_id"], "longterm_offer_windows")
    need_lot = positions(wanted["tender_id"], lots["tender_id"], "longterm_needs", "tender_id")
    need_window = positions(wanted["window_id"], calendar.window_id, "longterm_needs", "window_id")
    lot = positions(lines["tender_id"], lots["tender_id"], "longterm_offers", "tender_id")
    _check_needs(wanted, need_lot, need_window, lines, lot, sets)
    units, least = _whole_units(lines, lots["granularity_w"][lot])

    distinct, which = sets.distinct()
    rivals = _rivals(lines, lot)
    quarters, per_set, shared = _count(calendar, distinct, which[rivals], need_window)
    clashes: dict[int, list[tuple[int, int]]] = {}
    for a, b in rivals[shared].tolist():
        clashes.setdefault(int(lot[a]), []).append((a, b))
    expected = np.where(wanted["use_quarters"] < 0, quarters[need_window], wanted["use_quarters"])
    availability, use = _unit_costs(
        lines, lot, need_lot, need_window, wanted["activation_ppm"] * expected, sets, per_set[which]
    )

    n, awarded = lines["offer_id"].size, np.zeros(lines["offer_id"].size, np.int64)
    reason, short = np.full(n, _NO_NEED, np.uint8), wanted["required_w"].copy()
    order = _tie_rank(lines, availability, use)
    grain = lots["granularity_w"].tolist()
    above = (lines["availability_ueur_per_mw_h"] > lots["availability_cap_ueur_per_mw_h"][lot]) | (
        lines["use_ueur_per_mwh"] > lots["use_cap_ueur_per_mwh"][lot]
    )
    outcomes: list[Award] = []
    total_cost: list[int] = []
    for k in range(lots["tender_id"].size):
        rows = np.flatnonzero((need_lot == k) & (wanted["required_w"] > 0))
        row_of = {int(w): i for i, w in enumerate(need_window[rows])}
        mine = np.flatnonzero(lot == k)
        covers = {o: frozenset(row_of[w] for w in sets.of(o) if w in row_of) for o in mine.tolist()}
        reason[mine[above[mine]]] = _CAP
        live = [o for o in mine[np.argsort(order[mine])].tolist() if covers[o] and units[o] and not above[o]]
        place = {o: i for i, o in enumerate(live)}
        problem = TenderProblem(
            cost=[grain[k] * (availability[o] + use[o]) for o in live],
            effect=[grain[k] * int(lines["effect_permille"][o]) for o in live],
            least=[int(least[o]) for o in live],
            most=[int(units[o]) for o in live],
            covers=[covers[o] for o in live],
            need=[1000 * int(w) for w in wanted["required_w"][rows]],
            weight=[int(quarters[w]) for w in need_window[rows]],
            budget=int(lots["budget_ueur"][k]) * COST_UNITS,
            clashes=[
                (min(place[a], place[b]), max(place[a], place[b]))
                for a, b in clashes.get(k, [])
                if a in place and b in place
            ],
        )
        award = decide(problem, node_limit=node_limit, tie_nodes=tie_nodes)
        outcomes.append(award)
        total_cost.append(-(-problem.cost_of(award.units) // COST_UNITS))
        awarded[live] = [grain[k] * u for u in award.units]
        missing = problem.short(award.units)
        short[rows] = [-(-m // 1000) for m in missing]
        reason[live] = _reasons(problem, award.units, missing)
    won = np.flatnonzero(awarded > 0)
    return AuctionResult(
        lines["offer_id"], lines["tender_id"], awarded, reason, _rounded(availability, awarded),
        _rounded(use, awarded), wanted["tender_id"], wanted["window_id"], wanted["required_w"], short,
        lots["tender_id"], np.array(ENGINES)[[a.engine for a in outcomes]],
        np.array([a.proved for a in outcomes], np.bool_), np.array([a.gap for a in outcomes], np.float64),
        np.array([a.tie_settled for a in outcomes], np.bool_), np.array(total_cost, np.int64),
        _contracts(won, lines, lots, lot, awarded, sets, calendar),
    )  # fmt: skip


def _check_needs(
    wanted: Columns, need_lot: Int64s, need_window: Int64s, lines: Columns, lot: Int64s, sets: WindowSets
) -> None:
    """Refuse a window that a tender needs twice, and an offer for a window that its tender does not need."""
    pair: dict[tuple[int, int], int] = {}
    found = Findings("longterm_needs", need_lot.size)
    twice = [
        row
        for row, key in enumerate(zip(need_lot.tolist(), need_window.tolist(), strict=True))
        if pair.setdefault(key, row) != row
    ]
    if twice:
        ids = wanted["tender_id"][twice]
        found.add("FX-M274", "a tender needs a window twice", field="window_id", rows=twice, ids=ids)
    found.raise_errors(OfferError)
    bad = [o for o, k in enumerate(lot.tolist()) if any((k, w) not in pair for w in sets.of(o))]
    found = Findings("longterm_offers", lot.size)
    if bad:
        hint = "add the window to longterm_needs, with required_w 0 if nothing is required in it"
        found.add(
            "FX-M271", f"{len(bad)} offers cover a window that their tender does not need", rows=bad,
            ids=lines["offer_id"][bad], hint=hint,
        )  # fmt: skip
    found.raise_errors(UnknownIdError)


def _whole_units(lines: Columns, grain: Int64s) -> tuple[Int64s, Int64s]:
    """Return the most and the least units of each award."""
    units, least = lines["quantity_w"] // grain, np.maximum(-(-lines["min_w"] // grain), 1)
    bad = np.flatnonzero((lines["min_w"] > 0) & (least > units))
    found = Findings("longterm_offers", grain.size)
    if bad.size:
        found.add(
            "FX-M273", "no multiple of the granularity lies between min_w and quantity_w", field="min_w", rows=bad,
            ids=lines["offer_id"][bad],
        )  # fmt: skip
    found.raise_errors(OfferError)
    return units, least


def _rivals(lines: Columns, lot: Int64s) -> npt.NDArray[np.int64]:
    """Return pairs of offers of one aggregate in one tender, shape (n_pairs, 2)."""
    groups: dict[tuple[int, Any], list[int]] = {}
    for o, key in enumerate(zip(lot.tolist(), lines["aggregate"].tolist(), strict=True)):
        groups.setdefault(key, []).append(o)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _count(
    calendar: ServiceWindows, distinct: WindowSets, pairs: npt.NDArray[np.int64], need_window: Int64s
) -> tuple[Int64s, Int64s, npt.NDArray[np.bool_]]:
    """Return quarter-hours per window and per set of windows, and which pairs of sets have one in common."""
    per_window = np.zeros(calendar.n_windows, np.int64)
    per_set = np.zeros(distinct.n_sets, np.int64)
    shared = np.zeros(pairs.shape[0], np.bool_)
    for _, mask in calendar.by_month():
        per_window += mask.sum(axis=1)
        inside = distinct.overlap(mask)
        per_set += inside.sum(axis=1)
        shared |= (inside[pairs[:, 0]] & inside[pairs[:, 1]]).any(axis=1)
    empty = np.unique(need_window[per_window[need_window] == 0])
    found = Findings("service_windows", calendar.n_windows)
    if empty.size:
        found.add("FX-M270", "a window holds no quarter-hour", rows=empty, ids=calendar.window_id[empty])
    found.raise_errors(OfferError)
    return per_window, per_set, shared


def _unit_costs(
    lines: Columns, lot: Int64s, need_lot: Int64s, need_window: Int64s, use_ppm: Int64s, sets: WindowSets,
    quarters: Int64s,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Return availability and use cost of 1 W of each offer, in micro-EUR times `COST_UNITS`."""
    used = dict(zip(zip(need_lot.tolist(), need_window.tolist(), strict=True), use_ppm.tolist(), strict=True))
    availability = [
        10**6 * h * p for h, p in zip(quarters.tolist(), lines["availability_ueur_per_mw_h"].tolist(), strict=True)
    ]
    use = [
        price * sum(used[k, w] for w in sets.of(o))
        for o, (price, k) in enumerate(zip(lines["use_ueur_per_mwh"].tolist(), lot.tolist(), strict=True))
    ]
    return availability, use


def _tie_rank(lines: Columns, availability: list[int], use: list[int]) -> Int64s:
    """Rank offers by (expected cost per effective W, submission time, id)."""
    per_w = [Fraction(a + u, e) for a, u, e in zip(availability, use, lines["effect_permille"].tolist(), strict=True)]
    ids = as_rank(lines["offer_id"], "offer_id", len(per_w)).tolist()
    time = lines["submitted_at"].tolist()
    rank = np.empty(len(per_w), np.int64)
    rank[sorted(range(len(per_w)), key=lambda o: (per_w[o], time[o], ids[o]))] = np.arange(len(per_w))
    return rank


def _reasons(problem: TenderProblem, units: list[int], missing: list[int]) -> list[int]:
    """Explain each offer of a problem."""
    taken = {o for o, k in enumerate(units) if k}
    blocked = {a for a, b in problem.clashes if b in taken} | {b for a, b in problem.clashes if a in taken}
    codes = []
    for o, k in enumerate(units):
        if k:
            code = _ALL if k == problem.most[o] else _PART
        elif o in blocked:
            code = _TAKEN
        elif any(missing[w] for w in problem.covers[o]):
            code = _BUDGET
        else:  # offers stand in the order of cost per effective W
            later = [p for p in taken if p > o and problem.covers[p] <= problem.covers[o]]
            dearer = any(problem.cost[p] * problem.effect[o] > problem.cost[o] * problem.effect[p] for p in later)
            code = _MISFIT if dearer else _DEARER
        codes.append(code)
    return codes


def _rounded(unit_cost: list[int], awarded: Int64s) -> Int64s:
    """Price awards, each rounded half to even; they fit, since no budget is above 2^62 micro-EUR."""
    amounts = [round(Fraction(c * w, COST_UNITS)) for c, w in zip(unit_cost, awarded.tolist(), strict=True)]
    return np.array(amounts, np.int64)


def _contracts(
    won: npt.NDArray[np.intp], lines: Columns, lots: Columns, lot: Int64s, awarded: Int64s, sets: WindowSets,
    calendar: ServiceWindows,
) -> ContractBook:  # fmt: skip
    """Turn awards into contracts."""
    size = np.diff(sets.indptr)[won]
    flat = [w for o in won.tolist() for w in sets.of(o)]
    return ContractBook(
        lines["offer_id"][won], lines["bsp"][won], lines["aggregate"][won], lots["perimeter"][lot[won]],
        lots["direction"][lot[won]], awarded[won], lines["availability_ueur_per_mw_h"][won],
        lines["use_ueur_per_mwh"][won], np.zeros(won.size, np.int32), lines["submitted_at"][won],
        WindowSets(np.r_[0, np.cumsum(size)].astype(np.int64), np.array(flat, np.int32)), calendar,
    )  # fmt: skip
