"""A seeded, plausible `DayRun` built from DAY_TABLES, for tests of the summary and the report."""

import numpy as np
import pyarrow as pa

from flexcore.market_day import MarketDay
from flexcore.study.day_run import DAY_TABLES, DayRun

#: Types of the columns that are not strings, wherever they occur.
_WHOLE = [
    "choice",
    "event",
    "session",
    "firm_start",
    "firm_stop",
    "n_lines",
    "n_lines_selected",
    "n_pods",
    "n_slots_held",
    "cut_lines",
    "withdrawn_lines",
    "blocked_pods",
    "n_messages",
    "steps_merit_order",
    "steps_tree_merit_order",
    "steps_path_prices",
    "steps_lp",
    "firm_violations",
    "step",
    "hour",
    "offered_w",
    "accepted_w",
    "capability_w",
    "movable_w",
    "global_need_w",
    "local_w",
    "global_w",
    "residual_w",
    "baseline_w",
    "metered_w",
    "ordered_up_w",
    "ordered_down_w",
    "ordered_wqh",
    "delivered_wqh",
    "moved_wqh",
    "paid_wqh",
    "counted_wqh",
    "event",
    "ratio_ppm",
    "price_ueur_per_mwh",
    "pay_ueur",
    "penalty_ueur",
    "net_ueur",
    "net_cents",
    "event_step",
    "ordered_w",
    "delivered_w",
    "n_missing",
    "n_estimated",
    "n_silent",
    "n_units",
    "up_w",
    "down_w",
    "up_declared_w",
    "up_validated_w",
    "down_declared_w",
    "down_validated_w",
]
_REAL = [
    "x",
    "y",
    "v_nom_kv",
    "v_min_pu",
    "v_max_pu",
    "v_low_before_pu",
    "v_high_before_pu",
    "v_low_awarded_pu",
    "v_high_awarded_pu",
    "v_low_metered_pu",
    "v_high_metered_pu",
    "s_max_kva",
    "loading_before",
    "loading_awarded",
    "loading_metered",
    "ratio",
    "offered_mwh",
    "accepted_mwh",
    "need_mwh",
    "unserved_mwh",
    "cost_eur",
    "firm_need_mwh",
    "firm_accepted_mwh",
    "firm_unserved_mwh",
    "firm_cost_eur",
    "need_kw",
    "loading",
    "v_pu",
    "price_eur_per_mwh",
    "margin_kw",
    "load_forecast_kw",
    "load_realised_kw",
    "limit",
    "event_ratio",
]
_FLAGS = ("used", "skipped", "granted", "firm", "excluded")

BSPS = np.array(["BSP-Alba", "BSP-Brio & Co", "BSP-Chiara", "BSP-Delta", "BSP-<Eco>"])
HOSTILE = "</script><b>L&1</b>"  # a name that must never reach the page as markup


def _type(table: str, column: str) -> pa.DataType:
    if column == "nominated_w":
        return pa.list_(pa.field("element", pa.int32()))
    if column in _FLAGS:
        return pa.bool_()
    if column in _WHOLE or column.endswith(("_wqh", "_ueur", "_ppm")):
        return pa.int64()
    if column in _REAL or (column == "value" and table in ("kpis", "grid_check")):
        return pa.float64()
    return pa.string()


def table(name, columns=None):
    """Return a table of DAY_TABLES with these columns; without them, an empty one."""
    names = DAY_TABLES[name][1]
    columns = columns or {}
    assert not columns or set(columns) == set(names), set(columns) ^ set(names)
    return pa.table({c: pa.array(np.asarray(columns.get(c, [])).tolist(), _type(name, c)) for c in names})


