"""Statements: every number recomputed from readings with plain Python integers and the references, to the cent."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from flexcore import MarketDay, settle
from flexcore.errors import SettlementError
from flexcore.metering import MISSING_W, PRESETS, baseline
from flexcore.settlement import (
    TERMS,
    PodEvidence,
    SettledDay,
    SettlementTerms,
    bsp_statement,
    cap_penalties,
    correct,
    finalise,
    open_run,
    pod_statement,
    statements,
    trace,
)
from flexcore.settlement.statement_tables import amount_names
from flexcore.units import GLOBAL, LOCAL
from tests.reference import metering_baseline, settlement_remuneration

N_DAYS, N_PODS, N_AGGREGATES = 12, 9, 4
CHOICES = ("high_5_of_10", "caiso_10_in_10", "mid_8_of_10", "pjm_3_plus_2", "double_reference", "meter_before")
SOME = (
    SettlementTerms(penalty_ueur_per_mwh=40_000_000, tolerance_ppm=50_000, source="test"),
    SettlementTerms(
        penalty_ueur_per_mwh=11_000_001, cap_ppm=1_200_000,
        factor_ppm=((0, 0), (600_000, 333_333), (950_000, 1_000_000)),
        availability_ueur_per_mw_h=3_333_333, netting="pod", source="test",
    ),
    dataclasses.replace(TERMS["uk_dso_taper"], penalty_ueur_per_mwh=7),
)  # fmt: skip


def readings(seed, date="2026-03-24"):
    """PODs with a history, two operators that never order one POD at once, and what was read of the day."""
    rng = np.random.default_rng(seed)
    day = MarketDay(date)
    n = day.n_steps
    history = rng.integers(-500, 4000, (N_PODS, N_DAYS, n)).astype(np.int32)
    history[rng.random(history.shape) < 0.002] = MISSING_W
    orders = np.zeros((2, 2, N_PODS, n), np.int32)  # operator, direction, POD
    for pod in range(N_PODS):
        for start in (30, 60):
            length = int(rng.integers(1, 9))
            orders[rng.integers(2), rng.integers(2), pod, start : start + length] = rng.integers(1, 3000, length)
    today = rng.integers(-500, 4000, (N_PODS, n)).astype(np.int32)
    today[rng.random(today.shape) < 0.03] = MISSING_W
    return day, history, orders, today


def settled(seed, date="2026-03-24", today=None, reorder=None):
    """Baselines, settlement and evidence of a random day."""
    rng = np.random.default_rng(seed + 1_000_000)
    day, history, orders, read = readings(seed, date)
    today = read if today is None else today
    event = (orders > 0).any(axis=(0, 1))
    excluded = np.zeros_like(event)
    excluded[:, 40:44] = True
    dates = tuple(str(day.shift(i - N_DAYS).date) for i in range(N_DAYS))
    base, evidence = np.zeros_like(today), {}
    for pod in range(N_PODS):
        preset = CHOICES[pod % len(CHOICES)]
        found = baseline(history[[pod]], today[[pod]], event[[pod]], preset=preset, today_excluded=excluded[[pod]])
        if PRESETS[preset].method == "meter_before_after":
            found = dataclasses.replace(found, days_used=np.zeros((1, N_DAYS), bool))
        base[pod] = found.baseline_w[0]
        evidence[f"POD-{pod}"] = PodEvidence.of(
            found, 0, preset=preset, dates=dates, history_w=history[[pod]], today_w=today[[pod]], event=event[[pod]],
            excluded=excluded[[pod]], reading_version="3",
        )  # fmt: skip
    operator, direction, pod = np.nonzero((orders > 0).any(axis=3))
    order = np.arange(len(pod)) if reorder is None else np.random.default_rng(reorder).permutation(len(pod))
    aggregate = (pod % 2 + 2 * operator)[order]
    operator, direction, pod = operator[order], direction[order], pod[order]
    price = rng.integers(-10_000_000, 200_000_000, (2, 2, N_PODS, 1))[operator, direction, pod]
    rows = orders[operator, direction, pod]
    terms = SOME[seed % len(SOME)]
    available = np.where(rows > 0, rows, 0) if terms.availability_ueur_per_mw_h else None
    result = settle(
        rows, base[pod], today[pod], terms, direction=direction, aggregate=aggregate, operator=operator,
        price_ueur_per_mwh=price, pod=pod, available_w=available, unit_of_step=day.hour_of_step, missing="zero",
    )  # fmt: skip
    return SettledDay(
        day, open_run(date, result), rows, base[pod], today[pod], operator.astype(np.int8), direction.astype(np.int8),
        aggregate.astype(np.int64), price.astype(np.int64), np.array([f"POD-{i}" for i in pod]), day.hour_of_step,
        np.array([f"AGG-{i}" for i in range(N_AGGREGATES)]), np.array(["BSP-A", "BSP-B"]),
        np.array([0, 1, 0, 1]), evidence, row_available_w=available,
    )  # fmt: skip


def known(row):
    return [None if value == MISSING_W else int(value) for value in row]


def independent(day, history, today):
    """Lines and shares from the readings alone, by the loop-and-dictionary references."""
    orders = {pod: np.zeros(day.day.n_steps, bool) for pod in set(day.row_pod_id.tolist())}
    for row, pod in enumerate(day.row_pod_id.tolist()):
        orders[pod] |= day.orders_w[row] > 0
    base = {}
    for pod, event in orders.items():
        i = int(pod.removeprefix("POD-"))
        rule = day.evidence[pod].rule
        gone = [40 <= t < 44 for t in range(len(event))]
        if rule.method == "meter_before_after":
            base[pod], _ = metering_baseline.around_event(rule, known(today[i]), event.tolist(), gone)
        else:
            past = [known(row) for row in history[i]]
            base[pod], _, _ = metering_baseline.x_of_y(
                rule, past, known(today[i]), event.tolist(), [True] * N_DAYS, gone
            )
    terms = day.run.result.terms
    rows = [
        {
            "operator": int(day.row_operator[i]), "aggregate": int(day.row_aggregate[i]),
            "direction": int(day.row_direction[i]), "pod": int(pod.removeprefix("POD-")),
            "orders": day.orders_w[i].tolist(), "baseline": base[pod], "metered": known(day.metered_w[i]),
            "available": (day.orders_w[i] if terms.availability_ueur_per_mw_h else 0 * day.orders_w[i]).tolist(),
            "price": [int(day.row_price[i, 0])] * day.day.n_steps,
        }
        for i, pod in enumerate(day.row_pod_id.tolist())
    ]  # fmt: skip
    return settlement_remuneration.settle(rows, terms, day.unit_of_step.tolist())


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("date", ["2026-03-24", "2026-03-29", "2026-10-25"])
def test_statements_equal_a_recomputation_from_readings_to_the_cent(date):
    for seed in range(7):
        day = settled(seed, date)
        _, history, _, today = readings(seed, date)
        lines, pods = independent(day, history, today)
        for place, bsp in enumerate(("BSP-A", "BSP-B")):
            found = bsp_statement(day, bsp)
            mine = {key: line for key, line in lines.items() if key[1] % 2 == place}
            for row in found.accounts.to_pylist():
                side = LOCAL if row["operator"] == "local" else GLOBAL
                net = sum(line["net"] for key, line in mine.items() if key[0] == side)
                assert row["net_ueur"] == net
                assert row["net_cents"] == round(Fraction(net, 10_000))
                assert row["pay_ueur"] == sum(line["pay"] for key, line in mine.items() if key[0] == side)
                assert row["penalty_ueur"] == sum(line["penalty"] for key, line in mine.items() if key[0] == side)
            assert found.lines.num_rows == len(mine)
        for pod in sorted(set(day.row_pod_id.tolist())):
            one = pod_statement(day, pod)
            number = int(pod.removeprefix("POD-"))
            expected = sorted(
                (key[3], entry["ordered"], entry["delivered"], entry["pay"], entry["penalty"], entry["net"])
                for (key, key_pod), entry in pods.items()
                if key_pod == number
            )
            names = ("unit", "ordered_wqh", "delivered_wqh", "pay_ueur", "penalty_ueur", "net_ueur")
            assert sorted(tuple(row[name] for name in names) for row in one.lines.to_pylist()) == expected
            assert one.trace.agrees
            assert one.trace.not_computed == ()


@pytest.mark.rule("SET-03")
def test_a_number_that_was_changed_is_found_by_the_trace():
    day = settled(0)
    pod = str(day.row_pod_id[day.run.result.pod_lines.row[0]])
    for table, name in (
        ("lines", "pay_ueur"), ("lines", "paid_wqh"), ("lines", "price_ueur_per_mwh"), ("lines", "penalty_ueur"),
        ("lines", "factor_ppm"), ("lines", "shortfall_wqh"), ("pod_lines", "delivered_wqh"), ("pod_lines", "net_ueur"),
        ("pod_lines", "pay_ueur"), ("pod_lines", "penalty_ueur"),
    ):  # fmt: skip
        columns = getattr(day.run.result, table)
        values = getattr(columns, name).copy()
        values[0] += 1
        result = dataclasses.replace(day.run.result, **{table: dataclasses.replace(columns, **{name: values})})
        wrong = dataclasses.replace(day, run=dataclasses.replace(day.run, result=result))
        assert not trace(wrong, pod).agrees, name
        assert trace(day, pod).agrees
    # so is a baseline, and a reading of a reference day
    pod = next(p for p, e in day.evidence.items() if e.dates)
    base = day.baseline_w.copy()
    row = int(np.flatnonzero(day.row_pod_id == pod)[0])
    base[row, np.flatnonzero(day.orders_w[row])[0]] += 1
    assert not trace(dataclasses.replace(day, baseline_w=base), pod).agrees
    past = day.evidence[pod].reference_w.copy()
    past[0, np.flatnonzero(day.orders_w[row])[0]] += 1000
    other = {**day.evidence, pod: dataclasses.replace(day.evidence[pod], reference_w=past)}
    found = trace(dataclasses.replace(day, evidence=other), pod)
    assert {step.rule for step in found.steps if not step.agrees} >= {"BAS-01"}


def test_the_chain_can_be_read_and_names_its_rules():
    day = settled(1)
    pod = str(day.row_pod_id[0])
    one = pod_statement(day, pod)
    assert {step.rule for step in one.trace.steps} == {"MET-01", "BAS-01", "SET-01", "SET-03"}
    names = [step.name for step in one.trace.steps]
    first = names[: names.index("net of the BSP with this operator") + 1]
    order = ["delivered energy of the POD", "delivered energy of the line", "paid energy", "price", "pay factor"]
    order += ["pay of the line", "pay of the POD", "net of the POD", "net of the BSP with this operator"]
    assert [name for name in first if name in order] == order
    assert any(step.how == "version 3" for step in one.trace.steps)
    table = one.trace.to_arrow()
    assert table.num_rows == len(one.trace.steps)
    line = int(day.run.result.pod_lines.line[np.flatnonzero(day.row_pod_id[day.run.result.pod_lines.row] == pod)[0]])
    assert 0 < len(trace(day, pod, line=line).steps) < len(one.trace.steps)
    assert trace(day, "nobody").steps == ()


@pytest.mark.parametrize(
    ("how", "split"),
    [
        ({"measured_per": "quarter_hour"}, "delivered"),
        ({"factor_scope": "event"}, "delivered"),
        ({"factor_scope": "period", "measured_per": "quarter_hour", "netting": "pod"}, "delivered"),
        ({}, "equal"),
        ({}, "factors"),
    ],
)
@pytest.mark.parametrize("cap", [False, True])
def test_the_chain_follows_every_kind_of_terms(how, split, cap):
    for seed in range(3):
        day = settled(seed)
        terms = SettlementTerms(
            penalty_ueur_per_mwh=40_000_007, availability_ueur_per_mw_h=3_333_333, cap_ppm=900_000,
            tolerance_ppm=50_000, factor_ppm=((0, 0), (500_000, 0), (950_000, 1_000_000)), **how,
        )  # fmt: skip
        factors = None
        if split == "factors":
            # one row for each group, which takes the whole of every line
            group = list(zip(day.row_operator, day.row_aggregate, day.row_direction, strict=True))
            alone = np.array([group.index(key) == i for i, key in enumerate(group)])
            keep = np.flatnonzero(alone)
            names = ("orders_w", "baseline_w", "metered_w", "row_operator", "row_direction", "row_aggregate",
                     "row_price", "row_pod_id")  # fmt: skip
            day = dataclasses.replace(day, **{name: getattr(day, name)[keep] for name in names})
            factors = np.full(len(keep), 1_000_000)
        result = settle(
            day.orders_w, day.baseline_w, day.metered_w, terms, direction=day.row_direction,
            aggregate=day.row_aggregate, operator=day.row_operator, price_ueur_per_mwh=day.row_price,
            pod=[int(name.removeprefix("POD-")) for name in day.row_pod_id.tolist()], available_w=day.orders_w,
            unit_of_step=day.day.hour_of_step, missing="zero", split=split, split_factor_ppm=factors,
        )  # fmt: skip
        if cap:
            result = cap_penalties([result], cap_ppm=500_000).results[0]
        run = open_run(str(day.day.date), result)
        day = dataclasses.replace(day, run=run, row_factor_ppm=factors, row_available_w=day.orders_w)
        given = set()
        for pod in sorted(set(day.row_pod_id.tolist())):
            found = trace(day, pod)
            assert [step for step in found.steps if not step.agrees] == []
            given |= {step.name for step in found.not_computed if step.rule.startswith("SET")}
        # nothing is known of the period that capped the penalties
        assert given == ({"penalty of the line", "penalty of the POD"} if cap else set())
        # a wrong amount is seen
        lines = result.lines
        wrong = dataclasses.replace(result, lines=dataclasses.replace(lines, pay_ueur=lines.pay_ueur + 1))
        wrong = dataclasses.replace(day, run=open_run(str(day.day.date), wrong))
        assert not trace(wrong, str(day.row_pod_id[0])).agrees


def test_without_evidence_a_baseline_is_said_to_be_given():
    day = dataclasses.replace(settled(2), evidence={})
    one = pod_statement(day, str(day.row_pod_id[0]))
    assert one.evidence is None
    assert one.trace.agrees
    assert {step.rule for step in one.trace.not_computed} == {"BAS-01"}


@pytest.mark.rule("SET-02")
def test_totals_add_up_whichever_way_they_are_cut():
    days = [settled(seed, date) for seed, date in ((3, "2026-03-28"), (6, "2026-03-29"), (9, "2026-03-30"))]
    found = bsp_statement(days, "BSP-A")
    assert found.period == "2026-03-28 to 2026-03-30"
    whole = found.totals().to_pylist()[0]
    for keys in (("operator",), ("aggregate",), ("direction",), ("day",), ("day", "operator", "aggregate")):
        parts = found.totals(*keys).to_pylist()
        for name in ("n_lines", "ordered_wqh", "delivered_wqh", "pay_ueur", "penalty_ueur", "net_ueur"):
            assert sum(row[name] for row in parts) == whole[name]
    assert sum(found.pods.column("net_ueur").to_pylist()) == whole["net_ueur"]
    expected = statements([day.run.result for day in days], bsp_of_aggregate=days[0].bsp_of_aggregate)
    cents = {
        (row, side): int(c) for row, side, c in zip(expected.bsp, expected.operator, expected.net_cents, strict=True)
    }
    assert [row["net_cents"] for row in found.accounts.to_pylist()] == [cents[0, LOCAL], cents[0, GLOBAL]]
    assert found.net_cents == cents[0, LOCAL] + cents[0, GLOBAL]
    assert [row["operator"] for row in found.accounts.to_pylist()] == ["local", "global"]
    assert found.ledger_leaf is None


def test_intervals_say_what_was_ordered_read_and_missed():
    day = settled(4)
    for pod in set(day.row_pod_id.tolist()):
        for row in pod_statement(day, pod).intervals.to_pylist():
            sign = 1 if row["direction"] == "up" else -1
            if row["metered_w"] is None or row["baseline_w"] is None:
                assert row["delivered_w"] is None
                assert row["deficiency_w"] == row["ordered_w"]
                continue
            assert row["delivered_w"] == sign * (row["baseline_w"] - row["metered_w"])
            assert row["set_point_w"] == row["baseline_w"] - sign * row["ordered_w"]
            assert row["deficiency_w"] == max(0, row["ordered_w"] - row["delivered_w"])


def test_the_hour_that_comes_twice_is_told_apart():
    day = settled(1, "2026-10-25")
    orders = day.orders_w.copy()
    orders[:, 4:20] = 1000
    result = settle(
        orders, day.baseline_w, day.metered_w, day.run.result.terms, direction=day.row_direction,
        aggregate=day.row_aggregate, operator=day.row_operator, price_ueur_per_mwh=day.row_price,
        unit_of_step=day.day.hour_of_step, missing="zero",
    )  # fmt: skip
    day = dataclasses.replace(day, orders_w=orders, run=open_run("2026-10-25", result), evidence={})
    pod = str(day.row_pod_id[0])
    starts = [row["start"] for row in pod_statement(day, pod).profile.to_pylist()]
    assert len(set(starts)) == 100
    assert starts[7:13:4] == ["01:45", "02:45 CEST"]
    assert starts[12] == "02:00 CET"
    parts = {step.part for step in trace(day, pod).steps if step.name == "paid energy"}
    assert len(parts) == len([step for step in trace(day, pod).steps if step.name == "paid energy"])


def test_the_order_of_the_rows_changes_no_statement():
    one, other = settled(5), settled(5, reorder=1)
    for bsp in ("BSP-A", "BSP-B"):
        first, second = bsp_statement(one, bsp), bsp_statement(other, bsp)
        for name in ("accounts", "lines", "pods"):
            assert getattr(first, name).equals(getattr(second, name))
        assert first.runs == second.runs


@pytest.mark.rule("SET-04")
def test_a_correction_shows_what_changed_against_the_run_that_it_cites():
    day = settled(7)
    first = finalise(day.run)
    _, _, _, today = readings(7)
    for pod, start in enumerate(30 + 30 * (np.arange(N_PODS) % 2)):
        today[pod, start] = 10_000  # the meters are read again
    again = settled(7, today=today)
    run = correct(first, again.run.result, "meter re-issued")
    again = dataclasses.replace(again, run=run)
    for bsp in ("BSP-A", "BSP-B"):
        corrected(again, day, first, bsp)


def corrected(again, day, first, bsp):
    found = bsp_statement(again, bsp, cited=[first])
    assert found.runs[0].cites == first.run_id
    assert found.runs[0].reason == "meter re-issued"
    before = bsp_statement(dataclasses.replace(day, run=first), bsp)
    keys = ("operator", "aggregate", "direction", "unit")
    old = {tuple(row[k] for k in keys): row["net_ueur"] for row in before.lines.to_pylist()}
    new = {tuple(row[k] for k in keys): row["net_ueur"] for row in found.lines.to_pylist()}
    expected = {key: (old.get(key, 0), new.get(key, 0)) for key in {*old, *new} if old.get(key) != new.get(key)}
    assert len({key[2] for key in expected}) == 2  # a key in the wrong place would be seen
    assert {
        tuple(row[k] for k in keys): (row["before_ueur"], row["after_ueur"]) for row in found.changes.to_pylist()
    } == expected
    assert found.not_compared == ()
    alone = bsp_statement(again, bsp)  # the run that is cited was not given
    assert alone.changes.num_rows == 0
    assert alone.not_compared == (first.run_id,)
    with pytest.raises(SettlementError, match=r"FX-S041.*given twice"):
        bsp_statement([day, again], bsp)


def test_amounts_join_by_name():
    assert amount_names(type(settled(0).run.result.lines))[-1] == "net_ueur"
    assert "pay_ueur" in bsp_statement(settled(0), "BSP-A").accounts.column_names


def test_what_does_not_fit_is_refused():
    day = settled(8)
    with pytest.raises(SettlementError, match="no settled day knows"):
        bsp_statement(day, "nobody")
    with pytest.raises(SettlementError, match="FX-S040"):
        pod_statement(day, "nobody")
    flipped = np.ascontiguousarray(day.orders_w[::-1])
    for wrong in (
        {"orders_w": flipped}, {"metered_w": day.metered_w[1:]}, {"row_direction": 1 - day.row_direction},
        {"unit_of_step": day.unit_of_step[1:]}, {"aggregate_ids": day.aggregate_ids[:2]},
        {"bsp_of_aggregate": np.array([0, 1, 0, 2])},
    ):  # fmt: skip
        with pytest.raises(SettlementError, match="FX-S041"):
            bsp_statement(dataclasses.replace(day, **wrong), "BSP-A")
    both = dataclasses.replace(day, row_pod_id=np.full(len(day.row_pod_id), "POD-0"))
    with pytest.raises(SettlementError, match="AGG-03"):
        pod_statement(both, "POD-0")
    pod = next(p for p, e in day.evidence.items() if e.dates)
    short = dataclasses.replace(day.evidence[pod], dates=("2026-01-01",))
    with pytest.raises(SettlementError, match="FX-S041"):
        pod_statement(dataclasses.replace(day, evidence={pod: short}), pod)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bsp_ids", lambda ids: np.repeat(ids[:1], len(ids))),
        ("aggregate_ids", lambda ids: np.repeat(ids[:1], len(ids))),
        ("aggregate_ids", lambda ids: ids.tolist()),
        ("bsp_of_aggregate", lambda owner: owner.tolist()),
        ("orders_w", lambda orders: orders[0]),
        ("row_price", lambda price: price.ravel()),
        ("row_price", lambda price: np.zeros((len(price) + 1, 1), np.int64)),
    ],
)
def test_columns_of_the_wrong_form_are_refused_by_name(name, change):
    day = settled(4)
    bsp, pod = str(day.bsp_ids[0]), str(day.row_pod_id[0])
    bad = dataclasses.replace(day, **{name: change(getattr(day, name))})
    for draw, of in ((bsp_statement, bsp), (pod_statement, pod)):
        with pytest.raises(SettlementError, match=rf"FX-S041.*{name}"):
            draw(bad, of)
