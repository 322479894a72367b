"""Awards: a BSP splits what was accepted from a line over the line's PODs, in whole watts that add up exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, OfferError, check_option
from flexcore.market.slots import Slots
from flexcore.units import GLOBAL, LOCAL

Int64s = npt.NDArray[np.int64]

POLICIES = ("fewest_pods", "cheapest", "pro_rata")

_CHUNK = 24  # steps a chunk


@dataclass(frozen=True, slots=True)
class Awards:
    """Awards per POD of each line.

    Attributes
    ----------
    member_w : ndarray of int64, shape (n_members, n_steps)
        Set-point of each entry of the book's `pods`. [W]
    short_w : ndarray of int64, shape (n_lines, n_steps)
        Part of an award that found no POD, because an earlier line had taken it in the same quarter-hour (a POD that is
        offered upwards and downwards) or because it has to recover. Zero otherwise: the members of a line add up to the
        award minus this. [W]
    """

    member_w: Int64s
    short_w: Int64s

    @property
    def selected(self) -> npt.NDArray[np.bool_]:
        """Members that act, shape (n_members, n_steps): the mask for `Slots.hold`."""
        return self.member_w > 0


def split_awards(
    accepted_w: npt.ArrayLike,
    indptr: npt.ArrayLike,
    pods: npt.ArrayLike,
    available_w: npt.ArrayLike,
    *,
    policy: str = "fewest_pods",
    cost: npt.ArrayLike | None = None,
    line_id: npt.NDArray[Any] | None = None,
    slots: Slots | None = None,
    operator: npt.ArrayLike = LOCAL,
    n_threads: int = 1,
) -> Awards:
    """Split awards over PODs at award time (ACT-01, MUT-04).

    Parameters
    ----------
    accepted_w : array_like of int, shape (n_lines, n_steps)
        Award of each line. [W]
    indptr, pods : array_like of int
        The lines' PODs, as in `OfferBook`.
    available_w : array_like of int, shape (n_members, n_steps)
        Power that each member can give in the step (`LinePower.member_w`). [W]
    policy : {"fewest_pods", "cheapest", "pro_rata"}
        The fewest PODs that can carry the award (largest first); the cheapest first; or all in proportion to power,
        rounded by largest remainder. Ties go to the POD that comes first in the line, see `OfferBook.pods`.
    cost : array_like of int, shape (n_members,), optional
        Cost of each member; required by "cheapest".
    line_id : ndarray, shape (n_lines,), optional
        Names for error messages.
    slots : Slots, optional
        What is held already. With it PODs are chosen step after step so that recovery and maximum run times are kept
        (MUT-05), if any POD has one.
    operator : int or array_like of int, shape (n_lines,)
        Who buys each line; needed with `slots` only. Lines of both operators may stand in one call (a joint market): a
        POD goes to the first line that takes it, so never to both.
    n_threads : int

    Returns
    -------
    Awards

    Raises
    ------
    OfferError
        FX-O107 with the lines whose award exceeds the power of their PODs.
    """
    from flexcore.kernels.market import awards as kernels

    check_option("policy", policy, POLICIES)
    accepted = as_int(accepted_w, "accepted_w", shape=(None, None), lo=0)
    n_lines, n_steps = accepted.shape
    starts = as_int(indptr, "indptr", shape=(n_lines + 1,), lo=0)
    members = as_int(pods, "pods", dtype=np.int32, shape=(int(starts[-1]),), lo=0)
    available = as_int(available_w, "available_w", shape=(members.size, n_steps), lo=0)
    # the order of members within each line by cost, as positions from the start of the line; stable
    rank = np.zeros(members.size, np.int64)
    if policy == "cheapest":
        costs = as_int(0 if cost is None else cost, "cost", shape=(members.size,))
        line = np.repeat(np.arange(n_lines), np.diff(starts))
        rank = np.lexsort((costs, line)) - starts[line]
    power = sum_members(available, np.repeat(np.arange(n_lines, dtype=np.int32), np.diff(starts)), n_lines)
    found = Findings("awards", n_lines)
    bad = np.flatnonzero((accepted > power).any(axis=1))
    if bad.size:
        names = bad if line_id is None else line_id[bad]
        found.add("FX-O107", f"{bad.size} of {n_lines} awards exceed the power of their PODs", rows=bad, ids=names)
    if policy == "pro_rata" and int(accepted.max(initial=0)) * int(available.max(initial=0)) >= 2**63:
        found.add("FX-A006", "award times power does not fit 63 bits", hint="use another policy")
    found.raise_errors(OfferError)
    number = POLICIES.index(policy)
    if slots is not None and slots.limited:
        return _split_in_time(accepted, starts, members, available, rank, number, slots, operator)
    taken = np.zeros((int(members.max(initial=-1)) + 1, n_steps), np.uint8)
    member_w = np.empty((members.size, n_steps), np.int64)
    short = np.empty((n_lines, n_steps), np.int64)

    def task(lo: int, hi: int) -> None:
        kernels.split(accepted, starts, members, available, rank, number, taken, member_w, short, lo, hi)

    run_chunks(task, n_steps, n_threads=n_threads, chunk=_CHUNK)
    return Awards(member_w, short)


def _split_in_time(
    accepted: Int64s,
    starts: Int64s,
    members: npt.NDArray[np.int32],
    available: Int64s,
    rank: Int64s,
    policy: int,
    slots: Slots,
    operator: npt.ArrayLike,
) -> Awards:
    """Split step after step; a step depends on the one before it, so this is one task."""
    from flexcore.kernels.market.recovery import split_in_time

    n_lines, n_steps = accepted.shape
    wide = np.broadcast_to(np.asarray(operator), (n_lines,))
    side = as_int(wide, "operator", dtype=np.int8, shape=(n_lines,), lo=LOCAL, hi=GLOBAL)
    if members.size:
        as_int(members, "pods", dtype=np.int32, lo=0, hi=slots.n_pods - 1)
    as_int(accepted, "accepted_w", shape=(n_lines, slots.n_steps))
    member_w = np.empty((members.size, n_steps), np.int64)
    short = np.empty((n_lines, n_steps), np.int64)
    taken = np.zeros((slots.n_pods, n_steps), np.uint8)
    track = np.empty((4, slots.n_pods), np.int64)
    split_in_time(
        accepted,
        starts,
        members,
        available,
        rank,
        policy,
        side,
        slots.state,
        slots.recovery_steps,
        slots.max_run_steps,
        taken,
        track,
        member_w,
        short,
    )
    return Awards(member_w, short)


def sum_members(rows: npt.ArrayLike, group: npt.ArrayLike, n_groups: int, *, n_threads: int = 1) -> Int64s:
    """Add rows per group, exactly: member awards per line, node, perimeter, zone or POD.

    Parameters
    ----------
    rows : array_like of int, shape (n_rows, n_steps)
    group : array_like of int, shape (n_rows,)
        Group of each row, -1: left out.
    n_groups : int

    Returns
    -------
    ndarray of int64, shape (n_groups, n_steps)
    """
    from flexcore.kernels.market.awards import add_rows

    values = as_int(rows, "rows", shape=(None, None))
    of_row = as_int(group, "group", dtype=np.int32, shape=(values.shape[0],), lo=-1, hi=n_groups - 1)
    out = np.empty((n_groups, values.shape[1]), np.int64)
    run_chunks(lambda lo, hi: add_rows(values, of_row, out, lo, hi), values.shape[1], n_threads=n_threads, chunk=_CHUNK)
    return out
