"""A call of `capability` after its checks, and how it is carried out on the whole grid or on a part of it."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.grid.capability_result import GroupLimits
from flexcore.grid.filling import Caps, Filled, Problem, fill_certified, fill_linear
from flexcore.grid.headroom import ActivationRows, carried_by_branches, forecast_and_rows
from flexcore.grid.nested import group_limits
from flexcore.grid.nested_certified import fill_nested_certified
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, Shares, pair_perimeters
from flexcore.grid.subgrid import Subgrid

__all__ = ["Call", "Direction", "Outcome", "fixed_spread", "pairs_of", "solve"]

F8 = npt.NDArray[np.float64]
I4 = npt.NDArray[np.int32]
U1 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Arguments of `capability`, checked; (n_nodes, n_steps) in node order but for `label` and `m`, in preorder.

    `speeds` is (n_steps, n_perimeters), `values` (n_steps, 2, n_perimeters); what is not given is None.
    """

    grid: Grid
    label: I4
    n_perimeters: int
    p: F8
    q: F8
    up: F8
    down: F8
    delivered_up: F8 | None
    delivered_down: F8 | None
    margin: F8 | None
    m: F8
    slopes: tuple[float, float]
    speeds: F8 | None
    values: F8 | None
    slack_pu: float
    method: str
    sharing: str
    together: bool
    n_threads: int

    def part(self, sub: Subgrid, steps: npt.NDArray[np.intp]) -> tuple["Call", I4]:
        """Return the call for some trees and steps, and its perimeters' numbers in the whole; power is copied."""
        label = self.label[sub.places]
        perimeters = np.unique(label[label >= 0])

        def cut(values: F8 | None) -> Any:
            return None if values is None else values[np.ix_(sub.nodes, steps)]

        call = replace(
            self,
            grid=sub.grid,
            label=np.where(label < 0, -1, np.searchsorted(perimeters, label)).astype(np.int32),
            n_perimeters=int(perimeters.size),
            m=self.m[sub.places],
            speeds=None if self.speeds is None else self.speeds[np.ix_(steps, perimeters)],
            **{name: cut(getattr(self, name)) for name in _PER_NODE},
        )
        return call, perimeters


_PER_NODE = ("p", "q", "up", "down", "delivered_up", "delivered_down", "margin")


class Direction(NamedTuple):
    """Results of one direction: (n_perimeters, n_steps), the last two (n_steps,)."""

    cap: F8
    movable: F8
    kind: U1
    binding: I4
    at_node: npt.NDArray[np.bool_]
    margin: F8
    status: U1
    largest: npt.NDArray[np.bool_]


class Outcome(NamedTuple):
    """Results of both directions, the rows they respect, and the steps in which these are proved."""

    up: Direction
    down: Direction
    rows: ActivationRows
    certified: npt.NDArray[np.bool_]
    groups: GroupLimits | None = None


def pairs_of(call: Call) -> PerimeterPairs:
    """Lay out the perimeters of a call over its forest."""
    forest = call.grid.forest
    # who moves is left out: it changes with the steps of a call, and a layout the order of sums
    return pair_perimeters(forest.parent, forest.last, call.label, call.label >= 0, call.n_perimeters)


def solve(call: Call, pairs: PerimeterPairs | None = None) -> Outcome:
    """Share the headroom as the call says."""
    grid = call.grid
    pairs = pairs_of(call) if pairs is None else pairs
    kept = grid.forest.order[pairs.element]
    problem = Problem(
        grid=grid,
        pairs=pairs,
        m=call.m,
        up=np.ascontiguousarray(call.up[kept].T),
        down=np.ascontiguousarray(call.down[kept].T),
        speeds=call.speeds,
        slack_pu=call.slack_pu,
        sharing=call.sharing,
        n_threads=call.n_threads,
        values=call.values,
    )
    if call.method == "linear":
        forecast, plain = forecast_and_rows(
            grid,
            call.p,
            call.q,
            loss_sweeps=3,
            tan_phi=call.slopes[1],
            delivered_up_kw=call.delivered_up,
            delivered_down_kw=call.delivered_down,
            n_threads=call.n_threads,
        )
        caps = fill_linear(problem, forecast, plain, call.margin)
    else:
        case = (call.p, call.q), fixed_spread(call), call.slopes
        fill = fill_nested_certified if call.sharing == "nested" else fill_certified
        caps = fill(problem, *case, ways=(True, call.together))
        if not call.together:
            caps = _one_at_a_time(caps, fill(problem, *case, ways=(False, True)))
    groups = None
    if caps.up.limit is not None and caps.down.limit is not None:
        groups = group_limits(grid, pairs, caps.up.limit, caps.down.limit)
    return Outcome(
        _direction(grid, pairs, caps.up), _direction(grid, pairs, caps.down), caps.rows, caps.certified, groups
    )


def fixed_spread(call: Call) -> tuple[F8, F8]:
    """By how much more and less each branch may carry than forecast: awards that may be delivered, and the margin.

    In preorder.
    """
    both = []
    margin = None if call.margin is None else call.margin[call.grid.forest.order]
    for awards in (call.delivered_down, call.delivered_up):
        total = np.zeros(call.p.shape) if awards is None else carried_by_branches(call.grid, awards, call.n_threads)
        both.append(total if margin is None else total + margin)
    return both[0], both[1]


def _one_at_a_time(up: Caps, down: Caps) -> Caps:
    """Join the results of two calls in which only one direction moves."""
    rows = replace(up.rows, lower_kw=down.rows.lower_kw, w_lower=down.rows.w_lower)
    return Caps(up.up, down.down, rows, up.certified & down.certified)


def _direction(grid: Grid, pairs: PerimeterPairs, filled: Filled) -> Direction:
    shares = filled.shares
    return Direction(
        cap=np.ascontiguousarray(shares.cap.T),
        movable=np.ascontiguousarray(shares.movable.T),
        kind=np.ascontiguousarray(shares.kind.T),
        binding=_binding(grid, pairs, shares, filled.rooms.room_of_node),
        at_node=np.ascontiguousarray(shares.at_node.T.astype(np.bool_)),
        margin=np.ascontiguousarray(shares.margin.T),
        status=shares.status,
        largest=filled.largest,
    )


def _least_roomy_node(grid: Grid, room: F8, position: int, step: int) -> int:
    """Node position of the smallest room in the subtree at a preorder position; the first in preorder on a tie."""
    last = int(grid.forest.last[position])
    return int(grid.forest.order[position + int(np.argmin(room[position:last, step]))])


def _binding(grid: Grid, pairs: PerimeterPairs, shares: Shares, room: F8) -> I4:
    """Positions of limiting branches and nodes, (n_perimeters, n_steps)."""
    if not pairs.element.size:
        return np.full(shares.row.T.shape, -1, np.int32)
    place = pairs.element[np.maximum(shares.row, 0)]
    result = np.where(shares.row < 0, -1, grid.forest.branch[place]).astype(np.int32)
    known: dict[tuple[int, int], int] = {}
    for step, k in np.argwhere((shares.at_node == 1) & (shares.row >= 0)):
        key = (int(place[step, k]), int(step))
        if key not in known:
            known[key] = _least_roomy_node(grid, room, *key)
        result[step, k] = known[key]
    return np.ascontiguousarray(result.T)
