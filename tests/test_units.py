"""Money and power conversions against exact fractions."""

import random
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexcore import units
from flexcore.errors import SettlementError, ValidationError


def exact(wqh: int, price: int) -> int:
    value = Fraction(wqh * price, units.WQH_PER_MWH)
    return int((Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal(1), ROUND_HALF_EVEN))


# prices in steps of an eighth or a half of WQH_PER_MWH: with small energies many amounts are exact halves
TIED_PRICES = st.integers(-100, 100).map(lambda k: k * 500_000) | st.integers(-100, 100).map(lambda k: k * 2_000_000)


@given(
    st.integers(-20, 20) | st.integers(-(10**9), 10**9),
    TIED_PRICES | st.integers(-(10**10), 10**10),
)
def test_amounts_equal_exact_fractions(wqh, price):
    value = Fraction(wqh * price, units.WQH_PER_MWH)
    floor = value.numerator // value.denominator
    rest = value - floor
    rounded = floor + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1))
    assert units.amount_ueur(wqh, price) == rounded


def test_halves_go_to_even():
    assert units.half_even([-3, -1, 1, 3, 5], 2).tolist() == [-2, 0, 0, 2, 2]


def test_amounts_go_to_even_whatever_the_price_is_made_of():
    energy, price = np.meshgrid(np.arange(-30, 31), 500_000 * np.arange(-60, 61))
    expected = [exact(int(e), int(p)) for e, p in zip(energy.ravel(), price.ravel(), strict=True)]
    assert units.amount_ueur(energy, price).ravel().tolist() == expected
    assert units.amount_ueur([3, 3, -3, -3], [6_000_000, -6_000_000, 6_000_000, -6_000_000]).tolist() == [4, -4, -4, 4]


def test_amounts_at_the_edge_are_exact_or_refused():
    assert units.amount_ueur(units.MAX_WQH, units.WQH_PER_MWH - 1) == exact_edge(units.MAX_WQH, units.WQH_PER_MWH - 1)
    with pytest.raises(SettlementError) as refused:
        units.amount_ueur(units.MAX_WQH + 1, 1)
    assert refused.value.codes == ("FX-S001",)
    for wqh, price in ((units.MAX_WQH, 10**13), (-(2**63), 1)):
        with pytest.raises(SettlementError):
            units.amount_ueur(wqh, price)


@pytest.mark.parametrize("energy", [-(2**63), 1 - 2**63, -units.MAX_WQH - 1])
def test_energies_at_the_negative_edge_are_refused(energy):
    with pytest.raises(SettlementError) as refused:
        units.amount_ueur(energy, 7_000_000)
    assert refused.value.codes == ("FX-S001",)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: units.amount_ueur([1.9], [4_000_000]), "FX-A002"),
        (lambda: units.amount_ueur([1], [4e6]), "FX-A002"),
        (lambda: units.amount_ueur(np.array([2**63 + 5], np.uint64), 1), "FX-A006"),
        (lambda: units.w_to_kw([1.9]), "FX-A002"),
        (lambda: units.largest_remainder(5, [3, -1]), "FX-A004"),
        (lambda: units.largest_remainder(5, [0.5, 0.5]), "FX-A002"),
        *[
            (lambda convert=convert, kw=kw: convert([0.0, kw]), code)
            for convert in (units.kw_to_w, units.kw_to_w_up, units.kw_to_w_down)
            for kw, code in (
                (np.nan, "FX-A003"),
                (-np.inf, "FX-A003"),
                (1e30, "FX-A006"),
                (-(2.0**63) / 1e3, "FX-A006"),
            )
        ],
    ],
)
def test_what_an_integer_cannot_hold_is_refused(call, code):
    with pytest.raises(ValidationError) as refused:
        call()
    assert refused.value.codes == (code,)


def test_empty_series_and_the_largest_powers_convert():
    assert units.amount_ueur([], []).size == 0
    assert units.w_to_kw([]).size == 0
    assert units.kw_to_w([]).dtype == np.int64
    assert units.kw_to_w(1e15) == 10**18
    assert units.kw_to_w(1.5).shape == ()


def exact_edge(wqh: int, price: int) -> int:
    quotient, rest = divmod(wqh * price, units.WQH_PER_MWH)
    twice = 2 * rest
    return quotient + (twice > units.WQH_PER_MWH or (twice == units.WQH_PER_MWH and quotient % 2 == 1))


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_largest_remainder_sums_exactly_and_stays_within_one(total, weights):
    if sum(weights) == 0:
        weights = [*weights, 1]
    parts = units.largest_remainder(total, weights)
    assert sum(parts.tolist()) == total
    for part, weight in zip(parts.tolist(), weights, strict=True):
        assert abs(Fraction(part) - Fraction(total * weight, sum(weights))) < 1


def test_directed_rounding():
    kw = [2.9999999999999996, 3.0, 0.0005, 1.2349]
    assert units.kw_to_w_down(kw).tolist() == [3000, 3000, 0, 1234]
    assert units.kw_to_w_up(kw).tolist() == [3000, 3000, 1, 1235]
    assert units.kw_to_w([0.0005, 0.0015, 0.0025]).tolist() == [0, 2, 2]
    assert units.w_to_kw([1500]).tolist() == [1.5]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_sums_of_amounts_need_no_63_bits(values):
    assert units.exact_sum(np.array(values, np.int64)) == sum(values)


def test_sums_do_not_depend_on_order():
    rng = random.Random(0)
    lines = [(rng.randrange(10**6), rng.randrange(10**9)) for _ in range(1000)]
    amounts = units.amount_ueur([a for a, _ in lines], [b for _, b in lines])
    shuffled = amounts.copy()
    np.random.default_rng(0).shuffle(shuffled)
    assert amounts.sum() == shuffled.sum()


def test_the_edge_is_decimal():
    assert units.to_eur(1_234_567) == Decimal("1.234567")
    assert units.to_mwh(units.WQH_PER_MWH) == 1
    assert units.eur_per_mwh("7.5") == 7_500_000
    with pytest.raises(ValueError, match="six decimals"):
        units.eur_per_mwh("0.0000001")
