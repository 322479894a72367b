"""Continuous book with grid room: orders in order of arrival, best price first, then earliest, within every row.

Classes: 0 and 1 offers up and down, 2 and 3 requests up and down; paired requests (4) never rest. An *ask* is the price
of an offer or the negative price of a request, so that orders suit each other where their asks do not exceed 0 in sum.
A trade moves 1 W more at a node `up` and 1 W less at a node `down`; -1 stands for outside all trees.
"""

import numpy as np

from flexcore.kernels._jit import F64_2D, I32, I64, I64_2D, I64_2D_OUT, I64_OUT, U8, i64, inner, kernel, u8
from flexcore.kernels.market.grid_room import NO_BOUND, move, move_rows, room_between
from flexcore.kernels.market.resting_orders import NONE, REQUEST, enter, pop, push, remove

OFFER, PAIR = np.uint8(0), np.uint8(2)
NORMAL, FILL_OR_KILL = np.uint8(0), np.uint8(2)


@inner
def _record(log, n_log, a, b, c, w, event):
    """Note a trade; returns the list, made longer if it was full."""
    if n_log == log.shape[0]:
        log = np.concatenate((log, np.empty_like(log)))
    log[n_log, 0] = a
    log[n_log, 1] = b
    log[n_log, 2] = c
    log[n_log, 3] = w
    log[n_log, 4] = event
    return log


@inner
def _smallest(k, left, quantity, minimum, completion):
    """Return the smallest first trade of an order, 0 once it has traded."""
    if left[k] < quantity[k]:
        return np.int64(0)
    return quantity[k] if completion[k] == FILL_OR_KILL else minimum[k]


@inner
def _legs(b, c, kind, down, node):
    """Return the nodes that move up and down in a trade of two orders, -1 where there is none."""
    up = np.int64(-1)
    lower = np.int64(-1)
    for k in (b, c):
        if kind[k] == OFFER:
            if down[k] == 0:
                up = np.int64(node[k])
            else:
                lower = np.int64(node[k])
    return up, lower


@inner
def _undo(log, n_log, start, parent, y, left, rank, place, kind, down, node, tree, best):
    """Take back the trades from `start` on; orders that they had filled rest again, save the one that was scanning."""
    for i in range(n_log - 1, start - 1, -1):
        a, b, c, w = log[i, 0], log[i, 1], log[i, 2], log[i, 3]
        up, lower = _legs(b, c if c >= 0 else a, kind, down, node)
        move(parent, y, up, lower, -w)
        left[a] += w
        if left[b] == 0:
            enter(b, rank, place, kind, down, node, tree, best)
        left[b] += w
        if c >= 0:
            if left[c] == 0:
                enter(c, rank, place, kind, down, node, tree, best)
            left[c] += w


