"""Offers with conditions from the rule text: every combination of whole watts is tried, and the best one is kept.

A case is a dict: `parent` (element to the element above, None at a root), `needs`, `limits` and `rows`, lists of dicts.
Times of recovery and of the longest run count in steps here.
"""

import itertools
import math

import numpy as np
from scipy.optimize import linprog

NEED = {"id": None, "condition": None, "cap": None}
ROW = {
    "pstep": 0, "time": 0, "min": 0, "gran": 1, "block": None, "role": "deliver", "exclusive": None, "scope": "day",
    "unit": None, "places": None, "recovery": 0, "max_run": 10**6,
}  # fmt: skip


def path(case, element):
    """Element, the one above it, and so on to the root."""
    while element is not None:
        yield element
        element = case["parent"][element]


def sign(row):
    return -1 if row["direction"] else 1


def bid_of(row):
    return ("block", row["block"]) if row["block"] is not None else ("offer", row["offer"])


def parts_of(case):
    """Sets of row numbers that must be decided together: one feeder and step, unless a condition couples several."""

    def cell(thing):
        return (list(path(case, thing["element"]))[-1], thing["step"])

    groups = {}
    for thing in [*case["rows"], *case["needs"]]:
        groups.setdefault(("cell", cell(thing)), set()).add(cell(thing))
    for need in case["needs"]:
        if need["condition"] is not None:
            named = [n for n in case["needs"] if n["id"] == need["condition"] and n["step"] == need["step"]]
            groups[("need", need["id"], need["step"])] = {cell(thing) for thing in [need, *named]}
    for row in case["rows"]:
        if row["block"] is not None:
            groups.setdefault(("block", row["block"]), set()).add(cell(row))
        if row["exclusive"] is not None:
            step = row["step"] if row["scope"] == "step" else None
            groups.setdefault(("exclusive", row["exclusive"], step), set()).add(cell(row))
        if row["recovery"] > 0 or row["max_run"] < 10**6:
            groups.setdefault(("unit", row["unit"] or bid_of(row)), set()).add(cell(row))
    sets = list(groups.values())
    merged = True
    while merged:
        merged = False
        for a, b in itertools.combinations(range(len(sets)), 2):
            if sets[a] & sets[b]:
                sets[a] |= sets.pop(b)
                merged = True
                break
    return [
        (
            [r for r, row in enumerate(case["rows"]) if cell(row) in cells],
            [j for j, need in enumerate(case["needs"]) if cell(need) in cells],
            cells,
        )
        for cells in sets
    ]


