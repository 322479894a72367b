"""Delivered volume: what a POD or an aggregate did against its baseline, in the direction that was ordered."""

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.metering.readings import as_power_w

#: Marks a quarter-hour whose delivery is not known: no reading or no baseline.
MISSING_DELIVERED = int(np.iinfo(np.int64).min)

Int64s = npt.NDArray[np.int64]

_CHUNK = 4096


def delivered_volume(
    baseline_w: npt.ArrayLike,
    metered_w: npt.ArrayLike,
    *,
    direction: npt.ArrayLike,
    clip: bool = False,
    n_threads: int = 1,
) -> Int64s:
    """Return baseline minus metered for up, metered minus baseline for down.

    Parameters
    ----------
    baseline_w, metered_w : array_like of int, shape (n_rows, n_steps)
        Positive = withdrawal; `MISSING_W` where there is none. [W]
    direction : array_like of int, shape (n_rows,) or one number
        `units.UP` or `units.DOWN`.
    clip : bool
        True: a POD that moved the wrong way counts as zero. False (default): it counts against its aggregate.
    n_threads : int

    Returns
    -------
    ndarray of int64, shape (n_rows, n_steps)
        Delivered power; in quarter-hours the same number is energy in wqh. `MISSING_DELIVERED` where unknown. [W]

    Notes
    -----
    d = s (B - M) with s = +1 for up and -1 for down: the sign of D4.1 Table 6.
    """
    from flexcore.kernels.metering.delivery import delivered_volume as kernel

    baseline = as_power_w(baseline_w, "baseline_w", shape=(None, None))
    metered = as_power_w(metered_w, "metered_w", shape=baseline.shape)
    way = int_per_row(direction, "direction", len(baseline), dtype=np.int8, lo=0, hi=1)
    delivered = np.empty(baseline.shape, np.int64)

    def task(i0: int, i1: int) -> None:
        kernel(baseline, metered, way, int(clip), i0, i1, delivered)

    run_chunks(task, len(baseline), n_threads=n_threads, chunk=_CHUNK)
    return delivered


def net_by_aggregate(delivered_w: npt.ArrayLike, aggregate: npt.ArrayLike, n_aggregates: int) -> tuple[Int64s, Int64s]:
    """Sum delivered power over the rows of each aggregate; unknown quarter-hours count as zero and are counted.

    Parameters
    ----------
    delivered_w : array_like of int64, shape (n_rows, n_steps)
    aggregate : array_like of int, shape (n_rows,)
        Position of each row's aggregate, 0..n_aggregates - 1.
    n_aggregates : int

    Returns
    -------
    net_w : ndarray of int64, shape (n_aggregates, n_steps)
    n_missing : ndarray of int64, shape (n_aggregates, n_steps)
        Rows whose delivery is not known.
    """
    found = Findings("net_by_aggregate")
    found.check_count("n_aggregates", n_aggregates, 0)
    found.raise_errors()
    delivered = as_int(delivered_w, "delivered_w", shape=(None, None))
    group = as_int(aggregate, "aggregate", shape=(len(delivered),), lo=0, hi=n_aggregates - 1)
    net = np.zeros((n_aggregates, delivered.shape[1]), np.int64)
    n_missing = np.zeros_like(net)
    if len(delivered):
        order = np.argsort(group, kind="stable")
        present, first = np.unique(group[order], return_index=True)
        unknown = delivered[order] == MISSING_DELIVERED
        net[present] = np.add.reduceat(np.where(unknown, 0, delivered[order]), first, axis=0)
        n_missing[present] = np.add.reduceat(unknown.astype(np.int64), first, axis=0)
    return net, n_missing
