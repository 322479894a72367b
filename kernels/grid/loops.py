"""Closes loops and holds PV voltages: what currents at the terminals do to each other, and the currents that close.

Terminals are the nodes at which a chord ends or a voltage is held. The unknowns of one step, real and imaginary current
of each chord and of what each PV node draws in all, follow from a small dense system, one step at a time. Complex
numbers are pairs.
"""

import math

import numpy as np

from flexcore.kernels._jit import F64, F64_2D_OUT, I32, inner, kernel

#: Newton steps of the terminals in one round at most; the loads move on in the next.
_ROUNDS = 4


@kernel(I32, F64, F64, I32, F64_2D_OUT, F64_2D_OUT)
def path_impedances(parent, r, x, ends, r_out, x_out):
    """Sum the impedances that the paths of two terminals to their root have in common, for all pairs."""
    n = parent.shape[0]
    on_path = np.zeros(n, np.uint8)
    sum_r = np.zeros(n)
    sum_x = np.zeros(n)
    for k in range(ends.shape[0]):
        i = ends[k]
        while i >= 0:
            on_path[i] = 1
            i = parent[i]
        for i in range(n):
            above = parent[i]
            if above < 0:
                sum_r[i] = 0.0
                sum_x[i] = 0.0
            else:
                sum_r[i] = sum_r[above] + (r[i] if on_path[i] else 0.0)
                sum_x[i] = sum_x[above] + (x[i] if on_path[i] else 0.0)
        for m in range(ends.shape[0]):
            r_out[m, k] = sum_r[ends[m]]
            x_out[m, k] = sum_x[ends[m]]
        i = ends[k]
        while i >= 0:
            on_path[i] = 0
            i = parent[i]


@inner
def decompose(matrix, swap):
    """Factor a matrix in place with row pivots."""
    n = matrix.shape[0]
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        swap[k] = best
        if best != k:
            for j in range(n):
                held = matrix[k, j]
                matrix[k, j] = matrix[best, j]
                matrix[best, j] = held
        for i in range(k + 1, n):
            a = matrix[i, k] / matrix[k, k]
            matrix[i, k] = a
            if a != 0.0:
                for j in range(k + 1, n):
                    matrix[i, j] -= a * matrix[k, j]


@inner
def substitute(matrix, swap, y):
    """Solve with a factored matrix, in place."""
    n = matrix.shape[0]
    for k in range(n):
        held = y[k]
        y[k] = y[swap[k]]
        y[swap[k]] = held
    for k in range(n):  # whole rows were swapped: only now do the multipliers meet theirs
        for i in range(k + 1, n):
            y[i] -= matrix[i, k] * y[k]
    for k in range(n - 1, -1, -1):
        y[k] /= matrix[k, k]
        for i in range(k):
            y[i] -= matrix[i, k] * y[k]


@inner
def rates_of_voltages(wr, wi, one, other, kr, ki, r, x, held, matrix):
    """Fill the derivative of the voltages around loops and of those at PV nodes by the unknown currents.

    Real and imaginary parts in turn; `wr, wi` are what unit currents do to the voltages of the terminals, loads being
    taken to draw what they draw.
    """
    n_chords = one.shape[0]
    for k in range(wr.shape[1]):
        for d in range(wr.shape[1]):
            if k < n_chords:
                a = one[k]
                b = other[k]
                real = kr[k] * wr[a, d] - ki[k] * wi[a, d] - wr[b, d]
                imag = kr[k] * wi[a, d] + ki[k] * wr[a, d] - wi[b, d]
                if k == d:
                    real -= r[k]
                    imag -= x[k]
            else:
                real = wr[held[k - n_chords], d]
                imag = wi[held[k - n_chords], d]
            matrix[2 * k, 2 * d] = real
            matrix[2 * k, 2 * d + 1] = -imag
            matrix[2 * k + 1, 2 * d] = imag
            matrix[2 * k + 1, 2 * d + 1] = real