@inner
def _scan(a, now, event, peers, log, n_log, heap, z_before, grid, orders, state):
    """Let an order trade with what rests; returns whether it left an order that its price would take, and the log."""
    parent, last, lower, upper, effect, row_lower, row_upper = grid
    kind, down, node, quantity, ask, minimum, completion, leaves, by_rank, rank, place, first = orders
    left, y, z, tree, best = state
    n = parent.shape[0]
    limit = -ask[a]
    here = np.int64(node[a])
    n_heap = np.int64(0)
    other = np.int64(1 - down[a])
    if kind[a] == REQUEST:
        n_heap = push(
            heap, n_heap, first[down[a], here], first[down[a], last[here]], limit, now, by_rank, rank, place, kind,
            down, node, ask, leaves, first, tree, best,
        )  # fmt: skip
    else:
        group = 2 + np.int64(down[a])
        i = here
        while i >= 0:
            top = best[down[a], i]
            if top != NONE and ask[by_rank[top]] <= limit:
                n_heap = push(
                    heap, n_heap, first[group, i], first[group, i + 1], limit, now, by_rank, rank, place, kind, down,
                    node, ask, leaves, first, tree, best,
                )  # fmt: skip
            i = np.int64(parent[i])
        if peers:
            n_heap = push(
                heap, n_heap, first[other, 0], first[other, n], limit, now, by_rank, rank, place, kind, down, node,
                ask, leaves, first, tree, best,
            )  # fmt: skip
    if n_heap == 0:
        return False, n_log, log
    start = n_log
    before = left[a]
    wanted = _smallest(a, left, quantity, minimum, completion)
    if wanted > 0:
        z_before[:] = z
    clip_lo = np.int64(first[other, 0])  # places of the peers that the path of this order still reaches
    clip_hi = np.int64(first[other, n])
    own_full = False  # the path from here to the root: no request can be served
    passed = False
    while n_heap > 0 and left[a] > 0:
        c = np.int64(heap[0, 0])
        lo = np.int64(heap[0, 1])
        hi = np.int64(heap[0, 2])
        n_heap = pop(heap, n_heap, ask)
        peer = kind[a] == OFFER and kind[c] == OFFER
        at = np.int64(place[c])
        cut_lo = at  # what is left out of lo..hi: this order alone, unless a whole subtree is full
        cut_hi = at + 1
        traded = False
        if kind[c] == REQUEST and own_full:
            passed = True
            continue
        if peer and not clip_lo <= at < clip_hi:
            passed = True
            lo = max(lo, clip_lo)
            hi = min(hi, clip_hi)
            cut_lo = cut_hi = lo
        else:
            up, lower_end = _legs(a, c, kind, down, node)
            room, low_up, high_up, low_down, high_down = room_between(
                parent, lower, upper, y, effect, row_lower, row_upper, z, up, lower_end
            )
            w = min(left[a], left[c], room)
            if w > 0 and w >= _smallest(c, left, quantity, minimum, completion):
                move(parent, y, up, lower_end, w)
                move_rows(effect, z, up, lower_end, w)
                left[a] -= w
                left[c] -= w
                log = _record(log, n_log, a, c, -1, w, event)
                n_log += 1
                traded = left[c] == 0
                if traded:
                    remove(c, rank, place, kind, down, node, first, tree, best)
            if not traded and left[a] > 0:
                passed = True
                mine = low_up if down[a] == 0 else low_down
                if kind[a] == REQUEST:
                    full = high_up if down[a] == 0 else high_down
                    group = np.int64(down[a])
                else:
                    full = high_down if down[a] == 0 else high_up
                    group = other
                if kind[c] == REQUEST and mine >= 0:
                    own_full = True
                    continue
                if peer and mine >= 0:
                    clip_lo = np.int64(first[other, mine])
                    clip_hi = np.int64(first[other, last[mine]])
                    lo = max(lo, clip_lo)
                    hi = min(hi, clip_hi)
                    cut_lo = cut_hi = lo
                elif full >= 0 and kind[c] == OFFER:
                    cut_lo = max(np.int64(first[group, full]), lo)
                    cut_hi = min(np.int64(first[group, last[full]]), hi)
        if left[a] == 0:
            break
        if traded:
            cut_lo = cut_hi = lo
        n_heap = push(
            heap, n_heap, lo, cut_lo, limit, now, by_rank, rank, place, kind, down, node, ask, leaves, first, tree,
            best,
        )  # fmt: skip
        n_heap = push(
            heap, n_heap, cut_hi, hi, limit, now, by_rank, rank, place, kind, down, node, ask, leaves, first, tree,
            best,
        )  # fmt: skip
    if before - left[a] < wanted:
        passed = passed or n_log > start
        _undo(log, n_log, start, parent, y, left, rank, place, kind, down, node, tree, best)
        n_log = start
        z[:] = z_before
    return passed and left[a] > 0, n_log, log


