"""Selection under voltage rows: each offer at its price less what its effect is worth, and a mix that meets the rows.

A voltage row with multiplier mu makes the element i on its path worth m_i mu: what lies below is dearer or cheaper by
the sum over the path, and what is best then is one merit order along the tree, exact for all thermal rows. At the right
multipliers two or more such selections are equally good, and a mix of them meets the voltage rows with equality. Its
worth is the bound that the multipliers prove, so it is optimal. First unserved need is made least, then cost among what
leaves that, then the place in the order of ties.
"""

import numpy as np

from flexcore.kernels._jit import (
    F64,
    F64_2D,
    F64_2D_OUT,
    I32,
    I32_2D_OUT,
    I64,
    I64_2D,
    I64_2D_OUT,
    U8,
    U8_OUT,
    i64,
    inner,
    kernel,
)
from flexcore.kernels.market.nested_pieces import nested_pass, new_work
from flexcore.kernels.market.path_case import (
    drop_idle_limits,
    new_case,
    new_nest,
    reachable,
    sums_and_voltages,
)
from flexcore.kernels.market.path_master import (
    MAX_COLUMNS,
    MAX_ROWS,
    STAGES,
    find_duals,
    improve,
    new_master,
    reduced_cost,
    shut_worse,
    start,
)
from flexcore.kernels.market.path_rounding import name_blocking_nodes, round_to_watts, shared_path

#: What decided a case.
LEFT, NOTHING, BY_EFFECT, BY_PATHS = 0, 1, 2, 3
_SAME = 1e-12  # slopes closer than this, beside their own size and beyond rounding, count as equal
_FINEST = 2**40  # parts of a level
_LARGEST_KEY = 2.0**62
_CUT = 0.3819
_ROWS_AT_ONCE = 3
_DUST_W = 1e-3


@inner
def _slopes(case, effect, master, stage, slope_out, doubt_out):
    """Slope of each offer at the multipliers of a stage: its worth less that of its effect, in the sense of y.

    `doubt_out` is by how much rounding may have moved it; a slope within that counts as zero.
    """
    for p in range(case.offer.shape[0]):
        worth = 0.0
        if stage == 1:
            worth = case.price[p]
        elif stage == 2:
            worth = case.place[p]
        doubt = 1e-15 * worth
        for r in range(master.count[0]):
            worth -= master.dual[stage, r + 1] * effect[r, p]
            doubt += master.doubt[stage, r + 1] * abs(effect[r, p])
        if abs(worth) <= doubt:
            worth = 0.0
        slope_out[p] = -worth if case.down[p] == 1 else worth
        doubt_out[p] = doubt


@inner
def _join_slopes(slope, doubt):
    """Make slopes equal that differ, beside whole levels, by no more than rounding; the last one is zero and stays."""
    n = slope.shape[0] - 1
    part = np.empty(n + 1)
    for p in range(n + 1):
        # fractions are cut at an odd place, where no two slopes that should be equal will come to lie on both sides
        part[p] = slope[p] - np.rint(slope[p] - _CUT)
    order = np.argsort(part, kind="mergesort")
    begin = np.int64(0)
    for a in range(1, n + 2):
        if a <= n:
            p = order[a - 1]
            q = order[a]
            if part[q] - part[p] <= doubt[p] + doubt[q] + 1e-13:
                continue
        common = part[order[begin]]
        for b in range(begin, a):
            if order[b] == n:
                common = 0.0
        for b in range(begin, a):
            slope[order[b]] += common - part[order[b]]
        begin = a


@inner
def _find_keys(case, effect, master, stage, depth, slope, natural, key_out):
    """Order of the offers at a stage, all earlier stages first; returns the key of zero, one level, and its parts.

    A key is the slope in unserved W, in whole parts of a level, and then the rank by what comes after it.
    """
    n = case.offer.shape[0]
    slope[n] = 0.0
    doubt = np.zeros(n + 1)
    rank = natural
    if stage >= 1:
        _slopes(case, effect, master, np.int64(1), slope, doubt)
        rank = np.argsort(slope, kind="mergesort")
    if stage == 2:
        group = np.empty(n + 1, np.int64)
        label = np.int64(0)
        for a in range(n + 1):
            if a > 0:
                p = rank[a - 1]
                q = rank[a]
                apart = doubt[p] + doubt[q] + _SAME * max(abs(slope[p]), abs(slope[q]))
                label += np.int64(slope[q] - slope[p] > apart)
            group[rank[a]] = label
        _slopes(case, effect, master, np.int64(2), slope, doubt)
        late = np.argsort(slope, kind="mergesort")
        begin = np.zeros(n + 2, np.int64)
        for a in range(n + 1):
            begin[group[a] + 1] += 1
        for a in range(n + 1):
            begin[a + 1] += begin[a]
        for a in range(n + 1):
            p = late[a]
            rank[begin[group[p]]] = p
            begin[group[p]] += 1
    _slopes(case, effect, master, np.int64(0), slope, doubt)
    _join_slopes(slope, doubt)
    largest = 0.0
    for p in range(n):
        largest = max(largest, abs(slope[p]))
    ranks = np.int64(1)
    while ranks < n + 1:
        ranks *= 2
    parts = np.int64(_FINEST)
    while parts > 1 and (largest + depth + 2.0) * parts * ranks > _LARGEST_KEY:
        parts //= 2
    zero = np.int64(0)
    for a in range(n + 1):
        p = rank[a]
        if p == n:
            zero = np.int64(a)
        else:
            key_out[p] = np.int64(np.rint(slope[p] * parts)) * ranks + a
    return zero, parts * ranks, parts


