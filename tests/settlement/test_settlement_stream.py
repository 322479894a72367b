"""A city day settled from files: equal to the settlement in memory, digest included."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import flexcore as fx
from flexcore.errors import FileError, SettlementError, ValidationError
from flexcore.metering import (
    MISSING_W,
    BaselineRule,
    Calendar,
    EligibilityRule,
    EventRuns,
    MatchDay,
    ReferenceDays,
    count_readings,
    eligible_days,
    match_day_distance,
    reading_layout,
    rule_for,
    stream,
    stream_work,
)
from flexcore.metering.correcting import correct_readings
from flexcore.settlement import (
    SettlementTerms,
    changed_lines,
    correct,
    digest,
    finalise,
    open_run,
    order_rows,
    ordered,
    partition,
    run_files,
)
from flexcore.settlement.result import PodLines, SettlementLines

RULE = BaselineRule("high", n_candidates=3, n_selected=2, min_days=1, adjustment="additive", window_steps=8)
TERMS = SettlementTerms(price_ueur_per_mwh=70_000_000, penalty_ueur_per_mwh=110_000_000, tolerance_ppm=50_000)
DAY = fx.MarketDay("2026-01-21")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Units of 16 PODs, blocks of 8, row groups of 32; 50 orders read at a time, 10 rows settled at a time."""
    monkeypatch.setattr(order_rows, "_CHUNK", 50)
    monkeypatch.setattr(partition, "_ROWS", 10)
    monkeypatch.setattr(digest, "_ROWS", 6)
    for module in (stream, ordered):
        monkeypatch.setattr(module, "UNIT", 16)
    monkeypatch.setattr(stream_work, "BLOCK", 8)
    for module in (reading_layout, fx.metering.reading_files, fx.metering.correcting):
        monkeypatch.setattr(module, "GROUP_ROWS", 32)


def city(folder, rng, n=120, gaps=0.0, n_days=3):
    pods = np.sort(rng.choice(10**6, n, replace=False))
    paths, values = [], []
    for d in range(n_days, -1, -1):
        power = rng.integers(-3000, 6000, (n, 96)).astype(np.int32)
        power[rng.random(power.shape) < gaps] = MISSING_W
        paths.append(folder / f"{d}.parquet")
        fx.write_readings(paths[-1], DAY.shift(-d), pods, power)
        values.append(power)
    return pods, paths, values


