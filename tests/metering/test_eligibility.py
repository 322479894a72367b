"""Eligibility of reference days: equal to the reference on random cases, and right on days that people argue about."""

import datetime as dt

import numpy as np
import pytest

from flexcore import MarketDay, baseline
from flexcore.errors import OptionError, TimeSeriesError, ValidationError
from flexcore.metering import MISSING_W, PRESETS, BaselineRule
from flexcore.metering.calendar import Calendar
from flexcore.metering.eligibility import (
    AFTER_EVENT,
    CLOCK_CHANGE,
    GLOBAL_EVENT,
    IN_GAP,
    INCOMPLETE,
    LOCAL_EVENT,
    OTHER_TYPE,
    OUTAGE,
    TEST,
    TOO_OLD,
    WHY,
    count_readings,
    eligible_days,
    needed_steps,
)
from flexcore.metering.eligibility_rule import ELIGIBILITY, FALL_BACKS, EligibilityRule, rule_for
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.history import assemble_history
from flexcore.units import GLOBAL, LOCAL
from tests.reference import metering_eligibility as reference

ROME = "Europe/Rome"
NO_HOLIDAYS = Calendar(holidays=())
NAMES = ("other_type", "too_old", "in_gap", "clock_change", "incomplete", "outage", "test", "local_event",
         "global_event", "after_event")  # fmt: skip
BY_NAME = dict(zip(NAMES, WHY, strict=True))
OPERATORS = {LOCAL: "local", GLOBAL: "global"}
UTC = dt.UTC


def past_days(day, n):
    return [day.shift(back - n) for back in range(n)]


def random_rule(rng):
    fall_backs = FALL_BACKS[rng.integers(4)]
    look_back = int(rng.integers(1, 26))
    return EligibilityRule(
        ("working", "three", "weekday", "all")[rng.integers(4)],
        look_back_days=look_back,
        gap_days=int(rng.integers(0, min(look_back, 4))),
        completeness_ppm=int(rng.choice([0, 500_000, 989_584, 1_000_000])),
        clock_change=("exclude", "map")[rng.integers(2)],
        event_days=("whole", "needed")[rng.integers(2)],
        rebound_steps=int(rng.integers(0, 12)),
        recovery_steps=int(rng.choice([0, 4, 110])),
        fall_backs=fall_backs,
        widened_days=look_back + int(rng.integers(1, 20)),
        borrow_most=int(rng.integers(1, 8)),
        impact=("quarter_hours", "energy")[rng.integers(2)],
    )


def random_case(rng, n_pods=3):
    """Days around changes of clocks and holidays, some left out, with events that cross midnight and overlap."""
    date = rng.choice(
        ["2026-04-08", "2026-03-29", "2026-03-30", "2025-10-26", "2025-11-03", "2026-08-20", "2026-06-30"]
    )
    day = MarketDay(str(date))
    days = [past for past in past_days(day, int(rng.integers(1, 40))) if rng.random() < 0.9]
    n_events, n_days = int(rng.choice([0, 4, 30])), len(days)
    first = day.first_qh + rng.integers(-40 * 96, 96, n_events)
    events = EventRuns(
        rng.integers(0, n_pods, n_events),
        first,
        first + rng.integers(1, rng.choice([3, 40, 230]), n_events),
        operator=rng.integers(0, 2, n_events),
        power_w=rng.choice([0, 1000, 2500], n_events),
        after_steps=rng.choice([-1, -1, 0, 7], n_events),
    )
    holidays = [past.date for past in days if rng.random() < 0.1]
    needed = np.zeros((n_pods, day.n_steps), bool)
    for row in needed:
        start = rng.integers(day.n_steps)
        row[start : start + rng.integers(1, 30)] = True
    return {
        "days": days,
        "day": day,
        "holidays": holidays,
        "events": events,
        "outage": rng.random((n_pods, n_days)) < 0.05,
        "test": rng.random((n_pods, n_days)) < 0.05,
        "n_read": rng.choice([96, 48, 91, 92, 94, 95, 100], (n_pods, n_days), p=[0.7] + [0.05] * 6),
        "needed": needed,
    }


