"""Every case of the benchmarks runs once on small sizes, and all engines agree; times are not looked at."""

import json
from importlib.util import find_spec
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import accuracy, baseline_accuracy, baseline_page
from benchmarks.__main__ import main
from benchmarks.targets import verdicts
from flexcore.metering import PRESETS


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    report = main(["--quick", "--json", str(path)])
    assert json.loads(path.read_text(encoding="utf-8")) == report
    return report


@pytest.fixture(scope="module")
def rows(report):
    return {row["name"]: row for row in report["rows"]}


def test_names_are_unique(report, rows):
    assert len(rows) == len(report["rows"])


def test_converged_engines_agree_with_the_reference(rows):
    converged = [row for row in rows.values() if row.get("model", "").startswith("AC") and row.get("v_error_pu")]
    assert {row["name"].split("/")[2] for row in converged} >= {"flexcore", "power-grid-model", "pandapower"}
    for row in converged:
        loose = 1e-7 if any(name in row["name"] for name in ("1e-06", "lightsim2grid", "float32")) else 2e-9
        assert row["v_error_pu"] < loose, row
        assert (row["p_error"] or 0.0) < 100 * loose, row


def test_linear_engines_are_near_the_reference(rows):
    linear = [row for row in rows.values() if row["name"].startswith("power_flow/") and "AC" not in row["model"]]
    for row in linear:
        assert (row["v_error_pu"] or 0.0) < 2e-3, row
        assert (row["p_error"] or 0.0) < 0.05, row


def test_meshed_engines_agree(rows):
    meshed = {name: row for name, row in rows.items() if name.startswith("meshed/")}
    assert {name.split("/")[1] for name in meshed} >= {"flexcore", "scipy", "numpy"}
    for row in meshed.values():
        assert row["p_error"] < 1e-9, row


def test_market_rows_are_complete_and_agree_with_highs(rows):
    market = {name: row for name, row in rows.items() if name.startswith("market/")}
    assert sum("times_argsort" in row for row in market.values()) == 7
    assert sum("exponent" in row for row in market.values()) == 3
    assert all(row["finished"] and row["cost_error"] < 1e-9 for row in market.values() if "finished" in row)


def test_a_city_day_from_files_has_one_digest(rows):
    assert rows["settle_files/memory and digests"]["digests"] == 1
    assert rows["settle_files/memory and digests"]["peak_mb"] > 0
    pairs = {name.split("/")[1] for name in rows if name.startswith("reading_files/lists")}
    assert len(pairs) == 6
    assert rows["reading_files/chosen"]["fastest"] in pairs


# pandas comes with the tests; the others only with the `bench` extra
TABLE_PEERS = ["pandas", *(peer for peer in ("duckdb", "polars") if find_spec(peer))]


def test_baselines_are_those_of_every_peer(rows):
    # that the results are equal is asserted where they are made
    engines = {name.split("/")[1] for name in rows if name.startswith("baseline/")}
    assert engines >= {"flexcore-out", "flexcore", "numpy-argpartition", "numpy-comparisons", "numpy-weights", "floor"}
    assert engines >= {f"{peer}-{layout}" for peer in TABLE_PEERS for layout in ("long", "wide")}


@pytest.mark.parametrize("case", ["mv_urban", "radial_city", "lv_forest"])
@pytest.mark.parametrize("method", ["linear-0", "ac-1e-08"])
def test_order_and_reused_outputs_change_no_error(rows, case, method):
    base = rows[f"power_flow/{case}/flexcore/{method}"]
    for way in ("out", "out-1-thread", "out-random-order", "random-order"):
        other = rows[f"power_flow/{case}/flexcore/{method}-{way}"]
        assert other["v_error_pu"] == pytest.approx(base["v_error_pu"], abs=1e-12)
        assert other["p_error"] == pytest.approx(base["p_error"], abs=1e-12)


def test_the_floor_is_the_last_row_of_each_case(report):
    names = [row["name"] for row in report["rows"] if row["name"].startswith(("case/", "power_flow/"))]
    ends = [*[k - 1 for k, name in enumerate(names) if name.startswith("case/")][1:], len(names) - 1]
    assert all(names[k].endswith("/floor") for k in ends)


def test_quick_figures_are_never_published(report, rows):
    assert report["quick"]
    assert not any(name.startswith("targets/") for name in rows)
    with pytest.raises(SystemExit):
        main(["--quick", "--page"])
    with pytest.raises(SystemExit):
        main(["--quick", "accuracy", "--table"])
    with pytest.raises(SystemExit):
        main(["--rounds", "3"])


