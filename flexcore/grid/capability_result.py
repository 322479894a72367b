"""What `capability` gives: totals, colours and what limits them, per perimeter, step and direction."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.grid.headroom import ActivationRows

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]

#: Colours of the dynamic traffic light.
RED, YELLOW, GREEN = 0, 1, 2
#: What limits a perimeter: nothing, its own thermal or voltage row, or a row that it shares with other perimeters.
NOT_LIMITED, THERMAL, VOLTAGE, SHARED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class GroupLimits:
    """Published limits on sums of capabilities: any two groups lie one inside the other or apart.

    Attributes
    ----------
    node : ndarray of int32, shape (n_groups,)
        Position of the node below whose branch all members lie; a group comes after those that contain it.
    branch : ndarray of int32, shape (n_groups,)
        Position of that branch; -1 at a root.
    ptr, perimeter : ndarray of int32
        Members of group g: `perimeter[ptr[g] : ptr[g + 1]]`, at least two.
    up_kw, down_kw : ndarray, shape (n_groups, n_steps)
        The members together may use no more than that; infinite where the group does not limit. [kW]
    """

    node: I4
    branch: I4
    ptr: I4
    perimeter: I4
    up_kw: F8
    down_kw: F8

    def __len__(self) -> int:
        return int(self.node.size)

    def members(self, group: int) -> I4:
        """Return the perimeters of one group."""
        return self.perimeter[self.ptr[group] : self.ptr[group + 1]]


@dataclass(frozen=True, slots=True, eq=False)
class CapabilityResult:
    """Capability and colour per perimeter, step and direction.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_perimeters, n_steps)
        Any dispatch of at most that total inside each perimeter is safe. With sharing="nested" only together with the
        limits of `groups`. [kW]
    movable_up_kw, movable_down_kw : ndarray, shape (n_perimeters, n_steps)
        What could move. [kW]
    colour_up, colour_down : ndarray of uint8, shape (n_perimeters, n_steps)
        0 red, 1 yellow, 2 green.
    kind_up, kind_down : ndarray of uint8, shape (n_perimeters, n_steps)
        What limits: 0 nothing, 1 thermal, 2 voltage, 3 an element shared with other perimeters.
    binding_up, binding_down : ndarray of int32, shape (n_perimeters, n_steps)
        Position of the limiting branch, or of the limiting node where `at_node_*` is True; -1 where nothing limits.
    at_node_up, at_node_down : ndarray of bool, shape (n_perimeters, n_steps)
        True where a node's voltage limits, False for a branch.
    margin_up_kw, margin_down_kw : ndarray, shape (n_perimeters, n_steps)
        What the perimeter could add wherever it acts while all others stay at theirs; infinite without limits, and
        where nothing of it could move. [kW]
    status_up, status_down : ndarray of uint8, shape (n_steps,)
        0 exact; 1 safe, but a search was cut off before it could raise the caps further.
    largest_up, largest_down : ndarray of bool, shape (n_steps,)
        With sharing="max_total" or "value": no caps that are safe on these rows (and not above what "certified" proved
        them for) have a larger sum, or value. False where that is not known, and for any other sharing.
    rows : ActivationRows
        The rows that the capabilities respect, with the losses used.
    method, sharing : str
    certified : ndarray of bool, shape (n_steps,)
        True: the rows, and so the capabilities, hold by proof for every dispatch. False for "linear", whose losses
        between the evaluated states are not bounded; and where no certificate was found, which leaves the trees
        concerned at 0.
    together : bool
        Up and down of one step are safe together; else one direction per step is.
    groups : GroupLimits or None
        With sharing="nested": what groups of perimeters may use together. None for any other sharing.
    """

    up_kw: F8
    down_kw: F8
    movable_up_kw: F8
    movable_down_kw: F8
    colour_up: U1
    colour_down: U1
    kind_up: U1
    kind_down: U1
    binding_up: I4
    binding_down: I4
    at_node_up: npt.NDArray[np.bool_]
    at_node_down: npt.NDArray[np.bool_]
    margin_up_kw: F8
    margin_down_kw: F8
    status_up: U1
    status_down: U1
    largest_up: npt.NDArray[np.bool_]
    largest_down: npt.NDArray[np.bool_]
    rows: ActivationRows
    method: str
    sharing: str
    certified: npt.NDArray[np.bool_]
    together: bool
    groups: GroupLimits | None = None


def colour_of(cap: F8, movable: F8, tol_kw: float) -> U1:
    """Colours of caps and movable power, all of one shape."""
    colour = np.full(cap.shape, YELLOW, np.uint8)
    colour[cap <= tol_kw] = RED
    # the caps of a free perimeter are its movable power but for the last bits
    colour[(cap >= movable * (1.0 - 1e-9)) | (movable <= tol_kw)] = GREEN
    return colour