@inner
def _scan_pairs(a, now, event, log, n_log, heap, heap_out, z_before, grid, orders, state):
    """Let a paired request trade: an offer inside its element with one of the other direction outside; the log."""
    parent, last, lower, upper, effect, row_lower, row_upper = grid
    kind, down, node, quantity, ask, minimum, completion, leaves, by_rank, rank, place, first = orders
    left, y, z, tree, best = state
    n = parent.shape[0]
    here = np.int64(node[a])
    end = np.int64(last[here])
    same = np.int64(down[a])
    other = 1 - same
    start = n_log
    before = left[a]
    wanted = _smallest(a, left, quantity, minimum, completion)
    z_before[:] = z
    clip_lo = np.int64(first[other, 0])
    clip_hi = np.int64(first[other, n])
    n_heap = push(
        heap, np.int64(0), first[same, here], first[same, end], NO_BOUND, now, by_rank, rank, place, kind, down, node,
        ask, leaves, first, tree, best,
    )  # fmt: skip
    while n_heap > 0 and left[a] > 0:
        b = np.int64(heap[0, 0])
        lo = np.int64(heap[0, 1])
        hi = np.int64(heap[0, 2])
        n_heap = pop(heap, n_heap, ask)
        cut_lo = np.int64(place[b])
        cut_hi = cut_lo + 1
        limit = -ask[a] - ask[b]
        n_out = np.int64(0)
        for side in range(2):
            from_place = np.int64(first[other, 0]) if side == 0 else np.int64(first[other, end])
            to_place = np.int64(first[other, here]) if side == 0 else np.int64(first[other, n])
            n_out = push(
                heap_out, n_out, max(from_place, clip_lo), min(to_place, clip_hi), limit, now, by_rank, rank, place,
                kind, down, node, ask, leaves, first, tree, best,
            )  # fmt: skip
        if n_out == 0:
            break  # the offers inside only get dearer, and nothing comes back outside
        while n_out > 0 and left[a] > 0 and left[b] > 0:
            c = np.int64(heap_out[0, 0])
            out_lo = np.int64(heap_out[0, 1])
            out_hi = np.int64(heap_out[0, 2])
            n_out = pop(heap_out, n_out, ask)
            skip_lo = np.int64(place[c])
            skip_hi = skip_lo + 1
            up, lower_end = _legs(b, c, kind, down, node)
            room, low_up, high_up, low_down, high_down = room_between(
                parent, lower, upper, y, effect, row_lower, row_upper, z, up, lower_end
            )
            w = min(left[a], left[b], left[c], room)
            mine = low_up if same == 0 else low_down
            full = high_down if same == 0 else high_up
            if w == 0 and mine >= here and mine < end:
                # full inside the element: no partner helps an offer at or below it
                cut_lo = max(np.int64(first[same, mine]), lo)
                cut_hi = min(np.int64(first[same, last[mine]]), hi)
                break
            if w == 0 and mine >= 0:
                # full above the element: only partners below that one do not load it
                clip_lo = np.int64(first[other, mine])
                clip_hi = np.int64(first[other, last[mine]])
                out_lo = max(out_lo, clip_lo)
                out_hi = min(out_hi, clip_hi)
                skip_lo = skip_hi = out_lo
            elif w == 0 and full >= 0:
                skip_lo = max(np.int64(first[other, full]), out_lo)
                skip_hi = min(np.int64(first[other, last[full]]), out_hi)
            elif (
                w > 0
                and w >= _smallest(b, left, quantity, minimum, completion)
                and w >= _smallest(c, left, quantity, minimum, completion)
            ):
                move(parent, y, up, lower_end, w)
                move_rows(effect, z, up, lower_end, w)
                left[a] -= w
                left[b] -= w
                left[c] -= w
                log = _record(log, n_log, a, b, c, w, event)
                n_log += 1
                if left[c] == 0:
                    remove(c, rank, place, kind, down, node, first, tree, best)
                    skip_lo = skip_hi = out_lo
            for side in range(2):
                from_place = out_lo if side == 0 else skip_hi
                to_place = skip_lo if side == 0 else out_hi
                # a range may hold partners that an earlier pass clipped away
                n_out = push(
                    heap_out, n_out, max(from_place, clip_lo), min(to_place, clip_hi), limit, now, by_rank, rank,
                    place, kind, down, node, ask, leaves, first, tree, best,
                )  # fmt: skip
        if left[b] == 0:
            remove(b, rank, place, kind, down, node, first, tree, best)
            cut_lo = cut_hi = lo
        for side in range(2):
            from_place = lo if side == 0 else cut_hi
            to_place = cut_lo if side == 0 else hi
            n_heap = push(
                heap, n_heap, from_place, to_place, NO_BOUND, now, by_rank, rank, place, kind, down, node, ask,
                leaves, first, tree, best,
            )  # fmt: skip
    if before - left[a] < wanted:
        _undo(log, n_log, start, parent, y, left, rank, place, kind, down, node, tree, best)
        n_log = start
        z[:] = z_before
    return n_log, log


