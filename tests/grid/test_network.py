import copy
import dataclasses
import pickle

import numpy as np
import pyarrow as pa
import pytest

from flexcore.errors import GridError, UnknownIdError
from flexcore.grid.network import Grid
from tests.reference.grid_power_flow import random_network


def two_levels():
    nodes = {"id": [10, 20, 30, 40], "v_nom_kv": [20.0, 20.0, 20.0, 0.4], "slack": [False, True, False, False]}
    nodes |= {"g_us": [0.0, 0.0, 0.0, 1000.0], "b_us": [0.0, 0.0, 50.0, 0.0]}
    branches = {
        "id": ["a", "b", "t"],
        "from_id": [10, 20, 40],
        "to_id": [20, 30, 30],
        "r_ohm": [0.4, 0.8, 2.0],
        "x_ohm": [0.2, 0.4, 8.0],
        "b_us": [10.0, 0.0, 0.0],
        "ratio": [1.0, 1.0, 1.05],
        "shift_deg": [0.0, 0.0, 150.0],
        "s_max_kva": [100.0, 200.0, 50.0],
    }
    return nodes, branches


def codes(nodes, branches):
    with pytest.raises(GridError) as caught:
        Grid.from_tables(nodes, branches)
    return caught.value


def test_hand_worked_forest():
    grid = Grid.from_tables(*two_levels())
    forest = grid.forest
    assert repr(grid) == "Grid(4 nodes, 3 branches, 1 trees)"
    # branches are followed in the order of the table: 20 feeds 10 by a, then 30 by b, which feeds 40 by t
    assert grid.node_ids[forest.order].tolist() == [20, 10, 30, 40]
    assert forest.rank.tolist() == [1, 0, 2, 3]
    assert forest.parent.tolist() == [-1, 0, 0, 2]
    assert forest.last.tolist() == [4, 2, 4, 4]
    assert forest.branch.tolist() == [-1, 0, 1, 2]
    assert forest.forward.tolist() == [False, False, True, False]
    assert forest.heads.tolist() == [1, 2]
    # 1 kVA: z_base = v^2 / S = 400 kohm at 20 kV
    np.testing.assert_allclose(forest.r_pu[1:3], [0.4 / 400e3, 0.8 / 400e3])
    # t is declared upward: the child stands at its transformer side, so ohm of the 20 kV side move through ratio^2
    np.testing.assert_allclose(forest.r_pu[3], 2.0 / 400e3 * 1.05**2)
    np.testing.assert_allclose(forest.tau, [1, 1, 1, 1 / 1.05**2])
    np.testing.assert_allclose(forest.shift_deg, [0, 0, 0, -150])
    np.testing.assert_allclose(forest.r_scaled[3], 2.0 / 400e3)
    # 10 uS at 20 kV take 4 kvar at 1 pu, half at each end; 1000 uS at 0.4 kV take 0.16 kW
    np.testing.assert_allclose(forest.b_pu, [2, 2, 20, 0])
    np.testing.assert_allclose(forest.g_pu, [0, 0, 0, 0.16])
    np.testing.assert_allclose(forest.g_dc_pu, [0, 0, 0, 0.16])


def test_defaults_and_limits():
    nodes, branches = two_levels()
    grid = Grid.from_tables(nodes, branches)
    assert grid.v_min_pu.tolist() == [0.9] * 4
    assert grid.v_max_pu.tolist() == [1.1] * 4
    assert grid.base_p_kw.tolist() == [0.0] * 4
    assert grid.s_max_reverse_kva.tolist() == [100.0, 200.0, 50.0]
    branches["s_max_reverse_kva"] = [np.inf, 10.0, 20.0]
    assert Grid.from_tables(nodes, branches).s_max_reverse_kva.tolist() == [np.inf, 10.0, 20.0]
    branches["s_max_reverse_kva"] = [np.nan, 10.0, np.nan]  # NaN: as forward
    assert Grid.from_tables(nodes, branches).s_max_reverse_kva.tolist() == [100.0, 10.0, 50.0]
    branches["s_max_reverse_kva"] = [np.inf, 10.0, 20.0]
    del branches["s_max_kva"]
    assert Grid.from_tables(nodes, branches).s_max_kva.tolist() == [np.inf] * 3


