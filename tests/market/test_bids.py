"""Selection of offers with conditions: worked cases, one for each condition, ties, proofs, and bad input."""

import datetime as dt
import itertools

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import OfferError, OptionError, TimeSeriesError, UnknownIdError
from flexcore.market.bid_explain import BID_REASONS, NO_PRICE, OPEN_NEED
from flexcore.market.bids import BidResult
from flexcore.market.clearing import ClearingResult
from flexcore.tables.bids import NEVER
from tests.market.bid_cases import random_case, tables_of
from tests.market.clearing_cases import forest
from tests.market.test_bids_oracle import FEATURES
from tests.reference.market_bids import NEED, ROW, relaxed

EUR = 1_000_000


def offers(*rows, **columns):
    """Rows are (element, direction, step, W, EUR/MWh); ids count from 0."""
    element, direction, step, quantity, price = zip(*rows, strict=True)
    return {
        "offer_id": list(range(len(rows))),
        "element": list(element),
        "direction": list(direction),
        "step": list(step),
        "quantity_w": list(quantity),
        "price_ueur_per_mwh": [p * EUR for p in price],
        **columns,
    }


def needs(*rows, **columns):
    element, direction, step, quantity = zip(*rows, strict=True)
    return {
        "element": list(element),
        "direction": list(direction),
        "step": list(step),
        "quantity_w": list(quantity),
        **columns,
    }


def why(result):
    return [BID_REASONS[code] for code in result.reason]


@pytest.mark.rule("OFR-03")
def test_an_indivisible_offer_goes_beyond_the_need_only_where_nothing_else_serves_it():
    book = offers(("a", 0, 0, 12_000, 50), ("a", 0, 0, 8_000, 60), ("a", 0, 0, 9_000, 70), min_w=[12_000, 0, 0])
    want = needs(("a", 0, 0, 10_000))
    result = fx.clear(book, want)
    assert isinstance(result, BidResult)
    assert result.accepted_w.tolist() == [0, 8_000, 2_000]
    assert result.paradoxical.tolist() == [True, False, False]
    assert result.local_price_ueur_per_mwh[0] == 70 * EUR
    assert why(result)[0] == "minimum, block or step of power"
    assert result.engine.tolist() == ["milp"]
    assert result.gap.tolist() == [0.0]
    assert result.beyond_w.tolist() == [0]
    # 12 MW at 50 cost 600, 8 at 60 and 2 at 70 cost 620
    cheap = fx.clear(book, want, over_procurement="least_cost")
    assert cheap.accepted_w.tolist() == [12_000, 0, 0]
    assert cheap.beyond_w.tolist() == [2_000]
    alone = {name: values[:1] for name, values in book.items()}
    assert fx.clear(alone, want).accepted_w.tolist() == [12_000]
    for tolerance, taken in ((1_999, 0), (2_000, 12_000)):
        capped = fx.clear(alone, want, over_procurement=tolerance)
        assert capped.accepted_w.tolist() == [taken]
        assert capped.unserved_w.tolist() == [0 if taken else 10_000]
        assert capped.paradoxical.tolist() == [not taken]
    assert capped.over_procurement == 2_000


@pytest.mark.rule("LFP-01")
def test_where_the_merit_order_keeps_all_conditions_its_answer_stands():
    book = offers(("a", 0, 0, 12_000, 50), ("a", 0, 0, 8_000, 60), min_w=[5_000, 0])
    result = fx.clear(book, needs(("a", 0, 0, 10_000)))
    assert result.accepted_w.tolist() == [10_000, 0]
    assert result.engine.tolist() == ["tree_merit_order"]
    assert "the answer keeps every condition" in result.proof[0]
    by_solver = fx.clear(book, needs(("a", 0, 0, 10_000)), method="milp")
    assert by_solver.engine.tolist() == ["milp"]
    assert by_solver.accepted_w.tolist() == [10_000, 0]