@inner
def rates(wr, wi, one, other, kr, ki, r, x, held, weight, vr, vi, jr, ji, matrix):
    """Fill the derivative of all mismatches by the unknown currents."""
    n_chords = one.shape[0]
    n_currents = wr.shape[1]
    rates_of_voltages(wr, wi, one, other, kr, ki, r, x, held, matrix)
    for h in range(held.shape[0]):
        m = held[h]
        own = n_chords + h
        size = math.sqrt(vr[m] * vr[m] + vi[m] * vi[m])
        for d in range(n_currents):
            gr = wr[m, d]
            gi = wi[m, d]
            # active power, then voltage
            matrix[2 * own, 2 * d] = weight[h] * (gr * jr[own] + gi * ji[own])
            matrix[2 * own, 2 * d + 1] = weight[h] * (gr * ji[own] - gi * jr[own])
            matrix[2 * own + 1, 2 * d] = (vr[m] * gr + vi[m] * gi) / size
            matrix[2 * own + 1, 2 * d + 1] = (vi[m] * gr - vr[m] * gi) / size
        matrix[2 * own, 2 * own] += weight[h] * vr[m]
        matrix[2 * own, 2 * own + 1] += weight[h] * vi[m]


@inner
def loop_misses(one, other, kr, ki, r, x, vr, vi, jr, ji, y):
    """Fill minus the voltage left around each loop."""
    for c in range(one.shape[0]):
        a = one[c]
        b = other[c]
        y[2 * c] = -(kr[c] * vr[a] - ki[c] * vi[a] - vr[b] - (r[c] * jr[c] - x[c] * ji[c]))
        y[2 * c + 1] = -(kr[c] * vi[a] + ki[c] * vr[a] - vi[b] - (r[c] * ji[c] + x[c] * jr[c]))


@inner
def apply(wr, wi, y, vr, vi, jr, ji):
    """Change the currents by y, and the voltages of the terminals by what that does."""
    for d in range(wr.shape[1]):
        jr[d] += y[2 * d]
        ji[d] += y[2 * d + 1]
    for m in range(wr.shape[0]):
        for d in range(wr.shape[1]):
            vr[m] += wr[m, d] * y[2 * d] - wi[m, d] * y[2 * d + 1]
            vi[m] += wr[m, d] * y[2 * d + 1] + wi[m, d] * y[2 * d]


@inner
def mismatch(one, other, kr, ki, r, x, held, v_set, weight, p_held, vr, vi, jr, ji, y):
    """Fill minus the voltage left around each loop, and minus what PV nodes miss in active power and voltage.

    `weight` makes a voltage of a power; returns the sum of squares.
    """
    n_chords = one.shape[0]
    total = 0.0
    loop_misses(one, other, kr, ki, r, x, vr, vi, jr, ji, y)
    for h in range(held.shape[0]):
        m = held[h]
        own = n_chords + h
        y[2 * own] = weight[h] * (p_held[h] - (vr[m] * jr[own] + vi[m] * ji[own]))
        y[2 * own + 1] = v_set[h] - math.sqrt(vr[m] * vr[m] + vi[m] * vi[m])
    for k in range(y.shape[0]):
        total += y[k] * y[k]
    return total


@inner
def close(
    wr, wi, one, other, kr, ki, r, x, held, v_set, weight, p_held, enough, vr, vi, jr, ji, matrix, swap, y
):  # fmt: skip
    """Correct the currents of one step until the terminals are met; returns the sum of squares of the first miss.

    Without PV nodes this is linear: `matrix` is factored already, and one correction is exact. With them it is Newton's
    method, `vr, vi` being the voltages that the currents leave.
    """
    first = mismatch(one, other, kr, ki, r, x, held, v_set, weight, p_held, vr, vi, jr, ji, y)
    missed = first
    for _ in range(_ROUNDS if held.shape[0] else 1):
        if held.shape[0]:
            rates(wr, wi, one, other, kr, ki, r, x, held, weight, vr, vi, jr, ji, matrix)
            decompose(matrix, swap)
        substitute(matrix, swap, y)
        apply(wr, wi, y, vr, vi, jr, ji)
        if held.shape[0] == 0:
            break
        missed = mismatch(one, other, kr, ki, r, x, held, v_set, weight, p_held, vr, vi, jr, ji, y)
        if missed < 1e-4 * first or missed < enough:
            break
    return first
