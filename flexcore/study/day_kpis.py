"""The key figures of one day, from its plan, its delivery and three reference costs."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.grid.headroom import ActivationRows, activation_rows
from flexcore.grid.network import Grid
from flexcore.market.clearing import clear_local
from flexcore.market.global_selection import select_global
from flexcore.market.traffic_light import GREEN, movable_power
from flexcore.market_day import N_SESSIONS, MarketDay
from flexcore.register.states import AGGREGATE_PRODUCT
from flexcore.study import kpis
from flexcore.study.city import City
from flexcore.study.delivery import Delivery
from flexcore.study.kpis import KpiRow
from flexcore.study.least_need import least_open_w
from flexcore.study.planning import Plan, SessionRecord, forecast_margin_kw
from flexcore.study.registration import Registration
from flexcore.units import DOWN, GLOBAL, UP, amount_ueur, eur_per_mwh

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

#: What a MWh of local need costs that nobody can serve: the same price in every cost that is compared.
UNSERVED_UEUR_PER_MWH = eur_per_mwh(1000)
_SETTLED = ("PREQUALIFIED", "VERIFIED", "EQUIVALENT")


def firm_forecast(city: City, day: MarketDay) -> tuple[Floats, Floats]:
    """Return active and reactive power that each step's firm session expects, in kW and kvar."""
    p_kw, q_kvar = (np.empty((city.grid.n_nodes, day.n_steps)) for _ in range(2))
    for session in range(1, N_SESSIONS + 1):
        forecast, firm = city.forecast(day, session), day.firm(session)
        p_kw[:, firm], q_kvar[:, firm] = forecast.p_kw[:, firm], forecast.q_kvar[:, firm]
    return p_kw, q_kvar


def firm_rows(city: City, day: MarketDay, *, n_threads: int) -> ActivationRows:
    """Return the limits of activation that follow for each step from the forecast of its firm session."""
    p_kw, q_kvar, margin_kw = (np.empty((city.grid.n_nodes, day.n_steps)) for _ in range(3))
    for session in range(1, N_SESSIONS + 1):
        forecast, firm = city.forecast(day, session), day.firm(session)
        p_kw[:, firm], q_kvar[:, firm] = forecast.p_kw[:, firm], forecast.q_kvar[:, firm]
        margin_kw[:, firm] = forecast_margin_kw(city, forecast, firm, n_threads)
    return activation_rows(city.grid, p_kw, q_kvar, margin_kw=margin_kw, n_threads=n_threads)


def day_kpis(city: City, registration: Registration, plan: Plan, delivery: Delivery, *, n_threads: int) -> list[KpiRow]:
    """Return the four key figures of D4.1 Table 11 with their parts."""
    register = registration.register
    done, without = register.test_counts
    settled = np.isin(register.qualifications.state, [AGGREGATE_PRODUCT.state(name) for name in _SETTLED])
    return [
        *kpis.prequalification(done, without, int(settled.sum())),
        *kpis.local_impact(*_deliverable(city, registration, plan)),
        *_efficiency(city, plan, n_threads),
        *kpis.continuance(_profit(city, plan, delivery)),
    ]


def _deliverable(city: City, registration: Registration, plan: Plan) -> tuple[int, int, int, int, int]:
    """Sum what global aggregates could move, in wqh: declared, validated, after local sessions, in units, published."""
    pods, day = city.pods, plan.day
    available = city.offerable(day)
    units = registration.register.units
    validated = np.zeros((2, city.n_pods), np.int64)
    np.add.at(validated[UP], units.pod, units.validated_up_w)
    np.add.at(validated[DOWN], units.pod, units.validated_down_w)
    # the same part of the power is enrolled, and the same steps are ready, before and after the static light
    aggregate = pods.global_aggregate
    sold = registration.ready_w[GLOBAL].any(axis=0)
    qualified = np.zeros((city.aggregates.id.size + 1, day.n_steps), bool)
    np.logical_or.at(qualified, aggregate, sold)
    qualified[-1] = False
    ready = qualified[aggregate]
    label = city.places.perimeter_of_node[pods.node]
    n_perimeters = city.places.perimeter_ids.size
    totals = np.zeros(5, np.int64)
    sides = ((UP, pods.declared_up_w, available.up_w), (DOWN, pods.declared_down_w, available.down_w))
    for way, declared, movable in sides:
        for place, power in enumerate((declared, validated[way])):
            enrolled = power * pods.global_share_pm // 1000
            totals[place] += np.where(ready, np.minimum(enrolled[:, None], movable), 0).sum()
        left = movable_power(plan.slots, plan.power_w[GLOBAL, way], np.zeros(city.n_pods, np.int32), 1)
        totals[2] += left.sum()
        per_perimeter = movable_power(plan.slots, plan.power_w[GLOBAL, way], label, n_perimeters)
        for record in plan.records:
            if record.light is not None:
                firm = record.session.firm
                safe = record.light.capability_of_steps()[way][:, firm]
                lasting = day.from_mtu(day.to_mtu(per_perimeter, "min", record.light.mtu), record.light.mtu)[:, firm]
                totals[3] += lasting.sum()
                totals[4] += np.minimum(safe, lasting).sum()
    before, enrolled, after_local, in_units, after_light = (int(total) for total in totals)
    return before, enrolled, after_local, in_units, after_light