def test_plain_tables_stay_plain():
    book, want = offers(("a", 0, 0, 12_000, 50)), needs(("a", 0, 0, 10_000))
    result = fx.clear(book, want)
    assert type(result) is ClearingResult
    assert result.proof.tolist() == ["merit order: exact where elements stand alone"]
    assert fx.clear({**book, "min_w": [0]}, want).accepted_w.tolist() == result.accepted_w.tolist()


def test_only_the_part_with_a_binding_condition_goes_to_the_solver():
    book = offers(("a", 0, 0, 12, 50), ("b", 0, 0, 12, 50), ("a", 0, 1, 12, 50), min_w=[11, 0, 0])
    result = fx.clear(book, needs(("a", 0, 0, 10), ("b", 0, 0, 10), ("a", 0, 1, 10)))
    assert result.engine.tolist() == ["milp", "tree_merit_order"]
    assert result.accepted_w.tolist() == [11, 10, 10]


def test_a_block_gives_one_share_of_all_its_rows_and_its_rebound_enters_the_rows():
    # 6 kW in two quarter-hours, 3 kW back in the third; there the line takes 2 kW only
    rows = [("a", 0, 0, 6_000, 10), ("a", 0, 1, 6_000, 10), ("a", 1, 2, 3_000, 0), ("a", 0, 0, 6_000, 99)]
    book = offers(*rows, block=["A", "A", "A", ""], role=["deliver", "deliver", "rebound", "deliver"])
    limits = needs(("a", 1, 2, 2_000))
    limits["capability_w"] = limits.pop("quantity_w")
    result = fx.clear(book, needs(("a", 0, 0, 6_000), ("a", 0, 1, 6_000), ("a", 0, 2, 0)), limits)
    assert result.accepted_w.tolist() == [4_000, 4_000, 2_000, 2_000]
    assert result.unserved_w.tolist() == [0, 2_000, 0]
    whole = fx.clear({**book, "min_w": [6_000, 6_000, 0, 0]}, needs(("a", 0, 0, 6_000), ("a", 0, 1, 6_000)), limits)
    assert whole.accepted_w.tolist() == [0, 0, 0, 6_000]
    assert whole.unserved_w.tolist() == [0, 6_000, 0]


def test_of_an_exclusive_group_one_is_taken_by_step_or_over_the_day():
    rows = [("a", 0, 0, 5, 10), ("a", 0, 0, 5, 20), ("a", 0, 1, 5, 20), ("a", 0, 1, 5, 10)]
    book = offers(*rows, exclusive=[7] * 4) | {"offer_id": [1, 2, 1, 2]}
    want = needs(("a", 0, 0, 10), ("a", 0, 1, 10))
    by_step = fx.clear({**book, "exclusive_scope": ["step"] * 4}, want)
    assert by_step.accepted_w.tolist() == [5, 0, 0, 5]
    assert why(by_step)[1:3] == ["another of its exclusive group"] * 2
    by_day = fx.clear(book, want)
    assert by_day.accepted_w.tolist() == [5, 0, 5, 0]  # both cost the same: the lower id
    assert not by_day.paradoxical.any()


def test_a_unit_rests_and_does_not_run_on():
    rows = [("a", 0, t, 5, 10) for t in range(5)]
    book = offers(*rows, unit=[1] * 5)
    want = needs(*[("a", 0, t, 5) for t in range(5)])
    short = fx.clear({**book, "max_run_s": [1800] * 5}, want)
    assert short.unserved_w.sum() == 5
    assert short.accepted_w.tolist() in ([5, 5, 0, 5, 5],)
    assert why(short)[2] == "rest or longest run of its unit"
    rested = fx.clear({**book, "max_run_s": [1800] * 5, "recovery_s": [1801] * 5}, want)  # three quarter-hours
    assert rested.accepted_w.tolist() in (
        [5, 5, 0, 0, 0],
        [0, 0, 0, 5, 5],
        [5, 0, 0, 0, 5],
        [0, 5, 5, 0, 0],
        [0, 0, 5, 5, 0],
    )


