"""Every level of a period sums to the next without a rest, and no stored amount is a float."""

import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

import flexcore.settlement
from flexcore import settle
from flexcore.settlement import (
    AvailabilityLines,
    AvailabilityPods,
    DayChoice,
    KeptAvailability,
    PodEvidence,
    SettledDay,
    SettlementFiles,
    SettlementTerms,
    cap_penalties,
    changed_lines,
    changed_period_lines,
    correct,
    finalise,
    imbalance,
    market_fees,
    open_run,
    programme_correction,
    reliability_tests,
    settle_period,
    statements,
)
from flexcore.settlement.result import Columns
from flexcore.study.day_columns import column_spec
from flexcore.study.day_run import DAY_TABLES
from flexcore.units import LOCAL, exact_sum

AMOUNTS = ("pay_ueur", "penalty_ueur", "availability_ueur", "net_ueur")
TAPER = ((0, 0), (630_000, 0), (630_000, 40_000), (950_000, 1_000_000))


def random_day(seed, n_aggregates, *, split="delivered", **terms):
    """Settle two PODs in each aggregate, twelve quarter-hours of which each is a unit of its own."""
    rng = np.random.default_rng(seed)
    n_steps, n = 12, 2 * n_aggregates
    shape = (n, n_steps)
    orders = rng.integers(1, 50_000, shape)
    rows = np.arange(n)
    factor = rng.integers(0, 10**6 + 1, n_aggregates)
    given = {"split_factor_ppm": np.stack([factor, 10**6 - factor], axis=1).ravel()} if split == "factors" else {}
    return settle(
        orders, rng.integers(-60_000, 60_000, shape), rng.integers(-60_000, 60_000, shape),
        SettlementTerms(
            factor_ppm=TAPER, penalty_ueur_per_mwh=37_123_457, availability_ueur_per_mw_h=4_000_003, **terms
        ),
        direction=(rows // 2) % 2, aggregate=rows // 2, operator=(rows // 4) % 2, pod=rows,
        price_ueur_per_mwh=rng.integers(-(10**8), 10**9, shape), available_w=orders, split=split,
        unit_of_step=np.arange(n_steps), **given,
    )  # fmt: skip


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize(
    ("split", "terms"),
    [
        ("delivered", {"factor_scope": "event", "cap_ppm": 1_200_000}),
        ("factors", {"factor_scope": "period", "measured_per": "quarter_hour", "netting": "pod"}),
        ("equal", {"tolerance_ppm": 50_000}),
    ],
)
def test_a_hundred_thousand_lines_sum_exactly_at_every_level(split, terms):
    rng = np.random.default_rng(9)
    result = random_day(5, 8400, split=split, **terms)
    assert len(result.lines) > 100_000
    capped = cap_penalties([result], cap_ppm=400_000, order="earliest" if split == "equal" else "proportional")
    bsp = rng.integers(0, 300, 8400)
    lines_of = {True: capped.results[0], False: result}
    for after, run in lines_of.items():
        lines, pods, totals = run.lines, run.pod_lines, run.totals
        for name in AMOUNTS:
            line = np.zeros(len(lines), np.int64)
            np.add.at(line, pods.line, getattr(pods, name))
            assert np.array_equal(line, getattr(lines, name))
            for operator in (0, 1):
                mine = getattr(lines, name)[lines.operator == operator]
                assert getattr(totals, name)[operator] == exact_sum(mine)
        fees = market_fees(lines.ordered_wqh, market=1, bsp=bsp[lines.aggregate], operator=lines.operator, payer="half")
        account = statements(run, bsp_of_aggregate=bsp, fees=fees)
        for name in AMOUNTS[:3]:
            assert exact_sum(getattr(account, name)) == exact_sum(getattr(totals, name))
        assert exact_sum(account.net_ueur) == exact_sum(totals.net_ueur) - exact_sum(fees.bsp_ueur)
        assert exact_sum(fees.bsp_ueur) + exact_sum(fees.operator_ueur) == exact_sum(fees.fee_ueur)
        if after:
            assert exact_sum(totals.penalty_ueur) == exact_sum(capped.accounts.charged_ueur)
            assert (capped.accounts.charged_ueur <= capped.accounts.cap_ueur).all()
            assert exact_sum(totals.penalty_ueur) < exact_sum(result.totals.penalty_ueur)


def samples():
    """Return one object of every class that settlement gives."""
    result = random_day(1, 4)
    capped = cap_penalties([result], cap_ppm=500_000)
    n = np.ones(2, np.int64)
    names = {field.name: n.copy() for field in dataclasses.fields(AvailabilityLines)}
    run = finalise(open_run("2026-01-21", result))
    fees = market_fees(n, market=0, bsp=0)
    month = open_run("2026-01", settle_period(["2026-01-21"], [result]))
    one = np.array([[5]])
    return [
        result.lines, result.pod_lines, result.totals, capped.accounts, fees,
        statements(result, bsp_of_aggregate=[0] * 4),
        AvailabilityLines(**(names | {"operator": np.zeros(2, np.int8)})),
        AvailabilityPods(n.copy(), n.copy(), n.copy()),
        KeptAvailability(n.copy(), n.copy(), n.copy(), n.copy(), n.copy()),
        reliability_tests(n, n, aggregate=[0, 1], year=[2022, 2022]),
        changed_lines(run, correct(run, random_day(2, 4), "again")),
        changed_period_lines(month, month),
        programme_correction(one, one, direction=0, unit=0, operator=LOCAL),
        imbalance(one, one, one, price_ueur_per_mwh=[7]),
    ]  # fmt: skip


#: Classes that hold arrays of what was settled, or tables by name, and no amount of their own.
NO_AMOUNTS = {SettledDay, PodEvidence, DayChoice, SettlementFiles}


def result_classes():
    """Return every dataclass of the room that holds arrays of amounts."""
    found = set()
    for module in pkgutil.iter_modules(flexcore.settlement.__path__, "flexcore.settlement."):
        for value in vars(importlib.import_module(module.name)).values():
            if not (isinstance(value, type) and dataclasses.is_dataclass(value) and value is not Columns):
                continue
            arrays = any("NDArray" in str(f.type) or "ndarray" in str(f.type) for f in dataclasses.fields(value))
            if value.__module__.startswith("flexcore.settlement") and arrays and value.__name__[0] != "_":
                found.add(value)
    return found - NO_AMOUNTS


def test_no_stored_amount_is_a_float():
    parts = samples()
    assert {type(part) for part in parts} == result_classes()
    for part in parts:
        for field in dataclasses.fields(part):
            array = getattr(part, field.name)
            assert array.dtype.kind in "ib", f"{type(part).__name__}.{field.name} is {array.dtype}"
            if field.name.endswith(("_ueur", "_wqh", "_cents", "_ueur_per_mwh", "_ppm", "_w")):
                assert array.dtype == np.int64
        for column in part.to_arrow().schema:
            assert str(column.type) in ("int8", "int64", "bool"), column.name


def test_no_written_amount_is_a_float():
    amounts = 0
    for table, (_, columns) in DAY_TABLES.items():
        for name in columns:
            if name.endswith(("_ueur", "_cents", "_wqh", "_ueur_per_mwh", "_ppm")):
                amounts += 1
                assert column_spec(table, name)[0] == "int64", f"{table}.{name}"
    assert amounts > 5