def event_dicts(events, pod):
    return [
        {
            "start": dt.datetime.fromtimestamp(int(events.first_qh[k]) * 900, UTC),
            "end": dt.datetime.fromtimestamp(int(events.end_qh[k]) * 900, UTC),
            "operator": OPERATORS[int(events.operator[k])],
            "power_w": int(events.power_w[k]),
            "after_steps": None if events.after_steps[k] < 0 else int(events.after_steps[k]),
        }
        for k in np.flatnonzero(events.pod == pod)
    ]


def marks_of(bits):
    kinds = {1: ("local", "event"), 2: ("global", "event"), 4: ("local", "after"), 8: ("global", "after")}
    return {kind for bit, kind in kinds.items() if bits & bit}


def run(case, rule, n_pods=3, **changes):
    inputs = {name: value for name, value in case.items() if name not in ("days", "day", "holidays")} | changes
    calendar = Calendar(holidays=case["holidays"])
    return eligible_days(case["days"], case["day"], calendar=calendar, rule=rule, n_pods=n_pods, **inputs)


def compare(seed):
    rng = np.random.default_rng(seed)
    rule, case = random_rule(rng), random_case(rng)
    result = run(case, rule)
    dates = [past.date for past in case["days"]]
    touched = result.touched_of(np.arange(3))
    for pod in range(3):
        order, causes, marks = reference.eligible(
            dates,
            case["day"].date,
            ROME,
            rule,
            set(case["holidays"]),
            events=event_dicts(case["events"], pod),
            outage=case["outage"][pod],
            test=case["test"][pod],
            n_read=case["n_read"][pod].tolist(),
            needed=case["needed"][pod],
        )
        assert result.choice[pod].tolist() == [order[date] for date in dates]
        assert result.why[pod].tolist() == [sum(BY_NAME[name] for name in causes[date]) for date in dates]
        for d, date in enumerate(dates):
            assert [marks_of(bits) for bits in touched[pod, d].tolist()] == marks[date]
        chosen = [d for d, date in enumerate(dates) if order[date] in (1, 2)]
        assert result.masked[pod] == any(found for d in chosen for found in marks[dates[d]])
        excluded = result.excluded_of([pod])
        if result.masked[pod]:
            assert np.array_equal(excluded, touched[[pod]] != 0)
        else:
            assert excluded is None


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("seed", range(250))
def test_eligibility_equals_the_reference(seed):
    compare(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(250, 1500))
def test_eligibility_equals_the_reference_on_many_more(seed):
    compare(seed)


def test_the_random_cases_reach_every_cause_and_every_order_of_choice():
    bits, orders = 0, set()
    for seed in range(60):  # the first of those that are compared above
        rng = np.random.default_rng(seed)
        rule, case = random_rule(rng), random_case(rng)
        result = run(case, rule)
        bits |= int(np.bitwise_or.reduce(result.why, axis=None)) if result.why.size else 0
        orders |= set(np.unique(result.choice).tolist())
    assert bits == sum(WHY)
    assert {0, 1, 2, 3, 4, 5} <= orders


@pytest.mark.parametrize("seed", range(20))
def test_blocks_and_threads_change_nothing(seed):
    rng = np.random.default_rng(seed)
    rule, case = random_rule(rng), random_case(rng, n_pods=7)
    whole = run(case, rule, 7)
    assert np.array_equal(run(case, rule, 7, n_threads=2).choice, whole.choice)
    for lo, hi in ((0, 3), (3, 7)):
        per_pod = {name: case[name][lo:hi] for name in ("outage", "test", "n_read", "needed")}
        block = run(case, rule, hi - lo, events=case["events"].of_block(lo, hi), **per_pod)
        assert np.array_equal(block.choice, whole.choice[lo:hi])
        assert np.array_equal(block.why, whole.why[lo:hi])
        rows = np.arange(lo, hi)
        assert np.array_equal(block.touched_of(rows - lo), whole.touched_of(rows))
        assert np.array_equal(block.today_excluded_of(rows - lo), whole.today_excluded_of(rows))


def working_week():
    """Event day Thursday 12 March 2026 and the 14 days before it: nothing special on them."""
    day = MarketDay("2026-03-12")
    return past_days(day, 14), day


PLAIN = EligibilityRule(look_back_days=10, fall_backs=(), rebound_steps=4, recovery_steps=2)


