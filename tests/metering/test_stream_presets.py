"""Every preset and the whole rule of reference days, from files as in memory, bit by bit, for several block sizes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import flexcore as fx
from flexcore.errors import FileError, OptionError, ValidationError
from flexcore.metering import (
    MISSING_W,
    PRESETS,
    Calendar,
    EligibilityRule,
    EventRuns,
    MatchDay,
    ReferenceDays,
    baseline_batches,
    count_readings,
    day_steps,
    eligible_days,
    match_day_distance,
    needed_steps,
    reading_layout,
    rule_for,
    stream,
    stream_work,
    temperature_distance,
)
from flexcore.metering.baseline_result import NO_BASELINE

DAY = fx.MarketDay("2026-04-20")  # the change of clocks of 29 March and Easter lie among the past days
N, N_DAYS = 77, 50
BLOCKS = (5, 30, 1024)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Units of 32 PODs and row groups of 64: blocks end at none of them."""
    monkeypatch.setattr(stream, "UNIT", 32)
    for module in (reading_layout, stream, fx.metering.reading_files):
        monkeypatch.setattr(module, "GROUP_ROWS", 64)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """Files of fifty days and of the event day, and the same as arrays."""
    folder = tmp_path_factory.mktemp("city")
    rng = np.random.default_rng(11)
    pods = np.sort(rng.choice(10**6, N, replace=False))
    level = rng.integers(-500, 4000, (N, 1))
    paths, mapped = [], []
    for d in range(N_DAYS, -1, -1):
        past = DAY.shift(-d)
        power = (level + rng.integers(-300, 300, (N, past.n_steps))).astype(np.int32)
        power[rng.random(power.shape) < 0.0005] = MISSING_W
        paths.append(folder / f"{past.date}.parquet")
        fx.write_readings(paths[-1], past, pods, power)
        steps = day_steps(past, DAY)
        mapped.append(np.where(steps >= 0, power[:, steps], MISSING_W).astype(np.int32))
    return pods, paths, np.stack(mapped[:-1], axis=1), mapped[-1]


def masks(rng):
    event = np.zeros((N, 96), bool)
    event[:, 70:78] = rng.random((N, 1)) < 0.8
    return {
        "event": event,
        "eligible": rng.choice(np.arange(4, dtype=np.uint8), (N, N_DAYS), p=[0.02, 0.81, 0.15, 0.02]),
        "excluded": rng.random((N, N_DAYS, 96)) < 0.002,
        "today_excluded": rng.random((N, 96)) < 0.02,
    }


def arguments(rng, rule, history, today, given):
    """What the method of a rule needs and may have, one row for each POD where it can be."""
    controls = rng.integers(0, 3000, (40, 96)).astype(np.int32)
    more = {
        "nominated": {"nominated_w": rng.integers(-900, 900, (N, 96)).astype(np.int32)},
        "reference": {"reference_w": rng.integers(0, 900, (3, 96)), "reference_of": rng.integers(0, 3, N),
                      "units": rng.integers(1, 9, N)},
        "control_group": {"control_w": controls, "control_of": np.argsort(rng.random((N, 40)))[:, :12],
                          "control_event": rng.random((40, 96)) < 0.001, "units": rng.integers(1, 4, N),
                          "control_excluded": rng.random((40, 96)) < 0.01},
        "regression": {"temperature_c": rng.normal(15, 8, (2, N_DAYS, 96)), "zone": rng.integers(0, 2, N),
                       "today_temperature_c": rng.normal(15, 8, (2, 96)), "day_off": rng.random(N_DAYS) < 0.3,
                       "today_off": True},
    }.get(rule.method, {})  # fmt: skip
    if rule.score == "given":
        more = {"day_score": temperature_distance(rng.normal(20, 5, (N, N_DAYS)), rng.normal(20, 5, N))}
        if "match" in rule.source:
            names = ("excluded", "today_excluded")
            more = {"day_score": match_day_distance(history, today, given["event"], **{n: given[n] for n in names})}
    return more


