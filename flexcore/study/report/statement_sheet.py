"""What the pages of statements share: the sheet for paper and screen, tables, terms, and where a run comes from."""

from pathlib import Path
from typing import Any

import flexcore
from flexcore.metering.reading_layout import published
from flexcore.settlement.statement import RunFacts
from flexcore.settlement.terms import SettlementTerms
from flexcore.study.report.columns import mwh, number
from flexcore.study.report.page import Section, esc, fact_list, html_table
from flexcore.study.report.style import CSS, LIGHT
from flexcore.units import to_eur

#: Markets as a reader knows them.
MARKET = {"local": "local (DSO)", "global": "global (TSO)"}
#: Sections that begin a page on paper.
_ANNEXES = ("lines", "pods")
_AMOUNTS = {
    "pay_ueur": "pay",
    "penalty_ueur": "penalty",
    "availability_ueur": "availability",
    "fee_ueur": "fees",
    "net_ueur": "net",
}
_SHEET = (
    """
.head,main,footer{max-width:1000px}
.head .kind{color:var(--muted);font-size:.8rem;letter-spacing:.09em;text-transform:uppercase;margin:0}
h1{overflow-wrap:anywhere}
section{padding:1.1rem 1.3rem;margin:.9rem 0}
h2{font-size:1.12rem}
.tiles{grid-template-columns:repeat(auto-fit,minmax(180px,1fr))}
.tile.main{background:var(--local-soft)}
.tile b{font-size:1.4rem}
.facts{grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr))}
.facts dt{white-space:nowrap}
.tiles+.cap{margin-top:.9rem}
td.k,th.k{white-space:nowrap}
.chart{display:block;width:100%;min-width:600px;height:auto;margin:.3rem 0}
.chart text{font:11px system-ui,sans-serif;fill:var(--muted)}
details summary{cursor:pointer;font-weight:600;font-size:.9rem;padding:.2rem 0}
table.dense{font-size:.7rem}.dense th{font-size:.66rem}.dense th,.dense td{padding-left:.22rem;padding-right:.22rem}
.yes{color:var(--green);font-weight:600}.no{color:var(--red);font-weight:600}
@media print{.head,main,footer{max-width:none;padding-left:0;padding-right:0}section{margin:0 0 .55rem;padding:0}
h1{font-size:16pt}h2{font-size:11pt}body{font-size:9pt}.tile{border:1px solid var(--line);padding:.3rem .5rem}
.tile b{font-size:12pt}.head{padding-top:0}.annex{break-before:page}.facts div{padding:.1rem 0}
p{margin:.15rem 0 .3rem}.sub{margin-bottom:.4rem}
table,table.dense{font-size:7pt}th,.dense th{font-size:6.6pt}th,td,.dense th,.dense td{padding:.06rem .22rem}
.cap,.facts div,.lead,.note{font-size:7.5pt}.tiles{grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:.4rem}
.tile .name,.tile .more{font-size:7.5pt}.chart{min-width:0}thead{display:table-header-group}
:root,:root:not([data-theme=light]){color-scheme:light;"""
    + "".join(f"--{name.replace('_', '-')}:{value};" for name, value in LIGHT.items())
    + "}}\n"
)


def write_sheet(path: str | Path, kind: str, name: str, sub: list[str], sections: list[Section]) -> Path:
    """Write a sheet: its kind, whose it is, a line below, and its sections; returns the file."""
    body = "\n".join(section.to_html() for section in sections)
    for annex in _ANNEXES:
        body = body.replace(f'<section id="{annex}">', f'<section id="{annex}" class="annex">')
    under = "".join(f"<span>{esc(text)}</span>" for text in sub)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="flexcore">
