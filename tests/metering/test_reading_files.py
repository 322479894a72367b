"""Day files: the layout round trip, what other tools see in them, and files that lie."""

import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flexcore as fx
from flexcore.errors import FileError, OptionError, TimeSeriesError, ValidationError
from flexcore.metering import MISSING_W, collect_readings, reading_layout, reading_rows
from flexcore.metering.correcting import correct_readings
from flexcore.metering.importing import import_readings
from flexcore.metering.plain_pages import page_values
from flexcore.metering.reading_files import open_day, open_file
from flexcore.metering.reading_rows import RowReader

DAY = fx.MarketDay("2026-01-21")


def power(n, day=DAY, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(-(2**31) + 1, 2**31, (n, day.n_steps)).astype(np.int32)
    values[rng.random(values.shape) < 0.01] = MISSING_W
    return values


def rows(path, lo=0, hi=None, **options):
    files = open_day(path)
    hi = files.n_pods if hi is None else hi
    out = np.empty((hi - lo, files.day.n_steps), np.int32)
    with RowReader(files, **options) as reader:
        reader.read(lo, hi, out)
    return out


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of 64 rows, so that a small file has many."""
    for module in (reading_layout, fx.metering.reading_files, fx.metering.importing, fx.metering.correcting):
        monkeypatch.setattr(module, "GROUP_ROWS", 64)


@pytest.mark.parametrize("date", ["2026-01-21", "2026-03-29", "2025-10-26"])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.rule("MET-01")
def test_what_is_written_is_read_back(tmp_path, small_groups, date, text):
    day = fx.MarketDay(date)
    values = power(300, day)
    pods = [f"IT001E{k:08d}" for k in range(300)] if text else np.arange(300) * 7 - 40
    path = tmp_path / "day.parquet"
    fx.write_readings(path, day, pods, values)
    files = open_day(path, day)
    assert (files.n_pods, files.day, len(files.files[0].chunk)) == (300, day, 5)
    assert (files.files[0].chunk >= 0).all()
    assert files.pods().to_pylist() == list(pods)
    assert files.pods(60, 131).to_pylist() == list(pods)[60:131]
    assert (rows(path) == values).all()
    assert (rows(path, 50, 200) == values[50:200]).all()
    assert (rows(path, verify=True) == values).all()


@pytest.mark.parametrize(
    ("compression", "encoding"), [("none", "DELTA_BINARY_PACKED"), ("zstd", "BYTE_STREAM_SPLIT"), ("snappy", "PLAIN")]
)
def test_other_codecs_and_encodings_are_read_through_pyarrow(tmp_path, small_groups, compression, encoding):
    values = power(200)
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, np.arange(200), values, compression=compression, encoding=encoding)
    assert (open_file(path).chunk < 0).all()
    assert (rows(path, 10, 190) == values[10:190]).all()


def test_plain_files_are_read_without_pyarrow(tmp_path, monkeypatch, small_groups):
    """The fast path is taken at all: with pyarrow's way blocked the rows still come."""
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, np.arange(200), power(200))
    monkeypatch.setattr(RowReader, "_group", None)
    assert (rows(path) == power(200)).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_of_any_parts_gives_the_rows(tmp_path, small_groups, data):
    n = data.draw(st.integers(1, 400))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(n - 1, 1)), max_size=3)) & set(range(1, n)))
    values, folder = power(n), tmp_path / "day"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for k, (lo, hi) in enumerate(zip([0, *cuts], [*cuts, n], strict=True)):
        pair = data.draw(st.sampled_from([("none", "PLAIN"), ("lz4", "PLAIN")]))
        options = dict(zip(("compression", "encoding"), pair, strict=True))
        fx.write_readings(folder / f"{k}.parquet", DAY, np.arange(lo, hi), values[lo:hi], **options)
    lo = data.draw(st.integers(0, n))
    hi = data.draw(st.integers(lo, n))
    assert (rows(folder, lo, hi) == values[lo:hi]).all()
    assert open_day(folder).pods(lo, hi).to_pylist() == list(range(lo, hi))