def _tree(n_nodes, n_stations, rng):
    """Stations on a ring of MV feeders and LV branches that wander off from each station."""
    angle = np.linspace(0, 2 * np.pi, n_stations, endpoint=False)
    x = 11.37 + 0.018 * np.cos(angle) * rng.uniform(0.3, 1, n_stations)
    y = 53.64 + 0.012 * np.sin(angle) * rng.uniform(0.3, 1, n_stations)
    parent, station = [], []
    xs, ys = [11.37, *x], [53.64, *y]
    parent = [-1, *([0] * n_stations)]
    station = [-1, *range(n_stations)]
    recent = [[1 + s] for s in range(n_stations)]
    for i in range(n_stations + 1, n_nodes):
        s = int(rng.integers(n_stations))
        p = recent[s][int(rng.integers(max(0, len(recent[s]) - 6), len(recent[s])))]
        parent.append(p)
        station.append(s)
        xs.append(xs[p] + rng.normal(0, 2.5e-4))
        ys.append(ys[p] + rng.normal(0, 1.6e-4))
        recent[s].append(i)
    return np.array(parent), np.array(station), np.array(xs), np.array(ys)


def synthetic_run(
    n_nodes=300, n_stations=12, n_units=120, n_lines=40, n_pods=30, seed=0, empty=(), geography=None, date="2026-01-21"
):
    """Return a run with `n_nodes` nodes; the tables named in `empty` have no rows."""
    rng = np.random.default_rng(seed)
    day = MarketDay(date)
    steps = np.arange(day.n_steps)
    parent, station, x, y = geography or _tree(n_nodes, n_stations, rng)
    n_nodes, n_stations = parent.size, int(station.max()) + 1
    perimeters = np.array([f"SS-{s + 1:03d}" for s in range(n_stations)])
    child = np.flatnonzero(parent >= 0)
    t = {}
    t["facts"] = {
        "name": ["network", "nodes", "branches", "PODs", "BSPs", "uniform growth", "attribution", "capabilities"],
        "value": [
            "1-MVLV-urban-all-0-sw",
            str(n_nodes),
            str(child.size),
            "11542",
            str(BSPS.size),
            "x 1.5",
            "Network: SimBench, ODbL 1.0.",
            "certified in 94 of 96 published quarter-hours",
        ],
    }
    drop = rng.gamma(2, 0.02, n_nodes)
    t["nodes"] = {
        "node_id": [f"N{i}" for i in range(n_nodes)],
        "x": x,
        "y": y,
        "v_nom_kv": np.where(station < 0, 110.0, np.where(np.arange(n_nodes) <= n_stations, 10.0, 0.4)),
        "perimeter": np.where(station >= 0, perimeters[station], ""),
        "v_min_pu": np.full(n_nodes, 0.9),
        "v_max_pu": np.full(n_nodes, 1.1),
        "v_low_before_pu": 1.0 - drop,
        "v_high_before_pu": np.full(n_nodes, 1.02),
        "v_low_awarded_pu": 1.0 - 0.8 * drop,
        "v_high_awarded_pu": np.full(n_nodes, 1.02),
        "v_low_metered_pu": 1.0 - 0.9 * drop,
        "v_high_metered_pu": np.full(n_nodes, 1.02),
    }
    before = rng.gamma(2.0, 0.13, child.size)
    transformer = parent[child] == 0
    before[transformer] += 0.35
    branch_id = [f"L{i}" for i in child]
    branch_id[0] = HOSTILE
    t["branches"] = {
        "branch_id": branch_id,
        "from_id": [f"N{i}" for i in parent[child]],
        "to_id": [f"N{i}" for i in child],
        "kind": np.where(transformer, "transformer", "line"),
        "s_max_kva": np.where(transformer, 630.0, 250.0),
        "loading_before": before,
        "loading_awarded": np.minimum(before, 1.0),
        "loading_metered": np.where(
            before > 1, np.minimum(before, 1.0 + rng.gamma(1, 0.02, child.size) - 0.02), before
        ),
    }
    up, down = rng.integers(1, 40, n_units) * 500, rng.integers(0, 40, n_units) * 500
    state = rng.choice(["CONFIRMED", "MODULATED", "INVALID"], n_units, p=[0.7, 0.22, 0.08])
    share = np.where(state == "CONFIRMED", 1.0, np.where(state == "MODULATED", rng.uniform(0.3, 0.9, n_units), 0.0))
    bsp = BSPS[rng.integers(BSPS.size, size=n_units)]
    t["static_light"] = {
        "pod_code": [f"IT002E{i:08d}" for i in range(n_units)],
        "bsp": bsp,
        "up_declared_w": up,
        "up_validated_w": (up * share).astype(int),
        "down_declared_w": down,
        "down_validated_w": (down * share).astype(int),
        "state": state,
    }
    n_agg = 20
    agg = np.array([f"AGG-{i:02d}" for i in range(n_agg)])
    agg_bsp = BSPS[np.arange(n_agg) % BSPS.size]
    market = np.where(np.arange(n_agg) < n_agg // 2, "local", "global")
    t["aggregates"] = {
        "aggregate": agg,
        "bsp": agg_bsp,
        "operator": market,
        "n_units": rng.integers(3, 40, n_agg),
        "up_w": rng.integers(10, 400, n_agg) * 1000,
        "down_w": rng.integers(10, 400, n_agg) * 1000,
    }
    t["qualifications"] = {
        "aggregate": agg,
        "product": np.where(market == "local", "CM-local", "mFRR"),
        "state": rng.choice(["QUALIFIED", "REFUSED"], n_agg, p=[0.85, 0.15]),
        "ratio": rng.uniform(0.7, 1.1, n_agg),
        "derived_from": np.where(np.arange(n_agg) == n_agg - 1, agg[0], ""),
    }
    granted = np.arange(8) % 4 == 0
    t["equivalences"] = {
        "local": agg[:8],
        "global": agg[10:18],
        "configuration": np.where(granted, "identical", rng.choice(["inside", "overlapping", "disjoint"], 8)),
        "granted": granted,
        "reason": np.where(granted, "same aggregate, service, requirement, test", "the aggregates differ"),
    }
    rows = {name: [] for name in DAY_TABLES["sessions"][1]}
    for k in range(1, 7):
        for operator in ("local", "global"):
            skipped = k == 2 and operator == "local"
            need = 0.0 if skipped else float(rng.uniform(0.2, 2.5)) * (6 if operator == "global" else 1)
            unserved = need * float(rng.choice([0, 0, 0.05, 0.2]))
            part = 1 / (7 - k)  # of what is planned, the part that becomes firm
            values = {
                "session": k,
                "operator": operator,
                "name": f"{'LFP' if operator == 'local' else 'MSD'}_{k}",
                "firm_start": day.firm(k).start,
                "firm_stop": day.firm(k).stop,
                "state": "SKIPPED" if skipped else "CLOSED",
                "skipped": skipped,
                "n_lines": 0 if skipped else int(rng.integers(100, 900)),
                "n_lines_selected": 0 if skipped else int(rng.integers(10, 90)),
                "n_slots_held": 0 if skipped else int(rng.integers(10, 300)),
                "offered_mwh": 0.0 if skipped else need * 2.5,
                "accepted_mwh": need - unserved,
                "need_mwh": need,
                "unserved_mwh": unserved,
                "cost_eur": (need - unserved) * 140,
                "firm_need_mwh": part * need,
                "firm_accepted_mwh": part * (need - unserved),
                "firm_unserved_mwh": part * unserved,
                "firm_cost_eur": part * (need - unserved) * 140,
                "cut_lines": int(rng.integers(0, 40)),
                "withdrawn_lines": int(rng.integers(0, 4)),
                "blocked_pods": int(rng.integers(0, 60)),
                "n_messages": int(rng.integers(50, 4000)),
                "steps_merit_order": 96 - 16 * (k - 1) if operator == "global" else 0,
                "steps_tree_merit_order": 0 if skipped or operator == "global" else 90 - 16 * (k - 1),
                "steps_path_prices": 0 if skipped or operator == "global" else 3,
                "steps_lp": 0 if skipped or operator == "global" else 6,
                "firm_violations": int(rng.integers(0, 3)) if operator == "global" else 0,
            }
            for name, value in values.items():
                rows[name].append(value)
    t["sessions"] = rows
    n = 60
    t["needs"] = {
        "session": rng.integers(1, 7, n),
        "element": np.where(np.arange(n) % 5 == 0, "node", "branch"),
        "element_id": np.array(branch_id, object)[rng.integers(0, min(9, len(branch_id)), n)],
        "step": rng.integers(60, 90, n),
        "direction": rng.choice(["up", "down"], n, p=[0.8, 0.2]),
        "need_kw": rng.gamma(2, 15, n),
        "loading": rng.uniform(1.0, 1.5, n),
        "v_pu": np.where(np.arange(n) % 5 == 0, rng.uniform(0.86, 0.9, n), np.nan),
    }
    blocks = []
    for k in range(1, 7):
        ahead = steps[day.plan(k)]
        line, step = np.repeat(np.arange(n_lines), ahead.size), np.tile(ahead, n_lines)
        blocks.append(np.stack([np.full(line.size, k), line, step]))
    k, line, step = np.concatenate(blocks, axis=1)
    price = rng.normal(120, 50, n_lines)
    offered = rng.integers(1, 80, k.size) * 1000
    is_firm = day.window_of_step[step] == k
    accepted = np.where((price[line] < 115) & (step % 7 < 4), offered, 0)
    accepted = np.where((accepted > 0) & (rng.random(k.size) < 0.1), offered // 2, accepted)
    reasons = np.array(["needs served", "no effect on a need", "traffic light"])
    line_agg = rng.integers(n_agg, size=n_lines)
    t["lines"] = {
        "session": k,
        "operator": market[line_agg][line],
        "line": np.array([f"LINE-{i:04d}" for i in range(n_lines)])[line],
        "aggregate": agg[line_agg][line],
        "bsp": agg_bsp[line_agg][line],
        "direction": np.where(line % 3 == 0, "down", "up"),
        "perimeter": perimeters[line % n_stations],
        "step": step,
        "price_eur_per_mwh": price[line],
        "offered_w": offered,
        "accepted_w": accepted,
        "firm": is_firm,
        "reason": np.where(accepted == offered, "", reasons[rng.integers(3, size=k.size)]),
    }
    grids = [
        np.stack(np.meshgrid([k], np.arange(n_stations), [0, 1], np.arange(4 * (k - 1), day.n_hours)), -1).reshape(
            -1, 4
        )
        for k in range(1, 7)
    ]
    k, p, d, h = np.concatenate(grids).T
    movable = rng.integers(20, 400, n_stations)[p] * 1000
    tight = np.exp(-(((h - 18.5) / 3) ** 2)) * rng.uniform(0, 1.2, n_stations)[p] * np.where(d == 1, 1, 0.5)
    capability = (movable * np.clip(1.25 - 1.5 * tight, 0, 1)).astype(int)
    colour = np.where(capability <= 0, "red", np.where(capability < movable, "yellow", "green"))
    t["traffic_light"] = {
        "session": k,
        "perimeter": perimeters[p],
        "direction": np.where(d == 0, "up", "down"),
        "hour": h,
        "colour": colour,
        "capability_w": capability,
        "movable_w": movable,
        "kind": np.where(colour == "green", "", rng.choice(["thermal", "voltage", "rule"], k.size)),
        "binding_id": np.where(colour == "green", "", np.array(branch_id, object)[p % len(branch_id)]),
        "margin_kw": rng.uniform(0, 100, k.size),
    }
    t["grid_check"] = {
        "session": [4, 5, 5],
        "element": ["branch", "branch", "node"],
        "element_id": [HOSTILE, "L5", "N40"],
        "step": [70, 74, 75],
        "value": [1.04, 1.11, 0.893],
        "limit": [1.0, 1.0, 0.9],
        "cause": ["both", "forecast", "forecast"],
        "firm": [True, True, False],
    }
    t["findings"] = {
        "session": [1, 3, 5],
        "operator": ["local", "global", "global"],
        "code": ["FX-O001", "FX-O001", "FX-O002"],
        "bsp": BSPS[[1, 1, 4]],
        "n_lines": [3, 2, 1],
        "message": ["lines offer PODs held by the other operator", "the same <again>", "a line was withdrawn"],
    }
    load = 9000 + 4000 * np.sin((steps - 30) / 96 * 2 * np.pi) + 2500 * np.exp(-(((steps - 76) / 8) ** 2))
    local = np.where((steps > 64) & (steps < 84), rng.integers(100, 700, steps.size) * 1000, 0)
    need = (np.sin(steps / 96 * 4 * np.pi) * 3e6).astype(int)
    served = (0.8 * (need - local)).astype(int)
    t["series"] = {
        "step": steps,
        "load_forecast_kw": load,
        "load_realised_kw": load * rng.normal(1, 0.015, steps.size),
        "global_need_w": need,
        "local_w": local,
        "global_w": served,
        "residual_w": need - local - served,
    }
    pod, step = np.repeat(np.arange(n_pods), steps.size), np.tile(steps, n_pods)
    baseline = (2500 + 1500 * np.sin((step - 30) / 96 * 2 * np.pi) + rng.normal(0, 120, pod.size)).astype(int)
    start = rng.integers(60, 80, n_pods)[pod]
    on = (step >= start) & (step < start + 8)
    ordered = np.where(on, rng.integers(5, 25, n_pods)[pod] * 100, 0)
    is_up = pod % 4 != 0
    follow = rng.choice([0.0, 0.9, 1.0], n_pods, p=[0.1, 0.3, 0.6])[pod]
    t["pod_day"] = {
        "pod_code": np.array([f"IT002E{i:08d}" for i in range(n_pods)])[pod],
        "bsp": BSPS[pod % BSPS.size],
        "step": step,
        "baseline_w": baseline,
        "metered_w": (baseline - np.where(is_up, 1, -1) * ordered * follow + rng.normal(0, 90, pod.size)).astype(int),
        "ordered_up_w": np.where(is_up, ordered, 0),
        "ordered_down_w": np.where(is_up, 0, ordered),
        "operator": np.where(on, np.where(pod % 3 == 0, "local", "global"), ""),
        "excluded": (step >= start + 8) & (step < start + 12),
    }
    n = 6
    a = rng.integers(n_agg, size=n)
    t["alarms"] = {
        "operator": market[a],
        "aggregate": agg[a],
        "bsp": agg_bsp[a],
        "direction": rng.choice(["up", "down"], n),
        "step": np.arange(60, 60 + n),
        "event_step": np.full(n, 58),
        "code": rng.choice(["MON-SHORT", "MON-NO-DATA"], n),
        "severity": rng.choice(["warning", "critical"], n),
        "change": np.full(n, "raised"),
        "ordered_w": rng.integers(1000, 9000, n),
        "delivered_w": rng.integers(0, 900, n),
        "event_ratio": rng.uniform(0, 0.9, n),
        "short_wqh": rng.integers(1000, 90_000, n),
        "projected_wqh": rng.integers(90_000, 200_000, n),
        "n_pods": rng.integers(1, 9, n),
        "n_missing": np.zeros(n, int),
        "n_silent": rng.integers(0, 2, n),
    }
    pod_codes = [f"IT002E{i:08d}" for i in range(n_pods)]
    t["pod_baselines"] = {
        "pod_code": pod_codes,
        "preset": ["nominated"] * n_pods,
        "reading_version": ["1"] * n_pods,
        "submission": ["BSP-01, before 2026-03-23T12:00+01:00"] * n_pods,
        "nominated_w": [[500] * 96] * n_pods,
    }
    n = 90
    a = rng.integers(n_agg, size=n)
    ordered = rng.integers(100, 4000, n) * 400
    delivered = (ordered * rng.uniform(0.6, 1.05, n)).astype(int)
    price = rng.integers(-20, 180, n) * 1_000_000
    paid = np.minimum(ordered, delivered)
    pay = paid * price // 4_000_000
    penalty = (ordered - paid) * 60_000_000 // 4_000_000
    t["settlement_lines"] = {
        "operator": market[a],
        "aggregate": agg[a],
        "bsp": agg_bsp[a],
        "direction": rng.choice(["up", "down"], n),
        "hour": rng.integers(0, 24, n),
        "ordered_wqh": ordered,
        "delivered_wqh": delivered,
        "paid_wqh": paid,
        "price_ueur_per_mwh": price,
        "pay_ueur": pay,
        "penalty_ueur": penalty,
        "shortfall_wqh": ordered - paid,
        "available_wqh": np.zeros(n, int),
        "n_missing": np.zeros(n, int),
        "n_estimated": np.zeros(n, int),
        "counted_wqh": paid,
        "event": rng.integers(0, 24, n),
        "ratio_ppm": paid * 1_000_000 // ordered,
        "factor_ppm": np.full(n, 1_000_000),
        "availability_ueur": np.zeros(n, int),
        "net_ueur": pay - penalty,
    }
    t["baselines"] = {
        "preset": ["high_5_of_10", "high_5_of_10", "nominated", "nominated"],
        "direction": ["up", "down", "up", "down"],
        "n_pods": [7, 3, 5, 0],
        "ordered_wqh": [4_000_000, 2_000_000, 3_000_000, 0],
        "delivered_wqh": [1_600_000, 2_100_000, 2_970_000, 0],
        "moved_wqh": [3_300_000, 1_900_000, 2_900_000, 0],
    }
    t["settlement_pods"] = {
        "operator": market[a],
        "aggregate": agg[a],
        "pod_code": [f"IT002E{i:08d}" for i in range(n)],
        "direction": t["settlement_lines"]["direction"],
        "hour": t["settlement_lines"]["hour"],
        "price_ueur_per_mwh": price,
        "ordered_wqh": ordered,
        "delivered_wqh": delivered,
        "available_wqh": np.zeros(n, int),
        "pay_ueur": pay,
        "penalty_ueur": penalty,
        "availability_ueur": np.zeros(n, int),
        "net_ueur": pay - penalty,
    }
    pairs = sorted({(str(b), str(m)) for b, m in zip(agg_bsp[a], market[a], strict=True)})
    net = [int((pay - penalty)[(agg_bsp[a] == b) & (market[a] == m)].sum()) for b, m in pairs]
    t["statements"] = {
        "bsp": [b for b, _ in pairs],
        "operator": [m for _, m in pairs],
        "net_ueur": net,
        "net_cents": [round(value / 10_000) for value in net],
    }
    t["kpis"] = dict(
        zip(
            DAY_TABLES["kpis"][1],
            zip(
                ("prequalification_efficiency", "", 0.25, "1", "share of technical tests saved"),
                ("prequalification_efficiency", "tests_done", 30.0, "tests", "technical tests carried out"),
                ("prequalification_efficiency", "tests_without", 40.0, "tests", "tests without equivalences"),
                ("local_constraint_impact", "", 0.612, "1", "deliverable over declared and movable energy"),
                ("local_constraint_impact", "static_light", 0.9, "1", "left by the static traffic light"),
                ("local_constraint_impact", "local_sessions", 0.85, "1", "of that, left by local sessions"),
                ("local_constraint_impact", "dynamic_light", 0.8, "1", "of that, left by the dynamic traffic light"),
                ("local_constraint_impact", "declared_mwh", 61.0, "MWh", "declared and physically movable"),
                ("local_constraint_impact", "deliverable_mwh", 37.33, "MWh", "after the dynamic traffic light"),
                ("market_efficiency", "", float("nan"), "1", "(fragmented - scheme) / (fragmented - common)"),
                ("market_efficiency", "scheme_eur", 5120.5, "EUR", "cost of the coordinated sessions"),
                ("market_efficiency", "common_eur", -420.0, "EUR", "cost of one market for both needs"),
                ("continuance_of_adoption", "", 0.8, "1", "share of BSPs with profit in both halves"),
                strict=True,
            ),
            strict=True,
        )
    )
    tables = {name: table(name, None if name in empty else t.get(name)) for name in DAY_TABLES}
    seconds = {"city": 1.2, "registration": 0.4, "sessions": 3.1, "delivery": 0.9}
    return DayRun("SimBench urban (1-MVLV-urban-all-0-sw)", day, seed, "d41", tables, seconds)
