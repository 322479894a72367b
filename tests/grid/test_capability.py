import warnings

import numpy as np
import pytest

from flexcore.errors import OptionError, ValidationError
from flexcore.grid.capability import GREEN, RED, YELLOW, capability
from flexcore.grid.headroom import activation_rows
from flexcore.grid.joint_check import joint_check
from flexcore.grid.power_flow import power_flow
from flexcore.grid.sharing import pair_perimeters, share
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers
from tests.grid.test_headroom import path_of, subtree_of
from tests.reference import grid_capability as reference
from tests.reference.grid_capability import Case

pytestmark = pytest.mark.rule("DTL-01")
FIELDS = ("up_kw", "down_kw", "movable_up_kw", "movable_down_kw", "colour_up", "colour_down", "kind_up", "kind_down",
          "binding_up", "binding_down", "at_node_up", "at_node_down", "margin_up_kw", "margin_down_kw")  # fmt: skip


def layout_of(case):
    return pair_perimeters(
        np.array(case.parent, np.int32),
        np.array(case.last(), np.int32),
        np.array(case.label, np.int32),
        np.array(case.power) > 0,
        case.n_perimeters,
    )


def shared(case, *, weights=None, alone=False):
    """Kernel result of one step for a reference case."""
    pairs = layout_of(case)
    last = case.last()
    least = np.array([min(max(case.room[j], 0.0) for j in range(i, last[i])) for i in range(case.n)])
    rows = [
        np.ascontiguousarray(np.array(values, float)[pairs.element][None]) for values in (case.power, case.head, least)
    ]
    speeds = None if weights is None else np.array([weights])
    return share(pairs, np.array(case.m)[pairs.element], *rows, weights=speeds, alone=alone, n_threads=1)


def chain(power, head, *, m=0.0, room=np.inf, label=0):
    """A single feeder: node 0 is the slack, each further node hangs below the one before."""
    n = len(power) + 1

    def column(values, first):
        return [first, *np.broadcast_to(values, (n - 1,)).tolist()]

    return Case([i - 1 for i in range(n)], column(m, 0.0), column(power, 0.0), column(label, -1),
                column(head, np.inf), column(room, np.inf))  # fmt: skip


@pytest.mark.parametrize("voltage", [False, True])
def test_one_perimeter_equals_the_linear_programme(voltage):
    rng = np.random.default_rng(20 + voltage)
    limited = 0
    for _ in range(120):
        case = reference.random_case(rng, int(rng.integers(2, 11)), 1, voltage=voltage, thermal=not voltage)
        result = shared(case)
        assert result.cap[0, 0] == pytest.approx(reference.alone_by_lp(case, 0), abs=1e-8)
        assert result.cap[0, 0] == pytest.approx(reference.alone(case, 0), abs=1e-8)
        assert result.movable[0, 0] == pytest.approx(case.total(0))
        assert result.status[0] == 0
        limited += 0 < result.cap[0, 0] < case.total(0) * (1 - 1e-9)
    assert limited > 30


def test_both_kinds_of_rows_together_equal_the_linear_programme():
    rng = np.random.default_rng(22)
    for _ in range(100):
        case = reference.random_case(rng, int(rng.integers(2, 11)), 1, voltage=True)
        assert shared(case).cap[0, 0] == pytest.approx(reference.alone_by_lp(case, 0), abs=1e-8)


