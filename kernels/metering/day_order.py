"""Order of past days: the order in which they are asked, and that of their scores."""

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels._simd import WIDTH, load, spread, store, where_less

_PPM = 1_000_000


@inner
def order_of_days(eligible, z, order):
    """Write the days in the order in which they are asked: by choice, then the latest first; return their number."""
    n_days = 0
    for d in range(eligible.shape[1] - 1, -1, -1):
        choice = eligible[z, d]
        if choice == 0:
            continue
        at = n_days
        while at > 0 and eligible[z, order[at - 1]] > choice:
            order[at] = order[at - 1]
            at -= 1
        order[at] = d
        n_days += 1
    return n_days


@inner
def drop_low_use(use, low_use_ppm, day, score, weight, n_found):
    """Drop the candidate with the least mean over the event if it is too low; return how many are left."""
    total = np.int64(0)
    least = 0
    for k in range(n_found):
        total += use[k]
        if use[k] <= use[least]:
            least = k
    # use * n < total * ppm / 1e6 in integers that do not overflow
    limit = low_use_ppm * (total // _PPM) + (low_use_ppm * (total % _PPM) + _PPM - 1) // _PPM
    if n_found == 0 or total <= 0 or use[least] * n_found >= limit:
        return n_found
    for k in range(least, n_found - 1):
        use[k], day[k], score[k], weight[k] = use[k + 1], day[k + 1], score[k + 1], weight[k + 1]
    return n_found - 1


@inner
def rank(score, weight, n_found, lowest_first, place):
    """Write the place of each candidate by score / weight, in integers; equal ones keep their order."""
    for a in range(n_found):
        ahead = 0
        for b in range(a):
            left, right = score[a] * weight[b], score[b] * weight[a]
            before = left < right if lowest_first else left > right
            place[b] += before
            ahead += not before
        place[a] = ahead


@inner
def rank_lanes(score, n_found, sign, key, place):
    """Do what `rank` does for up to 64 scores of equal weight: exact in float64, the order being a last digit."""
    for k in range(n_found):
        key[0, k] = np.float64(score[k]) * sign - k
    for a in range(0, n_found, WIDTH):
        own = load(key, 0, a)
        ahead = spread(0.0)
        for b in range(n_found):
            ahead = ahead + where_less(own, key[0, b], 1.0, 0.0)
        store(place, 0, a, ahead)
