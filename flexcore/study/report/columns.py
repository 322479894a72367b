"""Columns of a day's tables as numpy arrays, with the spellings of operators, directions and colours settled.

Summary and report read a run only through this file, so a run that comes back from Parquet looks like a fresh one.
"""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.units import DOWN, GLOBAL, LOCAL, UP

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Names of operators and directions as a person reads them, at the position of their code.
OPERATOR_NAMES = ("local", "global")
DIRECTION_NAMES = ("up", "down")
#: Traffic lights; 0 is 'nothing published'.
NO_LIGHT, GREEN, YELLOW, RED = 0, 1, 2, 3
COLOUR_NAMES = ("not published", "green", "yellow", "red")

_OPERATORS = {"0": LOCAL, "local": LOCAL, "dso": LOCAL, "lfp": LOCAL, "1": GLOBAL, "global": GLOBAL, "tso": GLOBAL}
_OPERATORS["msd"] = GLOBAL
_DIRECTIONS = {"0": UP, "up": UP, "1": DOWN, "down": DOWN}
_COLOURS = {"green": GREEN, "yellow": YELLOW, "red": RED}

_WQH_PER_MWH = 4e6
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_UEUR_PER_EUR = 1e6


def mwh(wqh: float) -> float:
    """Convert watt quarter-hours to MWh, for display."""
    return float(wqh) / _WQH_PER_MWH


def eur(ueur: float) -> float:
    """Convert micro-EUR to EUR, for display."""
    return float(ueur) / _UEUR_PER_EUR


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """Return a number with thousands separators, 'n/a' for what could not be computed."""
    if value is None or not math.isfinite(value):
        return "n/a"
    shown = f"{value:,.{digits}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.lstrip("-")  # a rounded -0.001 is not 'minus zero'
    return f"{shown} {unit}".rstrip()


def percent(part: float, whole: float, digits: int = 0) -> str:
    """Return part / whole in percent, 'n/a' if the whole is zero."""
    return number(100.0 * part / whole, digits, "%") if whole else "n/a"


