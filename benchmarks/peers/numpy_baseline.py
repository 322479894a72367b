"""Blocked NumPy for High X of Y: three ways to choose and sum the days, each on blocks that fit the caches.

None of them has a way with missing readings, but each looks for them, as flexcore does.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.baseline import BaselineCase
from benchmarks.timing import Engine
from flexcore.metering import MISSING_W

BLOCK = 256  # PODs: their history is one megabyte, half a second-level cache


def _keys(case: BaselineCase, history: np.ndarray) -> np.ndarray:
    """Sum over the event, in which the number of the day breaks ties: all keys differ."""
    n_days = history.shape[1]
    return history[:, :, case.event].sum(axis=2, dtype=np.int64) * n_days + np.arange(n_days)


def _partition(case: BaselineCase, history: np.ndarray) -> np.ndarray:
    """Days by `argpartition`, then a sum day by day."""
    chosen = np.argpartition(_keys(case, history), -case.n_selected, axis=1)[:, -case.n_selected :]
    rows = np.arange(len(history))
    total = history[rows, chosen[:, 0]].astype(np.int64)
    for k in range(1, case.n_selected):
        total += history[rows, chosen[:, k]]
    return total


def _comparisons(case: BaselineCase, history: np.ndarray) -> np.ndarray:
    """Days by how many others lie above, then a sum under that mask."""
    keys = _keys(case, history)
    chosen = (keys[:, np.newaxis, :] > keys[:, :, np.newaxis]).sum(axis=2) < case.n_selected
    total = np.zeros((len(history), history.shape[2]), np.int64)
    for d in range(history.shape[1]):
        total += history[:, d] * chosen[:, d, np.newaxis]
    return total


def _weights(case: BaselineCase, history: np.ndarray) -> np.ndarray:
    """Days by sorting, then weights of zero and one in a product of matrices, exact in float64."""
    keys = _keys(case, history)
    least = np.sort(keys, axis=1)[:, -case.n_selected]
    chosen = (keys >= least[:, np.newaxis]).astype(np.float64)
    return np.einsum("pd,pdt->pt", chosen, history.astype(np.float64))


def engines(case: BaselineCase, threads: int) -> list[Engine]:
    """One row for each way."""
    n_pods, n_steps = case.today_w.shape
    n = case.n_selected
    window = case.window

    def baselines(form: Callable[[BaselineCase, np.ndarray], np.ndarray]) -> np.ndarray:
        result = np.empty((n_pods, n_steps), np.int32)

        def block(lo: int) -> None:
            part = slice(lo, lo + BLOCK)
            if case.history_w[part].min() == MISSING_W or case.today_w[part, window].min() == MISSING_W:
                raise NotImplementedError("missing readings")
            total = form(case, case.history_w[part])
            seen = case.today_w[part, window].sum(axis=1, dtype=np.int64)
            expected = total[:, window].sum(axis=1)
            shift = (seen * n - expected) / (n * (window.stop - window.start))
            result[part] = np.rint(total / n + shift[:, np.newaxis])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(block, range(0, n_pods, BLOCK)))
        return result

    forms = {"argpartition": _partition, "comparisons": _comparisons, "weights": _weights}
    return [
        Engine(f"numpy {name}", f"blocks of {BLOCK}, {threads} threads", lambda form=form: baselines(form))
        for name, form in forms.items()
    ]
