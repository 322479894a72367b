"""Offer lines: what a BSP offers per aggregate and node group, and what the platform makes of it at the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Finding, Findings, OfferError, check_option
from flexcore.market.slots import Slots
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

#: What became of a line at the gate.
KEPT, CUT, WITHDRAWN = 0, 1, 2
LINE_STATES = ("kept", "cut", "withdrawn")

_CHUNK = 256  # lines a chunk
_MAX_SPLIT_W = 3_000_000_000  # its square stays below 2^63


@dataclass(frozen=True, slots=True)
class OfferBook:
    """The offer lines of one market side; one line per aggregate, node group and direction (OFR-01).

    Attributes
    ----------
    operator : int
        `LOCAL` or `GLOBAL`: who may buy.
    line_id : ndarray of str, shape (n_lines,)
    aggregate, bsp : ndarray of int32, shape (n_lines,)
    direction : ndarray of int8, shape (n_lines,)
        `UP` or `DOWN`.
    node, perimeter : ndarray of int32, shape (n_lines,)
        The node group: grid node of a local line (-1 for a global one), traffic-light perimeter of a global line.
    price_ueur_per_mwh : ndarray of int64, shape (n_lines,)
        What the operator pays in either direction, negative: the BSP pays (OFR-03).
    submitted_at : ndarray of int64, shape (n_lines,)
        Unix seconds; decides ties between equal prices.
    indptr : ndarray of int64, shape (n_lines + 1,)
    pods : ndarray of int32, shape (n_members,)
        The PODs of line i are `pods[indptr[i]:indptr[i + 1]]`, in the order that decides ties. A POD stands in at
        most one line a direction.
    quantity_w : ndarray of int64, shape (n_lines, n_steps)
        Power offered. [W]
    """

    operator: int
    line_id: npt.NDArray[np.str_]
    aggregate: Int32s
    bsp: Int32s
    direction: npt.NDArray[np.int8]
    node: Int32s
    perimeter: Int32s
    price_ueur_per_mwh: Int64s
    submitted_at: Int64s
    indptr: Int64s
    pods: Int32s
    quantity_w: Int64s

    @property
    def n_lines(self) -> int:
        """Number of lines."""
        return int(self.line_id.size)

    @property
    def n_steps(self) -> int:
        """Number of quarter-hours."""
        return int(self.quantity_w.shape[1])

    @property
    def line_of_member(self) -> Int32s:
        """Line of each entry of `pods`, shape (n_members,)."""
        return np.repeat(np.arange(self.n_lines, dtype=np.int32), np.diff(self.indptr))

    @property
    def merit_order(self) -> npt.NDArray[np.intp]:
        """Lines by (price, submission time, id): the order of every selection."""
        return np.lexsort((self.line_id, self.submitted_at, self.price_ueur_per_mwh))

    def with_quantity(self, quantity_w: npt.ArrayLike, submitted_at: npt.ArrayLike | None = None) -> "OfferBook":
        """Return the book with other quantities (and submission times): the next session's restatement."""
        quantity = as_int(quantity_w, "quantity_w", shape=(self.n_lines, None), lo=0)
        times = self.submitted_at if submitted_at is None else _times(submitted_at, self.n_lines)
        return replace(self, quantity_w=quantity, submitted_at=times)


def _times(submitted_at: npt.ArrayLike, n_lines: int) -> Int64s:
    times = np.broadcast_to(np.asarray(submitted_at), (n_lines,))
    return as_int(times, "submitted_at", shape=(n_lines,))


def members_of_lines(line_of_pod: npt.ArrayLike, n_lines: int) -> tuple[Int64s, Int32s]:
    """Turn the line of each POD and direction into lists of PODs per line.

    Parameters
    ----------
    line_of_pod : array_like of int, shape (2, n_pods)
        Line that offers the POD upwards and downwards, -1 for none.
    n_lines : int

    Returns
    -------
    indptr : ndarray of int64, shape (n_lines + 1,)
    pods : ndarray of int32, shape (n_members,)
        Ascending within each line.
    """
    lines = as_int(line_of_pod, "line_of_pod", dtype=np.int32, shape=(2, None), lo=-1, hi=n_lines - 1)
    _, pod = np.nonzero(lines >= 0)
    line = lines[lines >= 0]
    order = np.lexsort((pod, line))
    indptr = np.zeros(n_lines + 1, np.int64)
    np.cumsum(np.bincount(line, minlength=n_lines), out=indptr[1:])
    return indptr, pod[order].astype(np.int32)


