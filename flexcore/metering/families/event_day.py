"""What every family knows of the event day, and the same-day adjustment that families other than X of Y end with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_array
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, ValidationError
from flexcore.metering.baseline_result import WIDENED, BaselineResult, result_arrays
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.readings import Bools, Int32s, as_power_w

Floats = npt.NDArray[np.float64]

CHUNK = 512  # PODs: ten reference days of them fit the second-level cache and take about a millisecond
ADJUSTMENTS = ("none", "additive", "multiplicative")
_HINT = "give it, or choose a preset that does without"


def as_mask(values: npt.ArrayLike | None, name: str, full: tuple[int, ...]) -> Bools:
    """Return a mask with one row for each POD, one for all PODs, or none where it is not given."""
    if values is None:
        return np.zeros((0, *full[1:]), np.bool_)
    array = as_array(values, name)
    if array.ndim == len(full) - 1:
        array = array[np.newaxis]
    found = Findings(name)
    if array.dtype != np.bool_:
        found.add("FX-A002", f"{name} has type {array.dtype}, expected bool")
    elif array.shape not in (full, (1, *full[1:])):
        found.add("FX-A001", f"{name} has shape {np.shape(values)}, expected {full} or {full[1:]}")
    found.raise_errors()
    return np.ascontiguousarray(array)


def order_of_choice(values: npt.ArrayLike | None, full: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the order of choice with one row for each POD or one for all; a mask is first choice or never."""
    if values is None:
        return np.ones((1, full[1]), np.uint8)
    array = as_array(values, "eligible")
    if array.dtype != np.uint8:
        return as_mask(array, "eligible", full).view(np.uint8)
    if array.shape not in (full, (1, full[1]), full[1:]):
        found = Findings("eligible")
        found.add("FX-A001", f"eligible has shape {array.shape}, expected {full} or {full[1:]}")
        found.raise_errors()
    return np.ascontiguousarray(array if array.ndim == 2 else array[np.newaxis])


def usable_days(
    rule: BaselineRule, eligible: npt.ArrayLike | None, n_pods: int, n_days: int
) -> tuple[Bools, npt.NDArray[np.uint8]]:
    """Days of the first choice, with the widened look-back where they are fewer than `min_days`, and the status bit."""
    choice = order_of_choice(eligible, (n_pods, n_days))
    first, second = choice == 1, choice == 2
    widened = (first.sum(axis=1) < rule.min_days) & second.any(axis=1)
    bits = np.broadcast_to(widened * np.uint8(WIDENED), n_pods)
    return np.ascontiguousarray(first | second & widened[:, np.newaxis]), bits


def need(rule: BaselineRule, **given: object) -> None:
    """Refuse by FX-B006 what a method needs and was not given."""
    found = Findings("baseline")
    for name, value in given.items():
        if value is None:
            hint = "past days, oldest first; of files those before the event day" if name == "history_w" else _HINT
            found.add("FX-B006", f"method {rule.method!r} needs {name}", field=name, hint=hint)
    found.raise_errors(ValidationError)


@dataclass(frozen=True, slots=True)
class EventDay:
    """Arguments of `baseline` that speak of the event day, as they came, and how to run."""

    today_w: npt.ArrayLike | None
    event: npt.ArrayLike | None
    today_excluded: npt.ArrayLike | None
    n_threads: int
    out: BaselineResult | None

    def arrays(self, n_pods: int, n_steps: int) -> tuple[Int32s, Bools, Bools]:
        """Return readings, events and exclusions of the day; without rows where not given."""
        today: Any = np.empty((0, n_steps), np.int32)
        if self.today_w is not None:
            today = as_power_w(self.today_w, "today_w", shape=(n_pods, n_steps))
        during = as_mask(self.event, "event", (n_pods, n_steps))
        return today, during, as_mask(self.today_excluded, "today_excluded", (n_pods, n_steps))

    def adjusted(
        self,
        rule: BaselineRule,
        shape: tuple[int, int, int],
        family: Callable[[int, int, Floats, BaselineResult], None],
    ) -> BaselineResult:
        """Run a family and the same-day adjustment chunk by chunk; `shape` is (n_pods, n_days, n_steps).

        `family(i0, i1, raw, result)` writes the baseline before adjustment to `raw`, whose row 0 is POD i0, and status
        and days of PODs i0..i1 to `result`.
        """
        from flexcore.kernels.metering.adjustment import adjust

        n_pods, n_days, n_steps = shape
        today, during, today_out = self.arrays(n_pods, n_steps)
        result = result_arrays(self.out, rule, n_pods, n_days, n_steps)

        def task(i0: int, i1: int) -> None:
            raw = np.empty((i1 - i0, n_steps), np.float64)
            family(i0, i1, raw, result)
            adjust(raw, today, during, today_out, *adjustment_numbers(rule), i0, i1, result.baseline_w, result.status)

        run_chunks(task, n_pods, n_threads=self.n_threads, chunk=CHUNK)
        return result


def adjustment_numbers(rule: BaselineRule) -> tuple[int, int, int, int, int, float, float]:
    """Give the numbers of the same-day adjustment in the order in which kernels take them; a cap of -1 is none."""
    cap = -1 if rule.cap_w is None else rule.cap_w
    bounds = rule.ratio_ppm[0] / 1_000_000, rule.ratio_ppm[1] / 1_000_000
    return ADJUSTMENTS.index(rule.adjustment), rule.window_steps, rule.lead_steps, rule.guard_w, cap, *bounds
