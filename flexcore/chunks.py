"""Splits work into chunks with fixed boundaries, on as many threads as the caller asked for."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flexcore.errors import Findings


def run_chunks(task: Callable[[int, int], None], n_items: int, *, n_threads: int, chunk: int) -> None:
    """Call `task(lo, hi)` for consecutive ranges that cover 0..n_items.

    Boundaries are multiples of `chunk`, whatever the number of threads: a task that treats its items independently
    gives the same bits for any `n_threads`. Chunks are short so that Ctrl-C is noticed between two of them.

    Parameters
    ----------
    task : callable
        Works on the half-open range `lo, hi`; releases the GIL if threads are to help.
    n_items, chunk : int
        Total length and length of one range.
    n_threads : int
        The caller's is one of them: 1 starts none.

    Raises
    ------
    ValidationError
        FX-A006 if `n_threads` is not a whole number from 1.
    """
    found = Findings("n_threads")
    found.check_count("n_threads", n_threads, 1)
    found.raise_errors()
    ranges = [(lo, min(lo + chunk, n_items)) for lo in range(0, n_items, chunk)]
    if n_threads == 1 or len(ranges) <= 1:
        for lo, hi in ranges:
            task(lo, hi)
        return
    todo = deque(ranges)

    def work() -> None:
        try:
            while True:
                try:
                    lo, hi = todo.popleft()
                except IndexError:
                    return
                task(lo, hi)
        finally:
            todo.clear()  # after an error nobody starts another chunk

    n_helpers = min(n_threads, len(ranges)) - 1
    with ThreadPoolExecutor(max_workers=n_helpers) as pool:
        helpers = [pool.submit(work) for _ in range(n_helpers)]
        work()
        for helper in helpers:
            helper.result()
