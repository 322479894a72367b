"""Capped penalties with loops, dictionaries and fractions, written from the rule text and never tuned."""

from fractions import Fraction

from tests.reference.settlement_remuneration import split


def cap(days, contracts, cap_ppm, order):
    """Charge of each line and POD share.

    `days` is a list of days, a day a list of lines with operator, aggregate, unit, penalty, availability and pods, the
    penalties of their PODs; `contracts` is a list of (operator, aggregate, availability pay).
    """
    accounts = {}
    for number, day in enumerate(days):
        for place, line in enumerate(day):
            entry = accounts.setdefault((line["operator"], line["aggregate"]), {"base": 0, "lines": []})
            entry["base"] += line["availability"]
            entry["lines"].append((number, line["unit"], place))
    for operator, aggregate, amount in contracts:
        accounts.setdefault((operator, aggregate), {"base": 0, "lines": []})["base"] += amount
    charge = {}
    for entry in accounts.values():
        penalties = {key: days[key[0]][key[2]]["penalty"] for key in entry["lines"]}
        limit = round(Fraction(max(entry["base"], 0) * cap_ppm, 1_000_000))
        entry["owed"], entry["cap"] = sum(penalties.values()), limit
        left = entry["charged"] = min(entry["owed"], limit)
        if order == "earliest":
            for key in sorted(penalties):
                charge[key[0], key[2]] = min(penalties[key], left)
                left -= charge[key[0], key[2]]
        elif penalties:
            keys = sorted(penalties, key=lambda key: (key[0], key[2]))
            weights = [penalties[key] for key in keys]
            parts = split(left, weights) if sum(weights) else [0] * len(keys)
            for key, part in zip(keys, parts, strict=True):
                charge[key[0], key[2]] = part
    pods = {}
    for (day, place), amount in charge.items():
        own = days[day][place]["pods"]
        pods[day, place] = split(amount, own) if sum(own) else [0] * len(own)
    return accounts, charge, pods
