"""How a scheme keeps distribution grids safe between stages: traffic light, filters, and what may be forwarded."""

import numpy as np
import numpy.typing as npt

from flexcore.grid.sharing import pair_perimeters, share
from flexcore.market.schemes.case import CoordinationCase, Floats, Int64s
from flexcore.market.schemes.clearing import StepState
from flexcore.market.traffic_light import below_relieved, relieved_elements
from flexcore.units import DOWN, UP

_TOLERANCE_KW = 1e-6


def dynamic_light(case: CoordinationCase, taken_kw: Floats, left_kw: Floats, *, n_threads: int = 1) -> Floats:
    """Compute the jointly safe capability of every perimeter on the rows of the case (DTL-01, DTL-02, DTL-03).

    Parameters
    ----------
    taken_kw : ndarray, shape (n_offers, n_steps)
        Standing awards; the capability holds whether they are delivered or not.
    left_kw : ndarray, shape (n_offers, n_steps)
        What could still move.

    Returns
    -------
    ndarray, shape (n_steps, 2, n_perimeters)
        Any dispatch of at most that total inside each perimeter keeps every row. [kW]
    """
    from flexcore.kernels.grid.rooms import rooms

    layout, n_steps = case.layout, case.n_steps
    n, n_perimeters = layout.parent.size, int(layout.label.max(initial=-1)) + 1
    cap = np.zeros((n_steps, 2, n_perimeters))
    if not n_perimeters:
        return cap
    pairs = pair_perimeters(layout.parent, layout.last, layout.label, layout.label >= 0, n_perimeters)
    unsold = np.zeros(case.bids.direction.size)
    states = [StepState.of(case, t, np.ascontiguousarray(taken_kw[:, t]), unsold) for t in range(n_steps)]
    y = np.array([state.y_kw for state in states])
    v = np.array([state.v_kw for state in states])
    order = np.arange(n, dtype=np.int32)
    none = np.zeros(n)
    for way, sign, bound, v_bound in (
        (UP, 1.0, layout.upper, layout.v_upper),
        (DOWN, -1.0, layout.lower, layout.v_lower),
    ):
        # awards that help may fail to be delivered: they make no room
        room = np.ascontiguousarray((sign * bound - np.maximum(sign * y, 0.0)).T)
        in_kw = (sign * v_bound - np.maximum(sign * v, 0.0)).T
        path_room = np.ascontiguousarray(np.where(np.isfinite(in_kw), in_kw, 0.0) * layout.reach[:, None])
        path_room[~np.isfinite(in_kw)] = np.inf
        head, path = np.empty((n_steps, pairs.element.size)), np.empty((n_steps, pairs.element.size))
        rooms(
            order, layout.parent, pairs.element, 1.0, none, room, path_room, head, path, np.empty_like(room), 0, n_steps
        )
        mine = (case.offers.direction == way) & (layout.place >= 0)
        power = np.zeros((n, n_steps))
        np.add.at(power, layout.place[mine], left_kw[mine])
        result = share(
            pairs, layout.m[pairs.element], np.ascontiguousarray(power[pairs.element].T), np.maximum(head, 0.0), path,
            weights=None, alone=False, n_threads=n_threads,
        )  # fmt: skip
        cap[:, way] = result.cap
    _against_local(case, taken_kw, left_kw, cap, n_perimeters, n_threads)
    return cap


def _against_local(
    case: CoordinationCase, taken_kw: Floats, left_kw: Floats, cap: Floats, n_perimeters: int, n_threads: int
) -> None:
    """Make red what would undo a local activation (DTL-02)."""
    rows, offers, n = case.rows, case.offers, case.grid.n_nodes
    inside = offers.node >= 0
    for way, thermal, voltage in (
        (UP, rows.lower_kw > 0, rows.w_lower > 0),
        (DOWN, rows.upper_kw < 0, rows.w_upper < 0),
    ):
        award, against = np.zeros((n, case.n_steps)), np.zeros((n, case.n_steps))
        mine = inside & (offers.direction == way)
        np.add.at(award, offers.node[mine], taken_kw[mine])
        other = inside & (offers.direction != way)
        np.add.at(against, offers.node[other], left_kw[other])
        relieved = relieved_elements(case.grid.forest, award > _TOLERANCE_KW, thermal, voltage, n_threads=n_threads)
        red = below_relieved(
            case.grid.forest, relieved, case.perimeter, against > _TOLERANCE_KW, n_perimeters, n_threads=n_threads
        )
        cap[:, DOWN if way == UP else UP][red.T] = 0.0


def cap_left(case: CoordinationCase, cap_kw: Floats, accepted_kw: Floats) -> Floats:
    """Take what is accepted in one step off each perimeter's capability, (2, n_perimeters)."""
    layout, offers = case.layout, case.offers
    label = np.where(layout.place >= 0, layout.label[np.maximum(layout.place, 0)], -1)
    mine = label >= 0
    used = np.zeros_like(cap_kw)
    np.add.at(used, (offers.direction[mine], label[mine]), accepted_kw[mine])
    return np.maximum(cap_kw - used, 0.0)


