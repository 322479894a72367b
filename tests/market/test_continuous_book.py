"""The continuous book: its rules by hand, equal to the reference, within the grid, never better than the auction."""

import datetime as dt

import numpy as np
import pytest

from flexcore.errors import GridError, OfferError, TimeSeriesError, UnknownIdError, ValidationError
from flexcore.market.continuous_book import COMPLETIONS, KINDS, STATES, continuous_book
from tests.market.book_cases import (
    INF,
    inside_path,
    random_case,
    run,
    run_reference,
    trades_of,
    voltage_rows,
)
from tests.market.clearing_cases import forest
from tests.reference import market_continuous_book as reference

#   a
#   |-- b -- c
#   `-- d
TREE = {"element": ["a", "b", "c", "d"], "parent": ["a", "a", "b", "a"]}


def book(*lines, limits=(), **options):
    """Run orders given as (kind, element, direction, W, price, further columns); they arrive one after the other."""
    columns = ("kind", "element", "direction", "quantity_w", "price_ueur_per_mwh")
    orders = {name: [line[k] for line in lines] for k, name in enumerate(columns)}
    more = [line[5] if len(line) > 5 else {} for line in lines]
    n = len(lines)
    orders |= {"order_id": np.arange(n), "step": np.zeros(n, int), "arrived_at": np.arange(n)}
    usual = {"completion": "normal", "minimum_w": 0, "expires_at": 2**62, "cancelled_at": 2**62}
    orders |= {name: [extra.get(name, value) for extra in more] for name, value in usual.items()}
    caps = {
        "element": [x[0] for x in limits], "direction": [x[1] for x in limits], "step": [0] * len(limits),
        "capability_w": [x[2] for x in limits],
    }  # fmt: skip
    return continuous_book(orders, caps if limits else None, parent=TREE, **options)


def traded(result):
    """Trades as (buyer, seller, W, price)."""
    return [(b, s, w, p) for b, s, _, w, p, _, _ in trades_of(result)]


def states(result):
    return [STATES[code] for code in result.state]


def test_best_price_comes_first_then_the_earliest():
    result = book(
        ("offer", "b", "up", 5, 30), ("offer", "c", "up", 5, 20), ("offer", "b", "up", 5, 20),
        ("request", "a", "up", 12, 100),
    )  # fmt: skip
    assert traded(result) == [(3, 1, 5, 20), (3, 2, 5, 20), (3, 0, 2, 30)]
    assert states(result) == ["part", "filled", "filled", "filled"]
    assert result.left_w.tolist() == [3, 0, 0, 0]
    assert result.welfare_ueur == 0  # 5 * 80 + 5 * 80 + 2 * 70 in W times micro-EUR/MWh is far below a micro-EUR


def test_a_trade_takes_the_price_of_the_earlier_order():
    resting_offer = book(("offer", "b", "up", 5, 30), ("request", "a", "up", 5, 100))
    resting_request = book(("request", "a", "up", 5, 100), ("offer", "b", "up", 5, 30))
    assert traded(resting_offer) == [(1, 0, 5, 30)]
    assert traded(resting_request) == [(0, 1, 5, 100)]


def test_money_adds_up():
    result = book(("offer", "b", "up", 4_000_000, 30_000_000), ("request", "a", "up", 9_000_000, 100_000_000))
    assert result.total_cost == 30  # 4 MW for a quarter-hour at 30 EUR/MWh
    assert result.welfare == 70


def test_a_request_is_served_from_at_and_below_its_element_in_its_direction_only():
    result = book(
        ("offer", "a", "up", 1, 1), ("offer", "d", "up", 1, 1), ("offer", "c", "down", 1, 1),
        ("offer", "b", "up", 1, 9), ("offer", "c", "up", 1, 8), ("request", "b", "up", 5, 10),
    )  # fmt: skip
    assert traded(result) == [(5, 4, 1, 8), (5, 3, 1, 9)]


def test_an_arriving_offer_takes_the_dearest_request_on_its_path():
    result = book(
        ("request", "b", "up", 3, 50), ("request", "a", "up", 3, 60), ("request", "d", "up", 3, 99),
        ("request", "c", "up", 3, 60), ("offer", "c", "up", 7, 10),
    )  # fmt: skip
    assert traded(result) == [(1, 4, 3, 60), (3, 4, 3, 60), (0, 4, 1, 50)]


