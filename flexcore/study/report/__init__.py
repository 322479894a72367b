"""One delivery day as a self-contained HTML page, drawn from the run's tables only, and runs read back from disk."""

import json
from pathlib import Path
from typing import Any

import flexcore
from flexcore.errors import Findings, ValidationError
from flexcore.market_day import MarketDay
from flexcore.study.day_run import DAY_TABLES, DayRun
from flexcore.study.report.columns import capability_note, valid_lights
from flexcore.study.report.delivery import day_section, delivery_section, money_section
from flexcore.study.report.map import map_section
from flexcore.study.report.market import lights_section, timeline_section
from flexcore.study.report.merit import merit_section
from flexcore.study.report.page import esc, plotly_js, write_page
from flexcore.study.report.text import (
    about_section,
    attribution,
    city_section,
    findings_section,
    grid_section,
    headline_section,
    kpi_section,
)


def read_run(folder: str | Path) -> DayRun:
    """Return a run that `DayRun.write` has written.

    Parameters
    ----------
    folder : str or Path
        Folder with one Parquet file per table and run.json.

    Returns
    -------
    DayRun

    Raises
    ------
    FileNotFoundError
        If the folder lacks run.json or the file of a table.
    ValidationError
        FX-C010 if the files belong to different runs, FX-C012 if another version wrote them.
    """
    import pyarrow.parquet as pq

    source = Path(folder)
    about: dict[str, Any] = json.loads((source / "run.json").read_text(encoding="utf-8"))
    # without partitioning=None a folder called 'day=3' would turn up as a column
    tables = {name: pq.read_table(source / f"{name}.parquet", partitioning=None) for name in DAY_TABLES}
    found = Findings(f"the run in {source}", len(tables))
    for name, table in tables.items():
        digest = (table.schema.metadata or {}).get(b"flexcore_digest", b"").decode()
        if digest != about.get("digest"):
            found.add(
                "FX-C010", f"{name}.parquet and run.json belong to different runs", ids=[name], hint="run it again"
            )
        lacking = [column for column in DAY_TABLES[name][1] if column not in table.column_names]
        if lacking:
            message = f"{name}.parquet has no column {', '.join(lacking)}: another version of flexcore wrote it"
            found.add("FX-C012", message, ids=[name], hint="run it again")
    found.raise_errors(ValidationError)
    tables = {name: table.replace_schema_metadata(None) for name, table in tables.items()}
    day = MarketDay(about["day"], about.get("tz", "Europe/Rome"))
    return DayRun(about["city"], day, int(about["seed"]), about["scheme"], tables, dict(about["seconds"]))


def write_report(run: DayRun, path: str | Path) -> Path:
    """Write one delivery day as one HTML file that needs no network.

    Parameters
    ----------
    run : DayRun
        A computed day, or one that `read_run` has read; only its tables are used.
    path : str or Path
        File to write; folders are made.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingExtraError
        FX-E001 if plotly is not installed.
    """
    library = plotly_js()
    lights = valid_lights(run.tables["traffic_light"], run.day.n_hours)
    sections = [
        headline_section(run, lights),
        city_section(run),
        map_section(run, lights),
        day_section(run),
        timeline_section(run),
        lights_section(run, lights),
        merit_section(run),
        delivery_section(run),
        money_section(run),
        kpi_section(run),
        grid_section(run),
        findings_section(run),
        about_section(run),
    ]
    date = f"{run.day.date:%A} {run.day.date.day} {run.day.date:%B %Y}"
    head = (
        f'<h1>{esc(run.city)}</h1><div class="sub"><span>{esc(date)}</span><span>scheme {esc(run.scheme)}</span>'
        f"<span>seed {run.seed}</span><span>flexcore {esc(flexcore.__version__)}</span>"
        f'<span class="flag">{esc(capability_note(run.tables))}</span></div>'
    )
    foot = f"{esc(attribution(run))} Made by flexcore {esc(flexcore.__version__)}."
    return write_page(path, f"{run.city}, {run.day.date}", head, sections, foot, library)
