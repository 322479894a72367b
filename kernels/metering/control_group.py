"""Control group: what PODs without event drew on the same day, and which of them resemble a POD."""

import numpy as np

from flexcore.kernels._jit import (
    B1,
    B1_2D,
    B1_3D,
    F64_2D_OUT,
    I32_2D,
    I32_2D_OUT,
    I32_3D,
    I64,
    I64_2D,
    I64_2D_OUT,
    U8_OUT,
    U64,
    i64,
    kernel,
    u64,
)
from flexcore.kernels.metering.day_distance import FARTHEST, mean_distance
from flexcore.kernels.metering.events import FEWER, MISSING
from flexcore.kernels.metering.readings import draw

_CONTROL = np.uint64(4)


@kernel(I32_2D, B1, B1_2D, I64_2D, I64, i64, i64, i64, F64_2D_OUT, U8_OUT)
def control_mean(control, barred, control_excluded, members, units, min_controls, i0, i1, raw_out, status_out):
    """Mean load of the members of groups i0..i1, times `units`; row 0 of `raw_out` is group i0, NaN where too few.

    `members` holds rows of `control`, -1 for none. A barred member (one with an event) counts for nothing.
    """
    n_steps = control.shape[1]
    total = np.empty(n_steps, np.int64)
    count = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        for t in range(n_steps):
            total[t] = 0
            count[t] = 0
        lost = np.int64(0)
        for k in range(members.shape[1]):
            c = members[i, k]
            if c < 0 or barred[c]:
                lost += 1
                continue
            x = c if control_excluded.shape[0] > 1 else 0
            for t in range(n_steps):
                read = control[c, t] != MISSING and not (control_excluded.shape[0] > 0 and control_excluded[x, t])
                total[t] += control[c, t] if read else 0
                count[t] += read
        for t in range(n_steps):
            enough = count[t] >= min_controls
            raw_out[i - i0, t] = total[t] / max(count[t], 1) * units[i] if enough else np.nan
        status_out[i - i0] = FEWER if lost > 0 else 0


@kernel(I32_3D, B1_2D, B1_3D, i64, i64, I32_2D_OUT)
def mean_profile(history, eligible, excluded, i0, i1, profile_out):
    """Mean load of the eligible days of PODs i0..i1 in each quarter-hour, rounded half to even."""
    n_days, n_steps = history.shape[1], history.shape[2]
    has_excluded = excluded.shape[0] > 0
    total = np.empty(n_steps, np.int64)
    count = np.empty(n_steps, np.int64)
    for i in range(i0, i1):
        z = i if eligible.shape[0] > 1 else 0
        x = i if excluded.shape[0] > 1 else 0
        for t in range(n_steps):
            total[t] = 0
            count[t] = 0
        for d in range(n_days):
            if not eligible[z, d]:
                continue
            for t in range(n_steps):
                read = history[i, d, t] != MISSING and not (has_excluded and excluded[x, d, t])
                total[t] += history[i, d, t] if read else 0
                count[t] += read
        for t in range(n_steps):
            mean = np.rint(total[t] / max(count[t], 1))
            profile_out[i, t] = np.int32(mean) if count[t] > 0 else MISSING


@kernel(I32_2D, I32_2D, B1, i64, i64, I64_2D_OUT)
def nearest_controls(profile, control_profile, barred, i0, i1, members_out):
    """Rows of the controls whose mean profiles are nearest to those of PODs i0..i1; ties: the lower row; -1: none."""
    n_steps = profile.shape[1]
    n_members = members_out.shape[1]
    distance = np.empty(n_members, np.int64)
    whole = np.empty(control_profile.shape[0], np.bool_)
    for c in range(control_profile.shape[0]):
        lowest = np.int32(0)
        for t in range(n_steps):
            lowest = min(lowest, control_profile[c, t])
        whole[c] = lowest != MISSING
    for i in range(i0, i1):
        own = profile[i]
        n_wanted = np.int64(0)
        for t in range(n_steps):
            n_wanted += own[t] != MISSING
        n = 0
        for c in range(control_profile.shape[0]):
            if barred[c]:
                continue
            other = control_profile[c]
            total = np.int64(0)
            n_both = n_wanted
            if n_wanted == n_steps and whole[c]:
                for t in range(n_steps):
                    total += abs(np.int64(own[t]) - np.int64(other[t]))
            else:
                n_both = np.int64(0)
                for t in range(n_steps):
                    both = own[t] != MISSING and other[t] != MISSING
                    difference = abs(np.int64(own[t]) - np.int64(other[t]))
                    total += difference if both else 0
                    n_both += both
            here = mean_distance(total, n_both, n_wanted)
            if here == FARTHEST or (n == n_members and here >= distance[n - 1]):
                continue
            place = min(n, n_members - 1)
            while place > 0 and distance[place - 1] > here:
                distance[place] = distance[place - 1]
                members_out[i, place] = members_out[i, place - 1]
                place -= 1
            distance[place] = here
            members_out[i, place] = c
            n = min(n + 1, n_members)
        for k in range(n, n_members):
            members_out[i, k] = -1


@kernel(U64, U64, B1, u64, i64, i64, I64_2D_OUT)
def random_controls(pod_key, control_key, barred, seed, i0, i1, members_out):
    """Rows of controls drawn for PODs i0..i1: those with the least hash of (seed, POD, control); -1: none left."""
    n_members = members_out.shape[1]
    drawn = np.empty(n_members, np.uint64)
    for i in range(i0, i1):
        n = 0
        for c in range(control_key.size):
            if barred[c]:
                continue
            here = draw(seed, pod_key[i], control_key[c], _CONTROL)
            if n == n_members and here >= drawn[n - 1]:
                continue
            place = min(n, n_members - 1)
            while place > 0 and drawn[place - 1] > here:
                drawn[place] = drawn[place - 1]
                members_out[i, place] = members_out[i, place - 1]
                place -= 1
            drawn[place] = here
            members_out[i, place] = c
            n = min(n + 1, n_members)
        for k in range(n, n_members):
            members_out[i, k] = -1
