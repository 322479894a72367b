"""Settling group by group from sparse rows is settling at once: lines, shares, totals, digest and errors."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest

from flexcore import settle
from flexcore.errors import SettlementError
from flexcore.metering import MISSING_W
from flexcore.settlement import SettlementTerms, digest, order_rows, partition
from flexcore.settlement.digest import bucket_edges
from flexcore.settlement.order_rows import OrderRows
from flexcore.settlement.partition import Held, SparseRows, settle_sparse
from flexcore.settlement.terms import MAX_PRICE
from tests.settlement.test_remuneration import random_book, random_terms

TERMS = SettlementTerms(price_ueur_per_mwh=70_000_000, penalty_ueur_per_mwh=110_000_000)


def sparse_of(book, prices):
    """The rows of a book without the steps that have no order."""
    orders = book["orders_w"]
    row, step = np.nonzero(orders)
    ptr = np.concatenate([[0], np.cumsum((orders > 0).sum(axis=1))]).astype(np.int64)
    price = {"none": None, "rows": book["price_ueur_per_mwh"][:, :1], "steps": book["price_ueur_per_mwh"][row, step]}
    rows = OrderRows(
        np.arange(len(orders)), book["operator"].astype(np.int8), book["aggregate"], book["direction"].astype(np.int8),
        ptr, step.astype(np.uint8), orders[row, step].astype(np.int32), price[prices],
    )  # fmt: skip
    power = [book[name][row, step].astype(np.int32) for name in ("baseline_w", "metered_w")]
    return SparseRows(rows, *power, book["pod"], np.arange(orders.shape[1]) // 4)


def at_once(book, prices, terms, missing):
    given = {"none": None, "rows": book["price_ueur_per_mwh"][:, :1], "steps": book["price_ueur_per_mwh"]}[prices]
    names = ("orders_w", "baseline_w", "metered_w", "direction", "aggregate", "operator", "pod")
    return settle(**{name: book[name] for name in names}, terms=terms, price_ueur_per_mwh=given, missing=missing)


def by_parts(sparse, terms, missing, n_threads=1):
    """Settle part by part and return what came of it, lines and POD lines of all parts, and the parts."""
    held, parts = Held(sparse), []

    def take(lines, shares):
        held.append(lines, shares)
        parts.append((lines, shares))

    found = settle_sparse(sparse, terms, missing, n_threads=n_threads, take=take)
    return found, *held.tables(), parts


def assert_equal(one, other):
    for field in fields(one):
        assert getattr(one, field.name).tolist() == getattr(other, field.name).tolist(), field.name


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(60))
def test_parts_of_any_size_are_the_whole(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    book, terms = random_book(rng, 40), random_terms(rng)
    prices, missing = ("none", "rows", "steps")[seed % 3], ("refuse", "zero")[seed % 5 > 0]
    monkeypatch.setattr(digest, "_ROWS", int(rng.integers(1, 30)))
    try:
        expected = at_once(book, prices, terms, missing)
    except SettlementError as error:
        with pytest.raises(SettlementError) as refused:
            by_parts(sparse_of(book, prices), terms, missing)
        mine, theirs = refused.value.findings[0], error.findings[0]
        assert (mine.code, mine.rows, mine.ids) == (theirs.code, theirs.rows, theirs.ids)
        return
    for size, threads in ((1, 1), (7, 2), (10**6, 1)):
        monkeypatch.setattr(partition, "_ROWS", size)
        found, lines, shares, parts = by_parts(sparse_of(book, prices), terms, missing, threads)
        assert found.digest == expected.digest
        assert (found.n_lines, found.n_pod_lines) == (len(lines), len(shares))
        for mine, theirs in ((lines, expected.lines), (shares, expected.pod_lines), (found.totals, expected.totals)):
            assert_equal(mine, theirs)
        for k, whole in enumerate((lines, shares)):
            for field in fields(whole):
                columns = [getattr(part[k], field.name) for part in parts]
                assert np.concatenate([np.zeros(0, np.int64), *columns]).tolist() == getattr(whole, field.name).tolist()


def test_no_more_rows_are_dense_than_a_part_or_a_group_has(monkeypatch):
    rng = np.random.default_rng(1)
    book = random_book(rng, 300)
    book["aggregate"] = np.where(np.arange(300) < 120, 5, np.arange(300))
    book["operator"][:], book["direction"][:] = 0, 1
    book["orders_w"] = rng.integers(1, 9, (300, 1)) * (np.arange(96) // 4 == 3)
    for name in ("baseline_w", "metered_w"):
        book[name] = rng.integers(-9, 9, (300, 96))
    seen, make = [], SparseRows.book
    monkeypatch.setattr(SparseRows, "book", lambda *a: seen.append(make(*a).orders.shape) or make(*a))
    monkeypatch.setattr(digest, "_ROWS", 8)
    monkeypatch.setattr(partition, "_ROWS", 20)
    by_parts(sparse_of(book, "none"), TERMS, "zero")
    assert max(seen) == (120, 4)  # the one large group, and only the columns that have orders
    assert sorted(seen)[-3] <= (20, 4)


def test_buckets_follow_from_the_sizes_of_groups(monkeypatch):
    monkeypatch.setattr(digest, "_ROWS", 10)
    ptr = np.concatenate([[0], np.cumsum([3, 3, 4, 1, 25, 9, 1, 1])])
    assert bucket_edges(ptr).tolist() == [0, 3, 4, 5, 7, 8]
    assert bucket_edges(np.zeros(1, np.int64)).tolist() == [0]


def test_one_price_for_all_rows_or_for_each_has_one_digest():
    book = random_book(np.random.default_rng(4), 20)
    book["price_ueur_per_mwh"][:] = 5_000_000
    same = {at_once(book, prices, TERMS, "zero").digest for prices in ("rows", "steps")}
    names = ("orders_w", "baseline_w", "metered_w", "direction", "aggregate", "operator", "pod")
    arguments = {name: book[name] for name in names} | {"terms": TERMS, "missing": "zero"}
    same.add(settle(**arguments, price_ueur_per_mwh=5_000_000).digest)
    assert len(same) == 1
    assert settle(**arguments, price_ueur_per_mwh=5_000_001).digest not in same


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("prices", ["none", "rows", "steps"])
def test_tables_in_any_order_become_rows(monkeypatch, text, prices):
    monkeypatch.setattr(order_rows, "_CHUNK", 37)
    rng = np.random.default_rng(len(prices))
    numbers = np.sort(rng.choice(10**9, 50, replace=False))
    pods = pa.array([f"IT{k:09d}" for k in numbers]) if text else pa.array(numbers)
    n = 400
    moments = rng.choice(50 * 96, n, replace=False)  # a POD has one order at most in a quarter-hour
    place, step = moments // 96, moments % 96
    columns = {
        "operator": rng.integers(0, 2, n), "aggregate": rng.choice([3, 2**60, 17, 4], n),
        "direction": rng.integers(0, 2, n), "step": step, "ordered_w": rng.integers(0, 3, n),
    }  # fmt: skip
    if prices != "none":
        columns["price_ueur_per_mwh"] = rng.integers(0, 9, n) if prices == "steps" else place * 5 - 90
    table = pa.table({"pod": pods.take(place), **columns})
    expected = {}
    for k in range(n):
        key = (place[k], columns["operator"][k], columns["aggregate"][k], columns["direction"][k])
        expected.setdefault(tuple(int(x) for x in key), {})[int(step[k])] = k
    for shape in (table, {name: np.array(table[name].to_pylist()) for name in table.column_names},
                  table.to_reader(), table.sort_by([("pod", "ascending"), ("step", "ascending")])):  # fmt: skip
        rows = order_rows.order_rows(shape, pods, 96)
        keys = zip(*(column.tolist() for column in (rows.place, rows.operator, rows.aggregate, rows.direction)),
                   strict=True)  # fmt: skip
        assert list(keys) == sorted(expected)
        if prices != "none":
            assert (rows.price.ndim == 2) == (prices == "rows")
        for i, key in enumerate(sorted(expected)):
            orders = [(t, k) for t, k in sorted(expected[key].items()) if columns["ordered_w"][k]]
            inside = slice(rows.ptr[i], rows.ptr[i + 1])
            assert rows.step[inside].tolist() == [t for t, _ in orders]
            assert rows.ordered_w[inside].tolist() == [columns["ordered_w"][k] for _, k in orders]
            if prices == "rows":
                assert rows.price[i, 0] == columns["price_ueur_per_mwh"][next(iter(expected[key].values()))]
            if prices == "steps":
                assert rows.price[inside].tolist() == [columns["price_ueur_per_mwh"][k] for _, k in orders]


def test_what_is_wrong_is_said_with_rows_of_the_whole_table(monkeypatch):
    monkeypatch.setattr(order_rows, "_CHUNK", 10)
    pods = pa.array(np.arange(100))
    good = {"pod": np.arange(35), "operator": 0, "aggregate": 1, "direction": 0, "step": 70, "ordered_w": 5}

    def refused(**change):
        with pytest.raises(SettlementError) as error:
            order_rows.order_rows({**good, **change}, pods, 96)
        return [(finding.code, finding.rows) for finding in error.value.findings]

    at = np.arange(35)
    assert refused(pod=np.where(at % 20 == 13, 1000 + at, at)) == [("FX-B003", (13, 33))]
    assert refused(step=np.where(at == 27, 98, 70)) == [("FX-M203", (27,))]
    assert refused(ordered_w=np.where(at == 27, -1, 70)) == [("FX-A004", (27,))]
    assert refused(pod=at % 34) == [("FX-S004", (34,))]
    assert refused(pod=(at + 1) % 34) == [("FX-S004", (34,))]
    assert refused(pod=np.arange(34), step=np.full(35, 70)) == [("FX-A001", ())]
    both = np.where(at == 34, 20, at)
    assert refused(pod=both, aggregate=np.where(at == 34, 2, 1)) == [("FX-S004", (21,))]
    with pytest.raises(SettlementError):
        order_rows.order_rows(5, pods, 96)
    monkeypatch.setattr(order_rows, "_STEP_BITS", 60)
    assert refused() == [("FX-S060", ())]


def test_a_price_that_is_too_large_is_named_by_its_row():
    book = random_book(np.random.default_rng(6), 8)
    book["orders_w"] = np.ones((8, 96), np.int64)
    book["price_ueur_per_mwh"] = np.zeros((8, 96), np.int64)
    book["price_ueur_per_mwh"][5, 90] = -MAX_PRICE - 1
    for name in ("baseline_w", "metered_w"):
        book[name] = np.full((8, 96), MISSING_W)
    with pytest.raises(SettlementError) as refused:
        by_parts(sparse_of(book, "steps"), TERMS, "zero")
    assert [(finding.code, finding.rows) for finding in refused.value.findings] == [("FX-S001", (5,))]
