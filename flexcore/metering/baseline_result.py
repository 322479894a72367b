"""What a baseline method gives: the baseline, how far the rule could be followed, and the days it used."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import output
from flexcore.errors import Findings
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.readings import Bools, Int32s

#: Bits of `BaselineResult.status`.
FEWER_DAYS, NO_BASELINE, UNADJUSTED, GUARDED, GAP, OVERFLOW, WIDENED, BORROWED = 1, 2, 4, 8, 16, 32, 64, 128
#: Bit to meaning.
STATUS: dict[int, str] = {
    FEWER_DAYS: "less to go by than the rule asks for: reference days, sides of the event, members of the control "
    "group, or temperatures that tell a term of the regression apart",
    NO_BASELINE: "too few reference days, or no reading around an event: no baseline",
    UNADJUSTED: "an event has no usable quarter-hour in its adjustment window: it is not adjusted",
    GUARDED: "a multiplicative adjustment was not sound and the additive one was taken",
    GAP: "some quarter-hour has nothing to take a baseline from: missing there",
    OVERFLOW: "some quarter-hour does not fit 32 bits: missing there",
    WIDENED: "a reference day comes from the widened look-back",
    BORROWED: "a candidate is an event day, borrowed because other days were too few",
}


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """Baselines of one market day; stands for `baseline_w` where an array is expected.

    Attributes
    ----------
    baseline_w : ndarray of int32, shape (n_pods, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. [W]
    status : ndarray of uint8, shape (n_pods,)
        Bits of `STATUS`; 0 where the rule could be followed to the letter.
    days_used : ndarray of bool, shape (n_pods, n_days)
        Reference days that were averaged or fitted.
    rule : BaselineRule
    """

    baseline_w: Int32s
    status: npt.NDArray[np.uint8]
    days_used: Bools
    rule: BaselineRule

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.baseline_w, dtype=dtype, copy=copy)

    @property
    def has_baseline(self) -> Bools:
        """True for PODs that have a baseline in every quarter-hour, shape (n_pods,)."""
        return np.asarray((self.status & (NO_BASELINE | GAP | OVERFLOW)) == 0)


def result_arrays(
    out: BaselineResult | None, rule: BaselineRule, n_pods: int, n_days: int, n_steps: int
) -> BaselineResult:
    """Return `out` if it fits, or a new result whose arrays are still to be written."""
    if out is not None and out.rule != rule:
        found = Findings("out")
        found.add("FX-A005", "out comes from a call of another rule", hint="leave it out, or pass the rule that it has")
        found.raise_errors()
    power, status, used = (None, None, None) if out is None else (out.baseline_w, out.status, out.days_used)
    fitting = BaselineResult(
        output(power, "out.baseline_w", shape=(n_pods, n_steps), dtype=np.int32),
        output(status, "out.status", shape=(n_pods,), dtype=np.uint8),
        output(used, "out.days_used", shape=(n_pods, n_days), dtype=np.bool_),
        rule,
    )
    return fitting if out is None else out


def check_apart(out: BaselineResult, inputs: Iterable[object]) -> None:
    """Refuse by FX-A005 a result whose arrays overlap an input: it would be read after it was overwritten."""
    # a result, a buffer or a column may stand for an array and share its memory; lists and numbers share none
    given = tuple(
        np.asarray(one) for one in inputs if one is not None and not isinstance(one, list | tuple | float | int)
    )
    for name in ("baseline_w", "status", "days_used"):
        array = getattr(out, name)
        output(array, f"out.{name}", shape=array.shape, dtype=array.dtype, inputs=given)
