"""The stress of 2030 on a network of today: more load, and electric cars, heat pumps and PV in clusters.

D4.1 expects Rome's peak to grow from 2 to 3 GW by 2030, with 600 MW of charging and 400 MW of heat pumps. Growth that
is the same everywhere leaves SimBench's networks idle, and real growth is not: adoption is drawn per POD with
probabilities that carry a log-normal factor for the secondary substation and one for the LV feeder. One number, the
strength, scales all probabilities until the wanted share of transformers is overloaded on the default day.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flexcore.grid.network import Grid
from flexcore.market_day import MarketDay
from flexcore.study.cities import draws
from flexcore.study.cities.calibration import STREET_NUMBERS, STRONGEST, calibrate
from flexcore.study.cities.devices import EV_EVENING, EV_NIGHT, EV_WORK, Devices, Fleet, Floats
from flexcore.study.cities.source import HEAT_PUMP_PROFILES, PV_PROFILES, Source
from flexcore.study.participants import Bools, Int32s, Int64s, Places

_PLANT_KEY = 1_000_000_000  # keys of PODs that only feed in start here
_MOST_DEVICES = 4  # of one kind at one POD, of the adopted ones
_HOTTEST = 12.0  # clustering factor of a place over the mean, at most
_STREET_MOST = 40  # chargers in one street


@dataclass(frozen=True, slots=True)
class Growth:
    """What is laid on the network.

    Attributes
    ----------
    load_factor : float
        On all loads as shipped: D4.1's 2 to 3 GW.
    ev_share, heat_pump_share, pv_share : float
        Mean number of devices per POD before the strength (existing PV comes on top). SimBench's loads are
        connections of 4 kW on average, often houses with several flats: one may have several charging points.
    battery_share : float
        Share of PODs with PV that also have a battery.
    idle_share : float
        Share of connections that are suspended: registered perhaps, but without contract or load.
    substation_spread, feeder_spread : float
        Standard deviation of the logarithm of the two clustering factors.
    overloaded_share : float
        Share of secondary transformers that shall exceed 100 % in some step of the default day (at least one).
    largest_loading : float
        A transformer loaded more than this would have been replaced: growth stops there.
    street_share : float
        Share of LV feeders (at least one) that get public chargers at their far end.
    low_nodes : int
        Nodes that shall leave their voltage band because of them.
    """

    load_factor: float = 1.5
    ev_share: float = 0.12
    heat_pump_share: float = 0.20
    pv_share: float = 0.10
    battery_share: float = 0.4
    idle_share: float = 0.01
    substation_spread: float = 2.0
    feeder_spread: float = 0.5
    overloaded_share: float = 0.04
    largest_loading: float = 1.3
    street_share: float = 0.005
    low_nodes: int = 5


@dataclass(frozen=True, slots=True)
class Customers:
    """PODs before anyone has registered them, row by row.

    Attributes
    ----------
    node : ndarray of int32, shape (n_pods,)
    business, medium_voltage, producer : ndarray of bool
    devices : Devices
    strength : float
        Factor on all shares that the calibration found.
    street_chargers : int
        Public chargers per street that it found.
    """

    node: Int32s
    business: Bools
    medium_voltage: Bools
    producer: Bools
    devices: Devices
    strength: float
    street_chargers: int


def lay_customers(
    source: Source, place: Places, lv_feeder: Int32s, growth: Growth, day: MarketDay, seed: int, n_threads: int = 1
) -> Customers:
    """Return the PODs of a network and their devices: one POD per load, and one per plant that stands at no load."""
    has_load = np.zeros(source.grid.n_nodes, np.bool_)
    has_load[source.load_node] = True
    alone = ~has_load[source.plant_node]
    n_loads, n_alone = source.load_key.size, int(alone.sum())
    node = np.concatenate([source.load_node, source.plant_node[alone]]).astype(np.int32)
    key = np.concatenate([source.load_key, _PLANT_KEY + source.plant_key[alone]])
    producer = np.arange(node.size) >= n_loads
    household = np.concatenate([np.char.startswith(source.load_kind, "H0"), np.zeros(n_alone, np.bool_)])
    medium = source.grid.v_nom_kv[node] >= 1.0
    business = ~household & ~producer

    own = np.exp(0.3 * draws.normal(seed, "customer", key) - 0.045)
    peak = np.zeros(node.size)
    peak[:n_loads] = source.load_w * growth.load_factor * own[:n_loads]
    candidates = Devices(
        key=key,
        base_w=peak,
        tan_phi=np.concatenate([source.load_tan_phi, np.zeros(n_alone)]),
        base_profile=np.concatenate([source.load_profile, np.zeros(n_alone, np.int32)]).astype(np.int32),
        base_shift=np.rint(1.5 * draws.normal(seed, "habits", key)).astype(np.int32),
        idle=(draws.uniform(seed, "idle", key) < growth.idle_share) & ~producer,
        pv=_EMPTY,
        ev=_EMPTY,
        heat_pump=_EMPTY,
        battery=_EMPTY,
        demand=_large_demand(key, peak, business, seed),
        plant=_plants(source, alone, n_loads),
    )
    chances = _chances(seed, place, lv_feeder, node, growth, producer | medium)
    pv, pv_need = _pv(source, key, business, chances["pv"], seed)
    old = _existing_pv(source, key, node, n_loads, alone, seed)
    pv, pv_need = _merge(old, np.zeros(old.pod.size), pv, pv_need)
    ev, ev_need = _charging_points(key, business, chances["ev"], seed)
    heat, heat_need = _heat_pumps(source, key, business, chances["heat_pump"], seed)
    battery, battery_need = _batteries(pv, pv_need, key, growth.battery_share, seed)
    streets, street_need = _streets(source.grid, key, node, producer | medium, lv_feeder, growth.street_share, seed)
    candidates = replace(candidates, ev=ev, heat_pump=heat, pv=pv, battery=battery)
    need = {"ev": ev_need, "heat_pump": heat_need, "pv": pv_need, "battery": battery_need}
    found = calibrate(
        source, place, node, candidates, need, streets, street_need, day, seed,
        overloaded_share=growth.overloaded_share, largest_loading=growth.largest_loading, low_nodes=growth.low_nodes,
        n_threads=n_threads,
    )  # fmt: skip
    return Customers(
        node, business & ~medium, medium & ~producer, producer, found.devices, found.strength, found.street_chargers
    )


_EMPTY = Fleet(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int32), np.zeros(0))


def _fleet(
    pod: npt.NDArray[np.integer],
    number: npt.NDArray[np.integer],
    power_w: Floats,
    profile: npt.ArrayLike,
    detail: npt.ArrayLike,
) -> Fleet:
    return Fleet(
        pod.astype(np.int32),
        number.astype(np.int32),
        np.asarray(power_w, np.float64),
        np.broadcast_to(np.asarray(profile, np.int32), pod.shape),
        np.broadcast_to(np.asarray(detail, np.float64), pod.shape),
    )


def _merge(first: Fleet, first_need: Floats, second: Fleet, second_need: Floats) -> tuple[Fleet, Floats]:
    order = np.lexsort((np.concatenate([first.number, second.number]), np.concatenate([first.pod, second.pod])))
    return first.joined(second), np.concatenate([first_need, second_need])[order]


def _chances(
    seed: int, place: Places, lv_feeder: Int32s, node: Int32s, growth: Growth, excluded: Bools
) -> dict[str, Floats]:
    """Return the mean number of devices per POD at strength 1: the share times the two clustering factors."""
    station, feeder = place.substation_of_node[node], lv_feeder[node]
    shares = {"ev": growth.ev_share, "heat_pump": growth.heat_pump_share, "pv": growth.pv_share}
    result = {}
    for name, share in shares.items():
        cluster = np.exp(
            growth.substation_spread * draws.normal(seed, f"{name} station", station)
            + growth.feeder_spread * draws.normal(seed, f"{name} feeder", feeder)
        )
        # over the PODs that can have it the mean is 1, also where a network has few stations; then the tail is cut
        inside = ~excluded & (station >= 0)
        cluster = np.minimum(cluster / max(float(cluster[inside].mean()), 1e-9) if inside.any() else cluster, _HOTTEST)
        result[name] = np.where(excluded, 0.0, share * np.where(station >= 0, cluster, 1.0))
    return result


def _candidates(
    seed: int, technology: str, key: Int64s, chance: Floats
) -> tuple[Int32s, Int32s, npt.NDArray[np.int64], Floats]:
    """Return POD, number, key and needed strength of every device that exists at some strength.

    Device j of a POD with uniform number u exists where chance x strength >= j + u: the mean number of devices is the
    chance times the strength, and more strength only adds.
    """
    number = np.arange(_MOST_DEVICES)
    u = draws.uniform(seed, f"{technology} adopted", key)[:, None]
    need = np.full((key.size, _MOST_DEVICES), np.inf)
    np.divide(number + u, chance[:, None], out=need, where=chance[:, None] > 0.0)
    pod, number = np.nonzero(need <= STRONGEST)
    return pod.astype(np.int32), number.astype(np.int32), key[pod] * 64 + number, need[pod, number]


def _charging_points(key: Int64s, business: Bools, chance: Floats, seed: int) -> tuple[Fleet, Floats]:
    pod, number, own, need = _candidates(seed, "ev", key, chance)
    u = draws.uniform(seed, "ev rating", own)
    home = np.array([3700.0, 7400.0, 11000.0, 22000.0])[draws.choice(u, [0.25, 0.40, 0.25, 0.10])]
    park = np.array([7400.0, 11000.0, 22000.0])[draws.choice(u, [0.40, 0.35, 0.25])]
    night = draws.uniform(seed, "ev habit", own) < 0.2
    habit = np.where(business[pod], EV_WORK, np.where(night, EV_NIGHT, EV_EVENING))
    level = np.where(draws.uniform(seed, "ev level", own) < 0.4, 0.6, 1.0)
    return _fleet(pod, number, np.where(business[pod], park, home), habit, level), need


def _streets(
    grid: Grid, key: Int64s, node: Int32s, excluded: Bools, lv_feeder: Int32s, share: float, seed: int
) -> tuple[Fleet, npt.NDArray[np.int64]]:
    """Return public chargers at the far ends of some long LV feeders, and from how many a street on each exists.

    The streets are drawn from the tenth of the feeders with the largest resistance; chargers go round the PODs of the
    far 40 % of the way.
    """
    far = resistance_from_busbar(grid)[node]
    feeder = np.where(excluded, -1, lv_feeder[node])
    n_feeders = int(lv_feeder.max(initial=-1)) + 1
    reach = np.zeros(n_feeders)
    np.maximum.at(reach, feeder[feeder >= 0], far[feeder >= 0])
    used = np.flatnonzero(reach > 0.0)
    n_streets = max(1, round(share * n_feeders))
    longest = used[np.argsort(-reach[used], kind="stable")][: max(n_streets, used.size // 10)]
    chosen = longest[np.argsort(draws.uniform(seed, "street", longest), kind="stable")][:n_streets]
    pods, numbers, needs = [], [], []
    for street in chosen:
        ends = np.flatnonzero((feeder == street) & (far >= 0.6 * reach[street]))
        ends = ends[np.argsort(key[ends], kind="stable")]
        position = np.arange(_STREET_MOST)
        pods.append(ends[position % ends.size])
        numbers.append(STREET_NUMBERS + position // ends.size)
        needs.append(position + 1)
    if not pods:
        return _EMPTY, np.zeros(0, np.int64)
    pod, number = np.concatenate(pods).astype(np.int32), np.concatenate(numbers).astype(np.int32)
    order = np.lexsort((number, pod))
    fleet = _fleet(pod, number, np.full(pod.size, 11000.0), EV_WORK, 1.0)
    return fleet.keep(order), np.concatenate(needs)[order]


def resistance_from_busbar(grid: Grid) -> Floats:
    """Return the resistance of the lines between each node and the nearest transformer above it, in pu on 1 kVA."""
    forest, r = grid.forest, np.zeros(grid.n_nodes)
    voltage = grid.v_nom_kv[forest.order]
    for node in range(grid.n_nodes):
        parent = forest.parent[node]
        if parent >= 0 and voltage[node] == voltage[parent]:
            r[node] = r[parent] + forest.r_pu[node]
    return r[forest.rank]


def _heat_pumps(source: Source, key: Int64s, business: Bools, chance: Floats, seed: int) -> tuple[Fleet, Floats]:
    pod, number, own, need = _candidates(seed, "heat", key, chance)
    size = np.exp(0.35 * draws.normal(seed, "heat size", own))
    rating = np.round(np.clip(np.where(business[pod], 5000.0, 3000.0) * size, 1500.0, 12000.0), -2)
    kinds = source.columns(HEAT_PUMP_PROFILES)
    kind = kinds[draws.choice(draws.uniform(seed, "heat kind", own), np.ones(kinds.size))]
    return _fleet(pod, number, rating, kind, 0.0), need


def _pv(source: Source, key: Int64s, business: Bools, chance: Floats, seed: int) -> tuple[Fleet, Floats]:
    """New plants of 3 or 6 kW on homes (D4.1 chapter 5) and three times that on businesses."""
    pod, number, own, need = _candidates(seed, "pv", key, chance)
    rating = np.where(draws.uniform(seed, "pv size", own) < 0.5, 3000.0, 6000.0) * np.where(business[pod], 3.0, 1.0)
    kinds = source.columns(PV_PROFILES)
    kind = kinds[draws.choice(draws.uniform(seed, "pv kind", own), np.ones(kinds.size))]
    return _fleet(pod, number, rating, kind, 0.0), need


def _existing_pv(source: Source, key: Int64s, node: Int32s, n_loads: int, alone: Bools, seed: int) -> Fleet:
    """Give each SimBench plant that stands at a node with loads to one POD of that node."""
    order = np.lexsort((draws.uniform(seed, "pv owner", key[:n_loads]), node[:n_loads]))
    first = order[np.flatnonzero(np.diff(node[order], prepend=-1))]
    owner = np.full(source.grid.n_nodes, -1, np.int64)
    owner[node[first]] = first
    plants = np.flatnonzero(~alone)
    pod = owner[source.plant_node[plants]]
    order = np.argsort(pod, kind="stable")
    pod, plants = pod[order], plants[order]
    heads = np.flatnonzero(np.diff(pod, prepend=-1))
    number = np.arange(pod.size) - np.repeat(heads, np.diff(heads, append=pod.size))
    # numbers of existing plants follow those that new ones can have
    return _fleet(pod, _MOST_DEVICES + number, source.plant_w[plants], source.plant_profile[plants], 0.0)


def _batteries(pv: Fleet, pv_need: Floats, key: Int64s, share: float, seed: int) -> tuple[Fleet, Floats]:
    """Storage of 2.5 or 5 kWh beside a share of the PV plants (D4.1 chapter 5); it comes with its plant."""
    chosen = draws.uniform(seed, "battery", key[pv.pod] * 64 + pv.number) < share
    plant = pv.keep(chosen)
    large = plant.power_w > 4500.0
    return _fleet(
        plant.pod, plant.number, np.where(large, 2500.0, 1500.0), 0, np.where(large, 5000.0, 2500.0)
    ), pv_need[chosen]


def _large_demand(key: Int64s, peak: Floats, business: Bools, seed: int) -> Fleet:
    """Customers of more than 16.5 kW (BTA6) who can shed part of their load."""
    pod = np.flatnonzero(business & (peak > 16_500.0) & (draws.uniform(seed, "demand", key) < 0.6))
    part = 0.15 + 0.25 * draws.uniform(seed, "demand part", key[pod])
    return _fleet(pod.astype(np.int32), np.zeros(pod.size, np.int32), peak[pod], 0, part)


def _plants(source: Source, alone: Bools, n_loads: int) -> Fleet:
    """Plants that stand at no load: each is a POD of its own, after the loads."""
    pod = n_loads + np.arange(int(alone.sum()), dtype=np.int32)
    return _fleet(pod, np.zeros(pod.size, np.int32), source.plant_w[alone], source.plant_profile[alone], 0.0)