<title>{esc(kind)}: {esc(name)}, {esc(sub[0])}</title>
<style>{CSS}{_SHEET}</style>
</head>
<body>
<header class="head"><p class="kind">{esc(kind)}</p><h1>{esc(name)}</h1><div class="sub">{under}</div></header>
<main>
{body}
</main>
<footer>Made by flexcore {esc(flexcore.__version__)}. Energies and amounts are exact sums of whole watt
quarter-hours and micro-euros; only what is shown is rounded.</footer>
</body>
</html>
"""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with published(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def sheet_table(heads: list[str], rows: Any, *, first: str, **more: Any) -> str:
    """Return a table; `first` are the kinds of its first columns (see `html_table`), the others are numbers."""
    return html_table(heads, rows, numeric=first.ljust(len(heads), "n"), **more)


def shown_amounts(table: Any) -> list[str]:
    """Amount columns in their order, without those that are zero throughout; pay and net always."""
    names = [name for name in table.column_names if name.endswith("_ueur")]
    return [name for name in names if name in ("pay_ueur", "net_ueur") or any(table.column(name).to_pylist())]


def amount_label(name: str) -> str:
    """Return the head of a column of amounts; one that is not known keeps its name."""
    return f"{_AMOUNTS.get(name, name.removesuffix('_ueur').replace('_', ' '))} EUR"


def money(ueur: int, digits: int = 6) -> str:
    """Return an amount in EUR, exact to the last digit; half-even where fewer digits are shown."""
    shown = f"{to_eur(ueur):,.{digits}f}"
    return shown if shown.strip("-0.,") else shown.lstrip("-")


def price(ueur_per_mwh: int) -> str:
    """Return a price in EUR/MWh with all of its decimals, two at least."""
    whole, _, part = money(ueur_per_mwh).partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def kwh(wqh: int, digits: int = 2) -> str:
    """Return energy in kWh, for display."""
    return number(1000 * mwh(wqh), digits)


def column_sum(table: Any, name: str) -> int:
    """Sum a column as Python integers."""
    return int(sum(table.column(name).to_pylist()))


def _percent(ppm: int) -> str:
    return number(ppm / 10_000, 2, "%")


def terms_section(terms: tuple[SettlementTerms, ...]) -> Section:
    """Return the terms that were applied."""
    parts = []
    for one in terms:
        points = ", ".join(f"{_percent(f)} at {_percent(r)}" for r, f in one.factor_ppm)
        facts = [
            (
                "price of energy",
                "as offered" if one.price_ueur_per_mwh is None else f"{price(one.price_ueur_per_mwh)} EUR/MWh",
            ),
            ("paid up to", f"{_percent(one.cap_ppm)} of the order"),
            ("pay factor", "none" if one.factor_ppm == ((0, 1_000_000),) else points),
            ("pay factor looks at", {"line": "the market time unit"}.get(one.factor_scope, f"the {one.factor_scope}")),
            (
                "cap and shortfall look at",
                "the market time unit" if one.measured_per == "unit" else f"each {one.measured_per.replace('_', '-')}",
            ),
            ("penalty", f"{price(one.penalty_ueur_per_mwh)} EUR/MWh missing"),
            ("tolerance", f"{_percent(one.tolerance_ppm)} of the order"),
            *(
                [("penalties of a period", f"up to {_percent(one.penalty_cap_ppm)} of its availability pay")]
                if one.penalty_cap_ppm is not None
                else []
            ),
            ("availability", f"{price(one.availability_ueur_per_mw_h)} EUR/MW and hour"),
            ("wrong way", "counts against the aggregate" if one.netting == "aggregate" else "counts as zero"),
            ("source", one.source or "not said"),
        ]
        facts += [("not verified", ", ".join(one.unverified))] if one.unverified else []
        parts.append(fact_list(facts))
    lead = "Rule SET-01: paid is what is delivered up to the order; charged is what is missing beyond the tolerance."
    return Section("terms", "Terms", lead, parts)


def run_section(runs: tuple[RunFacts, ...], leaf: str | None) -> Section:
    """Return what identifies the settlement, for whoever wants to compute it again."""
    parts = [
        fact_list(
            [
                ("period", run.period),
                ("run", run.run_id),
                ("status", run.status),
                ("corrects", run.cites or "no earlier run"),
                ("ledger", leaf or "not entered yet"),
                ("rules", "MET-01, BAS-01 to 03, SET-01 to 04"),
            ]
        )
        + f"<p>Digest of the inputs <code>{esc(run.digest)}</code></p>"
        for run in runs
    ]
    lead = "Rule SET-04: the same inputs give the same run; a final run is never changed, a correction cites it."
    return Section("run", "Where it comes from", lead, parts)
