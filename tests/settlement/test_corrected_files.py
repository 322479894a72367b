"""Corrections of files: what a run takes over from the one it cites is what it would have computed."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

import flexcore as fx
from flexcore.errors import FileError
from flexcore.metering import (
    MISSING_W,
    BaselineRule,
    Calendar,
    EligibilityRule,
    EventRuns,
    MatchDay,
    ReferenceDays,
    reading_changes,
    reading_layout,
    rule_for,
    stream_work,
)
from flexcore.metering.correcting import correct_readings
from flexcore.metering.reading_files import open_day
from flexcore.settlement import SettlementTerms, ordered, partition

DAY = fx.MarketDay("2026-01-21")
TERMS = SettlementTerms(price_ueur_per_mwh=70_000_000, penalty_ueur_per_mwh=110_000_000, tolerance_ppm=50_000)
RULE = BaselineRule("high", n_candidates=3, n_selected=2, min_days=1, adjustment="additive", window_steps=8)
N = 90


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Units of 16 PODs, blocks of 8, row groups of 32; 10 rows settled at a time, 4 compared."""
    monkeypatch.setattr(ordered, "UNIT", 16)
    monkeypatch.setattr(partition, "_ROWS", 10)
    monkeypatch.setattr(stream_work, "BLOCK", 8)
    monkeypatch.setattr(reading_changes, "_BLOCK", 4)
    for module in (reading_layout, fx.metering.reading_files, fx.metering.correcting):
        monkeypatch.setattr(module, "GROUP_ROWS", 32)


