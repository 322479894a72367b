"""Schemes on a small city's day: the same case for all, a table, a page, and the command."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from flexcore import MarketDay, cities, compare_schemes
from flexcore.cli import app
from flexcore.errors import OptionError, ValidationError
from flexcore.market.schemes import presets, scheme
from flexcore.study.registration import register_city
from flexcore.study.scheme_case import scheme_case
from flexcore.units import UP

SOME = ("coordinet_common", "coordinet_central", "coordinet_fragmented", "d41", "platone")


@pytest.fixture(scope="module")
def city():
    return cities.tiny()


@pytest.fixture(scope="module")
def found(city):
    return compare_schemes(city, schemes=SOME)


def test_the_case_holds_every_pod_once_per_direction(city):
    day = MarketDay(city.default_day)
    registration = register_city(city, day, n_threads=1)
    case = scheme_case(city, day, registration)
    offers, inside = case.offers, case.offers.node >= 0
    pairs = np.stack([offers.unit[inside], offers.direction[inside]])
    assert np.unique(pairs, axis=1).shape[1] == inside.sum()
    assert (offers.node[inside] == city.pods.node[offers.unit[inside]]).all()
    declared = np.where(offers.direction == UP, 0, 1)[inside]
    most = np.stack([city.pods.declared_up_w, city.pods.declared_down_w])[declared, offers.unit[inside]]
    assert (offers.quantity_kw[inside].max(axis=1) <= most / 1000.0).all()
    assert (offers.static_kw <= offers.quantity_kw).all()
    # what the sessions of a day may offer is what the static light leaves
    ready = registration.ready_w.any(axis=(0, 1, 3))
    assert set(np.flatnonzero(ready)) >= set(offers.unit[inside][offers.static_kw[inside].any(axis=1)])
    assert case.balance_kw.size == day.n_steps


def test_safe_schemes_cost_no_less_than_common(found):
    common = found.comparison["coordinet_common"]
    assert common.safe
    assert found.checks["coordinet_common"].caused == 0
    for outcome in found.comparison.outcomes:
        if outcome.safe:
            assert outcome.cost_eur >= common.cost_eur - 1e-7 * abs(common.cost_eur), outcome.scheme
    central = found.comparison["coordinet_central"]
    assert central.unserved_distribution_mwh > common.unserved_distribution_mwh


def dearer_lines(lines):
    return dataclasses.replace(lines, price_ueur_per_mwh=lines.price_ueur_per_mwh + 10**6)


def test_nothing_but_the_input_decides(city, found):
    again = compare_schemes(city, MarketDay(city.default_day), [scheme(name) for name in SOME], n_threads=2)
    assert again.digest == found.digest
    dearer = dataclasses.replace(city, local_lines=dearer_lines(city.local_lines))
    assert compare_schemes(dearer, schemes=SOME).digest != found.digest


def test_names_are_refused_before_the_work(city):
    with pytest.raises(OptionError, match="FX-E002"):
        compare_schemes(city, schemes=["nothing"])
    with pytest.raises(ValidationError, match="FX-A009"):
        compare_schemes(city, schemes=["d41", "d41"])


def test_a_scheme_under_the_name_of_a_yardstick_keeps_its_own_check(city):
    """A fragmented market that is altered until it breaks the grid is not shown with the AC check of the safe one."""
    blind = scheme("coordinet_fragmented").with_stage(1, offers=("t", "d")).with_stage(0, forward="remaining")
    mine = compare_schemes(city, schemes=[blind]).checks
    renamed = compare_schemes(city, schemes=[blind.renamed("blind", "Blind")]).checks
    assert mine["coordinet_fragmented"].violations == renamed["blind"].violations
    assert renamed["blind"].violations != renamed["coordinet_fragmented"].violations


def test_progress_names_each_scheme(city):
    said = []
    compare_schemes(city, schemes=["d41"], progress=said.append)
    titles = [presets()[name].title for name in ("d41", "coordinet_common", "coordinet_fragmented")]
    assert said[-3:] == titles


class Tags(HTMLParser):
    """Counts sections and refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sections = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_by_itself(found, tmp_path):
    pytest.importorskip("plotly")
    from flexcore.study.report.schemes import write_comparison

    text = write_comparison(found, tmp_path / "new" / "compare.html").read_text(encoding="utf-8")
    assert Tags(text).sections == ["summary", "picture", "information", "table", "figure2", "about"]
    for outcome in found.comparison.outcomes:
        assert outcome.title in text
    assert "breaks the grid" in text
    # four panels share what a page of 700 px leaves beside the names: no line of a title is wider than its panel
    figure = json.loads(re.search(r'<script[^>]*id="figures"[^>]*>(.*?)</script>', text, re.DOTALL)[1])["schemes"]
    layout = figure["variants"][0]["layout"]
    titles = [layout[axis]["title"]["text"] for axis in ("xaxis", "xaxis2", "xaxis3", "xaxis4")]
    assert max(len(line) for title in titles for line in title.split("<br>")) <= 12
    assert "nan" not in text.split("<script>")[0].lower()


def test_files_read_back(found, tmp_path):
    import pyarrow.parquet as pq

    table, about = found.write(tmp_path / "compare")
    assert pq.read_table(table).equals(found.table)
    facts = json.loads(about.read_text(encoding="utf-8"))
    assert facts["digest"] == found.digest
    assert [row["scheme"] for row in facts["schemes"]] == list(SOME)


def test_the_command_runs_named_schemes_and_those_of_a_file(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(scheme("d41").renamed("mine", "My own").to_toml(), encoding="utf-8")
    args = ["compare", "--code", "1-LV-rural2--0-sw", "--out", str(tmp_path / "out"), "--scheme", "smartnet_a"]
    done = CliRunner().invoke(app, [*args, "--schemes", str(own), "--json", "--no-report"], catch_exceptions=False)
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert [row["scheme"] for row in shown["schemes"]] == ["smartnet_a", "mine"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"schemes.parquet", "compare.json"}


def test_the_command_refuses_unknown_schemes_at_once(tmp_path):
    with pytest.raises(OptionError, match="FX-E002"):
        CliRunner().invoke(app, ["compare", "--scheme", "x", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
def test_every_scheme_runs_on_the_default_city_with_needs_in_both_grids():
    """All presets, safety levels and priced interfaces; the AC check agrees with the rows about who causes nothing."""
    city = cities.simbench()
    found = compare_schemes(city, n_threads=2)
    assert found.facts["needs"] > 0
    assert found.facts["voltage_needs"] > 0
    assert found.facts["balance_mwh"] > 0
    common = found.comparison["coordinet_common"]
    assert {o.scheme for o in found.comparison.outcomes} >= set(presets())
    for outcome in found.comparison.outcomes:
        print(
            f"{outcome.scheme}: {outcome.cost_eur:,.1f} EUR, {outcome.violations_new} rows worse, AC caused "
            f"{found.checks[outcome.scheme].caused}, efficiency {found.comparison.efficiency(outcome):.3f}"
        )
        if outcome.safe:
            assert outcome.cost_eur >= common.cost_eur - 1e-7 * abs(common.cost_eur), outcome.scheme
            assert found.checks[outcome.scheme].caused == 0, outcome.scheme
    for name in ("coordinet_fragmented_priced", "coordinet_multi_level_priced", "coordinet_multi_level_l3"):
        assert found.comparison.efficiency(found.comparison[name]) == pytest.approx(1.0, abs=1e-4)
