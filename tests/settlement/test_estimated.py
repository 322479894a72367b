"""Readings that the meter operator estimated are never credited above the order (SET-01)."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flexcore as fx
from flexcore import settle
from flexcore.errors import FileError, SettlementError, ValidationError
from flexcore.metering import MISSING_W, correcting, reading_files, reading_layout
from flexcore.metering.correcting import correct_readings
from flexcore.settlement import SettlementTerms, open_run
from flexcore.units import DOWN, LOCAL, UP
from tests.settlement.test_remuneration import (
    ROW_ARGUMENTS,
    assert_equals,
    assert_same,
    expected,
    random_book,
    random_terms,
)
from tests.settlement.test_settlement_stream import DAY, RULE, TERMS, city, in_memory, random_orders
from tests.settlement.test_settlement_stream import assert_same as assert_same_run
from tests.settlement.test_trace import HARD, settled

ONE = {"direction": UP, "aggregate": 0, "operator": LOCAL, "unit_of_step": [0]}
PRICED = SettlementTerms(price_ueur_per_mwh=4_000_000, penalty_ueur_per_mwh=4_000_000)


def with_flags(rng, n_rows=None):
    book = random_book(rng, n_rows)
    book["estimated"] = rng.random(book["orders_w"].shape) < rng.choice([0, 0.01, 0.3, 1])
    return book


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("seed", range(60))
def test_estimated_readings_settle_as_the_reference_says(seed):
    """Ten random books each: 600 in all, with gaps, wrong ways, ties, both directions and days of 92 to 100 steps."""
    rng = np.random.default_rng(10_000 + seed)
    for case in range(10):
        terms, book = random_terms(rng), with_flags(rng)
        split = ("delivered", "equal")[case % 2]
        assert_equals(book, settle(**book, terms=terms, missing="zero", split=split), *expected(book, terms, split))


def test_an_estimate_earns_no_more_than_its_order_and_makes_up_for_no_other_pod():
    """100 W ordered of each of two PODs; the first gives 150 W and the second 50 W."""
    orders, metered = [[100], [100]], [[-150], [-50]]
    terms = dataclasses.replace(PRICED, cap_ppm=1_200_000)

    def line(estimated, terms=terms):
        found = settle(orders, [[0], [0]], metered, terms, **ONE, estimated=estimated)
        lines = found.lines
        return (
            lines.delivered_wqh.tolist(), lines.paid_wqh.tolist(), lines.shortfall_wqh.tolist(),
            lines.n_estimated.tolist(), found.pod_lines.pay_ueur.tolist(),
        )  # fmt: skip

    assert line(None) == ([200], [200], [0], [0], [150, 50])
    # what the estimate has above its order neither is paid nor fills the gap of the other POD
    assert line([[True], [False]]) == ([150], [150], [50], [1], [100, 50])
    # below the order an estimate counts like a reading
    assert line([[False], [True]]) == ([200], [200], [0], [1], [150, 50])


def test_no_cap_above_the_order_holds_for_an_estimate_and_the_wrong_way_counts_in_full():
    terms = dataclasses.replace(PRICED, cap_ppm=2_000_000)
    both = {**ONE, "direction": [UP, DOWN], "aggregate": [0, 0]}
    found = settle([[100], [100]], [[0], [0]], [[-300], [300]], terms, **both, estimated=[[True], [True]])
    assert found.lines.paid_wqh.tolist() == [100, 100]
    wrong = settle([[100]], [[0]], [[40]], terms, **ONE, estimated=[[True]]).lines
    assert (wrong.delivered_wqh[0], wrong.penalty_ueur[0]) == (-40, 140)


@pytest.mark.parametrize("seed", range(40))
def test_marks_never_raise_what_is_credited_and_only_ordered_marks_count(seed):
    rng = np.random.default_rng(seed)
    terms = dataclasses.replace(random_terms(rng), netting="pod")
    book = with_flags(rng)
    plain = {name: values for name, values in book.items() if name != "estimated"}
    marked, free = (settle(**b, terms=terms, missing="zero") for b in (book, plain))
    assert (marked.lines.delivered_wqh <= free.lines.delivered_wqh).all()
    assert (marked.lines.paid_wqh <= free.lines.paid_wqh).all()
    assert (marked.lines.shortfall_wqh >= free.lines.shortfall_wqh).all()
    assert (marked.pod_lines.delivered_wqh <= free.pod_lines.delivered_wqh).all()
    if not marked.lines.n_estimated.any():
        assert_same(marked, free)
    idle = settle(**plain, estimated=book["orders_w"] == 0, terms=terms, missing="zero")
    assert idle.digest == free.digest
    whole = settle(**plain, estimated=np.ones_like(book["estimated"]), terms=terms, missing="zero")
    assert (whole.pod_lines.delivered_wqh <= whole.pod_lines.ordered_wqh).all()
    known = (book["orders_w"] > 0) & (book["baseline_w"] != MISSING_W) & (book["metered_w"] != MISSING_W)
    assert whole.totals.n_estimated.sum() == known.sum()


@pytest.mark.rule("SET-04")
def test_marks_decide_the_digest_and_the_order_of_rows_does_not():
    rng = np.random.default_rng(3)
    book = random_book(rng, n_rows=12)
    book["estimated"] = rng.random(book["orders_w"].shape) < 0.5
    book["metered_w"] = np.where(book["metered_w"] == MISSING_W, 0, book["metered_w"])
    book["baseline_w"] = np.where(book["baseline_w"] == MISSING_W, 0, book["baseline_w"])
    names = (*ROW_ARGUMENTS, "estimated")
    first = settle(**book, terms="linear")
    order = rng.permutation(12)
    turned = settle(**{name: book[name][order] for name in names}, terms="linear", n_threads=2)
    assert turned.digest == first.digest
    row, step = np.argwhere(book["orders_w"] > 0)[0]
    book["estimated"][row, step] ^= True
    assert settle(**book, terms="linear").digest != first.digest
    # two rows of one POD that differ in their marks alone
    twins = {"direction": UP, "aggregate": 0, "operator": LOCAL, "pod": [7, 7], "price_ueur_per_mwh": 1}
    orders, marks = np.array([[5, 0, 0, 0], [0, 5, 0, 0]]), np.array([[1, 0, 0, 0], [0, 0, 0, 0]], bool)
    one = settle(orders, 0 * orders, -9 * orders, "linear", **twins, estimated=marks)
    two = settle(orders[::-1], 0 * orders, -9 * orders[::-1], "linear", **twins, estimated=marks[::-1])
    assert one.digest == two.digest


def test_marks_of_another_shape_or_type_are_refused():
    for wrong, code in (([[1]], "FX-A002"), ([[True, False]], "FX-A001"), ([True], "FX-A001")):
        with pytest.raises(ValidationError, match=code):
            settle([[1]], [[1]], [[0]], PRICED, **ONE, estimated=wrong)


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("share", [0.3, 0.0])
def test_files_with_estimates_settle_as_arrays_do(tmp_path, monkeypatch, share):
    for module in (reading_layout, reading_files):
        monkeypatch.setattr(module, "GROUP_ROWS", 32)
    rng = np.random.default_rng(5)
    pods, paths, values = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    marks = rng.random(values[-1].shape) < share
    today = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    # the second of three files has no column of estimates
    marks[40:75] = False
    for path, (lo, hi) in zip(today, ((0, 40), (40, 75), (75, 120)), strict=True):
        own = None if lo == 40 else marks[lo:hi]
        fx.write_readings(path, DAY, pods[lo:hi], values[-1][lo:hi], estimated=own)
    found = fx.settle_files(orders, paths[:-1], today, TERMS, preset=RULE, n_threads=2)
    wanted, _ = in_memory(pods, values, orders, estimated=marks)
    assert_same_run(found, wanted)
    assert bool(found.lines.n_estimated.any()) == (share > 0)
    plain, _ = in_memory(pods, values, orders)
    assert (plain.digest == found.digest) == (share == 0)


def test_a_reading_that_comes_in_place_of_an_estimate_is_credited_as_one(tmp_path):
    orders = {"pod": [7], "operator": [0], "aggregate": [0], "direction": [0], "step": [70], "ordered_w": [1000]}
    flat = np.full((1, 96), 5000, np.int32)
    fx.write_readings(tmp_path / "past", DAY.shift(-1), [7], flat)
    moved = flat.copy()
    moved[0, 70] = 3000
    marks = np.zeros((1, 96), bool)
    marks[0, 70] = True
    fx.write_readings(tmp_path / "old", DAY, [7], moved, estimated=marks)
    correct_readings(tmp_path / "new", tmp_path / "old", {"pod": [7], "qh": [DAY.first_qh + 70], "power_w": [3000]})
    rule = dataclasses.replace(RULE, n_candidates=1, n_selected=1, adjustment="none")
    old, new = (
        fx.settle_files(orders, [tmp_path / "past"], tmp_path / name, TERMS, preset=rule) for name in ("old", "new")
    )
    assert (old.lines.delivered_wqh[0], old.lines.n_estimated[0]) == (1000, 1)
    assert (new.lines.delivered_wqh[0], new.lines.n_estimated[0]) == (2000, 0)
    assert old.digest != new.digest


@pytest.mark.rule("SET-04")
def test_a_correction_keeps_the_estimates_of_every_file(tmp_path, monkeypatch):
    """Also where one of the files of the day has no column of them."""
    for module in (reading_layout, reading_files, correcting):
        monkeypatch.setattr(module, "GROUP_ROWS", 32)
    rng = np.random.default_rng(6)
    pods, paths, values = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    marks = rng.random(values[-1].shape) < 0.3
    marks[40:75] = False
    today = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    for path, (lo, hi) in zip(today, ((0, 40), (40, 75), (75, 120)), strict=True):
        own = None if lo == 40 else marks[lo:hi]
        fx.write_readings(path, DAY, pods[lo:hi], values[-1][lo:hi], estimated=own)
    late = {"pod": pods[[3, 50, 100]], "qh": DAY.first_qh + 70, "power_w": 100}
    correct_readings(tmp_path / "late", today, late)
    values[-1] = values[-1].copy()
    values[-1][[3, 50, 100], 70] = 100
    marks[[3, 50, 100], 70] = False
    found = fx.settle_files(orders, paths[:-1], tmp_path / "late", TERMS, preset=RULE)
    assert_same_run(found, in_memory(pods, values, orders, estimated=marks)[0])
    assert found.lines.n_estimated.any()


@pytest.mark.parametrize("lists", [[[96]], [[-1]], [[None]], [["noon"]]])
def test_estimates_that_cannot_be_meant_are_refused(tmp_path, lists):
    orders = {"pod": [7], "operator": [0], "aggregate": [0], "direction": [0], "step": [70], "ordered_w": [1]}
    for name in ("past", "today"):
        day = DAY.shift(-1) if name == "past" else DAY
        fx.write_readings(tmp_path / name, day, [7], np.zeros((1, 96), np.int32), estimated=np.zeros((1, 96), bool))
    table = pq.read_table(tmp_path / "today")
    changed = table.set_column(table.column_names.index("estimated"), "estimated", pa.array(lists))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), tmp_path / "bad")
    with pytest.raises(FileError, match="FX-B061"):
        fx.settle_files(orders, [tmp_path / "past"], tmp_path / "bad", TERMS, preset=RULE)


def test_a_statement_needs_the_marks_that_were_settled_and_shows_them():
    day = settled(2, HARD)
    pod = str(day.row_pod_id[0])
    shown = fx.settlement.pod_statement(day, pod).intervals
    marks = day.row_estimated[0][shown["step"].to_numpy()] & shown["metered_w"].is_valid().to_numpy()
    assert shown["estimated"].to_pylist() == marks.tolist()
    assert marks.any()
    assert (np.asarray(shown["delivered_w"].fill_null(0))[marks] <= np.asarray(shown["ordered_w"])[marks]).all()
    assert fx.settlement.trace(day, pod).agrees
    with pytest.raises(SettlementError, match="marks are not given"):
        dataclasses.replace(day, row_estimated=None).check()
    assert open_run("2026-03-24", day.run.result).run_id == day.run.run_id
