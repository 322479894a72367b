"""MSD: the TSO's selection for the residual global need, within every capability and unavailability (D4.1 6.3)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.awards import sum_members
from flexcore.market.merit_order import select_capped
from flexcore.market.offers import OfferBook
from flexcore.market.traffic_light import RED, TrafficLight
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, UP, amount_ueur, exact_sum

Int64s = npt.NDArray[np.int64]
Unit = Literal["hour", "quarter"]

#: Why a line was taken or not, per market time unit.
NOT_OFFERED, ACCEPTED, PARTLY, NOT_NEEDED, OTHER_DIRECTION, ABOVE_CAP, RED_LIGHT, CAPABILITY, NO_PERIMETER = range(9)
REASON_NAMES = (
    "nothing offered through the whole unit",
    "accepted",
    "accepted in part: need met",
    "no need, or met by cheaper offers",
    "other direction needed",
    "above the price cap",
    "red light",
    "capability used up",
    "outside every perimeter",
)


@dataclass(frozen=True, slots=True)
class ResidualNeed:
    """The global need after standing local activations (MSD-01); positive is up.

    Attributes
    ----------
    need_w : ndarray of int64, shape (n_zones, n_steps)
        The TSO's need without local activation. [W]
    local_w : ndarray of int64, shape (n_zones, n_steps)
        Standing local activations, up minus down. [W]
    residual_w : ndarray of int64, shape (n_zones, n_steps)
        need - local: what is left to buy, its sign may flip. [W]
    discordant_w : ndarray of int64, shape (n_zones, n_steps)
        Part of |local| that raises |residual|: the inefficiency that D4.1 accepts (Figure 15). [W]
    """

    need_w: Int64s
    local_w: Int64s
    residual_w: Int64s
    discordant_w: Int64s

    @property
    def concordant_w(self) -> Int64s:
        """Part of |local| that lowers |residual|: what MSD need not buy any more."""
        return np.abs(self.local_w) - self.discordant_w


def residual_need(
    need_w: npt.ArrayLike,
    local_up_w: npt.ArrayLike,
    local_down_w: npt.ArrayLike,
    day: MarketDay,
    *,
    steps: slice = slice(None),
) -> ResidualNeed:
    """Subtract standing local activations from the global need (MSD-01).

    Parameters
    ----------
    need_w : array_like of int, shape (n_zones, n_hours) or (n_zones, n_steps)
        Signed need, up positive. [W] A need per hour holds for each of its quarter-hours.
    local_up_w, local_down_w : array_like of int, shape (n_zones, n_steps)
        Sums of the standing local awards. [W]
    day : MarketDay
    steps : slice
        Steps of the session (`day.plan(k)`); everything is zero outside.

    Raises
    ------
    TimeSeriesError
        FX-T002 if the series do not fit the day.
    """
    need = as_int(need_w, "need_w", shape=(None, None))
    if need.shape[1] == day.n_hours:
        need = day.from_mtu(need, "hour")
    day.check_steps(need.shape[1], "need_w")
    up = as_int(local_up_w, "local_up_w", shape=need.shape, lo=0)
    down = as_int(local_down_w, "local_down_w", shape=need.shape, lo=0)
    inside = np.zeros(day.n_steps, np.int64)
    inside[steps] = 1
    need = need * inside
    local = (up - down) * inside
    # against the need all of it is discordant; with the need only what goes beyond it
    with_need = np.sign(local) * np.sign(need) > 0
    discordant = np.where(with_need, np.maximum(np.abs(local) - np.abs(need), 0), np.abs(local))
    return ResidualNeed(need, local, need - local, discordant)


@dataclass(frozen=True, slots=True)
class GlobalSelection:
    """What the TSO takes in one MSD session.

    Attributes
    ----------
    accepted_w : ndarray of int64, shape (n_lines, n_steps)
        Constant within a market time unit. [W]
    need : ResidualNeed
    wanted_w : ndarray of int64, shape (n_zones, n_units)
        Signed residual need of each market time unit. [W]
    unserved_w : ndarray of int64, shape (n_zones, n_units)
        Part of |wanted| that no offer could serve. [W]
    residual_after_w : ndarray of int64, shape (n_zones, n_steps)
        Residual minus what was taken, signed. [W]
    reason : ndarray of uint8, shape (n_lines, n_units)
        One of the reasons of this module; `CAPABILITY` also marks lines taken in part because of it.
    mtu : {"hour", "quarter"}
    cost_ueur : int
        Accepted energy at the offered price. [micro-EUR]
    """

    accepted_w: Int64s
    need: ResidualNeed
    wanted_w: Int64s
    unserved_w: Int64s
    residual_after_w: Int64s
    reason: npt.NDArray[np.uint8]
    mtu: Unit
    cost_ueur: int

    def to_arrow(self, book: OfferBook) -> Any:
        """Return one row per line and market time unit in which something was offered, as a pyarrow Table."""
        import pyarrow as pa

        quarters = 4 if self.mtu == "hour" else 1
        line, unit = np.nonzero(self.reason != NOT_OFFERED)
        offered = per_unit(book.quantity_w, self.mtu)
        return pa.table(
            {
                "line": book.line_id[line],
                self.mtu: unit,
                "direction": np.array(("up", "down"))[book.direction[line]],
                "price_ueur_per_mwh": book.price_ueur_per_mwh[line],
                "offered_w": offered[line, unit],
                "accepted_w": self.accepted_w[line, unit * quarters],
                "reason": np.array(REASON_NAMES)[self.reason[line, unit]],
            }
        )


def per_unit(quantity_w: Int64s, mtu: Unit) -> Int64s:
    """What a line can keep up through a market time unit: the least of its quarter-hours."""
    if mtu == "quarter":
        return quantity_w
    return np.asarray(quantity_w.reshape(quantity_w.shape[0], -1, 4).min(axis=-1))


def _largest_of_unit(values: Int64s, mtu: Unit) -> Int64s:
    """The signed value of largest size in each unit, the earliest one on a tie: the need of an hour."""
    if mtu == "quarter":
        return values
    hours = values.reshape(values.shape[0], -1, 4)
    at = np.argmax(np.abs(hours), axis=-1)[..., None]
    return np.take_along_axis(hours, at, axis=-1)[..., 0]


def place_lines(
    book: OfferBook, light: TrafficLight, zone: npt.ArrayLike | int, *, n_zones: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Check and return the perimeter, -1 for none, and the zone of each line; no perimeter lies in two zones."""
    given = np.asarray(zone)
    of_line = np.broadcast_to(given, (book.n_lines,)) if given.size == 1 else given
    zones = as_int(of_line, "zone", dtype=np.int32, shape=(book.n_lines,), lo=0, hi=n_zones - 1)
    perimeter = as_int(
        book.perimeter, "perimeter", dtype=np.int32, shape=(book.n_lines,), lo=-1, hi=light.n_perimeters - 1
    )
    inside = perimeter >= 0
    pairs = np.unique(np.stack([perimeter[inside], zones[inside]], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    if (counts > 1).any():
        found = Findings("perimeters")
        bad = names[counts > 1]
        hint = "draw perimeters within a zone; only then is the merit order exact"
        found.add("FX-M108", f"{bad.size} perimeters lie in more than one zone", ids=bad, hint=hint)
        found.raise_errors(OfferError)
    return perimeter, zones


def select_global(
    book: OfferBook,
    need: ResidualNeed,
    light: TrafficLight,
    day: MarketDay,
    *,
    zone: npt.ArrayLike | int = 0,
    price_cap_ueur_per_mwh: int | None = None,
) -> GlobalSelection:
    """Take the cheapest lines for the residual need, within every capability (MSD-02).

    Parameters
    ----------
    book : OfferBook
        Restated global lines (`restate`): quantities count only PODs that are free to the TSO. Each line lies in one
        perimeter of the light's version (`split_by_perimeter`); a line at perimeter -1 is not taken.
    need : ResidualNeed
    light : TrafficLight
        Its market time unit is that of the selection.
    day : MarketDay
    zone : array_like of int, shape (n_lines,), or int
        Zone of each line.
    price_cap_ueur_per_mwh : int, optional
        Dearer lines are not taken.

    Returns
    -------
    GlobalSelection

    Raises
    ------
    OfferError
        FX-M108 if a perimeter lies in several zones.
    TimeSeriesError
        FX-T002 if book and day do not fit.

    Notes
    -----
    Caps are laminar (line, perimeter, zone), so taking the cheapest first, by (price, submission time, id), serves most
    and costs least. Per zone and unit only the direction of the residual is bought, never beyond it (OFR-03). An hourly
    need is the largest residual of its quarters, an hourly offer the least quantity of its quarters.
    """
    day.check_steps(book.n_steps, "quantity_w")
    mtu = light.mtu
    perimeter, zones = place_lines(book, light, zone, n_zones=int(need.residual_w.shape[0]))
    offered = per_unit(book.quantity_w, mtu)
    wanted = _largest_of_unit(need.residual_w, mtu)
    cap = np.iinfo(np.int64).max if price_cap_ueur_per_mwh is None else price_cap_ueur_per_mwh
    payable = book.price_ueur_per_mwh <= cap
    taken = np.zeros_like(offered)
    for way, sign in ((UP, 1), (DOWN, -1)):
        usable = payable & (book.direction == way)
        taken += select_capped(
            book.price_ueur_per_mwh,
            book.submitted_at,
            book.line_id,
            np.where(usable[:, None], offered, 0),
            perimeter,
            np.maximum(sign * wanted, 0),
            light.capability_w[way],
            zone=zones,
        )
    per_zone = np.zeros_like(wanted)
    np.add.at(per_zone, zones, taken)
    unserved = np.abs(wanted) - per_zone
    reason = _reasons(book, light, taken, offered, wanted, unserved, perimeter, zones, payable)
    accepted_w = day.from_mtu(taken, mtu)
    signed = day.from_mtu(per_zone * np.sign(wanted), mtu)
    energy = accepted_w.sum(axis=1)
    cost = exact_sum(amount_ueur(energy, book.price_ueur_per_mwh))
    selection = GlobalSelection(accepted_w, need, wanted, unserved, need.residual_w - signed, reason, mtu, cost)
    check_selection(selection.accepted_w, book, light)
    return selection


def _reasons(
    book: OfferBook,
    light: TrafficLight,
    taken: Int64s,
    offered: Int64s,
    wanted: Int64s,
    unserved: Int64s,
    perimeter: npt.NDArray[np.int32],
    zones: npt.NDArray[np.int32],
    payable: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """Say per line and unit why it was taken or not."""
    rank = np.empty(book.n_lines, np.int64)
    rank[book.merit_order] = np.arange(book.n_lines)
    # the dearest line taken per zone: cheaper ones that were passed over met a full perimeter
    last = np.full(wanted.shape, -1, np.int64)
    np.maximum.at(last, zones, np.where(taken > 0, rank[:, None], -1))
    passed_over = (unserved[zones] > 0) | (rank[:, None] < last[zones])
    reason = np.where(taken > 0, PARTLY, NOT_NEEDED).astype(np.uint8)
    reason[passed_over] = CAPABILITY
    red = light.colour[book.direction.astype(np.intp), np.maximum(perimeter, 0)] == RED if light.n_perimeters else None
    if red is not None:
        reason[red] = RED_LIGHT
    reason[perimeter < 0] = NO_PERIMETER
    reason[~payable] = ABOVE_CAP
    sign = np.where(book.direction == UP, 1, -1)
    asked = np.sign(wanted)[zones]
    reason[asked == -sign[:, None]] = OTHER_DIRECTION
    reason[asked == 0] = NOT_NEEDED
    reason[taken == offered] = ACCEPTED
    reason[offered == 0] = NOT_OFFERED
    return reason


def check_selection(accepted_w: npt.ArrayLike, book: OfferBook, light: TrafficLight) -> None:
    """Check that a selection, from whichever market engine, respects light and offers (MSD-02).

    Parameters
    ----------
    accepted_w : array_like of int, shape (n_lines, n_steps)
    book : OfferBook
        The restated book.
    light : TrafficLight

    Raises
    ------
    OfferError
        FX-M110 a red direction is selected, FX-M109 a sum exceeds a capability or an award exceeds its line.
    """
    accepted = as_int(accepted_w, "accepted_w", shape=book.quantity_w.shape, lo=0)
    found = Findings("selection", book.n_lines)
    bad = np.flatnonzero((accepted > book.quantity_w).any(axis=1))
    if bad.size:
        found.add("FX-M109", f"{bad.size} awards exceed their line", rows=bad, ids=book.line_id[bad])
    outside = np.flatnonzero((book.perimeter < 0) & accepted.any(axis=1))
    if outside.size:
        found.add("FX-M109", f"{outside.size} lines outside every perimeter are selected", ids=book.line_id[outside])
    capability = light.capability_of_steps()
    for way, name in ((UP, "up"), (DOWN, "down")):
        group = np.where(book.direction == way, book.perimeter, -1)
        total = sum_members(accepted, group, light.n_perimeters)
        colour = light.colour[way] if light.mtu == "quarter" else np.repeat(light.colour[way], 4, axis=-1)
        red = np.flatnonzero(((colour == RED) & (total > 0)).any(axis=1))
        if red.size:
            found.add("FX-M110", f"{red.size} perimeters are selected {name} although red", ids=red)
        over = np.flatnonzero(((colour != RED) & (total > capability[way])).any(axis=1))
        if over.size:
            found.add("FX-M109", f"{over.size} perimeters exceed their capability {name}", ids=over)
    found.raise_errors(OfferError)


def to_unit(need_w: npt.ArrayLike, day: MarketDay, mtu: Unit = "hour") -> Int64s:
    """Bring signed needs per quarter-hour to the market time unit: the value of largest size in each hour.

    Parameters
    ----------
    need_w : array_like of int, shape (n_zones, n_steps)
    day : MarketDay
    mtu : {"hour", "quarter"}
    """
    check_option("mtu", mtu, ("hour", "quarter"))
    need = as_int(need_w, "need_w", shape=(None, day.n_steps))
    return _largest_of_unit(need, mtu)
