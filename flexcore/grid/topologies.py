"""Switching states of one network: alternative trees from its ties, and how arrays move between their nodes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.errors import Findings, GridError, UnknownIdError
from flexcore.grid.network import Grid
from flexcore.tables import check

__all__ = ["same_nodes", "switched_grids", "turned"]

F8 = npt.NDArray[np.float64]
At = npt.NDArray[np.int64]


def switched_grids(nodes: Any, branches: Any, open_branches: Sequence[Sequence[Any]]) -> list[Grid]:
    """Build one network for each switching state, from all branches and those that are open in it.

    Parameters
    ----------
    nodes, branches : mapping of arrays, pyarrow.Table or Arrow stream
        As for `Grid.from_tables`; `branches` holds the normally open ties too.
    open_branches : sequence of sequences of branch ids
        One for each state. Open all normally open ties for the normal state; after a fault the faulty branch instead of
        the tie that takes over. Each state must leave a tree below every slack node.

    Returns
    -------
    list of Grid

    Raises
    ------
    ValidationError
        FX-A... for the tables, FX-A002 where a state is no list of ids.
    UnknownIdError
        FX-G011 for an open branch that is not in the table.
    GridError
        FX-G001..FX-G010 for a state that closes a loop or leaves nodes without supply; the message says which.
    """
    node, branch = check("nodes", nodes), check("branches", branches)
    grids = []
    if not _is_list(open_branches) or not all(_is_list(state) for state in open_branches):
        found = Findings("open_branches")
        found.add("FX-A002", "expected a list of lists of branch ids, one for each switching state", hint='[["tie"]]')
        found.raise_errors()
    for state, wanted in enumerate(open_branches):
        ids = [key.item() if isinstance(key, np.generic) else key for key in wanted]
        names = {key.item() if isinstance(key, np.generic) else key for key in branch["id"]}
        unknown = [row for row, key in enumerate(ids) if key not in names]
        if unknown:
            found = Findings(f"open_branches[{state}]", len(ids))
            found.add(
                "FX-G011",
                f"{len(unknown)} open branches are not in the table",
                rows=unknown,
                ids=[ids[row] for row in unknown],
            )
            found.raise_errors(UnknownIdError)
        opened = set(ids)
        closed = np.array([key.item() not in opened for key in branch["id"]], np.bool_)
        try:
            grids.append(Grid.from_tables(node, {name: values[closed] for name, values in branch.items()}))
        except GridError as error:
            error.add_note(f"switching state {state} of open_branches")
            raise
    return grids


def _is_list(value: Any) -> bool:
    """Whether it holds several things; a text holds only letters."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def same_nodes(grids: Sequence[Grid]) -> list[At]:
    """Positions in each grid of the nodes of the first one.

    Raises
    ------
    GridError
        FX-G054 if there is no grid, or if one does not have the nodes of the first.
    """
    if not grids or not all(isinstance(grid, Grid) for grid in grids):
        found = Findings("grids")
        found.add("FX-G054", "there is no topology, or something that is no Grid", hint="pass at least one Grid")
        found.raise_errors(GridError)
    first, places = grids[0], []
    for number, grid in enumerate(grids):
        try:
            at = grid.node_index(first.node_ids)
        except UnknownIdError as error:
            at = np.zeros(0, np.int64)
            missing: tuple[Any, ...] = error.findings[0].ids
        else:
            missing = ()
        if missing or np.unique(at).size != grid.n_nodes:
            found = Findings(f"grids[{number}]", grid.n_nodes)
            found.add(
                "FX-G054",
                f"topology {number} does not have the same nodes as the first one",
                ids=missing,
                hint="a tie that closes at no impedance joins nodes: give it a small one",
            )
            found.raise_errors(GridError)
        places.append(at)
    return places


def turned(values: npt.ArrayLike | None, name: str, at: At) -> F8 | None:
    """Bring (n_nodes, n_steps) from the order of the first grid's nodes to that of another; None stays None."""
    if values is None:
        return None
    given = as_float(values, name, shape=(at.size, None))
    result = np.empty_like(given)
    result[at] = given
    return result
