from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OptionError, StateError, ValidationError
from flexcore.register import readiness
from flexcore.register.register import Register
from flexcore.register.states import AGGREGATE_PRODUCT
from flexcore.units import DOWN, GLOBAL, LOCAL, UP
from tests.reference import register_states as reference
from tests.register.conftest import (
    Nodes,
    assert_same,
    form,
    pods_table,
    products_table,
    registered,
    snapshot,
    unit_ids,
    units_table,
)

ROME = ZoneInfo("Europe/Rome")
BITS = {
    "unit": readiness.UNIT_INACTIVE,
    "contract": readiness.NO_CONTRACT,
    "light": readiness.NO_STATIC_LIGHT,
    "aggregate": readiness.AGGREGATE_INACTIVE,
    "grid": readiness.NO_GRID_APPROVAL,
    "product": readiness.NO_PRODUCT,
    "suspended": readiness.SUSPENDED,
    "window": readiness.WINDOW_CLOSED,
}
NOON = int(datetime(2026, 3, 4, 12, tzinfo=ROME).timestamp())


def unix(*moment):
    return int(datetime(*moment, tzinfo=ROME).timestamp())


def admitted(register, at=NOON - 7200):
    """All aggregates approved by the grid check and temporarily admitted to a product."""
    register.send("grid", "start")
    register.send("grid", "approve", at=1500)
    for side, product in ((0, "P_loc"), (1, "P_glo")):
        ids = register.aggregates.agg_id[register.aggregates.operator == side]
        register.request_products({"agg_id": ids, "product_id": np.full(ids.size, product)}, partial=True)
    register.send("qualification", "admit", at=at)
    return register


@pytest.mark.rule("REG-02")
def test_each_cause_has_its_bit(market):
    register = market.register
    assert register.ready(NOON, LOCAL)[0] == sum(BITS[k] for k in ("grid", "product", "window"))
    admitted(register)
    assert register.ready(NOON, LOCAL)[:5].tolist() == [0] * 5
    assert register.ready(NOON, GLOBAL)[[0, 5]].tolist() == [0, 0]
    assert register.ready(NOON, LOCAL)[5] == sum(BITS[k] for k in ("aggregate", "grid", "product", "window"))
    assert register.ready(999, LOCAL)[0] == sum(BITS[k] for k in ("light", "grid", "product", "window"))
    register.send("unit", "pause", rows=[0])
    register.suspend("units", [1], start=NOON, end=NOON + 900)
    register.suspend("aggregates", register.aggregate_rows(["L2"]), start=NOON)
    bits = register.ready([NOON - 1, NOON, NOON + 900], LOCAL)
    assert bits[0].tolist() == [BITS["unit"]] * 3
    assert bits[1].tolist() == [0, BITS["suspended"], 0]
    assert bits[3].tolist() == [0, BITS["suspended"], BITS["suspended"]]
    assert register.ready(NOON, GLOBAL)[3] == 0  # the suspension of L2 does not reach G2
    register.suspend("aggregates", register.aggregate_rows(["L2"]), start=-1)
    assert register.ready(NOON, LOCAL)[3] == 0
    assert set(readiness.NOT_READY) == set(BITS.values())


@pytest.mark.rule("REG-02")
def test_a_repeated_check_does_not_take_readiness_away(market):
    register = admitted(market.register)
    register.send("grid", "change")
    assert (register.aggregates.grid_state == 1).all()
    assert register.ready(NOON, LOCAL)[0] == 0
    register.send("grid", "refuse")
    assert register.ready(NOON, LOCAL)[0] == BITS["grid"]


@pytest.mark.rule("PRQ-01")
def test_no_direction_and_no_power_is_sold_that_is_not_qualified(register):
    form(register, {"L1": ("B1", 0, [2, 0, 1]), "G1": ("B1", 1, [0, 1])})
    products = products_table(down=np.array([False, True]), granularity_w=np.array([2500, 500]))
    register.register_products(products)
    admitted(register)
    assert register.qualifications.up_w.tolist() == [5000, 4000]  # of 6000 and 4000 enrolled
    assert register.qualifications.down_w.tolist() == [0, 2000]
    assert register.ready_w([NOON], LOCAL, UP)[:4, 0].tolist() == [2000, 2000, 1000, 0]
    assert register.ready_w([NOON], LOCAL, DOWN).sum() == 0
    assert register.ready_w([NOON], GLOBAL, DOWN)[:4, 0].tolist() == [1000, 1000, 0, 0]
    assert register.ready(NOON, LOCAL, direction=DOWN)[0] == BITS["product"] | BITS["window"]
    assert register.ready(NOON, LOCAL, direction=UP)[0] == register.ready(NOON, LOCAL)[0] == 0
    # who is not ready leaves the power to the others
    register.send("unit", "pause", rows=[0])
    assert register.ready_w([NOON], LOCAL, UP)[:4, 0].tolist() == [0, 2000, 2000, 0]


