"""Chunks: every one runs once, the caller's thread helps, and an error stops those that have not begun."""

import threading

import pytest

from flexcore.chunks import run_chunks


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_every_chunk_runs_once_on_as_many_threads_as_asked(n_threads):
    ran, threads = [], set()
    together = threading.Barrier(n_threads)

    def task(lo, hi):
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            together.wait(timeout=10)
        ran.append((lo, hi))

    run_chunks(task, 103, n_threads=n_threads, chunk=4)
    assert sorted(ran) == [(lo, min(lo + 4, 103)) for lo in range(0, 103, 4)]
    assert len(threads) == n_threads
    assert threading.get_ident() in threads


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_error_in_any_thread_is_raised_and_stops_the_rest(in_caller):
    ran = []
    failed = threading.Event()

    def task(lo, hi):
        if (threading.current_thread() is threading.main_thread()) == in_caller:
            failed.set()
            raise KeyError(lo)
        failed.wait(timeout=10)
        ran.append(lo)

    with pytest.raises(KeyError):
        run_chunks(task, 100_000, n_threads=2, chunk=1)
    assert len(ran) < 100_000 - 1