@kernel(
    I32, I32, I64_2D, I64_2D, F64_2D, F64_2D, F64_2D, I64, U8, U8, I32, I64, I64, I64, U8, I64, I64, I32, u8, u8, I64,
    I64_2D_OUT, I64_OUT, I64_OUT, I64_2D_OUT, i64, i64,
)  # fmt: skip
def continuous_book(
    parent, last, lower_w, upper_w, effect, row_lower, row_upper, step_start, kind, down, node, quantity_w, ask,
    minimum_w, completion, arrives, leaves, by_rank, peers, rescan, trade_start, trade_out, n_trades_out, left_out,
    y_out, t0, t1,
):  # fmt: skip
    """Run the books of steps t0..t1, one after the other; each step has its own orders and its own grid state.

    Parameters
    ----------
    parent, last : int32 (n_nodes,)
        Preorder, -1 at a root; end of each subtree.
    lower_w, upper_w : int64 (n_steps, n_nodes)
        Not above and not below 0 need not hold: a row that is broken at the start is not made worse.
    effect : float64 (n_nodes, n_rows)
        Effect of 1 W more at a node on each further row; `row_lower`, `row_upper` (n_steps, n_rows) bound its sum.
    step_start : int64 (n_steps + 1,)
        The orders of step t are step_start[t]..step_start[t + 1], in order of arrival.
    by_rank : int32 (n_orders,)
        Per step the orders, counted from the step's first, by (class, ask, arrival).
    trade_start : int64 (n_steps + 1,)
        Rows of `trade_out` that each step may use; n_trades_out says how many it would have needed.
    trade_out : int64 (n_rows, 5)
        Scanning order, other order, third order or -1, W, order that set it off; counted from the step's first.
    """
    n = parent.shape[0]
    n_rows = effect.shape[1]
    z = np.zeros(n_rows)
    z_before = np.zeros(n_rows)
    best = np.empty((2, n), np.int32)
    first = np.empty((4, n + 1), np.int32)
    for t in range(t0, t1):
        s0 = step_start[t]
        s1 = step_start[t + 1]
        m = s1 - s0
        y = y_out[t]
        left = left_out[s0:s1]
        for i in range(n):
            y[i] = 0
        for k in range(m):
            left[k] = quantity_w[s0 + k]
        n_trades_out[t] = 0
        if m == 0:
            continue
        kinds, downs, nodes = kind[s0:s1], down[s0:s1], node[s0:s1]
        ranked = by_rank[s0:s1]
        z[:] = 0.0
        best[:] = NONE
        # places: by class and node, and by rank at one node
        first[:] = 0
        for k in range(m):
            if kinds[k] != PAIR:
                first[2 * kinds[k] + downs[k], nodes[k]] += 1
        total = np.int32(0)
        for group in range(4):
            for i in range(n + 1):
                count = first[group, i]
                first[group, i] = total
                total += count
        rank = np.empty(m, np.int32)
        place = np.empty(m, np.int32)
        for r in range(m):
            k = ranked[r]
            rank[k] = r
            if kinds[k] != PAIR:
                place[k] = first[2 * kinds[k] + downs[k], nodes[k]]
                first[2 * kinds[k] + downs[k], nodes[k]] += 1
        # the counting has moved each start to its end: move them back
        for group in range(3, -1, -1):
            for i in range(n, 0, -1):
                first[group, i] = first[group, i - 1]
            first[group, 0] = 0 if group == 0 else first[group - 1, n]
        tree = np.full(2 * m, NONE, np.int32)
        heap = np.empty((m + 2, 3), np.int32)
        heap_out = np.empty((m + 2, 3), np.int32)
        log = np.empty((64, 5), np.int64)
        n_log = np.int64(0)
        waiting = np.empty(m, np.int32)
        n_waiting = np.int64(0)
        grid = (parent, last, lower_w[t], upper_w[t], effect, row_lower[t], row_upper[t])
        orders = (
            kinds, downs, nodes, quantity_w[s0:s1], ask[s0:s1], minimum_w[s0:s1], completion[s0:s1], leaves[s0:s1],
            ranked, rank, place, first,
        )  # fmt: skip
        state = (left, y, z, tree, best)
        for k in range(m):
            now = arrives[s0 + k]
            done = n_log
            if kinds[k] == PAIR:
                n_log, log = _scan_pairs(k, now, k, log, n_log, heap, heap_out, z_before, grid, orders, state)
            else:
                waits, n_log, log = _scan(k, now, k, peers, log, n_log, heap, z_before, grid, orders, state)
                if completion[s0 + k] == NORMAL and left[k] > 0:
                    enter(k, rank, place, kinds, downs, nodes, tree, best)
                    if waits:
                        waiting[n_waiting] = k
                        n_waiting += 1
            while rescan and n_log > done:
                done = n_log
                kept = np.int64(0)
                for i in range(n_waiting):
                    other = np.int64(waiting[i])
                    if left[other] == 0 or leaves[s0 + other] <= now:
                        continue
                    waits, n_log, log = _scan(other, now, k, peers, log, n_log, heap, z_before, grid, orders, state)
                    if left[other] == 0:
                        remove(other, rank, place, kinds, downs, nodes, first, tree, best)
                    elif waits:
                        waiting[kept] = other
                        kept += 1
                n_waiting = kept
        n_trades_out[t] = n_log
        for i in range(min(n_log, trade_start[t + 1] - trade_start[t])):
            for j in range(5):
                trade_out[trade_start[t] + i, j] = log[i, j]