def test_notice_and_expiry_take_an_offer_out_with_their_reason():
    rows = [("a", 0, 4, 5, 10), ("a", 0, 4, 5, 11), ("a", 0, 4, 5, 12), ("a", 0, 4, 5, 13)]
    book = offers(*rows, notice_s=[1801, 1800, 0, 0], expires_at=[NEVER, NEVER, 1800, 1801])
    result = fx.clear(book, needs(("a", 0, 4, 20)), decided_at=1800)
    assert result.accepted_w.tolist() == [0, 5, 0, 5]
    assert why(result)[::2] == ["notice time too long", "expired"]
    day = fx.MarketDay("2026-03-29")
    at = day.start(2)
    clocks = [at, at + dt.timedelta(seconds=1)]
    book = offers(*rows[:2], expires_at=clocks)
    assert fx.clear(book, needs(("a", 0, 4, 20)), decided_at=at, day=day).accepted_w.tolist() == [0, 5]


def test_availability_counts_beside_use_in_order_and_in_cost():
    book = offers(("a", 0, 0, 4_000, 10), ("a", 0, 0, 4_000, 12), availability_ueur_per_mwh=[5 * EUR, 0])
    result = fx.clear(book, needs(("a", 0, 0, 5_000)))
    assert result.accepted_w.tolist() == [1_000, 4_000]
    assert result.total_cost_ueur == (1_000 * 15 + 4_000 * 12) * EUR // 4_000_000


def test_price_steps_are_filled_in_order_also_where_later_ones_are_cheaper():
    book = offers(("a", 0, 0, 4, 30), ("a", 0, 0, 4, 5), ("a", 0, 0, 5, 20)) | {
        "offer_id": [1, 1, 2],
        "price_step": [0, 1, 0],
    }
    assert fx.clear(book, needs(("a", 0, 0, 5))).accepted_w.tolist() == [0, 0, 5]
    # 8 W: all of the curve costs 140, the other offer and 3 W of the first step 190
    assert fx.clear(book, needs(("a", 0, 0, 8))).accepted_w.tolist() == [4, 4, 0]
    convex = book | {"price_ueur_per_mwh": [5 * EUR, 30 * EUR, 20 * EUR]}
    result = fx.clear(convex, needs(("a", 0, 0, 10)))
    assert result.accepted_w.tolist() == [4, 1, 5]
    assert result.engine.tolist() == ["tree_merit_order"]


def test_fill_or_kill_is_all_or_nothing():
    book = offers(("a", 0, 0, 12, 50), completion=["fill_or_kill"])
    assert fx.clear(book, needs(("a", 0, 0, 10)), over_procurement=0).accepted_w.tolist() == [0]
    assert fx.clear(book | {"completion": ["fill_and_kill"]}, needs(("a", 0, 0, 10))).accepted_w.tolist() == [10]


def test_a_buy_bid_is_served_up_to_its_cap_and_a_conditional_one_only_beside_its_other():
    book = offers(("a", 0, 0, 6, 10), ("a", 0, 0, 6, 30))
    capped = fx.clear(book, needs(("a", 0, 0, 10), cap_ueur_per_mwh=[20 * EUR]))
    assert capped.accepted_w.tolist() == [6, 0]
    assert capped.engine.tolist() == ["lp"]
    assert capped.served_w.tolist() == [6]
    assert capped.unserved_w.tolist() == [0]  # not worth its price, so not open
    two = needs(("a", 0, 0, 4), ("b", 0, 0, 5), need_id=["x", "y"], condition=["", "x"])
    both = offers(("a", 0, 0, 4, 10), ("b", 0, 0, 6, 30))
    assert fx.clear(both, two).served_w.tolist() == [4, 5]
    less = fx.clear(both | {"quantity_w": [3, 6]}, two)
    assert less.served_w.tolist() == [3, 0]
    assert less.accepted_w.tolist() == [3, 0]
    assert less.unserved_w.tolist() == [1]