def test_windows_are_local_and_wrap_around(register):
    form(register, {"L1": ("B1", 0, [0])})
    window = {"first_month": [11, 1], "last_month": [2, 12], "first_hour": [17, 0], "last_hour": [20, 23]}
    window |= {"weekdays": [31, 127], "min_w": [1, 1], "validity_days": [36500, 36500]}
    register.register_products(products_table(**{name: np.array(values) for name, values in window.items()}))
    admitted(register, at=1500)

    def open_at(*moment):
        return not register.ready(unix(*moment), LOCAL)[0] & BITS["window"]

    assert open_at(2026, 1, 14, 17)
    assert open_at(2026, 11, 3, 20, 45)
    assert not open_at(2026, 1, 14, 21)
    assert not open_at(2026, 1, 14, 16, 45)
    assert not open_at(2026, 3, 4, 17)
    assert not open_at(2026, 1, 17, 18)  # a Saturday


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_against_the_loop(data):
    register = registered()
    register.apply_static_light(at=1000)
    form(register, {"L1": ("B1", 0, [0, 1]), "L2": ("B1", 0, [2]), "G1": ("B1", 1, [0, 3])})
    up, down = ([data.draw(st.booleans()) for _ in range(2)] for _ in range(2))
    step = np.array([data.draw(st.sampled_from([500, 900, 1900])) for _ in range(2)])
    window = {"first_hour": np.array([10, 0]), "last_hour": np.array([13, 23])}
    register.register_products(products_table(**window, up=np.array(up), down=np.array(down), granularity_w=step))
    if data.draw(st.booleans()):
        admitted(register)
    rows = st.lists(st.integers(0, 2), unique=True, max_size=3)
    register.send("aggregate", "pause", rows=data.draw(rows))
    register.send("grid", "start", rows=data.draw(rows), partial=True)
    register.send("grid", "approve", rows=data.draw(rows), at=NOON + data.draw(st.integers(-1, 1)), partial=True)
    register.suspend("aggregates", data.draw(rows), start=NOON - 5, end=NOON + data.draw(st.integers(-1, 1)))
    register.suspend("units", data.draw(rows), start=NOON + data.draw(st.integers(-1, 1)))
    register.send("unit", "pause", rows=data.draw(rows))
    register.report_change(data.draw(rows), new_owner=True)
    times = [NOON - 7200 - 1, NOON - 1, NOON, NOON + 1]

    def window_open(product, now):
        hour = datetime.fromtimestamp(now, ROME).hour
        return register.products.first_hour[product] <= hour <= register.products.last_hour[product]

    for operator in (LOCAL, GLOBAL):
        bits = register.ready(times, operator, n_threads=2)
        assert bits.dtype == np.uint16
        for unit in range(12):
            for k, now in enumerate(times):
                causes = reference.ready(register, unit, operator, now, window_open)
                assert bits[unit, k] == sum(BITS[cause] for cause in causes)
        for direction in (UP, DOWN):
            bits = register.ready(times, operator, direction=direction)
            power_w = register.ready_w(times, operator, direction)
            for k, now in enumerate(times):
                causes = [reference.ready(register, unit, operator, now, window_open, direction) for unit in range(12)]
                assert bits[:, k].tolist() == [sum(BITS[cause] for cause in of_unit) for of_unit in causes]
                expected = reference.ready_w(register, operator, direction, now, window_open)
                assert power_w[:, k].tolist() == expected


def test_refused_events_change_nothing(market):
    register = market.register
    before = snapshot(register)
    with pytest.raises(StateError, match="IT002E00000003"):
        register.send("unit", "resume", rows=[3])
    with pytest.raises(StateError):
        register.send("grid", "approve", at=5)
    for bad in ({"entity": "pod", "event": "pause"}, {"entity": "unit", "event": "toe"}):
        with pytest.raises(OptionError):
            register.send(**bad)
    with pytest.raises(OptionError):
        register.send("qualification", "pass")
    with pytest.raises(ValidationError, match="FX-A006"):
        register.send("unit", "pause", rows=[12])
    with pytest.raises(ValidationError, match="FX-A006"):
        register.ready(NOON, 2)
    assert_same(before, snapshot(register))
    moved = register.send("unit", "resume", partial=True)
    assert moved.n_refused == 12
    assert_same(before, snapshot(register))


