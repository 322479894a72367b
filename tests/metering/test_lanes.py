"""The quotient by multiplications is the correctly rounded one, and int32 rows come and go unchanged."""

import numpy as np
import pytest

from flexcore.kernels._jit import F64_2D, F64_2D_OUT, I32_2D, I32_2D_OUT, f64, kernel
from flexcore.kernels._simd import WIDTH, load, load_some, store, store_some, whole_quotient


@kernel(F64_2D, f64, F64_2D_OUT)
def quotients(value, divisor, quotient_out):
    inverse = 1.0 / divisor
    for t in range(0, value.shape[1], WIDTH):
        store(quotient_out, 0, t, whole_quotient(load(value, 0, t), divisor, inverse))


@kernel(I32_2D, I32_2D_OUT)
def copied(row, row_out):
    n = row.shape[1]
    for t in range(0, n, WIDTH):
        store_some(row_out, 0, t, n - t, load_some(row, 0, t, n - t))


@pytest.mark.parametrize("bits", [8, 31, 38, 48, 53])
def test_quotients_of_whole_numbers_are_correctly_rounded(bits):
    rng = np.random.default_rng(bits)
    largest = 2**bits - 1
    value = rng.integers(-largest, largest, (1, 1 << 12), endpoint=True).astype(np.float64)
    value[0, :4] = 0.0, 1.0, largest, -largest
    quotient = np.empty_like(value)
    for divisor in (*range(1, 70), 96, 255, 1023, 65_537, 2**22 - 1):
        # the largest multiples of the divisor and their neighbours are the hardest: the rest is one unit
        value[0, 4:] -= np.where(rng.random(value.shape[1] - 4) < 0.5, np.fmod(value[0, 4:], divisor), 0.0)
        quotients(value, float(divisor), quotient)
        assert np.array_equal(quotient, value / divisor)


def test_rows_of_int32_come_and_go_unchanged():
    rng = np.random.default_rng(3)
    for n in (1, 7, 8, 9, 92, 96, 100):
        row = rng.integers(-(2**31), 2**31, (1, n)).astype(np.int32)
        row[0, 0] = -(2**31)
        row[0, -1] = 2**31 - 1
        result = np.zeros_like(row)
        copied(row, result)
        assert np.array_equal(result, row)