def test_other_tools_read_the_files(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    values = np.arange(3 * 96, dtype=np.int32).reshape(3, 96)
    path = str(tmp_path / "day.parquet")
    estimated = np.zeros((3, 96), bool)
    estimated[1, [4, 9]] = True
    fx.write_readings(path, DAY, [5, 6, 9], values, estimated=estimated)
    assert polars.read_parquet(path)["power_w"].to_list() == values.tolist()
    assert [list(row) for row in pandas.read_parquet(path)["power_w"]] == values.tolist()
    found = duckdb.sql(f"select pod, list_sum(power_w), power_w[5], estimated from '{path}' order by pod").fetchall()
    assert found == [(pod, row.sum(), row[4], flags) for pod, row, flags in zip(
        [5, 6, 9], values, [[], [4, 9], []], strict=True)]  # fmt: skip
    schema = pq.read_schema(path)
    assert schema.field("power_w").metadata[b"unit"] == b"W"
    assert schema.metadata[b"flexcore.date"] == b"2026-01-21"
    assert (rows(path) == values).all()


def test_nulls_and_lists_of_other_writers_are_read(tmp_path):
    """A file with plain lists and null readings, as another tool writes it from the metadata of ours."""
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, [1, 2], np.ones((2, 96), np.int32))
    about = pq.read_schema(path).metadata
    lists = [[None, *range(95)], list(range(96))]
    schema = pa.schema([("pod", pa.int64()), ("power_w", pa.list_(pa.int32()))], metadata=about)
    pq.write_table(pa.table([pa.array([1, 2]), pa.array(lists, pa.list_(pa.int32()))], schema=schema), path)
    assert rows(path).tolist() == [[MISSING_W, *range(95)], list(range(96))]
    lists[1] = lists[1][:-1]
    pq.write_table(pa.table([pa.array([1, 2]), pa.array(lists, pa.list_(pa.int32()))], schema=schema), path)
    with pytest.raises(FileError) as refused:
        rows(path)
    assert refused.value.codes == ("FX-B062",)
    assert refused.value.findings[0].rows == (1,)


@pytest.mark.parametrize("pods", [[1, 1, 2], [2, 1, 3], ["a", "c", "b"]])
def test_keys_out_of_order_are_refused_and_leave_no_file(tmp_path, pods):
    with pytest.raises(FileError) as refused:
        fx.write_readings(tmp_path / "day.parquet", DAY, pods, power(3))
    assert refused.value.codes == ("FX-B063",)
    assert not list(tmp_path.iterdir())


def test_wrong_shapes_and_days_are_refused(tmp_path):
    path = tmp_path / "day.parquet"
    for values, error in ((power(2)[:, :92], TimeSeriesError), (power(3), ValidationError)):
        with pytest.raises(error):
            fx.write_readings(path, DAY, [1, 2], values)
    fx.write_readings(path, DAY, [1, 2], power(2))
    with pytest.raises(FileError) as refused:
        open_day(path, DAY.shift(1))
    assert refused.value.codes == ("FX-B062",)
    with pytest.raises(FileError) as refused:
        open_day(tmp_path / "nothing")
    assert refused.value.codes == ("FX-B060",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError) as refused:
        open_day(tmp_path / "empty")
    assert refused.value.codes == ("FX-B067",)


def test_a_failed_write_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, [1, 2], power(2))
    before = path.read_bytes()

    def interrupted(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading_layout.ReadingWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fx.write_readings(path, DAY, [1, 2], power(2, seed=1))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["day.parquet"]


HOSTILE = """
import os, resource, signal, sys
import numpy as np
import flexcore as fx
path, how = sys.argv[1:]
if how == "killed":
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
fx.write_readings(path, fx.MarketDay("2026-01-21"), range(3000), np.ones((3000, 96), np.int32))
"""


@pytest.mark.parametrize(("how", "left"), [("killed", 1), ("full", 0)])
def test_a_killed_writer_and_a_full_disk_keep_the_earlier_file(tmp_path, how, left):
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, [1, 2], power(2))
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", HOSTILE, str(path), how], capture_output=True, text=True, check=False)
    assert done.returncode == (-9 if how == "killed" else 1), done.stderr
    assert path.read_bytes() == before
    hidden = [file for file in tmp_path.iterdir() if file != path]
    assert len(hidden) == left
    assert all(file.name.startswith(".") and file.name.endswith(".tmp") for file in hidden)
    assert open_day(tmp_path).n_pods == 2  # what is left is no file of the day


