"""Standing contracts in a session: what they offer, their place beside the market, and what is due for availability."""

from dataclasses import replace

import numpy as np
import pytest

from flexcore.errors import OfferError, OptionError, TimeSeriesError, UnknownIdError, ValidationError
from flexcore.market.clearing import clear, clear_local
from flexcore.market.contract_use import contract_offers, join_lines, join_offers, ordering_shift
from flexcore.market.long_term import ContractBook, availability_due
from flexcore.market.offers import line_power, offer_book
from flexcore.market.slots import Slots
from flexcore.market_day import MarketDay
from flexcore.units import GLOBAL, LOCAL
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of
from tests.reference import market_long_term as reference

EUR = 10**6
YEAR = {"first_day": "2026-01-01", "last_day": "2026-12-31"}
WINDOWS = {
    "window_id": ["all", "night", "evening", "winter"],
    "first_day": ["2026-01-01"] * 4, "last_day": ["2026-12-31"] * 4, "months": [4095, 4095, 4095, 0b111],
    "from_quarter": [0, 0, 68, 0], "to_quarter": [96, 16, 84, 96],
}  # fmt: skip
WINTER, SPRING, AUTUMN = MarketDay("2026-01-15"), MarketDay("2026-03-29"), MarketDay("2026-10-25")


def book_of(*rows):
    """Contracts from (id, W, use price in EUR/MWh, windows, call order); availability costs 4 EUR/MW/h."""
    ids = [row[0] for row in rows]
    columns = {
        "contract_id": ids, "bsp": ["B"] * len(rows), "aggregate": ids, "perimeter": ["P"] * len(rows),
        "direction": [0] * len(rows), "contracted_w": [row[1] for row in rows],
        "availability_ueur_per_mw_h": [4 * EUR] * len(rows), "use_ueur_per_mwh": [round(row[2] * EUR) for row in rows],
        "call_order": [row[4] if len(row) > 4 else 0 for row in rows],
    }  # fmt: skip
    links = [(row[0], w) for row in rows for w in row[3]]
    return ContractBook.from_tables(
        columns, {"contract_id": [c for c, _ in links], "window_id": [w for _, w in links]}, WINDOWS
    )


def all_day(book, day, element="e", **options):
    """One line per contract at one element, with more PODs than contracted."""
    return contract_offers(
        book, day, contract_id=book.contract_id, element=[element] * book.n_contracts,
        available_w=np.full((book.n_contracts, day.n_steps), 10**8), **options,
    )  # fmt: skip


def market(*rows, steps=(0,)):
    """Offers at element e from (id, W, EUR/MWh)."""
    full = [(*row, t) for row in rows for t in steps]
    return {
        "offer_id": [r[0] for r in full], "element": ["e"] * len(full), "direction": [0] * len(full),
        "step": np.array([r[3] for r in full], np.int64), "quantity_w": np.array([r[1] for r in full], np.int64),
        "price_ueur_per_mwh": np.array([round(r[2] * EUR) for r in full], np.int64),
    }  # fmt: skip


def wanted(w, step=0):
    return {"element": ["e"], "direction": [0], "step": [step], "quantity_w": [w]}


@pytest.mark.rule("LTC-01")
def test_contracts_are_offered_inside_their_windows_only():
    book = book_of(("a", 500, 90, ["night"]), ("b", 700, 80, ["evening", "winter"]))
    for day, night in ((WINTER, 16), (SPRING, 12), (AUTUMN, 20)):
        lines = all_day(book, day)
        assert lines.quantity_w[0].tolist() == [500] * night + [0] * (day.n_steps - night)
        evening = (day.local_hour >= 17) & (day.local_hour < 21)
        assert (lines.quantity_w[1] == np.where(evening | (day is not AUTUMN), 700, 0)).all()
        assert not lines.short_w.any()
    planned = all_day(book, AUTUMN, steps=AUTUMN.plan(2)).quantity_w
    assert planned[0].tolist() == [0] * 100
    assert planned[1].sum() == 16 * 700


