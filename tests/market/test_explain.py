"""Each reason that an explanation gives is true by its definition, checked from rows and quantities alone."""

import numpy as np
import pytest

from flexcore.errors import OfferError, ValidationError
from flexcore.kernels.market import explain as kernels
from flexcore.market.cleared import cleared_global, cleared_local, cleared_tables
from flexcore.market.clearing import clear, clear_local
from flexcore.market.explain import explain
from flexcore.market.explain_codes import CODE, CODE_NAMES, SENTENCES
from flexcore.market.explanation import NEED, OFFER, VOLTAGE_NEED, Cuts
from flexcore.market.global_selection import select_global
from flexcore.market.pricing import NO_PRICE, local_prices, pay
from flexcore.units import UP
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree, rows_of
from tests.market.test_clearing_oracle import voltage_case
from tests.market.test_global_selection import DAY, book_of, light_of, need_of
from tests.reference import market_pricing as reference


def unserved(lower, upper, y):
    return sum(max(0, a - v) for a, v in zip(lower, y, strict=True) if a > 0) + sum(
        max(0, v - b) for b, v in zip(upper, y, strict=True) if b < 0
    )


def check_offer(row, parent, lower, upper, offers, accepted, y):
    """What the code of one row says, as the documentation defines it."""
    o = int(row["id"])
    i, down = int(offers["node"][o]), int(offers["direction"][o])
    price, code, margin = int(offers["price_ueur_per_mwh"][o]), row["code"], row["margin_ueur_per_mwh"]
    sign = -1 if down else 1
    over = list(reference.path(parent, i))
    same_feeder = [
        k for k in range(accepted.size)
        if parent[offers["node"][k]] >= 0 and [*reference.path(parent, offers["node"][k])][-1] == over[-1]
    ]  # fmt: skip
    prices_taken = {
        int(offers["price_ueur_per_mwh"][k])
        for k in same_feeder if accepted[k] > 0 and offers["direction"][k] == down
    }  # fmt: skip
    assert row["w"] == offers["quantity"][o] - accepted[o] > 0
    no_open_need = not any((y[a] > upper[a] < 0) if down else (y[a] < lower[a] > 0) for a in over)
    if code in ("element_full", "opposed"):
        e = row["element"]
        assert e in over
        bound = upper[e] if not down else lower[e]
        held_low, held_high = reference.held_rows(lower, upper, y)
        assert y[e] == (held_high[e] if not down else held_low[e])
        if code == "element_full":
            assert row["limit_w"] == sign * bound == sign * y[e] >= 0
        else:
            assert sign * bound < 0
        if margin is None:  # a need on its path stays open
            assert not no_open_need
        else:
            assert margin >= price
    elif code == "dearer":
        assert price > margin
        assert margin in prices_taken
        assert no_open_need
    elif code == "tie":
        assert price == margin
        place = (offers["submitted_at"][o], o)
        assert any(
            accepted[k] > 0 and offers["direction"][k] == down and offers["price_ueur_per_mwh"][k] == price
            and (offers["submitted_at"][k], k) < place for k in same_feeder
        )  # fmt: skip
        assert no_open_need
    elif code == "marginal":
        assert accepted[o] > 0
        assert price == margin
        assert no_open_need
    elif code == "no_need":
        after = list(y)
        for e in over:
            after[e] += sign
        low = [min(a, 0) for a in lower]
        high = [max(b, 0) for b in upper]
        fits = all(low[e] <= after[e] <= high[e] for e in over)
        assert not fits or unserved(lower, upper, after) >= unserved(lower, upper, y)
    else:
        raise AssertionError(code)
    return code


@pytest.mark.rule("LFP-01")
def test_reasons_are_true_on_random_trees():
    rng = np.random.default_rng(77)
    met, n_cases = set(), 0
    for _ in range(120):
        n, n_steps = int(rng.integers(2, 12)), 4
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, n_steps, 1)
        offers = random_offers(rng, n, int(rng.integers(1, 16)), n_steps, 1)
        offers["price_ueur_per_mwh"] = rng.integers(-2, 8, offers["node"].size)  # ties are frequent
        grid, rows = forest(parent), rows_of(lower, upper)
        cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
        table = explain(cleared).to_arrow().to_pylist()
        explained = {(int(r["id"]), r["step"]) for r in table if r["subject"] == "offer"}
        wanted = np.argwhere(offers["quantity_w"] > cleared.accepted_w.T)
        assert explained == {(int(o), int(t)) for o, t in wanted}
        for t in range(n_steps):
            n_cases += 1
            accepted = cleared.accepted_w[t]
            y = reference.net(parent, offers["node"], offers["direction"], accepted)
            here = {k: v for k, v in offers.items() if k != "quantity_w"} | {"quantity": offers["quantity_w"][:, t]}
            for r in table:
                if r["step"] != t:
                    continue
                if r["subject"] == "offer":
                    i = int(offers["node"][int(r["id"])])
                    if parent[i] < 0:
                        assert r["code"] == "no_need"
                        continue
                    r["element"] = None if r["element"] is None else int(r["element"])
                    met.add(check_offer(r, parent, lower[:, t], upper[:, t], here, accepted, y))
            met |= check_needs(table, parent, lower[:, t], upper[:, t], here, accepted, y, t)
    assert n_cases == 480
    assert met >= {"dearer", "element_full", "marginal", "no_need", "opposed", "tie", "blocked", "exhausted"}