def random_orders(rng, pods, prices="none"):
    """Orders of both operators; no POD is ordered twice in a quarter-hour. In no order."""
    table = {"pod": [], "operator": [], "aggregate": [], "direction": [], "step": [], "ordered_w": []}
    for k in rng.choice(len(pods), len(pods) // 2, replace=False):
        steps = rng.choice(np.arange(60, 96), 8, replace=False)
        for part in (steps[:3], steps[3:]):
            who = {"operator": rng.integers(2), "aggregate": k % 5, "direction": rng.integers(2), "pod": pods[k]}
            for step in part:
                for name, value in {**who, "step": step, "ordered_w": rng.integers(0, 900)}.items():
                    table[name].append(int(value))
    n = len(table["pod"])
    if prices == "steps":
        table["price_ueur_per_mwh"] = rng.integers(-(10**8), 10**8, n).tolist()
    if prices == "rows":
        table["price_ueur_per_mwh"] = [10**6 * (k % 50) for k in table["pod"]]
    mixed = rng.permutation(n)
    return {name: np.array(column)[mixed] for name, column in table.items()}


def in_memory(pods, values, orders, terms=TERMS, base=None, estimated=None, **options):
    """The same by `baseline` for all PODs and `settle` for dense rows, made with dictionaries."""
    place = {pod: k for k, pod in enumerate(pods.tolist())}
    rows, event = {}, np.zeros((len(pods), 96), bool)
    price = {}
    for k in range(len(orders["pod"])):
        pod, buyer, group, way, step, power = (int(orders[name][k]) for name in (
            "pod", "operator", "aggregate", "direction", "step", "ordered_w"))  # fmt: skip
        key = (place[pod], buyer, group, way)
        rows.setdefault(key, np.zeros(96, np.int64))[step] = power
        price.setdefault(key, {})[step] = int(orders.get("price_ueur_per_mwh", [0] * (k + 1))[k])
        event[place[pod], step] |= power > 0
    if base is None:
        base = fx.baseline(np.stack(values[:-1], axis=1), values[-1], event, preset=RULE)
    keys = sorted(rows)
    at, buyer, group, way = (np.array(column, np.int64) for column in zip(*keys, strict=True))
    prices = None
    if "price_ueur_per_mwh" in orders:
        if all(len(set(price[key].values())) == 1 for key in keys):
            prices = np.array([next(iter(price[key].values())) for key in keys])
        else:
            prices = np.array([[price[key].get(t, 0) for t in range(96)] for key in keys])
    result = fx.settle(
        np.array([rows[key] for key in keys]), base.baseline_w[at], values[-1][at], terms, direction=way,
        aggregate=group, operator=buyer, price_ueur_per_mwh=prices, pod=pods[at],
        estimated=None if estimated is None else estimated[at], **options,
    )  # fmt: skip
    return result, base.status[at]


def assert_same(one, other):
    assert one.digest == other.digest
    for table in ("lines", "pod_lines", "totals"):
        for field in fields(getattr(one, table)):
            a, b = (getattr(getattr(result, table), field.name) for result in (one, other))
            assert a.tolist() == b.tolist(), (table, field.name)


@pytest.mark.rule("SET-01")
@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("prices", ["none", "rows", "steps"])
@pytest.mark.parametrize("gaps", [0.0, 0.01])
def test_files_settle_as_arrays_do(tmp_path, prices, gaps):
    rng = np.random.default_rng(len(prices))
    pods, paths, values = city(tmp_path, rng, gaps=gaps)
    orders = random_orders(rng, pods, prices)
    expected, status = in_memory(pods, values, orders, missing="zero")
    for threads, table in ((1, orders), (2, pa.table(orders))):
        found = fx.settle_files(
            table, paths[:-1], paths[-1], TERMS, preset=RULE, missing="zero", n_threads=threads, out=tmp_path / "run"
        )
        assert_same(found.result, expected)
        assert found.status.tolist() == status.tolist()
    lines, pod_lines, totals = (pq.read_table(name) for name in found.files)
    assert lines.equals(expected.lines.to_arrow())
    assert pod_lines["pod"].to_pylist() == expected.pod_lines.pod.tolist()
    assert (
        sum(pod_lines["net_ueur"].to_pylist()) == sum(totals["net_ueur"].to_pylist()) == expected.lines.net_ueur.sum()
    )
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["digest"] == expected.digest


def test_text_keys_settle_alike(tmp_path):
    rng = np.random.default_rng(5)
    pods, paths, values = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    numbers = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
    named = [f"IT{pod:06d}" for pod in pods]
    texts = []
    for d, power in enumerate(values):
        texts.append(tmp_path / f"text-{d}.parquet")
        fx.write_readings(texts[-1], DAY.shift(d - 3), named, power)
    table = {**orders, "pod": np.array([f"IT{pod:06d}" for pod in orders["pod"]])}
    found = fx.settle_files(table, texts[:-1], texts[-1], TERMS, preset=RULE, out=tmp_path / "out")
    assert found.result.lines.to_arrow().equals(numbers.result.lines.to_arrow())
    pod_lines = pq.read_table(found.files[1])
    assert pod_lines["pod"].to_pylist() == [f"IT{pod:06d}" for pod in numbers.result.pod_lines.pod]
    assert pod_lines["net_ueur"].to_pylist() == numbers.result.pod_lines.net_ueur.tolist()


@pytest.mark.rule("BAS-02")
def test_touched_quarter_hours_join_the_orders(tmp_path):
    rng = np.random.default_rng(6)
    pods, paths, _ = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    plain = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
    past = DAY.shift(-1)
    ordered = np.unique(orders["pod"])
    touched = {"pod": np.repeat(ordered, 96), "qh": np.tile(past.qh, len(ordered))}
    found = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, touched=touched)
    without = [paths[0], paths[1]]
    expected = fx.settle_files(orders, without, paths[-1], TERMS, preset=RULE)
    assert found.result.lines.to_arrow().equals(expected.result.lines.to_arrow())
    assert found.result.digest != plain.result.digest


