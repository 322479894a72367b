"""What terms say: presets, the scope of the factor, units or quarter-hours, and who shares by what."""

import dataclasses

import numpy as np
import pytest

from flexcore import settle
from flexcore.errors import OptionError, SettlementError
from flexcore.settlement import TERMS, SettlementTerms
from flexcore.units import LOCAL, UP, largest_remainder
from tests.settlement.test_remuneration import assert_equals, expected, one_hour, random_book, random_terms


def test_presets_pay_as_they_say():
    def pay(name, ratio_percent):
        terms = dataclasses.replace(TERMS[name], price_ueur_per_mwh=4_000_000)
        return int(one_hour([1_000_000], [10_000 * ratio_percent], terms).lines.pay_ueur[0])

    assert [pay("linear", percent) for percent in (-5, 0, 30, 100, 130)] == [0, 0, 300_000, 1_000_000, 1_000_000]
    assert [pay("dead_band_5", percent) for percent in (50, 94, 95)] == [250_000, 883_600, 950_000]
    assert [pay("uk_dso_taper", percent) for percent in (62, 63, 85, 95)] == [0, 25_200, 595_000, 950_000]
    assert [pay("ssen_transition", percent) for percent in (50, 75, 100)] == [0, 375_000, 1_000_000]
    assert [pay("neso_dfs", percent) for percent in (25, 50, 110, 150)] == [0, 500_000, 1_100_000, 1_200_000]


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_preset_is_sound_and_sourced(name):
    terms = TERMS[name]
    terms.check()
    assert terms.source
    assert set(terms.unverified) <= {field.name for field in dataclasses.fields(terms)}


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(40))
def test_factors_of_the_provider_share_every_amount(seed):
    rng = np.random.default_rng(seed)
    terms, book = random_terms(rng), random_book(rng, n_rows=9)
    book |= {"aggregate": np.arange(9) // 3, "direction": np.zeros(9, int), "operator": np.zeros(9, int)}
    # every POD takes part in every line, so the factors of an aggregate are those of its lines
    book["orders_w"] = np.maximum(book["orders_w"], 1)
    book["split_factor_ppm"] = np.concatenate([largest_remainder(10**6, rng.integers(0, 5, 3) + 1) for _ in range(3)])
    result = settle(**book, terms=terms, missing="zero", split="factors")
    assert_equals(book, result, *expected(book, terms, "factors"))
    book["split_factor_ppm"][4] += 1
    with pytest.raises(SettlementError) as caught:
        settle(**book, terms=terms, missing="zero", split="factors")
    (finding,) = caught.value.findings
    assert (finding.code, finding.ids) == ("FX-S010", (1,))
    for wrong in ({"split": "equal"}, {"split": "factors", "split_factor_ppm": None}):
        with pytest.raises(SettlementError, match="FX-S010"):
            settle(**(book | {"terms": terms, "missing": "zero"} | wrong))


def test_an_event_is_judged_as_a_whole_where_the_terms_say_so():
    """Two hours at 100 and 60 % and, after a pause, one at 50 %: a taper to zero at 50 % of what was ordered."""
    points = ((0, 0), (500_000, 0), (1_000_000, 1_000_000))
    orders = np.array([[100, 100, 0, 100]])
    metered = -np.array([[100, 60, 0, 50]])

    def lines(**terms):
        terms = SettlementTerms(price_ueur_per_mwh=4_000_000, factor_ppm=points, **terms)
        return settle(
            orders, 0 * orders, metered, terms, direction=UP, aggregate=0, operator=LOCAL, unit_of_step=np.arange(4)
        ).lines

    assert lines().factor_ppm.tolist() == [1_000_000, 200_000, 0]
    event = lines(factor_scope="event")
    assert event.unit.tolist() == [0, 1, 3]
    assert event.event.tolist() == [0, 0, 3]
    assert event.ratio_ppm.tolist() == [800_000, 800_000, 500_000]
    assert event.pay_ueur.tolist() == [60, 36, 0]
    assert lines(factor_scope="period").ratio_ppm.tolist() == [700_000] * 3


@pytest.mark.rule("SET-01")
def test_one_part_of_a_unit_makes_up_for_another_only_where_the_terms_measure_them_together():
    orders = np.full((1, 4), 100)
    metered = -np.array([[200, 50, 0, 150]])
    terms = SettlementTerms(price_ueur_per_mwh=4_000_000, penalty_ueur_per_mwh=4_000_000)

    def measured(per, units=None):
        own = dataclasses.replace(terms, measured_per=per)
        arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL, "unit_of_step": units}
        lines = settle(orders, 0 * orders, metered, own, **arguments).lines
        return list(zip(*(c.tolist() for c in (lines.paid_wqh, lines.shortfall_wqh, lines.ratio_ppm)), strict=True))

    assert measured("unit") == [(400, 0, 1_000_000)]
    assert measured("half_hour") == [(350, 50, 875_000)]
    assert measured("quarter_hour") == measured(terms.measured_per) == [(250, 150, 625_000)]
    # no half-hour reaches over the end of a unit
    assert measured("half_hour", [0, 1, 2, 3]) == measured("quarter_hour", [0, 1, 2, 3])
    assert measured("half_hour", [0, 1, 1, 1]) == [(100, 0, 1_000_000), (50 + 150, 100, 666_667)]


