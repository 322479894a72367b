"""Several switching states: by brute force, each tree on its own."""

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import GridError, UnknownIdError, ValidationError
from flexcore.grid.capability import capability
from flexcore.grid.joint_check import joint_check
from flexcore.grid.needs import find_needs


def ring_network(rng, n=14, *, tight=0.6, impedance=0.05):
    """Tables of two feeders with ties between them, and switching states that leave a tree."""
    parent = [-1, 0, 0] + [int(rng.integers(max(1, i - 4), i)) for i in range(3, n)]
    ends = [(parent[i], i) for i in range(1, n)]
    while len(ends) < n + 2:
        a, b = sorted(rng.integers(1, n, 2).tolist())
        if a != b and (a, b) not in ends:
            ends.append((a, b))
    turn = rng.permutation(n)  # ids in no order
    m = len(ends)
    s_max = np.where(rng.random(m) < tight, rng.uniform(15.0, 60.0, m), np.inf)
    nodes = {"id": [f"n{turn[i]}" for i in range(n)], "v_nom_kv": np.ones(n), "slack": [i == 0 for i in range(n)],
             "v_min_pu": np.full(n, 0.95), "v_max_pu": np.full(n, 1.05)}  # fmt: skip
    branches = {"id": [f"b{i}" for i in range(m)], "from_id": [f"n{turn[a]}" for a, _ in ends],
                "to_id": [f"n{turn[b]}" for _, b in ends], "r_ohm": rng.uniform(0.1, 1.0, m) * impedance,
                "x_ohm": rng.uniform(0.1, 1.0, m) * impedance, "s_max_kva": s_max}  # fmt: skip
    ties = [f"b{i}" for i in range(n - 1, m)]
    states = [ties]
    for tie in range(n - 1, m):  # close one tie, open a branch of the loop that it makes
        a, b = ends[tie]
        up = [a, b]
        while up[0] != up[1]:
            low = 0 if up[0] > up[1] else 1
            if rng.random() < 0.5 or parent[up[low]] <= 0:
                break
            up[low] = parent[up[low]]
        if up[0] != up[1]:
            cut = max(up) - 1  # branch that feeds the node further down lies on the loop
            states.append([name for name in ties if name != f"b{tie}"] + [f"b{cut}"])
    return nodes, branches, states


def day(rng, n, n_steps=3, n_perimeters=3):
    p = rng.normal(1.0, 3.0, (n, n_steps))
    label = rng.integers(-1, n_perimeters, n)
    label[1] = n_perimeters - 1
    return p, 0.3 * p, rng.uniform(0.0, 8.0, (n, n_steps)), rng.uniform(0.0, 8.0, (n, n_steps)), label


def in_order_of(grid, first, values):
    """Rows of the first grid's nodes, found by id one after the other."""
    place = {key: i for i, key in enumerate(first.node_ids.tolist())}
    return np.array([values[place[key]] for key in grid.node_ids.tolist()])


def shuffled(rng, nodes):
    """The same table with its rows in another order."""
    turn = rng.permutation(len(nodes["id"]))
    return {name: np.asarray(column)[turn] for name, column in nodes.items()}


@pytest.mark.parametrize("method", ["linear", "certified"])
def test_caps_are_the_smallest_of_all_trees_and_safe_in_each(method):
    rng = np.random.default_rng(1)
    bound_by = set()
    for _ in range(12):
        nodes, branches, states = ring_network(rng)
        grids = [fx.switched_grids(shuffled(rng, nodes), branches, [state])[0] for state in states]
        p, q, up, down, label = day(rng, 14)
        margins = [rng.uniform(0.0, 0.3, p.shape) for _ in grids]
        found = fx.capability_over(grids, p, q, up_kw=up, down_kw=down, perimeter=label, method=method,
                                   margin_kw=margins)  # fmt: skip
        alone = []
        for grid, margin in zip(grids, margins, strict=True):
            turned = [in_order_of(grid, grids[0], values) for values in (p, q, up, down, label, margin)]
            alone.append(capability(grid, *turned[:2], up_kw=turned[2], down_kw=turned[3], perimeter=turned[4],
                                    margin_kw=turned[5], method=method))  # fmt: skip
            check = joint_check(grid, alone[-1].rows, cap_up_kw=found.up_kw, cap_down_kw=found.down_kw,
                                up_kw=turned[2], down_kw=turned[3], perimeter=turned[4])  # fmt: skip
            assert check.safe
        for way in ("up", "down"):
            each = np.array([getattr(result, f"{way}_kw") for result in alone])
            np.testing.assert_array_equal(getattr(found, f"{way}_kw"), each.min(axis=0))
            topology = getattr(found, f"topology_{way}")
            for k, t in np.ndindex(topology.shape):
                if topology[k, t] >= 0:
                    assert each[topology[k, t], k, t] == each[:, k, t].min()
                    assert getattr(found.results[topology[k, t]], f"kind_{way}")[k, t] > 0
                    bound_by.add(int(topology[k, t]))
                else:
                    assert getattr(found, f"colour_{way}")[k, t] == 2
            colours = np.array([getattr(result, f"colour_{way}") for result in alone])
            np.testing.assert_array_equal(getattr(found, f"colour_{way}"), colours.min(axis=0))
        np.testing.assert_array_equal(found.certified, np.all([result.certified for result in alone], axis=0))
    assert len(bound_by) > 2


