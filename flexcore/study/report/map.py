"""The map: the network by its highest loading without flexibility, as awarded and as metered, and its lights."""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import (
    CASES,
    COLOUR_NAMES,
    NO_LIGHT,
    WHY_METERED,
    YELLOW,
    Lights,
    codes,
    number,
    numbers,
    texts,
    violations,
)
from flexcore.study.report.page import Figure, Section, esc, html_table, none, rounded

#: Upper edges of the loading classes; the last class is open.
LOADING_EDGES = (0.25, 0.5, 0.8, 1.0, 1.2)
LOADING_NAMES = ("up to 25 %", "25 to 50 %", "50 to 80 %", "80 to 100 %", "100 to 120 %", "above 120 %")
CASE_WORDS = {"before": "without flexibility", "awarded": "as awarded", "metered": "as metered"}
_NEW = 20  # new overloads that are listed
_LV_KV = 1.0
_HOVER = 400  # lines that answer to the mouse: the most loaded ones; every line as a marker would make the page heavy
_BAND = 400  # nodes outside their voltage band that are marked

Array = npt.NDArray[Any]


def packed(values: Array, dtype: str) -> dict[str, str]:
    """Return an array as base64 text of little-endian numbers: 'f4', 'u1' or 'i2'."""
    data = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return {"dtype": dtype, "bdata": base64.b64encode(data.tobytes()).decode("ascii")}