@pytest.mark.rule("SET-03")
def test_who_delivered_in_every_quarter_hour_pays_no_penalty_of_another_pod():
    """100 W of each; the first gives 200 W and then nothing, the second what was ordered: 100 wqh are missing."""
    orders, metered = np.full((2, 2), 100), -np.array([[200, 0], [100, 100]])
    terms = SettlementTerms(price_ueur_per_mwh=0, penalty_ueur_per_mwh=4_000_000)
    found = settle(orders, 0 * orders, metered, terms, direction=UP, aggregate=0, operator=LOCAL, unit_of_step=[0, 0])
    assert found.lines.penalty_ueur.tolist() == [100]
    assert found.pod_lines.penalty_ueur.tolist() == [100, 0]


def test_presets_measure_by_the_step_of_their_market_and_judge_the_event():
    british = {"uk_dso_taper", "ssen_transition", "neso_dfs"}
    for name, terms in TERMS.items():
        assert terms.measured_per == ("half_hour" if name in british else "quarter_hour")
        assert terms.factor_scope == ("event" if len(terms.factor_ppm) > 1 else "line")
        if name in british:
            assert {"factor_scope", "measured_per"} <= set(terms.unverified)
    # hours at 100 and 60 %, one event at 80 %
    orders = np.full((1, 8), 100)
    metered = -np.repeat([[100, 60]], 4, axis=1)
    terms = dataclasses.replace(TERMS["ssen_transition"], price_ueur_per_mwh=4_000_000)
    lines = settle(orders, 0 * orders, metered, terms, direction=UP, aggregate=0, operator=LOCAL).lines
    assert lines.factor_ppm.tolist() == [600_000] * 2
    assert lines.pay_ueur.tolist() == [240, 144]


def test_how_pods_share_enters_the_digest():
    ones = np.ones((2, 4), int)
    arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL, "price_ueur_per_mwh": 1, "terms": "linear"}
    ways = (
        {},
        {"split": "equal"},
        {"split": "factors", "split_factor_ppm": [500_000, 500_000]},
        {"split": "factors", "split_factor_ppm": [400_000, 600_000]},
        # the same weights as alike, but another rule
        {"split": "factors", "split_factor_ppm": [600_000, 400_000]},
    )
    seen = [settle(ones, ones, 0 * ones, **arguments, **way, pod=[7, 8]).digest for way in ways]
    assert len(set(seen)) == len(ways)
    turned = {"split": "factors", "split_factor_ppm": [600_000, 400_000], "pod": [8, 7]}
    assert settle(ones, ones, 0 * ones, **arguments, **turned).digest == seen[3]


def test_options_that_do_not_exist_are_refused():
    ones = np.ones((1, 4), int)
    good = {"direction": UP, "aggregate": 0, "operator": LOCAL, "price_ueur_per_mwh": 1, "terms": "linear"}
    for wrong in (
        {"split": "fairly"},
        {"terms": SettlementTerms(factor_scope="day")},  # type: ignore[arg-type]
        {"terms": SettlementTerms(measured_per="day")},  # type: ignore[arg-type]
    ):
        with pytest.raises(OptionError):
            settle(ones, ones, ones, **(good | wrong))


def test_an_event_too_large_for_exact_money_is_refused():
    top = 2**31 - 1
    many = np.full((1000, 2), top)
    arguments = {"direction": UP, "aggregate": 0, "operator": LOCAL, "unit_of_step": [0, 1], "price_ueur_per_mwh": 1}
    settle(many, many, many, "linear", **arguments)
    with pytest.raises(SettlementError, match="FX-S001"):
        settle(many, many, many, SettlementTerms(factor_scope="event"), **arguments)


@pytest.mark.parametrize("points", [((0,),), (0, 1), [[0, 5]], ((0, 5, 6),), ([0, 5],), None])
def test_breakpoints_that_are_no_pairs_are_refused(points):
    with pytest.raises(SettlementError, match="FX-S003"):
        SettlementTerms(price_ueur_per_mwh=1, factor_ppm=points).check()


@pytest.mark.parametrize("terms", [None, 5, ["linear"], "nothing"])
def test_what_is_no_terms_is_answered_with_the_names(terms):
    ones = np.ones((1, 4), np.int64)
    with pytest.raises(OptionError, match="linear"):
        settle(ones, ones, ones, terms, direction=0, aggregate=0, operator=0)
