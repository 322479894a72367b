"""Methods that need no history: meter-before-meter-after and nominated."""

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

    n_pods, n_steps = as_power_w(np.asarray(day.today_w), "today_w", shape=(None, None)).shape
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
    power = as_power_w(np.asarray(nominated_w), "nominated_w", shape=(None, None))
    n_days = 0 if history_w is None else np.shape(history_w)[1]
    result = result_arrays(day.out, rule, len(power), n_days, power.shape[1])
    result.baseline_w[:] = power
    result.status[:] = np.where((power == MISSING_W).any(axis=1), GAP, 0)
    result.days_used[:] = False
    return result