@inner
def _thermal_gap(case, x, y):
    """Unserved thermal need of a selection in W."""
    y[:] = 0
    for p in range(case.offer.shape[0]):
        y[case.at[p]] += -x[p] if case.down[p] == 1 else x[p]
    gap = np.int64(0)
    for k in range(case.node.shape[0] - 1, -1, -1):
        if k > 0:
            y[case.above[k]] += y[k]
        if case.lower[k] > 0:
            gap += max(np.int64(0), case.lower[k] - y[k])
        if case.upper[k] < 0:
            gap += max(np.int64(0), y[k] - case.upper[k])
    return gap


@inner
def _add_column(case, effect, master, pool, x, tree_x, y):
    """Add a selection to the master; returns its number.

    Cost and place count from those of the tree's selection: what no selection can avoid, however dear, would drown the
    difference between two that matter.
    """
    c = master.count[1]
    master.count[1] += 1
    cost = 0.0
    late = 0.0
    for p in range(case.offer.shape[0]):
        pool[c, p] = x[p]
        cost += case.price[p] * (x[p] - tree_x[p])
        late += case.place[p] * (x[p] - tree_x[p])
    master.worth[0, c] = _thermal_gap(case, x, y)
    master.worth[1, c] = cost
    master.worth[2, c] = late
    for r in range(master.count[0]):
        _set_value(master, effect, pool, r, c)
    return c


@inner
def _set_value(master, effect, pool, r, c):
    value = 0.0
    for p in range(pool.shape[1]):
        value += effect[r, p] * pool[c, p]
    master.value[r, c] = value


@inner
def _add_row(case, effect, master, pool, common, k, way, amount, reach, may_lack):
    """Add a voltage row: way * w >= amount at a node; False if no offer acts on it or there are too many rows.

    `may_lack` is 1 for a need, which may stay open, and 0 for a limit. Numbers and not words or constants: each kind of
    constant would be compiled as a function of its own.
    """
    r = master.count[0]
    if r == MAX_ROWS:
        return False
    shared_path(case, k, common)
    total = 0.0
    for p in range(case.offer.shape[0]):
        part = way * common[case.at[p]] / reach
        effect[r, p] = -part if case.down[p] == 1 else part
        total += abs(part) * case.cap[p]
    if total <= 0.0:
        return False
    for p in range(case.offer.shape[0]):
        effect[r, p] /= total
    master.amount[r] = amount / reach / total
    master.gap_w[r] = total * may_lack
    master.count[0] += 1
    for c in range(master.count[1]):
        _set_value(master, effect, pool, r, c)
    return True


@inner
def _add_broken_rows(case, effect, master, pool, common, x, used, y, w, at_most):
    """Add the rows that a selection breaks most, at most a few; returns how many are broken, -1 if one has no place."""
    n = case.node.shape[0]
    n_needs = case.need_at.shape[0]
    sums_and_voltages(case, x, y, w)
    n_broken = 0
    for _ in range(at_most):
        worst = _DUST_W
        which = np.int64(-1)
        for k in range(n):
            if case.path[k] <= 0.0:
                continue
            for side in range(2):
                over = w[k] - case.w_high[k] if side == 0 else case.w_low[k] - w[k]
                if used[2 * k + side] == 0 and over / case.path[k] > worst:
                    worst = over / case.path[k]
                    which = 2 * k + side
        for v in range(n_needs):
            if used[2 * n + v] == 0:
                missing = case.need_amount[v] - case.need_way[v] * w[case.need_at[v]]
                if missing / case.need_reach[v] > worst:
                    worst = missing / case.need_reach[v]
                    which = 2 * n + v
        if which < 0:
            break
        n_broken += 1
        used[which] = 1
        if which >= 2 * n:
            v = which - 2 * n
            k = case.need_at[v]
            # a need on which no offer acts stays open whatever is selected
            acts = case.path[k] > 0.0
            if acts and not _add_row(
                case, effect, master, pool, common, k, case.need_way[v], case.need_amount[v], case.need_reach[v], 1.0
            ):
                return -1
        else:
            k = which // 2
            way = -1.0 if which % 2 == 0 else 1.0
            amount = -case.w_high[k] if which % 2 == 0 else case.w_low[k]
            if not _add_row(case, effect, master, pool, common, k, way, amount, case.path[k], 0.0):
                return -1
    return n_broken


