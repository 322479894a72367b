"""Random small selections with conditions, as cases of the reference and as tables for `clear`."""

import math

import numpy as np

from flexcore.tables.bids import NEVER
from tests.reference.market_bids import NEED, ROW, choices_of, parts_of, path

MOST = 4_000  # combinations of one part that the reference tries


def size_of(case):
    """Combinations of the largest part."""
    return max(
        (math.prod(len(options) for _, options in choices_of(case, rows)) for rows, _, _ in parts_of(case)), default=0
    )


def random_case(rng, *, features, most_bids=12, negative=False):
    """A case with these features; too large ones lose their last bids."""
    n = int(rng.integers(1, 6))
    parent = {i: (None if i == 0 or rng.random() < 0.15 else int(rng.integers(0, i))) for i in range(n)}
    n_steps = int(rng.integers(1, 4)) if features & {"block", "rebound", "day", "window"} else int(rng.integers(1, 3))
    case = {"parent": parent, "needs": [], "limits": [], "rows": []}
    for step in range(n_steps):
        for element in parent:
            for direction in (0, 1):
                if rng.random() < (0.45 if direction == 0 else 0.15):
                    case["needs"].append({**NEED, "element": element, "direction": direction, "step": step,
                                          "w": int(rng.integers(1, 9)), "id": len(case["needs"])})  # fmt: skip
                if rng.random() < 0.3:
                    case["limits"].append(
                        {"element": element, "direction": direction, "step": step, "w": int(rng.integers(0, 10))}
                    )
    for need in case["needs"]:
        others = [o["id"] for o in case["needs"] if o["step"] == need["step"] and o["id"] < need["id"]]
        if "condition" in features and others and rng.random() < 0.4:
            need["condition"] = int(rng.choice(others))
        if "cap" in features and rng.random() < 0.5:
            need["cap"] = int(rng.integers(1, 25))
    for offer in range(int(rng.integers(2, most_bids + 1))):
        case["rows"] += random_bid(rng, case, offer, n_steps, features, negative)
    while size_of(case) > MOST:
        last = case["rows"][-1]["number"]
        case["rows"] = [row for row in case["rows"] if row["number"] != last]
    return case


def random_bid(rng, case, offer, n_steps, features, negative):
    """Rows of one bid: a block with or without rebound, or a line with one or more price steps in some steps."""
    row = {**ROW, "offer": 100 * offer, "number": offer, "time": int(rng.integers(0, 4)),
           "element": int(rng.choice(list(case["parent"]))), "direction": int(rng.random() < 0.3)}  # fmt: skip
    if features & {"step", "day"} and rng.random() < 0.5:
        # a group counts by step or by day, whoever is in it
        group = int(rng.integers(0, 3))
        scopes = sorted(features & {"step", "day"})
        row |= {"exclusive": group, "scope": scopes[group % len(scopes)]}
    if "window" in features and rng.random() < 0.6:
        row |= {"unit": f"u{offer}", "recovery": int(rng.integers(0, 3)), "max_run": int(rng.integers(1, 3))}

    if "places" in features and rng.random() < 0.5:
        row["places"] = random_places(rng, case["parent"], row["element"])

    def price():
        return int(rng.integers(-6 if negative else 1, 20))

    rows = []
    if "block" in features and row["places"] is None and rng.random() < 0.5:
        kind, size = rng.random(), int(rng.integers(1, 4))
        for k in range(int(rng.integers(1, 4))):
            w = size * int(rng.integers(1, 4))
            rows.append({**row, "offer": 100 * offer + k, "block": offer, "step": int(rng.integers(0, n_steps)), "w": w,
                         "element": row["element"] if rng.random() < 0.7 else int(rng.choice(list(case["parent"]))),
                         "price": price(), "min": w if kind < 0.5 else int(rng.integers(0, w + 1))})  # fmt: skip
        if "rebound" in features and rng.random() < 0.7:
            rows.append({**rows[0], "offer": 100 * offer + 50, "role": "rebound", "direction": 1 - row["direction"],
                         "step": int(rng.integers(0, n_steps)), "w": size * int(rng.integers(1, 3)), "min": 0,
                         "price": 0, "exclusive": None, "unit": None, "recovery": 0, "max_run": 10**6})  # fmt: skip
        return rows
    steps = [t for t in range(n_steps) if rng.random() < 0.6] or [0]
    for step in steps:
        curve = int(rng.integers(1, 4)) if "curve" in features and rng.random() < 0.5 else 1
        power = rng.integers(1, 6, 1 if row["places"] else curve).tolist()
        if row["places"]:
            power = [min(power[0], sum(row["places"].values()))]
        curve = len(power)
        gran = int(rng.integers(2, 4)) if "granularity" in features and rng.random() < 0.5 else 1
        least = sum(power) if rng.random() < 0.4 else int(rng.integers(0, sum(power) + 1))
        if "minimum" not in features or rng.random() < 0.3 or least > sum(power) // gran * gran:
            least = 0
        costs = [price() for _ in power]
        rows += [
            {**row, "step": step, "pstep": k, "w": power[k], "price": costs[k], "min": least, "gran": gran}
            for k in range(curve)
        ]
    return rows


