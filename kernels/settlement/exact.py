"""Settlement: products of three numbers over a fourth, exact in 63 bits, rounded once, half-even."""

import numpy as np

from flexcore.kernels._jit import I64, I64_OUT, i64, inner, kernel


@inner
def product_over(a, b, c):
    """Return floor and remainder of a * b / c, exactly, for a, b >= 0 and 0 < c <= 2^62.

    The product may need 126 bits, so it is never formed: a is read bit by bit from the top, and quotient and remainder
    are doubled and added to. Remainders stay below c, so twice one fits 63 bits. The caller sees to it that the
    quotient fits.
    """
    whole = b // c
    part = b - whole * c
    quotient = np.int64(0)
    remainder = np.int64(0)
    width = 0
    while (a >> width) > 0:
        width += 1
    for bit in range(width - 1, -1, -1):
        quotient = 2 * quotient
        remainder = 2 * remainder
        if remainder >= c:
            remainder -= c
            quotient += 1
        if (a >> bit) & 1:
            quotient += whole
            # remainder + part may reach 2 c, which still fits
            remainder += part
            if remainder >= c:
                remainder -= c
                quotient += 1
    return quotient, remainder


@inner
def scaled_half_even(offset, a, b, c):
    """Return offset + a * b / c, half-even; `a` of either sign, b >= 0, 0 < c <= 2^62."""
    quotient, remainder = product_over(abs(a), b, c)
    if a < 0 and remainder > 0:
        quotient = -quotient - 1
        remainder = c - remainder
    elif a < 0:
        quotient = -quotient
    value = offset + quotient
    # c - remainder instead of twice the remainder
    rest = c - remainder
    if remainder > rest or (remainder == rest and value % 2 != 0):
        value += 1
    return value


@kernel(I64, I64, I64, i64, i64, I64_OUT)
def scale(a, b, c, lo, hi, value_out):
    """Write half_even(a * b / c) of lo..hi; `a` of either sign, b >= 0, 0 < c <= 2^62."""
    for k in range(lo, hi):
        value_out[k] = scaled_half_even(np.int64(0), a[k], b[k], c[k])


@kernel(I64, I64, I64, I64, i64, i64, I64_OUT)
def factor_at(counted, ordered, ratios, factors, lo, hi, factor_out):
    """Write the piecewise linear factor at counted / ordered, half-even, for lo..hi; the last where nothing is ordered.

    Ratios and factors are in parts per million; counted <= 2 ordered <= 2^42, so their products with a ratio fit.
    """
    n = ratios.shape[0]
    for k in range(lo, hi):
        if ordered[k] <= 0:
            factor_out[k] = factors[n - 1]
            continue
        share = max(counted[k], 0) * 1_000_000
        last = -1
        # the last breakpoint at or below the ratio, compared without dividing
        while last + 1 < n and share >= ratios[last + 1] * ordered[k]:
            last += 1
        if last < 0 or last == n - 1:
            factor_out[k] = factors[max(last, 0)]
            continue
        factor_out[k] = scaled_half_even(
            factors[last],
            factors[last + 1] - factors[last],
            share - ratios[last] * ordered[k],
            (ratios[last + 1] - ratios[last]) * ordered[k],
        )
