"""Capability of perimeters: the total that any dispatch inside may reach, safe for all perimeters together."""

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float
from flexcore.errors import check_option
from flexcore.grid.capability_call import Call, solve
from flexcore.grid.capability_result import GREEN, RED, YELLOW, CapabilityResult, colour_of
from flexcore.grid.full_use import solve_where_needed
from flexcore.grid.headroom import sensitivity
from flexcore.grid.network import Grid
from flexcore.grid.sharing import label_nodes, speeds_of
from flexcore.grid.value import values_of

__all__ = ["GREEN", "RED", "YELLOW", "capability"]


def capability(
    grid: Grid,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    up_kw: npt.ArrayLike,
    down_kw: npt.ArrayLike,
    perimeter: npt.ArrayLike,
    method: Literal["certified", "linear"] = "certified",
    sharing: Literal["joint", "filling", "max_total", "value", "nested", "alone"] = "joint",
    weights: npt.ArrayLike | None = None,
    values_up: npt.ArrayLike | None = None,
    values_down: npt.ArrayLike | None = None,
    tan_phi: float | tuple[float, float] = 0.0,
    delivered_up_kw: npt.ArrayLike | None = None,
    delivered_down_kw: npt.ArrayLike | None = None,
    margin_kw: npt.ArrayLike | None = None,
    together: bool = True,
    voltage_slack_pu: float = 0.0,
    tol_kw: float = 1e-3,
    n_threads: int = 1,
) -> CapabilityResult:
    """Find the robust capability of every perimeter: whoever acts inside, no limit breaks up to that total.

    Parameters
    ----------
    grid : Grid
    p_kw, q_kvar : array_like, shape (n_nodes, n_steps)
        Forecast withdrawal without global activations; without the awards given in `delivered_*`. [kW, kvar]
    up_kw, down_kw : array_like, shape (n_nodes, n_steps)
        Adjustable power per node that could move. [kW]
    perimeter : array_like of int, shape (n_nodes,)
        Label 0, 1, ... of each node's perimeter, any pattern; -1: nothing may move there.
    method : {"certified", "linear"}
        What the headrooms come from: bounds of the AC power flow that hold for every dispatch within the
        capabilities, or a linear power flow with losses.
    sharing : {"joint", "filling", "max_total", "value", "nested", "alone"}
        "joint" (the same as "filling") shares common headroom by progressive filling, safe for all perimeters together.
        "max_total" as safely seeks the largest sum, whoever it starves; `largest_*` says where none is larger.
        "value" as safely seeks the largest sum of cap times value; it may need a solver, step by step.
        "nested" publishes wider capabilities and, where perimeters share an element, a limit on their sum: `groups`.
        They are safe only together; where branches alone limit whole subtrees they admit all that is jointly safe.
        "alone" gives each perimeter what it could have if no other moved, and warns.
    weights : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        Speeds of the filling. By default the stand-alone capabilities: all perimeters reach the same share of theirs
        until one is stopped, the others go on. Checked but not used by "max_total" and "value".
    values_up, values_down : array_like, shape (n_perimeters,) or (n_perimeters, n_steps), optional
        With sharing="value": what a kW of each perimeter's capability is worth, such as a bid price. By default all are
        worth the same. Only ratios count. [EUR/kW]
    tan_phi : float or (float, float)
        kvar per kW of every activation; "certified" also takes the smallest and the largest, and holds for any mixture.
    delivered_up_kw, delivered_down_kw : array_like, shape (n_nodes, n_steps), optional
        Standing local awards on top of the forecast; the capabilities hold whether or not they are delivered. [kW]
    margin_kw : array_like, shape (n_nodes, n_steps), optional
        Error of the forecast flow in each node's branch, either way; the capabilities hold within that band. [kW]
    together : bool
        Up and down of one step are safe together. False: either is, while the other rests; "certified" can then promise
        more, because the losses of one direction are not those of the other.
    voltage_slack_pu : float
        How far a node's voltage may end beyond its limit, or beyond a forecast that violates it already. With 0 one
        node in violation stops every perimeter that it shares any impedance with. [pu]
    tol_kw : float
        Below this a capability is red, and movable power is none at all. [kW]
    n_threads : int

    Returns
    -------
    CapabilityResult

    Raises
    ------
    ValidationError
        FX-A001 shapes, FX-A003 NaN, FX-A004 negative flexibility, value or tolerance, FX-A006 a label below -1,
        FX-G052 weights.
    OptionError
        FX-E002 for an unknown method or sharing.
    GridError
        FX-G050 if an activation would move a voltage the wrong way; FX-G051 if "linear" finds no voltage.

    Warns
    -----
    UserWarning
        With sharing="alone": the values are not jointly safe.

    Notes
    -----
    Caps C are safe together if and only if g_i = sum_k min(C_k, B_ik) fits on each branch and the sums of m g along
    each path keep each voltage (D4.1 section 6.3, Figure 12; proof in docs/explanation/capability.md). "linear" makes
    two passes: the rows for down of the second one count losses and voltages at the fill of the first. "certified"
    fills rows that are proved for everything up to a ceiling, and never exceeds it (docs/explanation/certified.md).
    """
    check_option("method", method, ("certified", "linear"))
    check_option("sharing", sharing, ("joint", "filling", "max_total", "value", "nested", "alone"))
    if sharing == "alone":
        warnings.warn(
            "sharing='alone': each capability is safe only if no other perimeter moves", UserWarning, stacklevel=2
        )
    p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
    q = as_float(q_kvar, "q_kvar", shape=p.shape)
    up = as_float(up_kw, "up_kw", shape=p.shape, non_negative=True)
    down = as_float(down_kw, "down_kw", shape=p.shape, non_negative=True)
    slopes = _slopes(tan_phi, method)
    tol_kw = float(as_float(tol_kw, "tol_kw", shape=(), non_negative=True))
    label, n_perimeters = label_nodes(grid, perimeter)
    values = [
        values_of(given, name, n_perimeters, p.shape[1])
        for name, given in (("values_up", values_up), ("values_down", values_down))
    ]
    further = {
        key: None if given is None else as_float(given, name, shape=p.shape, non_negative=True)
        for key, name, given in (
            ("delivered_up", "delivered_up_kw", delivered_up_kw),
            ("delivered_down", "delivered_down_kw", delivered_down_kw),
            ("margin", "margin_kw", margin_kw),
        )
    }
    call = Call(
        grid=grid,
        label=label,
        n_perimeters=n_perimeters,
        p=p,
        q=q,
        up=up,
        down=down,
        **further,
        m=sensitivity(grid, slopes),
        slopes=slopes,
        speeds=speeds_of(weights, n_perimeters, p.shape[1]),
        values=np.stack(values, axis=1) if sharing == "value" else None,
        slack_pu=float(as_float(voltage_slack_pu, "voltage_slack_pu", shape=(), non_negative=True)),
        method=method,
        sharing="joint" if sharing == "filling" else sharing,
        together=together,
        n_threads=n_threads,
    )
    found = solve_where_needed(call) if call.sharing == "joint" else solve(call)
    columns: dict[str, Any] = {}
    for name, way in (("up", found.up), ("down", found.down)):
        columns |= {
            f"{name}_kw": way.cap,
            f"movable_{name}_kw": way.movable,
            f"colour_{name}": colour_of(way.cap, way.movable, tol_kw),
            f"kind_{name}": way.kind,
            f"binding_{name}": way.binding,
            f"at_node_{name}": way.at_node,
            f"margin_{name}_kw": way.margin,
            f"status_{name}": way.status,
            f"largest_{name}": way.largest,
        }
    return CapabilityResult(
        **columns,
        rows=found.rows,
        method=method,
        sharing=call.sharing,
        certified=found.certified,
        together=together,
        groups=found.groups,
    )


def _slopes(tan_phi: float | tuple[float, float], method: str) -> tuple[float, float]:
    """Smallest and largest kvar per kW."""
    pair = method == "certified" and np.ndim(tan_phi) == 1
    values = as_float(tan_phi, "tan_phi", shape=(2,) if pair else ())
    return float(values.min()), float(values.max())
