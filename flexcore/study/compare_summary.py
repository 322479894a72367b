"""A comparison of schemes as one table of text."""

from typing import TYPE_CHECKING

from flexcore.study.compare import SchemeComparison
from flexcore.study.report.columns import number

if TYPE_CHECKING:
    from rich.console import Console


def print_comparison(found: SchemeComparison, console: "Console") -> None:
    """Print one row per scheme: cost beside violations, open needs, volumes and messages."""
    from rich.markup import escape
    from rich.table import Table

    comparison = found.comparison
    table = Table(
        title=escape(f"{found.city}, {found.day.date}"), title_justify="left", show_edge=False, pad_edge=False
    )
    table.add_column("scheme", no_wrap=True)
    for name in ("paid", "cost", "worse", "open", "MB", "eff."):
        table.add_column(name, justify="right", no_wrap=True)
    for o in comparison.outcomes:
        open_mwh = o.unserved_distribution_mwh + o.imbalance_mwh + o.overload_transmission_mwh
        efficiency = number(comparison.efficiency(o), 2) if comparison.comparable(o) else "-"
        table.add_row(
            escape(o.scheme), number(o.payment_eur), number(o.cost_eur), number(o.violations_new),
            number(open_mwh, 2), number(o.n_bytes / 1e6, 1), efficiency, style="" if o.safe else "red",
        )  # fmt: skip
    console.print(table)
    console.print(
        "paid and cost in EUR; cost: payments, and open needs (MWh) at their penalties. worse: elements and "
        "quarter-hours that the outcome breaks further than the forecast (red). eff.: efficiency, 1 is the common "
        "market, 0 the fragmented one; none where the grid is broken or more need is left open than the common market "
        "leaves."
    )
