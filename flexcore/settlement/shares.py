"""From a book to the energies of its lines, and from the amounts of lines to the shares of PODs."""

from typing import NamedTuple

import numpy as np

from flexcore.chunks import run_chunks
from flexcore.settlement.amounts import refuse, refuse_lines
from flexcore.settlement.book import Book
from flexcore.settlement.lines import Key
from flexcore.settlement.result import Int64s, PodLines, SettlementLines
from flexcore.settlement.terms import ONE_PPM, SettlementTerms
from flexcore.units import MAX_WQH

_GROUPS = 16  # (operator, aggregate, direction) groups in one task

#: Sums that `make_lines` turns into a line.
N_ENERGIES = 10


class LineSums(NamedTuple):
    """Lines of a book: group and unit of each, sums in the order of `make_lines`, and rows that take part."""

    key: Key
    group: Int64s
    unit: Int64s
    energies: tuple[Int64s, ...]
    n_entries: Int64s


def _clip(terms: SettlementTerms) -> int:
    return int(terms.netting == "pod")


def _period(book: Book, terms: SettlementTerms) -> Int64s:
    """Return what cap and shortfall of each column are measured over."""
    return {"unit": book.unit_of_step, "half_hour": book.step // 2, "quarter_hour": book.step}[terms.measured_per]


def sum_groups(book: Book, terms: SettlementTerms, n_threads: int) -> LineSums:
    """Sum the energies of each line."""
    from flexcore.kernels.settlement.remuneration import sum_lines

    period, owed = _period(book, terms), ONE_PPM - terms.tolerance_ppm
    n_groups = len(book.ptr) - 1
    sums = [np.empty((n_groups, book.n_units), np.int64) for _ in range(N_ENERGIES + 1)]

    def task(g0: int, g1: int) -> None:
        sum_lines(
            book.orders, book.baseline, book.metered, book.available, book.estimated, book.price, book.direction,
            book.unit_of_step, period, book.ptr, book.rows, _clip(terms), terms.cap_ppm, owed, g0, g1, *sums,
        )  # fmt: skip

    run_chunks(task, n_groups, n_threads=n_threads, chunk=_GROUPS)
    exists = sums[-1] > 0
    group, unit = np.nonzero(exists)
    leader = book.rows[book.ptr[:-1]][group]
    key = (book.operator[leader], book.aggregate[leader], book.direction[leader])
    return LineSums(key, group, unit, tuple(array[exists] for array in sums[:-1]), sums[-1][exists])


def share_pods(
    book: Book, sums: LineSums, lines: SettlementLines, terms: SettlementTerms, split_by: str, n_threads: int
) -> PodLines:
    """Split the amounts of the lines of a book over its rows."""
    from flexcore.kernels.settlement.remuneration import list_entries, split_lines

    n_groups, n_lines = len(book.ptr) - 1, len(sums.unit)
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(sums.n_entries)])
    total = int(ptr[-1])
    begin = np.zeros((n_groups, book.n_units), np.int64)
    begin[sums.group, sums.unit] = ptr[:-1]
    row, ordered, delivered, available, short = (np.empty(total, np.int64) for _ in range(5))
    period = _period(book, terms)

    def task(g0: int, g1: int) -> None:
        list_entries(
            book.orders, book.baseline, book.metered, book.available, book.estimated, book.direction,
            book.unit_of_step, period, book.ptr, book.rows, begin, _clip(terms), g0, g1, row, ordered, delivered,
            available, short,
        )  # fmt: skip

    run_chunks(task, n_groups, n_threads=n_threads, chunk=_GROUPS)

    def split(amount: Int64s, weight: Int64s) -> Int64s:
        used = np.add.reduceat(np.maximum(weight, 0), ptr[:-1]) if total else np.zeros(0, np.int64)
        if (used > MAX_WQH).any():
            refuse_lines(
                "the energies of the PODs of a line are too large for an exact split", (*sums.key, sums.unit),
                used > MAX_WQH,
            )  # fmt: skip
        part = np.empty(total, np.int64)
        run_chunks(
            lambda lo, hi: split_lines(ptr, amount, weight, ordered, lo, hi, part),
            n_lines,
            n_threads=n_threads,
            chunk=256,
        )
        return part

    weights = [delivered, short, available]
    if split_by != "delivered":
        weights = [book.share[row]] * 3
    if split_by == "factors" and total:
        wrong = np.add.reduceat(weights[0], ptr[:-1]) != ONE_PPM
        if wrong.any():
            bad = np.unique(sums.key[1][wrong])
            refuse("FX-S010", f"the factors of {int(wrong.sum())} lines do not sum to {ONE_PPM}", ids=bad)
    amounts = (lines.pay_ueur, lines.penalty_ueur, lines.availability_ueur)
    pay, penalty, availability = (split(amount, weight) for amount, weight in zip(amounts, weights, strict=True))
    line = np.repeat(np.arange(n_lines), sums.n_entries)
    net = pay - penalty + availability
    return PodLines(line, row, book.pod[row], ordered, delivered, available, pay, penalty, availability, net)