def forward_filtered(case: CoordinationCase, left_kw: Floats, cap_kw: Floats) -> Floats:
    """Cut what is left so that any selection of it is safe: cheapest first up to each perimeter's capability."""
    layout, offers = case.layout, case.offers
    label = np.where(layout.place >= 0, layout.label[np.maximum(layout.place, 0)], -2)
    kept = np.where((label == -1)[:, None], 0.0, left_kw)
    inside = np.flatnonzero(label >= 0)
    order = inside[
        np.lexsort((offers.submitted[inside], offers.price[inside], offers.direction[inside], label[inside]))
    ]
    if not order.size:
        return kept
    key = label[order].astype(np.int64) * 2 + offers.direction[order]
    first = np.flatnonzero(np.r_[True, np.diff(key) != 0])
    group = np.cumsum(np.r_[True, np.diff(key) != 0]) - 1
    running = np.cumsum(left_kw[order], axis=0)
    before = np.concatenate([np.zeros((1, case.n_steps)), running])[first][group]
    room = cap_kw[:, offers.direction[order], label[order]].T
    kept[order] = np.clip(room - (running - before - left_kw[order]), 0.0, left_kw[order])
    return kept


def remove_harmful(
    case: CoordinationCase, step: int, state: StepState, awards_kw: Floats, place_in_list: Int64s
) -> Floats:
    """Remove whole awards, the last matched first, until they break no row and make none worse (ex-post filter).

    Parameters
    ----------
    state : StepState
        What earlier stages have decided: it stands.
    awards_kw : ndarray, shape (n_buyers, n_offers)
        Awards of one step, matched without looking at the grid, buyers in the order in which they were served.
    place_in_list : ndarray of int64, shape (n_offers,)
        Order in which each buyer went through the offers.

    Returns
    -------
    ndarray, shape (n_offers,)
        What is left, of all buyers together.
    """
    layout, sign = case.layout, case.offers.sign
    kept = awards_kw.copy()
    last = np.arange(len(kept))[:, None] * sign.size + place_in_list
    while True:
        total: Floats = kept.sum(axis=0)
        y = state.y_kw + layout.sums(layout.place, sign * total)
        worst, harm, at = _TOLERANCE_KW, 0.0, -1
        for is_voltage, lower, upper, before, value in (
            (False, layout.lower[step], layout.upper[step], state.y_kw, y),
            (True, layout.v_lower[step], layout.v_upper[step], state.v_kw, layout.voltage(y)),
        ):
            for way, bound in ((1.0, lower), (-1.0, upper)):
                over = np.minimum(way * bound, way * before) - way * value
                i = int(np.argmax(over))
                if over[i] > worst:
                    worst, harm = float(over[i]), -way
                    at = int(layout.path(i)[-1]) if is_voltage else i
        if at < 0:
            return total
        guilty = (kept > 0) & (layout.place >= at) & (layout.place < layout.last[at]) & (sign == harm)
        if not guilty.any():
            return total
        kept.flat[np.argmax(np.where(guilty, last, -1))] = 0.0


def forward_unselected(case: CoordinationCase, taken_kw: Floats, left_kw: Floats) -> Floats:
    """Leave only offers of units that nobody has selected in the step (MUT-01, MUT-02)."""
    unit = case.offers.unit
    used = np.zeros((int(unit.max(initial=-1)) + 1, case.n_steps), np.bool_)
    np.logical_or.at(used, unit, taken_kw > _TOLERANCE_KW)
    return np.where(used[unit], 0.0, left_kw)


def violations(case: CoordinationCase, taken_kw: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Floats]:
    """Compare an outcome with every row of the distribution grid, in kW at the element.

    Returns
    -------
    before, after : ndarray of bool, shape (2, n_steps, n)
        Branches and nodes beyond their limits without any activation, and with it.
    worse_kw : ndarray, shape (2, n_steps, n)
        By how much the outcome breaks a row further than the forecast did, or 0.
    """
    layout = case.layout
    shape = (2, case.n_steps, layout.parent.size)
    unsold = np.zeros(case.bids.direction.size)
    before, after, worse = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_), np.zeros(shape)
    for t in range(case.n_steps):
        state = StepState.of(case, t, np.ascontiguousarray(taken_kw[:, t]), unsold)
        for kind, lower, upper, value in (
            (0, layout.lower[t], layout.upper[t], state.y_kw),
            (1, layout.v_lower[t], layout.v_upper[t], state.v_kw),
        ):
            before[kind, t] = np.maximum(lower, -upper) > _LIMIT_KW
            after[kind, t] = np.maximum(lower - value, value - upper) > _LIMIT_KW
            further = np.maximum(np.minimum(lower, 0.0) - value, value - np.maximum(upper, 0.0))
            worse[kind, t] = np.maximum(further, 0.0)
    return before, after, worse


#: What is beyond a limit by less is not counted as a violation: solvers answer to 1e-9, sums of offers less well. [kW]
_LIMIT_KW = 1e-3
