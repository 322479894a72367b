"""Readings as meter data come: kW, data frames, PODs that lack a day, and refusals that say what to do next."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest

import flexcore as fx
from flexcore.errors import FileError, OptionError, SettlementError, TimeSeriesError, ValidationError
from flexcore.metering import MISSING_W, BaselineRule, Calendar, compare_methods, placebo_events
from flexcore.metering.reading_files import open_day
from flexcore.metering.reading_rows import RowReader

DAY = fx.MarketDay("2026-10-25")


def read(path):
    files = open_day(path)
    out = np.empty((files.n_pods, files.day.n_steps), np.int32)
    with RowReader(files) as reader:
        reader.read(0, files.n_pods, out)
    return files.pods().to_pylist(), out


def frame(pods=("B", "D"), **columns):
    n = len(pods)
    time = pa.array(np.tile(DAY.qh * 900, n)).cast(pa.timestamp("s", "Europe/Rome"))
    return pa.table({"pod": np.repeat(pods, DAY.n_steps), "time": time} | columns)


def test_kw_is_rounded_as_loads_are_and_null_is_no_reading(tmp_path):
    kw = np.linspace(-3.0004, 2.0, 2 * DAY.n_steps)
    kw[:3] = [0.0005, 0.0015, -0.0026]  # halves to even
    table = frame(power_kw=pa.array([*kw[:-1].tolist(), None]), quality=np.zeros(200, int))
    assert fx.import_readings(tmp_path / "day.parquet", table, DAY, gaps="flag") == 2
    _, power = read(tmp_path / "day.parquet")
    assert power[0, :3].tolist() == [0, 2, -3]
    assert (power.ravel()[:-1] == fx.units.kw_to_w(kw[:-1])).all()
    assert power[1, -1] == MISSING_W


@pytest.mark.parametrize("batch", [90, 1000])
def test_text_keys_may_be_views_as_polars_gives_them(tmp_path, batch):
    power = np.arange(200)
    table = frame(power_w=power)
    table = table.set_column(0, "pod", table["pod"].cast(pa.string_view()))
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=batch))
    assert fx.import_readings(tmp_path / "day.parquet", stream, DAY, pods=pa.array(["D", "B"], pa.string_view())) == 2
    pods, read_w = read(tmp_path / "day.parquet")
    assert pods == ["B", "D"]
    assert (read_w.ravel() == power).all()


def test_a_mapping_is_a_table(tmp_path):
    data = {"pod": np.repeat([4, 9], 100), "time": np.tile(DAY.qh * 900, 2), "power_w": np.arange(200)}
    assert fx.import_readings(tmp_path / "day.parquet", data, DAY) == 2


@pytest.mark.rule("MET-01")
@pytest.mark.parametrize("batch", [1, 70, 1000])
def test_a_pod_without_rows_is_there_without_readings(tmp_path, batch):
    table = frame(power_w=np.arange(200))
    wanted = ["E", "D", "A", "B", "C"]
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=batch))
    assert fx.import_readings(tmp_path / "day.parquet", stream, DAY, gaps="flag", pods=wanted) == 5
    pods, power = read(tmp_path / "day.parquet")
    assert pods == ["A", "B", "C", "D", "E"]
    assert (power[[0, 2, 4]] == MISSING_W).all()
    assert (power[[1, 3]].ravel() == np.arange(200)).all()
    for more, code in (
        ({"pods": wanted}, "FX-B002"),
        ({"pods": ["B", "D", "E"]}, "FX-B002"),
        ({"pods": ["B"], "gaps": "flag"}, "FX-B003"),
        ({"pods": [1, 2], "gaps": "flag"}, "FX-B003"),
        ({"pods": ["B", "D", "D"], "gaps": "flag"}, "FX-A009"),
        ({"pods": ["B", "D", "E", "E"], "gaps": "flag"}, "FX-A009"),
    ):
        with pytest.raises(TimeSeriesError) as refused:
            fx.import_readings(tmp_path / "other.parquet", table, DAY, **more)
        assert refused.value.codes == (code,)
    assert not (tmp_path / "other.parquet").exists()


def test_a_day_on_which_no_meter_was_read_holds_its_pods(tmp_path):
    nothing = frame(power_w=np.arange(200)).slice(0, 0)
    assert fx.import_readings(tmp_path / "day.parquet", nothing, DAY, gaps="flag", pods=["B", "A"]) == 2
    pods, power = read(tmp_path / "day.parquet")
    assert pods == ["A", "B"]
    assert (power == MISSING_W).all()


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (lambda: frame(kW=np.zeros(200)), ValidationError, "rename yours to pod, time and power_w or power_kw"),
        (lambda: frame(power_w=np.zeros(200), power_kw=np.zeros(200)), ValidationError, "drop one of them"),
        (lambda: frame(power_w=np.full(200, 0.5)), ValidationError, "kw_to_w converts kW"),
        (lambda: frame(power_kw=np.full(200, np.nan)), ValidationError, "FX-A003"),
        (lambda: frame(power_w=np.zeros(200)).set_column(1, "time", [["2026-10-25T00:00:00+02:00"] * 200]),
         TimeSeriesError, "times are text"),
        (lambda: frame(power_w=np.zeros(200)).set_column(1, "time", [np.full(200, "2026-10-25", "M8[s]")]),
         TimeSeriesError, "tz_localize"),
        (lambda: pathlib.Path(__file__), FileError, "open_csv"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(tmp_path, source, error, says):
    with pytest.raises(error) as refused:
        fx.import_readings(tmp_path / "day.parquet", source(), DAY)
    assert says in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_order_without_reading_or_baseline_names_the_pod_and_what_it_lacks(tmp_path):
    days = [DAY.shift(-1), DAY]
    for day in days:
        fx.write_readings(tmp_path / f"{day.date}.parquet", day, ["A", "B"], np.zeros((2, day.n_steps), np.int32))
    orders = {"pod": ["B"], "operator": 0, "aggregate": 0, "direction": 0, "step": [70], "ordered_w": [5]}
    files = [tmp_path / f"{day.date}.parquet" for day in days]
    terms = _terms()
    with pytest.raises(SettlementError) as refused:
        fx.settle_files(orders, files[:1], files[1], terms)
    assert "without reading (0) or baseline (1)" in str(refused.value)
    assert refused.value.findings[0].ids == ("B",)


def test_text_where_a_table_wants_a_number_is_told_what_the_numbers_mean(tmp_path):
    fx.write_readings(tmp_path / "day.parquet", DAY, ["B"], np.zeros((1, 100), np.int32))
    orders = {"pod": ["B"], "operator": 0, "aggregate": 0, "direction": ["up"], "step": [70], "ordered_w": [5]}
    with pytest.raises(SettlementError, match="0 up, 1 down"):
        fx.settle_files(orders, [], tmp_path / "day.parquet", _terms(), preset="meter_before")


def test_a_name_that_is_nearly_right_is_guessed():
    with pytest.raises(OptionError, match="did you mean high_5_of_10"):
        fx.baseline(np.zeros((1, 5, 96), np.int32), preset="high5of10")
    with pytest.raises(OptionError, match="Hint: use one of"):
        fx.baseline(np.zeros((1, 5, 96), np.int32), preset="zzz")


@pytest.mark.rule("ACC-01")
def test_methods_of_ones_own_and_day_types_of_the_calendar():
    calendar = Calendar("IT")
    first = fx.MarketDay("2026-03-01")
    types = [calendar.day_type(first.shift(back)) for back in range(40)]
    events = placebo_events(types, n_per_stratum=3, seed=1)
    numbers = placebo_events([int(kind == "working") for kind in types], n_per_stratum=3, seed=1)
    assert (events.day == numbers.day).all()
    power = np.random.default_rng(1).integers(100, 200, (4, 40, 96)).astype(np.int32)
    own = BaselineRule("all", n_candidates=4, n_selected=4, min_days=2)
    assert compare_methods(power, events, presets={"mine": own, "theirs": "edge"}).methods == ("mine", "theirs")
    with pytest.raises(OptionError, match="as a mapping"):
        compare_methods(power, events, presets=[own])


def _terms():
    from flexcore.settlement import SettlementTerms

    return SettlementTerms(price_ueur_per_mwh=1)
