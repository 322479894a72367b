"""The Static Traffic Light: the DSO confirms, modulates or invalidates declared power (D4.1 6.1, STL-01)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.register.node_headroom import NO_LIMIT_W
from flexcore.register.pods import LOWERS_INJECTION, MOVES_LOAD, RAISES_INJECTION, Pods, Units
from flexcore.register.states import STL, UNIT

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

#: Causes, one bit each: every check that lies below the declared power sets its bit, not only the tightest one.
TECHNOLOGY, CONNECTION, MEASURED, NETWORK, MINIMUM, NOT_MEASURED = 1, 2, 4, 8, 16, 32
CAUSES: dict[int, str] = {
    TECHNOLOGY: "no technology behind the POD can move in this direction",
    CONNECTION: "the contracted power of the connection point",
    MEASURED: "the measured peak of the POD",
    NETWORK: "the network: a new violation in a reference snapshot",
    MINIMUM: "what is left is below the least power",
    NOT_MEASURED: "no measured peak: information is incomplete",
}
#: A peak that the DSO does not know. [W]
UNKNOWN_PEAK = -1
#: State of a direction in which the unit declares no power.
NOT_DECLARED = 255


@dataclass(frozen=True, slots=True)
class StaticLight:
    """Result of the static traffic light, one row per unit.

    Attributes
    ----------
    up_w, down_w : ndarray of int64, shape (n_units,)
        Validated power, never more than declared. [W]
    state : ndarray of uint8, shape (n_units,)
        State of `states.STL`: CONFIRMED, MODULATED, INVALID or INCOMPLETE; both directions together.
    up_state, down_state : ndarray of uint8, shape (n_units,)
        The same per direction; NOT_DECLARED where nothing was declared.
    up_causes, down_causes : ndarray of uint8, shape (n_units,)
        Bits of `CAUSES`.
    """

    up_w: Int64s
    down_w: Int64s
    state: Bytes
    up_state: Bytes
    down_state: Bytes
    up_causes: Bytes
    down_causes: Bytes


_CONFIRMED, _MODULATED = STL.state("CONFIRMED"), STL.state("MODULATED")
_INVALID, _INCOMPLETE = STL.state("INVALID"), STL.state("INCOMPLETE")


def _direction(
    declared: Int64s,
    pod: npt.NDArray[np.int32],
    limits: dict[int, Int64s],
    missing: npt.NDArray[np.bool_],
    min_w: int,
) -> tuple[Int64s, Bytes, Bytes]:
    """Validate one direction; limits hold per POD and apply to the sum of its units."""
    n_pods = missing.size
    total = np.zeros(n_pods, np.int64)
    np.add.at(total, pod, declared)
    asked = total > 0
    causes = np.zeros(n_pods, np.uint8)
    left = total.copy()
    for bit, limit in limits.items():
        causes[asked & (limit < total)] |= bit
        np.minimum(left, limit, out=left)
    unknown = asked & missing
    causes[unknown] |= NOT_MEASURED
    small = asked & (left < min_w)
    causes[small] |= MINIMUM
    left[small | unknown] = 0
    # several units of one POD share its limit in proportion to what they declare, rounded down: watts are not invented
    part = declared * left[pod] // np.maximum(total[pod], 1)
    validated = np.where(left[pod] == total[pod], declared, part)
    state = np.full(pod.size, _MODULATED, np.uint8)
    state[validated == declared] = _CONFIRMED
    state[validated == 0] = _INVALID
    state[unknown[pod]] = _INCOMPLETE
    state[declared == 0] = NOT_DECLARED
    return validated, state, np.where(declared > 0, causes[pod], 0).astype(np.uint8)


def static_light(
    units: Units,
    pods: Pods,
    *,
    headroom_up_w: npt.ArrayLike | None = None,
    headroom_down_w: npt.ArrayLike | None = None,
    peak_in_w: npt.ArrayLike | None = None,
    peak_out_w: npt.ArrayLike | None = None,
    min_w: int = 0,
) -> StaticLight:
    """Validate the declared power of all units, per POD and direction.

    Parameters
    ----------
    units : Units
    pods : Pods
    headroom_up_w, headroom_down_w : array_like of int64, shape (n_pods,), optional
        What the POD alone can move at its node (`node_headroom`); None: no network check. [W]
    peak_in_w, peak_out_w : array_like of int64, shape (n_pods,), optional
        Largest measured withdrawal and injection; -1 where not measured, which leaves the light INCOMPLETE wherever
        the peak is needed; None: no check against measurements. [W]
    min_w : int
        A POD of which less is left is INVALID in that direction. [W]

    Returns
    -------
    StaticLight

    Notes
    -----
    Up is less withdrawal plus more injection, down the opposite (D4.1 Table 6). With L = contracted withdrawal if a
    technology of the POD moves load, and C = contracted injection if one moves the injection in that direction:

    - connection: up <= L + C and down <= L + C;
    - measured: a consumer cannot reduce more than it withdraws, up <= min(L, peak_in) + C; a plant cannot reduce more
      than it injects, down <= L + min(C, peak_out);
    - network: the headroom of the node.

    PV alone cannot move up; it has no reserve to inject.
    """
    n_pods = pods.pod_code.size
    n_units = units.unit_id.size

    def optional(values: npt.ArrayLike | None, name: str, lo: int) -> Int64s | None:
        return None if values is None else as_int(values, name, shape=(n_pods,), lo=lo)

    network_up = optional(headroom_up_w, "headroom_up_w", 0)
    network_down = optional(headroom_down_w, "headroom_down_w", 0)
    peak_in = optional(peak_in_w, "peak_in_w", UNKNOWN_PEAK)
    peak_out = optional(peak_out_w, "peak_out_w", UNKNOWN_PEAK)
    live = units.state != UNIT.state("TERMINATED")
    technology = np.zeros(n_pods, np.int32)
    np.bitwise_or.at(technology, units.pod[live], units.technology[live])
    moves_load = (technology & MOVES_LOAD) != 0
    raises = (technology & RAISES_INJECTION) != 0
    lowers = (technology & LOWERS_INJECTION) != 0
    load_w = np.where(moves_load, pods.contracted_in_w, 0)
    more_w = np.where(raises, pods.contracted_out_w, 0)
    less_w = np.where(lowers, pods.contracted_out_w, 0)
    none = np.zeros(n_pods, bool)
    free = np.int64(NO_LIMIT_W)
    up = {
        TECHNOLOGY: np.where(moves_load | raises, free, 0),
        CONNECTION: np.where(moves_load | raises, load_w + more_w, free),
    }
    down = {
        TECHNOLOGY: np.where(moves_load | lowers, free, 0),
        CONNECTION: np.where(moves_load | lowers, load_w + less_w, free),
    }
    no_peak_in, no_peak_out = none, none
    if peak_in is not None:
        no_peak_in = (peak_in == UNKNOWN_PEAK) & moves_load
        up[MEASURED] = np.where(moves_load & ~no_peak_in, np.minimum(load_w, peak_in) + more_w, free)
    if peak_out is not None:
        no_peak_out = (peak_out == UNKNOWN_PEAK) & lowers
        down[MEASURED] = np.where(lowers & ~no_peak_out, load_w + np.minimum(less_w, peak_out), free)
    if network_up is not None:
        up[NETWORK] = network_up
    if network_down is not None:
        down[NETWORK] = network_down
    zero = np.zeros(n_units, np.int64)
    up_w, up_state, up_causes = _direction(np.where(live, units.up_w, zero), units.pod, up, no_peak_in, min_w)
    down_w, down_state, down_causes = _direction(
        np.where(live, units.down_w, zero), units.pod, down, no_peak_out, min_w
    )
    state = np.full(n_units, _MODULATED, np.uint8)
    state[(up_w == units.up_w) & (down_w == units.down_w)] = _CONFIRMED
    state[(up_w == 0) & (down_w == 0)] = _INVALID
    state[(up_state == _INCOMPLETE) | (down_state == _INCOMPLETE)] = _INCOMPLETE
    return StaticLight(up_w, down_w, state, up_state, down_state, up_causes, down_causes)
