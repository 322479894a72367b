"""Statements of a computed day: its tables put back into a settled day, and pages written for BSPs and PODs."""

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.errors import Findings, SettlementError
from flexcore.settlement.result import (
    Columns,
    Int64s,
    PodLines,
    SettlementLines,
    SettlementResult,
    SettlementTotals,
)
from flexcore.settlement.runs import SettlementRun
from flexcore.settlement.statement import bsp_statement, pod_statement
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.terms import SettlementTerms
from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import codes, directions, integers, operators, texts
from flexcore.study.run_evidence import pod_evidence, tuples
from flexcore.units import GLOBAL, LOCAL

Table = Any


def settled_day(run: DayRun) -> SettledDay:
    """Put the settlement of a computed day back together from its tables.

    Parameters
    ----------
    run : DayRun
        A computed day, or one that `read_run` has read.

    Returns
    -------
    SettledDay
        With the evidence of every POD; rows in the order (operator, direction, POD).

    Raises
    ------
    SettlementError
        FX-S042 if the run holds no settlement.
    """
    table = run.tables
    if not table["settlement_runs"].num_rows or not table["settlement_lines"].num_rows:
        found = Findings("run")
        found.add("FX-S042", "the run holds no settlement: nothing was ordered", hint="choose a day with orders")
        found.raise_errors(SettlementError)
    about = table["settlement_runs"].to_pylist()[0]
    n = run.day.n_steps
    position, pod_ids = codes(table["pod_day"], "pod_code")
    names = np.array(pod_ids)
    by_pod = np.argsort(position * n + integers(table["pod_day"], "step"), kind="stable")

    def grid(name: str) -> Int64s:
        return integers(table["pod_day"], name)[by_pod].reshape(-1, n)

    baseline, metered = grid("baseline_w").astype(np.int32), grid("metered_w").astype(np.int32)
    orders = np.stack([grid("ordered_up_w"), grid("ordered_down_w")])
    side = operators(table["pod_day"])[by_pod].reshape(-1, n)
    of_side = np.stack([np.where(side == operator, orders, 0) for operator in (LOCAL, GLOBAL)])
    operator, direction, pod = np.nonzero(of_side.any(axis=3))
    aggregate_place, aggregate_ids = codes(table["aggregates"], "aggregate")
    owner_place, bsp_ids = codes(table["aggregates"], "bsp")
    owner = np.zeros(len(aggregate_ids), np.int64)
    owner[aggregate_place] = owner_place
    lines, line_keys = _lines(table["settlement_lines"], aggregate_ids)
    # a row is found by what it is: operator, direction, POD
    rows = {key: i for i, key in enumerate(zip(operator.tolist(), direction.tolist(), pod.tolist(), strict=True))}
    shares = _shares(table["settlement_pods"], pod_ids, rows, line_keys)
    row_aggregate = np.zeros(len(pod), np.int64)
    row_aggregate[shares.row] = lines.aggregate[shares.line]
    price = np.zeros((len(pod), 1), np.int64)
    price[shares.row, 0] = integers(table["settlement_pods"], "price_ueur_per_mwh")
    terms = _terms(about["terms"])
    result = SettlementResult(lines, shares, _totals(lines), terms, about["digest"])
    settled = SettlementRun(
        about["run_id"], about["period"], result, about["status"], about["cites"] or None, about["reason"]
    )
    return SettledDay(
        run.day,
        settled,
        of_side[operator, direction, pod].astype(np.int32),
        baseline[pod],
        metered[pod],
        operator.astype(np.int8),
        direction.astype(np.int8),
        row_aggregate,
        price,
        names[pod],
        run.day.hour_of_step,
        np.array(aggregate_ids),
        np.array(bsp_ids),
        owner,
        pod_evidence(run, names, metered, orders.any(axis=0), grid("excluded").astype(np.bool_)),
    )


def _columns(kind: type[Columns], table: Table, given: dict[str, Any]) -> dict[str, Any]:
    """Columns of a result by name."""
    return {
        field.name: given[field.name] if field.name in given else integers(table, field.name) for field in fields(kind)
    }


def _lines(table: Table, aggregate_ids: list[str]) -> tuple[SettlementLines, dict[tuple[Any, ...], int]]:
    place = {name: i for i, name in enumerate(aggregate_ids)}
    given: dict[str, Any] = {
        "operator": operators(table).astype(np.int8),
        "aggregate": np.array([place[name] for name in texts(table, "aggregate")], np.int64),
        "direction": directions(table).astype(np.int8),
        "unit": integers(table, "hour"),
    }
    keys = zip(
        given["operator"].tolist(), texts(table, "aggregate"), given["direction"].tolist(), given["unit"].tolist(),
        strict=True,
    )  # fmt: skip
    lines = SettlementLines(**_columns(SettlementLines, table, given))
    return lines, {key: i for i, key in enumerate(keys)}


