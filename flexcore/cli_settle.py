"""The command `flexcore settle`: day files and orders in, lines and totals out."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flexcore.cli_out import make_folder

Orders = Annotated[
    Path,
    typer.Argument(
        help="Parquet file of orders: pod, operator (0 DSO, 1 TSO), aggregate, direction (0 up, 1 down), step, "
        "ordered_w; price_ueur_per_mwh where orders have prices."
    ),
]
Days = Annotated[
    list[Path],
    typer.Argument(
        help="Files or folders of readings (of import_readings or write_readings), one for each day, in any order."
    ),
]
Preset = Annotated[str, typer.Option(help="Baseline preset, such as edge or high_5_of_10.")]
Terms = Annotated[str, typer.Option(help="Settlement terms, such as dead_band_5 or uk_dso_taper.")]
Price = Annotated[str | None, typer.Option(help="Price of orders without one, EUR/MWh.")]
Penalty = Annotated[str | None, typer.Option(help="Penalty of the terms, EUR/MWh of shortfall.")]
Place = Annotated[
    str | None,
    typer.Option(
        "--calendar",
        help="Country, or country and subdivision (IT-RM), whose working days and holidays tell reference days apart.",
    ),
]
Out = Annotated[Path, typer.Option(help="New folder for lines, POD lines and totals.")]
Cites = Annotated[Path | None, typer.Option(help="Folder of the run that this one corrects.")]
Reason = Annotated[str, typer.Option(help="Why it was corrected, with --cites.")]
Zero = Annotated[bool, typer.Option("--missing-as-zero", help="Count orders without reading as not delivered.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads; results do not depend on it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


def settle(
    orders: Orders,
    days: Days,
    preset: Preset = "caiso_10_in_10",
    place: Place = None,
    terms: Terms = "linear",
    price: Price = None,
    penalty: Penalty = None,
    out: Out = Path("runs/settlement"),
    cites: Cites = None,
    reason: Reason = "",
    missing_as_zero: Zero = False,
    n_threads: Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Settle the latest of the given days from files of readings; the days before it are its reference days.

    Without --calendar all of them are, of any day type. Penalties are those of the day in full: a cap on the penalties
    of a period is no part of it.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flexcore.errors import check_option
    from flexcore.metering import ELIGIBILITY, BaselineRule, Calendar, ReferenceDays, rule_for
    from flexcore.metering.baseline import rule_of
    from flexcore.metering.reading_files import open_day
    from flexcore.metering.result_folders import MANIFEST
    from flexcore.metering.stream_arguments import reads_history
    from flexcore.settlement.order_rows import read_orders
    from flexcore.settlement.presets import TERMS
    from flexcore.settlement.stream import settle_files

    start = time.perf_counter()
    check_option("terms", terms, tuple(TERMS))
    rule = TERMS[terms]
    if price is not None:
        rule = dataclasses.replace(rule, price_ueur_per_mwh=_ueur(price, "--price"))
    if penalty is not None:
        rule = dataclasses.replace(rule, penalty_ueur_per_mwh=_ueur(penalty, "--penalty"))
    table = read_orders(orders)
    sources = sorted(days, key=lambda path: open_day(path).day.date)
    if out.exists() and not (out / MANIFEST).is_file():
        raise typer.BadParameter(f"{out} exists and holds no settlement; name a new folder", param_hint="--out")
    method: str | BaselineRule = preset
    eligible = None
    if place is not None:
        country, _, subdivision = place.partition("-")
        calendar = Calendar(country, subdivision=subdivision or None)
        method = rule_for(preset, calendar.day_type(open_day(sources[-1]).day))
        if preset in ELIGIBILITY:
            eligible = ReferenceDays(calendar, ELIGIBILITY[preset])
        elif reads_history(rule_of(method)):
            message = f"{preset} is a preset of days off; name that of working days, and --calendar chooses"
            raise typer.BadParameter(message, param_hint="--preset")
    make_folder(out.parent)
    columns = (TextColumn("blocks of PODs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("blocks", total=None)
        found = settle_files(
            table,
            sources[:-1],
            sources[-1],
            rule,
            preset=method,
            eligible=eligible,
            missing="zero" if missing_as_zero else "refuse",
            out=out,
            cites=cites,
            reason=reason,
            n_threads=n_threads,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    seconds = time.perf_counter() - start
    if as_json:
        print(json.dumps(_summary(found, seconds)))
        return
    _print(found)
    Console().print(
        f"\n{found.n_lines:,} lines, {found.n_pod_lines:,} POD lines in {escape(str(out))}"
        f" after {seconds:.1f} s; digest {found.digest[:16]}"
    )


def _ueur(price: str, option: str) -> int:
    from flexcore.units import eur_per_mwh

    try:
        return eur_per_mwh(price)
    except (ArithmeticError, ValueError):
        raise typer.BadParameter(f"{price!r} is no price with at most six decimals", param_hint=option) from None


def _summary(found: Any, seconds: float) -> dict[str, Any]:
    totals = {f.name: getattr(found.totals, f.name).tolist() for f in dataclasses.fields(found.totals)}
    counts = {"n_lines": found.n_lines, "n_pod_lines": found.n_pod_lines, "seconds": seconds}
    return {"digest": found.digest, **counts, "totals": totals, "files": list(found.files)}


def _print(found: Any) -> None:
    from flexcore.units import to_eur, to_mwh

    totals = found.totals
    table = Table("operator", "ordered MWh", "delivered MWh", "pay EUR", "penalty EUR", "net EUR")
    for k, name in enumerate(("local", "global")):
        energy = (f"{to_mwh(column[k]):,.3f}" for column in (totals.ordered_wqh, totals.delivered_wqh))
        money = (f"{to_eur(column[k]):,.2f}" for column in (totals.pay_ueur, totals.penalty_ueur, totals.net_ueur))
        table.add_row(name, *energy, *money)
    Console().print(table)
