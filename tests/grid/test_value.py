import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import ValidationError
from flexcore.grid.capability import capability
from flexcore.grid.joint_check import joint_check
from flexcore.grid.value import share_by_value
from tests.grid.networks import feeder
from tests.grid.test_max_total import connected_day
from tests.grid.test_shadow_prices import arguments_of
from tests.reference import grid_capability as reference
from tests.reference.grid_capability import Case
from tests.reference.grid_max_total import largest_total, random_connected_case
from tests.reference.grid_value import largest_value, modes


def shared_by_value(case, values):
    shares, known = share_by_value(*arguments_of(case), values=np.array([values], float), n_threads=1)
    return shares.cap[0].tolist(), bool(known[0]), shares


def small_cases(rng, count, *, most=200):
    while count:
        n = int(rng.integers(3, 10))
        voltage = rng.random() < 0.5
        if rng.random() < 0.6:
            case = random_connected_case(rng, n, voltage=voltage)
        else:
            case = reference.random_case(rng, n, int(rng.integers(2, 4)), voltage=voltage)
        if modes(case) <= most:
            count -= 1
            yield case


def test_equals_the_exhaustive_search():
    """Connected or not, with voltage rows or without."""
    rng = np.random.default_rng(1)
    above_filling = above_total = 0
    for case in small_cases(rng, 150):
        values = rng.uniform(0.1, 3.0, case.n_perimeters) * (rng.random(case.n_perimeters) < 0.9)
        caps, known, shares = shared_by_value(case, values)
        assert known
        assert reference.is_safe(case, caps, 1e-12)
        assert values @ caps == pytest.approx(largest_value(case, values), abs=1e-5)
        above_filling += values @ caps > values @ reference.filling(case) + 1e-3
        above_total += sum(caps) < largest_total(case) - 1e-3
        # nothing is held back for nothing, not even from perimeters of no value
        for k, cap in enumerate(caps):
            raised = [c + (1e-3 if j == k else 0.0) for j, c in enumerate(caps)]
            assert cap >= case.total(k) * (1 - 1e-6) - 1e-9 or not reference.is_safe(case, raised, 1e-9)
            assert cap >= case.total(k) * (1 - 1e-6) - 1e-9 or shares.kind[0, k] > 0
    assert above_filling > 30
    assert above_total > 3


def test_without_values_the_sum_is_the_largest():
    rng = np.random.default_rng(2)
    for case in small_cases(rng, 60):
        caps, known, _ = shared_by_value(case, np.ones(case.n_perimeters))
        assert known
        assert sum(caps) == pytest.approx(largest_total(case), abs=1e-5)


def test_whole_subtrees_side_by_side_need_no_solver(monkeypatch):
    """A polymatroid: merit order is exact. The solver must not even be asked."""
    monkeypatch.setattr("flexcore.grid.value.most_valuable", None)
    rng = np.random.default_rng(3)
    limited = 0
    for _ in range(100):
        n = int(rng.integers(4, 12))
        case = reference.random_case(rng, n, 1, voltage=False)
        label = [-1] * n  # subtrees below some cuts, none inside another, nothing moves above
        at = 0
        for i in range(1, n):
            if case.parent[i] >= 0 and label[case.parent[i]] >= 0:
                label[i] = label[case.parent[i]]
            elif rng.random() < 0.5:
                label[i], at = at, at + 1
        if at == 0:
            continue
        case.label = label
        values = rng.uniform(0.1, 3.0, at)
        caps, known, _ = shared_by_value(case, values)
        assert known
        if modes(case) <= 300:
            assert values @ caps == pytest.approx(largest_value(case, values), abs=1e-8)
            limited += sum(caps) < sum(case.power) - 1e-6
    assert limited > 20


def test_the_cheaper_gives_way_first():
    case = Case([-1, 0, 1, 1], [0.0] * 4, [0, 0, 4, 8], [-1, -1, 0, 1], [np.inf, 6, 9, 9], [np.inf] * 4)
    assert shared_by_value(case, [1.0, 2.0])[0] == [0.0, 6.0]
    assert shared_by_value(case, [2.0, 1.0])[0] == [4.0, 2.0]


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_capabilities_pass_the_joint_check_exactly_and_threads_change_nothing(method):
    rng = np.random.default_rng(5)
    gain = known = steps = 0.0
    for _ in range(4):
        grid, p, q, offers = connected_day(rng, n_steps=4)
        n_k = offers["perimeter"].max() + 1
        up, down = rng.uniform(0.1, 5.0, (2, n_k, 4))
        common = {"method": method, "sharing": "value", "values_up": up, "values_down": down, **offers}
        result = capability(grid, p, q, **common)
        two = capability(grid, p, q, n_threads=2, **common)
        assert joint_check(grid, result.rows, cap_up_kw=result.up_kw, cap_down_kw=result.down_kw, **offers).safe
        joint = capability(grid, p, q, method=method, **offers)
        for way, value in (("up", up), ("down", down)):
            caps = getattr(result, f"{way}_kw")
            np.testing.assert_array_equal(getattr(two, f"{way}_kw"), caps)
            gain += (value * (caps - getattr(joint, f"{way}_kw"))).sum()
            known += getattr(result, f"largest_{way}").sum()
            steps += caps.shape[1]
            for t in range(4):
                part = {name: offers[name][:, t : t + 1] for name in ("up_kw", "down_kw")}
                one = capability(grid, p[:, t : t + 1], q[:, t : t + 1], method=method, sharing="value",
                                 values_up=up[:, t : t + 1], values_down=down[:, t : t + 1],
                                 perimeter=offers["perimeter"], **part)  # fmt: skip
                np.testing.assert_array_equal(getattr(one, f"{way}_kw")[:, 0], caps[:, t])
    assert gain > 0
    assert known > 0.9 * steps


def test_from_headroom_and_bad_values():
    tree = [-1, 0, 0], [[6], [9], [9]], [[0], [4], [8]]
    found = fx.capability_from_headroom(*tree, perimeter=[-1, 0, 1], sharing="value", values=[1.0, 2.0])
    assert found.cap_kw.ravel().tolist() == [0.0, 6.0]
    assert found.largest.tolist() == [True]
    assert found.kind.ravel().tolist() == [3, 1]  # the other has nothing on it
    grid = feeder([-1, 0, 1])
    zero = np.zeros((3, 2))
    fine = {"up_kw": zero, "down_kw": zero, "perimeter": [0, 0, 1], "sharing": "value"}
    assert capability(grid, zero, zero, **fine).largest_up.all()
    assert capability(grid, zero, zero, **(fine | {"perimeter": [-1] * 3})).up_kw.shape == (0, 2)
    for values, code in ([1.0], "FX-A001"), ([1.0, np.nan], "FX-A003"), ([1.0, -1.0], "FX-A004"):
        with pytest.raises(ValidationError) as caught:
            capability(grid, zero, zero, values_down=values, **fine)
        assert caught.value.codes == (code,)
