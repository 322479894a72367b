"""Parties, PODs and units: what D4.1 Table 6 asks for, as arrays with one row per entity."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, RegisterError
from flexcore.register.ids import joined

Keys = npt.NDArray[Any]
Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Texts = npt.NDArray[np.str_]

#: Italian POD code: country, three digits of the distributor, E, eight characters, sometimes one check character.
POD_PATTERN = r"^IT\d{3}E[0-9A-Z]{8}[0-9A-Z]?$"
#: Technologies of a unit, one bit each (D4.1 Table 5).
PV, EV, HEAT_PUMP, BATTERY, DEMAND, GENERATION, EV_V2G = 1, 2, 4, 8, 16, 32, 64
#: Those that can move the withdrawal, raise the injection, and lower the injection.
MOVES_LOAD = EV | HEAT_PUMP | BATTERY | DEMAND | EV_V2G
RAISES_INJECTION = BATTERY | GENERATION | EV_V2G
LOWERS_INJECTION = PV | BATTERY | GENERATION | EV_V2G
#: "Never": no approval, no suspension.
NEVER = -1
#: End of a contract or suspension that has none. [unix s]
FOREVER = 2**62


class Rows:
    """A table held as arrays; adding rows gives a new object, so an earlier one stays what it was."""

    def adding(self, **new: npt.NDArray[Any]) -> Self:
        """Return a copy with rows appended; every column must be given."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: joined(getattr(self, name), new[name]) for name in names})


@dataclass(frozen=True, slots=True)
class Parties(Rows):
    """Who takes part.

    Attributes
    ----------
    party_id : ndarray of int64 or str, shape (n_parties,)
    kind : ndarray of str
        DSO, TSO, BSP, BRP, END_USER, MARKET, METER, REGISTER or AUDITOR.
    """

    party_id: Keys
    kind: Texts


@dataclass(frozen=True, slots=True)
class Pods(Rows):
    """Points of Delivery, in the order of registration.

    Attributes
    ----------
    pod_code : ndarray of str, shape (n_pods,)
        Normalised and unique.
    node_id : ndarray of int64 or str
        Node of the grid, the grid's own key.
    voltage_level : ndarray of str
        LV, MV or HV.
    category : ndarray of str
    contracted_in_w, contracted_out_w : ndarray of int64
        Connection limits for withdrawal and injection. [W]
    flex_area : ndarray of int32
        Ex-ante area of the local product that lists the POD; -1 none.
    lat, lon : ndarray
        NaN where not given. [degree]
    pgui_id : ndarray of str
        Gateway that certifies the quarter-hours; empty where there is none.
    """

    pod_code: Texts
    node_id: Keys
    voltage_level: Texts
    category: Texts
    contracted_in_w: Int64s
    contracted_out_w: Int64s
    flex_area: Int32s
    lat: Floats
    lon: Floats
    pgui_id: Texts


@dataclass(frozen=True, slots=True)
class Units(Rows):
    """Flexible units, in the order of registration; one per POD unless registered otherwise.

    Attributes
    ----------
    unit_id : ndarray of int64 or str, shape (n_units,)
    pod : ndarray of int32
        Position in the register's PODs.
    bsp : ndarray of int32
        Position of the party that holds the mandate.
    technology : ndarray of int32
        Bits PV, EV, HEAT_PUMP, BATTERY, DEMAND, GENERATION, EV_V2G.
    up_w, down_w : ndarray of int64
        Declared power. [W]
    activation_s, recovery_s : ndarray of int32
        Longest time to act after a request, and least time between two activations. [s]
    contract_from, contract_to : ndarray of int64
        Mandate of the BSP, half-open. [unix s]
    state : ndarray of uint8
        State of `states.UNIT`.
    light_state : ndarray of uint8
        State of `states.STL`.
    light_approved_at : ndarray of int64
        When the static traffic light approved the unit, -1 never or withdrawn; independent of the state. [unix s]
    validated_up_w, validated_down_w : ndarray of int64
        What the static traffic light leaves of the declared power; never more. [W]
    light_causes_up, light_causes_down : ndarray of uint8
        Why it left less: bits of `static_light`.
    suspended_from, suspended_to : ndarray of int64
        Suspension, half-open; -1 none. [unix s]
    aggregate : ndarray of int32, shape (2, n_units)
        Position of the unit's local and global aggregate, -1 none (rows `units.LOCAL`, `units.GLOBAL`).
    enrolled_up_w, enrolled_down_w : ndarray of int64, shape (2, n_units)
        Part of the validated power that is enrolled there. [W]
    """

    unit_id: Keys
    pod: Int32s
    bsp: Int32s
    technology: Int32s
    up_w: Int64s
    down_w: Int64s
    activation_s: Int32s
    recovery_s: Int32s
    contract_from: Int64s
    contract_to: Int64s
    state: Bytes
    light_state: Bytes
    light_approved_at: Int64s
    validated_up_w: Int64s
    validated_down_w: Int64s
    light_causes_up: Bytes
    light_causes_down: Bytes
    suspended_from: Int64s
    suspended_to: Int64s
    aggregate: Int32s
    enrolled_up_w: Int64s
    enrolled_down_w: Int64s


