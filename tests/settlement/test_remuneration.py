import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.reference.settlement_remuneration as reference
from flexcore import settle
from flexcore.errors import OptionError, SettlementError, ValidationError
from flexcore.metering import MISSING_W
from flexcore.settlement import TERMS, SettlementTerms
from flexcore.settlement.terms import MAX_PRICE
from flexcore.units import GLOBAL, LOCAL, UP, eur_per_mwh, largest_remainder

ROW_ARGUMENTS = ("orders_w", "baseline_w", "metered_w", "available_w", "price_ueur_per_mwh", "direction", "aggregate",
                 "operator", "pod")  # fmt: skip


def random_terms(rng):
    ratios = sorted(int(x) for x in rng.choice([0, 250_000, 500_000, 500_000, 950_000, 1_000_000, 1_200_000], 4))
    return SettlementTerms(
        price_ueur_per_mwh=int(rng.integers(-(10**9), 10**9)),
        # multiples of half a micro-EUR per watt quarter-hour: small energies then give exact halves
        penalty_ueur_per_mwh=int(rng.integers(0, 10**9)) if rng.random() < 0.5 else int(rng.integers(50)) * 2_000_000,
        availability_ueur_per_mw_h=int(rng.choice([0, 28_800_000, 6_000_000])),
        cap_ppm=int(rng.choice([0, 900_000, 1_000_000, 1_200_000])),
        tolerance_ppm=int(rng.choice([0, 50_000, 1_000_000])),
        factor_ppm=tuple(
            (ratio, int(rng.choice([1_000_000, rng.integers(0, 1_000_001)]))) for ratio in ratios[: rng.integers(1, 5)]
        ),
        factor_scope=("line", "event", "period")[rng.integers(3)],
        measured_per=("unit", "half_hour", "quarter_hour")[rng.integers(3)],
        netting=("aggregate", "pod")[rng.integers(2)],
    )


def random_book(rng, n_rows=None):
    """Rows of a few aggregates on a day of 92, 96, 100 or very few quarter-hours; no POD is ordered twice."""
    n_rows = int(rng.integers(1, 14)) if n_rows is None else n_rows
    n_steps = int(rng.choice([4, 7, 92, 96, 100]))
    size = int(rng.choice([3, 4000, 2 * 10**9]))
    shape = (n_rows, n_steps)
    book = {
        "orders_w": rng.integers(0, size + 1, shape) * (rng.random(shape) < rng.choice([0.05, 0.6])),
        "baseline_w": rng.integers(-size, size + 1, shape),
        "metered_w": rng.integers(-size, size + 1, shape),
        "available_w": rng.integers(0, size + 1, shape) * (rng.random(shape) < 0.1),
        "price_ueur_per_mwh": rng.integers(-(10**9), 4 * 10**10, shape),
        "direction": rng.integers(0, 2, n_rows),
        "aggregate": rng.integers(0, 3, n_rows) * 7,
        "operator": rng.integers(0, 2, n_rows),
        "pod": rng.permutation(10**12 + np.arange(n_rows)),
    }
    for name in ("baseline_w", "metered_w"):
        book[name][rng.random(shape) < rng.choice([0, 0.05])] = MISSING_W
    if size == 3 and rng.random() < 0.5:
        # one such price for the orders, too
        book["price_ueur_per_mwh"][:] = rng.integers(-20, 80) * 2_000_000
    return book


