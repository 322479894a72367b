"""The series of a synthetic city's days: what happens, what was expected, what could move, what the TSO wants."""

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flexcore.market_day import N_SESSIONS, MarketDay
from flexcore.study.cities import draws
from flexcore.study.cities.devices import QUARTERS, Devices, Series, simulate
from flexcore.study.cities.source import Source, city_calendar, source_day
from flexcore.study.city import Available, Conduct, Forecast, GlobalNeeds, Realised
from flexcore.study.participants import Floats, Int32s, Int64s

#: Error of the day-ahead forecast that a whole feeder shares, as a part of its load.
AREA_SIGMA = 0.025
#: Own error of a small node, as a part of its mean absolute load; above `SMALL_KW` it grows with the square root.
NODE_SIGMA = 0.30
SMALL_KW = 2.0
#: Error of what a BSP expects one POD to be able to move, as a part of it.
OFFER_SIGMA = 0.15
#: Error of sessions 1..6 over that of the first: every session knows more.
SESSION_SCALE = (1.0, 0.80, 0.64, 0.51, 0.41, 0.33)
_FLEETS = ("pv", "ev", "heat_pump", "battery", "plant")
_KEPT_DAYS = 2
_KEPT_FORECASTS = 2  # a session asks several times for its own forecast, and for the first one beside it