def test_needs_are_the_worst_of_all_trees():
    rng = np.random.default_rng(2)
    in_several = several = 0
    for _ in range(20):
        nodes, branches, states = ring_network(rng)
        grids = [fx.switched_grids(shuffled(rng, nodes), branches, [state])[0] for state in states]
        p = rng.normal(3.0, 6.0, (14, 2))
        q = 0.2 * p
        found = fx.worst_needs(grids, p, q)
        want: dict = {}
        for number, grid in enumerate(grids):
            needs = find_needs(grid, in_order_of(grid, grids[0], p), in_order_of(grid, grids[0], q))
            for i in range(len(needs)):
                key = (needs.kind[i], needs.element_id[i], needs.step[i], needs.direction[i])
                want.setdefault(key, []).append(
                    (needs.need_kw[i], number, needs.gap_pu[i], needs.loading[i], needs.reachable[i])
                )
        assert len(found) == len(want)
        for i in range(len(found)):
            seen = want[found.kind[i], found.element_id[i], found.step[i], found.direction[i]]
            worst = max(need for need, *_ in seen)
            assert found.need_kw[i] == worst
            assert found.topology[i] == min(number for need, number, *_ in seen if need == worst)
            assert found.n_topologies[i] == len(seen)
            np.testing.assert_equal(found.gap_pu[i], max(gap for _, _, gap, _, _ in seen))
            np.testing.assert_equal(found.loading[i], max(loading for *_, loading, _ in seen))
            assert found.reachable[i] == all(entry[-1] for entry in seen)
            several += found.topology[i] > 0
            in_several += len(seen) > 1
        assert len(found.needs) == len(grids)
    assert several > 10
    assert in_several > 10


def test_switching_states_from_all_branches():
    nodes = {"id": ["s", "a", "b"], "v_nom_kv": [1.0] * 3, "slack": [True, False, False]}
    branches = {"id": [1, 2, 3], "from_id": ["s", "s", "a"], "to_id": ["a", "b", "b"], "r_ohm": [0.01] * 3,
                "x_ohm": [0.01] * 3, "s_max_kva": [5.0, 4.0, 9.0]}  # fmt: skip
    normal, fault = fx.switched_grids(nodes, branches, [[3], [1]])
    assert normal.branch_ids.tolist() == [1, 2]
    assert fault.branch_ids.tolist() == [2, 3]
    p = np.array([[0.0], [3.0], [3.0]])
    assert len(fx.worst_needs([normal], p, 0 * p)) == 0
    found = fx.worst_needs([normal, fault], p, 0 * p)
    assert found.element_id.tolist() == [2]
    assert found.topology.tolist() == [1]
    assert found.need_kw == pytest.approx([2.0], abs=0.1)
    with pytest.raises(UnknownIdError) as unknown:
        fx.switched_grids(nodes, branches, [[3], [7]])
    assert unknown.value.findings[0].ids == (7,)
    with pytest.raises(GridError) as loop:
        fx.switched_grids(nodes, branches, [[]])
    assert loop.value.codes == ("FX-G001",)
    with pytest.raises(GridError) as island:
        fx.switched_grids(nodes, branches, [[3], [1, 3]])
    assert island.value.codes == ("FX-G002",)
    assert any("state 1" in note for note in island.value.__notes__)


def test_grids_with_other_nodes_and_wrong_margins_are_refused():
    nodes = {"id": ["s", "a"], "v_nom_kv": [1.0] * 2, "slack": [True, False]}
    branches = {"id": [1], "from_id": ["s"], "to_id": ["a"], "r_ohm": [0.01], "x_ohm": [0.01]}
    grid = fx.Grid.from_tables(nodes, branches)
    other = fx.Grid.from_tables(nodes | {"id": ["s", "c"]}, branches | {"to_id": ["c"]})
    zero = np.zeros((2, 1))
    offers = {"up_kw": zero, "down_kw": zero, "perimeter": [-1, 0]}
    for grids in ([], [grid, other], [grid, 3]):
        with pytest.raises(GridError) as caught:
            fx.worst_needs(grids, zero, zero)
        assert caught.value.codes == ("FX-G054",)
        with pytest.raises(GridError) as caught:
            fx.capability_over(grids, zero, zero, **offers)
        assert caught.value.codes == ("FX-G054",)
    for call, more in ((fx.worst_needs, {}), (fx.capability_over, offers)):
        with pytest.raises(ValidationError) as wrong:
            call([grid, grid], zero, zero, margin_kw=[zero], **more)
        assert wrong.value.codes == ("FX-A001",)
    for states in (None, "b", [None], ["b"]):
        with pytest.raises(ValidationError) as wrong:
            fx.switched_grids(nodes, branches, states)
        assert wrong.value.codes == ("FX-A002",)
    with pytest.raises(fx.FlexcoreError):
        fx.capability_over([grid], zero, zero, sharing="nested", **offers)