@pytest.mark.rule("OFR-01")
def test_an_offer_with_places_counts_with_what_is_sure():
    tree = {"element": ["t", "l", "r"], "parent": ["t", "t", "t"]}
    spots = {"offer_id": [0, 0], "element": ["l", "r"], "power_w": [6, 4]}
    whole = offers(("t", 0, 0, 8, 10), min_w=[8])
    want = needs(("l", 0, 0, 5))
    # at most 4 of the 8 sit outside, so 4 are sure to act at l
    result = fx.clear(whole, want, parent=tree, places=spots)
    assert result.unserved_w.tolist() == [1]
    assert result.accepted_w.tolist() == [8]
    cap = {"element": ["r"], "direction": [0], "step": [0], "capability_w": [3]}
    assert fx.clear(whole, want, cap, parent=tree, places=spots).accepted_w.tolist() == [0]
    # a divisible one is sure to help only above all its places: the linear inner form
    assert fx.clear(offers(("t", 0, 0, 8, 10)), want, parent=tree, places=spots).accepted_w.tolist() == [0]
    assert fx.clear(offers(("t", 0, 0, 8, 10)), needs(("t", 0, 0, 5)), parent=tree, places=spots).unserved_w.sum() == 0


@pytest.mark.rule("OFR-01")
def test_whatever_the_split_over_its_places_the_needs_said_to_be_served_are_and_no_limit_breaks():
    rng = np.random.default_rng(5)
    tried = 0
    for k in range(60):
        case = random_case(rng, features={"places"}, most_bids=3)
        case["parent"] = {0: None, 1: 0, 2: 0, 3: 1}
        case["needs"] = [{**NEED, "element": int(e), "direction": int(k % 5 == 0), "step": 0, "w": 12, "id": 0}
                         for e in rng.integers(0, 4, 1)]  # fmt: skip
        case["limits"] = [limit for limit in case["limits"] if limit["element"] in (1, 2) and limit["w"] > 3]
        case["rows"] = [
            {**ROW, "offer": o, "element": 0, "direction": int(rng.random() < 0.2) ^ (k % 5 == 0), "step": 0,
             "w": w, "min": w if rng.random() < 0.7 else 0, "price": int(rng.integers(1, 9)),
             "places": {1: 1, 2: int(rng.integers(1, 4)), 3: 4}} for o, w in enumerate(rng.integers(1, 6, 4).tolist())
        ]  # fmt: skip
        result = fx.clear(**tables_of(case))
        parent, tree = case["parent"], list(case["parent"])

        def above(element, parent=parent):
            while element is not None:
                yield element
                element = parent[element]

        splits = []
        for row, power in zip(case["rows"], result.accepted_w.tolist(), strict=True):
            spots = row["places"] or {row["element"]: power}
            ways = [
                dict(zip(spots, way, strict=True))
                for way in itertools.product(*[range(min(power, p) + 1) for p in spots.values()])
                if sum(way) == power
            ]
            splits.append(ways)
        for step in (0,):
            mine = [k for k, row in enumerate(case["rows"]) if row["step"] == step and result.accepted_w[k]]
            for way in itertools.islice(itertools.product(*[splits[k] for k in mine]), 300):
                y = dict.fromkeys(tree, 0)
                for k, split in zip(mine, way, strict=True):
                    for place, power in split.items():
                        for element in above(place):
                            y[element] += -power if case["rows"][k]["direction"] else power
                for need, served in zip(case["needs"], result.served_w.tolist(), strict=True):
                    if need["step"] == step:
                        assert y[need["element"]] * (-1 if need["direction"] else 1) >= served
                for limit in case["limits"]:
                    same = [n for n in case["needs"] if (n["element"], n["step"]) == (limit["element"], step)]
                    replaced = any(n["direction"] != limit["direction"] for n in same)
                    if limit["step"] == step and not replaced:
                        assert y[limit["element"]] * (-1 if limit["direction"] else 1) <= limit["w"]
                tried += any(case["rows"][k]["places"] for k in mine)
    assert tried > 200