@pytest.mark.rule("PRQ-04")
def test_a_temporary_admission_expires(market):
    register = admitted(market.register)
    end, closed = NOON - 7200 + 10 * 86400, BITS["product"] | BITS["window"]
    assert register.qualifications.expires_at[0] == end
    assert register.ready([NOON - 7201, end - 1, end], LOCAL)[0].tolist() == [closed, 0, closed]
    assert register.expire(end - 1).size == 0
    assert register.expire(end).tolist() == [0, 1, 2]  # the local ones; the global product holds for 20 days
    assert AGGREGATE_PRODUCT.states[register.qualifications.state[0]] == "REQUESTED"
    assert register.qualifications.approved_at[0] == -1


@pytest.mark.parametrize(
    ("times", "code"),
    [
        ({"start": 10, "end": 5}, "FX-A006"),
        ({"start": 10, "end": 10}, "FX-A006"),
        ({"start": -2}, "FX-A006"),
        ({"start": "2026"}, "FX-A002"),
        ({"start": float("nan")}, "FX-A002"),
        ({"start": 10, "end": float("nan")}, "FX-A002"),
        ({"start": [10, 20]}, "FX-A001"),
    ],
)
def test_a_suspension_that_is_no_interval_is_refused(market, times, code):
    before = snapshot(market.register)
    with pytest.raises(ValidationError) as refused:
        market.register.suspend("units", [0, 1], **times)
    assert refused.value.codes == (code,)
    assert_same(before, snapshot(market.register))


def test_a_mask_is_not_taken_for_positions(market):
    register = market.register
    before = snapshot(register)
    mask = np.isin(np.arange(12), [5, 7])
    for act in (
        lambda: register.send("unit", "terminate", rows=mask),
        lambda: register.suspend("units", mask, start=NOON),
        lambda: register.report_change(mask),
    ):
        with pytest.raises(ValidationError, match="flatnonzero") as refused:
            act()
        assert refused.value.codes == ("FX-A002",)
    assert_same(before, snapshot(register))


# -- order does not matter -------------------------------------------------------------------------------------------


def day_of(order):
    """The whole registration with every table in another order; results by key."""
    rng = np.random.default_rng(7)
    peaks, load = rng.integers(0, 6000, 12), rng.integers(-5000, 5000, (12, 4))
    declared = {"up_w": rng.integers(1, 9000, 12), "down_w": rng.integers(1, 9000, 12), "technology": np.arange(1, 13)}
    register = Register(Nodes(["n0", "n1", "n2", "n3"]))
    register.register_parties({"party_id": ["B1", "B2"], "kind": ["BSP", "BSP"]})
    register.register_pods({name: values[order] for name, values in pods_table().items()})
    register.register_units({name: values[order] for name, values in units_table(**declared).items()})
    register.apply_static_light(at=1000, peak_in_w=peaks[order], peak_out_w=peaks[order], min_w=100)
    lit = {code for code, at in zip(register.units.unit_id, register.units.light_approved_at, strict=True) if at >= 0}
    pools = {"L1": ("B1", 0, [0, 1, 2]), "L2": ("B1", 0, [3, 4]), "G1": ("B1", 1, [2, 1, 0]), "G2": ("B2", 1, [8, 9])}
    pools = {a: (b, s, [k for k in members if unit_ids(k)[0] in lit]) for a, (b, s, members) in pools.items()}
    form(register, pools)
    register.register_products(products_table(min_w=np.array([1, 1]), granularity_w=np.array([1, 1])))
    admitted(register)
    by_code = np.argsort(register.pods.pod_code)
    results = {"sums": register.node_sums_w(load[order]), "aggregate_sums": register.aggregate_sums_w(load[order])}
    results["ready"] = register.ready(NOON, LOCAL)[by_code]
    for name in ("unit_id", "validated_up_w", "validated_down_w", "light_state", "light_causes_up", "state"):
        results[name] = getattr(register.units, name)[by_code]
    m = register.members
    results |= {"indptr": m.indptr, "members": register.units.unit_id[m.unit], "up_w": m.up_w, "down_w": m.down_w}
    pairs = register.configurations()
    results |= {"pairs": pairs.local, "configuration": pairs.configuration, "toe": pairs.toe}
    quals = register.qualifications
    results |= {name: getattr(quals, name) for name in ("aggregate", "product", "up_w", "down_w", "state")}
    return results


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_pods_changes_nothing(order):
    expected, got = day_of(np.arange(12)), day_of(np.array(order))
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)
