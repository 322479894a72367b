"""Every baseline method on the same placebo events, with the same readings."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_bool, as_keys
from flexcore.errors import Findings, OptionError, ValidationError, check_option
from flexcore.metering.accuracy import N_SUMS, UNKNOWN, error_sums
from flexcore.metering.baseline import baseline
from flexcore.metering.comparison_result import MethodComparison
from flexcore.metering.placebo import PlaceboEvents, draw_groups
from flexcore.metering.placebo_inputs import INPUTS_OF_PRESET, NAIVE_INPUTS, DayInput, PlaceboDay
from flexcore.metering.presets import PRESETS, BaselineRule
from flexcore.metering.readings import MISSING_W, Int32s, as_power_w

Int64s = npt.NDArray[np.int64]


def compare_methods(
    power_w: npt.ArrayLike,
    events: PlaceboEvents,
    *,
    presets: Mapping[str, BaselineRule | str] | Sequence[str] | None = None,
    classes: npt.ArrayLike | None = None,
    pods: npt.ArrayLike | None = None,
    inputs: Mapping[str, DayInput | Mapping[str, DayInput]] | None = None,
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
    presets : sequence of str, or mapping of str to BaselineRule or str, optional
        Methods: names in `PRESETS`, all if not given, or names of one's own with their rules.
    classes : array_like of str, shape (n_pods,), optional
        Customer class of each POD; one class of all if not given.
    pods : array_like, shape (n_pods,), optional
        Keys of the PODs; positions if not given.
    inputs : mapping of str to callable or mapping, optional
        Further arguments of `baseline` by name, each a function of a `PlaceboDay`; or by the name of a preset a mapping
        of those that are for it alone. Those of `NAIVE_INPUTS` that are not given are taken from there: the readings
        of a week before as the nomination, the other PODs of the class as controls, the mean of the class as its fixed
        profile. `pjm_match_day` gets the distance of its own, and `degree_hours` all days of the look-back, those that
        are not like the event day as days of the other type.
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
        FX-A001 shapes, FX-A002 types, FX-A006 a reading or a sum that does not fit 32 bits, or a number that is none,
        FX-B053 a group is larger than what it is drawn from, FX-B054 no POD or no method; FX-E002 an unknown preset.

    Notes
    -----
    No method sees the readings of the event quarter-hours. A method that lacks an input (FX-B006) is listed in
    `skipped`. A POD without a baseline or reading in a quarter-hour is left out of its groups there. Control groups
    have no figures for groups and classes, whose PODs would be each other's controls.
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
    found.check_count("n_groups", n_groups, 1)
    found.check_count("seed", seed, 0)
    for size in group_sizes:
        found.check_count("group_sizes", size, 1)
    found.raise_errors(ValidationError)
    if not n_pods or not rules:
        found.add("FX-B054", f"{len(rules)} methods on {n_pods} PODs: there is nothing to compare")
    large = [size for size in group_sizes if size > len(pool)]
    if large:
        found.add("FX-B053", f"groups of {large[0]} from {len(pool)} PODs")
    found.raise_errors(ValidationError)
    names = list(dict.fromkeys(kinds.tolist()))
    members = [pool[draw_groups(len(pool), size, n_groups, seed=seed)] for size in group_sizes]
    where = {name: c for c, name in enumerate(names)}
    class_of = np.array([where[name] for name in kinds.tolist()], np.int64)
    given = {k: v for k, v in NAIVE_INPUTS.items() if k in inspect.signature(baseline).parameters}
    for_one: dict[str, Mapping[str, DayInput]] = {}
    for name, value in (inputs or {}).items():
        if isinstance(value, Mapping):
            for_one[name] = value
        else:
            given[name] = value
    parts = [np.flatnonzero(kinds == name)[np.newaxis] for name in names] + members
    n_parts = sum(len(part) for part in parts)
    sums = np.zeros((len(rules), n_pods, len(events), N_SUMS), np.int64)
    group_sums = np.zeros((len(rules), n_parts, len(events), N_SUMS), np.int64)
    skipped: dict[str, str] = {}
    # members of an aggregate would stand for each other: over a whole class the controls add up to the truth itself
    circular = {k for k, rule in enumerate(rules.values()) if rule.method == "control_group"}
    for e in range(len(events)):
        for k, estimate, truth in _estimates(power, class_of, events, e, rules, given, for_one, skipped, n_threads):
            every = np.ones(truth.shape[1], np.bool_)
            sums[k, :, e] = error_sums(estimate, truth, every, n_threads=n_threads)
            if k in circular:
                estimate = np.full_like(estimate, MISSING_W)
            made, read, n_gone = (
                np.concatenate(side) for side in zip(*(_added(estimate, truth, part) for part in parts), strict=True)
            )
            group_sums[k, :, e] = error_sums(made, read, every, n_threads=n_threads)
            group_sums[k, :, e, UNKNOWN] = n_gone
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
    class_of: Int64s,
    events: PlaceboEvents,
    e: int,
    rules: Mapping[str, BaselineRule],
    given: Mapping[str, DayInput],
    for_one: Mapping[str, Mapping[str, DayInput]],
    skipped: dict[str, str],
    n_threads: int,
) -> Iterator[tuple[int, Int32s, Int32s]]:
    """Give position, baseline and truth of each method in the quarter-hours of one event; note what lacks an input."""
    day = int(events.day[e])
    first, like = events.reference_days(e)
    during = events.during[e]
    history = np.ascontiguousarray(power[:, first:day])
    blind = np.where(during, np.int32(MISSING_W), power[:, day])
    on = PlaceboDay(power, day, first, history, blind, during, like, ~events.real_event[first:day], class_of)
    extra: dict[str, Any] = {name: value(on) for name, value in given.items()}
    truth = np.ascontiguousarray(power[:, day, during])
    for k, (name, rule) in enumerate(rules.items()):
        if name in skipped:
            continue
        own = {key: value for key, value in INPUTS_OF_PRESET.get(name, {}).items() if key not in given}
        own |= for_one.get(name, {})
        more = {"eligible": like} | extra | {key: value(on) for key, value in own.items()}
        try:
            made = baseline(history, blind, during, preset=rule, n_threads=n_threads, **more)
        except ValidationError as error:
            if set(error.codes) != {"FX-B006"}:
                raise
            skipped[name] = error.findings[0].message
            continue
        yield k, np.ascontiguousarray(made.baseline_w[:, during]), truth


def _rules(presets: Mapping[str, BaselineRule | str] | Sequence[str] | None) -> dict[str, BaselineRule]:
    if presets is None:
        return dict(PRESETS)
    named: Any = presets.items() if isinstance(presets, Mapping) else ((rule, rule) for rule in presets)
    rules: dict[str, BaselineRule] = {}
    for name, rule in named:
        if not isinstance(name, str):
            found = Findings("presets")
            hint = "give rules of your own as a mapping: {'mine': rule, 'edge': 'edge'}"
            found.add("FX-E002", "a rule in a list has no name", field="presets", hint=hint)
            found.raise_errors(OptionError)
        if not isinstance(rule, BaselineRule):
            check_option("presets", rule, tuple(PRESETS))
            rule = PRESETS[rule]
        rules[name] = rule
    return rules


def _added(estimate: Int32s, truth: Int32s, members: Int64s) -> tuple[Int32s, Int32s, Int64s]:
    """Sums over the members of each group that have both numbers, missing where none has; and how many have not."""
    known = (estimate != MISSING_W) & (truth != MISSING_W)
    some = known[members].any(axis=1)
    sums = [np.where(known, values, 0).astype(np.int64)[members].sum(axis=1) for values in (estimate, truth)]
    first, second = (as_power_w(np.where(some, part, MISSING_W), "sum over a group", shape=some.shape) for part in sums)
    return first, second, (~known)[members].sum(axis=(1, 2), dtype=np.int64)