def test_a_full_element_lets_the_next_best_trade_and_the_rest_stays():
    result = book(
        ("offer", "c", "up", 9, 1), ("offer", "b", "up", 9, 2), ("offer", "d", "up", 9, 3),
        ("request", "a", "up", 30, 9),
        limits=[("c", "up", 4), ("b", "up", 6)],
    )  # fmt: skip
    assert traded(result) == [(3, 0, 4, 1), (3, 1, 2, 2), (3, 2, 9, 3)]
    assert result.left_w.tolist() == [5, 7, 0, 15]
    assert dict(zip(result.elements.tolist(), result.y_w[:, 0].tolist(), strict=True)) == {
        "a": 15, "b": 6, "c": 4, "d": 9,
    }  # fmt: skip


def test_limits_for_down_hold_beside_those_for_up_and_the_tightest_of_several_counts():
    lines = (("offer", "c", "down", 9, 1), ("request", "a", "down", 30, 9), ("offer", "d", "up", 9, 1))
    result = book(*lines, limits=[("b", "down", 5), ("c", "down", 7), ("b", "down", 6), ("c", "up", 1)])
    assert traded(result) == [(1, 0, 5, 1)]
    assert result.y_w[result.elements == "b"].tolist() == [[-5]]


@pytest.mark.parametrize("rescan", [False, True])
def test_room_that_comes_back_serves_what_waits_only_if_asked_for(rescan):
    result = book(
        ("offer", "c", "up", 9, 1), ("request", "b", "up", 9, 9), ("offer", "c", "down", 5, 1),
        ("request", "c", "down", 5, 9),
        limits=[("c", "up", 4)], rescan=rescan,
    )  # fmt: skip
    first = [(1, 0, 4, 1), (3, 2, 5, 1)]
    assert traded(result) == ([*first, (1, 0, 5, 1)] if rescan else first)
    assert result.trade_time[-1] == 3


def test_completion_types():
    offers = (("offer", "b", "up", 5, 20), ("offer", "b", "up", 5, 30))
    for completion, wanted, expected in (
        ("normal", 12, "part"), ("fill_and_kill", 12, "killed"), ("fill_or_kill", 12, "killed"),
        ("fill_or_kill", 10, "filled"),
    ):  # fmt: skip
        result = book(*offers, ("request", "a", "up", wanted, 50, {"completion": completion}))
        assert states(result)[2] == expected
        assert result.traded_w[2] == (0 if expected == "killed" and completion == "fill_or_kill" else 10)
    late = book(*offers, ("request", "a", "up", 12, 50, {"completion": "fill_and_kill"}), ("offer", "b", "up", 5, 1))
    assert late.traded_w[3] == 0


def test_a_minimum_is_met_by_one_arrival_or_not_at_all():
    little = ("offer", "b", "up", 4, 20)
    order = ("request", "a", "up", 10, 50, {"minimum_w": 6})
    together = book(little, little, order)  # 4 + 4 of one arrival
    assert traded(together) == [(2, 0, 4, 20), (2, 1, 4, 20)]
    alone = book(little, order, little)  # 4, then 4 more: never 6 at once
    assert traded(alone) == []
    met = book(order, ("offer", "b", "up", 6, 20), ("offer", "b", "up", 1, 20))  # once met, the rest is free
    assert traded(met) == [(0, 1, 6, 50), (0, 2, 1, 50)]
    whole = book(
        ("offer", "b", "up", 8, 20, {"minimum_w": 8}), ("offer", "b", "up", 3, 30), ("request", "a", "up", 5, 50)
    )
    assert traded(whole) == [(2, 1, 3, 30)]


