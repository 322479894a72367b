"""Simulated readings: what meters show when orders are followed imperfectly.

Every draw is a hash of (seed, POD, quarter-hour, purpose), so no POD's draws depend on the order of the PODs, on a
chunk or on the length of the series. Only + - x / are used: the same bits on every machine.
"""

import numpy as np

from flexcore.kernels._jit import F64, I32_2D, I32_2D_OUT, U8_OUT, U64, f64, i64, inner, kernel, u64

LARGEST = 2.0**31 - 1.0
_DELIVERY, _PART, _NOISE = np.uint64(1), np.uint64(2), np.uint64(3)
# standard deviation of the sum of four uniform 16-bit numbers
_SPREAD = (4.0 * (65536.0 * 65536.0 - 1.0) / 12.0) ** 0.5


@inner
def mix(value):
    """Scramble 64 bits: the finaliser of splitmix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inner
def draw(seed, pod, quarter_hour, purpose):
    """Return 64 random bits for one POD, quarter-hour and purpose."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = mix(seed + golden)
    state = mix(state ^ (pod + golden))
    state = mix(state + quarter_hour * golden)
    return mix(state + purpose * golden)


@inner
def uniform(bits):
    """Turn 64 random bits into a float64 in [0, 1)."""
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inner
def bell(bits):
    """Turn 64 random bits into a number of mean 0 and variance 1: the sum of four uniform ones, at most 3.5 in size."""
    low = np.uint64(0xFFFF)
    total = (bits & low) + ((bits >> np.uint64(16)) & low) + ((bits >> np.uint64(32)) & low) + (bits >> np.uint64(48))
    return (np.float64(total) - 131070.0) / _SPREAD


@inner
def drawn_response(seed, pod, quarter_hour, non_delivery, partial, partial_least):
    """Draw the delivered part of one event: nothing, a part from `partial_least` to 1, or all."""
    chance = uniform(draw(seed, pod, quarter_hour, _DELIVERY))
    if chance < non_delivery:
        return 0.0
    if chance < non_delivery + partial:
        return partial_least + (1.0 - partial_least) * uniform(draw(seed, pod, quarter_hour, _PART))
    return 1.0


@kernel(
    I32_2D, I32_2D, U64, u64, i64, F64, f64, f64, f64, f64, F64, i64, i64, F64, i64, i64, I32_2D_OUT, U8_OUT,
)  # fmt: skip
def simulate(
    load, ordered, pod_key, seed, first_qh, response, non_delivery, partial, partial_least, noise, rebound_share,
    rebound_delay, rebound_steps, least, i0, i1, metered_out, overflow_out,
):  # fmt: skip
    """Readings of PODs i0..i1; `ordered` is positive for up (less load) and negative for down.

    `response` gives the delivered part of each POD's orders; without rows it is drawn for each event. `rebound_share`
    and `least` have one entry for each POD or one for all.
    """
    n_steps = load.shape[1]
    back = np.empty(n_steps, np.float64)
    for i in range(i0, i1):
        for t in range(n_steps):
            back[t] = 0.0
        share = rebound_share[i if rebound_share.size > 1 else 0]
        floor = least[i if least.size > 1 else 0]
        sign, factor, energy, carried = 0, 0.0, 0.0, 0.0
        overflow_out[i] = 0
        # in the order of time: what an order still finds depends on what came back before it
        for t in range(n_steps):
            now = 0 if ordered[i, t] == 0 else 1 if ordered[i, t] > 0 else -1
            if now != sign:
                # one event: neighbouring quarter-hours ordered in the same direction
                if sign != 0 and rebound_steps > 0:
                    each = energy * share / rebound_steps
                    for s in range(t + rebound_delay, min(t + rebound_delay + rebound_steps, n_steps)):
                        back[s] += each
                sign, energy = now, 0.0
                if response.size > 0:
                    factor = response[i]
                elif now != 0:
                    factor = drawn_response(
                        seed, pod_key[i], np.uint64(first_qh + t), non_delivery, partial, partial_least
                    )
            owed = back[t] + carried
            lowest = min(np.float64(load[i, t]), floor)
            delivered = 0.0
            if now != 0:
                wobble = 1.0 + noise * bell(draw(seed, pod_key[i], np.uint64(first_qh + t), _NOISE))
                delivered = min(ordered[i, t] * factor * wobble, load[i, t] + max(owed, 0.0) - lowest)
                energy += delivered
            change = owed - delivered
            # energy that cannot be given back now, because nothing is left to switch off, is given back later
            carried = min(load[i, t] + change - lowest, 0.0)
            value = np.rint(load[i, t] + (change - carried))
            if abs(value) > LARGEST:
                overflow_out[i] = 1
                value = 0.0
            metered_out[i, t] = np.int32(value)
