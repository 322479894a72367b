"""Baselines from day files: equal to those in memory for every partition, executor, block and clock."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flexcore as fx
from flexcore.errors import FileError, OptionError, ValidationError
from flexcore.metering import (
    MISSING_W,
    BaselineRule,
    batches,
    day_steps,
    reading_layout,
    stream,
    stream_work,
)
from flexcore.metering.baseline import STATUS
from flexcore.metering.batches import baseline_batches
from flexcore.metering.reading_files import open_day
from flexcore.metering.reading_rows import RowReader

RULE = BaselineRule("high", n_candidates=10, n_selected=5, adjustment="additive", window_steps=8, lead_steps=2)
EVENT = np.zeros(96, bool)
EVENT[70:78] = True


@pytest.fixture
def small(monkeypatch):
    """Units of 32 PODs, blocks of 8 and row groups of 64: a small city has many of each."""
    monkeypatch.setattr(stream, "UNIT", 32)
    monkeypatch.setattr(stream_work, "BLOCK", 8)
    for module in (reading_layout, stream, fx.metering.reading_files):
        monkeypatch.setattr(module, "GROUP_ROWS", 64)


def city(folder, n=230, date="2026-01-21", n_days=10, cuts=(), text=False, seed=0):
    """Files of the past days and of the event day, split at rows `cuts`, and what they hold."""
    day = fx.MarketDay(date)
    rng = np.random.default_rng(seed)
    pods = np.sort(rng.choice(10**6, n, replace=False))
    keys = [f"IT{k:07d}" for k in pods] if text else pods
    sources, values = [], []
    for d in range(n_days, -1, -1):
        past = day.shift(-d)
        power = rng.integers(-3000, 6000, (n, past.n_steps)).astype(np.int32)
        power[rng.random(power.shape) < 0.002] = MISSING_W
        parts = []
        for k, (lo, hi) in enumerate(zip([0, *cuts], [*cuts, n], strict=True)):
            parts.append(folder / f"{past.date}-{k}.parquet")
            fx.write_readings(parts[-1], past, keys[lo:hi], power[lo:hi])
        sources.append(parts)
        values.append(power)
    return day, keys, sources[:-1], sources[-1], values


def in_memory(day, values, **options):
    """`baseline` on arrays mapped to the clock of the day."""
    mapped = []
    for k, power in enumerate(values[:-1]):
        steps = day_steps(day.shift(k - len(values) + 1), day)
        mapped.append(np.where(steps >= 0, power[:, steps], MISSING_W))
    history = np.stack(mapped, axis=1) if mapped else None
    return fx.baseline(history, values[-1], **options)


def read(files):
    day = open_day(list(files))
    out = np.empty((day.n_pods, day.day.n_steps), np.int32)
    with RowReader(day) as reader:
        reader.read(0, day.n_pods, out)
    return day, out


@pytest.mark.rule("BAS-01")
@pytest.mark.parametrize("text", [False, True])
def test_parts_threads_and_files_change_nothing(tmp_path, small, text):
    day, keys, history, today, values = city(tmp_path, text=text)
    expected = in_memory(day, values, event=EVENT, preset=RULE)
    found = fx.baseline_files(history, today, EVENT, preset=RULE)
    assert (found.baseline_w == expected.baseline_w).all()
    assert (found.status == expected.status).all()
    assert found.pods.to_pylist() == list(keys)
    assert found.n_status == {bit: int(((expected.status & bit) != 0).sum()) for bit in STATUS}
    for threads, parts in ((1, 1), (2, 2), (2, 7), (3, None)):
        again = fx.baseline_files(history, today, EVENT, preset=RULE, n_threads=threads)
        assert again.digest == found.digest
        out = tmp_path / f"out-{threads}-{parts}"
        written = fx.baseline_files(history, today, EVENT, preset=RULE, n_threads=threads, parts=parts, out=out)
        assert written.digest == found.digest
        assert written.n_status == found.n_status
        assert len(written.files) == (parts or threads)
        files, power = read(written.files)
        assert (power == expected.baseline_w).all()
        assert files.pods().equals(found.pods)
        status = pa.concat_tables([pa.parquet.read_table(name, columns=["status"]) for name in written.files])
        assert (np.asarray(status["status"]) == expected.status).all()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_split_of_the_files_gives_the_same_digest(tmp_path_factory, small, data):
    n = data.draw(st.integers(1, 150))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, n - 1)), max_size=3)) & set(range(1, n)))
    day, _, history, today, values = city(tmp_path_factory.mktemp("split"), n, n_days=3, cuts=cuts, seed=n)
    rule = BaselineRule("all", n_candidates=3, n_selected=3, min_days=1, adjustment="additive")
    expected = in_memory(day, values, event=EVENT, preset=rule)
    stream_work._BLOCK = data.draw(st.sampled_from([1, 5, 64]))
    found = fx.baseline_files(history, today, EVENT, preset=rule, n_threads=data.draw(st.integers(1, 3)))
    assert (found.baseline_w == expected.baseline_w).all()
    _, _, history, today, _ = city(tmp_path_factory.mktemp("whole"), n, n_days=3, seed=n)
    assert fx.baseline_files(history, today, EVENT, preset=rule).digest == found.digest


@pytest.mark.parametrize("date", ["2026-03-29", "2026-04-02", "2025-10-26", "2025-10-30"])
def test_days_of_other_lengths_are_mapped_to_the_clock(tmp_path, small, date):
    day, _, history, today, values = city(tmp_path, 50, date)
    event = np.zeros(day.n_steps, bool)
    event[40:44] = True
    expected = in_memory(day, values, event=event, preset=RULE)
    assert (fx.baseline_files(history, today, event, preset=RULE).baseline_w == expected.baseline_w).all()


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("date", ["2026-01-21", "2026-04-02"])
def test_touched_quarter_hours_are_the_masks_of_baseline(tmp_path, small, date):
    day, keys, history, today, values = city(tmp_path, 100, date)
    rng = np.random.default_rng(1)
    event, today_out = np.zeros((2, 100, 96), bool)
    event[:, 70:74] = True
    past_out = np.zeros((100, 10, 96), bool)
    touched = []
    for i in rng.choice(100, 40, replace=False):
        for _ in range(6):
            d, t = int(rng.integers(0, 12)), int(rng.integers(60, 90))
            kind = bool(rng.integers(2))
            past = day.shift(d - 10)
            touched.append((keys[i], past.first_qh + t, kind))
            if d < 10:
                clock = np.flatnonzero(day_steps(past, day) == t)
                past_out[i, d, clock] = True
            elif d == 10:
                (event if kind else today_out)[i, t] = True
    table = pa.table(dict(zip(("pod", "qh", "event"), map(pa.array, zip(*touched, strict=True)), strict=True)))
    expected = in_memory(day, values, event=event, preset=RULE, excluded=past_out, today_excluded=today_out)
    base_event = np.zeros(96, bool)
    base_event[70:74] = True
    found = fx.baseline_files(history, today, base_event, preset=RULE, touched=table, n_threads=2)
    assert (found.baseline_w == expected.baseline_w).all()
    assert (found.status == expected.status).all()
    with pytest.raises(ValidationError) as refused:
        fx.baseline_files(history, today, preset=RULE, touched={"pod": [-1], "qh": [day.first_qh]})
    assert refused.value.codes == ("FX-B003",)


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("date", ["2025-10-26", "2026-03-29"])
def test_touched_quarter_hours_count_wherever_the_event_day_shows_them(tmp_path, small, date):
    """On a day of 100 quarter-hours the hour from 02:00 of a past day stands twice, and so do its events."""
    day, keys, history, today, values = city(tmp_path, 50, date)
    past_out = np.zeros((50, 10, day.n_steps), bool)
    touched = {"pod": [], "qh": []}
    for d in range(10):
        past = day.shift(d - 10)
        for t in range(6, 14):
            touched["pod"].append(keys[d])
            touched["qh"].append(past.first_qh + t)
            past_out[d, d, day_steps(past, day) == t] = True
    expected = in_memory(day, values, preset=RULE, excluded=past_out)
    found = fx.baseline_files(history, today, preset=RULE, touched=touched)
    assert (found.baseline_w == expected.baseline_w).all()
    assert (found.baseline_w != fx.baseline_files(history, today, preset=RULE).baseline_w).any()


def test_masks_for_each_pod(tmp_path, small):
    day, _, history, today, values = city(tmp_path, 100)
    rng = np.random.default_rng(2)
    masks = {
        "event": rng.random((100, 96)) < 0.05,
        "eligible": rng.random((100, 10)) < 0.9,
        "excluded": rng.random((100, 10, 96)) < 0.01,
        "today_excluded": rng.random((100, 96)) < 0.05,
    }
    expected = in_memory(day, values, preset=RULE, **masks)
    for parts in (1, 3):
        out = tmp_path / f"out{parts}"
        written = fx.baseline_files(history, today, preset=RULE, **masks, out=out, parts=parts)
        assert (read(written.files)[1] == expected.baseline_w).all()
    for name, wrong in (("event", masks["event"][:99]), ("eligible", masks["eligible"].astype(float))):
        with pytest.raises(ValidationError):
            fx.baseline_files(history, today, preset=RULE, **{name: wrong})


def test_a_method_without_history(tmp_path, small):
    day, _, _, today, values = city(tmp_path, 70, n_days=0)
    expected = in_memory(day, values, event=EVENT, preset="meter_before")
    found = fx.baseline_files([], today, EVENT, preset="meter_before")
    assert (found.baseline_w == expected.baseline_w).all()


def test_threads_and_spawned_processes_as_executors(tmp_path):
    """With real sizes of units, and workers that see only paths."""
    _, _, history, today, _ = city(tmp_path, 5000, n_days=2)
    rule = BaselineRule("all", n_candidates=2, n_selected=2, min_days=1)
    found = fx.baseline_files(history, today, EVENT, preset=rule)
    spawn = multiprocessing.get_context("spawn")
    seen = []
    for k, pool in enumerate((ThreadPoolExecutor(2), ProcessPoolExecutor(1, mp_context=spawn))):
        with pool:
            written = fx.baseline_files(history, today, EVENT, preset=rule, out=tmp_path / str(k), parts=2,
                                        executor=pool, progress=lambda *n: seen.append(n))  # fmt: skip
        assert written.digest == found.digest
        assert len(written.files) == 2
        assert seen.pop() == (5000, 5000)


@pytest.mark.rule("SET-04")
def test_running_again_is_idempotent_and_never_overwrites(tmp_path, small):
    _, _, history, today, _ = city(tmp_path, 100)
    out = tmp_path / "out"
    first = fx.baseline_files(history, today, EVENT, preset=RULE, out=out)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in out.iterdir()}
    again = fx.baseline_files(history, today, EVENT, preset=RULE, out=out, parts=2)
    assert (again.digest, again.files) == (first.digest, first.files)
    with pytest.raises(FileError) as refused:
        fx.baseline_files(history, today, ~EVENT, preset=RULE, out=out)
    assert refused.value.codes == ("FX-B066",)
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in out.iterdir()}
    Path(first.files[0]).write_bytes(Path(first.files[0]).read_bytes()[:-9])
    with pytest.raises(FileError, match="changed or are damaged"):
        fx.baseline_files(history, today, EVENT, preset=RULE, out=out, parts=2)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_leaves_no_output(tmp_path, small, threads):
    _, _, history, today, _ = city(tmp_path, 200)

    def interrupt(done, of):
        assert of == 200
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    for out in (None, tmp_path / "out"):
        with pytest.raises(KeyboardInterrupt):
            fx.baseline_files(history, today, EVENT, preset=RULE, out=out, n_threads=threads, progress=interrupt)
    assert sorted(tmp_path.iterdir()) == before


def test_progress_comes_to_the_end(tmp_path, small):
    _, _, history, today, _ = city(tmp_path, 100)
    seen = []
    fx.baseline_files(history, today, EVENT, preset=RULE, progress=lambda *n: seen.append(n))
    assert seen == [(32, 100), (64, 100), (96, 100), (100, 100)]
    seen.clear()
    fx.baseline_files(history, today, EVENT, preset=RULE, out=tmp_path / "o", progress=lambda *n: seen.append(n))
    assert seen == [(64, 100), (100, 100)]


def test_what_does_not_fit_together_is_refused(tmp_path, small):
    day, keys, history, today, values = city(tmp_path, 40, n_days=3)
    cases = [
        ("FX-B067", (history[::-1], today, {})),
        ("FX-B067", ([history[0], history[0]], today, {})),
        ("FX-B067", ([*history, today], today, {})),
        ("FX-B069", (history, today, {"executor": ThreadPoolExecutor(1)})),
        ("FX-A006", (history, today, {"parts": 0, "out": tmp_path / "o"})),
        ("FX-A006", (history, today, {"n_threads": 0})),
    ]
    other = tmp_path / "other.parquet"
    fx.write_readings(other, day.shift(-1), [*keys[:-1], 10**7], values[2])
    cases.append(("FX-B064", ([history[0], history[1], other], today, {})))
    for code, (past, now, options) in cases:
        with pytest.raises(ValidationError) as refused:
            fx.baseline_files(past, now, EVENT, preset=RULE, **options)
        assert refused.value.codes == (code,), code
    assert refused.value.findings[0].ids == (keys[-1], 10**7)
    with pytest.raises(OptionError):
        fx.baseline_files(history, today, preset="none")
    # what is no reading, and a day of another zone
    baselines = fx.baseline_files(history, today, EVENT, preset=RULE, out=tmp_path / "base").files
    with pytest.raises(FileError) as refused:
        fx.baseline_files(history, baselines, EVENT, preset=RULE)
    assert refused.value.codes == ("FX-B061",)
    fx.write_readings(other, fx.MarketDay("2026-01-20", "Europe/London"), keys, values[2])
    with pytest.raises(FileError) as refused:
        fx.baseline_files([*history[:2], other], today, EVENT, preset=RULE)
    assert refused.value.codes == ("FX-B062",)
    # ranges of PODs in the wrong order
    swapped = tmp_path / "a.parquet", tmp_path / "b.parquet"
    fx.write_readings(swapped[0], day, keys[20:], values[3][20:])
    fx.write_readings(swapped[1], day, keys[:20], values[3][:20])
    with pytest.raises(FileError) as refused:
        fx.baseline_files(history, list(swapped), EVENT, preset=RULE)
    assert refused.value.codes == ("FX-B063",)


@pytest.mark.parametrize("wrong", [None, 7], ids=["missing", "twice"])
def test_keys_of_a_past_day_must_ascend_too(tmp_path, small, wrong):
    _, keys, history, today, _ = city(tmp_path, 40, n_days=3)
    table = pa.parquet.read_table(history[0][0])
    other = [*keys[:5], keys[4] if wrong else None, *keys[6:]]
    strange = pa.table({"pod": pa.array(other, pa.int64()), "power_w": table["power_w"]})
    pa.parquet.write_table(strange.replace_schema_metadata(table.schema.metadata), tmp_path / "strange.parquet")
    with pytest.raises(FileError) as refused:
        fx.baseline_files([tmp_path / "strange.parquet", *history[1:]], today, EVENT, preset=RULE)
    assert refused.value.codes == ("FX-B063",)
    assert refused.value.findings[0].rows == (5,)


def test_a_city_without_pods(tmp_path):
    day = fx.MarketDay("2026-01-21")
    for d in (0, 1):
        fx.write_readings(tmp_path / f"{d}", day.shift(-d), [], np.zeros((0, 96), np.int32))
    found = fx.baseline_files([tmp_path / "1"], tmp_path / "0", EVENT, preset=RULE)
    assert (found.baseline_w.shape, len(found.pods)) == ((0, 96), 0)
    written = fx.baseline_files([tmp_path / "1"], tmp_path / "0", EVENT, preset=RULE, out=tmp_path / "out")
    assert written.digest == found.digest
    assert read(written.files)[0].n_pods == 0


def test_parts_begin_at_whole_units():
    for n in (0, 1, stream.UNIT, stream.UNIT + 1, 10 * stream.UNIT + 5):
        for parts in (1, 2, 7, 20):
            ranges = stream.part_ranges(n, parts)
            assert [lo for lo, _ in ranges[1:]] == [hi for _, hi in ranges[:-1]]
            assert (ranges[0][0], ranges[-1][1]) == (0, n)
            assert all(lo % stream.UNIT == 0 and (lo < hi or n == 0) for lo, hi in ranges)


def streams(history, today, size):
    """The files of a city as Arrow streams of batches of any size."""
    tables = [pa.concat_tables([pa.parquet.read_table(path) for path in paths]) for paths in [*history, today]]
    return [pa.RecordBatchReader.from_batches(t.schema, t.to_batches(max_chunksize=size)) for t in tables]


@pytest.mark.parametrize("size", [7, 64, 10**6])
@pytest.mark.parametrize("date", ["2026-01-21", "2026-04-02"])
def test_arrow_streams_give_the_baselines_of_the_files(tmp_path, small, monkeypatch, size, date):
    monkeypatch.setattr(batches, "_BLOCK", 50)
    day, _, history, today, _ = city(tmp_path, 120, date, text=size == 7)
    rng = np.random.default_rng(4)
    masks = {"event": rng.random((120, 96)) < 0.05, "excluded": rng.random((10, 96)) < 0.01}
    expected = fx.baseline_files(history, today, preset=RULE, **masks)
    days = [day.shift(d) for d in range(-10, 1)]
    *past, now = streams(history, today, size)
    table = baseline_batches(past, now, days=days, preset=RULE, **masks).read_all()
    assert table["pod"].combine_chunks().equals(expected.pods)
    assert (np.array(table["power_w"].to_pylist()) == expected.baseline_w).all()
    assert (np.asarray(table["status"]) == expected.status).all()


def test_streams_that_do_not_fit_are_refused(tmp_path):
    day, keys, history, today, _ = city(tmp_path, 40, n_days=2)
    days = [day.shift(d) for d in (-2, -1, 0)]

    def run(change, days=days):
        tables = [pa.parquet.read_table(paths[0]) for paths in (*history, today)]
        *past, now = change(tables)
        with pytest.raises(ValidationError) as refused:
            baseline_batches(past, now, EVENT, days=days, preset=RULE).read_all()
        return refused.value.codes

    assert run(lambda t: t, days[1:]) == ("FX-B067",)
    assert run(lambda t: t, days[::-1]) == ("FX-B067",)
    assert run(lambda t: [t[0], t[1].slice(1), t[2]]) == ("FX-B064",)
    assert run(lambda t: [t[0], t[1], t[2].slice(0, 39)]) == ("FX-B064",)
    assert run(lambda t: [table.take([1, 0, *range(2, 40)]) for table in t]) == ("FX-B063",)
    assert run(lambda t: [t[0].drop_columns(["power_w"]), *t[1:]]) == ("FX-A007",)
    assert run(lambda t: [t[0], pa.table({"pod": keys, "power_w": [[1] * 92] * 40}), t[2]]) == ("FX-B061",)
    abroad = [day.shift(-2), day.shift(-1), fx.MarketDay(day.date, tz="Europe/Lisbon")]
    assert run(lambda t: t, abroad) == ("FX-B062",)
    short = pa.table({"pod": keys, "power_w": pa.array([[1] * 92] * 40, pa.list_(pa.int32()))})
    assert run(lambda t: [t[0], short, t[2]]) == ("FX-B062",)


def test_masks_of_a_stream_have_a_row_for_each_pod_or_one_for_all(tmp_path, small, monkeypatch):
    monkeypatch.setattr(batches, "_BLOCK", 50)
    day, _, history, today, _ = city(tmp_path, 120)
    days = [day.shift(d) for d in range(-10, 1)]

    def run(event):
        *past, now = streams(history, today, 64)
        return baseline_batches(past, now, event, days=days, preset=RULE).read_all()

    assert run(EVENT[np.newaxis]).equals(run(EVENT))
    for n_rows in (119, 121):
        with pytest.raises(ValidationError) as refused:
            run(np.repeat(EVENT[np.newaxis], n_rows, axis=0))
        assert refused.value.codes == ("FX-A001",)
