"""Money on large books and at the extremes: exact sums at every level, and refusals that name the line."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from flexcore import settle
from flexcore.errors import SettlementError, ValidationError
from flexcore.settlement import SettlementTerms
from flexcore.settlement.terms import MAX_PRICE
from flexcore.units import DOWN, GLOBAL, LOCAL, MAX_WQH, UP, largest_remainder
from tests.settlement.books import TERMS, exact_lines, large_book

AMOUNTS = ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur")
TOP = 2**31 - 1
LIMIT = 2**62


def check_exact_sums(book, terms, result):
    """POD lines to lines, lines to totals, and each line to what Python's integers make of the book."""
    lines, pods, totals = result.lines, result.pod_lines, result.totals
    expected = exact_lines(book, terms)
    keys = zip(*(getattr(lines, name).tolist() for name in ("operator", "aggregate", "direction", "unit")), strict=True)
    assert list(keys) == list(expected)
    found = zip(*(getattr(lines, name).tolist() for name in AMOUNTS[:3]), strict=True)
    assert list(found) == list(expected.values())
    operators = lines.operator.tolist()
    for name in AMOUNTS:
        of_line = getattr(lines, name).tolist()
        from_pods = [0] * len(of_line)
        for line, amount in zip(pods.line.tolist(), getattr(pods, name).tolist(), strict=True):
            from_pods[line] += amount
        assert from_pods == of_line
        of_operator = [0, 0]
        for operator, amount in zip(operators, of_line, strict=True):
            of_operator[operator] += amount
        assert of_operator == getattr(totals, name).tolist()
    for table in (lines, pods, totals):
        assert (table.pay_ueur - table.penalty_ueur + table.availability_ueur).tolist() == table.net_ueur.tolist()
    assert min(np.abs(getattr(lines, name)).max() for name in AMOUNTS) > 0


def assert_same(one, two):
    for part in ("lines", "pod_lines", "totals"):
        for field in dataclasses.fields(getattr(one, part)):
            if field.name != "row":
                assert np.array_equal(getattr(getattr(one, part), field.name), getattr(getattr(two, part), field.name))
    assert one.digest == two.digest


@pytest.fixture(scope="module")
def book():
    return large_book(np.random.default_rng(100), 1064)


@pytest.fixture(scope="module")
def result(book):
    return settle(**book, terms=TERMS, missing="zero")


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
def test_100000_lines_sum_exactly_at_every_level(book, result):
    assert len(result.lines) >= 100_000
    assert len(result.pod_lines) >= 250_000
    assert (result.lines.net_ueur < 0).any()
    check_exact_sums(book, TERMS, result)


@pytest.mark.rule("SET-03")
def test_order_and_partition_of_rows_change_no_amount_of_100000_lines(book, result):
    order = np.random.default_rng(101).permutation(len(book["pod"]))
    turned = {name: values[order] for name, values in book.items()}
    assert_same(settle(**turned, terms=TERMS, missing="zero", n_threads=2), result)
    # whole aggregates of one operator and direction may be settled apart
    key = book["aggregate"] * 4 + book["operator"] * 2 + book["direction"]
    parts = []
    for part in range(7):
        own = key % 7 == part
        parts.append(settle(**{name: values[own] for name, values in book.items()}, terms=TERMS, missing="zero"))
    columns = {
        field.name: np.concatenate([getattr(part.lines, field.name) for part in parts])
        for field in dataclasses.fields(result.lines)
    }
    canonical = np.lexsort([columns[name] for name in ("unit", "direction", "aggregate", "operator")])
    for name, values in columns.items():
        assert np.array_equal(values[canonical], getattr(result.lines, name))
    for name in AMOUNTS:
        assert np.array_equal(np.concatenate([_shares(part, name) for part in parts], axis=1)[:, _by_pod(parts)],
                              _shares(result, name)[:, _by_pod([result])])  # fmt: skip
        assert sum(int(getattr(part.totals, name).sum()) for part in parts) == int(getattr(result.totals, name).sum())


def _shares(result, name):
    """POD, unit and amount of each share."""
    pods = result.pod_lines
    return np.stack([pods.pod, result.lines.unit[pods.line], getattr(pods, name)])


def _by_pod(parts):
    """Order of the shares of some settlements, one behind the other, by POD and unit."""
    pod, unit, _ = np.concatenate([_shares(part, "net_ueur") for part in parts], axis=1)
    return np.lexsort((unit, pod))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(10))
