"""Building blocks of the report page: sections, figures, tables and tiles as escaped HTML, and the page around them."""

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import MissingExtraError
from flexcore.study.report.columns import number, percent
from flexcore.study.report.style import CSS, DARK, LIGHT, SCRIPT


def esc(value: object) -> str:
    """Return any value as text that HTML cannot mistake for markup; also right for plotly's labels."""
    return html.escape(str(value), quote=True)


def rounded(values: npt.ArrayLike, digits: int = 3) -> list[float | None]:
    """Return floats for JSON: few digits, None for NaN."""
    array = np.round(np.asarray(values, np.float64), digits)
    if np.isfinite(array).all():
        return list(array.tolist())
    return [value if math.isfinite(value) else None for value in array.tolist()]


@dataclass(frozen=True, slots=True)
class Variant:
    """One state of a figure that a reader can choose: plotly traces and layout (with a height)."""

    label: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its variants; `extra` goes to the page's script as it is (the map's packed arrays)."""

    id: str
    description: str
    caption: str = ""
    variants: list[Variant] = field(default_factory=list)
    choice: str = ""
    controls: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_html(self) -> str:
        """Return the place of the figure with its controls."""
        controls = self.controls
        if len(self.variants) > 1:
            options = "".join(f"<option>{esc(variant.label)}</option>" for variant in self.variants)
            controls += (
                f'<div class="controls"><label>{esc(self.choice)} '
                f'<select data-figure="{self.id}">{options}</select></label></div>'
            )
        caption = f"<figcaption>{self.caption}</figcaption>" if self.caption else ""
        label = esc(self.description)
        place = f'<div class="plot" id="plot-{self.id}" role="img" aria-label="{label}"></div>'
        return f"<figure>{controls}{place}{caption}</figure>"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page; `parts` are figures and ready HTML in reading order."""

    id: str
    title: str
    lead: str
    parts: Sequence[Figure | str]

    def to_html(self) -> str:
        """Return the section as HTML."""
        body = "\n".join(part.to_html() if isinstance(part, Figure) else part for part in self.parts)
        lead = f'<p class="lead">{self.lead}</p>' if self.lead else ""
        return f'<section id="{self.id}"><h2>{esc(self.title)}</h2>{lead}\n{body}</section>'


def none(text: str) -> str:
    """Say that there is nothing to show, and why."""
    return f'<p class="none">{esc(text)}</p>'


def html_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: str = "",
    caption: str = "",
    foot: Sequence[object] = (),
    dense: bool = False,
) -> str:
    """Return a table; all cells are escaped.

    Parameters
    ----------
    heads : sequence of str
    rows : iterable of sequences
    numeric : str
        One letter per column: 'n' right-aligned number, 'w' wide text, 'k' text in one line, anything else plain text.
    caption : str
    foot : sequence
        Totals, same length as `heads`.
    dense : bool
        Small type, for tables with many columns.
    """
    kinds = [f' class="{kind}"' if kind in "nwk" else "" for kind in numeric.ljust(len(heads), ".")]

    def line(cells: Sequence[object], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{esc(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    # outside of what scrolls: on a narrow screen a caption as wide as the table would be cut off
    top = f'<p class="cap">{esc(caption)}</p>' if caption else ""
    end = f"<tfoot><tr>{line(foot, 'td')}</tr></tfoot>" if foot else ""
    head, kind = line(heads, "th"), ' class="dense"' if dense else ""
    return (
        f'{top}<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{end}</table></div>'
    )


def tile(name: str, value: str, unit: str = "", more: str = "") -> str:
    """Return one headline number."""
    small = f"<small>{esc(unit)}</small>" if unit else ""
    text = f'<div class="more">{esc(more)}</div>' if more else ""
    return f'<div class="tile"><span class="name">{esc(name)}</span><b>{esc(value)}{small}</b>{text}</div>'


def fact_list(facts: Iterable[tuple[object, object]]) -> str:
    """Return names and values in columns."""
    return (
        '<dl class="facts">'
        + "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in facts)
        + "</dl>"
    )


def stacked_bar(parts: Sequence[tuple[str, float, str]]) -> str:
    """Return one bar of shares with its key; parts are (name, amount, colour name)."""
    whole = sum(amount for _, amount, _ in parts)
    if not whole:
        return ""
    bar = "".join(
        f'<i style="width:{100 * amount / whole:.3f}%;background:var(--{colour})"></i>' for _, amount, colour in parts
    )
    keys = "".join(
        f'<li><i style="background:var(--{colour})"></i>{esc(name)} <b>{number(amount)}</b> '
        f"({percent(amount, whole, 1)})</li>"
        for name, amount, colour in parts
    )
    return f'<div class="stack">{bar}</div><ul class="keys">{keys}</ul>'


def value_bars(parts: Sequence[tuple[str, float, str, str]], colour: str = "local", full: float = 0.0) -> str:
    """Return one bar per part, all on one scale; parts are (name, value, shown value, meaning).

    The longest bar stands for the largest value, or for `full` if that is larger.
    """
    finite = [abs(value) for _, value, _, _ in parts if math.isfinite(value)]
    scale = max([full, *finite]) or 1.0
    rows = []
    for name, value, shown, meaning in parts:
        width = 100 * abs(value) / scale if math.isfinite(value) else 0.0
        fill = "red" if value < 0 else colour
        bar = f'<i style="width:{width:.2f}%;background:var(--{fill})"></i>'
        what = f'<div class="what">{esc(meaning)}</div>' if meaning else ""
        rows.append(f'<div>{esc(name)}</div><div class="track">{bar}</div><div class="v">{esc(shown)}</div>{what}')
    return f'<div class="bars">{"".join(rows)}</div>'


def _json(data: object) -> str:
    """Return JSON that can stand inside a script element: no '<', so nothing closes it early."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plotly_js() -> str:
    """Return the drawing library.

    Raises
    ------
    MissingExtraError
        FX-E001 if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("plotly", "report") from error
    return str(get_plotlyjs())


def write_page(path: str | Path, title: str, head: str, sections: Sequence[Section], foot: str, library: str) -> Path:
    """Write a page to a file, making its folders; returns the file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(title, head, sections, foot, library), encoding="utf-8")
    return target


def page(title: str, head: str, sections: Sequence[Section], foot: str, plotly_js: str) -> str:
    """Return the whole page: style, sections, the drawing library and every figure in one text.

    The page's own security policy forbids any network access.
    """
    figures = {
        part.id: {"variants": [{"data": v.data, "layout": v.layout} for v in part.variants], **part.extra}
        for section in sections
        for part in section.parts
        if isinstance(part, Figure)
    }
    links = "".join(f'<a href="#{section.id}">{esc(section.title)}</a>' for section in sections)
    body = "\n".join(section.to_html() for section in sections)
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    library = plotly_js.replace("</script", "<\\/script")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="flexcore">
<title>{esc(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header class="head">{head}</header>
<nav><div>{links}<button type="button" id="theme">light / dark</button></div></nav>
<main>
<noscript><p>The figures need JavaScript; all tables are shown without it.</p></noscript>
{body}
</main>
<footer>{foot}</footer>
<script>{library}</script>
<script type="application/json" id="palettes">{_json({"light": LIGHT, "dark": DARK})}</script>
<script type="application/json" id="figures">{_json(figures)}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""
