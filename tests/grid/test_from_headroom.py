import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import OptionError, ValidationError
from flexcore.grid.capability import capability
from tests.grid.networks import feeder
from tests.reference import grid_capability as reference

pytestmark = pytest.mark.rule("DTL-01")


def thermal_case(rng, n=None, n_perimeters=None):
    n = int(rng.integers(3, 13)) if n is None else n
    n_perimeters = int(rng.integers(1, min(n, 4) + 1)) if n_perimeters is None else n_perimeters
    case = reference.random_case(rng, n, n_perimeters, voltage=False)
    case.head[0] = float(rng.uniform(3.0, 20.0)) if rng.random() < 0.5 else np.inf  # what feeds a tree counts too
    case.head = [max(head, -1.0) for head in case.head]
    return case


def columns(case):
    """Arguments of one step for a reference case."""
    return np.array(case.parent), np.array(case.head)[:, None], np.array(case.power)[:, None]


def several_steps(rng, n=30, n_steps=9, n_perimeters=5):
    case = thermal_case(rng, n, n_perimeters)
    parent, head, power = columns(case)
    return (parent, head * rng.uniform(0.3, 1.5, (n, n_steps)), power * rng.uniform(0.0, 2.0, (n, n_steps)),
            np.array(case.label))  # fmt: skip


def test_equals_the_filling_from_its_definition():
    rng = np.random.default_rng(1)
    limited = 0
    for _ in range(150):
        case = thermal_case(rng)
        found = fx.capability_from_headroom(*columns(case), perimeter=case.label)
        caps = found.cap_kw[:, 0].tolist()
        assert reference.is_safe(case, caps, 0.0 if len(caps) == 1 else 1e-12)
        assert caps == pytest.approx(reference.filling(case), abs=1e-4)
        assert found.movable_kw[:, 0] == pytest.approx([case.total(k) for k in range(case.n_perimeters)])
        limited += (found.kind == 3).any()
        for k in np.flatnonzero(found.binding[:, 0] >= 0):
            carried = reference.carried(case, caps)
            at = found.binding[k, 0]
            assert carried[at] == pytest.approx(max(case.head[at], 0.0), abs=1e-9)
    assert limited > 30


def test_alone_equals_the_linear_programme_and_warns():
    rng = np.random.default_rng(2)
    for _ in range(100):
        case = thermal_case(rng)
        with pytest.warns(UserWarning, match="alone"):
            found = fx.capability_from_headroom(*columns(case), perimeter=case.label, sharing="alone")
        assert found.cap_kw[:, 0] == pytest.approx(
            [reference.alone_by_lp(case, k) for k in range(case.n_perimeters)], abs=1e-8
        )


def test_weights_share_in_their_proportion():
    found = fx.capability_from_headroom(
        [-1, 0, 0], [[8.0], [9.0], [9.0]], [[0.0], [20.0], [20.0]], perimeter=[-1, 0, 1], weights=[3.0, 1.0]
    )
    assert found.cap_kw[:, 0] == pytest.approx([6.0, 2.0])
    assert found.kind.ravel().tolist() == [3, 3]
    assert found.binding.ravel().tolist() == [0, 0]


