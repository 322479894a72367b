import dataclasses

import numpy as np
import pytest

from flexcore import settle
from flexcore.errors import StateError, ValidationError
from flexcore.settlement import (
    SettlementResult,
    SettlementTerms,
    changed_lines,
    correct,
    finalise,
    open_run,
    statements,
)
from flexcore.units import GLOBAL, LOCAL

TERMS = SettlementTerms(price_ueur_per_mwh=123_456_789, penalty_ueur_per_mwh=50_000_000)


def book(seed, n_rows=40, n_steps=96):
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_steps)
    return {
        "orders_w": rng.integers(1, 3000, shape) * (rng.random(shape) < 0.4),
        "baseline_w": rng.integers(0, 5000, shape),
        "metered_w": rng.integers(0, 5000, shape),
        "direction": rng.integers(0, 2, n_rows),
        "aggregate": rng.integers(0, 5, n_rows),
        "operator": rng.integers(0, 2, n_rows),
        "pod": np.arange(n_rows) + 100,
    }


@pytest.mark.rule("SET-04")
def test_settling_again_gives_the_same_run():
    first = open_run("2026-01-21", settle(**book(1), terms=TERMS))
    second = open_run("2026-01-21", settle(**book(1), terms=TERMS))
    assert first.run_id == second.run_id
    assert first == second  # by digest: arrays inside cannot be compared as a whole
    assert first != open_run("2026-01-21", settle(**book(2), terms=TERMS))
    assert len({first.result, second.result}) == 1
    final = finalise(first)
    assert finalise(final) is final
    assert correct(final, second.result, "nothing changed") is final
    assert open_run("2026-01-22", second.result).run_id != first.run_id


@pytest.mark.rule("SET-04")
def test_a_correction_is_a_new_run_that_changes_only_what_hangs_on_it():
    day = book(2)
    run = finalise(open_run("2026-01-21", settle(**day, terms=TERMS)))
    row, step = np.argwhere(day["orders_w"] > 0)[17]
    day["metered_w"][row, step] += 1000
    after = correct(run, settle(**day, terms=TERMS), "meter re-issued")
    assert (after.cites, after.status, after.reason) == (run.run_id, "preliminary", "meter re-issued")
    assert after.run_id != run.run_id
    changed = changed_lines(run, after)
    assert len(changed) == 1
    assert changed.aggregate[0] == day["aggregate"][row]
    assert changed.unit[0] == step // 4
    assert changed.before_ueur[0] != changed.after_ueur[0]
    # a reading in a quarter-hour in which nobody ordered anything of its POD decides nothing
    before = settle(**day, terms=TERMS)
    idle = tuple(np.argwhere(day["orders_w"] == 0)[3])
    day["metered_w"][idle] += 1000
    day["baseline_w"][idle] += 500
    assert settle(**day, terms=TERMS).digest == before.digest


@pytest.mark.rule("SET-04")
def test_a_final_run_is_frozen_and_a_preliminary_one_is_not_corrected():
    run = open_run("2026-01-21", settle(**book(3), terms=TERMS))
    with pytest.raises(StateError) as caught:
        correct(run, run.result, "too early")
    assert caught.value.codes == ("FX-S005",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        finalise(run).status = "preliminary"
    for part in (run.result.lines, run.result.pod_lines, run.result.totals):
        for field in dataclasses.fields(part):
            with pytest.raises(ValueError, match="read-only"):
                getattr(part, field.name)[:] = 0


def test_every_input_that_decides_enters_the_digest():
    day = book(4)
    seen = {settle(**day, terms=TERMS).digest}
    for name in day:
        changed = dict(day)
        changed[name] = day[name].copy()
        where = np.argwhere(day["orders_w"] > 0)[3]
        if name in ("direction", "operator"):
            changed[name][where[0]] = 1 - changed[name][where[0]]
        else:
            changed[name][tuple(where)[: changed[name].ndim]] += 1000
        seen.add(settle(**changed, terms=TERMS).digest)
    seen.add(settle(**day, terms=dataclasses.replace(TERMS, penalty_ueur_per_mwh=1)).digest)
    seen.add(settle(**day, terms=TERMS, price_ueur_per_mwh=5).digest)
    seen.add(settle(**day, terms=TERMS, unit_of_step=np.arange(96)).digest)
    seen.add(settle(**day, terms=TERMS, available_w=day["orders_w"]).digest)
    assert len(seen) == len(day) + 5


@pytest.mark.rule("SET-03")
def test_cents_are_rounded_once_per_bsp_operator_and_period():
    owner = np.array([2, 0, 0, 2, 1])
    days = [settle(**book(seed), terms=TERMS) for seed in (5, 6, 7)]
    table = statements(days, bsp_of_aggregate=owner)
    for position in range(len(table)):
        bsp, operator = int(table.bsp[position]), int(table.operator[position])
        net = sum(
            int(amount)
            for day in days
            for amount, aggregate, buyer in zip(
                day.lines.net_ueur, day.lines.aggregate, day.lines.operator, strict=True
            )
            if owner[aggregate] == bsp and buyer == operator
        )
        assert table.net_ueur[position] == net
        assert table.net_cents[position] == round(net / 10_000)
    assert [(b, o) for b, o in zip(table.bsp, table.operator, strict=True)] == [
        (bsp, operator) for bsp in (0, 1, 2) for operator in (LOCAL, GLOBAL)
    ]
    assert table.net_ueur.sum() == sum(day.totals.net_ueur.sum() for day in days)
    assert table.n_lines.sum() == sum(len(day.lines) for day in days)
    assert (table.pay_ueur - table.penalty_ueur + table.availability_ueur == table.net_ueur).all()
    with pytest.raises(ValidationError, match="FX-A006"):
        statements(days, bsp_of_aggregate=owner[:4])
    assert len(statements([], bsp_of_aggregate=owner)) == 0


def test_results_give_arrow_tables():
    result: SettlementResult = settle(**book(8), terms=TERMS)
    table = result.lines.to_arrow()
    assert table.num_rows == len(result.lines)
    assert table.column("net_ueur").to_pylist() == result.lines.net_ueur.tolist()
    assert {str(field.type) for field in table.schema} == {"int8", "int64"}


@pytest.mark.rule("SET-04")
def test_what_decides_nothing_does_not_enter_the_digest():
    day = book(6)
    day["orders_w"][:, 5] = 0
    day["orders_w"][3] = 0
    available = np.zeros_like(day["orders_w"])
    available[3, 7] = 100
    by_step = np.arange(96)[np.newaxis]
    by_row = np.arange(40)

    def digest(terms=TERMS, **more):
        return settle(**day, terms=terms, **more).digest

    assert digest() == digest(dataclasses.replace(TERMS, source="another page", unverified=("cap_ppm",)))
    assert digest() == digest(available_w=0 * available)
    assert digest(price_ueur_per_mwh=by_step) == digest(price_ueur_per_mwh=np.where(by_step == 5, 99, by_step))
    assert digest(price_ueur_per_mwh=by_step) != digest(price_ueur_per_mwh=np.where(by_step == 6, 99, by_step))
    # row 3 has an availability, and no order
    again = digest(price_ueur_per_mwh=np.where(by_row == 3, 99, by_row), available_w=available)
    assert digest(price_ueur_per_mwh=by_row, available_w=available) == again
    other = digest(price_ueur_per_mwh=np.where(by_row == 4, 99, by_row), available_w=available)
    assert digest(price_ueur_per_mwh=by_row, available_w=available) != other
