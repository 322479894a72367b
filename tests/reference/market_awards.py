"""The split of awards over PODs, one line and step at a time, from the text of the policies."""

from fractions import Fraction
from itertools import combinations


def split(accepted, indptr, pods, available, policy, cost):
    n_lines, n_steps = len(accepted), len(accepted[0])
    member = {}
    short = {}
    for t in range(n_steps):
        taken = set()
        for line in range(n_lines):
            rows = list(range(indptr[line], indptr[line + 1]))
            power = {m: 0 if pods[m] in taken else available[m][t] for m in rows}
            award = min(accepted[line][t], sum(power.values()))
            short[line, t] = accepted[line][t] - award
            if policy == "pro_rata":
                share = _pro_rata(award, rows, power)
            else:
                first = {m: -power[m] if policy == "fewest_pods" else cost[m] for m in rows}
                share, left = {}, award
                for _, m in sorted((first[m], m) for m in rows):
                    share[m] = min(left, power[m])
                    left -= share[m]
            for m in rows:
                member[m, t] = share[m]
                if share[m]:
                    taken.add(pods[m])
    return member, short


def _pro_rata(award, rows, power):
    total = sum(power.values())
    if not total:
        return dict.fromkeys(rows, 0)
    exact = {m: Fraction(award * power[m], total) for m in rows}
    share = {m: int(exact[m]) for m in rows}
    by_remainder = sorted(rows, key=lambda m: (share[m] - exact[m], m))
    for m in by_remainder[: award - sum(share.values())]:
        share[m] += 1
    return share


def fewest(award, powers):
    """Smallest number of PODs that can carry the award, by trying all sets."""
    for n in range(len(powers) + 1):
        if any(sum(chosen) >= award for chosen in combinations(powers, n)):
            return n
    return None
