"""Monitoring with loops, dictionaries and None for what is missing, written from the rule text and never tuned.

A day is replayed from its first quarter-hour for every question: nothing is carried over but what the text names.
"""


def delivered(pod, step):
    """Delivered power of a POD in its direction, None where reading or baseline is missing."""
    base, read = pod["baseline"][step], pod["metered"][step]
    if base is None or read is None:
        return None
    return base - read if pod["direction"][step] == "up" else read - base


def same_event(pod, a, b):
    """Both quarter-hours have an order, for one aggregate in one direction."""
    return all(pod["ordered"][s] > 0 for s in (a, b)) and all(
        pod[key][a] == pod[key][b] for key in ("aggregate", "direction")
    )


def less(value, ppm, of):
    """Value is less than so many parts per million of something."""
    return value * 1_000_000 < ppm * of


def more(value, ppm, of):
    return value * 1_000_000 > ppm * of


def deviates(pod, step, rule):
    value, order = delivered(pod, step), pod["ordered"][step]
    if value is None:
        return {"no reading"}
    found = set()
    if less(value, rule.short_ppm, order) and order - value > rule.margin_w:
        found.add("short")
    if more(value, rule.over_ppm, order) and value - order > rule.margin_w:
        found.add("over")
    if value < -rule.margin_w:
        found.add("wrong way")
    return found


def silent(pod, step, rule):
    value = delivered(pod, step)
    return value is None or less(value, rule.answer_ppm, pod["ordered"][step])


def in_a_row(first, step, holds):
    """How many quarter-hours in a row up to `step`, none before `first`, hold."""
    count = 0
    while step - count >= first and holds(step - count):
        count += 1
    return count


def event_start(pod, step):
    while step > 0 and same_event(pod, step - 1, step):
        step -= 1
    return step


def pod_flags(pod, step, rule):
    flags = set()
    if in_a_row(0, step, lambda s: pod["metered"][s] is None) >= rule.stale_after:
        flags.add("stale")
    if pod["late"][step]:
        flags.add("late")
    if pod["ordered"][step] == 0:
        return flags
    start = event_start(pod, step)
    flags |= deviates(pod, step, rule)
    if in_a_row(start, step, lambda s: silent(pod, s, rule)) >= rule.silent_after:
        flags.add("not answering")
    bad = {"short", "wrong way", "no reading"}
    if not flags & bad and step > start and deviates(pod, step - 1, rule) & bad:
        flags.add("recovered")
    return flags


def group_sums(pods, aggregate, direction, step, rule):
    """Sums over the PODs that are ordered for this aggregate and direction in the quarter-hour."""
    total = {"ordered": 0, "delivered": 0, "pods": 0, "missing": 0, "missing power": 0, "short": 0, "silent": 0}
    for pod in pods:
        if pod["ordered"][step] == 0 or (pod["aggregate"][step], pod["direction"][step]) != (aggregate, direction):
            continue
        total["pods"] += 1
        total["ordered"] += pod["ordered"][step]
        value = delivered(pod, step)
        if value is None:
            total["missing"] += 1
            total["missing power"] += pod["ordered"][step]
        else:
            total["delivered"] += max(value, 0) if rule.netting == "pod" else value
        flags = pod_flags(pod, step, rule)
        total["short"] += "short" in flags
        total["silent"] += "not answering" in flags
    return total


def alarms_of_group(pods, aggregate, direction, n_steps, rule, remaining):
    """Every message about the alarm of one aggregate and direction."""
    messages, severity, reason, start = [], "none", None, None
    sums = [group_sums(pods, aggregate, direction, step, rule) for step in range(n_steps)]
    for step in range(n_steps):
        now, before = sums[step], severity
        if now["ordered"] == 0:
            if before != "none":
                so_far = sums[start:step]
                messages.append(message(step, start, reason, "none", "ended", now, so_far, 0, rule))
            severity, reason, start = "none", None, None
            continue
        start = step if start is None else start

        def missed(ppm, s):
            return less(sums[s]["delivered"], ppm, sums[s]["ordered"])

        below = in_a_row(start, step, lambda s: missed(rule.warning_ppm, s))
        far_below = in_a_row(start, step, lambda s: missed(rule.critical_ppm, s))
        above = in_a_row(start, step, lambda s: not missed(rule.clear_ppm, s))
        not_far = in_a_row(start, step, lambda s: not missed(rule.critical_ppm, s))
        if below > 0:
            hoped = now["delivered"] + now["missing power"]
            if now["missing power"] > 0 and not less(hoped, rule.warning_ppm, now["ordered"]):
                reason = "MON-NO-DATA"
            else:
                reason = "MON-WRONG-WAY" if now["delivered"] < 0 else "MON-SHORT"
        if far_below >= rule.raise_after:
            severity = "critical"
        elif above >= rule.clear_after:
            severity = "none"
        elif not_far >= rule.clear_after if severity == "critical" else below >= rule.raise_after:
            severity = "warning"
        change = {
            ("none", "warning"): "raised",
            ("none", "critical"): "raised",
            ("warning", "critical"): "escalated",
            ("critical", "warning"): "eased",
            ("warning", "none"): "cleared",
            ("critical", "none"): "cleared",
        }.get((before, severity), "open")
        if before != "none" or severity != "none":
            left = remaining[aggregate][direction][step]
            so_far = sums[start : step + 1]
            messages.append(message(step, start, reason, severity, change, now, so_far, left, rule))
    return messages


def message(step, start, reason, severity, change, now, so_far, left, rule):
    ordered = sum(s["ordered"] for s in so_far)
    short = sum(max(s["ordered"] - s["delivered"], 0) for s in so_far)
    counted = sum(min(s["delivered"], s["ordered"] * rule.cap_ppm // 1_000_000) for s in so_far)
    projected = short
    if now["ordered"]:
        ppm = min(max(now["delivered"], 0), now["ordered"]) * 1_000_000 // now["ordered"]
        projected += left - left * ppm // 1_000_000
    return {
        "step": step, "event_step": start, "code": reason, "severity": severity, "change": change,
        "ordered_w": now["ordered"], "delivered_w": now["delivered"],
        "event_ratio_ppm": counted * 1_000_000 // ordered, "short_wqh": short, "projected_wqh": projected,
        "n_pods": now["pods"], "n_missing": now["missing"], "n_short": now["short"], "n_silent": now["silent"],
    }  # fmt: skip
