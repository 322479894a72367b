"""Settlement with loops, dictionaries and fractions, written from the rule text and never tuned."""

from fractions import Fraction

MILLION = 1_000_000


def half_even(value):
    """Round a fraction to a whole number, halves to even."""
    return round(Fraction(value))


def split(amount, weights):
    """Split a whole amount in proportion to weights; missing units go to the largest remainders, then to the first."""
    exact = [Fraction(abs(amount) * weight, sum(weights)) for weight in weights]
    parts = [int(share) for share in exact]
    ranked = sorted(range(len(parts)), key=lambda i: (-(exact[i] - parts[i]), i))
    for position in ranked[: abs(amount) - sum(parts)]:
        parts[position] += 1
    return [part if amount >= 0 else -part for part in parts]


def pay_factor(points, ratio):
    """Piecewise linear, constant outside, right-continuous at a jump."""
    if ratio * MILLION < points[0][0]:
        return points[0][1]
    at = max(i for i, (x, _) in enumerate(points) if x <= ratio * MILLION)
    if at == len(points) - 1:
        return points[at][1]
    (x0, y0), (x1, y1) = points[at], points[at + 1]
    return half_even(y0 + (y1 - y0) * (ratio * MILLION - x0) / (x1 - x0))


def capped(energy, order, ppm):
    """At most this part of the order, rounded down."""
    return min(energy, order * ppm // MILLION)


def line_energies(quarters, terms):
    """Counted, paid and missed energy of a line; quarters maps a step to (ordered, delivered)."""
    periods = {}
    for step, (order, delivered) in quarters.items():
        name = {"unit": 0, "half_hour": step // 2, "quarter_hour": step}[terms.measured_per]
        before = periods.get(name, (0, 0))
        periods[name] = before[0] + order, before[1] + delivered
    counted = paid = missed = 0
    for order, delivered in periods.values():
        if order == 0:
            continue
        counted += capped(delivered, order, terms.cap_ppm)
        paid += max(0, capped(delivered, order, terms.cap_ppm))
        missed += max(0, order * (MILLION - terms.tolerance_ppm) // MILLION - delivered)
    return counted, paid, missed


def scopes(lines, scope):
    """Map each line with an order to the lines that its ratio is taken over, and to the first unit of its event."""
    result, event = {}, {}
    for key in lines:
        if lines[key]["ordered"] == 0:
            event[key] = -1
            result[key] = [key]
            continue
        group, unit = key[:3], key[3]

        def active(u, group=group):
            return (*group, u) in lines and lines[*group, u]["ordered"] > 0

        begin = unit
        while active(begin - 1):
            begin -= 1
        end = unit
        while active(end + 1):
            end += 1
        event[key] = begin
        if scope == "event":
            result[key] = [(*group, u) for u in range(begin, end + 1)]
        elif scope == "period":
            result[key] = [other for other in lines if other[:3] == group]
        else:
            result[key] = [key]
    return result, event


def settle(rows, terms, unit_of_step, split_by="delivered"):
    """Lines and POD shares.

    A row is a dictionary with operator, aggregate, direction, pod, and lists orders, baseline, metered, available and
    price, estimated where readings are, and a factor where PODs share by factors; a missing reading or baseline is
    None. An estimated reading is never credited above the order of its quarter-hour. Lines are keyed by
    (operator, aggregate, direction, unit), POD shares by line and POD.
    """
    lines, pods = {}, {}
    factor_of_pod = {row["pod"]: row.get("factor") for row in rows}
    for row in rows:
        for step, unit in enumerate(unit_of_step):
            ordered, available = row["orders"][step], row["available"][step]
            if ordered == 0 and available == 0:
                continue
            key = (row["operator"], row["aggregate"], row["direction"], unit)
            line = lines.setdefault(key, {"ordered": 0, "delivered": 0, "available": 0, "missing": 0, "value": 0})
            line.setdefault("estimated", 0)
            line.setdefault("quarters", {})
            pod = pods.setdefault((key, row["pod"]), {"ordered": 0, "delivered": 0, "available": 0})
            gaps = pod.setdefault("gaps", {})
            for entry in (line, pod):
                entry["ordered"] += ordered
                entry["available"] += available
            if ordered == 0:
                continue
            line["value"] += ordered * row["price"][step]
            line["quarters"].setdefault(step, [0, 0])[0] += ordered
            period = {"unit": 0, "half_hour": step // 2, "quarter_hour": step}[terms.measured_per]
            gaps[period] = gaps.get(period, 0) + ordered
            if row["baseline"][step] is None or row["metered"][step] is None:
                line["missing"] += 1
                continue
            delivered = row["baseline"][step] - row["metered"][step]
            delivered = delivered if row["direction"] == 0 else -delivered
            if row.get("estimated") and row["estimated"][step]:
                line["estimated"] += 1
                delivered = min(delivered, ordered)
            if terms.netting == "pod":
                delivered = max(delivered, 0)
            line["delivered"] += delivered
            line["quarters"][step][1] += delivered
            pod["delivered"] += delivered
            gaps[period] -= delivered

    for line in lines.values():
        line["counted"], line["paid"], line["shortfall"] = line_energies(line.pop("quarters"), terms)
    over, event = scopes(lines, terms.factor_scope)
    for key, line in lines.items():
        ordered = line["ordered"]
        value = line.pop("value")
        line["price"] = half_even(Fraction(value, ordered)) if ordered else 0
        line["event"] = event[key]
        whole = sum(lines[other]["ordered"] for other in over[key])
        ratio = Fraction(sum(lines[other]["counted"] for other in over[key]), whole) if whole else None
        line["ratio"] = half_even(ratio * MILLION) if whole else 0
        line["factor"] = pay_factor(terms.factor_ppm, max(ratio, Fraction(0)) if whole else Fraction(2))
        mwh = Fraction(1, 4_000_000)
        line["pay"] = half_even(line["paid"] * mwh * line["price"] * Fraction(line["factor"], MILLION))
        line["penalty"] = half_even(line["shortfall"] * mwh * terms.penalty_ueur_per_mwh)
        line["availability"] = half_even(line["available"] * mwh * terms.availability_ueur_per_mw_h)
        line["net"] = line["pay"] - line["penalty"] + line["availability"]

    for key, line in lines.items():
        members = sorted(pod for line_key, pod in pods if line_key == key)
        entries = [pods[key, pod] for pod in members]
        orders = [entry["ordered"] for entry in entries]
        even = [1] * len(entries)
        weights = {
            "pay": [max(entry["delivered"], 0) for entry in entries],
            "penalty": [sum(max(gap, 0) for gap in entry.pop("gaps").values()) for entry in entries],
            "availability": [entry["available"] for entry in entries],
        }
        if split_by == "equal":
            weights = dict.fromkeys(weights, even)
        if split_by == "factors":
            weights = {name: [factor_of_pod[pod] for pod in members] for name in weights}
        for name, wanted in weights.items():
            used = next(choice for choice in (wanted, orders, even) if sum(choice) > 0)
            for entry, part in zip(entries, split(line[name], used), strict=True):
                entry[name] = part
        for entry in entries:
            entry["net"] = entry["pay"] - entry["penalty"] + entry["availability"]
    return lines, pods
