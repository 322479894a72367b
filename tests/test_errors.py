"""Findings: stable codes, everything at once, data that machines can read."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import flexcore
from flexcore.arrays import as_float, as_int, output
from flexcore.chunks import run_chunks
from flexcore.errors import CODES, Findings, OptionError, UnknownIdError, ValidationError, check_option

ROOT = Path(flexcore.__file__).parent


def test_every_code_in_the_source_is_registered_and_every_registered_code_is_used():
    source = "".join(path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py"))
    table, rest = source.split("CODES: dict[str, str] = {", 1)[1].split("\n}", 1)
    elsewhere = source.split("CODES: dict[str, str] = {", 1)[0] + rest
    used = set(re.findall(r'"(FX-[A-Z]\d{3})"', elsewhere))
    assert used == set(CODES)
    assert len(re.findall(r'"FX-', table)) == len(CODES), "a code stands twice in the table"


def test_a_message_says_what_where_how_many_and_the_way_out():
    found = Findings("pods", 10)
    found.add("FX-A004", "up_w is negative in 7 rows", rows=range(7), ids=[f"P{i}" for i in range(7)], hint="no sign")
    found.add("FX-A001", "columns have different lengths")
    with pytest.raises(ValidationError) as refused:
        found.raise_errors()
    text = str(refused.value)
    assert text.splitlines()[0] == "2 findings (2 errors, 0 warnings) in 'pods'"
    assert "'P4' (row 4) and 2 more" in text
    assert "P5" not in text
    assert "Hint: no sign" in text
    table = refused.value.to_arrow()
    assert table.num_rows == 8
    assert table.column("id").to_pylist()[:7] == [f"P{i}" for i in range(7)]


def test_errors_survive_the_way_back_from_a_worker():
    found = Findings("nodes")
    found.add("FX-A009", "twice", ids=[3])
    error = pickle.loads(pickle.dumps(UnknownIdError(found.items)))
    assert error.codes == ("FX-A009",)
    assert isinstance(error, KeyError)
    assert str(error).startswith("1 finding (1 error, 0 warnings)")


def test_warnings_alone_do_not_raise():
    found = Findings("readings")
    found.add("FX-A006", "odd", severity="warning")
    found.raise_errors()
    assert not found


def test_unregistered_codes_cannot_be_used():
    with pytest.raises(KeyError):
        Findings("x").add("FX-Z999", "?")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: as_float(np.zeros((2, 3)), "p_kw", shape=(2, 4)), "FX-A001"),
        (lambda: as_float([[1.0, 2.0], [3.0]], "p_kw"), "FX-A001"),
        (lambda: as_int([[1, 2], [3]], "up_w"), "FX-A001"),
        (lambda: as_float(["a"], "p_kw"), "FX-A002"),
        (lambda: as_float([1.0, np.nan], "p_kw"), "FX-A003"),
        (lambda: as_float([1.0, -np.inf], "p_kw"), "FX-A003"),
        (lambda: as_float([1.0, -1.0], "up_kw", non_negative=True), "FX-A004"),
        (lambda: as_int([1.5], "up_w"), "FX-A002"),
        (lambda: as_int(np.ma.masked_equal([1, 2], 2), "up_w"), "FX-A002"),
        (lambda: as_int([True, False], "rows"), "FX-A002"),
        (lambda: as_int([-1], "up_w", lo=0), "FX-A004"),
        (lambda: as_int([2**40], "up_w", dtype=np.int32), "FX-A006"),
        (lambda: output(np.zeros(3), "out", shape=(4,)), "FX-A005"),
        (lambda: output(np.zeros((4, 4))[:, 0], "out", shape=(4,)), "FX-A005"),
        (lambda: check_option("method", "magic", ("dc", "ac")), "FX-E002"),
    ],
)
def test_bad_arrays_are_refused_by_code(call, code):
    with pytest.raises(ValidationError) as refused:
        call()
    assert refused.value.codes == (code,)


def test_bad_rows_are_named():
    p_kw = np.zeros((5, 4))
    p_kw[3, 2] = np.nan
    with pytest.raises(ValidationError) as refused:
        as_float(p_kw, "p_kw")
    assert refused.value.findings[0].rows == (3,)


def test_overlapping_output_is_refused():
    base = np.zeros(8)
    with pytest.raises(ValidationError, match="overlaps"):
        output(base[:4], "out", shape=(4,), inputs=(base[2:6],))


def test_good_arrays_are_not_copied():
    p_kw = np.zeros((5, 4))
    assert as_float(p_kw, "p_kw") is p_kw
    assert as_float(p_kw.T, "p_kw", shape=(4, None)).flags.c_contiguous
    assert output(p_kw, "out", shape=(5, 4)) is p_kw
    assert as_int(np.float64(3), "n").dtype == np.int64
    with pytest.raises(OptionError):
        check_option("method", None, ("dc",))


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, 2.0, None, True, "2", np.nan])
@pytest.mark.parametrize("n_items", [0, 10])
def test_threads_are_a_whole_number_from_one(n_threads, n_items):
    ran = []
    with pytest.raises(ValidationError) as refused:
        run_chunks(lambda lo, hi: ran.append(lo), n_items, n_threads=n_threads, chunk=1)
    assert refused.value.codes == ("FX-A006",)
    assert not ran
    run_chunks(lambda lo, hi: ran.append(lo), n_items, n_threads=np.int64(2), chunk=5)
    assert len(ran) == n_items / 5