def test_arrow_tables_give_the_same_network():
    nodes, branches = two_levels()
    plain, arrow = Grid.from_tables(nodes, branches), Grid.from_tables(pa.table(nodes), pa.table(branches))
    np.testing.assert_array_equal(plain.forest.r_scaled, arrow.forest.r_scaled)
    assert plain.branch_ids.tolist() == arrow.branch_ids.tolist()


def test_ids_give_positions():
    grid = Grid.from_tables(*two_levels())
    assert grid.node_index([40, 10, 40]).tolist() == [3, 0, 3]
    assert grid.node_index(20) == 1
    assert grid.branch_index(["t", "a"]).tolist() == [2, 0]
    assert grid.node_index([]).size == 0
    for bad in ([10, 99], ["x"], [[11]]):
        with pytest.raises(UnknownIdError) as caught:
            grid.node_index(bad)
        assert caught.value.codes == ("FX-G011",)
    with pytest.raises(UnknownIdError, match="99"):
        grid.node_index(np.array([10, 99], object))
    assert grid.node_index(np.array([10, np.int32(40)], object)).tolist() == [0, 3]
    for bad in (10.5, "x", None, 2**70):  # never converted to a key
        with pytest.raises(UnknownIdError) as caught:
            grid.node_index(np.array([10, bad], object))
        assert caught.value.findings[0].rows == (1,)
    with pytest.raises(KeyError):
        grid.branch_index(["nobody"])


def test_ids_of_any_type_are_found_exactly_or_unknown():
    nodes = {"id": [2**60 + 1, 2**60 + 2, -5], "v_nom_kv": [1.0] * 3, "slack": [True, False, False]}
    ends = {"from_id": [2**60 + 1, 2**60 + 2], "to_id": [2**60 + 2, -5]}
    grid = Grid.from_tables(nodes, {"id": ["a", "b"], "r_ohm": [1.0] * 2, "x_ohm": [1.0] * 2, **ends})
    assert grid.node_index(np.array([2**60 + 2, 2**60 + 1], np.uint64)).tolist() == [1, 0]
    for call in (
        lambda: grid.node_index(np.array([2**64 - 5], np.uint64)),  # not -5
        lambda: grid.branch_index(np.array(["2020-01-01"], "datetime64[D]")),
        lambda: grid.branch_index([1.5]),
        lambda: grid.branch_index(np.array([b"a"])),
    ):
        with pytest.raises(UnknownIdError):
            call()


def test_arrays_are_apart_and_locked():
    grid = Grid.from_tables(*two_levels())
    for network in (grid, pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid), dataclasses.replace(grid)):
        arrays = {item.name: getattr(network, item.name) for item in dataclasses.fields(Grid)}
        arrays |= network.forest._asdict()
        arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
        assert len(arrays) == 44
        assert not [name for name, array in arrays.items() if array.flags.writeable]
        assert not np.shares_memory(network.base_p_kw, network.angle_set_deg)
    with pytest.raises(ValueError, match="read-only"):
        grid.v_set_pu[0] = 1.1


def test_tables_stay_the_users_own():
    nodes, branches = ({name: np.array(column) for name, column in table.items()} for table in two_levels())
    grid = Grid.from_tables(nodes, branches)
    nodes["v_nom_kv"][0], nodes["id"][0], branches["id"][0] = 1.0, 11, "c"
    assert (grid.v_nom_kv[0], grid.node_ids[0], grid.branch_ids[0]) == (20.0, 10, "a")


def test_a_network_survives_the_trip_to_another_process():
    grid = Grid.from_tables(*two_levels())
    grid.node_index([10])
    again = pickle.loads(pickle.dumps(grid))
    np.testing.assert_array_equal(again.forest.tau, grid.forest.tau)
    assert again.node_index([40]).tolist() == [3]