def offer_book(
    *,
    operator: int,
    line_id: npt.ArrayLike,
    aggregate: npt.ArrayLike,
    bsp: npt.ArrayLike,
    direction: npt.ArrayLike,
    node: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    price_ueur_per_mwh: npt.ArrayLike,
    submitted_at: npt.ArrayLike,
    indptr: npt.ArrayLike,
    pods: npt.ArrayLike,
    n_pods: int,
    pod_rank: npt.ArrayLike | None = None,
    quantity_w: npt.ArrayLike | None = None,
    n_steps: int | None = None,
) -> OfferBook:
    """Check offer lines and return them as a book.

    Parameters
    ----------
    n_pods : int
        Number of PODs, to check the positions in `pods`.
    pod_rank : array_like of int, shape (n_pods,), optional
        Order of PODs within a line, which decides ties of the split; by position unless given. The rank of the POD
        codes makes results independent of the order in which PODs are handed over.
    quantity_w : array_like of int, shape (n_lines, n_steps), optional
        Zero by default; `n_steps` must be given then.
    n_steps : int, optional
        Number of quarter-hours; by default that of `quantity_w`.

    Other parameters are the attributes of `OfferBook`.

    Raises
    ------
    OfferError
        FX-A009 two lines of one id, FX-O105 two lines of one (aggregate, node group, direction), FX-O106 a POD in two
        lines of one direction, FX-O109 `indptr` and `pods` do not fit, all with the ids of the lines.
    ValidationError
        FX-A001, FX-A002, FX-A004, FX-A006 for a wrong shape, type, sign or range.
    """
    ids = np.asarray(line_id).astype(str)
    n = ids.size
    int32: dict[str, Int32s] = {
        name: as_int(values, name, dtype=np.int32, shape=(n,), lo=lo)
        for name, values, lo in (
            ("aggregate", aggregate, 0),
            ("bsp", bsp, 0),
            ("node", node, -1),
            ("perimeter", perimeter, -1),
        )
    }
    side = int(as_int(operator, "operator", lo=LOCAL, hi=GLOBAL))
    ways = as_int(direction, "direction", dtype=np.int8, shape=(n,), lo=UP, hi=DOWN)
    price = as_int(price_ueur_per_mwh, "price_ueur_per_mwh", shape=(n,))
    starts = as_int(indptr, "indptr", shape=(n + 1,), lo=0)
    members = as_int(pods, "pods", dtype=np.int32, shape=(None,), lo=0, hi=n_pods - 1)
    if quantity_w is None:
        quantity = np.zeros((n, n_steps or 0), np.int64)
    else:
        quantity = as_int(quantity_w, "quantity_w", shape=(n, n_steps), lo=0)
    found = Findings("offers", n)
    if starts[0] != 0 or starts[-1] != members.size or (np.diff(starts) < 0).any():
        found.add("FX-O109", f"indptr must rise from 0 to the number of members ({members.size})", field="indptr")
        found.raise_errors(OfferError)
    _, first, counts = np.unique(ids, return_index=True, return_counts=True)
    same = np.flatnonzero(np.isin(ids, ids[first[counts > 1]]))
    if same.size:
        found.add("FX-A009", f"{same.size} lines share an id", field="line_id", rows=same, ids=ids[same])
    group = int32["node"] if side == LOCAL else int32["perimeter"]
    key = np.stack([int32["aggregate"], group, ways], axis=1)
    _, inverse, counts = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    same = np.flatnonzero(counts[inverse.ravel()] > 1)
    if same.size:
        hint = "give one line per aggregate, node group and direction"
        found.add("FX-O105", f"{same.size} lines repeat a node group", rows=same, ids=ids[same], hint=hint)
    of_member = np.repeat(np.arange(n), np.diff(starts))
    in_direction = members.astype(np.int64) * 2 + ways[of_member]
    _, inverse, counts = np.unique(in_direction, return_inverse=True, return_counts=True)
    same = np.unique(of_member[counts[inverse] > 1])
    if same.size:
        hint = "a POD can be offered by one line per direction"
        found.add("FX-O106", f"{same.size} lines share PODs", rows=same, ids=ids[same], hint=hint)
    found.raise_errors(OfferError)
    place = members if pod_rank is None else as_int(pod_rank, "pod_rank", shape=(n_pods,))[members]
    order = np.lexsort((place, of_member))
    return OfferBook(
        side,
        ids,
        int32["aggregate"],
        int32["bsp"],
        ways,
        int32["node"],
        int32["perimeter"],
        price,
        _times(submitted_at, n),
        starts,
        np.ascontiguousarray(members[order]),
        quantity,
    )


