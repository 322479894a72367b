"""Who offers what: BSPs with their mandates, declarations, aggregates, products, tests and prices."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.study.cities import draws
from flexcore.study.cities.calibration import STREET_NUMBERS
from flexcore.study.cities.devices import Fleet, Floats
from flexcore.study.cities.growth import Customers
from flexcore.study.participants import (
    BATTERY,
    DEMAND,
    EV,
    HEAT_PUMP,
    OTHER_GENERATION,
    PV,
    Aggregates,
    Bools,
    Bsps,
    Int32s,
    Int64s,
    Places,
    Pods,
    Products,
    TechnicalTests,
)
from flexcore.units import GLOBAL, LOCAL

_TEST_STEPS, _NOTICE_STEPS = 10, 2
#: Connection limits that are contracted. [W]
_CONTRACTS = np.array([3, 4.5, 6, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10000])
#: How a BSP builds its aggregates (D4.1 Table 8): local and global ones the same; the same, for unlike products; the
#: local ones inside a global one; overlapping; every POD on one side only.
MIRROR, MIRROR_UNLIKE, INSIDE, OVERLAP, APART = range(5)
_STYLES = (INSIDE, MIRROR, OVERLAP, MIRROR_UNLIKE, APART)
_MOST_BSPS = 10
_PODS_PER_BSP = 8
_MARKET_A, _MARKET_B = 0, 1
#: Least time between two activations of what owes energy afterwards. [s]
_REST_S = {EV: 7200, HEAT_PUMP: 7200}


@dataclass(frozen=True, slots=True)
class Participation:
    """What providers choose to do, as the generator's parameters.

    Attributes
    ----------
    mandate_share : float
        Part of the PODs with a flexible device whose owner has given a mandate.
    optimism_share, optimism : float
        Part of the mandates whose declared power is too high, and the largest factor.
    confused_share : float
        Part of the mandates with PV alone that declare upward power, which PV does not have.
    careless_share : float
        Part of the BSPs that restate lines with PODs that are held (at least one).
    failed_test_share : float
        Part of the aggregates that deliver clearly too little in the technical test.
    """

    mandate_share: float = 0.75
    optimism_share: float = 0.25
    optimism: float = 3.0
    confused_share: float = 0.08
    careless_share: float = 0.2
    failed_test_share: float = 0.12


def market(
    customers: Customers, place: Places, participation: Participation, seed: int
) -> tuple[Pods, Bsps, Aggregates, Products, TechnicalTests]:
    """Return the market side of a city: mandates, declarations, BSPs, aggregates, products and tests."""
    devices, node = customers.devices, customers.node
    key = devices.key
    n_pods = node.size
    ratings = {
        bit: _sum(n_pods, fleet)
        for bit, fleet in (
            (PV, devices.pv),
            (EV, devices.ev),
            (HEAT_PUMP, devices.heat_pump),
            (BATTERY, devices.battery),
            (OTHER_GENERATION, devices.plant),
        )
    }
    shed = np.zeros(n_pods)
    shed[devices.demand.pod] = devices.demand.power_w * devices.demand.detail
    ratings[DEMAND] = shed
    technology = np.zeros(n_pods, np.int16)
    for bit, rating in ratings.items():
        technology |= np.where(rating > 0.0, bit, 0).astype(np.int16)

    can_offer = ((technology & ~np.int16(OTHER_GENERATION)) != 0) & (place.area_of_node[node] >= 0)
    public = np.zeros(n_pods, np.bool_)
    public[devices.ev.pod[devices.ev.number >= STREET_NUMBERS]] = True
    # whoever runs public chargers takes part, and on the local market
    mandated = can_offer & (public | (draws.uniform(seed, "mandate", key) < participation.mandate_share))
    n_bsps = int(np.clip(mandated.sum() // _PODS_PER_BSP, 2, _MOST_BSPS))
    bsp = np.where(mandated, _mandates(place.area_of_node[node], key, n_bsps, place.area_ids.size, seed), -1)
    bsp = bsp.astype(np.int32)

    contracts = _contracts(customers, ratings, seed)
    up, down = _declared(ratings, key, mandated, participation, seed)
    style = np.array([_STYLES[number % len(_STYLES)] for number in range(n_bsps)])
    aggregates, local, global_ = _aggregates(bsp, style, place, node, key, public, seed)
    share = np.where(
        draws.uniform(seed, "share", key) < 0.7,
        1000,
        500 + 100 * (bits_below(seed, "part share", key, 5)).astype(np.int64),
    )
    cost_up, cost_down = _costs(ratings, up, down, bsp, key, n_bsps, seed)
    household = ~customers.business & ~customers.medium_voltage & ~customers.producer
    pods = Pods(
        code=np.array(
            [f"IT002E{1_000_000 + row:07d}{'P' if own else 'A'}" for row, own in enumerate(customers.producer)]
        ),
        node=node,
        category=np.select(
            [household, customers.business, customers.medium_voltage], ["domestic", "business", "mv"], "producer"
        ),
        voltage=np.where(customers.medium_voltage | customers.producer, "MV", "LV"),
        contracted_in_w=contracts[0],
        contracted_out_w=contracts[1],
        peak_in_w=contracts[2],
        peak_out_w=contracts[3],
        technology=technology,
        bsp=bsp,
        pgui=np.array([f"PGUI-{row:06d}" if own else "" for row, own in enumerate(mandated)]),
        declared_up_w=up,
        declared_down_w=down,
        activation_s=np.where(mandated, 60 * (1 + bits_below(seed, "activation", key, 8)), 0).astype(np.int32),
        recovery_s=np.where(mandated, _rest_s(technology), 0).astype(np.int32),
        local_aggregate=local,
        global_aggregate=global_,
        local_share_pm=np.where(local >= 0, share, 0).astype(np.int32),
        global_share_pm=np.where(global_ >= 0, share, 0).astype(np.int32),
        cost_up_ueur_per_mwh=cost_up,
        cost_down_ueur_per_mwh=cost_down,
    )
    n_careless = max(1, round(participation.careless_share * n_bsps))
    # the larger ones first, so that it shows
    number = np.arange(n_bsps)
    first = np.argsort(draws.uniform(seed, "careless", number) + (number >= 3), kind="stable")[:n_careless]
    bsps = Bsps(
        id=np.array([f"BSP-{number + 1:02d}" for number in range(n_bsps)]),
        careless=np.isin(number, first),
    )
    return pods, bsps, aggregates, _products(), _tests(aggregates, pods, participation, seed)


def bits_below(seed: int, stream: str, key: Int64s, n: int) -> npt.NDArray[np.int64]:
    """Return whole numbers drawn from 0..n-1."""
    return np.floor(draws.uniform(seed, stream, key) * n).astype(np.int64)


def _sum(n_pods: int, fleet: Fleet) -> Floats:
    return np.bincount(fleet.pod, weights=fleet.power_w, minlength=n_pods).astype(np.float64)


def _mandates(area: Int32s, key: Int64s, n_bsps: int, n_areas: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the BSP of each POD: sizes fall like 1/rank, and each BSP is stronger in some areas."""
    number = np.arange(n_bsps)
    liking = np.exp(1.0 * draws.normal(seed, "bsp area", number[None, :], np.arange(max(n_areas, 1))[:, None]))
    edges = np.cumsum(liking / (1.0 + number), axis=1)
    edges /= edges[:, -1:]
    u = draws.uniform(seed, "bsp", key)[:, None]
    passed = (u >= edges[np.maximum(area, 0)]).sum(axis=1)
    return np.asarray(np.minimum(passed, n_bsps - 1), np.int64)


