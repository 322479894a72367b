"""Schemes side by side on one case: cost beside violations, unserved need, volumes and information."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from flexcore.market.schemes.case import CoordinationCase
from flexcore.market.schemes.outcome import SchemeOutcome, outcome_of
from flexcore.market.schemes.presets import presets, safety_level, scheme
from flexcore.market.schemes.run import SchemeRun, run_scheme
from flexcore.market.schemes.stage import Scheme

#: Schemes that every comparison computes: its yardsticks of efficiency.
COMMON, FRAGMENTED = "coordinet_common", "coordinet_fragmented"
_EQUAL = 1e-6

#: D4.1 Figure 2: high, medium or low for the SmartNet schemes A to E; the first three can be computed.
FIGURE_2: dict[str, str] = {
    "respects distribution constraints": "LHHHH",
    "TSO use of distributed resources": "HMLHH",
    "low market operation cost": "HLLMM",
    "existing communication adequate": "HMMLM",
    "recognises the role of the DSO": "LHHHH",
    "liquidity": "MLLMH",
    "economies of scale": "MLLHH",
}
_SMARTNET = ("smartnet_a", "smartnet_b", "smartnet_c", "smartnet_d1", "smartnet_e")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of D4.1 Figure 2 against what was computed.

    Attributes
    ----------
    name, grades : str
        Grades of SmartNet A to E: H, M or L.
    figures : tuple of float
        What was computed for them; higher is better. NaN where it was not.
    agreeing, pairs : int
        Pairs of schemes with different grades, and those of them in which the figures point the same way.
    """

    name: str
    grades: str
    figures: tuple[float, ...]
    agreeing: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Schemes on one case.

    Attributes
    ----------
    case : str
    outcomes : tuple of SchemeOutcome
        In the order asked for.
    yardsticks : tuple of SchemeOutcome
        Common and fragmented market.
    """

    case: str
    outcomes: tuple[SchemeOutcome, ...]
    yardsticks: tuple[SchemeOutcome, SchemeOutcome]

    def __getitem__(self, name: str) -> SchemeOutcome:
        """Outcome of a scheme by its name."""
        for outcome in self.outcomes:
            if outcome.scheme == name:
                return outcome
        raise KeyError(name)

    def comparable(self, outcome: SchemeOutcome) -> bool:
        """Whether an outcome may have an efficiency: safe, and serving the needs of the common market, no more or less.

        What is sold to market parties is a need of theirs that the common market does not have: its income would count
        as efficiency.
        """
        common = self.yardsticks[0]
        names = ("unserved_distribution_mwh", "overload_transmission_mwh", "imbalance_mwh")
        served = all(getattr(outcome, name) <= getattr(common, name) + _EQUAL for name in names)
        return outcome.safe and served and outcome.trade_mwh <= _EQUAL

    def efficiency(self, outcome: SchemeOutcome) -> float:
        """Market efficiency in span form: 1 is the common, 0 the fragmented market; NaN unless comparable."""
        common, fragmented = self.yardsticks
        span = fragmented.cost_eur - common.cost_eur
        if not self.comparable(outcome) or not self.comparable(fragmented) or span <= _EQUAL * abs(common.cost_eur):
            return float("nan")
        return (fragmented.cost_eur - outcome.cost_eur) / span

    def figure_2(self) -> tuple[Criterion, ...]:
        """Compare the three criteria of D4.1 Figure 2 that can be computed with its grades; the others have none."""
        by_name = {outcome.scheme: outcome for outcome in self.outcomes}
        found = [by_name.get(name) for name in _SMARTNET]
        measures: dict[str, Callable[[SchemeOutcome], float]] = {
            "respects distribution constraints": lambda o: -float(o.violations_new),
            "TSO use of distributed resources": lambda o: o.tso_der_mwh,
            "low market operation cost": lambda o: -o.payment_eur,
        }
        rows = []
        for name, grades in FIGURE_2.items():
            measure = measures.get(name)
            figures = tuple(
                float("nan") if measure is None or outcome is None else measure(outcome) for outcome in found
            )
            pairs = [
                (i, j)
                for i in range(len(grades))
                for j in range(i)
                if grades[i] != grades[j] and not np.isnan(figures[i] + figures[j])
            ]
            order = "LMH"
            agreeing = sum(
                (order.index(grades[i]) - order.index(grades[j])) * (figures[i] - figures[j]) > 0 for i, j in pairs
            )
            rows.append(Criterion(name, grades, figures, agreeing, len(pairs)))
        return tuple(rows)

    def to_arrow(self) -> Any:
        """Return one row per scheme as a pyarrow Table, run times left out; no efficiency is null."""
        import pyarrow as pa

        names = [field.name for field in fields(SchemeOutcome) if field.name != "seconds"]
        columns: dict[str, Any] = {name: [getattr(o, name) for o in self.outcomes] for name in names}
        columns["safe"] = [o.safe for o in self.outcomes]
        columns["efficiency"] = pa.array([self.efficiency(o) for o in self.outcomes], from_pandas=True)
        return pa.table(columns)


def default_schemes() -> tuple[Scheme, ...]:
    """Return all presets, the five levels of grid safety of multi-level, and the priced interfaces."""
    multi = scheme("coordinet_multi_level")
    levels = tuple(safety_level(multi, level) for level in ("L0", "L1", "L2", "L3", "L4"))
    return (*presets().values(), *levels, *priced_schemes())


def priced_schemes() -> tuple[Scheme, ...]:
    """Return the schemes that price the interface: fragmented, and multi-level with the grid inside the TSO's stage."""
    fragmented, multi = scheme(FRAGMENTED), safety_level("coordinet_multi_level", "L3")
    return (
        fragmented.with_stage(0, interface="priced").renamed(
            "coordinet_fragmented_priced", "CoordiNet fragmented, priced interface"
        ),
        multi.with_stage(0, interface="priced").renamed(
            "coordinet_multi_level_priced", "CoordiNet multi-level, priced interface"
        ),
    )


def compare(
    case: CoordinationCase,
    schemes: Sequence[str | Scheme] | None = None,
    *,
    curve_points: int = 8,
    n_threads: int = 1,
    progress: Callable[[str], None] | None = None,
    inspect: Callable[[SchemeRun], None] | None = None,
) -> Comparison:
    """Run schemes on one case.

    Parameters
    ----------
    case : CoordinationCase
    schemes : sequence of str or Scheme, optional
        By default `default_schemes()`. The common and the fragmented market are computed in any case.
    curve_points, n_threads
        As in `run_scheme`.
    progress : callable, optional
        Called with the title of each scheme before it runs.
    inspect : callable, optional
        Called with each run before it is dropped, for figures of your own.

    Returns
    -------
    Comparison
    """
    asked = default_schemes() if schemes is None else tuple(scheme(which) for which in schemes)
    known: dict[Scheme, SchemeOutcome] = {}

    def outcome(which: Scheme) -> SchemeOutcome:
        if which not in known:
            if progress is not None:
                progress(which.title)
            run = run_scheme(case, which, curve_points=curve_points, n_threads=n_threads)
            if inspect is not None:
                inspect(run)
            known[which] = outcome_of(run)
        return known[which]

    outcomes = tuple(outcome(which) for which in asked)
    return Comparison(case.name, outcomes, (outcome(scheme(COMMON)), outcome(scheme(FRAGMENTED))))
