"""The tables of a day (`day_run.DAY_TABLES`), drawn from what the phases left."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.grid.needs import NODE
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from flexcore.market.clearing import REASONS
from flexcore.market.global_selection import REASON_NAMES
from flexcore.market.sessions import STATE_NAMES
from flexcore.market.traffic_light import COLOUR_NAMES, KIND_NAMES
from flexcore.market_day import MarketDay
from flexcore.settlement.statements import statements
from flexcore.study import registration as phase_one
from flexcore.study.city import City
from flexcore.study.day_evidence import evidence_tables
from flexcore.study.day_kpis import day_kpis, firm_forecast
from flexcore.study.day_run import DAY_TABLES
from flexcore.study.delivery import Delivery
from flexcore.study.kpis import to_table
from flexcore.study.least_need import least_need_kw
from flexcore.study.planning import Plan, SessionRecord
from flexcore.study.registration import Registration
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, amount_ueur

Table = Any
_WQH = 4e6
_WAY = np.array(["up", "down"])
_SIDE = np.array(["local", "global"])


def day_tables(
    city: City, registration: Registration, plan: Plan, delivery: Delivery, *, n_threads: int
) -> dict[str, Table]:
    """Return every table of `DAY_TABLES`."""
    records = plan.records
    return {
        "facts": _facts(city, plan),
        **_network(city, plan, delivery, n_threads),
        **phase_one.tables(registration, city),
        "sessions": _sessions(plan),
        "needs": _concat([_needs(city.grid, record) for record in records if record.needs is not None]),
        "lines": _concat([_lines(city, record) for record in records]),
        "traffic_light": _concat([_light(city, record) for record in records if record.light is not None]),
        "grid_check": _concat([_grid_check(city, record) for record in records if record.check is not None]),
        "findings": _findings(city, records),
        "series": _series(city, plan),
        "baselines": _baselines(plan, delivery),
        **_paid(city, plan, delivery),
        "kpis": to_table(day_kpis(city, registration, plan, delivery, n_threads=n_threads)),
    }


def _concat(tables: list[Table]) -> Table:
    import pyarrow as pa

    return pa.concat_tables(tables).combine_chunks()


def _facts(city: City, plan: Plan) -> Table:
    import pyarrow as pa

    report = city.growth_report
    rows: list[tuple[str, str]] = [
        ("network", city.code),
        ("nodes", str(city.grid.n_nodes)),
        ("branches", str(city.grid.n_branches)),
        ("PODs", str(city.n_pods)),
        ("BSPs", str(city.bsps.id.size)),
        ("aggregates", str(city.aggregates.id.size)),
        ("perimeters", str(city.places.perimeter_ids.size)),
        ("quarter-hours", str(plan.day.n_steps)),
        ("messages", str(plan.sequencer.messages.total())),
        ("capabilities", _proof(plan)),
        ("data", city.attribution),
    ]
    for kind, values in (("growth", report.factors), ("count", report.counts), ("violated", report.overloads)):
        rows += [(f"{kind}: {name}", f"{value:g}") for name, value in values.items()]
    return pa.table({"name": [name for name, _ in rows], "value": [value for _, value in rows]})


def _proof(plan: Plan) -> str:
    """Say in how many of the published quarter-hours the capabilities hold by proof."""
    proved = [record.certified for record in plan.records if record.certified is not None]
    sure, total = sum(int(steps.sum()) for steps in proved), sum(steps.size for steps in proved)
    return f"certified in {sure:,} of {total:,} published quarter-hours"


def _network(city: City, plan: Plan, delivery: Delivery, n_threads: int) -> dict[str, Table]:
    """Solve the realised day by AC power flow: without awards, as awarded, and with what the meters saw."""
    import pyarrow as pa

    grid, places = city.grid, city.places
    realised = city.realised(plan.day)
    change_w = np.zeros((city.n_pods, plan.day.n_steps), np.int64)
    change_w[delivery.pods] = delivery.metered_w.astype(np.int64) - realised.load_w[delivery.pods]
    metered_kw = realised.p_kw + plan.register.node_sums_w(change_w, n_threads=n_threads) / 1000.0
    orders_w = plan.awards_w.sum(axis=0)
    awarded_kw = realised.p_kw - plan.register.node_sums_w(orders_w[UP] - orders_w[DOWN], n_threads=n_threads) / 1000.0
    ends = {}
    for when, p_kw in (("before", realised.p_kw), ("awarded", awarded_kw), ("metered", metered_kw)):
        flow = power_flow(grid, p_kw, realised.q_kvar, method="ac", outputs=("v_pu", "loading"), n_threads=n_threads)
        assert flow.v_pu is not None  # both outputs were asked for
        assert flow.loading is not None
        ends[when] = (flow.v_pu.min(axis=1), flow.v_pu.max(axis=1), flow.loading.max(axis=1))
    perimeter = np.where(
        places.perimeter_of_node >= 0, places.perimeter_ids[np.maximum(places.perimeter_of_node, 0)], ""
    )
    start, end = grid.branch_from, grid.branch_to
    transformer = grid.v_nom_kv[start] != grid.v_nom_kv[end]
    return {
        "nodes": pa.table(
            {
                "node_id": grid.node_ids.astype(str),
                "x": places.x,
                "y": places.y,
                "v_nom_kv": grid.v_nom_kv,
                "perimeter": perimeter,
                "v_min_pu": grid.v_min_pu,
                "v_max_pu": grid.v_max_pu,
                **{
                    f"v_{side}_{when}_pu": end[place]
                    for when, end in ends.items()
                    for place, side in enumerate(("low", "high"))
                },
            }
        ),
        "branches": pa.table(
            {
                "branch_id": grid.branch_ids.astype(str),
                "from_id": grid.node_ids[start].astype(str),
                "to_id": grid.node_ids[end].astype(str),
                "kind": np.where(transformer, "transformer", "line"),
                "s_max_kva": grid.s_max_kva,
                **{f"loading_{when}": end[2] for when, end in ends.items()},
            }
        ),
    }


def _sessions(plan: Plan) -> Table:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for record in plan.records:
        session, firm = record.session, record.session.firm
        taken = record.accepted_w
        energy, firm_energy = taken.sum(axis=1), taken[:, firm].sum(axis=1)
        engines = Counter() if record.clearing is None else Counter(record.clearing.engine.tolist())
        need_w, unserved_w = _need_and_unserved(record, plan.day, plan.city.grid)
        rows.append(
            {
                "session": session.number,
                "operator": str(_SIDE[session.operator]),
                "name": session.name,
                "firm_start": firm.start,
                "firm_stop": firm.stop,
                "state": STATE_NAMES[session.state],
                "skipped": session.skipped,
                "n_lines": 0 if session.skipped else int(record.book.quantity_w.any(axis=1).sum()),
                "n_lines_selected": int(taken.any(axis=1).sum()),
                "n_slots_held": record.n_slots_held,
                "offered_mwh": 0.0 if session.skipped else float(record.book.quantity_w.sum()) / _WQH,
                "accepted_mwh": float(energy.sum()) / _WQH,
                "need_mwh": float(need_w.sum()) / _WQH,
                "unserved_mwh": float(unserved_w.sum()) / _WQH,
                "cost_eur": float(amount_ueur(energy, record.book.price_ueur_per_mwh).sum()) / 1e6,
                "firm_need_mwh": float(need_w[firm].sum()) / _WQH,
                "firm_accepted_mwh": float(firm_energy.sum()) / _WQH,
                "firm_unserved_mwh": float(unserved_w[firm].sum()) / _WQH,
                "firm_cost_eur": float(amount_ueur(firm_energy, record.book.price_ueur_per_mwh).sum()) / 1e6,
                "cut_lines": sum(f.count for f in record.findings if f.code == "FX-O102"),
                "withdrawn_lines": sum(f.count for f in record.findings if f.code == "FX-O103"),
                "blocked_pods": record.blocked_pods,
                "n_messages": plan.sequencer.messages.of(session),
                "steps_merit_order": session.plan.stop - session.plan.start if record.selection is not None else 0,
                "steps_tree_merit_order": engines["tree_merit_order"],
                "steps_path_prices": engines["path_prices"],
                "steps_lp": engines["lp"],
                "firm_violations": 0 if record.check is None else int(_in_firm(record).sum()),
            }
        )
    return pa.Table.from_pylist(rows)


def _need_and_unserved(record: SessionRecord, day: MarketDay, grid: Grid) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return need and unserved need per step of the day, in W, whatever the direction; of an LFP the thermal ones."""
    need, unserved = np.zeros(day.n_steps), np.zeros(day.n_steps)
    plan = record.session.plan
    if record.needs is not None:
        rows = record.needs.rows
        need[plan] = 1000.0 * least_need_kw(grid.forest, rows.lower_kw, rows.upper_kw)
    if record.clearing is not None or record.selection is not None:
        unserved[plan] = record.open_w
    if record.selection is not None:
        need[:] = np.abs(day.from_mtu(record.selection.wanted_w)).sum(axis=0)
    return need, unserved


