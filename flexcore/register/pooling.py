"""From units to aggregates: the static traffic light, then membership."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcore.errors import Findings, RegisterError
from flexcore.register.aggregates import (
    Aggregates,
    check_enrolment,
)
from flexcore.register.ids import check_new, look_up
from flexcore.register.node_headroom import NodeHeadroom
from flexcore.register.pods import (
    NEVER,
    Int32s,
    Units,
)
from flexcore.register.states import (
    AGGREGATE,
    STL,
    UNIT,
    apply_events,
    approval_times,
)
from flexcore.register.static_light import StaticLight, static_light
from flexcore.tables import check

if TYPE_CHECKING:
    pass

from flexcore.register.holdings import Holdings, Rows


class Pooling(Holdings):
    """Validates units and pools them."""

    def apply_static_light(
        self,
        *,
        at: int,
        headroom: NodeHeadroom | None = None,
        peak_in_w: Rows = None,
        peak_out_w: Rows = None,
        min_w: int = 0,
    ) -> StaticLight:
        """Validate the declared power of all units that are not terminated (STL-01).

        Parameters
        ----------
        at : int
            Time of the decision. [unix s]
        headroom : NodeHeadroom, optional
            Of `node_headroom`, for the grid of the register; None: no network check.
        peak_in_w, peak_out_w : array_like of int64, shape (n_pods,), optional
            Measured peaks, -1 unknown; None: no check. [W]
        min_w : int
            Least power of a POD and direction. [W]

        Returns
        -------
        StaticLight
            One row per unit.

        Notes
        -----
        Where a repeated light validates less than is enrolled, the enrolled power is cut to it; that is a relevant
        technical change, so the qualifications of the aggregate are reopened.
        """
        now = self._time(at)
        up_w = down_w = None
        if headroom is not None:
            self._grid()
            up_w, down_w = headroom.up_w[self.pod_node], headroom.down_w[self.pod_node]
        light = static_light(
            self.units,
            self.pods,
            headroom_up_w=up_w,
            headroom_down_w=down_w,
            peak_in_w=peak_in_w,
            peak_out_w=peak_out_w,
            min_w=min_w,
        )
        units = self.units
        live = units.state != UNIT.state("TERMINATED")
        start = np.where(live & STL.takes(units.light_state, "start"), STL.event("start"), 255).astype(np.uint8)
        begun = apply_events(STL, units.light_state, start, ids=units.unit_id)
        decision = np.full(light.state.size, 255, np.uint8)
        for state, event in (
            ("CONFIRMED", "confirm"),
            ("MODULATED", "modulate"),
            ("INVALID", "invalidate"),
            ("INCOMPLETE", "ask"),
        ):
            decision[live & (light.state == STL.state(state))] = STL.event(event)
        decided = apply_events(STL, begun.state, decision, ids=units.unit_id)
        approved = approval_times(STL, units.light_approved_at, decided, now)
        up = np.minimum(units.enrolled_up_w, light.up_w)
        down = np.minimum(units.enrolled_down_w, light.down_w)
        cut = (up < units.enrolled_up_w) | (down < units.enrolled_down_w)
        concerned = np.unique(units.aggregate[cut & (units.aggregate >= 0)])
        self.units = replace(
            units,
            light_state=decided.state,
            light_approved_at=approved,
            validated_up_w=light.up_w,
            validated_down_w=light.down_w,
            light_causes_up=light.up_causes,
            light_causes_down=light.down_causes,
            enrolled_up_w=up,
            enrolled_down_w=down,
        )
        self._reopen(concerned)
        return light

    def form_aggregates(self, aggregates: Any, members: Any, *, activate: bool = True) -> Int32s:
        """Form aggregates (tables `aggregates`, `aggregate_members`) and, by default, activate those with members.

        Returns
        -------
        ndarray of int32
            Positions of the new aggregates.

        Raises
        ------
        RegisterError
            FX-R005 unknown key, FX-R006 not a BSP, FX-R010 an aggregate with two BSPs, FX-R011 a unit in two local
            (global) aggregates, FX-R012 a shared unit with two BSPs, FX-R013 outside the flex_area, FX-R014 more than
            validated, FX-R015 no static light.
        """
        table = check("aggregates", aggregates, error=RegisterError)
        n = table["agg_id"].size
        found = Findings("aggregates", n)
        check_new(self.aggregates.agg_id, table["agg_id"], found, "agg_id")
        bsp = look_up(self.parties.party_id, table["bsp"], found, "bsp", "party")
        self._check_bsp(bsp, table["bsp"], found)
        found.raise_errors(RegisterError)
        byte, never = np.zeros(n, np.uint8), np.full(n, NEVER, np.int64)
        formed = self.aggregates.adding(
            agg_id=table["agg_id"],
            bsp=bsp,
            operator=table["operator"],
            flex_area=table["flex_area"],
            state=byte,
            grid_state=byte,
            grid_approved_at=never,
            suspended_from=never,
            suspended_to=never,
        )
        units, touched = self._enrolled(formed, members)
        old = self.aggregates.agg_id.size
        if activate:
            event = np.full(formed.state.size, 255, np.uint8)
            has_members = np.zeros(formed.state.size, bool)
            has_members[units.aggregate[units.aggregate >= 0]] = True
            new = np.arange(formed.state.size) >= old
            event[new & has_members] = AGGREGATE.event("activate")
            formed = replace(formed, state=apply_events(AGGREGATE, formed.state, event).state)
        self.aggregates, self.units = formed, units
        self._reopen(touched[touched < old])
        return self._last(formed.agg_id.size, n)

    def enrol(self, members: Any) -> None:
        """Add members (table `aggregate_members`); that reopens the qualifications of their aggregates.

        Raises
        ------
        RegisterError
            As `form_aggregates`; FX-R022 the aggregate or the unit is terminated.
        """
        units, touched = self._enrolled(self.aggregates, members)
        self.units = units
        self._reopen(touched)

    def _enrolled(self, aggregates: Aggregates, data: Any) -> tuple[Units, Int32s]:
        table = check("aggregate_members", data, error=RegisterError)
        found = Findings("aggregate_members", table["up_w"].size)
        aggregate = look_up(aggregates.agg_id, table["agg_id"], found, "agg_id", "aggregate")
        unit = look_up(self.units.unit_id, table["unit_id"], found, "unit_id", "unit")
        found.raise_errors(RegisterError)
        gone = aggregates.state[aggregate] == AGGREGATE.state("TERMINATED")
        gone |= self.units.state[unit] == UNIT.state("TERMINATED")
        if gone.any():
            rows = np.flatnonzero(gone)
            message = f"{rows.size} members are terminated, or their aggregate is"
            found.add("FX-R022", message, field="unit_id", rows=rows, ids=table["unit_id"][rows])
        new = check_enrolment(aggregates, self.units, self.pods, aggregate, unit, table["up_w"], table["down_w"], found)
        found.raise_errors(RegisterError)
        owner, up, down = (
            self.units.aggregate.copy(),
            self.units.enrolled_up_w.copy(),
            self.units.enrolled_down_w.copy(),
        )
        owner[new.side, new.unit] = new.aggregate
        up[new.side, new.unit] = new.up_w
        down[new.side, new.unit] = new.down_w
        touched = np.unique(new.aggregate).astype(np.int32)
        return replace(self.units, aggregate=owner, enrolled_up_w=up, enrolled_down_w=down), touched