def expected(book, terms, split_by="delivered"):
    n_steps = book["orders_w"].shape[1]

    def plain(name, i):
        return [None if v == MISSING_W and name in ("baseline_w", "metered_w") else int(v) for v in book[name][i]]

    rows = [
        {
            "operator": int(book["operator"][i]),
            "aggregate": int(book["aggregate"][i]),
            "direction": int(book["direction"][i]),
            "pod": int(book["pod"][i]),
            "orders": plain("orders_w", i),
            "baseline": plain("baseline_w", i),
            "metered": plain("metered_w", i),
            "available": plain("available_w", i),
            "price": plain("price_ueur_per_mwh", i),
            "estimated": book["estimated"][i].tolist() if "estimated" in book else None,
            "factor": int(book["split_factor_ppm"][i]) if "split_factor_ppm" in book else None,
        }
        for i in range(len(book["pod"]))
    ]
    return reference.settle(rows, terms, [step // 4 for step in range(n_steps)], split_by)


LINE_NAMES = {
    "ordered": "ordered_wqh", "delivered": "delivered_wqh", "paid": "paid_wqh", "shortfall": "shortfall_wqh",
    "counted": "counted_wqh", "event": "event", "ratio": "ratio_ppm", "available": "available_wqh",
    "missing": "n_missing", "estimated": "n_estimated", "price": "price_ueur_per_mwh", "factor": "factor_ppm",
    "pay": "pay_ueur", "penalty": "penalty_ueur", "availability": "availability_ueur", "net": "net_ueur",
}  # fmt: skip
POD_NAMES = ("ordered", "delivered", "available", "pay", "penalty", "availability", "net")


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("seed", range(250))
def test_settlement_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng)
    split = ("delivered", "equal")[seed % 2]
    result = settle(**book, terms=terms, missing="zero", split=split)
    lines, pods = expected(book, terms, split)
    assert_equals(book, result, lines, pods)


def assert_equals(book, result, lines, pods):
    found = result.lines
    keys = list(zip(found.operator, found.aggregate, found.direction, found.unit, strict=True))
    assert keys == sorted(lines)
    for position, key in enumerate(keys):
        assert {name: getattr(found, column)[position] for name, column in LINE_NAMES.items()} == lines[key]
    shares = result.pod_lines
    assert [(keys[line], pod) for line, pod in zip(shares.line, shares.pod, strict=True)] == sorted(pods)
    for position, key in enumerate(sorted(pods)):
        values = {name: getattr(shares, LINE_NAMES[name])[position] for name in POD_NAMES}
        assert values == pods[key]
    assert np.array_equal(book["pod"][shares.row], shares.pod)


@pytest.mark.rule("SET-03")
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_amounts_sum_exactly_and_hang_on_no_order_of_rows(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng, n_rows=20)
    result = settle(**book, terms=terms, missing="zero")
    lines, pods, totals = result.lines, result.pod_lines, result.totals
    for name in ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur"):
        sums = np.zeros(len(lines), np.int64)
        np.add.at(sums, pods.line, getattr(pods, name))
        assert np.array_equal(sums, getattr(lines, name))
        assert getattr(totals, name).sum() == getattr(lines, name).sum()
        assert getattr(lines, name).dtype == getattr(pods, name).dtype == np.int64
    order = rng.permutation(20)
    turned = settle(**{name: book[name][order] for name in ROW_ARGUMENTS}, terms=terms, missing="zero")
    assert_same(turned, result, skip=("row",))
    assert turned.digest == result.digest


def assert_same(one, two, skip=()):
    for part in ("lines", "pod_lines", "totals"):
        for field in dataclasses.fields(getattr(one, part)):
            if field.name not in skip:
                ours, theirs = (getattr(getattr(result, part), field.name) for result in (one, two))
                assert np.array_equal(ours, theirs), field.name


@pytest.mark.rule("SET-01")
def test_golden_hour():
    """Baseline 10 MW, 2 MW up ordered for an hour, price 7, penalty 11 EUR/MWh (Shapeshifter's settle phase)."""
    terms = SettlementTerms(price_ueur_per_mwh=eur_per_mwh(7), penalty_ueur_per_mwh=eur_per_mwh(11))
    nets, delivered, shortfall = [], [], []
    for metered_mw in (7, 8, 9, 10, 11):
        result = settle(
            np.full((1, 4), 2_000_000), np.full((1, 4), 10_000_000), np.full((1, 4), metered_mw * 1_000_000), terms,
            direction=UP, aggregate=0, operator=LOCAL,
        )  # fmt: skip
        assert len(result.lines) == 1
        nets.append(int(result.lines.net_ueur[0]))
        delivered.append(int(result.lines.delivered_wqh[0]) / 4e6)
        shortfall.append(int(result.lines.shortfall_wqh[0]) / 4e6)
    assert nets == [14_000_000, 14_000_000, -4_000_000, -22_000_000, -33_000_000]
    assert delivered == [3, 2, 1, 0, -1]
    assert shortfall == [0, 0, 1, 2, 3]


def one_hour(ordered, delivered, terms, **more):
    """Rows that deliver in one quarter-hour each, all of one local aggregate, upward."""
    n = len(ordered)
    arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL} | more
    baseline = np.zeros((n, 1), np.int64)
    return settle(np.reshape(ordered, (n, 1)), baseline, -np.reshape(delivered, (n, 1)), terms, **arguments)


