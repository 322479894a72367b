"""The comparison of coordination schemes as one page: cost beside safety, service and information."""

from pathlib import Path
from typing import Any

import flexcore
from flexcore.market.schemes.outcome import SchemeOutcome
from flexcore.study.compare import SchemeComparison
from flexcore.study.report.columns import number
from flexcore.study.report.page import Figure, Section, Variant, esc, html_table, plotly_js, tile, write_page
from flexcore.study.scheme_case import (
    CONVENTIONAL_BLOCKS,
    CONVENTIONAL_PRICES,
    CONVENTIONAL_SIZE,
    UNSERVED_EUR_PER_MWH,
)
from flexcore.units import DOWN, UP

_ROW_PX = 25
_SAFE, _OPEN, _UNSAFE = "$green", "$yellow", "$red"


def write_comparison(found: SchemeComparison, path: str | Path) -> Path:
    """Write a comparison as one HTML file that needs no network.

    Raises
    ------
    MissingExtraError
        FX-E001 if plotly is not installed.
    """
    library = plotly_js()
    date = f"{found.day.date:%A} {found.day.date.day} {found.day.date:%B %Y}"
    head = (
        f'<h1>Coordination schemes: {esc(found.city)}</h1><div class="sub"><span>{esc(date)}</span>'
        f"<span>seed {found.seed}</span><span>flexcore {esc(flexcore.__version__)}</span></div>"
    )
    sections = [_headline(found), _picture(found), _information(found), _table(found), _figure_2(found), _about(found)]
    foot = f"Network and profiles: SimBench, ODbL 1.0. Made by flexcore {esc(flexcore.__version__)}."
    title = f"Coordination schemes: {found.city}, {found.day.date}"
    return write_page(path, title, head, sections, foot, library)


def _colour(found: SchemeComparison, outcome: SchemeOutcome) -> str:
    if not outcome.safe:
        return _UNSAFE
    return _SAFE if found.comparison.comparable(outcome) else _OPEN


def verdict(found: SchemeComparison, outcome: SchemeOutcome) -> str:
    """Say in a word what an outcome is worth comparing for."""
    if not outcome.safe:
        return "breaks the grid"
    if not found.comparison.comparable(outcome):
        return "sells to market parties" if outcome.trade_mwh > 0 else "leaves needs open"
    return f"efficiency {number(found.comparison.efficiency(outcome), 2)}"


def _headline(found: SchemeComparison) -> Section:
    comparison = found.comparison
    common, fragmented = comparison.yardsticks
    outcomes = comparison.outcomes
    safe = [o for o in outcomes if comparison.comparable(o)]
    separate = [o for o in safe if o.group not in ("common", "integrated")]
    cheapest = min(separate or safe or [common], key=lambda o: o.cost_eur)
    unsafe = [o for o in outcomes if not o.safe]
    worst = max(outcomes, key=lambda o: o.violations_new)
    tiles = [
        tile("schemes", number(len(outcomes)), "", f"{len(safe)} keep the grid and serve what can be served"),
        tile("common market", number(common.cost_eur), "EUR", "the lower bound of every safe scheme"),
        tile("fragmented markets", number(fragmented.cost_eur), "EUR", "the TSO buys no distributed resource"),
        tile("cheapest safe scheme of separate markets", number(cheapest.cost_eur), "EUR", cheapest.title),
        tile("schemes that break the grid", number(len(unsafe)), "", f"worst: {worst.title}" if unsafe else "none"),
        tile(
            "needs of the day",
            number(found.facts["needs"] + found.facts["voltage_needs"]),
            "",
            f"elements and quarter-hours; balance {number(found.facts['balance_mwh'], 1)} MWh",
        ),
    ]
    lead = (
        "Every scheme ran on the same network, forecasts, margins, needs and offers. A cost is worth comparing only "
        "where the grid is kept and the same needs are served: others are shown in red or yellow and get no efficiency."
    )
    if not comparison.comparable(fragmented):
        lead += (
            " No scheme has an efficiency here: the fragmented market, its zero, leaves more open or breaks the grid."
        )
    return Section("summary", "Summary", lead, [f'<div class="tiles">{"".join(tiles)}</div>'])


