import dataclasses
import datetime as dt

import numpy as np
import pytest

import tests.reference.settlement_availability as reference
from flexcore.errors import OptionError, SettlementError, ValidationError
from flexcore.market.long_term import ContractBook, availability_due
from flexcore.market_day import MarketDay
from flexcore.metering import MISSING_W
from flexcore.settlement import (
    AVAILABILITY_TERMS,
    AvailabilityTerms,
    count_kept,
    measured_availability,
    settle_availability,
    share_availability,
    statements,
)
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, eur_per_mwh, largest_remainder

HOURS = {"evening": (18, 22), "night": (0, 4), "late": (20, 23)}


def month_of(year, month, tz="Europe/Rome"):
    first = dt.date(year, month, 1)
    return [
        MarketDay(first + dt.timedelta(days=k), tz) for k in range(31) if (first + dt.timedelta(days=k)).month == month
    ]


def book(contracted, names, first="2026-10-01", last="2026-12-31"):
    contracts = {
        "contract_id": [f"C{k}" for k in range(len(contracted))],
        "bsp": ["B"] * len(contracted),
        "aggregate": [f"A{k}" for k in range(len(contracted))],
        "perimeter": ["Z"] * len(contracted),
        "direction": [0] * len(contracted),
        "contracted_w": contracted,
        "availability_ueur_per_mw_h": [28_846_154 + 7 * k for k in range(len(contracted))],
        "use_ueur_per_mwh": [eur_per_mwh(200)] * len(contracted),
    }
    links = {
        "contract_id": [f"C{k}" for k, own in enumerate(names) for _ in own],
        "window_id": [name for own in names for name in own],
    }
    windows = {
        "window_id": list(HOURS),
        "first_day": [first] * 3,
        "last_day": [last] * 3,
        "from_quarter": [4 * start for start, _ in HOURS.values()],
        "to_quarter": [4 * stop for _, stop in HOURS.values()],
    }
    return ContractBook.from_tables(contracts, links, windows)


@pytest.mark.parametrize("seed", range(60))
def test_measured_availability_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 8)), int(rng.choice([1, 4, 96])))
    baseline, metered = rng.integers(-3000, 5000, (2, *shape))
    for array in (baseline, metered):
        array[rng.random(shape) < 0.1] = MISSING_W
    orders = rng.integers(0, 4000, shape) * (rng.random(shape) < 0.4)
    direction = rng.integers(0, 2, shape[0])
    least, most = rng.integers(-4000, 1000, shape[0]), rng.integers(0, 6000, shape[0])
    responding = bool(seed % 2)
    seen = {"metered_w": metered, "orders_w": orders} if responding else {}
    found = measured_availability(baseline, direction=direction, least_w=least, most_w=most, **seen)
    for i in range(shape[0]):
        for t in range(shape[1]):
            wanted = reference.headroom(
                None if baseline[i, t] == MISSING_W else int(baseline[i, t]),
                None if metered[i, t] == MISSING_W else int(metered[i, t]),
                int(orders[i, t]) if responding else 0,
                int(direction[i]),
                int(least[i]),
                int(most[i]),
            )
            assert found[i, t] == wanted
    again = measured_availability(baseline, direction=direction, least_w=least, most_w=most, **seen, n_threads=2)
    assert np.array_equal(found, again)


def test_headroom_is_what_baseline_and_limits_leave_and_an_order_may_show_less():
    arguments = {"direction": [UP, DOWN], "least_w": 0, "most_w": 3000}
    base = np.array([[2000, 2000, 500], [2000, 2000, 500]])
    assert measured_availability(base, **arguments).tolist() == [[2000, 2000, 500], [1000, 1000, 2500]]
    seen = measured_availability(
        base, **arguments, metered_w=[[2000, 1500, 0], [2500, 2400, 500]], orders_w=[[0, 1000, 400], [400, 0, 1]]
    )
    # the first POD gave 500 of 1000 W; where an order is met, the headroom stands
    assert seen.tolist() == [[2000, 500, 500], [1000, 1000, 0]]
    with pytest.raises(SettlementError, match="FX-S013"):
        measured_availability(base, **arguments, orders_w=base)