@inner
def _mix(master, pool, x_out):
    """Power of each offer in the mix of columns."""
    x_out[:] = 0.0
    for b in range(master.count[0] + 1):
        c = master.basis[b]
        if c < MAX_COLUMNS and master.share[b] > 0.0:
            for p in range(x_out.shape[0]):
                x_out[p] += master.share[b] * pool[c, p]


@inner
def _run_stage(
    case, effect, master, pool, nest, work, stage, depth, tolerance, least, natural, slope, key, tree_x,
    x_w, y_w,
):  # fmt: skip
    """Bring one stage to its optimum; returns (done, proven gap)."""
    while True:
        if not improve(master, stage, tolerance):
            return False, np.inf
        total = find_duals(master, stage)
        if stage == 0 and total <= least + tolerance:
            # thermal needs alone leave as much: no voltage row costs any need
            master.dual[0, :] = 0.0
            master.doubt[0, :] = 0.0
            master.dual[0, 0] = least
            return True, max(total - least, 0.0)
        if master.count[1] == MAX_COLUMNS:
            return False, np.inf
        zero, level, parts = _find_keys(case, effect, master, stage, depth, slope, natural, key)
        nested_pass(nest, work, key, zero, level, case.down, case.cap, np.argsort(key), x_w)
        c = _add_column(case, effect, master, pool, x_w, tree_x, y_w)
        gain = -reduced_cost(master, c, stage)
        if gain <= max(tolerance, 1e-10 * abs(total) if stage > 0 else 0.0):
            master.count[1] -= 1
            gap = max(gain, 0.0)
            if stage == 0:
                for p in range(case.offer.shape[0]):
                    gap += case.cap[p] / parts
            return True, gap


@inner
def _by_effect(case, effect, x_out):
    """One row and nothing else can bind: cheapest per unit of effect first, then earliest; row 0 of `effect`."""
    n = case.offer.shape[0]
    per_unit = np.empty(n)
    late = np.empty(n)
    for p in range(n):
        per_unit[p] = case.price[p] / effect[0, p] if effect[0, p] > 0.0 else np.inf
        late[p] = case.place[p] / effect[0, p] if effect[0, p] > 0.0 else np.inf
        x_out[p] = 0.0
    first = np.argsort(late, kind="mergesort")
    return first[np.argsort(per_unit[first], kind="mergesort")]


@inner
def _decide(case, n_slots, nest, depth, tree_x, x, gap_out):
    """Find the power of each offer of one case; returns what decided it."""
    n = case.node.shape[0]
    n_offers = case.offer.shape[0]
    master = new_master()
    effect = np.zeros((MAX_ROWS, n_offers))
    pool = np.empty((MAX_COLUMNS, n_offers), np.int64)
    used = np.zeros(2 * n + case.need_at.shape[0], np.uint8)
    common = np.empty(n)
    y = np.empty(n)
    w = np.empty(n)
    y_w = np.empty(n, np.int64)
    x_w = np.zeros(n_offers, np.int64)
    _add_column(case, effect, master, pool, x_w, tree_x, y_w)
    _add_column(case, effect, master, pool, tree_x, tree_x, y_w)
    least = master.worth[0, 1]
    for p in range(n_offers):
        x[p] = tree_x[p]
    at_once = 1 if nest.above.shape[0] == 1 else _ROWS_AT_ONCE
    n_broken = _add_broken_rows(case, effect, master, pool, common, x, used, y, w, np.int64(at_once))
    if n_broken < 0:
        return LEFT
    if master.count[0] == 0:
        return BY_PATHS  # the merit order meets all rows
    if nest.above.shape[0] == 1:
        missing = master.amount[0]
        for p in _by_effect(case, effect, x):
            if missing > 0.0 and effect[0, p] > 0.0:
                x[p] = min(np.float64(case.cap[p]), missing / effect[0, p])
                missing -= x[p] * effect[0, p]
        n_broken = _add_broken_rows(case, effect, master, pool, common, x, used, y, w, np.int64(_ROWS_AT_ONCE))
        if n_broken <= 0:
            return BY_EFFECT if n_broken == 0 else LEFT
    slope = np.empty(n_offers + 1)
    key = np.empty(n_offers, np.int64)
    natural = np.empty(n_offers + 1, np.int64)
    work = new_work(nest.above.shape[0], n_slots)
    master.dual[:] = 0.0
    _slopes(case, effect, master, np.int64(1), slope, np.empty(n_offers))
    slope[n_offers] = 0.0
    natural[:] = np.argsort(slope, kind="mergesort")
    cheapest = np.inf
    needs = 0.0
    for p in range(n_offers):
        cheapest = min(cheapest, case.price[p])
    for k in range(n):
        needs += max(case.lower[k], np.int64(0)) + max(-case.upper[k], np.int64(0))
    for v in range(case.need_at.shape[0]):
        needs += case.need_amount[v] / case.need_reach[v]
    tolerance = np.empty(STAGES)
    tolerance[0] = 1e-10 * needs + 1e-6
    tolerance[1] = 0.25 * cheapest
    tolerance[2] = 0.25
    while True:
        if not start(master):
            return LEFT
        n_broken = 0
        for stage in range(STAGES):
            done, gap = _run_stage(
                case, effect, master, pool, nest, work, stage, depth, tolerance[stage], least, natural, slope, key,
                tree_x, x_w, y_w,
            )  # fmt: skip
            if not done or (stage == 0 and gap > 1e-9 * needs + 1e-2):
                return LEFT
            if stage < 2:
                gap_out[stage] = gap
            _mix(master, pool, x)
            n_broken = _add_broken_rows(case, effect, master, pool, common, x, used, y, w, np.int64(_ROWS_AT_ONCE))
            if n_broken != 0:
                break
            shut_worse(master, stage, 4.0 * tolerance[stage])
        if n_broken < 0:
            return LEFT
        if n_broken == 0:
            return BY_PATHS


