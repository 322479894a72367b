"""Statements of a computed day: put together from its tables, as pages that cannot be broken by a name."""

import dataclasses
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from flexcore import cities, run_day
from flexcore.cli import main
from flexcore.errors import SettlementError
from flexcore.settlement import bsp_statement, correct, finalise, pod_statement
from flexcore.study.day_run import DAY_TABLES, DayRun
from flexcore.study.report import read_run
from flexcore.study.report.alarms import alarm_parts
from flexcore.study.report.statement import write_bsp_statement
from flexcore.study.report.statement_pod import write_pod_statement
from flexcore.study.report.statement_sheet import money, price
from flexcore.study.statement_files import example_pod, file_name, settled_day, write_statements
from tests.settlement.test_trace import HARD
from tests.settlement.test_trace import settled as estimated_day

HOSTILE = '</style><script>alert("x")</script>&<b>'
VOID = {"meta", "line", "rect", "path"}


class Page(HTMLParser):
    """Refuses tags that do not nest and anything that could run or load."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.tags = [], [], set()
        raw = path.read_text(encoding="utf-8")
        self.feed(raw)
        self.close()
        assert self.open == []
        assert not self.tags & {"script", "img", "iframe", "link", "object", "form"}
        assert "http:" not in raw
        assert "https:" not in raw
        assert "url(" not in raw
        self.shown = " ".join(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not any(name.startswith("on") or name in ("href", "src") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def run():
    return run_day(cities.tiny())


@pytest.fixture(scope="module")
def day(run):
    return settled_day(run)


@pytest.mark.rule("SET-03")
def test_a_settled_day_is_what_the_tables_hold_and_every_number_comes_out_again(run, day):
    day.check()
    assert day.run.run_id == run.tables["settlement_runs"].column("run_id").to_pylist()[0]
    for pod in sorted(set(day.row_pod_id.tolist())):
        found = pod_statement(day, pod)
        assert found.trace.agrees
        assert found.trace.not_computed == ()
        days = [step for step in found.trace.steps if step.name.startswith("reference day ")]
        if found.evidence.preset == "nominated":
            assert found.evidence.submission.endswith("before 2026-03-23T12:00+01:00")
            assert days == []
        else:
            assert sum(step.value for step in days) == len(found.evidence.dates)
            assert {step.how for step in days} == {"first choice", "never: another day type than the event day"}
    cents = {(row["bsp"], row["operator"]): row["net_cents"] for row in run.tables["statements"].to_pylist()}
    made = {
        (bsp, row["operator"]): row["net_cents"]
        for bsp in day.bsp_ids.tolist()
        for row in bsp_statement(day, bsp).accounts.to_pylist()
    }
    assert made == cents


def test_no_amount_of_the_tables_of_a_day_is_a_float(run):
    money = [
        (name, column)
        for name, table in run.tables.items()
        for column in table.schema
        if column.name.endswith(("_ueur", "_ueur_per_mwh", "_cents", "_wqh"))
    ]
    assert {name for name, _ in money} >= {"settlement_lines", "settlement_pods", "statements"}
    for name, column in money:
        assert pa.types.is_int64(column.type), f"{name}.{column.name}"


def test_a_run_read_back_gives_the_same_statements(run, day, tmp_path):
    run.write(tmp_path)
    again = settled_day(read_run(tmp_path))
    pod = example_pod(day)
    assert example_pod(again) == pod
    assert pod_statement(again, pod).trace == pod_statement(day, pod).trace
    assert pod_statement(again, pod).lines.equals(pod_statement(day, pod).lines)
    lines = bsp_statement(again, pod_statement(again, pod).bsp).lines.to_pylist()
    # each quarter-hour is capped by itself
    assert all(row["counted_wqh"] <= min(row["delivered_wqh"], row["ordered_wqh"]) for row in lines)
    assert lines == bsp_statement(day, pod_statement(day, pod).bsp).lines.to_pylist()
    assert all(0 <= row["event"] <= row["unit"] for row in lines)
    assert any(row["ratio_ppm"] for row in lines)


def test_alarms_of_the_day_are_those_of_its_orders_and_readings(run):
    alarms = run.tables["alarms"].to_pylist()
    assert alarms
    known = {(row["aggregate"], row["bsp"], row["operator"]) for row in run.tables["aggregates"].to_pylist()}
    ordered = {}
    for row in run.tables["settlement_lines"].to_pylist():
        key = (row["operator"], row["aggregate"], row["direction"], row["hour"])
        ordered[key] = row["ordered_wqh"]
    for row in alarms:
        assert (row["aggregate"], row["bsp"], row["operator"]) in known
        assert row["event_step"] <= row["step"]
        if row["change"] != "ended":
            assert (
                0 < row["ordered_w"] <= ordered[row["operator"], row["aggregate"], row["direction"], row["step"] // 4]
            )
            assert row["short_wqh"] <= row["projected_wqh"]
    text = "".join(alarm_parts(run))
    assert f"{len({(r['aggregate'], r['direction'], r['event_step']) for r in alarms}):,} events raised" in text


def test_pages_show_the_numbers_and_load_nothing(run, day, tmp_path):
    files = write_statements(run, tmp_path / "new")
    with_lines = set(run.tables["settlement_lines"].column("bsp").to_pylist())
    assert {path.stem for path in files} == with_lines | {example_pod(day)}
    for path in files:
        page = Page(path)
        assert day.run.run_id in page.shown
        assert day.run.result.digest in page.shown
        assert "not entered yet" in page.shown  # the ledger leaf
        assert "nan" not in page.shown.lower().split()
        if path.stem in with_lines:
            found = bsp_statement(day, path.stem)
            assert f"{found.net_cents / 100:,.2f}" in page.shown
            assert "add up to the lines, to the micro-euro" in page.shown
            for row in found.lines.to_pylist():
                assert f"{row['net_ueur'] / 1e6:,.6f}" in page.shown
                assert f"{row['price_ueur_per_mwh'] / 1e6:,.6f}".rstrip("0").rstrip(".") in page.shown
                assert f"{row['ordered_wqh'] / 4000:,.3f}" in page.shown
        else:
            found = pod_statement(day, path.stem)
            assert f"{len([s for s in found.trace.steps if not s.given]):,} of" in page.shown
            for row in found.intervals.to_pylist():
                assert f"{row['delivered_w']:,}" in page.shown
            for text in ("BAS-01", "SET-01", "SET-03", "MET-01"):
                assert text in page.shown


def test_pages_mark_estimated_readings(day, tmp_path):
    """Without the mark, delivered would not be baseline minus reading, and nothing on the page would say why."""
    source = estimated_day(2, HARD)
    pod = pod_statement(source, str(source.row_pod_id[0]))
    n = sum(pod.intervals["estimated"].to_pylist())
    assert n
    page = Page(write_pod_statement(pod, tmp_path / "pod.html"))
    assert page.shown.count("(estimated)") == n
    assert "never credited above the order" in page.shown
    lines = bsp_statement(source, pod.bsp).lines["n_estimated"].to_pylist()
    page = Page(write_bsp_statement(bsp_statement(source, pod.bsp), tmp_path / "bsp.html"))
    assert any(lines)
    assert "no POD is credited above its order" in page.shown
    plain = bsp_statement(day, pod_statement(day, example_pod(day)).bsp)
    assert "credited" not in Page(write_bsp_statement(plain, tmp_path / "plain.html")).shown


def hostile(day):
    pod = example_pod(day)
    ids = np.where(day.row_pod_id == pod, HOSTILE, day.row_pod_id)
    evidence = {HOSTILE: dataclasses.replace(day.evidence[pod], preset=HOSTILE, reading_version=HOSTILE)}
    names = np.array([f"{HOSTILE}{i}" for i in range(len(day.aggregate_ids))])
    bsps = np.array([f"{HOSTILE}{i}" for i in range(len(day.bsp_ids))])
    result = dataclasses.replace(
        day.run.result, terms=dataclasses.replace(day.run.result.terms, source=HOSTILE, unverified=(HOSTILE,))
    )
    run = dataclasses.replace(day.run, result=result, cites=HOSTILE, reason=HOSTILE, period=HOSTILE)
    return dataclasses.replace(day, row_pod_id=ids, aggregate_ids=names, bsp_ids=bsps, evidence=evidence, run=run)


def test_hostile_names_stay_text(day, tmp_path):
    bad = hostile(day)
    pod = pod_statement(bad, HOSTILE)
    page = Page(write_pod_statement(pod, tmp_path / "pod.html"))
    assert HOSTILE in page.shown
    page = Page(write_bsp_statement(bsp_statement(bad, pod.bsp), tmp_path / "bsp.html"))
    assert pod.bsp in page.shown


def test_file_names_are_plain_and_never_the_same_twice():
    taken = set()
    assert file_name("BSP-01", taken) == "BSP-01.html"
    assert file_name("bsp-01", taken) == "bsp-01-2.html"
    assert file_name("../../etc/passwd", taken) == "_.._etc_passwd-3754d6cb.html"
    assert file_name("", taken).startswith("_-")
    assert file_name("..", taken).startswith("_-")
    # an id keeps its file in another call, and takes none of another id
    assert file_name("a/b", set()) == file_name("a/b", taken) != file_name("a_b", set()) == "a_b.html"
    assert file_name("BSP-Ü", set()) != file_name("BSP-Ä", set())
    assert len(taken) == 6
    assert len(file_name("x" * 500, taken)) < 100


@pytest.mark.rule("SET-04")
def test_a_correction_is_shown_beside_the_run_that_it_cites(day, tmp_path):
    first = finalise(day.run)
    lines = first.result.lines
    net = lines.net_ueur.copy()
    net[0] += 12_345
    other = dataclasses.replace(first.result, lines=dataclasses.replace(lines, net_ueur=net), digest="0" * 64)
    run = correct(first, other, "meter re-issued")
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[lines.aggregate[0]]])
    found = bsp_statement(dataclasses.replace(day, run=run), bsp, cited=[first])
    page = Page(write_bsp_statement(found, tmp_path / "x.html"))
    assert "meter re-issued" in page.shown
    assert first.run_id in page.shown
    assert "0.012345" in page.shown
    alone = bsp_statement(dataclasses.replace(day, run=run), bsp)
    page = Page(write_bsp_statement(alone, tmp_path / "alone.html"))
    assert "not at hand" in page.shown
    assert "No line of this BSP changed" not in page.shown


def test_a_wrong_number_is_shown_as_wrong(day, tmp_path):
    lines = day.run.result.lines
    pay = lines.pay_ueur + 1
    result = dataclasses.replace(day.run.result, lines=dataclasses.replace(lines, pay_ueur=pay))
    bad = dataclasses.replace(day, run=dataclasses.replace(day.run, result=result))
    page = Page(write_pod_statement(pod_statement(bad, example_pod(day)), tmp_path / "x.html"))
    assert "did not come out the same again" in page.shown


def test_a_run_without_orders_has_no_statements(run, tmp_path):
    empty = {name: table.slice(0, 0) if name in DAY_TABLES else table for name, table in run.tables.items()}
    none = DayRun(run.city, run.day, run.seed, run.scheme, empty, {})
    assert write_statements(none, tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
    with pytest.raises(SettlementError, match="FX-S042"):
        write_statements(none, tmp_path / "new", bsps=["BSP-01"])


def test_the_command_writes_what_is_asked_for_and_refuses_the_rest(run, day, tmp_path, monkeypatch, capsys):
    run.write(tmp_path / "day")

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["flexcore", "statement", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    pod = example_pod(day)
    code, out, _ = call(str(tmp_path / "day"), "--pod", pod, "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    assert json.loads(out)["files"] == [str(tmp_path / "out" / f"{pod}.html")]
    code, _, error = call(str(tmp_path / "day"), "--bsp", "nobody", "--out", str(tmp_path / "none"))
    assert code == 2
    assert "FX-S040" in error
    assert list((tmp_path / "none").iterdir()) == []
    code, _, error = call(str(tmp_path / "nowhere"))
    assert code == 2
    assert "FX-C010" in error
    assert "flexcore run" in error
    # a run that is written into the folder takes the statements of the one before with it
    write_statements(run, tmp_path / "day" / "statements")
    run.write(tmp_path / "day")
    assert list((tmp_path / "day" / "statements").iterdir()) == []


def test_lines_that_are_not_their_shares_are_shown_as_wrong(day, tmp_path):
    lines = day.run.result.lines
    pay = lines.pay_ueur.copy()
    pay[0] += 1
    result = dataclasses.replace(day.run.result, lines=dataclasses.replace(lines, pay_ueur=pay))
    bad = dataclasses.replace(day, run=dataclasses.replace(day.run, result=result))
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[lines.aggregate[0]]])
    page = Page(write_bsp_statement(bsp_statement(bad, bsp), tmp_path / "x.html"))
    assert "do not add up" in page.shown


def test_a_bsp_that_owes_is_told_so(day, tmp_path):
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[day.run.result.lines.aggregate[0]]])
    found = bsp_statement(day, bsp)
    accounts = found.accounts.set_column(
        found.accounts.column_names.index("net_cents"), "net_cents", pa.array([-150] * found.accounts.num_rows)
    )
    page = Page(write_bsp_statement(dataclasses.replace(found, accounts=accounts), tmp_path / "x.html"))
    assert "to be paid by the BSP" in page.shown
    assert f"{1.5 * accounts.num_rows:,.2f}" in page.shown


def test_money_is_shown_to_the_last_digit():
    # a float of this size has no micro-euro left
    assert money(2**62 + 1) == "4,611,686,018,427.387905"
    assert money(-1, 2) == "0.00"
    assert money(-15_000, 2) == "-0.02"
    assert price(70_125_000) == "70.125"
    assert price(-70_000_000) == "-70.00"


def test_an_interrupted_page_leaves_the_one_before(day, tmp_path, monkeypatch):
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[day.run.result.lines.aggregate[0]]])
    path = write_bsp_statement(bsp_statement(day, bsp), tmp_path / "x.html")
    before = path.read_bytes()

    def half(self, text, **options):
        with open(self, "w") as file:
            file.write(text[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        write_bsp_statement(bsp_statement(day, bsp), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_twice_is_one_page(run, day, tmp_path):
    pod = example_pod(day)
    assert write_statements(run, tmp_path, pods=[pod, pod]) == [tmp_path / f"{pod}.html"]


def test_an_unknown_name_is_answered_with_those_that_are_known(day):
    with pytest.raises(SettlementError, match=r"(?s)FX-S040.*there are statements of " + str(min(day.bsp_ids))):
        bsp_statement(day, "nobody")
    with pytest.raises(SettlementError, match=r"(?s)FX-S040.*there are statements of " + min(day.row_pod_id.tolist())):
        pod_statement(day, "nobody")


def test_a_cited_run_of_other_aggregates_is_refused(day):
    first = finalise(day.run)
    lines = first.result.lines
    other = dataclasses.replace(lines, aggregate=lines.aggregate + len(day.aggregate_ids))
    before = finalise(
        dataclasses.replace(first, result=dataclasses.replace(first.result, lines=other, digest="1" * 64))
    )
    run = correct(before, first.result, "aggregates renamed")
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[lines.aggregate[0]]])
    with pytest.raises(SettlementError, match="FX-S041"):
        bsp_statement(dataclasses.replace(day, run=run), bsp, cited=[before])


def test_several_days_are_charted_by_the_clock(day, tmp_path):
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[day.run.result.lines.aggregate[0]]])
    found = bsp_statement(day, bsp)
    # a second day on which every unit is another hour, as after a change of the clock
    at = found.lines.column_names.index("start")
    other = found.lines.set_column(at, "start", pa.array(["02:00 CET"] * found.lines.num_rows))
    both = dataclasses.replace(found, lines=pa.concat_tables([found.lines, other]), runs=found.runs * 2)
    raw = write_bsp_statement(both, tmp_path / "x.html").read_text(encoding="utf-8")
    ordered = sum(found.lines.column("ordered_wqh").to_pylist())
    ordered += sum(row["ordered_wqh"] for row in found.lines.to_pylist() if row["start"] == "02:00")
    assert f"<title>02:00: ordered {ordered / 4000:,.2f} kWh" in raw
    assert "all 2 days together" in raw


def test_the_invoice_is_the_sum_that_it_shows(day, tmp_path):
    bsp = str(day.bsp_ids[day.bsp_of_aggregate[day.run.result.lines.aggregate[0]]])
    found = bsp_statement(day, bsp)
    page = Page(write_bsp_statement(found, tmp_path / "x.html"))
    for row in found.accounts.to_pylist():
        assert row["pay_ueur"] - row["penalty_ueur"] + row["availability_ueur"] == row["net_ueur"]
        for name in ("pay_ueur", "penalty_ueur", "net_ueur"):
            assert money(row[name]) in page.shown
