"""Prices against finite differences of the filling: of the kernel, and of the public rows."""

from dataclasses import replace

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import ValidationError
from flexcore.grid.shadow_prices import prices_of_rows
from tests.grid.networks import feeder
from tests.grid.test_capability import layout_of, random_day, shared
from tests.reference import grid_capability as reference
from tests.reference.grid_capability import Case


def arguments_of(case):
    pairs, last = layout_of(case), case.last()
    least = np.array([min(max(case.room[j], 0.0) for j in range(i, last[i])) for i in range(case.n)])
    rows = [np.array(values, float)[pairs.element][None].copy() for values in (case.power, case.head, least)]
    return pairs, np.array(case.m)[pairs.element], *rows


def prices(case, weights):
    """Price and doubt of each limit, {(is voltage, node): ...}; a path room belongs to its least roomy node."""
    speeds = None if weights is None else np.array([weights])
    arguments, last = arguments_of(case), case.last()
    found = prices_of_rows(*arguments, weights=speeds, n_threads=1)
    price = {(way, i): 0.0 for way in (False, True) for i in range(case.n)}
    doubt = dict.fromkeys(price, False)
    for place, i in enumerate(arguments[0].element):
        holder = min(range(i, last[i]), key=lambda j: max(case.room[j], 0.0))
        for key, value, unsure in (((False, int(i)), found[0], found[2]), ((True, holder), found[1], found[3])):
            price[key] += value[0, place]
            doubt[key] |= bool(unsure[0, place])
    return price, doubt


def total_with(case, weights, key, more):
    rooms = list(case.room if key[0] else case.head)
    rooms[key[1]] += more
    return shared(replace(case, **{"room" if key[0] else "head": rooms}), weights=weights).cap.sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("voltage", [False, True])
def test_prices_are_the_derivative_of_the_filling(voltage, weighted):
    """Every row of every tree, also those without a price; differences to both sides must agree with it."""
    rng = np.random.default_rng(10 + 2 * voltage + weighted)
    priced = rows_seen = shared_rows = negative = one_sided = 0
    for _ in range(150):
        case = reference.random_case(rng, int(rng.integers(3, 13)), int(rng.integers(2, 6)), voltage=voltage)
        weights = rng.uniform(0.2, 3.0, case.n_perimeters).tolist() if weighted else None
        price, doubt = prices(case, weights)
        kinds = shared(case, weights=weights).kind[0]
        for key, worth in price.items():
            room = (case.room if key[0] else case.head)[key[1]]
            if not 1e-3 < room < np.inf:
                assert worth == 0.0
                continue
            step = 1e-6
            here = total_with(case, weights, key, 0.0)
            ahead = (total_with(case, weights, key, step) - here) / step
            back = (here - total_with(case, weights, key, -step)) / step
            rows_seen += 1
            if doubt[key]:
                one_sided += 1
                assert min(ahead, back) - 1e-4 <= worth <= max(ahead, back) + 1e-4
                continue
            assert worth == pytest.approx(ahead, abs=2e-4, rel=2e-4), key
            assert worth == pytest.approx(back, abs=2e-4, rel=2e-4), key
            priced += worth != 0
            negative += worth < -1e-3
        shared_rows += (kinds == 3).any()
    assert rows_seen > 300
    assert priced > 80
    assert shared_rows > 30
    assert one_sided < 0.05 * rows_seen
    if not voltage and weighted:
        assert negative > 0


def two_in_series(first, second):
    """Two perimeters below two branches in series, a third perimeter beside them."""
    return Case([-1, 0, 1, 2, 2], [0.0] * 5, [0, 0, 0, 9, 9], [-1, -1, -1, 0, 1], [np.inf, first, second, 9, 9],
                [np.inf] * 5)  # fmt: skip


def test_a_second_limit_at_the_same_level_makes_the_price_one_sided():
    price, doubt = prices(two_in_series(6.0, 8.0), None)
    assert price[False, 1] == pytest.approx(1.0)
    assert not doubt[False, 1]
    price, doubt = prices(two_in_series(6.0, 6.0), None)
    assert [price[False, 1], price[False, 2]] == pytest.approx([1.0, 0.0])
    assert doubt[False, 1]
    single = replace(two_in_series(6.0, 6.0), label=[-1, -1, -1, 0, 0])
    price, doubt = prices(single, None)
    assert price[False, 1] + price[False, 2] == pytest.approx(1.0)
    assert any(doubt[False, i] for i in (1, 2))