def check_needs(table, parent, lower, upper, offers, accepted, y, t):
    met = set()
    for way, name in ((0, "up"), (1, "down")):
        for i in range(len(parent)):
            needed, served = (lower[i], y[i]) if way == 0 else (-upper[i], -y[i])
            causes = [
                r for r in table
                if r["subject"] == "need" and int(r["id"]) == i and r["step"] == t and r["direction"] == name
            ]  # fmt: skip
            if parent[i] < 0 or needed <= 0 or served >= needed:
                assert not causes
                continue
            below = [
                o for o in range(accepted.size)
                if offers["direction"][o] == way and i in reference.path(parent, offers["node"][o])
            ]  # fmt: skip
            offered = sum(int(offers["quantity"][o]) for o in below)
            assert {(r["needed_w"], r["accepted_w"], r["offered_w"]) for r in causes} == {(needed, served, offered)}
            missing = needed - served
            assert sum(r["w"] for r in causes) == max(missing, missing + offered - needed)
            by_code = {r["code"]: r["w"] for r in causes}
            if offered == 0:
                assert by_code["no_offers"] >= missing - by_code.get("counter", 0)
            assert by_code.get("exhausted", 0) == (max(0, needed - offered) if offered else 0)
            met |= set(by_code)
    return met


def test_no_counter_activation_bars_offers_and_prices_hold_for_the_others():
    rng = np.random.default_rng(9)
    barred = 0
    for _ in range(40):
        n = int(rng.integers(3, 12))
        parent = random_tree(rng, n)
        lower, upper = random_bounds(rng, n, 2, 1)
        offers = random_offers(rng, n, 14, 2, 1)
        grid, rows = forest(parent), rows_of(lower, upper)
        selection = clear_local(grid, rows, group=rng.integers(-1, 2, n), **offers)
        cleared = cleared_local(grid, rows, selection, **offers)
        told = explain(cleared)
        by = told.code == CODE["direction"]
        barred += by.sum()
        assert (cleared.barred.T[told.id[by].astype(int), told.step[by]] == CODE["direction"]).all()
        assert not (told.code == CODE["not_priced"]).any()
    assert barred > 50


@pytest.mark.parametrize("kind", ["voltage only", "limits", "all"])
def test_voltage_reasons_name_a_node_without_room_and_prices_that_support(kind):
    rng = np.random.default_rng([5, len(kind)])
    met = set()
    for _ in range(40):
        parent, lower, upper, m, reach, w_lower, w_upper, offers = voltage_case(rng, kind)
        grid, rows = forest(parent), rows_of(lower, upper, m, w_lower, w_upper)
        cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
        told = explain(cleared)
        y = reference.net(parent, offers["node"], offers["direction"], cleared.accepted_w[0])
        w = [sum(m[e] * y[e] / 1e3 for e in reference.path(parent, j)) for j in range(len(parent))]
        for r in told.to_arrow().to_pylist():
            met.add((r["subject"], r["code"]))
            if r["subject"] == "offer" and r["code"] == "voltage":
                j, i = int(r["element"]), int(offers["node"][int(r["id"])])
                shared = set(reference.path(parent, i)) & set(reference.path(parent, j))
                assert sum(m[e] for e in shared) > 0
                bound = max(w_upper[j], 0) if r["direction"] == "up" else min(w_lower[j], 0)
                # the row that is named may belong to a node below, whose voltage moves with it
                near = [
                    k for k in range(len(parent)) if j in reference.path(parent, k)
                    and abs(w[k] - (max(w_upper[k], 0) if r["direction"] == "up" else min(w_lower[k], 0)))
                    <= 3 * reach[k] / 1e3
                ]  # fmt: skip
                assert near or abs(w[j] - bound) <= 3 * reach[j] / 1e3
            elif r["subject"] == "offer" and r["code"] == "worth_less" and r["margin_ueur_per_mwh"] is not None:
                price = int(offers["price_ueur_per_mwh"][int(r["id"])])
                assert price >= r["margin_ueur_per_mwh"] - 1e-6 * 20_000_000 - 1
            elif r["subject"] == "offer" and r["code"] in ("element_full", "opposed"):
                e = int(r["element"])
                assert e in reference.path(parent, int(offers["node"][int(r["id"])]))
                held = reference.held_rows(lower[:, 0], upper[:, 0], y)[1 if r["direction"] == "up" else 0]
                assert abs(y[e] - held[e]) <= 1
            elif r["subject"] == "voltage need":
                assert r["needed_w"] > r["accepted_w"]
    assert {("offer", "worth_less"), ("offer", "voltage")} <= met
    if kind == "voltage only":
        assert ("voltage need", "blocked") in met or ("voltage need", "exhausted") in met


