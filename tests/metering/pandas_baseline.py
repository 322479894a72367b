"""The common baselines a second time, as an analyst would write them: long tables, groupby, merge and rank in pandas.

Written from the rule text alone. Readings are whole watts and sums of them exact, so that both versions round the same
number and must agree to the last watt.
"""

import numpy as np
import pandas as pd

from flexcore.metering import MISSING_W


def long_table(values, *names):
    """One row for each element, with one column for each axis; the last name is that of the values."""
    axes = [axis.ravel() for axis in np.indices(values.shape)]
    return pd.DataFrame(dict(zip(names, [*axes, values.ravel()], strict=True)))


def readings(watts, excluded, *names):
    """Readings that exist and that no activation touched."""
    table = long_table(watts.astype(np.int64), *names)
    return table[(table[names[-1]] != MISSING_W) & ~excluded.ravel()]


def number_events(event):
    """Steps with the number of the event that they belong to by its adjustment, and start and end of each event."""
    steps = long_table(event, "pod", "step", "on")
    begins = steps.on & ~steps.groupby("pod").on.shift(fill_value=False)
    steps["event"] = begins.groupby(steps.pod).cumsum() - 1
    events = steps[steps.on].groupby(["pod", "event"]).step.agg(start="min", end="max").reset_index()
    # what lies before the first event goes with the first event
    steps["event"] = steps.event.clip(lower=0)
    return steps, events


def between(usable, events, first, last):
    """Usable quarter-hours of the event day that lie between two columns, `last` included, for each event."""
    pairs = events.assign(first=first, last=last).merge(usable, on="pod")
    return pairs[pairs.step.between(pairs["first"], pairs["last"])]


def x_of_y(rule, case):
    """Baseline as float64 of shape (n_pods, n_steps), NaN where there is none."""
    n_pods, n_steps = case["today_w"].shape
    past = readings(case["history_w"], case["excluded"], "pod", "day", "step", "load")
    today = readings(case["today_w"], case["event"] | case["today_excluded"], "pod", "step", "metered")
    steps, events = number_events(case["event"])
    closes = events.start - rule.lead_steps
    window = between(today, events, closes - rule.window_steps, closes - 1)
    if rule.adjustment == "none":
        window = window.head(0)

    # 1. days that are like the event day and that have all that the event and its adjustment ask for
    needed = pd.concat([steps.loc[steps.on, ["pod", "step"]], window[["pod", "step"]]]).drop_duplicates()
    days = past.groupby(["pod", "day"]).load.agg(whole_day="mean").reset_index()
    of_event = past.merge(steps.loc[steps.on, ["pod", "step"]]).groupby(["pod", "day"]).load.mean().rename("over_event")
    days = days.merge(of_event.reset_index(), how="left")
    n_there = past.merge(needed).groupby(["pod", "day"]).size().rename("there").reset_index()
    n_asked = needed.groupby("pod").size().rename("asked").reset_index()
    days = days.merge(n_there, how="left").merge(n_asked, how="left").fillna({"there": 0, "asked": 0})
    days = days.merge(long_table(case["eligible"], "pod", "day", "eligible"))
    days = days[days.eligible & (days.there == days.asked)]

    # 2. the latest Y, ranked by score, the most recent first where scores are equal
    candidates = days[days.groupby("pod").day.rank(ascending=False) <= rule.n_candidates].copy()
    candidates["score"] = candidates.whole_day
    if rule.score == "event":
        candidates["score"] = candidates.over_event.fillna(candidates.whole_day)
    n_found = candidates.groupby("pod").day.transform("size")
    candidates = candidates[n_found >= rule.min_days].assign(n_found=n_found)
    ranked = candidates.sort_values(["score", "day"], ascending=[rule.method == "low", False])
    position = ranked.groupby("pod").cumcount() + 1
    n_taken = ranked.n_found if rule.method == "all" else ranked.n_found.clip(upper=rule.n_selected)
    dropped_on_top = np.ceil((ranked.n_found - n_taken) / 2) if rule.method == "mid" else 0
    chosen = ranked[(position > dropped_on_top) & (position <= dropped_on_top + n_taken)]

    # 3. the mean of the chosen days
    sums = past.merge(chosen[["pod", "day"]]).groupby(["pod", "step"]).load.agg(["sum", "count"]).reset_index()
    sums["mean"] = sums["sum"] / sums["count"]

    # 4. what the event day did before each event, against that mean
    n_days = chosen.groupby("pod").size().rename("n_days").reset_index()
    level = window.merge(sums, on=["pod", "step"]).merge(n_days, on="pod")
    level = level.groupby(["pod", "event"]).agg(
        metered=("metered", "sum"), expected=("sum", "sum"), n=("step", "size"), n_days=("n_days", "first")
    )
    weight = level.n_days * level.n
    shift = (level.metered * level.n_days - level.expected) / weight
    if rule.cap_w is not None:
        shift = shift.clip(-rule.cap_w, rule.cap_w)
    level["shift"], level["ratio"] = shift, 1.0
    if rule.adjustment == "multiplicative":
        sound = (level.expected > rule.guard_w * weight) & (level.metered >= 0)
        lo, hi = (bound / 1_000_000 for bound in rule.ratio_ppm)
        ratio = (level.metered * level.n_days / level.expected.where(sound)).clip(lo, hi)
        level["ratio"] = ratio.fillna(1.0)
        level["shift"] = shift.where(~sound, 0.0)
    adjusted = steps.merge(sums, how="left", on=["pod", "step"]).merge(
        level[["ratio", "shift"]].reset_index(), how="left", on=["pod", "event"]
    )
    adjusted["baseline"] = (adjusted["mean"] * adjusted.ratio.fillna(1.0) + adjusted["shift"].fillna(0.0)).round()
    return adjusted.pivot(index="pod", columns="step", values="baseline").to_numpy().reshape(n_pods, n_steps)


