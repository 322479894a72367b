"""CHK-02: the DSO cuts awards that would harm its grid, as little as possible (D4.1 section 7.3)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.errors import Findings, OfferError
from flexcore.market.grid_check import OutcomeCheck, check_outcome
from flexcore.market.local_clearing import clear_local
from flexcore.market.sessions import Messages, Session
from flexcore.units import DOWN, UP, WQH_PER_MWH

if TYPE_CHECKING:
    from flexcore.grid.network import Grid

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AwardCut:
    """What is taken from awards so that the grid can carry the rest.

    Attributes
    ----------
    cut_w : ndarray of int64, shape (n_awards, n_steps)
        Power taken from each award. [W]
    kept_w : ndarray of int64, shape (n_awards, n_steps)
        What stays: the order that settlement knows. A BSP is measured against it, so that it pays no penalty for what
        the DSO took. [W]
    before, after : OutcomeCheck
        AC check of the outcome with all awards, and with those that stay. What is left in `after` no cut removes: it
        is in the forecast or in the awards that were not to be cut, or needs more power than there is.
    rounds : int
        How often rows were linearised and a cut was found; 0 where nothing was violated.
    """

    cut_w: Int64s
    kept_w: Int64s
    before: OutcomeCheck
    after: OutcomeCheck
    rounds: int

    @property
    def cut_mwh(self) -> float:
        """Energy taken from all awards."""
        return int(self.cut_w.sum()) / WQH_PER_MWH

    def tell(self, messages: Messages, session: Session, bsp: npt.ArrayLike) -> None:
        """Count the messages to the TSO and to each BSP (shape (n_awards,)) that lost something."""
        of_award = as_int(bsp, "bsp", shape=(self.cut_w.shape[0],), lo=0)
        hurt = np.unique(of_award[self.cut_w.any(axis=1)]).size
        messages.add(session, "DSO", "TSO", "award cut", int(hurt > 0))
        messages.add(session, "DSO", "BSP", "award cut", hurt)

    def to_arrow(self, award_ids: npt.ArrayLike | None = None) -> Any:
        """Return one row per award and step that was cut, as a pyarrow Table; ids replace positions."""
        import pyarrow as pa

        row, step = np.nonzero(self.cut_w)
        return pa.table(
            {
                "award": row if award_ids is None else np.asarray(award_ids)[row],
                "step": step.astype(np.int32),
                "cut_w": self.cut_w[row, step],
                "kept_w": self.kept_w[row, step],
            }
        )


def cut_awards(
    grid: "Grid",
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    node: npt.ArrayLike,
    direction: npt.ArrayLike,
    award_w: npt.ArrayLike,
    local_up_kw: npt.ArrayLike | None = None,
    local_down_kw: npt.ArrayLike | None = None,
    first_to_go: npt.ArrayLike | None = None,
    min_effect: float = 0.0,
    max_rounds: int = 4,
    tol: float = 1e-6,
    n_threads: int = 1,
) -> AwardCut:
    """Cut awards by the least energy that removes the violations which the AC check finds.

    Parameters
    ----------
    grid : Grid
        Radial.
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal without any award. [kW, kvar]
    node : array_like of int, shape (n_awards,)
        Position of the node of each award: of a POD, or of a line that has one node.
    direction : array_like of int, shape (n_awards,)
        0 up, 1 down.
    award_w : array_like of int, shape (n_awards, n_steps)
        The awards that may be cut, in D4.1 those of the TSO. [W]
    local_up_kw, local_down_kw : array_like, shape (n_nodes, n_steps), optional
        Awards that are not to be cut. [kW]
    first_to_go : array_like of int, shape (n_awards,), optional
        Of awards that help alike the one with the lowest number is cut first; by default the one that comes first.
    min_effect : float
        As in `clear_local`: 0 cuts all that helps a voltage which no cut restores in full, however little it helps.
    max_rounds : int
        Each round cuts under rows linearised at what the last one left, and repeats the AC check.
    tol : float
        As in `check_outcome`. [pu]
    n_threads : int

    Returns
    -------
    AwardCut

    Raises
    ------
    OfferError
        FX-M201 a node that the grid does not have.
    GridError
        FX-G030 the grid has loops, FX-G051 the outcome has no voltage.
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range.

    Notes
    -----
    To cut an award is to activate the same power against it. So the selection of `clear_local` is the cut: all prices
    alike, it takes the least power that serves the needs of the outcome and makes no new ones, exactly for the rows of
    `flexcore.grid.headroom.activation_rows`. Those rows are linear and err on the safe side of losses; the least cut
    by AC may be a little smaller.
    """
    from flexcore.grid.headroom import activation_rows

    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    q = as_float(q_kvar, "q_kvar", shape=p.shape)
    awards = as_int(award_w, "award_w", shape=(None, p.shape[1]), lo=0)
    n_awards = awards.shape[0]
    place = as_int(node, "node", dtype=np.int32, shape=(n_awards,))
    way = as_int(direction, "direction", dtype=np.int8, shape=(n_awards,), lo=UP, hi=DOWN)
    turn = as_int(np.zeros(n_awards) if first_to_go is None else first_to_go, "first_to_go", shape=(n_awards,))
    zero = np.zeros(p.shape)
    local = [
        zero if values is None else as_float(values, name, shape=p.shape, non_negative=True)
        for values, name in ((local_up_kw, "local_up_kw"), (local_down_kw, "local_down_kw"))
    ]
    found = Findings("awards", n_awards)
    found.check_count("max_rounds", max_rounds, 1)
    bad = np.flatnonzero((place < 0) | (place >= grid.n_nodes))
    if bad.size:
        found.add("FX-M201", "node is not one of the grid", field="node", rows=bad, ids=place[bad])
    found.raise_errors(OfferError)

    def check(kept: Int64s, steps: Any) -> OutcomeCheck:
        up, down = _per_node_kw(kept, place, way, grid.n_nodes)
        return check_outcome(
            grid,
            np.ascontiguousarray(p[:, steps]),
            np.ascontiguousarray(q[:, steps]),
            local_up_kw=local[UP][:, steps],
            local_down_kw=local[DOWN][:, steps],
            global_up_kw=up,
            global_down_kw=down,
            tol=tol,
            n_threads=n_threads,
        )

    kept = awards.copy()
    before = after = check(kept, slice(None))
    rounds = 0
    steps = np.unique(before.step)
    while steps.size and rounds < max_rounds:
        up, down = _per_node_kw(kept[:, steps], place, way, grid.n_nodes)
        load = p[:, steps] - local[UP][:, steps] + local[DOWN][:, steps] - up + down
        rows = activation_rows(grid, load, np.ascontiguousarray(q[:, steps]), n_threads=n_threads)
        selection = clear_local(
            grid,
            rows,
            node=place,
            direction=(1 - way).astype(np.int8),
            quantity_w=np.ascontiguousarray(kept[:, steps]),
            price_ueur_per_mwh=np.ones(n_awards, np.int64),
            submitted_at=turn,
            offer_id=np.arange(n_awards),
            allow_counter=True,
            min_effect=min_effect,
            n_threads=n_threads,
        )
        if not selection.accepted_w.any():
            break
        kept[:, steps] -= selection.accepted_w
        rounds += 1
        # a step in which nothing was cut has nothing more to give
        touched = steps[selection.accepted_w.any(axis=0)]
        steps = touched[np.unique(check(kept[:, touched], touched).step)]
    if rounds:
        after = check(kept, slice(None))
    return AwardCut(awards - kept, kept, before, after, rounds)


def _per_node_kw(
    awards_w: Int64s, node: npt.NDArray[np.int32], direction: npt.NDArray[np.int8], n_nodes: int
) -> tuple[Floats, Floats]:
    """Awards per node and direction in kW, each (n_nodes, n_steps)."""
    from flexcore.market.awards import sum_members

    up, down = (sum_members(awards_w, np.where(direction == side, node, -1), n_nodes) / 1000.0 for side in (UP, DOWN))
    return up, down