def test_orders_end_by_expiry_or_cancellation_before_what_arrives_then():
    result = book(
        ("offer", "b", "up", 5, 1, {"expires_at": 4}), ("offer", "b", "up", 5, 2, {"cancelled_at": 4}),
        ("offer", "b", "up", 5, 3, {"expires_at": 5}), ("offer", "b", "up", 5, 9), ("request", "a", "up", 20, 5),
    )  # fmt: skip
    assert traded(result) == [(4, 2, 5, 3)]
    assert states(result) == ["expired", "cancelled", "filled", "resting", "part"]
    both = book(("offer", "b", "up", 5, 1, {"expires_at": 4, "cancelled_at": 5}), closes_at=9)
    assert states(both) == ["expired"]  # what comes first
    later = book(("offer", "b", "up", 5, 1, {"expires_at": 4}), closes_at=4)
    assert states(later) == ["expired"]
    assert states(book(("offer", "b", "up", 5, 1, {"expires_at": 4}), closes_at=3)) == ["resting"]


def test_trading_ends_with_the_last_arrival_also_before_time_zero():
    orders = {
        "order_id": [1, 2], "kind": ["offer", "offer"], "element": ["a", "a"], "direction": ["up", "up"],
        "step": [0, 0], "quantity_w": [1, 1], "price_ueur_per_mwh": [1, 1], "arrived_at": [-10, -7],
        "expires_at": [-5, -7 + 1],
    }  # fmt: skip
    assert states(continuous_book(orders)) == ["resting", "resting"]
    assert states(continuous_book(orders, closes_at=-6)) == ["resting", "expired"]
    for wrong in (float("nan"), "5", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), [1, 2]):
        with pytest.raises(ValidationError):
            continuous_book(orders, closes_at=wrong)


def test_peers_load_only_the_path_between_them():
    lines = (("offer", "c", "up", 9, 10), ("offer", "b", "down", 9, -30))
    caps = [("b", "up", 0), ("b", "down", 0), ("a", "up", 0), ("a", "down", 0), ("c", "up", 7)]
    assert traded(book(*lines, limits=caps)) == []
    result = book(*lines, limits=caps, peer_trades=True)
    assert traded(result) == [(1, 0, 7, 10)]  # the one at b buys energy from the one at c, at the earlier price
    assert result.total_cost_ueur == 0
    assert traded(book(*lines[::-1], limits=caps, peer_trades=True)) == [(0, 1, 7, 30)]


def test_a_paired_request_buys_inside_and_sells_outside_for_the_spread():
    lines = (
        ("offer", "c", "up", 5, 60), ("offer", "d", "down", 3, -50), ("offer", "a", "down", 9, -40),
        ("offer", "b", "down", 9, -99), ("paired_request", "b", "up", 9, 15, {"completion": "fill_and_kill"}),
    )  # fmt: skip
    result = book(*lines, limits=[("a", "up", 0), ("a", "down", 0)])
    assert trades_of(result) == [(4, 0, 1, 3, 60, -50, 4)]  # spread 10; with the offer at a it would be 20
    assert (result.y_w[result.elements == "a"] == 0).all()
    whole = (*lines[:4], ("paired_request", "b", "up", 9, 15, {"completion": "fill_or_kill"}))
    assert trades_of(book(*whole)) == []


def test_a_row_that_is_broken_at_the_start_is_not_made_worse():
    rows = type("Rows", (), {})()
    rows.lower_kw, rows.upper_kw = np.full((2, 1), -INF), np.array([[INF], [-0.003]])
    rows.w_lower, rows.w_upper, rows.m = np.full((2, 1), -INF), np.full((2, 1), INF), np.zeros(2)
    orders = {
        "order_id": [1, 2, 3, 4], "kind": ["offer", "offer", "request", "request"], "element": [1, 1, 1, 1],
        "direction": ["up", "down", "up", "down"], "step": [0] * 4, "quantity_w": [9] * 4,
        "price_ueur_per_mwh": [1] * 4,
    }  # fmt: skip
    result = continuous_book(orders, grid=forest([-1, 0]), rows=rows)
    assert traded(result) == [(3, 1, 9, 1)]


def cases(first, count, **options):
    for seed in range(first, first + count):
        yield random_case(np.random.default_rng([7, seed]), **options)


