"""One delivery day as one screenful of text: what came in, what the twelve sessions did, and what came out."""

import math
from typing import TYPE_CHECKING

from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import (
    GREEN,
    NO_LIGHT,
    OPERATOR_NAMES,
    RED,
    YELLOW,
    capability_note,
    check_text,
    counts,
    eur,
    fact_groups,
    integers,
    kpi_name,
    kpi_rows,
    kpi_text,
    kpi_value,
    mwh,
    number,
    numbers,
    operators,
    percent,
    session_rows,
    valid_lights,
    violations,
)
from flexcore.units import GLOBAL, LOCAL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LABEL_WIDTH = 14
_SESSIONS_NOTE = (
    "MWh, EUR, violations: firm hours. Lines, cuts, blocked PODs: whole plans, again in each session. "
    "Local needs: least activation for thermal limits."
)


def _listed(many: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.lower()}" for name, count in many.items()) or "none"


def _registration(run: DayRun) -> list[tuple[str, str]]:
    light, equal = run.tables["static_light"], run.tables["equivalences"]
    lines = []
    power = {
        (way, what): int(integers(light, f"{way}_{what}_w").sum()) / 1e6
        for way in ("up", "down")
        for what in ("declared", "validated")
    }
    shown = ", ".join(
        f"{way} {power[way, 'validated']:,.2f} of {power[way, 'declared']:,.2f} MW" for way in ("up", "down")
    )
    states = counts(light, "state") if light.num_rows else {}
    lines.append(("registration", f"{light.num_rows:,} units: {_listed(states)}; validated {shown}"))
    granted = int((numbers(equal, "granted") == 1).sum())
    tested = counts(run.tables["qualifications"], "state") if run.tables["qualifications"].num_rows else {}
    lines.append(
        (
            "qualification",
            f"{run.tables['aggregates'].num_rows:,} aggregates: {_listed(tested)}; "
            f"Table of Equivalences: {granted:,} granted, {equal.num_rows - granted:,} refused",
        )
    )
    return lines


def _grid(run: DayRun) -> list[tuple[str, str]]:
    """Return lines in rich's markup, since the lights are shown in their colours."""
    from rich.markup import escape

    found = violations(run.tables["nodes"], run.tables["branches"])
    lights = valid_lights(run.tables["traffic_light"], run.day.n_hours)
    n_lights = int((lights.colour != NO_LIGHT).sum())
    n_violated, why = check_text(run.tables["grid_check"])
    capability, movable = int(lights.capability_w.sum()), int(lights.movable_w.sum())
    shown = ", ".join(
        f"[{style}]{lights.count(colour):,} {style}[/]"
        for colour, style in ((RED, "red"), (YELLOW, "yellow"), (GREEN, "green"))
    )
    return [
        (
            "network",
            "overloaded branches {:,} without flexibility, {:,} as awarded, {:,} as metered ".format(*found.branches)
            + f"({found.new_branches:,} of them new); "
            + "nodes out of band {:,}, {:,}, {:,} ".format(*found.nodes)
            + f"({found.new_nodes:,} new)",
        ),
        (
            "traffic light",
            f"{shown} of {n_lights:,} perimeter hours; {percent(capability, movable, 1)} of the movable power "
            f"published. {capability_note(run.tables)}",
        ),
        ("grid check", f"{n_violated:,} elements violated after global sessions, {escape(why)}"),
    ]


def _sessions(run: DayRun) -> "Table":
    """Return the twelve sessions with energies and cost of their firm windows, which add up to the day."""
    from rich.table import Table

    happened = session_rows(run.tables["sessions"])
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", footer_style="bold", show_footer=True)
    columns = (
        ("need\nMWh", "firm_need_mwh", 2),
        ("accepted\nMWh", "firm_accepted_mwh", 2),
        ("unserved\nMWh", "firm_unserved_mwh", 2),
        ("cost\nEUR", "firm_cost_eur", 0),
        ("lines\ntaken", "n_lines_selected", 0),
        ("lines\ncut", "cut_lines", 0),
        ("with-\ndrawn", "withdrawn_lines", 0),
        ("PODs\nblocked", "blocked_pods", 0),
        ("viola-\ntions", "firm_violations", 0),
    )
    engines = ("steps_merit_order", "steps_tree_merit_order", "steps_path_prices", "steps_lp")
    table.add_column("", footer="all", no_wrap=True)
    for title, key, digits in columns:
        total = math.fsum(float(row[key] or 0) for row in happened.rows)
        # lines are taken for the rest of the day too, and the needs of two operators are no sum
        footer = "" if key in ("n_lines_selected", "firm_need_mwh") else number(total, digits)
        table.add_column(title, justify="right", no_wrap=True, footer=footer)
    table.add_column("order/tree/\npaths/LP", justify="right", no_wrap=True)
    for label, operator, row in zip(happened.label, happened.operator, happened.rows, strict=True):
        cells = [number(row[key], digits) for _, key, digits in columns]
        steps = "skipped" if row["skipped"] else "/".join(number(row[name]) for name in engines)
        table.add_row(label, *cells, steps, style="dim" if row["skipped"] else "cyan" if operator == GLOBAL else "")
    return table


