"""The seasonal auction of long-term contracts: least expected total cost, against every award and against HiGHS."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from flexcore.errors import FlexcoreError, OfferError, UnknownIdError, ValidationError
from flexcore.market.long_term_auction import REASONS, long_term_auction
from tests.reference import market_long_term as reference

EUR = 10**6
FREE = 2**50  # no cap
NO_BUDGET = 2**62
SEASON = {"first_day": "2026-06-01", "last_day": "2026-06-14", "months": 4095, "weekdays": 31}
#: 17-21 and 19-21 overlap, 06-09 stands alone; ten working days each
WINDOWS = [
    {"window_id": "evening", "from_quarter": 68, "to_quarter": 84, **SEASON},
    {"window_id": "peak", "from_quarter": 76, "to_quarter": 84, **SEASON},
    {"window_id": "morning", "from_quarter": 24, "to_quarter": 36, **SEASON},
]
TIMES = {window["window_id"]: set(reference.quarters(window)) for window in WINDOWS}
TENDER = {
    "tender_id": "t", "perimeter": "P", "direction": 0, "budget_ueur": NO_BUDGET,
    "availability_cap_ueur_per_mw_h": FREE, "use_cap_ueur_per_mwh": FREE, "granularity_w": 1,
}  # fmt: skip


def need(window="evening", required_w=1000, ppm=500_000, use_quarters=-1):
    return {
        "tender_id": "t", "window_id": window, "required_w": required_w, "activation_ppm": ppm,
        "use_quarters": use_quarters,
    }  # fmt: skip


def offer(name, quantity_w, availability, use, windows=("evening",), **more):
    """One offer with prices in EUR; every offer has its own aggregate unless said otherwise."""
    return {
        "offer_id": name, "tender_id": "t", "bsp": "B", "aggregate": name, "quantity_w": quantity_w, "min_w": 0,
        "effect_permille": 1000, "availability_ueur_per_mw_h": round(availability * EUR),
        "use_ueur_per_mwh": round(use * EUR), "submitted_at": 0, "windows": tuple(windows), **more,
    }  # fmt: skip


def columns(rows, without=()):
    return {name: [row[name] for row in rows] for name in rows[0] if name not in without}


def run(offers, needs, tender=TENDER, windows=None, **options):
    tenders = tender if isinstance(tender, list) else [tender]
    links = [{"offer_id": o["offer_id"], "window_id": w} for o in offers for w in o["windows"]]
    return long_term_auction(
        columns(tenders), columns(needs), columns(offers, ("windows",)), columns(links),
        columns(windows or WINDOWS), **options,
    )  # fmt: skip


def score(result, offers, needs):
    award = result.awarded_w.tolist()
    cost = [reference.expected_cost(o, needs, TIMES) * w for o, w in zip(offers, award, strict=True)]
    places = reference.places(offers, needs, TIMES)
    return (
        reference.short(offers, needs, TIMES, award)[1],
        sum(cost, start=Fraction(0)),
        sum(p * w for p, w in zip(places, award, strict=True)),
    )


def random_case(rng, n_offers, n_needs, top, grain=1, price=9, ppm=True):
    """A tender with overlapping windows, minimum quantities, unequal effects, shared aggregates, caps and budgets."""
    kind = int(rng.integers(4))  # 0: plain, 1: minimum quantities, 2: effects, 3: all
    names = [str(w) for w in rng.permutation([w["window_id"] for w in WINDOWS])[:n_needs]]
    needs = [
        need(w, grain * int(rng.integers(0, top * n_offers // 2 + 1)), int(rng.integers(0, 5)) * 250_000 if ppm else 0,
             int(rng.choice([-1, 8])))
        for w in names
    ]  # fmt: skip
    offers = []
    for o in range(n_offers):
        mine = names if kind == 0 else [w for w in names if rng.random() < 0.6] or names[:1]
        quantity = grain * int(rng.integers(0, top + 1))
        low = min(quantity, grain * int(rng.choice([0, 0, 2, top]))) if kind in (1, 3) else 0
        offers.append(
            offer(
                f"o{int(rng.integers(10**6))}-{o}", quantity, int(rng.integers(0, price)),
                int(rng.integers(0, price)) * 10, mine, min_w=low, submitted_at=int(rng.integers(3)),
                effect_permille=int(rng.choice([500, 800, 1000])) if kind >= 2 else 1000,
                aggregate=int(rng.integers(n_offers)) if kind == 3 else o,
            )
        )  # fmt: skip
    tender = TENDER | {"granularity_w": grain}
    if rng.random() < 0.3:
        tender["availability_cap_ueur_per_mw_h"] = price // 2 * EUR
    if rng.random() < 0.4:
        everything = sum(reference.expected_cost(o, needs, TIMES) * o["quantity_w"] for o in offers)
        tender["budget_ueur"] = int(everything * int(rng.integers(0, 60)) / 100)
    return tender, needs, offers


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize("seed", range(8))
def test_the_auction_equals_the_best_of_all_awards(seed):
    rng = np.random.default_rng(seed)
    seen = Counter()
    for _ in range(45):
        tender, needs, offers = random_case(rng, int(rng.integers(1, 6)), int(rng.integers(1, 4)), 4)
        result = run(offers, needs, tender)
        best = reference.exhaustive(tender, needs, offers, TIMES)
        assert score(result, offers, needs) == best[0], (tender, needs, offers, result.awarded_w, best)
        assert result.proved.all()
        assert result.tie_settled.all()
        seen[str(result.engine[0])] += 1
        seen["short"] += best[0][0] > 0
        seen["budget"] += tender["budget_ueur"] < NO_BUDGET and best[0][0] > 0
    assert min(seen[k] for k in ("merit_order", "milp", "short", "budget")) >= 2, seen


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(8, 48))
def test_the_auction_equals_the_best_of_all_awards_in_many_more_cases(seed):
    test_the_auction_equals_the_best_of_all_awards(seed)


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize("seed", range(8))
def test_the_auction_equals_another_milp_on_larger_cases(seed):
    rng = np.random.default_rng(100 + seed)
    seen = Counter()
    for _ in range(26):
        tender, needs, offers = random_case(rng, int(rng.integers(6, 16)), int(rng.integers(1, 4)), 12, 10_000, 90)
        result = run(offers, needs, tender)
        shortfall, cost, _ = score(result, offers, needs)
        other_shortfall, other_cost = reference.by_solver(tender, needs, offers, TIMES)
        assert shortfall == other_shortfall
        assert float(cost) == pytest.approx(float(other_cost), rel=1e-9, abs=1)
        assert cost <= tender["budget_ueur"]
        assert result.proved.all()
        seen[str(result.engine[0])] += 1
    assert min(seen[k] for k in ("merit_order", "milp")) >= 2, seen


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize(
    ("ppm", "winner"), [(0, "A"), (119_999, "A"), (120_000, "B"), (120_001, "B"), (1_000_000, "B")]
)
def test_the_probability_of_activation_reverses_the_order_at_twelve_per_cent(ppm, winner):
    """By hand, per MW: 40 h of window, 10 h of use if activated.

    A: 2 EUR/MW/h x 40 h + P x 10 h x 300 EUR/MWh = 80 + 3000 P; B: 8 x 40 + P x 10 x 100 = 320 + 1000 P. They meet
    where 240 = 2000 P, at P = 0.12; there the earlier offer wins, which is B.
    """
    offers = [offer("A", 10**6, 2, 300, submitted_at=2), offer("B", 10**6, 8, 100, submitted_at=1)]
    result = run(offers, [need("evening", 10**6, ppm, 40)])
    assert result.offer_id[result.awarded_w > 0].tolist() == [winner]
    probability = Fraction(ppm, 10**6)
    expected = 80 + 3000 * probability if winner == "A" else 320 + 1000 * probability
    assert result.expected_cost_ueur.tolist() == [expected * EUR]


@pytest.mark.rule("LTC-01")
def test_the_parts_of_the_expected_cost_by_hand():
    # 0.5 MW for 40 h evening and 30 h morning at 3 EUR/MW/h; use 0.25 x 40 h and 0.5 x 2 h at 200 EUR/MWh
    offers = [offer("A", 500_000, 3, 200, ("evening", "morning"))]
    needs = [need("evening", 400_000, 250_000), need("morning", 500_000, 500_000, 8)]
    result = run(offers, needs)
    assert result.awarded_w.tolist() == [500_000]
    assert result.expected_availability_ueur.tolist() == [105 * EUR]
    assert result.expected_use_ueur.tolist() == [1100 * EUR]
    assert result.expected_cost_ueur.tolist() == [1205 * EUR]
    assert str(result.expected_cost) == "1205.000000"
    assert result.short_w.tolist() == [0, 0]


@pytest.mark.rule("LTC-01")
@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 3), ("2026-10-24", 4), ("2026-10-25", 5)])
def test_the_hours_of_a_window_are_those_that_pass(day, hours):
    window = WINDOWS[0] | {"first_day": day, "last_day": day, "weekdays": 127, "from_quarter": 0, "to_quarter": 16}
    result = run([offer("A", 10**6, 7, 100)], [need("evening", 10**6, 500_000)], windows=[window])
    assert result.expected_availability_ueur.tolist() == [7 * hours * EUR]
    assert result.expected_use_ueur.tolist() == [50 * hours * EUR]


@pytest.mark.rule("LTC-01")
def test_one_capacity_covers_overlapping_windows_and_is_paid_once_a_quarter_hour():
    # evening holds peak: 40 h together, not 60
    result = run([offer("A", 1000, 1, 0, ("evening", "peak"))], [need("evening", 600), need("peak", 1000)])
    assert result.awarded_w.tolist() == [1000]
    assert result.short_w.tolist() == [0, 0]
    assert result.expected_availability_ueur.tolist() == [1000 * 40]  # 1 kW x 40 h x 1 EUR/MW/h


@pytest.mark.rule("LTC-01")
def test_ties_go_to_the_earlier_offer_and_then_to_the_lower_id():
    needs = [need("evening", 1500)]
    late, early = offer("a", 1000, 5, 50, submitted_at=2), offer("z", 1000, 5, 50, submitted_at=1)
    assert run([late, early], needs).awarded_w.tolist() == [500, 1000]
    same = [offer("b", 1000, 5, 50), offer("a", 1000, 5, 50)]
    assert run(same, needs).awarded_w.tolist() == [500, 1000]
    # the MILP keeps to the same order: a least award sends the tender to it
    stepped = [row | {"min_w": 500} for row in (late, early)]
    result = run(stepped, needs)
    assert result.engine.tolist() == ["milp"]
    assert result.awarded_w.tolist() == [500, 1000]


@pytest.mark.rule("LTC-01")
def test_a_budget_that_does_not_suffice_buys_most_and_then_cheapest():
    # 1 kW for 40 h at 10 EUR/MW/h is 0.40 EUR, at 20 EUR/MW/h 0.80 EUR
    offers = [offer("dear", 3000, 20, 0), offer("cheap", 2000, 10, 0)]
    tender = TENDER | {"budget_ueur": 1_600_000}
    result = run(offers, [need("evening", 4000)], tender)
    assert result.awarded_w.tolist() == [1000, 2000]
    assert result.short_w.tolist() == [1000]
    assert result.expected_cost_ueur.tolist() == [1_600_000]
    assert run(offers, [need("evening", 4000)], tender | {"budget_ueur": 1_599_999}).short_w.tolist() == [1001]
    assert run(offers, [need("evening", 4000)], tender | {"budget_ueur": 0}).awarded_w.tolist() == [0, 0]
    # with a least award the dear offer alone covers more than the cheap one and what is left of the budget
    stepped = [offer("dear", 3000, 13, 0, min_w=3000), offer("cheap", 2000, 10, 0, min_w=2000)]
    result = run(stepped, [need("evening", 4000)], tender)
    assert result.awarded_w.tolist() == [3000, 0]
    assert result.short_w.tolist() == [1000]
    assert [REASONS[c] for c in result.reason] == ["accepted", "beyond the budget"]


@pytest.mark.rule("LTC-01")
def test_prices_above_a_cap_are_out_and_prices_at_it_are_in():
    tender = TENDER | {"availability_cap_ueur_per_mw_h": 5 * EUR, "use_cap_ueur_per_mwh": 90 * EUR}
    offers = [offer("at", 1000, 5, 90), offer("availability", 1000, 5.000001, 1), offer("use", 1000, 1, 90.000001)]
    result = run(offers, [need("evening", 3000)], tender)
    assert result.awarded_w.tolist() == [1000, 0, 0]
    assert [REASONS[c] for c in result.reason] == ["accepted", "above a price cap", "above a price cap"]
    assert result.short_w.tolist() == [2000]


@pytest.mark.rule("LTC-01")
def test_one_capacity_is_not_sold_twice():
    # two packages of one aggregate: the cheap one covers the peak only
    offers = [
        offer("whole", 1000, 4, 0, ("evening", "peak"), aggregate="X"),
        offer("part", 1000, 1, 0, ("peak",), aggregate="X"),
        offer("dawn", 1000, 1, 0, ("morning",), aggregate="X"),
    ]
    needs = [need("evening", 1000), need("peak", 1000), need("morning", 1000)]
    result = run(offers, needs)
    assert result.awarded_w.tolist() == [1000, 0, 1000]  # the morning shares no quarter-hour
    assert REASONS[result.reason[1]] == "its capacity is taken in another offer"


@pytest.mark.rule("LTC-01")
def test_reasons_name_what_is_not_needed_dearer_or_does_not_fit():
    needs = [need("evening", 1000), need("morning", 0)]
    offers = [
        offer("good", 700, 1, 0), offer("whole", 900, 2, 0, min_w=900), offer("small", 300, 3, 0),
        offer("dear", 500, 4, 0), offer("idle", 500, 1, 0, ("morning",)),
    ]  # fmt: skip
    result = run(offers, needs)
    assert result.awarded_w.tolist() == [700, 0, 300, 0, 0]
    assert [REASONS[c] for c in result.reason] == [
        "accepted", "cheaper per effective W than what was taken, but does not fit", "accepted",
        "dearer than what was taken", "not needed: nothing is required in its windows",
    ]  # fmt: skip
    assert result.to_arrow().column("reason").to_pylist()[2] == "accepted"


@pytest.mark.rule("LTC-01")
def test_an_offer_in_windows_that_are_covered_is_not_beyond_the_budget():
    needs = [need("evening", 500), need("morning", 900)]
    offers = [offer("a", 500, 1, 0), offer("b", 500, 2, 0), offer("c", 500, 3, 0, ("morning",))]
    result = run(offers, needs)
    assert result.short_w.tolist() == [0, 400]
    assert [REASONS[c] for c in result.reason] == ["accepted", "dearer than what was taken", "accepted"]


@pytest.mark.rule("LTC-01")
def test_tenders_are_decided_alone_and_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(5)
    tender, needs, offers = random_case(rng, 9, 3, 12, 1000)
    other = [offer(f"x{k}", 9000, k, 50, ("evening",), tender_id="u", min_w=2000) for k in range(3)]
    tenders = [tender, TENDER | {"tender_id": "u", "direction": 1}]
    both = run([*offers, *other], [*needs, need("evening", 12_000) | {"tender_id": "u"}], tenders)
    assert both.awarded_w[:9].tolist() == run(offers, needs, tender).awarded_w.tolist()
    assert both.awarded_w[9:].tolist() == [9000, 3000, 0]
    rows = [*offers, *other]
    shuffle = rng.permutation(len(rows)).tolist()
    again = run([rows[i] for i in shuffle], [need("evening", 12_000) | {"tender_id": "u"}, *needs[::-1]], tenders[::-1])
    assert again.awarded_w.tolist() == both.awarded_w[shuffle].tolist()
    assert again.contracts.direction.tolist() == [int(str(i).startswith("x")) for i in again.contracts.contract_id]


def test_a_search_that_is_stopped_says_so():
    rng = np.random.default_rng(1)
    kinds = [["evening", "peak"], ["peak", "morning"], ["evening", "morning"]]
    offers = [
        offer(f"o{k}", int(rng.integers(200, 999)) * 1000, int(rng.integers(30, 60)), int(rng.integers(30, 60)),
              kinds[k % 3], min_w=200_000, effect_permille=int(rng.integers(700, 1000)))
        for k in range(12)
    ]  # fmt: skip
    needs = [need(w, 1_320_001) for w in TIMES]
    stopped, whole = run(offers, needs, node_limit=1, tie_nodes=1), run(offers, needs)
    assert whole.proved.all()
    assert whole.gap.tolist() == [0.0]
    assert not stopped.proved[0]
    assert 0 < stopped.gap[0] < 0.01
    assert stopped.short_w.tolist() == whole.short_w.tolist() == [0, 0, 0]
    assert stopped.expected_cost_ueur[0] >= whole.expected_cost_ueur[0]


class Answer:
    """What scipy.optimize.milp returns, at will."""

    def __init__(self, status, x=None):
        self.status, self.x, self.message, self.mip_dual_bound = status, x, "", None


def test_a_search_that_found_nothing_awards_nothing(monkeypatch):
    monkeypatch.setattr("scipy.optimize.milp", lambda *_, **__: Answer(1))
    result = run([offer("a", 1000, 1, 1, min_w=500)], [need()], node_limit=5)
    assert result.awarded_w.tolist() == [0]
    assert result.short_w.tolist() == [1000]
    assert not result.proved[0]
    assert not result.tie_settled[0]
    assert np.isnan(result.gap[0])


def test_an_answer_that_does_not_hold_in_whole_numbers_is_refused(monkeypatch):
    monkeypatch.setattr("scipy.optimize.milp", lambda *_, **__: Answer(0, np.full(5, 400.0)))
    with pytest.raises(OfferError) as caught:
        run([offer("a", 1000, 1, 1, min_w=500)], [need()])
    assert caught.value.codes == ("FX-M275",)
    monkeypatch.setattr("scipy.optimize.milp", lambda *_, **__: Answer(4))
    with pytest.raises(FlexcoreError, match="HiGHS stopped"):
        run([offer("a", 1000, 1, 1, min_w=500)], [need()])


def test_the_largest_budget_keeps_money_within_63_bits():
    result = run([offer("a", 10**9, 10**9, 1)], [need(required_w=10**9)])  # a thousand MW at 4e10 EUR a MW
    assert 2**62 - 10**14 < result.expected_cost_ueur[0] <= 2**62
    assert result.short_w[0] > 0


def test_no_offers_and_no_needs():
    result = run([offer("a", 1000, 1, 1)], [need("evening", 0)])
    assert result.engine.tolist() == ["none"]
    assert result.awarded_w.tolist() == [0]
    assert result.contracts.n_contracts == 0
    unmet = run([offer("a", 0, 1, 1)], [need("evening", 5)])
    assert unmet.short_w.tolist() == [5]


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"offers": [offer("a", 10, 1, 1, min_w=11)]}, OfferError, "FX-M273"),
        ({"offers": [offer("a", 13, 1, 1, min_w=11)], "tender": TENDER | {"granularity_w": 10}}, OfferError, "FX-M273"),
        ({"offers": [offer("a", 10, 1, 1, ("peak",))]}, UnknownIdError, "FX-M271"),
        ({"offers": [offer("a", 10, 1, 1, ("noon",))]}, UnknownIdError, "FX-M271"),
        ({"offers": [offer("a", 10, 1, 1, tender_id="v")]}, UnknownIdError, "FX-M271"),
        ({"needs": [need("noon")]}, UnknownIdError, "FX-M271"),
        ({"needs": [need(), need()]}, OfferError, "FX-M274"),
        ({"offers": [offer("a", 10, 1, 1, ("evening", "evening"))]}, OfferError, "FX-M274"),
        ({"offers": [offer("a", 10, 1, 1), offer("b", 10, 1, 1, ())]}, OfferError, "FX-M272"),
        ({"offers": [offer("a", 10, -1, 1)]}, OfferError, "FX-A004"),
        ({"offers": [offer("a", 10, 1, 1, effect_permille=1001)]}, OfferError, "FX-A006"),
        ({"needs": [need(ppm=1_000_001)]}, OfferError, "FX-A006"),
        ({"windows": [WINDOWS[0] | {"first_day": "2026-06-06", "last_day": "2026-06-07"}]}, OfferError, "FX-M270"),
        ({"node_limit": 0}, ValidationError, "FX-A006"),
        ({"tie_nodes": True}, ValidationError, "FX-A006"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused(change, error, code):
    given = {"offers": [offer("a", 10, 1, 1)], "needs": [need()]} | change
    with pytest.raises(error) as caught:
        run(given.pop("offers"), given.pop("needs"), **given)
    assert caught.value.codes == (code,)
