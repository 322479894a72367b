"""The four key performance indicators of D4.1 Table 11, each with the parts that explain it.

D4.1 gives words and leaves the calculation open; the formulas here are written in docs/explanation/kpis.md. A figure
that cannot be computed (no tests, nothing to move, no span between the reference costs) is NaN, never a guess.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_WQH_PER_MWH = 4e6


@dataclass(frozen=True, slots=True)
class KpiRow:
    """One key figure (`part` empty) or one of its parts.

    Attributes
    ----------
    key, part : str
    value : float
        NaN where it cannot be computed.
    unit, meaning : str
    """

    key: str
    part: str
    value: float
    unit: str
    meaning: str


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


def prequalification(tests_done: int, tests_without: int, n_qualified: int) -> list[KpiRow]:
    """Efficiency of prequalification: the share of technical tests that the Table of Equivalences saved.

    Parameters
    ----------
    tests_done : int
        Tests carried out.
    tests_without : int
        Tests that the same requests need when every product is tested by its own operator.
    n_qualified : int
        Pairs of aggregate and service that ended qualified.
    """
    key = "prequalification_efficiency"
    return [
        KpiRow(key, "", _ratio(tests_without - tests_done, tests_without), "1", "share of technical tests saved"),
        KpiRow(key, "tests_done", float(tests_done), "tests", "technical tests carried out"),
        KpiRow(
            key, "tests_without", float(tests_without), "tests", "technical tests without the Table of Equivalences"
        ),
        KpiRow(
            key,
            "tests_per_service",
            _ratio(tests_done, n_qualified),
            "tests/service",
            "tests per qualified aggregate and service",
        ),
    ]


def local_impact(declared: int, validated: int, after_local: int, in_units: int, after_light: int) -> list[KpiRow]:
    """Impact of local constraints: the part of the movable energy that the TSO can still get, cause by cause.

    Parameters
    ----------
    declared, validated, after_local, in_units, after_light : int
        Energy that global aggregates could move over the day, both directions: as declared and physically movable in
        the step, after the static traffic light, after local sessions have taken their PODs, what lasts through each
        market time unit, and what the dynamic traffic lights let through of that. [wqh]
    """
    key = "local_constraint_impact"
    mwh = [value / _WQH_PER_MWH for value in (declared, validated, after_local, in_units, after_light)]
    return [
        KpiRow(key, "", _ratio(after_light, declared), "1", "deliverable over declared and movable energy"),
        KpiRow(key, "static_light", _ratio(validated, declared), "1", "left by the static traffic light"),
        KpiRow(key, "local_sessions", _ratio(after_local, validated), "1", "of that, left by local sessions"),
        KpiRow(key, "market_time_unit", _ratio(in_units, after_local), "1", "of that, lasting through a whole unit"),
        KpiRow(key, "dynamic_light", _ratio(after_light, in_units), "1", "of that, left by the dynamic traffic light"),
        KpiRow(key, "declared_mwh", mwh[0], "MWh", "declared and physically movable"),
        KpiRow(key, "validated_mwh", mwh[1], "MWh", "after the static traffic light"),
        KpiRow(key, "after_local_mwh", mwh[2], "MWh", "after local sessions"),
        KpiRow(key, "in_units_mwh", mwh[3], "MWh", "lasting through a market time unit"),
        KpiRow(key, "deliverable_mwh", mwh[4], "MWh", "after the dynamic traffic light"),
    ]


def market_efficiency(local: float, scheme_global: float, fragmented: float, common: float, safe: bool) -> list[KpiRow]:
    """Coordinated market efficiency in span form: 1 is the fully coupled market, 0 no access of the TSO to DER.

    Parameters
    ----------
    local, scheme_global : float
        Cost of the local and the global side of the scheme, need that is not served priced alike in all three. [EUR]
    fragmented : float
        Cost where local markets stand alone and the TSO buys elsewhere at its price cap. [EUR]
    common : float
        Cost where one market serves both needs with all offers on the same grid. [EUR]
    safe : bool
        False gives no figure: an outcome that breaks the grid is not efficient.
    """
    key = "market_efficiency"
    scheme = local + scheme_global
    span = fragmented - common
    value = (fragmented - scheme) / span if safe and span > 0 else float("nan")
    return [
        KpiRow(key, "", value, "1", "(fragmented - scheme) / (fragmented - common)"),
        KpiRow(key, "scheme_eur", scheme, "EUR", "cost of the coordinated sessions"),
        KpiRow(key, "local_eur", local, "EUR", "of that, local sessions"),
        KpiRow(key, "global_eur", scheme_global, "EUR", "of that, global sessions"),
        KpiRow(key, "fragmented_eur", fragmented, "EUR", "cost without access of the TSO to distributed resources"),
        KpiRow(key, "common_eur", common, "EUR", "cost of one market for both needs"),
    ]


def continuance(profit_ueur: Ints, threshold_ueur: int = 0) -> list[KpiRow]:
    """Continuance of adoption: share of BSPs whose profit exceeds a threshold in both halves of the period (a proxy).

    Parameters
    ----------
    profit_ueur : ndarray of int64, shape (n_bsps, 2)
        Payments minus penalties minus own cost of delivery, first and second half. [micro-EUR]
    threshold_ueur : int
    """
    key = "continuance_of_adoption"
    stays = (profit_ueur > threshold_ueur).all(axis=1)
    eur = profit_ueur.sum(axis=1) / 1e6
    return [
        KpiRow(
            key,
            "",
            float(stays.mean()) if stays.size else float("nan"),
            "1",
            "share of BSPs with profit in both halves",
        ),
        KpiRow(key, "bsps", float(stays.size), "BSPs", "providers with at least one aggregate"),
        KpiRow(key, "staying", float(stays.sum()), "BSPs", "providers with profit in both halves of the day"),
        KpiRow(key, "profit_eur", float(eur.sum()), "EUR", "profit of all providers"),
        KpiRow(key, "least_profit_eur", float(eur.min(initial=0.0)), "EUR", "least profit of one provider, or 0"),
    ]


def to_table(rows: list[KpiRow]) -> Any:
    """Return key figures as the `kpis` table of a day."""
    import pyarrow as pa

    names = ("key", "part", "value", "unit", "meaning")
    return pa.table({name: [getattr(row, name) for row in rows] for name in names})
