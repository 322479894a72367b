"""Merit order on a forest: against the rule text, HiGHS, the trie kernel, and its own local prices, all exactly."""

import numpy as np
import pytest

from flexcore.errors import GridError, OfferError, ValidationError
from flexcore.market.laminar import STATES, WAYS, clear_steps, clear_tree
from flexcore.market.tree_clearing import Book, Rows, Tree, activation
from tests.market.clearing_cases import forest, random_bounds, random_offers, random_tree
from tests.reference import market_laminar as reference

NONE = 2**62


def random_case(rng, n=8, n_offers=14, prices=(-4, 8)):
    """Bounds of all kinds on a forest in any order, at sums that some selection reaches; many ties."""
    n = int(rng.integers(1, n + 1))
    parent = random_tree(rng, n)
    if n > 3 and rng.random() < 0.3:
        parent[int(rng.integers(n))] = -1
    k = int(rng.integers(0, n_offers))
    node = rng.integers(0, n, k)
    down = (rng.random(k) < 0.4).astype(int) if rng.random() < 0.7 else np.zeros(k, int)
    quantity, price = rng.integers(0, 9, k), rng.integers(*prices, k)
    most = np.zeros((2, n), int)
    for o in range(k):
        most[down[o], [*reference.path(parent, node[o])]] += quantity[o]
    lower, upper = np.full(n, -NONE), np.full(n, NONE)
    for i in range(n):
        a, b = sorted(rng.integers(-most[1, i] - 1, most[0, i] + 2, 2).tolist())
        kind = rng.random()
        lower[i] = a if kind < 0.25 or 0.5 <= kind < 0.75 else lower[i]
        upper[i] = b if 0.25 <= kind < 0.7 else a if 0.7 <= kind < 0.75 else upper[i]
    return parent, lower, upper, node, down, quantity, price


def call(case, **options):
    parent, lower, upper, node, down, quantity, price = case
    return clear_tree(
        price, quantity[:, None], node=node, parent=parent, lower_w=lower, upper_w=upper, direction=down, **options
    )


def faults(case, result):
    """Broken bounds and wrong prices, in whole numbers: none is a proof that the cost is least."""
    parent, lower, upper, node, down, quantity, price = (np.asarray(x).tolist() for x in case)
    accepted, y = result.accepted_w[:, 0].tolist(), [0] * len(parent)
    for o, i in enumerate(node):
        for e in reference.path(parent, i):
            y[e] += -accepted[o] if down[o] else accepted[o]
    assert y == result.y_w[:, 0].tolist()
    found = [("bound", i) for i in range(len(parent)) if not lower[i] <= y[i] <= upper[i]]
    found += [("quantity", o) for o, q in enumerate(quantity) if not 0 <= accepted[o] <= q]
    local = result.local_price_ueur_per_mwh[:, 0].tolist()
    return found + reference.price_faults(parent, lower, upper, node, down, quantity, price, accepted, y, local)


def compare(rng, n_cases):
    """Hold cases against the rule text, HiGHS and the local prices; returns how many ended in each state."""
    seen = np.zeros(len(STATES), int)
    for _ in range(n_cases):
        case = random_case(rng)
        result = call(case)
        seen[result.state[0]] += 1
        plain = [np.asarray(x).tolist() for x in case]
        wanted, least = reference.clear(*plain), reference.by_highs(*plain)
        assert (result.state[0] == 0) == (wanted is not None) == (least is not None)
        if wanted is None:
            assert not result.accepted_w.any()
            assert result.gap_w[0] > 0
            continue
        assert result.accepted_w[:, 0].tolist() == wanted
        assert abs(least - round(least)) < 1e-6
        assert sum(a * p for a, p in zip(wanted, plain[6], strict=True)) == round(least)
        assert not faults(case, result)
    return seen


@pytest.mark.rule("LFP-01")
def test_equals_the_rule_text_and_highs_exactly():
    seen = compare(np.random.default_rng(0), 150)
    assert (seen > 10).all()


@pytest.mark.nightly
@pytest.mark.rule("LFP-01")
def test_equals_the_rule_text_and_highs_on_many_cases():
    seen = compare(np.random.default_rng(1), 2000)
    print("cases by state:", dict(zip(STATES, seen.tolist(), strict=True)))
    assert seen.sum() == 2000
    assert (seen > 100).all()