@pytest.mark.parametrize("voltage", [False, True])
def test_kernel_equals_the_reference(voltage):
    seen = dict.fromkeys(("trades", "peers", "pairs", "back", *STATES), 0)
    for case in cases(0, 400, voltage=voltage):
        result = run(case)
        done, trades, left = run_reference(case)
        assert trades_of(result) == trades
        assert result.left_w.tolist() == left
        assert result.y_w[:, 0].tolist() == [done.y[i] for i in range(len(case.parent))]
        kind = case.orders["kind"]
        seen["trades"] += len(trades)
        seen["peers"] += sum(kind[trade[0]] == 0 for trade in trades)
        seen["pairs"] += sum(trade[2] >= 0 for trade in trades)
        arrived = case.orders["arrived_at"]
        seen["back"] += sum(max(arrived[trade[0]], arrived[trade[1]]) < trade[6] for trade in trades)
        for name in states(result):
            seen[name] += 1
    assert min(seen.values()) >= 20, seen


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
def test_kernel_equals_the_reference_on_many_cases(seed):
    for case in cases(10_000 + 1000 * seed, 1000, voltage=seed % 3 == 0):
        assert trades_of(run(case)) == run_reference(case)[1]


@pytest.mark.parametrize("voltage", [False, True])
def test_every_prefix_of_the_trades_respects_every_row(voltage):
    tight = 0
    for case in cases(1000, 300, voltage=voltage):
        result = run(case)
        parent, orders = case.parent, case.orders
        watched, effect = voltage_rows(case)
        y, z = np.zeros(len(parent)), np.zeros(len(watched))
        for buyer, seller, partner, w, *_ in trades_of(result):
            legs = np.zeros((2, len(watched)))
            for k in (buyer, seller, partner):
                if k >= 0 and orders["kind"][k] == 0:
                    sign = -1 if orders["direction"][k] else 1
                    for i in inside_path(parent, orders["element"][k]):
                        y[i] += sign * w
                    legs[orders["direction"][k]] = [row[orders["element"][k]] for row in effect]
            z += w * (legs[0] - legs[1])  # as the book keeps it, so that not even rounding may pass a bound
            inside = np.asarray(parent) >= 0
            assert (y <= np.maximum(case.upper, 0))[inside].all()
            assert (y >= np.minimum(case.lower, 0))[inside].all()
            assert (z <= np.maximum(case.w_upper[watched], 0)).all()
            assert (z >= np.minimum(case.w_lower[watched], 0)).all()
            tight += bool(((y == case.upper) & inside).any())
    assert tight > 200


def test_orders_get_what_they_allow():
    for case in cases(2000, 300):
        result, orders = run(case), case.orders
        completion, minimum = (orders.get(name, np.zeros(len(result.state))) for name in ("completion", "minimum_w"))
        amount = result.traded_w
        assert (amount + result.left_w == orders["quantity_w"]).all()
        assert ((amount == 0) | (amount >= minimum)).all()
        assert ((amount == 0) | (amount == orders["quantity_w"]) | (completion != 2)).all()
        for buyer, seller, partner, _, price, partner_price, time in trades_of(result):
            cap, ask = orders["price_ueur_per_mwh"][[buyer, seller]]
            cap = -cap if orders["kind"][buyer] == 0 else cap
            assert ask <= price
            assert price + partner_price <= cap
            for k in {buyer, seller, partner} - {-1}:
                assert orders["arrived_at"][k] <= time
                assert time < orders["expires_at"][k]
                # a cancellation at the very time of arrival comes after what the arrival trades
                assert time < orders["cancelled_at"][k] or time == orders["arrived_at"][k]


@pytest.mark.parametrize("voltage", [False, True])
def test_welfare_never_exceeds_the_auction(voltage):
    less = 0
    for case in cases(3000, 300, voltage=voltage):
        done, trades, _ = run_reference(case)
        assert trades_of(run(case)) == trades
        best, mine = reference.auction(done), reference.welfare(done)
        assert mine <= best * (1 + 1e-7) + 1e-6
        less += mine < best - 0.5
    assert less > 30  # arrival order costs something, else nothing was compared


