"""The golden hour: baseline 10 MW, 2 MW upward ordered, price 7 EUR/MWh, penalty 11 EUR/MWh, worked out by hand.

metered   delivered   paid   short   net = 7 x paid - 11 x short
 7 MW       3 MWh     2 MWh  0 MWh    14 EUR
 8 MW       2         2      0        14
 9 MW       1         1      1        -4
10 MW       0         0      2       -22
11 MW      -1         0      3       -33
"""

import numpy as np
import pytest

from flexcore import baseline, settle
from flexcore.settlement import SettlementTerms
from flexcore.units import LOCAL, UP, eur_per_mwh

MW = 1_000_000
#: The energy of the hour is what was bought: its quarters make up for each other.
TERMS = SettlementTerms(price_ueur_per_mwh=eur_per_mwh(7), penalty_ueur_per_mwh=eur_per_mwh(11), measured_per="unit")
GOLDEN = [(7, 14), (8, 14), (9, -4), (10, -22), (11, -33)]
#: What each quarter of the hour has above the mean of the hour: an even hour, and uneven ones. [MW]
SHAPES = [(0, 0, 0, 0), (-1, 2, -2, 1), (-4, 1, 1, 2), (0.25, 0.75, -0.5, -0.5)]


def net(ordered_mw, baseline_mw, metered_mw, terms=TERMS, **more):
    rows = [
        np.atleast_2d(np.rint(np.asarray(values) * MW)).astype(np.int64)
        for values in (ordered_mw, baseline_mw, metered_mw)
    ]
    return settle(*rows, terms, direction=UP, aggregate=0, operator=LOCAL, **more)


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("metered", "eur"), GOLDEN)
def test_golden_hour_however_the_meter_spreads_it_over_its_quarters(metered, eur, shape):
    result = net(np.full(4, 2), np.full(4, 10), metered + np.array(shape))
    assert result.lines.net_ueur.tolist() == [eur * 1_000_000]
    assert result.totals.net_ueur.tolist() == [eur * 1_000_000, 0]


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize(("metered", "eur"), GOLDEN)
def test_golden_hour_by_terms_that_measure_each_quarter(metered, eur):
    """What nobody says of the measure is the default; an even hour is the same by both."""
    terms = SettlementTerms(price_ueur_per_mwh=eur_per_mwh(7), penalty_ueur_per_mwh=eur_per_mwh(11))
    assert terms.measured_per == "quarter_hour"
    result = net(np.full(4, 2), np.full(4, 10), np.full(4, metered), terms=terms)
    assert result.lines.net_ueur.tolist() == [eur * 1_000_000]


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("metered", "eur"), GOLDEN)
def test_golden_hour_with_an_order_spread_unevenly(metered, eur, shape):
    """8 MW quarter-hours are ordered, the baseline follows the order, and the meter what is left of it."""
    ordered = np.array([0.5, 3.5, 3, 1])
    result = net(ordered, 8 + ordered + np.array(shape), metered + np.array(shape))
    assert result.lines.net_ueur.tolist() == [eur * 1_000_000]


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize(("metered", "eur"), GOLDEN)
def test_golden_hour_of_three_pods_that_share_it(metered, eur):
    part = np.array([[0.5], [0.3], [0.2]])
    result = net(part * np.full(4, 2), part * np.full(4, 10), part * np.full(4, metered))
    assert result.lines.net_ueur.tolist() == [eur * 1_000_000]
    assert result.pod_lines.net_ueur.tolist() == [eur * 500_000, eur * 300_000, eur * 200_000]


def test_quarter_hour_units_do_not_net_over_the_hour():
    """Delivered 3, -1, 1, 1 MW: paid 2 + 0 + 1 + 1, short 0 + 3 + 1 + 1 quarters of a MWh: 7.00 - 13.75 EUR."""
    result = net(np.full(4, 2), np.full(4, 10), [7, 11, 9, 9], unit_of_step=np.arange(4))
    assert result.lines.net_ueur.tolist() == [3_500_000, -8_250_000, -1_000_000, -1_000_000]
    assert net(np.full(4, 2), np.full(4, 10), [7, 11, 9, 9]).lines.net_ueur.tolist() == [-4_000_000]


@pytest.mark.rule("BAS-01")
@pytest.mark.parametrize("preset", ["caiso_10_in_10", "high_5_of_10", "elexon_bl01", "meter_before", "pjm_3_plus_2"])
@pytest.mark.parametrize(("metered", "eur"), GOLDEN)
def test_golden_hour_from_readings(metered, eur, preset):
    """A POD that always draws 10 MW has that baseline by every method."""
    history, today = np.full((1, 10, 96), 10 * MW), np.full((1, 96), 10 * MW)
    event = np.arange(96) // 4 == 18
    today[:, event] = metered * MW
    found = baseline(history, today, event, preset=preset)
    result = settle(2 * MW * event[np.newaxis], found, today, TERMS, direction=UP, aggregate=0, operator=LOCAL)
    assert result.lines.unit.tolist() == [18]
    assert result.lines.net_ueur.tolist() == [eur * 1_000_000]
