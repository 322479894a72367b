"""Seeded random numbers that depend on what they are for, not on when they are drawn.

Every draw is a hash of (seed, stream, keys), a counter-based generator: the number of a POD on a day is the same
whatever other PODs exist, in whatever order they stand and however many days were drawn before.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the SplitMix64 finaliser (Steele, Lea and Flood, 2014): 64 bits in, 64 well-mixed bits out."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def bits(seed: int, stream: str, *keys: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each combination of the broadcast integer keys."""
    state = np.array([seed % 2**64], np.uint64)
    for letter in stream.encode():
        state = _mix(state ^ np.uint64(letter))
    for key in keys:
        state = _mix(state ^ np.asarray(key).astype(np.int64).view(np.uint64))
    return state.reshape(np.broadcast_shapes(*map(np.shape, keys)))


def uniform(seed: int, stream: str, *keys: npt.ArrayLike) -> Floats:
    """Return uniform numbers in [0, 1), 53 bits."""
    return np.asarray((bits(seed, stream, *keys) >> np.uint64(11)) * 2.0**-53, np.float64)


def normal(seed: int, stream: str, *keys: npt.ArrayLike) -> Floats:
    """Return standard normal numbers by Box and Muller from the two halves of one hash."""
    drawn = bits(seed, stream, *keys)
    first = ((drawn >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
    second = (drawn & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0**-32 * 2.0 * np.pi)
    return np.asarray(np.sqrt(-2.0 * np.log(first)) * np.cos(second), np.float64)


def choice(u: npt.ArrayLike, weights: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return positions drawn with the given weights from uniform numbers."""
    edges = np.cumsum(np.asarray(weights, np.float64))
    return np.minimum(np.searchsorted(edges / edges[-1], u, side="right"), len(edges) - 1).astype(np.int64)


def hourly_walk(seed: int, stream: str, n_quarters: int, rho: float, *keys: npt.ArrayLike) -> Floats:
    """Return autocorrelated noise along a day: AR(1) knots every hour, linear between them.

    Parameters
    ----------
    n_quarters : int
        Length of the day on the clock, a multiple of 4.
    rho : float
        Correlation of one hour with the next.
    *keys : array_like of int, shape (n,)
        One walk per row.

    Returns
    -------
    ndarray, shape (n, n_quarters)
        Standard deviation 1 at the knots and at least sqrt((1 + rho) / 2) between them.
    """
    n_knots = n_quarters // 4 + 1
    columns = [np.asarray(key).reshape(-1, 1) for key in keys]
    knots = normal(seed, stream, *columns, np.arange(n_knots))
    gain = np.sqrt(1.0 - rho * rho)
    for hour in range(1, n_knots):
        knots[:, hour] = rho * knots[:, hour - 1] + gain * knots[:, hour]
    walk = np.empty((knots.shape[0], n_knots - 1, 4))
    for quarter in range(4):
        part = (quarter + 0.5) / 4.0
        walk[:, :, quarter] = (1.0 - part) * knots[:, :-1] + part * knots[:, 1:]
    return walk.reshape(knots.shape[0], n_quarters)
