"""Equal prices: the order of rows never changes a cost, and of interchangeable offers the earlier goes first."""

import dataclasses

import numpy as np
import pytest

from flexcore.market.schemes import SchemeOffers, outcome_of, run_scheme
from tests.market.schemes.cases import random_case

WHICH = ("coordinet_common", "coordinet_multi_level", "d41", "coordinet_fragmented", "smartnet_c")


def tied_case(seed):
    """Few prices and few places."""
    rng = np.random.default_rng(seed)
    case = random_case(rng, n_nodes=10, n_systems=2, n_t=3, n_steps=1)
    offers = case.offers
    node = np.where(offers.node >= 0, offers.node[rng.integers(0, 3, offers.n_offers)], -1).astype(np.int32)
    return dataclasses.replace(
        case, offers=dataclasses.replace(offers, node=node, price=np.round(offers.price / 40) * 40)
    )


def overtaken(case, taken_kw):
    """Pairs of interchangeable offers of which the later has something and the earlier is not full."""
    offers = case.offers
    found = []
    for i in range(offers.n_offers):
        for j in range(offers.n_offers):
            same = all(getattr(offers, name)[i] == getattr(offers, name)[j] for name in ("direction", "price", "node"))
            if not same or case.layout.t_node[i] != case.layout.t_node[j] or offers.submitted[i] >= offers.submitted[j]:
                continue
            if taken_kw[j] > 1e-6 and taken_kw[i] < offers.quantity_kw[i, 0] - 1e-6:
                found.append((i, j))
    return found


@pytest.mark.parametrize("name", WHICH)
def test_ties(name):
    for seed in range(20):
        case = tied_case(seed)
        run = run_scheme(case, name)
        assert not overtaken(case, run.stages[0].accepted_kw[:, 0])
        order = np.random.default_rng(seed).permutation(case.offers.n_offers)
        shuffled = SchemeOffers(*(getattr(case.offers, field)[order] for field in SchemeOffers.__slots__))
        other = outcome_of(run_scheme(dataclasses.replace(case, offers=shuffled), name))
        assert other.cost_eur == pytest.approx(outcome_of(run).cost_eur, rel=1e-7, abs=1e-7)
