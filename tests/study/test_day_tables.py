"""What the tables of a day say is what happened in it."""

import dataclasses

import numpy as np
import pytest

from flexcore import MarketDay, cities, run_day
from flexcore.errors import OptionError
from flexcore.grid.power_flow import power_flow
from flexcore.study.cities.source import city_calendar
from flexcore.study.day_columns import COLUMNS, column_spec
from flexcore.study.delivery import _baselines, _eligible
from flexcore.study.planning import plan_day
from flexcore.study.registration import register_city
from flexcore.units import DOWN, UP


@pytest.fixture(scope="module")
def city():
    return cities.tiny()


@pytest.fixture(scope="module")
def day(city):
    return MarketDay(city.default_day)


@pytest.fixture(scope="module")
def run(city):
    return run_day(city)


@pytest.fixture(scope="module")
def plan(city, day):
    registration = register_city(city, day)
    return plan_day(city, day, registration.register, registration.ready_w, n_threads=1, progress=lambda _: None)


def test_loading_is_shown_without_as_awarded_and_as_metered(city, day, run, plan):
    realised = city.realised(day)
    change_kw = {"before": 0.0 * realised.p_kw, "awarded": 0.0 * realised.p_kw, "metered": 0.0 * realised.p_kw}
    awarded_w = plan.awards_w.sum(axis=0)
    np.add.at(change_kw["awarded"], city.pods.node, (awarded_w[DOWN] - awarded_w[UP]) / 1000.0)
    pods = run.tables["pod_day"]
    position = {code: place for place, code in enumerate(city.pods.code.tolist())}
    for code, step, metered in zip(
        pods["pod_code"].to_pylist(), pods["step"].to_pylist(), pods["metered_w"].to_pylist(), strict=True
    ):
        pod = position[code]
        change_kw["metered"][city.pods.node[pod], step] += (metered - realised.load_w[pod, step]) / 1000.0
    for when, change in change_kw.items():
        flow = power_flow(city.grid, realised.p_kw + change, realised.q_kvar, method="ac")
        shown = run.tables["branches"][f"loading_{when}"].to_numpy()
        np.testing.assert_allclose(shown, flow.loading.max(axis=1), rtol=1e-9)
        for side, least in (("low", flow.v_pu.min(axis=1)), ("high", flow.v_pu.max(axis=1))):
            np.testing.assert_allclose(run.tables["nodes"][f"v_{side}_{when}_pu"].to_numpy(), least, rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 3])
def test_no_pod_injects_that_cannot(seed):
    city = cities.tiny(seed=seed)
    pods = run_day(city).tables["pod_day"]
    feeds = dict(zip(city.pods.code.tolist(), (city.pods.contracted_out_w > 0).tolist(), strict=True))
    mute = np.array([not feeds[code] for code in pods["pod_code"].to_pylist()])
    assert mute.any()
    assert pods["metered_w"].to_numpy()[mute].min() >= 0


class Blind:
    """The days of a city whose truth nobody may ask for."""

    def __init__(self, days):
        self.days = days

    def __getattr__(self, name):
        assert name not in ("realised", "available"), f"{name} is the truth"
        return getattr(self.days, name)


@pytest.mark.rule("FOR-01")
def test_sessions_and_baselines_never_see_the_truth(city, day, plan):
    blind = dataclasses.replace(city, days=Blind(city.days))
    registration = register_city(blind, day)
    again = plan_day(blind, day, registration.register, registration.ready_w, n_threads=1, progress=lambda _: None)
    np.testing.assert_array_equal(again.awards_w, plan.awards_w)
    pods = np.arange(5, dtype=np.int32)
    readings = np.zeros((5, day.n_steps), np.int32)
    eligible = _eligible(day, city_calendar(), plan.awards_w[:, :, pods], 8)
    baseline_w, *_ = _baselines(blind, day, eligible, pods, readings, readings > 0, readings > 0, 1)
    assert baseline_w.any()


