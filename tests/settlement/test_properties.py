"""What must hold of settlements whatever the book."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore import settle
from flexcore.errors import SettlementError
from flexcore.metering import MISSING_W
from flexcore.units import LOCAL
from tests.settlement.test_remuneration import ROW_ARGUMENTS, assert_same, random_book, random_terms

SEEDS = st.integers(0, 2**32 - 1)
WATTS = ("orders_w", "baseline_w", "metered_w", "available_w")


@pytest.mark.rule("SET-03")
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_an_order_split_between_two_pods_that_behave_alike_leaves_the_line(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng, n_rows=12)
    for name in WATTS:
        # even watts, so that each of two PODs can have its half
        book[name] = np.where(book[name] == MISSING_W, MISSING_W, book[name] // 2 * 2)
    whole = settle(**book, terms=terms, missing="zero")
    row = int(rng.integers(12))
    halved = {name: np.concatenate([values, values[row : row + 1]]) for name, values in book.items()}
    for name in WATTS:
        half = np.where(book[name][row] == MISSING_W, MISSING_W, book[name][row] // 2)
        halved[name][row] = halved[name][12] = half
    halved["pod"][12] = 1
    split = settle(**halved, terms=terms, missing="zero")
    for field in dataclasses.fields(whole.lines):
        if field.name != "n_missing":  # a missing reading is now missing twice
            assert np.array_equal(getattr(split.lines, field.name), getattr(whole.lines, field.name)), field.name
    # the two halves get what the one had, to the micro-EUR that largest remainder cannot halve
    keys = [(r.lines.unit[r.pod_lines.line], r.lines.direction[r.pod_lines.line]) for r in (whole, split)]
    own = whole.pod_lines.row == row
    halves = np.isin(split.pod_lines.row, [row, 12])
    assert halves.sum() == 2 * own.sum()
    assert np.array_equal(np.repeat(keys[0][0][own], 2), np.sort(keys[1][0][halves]))
    for name in ("ordered_wqh", "delivered_wqh", "available_wqh"):
        before, after = getattr(whole.pod_lines, name)[own], getattr(split.pod_lines, name)[halves]
        order = np.argsort(keys[1][0][halves], kind="stable")
        assert np.array_equal(after[order].reshape(-1, 2).sum(axis=1), before)
    for name in ("pay_ueur", "penalty_ueur", "availability_ueur"):
        before, after = getattr(whole.pod_lines, name)[own], getattr(split.pod_lines, name)[halves]
        order = np.argsort(keys[1][0][halves], kind="stable")
        pair = after[order].reshape(-1, 2)
        assert np.abs(pair[:, 0] - pair[:, 1]).max(initial=0) <= 1
        assert np.abs(pair.sum(axis=1) - before).max(initial=0) <= 2


@pytest.mark.rule("SET-03")
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_permutation_of_rows_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng)
    order = rng.permutation(len(book["pod"]))
    result = settle(**book, terms=terms, missing="zero")
    turned = settle(**{name: book[name][order] for name in ROW_ARGUMENTS}, terms=terms, missing="zero")
    assert_same(turned, result, skip=("row",))
    assert turned.digest == result.digest


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_rows_without_order_and_availability_change_nothing(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng, n_rows=9)
    result = settle(**book, terms=terms, missing="zero")
    idle = {name: np.concatenate([values, values]) for name, values in book.items()}
    idle["orders_w"][9:] = idle["available_w"][9:] = 0
    idle["pod"][9:] += 10**6
    more = settle(**idle, terms=terms, missing="zero")
    assert_same(more, result)
    assert more.digest == result.digest


@pytest.mark.rule("SET-01")
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_mirrored_book_in_the_other_direction_pays_the_same(seed):
    """Up on a load and down on its mirror image are the same service."""
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng)
    mirrored = book | {
        name: np.where(book[name] == MISSING_W, MISSING_W, -book[name]) for name in ("baseline_w", "metered_w")
    }
    mirrored["direction"] = 1 - book["direction"]
    one, two = (settle(**which, terms=terms, missing="zero") for which in (book, mirrored))
    assert one.totals.net_ueur.tolist() == two.totals.net_ueur.tolist()
    assert one.totals.delivered_wqh.tolist() == two.totals.delivered_wqh.tolist()
    order = np.lexsort((two.lines.unit, 1 - two.lines.direction, two.lines.aggregate, two.lines.operator))
    for name in ("delivered_wqh", "paid_wqh", "shortfall_wqh", "pay_ueur", "penalty_ueur", "availability_ueur"):
        assert np.array_equal(getattr(two.lines, name)[order], getattr(one.lines, name))


@pytest.mark.rule("SET-01")
@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_more_delivery_never_costs_the_provider(seed):
    """With a price that is not negative and a pay factor that does not fall, a better meter never lowers the net."""
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng)
    factors = sorted(factor for _, factor in terms.factor_ppm)
    ratios = [ratio for ratio, _ in terms.factor_ppm]
    terms = dataclasses.replace(terms, factor_ppm=tuple(zip(ratios, factors, strict=True)))
    book["price_ueur_per_mwh"] = np.abs(book["price_ueur_per_mwh"])
    book["metered_w"] = np.where(book["metered_w"] == MISSING_W, 0, book["metered_w"])
    better = book | {"metered_w": book["metered_w"] - np.where(book["direction"] == 0, 1, -1)[:, np.newaxis]}
    one, two = (settle(**which, terms=terms, missing="zero") for which in (book, better))
    # the pay factor is rounded to a part per million before it multiplies
    slack = np.abs(one.lines.paid_wqh) // 4_000_000 * one.lines.price_ueur_per_mwh // 1_000_000 + 2
    assert (two.lines.net_ueur >= one.lines.net_ueur - slack).all()
    assert (two.lines.penalty_ueur <= one.lines.penalty_ueur).all()


@pytest.mark.rule("SET-02")
@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_what_one_operator_ordered_never_reaches_the_lines_of_the_other(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng, n_rows=14)
    own = book["operator"] == LOCAL
    changed = {name: values.copy() for name, values in book.items()}
    changed["orders_w"][~own] = changed["orders_w"][~own] // 2
    changed["price_ueur_per_mwh"][~own] = 1
    changed["metered_w"][~own] = 5
    one, two = (settle(**which, terms=terms, missing="zero") for which in (book, changed))
    mine, theirs = one.lines.operator == LOCAL, two.lines.operator == LOCAL
    for field in dataclasses.fields(one.lines):
        assert np.array_equal(getattr(one.lines, field.name)[mine], getattr(two.lines, field.name)[theirs])
    shares = [r.pod_lines.net_ueur[r.lines.operator[r.pod_lines.line] == LOCAL] for r in (one, two)]
    assert np.array_equal(*shares)


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize("name", ["baseline_w", "metered_w"])
def test_one_missing_reading_among_many_lines_is_refused_by_its_pod(name):
    """Nothing is guessed: a gap where something is ordered stops the settlement unless it is asked to count it."""
    rng = np.random.default_rng(31)
    terms, book = random_terms(rng), random_book(rng, n_rows=14)
    for part in ("baseline_w", "metered_w"):
        book[part] = np.where(book[part] == MISSING_W, 0, book[part])
    whole = settle(**book, terms=terms)
    assert len(whole.lines) > 5
    row, step = np.argwhere(book["orders_w"] > 0)[3]
    book[name][row, step] = MISSING_W
    with pytest.raises(SettlementError) as caught:
        settle(**book, terms=terms)
    (finding,) = caught.value.findings
    assert (finding.code, finding.rows, finding.ids) == ("FX-S002", (row,), (book["pod"][row],))
    counted = settle(**book, terms=terms, missing="zero").lines
    assert counted.n_missing.sum() == 1
    hit = np.flatnonzero(counted.n_missing)
    assert (counted.unit[hit[0]], counted.aggregate[hit[0]]) == (step // 4, book["aggregate"][row])
