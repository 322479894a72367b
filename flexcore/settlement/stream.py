"""The settlement of a city day from files: readings to baselines, delivered volumes, lines and shares of PODs."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import check_option
from flexcore.market_day import MarketDay
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.day_distance import MatchDay
from flexcore.metering.eligibility import Eligibility
from flexcore.metering.reading_layout import Paths, refuse
from flexcore.metering.reference_days import ReferenceDays
from flexcore.metering.result_folders import read_manifest, temporary_folder
from flexcore.metering.stream import Progress
from flexcore.metering.stream_arguments import FamilyArguments
from flexcore.metering.stream_inputs import StreamInputs, open_inputs
from flexcore.settlement import amounts
from flexcore.settlement.book import checked_units, need_price
from flexcore.settlement.earlier_run import run_inputs, take_over
from flexcore.settlement.estimated_orders import estimated_orders
from flexcore.settlement.order_rows import order_rows
from flexcore.settlement.ordered import Ordered, Places, compute_by_workers, compute_ordered
from flexcore.settlement.partition import Held, SparseRows, settle_sparse
from flexcore.settlement.remuneration import named_terms
from flexcore.settlement.result import Int64s, PodLines, SettlementLines, SettlementResult, SettlementTotals
from flexcore.settlement.run_files import RunWriter, publish_run, read_lines, read_pod_lines
from flexcore.settlement.terms import SettlementTerms


@dataclass(frozen=True, slots=True, eq=False)
class SettlementFiles:
    """A settlement of a day from files.

    Attributes
    ----------
    totals : SettlementTotals
    terms : SettlementTerms
    digest : str
        That of `settle` for the rows that have orders, in the order (POD, operator, aggregate, direction).
    n_lines, n_pod_lines : int
    n_computed : int
        Rows whose baseline was computed; the others were taken over from the run that is cited.
    pods : pyarrow.Array
        Key of the POD of each row.
    status : ndarray of uint8, shape (n_rows,)
        Status of the baseline of each row (`metering.baseline.STATUS`).
    files : tuple of str
        What was written: lines, POD lines and totals.
    """

    totals: SettlementTotals
    terms: SettlementTerms
    digest: str
    n_lines: int
    n_pod_lines: int
    n_computed: int
    pods: Any
    status: npt.NDArray[np.uint8]
    files: tuple[str, ...]
    _number: Int64s  # of the POD of each row, in `pod_lines`
    _held: tuple[SettlementLines, PodLines] | None  # None where they were written

    @property
    def lines(self) -> SettlementLines:
        """Lines; read again from `files` where they were written, each time they are asked for.

        Raises
        ------
        SettlementError
            FX-S061 if they cannot be read.
        """
        return self._held[0] if self._held is not None else read_lines(self.files[0])

    @property
    def pod_lines(self) -> PodLines:
        """Shares of the PODs, as `lines`."""
        return self._held[1] if self._held is not None else read_pod_lines(self.files[1], self._number)

    @property
    def result(self) -> SettlementResult:
        """What `settle` gives, POD lines included: a run of all of them in memory, about 80 bytes each."""
        return SettlementResult(self.lines, self.pod_lines, self.totals, self.terms, self.digest)


def settle_files(
    orders: Any,
    history: Sequence[Paths],
    today: Paths,
    terms: str | SettlementTerms,
    *,
    preset: str | BaselineRule = "caiso_10_in_10",
    eligible: npt.ArrayLike | Eligibility | ReferenceDays | None = None,
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    day_score: npt.ArrayLike | MatchDay | None = None,
    nominated_w: npt.ArrayLike | Paths | None = None,
    reference_w: npt.ArrayLike | None = None,
    reference_of: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
    temperature_c: npt.ArrayLike | None = None,
    today_temperature_c: npt.ArrayLike | None = None,
    zone: npt.ArrayLike | None = None,
    day_off: npt.ArrayLike | None = None,
    today_off: bool = False,
    control_w: npt.ArrayLike | None = None,
    control_of: npt.ArrayLike | None = None,
    control_event: npt.ArrayLike | None = None,
    control_excluded: npt.ArrayLike | None = None,
    touched: Any = None,
    unit_of_step: npt.ArrayLike | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
    out: str | os.PathLike[str] | None = None,
    cites: str | os.PathLike[str] | None = None,
    reason: str = "",
    parts: int | None = None,
    executor: Executor | None = None,
    n_threads: int = 1,
    verify: bool = False,
    progress: Progress | None = None,
) -> SettlementFiles:
    """Settle a city day: readings from files, orders as a table; the same as `baseline` and then `settle` in memory.

    Parameters
    ----------
    orders : table
        Columns of the table `orders`: POD, operator, aggregate, direction, step, power and, if orders have prices of
        their own, price.
    history, today, preset, eligible, excluded, today_excluded, day_score, nominated_w, reference_w, reference_of, \