def test_the_linear_part_equals_a_dense_program_of_its_own():
    rng = np.random.default_rng(11)
    scale, engines, some = 10**6, set(), 0
    for k in range(60):
        n = int(rng.integers(2, 12))
        case = {"parent": {i: None if i == 0 else int(rng.integers(0, i)) for i in range(n)}, "needs": [], "limits": []}
        capped = k % 2 == 0
        for element, direction in itertools.product(range(n), (0, 1)):
            if rng.random() < 0.3:
                cap = int(rng.integers(1, 40)) if capped and rng.random() < 0.6 else None
                case["needs"].append({**NEED, "element": element, "direction": direction, "step": 0,
                                      "w": int(rng.integers(1, 60)), "id": len(case["needs"]), "cap": cap})  # fmt: skip
            if rng.random() < 0.3:
                case["limits"].append(
                    {"element": element, "direction": direction, "step": 0, "w": int(rng.integers(0, 60))}
                )
        case["rows"] = [
            {**ROW, "offer": o, "element": int(rng.integers(0, n)), "direction": int(rng.random() < 0.4), "step": 0,
             "w": int(rng.integers(1, 30)), "price": int(rng.integers(1, 50))} for o in range(int(rng.integers(1, 40)))
        ]  # fmt: skip
        if not case["needs"]:
            continue
        result = fx.clear(**tables_of(case, scale), method="milp")
        least, cost = relaxed(case)
        assert result.unserved_w[0] / scale == pytest.approx(least, rel=1e-7, abs=1e-7)
        lost = [
            need["cap"] * (need["w"] - s / scale)
            for need, s in zip(case["needs"], result.served_w, strict=True)
            if need["cap"]
        ]
        paid = [row["price"] * w / scale for row, w in zip(case["rows"], result.accepted_w, strict=True)]
        assert sum(paid) + sum(lost) == pytest.approx(cost, rel=1e-7, abs=1e-6)
        assert result.gap[0] == 0
        engines |= set(result.engine.tolist())
        some += sum(paid) > 0
    assert engines == {"lp"}
    assert some > 20


@pytest.mark.parametrize("kind", ["minimum", "curves", "exclusive"])
def test_merit_order_and_solver_agree_where_the_first_is_proved(kind):
    rng = np.random.default_rng(21)
    proved = 0
    for _ in range(25):
        tables = tables_of(random_case(rng, features=FEATURES[kind], most_bids=5))
        first, second = fx.clear(**tables), fx.clear(**tables, method="milp")
        for t in np.flatnonzero(first.engine == "tree_merit_order"):
            rows = first.step == first.steps[t]
            assert first.accepted_w[rows].tolist() == second.accepted_w[rows].tolist()
            proved += 1
        assert first.unserved_w.tolist() == second.unserved_w.tolist()
        assert first.beyond_w.tolist() == second.beyond_w.tolist()
        assert first.total_cost_ueur == second.total_cost_ueur
    assert proved > 10


def test_threads_and_the_order_of_rows_change_nothing():
    rng = np.random.default_rng(8)
    case = random_case(rng, features=FEATURES["everything"])
    while len(case["rows"]) < 8:
        case = random_case(rng, features=FEATURES["everything"])
    tables = tables_of(case)
    first, second = fx.clear(**tables), fx.clear(**tables, n_threads=2)
    assert first.to_arrow().equals(second.to_arrow())
    order = rng.permutation(len(case["rows"]))
    turned = {**tables, "offers": {name: values[order] for name, values in tables["offers"].items()}}
    assert fx.clear(**turned).accepted_w.tolist() == first.accepted_w[order].tolist()


