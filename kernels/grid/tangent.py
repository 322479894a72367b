"""Derivative of the AC solution on a forest, by elimination from the leaves up: no matrix, no iteration.

A small change obeys dV_i = dV_k - z_i dJ_i, dJ_i = dI_i + sum of the children's dJ, and at each node
dI = y dV + a conj(dV) + c, with a = -conj(S) / conj(V)^2 and c what is changed from outside. A map v -> A v + B conj(v)
of the plane is kept as its two complex numbers. What a subtree draws is dJ = F dV_k + f, seen from its parent k. From
the sum E of the shares below, F = (1 + E z)^-1 E, and f = e - F z e from the sum e of what is changed below. So one
pass up and one pass down solve the equations exactly.

The adjoint has the same form with conj(a) for a: solved for sources conj(l), it gives the numbers n for which a row
Re(conj(l) dV) is the sum of Re(n c) over all nodes.
"""

import numpy as np

from flexcore.kernels._jit import inner
from flexcore.kernels.grid.lanes import LANES, lanes
from flexcore.kernels.grid.phasors import _JI, _JR, _P, _Q, _VI, _VR

# beside the quantities of the AC sweep: the map F of the branch above. The currents f stand in J; the changes of the
# voltages take the place of the loads, which only the elimination needs
_AR, _AI, _BR, _BI = range(6, 10)
_DR, _DI = _P, _Q
_FR, _FI = _JR, _JI


@inner
def eliminate(parent, r, x, g, b, i0, i1, turn, w, s):
    """Find F of every branch from the loads and voltages of the work rows; `turn` is 1, or -1 for the adjoint."""
    for j in range(i1 - i0 + 1):
        row = s[j, _AR * LANES : (_BI + 1) * LANES]
        for t in range(row.shape[0]):
            row[t] = 0.0
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        p = lanes(row, _P, w)
        q = lanes(row, _Q, w)
        vr = lanes(row, _VR, w)
        vi = lanes(row, _VI, w)
        ar = lanes(row, _AR, w)
        ai = lanes(row, _AI, w)
        br = lanes(row, _BR, w)
        bi = lanes(row, _BI, w)
        above_ar = lanes(above, _AR, w)
        above_ai = lanes(above, _AI, w)
        above_br = lanes(above, _BR, w)
        above_bi = lanes(above, _BI, w)
        ri = r[i]
        xi = x[i]
        gi = g[i]
        bsh = b[i]
        for t in range(w):
            d = 1.0 / (vr[t] * vr[t] + vi[t] * vi[t])
            c = (vr[t] * vr[t] - vi[t] * vi[t]) * d * d
            e = 2.0 * vr[t] * vi[t] * d * d
            alpha_r = ar[t] + gi
            alpha_i = ai[t] + bsh
            beta_r = br[t] - (p[t] * c + q[t] * e)
            beta_i = bi[t] - turn * (p[t] * e - q[t] * c)
            # 1 + E z as (m, n), its inverse is (conj(m), -n) / det
            m_r = 1.0 + (alpha_r * ri - alpha_i * xi)
            m_i = alpha_r * xi + alpha_i * ri
            n_r = beta_r * ri + beta_i * xi
            n_i = beta_i * ri - beta_r * xi
            per_det = 1.0 / ((m_r * m_r + m_i * m_i) - (n_r * n_r + n_i * n_i))
            f_ar = ((m_r * alpha_r + m_i * alpha_i) - (n_r * beta_r + n_i * beta_i)) * per_det
            f_ai = ((m_r * alpha_i - m_i * alpha_r) - (n_i * beta_r - n_r * beta_i)) * per_det
            f_br = ((m_r * beta_r + m_i * beta_i) - (n_r * alpha_r + n_i * alpha_i)) * per_det
            f_bi = ((m_r * beta_i - m_i * beta_r) - (n_i * alpha_r - n_r * alpha_i)) * per_det
            ar[t] = f_ar
            ai[t] = f_ai
            br[t] = f_br
            bi[t] = f_bi
            above_ar[t] += f_ar
            above_ai[t] += f_ai
            above_br[t] += f_br
            above_bi[t] += f_bi