def test_wrong_way_counts_against_the_aggregate_unless_clipped_per_pod():
    terms = SettlementTerms(price_ueur_per_mwh=4_000_000)  # a micro-EUR for each watt quarter-hour
    netted = one_hour([100, 100], [100, -40], terms)
    assert netted.lines.pay_ueur[0] == 60
    assert list(netted.pod_lines.pay_ueur) == [60, 0]
    clipped = one_hour([100, 100], [100, -40], dataclasses.replace(terms, netting="pod"))
    assert clipped.lines.pay_ueur[0] == 100


@pytest.mark.rule("SET-03")
def test_pay_follows_delivery_and_penalty_follows_the_pods_own_shortfall():
    terms = SettlementTerms(price_ueur_per_mwh=4_000_000, penalty_ueur_per_mwh=8_000_000)
    shares = one_hour([100, 100, 100], [100, 50, 0], terms).pod_lines
    assert list(shares.pay_ueur) == [100, 50, 0]
    assert list(shares.penalty_ueur) == [0, 100, 200]
    # nobody delivers and a negative price: ordered shares, odd units by largest remainder, then by key
    idle = one_hour([1, 1, 1], [0, 0, 0], dataclasses.replace(terms, penalty_ueur_per_mwh=4_000_001)).pod_lines
    assert list(idle.penalty_ueur) == [1, 1, 1]
    tied = one_hour([1, 1, 1], [1, 1, 0], dataclasses.replace(terms, price_ueur_per_mwh=6_000_000), pod=[9, 8, 7])
    assert tied.lines.pay_ueur[0] == 3
    assert list(tied.pod_lines.pod) == [7, 8, 9]
    assert list(tied.pod_lines.pay_ueur) == [0, 2, 1]


@pytest.mark.rule("SET-02")
def test_operators_are_settled_separately():
    rng = np.random.default_rng(11)
    book, terms = random_book(rng, n_rows=30), TERMS["linear"]
    whole = settle(**book, terms=terms, missing="zero")
    for operator in (LOCAL, GLOBAL):
        own = book["operator"] == operator
        alone = settle(**{name: book[name][own] for name in ROW_ARGUMENTS}, terms=terms, missing="zero")
        mine = whole.lines.operator == operator
        for field in dataclasses.fields(alone.lines):
            assert np.array_equal(getattr(alone.lines, field.name), getattr(whole.lines, field.name)[mine])
        assert alone.totals.net_ueur[operator] == whole.totals.net_ueur[operator]
        assert alone.totals.net_ueur[1 - operator] == 0


def test_nothing_ordered_is_nothing_delivered_and_nothing_paid():
    rng = np.random.default_rng(12)
    book = random_book(rng, n_rows=30) | {"available_w": None}
    book["orders_w"] = np.zeros_like(book["orders_w"])
    result = settle(**book, terms=SettlementTerms(penalty_ueur_per_mwh=10**9))
    assert len(result.lines) == len(result.pod_lines) == 0
    assert not any(getattr(result.totals, field.name)[:].any() for field in dataclasses.fields(result.totals)[1:])
    empty = np.zeros((0, 96), np.int32)
    assert len(settle(empty, empty, empty, "linear", direction=UP, aggregate=0, operator=LOCAL).lines) == 0


def test_two_threads_and_a_second_run_give_the_same():
    rng = np.random.default_rng(13)
    book = random_book(rng, n_rows=2000)
    book["orders_w"] //= 1000
    book["available_w"] //= 1000
    book["aggregate"] = rng.integers(0, 200, 2000)
    terms = dataclasses.replace(TERMS["uk_dso_taper"], penalty_ueur_per_mwh=10**8)
    first = settle(**book, terms=terms, missing="zero")
    second = settle(**book, terms=terms, missing="zero", n_threads=2)
    assert_same(first, second)
    assert first.digest == second.digest