def test_ties_follow_the_rule_that_was_asked_for():
    tree = {"element": ["t", "l", "r"], "parent": ["t", "t", "t"]}
    rows = [("r", 0, 0, 4_000, 10), ("r", 0, 0, 6_000, 10), ("l", 0, 0, 2_000, 10), ("r", 0, 0, 5_000, 99)]
    book = offers(*rows, submitted_at=[1, 2, 3, 0])
    want = needs(("t", 0, 0, 6_000), ("l", 0, 0, 0))

    def taken(ties, **more):
        result = fx.clear(book | more.pop("columns", {}), want, parent=tree, ties=ties, **more)
        assert (getattr(result, "ties", "time")) == ties
        return result.accepted_w.tolist()

    assert taken("time") == [4_000, 2_000, 0, 0]
    assert taken("size") == [0, 6_000, 0, 0]
    assert taken("pro_rata") == [2_000, 3_000, 1_000, 0]
    # shares of 6 kW in whole kW: 2, 3, 1; in multiples of 2500 W the second gets one only, and the sum cannot be kept
    assert taken("pro_rata", columns={"granularity_w": [1_000] * 4}) == [2_000, 3_000, 1_000, 0]
    result = fx.clear(book, want, parent=tree, ties="pro_rata")
    assert result.shared.tolist() == [True, True, True, False]
    want = needs(("t", 0, 0, 7_000))
    assert taken("pro_rata", columns={"granularity_w": [1_000] * 4}) == [2_000, 4_000, 1_000, 0]
    # l has a need of its own that is met by others only in part: an offer there serves two
    want = needs(("t", 0, 0, 6_000), ("l", 0, 0, 1_000))
    assert taken("time") == [4_000, 1_000, 1_000, 0]
    assert taken("effect") == [4_000, 0, 2_000, 0]
    # shares that would leave the need at l open fall back to the offers at one element
    want = needs(("t", 0, 0, 6_000), ("l", 0, 0, 2_000))
    assert taken("pro_rata") == [1_600, 2_400, 2_000, 0]


def test_a_grid_and_a_table_of_parents_give_the_same():
    rng = np.random.default_rng(2)
    solved = 0
    for _ in range(20):
        n = 6
        parent = [-1, *(int(rng.integers(0, i)) for i in range(1, n))]
        rows = [(int(rng.integers(1, n)), int(rng.random() < 0.3), 0, int(w), int(rng.integers(1, 30)))
                for w in rng.integers(1, 20, 8)]  # fmt: skip
        book = offers(*rows) | {"min_w": [row[3] * (k % 2) for k, row in enumerate(rows)]}
        want = needs((1, 0, 0, 15), (int(rng.integers(2, n)), 0, 0, 8))
        above = {"element": list(range(n)), "parent": [max(p, 0) for p in parent]}
        first, second = fx.clear(book, want, grid=forest(parent)), fx.clear(book, want, parent=above)
        assert first.unserved_w.tolist() == second.unserved_w.tolist()
        assert first.total_cost_ueur == second.total_cost_ueur
        solved += first.engine[0] == "milp"
    assert solved


def test_no_counter_activation_takes_a_whole_block_out():
    book = offers(("a", 0, 0, 5, 10), ("a", 1, 1, 5, 10), ("a", 0, 0, 5, 20), block=[1, 1, -1])
    want = needs(("a", 0, 0, 5), ("a", 0, 1, 5))
    result = fx.clear(book, want, group={"a": 0})
    assert result.accepted_w.tolist() == [0, 0, 5]
    assert why(result)[:2] == ["direction forbidden in the perimeter"] * 2


def test_an_open_need_makes_a_rejected_offer_paradoxical():
    result = fx.clear(
        offers(("a", 0, 0, 5, 10), ("b", 0, 0, 5, 10), min_w=[5, 5]), needs(("a", 0, 0, 3)), over_procurement=1
    )
    assert result.paradoxical.tolist() == [True, False]
    assert result.local_price_ueur_per_mwh.tolist() == [OPEN_NEED, NO_PRICE]
    table = result.to_arrow()
    assert table.column("local_price_ueur_per_mwh").to_pylist() == [OPEN_NEED, None]
    assert table.column("engine").to_pylist() == ["milp", "milp"]


