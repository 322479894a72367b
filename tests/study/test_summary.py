import io
import subprocess
import sys

import pytest
from rich.console import Console

from flexcore.study.day_run import DAY_TABLES, DayRun
from flexcore.study.summary import print_summary
from tests.study.synthetic_day import synthetic_run, table


def printed(run, width=110):
    out = io.StringIO()
    print_summary(run, Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_nodes=60, n_stations=6, n_pods=4, n_lines=10)


def test_it_fits_one_screen(run):
    for width in (80, 110):
        lines = printed(run, width).splitlines()
        assert len(lines) <= 50
        assert max(len(line) for line in lines) <= width
        assert "\u2026" not in printed(run, width)  # nothing is cut off


def test_numbers_are_the_sums_of_the_tables(run):
    text = " ".join(printed(run, 200).split())
    rows = run.tables["sessions"].to_pylist()
    for row in rows:
        name = f"{'LFP' if row['operator'] == 'local' else 'MSD'}_{row['session']}"
        energies = [row[f"firm_{key}_mwh"] for key in ("need", "accepted", "unserved")]
        assert " ".join([name, *(f"{value:.2f}" for value in energies), f"{row['firm_cost_eur']:,.0f}"]) in text
    total = [sum(row[f"firm_{key}_mwh"] for row in rows) for key in ("accepted", "unserved")]
    assert "all " + " ".join(f"{value:,.2f}" for value in total) in text
    events = [
        sum(row[key] for row in rows) for key in ("cut_lines", "withdrawn_lines", "blocked_pods", "firm_violations")
    ]
    assert " ".join(f"{value:,}" for value in events) in text
    assert text.count("skipped") == sum(row["skipped"] for row in rows) == 1
    states = run.tables["static_light"].column("state").to_pylist()
    for state in set(states):
        assert f"{states.count(state)} {state.lower()}" in text
    granted = run.tables["equivalences"].column("granted").to_pylist()
    assert f"{sum(granted)} granted, {len(granted) - sum(granted)} refused" in text
    for operator in ("local", "global"):
        mine = [row for row in run.tables["settlement_lines"].to_pylist() if row["operator"] == operator]
        ordered, delivered = (sum(row[f"{name}_wqh"] for row in mine) / 4e6 for name in ("ordered", "delivered"))
        net = sum(row["net_ueur"] for row in mine) / 1e6
        assert f"ordered {ordered:,.3f} MWh, delivered {delivered:,.3f} MWh" in text
        assert f"net {net:,.2f} EUR" in text


def test_lights_violations_and_key_figures_are_counted(run):
    text = " ".join(printed(run, 200).split())
    last = {}
    for row in run.tables["traffic_light"].to_pylist():
        last[row["perimeter"], row["direction"], row["hour"]] = row["colour"]  # rows stand in session order
    colours = list(last.values())
    assert ", ".join(f"{colours.count(c)} {c}" for c in ("red", "yellow", "green")) in text
    assert "certified in 94 of 96 published quarter-hours" in text
    assert (
        "2 elements violated after global sessions, in 2 element quarter-hours of firm windows: 1 both, 1 forecast"
        in text
    )
    assert "local constraint impact 61.2 % static light 90.0 %" in text
    assert "market efficiency n/a" in text
    assert "sessions 3.10" in text
    assert "5.60 in all" in text


def test_a_run_without_any_row_prints():
    text = printed(synthetic_run(n_nodes=20, n_stations=2, n_pods=2, n_lines=4, empty=tuple(DAY_TABLES)))
    assert "0 units" in text
    assert "nothing ordered" in text
    assert "nan" not in text.lower()


def test_names_are_not_markup(run):
    facts = table("facts", {"name": ["[bold]odd[/bold]"], "value": ["[/]"]})
    tables = {**run.tables, "facts": facts}
    text = printed(DayRun("[red]Roma[/red]", run.day, 0, "d41", tables, {"[x]": 1.0}))
    assert "[red]Roma[/red]" in text
    assert "[bold]odd[/bold] [/]" in text
    assert "[x] 1.00" in text


def test_it_needs_no_plotly():
    code = (
        "import sys; import flexcore.study.summary, flexcore.study.report; "
        "sys.exit('plotly' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
