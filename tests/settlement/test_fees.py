import numpy as np
import pytest

import tests.reference.settlement_fees as reference
from flexcore.errors import OptionError, SettlementError, ValidationError
from flexcore.settlement import GME_FEE, market_fees, statements
from flexcore.settlement.fees import FORWARD, SPOT
from flexcore.units import GLOBAL, LOCAL, MAX_WQH


def test_a_megawatt_hour_costs_four_cents():
    for market in (FORWARD, SPOT):
        lines = market_fees([4_000_000], market=market, bsp=0)
        assert lines.fee_ueur.tolist() == [40_000]
        assert lines.bsp_ueur.tolist() == [40_000]
        assert lines.operator_ueur.tolist() == [0]
    assert GME_FEE == 10_000


@pytest.mark.parametrize("payer", ["bsp", "operator", "both", "half"])
def test_fees_equal_the_reference(payer):
    rng = np.random.default_rng(3)
    watts, quarters = rng.integers(0, 10**7, 300), rng.integers(0, 3000, 300)
    watts[:100] = 50 * (2 * rng.integers(0, 50, 100) + 1)  # ties
    quarters[:100] = 1
    lines = market_fees(watts * quarters, market=SPOT, bsp=rng.integers(0, 5, 300), operator=GLOBAL, payer=payer)
    for k in range(300):
        amount = reference.fee(int(watts[k]), int(quarters[k]))
        assert lines.fee_ueur[k] == amount
        assert (lines.bsp_ueur[k], lines.operator_ueur[k]) == reference.sides(amount, payer)
    assert lines.to_arrow().num_rows == 300


@pytest.mark.rule("SET-03")
def test_statements_take_fees_off():
    lines = market_fees([100_000_000, 7, 300_000_000], market=[FORWARD, SPOT, SPOT], bsp=[2, 2, 1], payer="half")
    table = statements([], bsp_of_aggregate=[0], fees=lines)
    assert table.bsp.tolist() == [1, 2]
    assert table.operator.tolist() == [LOCAL, LOCAL]
    assert table.fee_ueur.sum() == lines.bsp_ueur.sum()
    assert (table.net_ueur == -table.fee_ueur).all()


def test_extremes_and_wrong_fees():
    top = market_fees([MAX_WQH], market=FORWARD, bsp=0)
    assert top.fee_ueur[0] == reference.fee(MAX_WQH, 1)
    for wrong in ({"quantity_wqh": [MAX_WQH + 1]}, {"quantity_wqh": [-1]}, {"market": 2}, {"bsp": [1, 2]}):
        with pytest.raises(ValidationError):
            market_fees(**({"quantity_wqh": [1], "market": 0, "bsp": 0} | wrong))
    for fee in (-1, 0.5):
        with pytest.raises(SettlementError, match="FX-S003"):
            market_fees([1], market=0, bsp=0, fee_ueur_per_mw_quarter=fee)
    with pytest.raises(SettlementError, match="FX-S001"):
        market_fees([MAX_WQH] * 3, market=0, bsp=0, fee_ueur_per_mw_quarter=10**12)
    with pytest.raises(OptionError):
        market_fees([1], market=0, bsp=0, payer="nobody")
