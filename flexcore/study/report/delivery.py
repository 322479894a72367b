"""The delivery part of the report: the day in quarter-hours, baseline against metered, and where the money goes."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.study.day_run import DayRun
from flexcore.study.report.alarms import alarm_parts
from flexcore.study.report.columns import (
    DIRECTION_NAMES,
    OPERATOR_NAMES,
    codes,
    directions,
    eur,
    integers,
    mwh,
    number,
    numbers,
    operators,
    percent,
    sum_by,
    texts,
)
from flexcore.study.report.market import hour_axis
from flexcore.study.report.page import Figure, Section, Variant, esc, html_table, none, rounded
from flexcore.units import GLOBAL, LOCAL

_PODS = 10  # PODs to choose from
_OPERATOR_TITLES = ("Local market (DSO)", "Global market (TSO)")

Ints = npt.NDArray[np.int64]


def _step_line(name: str, x: list[int], y: list[float | None], colour: str, **more: Any) -> dict[str, Any]:
    """Return a stepped line; the last value is repeated so that the last quarter-hour has its width."""
    style = {"color": colour, "shape": "hv", "width": 1.8, **more.pop("line", {})}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [*x, x[-1] + 1],
        "y": [*y, y[-1]],
        "line": style,
        **more,
    }


def day_section(run: DayRun) -> Section:
    """Return the quarter-hours of the whole city: load, activations and the global need."""
    title = "The day"
    series = run.tables["series"]
    if not series.num_rows:
        return Section("day", title, "", [none("The run holds no series.")])
    order = np.argsort(integers(series, "step"), kind="stable")
    series = series.take(order)
    x = integers(series, "step").tolist()
    clock = [run.day.label(step) for step in x]
    clock.append(clock[-1])

    def line(name: str, column: str, scale: float, colour: str, **more: Any) -> dict[str, Any]:
        hover = {"text": clock, "hovertemplate": f"%{{text}}  {name} %{{y:.3f}} MW<extra></extra>"}
        return _step_line(name, x, rounded(numbers(series, column) * scale, 5), colour, **hover, **more)

    data = [
        line("load, last forecast", "load_forecast_kw", 1e-3, "$muted", line={"dash": "dot"}),
        line("load, realised", "load_realised_kw", 1e-3, "$ink"),
        line("global need", "global_need_w", 1e-6, "$third", yaxis="y2", line={"dash": "dash"}),
        line("local activation", "local_w", 1e-6, "$local", yaxis="y2"),
        line("global activation", "global_w", 1e-6, "$global", yaxis="y2"),
        line("left after both", "residual_w", 1e-6, "$red", yaxis="y2", line={"width": 1.2}),
    ]
    layout = {
        "height": 520,
        "hovermode": "closest",
        "xaxis": {**hour_axis(run), "anchor": "y2", "title": {"text": "local clock"}},
        "yaxis": {"domain": [0.56, 1], "title": {"text": "load, MW"}},
        "yaxis2": {"domain": [0, 0.46], "title": {"text": "flexibility, MW (up positive)"}, "zeroline": True},
        "margin": {"l": 64, "r": 26, "t": 48, "b": 46},
    }
    figure = Figure("day", "Load, activations and global need by quarter-hour", "", [Variant("", data, layout)])
    load = numbers(series, "load_realised_kw")
    peak = int(np.nanargmax(load)) if np.isfinite(load).any() else 0
    lead = (
        f"{run.day.n_steps} quarter-hours of {esc(run.day.date)} ({esc(run.day.tz)}); the load peaks at "
        f"{number(load[peak] / 1000, 2, 'MW')} at {clock[peak]}."
    )
    return Section("day", title, lead, [figure])


def _pod_variant(run: DayRun, table: Any, code: str, ordered_wqh: int) -> Variant:
    table = table.take(np.argsort(integers(table, "step"), kind="stable"))
    step = integers(table, "step")
    x = step.tolist()
    clock = [run.day.label(s) for s in x]
    clock.append(clock[-1])
    baseline, metered = integers(table, "baseline_w") / 1000, integers(table, "metered_w") / 1000
    up, down = integers(table, "ordered_up_w") / 1000, integers(table, "ordered_down_w") / 1000
    asked = up + down > 0
    target = np.where(asked, baseline - up + down, np.nan)
    # a stepped line draws a value up to the next one: carry the last target to the end of its quarter-hour
    behind = np.flatnonzero(asked[:-1] & ~asked[1:]) + 1
    target[behind] = target[behind - 1]
    # one block per run of rows that the same operator has ordered: (first step, step behind the last, operator)
    owner = np.where(asked, np.maximum(operators(table), 0), -1)
    edges = np.flatnonzero(np.diff(owner, prepend=-1, append=-1))
    blocks = [
        (int(step[a]), int(step[b - 1]) + 1, int(owner[a]))
        for a, b in itertools.pairwise(edges.tolist())
        if owner[a] >= 0
    ]

    def line(name: str, values: npt.NDArray[np.float64], colour: str, **more: Any) -> dict[str, Any]:
        hover = {"text": clock, "hovertemplate": f"%{{text}}  {name} %{{y:.3f}} kW<extra></extra>"}
        return _step_line(name, x, rounded(values, 4), colour, **hover, **more)

    data = [
        line("baseline", baseline, "$muted", line={"dash": "dash"}),
        line("metered", metered, "$ink"),
        line("baseline with the order", target, "$global", line={"width": 2.4}),
    ]
    moved = np.where(up > 0, baseline - metered, metered - baseline)[asked].sum() / 4
    who = sorted({OPERATOR_NAMES[k] for k in operators(table)[asked].tolist() if k >= 0})
    bsp = texts(table, "bsp")[0]
    layout = {
        "height": 390,
        "hovermode": "closest",
        "title": {
            "text": f"<b>{esc(code)}</b> ({esc(bsp)}{', ' if who else ''}{' and '.join(who)} order): "
            f"ordered {number(ordered_wqh / 4000, 2)} kWh, delivered {number(float(moved), 2)} kWh",
            "font": {"size": 14},
            "x": 0.01,
            "xanchor": "left",
            "y": 0.98,
            "yanchor": "top",
        },
        "shapes": [
            {
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": a,
                "x1": b,
                "y0": 0,
                "y1": 1,
                "fillcolor": f"${OPERATOR_NAMES[op]}_shade",
                "line": {"width": 0},
                "layer": "below",
            }
            for a, b, op in blocks
        ],
        "xaxis": {**hour_axis(run), "title": {"text": "local clock"}},
        "yaxis": {"title": {"text": "withdrawal, kW"}},
        "legend": {"y": 1.01},
        "margin": {"l": 64, "r": 26, "t": 76, "b": 46},
    }
    return Variant(f"{code}, {number(ordered_wqh / 4000, 2)} kWh ordered", data, layout)


def delivery_section(run: DayRun) -> Section:
    """Return baseline against metered for the PODs with the largest orders."""
    import pyarrow as pa
    import pyarrow.compute as pc

    title = "Baseline and delivery"
    table = run.tables["pod_day"]
    position, names = codes(table, "pod_code")
    ordered = sum_by(position, integers(table, "ordered_up_w") + integers(table, "ordered_down_w"), len(names))
    rank = sorted(np.flatnonzero(ordered > 0).tolist(), key=lambda i: (-int(ordered[i]), names[i]))
    chosen = rank[:_PODS]
    if not chosen:
        return Section("delivery", title, "", [none("No POD was ordered to act.")])
    rows = np.flatnonzero(np.isin(position, chosen))
    few = table.take(pa.array(rows))
    code = few.column("pod_code").cast(pa.string())
    variants = [_pod_variant(run, few.filter(pc.equal(code, names[i])), names[i], int(ordered[i])) for i in chosen]
    figure = Figure(
        "pod",
        "Baseline against metered power of one POD",
        "Shaded: the quarter-hours with an order, blue for the local and orange for the global market. "
        "Delivered is baseline minus metered with the direction's sign; "
        "what goes beyond "
        "the order is not paid.",
        variants,
        choice="POD",
    )
    lead = f"{len(rank):,} PODs had an order; shown are the {len(chosen)} with the most ordered energy."
    return Section("delivery", title, lead, [figure, *_baseline_table(run), *alarm_parts(run)])


def _baseline_table(run: DayRun) -> list[str]:
    """Return what each baseline preset saw delivered beside what was really moved, which a simulation alone knows."""
    rows = [row for row in run.tables["baselines"].to_pylist() if row["ordered_wqh"]]
    if not rows:
        return []
    energies = ("ordered_wqh", "delivered_wqh", "moved_wqh")
    cells = [
        (
            row["preset"],
            row["direction"],
            f"{row['n_pods']:,}",
            *(number(mwh(row[name]), 3) for name in energies),
            *(percent(row[name], row["ordered_wqh"], 1) for name in energies[1:]),
            percent(row["delivered_wqh"] - row["moved_wqh"], row["ordered_wqh"], 1),
        )
        for row in rows
    ]
    table = html_table(
        (
            "baseline",
            "direction",
            "PODs",
            "ordered MWh",
            "delivered MWh",
            "moved MWh",
            "delivered",
            "moved",
            "baseline error",
        ),
        cells,
        numeric="..nnnnnnn",
        caption="Delivered: as the baseline sees it, which is what settlement pays. Moved: against the load without "
        "orders, known because the day is simulated. The difference is the error of the baseline",
    )
    return ["<h3>Error of the baselines</h3>", table]


def _flow(run: DayRun) -> Figure | None:
    """Return the Sankey diagram operator -> BSP -> kept or given back, in EUR."""
    table = run.tables["settlement_lines"]
    operator = operators(table)
    bsp_of, bsps = codes(table, "bsp")
    pay, penalty = integers(table, "pay_ueur"), integers(table, "penalty_ueur")
    n = len(bsps)
    known = operator >= 0
    cell = operator[known] * n + bsp_of[known]
    paid = sum_by(cell, np.maximum(pay[known], 0), 2 * n).reshape(2, n)
    charged = sum_by(cell, np.maximum(-pay[known], 0), 2 * n).reshape(2, n)  # negative prices: the BSP pays
    fined = sum_by(cell, penalty[known], 2 * n).reshape(2, n)
    back = (charged + fined).sum(axis=0)
    kept = paid.sum(axis=0) - back
    order = sorted(range(n), key=lambda i: (-int(paid[:, i].sum()), bsps[i]))
    # nodes: two operators, the BSPs, three ends
    first, keep, fines, charges = 2, 2 + n, 3 + n, 4 + n
    place = {bsp: first + k for k, bsp in enumerate(order)}
    links: list[tuple[int, int, int, str]] = []
    for i in order:
        links += [(op, place[i], int(paid[op, i]), ("$local", "$global")[op]) for op in (LOCAL, GLOBAL)]
        links += [
            (place[i], keep, int(kept[i]), "$green"),
            (place[i], fines, int(fined[:, i].sum()), "$red"),
            (place[i], charges, int(charged[:, i].sum()), "$third"),
        ]
    links = [link for link in links if link[2] > 0]
    if not links:
        return None
    labels = [*_OPERATOR_TITLES, *(esc(bsps[i]) for i in order), "kept by BSPs", "penalties", "paid by BSPs"]
    colours = ["$local", "$global", *("$muted" for _ in order), "$green", "$red", "$third"]
    data = [
        {
            "type": "sankey",
            "arrangement": "snap",
            "node": {
                "label": labels,
                "color": colours,
                "pad": 16,
                "thickness": 14,
                "line": {"width": 0},
                "hovertemplate": "%{label}: %{value:,.2f} EUR<extra></extra>",
            },
            "link": {
                "source": [link[0] for link in links],
                "target": [link[1] for link in links],
                "value": rounded([eur(link[2]) for link in links], 4),
                "color": [f"{link[3]}_flow" for link in links],
                "hovertemplate": "%{source.label} to %{target.label}: %{value:,.2f} EUR<extra></extra>",
            },
            "textfont": {"color": "$ink", "size": 12.5},
        }
    ]
    layout = {"height": 130 + 40 * max(n, 6), "margin": {"l": 8, "r": 8, "t": 36, "b": 14}}
    return Figure(
        "money",
        "Money flow from operators to BSPs",
        "Payments for delivered energy flow from each operator to the BSPs; penalties for shortfall and payments at "
        "negative "
        "prices flow back, the rest stays with the BSPs.",
        [Variant("", data, layout)],
    )


def settlement_totals(run: DayRun) -> list[tuple[int, dict[str, int]]]:
    """Return exact totals of the settled lines per operator that has any: wqh and micro-EUR."""
    table = run.tables["settlement_lines"]
    operator = operators(table)
    names = ("ordered_wqh", "delivered_wqh", "paid_wqh", "pay_ueur", "penalty_ueur", "net_ueur")
    columns = {name: integers(table, name) for name in names}
    return [
        (op, {name: int(values[operator == op].sum()) for name, values in columns.items()})
        for op in (LOCAL, GLOBAL)
        if (operator == op).any()
    ]


def money_section(run: DayRun) -> Section:
    """Return settlement totals, the money flow and the statements."""
    title = "Settlement"
    table = run.tables["settlement_lines"]
    if not table.num_rows:
        return Section("money", title, "", [none("Nothing was ordered, so nothing is settled.")])
    direction, operator = directions(table), operators(table)
    names = ("ordered_wqh", "delivered_wqh", "paid_wqh", "pay_ueur", "penalty_ueur", "net_ueur")
    columns = [integers(table, name) for name in names]

    def cells(where: npt.NDArray[np.bool_]) -> list[str]:
        sums = [int(values[where].sum()) for values in columns]
        return [
            *(number(mwh(value), 3) for value in sums[:3]),
            percent(sums[1], sums[0], 1),
            *(number(eur(value), 2) for value in sums[3:]),
        ]

    rows = [
        [OPERATOR_NAMES[op], DIRECTION_NAMES[d], f"{int(where.sum()):,}", *cells(where)]
        for op in (LOCAL, GLOBAL)
        for d in (0, 1)
        if (where := (operator == op) & (direction == d)).any()
    ]
    every = np.ones(table.num_rows, np.bool_)
    totals = html_table(
        [
            "market",
            "direction",
            "lines",
            "ordered MWh",
            "delivered MWh",
            "paid MWh",
            "delivered",
            "pay EUR",
            "penalty EUR",
            "net EUR",
        ],
        rows,
        numeric="..nnnnnnnn",
        foot=["all", "", f"{table.num_rows:,}", *cells(every)],
    )
    statements = run.tables["statements"]
    lines = sorted(
        zip(
            texts(statements, "bsp"),
            operators(statements).tolist(),
            integers(statements, "net_ueur").tolist(),
            integers(statements, "net_cents").tolist(),
            strict=True,
        )
    )
    cents = sum(line[3] for line in lines)
    statement_table = html_table(
        ("BSP", "market", "net, exact EUR", "statement EUR"),
        [
            (bsp, OPERATOR_NAMES[op] if op >= 0 else "", number(eur(exact), 6), number(paid / 100, 2))
            for bsp, op, exact, paid in lines
        ],
        numeric="..nn",
        caption="One statement per BSP and market; cents are rounded once, here.",
        foot=("all", "", number(eur(sum(line[2] for line in lines)), 6), number(cents / 100, 2)),
    )
    flow = _flow(run)
    parts: list[Figure | str] = [totals]
    if flow is not None:
        parts.append(flow)
    parts += ["<h3>Statements</h3>", statement_table if lines else none("No statement was made.")]
    lead = (
        "Settlement is separate per operator. Sums are exact integers; "
        f"{run.tables['settlement_pods'].num_rows:,} POD shares add up to {table.num_rows:,} lines."
    )
    return Section("money", title, lead, parts)
