"""Capability that holds in every one of several switching states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, check_option
from flexcore.grid.capability import capability
from flexcore.grid.capability_result import CapabilityResult, colour_of
from flexcore.grid.network import Grid
from flexcore.grid.topologies import same_nodes, turned

__all__ = ["TopologyCapability", "capability_over"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class TopologyCapability:
    """Capability and colour per perimeter, step and direction that hold in each topology.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_perimeters, n_steps)
        Any dispatch of at most that total inside each perimeter is safe in every topology. [kW]
    movable_up_kw, movable_down_kw : ndarray, shape (n_perimeters, n_steps)
        What could move. [kW]
    colour_up, colour_down : ndarray of uint8, shape (n_perimeters, n_steps)
        0 red, 1 yellow, 2 green.
    topology_up, topology_down : ndarray of int32, shape (n_perimeters, n_steps)
        Position in `grids` of the topology that binds: the first with the smallest capability; -1 where it is all that
        could move. What limits there stands in its result.
    certified : ndarray of bool, shape (n_steps,)
        True where every topology's capabilities hold by proof.
    results : tuple of CapabilityResult
        One for each topology, positions of branches and nodes as in its own grid.
    """

    up_kw: F8
    down_kw: F8
    movable_up_kw: F8
    movable_down_kw: F8
    colour_up: U1
    colour_down: U1
    topology_up: I4
    topology_down: I4
    certified: npt.NDArray[np.bool_]
    results: tuple[CapabilityResult, ...]


def capability_over(
    grids: Sequence[Grid],
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    method: Literal["certified", "linear"] = "certified",
    sharing: Literal["joint", "filling", "max_total", "value"] = "joint",
    weights: npt.ArrayLike | None = None,
    values_up: npt.ArrayLike | None = None,
    values_down: npt.ArrayLike | None = None,
    tan_phi: float | tuple[float, float] = 0.0,
    delivered_up_kw: npt.ArrayLike | None = None,
    delivered_down_kw: npt.ArrayLike | None = None,
    margin_kw: Sequence[npt.ArrayLike] | None = None,
    together: bool = True,
    voltage_slack_pu: float = 0.0,
    tol_kw: float = 1e-3,
    n_threads: int = 1,
) -> TopologyCapability:
    """Find capabilities that are safe in every topology of a list, such as the normal state and its N-1 states.

    Parameters
    ----------
    grids : sequence of Grid
        The same nodes by id, in any order; other branches may be closed. See `switched_grids`.
    p_kw, q_kvar, up_kw, down_kw, perimeter, delivered_up_kw, delivered_down_kw : array_like
        As for `capability`, in the node order of `grids[0]`.
    margin_kw : sequence of array_like, shape (n_nodes, n_steps), optional
        One for each topology, because a node is fed by another branch; rows in the node order of `grids[0]`. [kW]
    method, sharing, weights, values_up, values_down, tan_phi, together, voltage_slack_pu, tol_kw, n_threads
        As for `capability`; every sharing whose caps are jointly safe by themselves.

    Returns
    -------
    TopologyCapability

    Raises
    ------
    ValidationError, GridError, OptionError
        As `capability`; GridError FX-G054 if the grids do not have the same nodes, ValidationError FX-A001 for another
        number of margins than of grids.

    Notes
    -----
    Lower caps are safe wherever higher ones are, so the smallest of jointly safe caps, perimeter by perimeter, is
    jointly safe in each topology. It need not be the largest such set: a perimeter that one topology lowers leaves room
    in the others that is not shared again.
    """
    check_option("sharing", sharing, ("joint", "filling", "max_total", "value"))
    places = same_nodes(grids)
    if margin_kw is not None and len(margin_kw) != len(grids):
        found = Findings("margin_kw")
        found.add("FX-A001", f"margin_kw has {len(margin_kw)} entries for {len(grids)} topologies")
        found.raise_errors()
    n = grids[0].n_nodes
    label = as_int(perimeter, "perimeter", dtype=np.int32, shape=(n,), lo=-1, hi=max(n - 1, 0))
    results = []
    for number, (grid, at) in enumerate(zip(grids, places, strict=True)):
        inside = np.empty_like(label)
        inside[at] = label
        arrays: dict[str, Any] = {
            "up_kw": turned(up_kw, "up_kw", at),
            "down_kw": turned(down_kw, "down_kw", at),
            "delivered_up_kw": turned(delivered_up_kw, "delivered_up_kw", at),
            "delivered_down_kw": turned(delivered_down_kw, "delivered_down_kw", at),
            "margin_kw": turned(None if margin_kw is None else margin_kw[number], "margin_kw", at),
        }
        p: Any = turned(p_kw, "p_kw", at)
        q: Any = turned(q_kvar, "q_kvar", at)
        results.append(
            capability(
                grid,
                p,
                q,
                **arrays,
                perimeter=inside,
                method=method,
                sharing=sharing,
                weights=weights,
                values_up=values_up,
                values_down=values_down,
                tan_phi=tan_phi,
                together=together,
                voltage_slack_pu=voltage_slack_pu,
                tol_kw=tol_kw,
                n_threads=n_threads,
            )
        )
    columns: dict[str, Any] = {}
    for way in ("up", "down"):
        caps = np.array([getattr(result, f"{way}_kw") for result in results])
        # what could move is the same sum in another order: the first grid's counts
        movable = getattr(results[0], f"movable_{way}_kw")
        kinds = np.array([getattr(result, f"kind_{way}") for result in results])
        lowest = caps.argmin(axis=0)
        limited = np.take_along_axis(kinds, lowest[None], axis=0)[0] > 0
        cap = caps.min(axis=0)
        columns |= {
            f"{way}_kw": cap,
            f"movable_{way}_kw": movable,
            f"colour_{way}": colour_of(cap, movable, tol_kw),
            f"topology_{way}": np.where(limited, lowest, -1).astype(np.int32),
        }
    certified = np.logical_and.reduce([result.certified for result in results])
    return TopologyCapability(**columns, certified=certified, results=tuple(results))