def whole_file(tmp_path):
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, np.arange(200), power(200))
    return path, bytearray(path.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: b"",
        lambda raw: b"NOPE" + raw[4:-4] + b"NOPE",
        lambda raw: raw[:-8] + struct.pack("<I", 2**31 - 1) + raw[-4:],
        lambda raw: b"pod,time,power_w\n1,2,3\n",
    ],
    ids=["half", "last byte", "empty", "magic", "footer length", "csv"],
)
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    path, raw = whole_file(tmp_path)
    path.write_bytes(damage(raw))
    with pytest.raises(FileError) as refused:
        open_day(path)
    assert refused.value.codes == ("FX-B060",)
    assert refused.value.findings[0].ids == (str(path),)


def test_a_parquet_file_of_another_layout_is_refused(tmp_path):
    path = tmp_path / "day.parquet"
    pq.write_table(pa.table({"pod": [1], "power_w": [2]}), path)
    with pytest.raises(FileError) as refused:
        open_day(path)
    assert refused.value.codes == ("FX-B061",)
    good = tmp_path / "good.parquet"
    fx.write_readings(good, DAY, [1], power(1))
    about = pq.read_schema(good).metadata
    for columns in ({"pod": [1.5], "power_w": [[2]]}, {"pod": [1], "power_w": [2]}, {"other": [1]}):
        pq.write_table(pa.table(columns).replace_schema_metadata(about), path)
        with pytest.raises(FileError) as refused:
            open_day(path)
        assert set(refused.value.codes) == {"FX-B061"}
    for key, value, code in (("date", "2026-13-01", "FX-B061"), ("tz", "Mars/Base", "FX-B061"),
                             ("n_steps", "92", "FX-B062"), ("date", "2026-03-29", "FX-B062")):  # fmt: skip
        table = pq.read_table(good).replace_schema_metadata({**about, f"flexcore.{key}".encode(): value})
        pq.write_table(table, path)
        with pytest.raises(FileError) as refused:
            open_day(path)
        assert set(refused.value.codes) == {code}, key


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path):
    path, raw = whole_file(tmp_path)
    files = open_day(path)
    path.write_bytes(raw[:-5000])
    with RowReader(files) as reader, pytest.raises(FileError) as refused:
        reader.read(0, 5, np.empty((5, 96), np.int32))
    assert refused.value.codes == ("FX-B065",)
    path.unlink()
    with RowReader(files) as reader, pytest.raises(FileError) as refused:
        reader.read(0, 5, np.empty((5, 96), np.int32))
    assert refused.value.codes == ("FX-B065",)


def test_a_footer_that_points_past_the_end_never_reads_beyond(tmp_path):
    path, _ = whole_file(tmp_path)
    files = open_day(path)
    files.files[0].chunk[0] += (files.files[0].stamp[0], 0)
    with RowReader(files) as reader, pytest.raises(FileError) as refused:
        reader.read(0, 5, np.empty((5, 96), np.int32))
    assert refused.value.codes == ("FX-B065",)


def test_flipped_bits_are_found_when_asked_for(tmp_path):
    path, raw = whole_file(tmp_path)
    begin, length = open_day(path).files[0].chunk[0]
    raw[begin + length - 100] ^= 1
    path.write_bytes(raw)
    assert (rows(path) != power(200)).sum() == 1
    with pytest.raises(FileError) as refused:
        rows(path, verify=True)
    assert refused.value.codes == ("FX-B065",)


