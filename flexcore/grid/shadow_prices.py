"""What one more unit of headroom of a binding element would be worth: capability gained under progressive filling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.chunks import run_chunks
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.network import Grid
from flexcore.grid.sharing import PerimeterPairs, label_nodes, pair_perimeters, rooms_of, share, speeds_of
from flexcore.units import DOWN, UP

__all__ = ["ShadowPrices", "prices_of_rows", "shadow_prices"]

F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]
_STEPS_PER_CHUNK = 4
_BRANCH, _NODE = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class ShadowPrices:
    """Worth of each limit that the filled capabilities depend on, one entry per element, step and direction.

    Attributes
    ----------
    kind : ndarray of uint8, shape (n_prices,)
        0 branch (rated power), 1 node (voltage limit).
    element : ndarray of int32, shape (n_prices,)
        Position of the branch or node in the grid.
    element_id : ndarray of object, shape (n_prices,)
    step : ndarray of int32, shape (n_prices,)
    direction : ndarray of int8, shape (n_prices,)
        0 up, 1 down.
    price : ndarray, shape (n_prices,)
        Gain of the sum of all capabilities of that step and direction per unit of headroom of this element: kW per kW
        for a branch, kW per pu^2 of the node's row for a voltage. May be negative: who gains room may take it from
        others that would have made more of it. [kW/kW, kW/pu^2]
    per_pu : ndarray, shape (n_prices,)
        For a node the same per pu by which its voltage limit is moved outward; NaN for branches. [kW/pu]
    both_sides : ndarray of bool, shape (n_prices,)
        True: more and less headroom are worth the same. False where another limit is exhausted at the same level, or a
        capability stands where the worst case changes its slope: the price then tells what less headroom costs or
        what more gains, not both, and more headroom of one element alone may gain nothing.
    """

    kind: U1
    element: npt.NDArray[np.int32]
    element_id: npt.NDArray[np.object_]
    step: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]
    price: F8
    per_pu: F8
    both_sides: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.kind.size)

    def to_arrow(self) -> Any:
        """Return the entries as a pyarrow Table, ids as text."""
        import pyarrow as pa

        return pa.table(
            {
                "kind": np.array(["branch", "node"])[self.kind],
                "id": [str(i) for i in self.element_id],
                "step": self.step,
                "direction": np.array(["up", "down"])[self.direction],
                "price": self.price,
                "per_pu": pa.array(self.per_pu, mask=np.isnan(self.per_pu)),
                "both_sides": self.both_sides,
            }
        )


def prices_of_rows(
    pairs: PerimeterPairs,
    m: F8,
    power: F8,
    headroom: F8,
    headroom_path: F8,
    *,
    weights: F8 | None,
    n_threads: int,
) -> tuple[F8, F8, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Find gains per unit of headroom and of path room, and where they hold on one side at most; all (n_steps, kept).

    Arguments as for `share`.
    """
    from flexcore.kernels.grid.shadow_price import shadow_prices as kernel

    rows = (m, power, headroom, headroom_path)
    shape = power.shape[0], pairs.parent.size
    prices, unsure = (np.zeros(shape), np.zeros(shape)), (np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    if pairs.top.size:
        alone, joint = (share(pairs, *rows, weights=weights, alone=way, n_threads=n_threads) for way in (True, False))
        speeds = np.zeros(joint.cap.shape) if weights is None else weights
        arrays = (
            pairs.parent, pairs.last, m, pairs.label, pairs.own, pairs.top, pairs.pair_element, pairs.pair_k,
            pairs.pair_up, pairs.elem_ptr, pairs.elem_pair, power, headroom, headroom_path, speeds, alone.cap,
            joint.cap, alone.row, alone.kind, joint.kind, joint.row, joint.at_node, *prices, *unsure,
        )  # fmt: skip
        run_chunks(lambda lo, hi: kernel(*arrays, lo, hi), shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    return *prices, unsure[0] > 0, unsure[1] > 0


def shadow_prices(
    grid: Grid,
    rows: ActivationRows,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    voltage_slack_pu: float = 0.0,
    n_threads: int = 1,
) -> ShadowPrices:
    """Find what one more unit of headroom of each binding element adds to the sum of the capabilities.

    Parameters
    ----------
    grid : Grid
    rows : ActivationRows
        For example `.rows` of a `CapabilityResult`.
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Power that could move, as given to `capability`. [kW]
    perimeter : array_like of int, shape (n_nodes,)
        Label 0, 1, ... of each node's perimeter; -1: nothing may move there.
    weights, voltage_slack_pu
        As given to `capability`.
    n_threads : int

    Returns
    -------
    ShadowPrices
        Sorted by direction, step, kind and element; only prices that are not zero.

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative flexibility, FX-A006 a label below -1, FX-G052 weights.

    Notes
    -----
    The derivative of the sum of the caps that progressive filling (`sharing="joint"`) gives on these rows, exact in
    that all freezes are differentiated, and with the default speeds also the stand-alone capabilities that set them.
    It is not the dual of a linear programme: filling shares by speeds and does not seek the largest sum. A limit that
    the forecast violates already has no price. For `method="certified"` the rows stay as they are proved: what a
    larger dispatch would change in their losses is not counted.
    """
    label, n_perimeters = label_nodes(grid, perimeter)
    forest, n_steps = grid.forest, rows.n_steps
    up = as_float(up_kw, "up_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    down = as_float(down_kw, "down_kw", shape=(grid.n_nodes, n_steps), non_negative=True)
    slack_pu = float(as_float(voltage_slack_pu, "voltage_slack_pu", shape=(), non_negative=True))
    speeds = speeds_of(weights, n_perimeters, n_steps)
    pairs = pair_perimeters(forest.parent, forest.last, label, label >= 0, n_perimeters)
    kept = forest.order[pairs.element]
    m = np.ascontiguousarray(rows.m[kept])
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for way, offered in ((UP, up), (DOWN, down)):
        room = rooms_of(grid, rows, pairs.element, way == UP, slack_pu, n_threads)
        power = np.ascontiguousarray(offered[kept].T)
        found = prices_of_rows(
            pairs, m, power, room.headroom, room.headroom_path, weights=speeds, n_threads=n_threads
        )  # fmt: skip
        step, place = np.nonzero(found[0])
        branch = forest.branch[pairs.element[place]]
        fed = branch >= 0
        step, place, branch = step[fed], place[fed], branch[fed]
        nothing = np.full(step.size, np.nan)
        parts.append(_part(_BRANCH, branch, step, way, found[0][step, place], nothing, found[2][step, place]))
        parts.append(_voltage_part(grid, rows, pairs, room.room_of_node, found[1], found[3], way, slack_pu))
    kind, element, at, direction, price, per_pu, unsure = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = np.lexsort((element, kind, at, direction))
    ids = np.empty(kind.size, np.object_)
    is_node = kind == _NODE
    ids[is_node] = grid.node_ids[element[is_node]].tolist()
    ids[~is_node] = grid.branch_ids[element[~is_node]].tolist()
    return ShadowPrices(
        kind=kind[order],
        element=element[order],
        element_id=ids[order],
        step=at[order],
        direction=direction[order],
        price=price[order],
        per_pu=per_pu[order],
        both_sides=~unsure[order],
    )


def _voltage_part(
    grid: Grid,
    rows: ActivationRows,
    pairs: PerimeterPairs,
    room: F8,
    price: F8,
    unsure: npt.NDArray[np.bool_],
    way: int,
    slack_pu: float,
) -> tuple[npt.NDArray[Any], ...]:
    """Prices of path rooms, handed to the nodes whose voltage they are: the least roomy of each subtree."""
    forest = grid.forest
    at: dict[tuple[int, int], list[float]] = {}
    for t, place in np.argwhere(price != 0):
        lo = int(pairs.element[place])
        least = int(forest.order[lo + int(np.argmin(room[lo : forest.last[lo], t]))])
        entry = at.setdefault((least, int(t)), [0.0, 0.0])
        entry[0] += price[t, place]
        entry[1] = max(entry[1], float(unsure[t, place]))
    where = np.array([*at], np.int64).reshape(-1, 2)
    node, step = where[:, 0], where[:, 1]
    value = np.array([*at.values()], np.float64).reshape(-1, 2)
    open_ = (rows.w_upper if way == UP else -rows.w_lower)[node, step] >= 0
    node, step, value = node[open_], step[open_], value[open_]
    limit = grid.v_max_pu[node] + slack_pu if way == UP else grid.v_min_pu[node] - slack_pu
    per_pu = value[:, 0] * 2.0 * forest.tau[forest.rank[node]] * limit
    return _part(_NODE, node, step, way, value[:, 0], per_pu, value[:, 1] > 0)


def _part(
    kind: int,
    element: npt.NDArray[Any],
    step: npt.NDArray[Any],
    way: int,
    price: F8,
    per_pu: F8,
    unsure: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[Any], ...]:
    n = element.size
    return (
        np.full(n, kind, np.uint8), element.astype(np.int32), step.astype(np.int32), np.full(n, way, np.int8), price,
        per_pu, unsure,
    )  # fmt: skip
