"""What the baselines of a computed day rest on, put back together from its tables."""

import json
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.metering.eligibility_rule import EligibilityRule
from flexcore.metering.presets import PRESETS
from flexcore.metering.readings import MISSING_W
from flexcore.settlement.pod_evidence import DayChoice, PodEvidence
from flexcore.settlement.result import Int64s
from flexcore.study.day_evidence import LOST
from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import codes, integers, texts

Table = Any


def tuples(value: Any) -> Any:
    """Return lists of JSON as tuples, at every depth."""
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


def _rule(text: str) -> EligibilityRule:
    known = {field.name for field in fields(EligibilityRule)}
    return EligibilityRule(**{name: tuples(value) for name, value in json.loads(text).items() if name in known})


def _numbers(table: Table, column: str) -> npt.NDArray[np.int32]:
    """Return the elements of a column of lists, one after the other."""
    import pyarrow as pa

    parts = [chunk.flatten() for chunk in table.column(column).chunks] or [pa.array([], pa.int32())]
    return np.asarray(pa.concat_arrays(parts).to_numpy(zero_copy_only=False), np.int32)


def _rows_of(table: Table) -> dict[str, Int64s]:
    """Rows of each POD, in the order of the table."""
    place, names = codes(table, "pod_code")
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(len(names) + 1))
    return {name: order[ends[i] : ends[i + 1]] for i, name in enumerate(names)}


def pod_evidence(run: DayRun, names: Any, metered: Any, event: Any, excluded: Any) -> dict[str, PodEvidence]:
    """Return the evidence of every POD.

    Parameters
    ----------
    run : DayRun
    names : ndarray of str, shape (n_pods,)
    metered : ndarray of int32, shape (n_pods, n_steps)
    event, excluded : ndarray of bool, shape (n_pods, n_steps)
    """
    n = run.day.n_steps
    past, days, about = (run.tables[name] for name in ("past_days", "reference_days", "pod_baselines"))
    dates = texts(past, "date")
    lost = tuple(tuple(text.split(LOST)) if text else () for text in texts(past, "lost"))
    position = {date: i for i, date in enumerate(dates)}
    at = np.array([position[date] for date in texts(days, "date")], np.int64)
    choice, used = integers(days, "choice"), np.asarray(days.column("used").to_numpy(), np.bool_)
    readings = _numbers(days, "metered_w").reshape(-1, n)
    of_pod, nothing = _rows_of(days), np.zeros(0, np.int64)
    rule = _rule(run.tables["settlement_runs"].column("eligibility").to_pylist()[0])
    declared = iter(_numbers(about, "nominated_w").reshape(-1, n))
    # one by one: the lists of those who declared follow each other
    nominated = {row["pod_code"]: next(declared) for row in about.select(["pod_code", "submission"]).to_pylist()
                 if row["submission"]}  # fmt: skip
    said = {row["pod_code"]: row for row in about.drop_columns(["nominated_w"]).to_pylist()}
    found = {}
    for i, pod in enumerate(names.tolist()):
        if pod not in said:
            continue
        rows = of_pod.get(pod, nothing)
        rows = rows[np.argsort(at[rows])]
        looked = None
        if rows.size:
            order = np.zeros(len(dates), np.int64)
            order[at[rows]] = choice[rows]
            history = np.full((len(dates), n), MISSING_W, np.int32)
            history[at[rows]] = readings[rows]
            looked = DayChoice(rule, tuple(dates), tuple(order.tolist()), lost, history)
        taken = rows[used[rows]]
        found[pod] = PodEvidence(
            said[pod]["preset"],
            PRESETS[said[pod]["preset"]],
            event[i],
            excluded[i],
            metered[i],
            tuple(dates[day] for day in at[taken].tolist()),
            readings[taken],
            said[pod]["reading_version"],
            choice=looked,
            nominated_w=nominated.get(pod),
            submission=said[pod]["submission"],
        )
    return found