def deep_case(rng):
    """A deep tree on which all upper bounds could matter, with few, some or many lower bounds; no ties."""
    n, k = int(rng.integers(500, 700)), int(rng.integers(20, 1500))
    back = int(rng.choice([1, 2]))
    parent = np.array([-1, *(max(0, i - int(rng.integers(1, back + 1))) for i in range(1, n))])
    node = rng.integers(0, n, k)
    down = (rng.random(k) < 0.3).astype(int) if rng.random() < 0.5 else np.zeros(k, int)
    quantity, price = rng.integers(1, 1000, k), rng.permutation(10 * k)[:k] - 4 * k
    most, some = np.zeros((2, n), int), np.zeros(n, int)
    taken = (quantity * rng.random(k)).astype(int)
    for o in range(k):
        above = [*reference.path(parent, node[o])]
        most[down[o], above] += quantity[o]
        some[above] += -taken[o] if down[o] else taken[o]
    upper = np.maximum(some, (most[0] * rng.uniform(0.7, 0.95)).astype(int))
    lower = np.where(rng.random(n) < rng.choice([0.0, 0.02, 0.5]), some, -NONE)
    lower[0] = upper[0] = some[0]
    return parent, lower, upper, node, down, quantity, price


def test_deep_trees_are_optimal_by_their_local_prices():
    rng = np.random.default_rng(3)
    ways = set()
    for _ in range(15):
        case = deep_case(rng)
        result = call(case)
        assert result.state[0] == 0
        assert not faults(case, result)
        ways.add(WAYS[result.way[0]])
    assert ways == set(WAYS)


def test_chain_of_loose_bounds_is_left_to_heavy_paths():
    rng = np.random.default_rng(4)
    n, k = 2000, 20_000
    node, quantity = rng.integers(0, n, k), rng.integers(1, 100, k)
    price = rng.permutation(k)
    reach = np.cumsum(np.bincount(node, quantity, n)[::-1])[::-1].astype(int)
    upper = (0.9 * reach).astype(int)
    result = clear_tree(
        price, quantity[:, None], node=node, parent=np.arange(n) - 1, upper_w=upper, total_w=int(0.5 * reach[0])
    )  # fmt: skip
    assert WAYS[result.way[0]] == "heavy paths"
    assert result.y_w[0, 0] == int(0.5 * reach[0])
    assert (result.y_w[:, 0] <= upper).all()
    local = result.local_price_ueur_per_mwh[node, 0]
    assert (price[result.accepted_w[:, 0] > 0] <= local[result.accepted_w[:, 0] > 0]).all()
    assert (price[result.accepted_w[:, 0] < quantity] >= local[result.accepted_w[:, 0] < quantity]).all()
    over = np.diff(result.local_price_ueur_per_mwh[:, 0], prepend=result.local_price_ueur_per_mwh[0, 0])
    assert (over <= 0).all()
    assert (result.y_w[over < 0, 0] == upper[over < 0]).all()


PRICES = {
    "even": lambda rng, k: rng.integers(0, 10**9, k),
    "one": lambda rng, k: np.full(k, 7),
    "few": lambda rng, k: rng.integers(0, 5, k),
    "skewed": lambda rng, k: np.exp(rng.random(k) * 34).astype(np.int64),
    "wide": lambda rng, k: rng.integers(-(2**50), 2**50, k),
    "narrow and far": lambda rng, k: np.r_[2**50 - 1, rng.integers(0, 300, k - 1)],
}


