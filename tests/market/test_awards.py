"""The split of awards over PODs: exact sums, fewest PODs, one use of a POD per quarter-hour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OfferError, OptionError, ValidationError
from flexcore.market.awards import POLICIES, split_awards, sum_members
from flexcore.market.slots import Slots
from flexcore.units import GLOBAL, LOCAL
from tests.reference import market_awards as reference


@pytest.mark.rule("ACT-01")
def test_hand_worked_policies():
    power = [[3], [10], [4], [10]]

    def shares(award, policy):
        result = split_awards([[award]], [0, 4], [5, 6, 7, 8], power, policy=policy, cost=[9, 9, 1, 5])
        assert not result.short_w.any()
        return result.member_w[:, 0].tolist()

    assert shares(12, "fewest_pods") == [0, 10, 0, 2]  # two PODs; equal powers go by position
    assert shares(10, "fewest_pods") == [0, 10, 0, 0]
    assert shares(12, "cheapest") == [0, 0, 4, 8]
    assert shares(15, "cheapest") == [1, 0, 4, 10]
    # 12 / 27 of 3, 10, 4, 10 is 1.33, 4.44, 1.78, 4.44: down to 1, 4, 1, 4; two watts are missing
    assert shares(12, "pro_rata") == [1, 5, 2, 4]
    assert shares(27, "pro_rata") == [3, 10, 4, 10]
    assert shares(0, "fewest_pods") == [0, 0, 0, 0]


@pytest.mark.rule("ACT-01")
@pytest.mark.parametrize("policy", ["fewest_pods", "cheapest", "pro_rata"])
def test_ties_go_to_the_pod_that_comes_first_in_the_line(policy):
    result = split_awards([[1]], [0, 3], [7, 2, 5], [[1]] * 3, policy=policy, cost=[4] * 3)
    assert result.member_w[:, 0].tolist() == [1, 0, 0]


@pytest.mark.rule("ACT-01")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(POLICIES))
def test_split_equals_the_reference_and_adds_up(seed, policy):
    rng = np.random.default_rng(seed)
    n_lines, n_steps, n_pods = 3, 4, 6
    lists = [np.sort(rng.choice(n_pods, rng.integers(0, 5), replace=False)) for _ in range(n_lines)]
    indptr = np.cumsum([0, *(part.size for part in lists)])
    pods = np.concatenate(lists).astype(np.int64)
    available = rng.integers(0, 6, (pods.size, n_steps))
    total = np.array([available[indptr[i] : indptr[i + 1]].sum(axis=0) for i in range(n_lines)])
    accepted = rng.integers(0, total + 1)
    cost = rng.integers(0, 3, pods.size)
    result = split_awards(accepted, indptr, pods, available, policy=policy, cost=cost, n_threads=2)
    member, short = reference.split(accepted.tolist(), indptr, pods.tolist(), available.tolist(), policy, cost)
    assert result.member_w.tolist() == [[member[m, t] for t in range(n_steps)] for m in range(pods.size)]
    assert result.short_w.tolist() == [[short[i, t] for t in range(n_steps)] for i in range(n_lines)]
    line = np.repeat(np.arange(n_lines), np.diff(indptr))
    assert np.array_equal(sum_members(result.member_w, line, n_lines) + result.short_w, accepted)
    assert (result.member_w <= available).all()
    # a POD is used by one line in a quarter-hour, so all awards of one operator can be held
    uses = sum_members(result.selected.astype(np.int64), pods, n_pods)
    assert uses.max(initial=0) <= 1
    Slots(n_pods, n_steps).hold(LOCAL, pods, result.selected)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=6), st.floats(0, 1))
def test_fewest_pods_is_minimal(powers, part):
    award = int(part * sum(powers))
    result = split_awards([[award]], [0, len(powers)], range(len(powers)), [[p] for p in powers])
    assert int(result.selected.sum()) == reference.fewest(award, powers)


@pytest.mark.rule("MUT-04")
def test_the_split_decides_which_pods_become_unavailable():
    slots = Slots(4, 1)
    result = split_awards([[6]], [0, 3], [0, 1, 2], [[5], [2], [4]])
    slots.hold(GLOBAL, [0, 1, 2], result.selected, firm=True)
    assert slots.unavailable(LOCAL)[:, 0].tolist() == [True, False, True, False]


def test_a_pod_offered_both_ways_is_used_once_and_the_rest_is_reported():
    result = split_awards([[4], [3]], [0, 1, 3], [0, 0, 1], [[5], [5], [2]])
    assert result.member_w[:, 0].tolist() == [4, 0, 2]
    assert result.short_w[:, 0].tolist() == [0, 1]


def test_permuting_lines_without_shared_pods_changes_nothing():
    rng = np.random.default_rng(3)
    available = rng.integers(0, 1000, (12, 96))
    accepted = rng.integers(0, available.reshape(3, 4, 96).sum(axis=1) + 1)
    result = split_awards(accepted, [0, 4, 8, 12], range(12), available)
    order = [2, 0, 1]
    members = np.concatenate([np.arange(4 * i, 4 * i + 4) for i in order])
    again = split_awards(accepted[order], [0, 4, 8, 12], members, available[members])
    assert np.array_equal(again.member_w, result.member_w[members])


def test_wrong_awards_are_typed_errors():
    with pytest.raises(OfferError) as error:
        split_awards([[1], [9]], [0, 1, 2], [0, 1], [[5], [5]], line_id=np.array(["a", "b"]))
    assert error.value.codes == ("FX-O107",)
    assert error.value.findings[0].ids == ("b",)
    with pytest.raises(OptionError):
        split_awards([[1]], [0, 1], [0], [[5]], policy="random")
    with pytest.raises(ValidationError) as error:
        split_awards([[1]], [0, 1], [0], [[5]], policy="cheapest")
    assert error.value.codes == ("FX-A001",)
    with pytest.raises(OfferError) as error:
        split_awards([[2**40]], [0, 1], [0], [[2**40]], policy="pro_rata")
    assert error.value.codes == ("FX-A006",)


def test_sum_members_leaves_out_minus_one():
    assert sum_members([[1, 2], [3, 4], [5, 6]], [1, -1, 1], 3).tolist() == [[0, 0], [6, 8], [0, 0]]
