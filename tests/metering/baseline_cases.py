"""Random baseline cases in batches, and counts which show that each hard feature was really among them."""

import dataclasses
import datetime as dt
import functools

import numpy as np

from flexcore.market_day import MarketDay
from flexcore.metering import MISSING_W, BaselineRule, baseline, day_steps

#: Event days: spring clock change (92 quarter-hours), autumn (100), one that looks back on 92 or 100, an ordinary one.
EVENT_DAYS = ("2026-03-29", "2026-10-25", "2026-04-02", "2026-10-29", "2026-02-10")


def plain(values):
    """Python's integers, None where missing."""
    return [None if value == MISSING_W else int(value) for value in values]


@functools.cache
def calendar(date, n_days):
    """Quarter-hours of each past day on the clock of the event day, oldest first; -1 where it has none."""
    day = MarketDay(date)
    past = [MarketDay(day.date - dt.timedelta(days=back)) for back in range(n_days, 0, -1)]
    return [(which.n_steps, day_steps(which, day)) for which in past]


def random_rule(rng, method, adjustment):
    n_candidates = int(rng.integers(2, 8))
    n_selected = n_candidates if method == "all" else int(rng.integers(1, n_candidates))
    if method == "mid" and (n_candidates - n_selected) % 2:
        n_selected += 1
    return BaselineRule(
        method,
        n_candidates=n_candidates,
        n_selected=n_selected,
        min_days=int(rng.integers(1, n_candidates + 1)),
        score=("event", "event", "day")[rng.integers(3)],
        adjustment=adjustment,
        window_steps=int(rng.integers(1, 14)),
        lead_steps=int(rng.integers(0, 6)),
        ratio_ppm=(int(rng.integers(500_000, 1_000_001)), int(rng.integers(1_000_000, 1_500_001))),
        cap_w=None if rng.random() < 0.5 else int(rng.integers(0, 800)),
        guard_w=int(rng.integers(0, 300)),
    )


def random_around_rule(rng, join):
    return BaselineRule(
        "meter_before_after",
        before_steps=int(rng.integers(1, 13)),
        before_gap=int(rng.integers(0, 5)),
        after_steps=int(rng.integers(1, 9)),
        after_gap=int(rng.integers(0, 5)),
        join=join,
    )


def random_batch(rng, n_pods, *, short=0.6):
    """Loads of one day for `n_pods` PODs; a share of the batches has days of 16 to 30 steps, the rest real days."""
    n_days = int(rng.integers(3, 11))
    if rng.random() < short:
        days = [(n := int(rng.integers(16, 31)), np.arange(n))] * n_days
    else:
        days = calendar(EVENT_DAYS[rng.integers(len(EVENT_DAYS))], n_days)
    n_steps = len(days[0][1])
    spread = int(rng.choice([2, 5000]))
    # consumers, prosumers and generators, so that sums come with either sign
    centre = rng.integers(-spread, 2 * spread, (n_pods, 1))

    def load(length):
        watts = rng.integers(-spread, spread + 1, (n_pods, length)) + centre
        watts[rng.random(watts.shape) < holes] = MISSING_W
        return watts.astype(np.int32)

    holes = float(rng.choice([0, 0, 0.01, 0.15]))
    history = np.full((n_pods, n_days, n_steps), MISSING_W, np.int32)
    for d, (length, steps) in enumerate(days):
        history[:, d, steps >= 0] = load(length)[:, steps[steps >= 0]]
    event = np.zeros((n_pods, n_steps), bool)
    for row in event:
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            start = rng.integers(n_steps)
            row[start : start + rng.integers(1, 7)] = True
    return {
        "history_w": history,
        "today_w": load(n_steps),
        "event": event,
        "eligible": rng.random((n_pods, n_days)) < rng.choice([0.7, 0.95]),
        "excluded": rng.random(history.shape) < rng.choice([0, 0.01]),
        "today_excluded": rng.random((n_pods, n_steps)) < 0.1,
    }


def hard_features(case, rule, result):
    """Number of PODs with each hard feature of X of Y, from the inputs and from what a gentler rule gives."""
    history, today = case["history_w"].astype(np.int64), case["today_w"]
    event, gone = case["event"], (case["history_w"] == MISSING_W) | case["excluded"]
    n_runs = (np.diff(event, axis=1, prepend=False) & event).sum(axis=1)
    complete = case["eligible"] & ~(gone & event[:, np.newaxis]).any(axis=2)
    score = (history * event[:, np.newaxis]).sum(axis=2)
    tied = [len(set(s[c])) < c.sum() for s, c in zip(score, complete, strict=True)]
    counts = {
        "missing history": (history == MISSING_W).any(axis=(1, 2)),
        "missing today": (today == MISSING_W).any(axis=1),
        "excluded": case["excluded"].any(axis=(1, 2)),
        "excluded today": case["today_excluded"].any(axis=1),
        "not eligible": ~case["eligible"].all(axis=1),
        "tied days": np.array(tied) & (n_runs > 0),
        "negative load": ((history < 0) & (history != MISSING_W)).any(axis=(1, 2)),
        "no event": n_runs == 0,
        "one event": n_runs == 1,
        "several events": n_runs > 1,
        "event at the first step": event[:, 0],
        "event at the last step": event[:, -1],
        "92 quarter-hours": np.full(len(today), today.shape[1] == 92),
        "100 quarter-hours": np.full(len(today), today.shape[1] == 100),
        "past clock change": np.full(len(today), today.shape[1] == 96) & (history == MISSING_W).all(axis=0).any(),
    }
    counts |= {f"status {bit}": (result.status & bit) > 0 for bit in (1, 2, 4, 16)}
    counts["clean"] = result.status == 0
    if rule.adjustment == "additive":
        loose = dataclasses.replace(rule, cap_w=None)
        counts["cap binds"] = (baseline(**case, preset=loose).baseline_w != result.baseline_w).any(axis=1)
    if rule.adjustment == "multiplicative":
        loose = dataclasses.replace(rule, ratio_ppm=(0, 10**9))
        counts["ratio bound binds"] = (baseline(**case, preset=loose).baseline_w != result.baseline_w).any(axis=1)
        counts["guarded"] = (result.status & 8) > 0
    if rule.adjustment == "none":
        del counts["status 4"]
    return {name: int(np.sum(rows)) for name, rows in counts.items()}