def test_formula_of_the_worst_case_equals_the_linear_programme():
    rng = np.random.default_rng(23)
    for _ in range(60):
        case = reference.random_case(rng, int(rng.integers(3, 9)), 3, voltage=True)
        caps = rng.uniform(0.0, 6.0, case.n_perimeters).tolist()
        thermal, voltage = reference.worst_rows_by_lp(case, caps)
        assert reference.carried(case, caps) == pytest.approx(thermal, abs=1e-9)
        assert reference.path_sums(case, caps) == pytest.approx(voltage, abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_filling_is_jointly_safe_and_maximal(weighted):
    rng = np.random.default_rng(30 + weighted)
    split = 0
    for _ in range(200):
        case = reference.random_case(rng, int(rng.integers(3, 13)), int(rng.integers(2, 6)), voltage=rng.random() < 0.5)
        weights = rng.uniform(0.2, 3.0, case.n_perimeters).tolist() if weighted else None
        result = shared(case, weights=weights)
        caps = result.cap[0].tolist()
        assert result.status[0] == 0
        assert reference.is_safe(case, caps, 1e-12)
        for k in range(case.n_perimeters):
            raised = [cap + (1e-5 if j == k else 0.0) for j, cap in enumerate(caps)]
            assert caps[k] == pytest.approx(case.total(k), rel=1e-9) or not reference.is_safe(case, raised, 1e-11)
        assert caps == pytest.approx(reference.filling(case, weights), abs=1e-4)
        split += (result.kind[0] == 3).any()
    assert split > 50


def test_stand_alone_values_are_upper_bounds_and_not_jointly_safe():
    # transformer with room 5 above three substations with room 3
    case = Case([-1, 0, 1, 1, 1], [0.0] * 5, [0, 0, 4, 4, 4], [-1, -1, 0, 1, 2], [np.inf, 5, 3, 3, 3], [np.inf] * 5)
    alone, joint = shared(case, alone=True), shared(case)
    assert alone.cap[0].tolist() == [3.0, 3.0, 3.0]
    assert joint.cap[0] == pytest.approx([5 / 3] * 3)
    assert joint.kind[0].tolist() == [3, 3, 3]
    assert (layout_of(case).element[joint.row[0]] == 1).all()
    assert not reference.is_safe(case, alone.cap[0].tolist())


def test_filling_goes_on_for_those_that_no_tight_row_holds():
    # perimeters 0 and 1 share room 2; perimeter 2 has the rest of 10 to itself
    case = Case([-1, 0, 1, 2, 2, 1], [0.0] * 6, [0, 0, 0, 4, 4, 9], [-1, -1, -1, 0, 1, 2], [np.inf, 10, 2, 9, 9, 9],
                [np.inf] * 6)  # fmt: skip
    result = shared(case)
    assert result.cap[0] == pytest.approx([1.0, 1.0, 8.0])
    assert result.kind[0].tolist() == [3, 3, 3]
    weighted = shared(case, weights=[3.0, 1.0, 1.0])
    assert weighted.cap[0] == pytest.approx([1.5, 0.5, 8.0])


def test_margin_is_what_could_be_added_anywhere():
    case = chain([2.0, 2.0], [10.0, 5.0])
    assert shared(case).margin[0, 0] == pytest.approx(3.0)
    case = chain([2.0, 2.0], [3.0, 5.0])
    assert shared(case).margin[0, 0] == 0.0
    case = chain([1.0, 1.0], np.inf, m=0.5, room=3.0)
    # the far node carries 2 * 0.5 + 1 * 0.5; one more kW there costs 0.5 + 0.5
    assert shared(case).margin[0, 0] == pytest.approx(1.5)


def test_margin_is_the_largest_safe_raise_wherever_it_acts():
    """Against its definition: raise one cap, let all that is new act at one node, and look at every row."""
    rng = np.random.default_rng(8)
    limited = 0
    for _ in range(150):
        case = reference.random_case(rng, int(rng.integers(3, 14)), int(rng.integers(1, 4)), voltage=True)
        result = shared(case)
        caps = result.cap[0].tolist()
        rise, path_rise = reference.carried(case, caps), reference.path_sums(case, caps)
        for k in range(case.n_perimeters):
            places = [i for i in range(case.n) if case.label[i] == k and case.power[i] > 0]
            if not places:
                continue
            most = np.inf
            for place in places:
                up = case.path(place)
                for i in up:
                    most = min(most, max(max(case.head[i], 0.0) - rise[i], 0.0))
                for j in range(case.n):
                    common = sum(case.m[i] for i in case.path(j) if i in up)
                    if common > 0:
                        most = min(most, max(max(case.room[j], 0.0) - path_rise[j], 0.0) / common)
            assert result.margin[0, k] == pytest.approx(most, rel=1e-6, abs=1e-6)
            limited += most < 1e-6
    assert limited > 30


def test_edge_cases_by_hand():
    exact = chain([1.0, 2.0], [3.0, 2.0])
    assert shared(exact).cap[0, 0] == 3.0  # headroom equal to the power below does not count
    assert shared(exact).kind[0, 0] == 0
    below = chain([1.0, 2.0], [3.0, 2.0 - 1e-9])
    assert shared(below).cap[0, 0] == 2.0 - 1e-9
    violated = chain([1.0, 2.0], [3.0, -0.5])
    assert shared(violated).cap[0, 0] == 0.0
    assert shared(violated).kind[0, 0] == 1
    elsewhere = Case([-1, 0, 0], [0.0] * 3, [0, 1, 1], [-1, 0, 1], [np.inf, -1, 5], [np.inf] * 3)
    assert shared(elsewhere).cap[0].tolist() == [0.0, 1.0]
    nothing = chain([0.0, 0.0], [-1.0, 1.0])
    assert shared(nothing).cap[0, 0] == 0.0
    assert shared(nothing).kind[0, 0] == 0


def test_perimeters_may_have_any_shape_and_span_trees():
    rng = np.random.default_rng(40)
    for _ in range(40):
        case = reference.random_case(rng, 12, 4, voltage=True)
        case.parent[6] = -1  # a second tree at least
        case.parent = reference.preorder(case.parent)[1]
        case.m[0] = 0.0
        result = shared(case)
        assert reference.is_safe(case, result.cap[0].tolist(), 1e-12)
        assert result.cap[0] == pytest.approx(reference.filling(case), abs=1e-4)


@pytest.mark.rule("DTL-04")
@pytest.mark.rule("DTL-05")
def test_figure_12():
    """D4.1 Figure 12: SS_1 can carry 3 and carries 2 already; SS_2 is roomy."""
    grid = feeder([-1, 0, 1, 1], s_max=[0, 20.0, 3.0, 10.0], r=1e-8, x=1e-8)
    p = np.array([[0.0], [0.0], [2.0], [2.0]])
    movable = np.array([[0.0], [0.0], [3.0], [3.0]])
    nothing = np.zeros_like(p)
    arguments = {"up_kw": nothing, "down_kw": movable, "method": "linear"}
    one = capability(grid, p, nothing, perimeter=[0, 0, 0, 0], **arguments)
    two = capability(grid, p, nothing, perimeter=[0, 0, 0, 1], **arguments)
    assert one.down_kw == pytest.approx(np.array([[1.0]]), abs=1e-6)
    assert one.colour_down.tolist() == [[YELLOW]]
    assert one.kind_down.tolist() == [[1]]
    assert grid.branch_ids[one.binding_down[0, 0]] == "b2"
    assert two.down_kw == pytest.approx(np.array([[1.0], [3.0]]), abs=1e-6)
    assert two.colour_down.tolist() == [[YELLOW], [GREEN]]
    assert two.binding_down[1, 0] == -1
    assert two.margin_down_kw[1, 0] == pytest.approx(5.0, abs=1e-6)
    # nothing to move up: green, with nothing published
    assert one.up_kw.tolist() == [[0.0]]
    assert one.colour_up.tolist() == [[GREEN]]
    assert not one.certified.any()


def random_day(rng, n=24, n_steps=3, n_perimeters=4, size=4.0, **kwargs):
    grid = random_feeder(rng, n, trees=2, **kwargs)
    p, q = random_forecast(rng, grid, n_steps, size=size)
    up, down = random_offers(rng, grid, n_steps)
    label = rng.integers(-1, n_perimeters, n)
    label[0] = n_perimeters - 1
    return grid, p, q, up, down, label


def test_caps_pass_the_joint_check_exactly_and_are_maximal_for_the_rows():
    rng = np.random.default_rng(50)
    for _ in range(40):
        grid, p, q, up, down, label = random_day(rng)
        result = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="linear")
        check = joint_check(grid, result.rows, cap_up_kw=result.up_kw, cap_down_kw=result.down_kw, up_kw=up,
                            down_kw=down, perimeter=label)  # fmt: skip
        assert check.safe
        assert not result.status_up.any()
        assert not result.status_down.any()
        f = grid.forest
        for power, head, room, caps in (
            (up, result.rows.upper_kw, result.rows.w_upper, result.up_kw),
            (down, -result.rows.lower_kw, -result.rows.w_lower, result.down_kw),
        ):
            for t in range(p.shape[1]):
                case = Case(f.parent.tolist(), result.rows.m[f.order].tolist(), power[f.order, t].tolist(),
                            label[f.order].tolist(), head[f.order, t].tolist(), room[f.order, t].tolist())  # fmt: skip
                assert caps[:, t] == pytest.approx(reference.filling(case), abs=1e-4)


