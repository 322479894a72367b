import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.grid.capability import capability
from flexcore.grid.headroom import activation_rows
from flexcore.grid.joint_check import joint_check
from flexcore.grid.perimeters import split_perimeters
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers
from tests.reference import grid_capability as reference
from tests.reference.grid_capability import Case
from tests.reference.grid_max_total import largest_total

pytestmark = pytest.mark.rule("DTL-04")


def case_of(grid, rows, power, label, step, upward):
    """Thermal rows of one step as a reference case."""
    f = grid.forest
    head = (rows.upper_kw if upward else -rows.lower_kw)[f.order, step]
    return Case(f.parent.tolist(), [0.0] * grid.n_nodes, power[f.order, step].tolist(), label[f.order].tolist(),
                head.tolist(), [np.inf] * grid.n_nodes)  # fmt: skip


def figure_12(n_steps=1):
    grid = feeder([-1, 0, 1, 1], s_max=[0, 20.0, 3.0, 10.0], r=1e-8, x=1e-8)
    p = np.repeat([[0.0], [0.0], [2.0], [2.0]], n_steps, axis=1)
    movable = np.repeat([[0.0], [0.0], [3.0], [3.0]], n_steps, axis=1)
    return grid, p, 0 * p, movable


def test_figure_12():
    grid, p, q, movable = figure_12()
    split = split_perimeters(grid, p, q, up_kw=q, down_kw=movable)
    assert split.n_perimeters == 2
    assert split.label[2] != split.label[3]
    assert grid.branch_ids[split.cut].tolist() == ["b2"]
    assert split.lossless
    assert split.optimistic_down_kwh == pytest.approx(1.0)
    assert split.gap_kwh == pytest.approx(0.0, abs=1e-9)
    published = capability(grid, p, q, up_kw=q, down_kw=movable, perimeter=split.label, method="linear")
    assert published.down_kw.sum() == pytest.approx(4.0, abs=1e-6)


@pytest.mark.parametrize("n_cases", [300, pytest.param(1200, marks=pytest.mark.nightly)])
def test_all_binding_cuts_lose_nothing(n_cases):
    """Any thermal case, both directions, one partition for all steps: the caps of a maximum flow are jointly safe."""
    rng = np.random.default_rng(n_cases)
    several = 0
    for _ in range(n_cases):
        grid = random_feeder(rng, 14, trees=int(rng.integers(1, 3)), impedance=1e-6)
        p, q = random_forecast(rng, grid, 2, size=6.0)
        up, down = random_offers(rng, grid, 2, size=9.0)
        split = split_perimeters(grid, p, q, up_kw=up, down_kw=down)
        assert split.lossless
        rows = activation_rows(grid, p, q)
        best = 0.0
        for power, upward in ((up, True), (down, False)):
            for t in range(2):
                case = case_of(grid, rows, power, split.label, t, upward)
                caps = reference.best_caps(case)
                total = sum(reference.most_below(case)[i] for i in range(case.n) if case.parent[i] < 0)
                assert sum(caps) == pytest.approx(total)
                assert reference.is_safe(case, caps, 1e-9)
                best += total / 4
        assert split.optimistic_up_kwh + split.optimistic_down_kwh == pytest.approx(best)
        assert split.gap_kwh == pytest.approx(0.0, abs=1e-8)
        several += split.n_perimeters > 2
    assert several > n_cases / 6


def test_filling_with_the_split_publishes_at_least_the_single_perimeter_without_voltage_limits():
    rng = np.random.default_rng(2)
    gained = 0
    for _ in range(30):
        grid = random_feeder(rng, 20, impedance=1e-6)
        p, q = random_forecast(rng, grid, 2, size=6.0)
        up, down = random_offers(rng, grid, 2, size=9.0)
        split = split_perimeters(grid, p, q, up_kw=up, down_kw=down)
        common = {"up_kw": up, "down_kw": down, "method": "linear"}
        one = capability(grid, p, q, perimeter=np.zeros(20, int), **common)
        many = capability(grid, p, q, perimeter=split.label, **common)
        assert joint_check(grid, many.rows, cap_up_kw=many.up_kw, cap_down_kw=many.down_kw, up_kw=up, down_kw=down,
                           perimeter=split.label).safe  # fmt: skip
        assert many.up_kw.sum() >= one.up_kw.sum() - 1e-9
        gained += many.down_kw.sum() > 1.2 * one.down_kw.sum()
    assert gained > 15


