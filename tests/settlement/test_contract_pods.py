"""No watt of a POD's availability is counted, or paid, twice (SET-01, AGG-02)."""

import datetime as dt

import numpy as np
import pytest

import tests.reference.settlement_availability as reference
from flexcore import settle
from flexcore.errors import SettlementError, ValidationError
from flexcore.market.long_term import ContractBook, availability_due
from flexcore.market_day import MarketDay
from flexcore.settlement import SettlementTerms, contract_availability, count_kept, settle_availability
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

WINDOWS = {"evening": (2, 6), "night": (0, 3), "late": (5, 8)}  # quarters of the day


def book(names, direction, contracted=1000):
    n = len(names)
    contracts = {
        "contract_id": [f"C{k}" for k in range(n)], "bsp": ["B"] * n, "aggregate": ["A"] * n, "perimeter": ["Z"] * n,
        "direction": direction, "contracted_w": [contracted] * n, "availability_ueur_per_mw_h": [4_000_000] * n,
        "use_ueur_per_mwh": [0] * n,
    }  # fmt: skip
    links = {
        "contract_id": [f"C{k}" for k, own in enumerate(names) for _ in own],
        "window_id": [name for own in names for name in own],
    }
    windows = {
        "window_id": list(WINDOWS), "first_day": ["2026-11-01"] * 3, "last_day": ["2026-11-30"] * 3,
        "from_quarter": [start for start, _ in WINDOWS.values()], "to_quarter": [stop for _, stop in WINDOWS.values()],
    }  # fmt: skip
    return ContractBook.from_tables(contracts, links, windows)


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-02")
@pytest.mark.parametrize("seed", range(50))
def test_power_of_contracts_equals_the_reference(seed):
    """Twelve random cases each: 600 in all, with PODs behind up to six contracts of both operators and directions."""
    rng = np.random.default_rng(seed)
    for _ in range(12):
        n_contracts, n_pods = int(rng.integers(1, 7)), int(rng.integers(1, 5))
        names = [list(rng.choice(list(WINDOWS), int(rng.integers(1, 4)), replace=False)) for _ in range(n_contracts)]
        way = rng.integers(0, 2, n_contracts)
        contracts = book(names, way)
        days = [MarketDay(dt.date(2026, 11, 3)), MarketDay(dt.date(2026, 12, 1)), MarketDay(dt.date(2026, 11, 5))]
        pod, direction = (a.ravel() for a in np.meshgrid(rng.permutation(n_pods) + 70, [UP, DOWN]))
        power = rng.integers(0, int(rng.choice([3, 10**9])), (2 * n_pods, 3 * 96))
        pairs = [(c, r) for c in range(n_contracts) for r in range(2 * n_pods) if direction[r] == way[c]]
        pairs = [pairs[k] for k in rng.permutation(len(pairs))[: rng.integers(0, len(pairs) + 1)]]
        owner, row = np.array(pairs, np.int64).reshape(-1, 2).T
        weight = rng.integers(0, int(rng.choice([1, 3, 5000])), len(pairs))
        operator = rng.integers(0, 2, n_contracts)
        found = contract_availability(
            contracts, days, power, pod=pod, direction=direction, contract=owner, row=row, weight=weight,
            operator=operator,
        )  # fmt: skip
        members = [(int(c), int(pod[r]), int(direction[r]), int(w)) for c, r, w in zip(owner, row, weight, strict=True)]
        for t in range(3 * 96):
            has = {(int(p), int(d)): int(power[r, t]) for r, (p, d) in enumerate(zip(pod, direction, strict=True))}
            inside = [t // 96 != 1 and any(a <= t % 96 < b for a, b in map(WINDOWS.get, own)) for own in names]
            if not any(inside):
                assert not found[:, t].any()
                continue
            assert found[:, t].tolist() == reference.power_of_contracts(has, members, inside, operator.tolist())
        for side in (LOCAL, GLOBAL):
            for each in (UP, DOWN):
                mine = (operator == side) & (way == each)
                assert (found[mine].sum(axis=0) <= power[direction == each].sum(axis=0)).all()


def test_one_pod_behind_two_contracts_keeps_only_what_it_has():
    """A POD with 1,500 W behind two contracts of 1,000 W: kept are the quarter-hours in which one is open alone."""
    contracts = book([["evening"], ["late"]], [UP, UP])  # quarters 2 to 5 and 5 to 7
    days = [MarketDay(dt.date(2026, 11, day)) for day in range(1, 31)]
    power = np.full((1, 30 * 96), 1500)

    def kept(power, operator):
        found = contract_availability(
            contracts, days, power, pod=[7], direction=[UP], contract=[0, 1], row=[0, 0], weight=[1000, 1000],
            operator=operator, n_threads=2,
        )  # fmt: skip
        count = count_kept(contracts, days, np.full((2, 30 * 96), 10**6), measured_w=found)
        lines = settle_availability(availability_due(contracts), count, aggregate=[0, 0], operator=operator)
        return lines.kept.tolist(), lines.net_ueur.tolist()

    assert kept(power, LOCAL) == ([30 * 3, 30 * 2], [30 * 3 * 1000, 30 * 2 * 1000])
    assert kept(2 * power, LOCAL)[0] == [30 * 4, 30 * 3]
    # operators settle separately
    assert kept(power, [LOCAL, GLOBAL])[0] == [30 * 4, 30 * 3]


def test_what_would_count_twice_or_the_wrong_way_is_refused():
    contracts, days = book([["night"], ["night"]], [UP, DOWN]), [MarketDay(dt.date(2026, 11, 3))]
    good = {
        "available_w": np.ones((2, 96), int), "pod": [7, 7], "direction": [UP, DOWN], "contract": [0, 1],
        "row": [0, 1], "weight": [1, 1],
    }  # fmt: skip
    assert contract_availability(contracts, days, **good)[:, :3].tolist() == [[1] * 3] * 2
    for changes, codes in (
        ({"direction": [UP, UP], "contract": [0, 0]}, ("FX-S015",)),
        ({"contract": [0, 0], "row": [0, 0]}, ("FX-S015",)),
        ({"row": [1, 0]}, ("FX-S016",)),
    ):
        with pytest.raises(SettlementError) as caught:
            contract_availability(contracts, days, **(good | changes))
        assert caught.value.codes == codes
        assert set(caught.value.findings[0].ids) == {7}
    for changes in ({"row": [0, 2]}, {"contract": [0, 2]}, {"available_w": -np.ones((2, 96), int)}, {"weight": [1]}):
        with pytest.raises(ValidationError):
            contract_availability(contracts, days, **(good | changes))
    none = {name: np.zeros(0, np.int64) for name in ("pod", "direction", "contract", "row", "weight")}
    assert not contract_availability(contracts, days, np.zeros((0, 96), int), **none).any()


def test_a_pod_is_paid_for_availability_once_by_each_operator_and_direction():
    terms = SettlementTerms(price_ueur_per_mwh=0, availability_ueur_per_mw_h=4_000_000)
    none, held = np.zeros((2, 4), int), np.array([[5, 5, 0, 0], [0, 5, 5, 0]])

    def pay(**changed):
        rows = {"direction": UP, "operator": LOCAL, "aggregate": [1, 2], "pod": [7, 7], "available_w": held} | changed
        return settle(none, none, none, terms, **rows).totals.availability_ueur.tolist()

    for changed in ({}, {"aggregate": 1}):
        with pytest.raises(SettlementError) as caught:
            pay(**changed)
        (finding,) = caught.value.findings
        assert (finding.code, finding.ids) == ("FX-S015", (7,))
    assert pay(available_w=np.array([[5, 5, 0, 0], [0, 0, 5, 0]])) == [15, 0]
    assert pay(direction=[UP, DOWN]) == [20, 0]
    assert pay(operator=[LOCAL, GLOBAL]) == [10, 10]
    assert pay(pod=[7, 8]) == [20, 0]