def _settlement(run: DayRun) -> list[tuple[str, str]]:
    table = run.tables["settlement_lines"]
    operator = operators(table)
    columns = {
        name: integers(table, name) for name in ("ordered_wqh", "delivered_wqh", "pay_ueur", "penalty_ueur", "net_ueur")
    }
    lines = []
    for op in (LOCAL, GLOBAL):
        mine = operator == op
        if not mine.any():
            lines.append((f"settled {OPERATOR_NAMES[op]}", "nothing ordered"))
            continue
        total = {name: int(values[mine].sum()) for name, values in columns.items()}
        ordered, delivered = total["ordered_wqh"], total["delivered_wqh"]
        pay, penalty, net = (eur(total[name]) for name in ("pay_ueur", "penalty_ueur", "net_ueur"))
        lines.append(
            (
                f"settled {OPERATOR_NAMES[op]}",
                f"{int(mine.sum()):,} lines: ordered {mwh(ordered):,.3f} MWh, delivered "
                f"{mwh(delivered):,.3f} MWh ({percent(delivered, ordered, 1)}); "
                f"paid {pay:,.2f}, penalty {penalty:,.2f}, net {net:,.2f} EUR",
            )
        )
    seen = [
        f"{row['preset']} {row['direction']} {percent(row['delivered_wqh'], row['ordered_wqh'], 1)} against "
        f"{percent(row['moved_wqh'], row['ordered_wqh'], 1)} really moved"
        for row in run.tables["baselines"].to_pylist()
        if row["ordered_wqh"]
    ]
    return [*lines, ("baselines see", "; ".join(seen) or "nothing")]


def _kpis(run: DayRun) -> list[tuple[str, str, str]]:
    """Return (name, value, parts) of each key figure."""
    lines = []
    for key, head, parts in kpi_rows(run.tables["kpis"]):
        shown = []
        for row in parts:
            name, unit = kpi_name(row["part"]), row["unit"]
            shown.append(f"{name} {kpi_text(kpi_value(row), '' if unit in name else unit)}")
        lines.append((kpi_name(key), kpi_text(kpi_value(head), head["unit"]), ", ".join(shown)))
    return lines


def print_summary(run: DayRun, console: "Console") -> None:
    """Print one delivery day in one screenful.

    Parameters
    ----------
    run : DayRun
        Only its tables and timings are read.
    console : rich.console.Console
        Where to print; 100 columns or more show every line whole.
    """
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    def grid(lines: list[tuple[str, str]]) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=_LABEL_WIDTH, style="dim", no_wrap=True)
        table.add_column()
        for label, text in lines:
            table.add_row(label, text)
        return table

    title = f"{run.city}, {run.day.date:%A} {run.day.date}, scheme {run.scheme}, seed {run.seed}"
    console.print(Text(title, style="bold"))
    groups = fact_groups(run.tables["facts"])
    city = []
    for label, group in (("city", ""), ("violated", "violated")):
        if groups.get(group):
            shown = ", ".join(f"{name} {value}" for name, value in groups[group].items())
            city.append((label, escape(shown)))
    console.print(grid([*city, *((label, escape(text)) for label, text in _registration(run))]))
    console.print()
    console.print(_sessions(run))
    console.print(Text(_SESSIONS_NOTE, style="dim"))
    console.print()
    console.print(grid([*_grid(run), *((label, escape(text)) for label, text in _settlement(run))]))
    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="dim", no_wrap=True)
    figures.add_column(justify="right", style="bold", no_wrap=True)
    figures.add_column()
    for name, value, parts in _kpis(run):
        figures.add_row(escape(name), value, escape(parts))
    console.print()
    console.print(figures)
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in run.seconds.items())
    total = sum(run.seconds.values())
    console.print()
    console.print(grid([("seconds", f"{escape(seconds)}; {total:.2f} in all" if seconds else "not measured")]))
