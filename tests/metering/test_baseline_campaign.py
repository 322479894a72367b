"""Each method of `baseline` on more than 1,000 random PODs of its own, bit by bit against the loop reference."""

from collections import Counter

import numpy as np
import pytest

from flexcore import baseline
from flexcore.metering import MISSING_W
from flexcore.metering.baseline import GAP
from tests.metering.baseline_cases import hard_features, plain, random_around_rule, random_batch, random_rule
from tests.reference.metering_baseline import around_event, x_of_y

#: PODs of one batch, batches of one method: 1,020 PODs a method by default, 12,000 in the nightly campaign.
N_PODS, N_BATCHES, N_NIGHTLY = 5, 204, 2400


def check_x_of_y(method, adjustment, n_batches, seed):
    rng = np.random.default_rng(seed)
    features = Counter()
    for _ in range(n_batches):
        rule, case = random_rule(rng, method, adjustment), random_batch(rng, N_PODS)
        result = baseline(**case, preset=rule)
        masked = np.where(case["excluded"], MISSING_W, case["history_w"])
        for i in range(N_PODS):
            values, status, used = x_of_y(
                rule,
                [plain(day) for day in masked[i]],
                plain(case["today_w"][i]),
                case["event"][i].tolist(),
                case["eligible"][i].tolist(),
                case["today_excluded"][i].tolist(),
            )
            assert plain(result.baseline_w[i]) == values
            assert result.status[i] == status
            assert set(np.flatnonzero(result.days_used[i]).tolist()) == used
        features.update(hard_features(case, rule, result))
    # a feature that never came up was not tested
    assert min(features.values()) >= 5, features


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("adjustment", ["none", "additive", "multiplicative"])
@pytest.mark.parametrize("method", ["high", "mid", "low", "all"])
def test_x_of_y_equals_the_reference_on_1000_pods(method, adjustment):
    check_x_of_y(method, adjustment, N_BATCHES, seed=5)


@pytest.mark.nightly
@pytest.mark.parametrize("adjustment", ["none", "additive", "multiplicative"])
@pytest.mark.parametrize("method", ["high", "mid", "low", "all"])
def test_x_of_y_equals_the_reference_on_12000_pods(method, adjustment):
    check_x_of_y(method, adjustment, N_NIGHTLY, seed=6)


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("join", ["before", "mean", "least", "largest"])
def test_meter_before_after_equals_the_reference_on_1000_pods(join):
    rng = np.random.default_rng(7)
    features = Counter()
    for _ in range(N_BATCHES):
        rule, case = random_around_rule(rng, join), random_batch(rng, N_PODS)
        today, event, out = case["today_w"], case["event"], case["today_excluded"]
        result = baseline(None, today, event, preset=rule, today_excluded=out)
        for i in range(N_PODS):
            values, status = around_event(rule, plain(today[i]), event[i].tolist(), out[i].tolist())
            assert plain(result.baseline_w[i]) == values
            assert result.status[i] == status
        runs = (np.diff(event, axis=1, prepend=False) & event).sum(axis=1)
        features["several events"] += int((runs > 1).sum())
        features["missing"] += int((today == MISSING_W).any(axis=1).sum())
        features["negative"] += int(((today < 0) & (today != MISSING_W)).any(axis=1).sum())
        features["at an edge"] += int((event[:, 0] | event[:, -1]).sum())
        for length in (92, 96, 100):
            features[length] += N_PODS * (today.shape[1] == length)
        for bit in (2, 16) if join == "before" else (1, 2, 16):
            features[f"status {bit}"] += int(((result.status & bit) > 0).sum())
        features["clean"] += int((result.status == 0).sum())
    assert min(features.values()) >= 5, features


@pytest.mark.rule("BAS-01")
def test_nominated_baselines_are_the_declared_ones_on_600_pods():
    rng = np.random.default_rng(8)
    n_gaps = n_negative = 0
    for n_steps in (92, 96, 100):
        declared = rng.integers(-(2**31) + 1, 2**31, (200, n_steps))
        declared[rng.random(declared.shape) < 0.005] = MISSING_W
        result = baseline(None, preset="nominated", nominated_w=declared)
        assert result.baseline_w.tolist() == declared.tolist()
        gap = (declared == MISSING_W).any(axis=1)
        assert result.status.tolist() == [GAP if row else 0 for row in gap]
        n_gaps, n_negative = n_gaps + gap.sum(), n_negative + (declared < 0).any(axis=1).sum()
    assert 0 < n_gaps < 600
    assert n_negative > 500
