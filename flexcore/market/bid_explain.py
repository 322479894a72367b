"""Why an offer with conditions got nothing, and which offers were rejected although they are cheap (paradoxically)."""

import numpy as np
import numpy.typing as npt

from flexcore.market.bid_conditions import is_limited, restless_units
from flexcore.market.bid_model import Part, reach_of
from flexcore.market.bid_problem import BidProblem
from flexcore.market.local_clearing import REASONS
from flexcore.tables.bids import NEVER

I8A = npt.NDArray[np.int64]
U1A = npt.NDArray[np.uint8]
BoolA = npt.NDArray[np.bool_]

#: Why an offer got what it got; goes on where `flexcore.market.clearing.REASONS` ends.
BID_REASONS = (
    *REASONS,
    "notice time too long",
    "expired",
    "minimum, block or step of power",
    "another of its exclusive group",
    "rest or longest run of its unit",
)
_DEARER, _CONDITION, _GROUP, _UNIT = 3, 11, 12, 13
#: Local price where an offer could replace nobody, and where it could serve a need that stays open whatever the price.
NO_PRICE, OPEN_NEED = -(2**62), 2**62


def activations(problem: BidProblem, accepted_w: I8A) -> tuple[I8A, I8A]:
    """Return the net activation that is sure and the one that may come, each (n_steps, n), equal without places."""
    bids, tree = problem.bids, problem.tree
    shape = (problem.steps.size, tree.parent.size + 1)
    own = np.zeros(shape, np.int64)
    plain = np.flatnonzero((bids.place < 0) & (accepted_w > 0))
    signed = np.where(bids.down[plain], -accepted_w[plain], accepted_w[plain])
    np.add.at(own, (bids.step[plain], bids.node[plain] + 1), signed)
    ends = np.cumsum(own, axis=1)
    sure = ends[:, tree.last] - ends[:, :-1]
    most = sure.copy()
    for r in np.flatnonzero((bids.place >= 0) & (accepted_w > 0)).tolist():
        for i, certain, burden, per_w in reach_of(problem, r):
            factor = int(accepted_w[r]) if per_w else 1
            low, high = (-burden, -certain) if bids.down[r] else (certain, burden)
            sure[bids.step[r], i] += low * factor
            most[bids.step[r], i] += high * factor
    return sure, most


def local_prices(problem: BidProblem, part: Part, accepted_w: I8A, served_w: I8A) -> I8A:
    """Price at the place of each row of a part that delivers at one element, `NO_PRICE` elsewhere, shape (n_rows,).

    It is the price of the dearest accepted offer of the same feeder, step and direction of which the row could deliver
    1 W instead, every row of the tree kept and no need served less; or, where more, the cap of an open need that 1 W
    more could serve (`OPEN_NEED` without a cap).
    """
    bids, tree, requests = problem.bids, problem.tree, problem.requests
    sure, most = activations(problem, accepted_w)
    price = np.full(bids.node.size, NO_PRICE, np.int64)
    acting = part.rows[~bids.rebound[part.rows] & (bids.place[part.rows] < 0)]
    for feeder, step in part.cells:
        inside = range(feeder, int(tree.last[feeder]))
        up_ok = most[step] < problem.rows.upper_w[step]
        down_ok = sure[step] > problem.rows.lower_w[step]
        for down in (False, True):
            mine = [
                r for r in acting.tolist() if bids.step[r] == step and bids.down[r] == down and bids.node[r] in inside
            ]
            if not mine:
                continue
            more, less = (down_ok, up_ok) if down else (up_ok, down_ok)
            best = dict.fromkeys(inside, NO_PRICE)
            open_ = dict.fromkeys(inside, NO_PRICE)
            for r in mine:
                if accepted_w[r] > 0:
                    best[int(bids.node[r])] = max(best[int(bids.node[r])], int(bids.price[r]))
            for j in part.requests.tolist():
                k = int(requests.condition[j])
                counts = k < 0 or served_w[k] == requests.quantity_w[k]
                if (
                    counts and requests.step[j] == step and requests.down[j] == down and requests.node[j] in inside
                    and served_w[j] < requests.quantity_w[j]
                ):  # fmt: skip
                    i = int(requests.node[j])
                    open_[i] = max(open_[i], int(requests.cap[j]) if requests.cap[j] != NEVER else OPEN_NEED)
            for i in reversed(inside):  # children come before their parent here
                above = int(tree.parent[i])
                if i > feeder and less[i]:
                    best[above] = max(best[above], best[i])
            room = dict.fromkeys(inside, False)
            for i in inside:
                above = int(tree.parent[i])
                room[i] = bool(more[i]) and (i == feeder or room[above])
                if i > feeder:
                    open_[i] = max(open_[i], open_[above])
                    best[i] = max(best[i], best[above] if more[i] else NO_PRICE)
            for r in mine:
                i = int(bids.node[r])
                price[r] = max(best[i], open_[i] if room[i] else NO_PRICE)
    return price


