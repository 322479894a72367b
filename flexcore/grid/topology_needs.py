"""The worst of the needs of several switching states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings
from flexcore.grid.needs import Needs, find_needs
from flexcore.grid.network import Grid
from flexcore.grid.topologies import same_nodes, turned

__all__ = ["TopologyNeeds", "worst_needs"]

F8 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TopologyNeeds:
    """Violated branches and nodes, one entry per element, step and direction: the worst of all topologies.

    Attributes
    ----------
    kind : ndarray of uint8, shape (n_needs,)
        0 branch (overload), 1 node (voltage).
    element_id : ndarray of object, shape (n_needs,)
    step : ndarray of int32, shape (n_needs,)
    direction : ndarray of int8, shape (n_needs,)
        Direction that helps: 0 up, 1 down.
    need_kw : ndarray, shape (n_needs,)
        Largest over the topologies. [kW]
    topology : ndarray of int32, shape (n_needs,)
        Position in `grids` of the first topology with that need; what lies below a branch is what lies below it there.
    gap_pu, loading : ndarray, shape (n_needs,)
        Largest over the topologies; NaN as in `Needs`. [pu]
    reachable : ndarray of bool, shape (n_needs,)
        True where activation removes it in every topology that has it.
    n_topologies : ndarray of int32, shape (n_needs,)
        How many topologies have it.
    needs : tuple of Needs
        One for each topology, with the rows that a selection must respect, positions as in its own grid.
    """

    kind: npt.NDArray[np.uint8]
    element_id: npt.NDArray[np.object_]
    step: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]
    need_kw: F8
    topology: npt.NDArray[np.int32]
    gap_pu: F8
    loading: F8
    reachable: npt.NDArray[np.bool_]
    n_topologies: npt.NDArray[np.int32]
    needs: tuple[Needs, ...]

    def __len__(self) -> int:
        return int(self.kind.size)


def worst_needs(
    grids: Sequence[Grid],
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    tan_phi: float = 0.0,
    loss_sweeps: int = 3,
    tol_kw: float = 1e-6,
    tol_pu: float = 1e-9,
    margin_kw: Sequence[npt.ArrayLike] | None = None,
    n_threads: int = 1,
) -> TopologyNeeds:
    """Find overloads and voltage violations of the forecast in every topology, and the worst of each.

    Parameters
    ----------
    grids : sequence of Grid
        The same nodes by id, in any order; other branches may be closed. See `switched_grids`.
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        As for `find_needs`, in the node order of `grids[0]`. [kW, kvar]
    margin_kw : sequence of array_like, shape (n_nodes, n_steps), optional
        One for each topology, because a node is fed by another branch; rows in the node order of `grids[0]`. [kW]
    tan_phi, loss_sweeps, tol_kw, tol_pu, n_threads
        As for `find_needs`.

    Returns
    -------
    TopologyNeeds
        In the order in which the topologies first show an element; branches and nodes by their ids.

    Raises
    ------
    ValidationError, GridError
        As `find_needs`; GridError FX-G054 if the grids do not have the same nodes, ValidationError FX-A001 for another
        number of margins than of grids.
    """
    places = same_nodes(grids)
    if margin_kw is not None and len(margin_kw) != len(grids):
        found = Findings("margin_kw")
        found.add("FX-A001", f"margin_kw has {len(margin_kw)} entries for {len(grids)} topologies")
        found.raise_errors()
    each = []
    for number, (grid, at) in enumerate(zip(grids, places, strict=True)):
        p: Any = turned(p_kw, "p_kw", at)
        q: Any = turned(q_kvar, "q_kvar", at)
        margin = turned(None if margin_kw is None else margin_kw[number], "margin_kw", at)
        each.append(
            find_needs(
                grid,
                p,
                q,
                tan_phi=tan_phi,
                loss_sweeps=loss_sweeps,
                tol_kw=tol_kw,
                tol_pu=tol_pu,
                margin_kw=margin,
                n_threads=n_threads,
            )
        )
    # of each element, step and direction: all entries, as (topology, place)
    entries: dict[tuple[int, Any, int, int], list[tuple[int, int]]] = {}
    for number, needs in enumerate(each):
        keys = zip(needs.kind.tolist(), needs.element_id.tolist(), needs.step.tolist(), needs.direction.tolist(),
                   strict=True)  # fmt: skip
        for place, key in enumerate(keys):
            entries.setdefault(key, []).append((number, place))
    need = [[float(each[number].need_kw[place]) for number, place in seen] for seen in entries.values()]
    ids = np.empty(len(entries), np.object_)
    ids[:] = [key[1] for key in entries]

    def largest(name: str) -> F8:
        return np.array([max(getattr(each[t], name)[i] for t, i in seen) for seen in entries.values()], np.float64)

    return TopologyNeeds(
        kind=np.array([key[0] for key in entries], np.uint8),
        element_id=ids,
        step=np.array([key[2] for key in entries], np.int32),
        direction=np.array([key[3] for key in entries], np.int8),
        need_kw=np.array([max(values) for values in need], np.float64),
        topology=np.array(
            [seen[values.index(max(values))][0] for seen, values in zip(entries.values(), need, strict=True)], np.int32
        ),
        gap_pu=largest("gap_pu"),
        loading=largest("loading"),
        reachable=np.array([all(each[t].reachable[i] for t, i in seen) for seen in entries.values()], np.bool_),
        n_topologies=np.array([len(seen) for seen in entries.values()], np.int32),
        needs=tuple(each),
    )
