"""Cases that cannot be meant are refused by code when they are made, not by the solver when they run."""

import dataclasses

import numpy as np
import pytest

from flexcore.errors import ValidationError
from flexcore.market.schemes import Penalties, TradeBids
from flexcore.market.schemes.example import OFFERS, two_feeders

N = len(OFFERS)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unit": np.full(N, -1, np.int32)}, "FX-A004"),
        ({"unit": np.zeros(2, np.int32)}, "FX-A001"),
        ({"bsp": np.zeros(2, np.int32)}, "FX-A001"),
        ({"t_node": np.zeros(2, np.int32)}, "FX-A001"),
        ({"node": np.full(N, 1.0)}, "FX-A002"),
        ({"price": [1.0] * N}, "FX-A002"),
        ({"price": np.full(N, -1e7)}, "FX-M307"),
    ],
)
def test_offers(change, code):
    case = two_feeders()
    with pytest.raises(ValidationError, match=code):
        dataclasses.replace(case, offers=dataclasses.replace(case.offers, **change))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["distribution", "transmission", "balance"])
def test_penalties(name, value):
    with pytest.raises(ValidationError, match="FX-M307"):
        dataclasses.replace(two_feeders(), penalties=Penalties(**{name: value}))


def test_networks_steps_and_bids():
    case = two_feeders()
    for changed, code in (
        ({"step_hours": 0.0}, "FX-M307"),
        ({"rows": dataclasses.replace(case.rows, w_upper=case.rows.w_upper * np.nan)}, "FX-M307"),
        ({"transmission": dataclasses.replace(case.transmission, ptdf=case.transmission.ptdf * np.nan)}, "FX-A003"),
        ({"transmission": dataclasses.replace(case.transmission, ptdf=np.zeros(3))}, "FX-A001"),
        ({"bids": TradeBids(np.array([5], np.int8), np.ones((1, 4)), np.ones(1))}, "FX-A006"),
        ({"bids": TradeBids(np.array([0], np.int8), np.ones((1, 4)), np.array([np.nan]))}, "FX-A003"),
        # served without power behind it, such a bid would make the system short and the scheme look cheap
        ({"bids": TradeBids(np.array([0], np.int8), np.ones((1, 4)), np.array([1000.1]))}, "FX-M307"),
    ):
        with pytest.raises(ValidationError, match=code):
            dataclasses.replace(case, **changed)
