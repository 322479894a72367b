"""Headroom of nodes: the largest power that a node alone may add before a branch or a voltage limit breaks."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, check_option
from flexcore.grid.certified import Spread, certified_rows
from flexcore.grid.headroom import ActivationRows, activation_rows, sensitivity
from flexcore.grid.network import Grid

__all__ = ["HeadroomResult", "headroom"]

F8 = npt.NDArray[np.float64]
B1 = npt.NDArray[np.bool_]
_STEPS_PER_CHUNK = 16
_CLASSES = 6  # nodes are proved in classes of similar headroom, each a box of its own
_RATIO = 0.5  # of the smallest to the largest headroom in a class
_SHRINK = (0.5, 0.5, 0.25, 0.1, 0.0)  # what is asked for where no proof is found, attempt by attempt


@dataclass(frozen=True, slots=True, eq=False)
class HeadroomResult:
    """Largest power that each node alone may add in each direction while all others stay at the forecast.

    Attributes
    ----------
    up_kw, down_kw : ndarray, shape (n_nodes, n_steps)
        More injection or less withdrawal, and the opposite. Infinite at slack nodes. [kW]
    up_kind, down_kind : ndarray of uint8, shape (n_nodes, n_steps)
        What binds: 0 nothing in the network, 1 the rating of a branch, 2 a voltage limit.
    up_binding, down_binding : ndarray of int32, shape (n_nodes, n_steps)
        Position of the branch (kind 1) or of the node (kind 2) that binds, -1 where nothing does.
    certified : ndarray of bool, shape (n_steps,)
        Steps whose values are proved; nothing may move in the trees without a proof.
    """

    up_kw: F8
    down_kw: F8
    up_kind: npt.NDArray[np.uint8]
    down_kind: npt.NDArray[np.uint8]
    up_binding: npt.NDArray[np.int32]
    down_binding: npt.NDArray[np.int32]
    certified: B1


class _Rooms(NamedTuple):
    """What rows leave to each node in one direction, what binds and where, all in preorder."""

    kw: F8
    kind: npt.NDArray[np.uint8]
    at: npt.NDArray[np.int32]

    def where(self, mask: B1, other: "_Rooms") -> "_Rooms":
        """Take the entries of `self` where the mask holds, else those of `other`."""
        return _Rooms(
            np.where(mask, self.kw, other.kw), np.where(mask, self.kind, other.kind), np.where(mask, self.at, other.at)
        )


def headroom(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike | None = None,
    *,
    method: Literal["certified", "linear"] = "certified",
    up_kw: npt.ArrayLike | None = None,
    down_kw: npt.ArrayLike | None = None,
    tan_phi: float | tuple[float, float] = 0.0,
    loss_sweeps: int = 3,
    n_threads: int = 1,
) -> HeadroomResult:
    """Find the largest power that each node alone may add in each direction before a limit breaks.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal in `grid.node_ids` order. Without `q_kvar` there is none. [kW, kvar]
    method : {"certified", "linear"}
        "certified": safe by proof, from bounds of the AC power flow. "linear": quick, from a linear power flow with the
        losses of the forecast alone; usually too large, because what the node adds has losses too.
    up_kw, down_kw : array_like, shape (n_nodes, n_steps) or (n_nodes, 1), optional
        What a node could move at most; results never exceed it. Nothing needs to be proved beyond it. [kW]
    tan_phi : float or (float, float)
        kvar per kW of what is added; "certified" also takes the smallest and the largest.
    loss_sweeps : int
        For "linear".
    n_threads : int
        The result has the same bits for any number.

    Returns
    -------
    HeadroomResult

    Raises
    ------
    ValidationError
        FX-A001, FX-A003, FX-A004 for shapes, values and negative powers, FX-A006 a count out of range, FX-E002
        unknown method.
    GridError
        FX-G050 if the power would move a voltage the wrong way; with "linear" FX-G051 if the forecast has no voltage.

    Notes
    -----
    Each value holds for its node alone: two nodes that use theirs at once may break a limit, for totals see
    `capability`. A limit that the forecast breaks already leaves nothing to the nodes that make it worse. Nothing is
    promised beyond a quarter of the short-circuit power at the node. See docs/explanation/sensitivities.md.
    """
    check_option("method", method, ("certified", "linear"))
    found = Findings("headroom")
    found.check_count("n_threads", n_threads, 1)
    found.check_count("loss_sweeps", loss_sweeps, 0)
    found.raise_errors()
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    q = np.zeros_like(p) if q_kvar is None else as_float(q_kvar, "q_kvar", shape=p.shape)
    wanted = [_wanted(grid, name, power, p.shape) for name, power in (("up_kw", up_kw), ("down_kw", down_kw))]
    slopes = as_float(tan_phi, "tan_phi", shape=(2,) if method == "certified" and np.ndim(tan_phi) == 1 else ())
    if method == "certified":
        proof = _Proof(grid, p, q, (float(slopes.min()), float(slopes.max())), n_threads)
        rooms = [proof.best(most, down=down) for down, most in enumerate(wanted)]
        certified = np.equal(proof.status.max(axis=0, initial=0), 0)
    else:
        rows = activation_rows(grid, p, q, loss_sweeps=loss_sweeps, tan_phi=float(slopes), n_threads=n_threads)
        rooms = [_capped(_rooms(grid, rows, down, n_threads), most) for down, most in enumerate(wanted)]
        certified = np.zeros(p.shape[1], np.bool_)
    (up, up_kind, up_at), (fall, fall_kind, fall_at) = (_in_node_order(grid, room) for room in rooms)
    return HeadroomResult(up, fall, up_kind, fall_kind, up_at, fall_at, certified)


def _wanted(grid: Grid, name: str, power: npt.ArrayLike | None, shape: tuple[int, ...]) -> F8:
    """Most that each node could move, in preorder."""
    if power is None:
        return np.full(shape, np.inf)
    one = np.ndim(power) == 2 and np.shape(power)[1] == 1
    values = as_float(power, name, shape=(shape[0], 1) if one else shape, non_negative=True)
    most: F8 = np.broadcast_to(values, shape)[grid.forest.order]
    return most


def _capped(room: _Rooms, most: F8) -> _Rooms:
    """Cut to what a node could move, which no limit of the network is to blame for."""
    nothing = _Rooms(most, np.zeros(most.shape, np.uint8), np.full(most.shape, -1, np.int32))
    return nothing.where(most < room.kw, room)


def _in_node_order(grid: Grid, room: _Rooms) -> tuple[F8, Any, Any]:
    """Turn preorder into node order, and the node whose feeding branch binds into that branch."""
    forest = grid.forest
    branch = np.where(room.kind == 1, forest.branch[forest.rank[np.maximum(room.at, 0)]], room.at)
    kw, kind, at = (np.ascontiguousarray(values[forest.rank]) for values in (room.kw, room.kind, branch))
    return kw, kind.astype(np.uint8), at.astype(np.int32)


def _rooms(grid: Grid, rows: ActivationRows, down: int, n_threads: int) -> _Rooms:
    """Find the room of each node in rows, of which those that are broken already leave none."""
    from flexcore.kernels.grid.node_headroom import node_headroom as kernel

    forest, shape = grid.forest, rows.lower_kw.shape
    limits = (
        np.minimum(rows.lower_kw, 0.0), np.maximum(rows.upper_kw, 0.0),
        np.minimum(rows.w_lower, 0.0), np.maximum(rows.w_upper, 0.0),
    )  # fmt: skip
    work: list[npt.NDArray[Any]] = [np.empty(shape, kind) for kind in (np.float64, np.int32) * 2]
    room, kind, at = np.empty(shape), np.empty(shape, np.uint8), np.empty(shape, np.int32)
    run_chunks(
        lambda lo, hi: kernel(forest.order, forest.parent, *limits, rows.m, *work, room, kind, at, down, lo, hi),
        shape[1],
        n_threads=n_threads,
        chunk=_STEPS_PER_CHUNK,
    )
    return _Rooms(room[forest.order], kind[forest.order], at[forest.order])


class _Proof:
    """Headrooms that hold by proof: what a certified box of the AC power flow leaves to each node in it.

    A box for "one node alone moves up to its ceiling" lets each branch carry the largest ceiling below it. It counts
    the losses of that, so a box for all nodes at once would give far nodes the losses of what near ones can do. Nodes
    are therefore proved in classes of similar ceilings.
    """

    def __init__(self, grid: Grid, p: F8, q: F8, slopes: tuple[float, float], n_threads: int) -> None:
        self.grid, self.p, self.q, self.slopes, self.n_threads = grid, p, q, slopes, n_threads
        self.m = sensitivity(grid, slopes)
        self.none = np.zeros(p.shape)
        self.roots = grid.forest.parent < 0
        heads = grid.forest.heads
        # the subtree that hangs off a root, of each node; roots are in none and count for nothing
        self.head_of = np.maximum(np.searchsorted(heads, np.arange(grid.n_nodes), side="right") - 1, 0)
        forecast = certified_rows(grid, p, q, self.m, self._spread(self.none, 0), slopes=slopes, n_threads=n_threads)
        self.rows, self.status = forecast.rows, forecast.status
        self.broken = self._broken(forecast.rows)

    def _spread(self, cap: F8, down: int) -> Spread:
        more, less = (cap, self.none) if down else (self.none, cap)
        return Spread(self.none, self.none, more, less)

    def _broken(self, rows: ActivationRows) -> B1:
        """Tell which rows are broken before anything moves, in preorder."""
        broken: B1 = (rows.lower_kw > 0) | (rows.upper_kw < 0) | (rows.w_lower > 0) | (rows.w_upper < 0)
        return broken[self.grid.forest.order]

    def _over_heads(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Largest value in each subtree that hangs off a root, from preorder."""
        largest: npt.NDArray[Any] = np.maximum.reduceat(values, self.grid.forest.heads, axis=0)
        return largest

    def _largest_below(self, ceiling: F8) -> F8:
        """Find what a branch carries at most if one node alone moves: the largest ceiling of its subtree."""
        from flexcore.kernels.grid.headroom import subtree_min

        minus, least = -ceiling, np.empty_like(ceiling)
        run_chunks(
            lambda lo, hi: subtree_min(self.grid.forest.parent, minus, least, lo, hi),
            ceiling.shape[1],
            n_threads=self.n_threads,
            chunk=_STEPS_PER_CHUNK,
        )
        largest: F8 = -least
        return largest

    def _reach(self) -> F8:
        """Quarter of the short-circuit power of each node: no box is found beyond it, (n_nodes, 1) in preorder."""
        from flexcore.kernels.grid.headroom import path_sum

        forest, one = self.grid.forest, np.ones((self.grid.n_nodes, 1))
        r, x = np.empty_like(one), np.empty_like(one)
        path_sum(forest.parent, forest.r_scaled, one, r, 0, 1)
        path_sum(forest.parent, forest.x_scaled, one, x, 0, 1)
        with np.errstate(divide="ignore"):
            reach: F8 = np.where(self.roots[:, None], 0.0, 0.25 * forest.u_root[:, None] / np.hypot(r, x))
        return reach

    def best(self, most: F8, *, down: int) -> _Rooms:
        """Prove twice: up to what the forecast's rows leave, and up to where asked and given should meet.

        Rows for nothing at all give c0, too large because they count no losses of the node's own power; rows for c0
        give c1, safe and too small because c0 is not reached. In between what is given falls about in line with what
        is asked for, and the two meet at c0^2 / (2 c0 - c1). The guess decides how much is found, never whether it
        is safe.
        """
        first = _capped(_rooms(self.grid, self.rows, down, self.n_threads), most)
        free = _Rooms(most, np.zeros(most.shape, np.uint8), np.full(most.shape, -1, np.int32))
        if not self.grid.n_branches or not most.shape[1]:
            return free
        asked = np.minimum(first.kw, self._reach())
        once = self.prove(asked, first, down)
        with np.errstate(invalid="ignore"):
            meet = np.where(asked > 0, asked * asked / (2.0 * asked - once.kw), 0.0)
        again = self.prove(meet, first, down)
        better = again.where(again.kw > once.kw, once)
        return free.where(np.broadcast_to(self.roots[:, None], most.shape), better)

    def prove(self, ceiling: F8, named: _Rooms, down: int) -> _Rooms:
        """Find what each node can have up to its ceiling, class by class; `named` says what binds where it has all."""
        largest = self._over_heads(ceiling)[self.head_of]
        result = _Rooms(np.zeros(ceiling.shape), named.kind, named.at)
        for number in range(_CLASSES):
            members = (ceiling > 0) & (ceiling <= largest * _RATIO**number)
            if number < _CLASSES - 1:
                members &= ceiling > largest * _RATIO ** (number + 1)
            if members.any():
                result = self._class(np.where(members, ceiling, 0.0), named, down).where(members, result)
        return result

    def _class(self, ceiling: F8, named: _Rooms, down: int) -> _Rooms:
        """Prove one class; where no proof is found, or others would suffer, less is asked for."""
        for shrink in (*_SHRINK, 0.0):
            found = certified_rows(
                self.grid, self.p, self.q, self.m, self._spread(self._largest_below(ceiling), down),
                slopes=self.slopes, n_threads=self.n_threads,
            )  # fmt: skip
            # a branch beside the path carries more current at a lower voltage: no row of the path tells
            spoilt = self._over_heads(self._broken(found.rows) & ~self.broken)
            open_ = (spoilt | (found.status > 0))[self.head_of] & (ceiling > 0)
            if not open_.any():
                break
            ceiling = np.where(open_, ceiling * shrink, ceiling)
        room = _rooms(self.grid, found.rows, down, self.n_threads)
        held = room.kw < ceiling
        return room.where(held, _Rooms(ceiling, named.kind, named.at))
