"""Where commands write their results."""

from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape


def make_folder(out: Path) -> None:
    """Make a folder for results before any work is done; a place that cannot be written to ends the command."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".flexcore-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        where = escape(str(out))
        Console(stderr=True).print(
            f"[bold red]cannot write to[/bold red] {where}: {error.strerror}. Hint: choose another --out"
        )
        raise typer.Exit(2) from None
