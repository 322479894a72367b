"""The forecast band: rows and capabilities narrowed by a margin hold for every flow within it."""

import numpy as np
import pytest

from flexcore import capability, find_needs
from flexcore.errors import ValidationError
from flexcore.grid.headroom import activation_rows
from flexcore.grid.joint_check import joint_check
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers


def errors_below(grid, rng, node_kw):
    """Node errors within +-node_kw, and the flow errors that they make in each branch."""
    error = rng.uniform(-1, 1, node_kw.shape) * node_kw
    return error, carried(grid, error), carried(grid, node_kw)


def carried(grid, values):
    order = np.asarray(grid.forest.order)
    total = np.zeros_like(values)
    for i in range(order.size):
        total[order[i]] = values[order[i : grid.forest.last[i]]].sum(axis=0)
    return total


def test_rows_are_narrowed_by_the_margin_and_its_path_sum():
    grid = feeder([-1, 0, 1], s_max=50.0, r=0.02)
    zero, margin = np.zeros((3, 1)), np.array([[0.0], [5.0], [3.0]])
    plain = activation_rows(grid, zero, zero)
    narrow = activation_rows(grid, zero, zero, margin_kw=margin)
    np.testing.assert_allclose(narrow.lower_kw[1:], plain.lower_kw[1:] + margin[1:], rtol=1e-12)
    np.testing.assert_allclose(narrow.upper_kw[1:], plain.upper_kw[1:] - margin[1:], rtol=1e-12)
    path = np.array([plain.m[1] * 5.0, plain.m[1] * 5.0 + plain.m[2] * 3.0])
    np.testing.assert_allclose(narrow.w_lower[1:, 0] - plain.w_lower[1:, 0], path, rtol=1e-9)
    np.testing.assert_allclose(plain.w_upper[1:, 0] - narrow.w_upper[1:, 0], path, rtol=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_any_forecast_within_the_band_keeps_its_own_lossless_rows(seed):
    rng = np.random.default_rng(seed)
    grid = random_feeder(rng, 25, impedance=0.02)
    p_kw, q_kvar = random_forecast(rng, grid, 3)
    up_kw, down_kw = random_offers(rng, grid, 3)
    node_kw = rng.uniform(0, 0.5, p_kw.shape)
    label = rng.integers(-1, 4, grid.n_nodes)
    error, flow_error, band = errors_below(grid, rng, node_kw)
    plain = activation_rows(grid, p_kw, 0 * q_kvar, loss_sweeps=0)
    shifted = activation_rows(grid, p_kw + error, 0 * q_kvar, loss_sweeps=0)
    narrow = activation_rows(grid, p_kw, 0 * q_kvar, loss_sweeps=0, margin_kw=band)
    assert (np.abs(flow_error) <= band + 1e-9).all()
    finite = np.isfinite(plain.lower_kw)
    # without reactive power and with voltage near 1, a branch takes what its rating leaves: errors shift it one to one,
    # up to the effect of the shifted voltage on the rated power
    slack = 1e-3 + 0.02 * np.abs(flow_error)
    assert (shifted.w_lower <= narrow.w_lower + 1e-6)[~grid.slack].all()
    assert (shifted.w_upper >= narrow.w_upper - 1e-6)[~grid.slack].all()
    assert (shifted.lower_kw <= narrow.lower_kw + slack)[finite].all()
    ask = {"up_kw": up_kw, "down_kw": down_kw, "perimeter": label, "method": "linear"}
    caps = capability(grid, p_kw, q_kvar, **ask, margin_kw=band)
    used = {"up_kw": up_kw, "down_kw": down_kw, "perimeter": label}
    assert joint_check(grid, caps.rows, cap_up_kw=caps.up_kw, cap_down_kw=caps.down_kw, **used).safe
    # what is safe within the band is safe on the forecast itself; totals say nothing, filling may share otherwise
    at_forecast = activation_rows(grid, p_kw, q_kvar)
    checked = joint_check(grid, at_forecast, cap_up_kw=caps.up_kw, cap_down_kw=0 * caps.down_kw, **used)
    assert checked.safe
    few = find_needs(grid, p_kw, q_kvar)
    many = find_needs(grid, p_kw, q_kvar, margin_kw=band)
    assert len(many) >= len(few)


def test_a_margin_has_no_sign_and_one_shape():
    grid = feeder([-1, 0])
    zero = np.zeros((2, 1))
    for bad, code in (
        (-np.ones((2, 1)), "FX-A004"),
        (np.ones((3, 1)), "FX-A001"),
        (np.full((2, 1), np.nan), "FX-A003"),
    ):
        with pytest.raises(ValidationError) as refused:
            find_needs(grid, zero, zero, margin_kw=bad)
        assert refused.value.codes == (code,)