@pytest.mark.rule("SET-04")
def test_a_corrected_reading_changes_only_its_lines_and_the_new_run_cites_the_old(tmp_path):
    rng = np.random.default_rng(7)
    pods, paths, _ = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    options = {"preset": RULE, "n_threads": 2}
    first = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, out=tmp_path / "first", **options)
    run = finalise(open_run(str(DAY.date), first.result))
    k = int(np.flatnonzero(orders["ordered_w"])[0])
    pod, step = int(orders["pod"][k]), int(orders["step"][k])
    wrong_way = -20_000 if orders["direction"][k] else 20_000
    corrections = {"pod": [pod], "qh": [DAY.first_qh + step], "power_w": [wrong_way]}
    assert correct_readings(tmp_path / "new.parquet", paths[-1], corrections, reason="issued again") == 1
    again = fx.settle_files(
        orders, paths[:-1], tmp_path / "new.parquet", TERMS, out=tmp_path / "second", cites=tmp_path / "first",
        reason="issued again", **options,
    )  # fmt: skip
    new = correct(run, again.result, "issued again")
    assert new.cites == run.run_id
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    assert (manifest["cites"], manifest["reason"]) == (first.result.digest, "issued again")
    changed = changed_lines(run, new)
    line = (int(orders["operator"][k]), int(orders["aggregate"][k]), int(orders["direction"][k]), step // 4)
    assert [tuple(int(c[0]) for c in (changed.operator, changed.aggregate, changed.direction, changed.unit))] == [line]
    assert len(changed) == 1
    # the same inputs again: the same run, on disk and in the chain
    same = fx.settle_files(orders, paths[:-1], tmp_path / "new.parquet", TERMS, out=tmp_path / "second", **options)
    assert correct(finalise(new), same.result, "again") == finalise(new)
    with pytest.raises(FileError) as refused:
        fx.settle_files(orders, paths[:-1], paths[-1], TERMS, out=tmp_path / "second", **options)
    assert refused.value.codes == ("FX-B066",)
    # nor is a run taken for the same whose amounts were changed, or whose tables are damaged
    lines = tmp_path / "second" / "lines.parquet"
    kept, table = lines.read_bytes(), pq.read_table(lines)
    pay = table.column_names.index("pay_ueur")
    pq.write_table(table.set_column(pay, "pay_ueur", pc.add(table["pay_ueur"], 1)), lines)
    for _ in range(2):
        with pytest.raises(FileError, match="changed or are damaged") as refused:
            fx.settle_files(orders, paths[:-1], tmp_path / "new.parquet", TERMS, out=tmp_path / "second", **options)
        assert refused.value.codes == ("FX-B066",)
        lines.write_bytes(kept[:-9])
    pq.write_table(table, lines, compression="zstd")  # other bytes of the same numbers
    fx.settle_files(orders, paths[:-1], tmp_path / "new.parquet", TERMS, out=tmp_path / "second", **options)
    # a reading of a POD without orders changes nothing
    idle = int(np.setdiff1d(pods, orders["pod"])[0])
    correct_readings(tmp_path / "idle.parquet", paths[-1], {"pod": [idle], "qh": [DAY.first_qh + 70], "power_w": [1]})
    calm = fx.settle_files(orders, paths[:-1], tmp_path / "idle.parquet", TERMS, **options)
    assert correct(run, calm.result, "idle") is run


@pytest.mark.rule("SET-04")
def test_other_pods_or_another_day_with_the_same_numbers_are_another_run(tmp_path):
    power = np.random.default_rng(8).integers(500, 6000, (4, 3, 96)).astype(np.int32)

    def settle(who, day, out="run", terms=TERMS, **options):
        names = [f"{who}{k}" for k in range(3)]
        paths = [tmp_path / f"{who}-{day.date}-{d}.parquet" for d in range(4)]
        for d, path in enumerate(paths):
            fx.write_readings(path, day.shift(d - 3), names, power[d])
        orders = {"pod": names, "operator": 0, "aggregate": 0, "direction": 0, "step": 70, "ordered_w": 900}
        return fx.settle_files(
            orders, paths[:-1], paths[-1], terms, preset=RULE, out=tmp_path / out, **options
        ), {name: value for name, value in json.loads((tmp_path / out / "manifest.json").read_text()).items()
            if name != "inputs"}  # fmt: skip

    first, about = settle("A", DAY)
    for who, day in (("B", DAY), ("A", DAY.shift(7))):
        with pytest.raises(FileError, match="FX-B066"):
            settle(who, day)
    # only a settlement of the same day can be corrected
    fx.baseline_files(
        [tmp_path / f"A-{DAY.date}-{d}.parquet" for d in range(3)], tmp_path / f"A-{DAY.date}-3.parquet",
        np.arange(96) == 70, preset=RULE, out=tmp_path / "base",
    )  # fmt: skip
    for day, cites in ((DAY.shift(7), "run"), (DAY, "base")):
        with pytest.raises(FileError, match="FX-S030"):
            settle("A", day, out="no", cites=tmp_path / cites)
        assert not (tmp_path / "no").exists()
    # what corrects nothing is the run itself, as with `correct`
    assert settle("A", DAY, cites=tmp_path / "run", reason="none")[1] == about
    assert settle("A", DAY, out="copy", cites=tmp_path / "run", reason="none")[1] == about
    assert settle("B", DAY, out="other", cites=tmp_path / "run", reason="names")[1]["cites"] == first.result.digest


def test_executors_and_parts_change_nothing(tmp_path):
    rng = np.random.default_rng(12)
    pods, paths, _ = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    expected = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
    seen = []
    with ThreadPoolExecutor(2) as pool:
        for parts in (None, 1, 2, 7, 100):
            found = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / f"run{parts}",
                                    executor=pool, parts=parts, progress=lambda *n: seen.append(n))  # fmt: skip
            assert_same(found.result, expected.result)
            assert found.status.tolist() == expected.status.tolist()
            assert seen[-1] == (8, 8)
        with pytest.raises(FileError) as refused:
            fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, executor=pool)
        assert refused.value.codes == ("FX-B069",)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_an_interrupt_leaves_no_run(tmp_path, threads):
    rng = np.random.default_rng(13)
    pods, paths, _ = city(tmp_path, rng)

    def interrupt(done, of):
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        fx.settle_files(random_orders(rng, pods), paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / "run",
                        n_threads=threads or 1, executor=None if threads else pool, progress=interrupt)  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before


