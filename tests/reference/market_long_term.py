"""Long-term contracts from the rule text (LTC-01, LTC-02): loops over quarter-hours, and every award tried in turn."""

import datetime as dt
import itertools
import zoneinfo
from fractions import Fraction

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

QUARTER = dt.timedelta(minutes=15)


def quarters(window, tz="Europe/Rome"):
    """Unix quarter-hours of a service window: each one of time, looked at by the local clock."""
    zone = zoneinfo.ZoneInfo(tz)
    first, last = dt.date.fromisoformat(window["first_day"]), dt.date.fromisoformat(window["last_day"])
    now = dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC)
    inside = []
    while (local := now.astimezone(zone)).date() <= last:
        clock = 4 * local.hour + local.minute // 15
        month = window.get("months", 4095) >> (local.month - 1) & 1
        weekday = window.get("weekdays", 127) >> local.weekday() & 1
        if month and weekday and window["from_quarter"] <= clock < window["to_quarter"]:
            inside.append(int(now.timestamp()) // 900)
        now += QUARTER
    return inside


def expected_cost(offer, needs, times):
    """Expected micro-EUR of 1 W: availability over all quarter-hours covered, use as each window expects it."""
    mine = [need for need in needs if need["window_id"] in offer["windows"]]
    covered = set().union(*(times[need["window_id"]] for need in mine))
    hours = Fraction(len(covered), 4)
    use = Fraction(0)
    for need in mine:
        expected = len(times[need["window_id"]]) if need["use_quarters"] < 0 else need["use_quarters"]
        use += Fraction(need["activation_ppm"], 10**6) * Fraction(expected, 4)
    return (offer["availability_ueur_per_mw_h"] * hours + offer["use_ueur_per_mwh"] * use) / 10**6


def short(offers, needs, times, award):
    """Missing effective W per need, and their sum weighted by the window's quarter-hours."""
    missing = []
    for need in needs:
        covered = sum(
            Fraction(w * offer["effect_permille"], 1000)
            for offer, w in zip(offers, award, strict=True)
            if need["window_id"] in offer["windows"]
        )
        missing.append(max(Fraction(0), need["required_w"] - covered))
    return missing, sum(
        (m * len(times[n["window_id"]]) for m, n in zip(missing, needs, strict=True)), start=Fraction(0)
    )


def places(offers, needs, times):
    """1, 2, ... in the order of (expected cost per effective W, time, id)."""
    rank = sorted(
        range(len(offers)),
        key=lambda o: (
            expected_cost(offers[o], needs, times) / offers[o]["effect_permille"],
            offers[o]["submitted_at"],
            offers[o]["offer_id"],
        ),
    )
    return [1 + rank.index(o) for o in range(len(offers))]


def clash(a, b, times):
    """Two offers of one aggregate that share a quarter-hour: one capacity cannot be sold twice."""
    spans = [set().union(*(times[w] for w in offer["windows"])) for offer in (a, b)]
    return a["aggregate"] == b["aggregate"] and bool(spans[0] & spans[1])


def exhaustive(tender, needs, offers, times):
    """Try all awards: least shortfall, then least expected cost, then least sum of W times place."""
    cost = [expected_cost(offer, needs, times) for offer in offers]
    place = places(offers, needs, times)
    grain = tender["granularity_w"]
    choices = []
    for offer in offers:
        capped = (
            offer["availability_ueur_per_mw_h"] > tender["availability_cap_ueur_per_mw_h"]
            or offer["use_ueur_per_mwh"] > tender["use_cap_ueur_per_mwh"]
        )
        sizes = range(0, offer["quantity_w"] + 1, grain)
        choices.append([0] if capped else [w for w in sizes if w == 0 or w >= offer["min_w"]])
    pairs = [(a, b) for a, b in itertools.combinations(range(len(offers)), 2) if clash(offers[a], offers[b], times)]
    best = None
    for award in itertools.product(*choices):
        if any(award[a] and award[b] for a, b in pairs):
            continue
        total = sum((c * w for c, w in zip(cost, award, strict=True)), start=Fraction(0))
        if total > tender["budget_ueur"]:
            continue
        key = (short(offers, needs, times, award)[1], total, sum(p * w for p, w in zip(place, award, strict=True)))
        if best is None or key < best[0]:
            best = (key, award)
    return best


def offered(contracted, requested, is_open, available):
    """W that each line of a contract offers in one quarter-hour, and what the obligation lacks."""
    due = min(contracted, requested) if is_open else 0
    total = sum(available)
    give = min(due, total)
    lines, running, before = [], 0, 0
    for power in available:
        running += power
        upto = running * give // total if total else 0
        lines.append(upto - before)
        before = upto
    return lines, due - give


def in_stages(offers, need):
    """Take (stage, price, time, id, quantity) offers in that order until the need is met; return W per offer."""
    taken = [0] * len(offers)
    for o in sorted(range(len(offers)), key=lambda o: offers[o][:4]):
        taken[o] = min(offers[o][4], need - sum(taken))
    return taken


def by_solver(tender, needs, offers, times):
    """Least shortfall, then least cost, by a MILP of its own: dense, in kW and EUR, each offer with a binary."""
    n, g = len(offers), len(needs)
    cost = np.array([float(expected_cost(offer, needs, times)) for offer in offers]) * tender["granularity_w"] / 1e6
    unit_kw = np.array([tender["granularity_w"] * offer["effect_permille"] / 1e6 for offer in offers])
    most = np.array([offer["quantity_w"] // tender["granularity_w"] for offer in offers])
    least = np.array([max(1, -(-offer["min_w"] // tender["granularity_w"])) for offer in offers])
    for o, offer in enumerate(offers):
        if (
            offer["availability_ueur_per_mw_h"] > tender["availability_cap_ueur_per_mw_h"]
            or offer["use_ueur_per_mwh"] > tender["use_cap_ueur_per_mwh"]
        ):
            most[o] = 0
    weight = np.array([len(times[need["window_id"]]) for need in needs])
    eye, none = np.eye(n), np.zeros((n, n))
    rows = [
        (np.hstack([eye, -np.diag(most), np.zeros((n, g))]), -np.inf, 0),  # units <= most * on
        (np.hstack([eye, -np.diag(least), np.zeros((n, g))]), 0, np.inf),  # units >= least * on
    ]
    for a, b in itertools.combinations(range(n), 2):
        if clash(offers[a], offers[b], times):
            rows.append((np.hstack([np.zeros(n), eye[a] + eye[b], np.zeros(g)])[None], -np.inf, 1))
    for w, need in enumerate(needs):
        inside = np.array([need["window_id"] in offer["windows"] for offer in offers])
        rows.append((np.r_[unit_kw * inside, none[0], np.eye(g)[w]][None], need["required_w"] / 1e3, np.inf))
    rows.append((np.r_[cost, none[0], np.zeros(g)][None], -np.inf, tender["budget_ueur"] / 1e6))
    bounds = Bounds(0, np.r_[most, np.ones(n), np.full(g, np.inf)])
    whole = np.r_[np.ones(2 * n), np.zeros(g)]
    gap = np.r_[np.zeros(2 * n), weight]

    def solve(objective, extra):
        answer = milp(
            objective, integrality=whole, bounds=bounds, options={"mip_rel_gap": 0},
            constraints=[LinearConstraint(*row) for row in [*rows, *extra]],
        )  # fmt: skip
        assert answer.status == 0
        return [round(k) * tender["granularity_w"] for k in answer.x[:n].tolist()]

    first = solve(gap, [])
    shortfall = short(offers, needs, times, first)[1]
    second = solve(np.r_[cost, np.zeros(n + g)], [(gap[None], -np.inf, float(shortfall) / 1e3 + 1e-4)])
    assert short(offers, needs, times, second)[1] <= shortfall + Fraction(1, 10)
    return short(offers, needs, times, second)[1], sum(
        expected_cost(offer, needs, times) * w for offer, w in zip(offers, second, strict=True)
    )
