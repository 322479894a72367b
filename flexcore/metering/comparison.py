"""Every baseline method on the same placebo events: errors by customer class and group size, and which method suits."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_keys
from flexcore.errors import Findings, ValidationError, check_option
from flexcore.metering.accuracy import N_SUMS, UNKNOWN, Accuracy, N, RelativeTo, Screening, error_sums, measures, screen
from flexcore.metering.baseline import baseline
from flexcore.metering.placebo import PlaceboEvents, draw_groups
from flexcore.metering.placebo_inputs import NAIVE_INPUTS, DayInput, PlaceboDay
from flexcore.metering.presets import PRESETS, BaselineRule
from flexcore.metering.readings import MISSING_W, Int32s, as_power_w

Metric = Literal["opi", "rrmse", "bias", "mape_mean", "mape_median"]
METRICS: tuple[Metric, ...] = ("opi", "rrmse", "bias", "mape_mean", "mape_median")

_MOST_UNKNOWN = (
    0.05  # a method without a baseline in more of the quarter-hours than this was not tried on the same days
)

_NO_SKILL = 0.05  # a method that is so little better than a baseline of zero suits nobody


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
        The same for each class as one aggregate, whose baselines and readings are added up.
    group_size : ndarray of int64, shape (n_groups,)
        PODs in each of the drawn groups.
    group_sums : ndarray of int64, shape (n_methods, n_groups, n_events, 10)
        The same for the drawn groups.
    """

    methods: tuple[str, ...]
    skipped: dict[str, str]
    pods: tuple[Any, ...]
    classes: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    events: PlaceboEvents
    sums: npt.NDArray[np.int64]
    class_sums: npt.NDArray[np.int64]
    group_size: npt.NDArray[np.int64]
    group_sums: npt.NDArray[np.int64]

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
        """One row for each group size and method as a pyarrow Table: medians over the drawn groups."""
        import pyarrow as pa

        rows: list[dict[str, Any]] = []
        sizes = np.unique(self.group_size).tolist()
        for method in self.methods:
            measured = self.per_group(method, relative_to=relative_to)
            passed = screen(measured).passed
            for size in sizes:
                mine = self.group_size == size
                row: dict[str, Any] = {"n_pods": size, "method": method, "n_groups": int(mine.sum())}
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
        values = np.stack([getattr(self.per_pod(m, relative_to=relative_to), metric) for m in self.methods])
        values = np.abs(values)
        chosen = []
        for c, name in enumerate(self.classes):
            mine = self.class_of == c
            total = self.sums[:, mine].sum(axis=(1, 2))
            tried = total[:, UNKNOWN] <= _MOST_UNKNOWN * (total[:, N] + total[:, UNKNOWN])
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
            names = names if row.skill > _NO_SKILL else f"none ({names})"
            lines.append(
                f"| {row.customer_class} | {row.n_pods} | {names} | {row.median:.3f} | {row.p10:.3f}..{row.p90:.3f} "
                f"| {row.n_best} | {row.skill:.0%} | {row.runner_up} | {row.runner_up_median:.3f} |"
            )
        days = len(np.unique(self.events.day))
        lines += ["", f"{len(self.events)} placebo events on {days} days; median over the PODs of a class."]
        lines += [f"Not tried: {name} ({reason})." for name, reason in self.skipped.items()]
        return "\n".join(lines)