def test_like_days_within_the_look_back():
    days, day = working_week()
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=PLAIN)
    assert [past.date.day for past, on in zip(days, found.first_choice[0], strict=True) if on] == [
        2,
        3,
        4,
        5,
        6,
        9,
        10,
        11,
    ]
    assert found.why[0, 0] == TOO_OLD
    assert found.why[0, 9] == OTHER_TYPE  # Saturday the 7th
    assert found.n_first[0] == 8
    assert found.causes(0)[9] == (WHY[OTHER_TYPE],)
    assert found.day_type[9:12] == ("non_working", "non_working", "working")


def test_the_gap_leaves_out_the_latest_days():
    days, day = working_week()
    rule = EligibilityRule(look_back_days=10, gap_days=2, fall_backs=())
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=rule)
    assert [past.date.day for past, on in zip(days, found.first_choice[0], strict=True) if on] == [2, 3, 4, 5, 6, 9]
    assert found.why[0, -2:].tolist() == [IN_GAP, IN_GAP]


@pytest.mark.parametrize(("date", "change"), [("2026-04-01", "2026-03-29"), ("2025-10-28", "2025-10-26")])
def test_days_on_which_clocks_change(date, change):
    day = MarketDay(date)
    days = past_days(day, 7)
    at = [str(past.date) for past in days].index(change)
    out = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=EligibilityRule("all", fall_backs=()))
    assert out.why[0, at] == CLOCK_CHANGE
    assert out.choice[0].tolist() == [0 if d == at else 1 for d in range(7)]
    kept = eligible_days(
        days, day, calendar=NO_HOLIDAYS, rule=EligibilityRule("all", clock_change="map", fall_backs=())
    )
    assert (kept.choice == 1).all()


def test_an_event_day_of_92_or_100_quarter_hours_looks_at_ordinary_days():
    for date, n_steps in (("2026-03-29", 92), ("2025-10-26", 100)):
        day = MarketDay(date)
        days = past_days(day, 14)
        # 02:00 to 03:00 of the Saturday before: the hour that is missing, or comes twice, on the Sunday
        night = EventRuns.of_steps(days, [0], [13], [8], [12], operator=LOCAL, after_steps=0)
        found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=EligibilityRule(fall_backs=()), events=night)
        assert found.touched_of([0]).shape == (1, 14, n_steps)
        assert found.touched_of([0])[0, 13].sum() == (0 if n_steps == 92 else 8)
        assert found.choice[0, 13] == (1 if n_steps == 92 else 0)


@pytest.mark.rule("BAS-02")
def test_an_event_across_midnight_touches_both_days_with_rebound_and_recovery():
    days, day = working_week()
    # Tuesday 23:00 to Wednesday 00:30; four quarter-hours of rebound and two of recovery
    events = EventRuns.of_steps(days, [0], [12], [92], [98], operator=GLOBAL)
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=PLAIN, events=events)
    assert found.why[0, 12:].tolist() == [GLOBAL_EVENT, GLOBAL_EVENT | AFTER_EVENT]
    touched = found.touched_of([0])[0]
    assert np.flatnonzero(touched[12]).tolist() == [92, 93, 94, 95]
    assert touched[13, :9].tolist() == [2, 2, 8, 8, 8, 8, 8, 8, 0]


@pytest.mark.rule("BAS-02")
def test_rebound_and_recovery_alone_reach_across_midnight():
    days, day = working_week()
    late = EventRuns.of_steps(days, [0], [13], [94], [96], operator=LOCAL)  # the evening before the event day
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=PLAIN, events=late)
    assert np.flatnonzero(found.today_excluded_of([0])[0]).tolist() == [0, 1, 2, 3, 4, 5]
    earlier = EventRuns.of_steps(days, [0], [12], [94], [96], operator=LOCAL)
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=PLAIN, events=earlier)
    assert found.why[0, 12:].tolist() == [LOCAL_EVENT, AFTER_EVENT]
    assert found.choice[0, 12:].tolist() == [0, 0]


@pytest.mark.rule("BAS-02")
def test_events_of_both_operators_count_for_each_other():
    days, day = working_week()
    local = EventRuns.of_steps(days, [0, 1], [12, 12], [40, 40], [44, 44], operator=LOCAL)
    other = EventRuns.of_steps(days, [0], [12], [44], [50], operator=GLOBAL)
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=PLAIN, n_pods=3, events=EventRuns.join(local, other))
    assert found.why[:, 12].tolist() == [LOCAL_EVENT | GLOBAL_EVENT | AFTER_EVENT, LOCAL_EVENT | AFTER_EVENT, 0]
    assert found.choice[:, 12].tolist() == [0, 0, 1]
    # both marks where rebound of one and event of the other meet
    assert found.touched_of([0])[0, 12, 40:56].tolist() == [1] * 4 + [6] * 6 + [8] * 6


