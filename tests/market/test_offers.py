"""Offer lines: membership, restatement against the slots, the gate, guaranteed effects and pieces per perimeter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OfferError, ValidationError
from flexcore.market.offers import (
    CUT,
    KEPT,
    WITHDRAWN,
    check_gate,
    guaranteed_cap,
    guaranteed_need,
    line_power,
    members_of_lines,
    offer_book,
    restate,
    split_by_perimeter,
    submit,
)
from flexcore.market.slots import Slots
from flexcore.units import DOWN, GLOBAL, LOCAL, UP
from tests.reference import market_slots as reference


def book_of(lines, n_pods, n_steps, operator=LOCAL, **columns):
    """A book from (direction, PODs) pairs; every line has its own aggregate unless said otherwise."""
    n = len(lines)
    given = {
        "line_id": [f"L{i}" for i in range(n)],
        "aggregate": range(n),
        "bsp": [0] * n,
        "direction": [way for way, _ in lines],
        "node": range(n),
        "perimeter": [0] * n,
        "price_ueur_per_mwh": [10 * i for i in range(n)],
        "submitted_at": [100] * n,
        "indptr": np.cumsum([0, *(len(pods) for _, pods in lines)]),
        "pods": [pod for _, pods in lines for pod in pods],
        "n_steps": n_steps,
    }
    given.update(columns)
    given = {name: list(v) if isinstance(v, range) else v for name, v in given.items()}
    return offer_book(operator=operator, n_pods=n_pods, **given)


def constant(*power, n_steps):
    return np.repeat(np.array(power)[:, None], n_steps, axis=1)


@pytest.mark.rule("OFR-01")
def test_one_line_per_aggregate_node_group_and_direction():
    lines = [(UP, [0]), (UP, [1]), (DOWN, [0, 1])]
    assert book_of(lines, 2, 4, aggregate=[7, 7, 7], node=[1, 2, 1]).n_lines == 3
    with pytest.raises(OfferError) as error:
        book_of(lines, 2, 4, aggregate=[7, 7, 7], node=[1, 1, 1])
    assert error.value.codes == ("FX-O105",)
    assert error.value.findings[0].ids == ("L0", "L1")
    # a global line is grouped by perimeter, whatever its node
    with pytest.raises(OfferError) as error:
        book_of(lines, 2, 4, operator=GLOBAL, aggregate=[7, 7, 7], node=[1, 2, 1])
    assert error.value.codes == ("FX-O105",)


def test_bad_books_are_refused_with_codes():
    lines = [(UP, [0]), (UP, [1])]
    for columns, code in (
        ({"pods": [0, 0]}, "FX-O106"),
        ({"line_id": ["a", "a"]}, "FX-A009"),
        ({"indptr": [0, 1, 1]}, "FX-O109"),
        ({"indptr": [0, 2, 1]}, "FX-O109"),
        ({"pods": [0, 2]}, "FX-A006"),
        ({"direction": [0, 2]}, "FX-A006"),
        ({"quantity_w": [[1], [-1]], "n_steps": 1}, "FX-A004"),
        ({"quantity_w": [[1.0], [1.5]], "n_steps": 1}, "FX-A002"),
        ({"price_ueur_per_mwh": [1]}, "FX-A001"),
    ):
        with pytest.raises(ValidationError) as error:
            book_of(lines, 2, **{"n_steps": 4, **columns})
        assert error.value.codes == (code,)


def test_members_of_lines_lists_pods_in_order():
    indptr, pods = members_of_lines([[2, -1, 0, 2], [1, 1, -1, -1]], 4)
    assert indptr.tolist() == [0, 1, 3, 5, 5]
    assert pods.tolist() == [2, 0, 1, 0, 3]


def test_merit_order_is_price_then_time_then_id():
    book = book_of(
        [(UP, [i]) for i in range(4)],
        4,
        1,
        line_id=["b", "a", "d", "c"],
        price_ueur_per_mwh=[5, 5, 5, 1],
        submitted_at=[2, 2, 1, 9],
    )
    assert book.line_id[book.merit_order].tolist() == ["c", "d", "a", "b"]


@pytest.mark.rule("OFR-02")
def test_a_line_with_held_pods_is_cut_and_counted_per_bsp():
    book = book_of([(UP, [0, 1]), (UP, [2]), (UP, [3])], 4, 8, operator=GLOBAL, bsp=[0, 1, 2])
    slots = Slots(4, 8)
    slots.hold(LOCAL, [0, 2], np.ones(8, bool))
    up = constant(3, 4, 5, 6, n_steps=8)
    power = line_power(book, slots, up, up)
    assert power.free_w[:, 0].tolist() == [4, 0, 6]
    assert power.held_w[:, 0].tolist() == [3, 5, 0]
    attentive = restate(submit(book, power), power)
    assert not attentive.findings
    assert attentive.book.quantity_w[:, 0].tolist() == [4, 0, 6]
    result = restate(submit(book, power, careless=[True, True, True]), power)
    assert [finding.code for finding in result.findings] == ["FX-O102", "FX-O103"]
    assert [finding.ids for finding in result.findings] == [("L0",), ("L1",)]
    assert result.line_state.tolist() == [CUT, WITHDRAWN, KEPT]
    assert result.book.quantity_w[:, 0].tolist() == [4, 0, 6]
    assert result.removed_w[:, 0].tolist() == [3, 5, 0]
    cut, withdrawn = result.per_bsp(3)
    assert (cut.tolist(), withdrawn.tolist()) == ([1, 0, 0], [0, 1, 0])
    refused = restate(submit(book, power, careless=[True, True, True]), power, policy="withdraw")
    assert refused.line_state.tolist() == [WITHDRAWN, WITHDRAWN, KEPT]
    assert refused.book.quantity_w[:, 0].tolist() == [0, 0, 6]
    assert refused.to_arrow(["x", "y", "z"]).to_pydict()["removed_wqh"] == [56, 40]


def test_quantity_never_exceeds_the_free_validated_power():
    book = book_of([(UP, [0, 1])], 2, 4)
    power = line_power(book, Slots(2, 4), constant(3, 4, n_steps=4), constant(0, 0, n_steps=4))
    result = restate(book.with_quantity(constant(9, n_steps=4)), power, steps=slice(1, 3))
    assert [finding.code for finding in result.findings] == ["FX-O104"]
    assert result.line_state.tolist() == [CUT]
    # outside the session nothing is offered
    assert result.book.quantity_w.tolist() == [[0, 7, 7, 0]]


def test_an_offer_after_the_gate_is_a_typed_error_that_changes_nothing():
    book = book_of([(UP, [0]), (UP, [1])], 2, 4, submitted_at=[1000, 1001]).with_quantity(constant(1, 1, n_steps=4))
    power = line_power(book, Slots(2, 4), constant(1, 1, n_steps=4), constant(1, 1, n_steps=4))
    before = book.quantity_w.copy()
    with pytest.raises(OfferError) as error:
        restate(book, power, gate=1000)
    assert error.value.codes == ("FX-O101",)
    assert error.value.findings[0].ids == ("L1",)
    assert np.array_equal(book.quantity_w, before)
    check_gate(book, 1001)


@pytest.mark.rule("OFR-01")
def test_guaranteed_effect_without_lines():
    # an award of 10 with 4 elsewhere can be relied on for 6; with 12 elsewhere for nothing
    assert guaranteed_need([10, 10, 10], [0, 4, 12]).tolist() == [10, 6, 0]
    # against a cap all of it may fall inside, up to what sits there
    assert guaranteed_cap([10, 10, 10], [0, 4, 12]).tolist() == [0, 4, 10]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([LOCAL, GLOBAL]))
def test_line_power_equals_the_loop(seed, operator):
    rng = np.random.default_rng(seed)
    n_pods, n_steps, n_lines = 9, 5, 4
    line_of_pod = rng.integers(-1, n_lines // 2, (2, n_pods))
    line_of_pod[1][line_of_pod[1] >= 0] += n_lines // 2
    indptr, pods = members_of_lines(line_of_pod, n_lines)
    book = book_of([], 0, n_steps)  # an empty book is a book
    assert book.n_lines == 0
    book = offer_book(
        operator=operator,
        line_id=list("abcd"),
        aggregate=range(4),
        bsp=[0] * 4,
        direction=[UP, UP, DOWN, DOWN],
        node=range(4),
        perimeter=[0] * 4,
        price_ueur_per_mwh=[0] * 4,
        submitted_at=0,
        indptr=indptr,
        pods=pods,
        n_pods=n_pods,
        n_steps=n_steps,
    )
    slots = Slots(n_pods, n_steps)
    slots.hold(LOCAL, [0, 1], rng.random((2, n_steps)) < 0.5, firm=slice(0, 2))
    slots.hold(GLOBAL, [2, 3], rng.random((2, n_steps)) < 0.5, firm=slice(0, 2))
    slots.block([4], rng.random(n_steps) < 0.5)
    up, down = rng.integers(0, 9, (2, n_pods, n_steps))
    first, stop = sorted(rng.integers(0, n_steps + 1, 2))
    power = line_power(book, slots, up, down, steps=slice(first, stop), n_threads=2)
    member, free, held = reference.line_power(book, slots.state.tolist(), up, down, first, stop)
    assert power.member_w.tolist() == [[member[m, t] for t in range(n_steps)] for m in range(book.pods.size)]
    assert power.free_w.tolist() == [[free.get((i, t), 0) for t in range(n_steps)] for i in range(n_lines)]
    assert power.held_w.tolist() == [[held.get((i, t), 0) for t in range(n_steps)] for i in range(n_lines)]


@pytest.mark.rule("MSD-02")
def test_a_line_that_spans_perimeters_is_split_into_capped_pieces():
    book = book_of([(UP, [0, 1, 2]), (DOWN, [3])], 4, 2, operator=GLOBAL, perimeter=[0, 1])
    power = line_power(book, Slots(4, 2), constant(5, 3, 2, 7, n_steps=2), constant(5, 3, 2, 7, n_steps=2))
    offered = submit(book, power)
    pieces, piece_power, line = split_by_perimeter(offered, power, [0, 1, 1, 1])
    assert line.tolist() == [0, 0, 1]
    assert pieces.line_id.tolist() == ["L0/0", "L0/1", "L1"]
    assert pieces.perimeter.tolist() == [0, 1, 1]
    assert pieces.quantity_w[:, 0].tolist() == [5, 5, 7]
    assert piece_power.free_w[:, 0].tolist() == [5, 5, 7]
    # a BSP that offers less than its PODs have: pieces add up to the line
    less, _, _ = split_by_perimeter(offered.with_quantity(constant(7, 0, n_steps=2)), power, [0, 1, 1, 1])
    assert less.quantity_w[:, 0].tolist() == [3, 4, 0]
    # PODs outside every perimeter may not move
    outside, _, line = split_by_perimeter(offered, power, [0, -1, -1, -1])
    assert outside.pods.tolist() == [0]
    assert line.tolist() == [0]


def test_pieces_keep_the_order_of_pods_that_decides_ties():
    book = book_of([(UP, [0, 1, 2, 3])], 4, 1, operator=GLOBAL, perimeter=[0], pod_rank=[3, 1, 2, 0])
    power = line_power(book, Slots(4, 1), constant(5, 5, 5, 5, n_steps=1), constant(5, 5, 5, 5, n_steps=1))
    pieces, _, _ = split_by_perimeter(submit(book, power), power, [0, 1, 1, 0])
    assert book.pods.tolist() == [3, 1, 2, 0]
    assert pieces.pods.tolist() == [3, 0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_pieces_add_up_and_stay_within_their_power(seed):
    rng = np.random.default_rng(seed)
    book = book_of([(UP, [0, 2, 4, 5]), (UP, [1, 3, 6])], 7, 3, operator=GLOBAL)
    up = rng.integers(0, 5, (7, 3))
    power = line_power(book, Slots(7, 3), up, up)
    offered = book.with_quantity(rng.integers(0, power.free_w + 1))
    pieces, piece_power, line = split_by_perimeter(offered, power, rng.integers(0, 3, 7))
    assert (pieces.quantity_w <= piece_power.free_w).all()
    total = np.zeros_like(offered.quantity_w)
    np.add.at(total, line, pieces.quantity_w)
    assert np.array_equal(total, offered.quantity_w)
