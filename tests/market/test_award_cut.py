"""CHK-02: the least cut of harmful awards, by hand and against an LP that writes every row out."""

import numpy as np
import pytest

from flexcore import settle
from flexcore.errors import OfferError, ValidationError
from flexcore.grid.headroom import activation_rows
from flexcore.market.award_cut import cut_awards
from flexcore.market.grid_check import FORECAST, check_outcome
from flexcore.market.sessions import Sequencer
from flexcore.market_day import MarketDay
from flexcore.settlement import SettlementTerms
from flexcore.units import DOWN, GLOBAL, UP, eur_per_mwh
from tests.grid.networks import feeder, random_feeder, random_forecast
from tests.reference.market_award_cut import least_cut_w

pytestmark = pytest.mark.rule("CHK-02")


def thin(s_max=(np.inf, 100.0, 30.0, np.inf)):
    """Slack 0, branch 1 (100 kVA) to node 1, from there to 2 (30 kVA) and 3; losses next to nothing."""
    return feeder([-1, 0, 1, 1], s_max=s_max, r=1e-6, x=1e-6)


def column(*kw):
    return np.array(kw, float)[:, None]


def test_the_cut_takes_the_award_that_serves_two_violations_and_no_more():
    p = column(0, 0, 25, 60)  # 85 of 100 kVA and 25 of 30 are in use
    awards = np.array([[10_000], [10_000]])  # two awards of more withdrawal, below branch 2 and at node 3
    got = cut_awards(thin(), p, 0 * p, node=[2, 3], direction=[DOWN, DOWN], award_w=awards)
    # branch 2 asks for 5 kW, branch 1 for 5 kW: the same 5 kW serve both
    assert got.before.counts()["global"] == 2
    assert got.cut_w[:, 0].tolist() == pytest.approx([5_000, 0], abs=5)
    assert (got.kept_w + got.cut_w == awards).all()
    assert got.after.n_violations == 0
    assert got.rounds == 1
    assert got.cut_mwh == pytest.approx(0.00125, rel=1e-3)
    table = got.to_arrow(["a", "b"]).to_pylist()
    assert [(row["award"], row["step"], row["kept_w"] + row["cut_w"]) for row in table] == [("a", 0, 10_000)]


def test_of_awards_that_help_alike_the_one_that_is_first_to_go_is_cut():
    p = column(0, 0, 0, 95)
    options = {"node": [3, 3], "direction": [DOWN, DOWN], "award_w": np.array([[4_000], [4_000]])}
    first = cut_awards(thin(), p, 0 * p, **options)
    other = cut_awards(thin(), p, 0 * p, **options, first_to_go=[1, 0])
    assert first.cut_w[:, 0].tolist() == other.cut_w[::-1, 0].tolist()
    assert first.cut_w[0, 0] == pytest.approx(3_000, abs=5)
    assert first.cut_w[1, 0] == 0


def test_a_harmless_outcome_is_left_alone_and_so_is_what_no_cut_removes():
    p = np.array([[0, 0], [0, 0], [20, 40], [0, 0]], float)
    got = cut_awards(thin(), p, 0 * p, node=[2, 3], direction=[UP, DOWN], award_w=np.full((2, 2), 5_000))
    # step 1: 40 kW on 30 kVA, of which the upward award already takes 5; the other award lies elsewhere
    assert not got.cut_w.any()
    assert got.rounds == 0
    assert got.after.by_cause(FORECAST).n_violations == got.after.n_violations == 1


def test_local_awards_stand_and_are_counted():
    p = column(0, 0, 25, 0)
    local_down = column(0, 0, 4, 0)
    got = cut_awards(thin(), p, 0 * p, node=[2], direction=[DOWN], award_w=[[3_000]], local_down_kw=local_down)
    assert got.cut_w[0, 0] == pytest.approx(2_000, abs=5)
    assert got.after.n_violations == 0


