"""Grid room of a trade: 1 W more at a node `up` and 1 W less at a node `down`, -1 for outside all trees."""

import numpy as np

from flexcore.kernels._jit import inner

NO_BOUND = np.int64(2**60)


@inner
def room_between(parent, lower, upper, y, effect, row_lower, row_upper, z, up, down):
    """Return the watts that fit, and the lowest and highest full element on the path of `up`, then of `down`; -1: none.

    Only elements between the two nodes are loaded: below the node where their paths meet.
    """
    room = NO_BOUND
    low_up = high_up = low_down = high_down = np.int64(-1)
    a = np.int64(up)
    b = np.int64(down)
    while a != b:
        if a > b:  # preorder: the later one is not above the other
            free = upper[a] - y[a]
            if free <= 0:
                if low_up < 0:
                    low_up = a
                high_up = a
            room = min(room, free)
            a = np.int64(parent[a])
        else:
            free = y[b] - lower[b]
            if free <= 0:
                if low_down < 0:
                    low_down = b
                high_down = b
            room = min(room, free)
            b = np.int64(parent[b])
    room = max(room, np.int64(0))
    for r in range(effect.shape[1]):
        more = effect[up, r] if up >= 0 else 0.0
        less = effect[down, r] if down >= 0 else 0.0
        per_w = more - less
        if per_w == 0.0:
            continue
        bound = row_upper[r] if per_w > 0.0 else row_lower[r]
        ratio = (bound - z[r]) / per_w
        if ratio < room:
            room = np.int64(max(ratio, 0.0))
        # the division rounds, also where it gives just the room of another row; what must not pass the bound is the
        # sum that is kept afterwards
        if per_w > 0.0:
            while room > 0 and z[r] + room * per_w > bound:
                room -= 1
        else:
            while room > 0 and z[r] + room * per_w < bound:
                room -= 1
    return room, low_up, high_up, low_down, high_down


@inner
def move(parent, y, up, down, w):
    """Add w along the path of `up` and take it off along that of `down`."""
    a = np.int64(up)
    b = np.int64(down)
    while a != b:
        if a > b:
            y[a] += w
            a = np.int64(parent[a])
        else:
            y[b] -= w
            b = np.int64(parent[b])


@inner
def move_rows(effect, z, up, down, w):
    """Add the effect of the same move to each further row."""
    for r in range(effect.shape[1]):
        more = effect[up, r] if up >= 0 else 0.0
        less = effect[down, r] if down >= 0 else 0.0
        per_w = more - less
        if per_w != 0.0:
            z[r] += w * per_w
