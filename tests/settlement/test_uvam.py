import numpy as np
import pytest

from flexcore.errors import SettlementError, ValidationError
from flexcore.settlement import (
    UVAM_PRODUCTS,
    availability_price,
    offered_within_strike,
    reliability_tests,
    reserve_premium,
)
from flexcore.units import to_eur


def test_the_premium_is_linear_in_the_hours():
    eur = [to_eur(amount) for amount in reserve_premium([1_000_000] * 4, [1, 2, 3, 4])]
    assert eur == [7500, 15_000, 22_500, 30_000]
    assert reserve_premium([333], 3).tolist() == [7_492_500]
    hours = {name: product.hours for name, product in UVAM_PRODUCTS.items()}
    assert hours == {"afternoon": 3, "evening_1": 4, "evening_2": 4}
    # a year of 260 days at the hourly price is the premium, to the rounding of the price
    assert availability_price() == 28_846_154
    assert abs(260 * 4 * availability_price() - 30_000_000_000) <= 260 * 4
    for hours_wrong in (0, 5):
        with pytest.raises(ValidationError):
            reserve_premium([1], hours_wrong)
    with pytest.raises(ValidationError):
        availability_price(0)


def test_power_above_the_strike_price_is_not_offered():
    strike = [UVAM_PRODUCTS["evening_1"].strike_ueur_per_mwh, UVAM_PRODUCTS["evening_2"].strike_ueur_per_mwh]
    price = np.array([[400_000_000, 400_000_001], [200_000_000, 400_000_000]])
    assert offered_within_strike([[5, 6], [7, 8]], price, strike).tolist() == [[5, 0], [7, 0]]


def test_three_failed_tests_of_four_disable_a_unit():
    #                     passed, at 90 % exactly and so failed, failed, failed
    counted = [901, 900, 0, -5, 899_999_999, 900_000_001]
    ordered = [1000, 1000, 1000, 10, 10**9, 10**9]
    tests = reliability_tests(counted, ordered, aggregate=[3, 3, 3, 3, 3, 1], year=[2022] * 4 + [2023] * 2)
    assert tests.aggregate.tolist() == [1, 3, 3]
    assert tests.year.tolist() == [2023, 2022, 2023]
    assert tests.n_tests.tolist() == [1, 4, 1]
    assert tests.n_failed.tolist() == [0, 3, 1]
    assert tests.worst_ppm.tolist() == [900_000, -500_000, 900_000]
    assert tests.disabled.tolist() == [False, True, False]


def test_a_fifth_test_and_a_test_without_order_are_refused():
    with pytest.raises(SettlementError, match="FX-S014"):
        reliability_tests([1] * 5, [1] * 5, aggregate=[0] * 5, year=[2022] * 5)
    with pytest.raises(SettlementError, match="FX-S014"):
        reliability_tests([1], [0], aggregate=[0], year=[2022])
    with pytest.raises(SettlementError, match="FX-S003"):
        reliability_tests([1], [1], aggregate=[0], year=[2022], pass_above_ppm=0.9)