def choices_of(case, rows):
    """Yield (row numbers, possible amounts of these rows) for each block and each line of a part."""
    lines = {}
    for r in rows:
        row = case["rows"][r]
        key = (
            ("block", row["block"])
            if row["block"] is not None
            else (row["offer"], row["element"], row["direction"], row["step"])
        )
        lines.setdefault(key, []).append(r)
    for key, members in lines.items():
        table = [case["rows"][r] for r in members]
        if key[0] == "block":
            whole = math.gcd(*[row["w"] // row["gran"] for row in table])
            if whole:
                least = max(-(-row["min"] * whole // row["w"]) if row["w"] else 0 for row in table)
                shares = [k for k in range(whole + 1) if k == 0 or k >= least]
                yield members, [[row["w"] * k // whole for row in table] for k in shares]
            continue
        members = sorted(members, key=lambda r: case["rows"][r]["pstep"])
        total = sum(row["w"] for row in table)
        options = []
        for power in range(total + 1):
            if power % table[0]["gran"] == 0 and (power == 0 or power >= table[0]["min"]):
                rest, amounts = power, []
                for r in members:  # a price step is used once all before it are full
                    amounts.append(min(rest, case["rows"][r]["w"]))
                    rest -= amounts[-1]
                options.append(amounts)
        yield members, options


def combinations(case, rows):
    """Return all combinations of a part, shape (n, rows of the case): rows of other parts get nothing."""
    picks = list(choices_of(case, rows))
    index = list(itertools.product(*[range(len(options)) for _, options in picks]))
    index = np.array(index, int).reshape(len(index), len(picks))
    amounts = np.zeros((len(index), len(case["rows"])), np.int64)
    for column, (members, options) in enumerate(picks):
        amounts[:, members] = np.array(options, np.int64)[index[:, column]]
    return amounts


def allowed(case, rows, amounts):
    """Tell which combinations keep exclusive groups, rest and longest runs."""
    ok = np.ones(len(amounts), bool)
    groups, units = {}, {}
    for r in rows:
        row = case["rows"][r]
        if row["role"] == "rebound":
            continue
        taken = amounts[:, r] > 0
        if row["exclusive"] is not None:
            step = row["step"] if row["scope"] == "step" else None
            bids = groups.setdefault((row["exclusive"], step), {})
            bids[bid_of(row)] = bids.get(bid_of(row), False) | taken
        unit = units.setdefault(row["unit"] or bid_of(row), {"row": row, "on": {}})
        unit["on"][row["step"]] = unit["on"].get(row["step"], False) | taken
    for bids in groups.values():
        ok &= sum(on.astype(int) for on in bids.values()) <= 1
    for unit in units.values():
        if unit["row"]["recovery"] == 0 and unit["row"]["max_run"] >= 10**6:
            continue
        first, last = min(unit["on"]), max(unit["on"])
        for c in np.flatnonzero(ok):
            on = [t in unit["on"] and bool(unit["on"][t][c]) for t in range(first, last + 1)]
            runs = [(value, len(list(same))) for value, same in itertools.groupby(on)]
            too_long = any(value and length > unit["row"]["max_run"] for value, length in runs)
            rests = [length for value, length in runs[1:-1] if not value]
            ok[c] &= not too_long and all(length >= unit["row"]["recovery"] for length in rests)
    return ok


def bounds(case, element, step):
    """Return (least, most) of the net activation that may not be left, needs included where they replace a limit."""

    def given(table, direction):
        found = [x["w"] for x in case[table] if (x["element"], x["direction"], x["step"]) == (element, direction, step)]
        return found

    up, down = sum(given("needs", 0)), sum(given("needs", 1))
    most = min(given("limits", 0), default=None)
    least = min(given("limits", 1), default=None)
    high = 0 if down else most
    low = 0 if up else (None if least is None else -least)
    return low, high


def effect(case, row, element, amounts):
    """Return what a row is sure to move at and below an element and what it may move: OFR-01, linear inner form."""
    if row["places"] is None:
        here = amounts if element in path(case, row["element"]) else 0 * amounts
        return here, here
    inside = sum(power for place, power in row["places"].items() if element in path(case, place))
    outside = sum(row["places"].values()) - inside
    if row["min"] == row["w"]:
        return (amounts > 0) * max(0, row["w"] - outside), (amounts > 0) * min(row["w"], inside)
    return amounts * (outside == 0), amounts * (inside > 0)


def activation(case, amounts):
    """Return the net activation at and below each (element, step) that is sure, and the one that may come."""
    least, most = {}, {}
    for r, row in enumerate(case["rows"]):
        for element in case["parent"]:
            sure, burden = effect(case, row, element, amounts[..., r])
            at = element, row["step"]
            least[at] = least.get(at, 0) + (-burden if row["direction"] else sure)
            most[at] = most.get(at, 0) + (-sure if row["direction"] else burden)
    return least, most


def wanted(case, element, direction, step):
    """W that the needs at and below an element ask for together, nested ones once."""
    own = sum(n["w"] for n in case["needs"] if (n["element"], n["direction"], n["step"]) == (element, direction, step))
    children = [e for e, above in case["parent"].items() if above == element]
    return max(own, sum(wanted(case, child, direction, step) for child in children))


def served(case, y):
    """W of each need that are served; a need whose condition is not served in full is not served."""
    amounts = {}

    def of(j):
        if j not in amounts:
            need = case["needs"][j]
            net = y[need["direction"]].get((need["element"], need["step"]), 0)
            value = np.clip(net * sign(need), 0, need["w"])
            if need["condition"] is not None:
                k = next(
                    i for i, n in enumerate(case["needs"]) if n["id"] == need["condition"] and n["step"] == need["step"]
                )
                value = np.where(of(k) == case["needs"][k]["w"], value, 0)
            amounts[j] = value
        return amounts[j]

    return [of(j) for j in range(len(case["needs"]))]


def score(case, part, amounts, over_procurement="only_way"):
    """Return (broken, unserved, - conditional served, beyond the need, cost, lateness) of each combination."""
    rows, needs, cells = part
    y = activation(case, amounts)
    broken = ~allowed(case, rows, amounts)
    excess = np.zeros(len(amounts), np.int64)
    for root, step in cells:
        for element in case["parent"]:
            if list(path(case, element))[-1] != root:
                continue
            least, most = (table.get((element, step), np.zeros(len(amounts), np.int64)) for table in y)
            low, high = bounds(case, element, step)
            if low is not None:
                broken |= least < low
            if high is not None:
                broken |= most > high
            for direction in (0, 1):

                def asked(e, d=direction, t=step):
                    return any(n["w"] and (n["element"], n["direction"], n["step"]) == (e, d, t) for n in case["needs"])

                if asked(element) and not any(asked(e) for e in list(path(case, element))[1:]):
                    beyond = (-least if direction else most) - wanted(case, element, direction, step)
                    if over_procurement == "only_way":
                        excess += np.maximum(beyond, 0)
                    elif over_procurement != "least_cost":
                        broken |= beyond > over_procurement
    got = served(case, y)
    zero = np.zeros(len(amounts), np.int64)
    plain = [j for j in needs if case["needs"][j]["cap"] is None and case["needs"][j]["condition"] is None]
    more = [j for j in needs if case["needs"][j]["cap"] is None and case["needs"][j]["condition"] is not None]
    unserved = sum((case["needs"][j]["w"] - got[j] for j in plain), zero)
    conditional = sum((got[j] for j in more), zero)
    delivering = [r for r in rows if case["rows"][r]["role"] == "deliver" and case["rows"][r]["w"] > 0]
    raised = max(0, 1 - min((case["rows"][r]["price"] for r in delivering), default=1))
    cost = sum(((case["rows"][r]["price"] + raised) * amounts[:, r] for r in delivering), zero)
    cost = cost + sum(
        (case["rows"][r]["price"] * amounts[:, r] for r in rows if case["rows"][r]["role"] == "rebound"), zero
    )
    for j in needs:
        if case["needs"][j]["cap"] is not None:
            cost = cost + (case["needs"][j]["cap"] + raised) * (case["needs"][j]["w"] - got[j])
    late = zero
    order = sorted(
        delivering,
        key=lambda r: [case["rows"][r][k] for k in ("time", "offer", "element", "direction", "step", "pstep")],
    )
    for place, r in enumerate(order, 1):
        late = late + place * amounts[:, r]
    return np.stack([broken.astype(np.int64), unserved, -conditional, excess, cost, late])


def best(case, over_procurement="only_way"):
    """Return for each part the best (broken, unserved, - conditional served, beyond, cost, lateness)."""
    result = []
    for part in parts_of(case):
        keys = score(case, part, combinations(case, part[0]), over_procurement)
        result.append((part, tuple(keys[:, np.lexsort(keys[::-1])[0]].tolist())))
    return result


def local_price(case, r, accepted):
    """Price at the place of a row: of the dearest accepted row of its feeder whose W it could deliver instead.

    Or the cap of an open need that it could serve, infinite without a cap, if that is more. None if it could replace
    nobody. `accepted` is a list of W by row.
    """
    row = case["rows"][r]
    amounts = np.array([accepted])
    least, most = ({key: int(value[0]) for key, value in table.items()} for table in activation(case, amounts))
    got = [int(np.ravel(value)[0]) for value in served(case, activation(case, amounts))]
    way = sign(row)
    mine = list(path(case, row["element"]))

    def stands(changes):
        """Rows hold, and no need is served less, after these changes of the net activation."""
        for element, change in changes.items():
            if not change:
                continue
            before = (most if change > 0 else least).get((element, row["step"]), 0)
            low, high = bounds(case, element, row["step"])
            if change > 0 and high is not None and before + change > high:
                return False
            if change < 0 and low is not None and before + change < low:
                return False
            for need in case["needs"]:
                if (need["element"], need["step"]) == (element, row["step"]):
                    was, now = (min(max(value * sign(need), 0), need["w"]) for value in (before, before + change))
                    if now < was:
                        return False
        return True

    prices = []
    for j, need in enumerate(case["needs"]):
        counts = need["condition"] is None or any(
            got[i] == n["w"]
            for i, n in enumerate(case["needs"])
            if n["id"] == need["condition"] and n["step"] == need["step"]
        )
        here = need["step"] == row["step"] and need["element"] in mine and need["direction"] == row["direction"]
        if counts and here and got[j] < need["w"] and stands(dict.fromkeys(mine, way)):
            prices.append(math.inf if need["cap"] is None else need["cap"])
    prices += [
        other["price"]
        for o, other in enumerate(case["rows"])
        if accepted[o] > 0
        and other["role"] == "deliver"
        and other["places"] is None
        and (other["direction"], other["step"]) == (row["direction"], row["step"])
        and list(path(case, other["element"]))[-1] == mine[-1]
        and stands({e: way * ((e in mine) - (e in path(case, other["element"]))) for e in case["parent"]})
    ]
    return max(prices, default=None)


def paradoxical(case, accepted):
    """Numbers of the rows of rejected lines and blocks that ask for less than the local prices of their places."""
    bundles, chosen = {}, set()
    for r, row in enumerate(case["rows"]):
        if row["role"] == "rebound" or not row["w"]:
            continue
        key = bid_of(row) if row["block"] is not None else (row["offer"], row["element"], row["direction"], row["step"])
        bundles.setdefault(key, []).append(r)
        if row["exclusive"] is not None and accepted[r]:
            chosen.add((row["exclusive"], row["step"] if row["scope"] == "step" else None))
    found = set()
    for members in bundles.values():
        rows = [case["rows"][r] for r in members]
        group = (rows[0]["exclusive"], rows[0]["step"] if rows[0]["scope"] == "step" else None)
        if any(accepted[r] for r in members) or group in chosen or rows[0]["places"] is not None:
            continue
        asked, worth, rest = 0, 0, max(rows[0]["min"], 1)
        for r in sorted(members, key=lambda r: case["rows"][r]["pstep"]):
            row = case["rows"][r]
            power = row["w"] if row["block"] is not None else min(rest, row["w"])
            rest -= power
            if power:
                price = local_price(case, r, accepted)
                asked += power * row["price"]
                worth += power * (-math.inf if price is None else price)
        if worth == worth and worth > asked:
            found |= set(members)
    return found


def relaxed(case):
    """Return (least unserved, least cost) by a dense LP in two stages, as if every row could be taken in any part.

    For cases without conditions other than price caps; what a capped need lacks costs its cap.
    """
    rows, needs = case["rows"], case["needs"]
    k, g = len(rows), len(needs)
    a, b = [], []
    for element, step in sorted({(e, x["step"]) for e in case["parent"] for x in [*rows, *needs]}):
        net = np.zeros(k + g)
        for r, row in enumerate(rows):
            if row["step"] == step and element in path(case, row["element"]):
                net[r] = sign(row)
        low, high = bounds(case, element, step)
        a += [net] * (high is not None) + [-net] * (low is not None)
        b += [high] * (high is not None) + [-low if low is not None else 0] * (low is not None)
        for j, need in enumerate(needs):
            if (need["element"], need["step"]) == (element, step):
                gap = np.zeros(k + g)
                gap[k + j] = 1
                a.append(-sign(need) * net - gap)
                b.append(-need["w"])
    limits = [(0, row["w"]) for row in rows] + [(0, need["w"]) for need in needs]
    unserved = np.array([0.0] * k + [float(need["cap"] is None) for need in needs])
    cost = np.array([row["price"] for row in rows] + [need["cap"] or 0 for need in needs], float)
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    first = linprog(unserved, np.array(a), b, bounds=limits, method="highs", options=tight)
    assert first.status == 0
    a, b = np.vstack([np.array(a), unserved]), [*b, first.fun + 1e-9]
    second = linprog(cost, a, b, bounds=limits, method="highs", options=tight)
    assert second.status == 0
    return first.fun, second.fun