def test_prices_may_be_one_number_per_row_per_step_or_both():
    rng = np.random.default_rng(14)
    book = random_book(rng, n_rows=6)
    shape = book["orders_w"].shape
    for price in (5_000_000, rng.integers(0, 10**9, shape[0]), rng.integers(0, 10**9, (1, shape[1]))):
        book["price_ueur_per_mwh"] = price
        short = settle(**book, terms="linear", missing="zero")
        wide = np.asarray(price)[:, np.newaxis] if np.ndim(price) == 1 else price
        book["price_ueur_per_mwh"] = np.broadcast_to(wide, shape)
        assert_same(short, settle(**book, terms="linear", missing="zero"))


def test_quarter_hour_units():
    terms = SettlementTerms(price_ueur_per_mwh=4_000_000)
    ones = np.full((1, 8), 10)
    result = settle(ones, ones, 0 * ones, terms, direction=UP, aggregate=3, operator=GLOBAL, unit_of_step=np.arange(8))
    assert list(result.lines.unit) == list(range(8))
    assert set(result.lines.pay_ueur) == {10}


def test_largest_books_are_exact_and_larger_ones_are_refused():
    top = 2**31 - 1
    n = 100
    ordered = np.full((n, 1), top)
    ordered[::3] -= 7
    terms = SettlementTerms(price_ueur_per_mwh=MAX_PRICE, penalty_ueur_per_mwh=MAX_PRICE)
    result = settle(ordered, ordered, 0 * ordered, terms, direction=UP, aggregate=0, operator=LOCAL)
    total = int(ordered.sum())
    assert result.lines.price_ueur_per_mwh[0] == MAX_PRICE
    exact = reference.half_even(reference.Fraction(total * MAX_PRICE, 4_000_000))
    assert result.lines.pay_ueur[0] == exact
    assert list(result.pod_lines.pay_ueur) == largest_remainder(exact, ordered.ravel()).tolist()

    def code(**changes):
        book = {"orders_w": ordered, "baseline_w": ordered, "metered_w": 0 * ordered, "terms": terms, "direction": UP}
        with pytest.raises(SettlementError) as caught:
            settle(**(book | {"aggregate": 0, "operator": LOCAL} | changes))
        return caught.value.codes

    many = np.full((1100, 1), top)
    assert code(orders_w=many, baseline_w=many, metered_w=0 * many) == ("FX-S001",)
    swung = np.full((600, 1), top)
    assert code(orders_w=swung, baseline_w=swung, metered_w=-swung) == ("FX-S001",)
    assert code(price_ueur_per_mwh=MAX_PRICE + 1) == ("FX-S001",)
    lots = np.full((50, 96), top)
    own = {"unit_of_step": np.arange(96), "aggregate": np.arange(50)}
    huge = settle(lots, lots, lots, terms, direction=UP, operator=LOCAL, **own)
    each = reference.half_even(reference.Fraction(top * MAX_PRICE, 4_000_000))
    assert huge.totals.penalty_ueur[0] == 50 * 96 * each
    lots = np.repeat(lots, 8, axis=0)
    own["aggregate"] = np.arange(400)
    assert code(orders_w=lots, baseline_w=lots, metered_w=lots, **own) == ("FX-S001",)
    # the PODs of one aggregate swing against each other: the line is small, the weights of the split are not
    swing = np.repeat([[top], [-top]], 550, axis=0)
    ones = np.ones((1100, 1), np.int64)
    assert code(orders_w=ones, baseline_w=swing, metered_w=-swing) == ("FX-S001",)


def test_missing_readings_are_refused_or_counted():
    orders = np.full((3, 4), 100)
    metered = np.zeros((3, 4), np.int64)
    base = np.full((3, 4), 100)
    base[0, 3] = metered[2, 1] = MISSING_W
    terms = SettlementTerms(price_ueur_per_mwh=4_000_000)
    arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL, "pod": [70, 80, 90]}
    with pytest.raises(SettlementError) as caught:
        settle(orders, base, metered, terms, **arguments)
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows, finding.ids) == ("FX-S002", (0, 2), (70, 90))
    result = settle(orders, base, metered, terms, **arguments, missing="zero")
    assert result.lines.n_missing[0] == 2
    assert result.lines.delivered_wqh[0] == 1000
    # nothing is ordered there: nobody asks for the reading
    orders[0, 3] = orders[2, 1] = 0
    assert settle(orders, base, metered, terms, **arguments).lines.n_missing[0] == 0


