"""What stands behind the PODs, and what it draws and could move on one day.

All series are on the clock of 96 quarter-hours and in W, one row per POD or device; every random number hangs on the
POD's own key, so that a selection of PODs gives the same rows as the whole city.
"""

import datetime as dt
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.study.cities import draws

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
QUARTERS = 96
_NOON_H = 12.0
#: How a charging point is used: at home from the evening on, at home with a night tariff, at work.
EV_EVENING, EV_NIGHT, EV_WORK = 0, 1, 2


class Fleet(NamedTuple):
    """One kind of device, one row each.

    `pod` is the row of the POD, ascending; `number` tells the devices of one POD apart; `power_w` is the rating,
    `profile` the column of the source's profiles (for an EV how it is used), `detail` what else the kind needs:
    charging level (EV), energy in Wh (battery), adjustable share (demand).
    """

    pod: Ints
    number: Ints
    power_w: Floats
    profile: Ints
    detail: Floats

    def keep(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> "Fleet":
        """Return some of the devices, by a mask or by positions."""
        return Fleet(self.pod[rows], self.number[rows], self.power_w[rows], self.profile[rows], self.detail[rows])

    def joined(self, other: "Fleet") -> "Fleet":
        """Return the devices of both, those of one POD together."""
        pod, number = np.concatenate([self.pod, other.pod]), np.concatenate([self.number, other.number])
        power_w = np.concatenate([self.power_w, other.power_w])
        profile, detail = np.concatenate([self.profile, other.profile]), np.concatenate([self.detail, other.detail])
        return Fleet(pod, number, power_w, profile, detail).keep(np.lexsort((number, pod)))


@dataclass(frozen=True, slots=True)
class Devices:
    """All devices of a set of PODs.

    Attributes
    ----------
    key : ndarray of int64, shape (n_pods,)
        Stable number of the POD; all draws hang on it.
    base_w, tan_phi : ndarray, shape (n_pods,)
        Peak of the inflexible load and its reactive over active power; every device is at unity power factor.
    base_profile, base_shift : ndarray of int32, shape (n_pods,)
        Column of the profiles, and quarter-hours by which this POD lives later.
    idle : ndarray of bool, shape (n_pods,)
        Connections that are suspended: nothing behind them draws or moves anything.
    pv, ev, heat_pump, battery, demand, plant : Fleet
    """

    key: npt.NDArray[np.int64]
    base_w: Floats
    tan_phi: Floats
    base_profile: Ints
    base_shift: Ints
    idle: npt.NDArray[np.bool_]
    pv: Fleet
    ev: Fleet
    heat_pump: Fleet
    battery: Fleet
    demand: Fleet
    plant: Fleet

    def subset(self, pods: npt.NDArray[np.int64]) -> "Devices":
        """Return the devices of some PODs, renumbered in the order given."""
        row = np.full(self.key.size, -1, np.int32)
        row[pods] = np.arange(pods.size, dtype=np.int32)
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fleet):
                kept = value.keep(row[value.pod] >= 0)
                kept = kept._replace(pod=row[kept.pod])
                changed[field.name] = kept.keep(np.argsort(kept.pod, kind="stable"))
            else:
                changed[field.name] = value[pods]
        return replace(self, **changed)


class Series(NamedTuple):
    """One day: withdrawal of the inflexible load and of each fleet, and what each fleet can move, in W.

    `drawn`, `up` and `down` hold one int32 array (n_devices, 96) per fleet name; `base` is (n_pods, 96).
    """

    base: npt.NDArray[np.int32]
    drawn: dict[str, npt.NDArray[np.int32]]
    up: dict[str, npt.NDArray[np.int32]]
    down: dict[str, npt.NDArray[np.int32]]


