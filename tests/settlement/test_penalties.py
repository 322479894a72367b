import dataclasses

import numpy as np
import pytest

import tests.reference.settlement_penalties as reference
from flexcore import settle
from flexcore.errors import OptionError, SettlementError
from flexcore.settlement import (
    AvailabilityLines,
    SettlementTerms,
    cap_penalties,
    settle_period,
    share_exactly,
    statements,
)
from flexcore.units import LOCAL, UP, largest_remainder

TERMS = SettlementTerms(
    price_ueur_per_mwh=123_456_789, penalty_ueur_per_mwh=987_654_321, availability_ueur_per_mw_h=12_345_678
)


def day_of(rng, terms=TERMS, size=3000):
    n_rows, n_steps = 20, 12
    shape = (n_rows, n_steps)
    orders = rng.integers(0, size, shape) * (rng.random(shape) < 0.6)
    return settle(
        orders, np.zeros(shape, int), -rng.integers(-size // 10, size, shape), terms,
        direction=rng.integers(0, 2, n_rows), aggregate=rng.integers(0, 4, n_rows),
        operator=rng.integers(0, 2, n_rows), available_w=rng.integers(0, size, shape) * (rng.random(shape) < 0.3),
        pod=np.arange(n_rows),
    )  # fmt: skip


def contract_lines(operator, aggregate, net):
    n = len(net)
    names = {field.name: np.zeros(n, np.int64) for field in dataclasses.fields(AvailabilityLines)}
    names |= {"operator": np.array(operator, np.int8), "aggregate": np.array(aggregate), "net_ueur": np.array(net)}
    return AvailabilityLines(**names)


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(120))
def test_capped_penalties_equal_the_reference_and_sum_exactly(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.choice([3, 3000, 10**9]))
    results = [day_of(rng, size=size) for _ in range(int(rng.integers(1, 4)))]
    order = ("proportional", "earliest")[seed % 2]
    cap_ppm = int(rng.choice([0, 300_000, 1_000_000, 5_000_000]))
    extra = [(0, 9, 10**6), (1, 2, int(rng.integers(0, 10**9))), (1, 2, 77)] if seed % 3 else []
    contracts = contract_lines(*zip(*extra, strict=True)) if extra else None
    capped = cap_penalties(results, availability=contracts, cap_ppm=cap_ppm, order=order)
    days = []
    for result in results:
        lines, pods = result.lines, result.pod_lines
        days.append(
            [
                {
                    "operator": int(lines.operator[k]),
                    "aggregate": int(lines.aggregate[k]),
                    "unit": int(lines.unit[k]),
                    "penalty": int(lines.penalty_ueur[k]),
                    "availability": int(lines.availability_ueur[k]),
                    "pods": pods.penalty_ueur[pods.line == k].tolist(),
                }
                for k in range(len(lines))
            ]
        )
    accounts, charge, pods = reference.cap(days, extra, cap_ppm, order)
    for number, (before, after) in enumerate(zip(results, capped.results, strict=True)):
        assert after.lines.penalty_ueur.tolist() == [charge[number, k] for k in range(len(before.lines))]
        shares = [part for k in range(len(before.lines)) for part in pods[number, k]]
        assert after.pod_lines.penalty_ueur.tolist() == shares
        for part in (after.lines, after.pod_lines, after.totals):
            assert (part.net_ueur == part.pay_ueur - part.penalty_ueur + part.availability_ueur).all()
        assert (after.lines.penalty_ueur <= before.lines.penalty_ueur).all()
        assert (after.pod_lines.penalty_ueur <= before.pod_lines.penalty_ueur).all()
        assert after.totals.penalty_ueur.sum() == after.lines.penalty_ueur.sum() == after.pod_lines.penalty_ueur.sum()
    table = capped.accounts
    keys = list(zip(table.operator.tolist(), table.aggregate.tolist(), strict=True))
    assert keys == sorted(accounts)
    for k, key in enumerate(keys):
        wanted = accounts[key]
        found = (table.availability_ueur[k], table.cap_ueur[k], table.penalty_ueur[k], table.charged_ueur[k])
        assert found == (wanted["base"], wanted["cap"], wanted["owed"], wanted["charged"])
    total = sum(after.lines.penalty_ueur.sum() for after in capped.results)
    assert table.charged_ueur.sum() == total
    account = statements(capped.results, bsp_of_aggregate=np.arange(4))
    assert account.penalty_ueur.sum() == total


def test_a_month_of_two_days_by_hand():
    """Penalties of 60 and 30 EUR, a contract that pays 45 EUR: in proportion 30 and 15, or the first day 45."""
    terms = SettlementTerms(price_ueur_per_mwh=0, penalty_ueur_per_mwh=30_000_000, penalty_cap_ppm=1_000_000)

    def day(mw):
        order = np.full((1, 4), mw * 1_000_000)
        return settle(order, order, order, terms, direction=UP, aggregate=0, operator=LOCAL)

    days = [day(2), day(1)]
    pay = contract_lines([LOCAL], [0], [45_000_000])
    charged = {
        order: [int(r.lines.penalty_ueur[0]) for r in cap_penalties(days, availability=pay, order=order).results]
        for order in ("proportional", "earliest")
    }
    assert charged == {"proportional": [30_000_000, 15_000_000], "earliest": [45_000_000, 0]}
    # nothing to lose, nothing charged; and a contract that had to pay back is no reason to pay the provider
    owes = cap_penalties(days, availability=contract_lines([LOCAL], [0], [-5])).accounts
    assert (owes.cap_ueur[0], owes.charged_ueur[0]) == (0, 0)
    assert cap_penalties(days).accounts.charged_ueur.tolist() == [0]
    assert [r.lines.net_ueur[0] for r in cap_penalties(days).results] == [0, 0]


