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

from flexcore.units import DOWN

if TYPE_CHECKING:
    from flexcore.grid.network import Grid
    from flexcore.market_day import MarketDay

Bools = npt.NDArray[np.bool_]
Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]

#: Technologies behind a POD, bits of `Pods.technology` (D4.1 Table 5).
PV, EV, HEAT_PUMP, BATTERY, DEMAND, OTHER_GENERATION = 1, 2, 4, 8, 16, 32
TECHNOLOGIES: dict[int, str] = {
    PV: "PV",
    EV: "EV",
    HEAT_PUMP: "heat pump",
    BATTERY: "battery",
    DEMAND: "demand",
    OTHER_GENERATION: "generation",
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where a node lies: geography for the map and the areas that products, traffic lights and settlement refer to.

    Attributes
    ----------
    x, y : ndarray, shape (n_nodes,)
        Longitude and latitude. [degree] NaN where the source network has none.
    zone_of_node : ndarray of int32, shape (n_nodes,)
        Position in `zone_ids`: the zone of the global market. One zone in the first version.
    area_of_node : ndarray of int32, shape (n_nodes,)
        Position in `area_ids`: the `flex_area`, the ex-ante area of the local product (AGG-01): one feeder of the root
        busbar; -1 for the busbar and what feeds it.
    substation_of_node : ndarray of int32, shape (n_nodes,)
        Position in `substation_ids`: the secondary substation that feeds the node, -1 above them.
    substation_branch : ndarray of int32, shape (n_substations,)
        Branch position of the (first) transformer of each secondary substation.
    perimeter_of_node : ndarray of int32, shape (n_nodes,)
        Position in `perimeter_ids`: the `dtl_perimeter` of the first version of the day; -1 where no POD may move.
    zone_ids, area_ids, substation_ids, perimeter_ids : ndarray of str
    """

    x: Floats
    y: Floats
    zone_of_node: Int32s
    area_of_node: Int32s
    substation_of_node: Int32s
    substation_branch: Int32s
    perimeter_of_node: Int32s
    zone_ids: Names
    area_ids: Names
    substation_ids: Names
    perimeter_ids: Names


@dataclass(frozen=True, slots=True)
class Pods:
    """Points of Delivery with what their owners, the DSO and the BSPs declare (D4.1 Table 6).

    Attributes
    ----------
    code : ndarray of str, shape (n_pods,)
        POD code, unique, `IT002E` and eight characters.
    node : ndarray of int32, shape (n_pods,)
        Node position.
    category : ndarray of str
        "domestic", "business", "mv" or "producer".
    voltage : ndarray of str
        "LV" or "MV".
    contracted_in_w, contracted_out_w : ndarray of int64
        Connection limits for withdrawal and injection. [W]
    peak_in_w, peak_out_w : ndarray of int64
        Largest quarter-hour withdrawal and injection that the DSO's meters saw in the year. [W]
    technology : ndarray of int16
        Set of technologies behind the POD: bits PV, EV, HEAT_PUMP, BATTERY, DEMAND, OTHER_GENERATION.
    bsp : ndarray of int32
        Position of the BSP that holds the POD's mandate, -1: the POD takes no part (not registered).
    pgui : ndarray of str
        Identifier of the certifying gateway, "" without mandate.
    declared_up_w, declared_down_w : ndarray of int64
        Flexibility as the BSP declares it at registration: often optimistic, sometimes wrong. 0 without mandate. [W]
    activation_s : ndarray of int32
        Time that the unit needs to act. [s]
    local_aggregate, global_aggregate : ndarray of int32
        Position in `City.aggregates` of the one local and the one global aggregate of the POD, -1: none (AGG-02).
    local_share_pm, global_share_pm : ndarray of int32
        Part of the validated power that is enrolled there (Table 8, assumption 1), 0 without. [per mille]
    cost_up_ueur_per_mwh, cost_down_ueur_per_mwh : ndarray of int64
        What the BSP has to be paid per MWh for acting; negative: it would pay. [micro-EUR/MWh]
    """

    code: Names
    node: Int32s
    category: Names
    voltage: Names
    contracted_in_w: Int64s
    contracted_out_w: Int64s
    peak_in_w: Int64s
    peak_out_w: Int64s
    technology: npt.NDArray[np.int16]
    bsp: Int32s
    pgui: Names
    declared_up_w: Int64s
    declared_down_w: Int64s
    activation_s: Int32s
    local_aggregate: Int32s
    global_aggregate: Int32s
    local_share_pm: Int32s
    global_share_pm: Int32s
    cost_up_ueur_per_mwh: Int64s
    cost_down_ueur_per_mwh: Int64s


@dataclass(frozen=True, slots=True)
class Bsps:
    """Balance service providers and how they behave.

    Attributes
    ----------
    id : ndarray of str, shape (n_bsps,)
    careless : ndarray of bool, shape (n_bsps,)
        True: the BSP restates its lines without taking out the PODs that are already held, so that the platform has to
        cut or refuse the line (OFR-02).
    """

    id: Names
    careless: Bools


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Aggregates: one BSP and one market side each; a local one lies inside one flex_area (AGG-01).

    Attributes
    ----------
    id : ndarray of str, shape (n_aggregates,)
    bsp : ndarray of int32
    operator : ndarray of int8
        `units.LOCAL` (0) or `units.GLOBAL` (1).
    area : ndarray of int32
        flex_area of a local aggregate, -1 for a global one.
    zone : ndarray of int32
    product : ndarray of int32
        Position in `City.products` of the product that the aggregate applies for.
    """

    id: Names
    bsp: Int32s
    operator: Int8s
    area: Int32s
    zone: Int32s
    product: Int32s


@dataclass(frozen=True, slots=True)
class Products:
    """Products with the attributes of D4.1 Table 7.

    Attributes
    ----------
    id : ndarray of str, shape (n_products,)
    operator : ndarray of int8
    service : ndarray of str
        What is bought; the Table of Equivalences asks for the same service, requirement and test set-up.
    test_setup : ndarray of str
    up, down : ndarray of bool
        Directions that the product covers.
    min_w, granularity_w : ndarray of int64
        Smallest offer of a line or aggregate, and its step. [W]
    notice_s, recovery_s : ndarray of int32
        Notice time available for activation and least time between two requests. [s]
    first_month, last_month, first_hour, last_hour : ndarray of int32
        Availability windows, both ends included.
    weekdays : ndarray of int32
        Bit 0 is Monday.
    test_min_pm, test_step_pm, test_ramp_pm : ndarray of int32
        What the technical test asks for: delivered over required energy, the same in each due step, and the largest
        change between due steps. [per mille]
    validity_days : ndarray of int32
        How long a qualification lasts.
    """

    id: Names
    operator: Int8s
    service: Names
    test_setup: Names
    up: Bools
    down: Bools
    min_w: Int64s
    granularity_w: Int64s
    notice_s: Int32s
    recovery_s: Int32s
    first_month: Int32s
    last_month: Int32s
    first_hour: Int32s
    last_hour: Int32s
    weekdays: Int32s
    test_min_pm: Int32s
    test_step_pm: Int32s
    test_ramp_pm: Int32s
    validity_days: Int32s


@dataclass(frozen=True, slots=True)
class TechnicalTests:
    """How aggregates behave in a technical test (PRQ-02), one row per aggregate.

    Attributes
    ----------
    delivered_pm : ndarray of int32, shape (n_aggregates, n_test_steps)
        Delivered over required power. [per mille]
    baseline_w : ndarray of int64, shape (n_aggregates, n_test_steps)
        Withdrawal expected without the test. [W]
    due : ndarray of bool, shape (n_test_steps,)
        Steps in which power is asked for: those after the notice.
    """

    delivered_pm: Int32s
    baseline_w: Int64s
    due: Bools

    def readings(
        self, aggregate: npt.ArrayLike, direction: npt.ArrayLike, power_w: npt.ArrayLike
    ) -> tuple[Int64s, Int64s, Int64s]:
        """Return what a test of some aggregates asks for, the baseline and what the meters see.

        Parameters
        ----------
        aggregate : array_like of int, shape (n_tests,)
        direction : array_like of int, shape (n_tests,)
            `units.UP` or `units.DOWN`.
        power_w : array_like of int, shape (n_tests,)
            Power to be shown: that to be qualified. [W]

        Returns
        -------
        required_w, baseline_w, metered_w : ndarray of int64, shape (n_tests, n_test_steps)
        """
        rows = np.asarray(aggregate, np.int64)
        required = np.where(self.due, np.asarray(power_w, np.int64)[:, None], 0)
        delivered = required * self.delivered_pm[rows] // 1000
        sign = np.where(np.asarray(direction) == DOWN, -1, 1)[:, None]
        baseline = self.baseline_w[rows]
        return required.astype(np.int64), baseline, (baseline - sign * delivered).astype(np.int64)


@dataclass(frozen=True, slots=True)
class OfferLines:
    """Offer lines (OFR-01): local ones per (aggregate, node), global ones per (aggregate, perimeter), and direction.

    A line's quantity in a session is the sum over its PODs of what is validated, enrolled, available and free; the city
    knows only price and membership.

    Attributes
    ----------
    id : ndarray of str, shape (n_lines,)
    aggregate : ndarray of int32
    bsp : ndarray of int32
    direction : ndarray of int8
    node : ndarray of int32
        Node of a local line, -1 for a global one.
    perimeter : ndarray of int32
        dtl_perimeter of the line (of its node, for a local one).
    price_ueur_per_mwh : ndarray of int64
        What the operator pays per MWh in either direction (OFR-03).
    submitted : ndarray of int64
        Submission order, unique, for ties.
    line_of_pod : ndarray of int32, shape (2, n_pods)
        Line that offers the POD, per direction; -1 none.
    """

    id: Names
    aggregate: Int32s
    bsp: Int32s
    direction: Int8s
    node: Int32s
    perimeter: Int32s
    price_ueur_per_mwh: Int64s
    submitted: Int64s
    line_of_pod: Int32s


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
    """Where a city gets the series of a day; the synthetic city has `flexcore.study.days.SyntheticDays`."""

    def realised(self, day: MarketDay) -> Realised:
        """See `City.realised`."""
        ...

    def available(self, day: MarketDay) -> Available:
        """See `City.available`."""
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

    def realised(self, day: MarketDay) -> Realised:
        """Return the day as it happens without flexibility awards."""
        return self.days.realised(day)

    def available(self, day: MarketDay) -> Available:
        """Return the power that each POD can move in each step of the day."""
        return self.days.available(day)

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