def test_a_selection_that_runs_out_of_time_says_so():
    rng = np.random.default_rng(0)
    n = 120
    rows = [
        ("a", 0, 0, int(w), int(p)) for w, p in zip(rng.integers(10**5, 10**6, n), rng.integers(20, 30, n), strict=True)
    ]
    book = offers(*rows, completion=["fill_or_kill"] * n)
    result = fx.clear(book, needs(("a", 0, 0, 12_345_678)), over_procurement=0, time_limit_s=0.001)
    assert result.gap[0] > 0
    assert "time ran out" in result.proof[0]
    assert int(result.accepted_w.sum()) <= 12_345_678


def test_nothing_offered_and_nothing_wanted():
    empty = {name: np.zeros(0, np.int64) for name in ("offer_id", "element", "direction", "step", "quantity_w")}
    book = {**empty, "price_ueur_per_mwh": np.zeros(0, np.int64), "min_w": np.zeros(0, np.int64)}
    result = fx.clear(book, needs((1, 0, 0, 5)))
    assert result.unserved_w.tolist() == [5]
    assert result.to_arrow().num_rows == 0
    nobody = {name: empty[name] for name in ("element", "direction", "step", "quantity_w")}
    idle = fx.clear(offers((1, 0, 0, 5, -10), min_w=[2]), nobody)
    assert idle.accepted_w.tolist() == [0]
    assert idle.engine.tolist() == ["none"]


PLAIN = offers(("a", 0, 0, 10, 50), ("a", 0, 0, 10, 60))
WANT = needs(("a", 0, 0, 10), ("a", 0, 0, 5))


@pytest.mark.parametrize(
    ("columns", "options", "code", "rows"),
    [
        ({"min_w": [0, 11]}, {}, "FX-M221", (1,)),
        ({"min_w": [0, 10], "granularity_w": [1, 4]}, {}, "FX-M221", (1,)),
        ({"offer_id": [1, 1], "price_step": [0, 1], "min_w": [3, 2]}, {}, "FX-M220", (1,)),
        ({"offer_id": [1, 1]}, {}, "FX-M202", (1,)),
        ({"block": [3, 3], "exclusive": [1, 2]}, {}, "FX-M220", (1,)),
        ({"exclusive": [1, 1], "exclusive_scope": ["day", "step"]}, {}, "FX-M220", (1,)),
        ({"unit": [1, 1], "recovery_s": [900, 1800]}, {}, "FX-M220", (1,)),
        ({"role": ["deliver", "rebound"]}, {}, "FX-M222", (1,)),
        ({"role": ["deliver", "rebound"], "block": [-1, 4]}, {}, "FX-M222", (1,)),
        ({"block": [3, 3], "granularity_w": [1, 3]}, {}, "FX-M223", (1,)),
        ({"offer_id": [1, 1], "price_step": [0, 1], "block": [3, 3]}, {}, "FX-M223", (0, 1)),
        ({"notice_s": [0, 5]}, {}, "FX-M226", (1,)),
        ({"expires_at": [NEVER, 5]}, {}, "FX-M226", (1,)),
        ({"expires_at": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 2}, {}, "FX-M226", ()),
        ({"min_w": [0, -1]}, {}, "FX-A004", (1,)),
        ({"completion": ["normal", "maybe"]}, {}, "FX-A011", (1,)),
        ({"max_run_s": [900, 899]}, {}, "FX-A006", (1,)),
        ({"min_w": [0, 0]}, {"method": "lp"}, "FX-M227", ()),
        ({"min_w": [0, 0]}, {"over_procurement": "some"}, "FX-M227", ()),
        ({"min_w": [0, 0]}, {"over_procurement": True}, "FX-M227", ()),
        ({"min_w": [0, 0]}, {"over_procurement": -1}, "FX-M227", ()),
        ({"min_w": [0, 0]}, {"time_limit_s": 0}, "FX-M227", ()),
        ({"min_w": [0, 0], "step": [0, -1]}, {}, "FX-M203", (1,)),
        ({}, {"places": {"offer_id": [9], "element": ["a"], "power_w": [1]}}, "FX-M225", (0,)),
        ({}, {"places": {"offer_id": [1], "element": ["a"], "power_w": [9]}}, "FX-M225", (1,)),
        ({"block": [-1, 2]}, {"places": {"offer_id": [1], "element": ["a"], "power_w": [10]}}, "FX-M225", (1,)),
    ],
)  # fmt: skip
def test_offers_that_contradict_themselves_are_refused_by_code_and_row(columns, options, code, rows):
    with pytest.raises(OfferError) as refused:
        fx.clear({**PLAIN, **columns}, WANT, **options)
    assert refused.value.codes == (code,)
    assert refused.value.findings[0].rows == rows