def test_tables_name_the_full_element():
    offers = {
        "offer_id": ["cheap", "dear", "other"], "element": ["a", "b", "b"], "direction": ["up"] * 3, "step": [3] * 3,
        "quantity_w": [50, 40, 40], "price_ueur_per_mwh": [10_000_000, 60_000_000, 80_000_000],
    }  # fmt: skip
    needs = {"element": ["top"], "direction": ["up"], "step": [3], "quantity_w": [60]}
    limits = {"element": ["a"], "direction": ["up"], "step": [3], "capability_w": [30]}
    parent = {"element": ["top", "a", "b"], "parent": ["top", "top", "top"]}
    result = clear(offers, needs, limits, parent=parent)
    told = explain(cleared_tables(offers, needs, limits, result=result, parent=parent))
    assert told.sentences() == [
        "Offer cheap (step 3, up) keeps 20 W because element a is full at 30 W.",
        "Offer dear (step 3, up) is accepted in part: it sets the price of 60 EUR/MWh, and the need is met without its "
        "last 10 W.",
        "Offer other (step 3, up) is not needed: what serves the need costs at most 60 EUR/MWh.",
    ]


def test_cuts_before_the_selection_are_reasons_of_offers_and_of_needs():
    grid, rows = forest([-1, 0]), rows_of([-np.inf, 100], [np.inf, np.inf])
    offers = {
        "node": np.ones(2, int), "direction": np.zeros(2, int), "quantity_w": np.array([[30], [0]]),
        "price_ueur_per_mwh": np.array([5, 6]), "offer_id": np.array(["a", "b"]),
    }  # fmt: skip
    cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
    cuts = Cuts(
        np.array([0, 1]), np.array([0, 0]), np.array([10, 25]), np.array([CODE["held"], CODE["gate"]], np.uint8),
        np.array(["MSD_2", None], object),
    )  # fmt: skip
    told = explain(cleared, cuts=cuts, session="LFP_3")
    assert told.sentences() == [
        "Need of 100 W at 1 (LFP_3, step 0, up) misses 70 W: all offers at and below it come to 30 W.",
        "Need of 100 W at 1 (LFP_3, step 0, up) misses 70 W: 25 W of offers below it were not taken (gate).",
        "Need of 100 W at 1 (LFP_3, step 0, up) misses 70 W: 10 W of offers below it were not taken (held).",
        "Offer a (LFP_3, step 0, up) lost 10 W that the other operator holds since MSD_2.",
        "Offer b (LFP_3, step 0, up) came after the gate.",
    ]
    assert told.subject.tolist() == [NEED] * 3 + [OFFER] * 2
    assert told.by.tolist() == [None, None, "MSD_2", "MSD_2", None]
    # what was never offered explains the need, but is no row of an offer
    withheld = explain(cleared, withheld=cuts, session="LFP_3")
    assert withheld.sentences() == told.sentences()[:3]


def test_explanations_do_not_depend_on_threads():
    rng = np.random.default_rng(6)
    parent = random_tree(rng, 10)
    lower, upper = random_bounds(rng, 10, 24, 1)
    offers = random_offers(rng, 10, 14, 24, 1)
    grid, rows = forest(parent), rows_of(lower, upper)
    cleared = cleared_local(grid, rows, clear_local(grid, rows, **offers), **offers)
    assert explain(cleared).to_arrow().equals(explain(cleared, n_threads=2).to_arrow())


def test_codes_of_kernel_and_table_agree():
    for name, code in (
        ("accepted", kernels.ACCEPTED), ("marginal", kernels.MARGINAL), ("dearer", kernels.DEARER),
        ("tie", kernels.TIE), ("element_full", kernels.FULL), ("opposed", kernels.OPPOSED),
        ("no_need", kernels.NO_NEED), ("not_priced", kernels.NOT_PRICED),
    ):  # fmt: skip
        assert CODE[name] == code
    assert kernels.NONE == NO_PRICE
    assert len(set(CODE_NAMES)) == len(SENTENCES)
    assert VOLTAGE_NEED == 2


