"""Coordination schemes side by side on one day of a city, with the DSO's AC check of every outcome."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcore.errors import Findings, ValidationError
from flexcore.market.grid_check import FORECAST, LOADING, check_outcome
from flexcore.market.schemes import CoordinationCase, Scheme, SchemeRun, scheme
from flexcore.market.schemes.compare import Comparison, compare, default_schemes
from flexcore.market_day import MarketDay
from flexcore.study.city import City
from flexcore.study.day_kpis import firm_forecast
from flexcore.study.registration import register_city
from flexcore.study.scheme_case import scheme_case
from flexcore.units import DOWN, UP

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class AcCheck:
    """What the AC power flow of a whole outcome says (CHK-01).

    Attributes
    ----------
    violations : int
        Elements and quarter-hours beyond their limits.
    caused : int
        Those of them that the forecast alone does not have.
    worst_loading, lowest_v_pu, highest_v_pu : float
        Among all violations; NaN without any. [1], [pu]
    """

    violations: int
    caused: int
    worst_loading: float
    lowest_v_pu: float
    highest_v_pu: float


@dataclass(frozen=True, slots=True)
class SchemeComparison:
    """Schemes on one delivery day of a city.

    Attributes
    ----------
    city : str
    day : MarketDay
    seed : int
    comparison : Comparison
    checks : dict of str to AcCheck
        By name of scheme.
    facts : dict of str to float
        Size of the case: nodes, offers, needs.
    seconds : float
    """

    city: str
    day: MarketDay
    seed: int
    comparison: Comparison
    checks: dict[str, AcCheck]
    facts: dict[str, float]
    seconds: float

    @property
    def table(self) -> "pa.Table":
        """One row per scheme: key figures of the case, efficiency, and the AC check."""
        import pyarrow as pa

        table = self.comparison.to_arrow()
        checks = [self.checks[name] for name in table["scheme"].to_pylist()]
        for name in AcCheck.__slots__:
            values = pa.array([getattr(check, name) for check in checks], from_pandas=True)
            table = table.append_column(f"ac_{name}", values)
        return table

    @property
    def digest(self) -> str:
        """SHA-256 over the table: equal for equal results, whatever the threads and the time it took."""
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        table = self.table.combine_chunks()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return hashlib.sha256(sink.getvalue()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Everything for machines."""
        seconds = {outcome.scheme: round(outcome.seconds, 3) for outcome in self.comparison.outcomes}
        return {
            "city": self.city,
            "day": str(self.day.date),
            "tz": self.day.tz,
            "seed": self.seed,
            "digest": self.digest,
            "facts": self.facts,
            "schemes": self.table.to_pylist(),
            "figure_2": [
                {
                    "criterion": c.name,
                    "grades": c.grades,
                    "figures": c.figures,
                    "agreeing": c.agreeing,
                    "pairs": c.pairs,
                }
                for c in self.comparison.figure_2()
            ],
            "seconds": {"total": round(self.seconds, 3), **seconds},
        }

    def write(self, folder: str | Path) -> list[Path]:
        """Write schemes.parquet and compare.json; return the files."""
        import pyarrow.parquet as pq

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        files = [target / "schemes.parquet", target / "compare.json"]
        pq.write_table(self.table, files[0], compression="zstd")
        text = json.dumps(_plain(self.as_dict()), indent=1, default=str, allow_nan=False)
        files[1].write_text(text, encoding="utf-8")
        return files