@pytest.mark.parametrize(
    ("columns", "code", "rows"),
    [
        ({"need_id": [1, 1]}, "FX-M228", (1,)),
        ({"need_id": [1, 2], "condition": [-1, 3]}, "FX-M224", (1,)),
        ({"need_id": [1, 2], "condition": [2, 1]}, "FX-M224", (0, 1)),
        ({"need_id": [1, 2], "condition": [-1, 2]}, "FX-M224", (1,)),
        ({"cap_ueur_per_mwh": [2**50 + 1, 5]}, "FX-A006", (0,)),
    ],
)
def test_needs_that_contradict_themselves_are_refused_by_code_and_row(columns, code, rows):
    with pytest.raises(OfferError) as refused:
        fx.clear(PLAIN, {**WANT, **columns})
    assert refused.value.codes == (code,)
    assert refused.value.findings[0].rows == rows


def test_other_bad_input_has_its_own_type():
    with pytest.raises(OptionError):
        fx.clear(PLAIN, WANT, ties="luck")
    with pytest.raises(UnknownIdError):
        fx.clear({**PLAIN, "min_w": [0, 0]}, WANT, parent={"element": ["b"], "parent": ["b"]})
    with pytest.raises(TimeSeriesError):
        fx.clear({**PLAIN, "expires_at": [dt.datetime(2026, 1, 1)] * 2}, WANT, decided_at=0)


@pytest.mark.parametrize("size", [10**5, 10**8, 10**10])
def test_powers_and_prices_without_a_common_divisor_are_selected_exactly(size):
    rng = np.random.default_rng(size % 97)
    for _ in range(8):
        n = 9
        quantity, price = rng.integers(size // 10, size, n), rng.integers(10**7, 10**9, n)
        parent = {"element": [0, 1, 2], "parent": [0, 0, 0]}
        element = rng.integers(0, 3, n)
        want, cap = int(quantity.sum() // 3), int(quantity.sum() // 4)
        book = {
            "offer_id": np.arange(n), "element": element, "direction": np.zeros(n, int), "step": np.zeros(n, int),
            "quantity_w": quantity, "price_ueur_per_mwh": price, "min_w": np.where(np.arange(n) < 8, quantity, 0),
        }  # fmt: skip
        limits = {"element": [1, 2], "direction": [0, 0], "step": [0, 0], "capability_w": [cap, cap]}
        result = fx.clear(book, needs((0, 0, 0, want)), limits, parent=parent)
        best = None
        for taken in itertools.product((0, 1), repeat=8):
            power = [t * int(q) for t, q in zip(taken, quantity, strict=False)]
            there = [sum(p for p, e in zip(power, element, strict=False) if e == k) for k in (1, 2)]
            if max(there) > cap:
                continue
            room = cap - there[element[8] - 1] if element[8] else int(quantity[8])
            last = min(max(want - sum(power), 0), int(quantity[8]), room)
            power.append(last)
            total = sum(power)
            cost = sum(p * int(c) for p, c in zip(power, price, strict=True))
            key = (max(want - total, 0), max(total - want, 0), cost)
            best = key if best is None else min(best, key)
        mine = sum(int(w) * int(c) for w, c in zip(result.accepted_w, price, strict=True))
        assert (int(result.unserved_w[0]), int(result.beyond_w[0]), mine) == best
        assert result.gap[0] == 0


def test_every_engine_says_what_proves_it():
    from flexcore.market.bids import BID_ENGINES
    from flexcore.market.clearing import PROOFS

    assert set(PROOFS) == set(BID_ENGINES)