def rejected_paradoxically(problem: BidProblem, part: Part, accepted_w: I8A, price: I8A) -> I8A:
    """Return the rows of rejected lines and blocks that ask for less than the local prices of their places."""
    bids = problem.bids
    taken = part.rows[(accepted_w[part.rows] > 0) & ~bids.rebound[part.rows]]
    groups = {(int(bids.exclusive[r]), -1 if bids.by_day[r] else int(bids.step[r])) for r in taken.tolist()}
    bundles: dict[tuple[bool, int], list[int]] = {}
    for r in part.rows.tolist():
        if not bids.rebound[r]:
            block = bids.block[r] >= 0
            bundles.setdefault((bool(block), int(bids.block[r] if block else bids.line[r])), []).append(r)
    found: list[int] = []
    for (is_block, _), members in bundles.items():
        if accepted_w[members].any() or any(bids.place[r] >= 0 for r in members):
            continue
        first = members[0]
        group = (int(bids.exclusive[first]), -1 if bids.by_day[first] else int(bids.step[first]))
        if bids.exclusive[first] >= 0 and group in groups:
            continue
        rest = None if is_block else max(int(bids.least_w[first]), 1)
        gain, reachable = 0, True
        for r in sorted(members, key=lambda r: int(bids.price_step[r])):
            power = int(bids.quantity_w[r]) if rest is None else min(rest, int(bids.quantity_w[r]))
            rest = None if rest is None else rest - power
            reachable &= power == 0 or price[r] != NO_PRICE
            gain += power * (int(price[r]) - int(bids.price[r]))
        if reachable and gain > 0:
            found += members
    return np.array(sorted(found), np.int64)


def explain_conditions(
    problem: BidProblem, offered_w: I8A, accepted_w: I8A, reason: U1A, in_part: BoolA, paradoxical: BoolA
) -> U1A:
    """Return the reasons with those that come from conditions in the place of 'dearer than the margin' and the like."""
    bids = problem.bids
    result = reason.copy()
    nothing = (accepted_w == 0) & (offered_w > 0)
    result[nothing & (bids.out > 0)] = bids.out[nothing & (bids.out > 0)]
    looked = nothing & (bids.out == 0) & in_part & ~bids.rebound
    taken = np.flatnonzero((accepted_w > 0) & ~bids.rebound)
    _, count = np.unique(bids.line, return_counts=True)
    whole = (bids.least_w > 0) | (bids.granularity_w > 1) | (bids.block >= 0)
    whole |= count[np.unique(bids.line, return_inverse=True)[1].ravel()] > 1
    result[looked & whole & (paradoxical | (reason == _DEARER) & paradoxical)] = _CONDITION
    chosen = {(int(bids.exclusive[r]), -1 if bids.by_day[r] else int(bids.step[r])) for r in taken.tolist()}
    for r in np.flatnonzero(looked & (bids.exclusive >= 0)).tolist():
        if (int(bids.exclusive[r]), -1 if bids.by_day[r] else int(bids.step[r])) in chosen:
            result[r] = _GROUP
    for r in np.flatnonzero(looked & is_limited(bids)).tolist():
        same = taken[bids.unit[taken] == bids.unit[r]]
        if same.size and restless_units(bids, problem.steps, np.r_[same, r]).size:
            result[r] = _UNIT
    return result