@pytest.mark.parametrize("tan_phi", [0.0, 0.3])
def test_no_dispatch_within_the_caps_breaks_a_row(tan_phi):
    """Both directions at once, random and extreme dispatches, checked row by row and by a new power flow."""
    rng = np.random.default_rng(60)
    used = 0.0
    for trial in range(60):
        grid, p, q, up, down, label = random_day(rng)
        result = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="linear", tan_phi=tan_phi)
        rows, fed = result.rows, ~grid.slack
        moved = []
        for power, caps in ((up, result.up_kw), (down, result.down_kw)):
            x = np.zeros_like(power)
            for k in range(caps.shape[0]):
                left = caps[k].copy() * (1.0 if trial % 3 else rng.random())
                for node in rng.permutation(np.flatnonzero(label == k)):
                    x[node] = np.minimum(power[node], left) * (1.0 if trial % 2 else rng.random())
                    left -= x[node]
            moved.append(x)
        used += sum(x.sum() for x in moved)
        y = subtree_of(grid, moved[0] - moved[1])
        # a row that the forecast violates is not made worse, the others hold
        assert (y >= np.minimum(rows.lower_kw, 0.0) - 1e-9).all()
        assert (y <= np.maximum(rows.upper_kw, 0.0) + 1e-9).all()
        along = path_of(rows, y)
        assert (along >= np.minimum(rows.w_lower, 0.0) - 1e-12)[fed].all()
        assert (along <= np.maximum(rows.w_upper, 0.0) + 1e-12)[fed].all()
        net = moved[1] - moved[0]
        flow = power_flow(grid, p + net, q + tan_phi * net, method="linear")
        before = power_flow(grid, p, q, method="linear")
        # new losses are those of this very dispatch: the linear model leaves a remainder of their second order
        assert (flow.loading <= np.maximum(before.loading, 1.0) + 2e-3).all()
        assert (flow.v_pu >= np.minimum(before.v_pu, 0.95) - 2e-4).all()
        assert (flow.v_pu <= np.maximum(before.v_pu, 1.05) + 2e-4).all()
    assert used > 1000.0


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_down_of_a_neighbour_takes_rated_power_from_an_exporting_branch(method):
    """The neighbour lowers the voltage, and a rated current carries less at a lower voltage."""
    grid = feeder([-1, 0, 1, 1], s_max=[0, np.inf, 40.0, np.inf], r=[0, 0.3, 3e-3, 3e-3], x=[0, 0.1, 1e-3, 1e-3])
    p = np.array([[0.0], [0.0], [-20.0], [0.0]])
    up, down = np.array([[0.0], [0.0], [100.0], [0.0]]), np.array([[0.0], [0.0], [0.0], [1000.0]])
    caps = capability(grid, p, 0 * p, up_kw=up, down_kw=down, perimeter=[-1, -1, 0, 1], method=method)
    assert caps.down_kw[1, 0] > 200
    both = p + np.array([[0.0], [0.0], -caps.up_kw[0], caps.down_kw[1]])
    for flow in ("linear", "ac"):
        loading = power_flow(grid, both, 0 * p, method=flow).loading.max()
        assert 0.95 < loading <= 1.0


