"""Slots: which operator holds which POD in which quarter-hour (mutual unavailability, D4.1 section 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, StateError
from flexcore.units import GLOBAL, LOCAL

#: States of a slot.
FREE, LOCAL_PRELIMINARY, LOCAL_FIRM, GLOBAL_PRELIMINARY, GLOBAL_FIRM, BLOCKED = range(6)
#: A free slot within the recovery time of a firm award, or of preliminary ones only.
RECOVERY_FIRM, RECOVERY_PRELIMINARY = 6, 7
STATE_NAMES = (
    "free",
    "local preliminary",
    "local firm",
    "global preliminary",
    "global firm",
    "blocked",
    "recovery after firm",
    "recovery after preliminary",
)
OPERATOR_NAMES = ("local", "global")

_CHUNK = 4096  # PODs a chunk: about 0.4 MB of states


def preliminary(operator: int) -> int:
    """State of a slot that the operator holds until its own next session."""
    return 1 + 2 * operator


def firm(operator: int) -> int:
    """State of a slot that the operator holds for good."""
    return 2 + 2 * operator


@dataclass(frozen=True, slots=True)
class Unavailability:
    """What one session publishes: runs of quarter-hours in which a POD is held or blocked (SES-03).

    Attributes
    ----------
    session : int
    market : str
        "LFP" or "MSD": the session that publishes.
    pod : ndarray of int32, shape (n_runs,)
    state : ndarray of uint8
        One of the slot states, never `FREE`.
    start, stop : ndarray of int32
        First step and end step (exclusive).
    """

    session: int
    market: str
    pod: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int32]
    stop: npt.NDArray[np.int32]

    def _rows(self, states: tuple[int, ...]) -> "Unavailability":
        keep = np.isin(self.state, states)
        return Unavailability(
            self.session, self.market, self.pod[keep], self.state[keep], self.start[keep], self.stop[keep]
        )

    @property
    def firm(self) -> "Unavailability":
        """The rows that no later session can change."""
        return self._rows((LOCAL_FIRM, GLOBAL_FIRM, BLOCKED, RECOVERY_FIRM))

    @property
    def preliminary(self) -> "Unavailability":
        """The rows that their owner's next session may release, and the recovery times that end with them."""
        return self._rows((LOCAL_PRELIMINARY, GLOBAL_PRELIMINARY, RECOVERY_PRELIMINARY))

    def to_arrow(self, pod_ids: Sequence[Any] | npt.NDArray[Any] | None = None) -> Any:
        """Return one row per run as a pyarrow Table; `pod_ids` replaces positions by the user's codes."""
        import pyarrow as pa

        names = np.array(STATE_NAMES)
        pods = self.pod if pod_ids is None else np.asarray(pod_ids)[self.pod]
        n = self.pod.size
        return pa.table(
            {
                "session": np.full(n, self.session, np.int32),
                "market": np.full(n, self.market),
                "pod": pods,
                "state": names[self.state],
                "firm": (self.state % 2 == 0) | (self.state == BLOCKED),
                "first_step": self.start,
                "end_step": self.stop,
            }
        )