def test_only_needed_quarter_hours_make_an_event_day():
    days, day = working_week()
    event = np.zeros(96, bool)
    event[72:76] = True
    needed = needed_steps(event, PRESETS["high_5_of_10"])
    assert np.flatnonzero(needed).tolist() == [*range(56, 68), *range(72, 76)]
    assert np.array_equal(needed_steps(event, BaselineRule("all")), event)
    rule = EligibilityRule(event_days="needed", fall_backs=(), rebound_steps=0)
    events = EventRuns.of_steps(days, [0, 1, 2], [12] * 3, [68, 75, 40], [72, 80, 57], operator=LOCAL)
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=rule, n_pods=3, events=events, needed=needed)
    assert found.choice[:, 12].tolist() == [1, 0, 0]
    assert found.masked.tolist() == [True, False, False]
    assert found.excluded_of([1, 2]) is None
    mask = found.excluded_of([0])
    assert np.argwhere(mask).tolist() == [[0, 12, step] for step in range(68, 72)]


def test_fall_backs_widen_first_and_then_borrow_by_impact():
    days, day = working_week()
    rule = EligibilityRule(look_back_days=3, widened_days=7, borrow_most=2, rebound_steps=0)
    # look-back: Mon 9, Tue 10, Wed 11; widened: Thu 5, Fri 6. Events on 9 (2 quarter-hours), 10 (1), 11 (2), 6 (1)
    events = EventRuns.of_steps(
        days, [0] * 4, [11, 12, 13, 8], [40] * 4, [42, 41, 42, 41], operator=LOCAL, power_w=[100, 900, 50, 900]
    )
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=rule, events=events)
    assert found.choice[0].tolist() == [0] * 7 + [2, 4, 0, 0, 0, 3, 0]
    assert found.why[0, 7] == TOO_OLD
    assert found.why[0, 8] == TOO_OLD | LOCAL_EVENT
    assert (found.n_first[0], found.n_widened[0], found.n_borrowable[0]) == (0, 1, 2)
    assert found.rule.steps == (
        "like days (working) of the last 3 days",
        "then like days of the last 7 days",
        "then at most 2 event days, those with the least touched quarter-hours first",
        "then no baseline",
    )
    energy = EligibilityRule(look_back_days=3, widened_days=7, borrow_most=4, rebound_steps=0, impact="energy")
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=energy, events=events)
    # 100 Wqh on the 11th, 200 on the 9th, 900 on the 10th and the 6th: the later one first
    assert found.choice[0, 7:].tolist() == [2, 6, 0, 0, 4, 5, 3]


def test_an_outage_a_test_or_a_gap_in_the_readings_is_never_borrowed():
    days, day = working_week()
    n_read = np.full((1, 14), 96)
    n_read[0, 13] = 90
    outage, test = np.zeros(14, bool), np.zeros(14, bool)
    outage[12], test[11] = True, True
    rule = EligibilityRule(look_back_days=10, completeness_ppm=950_000)
    events = EventRuns.of_steps(days, [0] * 3, [11, 12, 13], [40] * 3, [44] * 3, operator=LOCAL, after_steps=0)
    found = eligible_days(
        days, day, calendar=NO_HOLIDAYS, rule=rule, events=events, outage=outage, test=test, n_read=n_read
    )
    assert found.why[0, 11:].tolist() == [LOCAL_EVENT | lack for lack in (TEST, OUTAGE, INCOMPLETE)]
    assert (found.choice[0, 11:] == 0).all()
    assert found.lost[WHY[OUTAGE]] == 1
    table = found.to_arrow().to_pydict()
    assert table["outage"] == outage.tolist()
    assert table["first_choice"] == (found.choice[0] == 1).tolist()


