"""Capabilities of random trees against their references: some in every run, over a thousand of each in the nightly one.

Every test draws its own trees. A nightly seed draws 300 of them; four seeds make 1,200 trees for each subject.
"""

import numpy as np
import pytest

from flexcore.grid.shadow_prices import prices_of_rows
from tests.grid.test_capability import layout_of, shared
from tests.grid.test_max_total import largest
from tests.grid.test_nested import cases, check_case, check_loss_free, subtrees_side_by_side
from tests.grid.test_optimistic import totals
from tests.grid.test_shadow_prices import arguments_of
from tests.grid.test_value import shared_by_value, small_cases
from tests.reference import grid_capability as reference
from tests.reference.grid_max_total import cut_into_pieces, largest_total, random_connected_case
from tests.reference.grid_optimistic import most_by_lp, pro_rata
from tests.reference.grid_value import largest_value

pytestmark = pytest.mark.rule("DTL-01")
#: (seed, trees)
DRAWS = [(0, 10), *(pytest.param((seed, 300), marks=pytest.mark.nightly) for seed in (101, 102, 103, 104))]
campaign = pytest.mark.parametrize("draw", DRAWS, ids=str)


def draws(draw, subject):
    """Random generator of one subject, and how many trees to draw."""
    seed, count = draw
    return np.random.default_rng([seed, subject]), count


def tally(draw, what, hits, share):
    """Print what was seen, and demand that enough of the trees were worth the look."""
    print(f"{what}: {draw[1]} trees, {hits} of them limited")
    assert hits >= share * draw[1]


@campaign
@pytest.mark.parametrize("kind", ["thermal", "voltage", "both"])
def test_one_perimeter(draw, kind):
    rng, count = draws(draw, ("thermal", "voltage", "both").index(kind))
    limited = 0
    for _ in range(count):
        case = reference.random_case(
            rng, int(rng.integers(2, 13)), 1, voltage=kind != "thermal", thermal=kind != "voltage"
        )
        result = shared(case)
        assert result.cap[0, 0] == pytest.approx(reference.alone_by_lp(case, 0), abs=1e-8)
        assert result.status[0] == 0
        limited += result.cap[0, 0] < case.total(0) * (1 - 1e-9)
    tally(draw, f"one perimeter, {kind}", limited, 0.3)


@campaign
def test_joint_check(draw):
    """The kernel's largest excess is that of the worst dispatch that a linear programme finds."""
    from flexcore.kernels.grid.capability import check_together

    rng, count = draws(draw, 10)
    broken = 0
    for _ in range(count):
        case = reference.random_case(rng, int(rng.integers(3, 10)), int(rng.integers(1, 4)), voltage=True)
        caps = rng.uniform(0.0, 6.0, case.n_perimeters)
        pairs = layout_of(case)
        over, over_path = np.empty(1), np.empty(1)
        _, m, power, head, room = arguments_of(case)
        check_together(
            pairs.parent, m, pairs.label, pairs.own, pairs.top, pairs.pair_element, pairs.pair_k, pairs.pair_up, power,
            head, room, caps[None].copy(), over, over_path, 0, 1,
        )  # fmt: skip
        thermal, voltage = reference.worst_rows_by_lp(case, caps.tolist())
        excess = max(used - max(case.head[i], 0.0) for i, used in enumerate(thermal))
        excess_path = max(used - room for used, room in zip(voltage, (max(r, 0.0) for r in case.room), strict=True))
        for found, want in ((over[0], excess), (over_path[0], excess_path)):
            # rows that nothing can load are not kept: their excess is minus their room
            assert max(found, 0.0) == pytest.approx(max(want, 0.0), abs=1e-8)
        broken += max(excess, excess_path) > 1e-6
    tally(draw, "joint check", broken, 0.2)


@campaign
def test_filling(draw):
    rng, count = draws(draw, 11)
    split = 0
    for _ in range(count):
        case = reference.random_case(rng, int(rng.integers(3, 13)), int(rng.integers(2, 6)), voltage=rng.random() < 0.5)
        result = shared(case)
        caps = result.cap[0].tolist()
        assert reference.is_safe(case, caps, 1e-12)
        assert caps == pytest.approx(reference.filling(case), abs=1e-4)
        split += (result.kind[0] == 3).any()
    tally(draw, "filling", split, 0.1)


@campaign
def test_largest_sum(draw):
    """Connected perimeters by branches: exact. Others: safe, at most the optimum, and what is called largest is."""
    rng, count = draws(draw, 12)
    limited = known_at = 0
    for trial in range(count):
        n = int(rng.integers(3, 13))
        if trial % 4:
            case = random_connected_case(rng, n, voltage=False)
        else:
            case = reference.random_case(rng, n, 3, voltage=trial % 8 == 0)
        caps, known, _ = largest(case)
        want = largest_total(case)
        assert reference.is_safe(case, caps, 1e-12)
        assert sum(caps) <= want + 1e-6
        if trial % 4 or known:
            assert known
            assert sum(caps) == pytest.approx(want, abs=1e-6)
        known_at += known
        limited += want < sum(case.total(k) for k in range(case.n_perimeters)) - 1e-6
    assert known_at >= 0.75 * count
    tally(draw, "largest sum", limited, 0.3)


