"""Regression on degree hours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_float
from flexcore.errors import Findings, ValidationError
from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import EventDay, Floats, as_mask, usable_days
from flexcore.metering.families.reference_profile import as_rows
from flexcore.metering.readings import Int32s, as_power_w

#: Degrees beyond which the sums of the regression would not be exact. [hundredths of a degree]
MOST_C100 = 16_383


@dataclass(frozen=True, slots=True)
class Weather:
    """Arguments of `baseline` that speak of temperature and day type, as they came."""

    temperature_c: npt.ArrayLike
    today_temperature_c: npt.ArrayLike
    zone: npt.ArrayLike | None
    day_off: npt.ArrayLike | None
    today_off: bool


def hundredths(values: npt.ArrayLike, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return temperatures in whole hundredths of a degree, and where they are missing (NaN)."""
    degrees = as_float(values, name, finite=False)
    missing = np.isnan(degrees)
    with np.errstate(over="ignore"):
        whole = np.rint(np.where(missing, 0.0, degrees) * 100.0)
    beyond = abs(whole) > 10_000
    if beyond.any():
        found = Findings(name)
        rows = np.unique(np.nonzero(np.atleast_1d(beyond))[0])
        largest = degrees.flat[abs(whole).argmax()]
        found.add("FX-B032", f"{name} reaches {largest} degrees Celsius", field=name, rows=rows)
        found.raise_errors(ValidationError)
    return whole.astype(np.int64), np.asarray(missing)


def _degrees(values: npt.ArrayLike, name: str, shape: tuple[int, ...], rule: BaselineRule) -> tuple[Int32s, Int32s]:
    """Cooling and heating degrees of each zone in hundredths, -1 where the temperature is missing."""
    whole, missing = hundredths(values, name)
    if whole.ndim == len(shape):
        whole, missing = whole[np.newaxis], missing[np.newaxis]
    found = Findings(name)
    if whole.shape[1:] != shape or not len(whole):
        found.add("FX-A001", f"{name} has shape {np.shape(values)}, expected {shape} or (n_zones, ...)")
    found.raise_errors()
    cooling = np.maximum(whole - rule.cooling_above_c100, 0)
    heating = np.maximum(rule.heating_below_c100 - whole, 0)
    if max(cooling.max(initial=0), heating.max(initial=0)) > MOST_C100:
        found.add("FX-B032", f"{name} lies more than {MOST_C100 / 100} degrees from a base of the rule", field=name)
    found.raise_errors(ValidationError)
    return np.where(missing, -1, cooling).astype(np.int32), np.where(missing, -1, heating).astype(np.int32)


def regression(
    rule: BaselineRule,
    history_w: npt.NDArray[Any],
    weather: Weather,
    day: EventDay,
    eligible: npt.ArrayLike | None,
    excluded: npt.ArrayLike | None,
) -> BaselineResult:
    """Fit each POD by itself, and put today's temperatures in."""
    from flexcore.kernels.metering import regression as kernels

    history = as_power_w(history_w, "history_w", shape=(None, None, None))
    n_pods, n_days, n_steps = history.shape
    usable, widened = usable_days(rule, eligible, n_pods, n_days)
    past_out = as_mask(excluded, "excluded", history.shape)
    past = _degrees(weather.temperature_c, "temperature_c", (n_days, n_steps), rule)
    now = _degrees(weather.today_temperature_c, "today_temperature_c", (n_steps,), rule)
    if len(past[0]) != len(now[0]):
        found = Findings("today_temperature_c")
        found.add("FX-A001", f"temperature_c has {len(past[0])} zones, today_temperature_c {len(now[0])}")
        found.raise_errors()
    zone = np.zeros(n_pods, np.int64) if weather.zone is None else as_rows(weather.zone, "zone", len(now[0]))
    if len(zone) != n_pods:
        found = Findings("zone")
        found.add("FX-A001", f"zone has {len(zone)} entries for {n_pods} PODs")
        found.raise_errors()
    off = as_mask(np.zeros(n_days, np.bool_) if weather.day_off is None else weather.day_off, "day_off", (1, n_days))
    kinds = np.ascontiguousarray(off[0].astype(np.int8))

    off_today = int(as_bool(weather.today_off, "today_off", shape=()).item())

    n_zones, n_levels = len(past[0]), -(-n_steps // rule.level_steps)
    sums, whole = np.empty((n_zones, n_days, 6 * n_levels), np.int64), np.empty((n_zones, n_days), np.bool_)
    kernels.degree_sums(*past, rule.level_steps, 0, n_zones, sums, whole)

    def family(i0: int, i1: int, raw: Floats, result: BaselineResult) -> None:
        kernels.regression(
            history, usable, past_out, *past, sums, whole, kinds, *now, off_today, zone,
            rule.n_candidates, rule.min_days, rule.level_steps, i0, i1, raw, result.status, result.days_used,
        )  # fmt: skip
        result.status[i0:i1] |= widened[i0:i1]

    return day.adjusted(rule, history.shape, family)
