import numpy as np
import pytest

import flexcore as fx
from flexcore.grid.capability import capability
from flexcore.grid.joint_check import joint_check
from flexcore.grid.max_total import share_max_total
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers
from tests.grid.test_capability import layout_of
from tests.reference import grid_capability as reference
from tests.reference.grid_capability import Case
from tests.reference.grid_max_total import cut_into_pieces, largest_total, random_connected_case
from tests.reference.grid_optimistic import most_by_lp


def largest(case):
    """Caps of one step for a reference case, whether their sum is said to be the largest, and the shares."""
    pairs, last = layout_of(case), case.last()
    least = np.array([min(max(case.room[j], 0.0) for j in range(i, last[i])) for i in range(case.n)])
    rows = [np.array(values, float)[pairs.element][None].copy() for values in (case.power, case.head, least)]
    shares, known = share_max_total(pairs, np.array(case.m)[pairs.element], *rows, n_threads=1)
    return shares.cap[0].tolist(), bool(known[0]), shares


def test_connected_perimeters_equal_the_mixed_integer_programme():
    rng = np.random.default_rng(1)
    above_filling = below_optimum = 0
    for _ in range(300):
        case = random_connected_case(rng, int(rng.integers(3, 14)), voltage=False)
        caps, known, _ = largest(case)
        assert known
        assert reference.is_safe(case, caps, 1e-12)
        want = largest_total(case)
        assert sum(caps) == pytest.approx(want, abs=1e-6)
        above_filling += sum(caps) > sum(reference.filling(case)) + 1e-3
        below_optimum += sum(caps) < most_by_lp(case, set(range(case.n_perimeters))) - 1e-3
    assert above_filling > 10
    assert below_optimum > 50


def test_other_cases_are_safe_and_what_is_called_largest_is():
    """Voltage rows, and perimeters that split an element between them."""
    rng = np.random.default_rng(2)
    known_at, reached, possible = 0, 0.0, 0.0
    for trial in range(150):
        n = int(rng.integers(3, 12))
        if trial % 2:
            case = random_connected_case(rng, n, voltage=True)
        else:
            case = reference.random_case(rng, n, 3, voltage=trial % 4 == 0)
        caps, known, _ = largest(case)
        want = largest_total(case)
        assert reference.is_safe(case, caps, 1e-12)
        assert sum(caps) <= want + 1e-6
        if known:
            assert sum(caps) == pytest.approx(want, abs=1e-6)
        known_at += known
        reached += sum(caps)
        possible += want
    assert 50 < known_at < 150
    assert reached > 0.9 * possible


def test_refinement_never_lowers_the_largest_total():
    rng = np.random.default_rng(3)
    raised = 0
    for _ in range(150):
        case = random_connected_case(rng, int(rng.integers(4, 16)), voltage=False, cut=0.0)
        cuts, before = set(), sum(largest(case)[0])
        for i in rng.permutation(case.n):
            cuts.add(int(i))
            finer = cut_into_pieces(case, cuts)
            now = sum(largest(finer)[0])
            assert now >= before * (1 - 1e-12) - 1e-12
            raised += now > before + 1e-6
            before = now
        assert before == pytest.approx(most_by_lp(finer, set(range(finer.n_perimeters))), abs=1e-8)
    assert raised > 100


def test_a_piece_gives_way_where_others_gain_more():
    # perimeter 0 reaches into two branches with room 4; each kW of its cap may go either way and blocks both
    case = Case([-1, 0, 1, 0, 3], [0.0] * 5, [0, 9, 9, 9, 9], [-1, 0, 1, 0, 2], [np.inf, 4, 9, 4, 9], [np.inf] * 5)
    caps, known, shares = largest(case)
    assert known
    assert caps == [0.0, 4.0, 4.0]
    assert sum(reference.filling(case)) < 8.0 - 1e-6
    assert shares.kind[0].tolist() == [3, 1, 1]  # the two have their branches to themselves
    assert shares.row[0].tolist() == [1, 1, 3]


def test_what_cannot_pass_gives_way_in_proportion():
    case = Case([-1, 0, 1, 1], [0.0] * 4, [0, 0, 4, 8], [-1, -1, 0, 1], [np.inf, 6, 9, 9], [np.inf] * 4)
    caps, known, shares = largest(case)
    assert known
    assert caps == pytest.approx([2.0, 4.0])
    assert shares.kind[0].tolist() == [3, 3]
    assert (layout_of(case).element[shares.row[0]] == 1).all()


