import numpy as np
import pytest

from flexcore import Grid, cities
from flexcore.study.cities.places import first_perimeters, places
from tests.reference import study_places as reference


def small_grid(rng):
    """A primary substation with MV feeders, secondary substations and LV feeders, ids shuffled."""
    nodes, edges = [(0, 110.0, True), (1, 20.0, False)], [(0, 1)]
    for _ in range(rng.integers(1, 4)):
        above = 1
        for _ in range(rng.integers(1, 4)):
            mv = len(nodes)
            nodes.append((mv, 20.0, False))
            edges.append((above, mv))
            above = mv
            if rng.random() < 0.7:
                lv = len(nodes)
                nodes.append((lv, 0.4, False))
                edges.append((mv, lv))
                for _ in range(rng.integers(0, 3)):
                    end = len(nodes)
                    nodes.append((end, 0.4, False))
                    edges.append((lv, end))
    order = rng.permutation(len(nodes))
    nodes = [nodes[i] for i in order]
    table = {
        "id": np.array([n[0] for n in nodes]),
        "v_nom_kv": np.array([n[1] for n in nodes]),
        "slack": np.array([n[2] for n in nodes]),
    }
    n = len(edges)
    branches = {
        "id": np.arange(n),
        "from_id": np.array([e[0] for e in edges]),
        "to_id": np.array([e[1] for e in edges]),
        "r_ohm": np.full(n, 0.01),
        "x_ohm": np.full(n, 0.01),
    }
    return Grid.from_tables(table, branches)


@pytest.mark.parametrize("seed", range(15))
def test_areas_and_substations_are_those_of_the_walk_to_the_root(seed):
    grid = small_grid(np.random.default_rng(seed))
    place, lv_feeder = places(grid, np.full(grid.n_nodes, np.nan), np.full(grid.n_nodes, np.nan))
    bars = reference.busbars(grid)
    areas = [reference.area_head(grid, node, bars) for node in range(grid.n_nodes)]
    stations = [reference.station_head(grid, node) for node in range(grid.n_nodes)]
    for label, head in ((place.area_of_node, areas), (place.substation_of_node, stations)):
        # the same partition: one label per head, -1 for none
        pairs = set(zip(label.tolist(), head, strict=True))
        assert len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs}) == len(pairs)
        assert all((number == -1) == (node is None) for number, node in pairs)
    for number, branch in enumerate(place.substation_branch):
        ends = {int(grid.branch_from[branch]), int(grid.branch_to[branch])}
        assert len(ends & set(np.flatnonzero(place.substation_of_node == number).tolist())) == 1
    assert (lv_feeder[place.substation_of_node < 0] == -1).all()


def test_small_pieces_are_merged_until_no_perimeter_is_too_small():
    city = cities.simbench("1-MVLV-urban-all-0-sw")
    place = city.places
    counts = np.bincount(city.pods.node[city.pods.global_aggregate >= 0], minlength=city.grid.n_nodes)
    for least in (1, 5, 40, 400, 10**6):
        label, names = first_perimeters(place, counts, least)
        assert label.max(initial=-1) == names.size - 1
        assert len(set(names.tolist())) == names.size
        held = np.bincount(label[label >= 0], weights=counts[label >= 0], minlength=names.size)
        assert (held >= least).all()
        if least <= 400:
            # everything that can move lies in some perimeter as long as the zone as a whole is large enough
            assert counts[label < 0].sum() < least
    assert (first_perimeters(place, counts, 10**6)[0] == -1).all()
