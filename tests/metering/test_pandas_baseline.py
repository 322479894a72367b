"""The independent pandas version of the common methods, on 500 random PODs and more for each."""

import dataclasses

import numpy as np
import pytest

from flexcore import baseline
from flexcore.metering import MISSING_W, PRESETS
from tests.metering import pandas_baseline as pandas
from tests.metering.baseline_cases import random_around_rule, random_batch, random_rule

N_PODS, N_BATCHES = 65, 14


def assert_agrees(result, table):
    """The same watts, and the same places without a baseline."""
    ours = np.where(result.baseline_w == MISSING_W, np.nan, result.baseline_w)
    assert np.array_equal(ours, table, equal_nan=True)
    return int((~np.isnan(table)).any(axis=1).sum())


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("adjustment", ["additive", "multiplicative"])
@pytest.mark.parametrize("method", ["high", "mid", "low", "all"])
def test_x_of_y_agrees_with_pandas_on_500_pods(method, adjustment):
    rng = np.random.default_rng(21)
    n_with = 0
    for number in range(N_BATCHES):
        rule = random_rule(rng, method, adjustment)
        # half of the rules take what days there are
        rule = dataclasses.replace(rule, min_days=rule.min_days if number % 2 else 1)
        case = random_batch(rng, N_PODS, short=0.75)
        n_with += assert_agrees(baseline(**case, preset=rule), pandas.x_of_y(rule, case))
    # PODs that have a baseline: in the others there was nothing to agree on
    assert 500 <= n_with < N_PODS * N_BATCHES


@pytest.mark.rule("BAS-01")
@pytest.mark.parametrize("name", ["before", "mean", "least", "largest", "pjm_3_plus_2", "double_reference"])
def test_meter_before_after_and_3_plus_2_agree_with_pandas_on_500_pods(name):
    rng = np.random.default_rng(22)
    for _ in range(N_BATCHES):
        rule = PRESETS[name] if name in PRESETS else random_around_rule(rng, name)
        case = random_batch(rng, N_PODS, short=0.2)
        inputs = {column: case[column] for column in ("today_w", "event", "today_excluded")}
        n_with = assert_agrees(baseline(None, **inputs, preset=rule), pandas.around_event(rule, **inputs))
        assert n_with == N_PODS


@pytest.mark.rule("BAS-01")
def test_rolling_and_nominated_agree_with_pandas_on_600_pods():
    rng = np.random.default_rng(23)
    for n_steps in (92, 96, 100):
        history = rng.integers(-3000, 9000, (200, 12, n_steps)).astype(np.int32)
        assert assert_agrees(baseline(history, preset="rolling_10"), pandas.rolling(history, 10)) == 200
        declared = rng.integers(-(2**31) + 1, 2**31, (200, n_steps))
        declared[rng.random(declared.shape) < 0.005] = MISSING_W
        assert_agrees(baseline(None, preset="nominated", nominated_w=declared), pandas.nominated(declared))