@dataclass(frozen=True, slots=True)
class LinePower:
    """What the PODs of a book's lines can move.

    Attributes
    ----------
    member_w : ndarray of int64, shape (n_members, n_steps)
        Free power of each POD of each line: 0 where its slot is not free to the operator. [W]
    free_w : ndarray of int64, shape (n_lines, n_steps)
        Its sum per line. [W]
    held_w : ndarray of int64, shape (n_lines, n_steps)
        Power of the line's PODs that the operator may not select. [W]
    """

    member_w: Int64s
    free_w: Int64s
    held_w: Int64s


def line_power(
    book: OfferBook,
    slots: Slots,
    up_w: npt.ArrayLike,
    down_w: npt.ArrayLike,
    *,
    steps: slice = slice(None),
    n_threads: int = 1,
) -> LinePower:
    """Sum the free and the held power of each line's PODs.

    Parameters
    ----------
    book : OfferBook
    slots : Slots
    up_w, down_w : array_like of int, shape (n_pods, n_steps)
        Power of each POD that is validated, enrolled in this market side and ready in the step. [W]
    steps : slice
        Steps of the session (`day.plan(k)`); zero outside.
    n_threads : int

    Returns
    -------
    LinePower
    """
    from flexcore.kernels.market.slots import free_power, sum_lines

    shape = (slots.n_pods, slots.n_steps)
    up = as_int(up_w, "up_w", shape=shape, lo=0)
    down = as_int(down_w, "down_w", shape=shape, lo=0)
    start, stop, _ = steps.indices(slots.n_steps)
    member = np.empty((book.pods.size, slots.n_steps), np.int64)
    free = np.empty((book.n_lines, slots.n_steps), np.int64)
    held = np.empty((book.n_lines, slots.n_steps), np.int64)

    def task(lo: int, hi: int) -> None:
        free_power(
            book.direction,
            book.indptr,
            book.pods,
            up,
            down,
            slots.state,
            np.uint8(book.operator),
            start,
            stop,
            member,
            held,
            lo,
            hi,
        )
        sum_lines(book.indptr, member, free, lo, hi)

    run_chunks(task, book.n_lines, n_threads=n_threads, chunk=_CHUNK)
    return LinePower(member, free, held)


def submit(
    book: OfferBook,
    power: LinePower,
    *,
    careless: npt.ArrayLike | None = None,
    submitted_at: npt.ArrayLike | None = None,
) -> OfferBook:
    """Restate the offers as their BSPs would: all that is free, or all, by a BSP that forgets what is held.

    Parameters
    ----------
    book : OfferBook
    power : LinePower
        From `line_power` at the present slots.
    careless : array_like of bool, shape (n_bsps,), optional
        True for BSPs that do not take out held PODs (D4.1 section 6.3, step 5). None by default.
    submitted_at : array_like of int, shape (n_lines,), optional
        Unix seconds of the restatement; unchanged by default.
    """
    quantity = power.free_w.copy()
    if careless is not None:
        forgets = np.asarray(careless, np.bool_)[book.bsp]
        quantity[forgets] += power.held_w[forgets]
    return book.with_quantity(quantity, submitted_at)


