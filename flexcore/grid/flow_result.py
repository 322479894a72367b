"""What a power flow gives: flows, voltages and loadings of all steps, or certified bounds of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # float64, or float32 where that was asked for

#: Quantities that can be asked for.
QUANTITIES = (
    "branch_p_kw",
    "branch_q_kvar",
    "branch_p_to_kw",
    "branch_q_to_kvar",
    "v_pu",
    "loading",
    "angle_deg",
)
#: Fields that a method fills, by quantity, in the order in which its kernel takes them; it leaves the others None.
FILLS: dict[str, dict[str, tuple[str, ...]]] = {
    "dc": {name: (name,) for name in ("branch_p_kw", "branch_p_to_kw", "loading", "angle_deg")},
    "linear": {name: (name,) for name in QUANTITIES},
    "certified": {
        "branch_p_kw": ("branch_p_lo_kw", "branch_p_hi_kw"),
        "branch_q_kvar": ("branch_q_lo_kvar", "branch_q_hi_kvar"),
        "v_pu": ("v_lo_pu", "v_hi_pu"),
        "loading": ("loading_hi", "i_hi_ka"),
    },
    "ac": {name: (name,) for name in QUANTITIES},
}


@dataclass(frozen=True, slots=True, eq=False)
class PowerFlowResult:
    """Flows and voltages of all steps; a field that was not asked for, or that the method does not know, is None.

    All fields but the status are float64, or float32 where the call asked for that.

    Attributes
    ----------
    method : str
    status : ndarray of uint8, shape (n_steps,)
        0 solved, 1 not converged or not certified, 2 voltage collapse; the worst over all trees. Subtrees that are not
        solved hold NaN in that step, the others are valid; with loops or PV nodes the whole network is one subtree.
    branch_p_kw, branch_q_kvar : ndarray, shape (n_branches, n_steps)
        Power that enters the branch at its from end. [kW, kvar]
    branch_p_to_kw, branch_q_to_kvar : ndarray, shape (n_branches, n_steps)
        Power that enters the branch at its to end (negative where it leaves). [kW, kvar]
    v_pu, angle_deg : ndarray, shape (n_nodes, n_steps)
        Voltage magnitude and angle. [pu, degree]
    loading : ndarray, shape (n_branches, n_steps)
        Larger end current over rated current, s_max / (sqrt(3) v_nom); 1 is fully loaded, 0 where there is no limit.
        Where power flows from to_id to from_id the limit is `s_max_reverse_kva`.
    branch_p_lo_kw, branch_p_hi_kw, branch_q_lo_kvar, branch_q_hi_kvar : ndarray, shape (n_branches, n_steps)
        Certified bounds of `branch_p_kw` and `branch_q_kvar`. [kW, kvar]
    v_lo_pu, v_hi_pu : ndarray, shape (n_nodes, n_steps)
        Certified bounds of the voltage. [pu]
    loading_hi, i_hi_ka : ndarray, shape (n_branches, n_steps)
        Certified upper bounds of the loading, and of the larger end current, referred to the nominal voltage of the
        from end. [-, kA]
    """

    method: str
    status: npt.NDArray[np.uint8]
    branch_p_kw: Array | None = None
    branch_q_kvar: Array | None = None
    branch_p_to_kw: Array | None = None
    branch_q_to_kvar: Array | None = None
    v_pu: Array | None = None
    angle_deg: Array | None = None
    loading: Array | None = None
    branch_p_lo_kw: Array | None = None
    branch_p_hi_kw: Array | None = None
    branch_q_lo_kvar: Array | None = None
    branch_q_hi_kvar: Array | None = None
    v_lo_pu: Array | None = None
    v_hi_pu: Array | None = None
    loading_hi: Array | None = None
    i_hi_ka: Array | None = None

    @property
    def converged(self) -> bool:
        """True if every step was solved."""
        return not self.status.any()

    @property
    def certified(self) -> npt.NDArray[np.bool_]:
        """Steps whose bounds are proved, shape (n_steps,); False everywhere for methods that give no bounds."""
        if self.method != "certified":
            return np.zeros(self.status.shape, np.bool_)
        return np.equal(self.status, 0)

    def held(self) -> list[str]:
        """Names of the fields that hold an array of values."""
        return [name for name in FIELDS if getattr(self, name) is not None]


#: All fields with values of branches or nodes.
FIELDS = tuple(dict.fromkeys(name for fills in FILLS.values() for names in fills.values() for name in names))
#: Those of nodes; the others are of branches.
OF_NODES = frozenset(("v_pu", "angle_deg", "v_lo_pu", "v_hi_pu"))
