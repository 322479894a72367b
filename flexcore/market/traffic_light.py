"""The Dynamic Traffic Light: colour and capability per perimeter, direction and market time unit (D4.1 section 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, check_option
from flexcore.grid.forest import Forest
from flexcore.market.awards import sum_members
from flexcore.market.slots import Slots
from flexcore.market_day import MarketDay
from flexcore.units import kw_to_w, kw_to_w_down

if TYPE_CHECKING:
    from flexcore.grid.capability_result import CapabilityResult

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

#: Colours.
RED, YELLOW, GREEN = 0, 1, 2
COLOUR_NAMES = ("red", "yellow", "green")
#: What limits a perimeter; the first four as in `flexcore.grid.capability`.
NOT_LIMITED, THERMAL, VOLTAGE, SHARED, RULE = 0, 1, 2, 3, 4
KIND_NAMES = ("none", "thermal", "voltage", "shared", "rule")
DIRECTION_NAMES = ("up", "down")

_CHUNK = 24  # steps a chunk
_LAST_BITS = 1e-9


@dataclass(frozen=True, slots=True)
class TrafficLight:
    """One published version of the light. First axis: direction, `UP` then `DOWN`.

    Attributes
    ----------
    session : int
    version : int
        Rises with every publication of the day (DTL-04).
    mtu : {"hour", "quarter"}
        Market time unit of the last axis.
    colour : ndarray of uint8, shape (2, n_perimeters, n_units)
        `RED`, `YELLOW` or `GREEN`.
    capability_w : ndarray of int64, shape (2, n_perimeters, n_units)
        Total global power of the unit that is safe however it is dispatched in the perimeter; 0 where red. [W]
    movable_w : ndarray of int64, shape (2, n_perimeters, n_units)
        What could move. [W]
    kind : ndarray of uint8, shape (2, n_perimeters, n_units)
        What limits: none, thermal, voltage, shared or rule.
    binding : ndarray of int32, shape (2, n_perimeters, n_units)
        Position of the limiting branch (node where `at_node`), -1 without one.
    at_node : ndarray of bool, shape (2, n_perimeters, n_units)
    margin_kw : ndarray, shape (2, n_perimeters, n_units)
        What the perimeter could add if all others stay at their capability; infinite without limits, 0 by rule. [kW]
    """

    session: int
    version: int
    mtu: Literal["hour", "quarter"]
    colour: npt.NDArray[np.uint8]
    capability_w: Int64s
    movable_w: Int64s
    kind: npt.NDArray[np.uint8]
    binding: npt.NDArray[np.int32]
    at_node: Bools
    margin_kw: Floats

    @property
    def n_perimeters(self) -> int:
        """Number of perimeters."""
        return int(self.colour.shape[1])

    @property
    def n_units(self) -> int:
        """Number of market time units."""
        return int(self.colour.shape[2])

    def capability_of_steps(self) -> Int64s:
        """Capability per quarter-hour, shape (2, n_perimeters, n_steps)."""
        return self.capability_w if self.mtu == "quarter" else np.repeat(self.capability_w, 4, axis=-1)

    def to_arrow(
        self,
        *,
        perimeter_ids: Sequence[Any] | npt.NDArray[Any] | None = None,
        branch_ids: Sequence[Any] | npt.NDArray[Any] | None = None,
        node_ids: Sequence[Any] | npt.NDArray[Any] | None = None,
        units: slice = slice(None),
    ) -> Any:
        """Return one row per perimeter, direction and unit as a pyarrow Table (DTL-05).

        Ids replace positions where they are given; `units` selects market time units (those of `day.plan(k)`).
        """
        import pyarrow as pa

        picked = np.arange(self.n_units)[units]
        shape = (2, self.n_perimeters, picked.size)
        way, perimeter, unit = (axis.ravel() for axis in np.indices(shape))

        def column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return values[:, :, units].ravel()

        binding, at_node = column(self.binding), column(self.at_node)
        names = np.full(binding.size, "", object)
        for kind, ids in ((True, node_ids), (False, branch_ids)):
            rows = np.flatnonzero((binding >= 0) & (at_node == kind))
            label = binding[rows] if ids is None else np.asarray(ids)[binding[rows]]
            names[rows] = label.astype(str)
        return pa.table(
            {
                "session": np.full(way.size, self.session, np.int32),
                "version": np.full(way.size, self.version, np.int32),
                "perimeter": perimeter if perimeter_ids is None else np.asarray(perimeter_ids)[perimeter],
                "direction": np.array(DIRECTION_NAMES)[way],
                self.mtu: picked[unit],
                "colour": np.array(COLOUR_NAMES)[column(self.colour)],
                "capability_w": column(self.capability_w),
                "movable_w": column(self.movable_w),
                "kind": np.array(KIND_NAMES)[column(self.kind)],
                "binding_element": np.where(binding < 0, "", np.where(at_node, "node", "branch")),
                "binding_id": pa.array(names.tolist(), pa.string()),
                "margin_kw": column(self.margin_kw),
            }
        )


def _marks(values: npt.ArrayLike | None, name: str, shape: tuple[int, int]) -> Bools:
    """True where a sum is positive or a mark is set; none of them by default."""
    if values is None:
        return np.zeros(shape, np.bool_)
    array = np.asarray(values)
    if array.shape != shape:
        found = Findings(name)
        found.add("FX-A001", f"{name} has shape {array.shape}, expected {shape}", hint="axes are (element, step)")
        found.raise_errors()
    return np.asarray(array > 0)


def traffic_light(
    capability: "CapabilityResult",
    day: MarketDay,
    *,
    session: int,
    version: int,
    movable_up_w: npt.ArrayLike | None = None,
    movable_down_w: npt.ArrayLike | None = None,
    local_up_w: npt.ArrayLike | None = None,
    local_down_w: npt.ArrayLike | None = None,
    relieved_up: npt.ArrayLike | None = None,
    relieved_down: npt.ArrayLike | None = None,
    mtu: Literal["hour", "quarter"] = "hour",
    tol_w: int = 0,
) -> TrafficLight:
    """Turn capabilities and local awards into colours.

    Parameters
    ----------
    capability : CapabilityResult
        Robust and jointly safe capabilities of the forecast with standing local awards and no global ones (DTL-01);
        that they hold whether or not the local volume is delivered (DTL-03) is the work of `flexcore.capability`.
    day : MarketDay
    session, version : int
        Session 1..6 and running number of the publication.
    movable_up_w, movable_down_w : array_like of int, shape (n_perimeters, n_steps), optional
        What could move (`movable_power`); by default the movable power of the capability. [W]
    local_up_w, local_down_w : array_like of int, shape (n_perimeters, n_steps), optional
        Standing local awards in each perimeter. [W]
    relieved_up, relieved_down : array_like of bool, shape (n_perimeters, n_steps), optional
        True where the perimeter has movable power below an element that local awards of that direction relieve
        (`below_relieved`).
    mtu : {"hour", "quarter"}
        An hourly capability is the least of its quarters; one red quarter by rule makes the hour red.
    tol_w : int
        A capability of at most this is red.

    Returns
    -------
    TrafficLight

    Raises
    ------
    TimeSeriesError
        FX-T002 if the capability has another number of quarter-hours than the day.
    ValidationError
        FX-A001 wrong shape, FX-A006 a version below 1.

    Notes
    -----
    DTL-01: green C = what could move, red C <= tol, yellow between; nothing to move is green unless red by rule.
    DTL-02: a local award upwards makes downwards red and the reverse (no counter-modulation; D4.1 Figure 14), in its
    own perimeter and in each one with movable power below the relieved element.
    """
    check_option("mtu", mtu, ("hour", "quarter"))
    as_int(version, "version", lo=1)
    shape = (int(capability.up_kw.shape[0]), int(capability.up_kw.shape[1]))
    day.check_steps(shape[1], "capability")
    given = (
        (capability.up_kw, movable_up_w, capability.movable_up_kw),
        (capability.down_kw, movable_down_w, capability.movable_down_kw),
    )
    movable = np.empty((2, *shape), np.int64)
    safe = np.empty((2, *shape), np.int64)
    for way, (cap_kw, movable_w, movable_kw) in enumerate(given):
        if movable_w is None:
            movable[way] = kw_to_w(movable_kw)
        else:
            movable[way] = as_int(movable_w, "movable_w", shape=shape, lo=0)
        safe[way] = np.clip(kw_to_w_down(cap_kw), 0, movable[way])
        # the cap of a free perimeter is its movable power but for the last bits of the filling
        whole = np.asarray(cap_kw) * 1000.0 >= movable[way] * (1.0 - _LAST_BITS)
        safe[way][whole] = movable[way][whole]
    rule = np.stack(
        [
            _marks(local_down_w, "local_down_w", shape) | _marks(relieved_down, "relieved_down", shape),
            _marks(local_up_w, "local_up_w", shape) | _marks(relieved_up, "relieved_up", shape),
        ]
    )
    safe[rule] = 0
    kind = np.stack([capability.kind_up, capability.kind_down]).astype(np.uint8)
    binding = np.stack([capability.binding_up, capability.binding_down]).astype(np.int32)
    at_node = np.stack([capability.at_node_up, capability.at_node_down]).astype(np.bool_)
    margin = np.stack([capability.margin_up_kw, capability.margin_down_kw]).astype(np.float64)
    kind[rule], binding[rule], at_node[rule], margin[rule] = RULE, -1, False, 0.0
    if mtu == "hour":
        quarters = (2, shape[0], day.n_hours, 4)
        red = rule.reshape(quarters).any(axis=-1)
        # the quarter that decides the hour: red by rule, else the first of least capability
        key = np.where(rule, -1, safe).reshape(quarters)
        worst = np.argmin(key, axis=-1)[..., None]

        def least(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.take_along_axis(values.reshape(quarters), worst, axis=-1)[..., 0]

        safe, kind, binding, at_node, margin = (least(x) for x in (safe, kind, binding, at_node, margin))
        movable = day.to_mtu(movable, "min")
    else:
        red = rule
    colour = np.full(safe.shape, YELLOW, np.uint8)
    colour[safe <= tol_w] = RED
    colour[safe >= movable] = GREEN
    colour[red] = RED
    safe = np.where(colour == RED, 0, safe)
    free = colour == GREEN
    kind[free], binding[free], at_node[free] = NOT_LIMITED, -1, False
    return TrafficLight(session, version, mtu, colour, safe, movable, kind, binding, at_node, margin)


def movable_power(slots: Slots, power_w: npt.ArrayLike, group: npt.ArrayLike, n_groups: int) -> Int64s:
    """Sum what could move globally per group of PODs (node or perimeter): power of PODs not held locally.

    Parameters
    ----------
    slots : Slots
    power_w : array_like of int, shape (n_pods, n_steps)
        Validated power, enrolled in a global aggregate and ready, in one direction. [W]
    group : array_like of int, shape (n_pods,)
        Node or perimeter of each POD, -1: left out.
    n_groups : int

    Returns
    -------
    ndarray of int64, shape (n_groups, n_steps)
        PODs already held globally are included: the capability covers the total global power of a step. [W]
    """
    power = as_int(power_w, "power_w", shape=(slots.n_pods, slots.n_steps), lo=0)
    return sum_members(np.where(slots.movable(), power, 0), group, n_groups)


def _preorder(forest: Forest, values: npt.ArrayLike | None, name: str, n_steps: int) -> npt.NDArray[np.uint8]:
    n = forest.order.size
    marks = _marks(values, name, (n, n_steps))
    return np.ascontiguousarray(marks[forest.order]).view(np.uint8)


def relieved_elements(
    forest: Forest,
    award: npt.ArrayLike,
    thermal_need: npt.ArrayLike,
    voltage_need: npt.ArrayLike | None = None,
    *,
    area: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> Bools:
    """Mark the elements that local awards of one direction relieve.

    Parameters
    ----------
    forest : Forest
        `grid.forest`.
    award : array_like, shape (n_nodes, n_steps)
        Local awards of the direction at each node, positive where there are any.
    thermal_need, voltage_need : array_like, shape (n_nodes, n_steps)
        Positive (or True) where the branch that feeds the node is overloaded, or the node's voltage out of its band, in
        the way that the direction relieves.
    area : array_like of int, shape (n_nodes,), optional
        A voltage need is relieved from its own area only (the feeder); by default the whole tree is one area.
    n_threads : int

    Returns
    -------
    ndarray of bool, shape (n_nodes, n_steps)
        Node arrays in the user's order; the element of a node is the branch that feeds it.
    """
    from flexcore.kernels.market import traffic_light as kernels

    n, n_steps = forest.order.size, int(np.asarray(award).shape[1])
    awards = _preorder(forest, award, "award", n_steps)
    thermal = _preorder(forest, thermal_need, "thermal_need", n_steps)
    voltage = _preorder(forest, voltage_need, "voltage_need", n_steps)
    areas = np.zeros(n, np.int32) if area is None else as_int(area, "area", dtype=np.int32, shape=(n,))
    in_order = np.ascontiguousarray(areas[forest.order])
    below, relieved = np.zeros((n, n_steps), np.uint8), np.zeros((n, n_steps), np.uint8)

    def task(lo: int, hi: int) -> None:
        kernels.relieved(forest.parent, awards, thermal, voltage, in_order, below, relieved, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_CHUNK)
    return relieved[forest.rank].view(np.bool_)


def below_relieved(
    forest: Forest,
    relieved: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    movable: npt.ArrayLike,
    n_perimeters: int,
    *,
    n_threads: int = 1,
) -> Bools:
    """Mark the perimeters with movable power below a relieved element (DTL-02).

    Parameters
    ----------
    forest : Forest
        `grid.forest`.
    relieved : array_like of bool, shape (n_nodes, n_steps)
        From `relieved_elements`; the element of a node is the branch that feeds it.
    perimeter : array_like of int, shape (n_nodes,)
        Label of each node, -1: nothing moves there.
    movable : array_like, shape (n_nodes, n_steps)
        Positive where there is power to move (against the award) at the node.
    n_perimeters : int
    n_threads : int

    Returns
    -------
    ndarray of bool, shape (n_perimeters, n_steps)
    """
    from flexcore.kernels.market import traffic_light as kernels

    n, n_steps = forest.order.size, int(np.asarray(relieved).shape[1])
    marked = _preorder(forest, relieved, "relieved", n_steps)
    moves = _preorder(forest, movable, "movable", n_steps)
    label = as_int(perimeter, "perimeter", dtype=np.int32, shape=(n,), lo=-1, hi=n_perimeters - 1)
    in_order = np.ascontiguousarray(label[forest.order])
    under, out = np.zeros((n, n_steps), np.uint8), np.zeros((n_perimeters, n_steps), np.uint8)

    def task(lo: int, hi: int) -> None:
        kernels.mark_below(forest.parent, marked, in_order, moves, under, out, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_CHUNK)
    return out.view(np.bool_)
