"""Offer lines from membership: one per (aggregate, node group, direction) with a price made of its PODs' costs."""

import numpy as np
import numpy.typing as npt

from flexcore.study.cities import draws
from flexcore.study.participants import Aggregates, Int32s, Int64s, OfferLines, Pods
from flexcore.units import DOWN, LOCAL, UP

_CENT = 10_000  # micro-EUR
#: What BSPs add to the cost of their PODs: a part of it, drawn for each BSP between these, and a least margin per MWh.
MARKUP = (0.3, 0.7)
LEAST_MARGIN_UEUR = 10_000_000


def offer_lines(
    pods: Pods, aggregates: Aggregates, perimeter_of_node: Int32s, *, operator: int, seed: int
) -> OfferLines:
    """Return the lines of one market side.

    A local line stands for the PODs of one aggregate at one node, a global one for those of one aggregate in one
    dtl_perimeter (MSD-02). Its price is the mean of its PODs' costs weighted by declared power, plus the BSP's markup
    for non-delivery, penalties and profit, in whole cents.

    Parameters
    ----------
    pods : Pods
    aggregates : Aggregates
    perimeter_of_node : ndarray of int32, shape (n_nodes,)
        For a redrawn version of the perimeters, call again with its labels.
    operator : int
        `units.LOCAL` or `units.GLOBAL`.
    seed : int
        Markups, and the order of submission, for ties.
    """
    member = pods.local_aggregate if operator == LOCAL else pods.global_aggregate
    perimeter = perimeter_of_node[pods.node]
    group = pods.node if operator == LOCAL else perimeter
    line_of_pod = np.full((2, pods.node.size), -1, np.int32)
    columns: list[tuple[npt.NDArray[np.int64], ...]] = []
    n_lines = 0
    for direction, declared, cost in (
        (UP, pods.declared_up_w, pods.cost_up_ueur_per_mwh),
        (DOWN, pods.declared_down_w, pods.cost_down_ueur_per_mwh),
    ):
        inside = np.flatnonzero((member >= 0) & (declared > 0) & (group >= 0))
        stride = int(group.max(initial=0)) + 1
        key = member[inside].astype(np.int64) * stride + group[inside]
        lines, number = np.unique(key, return_inverse=True)
        line_of_pod[direction, inside] = n_lines + number
        columns.append(
            (
                lines // stride,
                lines % stride,
                np.full(lines.size, direction, np.int64),
                _mean_price(number, lines.size, declared[inside], cost[inside]),
            )
        )
        n_lines += lines.size
    aggregate, where, way, price = (np.concatenate(column) for column in zip(*columns, strict=True))
    markup = markups(seed, aggregates.bsp[aggregate])
    price += np.rint((np.abs(price) * markup + LEAST_MARGIN_UEUR) / _CENT).astype(np.int64) * _CENT
    order = np.argsort(draws.uniform(seed, "submission", aggregate, where, way), kind="stable")
    submitted = np.empty(n_lines, np.int64)
    submitted[order] = np.arange(n_lines)
    side = "L" if operator == LOCAL else "G"
    local = operator == LOCAL
    return OfferLines(
        id=np.array([f"{side}{number:05d}" for number in range(n_lines)], str),
        aggregate=aggregate.astype(np.int32),
        bsp=aggregates.bsp[aggregate],
        direction=way.astype(np.int8),
        node=(where if local else np.full(n_lines, -1)).astype(np.int32),
        perimeter=(perimeter_of_node[where] if local else where).astype(np.int32),
        price_ueur_per_mwh=price,
        submitted=submitted,
        line_of_pod=line_of_pod,
    )


def markups(seed: int, bsp: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the part of its cost that each BSP adds to its prices."""
    return MARKUP[0] + (MARKUP[1] - MARKUP[0]) * draws.uniform(seed, "markup", np.asarray(bsp))


def _mean_price(line: npt.NDArray[np.int64], n_lines: int, weight_w: Int64s, cost: Int64s) -> Int64s:
    """Weighted mean in whole cents, from exact sums: the order of PODs does not matter."""
    total, weight = np.zeros(n_lines, np.int64), np.zeros(n_lines, np.int64)
    np.add.at(total, line, weight_w * (cost // _CENT))
    np.add.at(weight, line, weight_w)
    return np.rint(total / weight).astype(np.int64) * _CENT