@pytest.mark.rule("LTC-01")
def test_the_obligation_is_the_lower_of_contracted_and_requested():
    book = book_of(("a", 500, 90, ["all"]), ("b", 500, 90, ["all"]))
    requested = np.zeros((2, 96), np.int64)
    requested[0], requested[1, :10] = 300, 900
    lines = all_day(book, WINTER, requested_w=requested)
    assert set(lines.quantity_w[0].tolist()) == {300}
    assert lines.quantity_w[1].tolist() == [500] * 10 + [0] * 86


@pytest.mark.rule("LTC-01")
def test_pods_that_the_other_operator_holds_are_not_offered():
    book = book_of(("a", 500, 90, ["all"]))
    pods = offer_book(
        operator=LOCAL, line_id=["a"], aggregate=[0], bsp=[0], direction=[0], node=[0], perimeter=[-1],
        price_ueur_per_mwh=[0], submitted_at=0, indptr=[0, 2], pods=[0, 1], n_pods=2, n_steps=96,
    )  # fmt: skip
    slots = Slots(2, 96)
    slots.hold(GLOBAL, [0], np.arange(96)[None, :] < 8)
    power = line_power(pods, slots, np.full((2, 96), 300), np.zeros((2, 96), np.int64))
    lines = contract_offers(book, WINTER, contract_id=["a"], element=[0], available_w=power.free_w)
    assert lines.quantity_w[0].tolist() == [300] * 8 + [500] * 88
    assert lines.short_w[0].tolist() == [200] * 8 + [0] * 88


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize("day", [WINTER, SPRING, AUTUMN], ids=lambda day: str(day.n_steps))
def test_lines_of_contracts_equal_the_reference(day):
    rng = np.random.default_rng(7)
    names = WINDOWS["window_id"]
    rows = [
        (f"c{k}", int(rng.integers(0, 2000)), 50, sorted(rng.permutation(names)[: int(rng.integers(1, 4))].tolist()))
        for k in range(300)
    ]
    book = book_of(*rows)
    owner = rng.integers(0, 300, 700)
    available = rng.integers(0, 900, (700, day.n_steps)) * (rng.random((700, day.n_steps)) < 0.8)
    requested = rng.integers(0, 3000, (300, day.n_steps))
    keys = [f"c{k}" for k in owner]
    options = {"contract_id": keys, "element": np.arange(700), "available_w": available, "requested_w": requested}
    lines = contract_offers(book, day, **options)
    is_open = book.windows.open(day)
    for c in range(300):
        mine = np.flatnonzero(owner == c)
        for t in range(0, day.n_steps, 7):
            opened = any(is_open[w, t] for w in book.sets.of(c))
            given, short = reference.offered(rows[c][1], int(requested[c, t]), opened, available[mine, t].tolist())
            assert lines.quantity_w[mine, t].tolist() == given
            assert lines.short_w[c, t] == short
    assert (lines.quantity_w <= available).all()
    assert (lines.short_w > 0).any()
    again = contract_offers(book, day, **options, n_threads=2)
    assert again.quantity_w.tobytes() == lines.quantity_w.tobytes()
    assert again.short_w.tobytes() == lines.short_w.tobytes()


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize(("place", "called"), [("before", 300), ("beside", 100)])
def test_contracts_before_and_beside_the_market_by_hand(place, called):
    # 400 W wanted; contract 300 W at 100 EUR/MWh, market 300 W at 60 and 200 W at 150
    joined = join_offers(
        all_day(book_of(("a", 300, 100, ["all"])), WINTER), market(("m", 300, 60), ("n", 200, 150)), contracts=place
    )
    result = clear(joined.table, wanted(400))
    split = joined.split(result.accepted_w)
    assert split.contract_w[0, 0] == called
    assert split.market_w.tolist() == [400 - called, 0]
    # 250 Wh are 250e-6 MWh a kW and quarter-hour: 1 W x 1/4 h x 100 EUR/MWh is 25 micro-EUR
    assert split.use_cost_ueur.tolist() == [called * 25]
    assert split.market_cost_ueur == (400 - called) * 15
    assert split.total_cost_ueur == called * 25 + (400 - called) * 15
    assert not result.unserved_w.any()


