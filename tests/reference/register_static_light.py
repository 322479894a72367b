"""Static traffic light and its network check, one POD at a time."""

import math

LOAD = {"EV", "HEAT_PUMP", "BATTERY", "DEMAND", "EV_V2G"}
RAISES = {"BATTERY", "GENERATION", "EV_V2G"}
LOWERS = {"PV", "BATTERY", "GENERATION", "EV_V2G"}
NAMES = ["PV", "EV", "HEAT_PUMP", "BATTERY", "DEMAND", "GENERATION", "EV_V2G"]


def technologies(bits):
    return {name for place, name in enumerate(NAMES) if bits >> place & 1}


def pod_limit(direction, tech, contracted_in, contracted_out, peak_in, peak_out, headroom):
    """Least of connection, measurement and network; None where a peak is needed and not known."""
    load, inject = bool(tech & LOAD), bool(tech & (RAISES if direction == "up" else LOWERS))
    if not (load or inject):
        return 0
    by_load, by_injection = contracted_in if load else 0, contracted_out if inject else 0
    limits = [by_load + by_injection]
    if direction == "up" and load and peak_in is not None:
        if peak_in < 0:
            return None
        limits.append(min(by_load, peak_in) + by_injection)
    if direction == "down" and inject and peak_out is not None:
        if peak_out < 0:
            return None
        limits.append(by_load + min(by_injection, peak_out))
    if headroom is not None:
        limits.append(headroom)
    return min(limits)


def light(direction, declared, pod_of_unit, tech_of_unit, pods, min_w):
    """Validated power per unit; `pods` is a list of (contracted_in, contracted_out, peak_in, peak_out, headroom)."""
    validated = []
    for unit, power in enumerate(declared):
        siblings = [k for k in range(len(declared)) if pod_of_unit[k] == pod_of_unit[unit]]
        total = sum(declared[k] for k in siblings)
        tech = set().union(*(technologies(tech_of_unit[k]) for k in siblings))
        limit = pod_limit(direction, tech, *pods[pod_of_unit[unit]])
        if power == 0:
            validated.append((0, "NOT_DECLARED"))
        elif limit is None:
            validated.append((0, "INCOMPLETE"))
        elif min(limit, total) < min_w or limit == 0:
            validated.append((0, "INVALID"))
        elif limit >= total:
            validated.append((power, "CONFIRMED"))
        else:
            share = power * limit // total
            validated.append((share, "MODULATED" if 0 < share < power else "INVALID"))
    return validated


def path(parent, node):
    nodes = []
    while node >= 0:
        nodes.append(node)
        node = parent[node]
    return nodes


def headroom(parent, lower, upper, w_lower, w_upper, m, node, direction):
    """Largest x of one POD at `node`, by every row of one snapshot: the rows as they are written, nothing cleverer."""
    sign = 1 if direction == "up" else -1
    best = math.inf
    above = path(parent, node)
    for i in above:
        room = upper[i] if sign > 0 else -lower[i]
        if room >= 0:
            best = min(best, room)
    for other in range(len(parent)):
        shift = sign * sum(m[i] for i in path(parent, other) if i in above)
        if shift > 0 and w_upper[other] >= 0:
            best = min(best, w_upper[other] / shift)
        if shift < 0 and w_lower[other] <= 0:
            best = min(best, w_lower[other] / shift)
    return best
