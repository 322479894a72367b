"""High, Mid, Low and All X of Y, by mean or median."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array, as_int
from flexcore.chunks import run_chunks
from flexcore.metering.baseline_result import BORROWED, FEWER_DAYS, NO_BASELINE, WIDENED, BaselineResult, result_arrays
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.day_distance import FARTHEST
from flexcore.metering.families.event_day import (
    EventDay,
    Floats,
    adjustment_numbers,
    as_mask,
    need,
    order_of_choice,
)
from flexcore.metering.readings import as_power_w

_CHUNK = 4096  # PODs: some milliseconds, so that handing out the work costs next to nothing
_METHODS = ("high", "mid", "low", "all")
_SCORES = ("event", "day", "given")


def given_scores(values: npt.ArrayLike | None, rule: BaselineRule, full: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return given scores with one row for each POD or one for all, none where the rule does not look at them."""
    if rule.score != "given":
        return np.zeros((0, full[1]), np.int64)
    need(rule, day_score=values)
    array = np.atleast_2d(as_array(cast(npt.ArrayLike, values), "day_score"))
    rows = 1 if len(array) == 1 else full[0]
    return np.asarray(as_int(array, "day_score", shape=(rows, full[1])))


def x_of_y(
    rule: BaselineRule,
    history_w: npt.NDArray[Any],
    day: EventDay,
    eligible: npt.ArrayLike | None,
    excluded: npt.ArrayLike | None,
    day_score: npt.ArrayLike | None,
) -> BaselineResult:
    """Select days and average them."""
    from flexcore.kernels.metering import x_of_y as kernels
    from flexcore.kernels.metering.median import median_of_days

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    n_pods, n_days, n_steps = history.shape
    today, during, today_out = day.arrays(n_pods, n_steps)
    choice = order_of_choice(eligible, (n_pods, n_days))
    given = given_scores(day_score, rule, (n_pods, n_days))
    if (given == FARTHEST).any():  # neither near nor far: not known
        choice = np.where(given == FARTHEST, np.uint8(0), choice)
    low_use = -1 if rule.low_use_ppm is None else rule.low_use_ppm
    past_out = as_mask(excluded, "excluded", (n_pods, n_days, n_steps))
    most = n_days + 1  # asking for more days than there are asks for one too many: room for a look-back is not needed

    def select(i0: int, i1: int, result: BaselineResult) -> None:
        kernels.x_of_y(
            history, today, during, choice, past_out, today_out, given,
            _METHODS.index(rule.method), min(rule.n_candidates, most), min(rule.n_selected, most),
            rule.min_days, _SCORES.index(rule.score),
            low_use, *adjustment_numbers(rule), i0, i1, result.baseline_w, result.status, result.days_used,
        )  # fmt: skip

    def median(i0: int, i1: int, raw: Floats, result: BaselineResult) -> None:
        select(i0, i1, result)
        # what the kernel says of the mean's adjustment and gaps is not true of the median's
        result.status[i0:i1] &= FEWER_DAYS | NO_BASELINE | WIDENED | BORROWED
        median_of_days(history, result.days_used, choice, past_out, i0, i1, raw)

    if rule.statistic == "median":
        return day.adjusted(rule, history.shape, median)
    result = result_arrays(day.out, rule, n_pods, n_days, n_steps)
    run_chunks(lambda i0, i1: select(i0, i1, result), n_pods, n_threads=day.n_threads, chunk=_CHUNK)
    return result
