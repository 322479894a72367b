"""Certified bounds of the AC power flow on one step, with intervals as pairs and the tree as dicts.

Written from the equations with the transformers where they are declared: nothing is scaled away here.
"""

from tests.reference.grid_power_flow import per_unit


def plus(*intervals):
    return sum(a for a, _ in intervals), sum(b for _, b in intervals)


def times(factor, interval):
    ends = factor * interval[0], factor * interval[1]
    return min(ends), max(ends)


def square(interval):
    a, b = interval
    return (0.0 if a <= 0 <= b else min(a * a, b * b)), max(a * a, b * b)


def over(interval, by):
    """Quotient of two intervals of numbers that are not negative; `by` above zero."""
    return interval[0] / by[1], interval[1] / by[0]


def parabola(linear, quadratic, interval, u):
    """Interval of linear a + quadratic a^2 / u, for a in the interval and quadratic not negative."""

    def value(a, by):
        return linear * a + quadratic * a * a / by

    low, high = interval
    vertex = -linear * u[1] / (2 * quadratic) if quadratic else low
    candidates = [a for a in (low, high, vertex) if low <= a <= high]
    return min(value(a, u[1]) for a in candidates), max(value(a, u[0]) for a in (low, high))


def with_loss(z, first, second, u):
    """Interval of a + z (a^2 + c^2) / u for a in the first and c in the second interval."""
    if z < 0:
        return plus(first, times(z, over(plus(square(first), square(second)), u)))
    return plus(parabola(1.0, z, first, u), times(z, over(square(second), u)))


def oriented(nodes, branches):
    """Tree with each branch seen from the root: parent, series impedance at the child's side, shunts, tap."""
    node_rows, shunt, elements = per_unit(nodes, branches)
    at = {key: [] for key in node_rows}
    for e in elements:
        at[e["f"]].append(e)
        at[e["t"]].append(e)
    order, above = [key for key, row in node_rows.items() if row["slack"]], {}
    for key in order:  # grows while it is walked
        for e in at[key]:
            other = e["t"] if e["f"] == key else e["f"]
            if e is not above.get(key, {}).get("e") and other not in above and not node_rows[other]["slack"]:
                # |V at the child's side of the ideal transformer|^2 = |V parent|^2 * gain
                if e["f"] == key:
                    gain, z, y_up, y_down = 1 / abs(e["n"]) ** 2, e["z"], e["half"] / abs(e["n"]) ** 2, e["half"]
                else:
                    a2 = abs(e["n"]) ** 2
                    gain, z, y_up, y_down = a2, e["z"] * a2, e["half"], e["half"] / a2
                above[other] = {"e": e, "parent": key, "gain": gain, "z": z, "y_up": y_up, "y_down": y_down}
                order.append(other)
    return node_rows, shunt, order, above


def follow(tree, load, u):
    """One application of the interval map to a box of squared voltages: new box, and flows at both ends."""
    _, shunt, order, above = tree
    into = {key: ([], []) for key in order}
    ends, series = {}, {}
    for key in reversed(order):
        if key not in above:
            continue
        b = above[key]
        y = shunt[key]
        p = plus((load[key].real,) * 2, times(y.real, u[key]), *into[key][0])
        q = plus((load[key].imag,) * 2, times(-y.imag, u[key]), *into[key][1])
        # what leaves the branch at the child's end, then through the shunt of that end: the flow of the series part
        leaves = p, q
        p = plus(p, times(b["y_down"].real, u[key]))
        q = plus(q, times(-b["y_down"].imag, u[key]))
        l = over(plus(square(p), square(q)), u[key])
        series[key] = p, q
        up = u[b["parent"]]
        shunts = times(b["y_up"].real, up), times(-b["y_up"].imag, up)
        enters = (
            plus(with_loss(b["z"].real, p, q, u[key]), shunts[0]),
            plus(with_loss(b["z"].imag, q, p, u[key]), shunts[1]),
        )
        # the parts one by one: of several branches together not all are at the same end of their intervals
        into[b["parent"]][0].append(plus(p, times(b["z"].real, l), shunts[0]))
        into[b["parent"]][1].append(plus(q, times(b["z"].imag, l), shunts[1]))
        ends[b["e"]["id"]] = enters, leaves
    new = {key: u[key] for key in order if key not in above}
    for key in order:
        if key in above:
            b, (p, q) = above[key], series[key]
            zz = abs(b["z"]) ** 2
            drop = plus(parabola(2 * b["z"].real, zz, p, u[key]), parabola(2 * b["z"].imag, zz, q, u[key]))
            at_top = times(b["gain"], new[b["parent"]])
            new[key] = at_top[0] - drop[1], at_top[1] - drop[0]
    return new, ends


def certify(nodes, branches, load, rounds=60):
    """A box of squared voltages that maps into itself; None where none is found."""
    tree = oriented(nodes, branches)
    node_rows, _, order, above = tree
    u = {}
    for key in order:
        if key not in above:
            row = node_rows[key]
            half = row.get("v_band_pu", 0.0) / 2
            v = row["v_set_pu"]
            u[key] = (v - half) ** 2, (v + half) ** 2
        else:
            u[key] = times(above[key]["gain"], u[above[key]["parent"]])
    for n in range(rounds):
        new, _ = follow(tree, load, u)
        inner = all(u[key][0] <= new[key][0] and new[key][1] <= u[key][1] for key in above)
        if inner and n:
            return new
        # half of the last change more on either side
        u = {
            key: box
            if key not in above
            else (
                max(box[0] - 0.5 * abs(box[0] - u[key][0]) * (n > 0) - 1e-9, 1e-3),
                box[1] + 0.5 * abs(box[1] - u[key][1]) * (n > 0) + 1e-9,
            )
            for key, box in new.items()
        }
    return None