def test_from_headroom_whatever_the_order_of_the_nodes():
    rng = np.random.default_rng(4)
    for _ in range(60):
        case = random_connected_case(rng, 25, voltage=False)
        parent, label = np.array(case.parent), np.array(case.label)
        head, power = np.array(case.head)[:, None], np.array(case.power)[:, None]
        shuffled = rng.permutation(25)
        place = np.argsort(shuffled)
        moved = np.where(parent[shuffled] < 0, -1, place[parent[shuffled]])
        want = fx.capability_from_headroom(parent, head, power, perimeter=label, sharing="max_total")
        have = fx.capability_from_headroom(
            moved, head[shuffled], power[shuffled], perimeter=label[shuffled], sharing="max_total"
        )
        filled = fx.capability_from_headroom(parent, head, power, perimeter=label)
        assert want.largest.all()
        assert not filled.largest.any()
        np.testing.assert_allclose(have.cap_kw, want.cap_kw, rtol=1e-9, atol=1e-9)
        assert want.cap_kw.sum() >= filled.cap_kw.sum() * (1 - 1e-9)
        limited = want.cap_kw < want.movable_kw * (1 - 1e-6)
        assert (want.kind[limited] > 0).all()
        assert (want.binding[limited] >= 0).all()


def connected_day(rng, n=30, n_steps=9, **kwargs):
    grid = random_feeder(rng, n, trees=2, **kwargs)
    f = grid.forest
    p, q = random_forecast(rng, grid, n_steps)
    up, down = random_offers(rng, grid, n_steps)
    case = Case(f.parent.tolist(), [0.0] * n, [0.0] * n, [0] * n, [0.0] * n, [0.0] * n)
    label = np.array(cut_into_pieces(case, {i for i in range(n) if rng.random() < 0.3}).label)[f.rank]
    return grid, p, q, {"up_kw": up, "down_kw": down, "perimeter": label}


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_capabilities_pass_the_joint_check_exactly(method):
    rng = np.random.default_rng(5)
    known = steps = 0
    gain = 0.0
    for trial in range(20):
        grid, p, q, offers = connected_day(rng, impedance=0.3 if trial % 2 else 1e-4)
        result = capability(grid, p, q, sharing="max_total", method=method, **offers)
        assert joint_check(grid, result.rows, cap_up_kw=result.up_kw, cap_down_kw=result.down_kw, **offers).safe
        bound = fx.optimistic_capability(grid, result.rows, **offers)
        joint = capability(grid, p, q, method=method, **offers)
        for way in ("up", "down"):
            total, best = getattr(result, f"{way}_kw").sum(axis=0), getattr(bound, f"total_{way}_kw")
            assert (total <= best + 1e-9).all()
            gain += total.sum() - getattr(joint, f"{way}_kw").sum()
            known += getattr(result, f"largest_{way}").sum()
            steps += total.size
            limited = getattr(result, f"{way}_kw") < getattr(result, f"movable_{way}_kw") * (1 - 1e-6)
            assert (getattr(result, f"kind_{way}")[limited] > 0).all()
    assert gain > 0
    assert known > 0.3 * steps


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_threads_and_single_steps_give_the_same_bits(method):
    rng = np.random.default_rng(6)
    grid, p, q, offers = connected_day(rng)
    many = capability(grid, p, q, sharing="max_total", method=method, **offers)
    two = capability(grid, p, q, sharing="max_total", method=method, n_threads=2, **offers)
    names = [f"{name}_{way}" for name in ("kind", "binding", "status", "largest") for way in ("up", "down")]
    names += ["up_kw", "down_kw", "margin_up_kw", "margin_down_kw"]
    for name in names:
        np.testing.assert_array_equal(getattr(many, name), getattr(two, name))
    for t in range(p.shape[1]):
        part = {name: offers[name][:, t : t + 1] for name in ("up_kw", "down_kw")}
        one = capability(grid, p[:, t : t + 1], q[:, t : t + 1], sharing="max_total", method=method,
                         perimeter=offers["perimeter"], **part)  # fmt: skip
        for name in names:
            np.testing.assert_array_equal(getattr(one, name)[..., 0], getattr(many, name)[..., t])


def test_nobody_can_move():
    grid = feeder([-1, 0, 1])
    zero = np.zeros((3, 2))
    result = capability(grid, zero, zero, up_kw=zero, down_kw=zero, perimeter=[-1, -1, -1], sharing="max_total")
    assert result.up_kw.shape == (0, 2)
    result = capability(grid, zero, zero, up_kw=zero, down_kw=zero, perimeter=[-1, 0, 1], sharing="max_total")
    assert result.up_kw.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert result.largest_up.all()