def assert_streamed(city, monkeypatch, expected, event, **options):
    """Streamed baselines are `expected` for each size of blocks, and have one digest."""
    _, paths, _, _ = city
    digests = set()
    for size in BLOCKS:
        monkeypatch.setattr(stream_work, "BLOCK", size)
        found = fx.baseline_files(paths[:-1], paths[-1], event, **options)
        assert (found.baseline_w == expected.baseline_w).all()
        assert (found.status == expected.status).all()
        digests.add(found.digest)
    assert len(digests) == 1
    return digests.pop()


@pytest.mark.rule("BAS-01")
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_the_same_from_files(city, monkeypatch, preset):
    _, _, history, today = city
    rng = np.random.default_rng(len(preset))
    rule, given = PRESETS[preset], masks(rng)
    more = arguments(rng, rule, history, today, given)
    expected = fx.baseline(history, today, preset=preset, **given, **more)
    has = [day for day, status in zip(expected.baseline_w, expected.status, strict=True) if not status & NO_BASELINE]
    assert len(has) > N // 2  # most PODs have a baseline, so that equality says something
    digest = assert_streamed(city, monkeypatch, expected, preset=preset, **given, **more)
    if preset == "pjm_match_day":
        assert assert_streamed(city, monkeypatch, expected, preset=preset, **given, day_score=MatchDay()) == digest
    if rule.idle == "metered":
        assert (expected.baseline_w == today)[~given["event"] & (today != MISSING_W)].all()


@pytest.mark.parametrize("preset", ["uk_fixed_reference", "control_group_ratio", "degree_hours", "caiso_weather_match"])
def test_arguments_that_all_share(city, monkeypatch, preset):
    _, _, history, today = city
    rng = np.random.default_rng(3)
    given = masks(rng)
    more = arguments(rng, PRESETS[preset], history, today, given)
    for name in ("units", "control_of", "zone", "day_off"):
        more.pop(name, None)
    if preset == "degree_hours":
        more["temperature_c"], more["today_temperature_c"] = more["temperature_c"][0], more["today_temperature_c"][0]
    if preset == "caiso_weather_match":
        more["day_score"] = temperature_distance(rng.normal(20, 5, N_DAYS), 21.5)
    given = {name: mask[0] for name, mask in given.items()}
    given["event"] = np.arange(96) // 8 == 9
    expected = fx.baseline(history, today, preset=preset, **given, **more)
    assert_streamed(city, monkeypatch, expected, preset=preset, **given, **more)


def test_nominations_from_files(city, monkeypatch, tmp_path):
    pods, paths, _, today = city
    declared = np.random.default_rng(1).integers(-900, 900, (N, 96)).astype(np.int32)
    declared[5, 3] = MISSING_W
    parts = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    fx.write_readings(parts[0], DAY, pods[:20], declared[:20])
    fx.write_readings(parts[1], DAY, pods[20:], declared[20:])
    expected = fx.baseline(None, today, preset="nominated", nominated_w=declared)
    for source in (parts, tmp_path, declared):
        assert_streamed(city, monkeypatch, expected, None, preset="nominated", nominated_w=source)
    # baselines of an earlier run are nominations as well
    fx.baseline_files(paths[:-1], paths[-1], preset="nominated", nominated_w=parts, out=tmp_path / "run", parts=2)
    assert_streamed(city, monkeypatch, expected, None, preset="nominated", nominated_w=tmp_path / "run")
    with pytest.raises(FileError) as refused:
        fx.baseline_files([], paths[-1], preset="nominated", nominated_w=parts[0])
    assert refused.value.codes == ("FX-B064",)
    with pytest.raises(FileError) as refused:
        fx.baseline_files([], paths[-1], preset="nominated", nominated_w=paths[0])
    assert refused.value.codes == ("FX-B062",)


def test_spawned_workers_get_the_arguments(city, tmp_path):
    _, paths, history, today = city
    rng = np.random.default_rng(5)
    given = masks(rng)
    more = arguments(rng, PRESETS["degree_hours"], history, today, given)
    found = fx.baseline_files(paths[:-1], paths[-1], preset="degree_hours", **given, **more)
    days = ReferenceDays(Calendar(holidays=["2026-04-06"]), EligibilityRule(completeness_ppm=900_000), random_events())
    chosen = fx.baseline_files(paths[:-1], paths[-1], given["event"], eligible=days)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        options = {"executor": pool, "parts": 3}
        far = fx.baseline_files(paths[:-1], paths[-1], preset="degree_hours", **given, **more, out=tmp_path / "a",
                                **options)  # fmt: skip
        far_chosen = fx.baseline_files(paths[:-1], paths[-1], given["event"], eligible=days, out=tmp_path / "b",
                                       **options)  # fmt: skip
    assert (far.digest, far_chosen.digest) == (found.digest, chosen.digest)


