import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.grid.needs import find_needs
from tests.grid.networks import feeder, random_feeder, random_forecast
from tests.grid.test_headroom import subtree_of

pytestmark = pytest.mark.rule("NEED-01")


def test_overload_and_export_by_hand():
    grid = feeder([-1, 0, 0], s_max=[0, 3.0, 3.0], r=1e-7, x=1e-7)
    p = np.array([[0.0, 0.0], [5.0, 1.0], [1.0, -4.5]])
    needs = find_needs(grid, p, 0 * p)
    assert len(needs) == 2
    assert needs.kind.tolist() == [0, 0]
    assert needs.element_id.tolist() == ["b1", "b2"]
    assert needs.step.tolist() == [0, 1]
    assert needs.direction.tolist() == [0, 1]
    assert needs.need_kw == pytest.approx([2.0, 1.5], abs=1e-5)
    assert needs.loading == pytest.approx([5 / 3, 1.5], rel=1e-5)
    assert np.isnan(needs.gap_pu).all()
    assert needs.reachable.all()
    assert needs.n_up.tolist() == [1, 0]
    assert needs.n_down.tolist() == [0, 1]


def test_voltage_by_hand():
    grid = feeder([-1, 0, 1], r=0.5, x=1e-9, v_min=0.96, v_max=1.02)
    p = np.array([[0.0, 0.0], [10.0, 0.0], [80.0, -60.0]])
    needs = find_needs(grid, p, 0 * p, loss_sweeps=0)
    low = np.sqrt([1 - 1e-3 * 90, 1 - 1e-3 * 170])
    high = np.sqrt([1 + 1e-3 * 60, 1 + 1e-3 * 120])
    assert needs.kind.tolist() == [1, 1, 1, 1]
    assert needs.element_id.tolist() == ["n1", "n1", "n2", "n2"]
    assert needs.step.tolist() == [0, 1, 0, 1]
    assert needs.direction.tolist() == [0, 1, 0, 1]
    assert needs.gap_pu == pytest.approx([0.96 - low[0], high[0] - 1.02, 0.96 - low[1], high[1] - 1.02])
    # at the node itself: m of its whole path
    assert needs.need_kw[0] == pytest.approx((0.96**2 - low[0] ** 2) / 1e-3)
    assert needs.need_kw[2] == pytest.approx((0.96**2 - low[1] ** 2) / 2e-3)
    assert np.isnan(needs.loading).all()


def test_the_need_removes_the_violation():
    rng = np.random.default_rng(2)
    met = 0
    for _ in range(40):
        grid = random_feeder(rng, 10)
        p, q = random_forecast(rng, grid, 2, size=25.0)
        needs = find_needs(grid, p, q, loss_sweeps=0)
        for kind, element, step, way, need, fine in zip(
            needs.kind, needs.element, needs.step, needs.direction, needs.need_kw, needs.reachable, strict=True
        ):
            if not fine:
                continue
            if kind == 1:
                node = element
            else:
                node = next(grid.forest.order[i] for i, e in enumerate(grid.forest.branch) if e == element)
            # the branch limit sits at the voltage of the forecast, which the activation moves too
            for factor, gone in ((1.15, True), (0.9, False)):
                relieved = p.copy()
                relieved[node, step] += need * factor * (1 if way == 1 else -1)
                again = find_needs(grid, relieved, q, loss_sweeps=0)
                same = (again.kind == kind) & (again.element == element) & (again.step == step)
                assert (same & (again.direction == way)).any() != gone
            met += 1
    assert met > 60


def test_rows_and_entries_agree():
    rng = np.random.default_rng(8)
    grid = random_feeder(rng, 14, trees=2)
    p, q = random_forecast(rng, grid, 6, size=25.0)
    needs = find_needs(grid, p, q)
    branch = needs.kind == 0
    assert branch.any()
    assert (~branch).any()
    assert (needs.rows.lower_kw > 1e-6).sum() + (needs.rows.upper_kw < -1e-6).sum() == branch.sum()
    assert needs.n_up.sum() + needs.n_down.sum() == len(needs)
    assert (needs.rows.w_lower > 0).sum() + (needs.rows.w_upper < 0).sum() == (~branch).sum()
    # the subtree sum that a branch need speaks of is that of the node it feeds
    p_lossless = subtree_of(grid, p)
    for i in np.flatnonzero(branch & (needs.direction == 0)):
        node = next(grid.forest.order[j] for j, e in enumerate(grid.forest.branch) if e == needs.element[i])
        assert p_lossless[node, needs.step[i]] > 0


def test_reactive_overload_cannot_be_reached():
    grid = feeder([-1, 0, 0], s_max=[0, 3.0, 3.0], r=1e-7, x=1e-7)
    p, q = np.array([[0.0], [1.0], [0.0]]), np.array([[0.0], [4.0], [4.0]])
    needs = find_needs(grid, p, q)
    assert needs.element_id.tolist() == ["b1", "b2"]
    assert needs.reachable.tolist() == [False, False]
    assert needs.need_kw == pytest.approx([1.0, 0.0], abs=1e-5)
    assert needs.rows.lower_kw[1, 0] == pytest.approx(needs.rows.upper_kw[1, 0], abs=1e-5)


def test_a_branch_that_may_carry_nothing_and_carries_nothing_has_no_need():
    grid = feeder([-1, 0, 1], s_max=[0, 30.0, 0.0])
    still, moved = np.zeros((3, 1)), np.array([[0.0], [1.0], [2.0]])
    assert len(find_needs(grid, still, still)) == 0
    needs = find_needs(grid, moved, still)
    assert needs.element_id.tolist() == ["b2"]
    assert needs.need_kw == pytest.approx([2.0], rel=1e-3)


def test_no_need_gives_an_empty_table():
    grid = feeder([-1, 0], s_max=30.0)
    needs = find_needs(grid, [[0.0], [1.0]], [[0.0], [0.0]])
    assert len(needs) == 0
    assert needs.to_arrow().num_rows == 0
    assert needs.n_up.tolist() == [0]


def test_to_arrow_names_elements_and_leaves_what_does_not_apply_empty():
    grid = feeder([-1, 0], s_max=3.0, r=20.0, x=1e-6, v_min=0.95)
    row = find_needs(grid, [[0.0], [4.0]], [[0.0], [0.0]]).to_arrow().to_pylist()
    assert [entry["kind"] for entry in row] == ["branch", "node"]
    assert [entry["id"] for entry in row] == ["b1", "n1"]
    assert row[0]["gap_pu"] is None
    assert row[1]["loading"] is None
    assert row[0]["direction"] == row[1]["direction"] == "up"


def test_bad_input_is_refused_by_code():
    grid = feeder([-1, 0])
    with pytest.raises(ValidationError) as caught:
        find_needs(grid, [[0.0], [np.inf]], [[0.0], [0.0]])
    assert caught.value.codes == ("FX-A003",)