def test_the_digest_says_what_was_capped_and_how():
    results = [day_of(np.random.default_rng(3))]
    ways = [{"cap_ppm": 500_000}, {"cap_ppm": 500_001}, {"cap_ppm": 500_000, "order": "earliest"}]
    seen = {cap_penalties(results, **way).results[0].digest for way in ways}
    seen.add(cap_penalties(results, **ways[0], availability=contract_lines([0], [0], [5])).results[0].digest)
    seen.add(results[0].digest)
    assert len(seen) == 5
    again = cap_penalties(results, **ways[0]).results[0]
    assert again.digest == cap_penalties(results, **ways[0]).results[0].digest


def test_caps_that_are_missing_or_wrong_are_refused():
    results = [day_of(np.random.default_rng(1))]
    for arguments in ({}, {"cap_ppm": -1}, {"cap_ppm": 0.5}):
        with pytest.raises(SettlementError, match="FX-S003"):
            cap_penalties(results, **arguments)
    other = dataclasses.replace(TERMS, penalty_cap_ppm=1)
    with pytest.raises(SettlementError, match="FX-S003"):
        cap_penalties([*results, day_of(np.random.default_rng(1), other)])
    with pytest.raises(SettlementError, match="FX-S003"):
        day_of(np.random.default_rng(1), dataclasses.replace(TERMS, penalty_cap_ppm=-1))
    with pytest.raises(OptionError):
        cap_penalties(results, cap_ppm=1, order="latest")
    assert cap_penalties([]).results == ()
    huge = contract_lines([0, 0], [0, 0], [2**61, 2**61 + 2**54])
    with pytest.raises(SettlementError, match="FX-S001"):
        cap_penalties(results, availability=huge, cap_ppm=1)


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(60))
def test_shares_equal_the_reference_for_weights_of_any_size(seed):
    rng = np.random.default_rng(seed)
    n_lines, n = 6, 50
    total = rng.integers(-(2**61), 2**61, n_lines) >> rng.integers(0, 60, n_lines)
    line = rng.integers(0, n_lines, n)
    line[:n_lines] = np.arange(n_lines)
    weight = rng.integers(0, 2**56, n) >> rng.integers(0, 56, n)
    shares = share_exactly(total, line, weight, n_threads=2)
    for k in range(n_lines):
        own = weight[line == k]
        own = own if own.sum() else np.ones_like(own)
        assert shares[line == k].tolist() == largest_remainder(int(total[k]), own).tolist()


def test_an_amount_without_anybody_to_take_it_is_refused():
    with pytest.raises(SettlementError, match="FX-S012"):
        share_exactly([1, 2], [0, 0], [1, 1])
    assert share_exactly([1, 0], [0, 0], [1, 1]).tolist() == [1, 0]
    with pytest.raises(SettlementError, match="FX-S001"):
        share_exactly([1], [0, 0], [2**62, 2**62])
    assert share_exactly([2**62], [0, 0], [2**61, 2**61]).tolist() == [2**61, 2**61]
    # a float sum of these is 2^62, to the last bit
    with pytest.raises(SettlementError, match="FX-S001"):
        share_exactly([5, 2**62], [1, 0, 1, 1], [2**62, 1, 1, 1])
    assert share_exactly([2**62], [0, 0], [2**62 - 1, 1]).tolist() == [2**62 - 1, 1]


@pytest.mark.rule("SET-01")
def test_no_statement_charges_penalties_in_full_where_the_terms_cap_them():
    """10 EUR of penalties, 2 EUR of availability pay, and terms that charge no more than half of it."""
    terms = SettlementTerms(
        price_ueur_per_mwh=0, penalty_ueur_per_mwh=10_000_000, availability_ueur_per_mw_h=2_000_000,
        penalty_cap_ppm=500_000,
    )  # fmt: skip
    ones = np.full((1, 4), 1_000_000)
    day = settle(ones, ones, ones, terms, direction=UP, aggregate=0, operator=LOCAL, available_w=ones)
    assert (day.lines.penalty_ueur[0], day.capped) == (10_000_000, False)
    with pytest.raises(SettlementError) as caught:
        statements([day], bsp_of_aggregate=[0])
    assert (caught.value.codes, caught.value.findings[0].rows) == (("FX-S017",), (0,))
    period = settle_period(["2026-03-24"], [day])
    assert statements(period.results, bsp_of_aggregate=[0]).net_cents.tolist() == [200 - 100]
    with pytest.raises(SettlementError, match="FX-S017"):
        settle_period(["2026-03-24"], period.results)
    with pytest.raises(SettlementError, match="FX-S017"):
        cap_penalties([day, *period.results])
