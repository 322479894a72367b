"""Phase two of a day: six pairs of sessions, from the forecast power flow to awards, lights and the AC check.

A session works on the steps that it plans, `day.plan(k)`. Its forecast contains no awards: local ones are added where
a rule says so, and each operator plans its own preliminary awards anew in its next session (MUT-03).
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
from flexcore.market.offers import (
    LinePower,
    OfferBook,
    Restatement,
    line_power,
    members_of_lines,
    offer_book,
    restate,
    submit,
)
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
        Least activation that the thermal needs still ask for after an LFP. [W]
    light : TrafficLight or None
        Published by an LFP.
    capability : CapabilityResult or None
    selection : GlobalSelection or None
        Of an MSD.
    check : OutcomeCheck or None
        AC check after an MSD.
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
    capability: CapabilityResult | None = None
    selection: GlobalSelection | None = None
    check: OutcomeCheck | None = None
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
    slots : Slots
    awards_w : ndarray of int64, shape (2, 2, n_pods, n_steps)
        Standing awards per operator, direction, POD and step. [W]
    books : tuple of OfferBook
        Local and global offer lines without quantities.
    records : list of SessionRecord
    sequencer : Sequencer
    """

    city: City
    day: MarketDay
    register: Register
    power_w: Int64s
    slots: Slots
    awards_w: Int64s
    books: tuple[OfferBook, OfferBook]
    sequencer: Sequencer
    n_threads: int
    records: list[SessionRecord] = field(default_factory=list)

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
    plan = Plan(
        city=city,
        day=day,
        register=register,
        power_w=np.minimum(ready_w, movable[None]),
        slots=Slots(city.n_pods, day.n_steps, n_threads=n_threads),
        awards_w=np.zeros((2, 2, city.n_pods, day.n_steps), np.int64),
        books=(_book(city.local_lines, LOCAL, city, day), _book(city.global_lines, GLOBAL, city, day)),
        sequencer=Sequencer(day),
        n_threads=n_threads,
    )
    for session in plan.sequencer:
        progress(f"session {session.name}")
        forecast = city.forecast(day, session.number)
        run = _local_session if session.operator == LOCAL else _global_session
        plan.records.append(run(plan, session, forecast))
    plan.slots.check_exclusive(plan.awards_w[LOCAL].sum(axis=0), plan.awards_w[GLOBAL].sum(axis=0))
    return plan


def forecast_margin_kw(city: City, forecast: Forecast, steps: slice, n_threads: int) -> Floats:
    """Return the 95 % band of the forecast flow in each node's branch, shape (n_nodes, steps of the plan), in kW.

    Own errors of the nodes below are independent, so their variances add up; what a feeder shares grows with its flow.
    """
    grid = city.grid
    own = carried_by_branches(grid, forecast.node_sigma_kw[:, steps] ** 2, n_threads)
    shared = forecast.area_sigma * carried_by_branches(grid, forecast.p_kw[:, steps], n_threads)
    return np.ascontiguousarray((ONE_SIDED_95 * np.sqrt(own + shared**2))[grid.forest.rank])


def _offers(plan: Plan, session: Session) -> tuple[Restatement, LinePower, int]:
    """Open the session: release its own preliminary holds, let BSPs restate, check what they still may sell."""
    operator = session.operator
    plan.slots.release(operator, session.plan.start)
    plan.awards_w[operator, :, :, session.plan] = 0
    up_w, down_w = plan.power_w[operator]
    power = line_power(plan.books[operator], plan.slots, up_w, down_w, steps=session.plan, n_threads=plan.n_threads)
    # BSPs restate in the hour before the gate, always in the same order
    book = plan.books[operator]
    times = session.gate - 3600 + book.submitted_at * 3600 // max(book.n_lines, 1)
    submitted = submit(book, power, careless=plan.city.bsps.careless, submitted_at=times)
    restated = restate(submitted, power, gate=session.gate, steps=session.plan)
    blocked = plan.slots.unavailable(operator)[:, session.plan] & (
        (up_w[:, session.plan] > 0) | (down_w[:, session.plan] > 0)
    )
    return restated, power, int(blocked.any(axis=1).sum())


def _award(plan: Plan, session: Session, book: OfferBook, power: LinePower, accepted_w: Int64s) -> tuple[Int64s, int]:
    """Split awards over PODs and hold the slots; returns what each line really got, and the slots held."""
    awards = split_awards(
        accepted_w, book.indptr, book.pods, power.member_w, line_id=book.line_id, n_threads=plan.n_threads
    )
    held = plan.slots.hold(session.operator, book.pods, awards.selected, firm=session.firm)
    of_member = book.direction[book.line_of_member]
    for direction in (UP, DOWN):
        rows = np.where(of_member == direction, book.pods, -1)
        plan.awards_w[session.operator, direction] += sum_members(
            awards.member_w, rows, plan.city.n_pods, n_threads=plan.n_threads
        )
    return accepted_w - awards.short_w, held