def no_parties() -> Parties:
    """Return an empty table."""
    return Parties(np.zeros(0, np.int64), np.zeros(0, "U1"))


def no_pods() -> Pods:
    """Return an empty table."""
    text, w = np.zeros(0, "U1"), np.zeros(0, np.int64)
    return Pods(text, w, text, text, w, w, np.zeros(0, np.int32), np.zeros(0), np.zeros(0), text)


def new_units(
    unit_id: Keys,
    pod: Int32s,
    bsp: Int32s,
    declared: dict[str, npt.NDArray[Any]],
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of units that have just been registered: state NEW, light PENDING, in no aggregate."""
    n = unit_id.size
    names = ("technology", "up_w", "down_w", "activation_s", "recovery_s", "contract_from", "contract_to")
    zero, never = np.zeros(n, np.int64), np.full(n, NEVER, np.int64)
    byte, pair = np.zeros(n, np.uint8), np.zeros((2, n), np.int64)
    return {
        "unit_id": unit_id,
        "pod": pod,
        "bsp": bsp,
        **{name: declared[name] for name in names},
        "state": byte,
        "light_state": byte,
        "light_approved_at": never,
        "validated_up_w": zero,
        "validated_down_w": zero,
        "light_causes_up": byte,
        "light_causes_down": byte,
        "suspended_from": never,
        "suspended_to": never,
        "aggregate": np.full((2, n), -1, np.int32),
        "enrolled_up_w": pair,
        "enrolled_down_w": pair,
    }


def no_units() -> Units:
    """Return an empty table."""
    i32, i64 = np.zeros(0, np.int32), np.zeros(0, np.int64)
    declared: dict[str, npt.NDArray[Any]] = {"technology": i32, "activation_s": i32, "recovery_s": i32}
    declared |= {"up_w": i64, "down_w": i64, "contract_from": i64, "contract_to": i64}
    return Units(**new_units(i64, i32, i32, declared))


def normalise_pod_codes(codes: npt.NDArray[Any]) -> Texts:
    """Return POD codes without white space and underscores, in upper case.

    Parameters
    ----------
    codes : ndarray of str, shape (n,)
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not codes.size:
        return np.zeros(0, "U1")
    bare = pc.replace_substring_regex(pa.array(codes.astype(str)), pattern=r"[\s_]", replacement="")
    return np.asarray(pc.utf8_upper(bare).to_numpy(zero_copy_only=False).astype(str))


def check_pod_codes(codes: Texts, pattern: str, found: Findings) -> None:
    """Add FX-R001 for codes that do not match and FX-R002, naming all rows concerned, for codes given twice.

    Raises
    ------
    RegisterError
        FX-R023 if the pattern itself is not a regular expression of RE2.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not codes.size:
        return
    try:
        matches = pc.match_substring_regex(pa.array(codes), pattern=pattern).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as problem:
        found.add("FX-R023", f"the pattern {pattern!r} is not a regular expression: {problem}", field="pod_code")
        found.raise_errors(RegisterError)
    bad = np.flatnonzero(~matches.astype(bool))
    if bad.size:
        message = f"pod_code does not match {pattern} in {bad.size} of {codes.size} rows"
        hint = "Register(pod_pattern=...) sets another pattern"
        found.add("FX-R001", message, field="pod_code", rows=bad, ids=codes[bad], hint=hint)
    order = np.argsort(codes, kind="stable")
    same = codes[order[1:]] == codes[order[:-1]]
    if same.any():
        twins = np.zeros(codes.size, bool)
        twins[1:] |= same
        twins[:-1] |= same
        rows = order[twins]  # twins side by side, so that the message shows both rows of the first pair
        found.add("FX-R002", "pod_code is given more than once", field="pod_code", rows=rows, ids=codes[rows])
