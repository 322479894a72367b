"""Methods that need no history: meter-before-meter-after and nominated."""

from typing import cast

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.metering.baseline_result import GAP, BaselineResult, result_arrays
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import CHUNK, EventDay
from flexcore.metering.readings import MISSING_W, as_power_w

_JOINS = ("before", "mean", "least", "largest")


def around_event(rule: BaselineRule, day: EventDay) -> BaselineResult:
    """Take what the meter showed around each event."""
    from flexcore.kernels.metering.meter_before_after import meter_before_after

    n_pods, n_steps = as_power_w(cast(npt.ArrayLike, day.today_w), "today_w", shape=(None, None)).shape
    today, during, today_out = day.arrays(n_pods, n_steps)
    result = result_arrays(day.out, rule, n_pods, 0, n_steps)

    def task(i0: int, i1: int) -> None:
        meter_before_after(
            today, during, today_out, rule.before_steps, rule.before_gap, rule.after_steps, rule.after_gap,
            _JOINS.index(rule.join), i0, i1, result.baseline_w, result.status,
        )  # fmt: skip

    run_chunks(task, n_pods, n_threads=day.n_threads, chunk=CHUNK)
    return result


def nominated(
    rule: BaselineRule, nominated_w: npt.ArrayLike, history_w: npt.ArrayLike | None, day: EventDay
) -> BaselineResult:
    """Take what was declared."""
    power = as_power_w(nominated_w, "nominated_w", shape=(None, None))
    n_pods, n_steps = power.shape
    day.arrays(n_pods, n_steps)  # checks what it does not need: another rule would
    n_days = 0 if history_w is None else as_power_w(history_w, "history_w", shape=(n_pods, None, n_steps)).shape[1]
    result = result_arrays(day.out, rule, n_pods, n_days, n_steps)

    def task(i0: int, i1: int) -> None:
        result.baseline_w[i0:i1] = power[i0:i1]
        result.status[i0:i1] = np.where((power[i0:i1] == MISSING_W).any(axis=1), GAP, 0)
        result.days_used[i0:i1] = False

    run_chunks(task, n_pods, n_threads=day.n_threads, chunk=CHUNK)
    return result
