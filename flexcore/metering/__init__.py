"""Metering: readings as they arrive, the baseline that would have been, and the volume delivered between the two."""

from flexcore.metering.baseline import BaselineResult, baseline
from flexcore.metering.delivery import delivered_volume, net_by_aggregate
from flexcore.metering.nomination import nominate
from flexcore.metering.presets import PRESETS, BaselineRule
from flexcore.metering.readings import MISSING_W, Readings, collect_readings, day_steps, simulate_readings

__all__ = [
    "MISSING_W",
    "PRESETS",
    "BaselineResult",
    "BaselineRule",
    "Readings",
    "baseline",
    "collect_readings",
    "day_steps",
    "delivered_volume",
    "net_by_aggregate",
    "nominate",
    "simulate_readings",
]
