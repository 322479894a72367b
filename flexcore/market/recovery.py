"""What an award leaves behind: the recovery time of a POD, and the energy that comes back (MUT-05)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.units import QUARTER_S

Int64s = npt.NDArray[np.int64]

_CHUNK = 4096  # PODs a chunk
_LARGEST_SHARE_PM = 2000
_LARGEST_W = 1 << 40  # times 1e5 steps and the largest share it stays far below 2^63


def recovery_steps(recovery_s: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Return recovery times in quarter-hours, begun ones counted whole, from seconds of any shape."""
    seconds = as_int(recovery_s, "recovery_s", lo=0, hi=np.iinfo(np.int32).max)
    return np.asarray(-(-seconds // QUARTER_S)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Rebound:
    """Energy that comes back after awards, positive = more withdrawal.

    Attributes
    ----------
    load_w : ndarray of int64, shape (n_pods, n_steps)
        To be added to the forecast of the day. [W]
    next_day_w : ndarray of int64, shape (n_pods, delay + n_back)
        What falls after the end of the day, from its first step on. Both together are the share of the awarded energy,
        exactly. [W]
    """

    load_w: Int64s
    next_day_w: Int64s


def rebound(
    awards_w: npt.ArrayLike, share_pm: npt.ArrayLike, *, n_back: int, delay: int = 0, n_threads: int = 1
) -> Rebound:
    """Work out the load that comes back after awards, as whole watts that add up exactly.

    Parameters
    ----------
    awards_w : array_like of int, shape (2, n_pods, n_steps)
        Standing awards upwards and downwards, of one operator or the sum of both. [W]
    share_pm : array_like of int, shape (n_pods,)
        Part of the energy that comes back with the opposite sign, 0 to 2000. [per mille]
    n_back, delay : int
        It is spread evenly over `n_back` quarter-hours, `delay` after the end of the award: a run of quarter-hours in
        one direction.
    n_threads : int

    Returns
    -------
    Rebound

    Raises
    ------
    ValidationError
        FX-A001, FX-A002, FX-A004, FX-A006 an array or a number of wrong shape, type, sign or range.

    Notes
    -----
    The share of a run is rounded half to even, once, to whole watt quarter-hours; its spread over time is cut by
    cumulative rounding. Rebounds of several runs add up. The energy content of a store is not followed: what an award
    needs of it must be in the power that the POD offers.
    """
    from flexcore.kernels.market.recovery import rebound as kernel

    awards = as_int(awards_w, "awards_w", shape=(2, None, None), lo=0, hi=_LARGEST_W)
    _, n_pods, n_steps = awards.shape
    share = as_int(share_pm, "share_pm", dtype=np.int32, shape=(n_pods,), lo=0, hi=_LARGEST_SHARE_PM)
    found = Findings("rebound")
    found.check_count("n_back", n_back, 1)
    found.check_count("delay", delay, 0)
    found.raise_errors()
    net = awards[0] - awards[1]
    out = np.empty((n_pods, n_steps + delay + n_back), np.int64)
    run_chunks(lambda lo, hi: kernel(net, share, delay, n_back, out, lo, hi), n_pods, n_threads=n_threads, chunk=_CHUNK)
    return Rebound(np.ascontiguousarray(out[:, :n_steps]), np.ascontiguousarray(out[:, n_steps:]))
