"""CHK-01: violations of an outcome and who causes them, on a feeder with two branches."""

import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from flexcore.market.grid_check import (
    BOTH,
    FORECAST,
    GLOBAL_AWARDS,
    LOADING,
    LOCAL_AWARDS,
    LOW_VOLTAGE,
    UNSOLVED,
    check_outcome,
)


def feeder(r_ohm=0.01, s_max_kva=100.0):
    """Root 10 - branch "a" - node 11 - branch "b" - node 12, 0.4 kV."""
    return Grid.from_tables(
        {"id": [10, 11, 12], "v_nom_kv": [0.4] * 3, "slack": [True, False, False]},
        {
            "id": ["a", "b"],
            "from_id": [10, 11],
            "to_id": [11, 12],
            "r_ohm": [r_ohm] * 2,
            "x_ohm": [r_ohm / 2] * 2,
            "s_max_kva": [s_max_kva, 10 * s_max_kva],
        },
    )


def at_node(node, *per_step):
    array = np.zeros((3, len(per_step)))
    array[node] = per_step
    return array


def check(grid, p, **awards):
    zero = np.zeros_like(p)
    given = {f"{side}_{way}_kw": zero for side in ("local", "global") for way in ("up", "down")}
    return check_outcome(grid, p, zero, **{**given, **awards})


@pytest.mark.rule("CHK-01")
def test_causes():
    grid = feeder()
    # rating 100; steps: nothing, forecast overload, local, global, both together, each alone, relieved by local
    p = at_node(2, 60, 120, 60, 60, 60, 60, 120)
    local_down = at_node(1, 0, 0, 60, 10, 25, 60, 0)
    local_up = at_node(1, 0, 0, 0, 0, 0, 0, 60)
    global_down = at_node(2, 0, 0, 0, 60, 25, 60, 0)
    result = check(grid, p, local_down_kw=local_down, local_up_kw=local_up, global_down_kw=global_down)
    rows = list(zip(result.step, result.kind, result.element, result.cause, strict=True))
    assert rows == [
        (1, LOADING, 0, FORECAST),
        (2, LOADING, 0, LOCAL_AWARDS),
        (3, LOADING, 0, GLOBAL_AWARDS),
        (4, LOADING, 0, BOTH),
        (5, LOADING, 0, BOTH),
    ]
    assert result.counts() == {"forecast": 1, "local": 1, "global": 1, "both": 2}
    assert (result.value > 1).all()
    assert (result.limit == 1).all()
    assert (result.before[1:] < 0.7).all()
    assert result.before[0] == result.value[0]
    assert not result.status.any()
    # the value is the AC loading of forecast and awards
    whole = power_flow(grid, p - local_up + local_down + global_down, np.zeros_like(p), method="ac")
    assert result.value.tolist() == whole.loading[0, 1:6].tolist()
    assert result.by_cause(BOTH).step.tolist() == [4, 5]


@pytest.mark.rule("CHK-01")
def test_voltage_and_its_cause():
    grid = feeder(r_ohm=0.08, s_max_kva=1e9)
    p = at_node(2, 40.0, 60.0)
    result = check(grid, p, global_down_kw=at_node(2, 60.0, 0.0))
    assert [
        (s, k, e, c) for s, k, e, c in zip(result.step, result.kind, result.element, result.cause, strict=True)
    ] == [(0, LOW_VOLTAGE, 2, GLOBAL_AWARDS)]
    assert result.limit[0] == 0.9
    assert result.value[0] < 0.9 < result.before[0]


def test_reactive_power_of_awards_counts():
    grid = feeder()
    p = at_node(2, 60.0)
    assert check(grid, p).n_violations == 0
    result = check(grid, p, local_q_kvar=at_node(2, 100.0))
    assert result.cause.tolist() == [LOCAL_AWARDS]


@pytest.mark.rule("CHK-01")
def test_a_step_without_a_solution_is_listed():
    grid = feeder(r_ohm=0.1, s_max_kva=1e9)
    p = at_node(2, 10.0, 10_000.0, 10.0)
    result = check(grid, p, global_down_kw=at_node(2, 0.0, 0.0, 10_000.0))
    unsolved = result.kind == UNSOLVED
    assert result.step[unsolved].tolist() == [1, 2]
    assert result.cause[unsolved].tolist() == [FORECAST, GLOBAL_AWARDS]
    assert result.element[unsolved].tolist() == [-1, -1]
    assert result.status.tolist() == [0, 1, 1]


def test_table_names_elements():
    grid = feeder()
    result = check(grid, at_node(2, 60.0, 120.0))
    row = result.to_arrow(branch_ids=grid.branch_ids, node_ids=grid.node_ids).to_pylist()[0]
    assert (row["element"], row["element_id"], row["step"], row["cause"]) == ("branch", "a", 1, "forecast")
    assert check(grid, at_node(2, 60.0)).to_arrow().num_rows == 0


def test_steps_alone_and_threads_give_the_same_bits():
    grid = feeder()
    rng = np.random.default_rng(0)
    p, down = rng.uniform(0, 80, (2, 3, 40))
    p[0] = down[0] = 0.0
    zero = np.zeros_like(p)
    names = ("local_up_kw", "local_down_kw", "global_up_kw")
    one = check_outcome(grid, p, zero, **dict.fromkeys(names, zero), global_down_kw=down)
    two = check_outcome(grid, p, zero, **dict.fromkeys(names, zero), global_down_kw=down, n_threads=2)
    assert one.n_violations > 3
    for name in ("step", "kind", "element", "value", "limit", "before", "cause"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    t = int(one.step[-1])
    alone = check(grid, p[:, [t]], global_down_kw=down[:, [t]])
    assert alone.value.tolist() == one.value[one.step == t].tolist()


def test_wrong_arguments_are_typed_errors():
    grid = feeder()
    p = at_node(2, 1.0)
    with pytest.raises(ValidationError) as error:
        check(grid, p, local_up_kw=-p)
    assert error.value.codes == ("FX-A004",)
    with pytest.raises(ValidationError) as error:
        check(grid, p, global_up_kw=np.zeros((3, 2)))
    assert error.value.codes == ("FX-A001",)
    with pytest.raises(ValidationError) as error:
        check(grid, p * np.nan)
    assert error.value.codes == ("FX-A003",)
