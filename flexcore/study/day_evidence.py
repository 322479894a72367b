"""Tables of a day that say what lies behind its settlement: alarms, baselines, reference days, the settlement run."""

import dataclasses
import json
from typing import Any

import numpy as np

from flexcore.market_day import MarketDay
from flexcore.metering.monitoring import monitor_start, monitor_steps
from flexcore.metering.monitoring_state import ALARM_CODES, CHANGE_NAMES, SEVERITY_NAMES
from flexcore.settlement.runs import open_run
from flexcore.study.city import City
from flexcore.study.day_run import DAY_TABLES
from flexcore.study.delivery import Delivery
from flexcore.units import GLOBAL, LOCAL

Table = Any
#: Version of readings that were never issued again.
FIRST_VERSION = "1"


def evidence_tables(city: City, day: MarketDay, delivery: Delivery) -> dict[str, Table]:
    """Return the tables `alarms`, `pod_baselines`, `reference_days` and `settlement_runs`."""
    import pyarrow as pa

    code = city.pods.code[delivery.pods]
    pod, back = np.nonzero(delivery.days_used)
    dates = np.array([str(past.date) for past in delivery.past_days])
    readings = np.ascontiguousarray(delivery.history_w[pod, back])
    # the name of the field is the one that Parquet gives back
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(0, readings.size + 1, day.n_steps, dtype=np.int32)),
        pa.array(readings.ravel()),
        type=pa.list_(pa.field("element", pa.int32())),
    )
    run = open_run(str(day.date), delivery.settlement)
    terms = json.dumps(dataclasses.asdict(run.result.terms), sort_keys=True)
    row = (run.run_id, run.period, run.status, run.cites or "", run.reason, run.result.digest, terms)
    names = DAY_TABLES["settlement_runs"][1]
    return {
        "alarms": _alarms(city, delivery),
        "pod_baselines": pa.table(
            {
                "pod_code": pa.array(code.tolist(), pa.string()),
                "preset": pa.array(delivery.method.tolist(), pa.string()),
                "reading_version": pa.array([FIRST_VERSION] * len(code), pa.string()),
            }
        ),
        "reference_days": pa.table(
            {
                "pod_code": pa.array(code[pod].tolist(), pa.string()),
                "date": pa.array(dates[back].tolist(), pa.string()),
                "metered_w": lists,
            }
        ),
        "settlement_runs": pa.table(
            {name: pa.array([value], pa.string()) for name, value in zip(names, row, strict=True)}
        ),
    }


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
