"""Day files and masks of a streamed baseline, opened, checked and cut to the rows that a worker needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.market_day import MarketDay
from flexcore.metering.baseline import rule_of
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.eligibility import Eligibility
from flexcore.metering.reading_files import DayFiles, open_day
from flexcore.metering.reading_layout import Paths, check_ascending, refuse
from flexcore.metering.readings import Bools, day_steps
from flexcore.metering.reference_days import ReferenceDays, check_days, days_of_rows
from flexcore.metering.stream_arguments import FamilyArguments
from flexcore.tables.check import check


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """Event, rebound and recovery quarter-hours, sorted by row of the POD."""

    row: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]  # position in the history, -1: the event day
    step: npt.NDArray[np.int64]  # of the event day's clock
    event: Bools

    def slice(self, lo: int, hi: int) -> "Touched":
        """Return what lies in rows lo..hi."""
        a, b = np.searchsorted(self.row, (lo, hi))
        return Touched(self.row[a:b], self.day[a:b], self.step[a:b], self.event[a:b])


@dataclass(frozen=True, slots=True, eq=False)
class OrderedSteps:
    """Ordered quarter-hours of the event day: those of `row[i]`, ascending, are step[ptr[i]] to step[ptr[i + 1]]."""

    row: npt.NDArray[np.int64]
    ptr: npt.NDArray[np.int64]
    step: npt.NDArray[np.uint8]

    def slice(self, lo: int, hi: int) -> "OrderedSteps":
        """Return what lies in rows lo..hi."""
        a, b = np.searchsorted(self.row, (lo, hi))
        ptr = self.ptr[a : b + 1]
        return OrderedSteps(self.row[a:b], ptr - ptr[0], self.step[ptr[0] : ptr[-1]])


@dataclass(frozen=True, slots=True, eq=False)
class StreamInputs:
    """All that a worker needs: paths, ranges, small arrays; no reading. Rows of masks count from `first`."""

    today: DayFiles
    history: tuple[DayFiles, ...]
    steps: tuple[npt.NDArray[np.int64] | None, ...]  # day_steps where a past day has another clock
    rule: BaselineRule
    event: Bools | None
    eligible: npt.NDArray[Any] | None
    excluded: Bools | None
    today_excluded: Bools | None
    reference_days: Eligibility | ReferenceDays | None  # instead of `eligible`
    families: FamilyArguments
    touched: Touched | None
    ordered: OrderedSteps | None
    first: int
    verify: bool

    def part(self, lo: int, hi: int) -> "StreamInputs":
        """What rows lo..hi need."""
        masks = [self.event, self.eligible, self.excluded, self.today_excluded]
        a, b = lo - self.first, hi - self.first
        event, eligible, excluded, today_excluded = masks_of_rows(masks, a, b)
        return replace(
            self,
            event=event,
            eligible=eligible,
            excluded=excluded,
            today_excluded=today_excluded,
            reference_days=None if self.reference_days is None else days_of_rows(self.reference_days, a, b),
            families=self.families.part(a, b),
            touched=None if self.touched is None else self.touched.slice(lo, hi),
            ordered=None if self.ordered is None else self.ordered.slice(lo, hi),
            first=lo,
        )


def masks_of_rows(masks: Sequence[Any], lo: int, hi: int) -> list[Any]:
    """Return rows lo..hi of the masks event, eligible, excluded and today_excluded; one for all stays as it is."""
    with_rows = (2, 2, 3, 2)
    return [
        mask if mask is None or mask.ndim < axes else mask[lo:hi] for mask, axes in zip(masks, with_rows, strict=True)
    ]


def with_touched(masks: StreamInputs, n: int, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return the masks of a block, made dense only where orders or touched quarter-hours lie in it."""
    event, excluded, today_excluded, touched = masks.event, masks.excluded, masks.today_excluded, masks.touched
    if masks.ordered is not None and masks.ordered.step.size:
        event = np.broadcast_to(np.zeros(1, np.bool_) if event is None else event, (n, shape[2])).copy()
        row = np.repeat(masks.ordered.row - masks.first, np.diff(masks.ordered.ptr))
        event[row, masks.ordered.step] = True
    if touched is None or not touched.row.size:
        return event, excluded, today_excluded
    row, past = touched.row - masks.first, touched.day >= 0

    def dense(mask: Bools | None, size: tuple[int, ...], chosen: Bools, *index: Any) -> Any:
        if not chosen.any():
            return mask
        full = np.zeros(size, np.bool_) if mask is None else np.broadcast_to(mask, size).copy()
        full[tuple(part[chosen] for part in index)] = True
        return full

    now = ~past
    return (
        dense(event, (n, shape[2]), now & touched.event, row, touched.step),
        dense(excluded, shape, past, row, touched.day, touched.step),
        dense(today_excluded, (n, shape[2]), now & ~touched.event, row, touched.step),
    )


