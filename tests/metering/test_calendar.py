"""Day types and holidays, the library against dates from the law, and history on the clock of the event day."""

import datetime as dt
import sys

import numpy as np
import pytest

from flexcore import MarketDay
from flexcore.errors import MissingExtraError, OptionError, TimeSeriesError, ValidationError
from flexcore.metering import MISSING_W, Readings
from flexcore.metering import calendar as calendar_module
from flexcore.metering.calendar import SCHEMES, Calendar
from flexcore.metering.history import assemble_history, steps_of_days
from tests.reference import metering_eligibility as reference

ROME = "Europe/Rome"


def test_italian_holidays_equal_those_of_the_law():
    calendar = Calendar("IT")
    for year in range(2024, 2028):
        expected = reference.italian_holidays(year)
        date = dt.date(year, 1, 1)
        while date.year == year:
            # the library also lists the day of national unity, the first Sunday of November: no other day type
            if not (date.weekday() == 6 and date.month == 11 and date.day <= 7):
                assert calendar.is_holiday(date) == (date in expected), date
            date += dt.timedelta(days=1)


@pytest.mark.parametrize(("year", "sunday"), [(2024, (3, 31)), (2025, (4, 20)), (2026, (4, 5)), (2038, (4, 25))])
def test_easter(year, sunday):
    assert reference.easter(year) == dt.date(year, *sunday)
    calendar = Calendar("IT")
    assert calendar.is_holiday(dt.date(year, *sunday))
    assert calendar.is_holiday(dt.date(year, *sunday) + dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("date", "working", "three", "weekday"),
    [
        ("2026-04-03", "working", "working", "friday"),  # Good Friday is a working day in Italy
        ("2026-04-04", "non_working", "saturday", "saturday"),
        ("2026-04-05", "non_working", "sunday", "sunday"),  # Easter
        ("2026-04-06", "non_working", "sunday", "sunday"),  # Easter Monday
        ("2026-04-07", "working", "working", "tuesday"),
        ("2026-08-14", "working", "working", "friday"),
        ("2026-08-15", "non_working", "sunday", "sunday"),  # Assumption, a Saturday
        ("2025-08-15", "non_working", "sunday", "sunday"),  # Assumption, a Friday
        ("2026-06-29", "working", "working", "monday"),
        ("2026-03-29", "non_working", "sunday", "sunday"),  # 92 quarter-hours
        ("2025-10-26", "non_working", "sunday", "sunday"),  # 100 quarter-hours
    ],
)
def test_day_types(date, working, three, weekday):
    calendar, day = Calendar("IT"), MarketDay(date)
    assert (calendar.day_type(day), calendar.day_type(day, "three"), calendar.day_type(day, "weekday")) == (
        working,
        three,
        weekday,
    )
    assert calendar.day_type(day, "all") == "any"


def test_patron_saints_are_given_by_hand_or_by_province():
    for calendar in (
        Calendar("IT", extra_holidays=["06-29"]),
        Calendar("IT", extra_holidays=["2026-06-29", "2027-06-29"]),
        Calendar("IT", subdivision="RM"),
    ):
        assert [calendar.day_type(MarketDay(f"{year}-06-29")) for year in (2026, 2027)] == ["non_working"] * 2
    single = Calendar("IT", extra_holidays=["2026-06-29"])
    assert not single.is_holiday(dt.date(2027, 6, 29))


def test_other_countries():
    assert Calendar("US").is_holiday(dt.date(2026, 7, 3))  # 4 July is a Saturday: observed on Friday
    assert Calendar("GB", subdivision="SCT").is_holiday(dt.date(2026, 11, 30))
    assert not Calendar("GB", subdivision="ENG").is_holiday(dt.date(2026, 11, 30))


def test_given_dates_need_no_library(monkeypatch):
    calendar_module._holidays_of.cache_clear()
    monkeypatch.setitem(sys.modules, "holidays", None)
    calendar = Calendar(holidays=[dt.date(2026, 4, 6), "2026-05-01", "12-25", dt.datetime(2026, 6, 2, 12)])
    assert all(calendar.is_holiday(dt.date(2026, *day)) for day in ((4, 6), (5, 1), (12, 25), (6, 2)))
    assert calendar.is_holiday(dt.date(2031, 12, 25))
    assert not calendar.is_holiday(dt.date(2026, 1, 1))
    with pytest.raises(MissingExtraError, match=r"FX-E001 holidays .*flexcore\[calendar\]"):
        Calendar("IT")


