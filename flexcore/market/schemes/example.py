"""A case small enough to work by hand: three transmission nodes, two feeders (docs/explanation/schemes.md)."""

import numpy as np

from flexcore.grid.headroom import activation_rows
from flexcore.grid.network import Grid
from flexcore.market.schemes.case import (
    ALL_PRODUCTS,
    CoordinationCase,
    Penalties,
    SchemeOffers,
    TradeBids,
    Transmission,
)
from flexcore.units import DOWN, UP

#: Steps: nothing is needed; feeder A is overloaded and the TSO wants up; the same and the TSO wants down; a line of
#: transmission is overloaded.
QUIET, CONCORDANT, DISCORDANT, CONGESTED = range(4)

#: name, node ("" at transmission), transmission node, direction, kW, EUR/MWh
OFFERS: tuple[tuple[str, str, int, int, float, float], ...] = (
    ("A2 up", "a2", 1, UP, 3.0, 100.0),
    ("A3 up", "a3", 1, UP, 3.0, 60.0),
    ("A2 down", "a2", 1, DOWN, 3.0, 20.0),
    ("B1 up", "b1", 2, UP, 4.0, 50.0),
    ("B1 down", "b1", 2, DOWN, 4.0, 10.0),
    ("plant 0 up", "", 0, UP, 20.0, 90.0),
    ("plant 0 down", "", 0, DOWN, 20.0, 30.0),
    ("plant 1 up", "", 1, UP, 20.0, 150.0),
)


def two_feeders(*, trade_kw: float = 0.0, trade_price: float = 0.0) -> CoordinationCase:
    """Return the case.

    Feeder A (transmission node 1): busbar a0, then a1 behind a branch of 10 kVA, with a2 and a3 below it, 6 kW each in
    the overloaded steps, so that branch asks for 2 kW up. Feeder B (node 2): b1 with 8 kW behind 10 kVA, so that 2 kW
    more may be taken. Lines of transmission join the three nodes with equal reactance; in the last step line 0-1
    carries 2 kW more than its limit. Impedances are so small that voltages and losses do not matter.

    Parameters
    ----------
    trade_kw, trade_price : float
        A market party's bid for up in every step. [kW], [EUR/MWh]
    """
    names = ("a0", "a1", "a2", "a3", "b0", "b1")
    nodes = {"id": names, "v_nom_kv": [0.4] * 6, "slack": [name.endswith("0") for name in names]}
    branches = {
        "id": ["A1", "A2", "A3", "B1"],
        "from_id": ["a0", "a1", "a1", "b0"],
        "to_id": ["a1", "a2", "a3", "b1"],
        "r_ohm": [1e-6] * 4,
        "x_ohm": [1e-6] * 4,
        "s_max_kva": [10.0, 100.0, 100.0, 10.0],
    }
    grid = Grid.from_tables(nodes, branches)
    position = {name: int(grid.node_index([name])[0]) for name in names}
    p_kw = np.zeros((6, 4))
    for name, load in (("a2", (4.0, 6.0, 6.0, 4.0)), ("a3", (4.0, 6.0, 6.0, 4.0)), ("b1", (8.0,) * 4)):
        p_kw[position[name]] = load
    rows = activation_rows(grid, p_kw, np.zeros_like(p_kw))
    # lines 0-1, 1-2, 0-2; 1 kW into node 1 for node 0 goes 2/3 the short and 1/3 the long way
    ptdf = np.array([[0.0, -2.0, -1.0], [0.0, 1.0, -1.0], [0.0, -1.0, -2.0]]) / 3.0
    flow = np.zeros((3, 4))
    flow[0, CONGESTED] = 22.0
    quantity = np.array([[offer[4]] * 4 for offer in OFFERS])
    n = len(OFFERS)
    return CoordinationCase(
        name="two feeders",
        grid=grid,
        rows=rows,
        perimeter=np.array([{"a": 0, "b": 1}[str(name)[0]] for name in grid.node_ids], np.int32),
        t_node_of_root=np.array([1, 2], np.int32),
        transmission=Transmission(ptdf, flow, np.full(3, 20.0)),
        balance_kw=np.array([0.0, 3.0, -3.0, 0.0]),
        offers=SchemeOffers(
            node=np.array([position[offer[1]] if offer[1] else -1 for offer in OFFERS], np.int32),
            t_node=np.array([offer[2] for offer in OFFERS], np.int32),
            direction=np.array([offer[3] for offer in OFFERS], np.int8),
            quantity_kw=quantity,
            static_kw=quantity,
            price=np.array([offer[5] for offer in OFFERS]),
            # up and down of one node are one unit
            unit=np.array([0, 1, 0, 2, 2, 3, 3, 4], np.int32),
            bsp=np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int32),
            products=np.full(n, ALL_PRODUCTS, np.uint8),
            submitted=np.arange(n, dtype=np.int64),
        ),
        bids=TradeBids(np.array([UP], np.int8), np.full((1, 4), trade_kw), np.array([trade_price])),
        penalties=Penalties(),
        step_hours=1.0,
    )
