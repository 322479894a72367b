"""Shares headroom for the largest value of the caps, one direction at a time."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.grid.sharing import PerimeterPairs, Shares, share
from flexcore.grid.value_programme import most_valuable

__all__ = ["share_by_value", "values_of"]

F8 = npt.NDArray[np.float64]
_STEPS_PER_CHUNK = 4
_SAME = 1.0 - 1e-9  # values that differ by less are the same
_SOLVED = 1.0 - 1e-6  # a solver's answer and its bound are good to this


def values_of(values: npt.ArrayLike | None, name: str, n_perimeters: int, n_steps: int) -> F8:
    """Check worths per kW and give them as (n_steps, n_perimeters); all 1 where none are given.

    Raises
    ------
    ValidationError
        FX-A001 shape, FX-A003 NaN or infinite, FX-A004 negative.
    """
    if values is None:
        return np.ones((n_steps, n_perimeters))
    one = np.ndim(values) == 1
    shape = (n_perimeters,) if one else (n_perimeters, n_steps)
    given = as_float(values, name, shape=shape, non_negative=True)
    return np.ascontiguousarray(np.broadcast_to(given[None, :] if one else given.T, (n_steps, n_perimeters)))


def share_by_value(
    pairs: PerimeterPairs,
    m: F8,
    power: F8,
    headroom: F8,
    headroom_path: F8,
    *,
    values: F8,
    ceiling: F8 | None = None,
    n_threads: int,
) -> tuple[Shares, npt.NDArray[np.bool_]]:
    """Find jointly safe caps of a large value, arguments as for `share`; and for which steps no value is larger.

    Merit order first; where that does not meet its own bound, a mixed-integer programme decides step by step. Either
    way what the rows leave is used up in merit order, and the caps pass the exact check of `share`.

    Parameters
    ----------
    values : ndarray, shape (n_steps, n_perimeters)
        Worth of a kW of each cap, not negative.
    """
    from flexcore.kernels.grid.max_total import name_full_branches
    from flexcore.kernels.grid.value import name_full_paths, raise_in_order

    shape = (power.shape[0], pairs.top.size)
    rows = (m, power, headroom, headroom_path)
    alone = share(pairs, *rows, weights=None, ceiling=ceiling, alone=True, n_threads=n_threads)
    if not shape[1]:
        return alone, np.ones(shape[0], np.bool_)
    layout = (
        pairs.parent, m, pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element, pairs.pair_k,
        pairs.pair_up,
    )  # fmt: skip

    def in_order(start: F8, steps: npt.NDArray[np.intp] | slice) -> tuple[F8, F8]:
        bound = np.empty(start.shape[0])
        arrays = tuple(np.ascontiguousarray(array[steps]) for array in (*rows[1:], alone.cap, values))
        run_chunks(
            lambda lo, hi: raise_in_order(*layout, *arrays, start, bound, lo, hi),
            start.shape[0],
            n_threads=n_threads,
            chunk=_STEPS_PER_CHUNK,
        )
        return start, bound

    best, bound = in_order(np.zeros(shape), slice(None))
    found = (values * best).sum(axis=1)
    enough = np.full(shape[0], _SAME)
    open_ = np.flatnonzero(found < bound * _SAME)
    if open_.size:
        start = best[open_]
        for at, step in enumerate(open_):
            now = power[step], headroom[step], headroom_path[step], alone.cap[step], values[step]
            answer = most_valuable(pairs, m, *now)
            if answer is None:
                continue
            if answer.bound < bound[step]:
                bound[step] = answer.bound
                enough[step] = _SOLVED
            start[at] = answer.cap
        # the solver keeps the rows to its tolerance only: what it found is filled towards, and then used up
        part = (m, *(np.ascontiguousarray(row[open_]) for row in rows[1:]))
        safe = share(pairs, *part, weights=None, ceiling=start, alone=False, n_threads=n_threads)
        better, _ = in_order(safe.cap.copy(), open_)
        gain = (values[open_] * better).sum(axis=1) > found[open_]
        best[open_[gain]] = better[gain]
    shares = share(pairs, *rows, weights=None, ceiling=best, alone=False, n_threads=n_threads)
    # what limits is what limits without the ceiling
    named = (shares.kind == 0) & (alone.kind > 0) & (shares.cap >= alone.cap * _SAME)
    shares.kind[named], shares.row[named] = alone.kind[named], alone.row[named]
    shares.at_node[named] = alone.at_node[named]
    usage = shares.cap, shares.carried, shares.kind, shares.row
    branches = (
        pairs.parent, pairs.label, pairs.own, pairs.top, pairs.pair_ptr, pairs.pair_element, pairs.pair_up,
        power, headroom, *usage,
    )  # fmt: skip
    paths = (
        pairs.parent, pairs.last, m, pairs.label, pairs.own, pairs.top, pairs.pair_element, pairs.pair_k, pairs.pair_up,
        pairs.elem_ptr, pairs.elem_pair, power, headroom_path, *usage, shares.at_node,
    )  # fmt: skip

    def name(lo: int, hi: int) -> None:
        name_full_branches(*branches, lo, hi)
        name_full_paths(*paths, lo, hi)

    run_chunks(name, shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return shares, (values * shares.cap).sum(axis=1) >= bound * enough