def test_completeness_is_a_share_of_the_quarter_hours_that_a_day_can_show():
    day = MarketDay("2026-04-01")
    days = past_days(day, 5)  # 29 March has 92 quarter-hours
    n_read = np.array([[96, 96, 92, 95, 96]])
    rule = EligibilityRule("all", clock_change="map", completeness_ppm=1_000_000, fall_backs=())
    found = eligible_days(days, day, calendar=NO_HOLIDAYS, rule=rule, n_read=n_read)
    assert found.choice[0].tolist() == [1, 1, 1, 0, 1]


def test_readings_are_counted():
    history = np.zeros((2, 3, 96), np.int32)
    history[0, 1, :7] = MISSING_W
    history[1, 2] = MISSING_W
    assert count_readings(history).tolist() == [[96, 89, 96], [96, 96, 0]]


def test_events_from_orders_and_from_steps():
    day = MarketDay("2026-03-12")
    orders = np.zeros((3, 96), np.int64)
    orders[0, 10:12], orders[0, 12:14], orders[2, 95] = 500, -700, 20
    events = EventRuns.of_orders(day, orders, pod=[4, 1, 2], operator=[LOCAL, LOCAL, GLOBAL])
    assert events.pod.tolist() == [2, 4, 4]
    assert (events.first_qh - day.first_qh).tolist() == [95, 10, 12]
    assert (events.end_qh - day.first_qh).tolist() == [96, 12, 14]
    assert events.operator.tolist() == [GLOBAL, LOCAL, LOCAL]
    assert events.power_w.tolist() == [20, 500, 700]
    assert EventRuns.join().n_events == 0
    assert EventRuns.join(events, events).pod.tolist() == [2, 2, 4, 4, 4, 4]
    with pytest.raises(TimeSeriesError, match="FX-T002"):
        EventRuns.of_orders(day, orders[:, :92], pod=[0, 1, 2], operator=LOCAL)


def test_markets_use_fewer_days_at_weekends():
    assert (rule_for("pjm_4_of_5", "working").n_candidates, rule_for("pjm_4_of_5", "sunday").n_candidates) == (5, 3)
    bl01 = rule_for("elexon_bl01", "non_working")
    assert (bl01.method, bl01.n_candidates, bl01.n_selected, bl01.window_steps) == ("all", 4, 4, 12)
    # one set of numbers for each market: the preset of days off
    assert rule_for("caiso_5_in_10", "non_working") == PRESETS["caiso_3_in_5_weekend"]
    assert rule_for("high_5_of_10", "saturday") == PRESETS["high_5_of_10"]
    own = BaselineRule("all")
    assert rule_for(own, "non_working") is own
    for preset in PRESETS:
        for kind in ("working", "non_working", "saturday", "sunday", "any"):
            rule_for(preset, kind).check()
    with pytest.raises(OptionError, match="FX-E002"):
        rule_for("caiso_10_in_10", "holiday")


def test_every_preset_is_sound_and_names_its_source():
    # every preset that looks at past days, or the one of working days of its market, and no other name
    of_days_off = {rule_for(name, "non_working") for name in ELIGIBILITY}
    for name, rule in PRESETS.items():
        looks_back = rule.is_x_of_y or rule.method in ("exponential", "regression")
        assert (name in ELIGIBILITY or rule in of_days_off) == looks_back, name
    assert set(ELIGIBILITY) <= set(PRESETS)
    for rule in ELIGIBILITY.values():
        rule.check()
        assert rule.source
        assert all(hasattr(rule, name) for name in rule.unverified)
    assert ELIGIBILITY["nyiso_5_of_10"].look_back_days == 30
    assert ELIGIBILITY["elexon_bl01"].look_back_days == 60


