"""One delivery day as a self-contained HTML page, drawn from the run's tables only, and runs read back from disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import flexcore
from flexcore.errors import FileError, Findings
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

#: What run.json says, and in which form.
_FACTS = {"city": str, "day": str, "tz": str, "seed": int, "scheme": str, "seconds": dict, "files": dict}
_AGAIN = "compute it again: flexcore run --out"


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
    FileError
        FX-C010 if a file is missing, cannot be read, was changed or belongs to another run, FX-C012 if another version
        of flexcore wrote it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    source, tables = Path(folder), {}
    found = Findings(f"the run in {source}", len(DAY_TABLES))
    about = _about(source, found)
    for name, (_, columns) in DAY_TABLES.items():
        file = f"{name}.parquet"
        try:
            data = (source / file).read_bytes()
        except OSError as error:
            found.add("FX-C010", f"{file} cannot be read: {error.strerror}", ids=[name], hint=_AGAIN)
            continue
        if hashlib.sha256(data).hexdigest() != about["files"].get(file):
            message = f"{file} is not the file that run.json was written with: it was changed, or is of another run"
            found.add("FX-C010", message, ids=[name], hint=_AGAIN)
            continue
        table = pq.read_table(pa.BufferReader(data))
        lacking = [column for column in columns if column not in table.column_names]
        if lacking:
            message = f"{file} has no column {', '.join(lacking)}: another version of flexcore wrote it"
            found.add("FX-C012", message, ids=[name], hint=_AGAIN)
        tables[name] = table.replace_schema_metadata(None)
    found.raise_errors(FileError)
    day = MarketDay(about["day"], about["tz"])
    return DayRun(about["city"], day, about["seed"], about["scheme"], tables, about["seconds"])


def _about(source: Path, found: Findings) -> dict[str, Any]:
    """Return run.json; FX-C010 where it is none, FX-C012 where it lacks something or has it in another form."""
    try:
        about = dict(json.loads((source / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no JSON object"
        found.add("FX-C010", f"run.json cannot be read: {why}", ids=["run.json"], hint=_AGAIN)
        found.raise_errors(FileError)
    lacking = [name for name, kind in _FACTS.items() if not isinstance(about.get(name), kind)]
    if lacking:
        message = f"run.json has no {', '.join(lacking)}: another version of flexcore wrote it"
        found.add("FX-C012", message, ids=["run.json"], hint=_AGAIN)
        found.raise_errors(FileError)
    return about


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
