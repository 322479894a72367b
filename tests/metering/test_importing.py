"""Rows of readings in the forms that sources have: other types of column, several files, batches of any size."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flexcore.errors import ValidationError
from flexcore.market_day import MarketDay
from flexcore.metering import MISSING_W, BaselineRule, baseline_batches, import_readings, open_day
from flexcore.metering.reading_rows import RowReader

DAY = MarketDay("2026-10-25")  # 100 quarter-hours


def long_rows(pods, kind=None, power_type=None):
    n = DAY.n_steps
    return pa.table(
        {
            "pod": pa.array(np.repeat(pods, n).tolist()).cast(kind or pa.int64()),
            "time": np.tile(DAY.qh * 900, len(pods)),
            "power_w": pa.array(np.arange(n * len(pods))).cast(power_type or pa.int64()),
        }
    )


def read(path):
    day = open_day(path)
    out = np.empty((day.n_pods, DAY.n_steps), np.int32)
    with RowReader(day) as reader:
        reader.read(0, day.n_pods, out)
    return day.pods().to_pylist(), out


def in_form(kind, keys):
    if pa.types.is_dictionary(kind):  # text in every form stands in dictionaries too, as polars has categories
        words = keys.unique()
        index = pa.array([words.to_pylist().index(key) for key in keys.to_pylist()], kind.index_type)
        return pa.DictionaryArray.from_arrays(index, words.cast(kind.value_type))
    return keys.cast(kind)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()),
     pa.dictionary(pa.int8(), pa.large_string()), pa.dictionary(pa.uint32(), pa.string_view())],
    ids=str,
)  # fmt: skip
def test_text_keys_may_have_any_of_their_arrow_forms(tmp_path, kind):
    table = long_rows(["a", "b", "c"], pa.string())
    table = table.set_column(0, "pod", in_form(kind, table["pod"].combine_chunks()))
    assert table.schema.field("pod").type == kind
    path = tmp_path / "day.parquet"
    assert import_readings(path, pa.Table.from_batches(table.to_batches(max_chunksize=30)), DAY) == 3
    keys, power = read(path)
    assert keys == ["a", "b", "c"]
    np.testing.assert_array_equal(power.ravel(), np.arange(300))


def test_a_stream_may_hold_any_kind_of_list():
    rows = np.arange(2 * 96, dtype=np.int32).reshape(2, 96).tolist()
    day = MarketDay("2026-06-17")
    rule = BaselineRule("all", n_candidates=1, n_selected=1, min_days=1)
    for kind in (pa.list_(pa.int32(), 96), pa.list_(pa.int32()), pa.large_list(pa.int32())):
        table = pa.table({"pod": [1, 2], "power_w": pa.array(rows, kind)})
        found = baseline_batches([table], table, days=[day.shift(-1), day], preset=rule).read_all()
        assert found["power_w"].to_pylist() == rows
    short = pa.table({"pod": [1, 2], "power_w": pa.array([rows[0], rows[1][1:]], pa.large_list(pa.int32()))})
    with pytest.raises(ValidationError) as caught:
        baseline_batches([short], table, days=[day.shift(-1), day], preset=rule).read_all()
    assert caught.value.codes == ("FX-B062",)
    assert caught.value.findings[0].rows == (1,)


def test_files_of_one_day_may_differ_in_the_width_of_their_columns(tmp_path):
    parts = [long_rows([1, 2], pa.int32(), pa.int32()), long_rows([3], pa.int64()), long_rows([4], pa.uint16())]
    paths = [tmp_path / f"{k}.rows" for k in range(3)]
    for path, part in zip(paths, parts, strict=True):
        pq.write_table(part, path)
    assert import_readings(tmp_path / "day.parquet", paths, DAY) == 4
    keys, power = read(tmp_path / "day.parquet")
    assert keys == [1, 2, 3, 4]
    np.testing.assert_array_equal(power[[0, 2, 3], 7], [7, 7, 7])


def test_columns_that_change_their_meaning_are_refused(tmp_path):
    numbers, text = long_rows([1]), long_rows(["b"], pa.string())
    in_text = numbers.set_column(1, "time", pa.array(["now"] * DAY.n_steps))
    for other in (text, in_text):
        with pytest.raises(ValidationError) as caught:
            import_readings(tmp_path / "day.parquet", [*numbers.to_batches(), *other.to_batches()], DAY)
        assert caught.value.codes == ("FX-A002",)
    twice = pa.Table.from_arrays([numbers["pod"], *numbers.columns], names=["pod", *numbers.column_names])
    with pytest.raises(ValidationError, match="2 columns are named 'pod'") as caught:
        import_readings(tmp_path / "day.parquet", twice, DAY)
    assert caught.value.codes == ("FX-A007",)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", [30, 100, 1000])
@pytest.mark.parametrize(
    ("column", "value", "code", "rows"),
    [
        ("power_w", 0.5, "FX-A002", (250,)),
        ("time", DAY.first_qh * 900 + 1, "FX-T004", (250,)),
        ("time", (DAY.first_qh - 1) * 900, "FX-T003", (250,)),
        ("time", DAY.first_qh * 900, "FX-B001", (200, 250)),
        ("pod", 1, "FX-B068", (250,)),
    ],
    ids=["fraction", "off", "outside", "twice", "order"],
)
def test_an_error_names_rows_of_the_source_whatever_the_batches(tmp_path, batch, column, value, code, rows):
    columns = long_rows([1, 2, 3, 4]).to_pydict()
    columns["power_w"] = [float(watts) for watts in columns["power_w"]]
    columns["power_w"][3] = None  # a row that is left out is counted all the same
    columns[column][250] = value
    source = pa.Table.from_batches(pa.table(columns).to_batches(max_chunksize=batch))
    with pytest.raises(ValidationError) as caught:
        import_readings(tmp_path / "day.parquet", source, DAY, gaps="flag")
    assert caught.value.codes == (code,)
    assert caught.value.findings[0].rows[: len(rows)] == rows


@pytest.mark.parametrize("batch", [30, 100, 1000])
def test_a_gap_names_the_pod_by_its_place_among_all(tmp_path, batch):
    table = long_rows([11, 12, 13, 14]).take([*range(250), *range(251, 400)])
    with pytest.raises(ValidationError) as caught:
        import_readings(tmp_path / "day.parquet", pa.Table.from_batches(table.to_batches(max_chunksize=batch)), DAY)
    (found,) = caught.value.findings
    assert (found.code, found.rows, found.ids) == ("FX-B002", (2,), (13,))


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize("first", ["power_w", "power_kw"])
def test_power_in_both_units_in_different_files_is_refused(tmp_path, first):
    """Put one behind the other they would be two columns, of which only one is read."""
    second = {"power_w": "power_kw", "power_kw": "power_w"}[first]
    paths = [tmp_path / name for name in ("1.parquet", "2.parquet")]
    for pod, path, name in zip((1, 2), paths, (first, second), strict=True):
        pq.write_table(long_rows([pod]).rename_columns(["pod", "time", name]), path)
    with pytest.raises(ValidationError, match="FX-A008"):
        import_readings(tmp_path / "day.parquet", paths, DAY, gaps="flag")
    assert not (tmp_path / "day.parquet").exists()


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize(("keys", "empty", "wanted"), [([1, 5], 1, [5]), ([5, 6], 6, [5]), (["a", "b"], "a", [1])])
def test_pods_that_are_not_listed_are_refused_without_any_reading_too(tmp_path, keys, empty, wanted):
    table = long_rows(keys, pa.string() if isinstance(empty, str) else None)
    power = pa.array(np.arange(200), mask=np.array(table["pod"].to_pylist()) == empty)
    rows = [k for k, key in enumerate(table["pod"].to_pylist()) if key not in wanted]
    batches = table.set_column(2, "power_w", power).to_batches(max_chunksize=30)
    with pytest.raises(ValidationError) as refused:
        import_readings(tmp_path / "day.parquet", pa.Table.from_batches(batches), DAY, gaps="flag", pods=wanted)
    (finding,) = refused.value.findings
    assert finding.code == "FX-B003"
    assert list(finding.rows) == rows[: len(finding.rows)]


@pytest.mark.parametrize(
    ("power", "code"),
    [
        (["1"] * 100, "FX-A002"),
        ([float("inf")] * 100, "FX-A003"),
        ([None] * 100, None),
        ([Decimal("0.0125")] * 100, None),
    ],
)
def test_kilowatts_are_numbers_of_any_kind(tmp_path, power, code):
    source = {"pod": np.ones(100, int), "time": DAY.qh * 900, "power_kw": pa.array(power)}
    path = tmp_path / "day.parquet"
    if code is not None:
        with pytest.raises(ValidationError, match=rf"(?s)power_kw.*{code}"):
            import_readings(path, source, DAY, gaps="flag")
        return
    import_readings(path, source, DAY, gaps="flag")
    assert set(read(path)[1].ravel().tolist()) == {MISSING_W if power[0] is None else 12}  # 12.5 W, half to even
