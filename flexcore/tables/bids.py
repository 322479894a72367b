"""Tables of a selection whose offers and needs carry conditions: the plain columns, and optional ones with defaults."""

from flexcore.tables.selection import SELECTION
from flexcore.tables.spec import Column, TableSpec, optional

_PRICE = 2**50
_W = 2**40
_DAY_S = 2**31

#: Key that stands for none where keys are numbers; where they are text it is the empty text.
NO_KEY = -1
#: Value of `cap_ueur_per_mwh` for a need without a cap, and of `expires_at` for an offer that does not expire.
NEVER = 2**62

_PLAIN = {spec.name: spec.columns for spec in SELECTION}


BIDS: tuple[TableSpec, ...] = (
    TableSpec(
        "clearing_bids",
        "one price step of one offer with conditions in one quarter-hour",
        (
            *_PLAIN["clearing_offers"],
            optional("price_step", "int32", "place in the price curve of its offer: filled in this order", 0, lo=0),
            optional(
                "min_w", "int64", "least power that may be accepted; the quantity: all or nothing", 0, "W", lo=0, hi=_W
            ),
            optional("granularity_w", "int64", "accepted power is a multiple of this", 1, "W", lo=1, hi=_W),
            optional(
                "completion",
                "str",
                "fill_or_kill: all or nothing; the other two end alike in an auction",
                "normal",
                choices=("normal", "fill_or_kill", "fill_and_kill"),
            ),
            optional(
                "block", "key", "rows of one block get one common share of their quantities; -1 or empty: none", NO_KEY
            ),
            optional(
                "role",
                "str",
                "rebound: energy that an accepted block gives back, in its own direction",
                "deliver",
                choices=("deliver", "rebound"),
            ),
            optional("exclusive", "key", "group of which one at most is accepted; -1 or empty: none", NO_KEY),
            optional(
                "exclusive_scope",
                "str",
                "whether the group counts by step or over the day",
                "day",
                choices=("step", "day"),
            ),
            optional("unit", "key", "who runs and rests; -1 or empty: the block or the offer itself", NO_KEY),
            optional(
                "notice_s", "int64", "time it needs between the selection and its quarter-hour", 0, "s", lo=0, hi=_DAY_S
            ),
            optional("recovery_s", "int64", "least rest of the unit between two runs", 0, "s", lo=0, hi=_DAY_S),
            optional("max_run_s", "int64", "longest run of the unit", _DAY_S, "s", lo=900, hi=_DAY_S),
            optional(
                "expires_at",
                "int64",
                "void from here on: on the clock of `decided_at`, or a datetime with a zone",
                NEVER,
                "s",
            ),
            optional(
                "availability_ueur_per_mwh",
                "int64",
                "price of keeping the power ready, paid beside the price of use",
                0,
                "micro-EUR/MWh",
                lo=-_PRICE,
                hi=_PRICE,
            ),
        ),
    ),
    TableSpec(
        "clearing_requests",
        "one need, or one buy bid with a price cap, at and below one element in one quarter-hour",
        (
            *_PLAIN["clearing_needs"],
            optional("need_id", "key", "key of the need, for others to name; -1 or empty: none", NO_KEY),
            optional("condition", "key", "counts only where this need of the same step is served in full", NO_KEY),
            optional(
                "cap_ueur_per_mwh",
                "int64",
                "most that is paid for it; 2^62: it is served whatever the price",
                NEVER,
                "micro-EUR/MWh",
                lo=-_PRICE,
            ),
        ),
    ),
    TableSpec(
        "clearing_places",
        "one element at which an offer's PODs may act, the split being unknown",
        (
            Column("offer_id", "key", "offer; its own element is at or above all its places"),
            _PLAIN["clearing_offers"][1],
            Column("power_w", "int64", "most that its PODs can move here", "W", lo=0, hi=_W),
        ),
    ),
)