@pytest.mark.parametrize("kind", PRICES)
@pytest.mark.parametrize("keys", ["position", "time", "time and id"])
@pytest.mark.parametrize("k", [1, 30, 20_000])
def test_without_bounds_the_first_by_price_time_and_id_are_taken(kind, keys, k):
    rng = np.random.default_rng([k, len(kind), len(keys)])
    price, quantity = PRICES[kind](rng, k), rng.integers(0, 50, k)
    time, ids = rng.integers(0, 30, k), rng.permutation(k)
    options = {"submitted_at": time} if keys != "position" else {}
    options |= {"offer_id": ids} if keys == "time and id" else {}
    by = [options[name] for name in ("offer_id", "submitted_at") if name in options]
    order = np.lexsort((*by, price))
    for total in (0, int(quantity.sum() // 3), int(quantity.sum())):
        result = clear_tree(
            price, quantity[:, None], node=np.zeros(k, int), parent=[-1], total_w=total, **options
        )  # fmt: skip
        before = np.cumsum(quantity[order]) - quantity[order]
        assert (result.accepted_w[order, 0] == np.clip(total - before, 0, quantity[order])).all()


def test_the_latest_of_equal_down_offers_is_spared():
    both = {"node": [0, 0, 0], "parent": [-1], "direction": [1, 1, 1], "submitted_at": [5, 6, 4], "total_w": -15}
    result = clear_tree([3, 3, 3], [[10], [10], [10]], **both)
    assert result.accepted_w[:, 0].tolist() == [5, 0, 10]
    named = clear_tree([3, 3, 3], [[10], [10], [10]], offer_id=["b", "c", "a"], **(both | {"submitted_at": [1, 1, 1]}))
    assert named.accepted_w[:, 0].tolist() == [5, 0, 10]


def test_free_offers_are_left_alone_and_paid_ones_taken():
    result = clear_tree(
        [-1, 0, 1, -1, 0, 1], np.full((6, 1), 10), node=np.zeros(6, int), parent=[-1], direction=[0, 0, 0, 1, 1, 1]
    )  # fmt: skip
    assert result.accepted_w[:, 0].tolist() == [10, 0, 0, 10, 0, 0]


@pytest.mark.parametrize(
    ("lower", "upper", "state", "element", "gap"),
    [
        ([-NONE, 8, 7], [12, NONE, NONE], "too little room", 0, 3),
        ([-NONE, 8, 7], [NONE, NONE, 6], "too little room", 2, 1),
        ([-NONE, 11, -NONE], [NONE, NONE, NONE], "too little offered", 1, 1),
        ([25, -NONE, -NONE], [NONE, 4, NONE], "too little offered", 0, 11),
        ([14, 4, -NONE], [14, 4, NONE], "met", -1, 0),
    ],
)
def test_what_cannot_be_met_names_an_element_and_the_gap(lower, upper, state, element, gap):
    # elements in any order: the last one is met first
    for turn in (np.arange(3), np.array([2, 0, 1])):
        label = np.empty(3, int)
        label[turn] = np.arange(3)
        parent = np.array([-1, 0, 0])[turn]
        parent[parent >= 0] = label[parent[parent >= 0]]
        result = clear_tree(
            [1, 2], [[10], [10]], node=label[[1, 2]], parent=parent, lower_w=np.array(lower)[turn],
            upper_w=np.array(upper)[turn],
        )  # fmt: skip
        assert STATES[result.state[0]] == state
        assert result.element[0] == (label[element] if element >= 0 else -1)
        assert result.gap_w[0] == gap
        assert result.accepted_w.any() == (state == "met")


def test_local_prices_of_a_congested_feeder():
    # the cheap offers sit behind element 1, which lets 10 through; element 2 needs 5 of its dear offer
    result = clear_tree(
        [10, 20, 30, 50], [[8], [8], [40], [40]], node=[1, 1, 0, 2], parent=[-1, 0, 0], lower_w=[-NONE, -NONE, 5],
        upper_w=[NONE, 10, NONE], total_w=35,
    )  # fmt: skip
    assert result.accepted_w[:, 0].tolist() == [8, 2, 20, 5]
    assert result.y_w[:, 0].tolist() == [35, 10, 5]
    assert result.local_price_ueur_per_mwh[:, 0].tolist() == [30, 20, 50]


def trie(tree, rows, book):
    from flexcore.kernels.market.tree_merit_order import tree_merit_order

    accepted = np.empty(book.quantity_w.shape, np.int64)
    tree_merit_order(
        tree.parent, tree.feeder, rows.lower_w, rows.upper_w, book.node, book.down, book.order(), book.quantity_w,
        accepted, 0, len(accepted),
    )  # fmt: skip
    return accepted


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_trie_kernel_where_all_needs_are_met(seed):
    rng = np.random.default_rng(seed)
    met = 0
    for _ in range(150):
        n, n_steps = int(rng.integers(2, 14)), 4
        grid = forest(random_tree(rng, n))
        lower, upper = random_bounds(rng, n, n_steps, 1)
        offers = random_offers(rng, n, int(rng.integers(1, 40)), n_steps, 1)
        order = grid.forest.order
        tree = Tree.from_preorder(grid.forest.parent, grid.forest.last)
        lower, upper = (np.clip(x, -NONE, NONE).astype(np.int64)[order].T for x in (lower, upper))
        inside = tree.parent >= 0
        lower, upper = np.where(inside, lower, -NONE), np.where(inside, upper, NONE)
        lower, upper = np.where(upper < lower, np.minimum(lower, 0), lower), upper
        rows = Rows(np.ascontiguousarray(lower), np.ascontiguousarray(upper), None, None, np.zeros(n), np.zeros(n))
        k = len(offers["node"])
        place = np.empty(k, np.int64)
        place[np.lexsort((offers["offer_id"], offers["submitted_at"]))] = np.arange(k)
        book = Book(
            grid.forest.rank[offers["node"]], offers["direction"].astype(np.uint8),
            np.ascontiguousarray(offers["quantity_w"].T), offers["price_ueur_per_mwh"][None].copy(), place,
        )  # fmt: skip
        by_trie = trie(tree, rows, book)
        _, unserved = activation(tree, rows, book, by_trie, n_threads=1)
        key = book.price - book.price.min() + 1  # all prices count as positive there
        steps = clear_steps(
            tree.parent, book.node, book.quantity_w, key, rows.lower_w, rows.upper_w, n_steps=n_steps,
            down=book.down, ident=place,
        )  # fmt: skip
        assert ((steps.state[:, 0] == 0) == (unserved == 0)).all()
        full = unserved == 0
        assert (steps.accepted_w[full] == by_trie[full]).all()
        met += full.sum()
    assert met > 60  # 6 seeds: over 360 steps


def batch(rng, n=60, k=700, n_steps=9):
    parent = np.array([-1, -1, *(int(rng.integers(0, i)) for i in range(2, n))])
    quantity = rng.integers(0, 100, (k, n_steps))
    case = {
        "price_ueur_per_mwh": rng.integers(-20, 60, (k, n_steps)), "quantity_w": quantity,
        "node": rng.integers(0, n, k), "parent": parent, "direction": rng.integers(0, 2, k),
        "upper_w": rng.integers(0, 2000, (n, n_steps)), "lower_w": -rng.integers(500, 2000, n),
        "submitted_at": rng.integers(0, 4, k), "offer_id": rng.integers(0, 50, k),
        "total_w": rng.integers(-300, 300, (2, n_steps)),
    }  # fmt: skip
    return case


def test_threads_single_steps_order_of_elements_and_layout_change_no_bit():
    rng = np.random.default_rng(5)
    case = batch(rng)
    whole = clear_tree(**case)
    assert (whole.state == 0).sum() > 5
    fields = ("accepted_w", "y_w", "local_price_ueur_per_mwh", "state", "element", "gap_w", "way")
    frozen = {name: np.asfortranarray(x) if x.ndim == 2 else x.copy() for name, x in case.items()}
    for values in frozen.values():
        values.setflags(write=False)
    for other in (clear_tree(**case, n_threads=2), clear_tree(**frozen)):
        assert all((getattr(whole, name) == getattr(other, name)).all() for name in fields)
    for t in range(whole.state.size):
        one = {name: x[:, [t]] if x.ndim == 2 else x for name, x in case.items()}
        other = clear_tree(**one)
        assert (other.accepted_w[:, 0] == whole.accepted_w[:, t]).all()
        assert (other.local_price_ueur_per_mwh[:, 0] == whole.local_price_ueur_per_mwh[:, t]).all()
    n = case["parent"].size
    new = rng.permutation(n)  # label of each element; the roots keep their order, in which totals are given
    new[:2] = np.sort(new[:2])
    parent = np.empty(n, int)
    parent[new] = np.where(case["parent"] < 0, -1, new[case["parent"]])
    moved = case | {"parent": parent, "node": new[case["node"]]}
    moved |= {name: np.empty_like(case[name]) for name in ("upper_w", "lower_w")}
    for name in ("upper_w", "lower_w"):
        moved[name][new] = case[name]
    other = clear_tree(**moved)
    assert (other.accepted_w == whole.accepted_w).all()
    assert (other.y_w[new] == whole.y_w).all()
    assert (other.local_price_ueur_per_mwh[new] == whole.local_price_ueur_per_mwh).all()
    bare = clear_tree(**case, local_prices=False)
    assert bare.local_price_ueur_per_mwh is None
    assert (bare.accepted_w == whole.accepted_w).all()


def test_one_price_for_all_steps_is_that_price_in_each():
    case = batch(np.random.default_rng(6))
    price = case["price_ueur_per_mwh"][:, 0]
    one = clear_tree(**(case | {"price_ueur_per_mwh": price}))
    each = clear_tree(**(case | {"price_ueur_per_mwh": np.repeat(price[:, None], 9, axis=1)}))
    assert (one.accepted_w == each.accepted_w).all()
    assert (one.state == 0).sum() > 5


def test_one_total_for_several_roots_is_a_root_above_them():
    rng = np.random.default_rng(7)
    case = batch(rng)
    case |= {"parent": np.where(case["parent"] == 1, -1, case["parent"])}
    roots = (case["parent"] < 0).sum()
    assert roots > 2
    total = rng.integers(-100, 100, 9)
    result = clear_tree(**(case | {"total_w": total}))
    n = case["parent"].size
    above = {"parent": np.append(np.where(case["parent"] < 0, n, case["parent"]), -1), "total_w": total}
    above |= {
        "upper_w": np.vstack([case["upper_w"], np.full((1, 9), NONE)]),
        "lower_w": np.append(case["lower_w"], -NONE),
    }
    other = clear_tree(**(case | above))
    assert (result.accepted_w == other.accepted_w).all()
    assert (result.y_w == other.y_w[:n]).all()
    assert (result.state == 0).all()
    far = clear_tree(**(case | {"total_w": 10**9}))
    assert set(far.state) == {2}
    assert set(far.element) == {-1}


def test_nothing_offered_and_no_elements():
    nothing = clear_tree(np.zeros(0, int), np.zeros((0, 2), int), node=[], parent=[-1, 0], lower_w=[0, 1])
    assert nothing.state.tolist() == [2, 2]
    assert nothing.element.tolist() == [1, 1]
    none = clear_tree(np.zeros(0, int), np.zeros((0, 2), int), node=[], parent=np.zeros(0, int))
    assert none.state.tolist() == [0, 0]


GOOD = {"price_ueur_per_mwh": [1, 2], "quantity_w": [[1], [2]], "node": [0, 1], "parent": [-1, 0]}


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"node": [0, 2]}, OfferError, "FX-M201"),
        ({"node": [0, -1]}, OfferError, "FX-M201"),
        ({"parent": [-1, 2]}, OfferError, "FX-M201"),
        ({"parent": [-2, 0]}, OfferError, "FX-M201"),
        ({"parent": [1, 0]}, GridError, "FX-M205"),
        ({"quantity_w": [[1], [-2]]}, ValidationError, "FX-A004"),
        ({"quantity_w": [1, 2]}, ValidationError, "FX-A001"),
        ({"quantity_w": [[1], [2**40 + 1]]}, ValidationError, "FX-A006"),
        ({"direction": [0, 2]}, ValidationError, "FX-A006"),
        ({"lower_w": [1]}, ValidationError, "FX-A001"),
        ({"total_w": [1, 2]}, ValidationError, "FX-A001"),
        ({"submitted_at": [1]}, OfferError, "FX-A001"),
    ],
)
def test_bad_arguments_are_refused(change, error, code):
    with pytest.raises(error) as caught:
        clear_tree(**(GOOD | change))
    assert caught.value.codes == (code,)


def test_a_book_that_cannot_be_summed_is_refused():
    k = 2**20 + 8
    with pytest.raises(OfferError) as caught:
        clear_tree(np.zeros(k, int), np.full((k, 1), 2**40), node=np.zeros(k, int), parent=[-1])
    assert caught.value.codes == ("FX-M210",)


def test_one_signature():
    from flexcore.kernels.market.laminar import laminar_merit_order, parents_first

    for kernel in (laminar_merit_order, parents_first):
        assert len(getattr(kernel, "signatures", [0])) == 1