units, temperature_c, today_temperature_c, zone, day_off, today_off, control_w, control_of, control_event, \
control_excluded, touched, verify, progress
        As in `flexcore.baseline_files`. Ordered quarter-hours of the day, by either operator, are its events.
    terms, unit_of_step, missing
        As in `settle`: penalties are those of the day in full, before a cap of the period.
    out : path, optional
        Folder for `lines.parquet`, `pod_lines.parquet` and `totals.parquet`; it appears when it is whole, and the same
        settlement again leaves it as it is. POD lines are written group by group.
    cites : path, optional
        Folder of the run of the day that this one corrects; its digest is kept in the manifest. A run that comes out as
        the one it would correct cites nothing. Readings and baselines of orders that follow from the same readings and
        arguments are taken over from it, unless `verify` asks for everything to be read.
    reason : str
        Why it was corrected.
    parts, executor : optional
        As in `flexcore.baseline_files`: where baselines are computed, and in how many pieces.
    n_threads : int

    Returns
    -------
    SettlementFiles

    Raises
    ------
    SettlementError
        As `settle`; FX-S004 also where an order is given twice; FX-S090 a reason without `cites`.
    FileError
        As `baseline_files`; FX-S030 `cites` holds no settlement of the day, FX-S080 what it kept of its inputs is
        damaged.
    ValidationError
        FX-A001 to FX-A010 the table of orders, FX-B003 an order of a POD without readings, FX-M203 a step outside the
        day.

    Notes
    -----
    Memory holds the orders and, for each of them, reading and baseline; and the rows of some groups at a time. Lines
    and POD lines, 140 and 80 bytes each, are held only without `out`. A group with very many PODs is dense at once,
    with a column for each quarter-hour of the day in which it has an order.

    Readings that the files of the day mark as estimated are credited up to their orders, as `settle` does with
    `estimated`; marks in the files of past days change nothing.
    """
    terms = named_terms(terms)
    check_option("missing", missing, ("refuse", "zero"))
    if reason and cites is None:
        hint = "name the folder of that run as well: cites=, or --cites"
        amounts.refuse("FX-S090", "a reason is given, but no run that is corrected", field="reason", hint=hint)
    if executor is not None and out is None:
        refuse("FX-B069", "an executor needs a folder to write to", field="out", hint="pass out=, or n_threads=")
    cited = None if cites is None else read_manifest(cites)
    families = FamilyArguments(
        day_score=day_score, nominated_w=nominated_w, reference_w=reference_w, reference_of=reference_of, units=units,
        temperature_c=temperature_c, today_temperature_c=today_temperature_c, zone=zone, day_off=day_off,
        today_off=today_off, control_w=control_w, control_of=control_of, control_event=control_event,
        control_excluded=control_excluded,
    )  # fmt: skip
    inputs, pods = open_inputs(
        history, today, None, preset=preset, eligible=eligible, excluded=excluded, today_excluded=today_excluded,
        families=families, touched=touched, verify=verify, n_threads=n_threads,
    )  # fmt: skip
    day = inputs.today.day
    if cited is not None:
        _check_day(cited, day, os.fspath(cites or ""))
    unit = checked_units(day.hour_of_step if unit_of_step is None else unit_of_step, day.n_steps)
    rows = order_rows(orders, pods, day.n_steps)
    if len(rows.step):
        need_price(rows.price, terms)
    inputs = replace(inputs, ordered=rows.events())
    places = Places(rows.place, rows.ptr, rows.step)
    described = run_inputs(inputs, pods, places) if out is not None or cited is not None else None
    compute = partial(
        _compute, out=out, parts=parts or n_threads, executor=executor, n_threads=n_threads, progress=progress
    )
    earlier = None
    if cited is not None and described is not None and not verify:
        earlier = take_over(cites or "", cited, described, pods, places, n_threads)
    if earlier is None:
        ordered, n_computed = compute(inputs, places), len(places.place)
    else:
        ordered, again = earlier
        todo, orders_again = places.chosen(again)
        ordered.put(orders_again, again, compute(inputs, todo))
        n_computed = len(again)
    flags = estimated_orders(inputs.today, rows)
    del inputs
    keys = pods.take(rows.place)
    number = np.asarray(keys) if str(keys.type) == "int64" else rows.place
    sparse = SparseRows(rows, ordered.power, ordered.metered, number, unit, flags, keys)
    files: tuple[str, ...] = ()
    held: tuple[SettlementLines, PodLines] | None = None
    if out is None:
        parts_held = Held(sparse)
        settled = settle_sparse(sparse, terms, missing, n_threads=n_threads, take=parts_held.append)
        held = parts_held.tables()
    else:
        with temporary_folder(out) as folder:
            with RunWriter(folder, keys) as writer:
                settled = settle_sparse(sparse, terms, missing, n_threads=n_threads, take=writer.append)
            about = {"digest": settled.digest, "date": str(day.date), "tz": day.tz, "n_lines": settled.n_lines}
            if str(keys.type) != "int64":
                # the digest of `settle` holds the places of these PODs, not their names
                about["pods"] = hashlib.sha256(json.dumps(keys.to_pylist()).encode()).hexdigest()
            if cited is not None and any(cited.get(name) != value for name, value in about.items()):
                about |= {"cites": cited["digest"], "reason": reason}
            if described is not None:
                about["inputs"] = described.kept(folder, ordered)
            files = publish_run(folder, out, settled.totals, about)
    return SettlementFiles(
        settled.totals, terms, settled.digest, settled.n_lines, settled.n_pod_lines, n_computed, keys,
        ordered.status, files, number, held,
    )  # fmt: skip


def _check_day(cited: dict[str, Any], day: MarketDay, name: str) -> None:
    """Raise FX-S030 unless a manifest is that of a settlement of the day."""
    if not {"digest", "n_lines"} <= cited.keys() or (cited.get("date"), cited.get("tz")) != (str(day.date), day.tz):
        refuse("FX-S030", f"{name} holds no settlement of {day.date}, {day.tz}", field="cites", ids=[name])


def _compute(
    inputs: StreamInputs,
    places: Places,
    *,
    out: str | os.PathLike[str] | None,
    parts: int,
    executor: Executor | None,
    n_threads: int,
    progress: Progress | None,
) -> Ordered:
    """Compute reading and baseline of each order, here or by an executor."""
    if executor is None or out is None:
        return compute_ordered(inputs, places, n_threads, progress)
    with temporary_folder(out) as scratch:
        return compute_by_workers(inputs, places, executor, parts, scratch, progress)