def test_no_order_gives_no_line_and_no_money(tmp_path):
    pods, paths, _ = city(tmp_path, np.random.default_rng(8), 40)
    empty = {name: np.zeros(0, np.int64) for name in ("pod", "operator", "aggregate", "direction", "step", "ordered_w")}
    zero = {name: np.zeros(1, np.int64) for name in empty} | {"pod": pods[:1]}
    for orders in (empty, zero):
        found = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
        assert len(found.result.lines) == 0
        assert not found.result.totals.net_ueur.any()


def test_only_units_with_orders_are_read(tmp_path):
    pods, paths, _ = city(tmp_path, np.random.default_rng(9))
    seen = []
    orders = {"pod": pods[[3, 5, 100]], "operator": 0, "aggregate": 0, "direction": 0, "step": 70, "ordered_w": 5}
    fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, progress=lambda *n: seen.append(n))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pod": [1, 1, 2]}, "FX-B003"),
        ({"step": [96, 70, 71]}, "FX-M203"),
        ({"step": [70, 70, 71]}, "FX-S004"),
        ({"ordered_w": [-1, 1, 1]}, "FX-A004"),
        ({"colour": [1, 1, 1]}, "FX-A008"),
        ({"step": [70, 70, 71], "operator": [0, 1, 0]}, "FX-S004"),
    ],
)
def test_orders_that_cannot_be_meant_are_refused(tmp_path, change, code):
    pods, paths, _ = city(tmp_path, np.random.default_rng(10), 40)
    orders = {"pod": pods[[0, 0, 1]], "operator": [0] * 3, "aggregate": [0] * 3, "direction": [0] * 3,
              "step": [70, 71, 72], "ordered_w": [5] * 3}  # fmt: skip
    with pytest.raises(SettlementError) as refused:
        fx.settle_files({**orders, **change}, paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / "out")
    assert refused.value.codes == (code,)
    assert not (tmp_path / "out").exists()


