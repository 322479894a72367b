"""Tables of long-term contracts: service windows, tenders, their needs and offers, and the contracts."""

from flexcore.tables.spec import Column, TableSpec

_W = 10**9  # 1 GW
_PRICE = 2**50
_ALL_MONTHS, _ALL_DAYS = 2**12 - 1, 2**7 - 1


def _price(name: str, meaning: str, unit: str, *, lo: int = 0, cap: bool = False) -> Column:
    return Column(name, "int64", meaning, unit, lo=lo, hi=_PRICE, required=not cap, default=_PRICE if cap else None)


_AVAILABILITY, _USE = "micro-EUR/MW/h", "micro-EUR/MWh"
_WINDOW = Column("window_id", "key", "row of service_windows")
_DIRECTION = Column("direction", "int8", "0 up, 1 down", lo=0, hi=1)
_PERIMETER = Column("perimeter", "key", "flexibility perimeter (flex_area)")
_TIME = Column("submitted_at", "int64", "time of submission; breaks ties", required=False, default=0)
_BSP = Column("bsp", "key", "who offers")
_AGGREGATE = Column("aggregate", "key", "whose capacity it is")

LONG_TERM: tuple[TableSpec, ...] = (
    TableSpec(
        "service_windows",
        "one service window: the local quarter-hours in which contracted power must be available",
        (
            Column("window_id", "key", "key of the window", unique=True),
            Column("first_day", "str", "first local day, YYYY-MM-DD"),
            Column("last_day", "str", "last local day, included"),
            Column(
                "months", "int32", "one bit a month, January is 1", lo=1, hi=_ALL_MONTHS, required=False,
                default=_ALL_MONTHS,
            ),
            Column(
                "weekdays", "int32", "one bit a weekday, Monday is 1", lo=1, hi=_ALL_DAYS, required=False,
                default=_ALL_DAYS,
            ),
            Column("from_quarter", "int32", "first quarter-hour by the local clock, 0 is 00:00", lo=0, hi=95),
            Column("to_quarter", "int32", "end by the local clock, not included, 96 is 24:00", lo=1, hi=96),
        ),
    ),
    TableSpec(
        "longterm_tenders",
        "one auction: a perimeter and a direction",
        (
            Column("tender_id", "key", "key of the tender", unique=True),
            _PERIMETER,
            _DIRECTION,
            Column(
                "budget_ueur", "int64", "most that the expected total cost may be", "micro-EUR", lo=0, hi=2**62,
                required=False, default=2**62,
            ),
            _price("availability_cap_ueur_per_mw_h", "highest availability price", _AVAILABILITY, cap=True),
            _price("use_cap_ueur_per_mwh", "highest use price", _USE, cap=True),
            Column(
                "granularity_w", "int64", "awards are multiples of it", "W", lo=1, hi=_W, required=False, default=1
            ),
        ),
    ),
    TableSpec(
        "longterm_needs",
        "what one tender needs in one service window",
        (
            Column("tender_id", "key", "row of longterm_tenders"),
            _WINDOW,
            Column("required_w", "int64", "effective power required throughout the window", "W", lo=0, hi=_W),
            Column("activation_ppm", "int64", "probability that the power is used at all", "1e-6", lo=0, hi=10**6),
            Column(
                "use_quarters", "int64", "quarter-hours of use if it is; -1: all of the window", lo=-1, hi=10**7,
                required=False, default=-1,
            ),
        ),
    ),
    TableSpec(
        "longterm_offers",
        "one offer: one capacity, for all windows that longterm_offer_windows names",
        (
            Column("offer_id", "key", "key of the offer", unique=True),
            Column("tender_id", "key", "row of longterm_tenders"),
            _BSP,
            _AGGREGATE,
            Column("quantity_w", "int64", "offered power", "W", lo=0, hi=_W),
            Column(
                "min_w", "int64", "least award other than none; equal to quantity_w: all or nothing", "W", lo=0, hi=_W,
                required=False, default=0,
            ),
            Column(
                "effect_permille", "int64", "effective power per offered power", "1e-3", lo=1, hi=1000, required=False,
                default=1000,
            ),
            _price("availability_ueur_per_mw_h", "paid for each MW and hour of availability", _AVAILABILITY),
            _price("use_ueur_per_mwh", "paid for each MWh of use", _USE),
            _TIME,
        ),
    ),
    TableSpec(
        "longterm_offer_windows",
        "one window that one offer covers",
        (Column("offer_id", "key", "row of longterm_offers"), _WINDOW),
    ),
    TableSpec(
        "longterm_contracts",
        "one contract: what an auction awards, or a non-market contract at fixed terms",
        (
            Column("contract_id", "key", "key of the contract", unique=True),
            _BSP,
            _AGGREGATE,
            _PERIMETER,
            _DIRECTION,
            Column("contracted_w", "int64", "contracted power", "W", lo=0, hi=_W),
            _price("availability_ueur_per_mw_h", "paid for each MW and hour of availability", _AVAILABILITY),
            _price("use_ueur_per_mwh", "paid for each MWh of use; negative: the BSP pays", _USE, lo=-_PRICE),
            Column(
                "call_order", "int32", "0: from the market; non-market: negative before it, positive after, ascending",
                required=False, default=0,
            ),
            _TIME,
        ),
    ),
    TableSpec(
        "longterm_contract_windows",
        "one window of one contract",
        (Column("contract_id", "key", "row of longterm_contracts"), _WINDOW),
    ),
)  # fmt: skip
