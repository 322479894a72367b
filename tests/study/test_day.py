"""A whole day on a small network: every phase has work, rules hold, and nothing but the input decides the result."""

import dataclasses
import sys
from collections import Counter

import numpy as np
import pytest

from flexcore import MarketDay, cities, run_day
from flexcore.errors import MissingExtraError, OptionError
from flexcore.market.traffic_light import RED
from flexcore.metering.calendar import _holidays_of
from flexcore.study.cities.source import city_calendar
from flexcore.study.day import PHASES
from flexcore.study.day_run import DAY_TABLES
from flexcore.study.delivery import _eligible
from flexcore.study.planning import plan_day
from flexcore.study.registration import register_city
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def city():
    return cities.tiny()


@pytest.fixture(scope="module")
def run(city):
    return run_day(city)


def planned(city, day):
    registration = register_city(city, day)
    return plan_day(city, day, registration.register, registration.ready_w, n_threads=1, progress=lambda _: None)


@dataclasses.dataclass(frozen=True)
class PermutedDays:
    """The same days, with the rows of PODs in another order."""

    days: object
    order: np.ndarray

    def realised(self, day):
        found = self.days.realised(day)
        return dataclasses.replace(found, load_w=np.ascontiguousarray(found.load_w[self.order]))

    def available(self, day):
        found = self.days.available(day)
        return dataclasses.replace(found, up_w=found.up_w[self.order], down_w=found.down_w[self.order])

    def offerable(self, day):
        found = self.days.offerable(day)
        return dataclasses.replace(found, up_w=found.up_w[self.order], down_w=found.down_w[self.order])

    def nominated_w(self, day, pods):
        return self.days.nominated_w(day, self.order[np.asarray(pods)])

    def forecast(self, day, session):
        return self.days.forecast(day, session)

    def history_w(self, day, n_days, pods):
        rows = self.order if pods is None else self.order[np.asarray(pods)]
        sorted_rows, back = np.unique(rows, return_inverse=True)
        return self.days.history_w(day, n_days, sorted_rows)[back]

    def global_needs(self, day, session):
        return self.days.global_needs(day, session)

    def conduct(self, day):
        found = self.days.conduct(day)
        return dataclasses.replace(
            found, response_pm=found.response_pm[self.order], rebound_pm=found.rebound_pm[self.order]
        )


def permuted(city, order):
    columns = {name: getattr(city.pods, name)[order] for name in city.pods.__dataclass_fields__}
    lines = {
        name: dataclasses.replace(getattr(city, name), line_of_pod=getattr(city, name).line_of_pod[:, order])
        for name in ("local_lines", "global_lines")
    }
    return dataclasses.replace(
        city, pods=dataclasses.replace(city.pods, **columns), days=PermutedDays(city.days, order), **lines
    )


def test_tables_are_those_that_are_documented(run):
    assert {name: tuple(table.column_names) for name, table in run.tables.items()} == {
        name: columns for name, (_, columns) in DAY_TABLES.items()
    }


def test_running_twice_or_on_two_threads_changes_no_bit(city, run):
    assert run_day(city).digest == run.digest
    assert run_day(city, n_threads=2).digest == run.digest


def test_another_seed_is_another_day(run):
    assert run_day(cities.tiny(seed=1)).digest != run.digest


def test_permuting_pods_changes_nothing(city, run):
    order = np.random.default_rng(3).permutation(city.n_pods)
    again = run_day(permuted(city, order))
    for name, table in run.tables.items():
        # text, because a NaN does not equal itself
        assert str(again.tables[name].to_pydict()) == str(table.to_pydict()), name