def around_event(rule, today_w, event, today_excluded):
    """Meter before and after, and 3 + 2: one level over each event, the meter itself elsewhere."""
    usable = readings(today_w, event | today_excluded, "pod", "step", "metered")
    steps, events = number_events(event)
    closes, opens = events.start - rule.before_gap, events.end + rule.after_gap
    sides = {"before": between(usable, events, closes - rule.before_steps, closes - 1)}
    if rule.join != "before":
        sides["after"] = between(usable, events, opens + 1, opens + rule.after_steps)
    both = pd.concat(sides, names=["side"]).reset_index("side")
    if rule.join == "mean":
        level = both.groupby(["pod", "event"]).metered.mean()
    else:
        means = both.groupby(["pod", "event", "side"]).metered.mean().groupby(["pod", "event"])
        level = means.max() if rule.join == "largest" else means.min()
    table = steps.merge(level.rename("level").round().reset_index(), how="left", on=["pod", "event"])
    table["metered"] = today_w.ravel()
    table["metered"] = table.metered.where(table.metered != MISSING_W)
    table["baseline"] = table["level"].where(table.on, table.metered)
    return table.pivot(index="pod", columns="step", values="baseline").to_numpy()


def rolling(history_w, n_days):
    """Mean of the last `n_days` days, all of which have every reading."""
    table = long_table(history_w.astype(np.int64), "pod", "day", "step", "load").sort_values("day")
    last = table.groupby(["pod", "step"]).tail(n_days)
    return last.groupby(["pod", "step"]).load.mean().round().unstack("step").to_numpy()


def nominated(declared_w):
    """What was declared."""
    table = long_table(declared_w, "pod", "step", "declared")
    table["declared"] = table.declared.where(table.declared != MISSING_W)
    return table.pivot(index="pod", columns="step", values="declared").to_numpy()