def _needs(grid: Grid, record: SessionRecord) -> Table:
    import pyarrow as pa

    needs = record.needs
    assert needs is not None
    node = needs.kind == NODE
    at = np.where(node, needs.element, 0)
    low = needs.direction == UP
    v_pu = np.where(low, grid.v_min_pu[at] - needs.gap_pu, grid.v_max_pu[at] + needs.gap_pu)
    return pa.table(
        {
            "session": np.full(len(needs), record.session.number),
            "element": np.where(node, "node", "branch"),
            "element_id": pa.array([str(i) for i in needs.element_id], pa.string()),
            "step": (needs.step + record.session.plan.start).astype(np.int32),
            "direction": _WAY[needs.direction],
            "need_kw": needs.need_kw,
            "loading": needs.loading,
            "v_pu": np.where(node, v_pu, np.nan),
        }
    )


def _lines(city: City, record: SessionRecord) -> Table:
    """Return offered lines of the firm window, and of later steps what was selected preliminarily."""
    import pyarrow as pa

    book, firm = record.book, record.session.firm
    offered = np.zeros(book.quantity_w.shape, bool)
    if not record.session.skipped:
        offered[:, firm] = book.quantity_w[:, firm] > 0
    line, step = np.nonzero(offered | (record.accepted_w > 0))
    names = np.array(REASONS if book.operator == LOCAL else REASON_NAMES)
    perimeter = book.perimeter[line]
    return pa.table(
        {
            "session": np.full(line.size, record.session.number),
            "operator": np.full(line.size, _SIDE[record.session.operator]),
            "line": book.line_id[line],
            "aggregate": city.aggregates.id[book.aggregate[line]],
            "bsp": city.bsps.id[book.bsp[line]],
            "direction": _WAY[book.direction[line]],
            "perimeter": np.where(perimeter >= 0, city.places.perimeter_ids[np.maximum(perimeter, 0)], ""),
            "step": step.astype(np.int32),
            "price_eur_per_mwh": book.price_ueur_per_mwh[line] / 1e6,
            "offered_w": book.quantity_w[line, step],
            "accepted_w": record.accepted_w[line, step],
            "firm": (step >= firm.start) & (step < firm.stop),
            "reason": names[record.reason[line, step]],
        }
    )


