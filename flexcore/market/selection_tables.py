"""Tables of a selection: words and times as numbers before a table is checked, and the tree of their elements."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, GridError, OfferError, UnknownIdError
from flexcore.market.local_clearing import GridLike
from flexcore.market.merit_order import as_time
from flexcore.market.tree_clearing import Tree
from flexcore.tables import check
from flexcore.tables.check import Columns

_DIRECTIONS = {"direction": ("up", "down")}


def plain_columns(
    table: Any, *, words: Mapping[str, tuple[str, ...]] = _DIRECTIONS, times: tuple[str, ...] = ("submitted_at",)
) -> Any:
    """Take words as codes and times as whole numbers, before the table is checked; no table is left to the check.

    Parameters
    ----------
    table : mapping of arrays, pyarrow.Table or any object with the Arrow stream protocol
    words : mapping of str to tuple of str
        Words of a column, in the order of their codes.
    times : tuple of str
        Columns that may hold datetimes with a zone.
    """
    if isinstance(table, Mapping):
        given = {str(name): values for name, values in table.items()}
    else:
        import pyarrow as pa

        try:
            arrow = table if isinstance(table, pa.Table) else pa.table(table)
        except (TypeError, ValueError):
            return table
        given = {name: arrow.column(name) for name in arrow.column_names}
    columns: dict[str, Any] = {}
    for name, values in given.items():
        try:
            columns[name] = np.asarray(values)
        except ValueError:  # rows of different lengths
            columns[name] = values
            continue
        array = columns[name]
        if name in words and array.dtype.kind in "UO" and np.isin(array.astype(str), words[name]).all():
            columns[name] = (array.astype(str)[..., None] == np.array(words[name])).argmax(axis=-1)
        elif name in times and array.dtype.kind in "MO":
            columns[name] = as_time(given[name], name, array.size)
    return columns


def refuse_steps(day: Any, **tables: Columns) -> None:
    """Raise OfferError FX-M203 with the rows of every table whose step is negative or, if given, outside the day."""
    n_steps = None if day is None else int(day.n_steps)
    hint = "steps count from 0" if n_steps is None else f"the day has steps 0..{n_steps - 1}"
    found = Findings("steps")
    for name, table in tables.items():
        step = table["step"]
        bad = np.flatnonzero((step < 0) | (False if n_steps is None else step >= n_steps))
        if bad.size:
            message = f"{name} has steps outside the day"
            found.add("FX-M203", message, field="step", rows=bad, ids=step[bad], hint=hint)
    found.raise_errors(OfferError)


def element_tree(
    grid: GridLike | None, parent: Any, tables: tuple[Columns, ...]
) -> tuple[list[Any], Tree, npt.NDArray[np.int64]]:
    """Return the keys of all elements, their tree under one added root, and the preorder position of each."""
    if grid is not None:
        forest = grid.forest
        above = np.r_[-1, np.asarray(forest.parent, np.int64) + 1]
        last = np.r_[above.size, np.asarray(forest.last, np.int64) + 1]
        tree = Tree.from_preorder(above.astype(np.int32), last.astype(np.int32))
        return np.asarray(grid.node_ids).tolist(), tree, np.asarray(forest.rank, np.int64) + 1
    if parent is None:
        named = [np.unique(table["element"]) for table in tables]
        keys = sorted({key for some in named for key in some.tolist()}, key=lambda k: (str(type(k)), k))
        count = len(keys)
        above = np.r_[-1, np.zeros(count, np.int32)].astype(np.int32)
        last = np.r_[count + 1, np.arange(2, count + 2)].astype(np.int32)
        return keys, Tree.from_preorder(above, last), np.arange(1, count + 1)
    table = check("clearing_parents", parent, error=GridError)
    keys = table["element"].tolist()
    place = {key: k for k, key in enumerate(keys)}
    children: list[list[int]] = [[] for _ in keys]
    stack: list[int] = []
    for k in sorted(range(len(keys)), key=lambda k: keys[k], reverse=True):  # the order of rows does not matter
        up = place.get(table["parent"][k].item(), k)
        (stack if up == k else children[up]).append(k)
    position = np.full(len(keys), -1, np.int64)
    parents, ends = [-1], [len(keys) + 1]
    above_of = dict.fromkeys(stack, 0)
    while stack:
        k = stack.pop()
        position[k] = len(parents)
        parents.append(above_of[k])
        ends.append(len(parents))
        above_of.update(dict.fromkeys(children[k], int(position[k])))
        stack.extend(children[k])
    looped = np.flatnonzero(position < 0)
    if looped.size:
        found = Findings("parent", len(keys))
        found.add("FX-M205", "parents form a loop", field="parent", rows=looped, ids=table["element"][looped])
        found.raise_errors(GridError)
    for i in range(len(parents) - 1, 0, -1):
        ends[parents[i]] = max(ends[parents[i]], ends[i])
    return keys, Tree.from_preorder(np.array(parents, np.int32), np.array(ends, np.int32)), position


def element_positions(
    keys: list[Any], at_preorder: npt.NDArray[np.int64], **tables: Columns
) -> dict[str, npt.NDArray[np.int32]]:
    """Return the preorder position of each row's element, by name of the table.

    Raises
    ------
    UnknownIdError
        FX-M201 with the rows of every table whose element is none of the keys.
    """
    known = np.array(keys)
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    found = Findings("elements")
    result = {}
    for name, table in tables.items():
        wanted = table["element"]
        place = np.zeros(wanted.size, np.int64)
        missing = np.ones(wanted.size, np.bool_)
        if wanted.size and known.size and (known.dtype.kind == "U") == (wanted.dtype.kind == "U"):
            place = order[np.minimum(np.searchsorted(ordered, wanted), known.size - 1)]
            missing = known[place] != wanted
        bad = np.flatnonzero(missing)
        if bad.size:
            found.add("FX-M201", f"{name} names unknown elements", field="element", rows=bad, ids=wanted[bad])
        result[name] = np.asarray(at_preorder, np.int32)[place]
    found.raise_errors(UnknownIdError)
    return result
