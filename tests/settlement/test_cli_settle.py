"""`flexcore settle` as a user meets it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import flexcore as fx
from flexcore.cli import app
from flexcore.errors import FileError, OptionError, SettlementError, ValidationError
from flexcore.metering import ELIGIBILITY, Calendar, ReferenceDays, rule_for
from flexcore.settlement import SettlementTerms
from flexcore.units import eur_per_mwh


@pytest.fixture
def city(tmp_path):
    """Three past days and today of 50 PODs, and orders of ten of them."""
    day, rng = fx.MarketDay("2026-01-21"), np.random.default_rng(0)
    paths = []
    for d in (3, 2, 1, 0):
        paths.append(tmp_path / f"{d}.parquet")
        fx.write_readings(paths[-1], day.shift(-d), np.arange(50), rng.integers(500, 6000, (50, 96)).astype(np.int32))
    columns = {"pod": np.arange(10), "operator": np.arange(10) % 2, "aggregate": np.zeros(10, int)}
    columns |= {"direction": np.zeros(10, int), "step": np.full(10, 70), "ordered_w": np.full(10, 900)}
    pq.write_table(pa.table(columns), tmp_path / "orders.parquet")
    return columns, paths


def call(*arguments):
    return CliRunner().invoke(app, ["settle", *map(str, arguments)])


def test_lines_and_totals_are_those_of_settle_files(tmp_path, city):
    columns, paths = city
    options = ("--price", "70", "--penalty", "110.5", "--preset", "pjm_4_of_5")
    # days in any order: their files say which day they are
    done = call(tmp_path / "orders.parquet", *paths[::-1], *options, "--out", tmp_path / "a" / "run", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    terms = SettlementTerms(eur_per_mwh(70), eur_per_mwh("110.5"), source=fx.settlement.TERMS["linear"].source)
    expected = fx.settle_files(columns, paths[:-1], paths[-1], terms, preset="pjm_4_of_5")
    assert shown["digest"] == expected.result.digest
    assert shown["totals"]["net_ueur"] == expected.result.totals.net_ueur.tolist()
    assert len(pq.read_table(shown["files"][0])) == shown["n_lines"] == len(expected.result.lines)
    again = call(tmp_path / "orders.parquet", *paths, *options, "--out", tmp_path / "a" / "run")
    assert again.exit_code == 0
    assert shown["digest"][:16] in again.stdout
    assert "local" in again.stdout


def test_a_correction_cites_the_run(tmp_path, city):
    _, paths = city
    first = ("--price", "70", "--preset", "pjm_4_of_5", "--out", tmp_path / "first")
    assert call(tmp_path / "orders.parquet", *paths, *first).exit_code == 0
    options = ("--price", "71", "--preset", "pjm_4_of_5", "--out", tmp_path / "second", "--cites", tmp_path / "first")
    assert call(tmp_path / "orders.parquet", *paths, *options, "--reason", "price").exit_code == 0
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("first", "second")]
    assert manifests[1]["cites"] == manifests[0]["digest"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--terms", "none"), OptionError),
        (("--price", "7,5"), SystemExit),
        ((), ValidationError),  # neither orders nor terms have a price
        (("--price", "70", "--cites", "nowhere"), FileError),
        (("--price", "70", "--reason", "meter re-issued"), SettlementError),
    ],
)
def test_refusals_leave_no_folder(tmp_path, city, arguments, error):
    _, paths = city
    done = call(tmp_path / "orders.parquet", *paths, "--preset", "pjm_4_of_5", *arguments, "--out", tmp_path / "run")
    assert done.exit_code != 0
    assert isinstance(done.exception, error)
    assert not (tmp_path / "run").exists()


def test_orders_that_are_no_parquet_file(tmp_path, city):
    (tmp_path / "orders.csv").write_text("pod,step\n")
    done = call(tmp_path / "orders.csv", *city[1])
    assert isinstance(done.exception, FileError)


def test_a_reason_without_a_run_names_the_option(tmp_path, city):
    done = call(tmp_path / "orders.parquet", *city[1], "--price", "70", "--reason", "x", "--out", tmp_path / "run")
    assert "--cites" in str(done.exception)


@pytest.mark.parametrize("name", ["holiday", "notes.txt", "notes.txt/run"])
def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path, city, monkeypatch, name):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.png").touch()
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr("flexcore.settlement.stream.settle_files", None)
    done = call(tmp_path / "orders.parquet", *city[1], "--price", "70", "--out", tmp_path / name)
    assert done.exit_code == 2
    assert "--out" in done.output
    assert [path.name for path in (tmp_path / "holiday").iterdir()] == ["photo.png"]


def test_a_calendar_tells_reference_days_apart(tmp_path):
    """Monday 26 January 2026 has the days before it of the same type only."""
    day, rng, paths = fx.MarketDay("2026-01-26"), np.random.default_rng(0), []
    for d in range(9, -1, -1):
        paths.append(tmp_path / f"{d}.parquet")
        fx.write_readings(paths[-1], day.shift(-d), np.arange(20), rng.integers(500, 6000, (20, 96)).astype(np.int32))
    orders = {"pod": np.arange(5), "operator": 0, "aggregate": 0, "direction": 0, "step": 70, "ordered_w": 900}
    columns = {name: np.broadcast_to(values, 5) for name, values in orders.items()}
    pq.write_table(pa.table(columns), tmp_path / "orders.parquet")
    options = ("--price", "70", "--preset", "pjm_4_of_5", "--json", "--missing-as-zero")
    shown = {}
    for place in (None, "IT", "IT-RM"):
        more = () if place is None else ("--calendar", place)
        done = call(tmp_path / "orders.parquet", *paths, *options, *more, "--out", tmp_path / str(place))
        assert done.exit_code == 0, done.output
        shown[place] = json.loads(done.stdout)["digest"]
    calendar = Calendar("IT", subdivision="RM")
    how = {"preset": rule_for("pjm_4_of_5", "working"), "eligible": ReferenceDays(calendar, ELIGIBILITY["pjm_4_of_5"])}
    terms = replace(fx.settlement.TERMS["linear"], price_ueur_per_mwh=eur_per_mwh(70))
    expected = fx.settle_files(columns, paths[:-1], paths[-1], terms, missing="zero", **how)
    assert shown["IT-RM"] == shown["IT"] == expected.digest != shown[None]
    refused = call(tmp_path / "orders.parquet", *paths, *options, "--calendar", "XX", "--out", tmp_path / "run")
    assert isinstance(refused.exception, ValidationError)
    # without a rule of its own its days would be of any type, as if no calendar had been given
    options = ("--price", "70", "--preset", "pjm_2_of_3_weekend", "--calendar", "IT", "--missing-as-zero")
    refused = call(tmp_path / "orders.parquet", *paths, *options, "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "preset of days off" in refused.output
    assert not (tmp_path / "run").exists()


def test_a_folder_of_files_is_no_computed_day(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    done = CliRunner().invoke(app, ["statement", str(tmp_path)])
    assert done.exit_code == 2
    assert "from_files" in done.stderr
