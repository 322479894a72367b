"""Every table that crosses the border of flexcore. Add a table here and its checks, docs and test data follow."""

from flexcore.tables.bids import BIDS
from flexcore.tables.long_term import LONG_TERM
from flexcore.tables.registration import REGISTRATION
from flexcore.tables.selection import SELECTION
from flexcore.tables.spec import Column, TableSpec
from flexcore.tables.streaming import STREAMING

_SPECS: tuple[TableSpec, ...] = (
    TableSpec(
        "nodes",
        "one electrical node",
        (
            Column("id", "key", "key of the node", unique=True),
            Column("v_nom_kv", "float64", "nominal voltage, line to line", "kV", lo=1e-6),
            Column("slack", "bool", "True where the voltage is fixed: a primary substation's busbar"),
            Column(
                "v_set_pu",
                "float64",
                "voltage held at a slack, regulated or PV node",
                "pu",
                lo=0.1,
                required=False,
                default=1.0,
            ),
            Column(
                "regulated",
                "bool",
                "True where a tap changer in front of the node holds its voltage at v_set_pu",
                required=False,
                default=False,
            ),
            Column(
                "pv",
                "bool",
                "True where reactive power holds the voltage; needs meshed=True, no meaning at slack nodes",
                required=False,
                default=False,
            ),
            Column(
                "v_band_pu",
                "float64",
                "dead band of a regulated busbar, full width",
                "pu",
                lo=0,
                required=False,
                default=0.0,
            ),
            Column(
                "v_min_pu", "float64", "lowest allowed voltage (EN 50160)", "pu", lo=0, required=False, default=0.90
            ),
            Column(
                "v_max_pu", "float64", "highest allowed voltage (EN 50160)", "pu", lo=0, required=False, default=1.10
            ),
            Column("g_us", "float64", "shunt conductance to earth", "uS", required=False, default=0.0),
            Column(
                "b_us",
                "float64",
                "shunt susceptance to earth, positive for a capacitor",
                "uS",
                required=False,
                default=0.0,
            ),
        ),
    ),
    TableSpec(
        "branches",
        "one line, cable or two-winding transformer",
        (
            Column("id", "key", "key of the branch", unique=True),
            Column("from_id", "key", "node at which branch_p_kw enters"),
            Column("to_id", "key", "node at the other end"),
            Column("r_ohm", "float64", "series resistance at the to side's nominal voltage", "ohm"),
            Column("x_ohm", "float64", "series reactance at the to side's nominal voltage", "ohm"),
            Column(
                "g_us", "float64", "total charging conductance, half at each end", "uS", required=False, default=0.0
            ),
            Column(
                "b_us", "float64", "total charging susceptance, half at each end", "uS", required=False, default=0.0
            ),
            Column(
                "ratio",
                "float64",
                "off-nominal ratio of the ideal transformer at the from side",
                lo=1e-3,
                required=False,
                default=1.0,
            ),
            Column(
                "shift_deg", "float64", "phase shift of the ideal transformer", "degree", required=False, default=0.0
            ),
            Column(
                "s_max_kva",
                "float64",
                "rated apparent power; infinite: no limit",
                "kVA",
                lo=0,
                required=False,
                default=float("inf"),
            ),
            Column(
                "s_max_reverse_kva",
                "float64",
                "the same for power that flows from to_id to from_id; NaN: as s_max_kva",
                "kVA",
                lo=0,
                required=False,
                default=float("nan"),
            ),
        ),
    ),
    *REGISTRATION,
    *SELECTION,
    *LONG_TERM,
    *BIDS,
    *STREAMING,
)

#: Name to specification.
TABLES: dict[str, TableSpec] = {spec.name: spec for spec in _SPECS}
