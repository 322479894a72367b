"""Accuracy of baselines with loops and exact fractions, written from the formulas; None for what is not known."""

import math
from fractions import Fraction


def denominator(loads, relative_to):
    """Load that errors are compared with, or None."""
    sizes = sum(abs(load) for load in loads)
    if relative_to == "absolute":
        return sizes or None
    total = sum(loads)
    return total if total > 0 and Fraction(total, sizes) >= Fraction(1, 10) else None


def index(errors, loads, below, alpha):
    """Bias, RRMSE and OPI of the errors of one group."""
    n = len(errors)
    mean_load = Fraction(below, n)
    bias = Fraction(sum(errors), below)
    rrmse = math.sqrt(Fraction(sum(e * e for e in errors), n) / mean_load**2)
    opi = math.sqrt(bias**2 + Fraction(rrmse) ** 2) if alpha is None else alpha * abs(bias) + (1 - alpha) * rrmse
    return float(bias), rrmse, float(opi)


def accuracy(baseline, metered, event, group, delivered, relative_to, alpha):
    """Group to its measures; all inputs are lists of rows, None where a number is missing."""
    groups = {}
    for row, name in enumerate(group):
        mine = groups.setdefault(name, {"errors": [], "loads": [], "percent": [], "unknown": 0, "events": 0})
        pairs = [(b, m) for b, m, on in zip(baseline[row], metered[row], event[row], strict=True) if on]
        known = [(b, m) for b, m in pairs if b is not None and m is not None]
        mine["unknown"] += len(pairs) - len(known)
        mine["events"] += bool(known)
        errors, loads = [b - m for b, m in known], [m for _, m in known]
        mine["errors"] += errors
        mine["loads"] += loads
        below = denominator(loads, relative_to)
        if below is not None:
            mine["percent"].append(Fraction(abs(sum(errors)), below))
        mine.setdefault("missed", []).append(abs(sum(errors)))
        gained = sum(
            d
            for b, m, d, on in zip(baseline[row], metered[row], delivered[row], event[row], strict=True)
            if on and b is not None and m is not None
        )
        mine.setdefault("gained", []).append(gained)
    result = {}
    for name, mine in groups.items():
        below = denominator(mine["loads"], relative_to)
        bias = rrmse = opi = zero = None
        if below is not None:
            bias, rrmse, opi = index(mine["errors"], mine["loads"], below, alpha)
            zero = index([-load for load in mine["loads"]], mine["loads"], below, alpha)[2]
        percent = sorted(mine["percent"])
        n = len(percent)
        gained = sum(mine["gained"])
        result[name] = {
            "n_events": mine["events"],
            "n_steps": len(mine["errors"]),
            "n_unknown": mine["unknown"],
            "bias": bias,
            "rrmse": rrmse,
            "mape_mean": float(sum(percent) / n) if n else None,
            "mape_median": float((percent[(n - 1) // 2] + percent[n // 2]) / 2) if n else None,
            "n_percent": n,
            "opi": opi,
            "opi_of_zero": zero,
            "gain_error": sum(mine["missed"]) / gained if gained > 0 else None,
        }
    return result


def screened(rrmse, bias, rrmse_limit, bias_limit):
    """Reasons why a POD does not pass."""
    if rrmse is None or bias is None:
        return {"not defined"}
    return ({"rrmse"} if rrmse > rrmse_limit else set()) | ({"bias"} if abs(bias) > bias_limit else set())


def drawable(day_type, real_event, look_back_days, least_days):
    """Days with enough days like them before them."""
    days = []
    for day, kind in enumerate(day_type):
        before = range(max(day - look_back_days, 0), day)
        like = [past for past in before if day_type[past] == kind and not real_event[past]]
        if not real_event[day] and len(like) >= least_days:
            days.append(day)
    return days
