import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import ValidationError
from flexcore.grid.capability import capability
from flexcore.grid.headroom import activation_rows
from tests.grid.networks import feeder, random_feeder, random_forecast, random_offers
from tests.grid.test_capability import layout_of
from tests.reference import grid_capability as reference
from tests.reference.grid_optimistic import most_by_lp, pro_rata


def totals(case):
    """Kernel result of one step for a reference case: best and pro rata per perimeter, best of all."""
    from flexcore.kernels.grid.optimistic import optimistic_totals

    pairs, last = layout_of(case), case.last()
    least = np.array([min(max(case.room[j], 0.0) for j in range(i, last[i])) for i in range(case.n)])
    rows = [np.array(values, float)[pairs.element][None].copy() for values in (case.power, case.head, least)]
    out = np.empty((1, case.n_perimeters)), np.empty((1, case.n_perimeters)), np.empty(1)
    optimistic_totals(pairs.parent, np.array(case.m)[pairs.element], pairs.label, pairs.own, pairs.top, pairs.pair_ptr,
                      pairs.pair_element, pairs.pair_k, pairs.pair_up, *rows, *out, 0, 1)  # fmt: skip
    return out[0][0], out[1][0], out[2][0]


def test_thermal_bound_is_the_linear_programme():
    rng = np.random.default_rng(1)
    limited = 0
    for _ in range(200):
        case = reference.random_case(rng, int(rng.integers(2, 12)), int(rng.integers(1, 4)), voltage=False)
        best, _, total = totals(case)
        for k in range(case.n_perimeters):
            assert best[k] == pytest.approx(most_by_lp(case, {k}), abs=1e-8)
        assert total == pytest.approx(most_by_lp(case, set(range(case.n_perimeters))), abs=1e-8)
        limited += total < sum(case.total(k) for k in range(case.n_perimeters)) - 1e-6
    assert limited > 100


def test_voltage_rows_give_an_upper_bound_and_the_order_of_the_three_holds():
    rng = np.random.default_rng(2)
    bounds, exact = [], []
    strict = 0
    for _ in range(200):
        case = reference.random_case(rng, int(rng.integers(2, 12)), int(rng.integers(1, 4)), voltage=True)
        best, shares, total = totals(case)
        for k in range(case.n_perimeters):
            lp = most_by_lp(case, {k})
            assert shares[k] == pytest.approx(pro_rata(case, k), abs=1e-9)
            assert reference.alone(case, k) <= shares[k] + 1e-8
            assert shares[k] <= lp + 1e-8
            assert lp <= best[k] + 1e-8
            strict += reference.alone(case, k) < shares[k] - 1e-6 < lp - 2e-6
        everyone = most_by_lp(case, set(range(case.n_perimeters)))
        assert everyone <= total + 1e-8
        bounds.append(total)
        exact.append(everyone)
    assert strict > 50
    # the bound is of use: over all trees it is not far from the linear programme
    assert sum(bounds) < 1.05 * sum(exact)


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_robust_is_at_most_pro_rata_is_at_most_optimistic(method):
    rng = np.random.default_rng(3)
    strict = 0
    for _ in range(25):
        grid = random_feeder(rng, 24, trees=2)
        p, q = random_forecast(rng, grid, 3)
        up, down = random_offers(rng, grid, 3)
        label = rng.integers(-1, 4, 24)
        offers = {"up_kw": up, "down_kw": down, "perimeter": label}
        joint = capability(grid, p, q, method=method, **offers)
        bound = fx.optimistic_capability(grid, joint.rows, **offers)
        for way in ("up", "down"):
            caps, shared, best, total = (
                getattr(joint, f"{way}_kw"),
                getattr(bound, f"pro_rata_{way}_kw"),
                getattr(bound, f"{way}_kw"),
                getattr(bound, f"total_{way}_kw"),
            )
            assert (caps <= shared + 1e-9).all()
            assert (shared <= best + 1e-9).all()
            assert (caps.sum(axis=0) <= total + 1e-9).all()
            assert (best <= total + 1e-9).all()
            assert (best <= getattr(joint, f"movable_{way}_kw") + 1e-9).all()
            strict += int((caps < shared - 1e-3).sum() + (shared < best - 1e-3).sum())
    assert strict > 100


def day(rng, n=30, n_steps=9):
    grid = random_feeder(rng, n, trees=2)
    p, q = random_forecast(rng, grid, n_steps)
    up, down = random_offers(rng, grid, n_steps)
    return grid, activation_rows(grid, p, q), {"up_kw": up, "down_kw": down, "perimeter": rng.integers(-1, 4, n)}


FIELDS = ("up_kw", "down_kw", "pro_rata_up_kw", "pro_rata_down_kw", "total_up_kw", "total_down_kw")


def test_threads_and_single_steps_give_the_same_bits():
    rng = np.random.default_rng(4)
    grid = random_feeder(rng, 30, trees=2)
    p, q = random_forecast(rng, grid, 9)
    up, down = random_offers(rng, grid, 9)
    label = rng.integers(-1, 4, 30)
    rows = activation_rows(grid, p, q)
    many = fx.optimistic_capability(grid, rows, up_kw=up, down_kw=down, perimeter=label)
    two = fx.optimistic_capability(grid, rows, up_kw=up, down_kw=down, perimeter=label, n_threads=2)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(many, name), getattr(two, name))
    for t in range(9):
        one = fx.optimistic_capability(
            grid,
            activation_rows(grid, p[:, t : t + 1], q[:, t : t + 1]),
            up_kw=up[:, t : t + 1],
            down_kw=down[:, t : t + 1],
            perimeter=label,
        )
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one, name)[..., 0], getattr(many, name)[..., t])


def test_the_order_of_the_nodes_does_not_matter():
    rng = np.random.default_rng(5)
    for _ in range(20):
        parent = [-1, *(int(rng.integers(0, i)) for i in range(1, 20))]
        s_max, offers = rng.uniform(4.0, 30.0, 20), rng.uniform(0.0, 6.0, (20, 2))
        label = rng.integers(-1, 3, 20)
        shuffled = rng.permutation(20)
        place = np.argsort(shuffled)
        found = []
        for order, up in (
            (np.arange(20), parent),
            (shuffled, [place[parent[i]] if parent[i] >= 0 else -1 for i in shuffled]),
        ):
            grid = feeder(up, s_max=s_max[order], r=0.05, x=0.05)
            rows = activation_rows(grid, 0 * offers, 0 * offers)
            found.append(
                fx.optimistic_capability(grid, rows, up_kw=offers[order], down_kw=offers[order], perimeter=label[order])
            )
        for name in FIELDS:
            np.testing.assert_allclose(getattr(found[1], name), getattr(found[0], name), rtol=1e-9)


def test_bad_input_is_refused_by_code():
    grid, rows, offers = day(np.random.default_rng(6))
    for change, code in (
        ({"up_kw": offers["up_kw"][:, :1]}, "FX-A001"),
        ({"down_kw": -offers["down_kw"]}, "FX-A004"),
        ({"up_kw": offers["up_kw"] * np.nan}, "FX-A003"),
        ({"perimeter": np.full(30, -2)}, "FX-A006"),
        ({"voltage_slack_pu": -1.0}, "FX-A004"),
    ):
        with pytest.raises(ValidationError) as caught:
            fx.optimistic_capability(grid, rows, **(offers | change))
        assert caught.value.codes == (code,)