def open_inputs(
    history: Sequence[Paths],
    today: Paths,
    event: npt.ArrayLike | None,
    *,
    preset: str | BaselineRule,
    eligible: npt.ArrayLike | Eligibility | ReferenceDays | None,
    excluded: npt.ArrayLike | None,
    today_excluded: npt.ArrayLike | None,
    families: FamilyArguments,
    touched: Any,
    verify: bool,
    n_threads: int = 1,
) -> tuple[StreamInputs, Any]:
    """Open and check all files and masks; return them and the keys of the PODs."""
    rule = rule_of(preset)
    last = open_day(today)
    days = tuple(open_day(source) for source in history)
    dates = [day.day.date for day in (*days, last)]
    late = [str(after) for before, after in pairwise(dates) if after <= before]
    if late:
        refuse("FX-B067", f"{len(late)} days do not follow the one before", ids=late, hint="oldest first, then today")
    elsewhere = [day.files[0].path for day in days if day.day.tz != last.day.tz]
    if elsewhere:
        refuse("FX-B062", f"{len(elsewhere)} days are not in {last.day.tz}, as the event day is", ids=elsewhere)
    other = [file.path for day in (*days, last) for file in day.files if file.kind != "readings"]
    if other:
        refuse("FX-B061", f"{len(other)} files hold something else than readings", ids=other)
    pods = last.pods()
    check_ascending(pods)
    same = np.ones(len(days), np.bool_)

    def compare(lo: int, hi: int) -> None:
        for d in range(lo, hi):
            same[d] = days[d].pods().equals(pods)

    run_chunks(compare, len(days), n_threads=n_threads, chunk=1)
    if not same.all():
        other_day = days[int(np.argmin(same))]
        others = other_day.pods()
        check_ascending(others)
        either = set(pods.to_pylist()) ^ set(others.to_pylist())
        refuse(
            "FX-B064",
            f"{len(either)} PODs stand in {other_day.files[0].path} or in {last.files[0].path}, but not in both",
            ids=sorted(either, key=lambda key: (isinstance(key, str), key)),
            hint="write a row of MISSING_W for a POD without readings",
        )
    n, n_steps = last.n_pods, last.day.n_steps
    shape = (n, len(days), n_steps)
    steps = tuple(None if day.day.n_steps == n_steps else day_steps(day.day, last.day) for day in days)
    chosen: Eligibility | ReferenceDays | None = None
    masks: Any = eligible
    if isinstance(eligible, Eligibility | ReferenceDays):
        chosen, masks = eligible, None
    return (
        StreamInputs(
            last,
            days,
            steps,
            rule,
            _checked(event, "event", (n, n_steps)),
            _checked(masks, "eligible", (n, len(days)), kinds="bu"),
            _checked(excluded, "excluded", shape),
            _checked(today_excluded, "today_excluded", (n, n_steps)),
            None if chosen is None else check_days(chosen, [past.day for past in days], last.day, n),
            families.checked(rule, last, pods, len(days)),
            None if touched is None else _touched(touched, pods, last.day, days, steps),
            None,
            0,
            verify,
        ),
        pods,
    )


def _checked(mask: npt.ArrayLike | None, name: str, full: tuple[int, ...], *, kinds: str = "b") -> Any:
    if mask is None:
        return None
    array = np.asarray(mask)
    found = Findings(name)
    if array.dtype.kind not in kinds or array.dtype.itemsize != 1:
        found.add("FX-A002", f"{name} has type {array.dtype}, expected bool")
    elif array.shape not in (full, (1, *full[1:]), full[1:]):
        found.add("FX-A001", f"{name} has shape {array.shape}, expected {full} or {full[1:]}")
    found.raise_errors()
    return array[0] if array.shape == (1, *full[1:]) else array


def _touched(table: Any, pods: Any, today: MarketDay, days: tuple[DayFiles, ...], steps: Any) -> Touched:
    """Find row, day and step of each touched quarter-hour; FX-B003 for a POD that the files do not have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = check("touched", table)
    qh = columns["qh"]
    keys = columns["pod"]
    text = keys.dtype.kind == "U"
    row = np.full(len(keys), -1, np.int64)
    if text == pa.types.is_string(pods.type) and len(keys):
        places = pc.index_in(pa.array(keys.tolist() if text else keys), value_set=pods)
        row = np.asarray(places.fill_null(-1), np.int64)
    unknown = np.flatnonzero(row < 0)
    if unknown.size:
        found = Findings("touched", len(keys))
        found.add("FX-B003", f"{unknown.size} rows name a POD without file row", rows=unknown, ids=keys[unknown])
        found.raise_errors()
    places = [_shown(qh, today, None), *(_shown(qh, day.day, mapped) for day, mapped in zip(days, steps, strict=True))]
    index = np.concatenate([which for which, _ in places])
    step = np.concatenate([shown for _, shown in places])
    at = np.repeat(np.arange(-1, len(days)), [len(which) for which, _ in places])
    order = np.argsort(row[index], kind="stable")
    index = index[order]
    return Touched(row[index], at[order], step[order], columns["event"][index])


def _shown(
    qh: npt.NDArray[np.int64], day: MarketDay, steps: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows that lie in a day, each with every step of the event day that shows it: none, one, or two at a change."""
    which = np.flatnonzero((qh >= day.first_qh) & (qh < day.first_qh + day.n_steps))
    own = qh[which] - day.first_qh
    if steps is None:
        return which, own
    by_own = np.argsort(steps, kind="stable")[np.count_nonzero(steps < 0) :]
    n_shown = np.bincount(steps[by_own], minlength=day.n_steps)
    first, times = (np.cumsum(n_shown) - n_shown)[own], n_shown[own]
    nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return np.repeat(which, times), by_own[np.repeat(first, times) + nth]
