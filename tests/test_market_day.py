"""Days of 92, 96 and 100 quarter-hours, their windows, and times that are refused."""

import datetime as dt
import zoneinfo

import numpy as np
import pytest

from flexcore import MarketDay
from flexcore.errors import TimeSeriesError

ROME = zoneinfo.ZoneInfo("Europe/Rome")


@pytest.mark.parametrize(("date", "n_steps"), [("2026-03-29", 92), ("2026-01-21", 96), ("2026-10-25", 100)])
def test_a_day_has_as_many_quarter_hours_as_it_lasts(date, n_steps):
    day = MarketDay(date)
    assert day.n_steps == n_steps
    assert day.n_hours * 4 == n_steps
    assert day.shift(1).first_qh == day.first_qh + n_steps
    assert day.start() == dt.datetime.combine(day.date, dt.time(), ROME)


@pytest.mark.rule("SES-02")
@pytest.mark.parametrize(
    ("date", "lengths"),
    [
        ("2026-03-29", [12, 16, 16, 16, 16, 16]),
        ("2026-01-21", [16] * 6),
        ("2026-10-25", [20, 16, 16, 16, 16, 16]),
    ],
)
def test_session_windows_are_local_hours(date, lengths):
    day = MarketDay(date)
    firm = [day.firm(k) for k in range(1, 7)]
    assert [s.stop - s.start for s in firm] == lengths
    assert [s.start for s in firm[1:]] == [s.stop for s in firm[:-1]]
    assert all(day.plan(k) == slice(day.firm(k).start, day.n_steps) for k in range(1, 7))
    for k in range(2, 7):
        assert day.start(firm[k - 1].start).hour == 4 * (k - 1)
        assert (day.window_of_step[firm[k - 1]] == k).all()


def test_the_repeated_hour_stands_twice():
    assert MarketDay("2026-10-25").local_hour.tolist().count(2) == 8
    assert 2 not in MarketDay("2026-03-29").local_hour


def test_steps_of_times():
    day = MarketDay("2026-10-25")
    both = [dt.datetime(2026, 10, 25, 2, 30, tzinfo=ROME, fold=fold) for fold in (0, 1)]
    assert day.step_of(both).tolist() == [10, 14]
    assert day.step_of(day.qh * 900).tolist() == list(range(100))
    assert day.label(14) == "02:30"


@pytest.mark.parametrize(
    ("times", "code"),
    [
        ([dt.datetime(2026, 1, 21, 3)], "FX-T001"),
        (np.array(["2026-01-21T03:00"], "datetime64[s]"), "FX-T001"),
        ([dt.datetime(2026, 1, 22, 3, tzinfo=ROME)], "FX-T003"),
        ([dt.datetime(2026, 1, 21, 3, 7, tzinfo=ROME)], "FX-T004"),
        ([dt.datetime(2026, 1, 21, 3, 0, 0, 1, tzinfo=ROME)], "FX-T004"),
        ([dt.datetime(2026, 1, 21, 2, 59, 59, 600_000, tzinfo=ROME)], "FX-T004"),
    ],
)
def test_bad_times_are_refused_by_code(times, code):
    with pytest.raises(TimeSeriesError) as refused:
        MarketDay("2026-01-21").step_of(times)
    assert refused.value.codes == (code,)


def test_95_quarter_hours_are_refused():
    with pytest.raises(TimeSeriesError, match="has 95 quarter-hours") as refused:
        MarketDay("2026-01-21").check_steps(95, "readings")
    assert refused.value.codes == ("FX-T002",)


@pytest.mark.parametrize(
    ("date", "tz"),
    [
        ("2026-02-30", "Europe/Rome"),
        ("2026-01-21", "Europe/Atlantis"),
        ("2026-01-21", "Europe"),  # a folder of the time zone database
        ("2026-01-21", None),
        ("2011-12-30", "Pacific/Apia"),  # left out when Samoa crossed the date line
    ],
)
def test_unknown_days_are_refused(date, tz):
    with pytest.raises(TimeSeriesError) as refused:
        MarketDay(date, tz)
    assert refused.value.codes == ("FX-T005",)


@pytest.mark.parametrize(
    ("date", "tz"),
    [
        ("2026-04-05", "Australia/Lord_Howe"),  # half an hour longer
        ("2026-10-04", "Australia/Lord_Howe"),
        ("1800-01-01", "Europe/Rome"),  # local mean time, 49 min 56 s from Greenwich
    ],
)
def test_days_that_are_not_whole_hours_are_refused(date, tz):
    with pytest.raises(TimeSeriesError) as refused:
        MarketDay(date, tz)
    assert refused.value.codes == ("FX-T006",)


@pytest.mark.parametrize(("date", "n_steps"), [("2026-03-08", 92), ("2026-11-01", 100)])
def test_clocks_may_change_at_midnight(date, n_steps):
    day = MarketDay(date, "America/Havana")
    assert day.n_steps == n_steps
    assert day.local_hour.size == n_steps


def test_sessions_are_one_to_six():
    with pytest.raises(TimeSeriesError):
        MarketDay("2026-01-21").firm(7)


def test_market_time_units():
    day = MarketDay("2026-03-29")
    values = np.arange(2 * 92).reshape(2, 92)
    assert day.to_mtu(values, "max").shape == (2, 23)
    assert day.to_mtu(values, "min")[0, 1] == 4
    assert day.to_mtu(values, "max")[0, 1] == 7
    assert day.to_mtu(values, "sum").sum() == values.sum()
    assert (day.from_mtu(day.to_mtu(values, "min"))[0, 4:8] == 4).all()
    assert day.to_mtu(values, "max", "quarter") is values
