"""Every number again: days, baselines of each family, energies, factors, splits, caps, availability, fees."""

import dataclasses

import numpy as np
import pytest

from flexcore import MarketDay, settle
from flexcore.errors import SettlementError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule, Calendar, EventRuns, baseline, eligible_days
from flexcore.metering.eligibility_rule import EligibilityRule
from flexcore.settlement import (
    TERMS,
    DayChoice,
    PodEvidence,
    SettledDay,
    SettlementTerms,
    open_run,
    settle_period,
    trace,
)
from flexcore.settlement.trace_baseline import baseline_again
from flexcore.settlement.trace_days import day_steps

N_PODS = 8
HARD = SettlementTerms(
    penalty_ueur_per_mwh=987_654_321, availability_ueur_per_mw_h=12_345_678, cap_ppm=1_100_000, tolerance_ppm=30_000,
    factor_ppm=((0, 0), (300_000, 0), (300_000, 200_000), (950_000, 1_000_000)), measured_per="quarter_hour",
    source="test",
)  # fmt: skip


def settled(seed, terms, split="delivered", date="2026-03-24"):
    """A day of two aggregates in which PODs deliver about what was ordered, some the wrong way, some not read."""
    rng = np.random.default_rng(seed)
    day = MarketDay(date)
    shape = (N_PODS, day.n_steps)
    orders = (rng.integers(1, 3000, shape) * (rng.random(shape) < 0.25)).astype(np.int32)
    orders[:, 40:60] = 0
    base = rng.integers(-2000, 4000, shape).astype(np.int32)
    direction = rng.integers(0, 2, N_PODS).astype(np.int8)
    sign = np.where(direction == 0, 1, -1)[:, np.newaxis]
    read = (base - sign * orders * rng.integers(-20, 140, shape) // 100).astype(np.int32)
    read[rng.random(shape) < 0.03] = MISSING_W
    guessed = rng.random(shape) < 0.2
    factor = np.full(N_PODS, 0)
    aggregate, operator = np.arange(N_PODS) % 2, np.arange(N_PODS) // 2 % 2
    price = rng.integers(-(10**7), 2 * 10**8, shape)
    available = rng.integers(0, 3000, shape) * (rng.random(shape) < 0.2)
    if split == "factors":
        # every line has all rows of its group: all are available all the time
        available = rng.integers(1, 3000, shape)
        for key in set(zip(aggregate.tolist(), operator.tolist(), direction.tolist(), strict=True)):
            rows = np.flatnonzero((aggregate == key[0]) & (operator == key[1]) & (direction == key[2]))
            part = rng.multinomial(1_000_000, np.full(len(rows), 1 / len(rows)))
            factor[rows] = part
    result = settle(
        orders, base, read, terms, direction=direction, aggregate=aggregate, operator=operator,
        price_ueur_per_mwh=price, pod=np.arange(N_PODS), available_w=available, unit_of_step=day.hour_of_step,
        missing="zero", split=split, split_factor_ppm=factor if split == "factors" else None,
        estimated=guessed,
    )  # fmt: skip
    assert result.split == split
    return SettledDay(
        day, open_run(date, result), orders, base, read, operator.astype(np.int8), direction,
        aggregate.astype(np.int64), price, np.array([f"POD-{i}" for i in range(N_PODS)]), day.hour_of_step,
        np.array(["AGG-0", "AGG-1"]), np.array(["BSP-A", "BSP-B"]), np.array([0, 1]),
        row_factor_ppm=factor if split == "factors" else None, row_available_w=available, row_estimated=guessed,
    )  # fmt: skip


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("split", ["delivered", "factors", "equal"])
@pytest.mark.parametrize("name", [*TERMS, "hard event", "hard period", "hard pod"])
def test_every_number_comes_out_again_for_all_terms_and_splits(name, split):
    terms = dataclasses.replace(TERMS[name], penalty_ueur_per_mwh=77_000_001) if name in TERMS else HARD
    if name in ("hard event", "hard period"):
        terms = dataclasses.replace(terms, factor_scope=name.removeprefix("hard "))
    if name == "hard pod":
        terms = dataclasses.replace(terms, netting="pod", factor_scope="event")
    for seed in range(2):
        day = settled(seed, terms, split)
        day.check()
        for pod in day.row_pod_id.tolist():
            found = trace(day, pod)
            assert [step for step in found.steps if not step.agrees] == []
            assert {step.name.split(" ")[0] for step in found.not_computed} == {"baseline"}  # no evidence here


def test_a_wrong_ratio_factor_or_count_is_found():
    day = settled(3, dataclasses.replace(HARD, factor_scope="event"))
    pod = str(day.row_pod_id[day.run.result.pod_lines.row[0]])
    for name in ("counted_wqh", "paid_wqh", "shortfall_wqh", "n_missing", "ratio_ppm", "factor_ppm", "delivered_wqh",
                 "ordered_wqh", "available_wqh", "event"):  # fmt: skip
        values = getattr(day.run.result.lines, name).copy()
        values[0] += 1
        lines = dataclasses.replace(day.run.result.lines, **{name: values})
        run = dataclasses.replace(day.run, result=dataclasses.replace(day.run.result, lines=lines))
        assert not trace(dataclasses.replace(day, run=run), pod).agrees, name
    # and so is the reading of another POD of the line
    line = int(day.run.result.pod_lines.line[0])
    others = day.run.result.pod_lines.row[day.run.result.pod_lines.line == line][1:]
    step = int(np.flatnonzero((day.unit_of_step == day.run.result.lines.unit[line]) & (day.orders_w[others[0]] > 0))[0])
    read = day.metered_w.copy()
    read[others[0], step] = 10**6
    assert not trace(dataclasses.replace(day, metered_w=read), pod).agrees


def test_availability_is_given_where_the_rows_do_not_hold_it():
    day = settled(5, HARD)
    found = trace(dataclasses.replace(day, row_available_w=None), "POD-0")
    assert found.agrees
    assert "available energy of the POD" in {step.name for step in found.not_computed}
    more = dataclasses.replace(day, row_available_w=day.row_available_w + 1)
    assert not trace(more, "POD-0").agrees


def test_another_split_is_found():
    day = settled(4, HARD, "factors")
    wrong = dataclasses.replace(day, row_factor_ppm=np.roll(day.row_factor_ppm, 1))
    assert not all(trace(wrong, pod).agrees for pod in day.row_pod_id.tolist())
    with pytest.raises(SettlementError, match="FX-S071"):
        dataclasses.replace(day, row_factor_ppm=None).check()


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("order", ["proportional", "earliest"])
def test_capped_penalties_come_out_again(order):
    dates = ("2026-03-24", "2026-03-25", "2026-03-26")
    days = [settled(seed, HARD, date=date) for seed, date in enumerate(dates)]
    period = settle_period(dates, [day.run.result for day in days], cap_ppm=30_000, order=order)
    assert (period.penalties.charged_ueur < period.penalties.penalty_ueur).any()
    charged = [
        dataclasses.replace(day, run=open_run(date, result), period=period)
        for day, date, result in zip(days, dates, period.results, strict=True)
    ]
    for day in charged:
        day.check()
        for pod in day.row_pod_id.tolist():
            found = trace(day, pod)
            assert [step for step in found.steps if not step.agrees] == []
            assert any(step.name == "charged to the POD" for step in found.steps)
    other = settle_period(dates, [day.run.result for day in days], cap_ppm=60_000, order=order)
    wrong = [dataclasses.replace(day, period=other) for day in charged]
    assert not all(trace(day, pod).agrees for day in wrong for pod in day.row_pod_id.tolist())
    with pytest.raises(SettlementError, match="FX-S071"):
        dataclasses.replace(charged[0], period=other).check()


def past(seed, n_days=40):
    """History of one POD, its events by both operators, and which days are eligible."""
    rng = np.random.default_rng(seed)
    day = MarketDay("2026-03-24")
    days = [day.shift(k - n_days) for k in range(n_days)]
    history = rng.integers(-500, 4000, (1, n_days, 96)).astype(np.int32)
    history[:, :, ::7] = rng.integers(0, 3, (1, n_days, 14))  # ties
    history[rng.random(history.shape) < 0.0005] = MISSING_W
    today = rng.integers(-500, 4000, (1, 96)).astype(np.int32)
    today[rng.random(today.shape) < 0.03] = MISSING_W
    event = np.zeros((1, 96), bool)
    event[:, 50:58] = True
    event[:, 70:73] = seed % 2 == 1
    gone = np.zeros((1, 96), bool)
    gone[:, 44:46] = True
    orders = [EventRuns.of_orders(days[k], event * 1000, pod=[0], operator=[k % 2]) for k in range(0, n_days, 3)]
    back = int(rng.integers(4, 25))
    rule = EligibilityRule(
        look_back_days=back, widened_days=back + int(rng.integers(1, 10)), gap_days=int(rng.integers(0, 3)),
        event_days=("whole", "needed")[seed % 2], source="test",
    )  # fmt: skip
    found = eligible_days(
        days, day, calendar=Calendar("IT", subdivision="RM"), rule=rule, events=EventRuns.join(*orders), needed=event
    )
    return days, history, today, event, gone, found


def evidence_of(seed, name, rule):
    days, history, today, event, gone, eligible = past(seed)
    excluded = eligible.excluded_of([0])
    score = np.random.default_rng(seed).integers(0, 50, (1, len(days)))
    found = baseline(
        history, today, event, eligible=eligible.choice, preset=rule, excluded=excluded, today_excluded=gone,
        day_score=score,
    )  # fmt: skip
    choice = DayChoice.of(
        eligible, 0, history[0], excluded=None if excluded is None else excluded[0], day_score=score[0]
    )
    dates = tuple(str(past.date) for past in days)
    behind = PodEvidence.of(
        found, 0, preset=name, dates=dates, history_w=history, today_w=today, event=event, excluded=gone, choice=choice
    )
    return behind, found, eligible


OWN = {
    "low use": BaselineRule(
        "high", n_candidates=6, n_selected=3, min_days=2, low_use_ppm=900_000, adjustment="additive"
    ),
    "median": BaselineRule("mid", n_candidates=7, n_selected=5, min_days=2, statistic="median", adjustment="additive"),
    "capped": BaselineRule("all", n_candidates=4, n_selected=4, min_days=2, adjustment="additive", cap_w=100),
}  # fmt: skip
OF_DAYS = {name: rule for name, rule in PRESETS.items() if rule.is_x_of_y or rule.method == "exponential"} | OWN


@pytest.mark.rule("BAS-01")
@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("name", OF_DAYS)
def test_the_choice_of_days_and_the_baseline_come_out_again(name):
    n_used, orders = 0, set()
    for seed in range(30):
        behind, found, eligible = evidence_of(seed, name, OF_DAYS[name])
        steps = day_steps(behind)
        assert [step.value for step in steps] == found.days_used[0].astype(int).tolist()
        assert [step.again for step in steps] == [step.value for step in steps]
        assert not any(step.given for step in steps)
        for step, order, why in zip(steps, behind.choice.order, eligible.causes(0), strict=True):
            assert all(text in step.how for text in why)
            assert step.how.startswith("never") == (order == 0)
        n_used += int(found.days_used.sum())
        orders |= {order for order, used in zip(behind.choice.order, found.days_used[0], strict=True) if used}
        again = baseline_again(behind)
        assert sorted(again) == np.flatnonzero(behind.event).tolist()
        for t, (value, _) in again.items():
            expected = int(found.baseline_w[0, t])
            assert value == (None if expected == MISSING_W else expected)
    assert n_used > 0
    assert {1, 2} <= orders
    if OF_DAYS[name].is_x_of_y:
        assert max(orders) >= 3  # borrowed days, too


@pytest.mark.rule("BAS-03")
@pytest.mark.parametrize("name", ["nominated", "uk_fixed_reference", "control_group", "control_group_ratio"])
def test_baselines_that_look_at_no_past_day_come_out_again(name):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, history, today, event, gone, _ = past(seed)
        declared = rng.integers(-500, 4000, (1, 96)).astype(np.int32)
        control = rng.integers(0, 4000, (12, 96)).astype(np.int32)
        control[rng.random(control.shape) < 0.05] = MISSING_W
        found = baseline(
            history, today, event, preset=name, today_excluded=gone, nominated_w=declared, reference_w=declared,
            reference_of=[0], units=[3], control_w=control,
        )  # fmt: skip
        behind = PodEvidence.of(
            found, 0, preset=name, dates=("",) * 40, history_w=history, today_w=today, event=event, excluded=gone
        )
        assert baseline_again(behind) == {}  # nothing is known of what it rests on
        behind = dataclasses.replace(
            behind, nominated_w=declared[0], profile_w=declared[0], control_w=control, units=3,
            control_ids=tuple(f"POD-{i}" for i in range(12)), submission="BSP-A, 2026-03-23 11:00",
        )  # fmt: skip
        again = baseline_again(behind)
        for t in np.flatnonzero(event[0]).tolist():
            expected = int(found.baseline_w[0, t])
            assert again[t][0] == (None if expected == MISSING_W else expected)
        assert day_steps(behind) == []
        if name == "nominated":
            assert again[50][1] == "declared, BSP-A, 2026-03-23 11:00"


@pytest.mark.rule("BAS-02")
def test_quarters_left_out_of_past_days_are_not_averaged_again():
    for seed in range(10):
        days, history, today, event, _, eligible = past(seed)
        gone = np.random.default_rng(seed).random(history.shape) < 0.1
        gone[:, :, 50:58] = gone[:, :, 70:73] = False
        found = baseline(history, today, event, eligible=eligible.choice == 1, preset=OWN["capped"], excluded=gone)
        behind = PodEvidence.of(
            found, 0, preset="capped", dates=tuple(str(d.date) for d in days), history_w=history, today_w=today,
            event=event, history_excluded=gone,
        )  # fmt: skip
        used = found.days_used[0]
        assert (behind.reference_w[gone[0, used]] == MISSING_W).all()
        assert not used.any() or gone[0, used].any()
        for t, (value, _) in baseline_again(behind).items():
            expected = int(found.baseline_w[0, t])
            assert value == (None if expected == MISSING_W else expected)