@pytest.mark.parametrize(("n_nodes", "n_roots"), [(1, 1), (2, 2), (30, 1), (80, 5), (3000, 40)])
def test_preorder_makes_every_subtree_one_range(n_nodes, n_roots):
    nodes, branches = random_network(np.random.default_rng(n_nodes), n_nodes, n_roots)
    grid = Grid.from_tables(nodes, branches)
    forest = grid.forest
    assert sorted(forest.order.tolist()) == list(range(n_nodes))
    np.testing.assert_array_equal(forest.rank[forest.order], np.arange(n_nodes))
    assert (np.flatnonzero(forest.parent < 0) == np.sort(forest.rank[grid.slack])).all()
    below = {i: {i} for i in range(n_nodes)}
    for i in range(n_nodes - 1, -1, -1):
        assert forest.parent[i] < i
        if forest.parent[i] >= 0:
            below[int(forest.parent[i])] |= below[i]
            e = forest.branch[i]
            ends = {int(grid.branch_from[e]), int(grid.branch_to[e])}
            assert ends == {int(forest.order[i]), int(forest.order[forest.parent[i]])}
            assert forest.forward[i] == (grid.branch_to[e] == forest.order[i])
        assert below[i] == set(range(i, forest.last[i]))
    assert [i for i in range(n_nodes) if forest.parent[i] >= 0 and forest.parent[forest.parent[i]] < 0] == list(
        forest.heads
    )


def test_loops_are_named():
    nodes, branches = two_levels()
    branches = {name: [*column, column[1]] for name, column in branches.items()}
    branches["id"][3], branches["from_id"][3], branches["to_id"][3] = "ring", 40, 10
    error = codes(nodes, branches)
    assert error.codes == ("FX-G001",)
    assert set(error.findings[0].ids) == {"a", "b", "t", "ring"}


def test_each_loop_has_its_finding():
    # a square with both diagonals has three independent loops, a doubled line one more
    nodes = {"id": [1, 2, 3, 4, 5], "v_nom_kv": [1.0] * 5, "slack": [True, False, False, False, False]}
    ends = [(1, 2), (2, 3), (3, 4), (4, 1), (1, 3), (2, 4), (4, 5), (5, 4)]
    branches = {"id": list(range(8)), "from_id": [f for f, _ in ends], "to_id": [t for _, t in ends]}
    branches |= {"r_ohm": [1.0] * 8, "x_ohm": [1.0] * 8}
    error = codes(nodes, branches)
    assert error.codes == ("FX-G001",) * 4
    assert (6, 7) in {tuple(sorted(finding.ids)) for finding in error.findings}
    for finding in error.findings:  # every node on the loop has exactly two of its branches
        met = [node for key in finding.ids for node in ends[key]]
        assert {met.count(node) for node in met} == {2}


def test_two_slack_nodes_in_one_tree_are_named():
    nodes, branches = two_levels()
    nodes["slack"] = [False, True, False, True]
    error = codes(nodes, branches)
    assert error.codes == ("FX-G004",)
    assert error.findings[0].ids == (20, 40)
    assert "'t'" in error.findings[0].message


def test_branches_without_any_node_are_named():
    _, branches = two_levels()
    nodes = {"id": np.zeros(0, np.int64), "v_nom_kv": np.zeros(0), "slack": np.zeros(0, bool)}
    assert set(codes(nodes, branches).codes) == {"FX-G003", "FX-G005"}


def test_islands_and_missing_slack_are_named():
    nodes, branches = two_levels()
    branches = {name: column[:1] + column[2:] for name, column in branches.items()}
    error = codes(nodes, branches)
    assert error.codes == ("FX-G002",)
    assert error.findings[0].ids == (30, 40)
    nodes["slack"] = [False] * 4
    assert codes(nodes, branches).codes == ("FX-G003",)


