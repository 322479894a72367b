"""The TSO's selection one line at a time, from the rule text; and its optimum by linear programming."""

import numpy as np
from scipy.optimize import linprog


def select(lines, wanted, capability, price_cap):
    """Lines are dicts (id, price, time, direction, perimeter, zone, quantity); returns id -> accepted of one unit.

    `wanted` is signed per zone, `capability` per (direction, perimeter).
    """
    left = {zone: abs(value) for zone, value in wanted.items()}
    room = dict(capability)
    accepted = {}
    for line in sorted(lines, key=lambda line: (line["price"], line["time"], line["id"])):
        needed = 0 if wanted[line["zone"]] > 0 else 1
        key = (line["direction"], line["perimeter"])
        take = 0
        if wanted[line["zone"]] and line["direction"] == needed and line["price"] <= price_cap and key in room:
            take = min(line["quantity"], room[key], left[line["zone"]])
            room[key] -= take
            left[line["zone"]] -= take
        accepted[line["id"]] = take
    return accepted


def best(lines, wanted, capability, price_cap):
    """Largest volume and, for it, the least cost, over all selections that respect every limit."""
    usable = [
        line
        for line in lines
        if wanted[line["zone"]]
        and line["direction"] == (0 if wanted[line["zone"]] > 0 else 1)
        and line["price"] <= price_cap
        and (line["direction"], line["perimeter"]) in capability
    ]
    if not usable:
        return 0, 0
    groups = [("zone", zone, abs(value)) for zone, value in wanted.items()]
    groups += [("key", key, room) for key, room in capability.items()]
    rows, limits = [], []
    for kind, name, limit in groups:
        own = [line["zone"] if kind == "zone" else (line["direction"], line["perimeter"]) for line in usable]
        rows.append([float(x == name) for x in own])
        limits.append(limit)
    bounds = [(0, line["quantity"]) for line in usable]
    ones = np.ones(len(usable))
    most = linprog(-ones, A_ub=rows, b_ub=limits, bounds=bounds)
    price = np.array([line["price"] for line in usable], float)
    least = linprog(price, A_ub=rows, b_ub=limits, A_eq=[ones], b_eq=[-most.fun], bounds=bounds)
    return -most.fun, least.fun