def random_places(rng, parent, top):
    """Powers at some elements at and below another."""
    below = [element for element in parent if top in path({"parent": parent}, element)]
    chosen = rng.permutation(below)[: int(rng.integers(1, len(below) + 1))]
    return {int(element): int(rng.integers(1, 5)) for element in chosen}


def tables_of(case, scale=1):
    """Arguments of `clear`: powers times `scale`, which blocks keep as their granularity."""
    rows, needs, limits = case["rows"], case["needs"], case["limits"]

    def column(table, key, default=None):
        return [default if row[key] is None else row[key] for row in table]

    units = {name: k for k, name in enumerate(sorted({row["unit"] for row in rows if row["unit"] is not None}))}
    offers = {
        "offer_id": column(rows, "offer"),
        "element": column(rows, "element"),
        "direction": column(rows, "direction"),
        "step": column(rows, "step"),
        "quantity_w": [row["w"] * scale for row in rows],
        "price_ueur_per_mwh": column(rows, "price"),
        "submitted_at": column(rows, "time"),
        "price_step": column(rows, "pstep"),
        "min_w": [row["min"] * scale for row in rows],
        "granularity_w": [row["gran"] * scale if row["gran"] > 1 or row["block"] is not None else 1 for row in rows],
        "block": column(rows, "block", -1),
        "role": column(rows, "role"),
        "exclusive": column(rows, "exclusive", -1),
        "exclusive_scope": column(rows, "scope"),
        "unit": [-1 if row["unit"] is None else units[row["unit"]] for row in rows],
        "recovery_s": [900 * row["recovery"] for row in rows],
        "max_run_s": [min(900 * row["max_run"], 2**31) for row in rows],
    }
    wanted = {
        "element": column(needs, "element"),
        "direction": column(needs, "direction"),
        "step": column(needs, "step"),
        "quantity_w": [need["w"] * scale for need in needs],
        "need_id": column(needs, "id"),
        "condition": column(needs, "condition", -1),
        "cap_ueur_per_mwh": column(needs, "cap", NEVER),
    }
    caps = {
        "element": column(limits, "element"),
        "direction": column(limits, "direction"),
        "step": column(limits, "step"),
        "capability_w": [limit["w"] * scale for limit in limits],
    }
    above = {
        "element": list(case["parent"]),
        "parent": [i if up is None else up for i, up in case["parent"].items()],
    }
    spots = {(row["offer"], place): power for row in rows for place, power in (row["places"] or {}).items()}
    places = {
        "offer_id": [offer for offer, _ in spots],
        "element": [place for _, place in spots],
        "power_w": [power * scale for power in spots.values()],
    }
    return {
        "offers": {name: np.array(values) for name, values in offers.items()},
        "needs": {name: np.array(values) for name, values in wanted.items()},
        "limits": {name: np.array(values, int) for name, values in caps.items()},
        "parent": above,
        "places": {name: np.array(values) for name, values in places.items()} if spots else None,
    }
