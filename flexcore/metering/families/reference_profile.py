"""Fixed reference: a profile that the operator sets for each class of devices."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, ValidationError
from flexcore.metering.baseline_result import BaselineResult
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.families.event_day import EventDay, Floats
from flexcore.metering.readings import as_power_w

#: Devices of one POD, or members of one group: products with 32-bit watts stay exact in float64.
MOST_UNITS = 1 << 20


def as_rows(values: npt.ArrayLike, name: str, n_rows: int) -> npt.NDArray[np.int64]:
    """Return positions of rows, each in 0..n_rows-1, or refuse them by FX-B031 with the PODs' rows."""
    rows = np.asarray(as_int(values, name, shape=(None,)))
    bad = np.flatnonzero((rows < 0) | (rows >= n_rows))
    if bad.size:
        found = Findings(name, len(rows))
        found.add("FX-B031", f"{name} points outside 0..{n_rows - 1} for {bad.size} PODs", field=name, rows=bad)
        found.raise_errors(ValidationError)
    return rows


def reference_profile(
    rule: BaselineRule,
    reference_w: npt.ArrayLike,
    reference_of: npt.ArrayLike,
    units: npt.ArrayLike | None,
    day: EventDay,
) -> BaselineResult:
    """Multiply the profile of each POD's class by its number of devices."""
    from flexcore.kernels.metering import reference_profile as kernels

    profile = as_power_w(reference_w, "reference_w", shape=(None, None))
    rows = as_rows(reference_of, "reference_of", len(profile))
    n = as_units(units, len(rows))

    def family(i0: int, i1: int, raw: Floats, result: BaselineResult) -> None:
        kernels.reference_profile(profile, rows, n, i0, i1, raw)
        result.status[i0:i1] = 0

    return day.adjusted(rule, (len(rows), 0, profile.shape[1]), family)


def as_units(units: npt.ArrayLike | None, n_pods: int) -> npt.NDArray[np.int64]:
    """Return the number of devices or members of each row; one each if not given."""
    if units is None:
        return np.ones(n_pods, np.int64)
    return np.asarray(as_int(units, "units", shape=(n_pods,), lo=0, hi=MOST_UNITS))
