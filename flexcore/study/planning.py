"""Phase two of a day: six pairs of sessions, from the forecast power flow to awards, lights and the AC check.

A session works on the steps that it plans, `day.plan(k)`. Its forecast contains no awards: local ones are added where
a rule says so, and each operator plans its own preliminary awards anew in its next session (MUT-03). What does not hang
on the grid is the work of `flexcore.market.rolling`; here stand the clearings and checks of LFP and MSD.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Finding
from flexcore.grid.capability import capability
from flexcore.grid.capability_result import CapabilityResult
from flexcore.grid.headroom import carried_by_branches
from flexcore.grid.needs import Needs, find_needs
from flexcore.market.awards import split_awards, sum_members
from flexcore.market.clearing import LocalSelection, clear_local
from flexcore.market.global_selection import GlobalSelection, residual_need, select_global
from flexcore.market.grid_check import OutcomeCheck, check_outcome
from flexcore.market.offers import OfferBook, Restatement, line_power, members_of_lines, offer_book
from flexcore.market.purchases import Purchase
from flexcore.market.recovery import recovery_steps
from flexcore.market.rolling import RollingMarket, StageRules, submit_before_gate
from flexcore.market.sessions import Sequencer, Session
from flexcore.market.slots import Slots
from flexcore.market.traffic_light import (
    TrafficLight,
    below_relieved,
    movable_power,
    relieved_elements,
    traffic_light,
)
from flexcore.market_day import MarketDay
from flexcore.register.register import Register
from flexcore.study.city import City, Forecast, OfferLines
from flexcore.study.least_need import least_open_w
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, w_to_kw

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Progress = Callable[[str], None]

#: A voltage may end this far beyond its limit before the light counts it: the resolution of the linear model.
VOLTAGE_SLACK_PU = 1e-3
#: Times that an MSD selects at most until what it takes leaves every POD its recovery time.
SELECTIONS = 6
#: Quantile of the normal distribution: needs and capabilities hold on the forecast's 95 % side.
ONE_SIDED_95 = 1.645


@dataclass(slots=True)
class SessionRecord:
    """What one LFP or MSD session did.

    Attributes
    ----------
    session : Session
    book : OfferBook
        Offers as restated and accepted into the session.
    accepted_w : ndarray of int64, shape (n_lines, n_steps)
    reason : ndarray of uint8, shape (n_lines, n_steps)
        Why a line was not fully accepted; a code of the engine that selected.
    restatement : Restatement or None
        None where the session was skipped.
    needs : Needs or None
        Of an LFP, on the steps of the plan.
    clearing : LocalSelection or None
    open_w : ndarray of int64, shape (steps of the plan,)
        Least activation that the thermal needs still ask for after an LFP; what an MSD leaves of the TSO's need, with
        what was selected of PODs that had not recovered. [W]
    light : TrafficLight or None
        Published by an LFP.
    certified : ndarray of bool, shape (steps of the plan,), or None
        Of an LFP: steps in which the capabilities behind the light hold by proof.
    selection, selected_from : GlobalSelection, OfferBook or None
        Of an MSD, and what it selected from: `book` without the power of PODs that would still have to recover.
    check : OutcomeCheck or None
        AC check after an MSD.
    held_w : ndarray of int64, shape (n_lines, n_steps)
        Power of each line's PODs that the operator could not select in this session. [W]
    n_slots_held : int
        Slots (POD and quarter-hour) held by this session.
    blocked_pods : int
        PODs that the other operator's holds kept out of this session's offers.
    findings : tuple of Finding
    """

    session: Session
    book: OfferBook
    accepted_w: Int64s
    reason: npt.NDArray[np.uint8]
    restatement: Restatement | None = None
    needs: Needs | None = None
    clearing: LocalSelection | None = None
    open_w: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    light: TrafficLight | None = None
    certified: Bools | None = None
    selection: GlobalSelection | None = None
    selected_from: OfferBook | None = None
    check: OutcomeCheck | None = None
    held_w: Int64s = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    n_slots_held: int = 0
    blocked_pods: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Plan:
    """The state of a day while its sessions run, and the record of all of them.

    Attributes
    ----------
    city : City
    day : MarketDay
    register : Register
    power_w : ndarray of int64, shape (2, 2, n_pods, n_steps)
        What each POD may offer by operator and direction: enrolled, ready and expected to be movable. [W]
    market : RollingMarket
        Slots, standing awards, messages, and what changed from session to session.
    records : list of SessionRecord
    """

    city: City
    day: MarketDay
    register: Register
    power_w: Int64s
    market: RollingMarket
    n_threads: int
    records: list[SessionRecord] = field(default_factory=list)

    @property
    def slots(self) -> Slots:
        """Who holds which POD in which quarter-hour."""
        return self.market.slots

    @property
    def awards_w(self) -> Int64s:
        """Standing awards per operator, direction, POD and step in W, shape (2, 2, n_pods, n_steps)."""
        return self.market.awards_w

    @property
    def sequencer(self) -> Sequencer:
        """The twelve sessions and their messages."""
        return self.market.sequencer

    def node_kw(self, operator: int, direction: int) -> Floats:
        """Standing awards per node in kW, shape (n_nodes, n_steps)."""
        return w_to_kw(self.register.node_sums_w(self.awards_w[operator, direction], n_threads=self.n_threads))


def _book(lines: OfferLines, operator: int, city: City, day: MarketDay) -> OfferBook:
    indptr, pods = members_of_lines(lines.line_of_pod, lines.id.size)
    return offer_book(
        operator=operator,
        line_id=lines.id,
        aggregate=lines.aggregate,
        bsp=lines.bsp,
        direction=lines.direction,
        node=lines.node,
        perimeter=lines.perimeter,
        price_ueur_per_mwh=lines.price_ueur_per_mwh,
        submitted_at=lines.submitted,
        indptr=indptr,
        pods=pods,
        n_pods=city.n_pods,
        pod_rank=city.pod_rank,
        n_steps=day.n_steps,
    )


def plan_day(
    city: City, day: MarketDay, register: Register, ready_w: Int64s, *, n_threads: int, progress: Progress
) -> Plan:
    """Run the twelve sessions of a day.

    Parameters
    ----------
    city : City
    day : MarketDay
    register : Register
    ready_w : ndarray of int64, shape (2, 2, n_pods, n_steps)
        Enrolled power of ready units (`Registration.ready_w`). [W]
    n_threads : int
    progress : callable
        Called with a line of text before each session.

    Returns
    -------
    Plan
    """
    expected = city.offerable(day)
    movable = np.stack([expected.up_w, expected.down_w])
    power_w = np.minimum(ready_w, movable[None])
    books = {LOCAL: _book(city.local_lines, LOCAL, city, day), GLOBAL: _book(city.global_lines, GLOBAL, city, day)}
    rest = np.zeros(city.n_pods, np.int32)
    np.maximum.at(rest, register.units.pod, recovery_steps(register.units.recovery_s))
    slots = Slots(city.n_pods, day.n_steps, recovery_steps=rest, n_threads=n_threads)
    submit = submit_before_gate(city.bsps.careless)
    market = RollingMarket(day, books, power_w, slots=slots, submit=submit, n_threads=n_threads)
    plan = Plan(city=city, day=day, register=register, power_w=power_w, market=market, n_threads=n_threads)
    local, globally = _LocalSession(plan), _GlobalSession(plan)
    market.run(
        {
            "LFP": StageRules(local.clear, needed=local.needed, check=local.check),
            "MSD": StageRules(globally.clear, check=globally.check),
        },
        progress=progress,
    )
    return plan


def forecast_margin_kw(city: City, forecast: Forecast, steps: slice, n_threads: int) -> Floats:
    """Return the 95 % band of the forecast flow in each node's branch, shape (n_nodes, steps of the plan), in kW.

    Own errors of the nodes below are independent, so their variances add up; what a feeder shares grows with its flow.
    """
    grid = city.grid
    own = carried_by_branches(grid, forecast.node_sigma_kw[:, steps] ** 2, n_threads)
    shared = forecast.area_sigma * carried_by_branches(grid, forecast.p_kw[:, steps], n_threads)
    return np.ascontiguousarray((ONE_SIDED_95 * np.sqrt(own + shared**2))[grid.forest.rank])


class _LocalSession:
    """LFP: needs of the forecast, local selection, awards, and the traffic light of the rest of the day."""

    __slots__ = ("clearing", "margin_kw", "needs", "p_kw", "plan", "q_kvar")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def needed(self, session: Session, market: RollingMarket) -> bool:
        plan, steps = self.plan, session.plan
        forecast = plan.city.forecast(plan.day, session.number)
        self.p_kw, self.q_kvar = (np.ascontiguousarray(x[:, steps]) for x in (forecast.p_kw, forecast.q_kvar))
        self.margin_kw = forecast_margin_kw(plan.city, forecast, steps, plan.n_threads)
        self.clearing: LocalSelection | None = None
        self.needs = find_needs(
            plan.city.grid, self.p_kw, self.q_kvar, margin_kw=self.margin_kw, n_threads=plan.n_threads
        )
        return len(self.needs) > 0

    def clear(self, session: Session, books: tuple[OfferBook, ...], market: RollingMarket) -> list[Int64s]:
        (book,), city, steps = books, self.plan.city, session.plan
        self.clearing = clear_local(
            city.grid,
            self.needs.rows,
            node=book.node,
            direction=book.direction,
            quantity_w=np.ascontiguousarray(book.quantity_w[:, steps]),
            price_ueur_per_mwh=book.price_ueur_per_mwh,
            submitted_at=book.submitted_at,
            offer_id=book.line_id,
            group=city.places.perimeter_of_node,
            n_threads=self.plan.n_threads,
        )
        return [_whole_day(self.clearing.accepted_w, self.plan.day, steps)]

    def check(self, session: Session, purchases: tuple[Purchase, ...], market: RollingMarket) -> int:
        plan, steps = self.plan, session.plan
        record = _record(session, purchases[0])
        record.needs, record.clearing = self.needs, self.clearing
        if self.clearing is not None:
            record.reason[:, steps] = self.clearing.reason
            record.open_w = least_open_w(
                plan.city.grid,
                self.needs.rows,
                record.book.node,
                record.book.direction,
                record.accepted_w[:, steps],
                n_threads=plan.n_threads,
            )
        _compute_light(plan, session, record, self.p_kw, self.q_kvar, self.margin_kw)
        plan.records.append(record)
        return session.number


def _record(session: Session, bought: Purchase) -> SessionRecord:
    """Start the record of a session; one that was skipped has no restatement."""
    skipped = session.skipped
    return SessionRecord(
        session,
        bought.book,
        bought.accepted_w,
        np.zeros(bought.accepted_w.shape, np.uint8),
        restatement=None if skipped else bought.restatement,
        n_slots_held=bought.n_slots_held,
        blocked_pods=bought.blocked_pods,
        findings=() if skipped else bought.findings,
        held_w=bought.held_w,
    )


def _compute_light(
    plan: Plan, session: Session, record: SessionRecord, p_kw: Floats, q_kvar: Floats, margin_kw: Floats
) -> None:
    """Compute capability and colours with the local awards that stand now."""
    city, day, steps = plan.city, plan.day, session.plan
    label = city.places.perimeter_of_node
    n_perimeters = city.places.perimeter_ids.size
    node = city.pods.node
    movable = [movable_power(plan.slots, plan.power_w[GLOBAL, way], node, city.grid.n_nodes) for way in (UP, DOWN)]
    movable = [np.where((label >= 0)[:, None], values, 0) for values in movable]
    local_kw = [np.ascontiguousarray(plan.node_kw(LOCAL, way)[:, steps]) for way in (UP, DOWN)]
    found = capability(
        city.grid,
        p_kw,
        q_kvar,
        up_kw=w_to_kw(movable[UP][:, steps]),
        down_kw=w_to_kw(movable[DOWN][:, steps]),
        perimeter=label,
        delivered_up_kw=local_kw[UP],
        delivered_down_kw=local_kw[DOWN],
        margin_kw=margin_kw,
        voltage_slack_pu=VOLTAGE_SLACK_PU,
        n_threads=plan.n_threads,
    )
    record.certified = found.certified
    needs = record.needs
    assert needs is not None  # set by the session before
    rules: dict[str, Any] = {}
    for way, name, thermal, voltage in (
        (UP, "up", needs.rows.lower_kw > 0, needs.rows.w_lower > 0),
        (DOWN, "down", needs.rows.upper_kw < 0, needs.rows.w_upper < 0),
    ):
        relieved = relieved_elements(
            city.grid.forest, local_kw[way], thermal, voltage, area=city.places.area_of_node, n_threads=plan.n_threads
        )
        against = movable[DOWN if way == UP else UP][:, steps]
        below = below_relieved(city.grid.forest, relieved, label, against, n_perimeters, n_threads=plan.n_threads)
        rules[f"relieved_{name}"] = _whole_day(below, day, steps)
        rules[f"local_{name}_w"] = sum_members(plan.awards_w[LOCAL, way], label[node], n_perimeters)
    record.light = traffic_light(
        _whole_day_capability(found, day, steps),
        day,
        session=session.number,
        version=session.number,
        **rules,
    )


def _whole_day(values: npt.NDArray[Any], day: MarketDay, steps: slice) -> npt.NDArray[Any]:
    """Put columns of a session's plan into an array of the whole day, zero before it."""
    full = np.zeros((*values.shape[:-1], day.n_steps), values.dtype)
    full[..., steps] = values
    return full