def test_an_order_without_reading_is_refused_by_its_pod(tmp_path):
    pods, paths, values = city(tmp_path, np.random.default_rng(11), 40)
    values[-1][4, 70] = MISSING_W
    fx.write_readings(paths[-1], DAY, pods, values[-1])
    orders = {"pod": pods[[4]], "operator": 0, "aggregate": 0, "direction": 0, "step": 70, "ordered_w": 5}
    with pytest.raises(ValidationError) as refused:
        fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
    assert (refused.value.codes, refused.value.findings[0].ids) == (("FX-S002",), (pods[4],))


@pytest.mark.rule("BAS-02")
@pytest.mark.parametrize("preset", ["caiso_5_in_10", "elexon_bl01", "nominated", "uk_fixed_reference", "pjm_match_day"])
def test_presets_and_reference_days_settle_as_in_memory(tmp_path, preset):
    """The whole rule: calendar, events of both operators, fall-backs, and what a preset needs beside readings."""
    rng = np.random.default_rng(14)
    pods, paths, values = city(tmp_path, rng, n_days=12)
    orders = random_orders(rng, pods)
    calendar = Calendar(holidays=["2026-01-15"])
    days = [DAY.shift(-d) for d in range(12, 0, -1)]
    n = len(pods)
    first = DAY.first_qh + rng.integers(-12 * 96, 0, 60)
    past_events = EventRuns(rng.integers(0, n, 60), first, first + 5, operator=rng.integers(0, 2, 60))
    # today's orders are events as well, and their rebound is left out of adjustment windows
    place = np.searchsorted(pods, orders["pod"])
    kept = orders["ordered_w"] > 0
    qh = (DAY.first_qh + orders["step"])[kept]
    todays = EventRuns(place[kept], qh, qh + 1, operator=orders["operator"][kept], power_w=orders["ordered_w"][kept])
    rule = EligibilityRule(look_back_days=8, widened_days=12, completeness_ppm=900_000, rebound_steps=3)
    source = ReferenceDays(calendar, rule, EventRuns.join(past_events, todays))
    followed = replace(rule_for(preset, calendar.day_type(DAY)), min_days=1)
    more = {
        "nominated": {"nominated_w": rng.integers(-900, 4000, (n, 96))},
        "uk_fixed_reference": {"reference_w": rng.integers(0, 4000, (2, 96)), "reference_of": np.arange(n) % 2},
    }.get(preset, {})
    history = np.stack(values[:-1], axis=1)
    chosen = eligible_days(days, DAY, calendar=calendar, rule=rule, n_pods=n, events=source.events,
                           n_read=count_readings(history))  # fmt: skip
    event = np.zeros((n, 96), bool)
    event[place[kept], orders["step"][kept]] = True
    rows = np.arange(n)
    touched = {"excluded": chosen.touched_of(rows) != 0, "today_excluded": chosen.today_excluded_of(rows)}
    asked = dict(more)
    if preset == "pjm_match_day":
        more, asked = (
            {"day_score": match_day_distance(history, values[-1], event, **touched)},
            {"day_score": MatchDay()},
        )
    base = fx.baseline(history, values[-1], event, eligible=chosen.choice, preset=followed, **touched, **more)
    expected, status = in_memory(pods, values, orders, missing="zero", base=base)
    assert expected.lines.delivered_wqh.any()
    found = fx.settle_files(
        orders, paths[:-1], paths[-1], TERMS, preset=followed, eligible=source, missing="zero", out=tmp_path / "run",
        n_threads=2, **asked,
    )  # fmt: skip
    assert_same(found.result, expected)
    assert found.status.tolist() == status.tolist()


