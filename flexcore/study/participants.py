"""Who takes part in a city's markets, where, with what and at which price: the tables of one registration.

Positions are dense: POD p is row p of every POD array, node n is `grid.node_ids[n]`. Money is int64 micro-EUR per MWh,
power int64 W, withdrawal positive.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.units import DOWN

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
    activation_s, recovery_s : ndarray of int32
        Time that the unit needs to act, and least time between two of its activations (MUT-05). [s]
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
    recovery_s: Int32s
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