def test_the_order_of_the_nodes_does_not_matter():
    rng = np.random.default_rng(3)
    for _ in range(40):
        parent, head, power, label = several_steps(rng)
        shuffled = rng.permutation(parent.size)
        place = np.argsort(shuffled)
        moved = np.where(parent[shuffled] < 0, -1, place[parent[shuffled]])
        want = fx.capability_from_headroom(parent, head, power, perimeter=label)
        have = fx.capability_from_headroom(moved, head[shuffled], power[shuffled], perimeter=label[shuffled])
        np.testing.assert_allclose(have.cap_kw, want.cap_kw, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(have.colour, want.colour)
        np.testing.assert_array_equal(have.kind, want.kind)
        # of several elements without any room either may be named
        at, same = np.where(have.binding < 0, -1, shuffled[have.binding]), np.arange(head.shape[1])
        differ = at != want.binding
        np.testing.assert_array_equal(at < 0, want.binding < 0)
        assert (head[at, same][differ] <= 0).all()
        assert (head[want.binding, same][differ] <= 0).all()


def test_threads_and_single_steps_give_the_same_bits():
    rng = np.random.default_rng(4)
    parent, head, power, label = several_steps(rng)
    many = fx.capability_from_headroom(parent, head, power, perimeter=label)
    two = fx.capability_from_headroom(parent, head, power, perimeter=label, n_threads=2)
    for name in ("cap_kw", "movable_kw", "colour", "kind", "binding", "margin_kw", "status"):
        np.testing.assert_array_equal(getattr(many, name), getattr(two, name))
    # the same nodes must be able to move: what never moves belongs to no perimeter
    assert (power.any(axis=1) == power[:, :1].any(axis=1)).all()
    for t in range(head.shape[1]):
        one = fx.capability_from_headroom(parent, head[:, t : t + 1], power[:, t : t + 1], perimeter=label)
        np.testing.assert_array_equal(one.cap_kw, many.cap_kw[:, t : t + 1])


def test_agrees_with_the_grid_where_only_ratings_count():
    grid = feeder([-1, 0, 1, 1], s_max=[0, 20.0, 3.0, 10.0], r=1e-9, x=1e-9)
    p = np.array([[0.0], [0.0], [2.0], [2.0]])
    movable = np.array([[0.0], [0.0], [3.0], [9.0]])
    label = [-1, -1, 0, 1]
    want = capability(grid, p, 0 * p, up_kw=0 * p, down_kw=movable, perimeter=label, method="linear")
    have = fx.capability_from_headroom([-1, 0, 1, 1], [[np.inf], [16.0], [1.0], [8.0]], movable, perimeter=label)
    assert have.cap_kw == pytest.approx(want.down_kw, abs=1e-6)
    assert have.colour.tolist() == want.colour_down.tolist()
    assert have.kind.tolist() == want.kind_down.tolist()
    assert have.binding.ravel().tolist() == [2, 3]


def test_edges():
    violated = fx.capability_from_headroom([-1, 0], [[-2.0], [5.0]], [[0.0], [1.0]], perimeter=[-1, 0])
    assert violated.cap_kw.tolist() == [[0.0]]
    assert violated.colour.tolist() == [[0]]
    nobody = fx.capability_from_headroom([-1, 0], [[1.0], [5.0]], [[0.0], [0.0]], perimeter=[-1, 0])
    assert nobody.colour.tolist() == [[2]]
    assert nobody.binding.tolist() == [[-1]]
    nothing = fx.capability_from_headroom([], np.zeros((0, 2)), np.zeros((0, 2)), perimeter=[])
    assert nothing.cap_kw.shape == (0, 2)
    free = fx.capability_from_headroom([-1], [[np.inf]], [[4.0]], perimeter=[0])
    assert free.margin_kw.tolist() == [[np.inf]]


GOOD = {
    "parent": [-1, 0, 0],
    "headroom_kw": [[9.0], [1.0], [8.0]],
    "movable_kw": [[0.0], [3.0], [3.0]],
    "perimeter": [-1, 0, 1],
}


@pytest.mark.parametrize(
    ("change", "code", "rows"),
    [
        ({"parent": [-1, 2, 1]}, "FX-G001", (1, 2)),
        ({"parent": [1, 2, 0]}, "FX-G001", (0, 1, 2)),
        ({"parent": [-1, 0, 2]}, "FX-G010", (2,)),
        ({"parent": [-1, 0, 3]}, "FX-A006", (2,)),
        ({"parent": [-1, 0, -2]}, "FX-A006", (2,)),
        ({"parent": [-1, 0, 0.5]}, "FX-A002", (2,)),
        ({"parent": [[-1, 0, 0]]}, "FX-A001", None),
        ({"parent": [-1, 0]}, "FX-A001", None),
        ({"headroom_kw": [[9.0], [np.nan], [8.0]]}, "FX-A003", (1,)),
        ({"headroom_kw": [[9.0], [1.0], [-np.inf]]}, "FX-A003", (2,)),
        ({"headroom_kw": [9.0, 1.0, 8.0]}, "FX-A001", None),
        ({"movable_kw": [[0.0], [-3.0], [3.0]]}, "FX-A004", (1,)),
        ({"movable_kw": [[0.0], [np.inf], [3.0]]}, "FX-A003", (1,)),
        ({"perimeter": [-1, 0, -2]}, "FX-A006", (2,)),
        ({"weights": [1.0, 0.0]}, "FX-G052", (1,)),
    ],
)
def test_bad_input_is_refused_by_code(change, code, rows):
    with pytest.raises(ValidationError) as caught:
        fx.capability_from_headroom(**(GOOD | change))
    assert caught.value.codes == (code,)
    if rows is not None:
        assert caught.value.findings[0].rows == rows


def test_unknown_sharing():
    with pytest.raises(OptionError) as caught:
        fx.capability_from_headroom(**GOOD, sharing="fair")
    assert caught.value.codes == ("FX-E002",)