def test_the_error_of_baselines_stands_beside_what_they_see(city, day, run, plan):
    pods, settled = run.tables["pod_day"], run.tables["settlement_lines"]
    rows = run.tables["baselines"].to_pylist()
    for way, sign in (("up", 1), ("down", -1)):
        mine = [row for row in rows if row["direction"] == way]
        ordered = pods[f"ordered_{way}_w"].to_numpy()
        assert sum(row["ordered_wqh"] for row in mine) == ordered.sum()
        line = np.array(settled["direction"].to_pylist()) == way
        assert sum(row["delivered_wqh"] for row in mine) == settled["delivered_wqh"].to_numpy()[line].sum()
        position = {code: place for place, code in enumerate(city.pods.code.tolist())}
        pod = np.array([position[code] for code in pods["pod_code"].to_pylist()])
        load = city.realised(day).load_w[pod, pods["step"].to_numpy()]
        moved = sign * (load - pods["metered_w"].to_numpy())
        assert sum(row["moved_wqh"] for row in mine) == moved[ordered > 0].sum()


def test_sessions_count_slots_cut_and_withdrawn_lines(run, plan):
    for row, record in zip(run.tables["sessions"].to_pylist(), plan.records, strict=True):
        assert row["n_slots_held"] == record.n_slots_held
        for name, code in (("cut_lines", "FX-O102"), ("withdrawn_lines", "FX-O103")):
            assert row[name] == sum(finding.count for finding in record.findings if finding.code == code)
        ahead = record.accepted_w[:, record.session.plan]
        assert (row["n_slots_held"] > 0) == bool(ahead.any())


@pytest.mark.rule("NEED-01")
def test_an_unserved_need_is_no_larger_than_the_need(run):
    rows = [row for row in run.tables["sessions"].to_pylist() if row["operator"] == "local"]
    assert any(row["need_mwh"] > 0 for row in rows)
    for row in rows:
        for part in ("", "firm_"):
            assert 0 <= row[f"{part}unserved_mwh"] <= row[f"{part}need_mwh"] + 1e-9
            assert row[f"{part}unserved_mwh"] >= row[f"{part}need_mwh"] - row[f"{part}accepted_mwh"] - 1e-9


@pytest.mark.rule("CHK-01")
def test_violations_count_once_in_the_session_that_makes_them_firm(run):
    check = run.tables["grid_check"].to_pylist()
    firm = [(row["element"], row["element_id"], row["step"]) for row in check if row["firm"]]
    assert len(firm) == len(set(firm))
    for row in run.tables["sessions"].to_pylist():
        mine = [r for r in check if r["session"] == row["session"] and row["operator"] == "global"]
        inside = [r for r in mine if row["firm_start"] <= r["step"] < row["firm_stop"]]
        assert [r for r in mine if r["firm"]] == inside
        assert row["firm_violations"] == len(inside)


def test_every_column_has_the_type_that_is_documented(run):
    used = set()
    for name, table in run.tables.items():
        for field in table.schema:
            assert str(field.type) == column_spec(name, field.name)[0], (name, field.name)
            used.add(f"{name}.{field.name}" if f"{name}.{field.name}" in COLUMNS else field.name)
    assert used == set(COLUMNS)


def test_an_operator_is_local_or_global_in_every_table(run):
    for name, table in run.tables.items():
        if "operator" in table.column_names:
            assert set(table["operator"].to_pylist()) <= {"local", "global", ""}, name
    rows = run.tables["sessions"].to_pylist()
    assert [row["name"] for row in rows[:2]] == ["LFP_1", "MSD_1"]


def test_a_day_may_be_given_as_a_date(city, run):
    assert run_day(city, city.default_day).digest == run.digest


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(OptionError) as refused:
        cities.tiny(seed=seed)
    assert refused.value.codes == ("FX-C011",)