def compare_methods(
    power_w: npt.ArrayLike,
    events: PlaceboEvents,
    *,
    presets: Mapping[str, BaselineRule] | Sequence[str] | None = None,
    classes: npt.ArrayLike | None = None,
    pods: npt.ArrayLike | None = None,
    inputs: Mapping[str, DayInput] | None = None,
    group_sizes: Sequence[int] = (),
    n_groups: int = 100,
    grouped: npt.ArrayLike | None = None,
    seed: int = 0,
    n_threads: int = 1,
) -> MethodComparison:
    """Try baseline methods on placebo events: all of them on the same days, with the same readings.

    Parameters
    ----------
    power_w : array_like of int32, shape (n_pods, n_days, n_steps)
        Readings, positive = withdrawal; `MISSING_W` where there is none. [W]
    events : PlaceboEvents
    presets : mapping of str to BaselineRule, or sequence of str, optional
        Methods; all of `PRESETS` if not given.
    classes : array_like of str, shape (n_pods,), optional
        Customer class of each POD; one class of all if not given.
    pods : array_like, shape (n_pods,), optional
        Keys of the PODs; positions if not given.
    inputs : mapping of str to callable, optional
        Further arguments of `baseline` by name, each a function of a `PlaceboDay`. Those of `NAIVE_INPUTS` that are not
        given are taken from there: the readings of a week before as the nomination, the other PODs of the class as
        controls, the mean of the class as its fixed profile.
    group_sizes, n_groups : sequence of int, int
        For each size so many groups of distinct PODs are drawn, fewer where all PODs are in each; their baselines and
        readings are added up.
    grouped : array_like of bool, shape (n_pods,), optional
        PODs that groups are drawn from; all if not given.
    seed : int
        Of the draw of groups.
    n_threads : int

    Returns
    -------
    MethodComparison
        It holds 80 bytes for each method, POD and event: draw a sample of the PODs of a city.

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A002 types, FX-A006 a reading or a sum that does not fit 32 bits, FX-B053 a group is larger
        than what it is drawn from; FX-E002 an unknown preset.

    Notes
    -----
    No method sees the readings of the event quarter-hours. A method that lacks an input (FX-B006) is listed in
    `skipped`. A POD without a baseline or reading in a quarter-hour is left out of its groups there.
    """
    power = as_power_w(power_w, "power_w", shape=(None, len(events.day_type), events.n_steps))
    n_pods = len(power)
    rules = _rules(presets)
    found = Findings("comparison")
    keys = np.arange(n_pods) if pods is None else as_keys(pods, "pods")
    kinds = np.full(n_pods, "all") if classes is None else np.asarray(classes).astype(str)
    if keys.shape != (n_pods,) or kinds.shape != (n_pods,):
        found.add("FX-A001", f"{n_pods} PODs, but pods has shape {keys.shape} and classes {kinds.shape}")
    pool = np.arange(n_pods) if grouped is None else np.flatnonzero(as_bool(grouped, "grouped", shape=(n_pods,)))
    large = [size for size in group_sizes if not 1 <= size <= len(pool)]
    if large:
        found.add("FX-B053", f"groups of {large[0]} from {len(pool)} PODs")
    found.raise_errors(ValidationError)
    names = list(dict.fromkeys(kinds.tolist()))
    members = [pool[draw_groups(len(pool), size, n_groups, seed=seed)] for size in group_sizes]
    where = {name: c for c, name in enumerate(names)}
    class_of = np.array([where[name] for name in kinds.tolist()], np.int64)
    given = {k: v for k, v in NAIVE_INPUTS.items() if k in inspect.signature(baseline).parameters} | dict(inputs or {})
    parts = [np.flatnonzero(kinds == name)[np.newaxis] for name in names] + members
    n_parts = sum(len(part) for part in parts)
    sums = np.zeros((len(rules), n_pods, len(events), N_SUMS), np.int64)
    group_sums = np.zeros((len(rules), n_parts, len(events), N_SUMS), np.int64)
    skipped: dict[str, str] = {}
    for e in range(len(events)):
        for k, estimate, truth in _estimates(power, class_of, events, e, rules, given, skipped, n_threads):
            every = np.ones(truth.shape[1], np.bool_)
            sums[k, :, e] = error_sums(estimate, truth, every, n_threads=n_threads)
            added = [_added(estimate, truth, part) for part in parts]
            made, read = (np.concatenate(side) for side in zip(*added, strict=True))
            group_sums[k, :, e] = error_sums(made, read, every, n_threads=n_threads)
    kept = [k for k, name in enumerate(rules) if name not in skipped]
    return MethodComparison(
        tuple(name for name in rules if name not in skipped),
        skipped,
        tuple(keys.tolist()),
        tuple(names),
        class_of,
        events,
        sums[kept],
        group_sums[kept, : len(names)],
        np.repeat(np.array(group_sizes, np.int64), [len(part) for part in members]),
        group_sums[kept, len(names) :],
    )


def _estimates(
    power: Int32s,
    class_of: npt.NDArray[np.int64],
    events: PlaceboEvents,
    e: int,
    rules: Mapping[str, BaselineRule],
    given: Mapping[str, DayInput],
    skipped: dict[str, str],
    n_threads: int,
) -> Iterator[tuple[int, Int32s, Int32s]]:
    """Give position, baseline and truth of each method in the quarter-hours of one event; note what lacks an input."""
    day = int(events.day[e])
    first, like = events.reference_days(e)
    during = events.during[e]
    history = np.ascontiguousarray(power[:, first:day])
    blind = np.where(during, np.int32(MISSING_W), power[:, day])
    on = PlaceboDay(power, day, first, history, blind, during, like, class_of)
    extra: dict[str, Any] = {name: value(on) for name, value in given.items()}
    truth = np.ascontiguousarray(power[:, day, during])
    for k, (name, rule) in enumerate(rules.items()):
        if name in skipped:
            continue
        try:
            made = baseline(history, blind, during, eligible=like, preset=rule, n_threads=n_threads, **extra)
        except ValidationError as error:
            if set(error.codes) != {"FX-B006"}:
                raise
            skipped[name] = error.findings[0].message
            continue
        yield k, np.ascontiguousarray(made.baseline_w[:, during]), truth


def _rules(presets: Mapping[str, BaselineRule] | Sequence[str] | None) -> dict[str, BaselineRule]:
    if presets is None:
        return dict(PRESETS)
    if isinstance(presets, Mapping):
        return dict(presets)
    for name in presets:
        check_option("presets", name, tuple(PRESETS))
    return {name: PRESETS[name] for name in presets}


def _added(estimate: Int32s, truth: Int32s, members: npt.NDArray[np.int64]) -> tuple[Int32s, Int32s]:
    """Sums over the members of each group that have both numbers; missing where none has."""
    known = (estimate != MISSING_W) & (truth != MISSING_W)
    some = known[members].any(axis=1)
    sums = [np.where(known, values, 0).astype(np.int64)[members].sum(axis=1) for values in (estimate, truth)]
    first, second = (as_power_w(np.where(some, part, MISSING_W), "sum over a group", shape=some.shape) for part in sums)
    return first, second


def _per_row(sums: npt.NDArray[np.int64], relative_to: RelativeTo, alpha: float | None) -> Accuracy:
    n_rows, n_events = sums.shape[:2]
    row = np.repeat(np.arange(n_rows), n_events)
    return measures(sums.reshape(-1, N_SUMS), row, n_rows, relative_to=relative_to, alpha=alpha)


def _spread(name: str, values: npt.NDArray[np.float64]) -> dict[str, float]:
    known = values[np.isfinite(values)]
    low, middle, high = np.percentile(known, (10, 50, 90)) if known.size else (np.nan,) * 3
    return {name: float(middle), f"{name}_p10": float(low), f"{name}_p90": float(high)}
