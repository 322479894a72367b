"""Metering: readings as they arrive, the baseline that would have been, and the volume delivered between the two."""

from flexcore.metering.baseline import BaselineResult, baseline
from flexcore.metering.calendar import Calendar
from flexcore.metering.delivery import delivered_volume, net_by_aggregate
from flexcore.metering.eligibility import Eligibility, count_readings, eligible_days, needed_steps
from flexcore.metering.eligibility_rule import ELIGIBILITY, EligibilityRule, rule_for
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.history import assemble_history
from flexcore.metering.monitoring import (
    Alarms,
    MonitorRun,
    MonitorState,
    MonitorStep,
    monitor_start,
    monitor_step,
    monitor_steps,
    set_points,
)
from flexcore.metering.monitoring import monitor_start, monitor_step, monitor_steps, set_points
from flexcore.metering.monitoring_rules import MONITOR_RULES, MonitorRule
from flexcore.metering.monitoring_state import Alarms, MonitorRun, MonitorState, MonitorStep
from flexcore.metering.batches import baseline_batches
from flexcore.metering.delivery import delivered_volume, net_by_aggregate
from flexcore.metering.importing import correct_readings, import_readings
from flexcore.metering.control_match import draw_controls, match_controls
from flexcore.metering.day_distance import match_day_distance, temperature_distance
from flexcore.metering.delivery import delivered_volume, net_by_aggregate
from flexcore.metering.group_baseline import GroupBaselines, baseline_of_groups, is_linear
from flexcore.metering.nomination import nominate
from flexcore.metering.presets import PRESETS, BaselineRule
from flexcore.metering.reading_files import DayFiles, open_day, write_readings
from flexcore.metering.reading_rows import RowReader
from flexcore.metering.readings import MISSING_W, Readings, collect_readings, day_steps, simulate_readings
from flexcore.metering.stream import BaselineFiles, baseline_files

__all__ = [
    "ELIGIBILITY",
    "MISSING_W",
    "MONITOR_RULES",
    "PRESETS",
    "Alarms",
    "BaselineResult",
    "BaselineRule",
    "Calendar",
    "Eligibility",
    "EligibilityRule",
    "EventRuns",
    "MonitorRule",
    "MonitorRun",
    "MonitorState",
    "MonitorStep",
    "GroupBaselines",
    "Readings",
    "assemble_history",
    "BaselineFiles",
    "BaselineResult",
    "BaselineRule",
    "DayFiles",
    "Readings",
    "RowReader",
    "baseline",
    "baseline_batches",
    "baseline_files",
    "baseline_of_groups",
    "collect_readings",
    "count_readings",
    "day_steps",
    "delivered_volume",
    "eligible_days",
    "needed_steps",
    "draw_controls",
    "is_linear",
    "match_controls",
    "match_day_distance",
    "net_by_aggregate",
    "nominate",
    "rule_for",
    "monitor_start",
    "monitor_step",
    "monitor_steps",
    "net_by_aggregate",
    "nominate",
    "set_points",
    "correct_readings",
    "day_steps",
    "delivered_volume",
    "import_readings",
    "net_by_aggregate",
    "nominate",
    "open_day",
    "simulate_readings",
    "write_readings",
    "temperature_distance",
]