class City:
    """Files of some days, orders, and the arguments of a run; corrections make new files beside the old."""

    def __init__(self, folder, rng, *, n_days=3, text=False, split=False, preset=RULE, **options):
        self.folder, self.rng, self.options, self.n_files = folder, rng, {"preset": preset, **options}, 0
        numbers = np.sort(rng.choice(10**6, N, replace=False))
        self.pods = np.array([f"IT{pod:06d}" for pod in numbers]) if text else numbers
        self.days = [DAY.shift(d) for d in range(-n_days, 1)]
        self.values, self.paths = [], []
        for day in self.days:
            power = rng.integers(-3000, 6000, (N, 96)).astype(np.int32)
            self.values.append(power)
            cuts = (0, 40, N) if split else (0, N)
            self.paths.append([self.write(day, lo, hi, power) for lo, hi in pairwise(cuts)])
        chosen = np.sort(rng.choice(N, N // 2, replace=False))
        place, step = np.repeat(chosen, 6), np.tile(np.arange(70, 76), len(chosen))
        n = len(place)
        self.orders = {
            "pod": self.pods[place], "operator": place % 2, "aggregate": place % 5, "direction": step // 73,
            "step": step, "ordered_w": rng.integers(1, 900, n),
        }  # fmt: skip
        self.ordered = chosen

    def new_name(self):
        self.n_files += 1
        return self.folder / f"file-{self.n_files}.parquet"

    def write(self, day, lo, hi, power):
        path = self.new_name()
        fx.write_readings(path, day, self.pods[lo:hi], power[lo:hi])
        return path

    def correct(self, d, places, missing=0.1):
        """Give some readings of PODs of a day new values, in a new file."""
        steps = [self.rng.choice(96, self.rng.integers(1, 4), replace=False) for _ in places]
        row, step = np.repeat(places, [len(part) for part in steps]), np.concatenate(steps)
        power = self.rng.integers(-3000, 6000, len(row)).astype(np.int32)
        power[self.rng.random(len(row)) < missing] = MISSING_W
        path = self.new_name()
        table = {"pod": self.pods[row], "qh": self.days[d].first_qh + step, "power_w": power}
        correct_readings(path, self.paths[d], table)
        self.values[d] = self.values[d].copy()
        self.values[d][row, step] = power
        self.paths[d] = [path]

    def settle(self, out=None, **more):
        return fx.settle_files(
            self.orders, self.paths[:-1], self.paths[-1], TERMS, missing="zero", out=None if out is None else
            self.folder / out, **{**self.options, **more},
        )  # fmt: skip


def assert_same(one, other):
    assert one.digest == other.digest
    assert one.status.tolist() == other.status.tolist()
    for table in ("lines", "pod_lines", "totals"):
        mine, theirs = getattr(one, table), getattr(other, table)
        for field in fields(mine):
            assert getattr(mine, field.name).tolist() == getattr(theirs, field.name).tolist(), (table, field.name)


def n_rows(city, places):
    """Rows of orders: each POD that is ordered has one for each direction."""
    return 2 * len(np.intersect1d(city.ordered, places))


def random_city(folder, rng, kind):
    if kind == "high":
        return City(folder, rng, text=bool(rng.integers(2)), split=bool(rng.integers(2)))
    if kind == "nominated":
        city = City(folder, rng, n_days=1, preset="nominated")
        city.options["nominated_w"] = [city.write(DAY, 0, N, rng.integers(0, 4000, (N, 96)).astype(np.int32))]
        return city
    calendar = Calendar(holidays=["2026-01-15"])
    events = EventRuns(rng.integers(0, N, 40), qh := DAY.first_qh + rng.integers(-8 * 96, 0, 40), qh + 5, operator=1)
    rule = EligibilityRule(look_back_days=6, widened_days=8, completeness_ppm=900_000, rebound_steps=3)
    preset = "pjm_match_day" if kind == "match" else "caiso_5_in_10"
    followed = replace(rule_for(preset, "working"), min_days=1)
    more = {"day_score": MatchDay()} if kind == "match" else {}
    return City(folder, rng, n_days=8, preset=followed, eligible=ReferenceDays(calendar, rule, events), **more)


@pytest.mark.rule("SET-04")
@pytest.mark.parametrize("kind", ["high", "days", "match", "nominated"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.nightly) for k in range(1, 6))])
def test_corrected_runs_are_those_from_scratch(tmp_path, kind, seed):
    """Ten corrections in a row; in all nights 240 of them."""
    rng = np.random.default_rng([seed, len(kind)])
    city = random_city(tmp_path, rng, kind)
    city.settle("run-0")
    for k in range(1, 11):
        places = np.sort(rng.choice(N, rng.integers(1, 6), replace=False))
        before = list(city.values)
        for d in set(rng.integers(len(city.days), size=rng.integers(1, 3)).tolist()):
            city.correct(d, places)
        threads = int(rng.integers(1, 3))
        scratch = city.settle(n_threads=threads)
        found = city.settle(f"run-{k}", n_threads=threads, cites=tmp_path / f"run-{k - 1}", reason="late")
        assert_same(found, scratch)
        assert scratch.n_computed == len(scratch.pods) == 2 * len(city.ordered)
        read = range(len(city.days)) if kind != "nominated" else [-1]
        differs = np.any([(before[d] != city.values[d]).any(axis=1) for d in read], axis=0)
        assert found.n_computed == n_rows(city, np.flatnonzero(differs))
        # what is written is what is taken over by the next
        manifests = [json.loads((tmp_path / f"run-{j}" / "manifest.json").read_text()) for j in (k - 1, k)]
        if manifests[1]["digest"] != manifests[0]["digest"]:
            assert manifests[1]["cites"] == manifests[0]["digest"]


