import math
from fractions import Fraction

import numpy as np
import pytest

from flexcore import baseline
from flexcore.metering import MISSING_W, BaselineRule
from flexcore.metering.baseline import FEWER_DAYS, WIDENED
from tests.metering.cases import adjustment_fields, past_of, plain, random_day
from tests.reference.metering_adjustment import adjusted, metered_where_idle, usable_days
from tests.reference.metering_regression import regression

#: A result may round the other way than the exact one where that lies this near to a half. [W]
NEAR_HALF_W = 1e-4


def weather_of(rng, case, n_zones):
    """Temperatures of some zones, of few values so that ties and terms that cannot be told apart come up."""
    n_days, n_steps = case["history_w"].shape[1:]
    steps = float(rng.choice([0.01, 5.0]))
    past = np.round(rng.normal(rng.choice([5, 20, 32]), rng.choice([0, 8]), (n_zones, n_days, n_steps)) / steps) * steps
    now = np.round(rng.normal(20, 8, (n_zones, n_steps)) / steps) * steps
    past[rng.random(past.shape) < rng.choice([0, 0.05])] = np.nan
    now[rng.random(now.shape) < rng.choice([0, 0.05])] = np.nan
    return past, now


def in_hundredths(row):
    return [None if math.isnan(value) else round(value * 100) for value in row]


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(130))
def test_regression_equals_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    case = random_day(rng)
    n_pods, n_days = case["history_w"].shape[:2]
    past, now = weather_of(rng, case, 2)
    zone, off, today_off = rng.integers(0, 2, n_pods), rng.random(n_days) < 0.3, bool(rng.random() < 0.5)
    n_candidates = int(rng.integers(1, 14))
    rule = BaselineRule(
        "regression",
        n_candidates=n_candidates,
        n_selected=1,
        min_days=int(rng.integers(1, min(n_candidates, 4) + 1)),
        level_steps=int(rng.choice([1, 4, 24])),
        **adjustment_fields(rng),
    )
    weather = {"temperature_c": past, "today_temperature_c": now, "zone": zone, "day_off": off, "today_off": today_off}
    result = baseline(**case, preset=rule, **weather)
    for i in range(n_pods):
        days, widened = usable_days(rule, case["eligible"][i])
        temperature = [in_hundredths(row) for row in past[zone[i]]]
        exact, status, used = regression(
            rule, past_of(case, i), days, temperature, off, in_hundredths(now[zone[i]]), today_off
        )
        assert set(np.flatnonzero(result.days_used[i])) == used
        today, event, gone = plain(case["today_w"][i]), list(case["event"][i]), list(case["today_excluded"][i])
        status |= WIDENED if widened else 0
        raw = [None if value is None else float(value) for value in exact]
        values, status = adjusted(rule, raw, today, event, gone, status)
        shifted, _ = adjusted(rule, [v if v is None else v + NEAR_HALF_W for v in raw], today, event, gone, 0)
        lowered, _ = adjusted(rule, [v if v is None else v - NEAR_HALF_W for v in raw], today, event, gone, 0)
        if rule.idle == "metered":
            values, status = metered_where_idle(values, status, today, event)
            shifted, lowered = values, values
        # slopes far outside what was seen can overflow in one and not in the other only at 2^31
        assert result.status[i] == status
        for got, wanted, above, below in zip(plain(result.baseline_w[i]), values, shifted, lowered, strict=True):
            assert got == wanted or got in (above, below), (got, wanted)


def test_exact_sums_hold_at_the_extremes():
    """512 readings of an hour, the coldest and the warmest degrees, the largest loads: sums fit 64 bits."""
    rng = np.random.default_rng(0)
    history = rng.choice(np.array([-(2**31) + 1, 2**31 - 1], np.int32), (1, 128, 4))
    warm = rng.choice(np.array([-100.0, 63.83]), (128, 4))
    rule = BaselineRule("regression", n_candidates=128, cooling_above_c100=-10_000, heating_below_c100=-10_000)
    result = baseline(history, preset=rule, temperature_c=warm, today_temperature_c=np.array([-100, 0, 30.5, 63.83]))
    x = np.maximum(np.rint(warm * 100).astype(int) + 10_000, 0).ravel().tolist()
    y = history[0].ravel().tolist()
    n = 512
    slope = Fraction(
        n * sum(a * b for a, b in zip(x, y, strict=True)) - sum(x) * sum(y), n * sum(a * a for a in x) - sum(x) ** 2
    )
    for step, at in enumerate((0, 10_000, 13_050, 16_383)):
        exact = Fraction(sum(y), n) + slope * (at - Fraction(sum(x), n))
        assert result.baseline_w[0, step] == round(exact)


