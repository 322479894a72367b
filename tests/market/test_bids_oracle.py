"""Selection with conditions against exhaustive search: every stage equal, on random cases of up to twelve bids."""

import numpy as np
import pytest

import flexcore as fx
from tests.market.bid_cases import random_case, tables_of
from tests.reference.market_bids import best, paradoxical, score

FEATURES = {
    "minimum": {"minimum"},
    "granularity": {"granularity", "minimum"},
    "curves": {"curve", "minimum", "granularity"},
    "blocks": {"block"},
    "rebound": {"block", "rebound", "minimum"},
    "exclusive": {"step", "day", "minimum", "block"},
    "windows": {"window", "minimum", "block"},
    "requests": {"cap", "condition", "minimum"},
    "places": {"places", "minimum", "granularity"},
    "everything": {
        "minimum", "granularity", "curve", "block", "rebound", "step", "day", "window", "cap", "condition",
        "places",
    },
}  # fmt: skip


def compare(case, *, scale=1, **options):
    """Hold a result to the best of all combinations, stage by stage; returns the result."""
    result = fx.clear(**tables_of(case, scale), **options)
    assert (result.accepted_w % scale == 0).all()
    accepted = np.asarray(result.accepted_w)[None] // scale
    rule = options.get("over_procurement", "only_way")
    for part, key in best(case, rule):
        mine = tuple(int(x[0]) for x in score(case, part, accepted, rule))
        assert key[0] == 0
        assert mine == key, (case, mine, key)
    assert (result.gap == 0).all()
    return result


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("kind", FEATURES)
def test_a_selection_with_conditions_equals_exhaustive_search(kind):
    rng = np.random.default_rng([len(kind), *kind.encode()])
    engines, listed, unserved = set(), 0, 0
    for k in range(40):
        features = FEATURES[kind]
        case = random_case(rng, features=features, negative=k % 4 == 0 and "cap" not in features)
        scale = 1 if "window" in features else [1, 7, 1000][k % 3]
        result = compare(case, scale=scale)
        found = set(np.flatnonzero(result.paradoxical).tolist())
        by_definition = paradoxical(case, (result.accepted_w // scale).tolist())
        # where the merit order decided nothing is rejected for a condition
        assert found == by_definition, (case, result)
        engines |= set(result.engine.tolist())
        listed += len(found)
        unserved += int(result.unserved_w.sum() > 0)
    assert "milp" in engines
    assert unserved
    assert listed


@pytest.mark.nightly
@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("rule", ["only_way", "least_cost", 2])
def test_both_ways_to_decide_equal_exhaustive_search_under_every_rule_beyond_the_need(kind, rule):
    rng = np.random.default_rng([7, *kind.encode()])
    decided = 0
    for k in range(100):
        case = random_case(rng, features=FEATURES[kind], negative=k % 4 == 0 and "cap" not in FEATURES[kind])
        first = compare(case, over_procurement=rule)
        second = compare(case, over_procurement=rule, method="milp")
        assert first.unserved_w.tolist() == second.unserved_w.tolist()
        assert set(np.flatnonzero(first.paradoxical).tolist()) == paradoxical(case, first.accepted_w.tolist())
        decided += int((first.engine == "milp").sum())
    print(f"{kind}, {rule}: 100 cases twice, {decided} steps by MILP")
    assert decided


@pytest.mark.parametrize("ties", ["pro_rata", "size", "effect"])
def test_the_rule_of_ties_moves_power_between_offers_of_one_price_and_nothing_else(ties):
    rng = np.random.default_rng(3)
    moved = shared = 0
    for k in range(60):
        case = random_case(rng, features=[{"minimum"}, {"granularity"}, {"curve", "cap"}][k % 3])
        for row in case["rows"]:
            row["price"] = 3 + row["price"] % 2
        result = fx.clear(**tables_of(case), ties=ties)
        for part, key in best(case):
            mine = tuple(int(x[0]) for x in score(case, part, result.accepted_w[None]))
            assert mine[:5] == key[:5], (case, mine, key)
            moved += mine[5] != key[5]
        shared += int(result.shared.sum())
        assert result.ties == ties
    assert moved
    assert bool(shared) == (ties == "pro_rata")
