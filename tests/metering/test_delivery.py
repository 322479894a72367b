import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.metering import MISSING_W, delivered_volume, net_by_aggregate
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.units import DOWN, UP


@pytest.mark.parametrize("seed", range(30))
def test_delivered_volume_and_its_net_equal_plain_loops(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_steps, n_aggregates = 9, 12, 4
    base = rng.integers(-(2**31) + 1, 2**31, (n_rows, n_steps)).astype(np.int32)
    metered = rng.integers(-(2**31) + 1, 2**31, (n_rows, n_steps)).astype(np.int32)
    base[rng.random(base.shape) < 0.1] = MISSING_W
    metered[rng.random(base.shape) < 0.1] = MISSING_W
    direction = rng.integers(0, 2, n_rows)
    aggregate = rng.integers(0, n_aggregates - 1, n_rows)  # the last aggregate stays empty
    for clip in (False, True):
        delivered = delivered_volume(base, metered, direction=direction, clip=clip)
        net, n_missing = net_by_aggregate(delivered, aggregate, n_aggregates)
        expected_net = [[0] * n_steps for _ in range(n_aggregates)]
        expected_missing = [[0] * n_steps for _ in range(n_aggregates)]
        for i in range(n_rows):
            for t in range(n_steps):
                if base[i, t] == MISSING_W or metered[i, t] == MISSING_W:
                    assert delivered[i, t] == MISSING_DELIVERED
                    expected_missing[aggregate[i]][t] += 1
                    continue
                value = int(base[i, t]) - int(metered[i, t])
                value = value if direction[i] == UP else -value
                value = max(value, 0) if clip else value
                assert delivered[i, t] == value
                expected_net[aggregate[i]][t] += value
        assert net.tolist() == expected_net
        assert n_missing.tolist() == expected_missing


def test_sign_of_the_direction():
    base, metered = np.array([[1000]]), np.array([[400]])
    assert delivered_volume(base, metered, direction=UP)[0, 0] == 600
    assert delivered_volume(base, metered, direction=DOWN)[0, 0] == -600
    assert delivered_volume(base, metered, direction=DOWN, clip=True)[0, 0] == 0


def test_wrong_inputs_are_refused():
    base = np.zeros((2, 4), np.int32)
    with pytest.raises(ValidationError, match="FX-A001"):
        delivered_volume(base, base[:, :3], direction=UP)
    with pytest.raises(ValidationError, match="FX-A006"):
        delivered_volume(base, base, direction=2)
    with pytest.raises(ValidationError, match="FX-A006"):
        net_by_aggregate(base, [0, 2], 2)


def test_no_rows_give_no_volume():
    empty = np.zeros((0, 4), np.int32)
    assert delivered_volume(empty, empty, direction=UP).shape == (0, 4)
    net, n_missing = net_by_aggregate(np.zeros((0, 4), np.int64), [], 2)
    assert not net.any()
    assert not n_missing.any()