@pytest.mark.parametrize(
    ("code", "error", "make"),
    [
        ("FX-B020", ValidationError, lambda: Calendar("ZZ")),
        ("FX-B020", ValidationError, lambda: Calendar("IT", subdivision="ZZ")),
        ("FX-B020", ValidationError, lambda: Calendar()),
        ("FX-B020", ValidationError, lambda: Calendar("IT", holidays=["2026-01-01"])),
        ("FX-B020", ValidationError, lambda: Calendar(subdivision="RM", holidays=[])),
        ("FX-B020", ValidationError, lambda: Calendar("IT").is_holiday(dt.date(2150, 1, 1))),
        ("FX-T005", TimeSeriesError, lambda: Calendar(holidays=["2026-02-30"])),
        ("FX-T005", TimeSeriesError, lambda: Calendar("IT", extra_holidays=["6-29"])),
        ("FX-T005", TimeSeriesError, lambda: Calendar("IT", extra_holidays=[20260629])),
        ("FX-E002", OptionError, lambda: Calendar("IT").day_type(MarketDay("2026-01-02"), "five")),
    ],
)
def test_what_is_no_calendar_is_refused(code, error, make):
    with pytest.raises(error, match=code):
        make()


def test_like_days_use_types_of_the_scheme():
    calendar = Calendar("IT")
    day = MarketDay("2026-04-06")  # Easter Monday
    days = [day.shift(back) for back in range(-9, 0)]
    for scheme in SCHEMES:
        expected = [
            reference.day_type(past.date, reference.italian_holidays(2026), scheme)
            == reference.day_type(day.date, reference.italian_holidays(2026), scheme)
            for past in days
        ]
        assert calendar.like_days(days, day, scheme).tolist() == expected


@pytest.mark.parametrize("date", ["2026-03-29", "2026-03-30", "2026-04-02", "2025-10-26", "2025-10-27", "2026-06-10"])
def test_history_on_the_clock_of_the_event_day(date):
    rng = np.random.default_rng(1)
    day = MarketDay(date)
    days = [day.shift(-7), day.shift(-4), day.shift(-3), day.shift(-1)]
    readings = [rng.integers(-500, 500, (3, past.n_steps)).astype(np.int32) for past in days]
    history = assemble_history(days, readings, day)
    assert history.shape == (3, 4, day.n_steps)
    for d, past in enumerate(days):
        at = {moment: step for step, moment in enumerate(reference.quarters(past.date, ROME))}
        for t, moment in enumerate(reference.shown(past.date, day.date, ROME)):
            expected = [MISSING_W] * 3 if moment is None else readings[d][:, at[moment]].tolist()
            assert history[:, d, t].tolist() == expected
    again = np.zeros_like(history)
    assert assemble_history(days, readings, day, out=again) is again
    assert np.array_equal(again, history)


def test_a_clock_that_changes_at_midnight():
    past = MarketDay("2024-09-08", "America/Santiago")  # clocks go from 24:00 to 01:00: no hour 00
    day = past.shift(3)
    assert past.n_steps == 92
    assert steps_of_days([past], day)[0].tolist() == [-1] * 4 + list(range(92))
    readings = np.arange(92, dtype=np.int32)[np.newaxis]
    history = assemble_history([past], [readings], day)
    assert history[0, 0].tolist() == [MISSING_W] * 4 + list(range(92))


def test_history_of_collected_readings():
    day = MarketDay("2026-06-10")
    days = [day.shift(-2), day.shift(-1)]

    def one(pods):
        return Readings(pods, np.zeros((2, 96), np.int32), np.zeros((2, 96), bool))

    assert assemble_history(days, [one(("a", "b")), one(("a", "b"))], day).shape == (2, 2, 96)
    assert assemble_history([], [], day).shape == (0, 0, 96)
    good = np.zeros((2, 96), np.int32)
    for code, readings in (
        ("FX-B003", [one(("a", "b")), one(("b", "a"))]),
        ("FX-A001", [good]),
        ("FX-A001", [good, np.zeros((3, 96), np.int32)]),
        ("FX-T002", [good, np.zeros((2, 92), np.int32)]),
        ("FX-A002", [good, np.full((2, 96), 0.5)]),
    ):
        with pytest.raises(ValidationError, match=code):
            assemble_history(days, readings, day)
    with pytest.raises(ValidationError, match="FX-A005"):
        assemble_history(days, [good, good], day, out=np.zeros((2, 2, 92), np.int32))