def numbers(table: "pa.Table", name: str) -> Floats:
    """Return a column as float64; missing values are NaN."""
    import pyarrow as pa

    column = table.column(name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def integers(table: "pa.Table", name: str) -> Ints:
    """Return a column of whole numbers as int64: sums of W, wqh and micro-EUR stay exact. Missing ones are 0."""
    import pyarrow as pa

    return np.asarray(table.column(name).cast(pa.int64()).fill_null(0).to_numpy(), np.int64)


def texts(table: "pa.Table", name: str) -> list[str]:
    """Return a column as strings; missing values are empty."""
    return ["" if value is None else str(value) for value in table.column(name).to_pylist()]


def codes(table: "pa.Table", name: str) -> tuple[Ints, list[str]]:
    """Return a column as positions in the list of its distinct values, in order of first appearance.

    Columns of a hundred thousand ids cost one pass in Arrow, not a Python string each.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = ["" if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64), values


def _translated(table: "pa.Table", name: str, meaning: dict[str, int], unknown: int) -> Ints:
    position, values = codes(table, name)
    known = [meaning.get(value.strip().lower(), unknown) for value in values]
    return np.array([*known, unknown], np.int64)[position] if position.size else position


def operators(table: "pa.Table", name: str = "operator") -> Ints:
    """Return `units.LOCAL` or `units.GLOBAL` per row, -1 for none, whether written as code or as name."""
    return _translated(table, name, _OPERATORS, -1)


def directions(table: "pa.Table", name: str = "direction") -> Ints:
    """Return `units.UP` or `units.DOWN` per row, -1 for none."""
    return _translated(table, name, _DIRECTIONS, -1)


def colours(table: "pa.Table", name: str = "colour") -> Ints:
    """Return the traffic light per row as `GREEN`, `YELLOW`, `RED` or `NO_LIGHT`."""
    return _translated(table, name, _COLOURS, NO_LIGHT)


def sessions(table: "pa.Table", name: str = "session") -> Ints:
    """Return the session number per row, from 3 as well as from 'LFP_3'."""
    position, values = codes(table, name)
    found = [re.search(r"(\d+)\D*$", value) for value in values]
    number = [int(match.group(1)) if match else 0 for match in found]
    return np.array([*number, 0], np.int64)[position] if position.size else position


def sum_by(position: Ints, values: Ints, n: int) -> Ints:
    """Return exact int64 sums of `values` per position 0..n-1."""
    total = np.zeros(n, np.int64)
    np.add.at(total, position, values)
    return total


def counts(table: "pa.Table", name: str) -> dict[str, int]:
    """Return how often each value of a column occurs, most frequent first, ties by name."""
    position, values = codes(table, name)
    many = np.bincount(position, minlength=len(values))
    return dict(sorted(zip(values, many.tolist(), strict=True), key=lambda item: (-item[1], item[0])))


class Lights(NamedTuple):
    """The publication that is valid for each perimeter, direction and hour: the last one that names it.

    Attributes
    ----------
    perimeters : list of str
        In order of name.
    colour : ndarray of int64, shape (2, n_perimeters, n_hours)
        UP first; NO_LIGHT where nothing was published.
    capability_w, movable_w : ndarray of int64, same shape
    session : ndarray of int64, same shape
    row : ndarray of int64, same shape
        Row of the `traffic_light` table, -1 where nothing was published.
    """

    perimeters: list[str]
    colour: Ints
    capability_w: Ints
    movable_w: Ints
    session: Ints
    row: Ints

    def count(self, colour: int) -> int:
        """Number of perimeter-hours (both directions) with this colour."""
        return int((self.colour == colour).sum())


def valid_lights(table: "pa.Table", n_hours: int) -> Lights:
    """Return the valid publication per perimeter, direction and hour."""
    position, names = codes(table, "perimeter")
    order = sorted(range(len(names)), key=lambda i: names[i])
    rank = np.zeros(len(names), np.int64)
    rank[order] = np.arange(len(names))
    shape = (2, len(names), n_hours)
    row = np.full(shape, -1, np.int64)
    hour, direction = integers(table, "hour"), directions(table)
    session = sessions(table)
    inside = np.flatnonzero((hour >= 0) & (hour < n_hours) & (direction >= 0))
    inside = inside[np.argsort(session[inside], kind="stable")]  # a later session overwrites an earlier one
    row[direction[inside], rank[position[inside]], hour[inside]] = inside

    def of(values: Ints, missing: int) -> Ints:
        return np.append(values, missing)[row]

    return Lights(
        [names[i] for i in order],
        of(colours(table), NO_LIGHT),
        of(integers(table, "capability_w"), 0),
        of(integers(table, "movable_w"), 0),
        of(session, 0),
        row,
    )


class SessionRows(NamedTuple):
    """The `sessions` table in the order in which sessions happen: LFP_1, MSD_1, LFP_2, ..."""

    rows: list[dict[str, Any]]
    number: Sequence[int]
    operator: Sequence[int]
    label: Sequence[str]


def session_label(number: int, operator: int) -> str:
    """Return the name of a session in D4.1, such as 'LFP_3'."""
    return f"{'MSD' if operator == GLOBAL else 'LFP'}_{number}"


def session_rows(table: "pa.Table") -> SessionRows:
    """Return the sessions in time order with their D4.1 names."""
    number, operator = sessions(table), operators(table)
    order = np.lexsort((operator, number)).tolist()
    rows = table.to_pylist()
    label = [session_label(number[i], operator[i]) for i in order]
    return SessionRows([rows[i] for i in order], number[order].tolist(), operator[order].tolist(), label)


#: The realised day without flexibility, if every order were followed exactly, and as the meters saw it.
CASES = ("before", "awarded", "metered")
#: Why the metered day differs from the awarded one; shown wherever both are.
WHY_METERED = "orders that were not or only partly followed, and energy that comes back after an order"


def check_text(check: "pa.Table") -> tuple[int, str]:
    """Count elements that the outcome leaves violated in some firm quarter-hour, and say how often and why."""
    firm = check.filter(check.column("firm"))
    if not firm.num_rows:
        return 0, "the AC check found none in a firm window"
    element, kind = texts(firm, "element_id"), texts(firm, "element")
    causes = counts(firm, "cause")
    why = ", ".join(f"{many:,} {cause}" for cause, many in causes.items())
    if set(causes) == {"forecast"}:
        why = "all violated in the forecast already, which is unserved need"
    return len(
        set(zip(kind, element, strict=True))
    ), f"in {firm.num_rows:,} element quarter-hours of firm windows: {why}"


class Violations(NamedTuple):
    """How many elements break a limit in some step of the day, in each of `CASES`."""

    branches: tuple[int, int, int]
    nodes: tuple[int, int, int]
    new_branches: int
    new_nodes: int


def violations(nodes: "pa.Table", branches: "pa.Table") -> Violations:
    """Count overloaded branches and nodes outside of their voltage band, and those that only the metered day has."""
    band = numbers(nodes, "v_min_pu"), numbers(nodes, "v_max_pu")

    def outside(when: str) -> npt.NDArray[np.bool_]:
        low, high = numbers(nodes, f"v_low_{when}_pu"), numbers(nodes, f"v_high_{when}_pu")
        return np.asarray((low < band[0]) | (high > band[1]))

    def counted(bad: list[npt.NDArray[np.bool_]]) -> tuple[tuple[int, int, int], int]:
        before, awarded, metered = bad
        return (int(before.sum()), int(awarded.sum()), int(metered.sum())), int((metered & ~before).sum())

    n_branches, new_branches = counted([numbers(branches, f"loading_{when}") > 1.0 for when in CASES])
    n_nodes, new_nodes = counted([outside(when) for when in CASES])
    return Violations(n_branches, n_nodes, new_branches, new_nodes)


#: Facts that are said elsewhere: source and licence of the data, and how capabilities are computed.
ATTRIBUTION_FACTS = ("attribution", "data")
_SAID_ELSEWHERE = (*ATTRIBUTION_FACTS, "capabilities")


def facts(table: "pa.Table") -> dict[str, str]:
    """Return the facts about the city by name."""
    return dict(zip(texts(table, "name"), texts(table, "value"), strict=True))


_UNITS = {"kw": "kW", "pu": "pu"}
_WORDS = {"pv": "PV", "ev": "EV", "v": "voltage"}


def capability_note(tables: "dict[str, pa.Table]") -> str:
    """Say how far the published capabilities are proved; shown wherever they are."""
    return f"Capabilities: {facts(tables['facts']).get('capabilities', 'not said')}."


def fact_groups(table: "pa.Table") -> dict[str, dict[str, str]]:
    """Return the facts by the part of their name before ': ' ('' without one), ready to read.

    Underscores become spaces, numbers get separators and the unit of their name; 'lines' and 'lines_of' make one fact,
    '66 of 10,319'.
    """
    groups: dict[str, dict[str, str]] = {"": {}}
    for name, value in facts(table).items():
        if name.lower() in _SAID_ELSEWHERE:
            continue
        group, _, rest = name.rpartition(": ")
        shown = f"{float(value):,.10g}" if _NUMBER.fullmatch(value) else value
        mine = groups.setdefault(group, {})
        whole = rest.removesuffix("_of").replace("_", " ")
        parts = [key for key in mine if key == whole or key.startswith(f"{whole} ")]
        if rest.endswith("_of") and parts:
            for key in parts:
                mine[key] += f" of {shown}"
        else:
            stem, _, suffix = rest.rpartition("_")
            if suffix in _UNITS and _NUMBER.fullmatch(value):
                rest, shown = stem, f"{shown} {_UNITS[suffix]}"
            elif suffix == "loading" and _NUMBER.fullmatch(value):
                shown = number(100 * float(value), 1, "%")
            mine[" ".join(_WORDS.get(word, word) for word in rest.split("_"))] = shown
    return groups


def total(table: "pa.Table", name: str) -> float:
    """Return the sum of a column without its missing values."""
    return float(np.nansum(numbers(table, name)))


def kpi_text(value: float, unit: str) -> str:
    """Return the value of a key figure with its unit as a person reads it: a share as percent."""
    if unit == "1":
        return number(100 * value, 1, "%")
    digits = 0 if not math.isfinite(value) or value.is_integer() else 2 if unit == "EUR" else 3
    return number(value, digits, unit.removesuffix("s") if value == 1 else unit)


def kpi_name(key: str) -> str:
    """Return a key as words: 'after_local_mwh' is 'after local'; the unit stands at the value."""
    words = key.split("_")
    if len(words) > 1 and words[-1] in ("mwh", "eur", "kw", "mw"):
        words = words[:-1]
    return " ".join(word if word.isupper() else {"bsps": "BSPs"}.get(word, word) for word in words)


def kpi_rows(kpis: "pa.Table") -> list[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Return (key, row of the figure itself, rows of its parts) in the order of the table."""
    rows = kpis.to_pylist()
    result = []
    for key in dict.fromkeys(row["key"] for row in rows):
        mine = [row for row in rows if row["key"] == key]
        head = next((row for row in mine if not row["part"]), {"value": math.nan, "unit": "", "meaning": ""})
        result.append((str(key), head, [row for row in mine if row["part"]]))
    return result


def kpi_value(row: dict[str, Any]) -> float:
    """Return the value of a key figure's row, NaN where it is missing."""
    return math.nan if row["value"] is None else float(row["value"])
