"""Kernels on the slots: who holds which POD in which quarter-hour.

State of a slot (uint8): 0 free, 1 local preliminary, 2 local firm, 3 global preliminary, 4 global firm, 5 blocked. With
operator 0 (local) or 1 (global) the preliminary state is 1 + 2 * operator and the firm one 2 + 2 * operator. From 6 on
a slot is free, but within the recovery time of a held one: 6 of a firm one, 7 of preliminary ones only.
"""

import numpy as np

from flexcore.kernels._jit import (
    B1_2D,
    B1_2D_OUT,
    I8,
    I32,
    I32_OUT,
    I64,
    I64_2D,
    I64_2D_OUT,
    I64_OUT,
    U8_2D,
    U8_2D_OUT,
    U8_OUT,
    i64,
    kernel,
    u8,
)

FREE = np.uint8(0)
BLOCKED = np.uint8(5)
RECOVERY = np.uint8(6)
OK, HELD_BY_OTHER, HELD_ALREADY, IS_BLOCKED = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)


@kernel(U8_2D, I32, B1_2D, u8, U8_OUT, i64, i64)
def check_hold(state, pods, mask, operator, status_out, r0, r1):
    """Write per row the worst reason why its POD cannot be held in a marked step; recovery has a check of its own."""
    own = np.uint8(1 + 2 * operator)
    for row in range(r0, r1):
        pod = pods[row]
        worst = OK
        for t in range(state.shape[1]):
            s = state[pod, t]
            if mask[row, t] and s != FREE and s < RECOVERY:
                if s == BLOCKED:
                    worst = max(worst, IS_BLOCKED)
                elif s == own or s == own + 1:
                    worst = max(worst, HELD_ALREADY)
                elif worst != IS_BLOCKED:
                    worst = max(worst, HELD_BY_OTHER)
        status_out[row] = worst


@kernel(I32, B1_2D, U8_2D_OUT, U8_OUT)
def find_twice(pods, mask, seen_out, twice_out):
    """Mark the rows that select a slot which an earlier row selects too; one pass over all rows, never in chunks."""
    for row in range(pods.size):
        pod = pods[row]
        for t in range(mask.shape[1]):
            if mask[row, t]:
                if seen_out[pod, t]:
                    twice_out[row] = 1
                seen_out[pod, t] = 1


@kernel(U8_2D_OUT, I32, B1_2D, u8, i64, i64, i64, i64)
def write_hold(state_out, pods, mask, operator, firm_start, firm_stop, r0, r1):
    """Hold every marked slot: firm within [firm_start, firm_stop), preliminary elsewhere."""
    preliminary = np.uint8(1 + 2 * operator)
    for row in range(r0, r1):
        pod = pods[row]
        for t in range(state_out.shape[1]):
            if mask[row, t]:
                firm = firm_start <= t < firm_stop
                state_out[pod, t] = preliminary + np.uint8(1) if firm else preliminary


@kernel(U8_2D_OUT, u8, u8, i64, i64, I64_OUT, i64, i64)
def replace_state(state_out, before, after, t0, t1, count_out, p0, p1):
    """Turn state `before` into `after` in steps [t0, t1) of PODs [p0, p1); count the slots per POD."""
    for pod in range(p0, p1):
        n = np.int64(0)
        for t in range(t0, t1):
            if state_out[pod, t] == before:
                state_out[pod, t] = after
                n += 1
        count_out[pod] = n


@kernel(U8_2D, u8, B1_2D_OUT, i64, i64)
def mark_unavailable(state, operator, out, p0, p1):
    """Mark the slots that the operator may not select: all but free ones and its own preliminary ones."""
    own = np.uint8(1 + 2 * operator)
    for pod in range(p0, p1):
        for t in range(state.shape[1]):
            s = state[pod, t]
            out[pod, t] = s != FREE and s != own


@kernel(U8_2D, u8, B1_2D_OUT, i64, i64)
def mark_held(state, operator, out, p0, p1):
    """Mark the slots that the operator holds, firm or preliminary."""
    own = np.uint8(1 + 2 * operator)
    for pod in range(p0, p1):
        for t in range(state.shape[1]):
            s = state[pod, t]
            out[pod, t] = s == own or s == own + 1


@kernel(U8_2D, I64_OUT, i64, i64)
def count_runs(state, count_out, p0, p1):
    """Count per POD the runs of equal states that are not free."""
    for pod in range(p0, p1):
        n = np.int64(0)
        before = FREE
        for t in range(state.shape[1]):
            s = state[pod, t]
            if s != FREE and s != before:
                n += 1
            before = s
        count_out[pod] = n


@kernel(U8_2D, I64, I32_OUT, U8_OUT, I32_OUT, I32_OUT, i64, i64)
def write_runs(state, first_row, pod_out, state_out, start_out, stop_out, p0, p1):
    """Write one row per run of equal states: POD, state, first step, end step (exclusive)."""
    n_steps = state.shape[1]
    for pod in range(p0, p1):
        row = first_row[pod]
        t = 0
        while t < n_steps:
            s = state[pod, t]
            start = t
            while t < n_steps and state[pod, t] == s:
                t += 1
            if s != FREE:
                pod_out[row] = pod
                state_out[row] = s
                start_out[row] = start
                stop_out[row] = t
                row += 1


@kernel(I8, I64, I32, I64_2D, I64_2D, U8_2D, u8, i64, i64, I64_2D_OUT, I64_2D_OUT, i64, i64)
def free_power(direction, indptr, pods, up_w, down_w, state, operator, t0, t1, member_out, held_out, l0, l1):
    """Write what each member of a line could move where its slot is free to the operator, and the rest per line.

    `member_out` (n_members, n_steps) is the free power in steps [t0, t1), 0 elsewhere; `held_out` (n_lines, n_steps) is
    the power of those members of the line that the operator may not select.
    """
    own = np.uint8(1 + 2 * operator)
    for line in range(l0, l1):
        up = direction[line] == 0
        for t in range(held_out.shape[1]):
            held_out[line, t] = 0
        for m in range(indptr[line], indptr[line + 1]):
            pod = pods[m]
            for t in range(held_out.shape[1]):
                member_out[m, t] = 0
            for t in range(t0, t1):
                power = up_w[pod, t] if up else down_w[pod, t]
                s = state[pod, t]
                if s in (FREE, own):
                    member_out[m, t] = power
                else:
                    held_out[line, t] += power


@kernel(I64, I64_2D, I64_2D_OUT, i64, i64)
def sum_lines(indptr, member_w, out, l0, l1):
    """Add the rows of each line's members."""
    for line in range(l0, l1):
        for t in range(out.shape[1]):
            out[line, t] = 0
        for m in range(indptr[line], indptr[line + 1]):
            for t in range(out.shape[1]):
                out[line, t] += member_w[m, t]