def test_executors_compute_only_what_changed(tmp_path):
    city = City(tmp_path, np.random.default_rng(1))
    city.settle("first")
    city.correct(1, city.ordered[[0, 7, 30]], missing=0)
    seen = []
    with ThreadPoolExecutor(2) as pool:
        found = city.settle(
            "second", cites=tmp_path / "first", executor=pool, parts=2, progress=lambda *n: seen.append(n)
        )
    assert_same(found, city.settle())
    assert found.n_computed == 6
    units = len(np.unique(city.ordered[[0, 7, 30]] // 16))
    assert seen[-1] == (units, units)


def test_prices_and_powers_may_change_beside_readings(tmp_path):
    city = City(tmp_path, np.random.default_rng(2))
    city.settle("first")
    city.orders["ordered_w"] = city.orders["ordered_w"] + 7
    city.orders["price_ueur_per_mwh"] = np.arange(len(city.orders["pod"])) * 10**6
    found = city.settle("second", cites=tmp_path / "first")
    assert found.n_computed == 0
    assert_same(found, city.settle())


@pytest.mark.parametrize("what", ["preset", "excluded", "touched", "orders", "days", "verify", "before", "version"])
def test_other_arguments_take_nothing_over(tmp_path, what, monkeypatch):
    city = City(tmp_path, np.random.default_rng(3))
    city.settle("first")
    if what == "preset":
        city.options["preset"] = replace(RULE, n_selected=1)
    elif what == "excluded":
        city.options["excluded"] = np.zeros((3, 96), bool)
    elif what == "touched":
        city.options["touched"] = {"pod": city.pods[:1], "qh": [DAY.shift(-1).first_qh + 5], "event": [True]}
    elif what == "orders":
        city.orders["step"] = city.orders["step"] + 1
    elif what == "days":
        del city.paths[0]
    elif what == "verify":
        city.options["verify"] = True
    elif what == "before":  # a run of an earlier release kept nothing
        path = tmp_path / "first" / "manifest.json"
        about = json.loads(path.read_text())
        del about["inputs"]
        path.write_text(json.dumps(about))
    else:
        monkeypatch.setattr("flexcore.settlement.earlier_run.__version__", "0")
    found = city.settle("second", cites=tmp_path / "first")
    assert found.n_computed == len(found.pods)
    assert_same(found, city.settle())


@pytest.mark.parametrize("how", ["gone", "overwritten", "other pods"])
def test_where_the_earlier_file_is_gone_everything_is_computed(tmp_path, how):
    city = City(tmp_path, np.random.default_rng(4))
    city.settle("first")
    old = city.paths[1][0]
    city.correct(1, city.ordered[:1], missing=0)
    if how == "gone":
        old.unlink()
    elif how == "overwritten":
        fx.write_readings(old, city.days[1], city.pods, city.values[1])
    else:
        fx.write_readings(old, city.days[1], city.pods + 1, city.values[1])
    found = city.settle("second", cites=tmp_path / "first")
    assert found.n_computed == len(found.pods)
    assert_same(found, city.settle())


def test_a_file_changed_in_place_with_its_size_and_time_is_seen(tmp_path):
    city = City(tmp_path, np.random.default_rng(5))
    city.settle("first")
    path = city.paths[-1][0]
    status = os.stat(path)
    values = city.values[-1].copy()
    values[city.ordered[0], 71] += 1000
    fx.write_readings(path, DAY, city.pods, values)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path).st_size == status.st_size
    found = city.settle("second", cites=tmp_path / "first")
    assert found.n_computed == len(found.pods)
    assert_same(found, city.settle())


def test_a_moved_copy_with_its_time_is_the_same_file(tmp_path):
    city = City(tmp_path, np.random.default_rng(6), split=True)
    city.settle("first")
    for files in city.paths:
        for k, path in enumerate(files):
            files[k] = path.rename(path.with_name(f"moved-{path.name}"))
    found = city.settle("second", cites=tmp_path / "first")
    assert found.n_computed == 0
    assert_same(found, city.settle())


def test_the_same_readings_in_other_files_are_compared_and_taken_over(tmp_path):
    city = City(tmp_path, np.random.default_rng(7))
    city.settle("first")
    for d, day in enumerate(city.days):
        path = city.new_name()
        fx.write_readings(path, day, city.pods, city.values[d], compression="zstd", encoding="BYTE_STREAM_SPLIT")
        city.paths[d] = [path]
    assert city.settle("second", cites=tmp_path / "first").n_computed == 0


def test_a_file_that_changes_while_it_is_settled_is_refused(tmp_path):
    city = City(tmp_path, np.random.default_rng(8))

    def touch(done, of):
        os.utime(city.paths[0][0], ns=(1, 1))

    with pytest.raises(FileError) as refused:
        city.settle("run", progress=touch)
    assert refused.value.codes == ("FX-B065",)
    assert not (tmp_path / "run").exists()


def _bin(change):
    def damage(folder):
        path = folder / "ordered.bin"
        path.write_bytes(change(path.read_bytes()))

    return damage


def _manifest(change):
    def damage(folder):
        path = folder / "manifest.json"
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))

    return damage