@pytest.mark.parametrize("seed", range(6))
def test_kept_quarter_hours_equal_the_reference_over_the_change_of_clocks(seed):
    rng = np.random.default_rng(seed)
    contracted = [1000, 2000, 500]
    names = [["evening"], ["night", "late"], ["evening", "late"]]
    contracts = book(contracted, names)
    days = [*month_of(2026, 10), *month_of(2026, 11)]
    n = sum(day.n_steps for day in days)
    declared, measured = rng.integers(0, 2500, (2, 3, n))
    declared[:, rng.random(n) < 0.7] = 2000
    refused = rng.random((3, n)) < 0.001
    found = count_kept(contracts, days, declared, measured_w=measured if seed % 2 else None, refused=refused)
    windows = {name: lambda _, hour, __, span=span: span[0] <= hour < span[1] for name, span in HOURS.items()}
    quarters, begin = [], 0
    for day in days:
        for step in range(day.n_steps):
            t = begin + step
            values = np.minimum(declared[:, t], measured[:, t]) if seed % 2 else declared[:, t]
            quarters.append((day.date, int(day.local_hour[step]), step % 4, values, refused[:, t]))
        begin += day.n_steps
    wanted = reference.kept(list(zip(contracted, names, strict=True)), windows, quarters)
    rows = zip(found.contract, found.month, found.quarters, found.kept, found.refused, strict=True)
    assert {(c, m): [q, k, r] for c, m, q, k, r in rows} == wanted
    due = availability_due(contracts)
    mine = due.month <= 202611
    assert np.array_equal(due.quarters[mine], found.quarters)
    # October repeats an hour of the night
    assert found.quarters[(found.contract == 1) & (found.month == 202610)][0] == 31 * (16 + 12) + 4


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("seed", range(200))
def test_availability_lines_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    contracted = [int(w) for w in rng.integers(1, [10, 10**6, 10**8])]
    contracts = book(contracted, [["evening"], ["night"], ["evening", "late"]], "2026-11-01", "2026-11-30")
    due = availability_due(contracts)
    days = month_of(2026, 11)
    n = sum(day.n_steps for day in days)
    declared = np.array(contracted)[:, np.newaxis] - (rng.random((3, n)) < rng.choice([0, 0.2, 0.5]))
    kept = count_kept(contracts, days, declared, refused=rng.random((3, n)) < rng.choice([0, 0.001]))
    names = sorted(AVAILABILITY_TERMS)
    terms = AVAILABILITY_TERMS[names[seed % len(names)]]
    if seed % 3 == 0:
        terms = AvailabilityTerms(
            performance_ppm=int(rng.integers(10**6 + 1)), least_ppm=500_000, refusal_loses=bool(seed % 2)
        )
    energies = [rng.integers(-5, 100, 3) * 10 ** int(rng.integers(0, 10)) for _ in range(4)]
    energies[1], energies[3] = (np.maximum(energies[k], 0) for k in (1, 3))
    performance, previous = energies[:2], energies[2:]
    lines = settle_availability(
        due, kept, terms, aggregate=[7, 8, 9], operator=[LOCAL, GLOBAL, LOCAL], performance_wqh=tuple(performance),
        previous_wqh=tuple(previous),
    )  # fmt: skip
    for k in range(3):
        wanted = reference.amounts(
            int(due.amount_ueur[k]), int(kept.quarters[k]), int(kept.kept[k]), int(kept.refused[k]), terms,
            [int(e[k]) for e in performance], [int(e[k]) for e in previous],
        )  # fmt: skip
        assert (lines.kept_ueur[k], lines.performance_ueur[k]) == wanted
    assert (lines.net_ueur + lines.deducted_ueur == due.amount_ueur).all()
    assert (lines.net_ueur >= 0).all()
    assert lines.aggregate.tolist() == [7, 8, 9]
    assert lines.operator.tolist() == [LOCAL, GLOBAL, LOCAL]


