"""What accepted offers are paid: as bid, as clear, or at the local price of their element."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.cleared import Cleared
from flexcore.market.tree_clearing import NO_BOUND
from flexcore.units import WQH_PER_MWH, amount_ueur, exact_sum

I8A = npt.NDArray[np.int64]
Rule = Literal["pay_as_bid", "pay_as_clear", "local"]

RULES = ("pay_as_bid", "pay_as_clear", "local")
#: Stands for a price that does not exist: nothing more can be had, or nothing is accepted.
NO_PRICE = NO_BOUND
_STEPS_PER_CHUNK = 4


@dataclass(frozen=True, slots=True)
class LocalPrices:
    """What one W of up is worth at each element, in counted prices; of down, the negative.

    Counted prices are offered prices plus `raised` (OFR-03): where the cheapest offer of a feeder costs less than one
    micro-EUR/MWh all its offers count as raised. An offer up at an element with the price v is paid v - raised, an
    offer down -v - raised.

    Attributes
    ----------
    low, high : ndarray of int64, shape (n_elements, n_steps)
        Least and greatest price that supports the selection: what one W less costs less, and what one W more costs.
        -`NO_PRICE` and `NO_PRICE` where there is no such bound: one W more cannot be had. [micro-EUR/MWh]
    price : ndarray of int64, shape (n_elements, n_steps)
        The supporting price nearest to zero: the price of the dearest accepted offer that the element competes with.
        All elements together support the selection with it, as they do with `low` and with `high`. [micro-EUR/MWh]
    raised : ndarray of int64, shape (n_elements, n_steps)
        [micro-EUR/MWh]
    priced : ndarray of bool, shape (n_elements, n_steps)
        False in feeders whose selection no such prices support; the prices are 0 there. Voltage rows or indivisible
        offers decided it.
    element_id : ndarray of object, shape (n_elements,)
    step : ndarray of int64, shape (n_steps,)
    """

    low: I8A
    high: I8A
    price: I8A
    raised: I8A
    priced: npt.NDArray[np.bool_]
    element_id: npt.NDArray[Any]
    step: I8A

    def to_arrow(self) -> Any:
        """Return one row per element and step as a pyarrow Table; prices that do not exist are null."""
        import pyarrow as pa

        element, step = (axis.ravel() for axis in np.indices(self.low.shape))

        def column(values: I8A, gone: npt.NDArray[np.bool_]) -> Any:
            return pa.array(values.ravel(), mask=(gone | ~self.priced).ravel())

        return pa.table(
            {
                "element": [str(key) for key in self.element_id[element]],
                "step": self.step[step],
                "low": column(self.low, self.low <= -NO_PRICE),
                "price": column(self.price, np.zeros(self.price.shape, np.bool_)),
                "high": column(self.high, self.high >= NO_PRICE),
                "raised": self.raised.ravel(),
                "priced": self.priced.ravel(),
            }
        )


def price_elements(cleared: Cleared, *, n_threads: int = 1) -> tuple[I8A, I8A, I8A, I8A, npt.NDArray[np.bool_]]:
    """Return low, high, price, raised and priced on the preorder, each (n_steps, n); see `LocalPrices`."""
    from flexcore.kernels.market.local_prices import local_prices as kernel

    shape = cleared.y_w.shape
    raised, low, high = (np.empty(shape, np.int64) for _ in range(3))
    priced = np.empty(shape, np.uint8)
    tree, rows, book = cleared.tree, cleared.rows, cleared.book

    def task(lo: int, hi: int) -> None:
        kernel(
            tree.parent, tree.feeder, book.node, book.down, book.price, book.quantity_w, cleared.accepted_w,
            cleared.barred, rows.lower_w, rows.upper_w, cleared.y_w, raised, low, high, priced, lo, hi,
        )  # fmt: skip

    run_chunks(task, shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    good = priced == 1
    low, high = np.where(good, low, 0), np.where(good, high, 0)
    return low, high, np.clip(0, low, high), raised, good


def local_prices(cleared: Cleared, *, n_threads: int = 1) -> LocalPrices:
    """Return the marginal price of every element of a laminar clearing, exactly.

    Parameters
    ----------
    cleared : Cleared
    n_threads : int
        Never changes the result.

    Returns
    -------
    LocalPrices

    Notes
    -----
    Complementary slackness: with any of `low`, `price`, `high` every accepted offer costs at most the price at its
    element, every offer that is not fully accepted at least that; below an element the price is higher only if its row
    is at the lower bound (a need) and lower only if it is at the upper bound. Needs count as far as they are served.
    Offers that did not take part (`Cleared.barred`), such as those of a direction that their perimeter may not use,
    have no say: they may be cheaper than the price. `price` is such a vector because 0 satisfies all that links two
    elements, and the greater, or the lesser, of two vectors that satisfy it satisfies it too.
    """
    low, high, price, raised, priced = price_elements(cleared, n_threads=n_threads)
    at = cleared.to_elements
    return LocalPrices(at(low), at(high), at(price), at(raised), at(priced), cleared.element_id, cleared.step)


@dataclass(frozen=True, slots=True)
class CongestionRent:
    """Where the money between the needs and the offers goes at local prices.

    Attributes
    ----------
    charge_ueur : ndarray of int64, shape (n_elements, n_steps)
        Served need times what the price rises by at its element. [micro-EUR]
    rent_ueur : ndarray of int64, shape (n_elements, n_steps)
        Flow through a full element times what the price falls by there: what the buyer would pay on top if all offers
        got the price of the need. [micro-EUR]
    total_charge_ueur, total_rent_ueur : int
        Sums, rounded once, half to even; charge minus rent is what offers are paid, at counted prices. [micro-EUR]
    """

    charge_ueur: I8A
    rent_ueur: I8A
    total_charge_ueur: int
    total_rent_ueur: int


def congestion_rent(cleared: Cleared, *, n_threads: int = 1) -> CongestionRent:
    """Return the charges of the needs and the buyer's congestion rent at the local prices `LocalPrices.price`.

    Parameters
    ----------
    cleared : Cleared
    n_threads : int
        Never changes the result.
    """
    _, _, price, _, _ = price_elements(cleared, n_threads=n_threads)
    above = np.where(cleared.tree.parent >= 0, cleared.tree.parent, 0)
    change = np.where(cleared.tree.parent >= 0, price - price[:, above], 0)
    # up pays where the price rises with y > 0; down is the mirror image
    paid = np.where(change * np.sign(cleared.y_w) > 0, np.abs(change), 0)
    kept = np.where(change * np.sign(cleared.y_w) < 0, np.abs(change), 0)
    energy = np.abs(cleared.y_w) * cleared.quarters
    totals = [_exact(energy, part) for part in (paid, kept)]
    charge, rent = (cleared.to_elements(amount_ueur(energy, part)) for part in (paid, kept))
    return CongestionRent(charge, rent, *totals)


def _exact(energy_wqh: I8A, price: I8A) -> int:
    """Sum of energy times price in micro-EUR, rounded once; in Python integers, as it may need more than 63 bits."""
    used = np.nonzero((energy_wqh != 0) & (price != 0))
    total = sum(int(e) * int(p) for e, p in zip(energy_wqh[used], price[used], strict=True))
    quotient, rest = divmod(total, WQH_PER_MWH)
    return quotient + int(2 * rest > WQH_PER_MWH or (2 * rest == WQH_PER_MWH and quotient % 2 == 1))


@dataclass(frozen=True, slots=True)
class Payment:
    """What each offer is paid.

    Attributes
    ----------
    rule : str
        One of `RULES`.
    price_ueur_per_mwh : ndarray of int64, shape (n_offers, n_steps)
        Price of the accepted energy, 0 where none is accepted. [micro-EUR/MWh]
    paid_ueur : ndarray of int64, shape (n_offers, n_steps)
        Energy times price, rounded half to even per offer and step; negative: the BSP pays. [micro-EUR]
    total_ueur : int
        Its sum. [micro-EUR]
    bid_ueur : int
        The same at offered prices. [micro-EUR]
    offer_id : ndarray, shape (n_offers,)
    step : ndarray of int64, shape (n_steps,)
    """

    rule: str
    price_ueur_per_mwh: I8A
    paid_ueur: I8A
    total_ueur: int
    bid_ueur: int
    offer_id: npt.NDArray[Any]
    step: I8A

    def to_arrow(self) -> Any:
        """Return one row per offer and step with a payment or a price as a pyarrow Table."""
        import pyarrow as pa

        offer, step = np.nonzero((self.paid_ueur != 0) | (self.price_ueur_per_mwh != 0))
        return pa.table(
            {
                "offer_id": self.offer_id[offer],
                "step": self.step[step],
                "price_ueur_per_mwh": self.price_ueur_per_mwh[offer, step],
                "paid_ueur": self.paid_ueur[offer, step],
            }
        )


def clearing_prices(
    cleared: Cleared, zone: npt.ArrayLike | None = None, *, n_threads: int = 1
) -> npt.NDArray[np.int64]:
    """Return the pay-as-clear price of each zone, direction and step.

    Parameters
    ----------
    cleared : Cleared
    zone : array_like of int, shape (n_elements,), optional
        Zone or perimeter of each element, -1 for none; one zone by default.
    n_threads : int
        Never changes the result.

    Returns
    -------
    ndarray of int64, shape (n_zones, 2, n_steps)
        The price of the dearest accepted offer of the zone in the direction, `-NO_PRICE` where none is accepted. Each
        direction has its own. Offers that a full element kept out set no price, and neither does what was rejected. A
        price may be negative: then also the dearest accepted BSP pays. No accepted offer gets less than it asked for.

    Raises
    ------
    OfferError
        FX-M241 an accepted offer lies in no zone.
    """
    from flexcore.kernels.market.local_prices import dearest_accepted

    of_offer, n_zones = _zone_of_offer(cleared, zone)
    outside = np.flatnonzero((of_offer < 0) & cleared.accepted_w.any(axis=0))
    if outside.size:
        found = Findings("zone", cleared.n_offers)
        what = f"{outside.size} accepted offers lie at elements without a zone"
        found.add("FX-M241", what, field="zone", rows=outside, ids=cleared.offer_id[outside])
        found.raise_errors(OfferError)
    out = np.empty((cleared.n_steps, 2 * n_zones), np.int64)

    def task(lo: int, hi: int) -> None:
        dearest_accepted(of_offer, cleared.book.down, cleared.book.price, cleared.accepted_w, out, lo, hi)

    run_chunks(task, cleared.n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return np.ascontiguousarray(out.T).reshape(n_zones, 2, cleared.n_steps)


def _zone_of_offer(cleared: Cleared, zone: npt.ArrayLike | None) -> tuple[npt.NDArray[np.int32], int]:
    if zone is None:
        return np.zeros(cleared.n_offers, np.int32), 1
    label = as_int(zone, "zone", dtype=np.int32, shape=(cleared.element_id.size,), lo=-1)
    of_node = np.full(cleared.tree.parent.size, -1, np.int32)
    of_node[cleared.position] = label
    return np.ascontiguousarray(of_node[cleared.book.node]), int(label.max(initial=-1)) + 1


def pay(
    cleared: Cleared, rule: Rule = "pay_as_bid", *, zone: npt.ArrayLike | None = None, n_threads: int = 1
) -> Payment:
    """Pay the accepted offers.

    Parameters
    ----------
    cleared : Cleared
    rule : {"pay_as_bid", "pay_as_clear", "local"}
        The offered price; the price of the zone, see `clearing_prices`; or the local price of the element, see
        `local_prices`.
    zone : array_like of int, shape (n_elements,), optional
        For "pay_as_clear".
    n_threads : int
        Never changes the result.

    Returns
    -------
    Payment

    Raises
    ------
    OfferError
        FX-M241 an accepted offer has no price: it lies in no zone, or no local prices support the selection.
    SettlementError
        FX-S001 an amount is too large for 63 bits.
    """
    check_option("rule", rule, RULES)
    accepted, bid = cleared.accepted_w, cleared.price_ueur_per_mwh
    if rule == "pay_as_bid":
        price = bid
    elif rule == "pay_as_clear":
        of_offer, _ = _zone_of_offer(cleared, zone)
        by_zone = clearing_prices(cleared, zone, n_threads=n_threads)
        none = np.full((1, 2, cleared.n_steps), -NO_PRICE, np.int64)  # what -1 points to
        price = np.concatenate([by_zone, none])[of_offer, cleared.book.down].T
    else:
        _, _, at, raised, priced = price_elements(cleared, n_threads=n_threads)
        node = cleared.book.node
        bad = np.flatnonzero(((accepted > 0) & ~priced[:, node]).any(axis=0))
        if bad.size:
            found = Findings("rule", cleared.n_offers)
            found.add(
                "FX-M241", f"{bad.size} accepted offers have no local price", rows=bad, ids=cleared.offer_id[bad],
                hint="voltage rows or indivisible offers decided; use rule='pay_as_bid', or see `voltage_prices`",
            )  # fmt: skip
            found.raise_errors(OfferError)
        price = np.where(cleared.book.down == 1, -at[:, node], at[:, node]) - raised[:, node]
    price = np.where(accepted > 0, price, 0)
    energy = accepted * cleared.quarters
    paid = amount_ueur(energy, price)
    return Payment(
        rule, np.ascontiguousarray(price.T), np.ascontiguousarray(paid.T), exact_sum(paid),
        exact_sum(amount_ueur(energy, np.where(accepted > 0, bid, 0))), cleared.offer_id, cleared.step,
    )  # fmt: skip