def simulate(
    devices: Devices, profiles: npt.NDArray[np.float32], date: dt.date, seed: int, *, holiday: bool = False
) -> Series:
    """Return what every device draws and can move on a date.

    Parameters
    ----------
    devices : Devices
    profiles : ndarray of float32, shape (96, n_profiles)
        Unit profiles of the source day.
    date : datetime.date
        Delivery date: the seeded part (day factors, arrivals, clouds) differs between dates that share a source day.
    seed : int
    holiday : bool
        People live a holiday as a Sunday: nobody charges at work.
    """
    unit = np.ascontiguousarray(profiles.T, np.float64)
    day = date.toordinal()
    base = _base(devices, unit, day, seed)
    base[devices.idle] = 0
    drawn, up, down = {}, {}, {}
    parts = {
        "pv": _pv(devices.pv, devices.key, unit, day, seed),
        "ev": _ev(devices.ev, devices.key, day, seed, holiday),
        "heat_pump": _heat_pump(devices.heat_pump, devices.key, unit, day, seed),
        "battery": _battery(devices.battery, devices.key, seed),
        "demand": _demand(devices.demand, base),
        "plant": _plant(devices.plant, unit),
    }
    for name, (draw, less, more) in parts.items():
        drawn[name] = np.rint(draw).astype(np.int32)
        up[name], down[name] = np.floor(less).astype(np.int32), np.floor(more).astype(np.int32)
        still = devices.idle[getattr(devices, name).pod]
        for values in (drawn[name], up[name], down[name]):
            values[still] = 0
    return Series(base, drawn, up, down)


def _shifted(unit: Floats, profile: Ints, shift: Ints) -> Floats:
    """Rows of the unit profiles, each `shift` quarter-hours later within its day."""
    steps = (np.arange(QUARTERS) - shift[:, None]) % QUARTERS
    return np.asarray(np.take_along_axis(unit[profile], steps, axis=1), np.float64)


def _base(devices: Devices, unit: Floats, day: int, seed: int) -> npt.NDArray[np.int32]:
    """Profile times peak, a log-normal factor for the day and autocorrelated noise within it."""
    spread = 0.25
    factor = np.exp(spread * draws.normal(seed, "base day", devices.key, day) - 0.5 * spread**2)
    noise = draws.hourly_walk(seed, "base walk", QUARTERS, 0.7, devices.key, np.full(devices.key.size, day))
    shape = _shifted(unit, devices.base_profile, devices.base_shift)
    load = devices.base_w[:, None] * factor[:, None] * shape * np.clip(1.0 + 0.18 * noise, 0.3, 1.9)
    return np.rint(load).astype(np.int32)