def test_books_of_more_than_100000_lines_sum_exactly(seed):
    rng = np.random.default_rng(seed)
    n_steps = int(rng.choice([92, 96, 100]))
    book = large_book(
        rng, 1200, n_steps=n_steps, n_pods=int(rng.integers(2, 6)), largest_price=int(rng.choice([10**6, 10**9, 2**40]))
    )
    ratios, factors = sorted(rng.integers(0, 2 * 10**6, 3).tolist()), rng.integers(0, 10**6 + 1, 3).tolist()
    terms = SettlementTerms(
        penalty_ueur_per_mwh=int(rng.integers(0, 10**9)),
        availability_ueur_per_mw_h=int(rng.integers(1, 10**9)),
        cap_ppm=int(rng.integers(0, 2 * 10**6)),
        tolerance_ppm=int(rng.integers(0, 10**6)),
        factor_ppm=tuple(zip(ratios, factors, strict=True)),
        measured_per=("unit", "half_hour", "quarter_hour")[seed % 3],
    )
    result = settle(**book, terms=terms, missing="zero")
    assert len(result.lines) >= 100_000
    check_exact_sums(book, terms, result)


# ---------------------------------------------------------------- extremes


def rows_of(total):
    """Orders of at most 2^31 - 1 W, shape (n, 4), that sum to `total`."""
    parts = [TOP] * (total // TOP) + [total % TOP]
    parts += [0] * (-len(parts) % 4)
    return np.array(parts, np.int64).reshape(-1, 4)


def one_line(ordered, delivered, terms, **more):
    """Settle rows of one hour of aggregate 77; delivered power is taken off a baseline of zero."""
    arguments = {"direction": UP, "aggregate": 77, "operator": GLOBAL} | more
    return settle(ordered, np.zeros_like(ordered), -delivered, terms, **arguments)


def refused(*args, **kwargs):
    """Names of the lines that FX-S001 holds against a book."""
    with pytest.raises(SettlementError) as caught:
        one_line(*args, **kwargs)
    (finding,) = caught.value.findings
    assert finding.code == "FX-S001"
    return finding.ids


@pytest.mark.parametrize("price", [MAX_PRICE, MAX_PRICE - 1, 1, -1, -MAX_PRICE])
def test_a_line_of_the_largest_energy_is_exact_and_one_more_is_refused_by_name(price):
    full = rows_of(MAX_WQH)
    terms = SettlementTerms(
        price_ueur_per_mwh=price, penalty_ueur_per_mwh=MAX_PRICE, availability_ueur_per_mw_h=MAX_PRICE
    )
    lines = one_line(full, full, terms, available_w=full).lines
    assert (lines.ordered_wqh[0], lines.delivered_wqh[0], lines.price_ueur_per_mwh[0]) == (MAX_WQH, MAX_WQH, price)
    assert int(lines.pay_ueur[0]) == round(Fraction(MAX_WQH * price, 4_000_000))
    assert int(lines.availability_ueur[0]) == round(Fraction(MAX_WQH * MAX_PRICE, 4_000_000))
    result = one_line(full, 0 * full, terms)
    penalty = round(Fraction(MAX_WQH * MAX_PRICE, 4_000_000))
    assert int(result.lines.penalty_ueur[0]) == penalty
    assert result.pod_lines.penalty_ueur.tolist() == largest_remainder(penalty, full.sum(axis=1)).tolist()
    more = rows_of(MAX_WQH + 1)
    line = ((GLOBAL, 77, UP, 0),)
    assert refused(more, more, terms) == line
    assert refused(0 * more + 1, more, terms) == line
    assert refused(0 * more + 1, 0 * more, terms, available_w=more) == line


def test_the_largest_shortfall_is_exact_and_one_more_is_refused_by_name():
    half = MAX_WQH // 2
    ordered, wrong = rows_of(half), rows_of(MAX_WQH - half)
    n = min(len(ordered), len(wrong))
    assert n == len(ordered) == len(wrong)
    terms = SettlementTerms(price_ueur_per_mwh=MAX_PRICE, penalty_ueur_per_mwh=MAX_PRICE)
    ordered_everywhere = np.maximum(ordered, 1)
    extra = int((ordered_everywhere - ordered).sum())
    wrong[-1, 0] -= extra
    assert wrong.min() >= 0
    result = one_line(ordered_everywhere, -wrong, terms)
    assert int(result.lines.shortfall_wqh[0]) == MAX_WQH
    assert int(result.lines.penalty_ueur[0]) == round(Fraction(MAX_WQH * MAX_PRICE, 4_000_000))
    assert sum(result.pod_lines.penalty_ueur.tolist()) == int(result.lines.penalty_ueur[0])
    wrong[-1, 0] += 1
    assert refused(ordered_everywhere, -wrong, terms) == ((GLOBAL, 77, UP, 0),)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_the_ends_of_int32_are_exact(direction):
    terms = SettlementTerms(price_ueur_per_mwh=MAX_PRICE, penalty_ueur_per_mwh=MAX_PRICE, cap_ppm=2_000_000)
    ordered, low, high = np.full((1, 4), TOP), np.full((1, 4), -TOP), np.full((1, 4), TOP)
    arguments = {"direction": direction, "aggregate": 0, "operator": LOCAL}
    right, wrong = (
        settle(ordered, *pair, terms, **arguments).lines
        for pair in (((high, low), (low, high)) if direction == UP else ((low, high), (high, low)))
    )
    assert int(right.delivered_wqh[0]) == 8 * TOP
    assert int(right.pay_ueur[0]) == round(Fraction(8 * TOP * MAX_PRICE, 4_000_000))
    assert int(wrong.delivered_wqh[0]) == -8 * TOP
    assert int(wrong.pay_ueur[0]) == 0
    assert int(wrong.penalty_ueur[0]) == round(Fraction(12 * TOP * MAX_PRICE, 4_000_000))


def test_mean_prices_of_the_largest_energies_and_prices_are_exact():
    rng = np.random.default_rng(7)
    full = rows_of(MAX_WQH)
    for _ in range(50):
        price = rng.choice([MAX_PRICE, -MAX_PRICE, MAX_PRICE - 1, 1, 0, -1], full.shape)
        lines = one_line(full, full, SettlementTerms(), price_ueur_per_mwh=price).lines
        value = sum(int(p) * int(w) for p, w in zip(price.ravel(), full.ravel(), strict=True))
        mean = round(Fraction(value, MAX_WQH))
        assert int(lines.price_ueur_per_mwh[0]) == mean
        assert int(lines.pay_ueur[0]) == round(Fraction(MAX_WQH * mean, 4_000_000))


def test_a_run_of_2_to_the_62_micro_eur_is_exact_and_one_more_is_refused_by_name():
    """Lines of the largest amount, one that fills up to 275,000 micro-EUR and one that fills up to the last."""
    each = round(Fraction(MAX_WQH * MAX_PRICE, 4_000_000))
    n_full = LIMIT // each
    rest = LIMIT - n_full * each
    energy = rest * 4_000_000 // MAX_PRICE
    last = rest - round(Fraction(energy * MAX_PRICE, 4_000_000))
    assert 0 <= last < 300_000

    def book(last_ueur):
        parts = [rows_of(MAX_WQH)] * n_full + [rows_of(energy), rows_of(last_ueur)]
        aggregate = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        price = np.where(aggregate == n_full + 1, 4_000_000, MAX_PRICE)
        rows = np.concatenate(parts)
        return {"ordered": rows, "delivered": rows, "aggregate": aggregate, "price_ueur_per_mwh": price}

    result = one_line(**book(last), terms=SettlementTerms())
    assert sum(result.lines.pay_ueur.tolist()) == LIMIT
    assert int(result.totals.net_ueur[GLOBAL]) == LIMIT
    assert sum(result.pod_lines.net_ueur.tolist()) == LIMIT
    (line,) = refused(**book(last + 1), terms=SettlementTerms())
    assert line[0] == GLOBAL
    assert line[1] < n_full


def test_a_line_whose_pods_swing_too_far_for_an_exact_split_is_refused_by_name():
    swing = np.repeat([[TOP], [-TOP]], 540, axis=0)
    ones = np.ones_like(swing)
    others = {"direction": UP, "operator": LOCAL, "terms": SettlementTerms(price_ueur_per_mwh=1), "pod": None}
    aggregate = np.where(np.arange(1080) < 1078, 3, 4)
    with pytest.raises(SettlementError) as caught:
        settle(ones, swing, -swing, aggregate=aggregate, **others)
    assert caught.value.findings[0].ids == ((LOCAL, 3, UP, 0),)


@pytest.mark.parametrize("price", [MAX_PRICE + 1, -MAX_PRICE - 1, 2**63 - 1, -(2**63)])
def test_a_price_beyond_2_to_the_40_is_refused_by_row(price):
    ones = np.ones((3, 4), np.int64)
    prices = np.array([MAX_PRICE, price, -MAX_PRICE])
    arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL}
    with pytest.raises(SettlementError) as caught:
        settle(ones, ones, 0 * ones, SettlementTerms(), price_ueur_per_mwh=prices, **arguments)
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows) == ("FX-S001", (1,))
    prices[1] = 0
    assert (
        settle(ones, ones, 0 * ones, SettlementTerms(), price_ueur_per_mwh=prices, **arguments).lines.pay_ueur[0] == 0
    )
    with pytest.raises(SettlementError, match="FX-S003"):
        SettlementTerms(price_ueur_per_mwh=price).check()


@pytest.mark.parametrize("name", ["orders_w", "baseline_w", "metered_w", "available_w"])
def test_watts_beyond_32_bits_are_refused_by_row(name):
    ones = np.ones((3, 4), np.int64)
    book = {"orders_w": ones, "baseline_w": ones, "metered_w": ones, "available_w": ones}
    book[name] = ones.copy()
    book[name][2, 1] = TOP
    arguments = {"terms": SettlementTerms(price_ueur_per_mwh=1), "direction": UP, "aggregate": 0, "operator": LOCAL}
    settle(**book, **arguments)
    book[name][2, 1] = TOP + 1
    with pytest.raises(ValidationError) as caught:
        settle(**book, **arguments)
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows) == ("FX-A006", (2,))
