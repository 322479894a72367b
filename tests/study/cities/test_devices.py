import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from flexcore import cities
from flexcore.study.cities.devices import EV_WORK, QUARTERS, _sessions, simulate
from flexcore.study.cities.source import source_day

DATE = dt.date(2026, 3, 24)


@pytest.fixture(scope="module")
def laid():
    city = cities.tiny()
    days = city.days
    return days.devices, np.asarray(days.source.profiles[source_day(DATE)])


@pytest.fixture(scope="module")
def series(laid):
    return simulate(*laid, DATE, 0)


def test_nothing_moves_more_than_it_draws_or_than_its_rating(laid, series):
    devices, _ = laid
    for name in ("ev", "heat_pump"):
        drawn, up, down = series.drawn[name], series.up[name], series.down[name]
        rating = np.ceil(getattr(devices, name).power_w)[:, None]
        assert (drawn >= 0).all()
        assert (up <= drawn).all()
        assert (drawn + down <= rating + 1).all()
    pv = series.drawn["pv"]
    assert (pv <= 0).all()
    assert (-pv <= devices.pv.power_w[:, None]).all()
    assert not series.up["pv"].any()
    # a plant can be curtailed to zero and no further (both are rounded to whole watts)
    assert (series.down["pv"] <= -pv + 1).all()
    for part in (series.up, series.down):
        assert all((values >= 0).all() for values in part.values())


def test_a_battery_stays_between_empty_and_full_with_an_hour_in_reserve(laid, series):
    fleet = laid[0].battery
    drawn = series.drawn["battery"].astype(float)
    stored = 0.15 * fleet.detail[:, None] + np.cumsum(drawn, axis=1) / 4.0
    assert (stored >= -1.0).all()
    assert (stored <= fleet.detail[:, None] + 1.0).all()
    # what is offered lasts an hour, on top of what the battery already does in this step
    before = np.hstack([0.15 * fleet.detail[:, None], stored[:, :-1]])
    assert (series.up["battery"] <= before + np.maximum(drawn, 0) / 4.0 + 25.0).all()
    assert (np.abs(drawn) <= fleet.power_w[:, None] + 1.0).all()


def test_a_charging_session_delivers_its_energy_across_midnight(laid):
    devices, profiles = laid
    fleet, own = devices.ev, devices.key[devices.ev.pod] * 64 + devices.ev.number
    number = DATE.toordinal()
    level = fleet.power_w * fleet.detail
    # energy of the session of DATE, whose tail lies in the next day
    _, start, end, _ = _sessions(fleet, own, number, 0)
    _, start_before, end_before, _ = _sessions(fleet, own, number - 1, 0)
    wanted = level * np.clip(np.minimum(end, QUARTERS) - start, 0, None)
    wanted = wanted + level * np.clip(end_before - QUARTERS - np.clip(start_before - QUARTERS, 0, None), 0, None)
    drawn = simulate(devices, profiles, DATE, 0).drawn["ev"].sum(axis=1)
    # two sessions may meet in the small hours: then the charger's rating limits them
    free = wanted <= drawn + QUARTERS
    assert free.mean() > 0.98
    np.testing.assert_allclose(drawn[free], wanted[free], atol=QUARTERS)


def test_nobody_charges_at_work_on_a_holiday(laid):
    devices, profiles = laid
    number = np.arange(devices.ev.pod.size)
    habit = np.where(number % 2, EV_WORK, devices.ev.profile).astype(np.int32)
    at_work = replace(devices, ev=devices.ev._replace(profile=habit))
    usual, holiday = (simulate(at_work, profiles, DATE, 0, holiday=flag) for flag in (False, True))
    work = at_work.ev.profile == EV_WORK
    assert usual.drawn["ev"][work].any(axis=1).sum() > 5
    assert not holiday.drawn["ev"][work].any()
    assert not holiday.down["ev"][work].any()
    np.testing.assert_array_equal(usual.drawn["ev"][~work], holiday.drawn["ev"][~work])


def test_a_selection_of_pods_gives_the_rows_of_the_whole(laid, series):
    devices, profiles = laid
    chosen = np.array([40, 3, 77, 12])
    part = simulate(devices.subset(chosen), profiles, DATE, 0)
    np.testing.assert_array_equal(part.base, series.base[chosen])
    for name in part.drawn:
        fleet = getattr(devices, name)
        rows = np.concatenate([np.flatnonzero(fleet.pod == pod) for pod in chosen])
        np.testing.assert_array_equal(part.drawn[name], series.drawn[name][rows])


def test_an_idle_connection_neither_draws_nor_moves(laid):
    devices, profiles = laid
    idle = devices.idle.copy()
    idle[:] = True
    still = simulate(replace(devices, idle=idle), profiles, DATE, 0)
    assert not still.base.any()
    for part in (still.drawn, still.up, still.down):
        assert not any(values.any() for values in part.values())


def test_another_date_and_another_seed_give_another_day(laid, series):
    devices, profiles = laid
    assert (simulate(devices, profiles, DATE + dt.timedelta(7), 0).base != series.base).any()
    assert (simulate(devices, profiles, DATE, 1).base != series.base).any()
    np.testing.assert_array_equal(simulate(devices, profiles, DATE, 0).base, series.base)