@pytest.mark.rule("LTC-01")
def test_contracts_go_before_market_offers_of_the_same_price_by_time_and_id():
    book = book_of(("z", 100, 60, ["all"]), ("y", 100, 60, ["all"]), ("x", 100, 60, ["all"]))
    book = replace(book, submitted_at=np.array([5, 9, 9]))
    offers = market(("a", 100, 60)) | {"submitted_at": [0]}
    joined = join_offers(all_day(book, WINTER), offers, contracts="beside")
    for count, order in ((1, [1, 0, 0, 0]), (2, [1, 0, 1, 0]), (3, [1, 1, 1, 0]), (4, [1, 1, 1, 1])):
        split = joined.split(clear(joined.table, wanted(100 * count)).accepted_w)
        assert [*(split.contract_w[:, 0] // 100).tolist(), *(split.market_w // 100).tolist()] == order


@pytest.mark.rule("LTC-02")
def test_non_market_contracts_are_called_in_their_stated_order():
    book = book_of(
        ("last", 100, 1, ["all"], 2), ("first", 100, 900, ["all"], -2), ("second", 100, 5, ["all"], -1),
        ("market", 100, 70, ["all"]), ("after", 100, 800, ["all"], 1),
    )  # fmt: skip
    offers = market(("m", 100, 60))
    names = book.contract_id.tolist()
    for place, order in (
        ("before", ["first", "second", "market", "m", "after", "last"]),
        ("beside", ["first", "second", "m", "market", "after", "last"]),
    ):
        joined = join_offers(all_day(book, WINTER), offers, contracts=place)
        for count in range(7):
            split = joined.split(clear(joined.table, wanted(100 * count)).accepted_w)
            taken = {name for name, w in zip(names, split.contract_w[:, 0], strict=True) if w}
            taken |= {"m"} if split.market_w[0] else set()
            assert taken == set(order[:count])
        assert split.use_cost_ueur.tolist() == [25, 22_500, 125, 1750, 20_000]  # at its own terms, whatever the order


@pytest.mark.rule("LTC-02")
@pytest.mark.parametrize("place", ["before", "beside"])
def test_stages_on_one_element_equal_the_reference(place):
    rng = np.random.default_rng(4)
    for _ in range(60):
        rows = [
            (f"c{k}", int(rng.integers(1, 300)), int(rng.integers(0, 9)), ["all"], int(rng.integers(-2, 3)))
            for k in range(5)
        ]
        offers = [(f"m{k}", int(rng.integers(1, 300)), int(rng.integers(0, 9))) for k in range(4)]
        need_w = int(rng.integers(1, 1500))
        joined = join_offers(all_day(book_of(*rows), WINTER), market(*offers), contracts=place)
        split = joined.split(clear(joined.table, wanted(need_w)).accepted_w)
        stage = {0: -0.5 if place == "before" else 0}
        lines = [(stage.get(r[4], r[4]), r[2], 0, r[0], r[1]) for r in rows]
        lines += [(0, o[2], 1, o[0], o[1]) for o in offers]
        assert [*split.contract_w[:, 0].tolist(), *split.market_w.tolist()] == reference.in_stages(lines, need_w)


def exact_cost(split, joined_prices, use_prices):
    return sum(int(w) * int(p) for w, p in zip(split.market_w.ravel(), joined_prices, strict=True)) + sum(
        int(w) * int(p) for row, p in zip(split.contract_w, use_prices, strict=True) for w in row
    )


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize("seed", range(5))
def test_contracts_beside_the_market_never_cost_more_than_the_market_alone(seed):
    """240 random trees with nested needs and limits in both directions; W times price in exact whole numbers."""
    rng = np.random.default_rng(seed)
    cheaper = serves_more = dearer_before = 0
    for _ in range(48):
        n = int(rng.integers(2, 9))
        parent = {"element": np.arange(n), "parent": [int(rng.integers(0, max(k, 1))) for k in range(n)]}
        m, c = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        offers = {
            "offer_id": np.arange(m), "element": rng.integers(0, n, m), "direction": rng.integers(0, 2, m),
            "step": np.zeros(m, np.int64), "quantity_w": rng.integers(1, 100, m),
            "price_ueur_per_mwh": rng.integers(1, 200, m) * EUR,
        }  # fmt: skip
        needs = {
            "element": rng.integers(0, n, 3), "direction": np.zeros(3, np.int64), "step": np.zeros(3, np.int64),
            "quantity_w": rng.integers(0, 150, 3),
        }  # fmt: skip
        limits = {
            "element": np.arange(n), "direction": rng.integers(0, 2, n), "step": np.zeros(n, np.int64),
            "capability_w": rng.integers(0, 200, n),
        }  # fmt: skip
        book = book_of(*[(f"c{k}", int(rng.integers(1, 100)), int(rng.integers(1, 200)), ["all"]) for k in range(c)])
        lines = contract_offers(
            book, WINTER, contract_id=book.contract_id, element=rng.integers(0, n, c),
            available_w=np.full((c, 96), 10**6), steps=slice(0, 1),
        )  # fmt: skip
        alone = clear(offers, needs, limits, parent=parent)
        alone_cost = int((alone.accepted_w * offers["price_ueur_per_mwh"]).sum())
        cost, unserved, bought = {}, {}, {}
        for place in ("before", "beside"):
            joined = join_offers(lines, offers, contracts=place)
            result = clear(joined.table, needs, limits, parent=parent)
            split = joined.split(result.accepted_w)
            cost[place] = exact_cost(split, offers["price_ueur_per_mwh"], book.use_ueur_per_mwh)
            unserved[place] = int(result.unserved_w.sum())
            bought[place] = int(split.market_w.sum())
            assert split.total_cost_ueur == pytest.approx(cost[place] / 4e6, abs=m + c)
        assert unserved["beside"] == unserved["before"] <= alone.unserved_w.sum()
        assert cost["beside"] <= cost["before"]
        assert bought["before"] <= bought["beside"]
        if unserved["beside"] == alone.unserved_w.sum():
            assert cost["beside"] <= alone_cost
            cheaper += cost["beside"] < alone_cost
        serves_more += unserved["beside"] < alone.unserved_w.sum()
        dearer_before += cost["before"] > cost["beside"] and bought["before"] < bought["beside"]
    assert min(cheaper, serves_more, dearer_before) >= 3


@pytest.mark.rule("LTC-01")
def test_contracts_join_the_local_selection_on_activation_rows():
    rng = np.random.default_rng(2)
    used = 0
    for _ in range(30):
        n = int(rng.integers(3, 10))
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, 96, 1)
        offers = random_offers(rng, n, 8, 96, 1) | {"offer_id": [f"o{k}" for k in range(8)]}
        book = book_of(("a", 30, 50, ["all"]), ("b", 40, 2, ["night"], -1))
        lines = contract_offers(
            book, WINTER, contract_id=["a", "b", "a"], element=rng.integers(0, n, 3),
            available_w=rng.integers(0, 40, (3, 96)),
        )  # fmt: skip
        for place in ("before", "beside"):
            joined = join_lines(lines, **offers, contracts=place)
            result = clear_local(
                forest(parent), rows_of(lower, upper), node=joined.node, direction=joined.direction,
                quantity_w=joined.quantity_w, price_ueur_per_mwh=joined.price_ueur_per_mwh,
                submitted_at=joined.submitted_at, offer_id=joined.offer_id,
            )  # fmt: skip
            split = joined.split(result.accepted_w)
            assert (split.market_w == result.accepted_w[:8]).all()
            assert (split.contract_w <= lines.quantity_w).all()
            assert split.use_cost_ueur[0] == pytest.approx(50 * split.contract_w[[0, 2]].sum() / 4, abs=200)
            used += int(split.contract_w.sum() > 0)
        alone = clear_local(forest(parent), rows_of(lower, upper), **offers)
        assert (result.unserved_w <= alone.unserved_w).all()
    assert used >= 20


@pytest.mark.rule("LTC-01")
def test_contracts_serve_a_voltage_need_with_the_market():
    rng = np.random.default_rng(8)
    helped = 0
    for _ in range(12):
        n = int(rng.integers(3, 8))
        parent, m = random_tree(rng, n), rng.uniform(0.5, 2.0, n)
        free = np.full((n, 96), np.inf)
        w_lower = -free
        w_lower[n - 1, 0] = rng.uniform(50, 400)  # squared volts to be raised at the last node
        rows = rows_of(-free, free, m, w_lower, free)
        offers = random_offers(rng, n, 6, 96, 1000) | {"offer_id": [f"o{k}" for k in range(6)]}
        offers["direction"] = np.zeros(6, np.int64)
        book = book_of(("a", 90_000, 3, ["all"]), ("b", 60_000, 200, ["all"], -1))
        lines = contract_offers(
            book, WINTER, contract_id=["a", "b"], element=rng.integers(1, n, 2), available_w=np.full((2, 96), 10**5)
        )
        alone = clear_local(forest(parent), rows, **offers)
        joined = join_lines(lines, **offers, contracts="beside")
        result = clear_local(
            forest(parent), rows, node=joined.node, direction=joined.direction, quantity_w=joined.quantity_w,
            price_ueur_per_mwh=joined.price_ueur_per_mwh, submitted_at=joined.submitted_at, offer_id=joined.offer_id,
        )  # fmt: skip
        assert result.unserved_voltage_w[0] <= alone.unserved_voltage_w[0] + 1
        helped += joined.split(result.accepted_w).contract_w[:, 0].any()
    assert helped >= 6


def test_ordering_shift_keeps_stages_apart_by_as_little_as_it_can():
    price = np.array([[5, 7], [2, 9], [100, 1], [3, 3]])
    assert ordering_shift(price, [0, 0, 1, -1]).tolist() == [2, 2, 11, 0]  # 3 | 4..11 | 12..
    assert ordering_shift(np.array([[1], [5], [9]]), [0, 1, 2]).tolist() == [0, 0, 0]
    assert ordering_shift(np.zeros((0, 1), np.int64), []).tolist() == []
    assert ordering_shift(np.zeros((2, 0), np.int64), [0, 1]).tolist() == [0, 0]


def test_stages_and_prices_that_cannot_be_put_in_order_are_refused():
    for price, stage in (([[2**62], [0]], [0, 1]), ([[1], [2]], [0]), ([[1]], [float("nan")]), ([1, 2], [0, 1])):
        with pytest.raises(ValidationError):
            ordering_shift(np.array(price), stage)
    far = np.resize([[2**50], [-(2**50)]], (8000, 1))  # each stage begins far below where the last one ends
    with pytest.raises(OfferError):
        ordering_shift(far, np.arange(8000))


@pytest.mark.rule("LTC-01")
def test_availability_due_per_month_by_hand():
    book = book_of(("a", 500_000, 90, ["night", "winter"]), ("b", 1, 0, ["night"]))
    due = availability_due(book)
    rows = [list(map(int, row)) for row in zip(due.contract, due.month, due.quarters, due.amount_ueur, strict=True)]
    # January: 31 x 96; March: all of it, an hour short; April on: 00-04; October has the hour 02-03 twice
    assert rows[0] == [0, 202601, 2976, 2976 * 500_000]  # 0.5 MW x 1/4 h x 4 EUR/MW/h is 0.5 EUR a quarter-hour
    assert rows[2] == [0, 202603, 2972, 2972 * 500_000]
    assert rows[3] == [0, 202604, 480, 480 * 500_000]
    assert rows[9] == [0, 202610, 500, 500 * 500_000]
    assert rows[12 + 2] == [1, 202603, 31 * 16 - 4, 492]
    assert len(rows) == 24
    assert due.to_arrow().column("contract_id").to_pylist()[-1] == "b"


@pytest.mark.rule("LTC-01")
def test_availability_due_counts_market_days():
    book = book_of(("a", 10**6, 90, ["night"]), ("b", 10**6, 90, ["evening"]))
    due = availability_due(book)
    day, end = MarketDay("2026-01-01"), MarketDay("2027-01-01")
    count = np.zeros(2, np.int64)
    while day.date < end.date:
        count += book.windows.open(day)[[1, 2]].sum(axis=1)
        day = day.shift(1)
    assert [due.quarters[due.contract == c].sum() for c in (0, 1)] == count.tolist() == [365 * 16, 365 * 16]


def test_contracts_round_trip_through_tables_and_name_what_is_wrong():
    book = book_of(("a", 500, 90, ["night", "winter"]), ("b", 700, -5, ["evening"], 3))
    again = ContractBook.from_tables(*book.tables(), WINDOWS)
    assert again.to_arrow().equals(book.to_arrow())
    assert again.sets.of(0) == (1, 3)
    assert again.call_order.tolist() == [0, 3]
    with pytest.raises(OfferError) as caught:
        book_of(("a", 500, 90, []), ("b", 1, 1, ["all"]))
    assert caught.value.codes == ("FX-M272",)
    with pytest.raises(UnknownIdError) as caught:
        book_of(("a", 500, 90, ["noon"]))
    assert caught.value.codes == ("FX-M271",)


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"contract_id": ["x"]}, UnknownIdError, "FX-M271"),
        ({"available_w": np.zeros((1, 92), np.int64)}, TimeSeriesError, "FX-T002"),
        ({"available_w": np.full((1, 96), -1)}, ValidationError, "FX-A004"),
        ({"available_w": np.full((1, 96), 10**9 + 1)}, ValidationError, "FX-A006"),
        ({"available_w": np.full((1, 96), 0.5)}, ValidationError, "FX-A002"),
        ({"element": ["e", "f"]}, OfferError, "FX-A001"),
        ({"requested_w": np.zeros((2, 96), np.int64)}, ValidationError, "FX-A001"),
        ({"requested_w": np.full((1, 96), -1)}, ValidationError, "FX-A004"),
    ],
)
def test_lines_that_do_not_fit_are_refused(change, error, code):
    given = {"contract_id": ["a"], "element": ["e"], "available_w": np.zeros((1, 96), np.int64)} | change
    with pytest.raises(error) as caught:
        contract_offers(book_of(("a", 500, 90, ["all"])), WINTER, **given)
    assert caught.value.codes == (code,)


