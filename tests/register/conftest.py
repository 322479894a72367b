"""A small register: three PODs at each of four nodes, two BSPs, a light that confirms nearly all."""

from types import SimpleNamespace

import numpy as np
import pytest

from flexcore.errors import Findings, UnknownIdError
from flexcore.register.register import Register

N_PODS = 12


class Nodes:
    """What the register asks of a grid: nodes and their positions."""

    def __init__(self, node_ids):
        self.node_ids = np.asarray(node_ids)
        self.n_nodes = self.node_ids.size

    def node_index(self, ids):
        wanted = np.asarray(ids)
        known = np.isin(wanted, self.node_ids)
        if not known.all():
            found = Findings("nodes")
            found.add("FX-R003", "unknown nodes", ids=wanted[~known])
            found.raise_errors(UnknownIdError)
        return np.argsort(self.node_ids)[np.searchsorted(np.sort(self.node_ids), wanted)]


def pod_codes(n):
    return np.array([f"IT002E{k:08d}" for k in range(n)])


def pods_table(n=N_PODS, **changes):
    table = {
        "pod_code": pod_codes(n),
        "node_id": np.array(["n0", "n1", "n2", "n3"])[np.arange(n) % 4],
        "voltage_level": np.full(n, "LV"),
        "contracted_in_w": np.full(n, 6000),
        "contracted_out_w": np.full(n, 3000),
        "flex_area": np.zeros(n, np.int32),
    }
    return table | changes


def units_table(n=N_PODS, **changes):
    table = {
        "pod_code": pod_codes(n),
        "bsp": np.array(["B1", "B2"])[(np.arange(n) >= 8).astype(int)],
        "technology": np.full(n, 8),  # batteries
        "up_w": np.full(n, 2000),
        "down_w": np.full(n, 1000),
        "activation_s": np.full(n, 300),
    }
    return table | changes


def unit_ids(*numbers):
    return pod_codes(N_PODS)[list(numbers)]


def registered(*, grid=True):
    register = Register(Nodes(["n0", "n1", "n2", "n3"]) if grid else None)
    register.register_parties({"party_id": ["B1", "B2", "DSO"], "kind": ["BSP", "BSP", "DSO"]})
    register.register_pods(pods_table())
    register.register_units(units_table())
    return register


def form(register, aggregates, **columns):
    """aggregates: {id: (bsp, operator, units)}; columns override the table's."""
    names = list(aggregates)
    table = {
        "agg_id": names,
        "bsp": [aggregates[a][0] for a in names],
        "operator": [aggregates[a][1] for a in names],
        "flex_area": np.where([aggregates[a][1] for a in names], -1, 0),
    }
    members = [(a, unit) for a in names for unit in aggregates[a][2]]
    rows = {
        "agg_id": np.array([a for a, _ in members], dtype=str),
        "unit_id": unit_ids(*(k for _, k in members)) if members else np.zeros(0, "U14"),
    }
    return register.form_aggregates(table, rows | columns)


def snapshot(register):
    """Every array of the register, to compare before and after."""
    tables = ("parties", "pods", "units", "aggregates", "products", "qualifications")
    state = {name: getattr(register, name) for name in tables}
    arrays = {(n, f): np.array(getattr(t, f)) for n, t in state.items() for f in t.__dataclass_fields__}
    arrays["pod_node", ""] = np.array(register.pod_node)
    return arrays


def assert_same(before, after):
    assert before.keys() == after.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(array, after[key], err_msg=str(key))


@pytest.fixture
def register():
    """Registered, every light confirmed at t = 1000."""
    ready = registered()
    ready.apply_static_light(at=1000)
    return ready


@pytest.fixture
def market(register):
    """With local and global aggregates, two products of one service, and nothing tested."""
    form(
        register,
        {
            "L1": ("B1", 0, [0, 1, 2]),
            "L2": ("B1", 0, [3, 4]),
            "L3": ("B2", 0, [8, 9]),
            "G1": ("B1", 1, [0, 1, 2]),
            "G2": ("B1", 1, [3, 4, 5]),
            "G3": ("B2", 1, [10, 11]),
        },
    )
    register.register_products(products_table())
    return SimpleNamespace(register=register)


def products_table(**changes):
    table = {
        "product_id": np.array(["P_loc", "P_glo"]),
        "operator": np.array([0, 1]),
        "service": np.array(["congestion", "congestion"]),
        "test_setup": np.array(["pgui", "pgui"]),
        "min_w": np.array([1000, 1000]),
        "granularity_w": np.array([500, 500]),
        "validity_days": np.array([10, 20]),
    }
    return table | changes
