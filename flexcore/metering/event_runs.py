"""Past activations as runs of quarter-hours: few numbers for each, whatever the number of PODs and days."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.errors import Findings, ValidationError
from flexcore.market_day import MarketDay
from flexcore.units import GLOBAL, LOCAL

Int64s = npt.NDArray[np.int64]

_LARGEST_W = (1 << 31) - 1


@dataclass(frozen=True, slots=True, init=False)
class EventRuns:
    """Events of PODs, each a run of quarter-hours that may cross midnight.

    Parameters
    ----------
    pod : array_like of int, shape (n_events,)
        Row of the POD.
    first_qh, end_qh : array_like of int, shape (n_events,)
        First quarter-hour and the one after the last, as unix seconds // 900 (`MarketDay.qh`).
    operator : array_like of int, shape (n_events,) or one number
        `units.LOCAL` or `units.GLOBAL`.
    power_w : array_like of int, shape (n_events,) or one number
        Ordered power without its sign, for the order in which event days are borrowed by energy. [W]
    after_steps : array_like of int, shape (n_events,), optional
        Quarter-hours of rebound and recovery after each event; those of the rule if not given.

    Attributes
    ----------
    pod, first_qh, end_qh, operator, power_w, after_steps : ndarray
        Sorted by POD and time; `after_steps` is -1 where the rule decides.

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A004, FX-A006 shapes, types and ranges, FX-B023 an event that ends before it starts.
    """

    pod: Int64s
    first_qh: Int64s
    end_qh: Int64s
    operator: npt.NDArray[np.int8]
    power_w: Int64s
    after_steps: Int64s

    def __init__(
        self,
        pod: npt.ArrayLike,
        first_qh: npt.ArrayLike,
        end_qh: npt.ArrayLike,
        *,
        operator: npt.ArrayLike,
        power_w: npt.ArrayLike = 0,
        after_steps: npt.ArrayLike | None = None,
    ) -> None:
        rows = as_int(pod, "pod", shape=(None,), lo=0)
        n = rows.size
        # absolute quarter-hours of the years 1..9999 fit 2^40 many times over: no sum below can overflow
        first = as_int(first_qh, "first_qh", shape=(n,), lo=-(1 << 40), hi=1 << 40)
        end = as_int(end_qh, "end_qh", shape=(n,), lo=-(1 << 40), hi=1 << 40)
        side = int_per_row(operator, "operator", n, dtype=np.int8, lo=LOCAL, hi=GLOBAL)
        power = int_per_row(power_w, "power_w", n, lo=0, hi=_LARGEST_W)
        own = -1 if after_steps is None else after_steps
        after = int_per_row(own, "after_steps", n, lo=-1, hi=_LARGEST_W)
        found = Findings("events", n)
        reversed_rows = np.flatnonzero(end <= first)
        if reversed_rows.size:
            message = f"{reversed_rows.size} events hold no quarter-hour: end_qh must be larger than first_qh"
            found.add("FX-B023", message, field="end_qh", rows=reversed_rows)
        found.raise_errors(ValidationError)
        order = np.lexsort((end, first, rows))
        values = {
            "pod": rows,
            "first_qh": first,
            "end_qh": end,
            "operator": side,
            "power_w": power,
            "after_steps": after,
        }
        for name, array in values.items():
            object.__setattr__(self, name, np.ascontiguousarray(array[order]))

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.pod.size)

    @classmethod
    def of_steps(
        cls,
        days: Sequence[MarketDay],
        pod: npt.ArrayLike,
        day: npt.ArrayLike,
        first_step: npt.ArrayLike,
        end_step: npt.ArrayLike,
        *,
        operator: npt.ArrayLike,
        power_w: npt.ArrayLike = 0,
        after_steps: npt.ArrayLike | None = None,
    ) -> "EventRuns":
        """Make events from positions in `days` and steps of those days; `end_step` may lie beyond the day.

        Raises
        ------
        ValidationError
            As the class; FX-A006 a day or a first step that does not exist.
        """
        at = as_int(day, "day", shape=(None,), lo=0, hi=len(days) - 1)
        first = as_int(first_step, "first_step", shape=(at.size,), lo=0)
        end = as_int(end_step, "end_step", shape=(at.size,), lo=0, hi=1 << 31)
        starts = np.array([one.first_qh for one in days], np.int64)
        lengths = np.array([one.n_steps for one in days], np.int64)
        beyond = np.flatnonzero(first >= lengths[at]) if at.size else np.zeros(0, np.intp)
        if beyond.size:
            found = Findings("events", at.size)
            found.add("FX-A006", f"{beyond.size} first steps lie beyond their day", field="first_step", rows=beyond)
            found.raise_errors(ValidationError)
        start = starts[at] if at.size else np.zeros(0, np.int64)
        return cls(pod, start + first, start + end, operator=operator, power_w=power_w, after_steps=after_steps)

    @classmethod
    def of_orders(
        cls, day: MarketDay, orders_w: npt.ArrayLike, *, pod: npt.ArrayLike, operator: npt.ArrayLike
    ) -> "EventRuns":
        """Make events from the orders or awards of one day.

        Parameters
        ----------
        day : MarketDay
        orders_w : array_like of int, shape (n_rows, n_steps)
            Ordered power of each row, of either sign; zero where nothing is ordered. [W]
        pod : array_like of int, shape (n_rows,)
            POD of each row; a POD may have several rows.
        operator : array_like of int, shape (n_rows,) or one number

        Returns
        -------
        EventRuns
            One for each run of equal orders: touching runs are one event to the rules, and their energy stays exact.

        Raises
        ------
        ValidationError
            As the class; TimeSeriesError FX-T002 if the orders have another number of quarter-hours than the day.
        """
        orders = as_int(orders_w, "orders_w", shape=(None, None), lo=-_LARGEST_W, hi=_LARGEST_W)
        day.check_steps(orders.shape[1], "orders_w")
        rows = as_int(pod, "pod", shape=(len(orders),), lo=0)
        sides = int_per_row(operator, "operator", len(orders), dtype=np.int8)
        change = np.ones((len(orders), day.n_steps + 1), np.bool_)
        change[:, 1:-1] = orders[:, 1:] != orders[:, :-1]
        # where a run begins and where one ends, both row by row in the order of time: the k-th belong together
        row, first = np.nonzero(change[:, :-1] & (orders != 0))
        _, last = np.nonzero(change[:, 1:] & (orders != 0))
        return cls(
            rows[row],
            day.first_qh + first,
            day.first_qh + last + 1,
            operator=sides[row],
            power_w=np.abs(orders[row, first]),
        )

    @classmethod
    def join(cls, *parts: "EventRuns") -> "EventRuns":
        """Put the events of several days or operators together."""
        names = ("pod", "first_qh", "end_qh", "operator", "power_w", "after_steps")
        whole = (
            {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
            if parts
            else dict.fromkeys(names, ())
        )
        return cls(**whole)

    def of_block(self, lo: int, hi: int) -> "EventRuns":
        """Return the events of PODs lo..hi, with rows counted from `lo`, for work in blocks of PODs."""
        a, b = np.searchsorted(self.pod, [lo, hi])
        inside = slice(int(a), int(b))
        return EventRuns(
            self.pod[inside] - lo,
            self.first_qh[inside],
            self.end_qh[inside],
            operator=self.operator[inside],
            power_w=self.power_w[inside],
            after_steps=self.after_steps[inside],
        )
