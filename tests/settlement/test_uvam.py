import datetime as dt

import numpy as np
import pytest

from flexcore.errors import SettlementError, ValidationError
from flexcore.market.long_term import ContractBook, availability_due
from flexcore.market.service_windows import WORKDAYS
from flexcore.market_day import MarketDay
from flexcore.settlement import (
    UVAM_PRODUCTS,
    availability_price,
    count_kept,
    offered_within_strike,
    reliability_tests,
    reserve_premium,
    settle_availability,
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


def test_the_premium_is_lost_for_a_month_below_the_compliance_share():
    """A MW in the evening of 21 working days: 84 hours at 28.846154 EUR. Above the strike price is not offered."""
    product = UVAM_PRODUCTS["evening_1"]
    contracts = ContractBook.from_tables(
        {
            "contract_id": ["C"], "bsp": ["B"], "aggregate": ["A"], "perimeter": ["Z"], "direction": [0],
            "contracted_w": [1_000_000], "availability_ueur_per_mw_h": [availability_price()],
            "use_ueur_per_mwh": [product.strike_ueur_per_mwh],
        },
        {"contract_id": ["C"], "window_id": ["evening_1"]},
        {
            "window_id": ["evening_1"], "first_day": ["2022-11-01"], "last_day": ["2022-11-29"], "weekdays": [WORKDAYS],
            "from_quarter": [product.from_quarter], "to_quarter": [product.to_quarter],
        },
    )  # fmt: skip
    due = availability_due(contracts)
    assert due.amount_ueur.tolist() == [84 * 28_846_154]
    november = [MarketDay(dt.date(2022, 11, day)) for day in range(1, 31)]
    declared = np.full((1, 30 * 96), 1_000_000)
    for too_dear, share in ((6, 15), (7, 0)):  # of 21 working days; 15 of 21 is above 70 %, 14 of 21 is below
        price = np.full(declared.shape, product.strike_ueur_per_mwh)
        working = [k for k, day in enumerate(november) if day.weekday < 5]
        for k in working[:too_dear]:
            price[0, 96 * k : 96 * (k + 1)] += 1
        offered = offered_within_strike(declared, price, [product.strike_ueur_per_mwh])
        lines = settle_availability(due, count_kept(contracts, november, offered), "uvam", aggregate=[0])
        assert lines.net_ueur.tolist() == [share * 4 * 28_846_154]


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


def test_hours_of_another_length_are_refused_by_code():
    with pytest.raises(ValidationError, match="FX-A001"):
        reserve_premium([1, 2, 3], [4, 4])
    assert reserve_premium([4, 8], 1).tolist() == reserve_premium([1, 2], [4, 4]).tolist()
