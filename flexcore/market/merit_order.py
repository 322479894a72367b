"""Merit order without a grid: needs per zone, caps per perimeter."""

import datetime as dt
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, TimeSeriesError

#: Largest power of one offer, need or cap: sums of millions of them stay far below 2^63. [W]
MAX_W = 2**40
_STEPS_PER_CHUNK = 4
_EPOCH, _MICROSECOND = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(microseconds=1)


def _keys(values: Any, name: str, n: int) -> npt.NDArray[Any]:
    """Return keys or times as an array of shape (n,), none of them missing."""
    raw = np.asarray(values)
    found = Findings(name)
    if raw.shape != (n,):
        found.add("FX-A001", f"{name} has shape {raw.shape}, expected ({n},)")
    elif raw.dtype.kind == "O":
        missing = [row for row, value in enumerate(raw) if value is None or value != value]
        if missing:
            found.add("FX-A010", f"{name} is missing in {len(missing)} rows", rows=missing)
    found.raise_errors(OfferError)
    if raw.dtype.kind == "O" and all(isinstance(value, int | np.integer) for value in raw):
        raw = np.array(raw.tolist())
    return raw


def as_rank(values: Any, name: str, n: int) -> npt.NDArray[np.int64]:
    """Return whole numbers that sort like the keys, all whole numbers or all text, shape (n,); None ranks all alike."""
    if values is None:
        return np.zeros(n, np.int64)
    raw = _keys(values, name, n)
    if raw.dtype.kind == "O" and all(isinstance(value, str) for value in raw):
        raw = raw.astype(str)
    if raw.dtype.kind not in "US":
        raw = as_int(raw, name)
    return np.unique(raw, return_inverse=True)[1].astype(np.int64)


def as_time(values: Any, name: str, n: int) -> npt.NDArray[np.int64]:
    """Return whole numbers that sort like the times, shape (n,); None ranks all alike.

    Times are whole numbers in any one unit, or datetimes or Arrow timestamps with a zone.

    Raises
    ------
    TimeSeriesError
        FX-T001 a time without zone: two clocks cannot be put in order.
    """
    if values is None:
        return np.zeros(n, np.int64)
    if getattr(getattr(values, "type", None), "tz", None) is not None:
        values = values.cast("int64")  # Arrow: as an array of numpy it would lose its zone
    raw = _keys(values, name, n)
    naive: Any = range(n) if raw.dtype.kind == "M" else []
    if raw.dtype.kind == "O" and all(isinstance(value, dt.datetime) for value in raw):
        naive = [row for row, value in enumerate(raw) if value.tzinfo is None]
        if not naive:
            raw = np.array([(value - _EPOCH) // _MICROSECOND for value in raw], np.int64)
    if len(naive):
        found = Findings(name, n)
        hint = "pass datetimes with a zone, or whole numbers"
        found.add("FX-T001", f"{len(naive)} times have no time zone", field=name, rows=naive, hint=hint)
        found.raise_errors(TimeSeriesError)
    return np.asarray(as_int(raw, name))


def as_price(values: npt.ArrayLike, n_offers: int, n_steps: int) -> npt.NDArray[np.int64]:
    """Return prices in micro-EUR/MWh step-major, shape (1 or n_steps, n_offers)."""
    raw = np.asarray(values)
    shape = (n_offers,) if raw.ndim == 1 else (n_offers, n_steps)
    price = as_int(raw, "price_ueur_per_mwh", shape=shape, lo=-(2**50), hi=2**50)
    return np.ascontiguousarray(np.atleast_2d(price.T))


def select_capped(
    price_ueur_per_mwh: npt.ArrayLike,
    submitted_at: Any,
    offer_id: Any,
    quantity_w: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    need_w: npt.ArrayLike,
    capability_w: npt.ArrayLike,
    *,
    zone: npt.ArrayLike | None = None,
    n_threads: int = 1,
) -> npt.NDArray[np.int64]:
    """Accept offers of one direction in merit order up to the need, no perimeter above its capability.

    Exact, that is most need served at least cost, because an offer lies in one perimeter and a perimeter in one zone:
    caps that nest make the cheapest-first choice optimal. Nothing is bought beyond the need, whatever the price.

    Parameters
    ----------
    price_ueur_per_mwh : array_like of int64, shape (n_offers,) or (n_offers, n_steps)
        Negative where the BSP pays. [micro-EUR/MWh]
    submitted_at, offer_id : array_like, shape (n_offers,), or None
        Ties of price are broken by time, then id, then position. Times are whole numbers, or datetimes with a zone.
    quantity_w : array_like of int64, shape (n_offers, n_steps)
        Not negative. [W]
    perimeter : array_like of int, shape (n_offers,)
        Row of `capability_w`; -1: nothing may be taken.
    need_w : array_like of int64, shape (n_steps,) or (n_zones, n_steps)
        Not negative. [W]
    capability_w : array_like of int64, shape (n_perimeters, n_steps)
        Total that each perimeter may move in this direction. [W]
    zone : array_like of int, shape (n_offers,), optional
        Row of `need_w`; the first for all by default.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_offers, n_steps)
        Accepted power. [W]

    Raises
    ------
    OfferError
        FX-M201 an unknown perimeter or zone.
    TimeSeriesError
        FX-T001 a time without zone.
    ValidationError
        FX-A001..FX-A010 for shapes, types, NaN, negative quantities and missing ids or times.
    """
    from flexcore.kernels.market.merit_order import plain_merit_order

    quantity = as_int(quantity_w, "quantity_w", shape=(None, None), lo=0, hi=MAX_W)
    n_offers, n_steps = quantity.shape
    price = as_price(price_ueur_per_mwh, n_offers, n_steps)
    need = as_int(np.atleast_2d(np.asarray(need_w)), "need_w", shape=(None, n_steps), lo=0)
    capability = as_int(capability_w, "capability_w", shape=(None, n_steps), lo=0)
    where = as_int(perimeter, "perimeter", dtype=np.int32, shape=(n_offers,), lo=-1)
    zones = as_int(
        np.zeros(n_offers, np.int32) if zone is None else zone, "zone", dtype=np.int32, shape=(n_offers,), lo=0
    )
    found = Findings("offers", n_offers)
    for name, values, count in (("perimeter", where, capability.shape[0]), ("zone", zones, need.shape[0])):
        bad = np.flatnonzero(values >= count)
        if bad.size:
            found.add("FX-M201", f"{name} is not a row of its table", field=name, rows=bad, ids=values[bad])
    found.raise_errors(OfferError)
    time, ids = as_time(submitted_at, "submitted_at", n_offers), as_rank(offer_id, "offer_id", n_offers)
    order = np.array([np.lexsort((ids, time, row)) for row in price], np.int32).reshape(-1, n_offers)
    by_step = [np.ascontiguousarray(x.T) for x in (quantity, capability, need)]
    accepted = np.empty((n_steps, n_offers), np.int64)

    def task(lo: int, hi: int) -> None:
        plain_merit_order(order, by_step[0], where, by_step[1], zones, by_step[2], accepted, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return np.ascontiguousarray(accepted.T)