@dataclass(frozen=True, slots=True)
class Restatement:
    """A book that may enter the clearing, and what had to be done to it (OFR-02).

    Attributes
    ----------
    book : OfferBook
        Quantities that never exceed the free validated power of the lines' PODs.
    line_state : ndarray of uint8, shape (n_lines,)
        `KEPT`, `CUT` or `WITHDRAWN`.
    removed_w : ndarray of int64, shape (n_lines, n_steps)
        Power taken out of each line. [W]
    findings : tuple of Finding
        One per code, with the lines: FX-O102 cut, FX-O103 withdrawn, FX-O104 above the validated power.
    """

    book: OfferBook
    line_state: npt.NDArray[np.uint8]
    removed_w: Int64s
    findings: tuple[Finding, ...]

    def per_bsp(self, n_bsps: int) -> tuple[Int64s, Int64s]:
        """Lines cut and lines withdrawn per BSP, each of shape (n_bsps,)."""
        cut = np.bincount(self.book.bsp[self.line_state == CUT], minlength=n_bsps)
        withdrawn = np.bincount(self.book.bsp[self.line_state == WITHDRAWN], minlength=n_bsps)
        return cut.astype(np.int64), withdrawn.astype(np.int64)

    def to_arrow(self, bsp_ids: Sequence[str] | npt.NDArray[Any] | None = None) -> Any:
        """Return one row per line that was cut or withdrawn, as a pyarrow Table."""
        import pyarrow as pa

        rows = np.flatnonzero(self.line_state != KEPT)
        bsp = self.book.bsp[rows]
        return pa.table(
            {
                "line": self.book.line_id[rows],
                "bsp": bsp if bsp_ids is None else np.asarray(bsp_ids)[bsp],
                "state": np.array(LINE_STATES)[self.line_state[rows]],
                "removed_wqh": self.removed_w[rows].sum(axis=1),
            }
        )


def check_gate(book: OfferBook, gate: int) -> None:
    """Raise OfferError FX-O101, naming the lines, if an offer came after the gate (unix seconds)."""
    late = np.flatnonzero(book.submitted_at > gate)
    if late.size:
        found = Findings("offers", book.n_lines)
        what = f"{late.size} of {book.n_lines} lines were submitted after the gate"
        hint = "submit before the gate, or in the next session"
        found.add("FX-O101", what, field="submitted_at", rows=late, ids=book.line_id[late], hint=hint)
        found.raise_errors(OfferError)


def restate(
    book: OfferBook,
    power: LinePower,
    *,
    gate: int | None = None,
    steps: slice = slice(None),
    policy: str = "cut",
) -> Restatement:
    """Bring submitted quantities down to what the operator may select (OFR-02).

    Parameters
    ----------
    book : OfferBook
        As submitted by the BSPs.
    power : LinePower
        From `line_power` at the present slots.
    gate : int, optional
        Gate of the session, unix seconds.
    steps : slice
        Steps of the session; quantities outside become zero.
    policy : {"cut", "withdraw"}
        A line that still counts held PODs is cut to its free power, or withdrawn for the whole session. With "cut", a
        line of which nothing is left is withdrawn too.

    Returns
    -------
    Restatement

    Raises
    ------
    OfferError
        FX-O101 if lines were submitted after the gate; nothing is restated then.
    """
    check_option("policy", policy, ("cut", "withdraw"))
    if gate is not None:
        check_gate(book, gate)
    offered = np.zeros_like(book.quantity_w)
    offered[:, steps] = book.quantity_w[:, steps]
    allowed = np.minimum(offered, power.free_w)
    over = offered > allowed
    # an excess that held PODs explain is the BSP's omission; what exceeds even those was never validated
    forgot = (over & (power.held_w > 0)).any(axis=1)
    too_much = (offered > power.free_w + power.held_w).any(axis=1)
    state = np.where(over.any(axis=1), CUT, KEPT).astype(np.uint8)
    gone = forgot if policy == "withdraw" else forgot & ~allowed.any(axis=1)
    state[gone] = WITHDRAWN
    allowed[gone] = 0
    found = Findings("offers", book.n_lines)
    for code, mask, what in (
        ("FX-O102", forgot & ~gone, "lines were cut: they still counted PODs that are held"),
        ("FX-O103", gone, "lines were withdrawn: they still counted PODs that are held"),
        ("FX-O104", too_much & ~gone, "lines were cut to the validated power of their PODs"),
    ):
        rows = np.flatnonzero(mask)
        if rows.size:
            hint = "take selected PODs out before the gate (D4.1 6.3, step 5)"
            message = f"{rows.size} of {book.n_lines} {what}"
            found.add(code, message, rows=rows, ids=book.line_id[rows], hint=hint, severity="warning")
    return Restatement(replace(book, quantity_w=allowed), state, offered - allowed, tuple(found.items))