@pytest.mark.parametrize(
    ("preset", "change", "code", "rows"),
    [
        ("nominated", {}, "FX-B006", ()),
        ("uk_fixed_reference", {"reference_w": np.ones((2, 96))}, "FX-B006", ()),
        ("pjm_match_day", {}, "FX-B006", ()),
        ("pjm_match_day", {"day_score": MatchDay(-1)}, "FX-A006", ()),
        ("pjm_match_day", {"day_score": np.ones((N - 1, N_DAYS), int)}, "FX-A001", ()),
        ("nominated", {"nominated_w": np.ones((N - 1, 96), int)}, "FX-A001", ()),
        ("uk_fixed_reference", {"reference_w": np.ones((2, 96), int), "reference_of": np.arange(N) // 76 * 9},
         "FX-B031", (76,)),
        ("uk_fixed_reference", {"reference_w": np.ones((2, 96), int), "reference_of": [0]}, "FX-A001", ()),
        ("control_group", {"control_w": np.ones((2, 96), int), "control_of": np.arange(N)[:, None] // 70 * 2},
         "FX-B031", tuple(range(70, 77))),
        ("control_group", {"control_w": np.ones((2, 96), int), "units": np.arange(N - 1)}, "FX-A001", ()),
        ("degree_hours", {"temperature_c": np.ones((N_DAYS, 96)), "today_temperature_c": np.ones(96),
                          "zone": np.arange(N) // 50}, "FX-B031", tuple(range(50, 77))),
    ],
)  # fmt: skip
def test_what_is_missing_or_points_nowhere_is_refused_with_rows_of_the_city(city, preset, change, code, rows):
    _, paths, _, _ = city
    with pytest.raises(ValidationError) as refused:
        fx.baseline_files(paths[:-1], paths[-1], preset=preset, **change)
    assert refused.value.codes == (code,)
    if rows:
        assert refused.value.findings[0].rows == rows


def test_streams_refuse_what_they_cannot_pass_on(city):
    _, paths, _, _ = city
    tables = [pa.parquet.read_table(path) for path in (paths[0], paths[-1])]
    for preset in ("nominated", "uk_fixed_reference", "control_group", "degree_hours", "pjm_match_day"):
        with pytest.raises(ValidationError) as refused:
            baseline_batches(tables[:1], tables[1], days=[DAY.shift(-N_DAYS), DAY], preset=preset)
        assert refused.value.codes[0] == "FX-B080"
        assert preset in str(refused.value)


def random_events(n=160, seed=2):
    """Past and present events of both operators, some across midnight."""
    rng = np.random.default_rng(seed)
    first = DAY.first_qh + rng.integers(-N_DAYS * 96, 96, n)
    return EventRuns(
        rng.integers(0, N, n), first, first + rng.integers(1, 12, n), operator=rng.integers(0, 2, n),
        power_w=rng.integers(1, 3000, n),
    )  # fmt: skip


RULES = [
    EligibilityRule(look_back_days=20, widened_days=40, rebound_steps=6, recovery_steps=3),
    EligibilityRule(look_back_days=6, widened_days=8, completeness_ppm=1_000_000, clock_change="map", impact="energy"),
    EligibilityRule(look_back_days=25, event_days="needed", fall_backs=("borrow",), completeness_ppm=980_000),
]


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("preset", ["caiso_5_in_10", "iso_ne_rolling", "pjm_match_day", "elexon_bl01", "meter_before"])
@pytest.mark.parametrize("rule", RULES)
def test_the_whole_rule_of_reference_days_from_files(city, monkeypatch, preset, rule):
    _, _, history, today = city
    rng = np.random.default_rng(7)
    calendar = Calendar(holidays=["2026-04-06"])
    days = [DAY.shift(-d) for d in range(N_DAYS, 0, -1)]
    event = np.zeros((N, 96), bool)
    event[:, 70:78] = rng.random((N, 1)) < 0.8
    flags = {"outage": rng.random((N, N_DAYS)) < 0.02, "test": rng.random(N_DAYS) < 0.02}
    followed = replace(rule_for(preset, calendar.day_type(DAY)), min_days=2)
    events = random_events()
    chosen = eligible_days(
        days, DAY, calendar=calendar, rule=rule, n_pods=N, events=events, **flags, n_read=count_readings(history),
        needed=needed_steps(event, followed),
    )  # fmt: skip
    assert chosen.masked.any() == (rule.event_days == "needed")
    rows = np.arange(N)
    touched = {"excluded": chosen.touched_of(rows) != 0, "today_excluded": chosen.today_excluded_of(rows)}
    more = {}
    if preset == "pjm_match_day":
        more = {"day_score": match_day_distance(history, today, event, **touched)}
    expected = fx.baseline(history, today, event, eligible=chosen.choice, preset=followed, **touched, **more)
    if preset == "pjm_match_day":
        more = {"day_score": MatchDay()}
    source = ReferenceDays(calendar, rule, events, **flags)
    digests = {
        assert_streamed(city, monkeypatch, expected, event, preset=followed, eligible=one, **more)
        for one in (chosen, source)
    }
    assert len(digests) == 1


def test_masks_of_ones_own_join_those_of_the_rule(city, monkeypatch):
    _, _, history, today = city
    rng = np.random.default_rng(8)
    given = masks(rng)
    days = [DAY.shift(-d) for d in range(N_DAYS, 0, -1)]
    calendar, rule, events = Calendar(holidays=()), RULES[2], random_events(seed=9)
    chosen = eligible_days(days, DAY, calendar=calendar, rule=replace(rule, completeness_ppm=0), n_pods=N,
                           events=events, needed=needed_steps(given["event"], PRESETS["high_5_of_10"]))  # fmt: skip
    rows = np.arange(N)
    both = {
        "excluded": given["excluded"] | chosen.excluded_of(rows),
        "today_excluded": given["today_excluded"] | chosen.today_excluded_of(rows),
    }
    expected = fx.baseline(history, today, given["event"], eligible=chosen.choice, preset="high_5_of_10", **both)
    assert_streamed(city, monkeypatch, expected, preset="high_5_of_10", **{**given, "eligible": chosen})


def test_one_choice_for_all(city, monkeypatch):
    _, _, history, today = city
    days = [DAY.shift(-d) for d in range(N_DAYS, 0, -1)]
    event = np.arange(96) // 8 == 9
    past = DAY.shift(-3).first_qh
    events = EventRuns([0, 0], [past, DAY.first_qh + 50], [past + 4, DAY.first_qh + 52], operator=0)
    chosen = eligible_days(days, DAY, calendar=Calendar(holidays=()), rule="high_5_of_10", events=events)
    today_out = chosen.today_excluded_of([0])[0]
    expected = fx.baseline(history, today, event, eligible=chosen.choice, preset="high_5_of_10",
                           today_excluded=today_out)  # fmt: skip
    assert_streamed(city, monkeypatch, expected, event, preset="high_5_of_10", eligible=chosen)


def test_days_chosen_for_others_are_refused(city):
    _, paths, _, _ = city
    days = [DAY.shift(-d) for d in range(N_DAYS, 0, -1)]
    calendar = Calendar(holidays=())
    good = {"calendar": calendar, "rule": "high_5_of_10"}
    cases = [
        ("FX-B081", eligible_days(days[1:], DAY, **good)),
        ("FX-B081", eligible_days(days, DAY, **good, n_pods=N + 1)),
        ("FX-A006", ReferenceDays(**good, events=EventRuns([N], [0], [1], operator=0))),
        ("FX-A001", ReferenceDays(**good, outage=np.zeros((N, 3), bool))),
        ("FX-B021", ReferenceDays(calendar, EligibilityRule(look_back_days=0))),
    ]
    for code, eligible in cases:
        with pytest.raises(ValidationError) as refused:
            fx.baseline_files(paths[:-1], paths[-1], eligible=eligible)
        assert refused.value.codes == (code,), code
    with pytest.raises(OptionError):
        fx.baseline_files(paths[:-1], paths[-1], eligible=ReferenceDays(calendar, "nowhere"))