def _plain(value: Any) -> Any:
    """Put None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def compare_schemes(
    city: City,
    day: MarketDay | str | None = None,
    schemes: Sequence[str | Scheme] | None = None,
    *,
    curve_points: int = 8,
    n_threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> SchemeComparison:
    """Run coordination schemes on one delivery day of a city and put their figures side by side.

    Parameters
    ----------
    city : City
        Every input: network, customers, offers, forecasts (`flexcore.cities`).
    day : MarketDay or str, optional
        Delivery day, or its local date; the city's default day if not given.
    schemes : sequence of str or Scheme, optional
        Names of `flexcore.market.schemes.presets()`, or schemes of your own (`read_schemes`). By default all presets,
        the five levels of grid safety of the multi-level market, and the priced interfaces.
    curve_points : int
        Points of an aggregated cost curve.
    n_threads : int
        The result has the same bits for any number.
    progress : callable, optional
        Called with a line of text: once for registration, once for the case, and once per scheme.

    Returns
    -------
    SchemeComparison

    Raises
    ------
    OptionError
        FX-E002 for an unknown scheme.
    ValidationError
        FX-A009 for two schemes of one name.

    Notes
    -----
    Every scheme sees the same offers, forecasts, margins and needs, and each quarter-hour is cleared in the session
    that makes it firm (`flexcore.study.scheme_case`). `run_day` computes D4.1's scheme with its preliminary sessions,
    PODs and settlement.
    """
    asked = default_schemes() if schemes is None else tuple(scheme(which) for which in schemes)
    names = [which.name for which in asked]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        found = Findings("schemes", len(names))
        found.add("FX-A009", "two schemes have one name", ids=twice, hint="rename one: scheme.renamed(name, title)")
        found.raise_errors(ValidationError)
    clock = time.perf_counter()
    say = progress or (lambda _: None)
    delivery = day if isinstance(day, MarketDay) else MarketDay(city.default_day if day is None else day)
    say("registration and prequalification")
    registration = register_city(city, delivery, n_threads=n_threads)
    say("forecasts, limits and offers")
    case = scheme_case(city, delivery, registration, n_threads=n_threads)
    expected = firm_forecast(city, delivery)
    checks: dict[str, AcCheck] = {}

    def inspect(run: SchemeRun) -> None:
        # a yardstick may carry the name of an asked scheme that differs from it: the asked ones run first
        if run.scheme.name not in checks:
            checks[run.scheme.name] = _ac_check(case, run, *expected, n_threads)

    comparison = compare(case, asked, curve_points=curve_points, n_threads=n_threads, progress=say, inspect=inspect)
    facts = {
        "nodes": float(city.grid.n_nodes),
        "pods": float(city.n_pods),
        "offers": float(case.offers.n_offers),
        "needs": float(((case.layout.lower > 0) | (case.layout.upper < 0)).sum()),
        "voltage_needs": float(((case.layout.v_lower > 0) | (case.layout.v_upper < 0)).sum()),
        "balance_mwh": float(np.abs(case.balance_kw).sum() * case.step_hours / 1000.0),
        "steps": float(case.n_steps),
    }
    seconds = time.perf_counter() - clock
    return SchemeComparison(city.name, delivery, city.seed, comparison, checks, facts, seconds)


def _ac_check(case: CoordinationCase, run: SchemeRun, p_kw: Any, q_kvar: Any, n_threads: int) -> AcCheck:
    """Solve the whole outcome by AC power flow."""
    offers, n = case.offers, case.grid.n_nodes
    moved = np.zeros((2, n, case.n_steps))
    for way in (UP, DOWN):
        mine = (offers.node >= 0) & (offers.direction == way)
        np.add.at(moved[way], offers.node[mine], run.taken_kw[mine])
    nothing = np.zeros((n, case.n_steps))
    found = check_outcome(
        case.grid, p_kw, q_kvar, local_up_kw=nothing, local_down_kw=nothing, global_up_kw=moved[UP],
        global_down_kw=moved[DOWN], n_threads=n_threads,
    )  # fmt: skip
    loading, v = found.value[found.kind == LOADING], found.value[(found.kind != LOADING) & (found.element >= 0)]
    none = float("nan")
    return AcCheck(
        violations=found.n_violations,
        caused=int((found.cause != FORECAST).sum()),
        worst_loading=float(loading.max()) if loading.size else none,
        lowest_v_pu=float(v.min()) if v.size else none,
        highest_v_pu=float(v.max()) if v.size else none,
    )
