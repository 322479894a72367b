import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.study.cities import draws


@given(st.integers(0, 2**63), st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20), st.randoms())
@settings(max_examples=50, deadline=None)
def test_a_draw_depends_on_its_keys_and_not_on_its_company(seed, keys, random):
    together = draws.bits(seed, "stream", np.array(keys), 7)
    shuffled = list(range(len(keys)))
    random.shuffle(shuffled)
    again = draws.bits(seed, "stream", np.array(keys)[shuffled], 7)
    np.testing.assert_array_equal(again, together[shuffled])
    assert draws.bits(seed, "stream", keys[0], 7) == together[0]


def test_seed_stream_and_every_key_change_the_draw():
    plain = draws.bits(0, "a", 1, 2)
    assert (
        len({int(x) for x in (plain, draws.bits(1, "a", 1, 2), draws.bits(0, "b", 1, 2), draws.bits(0, "a", 2, 1))})
        == 4
    )


def test_moments_and_independence():
    keys = np.arange(200_000)
    u, z = draws.uniform(3, "u", keys), draws.normal(3, "z", keys)
    # five standard errors of 200,000 draws
    assert abs(u.mean() - 0.5) < 5 * 0.2887 / np.sqrt(keys.size)
    assert abs(z.mean()) < 5 / np.sqrt(keys.size)
    assert abs(z.std() - 1.0) < 5 / np.sqrt(2 * keys.size)
    assert abs(np.corrcoef(z[1:], z[:-1])[0, 1]) < 5 / np.sqrt(keys.size)
    assert u.min() >= 0.0
    assert u.max() < 1.0


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_a_walk_has_unit_spread_at_the_hours_and_the_stated_correlation(rho):
    walk = draws.hourly_walk(1, "w", 96, rho, np.arange(20_000))
    assert walk.shape == (20_000, 96)
    # between the knots the spread is at least sqrt((1 + rho) / 2), and never above 1
    spread = walk.std(axis=0)
    assert (spread < 1.02).all()
    assert (spread > np.sqrt((1.0 + rho) / 2.0) * 0.98).all()
    hourly = 0.5 * (walk[:, 1::4] + walk[:, 2::4])
    later = np.corrcoef(hourly[:, 5], hourly[:, 17])[0, 1]
    assert abs(later - rho**12) < 0.05


def test_choice_follows_the_weights():
    drawn = draws.choice(draws.uniform(0, "c", np.arange(50_000)), [1.0, 2.0, 7.0])
    np.testing.assert_allclose(np.bincount(drawn) / drawn.size, [0.1, 0.2, 0.7], atol=0.01)
    assert draws.choice(np.array([np.nextafter(1.0, 0.0)]), [1.0, 0.0])[0] == 0