def _rest_s(technology: npt.NDArray[np.int16]) -> Int64s:
    """Least time between two activations of each POD: that of its slowest device. [s]."""
    rest = np.zeros(technology.size, np.int64)
    for bit, seconds in _REST_S.items():
        np.maximum(rest, seconds, out=rest, where=(technology & bit) != 0)
    return rest


def _contracts(customers: Customers, ratings: dict[int, Floats], seed: int) -> list[Int64s]:
    """Return contracted withdrawal and injection, and the measured peaks of the year, all in W.

    A customer's peak is its load's and part of its devices', whose peaks do not meet; the contract is the next size
    above nine tenths of it (meters tolerate ten per cent).
    """
    devices = customers.devices
    own = draws.uniform(seed, "peaks", devices.key)
    draw = ratings[EV] + ratings[HEAT_PUMP]
    peak_in = 1.15 * devices.base_w + (0.55 + 0.3 * own) * draw
    peak_out = (0.55 + 0.25 * own) * (ratings[PV] + ratings[BATTERY]) + ratings[OTHER_GENERATION]
    sizes = _CONTRACTS * 1000.0
    contracted_in = sizes[np.minimum(np.searchsorted(sizes, 0.9 * peak_in), sizes.size - 1)]
    feeds = ratings[PV] + ratings[OTHER_GENERATION]
    contracted_out = np.ceil(1.0 * feeds / 500.0) * 500.0
    values = [contracted_in, contracted_out, peak_in, peak_out]
    return [np.where(devices.idle, 0.0, value).astype(np.int64) for value in values]