def _local_session(plan: Plan, session: Session, forecast: Forecast) -> SessionRecord:
    """LFP: needs of the forecast, local selection, awards, and the traffic light of the rest of the day."""
    city, steps = plan.city, session.plan
    p_kw, q_kvar = (np.ascontiguousarray(x[:, steps]) for x in (forecast.p_kw, forecast.q_kvar))
    restated, power, blocked = _offers(plan, session)
    book = restated.book
    shape = book.quantity_w.shape
    record = SessionRecord(session, book, np.zeros(shape, np.int64), np.zeros(shape, np.uint8), blocked_pods=blocked)
    margin_kw = forecast_margin_kw(city, forecast, steps, plan.n_threads)
    record.needs = find_needs(city.grid, p_kw, q_kvar, margin_kw=margin_kw, n_threads=plan.n_threads)
    if len(record.needs) == 0:
        session.skip()
    else:
        session.open()
        session.close()
        record.restatement, record.findings = restated, restated.findings
        record.clearing = clear_local(
            city.grid,
            record.needs.rows,
            node=book.node,
            direction=book.direction,
            quantity_w=np.ascontiguousarray(book.quantity_w[:, steps]),
            price_ueur_per_mwh=book.price_ueur_per_mwh,
            submitted_at=book.submitted_at,
            offer_id=book.line_id,
            group=city.places.perimeter_of_node,
            n_threads=plan.n_threads,
        )
        accepted = np.zeros(shape, np.int64)
        accepted[:, steps] = record.clearing.accepted_w
        record.reason[:, steps] = record.clearing.reason
        record.accepted_w, record.n_slots_held = _award(plan, session, book, power, accepted)
        record.open_w = least_open_w(
            city.grid,
            record.needs.rows,
            book.node,
            book.direction,
            record.accepted_w[:, steps],
            n_threads=plan.n_threads,
        )
        session.clear()
        session.check()
    _publish_light(plan, session, record, p_kw, q_kvar, margin_kw)
    return record


def _publish_light(
    plan: Plan, session: Session, record: SessionRecord, p_kw: Floats, q_kvar: Floats, margin_kw: Floats
) -> None:
    """Compute and publish capability and colours with the local awards that stand now."""
    city, day, steps = plan.city, plan.day, session.plan
    label = city.places.perimeter_of_node
    n_perimeters = city.places.perimeter_ids.size
    node = city.pods.node
    movable = [movable_power(plan.slots, plan.power_w[GLOBAL, way], node, city.grid.n_nodes) for way in (UP, DOWN)]
    movable = [np.where((label >= 0)[:, None], values, 0) for values in movable]
    local_kw = [np.ascontiguousarray(plan.node_kw(LOCAL, way)[:, steps]) for way in (UP, DOWN)]
    record.capability = capability(
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
    needs = record.needs
    assert needs is not None  # set by the session before it publishes
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
        _whole_day_capability(record.capability, day, steps),
        day,
        session=session.number,
        version=session.number,
        **rules,
    )
    awarded = record.accepted_w.any(axis=1)
    plan.sequencer.messages.add_session(
        session,
        n_offering=np.unique(record.book.bsp[record.book.quantity_w.any(axis=1)]).size,
        n_awarded=np.unique(record.book.bsp[awarded]).size,
    )
    session.publish(light_version=session.number)


def _whole_day(values: npt.NDArray[Any], day: MarketDay, steps: slice) -> npt.NDArray[Any]:
    """Put columns of a session's plan into an array of the whole day, zero before it."""
    full = np.zeros((*values.shape[:-1], day.n_steps), values.dtype)
    full[..., steps] = values
    return full


def _whole_day_capability(result: CapabilityResult, day: MarketDay, steps: slice) -> Any:
    names = [f"{kind}_{way}" for kind in ("kind", "binding", "at_node") for way in ("up", "down")]
    names += [f"{kind}{way}_kw" for kind in ("", "movable_", "margin_") for way in ("up", "down")]
    return SimpleNamespace(**{name: _whole_day(getattr(result, name), day, steps) for name in names})


def _global_session(plan: Plan, session: Session, forecast: Forecast) -> SessionRecord:
    """MSD: the TSO's selection under light and mutual unavailability, then the DSO's AC check of the outcome."""
    city, day, steps = plan.city, plan.day, session.plan
    restated, power, blocked = _offers(plan, session)
    session.open()
    session.close()
    book = restated.book
    light = plan.records[-1].light
    assert light is not None  # every LFP publishes one
    needs = city.global_needs(day, session.number)
    zone = city.places.zone_of_node[city.pods.node]
    n_zones = city.places.zone_ids.size
    up_w, down_w = (sum_members(plan.awards_w[LOCAL, way], zone, n_zones) for way in (UP, DOWN))
    selection = select_global(
        book,
        residual_need(needs.need_w, up_w, down_w, day, steps=steps),
        light,
        day,
        zone=city.aggregates.zone[book.aggregate],
        price_cap_ueur_per_mwh=needs.price_cap_ueur_per_mwh,
    )
    accepted, held = _award(plan, session, book, power, selection.accepted_w)
    session.clear()
    check = check_outcome(
        city.grid,
        np.ascontiguousarray(forecast.p_kw[:, steps]),
        np.ascontiguousarray(forecast.q_kvar[:, steps]),
        local_up_kw=plan.node_kw(LOCAL, UP)[:, steps],
        local_down_kw=plan.node_kw(LOCAL, DOWN)[:, steps],
        global_up_kw=plan.node_kw(GLOBAL, UP)[:, steps],
        global_down_kw=plan.node_kw(GLOBAL, DOWN)[:, steps],
        n_threads=plan.n_threads,
    )
    session.check()
    awarded = accepted.any(axis=1)
    plan.sequencer.messages.add_session(
        session,
        n_offering=np.unique(book.bsp[book.quantity_w.any(axis=1)]).size,
        n_awarded=np.unique(book.bsp[awarded]).size,
    )
    session.publish()
    return SessionRecord(
        session,
        book,
        accepted,
        day.from_mtu(selection.reason, selection.mtu),
        restatement=restated,
        selection=selection,
        check=check,
        n_slots_held=held,
        blocked_pods=blocked,
        findings=restated.findings,
    )
