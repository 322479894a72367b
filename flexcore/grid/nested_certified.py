"""Nested limits on rows that are proved for what they allow: a box per element instead of a ceiling per perimeter."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.grid.certified import Spread, certified_rows
from flexcore.grid.filling import Caps, Filled, Problem
from flexcore.grid.headroom import ActivationRows

__all__ = ["fill_nested_certified"]

F8 = npt.NDArray[np.float64]
# a box is asked for a little wider than wanted: offers that exceed it in the last bit would hold a cap down to it
_WIDER = 1.0 + 1e-9
_ATTEMPTS = 6  # a certificate that is not found is sought again with half the box, and in the end with none


class _Proved(NamedTuple):
    caps: list[Filled]
    rows: ActivationRows
    status: npt.NDArray[np.uint8]


def fill_nested_certified(
    problem: Problem,
    forecast: tuple[F8, F8],
    fixed: tuple[F8, F8],
    slopes: tuple[float, float],
    *,
    ways: tuple[bool, bool],
) -> Caps:
    """Fill nested limits from certified rows.

    A box is asked for that says how much each element may carry; rows are proved for every dispatch within it, and the
    box then counts as a headroom of each branch like any other. So whatever limits come out carry no more than
    the proof covers. The passes are those of `fill_certified`: rows of the forecast, of the box that they would fill,
    and of one between what was asked and what was given, where the two meet.
    """
    grid = problem.grid
    tree = np.searchsorted(grid.forest.heads, np.arange(grid.n_nodes), side="right") - 1
    above = np.ones(grid.n_nodes, np.bool_)  # roots feed no branch: nothing is to be proved there
    for head in grid.forest.heads:
        above[head : grid.forest.last[head]] = False

    def prove(asked: list[F8]) -> _Proved:
        """Rows and limits for boxes up and down, (n_nodes, n_steps) in preorder."""
        asked = [box * _WIDER for box in asked]
        for attempt in range(_ATTEMPTS):
            found = certified_rows(
                grid, *forecast, problem.m, Spread(*fixed, asked[1], asked[0]), slopes=slopes,
                n_threads=problem.n_threads,
            )  # fmt: skip
            failed = np.zeros(asked[0].shape, np.bool_)
            failed[~above] = found.status[tree[~above]] > 0
            if not failed.any() or attempt == _ATTEMPTS - 1:
                break
            smaller = 0.5 if attempt < _ATTEMPTS - 2 else 0.0
            asked = [np.where(failed, box * smaller, box) for box in asked]
        rows = found.rows
        within = [np.where(above[:, None], np.inf, box)[grid.forest.rank] for box in asked]
        clipped = ActivationRows(
            np.maximum(rows.lower_kw, -within[1]), np.minimum(rows.upper_kw, within[0]), rows.w_lower, rows.w_upper,
            rows.m, rows.parent, rows.tan_phi,
        )  # fmt: skip
        return _Proved([problem.fill(clipped, upward=way) for way in (True, False)], rows, found.status)

    shape = (grid.n_nodes, forecast[0].shape[1])
    at_forecast = certified_rows(
        grid, *forecast, problem.m, Spread(*fixed, np.zeros(shape), np.zeros(shape)), slopes=slopes,
        n_threads=problem.n_threads,
    ).rows  # fmt: skip
    first = [
        problem.in_preorder(problem.fill(at_forecast, upward=way).shares.carried) if moves else np.zeros(shape)
        for way, moves in zip((True, False), ways, strict=True)
    ]
    least = [problem.in_preorder(filled.shares.carried) for filled in prove(first).caps]
    with np.errstate(invalid="ignore", divide="ignore"):
        meet = [
            np.where(high > 0, high**2 / (2.0 * high - np.minimum(low, high)), 0.0)
            for low, high in zip(least, first, strict=True)
        ]
    found = prove([_summed(problem, box, high) for box, high in zip(meet, first, strict=True)])
    certified = np.equal(found.status.max(axis=0, initial=0), 0)
    return Caps(found.caps[0], found.caps[1], found.rows, certified)


def _summed(problem: Problem, box: F8, most: F8) -> F8:
    """Raise boxes to the sum of those below, as far as the first pass went: else boxes alone would make groups."""
    parent = problem.grid.forest.parent
    below, most_below = np.zeros_like(box), np.zeros_like(box)
    for i in range(parent.size - 1, -1, -1):
        own = np.maximum(most[i] - most_below[i], 0.0)
        box[i] = np.minimum(most[i], np.maximum(box[i], below[i] + own))
        if parent[i] >= 0:
            below[parent[i]] += box[i]
            most_below[parent[i]] += most[i]
    return box
