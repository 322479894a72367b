"""Tables of the register: parties, PODs, units, aggregates, products (D4.1 Tables 6 and 7)."""

from flexcore.tables.spec import Column, TableSpec, optional

_KINDS = ("DSO", "TSO", "BSP", "BRP", "END_USER", "MARKET", "METER", "REGISTER", "AUDITOR")
_W = 10**9  # 1 GW: far above any connection, small enough that products of two powers fit 63 bits


REGISTRATION: tuple[TableSpec, ...] = (
    TableSpec(
        "parties",
        "one party of the process",
        (
            Column("party_id", "key", "key of the party", unique=True),
            Column("kind", "str", "what the party is", choices=_KINDS),
        ),
    ),
    TableSpec(
        "pods",
        "one Point of Delivery",
        (
            Column("pod_code", "str", "POD code; white space, underscores and case do not matter"),
            Column("node_id", "key", "node of the grid"),
            Column("voltage_level", "str", "voltage level of the connection", choices=("LV", "MV", "HV")),
            optional("category", "str", "identification category", ""),
            Column("contracted_in_w", "int64", "connection limit of withdrawal", "W", lo=0, hi=_W),
            Column("contracted_out_w", "int64", "connection limit of injection", "W", lo=0, hi=_W),
            optional("flex_area", "int32", "ex-ante area of the local product, -1 none", -1, lo=-1),
            optional("lat", "float64", "latitude", float("nan"), "degree", lo=-90, hi=90),
            optional("lon", "float64", "longitude", float("nan"), "degree", lo=-180, hi=180),
            optional("pgui_id", "str", "gateway that certifies the quarter-hours", ""),
        ),
    ),
    TableSpec(
        "units",
        "one flexible unit behind a POD",
        (
            optional("unit_id", "key", "key of the unit; by default the POD code, one unit per POD", -1),
            Column("pod_code", "str", "its POD"),
            Column("bsp", "key", "party that holds the mandate"),
            Column("technology", "int32", "set of technologies, one bit each", lo=1, hi=127),
            Column("up_w", "int64", "declared upward power", "W", lo=0, hi=_W),
            Column("down_w", "int64", "declared downward power", "W", lo=0, hi=_W),
            Column("activation_s", "int32", "longest time to act after the request", "s", lo=0),
            optional("recovery_s", "int32", "least time between two activations", 0, "s", lo=0),
            optional("contract_from", "int64", "start of the mandate", 0, "unix s", lo=0),
            optional("contract_to", "int64", "end of the mandate, not included", 2**62, "unix s", lo=0),
        ),
    ),
    TableSpec(
        "aggregates",
        "one aggregate of units",
        (
            Column("agg_id", "key", "key of the aggregate", unique=True),
            Column("bsp", "key", "party that it belongs to"),
            Column("operator", "int8", "market side: 0 local (DSO), 1 global (TSO)", lo=0, hi=1),
            optional("flex_area", "int32", "area in which a local aggregate lies, -1 none", -1, lo=-1),
        ),
    ),
    TableSpec(
        "aggregate_members",
        "one unit in one aggregate",
        (
            Column("agg_id", "key", "aggregate"),
            Column("unit_id", "key", "unit"),
            optional("up_w", "int64", "enrolled upward power, -1: all that is validated", -1, "W", lo=-1, hi=_W),
            optional("down_w", "int64", "enrolled downward power, -1: all that is validated", -1, "W", lo=-1, hi=_W),
        ),
    ),
    TableSpec(
        "products",
        "one product of one operator",
        (
            Column("product_id", "key", "key of the product", unique=True),
            Column("operator", "int8", "who buys: 0 local (DSO), 1 global (TSO)", lo=0, hi=1),
            Column("service", "str", "service that is bought"),
            optional("test_setup", "str", "infrastructure of the technical test", ""),
            optional("up", "bool", "upward power is bought", True),
            optional("down", "bool", "downward power is bought", True),
            optional("flex_area", "int32", "DSO perimeter of the resources, -1 anywhere", -1, lo=-1),
            optional("min_w", "int64", "least power of an aggregate", 1, "W", lo=1, hi=_W),
            optional("granularity_w", "int64", "step of power", 1, "W", lo=1, hi=_W),
            optional("notice_s", "int32", "notice before activation", 900, "s", lo=0),
            optional("recovery_s", "int32", "least time between two requests", 0, "s", lo=0),
            optional("first_month", "int32", "first month of availability", 1, lo=1, hi=12),
            optional("last_month", "int32", "last month of availability, included", 12, lo=1, hi=12),
            optional("weekdays", "int32", "days of availability, bit 0 is Monday", 127, lo=1, hi=127),
            optional("first_hour", "int32", "first local hour of availability", 0, lo=0, hi=23),
            optional("last_hour", "int32", "last local hour of availability, included", 23, lo=0, hi=23),
            optional("test_min_pm", "int32", "least delivered over required energy", 900, "per mille", lo=0, hi=1000),
            optional(
                "test_step_pm", "int32", "least delivered over required, each step", 0, "per mille", lo=0, hi=1000
            ),
            optional("test_ramp_pm", "int32", "largest change between steps", 10**6, "per mille", lo=0, hi=10**6),
            optional("validity_days", "int32", "how long a qualification lasts", 365, "day", lo=1, hi=36500),
        ),
    ),
    TableSpec(
        "qualification_requests",
        "one aggregate that asks to be qualified for one product",
        (
            Column("agg_id", "key", "aggregate"),
            Column("product_id", "key", "product"),
            optional("up_w", "int64", "upward power, -1: all that is enrolled", -1, "W", lo=-1, hi=2**40),
            optional("down_w", "int64", "downward power, -1: all that is enrolled", -1, "W", lo=-1, hi=2**40),
        ),
    ),
    TableSpec(
        "technical_tests",
        "one technical test of one aggregate for one product and direction",
        (
            Column("agg_id", "key", "aggregate"),
            Column("product_id", "key", "product"),
            Column("direction", "int8", "0 up, 1 down", lo=0, hi=1),
        ),
    ),
)