@dataclass(frozen=True, slots=True)
class SyntheticDays:
    """Days of a synthetic city, computed when asked for; the last two are kept.

    Attributes
    ----------
    source : Source
    devices : Devices
    node : ndarray of int32, shape (n_pods,)
    n_nodes : int
    area_of_node : ndarray of int32, shape (n_nodes,)
    mandated : ndarray of bool, shape (n_pods,)
        PODs that take part: only they have power to offer.
    need_scale_w : float
        Size of the zonal part of the TSO's needs.
    price_cap_ueur_per_mwh : int
    seed : int
    """

    source: Source
    devices: Devices
    node: Int32s
    n_nodes: int
    area_of_node: Int32s
    mandated: npt.NDArray[np.bool_]
    need_scale_w: float
    price_cap_ueur_per_mwh: int
    seed: int
    _kept: dict[tuple[str, MarketDay], tuple[Realised, Available, Floats]] = field(default_factory=dict, repr=False)
    _forecasts: dict[tuple[MarketDay, int], Forecast] = field(default_factory=dict, repr=False)

    def realised(self, day: MarketDay) -> Realised:
        """Return the day as it happens without flexibility awards."""
        return self._day(day)[0]

    def available(self, day: MarketDay) -> Available:
        """Return the power that each POD can move in each step of the day."""
        return self._day(day)[1]

    def offerable(self, day: MarketDay) -> Available:
        """Return what is available with a seeded error of `OFFER_SIGMA`, the same for both directions of a POD.

        BSPs see by telemetry which devices run, not how much each will draw.
        """
        truth, rows = self.available(day), np.flatnonzero(self.mandated)
        key = self.devices.key[rows]
        walk = draws.hourly_walk(self.seed, "offer error", QUARTERS, 0.9, key, np.full(key.size, day.date.toordinal()))[
            :, clock_columns(day)
        ]
        factor = np.maximum(1.0 + OFFER_SIGMA * walk, 0.0)
        sides = []
        for power in (truth.up_w, truth.down_w):
            expected = np.zeros_like(power)
            expected[rows] = np.floor(power[rows] * factor).astype(np.int64)
            sides.append(expected)
        return Available(*sides)

    def nominated_w(self, day: MarketDay, pods: npt.ArrayLike) -> Int32s:
        """Return the load with the error that the day-ahead forecast of a node with this POD alone would have."""
        chosen = np.asarray(pods, np.int64)
        load = self.realised(day).load_w[chosen].astype(np.float64)
        columns, key = clock_columns(day), self.devices.key[chosen]
        own = draws.hourly_walk(self.seed, "nominated", QUARTERS, 0.9, key, np.full(key.size, day.date.toordinal()))[
            :, columns
        ]
        shared = self._area_error(day)[np.maximum(self.area_of_node, 0)[self.node[chosen]]]
        sigma = 1000.0 * _own_sigma(np.abs(load).mean(axis=1) / 1000.0)
        return np.rint(load * (1.0 + AREA_SIGMA * shared) + sigma[:, None] * own).astype(np.int32)

    def forecast(self, day: MarketDay, session: int) -> Forecast:
        """Return the realised day with a seeded error that shrinks from session to session.

        The error of a node is the sum of two parts that are constant multiples of fixed series: one that its feeder
        shares (`AREA_SIGMA` of the load) and its own (`NODE_SIGMA` of its mean absolute load m, of sqrt(m x
        `SMALL_KW`) where that is larger than `SMALL_KW`: many customers are easier to foresee than one); session k
        sees `SESSION_SCALE[k - 1]` of both. Between the hourly knots of the series the spread is smaller than stated.
        """
        day.firm(session)  # refuses sessions that do not exist
        known = self._forecasts.pop((day, session), None)
        if known is None:
            while len(self._forecasts) >= _KEPT_FORECASTS:
                self._forecasts.pop(next(iter(self._forecasts)), None)
            known = self._forecast(day, session)
        self._forecasts[day, session] = known  # the latest asked for is the last to go
        return known

    def _forecast(self, day: MarketDay, session: int) -> Forecast:
        truth = self.realised(day)
        scale = SESSION_SCALE[session - 1]
        shared = self._area_error(day)[np.maximum(self.area_of_node, 0)]
        sigma = scale * _own_sigma(np.abs(truth.p_kw).mean(axis=1))
        factor = 1.0 + scale * AREA_SIGMA * shared
        p_kw = truth.p_kw * factor + sigma[:, None] * self._day(day)[2]
        q_kvar = truth.q_kvar * factor
        sigma_kw = np.broadcast_to(sigma[:, None], p_kw.shape)
        for values in (p_kw, q_kvar):  # all who ask get the same arrays
            values.setflags(write=False)
        return Forecast(p_kw, q_kvar, sigma_kw, area_sigma=scale * AREA_SIGMA)

    def history_w(self, day: MarketDay, n_days: int, pods: npt.ArrayLike | None = None) -> Int32s:
        """Return readings of the days before, oldest first, on the clock of `day`."""
        chosen = np.arange(self.node.size) if pods is None else np.asarray(pods, np.int64)
        devices = self.devices if pods is None else self.devices.subset(chosen)
        readings = np.empty((chosen.size, n_days, day.n_steps), np.int32)
        columns = clock_columns(day)
        for back in range(n_days):
            date = day.date - dt.timedelta(days=n_days - back)
            series = self._simulate(date, devices)
            readings[:, back] = _total(series, devices)[:, columns]
        return readings

    def global_needs(self, day: MarketDay, session: int) -> GlobalNeeds:
        """Return a seeded zonal need, corrected by what the city's own forecast has moved since the first session.

        More load than expected day-ahead is a need for up. Hours that session k no longer plans keep their value.
        """
        day.firm(session)
        hour = day.local_hour[::4]
        phase = 2.0 * np.pi * draws.uniform(self.seed, "zone phase", day.date.toordinal())
        swing = np.sin(2.0 * np.pi * hour / 12.0 + phase)
        noise = draws.normal(self.seed, "zone need", np.full(24, day.date.toordinal()), np.arange(24))[hour]
        need = self.need_scale_w * (0.75 * swing + 0.4 * noise)
        if session > 1:
            first, now = self.forecast(day, 1).p_kw, self.forecast(day, session).p_kw
            # summed along the nodes, in their order: the same bits whatever the number of steps
            need = need + 1000.0 * (now - first).sum(axis=0).reshape(-1, 4).mean(axis=1)
        return GlobalNeeds(np.rint(need / 1000.0).astype(np.int64)[None, :] * 1000, self.price_cap_ueur_per_mwh)

    def conduct(self, day: MarketDay) -> Conduct:
        """Return how PODs follow orders: most deliver what was ordered or a little less, some nothing at all."""
        key, number = self.devices.key, day.date.toordinal()
        usual = 0.97 + 0.06 * draws.normal(self.seed, "response", key, number)
        kind = draws.uniform(self.seed, "response kind", key, number)
        part = np.where(
            kind < 0.05, 0.0, np.where(kind < 0.12, 0.3 + 0.4 * draws.uniform(self.seed, "half", key), usual)
        )
        thermal = np.zeros(key.size, np.bool_)
        thermal[self.devices.heat_pump.pod] = True
        charging = np.zeros(key.size, np.bool_)
        charging[self.devices.ev.pod] = True
        rebound = np.where(charging, 800, np.where(thermal, 600, 0))
        return Conduct(np.rint(1000.0 * np.clip(part, 0.0, 1.15)).astype(np.int32), rebound.astype(np.int32), 8)

    def _area_error(self, day: MarketDay) -> Floats:
        """Error that all nodes of an area share, of standard deviation 1, shape (n_areas, n_steps)."""
        n_areas = int(self.area_of_node.max(initial=0)) + 1
        key = np.full(n_areas, day.date.toordinal())
        walk = draws.hourly_walk(self.seed, "area error", QUARTERS, 0.9, np.arange(n_areas), key)
        return walk[:, clock_columns(day)]

    def _simulate(self, date: dt.date, devices: Devices) -> Series:
        holiday = city_calendar().is_holiday(date)
        position = source_day(date, holiday=holiday)
        return simulate(devices, np.asarray(self.source.profiles[position]), date, self.seed, holiday=holiday)

    def _node_error(self, day: MarketDay) -> Floats:
        """Error of each node's own, of standard deviation 1, shape (n_nodes, n_steps)."""
        nodes = self.source.grid.node_ids if self.source.grid.node_ids.dtype.kind in "iu" else np.arange(self.n_nodes)
        key = np.full(self.n_nodes, day.date.toordinal())
        return draws.hourly_walk(self.seed, "node error", QUARTERS, 0.9, nodes, key)[:, clock_columns(day)]

    def _day(self, day: MarketDay) -> tuple[Realised, Available, Floats]:
        key = ("day", day)
        if key not in self._kept:
            while len(self._kept) >= _KEPT_DAYS:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = self._compute(day)
        return self._kept[key]

    def _compute(self, day: MarketDay) -> tuple[Realised, Available, Floats]:
        columns = clock_columns(day)
        series = self._simulate(day.date, self.devices)
        load = _total(series, self.devices)[:, columns]
        load.setflags(write=False)
        realised = Realised(
            p_kw=node_sums(self.node, load, self.n_nodes) / 1000.0,
            q_kvar=node_sums(self.node, _reactive(series, self.devices)[:, columns], self.n_nodes) / 1000.0,
            load_w=load,
        )
        sides = []
        for fleets in (series.up, series.down):
            movable = np.zeros((self.node.size, QUARTERS), np.int64)
            for name in (*_FLEETS, "demand"):
                add_devices(movable, getattr(self.devices, name).pod, fleets[name])
            movable[~self.mandated] = 0
            sides.append(np.ascontiguousarray(movable[:, columns]))
        return realised, Available(*sides), self._node_error(day)


