"""AC solution of a forest in voltage and current phasors, for what needs them: backward and forward sweeps.

Jobs, work rows and lanes are those of the linear sweep. A lane (one step of one subtree) stops changing when that
lane has converged, whatever its neighbours do: a step solved alone gives the same bits.
"""

import math

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels.grid.lanes import LANES, fetch_row, lanes

# quantities of a work row: own load, real and imaginary voltage, real and imaginary current of the branch above
_P, _Q, _VR, _VI, _JR, _JI = range(6)


@inner
def backward(parent, g, b, i0, i1, w, s):
    """Sum the currents of loads and shunts from the leaves up."""
    for j in range(i1 - i0 + 1):
        row = s[j, _JR * LANES : (_JI + 1) * LANES]
        for t in range(row.shape[0]):
            row[t] = 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        vr = lanes(row, _VR, w)
        vi = lanes(row, _VI, w)
        jr = lanes(row, _JR, w)
        ji = lanes(row, _JI, w)
        gi = g[i]
        bi = b[i]
        ur = lanes(above, _JR, w)
        ui = lanes(above, _JI, w)
        for t in range(w):
            d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
            # conj(S) / |V|^2 + Y, the admittance that takes load and shunt at this voltage
            conductance = p[t] * d + gi
            susceptance = bi - q[t] * d
            real = jr[t] + (conductance * vr[t] - susceptance * vi[t])
            imag = ji[t] + (conductance * vi[t] + susceptance * vr[t])
            jr[t] = real
            ji[t] = imag
            ur[t] += real
            ui[t] += imag


@inner
def forward_sweep(parent, r, x, i0, i1, w, s, live, change):
    """Follow the voltage drops from the root down in the lanes that are live; `change` sums the squared steps."""
    for t in range(w):
        change[t] = 0.0
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        vr = lanes(row, _VR, w)
        vi = lanes(row, _VI, w)
        jr = lanes(row, _JR, w)
        ji = lanes(row, _JI, w)
        ur = lanes(above, _VR, w)
        ui = lanes(above, _VI, w)
        ri = r[i]
        xi = x[i]
        for t in range(w):
            a = ur[t] - ri * jr[t] + xi * ji[t]
            c = ui[t] - ri * ji[t] - xi * jr[t]
            da = a - vr[t]
            dc = c - vi[t]
            change[t] += da * da + dc * dc
            vr[t] = a if live[t] > 0.0 else vr[t]
            vi[t] = c if live[t] > 0.0 else vi[t]


@inner
def solve(
    order, parent, r, x, g, b, u0, tolerance, max_iterations, p_in, q_in, i0, i1, t0, w, s, live, change, status_out
):  # fmt: skip
    """Solve the subtree i0..i1 for steps t0..t0 + w: voltages and currents end in the work rows.

    Real voltages are NaN in lanes whose status is not 0.
    """
    v0 = math.sqrt(u0)
    for j in range(i1 - i0 + 1):
        vr = lanes(s[j], _VR, w)
        vi = lanes(s[j], _VI, w)
        for t in range(w):
            vr[t] = v0
        for t in range(w):
            vi[t] = 0.0
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        soon = order[min(i + 2, i1 - 1)]
        fetch_row(p_in, soon, t0, w)
        fetch_row(q_in, soon, t0, w)
        source_p = p_in[order[i], t0 : t0 + w]
        source_q = q_in[order[i], t0 : t0 + w]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        for t in range(w):
            p[t] = source_p[t]
        for t in range(w):
            q[t] = source_q[t]
    for t in range(w):
        live[t] = 1.0
        status_out[t] = 1
    n_live = np.int64(w)
    enough = tolerance * tolerance
    for _ in range(max_iterations):
        backward(parent, g, b, i0, i1, w, s)
        forward_sweep(parent, r, x, i0, i1, w, s, live, change)
        for t in range(w):
            if live[t] > 0.0:
                if change[t] < enough:
                    live[t] = 0.0
                    status_out[t] = 0
                    n_live -= 1
                # a step as long as the voltage itself, or NaN: there is no solution to come back to
                elif not change[t] < 0.81 * u0 * (i1 - i0):
                    live[t] = 0.0
                    status_out[t] = 2
                    n_live -= 1
        if n_live == 0:
            break
    for t in range(w):
        if status_out[t] != 0:
            for j in range(1, i1 - i0 + 1):
                s[j, _VR * LANES + t] = np.nan
    # once more with the final voltages, so that flows do not depend on when other lanes stopped
    backward(parent, g, b, i0, i1, w, s)
