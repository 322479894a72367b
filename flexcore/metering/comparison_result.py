"""Errors of baseline methods by customer class and group size, and which method suits which class."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool
from flexcore.errors import check_option
from flexcore.metering.accuracy import N_SUMS, UNKNOWN, Accuracy, N, RelativeTo, Screening, measures, screen
from flexcore.metering.placebo import PlaceboEvents

Int64s = npt.NDArray[np.int64]
Metric = Literal["opi", "rrmse", "bias", "mape_mean", "mape_median"]
METRICS: tuple[Metric, ...] = ("opi", "rrmse", "bias", "mape_mean", "mape_median")

#: A method without a baseline in more of the quarter-hours than this was not tried on the same days as the others.
MOST_UNKNOWN = 0.05
#: A method that is by no more than this better than a baseline of zero knows nothing of the load.
NO_SKILL = 0.05


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The method with the lowest median error of one class, and how clear that is.

    Attributes
    ----------
    customer_class, method, metric : str
    median, p10, p90 : float
        Of the metric over the PODs of the class. [1]
    ties : tuple of str
        Methods that are not told apart from it: the same median.
    runner_up : str
        Next method, empty if there is none.
    runner_up_median : float
    n_best : int
        PODs for which no method has a lower error than this one.
    n_pods : int
        PODs of the class that have the metric; `n_undefined` have not.
    n_undefined : int
    skill : float
        1 - OPI / OPI of a baseline of zero, median over the PODs: near or below 0, the method knows nothing of the
        load, and no method of the comparison suits the class POD by POD. [1]
    """

    customer_class: str
    method: str
    metric: str
    median: float
    p10: float
    p90: float
    ties: tuple[str, ...]
    runner_up: str
    runner_up_median: float
    n_best: int
    n_pods: int
    n_undefined: int
    skill: float