def _firm_wqh(record: SessionRecord) -> Int64s:
    return np.asarray(record.accepted_w[:, record.session.firm].sum(axis=1))


def _efficiency(city: City, plan: Plan, n_threads: int) -> list[KpiRow]:
    """Compare the cost of the sessions with a fragmented and with a common market, at equal served need."""
    day = plan.day
    cap = city.global_needs(day, 1).price_cap_ueur_per_mwh
    local = scheme_global = fragmented = unlimited = 0
    safe = True
    for record in plan.records:
        firm = record.session.firm
        cost = int(amount_ueur(_firm_wqh(record), record.book.price_ueur_per_mwh).sum())
        offset = firm.start - record.session.plan.start
        inside = slice(offset, offset + firm.stop - firm.start)
        if record.clearing is not None:
            open_w = record.open_w[inside] + record.clearing.unserved_voltage_w[inside]
            cost += int(amount_ueur(open_w, UNSERVED_UEUR_PER_MWH).sum())
        if record.selection is None:
            local += cost
            continue
        selection = record.selection
        wanted = np.abs(day.from_mtu(selection.wanted_w, selection.mtu))[:, firm]
        scheme_global += cost + int(amount_ueur(record.open_w[inside], cap).sum())
        fragmented += int(amount_ueur(wanted, cap).sum())
        unlimited += _without_limits(city, plan, record, cap)
        check = record.check
        if check is not None:
            at = check.step + record.session.plan.start
            in_window = (at >= firm.start) & (at < firm.stop)
            safe &= not bool((in_window & (check.cause != 0)).any())
    common = _common_cost(city, plan, cap, n_threads)
    euro = [value / 1e6 for value in (local, scheme_global, local + fragmented, common, unlimited)]
    increase = (euro[1] - euro[4]) / euro[4] if euro[4] > 0 else float("nan")
    rows = kpis.market_efficiency(euro[0], euro[1], euro[2], euro[3], safe)
    what = "global cost with capabilities over the cost without them, minus 1"
    return [*rows, KpiRow("local_constraint_impact", "cost_increase", increase, "1", what)]