def test_weights_of_any_size_count_by_their_ratios():
    grid = feeder([-1, 0, 1, 1], s_max=[0, 50.0, np.inf, np.inf], r=1e-6, x=1e-6)
    offers = np.array([[0.0], [0.0], [40.0], [40.0]])
    common = {"up_kw": offers, "down_kw": offers, "perimeter": [-1, -1, 0, 1], "method": "linear"}
    want = capability(grid, 0 * offers, 0 * offers, weights=[1.0, 3.0], **common)
    assert want.up_kw[:, 0] == pytest.approx([12.5, 37.5], rel=1e-3)
    for scale in (1e300, 1e-300):
        same = capability(grid, 0 * offers, 0 * offers, weights=[scale, 3 * scale], **common)
        np.testing.assert_allclose(same.up_kw, want.up_kw, rtol=1e-12)
    with pytest.raises(ValidationError) as caught:
        capability(grid, 0 * offers, 0 * offers, weights=[1.0, 1e-13], **common)
    assert caught.value.codes == ("FX-G052",)
    assert caught.value.findings[0].rows == (1,)


def test_second_pass_counts_the_losses_of_the_fill():
    grid = feeder([-1, 0, 1], s_max=100.0, r=0.1, x=0.1, v_min=0.5)
    p = np.array([[0.0], [0.0], [40.0]])
    down = np.array([[0.0], [0.0], [200.0]])
    result = capability(grid, p, 0 * p, up_kw=0 * p, down_kw=down, perimeter=[0, 0, 0], method="linear")
    assert result.kind_down.tolist() == [[1]]
    stressed = p + result.down_kw[0] * (down > 0)
    for method in ("linear", "ac"):
        assert 0.99 < power_flow(grid, stressed, 0 * p, method=method).loading.max() <= 1.0
    # with the losses of the forecast alone the same feeder would be overloaded
    plain = activation_rows(grid, p, 0 * p)
    optimistic = p - plain.lower_kw[2, 0] * (down > 0)
    assert power_flow(grid, optimistic, 0 * p, method="linear").loading.max() > 1.01