def test_a_contract_that_is_kept_gets_what_is_due_and_a_refusal_costs_the_month():
    contracts = book([1_000_000], [["evening"]], "2026-11-01", "2026-12-31")
    due = availability_due(contracts)
    # 30 days of four hours at 28.846154 EUR/MW and hour
    assert due.amount_ueur[0] == 120 * 28_846_154
    days = [*month_of(2026, 11), *month_of(2026, 12)]
    declared = np.full((1, sum(day.n_steps for day in days)), 1_000_000)
    refused = np.zeros_like(declared, bool)
    refused[0, 75] = True

    def net(**marks):
        return settle_availability(due, count_kept(contracts, days, declared, **marks), aggregate=[0]).net_ueur.tolist()

    assert net() == due.amount_ueur.tolist()
    assert net(refused=refused) == [0, due.amount_ueur[1]]
    outside = np.roll(refused, 20)  # 23:45
    assert net(refused=outside) == due.amount_ueur.tolist()
    # half of the month a watt below the contract
    declared[0, : 96 * 15] -= 1
    assert net() == [due.amount_ueur[0] // 2, due.amount_ueur[1]]


def test_statements_hold_the_availability_of_contracts():
    contracts = book([1_000_000, 2_000_000], [["evening"], ["night"]], "2026-11-01", "2026-11-30")
    due = availability_due(contracts)
    days = month_of(2026, 11)
    declared = np.full((2, 30 * 96), 2_000_000)
    lines = settle_availability(due, count_kept(contracts, days, declared), aggregate=[1, 0], operator=GLOBAL)
    table = statements([], bsp_of_aggregate=[4, 5], availability=lines)
    assert table.bsp.tolist() == [4, 5]
    assert table.operator.tolist() == [GLOBAL] * 2
    assert table.net_ueur.tolist() == table.availability_ueur.tolist() == due.amount_ueur[::-1].tolist()


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(30))
def test_shares_of_pods_sum_to_their_line_and_lines_to_the_operator(seed):
    rng = np.random.default_rng(seed)
    contracted = [int(w) for w in rng.integers(1, [10, 10**6, 10**8])]
    contracts = book(contracted, [["evening"], ["night"], ["evening", "late"]], "2026-11-20", "2026-12-10")
    days = [*month_of(2026, 11), *month_of(2026, 12)]
    n = sum(day.n_steps for day in days)
    declared = np.array(contracted)[:, np.newaxis] - (rng.random((3, n)) < 0.3)
    kept = count_kept(contracts, days, declared)
    operator = np.array([LOCAL, GLOBAL, LOCAL])
    lines = settle_availability(availability_due(contracts), kept, aggregate=[0, 1, 1], operator=operator)
    owner = np.r_[0, 1, 2, rng.integers(0, 3, 17)]
    pod, weight = rng.permutation(20) // 2, rng.integers(0, 4, 20)
    shares = share_availability(lines, contract=owner, pod=pod, weight=weight)
    assert len(lines) == 6
    for k in range(6):
        own = sorted((int(p), i) for i, p in enumerate(pod) if owner[i] == lines.contract[k])
        weights = [int(weight[i]) for _, i in own]
        weights = weights if sum(weights) else [1] * len(weights)
        mine = shares.line == k
        assert shares.pod[mine].tolist() == [p for p, _ in own]
        assert shares.net_ueur[mine].tolist() == largest_remainder(int(lines.net_ueur[k]), weights).tolist()
    table = statements([], bsp_of_aggregate=[3, 4], availability=lines)
    for side in (LOCAL, GLOBAL):
        of_side = shares.net_ueur[lines.operator[shares.line] == side].sum()
        assert of_side == table.net_ueur[table.operator == side].sum() == lines.net_ueur[lines.operator == side].sum()
    with pytest.raises(SettlementError, match="FX-S012"):
        share_availability(lines, contract=[0, 1], pod=[1, 2], weight=[1, 1])


def test_what_is_not_whole_or_lacks_an_input_is_refused():
    contracts = book([1000], [["evening"]], "2026-11-01", "2026-11-30")
    due, days = availability_due(contracts), month_of(2026, 11)
    declared = np.full((1, 30 * 96), 1000)
    kept = count_kept(contracts, days, declared)
    short = count_kept(contracts, days[1:], declared[:, 96:])
    for arguments, code in (
        ({"kept": short}, "FX-S011"),
        ({"terms": "western_power"}, "FX-S013"),
        ({"terms": "by_delivery"}, "FX-S013"),
        ({"terms": AvailabilityTerms(performance_ppm=-1)}, "FX-S003"),
        ({"terms": AvailabilityTerms(performance_ppm=5, by_previous_month=True)}, "FX-S003"),
    ):
        with pytest.raises(SettlementError) as caught:
            settle_availability(**({"due": due, "kept": kept, "aggregate": [0]} | arguments))
        assert caught.value.codes == (code,)
    none = dataclasses.replace(due, **{f.name: getattr(due, f.name)[:0] for f in dataclasses.fields(due)})
    with pytest.raises(SettlementError, match="FX-S011"):
        settle_availability(none, kept, aggregate=[0])
    with pytest.raises(OptionError):
        settle_availability(due, kept, "generous", aggregate=[0])
    with pytest.raises(ValidationError, match="FX-A009"):
        count_kept(contracts, [days[0], days[0]], declared[:, :192])
    with pytest.raises(ValidationError, match="FX-A001"):
        count_kept(contracts, days, declared[:, 1:])
    with pytest.raises(ValidationError, match="FX-A001"):
        settle_availability(due, kept, aggregate=[])


@pytest.mark.parametrize("name", sorted(AVAILABILITY_TERMS))
def test_every_preset_of_availability_is_sound_and_sourced(name):
    terms = AVAILABILITY_TERMS[name]
    terms.check()
    assert terms.source
    assert set(terms.unverified) <= {field.name for field in dataclasses.fields(terms)}
