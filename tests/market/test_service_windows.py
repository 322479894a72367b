"""Service windows of long-term contracts by the local calendar, clock changes included."""

import numpy as np
import pytest

from flexcore.errors import OfferError, TimeSeriesError, UnknownIdError
from flexcore.market.service_windows import EVERY_DAY, WORKDAYS, ServiceWindows, WindowSets, month_bits
from flexcore.market_day import MarketDay
from tests.reference import market_long_term as reference


def table(*rows):
    """Columns of service windows from dicts; keys are w0, w1, ..."""
    full = [
        {"months": 4095, "weekdays": 127, "from_quarter": 0, "to_quarter": 96, **row, "window_id": f"w{i}"}
        for i, row in enumerate(rows)
    ]
    return {name: [row[name] for row in full] for name in full[0]}, full


def quarters_of(row, tz="Europe/Rome"):
    windows = ServiceWindows.from_table(table(row)[0], tz=tz)
    return int(windows.quarters(WindowSets(np.array([0, 1]), np.array([0], np.int32)))[0])


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize(
    ("day", "from_quarter", "to_quarter", "count"),
    [
        ("2026-03-28", 0, 96, 96),
        ("2026-03-29", 0, 96, 92),
        ("2026-10-25", 0, 96, 100),
        ("2026-03-29", 0, 16, 12),  # 00-04 without the hour 02-03
        ("2026-10-25", 0, 16, 20),  # 02-03 comes twice
        ("2026-03-29", 8, 12, 0),  # nothing but the hour that is left out
        ("2026-10-25", 8, 12, 8),
        ("2026-03-29", 10, 14, 2),  # 02:30-03:30 begins at 03:00
        ("2026-10-25", 10, 14, 6),  # 02:30 and 02:45 twice, 03:00 and 03:15 once
        ("2026-03-29", 68, 84, 16),  # 17-21 is as long as ever
        ("2026-10-25", 68, 84, 16),
    ],
)
def test_a_window_on_a_day_of_clock_change(day, from_quarter, to_quarter, count):
    row = {"first_day": day, "last_day": day, "from_quarter": from_quarter, "to_quarter": to_quarter}
    assert quarters_of(row) == count
    assert len(reference.quarters({"months": 4095, "weekdays": 127, **row})) == count


@pytest.mark.rule("LTC-01")
def test_a_whole_year_has_as_many_quarter_hours_as_a_year():
    assert quarters_of({"first_day": "2026-01-01", "last_day": "2026-12-31"}) == 4 * 8760
    assert quarters_of({"first_day": "2028-01-01", "last_day": "2028-12-31"}) == 4 * 8784


@pytest.mark.rule("LTC-01")
def test_months_and_weekdays_by_hand():
    # June 2026 has 22 days from Monday to Friday, July 23; 17:00-20:30 has 14 quarter-hours
    row = {"first_day": "2026-01-01", "last_day": "2026-12-31", "months": month_bits(6, 7), "weekdays": WORKDAYS,
           "from_quarter": 68, "to_quarter": 82}  # fmt: skip
    assert quarters_of(row) == (22 + 23) * 14
    assert quarters_of(row | {"weekdays": EVERY_DAY}) == (30 + 31) * 14
    assert quarters_of(row | {"first_day": "2026-07-01"}) == 23 * 14


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize("tz", ["Europe/Rome", "Europe/Lisbon", "America/New_York", "Asia/Tokyo"])
def test_windows_equal_a_walk_along_the_clock(tz):
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(40):
        first = np.datetime64("2026-03-01") + int(rng.integers(0, 250))
        start = int(rng.integers(0, 95))
        rows.append(
            {"first_day": str(first), "last_day": str(first + int(rng.integers(0, 40))),
             "months": int(rng.integers(1, 4096)), "weekdays": int(rng.integers(1, 128)),
             "from_quarter": start, "to_quarter": int(rng.integers(start + 1, 97))}
        )  # fmt: skip
    columns, full = table(*rows)
    windows = ServiceWindows.from_table(columns, tz=tz)
    times = [set(reference.quarters(row, tz)) for row in full]
    pairs = [sorted({int(a), int(b)}) for a, b in rng.integers(0, 40, (30, 2))]
    sets = WindowSets(
        np.r_[0, np.cumsum([len(p) for p in pairs])].astype(np.int64),
        np.array([w for pair in pairs for w in pair], np.int32),
    )
    assert windows.quarters(sets).tolist() == [len(set().union(*(times[w] for w in pair))) for pair in pairs]
    assert sum(len(t) for t in times) > 1000
    for date in ("2026-03-29", "2026-10-25", "2026-11-01", "2026-05-01"):
        day = MarketDay(date, tz)
        mine = [set(day.qh[mask].tolist()) for mask in windows.open(day)]
        assert mine == [t & set(day.qh.tolist()) for t in times]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"last_day": "2026-02-30"}, "FX-T005"),
        ({"first_day": "tomorrow"}, "FX-T005"),
        ({"last_day": "2026-05-31"}, "FX-M270"),
        ({"to_quarter": 40}, "FX-M270"),
        ({"to_quarter": 97}, "FX-A006"),
        ({"months": 0}, "FX-A006"),
        ({"weekdays": 128}, "FX-A006"),
    ],
)
def test_a_bad_window_is_refused(change, code):
    good = {"first_day": "2026-06-01", "last_day": "2026-06-30", "from_quarter": 40, "to_quarter": 60}
    with pytest.raises(OfferError) as caught:
        ServiceWindows.from_table(table(good | change)[0])
    assert caught.value.codes == (code,)


def test_a_month_that_does_not_exist_is_refused():
    with pytest.raises(OfferError) as caught:
        month_bits(0, 13)
    assert caught.value.codes == ("FX-A006", "FX-A006")
    assert month_bits(1, 1, 12) == 2**11 + 1


def test_sets_name_what_is_unknown_twice_or_missing():
    row = {"first_day": "2026-06-01", "last_day": "2026-06-30"}
    windows = ServiceWindows.from_table(table(row, row)[0])
    keys = np.array(["a", "b"])

    def sets(owner, window):
        return windows.sets(np.array(owner), keys, np.array(window), "offers")

    assert sets(["b", "a", "b"], ["w1", "w0", "w0"]).of(1) == (0, 1)
    for owner, window, error, code in (
        (["a", "c"], ["w0", "w0"], UnknownIdError, "FX-M271"),
        (["a", "b"], ["w0", "w2"], UnknownIdError, "FX-M271"),
        (["a", "b", "b"], ["w0", "w0", "w0"], OfferError, "FX-M274"),
        (["a"], ["w0"], OfferError, "FX-M272"),
    ):
        with pytest.raises(error) as caught:
            sets(owner, window)
        assert caught.value.codes == (code,)


def test_a_zone_that_does_not_exist_is_refused():
    with pytest.raises(TimeSeriesError):
        quarters_of({"first_day": "2026-06-01", "last_day": "2026-06-30"}, tz="Europe/Roma")
