"""Baselines from Arrow streams, one for each day, as they come: for readings that are in no file."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings
from flexcore.market_day import MarketDay
from flexcore.metering.baseline import BaselineResult, baseline, rule_of
from flexcore.metering.presets import BaselineRule
from flexcore.metering.reading_layout import check_ascending, key_array, layout_schema, power_array, refuse
from flexcore.metering.reading_rows import power_rows
from flexcore.metering.readings import MISSING_W, Int32s, day_steps
from flexcore.metering.stream_arguments import needed_by
from flexcore.metering.stream_inputs import masks_of_rows

_BLOCK = 1024


class _Rows:
    """The rows of a stream of (pod, power_w) batches, some at a time."""

    def __init__(self, source: Any, day: MarketDay) -> None:
        import pyarrow as pa

        self.day = day
        self._batches = iter(pa.RecordBatchReader.from_stream(source))
        self._pods = pa.array([], pa.int64())
        self._power = np.empty((0, day.n_steps), np.int32)

    def take(self, n: int) -> tuple[Any, Int32s]:
        """Return keys and readings of the next `n` rows; fewer where the stream ends."""
        import pyarrow as pa

        pods, power = [self._pods], [self._power]
        have = len(self._pods)
        while have < n and (batch := next(self._batches, None)) is not None:
            if not batch.num_rows:
                continue
            found = Findings("readings")
            for name in ("pod", "power_w"):
                if name not in batch.schema.names:
                    found.add("FX-A007", f"column {name!r} is missing", field=name)
            found.raise_errors()
            pods.append(key_array(batch.column("pod")))
            power.append(power_rows(batch.column("power_w"), self.day.n_steps, f"the stream of {self.day.date}"))
            have += batch.num_rows
        kept = [part for part in pods if len(part)] or [pods[0]]
        keys, rows = pa.concat_arrays(kept), np.concatenate(power)
        self._pods, self._power = keys[n:], rows[n:]
        return keys[:n], rows[:n]


def baseline_batches(
    history: Sequence[Any],
    today: Any,
    event: npt.ArrayLike | None = None,
    *,
    days: Sequence[MarketDay],
    preset: str | BaselineRule = "caiso_10_in_10",
    eligible: npt.ArrayLike | None = None,
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
) -> Any:
    """Baselines as an Arrow stream, from one Arrow stream for each day; memory holds one block of PODs.

    Parameters
    ----------
    history : sequence of objects with the Arrow stream protocol
        Past days, oldest first. Rows as in the files of `write_readings`: `pod`, and `power_w` as a list with one value
        for each quarter-hour of the day, null or `MISSING_W` where there is no reading. [W]
    today : object with the Arrow stream protocol
        The event day; all streams hold the same PODs in the same, ascending order.
    days : sequence of MarketDay
        The days of `history` and, last, of `today`.
    preset, event, eligible, excluded, today_excluded
        As in `baseline`: one row for each POD, in the order of the stream, or one for all.

    Returns
    -------
    pyarrow.RecordBatchReader
        `pod`, `power_w` and `status`, computed as it is read.

    Raises
    ------
    FileError
        FX-B080 a preset that needs more than readings, FX-B062 a row of another number of quarter-hours, or days of
        several time zones, FX-B063 keys out of order, FX-B064 streams that do not hold the same PODs, FX-B067 days
        missing or out of order. Raised here or while the stream is read.
    ValidationError
        As `baseline`; FX-A007 a column is missing.
    """
    import pyarrow as pa

    rule = rule_of(preset)
    for name in needed_by(rule):
        message = f"{preset if isinstance(preset, str) else rule.method!r} needs {name}, which streams do not take"
        refuse("FX-B080", message, field=name, hint="write_readings and baseline_files take every preset")
    dates = [day.date for day in days]
    if len(days) != len(history) + 1 or dates != sorted(set(dates)):
        refuse("FX-B067", f"{len(history)} past days and today, but days {[str(date) for date in dates]}", field="days")
    elsewhere = [str(day.date) for day in days if day.tz != days[-1].tz]
    if elsewhere:
        refuse("FX-B062", f"{len(elsewhere)} days are not in {days[-1].tz}, as the event day is", ids=elsewhere)
    streams = [_Rows(source, day) for source, day in zip((*history, today), days, strict=True)]
    masks = [_one_for_all(mask, axes) for mask, axes in ((event, 2), (eligible, 2), (excluded, 3), (today_excluded, 2))]
    first = streams[-1].take(_BLOCK)
    status = pa.field("status", pa.uint8(), nullable=False)
    schema = layout_schema(days[-1].n_steps, text_keys=pa.types.is_string(first[0].type), extra=[status])
    return pa.RecordBatchReader.from_batches(schema, _blocks(streams, first, rule, masks, schema))


def _one_for_all(mask: npt.ArrayLike | None, axes: int) -> Any:
    """Give a mask of one row, which all PODs share, without the axis of PODs: blocks do not cut it."""
    array = None if mask is None else np.asarray(mask)
    return array[0] if array is not None and array.ndim == axes and len(array) == 1 else array


def _check_rows(masks: list[Any], n_pods: int) -> None:
    """Refuse masks that have rows for more PODs than came: what a row belongs to would be a guess."""
    for name, mask, axes in zip(("event", "eligible", "excluded", "today_excluded"), masks, (2, 2, 3, 2), strict=True):
        if mask is not None and mask.ndim == axes and len(mask) != n_pods:
            found = Findings(name)
            found.add("FX-A001", f"{name} has rows for {len(mask)} PODs, the streams hold {n_pods}", field=name)
            found.raise_errors()


def _blocks(
    streams: list[_Rows], block: tuple[Any, Int32s], rule: BaselineRule, masks: list[Any], schema: Any
) -> Iterator[Any]:
    import pyarrow as pa

    day = streams[-1].day
    steps = [None if past.day.n_steps == day.n_steps else day_steps(past.day, day) for past in streams[:-1]]
    done, last = 0, None
    while True:
        pods, today = block
        n = len(pods)
        history = np.empty((n, len(steps), day.n_steps), np.int32)
        for d, mapped in enumerate(steps):
            theirs, rows = streams[d].take(max(n, 1))
            if not theirs.equals(pods):
                either = sorted(map(str, set(pods.to_pylist()) ^ set(theirs.to_pylist())))
                message = f"the streams of {streams[d].day.date} and {day.date} do not hold the same PODs in one order"
                refuse("FX-B064", message, ids=either)
            history[:, d] = rows if mapped is None else np.where(mapped >= 0, rows[:, mapped], MISSING_W)
        if not n:
            _check_rows(masks, done)
            return
        check_ascending(pods, last)
        event, eligible, excluded, today_excluded = masks_of_rows(masks, done, done + n)
        result: BaselineResult = baseline(
            history if steps else None,
            np.ascontiguousarray(today),
            event,
            eligible=eligible,
            preset=rule,
            excluded=excluded,
            today_excluded=today_excluded,
        )
        arrays = [pods, power_array(result.baseline_w), pa.array(result.status)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        done, last = done + n, pods[-1]
        block = streams[-1].take(_BLOCK)
