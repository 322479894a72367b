"""A period and its runs: availability of contracts, capped penalties and fees, frozen, corrected and traced."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

import tests.settlement.test_penalties as penalties
from flexcore.errors import SettlementError, StateError, ValidationError
from flexcore.market.long_term import AvailabilityDue
from flexcore.settlement import (
    AVAILABILITY_TERMS,
    KeptAvailability,
    bsp_statement,
    changed_period_lines,
    correct,
    finalise,
    market_fees,
    open_run,
    settle_availability,
    settle_period,
    statements,
    trace_period,
)
from flexcore.settlement.runs import AVAILABILITY, DELIVERY, FEE
from flexcore.study.report.statement import write_bsp_statement
from tests.settlement import test_trace

DAYS = ("2026-10-01", "2026-10-02", "2026-10-03")
OWNER = np.array([0, 1, 1, 0])


def contracts(seed, terms="kept_share", kept_less=0):
    rng = np.random.default_rng(seed)
    n = 6
    contract, month = np.arange(n) // 2, np.array([202610, 202611] * 3)
    quarters = rng.integers(50, 500, n)
    kept = KeptAvailability(
        contract,
        month,
        quarters,
        np.minimum(quarters, rng.integers(20, 500, n)) - kept_less,
        rng.integers(0, 4, n) // 3,
    )
    names = {field.name: np.zeros(n, np.int64) for field in dataclasses.fields(AvailabilityDue)}
    names |= {"contract": contract, "month": month, "quarters": quarters, "amount_ueur": rng.integers(0, 10**10, n)}
    energy = rng.integers(-10, 100, n), rng.integers(0, 100, n)
    lines = settle_availability(
        AvailabilityDue(**names), kept, terms, aggregate=[0, 1, 2], operator=[0, 1, 0], performance_wqh=energy,
        previous_wqh=energy,
    )  # fmt: skip
    return lines, energy


def fees(seed, payer="half"):
    rng = np.random.default_rng(seed)
    return market_fees(
        rng.integers(0, 10**9, 9), market=rng.integers(0, 2, 9), bsp=rng.integers(0, 2, 9),
        operator=rng.integers(0, 2, 9), payer=payer,
    )  # fmt: skip


def period(seed=0, **changed):
    rng = np.random.default_rng(seed)
    given = {
        "results": [penalties.day_of(rng) for _ in DAYS], "availability": contracts(seed)[0], "fees": fees(seed),
        "cap_ppm": 2_000,
    }  # fmt: skip
    return settle_period(DAYS, **(given | changed))


@pytest.mark.rule("SET-04")
def test_the_run_of_a_period_is_frozen_corrected_and_idempotent():
    first = finalise(open_run("2026-10", period()))
    again = open_run("2026-10", period())
    assert again.run_id == first.run_id
    assert finalise(again) == first  # compared by digest, although arrays are inside
    assert hash(period()) == hash(period())
    assert correct(first, again.result, "nothing") is first
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.result.digest = ""
    with pytest.raises(ValueError, match="read-only"):
        first.result.availability.net_ueur[:] = 0
    with pytest.raises(StateError, match="FX-S005"):
        correct(again, period(1), "too early")
    after = correct(first, period(availability=contracts(0, kept_less=1)[0]), "declared again")
    assert (after.cites, after.status, after.reason) == (first.run_id, "preliminary", "declared again")
    assert after != first
    assert len(changed_period_lines(first, first)) == 0


@pytest.mark.rule("SET-04")
def test_everything_that_decides_a_period_enters_its_digest():
    base = period()
    seen = {base.digest}
    results = list(base.uncapped)
    seen.add(period(results=[*results[:2], penalties.day_of(np.random.default_rng(99))]).digest)
    seen.add(period(availability=None).digest)
    seen.add(period(availability=contracts(0, kept_less=1)[0]).digest)
    seen.add(period(fees=None).digest)
    seen.add(period(fees=fees(0, "both")).digest)
    seen.add(period(cap_ppm=2_001).digest)
    seen.add(period(order="earliest").digest)
    seen.add(period(cap_ppm=None).digest)
    assert len(seen) == 9
    columns = {field.name: getattr(base.fees, field.name)[::-1].copy() for field in dataclasses.fields(base.fees)}
    assert period(fees=type(base.fees)(**columns)).digest == base.digest
    assert period(cap_ppm=None).penalties is None
    assert period(cap_ppm=None).results == base.uncapped


def amounts(result):
    """Every amount of a period by what it is, with loops."""
    found = {}

    def book(key, amount):
        found[key] = found.get(key, 0) + int(amount)

    for date, day in zip(result.days, result.results, strict=True):
        for line in day.lines.to_arrow().to_pylist():
            number = dt.date.fromisoformat(date).toordinal()
            key = DELIVERY, number, line["operator"], line["aggregate"], line["direction"], line["unit"]
            book(key, line["net_ueur"])
    for line in result.availability.to_arrow().to_pylist():
        book((AVAILABILITY, -1, line["operator"], line["contract"], -1, line["month"]), line["net_ueur"])
    for line in result.fees.to_arrow().to_pylist():
        book((FEE, -1, line["operator"], line["bsp"], -1, line["market"]), -line["bsp_ueur"])
    return found


@pytest.mark.rule("SET-04")
def test_changed_lines_of_a_period_are_those_whose_amounts_differ():
    first = finalise(open_run("2026-10", period()))
    results = list(first.result.uncapped)
    results[1] = penalties.day_of(np.random.default_rng(99))
    for changed in (
        {"results": results}, {"availability": contracts(0, kept_less=1)[0]}, {"fees": fees(0, "both")},
        {"order": "earliest"},
    ):  # fmt: skip
        after = correct(first, period(**changed), "test")
        old, new = amounts(first.result), amounts(after.result)
        expected = {
            key: (old.get(key, 0), new.get(key, 0)) for key in {*old, *new} if old.get(key, 0) != new.get(key, 0)
        }
        found = {tuple(row.values())[:6]: tuple(row.values())[6:] for row in
                 changed_period_lines(first, after).to_arrow().to_pylist()}  # fmt: skip
        assert found == expected
        assert expected
    # fees change nothing but fees, and so on
    assert {key[0] for key in found} == {DELIVERY}
    only = changed_period_lines(first, correct(first, period(fees=fees(0, "both")), "test"))
    assert set(only.part.tolist()) == {FEE}


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("payer", ["bsp", "operator", "both", "half"])
@pytest.mark.parametrize("name", sorted(AVAILABILITY_TERMS))
def test_availability_fees_and_invoices_come_out_again(name, payer):
    for seed in range(3):
        lines, energy = contracts(seed, name)
        whole = period(seed, availability=lines, fees=fees(seed, payer))
        found = trace_period(
            whole, bsp_of_aggregate=OWNER, availability_terms=name, performance_wqh=energy, previous_wqh=energy,
            payer=payer,
        )  # fmt: skip
        assert [step for step in found.steps if not step.agrees] == []
        invoices = [step for step in found.steps if step.unit == "cent"]
        table = statements(whole.results, bsp_of_aggregate=OWNER, availability=lines, fees=whole.fees)
        assert [step.value for step in invoices] == table.net_cents.tolist()
    for table, column in (("availability", "kept_ueur"), ("availability", "net_ueur"), ("fees", "bsp_ueur")):
        values = getattr(getattr(whole, table), column) + 1
        wrong = dataclasses.replace(whole, **{table: dataclasses.replace(getattr(whole, table), **{column: values})})
        assert not trace_period(
            wrong, bsp_of_aggregate=OWNER, availability_terms=name, performance_wqh=energy, previous_wqh=energy,
            payer=payer,
        ).agrees  # fmt: skip


def settled_days(whole, days):
    return [
        dataclasses.replace(day, run=open_run(date, result), period=whole)
        for day, date, result in zip(days, whole.days, whole.results, strict=True)
    ]


@pytest.mark.rule("SET-03")
def test_a_statement_of_a_period_holds_its_contracts_and_fees(tmp_path):
    days = [test_trace.settled(seed, test_trace.HARD, date=date) for seed, date in enumerate(DAYS)]
    due, _ = contracts(1)
    keep = {field.name: getattr(due, field.name)[:4].copy() for field in dataclasses.fields(due)}
    whole = settle_period(
        DAYS, [day.run.result for day in days], availability=type(due)(**keep), fees=fees(1), cap_ppm=2_000
    )
    charged = settled_days(whole, days)
    table = statements(
        whole.results, bsp_of_aggregate=days[0].bsp_of_aggregate, availability=whole.availability, fees=whole.fees
    )
    for place, bsp in enumerate(("BSP-A", "BSP-B")):
        found = bsp_statement(charged, bsp, period=whole)
        mine = table.bsp == place
        for name in ("n_lines", "availability_ueur", "penalty_ueur", "fee_ueur", "net_ueur", "net_cents"):
            assert found.accounts.column(name).to_pylist() == getattr(table, name)[mine].tolist()
        inside = sum(found.lines.column("net_ueur").to_pylist()) + sum(found.contracts.column("net_ueur").to_pylist())
        assert inside == sum(found.accounts.column("net_ueur").to_pylist())
        text = write_bsp_statement(found, tmp_path / f"{bsp}.html").read_text(encoding="utf-8")
        assert "Contracts and fees" in text
        assert f"{found.net_cents / 100:,.2f}" in text.replace("\u2212", "-")
    # days before the cap are not those of the period, and neither are some of them
    with pytest.raises(SettlementError, match="FX-S071"):
        bsp_statement(days, "BSP-A", period=whole)
    with pytest.raises(SettlementError, match="FX-S071"):
        bsp_statement(charged[:2], "BSP-A", period=whole)


def test_days_that_do_not_fit_are_refused():
    results = [penalties.day_of(np.random.default_rng(0))] * 2
    for days in (("2026-10-02", "2026-10-01"), ("2026-10-01",), ("2026-10-01", "2026-10-01"), ("1", "2")):
        with pytest.raises(ValidationError, match="FX-S070"):
            settle_period(days, results)
    assert settle_period((), ()).results == ()