def _declared(
    ratings: dict[int, Floats], key: Int64s, mandated: Bools, participation: Participation, seed: int
) -> tuple[Int64s, Int64s]:
    """Return declared power per direction in W: what the devices' ratings allow, and often more."""
    up = 0.9 * ratings[EV] + 0.8 * ratings[HEAT_PUMP] + ratings[BATTERY] + ratings[DEMAND]
    down = 0.9 * ratings[EV] + 0.5 * ratings[HEAT_PUMP] + ratings[BATTERY] + ratings[PV] + ratings[DEMAND] / 3.0
    too_high = draws.uniform(seed, "optimist", key) < participation.optimism_share
    factor = np.where(too_high, 1.0 + (participation.optimism - 1.0) * draws.uniform(seed, "optimism", key), 1.0)
    only_pv = (ratings[PV] > 0.0) & (up <= 0.0)
    confused = only_pv & (draws.uniform(seed, "confused", key) < participation.confused_share)
    up = np.where(confused, ratings[PV], up)
    rounded = [np.where(mandated, np.round(value * factor, -2), 0.0).astype(np.int64) for value in (up, down)]
    return rounded[0], rounded[1]


def _aggregates(
    bsp: Int32s, style: npt.NDArray[np.int64], place: Places, node: Int32s, key: Int64s, public: Bools, seed: int
) -> tuple[Aggregates, Int32s, Int32s]:
    """Build local aggregates per (BSP, flex_area) and global ones, in each BSP's style.

    A mirroring BSP has one global aggregate per flex_area with the members of its local one; the others have one per
    zone.
    """
    area = place.area_of_node[node]
    has = bsp >= 0
    own = style[np.maximum(bsp, 0)]
    u_local, u_global = draws.uniform(seed, "local side", key), draws.uniform(seed, "global side", key)
    in_local = np.select(
        [own == OVERLAP, own == APART, own == INSIDE], [u_local < 0.85, u_local < 0.6, u_local < 0.8], True
    )
    in_local = has & (in_local | public)
    in_global = has & np.select([own == OVERLAP, own == APART], [u_global < 0.7, ~in_local], True)
    mirror = (own == MIRROR) | (own == MIRROR_UNLIKE)
    n_areas = place.area_ids.size
    # (side, BSP, area or n_areas for a whole zone): one number per aggregate
    stride = n_areas + 1
    local_number = np.where(in_local, bsp * stride + area, -1)
    global_number = np.where(in_global, bsp * stride + np.where(mirror, area, n_areas), -1)
    locals_, globals_ = (np.unique(number[number >= 0]) for number in (local_number, global_number))
    number = np.concatenate([locals_, globals_])
    operator = np.repeat(np.array([LOCAL, GLOBAL], np.int8), [locals_.size, globals_.size])
    who, where = number // stride, number % stride
    unlike = style[who] == MIRROR_UNLIKE
    names = [*place.area_ids, *place.zone_ids]
    aggregates = Aggregates(
        id=np.array(
            [
                f"{'LOC' if side == LOCAL else 'GLO'}-BSP{one + 1:02d}-{names[at]}"
                for side, one, at in zip(operator, who, where, strict=True)
            ],
            str,
        ),
        bsp=who.astype(np.int32),
        operator=operator,
        area=np.where(operator == LOCAL, where, -1).astype(np.int32),
        zone=np.zeros(number.size, np.int32),
        product=(2 * operator + np.where(unlike, _MARKET_B, _MARKET_A)).astype(np.int32),
    )
    local = np.where(in_local, np.searchsorted(locals_, local_number), -1).astype(np.int32)
    global_ = np.where(in_global, locals_.size + np.searchsorted(globals_, global_number), -1).astype(np.int32)
    return aggregates, local, global_


