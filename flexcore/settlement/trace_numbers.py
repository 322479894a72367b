"""Arithmetic of the trace in Python's integers: rounding, shares by largest remainder, pay factors."""

from flexcore.settlement.terms import ONE_PPM


def half_even_int(numerator: int, denominator: int) -> int:
    """Divide Python integers of any size, halves to even."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def shares_again(total: int, weights: list[int], fallback: list[int]) -> list[int]:
    """Split by largest remainder; ties go to the earlier entry, negative weights count as zero."""
    parts = [max(weight, 0) for weight in weights]
    if not any(parts):
        parts = [max(weight, 0) for weight in fallback]
    if not any(parts):
        parts = [1] * len(weights)
    everything = sum(parts)
    split = [divmod(abs(total) * part, everything) for part in parts]
    result = [floor for floor, _ in split]
    left = abs(total) - sum(result)
    for i in sorted(range(len(parts)), key=lambda i: (-split[i][1], i))[:left]:
        result[i] += 1
    return [-part for part in result] if total < 0 else result


def factor_again(counted: int, ordered: int, points: tuple[tuple[int, int], ...]) -> int:
    """Pay factor at max(0, counted) / ordered in parts per million, half-even; the last one without an order."""
    if ordered == 0:
        return points[-1][1]
    paid = max(counted, 0)
    last = sum(paid * ONE_PPM >= ratio * ordered for ratio, _ in points) - 1
    if last < 0:
        return points[0][1]
    if last == len(points) - 1:
        return points[last][1]
    (x0, y0), (x1, y1) = points[last], points[last + 1]
    return half_even_int(y0 * (x1 - x0) * ordered + (y1 - y0) * (paid * ONE_PPM - x0 * ordered), (x1 - x0) * ordered)