def test_more_room_for_one_may_cost_the_sum():
    """The branch of perimeter 0 sets its speed: with more of it, 0 takes from 1 what the far voltage counts double."""
    case = Case([-1, 0, 1, 1], [0.0, 1.0, 9.0, 0.0], [0, 0, 9, 9], [-1, -1, 0, 1], [np.inf, np.inf, 2.0, 9.0],
                [np.inf, np.inf, 25.0, np.inf])  # fmt: skip
    price, _ = prices(case, None)
    level = 25.0 / 29.0
    assert price[False, 2] == pytest.approx(level * (1.0 - 11.0 * 10.0 / 29.0))
    assert price[True, 2] == pytest.approx(11.0 / 29.0)
    assert prices(case, [2.0, 9.0])[0][False, 2] == 0.0


def case_of(grid, rows, power, label, upward, step):
    f = grid.forest
    head, room = (rows.upper_kw, rows.w_upper) if upward else (-rows.lower_kw, -rows.w_lower)
    return Case(f.parent.tolist(), rows.m[f.order].tolist(), power[f.order, step].tolist(), label[f.order].tolist(),
                head[f.order, step].tolist(), room[f.order, step].tolist())  # fmt: skip


def test_public_prices_are_those_of_the_rows():
    rng = np.random.default_rng(30)
    found = nodes = 0
    for _ in range(40):
        grid, p, q, up, down, label = random_day(rng, size=1.0, impedance=1.0)
        rows = fx.capability(grid, p, q, up_kw=up, down_kw=down, perimeter=label, method="linear").rows
        result = fx.shadow_prices(grid, rows, up_kw=up, down_kw=down, perimeter=label)
        two = fx.shadow_prices(grid, rows, up_kw=up, down_kw=down, perimeter=label, n_threads=2)
        for name in ("kind", "element", "step", "direction", "price", "per_pu", "both_sides"):
            np.testing.assert_array_equal(getattr(result, name), getattr(two, name))
        assert result.to_arrow().num_rows == len(result)
        for at in range(len(result)):
            upward, step = result.direction[at] == 0, result.step[at]
            case = case_of(grid, rows, up if upward else down, label, upward, step)
            price, _ = prices(case, None)
            if result.kind[at] == 1:
                node = result.element[at]
                assert grid.node_ids[node] == result.element_id[at]
                # the room of a squared voltage with the limit itself moved outward
                tau = grid.forest.tau[grid.forest.rank[node]]
                limit = grid.v_max_pu[node] if upward else -grid.v_min_pu[node]
                moved = tau * ((limit + 1e-7) ** 2 - limit**2) * (1.0 if upward else -1.0)
                assert result.per_pu[at] * 1e-7 == pytest.approx(result.price[at] * moved, rel=1e-5)
                nodes += 1
            else:
                node = grid.forest.order[np.flatnonzero(grid.forest.branch == result.element[at])[0]]
                assert grid.branch_ids[result.element[at]] == result.element_id[at]
                assert np.isnan(result.per_pu[at])
            key = (bool(result.kind[at]), int(grid.forest.rank[node]))
            assert result.price[at] == pytest.approx(price[key], rel=1e-6, abs=1e-9)
            found += 1
    assert found > 60
    assert nodes > 15


def test_weights_are_those_of_the_capability_and_bad_ones_are_refused():
    grid = feeder([-1, 0, 1, 1], s_max=[0, 50.0, np.inf, np.inf], r=1e-6, x=1e-6)
    offers = np.array([[0.0], [0.0], [40.0], [40.0]])
    rows = fx.capability(grid, 0 * offers, 0 * offers, up_kw=offers, down_kw=offers, perimeter=[-1, -1, 0, 1]).rows
    common = {"up_kw": offers, "down_kw": offers, "perimeter": [-1, -1, 0, 1]}
    result = fx.shadow_prices(grid, rows, weights=[1.0, 3.0], **common)
    assert result.element_id.tolist() == ["b1", "b1"]
    assert result.price == pytest.approx([1.0, 1.0])
    assert result.both_sides.all()
    with pytest.raises(ValidationError) as caught:
        fx.shadow_prices(grid, rows, weights=[1.0, 0.0], **common)
    assert caught.value.codes == ("FX-G052",)
    assert len(fx.shadow_prices(grid, rows, up_kw=0 * offers, down_kw=0 * offers, perimeter=[-1] * 4)) == 0
