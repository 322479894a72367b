"""Prices of the elements of a feeder in which voltage rows decided: duals of a linear program."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market.cleared import Cleared
from flexcore.market.lp_clearing import minimise, path_sum
from flexcore.market.pricing import price_elements
from flexcore.market.tree_clearing import NO_BOUND

F8A = npt.NDArray[np.float64]
I8A = npt.NDArray[np.int64]

_DEAREST = 1e6


@dataclass(frozen=True, slots=True)
class VoltagePrices:
    """What one W of up is worth at each element of a feeder that has no exact local prices.

    Attributes
    ----------
    price : ndarray, shape (n_elements, n_steps)
        One of the prices that support the selection, NaN elsewhere; of down, the negative. Counted prices, see
        `LocalPrices.raised`. To the tolerance of HiGHS, not exact. [micro-EUR/MWh]
    gap : ndarray, shape (n_elements, n_steps)
        What the prices of the feeder fail to prove of the cost of the selection, as a share of the LP's cost: its
        watts are rounded, and the LP's are not. NaN elsewhere.
    """

    price: F8A
    gap: F8A


def voltage_prices(cleared: Cleared) -> VoltagePrices:
    """Return the prices of the feeders and steps in which voltage rows decided.

    Parameters
    ----------
    cleared : Cleared
        From `cleared_local`.

    Returns
    -------
    VoltagePrices

    Notes
    -----
    The problem is the selection's with every need held at what was served of it, so that it costs money only; the price
    of an element is the dual of its power balance. Along the path it changes with each tight row: by its own dual where
    the row is thermal, and by m times the duals of the voltage rows below where it is not.
    """
    price, gap = voltage_values(cleared, price_elements(cleared)[4])
    return VoltagePrices(cleared.to_elements(price), cleared.to_elements(gap))


def voltage_values(cleared: Cleared, priced: npt.NDArray[np.bool_]) -> tuple[F8A, F8A]:
    """Return price and gap on the preorder, (n_steps, n), NaN where `priced` or without voltage rows."""
    price, gap = np.full(cleared.y_w.shape, np.nan), np.full(cleared.y_w.shape, np.nan)
    if cleared.rows.w_lower is None:
        return price, gap
    tops = np.unique(cleared.tree.feeder[cleared.tree.feeder >= 0])
    for t, k in np.argwhere(~priced[:, tops]):
        part = slice(int(tops[k]), int(cleared.tree.last[tops[k]]))
        found = _feeder(cleared, int(t), part)
        if found is not None:
            price[t, part], gap[t, part] = found
    return price, gap


def _feeder(cleared: Cleared, t: int, part: slice) -> tuple[F8A, float] | None:
    from scipy import sparse

    tree, rows, book = cleared.tree, cleared.rows, cleared.book
    assert rows.w_lower is not None
    assert rows.w_upper is not None
    n = part.stop - part.start
    inside = (book.node >= part.start) & (book.node < part.stop)
    offers = np.flatnonzero(inside & (book.quantity_w[t] > 0) & (cleared.barred[t] == 0))
    if not offers.size:
        return None
    node, sign = book.node[offers] - part.start, np.where(book.down[offers] == 1, -1.0, 1.0)
    offered = cleared.price_ueur_per_mwh[t, offers]
    counted = (offered + max(0, 1 - int(offered.min()))).astype(np.float64)
    scale = _DEAREST / counted.max()
    parent = tree.parent[part].astype(np.int64) - part.start
    inner, nx = np.arange(1, n), offers.size
    m = rows.m[part]
    y = cleared.y_w[t, part]
    w = path_sum(m * y / 1000.0, tree.last[part].astype(np.int64) - part.start)
    used = rows.reach[part][rows.reach[part] > 0]
    unit = max(float(used.min()), float(used.max()) * 1e-4) if used.size else 1.0
    # a need holds at what it got, and nothing holds tighter than what the selection did
    lower, upper = (x[t, part] for x in (rows.lower_w, rows.upper_w))
    y_low = np.where(lower <= -NO_BOUND, -np.inf, np.minimum(lower, y) / 1000.0)
    y_high = np.where(upper >= NO_BOUND, np.inf, np.maximum(upper, y) / 1000.0)
    w_low, w_high = np.minimum(rows.w_lower[t, part], w) / unit, np.maximum(rows.w_upper[t, part], w) / unit
    here = np.arange(n)
    entries = (
        (here, nx + here, np.ones(n)),
        (parent[inner], nx + inner, -np.ones(n - 1)),
        (node, np.arange(nx), -sign),
        (n + here, nx + n + here, np.ones(n)),
        (n + inner, nx + n + parent[inner], -np.ones(n - 1)),
        (n + here, nx + here, -m / unit),
    )
    row, column, value = (np.concatenate(x) for x in zip(*entries, strict=True))
    equations = sparse.csr_matrix((value, (row, column)), shape=(2 * n, nx + 2 * n))
    low = np.concatenate([np.zeros(nx), y_low, w_low])
    high = np.concatenate([book.quantity_w[t, offers] / 1000.0, y_high, w_high])
    answer: Any = minimise(np.concatenate([counted * scale, np.zeros(2 * n)]), None, None, equations, low, high)
    if answer is None:
        return None
    cost = float((counted * scale * cleared.accepted_w[t, offers] / 1000.0).sum())
    gap = (cost - float(answer.fun)) / max(float(answer.fun), 1.0)
    return -np.asarray(answer.eqlin.marginals[:n], np.float64) / scale, gap
