"""Tables of a day that say what lies behind its settlement: alarms, baselines, reference days, the settlement run."""

import dataclasses
import json
from typing import Any

import numpy as np

from flexcore.market_day import MarketDay
from flexcore.metering.eligibility import WHY
from flexcore.metering.monitoring import monitor_start, monitor_steps
from flexcore.metering.monitoring_state import ALARM_CODES, CHANGE_NAMES, SEVERITY_NAMES
from flexcore.metering.nomination import gate_of
from flexcore.metering.presets import PRESETS
from flexcore.settlement.runs import open_run
from flexcore.study.city import City
from flexcore.study.day_run import DAY_TABLES
from flexcore.study.delivery import Delivery
from flexcore.units import GLOBAL, LOCAL

Table = Any
#: Version of readings that were never issued again.
FIRST_VERSION = "1"
#: Stands between the causes in `past_days.lost`.
LOST = " | "


def evidence_tables(city: City, day: MarketDay, delivery: Delivery) -> dict[str, Table]:
    """Return the tables `alarms`, `pod_baselines`, `past_days`, `reference_days` and `settlement_runs`."""
    import pyarrow as pa

    code, eligible = city.pods.code[delivery.pods], delivery.eligible
    averages = np.array([PRESETS[preset].is_x_of_y for preset in delivery.method.tolist()], np.bool_)
    pod, back = np.nonzero((eligible.choice > 0) & averages[:, np.newaxis])
    dates = np.array([str(past.date) for past in eligible.days])
    declares = delivery.method == "nominated"
    declared = city.nominated_w(day, delivery.pods[declares])
    gate = gate_of(day).isoformat(timespec="minutes")
    sender = city.bsps.id[city.pods.bsp[delivery.pods]]
    sent = [f"{bsp}, before {gate}" if on else "" for bsp, on in zip(sender.tolist(), declares.tolist(), strict=True)]
    # what no POD can use; no past event is simulated, so no day is lost to one POD alone
    lost = np.bitwise_and.reduce(eligible.why, axis=0) if len(eligible.why) else np.zeros(len(dates), np.uint16)
    run = open_run(str(day.date), delivery.settlement)
    terms, rule = (json.dumps(dataclasses.asdict(given), sort_keys=True) for given in (run.result.terms, eligible.rule))
    row = (run.run_id, run.period, run.status, run.cites or "", run.reason, run.result.digest, terms, rule)
    names = DAY_TABLES["settlement_runs"][1]
    return {
        "alarms": _alarms(city, delivery),
        "pod_baselines": pa.table(
            {
                "pod_code": pa.array(code.tolist(), pa.string()),
                "preset": pa.array(delivery.method.tolist(), pa.string()),
                "reading_version": pa.array([FIRST_VERSION] * len(code), pa.string()),
                "submission": pa.array(sent, pa.string()),
                "nominated_w": _lists(declared, day.n_steps * declares),
            }
        ),
        "past_days": pa.table(
            {
                "date": pa.array(dates.tolist(), pa.string()),
                "day_type": pa.array(eligible.day_type, pa.string()),
                "lost": pa.array(
                    [LOST.join(text for bit, text in WHY.items() if bits & bit) for bits in lost.tolist()], pa.string()
                ),
            }
        ),
        "reference_days": pa.table(
            {
                "pod_code": pa.array(code[pod].tolist(), pa.string()),
                "date": pa.array(dates[back].tolist(), pa.string()),
                "choice": eligible.choice[pod, back].astype(np.int64),
                "used": delivery.days_used[pod, back],
                "metered_w": _lists(delivery.history_w[pod, back], np.full(len(pod), day.n_steps)),
            }
        ),
        "settlement_runs": pa.table(
            {name: pa.array([value], pa.string()) for name, value in zip(names, row, strict=True)}
        ),
    }


def _lists(values: Any, lengths: Any) -> Any:
    """Return rows of numbers as lists of these lengths, zero for no row."""
    import pyarrow as pa

    # the name of the field is the one that Parquet gives back
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)),
        pa.array(np.ascontiguousarray(values, np.int32).ravel()),
        type=pa.list_(pa.field("element", pa.int32())),
    )


def _alarms(city: City, delivery: Delivery) -> Table:
    """Monitor the day quarter-hour by quarter-hour, as a platform would have done it live."""
    import pyarrow as pa

    position = delivery.row_pod
    run = monitor_steps(
        monitor_start(len(position), city.aggregates.id.size),
        ordered_w=delivery.orders_w,
        baseline_w=delivery.baseline_w[position],
        metered_w=delivery.metered_w[position],
        aggregate=delivery.row_aggregate,
        direction=delivery.row_direction,
    )
    found = run.alarms
    side = np.full(city.aggregates.id.size, LOCAL)
    side[delivery.row_aggregate[delivery.row_operator == GLOBAL]] = GLOBAL

    def named(names: tuple[str, ...], values: Any) -> Any:
        return pa.array(np.array(names)[values].tolist(), pa.string())

    return pa.table(
        {
            "operator": named(("local", "global"), side[found.aggregate]),
            "aggregate": pa.array(city.aggregates.id[found.aggregate].tolist(), pa.string()),
            "bsp": pa.array(city.bsps.id[city.aggregates.bsp[found.aggregate]].tolist(), pa.string()),
            "direction": named(("up", "down"), found.direction),
            "step": found.step.astype(np.int32),
            "event_step": found.event_step,
            "code": named(ALARM_CODES, found.code),
            "severity": named(SEVERITY_NAMES, found.severity),
            "change": named(CHANGE_NAMES, found.change),
            "ordered_w": found.ordered_w,
            "delivered_w": found.delivered_w,
            "event_ratio": found.event_ratio_ppm / 1e6,
            "short_wqh": found.short_wqh,
            "projected_wqh": found.projected_wqh,
            "n_pods": found.n_pods,
            "n_missing": found.n_missing,
            "n_silent": found.n_silent,
        }
    )