def test_unknown_nodes_are_named():
    nodes, branches = two_levels()
    branches["from_id"] = [99, 20, 40]
    error = codes(nodes, branches)
    assert error.codes == ("FX-G005", "FX-G002")
    assert error.findings[0].ids == ("a",)
    assert "99" in error.findings[0].message
    branches["from_id"] = ["10", "20", "40"]  # text is another key than the number
    assert codes(nodes, branches).codes[0] == "FX-G005"


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "code"),
    [
        ("nodes", "id", 3, 10, "FX-G006"),
        ("branches", "id", 1, "a", "FX-G006"),
        ("branches", "r_ohm", 1, np.nan, "FX-G007"),
        ("branches", "x_ohm", 1, np.inf, "FX-G007"),
        ("branches", "b_us", 1, np.nan, "FX-G007"),
        ("nodes", "v_nom_kv", 2, np.nan, "FX-G007"),
        ("nodes", "g_us", 2, np.inf, "FX-G007"),
        ("branches", "s_max_kva", 0, -1.0, "FX-G009"),
        ("branches", "ratio", 0, 0.0, "FX-A006"),
        ("nodes", "v_nom_kv", 0, 0.0, "FX-A006"),
        ("nodes", "v_band_pu", 1, np.inf, "FX-G007"),
        ("nodes", "v_band_pu", 1, 2.0, "FX-A006"),
    ],
)
def test_bad_values_are_named(table, column, row, value, code):
    nodes, branches = two_levels()
    nodes["v_band_pu"] = [0.0] * 4
    bad = {"nodes": nodes, "branches": branches}[table]
    bad[column][row] = value
    error = codes(nodes, branches)
    assert error.codes == (code,)
    assert row in error.findings[0].rows
    assert bad["id"][row] in error.findings[0].ids


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("id", 5, "FX-G006"),
        ("id", np.ones((4, 2), int), "FX-A001"),
        ("v_nom_kv", np.ones((4, 4)), "FX-A001"),
        ("slack", [0, 1, np.nan, 0], "FX-G007"),
        ("slack", [0, 1, 0.5, 0], "FX-A002"),
    ],
)
def test_what_is_no_column_is_refused(column, value, code):
    nodes, branches = two_levels()
    assert codes({**nodes, column: value}, branches).codes == (code,)
    assert codes(None, branches).codes == ("FX-A002",)


def test_no_impedance_no_own_loop_no_crossed_limits():
    nodes, branches = two_levels()
    branches["r_ohm"][2] = branches["x_ohm"][2] = 0.0
    assert codes(nodes, branches).findings[0].ids == ("t",)
    assert codes(nodes, branches).codes == ("FX-G008",)
    nodes, branches = two_levels()
    branches["from_id"][2] = 30
    error = codes(nodes, branches)
    assert error.codes == ("FX-G010", "FX-G002")
    nodes, branches = two_levels()
    nodes |= {"v_min_pu": [0.9, 0.9, 1.2, 0.9], "v_max_pu": [1.1] * 4}
    error = codes(nodes, branches)
    assert (error.codes, error.findings[0].ids) == (("FX-G009",), (30,))


def test_everything_wrong_is_said_at_once():
    nodes = {"id": [1, 2, 2], "v_nom_kv": [20.0, np.nan, 20.0], "slack": [True, False, False]}
    branches = {"id": [1, 2], "from_id": [1, 2], "r_ohm": [1.0, np.nan], "x_ohm": [1.0, 1.0], "s_max_kva": [-1.0, 2.0]}
    error = codes(nodes, branches)
    assert sorted(error.codes) == ["FX-A007", "FX-G006", "FX-G007", "FX-G007", "FX-G009"]
    assert {finding.table for finding in error.findings} == {"nodes", "branches"}
    nodes = {"id": [1, 2, 3, 4], "v_nom_kv": [20.0] * 4, "slack": [True, False, False, True]}
    ends = {"id": [1, 2, 3, 4], "from_id": [1, 2, 7, 3], "to_id": [2, 1, 3, 3]}
    error = codes(nodes, ends | {"r_ohm": [0.0, 1.0, 1.0, 1.0], "x_ohm": [0.0, 1.0, 1.0, 1.0]})
    assert error.codes == ("FX-G005", "FX-G008", "FX-G010", "FX-G002", "FX-G001")
