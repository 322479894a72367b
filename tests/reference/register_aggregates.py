"""Table 8, technical tests and the Table of Equivalences with sets, dicts and loops."""

from fractions import Fraction


def configuration(a, b):
    a, b = set(a), set(b)
    if not a & b:
        return "disjoint"
    if a == b:
        return "identical"
    return "inside" if a <= b or b <= a else "overlapping"


def technical_test(direction, required, baseline, metered, min_pm, step_pm, ramp_pm):
    """Ratio and the set of requirements that are not met."""
    failed = set()
    delivered = [(b - m) if direction == 0 else (m - b) for b, m in zip(baseline, metered, strict=True)]
    due = [t for t, want in enumerate(required) if want > 0]
    if not due:
        return None, {"no due step"}
    for t in due:
        if Fraction(delivered[t], required[t]) < Fraction(step_pm, 1000):
            failed.add("activation" if t == due[0] else "step")
        if t - 1 in due and Fraction(abs(delivered[t] - delivered[t - 1]), required[t]) > Fraction(ramp_pm, 1000):
            failed.add("ramp")
    ratio = Fraction(sum(delivered[t] for t in due), sum(required[t] for t in due))
    if ratio < Fraction(min_pm, 1000):
        failed.add("volume")
    return ratio, failed


def equivalence(request, tested, products, members, *, inclusion):
    """Source of one request, or None. `request`, `tested` rows: dict(aggregate, product, up, down)."""
    sources = []
    for source in tested:
        want, have = products[request["product"]], products[source["product"]]
        if have["operator"] != 0:
            continue
        if members[request["aggregate"]] != members[source["aggregate"]]:  # {unit: (up_w, down_w)}
            continue
        if want["service"] != have["service"] or want["test_setup"] != have["test_setup"]:
            continue
        pairs = [(source["up"], request["up"]), (source["down"], request["down"])]
        larger = [(have[k], want[k]) for k in ("up", "down", "min_w", "granularity_w", "test_min_pm", "test_step_pm")]
        smaller = [(want[k], have[k]) for k in ("notice_s", "recovery_s", "test_ramp_pm")]
        every = pairs + larger + smaller
        if all(a >= b for a, b in every) if inclusion else all(a == b for a, b in every):
            sources.append((source["approved_at"], source["aggregate"], source["product"]))
    return min(sources, default=None)
