"""Fixed reference: the profile of a POD's class, set by the operator, times the number of its devices."""

import numpy as np

from flexcore.kernels._jit import F64_2D_OUT, I32_2D, I64, i64, kernel
from flexcore.kernels.metering.events import MISSING


@kernel(I32_2D, I64, I64, i64, i64, F64_2D_OUT)
def reference_profile(profile, profile_of, units, i0, i1, raw_out):
    """Write what PODs i0..i1 have before adjustment; row 0 of `raw_out` is POD i0, NaN where the profile has none."""
    for i in range(i0, i1):
        row = profile_of[i]
        for t in range(profile.shape[1]):
            missing = profile[row, t] == MISSING
            raw_out[i - i0, t] = np.nan if missing else np.float64(profile[row, t]) * np.float64(units[i])
