"""Computes blocks of PODs from open day files: what each thread or worker of a streamed baseline does."""

import threading
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from flexcore.metering.baseline import BaselineResult, baseline
from flexcore.metering.day_distance import MatchDay, match_day_distance
from flexcore.metering.reading_files import DayFiles
from flexcore.metering.reading_rows import RowReader
from flexcore.metering.readings import MISSING_W, Bools, Int32s
from flexcore.metering.reference_days import masks_of_days
from flexcore.metering.stream_arguments import reads_history
from flexcore.metering.stream_inputs import StreamInputs, with_touched

BLOCK = 1024  # PODs in work at a time: what passes between reading and kernel stays in the caches


class BlockWork:
    """Open files and buffers of one thread."""

    def __init__(self, inputs: StreamInputs) -> None:
        self._inputs = inputs
        self._stack = ExitStack()
        # a method that looks at no past day does not wait for one
        self._past = inputs.history if reads_history(inputs.rule) else ()
        self._readers = [
            self._stack.enter_context(RowReader(day, verify=inputs.verify)) for day in (*self._past, inputs.today)
        ]
        n_steps = inputs.today.day.n_steps
        longest = max(day.day.n_steps for day in (*self._past, inputs.today))
        self._history = np.empty((BLOCK, len(self._past), n_steps), np.int32)
        declared = inputs.families.nominated_w
        self._declared = None
        if isinstance(declared, DayFiles):
            self._declared = self._stack.enter_context(RowReader(declared, verify=inputs.verify))
        self._rows = np.empty(BLOCK * longest, np.int32)
        self._today = np.empty((BLOCK, n_steps), np.int32)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def run(self, lo: int, hi: int, out: BaselineResult, metered: Int32s | None = None) -> None:
        """Compute rows lo..hi into `out`, whose first row is row `lo`; `metered` takes their readings."""
        for begin in range(lo, hi, BLOCK):
            self._block(begin, min(begin + BLOCK, hi), lo, out, metered)

    def _block(self, begin: int, end: int, lo: int, out: BaselineResult, metered: Int32s | None) -> None:
        inputs, n = self._inputs, end - begin
        today = self._today[:n]
        self._readers[-1].read(begin, end, today)
        if metered is not None:
            metered[begin - lo : end - lo] = today
        history = self._history[:n]
        for d, (day, steps) in enumerate(zip(self._past, inputs.steps, strict=False)):
            rows = self._rows[: n * day.day.n_steps].reshape(n, day.day.n_steps)
            self._readers[d].read(begin, end, rows)
            if steps is None:
                history[:, d] = rows
            else:
                history[:, d] = np.where(steps >= 0, rows[:, steps], MISSING_W)
        masks = inputs.part(begin, end)
        shape = (n, len(inputs.history), today.shape[1])
        event, excluded, today_excluded = with_touched(masks, n, shape)
        past, eligible = history if self._past else None, masks.eligible
        score = masks.families.day_score
        if masks.reference_days is not None:
            eligible, past_out, today_out = masks_of_days(
                masks.reference_days, [day.day for day in inputs.history], inputs.today.day, n, inputs.rule, past,
                event, every_mark=isinstance(score, MatchDay),
            )  # fmt: skip
            excluded, today_excluded = _either(excluded, past_out), _either(today_excluded, today_out)
        where = slice(begin - lo, end - lo)
        if isinstance(score, MatchDay):
            score = match_day_distance(
                history, today, np.zeros(today.shape[1], np.bool_) if event is None else event, excluded=excluded,
                today_excluded=today_excluded, margin_steps=score.margin_steps,
            )  # fmt: skip
        declared = masks.families.nominated_w
        if self._declared is not None:
            declared = np.empty_like(today)
            self._declared.read(begin, end, declared)
        baseline(
            past,
            today,
            event,
            eligible=eligible,
            preset=inputs.rule,
            excluded=excluded,
            today_excluded=today_excluded,
            **masks.families.keywords(day_score=score, nominated_w=declared),
            out=BaselineResult(out.baseline_w[where], out.status[where], out.days_used[where], inputs.rule),
        )


def _either(mask: Bools | None, other: Bools | None) -> Bools | None:
    if mask is None or other is None:
        return other if mask is None else mask
    return np.asarray(mask | other)


def empty_result(n: int, inputs: StreamInputs) -> BaselineResult:
    """Return room for the baselines of `n` PODs."""
    days = len(inputs.history) if reads_history(inputs.rule) else 0
    return BaselineResult(
        np.empty((n, inputs.today.day.n_steps), np.int32),
        np.empty(n, np.uint8),
        np.empty((n, days), np.bool_),
        inputs.rule,
    )


def result_rows(result: BaselineResult, lo: int, hi: int) -> BaselineResult:
    """Return rows lo..hi of a result, as views."""
    return BaselineResult(result.baseline_w[lo:hi], result.status[lo:hi], result.days_used[lo:hi], result.rule)


class WorkPool:
    """Work of several threads, each with its own open files."""

    def __init__(self, inputs: StreamInputs) -> None:
        self._inputs = inputs
        self._free: list[BlockWork] = []
        self._all: list[BlockWork] = []

    def run(self, lo: int, hi: int, out: BaselineResult, metered: Int32s | None = None) -> None:
        """Compute rows lo..hi, as `BlockWork.run`."""
        try:
            work = self._free.pop()
        except IndexError:
            work = BlockWork(self._inputs)
            self._all.append(work)
        try:
            work.run(lo, hi, out, metered)
        finally:
            self._free.append(work)

    def close(self) -> None:
        """Close the files of all threads; none may be at work."""
        for work in self._all:
            work.close()


class Tally:
    """Counts what several threads have done and tells the caller's `progress` of it."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, n: int) -> None:
        """Add what is done."""
        with self._lock:
            self._done += n
            if self._progress is not None:
                self._progress(self._done, self._total)
