"""A city: everything that the coordination process takes as input for one delivery day, as plain arrays.

The arrays come from a generator (`flexcore.study.cities`), but nothing here knows that: a platform builder who has
real registers, readings and forecasts fills the same classes with them. Positions are dense: POD p is row p of every
POD array, node n is `grid.node_ids[n]`. Money is int64 micro-EUR per MWh, power int64 or int32 W, withdrawal
positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from flexcore.study.participants import (
    PV,
    Aggregates,
    Bsps,
    Floats,
    Int32s,
    Int64s,
    OfferLines,
    Places,
    Pods,
    Products,
    TechnicalTests,
)

if TYPE_CHECKING:
    from flexcore.grid.network import Grid
    from flexcore.market_day import MarketDay


__all__ = [
    "PV",
    "Aggregates",
    "Available",
    "Bsps",
    "City",
    "Conduct",
    "DaySource",
    "Forecast",
    "GlobalNeeds",
    "GrowthReport",
    "OfferLines",
    "Places",
    "Pods",
    "Products",
    "Realised",
    "TechnicalTests",
]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the DSO expects at a session (FOR-01).

    Attributes
    ----------
    p_kw, q_kvar : ndarray, shape (n_nodes, n_steps)
        Expected node loads without any flexibility awards.
    node_sigma_kw : ndarray, shape (n_nodes, n_steps)
        Standard deviation of the node's own error, independent between nodes.
    area_sigma : float
        Standard deviation of the error that all nodes of one flex_area share, as a part of their load.
    """

    p_kw: Floats
    q_kvar: Floats
    node_sigma_kw: Floats
    area_sigma: float


@dataclass(frozen=True, slots=True)
class Realised:
    """The day as it happens without flexibility awards.

    Attributes
    ----------
    p_kw, q_kvar : ndarray, shape (n_nodes, n_steps)
        Node loads: exact sums of whole W and var over the node's PODs.
    load_w : ndarray of int32, shape (n_pods, n_steps)
        Net withdrawal of every POD. [W]
    """

    p_kw: Floats
    q_kvar: Floats
    load_w: Int32s


@dataclass(frozen=True, slots=True)
class Available:
    """Power that each POD's devices can move in each step.

    Attributes
    ----------
    up_w, down_w : ndarray of int64, shape (n_pods, n_steps)
        Less withdrawal or more injection, and the opposite. 0 without mandate. [W]
    """

    up_w: Int64s
    down_w: Int64s


@dataclass(frozen=True, slots=True)
class GlobalNeeds:
    """What the TSO wants from the zone (MSD-01), without local activation.

    Attributes
    ----------
    need_w : ndarray of int64, shape (n_zones, n_hours)
        Positive: up, negative: down. [W]
    price_cap_ueur_per_mwh : int
    """

    need_w: Int64s
    price_cap_ueur_per_mwh: int


@dataclass(frozen=True, slots=True)
class Conduct:
    """How PODs really follow orders on one day; settlement never sees this (MET-01).

    Attributes
    ----------
    response_pm : ndarray of int32, shape (n_pods,)
        Part of an order that the POD delivers; 0: it does not answer at all. [per mille]
    rebound_pm : ndarray of int32, shape (n_pods,)
        Part of the delivered energy that comes back with the opposite sign in the next `rebound_steps`. [per mille]
    rebound_steps : int
    """

    response_pm: Int32s
    rebound_pm: Int32s
    rebound_steps: int


@dataclass(frozen=True, slots=True)
class GrowthReport:
    """The stress that was laid on the network, and what it does on the default day (for the report).

    Attributes
    ----------
    factors : dict of str to float
        Uniform factor, shares of PODs with each technology, spread of the clustering, installed kW.
    counts : dict of str to int
        PODs and flexible PODs, per technology and in all.
    overloads : dict of str to int
        Violated elements on the default day, by AC power flow: transformers, feeders, lines, nodes; with their totals.
    """

    factors: dict[str, float]
    counts: dict[str, int]
    overloads: dict[str, int]