def test_levels_of_another_shape_are_left_to_pyarrow(tmp_path):
    """Rows of 95 and 97 readings: as many values as two rows of 96, and refused all the same."""
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, [1, 2], np.ones((2, 96), np.int32))
    schema = pa.schema(
        [pa.field("pod", pa.int64(), False), pa.field("power_w", pa.list_(pa.field("item", pa.int32(), False)), False)],
        metadata=pq.read_schema(path).metadata,
    )
    lists = pa.array([list(range(95)), list(range(97))], schema.field("power_w").type)
    writer_options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table([pa.array([1, 2]), lists], schema=schema), path, **writer_options)
    assert (open_file(path).chunk >= 0).all()
    with pytest.raises(FileError) as refused:
        rows(path)
    assert refused.value.codes == ("FX-B062",)


@given(st.binary(max_size=80), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_no_header_breaks_the_parser(header, length, n_values):
    found = page_values(header, length, n_values)
    assert found is None or 0 <= found[0] <= found[1] == length - 4 * n_values


def test_headers_of_other_pages_are_not_plain(tmp_path):
    path, raw = whole_file(tmp_path)
    begin, length = (int(x) for x in open_day(path).files[0].chunk[0])
    head = bytes(raw[begin : begin + 128])
    assert page_values(head, length, 200 * 96) is not None
    for wrong in ((head, length - 1, 200 * 96), (head, length, 200 * 96 - 1), (b"\x15\x04" + head[2:], length, 19200)):
        assert page_values(*wrong) is None
    for cut in range(20):
        assert page_values(head[:cut], length, 200 * 96) is None


def long_rows(values, day=DAY, first=10):
    n = len(values)
    seconds = np.tile(day.qh * 900, n)
    time = pa.array(seconds).cast(pa.timestamp("s", "UTC"))
    pods = pa.array(np.repeat(np.arange(first, first + n), day.n_steps))
    return pa.table({"pod": pods, "time": time, "power_w": pa.array(values.ravel())})


@pytest.mark.parametrize("batch", [50, 96, 1000, 10**6])
def test_rows_of_an_arrow_stream_become_a_file(tmp_path, small_groups, batch):
    values = np.random.default_rng(1).integers(-5000, 5000, (150, 96)).astype(np.int32)
    table = long_rows(values)
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=batch))
    assert fx.import_readings(tmp_path / "day.parquet", stream, DAY) == 150
    assert (rows(tmp_path / "day.parquet") == values).all()
    assert [int(n) for n in np.diff(open_file(tmp_path / "day.parquet").first_row)] == [64, 64, 22]
    expected = collect_readings(
        np.asarray(table["pod"]), table["time"], np.asarray(table["power_w"]), pods=np.arange(10, 160), day=DAY
    )
    assert (rows(tmp_path / "day.parquet") == expected.metered_w).all()