def test_one_order_a_side_trades_as_the_auction_does():
    some = 0
    for seed in range(600):
        rng = np.random.default_rng([9, seed])
        case = random_case(rng, simple=True)
        n = len(case.parent)
        kind = [[1, 0], [0, 0], [2, 0, 0]][seed % 3]
        k = len(kind)
        way = int(rng.integers(0, 2))
        case.orders = {
            "order_id": np.arange(k), "kind": np.array(kind), "element": rng.integers(0, n, k),
            "direction": np.array([[way, way], [way, 1 - way], [way, way, 1 - way]][seed % 3]),
            "step": np.zeros(k, int), "quantity_w": rng.integers(1, 20, k),
            "price_ueur_per_mwh": rng.integers(-9, 10, k) + 9 * (np.array(kind) > 0),
            "arrived_at": np.arange(k) if seed % 3 < 2 else np.array([2, 0, 1]),
            "completion": np.where(np.array(kind) == 2, 1, 0),
        }  # fmt: skip
        case.peers = seed % 3 == 1
        done, trades, _ = run_reference(case)
        assert trades_of(run(case)) == trades
        assert reference.welfare(done) == pytest.approx(reference.auction(done), rel=1e-9, abs=1e-9)
        some += bool(trades)
    assert some > 100


def many_steps(rng, n_steps=9):
    """Orders of several quarter-hours in one table, on one tree."""
    parts = [random_case(rng) for _ in range(n_steps)]
    n = min(len(part.parent) for part in parts)
    orders = {name: np.concatenate([part.orders[name] for part in parts]) for name in parts[0].orders}
    orders["element"] = orders["element"] % n
    orders["step"] = np.repeat(np.arange(n_steps) * 3, [len(part.orders["kind"]) for part in parts])
    orders["order_id"] = np.arange(orders["kind"].size)
    parent = {"element": np.arange(n), "parent": np.maximum((np.arange(n) - 1) // 2, 0)}
    limit = {
        "element": np.tile(np.arange(n), 2), "direction": np.repeat([0, 1], n), "step": np.full(2 * n, 6),
        "capability_w": rng.integers(0, 9, 2 * n),
    }  # fmt: skip
    return orders, limit, parent


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in a.__slots__)


def test_twice_on_threads_and_step_by_step_give_the_same_bits():
    rng = np.random.default_rng(4)
    for _ in range(20):
        orders, limits, parent = many_steps(rng)
        given = {"parent": parent, "peer_trades": True, "rescan": True}
        result = continuous_book(orders, limits, **given)
        assert same(result, continuous_book(orders, limits, **given))
        assert same(result, continuous_book(orders, limits, n_threads=2, **given))
        for step in np.unique(orders["step"]):
            mine = orders["step"] == step
            alone = continuous_book(
                {name: column[mine] for name, column in orders.items()}, limits,
                closes_at=int(orders["arrived_at"].max()), **given,
            )  # fmt: skip
            assert np.array_equal(alone.left_w, result.left_w[mine])
            assert np.array_equal(alone.state, result.state[mine])
            assert np.array_equal(alone.order_id[alone.buyer], result.order_id[result.buyer[result.trade_step == step]])
            assert np.array_equal(alone.trade_w, result.trade_w[result.trade_step == step])


def test_rows_of_the_table_only_break_ties_of_time():
    rng = np.random.default_rng(5)
    for _ in range(20):
        orders, limits, parent = many_steps(rng)
        orders["arrived_at"] = np.arange(orders["kind"].size)
        orders["expires_at"] = np.full(orders["kind"].size, 2**62)
        orders["cancelled_at"] = orders["expires_at"]
        result = continuous_book(orders, limits, parent=parent)
        mix = rng.permutation(orders["kind"].size)
        mixed = continuous_book({name: column[mix] for name, column in orders.items()}, limits, parent=parent)
        assert np.array_equal(mixed.left_w, result.left_w[mix])
        assert mixed.to_arrow().equals(result.to_arrow())


def test_more_trades_than_orders_are_all_kept():
    """Each of few offers meets a full element again and again, made free by peers: more trades than orders."""
    lines = [("offer", "c", "up", 10**6, 0), ("request", "a", "up", 10**6, 9)]
    for _ in range(30):  # a relief of 3 W, and what waits trades 3 W
        lines += [("offer", "c", "down", 3, 0), ("request", "c", "down", 3, 1)]
    lines += [("offer", "c", "down", 90, 0)]
    lines += [("request", "c", "down", 1, 1)] * 40
    result = book(*lines, limits=[("c", "up", 1)], rescan=True)
    assert result.trade_w.size > len(lines)
    assert result.traded_w[1] == 1 + 30 * 3 + 40


def test_read_only_and_foreign_columns_and_words():
    import pyarrow as pa

    rng = np.random.default_rng(6)
    orders, limits, parent = many_steps(rng)
    result = continuous_book(orders, limits, parent=parent)
    for column in orders.values():
        column.flags.writeable = False
    assert same(result, continuous_book(orders, limits, parent=parent))
    words = orders | {
        "kind": np.array(KINDS)[orders["kind"]], "completion": np.array(COMPLETIONS)[orders["completion"]],
        "direction": np.array(["up", "down"])[orders["direction"]],
    }  # fmt: skip
    assert same(result, continuous_book(pa.table(words), limits, parent=parent))
    assert result.to_arrow().column_names[:3] == ["buy_order", "sell_order", "partner_order"]
    assert result.orders_to_arrow().num_rows == orders["kind"].size


def test_times_with_a_zone_order_arrivals():
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    orders = {
        "order_id": [1, 2, 3], "kind": ["request", "offer", "offer"], "element": ["a", "b", "b"],
        "direction": ["up"] * 3, "step": [0] * 3, "quantity_w": [5, 5, 5], "price_ueur_per_mwh": [9, 1, 1],
        "arrived_at": [start + dt.timedelta(seconds=s) for s in (9, 5, 2)],
    }  # fmt: skip
    assert traded(continuous_book(orders, parent=TREE)) == [(0, 2, 5, 1)]


def test_an_empty_book():
    nothing = {
        name: np.zeros(0, int)
        for name in ("order_id", "kind", "element", "direction", "step", "quantity_w", "price_ueur_per_mwh")
    }
    result = continuous_book(nothing, parent=TREE)
    assert result.to_arrow().num_rows == result.orders_to_arrow().num_rows == 0
    assert result.total_cost_ueur == 0


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"expires_at": [1, 0]}, OfferError, "FX-M260"),
        ({"arrived_at": [0, 5], "cancelled_at": [9, 4]}, OfferError, "FX-M260"),
        ({"minimum_w": [0, 6]}, OfferError, "FX-M261"),
        ({"kind": ["offer", "paired_request"]}, OfferError, "FX-M262"),
        ({"element": ["b", "z"]}, UnknownIdError, "FX-M201"),
        ({"element": [1, 2]}, UnknownIdError, "FX-M201"),
        ({"step": [0, -1]}, OfferError, "FX-M203"),
        ({"quantity_w": [0, 5]}, OfferError, "FX-A006"),
        ({"quantity_w": [5, 2**41]}, OfferError, "FX-A006"),
        ({"order_id": [4, 4]}, OfferError, "FX-A009"),
        ({"kind": ["offer", "auction"]}, OfferError, "FX-A002"),
        ({"arrived_at": np.array(["2026-01-01T00", "2026-01-01T01"], "datetime64[s]")}, TimeSeriesError, "FX-T001"),
    ],
)
def test_what_cannot_trade_is_refused_by_code(change, error, code):
    orders = {
        "order_id": [1, 2], "kind": ["offer", "request"], "element": ["b", "b"], "direction": ["up", "up"],
        "step": [0, 0], "quantity_w": [5, 5], "price_ueur_per_mwh": [1, 1],
    } | change  # fmt: skip
    with pytest.raises(error) as refused:
        continuous_book(orders, parent=TREE)
    assert code in refused.value.codes


def test_rows_need_their_grid_and_their_steps():
    case = random_case(np.random.default_rng(0))
    from tests.market.book_cases import rows_of

    with pytest.raises(GridError) as refused:
        continuous_book(case.orders, rows=rows_of(case))
    assert refused.value.codes == ("FX-M263",)
    case.orders["step"] = case.orders["step"] + 1
    with pytest.raises(OfferError) as refused:
        run(case)
    assert refused.value.codes == ("FX-M203",)


def test_the_kernel_has_one_signature():
    from flexcore.kernels.market.continuous_book import continuous_book as kernel

    assert len(getattr(kernel, "signatures", [1])) == 1
