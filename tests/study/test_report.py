import base64
import dataclasses
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flexcore.errors import FileError, MissingExtraError, ValidationError
from flexcore.study.day_run import DAY_TABLES, DayRun
from flexcore.study.report import read_run, write_report
from flexcore.study.report.columns import CASES, COLOUR_NAMES, fact_groups, valid_lights
from flexcore.study.report.page import number, percent, value_bars
from flexcore.study.report.style import DARK, LIGHT
from tests.study.synthetic_day import HOSTILE, synthetic_run

pytest.importorskip("plotly")

SECTIONS = ["headline", "city", "map", "day", "sessions", "lights", "merit", "delivery", "money", "kpis", "grid"]
SECTIONS += ["findings", "about"]
VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """Collects tags, attributes and the text per section, and refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.scripts, self.text = [], [], {}, {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.attributes.append((tag, attrs))
        if tag not in VOID:
            self.open.append((tag, attrs))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "script":
            key = self.open[-1][1].get("id", len(self.scripts))
            self.scripts[key] = self.scripts.get(key, "") + data
        for tag, attrs in self.open:
            if tag == "section":
                self.text[attrs["id"]] = self.text.get(attrs["id"], "") + " " + data


def render(run, folder):
    path = write_report(run, folder / "sub" / "report.html")
    assert path == folder / "sub" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    page.raw = text
    page.figures = json.loads(page.scripts["figures"])
    for section in SECTIONS:
        assert page.text[section].strip()
    return page


@pytest.fixture(scope="module")
def run():
    return synthetic_run()


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return render(run, tmp_path_factory.mktemp("report"))


def column(run, table, name):
    return run.tables[table].column(name).to_pylist()


def test_every_section_stands_once_and_is_linked(page):
    assert [a["id"] for tag, a in page.attributes if tag == "section"] == SECTIONS
    links = [a["href"] for tag, a in page.attributes if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS]


def test_nothing_is_loaded_from_anywhere(page):
    for _, attributes in page.attributes:
        assert "src" not in attributes
        assert not attributes.get("href", "#").startswith("http")
    policy = next(a["content"] for tag, a in page.attributes if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "@import" not in page.raw.split("</style>")[0]


def test_every_figure_has_one_place_and_every_place_a_figure(page):
    places = [a["id"] for tag, a in page.attributes if a.get("class") == "plot"]
    assert sorted(places) == sorted(f"plot-{name}" for name in page.figures)
    chosen = {a["data-figure"] for tag, a in page.attributes if tag == "select"}
    assert chosen == {name for name, figure in page.figures.items() if len(figure["variants"]) > 1}


def painted(value):
    if isinstance(value, str) and value.startswith("$"):
        assert value[1:] in DARK
        return LIGHT[value[1:]]
    if isinstance(value, list):
        return [painted(item) for item in value]
    if isinstance(value, dict):
        return {key: painted(item) for key, item in value.items()}
    return value


def test_plotly_accepts_every_figure(page):
    import plotly.graph_objects as go

    assert set(page.figures) == {
        "map",
        "day",
        "timeline",
        "lights",
        "merit-local",
        "merit-global",
        "pod",
        "money",
    }
    for figure in page.figures.values():
        for variant in figure["variants"]:
            go.Figure(painted(variant))


def test_light_and_dark_name_the_same_colours():
    assert LIGHT.keys() == DARK.keys()


def test_names_from_data_never_become_markup(run, page, tmp_path):
    assert HOSTILE in column(run, "branches", "branch_id")
    assert HOSTILE not in page.raw
    assert HOSTILE in page.text["grid"]  # the parser turned it back into text
    assert "BSP-<Eco>" in page.text["money"]
    assert "BSP-<Eco>" not in page.raw
    city = DayRun("<i>Roma & Co</i>", run.day, 0, "d41", run.tables, {})
    raw = render(city, tmp_path).raw
    assert "<i>Roma" not in raw
    assert "&lt;i&gt;Roma &amp; Co&lt;/i&gt;" in raw


def test_headline_numbers_are_the_sums_of_the_tables(run, page):
    text = page.text["headline"]
    states = column(run, "static_light", "state")
    assert f"{len(states):,}" in text
    for state in set(states):
        assert f"{states.count(state)} {state.lower()}" in text
    for operator in ("local", "global"):
        rows = [row for row in run.tables["sessions"].to_pylist() if row["operator"] == operator]
        need, accepted, unserved, cost = (
            sum(row[f"firm_{key}"] for row in rows) for key in ("need_mwh", "accepted_mwh", "unserved_mwh", "cost_eur")
        )
        assert f"{need:,.2f}" in text
        assert f"{accepted:,.2f} MWh bought for {cost:,.2f} EUR, {unserved:,.3f} MWh unserved" in text
    over = [{i for i, x in enumerate(column(run, "branches", f"loading_{w}")) if x > 1} for w in CASES]
    assert " \u2192 ".join(f"{len(rows)}" for rows in over) in text
    assert f"without, as awarded, as metered ({len(over[2] - over[0])} new)" in text
    net = sum(column(run, "settlement_lines", "net_ueur"))
    assert f"{net / 1e6:,.2f}" in text
    ordered, delivered = (sum(column(run, "settlement_lines", f"{n}_wqh")) for n in ("ordered", "delivered"))
    assert f"{100 * delivered / ordered:.1f} %" in text


def test_the_table_of_sessions_adds_up(run, page):
    text = page.text["sessions"]
    for name, digits in (("firm_need_mwh", 3), ("firm_unserved_mwh", 3), ("firm_cost_eur", 2), ("n_messages", 0)):
        values = column(run, "sessions", name)
        # the needs of two operators are no sum
        for value in values if name == "firm_need_mwh" else [*values, sum(values)]:
            assert f" {value:,.{digits}f} " in f" {text} "
    assert text.count("skipped") >= 2
    bars = [trace for trace in page.figures["timeline"]["variants"][0]["data"] if trace["name"] == "need"]
    shown = sum(sum(trace["x"]) for trace in bars)
    assert shown == pytest.approx(sum(column(run, "sessions", "firm_need_mwh")), abs=1e-3)


def reference_lights(run):
    """Last publication per (direction, perimeter, hour), by hand."""
    last = {}
    for row in run.tables["traffic_light"].to_pylist():
        key = (row["direction"], row["perimeter"], row["hour"])
        if key not in last or row["session"] >= last[key]["session"]:
            last[key] = row
    return last


def test_lights_are_the_last_publication_of_each_hour(run, page):
    last = reference_lights(run)
    lights = valid_lights(run.tables["traffic_light"], run.day.n_hours)
    assert lights.perimeters == sorted(set(column(run, "traffic_light", "perimeter")))
    for (direction, perimeter, hour), row in last.items():
        at = (("up", "down").index(direction), lights.perimeters.index(perimeter), hour)
        assert COLOUR_NAMES[lights.colour[at]] == row["colour"]
        assert (lights.capability_w[at], lights.session[at]) == (row["capability_w"], row["session"])
    for colour in ("red", "yellow", "green"):
        many = sum(row["colour"] == colour for row in last.values())
        assert f"{colour} {many:,}" in re.sub(r"\s+", " ", page.text["lights"])
    up, down = (np.array(trace["z"]) for trace in page.figures["lights"]["variants"][-1]["data"])
    assert (np.stack([up, down]) == lights.colour).all()


def test_an_earlier_session_never_overwrites_a_later_one():
    rows = {name: [] for name in DAY_TABLES["traffic_light"][1]}
    for session, colour in ((3, "red"), (1, "green"), (2, "yellow")):
        values = (session, "P", "down", 5, colour, session, 9, "", "", 0.0)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    lights = valid_lights(pa.table(rows), 24)
    assert COLOUR_NAMES[lights.colour[1, 0, 5]] == "red"
    assert lights.capability_w[1, 0, 5] == 3
    assert (lights.colour != 0).sum() == 1


def test_the_map_holds_every_branch_in_its_class(run, page):
    data = page.figures["map"]["map"]

    def unpack(name):
        return np.frombuffer(base64.b64decode(data[name]["bdata"]), np.dtype(data[name]["dtype"]).newbyteorder("<"))

    for when in CASES:
        loading = column(run, "branches", f"loading_{when}")
        expected = [sum(value > edge for edge in (0.25, 0.5, 0.8, 1.0, 1.2)) for value in loading]
        assert unpack(when).tolist() == expected
    perimeter = dict(zip(column(run, "nodes", "node_id"), column(run, "nodes", "perimeter"), strict=True))
    names = data["perimeters"]
    assert [names[p] if p >= 0 else "" for p in unpack("perimeter")] == [
        perimeter[node] for node in column(run, "branches", "to_id")
    ]
    shape = (2, data["n_hours"], len(names))
    lights = valid_lights(run.tables["traffic_light"], run.day.n_hours)
    assert (unpack("lights").reshape(shape) == lights.colour.transpose(0, 2, 1)).all()


def test_new_overloads_are_named(run, page, tmp_path):
    assert "New overloads" not in page.text["map"]
    branches = run.tables["branches"]
    metered = column(run, "branches", "loading_metered")
    row = next(i for i, value in enumerate(column(run, "branches", "loading_before")) if value < 0.9)
    metered[row] = 1.234
    at = branches.schema.get_field_index("loading_metered")
    tables = {**run.tables, "branches": branches.set_column(at, "loading_metered", pa.array(metered))}
    text = render(DayRun("c", run.day, 0, "d41", tables, {}), tmp_path).text["map"]
    assert "1 of 1 branches that are overloaded as metered" in text
    assert f"{column(run, 'branches', 'branch_id')[row]} " in text
    assert "123.4 %" in text


def test_positions_that_are_missing_leave_their_branches_out(run, tmp_path):
    nodes = run.tables["nodes"]
    x = [None if i % 2 else value for i, value in enumerate(column(run, "nodes", "x"))]
    tables = {**run.tables, "nodes": nodes.set_column(1, "x", pa.array(x, pa.float64()))}
    text = render(DayRun("c", run.day, 0, "d41", tables, {}), tmp_path).text["map"]
    assert "branches without positions are not drawn" in text
    tables["nodes"] = nodes.set_column(1, "x", pa.array([None] * nodes.num_rows, pa.float64()))
    assert "no map" in render(DayRun("c", run.day, 0, "d41", tables, {}), tmp_path).text["map"]


def test_merit_orders_are_sorted_and_show_exactly_what_was_accepted(run, page):
    lines = run.tables["lines"].to_pylist()
    for operator in ("local", "global"):
        variants = page.figures[f"merit-{operator}"]["variants"]
        assert variants
        for variant in variants:
            label = variant["layout"]["title"]["text"]
            session, clock, direction = re.match(r"<b>\w+_(\d), (\d\d:\d\d), (\w+)</b>", label).groups()
            chosen = [
                row
                for row in lines
                if (row["operator"], row["session"], row["direction"]) == (operator, int(session), direction)
                and run.day.label(row["step"]) == clock
            ]
            assert all(row["firm"] for row in chosen)
            accepted, *rest = variant["data"]
            assert accepted["name"] == "accepted"
            assert sum(accepted["width"]) == pytest.approx(sum(r["accepted_w"] for r in chosen) / 1000)
            left = sum(sum(trace["width"]) for trace in rest)
            assert left == pytest.approx(sum(r["offered_w"] - r["accepted_w"] for r in chosen) / 1000)
            bars = sorted((x, y) for trace in variant["data"] for x, y in zip(trace["x"], trace["y"], strict=True))
            assert [y for _, y in bars] == sorted(y for _, y in bars)
            assert {trace["name"] for trace in rest} <= {r["reason"] for r in chosen}
        best = max(
            min(
                sum(r["accepted_w"] for r in same),
                sum(r["offered_w"] - r["accepted_w"] for r in same),
            )
            for same in groups(lines, operator).values()
        )
        first = variants[0]["data"]
        shown = min(sum(first[0]["width"]), sum(sum(trace["width"]) for trace in first[1:]))
        assert shown == pytest.approx(best / 1000)


def groups(lines, operator):
    found = {}
    for row in lines:
        if row["operator"] == operator and row["firm"]:
            found.setdefault((row["session"], row["direction"], row["step"]), []).append(row)
    return found


def test_the_pods_shown_are_those_with_the_largest_orders(run, page):
    ordered = {}
    for row in run.tables["pod_day"].to_pylist():
        total = row["ordered_up_w"] + row["ordered_down_w"]
        ordered[row["pod_code"]] = ordered.get(row["pod_code"], 0) + total
    expected = sorted(ordered, key=lambda code: (-ordered[code], code))[:10]
    variants = page.figures["pod"]["variants"]
    titles = [v["layout"]["title"]["text"] for v in variants]
    assert [re.match(r"<b>(\w+)</b>", title).group(1) for title in titles] == expected
    pod = [row for row in run.tables["pod_day"].to_pylist() if row["pod_code"] == expected[0]]
    window = [row["step"] for row in pod if row["ordered_up_w"] + row["ordered_down_w"] > 0]
    shape = variants[0]["layout"]["shapes"]
    assert [(s["x0"], s["x1"]) for s in shape] == [(window[0], window[-1] + 1)]
    operator = next(row["operator"] for row in pod if row["operator"])
    assert shape[0]["fillcolor"] == f"${operator}_shade"
    baseline, metered, _ = variants[0]["data"]
    assert baseline["y"][:-1] == [row["baseline_w"] / 1000 for row in pod]
    assert metered["y"][:-1] == [row["metered_w"] / 1000 for row in pod]


def test_money_flow_and_tables_add_up(run, page):
    rows = run.tables["settlement_lines"].to_pylist()
    trace = page.figures["money"]["variants"][0]["data"][0]
    label, link = trace["node"]["label"], trace["link"]
    value = {}
    for source, target, amount in zip(link["source"], link["target"], link["value"], strict=True):
        value[label[source], label[target]] = amount
    for market, operator in (("Local market (DSO)", "local"), ("Global market (TSO)", "global")):
        paid = sum(max(r["pay_ueur"], 0) for r in rows if r["operator"] == operator)
        shown = sum(amount for (source, _), amount in value.items() if source == market)
        assert shown == pytest.approx(paid / 1e6, abs=1e-3)
    fined = sum(amount for (_, target), amount in value.items() if target == "penalties")
    assert fined == pytest.approx(sum(r["penalty_ueur"] for r in rows) / 1e6, abs=1e-3)
    text = page.text["money"]
    for operator in ("local", "global"):
        for direction in ("up", "down"):
            mine = [r for r in rows if (r["operator"], r["direction"]) == (operator, direction)]
            for name, scale, digits in (("ordered_wqh", 4e6, 3), ("paid_wqh", 4e6, 3), ("penalty_ueur", 1e6, 2)):
                assert f"{sum(r[name] for r in mine) / scale:,.{digits}f}" in text
    assert f"{sum(column(run, 'statements', 'net_cents')) / 100:,.2f}" in text


def test_facts_are_grouped_and_joined():
    table = pa.table(
        {
            "name": ["PODs", "violated: lines", "violated: lines_of", "violated: nodes_low", "violated: nodes_of"],
            "value": ["11543", "66", "10319", "8", "10453"],
        }
    )
    assert fact_groups(table) == {
        "": {"PODs": "11,543"},
        "violated": {"lines": "66 of 10,319", "nodes low": "8 of 10,453"},
    }
    table = pa.table(
        {"name": ["data", "growth: pv_kw", "growth: largest_loading"], "value": ["a source", "23740.2", "1.8596"]}
    )
    assert fact_groups(table) == {"": {}, "growth": {"PV": "23,740.2 kW", "largest loading": "186.0 %"}}


def test_needs_and_violations_are_the_largest(run, page):
    text = page.text["grid"]
    needs = sorted(column(run, "needs", "need_kw"), reverse=True)
    assert f"{needs[0]:,.1f}" in text
    worst = {}
    for row in run.tables["needs"].to_pylist():
        worst.setdefault((row["element"], row["element_id"]), []).append(row["need_kw"])
    assert len(worst) <= 20
    assert f"of {len(worst)} of {len(worst)} elements" in text
    shown = re.findall(r"(node|branch) (\d+) LFP_\d \d\d:\d\d (?:up|down) ([\d.,]+)", " ".join(text.split()))
    expected = sorted(worst.items(), key=lambda item: -max(item[1]))
    assert shown == [(kind, str(len(kw)), f"{max(kw):,.1f}") for (kind, _), kw in expected]
    assert "forecast 2, both 1" in text
    assert "in 2 element quarter-hours of firm windows: 1 both, 1 forecast" in page.text["headline"]


def test_findings_and_attribution_are_shown(run, page):
    text = page.text["findings"]
    assert f"{sum(column(run, 'sessions', 'withdrawn_lines')):,}" in text
    assert f"{sum(column(run, 'sessions', 'blocked_pods')):,}" in text
    assert "the same <again>" in text
    assert "ODbL" in page.text["about"]
    assert f"flexcore run --code 1-MVLV-urban-all-0-sw --day {run.day.date} --seed 0" in page.text["about"]
    for section in ("about", "lights"):
        assert "certified in 94 of 96 published quarter-hours" in page.text[section]


@pytest.mark.parametrize(
    "empty",
    [
        ("needs", "findings", "grid_check"),
        ("settlement_lines", "settlement_pods", "statements", "pod_day"),
        ("lines", "traffic_light", "equivalences", "qualifications"),
        ("facts",),
        tuple(DAY_TABLES),
    ],
)
def test_empty_tables_are_said_to_be_empty(empty, tmp_path):
    page = render(synthetic_run(n_nodes=40, n_stations=4, n_pods=3, n_lines=8, empty=empty), tmp_path)
    text = " ".join(page.text.values())
    assert ("No forecast of the day showed a need." in text) == ("needs" in empty)
    assert ("nothing is settled" in text) == ("settlement_lines" in empty)
    assert ("No traffic light was published." in text) == ("traffic_light" in empty)
    assert ("No POD was ordered to act." in text) == ("pod_day" in empty)
    assert "ODbL" in text
    assert not re.search(r"\bnan\b", text.lower())


@pytest.mark.parametrize(("date", "n_steps", "n_hours"), [("2026-03-29", 92, 23), ("2026-10-25", 100, 25)])
def test_days_with_a_clock_change_render(date, n_steps, n_hours, tmp_path):
    page = render(synthetic_run(n_nodes=40, n_stations=4, n_pods=3, n_lines=8, date=date), tmp_path)
    assert page.figures["day"]["variants"][0]["layout"]["xaxis"]["range"] == [0, n_steps]
    assert page.figures["map"]["map"]["n_hours"] == n_hours
    assert len(page.figures["lights"]["variants"][0]["data"][0]["z"][0]) == n_hours


def test_codes_read_like_names(run, page, tmp_path):
    tables = dict(run.tables)
    for table, name, order in (
        ("lines", "direction", ["up", "down"]),
        ("lines", "operator", ["local", "global"]),
        ("settlement_lines", "operator", ["local", "global"]),
        ("traffic_light", "direction", ["up", "down"]),
    ):
        values = [order.index(value) for value in tables[table].column(name).to_pylist()]
        at = tables[table].schema.get_field_index(name)
        tables[table] = tables[table].set_column(at, name, pa.array(values, pa.int8()))
    other = render(DayRun(run.city, run.day, run.seed, run.scheme, tables, run.seconds), tmp_path)
    assert other.raw == page.raw


def test_a_run_read_back_draws_the_same_page(run, page, tmp_path):
    folder = tmp_path / "day=3"  # a name that Parquet readers take for a partition
    run.write(folder)
    back = read_run(folder)
    assert (back.city, back.day, back.seed, back.scheme) == (run.city, run.day, run.seed, run.scheme)
    assert back.seconds == run.seconds
    assert back.digest == run.digest
    assert render(back, tmp_path).raw == page.raw


def test_a_run_whose_files_are_not_as_they_were_written_is_refused(run, tmp_path):
    run.write(tmp_path)
    lines = run.tables["settlement_lines"]
    at = lines.column_names.index("pay_ueur")
    more = pc.add(lines["pay_ueur"], 5_000_000)
    # with every mark of the true file
    file = tmp_path / "settlement_lines.parquet"
    pq.write_table(lines.set_column(at, "pay_ueur", more).cast(pq.read_schema(file)), file)
    half = (tmp_path / "lines.parquet").read_bytes()
    (tmp_path / "lines.parquet").write_bytes(half[: len(half) // 2])
    (tmp_path / "needs.parquet").unlink()
    with pytest.raises(FileError) as refused:
        read_run(tmp_path)
    assert set(refused.value.codes) == {"FX-C010"}
    assert {finding.ids for finding in refused.value.findings} == {("settlement_lines",), ("lines",), ("needs",)}
    assert "flexcore run" in str(refused.value)


@pytest.mark.parametrize(("text", "code"), [("{", "FX-C010"), ("[]", "FX-C012"), ("7", "FX-C010"), ("{}", "FX-C012")])
def test_a_run_json_that_is_none_is_refused(tmp_path, text, code):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(FileError) as refused:
        read_run(tmp_path)
    assert refused.value.codes == (code,)


@pytest.mark.parametrize("fact", [{"files": []}, {"seed": "one"}, {"seconds": 3}, {"day": None}])
def test_facts_of_a_run_in_another_form_are_refused(run, tmp_path, fact):
    run.write(tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fact))
    with pytest.raises(FileError, match=f"run.json has no {next(iter(fact))}"):
        read_run(tmp_path)


def test_files_of_two_runs_are_no_run(run, tmp_path):
    run.write(tmp_path)
    (tmp_path / "report.html").touch()
    other = synthetic_run(n_nodes=40, n_stations=4, n_pods=3, n_lines=8, seed=1)
    files = other.write(tmp_path)
    assert files[-1].name == "run.json"
    assert not (tmp_path / "report.html").exists()  # it showed the run before
    assert read_run(tmp_path).digest == other.digest
    mixed = tmp_path / "mixed"
    run.write(mixed)
    (mixed / "needs.parquet").write_bytes((tmp_path / "needs.parquet").read_bytes())
    with pytest.raises(ValidationError) as refused:
        read_run(mixed)
    assert refused.value.codes == ("FX-C010",)
    assert refused.value.findings[0].ids == ("needs",)
    table = run.tables["settlement_lines"].drop_columns(["event"])
    dataclasses.replace(run, tables={**run.tables, "settlement_lines": table}).write(tmp_path / "older")
    with pytest.raises(ValidationError, match=r"settlement_lines\.parquet has no column event") as refused:
        read_run(tmp_path / "older")
    assert refused.value.codes == ("FX-C012",)


def test_a_run_that_is_interrupted_while_it_writes_cannot_be_read(run, tmp_path, monkeypatch):
    run.write(tmp_path)
    broken = {**run.tables, "kpis": None}
    other = DayRun(run.city, run.day, 1, "d41", broken, {})
    monkeypatch.setattr(DayRun, "as_dict", lambda self: {"digest": "x", "day": "d"})
    with pytest.raises(AttributeError):
        other.write(tmp_path)
    with pytest.raises(FileError, match=r"FX-C010.*run\.json cannot be read"):
        read_run(tmp_path)


def test_a_missing_plotly_names_the_extra(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"flexcore\[report\]"):
        write_report(run, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_large_network_stays_below_eight_megabytes(tmp_path):
    run = synthetic_run(n_nodes=11_000, n_stations=135, n_lines=300, n_pods=40)
    path = write_report(run, tmp_path / "report.html")
    assert path.stat().st_size < 8_000_000


def test_numbers_are_written_for_people():
    assert number(1234567.891, 2, "EUR") == "1,234,567.89 EUR"
    assert number(-0.0001, 2) == "0.00"
    assert number(float("nan")) == "n/a"
    assert number(None) == "n/a"
    assert percent(1, 0) == "n/a"
    assert "width:50.00%" in value_bars([("a", 2.0, "2", ""), ("b", -1.0, "-1", "")])
    assert "width:50.00%" in value_bars([("a", 0.5, "50 %", "")], full=1.0)
    assert "width:0.00%" in value_bars([("a", float("nan"), "n/a", "")])