@inner
def clear_sources(i0, i1, w, s):
    """Nothing is changed anywhere, and the root's voltage stays."""
    for j in range(i1 - i0 + 1):
        row = s[j, _FR * LANES : (_FI + 1) * LANES]
        for t in range(row.shape[0]):
            row[t] = 0.0
    top_r = lanes(s[0], _DR, w)
    top_i = lanes(s[0], _DI, w)
    for t in range(w):
        top_r[t] = 0.0
        top_i[t] = 0.0


@inner
def _own_share(row, ri, xi, w):
    """Turn the sum e of a node, in f's place, into f."""
    fr = lanes(row, _FR, w)
    fi = lanes(row, _FI, w)
    ar = lanes(row, _AR, w)
    ai = lanes(row, _AI, w)
    br = lanes(row, _BR, w)
    bi = lanes(row, _BI, w)
    for t in range(w):
        a = ri * fr[t] - xi * fi[t]
        c = ri * fi[t] + xi * fr[t]
        fr[t] -= (ar[t] * a - ai[t] * c) + (br[t] * a + bi[t] * c)
        fi[t] -= (ar[t] * c + ai[t] * a) + (bi[t] * a - br[t] * c)


@inner
def raise_all(parent, r, x, i0, i1, w, s):
    """Turn sources at the nodes, in f's place, into f of every branch."""
    for i in range(i1 - 1, i0 - 1, -1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        _own_share(row, r[i], x[i], w)
        fr = lanes(row, _FR, w)
        fi = lanes(row, _FI, w)
        up_r = lanes(above, _FR, w)
        up_i = lanes(above, _FI, w)
        for t in range(w):
            up_r[t] += fr[t]
            up_i[t] += fi[t]


@inner
def raise_one(parent, r, x, node, i0, w, s):
    """Do the same for a single source, which only its path to the root sees."""
    i = node
    _own_share(s[i - i0 + 1], r[i], x[i], w)
    while i > i0:
        k = np.int64(parent[i])
        row = s[i - i0 + 1]
        above = s[k - i0 + 1]
        fr = lanes(row, _FR, w)
        fi = lanes(row, _FI, w)
        up_r = lanes(above, _FR, w)
        up_i = lanes(above, _FI, w)
        for t in range(w):
            up_r[t] = fr[t]
            up_i[t] = fi[t]
        _own_share(above, r[k], x[k], w)
        i = k


@inner
def forget_one(parent, node, i0, w, s):
    """Clear what a single source has left on its path."""
    i = node
    while True:
        row = s[i - i0 + 1]
        fr = lanes(row, _FR, w)
        fi = lanes(row, _FI, w)
        for t in range(w):
            fr[t] = 0.0
            fi[t] = 0.0
        if i == i0:
            return
        i = np.int64(parent[i])


@inner
def follow_down(parent, r, x, i0, i1, w, s):
    """Follow the changes of the voltages from the root down; that of the root stands in row 0."""
    for i in range(i0, i1):
        row = s[i - i0 + 1]
        above = s[parent[i] - i0 + 1 if i > i0 else 0]
        up_r = lanes(above, _DR, w)
        up_i = lanes(above, _DI, w)
        dr = lanes(row, _DR, w)
        di = lanes(row, _DI, w)
        fr = lanes(row, _FR, w)
        fi = lanes(row, _FI, w)
        ar = lanes(row, _AR, w)
        ai = lanes(row, _AI, w)
        br = lanes(row, _BR, w)
        bi = lanes(row, _BI, w)
        ri = r[i]
        xi = x[i]
        for t in range(w):
            a = up_r[t]
            c = up_i[t]
            jr = fr[t] + ((ar[t] * a - ai[t] * c) + (br[t] * a + bi[t] * c))
            ji = fi[t] + ((ar[t] * c + ai[t] * a) + (bi[t] * a - br[t] * c))
            dr[t] = a - (ri * jr - xi * ji)
            di[t] = c - (ri * ji + xi * jr)
