"""What monitoring remembers and says: state, flags of PODs, alarms of aggregates, with their stable codes."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.metering.readings import Int32s

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
UInt8s = npt.NDArray[np.uint8]

#: Bits of the flags of a POD.
SHORT, OVER, WRONG_WAY, NO_READING, STALE, NOT_ANSWERING, RECOVERED, LATE = 1, 2, 4, 8, 16, 32, 64, 128
#: Bit to meaning.
FLAGS: dict[int, str] = {
    SHORT: "delivers less than its order",
    OVER: "delivers more than its order",
    WRONG_WAY: "moves against the direction of its order",
    NO_READING: "ordered, but its reading or its baseline is missing: it counts as not delivering",
    STALE: "no reading for several quarter-hours, ordered or not",
    NOT_ANSWERING: "has not answered its order for several quarter-hours",
    RECOVERED: "delivers again after it was short, moved the wrong way or was not read",
    LATE: "its reading came after the quarter-hour had been closed",
}
#: Severity of an alarm.
NONE, WARNING, CRITICAL = 0, 1, 2
SEVERITY_NAMES = ("none", "warning", "critical")
#: What happened to an alarm in the quarter-hour.
OPEN, RAISED, ESCALATED, EASED, CLEARED, ENDED = 0, 1, 2, 3, 4, 5
CHANGE_NAMES = ("open", "raised", "escalated", "eased", "cleared", "ended")
#: Stable codes of alarms, at the position of `Alarms.code`: they never change their meaning.
ALARM_CODES = ("", "MON-SHORT", "MON-WRONG-WAY", "MON-NO-DATA")


def _freeze(item: Any) -> None:
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that monitoring remembers from one quarter-hour to the next; a function of what was read up to it.

    Attributes
    ----------
    step : int
        Last quarter-hour that was monitored.
    stale, silent, bad : ndarray of uint8, shape (n_pods,)
        Quarter-hours in a row without reading; of the present order without answer; and deviating.
    group : ndarray of int32, shape (n_pods,)
        2 x aggregate + direction of the present order, -1 without one.
    event_step : ndarray of int64, shape (n_aggregates, 2)
        First quarter-hour of the present event of each aggregate and direction, -1 without one.
    ordered_wqh, delivered_wqh, counted_wqh, short_wqh : ndarray of int64, shape (n_aggregates, 2)
        So far in the event: ordered; delivered, netted; the same with each quarter-hour capped; and missing to the
        order, summed over the quarter-hours that fell short. [W quarter-hours]
    below, far_below, above, not_far : ndarray of int64, shape (n_aggregates, 2)
        Quarter-hours in a row below `warning_ppm`, below `critical_ppm`, from `clear_ppm` on, from `critical_ppm` on.
    severity, code : ndarray of int8, shape (n_aggregates, 2)
        Severity of the open alarm, and the last reason for it, a position in `ALARM_CODES`.
    """

    step: int
    stale: UInt8s
    silent: UInt8s
    bad: UInt8s
    group: Int32s
    event_step: Int64s
    ordered_wqh: Int64s
    delivered_wqh: Int64s
    counted_wqh: Int64s
    short_wqh: Int64s
    below: Int64s
    far_below: Int64s
    above: Int64s
    not_far: Int64s
    severity: Int8s
    code: Int8s

    def __post_init__(self) -> None:
        _freeze(self)

    def same_as(self, other: "MonitorState") -> bool:
        """Tell whether both states hold the same in every field."""
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Alarms:
    """Alarms that are open after a quarter-hour or were closed in it, by (aggregate, direction) in each quarter-hour.

    Attributes
    ----------
    step : ndarray of int64
    aggregate : ndarray of int64
        Position of the aggregate.
    direction : ndarray of int8
    event_step : ndarray of int64
        First quarter-hour of the event; with aggregate and direction the key of the alarm.
    code : ndarray of int8
        Position in `ALARM_CODES`: the last reason.
    severity : ndarray of int8
        Position in `SEVERITY_NAMES`; 0 once it is closed.
    change : ndarray of int8
        Position in `CHANGE_NAMES`: 0 where an alarm goes on as it was.
    ordered_w, delivered_w : ndarray of int64
        Sums of this quarter-hour; delivered is netted, and what was not read counts as zero. [W]
    event_ratio_ppm : ndarray of int64
        Capped delivered over ordered energy so far in the event, rounded down. [parts per million]
    short_wqh : ndarray of int64
        Energy missing so far in the event. [W quarter-hours]
    projected_wqh : ndarray of int64
        The same at the end of the event, if the ratio stays as it is in this quarter-hour. [W quarter-hours]
    n_pods, n_missing, n_short, n_silent : ndarray of int64
        PODs with an order; of them without reading or baseline; short; and not answering.
    """

    step: Int64s
    aggregate: Int64s
    direction: Int8s
    event_step: Int64s
    code: Int8s
    severity: Int8s
    change: Int8s
    ordered_w: Int64s
    delivered_w: Int64s
    event_ratio_ppm: Int64s
    short_wqh: Int64s
    projected_wqh: Int64s
    n_pods: Int64s
    n_missing: Int64s
    n_short: Int64s
    n_silent: Int64s

    def __post_init__(self) -> None:
        _freeze(self)

    def __len__(self) -> int:
        return len(self.step)

    def keys(self) -> list[str]:
        """One key for each row, such as '17/up/72': the same from the first to the last message about an alarm."""
        way = np.array(["up", "down"])[self.direction]
        rows = zip(self.aggregate.tolist(), way.tolist(), self.event_step.tolist(), strict=True)
        return [f"{aggregate}/{direction}/{event}" for aggregate, direction, event in rows]

    def to_arrow(self) -> Any:
        """Return a pyarrow Table with one row for each alarm: names for code, severity and change, and the key."""
        import pyarrow as pa

        columns: dict[str, Any] = {"key": pa.array(self.keys(), pa.string())}
        columns |= {field.name: getattr(self, field.name) for field in fields(self)}
        for name, names in (("code", ALARM_CODES), ("severity", SEVERITY_NAMES), ("change", CHANGE_NAMES)):
            columns[name] = pa.array(np.array(names)[columns[name]].tolist(), pa.string())
        return pa.table(columns)

    @classmethod
    def join(cls, parts: "list[Alarms]") -> "Alarms":
        """Put the alarms of several quarter-hours one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class MonitorStep(NamedTuple):
    """What one quarter-hour gives: the next state, flags of shape (n_pods,), and the alarms of the aggregates."""

    state: MonitorState
    flags: UInt8s
    alarms: Alarms


class MonitorRun(NamedTuple):
    """What several quarter-hours give: a state for each, flags of shape (n_pods, n_steps), and all alarms in order."""

    states: tuple[MonitorState, ...]
    flags: UInt8s
    alarms: Alarms
