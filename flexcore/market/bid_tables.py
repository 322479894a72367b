"""Offers and needs with conditions: reads their tables, refuses contradictions, and lays them on the tree as arrays."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, OfferError, TimeSeriesError
from flexcore.market.bid_problem import BidProblem, Bids, Requests
from flexcore.market.local_clearing import GridLike, refuse_twins
from flexcore.market.merit_order import as_rank
from flexcore.market.tree_clearing import NO_BOUND, Book, Rows, Tree, forbidden_directions
from flexcore.tables import check
from flexcore.tables.bids import NEVER, NO_KEY
from flexcore.tables.check import Columns
from flexcore.units import DOWN, QUARTER_S, UP

I8A = npt.NDArray[np.int64]
BoolA = npt.NDArray[np.bool_]

#: Why a row is out before the selection; the numbers go on where those of `REASONS` end.
OUT_FORBIDDEN, OUT_NOTICE, OUT_EXPIRED = 6, 9, 10
_ENDLESS = 2**31  # steps: longer than any run


def given_columns(table: Any) -> set[str]:
    """Names of the columns of any table; none of what is no table, which its check refuses."""
    if table is None:
        return set()
    if isinstance(table, Mapping):
        return {str(name) for name in table}
    import pyarrow as pa

    try:
        arrow = table if isinstance(table, pa.Table) else pa.table(table)
    except (TypeError, ValueError):
        return set()
    return set(arrow.column_names)


def _none(keys: npt.NDArray[Any]) -> BoolA:
    """True where a key stands for none."""
    if keys.dtype.kind in "iu":
        return np.asarray(keys == NO_KEY)
    return np.isin(keys, ("", str(NO_KEY)))


def _codes(keys: npt.NDArray[Any]) -> I8A:
    """Whole numbers that stand for the keys, -1 for none."""
    code = np.unique(keys, return_inverse=True)[1].astype(np.int64).ravel()
    code[_none(keys)] = -1
    return code


def _together(*columns: npt.NDArray[Any]) -> I8A:
    """One whole number for each set of equal values."""
    return np.unique(np.stack([column.astype(np.int64) for column in columns]), axis=1, return_inverse=True)[1].ravel()


def _seconds(values: Any, day: Any, name: str) -> Any:
    """Seconds since the start of the first step, of whole numbers or datetimes with a zone."""
    listed = values.to_pylist() if hasattr(values, "to_pylist") else values
    raw = np.asarray(listed, dtype=object).ravel()
    if not any(isinstance(value, dt.datetime | np.datetime64) for value in raw):
        return values
    naive = [row for row, value in enumerate(raw) if getattr(value, "tzinfo", None) is None]
    found = Findings(name)
    if naive:
        found.add("FX-T001", f"{len(naive)} times have no time zone", field=name, rows=naive)
        found.raise_errors(TimeSeriesError)
    if day is None:
        found.add(
            "FX-M226", f"{name} is a datetime, but the day is not given", field=name, hint="pass day=MarketDay(...)"
        )
        found.raise_errors(OfferError)
    return np.array([int((value - day.start(0)).total_seconds() // 1) for value in raw], np.int64)


def read_problem(
    offers: Any,
    needs: Any,
    limits: Any,
    places: Any,
    *,
    grid: GridLike | None,
    parent: Any,
    day: Any,
    group: Mapping[Any, int] | None,
    allow_counter: bool,
    decided_at: Any,
) -> tuple[BidProblem, Columns]:
    """Return the problem and the checked table of offers; errors as in `flexcore.market.clearing.clear`."""
    from flexcore.market.selection_tables import element_positions, element_tree, plain_columns, refuse_steps

    given = plain_columns(offers)
    if "expires_at" in given:
        given["expires_at"] = _seconds(given["expires_at"], day, "expires_at")
    lines = check("clearing_bids", given, error=OfferError)
    wanted = check("clearing_requests", plain_columns(needs), error=OfferError)
    empty: dict[str, Any] = {"element": [], "direction": [], "step": [], "capability_w": []}
    caps = check("clearing_limits", empty if limits is None else plain_columns(limits), error=OfferError)
    empty = {"offer_id": lines["offer_id"][:0], "element": [], "power_w": []}
    spots = check("clearing_places", empty if places is None else places, error=OfferError)
    refuse_steps(day, offers=lines, needs=wanted, limits=caps)
    elements, tree, at_preorder = element_tree(grid, parent, (lines, wanted, caps, spots))
    position = element_positions(elements, at_preorder, offers=lines, needs=wanted, limits=caps, places=spots)
    where = {key: int(at_preorder[k]) for k, key in enumerate(elements)}

    steps = np.unique(np.concatenate([lines["step"], wanted["step"]]))
    requests = _requests(wanted, position["needs"], steps)
    rows, lower, upper = _bounds(tree, steps, requests, caps, position["limits"])
    clock = None if decided_at is None else int(np.ravel(_seconds([decided_at], day, "decided_at"))[0])
    spread, place = _spread(lines, position["offers"], spots, position["places"], tree)
    bids = _bids(lines, position["offers"], steps, place, clock)
    if group is not None and not allow_counter and bids.node.size:
        bids = _without_counter(tree, rows, bids, {where[k]: v for k, v in group.items() if k in where})
    name_at = np.full(tree.parent.size, None, object)
    for key, at in where.items():
        name_at[at] = key
    return BidProblem(tree, rows, lower, upper, steps, name_at, bids, requests, spread), lines


def _requests(wanted: Columns, node: npt.NDArray[np.int32], steps: I8A) -> Requests:
    """Find the need that each condition names, in its own step."""
    found = Findings("needs", node.size)
    unnamed, free = _none(wanted["need_id"]), _none(wanted["condition"])
    named: dict[tuple[Any, int], int] = {}
    twins = []
    for row in np.flatnonzero(~unnamed).tolist():
        key = (wanted["need_id"][row].item(), int(wanted["step"][row]))
        if key in named:
            twins.append(row)
        named[key] = row
    if twins:
        found.add(
            "FX-M228", "two needs have one key in one step", field="need_id", rows=twins, ids=wanted["need_id"][twins]
        )
    condition = np.full(node.size, -1, np.int64)
    for row in np.flatnonzero(~free).tolist():
        condition[row] = named.get((wanted["condition"][row].item(), int(wanted["step"][row])), -2)
    bad = np.flatnonzero(condition == -2)
    if bad.size:
        found.add(
            "FX-M224", "conditions name no need of their step", field="condition", rows=bad,
            ids=wanted["condition"][bad],
        )  # fmt: skip
    else:
        at = condition.copy()
        for _ in range(node.size):
            at = np.where(at >= 0, condition[np.maximum(at, 0)], -1)
        if (at >= 0).any():
            rows = np.flatnonzero(at >= 0)
            found.add("FX-M224", "conditions form a loop", field="condition", rows=rows, ids=wanted["condition"][rows])
    cap = wanted["cap_ueur_per_mwh"]
    bad = np.flatnonzero((cap > 2**50) & (cap != NEVER))
    if bad.size:
        found.add("FX-A006", f"cap_ueur_per_mwh lies outside {-(2**50)}..{2**50}", field="cap_ueur_per_mwh", rows=bad)
    found.raise_errors(OfferError)
    return Requests(
        node, np.searchsorted(steps, wanted["step"]).astype(np.int64), wanted["direction"] == DOWN,
        wanted["quantity_w"], condition, cap,
    )  # fmt: skip


def _bounds(
    tree: Tree, steps: I8A, requests: Requests, caps: Columns, at: npt.NDArray[np.int32]
) -> tuple[Rows, I8A, I8A]:
    """Return the rows with needs in the place of limits, as the merit order takes them, and the hard bounds."""
    shape = (steps.size, tree.parent.size)
    lower, upper = np.full(shape, -NO_BOUND, np.int64), np.full(shape, NO_BOUND, np.int64)
    kept = np.isin(caps["step"], steps)
    row, column = np.searchsorted(steps, caps["step"][kept]), at[kept]
    up = caps["direction"][kept] == UP
    np.minimum.at(upper, (row[up], column[up]), caps["capability_w"][kept][up])
    np.maximum.at(lower, (row[~up], column[~up]), -caps["capability_w"][kept][~up])
    need = np.zeros((2, *shape), np.int64)
    np.add.at(need, (requests.down.astype(np.int64), requests.step, requests.node), requests.quantity_w)
    lower = np.where(need[UP] > 0, need[UP], lower)
    upper = np.where(need[DOWN] > 0, -need[DOWN], upper)
    zeros = np.zeros(tree.parent.size)
    return Rows(lower, upper, None, None, zeros, zeros), np.minimum(lower, 0), np.maximum(upper, 0)


def _spread(
    lines: Columns, node: npt.NDArray[np.int32], spots: Columns, at: npt.NDArray[np.int32], tree: Tree
) -> tuple[tuple[tuple[tuple[int, int], ...], ...], I8A]:
    """Return the places of each spread offer, and which of them each row has (-1: none)."""
    found = Findings("places", at.size)
    place = np.full(node.size, -1, np.int64)
    if not at.size:
        return (), place
    offers, code = np.unique(spots["offer_id"], return_inverse=True)
    if offers.dtype.kind != lines["offer_id"].dtype.kind or not np.isin(offers, lines["offer_id"]).all():
        bad = np.flatnonzero(~np.isin(spots["offer_id"], lines["offer_id"]))
        found.add("FX-M225", "places belong to no offer", field="offer_id", rows=bad, ids=spots["offer_id"][bad])
        found.raise_errors(OfferError)
    listed, wrong, short = [], [], []
    for k, offer in enumerate(offers):
        mine, rows = np.flatnonzero(code.ravel() == k), np.flatnonzero(lines["offer_id"] == offer)
        listed.append(tuple(zip(at[mine].tolist(), spots["power_w"][mine].tolist(), strict=True)))
        for row in rows.tolist():
            inside = (at[mine] >= node[row]) & (at[mine] < tree.last[node[row]])
            wrong += [] if inside.all() else [row]
            short += [row] if lines["quantity_w"][row] > spots["power_w"][mine].sum() else []
        place[rows] = k
    for misfits, what in (
        (wrong, "stand at an element that is not at or above all their places"),
        (short, "offer more than their places can move together"),
    ):
        if misfits:
            named = lines["offer_id"][np.array(misfits)]
            found.add("FX-M225", f"offers {what}", field="element", rows=misfits, ids=named)
    found.raise_errors(OfferError)
    return tuple(listed), place


def _bids(lines: Columns, node: npt.NDArray[np.int32], steps: I8A, place: I8A, clock: int | None) -> Bids:
    found = Findings("offers", node.size)
    step = np.searchsorted(steps, lines["step"]).astype(np.int64)
    ids = as_rank(lines["offer_id"], "offer_id", node.size)
    way = lines["direction"].astype(np.int64)
    refuse_twins(found, ids, node, way, step, lines["price_step"])
    block, exclusive = _codes(lines["block"]), _codes(lines["exclusive"])
    rebound = lines["role"] == "rebound"
    line = _together(ids, node, way, step)
    bid = _together(block >= 0, np.where(block >= 0, block, ids))
    unit = _codes(lines["unit"])
    unit = _together(unit >= 0, np.where(unit >= 0, unit, bid))
    rest = -(-lines["recovery_s"] // QUARTER_S)
    run = lines["max_run_s"] // QUARTER_S
    run = np.where(run >= steps.size, _ENDLESS, run)  # no limit where not even all steps together reach it
    total = np.bincount(line, lines["quantity_w"].astype(np.float64)).astype(np.int64)[line]
    least = np.where(lines["completion"] == "fill_or_kill", total, lines["min_w"])
    size = lines["granularity_w"]

    conditions = {"min_w": lines["min_w"], "granularity_w": size, "completion": _codes(lines["completion"]),
                  "block": block, "role": rebound, "exclusive": exclusive, "unit": unit,
                  "notice_s": lines["notice_s"], "expires_at": lines["expires_at"]}  # fmt: skip
    for name, values in conditions.items():
        _agree(found, line, values, name, "price steps of one offer", lines)
    shared = {"exclusive": exclusive, "unit": unit}
    inside = block >= 0
    for name, values in shared.items():
        _agree(found, np.where(inside & ~rebound, block, -1), values, name, "rows of one block", lines)
    scope = lines["exclusive_scope"] == "day"
    _agree(found, exclusive, scope, "exclusive_scope", "rows of one exclusive group", lines)
    for name, values in (("recovery_s", rest), ("max_run_s", run)):
        _agree(found, np.where(rebound, -1, unit), values, name, "rows of one unit", lines)

    def refuse(code: str, bad: BoolA, message: str, field: str, hint: str = "") -> None:
        rows = np.flatnonzero(bad)
        if rows.size:
            found.add(code, message, field=field, rows=rows, ids=lines["offer_id"][rows], hint=hint)

    alone = np.bincount(line)[line] == 1
    refuse("FX-M221", (least > total) | (~inside & (least > total // size * size)),
           "the least accepted power cannot be reached", "min_w", "min_w counts for all price steps")  # fmt: skip
    refuse("FX-M222", rebound & ~inside, "a rebound belongs to no block", "role")
    delivers = np.zeros(int(block.max(initial=-1)) + 2, np.bool_)
    delivers[block[inside & ~rebound]] = True
    refuse("FX-M222", inside & ~delivers[block], "a block delivers nothing", "role")
    refuse("FX-M223", inside & ~alone, "a row of a block has price steps", "price_step")
    refuse("FX-M223", inside & (lines["quantity_w"] % size != 0),
           "a quantity is no multiple of its granularity", "granularity_w")  # fmt: skip
    refuse("FX-M225", (place >= 0) & inside, "an offer with places stands in a block", "block",
           "give the places fixed shares as rows of the block")  # fmt: skip
    refuse("FX-M225", (place >= 0) & ~alone, "an offer with places has price steps", "price_step")
    needs_clock = (lines["notice_s"] > 0) | (lines["expires_at"] < NEVER)
    if clock is None:
        refuse("FX-M226", needs_clock, "a notice time or an expiry needs the time of the selection", "notice_s",
               "pass decided_at")  # fmt: skip
    found.raise_errors(OfferError)

    out = np.zeros(node.size, np.uint8)
    if clock is not None:
        out[lines["notice_s"] > lines["step"] * QUARTER_S - clock] = OUT_NOTICE
        out[lines["expires_at"] <= clock] = OUT_EXPIRED
    out = _whole_block_out(out, block)
    tie = np.empty(node.size, np.int64)
    tie[np.lexsort((lines["price_step"], step, way, node, ids, lines["submitted_at"]))] = np.arange(node.size)
    return Bids(
        node, step, way == DOWN, np.where(out > 0, 0, lines["quantity_w"]),
        lines["price_ueur_per_mwh"] + lines["availability_ueur_per_mwh"], line, lines["price_step"].astype(np.int64),
        least, size, block, exclusive, scope, bid, unit, rest, run, rebound, place, lines["submitted_at"],
        tie, out,
    )  # fmt: skip


def _whole_block_out(out: npt.NDArray[np.uint8], block: I8A) -> npt.NDArray[np.uint8]:
    """Carry a reason from one row of a block to all of them: its rows stand or fall together."""
    worst = np.zeros(int(block.max(initial=-1)) + 2, np.uint8)
    inside = block >= 0
    np.maximum.at(worst, block[inside], out[inside])
    return np.where(inside, worst[block], out).astype(np.uint8)


def _agree(found: Findings, key: I8A, values: npt.NDArray[Any], name: str, what: str, lines: Columns) -> None:
    """Add FX-M220 for rows whose value differs from the first row of their key; a key of -1 is none."""
    rows = np.flatnonzero(key >= 0)
    order = rows[np.argsort(key[rows], kind="stable")]
    new = np.r_[True, np.diff(key[order]) != 0] if order.size else np.zeros(0, np.bool_)
    first = order[np.maximum.accumulate(np.where(new, np.arange(order.size), 0))] if order.size else order
    bad = np.sort(order[values[order] != values[first]])
    if bad.size:
        found.add("FX-M220", f"{what} have different {name}", field=name, rows=bad, ids=lines["offer_id"][bad])


def _without_counter(tree: Tree, rows: Rows, bids: Bids, label: dict[int, int]) -> Bids:
    """Take out the rows whose direction their perimeter may not use in their step; a rebound is no choice."""
    labels = np.full(tree.parent.size, -1, np.int64)
    labels[list(label)] = list(label.values())
    pairs, pair = np.unique(np.stack([bids.node, bids.down]), axis=1, return_inverse=True)
    n_steps = rows.lower_w.shape[0]
    empty = np.zeros((n_steps, pairs.shape[1]), np.int64)
    book = Book(pairs[0].astype(np.int32), pairs[1].astype(np.uint8), empty, empty[:1], np.arange(pairs.shape[1]))
    wrong = forbidden_directions(tree, rows, book, labels)[bids.step, pair.ravel()] == 1
    out = np.where(wrong & ~bids.rebound & (bids.out == 0), OUT_FORBIDDEN, bids.out).astype(np.uint8)
    out = _whole_block_out(out, bids.block)
    return replace(bids, quantity_w=np.where(out > 0, 0, bids.quantity_w), out=out)
