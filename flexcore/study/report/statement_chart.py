"""The two small charts of statements, as inline SVG without script: hours of a BSP, the day of a POD."""

from collections.abc import Sequence
from typing import Any

from flexcore.study.report.page import esc

_WIDTH, _LEFT, _RIGHT = 860, 52, 8


def _nice(largest: float) -> float:
    """Return the distance of grid lines: 1, 2 or 5 times a power of ten, for at most five of them."""
    step = 10.0**-3
    while largest / step > 5:
        for factor in (1, 2, 5):
            if largest / (step * factor) <= 5:
                return step * factor
        step *= 10
    return step


def _ticks(low: float, high: float) -> list[float]:
    step = _nice(max(high - low, 1e-3))
    first = int(low // step) + (low % step > 0)
    return [round(i * step, 6) for i in range(first, int(high // step) + 1)]


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}"'
    head = f'<svg class="chart" {size} role="img" aria-label="{esc(label)}">'
    return f'<div class="scroll">{head}{"".join(parts)}</svg></div>'


def _grid(low: float, high: float, y: Any, unit: str) -> list[str]:
    lines = []
    for value in _ticks(low, high):
        at = y(value)
        colour = "var(--muted)" if value == 0 else "var(--line)"
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" style="stroke:{colour}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:,g}</text>')
    return [*lines, f'<text x="{_LEFT}" y="11">{esc(unit)}</text>']


def hours_chart(units: list[int], names: list[str], ordered: list[float], delivered: list[float]) -> str:
    """Return ordered and delivered energy of each market time unit as bars, in kWh, with its name below."""
    height, top, bottom = 190, 18, 22
    high, low = max(*ordered, *delivered, 0.0) or 1.0, min(*delivered, 0.0)
    n = max(units) + 1
    width = (_WIDTH - _LEFT - _RIGHT) / n

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = _grid(low, high, y, "kWh")
    for unit, name, asked, gave in zip(units, names, ordered, delivered, strict=True):
        x = _LEFT + unit * width
        a, b = sorted((y(gave), y(0.0)))
        fill = "var(--local)" if gave >= 0 else "var(--red)"
        title = f"<title>{esc(name)}: ordered {asked:,.2f} kWh, delivered {gave:,.2f} kWh</title>"
        parts.append(
            f'<g>{title}<rect x="{x + width * 0.2:.1f}" width="{width * 0.6:.1f}" y="{a:.1f}" height="{b - a:.1f}" '
            f'style="fill:{fill};opacity:.85"/><rect x="{x + width * 0.12:.1f}" width="{width * 0.76:.1f}" '
            f'y="{y(asked):.1f}" height="{y(0.0) - y(asked):.1f}" style="fill:none;stroke:var(--ink)"/></g>'
        )
    free = 0.0  # where the next name has room
    for unit, name in zip(units, names, strict=True):
        at, room = _LEFT + (unit + 0.5) * width, 3.2 * len(name) + 1
        if at - room >= free:
            parts.append(f'<text x="{at:.1f}" y="{height - 6}" text-anchor="middle">{esc(name)}</text>')
            free = at + room
    return _svg(height, "Ordered and delivered energy by market time unit", parts)


def _steps(values: list[float | None], x: Any, y: Any) -> str:
    """Return the path of a stepped line; gaps stay open."""
    path, pen = [], False
    for t, value in enumerate(values):
        if value is None:
            pen = False
            continue
        path.append(f"{'L' if pen else 'M'}{x(t):.1f} {y(value):.1f}H{x(t + 1):.1f}")
        pen = True
    return "".join(path)


def profile_chart(profile: list[dict[str, Any]], intervals: list[dict[str, Any]]) -> str:
    """Return baseline, reading and set-point of a POD's day in kW, with the ordered quarter-hours shaded."""
    height, top, bottom, n = 230, 34, 22, len(profile)
    kw = {
        name: [None if row[name] is None else row[name] / 1000 for row in profile]
        for name in ("baseline_w", "metered_w", "set_point_w")
    }
    known = [value for values in kw.values() for value in values if value is not None]
    high, low = float(max([*known, 0.001])), float(min([*known, 0.0]))

    def x(t: float) -> float:
        return _LEFT + t * (_WIDTH - _LEFT - _RIGHT) / n

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [
        f'<rect x="{x(row["step"]):.1f}" width="{x(row["step"] + 1) - x(row["step"]) + 0.3:.1f}" y="{top}" '
        f'height="{height - top - bottom}" style="fill:var(--{row["operator"]}-soft);opacity:.55"/>'
        for row in intervals
    ]
    parts += _grid(low, high, y, "kW")
    legend = 0
    for name, words, style in (
        ("baseline_w", "baseline", "stroke:var(--muted);stroke-dasharray:5 3;stroke-width:1.4"),
        ("metered_w", "reading", "stroke:var(--ink);stroke-width:1.6"),
        ("set_point_w", "set-point", "stroke:var(--red);stroke-width:2.4"),
    ):
        parts.append(f'<path d="{_steps(kw[name], x, y)}" style="fill:none;{style}"/>')
        at = _LEFT + 60 + legend * 110
        parts.append(f'<line x1="{at}" x2="{at + 24}" y1="8" y2="8" style="{style}"/>')
        parts.append(f'<text x="{at + 30}" y="12">{words}</text>')
        legend += 1
    for operator, words in (("local", "local order"), ("global", "global order")):
        if any(row["operator"] == operator for row in intervals):
            at = _LEFT + 60 + legend * 110
            parts.append(f'<rect x="{at}" y="2" width="20" height="11" style="fill:var(--{operator}-soft)"/>')
            parts.append(f'<text x="{at + 26}" y="12">{words}</text>')
            legend += 1
    labels = {row["step"]: row["start"] for row in profile if row["step"] % 12 == 0}
    parts += [
        f'<text x="{x(t):.1f}" y="{height - 6}" text-anchor="middle">{esc(text)}</text>' for t, text in labels.items()
    ]
    return _svg(height, "Baseline, reading and set-point of the day", parts)