def test_red_opposite_to_an_undelivered_local_award():
    """A local up award relieves an overload: as it might not be delivered, nothing may move down below it."""
    grid = feeder([-1, 0, 1, 0], s_max=[0, 50.0, 10.0, 10.0], r=1e-6, x=1e-6)
    p = np.array([[0.0], [0.0], [12.0], [2.0]])
    award = np.array([[0.0], [0.0], [3.0], [0.0]])
    offers = np.array([[0.0], [0.0], [6.0], [6.0]])
    common = {"up_kw": offers, "down_kw": offers, "perimeter": [-1, -1, 0, 1], "method": "linear"}
    held = capability(grid, p, 0 * p, delivered_up_kw=award, **common)
    assert held.colour_down.tolist() == [[RED], [GREEN]]
    assert held.colour_up.tolist() == [[GREEN], [GREEN]]
    blind = capability(grid, p - award, 0 * p, **common)
    assert blind.colour_down.tolist() == [[YELLOW], [GREEN]]


def test_voltage_slack_lets_far_perimeters_move():
    grid = feeder([-1, 0, 1, 1], r=[0, 0.001, 3.0, 0.01], x=1e-6, v_min=0.95)
    p = np.array([[0.0], [0.0], [20.0], [1.0]])
    offers = np.array([[0.0], [0.0], [5.0], [5.0]])
    common = {"up_kw": 0 * p, "down_kw": offers, "perimeter": [-1, -1, 0, 1], "method": "linear"}
    strict = capability(grid, p, 0 * p, **common)
    assert strict.colour_down.tolist() == [[RED], [RED]]
    assert strict.at_node_down.all()
    assert (grid.node_ids[strict.binding_down] == "n2").all()
    loose = capability(grid, p, 0 * p, voltage_slack_pu=1e-4, **common)
    assert loose.colour_down.tolist() == [[YELLOW], [YELLOW]]
    assert loose.down_kw[1, 0] > 4.5
    assert 0 < loose.down_kw[0, 0] < 0.1
    worst = p + np.array([[0.0], [0.0], loose.down_kw[0], loose.down_kw[1]])
    fall = power_flow(grid, p, 0 * p, method="linear").v_pu - power_flow(grid, worst, 0 * p, method="linear").v_pu
    assert 0 < fall[2, 0] <= 1.1e-4