def _own_sigma(mean_kw: Floats) -> Floats:
    """Own error of the day-ahead forecast of something that draws `mean_kw` on average, in kW."""
    return np.asarray(NODE_SIGMA * np.sqrt(mean_kw * np.minimum(mean_kw, SMALL_KW)))


def clock_columns(day: MarketDay) -> npt.NDArray[np.int64]:
    """Return which quarter-hour of the clock each step shows; an hour is skipped or repeated where clocks change."""
    return day.local_hour * 4 + np.arange(day.n_steps) % 4


def node_sums(node: Int32s, values: npt.NDArray[np.integer], n_nodes: int) -> Int64s:
    """Return exact sums of whole numbers per node: the order of PODs cannot change a bit.

    Parameters
    ----------
    node : ndarray of int32, shape (n_pods,)
    values : ndarray of integers, shape (n_pods, n_steps)
    n_nodes : int

    Returns
    -------
    ndarray of int64, shape (n_nodes, n_steps)
    """
    result = np.zeros((n_nodes, values.shape[1]), np.int64)
    order = np.argsort(node, kind="stable")
    heads = np.flatnonzero(np.diff(node[order], prepend=-1))
    if order.size:
        result[node[order][heads]] = np.add.reduceat(values[order].astype(np.int64), heads, axis=0)
    return result


def add_devices(total: npt.NDArray[np.integer], pod: Int32s, values: npt.NDArray[np.int32]) -> None:
    """Add the devices' whole watts to the rows of their PODs; `pod` is ascending."""
    if pod.size:
        heads = np.flatnonzero(np.diff(pod, prepend=-1))
        total[pod[heads]] += np.add.reduceat(values, heads, axis=0)


def _total(series: Series, devices: Devices) -> npt.NDArray[np.int32]:
    """Net withdrawal per POD."""
    load = series.base.copy()
    for name in _FLEETS:
        add_devices(load, getattr(devices, name).pod, series.drawn[name])
    return load


def _reactive(series: Series, devices: Devices) -> npt.NDArray[np.int32]:
    """Reactive power per POD in whole var: the inflexible load's own power factor, devices at unity."""
    return np.rint(series.base * devices.tan_phi[:, None]).astype(np.int32)


assert len(SESSION_SCALE) == N_SESSIONS
