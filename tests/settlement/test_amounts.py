from fractions import Fraction

import numpy as np
import pytest

from flexcore.errors import SettlementError
from flexcore.settlement.amounts import pay_factor, payment, ratio_ppm, scaled
from flexcore.settlement.terms import MAX_PRICE
from flexcore.units import MAX_WQH
from tests.reference.settlement_remuneration import half_even
from tests.reference.settlement_remuneration import pay_factor as reference_factor


@pytest.mark.parametrize("seed", range(40))
def test_three_numbers_over_a_fourth_are_rounded_once(seed):
    rng = np.random.default_rng(seed)
    n = 200
    bits = rng.integers(1, 62, (3, n))
    a, b, c = (rng.integers(0, 2**62, n) >> (62 - width) for width in bits)
    a *= rng.choice([-1, 1], n)
    c += 1
    if seed % 2:  # ties: odd multiples of a half
        c = 2 * (c >> 1) + 2
        a, b = a >> 32 | 1, c // 2
    fits = np.array([abs(int(x)) * int(y) / int(z) < 2**61 for x, y, z in zip(a, b, c, strict=True)])
    a, b, c = a[fits], b[fits], np.minimum(c[fits], 2**62)
    exact = [half_even(Fraction(int(x) * int(y), int(z))) for x, y, z in zip(a, b, c, strict=True)]
    assert scaled(a, b, c).tolist() == exact


@pytest.mark.parametrize(("a", "b", "c"), [(-(2**62), 2**62, 2**62), (2**62, 1, 1), (1, 2**62, 2**62), (0, 0, 1)])
def test_the_largest_numbers_are_exact(a, b, c):
    assert scaled(a, b, c).tolist() == [half_even(Fraction(a * b, c))]


def test_amounts_beyond_63_bits_are_refused():
    with pytest.raises(SettlementError) as caught:
        scaled([1, 2**40, 5], [1, 2**40, 5], [1, 2**10, 1])
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows) == ("FX-S001", (1,))


def test_factor_and_payment_at_the_extremes():
    points = ((0, 7), (630_000, 0), (630_000, 40_000), (1_999_999, 999_999), (2_000_000, 1_000_000))
    ordered = np.array([MAX_WQH, MAX_WQH, MAX_WQH, MAX_WQH // 2, 3, 1, 0])
    counted = np.array([MAX_WQH, 63 * (MAX_WQH // 100), -MAX_WQH, MAX_WQH - 1, 2, 2, 0])
    factor = pay_factor(counted, ordered, points)
    for k in range(len(ordered)):
        ratio = Fraction(max(int(counted[k]), 0), int(ordered[k])) if ordered[k] else Fraction(2)
        assert factor[k] == reference_factor(points, ratio)
    paid = np.maximum(counted, 0)
    for price in (MAX_PRICE, -MAX_PRICE, 1):
        exact = [
            half_even(Fraction(int(p) * price * int(f), 4_000_000_000_000)) for p, f in zip(paid, factor, strict=True)
        ]
        assert payment(paid, np.full(len(paid), price), factor).tolist() == exact


def test_a_ratio_of_nothing_is_zero():
    assert ratio_ppm([5, -1, 1, 0], [0, 2, 3, 7]).tolist() == [0, -500_000, 333_333, 0]
