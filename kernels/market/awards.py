"""Kernels that split the award of a line over its PODs and add member powers up."""

import numpy as np

from flexcore.kernels._jit import I32, I64, I64_2D, I64_2D_OUT, U8_2D_OUT, i64, inner, kernel

FEWEST_PODS, CHEAPEST, PRO_RATA = 0, 1, 2


@inner
def _fill(award, n, order, power, share):
    """Give members their whole power in `order` until the award is used up; returns what is left."""
    for k in range(n):
        m = order[k]
        part = min(award, power[m])
        share[m] = part
        award -= part
    return award


@inner
def _pro_rata(award, n, power, share, rest):
    """Shares in proportion to power, rounded down; what is missing goes to the largest remainders."""
    total = np.int64(0)
    for m in range(n):
        total += power[m]
    award_now = min(award, total)
    if total == 0:
        for m in range(n):
            share[m] = 0
        return award
    missing = award_now
    for m in range(n):
        product = award_now * power[m]
        share[m] = product // total
        rest[m] = product - share[m] * total
        missing -= share[m]
    if missing > 0:
        order = np.argsort(-rest[:n], kind="mergesort")
        for k in range(missing):
            share[order[k]] += 1
    return award - award_now


@kernel(I64_2D, I64, I32, I64_2D, I64, i64, U8_2D_OUT, I64_2D_OUT, I64_2D_OUT, i64, i64)
def split(accepted_w, indptr, pods, available_w, rank, policy, taken_out, member_out, short_out, t0, t1):
    """Split each line's award in steps [t0, t1) over members whose POD no earlier line has taken in the step.

    `rank` orders members of a line by cost (policy `CHEAPEST`). `taken_out` (n_pods, n_steps) is marked for used PODs.
    Award left without power goes to `short_out`. Steps are independent of each other; lines are served in their order.
    """
    n_lines = indptr.size - 1
    width = np.int64(0)
    for line in range(n_lines):
        width = max(width, indptr[line + 1] - indptr[line])
    power = np.empty(width, np.int64)
    share = np.empty(width, np.int64)
    rest = np.empty(width, np.int64)
    for line in range(n_lines):
        lo = indptr[line]
        n = indptr[line + 1] - lo
        for t in range(t0, t1):
            award = accepted_w[line, t]
            if award <= 0:
                for m in range(n):
                    member_out[lo + m, t] = 0
                short_out[line, t] = 0
                continue
            for m in range(n):
                pod = pods[lo + m]
                power[m] = 0 if taken_out[pod, t] else available_w[lo + m, t]
            if policy == PRO_RATA:
                short_out[line, t] = _pro_rata(award, n, power, share, rest)
            elif policy == CHEAPEST:
                short_out[line, t] = _fill(award, n, rank[lo : lo + n], power, share)
            else:
                # largest first: no smaller set of PODs can carry the award; stable, so equal ones go by position
                order = np.argsort(-power[:n], kind="mergesort")
                short_out[line, t] = _fill(award, n, order, power, share)
            for m in range(n):
                member_out[lo + m, t] = share[m]
                if share[m] > 0:
                    taken_out[pods[lo + m], t] = 1


@kernel(I64_2D, I32, I64_2D_OUT, i64, i64)
def add_rows(rows, group, out, t0, t1):
    """Add each row to the row of its group in steps [t0, t1); group -1 is left out."""
    for g in range(out.shape[0]):
        for t in range(t0, t1):
            out[g, t] = 0
    for row in range(rows.shape[0]):
        g = group[row]
        if g >= 0:
            for t in range(t0, t1):
                out[g, t] += rows[row, t]