@pytest.mark.parametrize("name", ["simbench LV rural", "case33bw", "cigre MV", "matpower 69", "matpower 118zh"])
def test_the_accuracy_table_of_the_documentation_is_what_is_measured(name):
    text = accuracy.PAGE.read_text(encoding="utf-8")
    (written,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    measured = accuracy.line(accuracy.measure(name, 200))
    for shown, now in zip(written.split("|")[2:-1], measured.split("|")[2:-1], strict=True):
        assert float(shown) == pytest.approx(float(now), rel=0.25)  # one digit is shown


def test_the_accuracy_table_is_written_between_its_marks(tmp_path, monkeypatch):
    before = accuracy.PAGE.read_text(encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(before, encoding="utf-8")
    monkeypatch.setattr(accuracy, "PAGE", page)
    row = {"name": "accuracy/none", "n_nodes": 2, "v_min_pu": 1.0}
    row |= {f"{kind}_{k}": 1e-3 for k in range(4) for kind in ("v_error_pu", "p_error")}
    accuracy.write_table([row])
    text = page.read_text(encoding="utf-8")
    assert "| none | 2 | 1.000 | 1e-03 |" in text
    assert "| case33bw |" not in text
    assert text.startswith(before[:1000])
    assert text.endswith(before[-1000:])
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        accuracy.write_table([row])


def test_every_promise_finds_its_figures(report):
    names = [row["name"] for row in verdicts(report["rows"])]
    assert len(names) == len(set(names))
    assert sum("random order" in name for name in names) == 6
    assert sum("growth" in name and "market" not in name for name in names) == 6
    assert sum("market" in name for name in names) >= 7
    assert sum("city day" in name or "day files" in name for name in names) == 4
    assert sum("baseline" in name for name in names) == 2 + 2 * len(TABLE_PEERS)


CLASS_PRESETS = ("rolling_10", "high_5_of_10", "meter_before", "nominated")


@pytest.mark.rule("ACC-01")
@pytest.mark.parametrize("name", ["household", "EV at home"])
def test_the_accuracy_of_baselines_in_the_reference_is_what_is_measured(name):
    text = baseline_accuracy.PAGE.read_text(encoding="utf-8")
    section = text.split(f"\n## {name[0].upper()}{name[1:]}\n")[1].split("\n## ")[0]
    compared = baseline_accuracy.compare(presets=CLASS_PRESETS, only=("household", "EV at home"))
    rows = [row for row in compared.to_arrow().to_pylist() if row["class"] == name]
    assert len(rows) == len(CLASS_PRESETS)
    for row in rows:
        assert baseline_page.class_line(row) in section.splitlines(), (
            "run `python -m benchmarks baseline_accuracy --table`"
        )


def test_the_reference_has_the_accuracy_of_every_preset_or_says_why_not():
    text = baseline_accuracy.PAGE.read_text(encoding="utf-8")
    missing = [name for name in PRESETS if f"\n| {name} |" not in text and f"Not tried: {name} (" not in text]
    assert not missing, "run `python -m benchmarks baseline_accuracy --table`"


def test_the_profiles_are_distinct_and_all_classes_have_some():
    names, kinds, power, twins = baseline_accuracy.profiles()
    assert len(names) == len(set(names)) == len({row.tobytes() for row in power}) == 115
    assert set(kinds) == set(baseline_accuracy.CLASSES.values()) | set(baseline_accuracy.PLANTS.values())
    assert twins == ["APLS_0.5202"]
    text = baseline_accuracy.PAGE.read_text(encoding="utf-8")
    assert "115 distinct profiles of 2016" in text
    assert "ODbL" in text


def test_no_heat_pump_is_judged_by_a_thermometer_of_its_own_set():
    names, kinds, power, _ = baseline_accuracy.profiles()
    by = baseline_accuracy.thermometer_of(names, kinds)
    sets = [name[-2:] for name in baseline_accuracy.THERMOMETERS]
    pumps = [k for k, kind in enumerate(kinds) if kind == "heat pump"]
    assert {(names[k][-2:], sets[by[k]]) for k in pumps} == {("_1", "_2"), ("_2", "_1")}
    assert not np.delete(by, pumps).any()
    daily = baseline_accuracy.temperatures()
    assert (daily.min(axis=1) == -12.0).all()
    energy = power[names.index(baseline_accuracy.THERMOMETERS[1])].sum(axis=1, dtype=np.int64)
    assert (np.argsort(-daily[1], kind="stable") == np.argsort(energy, kind="stable")).all()


def test_the_page_of_baselines_and_its_chart_are_written(tmp_path, monkeypatch):
    few = tuple(PRESETS)[:3]
    compared = baseline_accuracy.compare(1, few)
    monkeypatch.setattr(baseline_accuracy, "compare", lambda: compared)
    monkeypatch.setattr(baseline_accuracy, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(baseline_accuracy, "CHART", tmp_path / "page.svg")
    baseline_accuracy.write_table([])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    for name in few:  # five summary tables, one of each class, and that of the heating season
        assert text.count(f"\n| {name} |") == 18 + (name in baseline_page.WITHOUT_TEMPERATURE)
    assert ElementTree.parse(tmp_path / "page.svg").getroot().tag.endswith("svg")
