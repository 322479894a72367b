"""Ties between offers that no rule of a grid or a market tells apart go to the earlier one."""

import numpy as np

from flexcore.market.schemes.case import CoordinationCase, Floats

_SAME_KW = 1e-9


def earliest_first(case: CoordinationCase, quantity_kw: Floats, accepted_kw: Floats) -> Floats:
    """Fill offers of one price, direction and node in their order of submission; their sum stays.

    Parameters
    ----------
    quantity_kw : ndarray, shape (n_offers, n_steps)
        What may be taken at most.
    accepted_kw : ndarray, shape (n_offers, n_steps)
        As a programme divides it among them: it sees no difference.
    """
    offers, layout = case.offers, case.layout
    keys = (offers.price, offers.direction, layout.place, layout.t_node)
    order = np.lexsort((offers.submitted, *keys[::-1]))
    new = np.ones(order.size, np.bool_)
    new[1:] = np.logical_or.reduce([np.diff(key[order]) != 0 for key in keys])
    group = np.cumsum(new) - 1
    several = np.bincount(group, minlength=1)[group] > 1
    if not several.any():
        return accepted_kw
    rows, first = order[several], np.flatnonzero(new[several])
    group = np.repeat(np.arange(first.size), np.diff(np.append(first, rows.size)))
    high, accepted = quantity_kw[rows], accepted_kw[rows]
    before = np.cumsum(high, axis=0) - high
    before -= before[first][group]
    filled = np.clip(np.add.reduceat(accepted, first, axis=0)[group] - before, 0.0, high)
    result = accepted_kw.copy()
    result[rows] = np.where(np.abs(filled - accepted) > _SAME_KW, filled, accepted)
    return result
