"""Settles sparse rows group by group: the same lines, shares and digest as `settle`, without all rows at once."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from flexcore.metering.readings import MISSING_W, Bools, Int32s
from flexcore.settlement.amounts import LARGEST_UEUR, refuse_lines
from flexcore.settlement.book import Book, check_prices
from flexcore.settlement.digest import bucket_digests, bucket_edges, run_digest
from flexcore.settlement.lines import make_lines, totals_of
from flexcore.settlement.order_rows import OrderRows
from flexcore.settlement.remuneration import refuse_missing
from flexcore.settlement.result import Columns, Int64s, PodLines, SettlementLines, SettlementTotals
from flexcore.settlement.run_files import BYTES
from flexcore.settlement.shares import share_pods, sum_groups
from flexcore.settlement.terms import SettlementTerms
from flexcore.units import exact_sum

_ROWS = 16_384  # rows that are dense at a time, unless one group has more
_SUMMED = [field.name for field in fields(SettlementTotals) if field.name != "operator"]


class Settled(NamedTuple):
    """What is left of a settlement whose lines and POD lines went elsewhere."""

    totals: SettlementTotals
    digest: str
    n_lines: int
    n_pod_lines: int


class SparseRows(NamedTuple):
    """Rows with what was metered and the baseline of each order; `pod` decides ties in the split of micro-EUR."""

    rows: OrderRows
    baseline_w: Int32s
    metered_w: Int32s
    pod: Int64s
    unit_of_step: Int64s
    estimated: Bools | None = None
    keys: Any = None  # Arrow array of the PODs' own keys, where `pod` holds their places

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


class _Bound:
    """Counts the lines of a run and sees to it that its amounts can be summed."""

    def __init__(self) -> None:
        self.n_lines = self._total = 0
        self._largest = -1
        self._name: tuple[Int64s, ...] = ()

    def add(self, lines: SettlementLines) -> None:
        """Add the lines of a part; FX-S001 names the largest so far."""
        sizes = np.abs(lines.pay_ueur) + lines.penalty_ueur + lines.availability_ueur
        self.n_lines += len(sizes)
        self._total += exact_sum(sizes)
        top = int(sizes.argmax()) if len(sizes) else 0
        if len(sizes) and sizes[top] > self._largest:
            self._largest = int(sizes[top])
            columns = (lines.operator, lines.aggregate, lines.direction, lines.unit)
            self._name = tuple(column[top : top + 1].astype(np.int64) for column in columns)
        if self._total > LARGEST_UEUR:
            message = f"the amounts of the run sum to more than {LARGEST_UEUR} micro-EUR; a large line is named"
            refuse_lines(message, self._name, np.ones(1, np.bool_))


def _columns(kind: type[Columns], n: int) -> dict[str, Any]:
    return {field.name: np.empty(n, np.int8 if field.name in BYTES else np.int64) for field in fields(kind)}


def settle_sparse(
    sparse: SparseRows,
    terms: SettlementTerms,
    missing: str,
    *,
    n_threads: int,
    take: Callable[[SettlementLines, PodLines], None],
) -> Settled:
    """Settle; `take` gets lines and POD lines part by part, in their order.

    A part has whole groups, and what a line is paid hangs on no other group. Only the bound on the amounts of a run is
    over all parts.
    """
    rows = sparse.rows
    if rows.price is not None:
        check_prices(rows.price, rows.ptr if rows.price.ndim == 1 else None)
    if missing == "refuse":
        _refuse_missing(sparse)
    order, ptr = sparse.in_order()
    edges = bucket_edges(ptr)
    totals = totals_of(SettlementLines(**_columns(SettlementLines, 0)))
    buckets: list[bytes] = []
    bound = _Bound()
    n_pod_lines = 0
    for first, last in _partitions(ptr, edges):
        g0, g1 = edges[first], edges[last]
        chosen = order[ptr[g0] : ptr[g1]]
        book = sparse.book(chosen, ptr[g0 : g1 + 1] - ptr[g0], terms)
        buckets += bucket_digests(book, edges[first : last + 1] - g0, n_threads=n_threads)
        sums = sum_groups(book, terms, n_threads)
        lines = make_lines(sums.key, sums.unit, terms, *sums.energies)
        before = bound.n_lines
        bound.add(lines)
        own = totals_of(lines)
        totals = SettlementTotals(
            own.operator, **{name: getattr(totals, name) + getattr(own, name) for name in _SUMMED}
        )
        shares = share_pods(book, sums._replace(energies=()), lines, terms, "delivered", n_threads)
        del book, sums
        columns = {field.name: getattr(shares, field.name) for field in fields(shares)}
        n_pod_lines += len(shares)
        del shares
        take(lines, PodLines(**columns | {"line": columns["line"] + before, "row": chosen[columns["row"]]}))
    digest = run_digest(terms, missing, "delivered", sparse.unit_of_step, len(order), buckets)
    return Settled(totals, digest, bound.n_lines, n_pod_lines)


def _refuse_missing(sparse: SparseRows) -> None:
    rows = sparse.rows
    gone = [power == MISSING_W for power in (sparse.metered_w, sparse.baseline_w)]
    if any(one.any() for one in gone):
        no_reading, no_baseline = np.zeros((2, len(rows.place)), np.bool_)
        for of_row, of_order in zip((no_reading, no_baseline), gone, strict=True):
            of_row[np.searchsorted(rows.ptr, np.flatnonzero(of_order), "right") - 1] = True
        refuse_missing(no_reading, no_baseline, (sparse.pod if sparse.keys is None else sparse.keys).tolist())


class Held:
    """Lines and POD lines of all parts, in memory; room that nothing is written to takes none.

    Small arrays kept from each part would leave the memory between them in pieces that no later part can use.
    """

    def __init__(self, sparse: SparseRows) -> None:
        rows = sparse.rows
        # a row has a POD line for each market time unit with an order, and no more lines than that
        unit = sparse.unit_of_step.astype(np.uint8)[rows.step]
        starts = np.ones(len(unit), np.bool_)
        starts[1:] = unit[1:] != unit[:-1]
        starts[rows.ptr[:-1][np.diff(rows.ptr) > 0]] = True
        n = int(np.count_nonzero(starts))
        self._columns = {kind: _columns(kind, n) for kind in (SettlementLines, PodLines)}
        self._n = dict.fromkeys(self._columns, 0)

    def append(self, lines: SettlementLines, shares: PodLines) -> None:
        """Keep a part."""
        for table in (lines, shares):
            kind = type(table)
            at, self._n[kind] = self._n[kind], self._n[kind] + len(table)
            for name, column in self._columns[kind].items():
                column[at : self._n[kind]] = getattr(table, name)

    def tables(self) -> tuple[SettlementLines, PodLines]:
        """Return all parts as one."""
        n_lines, n_shares = self._n[SettlementLines], self._n[PodLines]
        lines = {name: column[:n_lines] for name, column in self._columns[SettlementLines].items()}
        shares = {name: column[:n_shares] for name, column in self._columns[PodLines].items()}
        return SettlementLines(**lines), PodLines(**shares)