def test_order_of_nodes_changes_nothing():
    rng = np.random.default_rng(70)
    parent = [-1] + [int(rng.integers(max(0, i - 5), i)) for i in range(1, 30)]
    s_max, r = rng.uniform(50, 150, 30), rng.uniform(0.01, 0.1, 30)
    p = rng.uniform(0, 4, (30, 2))
    offers = rng.uniform(0, 6, (2, 30, 2))
    label = rng.integers(-1, 3, 30)
    label[5] = 2
    turn = rng.permutation(30)
    place = np.argsort(turn)
    moved_parent = [-1 if parent[i] < 0 else int(place[parent[i]]) for i in turn]
    one = capability(feeder(parent, s_max=s_max, r=r, v_min=0.9), p, 0.2 * p, up_kw=offers[0], down_kw=offers[1],
                     perimeter=label, method="linear")  # fmt: skip
    other = capability(
        feeder(moved_parent, s_max=s_max[turn], r=r[turn], v_min=0.9), p[turn], 0.2 * p[turn],
        up_kw=offers[0][turn], down_kw=offers[1][turn], perimeter=label[turn], method="linear",
    )  # fmt: skip
    for name in ("up_kw", "down_kw", "movable_up_kw", "margin_down_kw"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-9)
    for name in ("colour_up", "colour_down", "kind_up", "kind_down"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert (one.colour_down == YELLOW).any()


def test_threads_and_single_steps_give_the_same_bits():
    rng = np.random.default_rng(80)
    grid, p, q, up, down, label = random_day(
        rng, n=300, n_steps=21, n_perimeters=9, size=0.2, impedance=0.01, tight=0.02
    )
    label = (9 * grid.forest.rank) // 300
    common = {"perimeter": label, "method": "linear"}
    one = capability(grid, p, q, up_kw=up, down_kw=down, **common)
    two = capability(grid, p, q, up_kw=up, down_kw=down, n_threads=2, **common)
    assert (one.kind_down == 3).any()
    for name in FIELDS:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    for t in (0, 7, 20):
        cut = slice(t, t + 1)
        step = capability(grid, p[:, cut], q[:, cut], up_kw=up[:, cut], down_kw=down[:, cut], **common)
        for name in FIELDS:
            assert np.array_equal(getattr(one, name)[:, cut], getattr(step, name)), name


def test_read_only_and_foreign_arrays_are_taken():
    rng = np.random.default_rng(81)
    grid, p, q, up, down, label = random_day(rng)
    want = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="linear")
    for array in (p, q, up, down, label):
        array.setflags(write=False)
    got = capability(grid, np.asfortranarray(p), q, up_kw=up, down_kw=down.tolist(), perimeter=label.astype(float),
                     method="linear", sharing="filling")  # fmt: skip
    assert np.array_equal(got.down_kw, want.down_kw)
    assert got.sharing == "joint"