@dataclass(frozen=True, slots=True)
class MethodComparison:
    """Exact sums of errors for each method, POD and placebo event, and what follows from them.

    Attributes
    ----------
    methods : tuple of str
        Methods that were tried.
    skipped : dict of str to str
        Methods that were not, with the reason.
    pods : tuple
    classes : tuple of str
    class_of : ndarray of int64, shape (n_pods,)
        Position in `classes`.
    events : PlaceboEvents
    sums : ndarray of int64, shape (n_methods, n_pods, n_events, 10)
        See `error_sums`.
    class_sums : ndarray of int64, shape (n_methods, n_classes, n_events, 10)
        The same for each class as one aggregate, whose baselines and readings are added up. The count of unknown
        quarter-hours is that of all PODs in it.
    group_size : ndarray of int64, shape (n_groups,)
        PODs in each of the drawn groups.
    group_sums : ndarray of int64, shape (n_methods, n_groups, n_events, 10)
        The same for the drawn groups.
    """

    methods: tuple[str, ...]
    skipped: dict[str, str]
    pods: tuple[Any, ...]
    classes: tuple[str, ...]
    class_of: Int64s
    events: PlaceboEvents
    sums: Int64s
    class_sums: Int64s
    group_size: Int64s
    group_sums: Int64s

    def among(self, chosen: npt.ArrayLike) -> "MethodComparison":
        """Return the comparison over some of the events: those of a season, a window, a day type.

        Parameters
        ----------
        chosen : array_like of bool, shape (n_events,)
        """
        kept = as_bool(chosen, "chosen", shape=(len(self.events),))
        day, window, stratum = (part[kept] for part in (self.events.day, self.events.window, self.events.stratum))
        return replace(
            self,
            events=replace(self.events, day=day, window=window, stratum=stratum),
            sums=self.sums[:, :, kept],
            class_sums=self.class_sums[:, :, kept],
            group_sums=self.group_sums[:, :, kept],
        )

    def per_pod(self, method: str, *, relative_to: RelativeTo = "absolute", alpha: float | None = None) -> Accuracy:
        """Measures of one method, one row for each POD, over all events."""
        check_option("method", method, self.methods)
        return _per_row(self.sums[self.methods.index(method)], relative_to, alpha)

    def per_class(self, method: str, *, relative_to: RelativeTo = "absolute", alpha: float | None = None) -> Accuracy:
        """Measures of one method, one row for each class taken as one aggregate, over all events."""
        check_option("method", method, self.methods)
        return _per_row(self.class_sums[self.methods.index(method)], relative_to, alpha)

    def per_group(self, method: str, *, relative_to: RelativeTo = "absolute", alpha: float | None = None) -> Accuracy:
        """Measures of one method, one row for each drawn group, over all events."""
        check_option("method", method, self.methods)
        return _per_row(self.group_sums[self.methods.index(method)], relative_to, alpha)

    def screen(self, method: str, *, rrmse: float = 0.20, bias: float = 0.04) -> Screening:
        """Which PODs may be settled with a method: `screen` of `per_pod`."""
        return screen(self.per_pod(method), rrmse=rrmse, bias=bias)

    def to_arrow(self, *, relative_to: RelativeTo = "absolute", alpha: float | None = None) -> Any:
        """One row for each class and method as a pyarrow Table: medians over the class's PODs, with their spread.

        The columns `n_undefined` (PODs without any load in the events), `unknown` (share of quarter-hours without a
        baseline or a reading), `opi_of_sum` (the class as one aggregate) and `passed` (PODs that `screen` lets
        pass) say what the medians do not.
        """
        import pyarrow as pa

        rows: list[dict[str, Any]] = []
        for k, method in enumerate(self.methods):
            measured = self.per_pod(method, relative_to=relative_to, alpha=alpha)
            passed = screen(measured).passed
            together = self.per_class(method, relative_to=relative_to, alpha=alpha)
            for c, name in enumerate(self.classes):
                mine = self.class_of == c
                known = mine & np.isfinite(measured.opi)
                total = self.sums[k, mine].sum(axis=(0, 1))
                row: dict[str, Any] = {"class": name, "method": method, "n_pods": int(mine.sum())}
                row["n_undefined"] = int(mine.sum() - known.sum())
                row["unknown"] = float(total[UNKNOWN] / max(total[N] + total[UNKNOWN], 1))
                for metric in METRICS:
                    row |= _spread(metric, getattr(measured, metric)[mine])
                row |= {
                    "opi_of_sum": float(together.opi[c]),
                    "opi_of_zero": _spread("", measured.opi_of_zero[mine])[""],
                }
                rows.append(row | {"passed": int(passed[mine].sum())})
        rows.sort(key=lambda row: self.classes.index(row["class"]))
        return pa.Table.from_pylist(rows)

    def by_size(self, *, relative_to: RelativeTo = "absolute") -> Any:
        """One row for each group size and method as a pyarrow Table: medians over the drawn groups.

        `unknown` is the share of quarter-hours of single PODs that had no baseline or reading and were left out.
        """
        import pyarrow as pa

        rows: list[dict[str, Any]] = []
        sizes = np.unique(self.group_size).tolist()
        n_steps = int(self.events.during.sum())
        for method in self.methods:
            measured = self.per_group(method, relative_to=relative_to)
            passed = screen(measured).passed
            for size in sizes:
                mine = self.group_size == size
                row: dict[str, Any] = {"n_pods": size, "method": method, "n_groups": int(mine.sum())}
                row["unknown"] = float(measured.n_unknown[mine].sum() / max(n_steps * int(mine.sum()) * size, 1))
                for metric in METRICS:
                    row |= _spread(metric, getattr(measured, metric)[mine])
                rows.append(row | {"passed": int(passed[mine].sum())})
        rows.sort(key=lambda row: row["n_pods"])
        return pa.Table.from_pylist(rows)

    def recommend(self, *, metric: Metric = "opi", relative_to: RelativeTo = "absolute") -> tuple[Recommendation, ...]:
        """Rank the methods of each class by the median of a metric over its PODs; of equal ones the first one listed.

        Methods without a baseline in more than 5 % of the quarter-hours of a class are not ranked there: they were not
        tried on the same events. A class in which no POD has the metric gets no recommendation.
        """
        check_option("metric", metric, METRICS)
        if not self.methods:
            return ()
        values = np.stack([getattr(self.per_pod(m, relative_to=relative_to), metric) for m in self.methods])
        values = np.abs(values)
        chosen = []
        for c, name in enumerate(self.classes):
            mine = self.class_of == c
            total = self.sums[:, mine].sum(axis=(1, 2))
            tried = total[:, UNKNOWN] <= MOST_UNKNOWN * (total[:, N] + total[:, UNKNOWN])
            here = np.where(tried[:, np.newaxis], values[:, mine], np.nan)
            known = np.isfinite(here[tried]).all(axis=0) if tried.any() else np.zeros(int(mine.sum()), np.bool_)
            if not known.any():
                continue
            here = here[:, known]
            median = np.where(tried, np.median(here, axis=1), np.inf)
            order = np.argsort(median, kind="stable")
            best = int(order[0])
            ties = tuple(self.methods[k] for k in order[1:] if median[k] == median[best])
            rest = [int(k) for k in order[1:] if median[best] < median[k] < np.inf]
            spread = _spread(metric, here[best])
            measured = self.per_pod(self.methods[best], relative_to=relative_to)
            skill = _spread("", 1.0 - measured.opi[mine] / measured.opi_of_zero[mine])[""]
            chosen.append(
                Recommendation(
                    name, self.methods[best], metric, float(median[best]), spread[f"{metric}_p10"],
                    spread[f"{metric}_p90"], ties, self.methods[rest[0]] if rest else "",
                    float(median[rest[0]]) if rest else float("nan"),
                    int((here[best] <= here[tried].min(axis=0)).sum()), int(known.sum()), int((~known).sum()),
                    skill,
                )
            )  # fmt: skip
        return tuple(chosen)

    def best(self, *, metric: Metric = "opi") -> dict[str, str]:
        """Class to the method that `recommend` names."""
        return {row.customer_class: row.method for row in self.recommend(metric=metric)}

    def report(self, *, metric: Metric = "opi") -> str:
        """Say in Markdown which method suits which class, and how sure that is."""
        lines = [
            f"| class | PODs | lowest {metric} | median | p10..p90 | best for | better than zero | next | its median |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in self.recommend(metric=metric):
            names = ", ".join((row.method, *row.ties))
            names = names if row.skill > NO_SKILL else f"none ({names})"
            lines.append(
                f"| {row.customer_class} | {row.n_pods} | {names} | {row.median:.3f} | {row.p10:.3f}..{row.p90:.3f} "
                f"| {row.n_best} | {row.skill:.0%} | {row.runner_up} | {row.runner_up_median:.3f} |"
            )
        days = len(np.unique(self.events.day))
        lines += ["", f"{len(self.events)} placebo events on {days} days; median over the PODs of a class."]
        lines += [f"Not tried: {name} ({reason})." for name, reason in self.skipped.items()]
        return "\n".join(lines)


def _per_row(sums: Int64s, relative_to: RelativeTo, alpha: float | None) -> Accuracy:
    n_rows, n_events = sums.shape[:2]
    row = np.repeat(np.arange(n_rows), n_events)
    return measures(sums.reshape(-1, N_SUMS), row, n_rows, relative_to=relative_to, alpha=alpha)


def _spread(name: str, values: npt.NDArray[np.float64]) -> dict[str, float]:
    known = values[np.isfinite(values)]
    low, middle, high = np.percentile(known, (10, 50, 90)) if known.size else (np.nan,) * 3
    return {name: float(middle), f"{name}_p10": float(low), f"{name}_p90": float(high)}
