"""State machines of units, static lights, aggregates and qualifications, as next-state tables.

Status, approval and suspension are separate things: a machine holds the status; an event may also grant or withdraw the
approval time; suspension is an interval that no machine touches. A unit under re-approval therefore stays usable
until its approval is withdrawn (terms of the ACER network code on demand response, REG-02).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, StateError, check_option

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

#: Event code of a row that gets no event.
NO_EVENT = 255
#: Reasons of a transition: applied, no event, no such transition from the present state, refused by the guard.
APPLIED, UNTOUCHED, ILLEGAL, NOT_ALLOWED = 0, 1, 2, 3
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class StateMachine:
    """States, events and what follows what.

    Attributes
    ----------
    name : str
    states, events : tuple of str
        A state or event code is its position.
    next : ndarray of uint8, shape (n_states, n_events)
        Following state; 255 where there is none.
    grants, withdraws : frozenset of str
        Events that set the approval time, and those that clear it.
    """

    name: str
    states: tuple[str, ...]
    events: tuple[str, ...]
    next: Bytes
    grants: frozenset[str]
    withdraws: frozenset[str]

    def state(self, name: str) -> int:
        """Code of a state."""
        return self.states.index(name)

    def event(self, name: str) -> int:
        """Code of an event; OptionError FX-E002 if there is none of that name."""
        check_option("event", name, self.events)
        return self.events.index(name)

    def takes(self, state: Bytes, event: str) -> npt.NDArray[np.bool_]:
        """Tell for each row whether the event exists in its state."""
        return np.asarray(self.next[state, self.event(event)] != 255)


def _machine(
    name: str, states: str, transitions: dict[str, tuple[str, str]], *, grants: str = "", withdraws: str = ""
) -> StateMachine:
    """Build the table; `transitions` maps an event to (states it leaves, state it reaches)."""
    all_states, events = tuple(states.split()), tuple(dict.fromkeys(key.split(":")[0] for key in transitions))
    following = np.full((len(all_states), len(events)), 255, np.uint8)
    for key, (sources, target) in transitions.items():
        for source in sources.split():
            following[all_states.index(source), events.index(key.split(":")[0])] = all_states.index(target)
    following.flags.writeable = False
    return StateMachine(name, all_states, events, following, frozenset(grants.split()), frozenset(withdraws.split()))


UNIT = _machine(
    "UNIT",
    "NEW ACTIVE INACTIVE TERMINATED",
    {
        "activate": ("NEW", "ACTIVE"),
        "pause": ("ACTIVE", "INACTIVE"),
        "resume": ("INACTIVE", "ACTIVE"),
        "terminate": ("ACTIVE INACTIVE", "TERMINATED"),
    },
)
#: The static traffic light. `change` is a relevant technical change of the unit, `owner_change` a new connection
#: contract.
STL = _machine(
    "STL",
    "PENDING IN_PROGRESS CONFIRMED MODULATED INVALID INCOMPLETE",
    {
        "start": ("PENDING CONFIRMED MODULATED INVALID INCOMPLETE", "IN_PROGRESS"),
        "confirm": ("IN_PROGRESS", "CONFIRMED"),
        "modulate": ("IN_PROGRESS", "MODULATED"),
        "invalidate": ("IN_PROGRESS", "INVALID"),
        "ask": ("IN_PROGRESS", "INCOMPLETE"),
        "change": ("CONFIRMED MODULATED INVALID INCOMPLETE IN_PROGRESS", "PENDING"),
        # also from PENDING: an approval that outlived a technical change ends with the contract
        "owner_change": ("PENDING CONFIRMED MODULATED INVALID INCOMPLETE IN_PROGRESS", "PENDING"),
    },
    grants="confirm modulate",
    withdraws="invalidate ask owner_change",
)
AGGREGATE = _machine(
    "AGGREGATE",
    "NEW ACTIVE INACTIVE TERMINATED",
    {
        "activate": ("NEW", "ACTIVE"),
        "pause": ("ACTIVE", "INACTIVE"),
        "resume": ("INACTIVE", "ACTIVE"),
        "terminate": ("ACTIVE INACTIVE", "TERMINATED"),
    },
)
AGGREGATE_GRID = _machine(
    "AGGREGATE_GRID",
    "REQUESTED IN_PROGRESS APPROVED CONDITIONAL REFUSED",
    {
        "start": ("REQUESTED", "IN_PROGRESS"),
        "approve": ("IN_PROGRESS", "APPROVED"),
        "condition": ("IN_PROGRESS", "CONDITIONAL"),
        "refuse": ("IN_PROGRESS", "REFUSED"),
        "change": ("APPROVED CONDITIONAL REFUSED", "IN_PROGRESS"),
    },
    grants="approve condition",
    withdraws="refuse",
)
#: Qualification of an aggregate for a product. `change` and `expire` reopen it (PRQ-04): what was tested is no more.
AGGREGATE_PRODUCT = _machine(
    "AGGREGATE_PRODUCT",
    "REQUESTED TESTING PREQUALIFIED REFUSED TEMPORARY VERIFIED EQUIVALENT",
    {
        "test": ("REQUESTED", "TESTING"),
        "pass": ("TESTING", "PREQUALIFIED"),
        "fail": ("TESTING", "REFUSED"),
        "admit": ("REQUESTED", "TEMPORARY"),
        "verify": ("TEMPORARY", "VERIFIED"),
        "refuse": ("TEMPORARY", "REFUSED"),
        "reapply": ("REFUSED", "REQUESTED"),
        "toe": ("REQUESTED", "EQUIVALENT"),
        "expire": ("PREQUALIFIED TEMPORARY VERIFIED EQUIVALENT", "REQUESTED"),
        "change": ("TESTING PREQUALIFIED REFUSED TEMPORARY VERIFIED EQUIVALENT", "REQUESTED"),
    },
    # an admission is an approval that has not been tested: it ends like any other
    grants="admit pass verify toe",
    withdraws="fail refuse expire change",
)
MACHINES: tuple[StateMachine, ...] = (UNIT, STL, AGGREGATE, AGGREGATE_GRID, AGGREGATE_PRODUCT)


@dataclass(frozen=True, slots=True)
class Transition:
    """Outcome of an event column.

    Attributes
    ----------
    state : ndarray of uint8, shape (n,)
        New state; the old one where nothing was applied.
    reason : ndarray of uint8, shape (n,)
        APPLIED, UNTOUCHED, ILLEGAL or NOT_ALLOWED.
    event : ndarray of uint8, shape (n,)
        The events as given.
    """

    state: Bytes
    reason: Bytes
    event: Bytes

    @property
    def applied(self) -> npt.NDArray[np.bool_]:
        """Rows whose event was applied."""
        return np.asarray(self.reason == APPLIED)

    @property
    def n_refused(self) -> int:
        """Number of rows whose event was refused."""
        return int(np.count_nonzero(self.reason >= ILLEGAL))


def apply_events(
    machine: StateMachine,
    state: npt.ArrayLike,
    event: str | npt.ArrayLike,
    *,
    allowed: npt.ArrayLike | None = None,
    guard: str = "",
    ids: Sequence[Any] | npt.NDArray[Any] | None = None,
    partial: bool = False,
    n_threads: int = 1,
) -> Transition:
    """Apply an event to each row.

    Parameters
    ----------
    machine : StateMachine
    state : array_like of uint8, shape (n,)
    event : str or array_like of uint8, shape (n,)
        One event for all rows, or an event code per row; 255 leaves the row alone.
    allowed : array_like of bool, shape (n,), optional
        False where a guard forbids the event; `guard` says in words which.
    ids : sequence, optional
        Keys of the rows for messages.
    partial : bool
        False: one refused row refuses all.
    n_threads : int

    Raises
    ------
    StateError
        FX-R016 no such transition, FX-R017 the guard forbids it; the rows are named and nothing is applied.
    """
    from flexcore.kernels.register.states import step_states

    before = as_int(state, "state", dtype=np.uint8, shape=(None,), hi=len(machine.states) - 1)
    n = before.size
    if isinstance(event, str):
        events = np.full(n, machine.event(event), np.uint8)
    else:
        events = as_int(event, "event", dtype=np.uint8, shape=(n,))
        in_range = events[events != NO_EVENT]
        as_int(in_range, "event", dtype=np.uint8, hi=len(machine.events) - 1)
    may = np.ones(n, np.uint8) if allowed is None else np.ascontiguousarray(allowed, np.uint8)
    after, reason = np.empty(n, np.uint8), np.empty(n, np.uint8)

    def task(lo: int, hi: int) -> None:
        step_states(before, events, may, machine.next, after, reason, lo, hi)

    run_chunks(task, n, n_threads=n_threads, chunk=_CHUNK)
    if not partial and (reason >= ILLEGAL).any():
        _refuse(machine, before, events, reason, guard, ids)
    return Transition(after, reason, events)


def _refuse(
    machine: StateMachine,
    state: Bytes,
    event: Bytes,
    reason: Bytes,
    guard: str,
    ids: Sequence[Any] | npt.NDArray[Any] | None,
) -> None:
    """Raise with one finding per pair of state and event."""
    found = Findings(machine.name, state.size)
    names = None if ids is None else np.asarray(ids)
    bad = np.flatnonzero(reason >= ILLEGAL)
    pairs = np.unique(np.stack([reason[bad], state[bad], event[bad]]), axis=1).T
    for why, start, what in pairs:
        rows = bad[(reason[bad] == why) & (state[bad] == start) & (event[bad] == what)]
        step = f"{machine.events[what]} from {machine.states[start]}"
        if why == ILLEGAL:
            code, message = "FX-R016", f"{machine.name} has no transition {step} ({rows.size} rows)"
            exits = [name for name, target in zip(machine.events, machine.next[start], strict=True) if target != 255]
            hint = f"from {machine.states[start]} there is {', '.join(exits) or 'no way out'}"
        else:
            code, message, hint = "FX-R017", f"{machine.name} {step} is not allowed ({rows.size} rows)", guard
        found.add(code, message, rows=rows, ids=None if names is None else names[rows], hint=hint)
    found.raise_errors(StateError)


def approval_times(machine: StateMachine, approved_at: Int64s, transition: Transition, at: int) -> Int64s:
    """Return approval times after a transition: `at` where it granted, -1 where it withdrew, else as before."""
    code = np.zeros(256, np.int8)
    code[[machine.events.index(name) for name in machine.grants]] = 1
    code[[machine.events.index(name) for name in machine.withdraws]] = 2
    effect = np.where(transition.applied, code[transition.event], 0)
    return np.where(effect == 1, np.int64(at), np.where(effect == 2, np.int64(-1), approved_at))
