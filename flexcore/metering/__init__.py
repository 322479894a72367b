"""Metering: readings as they arrive, the baseline that would have been, and the volume delivered between the two."""

from flexcore.metering.accuracy import Accuracy, Screening, accuracy, error_sums, screen
from flexcore.metering.baseline import baseline
from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.batches import baseline_batches
from flexcore.metering.calendar import Calendar
from flexcore.metering.comparison import compare_methods
from flexcore.metering.comparison_result import MethodComparison, Recommendation
from flexcore.metering.control_match import draw_controls, match_controls
from flexcore.metering.correcting import correct_readings
from flexcore.metering.day_distance import MatchDay, match_day_distance, temperature_distance
from flexcore.metering.delivery import delivered_volume, net_by_aggregate
from flexcore.metering.eligibility import Eligibility, count_readings, eligible_days, needed_steps
from flexcore.metering.eligibility_rule import ELIGIBILITY, EligibilityRule, rule_for
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.group_baseline import GroupBaselines, baseline_of_groups, is_linear
from flexcore.metering.history import assemble_history
from flexcore.metering.importing import import_readings
from flexcore.metering.monitoring import (
    monitor_start,
    monitor_step,
    monitor_steps,
    set_points,
)
from flexcore.metering.monitoring_rules import MONITOR_RULES, MonitorRule
from flexcore.metering.monitoring_state import Alarms, MonitorRun, MonitorState, MonitorStep
from flexcore.metering.nomination import nominate
from flexcore.metering.placebo import PlaceboEvents, placebo_events
from flexcore.metering.presets import PRESETS
from flexcore.metering.reading_files import DayFiles, open_day, write_readings
from flexcore.metering.reading_rows import RowReader
from flexcore.metering.readings import MISSING_W, Readings, collect_readings, day_steps, simulate_readings
from flexcore.metering.reference_days import ReferenceDays
from flexcore.metering.stream import BaselineFiles, baseline_files

__all__ = [
    "ELIGIBILITY",
    "MISSING_W",
    "MONITOR_RULES",
    "PRESETS",
    "Accuracy",
    "Alarms",
    "BaselineFiles",
    "BaselineResult",
    "BaselineRule",
    "Calendar",
    "DayFiles",
    "Eligibility",
    "EligibilityRule",
    "EventRuns",
    "GroupBaselines",
    "MatchDay",
    "MethodComparison",
    "MonitorRule",
    "MonitorRun",
    "MonitorState",
    "MonitorStep",
    "PlaceboEvents",
    "Readings",
    "Recommendation",
    "ReferenceDays",
    "RowReader",
    "Screening",
    "accuracy",
    "assemble_history",
    "baseline",
    "baseline_batches",
    "baseline_files",
    "baseline_of_groups",
    "collect_readings",
    "compare_methods",
    "correct_readings",
    "count_readings",
    "day_steps",
    "delivered_volume",
    "draw_controls",
    "eligible_days",
    "error_sums",
    "import_readings",
    "is_linear",
    "match_controls",
    "match_day_distance",
    "monitor_start",
    "monitor_step",
    "monitor_steps",
    "needed_steps",
    "net_by_aggregate",
    "nominate",
    "open_day",
    "placebo_events",
    "rule_for",
    "screen",
    "set_points",
    "simulate_readings",
    "temperature_distance",
    "write_readings",
]