def refusals():
    days, day = working_week()
    rule = EligibilityRule()
    one = EventRuns([5], [day.first_qh - 96], [day.first_qh - 90], operator=LOCAL)
    base = {"days": days, "day": day, "calendar": NO_HOLIDAYS, "rule": rule}
    yield "FX-B022", base | {"days": days[::-1]}
    yield "FX-B022", base | {"days": [*days, day]}
    yield "FX-B022", base | {"days": [MarketDay("2026-03-11", "Europe/London")]}
    yield "FX-A006", base | {"events": one, "n_pods": 5}
    yield "FX-B006", base | {"rule": EligibilityRule(completeness_ppm=1)}
    yield "FX-B006", base | {"rule": EligibilityRule(event_days="needed"), "events": one, "n_pods": 6}
    yield "FX-A001", base | {"outage": np.zeros((3, 14), bool), "n_pods": 2}
    yield "FX-A002", base | {"test": np.zeros(14)}
    yield "FX-A006", base | {"n_pods": -1}
    yield "FX-E002", base | {"rule": "romeflex"}
    for change in (
        {"look_back_days": 3, "gap_days": 3},
        {"completeness_ppm": 1_000_001},
        {"widened_days": 45},
        {"borrow_most": 0},
        {"borrow_most": 254},
    ):
        yield "FX-B021", base | {"rule": EligibilityRule(**change)}
    yield "FX-E002", base | {"rule": EligibilityRule(fall_backs=("borrow", "widen"))}
    yield "FX-A006", base | {"rule": EligibilityRule(rebound_steps=-1)}


@pytest.mark.parametrize(("code", "inputs"), list(refusals()))
def test_what_is_wrong_is_refused(code, inputs):
    with pytest.raises(ValidationError, match=code):
        eligible_days(inputs.pop("days"), inputs.pop("day"), **inputs)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("FX-B023", {"end_qh": [10]}),
        ("FX-A004", {"pod": [-1]}),
        ("FX-A006", {"operator": 2}),
        ("FX-A004", {"power_w": -1}),
        ("FX-A001", {"first_qh": [1, 2]}),
    ],
)
def test_events_that_cannot_be_are_refused(code, change):
    values = {"pod": [0], "first_qh": [10], "end_qh": [11], "operator": LOCAL} | change
    with pytest.raises(ValidationError, match=code):
        EventRuns(values.pop("pod"), values.pop("first_qh"), values.pop("end_qh"), **values)


def test_steps_beyond_the_day_are_refused():
    days, _ = working_week()
    with pytest.raises(ValidationError, match="FX-A006"):
        EventRuns.of_steps(days, [0], [0], [96], [97], operator=LOCAL)
    with pytest.raises(ValidationError, match="FX-A006"):
        EventRuns.of_steps(days, [0], [14], [0], [1], operator=LOCAL)


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("event_days", ["whole", "needed"])
def test_what_events_did_to_past_readings_does_not_reach_the_baseline(event_days):
    day = MarketDay("2026-04-08")
    days = past_days(day, 40)
    rng = np.random.default_rng(8)
    clean = [np.repeat(rng.integers(900, 1100, (6, 1)), past.n_steps, axis=1).astype(np.int32) for past in days]
    event = np.zeros((6, 96), bool)
    event[:, 72:76] = True
    preset = PRESETS["high_5_of_10"]
    pods, at = rng.integers(0, 5, 40), rng.integers(0, 40, 40)  # POD 5 has no event
    first = rng.integers(0, 92, 40)
    operator = rng.integers(0, 2, 40)
    events = EventRuns.of_steps(days, pods, at, first, first + rng.integers(1, 16, 40), operator=operator)
    rule = EligibilityRule(event_days=event_days, rebound_steps=4, recovery_steps=4, fall_backs=())
    needed = needed_steps(event, preset)
    found = eligible_days(days, day, calendar=Calendar("IT"), rule=rule, n_pods=6, events=events, needed=needed)
    assert found.masked.any() == (event_days == "needed")
    # whatever the meters showed while events, rebound and recovery lasted
    clock = {past.first_qh + step: (d, step) for d, past in enumerate(days) for step in range(past.n_steps)}
    spoilt = [readings.copy() for readings in clean]
    for pod, begin, end in zip(events.pod, events.first_qh, events.end_qh, strict=True):
        for qh in range(begin, end + 8):
            if qh in clock:
                spoilt[clock[qh][0]][pod, clock[qh][1]] = rng.integers(-(10**6), 10**6)
    assert any((a != b).any() for a, b in zip(clean, spoilt, strict=True))
    today = np.full((6, 96), 1000, np.int32)
    results = [
        baseline(
            assemble_history(days, readings, day),
            today,
            event,
            eligible=found.first_choice,
            excluded=found.excluded_of(np.arange(6)),
            preset=preset,
        )
        for readings in (clean, spoilt)
    ]
    assert np.array_equal(results[0].baseline_w, results[1].baseline_w)
    assert np.array_equal(results[0].days_used, results[1].days_used)
    assert results[0].has_baseline.all()