def _light(city: City, record: SessionRecord) -> Table:
    import pyarrow as pa

    light = record.light
    assert light is not None
    hours = np.arange(record.session.plan.start // 4, light.n_units)
    way, perimeter, hour = (axis.ravel() for axis in np.indices((2, light.n_perimeters, hours.size)))
    hour = hours[hour]
    cell = (way, perimeter, hour)
    binding = light.binding[cell]
    at = np.maximum(binding, 0)
    node_ids, branch_ids = city.grid.node_ids.astype(str), city.grid.branch_ids.astype(str)
    named = np.where(
        light.at_node[cell],
        node_ids[np.minimum(at, node_ids.size - 1)],
        branch_ids[np.minimum(at, branch_ids.size - 1)],
    )
    return pa.table(
        {
            "session": np.full(way.size, record.session.number),
            "perimeter": city.places.perimeter_ids[perimeter],
            "direction": _WAY[way],
            "hour": hour.astype(np.int32),
            "colour": np.array(COLOUR_NAMES)[light.colour[cell]],
            "capability_w": light.capability_w[cell],
            "movable_w": light.movable_w[cell],
            "kind": np.array(KIND_NAMES)[light.kind[cell]],
            "binding_id": np.where(binding >= 0, named, ""),
            "margin_kw": light.margin_kw[cell],
        }
    )


def _in_firm(record: SessionRecord) -> npt.NDArray[np.bool_]:
    """Mark the violations in the hours that the session makes firm: later ones are checked again by later sessions."""
    check, firm = record.check, record.session.firm
    assert check is not None
    step = check.step + record.session.plan.start
    return np.asarray((step >= firm.start) & (step < firm.stop))


def _grid_check(city: City, record: SessionRecord) -> Table:
    import pyarrow as pa

    check = record.check
    assert check is not None
    table = check.to_arrow(branch_ids=city.grid.branch_ids, node_ids=city.grid.node_ids)
    n = table.num_rows
    return pa.table(
        {
            "session": np.full(n, record.session.number),
            "element": table.column("element"),
            "element_id": table.column("element_id"),
            "step": (check.step + record.session.plan.start).astype(np.int32),
            "value": check.value,
            "limit": check.limit,
            "cause": table.column("cause"),
            "firm": _in_firm(record),
        }
    )


def _findings(city: City, records: list[SessionRecord]) -> Table:
    import pyarrow as pa

    rows: dict[str, list[Any]] = {"session": [], "operator": [], "code": [], "bsp": [], "n_lines": [], "message": []}
    for record in records:
        for finding in record.findings:
            owner = city.bsps.id[record.book.bsp[list(finding.rows)]]
            for bsp, count in sorted(Counter(owner.tolist()).items()):
                side = str(_SIDE[record.session.operator])
                values = (record.session.number, side, finding.code, bsp, count, finding.message)
                for name, value in zip(rows, values, strict=True):
                    rows[name].append(value)
    types = {"session": pa.int64(), "n_lines": pa.int64()}
    return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in rows.items()})