def _shares(
    table: Table, pod_ids: list[str], rows: dict[tuple[int, int, int], int], line_keys: dict[tuple[Any, ...], int]
) -> PodLines:
    place = {name: i for i, name in enumerate(pod_ids)}
    pod = [place[name] for name in texts(table, "pod_code")]
    operator, direction = operators(table).tolist(), directions(table).tolist()
    hour = integers(table, "hour").tolist()
    line = [line_keys[key] for key in zip(operator, texts(table, "aggregate"), direction, hour, strict=True)]
    row = [rows[key] for key in zip(operator, direction, pod, strict=True)]
    rank = np.argsort(np.argsort(np.array(pod_ids)))
    given = {
        "line": np.array(line, np.int64),
        "row": np.array(row, np.int64),
        "pod": rank[np.array(pod, np.int64)],
    }
    return PodLines(**_columns(PodLines, table, given))


def _totals(lines: SettlementLines) -> SettlementTotals:
    side = np.array([LOCAL, GLOBAL], np.int8)
    names = [field.name for field in fields(SettlementTotals) if field.name != "operator"]
    sums = {
        name: np.array([getattr(lines, name)[lines.operator == operator].sum() for operator in side], np.int64)
        for name in names
    }
    return SettlementTotals(side, **sums)


def _terms(text: str) -> SettlementTerms:
    known = {field.name for field in fields(SettlementTerms)}
    return SettlementTerms(**{name: tuples(value) for name, value in json.loads(text).items() if name in known})


def example_pod(day: SettledDay) -> str:
    """Return the POD with the most ordered energy among those whose baseline rests on past days, else among all."""
    shares = day.run.result.pod_lines
    ids = day.row_pod_id[shares.row]
    names, place = np.unique(ids, return_inverse=True)
    energy = np.zeros(len(names), np.int64)
    np.add.at(energy, place.ravel(), shares.ordered_wqh)
    rank = sorted(range(len(names)), key=lambda i: (-int(energy[i]), names[i]))
    with_days = [i for i in rank if names[i] in day.evidence and day.evidence[names[i]].dates]
    return str(names[(with_days or rank)[0]])


def file_name(name: str, taken: set[str]) -> str:
    """Return a file name for an id: letters, digits, '.', '_' and '-' as they are, the rest as '_', and none twice.

    An id that had to be changed gets a mark of its own: it keeps its file, and another call takes none of another id.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".")[:80] or "_"
    if stem != name:
        stem += f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    chosen, i = stem, 2
    while chosen.lower() in taken:
        chosen, i = f"{stem}-{i}", i + 1
    taken.add(chosen.lower())
    return f"{chosen}.html"


def write_statements(
    run: DayRun, folder: str | Path, *, bsps: list[str] | None = None, pods: list[str] | None = None
) -> list[Path]:
    """Write statements of a computed day as pages that need no network.

    Parameters
    ----------
    run : DayRun
    folder : str or Path
        Made if it is not there.
    bsps, pods : list of str, optional
        Ids; without either, every BSP that has lines, and the POD of `example_pod`.

    Returns
    -------
    list of Path
        The files, one for each statement; none where nothing was settled and nobody is named.

    Raises
    ------
    SettlementError
        FX-S040 an id without lines, FX-S042 ids are named and the run holds no settlement.
    """
    from flexcore.study.report.statement import write_bsp_statement
    from flexcore.study.report.statement_pod import write_pod_statement

    if bsps is None and pods is None and not run.tables["settlement_lines"].num_rows:
        return []
    day = settled_day(run)
    if bsps is None and pods is None:
        owner = day.bsp_of_aggregate[day.run.result.lines.aggregate]
        bsps, pods = sorted(day.bsp_ids[np.unique(owner)].tolist()), [example_pod(day)]
    target, taken = Path(folder), set[str]()
    # all are drawn before any is written: an unknown id leaves no file behind
    of_bsps = [bsp_statement(day, bsp) for bsp in dict.fromkeys(bsps or ())]
    of_pods = [pod_statement(day, pod) for pod in dict.fromkeys(pods or ())]
    files = [write_bsp_statement(one, target / file_name(one.bsp, taken)) for one in of_bsps]
    return [*files, *(write_pod_statement(one, target / file_name(one.pod, taken)) for one in of_pods)]
