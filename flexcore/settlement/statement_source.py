"""What a statement is drawn from: a settled day with the rows that were settled, names, and what lies behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, SettlementError
from flexcore.market_day import MarketDay
from flexcore.metering.reading_files import DayFiles, open_day
from flexcore.metering.reading_layout import GROUP_ROWS, Paths, refuse
from flexcore.metering.reading_rows import RowReader
from flexcore.metering.readings import Bools, Int32s
from flexcore.metering.stream import BaselineFiles
from flexcore.settlement.book import checked_units
from flexcore.settlement.estimated_orders import estimated_orders
from flexcore.settlement.order_rows import order_rows
from flexcore.settlement.period import PeriodSettlement
from flexcore.settlement.pod_evidence import PodEvidence
from flexcore.settlement.result import Int8s, Int64s, SettlementResult
from flexcore.settlement.runs import SettlementRun

Names = npt.NDArray[np.str_]
_MOST_AGGREGATES = 1 << 24  # their numbers are positions in `aggregate_ids`


def _rows(files: DayFiles, place: Int64s) -> Int32s:
    """Read some rows of a day, ascending and perhaps repeated, as much as a row group at a time."""
    out = np.empty((len(place), files.day.n_steps), np.int32)
    with RowReader(files) as reader:
        for lo in range(0, files.n_pods, GROUP_ROWS):
            hi = min(lo + GROUP_ROWS, files.n_pods)
            a, b = np.searchsorted(place, (lo, hi))
            if a < b:
                block = np.empty((hi - lo, files.day.n_steps), np.int32)
                reader.read(lo, hi, block)
                out[a:b] = block[place[a:b] - lo]
    return out


def _baseline_rows(baseline: BaselineFiles | Paths, today: DayFiles, place: Int64s) -> Int32s:
    """Return the baselines of some rows, after looking whether they are baselines of these PODs."""
    held = baseline.baseline_w if isinstance(baseline, BaselineFiles) else None
    if isinstance(baseline, BaselineFiles) and held is not None:
        name, day, pods = "baseline", baseline.day, baseline.pods
    else:
        files = open_day(baseline.files if isinstance(baseline, BaselineFiles) else baseline)
        name, day, pods = files.files[0].path, files.day, files.pods()
        if any(file.kind != "baseline" for file in files.files):
            refuse("FX-B061", f"{name} holds no baselines", ids=[name], hint="baseline_files(..., out=) writes them")
    if day != today.day or not pods.equals(today.pods()):
        refuse("FX-B064", f"{name} is of another day or other PODs than {today.files[0].path}", ids=[name])
    return _rows(files, place) if held is None else held[place]


def _names(aggregates: Mapping[int, tuple[str, str]], used: Int64s) -> tuple[Names, Names, Int64s]:
    """Return ids of aggregates and of BSPs, and the BSP of each aggregate; FX-S041 where one has none."""
    strange = sorted(set(np.unique(used).tolist()) - set(aggregates))
    numbered = all(0 <= number < _MOST_AGGREGATES for number in aggregates)
    named = all(isinstance(names, tuple | list) and len(names) == 2 for names in aggregates.values())
    if strange or not numbered or not named:
        found = Findings("settled day")
        hint = f"give id and BSP of each, (id, BSP), numbered from 0 to {_MOST_AGGREGATES - 1}"
        message = (
            f"{len(strange)} aggregates have no name" if strange else "an aggregate has no number or no pair of names"
        )
        found.add("FX-S041", message, field="aggregates", ids=strange, hint=hint)
        found.raise_errors(SettlementError)
    bsp_ids = sorted({bsp for _, bsp in aggregates.values()})
    ids = [f"no aggregate {number}" for number in range(max(aggregates, default=-1) + 1)]  # of numbers between
    owner = np.zeros(len(ids), np.int64)
    for number, (name, bsp) in aggregates.items():
        ids[number], owner[number] = name, bsp_ids.index(bsp)
    return np.array(ids, np.str_), np.array(bsp_ids, np.str_), owner


#: Number of axes of the arrays of a settled day.
_AXES = {
    "orders_w": 2, "baseline_w": 2, "metered_w": 2, "row_price": 2, "row_operator": 1, "row_direction": 1,
    "row_aggregate": 1, "row_pod_id": 1, "unit_of_step": 1, "aggregate_ids": 1, "bsp_ids": 1, "bsp_of_aggregate": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SettledDay:
    """One settled market day: the run, the rows that `settle` was given, and the names of parties.

    Attributes
    ----------
    day : MarketDay
    run : SettlementRun
    orders_w, baseline_w, metered_w : ndarray of int32, shape (n_rows, n_steps)
        As they were given to `settle`. [W]
    row_operator, row_direction : ndarray of int8, shape (n_rows,)
    row_aggregate : ndarray of int64, shape (n_rows,)
        Position of the aggregate.
    row_price : ndarray of int64, shape (n_rows or 1, n_steps or 1)
        Price of the orders. [micro-EUR/MWh]
    row_pod_id : ndarray of str, shape (n_rows,)
        Id of the POD.
    unit_of_step : ndarray of int64, shape (n_steps,)
    aggregate_ids, bsp_ids : ndarray of str
        Ids at the positions that rows and `bsp_of_aggregate` use.
    bsp_of_aggregate : ndarray of int64, shape (n_aggregates,)
    evidence : mapping of str to PodEvidence
        By POD id; PODs without it are stated without their reference days.
    row_factor_ppm : ndarray of int64, shape (n_rows,), or None
        The provider's factors, where PODs share by them. [parts per million]
    row_available_w : ndarray of int, shape (n_rows, n_steps), or None
        Availability as it was given to `settle`; what is paid for it is taken as given without. [W]
    row_estimated : ndarray of bool, shape (n_rows, n_steps), or None
        `estimated` as it was given to `settle`.
    period : PeriodSettlement or None
        The period that the day belongs to, where its penalties were capped: `run` then holds the day as it is charged.
    """

    day: MarketDay
    run: SettlementRun[SettlementResult]
    orders_w: Int32s
    baseline_w: Int32s
    metered_w: Int32s
    row_operator: Int8s
    row_direction: Int8s
    row_aggregate: Int64s
    row_price: Int64s
    row_pod_id: Names
    unit_of_step: Int64s
    aggregate_ids: Names
    bsp_ids: Names
    bsp_of_aggregate: Int64s
    evidence: Mapping[str, PodEvidence] = field(default_factory=dict)
    row_factor_ppm: Int64s | None = None
    row_available_w: npt.NDArray[np.integer[Any]] | None = None
    period: PeriodSettlement | None = None
    row_estimated: Bools | None = None

    @classmethod
    def from_files(
        cls,
        run: SettlementRun[SettlementResult],
        orders: Any,
        today: Paths,
        baseline: BaselineFiles | Paths,
        aggregates: Mapping[int, tuple[str, str]],
        *,
        unit_of_step: npt.ArrayLike | None = None,
    ) -> "SettledDay":
        """Take a day that `settle_files` settled; the rows that have orders are read, so memory grows with these.

        Parameters
        ----------
        run : SettlementRun
            Of `SettlementFiles.result` (`open_run`, `correct`).
        orders, today, unit_of_step
            As they were given to `settle_files`.
        baseline : BaselineFiles or paths
            What `baseline_files` gives for the same arguments, with the orders in `touched`.
        aggregates : mapping of int to (str, str)
            Id and BSP of each aggregate in the orders.

        Returns
        -------
        SettledDay
            Without evidence of reference days.

        Raises
        ------
        FileError
            FX-B061 `baseline` holds no baselines, FX-B064 it holds other PODs than `today`; as `baseline_files`.
        SettlementError
            FX-S041 an aggregate of the orders is not named, or rows and run do not fit; as `settle_files` for orders.
        """
        files = open_day(today)
        day, pods = files.day, files.pods()
        rows = order_rows(orders, pods, day.n_steps)
        if not isinstance(run, SettlementRun):  # a settlement of files has a result, too
            found = Findings("settled day")
            hint = "open_run(date, settled.result) makes the first run of a settlement"
            found.add("FX-S041", f"{type(run).__name__} is no settlement run", field="run", hint=hint)
            found.raise_errors(SettlementError)
        ids, bsp_ids, owner = _names(aggregates, rows.aggregate)
        n = len(rows.place)
        row, shape = np.repeat(np.arange(n), np.diff(rows.ptr)), (n, day.n_steps)
        orders_w = np.zeros(shape, np.int32)
        orders_w[row, rows.step] = rows.ordered_w
        price = (
            np.full((1, 1), run.result.terms.price_ueur_per_mwh or 0, np.int64) if rows.price is None else rows.price
        )
        if price.ndim == 1:
            price, each = np.zeros(shape, np.int64), price
            price[row, rows.step] = each
        flags = estimated_orders(files, rows)
        if flags is not None:
            estimated = np.zeros(shape, np.bool_)
            estimated[row, rows.step] = flags
        settled = cls(
            day, run, orders_w, _baseline_rows(baseline, files, rows.place), _rows(files, rows.place), rows.operator,
            rows.direction, rows.aggregate, price, np.array(pods.take(rows.place).to_pylist(), np.str_),
            checked_units(day.hour_of_step if unit_of_step is None else unit_of_step, day.n_steps),
            ids, bsp_ids, owner,
            row_estimated=None if flags is None else estimated,
        )  # fmt: skip
        settled.check()
        return settled

    def clock(self, step: int) -> str:
        """Local clock time at the start of a step, with its zone in the hour that an autumn day has twice."""
        start = self.day.start(step)
        twice = start.replace(fold=1 - start.fold).utcoffset() != start.utcoffset()
        return start.strftime("%H:%M %Z" if twice else "%H:%M")

    def estimated(self, row: Any, step: Any) -> Any:
        """Whether the readings of rows at steps were estimated."""
        return np.zeros(np.shape(row), np.bool_) if self.row_estimated is None else self.row_estimated[row, step]

    def check(self) -> None:
        """Raise SettlementError FX-S041 with everything in which rows, names and result do not fit together."""
        found = Findings("settled day")
        for name, n_axes in _AXES.items():
            if getattr(getattr(self, name), "ndim", None) != n_axes:
                found.add("FX-S041", f"{name} is no array with {n_axes} axes", field=name)
        found.raise_errors(SettlementError)
        n, n_steps = self.orders_w.shape
        lines, shares = self.run.result.lines, self.run.result.pod_lines
        lengths = (self.row_operator, self.row_direction, self.row_aggregate, self.row_pod_id)
        shapes = (self.baseline_w.shape, self.metered_w.shape)
        if any(len(column) != n for column in lengths) or any(shape != (n, n_steps) for shape in shapes):
            found.add("FX-S041", "the columns of the rows have different lengths")
        if self.row_price.shape[0] not in (1, n) or self.row_price.shape[1] not in (1, n_steps):
            found.add("FX-S041", f"row_price has shape {self.row_price.shape}, the rows ({n}, {n_steps})")
        for name in ("aggregate_ids", "bsp_ids"):
            ids, count = np.unique(getattr(self, name), return_counts=True)
            if (count > 1).any():
                found.add("FX-S041", f"{name} holds an id twice", field=name, ids=ids[count > 1])
        if len(self.unit_of_step) != n_steps or n_steps != self.day.n_steps:
            found.add("FX-S041", f"the rows have {n_steps} quarter-hours, the day {self.day.n_steps}")
        if not (self.bsp_of_aggregate >= 0).all() or not (self.bsp_of_aggregate < len(self.bsp_ids)).all():
            found.add("FX-S041", "an aggregate has no BSP", field="bsp_of_aggregate")
        if len(self.aggregate_ids) != len(self.bsp_of_aggregate):
            found.add("FX-S041", "aggregate_ids and bsp_of_aggregate have different lengths")
        if len(lines) and not (lines.aggregate.min() >= 0 and lines.aggregate.max() < len(self.aggregate_ids)):
            found.add("FX-S041", "a line names an aggregate without an id")
        if len(shares) and not (shares.row.min() >= 0 and shares.row.max() < n):
            found.add("FX-S041", "a POD's share names a row that is not there")
        found.raise_errors(SettlementError)
        unit, first = np.unique(self.unit_of_step, return_index=True)
        if not np.isin(lines.unit, unit).all():
            found.add("FX-S041", "a line names a market time unit that the day does not have")
            found.raise_errors(SettlementError)
        energy = np.add.reduceat(self.orders_w, first, axis=1, dtype=np.int64)
        same = energy[shares.row, np.searchsorted(unit, lines.unit[shares.line])] == shares.ordered_wqh
        for mine, of_line in (
            (self.row_operator, lines.operator),
            (self.row_aggregate, lines.aggregate),
            (self.row_direction, lines.direction),
        ):
            same &= mine[shares.row] == of_line[shares.line]
        if not same.all():
            rows = np.flatnonzero(~same)
            found.add(
                "FX-S041",
                f"{rows.size} shares do not belong to the rows that they name",
                rows=rows,
                ids=self.row_pod_id[shares.row[rows]],
                hint="give the rows in the order in which they were settled",
            )
        if self.run.result.split == "factors" and (self.row_factor_ppm is None or len(self.row_factor_ppm) != n):
            found.add("FX-S071", "PODs share by the provider's factors, and they are not given", field="row_factor_ppm")
        if self.row_available_w is not None and self.row_available_w.shape != (n, n_steps):
            found.add("FX-S041", "row_available_w has another shape than the rows", field="row_available_w")
        if self.row_estimated is not None and self.row_estimated.shape != (n, n_steps):
            found.add("FX-S041", "row_estimated has another shape than the rows", field="row_estimated")
        elif self.row_estimated is None and lines.n_estimated.any():
            found.add(
                "FX-S041", "readings were settled as estimated, and the marks are not given", field="row_estimated"
            )
        if self.period is not None and self.run.result not in self.period.results:
            found.add("FX-S071", f"the period does not hold the settlement of {self.day.date}", field="period")
        for pod, behind in self.evidence.items():
            if behind.reference_w.shape != (len(behind.dates), n_steps):
                found.add("FX-S041", f"reference days of {pod!r} do not fit their dates", ids=[pod])
        found.raise_errors(SettlementError)
