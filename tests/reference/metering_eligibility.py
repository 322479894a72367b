"""Calendar and eligibility with dates, sets and loops, written from the rule text and never tuned.

Times are UTC datetimes; the clock of a day is worked out quarter-hour by quarter-hour with `zoneinfo`.
"""

import datetime as dt
import functools
import zoneinfo

QUARTER = dt.timedelta(minutes=15)
DAY = dt.timedelta(days=1)


def easter(year):
    """Easter Sunday of the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = b // 4, b % 4
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return dt.date(year, month, day + 1)


def italian_holidays(year):
    """Holidays that the law names: fixed dates and Easter Monday; Saint Francis again from 2026."""
    fixed = [(1, 1), (1, 6), (4, 25), (5, 1), (6, 2), (8, 15), (11, 1), (12, 8), (12, 25), (12, 26)]
    dates = {dt.date(year, month, day) for month, day in fixed} | {easter(year), easter(year) + DAY}
    return dates | ({dt.date(year, 10, 4)} if year >= 2026 else set())


def day_type(date, holidays, scheme):
    """Type of a day."""
    name = date.strftime("%A").lower()
    if date in holidays:
        name = "sunday"
    if scheme == "all":
        return "any"
    if scheme == "weekday":
        return name
    if name not in ("saturday", "sunday"):
        return "working"
    return "non_working" if scheme == "working" else name


@functools.cache
def quarters(date, tz):
    """UTC start of each quarter-hour of a local day."""
    zone = zoneinfo.ZoneInfo(tz)
    utc = zoneinfo.ZoneInfo("UTC")
    now = dt.datetime.combine(date, dt.time(), zone).astimezone(utc)
    end = dt.datetime.combine(date + DAY, dt.time(), zone).astimezone(utc)
    found = []
    while now < end:
        found.append(now)
        now += QUARTER
    return found


@functools.cache
def shown(past, date, tz):
    """Quarter-hour of a past day for each quarter-hour of a day, by the clock on the wall; None where it has none."""
    zone = zoneinfo.ZoneInfo(tz)

    def clock(moment):
        local = moment.astimezone(zone)
        return local.hour, local.minute, local.fold

    by_clock = {clock(moment): moment for moment in quarters(past, tz)}
    result = []
    for moment in quarters(date, tz):
        hour, minute, fold = clock(moment)
        found = by_clock.get((hour, minute, fold))
        if found is None and fold == 1:
            found = by_clock.get((hour, minute, 0))
        result.append(found)
    return result


def touched(moment, events, after_steps):
    """Marks of one quarter-hour: pairs (operator, "event" or "after")."""
    marks = set()
    for event in events:
        after = after_steps if event["after_steps"] is None else event["after_steps"]
        if event["start"] <= moment < event["end"]:
            marks.add((event["operator"], "event"))
        elif event["end"] <= moment < event["end"] + after * QUARTER:
            marks.add((event["operator"], "after"))
    return marks


def eligible(dates, date, tz, rule, holidays, *, events, outage, test, n_read, needed):
    """Order of choice of each past day of one POD, the causes, and the touched quarter-hours of each day."""
    order, causes, marks, waiting = {}, {}, {}, []
    for position, past in enumerate(dates):
        clock = shown(past, date, tz)
        marks[past] = [
            set() if m is None else touched(m, events, rule.rebound_steps + rule.recovery_steps) for m in clock
        ]
        lacks = set()
        if day_type(past, holidays, rule.day_types) != day_type(date, holidays, rule.day_types):
            lacks.add("other_type")
        if past >= date - rule.gap_days * DAY:
            lacks.add("in_gap")
        if rule.clock_change == "exclude" and len(quarters(past, tz)) != 96:
            lacks.add("clock_change")
        has = sum(moment is not None for moment in clock)
        if n_read is not None and rule.completeness_ppm and n_read[position] * 1_000_000 < rule.completeness_ppm * has:
            lacks.add("incomplete")
        if outage[position]:
            lacks.add("outage")
        if test[position]:
            lacks.add("test")
        hit = set()
        for step, found in enumerate(marks[past]):
            if rule.event_days == "whole" or needed[step]:
                hit |= found
        event_causes = {f"{operator}_event" for operator, kind in hit if kind == "event"}
        if any(kind == "after" for _, kind in hit):
            event_causes.add("after_event")
        old = past < date - rule.look_back_days * DAY
        causes[past] = lacks | event_causes | ({"too_old"} if old else set())
        in_reach = not old or ("widen" in rule.fall_backs and past >= date - rule.widened_days * DAY)
        order[past] = 0
        if lacks or not in_reach:
            continue
        if not event_causes:
            order[past] = 2 if old else 1
            continue
        if rule.impact == "quarter_hours":
            impact = sum(bool(found) for found in marks[past])
        else:
            impact = sum(
                event["power_w"]
                for moment in clock
                for event in events
                if moment is not None and event["start"] <= moment < event["end"]
            )
        waiting.append((impact, date - past, past))
    if "borrow" in rule.fall_backs:
        for rank, (_, _, past) in enumerate(sorted(waiting)[: rule.borrow_most]):
            order[past] = 3 + rank
    return order, causes, marks