def test_written_lines_are_read_again_and_checked(tmp_path):
    rng = np.random.default_rng(15)
    pods, paths, _ = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    held = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE)
    written = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / "run")
    assert_same(written.result, held.result)
    assert written.n_lines == held.n_lines == len(held.lines) > 0
    assert written.n_pod_lines == held.n_pod_lines == len(held.pod_lines) > 0
    for which in ("lines", "pod_lines"):
        path = tmp_path / "run" / f"{which}.parquet"
        assert pq.ParquetFile(path).num_row_groups > 3
        content = bytearray(path.read_bytes())
        content[200] ^= 255
        path.write_bytes(content)
        for damage in (lambda: None, path.unlink):
            damage()
            with pytest.raises(SettlementError) as refused:
                getattr(written, which)
            assert refused.value.codes == ("FX-S061",)


@pytest.mark.rule("SET-01")
def test_the_amounts_of_all_parts_together_are_bounded(tmp_path, monkeypatch):
    rng = np.random.default_rng(16)
    pods, paths, _ = city(tmp_path, rng)
    orders = random_orders(rng, pods)
    lines = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE).lines
    sizes = np.abs(lines.pay_ueur) + lines.penalty_ueur + lines.availability_ueur
    monkeypatch.setattr(partition, "LARGEST_UEUR", int(sizes.sum()))
    fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / "fits")
    monkeypatch.setattr(partition, "LARGEST_UEUR", int(sizes.sum()) - 1)
    with pytest.raises(SettlementError) as refused:
        fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset=RULE, out=tmp_path / "run")
    k = int(sizes.argmax())
    line = tuple(int(column[k]) for column in (lines.operator, lines.aggregate, lines.direction, lines.unit))
    assert (refused.value.codes, refused.value.findings[0].ids) == (("FX-S001",), (line,))
    assert not (tmp_path / "run").exists()


def test_amounts_of_any_size_are_written(tmp_path):
    rng = np.random.default_rng(17)
    top = 2**63 - 1
    columns = {field.name: rng.choice([-top - 1, -1, 0, 1, top], 500) for field in fields(PodLines)}
    columns["row"] = np.arange(500)
    lines = {
        field.name: rng.choice([0, 1], 500).astype(np.int8) if field.name in run_files.BYTES else columns["net_ueur"]
        for field in fields(SettlementLines)
    }
    with run_files.RunWriter(tmp_path, pa.array(np.arange(500))) as writer:
        writer.append(SettlementLines(**lines), PodLines(**columns))
    found = run_files.read_lines(tmp_path / run_files.LINES)
    assert {field.name: getattr(found, field.name).tolist() for field in fields(found)} == {
        name: column.tolist() for name, column in lines.items()
    }
    shares = run_files.read_pod_lines(tmp_path / run_files.POD_LINES, columns["pod"])
    for name, column in columns.items():
        assert getattr(shares, name).tolist() == column.tolist()
