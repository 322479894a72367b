"""Tables of the streaming settlement of a city."""

from flexcore.tables.spec import Column, TableSpec, optional

STREAMING: tuple[TableSpec, ...] = (
    TableSpec(
        "touched",
        "one quarter-hour in which a POD was activated, or recovered from it",
        (
            Column("pod", "key", "key of the POD"),
            Column("qh", "int64", "absolute quarter-hour: unix seconds // 900 at its start", lo=0),
            optional("event", "bool", "True for an event, False for its rebound or recovery", default=True),
        ),
    ),
    TableSpec(
        "corrections",
        "one reading that replaces an earlier one",
        (
            Column("pod", "key", "key of the POD"),
            Column("qh", "int64", "absolute quarter-hour: unix seconds // 900 at its start", lo=0),
            Column("power_w", "int32", "mean power, positive = withdrawal", "W"),
        ),
    ),
    TableSpec(
        "orders",
        "one ordered quarter-hour of a POD",
        (
            Column("pod", "key", "key of the POD"),
            Column("operator", "int8", "0 local, 1 global", lo=0, hi=1),
            Column("aggregate", "int64", "aggregate that the POD belongs to for this operator", lo=0),
            Column("direction", "int8", "0 up, 1 down", lo=0, hi=1),
            Column("step", "int32", "quarter-hour of the day, from 0", lo=0, hi=99),
            Column("ordered_w", "int32", "ordered flexibility", "W", lo=0),
            optional("price_ueur_per_mwh", "int64", "price of the order; that of the terms if there is none",
                default=0, unit="micro-EUR/MWh"),
        ),
    ),
)  # fmt: skip