def test_a_pod_ordered_twice_in_a_quarter_hour_is_refused():
    orders = np.zeros((4, 8), np.int64)
    orders[0, 0] = orders[1, 4] = orders[2, 2] = orders[3, 2] = 5
    base = np.zeros((4, 8), np.int64)
    arguments = {"terms": SettlementTerms(price_ueur_per_mwh=1), "direction": UP, "aggregate": 0}
    arguments |= {"operator": [LOCAL, GLOBAL, LOCAL, LOCAL]}
    settle(orders, base, base, **arguments, pod=[1, 1, 2, 3])
    with pytest.raises(SettlementError) as caught:
        settle(orders, base, base, **arguments, pod=[1, 1, 2, 2])
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows, finding.ids) == ("FX-S004", (3,), (2,))


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(20))
def test_two_rows_of_one_pod_hang_on_no_order(seed):
    """A POD may stand twice in a group, with orders in other quarter-hours: one row for each session."""
    rng = np.random.default_rng(seed)
    book = random_book(rng, n_rows=12)
    book |= {"pod": np.arange(12) // 3, "aggregate": np.arange(12) // 6, "operator": np.zeros(12, int)}
    book["direction"] = np.zeros(12, int)
    turn = np.arange(book["orders_w"].shape[1]) % 3 == (np.arange(12) % 3)[:, np.newaxis]
    for name in ("orders_w", "available_w"):
        book[name] = np.where(turn, book[name], 0)
    book["price_ueur_per_mwh"] = book["price_ueur_per_mwh"][:, :1]
    terms = random_terms(rng)
    result = settle(**book, terms=terms, missing="zero")
    order = rng.permutation(12)
    turned = settle(**{name: book[name][order] for name in ROW_ARGUMENTS}, terms=terms, missing="zero")
    assert_same(turned, result, skip=("row",))
    assert turned.digest == result.digest
    assert np.array_equal(order[turned.pod_lines.row], result.pod_lines.row)


def test_wrong_inputs_are_refused_by_code():
    good = {
        "orders_w": np.ones((2, 4), int), "baseline_w": np.ones((2, 4), int), "metered_w": np.ones((2, 4), int),
        "terms": "linear", "direction": UP, "aggregate": 0, "operator": LOCAL, "price_ueur_per_mwh": 1,
    }  # fmt: skip
    settle(**good)

    def code(**changes):
        with pytest.raises(ValidationError) as caught:
            settle(**(good | changes))
        return caught.value.codes

    assert code(orders_w=-np.ones((2, 4), int)) == ("FX-A004",)
    assert code(orders_w=np.full((2, 4), 0.5)) == ("FX-A002",)
    assert code(metered_w=np.ones((2, 3), int)) == ("FX-A001",)
    assert code(direction=[0, 2]) == ("FX-A006",)
    assert code(operator=[0]) == ("FX-A001",)
    assert code(aggregate=[0.5, 1]) == ("FX-A002",)
    assert code(available_w=-np.ones((2, 4), int)) == ("FX-A004",)
    assert code(price_ueur_per_mwh=[1, 2, 3]) == ("FX-A001",)
    assert code(price_ueur_per_mwh=None) == ("FX-S003",)
    assert code(unit_of_step=[1, 0, 0, 0]) == ("FX-A006",)
    assert code(terms=SettlementTerms(cap_ppm=-1, tolerance_ppm=2_000_000, factor_ppm=())) == ("FX-S003",) * 3
    assert code(terms=SettlementTerms(penalty_ueur_per_mwh=0.5)) == ("FX-S003",)  # type: ignore[arg-type]
    assert code(terms=SettlementTerms(factor_ppm=((5, 5), (4, 5)))) == ("FX-S003",)
    for changes in ({"terms": "generous"}, {"missing": "guess"}, {"terms": SettlementTerms(netting="none")}):
        with pytest.raises(OptionError):
            settle(**(good | changes))