def _picture(found: SchemeComparison) -> Section:
    """Four panels over one list of schemes."""
    outcomes = found.comparison.outcomes[::-1]
    names = [esc(o.title) for o in outcomes]
    colours = [_colour(found, o) for o in outcomes]
    hover = [
        f"<b>{esc(o.title)}</b><br>{esc(verdict(found, o))}<br>payments {o.payment_eur:,.0f} EUR, with open needs "
        f"{o.cost_eur:,.0f} EUR<br>{o.violations_new:,} elements and quarter-hours worse than without, by up to "
        f"{o.worst_kw:,.1f} kW<br>open: {o.unserved_distribution_mwh:,.2f} local, {o.imbalance_mwh:,.2f} MWh balance"
        for o in outcomes
    ]
    panels = (
        ("payments,<br>EUR", [o.payment_eur for o in outcomes]),
        ("elements<br>made worse", [float(o.violations_new) for o in outcomes]),
        (
            "left open,<br>MWh",
            [o.unserved_distribution_mwh + o.imbalance_mwh + o.overload_transmission_mwh for o in outcomes],
        ),
        ("distributed,<br>MWh", [o.der_mwh for o in outcomes]),
    )
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "height": 136 + _ROW_PX * len(names), "showlegend": True, "bargap": 0.28,
        "barmode": "overlay", "hovermode": "closest",
        "margin": {"l": 352, "r": 20, "t": 76, "b": 60}, "annotations": [],
        "yaxis": {"automargin": False, "tickfont": {"size": 12}},
        "legend": {"y": -0.04, "yanchor": "top", "itemclick": False, "itemdoubleclick": False},
    }  # fmt: skip
    width = 1.0 / len(panels)  # some 70 px of a page of 700, and of paper: titles have short lines
    for k, (title, values) in enumerate(panels):
        axis = "" if k == 0 else str(k + 1)
        data.append(
            {
                "type": "bar", "orientation": "h", "x": [round(v, 4) for v in values], "y": names, "xaxis": f"x{axis}",
                "marker": {"color": colours}, "text": hover, "textposition": "none", "showlegend": False,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
        layout[f"xaxis{axis}"] = {
            "domain": [k * width + 0.008, (k + 1) * width - 0.008], "title": {"text": title, "font": {"size": 11}},
            "side": "top", "rangemode": "tozero", "nticks": 2, "tickangle": 0,
            "tickfont": {"size": 11},
        }  # fmt: skip
    for label, colour in (
        ("keeps the grid, serves what can be served", _SAFE),
        ("keeps the grid, leaves needs open", _OPEN),
        ("breaks the grid", _UNSAFE),
    ):
        data.append(
            {
                "type": "bar", "orientation": "h", "x": [None], "y": [names[0]], "name": label,
                "marker": {"color": colour},
            }
        )  # fmt: skip
    lead = (
        "From left to right: what operators pay, what they break, what they leave open, and how much distributed "
        "flexibility they use. A scheme that ignores the distribution grid looks cheap only in the first panel."
    )
    figure = Figure(
        "schemes",
        "Payments, violations, open needs and distributed energy of every scheme",
        "",
        [Variant("", data, layout)],
    )
    return Section("picture", "Cost, safety, service", lead, [figure])


def _information(found: SchemeComparison) -> Section:
    """What information buys: cost of the safe schemes over bytes exchanged."""
    comparison = found.comparison
    shown = [o for o in comparison.outcomes if comparison.comparable(o)]
    groups = sorted({o.group for o in shown})
    # open marks, so that schemes at one place show through each other
    marks = [f"{mark}-open" for mark in ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")]
    data = []
    for group, mark in zip(groups, marks, strict=False):
        mine = [o for o in shown if o.group == group]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": group.replace("_", "-"),
                "x": [round(o.n_bytes / 1e6, 3) for o in mine], "y": [round(o.cost_eur, 2) for o in mine],
                "text": [f"<b>{esc(o.title)}</b><br>{o.messages:,} messages" for o in mine],
                "hovertemplate": "%{text}<br>%{x:,.1f} MB, %{y:,.0f} EUR<extra></extra>",
                "marker": {"symbol": mark, "size": 13, "color": "$local", "line": {"width": 2, "color": "$local"}},
            }
        )  # fmt: skip
    layout = {
        "height": 380, "xaxis": {"title": {"text": "exchanged between the parties, MB"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "cost, EUR"}}, "hovermode": "closest",
        "legend": {"y": -0.25, "yanchor": "top"}, "margin": {"l": 70, "r": 20, "t": 20, "b": 90},
    }  # fmt: skip
    lead = (
        "Only schemes that keep the grid and serve what can be served. Further down is cheaper, further left needs "
        "less data from other parties."
    )
    figure = Figure("information", "Cost of the safe schemes over bytes exchanged", "", [Variant("", data, layout)])
    return Section("information", "What information buys", lead, [figure])


def _table(found: SchemeComparison) -> Section:
    outcomes = found.comparison.outcomes
    heads = (
        "scheme", "group", "verdict", "payments EUR", "cost with open needs EUR", "worse elements", "by up to kW",
        "AC: caused", "open local MWh", "open balance MWh", "messages", "MB", "s",
    )  # fmt: skip
    rows = [
        (
            o.title, o.group.replace("_", "-"), verdict(found, o), number(o.payment_eur), number(o.cost_eur),
            number(o.violations_new), number(o.worst_kw, 1), number(found.checks[o.scheme].caused),
            number(o.unserved_distribution_mwh, 2), number(o.imbalance_mwh, 2), number(o.messages),
            number(o.n_bytes / 1e6, 1), number(o.seconds, 1),
        )
        for o in outcomes
    ]  # fmt: skip
    volume_heads = (
        "scheme", "up MWh", "down MWh", "by distributed units MWh", "bought by or with the TSO MWh", "discordant MWh",
        "selected twice MWh", "removed by the DSO MWh",
    )  # fmt: skip
    volumes = [
        (
            o.title, *(number(v, 2) for v in (
                o.up_mwh, o.down_mwh, o.der_mwh, o.tso_der_mwh, o.discordant_mwh, o.double_mwh, o.removed_mwh
            )),
        )
        for o in outcomes
    ]  # fmt: skip
    before = found.comparison.yardsticks[0].violations_before
    lead = (
        f"Without any flexibility {before:,} elements and quarter-hours are beyond their limits on the forecast's 95 % "
        "side. 'Worse elements' counts rows of the linear grid model that an outcome breaks further than that; "
        "'AC: caused' is the DSO's power flow of the whole outcome on the plain forecast, violations of it alone "
        "taken off."
    )
    return Section(
        "table",
        "All figures",
        lead,
        [
            html_table(heads, rows, numeric="w.k" + "n" * 10, dense=True),
            "<h3>Volumes</h3>",
            html_table(volume_heads, volumes, numeric="w" + "n" * 7, dense=True),
        ],
    )


def _figure_2(found: SchemeComparison) -> Section:
    rows = [
        (
            c.name,
            *(f"{g} ({number(f, 1)})" if f == f else g for g, f in zip(c.grades, c.figures, strict=True)),
            f"{c.agreeing} of {c.pairs}" if c.pairs else "not computed",
        )
        for c in found.comparison.figure_2()
    ]
    heads = ("criterion", "A", "B", "C", "D", "E", "pairs that agree")
    lead = (
        "D4.1 Figure 2 grades the SmartNet schemes high, medium or low. Three criteria can be computed (in brackets, "
        "more is better: violations caused with a minus, MWh of distributed resources bought by or with the TSO, "
        "payments with a minus); a pair agrees if the figures order two schemes of different grades as the grades do."
    )
    return Section("figure2", "Against D4.1 Figure 2", lead, [html_table(heads, rows, numeric="w" + "." * 6)])


def _about(found: SchemeComparison) -> Section:
    up, down = CONVENTIONAL_PRICES[UP], CONVENTIONAL_PRICES[DOWN]
    text = (
        f"<p>Conventional units are an assumption: {CONVENTIONAL_BLOCKS} blocks in each direction, each "
        f"{CONVENTIONAL_SIZE:.0%} of the day's largest need for balance, at {up[0]:.0%} to {up[1]:.0%} (up) and "
        f"{down[0]:.0%} to {down[1]:.0%} (down) of the TSO's price cap. Need that nobody serves counts "
        f"{UNSERVED_EUR_PER_MWH:,.0f} EUR/MWh at the element, imbalance the price cap.</p>"
        "<p>Each quarter-hour is cleared on the forecast of the session that makes it firm. The city is one zone "
        "without lines: transmission congestion is empty here. Bytes count records of offers, awards, limits, curve "
        "points and branches; what stays inside one operator is none.</p>"
        f"<p>Digest {found.digest[:16]}, {found.seconds:.1f} s for all schemes.</p>"
    )
    return Section("about", "About this comparison", "", [text])