def test_alone_warns():
    grid = feeder([-1, 0, 1, 1], s_max=[0, 5.0, 9.0, 9.0], r=1e-8, x=1e-8)
    p = np.zeros((4, 1))
    offers = np.array([[0.0], [0.0], [4.0], [4.0]])
    arguments = {"up_kw": offers, "down_kw": offers, "perimeter": [0, 0, 0, 1], "method": "linear"}
    with pytest.warns(UserWarning, match="safe only if no other"):
        alone = capability(grid, p, p, sharing="alone", **arguments)
    assert alone.down_kw[:, 0] == pytest.approx([4.0, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joint = capability(grid, p, p, **arguments)
    assert joint.down_kw[:, 0] == pytest.approx([2.5, 2.5], rel=1e-6)
    assert joint_check(grid, alone.rows, cap_up_kw=alone.up_kw, cap_down_kw=alone.down_kw, up_kw=offers,
                       down_kw=offers, perimeter=[0, 0, 0, 1]).down_kw[0] == pytest.approx(3.0, abs=1e-6)  # fmt: skip


def test_stand_alone_values_are_never_below_the_joint_ones():
    """Losses included: alone, the losses are those of one perimeter, not of all."""
    rng = np.random.default_rng(91)
    for _ in range(20):
        grid, p, q, up, down, label = random_day(rng)
        arguments = {"up_kw": up, "down_kw": down, "perimeter": label, "method": "linear"}
        joint = capability(grid, p, q, **arguments)
        with pytest.warns(UserWarning, match="safe only"):
            alone = capability(grid, p, q, sharing="alone", **arguments)
        assert (alone.up_kw >= joint.up_kw * (1 - 1e-12)).all()
        assert (alone.down_kw >= joint.down_kw * (1 - 2e-3)).all()


def test_a_pair_of_directions_shares_nothing_at_one_power_factor():
    """Down headroom does not shrink because others move up, nor the reverse."""
    rng = np.random.default_rng(90)
    grid, p, q, up, down, label = random_day(rng)
    both = capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="linear")
    only = capability(grid, p, q, up_kw=0 * up, down_kw=down, perimeter=label, method="linear")
    assert both.down_kw == pytest.approx(only.down_kw, abs=1e-9)


def test_no_perimeter_at_all():
    grid = feeder([-1, 0])
    result = capability(grid, np.ones((2, 3)), np.zeros((2, 3)), up_kw=np.ones((2, 3)), down_kw=np.ones((2, 3)),
                        perimeter=[-1, -1], method="linear")  # fmt: skip
    assert result.up_kw.shape == (0, 3)
    assert result.binding_up.shape == (0, 3)


def test_bad_input_is_refused_by_code():
    grid = feeder([-1, 0, 1])
    ones = np.ones((3, 2))
    fine = {"up_kw": ones, "down_kw": ones, "perimeter": [0, 0, 1], "method": "linear"}
    refused = [
        ({"up_kw": -ones}, "FX-A004"),
        ({"down_kw": np.array([[1, 1], [1, np.nan], [1, 1]])}, "FX-A003"),
        ({"down_kw": ones * np.inf}, "FX-A003"),
        ({"up_kw": ones[:, :1]}, "FX-A001"),
        ({"perimeter": [0, 1]}, "FX-A001"),
        ({"perimeter": [0, 1, -2]}, "FX-A006"),
        ({"perimeter": [0, 1, 99]}, "FX-A006"),
        ({"perimeter": [0, 1, 0.5]}, "FX-A002"),
        ({"weights": [1.0, 0.0]}, "FX-G052"),
        ({"weights": [1.0]}, "FX-A001"),
        ({"weights": [1.0, np.nan]}, "FX-A003"),
        ({"voltage_slack_pu": -1.0}, "FX-A004"),
        ({"tol_kw": -1.0}, "FX-A004"),
        ({"tol_kw": np.nan}, "FX-A003"),
        ({"tol_kw": None}, "FX-A002"),
        ({"delivered_up_kw": -ones}, "FX-A004"),
    ]
    for change, code in refused:
        with pytest.raises(ValidationError) as caught:
            capability(grid, ones, ones, **(fine | change))
        assert caught.value.codes == (code,), change
    for change in ({"method": "dc"}, {"sharing": "most"}):
        with pytest.raises(OptionError) as caught:
            capability(grid, ones, ones, **(fine | change))
        assert "linear" in str(caught.value) or "joint" in str(caught.value)
    assert capability(grid, ones, ones, up_kw=ones, down_kw=ones, perimeter=[0, 0, 1]).method == "certified"


def test_kernels_have_one_signature():
    from flexcore.kernels.grid import capability as kernels
    from flexcore.kernels.grid import envelopes, headroom, nested, pairs, shadow_price, value

    for kernel in (
        kernels.share_capability, kernels.check_together, pairs.count_pairs, headroom.narrow_by_limits,
        envelopes.fair_limits, nested.nest, shadow_price.shadow_prices, value.raise_in_order, value.name_full_paths,
    ):  # fmt: skip
        assert len(getattr(kernel, "signatures", [0])) == 1
