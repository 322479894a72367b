"""Large random books, and their lines a second time in Python's own integers."""

from collections import defaultdict

import numpy as np

from flexcore.metering import MISSING_W
from flexcore.settlement import SettlementTerms
from flexcore.units import UP

MILLION = 1_000_000
TERMS = SettlementTerms(
    penalty_ueur_per_mwh=61_234_567,
    availability_ueur_per_mw_h=7_654_321,
    cap_ppm=1_100_000,
    tolerance_ppm=30_000,
    measured_per="unit",
    factor_ppm=((0, 0), (300_000, 0), (300_000, 200_000), (950_000, MILLION)),
)


def large_book(rng, n_aggregates, *, n_steps=96, n_pods=3, largest_price=10**9):
    """Each aggregate in both directions for both operators, `n_pods` PODs in each, an order in most hours."""
    group = np.repeat(np.arange(4 * n_aggregates), n_pods)
    shape = (group.size, n_steps)
    book = {
        "orders_w": rng.integers(1, 5_000_000, shape) * (rng.random(shape) < 0.4),
        "baseline_w": rng.integers(-6_000_000, 6_000_000, shape),
        "metered_w": rng.integers(-6_000_000, 6_000_000, shape),
        "available_w": rng.integers(0, 3_000_000, shape) * (rng.random(shape) < 0.1),
        "price_ueur_per_mwh": rng.integers(-largest_price, largest_price + 1, (group.size, 1)),
        "operator": group % 2,
        "direction": group // 2 % 2,
        "aggregate": group // 4 * 3 + 5,
        "pod": rng.permutation(group.size) + 10**14,
    }
    # nine in ten deliver about what was ordered
    sign = np.where(book["direction"] == UP, 1, -1)[:, np.newaxis]
    good = rng.random(shape) < 0.9
    near = book["baseline_w"] - sign * book["orders_w"] * rng.integers(80, 120, shape) // 100
    book["metered_w"] = np.where(good, near, book["metered_w"])
    book["metered_w"][rng.random(shape) < 0.01] = MISSING_W
    order = rng.permutation(group.size)
    return {name: values[order] for name, values in book.items()}


def half_even(numerator, denominator):
    """Round a quotient of Python integers, halves to even."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2))


def exact_lines(book, terms):
    """Pay, penalty and availability of each (operator, aggregate, direction, hour) of a book with a price per row."""
    width = {"unit": 4, "half_hour": 2, "quarter_hour": 1}[terms.measured_per]
    orders, available = book["orders_w"], book["available_w"]
    sign = np.where(book["direction"] == UP, 1, -1)[:, np.newaxis]
    known = (orders > 0) & (book["baseline_w"] != MISSING_W) & (book["metered_w"] != MISSING_W)
    delivered = np.where(known, sign * (book["baseline_w"].astype(np.int64) - book["metered_w"]), 0)
    # [row][hour][period of the hour]
    ordered, delivered = (
        array.reshape(len(orders), -1, 4 // width, width).sum(axis=3).tolist() for array in (orders, delivered)
    )
    available = available.reshape(len(orders), -1, 4).sum(axis=2).tolist()
    price = book["price_ueur_per_mwh"].ravel().tolist()
    sums = defaultdict(lambda: [[0] * (4 // width), [0] * (4 // width), 0, 0])
    keys = zip(*(book[name].tolist() for name in ("operator", "aggregate", "direction")), strict=True)
    for row, key in enumerate(keys):
        for hour, (asked, moved, offered) in enumerate(zip(ordered[row], delivered[row], available[row], strict=True)):
            if sum(asked) or offered:
                line = sums[*key, hour]
                for period in range(4 // width):
                    line[0][period] += asked[period]
                    line[1][period] += moved[period]
                line[2] += offered
                line[3] += sum(asked) * price[row]
    return {key: _amounts(*sums[key], terms) for key in sorted(sums)}


def _amounts(ordered, delivered, available, value, terms):
    """Amounts of a line from what was ordered and delivered in each period that is measured."""
    mwh = 4 * MILLION
    counted = [min(d, o * terms.cap_ppm // MILLION) for o, d in zip(ordered, delivered, strict=True)]
    owed = [o * (MILLION - terms.tolerance_ppm) // MILLION for o in ordered]
    paid = sum(max(energy, 0) for energy in counted)
    short = sum(max(0, due - d) for due, d, o in zip(owed, delivered, ordered, strict=True) if o)
    whole = sum(ordered)
    price = half_even(value, whole) if whole else 0
    pay = half_even(paid * price * _factor(max(sum(counted), 0), whole, terms.factor_ppm), mwh * MILLION)
    penalty = half_even(short * terms.penalty_ueur_per_mwh, mwh)
    return pay, penalty, half_even(available * terms.availability_ueur_per_mw_h, mwh)


def _factor(counted, ordered, points):
    """Pay factor at counted / ordered: the later of two points at a jump, a straight line between, flat outside."""
    if ordered == 0:
        return points[-1][1]
    below = [point for point in points if point[0] * ordered <= counted * MILLION]
    above = [point for point in points if point[0] * ordered > counted * MILLION]
    if not below or not above:
        return below[-1][1] if below else above[0][1]
    (x0, y0), (x1, y1) = below[-1], above[0]
    return half_even(y0 * (x1 - x0) * ordered + (y1 - y0) * (counted * MILLION - x0 * ordered), (x1 - x0) * ordered)
