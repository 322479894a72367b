"""Shares headroom for the largest sum of the caps, one direction at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.sharing import PerimeterPairs, Shares, share

__all__ = ["share_max_total"]

F8 = npt.NDArray[np.float64]
_STEPS_PER_CHUNK = 4
_LEAST_SPEED = 1e-12
_SAME = 1.0 - 1e-9  # sums that differ by less are the same


def share_max_total(
    pairs: PerimeterPairs,
    m: F8,
    power: F8,
    headroom: F8,
    headroom_path: F8,
    *,
    ceiling: F8 | None = None,
    n_threads: int,
) -> tuple[Shares, npt.NDArray[np.bool_]]:
    """Find jointly safe caps with a large sum, arguments as for `share`; and for which steps no sum is larger.

    The exact answer by branches alone is taken where it exists (no element is split by two perimeters) and keeps the
    voltage rows too. Elsewhere caps are filled towards it, and by the usual speeds: the larger sum counts.
    """
    from flexcore.kernels.grid.max_total import max_total_caps, name_full_branches

    shape = (power.shape[0], pairs.top.size)
    most = np.full(shape, np.inf) if ceiling is None else np.ascontiguousarray(ceiling)
    rows = (m, power, headroom, headroom_path)
    if not shape[1]:
        shares = share(pairs, *rows, weights=None, ceiling=most, alone=False, n_threads=n_threads)
        return shares, np.ones(shape[0], np.bool_)
    bound = _bound(pairs, *rows, n_threads=n_threads)
    if np.diff(pairs.elem_ptr).max(initial=0) <= 1:
        best = np.empty(shape)
        layout = (
            pairs.parent, pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element, pairs.pair_k,
            pairs.pair_up, pairs.elem_ptr, power, headroom, most, best,
        )  # fmt: skip
        run_chunks(
            lambda lo, hi: max_total_caps(*layout, lo, hi), shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK
        )
        aimed = best.sum(axis=1)
        bound = np.minimum(bound, aimed)
        shares = share(pairs, *rows, weights=None, ceiling=best, alone=False, n_threads=n_threads)
        open_ = np.flatnonzero(shares.cap.sum(axis=1) < aimed * _SAME)
        if open_.size:
            part = (m, *(np.ascontiguousarray(values[open_]) for values in rows[1:]))
            # everybody reaches the exact answer at the same level; who is not held on the way goes on
            towards = np.maximum(best[open_], _LEAST_SPEED * best[open_].max(axis=1, keepdims=True))
            tried = [
                share(pairs, *part, weights=speeds, ceiling=most[open_], alone=False, n_threads=n_threads)
                for speeds in (towards, None)
            ]
            better = tried[1].cap.sum(axis=1) > tried[0].cap.sum(axis=1)
            values: Any
            filled: Any
            for values, filled, usual in zip(shares, *tried, strict=True):
                filled[better] = usual[better]
                values[open_] = filled
    else:
        shares = share(pairs, *rows, weights=None, ceiling=most, alone=False, n_threads=n_threads)
    full = (
        pairs.parent, pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element, pairs.pair_up,
        power, headroom, shares.cap, shares.carried, shares.kind, shares.row,
    )  # fmt: skip
    run_chunks(lambda lo, hi: name_full_branches(*full, lo, hi), shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return shares, shares.cap.sum(axis=1) >= bound * _SAME


def _bound(pairs: PerimeterPairs, m: F8, power: F8, headroom: F8, headroom_path: F8, *, n_threads: int) -> F8:
    """Sum that no dispatch of all perimeters exceeds, (n_steps,)."""
    from flexcore.kernels.grid.optimistic import optimistic_totals

    n_steps = power.shape[0]
    outputs = np.empty((n_steps, pairs.top.size)), np.empty((n_steps, pairs.top.size)), np.empty(n_steps)
    arrays = (
        pairs.parent, m, pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element, pairs.pair_k,
        pairs.pair_up, power, headroom, headroom_path, *outputs,
    )  # fmt: skip
    run_chunks(lambda lo, hi: optimistic_totals(*arrays, lo, hi), n_steps, n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return outputs[2]
