"""CHK-01: after each MSD the DSO checks the whole outcome, local and global, by AC power flow (D4.1 section 7.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float

if TYPE_CHECKING:
    from flexcore.grid.network import Grid

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

#: What is violated.
LOADING, LOW_VOLTAGE, HIGH_VOLTAGE, UNSOLVED = 0, 1, 2, 3
KIND_NAMES = ("loading", "low voltage", "high voltage", "not solved")
#: Who causes a violation: the forecast alone, awards of one operator alone, or only the awards of both together.
FORECAST, LOCAL_AWARDS, GLOBAL_AWARDS, BOTH = 0, 1, 2, 3
CAUSE_NAMES = ("forecast", "local", "global", "both")


@dataclass(frozen=True, slots=True)
class OutcomeCheck:
    """Violations of an outcome, one row each, by step, kind and element.

    Attributes
    ----------
    step : ndarray of int32, shape (n_violations,)
    kind : ndarray of uint8
        `LOADING`, `LOW_VOLTAGE`, `HIGH_VOLTAGE` or `UNSOLVED`.
    element : ndarray of int32
        Position of the branch (`LOADING`) or node; -1 for a step that has no solution.
    value, limit : ndarray
        Loading (1 is the rating) or voltage. [pu] NaN for `UNSOLVED`.
    before : ndarray
        The same quantity with the forecast alone: what the awards changed. [pu]
    cause : ndarray of uint8
        `FORECAST`: violated without any award. `LOCAL_AWARDS`, `GLOBAL_AWARDS`: the awards of that operator alone
        violate it. `BOTH`: neither forecast nor one operator's awards explain it alone, or each of the two does.
    status : ndarray of uint8, shape (n_steps,)
        0 where the power flow of the outcome was solved.
    """

    step: Int32s
    kind: npt.NDArray[np.uint8]
    element: Int32s
    value: Floats
    limit: Floats
    before: Floats
    cause: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]

    @property
    def n_violations(self) -> int:
        """Number of rows."""
        return int(self.step.size)

    def by_cause(self, cause: int) -> "OutcomeCheck":
        """The rows of one cause."""
        keep = self.cause == cause
        columns = {name: getattr(self, name)[keep] for name in ("step", "kind", "element", "value", "limit", "before")}
        return replace(self, cause=self.cause[keep], **columns)

    def counts(self) -> dict[str, int]:
        """Number of violations per cause."""
        return {name: int((self.cause == code).sum()) for code, name in enumerate(CAUSE_NAMES)}

    def to_arrow(
        self,
        *,
        branch_ids: Sequence[Any] | npt.NDArray[Any] | None = None,
        node_ids: Sequence[Any] | npt.NDArray[Any] | None = None,
    ) -> Any:
        """Return one row per violation as a pyarrow Table; ids replace positions where they are given."""
        import pyarrow as pa

        names = np.full(self.n_violations, "", object)
        for is_branch, ids in ((True, branch_ids), (False, node_ids)):
            rows = np.flatnonzero((self.element >= 0) & ((self.kind == LOADING) == is_branch))
            label = self.element[rows] if ids is None else np.asarray(ids)[self.element[rows]]
            names[rows] = label.astype(str)
        return pa.table(
            {
                "element": np.where(self.element < 0, "", np.where(self.kind == LOADING, "branch", "node")),
                "element_id": pa.array(names.tolist(), pa.string()),
                "step": self.step,
                "kind": np.array(KIND_NAMES)[self.kind],
                "value": self.value,
                "limit": self.limit,
                "before": self.before,
                "cause": np.array(CAUSE_NAMES)[self.cause],
            }
        )


@dataclass(frozen=True, slots=True)
class _Flow:
    """Loading, voltage and status of some steps."""

    loading: Floats
    v_pu: Floats
    unsolved: Bools

    def violated(self, grid: "Grid", kind: npt.NDArray[np.uint8], element: Int32s, column: Any, tol: float) -> Bools:
        """Whether each (kind, element) is violated in the column of its step."""
        result = np.zeros(kind.size, np.bool_)
        for code in range(4):
            rows = np.flatnonzero(kind == code)
            e, c = element[rows], column[rows]
            if code == UNSOLVED:
                result[rows] = self.unsolved[c]
            elif code == LOADING:
                result[rows] = self.loading[e, c] > 1.0 + tol
            elif code == LOW_VOLTAGE:
                result[rows] = self.v_pu[e, c] < grid.v_min_pu[e] - tol
            else:
                result[rows] = self.v_pu[e, c] > grid.v_max_pu[e] + tol
        # a step without a solution is worse than any violation
        return np.asarray(result | self.unsolved[column])

    def value(self, kind: npt.NDArray[np.uint8], element: Int32s, column: Any) -> Floats:
        """Loading or voltage of each (kind, element); NaN for a step as a whole."""
        result = np.full(kind.size, np.nan)
        branch, node = kind == LOADING, (kind == LOW_VOLTAGE) | (kind == HIGH_VOLTAGE)
        result[branch] = self.loading[element[branch], column[branch]]
        result[node] = self.v_pu[element[node], column[node]]
        return result


def check_outcome(
    grid: "Grid",
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    local_up_kw: npt.ArrayLike,
    local_down_kw: npt.ArrayLike,
    global_up_kw: npt.ArrayLike,
    global_down_kw: npt.ArrayLike,
    local_q_kvar: npt.ArrayLike | None = None,
    global_q_kvar: npt.ArrayLike | None = None,
    tol: float = 1e-6,
    n_threads: int = 1,
) -> OutcomeCheck:
    """Solve the forecast with all awards by AC power flow and list every violation with its cause (CHK-01).

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal without any award. [kW, kvar]
    local_up_kw, local_down_kw, global_up_kw, global_down_kw : array_like, shape (n_nodes, n_steps)
        Awards per node, not negative. Up lowers the withdrawal. [kW]
    local_q_kvar, global_q_kvar : array_like, shape (n_nodes, n_steps), optional
        Change of reactive withdrawal that comes with the awards; none by default (unity power factor). [kvar]
    tol : float
        Loading or voltage beyond its limit by at most this is no violation. [pu]
    n_threads : int

    Returns
    -------
    OutcomeCheck

    Raises
    ------
    ValidationError
        FX-A001 wrong shape, FX-A003 NaN, FX-A004 a negative award.

    Notes
    -----
    Only steps with violations are solved again: without any award, with the local awards alone, and with the global
    ones alone.
    """
    shape = (grid.n_nodes, None)
    p = as_float(p_kw, "p_kw", shape=shape)
    size = (grid.n_nodes, p.shape[1])
    q = as_float(q_kvar, "q_kvar", shape=size)
    local = _net(local_up_kw, local_down_kw, "local", size)
    globally = _net(global_up_kw, global_down_kw, "global", size)
    local_q = np.zeros(size) if local_q_kvar is None else as_float(local_q_kvar, "local_q_kvar", shape=size)
    global_q = np.zeros(size) if global_q_kvar is None else as_float(global_q_kvar, "global_q_kvar", shape=size)

    def solve(steps: Any, with_local: bool, with_global: bool) -> _Flow:
        active, reactive = p[:, steps], q[:, steps]
        if with_local:
            active, reactive = active - local[:, steps], reactive + local_q[:, steps]
        if with_global:
            active, reactive = active - globally[:, steps], reactive + global_q[:, steps]
        return _solve(grid, active, reactive, n_threads)

    whole = solve(slice(None), True, True)
    step, kind, element = _find(grid, whole, tol)
    value = whole.value(kind, element, step)
    cause = np.full(step.size, FORECAST, np.uint8)
    before = np.full(step.size, np.nan)
    if step.size:
        # steps are solved independently, so that a few columns give the same bits as the whole day
        again, column = np.unique(step, return_inverse=True)
        base = solve(again, False, False)
        before = base.value(kind, element, column)
        awarded = ~base.violated(grid, kind, element, column, tol)
        if awarded.any():
            again, column = np.unique(step[awarded], return_inverse=True)
            by_local = solve(again, True, False).violated(grid, kind[awarded], element[awarded], column, tol)
            by_global = solve(again, False, True).violated(grid, kind[awarded], element[awarded], column, tol)
            cause[awarded] = np.select(
                [by_local & ~by_global, by_global & ~by_local], [LOCAL_AWARDS, GLOBAL_AWARDS], default=BOTH
            )
    limit = np.full(step.size, np.nan)
    limit[kind == LOADING] = 1.0
    for code, bound in ((LOW_VOLTAGE, grid.v_min_pu), (HIGH_VOLTAGE, grid.v_max_pu)):
        limit[kind == code] = bound[element[kind == code]]
    status = whole.unsolved.astype(np.uint8)
    return OutcomeCheck(step, kind, element, value, limit, before, cause, status)


def _net(up_kw: npt.ArrayLike, down_kw: npt.ArrayLike, side: str, shape: tuple[int, int]) -> Floats:
    up = as_float(up_kw, f"{side}_up_kw", shape=shape, non_negative=True)
    down = as_float(down_kw, f"{side}_down_kw", shape=shape, non_negative=True)
    return np.asarray(up - down)


def _solve(grid: "Grid", p_kw: Floats, q_kvar: Floats, n_threads: int) -> _Flow:
    from flexcore.grid.power_flow import power_flow

    flow = power_flow(
        grid,
        np.ascontiguousarray(p_kw),
        np.ascontiguousarray(q_kvar),
        method="ac",
        outputs=("v_pu", "loading"),
        n_threads=n_threads,
    )
    loading, v_pu = np.asarray(flow.loading), np.asarray(flow.v_pu)
    unsolved = (flow.status != 0) | np.isnan(loading).any(axis=0) | np.isnan(v_pu).any(axis=0)
    return _Flow(loading, v_pu, unsolved)


def _find(grid: "Grid", flow: _Flow, tol: float) -> tuple[Int32s, npt.NDArray[np.uint8], Int32s]:
    """Steps, kinds and elements of all violations, sorted; comparisons with NaN are False."""
    steps = np.flatnonzero(flow.unsolved)
    places = [
        np.nonzero(flow.loading > 1.0 + tol),
        np.nonzero(flow.v_pu < grid.v_min_pu[:, None] - tol),
        np.nonzero(flow.v_pu > grid.v_max_pu[:, None] + tol),
        (np.full(steps.size, -1), steps),
    ]
    kind = np.concatenate([np.full(len(when), code, np.uint8) for code, (_, when) in enumerate(places)])
    element = np.concatenate([at for at, _ in places]).astype(np.int32)
    step = np.concatenate([when for _, when in places]).astype(np.int32)
    order = np.lexsort((element, kind, step))
    return step[order], kind[order], element[order]