def test_at_most_so_many_perimeters():
    rng = np.random.default_rng(3)
    for _ in range(10):
        grid = random_feeder(rng, 40, tight=0.9, impedance=1e-6)
        p, q = random_forecast(rng, grid, 2, size=3.0)
        up, down = random_offers(rng, grid, 2, size=12.0)
        free = split_perimeters(grid, p, q, up_kw=up, down_kw=down)
        assert free.n_perimeters > 5
        assert free.lossless
        assert free.gap_kwh == pytest.approx(0.0, abs=1e-9)
        gaps = []
        for most in (1, 2, 5):
            split = split_perimeters(grid, p, q, up_kw=up, down_kw=down, max_perimeters=most)
            assert split.n_perimeters <= most
            assert split.lossless == (split.gap_kwh < 1e-8)
            gaps.append(split.gap_kwh)
        assert gaps[0] > gaps[1] > gaps[2] >= -1e-9
        same = split_perimeters(grid, p, q, up_kw=up, down_kw=down, max_perimeters=free.n_perimeters)
        assert np.array_equal(same.label, free.label)
        assert same.lossless


def test_the_largest_sums_are_those_that_max_total_publishes():
    rng = np.random.default_rng(6)
    for _ in range(20):
        grid = random_feeder(rng, 30, trees=int(rng.integers(1, 3)), tight=0.9, impedance=1e-6)
        p, q = random_forecast(rng, grid, 3, size=3.0)
        up, down = random_offers(rng, grid, 3, size=12.0)
        split = split_perimeters(grid, p, q, up_kw=up, down_kw=down, max_perimeters=3)
        rows = activation_rows(grid, p, q)
        for power, upward, want in ((up, True, split.largest_up_kwh), (down, False, split.largest_down_kwh)):
            cases = [case_of(grid, rows, power, split.label, t, upward) for t in range(3)]
            assert want == pytest.approx(sum(largest_total(case) for case in cases) / 4, abs=1e-5)
        assert split.largest_up_kwh + 1e-9 >= split.filled_up_kwh
        assert split.optimistic_down_kwh + 1e-9 >= split.largest_down_kwh


def test_the_cut_that_frees_most_is_made_first():
    # room 1 holds a single perimeter down to 1: cutting above it would publish 1 + 5, above the rest 1 + 30
    grid = feeder([-1, 0, 0, 0], s_max=[0, 1.0, 5.0, 50.0], r=1e-8, x=1e-8)
    p = np.zeros((4, 1))
    movable = np.array([[0.0], [4.0], [30.0], [30.0]])
    split = split_perimeters(grid, p, p, up_kw=0 * p, down_kw=movable, max_perimeters=2)
    assert grid.branch_ids[split.cut].tolist() == ["b3"]
    assert split.largest_down_kwh == pytest.approx(31 / 4)
    assert split.gap_kwh == pytest.approx((36 - 31) / 4)


def test_a_cut_at_a_junction_isolates_two_bottlenecks_at_once():
    # two bottlenecks below node 1, much else elsewhere: neither of their own branches is worth a cut alone
    grid = feeder([-1, 0, 1, 1, 0], s_max=[0, np.inf, 1.0, 1.0, np.inf], r=1e-8, x=1e-8)
    p = np.zeros((5, 1))
    movable = np.array([[8.0], [0.0], [4.0], [4.0], [20.0]])
    split = split_perimeters(grid, p, p, up_kw=0 * p, down_kw=movable, max_perimeters=2)
    assert grid.branch_ids[split.cut].tolist() == ["b1"]
    assert split.largest_down_kwh == pytest.approx((28 + 1) / 4)


