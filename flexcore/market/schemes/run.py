"""Runs a scheme on a case: stage by stage, each step by itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OptionError
from flexcore.market.schemes.case import CoordinationCase, Floats
from flexcore.market.schemes.clearing import StageOrder, StepState, clear_stage
from flexcore.market.schemes.interface import Reply, aggregate_curve, at_net, combine, price_interfaces
from flexcore.market.schemes.presets import scheme as find_scheme
from flexcore.market.schemes.protection import (
    cap_left,
    dynamic_light,
    forward_filtered,
    forward_unselected,
    remove_harmful,
)
from flexcore.market.schemes.stage import PRODUCTS, Scheme, Stage
from flexcore.market.schemes.ties import earliest_first

#: What each buyer buys for where buyers are served one after the other.
_NEEDS_OF = {"dso": ("d_congestion",), "tso": ("balance", "t_congestion"), "brp": ("trade",), "peers": ("trade",)}
_STEPS_PER_CHUNK = 1


@dataclass(frozen=True, slots=True, eq=False)
class StageRecord:
    """What one stage did.

    Attributes
    ----------
    stage : Stage
    accepted_kw : ndarray, shape (n_offers, n_steps)
        As selected. [kW]
    kept_kw : ndarray, shape (n_offers, n_steps)
        What is left of it after an ex-post filter and double selection. [kW]
    seen : ndarray of bool, shape (n_offers, n_steps)
        Offers that took part.
    cap_kw : ndarray, shape (n_steps, 2, n_perimeters), or None
        Dynamic traffic light.
    interface_price : ndarray, shape (n_systems, n_steps), or None
        [EUR/MWh]
    n_rounds : int
        Prices asked, or points of curves sent, over all steps and systems; 0 without either.
    """

    stage: Stage
    accepted_kw: Floats
    kept_kw: Floats
    seen: npt.NDArray[np.bool_]
    cap_kw: Floats | None = None
    interface_price: Floats | None = None
    n_rounds: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SchemeRun:
    """Result of a scheme.

    Attributes
    ----------
    scheme : Scheme
    case : CoordinationCase
    taken_kw : ndarray, shape (n_offers, n_steps)
        What is activated in the end. [kW]
    trade_kw : ndarray, shape (n_bids, n_steps)
        Bids of market parties that are served. [kW]
    stages : tuple of StageRecord
    seconds : float
    """

    scheme: Scheme
    case: CoordinationCase
    taken_kw: Floats
    trade_kw: Floats
    stages: tuple[StageRecord, ...]
    seconds: float


def run_scheme(
    case: CoordinationCase,
    scheme: str | Scheme,
    *,
    interface_price: npt.ArrayLike | None = None,
    interface_bounds_kw: npt.ArrayLike | None = None,
    curve_points: int = 8,
    n_threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> SchemeRun:
    """Run a coordination scheme.

    Parameters
    ----------
    case : CoordinationCase
    scheme : str or Scheme
        A name of `presets()`, or any scheme.
    interface_price : array_like, shape (n_systems, n_steps), optional
        For stages with a priced interface; by default the prices that make separate markets reach the joint optimum are
        found. [EUR/MWh]
    interface_bounds_kw : array_like, shape (n_systems, 2), optional
        For stages with a bounded interface: least and largest net activation of each system; leaving them costs the
        penalty of imbalance. [kW]
    curve_points : int
        Points of an aggregated cost curve on either side of zero together.
    n_threads : int
        Never changes the result.
    progress : callable, optional
        Called with a line of text before each stage.

    Returns
    -------
    SchemeRun

    Raises
    ------
    OptionError
        FX-E002 for an unknown name, FX-M301 for a scheme that contradicts itself, FX-M305 for bounds that are missing,
        FX-M306 for bounds that cross.
    ValidationError
        FX-A001 for a shape.

    Notes
    -----
    Selections are not rounded to whole W: they are studies, not orders. Each step is cleared by itself.

    Of offers of one price, direction and node the earlier goes first. Between nodes a tie of total cost is the solver's
    choice: the same on every run, and not always the same for another order of rows in the case.
    """
    found = find_scheme(scheme)
    if interface_price is not None:
        interface_price = as_float(interface_price, "interface_price", shape=(case.n_systems, case.n_steps))
    bounds = None
    if interface_bounds_kw is not None:
        bounds = as_float(interface_bounds_kw, "interface_bounds_kw", shape=(case.n_systems, 2), finite=False)
        _refuse_crossed(bounds)
    _refuse_missing(found, bounds)
    curve_points = int(as_int(curve_points, "curve_points", shape=(), lo=2))
    clock = time.perf_counter()
    shape = (case.offers.n_offers, case.n_steps)
    taken, left = np.zeros(shape), case.offers.quantity_kw.copy()
    trade = np.zeros((case.bids.direction.size, case.n_steps))
    records: list[StageRecord] = []
    hidden = np.zeros(shape)  # awards that the next stage does not know of
    for number, stage in enumerate(found.stages):
        if progress is not None:
            progress(f"{found.title}: stage {number + 1} of {len(found.stages)}")
        known = taken - hidden
        quantity = _visible(case, stage, left, known)
        before = found.stages[number - 1].forward if number else "none"
        run = _StageRun(case, stage, known, trade, quantity, interface_price, bounds, curve_points, n_threads)
        accepted, bought = run.by_curve() if before == "curve" else run.clear()
        trade = trade + bought
        if stage.check == "ex_post":
            kept = run.filtered()
        else:
            if "peers" not in stage.buyers:  # a book has its own priority of time
                accepted = earliest_first(case, quantity, accepted)
            kept = accepted
        # the same power selected twice is delivered once
        kept = np.minimum(kept, case.offers.quantity_kw - taken)
        taken = taken + kept
        records.append(
            StageRecord(stage, accepted, kept, quantity > 0, run.cap_kw, run.interface_price, int(run.rounds.sum()))
        )
        left, hidden = _forward(case, stage, taken, kept, left, hidden, n_threads)
    return SchemeRun(found, case, taken, trade, tuple(records), time.perf_counter() - clock)


def _refuse_missing(scheme: Scheme, bounds_kw: Floats | None) -> None:
    stages = [number for number, stage in enumerate(scheme.stages) if stage.interface == "bounded"]
    if stages and bounds_kw is None:
        found = Findings(f"scheme {scheme.name}", len(scheme.stages))
        hint = "pass interface_bounds_kw"
        found.add("FX-M305", "an interface is bounded, and no bounds are given", rows=stages, hint=hint)
        found.raise_errors(OptionError)


def _refuse_crossed(bounds_kw: Floats) -> None:
    low, high = bounds_kw[:, 0], bounds_kw[:, 1]
    # also NaN, and an end that no power reaches
    wrong = np.flatnonzero(~(low <= high) | (low == np.inf) | (high == -np.inf))
    if wrong.size:
        found = Findings("interface_bounds_kw", low.size)
        found.add("FX-M306", "the least net activation of a system is above the largest, or is no number", rows=wrong)
        found.raise_errors(OptionError)


def _visible(case: CoordinationCase, stage: Stage, left_kw: Floats, known_kw: Floats) -> Floats:
    """What a stage may take: offers of its networks and products, within the static light if that is its check."""
    offers = case.offers
    at_t = offers.node < 0
    seen = (at_t & ("t" in stage.offers)) | (~at_t & ("d" in stage.offers))
    if stage.products:
        bits = sum(1 << PRODUCTS.index(product) for product in stage.products)
        seen &= (offers.products & bits) > 0
    quantity = np.where(seen[:, None], left_kw, 0.0)
    if stage.check == "static":
        allowed = np.maximum(offers.static_kw - known_kw, 0.0)
        quantity = np.where(at_t[:, None], quantity, np.minimum(quantity, allowed))
    return quantity


def _forward(
    case: CoordinationCase, stage: Stage, taken_kw: Floats, kept_kw: Floats, left_kw: Floats, hidden_kw: Floats,
    n_threads: int,
) -> tuple[Floats, Floats]:  # fmt: skip
    """What the next stage may use, and the awards that it does not know of."""
    if stage.forward == "same_book":
        return left_kw, hidden_kw + kept_kw
    # stages that keep the schedule of the interface run side by side: the next one counts on the schedule
    nothing = hidden_kw + kept_kw if stage.interface == "fixed" else np.zeros_like(left_kw)
    at_t = (case.offers.node < 0)[:, None]
    # what stages on the same book took is gone once the book is closed
    rest = np.clip(left_kw - kept_kw, 0.0, np.maximum(case.offers.quantity_kw - taken_kw, 0.0))
    if stage.forward == "none":
        return np.where(at_t, rest, 0.0), nothing
    if stage.forward == "unselected":
        return forward_unselected(case, taken_kw, rest), nothing
    if stage.forward == "filtered":
        light = dynamic_light(case, taken_kw, rest, n_threads=n_threads)
        return np.where(at_t, rest, forward_filtered(case, rest, light)), nothing
    return rest, nothing


class _StageRun:
    """One stage over all steps."""

    def __init__(
        self, case: CoordinationCase, stage: Stage, taken_kw: Floats, trade_kw: Floats, quantity_kw: Floats,
        interface_price: Floats | None, bounds_kw: Floats | None, curve_points: int, n_threads: int,
    ) -> None:  # fmt: skip
        self.case, self.stage, self.quantity = case, stage, quantity_kw
        self.taken, self.trade = taken_kw, trade_kw
        self.given_price, self.curve_points, self.n_threads = interface_price, curve_points, n_threads
        self.bounds = None if bounds_kw is None else (bounds_kw[:, 0], bounds_kw[:, 1])
        self.rounds = np.zeros(case.n_steps, np.int64)
        #: Per buyer, in the order in which they are served.
        self.awards = np.zeros((len(stage.priority), case.n_steps, case.offers.n_offers))
        self.cap_kw: Floats | None = None
        self.interface_price: Floats | None = None
        if stage.check == "dynamic":
            self.cap_kw = dynamic_light(case, taken_kw, quantity_kw, n_threads=n_threads)
        if stage.interface == "priced":
            self.interface_price = (
                np.zeros((case.n_systems, case.n_steps)) if interface_price is None else interface_price.copy()
            )

    def _order(self, step: int, needs: frozenset[str]) -> StageOrder:
        stage = self.stage
        return StageOrder(
            quantity_kw=np.ascontiguousarray(self.quantity[:, step]),
            needs=needs,
            # a limit that is only checked afterwards is not seen
            sees_d=stage.grid_seen in ("d", "t+d"),
            sees_t=stage.grid_seen in ("t", "t+d"),
            requests_only=stage.grid_seen not in ("d", "t+d"),
            interface=stage.interface,
            interface_price=None if self.given_price is None else self.given_price[:, step],
            interface_bounds=self.bounds if stage.interface == "bounded" else None,
            cap_kw=None if self.cap_kw is None else self.cap_kw[step],
        )

    def _state(self, step: int, accepted_kw: Floats | float = 0.0, bought_kw: Floats | float = 0.0) -> StepState:
        return StepState.of(self.case, step, self.taken[:, step] + accepted_kw, self.trade[:, step] + bought_kw)

    def clear(self) -> tuple[Floats, Floats]:
        """Clear all steps; returns what is accepted, and the bids served."""
        case, stage = self.case, self.stage
        if "peers" in stage.buyers:
            from flexcore.market.schemes.peers import clear_peers

            return clear_peers(case, stage, self.taken, self.trade, self.quantity, n_threads=self.n_threads)
        accepted = np.zeros((case.n_steps, case.offers.n_offers))
        trade = np.zeros((case.n_steps, case.bids.direction.size))
        served = stage.priority if stage.priority != ("cost",) else ("all",)

        def task(lo: int, hi: int) -> None:
            for step in range(lo, hi):
                for turn, buyer in enumerate(served):
                    needs = frozenset(stage.needs if buyer == "all" else set(stage.needs) & set(_NEEDS_OF[buyer]))
                    order = self._order(step, needs)
                    order = replace(order, quantity_kw=np.maximum(order.quantity_kw - accepted[step], 0.0))
                    if order.cap_kw is not None:  # buyers share one light
                        order = replace(order, cap_kw=cap_left(case, order.cap_kw, accepted[step]))
                    state = self._state(step, accepted[step], trade[step])
                    if stage.interface == "priced" and self.given_price is None:
                        rest = np.maximum(case.offers.quantity_kw[:, step] - state.taken_kw, 0.0)
                        found = price_interfaces(case, step, state, order, rest)
                        assert self.interface_price is not None  # made with the stage
                        self.interface_price[:, step] = found.price
                        self.rounds[step] += found.n_rounds
                        accepted[step] += found.accepted_kw
                        continue
                    answer = clear_stage(case, step, state, order)
                    accepted[step] += answer.accepted_kw
                    self.awards[turn, step] = answer.accepted_kw
                    trade[step] += answer.trade_kw

        run_chunks(task, case.n_steps, n_threads=self.n_threads, chunk=_STEPS_PER_CHUNK)
        return np.ascontiguousarray(accepted.T), np.ascontiguousarray(trade.T)

    def by_curve(self) -> tuple[Floats, Floats]:
        """Clear with one aggregated curve per system in place of its offers; each system then does what is asked."""
        case = self.case
        accepted = np.zeros((case.n_steps, case.offers.n_offers))

        def task(lo: int, hi: int) -> None:
            for step in range(lo, hi):
                state = self._state(step)
                order = replace(self._order(step, frozenset(self.stage.needs)), sees_d=True)
                curves = [
                    aggregate_curve(case, step, state, order, e, self.curve_points) for e in range(case.n_systems)
                ]
                nothing = np.zeros(case.offers.n_offers)
                replies = [
                    [Reply(nothing, float(net), float(cost)) for net, cost in zip(c.net_kw, c.cost, strict=True)]
                    for c in curves
                ]
                weights, _, at_t = combine(case, step, state, replies, order.quantity_kw)
                net = np.array([float(w @ c.net_kw) for w, c in zip(weights, curves, strict=True)])
                accepted[step] = at_t
                inside = np.where(case.offers.node >= 0, order.quantity_kw, 0.0)
                accepted[step] += at_net(case, step, state, replace(order, quantity_kw=inside), net).accepted_kw
                self.rounds[step] = sum(c.net_kw.size for c in curves)

        run_chunks(task, case.n_steps, n_threads=self.n_threads, chunk=_STEPS_PER_CHUNK)
        return np.ascontiguousarray(accepted.T), np.zeros((case.bids.direction.size, case.n_steps))

    def filtered(self) -> Floats:
        """Take out what harms the distribution grid, the last matched first."""
        case, offers = self.case, self.case.offers
        place = np.empty(offers.n_offers, np.int64)
        place[np.lexsort((offers.submitted, offers.price))] = np.arange(offers.n_offers)
        kept = np.empty((offers.n_offers, case.n_steps))
        for step in range(case.n_steps):
            kept[:, step] = remove_harmful(case, step, self._state(step), self.awards[:, step], place)
        return kept