class DaySource(Protocol):
    """Where a city gets the series of a day; the synthetic city has `flexcore.study.cities.days.SyntheticDays`."""

    def realised(self, day: MarketDay) -> Realised:
        """See `City.realised`."""
        ...

    def available(self, day: MarketDay) -> Available:
        """See `City.available`."""
        ...

    def offerable(self, day: MarketDay) -> Available:
        """See `City.offerable`."""
        ...

    def nominated_w(self, day: MarketDay, pods: Any) -> Int32s:
        """See `City.nominated_w`."""
        ...

    def forecast(self, day: MarketDay, session: int) -> Forecast:
        """See `City.forecast`."""
        ...

    def history_w(self, day: MarketDay, n_days: int, pods: Any) -> Int32s:
        """See `City.history_w`."""
        ...

    def global_needs(self, day: MarketDay, session: int) -> GlobalNeeds:
        """See `City.global_needs`."""
        ...

    def conduct(self, day: MarketDay) -> Conduct:
        """See `City.conduct`."""
        ...


@dataclass(frozen=True, slots=True)
class City:
    """A distribution network with its customers, flexible units, providers and markets.

    Attributes
    ----------
    name, code : str
        Name shown in the report; source network.
    seed : int
    default_day : str
        Local date on which every phase of the process has work to do.
    grid : Grid
    places : Places
    pods : Pods
    bsps : Bsps
    aggregates : Aggregates
    products : Products
    tests : TechnicalTests
    local_lines, global_lines : OfferLines
    snapshots_p_kw, snapshots_q_kvar : ndarray, shape (n_nodes, n_snapshots)
        Node loads at the worst reference hours (winter evening, sunny midday, ...) for the static traffic light.
    growth_report : GrowthReport
    attribution : str
        Source and licence of the data, to be shown wherever results are.
    days : DaySource
    """

    name: str
    code: str
    seed: int
    default_day: str
    grid: Grid
    places: Places
    pods: Pods
    bsps: Bsps
    aggregates: Aggregates
    products: Products
    tests: TechnicalTests
    local_lines: OfferLines
    global_lines: OfferLines
    snapshots_p_kw: Floats
    snapshots_q_kvar: Floats
    growth_report: GrowthReport
    attribution: str
    days: DaySource

    @property
    def n_pods(self) -> int:
        """Number of Points of Delivery."""
        return int(self.pods.node.size)

    @property
    def pod_rank(self) -> Int64s:
        """Place of each POD in the order of POD codes: ties and draws hang on it, not on the order of rows."""
        rank = np.empty(self.n_pods, np.int64)
        rank[np.argsort(self.pods.code, kind="stable")] = np.arange(self.n_pods)
        return rank

    def realised(self, day: MarketDay) -> Realised:
        """Return the day as it happens without flexibility awards."""
        return self.days.realised(day)

    def available(self, day: MarketDay) -> Available:
        """Return the power that each POD can move in each step of the day: the truth that limits delivery."""
        return self.days.available(day)

    def offerable(self, day: MarketDay) -> Available:
        """Return what the BSPs expect each POD to be able to move: all that offers know (FOR-01)."""
        return self.days.offerable(day)

    def nominated_w(self, day: MarketDay, pods: npt.ArrayLike) -> Int32s:
        """Return the baselines that BSPs nominate for some PODs before the gate of the day before (BAS-03).

        Parameters
        ----------
        day : MarketDay
        pods : array_like of int
            POD positions.

        Returns
        -------
        ndarray of int32, shape (n_pods, day.n_steps)
            Withdrawal as foreseen day-ahead. [W]
        """
        return self.days.nominated_w(day, pods)

    def forecast(self, day: MarketDay, session: int) -> Forecast:
        """Return what the DSO expects at session 1..6; the error shrinks from session to session (FOR-01)."""
        return self.days.forecast(day, session)

    def history_w(self, day: MarketDay, n_days: int, pods: npt.ArrayLike | None = None) -> Int32s:
        """Return readings of the days before, oldest first, on the steps of `day`.

        Parameters
        ----------
        day : MarketDay
        n_days : int
        pods : array_like of int, optional
            POD positions; all by default.

        Returns
        -------
        ndarray of int32, shape (n_pods, n_days, day.n_steps)
            A past day that has another number of quarter-hours is brought to the clock of `day`. [W]
        """
        return self.days.history_w(day, n_days, pods)

    def global_needs(self, day: MarketDay, session: int) -> GlobalNeeds:
        """Return the TSO's signed needs as known at session 1..6."""
        return self.days.global_needs(day, session)

    def conduct(self, day: MarketDay) -> Conduct:
        """Return how PODs will really follow orders on the day."""
        return self.days.conduct(day)