def test_a_parquet_file_of_rows_is_imported_with_its_gaps(tmp_path):
    values = np.arange(3 * 96, dtype=np.int32).reshape(3, 96)
    table = long_rows(values)
    power_w = table["power_w"].to_pylist()
    power_w[5] = None
    table = table.set_column(2, "power_w", pa.array(power_w, pa.int32())).slice(1)
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(ValidationError) as refused:
        fx.import_readings(tmp_path / "day.parquet", tmp_path / "rows.parquet", DAY)
    assert refused.value.codes == ("FX-B002",)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.parquet"]
    fx.import_readings(tmp_path / "day.parquet", tmp_path / "rows.parquet", DAY, gaps="flag")
    values[0, [0, 5]] = MISSING_W
    assert (rows(tmp_path / "day.parquet") == values).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: t.take([*range(96, 192), *range(96)]), "FX-B068"),
        (lambda t: t.take([*range(95), 96, 95, *range(97, 192)]), "FX-B068"),
        (lambda t: t.take([0, *range(192)]), "FX-B001"),
        (lambda t: t.drop_columns(["time"]), "FX-A007"),
        (lambda t: t.set_column(1, "time", t["time"].cast(pa.timestamp("s"))), "FX-T001"),
        (lambda t: t.set_column(0, "pod", pa.array([None, *t["pod"].to_pylist()[1:]], pa.int64())), "FX-A010"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(tmp_path, change, code):
    table = change(long_rows(power(2) // 2))
    with pytest.raises(ValidationError) as refused:
        fx.import_readings(tmp_path / "day.parquet", table, DAY)
    assert code in refused.value.codes
    assert not list(tmp_path.iterdir())


@pytest.mark.rule("MET-01")
def test_a_corrected_day_is_a_new_file_that_names_the_old(tmp_path, small_groups):
    values = power(150)
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    fx.write_readings(old, DAY, np.arange(150), values)
    before = old.read_bytes()
    table = {"pod": [140, 3, 3], "qh": DAY.first_qh + np.array([95, 0, 1]), "power_w": [7, 8, int(values[3, 1])]}
    table["power_w"][1:] = [8, max(int(values[3, 1]), -5)]
    values[140, 95], values[3, 0], values[3, 1] = table["power_w"]
    assert correct_readings(new, old, table, reason="meter issued again") >= 2
    assert (rows(new) == values).all()
    assert old.read_bytes() == before
    assert pq.read_schema(new).metadata[b"flexcore.replaces"] == str(old).encode()
    for bad, code in (
        ({"pod": [999], "qh": [DAY.first_qh], "power_w": [1]}, "FX-B003"),
        ({"pod": [1], "qh": [DAY.first_qh - 1], "power_w": [1]}, "FX-T003"),
        ({"pod": [1, 1], "qh": [DAY.first_qh] * 2, "power_w": [1, 2]}, "FX-B001"),
    ):
        with pytest.raises(ValidationError) as refused:
            correct_readings(tmp_path / "bad.parquet", old, bad)
        assert refused.value.codes == (code,)
    assert not (tmp_path / "bad.parquet").exists()
    for same in (old, tmp_path / "." / "old.parquet"):
        with pytest.raises(FileError) as kept:
            correct_readings(same, old, {"pod": [1], "qh": [DAY.first_qh], "power_w": [1]})
        assert kept.value.codes == ("FX-B066",)
    assert old.read_bytes() == before


def test_what_a_writer_cannot_hold_is_refused_by_code(tmp_path):
    for codec, encoding in (("lzma", "PLAIN"), ("none", "RLE_DICTIONARY")):
        with pytest.raises(OptionError, match="FX-E002"):
            fx.write_readings(tmp_path / "x.parquet", DAY, [1], power(1), compression=codec, encoding=encoding)
    with pytest.raises(ValidationError, match="FX-A006"):
        fx.write_readings(tmp_path / "x.parquet", DAY, pa.array([1, 2**63], pa.uint64()), power(2))
    # a time five nanoseconds after a quarter-hour is not that quarter-hour
    late = pa.array([DAY.first_qh * 900 * 10**9 + 5]).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"pod": [1], "time": late, "power_w": [1]})
    with pytest.raises(TimeSeriesError, match="FX-T004"):
        import_readings(tmp_path / "x.parquet", table, DAY, gaps="flag")


@pytest.mark.parametrize("flags", [np.full((1, 96), "False"), np.zeros((1, 96)), np.zeros((2, 96), bool), [[True], []]])
def test_a_flag_of_an_estimate_is_true_or_false(tmp_path, flags):
    with pytest.raises(ValidationError, match=r"FX-A00[12]"):
        fx.write_readings(tmp_path / "x.parquet", DAY, [1], power(1), estimated=flags)
    assert not list(tmp_path.iterdir())


def test_a_correction_keeps_the_other_estimates(tmp_path):
    estimated = np.zeros((4, 96), bool)
    estimated[1, [4, 9]] = estimated[3, 0] = True
    fx.write_readings(tmp_path / "old", DAY, range(4), power(4), estimated=estimated)
    correct_readings(tmp_path / "new", tmp_path / "old", {"pod": [1], "qh": [DAY.first_qh + 4], "power_w": [5]})
    assert pq.read_table(tmp_path / "new")["estimated"].to_pylist() == [[], [9], [], [0]]


def test_row_groups_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    fx.write_readings(tmp_path / "day", DAY, range(50), power(50))
    monkeypatch.setattr(fx.metering.reading_files, "MAX_GROUP_ROWS", 49)
    with pytest.raises(FileError) as refused:
        open_day(tmp_path / "day")
    assert refused.value.codes == ("FX-B061",)


def test_no_handle_stays_open(tmp_path):
    path, _ = whole_file(tmp_path)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(20):
        rows(path)
    after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert after <= before + 1
    assert reading_rows.HEADER_BYTES >= 64


def test_a_damaged_footer_is_refused_or_changes_nothing(tmp_path):
    # unknown codecs among them, which end the process where pyarrow is asked for their name
    path, raw = whole_file(tmp_path)
    footer = len(raw) - 8 - struct.unpack("<I", raw[-8:-4])[0]
    refused = 0
    for at in range(footer, footer + 300):
        for flip in (0x80, 0x10):
            raw[at] ^= flip
            path.write_bytes(raw)
            raw[at] ^= flip
            try:
                found = rows(path)
            except FileError:  # any other error fails the test
                refused += 1
                continue
            assert (found == power(200)).all(), at - footer
    assert 100 < refused < 600


def test_the_readings_are_those_of_the_column_of_that_name(tmp_path):
    path = tmp_path / "day.parquet"
    fx.write_readings(path, DAY, np.arange(200), power(200))
    table = pq.read_table(path)
    decoy = pa.array(np.zeros(200 * 96, np.int32))
    decoy = pa.FixedSizeListArray.from_arrays(decoy, type=table.schema.field("power_w").type)
    plain = {"use_dictionary": False, "compression": "none", "data_page_size": 1 << 30, "write_statistics": False}
    field = table.schema.field("power_w").with_name("power_w.old")
    pq.write_table(table.add_column(0, field, decoy), path, **plain)
    assert (rows(path) == power(200)).all()
    pq.write_table(table.append_column("power_w", decoy), path, **plain)
    with pytest.raises(FileError) as refused:
        open_day(path)
    assert refused.value.codes == ("FX-B061",)


@pytest.mark.parametrize(
    ("lo", "hi", "out", "code"),
    [
        (0, 200, np.empty((200, 97), np.int32), "FX-A005"),
        (0, 200, np.empty((5, 96), np.int32), "FX-A005"),
        (0, 200, np.empty((200, 96), np.int64), "FX-A005"),
        (0, 200, np.empty((200, 192), np.int32)[:, ::2], "FX-A005"),
        (0, 200, np.empty(200 * 96, np.int32), "FX-A005"),
        (-1, 5, np.empty((6, 96), np.int32), "FX-A006"),
        (195, 205, np.empty((10, 96), np.int32), "FX-A006"),
        (5, 2, np.empty((0, 96), np.int32), "FX-A006"),
    ],
    ids=["wide", "short", "type", "strided", "flat", "negative", "beyond", "reversed"],
)
def test_rows_are_read_into_an_array_that_fits_or_not_at_all(tmp_path, lo, hi, out, code):
    fx.write_readings(tmp_path / "day.parquet", DAY, np.arange(200), power(200))
    with RowReader(open_day(tmp_path / "day.parquet")) as reader, pytest.raises(ValidationError) as refused:
        reader.read(lo, hi, out)
    assert refused.value.codes == (code,)


def test_keys_and_columns_that_a_day_lacks_are_refused(tmp_path):
    fx.write_readings(tmp_path / "day.parquet", DAY, np.arange(200), power(200))
    day = open_day(tmp_path / "day.parquet")
    assert day.pods(198, 200).to_pylist() == [198, 199]
    for rows_of in ((-3, 5), (195, 205), (5, 2)):
        with pytest.raises(ValidationError, match="FX-A006"):
            day.pods(*rows_of)
    with pytest.raises(FileError, match="FX-B061"):
        day.column("estimated")
