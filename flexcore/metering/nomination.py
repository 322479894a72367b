"""The gate of nominated baselines: a BSP may declare tomorrow's baseline until then, and not after (BAS-03)."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, TimeSeriesError
from flexcore.market_day import MarketDay
from flexcore.metering.readings import MISSING_W, Int32s

#: Clock time of the gate on the day before delivery: SSEN Transition's noon, which lies before LFP_1 (D4.1 6.3).
GATE = dt.time(12)


def gate_of(day: MarketDay, gate: dt.time = GATE) -> dt.datetime:
    """Return the time with zone at which nominations for `day` close: clock time `gate` on the day before."""
    zone = day.start().tzinfo
    return dt.datetime.combine(day.date - dt.timedelta(days=1), gate, zone)


def nominate(
    baseline_w: npt.ArrayLike,
    submitted: Sequence[dt.datetime],
    *,
    pods: Sequence[Any],
    day: MarketDay,
    gate: dt.time = GATE,
) -> Int32s:
    """Take nominated baselines that came before the gate; one late row refuses all of them.

    Parameters
    ----------
    baseline_w : array_like of int, shape (n_pods, n_steps)
        Declared mean power, positive = withdrawal. [W]
    submitted : sequence of datetime with a zone, length n_pods
        When the BSP sent each row.
    pods : sequence, length n_pods
        Keys that errors name.
    day : MarketDay
        Delivery day.
    gate : datetime.time
        Clock time on the day before; a nomination must come before it.

    Returns
    -------
    ndarray of int32, shape (n_pods, n_steps)
        To be passed to `baseline` as `nominated_w`.

    Raises
    ------
    TimeSeriesError
        FX-T001 a time without zone, FX-T002 wrong number of quarter-hours, FX-B005 at or after the gate.
    """
    power = as_int(baseline_w, "baseline_w", dtype=np.int32, shape=(len(pods), None), lo=MISSING_W + 1)
    day.check_steps(power.shape[1], "baseline_w")
    found = Findings("nominations", len(pods))
    if len(submitted) != len(pods):
        found.add("FX-A001", f"{len(pods)} PODs but {len(submitted)} times of submission")
        found.raise_errors(TimeSeriesError)
    naive = [row for row, time in enumerate(submitted) if getattr(time, "tzinfo", None) is None]
    if naive:
        found.add(
            "FX-T001",
            f"{len(naive)} times have no time zone",
            rows=naive,
            ids=[pods[row] for row in naive],
            hint="pass tz-aware datetimes",
        )
        found.raise_errors(TimeSeriesError)
    closes = gate_of(day, gate)
    late = [row for row, time in enumerate(submitted) if time >= closes]
    if late:
        found.add(
            "FX-B005",
            f"{len(late)} nominations came at or after {closes.isoformat()}",
            rows=late,
            ids=[pods[row] for row in late],
            hint="the baseline of the day after can be changed until the gate (D4.1 7.2)",
        )
    found.raise_errors(TimeSeriesError)
    return np.asarray(power)