def test_pieces_without_enough_members_are_merged_upwards():
    grid, p, q, movable = figure_12()
    members = [0, 0, 4, 9]
    small = split_perimeters(grid, p, q, up_kw=q, down_kw=movable, members=members, min_members=5)
    assert small.n_perimeters == 1
    assert not small.lossless
    enough = split_perimeters(grid, p, q, up_kw=q, down_kw=movable, members=members, min_members=4)
    assert enough.n_perimeters == 2
    # the topmost piece itself is too small: it takes in the piece below
    top = split_perimeters(grid, p, q, up_kw=q, down_kw=movable, members=[0, 0, 9, 4], min_members=5)
    assert top.n_perimeters == 1


def test_every_piece_is_large_enough_and_no_movable_node_is_left_out():
    rng = np.random.default_rng(4)
    for _ in range(30):
        grid = random_feeder(rng, 30, tight=0.9, impedance=1e-6)
        p, q = random_forecast(rng, grid, 1, size=3.0)
        up, down = random_offers(rng, grid, 1, size=12.0, share=0.4)
        members = rng.integers(0, 6, 30)
        split = split_perimeters(grid, p, q, up_kw=up, down_kw=down, members=members, min_members=8)
        counts = [members[split.label == k].sum() for k in range(split.n_perimeters)]
        assert min(counts) >= 8 or split.n_perimeters == 1
        assert (split.label[(up + down).any(axis=1) | (members > 0)] >= 0).all()


def test_empty_pieces_are_dropped():
    # both substations bind, nobody sits on the backbone above them
    grid = feeder([-1, 0, 1, 1], s_max=[0, 50.0, 3.0, 3.0], r=1e-8, x=1e-8)
    p = np.zeros((4, 1))
    movable = np.array([[0.0], [0.0], [5.0], [5.0]])
    split = split_perimeters(grid, p, p, up_kw=0 * p, down_kw=movable)
    assert split.n_perimeters == 2
    assert split.label[:2].tolist() == [-1, -1]
    assert sorted(split.label[2:]) == [0, 1]
    assert split.lossless


def test_nothing_binds_gives_one_perimeter():
    grid, p, q, movable = figure_12()
    split = split_perimeters(grid, p, q, up_kw=q, down_kw=0.1 * movable)
    assert split.label.tolist() == [0, 0, 0, 0]
    assert split.cut.size == 0


def test_threads_give_the_same_labels():
    rng = np.random.default_rng(5)
    grid = random_feeder(rng, 120, impedance=1e-6)
    p, q = random_forecast(rng, grid, 40, size=1.0)
    up, down = random_offers(rng, grid, 40, size=3.0)
    one = split_perimeters(grid, p, q, up_kw=up, down_kw=down, max_perimeters=8)
    two = split_perimeters(grid, p, q, up_kw=up, down_kw=down, max_perimeters=8, n_threads=2)
    assert np.array_equal(one.label, two.label)
    assert one.gap_kwh == two.gap_kwh


def test_bad_input_is_refused_by_code():
    grid, p, q, movable = figure_12()
    refused = [
        ({"max_perimeters": 0}, "FX-A006"),
        ({"max_perimeters": 2.5}, "FX-A006"),
        ({"min_members": None}, "FX-A006"),
        ({"keep_share": "much"}, "FX-A006"),
        ({"min_members": 0}, "FX-A006"),
        ({"members": [1, 1, 1, -1]}, "FX-A004"),
        ({"members": [1, 1]}, "FX-A001"),
        ({"down_kw": -movable}, "FX-A004"),
        ({"up_kw": movable[:2]}, "FX-A001"),
    ]
    for change, code in refused:
        with pytest.raises(ValidationError) as caught:
            split_perimeters(grid, p, q, **({"up_kw": q, "down_kw": movable} | change))
        assert caught.value.codes == (code,), change