def test_numpy_least_squares_agrees():
    """Oracle: numpy.linalg.lstsq on a year's quarter of hourly loads with weather, working days and days off."""
    rng = np.random.default_rng(1)
    n_days, n_pods = 60, 8
    warm = (
        20 + 8 * np.sin(np.arange(96) / 96 * 2 * np.pi) + rng.normal(0, 5, (n_days, 1)) + rng.normal(0, 1, (n_days, 96))
    )
    warm = np.round(warm, 2)
    now = np.round(20 + 12 * np.sin(np.arange(96) / 96 * 2 * np.pi), 2)
    off = np.arange(n_days) % 7 >= 5
    cooling, heating = np.maximum(warm - 22, 0), np.maximum(18 - warm, 0)
    load = rng.normal(1000, 200, (n_pods, n_days, 96)) + 60 * cooling + 40 * heating - 300 * off[:, np.newaxis]
    history = load.astype(np.int32)
    rule = BaselineRule("regression", n_candidates=90, n_selected=1, min_days=45)
    result = baseline(history, preset=rule, temperature_c=warm, today_temperature_c=now, day_off=off, today_off=True)
    level = np.eye(24)[np.tile(np.arange(96) // 4, n_days)]
    terms = np.column_stack([cooling.ravel(), heating.ravel(), np.repeat(off, 96)])
    today = np.column_stack(
        [np.eye(24)[np.arange(96) // 4], np.maximum(now - 22, 0), np.maximum(18 - now, 0), np.ones(96)]
    )
    for i in range(n_pods):
        found, _, rank, _ = np.linalg.lstsq(np.column_stack([level, terms]), history[i].ravel(), rcond=None)
        assert rank == 27
        # half a watt for the rounding of the baseline, and both solvers are good to far below a milliwatt
        assert np.abs(result.baseline_w[i] - today @ found).max() <= 0.5 + 1e-6
    assert set(result.status) == {FEWER_DAYS}  # 60 of 90 days
    assert len({tuple(row) for row in result.baseline_w.tolist()}) == n_pods


def test_terms_that_history_cannot_tell_apart_get_no_slope():
    history = np.array([[[100] * 4, [200] * 4, [300] * 4]], np.int32)
    rule = BaselineRule("regression", n_candidates=3, n_selected=1, min_days=1)
    mild = np.full((3, 4), 20.0)
    # no cooling or heating in the history, none today: the mean of the hour, to the letter
    even = baseline(history, preset=rule, temperature_c=mild, today_temperature_c=np.full(4, 21.0))
    assert list(even.baseline_w[0]) == [200] * 4
    assert even.status[0] == 0
    # none in the history, but a hot day: the mean of the hour, flagged
    hot = baseline(history, preset=rule, temperature_c=mild, today_temperature_c=np.full(4, 35.0))
    assert list(hot.baseline_w[0]) == [200] * 4
    assert hot.status[0] == FEWER_DAYS
    # 100 W for each degree above 22
    rising = np.array([[22.0] * 4, [23.0] * 4, [24.0] * 4])
    warm = baseline(history, preset=rule, temperature_c=rising, today_temperature_c=np.array([22, 25.5, 10, np.nan]))
    assert list(warm.baseline_w[0]) == [100, 450, 100, MISSING_W]
    # the day off is the hottest day, always: its level cannot be told from the slope
    off = np.array([False, False, True])
    two = np.array([[22.0] * 4, [22.0] * 4, [24.0] * 4])
    both = baseline(history, preset=rule, temperature_c=two, today_temperature_c=np.full(4, 24.0), day_off=off)
    assert list(both.baseline_w[0]) == [300] * 4
    assert both.status[0] == FEWER_DAYS


def test_terms_that_rounding_alone_would_tell_apart_get_no_slope():
    """Hot or cold days and none between: heating degrees follow from cooling degrees, exactly but not in float64."""
    rule = BaselineRule("regression", n_candidates=9, n_selected=1, min_days=1)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        hot, cold = np.round(rng.uniform(23, 39, 1), 2), np.round(rng.uniform(-9, 17, 1), 2)
        days = np.concatenate([[True, False], rng.random(7) < 0.5])
        warm = np.repeat(np.where(days, hot, cold), 8).reshape(9, 8)
        history = rng.integers(0, 5000, (1, 9, 8)).astype(np.int32)
        now = np.full(8, 30.0)
        result = baseline(history, preset=rule, temperature_c=warm, today_temperature_c=now)
        past = [[int(value) for value in row] for row in history[0]]
        whole = [in_hundredths(row) for row in warm]
        exact, status, _ = regression(rule, past, range(9), whole, [False] * 9, in_hundredths(now), False)
        assert list(result.baseline_w[0]) == [round(value) for value in exact]
        assert result.status[0] == status == FEWER_DAYS
