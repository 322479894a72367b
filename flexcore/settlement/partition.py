"""Settles sparse rows group by group: the same lines, shares and digest as `settle`, without all rows at once."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from flexcore.metering.readings import MISSING_W, Bools, Int32s
from flexcore.settlement.book import Book, check_prices
from flexcore.settlement.digest import bucket_digests, bucket_edges, run_digest
from flexcore.settlement.lines import make_lines, totals_of
from flexcore.settlement.order_rows import OrderRows
from flexcore.settlement.remuneration import refuse_missing
from flexcore.settlement.result import Int64s, PodLines, SettlementLines, SettlementTotals
from flexcore.settlement.shares import N_ENERGIES, LineSums, share_pods, sum_groups
from flexcore.settlement.terms import SettlementTerms

_ROWS = 16_384  # rows that are dense at a time, unless one group has more


class Settled(NamedTuple):
    """A settlement whose POD lines went elsewhere."""

    lines: SettlementLines
    totals: SettlementTotals
    digest: str
    n_pod_lines: int


class SparseRows(NamedTuple):
    """Rows with what was metered and the baseline of each order; `pod` decides ties in the split of micro-EUR."""

    rows: OrderRows
    baseline_w: Int32s
    metered_w: Int32s
    pod: Int64s
    unit_of_step: Int64s
    estimated: Bools | None = None

    def in_order(self) -> tuple[Int64s, Int64s]:
        """Return the rows that have orders, by group and POD, and where groups begin."""
        rows = self.rows
        active = np.flatnonzero(np.diff(rows.ptr))
        columns = (rows.operator[active], rows.aggregate[active], rows.direction[active])
        order = np.lexsort((self.pod[active], *columns[::-1]))
        edge = np.ones(len(active) + 1, np.bool_)
        edge[1:-1] = False
        for column in columns:
            edge[1:-1] |= np.diff(column[order]) != 0
        return active[order], np.flatnonzero(edge) if len(active) else np.zeros(1, np.int64)

    def book(self, chosen: Int64s, ptr: Int64s, terms: SettlementTerms) -> Book:
        """Return some groups as a book that has columns only for quarter-hours with an order."""
        rows = self.rows
        entries, counts = rows.entries_of(chosen)
        at = np.repeat(np.arange(len(chosen)), counts)
        step = rows.step[entries]
        used = np.flatnonzero(np.bincount(step, minlength=len(self.unit_of_step)))
        column = np.searchsorted(used, step)
        shape = (len(chosen), len(used))
        orders, baseline, metered = (np.zeros(shape, np.int32) for _ in range(3))
        orders[at, column] = rows.ordered_w[entries]
        baseline[at, column] = self.baseline_w[entries]
        metered[at, column] = self.metered_w[entries]
        guessed = np.zeros(shape if self.estimated is not None else (0, shape[1]), np.uint8)
        if self.estimated is not None:
            guessed[at, column] = self.estimated[entries]
        if rows.price is None:
            price = np.full((1, 1), terms.price_ueur_per_mwh or 0, np.int64)
        elif rows.price.ndim == 2:
            price = rows.price[chosen]
        else:
            price = np.zeros(shape, np.int64)
            price[at, column] = rows.price[entries]
        return Book(
            orders, baseline, metered, np.zeros((0, shape[1]), np.int32), price, rows.direction[chosen],
            rows.aggregate[chosen], rows.operator[chosen], self.pod[chosen], self.unit_of_step[used],
            np.arange(len(chosen)), ptr, np.zeros(0, np.int64), used, guessed,
        )  # fmt: skip


def _partitions(ptr: Int64s, edges: Int64s) -> Iterator[tuple[int, int]]:
    """Give ranges of buckets that hold about `_ROWS` rows, or one bucket."""
    first = 0
    for last in range(1, len(edges)):
        if last + 1 == len(edges) or ptr[edges[last + 1]] - ptr[edges[first]] > _ROWS:
            yield first, last
            first = last


def settle_sparse(
    sparse: SparseRows,
    terms: SettlementTerms,
    missing: str,
    *,
    n_threads: int,
    take: Callable[[PodLines], None] | None,
) -> tuple[Settled, PodLines | None]:
    """Settle; `take` gets the POD lines part by part in their order, and without it they are returned.

    The energies of all lines are summed first, part by part, for what a line is paid may hang on others of its group,
    and the amounts of a run are bounded together. Then each part is made again and its PODs get their shares.
    """
    rows = sparse.rows
    if rows.price is not None:
        check_prices(rows.price, rows.ptr if rows.price.ndim == 1 else None)
    order, ptr = sparse.in_order()
    edges = bucket_edges(ptr)
    parts = list(_partitions(ptr, edges))
    sums: list[LineSums] = []
    energies: list[list[Int64s]] = [[] for _ in range(N_ENERGIES)]
    buckets: list[bytes] = []

    def book_of(first: int, last: int) -> Book:
        g0, g1 = edges[first], edges[last]
        return sparse.book(order[ptr[g0] : ptr[g1]], ptr[g0 : g1 + 1] - ptr[g0], terms)

    for first, last in parts:
        book = book_of(first, last)
        part = sum_groups(book, terms, n_threads)
        for column, own_column in zip(energies, part.energies, strict=True):
            column.append(own_column)
        sums.append(part._replace(energies=()))
        buckets += bucket_digests(book, edges[first : last + 1] - edges[first], n_threads=n_threads)
    digest = run_digest(terms, missing, "delivered", sparse.unit_of_step, len(order), buckets)
    lines = _lines(sums, energies, terms)
    if missing == "refuse" and lines.n_missing.any():
        gone = (sparse.baseline_w == MISSING_W) | (sparse.metered_w == MISSING_W)
        refuse_missing(np.unique(np.searchsorted(rows.ptr, np.flatnonzero(gone), "right") - 1), sparse.pod)
    n_pod_lines = sum(int(part.n_entries.sum()) for part in sums)
    held = None if take is not None else _room(n_pod_lines)
    line = at = 0
    for (first, last), part in zip(parts, sums, strict=True):
        shares = share_pods(book_of(first, last), part, lines, line, terms, "delivered", n_threads)
        own = order[ptr[edges[first]] : ptr[edges[last]]]
        columns = {field.name: getattr(shares, field.name) for field in fields(shares)} | {"row": own[shares.row]}
        if held is None:
            assert take is not None
            take(PodLines(**columns))
        else:
            for name, column in columns.items():
                held[name][at : at + len(column)] = column
        line, at = line + len(part.unit), at + len(shares)
    result = Settled(lines, totals_of(lines), digest, n_pod_lines)
    return result, None if held is None else PodLines(**held)


def _room(n: int) -> dict[str, Int64s]:
    return {field.name: np.empty(n, np.int64) for field in fields(PodLines)}


def _lines(sums: list[LineSums], parts: list[list[Int64s]], terms: SettlementTerms) -> SettlementLines:
    """Make the lines of all parts at once; the parts of each energy go as soon as they are joined."""
    none = np.zeros(0, np.int64)
    if not sums:
        return make_lines((none.astype(np.int8), none, none.astype(np.int8)), none, terms, *[none] * N_ENERGIES)
    operator, aggregate, direction = (np.concatenate([part.key[k] for part in sums]) for k in range(3))
    energies = []
    for column in parts:
        energies.append(np.concatenate(column))
        column.clear()
    unit = np.concatenate([part.unit for part in sums])
    return make_lines((operator, aggregate, direction), unit, terms, *energies)