def _series(city: City, plan: Plan) -> Table:
    import pyarrow as pa

    day = plan.day
    need_w = np.zeros(day.n_steps, np.int64)
    for record in plan.records:
        if record.selection is not None:
            firm = record.session.firm
            need_w[firm] = record.selection.need.need_w.sum(axis=0)[firm]
    net = plan.awards_w[:, UP].sum(axis=1) - plan.awards_w[:, DOWN].sum(axis=1)
    p_kw, _ = firm_forecast(city, day)
    return pa.table(
        {
            "step": np.arange(day.n_steps, dtype=np.int32),
            "load_forecast_kw": p_kw.sum(axis=0),
            "load_realised_kw": city.realised(day).p_kw.sum(axis=0),
            "global_need_w": need_w,
            "local_w": net[LOCAL],
            "global_w": net[GLOBAL],
            "residual_w": need_w - net[LOCAL] - net[GLOBAL],
        }
    )


def _baselines(plan: Plan, delivery: Delivery) -> Table:
    import pyarrow as pa

    orders, load = plan.awards_w[:, :, delivery.pods].sum(axis=0), plan.city.realised(plan.day).load_w[delivery.pods]
    rows = []
    for preset in np.unique(delivery.method):
        for way, sign in ((UP, 1), (DOWN, -1)):
            asked = (orders[way] > 0) & (delivery.method == preset)[:, None]
            seen = sign * (delivery.baseline_w - delivery.metered_w)[asked]
            moved = sign * (load.astype(np.int64) - delivery.metered_w)[asked]
            n_pods = int(asked.any(axis=1).sum())
            energies = [int(values.sum()) for values in (orders[way][asked], seen, moved)]
            rows.append((str(preset), str(_WAY[way]), n_pods, *energies))
    types = (pa.string(), pa.string(), *[pa.int64()] * 4)
    names = DAY_TABLES["baselines"][1]
    return pa.table({name: pa.array([row[i] for row in rows], types[i]) for i, name in enumerate(names)})


def _paid(city: City, plan: Plan, delivery: Delivery) -> dict[str, Table]:
    import pyarrow as pa

    day, pods, result = plan.day, delivery.pods, delivery.settlement
    orders = plan.awards_w[:, :, pods]
    code, n = city.pods.code[pods], day.n_steps
    by = np.where(orders[LOCAL].any(axis=0), "local", np.where(orders[GLOBAL].any(axis=0), "global", ""))
    lines, shares = result.lines, result.pod_lines
    owner = city.aggregates.bsp[lines.aggregate]
    of_line = shares.line
    account = statements(result, bsp_of_aggregate=city.aggregates.bsp)
    return {
        "pod_day": pa.table(
            {
                "pod_code": np.repeat(code, n),
                "bsp": np.repeat(city.bsps.id[city.pods.bsp[pods]], n),
                "step": np.tile(np.arange(n, dtype=np.int32), pods.size),
                "baseline_w": delivery.baseline_w.ravel(),
                "metered_w": delivery.metered_w.ravel(),
                "ordered_up_w": orders[:, UP].sum(axis=0).ravel(),
                "ordered_down_w": orders[:, DOWN].sum(axis=0).ravel(),
                "operator": by.ravel(),
                "excluded": delivery.after_event.ravel(),
            }
        ),
        **evidence_tables(city, day, delivery),
        "settlement_lines": pa.table(
            {
                "operator": _SIDE[lines.operator],
                "aggregate": city.aggregates.id[lines.aggregate],
                "bsp": city.bsps.id[owner],
                "direction": _WAY[lines.direction],
                "hour": lines.unit.astype(np.int32),
                **{name: getattr(lines, name) for name in DAY_TABLES["settlement_lines"][1][5:]},
            }
        ),
        "settlement_pods": pa.table(
            {
                "operator": _SIDE[lines.operator[of_line]],
                "aggregate": city.aggregates.id[lines.aggregate[of_line]],
                "pod_code": np.sort(city.pods.code)[shares.pod],
                "direction": _WAY[lines.direction[of_line]],
                "hour": lines.unit[of_line].astype(np.int32),
                "price_ueur_per_mwh": delivery.row_price[shares.row],
                **{name: getattr(shares, name) for name in DAY_TABLES["settlement_pods"][1][6:]},
            }
        ),
        "statements": pa.table(
            {
                "bsp": city.bsps.id[account.bsp],
                "operator": _SIDE[account.operator],
                "net_ueur": account.net_ueur,
                "net_cents": account.net_cents,
            }
        ),
    }
