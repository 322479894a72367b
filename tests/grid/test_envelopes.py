import numpy as np
import pytest
from scipy.optimize import linprog

import flexcore as fx
from flexcore.errors import ValidationError
from tests.grid.test_from_headroom import columns, several_steps, thermal_case
from tests.reference.grid_capability import most_below
from tests.reference.grid_envelopes import fair


def test_equals_the_definition_and_reaches_the_maximum_flow():
    rng = np.random.default_rng(1)
    limited = 0
    for _ in range(300):
        case = thermal_case(rng, int(rng.integers(3, 20)))
        weights = rng.uniform(0.2, 3.0, case.n)
        limits = fx.operating_envelopes(*columns(case), weights=weights)[:, 0]
        assert limits == pytest.approx(fair(case, weights.tolist()), abs=1e-8)
        most = most_below(case)
        assert limits.sum() == pytest.approx(sum(most[i] for i in range(case.n) if case.parent[i] < 0), abs=1e-9)
        for i in range(case.n):
            inside = [p for p in range(case.n) if i in case.path(p)]
            assert limits[inside].sum() <= max(case.head[i], 0.0) + 1e-9
        limited += (limits < np.array(case.power) - 1e-6).any()
    assert limited > 200


def best_of(case, gain, *, total=None, least=False):
    """Largest (or least) gain @ y of a feasible y, with a given sum if so asked: a linear programme over all nodes."""
    paths = [case.path(p) for p in range(case.n)]
    rows = [[float(i in path) for path in paths] for i in range(case.n) if case.head[i] < np.inf]
    rooms = [max(head, 0.0) for head in case.head if head < np.inf]
    answer = linprog(
        gain if least else -np.array(gain),
        A_ub=rows or None,
        b_ub=rooms or None,
        A_eq=None if total is None else [np.ones(case.n)],
        b_eq=None if total is None else [total],
        bounds=[(0.0, power) for power in case.power],
    )
    assert answer.status == 0
    return answer.fun if least else -answer.fun


def test_is_also_proportionally_fair_and_of_least_squares_and_of_the_largest_sum():
    """A convex problem is solved where its gradient finds nothing better: one linear programme decides each."""
    rng = np.random.default_rng(7)
    unequal = 0
    for _ in range(120):
        case = thermal_case(rng, int(rng.integers(3, 15)))
        weights = rng.uniform(0.2, 3.0, case.n)
        x = fx.operating_envelopes(*columns(case), weights=weights)[:, 0]
        assert best_of(case, np.ones(case.n)) == pytest.approx(x.sum(), abs=1e-8)
        some = x > 1e-9
        log_slope = np.where(some, weights / np.where(some, x, 1.0), 0.0)
        assert best_of(case, log_slope) == pytest.approx(weights[some].sum(), rel=1e-7)
        assert best_of(case, x / weights, total=x.sum() * (1 - 1e-12), least=True) == pytest.approx(
            (x**2 / weights).sum(), rel=1e-7, abs=1e-9
        )
        unequal += np.ptp((x / weights)[some]) > 0.1 if some.any() else 0
    assert unequal > 60


def test_several_pods_at_one_node():
    """The same as a tree that has the PODs as leaves; one POD at each node is a limit for each node."""
    rng = np.random.default_rng(8)
    for _ in range(40):
        parent, head, power, _ = several_steps(rng)
        np.testing.assert_array_equal(
            fx.operating_envelopes(parent, head, power, node=np.arange(parent.size)),
            fx.operating_envelopes(parent, head, power),
        )
        node = rng.integers(0, parent.size, 80)
        pods, weights = rng.uniform(0.0, 3.0, (80, head.shape[1])), rng.uniform(0.1, 2.0, 80)
        limits = fx.operating_envelopes(parent, head, pods, node=node, weights=weights)
        case = thermal_case(rng, parent.size)
        case.parent, case.label = [*parent.tolist(), *node.tolist()], [-1] * (parent.size + 80)
        case.head = [*head[:, 0].tolist(), *[np.inf] * 80]
        case.power = [*[0.0] * parent.size, *pods[:, 0].tolist()]
        want = fair(case, [*[1.0] * parent.size, *weights.tolist()])
        assert limits[:, 0] == pytest.approx(want[parent.size :], abs=1e-8)
        assert limits.shape == pods.shape
    with pytest.raises(ValidationError) as caught:
        fx.operating_envelopes(parent, head, pods, node=node + parent.size)
    assert caught.value.codes == ("FX-A006",)


def test_order_of_nodes_threads_and_single_steps():
    rng = np.random.default_rng(2)
    for n in (30, 150):
        parent, head, power, _ = several_steps(rng, n)
        want = fx.operating_envelopes(parent, head, power)
        np.testing.assert_array_equal(fx.operating_envelopes(parent, head, power, n_threads=2), want)
        for t in range(9):
            one = fx.operating_envelopes(parent, head[:, t : t + 1], power[:, t : t + 1])
            np.testing.assert_array_equal(one[:, 0], want[:, t])
        shuffled = rng.permutation(parent.size)
        moved = np.where(parent[shuffled] < 0, -1, np.argsort(shuffled)[parent[shuffled]])
        have = fx.operating_envelopes(moved, head[shuffled], power[shuffled])
        np.testing.assert_allclose(have, want[shuffled], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parent": [-1, 2, 1]}, "FX-G001"),
        ({"headroom_kw": [[np.nan], [1.0], [1.0]]}, "FX-A003"),
        ({"movable_kw": [[0.0], [-1.0], [1.0]]}, "FX-A004"),
        ({"weights": [1.0, 0.0, 1.0]}, "FX-G052"),
        ({"weights": [1.0, 1.0]}, "FX-A001"),
    ],
)
def test_bad_input_is_refused_by_code(change, code):
    good = {"parent": [-1, 0, 0], "headroom_kw": [[3.0], [1.0], [9.0]], "movable_kw": [[0.0], [4.0], [4.0]]}
    assert fx.operating_envelopes(**good).ravel().tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValidationError) as caught:
        fx.operating_envelopes(**(good | change))
    assert caught.value.codes == (code,)
