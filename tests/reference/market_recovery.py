"""Recovery, run time and rebound from the rule text (MUT-05), one slot and one line at a time."""

from fractions import Fraction

from tests.reference.market_slots import requests


def split_in_time(lines, held, recovery, max_run, n_steps):
    """Awards per (line, POD, step) and what found no POD per (line, step).

    `lines`: dicts with operator, pods, power {(pod, t): W} and award [W per step]; `held`: {(pod, t): operator}. Step
    by step and line by line the largest PODs serve that would keep the distance from earlier requests and the run time;
    of equal ones those that run already.
    """
    holder, member, short = dict(held), {}, {}
    for t in range(n_steps):
        for i, line in enumerate(lines):
            left = line["award"][t]
            usable = [pod for pod in line["pods"] if fits(pod, t, line["operator"], holder, held, recovery, max_run)]
            runs = {pod: holder.get((pod, t - 1)) == line["operator"] for pod in usable}
            for pod in sorted(usable, key=lambda pod: (-line["power"][pod, t], not runs[pod])):
                part = min(left, line["power"][pod, t])
                if part > 0:
                    member[i, pod, t] = part
                    holder[pod, t] = line["operator"]
                left -= part
            short[i, t] = left
    return member, short


def fits(pod, t, operator, holder, held, recovery, max_run):
    if (pod, t) in holder and (pod, t) not in held:
        return False
    runs = requests(pod, {slot: who for slot, who in holder.items() if slot[1] < t}, t)
    length = 1
    if runs:
        who, steps = runs[-1]
        if who == operator and steps[-1] == t - 1:
            length += len(steps)
            if len(runs) > 1 and steps[0] - runs[-2][1][-1] - 1 < recovery[pod]:
                return False  # a cut has split it from the one before
        elif t - steps[-1] - 1 < recovery[pod]:
            return False
    ahead = t + 1
    while held.get((pod, ahead)) == operator:
        length, ahead = length + 1, ahead + 1
    return not max_run[pod] or length <= max_run[pod]


def rebound(net_w, share_pm, n_back, delay):
    """Load that comes back after each run of one sign, from exact fractions."""
    out = [0] * (len(net_w) + delay + n_back)
    t = 0
    while t < len(net_w):
        start = t
        while t < len(net_w) and net_w[t] * net_w[start] > 0:
            t += 1
        if t == start:
            t += 1
            continue
        back = round(Fraction(sum(net_w[start:t]) * share_pm, 1000))
        for s in range(n_back):
            out[t + delay + s] += back * (s + 1) // n_back - back * s // n_back
    return out
