"""How caps are found from rows, pass by pass: on linear rows, or on rows that are proved for what they allow."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.grid.certified import CertifiedRows, Spread, certified_rows
from flexcore.grid.headroom import ActivationRows, Forecast, with_margin, with_stressed_losses
from flexcore.grid.max_total import share_max_total
from flexcore.grid.nested import share_nested
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, Rooms, Shares, rooms_of, share
from flexcore.grid.value import share_by_value

__all__ = ["Caps", "Filled", "Problem", "fill_certified", "fill_linear"]

F8 = npt.NDArray[np.float64]

_ATTEMPTS = 6  # a certificate that is not found is sought again with half the caps, and in the end with none
_BOUNDS = ("lower_kw", "upper_kw", "w_lower", "w_upper")
_CLOSE = 0.999  # caps that lose less than this share to the losses of the dispatch are not worth another pass


class Filled(NamedTuple):
    """Caps of one direction, the rooms that they were filled from, and the steps in which no sum of caps is larger.

    `limit` are those of groups, (n_steps, kept), where the sharing has any.
    """

    shares: Shares
    rooms: Rooms
    largest: npt.NDArray[np.bool_]
    limit: F8 | None = None


class Caps(NamedTuple):
    """Caps of both directions, the rows that they respect, and the steps in which these are proved."""

    up: Filled
    down: Filled
    rows: ActivationRows
    certified: npt.NDArray[np.bool_]


class Problem(NamedTuple):
    """Everything about a call that does not change between its passes."""

    grid: Grid
    pairs: PerimeterPairs
    m: F8
    up: F8
    down: F8
    speeds: F8 | None
    slack_pu: float
    sharing: str
    n_threads: int
    values: F8 | None = None  # worth of up and down caps, (n_steps, 2, n_perimeters), where `sharing` needs it

    def fill(self, rows: ActivationRows, *, upward: bool, ceiling: F8 | None = None) -> Filled:
        """Share the rooms that `rows` leave in one direction."""
        rooms = rooms_of(self.grid, rows, self.pairs.element, upward, self.slack_pu, self.n_threads)
        problem = (
            self.pairs,
            self.m[self.pairs.element],
            self.up if upward else self.down,
            rooms.headroom,
            rooms.headroom_path,
        )
        if self.sharing == "max_total":
            shares, largest = share_max_total(*problem, ceiling=ceiling, n_threads=self.n_threads)
            return Filled(shares, rooms, largest)
        if self.sharing == "nested":
            nested = share_nested(*problem, weights=self.speeds, n_threads=self.n_threads)
            return Filled(nested.shares, rooms, np.zeros(rows.n_steps, np.bool_), nested.limit)
        if self.values is not None:
            worth = np.ascontiguousarray(self.values[:, 0 if upward else 1])
            shares, largest = share_by_value(*problem, values=worth, ceiling=ceiling, n_threads=self.n_threads)
            return Filled(shares, rooms, largest)
        shares = share(
            *problem,
            weights=self.speeds,
            ceiling=ceiling,
            alone=self.sharing == "alone",
            n_threads=self.n_threads,
        )
        return Filled(shares, rooms, np.zeros(rows.n_steps, np.bool_))

    def in_preorder(self, carried: F8) -> F8:
        """Spread what the kept elements carry, (n_steps, kept), over all of them: (n_nodes, n_steps)."""
        full = np.zeros((self.grid.n_nodes, carried.shape[0]))
        full[self.pairs.element] = carried.T
        return full


def _stressed_nodes(grid: Grid, pairs: PerimeterPairs, carried: F8, n_threads: int) -> F8:
    """Node powers with which every branch carries its own worst case at once, (n_nodes, n_steps) in node order."""
    from flexcore.kernels.grid.headroom import split_at_nodes

    own = np.empty((pairs.element.size, carried.shape[0]))
    flows = np.ascontiguousarray(carried.T)
    run_chunks(
        lambda lo, hi: split_at_nodes(pairs.parent, flows, own, lo, hi), flows.shape[1], n_threads=n_threads, chunk=16
    )
    own[pairs.parent < 0] = 0.0  # roots feed no branch
    extra = np.zeros((grid.n_nodes, carried.shape[0]))
    extra[grid.forest.order[pairs.element]] = own
    return extra


def fill_linear(problem: Problem, forecast: Forecast, plain: ActivationRows, margin_kw: npt.ArrayLike | None) -> Caps:
    """Fill from linear rows; those for down count losses and voltages at the fill of a first pass."""
    grid, n_threads = problem.grid, problem.n_threads
    rows = with_margin(grid, plain, margin_kw, n_threads)
    down = problem.fill(rows, upward=False)
    # also where nothing moves down: what one step gets must not depend on another one
    extra = _stressed_nodes(grid, problem.pairs, down.shares.carried, n_threads)
    plain = with_stressed_losses(grid, plain, forecast, extra, loss_sweeps=3, n_threads=n_threads)
    rows = with_margin(grid, plain, margin_kw, n_threads)
    down = problem.fill(rows, upward=False)
    return Caps(problem.fill(rows, upward=True), down, rows, np.zeros(rows.n_steps, np.bool_))


class _Case(NamedTuple):
    """A call and its forecast, for all steps or some of them."""

    problem: Problem
    forecast: tuple[F8, F8]
    fixed: tuple[F8, F8]
    slopes: tuple[float, float]
    touches: npt.NDArray[np.int64]

    def at(self, steps: npt.NDArray[np.intp]) -> "_Case":
        """Return the case of some steps alone."""
        problem = self.problem
        return self._replace(
            problem=problem._replace(
                up=problem.up[steps],
                down=problem.down[steps],
                speeds=None if problem.speeds is None else problem.speeds[steps],
                values=None if problem.values is None else problem.values[steps],
            ),
            forecast=(self.forecast[0][:, steps], self.forecast[1][:, steps]),
            fixed=(self.fixed[0][:, steps], self.fixed[1][:, steps]),
        )

    def rows(self, carried: list[F8]) -> CertifiedRows:
        """Rows that are proved for everything up to what these caps make the branches carry, up and down."""
        problem = self.problem
        spread = Spread(*self.fixed, problem.in_preorder(carried[1]), problem.in_preorder(carried[0]))
        return certified_rows(
            problem.grid, *self.forecast, problem.m, spread, slopes=self.slopes, n_threads=problem.n_threads
        )

    def fill(self, rows: ActivationRows, ceilings: list[F8]) -> list[Filled]:
        """Caps up and down."""
        return [
            self.problem.fill(rows, upward=upward, ceiling=ceiling)
            for upward, ceiling in zip((True, False), ceilings, strict=True)
        ]

    def proved_up_to(
        self, at_forecast: ActivationRows, ceilings: list[F8], carried: list[F8]
    ) -> tuple[list[Filled], CertifiedRows]:
        """Caps from rows that are proved for these ceilings, halved where no certificate is found."""
        for attempt in range(_ATTEMPTS):
            found = self.rows(carried)
            open_ = (found.status.T.astype(np.int64) @ self.touches) > 0
            open_ &= (ceilings[0] > 0) | (ceilings[1] > 0)
            if not open_.any():
                break
            for ceiling in ceilings:
                ceiling[open_] *= 0.5 if attempt < _ATTEMPTS - 2 else 0.0
            carried = [filled.shares.carried for filled in self.fill(at_forecast, ceilings)]
        return self.fill(found.rows, ceilings), found


def fill_certified(
    problem: Problem,
    forecast: tuple[F8, F8],
    fixed: tuple[F8, F8],
    slopes: tuple[float, float],
    *,
    ways: tuple[bool, bool],
) -> Caps:
    """Fill from rows that are proved for every dispatch up to the caps that they were asked for.

    Three passes. Rows for the forecast alone give caps c0 that are too large, because they count no losses of the
    dispatch; rows for c0 give caps c1 that are safe and too small, because nobody gets c0. What a perimeter can have
    falls about in line with what it asks for, from c0 when it asks for nothing to c1 when it asks for c0; asked and
    given meet at c0^2 / (2 c0 - c1), and that is asked for last, in the steps where c0 and c1 lie apart. Caps never
    exceed what was asked for: then no branch carries more than the certificate covers, and the caps hold by proof
    whatever the guess was worth.
    """
    shape = (forecast[0].shape[1], problem.pairs.top.size)
    case = _Case(problem, forecast, fixed, slopes, _trees_of_perimeters(problem.grid, problem.pairs, shape[1]))
    nothing = np.zeros((shape[0], problem.pairs.element.size))
    at_forecast = case.rows([nothing, nothing]).rows
    first = case.fill(at_forecast, [np.full(shape, np.inf if way else 0.0) for way in ways])
    most = [filled.shares.cap for filled in first]
    caps, proved = case.proved_up_to(
        at_forecast, [cap.copy() for cap in most], [filled.shares.carried for filled in first]
    )
    least = [filled.shares.cap for filled in caps]
    # a step decides for itself, so that it gives the same bits alone
    apart = np.any([(low < _CLOSE * high).any(axis=1) for low, high in zip(least, most, strict=True)], axis=0)
    steps = np.flatnonzero(apart)
    if steps.size:
        part, rows = case.at(steps), _rows_at(at_forecast, steps)
        with np.errstate(invalid="ignore"):
            meet = [
                np.where(high[steps] > 0, high[steps] ** 2 / (2.0 * high[steps] - low[steps]), 0.0)
                for low, high in zip(least, most, strict=True)
            ]
        carried = [filled.shares.carried for filled in part.fill(rows, meet)]
        better, better_rows = part.proved_up_to(rows, meet, carried)
        for whole, some in zip(caps, better, strict=True):
            for name in Shares._fields:
                getattr(whole.shares, name)[steps] = getattr(some.shares, name)
            for name in ("headroom", "headroom_path"):
                getattr(whole.rooms, name)[steps] = getattr(some.rooms, name)
            whole.rooms.room_of_node[:, steps] = some.rooms.room_of_node
            whole.largest[steps] = some.largest
        for name in _BOUNDS:
            getattr(proved.rows, name)[:, steps] = getattr(better_rows.rows, name)
        proved.status[:, steps] = better_rows.status
    filled = [
        now._replace(shares=_named_by(now.shares, before.shares)) for now, before in zip(caps, first, strict=True)
    ]
    return Caps(filled[0], filled[1], proved.rows, np.equal(proved.status.max(axis=0, initial=0), 0))


def _rows_at(rows: ActivationRows, steps: npt.NDArray[np.intp]) -> ActivationRows:
    return replace(rows, **{name: getattr(rows, name)[:, steps] for name in _BOUNDS})


def _trees_of_perimeters(grid: Grid, pairs: PerimeterPairs, n_perimeters: int) -> npt.NDArray[np.int64]:
    """1 where a perimeter has members in the subtree that hangs off a root, (n_heads, n_perimeters).

    A member at a root lies in none of them: what it does is carried by no branch.
    """
    touches = np.zeros((grid.forest.heads.size, n_perimeters), np.int64)
    members = np.flatnonzero((pairs.label >= 0) & (pairs.parent >= 0))
    tree = np.searchsorted(grid.forest.heads, pairs.element[members], side="right") - 1
    touches[tree, pairs.label[members]] = 1
    return touches


def _named_by(shares: Shares, held: Shares) -> Shares:
    """Name what limits where only the ceiling did: the limit of the pass that set it."""
    open_ = (shares.kind == 0) & (shares.cap < shares.movable)
    return shares._replace(
        kind=np.where(open_, held.kind, shares.kind),
        row=np.where(open_, held.row, shares.row),
        at_node=np.where(open_, held.at_node, shares.at_node),
    )
