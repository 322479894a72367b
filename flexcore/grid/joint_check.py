"""Checks caps against rows with the exact sums that the capability itself uses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.grid.capability_result import GroupLimits
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.nested import limits_of_elements
from flexcore.grid.network import Grid
from flexcore.grid.sharing import label_nodes, pair_perimeters, rooms_of

__all__ = ["JointCheck", "joint_check"]

F8 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class JointCheck:
    """Largest excess of any row when every perimeter uses its cap in the worst way; never positive where safe.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_steps,)
        Over all branches, beyond the headroom (or beyond zero where the forecast is violated already). [kW]
    up_path, down_path : ndarray, shape (n_steps,)
        Over all nodes, scaled squared voltage. [pu^2]
    """

    up_kw: F8
    down_kw: F8
    up_path: F8
    down_path: F8

    @property
    def safe(self) -> bool:
        """True if no row is exceeded, not even by a rounding error."""
        return all(bool((excess <= 0).all()) for excess in (self.up_kw, self.down_kw, self.up_path, self.down_path))


def joint_check(
    grid: Grid,
    rows: ActivationRows,
    *,
    cap_up_kw: npt.ArrayLike,
    cap_down_kw: npt.ArrayLike,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    groups: GroupLimits | None = None,
    voltage_slack_pu: float = 0.0,
    n_threads: int = 1,
) -> JointCheck:
    """Check that caps hold under the worst dispatch of all perimeters at once, in both directions.

    Parameters
    ----------
    grid : Grid
    rows : ActivationRows
        For example `.rows` of a `CapabilityResult`.
    cap_up_kw, cap_down_kw : array_like, shape (n_perimeters, n_steps)
        Caps to check; n_perimeters is the largest label plus one. [kW]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Power that could move, as given to `capability`. [kW]
    perimeter : array_like of int, shape (n_nodes,)
    groups : GroupLimits, optional
        Limits that hold besides the caps, as published by `sharing="nested"`. Then the excess is an upper bound where
        a perimeter reaches into the subtree of an element without lying in it.
    voltage_slack_pu : float
    n_threads : int

    Returns
    -------
    JointCheck

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative.
    """
    from flexcore.kernels.grid.capability import check_together
    from flexcore.kernels.grid.nested import check_nested

    label, n_perimeters = label_nodes(grid, perimeter)
    forest, n_steps = grid.forest, rows.n_steps
    up = as_float(up_kw, "up_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    down = as_float(down_kw, "down_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    # the same layout as in `capability`, so that the same sums are made in the same order
    pairs = pair_perimeters(forest.parent, forest.last, label, label >= 0, n_perimeters)
    excess: list[F8] = []
    for name, upward, caps, offered in (("up", True, cap_up_kw, up), ("down", False, cap_down_kw, down)):
        cap = as_float(caps, f"cap_{name}_kw", shape=(n_perimeters, n_steps), non_negative=True)
        room = rooms_of(grid, rows, pairs.element, upward, voltage_slack_pu, n_threads)
        over, over_path = np.empty(n_steps), np.empty(n_steps)
        layout = (
            pairs.parent, np.ascontiguousarray(rows.m[forest.order][pairs.element]), pairs.label, pairs.own, pairs.top,
            pairs.pair_element, pairs.pair_k, pairs.pair_up,
            np.ascontiguousarray(offered[forest.order[pairs.element]].T), room.headroom, room.headroom_path,
            np.ascontiguousarray(cap.T),
        )  # fmt: skip
        if groups is None:
            check_together(*layout, over, over_path, 0, n_steps)
        else:
            limits = limits_of_elements(grid, pairs, groups, groups.up_kw if upward else groups.down_kw)
            check_nested(*layout, limits, over, over_path, 0, n_steps)
        excess += [over, over_path]
    return JointCheck(excess[0], excess[2], excess[1], excess[3])