def guaranteed_need(x_w: npt.ArrayLike, outside_w: npt.ArrayLike) -> Int64s:
    """Effect on a need of an award of x whose PODs only the BSP knows: max(0, x - what sits outside) (OFR-01)."""
    return np.maximum(np.asarray(x_w, np.int64) - np.asarray(outside_w, np.int64), 0)


def guaranteed_cap(x_w: npt.ArrayLike, inside_w: npt.ArrayLike) -> Int64s:
    """Effect against a cap of an award of x whose PODs only the BSP knows: min(x, what sits inside) (OFR-01)."""
    return np.minimum(np.asarray(x_w, np.int64), np.asarray(inside_w, np.int64))


def _scaled(running_w: Int64s, wanted_w: Int64s) -> Int64s:
    """Cumulative shares of `wanted_w` in proportion to `running_w`, rounded down."""
    if running_w.max() > _MAX_SPLIT_W:
        found = Findings("offers")
        found.add("FX-A006", f"a line of more than {_MAX_SPLIT_W} W cannot be split exactly")
        found.raise_errors(OfferError)
    return np.asarray(running_w * wanted_w // running_w[-1], np.int64)


def split_by_perimeter(
    book: OfferBook, power: LinePower, perimeter_of_pod: npt.ArrayLike
) -> tuple[OfferBook, LinePower, Int32s]:
    """Split lines that span perimeters into (line, perimeter) pieces (MSD-02).

    Parameters
    ----------
    book : OfferBook
        Restated.
    power : LinePower
        Of the book.
    perimeter_of_pod : array_like of int, shape (n_pods,)
        The perimeter of each POD in the session's version; PODs with -1 may not move and leave the line.

    Returns
    -------
    pieces : OfferBook
        One line per piece, with price and time of its line and the id `line/perimeter` where a line has several. The
        quantity of a line is spread over its pieces in proportion to their free power, so that pieces
        never add up to more than the line; a piece never exceeds the free validated power in its perimeter.
    piece_power : LinePower
        Power of the pieces (`held_w` is not split and is zero).
    line : ndarray of int32, shape (n_pieces,)
        Line of each piece.
    """
    from flexcore.kernels.market.slots import sum_lines

    of_pod = as_int(perimeter_of_pod, "perimeter_of_pod", dtype=np.int32, shape=(None,), lo=-1)
    of_member = of_pod[book.pods]
    line_of_member = book.line_of_member
    order = np.lexsort((of_member, line_of_member))  # stable: PODs stay in the order that decides ties
    order = order[of_member[order] >= 0]
    key = np.stack([line_of_member[order], of_member[order]], axis=1)
    pieces, counts = np.unique(key, axis=0, return_counts=True)
    line, perimeter = pieces[:, 0].astype(np.int32), pieces[:, 1].astype(np.int32)
    indptr = np.zeros(line.size + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    member_w = np.ascontiguousarray(power.member_w[order])
    free = np.empty((line.size, book.n_steps), np.int64)
    if line.size:
        sum_lines(indptr, member_w, free, 0, line.size)
    # cumulative shares rounded down: they add up to the line exactly, and a share never exceeds its piece's free power
    quantity = np.zeros_like(free)
    first = np.searchsorted(line, np.arange(book.n_lines + 1))
    for i in range(book.n_lines):
        lo, hi = first[i], first[i + 1]
        if lo == hi:
            continue
        running = np.cumsum(free[lo:hi], axis=0)
        wanted = np.minimum(book.quantity_w[i], running[-1])
        part = wanted < running[-1]
        if part.any():
            running[:, part] = _scaled(running[:, part], wanted[part])
        quantity[lo:hi] = np.diff(running, axis=0, prepend=0)
    several = np.diff(first)[line] > 1
    tails = np.char.add("/", perimeter.astype(str)) if line.size else np.empty(0, str)
    ids = np.where(several, np.char.add(book.line_id[line], tails), book.line_id[line])
    split = OfferBook(
        book.operator,
        ids,
        book.aggregate[line],
        book.bsp[line],
        book.direction[line],
        book.node[line],
        perimeter,
        book.price_ueur_per_mwh[line],
        book.submitted_at[line],
        indptr,
        np.ascontiguousarray(book.pods[order]),
        quantity,
    )
    return split, LinePower(member_w, free, np.zeros_like(free)), line