def _whole_day_capability(result: CapabilityResult, day: MarketDay, steps: slice) -> Any:
    names = [f"{kind}_{way}" for kind in ("kind", "binding", "at_node") for way in ("up", "down")]
    names += [f"{kind}{way}_kw" for kind in ("", "movable_", "margin_") for way in ("up", "down")]
    return SimpleNamespace(**{name: _whole_day(getattr(result, name), day, steps) for name in names})


class _GlobalSession:
    """MSD: the TSO's selection under light and mutual unavailability, then the DSO's AC check of the outcome."""

    __slots__ = ("book", "plan", "selection")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def clear(self, session: Session, books: tuple[OfferBook, ...], market: RollingMarket) -> list[Int64s]:
        (book,), city, day = books, self.plan.city, self.plan.day
        light = self.plan.records[-1].light
        assert light is not None  # every LFP publishes one
        needs = city.global_needs(day, session.number)
        zone = city.places.zone_of_node[city.pods.node]
        n_zones = city.places.zone_ids.size
        up_w, down_w = (sum_members(market.awards_w[LOCAL, way], zone, n_zones) for way in (UP, DOWN))
        residual = residual_need(needs.need_w, up_w, down_w, day, steps=session.plan)
        power = line_power(book, market.slots, *self.plan.power_w[GLOBAL], steps=session.plan)
        for _ in range(SELECTIONS):
            self.book = book
            self.selection = select_global(
                book,
                residual,
                light,
                day,
                zone=city.aggregates.zone[book.aggregate],
                price_cap_ueur_per_mwh=needs.price_cap_ueur_per_mwh,
            )
            # the selection does not see that what it takes now has to rest later: offer less there, and select again
            accepted = self.selection.accepted_w
            awards = split_awards(accepted, book.indptr, book.pods, power.member_w, slots=market.slots, operator=GLOBAL)
            if not awards.short_w.any():
                break
            book = book.with_quantity(np.where(awards.short_w > 0, accepted - awards.short_w, book.quantity_w))
        return [accepted]

    def check(self, session: Session, purchases: tuple[Purchase, ...], market: RollingMarket) -> int:
        plan, steps = self.plan, session.plan
        forecast = plan.city.forecast(plan.day, session.number)
        record = _record(session, purchases[0])
        record.selection, record.selected_from = self.selection, self.book
        record.reason = plan.day.from_mtu(self.selection.reason, self.selection.mtu)
        open_w = plan.day.from_mtu(self.selection.unserved_w, self.selection.mtu).sum(axis=0)
        record.open_w = (open_w + purchases[0].short_w.sum(axis=0))[steps]
        record.check = check_outcome(
            plan.city.grid,
            np.ascontiguousarray(forecast.p_kw[:, steps]),
            np.ascontiguousarray(forecast.q_kvar[:, steps]),
            local_up_kw=plan.node_kw(LOCAL, UP)[:, steps],
            local_down_kw=plan.node_kw(LOCAL, DOWN)[:, steps],
            global_up_kw=plan.node_kw(GLOBAL, UP)[:, steps],
            global_down_kw=plan.node_kw(GLOBAL, DOWN)[:, steps],
            n_threads=plan.n_threads,
        )
        plan.records.append(record)
        return 0
