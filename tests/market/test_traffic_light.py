"""Colours and capabilities of the Dynamic Traffic Light, and the red that local awards cause."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OptionError, TimeSeriesError, ValidationError
from flexcore.grid.network import Grid
from flexcore.market.slots import Slots
from flexcore.market.traffic_light import (
    GREEN,
    NOT_LIMITED,
    RED,
    RULE,
    SHARED,
    THERMAL,
    YELLOW,
    below_relieved,
    movable_power,
    relieved_elements,
    traffic_light,
)
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

DAY = MarketDay("2026-05-20")


def capability(up_kw, down_kw, movable_kw=10.0, n_steps=96, kind=THERMAL):
    """A capability that is the same in every step: one value per perimeter and direction."""

    def wide(values, dtype=float):
        return np.repeat(np.atleast_1d(np.asarray(values, dtype))[:, None], n_steps, axis=1)

    n = np.atleast_1d(up_kw).size
    fields = {"up_kw": wide(up_kw), "down_kw": wide(down_kw)}
    for way in ("up", "down"):
        fields[f"movable_{way}_kw"] = wide(np.broadcast_to(movable_kw, n))
        fields[f"kind_{way}"] = wide([kind] * n, np.uint8)
        fields[f"binding_{way}"] = wide(range(n), np.int32)
        fields[f"at_node_{way}"] = wide([False] * n, bool)
        fields[f"margin_{way}_kw"] = wide([1.5] * n)
    return SimpleNamespace(**fields)


def radial(parents):
    """A grid whose node i + 1 hangs on node parents[i]; node ids are positions."""
    n = len(parents) + 1
    return Grid.from_tables(
        {"id": np.arange(n), "v_nom_kv": np.full(n, 20.0), "slack": np.arange(n) == 0},
        {
            "id": np.arange(n - 1),
            "from_id": np.array(parents),
            "to_id": np.arange(1, n),
            "r_ohm": np.full(n - 1, 0.1),
            "x_ohm": np.full(n - 1, 0.1),
        },
    )


@pytest.mark.rule("DTL-01")
def test_colours():
    cap = capability([10.0, 4.0, 0.0, 0.0], [10.0, 10.0, 10.0, 0.0], movable_kw=[10.0, 10.0, 10.0, 0.0])
    light = traffic_light(cap, DAY, session=1, version=1)
    assert light.colour.shape == (2, 4, 24)
    assert light.colour[UP, :, 5].tolist() == [GREEN, YELLOW, RED, GREEN]
    assert light.colour[DOWN, :, 5].tolist() == [GREEN, GREEN, GREEN, GREEN]
    assert light.capability_w[UP, :, 5].tolist() == [10_000, 4_000, 0, 0]
    assert light.kind[UP, :, 5].tolist() == [NOT_LIMITED, THERMAL, THERMAL, NOT_LIMITED]
    assert light.binding[UP, :, 5].tolist() == [-1, 1, 2, -1]
    # a tolerance turns a small capability red, and red publishes nothing
    light = traffic_light(cap, DAY, session=1, version=2, tol_w=4_000)
    assert light.colour[UP, 1, 0] == RED
    assert light.capability_w[UP, 1, 0] == 0


def test_capability_is_rounded_down_but_not_by_the_last_bits():
    light = traffic_light(capability([3.9999, 9.999999999], [2.9999999999999996, 0.0009]), DAY, session=1, version=1)
    assert light.capability_w[UP, :, 0].tolist() == [3_999, 10_000]
    assert light.capability_w[DOWN, :, 0].tolist() == [3_000, 0]
    assert light.colour[:, :, 0].tolist() == [[YELLOW, GREEN], [YELLOW, RED]]


@pytest.mark.rule("DTL-02")
def test_figure_14_a_reduction_of_consumption_makes_the_increase_red():
    local = np.zeros((2, 96), int)
    local[0, 40:44] = 500  # the DSO reduces consumption in perimeter 0 in one hour
    light = traffic_light(capability([4.0, 4.0], [4.0, 4.0]), DAY, session=1, version=1, local_up_w=local)
    assert light.colour[DOWN, 0, 10] == RED  # increase of consumption
    assert light.kind[DOWN, 0, 10] == RULE
    assert light.margin_kw[DOWN, 0, 10] == 0
    assert light.colour[UP, 0, 10] == YELLOW  # the concordant direction keeps its capability
    assert light.capability_w[UP, 0, 10] == 4_000
    assert (light.colour[DOWN, 0, [9, 11]] == YELLOW).all()
    assert (light.colour[:, 1] == YELLOW).all()
    both = traffic_light(
        capability([4.0, 4.0], [4.0, 4.0]), DAY, session=1, version=1, local_up_w=local, local_down_w=local
    )
    assert (both.colour[:, 0, 10] == RED).all()
    # nothing to move is green unless red by rule
    none = traffic_light(capability([0.0], [0.0], movable_kw=0.0), DAY, session=1, version=1, local_up_w=local[:1])
    assert none.colour[:, 0, 10].tolist() == [GREEN, RED]
    assert none.colour[:, 0, 9].tolist() == [GREEN, GREEN]


@pytest.mark.rule("DTL-02")
def test_a_sibling_perimeter_below_the_relieved_element_turns_red():
    # 0 root - 1 - {2, 3}; 0 - 4: branch to 1 is overloaded and relieved at node 2
    grid = radial([0, 1, 1, 0])
    award, need = np.zeros((5, 96)), np.zeros((5, 96))
    award[2, 8] = 1.0
    need[1, 8:12] = 3.0
    relieved = relieved_elements(grid.forest, award, need)
    assert np.argwhere(relieved).tolist() == [[1, 8]]
    perimeter = [-1, -1, 0, 1, 2]
    marked = below_relieved(grid.forest, relieved, perimeter, np.ones((5, 96)), 3)
    assert np.argwhere(marked).tolist() == [[0, 8], [1, 8]]
    still = np.ones((5, 96))
    still[3] = 0.0  # nothing to move at node 3
    assert np.argwhere(below_relieved(grid.forest, relieved, perimeter, still, 3)).tolist() == [[0, 8]]
    light = traffic_light(capability([4.0] * 3, [4.0] * 3), DAY, session=1, version=1, relieved_up=marked)
    assert light.colour[DOWN, :, 2].tolist() == [RED, RED, YELLOW]
    assert light.colour[UP, :, 2].tolist() == [YELLOW] * 3


def test_a_voltage_need_is_relieved_by_the_smallest_subtree_with_an_award():
    # 0 - 1 - 2 - 3 and 1 - 4, 0 - 5; node 3 is too low
    grid = radial([0, 1, 2, 1, 0])
    voltage, none = np.zeros((6, 1)), np.zeros((6, 1))
    voltage[3] = 1.0
    for at, element in ((3, 3), (2, 2), (4, 1), (1, 1)):
        award = np.zeros((6, 1))
        award[at] = 1.0
        assert np.flatnonzero(relieved_elements(grid.forest, award, none, voltage)).tolist() == [element]
    award = np.zeros((6, 1))
    award[5] = 1.0  # another feeder of the root holds no element in common
    assert not relieved_elements(grid.forest, award, none, voltage).any()
    award[5], award[4] = 0.0, 1.0
    area = [-1, -1, 0, 0, 1, 2]
    assert not relieved_elements(grid.forest, award, none, voltage, area=area).any()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9))
def test_relieved_and_below_equal_climbing(seed):
    rng = np.random.default_rng(seed)
    n, n_steps, n_perimeters = 9, 3, 3
    parents = [int(rng.integers(0, i + 1)) for i in range(n - 1)]
    grid = radial(parents)
    up = [-1, *parents]

    def path(i):
        while i >= 0:
            yield i
            i = up[i]

    award, thermal, voltage, moves = rng.random((4, n, n_steps)) < 0.3
    area = rng.integers(0, 2, n)
    label = rng.integers(-1, n_perimeters, n)
    relieved = relieved_elements(grid.forest, award, thermal, voltage, area=area, n_threads=2)
    marked = below_relieved(grid.forest, relieved, label, moves, n_perimeters, n_threads=2)
    for t in range(n_steps):
        below = {j for i in range(n) if award[i, t] for j in path(i)}
        expected = {i for i in range(1, n) if thermal[i, t] and i in below}
        for i in np.flatnonzero(voltage[:, t]):
            for j in path(i):
                if area[j] != area[i]:
                    break
                if j in below:
                    expected |= {j} - {0}
                    break
        assert set(np.flatnonzero(relieved[:, t])) == expected
        inside = {i for i in range(n) if moves[i, t] and expected & set(path(i))}
        assert set(np.flatnonzero(marked[:, t])) == {label[i] for i in inside} - {-1}


@pytest.mark.parametrize(("date", "n_steps"), [("2026-03-29", 92), ("2026-10-25", 100)])
def test_clock_change_days_have_23_and_25_hours(date, n_steps):
    day = MarketDay(date)
    light = traffic_light(capability([4.0], [4.0], n_steps=n_steps), day, session=1, version=1)
    assert light.n_units == n_steps // 4
    assert light.capability_of_steps().shape == (2, 1, n_steps)
    with pytest.raises(TimeSeriesError) as error:
        traffic_light(capability([4.0], [4.0]), day, session=1, version=1)
    assert error.value.codes == ("FX-T002",)


def test_the_hour_takes_its_least_quarter():
    cap = capability([10.0], [10.0])
    cap.up_kw[0, 4:8] = [8.0, 3.0, 5.0, 3.0]
    cap.kind_up[0, 5] = SHARED
    cap.binding_up[0, 5] = 7
    cap.margin_up_kw[0, 5] = 0.25
    light = traffic_light(cap, DAY, session=1, version=1)
    assert light.capability_w[UP, 0, :3].tolist() == [10_000, 3_000, 10_000]
    assert (light.kind[UP, 0, 1], light.binding[UP, 0, 1], light.margin_kw[UP, 0, 1]) == (SHARED, 7, 0.25)
    quarters = traffic_light(cap, DAY, session=1, version=1, mtu="quarter")
    assert quarters.capability_w[UP, 0, 4:8].tolist() == [8_000, 3_000, 5_000, 3_000]
    assert np.array_equal(quarters.capability_of_steps(), quarters.capability_w)


@pytest.mark.rule("DTL-01")
def test_movable_power_counts_globally_held_pods_but_not_locally_held_ones():
    slots = Slots(4, 2)
    slots.hold(LOCAL, [0], np.ones(2, bool))
    slots.hold(GLOBAL, [1], np.ones(2, bool))
    power = np.array([[1, 1], [2, 2], [4, 5], [8, 8]])
    assert movable_power(slots, power, [0, 0, 1, -1], 2).tolist() == [[2, 2], [4, 5]]


@pytest.mark.rule("DTL-05")
@pytest.mark.rule("DTL-04")
def test_published_table():
    cap = capability([4.0, 10.0], [4.0, 10.0])
    cap.at_node_down[0] = True
    first = traffic_light(cap, DAY, session=2, version=2)
    table = first.to_arrow(perimeter_ids=["P1", "P2"], branch_ids=["line", "other"], node_ids=["bus", "x"])
    rows = table.to_pylist()
    assert len(rows) == 2 * 2 * 24
    row = rows[0]
    assert row == {
        "session": 2,
        "version": 2,
        "perimeter": "P1",
        "direction": "up",
        "hour": 0,
        "colour": "yellow",
        "capability_w": 4_000,
        "movable_w": 10_000,
        "kind": "thermal",
        "binding_element": "branch",
        "binding_id": "line",
        "margin_kw": 1.5,
    }
    down = next(row for row in rows if row["direction"] == "down" and row["perimeter"] == "P1")
    assert (down["binding_element"], down["binding_id"]) == ("node", "bus")
    green = next(row for row in rows if row["perimeter"] == "P2")
    assert (green["colour"], green["binding_id"], green["kind"]) == ("green", "", "none")
    assert first.to_arrow(units=slice(4, 24)).num_rows == 2 * 2 * 20
    # the next session may publish other perimeters under the next version
    second = traffic_light(capability([4.0], [4.0]), DAY, session=3, version=3)
    assert (second.version, second.n_perimeters) == (3, 1)


def test_wrong_arguments_are_typed_errors():
    cap = capability([4.0], [4.0])
    for wrong, code in (
        ({"version": 0}, "FX-A006"),
        ({"local_up_w": np.zeros((2, 96))}, "FX-A001"),
        ({"movable_up_w": np.full((1, 96), -1)}, "FX-A004"),
    ):
        with pytest.raises(ValidationError) as error:
            traffic_light(cap, DAY, **{"session": 1, "version": 1, **wrong})
        assert error.value.codes == (code,)
    with pytest.raises(OptionError):
        traffic_light(cap, DAY, session=1, version=1, mtu="day")
