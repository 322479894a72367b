"""Finds how much growth gives a network the wanted number of overloaded transformers and low voltages on one day."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flexcore.grid.power_flow import power_flow
from flexcore.market_day import MarketDay
from flexcore.study.cities.days import node_sums
from flexcore.study.cities.devices import Devices, Fleet, Floats, simulate
from flexcore.study.cities.source import Source, source_day
from flexcore.study.participants import Int32s, Places

#: Device numbers from here on are public chargers in streets.
STREET_NUMBERS = 16
#: Strength at which the search gives up.
STRONGEST = 8.0
_HALVINGS = 10
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Devices that exist, the factor on all shares and the public chargers per street that were found."""

    devices: Devices
    strength: float
    street_chargers: int


def calibrate(
    source: Source,
    place: Places,
    node: Int32s,
    candidates: Devices,
    need: dict[str, Floats],
    streets: Fleet,
    street_need: npt.NDArray[np.int64],
    day: MarketDay,
    seed: int,
    *,
    overloaded_share: float,
    largest_loading: float,
    low_nodes: int,
    n_threads: int,
) -> Calibrated:
    """Choose among candidate devices so that the network has work for the DSO on a day.

    Every candidate is simulated once; a strength then only says which of them count, the same at every station except
    where that would load its transformer above `largest_loading`. Stations are judged by the apparent power of their
    customers; AC power flow counts what is really overloaded, and the aim of the search is corrected by what it says, a
    few times. Then public chargers are added street by street until `low_nodes` nodes (in a small network a
    hundredth of all) leave their voltage band.

    Parameters
    ----------
    need : dict of str to ndarray
        Strength from which on each candidate of a fleet exists.
    streets, street_need
        Public chargers, and how many a street must have for each to exist.
    overloaded_share : float
        Of the secondary transformers; at least one.
    """
    grid = source.grid
    n_stations = place.substation_ids.size
    everything = replace(candidates, ev=candidates.ev.joined(streets))
    public = everything.ev.number >= STREET_NUMBERS
    series = simulate(everything, np.asarray(source.profiles[source_day(day.date)]), day.date, seed)
    drawn = {name: series.drawn[name] for name in need}
    drawn["ev"], street_drawn = drawn["ev"][~public], drawn["ev"][public]
    reactive = np.rint(series.base * candidates.tan_phi[:, None]).astype(np.int32)
    q_kvar = node_sums(node, reactive, grid.n_nodes) / 1000.0
    base_p = node_sums(node, series.base, grid.n_nodes)
    base_p += node_sums(node[candidates.plant.pod], series.drawn["plant"], grid.n_nodes)

    station = place.substation_of_node[node]
    limit_kva = grid.s_max_kva[place.substation_branch]

    def node_power(strength: Floats, chargers: int) -> Floats:
        """Active power of the nodes with the devices of a strength per station (last entry: elsewhere), in kW."""
        total = base_p.copy()
        for name in need:
            pods = getattr(candidates, name).pod
            on = need[name] <= strength[station[pods]]
            total += node_sums(node[pods[on]], drawn[name][on], grid.n_nodes)
        on = street_need <= chargers
        total += node_sums(node[streets.pod[on]], street_drawn[on], grid.n_nodes)
        return total / 1000.0

    of_station = place.substation_of_node
    inside = np.flatnonzero(of_station >= 0)
    order = inside[np.argsort(of_station[inside], kind="stable")]
    heads = np.flatnonzero(np.diff(of_station[order], prepend=-1))
    station_q, station_p = (
        np.add.reduceat(values[order], heads, axis=0) if n_stations else np.zeros((0, q_kvar.shape[1]))
        for values in (q_kvar, base_p)
    )
    # the candidates of each station in the order in which they come to exist, and what all before each one draw
    of_device = np.concatenate([station[getattr(candidates, name).pod] for name in need])
    device_need = np.concatenate(list(need.values()))
    rows = np.lexsort((device_need, of_device))
    rows = rows[of_device[rows] >= 0]
    of_device, device_need = of_device[rows], device_need[rows]
    before = np.zeros((rows.size + 1, base_p.shape[1]), np.int64)
    np.cumsum(np.concatenate([drawn[name] for name in need])[rows], axis=0, out=before[1:])
    first = np.searchsorted(of_device, np.arange(n_stations))

    def loading(strength: Floats) -> Floats:
        """Largest apparent power of each station over its rating, without public chargers."""
        if not n_stations:
            return np.zeros(0)
        n_on = np.bincount(of_device[device_need <= strength[of_device]], minlength=n_stations)
        active = (station_p + before[first + n_on] - before[first]) / 1000.0
        return np.asarray(np.hypot(active, station_q).max(axis=1) / limit_kva, np.float64)

    def most_allowed() -> Floats:
        """Strength at which each station reaches the largest loading."""
        low, high = np.zeros(n_stations + 1), np.full(n_stations + 1, STRONGEST)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            over = np.append(loading(middle) > largest_loading, False)
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        return low

    def search(wanted: int) -> float:
        """Least strength at which the stations' loads overload the wanted number of transformers."""
        low, high = 0.0, STRONGEST
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            enough = int((loading(np.minimum(middle, allowed)) > 1.0).sum()) >= wanted
            low, high = (low, middle) if enough else (middle, high)
        return high

    @functools.cache
    def measure(strength: float, chargers: int) -> tuple[int, int]:
        """Overloaded transformers and nodes below their voltage band, by AC power flow."""
        p_kw = node_power(np.minimum(strength, allowed), chargers)
        flow = power_flow(grid, p_kw, q_kvar, method="ac", outputs=("loading", "v_pu"), n_threads=n_threads)
        assert flow.loading is not None
        assert flow.v_pu is not None
        hot = int((flow.loading[place.substation_branch] > 1.0).any(axis=1).sum())
        return hot, int((flow.v_pu < grid.v_min_pu[:, None]).any(axis=1).sum())

    def fewest_chargers(strength: float) -> int:
        """Chargers per street, in pairs, from which on enough nodes are low."""
        low, high = 0, most // 2
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if measure(strength, 2 * middle)[1] >= low_aim else (middle + 1, high)
        # strong cables stay in band whatever is connected: then there are no public chargers
        return 2 * low if measure(strength, 2 * low)[1] >= low_aim else 0

    allowed = most_allowed()
    most = int(street_need.max(initial=0))
    aim = max(1, round(overloaded_share * n_stations))
    low_aim = min(low_nodes, max(1, grid.n_nodes // 100))
    wanted, chargers, strength = aim, 0, 1.0
    for attempt in range(_ROUNDS):
        strength = search(wanted) if n_stations else 1.0
        if attempt == 0:
            chargers = fewest_chargers(strength)
        hot, low = measure(strength, chargers)
        if 0 < chargers < most and low < low_aim:
            chargers += 2
            hot, low = measure(strength, chargers)
        if hot == aim or not n_stations:
            break
        wanted = max(1, wanted + aim - hot)
    per_station = np.minimum(strength, allowed)
    kept = {name: getattr(candidates, name) for name in need}
    kept = {name: fleet.keep(need[name] <= per_station[station[fleet.pod]]) for name, fleet in kept.items()}
    on = street_need <= chargers
    kept["ev"] = kept["ev"].joined(streets.keep(on))
    return Calibrated(replace(candidates, **kept), strength, chargers)
