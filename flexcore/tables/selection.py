"""Tables of a selection: offers, needs, limits and the tree in which they nest."""

from flexcore.tables.spec import Column, TableSpec

_W = 2**40  # sums of millions of them stay far below 2^63
_PRICE = 2**50

_ELEMENT = Column("element", "key", "element of the tree: with a grid, the node that the limited branch feeds")
_DIRECTION = Column("direction", "int8", "0 up, 1 down", lo=0, hi=1)
_STEP = Column("step", "int64", "quarter-hour of the day, from 0")

SELECTION: tuple[TableSpec, ...] = (
    TableSpec(
        "clearing_offers",
        "one offer in one quarter-hour",
        (
            Column("offer_id", "key", "key of the offer"),
            _ELEMENT,
            _DIRECTION,
            _STEP,
            Column("quantity_w", "int64", "offered power", "W", lo=0, hi=_W),
            Column(
                "price_ueur_per_mwh",
                "int64",
                "what the operator pays; negative: the BSP pays",
                "micro-EUR/MWh",
                lo=-_PRICE,
                hi=_PRICE,
            ),
            Column(
                "submitted_at",
                "int64",
                "time of submission, in any unit, or a datetime with a zone; breaks ties of price",
                required=False,
                default=0,
            ),
        ),
    ),
    TableSpec(
        "clearing_needs",
        "what is wanted from the offers at and below one element in one quarter-hour",
        (_ELEMENT, _DIRECTION, _STEP, Column("quantity_w", "int64", "power wanted", "W", lo=0, hi=_W)),
    ),
    TableSpec(
        "clearing_limits",
        "most that may move at and below one element in one quarter-hour",
        (_ELEMENT, _DIRECTION, _STEP, Column("capability_w", "int64", "limit on the net power", "W", lo=0, hi=_W)),
    ),
    TableSpec(
        "clearing_parents",
        "one element of a tree",
        (
            Column("element", "key", "key of the element", unique=True),
            Column("parent", "key", "element above; itself, or one not listed, at a root"),
        ),
    ),
    TableSpec(
        "book_orders",
        "one order of the continuous book for one quarter-hour",
        (
            Column("order_id", "key", "key of the order", unique=True),
            Column("kind", "int8", "0 offer, 1 request, 2 paired request", lo=0, hi=2),
            Column("element", "key", "where the offer acts, or at and below which the request wants it"),
            _DIRECTION,
            _STEP,
            Column("quantity_w", "int64", "power", "W", lo=1, hi=_W),
            Column(
                "price_ueur_per_mwh",
                "int64",
                "what the operator pays: least for an offer, most for a request (a paired one: for the spread)",
                "micro-EUR/MWh",
                lo=-_PRICE,
                hi=_PRICE,
            ),
            Column("arrived_at", "int64", "time of arrival in any unit; equal ones by row", required=False, default=0),
            Column("expires_at", "int64", "first time at which it is over", required=False, default=2**62),
            Column("cancelled_at", "int64", "time of its cancellation", required=False, default=2**62),
            Column(
                "completion",
                "int8",
                "0 the rest stays, 1 fill and kill, 2 fill or kill",
                required=False,
                default=0,
                lo=0,
                hi=2,
            ),
            Column("minimum_w", "int64", "smallest total to be traded, if any", "W", required=False, default=0, lo=0),
        ),
    ),
)