def _products() -> Products:
    """Return two local and two global products.

    The first of each side are the same in service, requirement and test set-up, so that the Table of Equivalences can
    apply; the second ones differ in notice and test set-up.
    """
    return Products(
        id=np.array(["LOCAL-CONGESTION", "LOCAL-FAST", "GLOBAL-BALANCING", "GLOBAL-FAST"]),
        operator=np.array([LOCAL, LOCAL, GLOBAL, GLOBAL], np.int8),
        service=np.array(["active power", "active power", "active power", "active power, fast"]),
        test_setup=np.array(["quarter-hour meter", "quarter-hour meter", "quarter-hour meter", "PGUI at 4 s"]),
        up=np.ones(4, np.bool_),
        down=np.ones(4, np.bool_),
        min_w=np.array([1_000, 1_000, 1_000, 5_000], np.int64),
        granularity_w=np.array([1, 1, 1, 1], np.int64),
        notice_s=np.array([900, 600, 900, 600], np.int32),
        recovery_s=np.zeros(4, np.int32),
        first_month=np.ones(4, np.int32),
        last_month=np.full(4, 12, np.int32),
        first_hour=np.zeros(4, np.int32),
        last_hour=np.full(4, 23, np.int32),
        weekdays=np.full(4, 127, np.int32),
        test_min_pm=np.full(4, 900, np.int32),
        test_step_pm=np.array([700, 700, 700, 800], np.int32),
        test_ramp_pm=np.full(4, 1_000_000, np.int32),
        validity_days=np.full(4, 365, np.int32),
    )


def _tests(aggregates: Aggregates, pods: Pods, participation: Participation, seed: int) -> TechnicalTests:
    """Return how each aggregate delivers in its test: near what is asked, or clearly less for some.

    Aggregates with the same members behave the same, so numbers hang on (BSP, area), not on the side of the market.
    """
    n = aggregates.id.size
    whole_zone = np.where(aggregates.area >= 0, aggregates.area, -1)
    group = aggregates.bsp.astype(np.int64) * 4096 + whole_zone + 1
    steps = np.arange(_TEST_STEPS)
    level = 1.02 + 0.03 * draws.normal(seed, "test level", group)
    failed = draws.uniform(seed, "test failed", group) < participation.failed_test_share
    level = np.where(failed, 0.45 + 0.35 * draws.uniform(seed, "test short", group), level)
    noise = 0.03 * draws.normal(seed, "test noise", group[:, None], steps[None, :])
    delivered = np.rint(1000.0 * np.clip(level[:, None] + noise, 0.0, 1.5)).astype(np.int32)
    declared = np.zeros(n, np.int64)
    for member in (pods.local_aggregate, pods.global_aggregate):
        inside = member >= 0
        np.add.at(declared, member[inside], pods.declared_up_w[inside] + pods.declared_down_w[inside])
    ripple = 1.0 + 0.1 * draws.normal(seed, "test load", group[:, None], steps[None, :])
    baseline = np.rint(declared[:, None] * ripple).astype(np.int64)
    return TechnicalTests(delivered, baseline, steps >= _NOTICE_STEPS)


def _costs(
    ratings: dict[int, Floats], up: Int64s, down: Int64s, bsp: Int32s, key: Int64s, n_bsps: int, seed: int
) -> tuple[Int64s, Int64s]:
    """Return what acting costs per POD: by technology, spread over PODs, with the BSP's own margin, in micro-EUR/MWh.

    Giving up heat or charging is dear; taking energy early is nearly free or worth something, hence the negative
    prices.
    """
    eur = {
        # technology: mean and spread of the cost upwards, and downwards
        EV: (110.0, 25.0, -8.0, 18.0),
        HEAT_PUMP: (160.0, 30.0, 5.0, 20.0),
        BATTERY: (190.0, 25.0, 30.0, 10.0),
        DEMAND: (300.0, 50.0, 60.0, 20.0),
        PV: (0.0, 0.0, 85.0, 15.0),
    }
    margin = 1.0 + 0.15 * draws.normal(seed, "margin", np.arange(n_bsps))
    result = []
    for side, declared in ((0, up), (2, down)):
        weight, total = np.zeros(key.size), np.zeros(key.size)
        for bit, values in eur.items():
            part = np.zeros(key.size) if side == 0 and bit == PV else ratings[bit]
            own = values[side] + values[side + 1] * draws.normal(seed, f"cost {bit} {side}", key)
            weight += part
            total += part * own
        price = np.divide(total, weight, out=np.full(key.size, 150.0), where=weight > 0.0)
        price = np.where(price > 0.0, price * margin[np.maximum(bsp, 0)], price)
        # prices are quoted in cents
        result.append(np.where((declared > 0) & (bsp >= 0), np.rint(price * 100.0) * 10_000.0, 0.0).astype(np.int64))
    return result[0], result[1]