@pytest.mark.rule("MUT-01")
@pytest.mark.rule("MSD-03")
@pytest.mark.parametrize("date", ["2026-03-24", "2026-03-29", "2026-10-25"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_pod_is_held_by_both_operators_and_red_is_never_selected(seed, date):
    city, day = cities.tiny(seed=seed), MarketDay(date)
    plan = planned(city, day)
    moved = plan.awards_w > 0
    assert not (moved[LOCAL].any(axis=0) & moved[GLOBAL].any(axis=0)).any()
    # an operator holds just what it moves
    for operator in (LOCAL, GLOBAL):
        np.testing.assert_array_equal(plan.slots.held(operator), moved[operator].any(axis=0))
    # whatever is awarded is available, and no POD is moved both ways in one quarter-hour
    assert ((plan.awards_w >= 0) & (plan.awards_w <= plan.power_w)).all()
    assert not (moved[:, UP] & moved[:, DOWN]).any()
    lights = [record.light for record in plan.records if record.light is not None]
    selections = [record for record in plan.records if record.selection is not None]
    assert len(lights) == len(selections) == 6
    assert plan.awards_w[GLOBAL].any()
    for light, record in zip(lights, selections, strict=True):
        taken = np.zeros((2, light.n_perimeters, day.n_steps), np.int64)
        np.add.at(taken, (record.book.direction, record.book.perimeter), record.accepted_w)
        assert (taken <= light.capability_of_steps()).all()
        red = np.repeat(light.colour == RED, 4, axis=-1)
        assert not taken[red].any()


def test_money_of_pods_sums_to_aggregates_and_bsps(run):
    pods, lines = run.tables["settlement_pods"], run.tables["settlement_lines"]
    keys = ("operator", "aggregate", "direction", "hour")

    def sums(table):
        total = Counter()
        for row in table.to_pylist():
            total[tuple(row[key] for key in keys)] += row["net_ueur"]
        return total

    assert lines.num_rows > 0
    assert sums(pods) == sums(lines)
    by_bsp = Counter()
    for row in lines.to_pylist():
        by_bsp[row["bsp"], row["operator"]] += row["net_ueur"]
    assert by_bsp == {(row["bsp"], row["operator"]): row["net_ueur"] for row in run.tables["statements"].to_pylist()}


def least_rests(city, plan):
    """Fewest free quarter-hours between two requests to each POD, a request being a run of one operator."""
    rests = np.full(city.n_pods, 999)
    state = plan.slots.state
    holder = np.where((state >= 1) & (state <= 4), (state.astype(int) + 1) // 2, 0)
    for pod, row in enumerate(holder):
        end = None
        for step, who in enumerate(row):
            if not who:
                continue
            if step == 0 or row[step - 1] != who:
                rests[pod] = min(rests[pod], 999 if end is None else step - end)
            end = step + 1
    return rests


@pytest.mark.rule("MUT-05")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_pod_is_ordered_in_its_rebound(seed):
    city = cities.tiny(seed=seed)
    day = MarketDay(city.default_day)
    resting = city.pods.recovery_s > 0
    awake = dataclasses.replace(city, pods=dataclasses.replace(city.pods, recovery_s=0 * city.pods.recovery_s))
    assert (least_rests(city, planned(city, day))[resting] >= 8).all()
    assert (least_rests(awake, planned(awake, day))[resting] < 8).any()


@pytest.mark.rule("MSD-01")
@pytest.mark.parametrize("seed", SEEDS)
def test_what_an_msd_accepts_and_leaves_open_is_its_need(seed):
    city = cities.tiny(seed=seed)
    day = MarketDay(city.default_day)
    for record in planned(city, day).records:
        if record.selection is None:
            continue
        need = np.abs(day.from_mtu(record.selection.wanted_w, record.selection.mtu)).sum(axis=0)
        np.testing.assert_array_equal(
            record.accepted_w.sum(axis=0)[record.session.plan] + record.open_w, need[record.session.plan]
        )
        offered = record.selected_from.quantity_w
        assert (offered <= record.book.quantity_w).all()
        assert (record.selection.accepted_w <= offered).all()


@pytest.mark.rule("FOR-01")
def test_forecasts_get_better_from_session_to_session(city):
    day = MarketDay(city.default_day)
    truth = city.realised(day).p_kw
    error = [np.abs(city.forecast(day, k).p_kw - truth).mean() for k in range(1, 7)]
    assert error == sorted(error, reverse=True)
    assert error[-1] > 0


def test_files_hold_the_run(run, tmp_path):
    from flexcore.study.report import read_run

    files = run.write(tmp_path)
    assert {path.stem for path in files} == {*DAY_TABLES, "run"}
    again = read_run(tmp_path)
    assert again.digest == run.digest


def test_progress_is_called_as_often_as_announced(city):
    said = []
    run_day(city, progress=said.append)
    assert len(said) == PHASES


def test_unknown_schemes_are_refused(city):
    with pytest.raises(OptionError) as refused:
        run_day(city, scheme="magic")
    assert refused.value.codes == ("FX-E002",)


def test_reference_days_know_holidays_and_reach_back_far_enough():
    orders = np.zeros((2, 2, 1, 96), np.int64)
    found = {}
    for date in ("2026-03-24", "2026-04-06", "2026-04-08"):
        eligible = _eligible(MarketDay(date), city_calendar(), orders, 8)
        found[date] = [str(past.date)[5:] for past, on in zip(eligible.days, eligible.choice[0], strict=True) if on]
    assert found["2026-03-24"] == [f"03-{number}" for number in (10, 11, 12, 13, 16, 17, 18, 19, 20, 23)]
    # Easter Monday: weekends and Easter, without Sunday 29 March of 92 quarter-hours
    easter_monday = ["03-01", "03-07", "03-08", "03-14", "03-15", "03-21", "03-22", "03-28", "04-04", "04-05"]
    assert found["2026-04-06"] == easter_monday
    assert found["2026-04-08"][-3:] == ["04-02", "04-03", "04-07"]


def test_a_missing_holidays_names_the_extra_before_any_work(city, monkeypatch):
    _holidays_of.cache_clear()
    monkeypatch.setitem(sys.modules, "holidays", None)
    said = []
    with pytest.raises(MissingExtraError, match=r"FX-E001 .*flexcore\[calendar\]"):
        run_day(city, progress=said.append)
    assert not said
