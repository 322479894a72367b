"""A selection of offers with conditions as arrays: what the merit order, the model and the explanations read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market.tree_clearing import Rows, Tree

I8A = npt.NDArray[np.int64]
BoolA = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bids:
    """Rows of the table of offers, in its order; one row is one price step of one line.

    Attributes
    ----------
    node, step, down : ndarray, shape (n_rows,)
        Preorder position, position in the list of steps, True for down.
    quantity_w : ndarray of int64
        0 where the row is out. [W]
    price : ndarray of int64
        Use and availability together: what accepting one MWh costs. [micro-EUR/MWh]
    line, price_step : ndarray of int64
        A line is one offer at one element, direction and step; its price steps are filled in order.
    least_w, granularity_w : ndarray of int64
        Of the line. [W]
    block, exclusive : ndarray of int64
        -1 for none.
    by_day : ndarray of bool
        The exclusive group counts over the day.
    bid, unit : ndarray of int64
        What an exclusive group chooses among (the block, else the offer), and who runs and rests.
    rest, run : ndarray of int64
        Least rest and longest run of the unit. [steps]
    rebound : ndarray of bool
    place : ndarray of int64
        Row of the list of spread offers, -1 where the offer acts at its element.
    submitted : ndarray of int64
        Time of submission.
    tie : ndarray of int64
        Rank by submission time, id, element, direction, step and price step.
    out : ndarray of uint8
        0, or why the row takes no part.
    """

    node: npt.NDArray[np.int32]
    step: I8A
    down: BoolA
    quantity_w: I8A
    price: I8A
    line: I8A
    price_step: I8A
    least_w: I8A
    granularity_w: I8A
    block: I8A
    exclusive: I8A
    by_day: BoolA
    bid: I8A
    unit: I8A
    rest: I8A
    run: I8A
    rebound: BoolA
    place: I8A
    submitted: I8A
    tie: I8A
    out: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Requests:
    """Needs in the order of their table; condition is the position of another need or -1, cap `NEVER` for none."""

    node: npt.NDArray[np.int32]
    step: I8A
    down: BoolA
    quantity_w: I8A
    condition: I8A
    cap: I8A


@dataclass(frozen=True, slots=True)
class BidProblem:
    """A whole selection: the tree, its bounds by step, bids and requests.

    `spread` lists for each spread offer the positions and powers of its places.
    """

    tree: Tree
    rows: Rows
    limit_lower_w: I8A
    limit_upper_w: I8A
    steps: I8A
    name_at: npt.NDArray[Any]
    bids: Bids
    requests: Requests
    spread: tuple[tuple[tuple[int, int], ...], ...]