def test_the_tso_and_the_bsp_are_told_and_the_bsp_is_not_penalised():
    p = np.repeat(column(0, 0, 25, 0), 4, axis=1)
    awards = np.full((2, 4), 8_000)
    got = cut_awards(thin(), p, 0 * p, node=[2, 3], direction=[DOWN, DOWN], award_w=awards)
    sequencer = Sequencer(MarketDay("2026-05-20"))
    got.tell(sequencer.messages, sequencer.session(1, "MSD"), [0, 1])
    told = [(row["receiver"], row["messages"]) for row in sequencer.messages.to_arrow().to_pylist()]
    assert told == [("BSP", 1), ("TSO", 1)]
    # the BSP delivers what stays: the order as cut is met in full, the award as it was would be short of 3 kW
    baseline = np.zeros((2, 4), int)
    common = {"direction": DOWN, "aggregate": [0, 1], "operator": GLOBAL, "unit_of_step": [0] * 4}
    terms = SettlementTerms(price_ueur_per_mwh=eur_per_mwh(50), penalty_ueur_per_mwh=eur_per_mwh(100))
    kept = settle(got.kept_w, baseline, baseline + got.kept_w, terms, **common)
    whole = settle(awards, baseline, baseline + got.kept_w, terms, **common)
    assert not kept.lines.penalty_ueur.any()
    assert whole.lines.penalty_ueur.any()


def cases(n):
    for seed in range(n):
        rng = np.random.default_rng(seed)
        grid = random_feeder(rng, 12, impedance=float(rng.choice([0.1, 0.4])))
        p, q = random_forecast(rng, grid, 4, size=2.0)
        awards = {
            "node": rng.integers(0, 12, 10),
            "direction": rng.integers(0, 2, 10),
            "award_w": rng.integers(0, 30_000, (10, 4)),
        }
        yield grid, p, q, awards


def test_the_cut_is_the_least_for_the_rows_and_passes_the_ac_check():
    compared = 0
    for grid, p, q, awards in cases(30):
        got = cut_awards(grid, p, q, **awards)
        again = cut_awards(grid, p, q, **awards, n_threads=2)
        assert np.array_equal(got.cut_w, again.cut_w)
        assert ((got.cut_w >= 0) & (got.kept_w >= 0)).all()
        # only steps with a violation are touched, and a violation of awards is gone
        assert np.isin(np.flatnonzero(got.cut_w.any(axis=0)), got.before.step).all()
        one = cut_awards(grid, p, q, **awards, max_rounds=1)
        sign = np.where(awards["direction"] == UP, 1.0, -1.0)[:, None]
        net = np.zeros(p.shape)
        np.add.at(net, awards["node"], sign * awards["award_w"] / 1000.0)
        rows = activation_rows(grid, p - net, q)
        for step in np.unique(got.before.step):
            least = least_cut_w(
                rows.parent, rows, step, awards["node"], awards["direction"], awards["award_w"][:, step]
            )
            if least is None:
                continue
            compared += 1
            assert one.cut_w[:, step].sum() == pytest.approx(least, abs=12)  # whole watts
            assert not np.isin(got.after.step, step).any()
    assert compared >= 40


def test_what_remains_is_what_the_forecast_violates_by_itself():
    for grid, p, q, awards in cases(30):
        got = cut_awards(grid, p, q, **awards)
        zero = np.zeros(p.shape)
        alone = check_outcome(grid, p, q, local_up_kw=zero, local_down_kw=zero, global_up_kw=zero, global_down_kw=zero)
        assert np.isin(got.after.step, alone.step).all()


def test_wrong_arguments_are_typed_errors():
    p = column(0, 0, 0, 0)
    good = {"node": [2], "direction": [DOWN], "award_w": [[1]]}
    with pytest.raises(OfferError) as error:
        cut_awards(thin(), p, p, **{**good, "node": [4]})
    assert error.value.codes == ("FX-M201",)
    for wrong in ({"direction": [2]}, {"award_w": [[-1]]}, {"max_rounds": 0}, {"first_to_go": [0, 1]}):
        with pytest.raises(ValidationError):
            cut_awards(thin(), p, p, **{**good, **wrong})
