"""Exponential rolling baseline."""

from typing import Any

import numpy.typing as npt

from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import EventDay, Floats, as_mask, usable_days
from flexcore.metering.readings import as_power_w


def exponential(
    rule: BaselineRule,
    history_w: npt.NDArray[Any],
    day: EventDay,
    eligible: npt.ArrayLike | None,
    excluded: npt.ArrayLike | None,
) -> BaselineResult:
    """Let each eligible day move the baseline."""
    from flexcore.kernels.metering import exponential as kernels

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    usable, widened = usable_days(rule, eligible, *history.shape[:2])
    past_out = as_mask(excluded, "excluded", history.shape)

    def family(i0: int, i1: int, raw: Floats, result: BaselineResult) -> None:
        kernels.exponential(
            history, usable, past_out, rule.n_candidates, rule.min_days, rule.weight_ppm,
            i0, i1, raw, result.status, result.days_used,
        )  # fmt: skip
        result.status[i0:i1] |= widened[i0:i1]

    return day.adjusted(rule, history.shape, family)
