"""Quarter-hours without activation take the reading itself as baseline, so that nothing is delivered in them."""

import numpy as np

from flexcore.kernels._jit import B1_2D, I32_2D, I32_2D_OUT, U8_OUT, i64, kernel
from flexcore.kernels.metering.events import GAP, MISSING, OVERFLOW


@kernel(I32_2D, B1_2D, i64, i64, I32_2D_OUT, U8_OUT)
def metered_where_idle(today, event, i0, i1, baseline_out, status_out):
    """Overwrite the quarter-hours of PODs i0..i1 outside events; a POD without event keeps no status but a gap."""
    for i in range(i0, i1):
        e = i if event.shape[0] > 1 else 0
        n_event = np.int64(0)
        open_events = np.int64(0)
        open_idle = np.int64(0)
        for t in range(today.shape[1]):
            if event.shape[0] > 0 and event[e, t]:
                n_event += 1
                open_events += baseline_out[i, t] == MISSING
            else:
                baseline_out[i, t] = today[i, t]
                open_idle += today[i, t] == MISSING
        status = np.int64(status_out[i]) if n_event > 0 else np.int64(0)
        if open_events == 0:
            status &= ~np.int64(GAP | OVERFLOW)
        status_out[i] = status | (GAP if open_idle > 0 else 0)
