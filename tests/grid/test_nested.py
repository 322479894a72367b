import numpy as np
import pytest

from flexcore.grid.capability import capability
from flexcore.grid.joint_check import joint_check
from flexcore.grid.nested import share_nested
from flexcore.grid.power_flow import power_flow
from tests.grid.networks import feeder
from tests.grid.test_capability import random_day
from tests.grid.test_headroom import path_of, subtree_of
from tests.grid.test_max_total import connected_day
from tests.grid.test_shadow_prices import arguments_of
from tests.reference import grid_capability as reference
from tests.reference import grid_nested as nested_reference
from tests.reference.grid_capability import Case
from tests.reference.grid_max_total import largest_total, random_connected_case
from tests.reference.grid_optimistic import most_by_lp


def nested(case):
    """Caps and groups of one step for a reference case."""
    arguments = arguments_of(case)
    shares, limit = share_nested(*arguments, weights=None, n_threads=1)
    pairs = arguments[0]
    groups = []
    for e in np.flatnonzero(np.isfinite(limit[0])):
        inside = (pairs.top >= e) & (pairs.top < pairs.last[e])
        groups.append((set(np.flatnonzero(inside).tolist()), float(limit[0, e])))
    return shares.cap[0].tolist(), groups, shares


def cases(rng, count):
    for trial in range(count):
        n = int(rng.integers(3, 12))
        if trial % 2:
            case = random_connected_case(rng, n, voltage=trial % 4 == 1)
        else:
            case = reference.random_case(rng, n, int(rng.integers(2, 5)), voltage=trial % 4 == 0)
        # little room near the roots, so that perimeters share it
        case.head = [head * (0.4 if case.label[i] < 0 or i < n // 2 else 1.0) for i, head in enumerate(case.head)]
        yield case


def check_case(case):
    """Safe against every adversary, laminar, and nothing that the joint caps admit is lost."""
    caps, groups, shares = nested(case)
    joint = reference.filling(case)
    thermal, voltage = nested_reference.worst_rows(case, caps, groups)
    for worst, rooms in ((thermal, case.head), (voltage, case.room)):
        assert all(used <= max(room, 0.0) + 1e-7 for used, room in zip(worst, rooms, strict=True))
    # what the branches are said to carry is never less than the worst
    carried = dict(zip(arguments_of(case)[0].element.tolist(), shares.carried[0].tolist(), strict=True))
    assert all(thermal[i] <= carried.get(i, 0.0) + 1e-7 for i in range(case.n))
    assert nested_reference.is_laminar(groups)
    assert all(len(inside) > 1 for inside, _ in groups)
    # none that another makes needless
    assert all(limit < other for inside, limit in groups for around, other in groups if inside < around)
    assert all(cap >= other - 1e-4 for cap, other in zip(caps, joint, strict=True))
    assert all(sum(joint[k] for k in inside) <= limit + 1e-4 for inside, limit in groups)
    return caps, groups, joint


def test_no_adversary_breaks_a_row_and_joint_caps_are_admitted():
    rng = np.random.default_rng(1)
    grouped = wider = 0
    for case in cases(rng, 160):
        caps, groups, joint = check_case(case)
        grouped += bool(groups)
        wider += sum(caps) > sum(joint) + 1e-3
    assert grouped > 15
    assert wider > 15


def subtrees_side_by_side(rng, n):
    """Whole subtrees as perimeters, none inside another."""
    case = reference.random_case(rng, n, 1, voltage=False)
    label, at = [-1] * n, 0
    for i in range(1, n):
        if case.parent[i] >= 0 and label[case.parent[i]] >= 0:
            label[i] = label[case.parent[i]]
        elif rng.random() < (0.2 if case.parent[i] <= 0 else 0.8):
            label[i], at = at, at + 1
    case.label = label
    for i in range(1, n):
        if label[i] < 0 <= case.parent[i]:
            case.head[i] = float(rng.uniform(1.0, 8.0))
    return case


def check_loss_free(case, rng):
    """By branches, side by side: the published set is the set of all jointly safe caps."""
    caps, groups, _ = check_case(case)
    assert caps == pytest.approx([reference.alone(case, k) for k in range(case.n_perimeters)], abs=1e-8)
    total = nested_reference.largest_total(case, caps, groups)
    assert total == pytest.approx(largest_total(case), abs=1e-6)
    if len(set(case.label)) - (-1 in case.label) == sum(label >= 0 for label in case.label):  # one node each
        assert total == pytest.approx(most_by_lp(case, set(range(case.n_perimeters))), abs=1e-6)
    for _ in range(6):
        point = rng.uniform(0.0, 1.0, case.n_perimeters) * [case.total(k) for k in range(case.n_perimeters)]
        admitted = all(x <= cap for x, cap in zip(point, caps, strict=True)) and all(
            sum(point[k] for k in inside) <= limit for inside, limit in groups
        )
        assert admitted == reference.is_safe(case, point.tolist(), 1e-12)
    return bool(groups)


def test_nothing_is_lost_where_branches_limit_whole_subtrees():
    rng = np.random.default_rng(2)
    grouped = 0
    for _ in range(160):
        case = subtrees_side_by_side(rng, int(rng.integers(5, 12)))
        if case.n_perimeters > 0:
            grouped += check_loss_free(case, rng)
    assert grouped > 15


def test_the_example_of_a_transformer_above_three_substations():
    case = Case([-1, 0, 1, 1, 1], [0.0] * 5, [0, 0, 9, 9, 9], [-1, -1, 0, 1, 2], [np.inf, 5, 3, 3, 3], [np.inf] * 5)
    caps, groups, shares = nested(case)
    assert caps == [3.0, 3.0, 3.0]
    assert groups == [({0, 1, 2}, 5.0)]
    assert shares.carried[0].tolist() == [5.0, 5.0, 3.0, 3.0, 3.0]


def dispatch_within(rng, power, label, caps, groups, limits, t):
    """Random dispatch that uses up caps and groups in a random order."""
    x = np.zeros(power.shape[0])
    left, room = caps[:, t].copy(), limits[:, t].copy()
    for node in rng.permutation(np.flatnonzero(label >= 0)):
        inside = [g for g in range(len(groups)) if label[node] in groups.members(g)]
        x[node] = min([power[node, t], left[label[node]], *room[inside]])
        left[label[node]] -= x[node]
        room[inside] -= x[node]
    return x


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_no_dispatch_within_the_limits_breaks_a_row(method):
    """Both directions at once; certified limits also against the AC power flow, where nothing new may break."""
    rng = np.random.default_rng(3)
    grouped = used = needed = 0.0
    for trial in range(20):
        if trial % 2:
            grid, p, q, up, down, label = random_day(rng, size=2.0, impedance=0.2)
        else:
            grid, p, q, offers = connected_day(rng, n_steps=3, impedance=0.05)
            up, down, label = offers["up_kw"], offers["down_kw"], offers["perimeter"]
        result = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method=method, sharing="nested")
        two = capability(
            grid, p, q, up_kw=up, down_kw=down, perimeter=label, method=method, sharing="nested", n_threads=2
        )
        np.testing.assert_array_equal(result.up_kw, two.up_kw)
        np.testing.assert_array_equal(result.groups.down_kw, two.groups.down_kw)
        rows, groups = result.rows, result.groups
        common = {"cap_up_kw": result.up_kw, "cap_down_kw": result.down_kw, "up_kw": up, "down_kw": down,
                  "perimeter": label}  # fmt: skip
        check = joint_check(grid, rows, **common, groups=groups)
        for excess, tol in (
            (check.up_kw, 1e-9),
            (check.down_kw, 1e-9),
            (check.up_path, 1e-12),
            (check.down_path, 1e-12),
        ):
            assert (excess <= tol).all()
        plain = joint_check(grid, rows, **common)
        assert (plain.up_kw >= check.up_kw).all()
        needed += not plain.safe
        grouped += np.isfinite(groups.up_kw).sum() + np.isfinite(groups.down_kw).sum()
        for _ in range(6):
            moved = np.zeros((2, *p.shape))
            for t in range(p.shape[1]):
                moved[0, :, t] = dispatch_within(rng, up, label, result.up_kw, groups, groups.up_kw, t)
                moved[1, :, t] = dispatch_within(rng, down, label, result.down_kw, groups, groups.down_kw, t)
            used += moved.sum()
            for x, sign in ((moved[0], 1.0), (-moved[1], -1.0)):
                y = subtree_of(grid, x)
                bound, path_bound = (rows.upper_kw, rows.w_upper) if sign > 0 else (rows.lower_kw, rows.w_lower)
                assert (sign * y <= np.maximum(sign * bound, 0.0) + 1e-9).all()
                assert (sign * path_of(rows, y) <= np.maximum(sign * path_bound, 0.0) + 1e-12)[~grid.slack].all()
            if method == "certified":
                net = moved[1] - moved[0]
                tight = {"method": "ac", "tolerance": 1e-11, "max_iterations": 500}
                before, after = power_flow(grid, p, q, **tight), power_flow(grid, p + net, q, **tight)
                seen = (before.loading <= 1.0) & result.certified
                assert (after.loading[seen] <= 1.0 + 1e-9).all()
                low, high = grid.v_min_pu[:, None], grid.v_max_pu[:, None]
                fine = (before.v_pu >= low) & result.certified
                assert ((after.v_pu >= low - 1e-9) | ~fine).all()
                fine = (before.v_pu <= high) & result.certified
                assert ((after.v_pu <= high + 1e-9) | ~fine).all()
    assert grouped > 20
    assert used > 500
    assert needed > 5  # without the groups the caps are not safe


def test_certified_limits_admit_what_linear_ones_do_where_losses_are_small():
    """The box of the proof must not hold caps down by itself, nor make groups that no branch asks for."""
    rng = np.random.default_rng(6)
    groups = {"linear": 0, "certified": 0}
    for _ in range(10):
        grid, p, q, offers = connected_day(rng, n_steps=2, impedance=1e-4)
        caps = {}
        for method in groups:
            result = capability(grid, p, q, method=method, sharing="nested", **offers)
            limits = result.groups
            groups[method] += np.isfinite(limits.up_kw).sum() + np.isfinite(limits.down_kw).sum()
            caps[method] = [
                nested_reference.limited_total(
                    getattr(result, f"{way}_kw")[:, t],
                    [(set(limits.members(g).tolist()), getattr(limits, f"{way}_kw")[g, t]) for g in range(len(limits))],
                )
                for way in ("up", "down")
                for t in range(2)
            ]
        assert caps["certified"] == pytest.approx(caps["linear"], rel=2e-3)
    assert 0 < groups["certified"] <= 1.3 * groups["linear"]


def test_result_names_the_groups_and_steps_decide_alone():
    grid = feeder([-1, 0, 1, 1, 1], s_max=[0, 5.0, 3.0, 3.0, 3.0], r=1e-6, x=1e-6)
    offers = np.tile([[0.0], [0.0], [9.0], [9.0], [9.0]], (1, 2)) * [1.0, 0.1]
    common = {"perimeter": [-1, -1, 0, 1, 2], "sharing": "nested"}
    for method in ("linear", "certified"):
        result = capability(grid, 0 * offers, 0 * offers, up_kw=offers, down_kw=offers, method=method, **common)
        assert result.up_kw[:, 0] == pytest.approx([3.0] * 3, rel=1e-3)
        assert result.up_kw[:, 1] == pytest.approx([0.9] * 3)
        assert len(result.groups) == 1
        assert grid.node_ids[result.groups.node].tolist() == ["n1"]
        assert grid.branch_ids[result.groups.branch].tolist() == ["b1"]
        assert result.groups.members(0).tolist() == [0, 1, 2]
        assert result.groups.down_kw[0] == pytest.approx([5.0, np.inf], rel=1e-3)
        one = capability(grid, 0 * offers[:, :1], 0 * offers[:, :1], up_kw=offers[:, :1], down_kw=offers[:, :1],
                         method=method, **common)  # fmt: skip
        np.testing.assert_array_equal(one.up_kw[:, 0], result.up_kw[:, 0])
        either = capability(grid, 0 * offers, 0 * offers, up_kw=offers, down_kw=offers, method=method, together=False,
                            **common)  # fmt: skip
        assert either.up_kw[:, 0] == pytest.approx([3.0] * 3, rel=1e-3)
    assert capability(grid, offers, offers, up_kw=offers, down_kw=offers, perimeter=[0] * 5).groups is None
    nobody = capability(grid, offers, offers, up_kw=offers, down_kw=offers, perimeter=[-1] * 5, sharing="nested")
    assert len(nobody.groups) == 0
    assert nobody.groups.up_kw.shape == (0, 2)
