from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import ValidationError
from flexcore.metering import placebo_events
from flexcore.metering.placebo import WINDOWS, draw_groups
from tests.reference.metering_accuracy import drawable


def random_year(rng):
    n_days = int(rng.integers(1, 120))
    return {
        "day_type": rng.integers(0, 3, n_days),
        "stratum": rng.integers(-1, 3, n_days),
        "real_event": rng.random(n_days) < 0.2,
        "look_back_days": int(rng.integers(1, 40)),
        "least_days": int(rng.integers(0, 8)),
        "n_per_stratum": int(rng.integers(1, 5)),
        "seed": int(rng.integers(0, 2**31)),
    }


def draw(year):
    try:
        return placebo_events(**year)
    except ValidationError as error:
        if error.codes != ("FX-B051",):
            raise


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
@pytest.mark.rule("ACC-01")
def test_so_many_days_of_each_stratum_and_window_are_drawn(seed):
    year = random_year(np.random.default_rng(seed))
    layer = year["stratum"].tolist()
    days = drawable(year["day_type"].tolist(), year["real_event"].tolist(), year["look_back_days"], year["least_days"])
    days = [day for day in days if layer[day] >= 0]
    events = draw(year)
    if events is None:
        assert not days
        return
    pairs = list(zip(events.day.tolist(), events.window.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert {day for day, _ in pairs} <= set(days)
    assert events.stratum.tolist() == [layer[day] for day, _ in pairs]
    drawn = Counter((layer[day], window) for day, window in pairs)
    for name, n in Counter(layer[day] for day in days).items():
        for window in range(len(WINDOWS)):
            assert drawn[name, window] == min(n, year["n_per_stratum"])
    for e in range(len(events)):
        first, like = events.reference_days(e)
        day = int(events.day[e])
        assert first == max(day - year["look_back_days"], 0)
        wanted = [year["day_type"][d] == year["day_type"][day] and not year["real_event"][d] for d in range(first, day)]
        assert like.tolist() == wanted
        begin, end = list(WINDOWS.values())[events.window[e]]
        assert np.flatnonzero(events.during[e]).tolist() == list(range(begin, end))


def test_a_draw_hangs_on_its_own_day_and_window_only():
    kind = np.arange(366) % 7 >= 5
    one = placebo_events(kind.astype(int), seed=3)
    assert one.day.tolist() == placebo_events(kind.astype(int), seed=3).day.tolist()
    assert one.day.tolist() != placebo_events(kind.astype(int), seed=4).day.tolist()
    fewer = placebo_events(kind.astype(int), seed=3, windows=dict(list(WINDOWS.items())[:2]))
    assert fewer.day.tolist() == one.day[one.window < 2].tolist()
    more = placebo_events(kind.astype(int), seed=3, n_per_stratum=9)
    assert set(zip(one.day, one.window, strict=True)) < set(zip(more.day, more.window, strict=True))


def test_draws_are_spread_over_the_days():
    events = placebo_events(np.zeros(1060, int), n_per_stratum=500, windows={"a": (0, 4)}, least_days=0, seed=8)
    assert abs(events.day.mean() - 529.5) < 4 * 1060 / np.sqrt(12 * 500)  # four standard deviations of the mean


def test_a_table_lists_the_events():
    table = placebo_events(np.zeros(30, int), n_per_stratum=1).to_arrow()
    assert table.num_rows == len(WINDOWS)
    assert set(table["window"].to_pylist()) == set(WINDOWS)
    row = table.to_pylist()[0]
    assert (row["first_step"], row["end_step"]) == WINDOWS[row["window"]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"windows": {"w": (5, 5)}}, "FX-B050"),
        ({"windows": {"w": (90, 97)}}, "FX-B050"),
        ({"windows": {"w": (1.5, 3)}}, "FX-B050"),
        ({"windows": {}}, "FX-B051"),
        ({"n_steps": None}, "FX-A006"),
        ({"real_event": np.ones(30, bool)}, "FX-B051"),
        ({"least_days": 30}, "FX-B051"),
        ({"stratum": np.zeros(29, int)}, "FX-A001"),
        ({"real_event": np.zeros(30, int)}, "FX-A002"),
        ({"n_per_stratum": 0}, "FX-A006"),
        ({"seed": -1}, "FX-A006"),
    ],
)
def test_bad_input_is_refused(change, code):
    with pytest.raises(ValidationError) as error:
        placebo_events(np.zeros(30, int), **change)
    assert error.value.codes == (code,)


def test_groups_hold_distinct_pods():
    groups = draw_groups(20, 7, 50, seed=1)
    assert groups.shape == (50, 7)
    assert all(len(set(row)) == 7 for row in groups.tolist())
    assert len({tuple(row) for row in groups.tolist()}) > 45
    assert np.bincount(groups.ravel(), minlength=20).min() > 5
    assert draw_groups(20, 20, 50, seed=1).tolist() == [list(range(20))]