class Slots:
    """The slot of every POD and quarter-hour; at most one operator holds it at any time (MUT-01).

    Parameters
    ----------
    n_pods, n_steps : int
    n_threads : int
        Threads that the operations may use.
    recovery_steps : array_like of int, shape (n_pods,), optional
        Quarter-hours that pass at least between two requests to a POD, of whichever operators (MUT-05). None by
        default. A request is a run of neighbouring quarter-hours held by one operator.
    max_run_steps : array_like of int, shape (n_pods,), optional
        Longest request in quarter-hours, 0: no limit, as by default.

    Attributes
    ----------
    state : ndarray of uint8, shape (n_pods, n_steps)
        Read-only view of the states.
    recovery_steps, max_run_steps : ndarray of int32, shape (n_pods,)
    limited : bool
        Whether any POD has a recovery time or a longest run.

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A004 a limit of wrong shape, type or sign.

    Notes
    -----
    A POD is held as a whole (MUT-02): an operator that uses a part of it holds all of it for that quarter-hour.
    Preliminary holds block the other operator too (MUT-03) and end only by `release` or `make_firm` of their owner.
    Recovery is a function of what is held: it comes and goes with the holds, and never needs to be undone.
    """

    __slots__ = ("_state", "limited", "max_run_steps", "n_threads", "recovery_steps")

    def __init__(
        self,
        n_pods: int,
        n_steps: int,
        *,
        n_threads: int = 1,
        recovery_steps: npt.ArrayLike | None = None,
        max_run_steps: npt.ArrayLike | None = None,
    ) -> None:
        self._state = np.zeros((n_pods, n_steps), np.uint8)
        self.n_threads = n_threads
        self.recovery_steps, self.max_run_steps = (
            np.zeros(n_pods, np.int32)
            if values is None
            else as_int(values, name, dtype=np.int32, shape=(n_pods,), lo=0)
            for name, values in (("recovery_steps", recovery_steps), ("max_run_steps", max_run_steps))
        )
        self.limited = bool(self.recovery_steps.any() or self.max_run_steps.any())

    @property
    def state(self) -> npt.NDArray[np.uint8]:
        """States, shape (n_pods, n_steps), read-only."""
        view = self._state.view()
        view.flags.writeable = False
        return view

    @property
    def n_pods(self) -> int:
        """Number of PODs."""
        return int(self._state.shape[0])

    @property
    def n_steps(self) -> int:
        """Number of quarter-hours."""
        return int(self._state.shape[1])

    def copy(self) -> "Slots":
        """Return an independent copy."""
        other = Slots(
            *self._state.shape,
            n_threads=self.n_threads,
            recovery_steps=self.recovery_steps,
            max_run_steps=self.max_run_steps,
        )
        other._state[:] = self._state
        return other

    @staticmethod
    def _side(operator: int) -> int:
        return int(as_int(operator, "operator", shape=(), lo=LOCAL, hi=GLOBAL))

    def _marked(self, pods: npt.ArrayLike, mask: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Check POD rows and marked steps; a (n_steps,) mask holds for every row."""
        rows = as_int(pods, "pods", dtype=np.int32, shape=(None,), lo=0, hi=self.n_pods - 1)
        marked = np.asarray(mask)
        if marked.ndim == 1:
            marked = np.broadcast_to(marked, (rows.size, marked.size))
        if marked.dtype != np.bool_ or marked.shape != (rows.size, self.n_steps):
            found = Findings("mask")
            wanted = f"bool of shape ({rows.size}, {self.n_steps}) or ({self.n_steps},)"
            found.add("FX-A001", f"mask is {marked.dtype} of shape {marked.shape}, expected {wanted}")
            found.raise_errors()
        return rows, np.ascontiguousarray(marked)

    def hold(self, operator: int, pods: npt.ArrayLike, mask: npt.ArrayLike, *, firm: slice | bool = False) -> int:
        """Hold PODs for one operator, all or none.

        Parameters
        ----------
        operator : {LOCAL, GLOBAL}
        pods : array_like of int, shape (n_rows,)
            POD positions. A POD may stand in several rows (an offer line per direction), but not in one step twice.
        mask : array_like of bool, shape (n_rows, n_steps) or (n_steps,)
            Steps in which the POD of the row is selected; `awards > 0` is the usual mask.
        firm : slice or bool
            Steps that become firm (`day.firm(k)`); marked steps outside are preliminary. True: all, False: none.

        Returns
        -------
        int
            Number of slots (POD times quarter-hour) that are held now and were not before.

        Raises
        ------
        StateError
            FX-M101 held by the other operator, FX-M102 held by the same one (release first; the rest of a selected POD
            cannot be sold, MUT-02), FX-M103 blocked, FX-M104 one slot twice in the call, FX-M281 within the recovery
            time of another request, FX-M282 beyond the longest run. Nothing is changed then.
        ValidationError
            FX-A001, FX-A002, FX-A004, FX-A006 an operator, a POD or a mask of wrong shape, type or range.
        """
        from flexcore.kernels.market import slots as kernels

        side = np.uint8(self._side(operator))
        rows, marked = self._marked(pods, mask)
        status = np.zeros(rows.size, np.uint8)

        def check(lo: int, hi: int) -> None:
            kernels.check_hold(self._state, rows, marked, side, status, lo, hi)

        run_chunks(check, rows.size, n_threads=self.n_threads, chunk=_CHUNK)
        found = Findings("slots", rows.size)
        other = OPERATOR_NAMES[1 - operator]
        reasons = (
            (kernels.HELD_BY_OTHER, "FX-M101", f"are held by the {other} operator", "leave them out of the offer"),
            (
                kernels.HELD_ALREADY,
                "FX-M102",
                "are already held by the same operator",
                "release them first",
            ),
            (kernels.IS_BLOCKED, "FX-M103", "are blocked", "leave them out of the offer"),
        )
        for code, key, what, hint in reasons:
            bad = np.flatnonzero(status == code)
            if bad.size:
                found.add(key, f"{bad.size} of {rows.size} PODs {what}", rows=bad, ids=rows[bad], hint=hint)
        twice = self._twice(rows, marked)
        if twice.size:
            found.add("FX-M104", f"{twice.size} PODs are selected twice in one quarter-hour", ids=twice)
        found.raise_errors(StateError)
        if self.limited:
            self._check_requests(rows, marked, int(side))
        if isinstance(firm, slice):
            start, stop, _ = firm.indices(self.n_steps)
        else:
            start, stop = 0, self.n_steps if firm else 0

        def write(lo: int, hi: int) -> None:
            kernels.write_hold(self._state, rows, marked, side, start, stop, lo, hi)

        run_chunks(write, rows.size, n_threads=self.n_threads, chunk=_CHUNK)
        self.mark_recovery()
        return int(np.count_nonzero(marked))

    def _check_requests(self, rows: npt.NDArray[np.int32], marked: npt.NDArray[np.bool_], side: int) -> None:
        """Refuse a hold that leaves a POD less than its recovery time, or runs it for too long (MUT-05)."""
        from flexcore.kernels.market import recovery as kernels
        from flexcore.kernels.market.slots import find_twice

        wanted = np.zeros(self._state.shape, np.uint8)
        find_twice(rows, marked, wanted, np.zeros(rows.size, np.uint8))
        status = np.zeros(self.n_pods, np.uint8)

        def task(lo: int, hi: int) -> None:
            kernels.check_requests(self._state, wanted, side, self.recovery_steps, self.max_run_steps, status, lo, hi)

        run_chunks(task, self.n_pods, n_threads=self.n_threads, chunk=_CHUNK)
        found = Findings("slots", self.n_pods)
        for code, key, what in (
            (kernels.TOO_SOON, "FX-M281", "are selected within the recovery time of another selection"),
            (kernels.TOO_LONG, "FX-M282", "are selected for longer than their maximum run time"),
        ):
            bad = np.flatnonzero(status == code)
            if bad.size:
                hint = "split awards with `split_awards(..., slots=..., operator=...)`"
                found.add(key, f"{bad.size} PODs {what}", ids=bad, hint=hint)
        found.raise_errors(StateError)

    def mark_recovery(self, *, carry_on: Sequence[int] = (), step: int = 0) -> int:
        """Mark the free slots within the recovery time of a held one, before or after it; both operators lose them.

        `hold`, `release` and `make_firm` do it by themselves. Call it at the start of a session with its buyers as
        `carry_on` and its first step: a request of theirs that lasts up to this step may go on, so what follows it
        stays free to them until the next hold.

        Returns
        -------
        int
            Number of slots in recovery.
        """
        if not self.limited:
            return 0
        from flexcore.kernels.market import recovery as kernels

        sides = {self._side(operator) for operator in carry_on}
        owner = 2 if len(sides) == 2 else min(sides, default=-1)
        counts = np.zeros(self.n_pods, np.int64)

        def task(lo: int, hi: int) -> None:
            kernels.mark_recovery(self._state, self.recovery_steps, owner, step, counts, lo, hi)

        run_chunks(task, self.n_pods, n_threads=self.n_threads, chunk=_CHUNK)
        return int(counts.sum())

    def _twice(self, rows: npt.NDArray[np.int32], marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """PODs that two rows mark in the same step."""
        from flexcore.kernels.market.slots import find_twice

        if np.unique(rows).size == rows.size:
            return rows[:0]
        seen = np.zeros((self.n_pods, self.n_steps), np.uint8)
        twice = np.zeros(rows.size, np.uint8)
        find_twice(rows, marked, seen, twice)
        return np.unique(rows[twice == 1])

    def _replace(self, before: int, after: int, start: int, stop: int) -> int:
        from flexcore.kernels.market.slots import replace_state

        counts = np.zeros(self.n_pods, np.int64)

        def task(lo: int, hi: int) -> None:
            replace_state(self._state, np.uint8(before), np.uint8(after), start, stop, counts, lo, hi)

        run_chunks(task, self.n_pods, n_threads=self.n_threads, chunk=_CHUNK)
        self.mark_recovery()
        return int(counts.sum())

    def release(self, operator: int, from_step: int) -> int:
        """Free the operator's preliminary slots from a step on: the start of its own next session (MUT-03).

        Firm slots and those of the other operator stay. Returns the number of slots freed.
        """
        start, stop, _ = slice(from_step, None).indices(self.n_steps)
        return self._replace(preliminary(self._side(operator)), FREE, start, stop)

    def make_firm(self, operator: int, steps: slice) -> int:
        """Turn the operator's preliminary slots of `steps` into firm ones; returns their number."""
        side = self._side(operator)
        start, stop, _ = steps.indices(self.n_steps)
        return self._replace(preliminary(side), firm(side), start, stop)

    def give_back(self, operator: int, mask: npt.ArrayLike) -> int:
        """Free slots of the operator, firm or preliminary: those of awards that were taken back in full (CHK-02).

        Parameters
        ----------
        operator : {LOCAL, GLOBAL}
        mask : array_like of bool, shape (n_pods, n_steps)

        Returns
        -------
        int
            Number of slots freed.

        Raises
        ------
        StateError
            FX-M285 with the PODs that the operator does not hold in a marked step; nothing is changed then.
        """
        marked = as_bool(mask, "mask", shape=(self.n_pods, self.n_steps))
        bad = np.flatnonzero((marked & ~self.held(operator)).any(axis=1))
        if bad.size:
            found = Findings("slots", self.n_pods)
            found.add("FX-M285", f"{bad.size} PODs are not held by the {OPERATOR_NAMES[operator]} operator", ids=bad)
            found.raise_errors(StateError)
        self._state[marked] = FREE
        self.mark_recovery()
        return int(np.count_nonzero(marked))

    def block(self, pods: npt.ArrayLike, mask: npt.ArrayLike) -> int:
        """Block free slots for both operators for good (suspension, outage); held ones keep their holder.

        Returns the number of slots blocked.
        """
        rows, marked = self._marked(pods, mask)
        wanted = np.zeros((self.n_pods, self.n_steps), np.bool_)
        np.logical_or.at(wanted, rows, marked)
        wanted &= (self._state == FREE) | (self._state >= RECOVERY_FIRM)
        self._state[wanted] = BLOCKED
        return int(np.count_nonzero(wanted))

    def _mark(self, name: str, operator: int) -> npt.NDArray[np.bool_]:
        from flexcore.kernels.market import slots as kernels

        side = np.uint8(self._side(operator))
        out = np.empty(self._state.shape, np.bool_)
        kernel = getattr(kernels, name)

        def task(lo: int, hi: int) -> None:
            kernel(self._state, side, out, lo, hi)

        run_chunks(task, self.n_pods, n_threads=self.n_threads, chunk=_CHUNK)
        return out

    def unavailable(self, operator: int) -> npt.NDArray[np.bool_]:
        """Slots that the operator may not select, shape (n_pods, n_steps).

        Those are all slots of the other operator, firm or preliminary (MUT-01, MUT-03), blocked ones, those in recovery
        (MUT-05), and its own firm ones (MUT-02). Its own preliminary slots are available, because its session releases
        them before it selects.
        """
        return self._mark("mark_unavailable", operator)

    def held(self, operator: int) -> npt.NDArray[np.bool_]:
        """Slots that the operator holds, firm or preliminary, shape (n_pods, n_steps)."""
        return self._mark("mark_held", operator)

    def movable(self) -> npt.NDArray[np.bool_]:
        """Slots whose power the traffic light counts: neither held locally nor blocked, shape (n_pods, n_steps).

        PODs already held globally are included: the capability is the total global power of a step (DTL-01). So are
        slots in recovery, since the next session may release what they recover from: to count too much here is safe.
        """
        return np.asarray(~(self._mark("mark_held", LOCAL) | (self._state == BLOCKED)))

    def publish(self, session: int, market: str) -> Unavailability:
        """Return the firm and preliminary unavailability that a session publishes (SES-03)."""
        from flexcore.kernels.market.slots import count_runs, write_runs

        counts = np.zeros(self.n_pods, np.int64)
        run_chunks(
            lambda lo, hi: count_runs(self._state, counts, lo, hi),
            self.n_pods,
            n_threads=self.n_threads,
            chunk=_CHUNK,
        )
        first = np.zeros(self.n_pods + 1, np.int64)
        np.cumsum(counts, out=first[1:])
        n = int(first[-1])
        pod, start, stop = (np.empty(n, np.int32) for _ in range(3))
        state = np.empty(n, np.uint8)
        run_chunks(
            lambda lo, hi: write_runs(self._state, first, pod, state, start, stop, lo, hi),
            self.n_pods,
            n_threads=self.n_threads,
            chunk=_CHUNK,
        )
        return Unavailability(session, market, pod, state, start, stop)

    def check_exclusive(self, local_w: npt.NDArray[Any], global_w: npt.NDArray[Any]) -> None:
        """Check awards per POD against the slots: each awarded slot is held by its operator (MUT-01, MSD-03).

        Parameters
        ----------
        local_w, global_w : ndarray, shape (n_pods, n_steps)
            Standing awards of each operator in either direction; not zero means selected.

        Raises
        ------
        StateError
            FX-M101 with the PODs that carry an award of an operator that does not hold them.
        """
        found = Findings("awards", self.n_pods)
        for operator, awards in ((LOCAL, local_w), (GLOBAL, global_w)):
            bad = np.flatnonzero(((awards != 0) & ~self.held(operator)).any(axis=1))
            if bad.size:
                what = f"{bad.size} PODs carry a {OPERATOR_NAMES[operator]} award in a slot that it does not hold"
                found.add("FX-M101", what, rows=bad, ids=bad)
        found.raise_errors(StateError)