def test_global_reasons_are_true_and_prices_support_every_selection():
    rng = np.random.default_rng(4)
    met, n_cases = set(), 0
    for _ in range(60):
        n, n_perimeters = int(rng.integers(1, 12)), 4
        rows = [
            (
                int(rng.integers(-3, 12)),
                int(rng.integers(2)),
                int(rng.integers(-1, n_perimeters)),
                int(rng.integers(1, 30)),
            )
            for _ in range(n)
        ]
        zone_of = np.array([0, 0, 1, 1])
        book = book_of(rows)
        zone = np.where(book.perimeter < 0, 0, zone_of[np.maximum(book.perimeter, 0)])
        light = light_of(rng.integers(0, 3, (2, n_perimeters)) * rng.integers(5, 30, (2, n_perimeters)))
        need = need_of(int(rng.integers(-60, 60)), int(rng.integers(-60, 60)))
        selection = select_global(book, need, light, DAY, zone=zone, price_cap_ueur_per_mwh=9)
        cleared = cleared_global(
            book, selection, light, zone=zone, price_cap_ueur_per_mwh=9, zone_ids=["north", "south"]
        )
        prices = local_prices(cleared)
        assert prices.priced.all()
        assert pay(cleared).total_ueur == pay(cleared).bid_ueur
        table = [r for r in explain(cleared).to_arrow().to_pylist() if r["step"] == 0]
        n_cases += 1
        wanted = selection.wanted_w[:, 0]
        taken = selection.accepted_w[:, 0]
        assert {r["id"] for r in table if r["subject"] == "offer"} == {
            f"L{k}" for k, row in enumerate(rows) if taken[k] < row[3]
        }
        for r in table:
            met.add(r["code"])
            if r["subject"] == "need":
                z = ["north", "south"].index(r["id"])
                assert r["needed_w"] - r["accepted_w"] == selection.unserved_w[z, 0] > 0
                continue
            k = int(r["id"][1:])
            price, way, perimeter, _ = rows[k]
            z, sign = zone[k], -1 if way else 1
            mine = [j for j in range(n) if rows[j][1] == way and taken[j] > 0]
            if r["code"] == "perimeter_full":
                used = sum(taken[j] for j in mine if rows[j][2] == perimeter)
                assert used == light.capability_w[way, perimeter, 0] == r["limit_w"]
                dearest = max([rows[j][0] for j in mine if zone[j] == z], default=None)
                assert selection.unserved_w[z, 0] > 0 or dearest >= price
            elif r["code"] in ("dearer", "tie"):
                assert r["margin_ueur_per_mwh"] == max(rows[j][0] for j in mine if zone[j] == z)
                assert price >= r["margin_ueur_per_mwh"]
                assert selection.unserved_w[z, 0] == 0
            elif r["code"] == "marginal":
                assert taken[k] > 0
                assert price == max(rows[j][0] for j in mine if zone[j] == z)
            elif r["code"] == "red_light":
                assert light.capability_w[way, perimeter, 0] == 0
            elif r["code"] == "no_perimeter":
                assert perimeter < 0
            elif r["code"] == "price_cap":
                assert price > 9
            elif r["code"] == "other_direction":
                assert wanted[z] * sign < 0
            else:
                assert r["code"] == "no_need"
                assert wanted[z] == 0
    assert n_cases == 60
    assert met >= {
        "perimeter_full", "dearer", "marginal", "red_light", "no_perimeter", "price_cap", "other_direction",
        "exhausted", "blocked",
    }  # fmt: skip


def test_what_does_not_belong_together_is_refused():
    book, light, need = book_of([(1, UP, 0, 9), (2, UP, 1, 9)]), light_of([[5, 5], [5, 5]]), need_of(20, 20)
    selection = select_global(book, need, light, DAY, zone=[0, 1])
    for zone in ([0, 2], [-1, 0], [0, 1, 1], [0.5, 1]):
        with pytest.raises(ValidationError):
            cleared_global(book, selection, light, zone=zone)
        with pytest.raises(ValidationError):
            select_global(book, need, light, DAY, zone=zone)
    both = book_of([(1, UP, 0, 9), (2, UP, 0, 9)])
    for other, zone in ((book_of([(1, UP, 0, 9)]), 0), (both, [0, 1])):
        with pytest.raises(OfferError):
            cleared_global(other, selection, light, zone=zone)
    with pytest.raises(OfferError):
        cleared_global(book, selection, light_of([[5, 5], [5, 5]], mtu="quarter"), zone=[0, 1])
    cleared = cleared_global(book, selection, light, zone=[0, 1])
    with pytest.raises(ValidationError):
        cleared.with_barred(np.full((2, cleared.n_steps), max(CODE.values()) + 1))