@kernel(
    I32, I32, F64, F64, I64_2D, I64_2D, F64_2D, F64_2D, I64, I64, I32, U8, I64_2D, I64_2D, I64, I64_2D, I64, I64,
    I64_2D_OUT, I32_2D_OUT, U8_OUT, F64_2D_OUT, i64, i64,
)  # fmt: skip
def path_prices(
    parent, last, m, reach, lower_w, upper_w, w_lower, w_upper, by_node, begin, at_node, down, quantity_w, price, tie,
    by_tree, case_step, case_top, accepted_out, blocked_out, decided_out, gap_out, c0, c1,
):  # fmt: skip
    """Decide cases c0..c1, each a step and a feeder, given what the merit order on the tree accepts.

    Parameters
    ----------
    parent, last : int32 (n_nodes,)
        Preorder.
    m, reach : float64 (n_nodes,)
        Effect of 1 kW through a branch, and its sum over the path.
    lower_w, upper_w : int64 (n_steps, n_nodes)
    w_lower, w_upper : float64 (n_steps, n_nodes)
    by_node, begin : int64 (n_offers,), (n_nodes + 1,)
        Offers sorted by node, and where those of a node begin.
    at_node, down, tie : int32, uint8, int64 (n_offers,)
    quantity_w, by_tree : int64 (n_steps, n_offers)
    price : int64 (1 or n_steps, n_offers)
    case_step, case_top : int64 (n_cases,)
    accepted_out, blocked_out : int64, int32 (n_steps, n_offers)
        Written for the offers of decided cases only; `blocked_out` is the node whose voltage leaves no room, or -1.
    decided_out : uint8 (n_cases,)
        `LEFT`, `NOTHING` (no offers), `BY_EFFECT` or `BY_PATHS`.
    gap_out : float64 (n_cases, 2)
        Proven bounds on what a better answer could save, before rounding to W: unserved W, then cost.
    """
    for c in range(c0, c1):
        t = case_step[c]
        top = case_top[c]
        gap_out[c, 0] = 0.0
        gap_out[c, 1] = 0.0
        decided_out[c] = LEFT
        case, fit = new_case(
            t, top, last[top], parent, m, reach, lower_w, upper_w, w_lower, w_upper, by_node, begin, at_node, down,
            quantity_w, price, tie,
        )  # fmt: skip
        n_offers = case.offer.shape[0]
        if n_offers == 0:
            decided_out[c] = NOTHING
            continue
        if not fit:
            continue
        most, least = reachable(case)
        drop_idle_limits(case, most, least)
        nest, n_slots, depth = new_nest(case, most, least)
        x = np.empty(n_offers)
        x_w = np.empty(n_offers, np.int64)
        for p in range(n_offers):
            x_w[p] = by_tree[t, case.offer[p]]
        decided = _decide(case, n_slots, nest, depth, x_w, x, gap_out[c])
        if decided == LEFT or not round_to_watts(case, x, x_w):
            continue
        decided_out[c] = decided
        blocked = np.empty(n_offers, np.int64)
        name_blocking_nodes(case, x_w, blocked)
        for p in range(n_offers):
            accepted_out[t, case.offer[p]] = x_w[p]
            blocked_out[t, case.offer[p]] = blocked[p]
