"""The command line: run one day, write its statements, compare schemes, warm the kernel cache, check the machine."""

import importlib.util
import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import flexcore
from flexcore import cli_settle
from flexcore.cli_out import make_folder
from flexcore.errors import FlexcoreError, MissingExtraError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="TSO-DSO flexibility coordination: from registration to settlement, on one machine.",
    pretty_exceptions_enable=False,
)
_screen = Console(stderr=True)
_INTERRUPTED = 130  # what shells use for SIGINT, and typer with them

Day = Annotated[str | None, typer.Option(help="Delivery day, local date; by default one with work for every phase.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the synthetic city, its forecast errors and its readings.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads for the kernels; results do not depend on it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


@app.command()
def run(
    code: Annotated[str, typer.Option(help="SimBench grid code.")] = "1-MVLV-urban-all-0-sw",
    day: Day = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for Parquet tables and the report.")] = Path("runs/day"),
    n_threads: Threads = 2,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    as_json: AsJson = False,
) -> None:
    """Compute one delivery day of a SimBench district and write tables, a report and the BSPs' statements."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from flexcore.study import cities
    from flexcore.study.day import PHASES, run_day
    from flexcore.study.summary import print_summary

    start = time.perf_counter()
    # what can be refused at once is refused before the work; a refused input leaves no folder behind
    delivery = None if day is None else flexcore.MarketDay(day)
    if report and importlib.util.find_spec("plotly") is None:
        raise MissingExtraError("plotly", "report")
    columns = (SpinnerColumn(), TextColumn("{task.description:<46}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_screen, transient=True) as bar:
        task = bar.add_task("city", total=PHASES + 2)

        def progress(what: str) -> None:
            bar.update(task, description=what, advance=1)

        progress("loading the city")
        city = cities.simbench(code, seed=seed, n_threads=n_threads)
        make_folder(out)
        result = run_day(city, delivery, n_threads=n_threads, progress=progress)
        progress("writing tables and report")
        files = result.write(out)
        if report:
            from flexcore.study.report import write_report
            from flexcore.study.statement_files import write_statements

            files.append(write_report(result, out / "report.html"))
            files += write_statements(result, out / "statements")
    if as_json:
        print(json.dumps({**result.as_dict(), "files": [str(path) for path in files]}, default=str))
        return
    print_summary(result, Console())
    seconds = time.perf_counter() - start
    shown = escape(str(out / "report.html" if report else out))
    Console().print(f"\n{len(files)} files in {escape(str(out))} after {seconds:.1f} s; look at [bold]{shown}[/bold]")


@app.command()
def statement(
    run: Annotated[Path, typer.Argument(help="Folder of a day that flexcore run computed.")] = Path("runs/day"),
    bsp: Annotated[list[str] | None, typer.Option(help="Id of a BSP; repeat for more.")] = None,
    pod: Annotated[list[str] | None, typer.Option(help="Code of a POD; repeat for more.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pages; by default 'statements' in that of the run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write settlement statements of a computed day: of BSPs or PODs that are named, else of every BSP."""
    from flexcore.study.report import read_run
    from flexcore.study.statement_files import write_statements

    if (run / "manifest.json").is_file() and not (run / "run.json").is_file():
        # of `flexcore settle`: it holds no readings and no names
        hint = "it was settled from files, and SettledDay.from_files draws its statements"
        _screen.print(f"[bold red]no computed day in[/bold red] {escape(str(run))}. Hint: {hint}")
        raise typer.Exit(2)
    target = run / "statements" if out is None else out
    result = read_run(run)
    make_folder(target)
    files = write_statements(result, target, bsps=bsp, pods=pod)
    if as_json:
        print(json.dumps({"files": [str(path) for path in files]}))
        return
    for path in files:
        Console().print(escape(str(path)), soft_wrap=True)


@app.command()
def compare(
    code: Annotated[str, typer.Option(help="SimBench grid code.")] = "1-MVLV-urban-all-0-sw",
    day: Day = None,
    seed: Seed = 0,
    scheme: Annotated[list[str] | None, typer.Option(help="Scheme to run; repeat for more. All by default.")] = None,
    schemes: Annotated[Path | None, typer.Option(help="TOML file with schemes of your own, run as well.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the table and the report.")] = Path("runs/compare"),
    n_threads: Threads = 2,
    report: Annotated[bool, typer.Option(help="Write compare.html.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run coordination schemes on one delivery day and put cost, safety, service and information side by side."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from flexcore.market.schemes import read_schemes
    from flexcore.market.schemes import scheme as find_scheme
    from flexcore.market.schemes.compare import default_schemes
    from flexcore.study import cities
    from flexcore.study.compare import compare_schemes
    from flexcore.study.compare_summary import print_comparison

    start = time.perf_counter()
    delivery = None if day is None else flexcore.MarketDay(day)
    own = () if schemes is None else tuple(read_schemes(schemes).values())
    named = tuple(find_scheme(name) for name in scheme or ())
    asked = (*named, *own) if named or own else default_schemes()
    if report and importlib.util.find_spec("plotly") is None:
        raise MissingExtraError("plotly", "report")
    columns = (SpinnerColumn(), TextColumn("{task.description:<60}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_screen, transient=True) as bar:
        task = bar.add_task("city", total=len(asked) + 4)

        def progress(what: str) -> None:
            bar.update(task, description=what, advance=1)

        progress("loading the city")
        city = cities.simbench(code, seed=seed, n_threads=n_threads)
        make_folder(out)
        found = compare_schemes(city, delivery, asked, n_threads=n_threads, progress=progress)
        progress("writing table and report")
        files = found.write(out)
        if report:
            from flexcore.study.report.schemes import write_comparison

            files.append(write_comparison(found, out / "compare.html"))
    if as_json:
        print(json.dumps({**json.loads(files[1].read_text(encoding="utf-8")), "files": [str(path) for path in files]}))
        return
    print_comparison(found, Console())
    seconds = time.perf_counter() - start
    shown = escape(str(out / "compare.html" if report else out))
    Console().print(f"\n{len(files)} files in {escape(str(out))} after {seconds:.1f} s; look at [bold]{shown}[/bold]")


app.command()(cli_settle.settle)


@app.command()
def precompile() -> None:
    """Compile every kernel into the user cache, for images and CI."""
    import pkgutil

    import flexcore.kernels as kernels
    from flexcore.kernels._jit import cache_folder

    start = time.perf_counter()
    names = [m.name for m in pkgutil.walk_packages(kernels.__path__, "flexcore.kernels.") if not m.ispkg]
    for name in names:
        importlib.import_module(name)
    where = cache_folder() or "nowhere: caching is off"
    _screen.print(f"{len(names)} kernel files compiled in {time.perf_counter() - start:.1f} s, cached in {where}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show versions, cache, time zone data and optional packages; exit with 1 if something needed is missing."""
    import importlib.metadata as metadata

    facts: dict[str, Any] = {"flexcore": flexcore.__version__, "python": sys.version.split()[0]}
    missing = []
    for name in ("numpy", "numba", "llvmlite", "scipy", "pyarrow", "typer", "rich"):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            facts[name] = "missing"
    for name, extra in {"pandapower": "city", "simbench": "city", "plotly": "report", "holidays": "calendar"}.items():
        there = importlib.util.find_spec(name) is not None
        facts[name] = metadata.version(name) if there else f"missing: pip install 'flexcore[{extra}]'"
    if "numba" not in missing:
        from flexcore.kernels._jit import cache_folder

        facts["kernel cache"] = str(cache_folder())
    try:
        facts["clock change"] = f"2026-03-29 has {flexcore.MarketDay('2026-03-29').n_steps} quarter-hours"
    except FlexcoreError:
        missing.append("tzdata")
        facts["clock change"] = "no time zone data: pip install tzdata"
    if as_json:
        print(json.dumps(facts))
    else:
        table = Table("what", "found")
        for name, value in facts.items():
            table.add_row(name, str(value))
        Console().print(table)
    if missing:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        print(flexcore.__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a refused input prints its findings and exits with 2, an interruption exits with 130."""
    asked: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        app()
    except SystemExit as stop:
        if stop.code != _INTERRUPTED:
            raise
        _screen.print("interrupted")
        raise
    except FlexcoreError as error:
        _screen.print(f"[bold red]refused[/bold red] {type(error).__name__}", highlight=False)
        _screen.print(str(error), markup=False, highlight=False)
        sys.exit(2)
    except Exception:
        # what Ctrl-C hits may turn it into an error of its own: numba while it compiles, an import of pandas
        if not asked:
            raise
        _screen.print("interrupted")
        sys.exit(_INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, before)