@campaign
def test_largest_value(draw):
    rng, count = draws(draw, 13)
    limited = 0
    for case in small_cases(rng, count, most=60):
        values = rng.uniform(0.1, 3.0, case.n_perimeters)
        caps, known, _ = shared_by_value(case, values)
        assert reference.is_safe(case, caps, 1e-12)
        want = largest_value(case, values)
        assert values @ caps <= want + 1e-5
        if known:
            assert values @ caps == pytest.approx(want, abs=1e-5)
        limited += sum(caps) < sum(case.total(k) for k in range(case.n_perimeters)) - 1e-6
    tally(draw, "largest value", limited, 0.2)


@campaign
def test_nested_limits(draw):
    """No adversary breaks a row; where branches limit whole subtrees the set is all that is jointly safe."""
    rng, count = draws(draw, 14)
    grouped = 0
    for case in cases(rng, count):
        grouped += bool(check_case(case)[1])
    for _ in range(count):
        case = subtrees_side_by_side(rng, int(rng.integers(5, 12)))
        if case.n_perimeters:
            grouped += check_loss_free(case, rng)
    tally((draw[0], 2 * count), "nested", grouped, 0.04)


@campaign
def test_order_of_robust_pro_rata_and_optimistic(draw):
    rng, count = draws(draw, 15)
    strict = 0
    for trial in range(count):
        voltage = trial % 2 == 0
        case = reference.random_case(rng, int(rng.integers(2, 12)), int(rng.integers(1, 4)), voltage=voltage)
        best, shares, total = totals(case)
        everyone = set(range(case.n_perimeters))
        for k in everyone:
            robust, lp = reference.alone(case, k), most_by_lp(case, {k})
            assert shares[k] == pytest.approx(pro_rata(case, k), abs=1e-9)
            assert robust <= shares[k] + 1e-8
            assert shares[k] <= lp + 1e-8
            assert lp <= best[k] + 1e-8
            if not voltage:
                assert best[k] == pytest.approx(lp, abs=1e-8)
            strict += robust < shares[k] - 1e-6 < lp - 2e-6
        lp = most_by_lp(case, everyone)
        assert total == pytest.approx(lp, abs=1e-8) if not voltage else lp <= total + 1e-8
        joint = sum(shared(case).cap[0])
        assert joint <= sum(largest(case)[0]) + 1e-8
        assert sum(largest(case)[0]) <= total + 1e-8
    tally(draw, "robust <= pro rata <= optimistic", strict, 0.2)


@campaign
def test_refinement_never_lowers_the_largest_sum(draw):
    """Cut by cut down to single nodes, where it is the maximum flow."""
    rng, count = draws(draw, 16)
    raised = 0
    for _ in range(count):
        case = random_connected_case(rng, int(rng.integers(4, 14)), voltage=False, cut=0.0)
        cuts, first = set(), sum(largest(case)[0])
        before = first
        for i in rng.permutation(case.n):
            cuts.add(int(i))
            finer = cut_into_pieces(case, cuts)
            now = sum(largest(finer)[0])
            assert now >= before * (1 - 1e-12) - 1e-12
            before = now
        assert before == pytest.approx(most_by_lp(finer, set(range(finer.n_perimeters))), abs=1e-8)
        raised += before > first + 1e-6
    tally(draw, "refinement", raised, 0.3)


@campaign
def test_cuts_above_full_branches_lose_nothing(draw):
    """With one piece above each branch that takes something from the maximum flow, robust is optimistic."""
    rng, count = draws(draw, 17)
    gained = 0
    for _ in range(count):
        case = random_connected_case(rng, int(rng.integers(4, 14)), voltage=False, cut=0.0)
        most = reference.most_below(case)
        offered = list(case.power)
        for i, up in enumerate(case.parent):
            if up >= 0:
                offered[up] += most[i]
        full = {i for i in range(case.n) if offered[i] > max(case.head[i], 0.0)}
        cut = cut_into_pieces(case, full)
        want = most_by_lp(cut, set(range(cut.n_perimeters)))
        assert sum(largest(cut)[0]) == pytest.approx(want, abs=1e-8)
        gained += want > sum(largest(case)[0]) + 1e-6
    tally(draw, "lossless cuts", gained, 0.3)


@campaign
def test_shadow_prices(draw):
    """The price of the branch that holds most, against differences of the filling to both sides."""
    rng, count = draws(draw, 18)
    priced = 0
    for _ in range(count):
        case = reference.random_case(rng, int(rng.integers(3, 13)), int(rng.integers(2, 6)), voltage=False)
        arguments = arguments_of(case)
        price, _, unsure, _ = prices_of_rows(*arguments, weights=None, n_threads=1)
        if not price.any():
            continue
        place = int(np.argmax(np.abs(price[0])))
        if arguments[3][0, place] < 1e-3 or unsure[0, place]:
            continue
        i, step = int(arguments[0].element[place]), 1e-6
        sums = []
        for more in (-step, 0.0, step):
            head = list(case.head)
            head[i] += more
            sums.append(shared(reference.Case(case.parent, case.m, case.power, case.label, head, case.room)).cap.sum())
        assert np.diff(sums) / step == pytest.approx([price[0, place]] * 2, rel=2e-4, abs=2e-4)
        priced += 1
    tally(draw, "shadow prices", priced, 0.2)
