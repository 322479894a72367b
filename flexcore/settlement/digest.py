"""The digest of a settlement: over digests of buckets of groups, so that no run needs all its rows at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.settlement.book import Book
from flexcore.settlement.result import Int64s
from flexcore.settlement.terms import SettlementTerms

_ROWS = 4096


def bucket_edges(ptr: Int64s) -> Int64s:
    """Return where buckets of whole groups begin, and the number of groups; a bucket has 4,096 rows or one group.

    It follows from the sizes of the groups alone. Buckets, not groups, are hashed by themselves: a city may have as
    many groups as PODs.
    """
    edges, n_groups = [0], len(ptr) - 1
    while edges[-1] < n_groups:
        last = int(np.searchsorted(ptr, ptr[edges[-1]] + _ROWS, "right")) - 1
        edges.append(max(last, edges[-1] + 1))
    return np.array(edges, np.int64)


def bucket_digests(book: Book, edges: Int64s, *, n_threads: int) -> list[bytes]:
    """Return the digest of each bucket.

    What has no order or availability decides nothing and is not hashed.
    """
    digests = [b""] * (len(edges) - 1)
    steps = book.step.astype(np.int16)

    def task(lo: int, hi: int) -> None:
        for k in range(lo, hi):
            digests[k] = _bucket(book, int(edges[k]), int(edges[k + 1]), steps)

    run_chunks(task, len(digests), n_threads=n_threads, chunk=1)
    return digests


def _bucket(book: Book, g0: int, g1: int, step: npt.NDArray[np.int16]) -> bytes:
    rows = book.rows[book.ptr[g0] : book.ptr[g1]]
    digest = hashlib.sha256(len(rows).to_bytes(8, "little"))
    for column in (book.operator, book.aggregate, book.direction, book.pod, book.share):
        if len(column):
            digest.update(column[rows].data)
    for lo in range(0, len(rows), _ROWS):
        chunk = rows[lo : lo + _ROWS]
        for energy in (book.orders, book.available):
            if not len(energy):
                continue
            power = energy[chunk]
            has = power > 0
            row, column = np.nonzero(has)
            digest.update(has.sum(axis=1, dtype=np.int64).data)
            digest.update(step[column].data)
            digest.update(power[row, column].data)
            if energy is book.orders:
                one_row, one_step = (int(size > 1) for size in book.price.shape)
                at = chunk[row]
                for values in (book.baseline, book.metered):
                    digest.update(values[at, column].data)
                if len(book.estimated):
                    digest.update(b"estimated")
                    digest.update(book.estimated[at, column].data)
                digest.update(book.price[at * one_row, column * one_step].data)
    return digest.digest()


def run_digest(
    terms: SettlementTerms, missing: str, split: str, unit_of_step: Int64s, n_rows: int, buckets: Sequence[bytes]
) -> str:
    """SHA-256 over terms, rules, market time units and the digests of all buckets in canonical order."""
    terms = replace(terms, source="", unverified=())  # words about the numbers
    digest = hashlib.sha256(repr((terms, missing, split, len(unit_of_step), n_rows)).encode())
    digest.update(unit_of_step.data)
    for bucket in buckets:
        digest.update(bucket)
    return digest.hexdigest()