def loading_class(loading: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the position in `LOADING_NAMES` of each loading; exactly 1 is not an overload."""
    return np.searchsorted(LOADING_EDGES, np.nan_to_num(loading), side="left")


def _positions(run: DayRun) -> tuple[Array, Array, Array, Array]:
    """Return node coordinates on a common scale, and the nodes at both ends of each branch (-1 where unknown)."""
    nodes, branches = run.tables["nodes"], run.tables["branches"]
    x, y = numbers(nodes, "x"), numbers(nodes, "y")
    known = np.isfinite(x) & np.isfinite(y)
    if known.any():
        geographic = bool((np.abs(x[known]) <= 180).all() and (np.abs(y[known]) <= 90).all())
        # a degree of longitude is shorter than one of latitude; centred, since float32 keeps seven digits only
        x = (x - x[known].mean()) * (np.cos(np.radians(y[known].mean())) if geographic else 1.0)
        y = y - y[known].mean()
        span = max(np.ptp(x[known]), np.ptp(y[known])) or 1.0
        x, y = 1000 * x / span, 1000 * y / span
    where = {node: position for position, node in enumerate(texts(nodes, "node_id"))}
    ends = []
    for name in ("from_id", "to_id"):
        position, values = codes(branches, name)
        ends.append(np.array([*(where.get(value, -1) for value in values), -1], np.int64)[position])
    return x, y, ends[0], ends[1]


def _branch_texts(run: DayRun, rows: Array) -> list[str]:
    table = run.tables["branches"].take(rows)
    loading = [100 * numbers(table, f"loading_{when}") for when in CASES]
    kva = numbers(table, "s_max_kva")
    names = zip(texts(table, "branch_id"), texts(table, "kind"), strict=True)
    return [
        f"<b>{esc(name)}</b> {esc(kind)}<br>{b:.1f} % without flexibility, {a:.1f} % as awarded, {m:.1f} % as metered"
        f"<br>rated {r:,.0f} kVA"
        for (name, kind), b, a, m, r in zip(names, *loading, kva, strict=True)
    ]


def _band(run: DayRun, x: Array, y: Array, when: str) -> dict[str, Any]:
    """Return the nodes whose voltage leaves its band, worst first."""
    nodes = run.tables["nodes"]
    low, high = numbers(nodes, f"v_low_{when}_pu"), numbers(nodes, f"v_high_{when}_pu")
    excess = np.fmax(numbers(nodes, "v_min_pu") - low, high - numbers(nodes, "v_max_pu"))
    bad = np.flatnonzero((excess > 0) & np.isfinite(x) & np.isfinite(y))
    bad = bad[np.argsort(-excess[bad], kind="stable")][:_BAND]
    names = texts(nodes.take(bad), "node_id")
    words = CASE_WORDS[when]
    return {
        "x": rounded(x[bad], 2),
        "y": rounded(y[bad], 2),
        "text": [
            f"<b>{esc(name)}</b><br>{a:.3f} to {b:.3f} pu {words}"
            for name, a, b in zip(names, low[bad], high[bad], strict=True)
        ],
    }


def _busiest_hour(lights: Lights) -> int:
    """Hour with the most red and yellow lights, for the slider's start."""
    if not lights.colour.size:
        return 0
    return int(np.argmax((lights.colour >= YELLOW).sum(axis=(0, 1))))


def map_section(run: DayRun, lights: Lights) -> Section:
    """Return the section with the map."""
    title = "Network map"
    x, y, start, stop = _positions(run)
    branches, nodes = run.tables["branches"], run.tables["nodes"]
    drawn = np.flatnonzero((start >= 0) & (stop >= 0))
    ok = np.isfinite(x[start[drawn]]) & np.isfinite(y[start[drawn]])
    drawn = drawn[ok & np.isfinite(x[stop[drawn]]) & np.isfinite(y[stop[drawn]])]
    if not drawn.size:
        return Section("map", title, "", [none("The network carries no positions, so there is no map.")])
    a, b = start[drawn], stop[drawn]
    loading = {when: numbers(branches, f"loading_{when}")[drawn] for when in CASES}
    v_nom = numbers(nodes, "v_nom_kv")
    transformer = v_nom[a] != v_nom[b]
    worst = np.nan_to_num(np.stack(list(loading.values()))).max(axis=0)
    hover = np.union1d(np.flatnonzero(transformer), np.argsort(-worst, kind="stable")[:_HOVER])

    label, values = codes(nodes, "perimeter")
    place = {name: position for position, name in enumerate(lights.perimeters)}
    perimeter_of = np.array([*(place.get(value, -1) for value in values), -1], np.int64)[label]
    perimeter = perimeter_of[b]
    n_hours = lights.colour.shape[2]
    inside = (perimeter_of >= 0) & np.isfinite(x) & np.isfinite(y)
    many = np.maximum(np.bincount(perimeter_of[inside], minlength=len(lights.perimeters)), 1)
    centres = [
        np.bincount(perimeter_of[inside], weights=axis[inside], minlength=len(lights.perimeters)) / many
        for axis in (x, y)
    ]
    hour = _busiest_hour(lights)
    data = {
        "x0": packed(x[a], "f4"),
        "y0": packed(y[a], "f4"),
        "x1": packed(x[b], "f4"),
        "y1": packed(y[b], "f4"),
        "thick": packed((np.fmax(v_nom[a], v_nom[b]) > _LV_KV), "u1"),
        **{when: packed(loading_class(values), "u1") for when, values in loading.items()},
        "load_names": LOADING_NAMES,
        "perimeter": packed(perimeter, "i2"),
        "perimeters": [esc(name) for name in lights.perimeters],
        "centre_x": rounded(centres[0], 2),
        "centre_y": rounded(centres[1], 2),
        # (direction, hour, perimeter): the perimeters of one view stand side by side
        "lights": packed(lights.colour.transpose(0, 2, 1), "u1"),
        "capability": packed(lights.capability_w.transpose(0, 2, 1) / 1000.0, "f4"),
        "movable": packed(lights.movable_w.transpose(0, 2, 1) / 1000.0, "f4"),
        "light_names": COLOUR_NAMES,
        "n_hours": n_hours,
        "hours": [f"{run.day.label(4 * h)} to {run.day.label(4 * h + 3)[:2]}:59" for h in range(n_hours)],
        "spots": {
            "branch": hover.tolist(),
            "transformer": transformer[hover].astype(int).tolist(),
            "text": _branch_texts(run, drawn[hover]),
        },
        "band": {when: _band(run, x, y, when) for when in CASES},
    }
    views = [(when, f"Loading {words}") for when, words in CASE_WORDS.items()]
    if (lights.colour != NO_LIGHT).any():
        views += [("up", "Traffic light up"), ("down", "Traffic light down")]
    buttons = "".join(
        '<label><input type="radio" name="map-view" '
        f'value="{name}"{" checked" if name == "before" else ""}>{text}</label>'
        for name, text in views
    )
    slider = (
        f'<label>hour <input type="range" id="map-hour" min="0" max="{max(n_hours - 1, 0)}" value="{hour}"></label>'
        '<output id="map-hour-label"></output>'
    )
    found = violations(nodes, branches)
    left_out = branches.num_rows - drawn.size
    caption = (
        "Every line is one branch in the colour of its highest loading of the day (AC power flow); squares are "
        "transformers, "
        f"rings are nodes outside their voltage band. The {_HOVER} most loaded branches and all transformers answer "
        "to the mouse; "
        "drag to move, use the tools to zoom. In the traffic light views branches and the dot at the centre of a "
        "perimeter have the "
        "colour of the hour." + (f" {left_out:,} branches without positions are not drawn." if left_out else "")
    )
    figure = Figure(
        "map",
        "Map of the network coloured by loading or by traffic light",
        caption,
        controls=f'<div class="controls"><span class="segments">{buttons}</span>{slider}</div>',
        extra={"map": data},
    )
    lead = (
        f"Without flexibility {found.branches[0]:,} of {branches.num_rows:,} branches exceed their rating and "
        f"{found.nodes[0]:,} of {nodes.num_rows:,} nodes leave their voltage band in some step. If every order were "
        f"followed exactly, {found.branches[1]:,} and {found.nodes[1]:,} would; as metered, {found.branches[2]:,} and "
        f"{found.nodes[2]:,} do, {found.new_branches:,} and {found.new_nodes:,} of them new. "
        f"The difference: {WHY_METERED}."
    )
    return Section("map", title, lead, [figure, *_new_overloads(run)])


def _new_overloads(run: DayRun) -> list[str]:
    """Return the branches that only the metered day overloads, worst first: flexibility should not have done that."""
    branches = run.tables["branches"]
    before, metered = numbers(branches, "loading_before"), numbers(branches, "loading_metered")
    new = np.flatnonzero((metered > 1.0) & ~(before > 1.0))
    if not new.size:
        return []
    shown = branches.take(new[np.argsort(-metered[new], kind="stable")][:_NEW])
    loading = zip(*(numbers(shown, f"loading_{when}").tolist() for when in CASES), strict=True)
    rows = [
        (name, kind, *(number(100 * value, 1, "%") for value in values))
        for name, kind, values in zip(texts(shown, "branch_id"), texts(shown, "kind"), loading, strict=True)
    ]
    caption = f"{len(rows)} of {new.size:,} branches that are overloaded as metered and were not without flexibility"
    heads = ("branch", "kind", *CASE_WORDS.values())
    return ["<h3>New overloads</h3>", html_table(heads, rows, numeric="..nnn", caption=caption)]
