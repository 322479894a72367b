"""The front door of the register: one registration per POD serves both operators (REG-01).

Every method checks its whole input first and then replaces the tables it concerns, so a refused input changes nothing
and a table taken earlier stays what it was. All state is plain arrays: `parties`, `pods`, `units`, `aggregates`,
`products` and `qualifications`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import check_option
from flexcore.register.pods import (
    FOREVER,
    NEVER,
    Int64s,
)
from flexcore.register.readiness import aggregate_bits, qualified_w, sellable_w, unit_bits
from flexcore.register.states import (
    AGGREGATE,
    AGGREGATE_GRID,
    AGGREGATE_PRODUCT,
    STL,
    UNIT,
    Transition,
    apply_events,
    approval_times,
)
from flexcore.units import DOWN, UP

if TYPE_CHECKING:
    pass

from flexcore.register.entry import Entry
from flexcore.register.holdings import Rows
from flexcore.register.pooling import Pooling
from flexcore.register.qualifying import Qualifying


class Register(Entry, Pooling, Qualifying):
    """Parties, PODs, units, aggregates, static traffic light, products and qualifications.

    Parameters
    ----------
    grid : Grid, optional
        Network of the connecting DSO: PODs must lie at its nodes. May be given later with `connect`.
    pod_pattern : str
        Regular expression (RE2) of a normalised POD code.
    tz : str
        Time zone of availability windows.

    Attributes
    ----------
    parties, pods, units, aggregates, products, qualifications
        The tables, in the order of registration.
    pod_node : ndarray of int32, shape (n_pods,)
        Node position of each POD in the grid; -1 while there is no grid.
    """

    def send(
        self,
        entity: Literal["unit", "aggregate", "grid", "qualification"],
        event: str,
        *,
        rows: Rows = None,
        at: int = 0,
        partial: bool = False,
    ) -> Transition:
        """Send an event to the state machine of units, aggregates, their grid check or qualifications.

        Parameters
        ----------
        entity : {"unit", "aggregate", "grid", "qualification"}
        event : str
            unit, aggregate: activate, pause, resume, terminate; grid: start, approve, condition, refuse, change;
            qualification: admit, verify, refuse, reapply (tests, equivalences, expiry, change have their own methods).
            An admission expires `validity_days` after `at`, as every qualification does.
        rows : array_like of int, optional
            Positions; all by default.
        at : int
            Time of an approval. [unix s]
        partial : bool
            True: rows that refuse the event are left alone.

        Returns
        -------
        Transition
            One row per entity of the table, untouched where not asked.

        Raises
        ------
        StateError
            FX-R016, FX-R017; an aggregate without members cannot be activated or resumed.

        Notes
        -----
        An active aggregate that loses its last member to `terminate` becomes INACTIVE.
        """
        check_option("entity", entity, ("unit", "aggregate", "grid", "qualification"))
        now = self._time(at)
        if entity == "unit":
            machine, state, ids = UNIT, self.units.state, self.units.unit_id
        elif entity == "aggregate":
            machine, state, ids = AGGREGATE, self.aggregates.state, self.aggregates.agg_id
        elif entity == "grid":
            machine, state, ids = AGGREGATE_GRID, self.aggregates.grid_state, self.aggregates.agg_id
        else:
            check_option("event", event, ("admit", "verify", "refuse", "reapply"))
            machine, state, ids = AGGREGATE_PRODUCT, self.qualifications.state, self._qualification_names()
        events = np.full(state.size, 255, np.uint8)
        events[self._rows(rows, state.size)] = machine.event(event)
        allowed = None
        if entity == "aggregate" and event in ("activate", "resume"):
            allowed = self._has_members()
        guard = "an aggregate needs at least one member"
        moved = apply_events(machine, state, events, allowed=allowed, guard=guard, ids=ids, partial=partial)
        if entity == "unit":
            self.units = replace(self.units, state=moved.state)
        elif entity == "aggregate":
            self.aggregates = replace(self.aggregates, state=moved.state)
        elif entity == "grid":
            approved = approval_times(machine, self.aggregates.grid_approved_at, moved, now)
            self.aggregates = replace(self.aggregates, grid_state=moved.state, grid_approved_at=approved)
        else:
            approved = approval_times(machine, self.qualifications.approved_at, moved, now)
            expires = self._expiry(approved, self.qualifications.expires_at, moved.applied)
            # these events decide without a test
            n_tests = np.where(moved.applied, 0, self.qualifications.n_tests_last).astype(np.int32)
            self.qualifications = replace(
                self.qualifications, state=moved.state, approved_at=approved, expires_at=expires, n_tests_last=n_tests
            )
        if event == "terminate":
            self._release(moved.applied, entity)
        return moved

    def report_change(
        self, rows: Rows = None, *, up_w: Rows = None, down_w: Rows = None, new_owner: bool = False
    ) -> None:
        """Report a relevant technical change of units, or a new connection contract (PRQ-04).

        The static light of the units is PENDING again: after a technical change the old approval stands until the
        next light, for at most what is declared now; a new owner loses it. The grid check of their aggregates goes
        back to IN_PROGRESS and their qualifications are reopened.

        Parameters
        ----------
        rows : array_like of int, optional
            Unit positions; all by default.
        up_w, down_w : array_like of int64, shape (n_rows,), optional
            New declared power. [W]
        new_owner : bool
        """
        units = self.units
        which = self._rows(rows, units.unit_id.size)
        columns: dict[str, Any] = {}
        for name, values in (("up_w", up_w), ("down_w", down_w)):
            if values is None:
                continue
            declared = getattr(units, name).copy()
            declared[which] = as_int(values, name, shape=(which.size,), lo=0, hi=10**9)
            validated = np.minimum(getattr(units, f"validated_{name}"), declared)
            columns[name], columns[f"validated_{name}"] = declared, validated
            columns[f"enrolled_{name}"] = np.minimum(getattr(units, f"enrolled_{name}"), validated)
        what = "owner_change" if new_owner else "change"
        event = np.full(units.unit_id.size, 255, np.uint8)
        event[which] = np.where(STL.takes(units.light_state[which], what), STL.event(what), 255)
        moved = apply_events(STL, units.light_state, event, ids=units.unit_id)
        approved = approval_times(STL, units.light_approved_at, moved, 0)
        self.units = replace(units, light_state=moved.state, light_approved_at=approved, **columns)
        owners = units.aggregate[:, which]
        self._reopen(np.unique(owners[owners >= 0]))

    def suspend(self, of: Literal["units", "aggregates"], rows: Rows = None, *, start: int, end: int = FOREVER) -> None:
        """Suspend units or aggregates for [start, end), whatever their status; `start=-1` lifts the suspension.

        Raises
        ------
        ValidationError
            FX-A002 a time is not a whole number of seconds, FX-A006 outside its range, or `end` not after `start`.
        """
        check_option("of", of, ("units", "aggregates"))
        first = int(as_int(start, "start", shape=(), lo=NEVER))
        last = NEVER if first == NEVER else int(as_int(end, "end", shape=(), lo=first + 1))
        table: Any = getattr(self, of)
        since, until = table.suspended_from.copy(), table.suspended_to.copy()
        which = self._rows(rows, since.size)
        since[which], until[which] = first, last
        setattr(self, of, replace(table, suspended_from=since, suspended_to=until))

    def ready(
        self, t: npt.ArrayLike, operator: int, *, direction: int | None = None, n_threads: int = 1
    ) -> npt.NDArray[np.uint16]:
        """Tell for every unit why it is not ready for an operator at time t; 0 is ready.

        Parameters
        ----------
        t : array_like of int64, scalar or shape (n_times,)
            [unix s]
        operator : int
            `units.LOCAL` or `units.GLOBAL`.
        direction : int, optional
            `units.UP` or `units.DOWN`: only qualifications with power in it count; None: in either.

        Returns
        -------
        ndarray of uint16, shape (n_units,) or (n_units, n_times)
            Bits of `readiness.NOT_READY`. The slot (whether the other operator holds the unit) is the market's.
        """
        side = int(as_int(operator, "operator", shape=(), lo=0, hi=1))
        times = as_int(np.atleast_1d(t), "t", shape=(None,), lo=0)
        way = None if direction is None else int(as_int(direction, "direction", shape=(), lo=UP, hi=DOWN))
        from_aggregate = aggregate_bits(self.aggregates, self.products, self.qualifications, times, self.tz, way)
        bits = unit_bits(self.units, side, from_aggregate, times, n_threads)
        return bits[:, 0] if np.ndim(t) == 0 else bits

    def ready_w(self, t: npt.ArrayLike, operator: int, direction: int, *, n_threads: int = 1) -> Int64s:
        """Return what every unit may sell at times t: its enrolled power if it is ready in that direction.

        The sum over an aggregate is at most the power that it is qualified for; where more is enrolled, the last units
        by id give way.

        Parameters
        ----------
        t : array_like of int64, shape (n_times,)
            [unix s]
        operator, direction : int
            `units.LOCAL` or `units.GLOBAL`, `units.UP` or `units.DOWN`.

        Returns
        -------
        ndarray of int64, shape (n_units, n_times)
            [W]
        """
        times = as_int(t, "t", shape=(None,), lo=0)
        ready = self.ready(times, operator, direction=direction, n_threads=n_threads) == 0
        n = self.aggregates.agg_id.size
        most = qualified_w(n, self.products, self.qualifications, times, self.tz, direction)
        return sellable_w(self.members, self.aggregates.operator == operator, direction, ready, most)

    def _release(self, gone: npt.NDArray[np.bool_], entity: str) -> None:
        """Free the memberships of terminated aggregates or units, and pause aggregates that nobody is left in."""
        units = self.units
        freed = (units.aggregate >= 0) & (gone[units.aggregate] if entity == "aggregate" else gone[None, :])
        touched = np.unique(units.aggregate[freed])
        self.units = replace(
            units,
            aggregate=np.where(freed, -1, units.aggregate).astype(np.int32),
            enrolled_up_w=np.where(freed, 0, units.enrolled_up_w),
            enrolled_down_w=np.where(freed, 0, units.enrolled_down_w),
        )
        self._reopen(touched)
        state = self.aggregates.state
        idle = ~self._has_members() & AGGREGATE.takes(state, "pause")
        event = np.where(idle, AGGREGATE.event("pause"), 255).astype(np.uint8)
        self.aggregates = replace(self.aggregates, state=apply_events(AGGREGATE, state, event).state)

    def _has_members(self) -> npt.NDArray[np.bool_]:
        has = np.zeros(self.aggregates.agg_id.size, bool)
        has[self.units.aggregate[self.units.aggregate >= 0]] = True
        return has