@pytest.mark.rule("SET-04")
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: (folder / "ordered.bin").unlink(), "FX-S080"),
        (_bin(lambda content: content[:-1]), "FX-S080"),
        (_bin(lambda content: content + b"x"), "FX-S080"),
        (_bin(lambda content: b""), "FX-S080"),
        (_bin(lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:]), "FX-S080"),
        (_manifest(lambda about: about["inputs"].update(ordered="0" * 64)), "FX-S080"),
        (_manifest(lambda about: about["inputs"].pop("ordered")), "FX-S030"),
        (_manifest(lambda about: about["inputs"].pop("arguments")), "FX-S030"),
        (_manifest(lambda about: about["inputs"].update(days=[3])), "FX-S030"),
        (_manifest(lambda about: about["inputs"].update(days=5)), "FX-S030"),
        (_manifest(lambda about: about.update(inputs=[])), "FX-S030"),
        (_manifest(lambda about: about.pop("digest")), "FX-S030"),
        (_manifest(lambda about: about.update(date="2026-01-22")), "FX-S030"),
        (_manifest(lambda about: about.update(tz="Europe/Paris")), "FX-S030"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "FX-S030"),
        (lambda folder: (folder / "manifest.json").write_text("[1]"), "FX-S030"),
        (lambda folder: shutil.rmtree(folder), "FX-S030"),
    ],
)
def test_damaged_runs_are_refused(tmp_path, damage, code):
    city = City(tmp_path, np.random.default_rng(9))
    city.settle("first")
    city.correct(0, city.ordered[:1], missing=0)
    damage(tmp_path / "first")
    with pytest.raises(FileError) as refused:
        city.settle("second", cites=tmp_path / "first")
    assert refused.value.codes == (code,)
    assert not (tmp_path / "second").exists()


def test_numbers_of_a_foreign_run_are_refused(tmp_path):
    city = City(tmp_path, np.random.default_rng(10))
    city.settle("first")
    city.correct(0, city.ordered[:9], missing=0)
    city.settle("second")
    city.correct(1, city.ordered[:1], missing=0)
    shutil.copy(tmp_path / "second" / "ordered.bin", tmp_path / "first" / "ordered.bin")
    with pytest.raises(FileError) as refused:
        city.settle("third", cites=tmp_path / "first")
    assert refused.value.codes == ("FX-S080",)
    # its seal does not help it: it says of which readings the numbers are
    seals = [tmp_path / name / "manifest.json" for name in ("first", "second")]
    about = [json.loads(path.read_text()) for path in seals]
    about[0]["inputs"]["ordered"] = about[1]["inputs"]["ordered"]
    seals[0].write_text(json.dumps(about[0]))
    with pytest.raises(FileError) as refused:
        city.settle("third", cites=tmp_path / "first")
    assert refused.value.codes == ("FX-S080",)


def test_changed_rows_are_found_whatever_the_partition(tmp_path):
    rng = np.random.default_rng(11)
    for k in range(20):
        city = City(tmp_path, rng, n_days=0, split=True)
        before = open_day(city.paths[0])
        old = city.values[0]
        places = np.sort(rng.choice(N, k % 5, replace=False))
        if len(places):
            city.correct(0, places)
        rows = np.sort(rng.choice(N, rng.integers(1, N), replace=False))
        found = reading_changes.changed_rows(before, open_day(city.paths[0]), rows, n_threads=2)
        differs = (old != city.values[0]).any(axis=1)
        assert (found[rows] == differs[rows]).all()
        assert not found[~differs].any()
    none = reading_changes.changed_rows(before, before, np.zeros(0, np.int64))
    assert none.tolist() == [False] * N


def test_a_run_without_orders_can_be_corrected(tmp_path):
    city = City(tmp_path, np.random.default_rng(13))
    city.orders = {name: column[:0] for name, column in city.orders.items()}
    city.settle("first")
    city.correct(0, city.ordered[:1])
    assert city.settle("second", cites=tmp_path / "first").n_computed == 0


def test_a_run_keeps_what_it_names(tmp_path):
    city = City(tmp_path, np.random.default_rng(12))
    found = city.settle("run")
    size = (tmp_path / "run" / "ordered.bin").stat().st_size
    assert size == 8 * len(city.orders["pod"]) + len(found.pods)
    assert pq.read_table(found.files[0]).num_rows == found.n_lines