def _own_key(fleet: Fleet, key: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a stable number of each device: of its POD and its place there."""
    return key[fleet.pod] * 64 + fleet.number


def _pv(fleet: Fleet, key: npt.NDArray[np.int64], unit: Floats, day: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Profile times rating with the plant's own quality and passing clouds; all of it can be curtailed (down)."""
    own = _own_key(fleet, key)
    quality = 0.88 + 0.12 * draws.uniform(seed, "pv quality", own)
    clouds = np.clip(
        1.0 - 0.05 * np.abs(draws.hourly_walk(seed, "clouds", QUARTERS, 0.6, own, np.full(own.size, day))), 0.5, 1
    )
    output = (fleet.power_w * quality)[:, None] * unit[fleet.profile] * clouds
    return -output, np.zeros_like(output), output


def _sessions(
    fleet: Fleet, own: npt.NDArray[np.int64], day: int, seed: int, holiday: bool = False
) -> tuple[Floats, ...]:
    """Plug-in, start, end of charging and departure of the session that begins on a day, in quarter-hours."""
    habit = fleet.profile
    spread = draws.normal(seed, "ev arrival", own, day)
    arrival = 4.0 * np.where(habit == EV_WORK, 8.6 + 0.7 * spread, np.where(habit == EV_NIGHT, 19.0, 16.9) + spread)
    arrival = np.clip(arrival, 0.0, QUARTERS - 1.0)
    tariff = 4.0 * (24.0 + 2.5 * draws.uniform(seed, "ev tariff", own, day))
    start = np.where(habit == EV_NIGHT, np.maximum(arrival, tariff), arrival)
    rated = fleet.power_w * fleet.detail
    # a home charges one car; a car park as many as its power suggests, one after the other
    typical = np.where(habit == EV_WORK, 2.5 * fleet.power_w, np.where(fleet.power_w < 8000.0, 7000.0, 12000.0))
    energy = typical * np.exp(0.5 * draws.normal(seed, "ev energy", own, day))
    at_work = (day + 6) % 7 < 5 and not holiday
    used = draws.uniform(seed, "ev used", own, day) < np.where(habit == EV_WORK, at_work, 0.75)
    departure = np.where(
        habit == EV_WORK, 4.0 * 17.2, QUARTERS + 4.0 * (7.0 + draws.uniform(seed, "ev leave", own, day))
    )
    end = np.minimum(start + 4.0 * energy / np.maximum(rated, 1.0), departure)
    return arrival, start, np.where(used, end, start), np.where(used, departure, arrival)


def _ev(fleet: Fleet, key: npt.NDArray[np.int64], day: int, seed: int, holiday: bool) -> tuple[Floats, Floats, Floats]:
    """Charge at the set level from the start on; up interrupts, down charges at the rating, or earlier."""
    own = _own_key(fleet, key)
    shape = (own.size, QUARTERS)
    drawn, more = np.zeros(shape), np.zeros(shape)
    level = (fleet.power_w * fleet.detail)[:, None]
    step = np.arange(QUARTERS, dtype=np.float64)
    # the night belongs to the session that began the day before; one at work ends before midnight
    for begun, offset in ((day - 1, QUARTERS), (day, 0)):
        session = _sessions(fleet, own, begun, seed, holiday)
        arrival, start, end, departure = ((value - offset)[:, None] for value in session)
        part = np.clip(np.minimum(step + 1.0, end) - np.maximum(step, start), 0.0, 1.0)
        drawn += level * part
        pending = (step >= arrival) & (step + 1.0 <= np.minimum(end, departure))
        more += np.where(pending, fleet.power_w[:, None] - level * part, 0.0)
    drawn = np.minimum(drawn, fleet.power_w[:, None])
    return drawn, drawn, np.minimum(more, fleet.power_w[:, None] - drawn)


def _heat_pump(
    fleet: Fleet, key: npt.NDArray[np.int64], unit: Floats, day: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Unit profile times rating; most of it can be put off, and a running pump can be driven harder."""
    own = _own_key(fleet, key)
    shift = np.rint(4.0 * draws.normal(seed, "heat shift", own)).astype(np.int32)
    noise = draws.hourly_walk(seed, "heat walk", QUARTERS, 0.8, own, np.full(own.size, day))
    rating = fleet.power_w[:, None]
    drawn = np.minimum(rating * _shifted(unit, fleet.profile, shift) * np.clip(1.0 + 0.2 * noise, 0.3, 1.7), rating)
    return drawn, 0.8 * drawn, np.where(drawn > 0.05 * rating, 0.5 * (rating - drawn), 0.0)


def _battery(fleet: Fleet, key: npt.NDArray[np.int64], seed: int) -> tuple[Floats, Floats, Floats]:
    """Fill 70 % around noon and empty it in the evening; an hour at the offered power must be possible at any time."""
    shift = 2.0 * draws.uniform(seed, "battery shift", _own_key(fleet, key))[:, None] - 1.0
    hour = (np.arange(QUARTERS) + 0.5) / 4.0 - shift
    rating, energy = fleet.power_w[:, None], fleet.detail[:, None]
    power = np.minimum(rating, 0.7 * energy / 4.0)
    drawn = power * ((np.abs(hour - _NOON_H) < 2.0) * 1.0 - (np.abs(hour - 20.0) < 2.0) * 1.0)
    stored = 0.15 * energy + np.cumsum(drawn, axis=1) / 4.0 - np.minimum(drawn, 0.0) / 4.0
    up = np.clip(np.minimum(rating + drawn, stored), 0.0, None)
    down = np.clip(np.minimum(rating - drawn, energy - stored), 0.0, None)
    return drawn, up, down


def _demand(fleet: Fleet, base: npt.NDArray[np.int32]) -> tuple[Floats, Floats, Floats]:
    """Part of a large customer's load that can be shed, and a third of it that can be added; no load of its own."""
    load = np.maximum(base[fleet.pod], 0) * fleet.detail[:, None]
    return np.zeros_like(load), load, load / 3.0


def _plant(fleet: Fleet, unit: Floats) -> tuple[Floats, Floats, Floats]:
    """Other generation follows its profile and is not offered."""
    output = fleet.power_w[:, None] * unit[fleet.profile]
    return -output, np.zeros_like(output), np.zeros_like(output)