def _without_limits(city: City, plan: Plan, record: SessionRecord, cap: int) -> int:
    """Cost of the same MSD's firm window if every light were green."""
    selection, light = record.selection, plan.records[plan.records.index(record) - 1].light
    assert selection is not None
    assert light is not None
    assert record.selected_from is not None  # the same offers, so that what PODs need to rest is not counted here
    free = dataclasses.replace(
        light,
        colour=np.full_like(light.colour, GREEN),
        capability_w=np.full_like(light.capability_w, np.iinfo(np.int64).max // 4),
    )
    other = select_global(
        record.selected_from,
        selection.need,
        free,
        plan.day,
        zone=city.aggregates.zone[record.book.aggregate],
        price_cap_ueur_per_mwh=cap,
    )
    firm = record.session.firm
    energy = other.accepted_w[:, firm].sum(axis=1)
    open_w = plan.day.from_mtu(other.unserved_w, other.mtu)[:, firm]
    return int(amount_ueur(energy, record.book.price_ueur_per_mwh).sum() + amount_ueur(open_w, cap).sum())


def _common_cost(city: City, plan: Plan, cap: int, n_threads: int) -> int:
    """Price one market that serves both needs with every POD once, on the grid rows, in micro-EUR.

    Its net activation is that of the sessions in every quarter-hour: what local sessions moved and what the TSO wanted
    then, by the hour if that is its product. So the outcome of the sessions is one of its answers and costs no less.
    All feeders hang below the balance, so where a voltage row binds one LP decides the whole city, exact for the rows.
    """
    day = plan.day
    rows = firm_rows(city, day, n_threads=n_threads)
    moved_w = np.zeros(day.n_steps, np.int64)
    for record in plan.records:
        if record.selection is not None:
            selection, firm = record.selection, record.session.firm
            moved_w[firm] = (selection.need.local_w + day.from_mtu(selection.wanted_w, selection.mtu)).sum(axis=0)[firm]
    node, direction, price, quantity = _common_book(city, plan)
    # what PODs do not serve is bought elsewhere at the cap; it enters above the network and touches no row of it
    above = city.grid.n_nodes + 1
    chosen = clear_local(
        _grid_with_balance(city.grid),
        _rows_with_balance(rows, moved_w / 1000.0),
        node=np.append(node, [above, above]),
        direction=np.append(direction, [UP, DOWN]).astype(np.int8),
        quantity_w=np.concatenate([quantity, np.full((2, day.n_steps), 10**9, np.int64)]),
        price_ueur_per_mwh=np.append(price, [cap, cap]),
        allow_counter=True,
        n_threads=n_threads,
    )
    energy = chosen.accepted_w.sum(axis=1)
    cost = amount_ueur(energy, np.append(price, [cap, cap])).sum()
    served = chosen.accepted_w[: node.size]
    open_w = least_open_w(city.grid, rows, node, direction, served, n_threads=n_threads) + chosen.unserved_voltage_w
    return int(cost + amount_ueur(open_w, UNSERVED_UEUR_PER_MWH).sum())


def _grid_with_balance(grid: Grid) -> Any:
    """Hang all trees below one node whose row is the net activation, that below a root: node positions n + 1 and n."""
    forest, n = grid.forest, grid.n_nodes
    order = np.concatenate([[n, n + 1], forest.order]).astype(np.int32)
    rank = np.empty(n + 2, np.int32)
    rank[order] = np.arange(n + 2, dtype=np.int32)
    parent = np.concatenate([[-1, 0], np.where(forest.parent < 0, 1, forest.parent + 2)]).astype(np.int32)
    last = np.concatenate([[n + 2, n + 2], forest.last + 2]).astype(np.int32)
    return SimpleNamespace(
        forest=SimpleNamespace(order=order, rank=rank, parent=parent, last=last), node_ids=np.arange(n + 2)
    )


def _rows_with_balance(rows: ActivationRows, moved_kw: npt.NDArray[np.float64]) -> Any:
    """Add the rows of the two nodes above: none for the root, a net activation of `moved_kw` for the balance."""
    none = np.full(moved_kw.size, np.inf)
    return SimpleNamespace(
        lower_kw=np.vstack([rows.lower_kw, -none, moved_kw]),
        upper_kw=np.vstack([rows.upper_kw, none, moved_kw]),
        w_lower=np.vstack([rows.w_lower, -none, -none]),
        w_upper=np.vstack([rows.w_upper, none, none]),
        m=np.append(rows.m, [0.0, 0.0]),
    )


def _common_book(city: City, plan: Plan) -> tuple[Int64s, npt.NDArray[np.int8], Int64s, Int64s]:
    """Offer every POD once per direction, at the larger of its two powers and the lower of its two prices.

    Returns node, direction, price and quantity of one line per node, direction and price.
    """
    parts = []
    for way in (UP, DOWN):
        power = plan.power_w[:, way].max(axis=0)
        best = np.full(city.n_pods, np.iinfo(np.int64).max)
        for lines in (city.local_lines, city.global_lines):
            line = lines.line_of_pod[way]
            offered = np.where(line >= 0, lines.price_ueur_per_mwh[line], best)
            best = np.minimum(best, offered)
        rows = np.flatnonzero(power.any(axis=1) & (best < np.iinfo(np.int64).max))
        parts.append(
            (city.pods.node[rows].astype(np.int64), np.full(rows.size, way, np.int64), best[rows], power[rows])
        )
    node, direction, price, power = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    keys, group = np.unique(np.stack([node, direction, price], axis=1), axis=0, return_inverse=True)
    quantity = np.zeros((keys.shape[0], power.shape[1]), np.int64)
    np.add.at(quantity, group.ravel(), power)
    return keys[:, 0], keys[:, 1].astype(np.int8), keys[:, 2], quantity


def _profit(city: City, plan: Plan, delivery: Delivery) -> Int64s:
    """Sum per BSP and half of the day net payments minus the own cost of what its PODs delivered, in micro-EUR."""
    result, pods = delivery.settlement, city.pods
    lines, shares = result.lines, result.pod_lines
    profit = np.zeros((city.bsps.id.size, 2), np.int64)
    half = (lines.unit >= plan.day.n_hours // 2).astype(np.int64)
    np.add.at(profit, (city.aggregates.bsp[lines.aggregate], half), lines.net_ueur)
    way = lines.direction[shares.line]
    pod = np.argsort(pods.code, kind="stable")[shares.pod]
    cost = np.where(way == UP, pods.cost_up_ueur_per_mwh[pod], pods.cost_down_ueur_per_mwh[pod])
    spent = amount_ueur(np.maximum(shares.delivered_wqh, 0), cost)
    np.subtract.at(profit, (pods.bsp[pod], half[shares.line]), spent)
    active = np.isin(np.arange(city.bsps.id.size), city.aggregates.bsp)
    return profit[active]