def test_a_contract_with_very_many_lines_is_held_within_63_bits():
    book = book_of(("a", 10**9, 90, ["all"]))
    full = {"contract_id": ["a"] * 9, "element": list(range(9))}
    with pytest.raises(OfferError) as caught:
        contract_offers(book, WINTER, available_w=np.full((9, 96), 10**9), **full)
    assert caught.value.codes == ("FX-A006",)
    lines = contract_offers(book, WINTER, available_w=np.full((9, 96), 888_888_888), **full)
    assert set(lines.quantity_w.sum(axis=0).tolist()) == {10**9}
    assert np.ptp(lines.quantity_w) <= 1


def test_joins_refuse_what_they_cannot_order():
    lines = all_day(book_of(("a", 500, 90, ["all"])), WINTER)
    with pytest.raises(OptionError):
        join_offers(lines, market(("m", 1, 1)), contracts="after")
    with pytest.raises(OptionError):
        join_lines(
            lines, node=[0], direction=[0], quantity_w=np.zeros((1, 96), int), price_ueur_per_mwh=[1], contracts=""
        )
    far = all_day(book_of(("a", 500, 10**9, ["all"], -1), ("b", 500, 10**9, ["all"], 1)), WINTER)
    with pytest.raises(OfferError) as caught:
        join_offers(far, market(("m", 1, -900_000_000), ("n", 1, 900_000_000)))
    assert caught.value.codes == ("FX-A006",)
    with pytest.raises(OfferError) as caught:
        join_offers(all_day(book_of(("a", 500, 90, ["all"])), WINTER, element=7), market(("m", 1, 1)))
    assert caught.value.codes == ("FX-A002",)


def test_a_day_without_market_offers_or_without_open_windows():
    lines = all_day(book_of(("a", 300, 100, ["all"])), WINTER)
    joined = join_offers(lines, market())
    assert joined.split(clear(joined.table, wanted(200)).accepted_w).contract_w[0, 0] == 200
    closed = all_day(book_of(("a", 300, 100, ["winter"])), AUTUMN)
    joined = join_offers(closed, market(("m", 300, 60)))
    split = joined.split(clear(joined.table, wanted(200)).accepted_w)
    assert split.market_w.tolist() == [200]
    assert split.use_cost_ueur.tolist() == [0]
